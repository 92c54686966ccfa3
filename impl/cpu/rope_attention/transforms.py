"""Products with Toeplitz matrices by real Fourier transforms in float64, and a bound on what they lose (FFT-1, FFT-2).

The transforms are those of ``scipy.fft`` (pocketfft), of lengths 2^a·3^b·5^c only: the bound is proved for stages of
radix 2, 3, 4 and 5.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.attention.plan import SLACK, U
from assay.spec.instances.extra import required

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["SQUARED", "back", "error", "forward", "lost", "padded"]

#: A 2-norm from squares in float64 is low by at most this times the root of their number, where squares underflow
SQUARED = 2.0**-537

_fft = required("scipy.fft", "cpu")
_BIT = 16.0 * U  # the error of the stages of one bit of the length, relative to the 2-norm (FFT-1)


def padded(length: int) -> int:
    """The length of the transforms for a Toeplitz matrix with ``length`` diagonals."""
    return int(_fft.next_fast_len(length, real=True))


def error(size: int) -> float:
    """e of FFT-1: a computed transform of this size is within e of the exact one, relative to its 2-norm."""
    return _BIT * math.log2(max(size, 2)) * SLACK


def forward(rows: Array) -> NDArray[np.complex128]:
    """The half spectra of real rows (…, size), which may be overwritten."""
    with _fft.set_backend("scipy", only=True):
        found: Any = _fft.rfft(rows, axis=-1, overwrite_x=True)
    return np.asarray(found)


def back(spectra: NDArray[np.complex128], size: int) -> Array:
    """The real rows (…, size) of half spectra, which may be overwritten."""
    with _fft.set_backend("scipy", only=True):
        found: Any = _fft.irfft(spectra, size, axis=-1, overwrite_x=True)
    return np.asarray(found)


def lost(size: int, sums: int, largest: float, symbol_norm: float, norms: Array, keys: int) -> Array:
    """FFT-2: how far one product may be off, for every column, when ``sums`` products are added up in the spectrum.

    largest: at least every number of the computed spectrum of the symbol.  symbol_norm: its 2-norm before.  norms: the
    2-norms of the columns, which have ``keys`` numbers each.
    """
    e = error(size)
    bound: Array = ((2.0 * e + (6.0 + sums) * U) * largest + e * symbol_norm * math.sqrt(keys)) * norms
    return bound * (1.0 + 4.0 * e) * SLACK
