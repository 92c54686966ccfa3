"""What a correct rotary kernel of a class may err, per element (proofs_notes/rope_attention.md, ROT-2 and ROT-3).

The names are those of the proofs.  Everything is computed in float64 from certified values; the factor 1 + 1e-9 pays
for the roundings of that.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import flint
import numpy as np

from assay.spec.precision import precision as precision_named
from assay.spec.rope.definition import define, paired, rotation
from assay.spec.rope.frequencies import correction_range, frequencies, magnitude
from assay.spec.rope.rounding import PRECISIONS, Angles
from assay.spec.rounding import compound, gamma

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.spec.precision import Precision
    from assay.spec.rope.definition import Rotation
    from assay.spec.rope.instance import Instance

    Array = NDArray[np.float64]

__all__ = ["frequency_errors", "tolerance"]

_SLACK = 1.0 + 1e-9


def tolerance(
    instance: Instance, precision: str | Precision, output: str = "query", *, turned: Rotation | None = None
) -> Array:
    """The bound on the error of every correct kernel of the class, per element of ``output``: ROT-3.

    Shaped like the array; +inf outside the domain of the class.  ``turned`` saves evaluating the rotation again.
    Raises ``ValueError`` for an unknown class or output.

    >>> from assay.spec.rope import Instance
    >>> x = np.ones((1, 1, 3, 2), np.float32)
    >>> print(*(f"{x:.0e}" for x in tolerance(Instance(x, positions=np.array([0, 1, 2**25])), "float32")[0, 0, :, 0]))
    3e-37 7e-07 2e+00
    """
    u = precision_named(precision, PRECISIONS)
    angles = u.of(Angles)
    turned = turned or rotation(instance)
    exact = define(instance, 2.0**-34, output, turned=turned)
    columns, partner, _ = paired(instance)
    x = np.abs(getattr(instance, output).astype(np.float64))
    straight, crossed = x[..., columns], x[..., partner]
    plain, m = bool(magnitude(instance) == 1), float(magnitude(instance)) * _SLACK
    value, other = (np.abs(exact.midpoint[..., at]) + exact.radius[..., at] for at in (columns, partner))
    with np.errstate(over="ignore", invalid="ignore"):
        # Φ: the error of every angle (ROT-2).  Position 0 has the angle 0, whose cosine and sine are exact.
        still = (np.atleast_2d(instance.positions) == 0)[:, None, :, None]
        wrong, judged = _angle_errors(instance, angles)
        wrong = np.where(still, 0.0, np.tile(wrong, 2))

        # E = |(R(φ̂) − R(φ))x|: a rotation of y by at most Φ
        error = 2 * np.sin(np.minimum(wrong, math.pi) / 2) ** 2 * value + np.sin(np.minimum(wrong, math.pi / 2)) * other
        error = np.minimum(error, value + np.hypot(value, other))

        # e_c, e_s: tables, then E += the errors of the products and of their sum, and those of the stored result
        times = 0 if plain else 6 if instance.attention_factor is None else 2
        rate = compound(gamma(times, u.product), angles.table)
        size, trig = compound(gamma(2, u.product), angles.stored), np.where(still, 0.0, m * angles.trig)
        for entry, table in ((straight, turned.cos), (crossed, turned.sin)):
            reach = np.minimum(np.abs(table.high) * _SLACK + m * wrong, m)
            off = rate * (reach + trig) + trig + angles.table_tiny
            error = error + entry * (off + size * (reach + off))
        lost = 8 * u.tiny * (1 + straight + crossed) * max(m, 1.0)
        error = error + lost + 2 * angles.stored_tiny
        bound = error + u.output * (value + error) + u.output_tiny + u.tiny
        bound = np.where(still & plain, lost, bound)
        largest = u.largest_output if angles.stored else u.largest
        judged &= (4 * m * np.maximum(np.maximum(straight, crossed), 1) <= largest) & (
            value + error <= u.largest_output
        )
    full = np.full(x.shape, 4 * u.tiny)
    full[..., columns] = np.where(judged & ~np.isnan(bound), bound * _SLACK, np.inf)
    return full


def frequency_errors(instance: Instance, angles: Angles) -> tuple[Array, Array]:
    """θ_l and u_θ(l): every frequency, and the relative error of a kernel's, +inf outside the domain: ROT-2."""
    with flint.ctx.workprec(128):
        base, powers, scaled = frequencies(instance)
    plain, theta = (np.array([float(x) for x in balls]) for balls in (powers, scaled))
    rank = np.arange(len(plain)) * (2.0 / instance.rotated)  # 2l/r
    count = np.where(rank > 0, angles.exponent * rank * float(base.log()) + angles.power, 0.0)
    s, r = instance.factor or 1.0, instance.rotated
    inside = max(float(base), 1.0 / theta.min()) <= 2.0**100
    if instance.scaling == "linear":
        count = count + 3
    elif instance.scaling in ("ntk", "dynamic"):
        length = instance.original_length or 1
        n = max(int(instance.positions.max()) + 1, length)
        grown = s if instance.scaling == "ntk" else s * (n / length - 1) + 1
        rounded = 1.0 if instance.scaling == "ntk" else (5 * s * n / length + 2 * s) / grown + 1
        count = count + np.where(rank > 0, 1.01 * rank * r / (r - 2) * (rounded + 2 * math.log(grown)) + 10, 0.0)
        inside &= rounded * angles.unit <= 2.0**-8
    elif instance.scaling in ("llama3", "yarn"):
        blend, uncertain = _blend_roundings(instance, angles.unit, plain, count)
        count = count + 7 + (1 - 1 / s) * blend * (plain / theta)
        inside &= not uncertain
    if not angles.unit:
        return theta, np.zeros_like(theta)
    return theta, np.where(inside, gamma(count, angles.unit), np.inf)


def _blend_roundings(instance: Instance, unit: float, plain: Array, count: Array) -> tuple[Array, bool]:
    """The absolute error of σ or μ of every pair, in units, and whether it may be larger: ROT-2."""
    low, high = instance.low_frequency or 0.0, instance.high_frequency or 0.0
    uncertain = False
    if instance.scaling == "llama3":
        turns = (instance.original_length or 1) * plain / (2 * math.pi)
        raw = (turns - low) / (high - low)
        blend = (turns * (count + 6) + low) / (high - low) + np.abs(raw) * ((low + high) / (high - low) + 4)
    else:
        with flint.ctx.workprec(128):
            first, last = (float(end) for end in correction_range(instance))
            ends = [float(end) for end in correction_range(instance, whole=False)]
        off = [3 * instance.rotated / math.log(instance.base) + 6 * abs(end) for end in ends]
        raw = (np.arange(len(plain), dtype=np.float64) - first) / (last - first)
        blend = 4 * np.abs(raw)
        if instance.truncate:  # an end so near an integer may be rounded to another
            uncertain = any(abs(end - round(end)) <= 1.01 * unit * step for end, step in zip(ends, off, strict=True))
        else:
            blend = blend + (np.abs(1 - raw) * off[0] + np.abs(raw) * off[1]) / (last - first)
            uncertain = sum(off) * unit > 2.0**-8 * (last - first)
    blend = 1.01 * blend
    blend = np.where((raw >= -2 * unit * blend) & (raw <= 1 + 2 * unit * blend), blend, 0.0)
    return blend, uncertain or bool((unit * blend > 2.0**-8).any())


def _angle_errors(instance: Instance, angles: Angles) -> tuple[Array, Any]:
    """Φ of every position and pair, (1 or batch, 1, length, r/2), and whether it is known: ROT-2."""
    theta, error = frequency_errors(instance, angles)
    position = np.abs(np.atleast_2d(instance.positions).astype(np.float64))[:, None, :, None]
    long = np.where(position * angles.unit > 1.0, angles.unit, 0.0)  # the type does not hold the position
    return position * theta * compound(error, gamma(angles.angle, angles.unit), long), np.isfinite(error).all()
