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
    from collections.abc import Callable, Iterator

__all__ = ["add_kept", "add_scheduler", "certified", "gone_on_with", "mapped"]

_PIECE = 20  # certificates between two times that outcomes are kept


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
def mapped(scheduler: str | None) -> Iterator[Callable[..., Iterator[Any]]]:
    """What applies a function to pieces and returns the results in the order of the pieces, as they come.

    >>> with mapped(None) as run:
    ...     list(run(abs, [-1, 2]))
    [1, 2]
    """
    if scheduler is None:
        yield map
        return
    with client_of(scheduler) as client:
        yield functools.partial(in_order, client)


def certified(
    case: Callable[[int], Any], count: int, scheduler: str | None = None, first: int = 0
) -> tuple[list[Any], int]:
    """The first ``count`` outcomes of seeds that are no refusals, seed by seed from ``first``, and how many were.

    case: seed → outcome, ``None`` where it is refused.  The outcomes are the same with and without a scheduler.

    >>> certified(lambda seed: seed if seed % 2 else None, 3)
    ([1, 3, 5], 3)
    """
    found: list[Any] = []
    refused = 0
    with mapped(scheduler) as run:
        outcomes = run(case, itertools.count(first))
        for _ in track(range(count), "cases", console=Console(stderr=True)):
            while (one := next(outcomes)) is None:
                refused += 1
            found.append(one)
    return found, refused


def gone_on_with(
    case: Callable[[int], Any], count: int, scheduler: str | None, path: Path | None, minutes: float = math.inf
) -> tuple[list[Any], int]:
    """What :func:`certified` gives from the seed 0, in pieces of which each is kept in a file as soon as it is whole.

    path: the file; what it holds already is not computed again.  minutes: none but the first piece of a run begins
    after so many, so that there may be fewer outcomes than asked for.  Outcomes come back as JSON gives them: tuples
    are lists.

    >>> gone_on_with(lambda seed: seed if seed % 2 else None, 3, None, None)
    ([1, 3, 5], 3)
    """
    known: dict[str, Any] = {"next": 0, "refused": 0, "outcomes": []}
    if path is not None and path.exists():
        known = json.loads(path.read_text())
    ends = time.monotonic() + 60.0 * minutes
    while len(known["outcomes"]) < count:
        found, refused = certified(case, min(_PIECE, count - len(known["outcomes"])), scheduler, known["next"])
        known["next"] += len(found) + refused
        known["refused"] += refused
        known["outcomes"] += found
        if path is not None:
            write_bytes(path, json.dumps(known).encode())
        if time.monotonic() > ends:
            break
    return known["outcomes"], known["refused"]
