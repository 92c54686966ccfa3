"""The most or least similar pair of documents on a GPU: all products by tiles, of which only the best is kept.

The arithmetic is that of the class of the input: float32 or float64 throughout; bfloat16 and float16 are computed in
float32.  Besides its outputs a call takes the documents in the type of the arithmetic, and three numbers a block.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from assay.impl.gpu.attention.tile import ROWS, THREADS, work_of
from assay.impl.gpu.machine import Launch, card, standing_in, struct, view
from assay.spec.document_similarity.instance import Instance

if TYPE_CHECKING:
    from assay.impl.gpu.machine import Machine

__all__ = ["nearest", "run"]

_SHARES = 8  # blocks that share the tiles of one row of tiles, at most
_SHARED = 2 * ROWS * 36  # numbers in shared memory: two factors, or the best pairs of all threads


def nearest(left: Any, right: Any = None, *, least: bool = False, measure: str = "cosine") -> tuple[Any, Any, Any]:
    """The most similar pair of documents, (i, j, similarity); with ``least`` the least similar one.

    left (n, d), right (m, d), ``least`` and ``measure`` are as in :class:`assay.spec.document_similarity.Instance`;
    arrays and streams are as for :func:`assay.impl.gpu.attention.exact`.  Returns CuPy arrays without axes: two indices
    in int64, and the similarity in float64 for float64 documents and in float32 otherwise.  The pair is a best one of
    the computed similarities, and of equal ones the first: where the next pair is within rounding, it may be that one
    (:func:`assay.impl.cpu.document_similarity.exact` tells them apart).  Numbers on the device are not looked at: a
    document of zeros has no cosine, and makes no pair.

    Raises :class:`~assay.spec.problem.InvalidInstance` for shapes, dtypes and options that do not fit, naming the
    argument, and ``ImportError`` where CuPy is not installed.
    """
    return run(card(), left, right, least=least, measure=measure)


def run(machine: Machine, left: Any, right: Any = None, **options: Any) -> tuple[Any, Any, Any]:
    """:func:`nearest` on a machine."""
    given = {"left": machine.given(left), "right": machine.given(right)}
    instance = Instance(**standing_in(given, 1), **options)
    left, right = given["left"], given["right"]
    work = work_of(left, "left")
    one = right is None
    (n, d), m = left.shape, left.shape[0] if one else right.shape[0]
    shares = min(_SHARES, -(-m // ROWS))
    rows = -(-n // ROWS)
    prepared = [machine.empty((n, d), work), None if one else machine.empty((m, d), work)]
    values, pairs = machine.empty((rows * shares,), work), machine.empty((rows * shares, 2), "int64")
    similarity, pair = machine.empty((1,), work), machine.empty((2,), "int64")
    addresses = [machine.address(array) for array in prepared if array is not None]
    arguments = struct(
        left=view(machine, left, (1, 1, n, d)),
        right=view(machine, right, (1, 1, m, d)),
        to_left=addresses[0],
        to_right=addresses[-1],
        values=machine.address(values),
        pairs=machine.address(pairs),
        similarity=machine.address(similarity),
        pair=machine.address(pair),
        lefts=n,
        rights=m,
        words=d,
        shares=shares,
        one=int(one),
        least=int(instance.least),
        cosine=int(instance.measure == "cosine"),
    )
    shared = _SHARED * work.itemsize
    for kernel, launch in (
        (f"prepare_{left.dtype.name}", Launch(-(-(n if one else n + m) // THREADS), THREADS, 0)),
        (f"search_{work.name}", Launch(rows * shares, THREADS, shared)),
        (f"best_{work.name}", Launch(1, THREADS, shared)),
    ):
        machine.run("document_similarity/nearest.cu", kernel, arguments, launch)
    return pair[:1].reshape(()), pair[1:].reshape(()), similarity.reshape(())
