"""Calls on a cluster of Dask: every hand-over is a piece of work that any worker can do, and do again."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING, Any

from assay.impl.cluster import ClusterError, as_done, client_of
from assay.impl.cpu.small_transformers.calls import CallError, asked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from assay.impl.cpu.small_transformers.calls import Answer, Settings
    from assay.impl.cpu.small_transformers.model import Oracle
    from assay.impl.cpu.small_transformers.simulate import Job, Runner

__all__ = ["runner"]


def runner(scheduler: Any) -> Runner:
    """Make calls where ``scheduler`` says: an address, ``"local"``, or a client of Dask."""

    def run(oracle: Oracle, settings: Settings, jobs: Iterator[tuple[int, Job]]) -> Iterator[tuple[int, Answer]]:
        handed: dict[int, Job] = {}

        def noted() -> Iterator[tuple[int, Job]]:
            for number, job in jobs:
                handed[number] = job
                yield number, job

        asking = functools.partial(asked, oracle, settings)
        with client_of(scheduler) as client, contextlib.closing(as_done(client, asking, noted())) as answers:
            try:
                for number, answer in answers:
                    del handed[number]
                    yield number, answer
            except ClusterError as error:
                if error.piece is None:
                    raise
                which = handed[error.piece][0].named(settings.total)
                raise CallError(f"{which}, or one handed over with it: every worker that tried it died") from None

    return run
