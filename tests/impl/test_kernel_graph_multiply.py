"""Multiplication with a kernel graph on the CPU: exact within its class, fast routes within their certificates."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from mpmath import mp

from assay.impl import cpu
from assay.impl.cpu.kernel_graph import gaussians, grid, near, polynomial, rounding
from assay.impl.cpu.kernel_graph.direct import planned as direct
from assay.impl.cpu.kernel_graph.multiply import completed
from assay.impl.cpu.kernel_graph.problem import box_of, checked
from assay.spec.approximation import Infeasible
from assay.spec.kernel_graph import Function, Instance, define, tolerance
from assay.spec.problem import InvalidInstance

FUNCTIONS = [
    ("gaussian", 3.0), ("gaussian", 400.0), ("laplacian", 2.0), ("rational", 1.5), ("rational", 0.3), ("coulomb", 0.5),
    ("coulomb", 2.0), ("matern", 0.5), ("matern", 1.5), ("matern", 2.5), ("inverse_multiquadric", 5.0),
    ("polynomial", 3), ("threshold", 0.3),
]  # fmt: skip
OPTIONS: list[dict[str, Any]] = [{}, {"laplacian": True}, {"diagonal": 2.5}, {"targets": True}]
CLUSTERED = ("uniform", "clusters", "far", "line")


def points(seed: int, n: int, d: int, kind: str = "uniform") -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.random((n, d))
    if kind == "clusters":
        x = 1e-3 * x + rng.integers(0, 3, (n, 1))
    elif kind == "far":
        x = x + 1e3
    elif kind == "line":
        x = np.linspace(0.0, 1.0, n)[:, None] * np.ones(d)
    return x


def vectors(seed: int, n: int, columns: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, columns))


def given(options: dict[str, Any], seed: int, d: int, dtype: str) -> dict[str, Any]:
    return {**options, "targets": (points(seed, 9, d) + 0.01).astype(dtype)} if "targets" in options else options


def within(found: Any, instance: Instance) -> float:
    """The largest |value − exact|/certificate, against balls."""
    exact = define(instance, 1e-25)
    allowed = np.broadcast_to(found.error, found.value.shape)
    return float(exact.ratio(found.value.astype(np.float64), allowed).max())


# --- exact ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("function", "parameter"), FUNCTIONS)
def test_exact_stays_within_the_tolerance_of_its_class(function: str, parameter: float, dtype: str) -> None:
    x, v = points(1, 30, 3).astype(dtype), vectors(1, 30).astype(dtype)
    for options in OPTIONS:
        options = given(options, 2, 3, dtype)
        instance = Instance(x, v, function=function, parameter=parameter, **options)
        out = cpu.kernel_graph.exact(x, v, function=function, parameter=parameter, **options)
        ratio = define(instance, 1e-20).ratio(out.astype(np.float64), tolerance(instance, dtype))
        assert out.dtype == x.dtype
        assert float(ratio.max()) <= 1.0


def test_exact_takes_arc_cosines_on_the_sphere() -> None:
    x = points(3, 20, 4) - 0.5
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    for order in (0, 1, 2):
        instance = Instance(x, vectors(3, 20), function="arc_cosine", parameter=order)
        out = cpu.kernel_graph.exact(x, instance.vectors, function="arc_cosine", parameter=order)
        assert float(define(instance, 1e-20).ratio(out, tolerance(instance, "float64")).max()) <= 1.0
        found = cpu.kernel_graph.multiply(x, instance.vectors, function="arc_cosine", parameter=order, error=1e-4)
        assert within(found, instance) <= 1.0


def test_exact_does_not_depend_on_the_number_of_threads_and_reports_progress() -> None:
    x, v, told = points(4, 700, 2), vectors(4, 700), []
    one = cpu.kernel_graph.exact(x, v, function="gaussian", threads=1)
    two = cpu.kernel_graph.exact(x, v, function="gaussian", threads=3, progress=lambda *a: told.append(a))
    assert np.array_equal(one, two)
    assert told[-1] == (700, 700)


@pytest.mark.claim("KG-20")
@pytest.mark.parametrize(("dtype", "unit", "least"), [("float64", 2.0**-53, 708.0), ("float32", 2.0**-24, 87.0)])
def test_the_exponential_errs_by_eight_units_at_most(dtype: str, unit: float, least: float) -> None:
    rng = np.random.default_rng(5)
    edges = np.arange(1, 40) * math.log(2.0) / 2.0
    z = np.concatenate([rng.uniform(0.0, least, 300), rng.random(300), edges, [0.0, least, 2.0 * least]]).astype(dtype)
    # one pair each: the distance is read off `polynomial`, so that only the exponential is judged
    x = np.sqrt(z.astype(np.float64)).astype(dtype)[:, None]
    zero, one = np.zeros((1, 1), dtype), np.ones((1, 1), dtype)
    apart = cpu.kernel_graph.exact(zero, one, function="polynomial", parameter=1, targets=x)[:, 0]
    found = cpu.kernel_graph.exact(zero, one, function="gaussian", parameter=1.0, targets=x)[:, 0]
    smallest = float(np.finfo(dtype).tiny)
    with mp.workdps(40):
        for t, y in zip(apart.tolist(), found.tolist(), strict=True):
            exact = mp.exp(-mp.mpf(t))
            assert abs(mp.mpf(y) - exact) <= 8 * unit * exact or (y == 0.0 and exact < 4 * smallest)


# --- the grid (KG-8) --------------------------------------------------------------------------------------------------


def entries_of(plan: Any, n: int) -> np.ndarray:
    return np.asarray(plan.apply(np.eye(n)))


def gauss(x: np.ndarray, y: np.ndarray, decay: float) -> np.ndarray:
    with mp.workdps(30):
        return np.array(
            [[float(mp.exp(-mp.mpf(decay) * sum((mp.mpf(a) - mp.mpf(b)) ** 2 for a, b in zip(p, q, strict=True))))
              for q in y.tolist()] for p in x.tolist()]
        )  # fmt: skip


def on_grid(x: np.ndarray, targets: np.ndarray | None, *rest: float) -> grid.Gaussian:
    return grid.gaussian(x, targets, box_of(x, targets), *rest)


@pytest.mark.claim("KG-8")
@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize(("above", "below"), [(0.3, 1e-9), (1e-9, 0.1), (1e-3, 1e-3), (1e-8, 1e-10)])
def test_weights_of_a_grid_are_between_its_bounds(d: int, above: float, below: float) -> None:
    x = np.concatenate([points(6, 12, d), points(7, 6, d, "clusters")])
    plan = on_grid(x, x, 2.5, above, below, 1 << 28, 1)
    exact, found = gauss(x, x, 2.5), entries_of(plan, len(x))
    rounded = plan.rounding * 2.0
    assert plan.relative <= above
    assert plan.floor <= below
    assert (found <= (1.0 + plan.relative + rounded) * exact + 1e-300).all()
    assert (found >= (1.0 - plan.relative - rounded) * exact - plan.floor).all()


@pytest.mark.claim("KG-8")
@pytest.mark.parametrize("d", [1, 2, 3])
def test_half_the_aliasing_of_a_grid_is_not_enough(d: int) -> None:
    """cos(πm(x + y)/h) is 1 at the nodes: the bound is attained."""
    design = grid.designed(2.5, d, 0.2, 1e-12)
    x = np.outer(np.arange(3.0), np.ones(d)) * design.step
    plan = on_grid(x, x, 2.5, 0.2, 1e-12, 1 << 28, 1)
    exact, found = gauss(x, x, 2.5), entries_of(plan, 3)
    assert (found / exact - 1.0).max() > 0.99 * plan.relative


@pytest.mark.claim("KG-8")
def test_the_truncation_of_a_grid_is_not_vacuous() -> None:
    """Two points at the distance of the window, between two nodes: the sum lacks a fifth of the bound."""
    design = grid.designed(2.5, 1, 1e-12, 0.2)
    x = np.linspace(0.0, 2.0 * design.width * design.step, 401)[:, None]
    plan = on_grid(x, x[:1], 2.5, 1e-12, 0.2, 1 << 28, 1)
    lost = (gauss(x[:1], x, 2.5) - entries_of(plan, len(x))).max()
    assert 0.1 * plan.floor < lost <= plan.floor * (1.0 + 1e-9)


def test_a_grid_refuses_what_it_cannot_place() -> None:
    x = points(8, 20, 2)
    with pytest.raises(Infeasible, match="MiB are allowed"):
        on_grid(x, None, 1e8, 1e-6, 1e-6, 1 << 16, 1)
    with pytest.raises(Infeasible, match="away from the origin"):
        on_grid(x + 1e12, None, 1.0, 1e-6, 1e-6, 1 << 28, 1)
    with pytest.raises(Infeasible, match="nodes an axis"):
        grid.designed(1.0, 1, 1e-300, 1e-300)


def test_slices_of_a_grid_do_not_change_what_is_summed() -> None:
    x, v = points(9, 20000, 2), vectors(9, 20000, 1)
    one, two = (on_grid(x, None, 50.0, 1e-9, 1e-9, 1 << 28, w) for w in (1, 3))
    assert len(one.nodes.slices) == 2
    assert np.array_equal(one.apply(v), two.apply(v))
    some = np.arange(0, 20000, 400)
    found = cpu.kernel_graph.exact(x, v, function="gaussian", parameter=50.0, targets=x[some]) - v[some]
    assert np.abs(one.apply(v)[some] - found).max() < 1e-9 * np.abs(v).sum()


# --- polynomials (KG-6, KG-7) -----------------------------------------------------------------------------------------


@pytest.mark.claim("KG-6")
@pytest.mark.parametrize(("d", "p"), [(1, 2), (1, 4), (2, 3), (3, 2), (3, 3), (5, 2)])
def test_a_polynomial_of_the_distance_has_the_rank_of_the_features_and_no_less(d: int, p: int) -> None:
    rng = np.random.default_rng(10)
    rank = polynomial.rank(d, p)
    x, y = rng.uniform(-1, 1, (2, rank + 20, d))
    z = ((x[:, None] - y) ** 2).sum(axis=2)
    weights = np.polynomial.polynomial.polyval(z / 4.0, rng.uniform(1, 2, p + 1))
    singular = np.linalg.svd(weights, compute_uv=False)
    assert polynomial.basis(d, p).rank == rank
    assert singular[rank - 1] > 1e-13 * singular[0] > 1e-2 * singular[rank]


@pytest.mark.claim("KG-6")
@pytest.mark.parametrize(("d", "p"), [(1, 8), (2, 4), (3, 3), (6, 2)])
def test_sums_with_a_power_of_the_distance_are_certified(d: int, p: int) -> None:
    for kind in CLUSTERED:
        x, v = points(11, 40, d, kind), vectors(11, 40)
        for options in OPTIONS:
            options = given(options, 12, d, "float64")
            instance = Instance(x, v, function="polynomial", parameter=p, **options)
            found = cpu.kernel_graph.multiply(
                x, v, function="polynomial", parameter=p, error=1e60, route="polynomial", **options
            )
            assert within(found, instance) <= 1.0


@pytest.mark.claim("KG-6")
@pytest.mark.parametrize(("d", "p", "n", "columns"), [(1, 0, 5, 1), (2, 5, 128, 3), (3, 4, 300, 1), (5, 3, 1025, 2)])
@pytest.mark.parametrize("pure", [False, True], ids=["squared distance", "products"])
def test_moments_and_sums_of_features_are_those_of_the_products_written_out(
    d: int, p: int, n: int, columns: int, pure: bool
) -> None:
    x, weights = points(15, n, d) - 0.5, vectors(16, polynomial.rank(d, p), columns)
    basis = polynomial.monomials(d, p) if pure else polynomial.basis(d, p)
    square = (x * x).sum(axis=1)
    pairs = [(alpha, 0) for alpha in itertools.product(range(p + 1), repeat=d) if sum(alpha) <= p]
    pairs += [] if pure else [(alpha, p - sum(alpha)) for alpha, _ in pairs if sum(alpha) < p]
    features = {each: np.prod(x ** np.array(each[0]), axis=1) * square ** each[1] for each in pairs}
    rows = sorted(features.values(), key=lambda row: tuple(row))

    def factors(part: np.ndarray) -> np.ndarray:
        squares = (part * part).sum(axis=1)
        return np.array([*part.T, *(squares**k for k in range(p + 1))])

    v = vectors(17, n, columns)
    found = polynomial.moments(basis, factors, x, v, 2)
    every = polynomial.moments(basis, factors, x, np.eye(n), 1)
    assert np.allclose(every[np.lexsort(every.T[::-1].round(12))], np.array(rows).round(12), rtol=1e-9, atol=1e-11)
    assert np.allclose(found, every @ v, rtol=1e-12, atol=1e-12)
    taken = weights[: basis.rank]
    assert np.allclose(polynomial.evaluated(basis, factors, x, taken, 2), every.T @ taken, rtol=1e-12, atol=1e-12)


@pytest.mark.claim("KG-6")
@pytest.mark.parametrize("n", [1, 127, 128, 129, 1024, 1025, 2048, 5000, 65536, 65537, 10**6])
def test_a_term_meets_as_many_additions_as_are_counted(n: int) -> None:
    """128 points of a chunk in any order, the chunks of a table, at most 64 tables, and the features."""
    chunks = [min(128, n - first) for first in range(0, n, 128)]
    together = max(8, math.ceil(len(chunks) / 64))
    tables = [chunks[first : first + together] for first in range(0, len(chunks), together)]
    assert len(tables) <= 64
    assert polynomial.additions(n, 7) == max(chunks) + max(map(len, tables)) + len(tables) + 7


@pytest.mark.claim("KG-7")
@pytest.mark.parametrize(
    ("function", "parameter"), [("gaussian", 0.7), ("rational", 1.5), ("inverse_multiquadric", 0.8)]
)
def test_smooth_functions_by_polynomials_are_certified_and_not_vacuous(function: str, parameter: float) -> None:
    worst = 0.0
    for d, dtype in ((1, "float64"), (3, "float64"), (2, "float32")):
        x = np.concatenate([points(13, 30, d), np.zeros((5, d)), np.ones((5, d))]).astype(dtype)
        v = np.abs(vectors(13, 40)).astype(dtype)
        for options in OPTIONS:
            options = given(options, 14, d, dtype)
            instance = Instance(x, v, function=function, parameter=parameter, **options)
            found = cpu.kernel_graph.multiply(
                x, v, function=function, parameter=parameter, error=0.2, route="polynomial", **options
            )
            ratio = within(found, instance)
            worst = max(worst, ratio)
            assert ratio <= 1.0
            assert (found.error <= 0.2).all()
    assert worst > 0.02


# --- sums of Gaussians (KG-11) ----------------------------------------------------------------------------------------

COMPLETELY_MONOTONE = [f for f in FUNCTIONS if f[0] in gaussians.FUNCTIONS]


def exactly(function: str, parameter: float, z: Any) -> Any:
    s = mp.sqrt(z)
    return {
        "coulomb": lambda: mp.mpf(z) ** -parameter,
        "rational": lambda: (1 + mp.mpf(z)) ** -parameter,
        "inverse_multiquadric": lambda: 1 / mp.sqrt(1 + parameter * mp.mpf(z)),
        "laplacian": lambda: mp.exp(-parameter * s),
        "matern": lambda: mp.mpf(2) ** (1 - parameter) / mp.gamma(parameter) * (mp.sqrt(2 * parameter) * s) ** parameter
        * mp.besselk(parameter, mp.sqrt(2 * parameter) * s),
    }[function]()  # fmt: skip


@pytest.mark.claim("KG-11")
@pytest.mark.parametrize(("function", "parameter"), COMPLETELY_MONOTONE)
def test_a_mixture_of_gaussians_is_within_its_bound(function: str, parameter: float) -> None:
    worst = 0.0
    with mp.workdps(30):
        for error in (1e-2, 1e-5):
            made = gaussians.mixture(function, parameter, 0.01, 3.0, error)
            assert made.lost <= error
            for z in np.geomspace(0.01, 3.0, 23).tolist():
                total = mp.fsum(c * mp.exp(-t * mp.mpf(z)) for t, c in zip(made.rates, made.masses, strict=True))
                off = abs(total / exactly(function, parameter, z) - 1)
                worst = max(worst, float(off / made.lost))
    assert 0.05 < worst <= 1.0


@pytest.mark.claim("KG-11")
@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize(("function", "parameter"), COMPLETELY_MONOTONE)
def test_sums_of_gaussians_are_certified(function: str, parameter: float, d: int) -> None:
    x, v = points(15, 60, d, "uniform" if d > 1 else "line"), vectors(15, 60)
    for radius in (0.3, 0.06):
        scene = checked(x, v, function, parameter, False, 0.0, None).scene
        plan = gaussians.planned(scene, 1e-3, 0.0, radius, 1 << 28, 1)
        found = entries_of(plan, 60)
        with mp.workdps(30):
            for i in range(0, 60, 7):
                for j in range(60):
                    if i != j:
                        z = sum((mp.mpf(a) - mp.mpf(b)) ** 2 for a, b in zip(x[i].tolist(), x[j].tolist(), strict=True))
                        w = float(exactly(function, parameter, z))
                        assert abs(found[i, j] - w) <= (plan.relative + plan.rounding) * w + plan.floor
        assert np.abs(np.diag(found)).max() <= float(np.max(plan.doubt(np.ones(1))))


def test_functions_that_end_need_no_near_pairs() -> None:
    scene = checked(points(16, 50, 2), vectors(16, 50), "rational", 1.0, False, 0.0, None).scene
    plan = gaussians.planned(scene, 1e-4, 0.0, 0.0, 1 << 28, 1)
    exact = cpu.kernel_graph.exact(scene.points, np.eye(50), function="rational", parameter=1.0)
    assert plan.near is None
    assert np.abs(plan.apply(np.eye(50)) - exact).max() < 1e-4
    scene = checked(points(16, 50, 2), vectors(16, 50), "laplacian", 1.0, False, 0.0, None).scene
    with pytest.raises(Infeasible):
        gaussians.planned(scene, 1e-4, 0.0, 0.0, 1 << 28, 1)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_every_near_pair_is_found_once_and_no_other(d: int) -> None:
    for kind in CLUSTERED:
        for n, radius in ((60, 0.2), (200, 0.011), (7, 5.0)):
            x = points(17, n, d, kind)
            y = np.concatenate([points(18, 30, d, kind), x[:3] + radius, x[:2] - 9.0])
            for goals in (None, y):
                plan = near.near(x, goals, radius * radius, (6, 0.0, 0.0, 1.0), np.zeros(0), 1)  # f(z) = z
                z = (((x if goals is None else goals)[:, None] - x) ** 2).sum(axis=2)
                z[z > radius * radius] = 0.0
                assert np.allclose(plan.apply(np.eye(n)), z, rtol=1e-12, atol=0.0)


# --- all pairs, and the certificate (KG-18, KG-19, KG-12) -------------------------------------------------------------


@pytest.mark.claim("KG-18")
@pytest.mark.parametrize(("function", "parameter"), FUNCTIONS)
def test_direct_sums_are_certified_and_not_vacuous(function: str, parameter: float) -> None:
    worst = 0.0
    for d, kind in ((1, "uniform"), (3, "clusters"), (7, "far")):
        x, v = points(19, 25, d, kind), vectors(19, 25)
        for options in OPTIONS:
            options = given(options, 20, d, "float64")
            instance = Instance(x, v, function=function, parameter=parameter, **options)
            found = cpu.kernel_graph.multiply(
                x, v, function=function, parameter=parameter, error=1e300, route="direct", **options
            )
            worst = max(worst, within(found, instance))
            assert worst <= 1.0
    assert worst > 1e-3


@pytest.mark.claim("KG-18")
def test_a_pair_whose_weight_rounding_may_change_is_in_the_certificate() -> None:
    """Distances at a threshold: they may fall on either side, and the certificate says so."""
    x = np.array([[0.0], [0.1 + 0.2], [0.3], [5.0]])
    found = cpu.kernel_graph.multiply(
        x, np.ones((4, 1)), function="threshold", parameter=float(0.3 * 0.3), error=9.0, route="direct"
    )
    assert (found.error[:, 0] >= [1.0, 1.0, 1.0, 0.0]).all()
    assert found.error[3, 0] < 0.1


@pytest.mark.claim("KG-18")
@pytest.mark.parametrize(("function", "parameter"), [("laplacian", 1e162), ("threshold", 0.0), ("matern", 1.5)])
def test_squares_that_underflow_are_in_the_certificate(function: str, parameter: float) -> None:
    x, v = np.array([[0.0], [1e-162], [3e-162]]), np.ones((3, 1))
    instance = Instance(x, v, function=function, parameter=parameter)
    found = cpu.kernel_graph.multiply(x, v, function=function, parameter=parameter, error=99.0, route="direct")
    assert within(found, instance) <= 1.0


@pytest.mark.claim("KG-18")
@pytest.mark.parametrize("route", ["direct", "gaussians"])
def test_points_whose_squared_distance_underflows_are_refused_where_f_is_infinite(route: str) -> None:
    x = np.array([[0.0], [1.234567e-160], [1e-158], [1.0]])
    for options in ({}, {"targets": x[1:2] * 2.0}):
        with pytest.raises(Infeasible, match="whose square float64 does not hold"):
            cpu.kernel_graph.multiply(
                x, np.ones((4, 1)), function="coulomb", parameter=0.5, error=1e155, route=route, **options
            )
    far = np.array([[1e-200], [1.0]])  # a small coordinate alone is no reason
    assert cpu.kernel_graph.multiply(far, np.ones((2, 1)), function="coulomb", route="direct")


@pytest.mark.claim("KG-18")
def test_what_a_function_of_the_users_own_adds_to_a_distance_is_in_the_certificate() -> None:
    """1 + z is rounded, which moves a steep function of it far more than a rounding of z does."""
    steep = Function(
        "steep", lambda z: ((1 + z).log() * -1e5).exp(), lambda z: (1.0 + z) ** -1e5, monotone="decreasing", shift=1.0
    )
    x = 3e-3 * points(25, 6, 1)
    found = cpu.kernel_graph.multiply(x, np.ones((6, 1)), function=steep, error=1e-3)
    assert within(found, Instance(x, np.ones((6, 1)), function=steep)) <= 1.0


@pytest.mark.claim("KG-18")
def test_a_function_of_the_users_own_is_certified() -> None:
    hat = Function("hat", lambda z: (1 - z).max(0), lambda z: np.maximum(1.0 - z, 0.0), monotone="decreasing")
    x, v = points(21, 20, 2), vectors(21, 20)
    for options in OPTIONS:
        options = given(options, 22, 2, "float64")
        instance = Instance(x, v, function=hat, **options)
        assert within(cpu.kernel_graph.multiply(x, v, function=hat, error=1e-9, **options), instance) <= 1.0
        out = cpu.kernel_graph.exact(x, v, function=hat, **options)
        assert float(define(instance, 1e-20).ratio(out, tolerance(instance, "float64")).max()) <= 1.0


@pytest.mark.claim("KG-19")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("seed", range(8))
def test_no_certificate_is_below_the_error(seed: int, dtype: str) -> None:
    rng = np.random.default_rng(seed)
    d, n = int(rng.integers(1, 4)), int(rng.integers(2, 70))
    x = points(seed, n, d, str(rng.choice(CLUSTERED))).astype(dtype)
    v = (vectors(seed, n) * 10.0 ** rng.uniform(-6, 6, 2)).astype(dtype)
    routes = {
        "gaussian": ["grid", "nonuniform", "direct"],
        "laplacian": ["gaussians"],
        "rational": ["gaussians", "polynomial"],
    }
    for function, names in routes.items():
        for options in OPTIONS:
            options = given(options, seed + 99, d, dtype)
            instance = Instance(x, v, function=function, parameter=2.0, **options)
            for route in [*names, None]:
                error = float(10.0 ** rng.uniform(-5, -2) * np.abs(v).sum() * n)
                try:
                    found = cpu.kernel_graph.multiply(
                        x, v, function=function, parameter=2.0, error=error, route=route, **options
                    )
                except Infeasible:
                    assert route is not None
                    continue
                assert (found.error <= error).all()
                assert within(found, instance) <= 1.0


@pytest.mark.claim("KG-19")
@pytest.mark.parametrize("route", ["tree", "gaussians"])
def test_a_route_is_tried_once_more_where_sums_of_weights_are_larger_than_a_sample_shows(route: str) -> None:
    """Two points that no sample of 48 finds are so near each other that their weight exceeds the others' sum."""
    x = np.random.default_rng(1).random((2000, 2))
    x[701] = x[700] + [1e-5, 0.0]
    found = cpu.kernel_graph.multiply(x, np.ones((2000, 1)), function="coulomb", parameter=0.5, error=1.0, route=route)
    assert found.error.max() <= 1.0
    assert f"; {route}: the certificate is" in found.route


@pytest.mark.claim("KG-19")
@pytest.mark.parametrize(("gap", "error"), [(6.176899026192821, 1.4e-4), (6.166674508293178, 1.85e-3), (6.4, 0.2)])
def test_degrees_below_the_rounding_of_a_grid_do_not_lower_a_certificate(gap: float, error: float) -> None:
    """A point without a value of its own, so that only the sum over its distant neighbours is in its certificate."""
    for shift in (0.0, 0.03, 0.1, -0.07):
        x = gap * np.arange(2.0)[:, None] + shift
        v = np.array([[0.0], [1.0]])
        found = cpu.kernel_graph.multiply(
            x, v, function="gaussian", error=error, laplacian=True, entries=True, route="grid"
        )
        assert (found.error > 0.0).all()
        assert within(found, Instance(x, v, function="gaussian", laplacian=True)) <= 1.0


@pytest.mark.claim("KG-19")
@pytest.mark.parametrize("route", ["polynomial", "nonuniform"])
@pytest.mark.parametrize("gap", [3.0, 3.5, 4.0])
def test_degrees_below_the_error_of_a_plan_do_not_lower_a_certificate(gap: float, route: str) -> None:
    for error in (0.3, 1e-2, 1e-3, 1e-5, 1e-7):
        x, v = np.array([[0.0], [gap]]), np.array([[0.0], [1.0]])
        found = cpu.kernel_graph.multiply(x, v, function="gaussian", error=error, laplacian=True, route=route)
        assert within(found, Instance(x, v, function="gaussian", laplacian=True)) <= 1.0


@dataclass(frozen=True, eq=False)
class Worst:
    """A plan whose sums are as far off as its bounds allow, all to one side; the last column is that of degrees."""

    weights: np.ndarray
    side: float
    relative: float = 0.2
    floor: float = 0.01
    rounding: float = 0.0
    lost: float = 0.05
    words: str = "worst"

    def apply(self, v: np.ndarray) -> np.ndarray:
        moved = self.weights + self.side * (self.relative * self.weights + self.floor * (self.weights > 0.0))
        away = np.append(np.full(v.shape[1] - 1, -1.0), 1.0)
        return np.asarray(moved @ v + self.side * self.lost * away * np.abs(v))

    def doubt(self, sizes: np.ndarray) -> np.ndarray:
        return self.lost * sizes


@pytest.mark.claim("KG-19")
@pytest.mark.parametrize("side", [-1.0, 1.0])
@pytest.mark.parametrize("width", [1.0, 4.0, 60.0])
def test_a_certificate_holds_for_the_worst_plan_and_not_with_half_of_any_part(side: float, width: float) -> None:
    """The first point against all others, which are a distance away: every part of the bound is met."""
    n = 9
    x = np.zeros((n, 1))
    x[0] = 1.0
    v = np.full((n, 1), -1.0)
    for own in (1.0, 0.0):
        v[0] = own
        problem = checked(x, v, "gaussian", width, True, 0.0, None)
        weights = np.exp(-width * (x - x.T) ** 2) * (1.0 - np.eye(n))
        exact = weights[0] @ (own - v[:, 0])
        plan = Worst(weights, side)
        value, bound = completed(plan, problem)
        off = abs(float(value[0, 0]) - exact)
        assert off <= float(bound[0, 0])
        assert float(bound[0, 0]) <= 1.5 * off + 0.1


@pytest.mark.claim("KG-19")
def test_a_value_that_overflows_its_type_has_no_certificate() -> None:
    x, v = np.arange(3, dtype=np.float32)[:, None], np.full((3, 1), 3e38, np.float32)
    with pytest.raises(Infeasible, match="the certificate is inf"):
        cpu.kernel_graph.multiply(x, v, function="gaussian", parameter=1e-3, error=1e35)


@pytest.mark.claim("KG-19")
def test_weights_of_either_sign_that_cancel_do_not_lower_a_certificate() -> None:
    log = Function(
        "log", lambda z: -z.log(), lambda z: -np.log(z), monotone="decreasing", singular_at_zero=True, weights=False
    )
    for a in np.random.default_rng(0).uniform(1e-150, 1e-149, 12):
        x, v, targets = np.array([[a], [1.0 / a]]), np.ones((2, 1)), np.zeros((1, 1))
        found = cpu.kernel_graph.multiply(x, v, function=log, targets=targets, error=1.0)
        assert within(found, Instance(x, v, function=log, targets=targets)) <= 1.0


@pytest.mark.claim("KG-12")
@pytest.mark.parametrize("power", [1, 2, 4, 8])
def test_weights_that_increase_are_relative_or_refused(power: int) -> None:
    """The smallest weights are those of near points, not those of the farthest ones."""
    x = np.concatenate([1e-3 * points(26, 4, 2), 1e-3 * points(27, 4, 2) + 10.0])
    exact = define(Instance(x, np.eye(8), function="polynomial", parameter=power), 1e-25)
    found = cpu.kernel_graph.adjacency(x, function="polynomial", parameter=power, error=1e-8, entries=True)
    assert float(exact.ratio(found @ np.eye(8), 1e-8 * np.abs(exact.midpoint) + 1e-300).max()) <= 1.0
    with pytest.raises(Infeasible, match="weights are within"):
        cpu.kernel_graph.multiply(
            x, np.eye(8), function="polynomial", parameter=power, error=1e-8, entries=True, route="polynomial"
        )


@pytest.mark.claim("KG-12")
def test_weights_that_rounding_decides_are_not_called_relative() -> None:
    x = np.array([[0.0, 0.0], [1.0, 1e-9], [0.5, 0.5]])  # 1 + 1e-18 apart
    with pytest.raises(Infeasible, match="weights are within 1 only"):
        cpu.kernel_graph.multiply(x, np.ones((3, 1)), function="threshold", error=0.5, entries=True)
    assert cpu.kernel_graph.multiply(x[[0, 2]], np.ones((2, 1)), function="threshold", error=1e-9, entries=True)


@pytest.mark.claim("KG-12")
@pytest.mark.parametrize(("function", "parameter"), [("gaussian", 0.5), ("coulomb", 0.5), ("matern", 1.5)])
def test_a_laplacian_of_relative_weights_is_a_spectral_approximation(function: str, parameter: float) -> None:
    x, error = points(23, 40, 2), 0.01
    fast = cpu.kernel_graph.laplacian(
        x, function=function, parameter=parameter, error=error,
        route="grid" if function == "gaussian" else "gaussians",
    )  # fmt: skip
    exact = cpu.kernel_graph.exact(x, np.eye(40), function=function, parameter=parameter, laplacian=True)
    basis = np.linalg.svd(np.ones((40, 1)))[0][:, 1:]
    values = np.linalg.eigvals(np.linalg.solve(basis.T @ exact @ basis, basis.T @ (fast @ np.eye(40)) @ basis)).real
    assert values.min() >= 1.0 - error
    assert values.max() <= 1.0 + error
    assert np.abs(fast @ np.ones(40)).max() < 1e-9 * np.abs(exact).max()


# --- operators, router, refusals --------------------------------------------------------------------------------------


def test_operators_are_those_of_the_dense_graph() -> None:
    x, v = points(24, 300, 2), vectors(24, 300)
    dense = cpu.kernel_graph.exact(x, np.eye(300), function="gaussian", parameter=4.0)
    adjacency = cpu.kernel_graph.adjacency(x, function="gaussian", parameter=4.0, error=1e-8, diagonal=3.0)
    laplacian = cpu.kernel_graph.laplacian(x, function="gaussian", parameter=4.0, error=1e-8)
    assert np.abs(adjacency @ v - dense @ v - 3.0 * v).max() < 1e-6
    assert np.abs(laplacian @ v[:, 0] - dense.sum(axis=1) * v[:, 0] + dense @ v[:, 0]).max() < 1e-6
    assert np.allclose(laplacian.degrees, dense.sum(axis=1))
    found = laplacian.certified(v)
    instance = Instance(x[:300], v, function="gaussian", parameter=4.0, laplacian=True)
    exact = cpu.kernel_graph.exact(x, v, function="gaussian", parameter=4.0, laplacian=True)
    assert (np.abs(found.value - exact) <= found.error + 1e-12 * np.abs(exact).max()).all()
    assert instance.laplacian


def test_the_router_says_why_and_takes_a_grid_for_many_points() -> None:
    x, v = points(25, 4000, 2), vectors(25, 4000, 1)
    found = cpu.kernel_graph.multiply(x, v, function="gaussian", parameter=100.0, error=1e-3)
    assert found.route.startswith(("grid: ", "nonuniform: "))
    assert "polynomial: 2λ⟨x, y⟩ may be" in found.route
    few = cpu.kernel_graph.multiply(x[:50], v[:50], function="gaussian", parameter=100.0, error=1e-3)
    assert few.route.startswith("direct")
    five = cpu.kernel_graph.multiply(points(26, 60, 5), v[:60], function="laplacian", error=1e-3)
    assert "5 dimensions, more than 3" in five.route


def test_what_cannot_be_certified_is_refused_in_one_line() -> None:
    x, v = points(27, 50, 2), vectors(27, 50)
    with pytest.raises(Infeasible, match="direct: the certificate is"):
        cpu.kernel_graph.multiply(x, v, function="gaussian", error=1e-17)
    with pytest.raises(Infeasible, match="no Gaussian"):
        cpu.kernel_graph.multiply(x, v, function="laplacian", error=1e-3, route="grid")
    for wrong in ({"error": 0.0}, {"error": True}, {"route": "fast"}, {"threads": 0}, {"memory": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            cpu.kernel_graph.multiply(x, v, function="gaussian", **wrong)
    for wrong in ({"error": 1.0}, {"route": "fast"}, {"threads": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            cpu.kernel_graph.adjacency(x, function="gaussian", **wrong)
    with pytest.raises(ValueError, match="threads"):
        cpu.kernel_graph.exact(x, v, function="gaussian", threads=0)
    with pytest.raises(InvalidInstance, match="points"):
        cpu.kernel_graph.exact(x.astype(np.float16), v.astype(np.float16), function="gaussian")
    with pytest.raises(InvalidInstance, match="equal"):
        cpu.kernel_graph.multiply(np.zeros((2, 1)), np.ones((2, 1)), function="coulomb", error=1.0)


@pytest.mark.parametrize(
    ("function", "parameter", "scale"), [("coulomb", 20.0, 1e-20), ("matern", 1.5, 1e6), ("laplacian", 3e-123, 1e125)]
)
def test_functions_that_leave_float64_are_refused_in_one_line(function: str, parameter: float, scale: float) -> None:
    with pytest.raises(Infeasible):
        cpu.kernel_graph.multiply(
            scale * points(28, 9, 2), vectors(28, 9), function=function, parameter=parameter, error=1e-3,
            route="gaussians",
        )  # fmt: skip


@pytest.mark.parametrize("function", ["polynomial", "gaussian", "coulomb"])
def test_a_single_point_has_no_neighbours(function: str) -> None:
    found = cpu.kernel_graph.multiply(np.ones((1, 2)), np.ones((1, 1)), function=function, parameter=8.0, error=1e-3)
    assert abs(float(found.value[0, 0])) <= float(found.error.max()) <= 1e-3


def test_empty_sums_are_zero() -> None:
    x = points(28, 5, 2)
    found = cpu.kernel_graph.multiply(x, np.zeros((5, 1)), function="gaussian", error=1e-6)
    assert not found.value.any()


def test_bounds_of_direct_sums_exist_for_every_named_function() -> None:
    known = [rounding.entry(name, parameter, 3) for name, parameter in FUNCTIONS if name != "threshold"]
    assert all(pair is not None and pair[0] < 1e-12 and pair[1] < 1e-12 for pair in known)
    scene = checked(points(29, 9, 2), vectors(29, 9), "threshold", 0.5, False, 0.0, None).scene
    assert direct(scene, 1).words


@pytest.mark.parametrize(("name", "parameter"), [("laplacian", 1.0), ("matern", 0.5), ("coulomb", 0.5)])
def test_narrow_gaussians_without_end_are_refused_not_looked_for_for_ever(name: str, parameter: float) -> None:
    with pytest.raises(Infeasible, match="narrow terms do not end"):
        gaussians.mixture(name, parameter, 0.0, 10.0, 1e-6)


def test_a_mixture_is_asked_for_an_error_up_to_one() -> None:
    with pytest.raises(Infeasible, match="relative error 8 of a mixture, expected 1e-11 to 1"):
        gaussians.mixture("coulomb", 0.5, 0.01, 1.0, 8.0)
    scattered = np.random.default_rng(5).random((60, 3))
    certified = cpu.kernel_graph.multiply(
        scattered, np.ones((60, 1)), function="rational", parameter=1.0, error=1e4, route="gaussians"
    )
    exact = define(Instance(scattered, np.ones((60, 1)), function="rational", parameter=1.0))
    assert (np.abs(certified.value - exact.midpoint) <= certified.error + exact.radius).all()
