"""The polynomial route: functions that a polynomial approximates on the distances that occur (KG-6, KG-7).

A polynomial f needs no approximation.  A Gaussian of centred points is e^(−λ|x|²)·e^(2λ⟨x,y⟩)·e^(−λ|y|²), whose middle
has rank C(d + p, p) with a relative error of every weight.  Other functions that are analytic near the distances have a
polynomial in z on [0, R], which is certified as it is.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import flint
import numpy as np

from assay.impl.cpu.kernel_graph import polynomial
from assay.impl.cpu.kernel_graph.sums import SLACK, U, gamma
from assay.spec.approximation import Infeasible, certified_error, exp_of_least_degree

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.impl.cpu.kernel_graph.polynomial import Frame, Polynomial
    from assay.impl.cpu.kernel_graph.problem import Scene

    Array = NDArray[np.float64]

__all__ = ["Centred", "Degree", "degree_of", "least_degree", "planned"]

_MOST_POWER, _MOST_FALL = 1e6, 200.0  # a of (1 + ρz)^(−a), and the logarithm of its range: no degree serves beyond
_MOST_RANGE = 30.0  # of 2λ⟨x, y⟩: beyond it a float64 polynomial has lost its digits


@dataclass(frozen=True, eq=False)
class Degree:
    """The polynomial of a request.  exponent: of e^t for a centred Gaussian; coefficients in u = z/high otherwise."""

    degree: int
    rank: int
    coefficients: tuple[float, ...]
    relative: float
    floor: float
    high: float
    centred: bool


def degree_of(scene: Scene, relative: float, floor: float) -> Degree:
    """The polynomial of least degree for a request; raises :class:`~assay.spec.approximation.Infeasible`."""
    product = math.nan
    if scene.name == "gaussian":
        where = polynomial.frame(scene.points, scene.targets)
        product = where.reach * where.other * where.scale**2
    d = scene.points.shape[1]
    return least_degree(scene.name, scene.parameter, d, scene.farthest, product, relative, floor)


def least_degree(
    name: str, parameter: float, d: int, high: float, product: float, relative: float, floor: float
) -> Degree:
    """The polynomial of least degree for weights within relative·w + floor of a named function, in d dimensions.

    high: at least every squared distance.  product: at least ‖x‖‖y‖ for centred points, of which the Gaussian alone is
    made.  Raises :class:`~assay.spec.approximation.Infeasible` where there is none.
    """
    if name == "polynomial":
        p = int(parameter)
        return Degree(p, polynomial.rank(d, p), (*([0.0] * p), 1.0), 0.0, 0.0, 1.0, False)
    if name == "gaussian":
        reach = 2.0 * parameter * product * (1.0 + 1e-9)
        if not reach <= _MOST_RANGE:
            raise Infeasible(f"2λ⟨x, y⟩ may be {reach:.3g}, more than {_MOST_RANGE:g}")
        reach = 2.0 ** (math.ceil(math.log2(max(reach, 2.0**-40)) * 8.0) / 8.0)
        wanted = min(0.5, max(relative + floor, 1e-14) * 0.9)
        found = exp_of_least_degree(reach, 2.0 ** (math.floor(math.log2(wanted) * 4.0) / 4.0))
        p = found.degree
        return Degree(p, math.comb(d + p, p), found.coefficients, found.error, 0.0, reach, True)
    if name not in ("rational", "inverse_multiquadric"):
        raise Infeasible("the function is not analytic at 0" if name else "no series of the function is given")
    power, rate = _power(name, parameter)
    if not (power <= _MOST_POWER and power * math.log1p(rate * high) <= _MOST_FALL):
        raise Infeasible("the function falls too much for a polynomial in float64")
    high = float(2.0 ** (math.ceil(math.log2(high) * 4.0) / 4.0)) * (1.0 + 1e-12)
    allowed = 0.8 * (relative * (1.0 + rate * high) ** -power + floor)
    coefficients, off = _approximated(name, parameter, high, 2.0 ** math.floor(math.log2(allowed)))
    p = len(coefficients) - 1
    return Degree(p, polynomial.rank(d, p), coefficients, 0.0, off, high, False)


def _power(name: str, parameter: float) -> tuple[float, float]:
    """a and ρ of (1 + ρz)^(−a)."""
    return (parameter, 1.0) if name == "rational" else (0.5, parameter)


@functools.lru_cache(maxsize=64)
def _approximated(name: str, parameter: float, high: float, allowed: float) -> tuple[tuple[float, ...], float]:
    """Coefficients in u = z/high, and the certified error on [0, 1], at most ``allowed``."""
    power, rate = _power(name, parameter)

    def exact(u: Any) -> Any:
        return ((u * (flint.arb(high) * flint.arb(rate)) + 1).log() * -flint.arb(power)).exp()

    grid = np.linspace(0.0, 1.0, 201)
    for degree in range(1, 31):
        found = polynomial.fitted(lambda u: (1.0 + rate * high * u) ** -power, degree, 1.0)
        guess = np.abs(np.polynomial.polynomial.polyval(grid, found) - (1.0 + rate * high * grid) ** -power).max()
        if guess > 0.9 * allowed:
            continue
        off = certified_error(exact, [float(x) for x in found], (0.0, 1.0), lambda x: x * 0 + 1)
        off = (off + 128.0 * U * float(np.abs(found).sum())) * SLACK
        if off <= allowed:
            return tuple(map(float, found)), off
    raise Infeasible(f"no polynomial of degree 30 is within {allowed:.2g} on [0, {high:.3g}]")


def planned(scene: Scene, found: Degree, workers: int) -> Polynomial | Centred:
    """The plan of a polynomial."""
    where = polynomial.frame(scene.points, scene.targets)
    if found.centred:
        return _centred(scene, found, where, workers)
    k = np.arange(found.degree + 1.0)
    with np.errstate(over="ignore", under="ignore"):
        scaled = np.array(found.coefficients) * (where.scale**2 / found.high) ** k
    if not np.isfinite(scaled).all():
        raise Infeasible("the coefficients of the polynomial overflow")
    return polynomial.planned(scene.points, scene.targets, where, scaled, found.relative, found.floor, workers)


@dataclass(frozen=True, eq=False)
class Centred:
    """Gaussian sums of centred points by the monomials of ⟨x, y⟩, as a plan: weights are relative to the exact ones."""

    points: Array
    targets: Array | None
    frame: Frame
    decay: float
    basis: polynomial.Basis
    weights: Array
    relative: float
    floor: float
    rounding: float
    grain: float
    own: float
    workers: int

    @property
    def words(self) -> str:
        return f"degree {self.basis.degree} in the products, rank {len(self.weights)}"

    def doubt(self, sizes: Array) -> Array | float:
        """What subtracting a point's own vector adds: P(2λ|x|²)e^(−2λ|x|²) is 1 up to this."""
        return self.own * sizes if self.targets is None else 0.0

    def apply(self, vectors: Array) -> Array:
        """(n, columns) → (m, columns); for the graph, without j = i."""
        goals = self.points if self.targets is None else self.targets
        vectors, exponents = polynomial.balanced(vectors)
        total = polynomial.moments(
            self.basis, self.frame.coordinates, self.points, self._front(self.points) * vectors, self.workers
        )
        total *= self.weights[:, None]
        out = polynomial.evaluated(self.basis, self.frame.coordinates, goals, total, self.workers)
        out *= self._front(goals)
        return np.asarray(np.ldexp(out - vectors if self.targets is None else out, exponents))

    def _front(self, points: Array) -> Array:
        """(n, 1): e^(−λ|x|²)."""
        x = self.frame.coordinates(points)
        return np.asarray(np.exp((x * x).sum(axis=0) * -self.decay))[:, None]


def _centred(scene: Scene, found: Degree, where: Frame, workers: int) -> Centred:
    d, p = scene.points.shape[1], found.degree
    table = polynomial.monomials(d, p)
    decay = scene.parameter * where.scale**2
    sizes = np.array([sum(alpha) for alpha, _ in table.full])
    ways = np.array([polynomial.multinomial(alpha) for alpha, _ in table.full])
    weights = np.array(found.coefficients)[sizes] * (2.0 * decay) ** sizes * ways
    # Σ|c_k|t^k ≤ Σ|c_k|reach^k e^(−…): relative to 1, not to the weight, because terms of either sign may cancel
    largest = sum(abs(c) * found.high**k for k, c in enumerate(found.coefficients)) * SLACK
    exponent = 2.0 * decay * (d + 8.0)
    roundings = (
        2.0 * (2.0 * p + 2.0 * d + 24.0)
        + 6.0 * p
        + polynomial.additions(len(scene.points), table.rank)
        + 2.0 * exponent
    )
    grain = gamma(roundings) * largest
    own = found.relative + 2.0 * grain + 2.0 * U
    return Centred(
        scene.points, scene.targets, where, decay, table, weights, found.relative,
        found.floor + grain + polynomial.UNDERFLOW * (1.0 + float(np.abs(weights).sum())), 0.0, grain, own, workers,
    )  # fmt: skip
