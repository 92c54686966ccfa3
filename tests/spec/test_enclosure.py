"""What callers see: intervals that contain, measure, index and print."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import flint
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.spec.enclosure import DoubleDoubleBall, Enclosure
from assay.spec.enclosure.arb import from_parts

Array = np.ndarray[Any, Any]
finite = st.floats(allow_nan=False, allow_infinity=False)
anything = st.one_of(finite, st.sampled_from([np.inf, -np.inf, np.nan]))


def of(mid: float, rad: float = 0.0) -> Enclosure:
    return Enclosure(np.array([mid]), np.array([rad]))


@pytest.mark.claim("ENC-11")
@given(finite, st.floats(0.0, 1.7e308), st.floats(-1.0, 1.0))
def test_every_number_within_the_radius_is_contained(mid: float, rad: float, at: float) -> None:
    inside = Fraction(mid) + Fraction(at) * Fraction(rad)
    if abs(inside) <= Fraction(1.7e308):
        number = float(inside)
        if abs(Fraction(number) - Fraction(mid)) <= Fraction(rad):
            assert of(mid, rad).contains([number]).all()
            assert of(mid, rad).ratio([number], 0.0).max() == 0.0
            assert of(mid, rad).lower[0] <= number <= of(mid, rad).upper[0]


@pytest.mark.claim("ENC-11")
@given(finite, st.floats(0.0, 1.7e308), finite, st.floats(5e-324, 1.7e308))
def test_a_ratio_is_never_above_the_true_one(mid: float, rad: float, given_: float, tolerance: float) -> None:
    least = max(Fraction(0), abs(Fraction(given_) - Fraction(mid)) - Fraction(rad))
    ratio = of(mid, rad).ratio([given_], tolerance)[0]
    assert Fraction(float(ratio)) <= least / Fraction(tolerance)
    if least == 0:
        assert of(mid, rad).contains([given_]).all()


@pytest.mark.claim("ENC-11")
@given(st.floats(-1e100, 1e100), st.floats(-1e100, 1e100), st.floats(1e-3, 1e100))
def test_a_ratio_is_not_far_below_the_true_one(mid: float, given_: float, tolerance: float) -> None:
    true = abs(Fraction(given_) - Fraction(mid)) / Fraction(tolerance)
    ratio = Fraction(float(of(mid).ratio([given_], tolerance)[0]))
    assert ratio >= true * (1 - Fraction(1, 2**49)) - Fraction(1, 10**300)
    assert of(mid).contains([given_]).all() == (given_ == mid)


@pytest.mark.claim("ENC-11")
def test_a_difference_that_rounds_up_beside_a_radius_blames_nothing_right() -> None:
    mid = -1.1 * 2.0**-53  # 1 − mid rounds up to 1 + 2^-52
    true = (1 - Fraction(mid) - 1) / Fraction(2.0**-53)
    assert Fraction(float(of(mid, 1.0).ratio([1.0], 2.0**-53)[0])) <= true


@pytest.mark.claim("ENC-11")
def test_zero_over_zero_is_zero_and_an_error_over_zero_infinite() -> None:
    assert of(1.0).ratio([1.0], 0.0)[0] == 0.0
    assert of(1.0).ratio([1.0 + 2**-52], 0.0)[0] == np.inf
    assert of(1.0, 1e-9).ratio([1.0 + 1e-10], 0.0)[0] == 0.0


@pytest.mark.claim("ENC-11")
@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, 1e308, 1.0])
def test_an_infinite_tolerance_allows_everything(number: float) -> None:
    assert of(1.0).ratio([number], np.inf)[0] == 0.0


@pytest.mark.claim("ENC-11")
@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_is_infinitely_wrong(number: float) -> None:
    assert not of(1.0, 1e300).contains([number]).any()
    assert of(1.0, 1e300).ratio([number], 1e300)[0] == np.inf


@pytest.mark.claim("ENC-11")
@pytest.mark.parametrize("midpoint", [1.0, np.inf, -np.inf, np.nan])
def test_an_infinite_radius_excludes_no_number(midpoint: float) -> None:
    nothing = of(midpoint, np.inf)
    assert nothing.lower[0] == -np.inf
    assert nothing.upper[0] == np.inf
    for number in (0.0, -1.7e308, np.inf, -np.inf):
        assert nothing.contains([number]).all()
        assert nothing.ratio([number], 0.0)[0] == 0.0
    assert Enclosure(np.array([midpoint, 1.0]), np.array([np.inf, 0.0])).contains([np.inf, 2.0]).tolist() == [
        True,
        False,
    ]
    if not np.isnan(midpoint):
        assert not nothing.contains([np.nan]).any()


@pytest.mark.claim("ENC-11")
def test_minus_infinity_is_only_minus_infinity() -> None:
    empty = of(-np.inf)
    assert empty.contains([-np.inf]).all()
    assert empty.ratio([-np.inf], 0.0)[0] == 0.0
    for number in (np.inf, -1.7e308, 0.0, np.nan):
        assert not empty.contains([number]).any()
        assert empty.ratio([number], 1.0)[0] == np.inf
    assert empty.lower[0] == empty.upper[0] == -np.inf


@pytest.mark.claim("ENC-11")
def test_a_value_that_is_nan_by_convention_accepts_nan_alone() -> None:
    assert of(np.nan).contains([np.nan]).all()
    assert of(np.nan).ratio([np.nan], 0.0)[0] == 0.0
    for number in (0.0, np.inf, -np.inf):
        assert not of(np.nan).contains([number]).any()
        assert of(np.nan).ratio([number], 1.0)[0] == np.inf


@pytest.mark.claim("ENC-11")
def test_differences_that_overflow_are_still_measured() -> None:
    assert of(-1.7e308, np.inf).contains([1.7e308]).all()
    assert 0.5 < of(-1e308, 1e308).ratio([1e308], 1.7e308)[0] < 0.6
    assert not of(-1.7e308, 1.0).contains([1.7e308]).any()


def test_arrays_of_narrow_types_broadcast_and_are_taken_exactly() -> None:
    enclosure = Enclosure(np.array([[0.5, 0.25], [0.5, 0.25]]), np.zeros((2, 2)))
    for dtype in (np.float16, np.float32, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn):
        assert enclosure.contains(np.array([0.5, 0.25], dtype)).all()
        assert enclosure.contains(np.array([0.5, 0.25], dtype)).shape == (2, 2)
    with pytest.raises(ValueError, match="broadcast"):
        enclosure.contains(np.zeros(3))


def test_lower_and_upper_are_rounded_outwards_and_meet_where_the_radius_is_zero() -> None:
    enclosure = Enclosure(np.array([1.0, 1.0, 0.0]), np.array([2.0**-60, 0.0, 5e-324]))
    assert (enclosure.lower < enclosure.midpoint).tolist() == [True, False, True]
    assert (enclosure.upper > enclosure.midpoint).tolist() == [True, False, True]
    assert Fraction(float(enclosure.lower[0])) < 1 - Fraction(1, 2**60)


def test_an_index_takes_midpoint_radius_and_balls_together() -> None:
    ball = DoubleDoubleBall(np.array([[1.0, 2.0], [3.0, 4.0]]), np.full((2, 2), 2.0**-60), np.full((2, 2), 2.0**-90))
    enclosure = Enclosure(*ball.rounded(), ball.full)
    part = enclosure[1]
    assert part.shape == (2,)
    assert part.midpoint.tolist() == [3.0, 4.0]
    assert part.radius[0] >= 2.0**-60
    assert part.balls is not None
    with flint.ctx.workprec(200):
        assert part.balls[0].contains(flint.arb(3) + flint.arb(2.0**-60))
    assert not part.balls[0].contains(3)
    assert enclosure[1, 0].shape == ()
    assert Enclosure(np.zeros(2), np.zeros(2))[0].balls is None


def test_printing_shows_as_many_digits_as_are_known() -> None:
    assert str(Enclosure(np.asarray(0.5), np.asarray(1e-9))) == "0.5 ± 1e-09"
    ball = DoubleDoubleBall(np.array([1.0]), np.array([0.0]), np.array([2.0**-99]))
    assert str(Enclosure(*ball.rounded(), ball.full)) == "[1.00000000000000000000000000000 ± 2e-30]"
    around = DoubleDoubleBall(np.array([2.0**-60]), np.array([0.0]), np.array([2.0**-50]))
    assert str(Enclosure(*around.rounded(), around.full)) == "[0 ± 9e-16]"
    infinite = DoubleDoubleBall(np.array([-np.inf]), np.array([0.0]), np.array([0.0]))
    assert str(Enclosure(*infinite.rounded(), infinite.full)) == "[-inf ± 0e+00]"
    assert str(Enclosure(np.arange(9.0), np.zeros(9))).endswith("5 ± 0e+00, …]")
    assert str(Enclosure(np.arange(2.0), np.zeros(2))) == "[0 ± 0e+00, 1 ± 0e+00]"


@pytest.mark.parametrize(
    ("high", "rad"), [(np.inf, np.inf), (-np.inf, np.inf), (np.nan, 0.0), (np.inf, 0.0), (1.0, np.nan)]
)
def test_what_overflowed_becomes_a_ball_around_everything(high: float, rad: float) -> None:
    x = from_parts(np.array([high]), np.zeros(1), np.array([rad]))[0]
    assert not x.is_finite()
    assert x.contains(0)
    assert x.contains(-(10**400))


def test_parts_become_balls_without_rounding() -> None:
    for high, low, rad in ((1.7e308, 5e-324, 1e-310), (-0.1, 3e-300, 0.0), (5e-324, 0.0, 5e-324)):
        x = from_parts(np.array([high]), np.array([low]), np.array([rad]))[0]
        man, exponent = x.mid().man_exp()
        assert Fraction(int(man)) * Fraction(2) ** int(exponent) == Fraction(high) + Fraction(low)
        assert float(x.rad()) >= rad * (1 - 1e-6)
    assert from_parts(np.array([-np.inf]), np.zeros(1), np.zeros(1))[0] == flint.arb("-inf")


@pytest.mark.claim("ENC-11")
@given(st.lists(st.tuples(anything, finite, st.floats(0.0, 1.7e308), st.floats(0.0)), min_size=1, max_size=4))
def test_the_error_of_a_number_is_the_same_beside_any_other(rows: list[tuple[float, float, float, float]]) -> None:
    given_, mid, rad, tolerance = (np.array(column) for column in zip(*rows, strict=True))
    together = Enclosure(mid, rad)
    alone = [Enclosure(mid[i : i + 1], rad[i : i + 1]) for i in range(len(rows))]
    errors = [one.least_error(given_[i : i + 1]) for i, one in enumerate(alone)]
    assert together.least_error(given_).tobytes() == np.concatenate(errors).tobytes()
    ratios = [one.ratio(given_[i : i + 1], tolerance[i : i + 1]) for i, one in enumerate(alone)]
    assert together.ratio(given_, tolerance).tobytes() == np.concatenate(ratios).tobytes()
