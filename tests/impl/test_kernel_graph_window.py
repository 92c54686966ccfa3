"""Gaussian sums by a window of compact support (KG-9): its polynomials, its waves, and the weights they make."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from mpmath import mp

from assay.impl import cpu
from assay.impl.cpu.kernel_graph import nonuniform
from assay.impl.cpu.kernel_graph.window import Window, window
from assay.spec.approximation import Infeasible

WINDOWS = [(4, 45), (5, 49), (7, 45), (8, 40), (9, 39), (12, 46), (24, 49)]


def values(of: Window, u: Any) -> np.ndarray:
    """What the polynomials say at the nodes of points with these offsets, (points, width)."""
    table = of.replaced[0]
    out = np.zeros((len(u), table.shape[1]))
    for row in table:
        out = out * np.asarray(u)[:, None] + row
    return out[:, : of.width]


def places(of: Window, u: Any) -> np.ndarray:
    """Node l less the point, in steps."""
    return np.arange(of.width) - (np.asarray(u)[:, None] + of.width - 1.0) / 2.0


def plan(x: np.ndarray, decay: float, allowed: float, targets: Any = None) -> nonuniform.Nonuniform:
    both = x if targets is None else np.concatenate([x, targets])
    box = both.min(axis=0), both.max(axis=0)
    return nonuniform.gaussian(x, targets, box, decay, allowed, 1 << 28, 1)


def gauss(x: np.ndarray, y: np.ndarray, decay: float) -> np.ndarray:
    z = ((x[:, None].astype(np.longdouble) - y[None]) ** 2).sum(axis=2)
    return np.asarray(np.exp(-np.longdouble(decay) * z))


@pytest.mark.claim("KG-9")
@pytest.mark.parametrize(("width", "share"), WINDOWS)
def test_polynomials_of_a_window_are_within_what_they_say(width: int, share: int) -> None:
    of = window(width, share)
    u = [-1.0, -0.77, 0.0, 0.31, 0.999, 1.0]
    with mp.workdps(40):
        beta = mp.mpf(of.beta)

        def exact(s: float) -> float:
            inside = max(1 - mp.mpf(s) ** 2, mp.mpf(0))
            return float((mp.besseli(0, beta * mp.sqrt(inside)) - 1) / (mp.besseli(0, beta) - 1))

        right = [[exact(2.0 * s / width) for s in row] for row in places(of, u).tolist()]
    off = float(np.abs(values(of, u) - right).sum(axis=1).max())
    assert off <= of.replaced[1]
    assert off >= of.replaced[1] / 200.0 or of.replaced[1] < 1e-12


@pytest.mark.claim("KG-9")
@pytest.mark.parametrize(("width", "share"), WINDOWS)
def test_waves_are_within_the_aliasing_of_a_window_and_reach_it(width: int, share: int) -> None:
    of = window(width, share)
    turn = np.linspace(0.0, 0.45 * share / 50.0, 40)
    u = np.linspace(-1.0, 1.0, 81)
    waves = np.exp(2j * np.pi * turn[:, None, None] * places(of, u))
    sums = (waves * values(of, u)).sum(axis=2)
    off = np.abs(sums - width * of.transform(turn)[:, None]).max(axis=1)
    bound = width * of.aliased(turn) + of.replaced[1]
    assert (off <= bound).all()
    assert (off / bound).max() > 0.9


@pytest.mark.claim("KG-9")
@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize(("decay", "allowed"), [(0.1, 1e-3), (2.5, 1e-6), (40.0, 1e-2), (300.0, 1e-9), (3000.0, 1e-4)])
def test_weights_of_a_window_are_within_their_bound(d: int, decay: float, allowed: float) -> None:
    rng = np.random.default_rng(d)
    x = np.concatenate([rng.random((20, d)), 1e-4 * rng.random((8, d)), np.ones((1, d)), np.zeros((1, d))])
    found = plan(x, decay, allowed)
    weights = found.apply(np.eye(len(x))) + np.eye(len(x))
    off = float(np.abs(weights - gauss(x, x, decay)).max())
    assert found.floor <= allowed
    assert off <= found.floor + 1e-15
    assert off >= found.floor / 2000.0


@pytest.mark.claim("KG-9")
def test_rounding_far_from_the_origin_is_in_the_bound() -> None:
    rng = np.random.default_rng(5)
    for far in (1e3, 1e6, 1e8):
        x = far + rng.random((50, 2))
        found = plan(x, 3.0, 1e-11)
        weights = found.apply(np.eye(50)) + np.eye(50)
        assert np.abs(weights - gauss(x, x, 3.0)).max() <= found.floor
    with pytest.raises(Infeasible, match="away from the origin"):
        plan(1e12 + rng.random((50, 2)), 3.0, 1e-6)


@pytest.mark.claim("KG-9")
def test_a_design_with_a_wider_step_is_not_within_its_error() -> None:
    """The same window and waves on nodes a third further apart: a step that is taken from thin air is found out."""
    design = nonuniform.designed(20.0, 1.0, 1, 1e-7, 1000)
    of, nodes = design.window, np.arange(design.window.width)
    u = np.linspace(-1.0, 1.0, 21)
    row = design.row[np.abs(np.subtract.outer(nodes, nodes))]
    weights = values(of, u) @ row @ values(of, u).T
    for step, right in ((design.step, True), (design.step * 4.0 / 3.0, False)):
        x = u / 2.0 * step
        off = np.abs(weights - np.exp(-20.0 * np.subtract.outer(x, x) ** 2)).max()
        assert (off <= design.error) == right


def test_a_window_refuses_what_it_cannot_place() -> None:
    x = np.random.default_rng(6).random((20, 2))
    box = x.min(axis=0), x.max(axis=0)
    with pytest.raises(Infeasible, match="MiB are allowed"):
        nonuniform.gaussian(x, None, box, 1e3, 1e-6, 1 << 14, 1)
    with pytest.raises(Infeasible, match="waves"):
        plan(x, 1e12, 1e-6)
    with pytest.raises(Infeasible, match="waves"):
        plan(x, 1e308, 1e-6)
    with pytest.raises(Infeasible, match="no window"):
        plan(x, 1.0, 1e-17)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_slices_and_threads_do_not_change_what_is_summed(d: int) -> None:
    rng = np.random.default_rng(7)
    x, v = rng.random((20_000, d)), rng.standard_normal((20_000, 2))
    one, two = (
        cpu.kernel_graph.multiply(x, v, parameter=9.0, function="gaussian", error=1e-3, route="nonuniform", threads=w)
        for w in (1, 3)
    )
    assert np.array_equal(one.value, two.value)
    some = np.arange(0, 20_000, 997)
    exact = cpu.kernel_graph.exact(x, v, function="gaussian", parameter=9.0, targets=x[some]) - v[some]
    assert (np.abs(one.value[some] - exact) <= np.broadcast_to(one.error, v.shape)[some]).all()


def test_points_that_coincide_have_weights_of_one() -> None:
    x, v = np.full((5, 2), 0.3), np.arange(5.0)[:, None]
    found = cpu.kernel_graph.multiply(x, v, function="gaussian", parameter=2.0, error=1e-6, route="nonuniform")
    assert (np.abs(found.value - (10.0 - v)) <= found.error).all()
