"""Guarded inputs: the arrays that a kernel gets, in memory that shows what the kernel did to them.

Every array lies inside a larger buffer that is filled with canaries before the array, behind it and in its gaps.  A
kernel that reads past the end brings canaries into its output: NaN, or in every other case a huge finite number, which
no comparison hides.  A kernel that writes anywhere in the buffer is found out when the buffer is compared with its
snapshot.  On a device lies a copy of the buffer, of which the array that the kernel gets is a view, and which is read
back for that.  A buffer may be a sparse mapping of many gigabytes of which only a few pages exist; then only the
surroundings of the array are watched.
"""

from __future__ import annotations

import math
import mmap
import sys
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from assay.conformance.interface.layouts import Layout

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from assay.conformance.frameworks import Region

    Named = tuple[str, NDArray[Any]]


__all__ = ["FAR", "Memory", "NoRoom", "Placed", "guarded", "moves", "on_device", "placed"]

#: Elements between two slices of the axis that a layout spreads.  Modulo 2³² every offset equals one in the first
#: slice, whether it is counted in elements or in bytes, signed or not.  So arithmetic of 32 bits reads the first slice.
FAR = 1 << 32

_MARGIN = 64  # the least number of canaries on both sides; its multiples keep the array aligned
_ROWS = 16  # rows of canaries on both sides, so that a tile that goes beyond the end stays in the buffer
#: With this flag pages are not counted before they are touched.  Python names it from 3.13 on.
_NO_RESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0)


class NoRoom(Exception):
    """This system does not grant the sparse mapping that a layout needs."""


@dataclass(frozen=True)
class Placed:
    """One input of a call.

    array: what the kernel gets.
    buffer: the memory around it.
    snapshot: the bytes of the watched parts of the buffer before the call.
    watched: parts of the buffer; the whole of it, unless it is sparse.
    neighbours: other inputs in the same buffer.
    region: the copy of the buffer that the kernel works on, where that is on a device.
    """

    name: str
    array: NDArray[Any]
    buffer: NDArray[Any]
    snapshot: bytes
    watched: tuple[slice, ...] = (slice(None),)
    neighbours: tuple[NDArray[Any], ...] = ()
    region: Region | None = None

    def damage(self) -> str | None:
        """What a call changed: ``None``, ``"mutated"`` (elements of the array) or ``"out-of-bounds"`` (canaries)."""
        now = _bytes(self.buffer if self.region is None else self.region.content(), self.watched)
        if now == self.snapshot:
            return None
        size = self.buffer.itemsize
        before, after = (np.frombuffer(content, np.uint8).reshape(-1, size) for content in (self.snapshot, now))
        numbers = np.concatenate([np.arange(*part.indices(self.buffer.size)) for part in self.watched])
        changed = numbers[(before != after).any(axis=1)]
        if np.isin(changed, _places(self.buffer, self.array)).any():
            return "mutated"
        others = [_places(self.buffer, other) for other in self.neighbours]
        return None if others and np.isin(changed, np.concatenate(others)).all() else "out-of-bounds"


@dataclass(frozen=True)
class Memory:
    """Buffers that several scripts share: a later one finds other numbers in the same arrays, at the same addresses."""

    kept: dict[Any, tuple[NDArray[Any], NDArray[Any]]] = field(default_factory=dict)
    steps: dict[int, Memory] = field(default_factory=dict)
    regions: dict[int, tuple[NDArray[Any], Region]] = field(default_factory=dict)

    def of_step(self, number: int) -> Memory:
        """The memory of one step: a later step of a script does not write over what an earlier one handed over."""
        return self.steps.setdefault(number, Memory())


def on_device(
    guards: Sequence[Placed], lay: Callable[[NDArray[Any]], Region], memory: Memory | None = None
) -> tuple[list[Any], list[Placed]]:
    """Copies of the buffers on a device: the native arrays in them, and what watches them there.

    memory: copies of its buffers take the place of the last ones.  Raises :class:`NoRoom` for sparse buffers.
    """
    if any(guard.watched != (slice(None),) for guard in guards):
        raise NoRoom("needs a sparse mapping, which a device has not")
    known = {} if memory is None else memory.regions
    regions: dict[int, tuple[NDArray[Any], Region]] = {}  # with its buffer: no other one may get its number
    for guard in guards:
        number = id(guard.buffer)
        if number not in regions and number in known:
            known[number][1].fill(guard.buffer)
        if number not in regions:
            regions[number] = known.get(number) or (guard.buffer, lay(guard.buffer))
    kept = set() if memory is None else {id(buffer) for buffer, _ in memory.kept.values()}
    known.update((number, region) for number, region in regions.items() if number in kept)
    where = [regions[id(guard.buffer)][1] for guard in guards]
    arrays = [region.array(guard.buffer, guard.array) for guard, region in zip(guards, where, strict=True)]
    return arrays, [replace(guard, region=region) for guard, region in zip(guards, where, strict=True)]


def placed(
    arrays: Sequence[Named],
    layout: Layout,
    *,
    huge: bool,
    read_only: bool,
    memory: Memory | None = None,
) -> list[Placed]:
    """Copies of ``arrays`` in ``layout``.  A packed layout puts them into one buffer if their shapes allow it."""
    if layout.packed and _pack(arrays):
        return _packed(arrays, huge=huge, read_only=read_only)
    plain = Layout()
    return [
        guarded(
            name, array, plain if layout.alternate and number % 2 == 0 else layout,
            huge=huge, read_only=read_only, memory=memory,
        )
        for number, (name, array) in enumerate(arrays)
    ]  # fmt: skip


def moves(layout: Layout, arrays: Sequence[Named], named: Sequence[Named]) -> bool:
    """Whether some array lies otherwise in ``layout`` than it would in C order.

    arrays: those that are positional, which alone are packed or laid far apart; named: those given by keyword.
    """
    if layout.offset:
        return True
    if layout.packed:
        return len(arrays) > 1 and _pack(arrays)
    if layout.far is not None:
        return any(_is_far(array, layout.far) for _, array in arrays)
    plain = Layout()
    if layout.alternate:
        arrays, named = arrays[1::2], named[1::2]
    return any(
        (layout.reverse and array.ndim >= 2 and array.shape[-2] > 1) or _moved(array, layout, plain)
        for _, array in (*arrays, *named)
    )


def _moved(array: NDArray[Any], layout: Layout, plain: Layout) -> bool:
    """Whether the strides of an axis with more than one element differ."""
    ours, theirs = _strides(array, layout)[0], _strides(array, plain)[0]
    return any(a != b and n > 1 for a, b, n in zip(ours, theirs, array.shape, strict=True))


def _pack(arrays: Sequence[Named]) -> bool:
    """Whether arrays can be slices of one: they differ in nothing but the last axis and the last but two."""
    alike = {(array.ndim, array.dtype, array.shape[:-3], array.shape[-2:-1]) for _, array in arrays}
    return len(alike) == 1 and arrays[0][1].ndim >= 3


def _is_far(array: NDArray[Any], axis: int) -> bool:
    """Whether the slices of an axis of the stack can be laid far apart."""
    return axis < array.ndim - 2 and array.shape[axis] > 1


def guarded(
    name: str,
    array: NDArray[Any],
    layout: Layout,
    *,
    huge: bool,
    read_only: bool,
    memory: Memory | None = None,
) -> Placed:
    """A copy of ``array`` in ``layout``, among canaries.

    huge: the canaries are huge finite numbers, and not NaN.
    memory: the copy takes the place of the last array in it that had the same name, shape, type and layout.

    Raises :class:`NoRoom` where the layout cannot be had here.
    """
    if layout.far is not None and _is_far(array, layout.far):
        return _spread(name, array, layout.far, huge=huge, read_only=read_only)
    strides, span = _strides(array, layout)
    margin = _margin(_row(array))
    if layout.expanded:
        margin = _margin(_row(array), array.size)  # a kernel that takes it for whole memory stays in the buffer
    first = margin + layout.offset
    if layout.reverse and array.ndim >= 2:
        first += (array.shape[-2] - 1) * strides[-2]
        strides[-2] = -strides[-2]
    key = (name, array.shape, array.dtype, layout, read_only)
    if memory is not None and key in memory.kept:
        buffer, view = memory.kept[key]
        buffer[:] = _canary(array.dtype, huge=huge)
        _view(buffer, first, array.shape, strides)[...] = array
        return Placed(name, view, buffer, buffer.tobytes())
    buffer = np.empty(span + 2 * margin + layout.offset, array.dtype)
    buffer[:] = _canary(array.dtype, huge=huge)
    view = _view(buffer, first, array.shape, strides)
    view[...] = array
    snapshot = buffer.tobytes()
    if read_only:
        view.flags.writeable = False
    if memory is not None:
        memory.kept[key] = buffer, view
    return Placed(name, view, buffer, snapshot)


def _strides(array: NDArray[Any], layout: Layout) -> tuple[list[int], int]:
    """The strides in elements, and the number of elements from the first to the last, both included."""
    order = list(range(array.ndim))
    if layout.swap is not None and array.ndim >= -min(layout.swap):
        a, b = layout.swap
        order[a], order[b] = order[b], order[a]
    once = {axis for axis in range(array.ndim - 1) if layout.expanded and _constant_along(array, axis)}
    strides, step = [0] * array.ndim, layout.step
    for place in range(array.ndim - 1, -1, -1):
        axis = order[place]
        if axis in once:
            continue
        strides[axis] = step
        step *= array.shape[axis]
        if place == array.ndim - 1 and array.ndim > 1:
            step += layout.gap
    return strides, 1 + sum((length - 1) * stride for length, stride in zip(array.shape, strides, strict=True))


def _constant_along(array: NDArray[Any], axis: int) -> bool:
    """Whether every slice of an axis has the same bytes as the first one."""
    first = np.broadcast_to(np.take(array, [0], axis=axis), array.shape)
    return array.shape[axis] > 1 and np.ascontiguousarray(first).tobytes() == np.ascontiguousarray(array).tobytes()


def _packed(arrays: Sequence[Named], *, huge: bool, read_only: bool) -> list[Placed]:
    """Arrays as slices of one array (stack, length, everything of a position), packed along the last axis but two."""
    *stack, _, length, _ = arrays[0][1].shape
    widths = [array.shape[-3] * array.shape[-1] for _, array in arrays]
    row = sum(widths)
    margin = _margin(row)
    buffer = np.empty(math.prod(stack) * length * row + 2 * margin, arrays[0][1].dtype)
    outer = [length * row * math.prod(stack[place + 1 :]) for place in range(len(stack))]
    buffer[:] = _canary(buffer.dtype, huge=huge)
    views = []
    for number, (_, array) in enumerate(arrays):
        strides = [*outer, array.shape[-1], row, 1]
        views.append(_view(buffer, margin + sum(widths[:number]), array.shape, strides))
        views[-1][...] = array
        if read_only:
            views[-1].flags.writeable = False
    snapshot = buffer.tobytes()
    return [
        Placed(name, view, buffer, snapshot, neighbours=tuple(other for other in views if other is not view))
        for (name, _), view in zip(arrays, views, strict=True)
    ]


def _spread(name: str, array: NDArray[Any], axis: int, *, huge: bool, read_only: bool) -> Placed:
    """An array whose slices of one axis lie :data:`FAR` elements apart, in a sparse mapping."""
    strides, step = [0] * array.ndim, 1
    for other in range(array.ndim - 1, -1, -1):
        if other != axis:
            strides[other] = step
            step *= array.shape[other]
    strides[axis] = FAR
    margin = _margin(_row(array), array.size)
    buffer = _mapped((array.shape[axis] - 1) * FAR + step + 2 * margin, array.dtype)
    watched = tuple(slice(number * FAR, number * FAR + step + 2 * margin) for number in range(array.shape[axis]))
    for part in watched:
        buffer[part] = _canary(array.dtype, huge=huge)
    view = _view(buffer, margin, array.shape, strides)
    view[...] = array
    if read_only:
        view.flags.writeable = False
    return Placed(name, view, buffer, _bytes(buffer, watched), watched)


def _mapped(count: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """``count`` zeros in address space.  They take no memory until they are written."""
    size = count * dtype.itemsize
    try:
        if not _NO_RESERVE or sys.maxsize < 1 << 40:
            raise OSError("no sparse anonymous mappings on this system")
        mapping = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NO_RESERVE)
    except (OSError, ValueError, OverflowError, MemoryError) as error:
        raise NoRoom(f"needs a sparse mapping of {size / 2**30:.0f} GiB, which cannot be had here ({error})") from None
    return np.frombuffer(mapping, dtype, count)


def _row(array: NDArray[Any]) -> int:
    """The number of elements of a row of the last axis; one for an array without axes."""
    return array.shape[-1] if array.ndim else 1


def _margin(row: int, least: int = 0) -> int:
    """The number of canaries on each side."""
    return _MARGIN * -(-max(_ROWS * row, least) // _MARGIN)


def _view(buffer: NDArray[Any], first: int, shape: tuple[int, ...], strides: Sequence[int]) -> NDArray[Any]:
    view: NDArray[Any] = as_strided(
        buffer[first:], shape, tuple(stride * buffer.itemsize for stride in strides), writeable=True
    )
    return view


def _bytes(buffer: NDArray[Any], parts: tuple[slice, ...]) -> bytes:
    return b"".join(buffer[part].tobytes() for part in parts)


def _places(buffer: NDArray[Any], array: NDArray[Any]) -> NDArray[np.int64]:
    """For every element of ``array`` its place in ``buffer``, counted in elements."""
    start = array.__array_interface__["data"][0] - buffer.__array_interface__["data"][0]
    places = np.full((1,) * array.ndim, start // buffer.itemsize, np.int64)
    for axis, (length, stride) in enumerate(zip(array.shape, array.strides, strict=True)):
        shape = [1] * array.ndim
        shape[axis] = length
        places = places + np.arange(length).reshape(shape) * (stride // buffer.itemsize)
    return places.ravel()


def _canary(dtype: np.dtype[Any], *, huge: bool) -> Any:
    if dtype == np.bool_:
        return True
    if dtype.kind in "iu":
        return np.iinfo(dtype).max // 2
    if not huge:
        return dtype.type(np.nan)
    import ml_dtypes

    return dtype.type(float(ml_dtypes.finfo(dtype).max) / 4)  # type: ignore[no-untyped-call]
