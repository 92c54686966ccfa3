"""Sizes are judged before anything is evaluated, and numbers that no float64 holds end in one line."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

from assay.conformance.interface.suite import suite
from assay.conformance.judge.cases import cases
from assay.spec import memory
from assay.spec.firing_neurons import fired
from assay.spec.memory import CRITERIA
from assay.spec.problem import PROBLEMS, InvalidInstance, problem


def first_instance(name: str) -> Any:
    """An instance of a problem: that of the first case of its suite in float32."""
    return next(iter(cases(suite(name), problem(name).PRECISIONS["float32"], "smoke", 0))).instance


def evaluations(name: str, instance: Any) -> dict[str, Any]:
    """Everything of a problem that evaluates an instance."""
    spec = problem(name)
    machine = spec.PRECISIONS["float32"]
    return {
        "define": lambda: spec.define(instance),
        "tolerance": lambda: spec.tolerance(instance, machine),
        "criteria": lambda: spec.criteria(instance, machine),
    }


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("what", ["define", "tolerance", "criteria"])
def test_an_instance_that_is_too_large_to_evaluate_is_refused_in_one_line(
    name: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate = evaluations(name, first_instance(name))[what]
    monkeypatch.setattr(memory, "half_of_memory", lambda: 7)
    with pytest.raises(InvalidInstance, match=r"would take .* expected at most 7 bytes, half of this machine's memory"):
        evaluate()


def large(name: str, n: int) -> Any:
    """An instance of a problem that spans about n² numbers."""
    rng, kind = np.random.default_rng(0), problem(name).Instance
    few = round(n**0.5)

    def x(*shape: int) -> Any:
        return rng.random(shape).astype(np.float32)

    tokens = x(1, 1, n, 4)
    if name == "document_similarity":
        return kind(x(n, 4), x(n, 4))
    if name == "layer_collapse":
        weights = x(2, 1, 4, 4)
        return kind(x(n // 4, 4), weights, weights, weights)
    if name == "small_transformers_merge":
        return kind(x(4, 1, 1, n, 4), x(4, 1, 1, n))
    if name == "rope":
        return kind(x(1, 1, 8 * n, 4), positions=np.arange(8 * n))
    if name.startswith("tensor"):
        return kind(tokens, *(x(1, 1, few, 4) for _ in range(4)), *([x(1, 1, n, 4)] * name.endswith("gradient")))
    if name == "firing_neurons":
        return kind.of(x(n, 4), x(n, 4), [fired(range(n))])
    if name.startswith("kernel_graph"):
        side = np.where(np.arange(n) % 2 == 0, 1, -1).astype(np.float32)
        arrays = {"kernel_graph": (x(n, 1),), "kernel_graph_solve": (side,)}
        options = {"kernel_graph_solve": {"tolerance": 0.5}, "kernel_graph_sparsify": {"error": 0.5}}
        return kind(x(n, 4), *arrays.get(name, ()), function="gaussian", **options.get(name, {}))
    if name == "firing_neurons_training":
        return kind(x(n, 4), x(n, 1), x(n, 4), x(n, 1))
    return kind(tokens, tokens, tokens, *([x(1, 1, n, 4)] * (name == "attention_gradient")))


@pytest.mark.parametrize("name", PROBLEMS)
def test_criteria_hold_no_more_memory_than_is_required_before(name: str) -> None:
    instance = large(name, 256)
    problem(name).criteria(large(name, 8), problem(name).PRECISIONS["float32"])  # what is loaded at first use
    tracemalloc.start()
    try:
        problem(name).criteria(instance, problem(name).PRECISIONS["float32"])
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most <= CRITERIA * instance.spanned() + (24 << 20)  # and the blocks of rows, whatever the size


#: What has no scores, or decides by integers of any size; and weights, of which those of points so far apart are 0.
_ANY_SIZE = (
    "rope", "document_similarity", "firing_neurons", "kernel_graph", "kernel_graph_solve", "kernel_graph_sparsify"
)  # fmt: skip


@pytest.mark.parametrize("name", [name for name in PROBLEMS if name not in _ANY_SIZE])
@pytest.mark.parametrize("size", [1e200, 1e307])
def test_numbers_whose_scores_no_float64_holds_are_refused_in_one_line(name: str, size: float) -> None:
    if name == "small_transformers_merge":
        pytest.skip("its scores are those that are given")
    small = large(name, 16)
    huge = small.replace(**{field: size * array.astype(np.float64) for field, array in small.arrays().items()})
    with pytest.raises(InvalidInstance, match=r"a number of about 2\^\d+, expected at most 2\^1024"):
        problem(name).criteria(huge, problem(name).PRECISIONS["float64"])


def test_an_output_of_huge_numbers_is_still_defined() -> None:
    x = np.full((1, 1, 3, 2), 1e200)
    made = problem("attention").define(problem("attention").Instance(x, x, x))
    assert (made.midpoint == 1e200).all()
    assert (made.radius == 0).all()
