"""The complete graph of points as :mod:`assay.impl.cpu.kernel_graph.elimination` takes it, its weights certified.

Weights are evaluated in balls, once a distance, so that no weight underflows and every one is right to float64.  That
is quick where there are few different distances, as between the points of a grid or of 0/1 vectors.  Where there are
too many for that and no weight is near underflow, weights are computed in float64, with their bound (KG-13).
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import flint
import numpy as np

from assay.impl.cpu.kernel_graph.elimination import Graph, potentials, require_size, resistances
from assay.impl.cpu.kernel_graph.graphs import of_points
from assay.impl.cpu.kernel_graph.overflow import unwarned
from assay.spec import flint_context
from assay.spec.kernel_graph.functions import Function, named
from assay.spec.kernel_graph.instance import require_apart
from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from assay.impl.cpu.kernel_graph.elimination import Potentials, Resistances
    from assay.impl.cpu.kernel_graph.graphs import PointGraph
    from assay.impl.cpu.progress import Told

__all__ = ["eliminate", "graph_of"]

_BITS = 128
_MOST_DISTANCES = 1 << 18  # that are evaluated in balls: some seconds
_NORMAL = 2.0**-900
_FARTHEST = 1 << 50  # exponents of weights, whose sums then fit in 64 bits
_WHOLE = 2.0**20  # coordinates up to which squared distances of whole numbers are exact in float64
_ERROR = Fraction(1, 2**52)  # of a mantissa that was rounded from a ball of 128 bits


def graph_of(points: NDArray[Any], *, function: str | Function, parameter: float = 1.0) -> Graph:
    """The graph with the weights f(‖x_i − x_j‖²) of points (n, d), each within a factor of 1 ± ``error`` of its own.

    That is 2^-52, or the bound of KG-13 for points with more than 2^18 pairs whose coordinates are not whole.

    Raises :class:`~assay.spec.problem.InvalidInstance` for a function whose weights are not all above 0, for points
    that coincide where f is singular, and for more than 2^18 different distances where a weight is below 2^-900.

    >>> graph = graph_of(np.array([[0.0], [3.0], [100.0]]), function="gaussian")
    >>> int(graph.exponent[0, 2])
    -14427
    """
    try:
        f = named(function, float(parameter))
    except ValueError as error:
        raise InvalidInstance(str(error)) from None
    if not f.weights:
        raise InvalidInstance(f"function: {f.name!r}, expected one whose values are never negative")
    x = np.asarray(points, dtype=np.float64)
    if x.ndim != 2 or len(x) < 2 or not np.isfinite(x).all():
        raise InvalidInstance(f"points: shape {x.shape}, expected finite coordinates of at least 2 points")
    if f.singular_at_zero:
        require_apart(x)
    n = len(x)
    exact = bool((x == np.rint(x)).all() and np.abs(x).max(initial=0.0) <= _WHOLE and x.shape[1] <= 2**10)
    if not exact and n * (n - 1) // 2 > _MOST_DISTANCES:
        require_size(n, plain=True)
        plain = _plain(of_points(x, function, parameter))
        if plain is not None:
            return plain
    known: dict[Any, tuple[float, int]] = {}
    mantissa, exponent = np.ones((n, n)), np.zeros((n, n), dtype=np.int64)
    with flint_context.bits(_BITS):
        for i in range(n - 1):
            for places, key in _distances(x, i, exact=exact):
                if key not in known:
                    if len(known) >= _MOST_DISTANCES:
                        raise InvalidInstance(f"points: over {_MOST_DISTANCES} different distances, expected fewer")
                    known[key] = _parts(f, Fraction(key), i)
                mantissa[i, places], exponent[i, places] = known[key]
    return Graph(mantissa, exponent, _ERROR)


@unwarned
def eliminate(
    points: NDArray[Any],
    *,
    function: str | Function,
    parameter: float = 1.0,
    pairs: Iterable[tuple[int, int]] | None = None,
    right_side: NDArray[Any] | None = None,
    progress: bool | Told = False,
) -> Resistances | Potentials:
    """Enclosed effective resistances of ``pairs``, or potentials of ``right_side``: exactly one of the two is given.

    The graph is that of :func:`graph_of`; neither is the worse for a large condition number (KG-17).

    >>> found = eliminate(np.array([[0.0], [1.0]]), function="gaussian", parameter=200.0, pairs=[(0, 1)])
    >>> bool(found.lower[0] <= 7.225973768125749e86 <= found.upper[0])
    True
    """
    graph = graph_of(points, function=function, parameter=parameter)
    if (pairs is None) == (right_side is None):
        raise InvalidInstance("pairs: expected either pairs or right_side")
    if pairs is not None:
        return resistances(graph, pairs, progress=progress)
    assert right_side is not None
    return potentials(graph, right_side, progress=progress)


def _plain(graph: PointGraph) -> Graph | None:
    """The graph with weights of float64; None where one may have lost digits to underflow, or no bound is known."""
    weights = graph.tile(slice(0, graph.n), slice(0, graph.n))
    least = min(float(weights[i, i + 1 :].min()) for i in range(graph.n - 1))
    if not (least >= _NORMAL and graph.relative + graph.absolute / least < 0.5):
        return None
    error = Fraction(graph.relative) + Fraction(graph.absolute) / Fraction(least)
    return Graph(weights, None, error / (1 - error))


def _distances(x: NDArray[np.float64], i: int, *, exact: bool) -> Any:
    """(places, squared distance) of point i to those after it."""
    if exact:
        z = ((x[i + 1 :] - x[i]) ** 2).sum(axis=1)
        for key in np.unique(z).tolist():
            yield i + 1 + np.flatnonzero(z == key), key
        return
    here = [Fraction(a) for a in x[i].tolist()]
    for j in range(i + 1, len(x)):
        gaps = zip(here, x[j].tolist(), strict=True)
        yield j, sum(((a - Fraction(b)) ** 2 for a, b in gaps), Fraction(0))


def _parts(f: Function, z: Fraction, i: int) -> tuple[float, int]:
    """The mantissa and the exponent of f(z)."""
    value = f.ball(flint.arb(flint.fmpq(z.numerator, z.denominator)))
    if not (value > 0 and value.rel_accuracy_bits() > 60):
        raise InvalidInstance(f"points: a weight of point {i} is not certainly above 0, expected a complete graph")
    whole, power = (int(part) for part in value.mid().man_exp())
    shift = whole.bit_length() - 1
    if not abs(power + shift) < _FARTHEST:
        raise InvalidInstance(f"points: a weight of point {i} is beyond 2^±2^50, expected one nearer to 1")
    return float(Fraction(whole, 1 << shift)), power + shift
