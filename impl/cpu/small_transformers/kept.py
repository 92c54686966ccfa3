"""What an interrupted run had computed, in memory or in a file, so that it can go on."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.small_transformers.arrays import arrays_of
from assay.impl.cpu.small_transformers.parts import Part
from assay.spec import untrusted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    Place = tuple[int, int, int]  # the group of heads, and the rows from the first to before the last

__all__ = ["Checkpoint", "Kept", "digest"]

_NAMES = ("log_factor", "values", "weight")


@dataclass(eq=False)
class Kept:
    """Sums of all hand-overs before number ``following``, in the order of the plan, and of some after it.

    run: what they belong to (:func:`digest`).  early: answers by the number of the hand-over.
    largest: of the scores of calibrators so far, in absolute value.
    """

    run: str = ""
    following: int = 0
    totals: dict[Place, Part] = field(default_factory=dict)
    early: dict[int, list[Part]] = field(default_factory=dict)
    largest: float = 0.0


@dataclass(eq=False)
class Checkpoint:
    """A file that holds a :class:`Kept`, written whole or not at all, at most every ``every`` seconds."""

    path: Path
    every: float = 30.0
    written: float = field(default_factory=time.monotonic)

    def load(self, run: str) -> Kept:
        """What the file holds, nothing where there is none.  Raises ``ValueError`` where it is of another run."""
        if not self.path.is_file():
            return Kept(run)
        try:
            with untrusted.archive(self.path) as archived:
                kept = _kept(archived)
        except (OSError, ValueError) as error:
            raise ValueError(f"resume: {self.path} is no file of this kind ({untrusted.line(error)})") from None
        if kept.run != run:
            raise ValueError(f"resume: {self.path} belongs to other arrays, another plan or other options")
        return kept

    def save(self, kept: Kept, *, now: bool = False) -> None:
        """Write the file, unless it was written lately."""
        if not now and time.monotonic() - self.written < self.every:
            return
        early = [(number, len(parts)) for number, parts in kept.early.items()]
        arrays: dict[str, Any] = {
            "run": np.asarray(kept.run),
            "following": np.asarray(kept.following),
            "largest": np.asarray(kept.largest),
            "places": np.asarray(list(kept.totals), np.int64).reshape(-1, 3),
            "early": np.asarray(early, np.int64).reshape(-1, 2),
        }
        for k, part in enumerate(kept.totals.values()):
            arrays |= {f"total {k} {name}": getattr(part, name) for name in _NAMES}
        for number, parts in kept.early.items():
            for k, part in enumerate(parts):
                arrays |= {f"early {number} {k} {name}": getattr(part, name) for name in _NAMES}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self.path.parent, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                np.savez(file, **arrays)
            Path(name).replace(self.path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        self.written = time.monotonic()


def _kept(archived: untrusted.Archive) -> Kept:
    """What an archive holds, every part of the types and shapes of one.  Raises ``ValueError`` in one line."""

    def plain(name: str, kind: str, axes: int) -> NDArray[Any]:
        array = archived[name]
        if array.dtype.kind not in kind or array.ndim != axes:
            raise ValueError(f"{name}: {array.dtype} of shape {array.shape}")
        return array

    def part(name: str) -> Part:
        log_factor, values, weight = (plain(f"{name} {each}", "f", 2 + (each == "values")) for each in _NAMES)
        if not log_factor.shape == values.shape[:2] == weight.shape:
            raise ValueError(f"{name}: shapes {log_factor.shape}, {values.shape} and {weight.shape}")
        return Part(log_factor, values, weight)

    places, early = plain("places", "i", 2), plain("early", "i", 2)
    if places.shape[1] != 3 or early.shape[1] != 2:
        raise ValueError(f"places of shape {places.shape}, early of shape {early.shape}")
    kept = Kept(str(plain("run", "U", 0)), int(plain("following", "iu", 0)), largest=float(plain("largest", "f", 0)))
    for k, (group, first, last) in enumerate(places.tolist()):
        kept.totals[group, first, last] = part(f"total {k}")
    for number, count in early.tolist():
        kept.early[number] = [part(f"early {number} {k}") for k in range(count)]
    return kept


def digest(arrays: Iterable[Any], *words: object) -> str:
    """A word for a run: the numbers of its arrays, and what else decides about the calls."""
    word = hashlib.sha256(repr(words).encode())
    for array in arrays:
        if array is None:
            word.update(b"none")
            continue
        numbers = arrays_of(array).host(array)
        word.update(repr((numbers.shape, numbers.dtype.name)).encode())
        word.update(np.ascontiguousarray(numbers).tobytes())
    return word.hexdigest()
