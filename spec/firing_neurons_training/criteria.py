"""What a step is held to: the output, the gradient for one of the decisions that are right, and the step from it."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec.criterion import Criterion, close
from assay.spec.enclosure import DoubleDoubleBall, Enclosure, in_units_of
from assay.spec.firing_neurons_training.definition import evaluate
from assay.spec.firing_neurons_training.tolerance import PRECISIONS, errors
from assay.spec.precision import precision as precision_named
from assay.spec.precision import reference_accuracy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from assay.spec.firing_neurons_training.definition import Exact
    from assay.spec.firing_neurons_training.instance import Instance
    from assay.spec.firing_neurons_training.tolerance import Errors
    from assay.spec.precision import Precision

    Array = NDArray[np.float64]

__all__ = ["criteria"]

_TRIED = 10  # undecided pairs of a neuron of which every choice is tried
_STEPS = 60  # of the search for a direction that shows a gradient wrong


def criteria(instance: Instance, precision: str | Precision) -> Mapping[str, Criterion]:
    """The criterion of every output (FN-13).

    ``output``: close to the exact one; an undecided neuron hardly moves it.
    ``gradient``: of every neuron, close to the gradient for some choice of the undecided pairs, one for all
    coordinates; for more than ten pairs of a neuron, to a convex combination of these.
    ``new_weights``: close to weights − rate·gradient of the gradient that was returned.

    >>> from assay.spec.firing_neurons_training import Instance
    >>> step = Instance(*(np.array([[x]]) for x in (2.0, 1.0, 3.0, -1.0)), threshold=1.0, rate=0.5)
    >>> held_to = criteria(step, "float32")
    >>> held_to["gradient"].ratio(np.array([[12.0]])).item(), held_to["gradient"].ratio(np.array([[0.0]])).item() > 1e4
    (0.0, True)
    """
    u = precision_named(precision, PRECISIONS)
    exact = evaluate(instance, reference_accuracy(u))
    allowed = errors(instance, u, exact)
    return {
        "output": close(exact.output, allowed.output),
        "gradient": _gradient(instance, exact, allowed),
        "new_weights": _new_weights(instance, allowed),
    }


def _gradient(instance: Instance, exact: Exact, allowed: Errors) -> Criterion:
    """Of every neuron the error for the choice of its undecided pairs that suits the gradient best: (m, d)."""
    plain = close(exact.gradient, allowed.gradient)
    data = instance.data.astype(np.float64)
    fires = exact.margins.midpoint > 0.0
    some = np.flatnonzero(allowed.undecided.any(axis=1))

    def error(value: NDArray[Any]) -> Array:
        found = plain.error(value)
        returned = np.broadcast_to(np.asarray(value).astype(np.float64), exact.gradient.shape)
        for r in some.tolist():
            if not np.isfinite(returned[r]).all():
                continue
            pairs = np.flatnonzero(allowed.undecided[r])
            with np.errstate(all="ignore"):
                change = exact.pairs.midpoint[r, pairs, None] * data[pairs]  # (pairs, d)
                rounding = (len(pairs) + 8) * 2.0**-52
                sizes = np.abs(change).sum(axis=0) + np.abs(exact.gradient.midpoint[r]) + np.abs(returned[r])
                slack = exact.pairs.radius[r, pairs] @ np.abs(data[pairs]) + exact.gradient.radius[r] + rounding * sizes
                gap = returned[r] - (exact.gradient.midpoint[r] - fires[r, pairs] @ change)  # as if none of them fired
                found[r] = _best(gap, change, slack, allowed.gradient[r])
        return found

    return Criterion(error, allowed.gradient, plain.expected, value=exact.gradient)


def _best(gap: Array, change: Array, slack: Array, allowed: Array) -> Array:
    """At least what a gap is left with, (d,), whichever of the changes (k, d) are made."""
    if len(change) <= _TRIED:
        choices = np.array(list(itertools.product((0.0, 1.0), repeat=len(change))))
        left = np.maximum(np.abs(gap - choices @ change) - slack, 0.0)
        best: Array = left[int(in_units_of(left, allowed).max(axis=1).argmin())]
        return best
    low, high = np.minimum(change, 0.0).sum(axis=0), np.maximum(change, 0.0).sum(axis=0)
    box: Array = np.maximum(np.maximum(gap - high, low - gap) - slack, 0.0)
    if not (np.isfinite(allowed) & (allowed > 0.0)).all():
        return box
    shown = _shown(gap, change, slack, allowed) * allowed * (1 - 2.0**-40)
    return np.asarray(np.maximum(box, shown))


def _shown(gap: Array, change: Array, slack: Array, allowed: Array) -> float:
    """A number of tolerances by which every convex combination of changes misses the gap in some coordinate.

    For any direction y, ⟨y, gap⟩ is at most Σ max(0, ⟨y, change⟩) + Σ|y|(slack + t·allowed) where t is enough.  The
    direction is what a search for the nearest combination leaves over; every direction gives a right number.
    """
    scaled = change / allowed
    size = float((scaled**2).sum()) or 1.0
    share = np.full(len(change), 0.5)
    best = 0.0
    for _ in range(_STEPS):
        left = gap / allowed - share @ scaled
        y = left / allowed
        most = np.maximum(change @ y, 0.0).sum() + np.abs(y) @ slack
        terms = np.abs(y) @ np.abs(gap) + np.abs(change @ y).sum()
        if (weight := float(np.abs(y) @ allowed)) > 0.0:
            best = max(best, (float(y @ gap - most) - 2.0**-40 * float(terms)) / weight)
        share = np.clip(share + scaled @ left / size, 0.0, 1.0)
    return best


def _new_weights(instance: Instance, allowed: Errors) -> Criterion:
    """New weights against weights − rate·gradient, of the gradient that was returned."""
    weights = instance.weights.astype(np.float64)

    def error(gradient: NDArray[Any], new: NDArray[Any]) -> Array:
        with np.errstate(all="ignore"):
            numbers = (np.asarray(x).astype(np.float64) for x in (gradient, new))
            moved, returned = (np.broadcast_to(x, weights.shape) for x in numbers)
            gap = DoubleDoubleBall.exact(moved).scaled(instance.rate).plus(returned).plus(-weights)
            least = Enclosure(*gap.rounded()).least_error(0.0)
        return np.where(np.isfinite(moved) & np.isfinite(returned), least, np.inf)

    return Criterion(
        error,
        allowed.step,
        lambda _: "expected weights − rate·gradient, of the returned gradient",
        ("gradient", "new_weights"),
    )
