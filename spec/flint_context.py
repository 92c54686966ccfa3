"""The working precision of Arb, and the order of its power series: one of each a process, set by one thread at a time.

FLINT's context belongs to the process.  Without the lock of this module, a thread that ends its own ``workprec`` takes
the precision from another that is still computing: its balls stay right, but become too wide to be of use.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

import flint

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["bits", "terms"]

_CONTEXT = threading.RLock()  # reentrant: a computation raises the precision for a part of itself


@contextlib.contextmanager
def bits(precision: int) -> Iterator[None]:
    """Arb rounds to so many bits inside the block; other threads that ask for a precision wait for its end.

    >>> with bits(20):
    ...     print(flint.arb(2).sqrt())
    [1.4142 +/- 1.51e-5]
    """
    with _CONTEXT, flint.ctx.workprec(precision):
        yield


@contextlib.contextmanager
def terms(count: int) -> Iterator[None]:
    """Power series keep so many terms inside the block; other threads that ask for a number of terms wait for its end.

    >>> with terms(2):
    ...     print(flint.arb_series([0, 1]).exp())
    1.00000000000000 + 1.00000000000000*x + O(x^2)
    """
    with _CONTEXT:
        before, flint.ctx.cap = flint.ctx.cap, count
        try:
            yield
        finally:
            flint.ctx.cap = before
