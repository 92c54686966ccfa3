"""Sums by a tree of boxes and Chebyshev expansions (KG-10): within their certificates, against balls."""

from __future__ import annotations

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


@pytest.mark.claim("KG-10")
@pytest.mark.parametrize(("name", "parameter", "d"), [("coulomb", 0.5, 3), ("matern", 1.5, 2), ("rational", 2.0, 1)])
def test_an_expansion_is_within_its_certificate(name: str, parameter: float, d: int) -> None:
    rng = np.random.default_rng(1)
    f = named(name, parameter)
    for offset in tree_operators.offsets(d):
        found = tree_operators.designed(f, 0.5, offset, 1e-3, 0.0, 100)
        base = 64
        values, lefts, rights = tree_operators._coefficients(found, base)
        xi = np.concatenate([np.sign(rng.random((20, d)) - 0.5), rng.uniform(-1, 1, (20, d))])
        eta = np.concatenate([np.sign(rng.random((20, d)) - 0.5), rng.uniform(-1, 1, (20, d))])
        product = np.ones((40, len(values)))
        for axis in range(d):
            power = base ** (d - 1 - axis)
            product *= np.cos(np.outer(np.arccos(xi[:, axis]), lefts // power % base))
            product *= np.cos(np.outer(np.arccos(eta[:, axis]), rights // power % base))
        z = 0.5 * ((np.array(offset) + tree_operators.ENLARGED * (xi - eta) / 2.0) ** 2).sum(axis=1)
        assert np.abs(product @ values - f(z)).max() <= found.error
        assert found.error <= 1e-3 * f(z).min() * 1.001


CASES: list[tuple[Any, float, float, float]] = [
    ("coulomb", 0.5, 1e-3, 0.0), ("coulomb", 2.0, 1e-2, 0.0), ("matern", 1.5, 1e-3, 1e-4),
    ("laplacian", 30.0, 1e-2, 1e-4), (damped(), 1.0, 1e-3, 1e-4),
]  # fmt: skip


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
