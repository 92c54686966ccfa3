"""Laplacians of kernel graphs on GPUs, on the thread model of a CPU: certified, over all pairs and by polynomials."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import emulated
import numpy as np
import pytest
from emulated import ORDERS, Counting, Deaf, Emulated

from assay.conformance.interface.suite import Case, Family
from assay.conformance.interface.targets import kernel_of
from assay.conformance.judge.judge import Judge
from assay.conformance.kernel_graph.target_cupy import certified_of
from assay.impl.gpu.kernel_graph import plan, polynomial
from assay.impl.gpu.kernel_graph.direct import certified
from assay.impl.gpu.kernel_graph.direct import run as exact
from assay.impl.gpu.kernel_graph.multiply import run
from assay.impl.gpu.kernel_graph.plan import Known, Shape
from assay.spec.approximation import Infeasible
from assay.spec.kernel_graph import Instance, define
from assay.spec.precision import precision
from assay.spec.problem import InvalidInstance

needs_compiler = pytest.mark.skipif(emulated.compiler() is None, reason="g++ is not installed")
pytest.importorskip("scipy")

FUNCTIONS: tuple[tuple[str, float, float], ...] = (
    ("gaussian", 0.7, 1e-6), ("rational", 1.5, 1e-3), ("inverse_multiquadric", 2.0, 1e-3), ("polynomial", 3.0, 1e-6),
)  # fmt: skip


def multiply(
    points: Any, vectors: Any, *, function: Any, parameter: float = 1.0, error: float = 1e-6, laplacian: bool = True,
    diagonal: float = 0.0, targets: Any = None, route: str | None = "polynomial", bounds: Any = None,
    memory: int = 1 << 30, machine: Any = None,
) -> Any:  # fmt: skip
    """:func:`assay.impl.gpu.kernel_graph.multiply` on a CPU, of a Laplacian."""
    given = points, vectors, targets, function, parameter, error, diagonal, route, bounds, memory
    return run(machine or Emulated(), *given, laplacian=laplacian)


def drawn(n: int, d: int, columns: int, dtype: str = "float64", seed: int = 0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    return rng.uniform(-0.5, 0.5, (n, d)).astype(dtype), rng.standard_normal((n, columns)).astype(dtype)


def sizes_of(vectors: Any) -> Any:
    """n·max|v| + Σ_j|v_j| of every column."""
    sizes = np.abs(vectors.astype(np.float64))
    return len(sizes) * sizes.max(axis=0) + sizes.sum(axis=0)


def off(found: Any, points: Any, vectors: Any, function: str, parameter: float = 1.0) -> Any:
    """The least error of a Laplacian's sums, against balls."""
    asked = Instance(points, vectors, function=function, parameter=parameter, laplacian=True)
    return define(asked, 2.0**-70).least_error(found.value)


# --- over all pairs


@needs_compiler
@pytest.mark.claim("GPU-21")
def test_the_certificate_over_all_pairs_holds_and_is_no_looser_than_the_arithmetic() -> None:
    for function, parameter in (("gaussian", 0.7), ("laplacian", 1.3), ("matern", 2.5), ("rational", 0.7)):
        points, vectors = drawn(90, 2, 2, seed=1)
        found = multiply(points, vectors, function=function, parameter=parameter, route="direct")
        assert (off(found, points, vectors, function, parameter) <= found.error).all()
        assert (found.error <= 2.0**-42 * sizes_of(vectors)).all()
        narrow = points.astype(np.float32), vectors.astype(np.float32)
        single = multiply(*narrow, function=function, parameter=parameter, route="direct")
        assert single.value.dtype == np.float32
        assert (off(single, *narrow, function, parameter) <= single.error).all()
        rough = dataclasses.replace(single, value=exact(Emulated(), *narrow, None, function, parameter, laplacian=True))
        wrong = off(rough, *narrow, function, parameter)
        assert (wrong > found.error).mean() > 0.9  # arithmetic that it is not proved for


@needs_compiler
@pytest.mark.claim("GPU-21")
def test_a_sum_of_equal_weights_errs_by_more_than_the_vectors_of_others_pay_for() -> None:
    """Additions of one number round to the same side, and only the vector of the point itself is not 0."""
    points, vectors = np.array([[0.0]] + [[0.3]] * 300), np.array([[1.0]] + [[0.0]] * 300)
    found = multiply(points, vectors, function="gaussian", route="direct")
    wrong = off(found, points, vectors, "gaussian")
    assert (wrong <= found.error).all()
    assert wrong[0] > 4.0 * found.error[1]


@needs_compiler
@pytest.mark.claim("GPU-21")
@pytest.mark.parametrize("laplacian", [False, True])
def test_sums_that_might_overflow_have_no_certificate_over_all_pairs(laplacian: bool) -> None:
    vectors = np.full((3, 4), [2.0**1023, 2.0**1022, 2.0**1017, 1.0])
    vectors[0] *= -1.0 if laplacian else 1.0
    found = certified(Emulated(), np.zeros((3, 1)), vectors, None, "gaussian", 1.0, 0.0, laplacian=laplacian)
    assert np.isinf(found.error).tolist() == [[True, True, False, False]] * len(found.error)
    assert (found.value[0, 2:] == (-4.0 if laplacian else 2.0) * vectors[1, 2:]).all()


# --- by a polynomial


@needs_compiler
@pytest.mark.claim("GPU-21")
@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.thorough)])
def test_the_certificate_of_a_polynomial_holds_and_is_at_most_the_error_asked(dtype: str) -> None:
    for function, parameter, share in FUNCTIONS:
        points, vectors = drawn(60, 2, 9, dtype)
        error = share * float(sizes_of(vectors).max())
        found = multiply(points, vectors, function=function, parameter=parameter, error=error)
        assert found.value.dtype == points.dtype
        assert found.route.startswith("polynomial on the device")
        assert (off(found, points, vectors, function, parameter) <= found.error).all(), function
        rounded = 2.0**-23 * np.abs(found.value) * (dtype == "float32")
        assert (found.error <= error + rounded).all(), function


@needs_compiler
@pytest.mark.claim("GPU-21")
@pytest.mark.parametrize(
    ("function", "parameter", "near"),
    [("gaussian", 0.8, True), ("rational", 1.5, False), ("inverse_multiquadric", 2.0, False)],
)
def test_half_of_what_a_polynomial_errs_is_not_enough(function: str, parameter: float, near: bool) -> None:
    """Of v_i, nor of the v_j, nor of both: a point whose pairs have all the same weight, somewhere the one that is off.

    The Gaussian's error is relative to the weight, so that points that coincide have the largest.
    """
    vectors = np.concatenate([[[1.0, 0.0, 1.0]], [[0.0, 1.0, -1.0]] * 60, [[0.0] * 3] * 2])
    most = np.zeros(3)
    for place in np.linspace(-1.0, 1.0, 41)[20 if near else 0 :]:
        points = np.array([[place if near else -1.0], *[[place]] * 60, [-1.0], [1.0]])
        found = multiply(points, vectors, function=function, parameter=parameter, error=1e-2)
        z = (points[0] - points[1:]).ravel() ** 2
        weights = {
            "gaussian": np.exp(-parameter * z),
            "rational": (1.0 + z) ** -parameter,
            "inverse_multiquadric": (1.0 + parameter * z) ** -0.5,
        }[function]
        wrong = np.abs(found.value[0] - weights @ (vectors[0] - vectors[1:]))
        assert (wrong <= found.error[0] * (1.0 + 1e-9)).all()
        most = np.maximum(most, wrong / found.error[0])
    assert (most > 0.5).all()


@needs_compiler
@pytest.mark.claim("GPU-21")
@pytest.mark.parametrize("laplacian", [False, True])
@pytest.mark.parametrize(("function", "parameter"), [("gaussian", 0.7), ("polynomial", 3.0)])
def test_the_least_error_that_is_not_refused_is_met(laplacian: bool, function: str, parameter: float) -> None:
    points, vectors = drawn(30, 1, 1)
    targets = None if laplacian else points
    given = polynomial.measured(Emulated(), points, targets, np.abs(vectors), laplacian=laplacian)
    known, least, most = given.known(Emulated()), 1e-18, 1e-6
    while most > (1.0 + 2.0**-50) * least:
        middle = math.sqrt(least * most)
        try:
            plan.planned(function, parameter, given.shape, known, middle, 1 << 30)
        except Infeasible:
            least = middle
        else:
            most = middle
    options: dict[str, Any] = {"function": function, "parameter": parameter, "laplacian": laplacian}
    found = multiply(points, np.abs(vectors), targets=targets, error=most, **options)
    assert 0.99 * most < found.error.max() <= most


@needs_compiler
@pytest.mark.claim("GPU-21")
@pytest.mark.parametrize("route", ["direct", "polynomial"])
def test_half_the_rounding_to_float32_is_not_enough(route: str) -> None:
    """One weight near 1, and a difference of vectors that is as far from a number of float32 as it may be."""
    function = "gaussian" if route == "direct" else "polynomial"
    points = np.array([[0.0], [0.0 if route == "direct" else 1.0]], np.float32)
    vectors = np.array([[1.0], [-(2.0**-24) * (1 - 2.0**-20)]], np.float32)
    found = multiply(points, vectors, function=function, route=route)
    wrong = off(found, points, vectors, function)
    assert (wrong <= found.error).all()
    assert 0.5 * found.error[0] < wrong[0]


@needs_compiler
@pytest.mark.claim("GPU-21")
@pytest.mark.parametrize(
    ("function", "parameter", "far", "size", "error"),
    [
        ("polynomial", 8.0, 2.0**-70, 2.0**900, 1e-10),
        ("polynomial", 8.0, 700.0, 3 * 2.0**-1070, 1e-250),
        ("polynomial", 1.0, 2.0**-190, 2.0**300, 1e-30),
        ("gaussian", 1.0, 1e-200, 3 * 2.0**-1070, 1e-300),
        ("gaussian", 1.0, 0.0, 2.0**-1022, 1e-300),
        ("gaussian", 1e100, 1e-50, 1.0, 1e-6),
        ("rational", 2.0, 0.5, 2.0**990, 2.0**975),
        ("gaussian", 0.5, 1.0, 2.0**996, 2.0**980),
    ],
)
def test_at_the_ends_of_float64_the_certificate_holds(
    function: str, parameter: float, far: float, size: float, error: float
) -> None:
    points = np.array([[0.0], [far], [0.475 * far], [far]])
    vectors = size * np.array([[1.0, 1.0, 0.0], [1.0, -1.0, 1.0], [1.0, 0.5, 2.0**-30], [1.0, 1.0, -1.0]])
    options: dict[str, Any] = {"function": function, "parameter": parameter}
    found = multiply(points, vectors, error=error, **options)
    assert (off(found, points, vectors, **options) <= found.error).all()
    assert (found.error <= error).all()
    if function != "polynomial":
        found = multiply(points, vectors, route="direct", **options)
        assert (off(found, points, vectors, **options) <= found.error).all()
        assert np.isfinite(found.error).all()


@needs_compiler
@pytest.mark.claim("GPU-21")
@pytest.mark.parametrize("route", ["direct", "polynomial"])
def test_equal_vectors_and_a_single_point_have_sums_of_0_within_the_certificate(route: str) -> None:
    points, _ = drawn(50, 2, 1)
    found = multiply(points, np.full((50, 1), 7.0), function="gaussian", route=route)
    assert (np.abs(found.value) <= found.error).all()
    alone = multiply(points[:1], np.array([[1e3, -1e-3]]), function="gaussian", route=route)
    assert (np.abs(alone.value) <= alone.error).all()
    assert np.isfinite(alone.error).all()


@needs_compiler
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning", "ignore:overflow:RuntimeWarning")
@pytest.mark.claim("GPU-21")
@pytest.mark.parametrize("route", ["direct", "polynomial"])
def test_numbers_that_are_not_finite_or_overflow_have_no_certificate(route: str) -> None:
    points, vectors = drawn(20, 2, 3)
    options: dict[str, Any] = {"function": "gaussian", "route": route, "bounds": (0.8, 100.0, 5.0)}
    for wrong in (math.nan, math.inf):
        with_point, with_vector = points.copy(), vectors.copy()
        with_point[3, 1], with_vector[3, 1] = wrong, wrong
        assert np.isposinf(multiply(with_point, vectors, **options).error).all()
        found = multiply(points, with_vector, **options)
        assert np.isposinf(found.error[:, 1]).all()
        assert np.isfinite(found.error[:, [0, 2]]).all()
    large = np.array([[3e38, 1.0], [-3e38, 1.0]], np.float32)
    found = multiply(np.zeros((2, 1), np.float32), large, error=1e36, function="gaussian", route=route)
    assert np.isinf(found.value[:, 0]).all()
    assert np.isposinf(found.error[:, 0]).all()
    assert np.isfinite(found.error[:, 1]).all()


@needs_compiler
@pytest.mark.claim("GPU-21")
def test_with_bounds_nothing_is_waited_for_and_a_broken_promise_leaves_no_certificate() -> None:
    points, vectors = drawn(30, 2, 2)
    points[:4] = [[-0.5, -0.5], [-0.5, 0.5], [0.5, -0.5], [0.5, 0.5]]  # the middle is 0, and these are the farthest
    mass, largest = float(np.abs(vectors).sum(axis=0).max()), float(np.abs(vectors).max())
    for function, parameter, share in FUNCTIONS:
        for promised in ((math.sqrt(0.5), mass), (math.sqrt(0.5), mass, largest)):
            for factor in (1.0, 1.001):
                error = share * (mass + 30 * promised[-1])
                options: dict[str, Any] = {"function": function, "parameter": parameter}
                found = multiply(factor * points, vectors, machine=Deaf(), bounds=promised, error=error, **options)
                assert (off(found, factor * points, vectors, **options) <= found.error).all()
                assert (found.error <= error).all() if factor == 1.0 else np.isinf(found.error).all()
    told, more = (
        multiply(points, vectors, function="gaussian", bounds=each, error=1e-5).route
        for each in (promised, promised[:2])
    )
    assert "degree 8," in told
    assert "degree 9," in more
    larger = multiply(points, 1e3 * vectors, function="gaussian", bounds=promised, error=1e-3)
    assert (off(larger, points, 1e3 * vectors, "gaussian") <= larger.error).all()


@needs_compiler
@pytest.mark.claim("GPU-21")
def test_every_order_of_threads_and_blocks_gives_the_same_bits() -> None:
    points, vectors = drawn(150, 3, 8, "float32")  # of nine columns with the ones: two groups of them
    for route in ("direct", "polynomial"):
        options: dict[str, Any] = {"function": "gaussian", "parameter": 0.5, "error": 1e-2, "route": route}
        first, *others = (multiply(points, vectors, machine=Emulated(order), **options) for order in ORDERS)
        others.append(multiply(np.asfortranarray(points), vectors[::-1][::-1], **options))
        for other in others:
            assert np.array_equal(first.value, other.value)
            assert np.array_equal(first.error, other.error)


@needs_compiler
def test_no_more_memory_is_taken_than_is_allowed() -> None:
    points, vectors = drawn(1000, 1, 3)
    for memory in (1 << 30, 400_000):
        counting = Counting()
        found = multiply(points, vectors, memory=memory, machine=counting, function="rational", error=1.0)
        arrays = 2 * 8 * 1000 * 4  # which CuPy takes for the sizes of the vectors
        assert sum(counting.taken) - found.value.nbytes + arrays <= memory
    with pytest.raises(Infeasible, match=r"MiB, more than the 0.19\d* MiB allowed"):
        multiply(points, vectors, memory=200_000, function="rational", error=1.0)


# --- the choice of a route, and refusals


@needs_compiler
@pytest.mark.claim("GPU-21")
def test_the_route_is_chosen_for_one_more_column(monkeypatch: pytest.MonkeyPatch) -> None:
    points, vectors = drawn(20, 2, 1)
    asked = [multiply(points, vectors, function="gaussian", route=route).route for route in ("direct", "polynomial")]
    assert asked[0] == "all pairs in float64 on the device; as asked for"
    assert asked[1].endswith("as measured; as asked for")
    assert multiply(points, vectors, function="gaussian", route=None).route.endswith("; of few points")
    assert multiply(points, vectors, function="polynomial", route=None).route.startswith("polynomial on the device")
    monkeypatch.setattr(plan, "_LAUNCHES", 0.0)
    exact = multiply(points, vectors, function="gaussian", route=None, error=1e-300).route
    assert "polynomial: error 1e-300: the certificate of degree" in exact
    plain, more = (Shape(200_000, 200_000, 3, 8, graph=True, laplacian=laplacian) for laplacian in (False, True))
    made = plan.planned("gaussian", 1.0, more, Known(0.5, 0.5, 1e5), 1e-3, 1 << 32)
    assert plan.direct_work(plain) == plan.direct_work(more)
    assert plan.polynomial_work(plain, made) < plan.polynomial_work(more, made) < plan.direct_work(more)


def test_what_does_not_fit_is_refused_by_name() -> None:
    points, vectors = drawn(4, 2, 1)
    for route in (None, "direct", "polynomial"):
        with pytest.raises(InvalidInstance, match="laplacian: True, expected False with targets"):
            multiply(points, vectors, function="gaussian", targets=points, route=route)
        with pytest.raises(InvalidInstance, match=r"diagonal: 1\.0, expected 0 with laplacian"):
            multiply(points, vectors, function="gaussian", diagonal=1.0, route=route)
    with pytest.raises(NotImplementedError, match="function: 'coulomb', expected one of gaussian"):
        multiply(points, vectors, function="coulomb", parameter=0.5, route=None)
    with pytest.raises(ValueError, match="bounds: "):
        multiply(points, vectors, function="gaussian", bounds=(1.0, 1.0, 1.0, 1.0))
    with pytest.raises(ValueError, match="bounds: "):
        multiply(points, vectors, function="gaussian", bounds=(1.0, 1.0, 1.0), laplacian=False)
    with pytest.raises(Infeasible, match="vectors sum up to inf"):
        multiply(points, vectors, function="gaussian", bounds=(1.0, 1e308))


# --- the judge's word


@needs_compiler
@pytest.mark.claim("GPU-21")
def test_the_judge_holds_it_to_the_error_asked_and_to_its_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked_for(*arrays: Any, laplacian: bool = False, **options: Any) -> Any:
        return multiply(*arrays, laplacian=laplacian, **options)

    given = certified_of(asked_for, "polynomial", "polynomial", "numpy", "")
    judge = Judge(kernel_of(given, "kernel_graph", options={"error": 1e-3}), precision("float32"))
    points, vectors = drawn(60, 2, 3, "float32")

    def outcome(factor: float, function: str, parameter: float) -> Any:
        asked = Instance(factor * points, vectors, function=function, parameter=parameter, laplacian=True)
        return judge.outcome(Case("case", Family("test", "a known error", "here"), asked))

    found = [outcome(*case) for case in ((1, "gaussian", 0.7), (1, "rational", 1.5), (100, "gaussian", 0.7))]
    assert [each.status for each in found] == ["passed", "passed", "declined"]
    assert found[0].ratio > 1e-6
    planned, summed = plan.planned, polynomial.summed
    monkeypatch.setattr(plan, "planned", lambda *x, **y: dataclasses.replace(planned(*x, **y), floor=1e-9))
    assert outcome(1, "gaussian", 0.7).failed
    monkeypatch.setattr(plan, "planned", planned)

    def shifted(machine: Any, given: Any, made: Any, diagonal: float) -> Any:
        value, error = summed(machine, given, made, diagonal)
        return value + 0.1 * given.vectors, error  # a point's own weight, which has no place here

    monkeypatch.setattr(polynomial, "summed", shifted)
    assert outcome(1, "gaussian", 0.7).failed
