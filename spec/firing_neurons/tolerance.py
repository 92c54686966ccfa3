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
from assay.spec.firing_neurons.exactness import exact_sums, lowest_bits, significant_bits
from assay.spec.firing_neurons.rounding import PRECISIONS, Correlations
from assay.spec.floating_point import require_usual
from assay.spec.floats import dtype_named
from assay.spec.memory import require_evaluable
from assay.spec.precision import Precision
from assay.spec.precision import precision as precision_named
from assay.spec.rounding import compound, gamma

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from assay.spec.firing_neurons.exactness import Exponents
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
    1e-16 7e-08 4e-03
    """
    require_evaluable(instance)
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
    """The roundings of a class on an instance, by the names of FN-5.

    converted: κ, of an entry that the type of the class does not hold.  entry: ε, of an entry on its way into a
    product.  sums: u, of every product and sum.  stored: s, of a correlation or a difference that is stored.
    lost_entry, tiny, lost_stored: what an entry, a product or a sum, and a stored number may lose besides.
    largest: no number may exceed it.  bits: of numbers that every operation keeps as they are, 0 where there are none.
    """

    precision: Precision
    converted: float
    entry: float
    sums: float
    stored: float
    lost_entry: float
    lost_stored: float
    largest: float
    bits: int
    least: float
    threshold: float  # of the structure
    inside: bool  # whether the type holds every entry, rounded

    @classmethod
    def of(cls, instance: Instance, precision: Precision) -> _Model:
        limits = _limits(precision)
        numbers = [x.astype(np.float64) for x in (instance.data, instance.weights, instance.new_weights)]
        converted, entry = _on_entry(numbers, precision)
        if precision.input_rounding and precision.of(Correlations).updates and _long(instance, precision):
            entry = precision.input_rounding
        u = max(precision.product, precision.accumulate, precision.working)
        stored = max(precision.output, precision.stored)
        largest = min(precision.largest, precision.largest_output, float(limits.max))
        return cls(
            precision=precision,
            converted=converted,
            entry=entry,
            sums=u,
            stored=stored,
            lost_entry=precision.tiny + (float(limits.tiny) if converted else 0.0),
            lost_stored=max(precision.output_tiny, precision.stored_tiny) + precision.tiny,
            largest=largest,
            bits=0 if converted or entry else math.floor(-math.log2(max(u, stored))),
            least=max(precision.tiny, float(limits.tiny)),
            threshold=instance.threshold,
            inside=2 * max(float(np.abs(x).max(initial=0.0)) for x in numbers) <= largest,
        )

    def of_threshold(self, threshold: float) -> float:
        """β: the rounding of a threshold to the type, and on its way into a product, of which it may be a column."""
        return float(compound(*_on_entry([np.array([threshold])], self.precision)))

    def asked(self, threshold: float) -> tuple[float, ...]:
        """The thresholds that meet in a query, as often as each is rounded.

        Where that of the structure is in its sums, the difference of the two is what a query compares with.
        """
        return (threshold,) if threshold == self.threshold else (threshold, self.threshold, self.threshold)

    def fresh(self, query: Query) -> Array:
        """δ of a structure that computes correlations from the weights as they are (FN-5)."""
        asked = self.asked(query.threshold)
        with np.errstate(all="ignore"):
            sizes = np.abs(query.rows) @ np.abs(query.columns).T * _SLACK
            bound = self.relative(query.rows.shape[1], sizes, asked) + self.lost(query.rows, query.columns, asked)
            total = sizes + sum(map(abs, asked))
            exact = self.exact(_lowest(query.rows), _lowest(query.columns), asked, total)
            return self.within(np.where(exact, 0.0, bound), total)

    def relative(self, d: int, sizes: Array, asked: tuple[float, ...], converted: bool = True) -> Array:
        """The relative part of δ, where Σ_c|w_c||x_c| is ``sizes``; ``converted``: with κ."""
        sums, of_b = (compound(gamma(k, self.sums), self.stored) for k in (d + 1, d))
        first = (self.converted, self.converted) if converted else ()
        bound = compound(self.entry, self.entry, *first, sums) * sizes
        for threshold in asked:  # it is no product, so that it passes through additions alone
            bound = bound + compound(self.of_threshold(threshold), of_b) * abs(threshold)
        return np.where(sums <= 1.0, bound, np.inf)  # the absolute part takes a factor of at most 2

    def lost(self, rows: Array, columns: Array, asked: tuple[float, ...]) -> Array:
        """The absolute part of δ: what small numbers lose on entry, in products and sums, and where they are stored."""
        d, u = rows.shape[1], self.precision
        ones = np.abs(rows).sum(axis=1)[:, None] + np.abs(columns).sum(axis=1)
        entries = self.lost_entry * (2 * ones + 2 * d * self.lost_entry + len(asked))
        entries = entries + u.alignment * (ones + len(asked) + d * u.least_factor)
        bound: Array = 2 * (entries + 2 * (d + 2) * u.tiny + 2 * self.lost_stored)
        return bound

    def exact(self, left: Exponents, right: Exponents, asked: tuple[float, ...], total: Array) -> NDArray[np.bool_]:
        """Where all arithmetic of the class is exact in any order (FN-10)."""
        if self.bits == 0 or any(self.of_threshold(threshold) for threshold in asked):
            return np.zeros(total.shape, dtype=bool)
        more = int(lowest_bits(np.array(asked)).min())
        kept = (left >= self.lowest_kept)[:, None] & (right >= self.lowest_kept)  # none is lost on entry
        return exact_sums(left, right, more, total, self.bits, self.least) & kept

    @property
    def lowest_kept(self) -> int:
        """The exponent of the least normal number of products: what is below may be lost on entry."""
        return int(lowest_bits(np.array([self.precision.tiny]))[0])

    def within(self, bound: Array, total: Array) -> Array:
        """The bound, and +inf where an entry or a sum may be beyond the largest number."""
        fits = (2 * total <= self.largest) & (total + bound <= self.largest)  # not where the bound is NaN
        return np.where(fits & self.inside, bound * _SLACK, np.inf)


def _limits(precision: Precision) -> Any:
    """The limits of the type that a class stores."""
    return ml_dtypes.finfo(dtype_named(precision.storage))  # type: ignore[no-untyped-call]


def _on_entry(numbers: list[Array], precision: Precision) -> tuple[float, float]:
    """What numbers may be rounded by: to the type of the class, and on their way into a product; 0 where it holds them.

    A truncation to p bits has the roundoff 2^(1 − p), and keeps numbers of p − 1 bits in any case.
    """
    with np.errstate(over="ignore"):
        kept = all((x.astype(dtype_named(precision.storage)).astype(np.float64) == x).all() for x in numbers)
    rounding = precision.input_rounding
    short = rounding == 0.0 or max(map(significant_bits, numbers)) <= -math.log2(rounding)
    return 0.0 if kept else float(_limits(precision).eps) / 2, 0.0 if kept and short else rounding


def _long(instance: Instance, precision: Precision) -> bool:
    """Whether some difference of old and new weights has more bits than those of entries that products keep."""
    weights, most = instance.weights.astype(np.float64), -math.log2(precision.input_rounding)
    for call in instance.calls():
        if call.weights is None:
            continue
        before, after = weights[call.operands], call.weights.astype(np.float64)
        with np.errstate(all="ignore"):
            change = after - before
            exact = (after - change == before) & (before + change == after)
        if not exact.all() or significant_bits(change) > most:
            return True
        weights[call.operands] = after
    return False


def _lowest(x: Array) -> Exponents:
    """The exponent of the lowest bit of every row."""
    lowest: Exponents = lowest_bits(x).min(axis=1)
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
    """E and H of FN-6 of every neuron and point, by the number of updates since the last product, while a script runs.

    Where that number is not limited, one pair that is at least that of every number is kept.
    """

    def __init__(self, model: _Model, data: Array, weights: Array, updates: float) -> None:
        self.model, self.data, self.points, self.most = model, data, np.abs(data), updates
        self.weights = weights.copy()
        self.lowest, self.lowest_data = _lowest(weights), _lowest(data)  # of all weights that a neuron had
        with np.errstate(all="ignore"):
            self.sizes = np.abs(weights) @ self.points.T * _SLACK
        self.largest = self.sizes.copy()  # of all that they were
        self.drifts = np.zeros_like(self.sizes)  # H of weights that are never stored as given
        self.ages = [
            [self._fresh(row, size, drift)] for row, size, drift in zip(weights, self.sizes, self.drifts, strict=True)
        ]

    def _fresh(self, row: Array, size: Array, drift: Array) -> tuple[Array, Array]:
        """E and H of a neuron whose correlations have just been computed, of the converted numbers: (n,).

        drift: H, by how much the stored weights, of which they are computed, may be off.
        """
        model, asked = self.model, (self.model.threshold,)
        with np.errstate(all="ignore"):
            size = size * (1 + model.converted) ** 2 + drift
            bound = model.relative(len(row), size, asked, converted=False) + drift
            return bound + model.lost(row[None], self.data, asked)[0], drift

    def update(self, neuron: int, row: Array) -> None:
        """New weights for a neuron."""
        model, d, before = self.model, len(row), self.weights[neuron]
        with np.errstate(all="ignore"):
            wide = (1 + model.converted) ** 2
            size = self.points @ np.abs(row) * _SLACK
            change = self.points @ np.abs(row - before) * _SLACK
            change = wide * (change + model.converted * (size + self.sizes[neuron]))
            value = np.maximum(self._value(row, size), self._value(before, self.sizes[neuron]))
            v, kappa = max(model.sums, model.stored), compound(gamma(d + 1, model.sums), model.stored)
            product = compound(model.entry, model.entry, kappa, v)
            lost = 2 * sum(model.lost(w[None], self.data, (0.0,))[0] for w in (row, before))
            drift = v * size * wide + v * (1 + v) * (change + self.drifts[neuron]) + lost  # H, of whatever age
            changed = []
            for error, weight in self.ages[neuron]:
                moved = change + weight
                after = (1 + kappa) * (error + product * moved + weight) + kappa * value + lost
                changed.append((after, drift))
            self.drifts[neuron] = drift
            self._age(neuron, self._fresh(row, size, drift), changed)
        self.weights[neuron], self.sizes[neuron] = row, size
        self.largest[neuron] = np.maximum(self.largest[neuron], size)
        self.lowest[neuron] = min(self.lowest[neuron], int(_lowest(row[None])[0]))

    def _value(self, row: Array, size: Array) -> Array:
        """At least |g|, the larger of |c| and |c − b|, of the converted numbers."""
        c = self.data @ row
        larger = np.maximum(np.abs(c), np.abs(c - self.model.threshold))
        slack = 2 * compound(self.model.converted, self.model.converted) + gamma(len(row) + 2, 2.0**-53)
        return np.asarray(larger + slack * (size + abs(self.model.threshold)))

    def _age(self, neuron: int, fresh: tuple[Array, Array], changed: list[tuple[Array, Array]]) -> None:
        if math.isinf(self.most):
            pairs = [fresh, *changed]
            error, weight = (functools.reduce(np.maximum, [pair[k] for pair in pairs]) for k in (0, 1))
            self.ages[neuron] = [(error, weight)]
        else:
            self.ages[neuron] = [fresh, *changed][: int(self.most) + 1]

    def errors(self, threshold: float) -> Array:
        """δ of a query for a threshold, of every neuron and point: (m, n)."""
        model, asked = self.model, self.model.asked(threshold)
        with np.errstate(all="ignore"):
            bound = np.array([functools.reduce(np.maximum, [error for error, _ in ages]) for ages in self.ages])
            bound = bound + compound(model.converted, model.converted) * self.sizes
            if len(asked) > 1:
                bound = bound + model.relative(self.data.shape[1], np.zeros(()), asked)
            bound = bound + 2 * model.lost_stored + 2 * model.lost_entry
            total = 2 * self.largest + sum(map(abs, asked))
            exact = model.exact(self.lowest, self.lowest_data, asked, total)
            return model.within(np.where(exact, 0.0, bound), total)
