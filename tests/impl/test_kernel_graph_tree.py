"""Sums by a tree of boxes and Chebyshev expansions (KG-10): within their certificates, against balls."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba")

from assay.impl import cpu
from assay.impl.cpu.kernel_graph import tree, tree_operators
from assay.impl.cpu.kernel_graph.multiply import completed
from assay.impl.cpu.kernel_graph.problem import checked
from assay.spec.approximation import Infeasible
from assay.spec.kernel_graph import Function, Instance, define
from assay.spec.kernel_graph.functions import named
from assay.spec.problem import InvalidInstance

DEAR = 1e9  # nanoseconds of a pair: everything that can be expanded is expanded


def damped(p: float = 2.0) -> Function:
    """e^(−pz)/(1 + z), which has no name."""
    return Function(
        "damped", lambda z: (z * -p).exp() / (1 + z), lambda z: np.exp(-p * z) / (1.0 + z), monotone="decreasing",
        completely_monotone=True, analytic=-1.0,
    )  # fmt: skip


def points(seed: int, n: int, d: int, kind: str = "uniform") -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.random((n, d))
    if kind == "clusters":
        x = 1e-4 * x + rng.integers(0, 3, (n, 1))
    elif kind == "far":
        x = x + 1e6
    elif kind == "line":
        x = np.linspace(0.0, 1.0, n)[:, None] * np.ones(d)
    elif kind == "corners":  # the sides of boxes, and what is next to them
        x = rng.integers(0, 9, (n, d)) / 8.0 + rng.integers(-1, 2, (n, d)) * 2.0**-50
    elif kind == "tiny":
        x = 1e-60 * x
    return x


def made(x: np.ndarray, function: Any, parameter: float, relative: float, floor: float, y: Any = None) -> tree.Tree:
    """A plan in which everything that may be is expanded."""
    scene = checked(x, np.ones((len(x), 1), x.dtype), function, parameter, False, 0.0, y).scene
    plan = tree.planned(scene, relative, floor, DEAR, 1 << 30, 1)
    assert plan.levels
    return plan


def ratio(plan: tree.Tree, x: np.ndarray, v: np.ndarray, function: Any, parameter: float, **options: Any) -> float:
    """The largest |value − exact|/certificate of a plan, against balls."""
    given = {"laplacian": False, "diagonal": 0.0, "targets": None, **options}
    value, bound = completed(plan, checked(x, v, function, parameter, *given.values()))
    exact = define(Instance(x, v, function=function, parameter=parameter, **options), 1e-25)
    return float(exact.ratio(value.astype(np.float64), np.broadcast_to(bound, value.shape)).max())


def expanded(f: Function, offset: tuple[int, ...], relative: float, xi: np.ndarray, eta: np.ndarray) -> np.ndarray:
    """|expansion − f|/certificate at places (count, d) of both boxes, whose side is √½."""
    d, base = len(offset), 64
    found = tree_operators.designed(f, 0.5, offset, relative, 0.0, 100)
    values, lefts, rights = tree_operators._coefficients(found, base)
    product = np.ones((len(xi), len(values)))
    for axis in range(d):
        power = base ** (d - 1 - axis)
        product *= np.cos(np.outer(np.arccos(xi[:, axis]), lefts // power % base))
        product *= np.cos(np.outer(np.arccos(eta[:, axis]), rights // power % base))
    exact = f(0.5 * ((np.array(offset) + tree_operators.ENLARGED * (xi - eta) / 2.0) ** 2).sum(axis=1))
    assert found.error <= relative * exact.min() * 1.001
    return np.asarray(np.abs(product @ values - exact) / found.error)


@pytest.mark.claim("KG-10")
@pytest.mark.parametrize(("name", "parameter", "d"), [("coulomb", 0.5, 3), ("matern", 1.5, 2), ("rational", 2.0, 2)])
def test_an_expansion_is_within_its_certificate(name: str, parameter: float, d: int) -> None:
    rng = np.random.default_rng(1)
    xi, eta = rng.uniform(-1, 1, (2, 30, d))
    xi[:15], eta[:15] = np.sign(xi[:15]), np.sign(eta[:15])
    for offset in tree_operators.offsets(d):
        assert expanded(named(name, parameter), offset, 1e-2, xi, eta).max() <= 1.0


@pytest.mark.claim("KG-10")
@pytest.mark.parametrize(
    ("name", "parameter"), [("coulomb", 0.5), ("coulomb", 3.0), ("rational", 2.0), ("gaussian", 1.0)]
)
def test_the_terms_that_an_expansion_leaves_out_are_not_half_as_large(name: str, parameter: float) -> None:
    """On a line all of them have one sign somewhere: the certificate is met."""
    xi, eta = (x.reshape(-1, 1) for x in np.meshgrid(np.linspace(-1, 1, 41), np.linspace(-1, 1, 41)))
    for relative in (0.3, 0.1, 1e-3):
        worst = max(expanded(named(name, parameter), (o,), relative, xi, eta).max() for o in (2, 3))
        assert 0.7 < worst <= 1.0


@pytest.mark.claim("KG-10")
@pytest.mark.parametrize(("name", "parameter"), [("coulomb", 0.5), ("laplacian", 3.0)])
def test_the_error_of_interpolation_is_that_of_the_best_ellipses(name: str, parameter: float) -> None:
    """M is taken from points of the ellipses, where the claim has a formula; the shape of f is that of its bound."""
    f, b = named(name, parameter), tree_operators.ENLARGED
    angles = np.linspace(0.0, np.pi, 2001)
    for offset in ((2, 0), (3, 1), (2, 2), (3, 3)):
        for degree in (4, 12):
            total = 0.0
            for axis, o in enumerate(offset):
                other = max(0.0, offset[1 - axis] - b) ** 2
                best = np.inf
                for rho in np.geomspace(1.02, 16.0, 160):
                    u = (rho * np.exp(1j * angles) + np.exp(-1j * angles) / rho) / 2.0
                    least = float(((o + b * u) ** 2).real.min()) + other
                    if least > 2.0**-8:
                        best = min(best, 4.0 * float(f(0.7 * least)) * rho**-degree / (rho - 1.0))
                lebesgue = 2.0 / np.pi * np.log(degree + 1.0) + 1.0
                total += lebesgue**axis * best
            assert total * (1.0 - 1e-5) <= tree_operators.interpolation(f, 0.7, offset, degree) <= total * (1.0 + 1e-5)


@pytest.mark.claim("KG-10")
def test_an_interpolation_is_within_its_bound() -> None:
    u = np.linspace(-1.0, 1.0, 501)
    for name, parameter in (("coulomb", 0.5), ("gaussian", 10.0), ("laplacian", 5.0)):
        f, worst = named(name, parameter), 0.0
        for o, degree in itertools.product((2, 3), (1, 2, 4, 8)):
            cosines = tree_operators._cosines(degree + 1)
            series = cosines @ f(0.05 * (o + tree_operators.ENLARGED * cosines[1]) ** 2) * 2.0 / (degree + 1)
            series[0] /= 2.0
            off = np.polynomial.chebyshev.chebval(u, series) - f(0.05 * (o + tree_operators.ENLARGED * u) ** 2)
            worst = max(worst, np.abs(off).max() / tree_operators.interpolation(f, 0.05, (o,), degree))
        assert 0.02 < worst <= 1.0


@pytest.mark.claim("KG-10")
def test_the_constants_of_an_expansion_are_those_of_the_claim() -> None:
    """Lebesgue's constant, the products of polynomials, and the sizes of what is left out, each computed otherwise."""
    fine = np.linspace(-1.0, 1.0, 4001)
    for degree in (4, 10, 24):
        nodes = tree_operators._cosines(degree + 1)[1]
        rows = [
            np.prod((fine[:, None] - np.delete(nodes, j)) / (x - np.delete(nodes, j)), 1) for j, x in enumerate(nodes)
        ]
        assert 0.0 <= tree_operators._lebesgue(degree) - np.abs(rows).sum(axis=0).max() < 0.1
    table = tree_operators._products(9)
    x, y = np.random.default_rng(3).uniform(-1, 1, (2, 20))
    found = np.einsum("mkl,kp,lp->mp", table, *np.cos(np.arange(10)[None, :, None] * np.arccos([x, y])[:, None]))
    assert np.abs(found - np.cos(np.arange(10)[:, None] * np.arccos((x - y) / 2.0))).max() < 1e-12
    g = np.random.default_rng(4).random((10, 10))
    sizes = np.einsum("ab,akl,bmn->klmn", g, np.abs(table), np.abs(table))
    k = np.arange(10) ** 2
    bins = -(-np.add.outer(k, k) // 2)
    spread = np.bincount(np.add.outer(bins, bins).ravel(), sizes.ravel())
    assert np.allclose(tree_operators._spread(g, tree_operators._histogram(9))[: len(spread)], spread)


CASES: list[tuple[Any, float, float, float]] = [
    ("coulomb", 0.5, 1e-3, 0.0), ("coulomb", 2.0, 1e-2, 0.0), ("matern", 1.5, 1e-3, 1e-4),
    ("laplacian", 30.0, 1e-2, 1e-4), (damped(), 1.0, 1e-3, 1e-4),
]  # fmt: skip


@pytest.mark.claim("KG-10")
@pytest.mark.parametrize("kind", ["far", "corners", "clusters"])
def test_places_in_boxes_err_by_five_roundings_and_are_inside(kind: str) -> None:
    """Against fractions; boxes are enlarged, so that points of their sides are 2^-21 inside."""
    x = points(10, 20, 2, kind)
    where, low = tree.sides(x, None), x.min(axis=0).tolist()
    side = where.sources
    for level in (1, 7, where.depth):
        boxes, half = tree.boxes(side, level, where.depth), Fraction(where.length) / 2 ** (level + 1)
        found = tree._placed(side, boxes, float(half))
        assert np.abs(found).max() <= 1.0 - 2.0**-21
        for start, end, cell in zip(boxes.starts, boxes.ends, boxes.cells.tolist(), strict=True):
            for place, axis in itertools.product(range(start, end), (0, 1)):
                away = Fraction(float(side.points[axis, place])) - Fraction(low[axis]) - (2 * cell[axis] + 1) * half
                exact = away / (half * (1 + Fraction(1, 2**20)))
                assert abs(Fraction(float(found[axis, place])) - exact) <= Fraction(5, 2**53)


@pytest.mark.claim("KG-10")
@pytest.mark.parametrize("kind", ["uniform", "clusters", "far", "line", "corners"])
def test_sums_by_a_tree_are_certified(kind: str) -> None:
    rng = np.random.default_rng(2)
    for number, (function, parameter, relative, floor) in enumerate(CASES):
        d = 1 + number % 2
        x = np.unique(points(3, 30, d, kind), axis=0)
        v = rng.standard_normal((len(x), 2))
        plan = made(x, function, parameter, relative, floor)
        for options in ({}, {"laplacian": True}, {"diagonal": 2.5}):
            assert ratio(plan, x, v, function, parameter, **options) <= 1.0
        y = points(4, 9, d, kind) + 0.01
        assert ratio(made(x, function, parameter, relative, floor, y), x, v, function, parameter, targets=y) <= 1.0


@pytest.mark.claim("KG-10")
def test_sums_in_space_are_certified_in_both_types() -> None:
    for dtype, kind in (("float64", "uniform"), ("float32", "clusters")):
        x, v = points(5, 40, 3, kind).astype(dtype), points(6, 40, 2).astype(dtype)
        plan = made(x, "coulomb", 0.5, 1e-2, 0.0)
        for options in ({}, {"laplacian": True}):
            assert ratio(plan, x, v, "coulomb", 0.5, **options) <= 1.0


@pytest.mark.claim("KG-10")
@pytest.mark.parametrize("scale", [1e-100, 1e-290, 1e220])
def test_vectors_near_the_ends_of_float64_are_certified(scale: float) -> None:
    x, v = points(7, 20, 2), scale * points(8, 20, 2)
    v[0] *= 1e18
    for size in (1.0, 1e-60):
        assert ratio(made(size * x, "coulomb", 0.5, 1e-3, 0.0), size * x, v, "coulomb", 0.5) <= 1.0


@pytest.mark.claim("KG-10")
def test_near_pairs_of_a_function_of_the_users_own_are_in_the_certificate() -> None:
    """1 + z is rounded, which moves a steep function of it far more than a rounding of z does (KG-18)."""
    steep = Function(
        "steep", lambda z: ((1 + z).log() * -1e5).exp(), lambda z: (1.0 + z) ** -1e5, monotone="decreasing", shift=1.0,
        completely_monotone=True,
    )  # fmt: skip
    x = 3e-3 * points(25, 6, 1)
    for targets in (None, x + 1e-4):
        found = cpu.kernel_graph.multiply(x, np.ones((6, 1)), function=steep, error=1e-3, route="tree", targets=targets)
        exact = define(Instance(x, np.ones((6, 1)), function=steep, targets=targets), 1e-25)
        assert 1e-6 < float(exact.ratio(found.value, found.error).max()) <= 1.0


def test_with_little_memory_fewer_columns_are_held_and_the_sums_are_the_same() -> None:
    x, v = points(31, 400, 2), np.random.default_rng(32).standard_normal((400, 5))
    scene = checked(x, v, "matern", 1.5, False, 0.0, None).scene
    plans = [tree.planned(scene, 1e-9, 0.0, DEAR, memory, 1) for memory in (1 << 30, 3_500_000, 2_800_000)]
    assert [plan.together for plan in plans] == [4, 2, 1]
    assert len({plan.apply(v).tobytes() for plan in plans}) == 1
    with pytest.raises(Infeasible, match="bytes for boxes, more than"):
        tree.planned(scene, 1e-9, 0.0, DEAR, 2_300_000, 1)


@pytest.mark.parametrize("targets", [False, True])
def test_near_pairs_of_a_function_of_the_users_own_are_summed_in_parts_of_any_size(
    targets: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A target has more pairs than a part, a part more than a target, and one part holds all."""
    x, v = points(33, 300, 2), np.random.default_rng(34).standard_normal((300, 2))
    y = points(35, 40, 2) if targets else None
    scene = checked(x, v, damped(), 2.0, False, 0.0, y).scene
    goals = x if y is None else y
    z = ((goals[:, None] - x) ** 2).sum(axis=2)
    weights = np.exp(-2.0 * z) / (1.0 + z)
    if not targets:
        np.fill_diagonal(weights, 0.0)
    plan = tree.planned(scene, 1e-6, 0.0, 20.0, 1 << 30, 1)
    for pairs in (1, 37, 1 << 16):
        monkeypatch.setattr(tree, "_PAIRS", pairs)
        assert np.allclose(plan.apply(v), weights @ v, rtol=0.0, atol=1e-6 * float(weights.sum(axis=1).max()))


def test_one_point_and_one_place() -> None:
    one = np.ones((1, 2))
    found = cpu.kernel_graph.multiply(one, one, function="coulomb", parameter=0.5, route="tree")
    assert (found.value == 0.0).all()
    same = np.ones((4, 1))
    found = cpu.kernel_graph.multiply(same, same, function="matern", parameter=0.5, route="tree")
    assert np.abs(found.value - 3.0).max() <= found.error.max() < 1e-6


def test_a_tree_refuses_what_it_cannot_serve() -> None:
    x = points(9, 10, 2)
    with pytest.raises(InvalidInstance, match="1 and 2"):
        cpu.kernel_graph.multiply(x[[0, 1, 1]], x[:3], function="coulomb", parameter=0.5, route="tree")
    for function, words in (("threshold", "not declared completely monotone"), ("polynomial", "not declared")):
        with pytest.raises(Infeasible, match=words):
            cpu.kernel_graph.multiply(x, x, function=function, parameter=1.0, route="tree")
    with pytest.raises(Infeasible, match="5 dimensions"):
        cpu.kernel_graph.multiply(points(9, 10, 5), x, function="coulomb", parameter=0.5, route="tree")
    with pytest.raises(Infeasible, match="between boxes"):
        made(x, "laplacian", 1e4, 1e-3, 0.0)
