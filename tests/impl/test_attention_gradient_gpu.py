"""The exact gradient of attention of GPUs, on the thread model of a CPU: sound in every type, and free of races."""

from __future__ import annotations

import functools
from typing import Any

import emulated
import ml_dtypes
import numpy as np
import pytest
from emulated import ORDERS, Emulated

import assay
from assay.conformance.interface.kernel import Kernel
from assay.conformance.interface.targets import keywords_of
from assay.impl.gpu.attention_gradient.backward import run
from assay.spec import attention_gradient as spec
from assay.spec.precision import precision
from assay.spec.problem import InvalidInstance

needs_compiler = pytest.mark.skipif(emulated.compiler() is None, reason="g++ is not installed")


def gradient(
    query: Any, key: Any, value: Any, output: Any, log_sum_exp: Any, grad_output: Any, *, scale: Any = None,
    is_causal: bool = False, causal: Any = None, mask: Any = None, bias: Any = None, window: Any = None,
    key_lengths: Any = None, softcap: Any = None, sink: Any = None, grad_log_sum_exp: Any = None,
    products: str | None = None, unit: str = "least",
) -> Any:  # fmt: skip
    """:func:`assay.impl.gpu.attention_gradient.exact` on a CPU."""
    arrays = {
        "query": query, "key": key, "value": value, "mask": mask, "bias": bias, "key_lengths": key_lengths,
        "sink": sink, "output": output, "log_sum_exp": log_sum_exp, "grad_output": grad_output,
        "grad_log_sum_exp": grad_log_sum_exp,
    }  # fmt: skip
    return run(
        Emulated(unit=unit), arrays, products, scale=scale, is_causal=is_causal, causal=causal, window=window,
        softcap=softcap,
    )  # fmt: skip


def judged(class_: str, level: str, **options: Any) -> Any:
    """The report of the kernel with these options.  Compiling it is not of the time of a call."""
    for source in ("attention/exact.cu", "attention/tensor.cu", "attention_gradient/exact.cu"):
        emulated.built(emulated.SOURCES / source)
    emulated.built(emulated.SOURCES / "attention_gradient/tensor.cu")
    kernel = Kernel(
        "emulated", functools.partial(gradient, **options), keywords=keywords_of(gradient, "attention_gradient"),
    )  # fmt: skip
    return assay.check(kernel, "attention_gradient", precision=class_, level=level, seconds=900.0)


@needs_compiler
@pytest.mark.thorough
@pytest.mark.claim("GPU-2")
@pytest.mark.parametrize("class_", ["float32", "float64", "bfloat16", "float16"])
def test_it_conforms_without_tensor_cores(class_: str) -> None:
    report = judged(class_, "standard", products="fma")
    assert report.passed, report


@needs_compiler
@pytest.mark.claim("GPU-16")
@pytest.mark.parametrize(
    ("class_", "level", "unit"),
    [
        ("bfloat16", "smoke", "least"),
        pytest.param("float16", "standard", "least", marks=pytest.mark.thorough),
        pytest.param("float16", "smoke", "sm_80", marks=pytest.mark.thorough),
        pytest.param("bfloat16", "standard", "sm_90", marks=pytest.mark.thorough),
    ],
)  # fmt: skip
def test_it_conforms_on_tensor_cores(class_: str, level: str, unit: str) -> None:
    report = judged(class_, level, unit=unit)
    assert report.passed, report


def worst(kind: Any, unit: str = "least", **given: Any) -> dict[str, float]:
    """The largest error of each gradient of one head, as a share of what its class allows; arrays of two axes."""
    arrays = {
        name: np.asarray(array, kind)[None, None] if isinstance(array, np.ndarray) else array
        for name, array in given.items()
    }
    absent = {"output": None, "log_sum_exp": None}
    found = gradient(**arrays, **absent, products="tensor", unit=unit)
    criteria = spec.criteria(spec.Instance(**arrays), precision(np.dtype(kind).name))
    names = ("grad_query", "grad_key", "grad_value")
    return {name: float(criteria[name].ratio(one).max()) for name, one in zip(names, found, strict=True)}


@needs_compiler
@pytest.mark.claim("GPU-16")
@pytest.mark.parametrize("kind", [np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("size", [2.0**-22, 2.0**-14, 1.0], ids=str)
def test_gradients_of_every_size_are_within_the_class(kind: Any, size: float) -> None:
    """Subnormal dO and dS of float16 among them; the rows and columns are those of more than one tile and group."""
    rng = np.random.default_rng(1)
    query, key, value, grad = (rng.standard_normal(shape) for shape in ((70, 9), (66, 9), (66, 130), (70, 130)))
    key[:, ::3] *= 2.0**-17
    ratios = worst(kind, query=query, key=key, value=value, grad_output=grad * size)
    assert max(ratios.values()) <= 1.0


@needs_compiler
@pytest.mark.claim("GPU-16")
@pytest.mark.parametrize("unit", ["least", "sm_80", "sm_90"])
def test_subnormal_gradients_beside_large_values_are_multiplied_by_fma(unit: str) -> None:
    """The product of a subnormal number and a large one counts as 2 in a tensor core, which cuts those beside it."""
    grad = np.full((1, 16), 2.0**-14)
    value = np.full((2, 16), 2.0**-11 * (1 - 2.0**-10))
    value[1] *= -1
    grad[:, 0], value[:, 0] = 2.0**-24, 2.0**15
    given = {"query": np.zeros((1, 1)), "key": np.array([[64.0], [-64.0]]), "value": value, "grad_output": grad}
    assert max(worst(np.float16, unit, scale=1.0, **given).values()) <= 1.0
    arrays = {name: np.asarray(array, np.float16)[None, None] for name, array in given.items()}
    found, wanted = (
        gradient(**arrays, output=None, log_sum_exp=None, scale=1.0, products=products, unit=unit)[0]
        for products in ("tensor", "fma")
    )
    assert np.array_equal(found, wanted)


@needs_compiler
@pytest.mark.claim("GPU-16")
def test_small_score_gradients_keep_their_bits_in_float16() -> None:
    """Those of 1.3·2^-22, which would be subnormal, as the sums of many show."""
    key, value = np.full((512, 1), 2.0**13), np.full((512, 1), 1.3 * 2.0**-12)
    key[::2] *= -1
    value[::2] *= -1
    arrays = {"query": np.zeros((1, 1)), "key": key, "value": value, "grad_output": np.full((1, 1), 0.9)}
    given = {name: np.asarray(array, np.float16)[None, None] for name, array in arrays.items()}
    wanted = float(2.0**13 * given["grad_output"][0, 0, 0, 0]) * float(given["value"][0, 0, 1, 0])
    found = gradient(**given, output=None, log_sum_exp=None, scale=1.0)[0]
    assert abs(float(found[0, 0, 0, 0]) / wanted - 1) < 2.0**-9


@pytest.mark.claim("GPU-16")
def test_types_that_tensor_cores_do_not_multiply_here_are_refused() -> None:
    x = np.zeros((1, 1, 2, 2), np.float32)
    with pytest.raises(InvalidInstance, match="tensor cores multiply float16, bfloat16 here, and not float32"):
        gradient(x, x, x, None, None, x, products="tensor")


@needs_compiler
@pytest.mark.claim("GPU-2")
@pytest.mark.claim("GPU-16")
@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        (np.float32, (2, 4, 70, 90)), (np.float32, (4, 1, 90)), (np.float32, (2, 1, 70, 1)),
        pytest.param(np.float16, (4, 1, 90), marks=pytest.mark.thorough),
        pytest.param(ml_dtypes.bfloat16, (4, 1, 90), marks=pytest.mark.thorough),
    ],
    ids=str,
)  # fmt: skip
def test_every_order_of_threads_and_blocks_gives_the_same_bits(kind: Any, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    sizes = {"query": (2, 4, 70, 9), "key": (2, 2, 90, 9), "value": (2, 2, 90, 130), "grad_output": (2, 4, 70, 130)}
    arrays = {name: rng.standard_normal(size).astype(kind) for name, size in sizes.items()}
    arrays |= {
        "mask": rng.random((70, 90)) < 0.8, "bias": rng.standard_normal(shape).astype(kind),
        "key_lengths": np.array([90, 67]), "sink": rng.standard_normal(4).astype(kind),
        "grad_log_sum_exp": rng.standard_normal((2, 4, 70)).astype(np.float32),
    }  # fmt: skip
    absent = {"output": None, "log_sum_exp": None}
    first, *others = (
        run(Emulated(order), {**arrays, **absent}, causal="bottom-right", softcap=3.0) for order in ORDERS
    )
    assert [x.shape for x in first] == [(2, 4, 70, 9), (2, 2, 90, 9), (2, 2, 90, 130), shape, (4,)]
    for other in others:
        pairs = zip(first, other, strict=True)
        assert all(np.array_equal(one.view(np.uint8), two.view(np.uint8)) for one, two in pairs)


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
