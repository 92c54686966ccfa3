"""Exact attention of GPUs, on the thread model of a CPU: sound in every type, and free of races."""

from __future__ import annotations

import functools
import math
from typing import Any

import emulated
import ml_dtypes
import numpy as np
import pytest
from emulated import ORDERS, Emulated

import assay
from assay.conformance.interface.kernel import Kernel
from assay.conformance.interface.targets import keywords_of
from assay.impl.gpu.attention.forward import run
from assay.spec import attention as spec
from assay.spec.precision import PRECISIONS
from assay.spec.problem import InvalidInstance

needs_compiler = pytest.mark.skipif(emulated.compiler() is None, reason="g++ is not installed")

NAMES = ("query", "key", "value", "mask", "bias", "key_lengths", "sink")


def attention(
    query: Any, key: Any, value: Any, *, scale: Any = None, is_causal: bool = False, causal: Any = None,
    mask: Any = None, bias: Any = None, window: Any = None, key_lengths: Any = None, softcap: Any = None,
    sink: Any = None, return_lse: bool = False, products: str | None = None, unit: str = "least",
) -> Any:  # fmt: skip
    """:func:`assay.impl.gpu.attention.exact` on a CPU."""
    arrays = dict(zip(NAMES, (query, key, value, mask, bias, key_lengths, sink), strict=True))
    return run(
        Emulated(unit=unit), arrays, scale=scale, is_causal=is_causal, causal=causal, window=window, softcap=softcap,
        return_lse=return_lse, products=products,
    )  # fmt: skip


def judged(precision: str, level: str, **options: Any) -> Any:
    """The report of the kernel with these options.  Compiling it is not of the time of a call."""
    for source in ("exact.cu", "tensor.cu"):
        emulated.built(emulated.SOURCES / "attention" / source)
    kernel = Kernel(
        "emulated", functools.partial(attention, **options), keywords=keywords_of(attention, "attention"),
    )  # fmt: skip
    return assay.check(kernel, "attention", precision=precision, level=level, seconds=900.0)


@needs_compiler
@pytest.mark.claim("GPU-1")
@pytest.mark.thorough
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_it_conforms_in_its_own_type(precision: str) -> None:
    report = judged(precision, "standard")
    assert report.passed, report


@needs_compiler
@pytest.mark.thorough
@pytest.mark.claim("GPU-1")
@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_it_conforms_without_tensor_cores(precision: str) -> None:
    report = judged(precision, "standard", products="fma")
    assert report.passed, report


@needs_compiler
@pytest.mark.claim("GPU-10")
@pytest.mark.parametrize(
    ("precision", "level", "unit"),
    [
        ("bfloat16", "smoke", "least"),
        *(
            pytest.param(precision, level, unit, marks=pytest.mark.thorough)
            for precision, level, unit in (
                ("float16", "smoke", "sm_80"), ("bfloat16", "standard", "sm_90"), ("float16", "standard", "least"),
            )
        ),
    ],
)  # fmt: skip
def test_it_conforms_on_tensor_cores(precision: str, level: str, unit: str) -> None:
    report = judged(precision, level, unit=unit)
    assert report.passed, report


@needs_compiler
@pytest.mark.claim("GPU-15")
@pytest.mark.parametrize(
    ("level", "unit"),
    [
        ("smoke", "least"),
        *(
            pytest.param(level, unit, marks=pytest.mark.thorough)
            for level, unit in (("standard", "least"), ("smoke", "sm_80"), ("smoke", "sm_90"))
        ),
    ],
)
def test_it_conforms_in_float32_on_tensor_cores(level: str, unit: str) -> None:
    report = judged("float32", level, products="tensor", unit=unit)
    assert report.passed, report


def one_head(*arrays: Any, kind: Any = np.float16) -> tuple[Any, ...]:
    """Arrays (rows, columns) in float16, as arrays (1, 1, rows, columns)."""
    return tuple(np.asarray(array, kind)[None, None] for array in arrays)


def off(query: Any, key: Any, **options: Any) -> float:
    """How far the score of one query and one key is off, in units of 2^-24 of the sum of the sizes of its products."""
    arrays = one_head([query], [key], [[1]], kind=np.float32)
    found = attention(*arrays, scale=1.0, return_lse=True, products="tensor", **options)[1]
    products = query.astype(np.float64) * key
    return float(abs(found[0, 0, 0] - math.fsum(products)) / (math.fsum(abs(products)) * 2.0**-24))


@needs_compiler
@pytest.mark.claim("GPU-15")
@pytest.mark.parametrize("dim", [24, 25, 32, 64])
def test_a_score_of_float32_errs_as_is_counted_and_more_than_half_of_it(dim: int) -> None:
    """In every eight products, one is large and the others are cut almost whole beside it; all parts err one way."""
    large = 1 + 2.0**-11 + 2.0**-23  # a little less than its parts, of which the lower one is negative
    query, key = np.full((2, dim), 2.0**-12, np.float32)
    key *= np.float32(1.98)
    query[::8] = key[::8] = large
    counted = 26.1 + 1.04 * math.ceil(dim / 8) + 1
    assert counted <= dim + 8
    assert counted / 2 < off(query, key) <= counted


@needs_compiler
@pytest.mark.claim("GPU-15")
def test_small_products_of_float32_are_not_cut_beside_a_large_sum() -> None:
    """Sums that go on within the unit would lose twice as much as the class grants, one place for every product."""
    query, key = np.full((2, 512), 2.0**-12, np.float32)
    key *= np.float32(1.98)
    query[0] = key[0] = 1
    assert off(query, key) <= 26.1 + 1.04 * 64 + 3 < 2 * 511 * 0.99 - 512


@needs_compiler
@pytest.mark.claim("GPU-15")
@pytest.mark.parametrize("dim", [1, 8, 23])
def test_short_queries_of_float32_are_multiplied_by_fma(dim: int) -> None:
    query, key = np.random.default_rng(dim).standard_normal((2, dim)).astype(np.float32)
    arrays = one_head([query], [key], [[1]], kind=np.float32)
    options: dict[str, Any] = {"scale": 1.0, "return_lse": True}
    assert attention(*arrays, products="tensor", **options)[1] == attention(*arrays, products="fma", **options)[1]


@needs_compiler
@pytest.mark.claim("GPU-15")
@pytest.mark.parametrize("keys", [1, 2, 9, 70])
def test_values_of_float32_that_are_cut_beside_a_large_one_are_within_the_class(keys: int) -> None:
    query, key = one_head([[0]], np.zeros((keys, 1)), kind=np.float32)
    value = np.full((keys, 3), 1.98 * 2.0**-24, np.float32)
    value[0], value[1::2, 1], value[:, 2] = 1 + 2.0**-11 + 2.0**-23, -1, 2.0**-130
    (value,) = one_head(value, kind=np.float32)
    criterion = spec.criteria(spec.Instance(query, key, value), "float32")["output"]
    assert criterion.ratio(attention(query, key, value, products="tensor")).max() <= 1.0


@needs_compiler
@pytest.mark.claim("GPU-10")
@pytest.mark.parametrize(
    "options",
    [{}, {"window": (40, 70)}, {"causal": "bottom-right"}, {"window": (None, 3)}, {"key_lengths": np.array([100])}],
    ids=str,
)
def test_tiles_that_every_query_sees_and_others_are_within_the_class(options: dict[str, Any]) -> None:
    rng = np.random.default_rng(4)
    arrays = one_head(*(rng.standard_normal((rows, 8)) for rows in (66, 150, 150)))
    criterion = spec.criteria(spec.Instance(*arrays, **options), "float16")["output"]
    assert criterion.ratio(attention(*arrays, **options)).max() <= 1.0


@needs_compiler
@pytest.mark.claim("GPU-10")
def test_sums_of_fewer_bits_would_leave_the_class() -> None:
    """Two products that cancel leave what a short sum has cut: the judge sees a worse unit than is assumed."""
    rng = np.random.default_rng(0)
    half = rng.uniform(1, 2, (9, 16))
    query, key, value = one_head(
        np.concatenate([half, half], axis=1) * 8, np.concatenate([half, -half + 2.0**-6], axis=1),
        rng.standard_normal((9, 4)),
    )  # fmt: skip
    criterion = spec.criteria(spec.Instance(query, key, value, scale=1.0), "float16")["output"]
    found = {unit: attention(query, key, value, scale=1.0, unit=unit) for unit in ("least", "short")}
    assert criterion.ratio(found["least"]).max() <= 1.0 < criterion.ratio(found["short"]).max()


@needs_compiler
@pytest.mark.claim("GPU-10")
def test_small_weights_keep_their_bits_in_float16() -> None:
    """Those of 2^-20.5, which would be subnormal."""
    key = np.full((1001, 1), -20.5 * np.log(2))
    key[0] = 0
    query, key, value = one_head([[1]], key, np.ones((1001, 1)))
    value[0, 0, 0] = 0
    weight = 1000 * np.exp(float(key[0, 0, 1, 0]))
    found = float(attention(query, key, value, scale=1.0)[0, 0, 0, 0])
    assert abs(found / (weight / (1 + weight)) - 1) < 2.0**-10


@needs_compiler
@pytest.mark.claim("GPU-10")
@pytest.mark.parametrize("places", [slice(0, 40), slice(0, None)])
def test_subnormal_values_are_multiplied_apart_and_added(places: slice) -> None:
    rng = np.random.default_rng(1)
    value = rng.standard_normal((90, 5)) * 2.0**-13
    value[places] = rng.integers(-1023, 1024, value[places].shape) * 2.0**-24
    query, key, value = one_head(rng.standard_normal((3, 4)), rng.standard_normal((90, 4)), value)
    criterion = spec.criteria(spec.Instance(query, key, value), "float16")["output"]
    assert criterion.ratio(attention(query, key, value)).max() <= 1.0


@needs_compiler
@pytest.mark.claim("GPU-10")
@pytest.mark.parametrize("most", [9, 1023])
def test_subnormal_queries_at_a_scale_of_2_are_within_the_class(most: int) -> None:
    rng = np.random.default_rng(3)
    query, key, value = one_head(
        rng.integers(-most, most + 1, (9, 64)) * 2.0**-24, rng.uniform(-6e4, 6e4, (70, 64)),
        rng.standard_normal((70, 3)),
    )  # fmt: skip
    key[..., ::2] /= 2.0**12  # products of all sizes, beside those of subnormal numbers
    query[..., ::2] *= 2.0**9
    criterion = spec.criteria(spec.Instance(query, key, value, scale=2.0), "float16")["output"]
    found = attention(query, key, value, scale=2.0, products="tensor")
    assert np.array_equal(found, attention(query, key, value, scale=2.0))
    assert criterion.ratio(found).max() <= 1.0


@needs_compiler
@pytest.mark.claim("GPU-10")
@pytest.mark.parametrize("unit", ["least", "sm_80", "sm_90"])
def test_subnormal_queries_of_a_large_scale_need_what_the_class_grants_for_them(unit: str) -> None:
    """The product of a subnormal number and a large one, 2^-8, counts as 2: what is below 2^-22 is cut beside it."""
    query, key, value = one_head([[2.0**-24, *[2.0**-14] * 15]], np.zeros((2, 16)), [[1], [-1]])
    key[..., 0], key[0, 0, 0, 1:] = 2.0**15, 2.0**-11 * (1 - 2.0**-10)
    instance = spec.Instance(query, key, value, scale=2.0**15)
    found = attention(query, key, value, scale=2.0**15, unit=unit)
    assert spec.criteria(instance, "float16")["output"].ratio(found).max() <= 1.0
    without = PRECISIONS["float16"].with_("without", least_factor=0.0)
    assert spec.criteria(instance, without)["output"].ratio(found).max() > 1.0


def test_products_that_a_type_or_a_card_has_not_are_refused() -> None:
    x = np.zeros((1, 1, 2, 2))
    with pytest.raises(InvalidInstance, match="tensor cores multiply float16, bfloat16, float32 here, and not float64"):
        attention(x, x, x, products="tensor")
    with pytest.raises(InvalidInstance, match="products: 'tf32', expected 'fma' or 'tensor'"):
        attention(x, x, x, products="tf32")


@needs_compiler
@pytest.mark.claim("GPU-1")
@pytest.mark.claim("GPU-10")
@pytest.mark.claim("GPU-15")
@pytest.mark.parametrize(
    ("kind", "products"),
    [
        (np.float32, None),
        pytest.param(np.float32, "tensor", marks=pytest.mark.thorough),
        (np.float16, None),
    ],
)
def test_every_order_of_threads_and_blocks_gives_the_same_bits_within_the_class(
    kind: Any, products: str | None
) -> None:
    rng = np.random.default_rng(0)
    shapes = {
        "query": (2, 4, 70, 133),
        "key": (2, 2, 90, 133),
        "value": (2, 2, 90, 140),
        "bias": (1, 4, 1, 90),
        "sink": (4,),
    }
    arrays = {name: rng.standard_normal(shape).astype(kind) for name, shape in shapes.items()}
    arrays["value"][:, :, :40] *= kind(2.0**-15)  # subnormal ones
    arrays |= {"mask": rng.random((70, 90)) < 0.8, "key_lengths": np.array([90, 67])}
    options: dict[str, Any] = {"causal": "bottom-right", "window": (40, None), "softcap": 3.0, "return_lse": True}
    first, *others = (run(Emulated(order), arrays, products, **options) for order in ORDERS)
    for other in others:
        assert all(
            np.array_equal(one.view(np.uint8), two.view(np.uint8)) for one, two in zip(first, other, strict=True)
        )
    criteria = spec.criteria(spec.Instance(**arrays, **options), np.dtype(kind).name)
    assert criteria["output"].ratio(first[0]).max() <= 1.0
    assert criteria["log_sum_exp"].ratio(first[1]).max() <= 1.0


def test_a_type_that_no_kernel_has_is_refused() -> None:
    x = np.zeros((1, 1, 2, 2), ml_dtypes.float8_e4m3fn)
    with pytest.raises(InvalidInstance, match="query: dtype float8_e4m3fn, expected one of float32, float64, float16"):
        attention(x, x, x)
