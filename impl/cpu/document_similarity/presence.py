"""0/1 documents through bfloat16 products: exact, and faster than float32 where the processor has such products.

The numbers 0 and 1 are exact in bfloat16, products are summed in float32, and an integer up to 256 is exact in the
bfloat16 result.  A bfloat16 number that is not negative is in the order of its bits as an integer, so the extremum of a
tile is one of integers.  Documents are sorted by their number of words, so that this extremum and the norms at the
border of a tile bound its similarities; few tiles have to be looked at more closely (DOC-9).
"""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.document_similarity.products import bfloat16_products, shared

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from assay.spec.document_similarity.instance import Instance

__all__ = ["applies", "search"]

_WORDS = 256  # the largest integer up to which bfloat16 holds all
_ROWS, _COLUMNS = 512, 1024
_LEAST_PAIRS = 1 << 22  # for fewer the sorting is not worth it


def applies(instance: Instance, torch: Any) -> bool:
    """Whether all documents are of 0 and 1, of at most 256 words, many, and torch can multiply them as bfloat16."""
    left, right = instance.left, instance.left if instance.right is None else instance.right
    if torch is None or left.shape[1] > _WORDS or len(left) * len(right) < _LEAST_PAIRS:
        return False
    return bfloat16_products(torch) and all(bool(((x == 0) | (x == 1)).all()) for x in instance.arrays().values())


def search(instance: Instance, torch: Any, workers: int, tell: Callable[[int, int], None]) -> tuple[int, int]:
    """A best pair (i, j), the same for every number of threads."""
    return _Search(instance, torch).run(workers, tell)


class _Search:
    """The tiles of one instance in the order of the numbers of words."""

    def __init__(self, instance: Instance, torch: Any) -> None:
        self.torch = torch
        self.one = instance.right is None
        self.least = instance.least
        self.cosine = instance.measure == "cosine"
        self.left, self.order_left, self.size_left = self._sorted(instance.left)
        self.right, self.order_right, self.size_right = (
            (self.left, self.order_left, self.size_left) if instance.right is None else self._sorted(instance.right)
        )
        self.best: tuple[float, int] = (-np.inf, 0)  # ± the similarity squared, and minus the number of the tile
        self.pair = (0, 0)
        self.lock = threading.Lock()

    def run(self, workers: int, tell: Callable[[int, int], None]) -> tuple[int, int]:
        parts = -(-len(self.left) // _ROWS)
        for done in shared(self._strip, parts, min(workers, parts), self.torch):
            tell(done, parts)
        return int(self.order_left[self.pair[0]]), int(self.order_right[self.pair[1]])

    def _sorted(self, documents: NDArray[Any]) -> tuple[Any, NDArray[np.intp], NDArray[np.float64]]:
        """The documents in bfloat16 by their number of words; their places; their squared norms, or ones."""
        bits = (documents != 0).astype(np.uint8)
        size = bits.sum(axis=1, dtype=np.int64)
        order = np.argsort(size, kind="stable")
        norms = size[order].astype(np.float64) if self.cosine else np.ones(len(order))
        return self.torch.from_numpy(bits[order]).to(self.torch.bfloat16), order, norms

    def _strip(self, part: int) -> None:
        """The tiles of one block of rows."""
        torch, start = self.torch, part * _ROWS
        block = self.left[start : start + _ROWS]
        room = torch.empty(len(block), min(_COLUMNS, len(self.right)), dtype=torch.bfloat16)
        a = self.size_left[start : start + _ROWS]
        for number in range(start // _COLUMNS if self.one else 0, -(-len(self.right) // _COLUMNS)):
            column = number * _COLUMNS
            other = self.right[column : column + _COLUMNS]
            tile = torch.mm(block, other.T, out=room) if len(other) == room.shape[1] else torch.mm(block, other.T)
            bits = tile.view(torch.int16)
            if self.one and column < start + len(block):
                i = torch.arange(start, start + len(block))[:, None]
                bits[i >= torch.arange(column, column + len(other))] = 0x7F00 if self.least else -1
            extreme = int(bits.amin() if self.least else bits.amax())
            if not 0 <= extreme < 0x7F00:
                continue  # no pair of different documents
            product = float(torch.tensor(extreme, dtype=torch.int16).view(torch.bfloat16))
            b = self.size_right[column : column + _COLUMNS]
            norms = a[-1] * b[-1] if self.least else a[0] * b[0]
            place = -(part * (len(self.right) // _COLUMNS + 1) + number)
            if (self._key(product, norms), place) > self.best:
                self._look(tile, a, b, start, column, place)

    def _key(self, product: Any, norms: Any) -> Any:
        """± the similarity squared.  Quotients of integers up to 2^16 that differ do so by more than a rounding."""
        square = product * product / norms
        return -square if self.least else square

    def _look(self, tile: Any, a: Any, b: Any, row: int, column: int, place: int) -> None:
        """Take the best pair of a tile if it is better than the best so far, or as good and in an earlier tile.

        Only the pairs are looked at whose product could do with the norms at the border of the tile.
        """
        bits = tile.view(self.torch.int16).numpy()
        size, norms = abs(self.best[0]), a[-1] * b[-1] if self.least else a[0] * b[0]
        if self.least:
            most = _WORDS if size == np.inf else min(_WORDS, int(np.sqrt(size * norms) * (1 + 1e-9)))
            i, j = np.nonzero((bits >= 0) & (bits <= _bits(most)))
        else:
            i, j = np.nonzero(bits >= _bits(0 if size == np.inf else math.ceil(np.sqrt(size * norms) * (1 - 1e-9))))
        if not len(i):
            return  # another thread has found a better pair in the meantime
        products = (bits[i, j].astype(np.int32) << 16).view(np.float32).astype(np.float64)
        keys = self._key(products, a[i] * b[j])
        first = int(keys.argmax())
        with self.lock:
            if (float(keys[first]), place) > self.best:
                self.best = (float(keys[first]), place)
                self.pair = (row + int(i[first]), column + int(j[first]))


def _bits(number: int) -> int:
    """The bits of a bfloat16 number, as an integer, of an integer up to 256."""
    return int(np.float32(number).view(np.int32)) >> 16
