"""Work on a cluster of Dask: pieces are handed out in order, and come back as they are done.

A piece carries all that it needs, and the process that hands it out keeps it until its result is back.  So a worker
that dies loses nothing: what it had is computed again elsewhere.  Whoever needs results in order numbers the pieces, or
lets :func:`in_order` do so.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, TypeVar

from assay.impl.cpu.threads import available
from assay.spec.instances.extra import how_to_install

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

__all__ = ["INSTALL", "LOCAL", "ClusterError", "as_done", "client_of", "in_order", "started"]

INSTALL = how_to_install("cluster")
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


def started(workers: int, *, processes: bool = True) -> Any:
    """A cluster of Dask on this machine, to be used in a ``with``: workers of one thread each, and no page to look at.

    processes: else the workers are threads of this process.  The port is any that is free: Dask's own choice makes the
    second cluster of a machine warn.
    """
    import distributed

    return distributed.LocalCluster(
        n_workers=workers, threads_per_worker=1, processes=processes, dashboard_address=None,
        scheduler_kwargs={"dashboard_address": "127.0.0.1:0"}, silence_logs="ERROR",
    )  # fmt: skip


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
            started(available()) as cluster,
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


def as_done(
    client: Any, function: Callable[[T], R], pieces: Iterable[tuple[int, T]], seconds: float | None = None
) -> Generator[tuple[int, R], None, None]:
    """Yield (number, function(piece)) in the order in which pieces are done.

    function: one that cloudpickle can carry to the workers.  Pieces are taken from the iterator as workers need them.
    seconds: the longest wait for a result.
    An exception of the function is raised here.  Raises :class:`ClusterError` where a piece killed all that tried it,
    and ``TimeoutError`` where no result came in time.  What is handed out is cancelled where the iterator is closed,
    which has to be before the client is.
    """
    from distributed import KilledWorker, wait

    coming = iter(pieces)
    numbers: dict[Any, int] = {}
    try:
        while True:
            room = _AHEAD * max(1, sum(client.nthreads().values()))
            while len(numbers) < room and (following := next(coming, None)) is not None:
                number, piece = following
                numbers[client.submit(function, piece, pure=False)] = number
            if not numbers:
                return
            with client.as_current():
                done = wait(list(numbers), timeout=seconds, return_when="FIRST_COMPLETED").done
            for future in done:
                number = numbers.pop(future)
                try:
                    result = future.result()
                except KilledWorker:
                    raise ClusterError(f"the workers that tried piece {number} of the work died", number) from None
                future.release()
                yield number, result
    finally:
        if numbers:
            client.cancel(list(numbers))


def in_order(
    client: Any, function: Callable[[T], R], pieces: Iterable[T], seconds: float | None = None
) -> Generator[R, None, None]:
    """Yield function(piece) in the order of the pieces, as ``map(function, pieces)`` does in one process.

    The other arguments and what is raised are those of :func:`as_done`.
    """
    early: dict[int, R] = {}
    following = 0
    with contextlib.closing(as_done(client, function, enumerate(pieces), seconds)) as results:
        for number, result in results:
            early[number] = result
            while following in early:
                yield early.pop(following)
                following += 1
