"""From vectors to one solve with the Laplacian of a Gaussian graph (OV-7).

The points are the gadgets of OV-5 of both sides, and a current enters at the first left point and leaves at the first
right one.  Each side hangs together well.  Between the sides there is an edge as strong as those within them only where
two vectors are orthogonal, so that the effective resistance decides.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import flint
import numpy as np

from assay.spec import flint_context
from assay.spec.kernel_graph.spectral import pair_weights
from assay.spec.kernel_graph_solve.criteria import energy_error
from assay.spec.kernel_graph_solve.definition import LARGEST, solved
from assay.spec.kernel_graph_solve.instance import Instance
from assay.spec.problem import Provenance
from assay.spec.reductions.problems import Solutions
from assay.spec.reductions.reduction import Reduction, Sizes
from assay.spec.reductions.rounding import exp_bounds, output_array, rational_bounds
from assay.spec.reductions.to_kernel_graph import found_row, gadget_points, measure, steepness

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.spec.instances.orthogonal_vectors import OrthogonalVectors

__all__ = ["OV_7", "difference", "quotient"]

_YES, _NO = 3, 16  # e^(−2λd)·R is at most the one, or at least the other
_BY_DIFFERENCE = Fraction(_NO - _YES, _NO + _YES)
_FINE = 1 << 60  # the accuracy is rounded down to a multiple of its inverse
_BITS = 256


def _forward(source: OrthogonalVectors, tolerance: float = 0.5) -> Instance:
    decay = steepness(16 * source.n * source.m, source.d)
    right_side = np.zeros(source.n + source.m)
    right_side[0], right_side[source.n] = 1.0, -1.0
    return Instance(
        np.concatenate(gadget_points(source)),
        right_side,
        function="gaussian",
        parameter=float(decay),
        tolerance=float(tolerance),
        provenance=Provenance(family="OV-7"),
    )


def _accuracy(source: OrthogonalVectors, target: Instance) -> Fraction:
    """√(13/16), but for 2^-60."""
    return Fraction(math.isqrt((_NO - _YES) * _FINE**2 // _NO) - 1, _FINE)


def _error(source: OrthogonalVectors, target: Instance, output: Any) -> float | None:
    """The energy error; where x'Lx exceeds 2b'x, the relative error of b'x, such that 13/19 becomes the accuracy."""
    x = output_array(output, (source.n + source.m,))
    if len(x) > LARGEST:
        return None
    exact = solved(target, 2.0**-80)
    energy = energy_error(x, pair_weights(target), exact)[1]
    scale = exp_bounds(-2 * Fraction(target.parameter) * source.d)[0]
    if quotient(source, target, x)[0] * scale < 2 * difference(source, x):
        return energy
    low, high = rational_bounds(exact.energy)
    bridge = difference(source, x)
    off = max(abs(bridge - low), abs(bridge - high)) / low
    return float(off * _accuracy(source, target) / _BY_DIFFERENCE) * (1 + 2.0**-50)


def difference(source: OrthogonalVectors, x: NDArray[Any]) -> Fraction:
    """b'x, the difference of the two potentials: exact."""
    return Fraction(x[0]) - Fraction(x[source.n])


def quotient(source: OrthogonalVectors, target: Instance, x: NDArray[Any]) -> tuple[Fraction, Fraction]:
    """Bounds of e^(2λd)·x'Lx from below and above, relatively 2^-200 apart: no digit cancels."""
    values = [Fraction(each) for each in x.tolist()]
    common = math.lcm(*{each.denominator for each in values})  # a power of two, for numbers of a machine
    whole = np.array([int(each * common) for each in values], dtype=object)
    points = target.points.astype(np.float32)  # 0 and 1: products of them are exact
    weight = points.sum(axis=1).astype(np.int64)
    squares: dict[int, int] = {}
    for i in range(len(whole) - 1):
        z = weight[i] + weight[i + 1 :] - 2 * (points[i + 1 :] @ points[i]).astype(np.int64)
        gaps = whole[i + 1 :] - whole[i]
        for distance in np.unique(z).tolist():
            here = gaps[z == distance]
            squares[distance] = squares.get(distance, 0) + int((here * here).sum())
    decay = Fraction(target.parameter)
    with flint_context.bits(_BITS):
        total = flint.arb(0)
        for distance, square in squares.items():
            exponent = decay * (2 * source.d - distance)
            total += flint.arb(flint.fmpz(square)) * flint.arb(flint.fmpq(*exponent.as_integer_ratio())).exp()
        low, high = rational_bounds(total)
    return low / common**2, high / common**2


def _decode(source: OrthogonalVectors, target: Instance, output: Any) -> Solutions:
    """By (b'x)²/x'Lx where x can be as close as is asked; by b'x where x'Lx shows that it is not.

    The latter are potentials that were rounded to a machine's type: a difference of them may be right to all digits
    while the energy of their roundings exceeds that of the whole.
    """
    x = output_array(output, (source.n + source.m,))
    bridge = difference(source, x)
    if bridge <= 0:  # of every x whose error is below the accuracy it is positive, as b'x* = R is
        raise ValueError("output solves nothing: expected that its first number exceeds that of the first right point")
    low, high = quotient(source, target, x)
    unit = exp_bounds(-2 * Fraction(target.parameter) * source.d)
    # ‖x − x*‖² = x'Lx − 2b'x + R < R would make x'Lx < 2b'x
    if low * unit[0] < 2 * bridge:
        exists = bridge**2 <= _YES * high
    else:
        exists = bridge * unit[0] <= Fraction(2 * _YES * _NO, _YES + _NO)
    if not exists:
        return Solutions(False, 0, None)
    return found_row(source, _outflow(source, x, Fraction(target.parameter)))


def _outflow(source: OrthogonalVectors, x: NDArray[Any], decay: Fraction) -> int:
    """The left vector from which the largest current flows to the right side; potentials are taken in float64."""
    scale = max((abs(Fraction(each)) for each in x.tolist()), default=Fraction(0)) or Fraction(1)
    potential = np.array([float(Fraction(each) / scale) for each in x.tolist()])
    flow = np.empty(source.n)
    right = source.right.astype(np.float64)
    for i in range(source.n):
        conductance = np.exp(-2.0 * float(decay) * (right @ source.left[i].astype(np.float64)))
        flow[i] = (conductance * (potential[i] - potential[source.n :])).sum()
    return int(flow.argmax())


def _sizes(sizes: Sizes, tolerance: float = 0.5) -> Sizes:
    n, m = sizes["n"], sizes["m"]
    return {"n": n + m, "d": 4 * sizes["d"], "B": 1, "parameter": steepness(16 * n * m, sizes["d"])}


OV_7 = Reduction(
    name="OV-7",
    claim="OV-7",
    source="orthogonal_vectors",
    target="kernel_graph_solve",
    statement="all gadgets of OV-5 and 2λ ≥ ln 16nm: the resistance between the sides, in e^(2λd), is ≤ 3 or ≥ 16",
    forward=_forward,
    decoder=_decode,
    accuracy=_accuracy,
    sizes=_sizes,
    measure=measure,
    preconditions=("(16nm)^−d is at least 2^-1000", "some weight between the sides is at least 2^-1022"),
    options=("tolerance",),
    output="x",
    error=_error,
)
