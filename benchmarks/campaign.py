"""Pieces of a campaign, one after the other in this process or on a cluster of Dask: the same results in one order.

A script that takes ``--scheduler`` hands its pieces to what :func:`mapped` yields, which is ``map`` without a cluster.
Workers on other machines need the same checkout, with ``benchmarks`` and ``tests`` on their path.
"""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING, Any

from assay.impl.cluster import client_of, in_order

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

__all__ = ["add_scheduler", "mapped"]


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
