"""Every method of every tier contains what mpmath computes at 200 digits, for operands anywhere in their balls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import flint
import numpy as np
import pytest
from mpmath import mp, mpf

from assay.spec.enclosure import ArbArithmetic, ArbBall, DoubleDoubleBall, Float64Ball
from assay.spec.enclosure.arb import from_parts

if TYPE_CHECKING:
    from collections.abc import Callable

Array = np.ndarray[Any, Any]
TIERS = ["float64", "double-double", "arb 30", "arb 128", "arb 400"]
ENDS = (-1.0, 0.0, 1.0, 0.37)  # where in its ball an operand is taken
RNG = np.random.default_rng(20)


def ball(tier: str, high: Array, low: Array, rad: Array) -> Any:
    if tier == "float64":
        return Float64Ball(high, rad)
    if tier == "double-double":
        return DoubleDoubleBall(high, low, rad)
    return ArbBall(from_parts(high, low, rad), int(tier.split()[1]))


def product_of(tier: str) -> Callable[[Array, Array], Any]:
    if tier.startswith("arb"):
        return ArbArithmetic(int(tier.split()[1])).product
    return Float64Ball.product if tier == "float64" else DoubleDoubleBall.product


def lows(tier: str, high: Array) -> Array:
    """Low parts: below half an ulp, as in every normalised pair."""
    if tier == "float64":
        return np.zeros_like(high)
    return np.where(np.abs(high) > 1e-290, high * RNG.uniform(-(2.0**-54), 2.0**-54, high.shape), 0.0)


def points(high: Array, low: Array, rad: Array, at: float) -> Array:
    """high + low + at·rad, exactly."""
    out = np.empty(high.shape, dtype=object)
    with mp.workdps(1000):
        for index in np.ndindex(high.shape):
            out[index] = mpf(float(high[index]))
            if low[index]:
                out[index] += mpf(float(low[index]))
            if at * rad[index]:
                out[index] += mpf(at) * mpf(float(rad[index]))
    return out


def number(x: Any) -> Any:
    man, exponent = x.man_exp()
    return mp.ldexp(mpf(int(man)), int(exponent))


def contained(result: Any, truth: Array) -> Array:
    """Asserts; returns the radii as float64 (inf where the ball says nothing)."""
    balls = result.full()
    assert balls.shape == truth.shape
    radii = np.full(truth.shape, np.inf)
    with mp.workdps(1000):
        for index in np.ndindex(truth.shape):
            x, true = balls[index], truth[index]
            if not x.is_finite():
                assert x.contains(0) or mp.isinf(true), (index, x, true)
                continue
            gap = abs(number(x.mid()) - true)
            radius = number(x.rad().abs_upper())
            assert gap <= radius + abs(true) * mpf(10) ** -190, (index, mp.nstr(true, 20), x.str(20), float(gap))
            radii[index] = float(radius)
    mid, rad = result.rounded()
    for index in np.ndindex(truth.shape):
        if np.isfinite(mid[index]) and np.isfinite(rad[index]):
            with mp.workdps(1000):
                gap = abs(mpf(float(mid[index])) - truth[index])
                assert gap <= mpf(float(rad[index])) + abs(truth[index]) * mpf(10) ** -190, (index, mid[index])
    return radii


def grid(values: list[float], radii: list[float]) -> tuple[Array, Array]:
    high, rad = np.meshgrid(np.array(values), np.array(radii), indexing="ij")
    return high.copy(), rad.copy()


def each(function: Callable[..., Any], *arrays: Array) -> Array:
    out = np.empty(arrays[0].shape, dtype=object)
    with mp.workdps(200):
        for index in np.ndindex(out.shape):
            out[index] = function(*(array[index] for array in arrays))
    return out


ETA, NORMAL, LARGE = 5e-324, 2.0**-1022, 1.7e308
NUMBERS = [
    0.0,
    ETA,
    -7 * ETA,
    NORMAL,
    -1e-300,
    3e-160,
    1e-9,
    0.1,
    1.0,
    -1.0 - 2**-52,
    3.75,
    -800.3,
    1e17,
    -2e155,
    LARGE,
]
RADII = [0.0, ETA, 1e-310, 1e-40, 2.0**-53, 1e-3, 0.9, 1.0, 40.0, 1e300]
EXPONENTS = [0.0, ETA, -1e-9, 0.34657, -0.34658, 0.5, -2.0, 41.3, -598.7, -599.5, -600.0, -600.5, -650.0, -708.3]
EXPONENTS += [-744.9, -746.0, -1099.0, -2000.0, -1e5, 699.9, 700.0, 700.5, 708.9, 709.0, 709.5, 1000.0]
LOGS = [ETA, 1e-310, 1e-305, 1e-262, 1e-30, 0.3, 1.0 - 2**-53, 1.0, 1.0 + 2**-52, 1.0001, 2.0, 4e3, 1e200, 1e300, LARGE]


@pytest.mark.claim("ENC-1")
@pytest.mark.claim("ENC-5")
@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("factor", [0.0, -1.0, 0.1, 1.0 / 3.0, 1e-300, -ETA, 1e150, 2.0**1000])
def test_a_scaled_ball_contains_every_scaled_point(tier: str, factor: float) -> None:
    high, rad = grid(NUMBERS, RADII)
    low = lows(tier, high)
    with np.errstate(all="ignore"):
        result = ball(tier, high, low, rad).scaled(factor)
    for at in ENDS:
        contained(result, each(lambda x: x * mpf(factor), points(high, low, rad, at)))


@pytest.mark.claim("ENC-1")
@pytest.mark.claim("ENC-5")
@pytest.mark.parametrize("tier", TIERS)
def test_every_ball_may_be_scaled_by_its_own_number(tier: str) -> None:
    high, rad = grid(NUMBERS, RADII)
    low = lows(tier, high)
    factors = np.tile([0.0, -1.0, 0.1, 3e-300, 1e150], 3)[:, None]
    with np.errstate(all="ignore"):
        result = ball(tier, high, low, rad).scaled(factors)
    factors = np.broadcast_to(factors, high.shape)
    contained(result, each(lambda x, f: x * mpf(float(f)), points(high, low, rad, -1.0), factors))


@pytest.mark.parametrize("tier", TIERS)
def test_balls_around_others_contain_these_and_are_hardly_larger(tier: str) -> None:
    """Thirds to 500 digits, known to 400 bits or to 20."""
    arithmetic: Any = {"float64": Float64Ball, "double-double": DoubleDoubleBall}.get(tier)
    arithmetic = arithmetic or ArbArithmetic(int(tier.split()[1]))
    with flint.ctx.workprec(1700):
        thirds = np.array([[flint.arb(n) / 3 for n in (0, 1, -2, 10**15, 1 + 2**60)]], dtype=object)
        rough = np.array([[x + flint.arb(0, 2.0**-20) for x in thirds[0]]], dtype=object)
    truth = each(lambda n: mpf(n) / 3, np.array([[0, 1, -2, 10**15, 1 + 2**60]], dtype=object))
    radii = contained(arithmetic.around(thirds), truth)
    assert (radii <= 2.0 ** (-min(arithmetic.precision, 106)) * np.array([0, 1, 1, 1e15, 2.0**60])).all()
    assert (
        contained(arithmetic.around(rough), truth) <= 2.0**-19 + 2.0**-52 * np.array([0, 1, 1, 1e15, 2.0**60])
    ).all()
    assert arithmetic.around(rough)[0, 1:3].full().shape == (2,)


@pytest.mark.claim("ENC-1")
@pytest.mark.claim("ENC-5")
@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("addend", [0.0, ETA, -1e-300, 0.1, -3.75, 800.2999999, -1e17, LARGE, -LARGE])
def test_a_ball_plus_a_number_contains_every_sum(tier: str, addend: float) -> None:
    high, rad = grid(NUMBERS, RADII)
    low = lows(tier, high)
    with np.errstate(all="ignore"):
        result = ball(tier, high, low, rad).plus(np.full_like(high, addend))
    for at in ENDS:
        contained(result, each(lambda x: x + mpf(addend), points(high, low, rad, at)))


@pytest.mark.claim("ENC-4")
@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("c", [ETA, 1e-300, 1e-280, 1e-5, 0.3, 1.0, 30.0, 1e5, 1e155, 1e299, LARGE])
def test_a_capped_ball_contains_every_capped_point(tier: str, c: float) -> None:
    scores = [*NUMBERS, -1e10, *(min(x * c, LARGE) for x in (0.27, 17.0, 279.9)), max(-5 * c, -LARGE)]
    high, rad = grid(scores, [0.0, 1e-3, 40.0, 0.3 * c])
    low = lows(tier, high)
    with np.errstate(all="ignore"):
        result = ball(tier, high, low, rad).capped(c)
    for at in (-1.0, 1.0):
        truth = each(
            lambda x: mpf(c) * (mp.sign(x) if abs(x / mpf(c)) > 10**4 else mp.tanh(x / mpf(c))),
            points(high, low, rad, at),
        )
        contained(result, truth)


@pytest.mark.claim("ENC-2")
@pytest.mark.claim("ENC-7")
@pytest.mark.parametrize("tier", TIERS)
def test_the_exponential_of_a_ball_contains_that_of_every_point(tier: str) -> None:
    high, rad = grid(EXPONENTS, [r for r in RADII if r < 1e4])
    low = lows(tier, high)
    with np.errstate(all="ignore"):
        result = ball(tier, high, low, rad).exp()
    for at in ENDS:
        contained(result, each(mp.exp, points(high, low, rad, at)))


@pytest.mark.claim("ENC-3")
@pytest.mark.claim("ENC-8")
@pytest.mark.parametrize("tier", TIERS)
def test_the_logarithm_of_a_ball_contains_that_of_every_point(tier: str) -> None:
    high = np.repeat(np.array(LOGS)[:, None], 7, axis=1)
    rad = high * np.array([0.0, 2.0**-53, 1e-30, 1e-9, 1e-3, 0.45, 0.99])
    low = lows(tier, high)
    with np.errstate(all="ignore"):
        result = ball(tier, high, low, rad).log()
    for at in ENDS:
        contained(result, each(mp.log, points(high, low, rad, at)))


@pytest.mark.claim("ENC-9")
@pytest.mark.parametrize("tier", TIERS)
def test_a_quotient_of_balls_contains_every_quotient(tier: str) -> None:
    denominators = [3 * ETA, 1e-300, 7e-250, 1.0 / 3.0, 1.0, 1.0 + 2**-52, 77.7, 1e40, 1e290, LARGE]
    for y, share in ((y, s) for y in denominators for s in (0.0, 2.0**-53, 1e-3, 0.4, 0.49999, 0.97)):
        high, rad = grid(NUMBERS, [0.0, ETA, 1e-40, 1e-3])
        low = lows(tier, high)
        below = (np.full_like(high, y), lows(tier, np.full_like(high, y)), np.full_like(high, y * share))
        if (below[0] <= below[2]).any():
            continue
        with np.errstate(all="ignore"):
            result = ball(tier, high, low, rad).divided(ball(tier, *below))
        for at, other in ((1.0, -1.0), (-1.0, 1.0)):
            truth = each(lambda x, z: x / z, points(high, low, rad, at), points(*below, other))
            contained(result, truth)


@pytest.mark.claim("ENC-1")
@pytest.mark.claim("ENC-5")
@pytest.mark.parametrize("tier", TIERS)
def test_sums_and_differences_of_balls_contain_every_sum_and_difference(tier: str) -> None:
    high, rad = grid(NUMBERS, RADII)
    low = lows(tier, high)
    for value, radius in ((0.1, 1e-3), (-3.7500001, 0.0), (1e17, 1.0), (-LARGE, 0.0), (1e-300, ETA)):
        row = (
            np.full((len(high), 1), value),
            lows(tier, np.full((len(high), 1), value)),
            np.full((len(high), 1), radius),
        )
        with np.errstate(all="ignore"):
            mine, other = ball(tier, high, low, rad), ball(tier, *(np.broadcast_to(x, high.shape) for x in row))
            plus, minus = mine.plus_ball(other), mine.minus_row(ball(tier, *row))
        for at, there in ((1.0, 1.0), (1.0, -1.0), (-1.0, -1.0), (0.2, -0.9)):
            x = points(high, low, rad, at)
            y = points(*(np.broadcast_to(part, high.shape) for part in row), there)
            with mp.workdps(1000):
                contained(plus, x + y)
                contained(minus, x - y)


def test_minus_infinity_itself_stays_and_an_overflow_says_nothing() -> None:
    for tier in TIERS:
        row = ball(tier, np.array([[2.0]]), np.zeros((1, 1)), np.zeros((1, 1)))
        exact = ball(tier, np.array([[-np.inf]]), np.zeros((1, 1)), np.zeros((1, 1)))
        unknown = ball(tier, np.array([[-np.inf]]), np.zeros((1, 1)), np.array([[np.inf]]))
        with np.errstate(all="ignore"):
            mid, rad = exact.minus_row(row).rounded()
            assert (mid, rad) == (-np.inf, 0.0)
            assert not (unknown.minus_row(row).rounded()[1] < np.inf)
            assert not (unknown.minus_row(row).exp().rounded()[1] < np.inf)


@pytest.mark.parametrize("tier", TIERS)
def test_where_and_joined_put_exact_numbers_beside_the_balls(tier: str) -> None:
    high, rad = grid(NUMBERS, RADII)
    low = lows(tier, high)
    keep = RNG.integers(0, 2, high.shape).astype(bool)
    mine = ball(tier, high, low, rad)
    for at in (-1.0, 1.0):
        inside = points(high, low, rad, at)
        radii = contained(mine.where(keep, 0.75), np.where(keep, inside, mpf("0.75")))
        assert (radii[~keep] == 0.0).all()
        radii = contained(
            mine.joined(high[:, :2]), np.concatenate([inside, points(high, 0 * low, 0 * rad, 0)[:, :2]], 1)
        )
        assert (radii[:, -2:] == 0.0).all()


@pytest.mark.parametrize("tier", TIERS)
def test_the_largest_is_an_exact_number_near_the_largest_of_those_chosen(tier: str) -> None:
    high = RNG.standard_normal((20, 9))
    among = RNG.integers(0, 2, high.shape).astype(bool)
    among[:, 4] = True
    mid, rad = ball(tier, high, 0 * high, np.full_like(high, 1e-3)).largest(among).rounded()
    assert (rad == 0.0).all()
    assert (mid[:, 0] == np.where(among, high, -np.inf).max(axis=1)).all()


WEIGHTS = {
    "ones": lambda n: np.ones((2, n)),
    "uniform": lambda n: RNG.uniform(0, 1, (2, n)),
    "spread": lambda n: 10.0 ** RNG.uniform(-300, 0, (2, n)),
    "subnormal": lambda n: RNG.integers(0, 9, (2, n)) * ETA,
    "one large": lambda n: np.where(np.arange(n) == n // 2, 1.0, 2.0**-53 * RNG.uniform(0, 1, (2, n))),
    "beyond range": lambda n: np.full((2, n), 1.2e308),
}


@pytest.mark.claim("ENC-10")
@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("n", [1, 2, 3, 17, 300])
def test_a_total_contains_the_sum_of_any_points(tier: str, kind: str, n: int) -> None:
    high = WEIGHTS[kind](n)
    low = lows(tier, high)
    for rad in (0 * high, high * 2.0**-40, np.full_like(high, 1e-3)):
        with np.errstate(all="ignore"):
            result = ball(tier, high, low, rad).total()
        for at in (-1.0, 0.0, 1.0):
            with mp.workdps(1000):
                contained(result, points(high, low, rad, at).sum(axis=1, keepdims=True))


VALUES = {
    "normal": lambda n: RNG.standard_normal((n, 3)),
    "spread": lambda n: RNG.choice([-1.0, 1.0], (n, 3)) * 10.0 ** RNG.uniform(-100, 100, (n, 3)),
    "cancelling": lambda n: (
        np.where(np.arange(n) % 2, 1.0, -1.0)[:, None] * (1 + 2.0**-40 * RNG.standard_normal((n, 3)))
    ),
    "subnormal": lambda n: RNG.integers(-9, 9, (n, 3)) * ETA,
    "large": lambda n: RNG.choice([-1.0, 1.0], (n, 3)) * 1.1e308,
    "a column of zeros": lambda n: RNG.standard_normal((n, 3)) * [1.0, 0.0, 1.0],
}


@pytest.mark.claim("ENC-6")
@pytest.mark.claim("ENC-10")
@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("values", VALUES)
def test_a_product_with_a_matrix_contains_the_product_of_any_points(tier: str, kind: str, values: str) -> None:
    for n in (1, 5, 64):
        high, v = WEIGHTS[kind](n), VALUES[values](n)
        low = lows(tier, high)
        exact = points(v, 0 * v, 0 * v, 0.0)
        for rad in (0 * high, high * 2.0**-30, np.full_like(high, 1e-3)):
            with np.errstate(all="ignore"):
                result, size = ball(tier, high, low, rad).times_matrix(v)
            for at in (-1.0, 1.0) if rad.any() else (0.0,):
                x = points(high, low, rad, at)
                with mp.workdps(1000):
                    radii = contained(result, x @ exact)
                    for c in range(3 if rad.any() else 0):  # every operand at the end that hurts most
                        worst = points(high, low, rad * np.sign(v[:, c]) * at, 1.0)
                        contained(_column(result, c), worst @ exact[:, c : c + 1])
                assert (size < np.inf).all()
                if values == "a column of zeros" and kind != "beyond range":
                    assert (radii[:, 1] == 0.0).all()


def _column(result: Any, c: int) -> Any:
    parts = [
        getattr(result, name)[:, c : c + 1] for name in ("mid", "high", "low", "rad", "balls") if hasattr(result, name)
    ]
    return ArbBall(parts[0], result.precision) if isinstance(result, ArbBall) else type(result)(*parts)


@pytest.mark.claim("ENC-1")
@pytest.mark.claim("ENC-6")
@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("values", VALUES)
@pytest.mark.parametrize("k", [1, 2, 5, 64])
def test_a_product_of_exact_matrices_contains_the_exact_product(tier: str, values: str, k: int) -> None:
    for other in VALUES:
        a, b = VALUES[other](k).T.copy(), VALUES[values](k)
        with np.errstate(all="ignore"):
            result = product_of(tier)(a, b)
        with mp.workdps(1000):
            contained(result, points(a, 0 * a, 0 * a, 0.0) @ points(b, 0 * b, 0 * b, 0.0))


@pytest.mark.claim("ENC-1")
@pytest.mark.claim("ENC-6")
@pytest.mark.parametrize("tier", ["float64", "double-double", "arb 128"])
@pytest.mark.parametrize("k", [1000, 5000])
def test_long_products_are_contained_and_cancel_without_harm(tier: str, k: int) -> None:
    half = RNG.standard_normal((1, k // 2)) * 10.0 ** RNG.uniform(-30, 30, k // 2)
    a, b = np.concatenate([half, half], 1), np.ones((k, 1))
    b[k // 2 :] = -1.0
    b[0] += 2.0**-50
    with mp.workdps(400):
        truth = points(a, 0 * a, 0 * a, 0.0) @ points(b, 0 * b, 0 * b, 0.0)
        radius = contained(product_of(tier)(a, b), truth)
    relative = radius / (np.abs(a) @ np.abs(b))
    assert relative.max() <= {"float64": 1e-12, "double-double": 2.0**-80, "arb 128": 2.0**-110}[tier]


@pytest.mark.parametrize("tier", TIERS)
def test_balls_of_moderate_numbers_are_as_narrow_as_their_tier_promises(tier: str) -> None:
    unit = {
        "float64": 2.0**-53,
        "double-double": 2.0**-97,
        "arb 30": 2.0**-28,
        "arb 128": 2.0**-124,
        "arb 400": 2.0**-396,
    }
    q, v = RNG.standard_normal((4, 16)), RNG.standard_normal((16, 3))
    score = (
        product_of(tier)(q, RNG.standard_normal((16, 16))).scaled(0.3).capped(5.0).plus(RNG.standard_normal((4, 16)))
    )
    weight = score.minus_row(score.largest(np.ones((4, 16), bool))).exp()
    total = weight.total()
    out, lse = weight.times_matrix(v)[0].divided(total), total.log()
    assert out.error().max() <= 3000 * unit[tier]
    assert lse.error().max() <= 3000 * unit[tier]


def test_all_tiers_overlap_on_one_computation() -> None:
    q, k, v = RNG.standard_normal((4, 6)), RNG.standard_normal((6, 9)), RNG.standard_normal((9, 2))
    found: list[tuple[Array, Array]] = []
    for tier in TIERS:
        score = product_of(tier)(q, k).scaled(3.0).plus(k[:1] - 1).joined(np.ones((4, 1)))
        shift = score.largest(np.ones((4, 10), bool))
        weight = score.minus_row(shift).exp()
        total = weight.total()
        values = np.concatenate([v, 0 * v[:1]])
        found.append((weight.times_matrix(values)[0].divided(total).full(), total.log().plus_ball(shift).full()))
    for mine in found:
        for theirs in found:
            assert all(
                x.overlaps(y) for a, b in zip(mine, theirs, strict=True) for x, y in zip(a.flat, b.flat, strict=True)
            )
