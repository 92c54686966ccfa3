"""Exact attention of any order of GPUs, on the thread model of a CPU: within its classes, and free of races."""

from __future__ import annotations

import functools
from typing import Any

import emulated
import numpy as np
import pytest
from emulated import ORDERS, Emulated

import assay
from assay.conformance.interface.kernel import Kernel
from assay.conformance.interface.targets import keywords_of
from assay.conformance.tensor_attention.interface import positional
from assay.impl.gpu.tensor_attention.forward import run
from assay.spec import tensor_attention as spec
from assay.spec.floats import dtype_named
from assay.spec.problem import InvalidInstance

needs_compiler = pytest.mark.skipif(emulated.compiler() is None, reason="g++ is not installed")

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "causal": {"is_causal": True},
    "causal windows": {"window": (4, None, 6), "is_causal": True, "scale": -0.7},
    "windows that leave rows empty": {"window": (1, 2, 1)},
}


def attention(
    query: Any, *modes: Any, scale: Any = None, is_causal: bool = False, window: Any = None, return_lse: bool = False,
    order: str = "ascending", **named: Any,
) -> Any:  # fmt: skip
    """:func:`assay.impl.gpu.tensor_attention.exact` on a CPU."""
    options = {"scale": scale, "is_causal": is_causal, "window": window, "return_lse": return_lse}
    return run(Emulated(order), query, modes, named, options)


def drawn(
    lengths: tuple[int, ...], dtype: str, n_q: int = 9, d: int = 3, d_v: int = 5, heads: tuple[int, int] = (2, 1)
) -> list[Any]:
    """query, keys of every mode, values of every mode."""
    rng = np.random.default_rng(len(lengths))
    shapes = [(2, heads[0], n_q, d), *((2, heads[1], n, d) for n in lengths), *((2, heads[1], n, d_v) for n in lengths)]
    return [rng.standard_normal(shape).astype(dtype_named(dtype)) for shape in shapes]


def options_of(name: str, modes: int) -> dict[str, Any]:
    chosen = dict(OPTIONS[name])
    return chosen | ({"window": chosen["window"][:modes]} if "window" in chosen else {})


@needs_compiler
@pytest.mark.claim("GPU-4")
@pytest.mark.parametrize(
    ("lengths", "dtype"),
    [
        ((19, 7), "float32"),
        ((4, 5, 3), "float16"),
        *(
            pytest.param(lengths, dtype, marks=pytest.mark.thorough)
            for lengths in ((19,), (19, 7), (5, 19, 3))
            for dtype in ("float32", "float64", "bfloat16", "float16")
        ),
    ],
    ids=str,
)
def test_it_is_within_its_class(lengths: tuple[int, ...], dtype: str) -> None:
    for name in OPTIONS:
        arrays, options = drawn(lengths, dtype), options_of(name, len(lengths))
        output, lse = attention(*arrays, **options, return_lse=True)
        assert output.dtype == arrays[0].dtype
        instance = spec.Instance.of_order(1 + len(lengths))(*arrays, **options, return_lse=True)
        criteria = spec.criteria(instance, dtype)
        assert criteria["output"].ratio(output).max() <= 1.0, name
        assert criteria["log_sum_exp"].ratio(lse).max() <= 1.0, name


@needs_compiler
@pytest.mark.claim("GPU-4")
@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.thorough)])
def test_long_rows_are_within_the_class_of_blocked_sums(dtype: str) -> None:
    query, key1, key2, value1, value2 = (x[:1] for x in drawn((40, 70), dtype, n_q=3, heads=(1, 1)))
    key1 = np.abs(key1)
    key1.sort(axis=2)  # the largest score rises from block to block
    for sign in (1, -1):
        arrays = (np.abs(query), key1[:, :, ::sign], np.abs(key2), value1, value2)
        instance = spec.Instance(*arrays, scale=4.0, return_lse=True)
        output, lse = attention(*arrays, scale=4.0, return_lse=True)
        criteria = spec.criteria(instance, f"{dtype}-blocked")
        assert criteria["output"].ratio(output).max() <= 1.0
        assert criteria["log_sum_exp"].ratio(lse).max() <= 1.0


@needs_compiler
@pytest.mark.claim("GPU-4")
def test_what_one_long_sum_would_lose_is_added_in_blocks() -> None:
    """Of 8,192 weights the first is 1 and the others 2^-25, which vanish beside it: blocks lose those of the first."""
    key1, key2 = np.zeros((1, 1, 64, 1), np.float32), np.zeros((1, 1, 128, 1), np.float32)
    key1[0, 0, 0], key2[0, 0, 0] = 1, 1
    query = np.full((1, 1, 1, 1), 25 * np.log(2), np.float32)
    arrays = (query, key1, key2, np.ones_like(key1), np.ones_like(key2))
    criterion = spec.criteria(spec.Instance(*arrays, scale=1.0), "float32-blocked")["output"]
    assert criterion.ratio(attention(*arrays, scale=1.0)).max() <= 1.0
    lost = np.ones((1, 1, 1, 1)) / (1 + 8191 * 2.0**-25)  # one sum of the products, and an exact one of the weights
    assert criterion.ratio(lost.astype(np.float32)).max() > 1.0


@needs_compiler
@pytest.mark.claim("GPU-4")
def test_every_order_of_threads_and_blocks_gives_the_same_bits() -> None:
    arrays = drawn((3, 90), "float32", n_q=70, d=33, d_v=130, heads=(2, 1))
    options: dict[str, Any] = {"window": (40, 60), "return_lse": True}
    first, *others = (attention(*arrays, order=order, **options) for order in ORDERS)
    for other in others:
        assert all(np.array_equal(one, two) for one, two in zip(first, other, strict=True))


@needs_compiler
def test_arrays_by_name_and_modes_in_another_order_are_the_same_attention() -> None:
    query, key1, key2, value1, value2 = drawn((3, 20), "float64")
    first = attention(query, key1, key2, value1, value2, window=(2, None))
    assert np.array_equal(attention(query, key2, key1, value2, value1, window=(None, 2)), first)
    assert np.array_equal(attention(query, key1, key2, value2=value2, value1=value1, window=(2, None)), first)


@needs_compiler
@pytest.mark.thorough
@pytest.mark.claim("GPU-4")
@pytest.mark.parametrize(("precision", "order"), [("float32-blocked", 3), ("float16", 4), ("float64", 2)])
def test_it_conforms(precision: str, order: int) -> None:
    function = functools.partial(attention, order="ascending")
    keywords = keywords_of(attention, "tensor_attention")
    kernel = Kernel("emulated", function, keywords=keywords, positional=positional(order))
    report = assay.check(kernel, "tensor_attention", precision=precision, level="standard", seconds=900.0)
    assert report.passed, report


def test_what_does_not_fit_is_refused_by_name() -> None:
    x = np.zeros((1, 1, 2, 2), np.float32)
    with pytest.raises(InvalidInstance, match="3 arrays beside query: expected as many values as keys"):
        attention(x, x, x, x)
    with pytest.raises(InvalidInstance, match="value2"):
        attention(x, x, x, x, x[..., :1])
