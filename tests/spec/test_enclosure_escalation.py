"""The escalation with definitions of its own: an elementwise one, and one over rows of products."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from mpmath import mp

from assay.spec.enclosure import (
    ArbArithmetic,
    Arithmetic,
    DoubleDoubleBall,
    Enclosure,
    Evaluated,
    Float64Ball,
    Result,
    escalate,
    escalation,
)

NUMBERS = np.array([[[0.5, 1.0], [2.0, -3.0], [10.0, -20.0]], [[0.0, -0.25], [3.0, 7.0], [1e-3, 1e-9]]])


def exponentials(
    relative: float, *, wanted: Any = None, seen: list[Any] | None = None, needs: Any = None, **options: Any
) -> Enclosure:
    """e^x of :data:`NUMBERS`, two stacks of three rows of two.  needs: the rows that float64 is not enough for."""

    def definition(arithmetic: Arithmetic, block: Any) -> Evaluated:
        if seen is not None:
            seen.append((arithmetic, block))
        balls = arithmetic.exact(NUMBERS[np.ix_(*block)]).exp()
        fine = (balls.error() <= relative * np.abs(balls.rounded()[0])).all(axis=2)
        if needs is not None and arithmetic is Float64Ball:
            fine &= ~needs[np.ix_(*block)]
        return Evaluated({"exp": balls}, fine)

    wanted = np.ones((2, 3), bool) if wanted is None else wanted
    return escalate(definition, wanted, {"exp": Result((2, 3, 2), **options)}, relative, 2)["exp"]


def tiers(seen: list[Any]) -> list[str]:
    names = {Float64Ball: "float64", DoubleDoubleBall: "double-double"}
    return [names.get(arithmetic) or f"{arithmetic.precision} bits" for arithmetic, _ in seen]


@pytest.mark.parametrize("relative", [1e-3, 1e-12, 1e-15, 1e-25, 1e-40, 1e-200])
def test_the_radius_is_what_was_asked_for_and_the_value_is_inside(relative: float) -> None:
    balls = exponentials(relative).balls
    assert balls is not None
    with mp.workdps(260):
        for x, ball in zip(NUMBERS.flat, balls.flat, strict=True):
            exact = mp.exp(mp.mpf(float(x)))
            middle = mp.mpf(ball.mid().str(250, radius=False))
            assert abs(exact - middle) <= mp.mpf(float(ball.rad())) + mp.mpf(10) ** -240 * exact
            assert float(ball.rad()) <= relative * float(exact)


@pytest.mark.parametrize(
    ("relative", "expected"),
    [(1e-12, ["float64"]), (1e-25, ["double-double"]), (1e-40, ["211 bits"])],
)
def test_the_cheapest_arithmetic_is_taken(relative: float, expected: list[str]) -> None:
    seen: list[Any] = []
    exponentials(relative, seen=seen)
    assert tiers(seen) == expected


def test_only_the_rows_that_are_missing_go_on() -> None:
    needs = np.array([[False, True, False], [False, False, True]])
    seen: list[Any] = []
    enclosure = exponentials(1e-12, seen=seen, needs=needs)
    assert tiers(seen) == ["float64", "double-double"]
    (_, (stacks, rows)) = seen[-1]
    assert (stacks.tolist(), rows.tolist()) == ([0, 1], [1, 2])  # the smallest grid that has both
    first = exponentials(1e-12)
    assert (enclosure.midpoint[~needs] == first.midpoint[~needs]).all()  # a row that was fine is kept as it was
    assert (enclosure.radius[~needs] == first.radius[~needs]).all()
    assert (enclosure.radius[needs] < first.radius[needs]).all()
    assert first.contains(enclosure.midpoint).all()


@pytest.mark.parametrize("block", [1, 2, 3, 4, 1000])
def test_blocks_cover_every_row_once(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(escalation, "_BLOCK", block)
    seen: list[Any] = []
    enclosure = exponentials(1e-12, seen=seen)
    cells = [(int(s), int(r)) for _, (stacks, rows) in seen for s in stacks for r in rows]
    assert sorted(cells) == [(s, r) for s in range(2) for r in range(3)]
    assert all(len(stacks) * len(rows) * 2 <= max(block, 2) for _, (stacks, rows) in seen)
    assert enclosure.contains(np.exp(NUMBERS)).mean() > 0.5


def test_rows_that_are_not_wanted_have_their_value_and_are_never_evaluated() -> None:
    wanted = np.array([[True, False, True], [False, False, False]])
    seen: list[Any] = []
    enclosure = exponentials(1e-12, wanted=wanted, seen=seen, elsewhere=-np.inf)
    assert np.isneginf(enclosure.midpoint[~wanted]).all()
    assert (enclosure.radius[~wanted] == 0.0).all()
    assert np.isfinite(enclosure.midpoint[wanted]).all()
    assert all(wanted[np.ix_(*block)].all() for _, block in seen)
    balls = enclosure.balls
    assert balls is not None
    assert float(balls[0, 1, 0]) == -np.inf


def test_nothing_is_evaluated_where_nothing_is_wanted() -> None:
    seen: list[Any] = []
    enclosure = exponentials(1e-12, wanted=np.zeros((2, 3), bool), seen=seen)
    assert seen == []
    assert (enclosure.midpoint == 0.0).all()


def test_digits_are_kept_only_where_they_are_asked_for() -> None:
    assert exponentials(1e-30).balls is not None
    assert exponentials(1e-30, digits=False).balls is None


def test_a_product_of_rows_takes_the_same_road() -> None:
    a, b = NUMBERS, np.array([[1.0, 1e17], [-1.0, 3.0]])

    def definition(arithmetic: Arithmetic, block: Any) -> Evaluated:
        stacks, _ = block
        balls = arithmetic.product(a[np.ix_(*block)], b[None].repeat(len(stacks), axis=0))
        return Evaluated({"product": balls}, (balls.error() <= 1e-20).all(axis=2))

    enclosure = escalate(definition, np.ones((2, 3), bool), {"product": Result((2, 3, 2))}, 1e-20, 2)["product"]
    assert enclosure.contains(a @ b).any()
    assert (enclosure.radius <= np.abs(enclosure.midpoint) * 2.0**-52 + 1e-20).all()


def test_an_accuracy_that_nothing_reaches_is_an_error_that_counts_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(escalation, "_MOST_BITS", 300)

    def never(arithmetic: Arithmetic, block: Any) -> Evaluated:
        balls = arithmetic.exact(NUMBERS[np.ix_(*block)])
        return Evaluated({"x": balls}, np.zeros(balls.rounded()[0].shape[:2], bool))

    with pytest.raises(ArithmeticError, match="was not reached with 300 bits in 6 rows"):
        escalate(never, np.ones((2, 3), bool), {"x": Result((2, 3, 2))}, 1e-12, 2)


@pytest.mark.parametrize("relative", [0.0, 1.0, -1e-9, float("nan")])
def test_an_accuracy_outside_zero_and_one_is_refused(relative: float) -> None:
    with pytest.raises(ValueError, match="expected a number between 0 and 1"):
        exponentials(relative)


@pytest.mark.parametrize("arithmetic", [Float64Ball, DoubleDoubleBall, ArbArithmetic(128)])
def test_exact_numbers_have_radius_zero(arithmetic: Arithmetic) -> None:
    balls = arithmetic.exact(NUMBERS)
    mid, rad = balls.rounded()
    assert (mid == NUMBERS).all()
    assert (rad == 0.0).all()
    assert (balls.error() == 0.0).all()
