"""Guarded inputs: the same numbers in every layout, and nothing that is done to them goes unseen."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.conformance.call.memory import FAR, Memory, NoRoom, guarded, moves, placed
from assay.conformance.interface.layouts import LAYOUTS, Layout

layouts = st.builds(
    Layout,
    st.just(""),
    st.sampled_from([None, (-3, -2), (-2, -1), (-3, -1), (-4, -1)]),
    st.integers(0, 9),
    st.integers(0, 5),
    st.integers(1, 3),
    st.booleans(),
    st.booleans(),
)
shapes = st.lists(st.integers(1, 4), min_size=0, max_size=5).map(tuple)
dtypes = st.sampled_from([np.float32, np.float64, np.float16, ml_dtypes.bfloat16, np.int32, np.bool_])


def numbers(shape: tuple[int, ...], dtype: Any) -> np.ndarray[Any, Any]:
    return (np.arange(np.prod(shape)).reshape(shape) % 7).astype(dtype)


@given(shapes, dtypes, layouts, st.booleans())
def test_a_guarded_array_holds_the_same_numbers_in_every_layout(
    shape: Any, dtype: Any, layout: Layout, huge: bool
) -> None:
    array = numbers(shape, dtype)
    keep = guarded("x", array, layout, huge=huge, read_only=True)
    assert keep.array.dtype == array.dtype
    assert np.array_equal(keep.array, array)
    assert not keep.array.flags.writeable
    assert keep.damage() is None


@given(shapes, layouts, st.data())
def test_any_element_that_is_changed_is_a_mutation(shape: Any, layout: Layout, data: Any) -> None:
    keep = guarded("x", numbers(shape, np.float32), layout, huge=False, read_only=False)
    index = tuple(data.draw(st.integers(0, side - 1)) for side in shape)
    keep.array[index] += 1
    assert keep.damage() == "mutated"


@given(shapes, layouts, st.data())
def test_any_canary_that_is_changed_is_out_of_bounds(shape: Any, layout: Layout, data: Any) -> None:
    array = numbers(shape, np.float32)
    keep = guarded("x", array, layout, huge=False, read_only=False)
    canaries = np.flatnonzero(np.isnan(keep.buffer))
    assert len(canaries) == keep.buffer.size - array.size
    keep.buffer[canaries[data.draw(st.integers(0, len(canaries) - 1))]] = 0
    assert keep.damage() == "out-of-bounds"


@pytest.mark.parametrize("value", [np.float32(-0.0), np.float32(np.nan)])
def test_a_change_of_bits_alone_is_seen(value: np.float32) -> None:
    keep = guarded("x", np.zeros(3, np.float32), Layout(), huge=False, read_only=False)
    keep.array[1] = value
    assert keep.damage() == "mutated"


def test_canaries_are_nan_or_huge_and_finite() -> None:
    array = np.zeros(3, np.float16)
    assert np.isnan(guarded("x", array, Layout(), huge=False, read_only=True).buffer[0])
    first = guarded("x", array, Layout(), huge=True, read_only=True).buffer[0]
    assert np.isfinite(first)
    assert first > 10_000


# --- axes that are stored once, arrays side by side, slices far apart -------------------------------------------------


@pytest.mark.parametrize("axis", [0, 1])
def test_equal_slices_are_stored_once_and_a_change_of_one_is_a_mutation(axis: int) -> None:
    array = np.repeat(np.take(numbers((2, 3, 4, 5), np.float32), [0], axis=axis), 3, axis=axis)
    keep = guarded("x", array, LAYOUTS["expanded"], huge=False, read_only=False)
    assert keep.array.strides[axis] == 0
    assert np.array_equal(keep.array, array)
    assert keep.damage() is None
    keep.array[1, 1, 1, 1] += 1
    assert keep.damage() == "mutated"


def test_slices_that_differ_in_a_bit_are_not_stored_once() -> None:
    array = np.zeros((1, 2, 3, 4), np.float32)
    array[0, 1, 2, 3] = -0.0
    keep = guarded("x", array, LAYOUTS["expanded"], huge=False, read_only=False)
    assert 0 not in keep.array.strides
    assert np.signbit(keep.array[0, 1, 2, 3])


def test_between_the_elements_of_a_spaced_last_axis_lie_canaries() -> None:
    keep = guarded("x", numbers((1, 2, 3, 4), np.float32), LAYOUTS["spaced"], huge=False, read_only=False)
    assert keep.array.strides == (2 * 96, 2 * 48, 2 * 16, 2 * 4)
    first = (keep.array.__array_interface__["data"][0] - keep.buffer.__array_interface__["data"][0]) // 4
    assert np.isnan(keep.buffer[first + 1 : first + 48 : 2]).all()


def packed(read_only: bool = False) -> list[Any]:
    shapes = {"query": (2, 4, 3, 5), "key": (2, 2, 3, 5), "value": (2, 2, 3, 7)}
    arrays = [(name, numbers(shape, np.float32)) for name, shape in shapes.items()]
    return placed(arrays, LAYOUTS["packed"], huge=False, read_only=read_only)


def test_packed_arrays_are_slices_of_one_row_a_position() -> None:
    query, key, value = packed()
    row = 4 * 5 + 2 * 5 + 2 * 7
    assert query.buffer is key.buffer is value.buffer
    assert [keep.array.strides for keep in (query, key, value)] == [
        (12 * row, 4 * width, 4 * row, 4) for width in (5, 5, 7)
    ]
    start = query.array.__array_interface__["data"][0]
    assert [keep.array.__array_interface__["data"][0] - start for keep in (key, value)] == [4 * 20, 4 * 30]
    for keep in (query, key, value):
        assert np.array_equal(keep.array, numbers(keep.array.shape, np.float32))
        assert keep.damage() is None


def test_in_packed_memory_damage_is_told_of_the_array_that_has_it() -> None:
    query, key, value = packed()
    key.array[1, 1, 2, 4] += 1
    assert [keep.damage() for keep in (query, key, value)] == [None, "mutated", None]
    query, key, value = packed()
    query.buffer[0] = 0
    assert [keep.damage() for keep in (query, key, value)] == ["out-of-bounds"] * 3


def test_arrays_of_unlike_lengths_are_not_packed() -> None:
    arrays = [("query", numbers((1, 2, 3, 4), np.float32)), ("key", numbers((1, 2, 5, 4), np.float32))]
    query, key = placed(arrays, LAYOUTS["packed"], huge=False, read_only=False)
    assert query.buffer is not key.buffer
    assert query.array.flags.c_contiguous


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16, np.float64])
@pytest.mark.parametrize("axis", [0, 1])
def test_slices_far_apart_hold_the_same_numbers_and_every_change_near_them_is_seen(axis: int, dtype: Any) -> None:
    array = numbers((2, 3, 4, 5), dtype)

    def far() -> Any:
        try:
            return guarded("x", array, Layout(far=axis), huge=False, read_only=False)
        except NoRoom as reason:
            pytest.skip(str(reason))

    keep = far()
    assert keep.array.strides[axis] == FAR * array.itemsize
    assert keep.buffer.size > FAR
    assert len(keep.snapshot) < 1 << 16
    assert np.array_equal(keep.array, array)
    assert keep.damage() is None
    keep.array[1, 2, 3, 4] += array.dtype.type(1)
    assert keep.damage() == "mutated"
    keep = far()
    keep.buffer[FAR] = 0
    assert keep.damage() == "out-of-bounds"


def test_shared_memory_has_other_numbers_at_the_same_address_in_the_same_array() -> None:
    memory, first = Memory(), numbers((1, 2, 3, 4), np.float32)
    keep = guarded("x", first, Layout(), huge=False, read_only=True, memory=memory)
    again = guarded("x", -first, Layout(), huge=True, read_only=True, memory=memory)
    assert again.array is keep.array
    assert not again.array.flags.writeable
    assert np.array_equal(keep.array, -first)
    assert again.damage() is None
    assert np.isfinite(again.buffer[0])
    assert guarded("y", first, Layout(), huge=False, read_only=True, memory=memory).buffer is not keep.buffer


# --- any number of axes -----------------------------------------------------------------------------------------------

#: shape → the layouts that change where its numbers lie: the last two axes are matrices, those before are a stack
MOVED = {
    (): "offset",
    (3,): "offset spaced",
    (3, 4): "transposed offset gap spaced reversed expanded",
    (2, 3, 4): "permuted transposed offset gap spaced reversed expanded far-batches",
    (2, 2, 3, 4): "permuted transposed offset gap spaced reversed expanded far-batches far-heads",
    (1, 1): "offset",
    (1, 4): "offset spaced",
    (2, 1, 4): "offset gap spaced expanded far-batches",
}


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("shape", MOVED, ids=str)
def test_a_layout_moves_arrays_of_every_number_of_axes_or_says_that_it_does_not(
    shape: tuple[int, ...], name: str
) -> None:
    array, layout = np.ones(shape, np.float32), LAYOUTS[name]  # equal slices may be stored once
    assert moves(layout, [("x", array)], []) is (name in MOVED[shape].split())
    if layout.far is None:
        (there,) = placed([("x", array)], layout, huge=False, read_only=True)
        (plain,) = placed([("x", array)], Layout(), huge=False, read_only=True)
        start, usual = (
            keep.array.__array_interface__["data"][0] - keep.buffer.__array_interface__["data"][0]
            for keep in (there, plain)
        )
        lies_elsewhere = start != usual or any(
            a != b and n > 1 for a, b, n in zip(there.array.strides, plain.array.strides, shape, strict=True)
        )
        assert lies_elsewhere or name not in MOVED[shape].split()


@pytest.mark.parametrize("shape", [(), (3,), (3, 4)], ids=str)
def test_arrays_of_less_than_three_axes_are_not_packed(shape: tuple[int, ...]) -> None:
    arrays = [(name, np.ones(shape, np.float32)) for name in ("x", "y")]
    assert not moves(LAYOUTS["packed"], arrays, [])
    assert moves(LAYOUTS["packed"], [(name, np.ones((2, 3, 4), np.float32)) for name in ("x", "y")], [])


def test_arrays_given_by_keyword_are_moved_too_but_neither_packed_nor_laid_far_apart() -> None:
    named = [("bias", np.ones((2, 3, 4), np.float32))]
    assert [name for name, layout in LAYOUTS.items() if moves(layout, [], named)] == [
        name for name in LAYOUTS if name in MOVED[2, 3, 4].split() and LAYOUTS[name].far is None
    ]
