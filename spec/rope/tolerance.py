"""What a correct rotary kernel of a class may err, per element (proofs_notes/rope_attention.md, ROT-2 and ROT-3).

The names are those of the proofs.  Everything is computed in float64 from certified values; the factor 1 + 1e-9 pays
for the roundings of that.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

import numpy as np

from assay.spec.criterion import each_close
from assay.spec.enclosure import Float64Ball
from assay.spec.floating_point import require_usual
from assay.spec.memory import require_evaluable
from assay.spec.precision import precision as precision_named
from assay.spec.rope.definition import define
from assay.spec.rotary.errors import frequency_errors, rates
from assay.spec.rotary.frequencies import magnitude
from assay.spec.rotary.rounding import PRECISIONS, Angles
from assay.spec.rotary.turning import paired, rotation
from assay.spec.rounding import compound, gamma

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from assay.spec.criterion import Criterion
    from assay.spec.precision import Precision
    from assay.spec.rope.instance import Instance

    Array = NDArray[np.float64]

__all__ = ["criteria", "tolerance"]

_SLACK = 1.0 + 1e-9


def criteria(instance: Instance, precision: str | Precision) -> Mapping[str, Criterion]:
    """Output → its criterion: close to the definition within the tolerance of the class.

    ``key`` is among them where the instance has one.

    >>> from assay.spec.rope import Instance
    >>> x = np.ones((1, 1, 1, 2), np.float32)
    >>> float(criteria(Instance(x, positions=np.array([0])), "float32")["query"].ratio(x).max())
    0.0
    """
    judged = each_close(define, tolerance, tuple(instance.vectors()))
    return judged(instance, precision_named(precision, PRECISIONS))


def tolerance(instance: Instance, precision: str | Precision, output: str = "query") -> Array:
    """The bound on the error of every correct kernel of the class, per element of ``output``: ROT-3.

    Shaped like the array; +inf outside the domain of the class.  Raises ``ValueError`` for an unknown class, and
    ``KeyError`` for an output that the instance lacks.

    >>> from assay.spec.rope import Instance
    >>> x = np.ones((1, 1, 3, 2), np.float32)
    >>> print(*(f"{x:.0e}" for x in tolerance(Instance(x, positions=np.array([0, 1, 2**25])), "float32")[0, 0, :, 0]))
    3e-37 1e-06 2e+00
    """
    require_usual()
    require_evaluable(instance)
    u = precision_named(precision, PRECISIONS)
    angles, vector = u.of(Angles), instance.vectors()[output]
    columns, partner, sign = paired(instance)
    straight, crossed = (vector[..., at].astype(np.float64) for at in (columns, partner))
    cos, sin = (table.rounded()[0][:, None] for table in rotation(instance, Float64Ball))
    m, plain = float(magnitude(instance)), bool(magnitude(instance) == 1)
    with np.errstate(over="ignore", invalid="ignore"):
        # |y| of every element and of its partner; Φ, which is 0 at position 0, whose cosine and sine are exact
        y = np.abs(cos * straight + sin * sign * crossed)
        straight, crossed = np.abs(straight), np.abs(crossed)
        y += 2.0**-50 * (np.abs(cos) * straight + np.abs(sin) * crossed)
        other = np.roll(y, len(columns) // 2, axis=-1)
        still = (np.atleast_2d(instance.positions) == 0)[:, None, :, None]
        wrong = np.tile(_angle_errors(instance, angles), 2)
        judged = np.full(y.shape, np.isfinite(wrong).all())
        wrong = np.where(still, 0.0, wrong)

        # E = |(R(φ̂) − R(φ))x|: a rotation of y by at most Φ
        error = 2 * np.sin(np.minimum(wrong, math.pi) / 2) ** 2 * y + np.sin(np.minimum(wrong, math.pi / 2)) * other
        error = np.minimum(error, y + np.hypot(y, other))

        # e_c, e_s: tables, then E += the errors of the products and of their sum, and those of the stored result
        rate, size = rates(instance, u)
        trig = np.where(still, 0.0, m * angles.trig)
        for entry, table in ((straight, cos), (crossed, sin)):
            reach = np.minimum(np.abs(table) * _SLACK + m * wrong, m)
            off = rate * (reach + trig) + trig + angles.table_tiny
            error = error + entry * (off + size * (reach + off))
        lost = 8 * u.tiny * (1 + straight + crossed) * max(m, 1.0)
        error = error + lost + 2 * (1 + size) * angles.stored_tiny
        bound = error + u.output * (y + error) + u.output_tiny + u.tiny
        bound = np.where(still & plain, lost, bound)
        products, tables = (u.largest_output if stored else u.largest for stored in (angles.stored, angles.table))
        judged &= (4 * m * np.maximum(straight, crossed) <= products) & (4 * m <= min(products, tables))
        judged &= y + error <= u.largest_output
    full = np.full(vector.shape, 4 * u.tiny)
    full[..., columns] = np.where(judged & ~np.isnan(bound), bound * _SLACK, np.inf)
    return full


@functools.lru_cache(maxsize=2)  # the queries and the keys of one instance ask for the same
def _angle_errors(instance: Instance, angles: Angles) -> Array:
    """Φ of every position and pair, (1 or batch, 1, length, r/2), +inf outside the domain: ROT-2."""
    theta, error = frequency_errors(instance, angles)
    position = np.abs(np.atleast_2d(instance.positions).astype(np.float64))[:, None, :, None]
    long = np.where(position * angles.unit > 1.0, angles.unit, 0.0)  # the type does not hold the position
    return np.asarray(position * theta * compound(error, gamma(angles.angle, angles.unit), long))
