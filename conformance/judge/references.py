"""What instances are held to, once it is known: a judge asks for it many times, and so do judges of other kernels."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from assay.conformance.call.outcome import Criteria

__all__ = ["References", "engaged_here", "share", "shared"]

_MOST = 1 << 22  # numbers in the arrays of instances: a hundred megabytes of criteria, or less
_BESIDE = 500  # numbers that an instance and its criteria take beside those of its arrays


@dataclass
class References:
    """The criteria of instances, those that were asked for last.  Several threads may ask.

    most: how many numbers all arrays of the instances may have, before those that were asked for first are forgotten.

    >>> known = References(most=1200)
    >>> [known.of(key, 0, lambda: {}) is known.of(key, 0, lambda: {}) for key in (1, 2, 3)], len(known)
    ([True, True, True], 2)
    """

    most: int = _MOST
    held: int = field(init=False, default=0)
    _known: dict[Any, tuple[int, Criteria]] = field(init=False, repr=False, default_factory=dict)
    _coming: dict[Any, Future[Criteria]] = field(init=False, repr=False, default_factory=dict)  # under evaluation
    _lock: threading.Lock = field(init=False, repr=False, compare=False, default_factory=threading.Lock)

    def __len__(self) -> int:
        return len(self._known)

    def of(self, key: Any, size: int, evaluate: Callable[[], Criteria]) -> Criteria:
        """What is known by this key, of an instance of so many numbers; evaluated where nothing is.

        Where another thread is evaluating it, its result is waited for.  What ``evaluate`` raises is not kept, and is
        raised in every thread that waits for it.
        """
        with self._lock:
            if known := self._known.pop(key, None):
                self._known[key] = known  # forgotten last
                return known[1]
            coming = self._coming.get(key)
            own: Future[Criteria] = Future()
            if coming is None:
                self._coming[key] = own
        if coming is not None:
            return coming.result()
        try:
            criteria = evaluate()
        except BaseException as error:
            with self._lock:
                del self._coming[key]
            own.set_exception(error)
            raise
        with self._lock:
            del self._coming[key]
            self._keep(key, size + _BESIDE, criteria)
        own.set_result(criteria)
        return criteria

    def _keep(self, key: Any, size: int, criteria: Criteria) -> None:
        if size <= self.most:
            self._known[key] = size, criteria
            self.held += size
        while self.held > self.most:
            self.held -= self._known.pop(next(iter(self._known)))[0]


_SHARED: ContextVar[References | None] = ContextVar("shared references", default=None)


def engaged_here() -> References:
    """The references of a judge that is engaged here: shared ones inside :func:`shared`, else its own."""
    here = _SHARED.get()
    return References() if here is None else here


def share() -> None:
    """From here on judges share their references, as long as the process lives."""
    if _SHARED.get() is None:
        _SHARED.set(References())


@contextmanager
def shared() -> Iterator[None]:
    """Judges that are engaged inside share their references, and with those of a block around this one."""
    token = _SHARED.set(engaged_here())
    try:
        yield
    finally:
        _SHARED.reset(token)
