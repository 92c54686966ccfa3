"""When a kernel fails: a rule is told only if no failing case speaks against it, and if its condition alone decides."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from assay.conformance.call.outcome import Outcome
from assay.conformance.diagnosis import when
from assay.conformance.diagnosis.changes import one_changed, without_one
from assay.conformance.diagnosis.evidence import Evidence, Judged
from assay.conformance.diagnosis.features import conditions
from assay.conformance.interface.layouts import LAYOUTS, Layout
from assay.conformance.interface.suite import Case, Family
from assay.spec.instance import Instance, array, real, whole

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FAMILY = Family("toy", "", "")


@dataclass(frozen=True, eq=False)
class Normed(Instance):
    """Points that are scaled; a gain goes with a norm, and neither is without the other."""

    problem = "toy"
    points: np.ndarray[Any, Any] = array("points")
    norm: bool = False
    gain: np.ndarray[Any, Any] | None = array("points", optional=True)
    shift: np.ndarray[Any, Any] | None = array("points", optional=True, broadcast=True)
    calm: np.ndarray[Any, Any] | None = array("points", optional=True)
    factor: float = real(1.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(self.norm == (self.gain is not None), "gain", "one with a norm, and none without")


def case(points: int, *options: str, seed: int = 0, layout: str = "contiguous", **plain: Any) -> Case:
    rng = np.random.default_rng([seed, points])
    arrays = {name: rng.standard_normal(points) for name in options}
    instance = Normed(rng.standard_normal(points), norm="gain" in options, **arrays, **plain)
    return Case(f"{points} {' '.join(options)}", FAMILY, instance, LAYOUTS[layout])


def told(
    fails: Callable[[Case], bool], failing: Sequence[Case], passing: Sequence[Case], others: Sequence[Case] = ()
) -> list[str]:
    """What is said of a kernel that fails where ``fails`` says so; others: failing cases that are not looked at."""

    def outcome(case: Case) -> Outcome:
        return Outcome("failed", 9.0, "error") if fails(case) else Outcome("passed")

    assert all(map(fails, [*failing, *others]))
    assert not any(map(fails, passing))
    failures = [Judged(case, outcome(case)) for case in failing]
    every = [*failures, *(Judged(case, outcome(case)) for case in others)]
    evidence = Evidence(failures, passing, lambda *_: None, lambda _: {}, outcome, every=every)
    return when.told(evidence, {}, time.monotonic() + 60.0)


def is_restless(case: Case) -> bool:
    return case.instance.calm is None


RESTLESS = [case(n, "gain", seed=n) for n in (2, 3, 5, 6, 8, 9, 12, 16)]
CALM = [case(n, "calm", seed=n) for n in (1, 2, 3, 4, 5, 7, 8, 11, 13)]


def test_variations_of_passing_cases_are_no_cases_without_a_condition() -> None:
    """A gain is given in every failing case and in no passing one; without it the failing ones fail as well."""
    (sentence,) = told(is_restless, RESTLESS, CALM)
    assert sentence.startswith("fails when calm is not given: ")


def test_a_rule_that_another_failing_case_of_the_run_contradicts_is_not_told() -> None:
    def fails(case: Case) -> bool:
        return case.instance.shift is not None or case.instance.factor == 7.0

    failing = [case(n, "shift", seed=n) for n in (2, 3, 5, 6, 8, 9, 12, 16)]
    passing = [*CALM, *(case(n, seed=n) for n in (1, 4, 5, 8))]
    assert told(fails, failing, passing)[0].startswith("fails when shift is given: ")
    for sentence in told(fails, failing, passing, [case(6, factor=7.0)]):
        assert "shift is given" not in sentence


def test_a_call_of_several_threads_speaks_against_no_rule_that_holds_of_another_of_them() -> None:
    """What failed may be the other call: a mask that is aligned wrongly where there are more keys than queries."""

    def fails(case: Case) -> bool:
        return any(one.shift is not None for one in (case.instance, *case.beside))

    failing = [case(n, "shift", seed=n) for n in (2, 3, 5, 6, 8, 9, 12, 16)]
    beside = dataclasses.replace(case(4), beside=(case(8, "shift").instance,))
    unlike = dataclasses.replace(case(4), beside=(case(8).instance,))
    passing = [*CALM, *(case(n, seed=n) for n in (1, 4, 5, 8)), unlike]
    assert told(fails, [*failing, beside], passing)[0].startswith("fails when shift is given: ")


def test_a_race_beside_another_fault_is_not_passed_over() -> None:
    def fails(case: Case) -> bool:
        return case.instance.shift is not None or bool(case.beside)

    failing = [case(n, "shift", seed=n) for n in (2, 3, 5, 6, 8, 9, 12, 16)]
    race = dataclasses.replace(case(4), beside=(case(8).instance,))
    passing = [*CALM, *(case(n, seed=n) for n in (1, 4, 5, 8))]
    assert not any(
        sentence.startswith("fails when shift is given: ") for sentence in told(fails, [*failing, race], passing)
    )


def test_a_failing_case_that_was_not_looked_at_says_what_the_rule_is() -> None:
    def fails(case: Case) -> bool:
        return len(case.instance.points) >= 5

    failing = [case(n, seed=n) for n in (40, 50, 60, 70)]
    passing = [case(n, seed=n) for n in (1, 2, 3, 4)]
    assert told(fails, failing, passing, [case(5)])[0].startswith("fails when points ≥ 5: ")


def test_each_of_two_conditions_is_taken_away_alone() -> None:
    def fails(case: Case) -> bool:
        return case.instance.shift is not None and len(case.instance.points) % 2 == 1

    failing = [case(n, "shift", seed=n) for n in (3, 5, 7, 9, 11, 33)]
    passing = [case(n, *options, seed=n) for n in (2, 4, 6, 8, 16) for options in ((), ("shift",))]
    passing += [case(n, seed=n) for n in (1, 3, 5, 7, 9)]
    (sentence,) = told(fails, failing, passing)
    assert sentence == "fails when shift is given and points is odd: 12 of 12 fresh cases, none of 12 without"


def test_another_way_of_failing_is_not_passed_over() -> None:
    """Where a kernel raises as well, it is not said to fail only when its numbers are wrong."""

    def fails(case: Case) -> bool:
        return case.instance.shift is not None

    failing = [case(n, "shift", seed=n) for n in (2, 3, 5, 6, 8, 9, 12, 16)]
    numbers = [Judged(one, Outcome("failed", 9.0, "error")) for one in failing]
    raised = Judged(case(4, factor=7.0), Outcome("failed", np.inf, "raised", "raised ValueError: no"))

    def outcome(case: Case) -> Outcome:
        return numbers[0].outcome if fails(case) else Outcome("passed")

    evidence = Evidence(numbers, CALM, lambda *_: None, lambda _: {}, outcome, every=[*numbers, raised])
    assert when.told(evidence, {}, time.monotonic() + 60.0)[0].startswith("gives wrong numbers when shift is given: ")


def test_two_faults_of_unlike_kinds_are_both_told() -> None:
    """Wrong numbers with a shift, and NaN where there are many points: no rule holds of both."""

    def outcome(case: Case) -> Outcome:
        if case.instance.shift is not None:
            return Outcome("failed", 9.0, "error")
        return Outcome("failed", np.inf, "non-finite") if len(case.instance.points) >= 20 else Outcome("passed")

    failing = [case(n, "shift", seed=n) for n in (2, 3, 5, 6, 8, 9, 12, 16)]
    failing += [case(n, seed=n) for n in (20, 21, 24, 33, 40, 64)]
    passing = [*CALM, *(case(n, seed=n) for n in (1, 4, 5, 8, 12, 16, 19))]
    failures = [Judged(one, outcome(one)) for one in failing]
    evidence = Evidence(failures, passing, lambda *_: None, lambda _: {}, outcome)
    first, second = when.told(evidence, {}, time.monotonic() + 60.0)
    assert first.startswith("gives wrong numbers when shift is given: ")
    assert second.startswith("gives NaN or infinities when points ≥ 20")


# --- one change -------------------------------------------------------------------------------------------------------


def test_an_option_that_needs_another_is_left_out_with_it() -> None:
    instance = case(4, "gain", "shift").instance
    without = without_one(instance, "gain")
    assert (without.gain, without.norm) == (None, False)
    assert without.shift is instance.shift


@pytest.mark.parametrize("about", ["points", "shift", "calm", "factor", "layout"])
def test_one_thing_is_changed(about: str) -> None:
    base = case(6, "gain", "shift", layout="spaced")
    donors = [case(9, "calm", factor=3.0)]
    others = list(one_changed(base, {about}, donors, np.random.default_rng(0)))
    assert others
    for other in others:
        same = {name: getattr(other.instance, name) is getattr(base.instance, name) for name in ("points", "gain")}
        same |= {name: getattr(other.instance, name) is getattr(base.instance, name) for name in ("shift", "calm")}
        same |= {"factor": other.instance.factor == base.instance.factor, "layout": other.layout == base.layout}
        if about == "points":  # every array has them
            same = {name: kept for name, kept in same.items() if name in ("calm", "factor", "layout")} | {about: False}
            assert other.instance.lengths() != base.instance.lengths()
        assert [name for name, kept in same.items() if not kept] == [about]
    assert about != "layout" or others[0].layout == Layout()


def test_an_array_that_broadcasts_is_stored_in_full() -> None:
    base = Case("toy", FAMILY, Normed(np.arange(4.0), shift=np.ones(1)))
    shifts = [other.instance.shift for other in one_changed(base, {"shift"}, [], np.random.default_rng(0))]
    assert any(shift is not None and shift.tolist() == [1.0] * 4 for shift in shifts)


# --- conditions -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Turned(Instance):
    problem = "toy"
    points: np.ndarray[Any, Any] = array("points")
    width: int | None = whole(None, least=1)


def test_a_whole_number_as_an_option_has_the_conditions_of_a_length() -> None:
    every = [Case("toy", FAMILY, Turned(np.zeros(9), width)) for width in (None, 1, 6, 8, 12)]
    held = {one.words: [one.holds(case) for case in every] for one in conditions(every, {})}
    assert held["width is no power of two"] == [False, False, True, False, True]
    assert held["width is odd"] == [False, True, False, False, False]
    assert held["width ≤ 8"] == [False, True, True, True, False]


# --- other lengths ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Headed(Instance):
    """Long rows of several heads: so large that a kernel's fresh cases could not be larger than its failing ones."""

    problem = "toy"
    rows: np.ndarray[Any, Any] = array("heads length")
    mask: np.ndarray[Any, Any] | None = array("heads length", optional=True, broadcast=True)


def headed(heads: int, masks: int = 0, length: int = 6000) -> Case:
    mask = np.linspace(1, 2, masks * length).reshape(masks, length) if masks else None
    return Case(f"{heads} {masks}", FAMILY, Headed(np.random.default_rng(heads).standard_normal((heads, length)), mask))


@pytest.mark.parametrize("kinds", ["least", "residue"])
def test_a_rule_on_a_length_is_tried_with_other_lengths_however_large_the_cases_are(kinds: str) -> None:
    def fails(case: Case) -> bool:
        mask = case.instance.mask
        heads = 0 if mask is None or len(mask) == 1 else len(case.instance.rows)
        return heads >= 3 if kinds == "least" else heads > 0 and heads % 4 == 3

    failing = [headed(3, 3, length) for length in (6000, 6001, 6002, 6003, 6004, 6005)]
    passing = [headed(n, masks) for n, masks in ((1, 0), (2, 0), (3, 0), (1, 1), (2, 1), (3, 1), (2, 2), (2, 2))]
    (sentence,) = told(fails, failing, passing)
    rule = {"least": "heads ≥ 3", "residue": "heads mod 4 = 3"}[kinds]
    both = (f"mask is not broadcast along heads and {rule}", f"{rule} and mask is not broadcast along heads")
    assert sentence.startswith(tuple(f"fails when {words}: " for words in both))


def test_a_rule_on_several_lengths_is_not_told_where_one_length_is_all_that_is_known() -> None:
    """No other length can be had: a kernel that declines it, for one."""

    def outcome(case: Case) -> Outcome | None:
        if len(case.instance.rows) not in (2, 3):
            return None
        return Outcome("failed", 9.0, "error") if len(case.instance.rows) == 3 else Outcome("passed")

    failing = [Judged(headed(3, 0, n), Outcome("failed", 9.0, "error")) for n in (50, 51, 52, 53, 54, 55)]
    passing = [headed(2, 0, n) for n in (50, 51, 52, 56, 57, 58)]
    evidence = Evidence(failing, passing, lambda *_: None, lambda _: {}, outcome)
    assert when.told(evidence, {}, time.monotonic() + 60.0)[0].startswith("fails when heads = 3: ")
