"""One step of the online softmax of tiles, and the exponential in it (ATT-9)."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.impl.cpu import softmax
from assay.impl.cpu.compiled import CONTRACT, compiled
from assay.impl.cpu.products import LANES, STRIDE

if TYPE_CHECKING:
    from numpy.typing import NDArray

pytest.importorskip("numba")

STEPS = functools.cache(softmax.steps)
TYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])


def drawn(wide: int, dtype: str, seed: int, spread: float) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Scores with some that are −∞, maxima of before, the lowest number among them, and sums."""
    rng = np.random.default_rng(seed)
    scores = (spread * rng.standard_normal((wide + 2, STRIDE))).astype(dtype)
    scores[rng.random(scores.shape) < 0.1] = -np.inf
    top = np.where(rng.random(STRIDE) < 0.3, np.finfo(dtype).min, spread * rng.standard_normal(STRIDE)).astype(dtype)
    return scores, top, rng.uniform(0, 100, STRIDE).astype(dtype)


@TYPES
@given(
    wide=st.integers(1, 8).map(lambda n: 8 * n), size=st.integers(1, 16).map(lambda n: LANES * n),
    spread=st.sampled_from((1e-3, 1.0, 30.0, 1e4)), seed=st.integers(0, 99),
)  # fmt: skip
def test_a_step_gives_what_its_words_give_and_writes_nothing_else(
    dtype: str, wide: int, size: int, spread: float, seed: int
) -> None:
    scores, top, total = drawn(wide, dtype, seed, spread)
    words = scores.astype(np.float64), top.astype(np.float64), total.astype(np.float64)
    softmax.soften(words[0], wide, size, words[1], words[2])
    untouched = scores[:, size:].copy(), scores[wide + 1].copy(), top[size:].copy(), total[size:].copy()
    STEPS()["soften"](scores, wide, size, top, total)
    u, least = float(np.finfo(dtype).eps), float(np.finfo(dtype).tiny)
    np.testing.assert_array_equal(top, words[1])
    found, expected = scores[: wide + 1, :size], words[0][: wide + 1, :size]
    # a difference of scores is rounded before its exponential is taken; so are those of the words in float64
    reach = 4.0 * u + 2.0 * u * np.abs(np.log(np.maximum(expected, least)))
    assert (np.abs(found - expected) <= reach * expected + least).all()
    sums = words[2][:size]
    assert (np.abs(total[:size] - sums) <= (wide + 200) * u * sums + 100 * (wide + 1) * least).all()
    for now, before in zip((scores[:, size:], scores[wide + 1], top[size:], total[size:]), untouched, strict=True):
        np.testing.assert_array_equal(now, before)


@TYPES
def test_the_bits_do_not_show_the_width_of_vectors(dtype: str) -> None:
    found = set()
    for width in (16, 32, 64):
        scores, top, total = drawn(64, dtype, 0, 5.0)
        strip, each = softmax._strip(width), width // top.itemsize
        step = compiled(_one, None, CONTRACT, strip=strip)
        for r in range(0, 256, each):
            step(scores, 64, top, total, r)
        found.add(b"".join(array.tobytes() for array in (scores, top, total)))
    assert len(found) == 1


def _one(scores: Any, wide: Any, top: Any, total: Any, r: Any) -> None:
    strip(scores, wide, top, total, r)  # type: ignore[name-defined]  # noqa: F821


@TYPES
@given(st.data())
def test_an_exponential_in_registers_has_the_bits_of_one_in_a_loop(dtype: str, data: st.DataObject) -> None:
    least = float(softmax.exponential(np.dtype(dtype))[0][-1])
    number = st.floats(0.0, 1.1).map(lambda part: part * least) | st.sampled_from((least, 0.0, -0.0, -np.inf))
    row = data.draw(st.lists(number, min_size=LANES, max_size=LANES))
    scores = np.zeros((10, STRIDE), dtype)  # the maxima are 0
    scores[:8, :LANES] = np.minimum(np.array(row, dtype), np.dtype(dtype).type(0.0))
    other = scores.copy()
    STEPS()["soften"](scores, 8, LANES, np.zeros(LANES, dtype), np.zeros(LANES, dtype))
    STEPS()["exponentiate"](other, 8, LANES, np.zeros(LANES, dtype), *softmax.exponential(np.dtype(dtype)))
    np.testing.assert_array_equal(scores[:8], other[:8])


@pytest.mark.claim("ATT-9")
@TYPES
def test_the_exponential_in_registers_is_within_three_roundings(dtype: str) -> None:
    reduction, _ = softmax.exponential(np.dtype(dtype))
    least, u, tiny = float(reduction[-1]), float(np.finfo(dtype).eps) / 2, float(np.finfo(dtype).tiny)
    rng = np.random.default_rng(0)
    halves = (np.arange(1, int(-least / np.log(2.0))) - 0.5) * -np.log(2.0)  # where the power of two changes
    x = np.concatenate([rng.uniform(least, 0.0, 2000), -np.exp(rng.uniform(-40, 4, 1000)), halves, [least, 0.0]])
    x = np.concatenate([x, np.resize(x, -len(x) % (8 * LANES))]).astype(dtype)
    x = np.maximum(x, np.dtype(dtype).type(least)).reshape(-1, 8, LANES)
    for part in x:
        scores = np.zeros((9, STRIDE), dtype)
        scores[:8, :LANES] = part
        STEPS()["soften"](scores, 8, LANES, np.zeros(LANES, dtype), np.zeros(LANES, dtype))
        for given_x, found in zip(part.ravel().tolist(), scores[:8, :LANES].ravel().tolist(), strict=True):
            exact = mpmath.exp(mpmath.mpf(given_x))
            assert abs(found - exact) <= 3 * u * exact + u * tiny


@pytest.mark.claim("ATT-9")
@TYPES
def test_an_exponential_above_the_maximum_is_within_three_roundings_up_to_the_negative_of_the_least(dtype: str) -> None:
    reduction, _ = softmax.exponential(np.dtype(dtype))
    most, u = -float(reduction[-1]), float(np.finfo(dtype).eps) / 2
    x = np.random.default_rng(0).uniform(0.0, most, 64 * LANES).astype(dtype).reshape(64, LANES)
    x[0, :3] = np.array([most, 2.0 * most, 1e30], dtype)
    scores = np.zeros((64, STRIDE), dtype)
    scores[:, :LANES] = x
    STEPS()["exponentiate"](scores, 64, LANES, np.zeros(LANES, dtype), *softmax.exponential(np.dtype(dtype)))
    for given_x, found in zip(x.ravel().tolist(), scores[:, :LANES].ravel().tolist(), strict=True):
        exact = mpmath.exp(mpmath.mpf(min(given_x, most)))
        assert abs(found - exact) <= 3 * u * exact


def test_the_bits_of_a_number_are_shifted_as_its_words_say() -> None:
    for dtype in (np.float32, np.float64):
        numbers = dtype(softmax.exponential(np.dtype(dtype))[0][3]) + np.arange(-60, 1, dtype=dtype)
        for number in numbers:
            assert softmax.shifted(number) > 0
        powers = np.array([softmax.shifted(number) for number in numbers])
        np.testing.assert_array_equal(powers, np.exp2(np.arange(-60.0, 1.0)).astype(dtype))
