"""The symbolic form and the certified definition agree to fifty digits: two codes, one meaning."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sympy
from mpmath import mp, mpf

from assay.spec.attention import Instance, define, symbolic
from assay.spec.attention.symbolic import symbolic_log_sum_exp


def made(**options: Any) -> Instance:
    rng = np.random.default_rng(12)
    b, h_q, h_k, n_q, n_k = options.pop("sizes", (1, 2, 1, 2, 3))
    dtype = options.pop("dtype", np.float16)
    q, k, v = (rng.standard_normal(s).astype(dtype) for s in ((b, h_q, n_q, 2), (b, h_k, n_k, 2), (b, h_k, n_k, 1)))
    return Instance(q, k, v, **options)


BIAS = np.array([[0.5, -np.inf, -1.0], [-np.inf, -np.inf, -np.inf]], np.float16)
INSTANCES = {
    "plain": made(),
    "float64": made(dtype=np.float64),
    "two batches": made(sizes=(2, 2, 2, 1, 2)),
    "scale 0": made(scale=0.0),
    "negative scale": made(scale=-1.5),
    "causal": made(is_causal=True),
    "bottom-right": made(causal="bottom-right"),
    "bottom-right, rows empty": made(sizes=(1, 1, 1, 3, 2), causal="bottom-right"),
    "window": made(window=(0, 1)),
    "window, left only": made(window=(0, None)),
    "window, right only": made(window=(None, 0), causal="bottom-right"),
    "mask": made(mask=np.array([[True, False, True], [False, False, False]])),
    "bias with minus infinity": made(bias=BIAS),
    "key lengths": made(sizes=(2, 2, 1, 2, 3), key_lengths=np.array([0, 2]), causal="bottom-right"),
    "softcap": made(softcap=0.75),
    "sink": made(sink=np.array([0.25, -1.0], np.float16)),
    "sink alone": made(sink=np.array([0.25, -1.0], np.float16), key_lengths=np.array([0])),
    "all at once": made(
        scale=0.5, is_causal=True, window=(1, 1), bias=BIAS, softcap=2.0, sink=np.array([0.25, -1.0], np.float16)
    ),
}


def value_of(expression: Any) -> Any:
    number = sympy.N(expression, 70)
    return -mp.inf if number == -sympy.oo else mpf(str(number))


def number(x: Any) -> Any:
    man, exponent = x.man_exp()
    return mp.ldexp(mpf(int(man)), int(exponent))


@pytest.mark.parametrize("name", INSTANCES)
def test_the_symbolic_form_and_the_definition_agree_to_fifty_digits(name: str) -> None:
    instance = INSTANCES[name]
    expressions, logs = symbolic(instance), symbolic_log_sum_exp(instance)
    certified = define(instance, 1e-55)
    certified_logs = define(instance, 1e-55, "log_sum_exp")
    assert expressions.shape == certified.shape
    assert logs.shape == certified_logs.shape
    with mp.workdps(80):
        for expression, ball in zip(expressions.flat, certified.balls.flat, strict=True):
            true = value_of(expression)
            assert abs(number(ball.mid()) - true) <= mpf(10) ** -50 * abs(true)
            assert abs(number(ball.mid()) - true) <= number(ball.rad().abs_upper()) + mpf(10) ** -65 * abs(true)
        for expression, mid, ball in zip(
            logs.flat, certified_logs.midpoint.flat, certified_logs.balls.flat, strict=True
        ):
            true = value_of(expression)
            if mp.isinf(true):
                assert mid == -np.inf
            else:
                assert abs(number(ball.mid()) - true) <= mpf(10) ** -50 * max(1, abs(true))


def test_the_expressions_are_exact_quotients_of_exponentials() -> None:
    q, k = np.ones((1, 1, 1, 1)), np.array([0.5, 2.0]).reshape(1, 1, 2, 1)
    (expression,) = symbolic(Instance(q, k, np.array([3.0, 5.0]).reshape(1, 1, 2, 1), scale=1.0)).flat
    half, two = sympy.Rational(1, 2), sympy.Integer(2)
    assert (
        sympy.simplify(expression - (3 * sympy.exp(half) + 5 * sympy.exp(two)) / (sympy.exp(half) + sympy.exp(two)))
        == 0
    )
    assert not expression.atoms(sympy.Float)


def test_an_empty_row_is_zero_and_its_log_sum_exp_minus_infinity() -> None:
    instance = made(key_lengths=np.array([0]))
    assert (symbolic(instance) == sympy.Integer(0)).all()
    assert (symbolic_log_sum_exp(instance) == -sympy.oo).all()


@pytest.mark.claim("ATT-1")
def test_a_constant_added_to_all_scores_of_a_row_cancels_exactly() -> None:
    instance = made(sizes=(1, 1, 1, 1, 3))
    shifted = instance.replace(bias=np.full((1, 3), 0.75, np.float16))
    for mine, theirs in zip(symbolic(instance).flat, symbolic(shifted).flat, strict=True):
        assert sympy.simplify(mine - theirs) == 0


def test_more_scores_than_the_limit_are_refused_with_the_count() -> None:
    x = np.zeros((1, 1, 65, 1), np.float32)
    with pytest.raises(ValueError, match="symbolic: 4225 scores, expected at most 4096"):
        symbolic(Instance(x, x, x))
    with pytest.raises(ValueError, match="4225"):
        symbolic_log_sum_exp(Instance(x, x, x))
