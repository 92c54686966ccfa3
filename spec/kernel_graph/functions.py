"""The functions f of kernel graphs: the weight of two points is f(z), where z is their squared distance.

:func:`named` gives the functions that the problem knows by name, and a :class:`Function` of the user's own may stand
wherever a name may.  Every property that a proof uses is declared there: what f is on balls, whether it is monotone,
where it is analytic, and how a kernel computes it (proofs_notes/kernel_graph.md, KTOL-0 and KTOL-2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import flint
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["NAMES", "Function", "named"]

#: The names that an instance may give in place of a :class:`Function`.
NAMES: tuple[str, ...] = (
    "gaussian", "laplacian", "rational", "coulomb", "matern", "inverse_multiquadric", "polynomial", "arc_cosine",
    "threshold",
)  # fmt: skip

_MONOTONE = ("decreasing", "increasing", None)
_LARGE_POWER = 8  # of polynomials


@dataclass(frozen=True)
class Function:
    """A function of the squared distance z ≥ 0, with the properties that proofs about it use.

    name: what descriptions call it.
    ball: f of one ``flint.arb`` at the precision of the context; z ≥ 0, and z > 0 where f is singular at 0.
    values: f of float64 arrays in NumPy, each within 2^-50·(|f| + terms) + 2^-1060 of f at a distance that is within
    2^-51·(z + shift) of z.
    monotone: ``"decreasing"`` or ``"increasing"`` on z ≥ 0 (weakly), or ``None``; then ``extent`` must be given.
    extent: (a, b) → (low, high) with low ≤ f ≤ high on [a, b], up to the errors of ``values``; arrays.
    completely_monotone: whether f is a sum of decreasing exponentials of z with positive weights.
    singular_at_zero: whether f(0) is infinite, so that points may not coincide.
    weights: whether f ≥ 0 everywhere, so that there is a graph with these weights.
    analytic: the real number at or below 0 on whose right f is analytic: its singularity nearest to the distances;
    −inf for an entire function, ``None`` for one that is not analytic.
    sphere: whether the points are on the unit sphere, so that a kernel may have z from inner products.
    last: f is given on [0, last], and distances beyond that are taken for ``last``.
    lipschitz: (a, b) → sup of |z f'(z)/f(z)| on [a, b], or a bound of it; arrays.  +inf where there is none.
    scale: f is a function of scale·z, as which a kernel may compute the distances.
    argument: r of KTOL-2: roundings on the way from a distance to the argument of f.
    shift: s of KTOL-2: what is added to z in the argument.
    operations, elementary: of a kernel after that: roundings, and calls of exp, log, power or an inverse cosine.
    power: p where f may be computed as e^(±p·ln(scale·(shift + z))); 0 elsewhere.
    terms: c where f is a sum of terms that may cancel: they are at most |f| + c together.
    all_pairs: whether a kernel may sum over all pairs of a graph and take f(0) away; not where f(0) is infinite, nor
    where f rises so steeply at 0 that the weight of a point with itself is not known.
    lost: what a result of exp that underflows may be multiplied with.
    arrays: f of an array of balls of any arithmetic of :mod:`assay.spec.enclosure`, where it has such a form.

    >>> cut = Function("cut", lambda z: (1 - z).max(0), lambda z: np.maximum(1.0 - z, 0.0), monotone="decreasing")
    >>> cut(np.array([0.25, 4.0])).tolist(), cut.weights
    ([0.75, 0.0], True)
    """

    name: str
    ball: Callable[[Any], Any]
    values: Callable[[Array], Array]
    monotone: str | None = None
    extent: Callable[[Array, Array], tuple[Array, Array]] | None = None
    completely_monotone: bool = False
    singular_at_zero: bool = False
    weights: bool = True
    analytic: float | None = None
    sphere: bool = False
    last: float = math.inf
    lipschitz: Callable[[Array, Array], Array] | None = None
    scale: float = 1.0
    argument: int = 8
    shift: float = 0.0
    operations: int = 8
    elementary: int = 1
    power: float = 0.0
    terms: float = 0.0
    all_pairs: bool = True
    lost: float = 1.0
    arrays: Callable[[Any], Any] | None = None

    def __post_init__(self) -> None:
        if self.monotone not in _MONOTONE:
            raise ValueError(f"monotone: {self.monotone!r}, expected 'decreasing', 'increasing' or None")
        if self.monotone is None and self.extent is None:
            raise ValueError("extent: None, expected bounds of f on an interval where it is not monotone")

    @property
    def at_zero(self) -> float:
        """f(0), in float64."""
        return math.inf if self.singular_at_zero else float(self(0.0))

    def __call__(self, z: Any) -> Array:
        """f of distances, in NumPy and float64."""
        return np.asarray(self.values(np.minimum(np.asarray(z, dtype=np.float64), self.last)), dtype=np.float64)

    def between(self, a: Array, b: Array) -> tuple[Array, Array]:
        """(low, high) with low ≤ f ≤ high on [a, b], up to the errors of ``values``; 0 ≤ a ≤ b."""
        a, b = np.minimum(a, self.last), np.minimum(b, self.last)
        if self.extent is not None:
            return self.extent(a, b)
        first, last = self.values(a), self.values(b)
        return (last, first) if self.monotone == "decreasing" else (first, last)


def named(function: str | Function, parameter: float = 1.0) -> Function:
    """The function that an instance means by ``function`` and ``parameter``; a :class:`Function` as it is.

    ``gaussian``: e^(−parameter·z).  ``laplacian``: e^(−parameter·√z).  ``rational``: (1 + z)^(−parameter).
    ``coulomb``: z^(−parameter).  ``matern``: of smoothness ``parameter``, 1/2, 3/2 or 5/2, and length scale 1.
    ``inverse_multiquadric``: (1 + parameter·z)^(−1/2).  ``polynomial``: z^parameter, from 1 to 8.
    ``arc_cosine``: of points on the unit sphere, of order ``parameter``, 0 or 1 (Cho and Saul 2009), divided by the
    value at z = 0; 2: the tangent kernel of a network of one hidden layer with ReLU, u·κ₀ + κ₁ (Bietti and Mairal
    2019).  ``threshold``: 1 where z ≤ parameter, else 0.
    Raises ``ValueError`` naming the argument.

    >>> float(named("matern", 1.5)(1.0).round(9)), named("coulomb", 0.5).singular_at_zero
    (0.483357725, True)
    """
    if isinstance(function, Function):
        return function
    if function not in _MADE:
        raise ValueError(f"function: {function!r}, expected a Function or one of {', '.join(NAMES)}")
    rule, words, make = _MADE[function]
    if not (math.isfinite(parameter) and rule(parameter)):
        raise ValueError(f"parameter: {parameter!r}, expected {words} for {function}")
    return make(float(parameter))


def _arb(x: float) -> Any:
    return flint.arb(x)


def _gaussian(p: float) -> Function:
    return Function(
        "gaussian",
        lambda z: (-_arb(p) * z).exp(),
        lambda z: np.exp(-p * z),
        monotone="decreasing",
        completely_monotone=True,
        analytic=-math.inf,
        lipschitz=lambda a, b: p * np.asarray(b),
        scale=p,
        argument=10,
        operations=0,
        arrays=lambda z: z.scaled(-p).exp(),
    )


def _laplacian(p: float) -> Function:
    return Function(
        "laplacian",
        lambda z: (-_arb(p) * z.sqrt()).exp(),
        lambda z: np.exp(-p * np.sqrt(z)),
        monotone="decreasing",
        completely_monotone=True,
        analytic=0.0,
        lipschitz=lambda a, b: p / 2 * np.sqrt(b),
        scale=p * p,
        argument=16,
        operations=0,
        arrays=lambda z: z.sqrt().scaled(-p).exp(),
    )


def _rational(p: float) -> Function:
    return Function(
        "rational",
        lambda z: (-_arb(p) * (1 + z).log()).exp(),
        lambda z: (1.0 + z) ** -p,
        monotone="decreasing",
        completely_monotone=True,
        analytic=-1.0,
        lipschitz=lambda a, b: p * (np.asarray(b) / (1.0 + np.asarray(b))),
        shift=1.0,
        operations=4 + 2 * math.ceil(p),
        power=p,
        arrays=lambda z: z.plus(1.0).log().scaled(-p).exp(),
    )


def _coulomb(p: float) -> Function:
    return Function(
        "coulomb",
        lambda z: (-_arb(p) * z.log()).exp(),
        lambda z: np.asarray(z) ** -p,
        monotone="decreasing",
        completely_monotone=True,
        singular_at_zero=True,
        all_pairs=False,
        analytic=0.0,
        lipschitz=lambda a, b: np.full_like(np.asarray(b), p),
        operations=4 + 2 * math.ceil(p),
        power=p,
        arrays=lambda z: z.log().scaled(-p).exp(),
    )


def _matern(p: float) -> Function:
    def ball(z: Any) -> Any:
        r = (_arb(2.0 * p) * z).sqrt()
        factor = {0.5: _arb(1.0), 1.5: 1 + r, 2.5: 1 + r + r * r / 3}[p]
        return factor * (-r).exp()

    def values(z: Array) -> Array:
        r = np.sqrt(2.0 * p * z)
        factor = {0.5: 1.0, 1.5: 1.0 + r, 2.5: 1.0 + r + r * r / 3.0}[p]
        return np.asarray(factor * np.exp(-r))

    def arrays(z: Any) -> Any:
        r = z.scaled(2.0 * p).sqrt()
        decay = r.scaled(-1.0).exp()
        if p == 0.5:
            return decay
        factor = r.plus(1.0)
        if p == 2.5:  # 3 + 3r + r², a third of it below
            three = r.scaled(3.0).plus(3.0).plus_ball(z.scaled(5.0))
            return three.times(decay).divided(three.scaled(0.0).plus(3.0))
        return factor.times(decay)

    return Function(
        "matern",
        ball,
        values,
        monotone="decreasing",
        completely_monotone=True,
        analytic=0.0,
        lipschitz=lambda a, b: np.sqrt(2.0 * p * b) / 2,
        argument=16,
        operations=0 if p == 0.5 else 12,
        lost=1.0 if p == 0.5 else 2.0**20,
        arrays=arrays,
    )


def _inverse_multiquadric(p: float) -> Function:
    return Function(
        "inverse_multiquadric",
        lambda z: 1 / (1 + _arb(p) * z).sqrt(),
        lambda z: 1.0 / np.sqrt(1.0 + p * z),
        monotone="decreasing",
        completely_monotone=True,
        analytic=-1.0 / p,
        lipschitz=lambda a, b: np.full_like(np.asarray(b), 0.5),
        scale=p,
        shift=1.0 / p,
        operations=4,
        power=0.5,
        arrays=lambda z: z.scaled(p).plus(1.0).log().scaled(-0.5).exp(),
    )


def _polynomial(p: float) -> Function:
    k = int(p)

    def arrays(z: Any) -> Any:
        power = z
        for _ in range(k - 1):
            power = power.times(z)
        return power

    return Function(
        "polynomial",
        lambda z: z**k,
        lambda z: np.asarray(z) ** k,
        monotone="increasing",
        analytic=-math.inf,
        lipschitz=lambda a, b: np.full_like(np.asarray(b), p),
        operations=4 + 2 * k,
        arrays=arrays,
    )


def _threshold(p: float) -> Function:
    def ball(z: Any) -> Any:
        if z <= _arb(p):
            return _arb(1)
        return _arb(0) if z > _arb(p) else flint.arb(0.5, 0.5)

    def arrays(z: Any) -> Any:
        middle, radius = z.rounded()
        yes, no = middle + radius < p, middle - radius > p  # a rounding of these sums is within the radius or exact
        exact = (radius == 0.0) & (middle == p)
        return z.scaled(np.nan).where(~(yes | exact), 1.0).where(~no, 0.0)

    return Function(
        "threshold",
        ball,
        lambda z: np.where(np.asarray(z) <= p, 1.0, 0.0),
        monotone="decreasing",
        argument=4,
        operations=0,
        elementary=0,
        arrays=arrays,
    )


def _angle(z: Any) -> Any:
    """θ of a ball of z = 2 − 2cos θ, below 4."""
    return 2 * (z.sqrt() / 2).asin()


def _arc_cosine(p: float) -> Function:
    """θ = 2·arcsin(√z/2), κ₀ = 1 − θ/π, κ₁ = (sin θ + (π − θ)cos θ)/π, and their tangent kernel."""

    def ball(z: Any) -> Any:
        pi = flint.arb.pi()
        far = z >= 4
        theta = pi if far else _angle(z)
        u = _arb(-1) if far else 1 - z / 2
        zero = 1 - theta / pi
        if p == 0.0:
            return zero
        one = (theta.sin() + (pi - theta) * u) / pi
        return one if p == 1.0 else u * zero + one

    def parts(z: Array) -> tuple[Array, Array]:
        z = np.minimum(z, 4.0)
        rest = 2.0 * np.arctan2(np.sqrt(4.0 - z), np.sqrt(z))  # π − θ, accurate also near z = 4
        sine = np.sqrt(z * (4.0 - z)) / 2
        # κ₁ = (sin r − r·cos r)/π for r = π − θ, which cancels where r is small: r³/3 − r⁵/30 + r⁷/840 − …
        square = rest * rest
        series = 1.0 / 45360.0 - square * (1.0 / 3991680.0 - square / 518918400.0)
        series = rest**3 * (1.0 / 3.0 - square * (1.0 / 30.0 - square * (1.0 / 840.0 - square * series)))
        one = np.where(rest < 0.5, series, sine + rest * (1.0 - z / 2))
        return rest / math.pi, one / math.pi

    def values(z: Array) -> Array:
        zero, one = parts(np.asarray(z))
        if p < 2.0:
            return zero if p == 0.0 else one
        return (1.0 - np.minimum(z, 4.0) / 2) * zero + one

    def extent(a: Array, b: Array) -> tuple[Array, Array]:
        # κ₁ and u·κ₀ + κ₁ are (sin θ + k·κ₀u·π)/π with k = 1 or 2; a kernel has sin θ and θ from roundings of its own
        sines = [np.sqrt(x * (4.0 - x)) / 2 for x in (a, b)]
        low, high = np.minimum(*sines), np.where((a <= 2.0) & (b >= 2.0), 1.0, np.maximum(*sines))
        (near, _), (far, _) = parts(a), parts(b)
        u_a, u_b = 1.0 - a / 2, 1.0 - b / 2
        least, most = np.minimum(u_b * near, u_b * far), np.maximum(u_a * near, u_a * far)
        return low / math.pi + p * least, high / math.pi + p * most

    return Function(
        "arc_cosine",
        ball,
        values,
        monotone="decreasing" if p < 2.0 else None,
        extent=None if p == 0.0 else extent,
        weights=p < 2.0,
        analytic=0.0,
        sphere=True,
        last=4.0,
        shift=2.0,
        operations=4 if p == 0.0 else 8,
        elementary=1 if p == 0.0 else 2,
        terms=2.0,
        all_pairs=False,
    )


def _whole(low: int, high: int) -> Callable[[float], bool]:
    return lambda p: float(p).is_integer() and low <= p <= high


#: name → what its parameter must be, the words for it, and the function.
_MADE: dict[str, tuple[Callable[[float], bool], str, Callable[[float], Function]]] = {
    "gaussian": (lambda p: p > 0.0, "a number > 0", _gaussian),
    "laplacian": (lambda p: p > 0.0, "a number > 0", _laplacian),
    "rational": (lambda p: p > 0.0, "a number > 0", _rational),
    "coulomb": (lambda p: p > 0.0, "a number > 0", _coulomb),
    "matern": (lambda p: p in (0.5, 1.5, 2.5), "0.5, 1.5 or 2.5", _matern),
    "inverse_multiquadric": (lambda p: p > 0.0, "a number > 0", _inverse_multiquadric),
    "polynomial": (_whole(1, _LARGE_POWER), "a whole number from 1 to 8", _polynomial),
    "arc_cosine": (_whole(0, 2), "0, 1 or 2", _arc_cosine),
    "threshold": (lambda p: p >= 0.0, "a number of at least 0", _threshold),
}
