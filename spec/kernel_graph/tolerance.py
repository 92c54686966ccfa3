"""What a correct kernel of a class may err in a product with a kernel graph (proofs_notes/kernel_graph.md).

The names are those of KTOL-2 and KTOL-3.  Everything is computed in float64; the factor 1 + 1e-9 pays for the roundings
of that.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

from assay.spec.floating_point import require_usual
from assay.spec.kernel_graph.distances import Reach, errors, exactly_enough, reach, roundoff
from assay.spec.kernel_graph.rounding import PRECISIONS
from assay.spec.memory import require_evaluable
from assay.spec.precision import precision as precision_named
from assay.spec.rounding import compound, gamma

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.spec.kernel_graph.functions import Function
    from assay.spec.kernel_graph.instance import Instance
    from assay.spec.precision import Precision

    Array = NDArray[np.float64]

__all__ = ["entries", "tolerance"]

_SLACK = 1.0 + 1e-9
_NOISE = 2.0**-49  # of two values of f in float64, of which the difference is taken
_NORMAL = 2.0**-1000  # beyond it a value of f in float64 has all its digits
_NEAR = 2.0**-6  # of a distance: errors below that are taken by the Lipschitz constant, for differences would cancel
_BLOCK = 1 << 17  # pairs that are looked at together


def tolerance(instance: Instance, precision: str | Precision, output: str = "output") -> Array:
    """What a correct kernel of the class may err in every number: (n, columns), or (m, columns) with targets.

    It is +inf outside the domain of the class.  Raises ``ValueError`` for an unknown class or output.

    >>> from assay.spec.kernel_graph import Instance
    >>> x = np.array([[0.0], [1.0]], np.float32)
    >>> graph = Instance(x, np.ones_like(x), function="gaussian")
    >>> print(*(f"{tolerance(graph, name)[0, 0]:.0e}" for name in ("float64", "float32-given", "float32-expansion")))
    6e-15 2e-06 5e-06
    """
    if output != "output":
        raise ValueError(f"unknown output {output!r}: expected 'output'")
    require_usual()
    require_evaluable(instance)
    return _tolerance(instance, precision_named(precision, PRECISIONS))


@functools.lru_cache(maxsize=2)  # a judge asks for it again and again
def _tolerance(instance: Instance, precision: Precision) -> Array:
    f = instance.weight()
    vectors = np.abs(instance.vectors.astype(np.float64))
    points = instance.points.astype(np.float64)
    rows = points if instance.targets is None else instance.targets.astype(np.float64)
    with np.errstate(all="ignore"):
        x = reach(rows, points, precision)
        step = max(1, _BLOCK // len(points))
        parts = [
            _of_rows(instance, precision, f, x[at], at, vectors)
            for start in range(0, len(rows), step)
            for at in [np.arange(start, min(start + step, len(rows)))]
        ]
        return np.concatenate(parts)


def _of_rows(
    instance: Instance, precision: Precision, f: Function, x: Reach, at: NDArray[np.intp], vectors: Array
) -> Array:
    """KTOL-3 for some rows."""
    n = len(x.points)
    own: NDArray[np.bool_] = np.equal.outer(at, np.arange(n))
    graph = instance.targets is None
    used = ~own if graph else np.ones_like(own)
    size, h, inside = entries(f, x, precision, used)
    if graph:
        # all pairs may be summed, and f(0) be taken away
        h = np.where(own, h + 3.0 * roundoff(precision) * size if f.all_pairs else 0.0, h)
        size = np.where(own, (size if f.all_pairs else 0.0) + abs(instance.diagonal), size)
    both = (size + h) * _SLACK
    rate = compound(
        precision.operand,
        precision.input_rounding,
        gamma(n + (4 if instance.laplacian else 3), precision.accumulate),
    )
    rate = rate + precision.output
    entry = h + rate * both + precision.operand_tiny + precision.alignment
    bound, total = entry @ vectors, both @ vectors
    if instance.laplacian:
        mine = vectors[at]
        bound = bound + entry.sum(axis=1)[:, None] * mine
        total = total + both.sum(axis=1)[:, None] * mine
    # |exact| is at most Σ(|f| + h)|v|
    bound = bound + precision.output * total + precision.output_tiny
    last = vectors[at] if instance.laplacian else np.zeros(1)  # there may be more targets than vectors
    bound = bound + 2.0 * (n + 2) * precision.tiny * (1.0 + vectors.max(axis=0) + last)
    # a subnormal number v, of a degree too, is read as 0 or counts as if it were normal
    met = (2.0 if instance.laplacian else 1.0) * (both.sum(axis=1)[:, None] + n * precision.least_factor)
    bound = bound + (2.0 * precision.tiny + precision.alignment) * met
    largest = min(precision.largest, precision.largest_output)
    good = inside.all(axis=1, keepdims=True) & (2.0 * total <= largest) & (vectors.max(axis=0) <= largest)
    if instance.laplacian:
        good &= 2.0 * both.sum(axis=1, keepdims=True) <= largest
    elif at.size:
        good &= 2.0 * abs(instance.diagonal) <= largest
    return np.where(good & ~np.isnan(bound), bound * _SLACK, np.inf)


def entries(
    f: Function, x: Reach, precision: Precision, used: NDArray[np.bool_]
) -> tuple[Array, Array, NDArray[np.bool_]]:
    """|f|, h and whether the pair is in the domain, of every pair (KTOL-2): (m, n) each.

    used: which pairs need to be in the domain; where f is singular the others count as 0.
    """
    u = roundoff(precision)
    z = exactly_enough(x)
    delta = errors(x, z, precision, f.scale, sphere=f.sphere)
    inside = max(1.0, f.scale) * (z + delta) <= precision.largest / 4
    # Δ' = Δ + 1.01 r u (z + Δ + s); the last term is that of z and of the argument of f here
    wide = delta + 1.01 * f.argument * u * (z + delta + f.shift) + _here(x) * (z + f.shift)
    if f.singular_at_zero:
        inside &= z > 2.0 * wide
        z, wide = np.where(inside & used, z, 1.0), np.where(inside & used, wide, 0.0)
    low, high = np.maximum(z - wide, 0.0), z + wide
    value = f(z)
    near = wide <= _NEAR * z  # false where a distance is no number
    if f.lipschitz is not None:
        near &= np.abs(value) >= _NORMAL  # of a value that was lost to underflow nothing follows for its neighbours
    if f.lipschitz is None or not near.all():
        least, most = f.between(low, high)
        first, last = f.between(np.maximum(z - _here(x) * (z + f.shift), 0.0), z + _here(x) * (z + f.shift))
        size = np.maximum(np.abs(least), np.abs(most))
        h = np.maximum(most - first, last - least) + _NOISE * (size + f.terms)
    if f.lipschitz is not None:
        # |f(y)/f(z)| is at most (z/y)^(±L)
        change = np.abs(value) * np.expm1(f.lipschitz(low, high) * np.log1p(wide / np.where(near, low, 1.0)))
        if near.all():
            h, size = change, np.abs(value) + change
        else:
            h, size = np.where(near, change, h), np.where(near, np.abs(value) + change, size)
    rate = compound(gamma(f.operations, u), gamma(f.elementary, precision.elementary))
    if f.power:
        logs = np.maximum(np.abs(np.log(f.scale * (low + f.shift))), np.abs(np.log(f.scale * (high + f.shift))))
        rate = rate + f.power * logs * (precision.elementary + 3.0 * u)
    h = h + 1.01 * rate * (size + f.terms) + precision.tiny * f.lost
    inside &= 2.0 * (np.abs(value) + h) <= min(precision.largest, precision.largest_output)
    known = used | (not f.singular_at_zero)
    return np.where(known, np.abs(value), 0.0), np.where(known, h, 0.0), inside | ~used


def _here(x: Reach) -> float:
    """What a squared distance and the argument of f are off relatively where they are computed here, twice."""
    return float(2.0 * (x.rows.shape[1] + 8) * 2.0**-53)
