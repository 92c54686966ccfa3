"""Pieces of a campaign, one after the other in this process or on a cluster of Dask: the same results in one order.

A script that takes ``--scheduler`` hands its pieces to what :func:`mapped` yields, which is ``map`` without a cluster.
Workers on other machines need the same checkout, with ``benchmarks`` and ``tests`` on their path.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import track

from assay.impl.cluster import client_of, in_order
from assay.spec.written import write_bytes

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Generator, Iterable, Iterator

__all__ = ["add_kept", "add_scheduler", "certified", "mapped"]

_PIECE = 20  # outcomes between two times that they are kept


def add_scheduler(parser: argparse.ArgumentParser) -> None:
    """Declare ``--scheduler``."""
    parser.add_argument(
        "--scheduler", help="the address of a scheduler of Dask, or local for a cluster of this machine"
    )


def add_kept(parser: argparse.ArgumentParser) -> None:
    """Declare ``--kept`` and ``--minutes``."""
    parser.add_argument("--kept", type=Path, help="a file of outcomes, to go on with")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after these, with what there is")


@contextlib.contextmanager
def mapped(scheduler: str | None) -> Iterator[Callable[..., Generator[Any, None, None]]]:
    """What applies a function to pieces and returns the results in the order of the pieces, as they come.

    Whoever does not take all of them closes what it returns.

    >>> with mapped(None) as run:
    ...     list(run(abs, [-1, 2]))
    [1, 2]
    """
    if scheduler is None:
        yield _here
        return
    with client_of(scheduler) as client:
        yield functools.partial(in_order, client)


def _here(function: Callable[[Any], Any], pieces: Iterable[Any]) -> Generator[Any, None, None]:
    yield from map(function, pieces)


def certified(
    case: Callable[[int], Any], count: int, scheduler: str | None = None, first: int = 0, *, kept: Path | None = None,
    minutes: float = math.inf,
) -> tuple[list[Any], int]:  # fmt: skip
    """The first ``count`` outcomes of seeds that are no refusals, seed by seed from ``first``, and how many were.

    case: seed → outcome, ``None`` where it is refused.  The outcomes are the same with and without a scheduler.
    kept: a file of outcomes, written every :data:`_PIECE` of them.  What it holds already is returned and not computed
    again, from the seed on that it began with; its outcomes are as JSON gives them: tuples are lists.
    minutes: none but the first piece of a run begins after so many, so that there may be fewer outcomes than asked for.

    >>> certified(lambda seed: seed if seed % 2 else None, 3)
    ([1, 3, 5], 3)
    """
    known: dict[str, Any] = {"next": first, "refused": 0, "outcomes": []}
    if kept is not None and kept.exists():
        known = json.loads(kept.read_text())
    found = known["outcomes"]
    if len(found) >= count:
        return found, known["refused"]
    ends = time.monotonic() + 60.0 * minutes
    with mapped(scheduler) as run, contextlib.closing(run(case, itertools.count(known["next"]))) as outcomes:
        for number in track(range(len(found), count), "cases", console=Console(stderr=True)):
            while (one := next(outcomes)) is None:
                known["refused"] += 1
                known["next"] += 1
            known["next"] += 1
            found.append(one)
            if (number + 1) % _PIECE == 0 or number + 1 == count:
                if kept is not None:
                    write_bytes(kept, json.dumps(known).encode())
                if time.monotonic() > ends:
                    break
    return found, known["refused"]
