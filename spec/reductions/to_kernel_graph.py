"""From vectors to products with kernel graphs: sums of Gaussians (OV-6), and histograms of inner products (OV-9).

The points are the gadgets of OV-5, whose squared distances are 2d + 2⟨a, b⟩.  OV-6 makes weights so steep that one sum
a left vector decides.  OV-9 takes any f that is rich enough: d + 1 sums a left vector, whose point is scaled or shifted
while the right ones stay, are linear in how many right vectors have each inner product with it, and the system is
solved for those that have 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import flint
import numpy as np

from assay.spec import flint_context
from assay.spec.kernel_graph.functions import Function, named
from assay.spec.kernel_graph.instance import Instance
from assay.spec.memory import require_memory
from assay.spec.problem import InvalidInstance, Provenance
from assay.spec.reductions.pairs import gadgets
from assay.spec.reductions.problems import Solutions
from assay.spec.reductions.reduction import Reduction, Sizes
from assay.spec.reductions.rounding import above, exp_bounds, log_bounds, output_array, rational_bounds, round_up

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.spec.instances.orthogonal_vectors import OrthogonalVectors

__all__ = ["OV_6", "OV_9", "Row", "gadget_points", "histogram_row", "steepness"]

_LEAST = Fraction(2) ** -1000  # of sums that decide, in float64
_MOST_BITS = 1 << 14  # of the balls in which a system is solved
_CLOSE = Fraction(1, 2**60)
_GROWTH = 1.6  # of the shifts


def measure(source: OrthogonalVectors) -> Sizes:
    """The sizes of two sets of vectors."""
    return {"n": source.n, "m": source.m, "d": source.d}


def gadget_points(source: OrthogonalVectors) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The gadgets of OV-5 as points, (n, 4d) and (m, 4d): squared distances 2d + 2⟨a, b⟩, at most 2d on one side."""
    size = 40 * (source.n + source.m) * source.d
    require_memory(size, f"{source.n} and {source.m} points of {4 * source.d} coordinates")
    left, right = gadgets(source)
    return left.astype(np.float64), right.astype(np.float64)


def steepness(factor: int, d: int) -> Fraction:
    """λ, the least float64 with 2λ ≥ ln factor.  Raises InvalidInstance where factor^−d is below 2^-1000."""
    decay = round_up(log_bounds(factor)[1] / 2, "float64")
    if exp_bounds(-2 * decay * d)[0] < _LEAST:
        raise InvalidInstance(
            f"weights of {factor}^-{d}, about 10^-{round(d * math.log10(factor))}, which float64 does not hold, "
            "expected fewer coordinates or fewer vectors"
        )
    return decay


# --- OV-6 -------------------------------------------------------------------------------------------------------------


def _forward(source: OrthogonalVectors) -> Instance:
    decay = steepness(4 * source.m, source.d)
    left, right = gadget_points(source)
    return Instance(
        right,
        np.ones((source.m, 1)),
        function="gaussian",
        parameter=float(decay),
        targets=left,
        provenance=Provenance(family="OV-6"),
    )


def _levels(source: OrthogonalVectors, target: Instance) -> tuple[Fraction, Fraction]:
    """(yes, no): a sum is at least ``yes`` where there is a partner, and at most ``no`` where there is none."""
    low, high = exp_bounds(-2 * Fraction(target.parameter) * source.d)
    return low, high / 4


def _accuracy(source: OrthogonalVectors, target: Instance) -> Fraction:
    yes, no = _levels(source, target)
    return (yes - no) / 2


def found_row(source: OrthogonalVectors, i: int, count: int | None = None) -> Solutions:
    """The answer "yes" that points at left vector i, with its first partner, if it has one, as the witness."""
    partner = ~(source.right & source.left[i]).any(axis=1)
    return Solutions(True, count, (i, int(partner.argmax())) if partner.any() else None)


def _decode(source: OrthogonalVectors, target: Instance, output: Any) -> Solutions:
    yes, no = _levels(source, target)
    rows = above(output_array(output, (source.n, 1))[:, 0], (yes + no) / 2)
    return found_row(source, int(rows.argmax())) if rows.any() else Solutions(False, 0, None)


def _sizes(sizes: Sizes) -> Sizes:
    decay = steepness(4 * sizes["m"], sizes["d"])
    return {"n": sizes["n"], "m": sizes["m"], "d": 4 * sizes["d"], "B": 1, "parameter": decay}


OV_6 = Reduction(
    name="OV-6",
    claim="OV-6",
    source="orthogonal_vectors",
    target="kernel_graph",
    statement="the gadgets of OV-5 and 2λ ≥ ln 4m: e^(2λd)·sum ≥ 1 where a has an orthogonal b, ≤ 1/4 elsewhere",
    forward=_forward,
    decoder=_decode,
    accuracy=_accuracy,
    sizes=_sizes,
    measure=measure,
    preconditions=("(4m)^−d is at least 2^-1000",),
)


# --- OV-9 -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """The numbers g_t with Σ_t g_t·y_t = h_0, the number of partners, for exact sums y_t = Σ_k h_k f(z_tk).

    values: rationals near the g_t.  accuracy: sums that err by less than that decode.  relative: the same for an error
    relative to the largest that a sum of m right vectors can be.  condition: of the system, its rows scaled to a
    largest entry of 1, in the norm of row sums, as a power of ten.
    """

    values: tuple[Fraction, ...]
    accuracy: Fraction
    relative: float
    condition: float


def _moves(d: int, by: str) -> list[Fraction]:
    """What a left point is moved by, for t = 0 … d: float64 numbers.

    scalings: it is multiplied by them; the right ones stay.  shifts: they are a further coordinate, 0 on the right.
    """
    if by == "shifts":
        return [Fraction(math.sqrt(2 * d * (_GROWTH**t - 1))) for t in range(d + 1)]
    # Up to 3/2, that is below √3, d(r² − 2r + 3)/r decreases: functions that scale as powers, too, tell all r apart.
    parts = 1 << (-(-2 * (d + 1) // 3) - 1).bit_length()
    return [Fraction(t + 1, parts) for t in range(d + 1)]


def _distance(d: int, k: int, move: Fraction, by: str) -> Fraction:
    """The squared distance of a moved left point from a right one whose inner product with it is k."""
    if by == "shifts":
        return 2 * d + 2 * k + move**2
    return d * (move**2 - 2 * move + 3) + 2 * move * k


def histogram_row(f: Function, d: int, m: int, by: str) -> Row:
    """The row that reads h_0 off the sums.  Raises InvalidInstance where f does not tell the inner products apart.

    by: ``"scalings"`` or ``"shifts"`` of the left points.  A polynomial of z of degree below d does not, nor does a
    Gaussian by shifts: e^(−λ(z + s)) is the same function of z for every s, but for a factor.
    """
    if by not in ("scalings", "shifts"):
        raise InvalidInstance(f"by {by!r}: expected scalings or shifts")
    moves = _moves(d, by)
    bits = 256
    while bits <= _MOST_BITS:
        with flint_context.bits(bits):
            entries = [[f.ball(_ball(_distance(d, k, move, by))) for k in range(d + 1)] for move in moves]
            matrix = flint.arb_mat(entries)
            try:
                inverse = matrix.inv()
            except ZeroDivisionError:
                bits *= 2
                continue
            first = [rational_bounds(inverse[0, t]) for t in range(d + 1)]
            largest = [max(rational_bounds(entry)[1] for entry in row) for row in entries]
            sides = [sum(abs(inverse[k, t]) * _ball(largest[t]) for t in range(d + 1)) for k in range(d + 1)]
            rows = [sum(map(abs, row)) / _ball(most) for row, most in zip(entries, largest, strict=True)]
            condition = max(rows, key=lambda x: float(x.mid())) * max(sides, key=lambda x: float(x.log().mid()))
        values = [(low + high) / 2 for low, high in first]
        # the sums are at most m·largest_t: the row itself is off by that much
        off = sum(((high - low) * m * most for (low, high), most in zip(first, largest, strict=True)), Fraction(0))
        if off < _CLOSE:
            total = sum(map(abs, values), Fraction(0))
            scaled = sum((abs(g) * most for g, most in zip(values, largest, strict=True)), Fraction(0))
            half = Fraction(1, 2) - _CLOSE
            return Row(
                tuple(values), half / total, float(half / (m * scaled)), float(condition.log().mid()) / math.log(10)
            )
        bits *= 2
    raise InvalidInstance(
        f"function {f.name}: moved by {by}, its values at {d + 1} distances are not independent, expected a function "
        "that is no polynomial of lower degree"
    )


def _exponent(x: Fraction) -> int:
    """⌊log₂ x⌋ or one more, of a positive number of any size."""
    return x.numerator.bit_length() - x.denominator.bit_length()


def _ball(x: Fraction) -> Any:
    return flint.arb(flint.fmpq(x.numerator, x.denominator))


def _row(d: int, m: int, function: str, parameter: float, by: str) -> Row:
    try:
        f = named(function, float(parameter))
    except ValueError as error:
        raise InvalidInstance(str(error)) from None
    if function == "arc_cosine":
        raise InvalidInstance("function arc_cosine: it needs points on the sphere, expected another function")
    return histogram_row(f, d, m, by)


def _forward_histogram(
    source: OrthogonalVectors, function: str = "rational", parameter: float = 1.0, by: str = "scalings"
) -> Instance:
    d = source.d
    row = _row(d, source.m, function, parameter, by)  # refuses what does not decode
    if row.accuracy < _LEAST:
        raise InvalidInstance(
            f"function {function}, parameter {float(parameter):.9g}: sums as exact as 2^{_exponent(row.accuracy)},"
            " which float64 does not hold, expected another parameter or fewer coordinates"
        )
    require_memory(40 * (d + 1) * source.n * d, f"{(d + 1) * source.n} points of {4 * d} coordinates")
    left, right = gadget_points(source)
    moves = [float(move) for move in _moves(d, by)]
    if by == "shifts":
        rows = [np.append(x, move) for x in left for move in moves]
        right = np.concatenate([right, np.zeros((source.m, 1))], axis=1)
    else:
        rows = [x * move for x in left for move in moves]
    return Instance(
        right,
        np.ones((source.m, 1)),
        function=function,
        parameter=float(parameter),
        targets=np.array(rows),
        provenance=Provenance(family="OV-9"),
    )


def _row_of(source: OrthogonalVectors, target: Instance) -> Row:
    assert isinstance(target.function, str)
    by = "scalings" if target.points.shape[1] == 4 * source.d else "shifts"
    return _row(source.d, source.m, target.function, target.parameter, by)


def _numbers(source: OrthogonalVectors, target: Instance, output: Any) -> list[Fraction]:
    """Σ_t g_t·y_it for every left vector i."""
    values = _row_of(source, target).values
    sums = output_array(output, (source.n * (source.d + 1), 1)).reshape(source.n, source.d + 1)
    return [sum((g * Fraction(y) for g, y in zip(values, each, strict=True)), Fraction(0)) for each in sums]


def _decode_histogram(source: OrthogonalVectors, target: Instance, output: Any) -> Solutions:
    partners = [math.floor(number + Fraction(1, 2)) for number in _numbers(source, target, output)]
    count = sum(max(each, 0) for each in partners)
    if count == 0:
        return Solutions(False, 0, None)
    return found_row(source, int(np.argmax([each > 0 for each in partners])), count)


def _sizes_of_histogram(
    sizes: Sizes, function: str = "rational", parameter: float = 1.0, by: str = "scalings"
) -> Sizes:
    d = sizes["d"]
    more = int(by == "shifts")
    return {"n": sizes["n"] * (d + 1), "m": sizes["m"], "d": 4 * d + more, "parameter": Fraction(parameter)}


OV_9 = Reduction(
    name="OV-9",
    claim="OV-9",
    source="orthogonal_vectors",
    target="kernel_graph",
    statement="d + 1 sums a left vector, scaled or shifted, are linear in how many b have each ⟨a, b⟩",
    forward=_forward_histogram,
    decoder=_decode_histogram,
    accuracy=lambda source, target: _row_of(source, target).accuracy,
    sizes=_sizes_of_histogram,
    measure=measure,
    preconditions=(
        "f at d + 1 distances, the left points moved d + 1 times, is a regular matrix",
        "the accuracy that is asked for is at least 2^-1000",
    ),
    counts=True,
    options=("function", "parameter", "by"),
)
