"""The table of benchmarks/history.py: every row can be installed and judged, and asks for words that can be said."""

from __future__ import annotations

import re
from typing import Any

import pytest
from scripts import script

from assay.conformance.interface.suite import LEVELS, Suite, suite
from assay.conformance.report.report import Report
from assay.spec.precision import precision
from assay.spec.problem import PROBLEMS


@pytest.fixture(scope="module")
def history() -> Any:
    return script("history")


def report(*diagnosis: str) -> Report:
    return Report("k", "numpy", "1", "attention", "float32", "smoke", 0, (), list(diagnosis))


def judging(target: str) -> Suite:
    """The suite that has a built-in target."""
    return next(each for each in map(suite, PROBLEMS) if target in each.targets)


def test_every_release_is_pinned_exactly_and_judged_in_a_way_that_there_is(history: Any) -> None:
    names = [release.name for release in history.RELEASES]
    assert len(set(names)) == len(names)
    for release in history.RELEASES:
        assert release.pins
        assert all(re.fullmatch(r"[\w-]+==[\d.]+", pin) for pin in release.pins), release.pins
        assert release.pins[0] == release.name.removesuffix(" vjp").replace(" ", "==")
        assert release.level in LEVELS
        documented = judging(release.target).targets[release.target].precisions
        assert not documented or precision(release.precision).name in documented


def test_the_words_of_a_defect_are_words_of_a_diagnosis(history: Any) -> None:
    for release in history.RELEASES:
        sentences = [meaning.sentence for meaning in judging(release.target).meanings]
        for defect in release.defects:
            assert any(defect.words in sentence for sentence in sentences), defect
            assert re.search(r"\w#\d+|docs/\w+\.md", defect.source), defect


def test_at_least_three_older_releases_have_documented_defects(history: Any) -> None:
    assert sum(bool(release.defects) for release in history.RELEASES) >= 3


def test_a_documented_defect_that_the_diagnosis_does_not_name_is_not_found(history: Any) -> None:
    release = next(release for release in history.RELEASES if len(release.defects) > 1)
    first, *others = release.defects
    assert history.unsaid(release, report(f"{first.words} (explains 20% of the failures)")) == others
    assert history.unsaid(release, report()) == list(release.defects)
    assert history.unsaid(release, report(*(defect.words for defect in release.defects))) == []
