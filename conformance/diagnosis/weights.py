"""Which weights a kernel used: those of a kernel that is linear in its values, read off with unit vectors as values.

A suite says in which array its outputs are linear (:class:`Linear`).  Where the values are the identity, the output is
the weight that every key got.  It is read in blocks of as many columns as the values have, so that the shapes of the
failing call stay.  The weights are told only if they reproduce the output of the failure itself.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.diagnosis.where import Seen, indices, named_number, rounded
from assay.conformance.diagnosis.where import told as told_where
from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from assay.conformance.diagnosis.evidence import Evidence, Judged
    from assay.conformance.interface.suite import Linear

    Array = NDArray[np.float64]
    Mask = NDArray[np.bool_]

__all__ = ["Weights", "read", "sentences"]

_MOST_CALLS = 24
_HIDDEN = 1e-30  # a weight below this is none
_SEEN = 1e-3  # a weight from which on it is clear that a key counts
_FEW_KEYS = 3  # keys that are told by their numbers
_ENOUGH_ROWS = 3  # rows from which on it is clear that the key goes with the row
_SHARE = 1e-4  # … that a ratio of weights means something
_ONE_FACTOR = 0.02  # by how much factors of one row may differ, as a part of what they are off by
_SAME_FACTOR = 1e-3  # … and those of all rows, as a part of themselves


@dataclass(frozen=True, eq=False)
class Weights:
    """The weights of one call, (…, queries, keys): those that the kernel used and the true ones, and what may differ.

    axes: their names.  unlike: where the two differ by more than is allowed.
    """

    used: Array
    true: Array
    room: Array
    axes: tuple[str, ...]
    judged: Judged

    @property
    def unlike(self) -> Mask:
        return ~(np.abs(self.used - self.true) <= self.room)


def read(evidence: Evidence, linear: Linear, failure: Judged) -> Weights | None:
    """The weights of a failing call; ``None`` where they cannot be read or do not reproduce its output."""
    instance = failure.instance
    values = instance.arrays()[linear.array]
    keys, width = values.shape[-2:]
    if -(-keys // width) > _MOST_CALLS:
        return None
    blocks = []
    for start in range(0, keys, width):
        unit = np.zeros_like(values)
        index = np.arange(min(width, keys - start))
        unit[..., start + index, index] = 1
        try:
            case = dataclasses.replace(failure.case, instance=instance.replace(**{linear.array: unit}))
        except InvalidInstance:
            return None
        criteria, judged = evidence.known(case.instance), evidence.tried(case)
        if criteria is None or judged is None or linear.output not in judged.outcome.values:
            return None
        criterion, got = criteria[linear.output], judged.outcome.values[linear.output]
        if criterion.value is None or got.shape != criterion.value.shape:
            return None
        room = np.broadcast_to(criterion.allowed + criterion.value.radius, got.shape)
        blocks.append([part[..., : len(index)] for part in (got.astype(np.float64), criterion.value.midpoint, room)])
    used, true, room = (np.concatenate([block[n] for block in blocks], axis=-1) for n in range(3))
    names = instance.axes_of(linear.array)
    axes = (*evidence.outputs(instance)[linear.output].axes[:-1], names[-2].replace("_", " "))
    weights = Weights(used, true, np.where(np.isfinite(room), room, 0.0), axes, failure)
    return weights if _reproduce(evidence, weights, values, linear) else None


def _reproduce(evidence: Evidence, weights: Weights, values: NDArray[Any], linear: Linear) -> bool:
    """Whether the weights, times the values, are the output that the kernel gave."""
    got = weights.judged.outcome.values[linear.output].astype(np.float64)
    wide = values.astype(np.float64)
    for axis in range(wide.ndim - 2):
        wide = np.repeat(wide, got.shape[axis] // wide.shape[axis], axis=axis)
    criteria = evidence.known(weights.judged.instance)
    if criteria is None or not np.isfinite(weights.used).all() or not np.isfinite(got).all():
        return False
    own = criteria[linear.output].allowed
    room = 4.0 * np.where(np.isfinite(own), own, 0.0) + 4.0 * (weights.room @ np.abs(wide))
    room += 1e-6 * (np.abs(weights.used) @ np.abs(wide))
    return bool((np.abs(weights.used @ wide - got) <= room).all())


def sentences(weights: Weights, sums_to_one: bool) -> list[str]:
    """What is to be said of them, the plainest first; nothing where they are right."""
    if not weights.unlike.any():
        return ["the weights that it used are right: it is the values that are read or added up wrongly"]
    return [sentence for sentence in _said(weights, sums_to_one) if sentence]


def _said(weights: Weights, sums_to_one: bool) -> Iterator[str]:
    yield _elsewhere(weights)
    hidden = weights.true <= _HIDDEN
    leaks = hidden & (weights.used > weights.room + _SHARE)
    if leaks.any():
        yield f"hidden keys get weight: {_which(weights, leaks, hidden)}"
    missing = (weights.true > _SEEN + 4 * weights.room) & (weights.used <= weights.room)
    if missing.any() and not np.asarray((weights.used <= weights.room).all(axis=-1))[missing.any(axis=-1)].all():
        yield f"keys are left out: {_which(weights, missing, ~hidden)}"
    elif missing.any():
        rows = np.asarray(missing.any(axis=-1))
        yield f"rows without any weight: {_rows(weights, rows)}"
    again = _again(weights)
    if again.any():
        yield f"keys are counted twice: {_which(weights, again, ~hidden)}"
    if not (leaks.any() or missing.any() or again.any()):
        yield _powered(weights)
        yield _factored(weights, sums_to_one)


def _which(weights: Weights, marked: Mask, among: Mask) -> str:
    """Which (query, key) pairs are marked, of those that might be."""
    if (marked == among).all():
        return "every one of them"
    places = np.argwhere(marked)
    query, key = places[:, -2], places[:, -1]
    columns = [(np.asarray(marked.reshape(-1, marked.shape[-1]).any(axis=0)), weights.judged.instance.lengths())]
    rows = among.any(axis=-1)
    same = (marked == (marked.any(axis=tuple(range(marked.ndim - 1))) & among)).all()
    if len(set(key.tolist())) <= _FEW_KEYS and (same or len(set(query.tolist())) < _ENOUGH_ROWS):
        return f"key {', '.join(str(k) for k in sorted(set(key.tolist())))} of {'every row' if same else 'some rows'}"
    place = indices(weights.axes[-1], columns, bits=0.0)
    if place is not None and same:
        return f"{place.words} of every row"
    offsets = np.unique(key - query)
    if len(offsets) == 1 and len(set(query.tolist())) >= _ENOUGH_ROWS:
        offset = int(offsets[0])
        return f"key i{offset:+d} of query i".replace("i+0", "i").replace("-", "−")
    if len(offsets) <= 3 and len(places) > 3:
        return f"keys i{int(offsets[0]):+d} to i{int(offsets[-1]):+d} of query i".replace("i+0", "i").replace("-", "−")
    share = int((marked & among).any(axis=-1).sum())
    return f"{len(places)} of {int(among.sum())}, in {share} of {int(rows.sum())} rows"


def _rows(weights: Weights, rows: Mask) -> str:
    """Which rows are marked, by index along each axis."""
    words = []
    for number, axis in enumerate(weights.axes[:-1]):
        others = tuple(a for a in range(rows.ndim) if a != number)
        place = indices(axis, [(np.asarray(rows.any(axis=others)), dict[str, int]())], bits=0.0)
        if place is not None:
            words.append(place.words)
    return " and in them ".join(words) or "all of them"


def _again(weights: Weights) -> Mask:
    """Keys whose weight, beside the others of their row, is twice what it should be."""
    clear = weights.true > np.maximum(_SHARE, 16 * weights.room)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(clear, weights.used / weights.true, np.nan)
    if not np.isfinite(ratio).any():
        return np.zeros(ratio.shape, dtype=bool)
    least = np.fmin.reduce(ratio, axis=-1, initial=np.inf)[..., None]
    with np.errstate(invalid="ignore", divide="ignore"):
        near = np.abs(ratio / least - 2.0) < 0.01
        plain = np.abs(ratio / least - 1.0) < 0.01
    each = np.where(clear, near | plain, True).all()
    return near if each and near.any() and plain.any() else np.zeros(ratio.shape, dtype=bool)


def _elsewhere(weights: Weights) -> str:
    """The weights of another row, head or batch; a constant factor."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.nan_to_num(np.abs(weights.used - weights.true) / weights.room, nan=np.inf)
    criteria = Seen(weights.used, weights.true, weights.room, weights.unlike, weights.axes, ratio)
    sentence = told_where([criteria], "the weights", several=False)
    return sentence if " right " in sentence else ""


def _powered(weights: Weights) -> str:
    """Weights as of scores that are some times as large: their logarithms are on a line, of one slope for all rows."""
    clear = (weights.true > np.maximum(_SHARE, 64 * weights.room)) & (
        weights.used > np.maximum(_SHARE, 64 * weights.room)
    )
    rows = clear.sum(axis=-1) >= 2
    if clear[rows].sum() < 3 * rows.sum() or not rows.any():
        return ""
    x = np.where(clear, np.log(np.where(clear, weights.true, 1.0)), np.nan)[rows]
    y = np.where(clear, np.log(np.where(clear, weights.used, 1.0)), np.nan)[rows]
    x = x - np.nanmean(x, axis=-1, keepdims=True)
    y = y - np.nanmean(y, axis=-1, keepdims=True)
    spread = float(np.nansum(x * x))
    if spread < 1e-3:
        return ""
    slope = float(np.nansum(x * y)) / spread
    rest = float(np.nanmax(np.abs(y - slope * x)))
    if rest > 0.02 or abs(slope - 1.0) < 0.01:
        return ""
    if abs(slope) < 0.01:
        return "all keys that count get the same weight, whatever their scores"
    if abs(slope + 1.0) < 0.01:
        return "weights as of scores with the sign turned"
    return f"weights as of scores {named_number(float(f'{slope:.3g}'))} times as large"


def _factored(weights: Weights, sums_to_one: bool) -> str:
    """Each row as a whole off by a factor: its maximum or its sum is wrong."""
    clear = weights.true > np.maximum(_SHARE, 16 * weights.room)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(clear, weights.used / weights.true, np.nan)
        slack = np.where(clear, weights.room / weights.true, 0.0).max(axis=-1)
    low, high = np.fmin.reduce(ratio, axis=-1, initial=np.inf), np.fmax.reduce(ratio, axis=-1, initial=-np.inf)
    rows = np.isfinite(low) & np.isfinite(high)
    with np.errstate(invalid="ignore"):  # of rows without a clear weight
        spread, gap = high - low, np.abs(0.5 * (low + high) - 1.0)
        off = rows & (gap > slack)
        one_factor = spread <= np.where(off, _ONE_FACTOR * gap + np.minimum(4 * slack, 0.25 * gap), 4 * slack)
    if not rows.any() or not one_factor[rows].all():
        sums = weights.used.sum(axis=-1)
        uneven = np.abs(sums - weights.true.sum(axis=-1)) > 4 * weights.room.sum(axis=-1)
        if sums_to_one and uneven.any():
            wrong = sums[uneven]
            ends = dict.fromkeys((rounded(float(wrong.min())), rounded(float(wrong.max()))))
            return f"rows of weights do not add up to 1 but to {' … '.join(ends)}"
        return ""
    if not off.any():
        return ""
    least, most = float(low[off].min()), float(high[off].max())
    middle = 0.5 * (least + most)
    if most - least > min(_SAME_FACTOR * abs(middle), 2 * _ONE_FACTOR * abs(middle - 1.0)):
        return (
            f"all weights of a row are off by one factor, {_short(least)} to {_short(most)} in different rows: "
            "its maximum or its sum is wrong"
        )
    others = rows & ~off & (np.abs(middle - 1.0) > slack)
    some = f", in {int(off.sum())} of {int(rows.sum())} rows" if others.any() else ""
    return f"all weights of a row are {_short(middle, 4)} times the right ones{some}"


def _short(factor: float, digits: int = 3) -> str:
    """A factor in few digits; one near 1 by what it is off."""
    return named_number(factor if abs(factor - 1.0) < _SAME_FACTOR else float(f"{factor:.{digits}g}"))
