"""Attention of order k by polynomials of GPUs, on the thread model of a CPU: within its certificate, free of races."""

from __future__ import annotations

import itertools
from typing import Any

import emulated
import numpy as np
import pytest
from emulated import ORDERS, Deaf, Emulated
from modes import KINDS, adversarial

import assay
from assay.conformance.interface.suite import Case, Family
from assay.conformance.interface.targets import kernel_of
from assay.conformance.judge.judge import Judge
from assay.conformance.tensor_attention.target_cupy import polynomial_of
from assay.impl.gpu import attention, features
from assay.impl.gpu.tensor_attention import polynomial
from assay.spec.approximation import Infeasible
from assay.spec.floats import dtype_named
from assay.spec.precision import precision
from assay.spec.problem import InvalidInstance
from assay.spec.tensor_attention import Instance, define

needs_compiler = pytest.mark.skipif(emulated.compiler() is None, reason="g++ is not installed")


def approximate(
    query: Any, *modes: Any, error: float = 1e-6, scale: float | None = None, bounds: Any = None,
    memory: int = 1 << 30, order: str = "ascending", **named: Any,
) -> Any:  # fmt: skip
    """:func:`assay.impl.gpu.tensor_attention.approximate` on a CPU."""
    return polynomial.run(Emulated(order), query, modes, named, error, scale, bounds, memory)


def drawn(
    lengths: tuple[int, ...], kind: str = "uniform", dtype: str = "float64", n_q: int = 5, d: int = 2, d_v: int = 3
) -> list[Any]:
    """query, keys and values with scores of about 1 at most, two heads of queries to one of keys."""
    rng = np.random.default_rng([len(lengths), KINDS.index(kind)])
    query = rng.uniform(-1, 1, (1, 2, n_q, d))
    keys = [rng.uniform(-1, 1, (1, 1, n, d)) for n in lengths]
    values = [rng.standard_normal((1, 1, n, d_v)) for n in lengths]
    query, keys, values = adversarial(kind, query, keys, values)
    return [x.astype(dtype_named(dtype)) for x in (query, *keys, *values)]


def error_of(arrays: list[Any], value: Any, scale: float | None = None) -> Any:
    kind: Any = Instance.of_order(1 + len(arrays) // 2)
    return define(kind(*arrays, scale=scale), 2.0**-60).least_error(value)


@needs_compiler
@pytest.mark.claim("GPU-12")
@pytest.mark.parametrize("lengths", [(5, 3), pytest.param((3, 4, 2), marks=pytest.mark.thorough), (2, 1, 3, 2)])
def test_no_certificate_is_below_the_truth(lengths: tuple[int, ...]) -> None:
    certified = 0
    for kind, error in itertools.product(KINDS, (1e-1, 1e-5, 1e-10)):
        arrays = drawn(lengths, kind)
        asked = error * max(float(np.prod([np.abs(x).max() for x in arrays[1 + len(lengths) :]])), 1e-30)
        found = approximate(*arrays, error=asked, scale=0.5)
        assert (error_of(arrays, found.value, 0.5) <= found.error).all(), (kind, error)
        assert (found.error <= asked).all(), (kind, error)
        certified += 1
    assert certified == 24


@needs_compiler
@pytest.mark.claim("GPU-12")
@pytest.mark.parametrize(
    "dtype", ["float32", *(pytest.param(x, marks=pytest.mark.thorough) for x in ("float16", "bfloat16"))]
)
def test_every_type_is_rounded_once_to_it(dtype: str) -> None:
    arrays = drawn((40, 600), "uniform", dtype, d_v=10)
    error = 1e-4 if dtype == "float32" else 0.3
    found = approximate(*arrays, error=error)
    assert found.value.dtype == arrays[0].dtype
    assert (error_of(arrays, found.value) <= found.error).all()
    assert (found.error <= error).all()


@needs_compiler
@pytest.mark.claim("GPU-12")
def test_every_order_of_threads_and_blocks_gives_the_same_bits() -> None:
    arrays = drawn((5, 1100), d=4, d_v=9, n_q=37)
    first, *others = (approximate(*arrays, error=1e-3, order=order) for order in ORDERS)
    names = ("key1", "key2", "value1", "value2")
    others.append(
        approximate(arrays[0], error=1e-3, **dict(zip(names, map(np.asfortranarray, arrays[1:]), strict=True)))
    )
    for other in others:
        assert np.array_equal(first.value, other.value)
        assert np.array_equal(first.error, other.error)


@needs_compiler
@pytest.mark.claim("GPU-12")
@pytest.mark.filterwarnings("ignore:(invalid value|overflow):RuntimeWarning")  # NumPy's, as the machine of a test
@pytest.mark.parametrize("number", [np.nan, np.inf, 1e300, 1e-300])
@pytest.mark.parametrize("array", range(5))
def test_numbers_far_from_1_or_not_finite_leave_no_false_certificate(array: int, number: float) -> None:
    arrays = drawn((3, 4))
    if number == 1e-300:
        arrays[array] *= number
    else:
        arrays[array][0, 0, 1, 1] = number
    found = approximate(*arrays, bounds=(2.0, 9.0))
    if np.isfinite(number):
        assert (error_of(arrays, found.value) <= found.error).all()
    else:
        broken = found.error[:, :1] if array == 0 else found.error if array < 3 else found.error[..., 1]
        assert np.isinf(broken).all()


@needs_compiler
@pytest.mark.claim("GPU-12")
def test_products_of_values_beyond_the_type_have_no_certificate() -> None:
    arrays = drawn((3, 4), "values of one sign", "float32")
    arrays[3], arrays[4] = arrays[3] * np.float32(2.0**70), arrays[4] * np.float32(2.0**70)
    found = approximate(*arrays, error=1e40)
    assert np.isinf(found.error).all()


@needs_compiler
@pytest.mark.claim("GPU-12")
def test_with_bounds_nothing_is_waited_for_and_a_broken_promise_leaves_no_certificate() -> None:
    arrays = drawn((3, 4))
    for scale, bounded in ((0.5, True), (8.0, False)):
        found = polynomial.run(Deaf(), arrays[0], tuple(arrays[1:]), {}, 1e-6, scale, (1.0, 9.0), 1 << 30)
        assert (error_of(arrays, found.value, scale) <= found.error).all()
        assert np.isfinite(found.error).all() == bounded


@needs_compiler
def test_order_2_is_attention() -> None:
    arrays = drawn((7,))
    found = approximate(*arrays, error=1e-4)
    own = attention.polynomial.run(Emulated(), *arrays, None, 1e-4, None, None, 1 << 30)
    assert np.array_equal(found.value, own.value)
    assert np.array_equal(found.error, own.error)


@pytest.mark.claim("GPU-12")
def test_the_roundings_of_every_mode_are_counted() -> None:
    one, two = (features.roundings(3, 5, 4, keys) for keys in ((700,), (700, 100)))
    assert two - one == 3 + 100 + 2  # of the monomial, of the sum, of the mean and of the product with it


@needs_compiler
@pytest.mark.claim("GPU-12")
def test_the_judge_holds_it_to_the_error_asked_and_to_its_certificate() -> None:
    kernel = kernel_of(
        polynomial_of(approximate, "emulated", 3, "numpy", ""), "tensor_attention", options={"error": 1e-3}
    )
    judge, family = Judge(kernel, precision("float32")), Family("test", "a known error", "here")
    kind: Any = Instance.of_order(3)
    arrays = drawn((5, 4), dtype="float32")
    outcomes = [judge.outcome(Case("case", family, kind(*arrays, scale=scale))).status for scale in (0.5, 100.0)]
    assert outcomes == ["passed", "declined"]


@needs_compiler
@pytest.mark.thorough
@pytest.mark.claim("GPU-12")
def test_it_conforms() -> None:
    kernel = polynomial_of(approximate, "emulated", 3, "numpy", "")
    report = assay.check(
        kernel,
        "tensor_attention",
        precision="float64-blocked",
        level="standard",
        options={"error": "1e-3"},
        seconds=900.0,
    )
    assert report.passed, report


def test_what_does_not_fit_is_refused_by_name() -> None:
    arrays = drawn((3, 4))
    with pytest.raises(InvalidInstance, match="key2"):
        approximate(*arrays[:2], arrays[2][..., :1], *arrays[3:])
    with pytest.raises(ValueError, match="error: -1"):
        approximate(*arrays, error=-1)
    with pytest.raises(Infeasible, match="scores of up to"):
        approximate(*arrays, scale=1e3)
