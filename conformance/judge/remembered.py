"""What failed is kept in the folder ``.assay`` of the project, and is tried first the next time.

The folder holds the failing instances and a list of what was judged on them.  It is bounded, ignored by git, and
written atomically: what is read is either the old list or the new one.  A list that is damaged, or a file that is
missing, is as one that remembers nothing; where the folder cannot be written, nothing is kept, and a note says so.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.conformance.interface import folders
from assay.conformance.interface.folders import FOLDER, from_here
from assay.conformance.interface.layouts import LAYOUTS
from assay.conformance.interface.suite import CONCURRENT_CALLS, DRAWN, Case, Family
from assay.conformance.report.finding import AGAIN
from assay.spec import untrusted
from assay.spec.problem import InvalidInstance
from assay.spec.written import write_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from assay.conformance.interface.suite import Suite

__all__ = ["Failure", "Failures"]

_SCHEMA = 1
_MOST_FAILURES = 200  # that the list names, of all kernels
_MOST_OF_A_KERNEL = 40
_MOST_FILES = 400
_MOST_BYTES = 64 << 20
_LONGEST_LIST = 4 << 20  # bytes


@dataclass(frozen=True)
class Failure:
    """A call that failed: which kernel in which class, and with what.

    kernel: its name, with a file relative to the project.  family: that of the case which found it.  instance, after,
    beside: names of files.
    """

    kernel: str
    problem: str
    precision: str
    case: str
    family: str
    layout: str
    instance: str
    after: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()

    def loaded(self, folder: Path, suite: Suite) -> Case | None:
        """The case once more, in its own family; ``None`` where its files are gone, or hold something else."""
        load = suite.spec.Instance.load
        try:
            instance, *others = (load(folder / name) for name in (self.instance, *self.after, *self.beside))
        except (InvalidInstance, OSError):
            return None
        families = (*suite.families, DRAWN)
        family = next((one for one in families if one.id == self.family), Family(self.family, "", ""))
        after, beside = tuple(others[: len(self.after)]), tuple(others[len(self.after) :])
        needs = frozenset({CONCURRENT_CALLS}) if beside else frozenset[str]()
        layout = replace(LAYOUTS[self.layout], by_the_way=True)
        return Case(f"{AGAIN}{self.case}", family, instance, layout, after, beside, needs)


@dataclass
class Failures:
    """The folder ``.assay`` of a project.

    root: the project's; found from the current folder if left out.
    saved: the files that were saved by this object: they are kept until it is gone.
    """

    root: Path = field(default_factory=lambda: folders.project())
    saved: set[str] = field(default_factory=set)

    @property
    def folder(self) -> Path:
        """Where the failing instances are."""
        return self.root / FOLDER / "failures"

    # --- instances ------------------------------------------------------------------------------------------------

    def save(self, instance: Any, name: str) -> str:
        """Save an instance under a name that its contents tell, and return its path as it is seen from here.

        The same instance is saved once.  Raises ``OSError`` where it cannot be written or there is no room for it.
        """
        stem = "".join(c if c.isalnum() else "-" for c in name).strip("-")[:60]
        path = self.folder / f"{stem}-{instance.digest().hex()[:12]}.npz"
        self._prepare()
        if path.exists():
            os.utime(path)
        else:
            part = path.with_name(f".{path.name}.{os.getpid()}.part")
            try:
                instance.save(part)
                self._make_room(part.stat().st_size)
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)
        self.saved.add(path.name)
        return from_here(path)

    def _prepare(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        ignore = self.root / FOLDER / ".gitignore"
        if not ignore.exists():
            write_bytes(ignore, b"# kept by assay for the next check; may be deleted at any time\n*\n")

    def _make_room(self, size: int) -> None:
        """Delete the oldest instances until another of ``size`` bytes has room.  Those of this run stay."""
        files = sorted(((stat.st_mtime, stat.st_size, path) for path, stat in self._files()), key=lambda one: one[0])
        count, total = len(files), sum(size for _, size, _ in files) + size
        for _, freed, path in files:
            if count < _MOST_FILES and total <= _MOST_BYTES:
                return
            if path.name not in self.saved:
                path.unlink(missing_ok=True)
                count, total = count - 1, total - freed
        if count >= _MOST_FILES or total > _MOST_BYTES:
            raise OSError(0, f"{_MOST_FILES} files or {_MOST_BYTES >> 20} MiB of this run are there already")

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        for path in self.folder.glob("*.npz"):
            with contextlib.suppress(OSError):  # deleted by another run
                yield path, path.stat()

    # --- the list -------------------------------------------------------------------------------------------------

    @property
    def _list(self) -> Path:
        return self.root / FOLDER / "failures.json"

    def named(self, kernel: str) -> str:
        """How the list names a kernel: a file is one of the project, from wherever in it the check is started."""
        module, colon, function = kernel.rpartition(":")
        if not module.endswith(".py"):
            return kernel
        return f"{Path(os.path.relpath(os.path.abspath(module), self.root)).as_posix()}{colon}{function}"

    def every(self) -> list[Failure]:
        """All failures in the list, the latest last; none where the list is missing or damaged."""
        try:
            with untrusted.regular(self._list) as (file, size):
                data: Any = json.loads(file.read()) if size <= _LONGEST_LIST else {"schema": None}
            if data["schema"] != _SCHEMA:
                return []
            return [_failure(entry) for entry in data["failures"]]
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return []

    def of(self, kernel: str, problem: str, precision: str) -> list[Failure]:
        """Those of one kernel in one class, the latest first."""
        wanted = (self.named(kernel), problem, precision)
        return [each for each in reversed(self.every()) if (each.kernel, each.problem, each.precision) == wanted]

    def remember(self, failure: Failure) -> None:
        """Add a failure to the end of the list.  Raises ``OSError``."""
        others = [each for each in self.every() if each != failure]
        same = [each for each in others if (each.kernel, each.problem) == (failure.kernel, failure.problem)]
        dropped = same[: max(0, len(same) + 1 - _MOST_OF_A_KERNEL)]
        self._store([*(each for each in others if each not in dropped), failure][-_MOST_FAILURES:])

    def forget(self, failure: Failure) -> None:
        """Remove a failure that is none any more, or whose files are gone.  Raises ``OSError``."""
        self._store([each for each in self.every() if each != failure])

    def _store(self, failures: list[Failure]) -> None:
        self._prepare()
        document = {"schema": _SCHEMA, "failures": [asdict(failure) for failure in failures]}
        write_bytes(self._list, (json.dumps(document, indent=1) + "\n").encode())


def _failure(entry: dict[str, Any]) -> Failure:
    """An entry of the list.  It is read as a stranger's: only names of files in the folder are taken for such."""
    values = {item.name: entry[item.name] for item in fields(Failure)}
    files = (values["instance"], *values["after"], *values["beside"])
    texts = [value for name, value in values.items() if name not in ("after", "beside")]
    if not all(isinstance(text, str) for text in (*texts, *files)) or values["layout"] not in LAYOUTS:
        raise ValueError("no failure")
    if any(Path(name).name != name or not name.endswith(".npz") for name in files):
        raise ValueError("no name of a file")
    return Failure(**{**values, "after": tuple(values["after"]), "beside": tuple(values["beside"])})
