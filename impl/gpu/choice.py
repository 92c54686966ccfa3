"""Which polynomial takes the place of exp on a GPU: that of least degree whose bound is predicted to be small enough.

The host decides by what it knows of the scores and values, which are bounds that it was told or waited for.  What is
proved of a result is computed on the device, whatever was known.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.attention.choice import RATIOS, geometric_mean, least_errors
from assay.impl.cpu.attention.plan import SLACK, U
from assay.impl.cpu.features import monomials, rank
from assay.impl.gpu import features
from assay.spec.approximation import Approximation, Infeasible, exp_by_moment, exp_of_degree
from assay.spec.attention.perturbation import output_error, weight_error
from assay.spec.rounding import gamma

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from assay.impl.gpu.features import Hull
    from assay.impl.gpu.machine import Machine

__all__ = ["Known", "Plan", "Size", "chosen", "known", "require", "said"]

_LARGEST_RADIUS, _SMALLEST_RADIUS = 40.0, 2.0**-20  # of scores, as on the CPU
_PER_OCTAVE = 8  # radii: few, so that few polynomials are computed
_TRIED = 4  # degrees
_ROOM = 0.98  # the part of an error that is granted to a prediction
_LONGEST, _MOST_GROWTH = 2.0**8, 2.0**600  # of GPU-11: the largest norm of queries, and sum of features
_LEAST = 2.0**-1069  # more than a certificate is in any case


@dataclass(frozen=True)
class Known:
    """Bounds over all heads: of the scores in size, of the length of an interval of values, of values in size.

    share: at least the mean of e^s of a row.  moments: order p → the largest mean of s^p of a row.
    """

    radius: float
    spread: float
    magnitude: float
    share: float = 1.0
    moments: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Size:
    """The coordinates, the keys of every mode, the heads of keys, the columns of values, and the bytes of storage."""

    dimension: int
    keys: tuple[int, ...]
    heads: int
    columns: int
    memory: int

    def spans(self, degree: int) -> int:
        """How many spans of keys may be summed apart.  Raises :class:`Infeasible` where there is no room for one."""
        each = self.heads * self.table(degree)
        room = self.memory // each - min(len(self.keys), 2)  # beside the sums: the means of one mode, or of two
        if room < 1:
            raise self.too_large(degree)
        return room

    def table(self, degree: int) -> int:
        """The bytes of the sums of one head.  No table of monomials is made before it is known to fit."""
        return 8 * (-(-rank(self.dimension, degree) // 8) * 8) * (self.columns + 1)

    def too_large(self, degree: int) -> Infeasible:
        """The refusal of a polynomial for which there is no room."""
        return Infeasible(
            f"rank {rank(self.dimension, degree)} (degree {degree}) needs more than the "
            f"{self.memory / 2**20:.0f} MiB allowed"
        )

    def roundings(self, degree: int) -> list[int]:
        """K_m of every degree m of a term.  Raises :class:`Infeasible` as :meth:`spans` does."""
        spans = self.spans(degree)
        return [features.roundings(self.dimension, degree, m, self.keys, spans) for m in range(degree + 1)]


@dataclass(frozen=True, eq=False)
class Plan:
    """A polynomial, what it errs in units of the spread of the values, and Γ of GPU-11.

    order: of the moment that it errs by (GPU-18), 0 for none.  With one, cut·(1 + measure·moment + loss) over the mean
    of the weights of a row is what it errs.
    """

    approximation: Approximation
    cut: float
    growth: float
    order: int = 0
    measure: float = 0.0
    loss: float = 0.0

    @property
    def degree(self) -> int:
        return self.approximation.degree

    @property
    def radius(self) -> float:
        return self.approximation.interval[1]

    def weights(self, dimension: int) -> NDArray[np.float64]:
        """(padded rank,): the weights c_|α| (|α| choose α) of the means."""
        table = monomials(dimension, self.degree)
        weights: NDArray[np.float64] = np.array(self.approximation.coefficients)[table.order] * table.multinomial
        return weights


def require(error: Any, bounds: Any, memory: Any, most: int = 2) -> None:
    """Raise ``ValueError`` for a request that is none; most: numbers of ``bounds``."""
    if isinstance(error, bool) or not isinstance(error, (int, float, np.number)) or not 0.0 < error < math.inf:
        raise ValueError(f"error: {error!r}, expected a positive finite number")
    if bounds is not None and not (2 <= len(bounds) <= most and all(0.0 <= each < math.inf for each in bounds)):
        squares = " (and of mean squares of scores)" if most > 2 else ""
        raise ValueError(f"bounds: {bounds!r}, expected bounds of the scores and of the values{squares}")
    if memory < 1:
        raise ValueError(f"memory: {memory!r}, expected a positive number of bytes")


def known(
    machine: Machine, reach: Any, hull: Hull, bounds: tuple[float, ...] | None, *, centred: bool = True,
    moments: Mapping[int, Any] | None = None,
) -> Known:  # fmt: skip
    """What the host is told: the bounds, or else what was measured on the device, for which the call waits.

    reach (heads, 3): bounds of the scores first.  centred: whether keys are.  moments: order → means (heads,).
    """
    if bounds is not None:
        radius, size, *squares = map(float, bounds)
        spread, told = 2.0 * size, dict(zip((2,) if moments else (), squares, strict=False))
    else:
        least, largest = hull.least, hull.largest
        numbers = (reach[:, 0].max(), (largest - least).max(), abs(largest).max(), abs(least).max())
        radius, spread, *sizes = (float(machine.host(number)) for number in numbers)
        size = max(sizes)
        told = {order: float(machine.host(means.max())) for order, means in (moments or {}).items()}
    return Known(radius, spread, size, 1.0 if centred else math.exp(-min(radius, _LARGEST_RADIUS)), told)


def said(plan: Plan, dimension: int, told: Known, *, promised: bool) -> str:
    """The route of a result."""
    return (
        f"polynomial on the device: degree {plan.degree}, rank {rank(dimension, plan.degree)}, "
        f"scores within ±{told.radius:.3g} {'as promised' if promised else 'as measured'}"
        f"{f', by moments of order {plan.order}' if plan.order else ''}"
    )


def chosen(told: Known, error: float, dtype: str, size: Size) -> Plan:
    """The plan of least degree that is predicted to err by at most ``error``.  Raises :class:`Infeasible`."""
    if not told.radius <= _LARGEST_RADIUS:
        raise Infeasible(f"scores of up to {told.radius:.3g} in size, of which the polynomial method serves 40")
    relative, absolute = features.STORED[dtype]
    half = 0.5 * told.spread
    left = error - relative * told.magnitude - absolute - 8.0 * U * (told.magnitude + told.spread) - _LEAST
    left -= 1.5 * U * told.radius * told.spread
    if not left > 0.0:
        raise Infeasible(f"error {error:g}: rounding alone may cost {error - left:.2g}")
    if not told.spread > 0.0:  # P = 1: a mean of the values, which is in their interval as the exact one is
        radius = max(told.radius, _SMALLEST_RADIUS)
        return replace(_plan(Approximation((1.0,), (-radius, radius), 0.0, 0.0), size), cut=SLACK)
    power = math.ceil(math.log2(max(told.radius, _SMALLEST_RADIUS)) * _PER_OCTAVE) / _PER_OCTAVE
    radius = max(2.0**power, told.radius)
    best = math.inf
    without = replace(told, moments={})  # for where moments promise too much
    tried = (itertools.islice(_candidates(each, radius, left), _TRIED) for each in (told, without))
    for degree, order, ratio in itertools.chain.from_iterable(tried):
        size.roundings(degree)  # what there is no room for is refused before a polynomial is computed
        if order:
            plan = _by_moment(exp_by_moment(radius, degree, order, ratio, False), order, ratio, size)
            weight = 1.0 + plan.measure * told.moments[order] + plan.loss
        else:
            approximation = exp_of_degree(radius, degree)
            if not approximation.error < 0.5:
                continue
            plan, weight = _plan(approximation, size), 1.0
        # of the mean of the weights of a row, at least
        share = told.share * (1.0 - plan.approximation.error * weight)
        if not share > 0.5 * told.share:
            continue
        cut = plan.cut * told.spread * (weight / share if order else 1.0)
        lost = plan.growth / (_ROOM * share)
        predicted = (cut + lost * (2.0 * half + cut)) * SLACK
        if lost < 0.5 and predicted <= left:
            return plan
        best = min(best, predicted + error - left)
    raise Infeasible(f"error {error:g}: scores up to {told.radius:.3g}, the best certificate in sight is {best:.2g}")


def _candidates(told: Known, radius: float, left: float) -> Iterator[tuple[int, int, float]]:
    """Degrees that are predicted to be enough, the least first, with the order and the ratio of their measure."""
    allowed = [(0, 0.0, _ROOM * min(weight_error(min(left / told.spread, 1.0)), 0.5))]
    for order, moment in told.moments.items():

        def share(ratio: float, order: int = order, moment: float = moment) -> float:
            return (1.0 + moment * (ratio / radius) ** order) / geometric_mean(order, ratio)

        ratio = min(RATIOS, key=share)
        allowed.append((order, ratio, _ROOM * left / told.spread / share(ratio)))
    for degree, predicted in enumerate(least_errors(radius)):
        for order, ratio, most in allowed:
            if predicted <= most:
                yield degree, order, ratio
                break


def _plan(approximation: Approximation, size: Size) -> Plan:
    return Plan(approximation, output_error(approximation.error) * SLACK, _growth(approximation, size))


def _by_moment(approximation: Approximation, order: int, ratio: float, size: Size) -> Plan:
    """The plan of a polynomial with the weight 1 + measure·s^order, of GPU-18."""
    roundings = replace(size, columns=0).roundings(order)[order]
    measure = (ratio / approximation.interval[1]) ** order * SLACK
    loss = float(gamma(roundings, U)) * ratio**order * SLACK
    return Plan(approximation, approximation.error * SLACK, _growth(approximation, size), order, measure, loss)


def _growth(approximation: Approximation, size: Size) -> float:
    """Γ of GPU-11.  Raises :class:`Infeasible` where a table or a number may be too large."""
    degree, coefficients = approximation.degree, np.abs(approximation.coefficients)
    powers = np.arange(degree + 1.0)
    with np.errstate(over="ignore"):
        widest = float((coefficients * (_LONGEST * size.dimension) ** powers).sum())
    if not widest <= _MOST_GROWTH:
        raise Infeasible(f"degree {degree} in {size.dimension} coordinates may leave float64")
    rounded = gamma(np.array(size.roundings(degree)), U) * coefficients
    return float((rounded * approximation.interval[1] ** powers).sum()) * SLACK
