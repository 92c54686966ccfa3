"""The judge is judged: every correct backward pass of the bank passes, every wrong one fails and is named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from bank.attention_gradient.correct import CORRECT, Entry

if TYPE_CHECKING:
    from bank.verdicts import Verdicts

_PAIRS = [(entry, name) for entry in CORRECT for name in entry.precisions]


@pytest.mark.parametrize(("entry", "name"), _PAIRS, ids=[f"{entry.name}-{name}" for entry, name in _PAIRS])
def test_correct_kernel_passes_every_family(entry: Entry, name: str, verdicts: Verdicts) -> None:
    judge, level = verdicts.judge(entry, name), verdicts.level(name, "smoke")
    with np.errstate(all="ignore"):
        outcomes = [judge.outcome(case, huge_canaries=place % 2 == 1) for place, case in enumerate(level)]
    assert [outcome.sentence for outcome in outcomes if outcome.failed] == [], entry.why
    assert sum(outcome.status == "passed" for outcome in outcomes) >= 40
