"""A report, or several, as JSON of the published schema, ``report.schema.json`` beside this file.

The JSON is strict: infinities and NaN are the strings ``"inf"``, ``"-inf"`` and ``"nan"``.  It does not hold the
instances, but the paths where they were saved.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from assay.conformance.report.words import verdict

if TYPE_CHECKING:
    from assay.conformance.report.finding import CaseResult
    from assay.conformance.report.report import Report

__all__ = ["SCHEMA_VERSION", "all_passed", "strict", "to_json"]

SCHEMA_VERSION = 3


def to_json(*reports: Report) -> str:
    """Strict JSON of the published schema (``report.schema.json``, ``"schema": 3``)."""
    document = {
        "schema": SCHEMA_VERSION,
        "passed": all_passed(reports),
        "reports": [_report_data(report) for report in reports],
    }
    return json.dumps(document, allow_nan=False, indent=1) + "\n"


def all_passed(reports: Sequence[Report]) -> bool:
    """Whether there is a report and every report passed."""
    return bool(reports) and all(report.passed for report in reports)


def _report_data(report: Report) -> dict[str, Any]:
    data = _fields(report)
    data["verdict"] = {
        "word": verdict(report),
        "passed": report.passed,
        "incomplete": [_fields(gap) for gap in report.incomplete],
        "judged": report.ran,
        "worst_ratio": report.worst_ratio,
    }
    data["weights"] = None if report.weights is None else _fields(report.weights)
    data["families"] = {name: _fields(about) for name, about in report.families.items()}
    data["cases"] = [_case_data(case) for case in report.cases]
    return strict(data)  # type: ignore[no-any-return]


def _case_data(case: CaseResult) -> dict[str, Any]:
    data = _fields(case)
    data["proved"] = None if case.proved is None else _fields(case.proved)
    if case.finding is not None:
        counts = {name: [_fields(wrong) for wrong in getattr(case.finding, name)] for name in ("wrong", "before")}
        data["finding"] = _fields(case.finding) | counts
        del data["finding"]["instance"]
    return data


def _fields(record: Any) -> dict[str, Any]:
    return {item.name: getattr(record, item.name) for item in dataclasses.fields(record)}


def strict(value: Any) -> Any:
    """A value of JSON in which the numbers that JSON lacks are strings."""
    if isinstance(value, Mapping):
        return {key: strict(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [strict(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
