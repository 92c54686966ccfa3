"""What the rotary embedding is, evaluated with certainty.

With φ = position·θ_l, the pair (a, b) of columns number l becomes (C·a − S·b, S·a + C·b), C = m·cos φ, S = m·sin φ.
θ_l, φ, C and S are balls of as many bits as the largest position needs, whatever it is, rounded to double-double; the
products are double-double, and those that miss the radius balls of 128, 256, … bits (proofs_notes/rope_attention.md,
ROT-7).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import flint
import numpy as np

from assay.spec.enclosure import ArbBall, DoubleDoubleBall, Enclosure
from assay.spec.enclosure.arb import from_parts
from assay.spec.rope.frequencies import frequencies, magnitude

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.spec.rope.instance import Instance

    Array = NDArray[np.float64]

__all__ = ["Rotation", "define", "paired", "rotation"]

_BITS = 192
_MOST_BITS = 1 << 17


@dataclass(frozen=True, eq=False)
class Rotation:
    """C and S of an instance: (1 or batch, 1, length, r), the columns in the order of :func:`paired`."""

    cos: DoubleDoubleBall
    sin: DoubleDoubleBall


def define(
    instance: Instance, relative: float = 1e-12, output: str = "query", *, turned: Rotation | None = None
) -> Enclosure:
    """The array ``output`` of the instance, ``"query"`` or ``"key"``, rotated: certified, shaped like the array.

    The radius of C·a − S·b is at most ``relative``·(|C·a| + |S·b|) + 2^-1074, and that of an unrotated column 0.
    ``turned`` saves evaluating the rotation again.  Raises ``ValueError`` for an output that the instance lacks, or a
    ``relative`` outside (0, 1).

    >>> from assay.spec.rope import Instance
    >>> print(define(Instance(np.ones((1, 1, 1, 2)), positions=np.array([10**7])))[0, 0, 0])
    [-1.327818179372522052460219340663 ± 5e-31, -0.486722592990957069863206161181 ± 4e-31]
    """
    if not 0.0 < relative < 1.0:
        raise ValueError(f"relative: {relative!r}, expected a number between 0 and 1")
    x = instance.arrays().get(output)
    if x is None or output == "positions":
        raise ValueError(f"unknown output {output!r}: expected 'query', or 'key' where there is one")
    x = x.astype(np.float64)
    turned = turned or rotation(instance)
    columns, partner, sign = paired(instance)
    straight, crossed = x[..., columns], x[..., partner] * sign
    with np.errstate(all="ignore"):
        value = turned.cos.scaled(straight).plus_ball(turned.sin.scaled(crossed))
        size = np.abs(turned.cos.high * straight) + np.abs(turned.sin.high * crossed)
        missing = ~(value.error() <= relative * size + 2.0**-1074)
        part, radius = value.rounded()
    zero = (straight == 0.0) & (crossed == 0.0)
    part, radius, missing = np.where(zero, 0.0, part), np.where(zero, 0.0, radius), missing & ~zero
    exact: list[tuple[tuple[NDArray[np.intp], ...], NDArray[np.object_]]] = []
    bits = max(_BITS, 64 + math.ceil(-1.1 * math.log2(relative)))
    while missing.any() and bits <= _MOST_BITS:
        at = np.nonzero(missing)
        balls = _balls(instance, straight[at], crossed[at], at, bits)
        good = balls.error() <= relative * size[at] + 2.0**-1074
        done = tuple(axis[good] for axis in at)
        part[done], radius[done] = (numbers[good] for numbers in balls.rounded())
        exact.append((done, balls.full()[good]))
        missing[done] = False
        bits *= 2
    if missing.any():
        raise ArithmeticError(f"relative: {relative!r} was not reached with {_MOST_BITS} bits")
    mid, rad = x.copy(), np.zeros_like(x)
    mid[..., columns], rad[..., columns] = part, radius

    def full() -> NDArray[np.object_]:
        whole, rotated = from_parts(mid, np.zeros_like(mid), rad), value.full()
        rotated[zero] = flint.arb(0)
        for done, balls in exact:
            rotated[done] = balls
        whole[..., columns] = rotated
        return whole

    return Enclosure(mid, rad, full)


def paired(instance: Instance) -> tuple[NDArray[np.intp], NDArray[np.intp], Array]:
    """The rotated columns, first members of the pairs before second ones, their partners, and the signs of these."""
    half = instance.rotated // 2
    first = np.arange(half) * (1 if instance.layout == "halves" else 2)
    second = first + (half if instance.layout == "halves" else 1)
    return np.concatenate([first, second]), np.concatenate([second, first]), np.repeat([-1.0, 1.0], half)


def rotation(instance: Instance) -> Rotation:
    """C and S, certified: evaluated once for every distinct position and pair."""
    distinct, row = np.unique(instance.positions.astype(np.int64), return_inverse=True)
    at = np.atleast_2d(row.reshape(instance.positions.shape))[:, None]
    with flint.ctx.workprec(_BITS):
        theta, m = frequencies(instance)[2], magnitude(instance)
        pairs = [(t * int(position)).sin_cos() for position in distinct for t in theta]
        tables = [_double_double([m * pair[k] for pair in pairs]).reshape(3, len(distinct), -1) for k in (1, 0)]
    cos, sin = (DoubleDoubleBall(*np.concatenate([table, table], axis=2)[:, at]) for table in tables)
    return Rotation(cos, sin)


def _double_double(balls: list[Any]) -> Array:
    """High parts, low parts and radii of balls, in three rows."""
    parts = np.empty((3, len(balls)))
    for index, ball in enumerate(balls):
        high = float(ball.mid())
        low = float((ball - high).mid())
        left = (ball - high - low).abs_upper()
        parts[:, index] = high, low, 0.0 if left == 0 else math.nextafter(float(left), math.inf)
    return parts


def _balls(instance: Instance, straight: Array, crossed: Array, at: tuple[NDArray[np.intp], ...], bits: int) -> ArbBall:
    """C·straight + S·crossed of the elements at the indices ``at``."""
    positions = np.broadcast_to(instance.positions, (instance.query.shape[0], instance.query.shape[2]))[at[0], at[2]]
    out = np.empty(len(positions), dtype=object)
    with flint.ctx.workprec(bits + 64):
        theta, m = frequencies(instance)[2], magnitude(instance)
        for index, (position, column) in enumerate(zip(positions.tolist(), at[3].tolist(), strict=True)):
            sin, cos = (theta[column % len(theta)] * position).sin_cos()
            out[index] = m * (cos * flint.arb(straight[index]) + sin * flint.arb(crossed[index]))
    return ArbBall(out, bits + 64)
