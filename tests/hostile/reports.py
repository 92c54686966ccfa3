"""Mutations of good report files, and how each of them ends: read and rendered, or refused in one clear line."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import numpy as np

import assay
from assay.conformance.report.comparison import compared, paired, to_text
from assay.conformance.report.data import to_json
from assay.conformance.report.junit import to_junit
from assay.conformance.report.page import to_html
from assay.conformance.report.reading import from_json
from hostile.files import METADATA, SECONDS, cut, flipped, repeated, replaced, swapped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["good_report", "report_faults"]

#: Texts that are no JSON of a report, or a hostile one.
TEXTS: tuple[str, ...] = (
    "", "null", "[]", "0", "{}", "[" * 100_000, '{"a":' * 100_000, "9" * 5000, "1e999", "NaN", "\ufeff{}", "\x00",
    '{"schema": ' + "1" * 5000 + "}", '{"schema": 1}', '{"schema": true, "reports": {}}',
)  # fmt: skip


def good_report(folder: Path) -> bytes:
    """The JSON of a kernel that passes and of one that fails, with findings of every kind that these make."""

    def raises(query: Any, key: Any, value: Any, *, scale: float) -> Any:
        raise ValueError("no")

    def zeros(query: Any, key: Any, value: Any, *, scale: float) -> Any:
        if query.shape[2] % 2:
            return np.zeros((*query.shape[:3], value.shape[3]), query.dtype)
        return np.full((*query.shape[:3], value.shape[3]), np.nan, query.dtype)

    kernels = ("numpy:attention", raises, zeros)
    reports = [
        assay.check(kernel, "attention", level="smoke", seconds=0.3, reproducers=folder / "reproducers")
        for kernel in kernels
    ]
    return to_json(*reports).encode()


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """A good report with something wrong in it: mostly one value or two that its schema may allow."""
    way = rng.random()
    if way < 0.02:
        return TEXTS[int(rng.integers(len(TEXTS)))].encode("utf-8", "surrogatepass")
    if way < 0.2:
        ways: tuple[Callable[[bytes, np.random.Generator], bytes], ...] = (flipped, cut, repeated, swapped)
        return ways[int(rng.integers(len(ways)))](content, rng)
    document = json.loads(content)
    for _ in range(int(rng.integers(1, 4))):
        document = _like(document, rng) if rng.random() < 0.5 else replaced(document, rng)
    return json.dumps(document).encode()


def _like(value: Any, rng: np.random.Generator) -> Any:
    """A value with one part replaced by another of its own type, which a schema lets through more often."""
    if isinstance(value, dict) and value:
        key = list(value)[int(rng.integers(len(value)))]
        return {**value, key: _like(value[key], rng)}
    if isinstance(value, list) and value:
        at = int(rng.integers(len(value)))
        if rng.random() < 0.1:
            return value * 3 if rng.random() < 0.5 else value[:at]
        return [*value[:at], _like(value[at], rng), *value[at + 1 :]]
    alike = [other for other in METADATA if type(other) is type(value)]
    return alike[int(rng.integers(len(alike)))] if alike else METADATA[int(rng.integers(len(METADATA)))]


class Fault(Exception):
    """A report that was neither read and rendered nor refused in one line in time."""


def _judged(content: bytes, good: Any) -> str:
    begun = time.process_time()
    try:
        ending = "refused"
        try:
            reports = from_json(content.decode())
        except ValueError as refusal:
            if "\n" in str(refusal) or len(str(refusal)) > 2000:
                raise Fault(f"a refusal of several lines or of {len(str(refusal))} letters") from None
        else:
            ending = "read"
            for report in reports:
                report.to_text()
            to_html(*reports)
            to_junit(*reports)
            to_json(*reports)
            pairs = paired(good, reports)
            to_text([compared(*pair) for pair in pairs.both], pairs, ("before.json", "after.json"))
    except Fault:
        raise
    except Exception as error:
        raise Fault(f"{ending}: {type(error).__name__}: {str(error)[:200]}") from error
    if time.process_time() - begun > SECONDS:
        raise Fault(f"took {time.process_time() - begun:.0f} s")
    return ending


def report_faults(folder: Path, count: int, seed: int = 0) -> Iterator[tuple[bytes, str, Fault | None]]:
    """Read and render ``count`` mutated reports; (content, "read" or "refused", fault)."""
    rng = np.random.default_rng(seed)
    content = good_report(folder)
    good = from_json(content.decode())
    for _ in range(count):
        changed = mutated(content, rng)
        try:
            yield changed, _judged(changed, good), None
        except Fault as fault:
            yield changed, "fault", fault
