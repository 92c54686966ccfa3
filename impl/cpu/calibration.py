"""How long each kind of work takes on the processor at hand (:mod:`assay.impl.cpu.costs`).

A kind is timed by a small loop with the operations of the kernels, of which the compiler makes vectors as it chooses.
The kernels themselves would take the compiler far longer.  Products of tiles stay in registers and are faster than such
a loop; on the processor of Intel that was measured the predictions for them were within a sixth.  Timing takes less
than a tenth of a second, and the compiler about a second, the first time.  The pieces take turns, and the least of
several times counts, so that other work on the machine matters little.
"""

from __future__ import annotations

import functools
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu import costs, processor
from assay.impl.cpu.compiled import CONTRACT, compiled
from assay.spec.instances.extra import required

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["calibrated", "measured"]

_ROUNDS = 30
_LANES, _TIMES = 528, 448  # no power of two: rows would share a few sets of the cache
_DEGREE = 8
_SCANNED = 1 << 20  # numbers: more than the nearest caches hold
_SCATTERED = 1 << 13


@dataclass(frozen=True)
class _Piece:
    """A call that does ``amount`` times one kind of work."""

    call: Callable[[], object]
    amount: int


def measured() -> dict[str, float]:
    """Nanoseconds of one core for every kind of work of :data:`~assay.impl.cpu.costs.REFERENCE`.

    Raises :class:`~assay.spec.instances.extra.MissingExtra` without Numba.
    """
    pieces = _pieces()
    least = dict.fromkeys(pieces, float("inf"))
    for _ in range(_ROUNDS):
        for work, piece in pieces.items():
            begun = time.thread_time_ns()
            piece.call()
            least[work] = min(least[work], max(time.thread_time_ns() - begun, 1) / piece.amount)
    return least


def calibrated() -> costs.Kept:
    """What is to be kept of the processor at hand, measured anew.

    Where the processor has vectors of 512 bits of which the compiler uses 256, this process and those to come use all.
    Products of tiles do so anyway (:mod:`assay.impl.cpu.products`), and the other loops were faster so on the one
    processor of Intel that was measured; it is not measured which are faster here.  ``NUMBA_CPU_NAME`` or
    ``NUMBA_CPU_FEATURES`` in the environment settle it otherwise.
    """
    wide = not any(os.environ.get(name) for name in costs.TARGET) and processor.widen()
    return costs.Kept(measured(), wide)


def _pieces() -> dict[str, _Piece]:
    """What is timed, compiled and called once."""
    rng = np.random.default_rng(0)
    pieces: dict[str, _Piece] = {}
    for name, multiplied, exponentiated in (
        ("float32", "single", "exponential"), ("float64", "double", "exponential double")
    ):  # fmt: skip
        lanes = np.abs(rng.standard_normal(4 * _LANES)).astype(name)
        product, exponential = _compiled(_multiplied, lanes), _compiled(_exponentiated, lanes)
        # Sums that are added to in every call grow too slowly to overflow.
        pieces[multiplied] = _Piece(functools.partial(product, lanes, np.zeros_like(lanes)), 12 * _LANES * _TIMES)
        pieces[exponentiated] = _Piece(functools.partial(exponential, lanes, np.zeros_like(lanes)), _LANES * _TIMES)
    numbers, above = rng.standard_normal(_SCANNED).astype(np.float32), np.empty(_SCANNED, np.bool_)
    pieces["scan"] = _Piece(lambda: np.greater(numbers, np.float32(2.0), out=above), _SCANNED)
    pieces["scatter"] = _scattered(rng)
    few = np.ones(8)
    pieces["interpreter"] = _Piece(lambda: [float((few * few).sum()) for _ in range(100)], 100)
    for piece in pieces.values():
        piece.call()
    return pieces


def _compiled(loop: Callable[..., None], lanes: NDArray[Any]) -> Callable[..., None]:
    types: Any = required("numba", "cpu").types
    row = types.Array(types.float32 if lanes.itemsize == 4 else types.float64, 1, "C")
    return compiled(loop, types.void(row, row), CONTRACT)


def _multiplied(lanes: Any, sums: Any) -> None:
    """Three rows of sums get products of four rows with twelve numbers.

    Rows lie at constant distances: the compiler has little to compare, and does it in two thirds of the time.
    """
    n = _LANES
    for i in range(_TIMES):
        a, b, c, d, e, f = lanes[i], lanes[i + 1], lanes[i + 2], lanes[i + 3], lanes[i + 4], lanes[i + 5]
        g, h, j, k, m, o = lanes[i + 6], lanes[i + 7], lanes[i + 8], lanes[i + 9], lanes[i + 10], lanes[i + 11]
        for r in range(n):
            p, q, u, v = lanes[r], lanes[n + r], lanes[2 * n + r], lanes[3 * n + r]
            sums[r] = sums[r] + a * p + b * q + c * u + d * v
            sums[n + r] = sums[n + r] + e * p + f * q + g * u + h * v
            sums[2 * n + r] = sums[2 * n + r] + j * p + k * q + m * u + o * v


def _exponentiated(lanes: Any, sums: Any) -> None:
    """About what an exponential takes: a reduction of the argument and Horner's rule."""
    one = lanes.dtype.type(1.0)
    for _ in range(_TIMES):
        for r in range(_LANES):
            k = np.floor(max(-lanes[r], -sums[r] - one))
            t = -lanes[r] - k
            e = t
            for _ in range(_DEGREE):
                e = e * t + one
            sums[r] = e * k


def _scattered(rng: np.random.Generator) -> _Piece:
    types: Any = required("numba", "cpu").types
    whole, column = types.Array(types.int64, 1, "C"), types.Array(types.float64, 1, "C")
    call = compiled(_added, types.void(column, whole, column), CONTRACT)
    places, numbers = rng.integers(0, _SCATTERED, _SCATTERED), rng.standard_normal(_SCATTERED)
    sums = np.zeros(_SCATTERED)
    return _Piece(lambda: call(sums, places, numbers), _SCATTERED)


def _added(sums: Any, places: Any, numbers: Any) -> None:
    for i in range(len(places)):
        sums[places[i]] += numbers[i]
