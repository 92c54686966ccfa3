"""Products of tiles: what the compiled steps compute, whatever the shape of their blocks and the width of vectors."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from assay.impl.cpu import processor, products
from assay.impl.cpu.products import LANES, ROWS, STRIDE, Blocks

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

pytest.importorskip("numba")

WORDS = {"multiply": products.multiply, "add_product": products.add_product, "shrink_and_add": products.shrink_and_add}
STEPS = functools.cache(products.steps)
SHAPES = (Blocks(4, 4, 64), Blocks(8, 3, 64), Blocks(4, 3, 32), Blocks(4, 2, 16))
TYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])


def tile(rows: int, dtype: str, seed: int, *, most: int = 8) -> NDArray[Any]:
    """A tile of whole numbers, of which sums of products are exact."""
    found = np.empty((rows, STRIDE), dtype)
    found[:] = np.random.default_rng(seed).integers(-most, most + 1, found.shape)
    return found


def laid(a: NDArray[Any], how: str) -> NDArray[Any]:
    """The same numbers in another layout, or what a layout makes of them."""
    if how == "transposed":
        return np.ascontiguousarray(a.T).T
    if how == "backwards":
        return np.ascontiguousarray(a[::-1, ::-1])[::-1, ::-1]
    if how == "one row":
        return np.broadcast_to(a[:1], a.shape)
    return np.repeat(a, 3, axis=1)[:, ::3] if how == "spaced" else a


def called(step: Callable[..., None], *arguments: Any, name: str, by: NDArray[Any]) -> None:
    step(*arguments, *([by] if name == "shrink_and_add" else []))


@pytest.mark.parametrize("name", WORDS)
@TYPES
@given(
    rows=st.integers(1, 40), depth=st.integers(0, 70), columns=st.integers(0, 16).map(lambda n: LANES * n),
    how=st.sampled_from(("plain", "transposed", "backwards", "one row", "spaced")), seed=st.integers(0, 99),
)  # fmt: skip
@example(rows=17, depth=1, columns=256, how="plain", seed=0)
@example(rows=8, depth=64, columns=48, how="transposed", seed=0)
def test_a_step_gives_what_its_words_give_and_writes_nothing_else(
    name: str, dtype: str, rows: int, depth: int, columns: int, how: str, seed: int
) -> None:
    a = laid(tile(rows, dtype, seed)[:, :depth], how)
    b, c = tile(depth + 2, dtype, seed + 1), tile(-(-rows // ROWS) * ROWS, dtype, seed + 2)
    b[depth:] = np.nan  # rows that are not read
    by, expected = tile(1, dtype, seed + 3)[0], c.copy()
    called(WORDS[name], a, b, expected, columns, name=name, by=by)
    called(STEPS()[name], a, b, c, columns, name=name, by=by)
    np.testing.assert_array_equal(c, expected)


@pytest.mark.parametrize("name", WORDS)
@TYPES
@given(scale=st.sampled_from((1e-30, 1.0, 1e30)), seed=st.integers(0, 99))
def test_the_bits_show_neither_the_shape_of_blocks_nor_the_width_of_vectors(
    name: str, dtype: str, scale: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    a, b, c = (rng.standard_normal(shape).astype(dtype) for shape in ((24, 33), (33, STRIDE), (24, STRIDE)))
    b *= np.dtype(dtype).type(scale)
    by = rng.standard_normal(STRIDE).astype(dtype)
    bits = set()
    for step in _shaped(name):
        found = c.copy()
        called(step, a, b, found, 208, name=name, by=by)
        bits.add(found.tobytes())
    assert len(bits) == 1


@functools.cache
def _shaped(name: str) -> list[Callable[..., None]]:
    return [products._compiled(name, shape) for shape in SHAPES]


@TYPES
def test_a_sum_is_taken_in_the_order_of_the_depth(dtype: str) -> None:
    u = float(np.finfo(dtype).eps)
    a = np.array([[1.0, u / 2, u / 2, u / 2, -1.0]], dtype)
    b, c = np.ones((5, STRIDE), dtype), np.empty((ROWS, STRIDE), dtype)
    STEPS()["multiply"](a, b, c, LANES)
    assert (c[:, :LANES] == 0.0).all()  # each half of an ulp of 1 is lost when it is its turn
    STEPS()["multiply"](np.ascontiguousarray(a[:, [1, 2, 3, 0, 4]]), b, c, LANES)
    assert (c[:, :LANES] == 2 * u).all()


@TYPES
@pytest.mark.parametrize("rows", [1, 65])
def test_a_tile_begins_with_a_line_of_the_cache(dtype: str, rows: int) -> None:
    like, held = np.zeros(1, dtype), []
    for _ in range(20):
        found = STEPS()["room"](rows, like)
        held.append(found)
        assert found.shape == (rows, STRIDE)
        assert found.dtype == dtype
        assert found.strides == (STRIDE * like.itemsize, like.itemsize)
        assert found.ctypes.data % 64 == 0
        found[:] = 0.0


@pytest.mark.parametrize(
    ("features", "width"),
    [("", 16), ("+sse4.2,-avx512f", 16), ("+avx,-avx512f", 32), ("+avx2,+fma", 32), ("+avx,+avx512f", 64),
     ("+avx,+avx512f,-avx512f", 32)],
)  # fmt: skip
def test_blocks_fit_into_the_registers_of_the_target(
    features: str, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processor, "target", lambda: ("some", features))
    found = products.blocks()
    assert found.width == width
    assert ROWS % found.rows == 0
    assert found.rows * found.vectors + found.vectors + 1 <= (32 if width == 64 else 16)
