"""Δ: what a kernel of a class may err in a squared distance (proofs_notes/kernel_graph.md, KTOL-1).

The names are those of the proof: a_ic bounds |x_ic − m_c| for every centre m of the box of all points, and for none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assay.spec.kernel_graph.rounding import Distances
from assay.spec.rounding import compound, gamma

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.spec.precision import Precision

    Array = NDArray[np.float64]

__all__ = ["Reach", "errors", "exactly_enough", "reach", "roundoff"]


@dataclass(frozen=True, eq=False)
class Reach:
    """The coordinates of rows and points, and a and b of KTOL-1: (m, d) and (n, d)."""

    rows: Array
    points: Array
    a: Array
    b: Array

    def __getitem__(self, at: NDArray[np.intp] | slice) -> Reach:
        return Reach(self.rows[at], self.points, self.a[at], self.b)


def roundoff(precision: Precision) -> float:
    """u: of the products, sums and elementwise operations of a class."""
    return max(precision.product, precision.working)


def reach(rows: Array, points: Array, precision: Precision) -> Reach:
    """a and b of all coordinates; a centre that is a mean may leave the box by a rounding."""
    every = np.concatenate([rows, points])
    low, high = every.min(axis=0), every.max(axis=0)
    wider = 1.0 + float(gamma(len(every), roundoff(precision)))
    a, b = (wider * np.maximum(np.abs(x), np.maximum(x - low, high - x)) for x in (rows, points))
    return Reach(rows, points, a, b)


def exactly_enough(x: Reach) -> Array:
    """z: the squared distances in float64, with a relative error below (d + 4)·2^-53: (m, n)."""
    z = np.zeros((len(x.rows), len(x.points)))
    for c in range(x.rows.shape[1]):
        gap = x.rows[:, c, None] - x.points[:, c]
        z += gap * gap
    return z


def errors(x: Reach, z: Array, precision: Precision, scale: float, *, sphere: bool = False) -> Array:
    """Δ of every pair, (m, n), what small numbers lose included; +inf where something may overflow.

    scale: of the distances, where a kernel computes scale·z.
    sphere: whether the points are on the unit sphere, where a kernel of any class may have z from inner products.
    """
    form = precision.of(Distances).form
    own = _of_form(form, x, z, precision, scale)
    if not sphere:
        return own
    stored = Reach(x.rows, x.points, np.abs(x.rows), np.abs(x.points))
    return np.maximum(own, _of_form("expansion", stored, z, precision, scale)) + _off_sphere(x)


def _of_form(form: str, x: Reach, z: Array, precision: Precision, scale: float) -> Array:
    """Δ of one of the :data:`FORMS` of distances."""
    d, u = x.rows.shape[1], roundoff(precision)
    lost = 4.0 * precision.tiny * d * max(1.0, 1.0 / scale)
    if form == "given":
        given: Array = gamma(d + 6, u) * z + lost
        return given
    if form == "difference":
        # |e|, e_c = (2u + u²)(a_ic + b_jc)
        e = (2.0 * u + u * u) * np.sqrt(_sums(x))
        e = np.where(max(1.0, scale) * e <= u * precision.largest / 4, e, np.inf)
        root = np.sqrt(z)
        wide: Array = gamma(d + 6, u) * (root + e) ** 2 + 2.0 * root * e + e * e + lost
        return wide
    rate = compound(precision.input_rounding, precision.input_rounding, gamma(2 * d + 8, u))
    sums = _sums(x)
    small = (x.a.sum(axis=1)[:, None] + x.b.sum(axis=1) + d * precision.least_factor) * max(1.0, 1.0 / scale)
    lost = lost + 4.0 * precision.alignment * small
    expanded: Array = np.where(max(1.0, scale) * sums <= precision.largest / 4, rate * sums + lost, np.inf)
    return expanded


def _off_sphere(x: Reach) -> Array:
    """What z may differ from 2 − 2⟨x, y⟩, of points that are normalised or not: 2|1 − ‖x‖²| + 2|1 − ‖y‖²|, (m, n)."""
    rows, points = (np.abs((side * side).sum(axis=1) - 1.0) + 2.0**-50 * side.shape[1] for side in (x.rows, x.points))
    off: Array = 2.0 * (rows[:, None] + points)
    return off


def _sums(x: Reach) -> Array:
    """Σ_c(a_ic + b_jc)²: (m, n)."""
    a, b = x.a, x.b
    sums: Array = (a * a).sum(axis=1)[:, None] + 2.0 * (a @ b.T) + (b * b).sum(axis=1)
    return sums
