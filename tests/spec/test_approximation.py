"""Polynomial approximations: the proved error is never exceeded, and no polynomial of the degree does better."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Any

import flint
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mpmath import mp, mpf

from assay.spec.approximation import (
    Approximation,
    Infeasible,
    alternation,
    approximation,
    certified_error,
    exp_by_moment,
    exp_of_degree,
    exp_of_least_degree,
    of_least_degree,
)


def exp(x: Any) -> Any:
    return x.exp()


def reciprocal(x: Any) -> Any:
    return 1 / (1 + x)


def one(x: Any) -> Any:
    return 1 + 0 * x


def sampled(found: Approximation, f: Any, points: int = 400) -> float:
    """The largest relative error at many points, by mpmath."""
    a, b = found.interval
    with mp.workdps(60):
        xs = [mpf(a) + (mpf(b) - mpf(a)) * (1 - mp.cos(mp.pi * k / points)) / 2 for k in range(points + 1)]
        return float(max(abs(mp.polyval([mpf(c) for c in found.coefficients[::-1]], x) / f(x) - 1) for x in xs))


@pytest.mark.claim("APX-1")
@given(st.floats(0.01, 9.0), st.integers(0, 14))
@example(9.0, 0)
def test_no_point_errs_by_more_than_the_certificate_and_some_point_by_nearly_as_much(
    radius: float, degree: int
) -> None:
    found = approximation(exp, (-radius, radius), degree)
    worst = sampled(found, mp.exp)
    assert worst <= found.error
    assert found.error <= 1.02 * worst + 1e-18 * math.exp(2 * radius)


@pytest.mark.claim("APX-1")
@pytest.mark.parametrize("degree", [1, 5, 20])
def test_certificate_of_a_chebyshev_polynomial_beside_one_is_its_amplitude(degree: int) -> None:
    coefficients = np.polynomial.chebyshev.cheb2poly([0.0] * degree + [2.0**-10])
    coefficients[0] += 1.0
    found = certified_error(one, coefficients.tolist(), (-1.0, 1.0))
    assert 2.0**-10 <= found <= 1.01 * 2.0**-10 * (1 + 1e-12)


@pytest.mark.claim("APX-1")
def test_a_spike_between_the_points_of_any_sample_is_seen() -> None:
    """(x − c)² = 0 at c and 1 nowhere near: P = f + f·(1 − 10⁶(x − c)²)·10⁻³ is off by 10⁻³ at c, by 0 at c ± 10⁻³."""
    centre = 0.123456789
    coefficients = [1 + 1e-3 * (1 - 1e6 * centre**2), 2e3 * centre, -1e3]
    narrow = (centre - 1e-3, centre + 1e-3)
    assert 0.999e-3 <= certified_error(one, coefficients, narrow) <= 1.02e-3


@pytest.mark.claim("APX-1")
def test_what_the_first_taylor_coefficients_do_not_show_is_in_the_remainder() -> None:
    found = certified_error(lambda x: 1 / (1 + x**20 * 2.0**-10), [1.0], (-1.0, 1.0))
    assert 2.0**-10 <= found <= 1.02 * 2.0**-10


@pytest.mark.claim("APX-1")
def test_taylor_polynomials_of_exp_err_by_what_exact_rationals_say() -> None:
    for degree in (2, 6, 11):
        taylor = [float(Fraction(1, math.factorial(k))) for k in range(degree + 1)]
        found = certified_error(exp, taylor, (-1.0, 1.0))
        tail = sum(Fraction((-1) ** k, math.factorial(k)) for k in range(degree + 1, degree + 25))
        at_minus_one = abs(float(tail)) * math.e  # the relative error is largest at −1
        assert at_minus_one * (1 - 1e-3) <= found <= 1.02 * at_minus_one


@pytest.mark.claim("APX-1")
def test_a_function_with_a_zero_has_no_certificate() -> None:
    assert certified_error(lambda x: x, [0.0, 1.0], (-1.0, 0.7)) == math.inf


MOMENTS = [(0.25, 3, 2, 4.0), (1.0, 4, 4, 2.0), (3.0, 7, 2, 1.0), (8.0, 20, 4, 11.3), (20.0, 24, 2, 32.0)]


@pytest.mark.claim("APX-1")
@pytest.mark.parametrize("root", [False, True])
@pytest.mark.parametrize(("radius", "degree", "order", "ratio"), MOMENTS)
def test_the_error_by_moments_is_nowhere_exceeded_and_nearly_attained(
    radius: float, degree: int, order: int, ratio: float, root: bool
) -> None:
    found = exp_by_moment(radius, degree, order, ratio, root)
    worst = mpf(0)
    with mp.workdps(60):
        for k in range(1001):
            x = mpf(radius) * mp.cos(mp.pi * k / 1000)
            w = 1 + (mpf(ratio) * x / mpf(radius)) ** order
            error = abs(mp.polyval([mpf(c) for c in found.coefficients[::-1]], x) - mp.exp(x))
            worst = max(worst, error / (mp.sqrt(w) if root else w))
        assert worst <= found.error <= mpf("1.03") * worst


@pytest.mark.claim("APX-2")
@pytest.mark.parametrize("root", [False, True])
@pytest.mark.parametrize(("radius", "degree", "order", "ratio"), MOMENTS[:3])
def test_no_other_polynomial_of_the_degree_errs_less_by_moments(
    radius: float, degree: int, order: int, ratio: float, root: bool
) -> None:
    """Rivals: interpolation where the best one crosses e^x, in floating point, and small changes of the best."""
    found = exp_by_moment(radius, degree, order, ratio, root)
    assert 0.97 * found.error <= found.best <= found.error

    def weight(x: Any) -> Any:
        w = 1 + (x * (ratio / radius)) ** order
        return w.sqrt() if root else w

    s = np.linspace(-radius, radius, 4001)
    crossings = s[:-1][np.diff(np.sign(np.polyval(found.coefficients[::-1], s) - np.exp(s))) != 0]
    assert len(crossings) == degree + 1
    rng = np.random.default_rng(degree)
    rivals = [np.polynomial.polynomial.polyfit(crossings, np.exp(crossings), degree)]
    changes = found.error * rng.standard_normal((5, degree + 1)) * radius ** -np.arange(degree + 1.0)
    rivals += [np.array(found.coefficients) + 10.0 ** rng.uniform(-3, 0) * change for change in changes]
    for rival in rivals:
        assert certified_error(exp, rival.tolist(), (-radius, radius), weight) >= found.best


@pytest.mark.claim("APX-1")
def test_a_series_that_another_thread_cut_short_proves_nothing() -> None:
    """The length of a series is a setting of the process: at another thread's, what is cut off would read as 0."""
    calls = itertools.count()

    def interrupted(x: Any) -> Any:
        if (call := next(calls)) < 100 and call % 2:  # of every remainder, for a while
            flint.ctx.cap = 3
        return x.exp()

    cap = flint.ctx.cap
    taylor = [1.0, 1.0, 0.5]
    try:
        found = certified_error(interrupted, taylor, (-1.0, 1.0))
    finally:
        flint.ctx.cap = cap
    assert found >= math.e / 2 - 1  # at −1


@pytest.mark.claim("APX-2")
@pytest.mark.parametrize(
    ("f", "g", "interval"), [(exp, mp.exp, (-2.0, 2.0)), (reciprocal, lambda x: 1 / (1 + x), (0.0, 3.0))]
)
@pytest.mark.parametrize("degree", [0, 1, 4, 7])
def test_no_other_polynomial_of_the_degree_is_better(
    f: Any, g: Any, interval: tuple[float, float], degree: int
) -> None:
    found = approximation(f, interval, degree)
    assert 0.98 * found.error <= found.best <= found.error
    rng = np.random.default_rng(degree)
    a, b = interval
    nodes = (a + b) / 2 + (b - a) / 2 * np.cos((np.arange(degree + 1) + 0.5) * np.pi / (degree + 1))
    exact = np.array([float(g(mpf(x))) for x in nodes])
    rivals = [np.polynomial.polynomial.polyfit(nodes, exact, degree)]
    rivals += [
        np.array(found.coefficients) * (1 + 1e-3 * found.error * rng.standard_normal(degree + 1)) for _ in range(5)
    ]
    for rival in rivals:
        assert certified_error(f, rival.tolist(), interval) >= found.best


@pytest.mark.claim("APX-2")
def test_an_alternation_proves_its_least_error_and_anything_else_nothing() -> None:
    """P = 1 + x/8 beside f = 1 on points of [−1, 1]: degree 0 needs two points of unlike sign."""
    line = [1.0, 0.125]
    assert 0.0624 <= alternation(one, line, [-0.5, 1.0]) <= 0.0625
    assert alternation(one, line, [0.5, 1.0]) == 0.0
    assert alternation(one, line, [-1.0, 0.0]) == 0.0
    assert alternation(one, line, [-1.0, 0.5, 1.0]) == 0.0
    assert alternation(one, line, [-0.5, 1.0, -1.0]) == 0.0  # in order the sign changes once, and degree 1 has no error
    assert alternation(one, line, [-0.5, 1.0, 1.0]) == 0.0


@pytest.mark.claim("APX-2")
@pytest.mark.parametrize("error", [1e-2, 1e-3, 1e-6, 1e-9, 1e-12])
@pytest.mark.parametrize("radius", [0.125, 1.0, 3.0])
def test_one_degree_less_is_proved_too_few(radius: float, error: float) -> None:
    found = exp_of_least_degree(radius, error)
    assert found.error <= error
    assert found.degree == 0 or approximation(exp, (-radius, radius), found.degree - 1).best > error


def test_known_degrees_of_exp() -> None:
    degrees = {(1.0, 1e-3): 4, (1.0, 1e-6): 7, (1.0, 1e-12): 12, (4.0, 1e-3): 9, (8.0, 1e-6): 19}
    assert {key: exp_of_least_degree(*key).degree for key in degrees} == degrees


@pytest.mark.claim("ATT-4")
def test_intervals_on_which_a_function_hardly_varies_need_no_special_care() -> None:
    """Errors of the best polynomial far below the last bit of any coefficient."""
    for radius in (1e-20, 1e-25, 1e-30):
        assert exp_of_least_degree(radius, 1e-3).degree == 0
    for power, degree in itertools.product((30, 46, 60), range(6)):
        found = exp_of_degree(2.0**-power, degree)
        assert found.best <= found.error <= 2.0 ** (2 - power)


def test_a_polynomial_is_its_own_approximation() -> None:
    found = of_least_degree(lambda x: 1 + x * x * x, (-0.5, 1.0), 1e-9)
    assert found.degree == 3
    assert found.error <= 1e-20
    assert found.coefficients[0] == found.coefficients[3] == 1.0


def test_an_interval_of_one_point_needs_degree_zero() -> None:
    found = of_least_degree(exp, (0.5, 0.5), 1e-12)
    assert found.degree == 0
    assert found.error <= 2.0**-53


def test_what_float64_coefficients_cannot_hold_is_refused_with_the_error_that_they_can() -> None:
    with pytest.raises(
        Infeasible, match=r"polynomials of degree 27 could, but with float64 coefficients the best is \d"
    ):
        exp_of_least_degree(8.0, 1e-12)
    with pytest.raises(Infeasible, match=r"varies by more than a factor e\^80"):
        exp_of_least_degree(400.0, 1e-3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((exp, (1.0, 0.0), 1e-3), "two finite numbers, the lower one first"),
        ((exp, (0.0, math.inf), 1e-3), "two finite numbers"),
        ((exp, (0.0, 1.0), 0.0), "expected a number between 0 and 1"),
        ((exp, (0.0, 1.0), math.nan), "expected a number between 0 and 1"),
        ((lambda x: x, (-1.0, 1.0), 1e-3), "the function may be 0"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(arguments: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        of_least_degree(*arguments)
    assert "\n" not in str(caught.value)
