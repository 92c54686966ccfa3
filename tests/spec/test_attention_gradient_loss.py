"""The loss of the paper: SymPy, differences and the vector–Jacobian product agree with its certified gradients."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import sympy

from assay.spec.attention_gradient import Instance, Loss, define_loss, evaluate
from assay.spec.problem import InvalidInstance

Array = np.ndarray[Any, Any]


def drawn(n: int = 3, m: int = 4, d: int = 2, columns: int = 2, scale: float = 0.7) -> Loss:
    rng = np.random.default_rng(n + 10 * m)
    shapes = ((n, d), (m, d), (m, d), (d, d), (d, columns), (n, columns))
    return Loss(*(np.round(8 * rng.standard_normal(shape)) / 8 for shape in shapes), scale)


@pytest.mark.claim("GRAD-1")
@pytest.mark.parametrize("name", ["weights", "value_weights"])
def test_differences_of_the_loss_are_its_gradient(name: str) -> None:
    loss = drawn()
    gradient = define_loss(loss, 1e-30)[f"grad_{name}"]
    for index in np.ndindex(gradient.shape):
        values = []
        for sign in (1, -1):
            moved = getattr(loss, name).copy()
            moved[index] += sign * 2.0**-20
            values.append(define_loss(dataclasses.replace(loss, **{name: moved}), 1e-40)["loss"].balls)
        assert values[0] is not None
        assert values[1] is not None
        slope = float(((values[0].item() - values[1].item()) * 2**19).mid())
        assert abs(slope - gradient.midpoint[index]) < 1e-10 * (1 + abs(slope))


@pytest.mark.claim("GRAD-1")
def test_sympy_differentiates_the_loss_to_the_formula_identically() -> None:
    """Two queries, two keys, one column: X and Y are symbols, and so is every other number."""
    a1, a2, a3 = (sympy.Matrix(2, 1, sympy.symbols(f"{name}0:2", real=True)) for name in "abc")
    x, y, sigma = sympy.symbols("x y sigma", real=True)
    target = sympy.Matrix(2, 1, sympy.symbols("e0:2", real=True))
    weights = (sigma * x * a1 * a2.T).applyfunc(sympy.exp)
    f = sympy.Matrix(2, 2, lambda i, j: weights[i, j] / (weights[i, 0] + weights[i, 1]))
    h = a3 * y
    c = f * h - target
    loss = (c.T * c)[0, 0] / 2
    q = c * h.T
    r = [f[i, 0] * q[i, 0] + f[i, 1] * q[i, 1] for i in range(2)]
    inner = sympy.Matrix(2, 2, lambda i, j: f[i, j] * (q[i, j] - r[i]))
    assert sympy.simplify(sympy.diff(loss, x) - sigma * (a1.T * inner * a2)[0, 0]) == 0
    assert sympy.simplify(sympy.diff(loss, y) - (a3.T * f.T * c)[0, 0]) == 0


@pytest.mark.claim("GRAD-1")
def test_the_gradient_of_the_loss_is_the_chain_rule_of_the_vector_jacobian_product() -> None:
    """X = 1, so that the queries are exact, and Y = 1, so that the values are; dO = c rounded moves by 10^-16."""
    loss = dataclasses.replace(drawn(5, 6, 2, 2), weights=np.eye(2), value_weights=np.eye(2))
    scores = loss.scale * loss.queries @ loss.keys.T
    f = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    c = f @ loss.values - loss.target
    arrays = (array[None, None] for array in (loss.queries, loss.keys, loss.values, c))
    exact = evaluate(Instance(*arrays, scale=loss.scale))
    made = define_loss(loss)
    assert np.allclose(made["grad_weights"].midpoint, loss.queries.T @ exact.grad_query.midpoint[0, 0], atol=1e-13)
    assert np.allclose(made["grad_value_weights"].midpoint, loss.values.T @ exact.grad_value.midpoint[0, 0], atol=1e-13)


@pytest.mark.claim("GRAD-2")
def test_a_softmax_of_low_rank_gives_the_gradient_without_a_matrix_of_pairs() -> None:
    rng = np.random.default_rng(3)
    n, m, d, columns, rank = 7, 9, 3, 2, 4
    left, right = rng.random((n, rank)), rng.random((m, rank))
    a1, a2, c, h = (rng.standard_normal(shape) for shape in ((n, d), (m, d), (n, columns), (m, columns)))
    whole = a1.T @ ((left @ right.T) * (c @ h.T)) @ a2
    parts = sum((a1.T @ (c[:, [col]] * left)) @ ((right * h[:, [col]]).T @ a2) for col in range(columns))
    assert np.allclose(whole, parts, atol=1e-12)


def test_radii_are_what_was_asked_for_also_for_large_scores() -> None:
    made = define_loss(drawn(scale=900.0), 1e-40)
    for enclosure in made.values():
        assert enclosure.balls is not None
        assert all(float(ball.rad()) <= 1e-37 for ball in enclosure.balls.ravel())


def test_shapes_that_do_not_fit_are_refused_by_name() -> None:
    loss = drawn()
    with pytest.raises(InvalidInstance, match=r"target: shape \(2, 2\), expected \(3, 2\)"):
        dataclasses.replace(loss, target=np.zeros((2, 2)))
    with pytest.raises(InvalidInstance, match="weights: expected finite numbers"):
        dataclasses.replace(loss, weights=np.full((2, 2), np.nan))
