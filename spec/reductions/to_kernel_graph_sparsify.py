"""From vectors to a sparsifier of a Gaussian graph: the weight of its cut between the two sides decides (OV-8).

The points are those of OV-7.  OV-8a decides at any error below 15/17; OV-8b counts, at an error of about 1/(2nm).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec.kernel_graph_sparsify.criteria import LARGEST, interval
from assay.spec.kernel_graph_sparsify.definition import define
from assay.spec.kernel_graph_sparsify.instance import Instance
from assay.spec.problem import InvalidInstance, Provenance
from assay.spec.reductions.problems import Solutions
from assay.spec.reductions.reduction import Reduction, Sizes
from assay.spec.reductions.rounding import exp_bounds, output_array
from assay.spec.reductions.to_kernel_graph import gadget_points, measure, steepness

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.spec.instances.orthogonal_vectors import OrthogonalVectors

__all__ = ["OV_8A", "OV_8B", "counting_error", "cut"]

_STEEP = 16
_DECIDING = Fraction(_STEEP - 1, _STEEP + 1)
_ROUNDED = Fraction(1, 2**150)  # more than e^(−2λd) is enclosed to


def counting_error(pairs: int) -> Fraction:
    """The ε of OV-8b for nm pairs: 15/17 for one, about 1/(2nm) for many."""
    return Fraction(_STEEP * pairs - 1, 2 * _STEEP * pairs**2 - _STEEP * pairs + 1)


def _accuracy(source: OrthogonalVectors, *, counting: bool) -> Fraction:
    return (counting_error(source.n * source.m) if counting else _DECIDING) * (1 - _ROUNDED)


def _made(source: OrthogonalVectors, error: float | None, seed: int, *, counting: bool) -> Instance:
    most = _accuracy(source, counting=counting)
    chosen = min(0.5, float(most / 2)) if error is None else float(error)
    if not 0 < Fraction(chosen) < most:
        raise InvalidInstance(f"error {chosen:.6g}: expected a number above 0 and below {float(most):.6g}")
    return Instance(
        np.concatenate(gadget_points(source)),
        function="gaussian",
        parameter=float(steepness(_STEEP * source.n * source.m, source.d)),
        error=chosen,
        seed=seed,
        provenance=Provenance(family="OV-8b" if counting else "OV-8a"),
    )


def _edges(source: OrthogonalVectors, output: Any) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[Any]]:
    """The ends and the weights of an output, checked."""
    if isinstance(output, Mapping):
        output = [output[name] for name in ("left", "right", "weight") if name in output]
    if isinstance(output, np.ndarray) and output.ndim == 2 and output.shape[1] == 3:
        output = list(output.T)
    if not isinstance(output, (list, tuple)) or len(output) != 3:
        raise ValueError("output is no graph: expected left, right and weight of its edges")
    shape = np.shape(output[0])
    weight = output_array(output[2], shape if len(shape) == 1 else (-1,))
    points = source.n + source.m
    ends = []
    for name, each in zip(("left", "right"), map(np.asarray, output[:2]), strict=True):
        if each.shape != weight.shape:
            raise ValueError(f"{name} has shape {each.shape}: expected {weight.shape}")
        if not ((each >= 0) & (each < points) & (each == np.floor(each.astype(np.float64)))).all():
            raise ValueError(f"{name} holds an end that is no point: expected whole numbers from 0 to {points - 1}")
        ends.append(each.astype(np.int64))
    if (ends[0] == ends[1]).any():
        raise ValueError("output joins a point with itself: expected edges between two points")
    return ends[0], ends[1], weight


def cut(source: OrthogonalVectors, output: Any) -> Fraction:
    """The exact weight of the edges between the sides.

    output: (left, right, weight), a mapping of these names, or an array (edges, 3) of the three side by side.
    Raises ``ValueError`` for anything else, for an end that is no point, and for NaN and infinity.
    """
    left, right, weight = _edges(source, output)
    across = (left < source.n) != (right < source.n)
    return sum((Fraction(w) for w in weight[across].tolist()), Fraction(0))


def _error(source: OrthogonalVectors, target: Instance, output: Any) -> float | None:
    """At least the largest |x'L_H x / x'L_G x − 1|: the lesser of a bound of the whole and one edge by edge (KG-12)."""
    if source.n + source.m > LARGEST:
        return None
    left, right, weight = _edges(source, output)
    low, high = interval(target, left, right, weight.astype(np.float64))
    # where weights span too much for a proof of the whole in float64, the edges have one
    error = min(max(1.0 - low, high - 1.0), _edge_by_edge(target, left, right, weight))
    return error * (1 + 2.0**-50) if np.isfinite(error) else None


def _edge_by_edge(target: Instance, left: NDArray[np.int64], right: NDArray[np.int64], weight: NDArray[Any]) -> float:
    """At least the largest relative error of an edge, 1 of one left out; +∞ where one is told twice or below 0."""
    points = len(target.points)
    ends = np.sort(np.stack([left, right]), axis=0)
    if (weight < 0).any() or len(np.unique(ends, axis=1).T) < len(weight):
        return math.inf
    told = np.zeros((points, points))
    told[ends[0], ends[1]] = weight
    exact = define(target, 2.0**-40)
    least = exact.midpoint - exact.radius
    if not (least > 0).all():
        return math.inf
    off = np.abs(told[np.triu_indices(points, 1)] - exact.midpoint) + exact.radius
    return float((off / least).max()) * (1 + 2.0**-48)


def _decode(source: OrthogonalVectors, target: Instance, output: Any, *, counting: bool) -> Solutions:
    low, high = exp_bounds(-2 * Fraction(target.parameter) * source.d)
    units = cut(source, output) / ((low + high) / 2)
    if not counting:
        exists = units > 1 - _DECIDING
        return Solutions(exists, None if exists else 0, None)
    pairs = source.n * source.m

    def line(count: int) -> Fraction:
        """What parts ``count`` orthogonal pairs from one more."""
        rest = Fraction(pairs - count, _STEEP * pairs)
        return 2 * (count + rest) * (count + 1) / (2 * count + 1 + rest)

    below, above = 0, pairs  # the count is the number of lines that are exceeded
    while below < above:
        middle = (below + above) // 2
        below, above = (middle + 1, above) if units > line(middle) else (below, middle)
    return Solutions(below > 0, below, None)


def _sizes(sizes: Sizes, **options: Any) -> Sizes:
    n, m = sizes["n"], sizes["m"]
    return {"n": n + m, "d": 4 * sizes["d"], "B": 1, "parameter": steepness(_STEEP * n * m, sizes["d"])}


def _arrow(name: str, statement: str, *, counting: bool) -> Reduction:
    def forward(source: OrthogonalVectors, error: float | None = None, seed: int = 0) -> Instance:
        return _made(source, error, seed, counting=counting)

    def decoder(source: OrthogonalVectors, target: Instance, output: Any) -> Solutions:
        return _decode(source, target, output, counting=counting)

    return Reduction(
        name=name,
        claim="OV-8",
        source="orthogonal_vectors",
        target="kernel_graph_sparsify",
        statement=statement,
        forward=forward,
        decoder=decoder,
        accuracy=lambda source, target: _accuracy(source, counting=counting),
        sizes=_sizes,
        measure=measure,
        preconditions=("(16nm)^−d is at least 2^-1000", "some weight between the sides is at least 2^-1022"),
        counts=counting,
        options=("error", "seed"),
        output="form",
        error=_error,
    )


OV_8A = _arrow("OV-8a", "the points of OV-7: the cut between the sides, in e^(−2λd), is ≥ 1 or ≤ 1/16", counting=False)
OV_8B = _arrow("OV-8b", "the points of OV-7: the same cut counts the orthogonal pairs", counting=True)
