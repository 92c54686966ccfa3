"""What a project says of its kernels: the table ``[tool.assay]`` of its pyproject.toml, and failures that are known.

Both are read where a command or a test is asked for, and nowhere else.  Everything that is wrong in them is one line.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from assay.conformance.interface.folders import upwards
from assay.conformance.interface.usage import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = ["KEYS", "Known", "Project", "known_failures", "project", "project_above"]

_FILE = "pyproject.toml"
_TABLE = "[tool.assay]"
_PARTLY = "(explains "  # in a sentence of the diagnosis that holds of a part of the failures


@dataclass(frozen=True)
class Known:
    """A failure that is known: which tests it is of, and why it is left as it is.

    kernel, precision, family: whose failure it is; empty for any.
    diagnosis: a part of a sentence of the diagnosis by which the failure is known; empty for whatever is told.
    """

    reason: str
    kernel: str = ""
    precision: str = ""
    family: str = ""
    diagnosis: str = ""

    def covers(self, kernel: str, precision: str, family: str, told: Sequence[str] | None = None) -> bool:
        """Whether it speaks of a family of a kernel in a class.

        told: the diagnosis of what failed.  A sentence that explains a part of the failures says nothing of the rest.
        Where it is left out, what is known by its diagnosis is not meant.
        """
        pairs = ((self.kernel, kernel), (self.precision, precision), (self.family, family))
        if not all(said in ("", name) for said, name in pairs):
            return False
        return not self.diagnosis or any(self.diagnosis in one and _PARTLY not in one for one in told or ())


@dataclass(frozen=True)
class Project:
    """A project's ``[tool.assay]``: its kernels, and what is said of them in place of options.

    kernels: as ``assay check`` takes them; files are found from ``folder``, where the pyproject.toml lies.
    settings: arguments of :func:`assay.check` that are said.
    precisions: the classes that the kernels claim; empty for the default.
    """

    folder: Path
    kernels: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    known: tuple[Known, ...] = ()


#: The keys of the table → the types of its value, and what these are called.
KEYS: Mapping[str, tuple[tuple[type, ...], str]] = {
    "kernel": ((str, list), "a name, or several"),
    "problem": ((str,), "a name"),
    "precision": ((str, list), "a class, or several"),
    "level": ((str,), "smoke, standard or thorough"),
    "seed": ((int,), "a whole number"),
    "framework": ((str,), "a name"),
    "device": ((str,), "a device of the framework"),
    "options": ((dict,), "a table of conventions"),
    "error": ((float, int), "a number"),
    "isolate": ((bool,), "true or false"),
    "seconds": ((float, int), "a number"),
    "call-seconds": ((float, int), "a number"),
    "memory": ((int,), "a number of MiB"),
    "reproducers": ((str,), "a folder"),
    "known": ((str, list), "a file, or tables [[tool.assay.known]]"),
}
_APART = ("kernel", "precision", "options", "error", "known")  # keys that are no argument of a check as they are


def project_above(folder: Path) -> Project | None:
    """The nearest pyproject.toml with a table ``[tool.assay]``, from a folder :func:`upwards`."""
    return next((found for above in upwards(folder) if (found := project(above)) is not None), None)


def project(folder: Path) -> Project | None:
    """The table ``[tool.assay]`` of a folder's pyproject.toml; ``None`` where there is none.

    Raises :class:`~assay.conformance.interface.usage.UsageError` in one line for a key or a value that it cannot have.
    """
    file = folder / _FILE
    if not file.is_file():
        return None
    tools = _read(file).get("tool", {})
    table = tools.get("assay") if isinstance(tools, dict) else None
    if table is None:
        return None
    where = f"{file}: {_TABLE}"
    if not isinstance(table, dict):
        raise UsageError(f"{where}: expected a table")
    _require_keys(where, table, KEYS)
    for name, value in table.items():
        _require_type(where, name, value)
    several = {name: _listed(table.get(name)) for name in ("kernel", "precision")}
    settings = {name.replace("-", "_"): value for name, value in table.items() if name not in _APART}
    if options := _options(where, table):
        settings["options"] = options
    if "reproducers" in settings:
        settings["reproducers"] = folder / settings["reproducers"]
    known = table.get("known", [])
    failures = known_failures(folder / known) if isinstance(known, str) else tuple(_known(where, known))
    failures = tuple(replace(one, kernel=_placed(one.kernel, folder)) for one in failures)
    return Project(
        folder, tuple(_placed(name, folder) for name in several["kernel"]), several["precision"], settings, failures
    )


def known_failures(file: Path) -> tuple[Known, ...]:
    """The tables ``[[known]]`` of a file: ``reason``, and any of ``kernel``, ``precision``, ``family``
    and ``diagnosis``.

    Raises :class:`~assay.conformance.interface.usage.UsageError` in one line.
    """
    document = _read(file)
    _require_keys(str(file), document, ("known",))
    entries = document.get("known", [])
    if not isinstance(entries, list):
        raise UsageError(f"{file}: known: expected tables [[known]]")
    return tuple(_known(str(file), entries))


def _known(where: str, entries: Iterable[Any]) -> Iterator[Known]:
    for number, entry in enumerate(entries, start=1):
        place = f"{where}: known failure {number}"
        if not isinstance(entry, dict):
            raise UsageError(f"{place}: expected a table with a reason")
        _require_keys(place, entry, ("reason", "kernel", "precision", "family", "diagnosis"))
        if any(not isinstance(value, str) for value in entry.values()):
            raise UsageError(f"{place}: expected text for every key")
        if not entry.get("reason", "").strip():
            raise UsageError(f"{place}: expected a reason: why it is left as it is, or where it is followed")
        yield Known(**entry)


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{file}: cannot be read ({error.strerror})") from None
    except ValueError as error:  # no TOML, or not even text
        raise UsageError(f"{file}: is no TOML ({' '.join(str(error).split())})") from None


def _require_keys(where: str, table: Mapping[str, Any], known: Iterable[str]) -> None:
    known = list(known)
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"expected {', '.join(known)}"
            raise UsageError(f"{where}: unknown key {key!r}: {hint}")


def _require_type(where: str, name: str, value: Any) -> None:
    types, words = KEYS[name]
    fits = isinstance(value, types) and (bool in types or not isinstance(value, bool))
    if fits and isinstance(value, list) and name != "known":
        fits = all(isinstance(item, str) for item in value)
    if not fits:
        raise UsageError(f"{where}: {name} = {value!r}: expected {words}")


def _listed(value: Any) -> tuple[str, ...]:
    """One name or several, also with commas between them."""
    words = [value] if isinstance(value, str) else value or []
    return tuple(name.strip() for word in words for name in word.split(","))


def _options(where: str, table: Mapping[str, Any]) -> dict[str, str]:
    """The conventions, in the words of ``--option``: ``false`` is no, a list has commas."""
    words: dict[str, str] = {}
    for name, value in table.get("options", {}).items():
        if isinstance(value, bool):
            words[name] = "yes" if value else "no"
        elif isinstance(value, list):
            words[name] = ",".join(map(str, value))
        elif isinstance(value, str | int | float):
            words[name] = str(value)
        else:
            raise UsageError(f"{where}: options.{name} = {value!r}: expected text or a number")
    if "error" in table:
        words["error"] = repr(float(table["error"]))
    return words


def _placed(kernel: str, folder: Path) -> str:
    """The name of a kernel as it is said where the process runs: files are found from the folder of the project."""
    module, colon, function = kernel.rpartition(":")
    if not module.endswith(".py") or os.path.isabs(module):
        return kernel
    return f"{os.path.relpath(folder / module)}{colon}{function}"
