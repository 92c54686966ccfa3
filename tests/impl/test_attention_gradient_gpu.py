"""The exact gradient of attention of GPUs, on the thread model of a CPU: sound in every type, and free of races."""

from __future__ import annotations

from typing import Any

import emulated
import numpy as np
import pytest
from emulated import ORDERS, Emulated

import assay
from assay.impl.gpu.attention_gradient.backward import run
from assay.spec.problem import InvalidInstance

needs_compiler = pytest.mark.skipif(emulated.compiler() is None, reason="g++ is not installed")


def gradient(
    query: Any, key: Any, value: Any, output: Any, log_sum_exp: Any, grad_output: Any, *, scale: Any = None,
    is_causal: bool = False, causal: Any = None, mask: Any = None, bias: Any = None, window: Any = None,
    key_lengths: Any = None, softcap: Any = None, sink: Any = None, grad_log_sum_exp: Any = None,
) -> Any:  # fmt: skip
    """:func:`assay.impl.gpu.attention_gradient.exact` on a CPU."""
    arrays = {
        "query": query, "key": key, "value": value, "mask": mask, "bias": bias, "key_lengths": key_lengths,
        "sink": sink, "output": output, "log_sum_exp": log_sum_exp, "grad_output": grad_output,
        "grad_log_sum_exp": grad_log_sum_exp,
    }  # fmt: skip
    return run(
        Emulated(), arrays, scale=scale, is_causal=is_causal, causal=causal, window=window, softcap=softcap
    )  # fmt: skip


@needs_compiler
@pytest.mark.thorough
@pytest.mark.claim("GPU-2")
@pytest.mark.parametrize("precision", ["float32", "float64", "bfloat16", "float16"])
def test_it_conforms_in_every_type(precision: str) -> None:
    report = assay.check(gradient, "attention_gradient", precision=precision, level="smoke")
    assert report.passed, report


@needs_compiler
@pytest.mark.claim("GPU-2")
@pytest.mark.parametrize("shape", [(2, 4, 70, 90), (4, 1, 90), (2, 1, 70, 1)], ids=str)
def test_every_order_of_threads_and_blocks_gives_the_same_bits(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    sizes = {"query": (2, 4, 70, 9), "key": (2, 2, 90, 9), "value": (2, 2, 90, 130), "grad_output": (2, 4, 70, 130)}
    arrays = {name: rng.standard_normal(size).astype(np.float32) for name, size in sizes.items()}
    arrays |= {
        "mask": rng.random((70, 90)) < 0.8, "bias": rng.standard_normal(shape).astype(np.float32),
        "key_lengths": np.array([90, 67]), "sink": rng.standard_normal(4).astype(np.float32),
        "grad_log_sum_exp": rng.standard_normal((2, 4, 70)).astype(np.float32),
    }  # fmt: skip
    absent = {"output": None, "log_sum_exp": None}
    first, *others = (
        run(Emulated(order), {**arrays, **absent}, causal="bottom-right", softcap=3.0) for order in ORDERS
    )
    assert [x.shape for x in first] == [(2, 4, 70, 9), (2, 2, 90, 9), (2, 2, 90, 130), shape, (4,)]
    for other in others:
        assert all(np.array_equal(one, two) for one, two in zip(first, other, strict=True))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"output": np.zeros((1, 1, 2, 2))}, "output and log_sum_exp: expected both or neither"),
        ({"grad_output": np.zeros((1, 1, 3, 2))}, r"grad_output: shape \(1, 1, 3, 2\), expected \(1, 1, 2, 2\)"),
        ({"grad_output": np.zeros((1, 1, 2, 2), np.float32)}, "grad_output: dtype float32, expected float64"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_by_name(change: dict[str, Any], said: str) -> None:
    x = np.zeros((1, 1, 2, 2))
    arguments = {"query": x, "key": x, "value": x, "output": None, "log_sum_exp": None, "grad_output": x} | change
    with pytest.raises(InvalidInstance, match=said):
        gradient(**arguments)
