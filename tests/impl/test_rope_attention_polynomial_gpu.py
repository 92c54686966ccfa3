"""Attention with the rotary embedding by polynomials of GPUs, on the thread model of a CPU: within its certificate."""

from __future__ import annotations

from typing import Any

import emulated
import numpy as np
import pytest
from emulated import ORDERS, Emulated

from assay.impl.gpu.rope_attention.approximate import run
from assay.spec.approximation import Infeasible
from assay.spec.problem import InvalidInstance
from assay.spec.rope_attention import Instance, define

needs_compiler = pytest.mark.skipif(emulated.compiler() is None, reason="g++ is not installed")

ARRAYS = ("query", "key", "value", "relative", "query_positions", "key_positions", "relative_bias", "key_lengths")


def approximate(
    query: Any, key: Any, value: Any, error: float = 1e-6, *, bounds: Any = None, memory: int = 1 << 30,
    order: str = "ascending", **options: Any,
) -> Any:  # fmt: skip
    """:func:`assay.impl.gpu.rope_attention.approximate` on a CPU."""
    arrays = {"query": query, "key": key, "value": value} | {name: options.pop(name, None) for name in ARRAYS[3:]}
    return run(Emulated(order), arrays, error, bounds, memory, **options)


def drawn(dtype: Any = np.float64, *, n_q: int = 7, n_k: int = 20, d: int = 6) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(n_q)
    shapes = (2, 2, n_q, d), (2, 1, n_k, d), (2, 1, n_k, 3)
    query, key, value = (rng.uniform(-0.7, 0.7, shape).astype(dtype) for shape in shapes)
    return query, key, value


@needs_compiler
@pytest.mark.claim("GPU-13")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"layout": "pairs", "rotary_dim": 2, "scale": -0.4, "key_lengths": np.array([20, 3])},
        {"base": 500.0, "query_positions": np.arange(7) * 10**12, "key_positions": -np.arange(20) * 10**14},
        {"scaling": "dynamic", "factor": 4.0, "original_length": 4, "key_positions": np.arange(20)[::-1].copy()},
        {"scaling": "yarn", "factor": 4.0, "original_length": 8},
        {"is_causal": True, "key_lengths": np.array([20, 3])},
        {"causal": "bottom-right", "window": (4, None)},
    ],
)
def test_the_certificate_holds(dtype: Any, options: dict[str, Any]) -> None:
    arrays = drawn(dtype)
    error = 1e-6 if dtype == np.float32 else 1e-11
    found = approximate(*arrays, error=error, **options)
    assert found.value.dtype == dtype
    off = define(Instance(*arrays, **options), 2.0**-60).least_error(found.value)
    assert (off <= found.error).all()
    assert (found.error <= error).all()


@needs_compiler
@pytest.mark.claim("GPU-13")
def test_what_rotations_lose_is_in_the_certificate() -> None:
    """Keys far from 0 and next to each other: their products with queries are large, and centred they are small."""
    query, key, value = drawn()
    key = 1e6 + 1e-3 * key
    options: dict[str, Any] = {"key_positions": np.full(20, 12345), "query_positions": np.full(7, 12345)}
    found = approximate(query, key, value, error=1e-12, **options)
    off = define(Instance(query, key, value, **options), 2.0**-60).least_error(found.value)
    assert off.max() > 2e-12  # of products of about a million, and not of scores of 1e-3
    assert (off <= found.error).all()


@needs_compiler
@pytest.mark.claim("GPU-13")
@pytest.mark.parametrize("options", [{}, {"is_causal": True}])
def test_equal_values_of_keys_whose_norm_overflows_have_an_infinite_bound(options: dict[str, Any]) -> None:
    """One key is its own mean, so that no score is large; and 0 times infinity would be no number."""
    query, key, value = drawn(n_k=1)
    found = approximate(query, key * 1e160, value, scale=1e-160, error=1e-6, **options)
    assert np.isposinf(found.error).all()


@needs_compiler
@pytest.mark.claim("GPU-13")
def test_every_order_of_threads_and_blocks_gives_the_same_bits() -> None:
    arrays = drawn(np.float32, n_q=37, n_k=40)
    first, *others = (approximate(*arrays, error=1e-4, order=order) for order in ORDERS)
    for other in others:
        assert np.array_equal(first.value, other.value)
        assert np.array_equal(first.error, other.error)


def test_what_does_not_fit_is_refused_by_name() -> None:
    query, key, value = drawn()
    with pytest.raises(InvalidInstance, match="query: dtype float16, expected float32 or float64"):
        approximate(*(x.astype(np.float16) for x in (query, key, value)))
    with pytest.raises(InvalidInstance, match="rotary_dim"):
        approximate(query, key, value, rotary_dim=9)
    with pytest.raises(ValueError, match="memory"):
        approximate(query, key, value, memory=0)
    if emulated.compiler() is not None:
        with pytest.raises(Infeasible, match="scores of up to"):
            approximate(query, key, value, scale=1e3)
