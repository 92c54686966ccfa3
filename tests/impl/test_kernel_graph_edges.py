"""Bounds of the kernel graph's routes at inputs that attain them: with half of any of them a certificate is false."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from mpmath import mp

from assay.impl.cpu.kernel_graph import cholesky, gaussians, graphs, grid, smooth
from assay.impl.cpu.kernel_graph.problem import box_of, checked

# --- KG-8: one grid ---------------------------------------------------------------------------------------------------


@pytest.mark.claim("KG-8")
@pytest.mark.parametrize(("above", "below"), [(0.1, 1e-5), (0.05, 1e-4), (0.02, 1e-3), (0.02, 1e-10)])
def test_half_the_truncation_of_a_grid_is_not_enough(above: float, below: float) -> None:
    """Two points half a window apart, each just beside the last node of the other, so that either lacks that one.

    The nodes next to them are an odd number of steps apart, so that what the grid errs besides is as much below.
    """
    design = grid.designed(2.5, 1, above, below)
    assert design.width % 4 == 2
    hair = 1e-9 * design.step
    x, y = np.array([[-hair]]), np.array([[design.width // 2 * design.step + hair]])
    plan = grid.gaussian(x, y, box_of(x, y), 2.5, above, below, 1 << 28, 1)
    exact = math.exp(-2.5 * float((y - x)[0, 0]) ** 2)
    lost = exact - float(plan.apply(np.ones((1, 1)))[0, 0])
    assert plan.relative * exact + 0.5 * plan.floor < lost <= plan.relative * exact + plan.floor


# --- KG-11: sums of Gaussians -----------------------------------------------------------------------------------------


def value(function: str, parameter: float, z: Any) -> Any:
    return {
        "coulomb": lambda: mp.mpf(z) ** -parameter,
        "rational": lambda: (1 + mp.mpf(z)) ** -parameter,
        "laplacian": lambda: mp.exp(-parameter * mp.sqrt(z)),
    }[function]()


def term(function: str, parameter: float, k: int, step: float, z: float) -> Any:
    """Number k of the infinite sum, η·μ(kη)·e^(−z·t(kη))."""
    s = k * mp.mpf(step)
    if function == "laplacian":
        mass = mp.exp(-s / 2 - mp.exp(-s) / 4) / (2 * mp.sqrt(mp.pi))
        return step * mass * mp.exp(-(mp.mpf(parameter) ** 2) * mp.exp(s) * mp.mpf(z))
    ends = mp.exp(s) if function == "rational" else mp.mpf(0)
    return step * mp.exp(parameter * s - ends - mp.exp(s) * mp.mpf(z)) / mp.gamma(parameter)


MIXTURES = [
    ("coulomb", 0.5, 0.5, 3.0, 0.02), ("coulomb", 3.0, 0.5, 3.0, 1e-3), ("rational", 1.5, 0.0, 3.0, 1e-3),
    ("laplacian", 1.0, 100.0, 3600.0, 1e-3),
]  # fmt: skip


@pytest.mark.claim("KG-11")
@pytest.mark.parametrize(("function", "parameter", "low", "high", "error"), MIXTURES)
def test_half_the_aliasing_of_a_mixture_is_not_enough(
    function: str, parameter: float, low: float, high: float, error: float
) -> None:
    made = gaussians.mixture(function, parameter, low, high, error)
    first, last = made.first - math.ceil(30.0 / parameter / made.step), made.first + math.ceil(40.0 / made.step)
    worst = mp.mpf(0)
    with mp.workdps(25):
        for z in high * np.exp(-made.step * np.linspace(0.0, 0.5 if function == "laplacian" else 1.0, 12)):
            total = mp.fsum(term(function, parameter, k, made.step, z) for k in range(first, last))
            worst = max(worst, abs(total / value(function, parameter, z) - 1))
    assert 0.5 * made.aliased < worst <= made.aliased


@pytest.mark.claim("KG-11")
@pytest.mark.parametrize(("function", "parameter", "low", "high", "error"), MIXTURES)
def test_half_of_what_the_ends_of_a_mixture_lack_is_not_enough(
    function: str, parameter: float, low: float, high: float, error: float
) -> None:
    made = gaussians.mixture(function, parameter, low, high, error)
    count = len(made.rates)
    with mp.workdps(25):
        for k, mass, rate in ((0, made.masses[0], made.rates[0]), (count - 1, made.masses[-1], made.rates[-1])):
            same = term(function, parameter, made.first + k, made.step, high)
            assert abs(mass * mp.exp(-rate * mp.mpf(high)) / same - 1) < 1e-12
        beyond = range(made.first + count, made.first + count + 60)
        narrow = mp.fsum(term(function, parameter, k, made.step, low) for k in beyond) / value(function, parameter, low)
        below = range(made.first - math.ceil(40.0 / parameter / made.step), made.first)
        wide = mp.fsum(term(function, parameter, k, made.step, high) for k in below) / value(function, parameter, high)
    assert 0.5 * made.narrow < narrow <= made.narrow
    assert wide <= made.wide
    assert 0.5 * (made.wide - 1e-3 * error) < wide
    assert made.lost >= made.aliased + made.narrow + made.wide


@pytest.mark.claim("KG-11")
@pytest.mark.parametrize("low", [0.02, 0.3])
def test_half_the_error_of_the_polynomial_of_near_pairs_is_not_enough(low: float) -> None:
    made = gaussians.mixture("coulomb", 0.5, low, 3.0, 1e-3)
    pairs = tuple(zip(made.rates, made.masses, strict=True))
    series, met, sizes, _ = gaussians._series(pairs, (), (0.0,), low)
    t, c = np.array(pairs).T
    u = np.linspace(-1.0, 1.0, 4001)
    exact = np.exp(-np.multiply.outer((u + 1.0) * low / 2.0, t)) @ c
    off = np.abs(np.polynomial.polynomial.polyval(u, series) - exact).max()
    rounding = 2.0**-50 * (sizes + float(c.sum()))
    assert met > 20.0 * rounding
    assert 0.5 * met + rounding < off <= met + rounding


@pytest.mark.claim("KG-11")
def test_half_the_error_of_the_polynomial_of_wide_terms_is_not_enough() -> None:
    wide, high = ((0.02, 0.3), (0.1, 0.2), (0.5, 0.1)), 6.0
    powers, off = gaussians._flattened(wide, high, 1e-7)
    z = np.linspace(0.0, high, 4001)
    exact = sum(c * np.exp(-t * z) for t, c in wide)
    assert 0.5 * off < np.abs(np.polynomial.polynomial.polyval(z, powers) - exact).max() <= off


@dataclass(frozen=True, eq=False)
class Worst:
    """A grid or a polynomial whose weights are as far below as its bounds allow, and that rounds nothing."""

    weights: np.ndarray
    relative: float = 0.0
    floor: float = 0.0
    rounding: float = 0.0
    grain: float = 0.0
    words: str = "worst"

    def apply(self, v: np.ndarray) -> np.ndarray:
        return np.asarray(((1.0 - self.relative) * self.weights - self.floor) @ v)


@pytest.mark.claim("KG-11")
@pytest.mark.parametrize("part", ["relative", "floor", "off"])
def test_half_of_what_the_worst_grids_or_polynomial_add_to_a_mixture_is_not_enough(
    part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Grids that err relatively, or by their floors, or a polynomial that errs by what it may, and nothing else."""
    asked = (0.05, 0.0) if part == "relative" else (1e-6, 0.05)
    x, y = np.zeros((1, 1)), np.array([[0.9], [30.0 if part == "relative" else 1.0]])
    scene = checked(x, np.ones((1, 1)), "rational", 1.0, False, 0.0, y).scene
    high = gaussians._up(scene.farthest)
    made = gaussians.mixture("rational", 1.0, 0.0, high, gaussians._coarse(asked[0] / 2.5))
    terms = [(t * high <= 6.0, c * np.exp(-t * y * y)) for t, c in zip(made.rates, made.masses, strict=True)]

    def on_grid(points: Any, targets: Any, box: Any, decay: float, above: float, below: float, *rest: Any) -> Worst:
        return Worst(np.exp(-decay * y * y), above if part == "relative" else 0.0, below if part == "floor" else 0.0)

    def flat(points: Any, targets: Any, where: Any, scaled: Any, relative: float, off: float, workers: int) -> Worst:
        return Worst(sum(w for wide, w in terms if wide), 0.0, off if part == "off" else 0.0)

    monkeypatch.setattr(gaussians.grid, "gaussian", on_grid)
    monkeypatch.setattr(gaussians.polynomial, "planned", flat)
    plan = gaussians.planned(scene, *asked, 0.0, 1 << 28, 1)
    found, exact = plan.apply(np.ones((1, 1))), 1.0 / (1.0 + y * y)
    assert (np.abs(found - exact) <= plan.relative * exact + plan.floor).all()
    besides = (plan.relative - made.lost) * exact + plan.floor
    assert (np.abs(found - sum(w for _, w in terms)) > 0.5 * besides).any()


# --- KG-7: the centred polynomial of a Gaussian -----------------------------------------------------------------------


@pytest.mark.claim("KG-7")
@pytest.mark.parametrize("error", [0.1, 1e-3, 1e-6])
def test_half_of_what_a_points_own_weight_errs_is_not_enough(error: float) -> None:
    """The polynomial of e^t errs by its bound at some t = 2λ|x|²: some points of a line are near it."""
    x = np.linspace(-1.0, 1.0, 201)[:, None]
    scene = checked(x, np.ones((201, 1)), "gaussian", 0.8, False, 0.0, None).scene
    plan = smooth.planned(scene, smooth.degree_of(scene, error, 0.0), 1)
    own = np.abs(np.diag(plan.apply(np.eye(201))))
    allowed = float(plan.doubt(np.ones((1, 1)))[0, 0])
    assert 0.5 * allowed < own.max() <= allowed


# --- KG-14: Cholesky's factorisation ----------------------------------------------------------------------------------


@pytest.mark.claim("KG-14")
@pytest.mark.parametrize("n", [40, 150])
def test_half_the_rounding_of_a_factorisation_is_not_enough(n: int) -> None:
    """Sums that lose n − 2 small products, one after the other: a matrix that is not ⪰ 0 runs through."""
    small = math.sqrt(2.0**-53 * (1.0 - 2.0**-20))
    size = 1.0 + 2.0**-20
    sums = {(0, 0): size, (1, 0): -size, (1, 1): size}  # of the last two rows, what is left of them
    for _ in range(n - 2):  # pivots of 2^-60, and entries that make all quotients `small`
        for place, sign in (((0, 0), 1.0), ((1, 0), 1.0), ((1, 1), 1.0)):
            sums[place] -= sign * small * small
    first = math.sqrt(sums[0, 0])
    last = sums[1, 1] - (sums[1, 0] / first) ** 2
    assert last >= 0.0
    assert sums == {(0, 0): size, (1, 0): -size, (1, 1): size}
    # Schur's complement is exactly [[s − m, −s − m], [−s − m, s − m]], m = (n − 2)·small²; x = (1, 1, …) has norm
    # √2 up to n·2^-60·small², and x'M'x = −4m
    below = 2.0 * (n - 2) * small * small
    trace = 2.0 * size + (n - 2) * 2.0**-60
    assert 0.5 * cholesky.rounding(n, trace) < below <= cholesky.rounding(n, trace)


# --- KG-13: weights of points -----------------------------------------------------------------------------------------


@pytest.mark.claim("KG-13")
@pytest.mark.parametrize("gap", [1.5e-162, 1.5717277847026285e-162])
def test_half_of_what_underflow_adds_to_a_weight_is_not_enough(gap: float) -> None:
    """The square of a distance is lost, and the distance counts: e^(−10^162·1.5·10^-162) is no 1."""
    graph = graphs.of_points(np.array([[0.0], [gap]]), "laplacian", 1e162)
    weight = float(graph.tile(slice(0, 2), slice(0, 2))[0, 1])
    exact = math.exp(-1e162 * gap)
    assert weight == 1.0
    assert 0.5 * graph.absolute < weight - exact <= graph.absolute + graph.relative * weight
