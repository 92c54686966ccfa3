"""What a correct rotary kernel of a class may err, per element (proofs_notes/rope_attention.md, ROT-2 and ROT-3).

The names are those of the proofs.  Everything is computed in float64 from certified values; the factor 1 + 1e-9 pays
for the roundings of that.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec import flint_context
from assay.spec.criterion import each_close
from assay.spec.enclosure import Float64Ball
from assay.spec.floating_point import require_usual
from assay.spec.memory import require_evaluable
from assay.spec.precision import precision as precision_named
from assay.spec.rope.definition import define, paired, rotation
from assay.spec.rope.frequencies import band, correction_range, frequencies, growth, magnitude
from assay.spec.rope.rounding import PRECISIONS, Angles
from assay.spec.rounding import compound, gamma

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from assay.spec.criterion import Criterion
    from assay.spec.precision import Precision
    from assay.spec.rope.instance import Instance
    from assay.spec.rope.rotary import Rotary

    Array = NDArray[np.float64]

__all__ = ["criteria", "frequency_errors", "rates", "tolerance"]

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


def rates(instance: Rotary, u: Precision) -> tuple[Array, Array]:
    """η and κ of ROT-3: the relative errors of a table entry, besides those of cosine and sine, and of a product."""
    angles, plain = u.of(Angles), bool(magnitude(instance) == 1)
    times = 0 if plain else 6 if instance.attention_factor is None else 2
    return compound(gamma(times, u.product), angles.table), compound(gamma(2, u.product), angles.stored)


@functools.lru_cache(maxsize=2)  # the queries and the keys of one instance ask for the same
def _angle_errors(instance: Instance, angles: Angles) -> Array:
    """Φ of every position and pair, (1 or batch, 1, length, r/2), +inf outside the domain: ROT-2."""
    theta, error = frequency_errors(instance, angles)
    position = np.abs(np.atleast_2d(instance.positions).astype(np.float64))[:, None, :, None]
    long = np.where(position * angles.unit > 1.0, angles.unit, 0.0)  # the type does not hold the position
    return np.asarray(position * theta * compound(error, gamma(angles.angle, angles.unit), long))


def frequency_errors(instance: Instance, angles: Angles) -> tuple[Array, Array]:
    """θ_l and γ_k: every frequency, and the relative error of a kernel's, +inf outside the domain: ROT-2."""
    u, r, s = angles.unit, instance.rotated, instance.factor or 1.0
    with flint_context.bits(128):
        base, powers, scaled = frequencies(instance)
        power, theta = (np.array([float(x) for x in balls]) for balls in (powers, scaled))
        k = np.where(np.arange(r // 2) > 0, angles.power - angles.exponent * np.log(power), 0.0)
        if instance.scaling == "linear":
            k += 3
        if instance.scaling in ("ntk", "dynamic"):
            e, g, amplified = np.arange(r // 2) * (2.0 / r), growth(instance, s), 1.0
            if instance.original_length is not None:  # s·n/L = g + s − 1
                amplified += (6 * (g + s - 1) + 2 * s) / g
            more = np.where(e > 0, 10 + 1.01 * e * r / (r - 2) * (amplified + 2 * math.log(g)), 0.0)
            k = k + (more if amplified * u <= 2.0**-8 else np.inf)
        if instance.scaling in ("llama3", "yarn"):
            k = k + 7 + (1 - 1 / s) * _band_errors(instance, powers, k, u) * (power / theta)
    large = max(float(base), s, instance.original_length or 1, instance.high_frequency or 1.0, 1.0 / theta.min())
    known = u <= 2.0**-20 and max(large, 1 / (instance.low_frequency or 1.0)) <= 2.0**100
    return theta, gamma(k if known else np.full(r // 2, np.inf), u) if u else np.zeros(r // 2)


def _band_errors(instance: Instance, powers: list[Any], k: Array, u: float) -> Array:
    """δ, the absolute error of the part that llama3 and yarn keep of every pair, in units: ROT-2."""
    places, zero, one = band(instance, powers)
    place, span = np.array([float(x) for x in places]), abs(float(one - zero))
    kept = np.array([float((x - zero) / (one - zero)) for x in places])
    errors: tuple[Any, Any, Any] = (place * (k + 6), float(zero), float(one))  # of place, zero and one
    clear = True
    if instance.scaling == "yarn":
        ends, log = [float(end) for end in correction_range(instance, whole=False)], math.log(instance.base)
        d = [3 * instance.rotated / log + (7 + 1 / log) * abs(end) for end in ends]
        if instance.truncate:  # an end so near an integer may be rounded to another
            clear = all(abs(end - round(end)) > 1.01 * u * error for end, error in zip(ends, d, strict=True))
        errors = (0.0, 0.0, 0.0) if instance.truncate else (0.0, d[1], d[0])
    delta = (errors[0] + np.abs(1 - kept) * errors[1] + np.abs(kept) * errors[2]) / span
    delta = 1.01 * (delta + 4 * (np.abs(kept) + np.abs(1 - kept)))
    delta = np.where((kept >= -2 * u * delta) & (kept <= 1 + 2 * u * delta), delta, 0.0)
    clear &= (errors[1] + errors[2]) * u <= 2.0**-8 * span
    return np.where(clear & (u * delta <= 2.0**-8), delta, np.inf)
