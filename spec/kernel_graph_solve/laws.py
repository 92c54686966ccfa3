"""KTOL-9 as data: exact properties of solves with kernel graphs (proofs_notes/kernel_graph.md)."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from assay.spec.kernel_graph.moves import backwards, changed, doubled, growth, other_coordinates, renamed, translated
from assay.spec.laws import summed
from assay.spec.problem import Law, Prediction

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from assay.spec.kernel_graph_solve.instance import Instance

    Array = NDArray[np.float64]
    Instances = tuple[Instance, ...]
    Outputs = tuple[Mapping[str, Array], ...]
    Relation = Callable[[Instance, Instances, Outputs], Mapping[str, Prediction]]

__all__ = ["LAWS"]

_MOST = 8  # points of a graph whose potentials are put together from those of unit currents


def _times(factor: Callable[[Instance, Instance], float]) -> Relation:
    """The potentials are those of the transformed instance times factor(instance, transformed)."""

    def relate(instance: Instance, transformed: Instances, outputs: Outputs) -> Mapping[str, Prediction]:
        times, x = factor(instance, transformed[0]), outputs[0]["x"]
        return {"x": Prediction(times * x, (np.full_like(x, times),))}

    return relate


def _parts(instance: Instance, rng: np.random.Generator) -> Instances:
    """The right side as a sum of two, each of the sum 0: what some vertices have, and what one more has to balance."""
    b = instance.right_side.astype(np.float64)
    order = rng.permutation(len(b))
    some, balance = order[: len(b) // 2], order[-1]
    first = np.zeros_like(b)
    first[some] = b[some]
    first[balance] = -math.fsum(first.tolist())
    second = b - first
    stored = [side.astype(instance.right_side.dtype) for side in (first, second)]
    wide = [side.astype(np.float64).tolist() for side in stored]
    for whole, one, other in zip(b.tolist(), *wide, strict=True):
        if not math.isfinite(one + other) or Fraction(one) + Fraction(other) != Fraction(whole):
            return ()
    made = [changed(instance, right_side=side) for side in stored]
    return (*made[0], *made[1]) if all(made) else ()


def _scaled(instance: Instance, rng: np.random.Generator) -> Instances:
    """The right side times a power of two of either sign; nothing where a number would be rounded."""
    factor = float(rng.choice((-1.0, 1.0))) * 2.0 ** int(rng.integers(-6, 7))
    wide = instance.right_side.astype(np.float64)
    with np.errstate(all="ignore"):
        scaled = (wide * factor).astype(instance.right_side.dtype)
        exact = scaled.astype(np.float64) / factor == wide
    return changed(instance, right_side=scaled) if exact.all() else ()


def _of_scaled(instance: Instance, other: Instance) -> float:
    at = int(np.argmax(np.abs(instance.right_side.astype(np.float64))))
    return float(instance.right_side[at]) / float(other.right_side[at])


def _currents(instance: Instance, rng: np.random.Generator) -> Instances:
    """A unit current from every vertex to the last one."""
    n = len(instance.points)
    if n > _MOST:
        return ()
    sides = (np.eye(n)[k] - np.eye(n)[-1] for k in range(n - 1))
    return tuple(instance.replace(right_side=side.astype(instance.right_side.dtype)) for side in sides)


def _superposed(instance: Instance, transformed: Instances, outputs: Outputs) -> Mapping[str, Prediction]:
    """b = Σ_k b_k(e_k − e_last), so that x = Σ_k b_k L⁺(e_k − e_last)."""
    b = instance.right_side.astype(np.float64)[:-1]
    value = sum((number * output["x"] for number, output in zip(b, outputs, strict=True)), np.zeros(len(b) + 1))
    return {"x": Prediction(value, tuple(np.full(len(b) + 1, number) for number in b))}


def _sharper(instance: Instance, rng: np.random.Generator) -> Instances:
    return changed(instance, tolerance=instance.tolerance / 4)


_same = summed()

#: The laws of solves.
LAWS: tuple[Law, ...] = (
    Law("points", "KTOL-9", "the order of the points does not matter",
        backwards, summed(lambda instance, x: x[::-1])),
    Law("coordinates", "KTOL-9", "order and signs of coordinates, and one that is the same for all, change nothing",
        other_coordinates, _same),
    Law("translate", "KTOL-9", "only differences of points matter", translated, _same),
    Law("scale", "KTOL-9", "points times two and the parameter to match change nothing but a power of four",
        doubled, _times(lambda instance, _: growth(instance))),
    Law("names", "KTOL-9", "one function under two names", renamed, _same),
    Law("sum", "KTOL-9", "potentials of a sum of currents are the sum of their potentials", _parts, _same),
    Law("power", "KTOL-9", "a power of two times the currents is one times the potentials",
        _scaled, _times(_of_scaled)),
    Law("currents", "KTOL-9", "potentials are put together from those of unit currents", _currents, _superposed),
    Law("tolerance", "KTOL-9", "potentials for a smaller tolerance are right for a larger one", _sharper, _same),
)  # fmt: skip
