"""Complex Fourier transforms in float64 on a GPU, of rows whose length is a power of two, with a bound of their error.

The kernels are ``fourier.cu``.  The vendor of cuFFT says neither what it rounds nor by how much it errs, so that no
result of it could have a certificate.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.attention.plan import SLACK, U
from assay.impl.gpu.features import blocks
from assay.impl.gpu.machine import struct
from assay.spec.enclosure.double_double import DoubleDoubleBall

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.impl.gpu.machine import Machine

    Complex = NDArray[np.complex128]

__all__ = ["error", "padded", "roots", "transformed"]

_TURN, _LAYER = 2.71, 1.0  # errors in u, of a number times a tabulated root, and of sums of two numbers (GPU-14)
_RADIUS = 2.0**-80  # by which roots may be off before they are rounded


def padded(length: int) -> int:
    """The least power of two that is at least ``length``."""
    return 1 << max(length - 1, 0).bit_length()


def error(size: int) -> float:
    """e of GPU-14: a computed transform of this size is within e of the exact one, relative to its 2-norm."""
    layers = size.bit_length() - 1
    turned = max((layers + 1) // 2 - 1, 0)  # stages but the first
    return (_LAYER * layers + _TURN * turned) * U * SLACK


@functools.lru_cache(maxsize=2)
def roots(size: int) -> Complex:
    """(size,): e^(−2πik/size) for a power of two, of which each part is within 2^-54 + 2^-80 (GPU-14).

    Those of an eighth of the circle are computed in balls of about 100 bits, and rounded.
    """
    if size <= 4:
        return np.array([1.0, -1j, -1.0, 1j])[:: 4 // size]
    zero, one = np.zeros(1), np.ones(1)
    cosine, sine = DoubleDoubleBall.exact(zero), DoubleDoubleBall.exact(one)  # of a quarter of the circle
    halved = []
    for _ in range(size.bit_length() - 3):  # cos(t/2) = √((1 + cos t)/2), sin(t/2) = sin t/(2 cos(t/2))
        half = cosine.plus(one).scaled(0.5).sqrt()
        cosine, sine = half, sine.divided(half.scaled(2.0))
        halved.append((cosine, sine))
    cosines, sines = DoubleDoubleBall.exact(one), DoubleDoubleBall.exact(zero)
    for cosine, sine in reversed(halved):  # of the roots 0 … m − 1, those m places further
        more = cosines.times(cosine).plus_ball(sines.times(sine).scaled(-1.0))
        also = cosines.times(sine).plus_ball(sines.times(cosine))
        cosines, sines = _joined(cosines, more), _joined(sines, also)
    eighth = size // 8
    last = DoubleDoubleBall(*(np.atleast_1d(part) for part in (halved[0][0].high, halved[0][0].low, halved[0][0].rad)))
    cosines, sines = (_joined(ball[:eighth], last) for ball in (cosines, sines))
    if not max(float(cosines.rad.max()), float(sines.rad.max())) <= _RADIUS:  # what the balls themselves prove
        raise ArithmeticError(f"roots of unity of order {size} are not known within 2^-80")
    quarter = np.concatenate([cosines.high, sines.high[eighth - 1 :: -1]])[: size // 4]
    upper = np.concatenate([sines.high, cosines.high[eighth - 1 :: -1]])[: size // 4]
    first = quarter - 1j * upper
    found: Complex = np.concatenate([first, -1j * first, -first, 1j * first])
    return found


def _joined(first: DoubleDoubleBall, second: DoubleDoubleBall) -> DoubleDoubleBall:
    return DoubleDoubleBall(
        *(np.concatenate([getattr(each, name) for each in (first, second)]) for name in ("high", "low", "rad"))
    )


def transformed(machine: Machine, rows: Any, spare: Any, turns: Any, *, back: bool = False) -> tuple[Any, Any]:
    """(the transforms of rows, an array that is free), which are the two arrays that are given, both overwritten.

    rows, spare: (…, size) of complex128, contiguous.  turns: :func:`roots` of that size, on the machine.  back: with
    conjugate roots.  Neither is divided by the size, which is exact as long as no number is subnormal.

    The first stage is one of radix 2 where the size is no power of four; all others have radix 4.
    """
    size = int(rows.shape[-1])
    bits, done = size.bit_length() - 1, 0
    while done < bits:
        radix_bits = 1 if (bits - done) % 2 else 2
        count = int(rows.size) >> radix_bits
        arguments = struct(
            **{"from": machine.address(rows)},
            turns=machine.address(turns),
            to=machine.address(spare),
            bits=bits,
            done=done,
            count=count,
            sign=-1.0 if back else 1.0,
        )
        machine.run("fourier.cu", f"fourier_{1 << radix_bits}", arguments, blocks(count))
        rows, spare = spare, rows
        done += radix_bits
    return rows, spare
