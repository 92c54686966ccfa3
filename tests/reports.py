"""Reports that were written by hand, for the tests of what is told: one passed, one failed, two of nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from assay.conformance.call.wrong import Wrong
from assay.conformance.report.finding import AboutFamily, CaseResult, Finding
from assay.conformance.report.heatmap import Heatmap
from assay.conformance.report.report import Report

__all__ = [
    "ALL", "EMPTY", "ERROR", "FAILED", "FAILED_CASES", "NOTHING", "PASSED", "PASSED_CASES", "RAISED", "REPRODUCER",
    "WEIGHTS", "report",
]  # fmt: skip

WEIGHTS = Heatmap("causal 3x5: batch 1; batch 0, heads 0", "queries", "keys", (0, 2), ((0.5, 0.5),), ((1.0, 0.0),))
REPRODUCER = "assay replay /tmp/a/causal.npz --target my:kernel --precision float32"

ERROR = Finding(
    kind="error",
    sentence="output[0, 0, 1, 2] is 0.5, the exact value 0.25 (tolerance 1e-06): off by 2.5e+05 tolerances",
    case="causal 3x5",
    family="causal",
    description="batch 1, heads 1, 3 queries, 5 keys, dim 2, float32, causal top-left",
    output="output",
    index=(0, 0, 1, 2),
    got=0.5,
    interval=(0.25, 0.2500000000000001),
    tolerance=1e-6,
    ratio=2.5e5,
    instance=object(),
    instance_path="/tmp/a/causal.npz",
    reproducer=REPRODUCER,
    hunts="a causal mask off by one",
    source="example/project#1",
    wrong=(Wrong("output", 4, 12, "[0, 0, 1, :]", exact=True),),
    before=(Wrong("output", 5, 40, "[0, 0:2, 1, :]", exact=False),),
)
RAISED = Finding(
    "raised", "raised ValueError: <b>\x00\ud800 & 'no' ]]>", "mask 1", "mask", "batch 1", hunts="a mask inverted"
)
INFINITE = replace(
    ERROR, kind="non-finite", case="sink 1", family="sink", got=float("nan"), ratio=float("inf"), reproducer=""
)

PASSED_CASES = (
    CaseResult("normal 3", "normal", "must", "passed", 0.31, 0.01),
    CaseResult("normal 4", "normal", "must", "passed", 0.25, 0.01),
    CaseResult("window 4", "window", "must", "skipped", reason="lacks window"),
    CaseResult("window 5", "window", "must", "skipped", reason="lacks window"),
    CaseResult("huge 1", "huge", "must", "outside"),
)
FAILED_CASES = (
    CaseResult("causal 3x5", "causal", "must", "failed", 2.5e5, 0.2, finding=ERROR),
    CaseResult("mask 1", "mask", "must", "failed", float("inf"), 0.2, finding=RAISED),
    CaseResult("sink 1", "sink", "must", "failed", float("inf"), 0.2, finding=INFINITE),
    CaseResult("other 1", "other", "convention", "failed", 2.0, 0.2, finding=replace(ERROR, family="other", ratio=2.0)),
)


def report(*cases: CaseResult, **changes: Any) -> Report:
    about = {"causal": AboutFamily("a causal mask off by one", "example/project#1, #2; Other#3; assay's bank")}
    changes = {"families": about, "date": "2026-01-02T03:04:05+00:00", "command": "assay check my:kernel"} | changes
    made = Report("my:kernel", "numpy", "2.0", "attention", "float32", "standard", 0, cases, seconds=12.34)
    return replace(made, environment={"python": "3.11"}, notes=("repeated calls: same bits",), **changes)


PASSED = report(*PASSED_CASES)
FAILED = report(*PASSED_CASES, *FAILED_CASES, diagnosis=["causal mask aligned bottom-right"])
NOTHING = report(CaseResult("window 4", "window", "must", "declined", reason="too long"))
EMPTY = report()
ALL = {"passed": PASSED, "failed": FAILED, "nothing": NOTHING, "empty": EMPTY}
