"""The rotary embedding on the CPU, with exact angles: right to any position, at the cost of a table.

A frequency is kept in turns, as a fraction of 2^64 and a rest below it.  Multiplied by a position modulo 2^64, an
integer operation without rounding, it is the angle already reduced, to 2^-59 whatever the position; cosine and sine
are polynomials on an eighth of a turn (proofs_notes/rope_attention.md, ROT-8).  Angles of a token are evaluated once,
for all heads of queries and keys; extra memory is one row of cosines and sines a thread.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import flint
import numpy as np

from assay.impl.cpu import threads as cpus
from assay.impl.cpu.compiled import CONTRACT, compiled
from assay.spec import flint_context
from assay.spec.floating_point import require_usual
from assay.spec.instances.extra import required
from assay.spec.rope.instance import Instance
from assay.spec.rotary.frequencies import frequencies, magnitude

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["Rotation", "exact", "rotated", "rotation"]

_SIN = tuple((-1) ** k / math.factorial(2 * k + 1) for k in range(7, -1, -1))  # to x^15, highest first
_COS = tuple((-1) ** k / math.factorial(2 * k) for k in range(8, -1, -1))  # to x^16
_TURN = 2 * math.pi * 2.0**-64
_LEAST = 1 << 18  # numbers that are worth another thread


def exact(
    query: NDArray[Any],
    key: NDArray[Any] | None = None,
    positions: NDArray[np.integer[Any]] | None = None,
    *,
    base: float = 10000.0,
    layout: str = "halves",
    rotary_dim: int | None = None,
    scaling: str | None = None,
    factor: float | None = None,
    original_length: int | None = None,
    low_frequency: float | None = None,
    high_frequency: float | None = None,
    truncate: bool = True,
    attention_factor: float | None = None,
    threads: int | None = None,
) -> Any:
    """Queries and keys of shape (batch, heads, length, dim), rotated; options as in :class:`assay.spec.rope.Instance`.

    Returns (query, key), or the query alone where there is no key, in their dtype.  Cosines and sines have an absolute
    error of at most 2^-51; float64 arrays are rotated in float64, others in float32 and rounded once: the classes
    ``exact-angles`` of :data:`assay.spec.rope.PRECISIONS`.  ``threads``: at most this many (default: the CPUs of this
    process); the result does not depend on it.

    Raises :class:`~assay.spec.problem.InvalidInstance` for bad input, naming the argument.

    >>> x = np.array([1.0, 0.0]).reshape(1, 1, 1, 2)
    >>> exact(x, positions=np.array([10**7])).ravel()
    array([-0.90727039,  0.42054779])
    """
    require_usual()
    ids: Any = positions  # the instance fills in what is not given
    instance = Instance(
        query, key, ids, base, layout, rotary_dim, scaling, factor, original_length, low_frequency,
        high_frequency, truncate, attention_factor,
    )  # fmt: skip
    cpus.require_number(threads)
    outputs = tuple(
        x.astype(query.dtype, copy=False)
        for x in rotated(query, query[:, :0] if key is None else key, instance.positions, rotation(instance), threads)
    )
    return outputs[0] if key is None else outputs


@dataclass(frozen=True, eq=False)
class Rotation:
    """By what a position turns every pair: in turns of 2^-64 and a rest in these, (pairs,); magnitude; layout."""

    whole: NDArray[np.uint64]
    rest: NDArray[np.float64]
    magnitude: float
    layout: str


def rotated(
    query: NDArray[Any],
    key: NDArray[Any],
    positions: NDArray[np.integer[Any]],
    rotation: Rotation,
    threads: int | None = None,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Arrays (batch, heads, length, dim) rotated at the same positions, in the type of the arithmetic of :func:`exact`.

    An array without heads costs nothing.
    """
    work = np.dtype(np.float64) if query.dtype.name == "float64" else np.dtype(np.float32)
    arrays = [x.astype(work, copy=False) for x in (query, key)]
    results = [np.empty(x.shape, work) for x in arrays]
    tokens = query.shape[0] * query.shape[2]
    workers = min(threads or cpus.available(), tokens, -(-sum(x.size for x in arrays) // _LEAST))
    arguments = (
        *arrays, np.atleast_2d(positions.astype(np.int64)), rotation.whole, rotation.rest, rotation.magnitude,
        rotation.layout == "halves", *results,
    )  # fmt: skip
    kernel = _kernel(work.name)
    if workers == 1:
        kernel(*arguments, 0, tokens)
    else:
        step = -(-tokens // (4 * workers))
        cpus.share(lambda i: kernel(*arguments, i, min(i + step, tokens)), range(0, tokens, step), workers)
    return results[0], results[1]


def rotation(instance: Instance) -> Rotation:
    """What the frequencies of an instance are in turns: 64 binary digits after the point, and the rest of the last."""
    with flint_context.bits(256):
        scaled = [theta / (2 * flint.arb.pi()) * 2**64 for theta in frequencies(instance)[2]]
        whole = [int(x.mid().floor().unique_fmpz()) for x in scaled]
        rest = [float((x - n).mid()) for x, n in zip(scaled, whole, strict=True)]
    return Rotation(np.array(whole, np.uint64), np.array(rest), float(magnitude(instance)), instance.layout)


@functools.cache
def _kernel(dtype: str) -> Callable[..., None]:
    """The compiled kernel of one dtype: one signature, whatever the strides."""
    numba = required("numba", "cpu")

    types: Any = numba.types
    real = {"float32": types.float32, "float64": types.float64}[dtype]

    def view(of: Any, dimensions: int, layout: str = "A", *, readonly: bool = True) -> Any:
        return types.Array(of, dimensions, layout, readonly=readonly)

    signature = types.void(
        view(real, 4), view(real, 4), view(types.int64, 2), view(types.uint64, 1, "C"), view(types.float64, 1, "C"),
        types.float64, types.boolean, types.Array(real, 4, "C"), types.Array(real, 4, "C"), types.int64, types.int64,
    )  # fmt: skip
    return compiled(_rotate, signature, CONTRACT)


def _rotate(
    query: Any, key: Any, positions: Any, whole: Any, rest: Any, m: Any, halves: Any, query_out: Any, key_out: Any,
    first: Any, last: Any,
) -> None:  # fmt: skip
    """Tokens first … last−1, numbered over (batch, length).  Compiled by :func:`_kernel`."""
    n, pairs = query.shape[2], whole.shape[0]
    cosines, sines = np.empty(pairs, query.dtype), np.empty(pairs, query.dtype)
    for token in range(first, last):
        batch, i = token // n, token % n
        position = positions[min(batch, positions.shape[0] - 1), i]
        size = np.uint64(abs(position))
        sign = -1.0 if position < 0 else 1.0
        for pair in range(pairs):
            turn = size * whole[pair] + np.uint64(np.float64(size) * rest[pair])  # modulo 2^64: a whole turn
            quarter = (turn + np.uint64(1 << 61)) >> np.uint64(62)  # the nearest: at most an eighth of a turn is left
            angle = np.float64(np.int64(turn - (quarter << np.uint64(62)))) * _TURN
            square = angle * angle
            sine, cosine = _SIN[0], _COS[0]
            for k in range(1, 8):
                sine = sine * square + _SIN[k]
            for k in range(1, 9):
                cosine = cosine * square + _COS[k]
            sine *= angle
            odd = quarter & np.uint64(1) == np.uint64(1)
            c, s = (sine, cosine) if odd else (cosine, sine)
            c = -c if quarter == np.uint64(1) or quarter == np.uint64(2) else c
            s = -s if quarter >= np.uint64(2) else s
            cosines[pair], sines[pair] = m * c, m * sign * s
        for x, out in ((query, query_out), (key, key_out)):
            for head in range(x.shape[1]):
                row, result = x[batch, head, i], out[batch, head, i]
                if halves:
                    for pair in range(pairs):
                        a, b = row[pair], row[pair + pairs]
                        result[pair] = cosines[pair] * a - sines[pair] * b
                        result[pair + pairs] = sines[pair] * a + cosines[pair] * b
                else:
                    for pair in range(pairs):
                        a, b = row[2 * pair], row[2 * pair + 1]
                        result[2 * pair] = cosines[pair] * a - sines[pair] * b
                        result[2 * pair + 1] = sines[pair] * a + cosines[pair] * b
                for column in range(2 * pairs, row.shape[0]):
                    result[column] = row[column]
