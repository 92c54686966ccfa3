"""KTOL-9 as data: exact properties of the sparsifiers of a kernel graph (proofs_notes/kernel_graph.md).

A graph has many sparsifiers, so that a law does not say what the edges are: it takes any edges that are right for the
transformed instance to edges that are exactly as right for the instance.  The edges of the definition, which are all
of the graph, it takes to each other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from assay.spec.kernel_graph.moves import backwards, changed, doubled, growth, other_coordinates, renamed, translated
from assay.spec.problem import Law, Prediction

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from assay.spec.kernel_graph_sparsify.instance import Instance

    Array = NDArray[np.float64]
    Instances = tuple[Instance, ...]
    Outputs = tuple[Mapping[str, Array], ...]
    Relation = Callable[[Instance, Instances, Outputs], Mapping[str, Prediction]]

__all__ = ["LAWS"]


def _edges(*, turned: bool = False, factor: Callable[[Instance], float] = lambda instance: 1.0) -> Relation:
    """The edges, in the order of their ends, with weights times ``factor``; turned: the vertices in reverse order."""

    def relate(instance: Instance, transformed: Instances, outputs: Outputs) -> Mapping[str, Prediction]:
        if not {"left", "right", "weight"} <= set(outputs[0]):
            return {}
        left, right, weight = (outputs[0][name] for name in ("left", "right", "weight"))
        if turned:
            last = len(instance.points) - 1
            left, right = last - right, last - left
        order = np.lexsort((right, left))
        times = factor(instance)
        found = {"left": (left, 1.0), "right": (right, 1.0), "weight": (times * weight, times)}
        return {name: Prediction(x[order], (np.full_like(x, moved),)) for name, (x, moved) in found.items()}

    return relate


def _other_seed(instance: Instance, rng: np.random.Generator) -> Instances:
    return changed(instance, seed=instance.seed + 1 + int(rng.integers(1000)))


def _sharper(instance: Instance, rng: np.random.Generator) -> Instances:
    return changed(instance, error=instance.error / 2)


_same = _edges()

#: The laws of sparsifiers.
LAWS: tuple[Law, ...] = (
    Law("points", "KTOL-9", "the order of the points does not matter", backwards, _edges(turned=True)),
    Law("coordinates", "KTOL-9", "order and signs of coordinates, and one that is the same for all, change nothing",
        other_coordinates, _same),
    Law("translate", "KTOL-9", "only differences of points matter", translated, _same),
    Law("scale", "KTOL-9", "points times two and the parameter to match change nothing but a power of four",
        doubled, _edges(factor=lambda instance: 1.0 / growth(instance))),
    Law("names", "KTOL-9", "one function under two names", renamed, _same),
    Law("seed", "KTOL-9", "edges of another seed are right for every seed", _other_seed, _same),
    Law("error", "KTOL-9", "edges for a smaller error are right for a larger one", _sharper, _same),
)  # fmt: skip
