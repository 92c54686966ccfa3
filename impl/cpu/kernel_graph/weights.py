"""The compiled kernels of direct sums: squared distances of a tile, the function of them, and sums over the tile.

An exponential of our own takes the place of the library's, because the compiler turns it into vector instructions:
e^x = 2^k·P(r) with k = round(x·log₂e), r = x − k·ln 2 in two steps and P the Taylor polynomial of degree 13 (float64)
or 7 (float32).  It errs by at most 8 units roundoff, and is 0 where e^x would be no normal number (KG-20).  Functions
are told apart by a number, once a tile.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.compiled import compiled

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FUSED", "TILE", "code_of", "direct", "exponential", "weigh"]

TILE = 512  # sources of a tile: their distances and weights stay in the first cache

GAUSSIAN, LAPLACIAN, HALVES, POWER, MATERN3, MATERN5, POLYNOMIAL, ARC0, ARC1, TANGENT, THRESHOLD = range(11)
FUSED = {"contract", "nsz", "reassoc"}
_STRICT = {"contract", "nsz"}  # the exponential: sums in the order that is written
_PI = math.pi


def code_of(function: str, parameter: float) -> tuple[int, float, float, float]:
    """(code, a, b, c) of a named function: what the compiled kernels read.

    HALVES is (a + bz)^(−c/2) with whole c, POWER the same for any c, LAPLACIAN e^(−a√z), GAUSSIAN e^(−az).
    """
    if function == "gaussian":
        return GAUSSIAN, parameter, 0.0, 0.0
    if function == "laplacian":
        return LAPLACIAN, parameter, 0.0, 0.0
    if function in ("rational", "coulomb"):
        halves = 2.0 * parameter
        code = HALVES if 1.0 <= halves <= 64.0 and halves == math.floor(halves) else POWER
        return code, 1.0 if function == "rational" else 0.0, 1.0, halves
    if function == "inverse_multiquadric":
        return HALVES, 1.0, parameter, 1.0
    if function == "matern":
        return {0.5: LAPLACIAN, 1.5: MATERN3, 2.5: MATERN5}[parameter], 1.0, 0.0, 0.0
    if function == "polynomial":
        return POLYNOMIAL, 0.0, 0.0, parameter
    if function == "arc_cosine":
        return (ARC0, ARC1, TANGENT)[int(parameter)], 0.0, 0.0, 0.0
    if function == "threshold":
        return THRESHOLD, parameter, 0.0, 0.0
    raise ValueError(f"function: {function!r} has no compiled kernel")


def _exp64(x: Any) -> Any:
    """e^x in float64, x ≤ 700; 0 below −708.3.  |error| ≤ 8u·e^x (KG-20)."""
    y = max(x, -709.0)
    t = y * 1.4426950408889634 + 6755399441055744.0
    k = t - 6755399441055744.0
    r = (y - k * 0.693147180369123816490) - k * 1.90821492927058770002e-10
    p = 1.0 / 6227020800.0
    p = p * r + 1.0 / 479001600.0
    p = p * r + 1.0 / 39916800.0
    p = p * r + 1.0 / 3628800.0
    p = p * r + 1.0 / 362880.0
    p = p * r + 1.0 / 40320.0
    p = p * r + 1.0 / 5040.0
    p = p * r + 1.0 / 720.0
    p = p * r + 1.0 / 120.0
    p = p * r + 1.0 / 24.0
    p = p * r + 1.0 / 6.0
    p = p * r + 0.5
    p = p * r + 1.0
    p = p * r + 1.0
    bits = (np.float64(t).view(np.int64) << np.int64(52)) + np.int64(4607182418800017408)
    return p * np.int64(bits).view(np.float64) if x > -708.3 else 0.0


def _exp32(x: Any) -> Any:
    """e^x in float32, x ≤ 80; 0 below −87.3.  |error| ≤ 8u·e^x (KG-20)."""
    one = np.float32(1.0)
    y = max(x, np.float32(-88.0))
    t = y * np.float32(1.44269504) + np.float32(12582912.0)
    k = t - np.float32(12582912.0)
    r = (y - k * np.float32(0.693359375)) + k * np.float32(2.12194440e-4)
    p = np.float32(1.0 / 5040.0)
    p = p * r + np.float32(1.0 / 720.0)
    p = p * r + np.float32(1.0 / 120.0)
    p = p * r + np.float32(1.0 / 24.0)
    p = p * r + np.float32(1.0 / 6.0)
    p = p * r + np.float32(0.5)
    p = p * r + one
    p = p * r + one
    bits = np.int32(np.int32(np.float32(t).view(np.int32) << np.int32(23)) + np.int32(1065353216))
    return p * bits.view(np.float32) if x > np.float32(-87.3) else np.float32(0.0)


@functools.cache
def exponential(dtype: str) -> Callable[..., Any]:
    """The compiled e^x of float32 or float64, for other kernels; its sums keep the order in which they are written."""
    return compiled({"float32": _exp32, "float64": _exp64}[dtype], None, _STRICT)


def weigh(z: Any, width: Any, code: Any, a: Any, b: Any, c: Any) -> None:
    """Put f(z_j) in place of z_j for j < width.  a and b are of the type of z, c is float64."""
    one = z.dtype.type(1.0)
    if code == GAUSSIAN:
        for j in range(width):
            z[j] = exp(-(a * z[j]))  # type: ignore[name-defined]  # noqa: F821
    elif code == LAPLACIAN:
        for j in range(width):
            z[j] = exp(-(a * np.sqrt(z[j])))  # type: ignore[name-defined]  # noqa: F821
    elif code == HALVES:
        whole = int(c) // 2
        odd = int(c) % 2 == 1
        if whole == 0:
            for j in range(width):
                z[j] = one / np.sqrt(a + b * z[j])
        elif whole == 1 and odd:
            for j in range(width):
                r = a + b * z[j]
                z[j] = one / (r * np.sqrt(r))
        elif whole == 1:
            for j in range(width):
                z[j] = one / (a + b * z[j])
        else:
            for j in range(width):
                r = a + b * z[j]
                g = one / r
                w = one / np.sqrt(r) if odd else one
                for _ in range(whole):
                    w = w * g
                z[j] = w
    elif code == POWER:
        for j in range(width):
            z[j] = math.pow(np.float64(a) + np.float64(b) * np.float64(z[j]), -0.5 * c)
    elif code == MATERN3:
        for j in range(width):
            s = np.sqrt(z.dtype.type(3.0) * z[j])
            z[j] = (one + s) * exp(-s)  # type: ignore[name-defined]  # noqa: F821
    elif code == MATERN5:
        for j in range(width):
            s = np.sqrt(z.dtype.type(5.0) * z[j])
            z[j] = (one + s * (one + s / z.dtype.type(3.0))) * exp(-s)  # type: ignore[name-defined]  # noqa: F821
    elif code == POLYNOMIAL:
        for j in range(width):
            w = z[j]
            for _ in range(int(c) - 1):
                w = w * z[j]
            z[j] = w
    elif code == THRESHOLD:
        for j in range(width):
            z[j] = one if np.float64(z[j]) <= a else z.dtype.type(0.0)
    else:
        for j in range(width):  # the angle is 2 asin(√z/2), which loses nothing near 0
            half = min(math.sqrt(np.float64(z[j])) / 2.0, 1.0)
            angle = 2.0 * math.asin(half)
            cosine = 1.0 - 2.0 * half * half
            first = (math.sin(angle) + (_PI - angle) * cosine) / _PI
            nought = (_PI - angle) / _PI
            z[j] = nought if code == ARC0 else first if code == ARC1 else first + cosine * nought


def _direct(
    targets: Any, sources: Any, at: Any, vectors: Any, code: Any, a: Any, b: Any, c: Any, graph: Any, laplacian: Any,
    diagonal: Any, first: Any, last: Any, out: Any,
) -> None:  # fmt: skip
    """out[:, i] for first ≤ i < last: the sums over all sources, tile by tile, tiles in float64.

    targets (d, m), sources (d, n), vectors (columns, n) and ``at`` (columns, m), the vectors of the targets where these
    are the graph's own points.  Compiled by :func:`direct`.
    """
    d, n = sources.shape
    columns = vectors.shape[0]
    z = np.empty(TILE, sources.dtype)
    total = np.empty(columns, np.float64)
    for i in range(first, last):
        total[:] = 0.0
        for start in range(0, n, TILE):
            width = min(TILE, n - start)
            x = targets[0, i]
            row = sources[0, start : start + width]
            for j in range(width):
                t = x - row[j]
                z[j] = t * t
            for k in range(1, d):
                x = targets[k, i]
                row = sources[k, start : start + width]
                for j in range(width):
                    t = x - row[j]
                    z[j] += t * t
            weigh(z, width, code, a, b, c)
            if graph and start <= i < start + width:
                z[i - start] = 0.0
            for k in range(columns):
                part = vectors[k, start : start + width]
                s = z.dtype.type(0.0)
                if laplacian:
                    v = at[k, i]
                    for j in range(width):
                        s += z[j] * (v - part[j])
                else:
                    for j in range(width):
                        s += z[j] * part[j]
                total[k] += s
        for k in range(columns):
            value = total[k]
            if graph and not laplacian:
                value += diagonal * np.float64(at[k, i])
            out[k, i] = value


@functools.cache
def direct(dtype: str) -> Callable[..., None]:
    """The compiled :func:`_direct` for float32 or float64."""
    import numba

    types: Any = numba.types
    real = {"float32": types.float32, "float64": types.float64}[dtype]
    table = types.Array(real, 2, "C", readonly=True)
    signature = types.void(
        table, table, table, table, types.int64, real, real, types.float64, types.boolean, types.boolean,
        types.float64, types.int64, types.int64, types.Array(real, 2, "C"),
    )  # fmt: skip
    return compiled(_direct, signature, FUSED, exp=exponential(dtype), weigh=weigh)
