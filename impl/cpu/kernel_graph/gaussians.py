"""Sums with functions that are sums of Gaussians: every completely monotone one (KG-11).

f(z) = ∫ μ(s)·e^(−z·t(s)) ds with μ > 0 is a sum over equidistant s within a relative error, which the shift of the
line of integration by iθ bounds.  Narrow terms count for near pairs only: for z ≤ r² the weight is f itself less the
wide terms.  Wide terms go to grids (KG-8), and the widest, which are nearly constant, together to one polynomial of
the squared distance (KG-6).
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import flint
import numpy as np

from assay.impl.cpu.kernel_graph import grid, polynomial
from assay.impl.cpu.kernel_graph import near as nearby
from assay.impl.cpu.kernel_graph.rounding import of_pairs
from assay.impl.cpu.kernel_graph.sums import SLACK, TINY, U, gamma
from assay.spec import flint_context
from assay.spec.approximation import Infeasible, certified_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from assay.impl.cpu.kernel_graph.grid import Gaussian
    from assay.impl.cpu.kernel_graph.near import Near
    from assay.impl.cpu.kernel_graph.polynomial import Polynomial
    from assay.impl.cpu.kernel_graph.problem import Scene

    Array = NDArray[np.float64]

__all__ = ["FUNCTIONS", "Mixed", "Mixture", "mixture", "planned"]

FUNCTIONS = ("coulomb", "rational", "inverse_multiquadric", "laplacian", "matern")
_LEAST = 1e-11  # the least relative error: below it the rounding of terms counts
_MOST_TERMS = 80
_MOST_POWER = 1e4  # and no less than its inverse: logarithms of masses are then right to 2^-30
_STEEPEST = 600.0  # the logarithm of the largest rate
_FLAT = 6.0  # terms with t·D² at most this are in the polynomial
_POWERS = ("coulomb", "rational", "inverse_multiquadric")
_ANGLES = tuple(0.2 + 0.025 * k for k in range(55))  # up to 1.55 < π/2
_LOG = 4  # r² and D² are rounded to this many steps an octave, so that mixtures are kept


@dataclass(frozen=True, eq=False)
class Mixture:
    """Σ_k mass_k·e^(−rate_k·z), within ``lost`` of f, relative, for low ≤ z ≤ high; rates increase.

    The logarithms of the rates are multiples of ``step`` from that of ``first`` on, but for what all have in common.
    Of ``lost`` the whole infinite sum takes ``aliased``, its terms with larger rates ``narrow`` at z = low and those
    with smaller ones ``wide`` at z = high, where they count most.
    """

    rates: tuple[float, ...]
    masses: tuple[float, ...]
    lost: float
    step: float
    first: int
    aliased: float
    narrow: float
    wide: float


@functools.lru_cache(maxsize=64)
def mixture(name: str, parameter: float, low: float, high: float, error: float) -> Mixture:
    """The mixture for one function on [low, high]; low may be 0 where f and its narrow terms allow that.

    Raises :class:`~assay.spec.approximation.Infeasible`.
    """
    if not _LEAST <= error <= 1.0:  # terms that are left out never weigh more than the whole
        raise Infeasible(f"relative error {error:g} of a mixture, expected {_LEAST:g} to 1")
    power, rate, log_mass, amplified, least, value = _density(name, parameter, high)
    exact = power if name in _POWERS else None
    step = _coarsest(amplified, exact, error / 3.01)
    aliased = _aliasing(amplified, exact, step)
    if not aliased <= error / 3.0:  # also as what the ends lack may grow by (1 + aliased)/(1 − aliased)
        raise Infeasible(f"no mixture for z up to {high:.3g}")
    # the upper end: terms that are left out, relative to f at z = low, where they count most
    at_low, at_high = value(low), value(high)
    if low > 0.0 and not at_low < math.inf:
        raise Infeasible(f"the function is no number in float64 at z = {low:.3g}")
    if not (at_low > 0.0 and at_high > 0.0):
        raise Infeasible(f"the function is 0 in float64 at z = {high:.3g}")

    def share(s: float, z: float, at: float) -> float:
        """Of the term at s in f(z) = ``at``."""
        logarithm = log_mass(s) - rate * math.exp(s) * z - math.log(at) if at < math.inf else -math.inf
        return step * math.exp(min(logarithm, 700.0)) * SLACK

    top = math.ceil(max(math.log(40.0 / max(low, 1e-3)) - math.log(rate), 4.0) / step) + 4
    for _ in range(400):  # where another term falls by more than half, and is far below everything
        s = top * step
        if s > _STEEPEST:
            raise Infeasible("narrow terms do not end: near pairs have to be taken out")
        if share(s, low, at_low) < 1e-40 and _falls(lambda s: log_mass(s) - rate * math.exp(s) * low, s, step):
            break
        top += 1
    else:
        raise Infeasible("narrow terms do not end: near pairs have to be taken out")
    upper, cut = 2e-40, top
    for _ in range(4000):
        more = upper + share((cut - 1) * step, low, at_low)
        if more > error / 4.0:
            break
        upper, cut = more, cut - 1
    # the lower end: terms that are left out, relative to f at z = high
    lowest = least(error * at_high * 1e-3) / step
    if not lowest > -1e15:
        raise Infeasible(f"wide terms of {name} with parameter {parameter:g} do not end")
    bottom = math.floor(lowest)
    lower = error * 1e-3
    for _ in range(4000):
        more = lower + share(bottom * step, high, at_high)
        if more > error / 4.0:
            break
        lower, bottom = more, bottom + 1
    if not 0 < cut - bottom <= 400:
        raise Infeasible(f"{cut - bottom} Gaussians")
    with flint_context.bits(100):
        points = [flint.arb(step) * k for k in range(bottom, cut)]
        rates = tuple(float(flint.arb(rate) * s.exp()) for s in points)
        masses = tuple(float(flint.arb(step) * _ball_mass(name, parameter, s, power)) for s in points)
    if not (rates[0] >= TINY and min(masses) >= TINY and math.isfinite(rates[-1]) and math.isfinite(max(masses))):
        raise Infeasible("rates or masses of Gaussians leave float64")
    steepness = 64.0 * U * (1.0 + power + math.sqrt(max(high * rate, 1.0)))
    lost = (aliased + (upper + lower) * (1.0 + 3.0 * aliased) + steepness) * SLACK
    return Mixture(rates, masses, lost, step, bottom, aliased, upper, lower)


def _aliasing(amplified: Callable[[float], float], power: float | None, step: float) -> float:
    """What the sum over all multiples of ``step`` errs, relative to f: 2Q/(1 − Q)·A(θ) at the best of some θ.

    power: a where f is a power −a, whose first term is known: |Γ(a + 2πi/η)|/Γ(a) in place of Q·A(θ) (KG-11).
    """
    if not step > 0.0:
        return math.inf
    best = math.inf
    for theta in _ANGLES:
        grown, q = amplified(theta), math.exp(-2.0 * math.pi * theta / step) * SLACK
        if grown < math.inf:
            best = min(best, (q if power is None else q * q) / (1.0 - q) * grown)
    if power is not None and best < math.inf:
        with flint_context.bits(100):
            first = abs(flint.acb(power, 2 * flint.arb.pi() / flint.arb(step)).gamma()) / flint.arb(power).gamma()
            best += float(first.abs_upper()) if first.is_finite() else math.inf
    return 2.0 * best * SLACK


def _coarsest(amplified: Callable[[float], float], power: float | None, allowed: float) -> float:
    """About the largest step whose aliasing is at most ``allowed``; 0 where there is none."""
    step = 0.0
    for theta in _ANGLES:
        grown = amplified(theta)
        if grown < math.inf:
            step = max(step, 2.0 * math.pi * theta / math.log(1.0 + 2.0 * grown / allowed) * (1.0 - 1e-9))
    if power is None or step == 0.0:
        return step
    wide = 2.0 * step
    for _ in range(12):  # the gamma function allows a little more
        middle = 0.5 * (step + wide)
        if _aliasing(amplified, power, middle) <= allowed:
            step = middle
        else:
            wide = middle
    return step


def _falls(log_term: Callable[[float], float], s: float, step: float) -> bool:
    """Whether terms fall by half from s on: their logarithms are concave, so one quotient bounds all that follow."""
    return log_term(s + step) - log_term(s) < -0.7


def _density(name: str, parameter: float, high: float) -> tuple[Any, ...]:
    """(a or ν, rate, ln μ, amplification by the shift by iθ, s below which μ integrates to less than a number, f)."""
    if name in _POWERS:
        a = 0.5 if name == "inverse_multiquadric" else parameter
        rate = parameter if name == "inverse_multiquadric" else 1.0
        decays = name != "coulomb"
        if not (1.0 / _MOST_POWER <= a <= _MOST_POWER and rate >= TINY):
            raise Infeasible(f"no mixture of {name} with parameter {parameter:g} in float64")
        front = math.lgamma(a)

        def log_power(s: float) -> float:
            return a * s - (math.exp(min(s, 700.0)) if decays else 0.0) - front

        def amplified(theta: float) -> float:
            grown = -a * math.log(math.cos(theta))
            return math.exp(grown) if grown < 600.0 else math.inf

        def least(small: float) -> float:  # step·Σ_{k<k0} e^(a s_k)/Γ(a) ≤ e^(a s₀)/(Γ(a)·a)·(1 + …)
            return (math.log(small) + math.lgamma(a + 1.0) - 1.0) / a

        def value(z: float) -> float:
            if decays:
                return float((1.0 + rate * z) ** -a)
            return float(z**-a) if z > 0.0 and -a * math.log(z) < 700.0 else math.inf

        return a, rate, log_power, amplified, least, value
    nu = 0.5 if name == "laplacian" else parameter
    rate = parameter * parameter if name == "laplacian" else 2.0 * nu
    if not (TINY <= rate < math.inf and rate * high < math.inf):
        raise Infeasible(f"no mixture of {name} with parameter {parameter:g} in float64")
    front = -2.0 * nu * math.log(2.0) - math.lgamma(nu)
    largest = math.sqrt(rate * high)

    def bell(x: float) -> float:  # times e^x
        return {0.5: 1.0, 1.5: 1.0 + x, 2.5: 1.0 + x + x * x / 3.0}[nu]

    def density(s: float) -> float:
        return front - nu * s - math.exp(min(-s, 700.0)) / 4.0

    def grown(theta: float) -> float:
        c = math.cos(theta)
        far = largest * (1.0 - c)
        return c**-nu * bell(largest * c) / bell(largest) * math.exp(far) if far < 600.0 else math.inf

    def lowest(small: float) -> float:
        s = 0.0
        while density(s) > math.log(small * 1e-3) or s > -1.0:
            s -= 0.25
        return s - 2.0

    def bounded(z: float) -> float:
        x = math.sqrt(rate * z)
        return bell(x) * math.exp(-x)

    return nu, rate, density, grown, lowest, bounded


def _ball_mass(name: str, parameter: float, s: Any, power: float) -> Any:
    if name in _POWERS:
        inner = flint.arb(power) * s - (0 if name == "coulomb" else s.exp())
        return inner.exp() / flint.arb(power).gamma()
    inner = -flint.arb(power) * s - (-s).exp() / 4
    return inner.exp() * flint.arb(2) ** (-2 * flint.arb(power)) / flint.arb(power).gamma()


@dataclass(frozen=True, eq=False)
class Mixed:
    """Near pairs, grids and a polynomial, as a plan."""

    near: Near | None
    terms: tuple[tuple[float, Gaussian], ...]
    flat: Polynomial | None
    relative: float
    floor: float
    rounding: float
    own: float
    grain: float
    words: str

    def apply(self, vectors: Array) -> Array:
        out: Array = 0.0 if self.near is None else self.near.apply(vectors)  # type: ignore[assignment]
        for mass, term in self.terms:
            out = out + mass * term.apply(vectors)
        return np.asarray(out if self.flat is None else out + self.flat.apply(vectors))

    def doubt(self, sizes: Array) -> Array | float:
        """What subtracting a point's own vector rounds."""
        return self.own * sizes if self.own else 0.0


def planned(scene: Scene, relative: float, floor: float, radius: float, memory: int, workers: int) -> Mixed:
    """The plan of weights within relative·f + floor, with near pairs up to a distance (0: no near pairs)."""
    high = _up(scene.farthest)
    low = _up(radius * radius) if radius > 0.0 else 0.0
    if low >= high:
        raise Infeasible("all pairs are near")
    error = relative / 2.5
    sum_of = mixture(scene.name, scene.parameter, low * (1.0 - 2.0**-30), high, _coarse(error))
    least = float(scene.function(np.array([high]))[0])
    at_low = float(scene.function(np.array([low]))[0]) * (1.0 - 1e-6) if low > 0.0 else math.inf
    pairs = list(zip(sum_of.rates, sum_of.masses, strict=True))
    wide = [(t, c) for t, c in pairs if t * high <= _FLAT]
    steep = [(t, c) for t, c in pairs if t * high > _FLAT]
    if len(steep) > _MOST_TERMS:
        raise Infeasible(f"{len(steep)} Gaussians")
    absolute = max(floor, error * least)  # the floor that weights may have
    where = polynomial.frame(scene.points, scene.targets)
    flat, off, powers = None, 0.0, np.zeros(1)
    if wide:
        powers, off = _flattened(tuple(wide), high, 0.4 * absolute)
        scaled = powers * where.scale ** (2.0 * np.arange(len(powers)))
        flat = polynomial.planned(scene.points, scene.targets, where, scaled, 0.0, off, workers)
    terms, lost, total, lost_terms = [], 0.0, 0.0, 0.0
    for t, c in steep:
        below = 0.4 * absolute / (len(steep) * c)
        each = grid.gaussian(scene.points, scene.targets, scene.box, t, error, below, memory, workers)
        terms.append((c, each))
        lost, total, lost_terms = max(lost, each.relative), total + c, lost_terms + c * each.floor
    rounding = max([term.rounding for _, term in terms], default=0.0) + gamma(len(terms) + 8.0)
    n = len(scene.points)
    close, close_relative, most = None, 0.0, 0
    if low > 0.0:
        series, met, size, slope = _series(tuple(pairs), tuple(wide), tuple(map(float, powers)), low)
        near_relative, near_floor = of_pairs(scene)
        assert scene.code is not None
        degree, d = len(series) - 1, scene.points.shape[1]
        argument = (2.0 * d + 16.0) * U * slope
        steps = gamma(2 * degree + 8.0) * size
        close_relative = near_relative + (near_floor + (met + argument + steps) * SLACK) / at_low + 4.0 * U
        close = nearby.near(scene.points, scene.targets, low, scene.code, series, workers)
        most = -(-n // 512) + 512
        rounding += gamma(most + 4.0 ** (d - 1) * 64.0)
    graph = scene.graph
    own = 4.0 * (1.0 + error) * rounding * total if graph else 0.0
    grain = flat.grain if flat is not None else 0.0
    own += 2.0 * grain if graph else 0.0
    # a pair is either far, where the mixture stands for f, or near, where f − S does and S stands for the mixture
    far = max(sum_of.lost, close_relative) + lost * (1.0 + sum_of.lost)
    words = (
        f"{len(terms)} Gaussians on grids"
        + (f", {len(wide)} in a polynomial of {flat.words}" if flat is not None else "")
        + (f", pairs up to {math.sqrt(low):.3g} apart one by one" if close is not None else "")
    )
    total_floor = lost_terms + (flat.floor if flat is not None else 0.0)
    return Mixed(
        close, tuple(terms), flat, far * SLACK, total_floor * SLACK, 3.0 * rounding * SLACK, own * SLACK, grain, words
    )


def _up(x: float) -> float:
    """x rounded up to a quarter of an octave."""
    if not TINY <= x < 2.0**1000:
        raise Infeasible(f"squared distances of {x:.3g} leave float64")
    return float(2.0 ** (math.ceil(math.log2(x) * _LOG + 1e-9) / _LOG)) * (1.0 + 1e-12)


def _coarse(error: float) -> float:
    """An error rounded down to a quarter of an octave, at most 1."""
    return float(2.0 ** (math.floor(math.log2(min(error, 1.0)) * _LOG) / _LOG))


def _sum_series(pairs: tuple[tuple[float, float], ...], turn: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """u ↦ Σ c·e^(−t·z(u)) for a power series u."""

    def value(u: Any) -> Any:
        z = turn(u)
        total = z * 0
        for t, c in pairs:
            total += (z * -flint.arb(t)).exp() * flint.arb(c)
        return total

    return value


@functools.lru_cache(maxsize=64)
def _flattened(wide: tuple[tuple[float, float], ...], high: float, allowed: float) -> tuple[Array, float]:
    """A polynomial in z of the wide terms on [0, high], and its certified error, at most ``allowed`` (KG-7)."""
    t, c = np.array(wide).T

    def values(x: Array) -> Array:
        return np.asarray(np.exp(-np.multiply.outer(x, t)) @ c)

    for degree in range(3, 15):
        u = polynomial.fitted(lambda x: values(x * high), degree, 1.0)
        guess = float(
            np.abs(
                values(np.linspace(0, 1, 97) * high) - np.polynomial.polynomial.polyval(np.linspace(0, 1, 97), u)
            ).max()
        )
        if guess > 0.9 * allowed:
            continue
        powers = u / high ** np.arange(degree + 1.0)
        exact = [float(p) for p in powers]
        off = certified_error(
            _sum_series(wide, lambda x: x * flint.arb(high)), [p * 1.0 for p in u], (0.0, 1.0), lambda x: x * 0 + 1
        )
        # the powers are rounded once more when they are divided by high^k: 64u of Σ|u_k|
        off = (off + 64.0 * U * float(np.abs(u).sum())) * SLACK
        if off <= allowed:
            return np.array(exact), off
    raise Infeasible("the wide terms have no polynomial of a low degree")


@functools.lru_cache(maxsize=64)
def _series(
    pairs: tuple[tuple[float, float], ...], wide: tuple[tuple[float, float], ...], powers: tuple[float, ...], low: float
) -> tuple[Array, float, float, float]:
    """S in u = 2z/low − 1 for the sum on grids and the polynomial; error, Σ|s_k|, Σ k|s_k|."""
    steep = tuple(pair for pair in pairs if pair not in wide)
    t, c = np.array(steep).T if steep else (np.zeros(0), np.zeros(0))

    def values(u: Array) -> Array:
        z = (u + 1.0) * low / 2.0
        return np.exp(-np.multiply.outer(z, t)) @ c + np.polynomial.polynomial.polyval(z, powers)

    inner = _sum_series(steep, lambda u: (u + 1) * (flint.arb(low) / 2))

    def exact(u: Any) -> Any:
        z = (u + 1) * (flint.arb(low) / 2)
        total = z * 0
        for p in reversed(powers):
            total = total * z + flint.arb(p)
        return inner(u) + total

    grid_ = np.linspace(-1.0, 1.0, 301)
    size = float(values(np.array([-1.0]))[0])
    best = None
    for degree in range(6, 61, 2):
        nodes = np.cos((np.arange(degree + 1) + 0.5) * math.pi / (degree + 1))
        cheb = np.polynomial.chebyshev.chebfit(nodes, values(nodes), degree)
        mono = np.polynomial.chebyshev.cheb2poly(cheb)
        off = float(np.abs(np.polynomial.polynomial.polyval(grid_, mono) - values(grid_)).max())
        if best is None or off < 0.5 * best[1]:
            best = (mono, off)
        if off < 1e-10 * size or (best[1] < 1e-8 * size and off > 0.5 * best[1]):
            break
    assert best is not None
    mono = best[0]
    met = certified_error(exact, [float(x) for x in mono], (-1.0, 1.0 + 2.0**-30), lambda x: x * 0 + 1)
    sizes = np.abs(mono)
    return np.ascontiguousarray(mono), met, float(sizes.sum()), float((sizes * np.arange(len(mono))).sum())
