"""Sums of kernel graphs by polynomials of GPUs, on the thread model of a CPU: certified, and free of races."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import emulated
import numpy as np
import pytest
from emulated import ORDERS, Counting, Deaf, Emulated

import assay
from assay.conformance.interface.suite import Case, Family
from assay.conformance.interface.targets import kernel_of
from assay.conformance.judge.judge import Judge
from assay.conformance.kernel_graph.target_cupy import certified_of
from assay.impl.gpu import features
from assay.impl.gpu.kernel_graph import plan, polynomial
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
    points: Any, vectors: Any, *, function: Any, parameter: float = 1.0, error: float = 1e-6, diagonal: float = 0.0,
    targets: Any = None, route: str | None = "polynomial", bounds: Any = None, memory: int = 1 << 30,
    machine: Any = None, laplacian: bool = False,
) -> Any:  # fmt: skip
    """:func:`assay.impl.gpu.kernel_graph.multiply` on a CPU."""
    given = points, vectors, targets, function, parameter, error, diagonal, route, bounds, memory
    return run(machine or Emulated(), *given, laplacian=laplacian)


def drawn(n: int, d: int, columns: int, dtype: str = "float64", seed: int = 0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    return rng.uniform(-0.5, 0.5, (n, d)).astype(dtype), rng.standard_normal((n, columns)).astype(dtype)


def off(found: Any, points: Any, vectors: Any, **options: Any) -> Any:
    """The least error of a result, against balls."""
    return define(Instance(points, vectors, **options), 2.0**-70).least_error(found.value)


@needs_compiler
@pytest.mark.claim("GPU-19")
@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.thorough)])
def test_the_certificate_holds_for_every_function_and_way_to_ask(dtype: str) -> None:
    for function, parameter, share in FUNCTIONS:
        points, vectors = drawn(130, 2, 9, dtype)
        options: dict[str, Any] = {"function": function, "parameter": parameter}
        error = share * float(np.abs(vectors).sum(axis=0).max())
        ways: list[dict[str, Any]] = [{}, {"diagonal": 0.5}, {"targets": points[:40] * 1.5}]
        for way in ways if dtype == "float64" else ways[1:]:
            found = multiply(points, vectors, error=error, **options, **way)
            assert found.value.dtype == points.dtype
            assert found.route.startswith("polynomial on the device")
            wrong = off(found, points, vectors, **options, **way)
            assert (wrong <= found.error).all(), (function, way)
            allowed = error + 2.0**-23 * np.abs(found.value).max() * (dtype == "float32")
            assert (found.error <= allowed).all(), (function, way)


@needs_compiler
@pytest.mark.claim("GPU-19")
def test_every_span_of_many_points_is_summed() -> None:
    points, vectors = drawn(4500, 1, 1)
    options: dict[str, Any] = {"function": "gaussian", "parameter": 0.5, "targets": points[:3]}
    found = multiply(points, np.abs(vectors), error=1e-3, **options)
    assert (off(found, points, np.abs(vectors), **options) <= found.error).all()
    assert (found.error <= 1e-3).all()


@needs_compiler
@pytest.mark.claim("GPU-19")
@pytest.mark.parametrize("error", [0.1, 1e-4])
def test_half_of_what_the_polynomial_of_a_gaussian_errs_is_not_enough(error: float) -> None:
    """Weights of pairs that coincide: P(t)e^(−t) errs by its bound at some t = 2λ|x|² of points of a line."""
    points = np.linspace(-1.0, 1.0, 161)[:, None]
    found = multiply(points, np.eye(161), function="gaussian", parameter=0.8, error=error, targets=points)
    wrong = np.abs(np.diag(found.value) - 1.0)
    assert (0.5 * found.error < wrong[:, None]).any()
    assert (wrong <= np.diag(found.error)).all()


@needs_compiler
@pytest.mark.claim("GPU-19")
def test_half_of_what_a_points_own_weight_errs_is_not_enough() -> None:
    """A point that no other is near: what is left of its own vector is what subtracting it as 1 is wrong by."""
    points = np.concatenate([np.linspace(-1.0, 1.0, 161)[:, None], np.zeros((161, 1))], axis=1)
    vectors = np.eye(161)
    known = Known(1.0, 1.0, 1.0)
    made = plan.planned("gaussian", 0.8, Shape(161, 161, 2, 161, graph=True), known, 1e-4, 1 << 30)
    given = polynomial.measured(Emulated(), points, None, vectors)
    value, _ = polynomial.summed(Emulated(), given, made, 0.0)
    own = np.abs(np.diag(value)).max()
    assert 0.5 * made.doubt < own <= made.doubt


@needs_compiler
@pytest.mark.claim("GPU-19")
@pytest.mark.parametrize(("function", "parameter"), [("rational", 1.5), ("inverse_multiquadric", 2.0)])
def test_half_of_what_the_polynomial_of_a_power_errs_is_not_enough(function: str, parameter: float) -> None:
    """One source at an end of a line of targets, on which every squared distance up to the largest occurs."""
    targets = np.linspace(-0.5, 0.5, 200)[:, None]
    points, vectors = np.array([[-0.5], [0.5]]), np.array([[1.0], [0.0]])
    options: dict[str, Any] = {"function": function, "parameter": parameter, "targets": targets}
    found = multiply(points, vectors, error=1e-4, **options)
    wrong = off(found, points, vectors, **options)
    assert (wrong <= found.error).all()
    assert (wrong > 0.5 * found.error).any()


@needs_compiler
@pytest.mark.claim("GPU-19")
def test_half_the_rounding_to_float32_is_not_enough() -> None:
    """Σ of one weight of 1, and of what makes it as far from a number of float32 as it may be."""
    points, targets = np.zeros((2, 1), np.float32), np.full((1, 1), 1.0, np.float32)
    vectors = np.array([[1.0], [2.0**-24 * (1 - 2.0**-20)]], np.float32)
    found = multiply(points, vectors, function="polynomial", targets=targets)
    wrong = off(found, points, vectors, function="polynomial", targets=targets)
    assert 0.5 * found.error < wrong <= found.error


@needs_compiler
@pytest.mark.thorough
@pytest.mark.claim("GPU-19")
def test_where_scores_reach_from_e_to_the_minus_11_to_e_to_the_11_the_certificate_holds() -> None:
    """2λ⟨x, y⟩ up to 11, of either sign, and weights down to e^−22, by which no error is divided."""
    points, vectors = np.linspace(-1.0, 1.0, 40)[:, None], drawn(40, 1, 1)[1]
    found = multiply(points, vectors, function="gaussian", parameter=5.4, error=1e-2)
    wrong = off(found, points, vectors, function="gaussian", parameter=5.4)
    assert (wrong <= found.error).all()
    assert (found.error <= 1e-2).all()


@needs_compiler
@pytest.mark.claim("GPU-19")
@pytest.mark.parametrize(
    ("function", "parameter", "far", "size", "error"),
    [
        ("polynomial", 8.0, 2.0**-70, 2.0**900, 1e-10),
        ("polynomial", 8.0, 700.0, 3 * 2.0**-1070, 1e-250),
        ("polynomial", 1.0, 2.0**-190, 2.0**300, 1e-30),
        ("gaussian", 1.0, 1e-200, 3 * 2.0**-1070, 1e-300),
        ("gaussian", 1e100, 1e-50, 1.0, 1e-6),
        ("rational", 2.0, 0.5, 2.0**990, 2.0**975),
    ],
)
def test_at_the_ends_of_float64_the_certificate_holds(
    function: str, parameter: float, far: float, size: float, error: float
) -> None:
    points, vectors = np.array([[0.0], [far], [0.475 * far]]), np.full((3, 1), size)
    options: dict[str, Any] = {"function": function, "parameter": parameter}
    found = multiply(points, vectors, error=error, **options)
    assert (off(found, points, vectors, **options) <= found.error).all()
    assert np.isfinite(found.error).all()


@needs_compiler
def test_an_error_below_what_may_underflow_is_refused_and_met_above_it() -> None:
    points, vectors = drawn(4, 1, 1)
    for function, parameter, _ in FUNCTIONS:
        options: dict[str, Any] = {"function": function, "parameter": parameter}
        assert (multiply(points, vectors * 1e-315, error=1e-300, **options).error <= 1e-300).all()
        with pytest.raises(Infeasible, match="the certificate of degree"):
            multiply(points, vectors * 1e-315, error=1e-301, **options)


@pytest.mark.claim("GPU-19")
@pytest.mark.parametrize("reach", [2.0**380 * (1 + 2.0**-50), 2.0**380, 2.0**381 * (1 - 2.0**-53)])
def test_no_point_is_farther_than_the_scale(reach: float) -> None:
    known = Known(reach / (1.0 + 2.0**-30), 0.0, 1e-300)
    made = plan.planned("gaussian", 2.0**-770, Shape(2, 1, 1, 1, graph=False), known, 1e-2, 1 << 30)
    assert made.scale / 2.0 < made.reach <= made.scale


@needs_compiler
@pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")  # NumPy's, as the machine of a test
@pytest.mark.claim("GPU-19")
def test_numbers_that_are_not_finite_or_overflow_have_no_certificate() -> None:
    points, vectors = drawn(20, 2, 3)
    options: dict[str, Any] = {"function": "gaussian", "bounds": (0.8, 100.0)}
    for wrong in (math.nan, math.inf):
        with_point, with_vector = points.copy(), vectors.copy()
        with_point[3, 1], with_vector[3, 1] = wrong, wrong
        assert np.isinf(multiply(with_point, vectors, **options).error).all()
        found = multiply(points, with_vector, **options)
        assert np.isinf(found.error[:, 1]).all()
        assert np.isfinite(found.error[:, [0, 2]]).all()
        found = multiply(points, vectors, targets=with_point, **options)
        assert np.isinf(found.error).all()
    large = np.full((3, 1), 3e38, np.float32)
    found = multiply(np.zeros((3, 1), np.float32), large, error=1e36, function="gaussian")
    assert np.isinf(found.value).all()
    assert np.isinf(found.error).all()


@needs_compiler
@pytest.mark.claim("GPU-19")
def test_with_bounds_nothing_is_waited_for_and_a_broken_promise_leaves_no_certificate() -> None:
    points, vectors = drawn(30, 2, 2)
    points[:4] = [[-0.5, -0.5], [-0.5, 0.5], [0.5, -0.5], [0.5, 0.5]]  # the middle is 0, and these are the farthest
    promised = (math.sqrt(0.5), float(np.abs(vectors).sum(axis=0).max()))
    for function, parameter, share in FUNCTIONS:
        options: dict[str, Any] = {"function": function, "parameter": parameter}
        ways = ((None, 1.0), (points, 1.0), (None, 1.001), (1.001 * points, 1.0), (0.5 * points, 1.001))
        for targets, factor in ways:
            error, moved = share * promised[1], factor * points
            found = multiply(moved, vectors, targets=targets, machine=Deaf(), bounds=promised, error=error, **options)
            assert (off(found, moved, vectors, targets=targets, **options) <= found.error).all()
            kept = factor == 1.0 and (targets is None or targets is points)
            assert (found.error <= error).all() if kept else np.isinf(found.error).all()


@needs_compiler
@pytest.mark.claim("GPU-19")
def test_every_order_of_threads_and_blocks_gives_the_same_bits() -> None:
    points, vectors = drawn(700, 4, 10, "float32")
    for function, error in (("gaussian", 1e-3), ("inverse_multiquadric", 30.0)):
        options: dict[str, Any] = {"function": function, "parameter": 0.5, "error": error, "targets": points[:45]}
        orders = ORDERS if function == "gaussian" else ORDERS[:1]
        first, *others = (multiply(points, vectors, machine=Emulated(order), **options) for order in orders)
        others.append(multiply(np.asfortranarray(points), vectors[::-1][::-1], **options))
        for other in others:
            assert np.array_equal(first.value, other.value)
            assert np.array_equal(first.error, other.error)


@pytest.mark.claim("GPU-19")
@pytest.mark.parametrize(("d", "degree"), [(1, 1), (1, 7), (3, 4), (8, 3), (2, 9)])
def test_features_are_those_of_the_matrix(d: int, degree: int) -> None:
    """φ(x)ᵀMφ(y) is Σ_k a_k|x − y|^(2k), in integers."""
    rng = np.random.default_rng(d)
    coefficients = tuple(float(a) for a in rng.integers(-3, 4, degree + 1))
    joined = plan._joined(d, degree, coefficients)
    of = features.table(Emulated(), d + 1, degree, joined.those)
    x, y = rng.integers(-2, 3, (2, d))

    def featured(x: Any) -> Any:
        coordinates, small = [*map(int, x), int(x @ x)], [1]
        for parent, variable in zip(of.parent[1:], of.variable[1:], strict=True):
            small.append(small[parent] * coordinates[variable])
        return [math.prod(small[part] for part in parts) for parts in of.parts]

    left, right = featured(x), featured(y)
    assert len(left) == joined.rank == len(joined.those)
    rows = np.repeat(np.arange(joined.rank), np.diff(joined.starts))
    entries = zip(rows, joined.columns, joined.entries, strict=True)
    found = sum(left[r] * int(m) * right[c] for r, c, m in entries)
    z = int((x - y) @ (x - y))
    assert found == sum(int(a) * z**k for k, a in enumerate(coefficients))


@pytest.mark.claim("GPU-19")
def test_sums_of_sizes_of_a_gaussian_are_bounded_between_the_points_of_their_grid() -> None:
    for lam in (0.01, 1.0, 3.0):
        found = plan.smooth.least_degree("gaussian", lam, 2, 4.0, 1.0, 0.0, 1e-3)
        bound = plan._largest_sum(found)
        t = np.linspace(0.0, found.high, 100_003)
        sizes = np.polynomial.polynomial.polyval(t, np.abs(found.coefficients)) * np.exp(-t)
        assert sizes.max() <= bound <= 1.1 * sizes.max()


@needs_compiler
def test_no_more_memory_is_taken_than_is_allowed() -> None:
    points, vectors = drawn(5000, 1, 1, "float32")
    targets = points[:3]
    options: dict[str, Any] = {"function": "rational", "error": 1.0, "targets": targets}
    for memory in (1 << 30, 260_000):
        counting = Counting()
        found = multiply(points, vectors, memory=memory, machine=counting, **options)
        arrays = 2 * 8 * 5000  # which CuPy takes for the sizes of the vectors
        assert sum(counting.taken) + arrays <= memory
        assert np.isfinite(found.error).all()
    with pytest.raises(Infeasible, match=r"needs 0.2[34] MiB, more than the 0.219 MiB allowed"):
        multiply(points, vectors, memory=230_000, **options)


# --- the choice of a route, and refusals


@needs_compiler
@pytest.mark.claim("GPU-19")
def test_the_route_is_the_one_asked_for_or_is_predicted_to_be_the_faster_one(monkeypatch: pytest.MonkeyPatch) -> None:
    points, vectors = drawn(40, 2, 2)
    asked = [multiply(points, vectors, function="gaussian", route=route).route for route in ("direct", "polynomial")]
    assert asked[0] == "all pairs in float64 on the device; as asked for"
    assert asked[1].startswith("polynomial on the device: degree")
    assert asked[1].endswith("as measured; as asked for")
    few = multiply(points, vectors, function="gaussian", route=None).route
    assert few.endswith("; of few points")
    assert multiply(points, vectors, function="laplacian", route=None).route.endswith(
        "no other route serves the function"
    )
    assert multiply(points, vectors, function="polynomial", route=None).route.startswith("polynomial on the device")
    monkeypatch.setattr(plan, "_LAUNCHES", 0.0)
    exact = multiply(points, vectors, function="gaussian", route=None, error=1e-300).route
    assert "polynomial: error 1e-300: the certificate of degree" in exact
    assert multiply(points, vectors, function="gaussian", route=None).route.endswith("predicted to be the faster route")
    shape = Shape(200_000, 200_000, 3, 1, graph=True)
    made = plan.planned("gaussian", 1.0, shape, Known(0.5, 0.5, 1e5), 1e-3, 1 << 30)
    assert plan.polynomial_work(shape, made) < plan.direct_work(shape)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"error": 0.0}, "error: 0.0, expected a positive finite number"),
        ({"route": "tree"}, "route: 'tree', expected one of direct, polynomial or None"),
        ({"bounds": (1.0, -1.0)}, "bounds:"),
        ({"memory": 0}, "memory: 0"),
    ],
)
def test_other_requests_are_refused_by_name(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        multiply(*drawn(3, 2, 1), function="gaussian", **options)


def test_what_no_polynomial_serves_is_refused_by_name() -> None:
    points, vectors = drawn(4, 2, 1)
    with pytest.raises(
        NotImplementedError, match="function: 'matern', expected one of gaussian, inverse_multiquadric, p"
    ):
        multiply(points, vectors, function="matern", parameter=0.5)
    with pytest.raises(NotImplementedError, match="function: 'coulomb', expected one of gaussian"):
        multiply(points, vectors, function="coulomb", route=None)
    with pytest.raises(InvalidInstance, match="points: dtype float16"):
        multiply(points.astype(np.float16), vectors.astype(np.float16), function="gaussian")

    def made(
        known: Known, name: str = "gaussian", parameter: float = 1.0, error: float = 1e-3, d: int = 2
    ) -> plan.Plan:
        return plan.planned(name, parameter, Shape(10, 10, d, 1, graph=True), known, error, 1 << 30)

    with pytest.raises(Infeasible, match=r"2λ⟨x, y⟩ may be 50, more than 30"):
        made(Known(5.0, 5.0, 1.0))
    with pytest.raises(Infeasible, match="up to inf from their middle"):
        made(Known(math.inf, 1.0, 1.0))
    with pytest.raises(Infeasible, match="vectors sum up to nan"):
        made(Known(1.0, 1.0, math.nan))
    with pytest.raises(Infeasible, match="the certificate of degree"):
        made(Known(1.0, 1.0, 1.0), error=1e-18)
    with pytest.raises(Infeasible, match="more than 20000"):
        made(Known(1.0, 1.0, 1.0), d=400)
    with pytest.raises(Infeasible, match="leave float64"):
        made(Known(2.0**100, 2.0**100, 1.0), "polynomial", 4.0, 1e300)


# --- the judge's word


@needs_compiler
@pytest.mark.claim("GPU-19")
def test_the_judge_holds_it_to_the_error_asked_and_to_its_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    given = certified_of(multiply, "polynomial", "polynomial", "numpy", "")
    judge = Judge(kernel_of(given, "kernel_graph", options={"error": 1e-3}), precision("float32"))
    family = Family("test", "a known error", "here")
    points, vectors = drawn(60, 2, 3, "float32")

    def outcome(factor: float, function: str, parameter: float) -> Any:
        asked = Instance(factor * points, vectors, function=function, parameter=parameter)
        return judge.outcome(Case("case", family, asked))

    found = [outcome(*case) for case in ((1, "gaussian", 0.7), (1, "rational", 1.5), (100, "gaussian", 0.7))]
    assert [each.status for each in found] == ["passed", "passed", "declined"]
    assert found[0].ratio > 1e-6
    planned = plan.planned
    for spoiled in ({"floor": 0.0}, {"doubt": 0.0, "floor": 1e-9}):
        monkeypatch.setattr(plan, "planned", lambda *x, **y: dataclasses.replace(planned(*x, **y), **spoiled))  # noqa: B023
        assert outcome(1, "gaussian", 0.7).failed


@needs_compiler
@pytest.mark.thorough
@pytest.mark.claim("GPU-19")
@pytest.mark.parametrize(("route", "name"), [("polynomial", "float32"), ("polynomial", "float64"), (None, "float32")])
def test_it_conforms(route: str | None, name: str) -> None:
    kernel, asked = certified_of(multiply, "multiply", route, "numpy", ""), {"error": "1e-3"}
    report = assay.check(kernel, "kernel_graph", precision=name, level="standard", options=asked, seconds=900.0)
    assert report.passed, report
