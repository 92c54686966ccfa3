"""A profile as one page of text, and as JSON of the schema ``profile.schema.json``."""

from __future__ import annotations

import dataclasses
import json
import textwrap
from itertools import groupby
from typing import TYPE_CHECKING

from assay.conformance.report.data import strict
from assay.conformance.report.table import table

if TYPE_CHECKING:
    from assay.conformance.profile.profile import Answer, ClassRow, Profile

__all__ = ["SCHEMA_VERSION", "to_json", "to_text"]

SCHEMA_VERSION = 1
_WIDTH = 100
_HEIGHT = 60
_QUESTION = 43  # columns that a question takes


def to_text(profile: Profile) -> str:
    """A page of at most 100 columns.  Long answers continue on a second line if the page has room for that."""
    page = _page(profile, 2)
    return page if page.count("\n") < _HEIGHT else _page(profile, 1)


def _page(profile: Profile, lines_an_answer: int) -> str:
    named = f"{profile.kernel}  {profile.problem}  {profile.framework} {profile.version}".strip()
    parts = [f"DATA SHEET {named}\n{profile.level}, seed {profile.seed}, {profile.seconds:.0f} s", _tightest(profile)]
    parts.append("\n".join(table([_HEADER, *(_cells(row) for row in profile.classes)])))
    refused = {row.storage: row for row in reversed(profile.classes) if row.status == "not taken"}
    remarks = [_why(row) for row in profile.classes if row.status == "failed" and row.storage not in profile.tightest]
    remarks += [_cut(f"{row.precision}: {row.reason}") for row in profile.classes if row.status == "incomplete"]
    remarks += [_cut(f"{storage} not taken: {row.reason}") for storage, row in refused.items()]
    if remarks:
        parts.append("\n".join(remarks))
    for number, (section, answers) in enumerate(groupby(profile.answers, key=lambda answer: answer.section)):
        where = f" (asked in {profile.asked_in})" if number == 0 else ""
        lines = [_answered(answer, lines_an_answer) for answer in answers]
        parts.append("\n".join([f"{section}{where}", *lines]))
    return "\n\n".join(parts)


_HEADER = ("class", "storage", "", "worst", "quality", "grade", "judged", "failed")


def _cells(row: ClassRow) -> tuple[str, ...]:
    judged = row.status in ("passed", "failed", "incomplete")
    return (
        row.precision,
        row.storage,
        row.status,
        _number(row.worst_ratio) if judged else "",
        _number(row.quality),
        row.grade,
        str(row.judged) if judged else "",
        str(row.failed) if judged else "",
    )


def _tightest(profile: Profile) -> str:
    if profile.tightest:
        kept = ", ".join(f"{name} on {storage}" for storage, name in profile.tightest.items())
        return f"tightest class kept: {kept}"
    if any(row.status == "failed" for row in profile.classes):
        return "tightest class kept: none"
    return "tightest class kept: none, nothing could be judged"


def _why(row: ClassRow) -> str:
    """Why a kernel fails in a class, for a storage type on which it keeps no class."""
    return _cut(f"{row.precision}: {row.diagnosis[0] if row.diagnosis else row.reason}")


def _answered(answer: Answer, most: int) -> str:
    room = _WIDTH - _QUESTION - 4
    first, *rest = textwrap.wrap(answer.answer, room, max_lines=most, placeholder=" …") or [""]
    lines = [f"  {answer.question:<{_QUESTION}}  {first}", *(" " * (_QUESTION + 4) + line for line in rest)]
    return "\n".join(lines)


def _cut(line: str) -> str:
    return line if len(line) <= _WIDTH else line[: _WIDTH - 1] + "…"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def to_json(profile: Profile) -> str:
    """Strict JSON of the published schema, ``"schema": 1``, in which infinities and NaN are strings."""
    data = {item.name: getattr(profile, item.name) for item in dataclasses.fields(profile)}
    data["classes"] = [dataclasses.asdict(row) for row in profile.classes]
    data["answers"] = [dataclasses.asdict(answer) for answer in profile.answers]
    data["environment"] = dict(profile.environment)
    document = {"schema": SCHEMA_VERSION, "tightest": profile.tightest, **data}
    return json.dumps(strict(document), allow_nan=False, indent=1, ensure_ascii=False) + "\n"
