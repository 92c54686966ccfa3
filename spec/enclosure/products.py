"""Products of small matrices, each computed in the thread that asks for it.

A BLAS library shares a product among threads that wait for each other by spinning.  Where other programs use the
cores, the small products of a specification then take a hundred times as long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    Array = NDArray[Any]

__all__ = ["matrix_product"]

_ALONE = 1 << 18  # multiplications up to which OpenBLAS starts no second thread
_SHARED = 1 << 24  # … and from which a second one is worth its waiting
_ROWS = 8  # fewer rows at once are a product of vectors


def matrix_product(a: Array, b: Array) -> Array:
    """a @ b for a (…, m, k) and b (…, k, n), by rows of a where the matrices are small.

    >>> matrix_product(np.ones((2, 200, 64)), np.ones((64, 100))).shape
    (2, 200, 100)
    """
    if a.ndim < 2 or b.ndim < 2:
        return a @ b
    m, k, n = *a.shape[-2:], b.shape[-1]
    rows = _ALONE // max(1, k * n)
    if rows < _ROWS or m <= rows or m * k * n > _SHARED:
        return a @ b
    out = np.empty((*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), m, n), np.result_type(a, b))
    for at in range(0, m, rows):
        np.matmul(a[..., at : at + rows, :], b, out=out[..., at : at + rows, :])
    return out
