"""The claims of proofs_notes and the tests that execute them, as a table, with what is missing from it.

A claim is a heading ``## ID — title`` of a page, and a check is a test marked ``@pytest.mark.claim("ID")``.  Both are
read from the files; nothing is imported or run.  ``pytest --assay-claims FILE`` writes the results of the checks.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from assay.conformance.interface.usage import UsageError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Claim", "Ledger", "claims"]

_HEADING = re.compile(r"^## ([A-Z]+-\d+)\s+—\s+(.+?)\s*$", re.MULTILINE)

#: Claim → name of the check → outcomes of its parameters (``passed``, ``failed``, ``skipped``).
Results = Mapping[str, Mapping[str, frozenset[str]]]


@dataclass(frozen=True)
class Claim:
    """One claim, the page that states it, and its checks.

    checks: name of the check (``file::test``) → result, which is empty if no results are known.  A check with several
    parameters failed if it failed with one of them, and passed if it passed with one and failed with none.
    """

    id: str
    title: str
    page: str
    checks: Mapping[str, str]

    @property
    def result(self) -> str:
        """``passed``, ``failed``, ``not run`` or ``no check``; ``checked`` if no results are known."""
        if not self.checks:
            return "no check"
        return next((word for word in ("failed", "not run", "passed") if word in self.checks.values()), "checked")


@dataclass(frozen=True)
class Ledger:
    """Every claim, and every check of a claim that no page states, as (check, claim)."""

    claims: tuple[Claim, ...]
    unknown: tuple[tuple[str, str], ...]

    @property
    def complete(self) -> bool:
        """Whether there are claims, each claim has checks, none of them failed or was left out, and none is unknown."""
        return (
            bool(self.claims)
            and not self.unknown
            and all(claim.result in ("checked", "passed") for claim in self.claims)
        )

    def to_text(self) -> str:
        """The table of claims with their checks and results, and what is wrong with it."""
        width = max((len(claim.id) for claim in self.claims), default=0)
        lines = []
        for claim in self.claims:
            lines.append(f"{claim.id:<{width}}  {claim.result:<8}  {claim.title}  ({claim.page})")
            lines += [f"{'':<{width}}  {result:<8}    {check}" for check, result in claim.checks.items()]
        lines += [f"unknown claim {identifier}: {check}" for check, identifier in self.unknown]
        good = sum(claim.result in ("checked", "passed") for claim in self.claims)
        lines.append(f"{len(self.claims)} claims, {good} good, {len(self.unknown)} checks of unknown claims")
        return "\n".join(lines)


def claims(notes: Path, *tests: Path, results: Iterable[Path] = ()) -> Ledger:
    """The claims in the pages of ``notes``, and their checks in the test files under ``tests``.

    results: the files that runs of ``pytest --assay-claims`` wrote.  A check that failed in one of the runs failed; one
    that passed in one of them and failed in none passed.

    Names of checks are paths relative to the folder of ``notes``, as pytest gives them when it is run there.  Raises
    :class:`~assay.conformance.interface.usage.UsageError` in one line.
    """
    if not notes.is_dir():
        raise UsageError(f"no folder {notes}: claims are read in the root of the repository")
    root = notes.resolve().parent
    stated = {heading[0]: heading for heading in _headings(notes)}
    checks = [check for folder in tests for check in _checks(folder, root)]
    files = tuple(results)
    ran = _results(files) if files else None
    return Ledger(
        claims=tuple(
            Claim(
                identifier,
                title,
                page,
                {check: _result(ran, identifier, check) for check in _of(checks, identifier)},
            )
            for identifier, title, page in stated.values()
        ),
        unknown=tuple((check, identifier) for check, identifier in checks if identifier not in stated),
    )


def _headings(notes: Path) -> Iterator[tuple[str, str, str]]:
    """Every claim as (identifier, title, ``page:line``)."""
    seen: dict[str, str] = {}
    for page in sorted(notes.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        for match in _HEADING.finditer(text):
            place = f"{notes.name}/{page.name}:{text.count(chr(10), 0, match.start()) + 1}"
            if match[1] in seen:
                raise UsageError(f"claim {match[1]} is stated twice: {seen[match[1]]} and {place}")
            seen[match[1]] = place
            yield match[1], match[2], place


def _of(checks: list[tuple[str, str]], identifier: str) -> list[str]:
    return [check for check, claim in checks if claim == identifier]


# --- checks -----------------------------------------------------------------------------------------------------------


def _checks(folder: Path, root: Path) -> Iterator[tuple[str, str]]:
    """Every (check, claim) in the test files under ``folder``."""
    for path in sorted(folder.rglob("test_*.py")):
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError) as error:
            raise UsageError(f"{path}: not a Python file ({error})") from None
        yield from _checks_in(tree.body, path.resolve().relative_to(root).as_posix(), _module_marks(tree))


def _checks_in(body: list[ast.stmt], prefix: str, inherited: list[str]) -> Iterator[tuple[str, str]]:
    for node in body:
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            continue
        own = inherited + [claim for decorator in node.decorator_list for claim in _claims_in(decorator)]
        name = f"{prefix}::{node.name}"
        if isinstance(node, ast.ClassDef):
            yield from _checks_in(node.body, name, own)
        elif node.name.startswith("test"):
            yield from ((name, claim) for claim in dict.fromkeys(own))


def _module_marks(tree: ast.Module) -> list[str]:
    """The claims in ``pytestmark = …``."""
    marks = [node for node in tree.body if isinstance(node, ast.Assign) and _is_named(node.targets[0], "pytestmark")]
    return [claim for node in marks for claim in _claims_in(node.value)]


def _is_named(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _claims_in(expression: ast.expr) -> Iterator[str]:
    """The arguments of every ``pytest.mark.claim(…)``, also of those that belong to single parameters."""
    for node in ast.walk(expression):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("pytest.mark.claim", "mark.claim"):
            yield from (str(part.value) for part in node.args if isinstance(part, ast.Constant))


# --- results ----------------------------------------------------------------------------------------------------------


def _results(files: Iterable[Path]) -> Results:
    results: dict[str, dict[str, set[str]]] = {}
    for path in files:
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            for claim, entries in document.items():
                for entry in entries:
                    check = entry["nodeid"].partition("[")[0]
                    results.setdefault(claim, {}).setdefault(check, set()).add(entry["outcome"])
        except FileNotFoundError:
            raise UsageError(f"no file {path}: `pytest --assay-claims {path}` writes it") from None
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise UsageError(
                f"{path}: not what `pytest --assay-claims` writes ({type(error).__name__}: {error})"
            ) from None
    return {
        claim: {check: frozenset(outcomes) for check, outcomes in checks.items()} for claim, checks in results.items()
    }


def _result(results: Results | None, claim: str, check: str) -> str:
    if results is None:
        return ""
    outcomes = results.get(claim, {}).get(check, frozenset())
    if "failed" in outcomes:
        return "failed"
    return "passed" if "passed" in outcomes else "not run"
