"""Arithmetics of single numbers: balls and expressions agree on every function that formulas may use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import flint
import pytest
import sympy

from assay.spec.scalars import BALLS, SYMBOLS

if TYPE_CHECKING:
    from collections.abc import Callable

FORMULAS: dict[str, Callable[[Any], Any]] = {
    "exact": lambda scalars: scalars.exact(0.1) * scalars.exact(3) - scalars.exact(2**80),
    "powers": lambda scalars: scalars.exact(10000.0) ** (scalars.exact(-2) / 7),
    "pi": lambda scalars: scalars.pi() ** 2,
    "log": lambda scalars: scalars.log(scalars.exact(1e-300)),
    "floor": lambda scalars: scalars.floor(-scalars.pi()),
    "ceiling": lambda scalars: scalars.ceiling(-scalars.pi()),
    "largest": lambda scalars: scalars.largest(scalars.pi(), scalars.exact(3)),
    "smallest": lambda scalars: scalars.smallest(scalars.pi(), scalars.exact(3)),
    "cut below": lambda scalars: scalars.cut(-scalars.pi()),
    "cut above": lambda scalars: scalars.cut(scalars.pi(), 1, 3),
    "not cut": lambda scalars: scalars.cut(scalars.pi(), 3, 4),
}


@pytest.mark.parametrize("formula", FORMULAS.values(), ids=FORMULAS)
def test_a_formula_has_one_value_in_balls_and_as_an_expression(formula: Callable[[Any], Any]) -> None:
    with flint.ctx.workprec(200):
        value = sympy.N(formula(SYMBOLS), 70)
        assert abs(formula(BALLS) - flint.arb(str(value))) <= 1e-30


def test_a_python_number_is_taken_without_rounding() -> None:
    with flint.ctx.workprec(10):
        assert BALLS.exact(0.1).mid().man_exp()[0] == (0.1).as_integer_ratio()[0]
        assert BALLS.exact(2**80 + 1).is_exact()
    assert SYMBOLS.exact(0.1) == sympy.Rational(*(0.1).as_integer_ratio())
