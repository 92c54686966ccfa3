"""The judge is judged: every correct kernel of the bank passes, every wrong one fails."""

from __future__ import annotations

from collections import Counter

import pytest
from bank.buggy import BUGGY, Buggy
from bank.correct import CORRECT, Entry

import assay

_PAIRS = [(entry, precision) for entry in CORRECT for precision in entry.precisions]


@pytest.mark.parametrize(
    ("entry", "precision"), _PAIRS, ids=[f"{entry.name}-{precision}" for entry, precision in _PAIRS]
)
def test_correct_kernel_passes(entry: Entry, precision: str) -> None:
    report = assay.check(entry.function, "attention", precision=precision, level="smoke", seed=0)
    assert report.passed, (entry.why, [failure.sentence for failure in report.failures])


@pytest.mark.parametrize("entry", BUGGY, ids=lambda entry: entry.name)
def test_wrong_kernel_fails(entry: Buggy) -> None:
    report = assay.check(
        entry.function, "attention", precision=entry.precision, level="standard", seed=0, options=entry.options
    )
    assert not report.passed, (entry.bug, report.worst_ratio)


def test_bank_is_large_and_its_names_are_unique() -> None:
    assert len(CORRECT) >= 15
    assert len(BUGGY) >= 40
    claimed = Counter(entry.precision for entry in BUGGY)
    assert claimed["float32"] >= 45
    assert claimed["bfloat16"] + claimed["float16"] >= 12
    for bank in (CORRECT, BUGGY):
        names = [entry.name for entry in bank]
        assert len(set(names)) == len(names)
