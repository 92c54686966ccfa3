"""Checks one after the other in one process: what of the process grows with their number."""

from __future__ import annotations

import contextlib
import gc
import os
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import assay

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Size", "sizes"]

Size = dict[str, int]  # "memory" in bytes; "descriptors", "threads", "objects", and what lies in folders: "temporary"


def right(query: Any, key: Any, value: Any, *, scale: float) -> Any:
    score = scale * (query @ key.swapaxes(2, 3))
    weight = np.exp(score - score.max(3, keepdims=True))
    return (weight / weight.sum(3, keepdims=True) @ value).astype(query.dtype)


def raises(query: Any, key: Any, value: Any, *, scale: float) -> Any:
    raise ValueError("no")


KERNELS = (right, raises)


def sizes(checks: int, blocks: int, folder: Path) -> Iterator[Size]:
    """The size of the process before the first block of checks and after each.

    folder: an empty one, where failing inputs go; the system's temporary folder lies in it meanwhile.
    """
    reproducers, temporary = folder / "reproducers", folder / "temporary"
    reproducers.mkdir()
    temporary.mkdir()
    with _temporary_folder(temporary):
        yield _size(temporary)
        for block in range(blocks):
            for number in range(checks):
                seed = block * checks + number
                kernel = KERNELS[seed % len(KERNELS)]
                assay.check(kernel, "attention", level="smoke", seconds=1e-3, seed=seed, reproducers=reproducers)
                for path in reproducers.iterdir():
                    path.unlink()
            yield _size(temporary)


@contextlib.contextmanager
def _temporary_folder(path: Path) -> Iterator[None]:
    """Another temporary folder for this process and for those that it starts."""
    before, named = tempfile.tempdir, os.environ.get("TMPDIR")
    tempfile.tempdir, os.environ["TMPDIR"] = str(path), str(path)
    try:
        yield
    finally:
        tempfile.tempdir = before
        if named is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = named


def _size(temporary: Path) -> Size:
    gc.collect()
    size = {"threads": threading.active_count(), "objects": len(gc.get_objects())}
    size["temporary"] = sum(1 for _ in temporary.rglob("*"))
    if Path("/proc/self/statm").exists():
        size["memory"] = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        size["descriptors"] = len(os.listdir("/proc/self/fd"))
    return size
