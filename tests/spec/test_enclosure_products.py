"""ENC-12: products of balls, and sums with signs, contain what mpmath computes for operands anywhere in their balls."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from mpmath import mp, mpf

from assay.spec.enclosure import ArbArithmetic, DoubleDoubleBall, Float64Ball
from assay.spec.enclosure.arb import ArbBall, from_parts

Array = np.ndarray[Any, Any]
TIERS = ["float64", "double-double", "arb"]
NUMBERS = np.array([0.0, 5e-324, -3e-310, 1e-160, -0.1, 1.0, -1.0 - 2.0**-52, 3.75, 1e17, -2e150])
RADII = np.array([0.0, 2.0**-53, 2.0])
ENDS = (-1.0, 1.0, 0.37)


def ball(tier: str, mid: Array, rad: Array) -> Any:
    zero = np.zeros_like(mid)
    if tier == "float64":
        return Float64Ball(mid, rad)
    return DoubleDoubleBall(mid, zero, rad) if tier == "double-double" else ArbBall(from_parts(mid, zero, rad), 160)


def point(mid: float, rad: float, at: float) -> Any:
    return mpf(mid) + mpf(at) * mpf(rad)


def contains(balls: Array, index: tuple[int, ...], truth: Any) -> bool:
    x = balls[index]
    if not x.is_finite():
        return True
    man, exponent = x.mid().man_exp()
    upper, shift = x.rad().abs_upper().man_exp()
    gap = abs(mp.ldexp(mpf(int(man)), int(exponent)) - truth)
    return bool(gap <= mp.ldexp(mpf(int(upper)), int(shift)) + abs(truth) * mpf(10) ** -280)


@pytest.mark.claim("ENC-12")
@pytest.mark.parametrize("tier", TIERS)
def test_a_product_of_balls_contains_every_product(tier: str) -> None:
    a, r = (x.ravel() for x in np.meshgrid(NUMBERS, RADII, indexing="ij"))
    count = len(a)
    mid, rad = np.broadcast_to(a[:, None], (count, count)).copy(), np.broadcast_to(r[:, None], (count, count)).copy()
    with np.errstate(all="ignore"):
        balls = ball(tier, mid, rad).times(ball(tier, mid.T.copy(), rad.T.copy())).full()
    known = 0
    with mp.workdps(340):
        for i, j in np.ndindex(count, count):
            known += bool(balls[i, j].is_finite())
            for at in ENDS:
                truth = point(a[i], r[i], at) * point(a[j], r[j], -at)
                assert contains(balls, (i, j), truth), (a[i], r[i], a[j], r[j], at)
                assert contains(balls, (i, j), point(a[i], r[i], at) * point(a[j], r[j], at))
    assert known >= 0.95 * count**2


@pytest.mark.claim("ENC-12")
@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("seed", range(6))
def test_a_product_of_balls_of_any_sign_with_a_matrix_contains_every_product(tier: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = (3, 40, 7, 100, 1, 12)[seed]
    x = rng.standard_normal((2, n)) * 10.0 ** rng.integers(-5, 6, (2, n))
    x[:, n // 2 :] = -x[:, : n - n // 2][:, ::-1] * (1 + 1e-12)  # the sum cancels
    v, r = rng.standard_normal((n, 3)), np.abs(x) * 2.0**-50 * rng.random((2, n))
    v[n // 2 :] = v[: n - n // 2][::-1]
    with np.errstate(all="ignore"):
        result, magnitude = ball(tier, x, r).times_matrix(v)
    balls = result.full()
    assert (magnitude >= 0.999 * (np.abs(x) @ np.abs(v))).all()
    with mp.workdps(300):
        for i, c in np.ndindex(2, 3):
            for at in ENDS:
                terms = [point(x[i, j], r[i, j], at * (-1) ** j) * mpf(v[j, c]) for j in range(n)]
                assert contains(balls, (i, c), sum(terms, mpf(0)))


def test_the_product_of_exact_numbers_is_nearly_exact_in_every_arithmetic() -> None:
    a, b = np.array([1.0 / 3.0, -7.1]), np.array([3.3, 1e-5])
    for arithmetic, most in ((Float64Ball, 2.0**-52), (DoubleDoubleBall, 2.0**-100), (ArbArithmetic(300), 2.0**-290)):
        made = arithmetic.exact(a).times(arithmetic.exact(b))
        assert (made.error() <= most * np.abs(a * b)).all()


@pytest.mark.claim("ENC-13")
@pytest.mark.parametrize("tier", TIERS)
def test_a_product_of_two_matrices_of_balls_contains_every_product(tier: str) -> None:
    rng = np.random.default_rng(13)
    known = 0
    for trial in range(60):
        n, k, m = (int(x) for x in rng.integers(1, 6, 3))
        x, y = (rng.choice(NUMBERS[:9], shape) for shape in ((1, n, k), (1, k, m)))
        if trial % 2:
            x, y = (rng.standard_normal(a.shape) * 10.0 ** rng.integers(-3, 4, a.shape) for a in (x, y))
        r, t = (rng.choice(RADII, a.shape) for a in (x, y))
        with np.errstate(all="ignore"):
            balls = ball(tier, x, r).matmul(ball(tier, y, t)).full()
        with mp.workdps(400):
            for i, j in np.ndindex(n, m):
                known += bool(balls[0, i, j].is_finite())
                for at in ENDS:
                    truth = sum(
                        point(x[0, i, c], r[0, i, c], at) * point(y[0, c, j], t[0, c, j], -at) for c in range(k)
                    )
                    assert contains(balls, (0, i, j), truth), (trial, i, j, at)
    assert known > 300


@pytest.mark.claim("ENC-13")
def test_the_low_parts_of_double_double_balls_enter_a_product_of_matrices() -> None:
    low = np.full((1, 1, 1), 2.0**-60)
    one, zero = np.ones((1, 1, 1)), np.zeros((1, 1, 1))
    product = DoubleDoubleBall(one, low, zero).matmul(DoubleDoubleBall(one, low, zero)).full()[0, 0, 0]
    with mp.workdps(60):
        truth = (1 + mpf(2) ** -60) ** 2
        assert contains(np.array([product], dtype=object), (0,), truth)
    assert float(product.rad()) < 2.0**-98
