"""Moments in place of norms, for attention by polynomials of GPUs, on the thread model of a CPU (GPU-18)."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import emulated
import numpy as np
import pytest
from emulated import ORDERS, Deaf, Emulated

from assay.impl.gpu import choice, moments
from assay.impl.gpu.attention import polynomial
from assay.impl.gpu.choice import Known, Plan, Size, chosen
from assay.impl.gpu.features import Points
from assay.spec.approximation import exp_by_moment
from assay.spec.attention import Instance, define

pytestmark = pytest.mark.skipif(emulated.compiler() is None, reason="g++ is not installed")


def approximate(
    query: Any, key: Any, value: Any, error: float, scale: float | None = None, *, lengths: Any = None,
    bounds: Any = None, machine: Any = None, memory: int = 1 << 30,
) -> Any:  # fmt: skip
    """:func:`assay.impl.gpu.attention.approximate` on a CPU."""
    return polynomial.run(machine or Emulated(), query, key, value, lengths, error, scale, bounds, memory)


def drawn(n_q: int = 20, n_k: int = 600, d: int = 3) -> tuple[Any, Any, Any]:
    """Normal numbers: few scores are as large as the largest."""
    rng = np.random.default_rng(d)
    shapes = (1, 2, n_q, d), (1, 1, n_k, d), (1, 1, n_k, 2)
    query, key, value = (rng.standard_normal(shape) for shape in shapes)
    return query, key, value


def squares(query: Any, key: Any, scale: float) -> float:
    """The largest mean of the squares of the scores of a query."""
    scores = scale * np.einsum("bhqd,bgkd->bhqk", query, key - key.mean(axis=2, keepdims=True))
    return float((scores**2).mean(axis=3).max())


def without_moments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moments, "ORDERS", ())


def degree(found: Any) -> int:
    return int(found.route.split("degree ")[1].split(",")[0])


@pytest.mark.claim("GPU-18")
@pytest.mark.parametrize(("d", "scale", "error"), [(3, 0.05, 1e-4), (3, 0.3, 1e-6), (2, 1.0, 1e-3), (12, 0.02, 1e-3)])
def test_the_certificate_holds_with_fewer_monomials(
    d: int, scale: float, error: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    query, key, value = drawn(d=d)
    found = approximate(query, key, value, error, scale)
    assert "by moments of order" in found.route
    off = define(Instance(query, key, value, scale), 2.0**-60).least_error(found.value)
    assert (off <= found.error).all()
    assert (found.error <= error).all()
    without_moments(monkeypatch)
    assert degree(approximate(query, key, value, error, scale)) > degree(found)


@pytest.mark.claim("GPU-18")
def test_bounds_may_promise_a_mean_square_and_nothing_is_waited_for() -> None:
    """A promise that is wrong makes the certificate larger than asked, and not false."""

    query, key, value = drawn()
    scale, error = 0.05, 1e-6
    radius = 0.05 * np.linalg.norm(query, axis=-1).max() * np.linalg.norm(key - key.mean(axis=2), axis=-1).max()
    bounds, true = (radius * 1.01, abs(value).max()), squares(query, key, scale) * 1.01
    degrees = []
    for bound in (bounds, (*bounds, true), (*bounds, true / 1000)):
        found = approximate(query, key, value, error, scale, bounds=bound, machine=Deaf())
        off = define(Instance(query, key, value, scale), 2.0**-60).least_error(found.value)
        assert (off <= found.error).all()
        assert (found.error.max() <= error) == (bound[-1] != true / 1000)
        degrees.append(degree(found))
    assert degrees == sorted(set(degrees), reverse=True)


@pytest.mark.claim("GPU-18")
@pytest.mark.parametrize("order", moments.ORDERS)
def test_measured_moments_are_those_of_scores(order: int) -> None:
    query, key, _ = drawn()
    lengths = np.array([431])
    key[:, :, 431:] = np.nan
    points = Points(query, lengths, None, np.full(2, 0.25)), Points(key, lengths, np.full((1, 3), 0.5), np.ones(1))
    for machine in map(Emulated, ORDERS):
        found = moments.measured(machine, *points, key, Size(3, (600,), 1, 3, 1 << 30))[order]
        scores = 0.25 * np.einsum("bhqd,bgkd->bhqk", query, key[:, :, :431] - 0.5)
        assert found == pytest.approx((scores**order).mean(axis=3).max(axis=2).ravel(), rel=1e-12)


def test_a_moment_for_which_there_is_no_room_is_not_measured() -> None:
    query, key, value = drawn(d=12)
    ones = np.ones(2)
    points = Points(query, None, None, ones), Points(key, None, None, ones)
    for memory, orders in ((1 << 30, [2]), (1000, [])):  # 1,820 monomials of degree 4 are too many in any case
        assert list(moments.measured(Emulated(), *points, value, Size(12, (600,), 1, 2, memory))) == orders


@pytest.mark.claim("GPU-18")
@pytest.mark.parametrize("number", [np.nan, np.inf, 1e200])
def test_numbers_that_are_not_finite_leave_no_certificate(number: float) -> None:
    for array in range(2):
        arrays = drawn()
        arrays[array][0, 0, 5, 1] = number
        with np.errstate(invalid="ignore", over="ignore"):
            found = approximate(*arrays, 1e-3, 0.05, bounds=(1.0, 5.0, 0.1))
        assert np.isinf(found.error[:, 0]).all()
        points = Points(arrays[0], None, None, np.ones(2)), Points(arrays[1], None, None, np.ones(1))
        squares = moments.measured(Emulated(), *points, arrays[2], Size(3, (600,), 1, 2, 1 << 30), (2,))[2]
        assert np.isinf(squares[0])
        assert np.isinf(squares[1]) == (array == 1)


# --- each constant near to where it is attained


def plan_of(radius: float, degree: int, order: int, ratio: float, size: Size) -> Plan:
    return choice._by_moment(exp_by_moment(radius, degree, order, ratio, False), order, ratio, size)


@pytest.mark.claim("GPU-18")
@pytest.mark.parametrize("order", moments.ORDERS)
def test_a_moment_loses_nearly_what_is_granted(order: int) -> None:
    """Of 512 keys the first is 1, and the powers of all others are below half of its last place."""
    size = Size(1, (512,), 1, 1, 1 << 30)
    key = np.full((1, 1, 512, 1), (2.0**-53 * (1 - 2.0**-20)) ** (1 / order))
    key[0, 0, 0, 0] = 1.0
    points = Points(np.ones((1, 1, 1, 1)), None, None, np.ones(1)), Points(key, None, None, np.ones(1))
    found = moments.measured(Emulated(), *points, key, size)[order]
    exact = sum(Fraction(x) ** order for x in key.ravel().tolist()) / 512
    plan = plan_of(1.0, 6, order, 4.0, size)
    granted = Fraction(plan.loss) / Fraction(
        plan.measure
    )  # γR^p, R = 1, in units of the mean of 1 and 511 times about 0
    lost = exact - Fraction(float(found.item()))
    assert 0.9 * granted / 512 <= lost <= granted / 512, float(lost / granted * 512)


@pytest.mark.claim("GPU-18")
@pytest.mark.parametrize("order", moments.ORDERS)
def test_a_polynomial_errs_nearly_what_is_granted(order: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few keys have the least score, where the error is largest and the weight small; their values are 1, others 0."""
    radius, few, many = 4.0, 20, 160
    key = np.repeat([-1.0, few / many], [few, many])[None, None, :, None]
    value = np.repeat([1.0, 0.0], [few, many])[None, None, :, None]
    query, scale = np.ones((1, 1, 1, 1)), radius * (1 - 1e-6)
    size = Size(1, (few + many,), 1, 1, 1 << 30)
    plan = plan_of(radius, 6, order, 8.0, size)  # which is too large there: outputs are cut at 0
    monkeypatch.setattr(polynomial, "chosen", lambda *_: plan)
    found = approximate(query, key, value, 1.0, scale)
    error = float(found.error.item())
    weights = np.exp(scale * key)
    off = abs(found.value.item() - float((weights * value).sum() / weights.sum()))
    assert 0.55 * error < off <= error, off / error
    assert error < 0.2


def test_the_least_degree_of_all_measures_is_taken() -> None:
    size = Size(3, (100,), 1, 1, 1 << 30)
    plans = [
        chosen(Known(2.0, 1.0, 1.0, 1.0, told), 1e-6, "float64", size)
        for told in ({}, {2: 4.0, 4: 16.0}, {2: 0.05}, {2: 0.05, 4: 0.001}, {4: 1e-6})
    ]
    assert [plan.order for plan in plans] == [0, 0, 2, 4, 4]
    assert [plan.degree for plan in plans] == sorted((plan.degree for plan in plans), reverse=True)
    assert all(math.isfinite(plan.growth) for plan in plans)


@pytest.mark.parametrize("spread", [2.0**-1074, 2.0**-1060, 1e-300])
def test_values_that_hardly_differ_have_a_plan(spread: float) -> None:
    """A spread times less than 1 is 0 there."""
    told = Known(2.0, spread, spread, 1.0, {2: 0.05})
    assert chosen(told, 1e-2, "float64", Size(3, (100,), 1, 1, 1 << 30)).degree == 0
