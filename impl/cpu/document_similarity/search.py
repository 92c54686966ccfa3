"""The most or least similar pair, exactly: float32 tiles of products, and exact integers on what these leave open.

A product of normalised documents in float32 errs by at most E, whatever the order of its sums.  Pairs whose product is
within 2E of the best one are kept, and :class:`~assay.impl.cpu.document_similarity.contest.Contest` decides between
them without rounding (proofs_notes/document_similarity.md, DOC-9).  No matrix of all pairs is ever formed.
"""

from __future__ import annotations

import itertools
import math
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu import threads as cpus
from assay.impl.cpu.document_similarity import presence
from assay.impl.cpu.document_similarity.contest import Contest, powers
from assay.impl.cpu.document_similarity.products import Numpy, Torch, shared, usable_torch
from assay.impl.cpu.progress import told
from assay.spec.document_similarity.instance import Instance
from assay.spec.floating_point import require_usual
from assay.spec.rounding import gamma

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["exact"]

_ROWS, _COLUMNS = 512, 1024  # of a tile: 2 MiB in float32, which stay in the cache of a core
_OPEN = 1 << 16  # pairs that are kept before they are decided
_MANY = 64  # open pairs of a tile among which equal ones are looked for
_BLOCK = 1 << 14  # documents that are normalised at a time


def exact(
    left: NDArray[Any],
    right: NDArray[Any] | None = None,
    *,
    least: bool = False,
    measure: str = "cosine",
    threads: int | None = None,
    progress: bool | Callable[[int, int], None] = False,
) -> tuple[int, int, float]:
    """The most similar pair of documents, (i, j, similarity); with ``least`` the least similar one.

    left (n, d), right (m, d), ``least`` and ``measure`` are as in :class:`assay.spec.document_similarity.Instance`:
    without ``right`` the pair is of two documents i < j of ``left``.  The pair is exactly a best one, however close the
    next one is: documents are taken as the exact numbers that are stored.  Among several best pairs the result does not
    depend on ``threads``.  The similarity is within a unit in the last place of float64.

    The time is that of the n·m·d products in float32, where few pairs are nearly best; 0/1 documents of at most 256
    words are faster where torch and a processor with bfloat16 products are there.  The memory is that of the documents
    in float32 and a tile a thread.  threads: the most threads of ours (default: the CPUs of this process); without
    torch, NumPy's products have threads of their own.  progress: True shows a bar; a function is called with (rows of
    tiles done, rows in all).

    In double precision ``sklearn.metrics.pairwise.cosine_similarity(left, right).argmax()`` finds the same pair where
    no other is within its rounding.

    Source: DOC-9 of proofs_notes/document_similarity.md.  Raises :class:`~assay.spec.problem.InvalidInstance` for bad
    input, naming the argument, and ``ValueError`` for bad ``threads``.

    >>> exact(np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]))
    (0, 2, 0.7071067811865476)
    """
    require_usual()
    instance = Instance(left, right, least, measure)
    cpus.require_number(threads)
    workers = threads or cpus.available()
    rows, columns = len(left), len(left if right is None else right)
    torch = usable_torch(rows * columns * left.shape[1])
    with told(progress, "document similarity") as tell:
        if presence.applies(instance, torch):
            i, j = presence.search(instance, torch, workers, tell)
            contest = Contest(instance)
            contest.enter(np.array([i]), np.array([j]))
        else:
            contest = _Search(instance, torch).run(workers, tell)
    assert contest.best is not None
    i, j = contest.best[1:]
    return (min(i, j), max(i, j), contest.similarity()) if right is None else (i, j, contest.similarity())


class _Search:
    """The tiles of one instance, and the pairs that they leave open."""

    def __init__(self, instance: Instance, torch: Any) -> None:
        self.torch = torch
        self.library = Numpy() if torch is None else Torch(torch)
        self.one = instance.right is None
        self.left = self._prepared(instance.left, instance, negate=instance.least)
        self.right = self._prepared(instance.left if instance.right is None else instance.right, instance)
        self.error = float(gamma(instance.left.shape[1] + 3, 2.0**-24)) + instance.left.shape[1] * 2.0**-125
        if not math.isfinite(self.error):
            self.error = 4.0  # no product of normalised documents errs by more than keeps every pair open
        self.contest = Contest(instance)
        self.lower = -math.inf  # of the best product, in exact arithmetic
        self.waiting: list[tuple[NDArray[np.intp], NDArray[np.intp]]] = []
        self.open = 0
        self.lock = threading.Lock()
        # a least similarity of 0 cannot be improved where no number is negative
        self.floor = instance.least and all(bool((x >= 0).all()) for x in instance.arrays().values())
        self.until = math.inf  # no tile after this one is needed

    def run(self, workers: int, tell: Callable[[int, int], None]) -> Contest:
        """All tiles, and then the contest of what is open."""
        parts = -(-len(self.left) // _ROWS)
        workers = min(workers, parts) if self.library.parallel else 1
        for done in shared(self._strip, parts, workers, self.torch):
            tell(done, parts)
        self._decide()
        return self.contest

    def _prepared(self, documents: NDArray[Any], instance: Instance, *, negate: bool = False) -> Any:
        """The documents in float32: of norm 1 for the cosine, else all of norm at most 1."""
        cosine = instance.measure == "cosine"
        prepared = np.empty(documents.shape, np.float32)
        exponents = powers(documents, cosine)
        norms = np.empty(len(documents))
        for start in range(0, len(documents), _BLOCK):
            part = slice(start, start + _BLOCK)
            scaled = np.ldexp(documents[part].astype(np.float64), -exponents[part, None])
            norms[part] = np.sqrt(np.einsum("ij,ij->i", scaled, scaled))
        largest = float(norms.max()) or 1.0
        for start in range(0, len(documents), _BLOCK):
            part = slice(start, start + _BLOCK)
            scaled = np.ldexp(documents[part].astype(np.float64), -exponents[part, None])
            scaled /= norms[part, None] if cosine else largest
            prepared[part] = -scaled if negate else scaled
        return self.library.matrix(prepared)

    def _strip(self, part: int) -> None:
        """The tiles of one block of rows."""
        rows = slice(part * _ROWS, min((part + 1) * _ROWS, len(self.left)))
        block = self.left[rows]
        room = self.library.tile(len(block), min(_COLUMNS, len(self.right)))
        first = rows.start // _COLUMNS if self.one else 0
        for number in range(first, -(-len(self.right) // _COLUMNS)):
            order = part * (len(self.right) // _COLUMNS + 1) + number
            if order > self.until:
                return
            start = number * _COLUMNS
            tile = self.library.product(block, self.right[start : start + _COLUMNS], room)
            if self.one and start < rows.stop:
                values = self.library.array(tile)  # a document makes no pair with itself, and (j, i) is (i, j)
                i, j = np.arange(rows.start, rows.stop), np.arange(start, start + values.shape[1])
                values[i[:, None] >= j] = -np.inf
            best = self.library.largest(tile)
            if best > -np.inf and best + self.error >= self.lower:
                self._keep(tile, best, rows.start, start, order)

    def _keep(self, tile: Any, best: float, row: int, column: int, order: int) -> None:
        """Keep the pairs of a tile that may be the best."""
        values = self.library.array(tile)
        if self.floor and best == 0.0:
            zeros = itertools.islice(zip(*np.nonzero(values == 0.0), strict=True), 64)
            for i, j in zeros:  # unless the product underflowed
                if self._settled(row + int(i), column + int(j), order):
                    return
        with self.lock:
            self.lower = max(self.lower, best - self.error)
            limit = self.lower - self.error
        if best < limit:
            return
        i, j = np.nonzero(values >= np.float32(np.nextafter(np.float32(limit), np.float32(-np.inf))))
        if len(i) > _MANY and self.contest.short:
            first = self._first_of_each(i, j, row, column)
            i, j = i[first], j[first]
        with self.lock:
            self.waiting.append((i + row, j + column))
            self.open += len(i)
            if self.open > _OPEN:
                self._decide()

    def _first_of_each(self, i: Any, j: Any, row: int, column: int) -> Any:
        """The first of all open pairs of a tile that have the same inner product and norms, for short integers.

        Where thousands of pairs are equal, as are all pairs of different unit vectors, one of them is enough.
        """
        rows, columns = slice(row, row + int(i.max()) + 1), slice(column, column + int(j.max()) + 1)
        left, right = (x[at].astype(np.float32) for x, at in zip(self.contest.sides, (rows, columns), strict=True))
        products = (left @ right.T)[i, j].astype(np.int64)  # exact, as all sums are below 2^24
        codes = products - products.min()
        for norms, at in ((np.einsum("ij,ij->i", left, left), i), (np.einsum("ij,ij->i", right, right), j)):
            distinct, place = np.unique(norms, return_inverse=True)
            codes = codes * len(distinct) + place[at]
        return np.sort(np.unique(codes, return_index=True)[1])

    def _settled(self, i: int, j: int, order: int) -> bool:
        """Whether the pair has similarity 0 where nothing is less; the first such pair by tiles is kept."""
        with self.lock:
            if not self.contest.is_zero(i, j):
                return False
            if order < self.until:
                self.until = order
                self.contest.take(i, j)
            return True

    def _decide(self) -> None:
        """The contest of the open pairs; it leaves one."""
        if self.until < math.inf:
            self.waiting, self.open = [], 0
            return
        if self.waiting:
            rows, columns = (np.concatenate(x) for x in zip(*self.waiting, strict=True))
            self.waiting, self.open = [], 0
            self.contest.enter(rows, columns)
