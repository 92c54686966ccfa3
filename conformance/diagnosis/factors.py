"""A factor that explains a failure: of an output, or of an option, as one number that is fitted and then checked.

A factor is told only if, with it, every number of every failure is within its tolerance, and without it none of the
failures would be; and only of several failures of unlike inputs, since one number can be made right by many factors.
"""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.call.outcome import is_right_for
from assay.conformance.diagnosis.evidence import are_of_unlike_inputs
from assay.conformance.diagnosis.where import named_number
from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from assay.conformance.diagnosis.evidence import Judged
    from assay.conformance.diagnosis.where import Seen
    from assay.spec.criterion import Criterion

    Array = NDArray[np.float64]
    Right = Callable[[Any], Mapping[str, Criterion] | None]

__all__ = ["of_option", "of_output"]

_NOTHING = 1e-3  # a factor that is as good as 0, which is told as what stands there
_LEAST_FITS = 2  # failures to which one is fitted, at least
_LEAST = 3  # numbers of one failure to which a factor is fitted
_START = (-1.0, 0.1, 0.25, 0.35, 0.5, 0.7, 0.9, 1.1, 1.4, 2.0, 2.8, 4.0, 6.0, 8.0, 11.0, 16.0)
_STEPS = 8


@dataclass(frozen=True)
class _Fit:
    """A factor, and between which bounds every number of a failure is explained by it."""

    least: float
    most: float


def of_output(failures: Sequence[Seen], name: str, several: bool) -> str:
    """Every number of an output is a factor times the right one; empty where that is not so.

    The factor is one number for all failures, or a length of an axis, its root or their inverses.
    """
    telling = [one for one in failures if one.wrong.any()]
    fits = [(one, fit) for one in telling if (fit := _fitted(one)) is not None]
    if len(fits) < _LEAST_FITS:
        return ""
    output = f"output {name}" if several else "output"
    least, most = max(fit.least for _, fit in fits), min(fit.most for _, fit in fits)
    if most < _NOTHING and least > -_NOTHING:
        return ""
    if least <= most:
        factor = _plainest(least, most)
        if all(_is_times(one, factor) for one in telling):
            return f"every {output} is {named_number(factor)} times the exact one"
    for words, value in _by_lengths(telling):
        if all(fit.least <= value(one) <= fit.most for one, fit in fits) and all(
            _is_times(one, value(one)) for one in telling
        ):
            return f"every {output} is {words} times the exact one"
    return ""


def _is_times(one: Seen, factor: float) -> bool:
    """Whether every number of an output is a factor times the right one, within the tolerance."""
    room = max(1.0, abs(factor)) * np.where(np.isfinite(one.allowed), one.allowed, np.inf) * (1 + 1e-9)
    with np.errstate(invalid="ignore"):
        near = np.abs(one.got - factor * one.right) <= room
    return bool((near | (one.got == one.right)).all())


def _fitted(one: Seen) -> _Fit | None:
    """The factors with which the numbers of a failure are explained that tell it: an interval that does not hold 1."""
    good = np.isfinite(one.got) & np.isfinite(one.right) & np.isfinite(one.allowed)
    usable = good & (np.abs(one.right) > 4 * one.allowed)
    if (usable & one.wrong).sum() < _LEAST:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = one.got[usable] / one.right[usable]
        room = one.allowed[usable] / np.abs(one.right[usable])
    size = max(1.0, abs(float(np.median(ratio))))
    least, most = float((ratio - size * room).max()), float((ratio + size * room).min())
    return None if least > most or least <= 1.0 <= most else _Fit(least, most)


def _plainest(least: float, most: float) -> float:
    """The number with the fewest digits in an interval."""
    middle = 0.5 * (least + most)
    for digits in range(1, 9):
        near = float(f"{middle:.{digits}g}")
        if least <= near <= most:
            return near
    return middle


def _by_lengths(failures: Sequence[Seen]) -> Iterator[tuple[str, Callable[[Seen], float]]]:
    axes = list(dict.fromkeys(axis for one in failures for axis in one.lengths))
    for axis in axes:
        spoken = axis.replace("_", " ")

        for words, power in (("", 1.0), ("1 / ", -1.0), ("√ of ", 0.5), ("1 / √ of ", -0.5)):
            yield f"{words}the number of {spoken}", functools.partial(_power, axis=axis, power=power)


def _power(one: Seen, axis: str, power: float) -> float:
    return float(np.power(float(one.lengths.get(axis, np.nan)), power))


def of_option(failures: Sequence[Judged], option: str, right: Right, end: float) -> str:
    """The kernel behaves as if a plain number that it was given were some times as large; empty where it does not.

    One factor for all failures is looked for on the smallest of them, and checked on every other; where none fits all,
    a length of an axis, its root or their inverses.
    """
    usable = [
        f for f in failures if isinstance(getattr(f.instance, option, None), float) and getattr(f.instance, option)
    ]
    if len(usable) < len(failures) or not are_of_unlike_inputs(usable):
        return ""
    usable.sort(key=lambda failure: failure.instance.size())
    telling = [failure for failure in usable if sum(v.size for v in failure.outcome.values.values()) >= 8] or usable
    factor = _factor(telling[min(1, len(telling) - 1)], option, right, end)
    said = option.replace("_", " ")
    if factor is None:
        return ""
    plain = _plainest(factor * (1 - 1e-5), factor * (1 + 1e-5))
    for one in (plain, factor):
        if all(_explains(failure, option, one, right, end) for failure in usable):
            return f"as if {said} were {named_number(one)} times what was given"
    axes = usable[0].instance.lengths()
    for axis in axes:
        for words, power in (("{}", 1.0), ("1 / {}", -1.0), ("√ {}", 0.5), ("1 / √ {}", -0.5)):
            if all(
                _explains(failure, option, float(failure.instance.lengths().get(axis, 1)) ** power, right, end)
                for failure in usable
            ):
                return f"as if {said} were {words.format(axis.replace('_', ' '))} times what was given"
    return ""


def _changed(instance: Any, option: str, factor: float) -> Any | None:
    try:
        return instance.replace(**{option: getattr(instance, option) * factor})
    except (InvalidInstance, ValueError, OverflowError):
        return None


def _explains(failure: Judged, option: str, factor: float, right: Right, end: float) -> bool:
    """Whether the outputs are right for another value of the option, and the right ones would not be."""
    if time.monotonic() > end:
        return False
    other = _changed(failure.instance, option, factor)
    criteria = None if other is None or factor == 1.0 else right(other)
    return criteria is not None and is_right_for(criteria, failure.outcome.values)


def _factor(failure: Judged, option: str, right: Right, end: float) -> float | None:
    """The factor of an option with which the outputs of one failure are nearest to right, by least squares.

    The best of a few factors is improved by Gauss and Newton's iteration.
    """

    def gap(factor: float) -> Array | None:
        """What is missing from the outputs with this factor, all in one row; ``None`` where it is not known."""
        other = None if time.monotonic() > end else _changed(failure.instance, option, factor)
        criteria = None if other is None else right(other)
        rows = []
        for name, criterion in (criteria or {}).items():
            got = failure.outcome.values.get(name)
            if criterion.value is None or got is None or got.shape != criterion.value.shape:
                return None
            with np.errstate(invalid="ignore", over="ignore"):
                rows.append((got.astype(np.float64) - criterion.value.midpoint).ravel())
        row = np.concatenate(rows) if rows else np.zeros(0)
        return np.where(np.isfinite(row), row, 0.0) if row.size else None

    tried = {factor: gap(factor) for factor in _START}
    known = {factor: float(row @ row) for factor, row in tried.items() if row is not None}
    if not known:
        return None
    factor = min(known, key=lambda one: known[one])
    for _ in range(_STEPS):
        step = 1e-4 * abs(factor)
        row, more = gap(factor), gap(factor + step)
        if row is None or more is None:
            return None
        slope = (more - row) / step
        steepness = float(slope @ slope)
        if not steepness:
            return None
        change = -float(slope @ row) / steepness
        factor += change
        if abs(change) <= 1e-9 * abs(factor):
            break
    return factor
