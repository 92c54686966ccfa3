"""Exact attention of GPUs, on the thread model of a CPU: sound in every type, and free of races."""

from __future__ import annotations

from typing import Any

import emulated
import ml_dtypes
import numpy as np
import pytest
from emulated import ORDERS, Emulated

import assay
from assay.impl.gpu.attention.forward import run
from assay.spec.problem import InvalidInstance

needs_compiler = pytest.mark.skipif(emulated.compiler() is None, reason="g++ is not installed")

NAMES = ("query", "key", "value", "mask", "bias", "key_lengths", "sink")


def attention(
    query: Any, key: Any, value: Any, *, scale: Any = None, is_causal: bool = False, causal: Any = None,
    mask: Any = None, bias: Any = None, window: Any = None, key_lengths: Any = None, softcap: Any = None,
    sink: Any = None, return_lse: bool = False,
) -> Any:  # fmt: skip
    """:func:`assay.impl.gpu.attention.exact` on a CPU."""
    arrays = dict(zip(NAMES, (query, key, value, mask, bias, key_lengths, sink), strict=True))
    return run(
        Emulated(), arrays, scale=scale, is_causal=is_causal, causal=causal, window=window, softcap=softcap,
        return_lse=return_lse,
    )  # fmt: skip


@needs_compiler
@pytest.mark.claim("GPU-1")
@pytest.mark.parametrize(
    "precision", ["bfloat16", *(pytest.param(x, marks=pytest.mark.thorough) for x in ("float32", "float64", "float16"))]
)
def test_it_conforms_in_every_type(precision: str) -> None:
    report = assay.check(attention, precision=precision, level="smoke")
    assert report.passed, report


@needs_compiler
@pytest.mark.thorough
def test_it_conforms_at_standard() -> None:
    report = assay.check(attention, precision="float16", level="standard")
    assert report.passed, report


@needs_compiler
@pytest.mark.claim("GPU-1")
@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_every_order_of_threads_and_blocks_gives_the_same_bits(kind: Any) -> None:
    rng = np.random.default_rng(0)
    shapes = {
        "query": (2, 4, 70, 33),
        "key": (2, 2, 90, 33),
        "value": (2, 2, 90, 140),
        "bias": (1, 4, 1, 90),
        "sink": (4,),
    }
    arrays = {name: rng.standard_normal(shape).astype(kind) for name, shape in shapes.items()}
    arrays |= {"mask": rng.random((70, 90)) < 0.8, "key_lengths": np.array([90, 67])}
    options: dict[str, Any] = {"causal": "bottom-right", "window": (40, None), "softcap": 3.0, "return_lse": True}
    first, *others = (run(Emulated(order), arrays, **options) for order in ORDERS)
    for other in others:
        assert all(
            np.array_equal(one.view(np.uint8), two.view(np.uint8)) for one, two in zip(first, other, strict=True)
        )


def test_a_type_that_no_kernel_has_is_refused() -> None:
    x = np.zeros((1, 1, 2, 2), ml_dtypes.float8_e4m3fn)
    with pytest.raises(InvalidInstance, match="query: dtype float8_e4m3fn, expected one of float32, float64, float16"):
        attention(x, x, x)
