"""One training step of firing neurons of GPUs, on the thread model of a CPU: within its class, and free of races."""

from __future__ import annotations

from typing import Any

import emulated
import numpy as np
import pytest
from emulated import ORDERS, Emulated

import assay
from assay.impl.gpu.firing_neurons.step import run
from assay.spec.firing_neurons_training import PRECISIONS, Instance, criteria
from assay.spec.precision import precision as precision_named
from assay.spec.problem import InvalidInstance

needs_compiler = pytest.mark.skipif(emulated.compiler() is None, reason="g++ is not installed")


def step(
    data: Any, targets: Any, weights: Any, outer: Any, *, threshold: float, rate: float, loss: str = "squared"
) -> Any:
    """:func:`assay.impl.gpu.firing_neurons.train_step` on a CPU."""
    return run(Emulated(), data, targets, weights, outer, threshold=threshold, rate=rate, loss=loss)


def drawn(n: int, m: int, d: int, c: int, dtype: str) -> tuple[Any, ...]:
    rng = np.random.default_rng(0)
    shapes = ((n, d), (n, c), (m, d), (m, c))
    data, targets, weights, outer = (rng.standard_normal(shape).astype(dtype) for shape in shapes)
    return data, abs(targets), weights, outer


@needs_compiler
@pytest.mark.claim("GPU-9")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_result_is_within_the_class(dtype: str) -> None:
    for sizes in ((5, 70, 9, 3), (67, 3, 130, 1), (3, 5, 2, 129)):
        arrays = drawn(*sizes, dtype)
        for threshold, rate, loss in ((1.0, 0.5, "squared"), (-0.25, 0.1, "cross_entropy")):
            options: dict[str, Any] = {"threshold": threshold, "rate": rate, "loss": loss}
            judged = criteria(Instance(*arrays, **options), precision_named(dtype, PRECISIONS))
            output, gradient, moved = step(*arrays, **options)
            assert judged["output"].ratio(output).max() <= 1, (sizes, options)
            assert judged["gradient"].ratio(gradient).max() <= 1, (sizes, options)
            assert np.array_equal(moved, arrays[2] - gradient.dtype.type(rate) * gradient)


@needs_compiler
@pytest.mark.claim("GPU-9")
def test_every_order_of_threads_and_blocks_gives_the_same_bits() -> None:
    arrays = drawn(70, 66, 33, 5, "float32")
    options: dict[str, Any] = {"threshold": 0.5, "rate": 0.1, "loss": "cross_entropy"}
    first, *others = (run(Emulated(order), *arrays, **options) for order in ORDERS)
    others.append(step(*(np.asfortranarray(x) for x in arrays), **options))
    assert all(np.array_equal(one, two) for other in others for one, two in zip(first, other, strict=True))


@needs_compiler
@pytest.mark.claim("GPU-9")
def test_whole_numbers_give_the_step_bit_for_bit_and_a_tie_does_not_fire() -> None:
    rng = np.random.default_rng(1)
    data, targets, weights, outer = (
        rng.integers(-2, 3, shape).astype(np.float32) for shape in ((20, 3), (20, 2), (70, 3), (70, 2))
    )
    products = data @ weights.T
    fires = products > 1.0
    assert (products == 1.0).any()
    output = np.where(fires, products - 1.0, 0.0) @ outer
    gradient = np.where(fires, (output - targets) @ outer.T, 0.0).T @ data
    found = step(data, targets, weights, outer, threshold=1.0, rate=0.5)
    for one, other in zip(found, (output, gradient, weights - 0.5 * gradient), strict=True):
        assert np.array_equal(one, other)


@needs_compiler
@pytest.mark.thorough
@pytest.mark.claim("GPU-9")
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_it_conforms_in_every_type(precision: str) -> None:
    report = assay.check(step, "firing_neurons_training", precision=precision, level="standard", seconds=900.0)
    assert report.passed, report


def test_what_does_not_fit_is_refused_by_name() -> None:
    data, targets, weights, outer = drawn(4, 5, 3, 2, "float32")
    with pytest.raises(InvalidInstance, match="data: dtype float16, expected float32 or float64"):
        step(*(x.astype(np.float16) for x in (data, targets, weights, outer)), threshold=0.0, rate=1.0)
    with pytest.raises(InvalidInstance, match="outer: "):
        step(data, targets, weights, outer[:4], threshold=0.0, rate=1.0)
    with pytest.raises(InvalidInstance, match="loss: 'hinge'"):
        step(data, targets, weights, outer, threshold=0.0, rate=1.0, loss="hinge")
