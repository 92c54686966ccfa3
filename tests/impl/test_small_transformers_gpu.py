"""Large attention from calls of a small one on GPUs, on the thread model of a CPU: right in every type, by the plan."""

from __future__ import annotations

from typing import Any

import emulated
import ml_dtypes
import numpy as np
import pytest
from emulated import ORDERS, Emulated

import assay
from assay.conformance.interface.kernel import Kernel
from assay.conformance.interface.targets import keywords_of
from assay.impl.cpu.small_transformers import simulate
from assay.impl.gpu.small_transformers.merge import run as merged
from assay.impl.gpu.small_transformers.simulate import bounded, oracle_of, run
from assay.spec import small_transformers
from assay.spec.floats import dtype_named
from assay.spec.precision import precision as precision_named
from assay.spec.problem import InvalidInstance

needs_compiler = pytest.mark.skipif(emulated.compiler() is None, reason="g++ is not installed")


def simulated(
    query: Any, key: Any, value: Any, *, oracle: Any = None, size: int, scale: Any = None, is_causal: bool = False,
    window: Any = None, sinks: int = 0, mask: Any = None, return_lse: bool = False,
) -> Any:  # fmt: skip
    """:func:`assay.impl.gpu.small_transformers.exact` on a CPU, whose calls are made by attention of GPUs there."""
    machine = Emulated()
    return run(
        machine, oracle_of(machine, size), query, key, value, size, scale, is_causal=is_causal, window=window,
        sinks=sinks, mask=mask, return_lse=return_lse,
    )  # fmt: skip


def merge(outputs: Any, log_sum_exps: Any, *, sink: Any = None, return_lse: bool = False) -> Any:
    """:func:`assay.impl.gpu.small_transformers.merge` on a CPU."""
    return merged(Emulated(), outputs, log_sum_exps, sink=sink, return_lse=return_lse)


def drawn(n: int, d: int, d_v: int, dtype: str = "float32", heads: tuple[int, int] = (2, 1)) -> list[Any]:
    rng = np.random.default_rng(n)
    widths = ((heads[0], d), (heads[1], d), (heads[1], d_v))
    return [rng.standard_normal((1, h, n, width)).astype(dtype_named(dtype)) for h, width in widths]


OPTIONS: tuple[dict[str, Any], ...] = (
    {}, {"is_causal": True}, {"is_causal": True, "window": 9, "sinks": 2}, {"is_causal": True, "window": 3, "sinks": 1},
)  # fmt: skip


@needs_compiler
@pytest.mark.claim("GPU-8")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_option_is_within_the_class(dtype: str) -> None:
    query, key, value = drawn(21, 5, 34, dtype)
    hidden = np.random.default_rng(1).random((1, 2, 21, 21)) < 0.5
    hidden[:, :, 4] = False
    precision = precision_named(dtype, small_transformers.PRECISIONS)
    masked = ({"mask": hidden[:, :, :19]}, {"is_causal": True, "mask": hidden[:, :1, :1]})
    for rows, options in ((21, OPTIONS[2]), *((19, options) for options in (*OPTIONS, *masked))):
        given: dict[str, Any] = {"return_lse": True, "scale": 0.7, **options}
        instance = small_transformers.Instance(
            query[:, :, :rows], key, value, oracle_size=8, oracle="log_sum_exp", **given
        )
        judged = small_transformers.criteria(instance, precision)
        for name, answer in zip(judged, simulated(query[:, :, :rows], key, value, size=8, **given), strict=True):
            assert judged[name].ratio(answer).max() <= 1, (name, options)
        final = simulated(query[:, :, :rows], key, value, size=8, **given | {"return_lse": False})
        assert judged["output"].ratio(final).max() <= 1, options


@needs_compiler
@pytest.mark.claim("GPU-8", "MERGE-2")
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_the_certificate_holds_and_is_that_of_a_simulation_on_the_cpu(dtype: str) -> None:
    query, key, value = drawn(21, 5, 6, dtype, heads=(4, 2))
    value[:, 1] *= 8
    machine = Emulated()
    for options in OPTIONS:
        found = bounded(machine, query, key, value, 8, 0.7, **options)
        instance = small_transformers.Instance(query, key, value, oracle_size=8, scale=0.7, **options)
        exact = small_transformers.define(instance, 2.0**-70)
        assert (exact.least_error(found.value) <= found.error).all(), options
        taken: dict[str, Any] = {"keywords": ("mask", "return_lse"), "precision": dtype, **options}
        told = simulate(query, key, value, oracle_of(machine, 8), 8, 0.7, **taken)
        assert np.isfinite(found.error).all()
        assert found.error == pytest.approx(told.error, rel=1e-3, abs=0.0)
        assert found.route == f"{told.planned // 4} calls of 8 tokens for every head, on the device"


@needs_compiler
def test_scores_that_norms_do_not_bound_by_a_quarter_have_no_certificate() -> None:
    query, key, value = drawn(9, 3, 2)
    assert np.isinf(bounded(Emulated(), 1e4 * query, 1e4 * key, value, 4).error).all()


def kernel_of(function: Any, problem: str, **conventions: str) -> Kernel:
    return Kernel(function.__name__, function, keywords=keywords_of(function, problem), conventions=conventions)


@needs_compiler
@pytest.mark.thorough
@pytest.mark.claim("GPU-8")
@pytest.mark.parametrize("precision", ["float32", "float64", "bfloat16", "float16"])
def test_simulations_conform_in_every_type(precision: str) -> None:
    kernel = kernel_of(simulated, "small_transformers", oracle="log_sum_exp")
    report = assay.check(kernel, "small_transformers", precision=precision, level="standard", seconds=900.0)
    assert report.passed, report


@needs_compiler
@pytest.mark.thorough
@pytest.mark.claim("GPU-8")
@pytest.mark.parametrize("precision", ["float32", "float64", "bfloat16", "float16"])
def test_merges_conform_in_every_type(precision: str) -> None:
    kernel = kernel_of(merge, "small_transformers_merge")
    report = assay.check(kernel, "small_transformers_merge", precision=precision, level="standard", seconds=900.0)
    assert report.passed, report


@needs_compiler
@pytest.mark.claim("GPU-8")
def test_every_order_of_threads_and_blocks_gives_the_same_bits() -> None:
    rng = np.random.default_rng(0)
    outputs, logs = rng.standard_normal((70, 2, 2, 3, 40)), 30 * rng.standard_normal((70, 2, 2, 3))
    sink, strided = rng.standard_normal(2), np.asfortranarray(outputs)
    first, *others = (merged(Emulated(order), outputs, logs, sink=sink, return_lse=True) for order in ORDERS)
    others.append(merge(strided, np.asfortranarray(logs), sink=sink, return_lse=True))
    assert all(np.array_equal(one, two) for other in others for one, two in zip(first, other, strict=True))


@needs_compiler
@pytest.mark.parametrize(("options", "calls"), [(OPTIONS[0], 9), (OPTIONS[1], 6), (OPTIONS[3], 5)])
def test_the_calls_are_those_of_the_plan_and_none_is_too_long(options: dict[str, Any], calls: int) -> None:
    shown = []
    machine = Emulated()

    def recording(query: Any, key: Any, value: Any, **keywords: Any) -> Any:
        shown.append((query.shape[2], key.shape[2], value.shape[2]))
        return oracle_of(machine, 8)(query, key, value, **keywords)

    run(machine, recording, *drawn(21, 3, 4), 8, **options)
    assert max(max(lengths) for lengths in shown) <= 8
    assert len(shown) == calls


@needs_compiler
def test_the_small_transformer_refuses_more_tokens_than_it_takes() -> None:
    with pytest.raises(ValueError, match="9 tokens, expected at most 8"):
        oracle_of(Emulated(), 8)(*drawn(9, 3, 4), scale=1.0)


@needs_compiler
@pytest.mark.parametrize("window", [2, 9])
def test_queries_that_a_window_leaves_without_keys_are_0_and_minus_infinity(window: int) -> None:
    query, key, value = drawn(30, 3, 4)
    out, lse = simulated(query, key[:, :, :5], value[:, :, :5], size=8, is_causal=True, window=window, return_lse=True)
    assert not out[:, :, 4 + window :].any()
    assert (lse[:, :, 4 + window :] == -np.inf).all()
    assert np.isfinite(lse[:, :, : 4 + window]).all()


@needs_compiler
def test_a_call_that_takes_all_is_handed_over_as_it_is() -> None:
    arrays = drawn(8, 3, 4)
    machine = Emulated()
    expected = oracle_of(machine, 8)(*arrays, scale=3**-0.5, return_lse=True)
    found = simulated(*arrays, size=8, return_lse=True)
    assert all(np.array_equal(*pair) for pair in zip(found, expected, strict=True))


@needs_compiler
@pytest.mark.claim("GPU-8")
@pytest.mark.parametrize(("dtype", "digits"), [("float16", 10), ("bfloat16", 7)])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_merge_is_rounded_once_to_a_short_type(dtype: str, digits: int, sign: float) -> None:
    """What is a little beyond half way is half way in float32, and would be rounded to even then."""
    pair = np.array([1.0, 1.0 + 2.0**-digits])
    outputs = (sign * pair).astype(dtype_named(dtype)).reshape(2, 1, 1, 1, 1)
    for beyond, expected in ((2.0**-28, pair[1]), (-(2.0**-28), pair[0])):
        found = merge(outputs, np.array([0.0, beyond]).reshape(2, 1, 1, 1))
        assert float(found.item()) == sign * expected
    odd = (sign * (pair + 2.0**-digits)).astype(dtype_named(dtype)).reshape(2, 1, 1, 1, 1)
    found = merge(odd, np.array([0.0, -(2.0**-28)]).reshape(2, 1, 1, 1))
    assert float(found.item()) == sign * (pair[0] + 2.0**-digits)


@needs_compiler
@pytest.mark.claim("GPU-8")
def test_a_merge_that_overflows_a_short_type_is_infinite_and_a_nearly_vanishing_one_keeps_its_sign() -> None:
    for sign in (1.0, -1.0):
        outputs = np.full((1, 1, 1, 1, 1), sign * 60000.0, np.float16)
        assert float(merge(outputs, np.zeros((1, 1, 1, 1))).item()) == sign * 60000.0
        least = np.full((1, 1, 1, 1, 1), sign * 2.0**-24, np.float16)
        vanished = merge(least, np.zeros((1, 1, 1, 1)), sink=np.array([60.0]))
        assert vanished.item() == 0.0
        assert np.signbit(vanished.item()) == (sign < 0)


@needs_compiler
def test_the_output_of_a_part_without_keys_is_not_read() -> None:
    outputs, logs = np.full((2, 1, 1, 2, 1), np.nan), np.array([[-np.inf, -np.inf], [1.0, -np.inf]]).reshape(2, 1, 1, 2)
    outputs[1, ..., 0, 0] = 5.0
    out, lse = merge(outputs, logs, return_lse=True)
    assert out.ravel().tolist() == [5.0, 0.0]
    assert lse.ravel().tolist() == [1.0, -np.inf]


def test_what_does_not_fit_is_refused_by_name() -> None:
    query, key, value = drawn(6, 3, 4)
    with pytest.raises(InvalidInstance, match="window: 2, expected none without is_causal"):
        simulated(query, key, value, size=4, window=2)
    with pytest.raises(InvalidInstance, match="oracle_size: 0, expected"):
        simulated(query, key, value, size=0)
    with pytest.raises(InvalidInstance, match="query: dtype float8_e4m3fn"):
        simulated(*(x.astype(ml_dtypes.float8_e4m3fn) for x in (query, key, value)), size=4)
    with pytest.raises(InvalidInstance, match="log_sum_exps: "):
        merge(np.zeros((2, 1, 1, 3, 4)), np.zeros((2, 1, 1, 2)))
    with pytest.raises(InvalidInstance, match="outputs: dtype float8_e4m3fn"):
        merge(np.zeros((2, 1, 1, 3, 4), ml_dtypes.float8_e4m3fn), np.zeros((2, 1, 1, 3)))
    with pytest.raises(InvalidInstance, match="log_sum_exps: dtype float8_e4m3fn"):
        merge(np.zeros((2, 1, 1, 3, 4)), np.zeros((2, 1, 1, 3), ml_dtypes.float8_e4m3fn))
