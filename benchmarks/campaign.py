"""Pieces of a campaign, one after the other in this process or on a cluster of Dask: the same results in one order.

A script that takes ``--scheduler`` hands its pieces to what :func:`mapped` yields, which is ``map`` without a cluster.
Workers on other machines need the same checkout, with ``benchmarks`` and ``tests`` on their path.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import track

from assay.impl.cluster import client_of, in_order

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

__all__ = ["add_scheduler", "certified", "mapped"]


def add_scheduler(parser: argparse.ArgumentParser) -> None:
    """Declare ``--scheduler``."""
    parser.add_argument(
        "--scheduler", help="the address of a scheduler of Dask, or local for a cluster of this machine"
    )


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
