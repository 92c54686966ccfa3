"""The weights that a kernel used beside the true ones: two tables of coloured cells, for a page without scripts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.conformance.diagnosis.weights import Weights

__all__ = ["Heatmap", "colour", "pictured"]

_MOST = 24  # rows and columns that are shown


@dataclass(frozen=True)
class Heatmap:
    """The weights of one slice of one failing call: rows of numbers, the first of index ``first`` in each direction.

    title: of which call and slice.  rows, columns: what the two directions are.
    """

    title: str
    rows: str
    columns: str
    first: tuple[int, int]
    used: tuple[tuple[float, ...], ...]
    true: tuple[tuple[float, ...], ...]


def pictured(weights: Weights) -> Heatmap:
    """The slice of weights in which the most are wrong, cut to a size that can be read."""
    unlike = weights.unlike
    stack = unlike.reshape(-1, *unlike.shape[-2:])
    slice_ = int(np.argmax(stack.sum(axis=(1, 2))))
    place = np.unravel_index(slice_, unlike.shape[:-2]) if unlike.ndim > 2 else ()
    row, column = (int(k) for k in np.argwhere(stack[slice_])[0])
    first = (_start(row, unlike.shape[-2]), _start(column, unlike.shape[-1]))
    rows, columns = (slice(start, start + _MOST) for start in first)
    where = ", ".join(f"{axis} {int(k)}" for axis, k in zip(weights.axes, place, strict=False))
    title = f"{weights.judged.case.name}: {weights.judged.instance.describe()}"
    return Heatmap(
        f"{title}; {where}" if where else title,
        weights.axes[-2],
        weights.axes[-1],
        first,
        _rows(_slice(weights.used, slice_)[rows, columns]),
        _rows(_slice(weights.true, slice_)[rows, columns]),
    )


def _slice(numbers: NDArray[np.float64], index: int) -> NDArray[np.float64]:
    """One matrix of a stack."""
    matrix: NDArray[np.float64] = numbers.reshape(-1, *numbers.shape[-2:])[index]
    return matrix


def _start(index: int, length: int) -> int:
    """Where a part that is shown begins, so that an index is in it."""
    return max(0, min(index - _MOST // 2, length - _MOST))


def _rows(numbers: NDArray[np.float64]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(x) for x in row) for row in numbers)


def colour(weight: float) -> str:
    """The background of a cell: nothing for 0, full for 1 and beyond, another hue for what is negative or no number."""
    if not np.isfinite(weight) or weight < 0:
        return "rgb(198 40 40 / 0.8)"
    return f"rgb(31 111 235 / {min(1.0, weight) ** 0.5:.2f})"
