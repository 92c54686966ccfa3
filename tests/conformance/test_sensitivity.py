"""Families and levels earn their place: each family kills, and smoke alone kills nearly all wrong meanings.

The whole table, which case kills which kernel, is printed by benchmarks/mutation.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from bank.attention.buggy import BUGGY, Buggy

from assay.conformance.interface.suite import suite
from assay.conformance.interface.targets import kernel_of
from assay.conformance.judge.cases import cases as cases_of
from assay.conformance.judge.judge import Judge
from assay.spec.precision import precision

if TYPE_CHECKING:
    from collections.abc import Iterable

    from assay.conformance.interface.suite import Case


@pytest.fixture(scope="module")
def references() -> dict[Any, Any]:
    """What is known already: shared by all kernels."""
    return {}


def killed(entry: Buggy, those: Iterable[tuple[int, Case]], references: dict[Any, Any]) -> bool:
    """Whether one of the cases, each with its place in the level, fails a kernel."""
    kernel = kernel_of(entry.function, "attention", options=entry.options)
    judge = Judge(kernel, precision(entry.precision), entry.options, references=references)
    with np.errstate(all="ignore"):
        return any(judge.outcome(case, huge_canaries=place % 2 == 1).failed for place, case in those)


@pytest.mark.parametrize("family", suite("attention").families, ids=lambda family: family.id)
def test_family_kills_a_buggy_kernel_at_standard(family: Any, references: dict[Any, Any]) -> None:
    level = enumerate(cases_of(suite("attention"), precision("float32"), "standard", 0))
    mine = [(place, case) for place, case in level if case.family.id == family.id]
    assert any(killed(entry, mine, references) for entry in BUGGY if entry.precision == "float32"), family.hunts


def test_smoke_kills_nineteen_of_twenty_semantic_bugs_by_its_families_alone(references: dict[Any, Any]) -> None:
    semantic = [entry for entry in BUGGY if entry.diagnosis]
    smoke = {
        name: list(enumerate(cases_of(suite("attention"), precision(name), "smoke", 0)))
        for name in {e.precision for e in semantic}
    }
    alive = [entry.name for entry in semantic if not killed(entry, smoke[entry.precision], references)]
    assert len(alive) <= 0.05 * len(semantic), alive
