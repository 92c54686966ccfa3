"""What a correct kernel of a class may err in a step (proofs_notes/firing_neurons.md, FN-13).

The names are those of the proof.  Everything is computed in float64; the factor 1 + 1e-9 pays for the roundings of
that.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

from assay.spec.firing_neurons.exactness import NONE, lowest_bits
from assay.spec.firing_neurons.instance import Instance as Firing
from assay.spec.firing_neurons.instance import data_of
from assay.spec.firing_neurons.tolerance import errors as errors_of_margins
from assay.spec.firing_neurons_training.definition import evaluate
from assay.spec.floating_point import require_usual
from assay.spec.floats import dtype_named
from assay.spec.precision import PRECISIONS as MACHINES
from assay.spec.precision import Precision, reference_accuracy
from assay.spec.precision import precision as precision_named
from assay.spec.rounding import compound, gamma

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from assay.spec.firing_neurons_training.definition import Exact
    from assay.spec.firing_neurons_training.instance import Instance

    Array = NDArray[np.float64]

__all__ = ["PRECISIONS", "Errors", "errors", "tolerance"]

_SLACK = 1.0 + 1e-9

#: The classes.  Correlations are computed from the weights as they are.
PRECISIONS: Mapping[str, Precision] = {
    name: MACHINES[name] for name in ("float64", "float32", "tf32", "bfloat16", "float16")
}


@dataclass(frozen=True, eq=False)
class Errors:
    """What a correct kernel may err by.

    undecided (m, n): the pairs on which a neuron may be taken to fire or not.
    output (n, c): of z.  gradient (m, d): of the gradient for the decisions that the kernel took.
    step (m, d): by what new weights may differ from weights − rate·gradient of the gradient that the kernel returned.
    new_weights (m, d): of the new weights, for its decisions.
    """

    undecided: NDArray[np.bool_]
    output: Array
    gradient: Array
    step: Array
    new_weights: Array


def tolerance(instance: Instance, precision: str | Precision, output: str = "output") -> Array:
    """What a correct kernel of the class may err in an output, of its shape; +inf outside the domain of the class.

    Of the gradient and the new weights it is that from the values for the decisions that the kernel took on undecided
    pairs (:func:`~assay.spec.firing_neurons_training.criteria`), which may be others than those of the definition.
    Raises ``ValueError`` for an unknown class or output.

    >>> from assay.spec.firing_neurons_training import Instance
    >>> step = Instance(*(np.array([[x]]) for x in (0.1, 1.0, 3.0, -1.0)))
    >>> print(*(f"{tolerance(step, name)[0, 0]:.0e}" for name in ("float64", "float32", "bfloat16")))
    1e-16 1e-07 7e-03
    """
    if output not in ("output", "gradient", "new_weights"):
        raise ValueError(f"unknown output {output!r}: expected one of output, gradient, new_weights")
    u = precision_named(precision, PRECISIONS)
    bound: Array = getattr(errors(instance, u, evaluate(instance, reference_accuracy(u))), output)
    return bound


@functools.lru_cache(maxsize=2)
def errors(instance: Instance, precision: Precision, exact: Exact) -> Errors:
    """All of :class:`Errors` of a step (FN-13)."""
    require_usual()
    u = max(precision.product, precision.accumulate, precision.working)
    stored, operand = max(precision.output, precision.stored), precision.operand
    lost = max(precision.output_tiny, precision.stored_tiny, precision.operand_tiny) + 2 * precision.tiny
    converted = _converted(instance, precision)
    entry, lost_entry = float(compound(precision.input_rounding, converted)), _lost(precision, converted)
    data, targets, weights, outer = (
        np.abs(x.astype(np.float64)) for x in (instance.data, instance.targets, instance.weights, instance.outer)
    )
    with np.errstate(all="ignore"):
        delta = _of_margins(instance, precision)
        low, high = exact.margins.lower, exact.margins.upper
        may = high > -delta  # a neuron that may be taken to fire
        undecided = may & ~(low > delta) & (delta > 0.0)
        may &= undecided | (low > 0.0)
        active = np.where(may, np.maximum(high, 0.0), 0.0)
        off = np.where(may, delta * (1.0 + undecided), 0.0)

        def summed(k: Array | float) -> Array:
            return compound(entry, operand, gamma(k, u), stored)

        count = may.sum(axis=0)[:, None]
        once_more = 0.0 if stored in (0.0, operand) else stored  # of an activation, where it is not its rounding by p
        rate = compound(summed(count), once_more)
        output = off.T @ outer + rate * ((active + off).T @ outer)
        # what is lost in a factor meets the other one, and goes through roundings that at most double it
        # … and on a matrix unit χ besides, where the factor is subnormal (TOL-1)
        given, made = lost_entry + precision.alignment, lost + precision.alignment
        output = output + 2 * given * (active + off).sum(axis=0)[:, None]
        output = output + 2 * made * (outer.sum(axis=0) + 2 * count + 2)
        rates = (u, stored, entry, lost, lost_entry, precision.elementary)
        slope, slope_off = _slope(exact, output, targets, instance.loss, rates)
        pairs = outer @ slope.T
        pairs_off = outer @ slope_off.T
        of_pairs = pairs_off + summed(outer.shape[1]) * (pairs + pairs_off)
        of_pairs = of_pairs + 2 * given * (slope + slope_off).sum(axis=1)
        of_pairs = of_pairs + 2 * made * (outer.sum(axis=1)[:, None] + 2 * outer.shape[1] + 2)
        fired = may.sum(axis=1)[:, None]
        whole = np.where(may, pairs + of_pairs, 0.0) @ data  # at least every |gradient|
        hull = np.where(undecided, pairs + of_pairs, 0.0) @ data
        of_sum = summed(np.maximum(fired - 1, 0) * outer.shape[1] + 1)
        gradient = np.where(may, of_pairs, 0.0) @ data + of_sum * whole
        gradient = gradient + 2 * given * np.where(may, pairs + of_pairs, 0.0).sum(axis=1)[:, None]
        gradient = gradient + 2 * made * (np.where(may, data.sum(axis=1), 0.0).sum(axis=1)[:, None] + 2 * fired + 2)
        step, new = _step(
            instance, precision, exact, (weights, whole, gradient, hull), (u, stored, entry, lost, lost_entry)
        )
        largest = min(precision.largest, precision.largest_output) / 2
        total = targets if instance.loss == "squared" else targets.sum(axis=1)
        sums = (
            output + active.T @ outer, total, slope + slope_off, outer, pairs + of_pairs, whole + gradient,
            weights + abs(instance.rate) * whole, np.array(abs(instance.rate)),
        )  # fmt: skip
        inside = all(bool((x <= largest).all()) for x in sums)  # not where one is NaN
        inside &= max(float(x.max()) for x in (rate, of_sum, summed(outer.shape[1]))) <= 1.0
        if _all_exact(instance, precision, entry):
            output, gradient, step, new = (np.zeros_like(x) for x in (output, gradient, step, new))
        return Errors(undecided, *(_kept(bound, inside) for bound in (output, gradient, step, new)))


def _step(
    instance: Instance,
    precision: Precision,
    exact: Exact,
    sizes: tuple[Array, Array, Array, Array],
    rates: tuple[float, float, float, float, float],
) -> tuple[Array, Array]:
    """What new weights are off by: from those of the returned gradient, and from those of the kernel's decisions.

    sizes: |w|, at least every |gradient|, what it is off by, and how much undecided pairs can change it: (m, d).
    """
    u, stored, entry, lost, lost_entry = rates
    weights, whole, gradient, hull = sizes
    rate, once = abs(instance.rate), compound(u, stored)
    slope = np.minimum(whole, np.abs(exact.gradient.midpoint) + exact.gradient.radius + gradient + hull)
    of_rate = _of_rate(instance, precision)
    moved = rate * slope
    largest = np.abs(exact.new_weights.midpoint) + exact.new_weights.radius + rate * (gradient + hull)
    rounded = compound(of_rate, once) * moved + entry * weights + 4 * lost
    rounded = rounded + 2 * _lost(precision, of_rate) * slope + lost_entry
    rounded = rounded + once * (np.minimum(weights + moved, largest) + rounded)
    return 2 * rate * gradient + rounded, rate * gradient + rounded


def _all_exact(instance: Instance, precision: Precision, entry: float) -> bool:
    """Whether every number of a step with the squared loss is held by the class as it is, in any order."""
    if instance.loss != "squared" or _of_rate(instance, precision) or _converted(instance, precision):
        return False
    data, targets, weights, outer = (
        x.astype(np.float64) for x in (instance.data, instance.targets, instance.weights, instance.outer)
    )
    lowest = [int(lowest_bits(x).min()) for x in (data, targets, weights, outer)]
    of_data, of_targets, of_weights, of_outer = lowest
    of_threshold, of_rate = (int(lowest_bits(np.array([x]))[0]) for x in (instance.threshold, instance.rate))
    u = max(precision.product, precision.accumulate, precision.working)
    bits = int(-np.log2(max(u, precision.output, precision.stored, precision.operand, entry)))
    data, targets, weights, outer = (np.abs(x) for x in (data, targets, weights, outer))
    size, unit = weights @ data.T + abs(instance.threshold), min(of_weights + of_data, of_threshold)
    stages = [(size, unit)]
    size, unit = size.T @ outer + targets, min(unit + of_outer, of_targets)
    stages.append((size, unit))
    size, unit = outer @ size.T, unit + of_outer
    stages.append((size, unit))
    size, unit = size @ data, unit + of_data
    stages.append((size, unit))
    stages.append((weights + abs(instance.rate) * size, min(of_weights, unit + of_rate)))
    least = max(precision.tiny, float(_limits(precision).tiny))
    if min(*lowest, of_threshold, of_rate) < np.log2(precision.tiny):  # a number that may be lost on entry
        return False
    return all(
        (unit >= NONE // 2 and float(size.max()) == 0.0)  # not because it underflowed
        or (abs(unit) < 900 and float(size.max()) * _SLACK <= 2.0 ** (bits + unit) and 2.0**unit >= least)
        for size, unit in stages
    )


def _kept(bound: Array, inside: bool) -> Array:
    return np.where(np.isnan(bound) | (not inside), np.inf, bound * _SLACK)


def _of_margins(instance: Instance, precision: Precision) -> Array:
    """δ of every pair (FN-5): (m, n)."""
    asked = [data_of(range(len(instance.weights)))]
    firing = Firing.of(instance.data, instance.weights, asked, threshold=instance.threshold)
    (delta,) = errors_of_margins(firing, precision).values()
    return delta


def _limits(precision: Precision) -> Any:
    return ml_dtypes.finfo(dtype_named(precision.storage))  # type: ignore[no-untyped-call]


def _converted(instance: Instance, precision: Precision) -> float:
    """What a number is rounded by to the type of the class; 0 where it holds all of the arrays."""
    return max(_conversion(x.astype(np.float64), precision) for x in instance.arrays().values())


def _lost(precision: Precision, converted: float) -> float:
    """What a number may lose on entry besides, as in FN-5."""
    return precision.tiny + (float(_limits(precision).tiny) if converted else 0.0)


def _of_rate(instance: Instance, precision: Precision) -> float:
    return _conversion(np.array(instance.rate), precision)


def _conversion(x: Array, precision: Precision) -> float:
    with np.errstate(over="ignore"):
        held = bool((x.astype(dtype_named(precision.storage)).astype(np.float64) == x).all())
    return 0.0 if held else float(_limits(precision).eps) / 2


def _slope(
    exact: Exact, output: Array, targets: Array, loss: str, rates: tuple[float, float, float, float, float, float]
) -> tuple[Array, Array]:
    """|ℓ| at most, and what it is off by: (n, c) each; output: what z is off by."""
    u, stored, entry, lost, lost_entry, elementary = rates
    slope = np.abs(exact.slope.midpoint) + exact.slope.radius
    if loss == "squared":
        off = output + entry * targets + lost_entry
        return slope, off + compound(u, stored) * (slope + off) + 2 * lost
    z = exact.output.midpoint
    most = output.max(axis=1, keepdims=True)
    width = z.max(axis=1, keepdims=True) - z.min(axis=1, keepdims=True) + 2 * most
    c = z.shape[1]
    exponent = 2 * most + 2 * compound(u, stored) * (2 * width + np.log(c) + 2) + 2 * elementary * np.log(c)
    rate = compound(np.expm1(exponent), 2 * elementary, elementary, gamma(c + 6, u), stored, stored)
    total = targets.sum(axis=1, keepdims=True)
    share = slope + targets  # at least Σy·p
    off = compound(rate, entry, gamma(c + 2, u)) * share + entry * targets + 4 * (c + 1) * lost * (1 + total)
    off = off + 2 * (c + 1) * lost_entry
    return slope, off + compound(u, stored) * (slope + off) + 2 * lost
