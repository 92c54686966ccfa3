"""What a correct structure of a class may err in a margin (proofs_notes/firing_neurons.md, FN-5, FN-6 and FN-10).

The names are those of the proofs.  Everything is computed in float64; the factor 1 + 1e-9 pays for the roundings of
that.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

from assay.spec.firing_neurons.definition import Query, queries
from assay.spec.firing_neurons.exactness import NONE, exact_sums, lowest_bits, significant_bits
from assay.spec.firing_neurons.rounding import PRECISIONS, Correlations
from assay.spec.floating_point import require_usual
from assay.spec.floats import dtype_named
from assay.spec.precision import Precision
from assay.spec.precision import precision as precision_named
from assay.spec.rounding import compound, gamma

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from assay.spec.firing_neurons.instance import Instance

    Array = NDArray[np.float64]

__all__ = ["errors", "tolerance"]

_SLACK = 1.0 + 1e-9


def tolerance(instance: Instance, precision: str | Precision, output: str = "fired") -> Array:
    """δ: what the margins of an output may be off in a correct structure of the class.

    The shapes are those of :func:`~assay.spec.firing_neurons.define`.
    Within δ of 0 either answer is right.  It is 0 where all arithmetic of the class is exact, so that a tie is decided,
    and +inf outside the domain of the class.  Raises ``ValueError`` for an unknown class or output.

    >>> from assay.spec.firing_neurons import Instance, fired
    >>> instance = Instance.of(np.array([[0.1]]), np.array([[0.3], [2.0]]), [fired([0])], threshold=1.0)
    >>> print(*(f"{tolerance(instance, name)[0]:.0e}" for name in ("float64", "float32", "bfloat16")))
    2e-16 1e-07 4e-03
    """
    found = errors(instance, precision_named(precision, PRECISIONS))
    if output in ("fired", "data_of"):
        parts = [bound.ravel() for name, bound in found.items() if name.startswith(f"{output} ")]
        return np.concatenate([np.zeros(0), *parts])
    if output not in found:
        raise ValueError(f"unknown output {output!r}: expected one of {', '.join(['fired', 'data_of', *found])}")
    return found[output]


@functools.lru_cache(maxsize=2)  # a judge asks for every output of an instance
def errors(instance: Instance, precision: Precision) -> Mapping[str, Array]:
    """δ of every query of the script, by name: (points, m) or (neurons, n)."""
    require_usual()
    model = _Model.of(instance, precision)
    if precision.of(Correlations).updates == 0.0:
        return {query.name: model.fresh(query) for query in queries(instance)}
    return _drifting(instance, model, precision.of(Correlations).updates)


@dataclass(frozen=True)
class _Model:
    """The roundings of a class on an instance.

    entry: of an entry of data or weights on entry to a product.  sums: u, of every product and sum.  stored: of a
    correlation and of a difference that is stored.  The other fields are the absolute parts, and the domain.
    """

    entry: float
    sums: float
    stored: float
    lost_entry: float
    tiny: float
    lost_stored: float
    largest: float
    bits: float
    least: float
    storage: str
    truncates: float
    threshold: float  # of the structure

    @classmethod
    def of(cls, instance: Instance, precision: Precision) -> _Model:
        limits: Any = ml_dtypes.finfo(dtype_named(precision.storage))  # type: ignore[no-untyped-call]
        numbers = [x.astype(np.float64) for x in (instance.data, instance.weights, instance.new_weights)]
        kept = all(_held(x, precision.storage) for x in numbers)
        converted = 0.0 if kept else float(limits.eps) / 2
        exact = kept and _untouched(max(map(significant_bits, numbers)), precision.input_rounding)
        u = max(precision.product, precision.accumulate, precision.working)
        stored = max(precision.output, precision.stored)
        return cls(
            entry=float(compound(precision.input_rounding, converted)),
            sums=u,
            stored=stored,
            lost_entry=precision.tiny + (0.0 if kept else float(limits.tiny)),
            tiny=precision.tiny,
            lost_stored=max(precision.output_tiny, precision.stored_tiny) + precision.tiny,
            largest=min(precision.largest, precision.largest_output, float(limits.max)),
            bits=math.floor(-math.log2(max(u, stored))) if exact else -NONE,
            least=max(precision.tiny, float(limits.tiny)),
            storage=precision.storage,
            truncates=precision.input_rounding,
            threshold=instance.threshold,
        )

    def of_threshold(self, threshold: float) -> float:
        """β: the rounding of a threshold to the type, and on entry to a product, of which it may be a column."""
        limits: Any = ml_dtypes.finfo(dtype_named(self.storage))  # type: ignore[no-untyped-call]
        converted = 0.0 if _held(np.array([threshold]), self.storage) else float(limits.eps) / 2
        return float(compound(self.truncates, converted))

    def thresholds(self, threshold: float) -> tuple[float, ...]:
        """The thresholds that meet in a query: that of the structure may be in its sums already."""
        return (threshold,) if threshold == self.threshold else (threshold, self.threshold)

    def fresh(self, query: Query) -> Array:
        """δ of a structure that computes correlations from the weights as they are (FN-5)."""
        asked = self.thresholds(query.threshold)
        with np.errstate(all="ignore"):
            lost = self.lost(query.rows, query.columns, asked)
            sizes = np.abs(query.rows) @ np.abs(query.columns).T * _SLACK
            bound = self.margin(query.rows.shape[1], sizes, asked) + lost
            total = sizes + sum(map(abs, asked))
            exact = self.exact(_lowest(query.rows), _lowest(query.columns), asked, total)
            return self.within(np.where(exact, 0.0, bound), total)

    def margin(self, d: int, sizes: Array, asked: tuple[float, ...]) -> Array:
        """The relative part of δ, where Σ_c|w_c||x_c| is ``sizes``."""
        sums = compound(gamma(d + 1, self.sums), self.stored)
        bound = compound(self.entry, self.entry, sums) * sizes
        for threshold in asked:
            bound = bound + compound(self.of_threshold(threshold), sums) * abs(threshold)
        return np.asarray(bound)

    def lost(self, rows: Array, columns: Array, asked: tuple[float, ...]) -> Array:
        """The absolute part of δ: what small numbers lose on entry, in products and sums, and where they are stored."""
        d = rows.shape[1]
        ones = np.abs(rows).sum(axis=1)[:, None] + np.abs(columns).sum(axis=1)
        entries = self.lost_entry * (ones + d * self.lost_entry + len(asked))
        bound: Array = 2 * (entries + 2 * (d + 2) * self.tiny + 2 * self.lost_stored)
        return bound

    def exact(
        self, left: NDArray[np.int64], right: NDArray[np.int64], asked: tuple[float, ...], total: Array
    ) -> NDArray[np.bool_]:
        """Where all arithmetic of the class is exact in any order (FN-10)."""
        held = all(self.of_threshold(threshold) == 0.0 or threshold == 0.0 for threshold in asked)
        more = int(min(_lowest(np.array([[threshold]]))[0] for threshold in asked))
        exact = exact_sums(left, right, more, total, self.bits, self.least)
        return exact & held if self.bits > 0 else np.zeros_like(exact)

    def within(self, bound: Array, total: Array) -> Array:
        """The bound, and +inf where a sum may be beyond the largest number."""
        return np.where((2 * total <= self.largest) & ~np.isnan(bound), bound * _SLACK, np.inf)


def _held(x: Array, storage: str) -> bool:
    """Whether a type holds every number as it is."""
    with np.errstate(over="ignore"):
        return bool((x.astype(dtype_named(storage)).astype(np.float64) == x).all())


def _untouched(bits: int, rounding: float) -> bool:
    """Whether numbers of so many significant bits pass a rounding unchanged."""
    return rounding == 0.0 or bits <= -math.log2(rounding)


def _lowest(x: Array) -> NDArray[np.int64]:
    """The exponent of the lowest bit of every row."""
    lowest: NDArray[np.int64] = lowest_bits(x).min(axis=1)
    return lowest


def _drifting(instance: Instance, model: _Model, updates: float) -> Mapping[str, Array]:
    """δ of a structure that changes correlations by differences, up to ``updates`` times in a row (FN-6)."""
    data = instance.data.astype(np.float64)
    correlations = _Correlations(model, data, instance.weights.astype(np.float64), updates)
    found = {}
    for step, call in enumerate(instance.calls(), start=2):
        if call.weights is not None:
            for neuron, row in zip(call.operands.tolist(), call.weights.astype(np.float64), strict=True):
                correlations.update(neuron, row)
            continue
        threshold = instance.threshold if call.threshold is None else call.threshold
        neurons = np.arange(len(instance.weights)) if call.method == "fired" else call.operands
        points = call.operands if call.method == "fired" else np.arange(len(data))
        bound = correlations.errors(threshold)[np.ix_(neurons, points)]
        found[f"{call.method} at step {step}"] = bound.T if call.method == "fired" else bound
    return found


class _Correlations:
    """The bounds of FN-6 while a script is played: E and H of every neuron and point, by age of the last product."""

    def __init__(self, model: _Model, data: Array, weights: Array, updates: float) -> None:
        self.model, self.data, self.weights, self.most = model, data, weights.copy(), updates
        self.lowest = _lowest(weights)  # of all weights that a neuron had
        self.sizes = np.abs(weights) @ np.abs(data).T * _SLACK
        self.largest = self.sizes.copy()  # of all that they were
        # by neuron, for every number of updates since its last product: (E, H), each (n,)
        self.ages = [[(self._fresh(row, size), 0.0 * size)] for row, size in zip(weights, self.sizes, strict=True)]

    def _fresh(self, row: Array, size: Array) -> Array:
        asked = (self.model.threshold,)
        with np.errstate(all="ignore"):
            bound = self.model.margin(len(row), size, asked) + self.model.lost(row[None], self.data, asked)[0]
        return np.asarray(bound)

    def update(self, neuron: int, row: Array) -> None:
        """New weights for a neuron."""
        model, d = self.model, len(row)
        points = np.abs(self.data)
        with np.errstate(all="ignore"):
            size = points @ np.abs(row) * _SLACK
            change = points @ np.abs(row - self.weights[neuron]) * _SLACK
            value = np.abs(self.data @ row) + gamma(d + 2, 2.0**-53) * size
            value = value + abs(model.threshold)
            v, kappa = max(model.sums, model.stored), compound(model.sums, model.stored)
            product = compound(model.entry, model.entry, gamma(d, model.sums), model.stored, v)
            lost = 2 * model.lost(row[None], self.data, (0.0,))[0]
            lost = lost + 2 * model.lost(self.weights[neuron][None], self.data, (0.0,))[0]
            changed = []
            for error, weight in self.ages[neuron]:
                moved = change + weight
                after = (1 + kappa) * (error + product * moved + weight) + kappa * value + lost
                changed.append((after, v * size + v * (1 + v) * moved + lost))
            self._age(neuron, (self._fresh(row, size), 0.0 * size), changed)
        self.weights[neuron], self.sizes[neuron] = row, size
        self.largest[neuron] = np.maximum(self.largest[neuron], size)
        self.lowest[neuron] = min(self.lowest[neuron], int(_lowest(row[None])[0]))

    def _age(self, neuron: int, fresh: tuple[Array, Array], changed: list[tuple[Array, Array]]) -> None:
        if math.isinf(self.most):  # one bound for every age
            pairs = [fresh, *changed]
            error, weight = (functools.reduce(np.maximum, [pair[k] for pair in pairs]) for k in (0, 1))
            self.ages[neuron] = [(error, weight)]
        else:
            self.ages[neuron] = [fresh, *changed][: int(self.most) + 1]

    def errors(self, threshold: float) -> Array:
        """δ of a query for a threshold, of every neuron and point: (m, n)."""
        model, asked = self.model, self.model.thresholds(threshold)
        d = self.data.shape[1]
        with np.errstate(all="ignore"):
            bound = np.array([functools.reduce(np.maximum, [error for error, _ in ages]) for ages in self.ages])
            rate = compound(model.of_threshold(threshold), gamma(d + 1, model.sums), model.stored)
            bound = bound + (rate * abs(threshold) if len(asked) > 1 else 0.0) + 2 * model.lost_stored
            total = 2 * self.largest + sum(map(abs, asked))
            exact = model.exact(self.lowest, _lowest(self.data), asked, total)
            return model.within(np.where(exact, 0.0, bound), total)
