"""A corpus of hard instances of every family, with the same bytes on every machine for one :data:`VERSION`.

A corpus is a folder of instance files (:mod:`assay.spec.instances.file`) with a ``manifest.json``.  The manifest gives
the version, and for every file its name, SHA-256, problem, family, seed, parameters and arrows.  Small instances are
also stored as JSON.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.spec.instances.hard import HardProblem, hard, load
from assay.spec.problem import InvalidInstance
from assay.spec.untrusted import content
from assay.spec.written import write_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["ENTRIES", "VERSION", "Entry", "read", "write"]

#: The version of the corpus: another version means other bytes.
VERSION = 2
_MANIFEST = "manifest.json"
_KIND = "assay hard instances"


@dataclass(frozen=True)
class Entry:
    """One instance of the corpus: the arguments of :func:`~assay.spec.instances.hard.hard`.

    The seed of the corpus is added to ``seed``.  as_json: whether the instance is stored as JSON too.
    """

    name: str
    family: str
    seed: int = 0
    parameters: Mapping[str, int] = field(default_factory=dict)
    counting: bool = False
    as_json: bool = False
    problem: str = "attention"

    def made(self, seed: int = 0) -> HardProblem:
        """The instance of this entry in the corpus with seed ``seed``."""
        sizes: dict[str, Any] = dict(self.parameters)
        return hard(self.problem, self.family, seed + self.seed, counting=self.counting, **sizes)


ENTRIES: tuple[Entry, ...] = (
    Entry("planted-ov-tiny", "planted-ov", 0, {"n": 8, "d": 8}, as_json=True),
    *(Entry(f"planted-ov-{s}", "planted-ov", s, {"n": 256, "d": 24}) for s in range(3)),
    Entry("planted-ov-counting", "planted-ov", 3, {"n": 64, "d": 16}, counting=True),
    Entry("random-ov-tiny", "random-ov", 0, {"n": 8, "d": 8}, counting=True, as_json=True),
    *(Entry(f"random-ov-{s}", "random-ov", s, {"n": 256, "d": 24}) for s in range(4)),
    Entry("random-ov-counting", "random-ov", 4, {"n": 64, "d": 16}, counting=True),
    Entry("gap-tiny", "gap", 0, {"n": 8, "d": 32}, as_json=True),
    *(Entry(f"gap-planted-{s}", "gap", s, {"n": 256, "d": 64}) for s in range(2)),
    *(Entry(f"gap-none-{s}", "gap", s, {"n": 256, "d": 64, "planted": 0}) for s in range(2)),
    Entry("random-2sat", "random-ksat", 0, {"variables": 14, "k": 2}),
    *(Entry(f"random-3sat-{s}", "random-ksat", s, {"variables": 14}) for s in range(6)),
    Entry("random-4sat", "random-ksat", 0, {"variables": 12, "k": 4}),
    Entry("random-3sat-counting", "random-ksat", 6, {"variables": 10}, counting=True, as_json=True),
    Entry("pigeonhole-3-3", "pigeonhole", 0, {"pigeons": 3, "holes": 3}, counting=True),
    Entry("pigeonhole-4-3", "pigeonhole", 0, {"pigeons": 4, "holes": 3}),
    Entry("parity-4", "parity", 0, {"points": 4}, counting=True, as_json=True),
    Entry("parity-5", "parity", 0, {"points": 5}),
    Entry("colouring-yes", "colouring", 0, {"vertices": 5, "edges": 6}, counting=True),
    Entry("colouring-no", "colouring", 0, {"vertices": 4, "edges": 6}),
)


def write(folder: str | Path, seed: int = 0) -> int:
    """Write the corpus into a new or empty folder, or over an earlier corpus; return the number of instance files.

    seed: a number that is added to the seed of every entry.  Raises :class:`~assay.spec.problem.InvalidInstance` for a
    folder that holds other files, and ``OSError`` where it cannot be written.
    """
    place = Path(folder)
    if place.is_dir() and any(place.iterdir()) and not _is_corpus(place):
        raise InvalidInstance(f"{folder}: holds other files, expected a new or empty folder or an earlier corpus")
    problems = [(entry, entry.made(seed)) for entry in ENTRIES]
    place.mkdir(parents=True, exist_ok=True)
    files = []
    for entry, problem in problems:
        for suffix in (".npz", ".json") if entry.as_json else (".npz",):
            path = place / f"{entry.name}{suffix}"
            problem.save(path)
            files.append(
                {
                    "name": path.name,
                    "sha256": _digest(path),
                    "problem": problem.problem,
                    "family": entry.family,
                    "seed": problem.seed,
                    "parameters": dict(problem.parameters),
                    "reductions": [part.name for part in problem.reduced.reduction.parts],
                }
            )
    manifest = {"kind": _KIND, "version": VERSION, "seed": seed, "files": files}
    write_bytes(place / _MANIFEST, (json.dumps(manifest, indent=1, sort_keys=True) + "\n").encode())
    return len(files)


def read(folder: str | Path) -> Iterator[tuple[Path, HardProblem]]:
    """Yield the path and the instance of every ``.npz`` file of a corpus, in the order of its manifest.

    Every file is checked against its SHA-256.  Raises :class:`~assay.spec.problem.InvalidInstance` for a folder that is
    not a corpus of this version, and for a file that is missing or that differs from the manifest.
    """
    place = Path(folder)
    manifest = _manifest(place)
    if manifest.get("version") != VERSION:
        raise InvalidInstance(f"{folder}: a corpus of version {manifest.get('version')!r}, expected {VERSION}")
    for each in manifest["files"]:
        path = place / Path(str(each["name"])).name  # stays within the folder, whatever the manifest says
        if path.suffix != ".npz":
            continue
        if not path.is_file():
            raise InvalidInstance(f"{path}: missing, the manifest names it")
        if _digest(path) != each["sha256"]:
            raise InvalidInstance(f"{path}: SHA-256 {_digest(path)[:12]}…, expected {str(each['sha256'])[:12]}…")
        yield path, load(path)


def _manifest(place: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(content(place / _MANIFEST).decode())
    except (OSError, ValueError, RecursionError):
        raise InvalidInstance(f"{place}: no corpus, expected a folder with {_MANIFEST}") from None
    good = isinstance(manifest, dict) and manifest.get("kind") == _KIND and isinstance(manifest.get("files"), list)
    if not good or not all(isinstance(each, dict) and {"name", "sha256"} <= set(each) for each in manifest["files"]):
        raise InvalidInstance(f"{place}: {_MANIFEST} is not that of a corpus that assay hard wrote")
    return dict(manifest)


def _is_corpus(place: Path) -> bool:
    try:
        _manifest(place)
    except InvalidInstance:
        return False
    return True


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
