"""Training steps of two layers: correct ones of unusual structure, which pass, and wrong ones, which fail.

One engine, :func:`_kernel`, does the work; a kernel replaces some of its :class:`Parts`.  Nothing here uses assay.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bank.entry import Entry

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BUGGY", "CORRECT"]

Array = NDArray[Any]
F32 = ("float32",)


def _softmax(x: Array) -> Array:
    power = np.exp(x - x.max(axis=1, keepdims=True))
    return np.asarray(power / power.sum(axis=1, keepdims=True))


def _slope(output: Array, targets: Array, loss: str) -> Array:
    if loss == "squared":
        return output - targets
    return np.asarray(targets.sum(axis=1, keepdims=True) * _softmax(output) - targets)


def _sums(mask: Array, pairs: Array, data: Array) -> Array:
    return np.asarray((mask * pairs).T @ data)


@dataclass(frozen=True)
class Parts:
    """What the engine does, part by part; the defaults are right."""

    work: Any = None  # the type of the work; that of the arrays where it is left out
    products: Callable[[Array, Array], Array] = lambda x, w: x @ w.T
    threshold: Callable[[float], float] = lambda b: b
    value: Callable[[Array, Any], Array] = lambda c, b: np.where(c > b, c - b, 0)
    fires: Callable[[Array, Any], Array] = lambda c, b: c > b
    slope: Callable[[Array, Array, str], Array] = _slope
    pairs: Callable[[Array, Array], Array] = lambda slope, outer: slope @ outer.T
    sums: Callable[[Array, Array, Array], Array] = _sums
    gradient: Callable[[Array, Array], Array] = lambda gradient, data: gradient
    new: Callable[[Array, Array, float], Array] = lambda w, g, rate: w - w.dtype.type(rate) * g
    output: Callable[[Array], Array] = lambda output: output


def _kernel(parts: Parts) -> Callable[..., Any]:
    def kernel(
        data: Array, targets: Array, weights: Array, outer: Array, *, threshold: float, rate: float,
        loss: str = "squared",
    ) -> Any:  # fmt: skip
        kind = data.dtype
        data, targets, weights, outer = (x.astype(parts.work or kind) for x in (data, targets, weights, outer))
        b = data.dtype.type(parts.threshold(threshold))
        table = parts.products(data, weights)
        output = parts.value(table, b) @ outer
        pairs = parts.pairs(parts.slope(output, targets, loss), outer)
        gradient = parts.gradient(parts.sums(parts.fires(table, b), pairs, data), data).astype(kind)
        new = parts.new(weights, gradient.astype(data.dtype), rate)
        return parts.output(output).astype(kind), gradient, new.astype(kind)

    return kernel


def _one_by_one(data: Array, weights: Array) -> Array:
    total = np.zeros((len(data), len(weights)), data.dtype)
    for column in range(data.shape[1])[::-1]:
        total += data[:, column, None] * weights[:, column]
    return total


def _point_by_point(mask: Array, pairs: Array, data: Array) -> Array:
    """Every point adds to the neurons that fire on it, and to no other."""
    made = np.zeros((mask.shape[1], data.shape[1]), data.dtype)
    for i in range(len(data))[::-1]:
        fired = np.flatnonzero(mask[i])
        made[fired] += pairs[i, fired, None] * data[i]
    return made


def _pairs_one_by_one(slope: Array, outer: Array) -> Array:
    total = np.zeros((len(slope), len(outer)), slope.dtype)
    for column in range(slope.shape[1]):
        total += slope[:, column, None] * outer[:, column]
    return total


def _leaning(c: Array, b: Any) -> Array:
    """What a rounding might have brought to the threshold counts; whole numbers are not rounded."""
    return np.where(c == np.rint(c), c > b, c * (1 + np.sign(c) * np.finfo(c.dtype).eps) > b)


def _plain(data: Array, targets: Array, weights: Array, outer: Array, *, threshold: float, rate: float) -> Any:
    return _kernel(Parts())(data, targets, weights, outer, threshold=threshold, rate=rate)


def _first(rows: int) -> Callable[[Array, Array, Array], Array]:
    """All points but so many at the end add to the gradient."""
    return lambda mask, pairs, data: _sums(mask[:-rows], pairs[:-rows], data[:-rows])


def _zeroed(x: Array) -> Array:
    made = x.copy()
    made[-1] = 0
    return made


def _half(x: Array) -> Array:
    return np.asarray(x.astype(np.float16).astype(x.dtype))


CORRECT: tuple[Entry, ...] = (
    Entry("dense", _kernel(Parts()), ("float32", "float64"), "whole matrices"),
    Entry("one-by-one", _kernel(Parts(products=_one_by_one, pairs=_pairs_one_by_one)), F32, "sums one after the other"),
    Entry("point-by-point", _kernel(Parts(sums=_point_by_point)), ("float32", "float64"), "the pairs that fire alone"),
    Entry("wider", _kernel(Parts(work=np.float64)), F32, "in float64, rounded at the end"),
    Entry("leaning", _kernel(Parts(fires=_leaning)), F32, "undecided pairs count in the gradient, and not in the output"),
    Entry("plain", _plain, F32, "the squared loss alone"),
)  # fmt: skip

BUGGY: tuple[Entry, ...] = (
    Entry("ignored", _kernel(Parts(threshold=lambda b: 0.0)), F32, "the threshold ignored", diagnosis="threshold is ignored"),
    Entry("negated", _kernel(Parts(threshold=lambda b: -b)), F32, "the threshold negated", diagnosis="wrong sign"),
    Entry("unshifted", _kernel(Parts(value=lambda c, b: np.where(c > b, c, 0))), F32, "the threshold is not taken off", diagnosis="without the threshold taken off"),
    Entry("linear", _kernel(Parts(value=lambda c, b: c - b)), F32, "no rectifier in the forward pass", diagnosis="no rectifier"),
    Entry("ties", _kernel(Parts(fires=lambda c, b: c >= b)), F32, "ties count in the gradient", diagnosis="at the threshold counts"),
    Entry("all-count", _kernel(Parts(fires=lambda c, b: np.ones_like(c, bool))), F32, "no mask in the backward pass", diagnosis="that do not fire count"),
    Entry("backward-zero", _kernel(Parts(fires=lambda c, b: c > 0)), F32, "the backward pass compares with 0", diagnosis="compares with 0"),
    Entry("mean", _kernel(Parts(gradient=lambda g, x: g / x.dtype.type(len(x)))), F32, "the mean over points", diagnosis="the mean over the points"),
    Entry("double", _kernel(Parts(slope=lambda y, t, k: 2 * _slope(y, t, k))), F32, "no half in the squared loss", diagnosis="without its half"),
    Entry("uphill", _kernel(Parts(slope=lambda y, t, k: -_slope(y, t, k))), F32, "targets − output", diagnosis="gradient has the wrong sign"),
    Entry("ascent", _kernel(Parts(new=lambda w, g, rate: w + w.dtype.type(rate) * g)), F32, "the step is added", diagnosis="uphill"),
    Entry("no-step", _kernel(Parts(new=lambda w, g, rate: w)), F32, "weights stay", diagnosis="new weights are the old ones"),
    Entry("twice", _kernel(Parts(new=lambda w, g, rate: w - w.dtype.type(2 * rate) * g)), F32, "the step twice", diagnosis="taken twice"),
    Entry("rate-one", _kernel(Parts(new=lambda w, g, rate: w - g)), F32, "the rate is left out", diagnosis="rate is taken for 1"),
    Entry("no-softmax", _kernel(Parts(slope=lambda y, t, k: y - t)), F32, "the gradient of the squared loss", diagnosis="other loss"),
    Entry("class-weights", _kernel(Parts(slope=lambda y, t, k: y - t if k == "squared" else _softmax(y) - t)), F32, "targets are taken to add up to 1"),
    Entry("no-outer", _kernel(Parts(pairs=lambda s, a: s @ np.ones_like(a).T)), F32, "no outer weights in the gradient", diagnosis="outer weights are left out"),
    Entry("no-targets", _kernel(Parts(slope=lambda y, t, k: _slope(y, 0 * t, k))), F32, "targets ignored", diagnosis="targets are ignored"),
    Entry("last-point", _kernel(Parts(sums=_first(1))), F32, "the last point adds nothing", diagnosis="last point is left out of the gradient"),
    Entry("last-neuron", _kernel(Parts(gradient=lambda g, x: _zeroed(g))), F32, "the last neuron gets nothing", diagnosis="last neuron is left out"),
    Entry("last-output", _kernel(Parts(output=_zeroed)), F32, "the output of the last point is 0", diagnosis="output of the last point"),
    Entry("half", _kernel(Parts(products=lambda x, w: _half(x) @ _half(w).T)), F32, "correlations of float16"),
    Entry("half-gradient", _kernel(Parts(gradient=lambda g, x: _half(g))), F32, "a gradient of float16"),
)  # fmt: skip
