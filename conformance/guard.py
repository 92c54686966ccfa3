"""Guarded inputs: the arrays that a kernel gets, in memory that tells what it did to them.

Every array lies inside a larger buffer filled with canaries, before it, behind it and in its gaps.  Reading past the
end brings canaries into the output (NaN, or in every other case a huge finite number, which no comparison hides);
writing anywhere is seen when the buffer is compared with its snapshot.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.conformance.suite import Layout

__all__ = ["Guarded", "guarded"]

_MARGIN = 64  # least elements of canary on both sides; multiples keep the array aligned
_ROWS = 16  # rows of canary on both sides: a tile that is read or written beyond the end stays in the buffer


@dataclass(frozen=True)
class Guarded:
    """One input: what the kernel gets, the buffer around it and the bytes it had before the call."""

    name: str
    array: NDArray[Any]
    buffer: NDArray[Any]
    snapshot: bytes

    def damage(self) -> str | None:
        """What a call changed: ``None``, ``"mutated"`` (elements of the array) or ``"out-of-bounds"`` (canaries)."""
        if self.buffer.tobytes() == self.snapshot:
            return None
        before = np.frombuffer(self.snapshot, self.buffer.dtype)
        inside = np.zeros(self.buffer.shape, bool)
        start = (
            self.array.__array_interface__["data"][0] - self.buffer.__array_interface__["data"][0]
        ) // self.buffer.itemsize
        steps = tuple(stride // self.buffer.itemsize for stride in self.array.strides)
        index = np.full((1,) * self.array.ndim, start)
        for axis, (length, step) in enumerate(zip(self.array.shape, steps, strict=True)):
            shape = [1] * self.array.ndim
            shape[axis] = length
            index = index + np.arange(length).reshape(shape) * step
        inside[index.ravel()] = True
        changed = self.buffer.view(np.uint8).reshape(-1, self.buffer.itemsize) != before.view(np.uint8).reshape(
            -1, self.buffer.itemsize
        )
        return "mutated" if (changed.any(axis=1) & inside).any() else "out-of-bounds"


def guarded(name: str, array: NDArray[Any], layout: Layout, *, huge: bool, read_only: bool) -> Guarded:
    """A copy of ``array`` in ``layout``, among canaries (NaN, or ``huge`` finite numbers)."""
    order = layout.order if layout.order is not None and array.ndim == len(layout.order) else tuple(range(array.ndim))
    lengths = [array.shape[axis] for axis in order]
    strides, step = [0] * array.ndim, 1
    for place in range(array.ndim - 1, -1, -1):
        strides[order[place]] = step
        step *= lengths[place]
        if place == array.ndim - 1 and array.ndim > 1:
            step += layout.gap
    span = 1 + sum((length - 1) * stride for length, stride in zip(array.shape, strides, strict=True))
    margin = _MARGIN * -(-_ROWS * array.shape[-1] // _MARGIN)
    buffer = np.empty(span + 2 * margin + layout.offset, array.dtype)
    buffer[:] = _canary(array.dtype, huge=huge)
    first = margin + layout.offset
    if layout.reverse and array.ndim >= 3:
        first += (array.shape[2] - 1) * strides[2]
        strides[2] = -strides[2]
    view: NDArray[Any] = as_strided(
        buffer[first:], array.shape, tuple(stride * array.itemsize for stride in strides), writeable=True
    )
    view[...] = array
    snapshot = buffer.tobytes()
    if read_only:
        view.flags.writeable = False
    return Guarded(name, view, buffer, snapshot)


def _canary(dtype: np.dtype[Any], *, huge: bool) -> Any:
    if dtype == np.bool_:
        return True
    if np.issubdtype(dtype, np.integer):
        return np.iinfo(dtype).max // 2
    if not huge:
        return dtype.type(np.nan)
    import ml_dtypes

    return dtype.type(float(ml_dtypes.finfo(dtype).max) / 4)  # type: ignore[no-untyped-call]
