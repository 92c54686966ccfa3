"""Gaussian sums by two non-uniform Fourier transforms of finufft: from the points to modes, and back."""

from __future__ import annotations

import importlib.metadata
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.interface.kernel import Declined, Kernel
from assay.conformance.kernel_graph.target_numpy import only

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

__all__ = ["gauss"]

_MODES = 1 << 22  # of a grid: larger ones are declined


def gauss(name: str, error: float) -> Kernel:
    """Gaussian sums in one to three dimensions, to an error of ``error``·Σ|v|, which finufft takes for its tolerance.

    A period is longer than the points by as much as leaves the images below ``error``, and there are as many modes as
    leave the rest of the spectrum below it.
    """
    keywords = frozenset({"function", "parameter", "targets"})

    def multiply(
        points: Array, vectors: Array, *, function: str, parameter: float, targets: Array | None = None
    ) -> Array:
        made = _sums(points, points if targets is None else targets, vectors, parameter, error)
        return (made if targets is not None else made - vectors).astype(points.dtype)

    return Kernel(
        name, multiply, keywords=keywords, conventions={"error": repr(8 * error)}, lacks=only("gaussian"),
        lengths={"dim": "1..3"}, version=importlib.metadata.version("finufft"),
    )  # fmt: skip


def _sums(points: Array, goals: Array, vectors: Array, parameter: float, error: float) -> Array:
    import finufft

    d = points.shape[1]
    every = np.concatenate([points, goals])
    extent = float(np.ptp(every, axis=0).max())
    digits = math.log(8 * d / error)
    period = extent + math.sqrt(digits / parameter) + 2.0**-20
    half = math.ceil(math.sqrt(4 * parameter * digits) * period / (2 * math.pi)) + 1
    if (2 * half + 1) ** d > _MODES:
        raise Declined(f"{2 * half + 1} modes in each of {d} dimensions")
    real = points.dtype
    complex_type = np.complex64 if real == np.float32 else np.complex128
    middle = (every.max(axis=0) + every.min(axis=0)) / 2
    x, y = (
        [np.ascontiguousarray((2 * np.pi / period * (p[:, c] - middle[c])).astype(real)) for c in range(d)]
        for p in (points, goals)
    )
    wave = 2 * np.pi / period * np.arange(-half, half + 1)
    line = math.sqrt(math.pi / parameter) / period * np.exp(-(wave**2) / (4 * parameter))
    shape = (2 * half + 1,) * d
    weights = np.ones(shape)
    for axis in range(d):
        weights = weights * line.reshape([-1 if a == axis else 1 for a in range(d)])
    to, back = getattr(finufft, f"nufft{d}d1"), getattr(finufft, f"nufft{d}d2")
    asked = max(error, 1e-6 if real == np.float32 else 1e-14)
    columns = []
    for column in vectors.T:
        modes = to(
            *x, np.ascontiguousarray(column).astype(complex_type), shape if d > 1 else shape[0], isign=-1, eps=asked
        )
        columns.append(back(*y, (modes * weights).astype(complex_type), isign=1, eps=asked).real)
    return np.stack(columns, axis=1)
