"""The loss of one head: certificates of its value and gradients, and descent whose every step is proved."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from assay.impl.cpu.attention_gradient import Loss, descend
from assay.spec.attention_gradient.loss import Loss as Exact
from assay.spec.attention_gradient.loss import define_loss
from assay.spec.problem import InvalidInstance


def problem(seed: int, n: int, d: int = 2, w: int = 2, noise: float = 0.01) -> tuple[Loss, np.ndarray, np.ndarray]:
    """A loss whose goal is the output of hidden X and Y, with noise; and a start."""
    rng = np.random.default_rng(seed)
    left, right, third = (rng.uniform(-1, 1, (n, d)) for _ in range(3))
    third = np.concatenate([right[:, :1], third[:, 1:]], axis=1)
    hidden = rng.uniform(-1, 1, (d, d)), rng.uniform(-1, 1, (d, w))
    scores = left @ hidden[0] @ right.T / d
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    goal = weights / weights.sum(axis=1, keepdims=True) @ (third @ hidden[1])
    goal = goal + noise * rng.standard_normal((n, w))
    start = rng.uniform(-0.5, 0.5, (d, d)), rng.uniform(-0.5, 0.5, (d, w))
    return Loss(left, right, third, goal, 1.0 / d), *start


@pytest.mark.claim("GRAD-8")
@pytest.mark.parametrize("error", [1e-2, 1e-5, 1e-9])
def test_the_certificates_of_loss_and_gradients_hold_against_balls(error: float) -> None:
    for seed in range(4):
        loss, weights, value_weights = problem(seed, 12, 1 + seed % 3, 1 + seed // 2)
        found = loss.approximate(weights, value_weights, error, error)
        exact = define_loss(
            Exact(loss.queries, loss.keys, loss.values, weights, value_weights, loss.target, loss.scale), 1e-20
        )
        for certified, name in zip(
            (found.loss, found.weights, found.value_weights),
            ("loss", "grad_weights", "grad_value_weights"),
            strict=True,
        ):
            assert exact[name].ratio(certified.value, certified.error).max() <= 1.0
        _, again, of_y = loss.exact(weights, value_weights)
        assert np.abs(again - exact["grad_weights"].midpoint).max() <= 1e-12
        assert np.abs(of_y - exact["grad_value_weights"].midpoint).max() <= 1e-12


@pytest.mark.claim("GRAD-8")
@pytest.mark.parametrize("power", [-541, 541])
def test_what_rounding_moves_is_that_of_the_scores_where_squares_leave_the_range(power: int) -> None:
    loss, weights, _ = problem(9, 12)
    usual = loss._shift(weights)
    for factor in ("queries", "keys"):
        scaled = {factor: getattr(loss, factor) * 2.0**power, "scale": loss.scale * 2.0**-power}
        assert dataclasses.replace(loss, **scaled)._shift(weights) == pytest.approx(usual, rel=1e-9, abs=0.0)


@pytest.mark.claim("GRAD-8")
def test_gradients_are_derivatives_of_the_loss() -> None:
    loss, weights, value_weights = problem(5, 40, 3, 2)
    _, of_x, of_y = loss.exact(weights, value_weights)
    step = 1e-5
    for a in range(3):
        for b in range(3):
            moved = np.zeros((3, 3))
            moved[a, b] = step
            high, low = (loss.exact(weights + sign * moved, value_weights)[0] for sign in (1, -1))
            assert of_x[a, b] == pytest.approx((high - low) / (2 * step), rel=1e-6, abs=1e-8)
        for c in range(2):
            moved = np.zeros((3, 2))
            moved[a, c] = step
            high, low = (loss.exact(weights, value_weights + sign * moved)[0] for sign in (1, -1))
            assert of_y[a, c] == pytest.approx((high - low) / (2 * step), rel=1e-6, abs=1e-8)


@pytest.mark.claim("GRAD-8")
def test_every_step_is_proved_to_descend_and_the_end_to_be_nearly_stationary() -> None:
    loss, weights, value_weights = problem(6, 400)
    trained = descend(loss, weights, value_weights, steps=60, error=1e-7, gradient_error=1e-7, rate=0.01, target=0.05)
    for before, after in pairwise(trained.steps):
        assert after.loss + after.error < before.loss - before.error
        assert 0 < after.decrease < before.loss - after.loss
    losses = [trained.steps[0].loss, trained.steps[-1].loss]
    first, last = (loss.exact(*place) for place in ((weights, value_weights), (trained.weights, trained.value_weights)))
    assert abs(first[0] - losses[0]) <= trained.steps[0].error + 1e-10
    assert abs(last[0] - losses[1]) <= trained.steps[-1].error + 1e-10
    norm = float(np.sqrt(np.square(last[1]).sum() + np.square(last[2]).sum()))
    assert norm <= trained.steps[-1].largest_gradient <= 0.05
    assert losses[1] < losses[0] / 3


@pytest.mark.claim("GRAD-8")
def test_errors_too_large_for_a_proof_end_the_descent() -> None:
    """At a minimum no step is proved to descend, and none is taken."""
    loss, weights, value_weights = problem(7, 60)
    trained = descend(loss, weights, value_weights, steps=200, error=0.05, gradient_error=0.05, rate=0.1)
    assert trained.exhausted
    assert all(step.decrease > 0 for step in trained.steps[1:])


@pytest.mark.claim("GRAD-8")
def test_a_descent_that_is_not_proved_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gradient of the wrong sign leads nowhere, whatever its size."""
    loss, weights, value_weights = problem(8, 60)
    found = loss.approximate(weights, value_weights, 1e-6, 1e-6)

    def reversed_gradient(self: Loss, *arguments: Any, **options: Any) -> Any:
        for certified in (found.weights, found.value_weights):
            np.copyto(certified.value, -np.abs(certified.value) * np.sign(certified.value))
        return found

    monkeypatch.setattr(Loss, "approximate", reversed_gradient)
    trained = descend(loss, weights, value_weights, steps=5, error=1e-6, gradient_error=1e-6, rate=0.01)
    assert trained.exhausted
    assert len(trained.steps) == 1


def test_data_that_do_not_fit_are_named() -> None:
    x = np.ones((3, 2))
    with pytest.raises(InvalidInstance, match="target: 2 rows, expected those of queries"):
        Loss(x, x, x, np.ones((2, 1)), 1.0)
    with pytest.raises(InvalidInstance, match="queries: "):
        Loss(x.astype(np.float32), x, x, x, 1.0)


def test_a_descent_ends_with_its_proved_steps_where_the_next_point_cannot_be_certified() -> None:
    rng = np.random.default_rng(0)
    left, right, third = (0.3 * rng.standard_normal((64, 3)) for _ in range(3))
    loss = Loss(left, right, third, rng.standard_normal((64, 3)), 1.0)
    trained = descend(loss, 0.1 * np.eye(3), np.eye(3), steps=40, error=1e-8, gradient_error=1e-9)
    assert trained.exhausted
    assert len(trained.steps) > 5
    assert all(step.decrease > 0.0 for step in trained.steps[1:])
