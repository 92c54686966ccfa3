"""Sums over all pairs of points of GPUs, on the thread model of a CPU: within their classes, and with a certificate."""

from __future__ import annotations

import functools
from typing import Any

import emulated
import numpy as np
import pytest
from emulated import ORDERS, Emulated

import assay
from assay.impl.gpu.kernel_graph.direct import certified, run
from assay.spec.kernel_graph import Instance, criteria, define
from assay.spec.problem import InvalidInstance

needs_compiler = pytest.mark.skipif(emulated.compiler() is None, reason="g++ is not installed")

FUNCTIONS: tuple[tuple[str, float], ...] = (
    ("gaussian", 0.7), ("laplacian", 1.3), ("matern", 1.5), ("matern", 2.5), ("rational", 1.0), ("rational", 0.7),
    ("coulomb", 0.5), ("coulomb", 1.5), ("coulomb", 3.5), ("inverse_multiquadric", 2.0), ("polynomial", 3.0),
    ("threshold", 1.0), ("arc_cosine", 0.0), ("arc_cosine", 1.0), ("arc_cosine", 2.0),
)  # fmt: skip


def multiply(
    points: Any, vectors: Any, *, function: Any, parameter: float = 1.0, laplacian: bool = False,
    diagonal: float = 0.0, targets: Any = None, order: str = "ascending",
) -> Any:  # fmt: skip
    """:func:`assay.impl.gpu.kernel_graph.exact` on a CPU."""
    options: dict[str, Any] = {"laplacian": laplacian, "diagonal": diagonal}
    return run(Emulated(order), points, vectors, targets, function, parameter, **options)


def drawn(
    n: int, d: int, columns: int, dtype: str = "float64", *, unit: bool = False, seed: int = 0
) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    points = rng.standard_normal((n, d))
    if unit:
        points /= np.sqrt((points * points).sum(axis=1, keepdims=True))
    return points.astype(dtype), rng.standard_normal((n, columns)).astype(dtype)


@needs_compiler
@pytest.mark.claim("GPU-5")
@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.thorough)])
def test_every_function_is_within_its_class(dtype: str) -> None:
    for function, parameter in FUNCTIONS:
        points, vectors = drawn(37, 18, 9, dtype, unit=function == "arc_cosine")
        options: dict[str, Any] = {"function": function, "parameter": parameter}
        ways: list[dict[str, Any]] = [{"diagonal": 0.5}, {"targets": (points[:5] + points[5:10]).astype(dtype) / 2}]
        ways = ways[:1] if function == "arc_cosine" else [*ways, {"laplacian": True}]
        for way in ways:
            judged = criteria(Instance(points, vectors, **options, **way), dtype)["output"]
            assert judged.ratio(multiply(points, vectors, **options, **way)).max() <= 1, (function, parameter, way)


@needs_compiler
@pytest.mark.claim("GPU-5")
@pytest.mark.parametrize(
    ("function", "parameter"),
    [
        ("gaussian", 0.7),
        *(pytest.param(*x, marks=pytest.mark.thorough) for x in (("rational", 1.5), ("matern", 0.5))),
    ],
)
def test_the_certificate_holds_and_is_no_looser_than_the_arithmetic(function: str, parameter: float) -> None:
    points, vectors = drawn(600, 2, 2, seed=1)
    options: dict[str, Any] = {"function": function, "parameter": parameter, "diagonal": 0.25}
    found = certified(Emulated(), points, vectors, None, *options.values())
    exact = define(Instance(points, vectors, **options), 2.0**-70)
    error = exact.least_error(found.value)
    assert (error <= found.error).all()
    assert (found.error <= 2.0**-40 * np.abs(vectors).sum(axis=0)).all()
    single = multiply(points.astype(np.float32), vectors.astype(np.float32), **options)
    assert (exact.least_error(single.astype(np.float64)) > found.error).all()  # arithmetic that it is not proved for
    narrow = certified(Emulated(), *(x.astype(np.float32) for x in (points, vectors)), None, *options.values())
    judged = define(Instance(points.astype(np.float32), vectors.astype(np.float32), **options), 2.0**-70)
    assert narrow.value.dtype == np.float32
    assert (judged.least_error(narrow.value) <= narrow.error).all()


@needs_compiler
@pytest.mark.claim("GPU-5")
@pytest.mark.parametrize(
    ("function", "parameter", "far"),
    [("laplacian", 1e-170, 1e160), ("rational", 1e-5, 1e160), ("inverse_multiquadric", 1e200, 1e75)],
)
@pytest.mark.parametrize("targets", [None, np.array([[3e-3]])])
def test_distances_whose_square_overflows_have_no_certificate(
    function: str, parameter: float, far: float, targets: np.ndarray | None
) -> None:
    """f of an infinite number is 0, and f of the distance is not."""
    points = np.array([[0.0], [far], [-far]])
    found = certified(Emulated(), points, np.ones((3, 1)), targets, function, parameter, 0.0)
    assert np.isinf(found.error).all()


@needs_compiler
@pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")  # NumPy's, as the machine of a test
@pytest.mark.claim("GPU-5")
def test_a_value_that_overflows_has_no_certificate() -> None:
    points, vectors = np.zeros((3, 1), np.float32), np.full((3, 2), [3e38, 1.0], np.float32)
    found = certified(Emulated(), points, vectors, None, "gaussian", 1.0, 0.0)
    assert np.isinf(found.value[:, 0]).all()
    assert np.isinf(found.error[:, 0]).all()
    assert np.isfinite(found.error[:, 1]).all()


@needs_compiler
@pytest.mark.claim("GPU-5")
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning", "ignore:overflow:RuntimeWarning")
def test_a_certificate_is_a_number_or_infinite() -> None:
    """0 over 0 of vectors of 0, and vectors that are no numbers."""
    vectors = np.array([[0.0, np.nan, 1.0], [0.0, 1.0, np.inf]])
    found = certified(Emulated(), np.array([[0.0], [1e200]]), vectors, None, "gaussian", 1.0, 0.0)
    assert np.isposinf(found.error).all()
    found = certified(Emulated(), np.array([[0.0], [1.0]]), vectors, None, "gaussian", 1.0, 0.0)
    assert np.isposinf(found.error).tolist() == [[False, True, True]]


@needs_compiler
@pytest.mark.claim("GPU-5")
def test_tiles_of_512_sources_are_summed_in_float64() -> None:
    """Of weights 1: in a sum in float32 alone 2^24 would swallow every 1, and tiles after the first keep theirs."""
    points, vectors = np.zeros((2000, 1), np.float32), np.ones((2000, 1), np.float32)
    vectors[0] = 2.0**24
    found = multiply(points, vectors, function="gaussian", targets=points[:1])
    assert found.item() == 2.0**24 + 2000 - 512


@needs_compiler
@pytest.mark.claim("GPU-5")
def test_every_order_of_threads_and_blocks_gives_the_same_bits() -> None:
    points, vectors = drawn(150, 33, 10, "float32")
    first, *others = (multiply(points, vectors, function="gaussian", parameter=0.05, order=order) for order in ORDERS)
    others.append(multiply(np.asfortranarray(points), vectors.T.copy().T, function="gaussian", parameter=0.05))
    assert all(np.array_equal(first, other) for other in others)


@needs_compiler
@pytest.mark.thorough
@pytest.mark.claim("GPU-5")
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_it_conforms(precision: str) -> None:
    @functools.wraps(multiply)
    def kernel(points: Any, vectors: Any, **options: Any) -> Any:
        return multiply(points, vectors, **options)

    declared = {"own_function": "no"}
    report = assay.check(kernel, "kernel_graph", precision=precision, level="standard", options=declared, seconds=900.0)
    assert report.passed, report


def test_what_does_not_fit_is_refused_by_name() -> None:
    points, vectors = drawn(4, 2, 1)
    with pytest.raises(InvalidInstance, match="points: dtype float16, expected float32 or float64"):
        multiply(points.astype(np.float16), vectors.astype(np.float16), function="gaussian")
    with pytest.raises(InvalidInstance, match="laplacian: True, expected False"):
        multiply(points, vectors, function="arc_cosine", parameter=2.0, laplacian=True)
    with pytest.raises(NotImplementedError, match="function: one of your own"):
        multiply(points, vectors, function=np.exp)
