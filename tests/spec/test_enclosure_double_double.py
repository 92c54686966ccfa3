"""Double-double: the errors of its operations, its exp, and products by exact slices."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mpmath import mp, mpf

from assay.spec.enclosure import DoubleDoubleBall
from assay.spec.enclosure import double_double as dd

Array = np.ndarray[Any, Any]
seeds = st.integers(0, 2**32 - 1)


def pairs(rng: np.random.Generator, n: int, width: float) -> tuple[Array, Array]:
    """Normalised pairs of any sign, sizes within 10^±width; many with low parts at half an ulp."""
    high = rng.choice([-1.0, 1.0], n) * 10.0 ** rng.uniform(-width, width, n)
    ulp = np.spacing(np.abs(high)) / 2
    low = ulp * rng.choice([-0.99, -0.5, 0.0, 2.0**-40, 0.999], n) * rng.uniform(0.9, 1.0, n)
    return dd._two_sum(high, low)


def exact(pair: tuple[Array, Array]) -> list[Fraction]:
    return [Fraction(float(h)) + Fraction(float(l)) for h, l in zip(*pair, strict=True)]  # noqa: E741


def worst(found: tuple[Array, Array], truth: list[Fraction]) -> float:
    errors = [abs(f - t) / abs(t) if t else Fraction(f != t) for f, t in zip(exact(found), truth, strict=True)]
    return math.log2(float(max(errors)) or 2.0**-1000)


@pytest.mark.claim("ENC-5")
@given(seeds, st.sampled_from([0.0, 0.3, 20.0, 90.0]))
def test_sums_products_and_quotients_of_pairs_err_by_less_than_sixteen_squared_roundoffs(
    seed: int, width: float
) -> None:
    rng = np.random.default_rng(seed)
    a, b = pairs(rng, 60, width), pairs(rng, 60, width)
    nearly = dd._two_sum(-a[0] * (1 + rng.choice([0.0, 2.0**-52, 2.0**-30], 60)), a[1])  # cancels with a
    x, y, z = exact(a), exact(b), exact(nearly)
    limit = math.log2(dd.E)
    assert worst(dd._add(a, b), [p + q for p, q in zip(x, y, strict=True)]) <= -104
    assert worst(dd._add(a, nearly), [p + q for p, q in zip(x, z, strict=True)]) <= -104
    assert (
        worst(dd._add_float(a, nearly[0]), [p + Fraction(float(q)) for p, q in zip(x, nearly[0], strict=True)]) <= -105
    )
    assert worst(dd._multiply(a, b), [p * q for p, q in zip(x, y, strict=True)]) <= math.log2(5) - 106
    assert worst(dd._multiply_float(a, b[0]), [p * Fraction(float(q)) for p, q in zip(x, b[0], strict=True)]) <= limit
    assert worst(dd._divide(a, b), [p / q for p, q in zip(x, y, strict=True)]) <= math.log2(6) - 106


@pytest.mark.claim("ENC-7")
def test_the_exponential_of_a_pair_has_ninety_seven_bits() -> None:
    rng = np.random.default_rng(4)
    half = (np.arange(-860, 1000, 7) + 0.5) * math.log(2.0)
    tiny = rng.choice([-1, 1], 300) * 10.0 ** rng.uniform(-320, 0, 300)
    high = np.concatenate(
        [rng.uniform(-600, 700, 2500), rng.uniform(-1, 1, 800), half, tiny, [-599.999999, 700.0, 0.0]]
    )
    low = high * rng.uniform(-(2.0**-54), 2.0**-54, high.size)
    found = dd.exp_double_double(high, low)
    largest = 0.0
    with mp.workdps(60):
        for h, l, x, y in zip(high.tolist(), low.tolist(), *(part.tolist() for part in found), strict=True):  # noqa: E741
            true = mp.exp(mpf(h) + mpf(l))
            largest = max(largest, float(abs(mpf(x) + mpf(y) - true) / true))
    assert largest <= 2.0**-99, math.log2(largest)  # what the proof finds; the claim is 2^-97
    assert largest >= 2.0**-106


@pytest.mark.claim("ENC-7")
def test_the_exponential_below_minus_six_hundred_is_zero() -> None:
    high, low = dd.exp_double_double(np.array([-600.0, -601.0, -1e300, -np.inf]), np.zeros(4))
    assert not high.any()
    assert not low.any()
    assert dd.exp_double_double(np.zeros((0, 2)), np.zeros((0, 2)))[0].shape == (0, 2)


@pytest.mark.claim("ENC-7")
@pytest.mark.parametrize(
    ("mid", "rad"),
    [(-700.0, 1000.0), (-600.5, 2.0), (np.nan, 0.0), (np.nan, np.nan), (701.0, 0.0), (1e300, 0.0), (0.0, 1.5)],
)
def test_exp_says_nothing_beyond_its_range_or_with_a_wide_radius(mid: float, rad: float) -> None:
    with np.errstate(all="ignore"):
        ball = DoubleDoubleBall(np.array([mid]), np.zeros(1), np.array([rad])).exp()
    assert not ball.rad[0] < np.inf


@pytest.mark.claim("ENC-6")
@pytest.mark.parametrize("k", [1, 2, 3, 60, 1000, 5000, 70000])
def test_slices_are_narrow_enough_for_exact_sums_and_leave_a_small_rest(k: int) -> None:
    bits, rng = dd._bits(k), np.random.default_rng(5)
    assert 2 * bits + math.ceil(math.log2(max(k, 2))) <= 51
    a = rng.choice([-1.0, 1.0], (2, min(k, 1000))) * 2.0 ** rng.uniform(-40, 0, (2, min(k, 1000)))
    a[0, 0] = 1 - 2.0**-53
    parts, unit = dd._slices(a, -1, bits)
    rest = a
    for t, part in enumerate(parts, 1):
        lattice = part / (unit * 2.0 ** (-t * bits))
        assert (lattice == np.rint(lattice)).all()
        assert np.abs(lattice).max() <= 2.0**bits
        assert (rest - part + part == rest).all()
        rest = rest - part
    assert (np.abs(rest) <= unit * 2.0 ** (-len(parts) * bits - 1)).all()
    assert (sum(parts[1:], parts[0]) + rest == a).all()


@pytest.mark.claim("ENC-6")
@given(seeds, st.integers(1, 40), st.sampled_from([0.0, 3.0, 20.0, 30.0]))
def test_a_sliced_product_stays_within_its_bound_and_far_below_it(seed: int, k: int, width: float) -> None:
    rng = np.random.default_rng(seed)
    a = rng.choice([-1.0, 1.0], (1, k)) * rng.uniform(0.5, 1, k) * 10.0 ** rng.uniform(-width, width, k)
    b = rng.choice([-1.0, 1.0], (k, 1)) * 10.0 ** rng.uniform(-width, width, (k, 1))
    if k > 1 and rng.integers(2):  # cancel all but the last bits
        b[0] = -(a[:, 1:] @ b[1:]) / a[0, 0]
    ball = DoubleDoubleBall.product(a, b)
    true = sum((Fraction(float(x)) * Fraction(float(y)) for x, y in zip(a[0], b[:, 0], strict=True)), Fraction(0))
    error = abs(Fraction(float(ball.high[0, 0])) + Fraction(float(ball.low[0, 0])) - true)
    assert error <= Fraction(float(ball.rad[0, 0]))
    units = k * Fraction(float(np.abs(a).max())) * Fraction(float(np.abs(b).max()))
    assert Fraction(float(ball.rad[0, 0])) <= units * Fraction(1, 2**98)


@pytest.mark.claim("ENC-6")
def test_a_product_whose_leading_part_cancels_is_still_a_normalised_pair() -> None:
    rng = np.random.default_rng(6)
    a = rng.standard_normal((40, 8))
    a = np.concatenate([a, a], axis=1)
    b = rng.standard_normal((8, 30))
    b = np.concatenate([b, -b * (1 + 2.0**-50)])
    ball = DoubleDoubleBall.product(a, b)
    assert (ball.high + ball.low == ball.high).all()


@pytest.mark.claim("ENC-6")
@pytest.mark.parametrize("size", [1e-130, 1e125, 1e308, 5e-324])
def test_a_product_outside_the_range_of_the_slices_says_nothing(size: float) -> None:
    a = np.array([[size, size]])
    with np.errstate(all="ignore"):
        ball = DoubleDoubleBall.product(a, np.array([[1.0], [-1.0]]))
    assert not ball.rad[0, 0] < np.inf


@pytest.mark.claim("ENC-6")
def test_low_parts_far_below_the_range_do_not_spoil_a_product() -> None:
    high = np.array([[1.0, 1e-250, 1e-270]])
    low = np.array([[0.0, 1e-267, -1e-287]])
    v = np.array([[1e-110], [1.0], [-1e110]])
    ball, _ = DoubleDoubleBall(high, low, 0 * high).times_matrix(v)
    x = [Fraction(float(p)) + Fraction(float(q)) for p, q in zip(high[0], low[0], strict=True)]
    true = sum((p * Fraction(float(q)) for p, q in zip(x, v[:, 0], strict=True)), Fraction(0))
    assert abs(Fraction(float(ball.high[0, 0])) + Fraction(float(ball.low[0, 0])) - true) <= Fraction(
        float(ball.rad[0, 0])
    )


@pytest.mark.claim("ENC-4")
def test_a_softcap_far_below_the_score_keeps_its_sign() -> None:
    x = np.array([-1e40, 1e40, -1e-3, 1e308, -np.inf])
    with np.errstate(all="ignore"):
        ball = DoubleDoubleBall(x, 0 * x, 0 * x).capped(1e-280)
    assert ball.high[:4].tolist() == [-1e-280, 1e-280, -1e-280, 1e-280]
    assert not ball.rad[4] < np.inf


@pytest.mark.claim("ENC-8")
@pytest.mark.parametrize("mid", [0.0, -1.0, 1e-300, 1e300, np.inf, np.nan])
def test_log_says_nothing_where_exp_cannot_check_it(mid: float) -> None:
    with np.errstate(all="ignore"):
        assert not DoubleDoubleBall(np.array([mid]), np.zeros(1), np.zeros(1)).log().rad[0] < np.inf
        assert not DoubleDoubleBall(np.array([1.0]), np.zeros(1), np.array([0.6])).log().rad[0] < np.inf


@pytest.mark.claim("ENC-8")
def test_log_does_not_trust_the_logarithm_of_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(7).uniform(1e-3, 1e6, 60)
    library = np.log
    for wrong in (0.0, 1e-14, 1e-13, 1e-9, 0.1):
        monkeypatch.setattr(np, "log", lambda y, wrong=wrong: library(y) + wrong)
        ball = DoubleDoubleBall(x, 0 * x, 0 * x).log()
        with mp.workdps(60):
            for value, high, low, rad in zip(*(p.tolist() for p in (x, ball.high, ball.low, ball.rad)), strict=True):
                assert not rad < math.inf or abs(mp.log(mpf(value)) - mpf(high) - mpf(low)) <= rad
        assert (ball.rad < np.inf).all() == (wrong < 1e-12)


@pytest.mark.claim("ENC-9")
def test_a_denominator_that_is_tiny_or_unknown_leaves_nothing_known() -> None:
    one, zero = np.ones(1), np.zeros(1)
    with np.errstate(all="ignore"):
        for y, t in ((1e-100, 0.0), (0.0, 0.0), (-1.0, 0.0), (1.0, 0.6), (1.0, np.inf), (np.nan, 0.0), (1.0, np.nan)):
            ball = DoubleDoubleBall(one, zero, zero).divided(DoubleDoubleBall(one * y, zero, one * t))
            assert not ball.rad[0] < np.inf
