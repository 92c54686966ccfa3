"""What every run judges of the banks, and that no case of a wrong kernel is judged twice."""

from __future__ import annotations

import importlib
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from bank.chosen import CHOICES, Choice, named, one_of, outcomes, pairs, wrong
from bank.entry import Entry
from bank.verdicts import ENOUGH, Verdicts
from toy.kernels import doubled, ignores_the_factor


def always(values: list[Any]) -> list[Any]:
    return [one for one in values if not any(mark.name == "thorough" for mark in one.marks)]


def bank_of(problem: str) -> tuple[Any, Any]:
    """The correct kernels and the wrong ones, which are in one module or in one each."""
    bank = importlib.import_module(f"bank.{problem}")
    if hasattr(bank, "CORRECT"):
        return bank.CORRECT, bank.BUGGY
    return tuple(  # type: ignore[return-value]
        getattr(importlib.import_module(f"bank.{problem}.{name.lower()}"), name) for name in ("CORRECT", "BUGGY")
    )


@pytest.mark.parametrize("problem", [name for name in CHOICES if name not in ("rope", "rope_attention, narrow")])
def test_every_run_judges_every_correct_kernel_in_one_of_its_classes(problem: str) -> None:
    correct, _ = bank_of(problem)
    found = pairs(problem, correct)
    assert [one.values[1:] for one in found] == [(entry, name) for entry in correct for name in entry.precisions]
    assert [one.values[1] for one in always(found)] == list(correct)
    assert len({one.values[2] for one in always(found)}) >= 2


@pytest.mark.parametrize("problem", [name for name in CHOICES if name != "rope_attention, narrow"])
def test_every_run_judges_some_wrong_kernels_and_names_some_and_ci_all(problem: str) -> None:
    _, buggy = bank_of(problem)
    semantic = [entry for entry in buggy if entry.diagnosis]
    for found, entries in ((wrong(problem, buggy), buggy), (named(problem, semantic), semantic)):
        assert [one.values for one in found] == [(entry,) for entry in entries]
        assert always(found)


TOY = "toy.suites:DOUBLING"


def test_the_shares_of_all_kernels_are_the_level(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CHOICES, TOY, Choice(share=3))
    verdicts, entry = Verdicts(TOY), Entry("doubled", doubled, ("float32",), "")
    whole = outcomes(verdicts, 0, entry, "float32", whole=True)
    shares = [outcomes(verdicts, at, entry, "float32", whole=False) for at in range(3)]
    assert len(whole) == len(verdicts.level("float32", "smoke")) == sum(map(len, shares))
    assert {len(share) for share in shares} <= {len(whole) // 3, len(whole) // 3 + 1}
    assert not any(outcome.failed for outcome in whole)


def test_one_of_so_many_is_chosen() -> None:
    assert [at for at in range(9) if one_of(4, 1)(at, "")] == [1, 5]


@pytest.mark.parametrize("wanted", [(1, 4), (4, 1), (2, ENOUGH, 3)])
def test_no_case_of_a_wrong_kernel_is_judged_twice_whatever_is_asked_first(
    wanted: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = Entry("ignores the factor", ignores_the_factor, ("float32",), "")
    verdicts, calls = Verdicts(TOY), []
    judge = verdicts.judge(entry)
    counted = SimpleNamespace(outcome=lambda case, **more: calls.append(case) or judge.outcome(case, **more))
    monkeypatch.setattr(verdicts, "judge", lambda _: counted)
    found = {most: verdicts.failures(entry, most) for most in wanted}
    assert len({id(case) for case in calls}) == len(calls)
    with np.errstate(all="ignore"):
        failed = [place for place, case in enumerate(verdicts.level("float32")) if judge.outcome(case).failed]
    assert len(failed) > 1
    for most, failures in found.items():
        assert [failure.place for failure in failures] == failed[:most]
