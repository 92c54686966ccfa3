"""What fires: the margins ⟨w_r, x_i⟩ − threshold of every query of a script, certified, with exact signs.

A margin is decided in float64 where its bound suffices, and in exact integers elsewhere, so that every tie is seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import flint
import numpy as np

from assay.spec.enclosure import Enclosure
from assay.spec.firing_neurons.exactness import exact_sums, lowest_bits
from assay.spec.flint_context import bits
from assay.spec.floating_point import require_usual
from assay.spec.memory import require_evaluable
from assay.spec.rounding import gamma

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from assay.spec.firing_neurons.instance import Call, Instance

    Array = NDArray[np.float64]

__all__ = ["Query", "define", "margins", "queries", "symbolic"]

_NEAR = 2.0**10  # margins within so many radii of 0 are evaluated exactly
_ROUNDOFF = 2.0**-53


@dataclass(frozen=True, eq=False)
class Query:
    """One query of a script, and the state that it meets.

    name: of its output, such as ``"fired at step 3"``; the structure is made in step 1.
    call: the call.  rows (k, d) and columns (l, d): answer (i, j) is whether ⟨rows_i, columns_j⟩ > threshold.
    """

    name: str
    call: Call
    rows: Array
    columns: Array
    threshold: float


def queries(instance: Instance) -> Iterator[Query]:
    """The queries of a script in order, each with the weights of its time."""
    data, weights = instance.data.astype(np.float64), instance.weights.astype(np.float64)
    for step, call in enumerate(instance.calls(), start=2):
        if call.weights is not None:
            weights = weights.copy()
            weights[call.operands] = call.weights
            continue
        rows, columns = (data, weights) if call.method == "fired" else (weights, data)
        threshold = instance.threshold if call.threshold is None else call.threshold
        yield Query(f"{call.method} at step {step}", call, rows[call.operands], columns, threshold)


def define(instance: Instance, relative: float = 1e-12, output: str = "fired") -> Enclosure:
    """The margins of an output, certified: positive where a neuron fires; a tie is exactly 0, with radius 0.

    output: the name of one query, such as ``"fired at step 3"``, of shape (points asked, m), or ``"data_of at step 4"``
    of shape (neurons asked, n).  ``"fired"`` and ``"data_of"`` are those of all queries of a method one after another,
    (numbers,).  The radius is at most ``relative``·(Σ_c|w_rc||x_ic| + |threshold|), besides a rounding of the midpoint.
    Raises ``ValueError`` for another output or a ``relative`` outside (0, 1).

    >>> from assay.spec.firing_neurons import Instance, data_of, fired
    >>> x = np.array([[0.1, 0.2]])
    >>> instance = Instance.of(x, np.array([[10.0, 0.0]]), [fired([0]), data_of([0], threshold=0.5)], threshold=1.0)
    >>> print(define(instance, 1e-30), define(instance, output="data_of at step 3").midpoint)
    [5.551115123125782702118158340454101562500e-17 ± 0e+00] [[0.5]]
    """
    if not 0.0 < relative < 1.0:
        raise ValueError(f"relative: {relative!r}, expected a number between 0 and 1")
    require_evaluable(instance)
    asked = list(queries(instance))
    if output in ("fired", "data_of"):
        parts = [margins(query, relative) for query in asked if query.call.method == output]
        return _joined(parts)
    found = next((query for query in asked if query.name == output), None)
    if found is None:
        names = ", ".join(["fired", "data_of", *(query.name for query in asked)])
        raise ValueError(f"unknown output {output!r}: expected one of {names}")
    return margins(found, relative)


def _joined(parts: list[Enclosure]) -> Enclosure:
    """The numbers of enclosures one after another."""
    midpoint, radius = (
        np.concatenate([np.zeros(0), *(getattr(part, name).ravel() for part in parts)])
        for name in ("midpoint", "radius")
    )
    full = None
    if parts and all(part.balls is not None for part in parts):
        full = lambda: np.concatenate([np.asarray(part.balls, dtype=object).ravel() for part in parts])  # noqa: E731
    return Enclosure(midpoint, radius, full)


def margins(query: Query, relative: float | None = None) -> Enclosure:
    """The margins of one query, (k, l), with exact signs.

    relative: the radius in units of the sum of absolute values; left out, it is that of float64 for margins that are
    far from 0, which is what a decision needs.
    """
    require_usual()
    d = query.rows.shape[1]
    with np.errstate(all="ignore"):
        middle = query.rows @ query.columns.T - query.threshold
        size = np.abs(query.rows) @ np.abs(query.columns).T + abs(query.threshold)
        radius = (float(gamma(d + 4, _ROUNDOFF)) * size + (d + 1) * 2.0**-1073) * (1 + 2.0**-40)
        left, right = (lowest_bits(x).min(axis=1) for x in (query.rows, query.columns))
        more = int(lowest_bits(np.array([query.threshold]))[0])
        exact = exact_sums(left, right, more, size, 53, 2.0**-1022)
        radius = np.where(exact, 0.0, radius)
        far = np.isfinite(middle) & (np.abs(middle) > _NEAR * radius)
        if relative is not None:
            far &= radius <= relative * size
    fractions = _exactly(query, np.argwhere(~(exact | far)))
    for at, fraction in fractions.items():
        middle[at], radius[at] = _rounded(fraction)
    full = None
    if relative is not None and relative < 2.0**-45:
        full = lambda: _balls(middle, radius, fractions)  # noqa: E731
    return Enclosure(middle, radius, full)


def _exactly(query: Query, wanted: NDArray[np.intp]) -> dict[tuple[int, int], Fraction]:
    """The margins of some (i, j), exactly."""
    sides = []
    for x, chosen in ((query.rows, wanted[:, 0]), (query.columns, wanted[:, 1])):
        rows = {}
        for row in np.unique(chosen).tolist():
            exponent = min(int(lowest_bits(x[row]).min()), 1100)
            rows[row] = exponent, [_scaled(number, exponent) for number in x[row].tolist()]
        sides.append(rows)
    threshold = Fraction(query.threshold)
    result = {}
    for i, j in wanted.tolist():
        (e, left), (f, right) = sides[0][i], sides[1][j]
        total = sum(a * b for a, b in zip(left, right, strict=True))
        result[i, j] = Fraction(total) * Fraction(2) ** (e + f) - threshold
    return result


def _scaled(number: float, exponent: int) -> int:
    """The integer of which a number is the multiple by 2^exponent."""
    top, bottom = number.as_integer_ratio()
    return (top << -exponent) // bottom if exponent < 0 else top >> exponent


def _rounded(fraction: Fraction) -> tuple[float, float]:
    """Midpoint and radius of a rational number in float64."""
    try:
        middle = float(fraction)
    except OverflowError:
        return (1.0 if fraction > 0 else -1.0) * float(np.finfo(np.float64).max), np.inf
    if middle == 0.0 and fraction:  # it keeps its sign
        return (1.0 if fraction > 0 else -1.0) * 2.0**-1074, 2.0**-1074
    exact = Fraction(middle) == fraction
    return middle, 0.0 if exact else abs(middle) * 2.0**-52 + 2.0**-1074


def _balls(middle: Array, radius: Array, fractions: dict[tuple[int, int], Fraction]) -> NDArray[Any]:
    """The margins as balls of many digits."""
    balls = np.empty(middle.shape, dtype=object)
    with bits(2200):
        for at in np.ndindex(*middle.shape):
            exact = fractions.get((at[0], at[1]))
            if exact is None:
                balls[at] = flint.arb(float(middle[at]), float(radius[at]))
            else:
                balls[at] = flint.arb(flint.fmpq(exact.numerator, exact.denominator))
    return balls


def symbolic(instance: Instance) -> dict[str, NDArray[np.object_]]:
    """The margins of every query as SymPy numbers, by name.  Raises ``ValueError`` for over 4,096 numbers.

    >>> from assay.spec.firing_neurons import Instance, fired
    >>> symbolic(Instance.of(np.array([[3.0]]), np.array([[0.5]]), [fired([0])], threshold=1.0))
    {'fired at step 2': array([[1/2]], dtype=object)}
    """
    import sympy

    asked = list(queries(instance))
    numbers = sum(len(query.rows) * len(query.columns) for query in asked)
    if numbers > 4096:
        raise ValueError(f"symbolic: {numbers} numbers, expected at most 4096")
    found = {}
    for query in asked:
        rows, columns = (
            sympy.Matrix(len(x), x.shape[1], [sympy.Rational(y) for y in x.ravel()])
            for x in (query.rows, query.columns)
        )
        table = rows * columns.T - sympy.Rational(query.threshold) * sympy.ones(len(query.rows), len(query.columns))
        found[query.name] = np.array(table.tolist(), dtype=object)
    return found
