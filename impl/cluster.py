"""Work on a cluster of Dask: pieces are handed out in order, and come back as they are done.

A piece carries all that it needs, and the process that hands it out keeps it until its result is back.  So a worker
that dies loses nothing: what it had is computed again elsewhere.  Whoever needs results in order numbers the pieces.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, TypeVar

from assay.impl.cpu.threads import available

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["INSTALL", "LOCAL", "ClusterError", "as_done", "client_of"]

INSTALL = "pip install 'assay[cluster]'"
LOCAL = "local"
_AHEAD = 2  # pieces that are handed out for each thread of the cluster
_SECONDS = 30.0  # until a scheduler answers

T = TypeVar("T")
R = TypeVar("R")


class ClusterError(RuntimeError):
    """There is no cluster, or it gave a piece of work up; the message is one line.

    piece: the number of that piece.
    """

    def __init__(self, message: str, piece: int | None = None) -> None:
        super().__init__(message)
        self.piece = piece


@contextlib.contextmanager
def client_of(scheduler: Any = LOCAL) -> Iterator[Any]:
    """Yield a client of Dask: of the scheduler at an address, or of a cluster on this machine that lives that long.

    A client is yielded as it is.  Raises :class:`ClusterError` where Dask is missing or nobody answers.
    """
    try:
        import distributed
    except ImportError:
        raise ClusterError(f"scheduler: Dask is missing, {INSTALL}") from None
    if isinstance(scheduler, distributed.Client):
        yield scheduler
        return
    if not isinstance(scheduler, str):
        raise ClusterError(f"scheduler: {scheduler!r}, expected an address, {LOCAL!r} or a client of Dask")
    if scheduler == LOCAL:
        with (
            distributed.LocalCluster(
                n_workers=available(), threads_per_worker=1, dashboard_address=None, silence_logs="ERROR"
            ) as cluster,
            distributed.Client(cluster, set_as_default=False) as client,
        ):
            yield client
        return
    try:
        client = distributed.Client(scheduler, timeout=_SECONDS, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise ClusterError(f"scheduler: nobody answers at {scheduler} ({error})") from None
    with client:
        yield client


def as_done(client: Any, function: Callable[[T], R], pieces: Iterable[tuple[int, T]]) -> Iterator[tuple[int, R]]:
    """Yield (number, function(piece)) in the order in which pieces are done.

    function: one that cloudpickle can carry to the workers.  Pieces are taken from the iterator as workers need them.
    An exception of the function is raised here.  Raises :class:`ClusterError` where a piece killed all that tried it.
    """
    from distributed import KilledWorker, as_completed

    coming = iter(pieces)
    numbers: dict[Any, int] = {}
    done = as_completed(loop=client.loop)
    try:
        while True:
            room = _AHEAD * max(1, sum(client.nthreads().values()))
            while len(numbers) < room and (following := next(coming, None)) is not None:
                number, piece = following
                future = client.submit(function, piece, pure=False)
                numbers[future] = number
                done.add(future)
            if not numbers:
                return
            future = next(done)
            number = numbers.pop(future)
            try:
                result = future.result()
            except KilledWorker:
                raise ClusterError(f"the workers that tried piece {number} of the work died", number) from None
            future.release()
            yield number, result
    finally:
        for future in numbers:
            future.cancel()
