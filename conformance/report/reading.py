"""How reports are read from the JSON that :mod:`assay.conformance.report.data` wrote."""

from __future__ import annotations

import json
from typing import Any

from assay.conformance.call.wrong import Wrong
from assay.conformance.report.data import SCHEMA_VERSION
from assay.conformance.report.finding import AboutFamily, CaseResult, Finding
from assay.conformance.report.heatmap import Heatmap
from assay.conformance.report.report import Report
from assay.conformance.report.schema import report_schema, require
from assay.spec.criterion import Proof

__all__ = ["from_json"]

_MOST_DIGITS = 40  # a seed has fewer


def from_json(text: str) -> tuple[Report, ...]:
    """The reports that :func:`~assay.conformance.report.data.to_json` wrote, without their instances.

    Raises ``ValueError`` for anything else, also for reports of another version of the schema.
    """
    try:
        document = json.loads(text, parse_int=_whole, parse_constant=_refused)
    except ValueError as error:
        raise ValueError(f"it is no JSON ({error})") from None
    except RecursionError:
        raise ValueError("its JSON is nested too deep") from None
    version = document.get("schema") if isinstance(document, dict) else None
    if isinstance(version, int) and version != SCHEMA_VERSION:
        raise ValueError(f"reports of schema {version}, this assay reads schema {SCHEMA_VERSION}")
    try:
        schema = report_schema()
        require(document, schema, schema)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"no reports of assay ({error})") from None
    return tuple(_report_of(data) for data in document["reports"])


def _whole(digits: str) -> int:
    """A whole number.  Raises ``ValueError`` for one that no number of a report can be."""
    if len(digits) > _MOST_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _refused(constant: str) -> float:
    raise ValueError(f"{constant} is no number of JSON")


def _report_of(data: dict[str, Any]) -> Report:
    fields = {name: value for name, value in data.items() if name != "verdict"}
    fields["cases"] = tuple(_case_of(case) for case in data["cases"])
    fields["families"] = {name: AboutFamily(**about) for name, about in data["families"].items()}
    fields["notes"] = tuple(data["notes"])
    fields["weights"] = None if data["weights"] is None else _heatmap_of(data["weights"])
    return Report(**fields)


def _heatmap_of(data: dict[str, Any]) -> Heatmap:
    numbers = {name: tuple(tuple(map(float, row)) for row in data[name]) for name in ("used", "true")}
    return Heatmap(**{**data, "first": tuple(data["first"]), **numbers})


def _case_of(data: dict[str, Any]) -> CaseResult:
    finding, proved = data["finding"], data.get("proved")
    return CaseResult(
        **{
            **data,
            "ratio": float(data["ratio"]),
            "finding": None if finding is None else _finding_of(finding),
            "proved": None if proved is None else _proof_of(proved),
        }
    )


def _proof_of(data: dict[str, Any]) -> Proof:
    return Proof(data["what"], *(float(data[name]) for name in ("lower", "upper", "least", "most")))


def _got(value: Any) -> float | bool | str | None:
    """What was returned.  In JSON both a number that JSON lacks and an output judged as a whole are strings."""
    if value in ("inf", "-inf", "nan"):
        return float(value)
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _finding_of(data: dict[str, Any]) -> Finding:
    def number(name: str) -> float | None:
        return None if data[name] is None else float(data[name])

    return Finding(
        **{
            **data,
            "index": None if data["index"] is None else tuple(data["index"]),
            "interval": None if data["interval"] is None else tuple(map(float, data["interval"])),
            "got": _got(data["got"]),
            "tolerance": number("tolerance"),
            "ratio": float(data["ratio"]),
            "size": float(data["size"]),
            **{name: tuple(Wrong(**wrong) for wrong in data[name]) for name in ("wrong", "before")},
        }
    )
