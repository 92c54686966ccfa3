"""Guarded inputs: the same numbers in every layout, and nothing that is done to them goes unseen."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.conformance.guard import guarded
from assay.conformance.suite import Layout

layouts = st.builds(
    Layout,
    st.just(""),
    st.sampled_from([None, (0, 2, 1, 3), (0, 1, 3, 2), (3, 2, 1, 0)]),
    st.integers(0, 9),
    st.integers(0, 5),
    st.booleans(),
)
shapes = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)
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
