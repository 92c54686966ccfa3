"""One level of a judgement, while there is time: cases of families, of Hypothesis and of laws, level after level.

A level runs everything that the levels below it run, in the same order, before it adds anything: what a lower level
rejects a higher one rejects.
"""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import itertools
import os
import platform
import re
import time
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.call.outcome import Outcome
from assay.conformance.diagnosis.diagnosis import Diagnosis
from assay.conformance.diagnosis.evidence import Judged as JudgedCase
from assay.conformance.interface.layouts import Layout
from assay.conformance.interface.suite import DRAWN, LEVELS
from assay.conformance.interface.usage import UsageError
from assay.conformance.judge.ahead import going_ahead
from assay.conformance.judge.cases import cases_of_level, typical_cases
from assay.conformance.judge.drawn import drawn_cases, drawn_rows
from assay.conformance.judge.seeds import seed_of
from assay.conformance.judge.shrink import shrunk
from assay.conformance.judge.sizes import Sizes
from assay.conformance.report.finding import (
    AGAIN,
    INTERRUPTED,
    JUDGED,
    NOT_CALLED_AGAIN,
    OUT_OF_TIME,
    AboutFamily,
    CaseResult,
)
from assay.conformance.report.heatmap import pictured
from assay.conformance.report.report import Report

if TYPE_CHECKING:
    from assay.conformance.frameworks import Framework
    from assay.conformance.interface.suite import Case
    from assay.conformance.judge.judge import Judge
    from assay.spec.problem import Law

__all__ = [
    "BUDGETS",
    "EXAMPLES",
    "LAWS",
    "LAW_CASES",
    "LEAK_SECONDS",
    "REPEATED",
    "Chosen",
    "Elsewhere",
    "Interrupted",
    "Progress",
    "Run",
    "assembled",
]

#: Seconds after which a level takes no new case.  The others are counted as skipped, and the report says so.  A family
#: that has not been judged yet has its first turn all the same, for as long again: a busy machine loses no family.
BUDGETS: Mapping[str, float] = {"smoke": 8.0, "standard": 50.0, "thorough": 900.0}
#: The number of Hypothesis examples of each level, and of cases for each law; those of the levels below are among them.
EXAMPLES: Mapping[str, int] = {"smoke": 20, "standard": 80, "thorough": 400}
LAW_CASES: Mapping[str, int] = {"smoke": 1, "standard": 3, "thorough": 8}
#: What a level has beside its families, by the names under which it is asked for like one: calls that are repeated, and
#: laws.
REPEATED, LAWS = "repeated", "laws"
_SHRUNK_FINDINGS = 3
_SHRINK_SECONDS = 2.0
_DIAGNOSED = 16
_BESIDE = 6  # failures of higher levels that are diagnosed beside those of the lowest one
_SUSPECT = 1.0  # seconds of first calls of a shape after which it is looked whether the kernel is compiled for each
_COMPILING = 4.0  # how many times the budget of a level a kernel may be compiled beyond it
_OTHER_SIZES = 4  # sizes in which a case is tried that the kernel does not take in its own
_REPEATED = 5
#: Seconds for which an isolated kernel is called again and again, to see whether its memory grows.
LEAK_SECONDS = 2.0
#: Kinds of findings that cost a process or the whole time of a call, and the number of one kind that is enough.
_COSTLY = frozenset({"crashed", "exited", "hung", "memory"})
_ENOUGH = 3
#: Kinds of findings that say that a kernel is not called as it wants to be, if the first calls all end in one.
_UNCALLABLE = frozenset({"raised", "type", "dtype"})
_ALIKE = 5  # of the first calls
_NAMED = 2  # classes that a hint names

Progress = Callable[[int, int, str], None]
Judged = tuple["Case", Outcome, float]
#: Outcomes of cases that are judged elsewhere, in the order of the cases, with the seconds that each took.  A case
#: comes with whether its canaries are huge numbers.
Elsewhere = Callable[[Iterator[tuple["Case", bool]]], Iterator[tuple[Outcome, float]]]


class Interrupted(KeyboardInterrupt):
    """The user ended a level that was under way.  ``report`` holds what was found until then."""

    def __init__(self, report: Report) -> None:
        super().__init__()
        self.report = report


class _Ended(Exception):
    """The run has seen enough; the message says why."""


class _Uncallable(_Ended):
    """The kernel is not called as it wants to be: there is nothing to diagnose."""


@dataclass(frozen=True)
class Chosen:
    """What of a level is judged; everything if nothing is said.

    families: only these, by name, with ``drawn``, ``repeated`` and ``laws`` among them; every one if left out.
    remembered: what failed before is tried first.  again: and nothing else is.
    first_failure: the first failure ends the run.
    """

    families: Collection[str] | None = None
    remembered: bool = False
    again: bool = False
    first_failure: bool = False

    @property
    def note(self) -> str:
        """What a report says of it; empty where all of the level is judged."""
        if self.again:
            return "only what failed before was judged: a pass says nothing of the rest"
        if self.families is None:
            return ""
        named = "family" if len(self.families) == 1 else "families"
        return f"only the {named} {', '.join(self.families)}: a pass says nothing of others"


@dataclass
class Run:
    """A level that is under way, and its results so far.

    budget: seconds after which no new case is taken; those of the level if left out.
    chosen: what of the level is judged.
    share: the seconds of what is chosen, where other families have the rest of the budget.
    told: what the diagnosis of other failures of the kernel said; where that explains these too, it is told again.
    judged: the cases that were judged, in the sizes in which the kernel took them.
    ahead: whether a thread finds the references of the next cases; if left out, where the kernel works beside the CPU.
    elsewhere: judges the cases of families, which are recorded in the order of the level all the same.  Everything that
    follows from a case, its repetition, what it is shrunk to and the diagnosis, is done here.
    """

    judge: Judge
    level: str
    seed: int
    progress: Progress | None = None
    budget: float | None = None
    begun: float = field(default_factory=time.monotonic)
    total: int = 0
    results: list[CaseResult] = field(default_factory=list)
    judged: list[Case] = field(default_factory=list)
    failures: list[JudgedCase] = field(default_factory=list)
    lower: int | None = None  # how many of them, shrunk ones aside, the lowest level found; None while it is under way
    passes: list[Case] = field(default_factory=list)
    notes: dict[str, int] = field(default_factory=dict)
    costly: dict[str, int] = field(default_factory=dict)
    elsewhere: Elsewhere | None = None
    coming: Iterator[tuple[Case, tuple[Outcome, float]]] | None = None  # what is judged elsewhere, in its order
    chosen: Chosen = field(default_factory=Chosen)
    alike: list[Outcome] | None = field(default_factory=list)  # of the first calls; None once one is unlike the others
    share: float | None = None
    told: Sequence[str] = ()
    ahead: bool | None = None
    next_is: Callable[[Case], None] | None = None  # tells what goes ahead which case is judged next
    used: float = 0.0  # seconds of what was allotted that the cases took
    uncounted: float = 0.0  # of choosing cases, asking for sizes, restarting a process: the budget does not count them
    sizes: Sizes = field(init=False)
    before: tuple[float, float] = field(init=False)  # what the judge's first calls had taken when the run began

    def __post_init__(self) -> None:
        self.sizes = Sizes(self.judge)
        self.before = self.judge.compiling, self.judge.starting

    def report(self) -> Report:
        """Judge every case of the level and return the report.  Raises :class:`Interrupted` where the user ends it."""
        try:
            return self.judged_level()
        except KeyboardInterrupt:
            raise Interrupted(self.assembled(Diagnosis(), INTERRUPTED)) from None

    def judged_level(self) -> Report:
        judge, laws = self.judge, self.judge.suite.spec.LAWS
        levels = () if self.chosen.again else LEVELS[: LEVELS.index(self.level) + 1]
        capabilities = judge.suite.interface.has(judge.kernel)
        begun = time.monotonic()
        cases = {
            level: list(
                cases_of_level(judge.suite, judge.precision, level, self.seed, capabilities, self.chosen.families)
            )
            for level in levels
        }
        self.uncounted += min(time.monotonic() - begun, self.whole)
        count = sum(map(len, cases.values()))
        self.total = count + EXAMPLES[self.level] + len(laws) * LAW_CASES[self.level]
        self.tell("starting")
        with contextlib.closing(self.judged_elsewhere([case for level in levels for case in cases[level]])) as coming:
            self.coming = None if self.elsewhere is None else coming
            if not self.goes_ahead:
                return self.through(levels, cases)
            with going_ahead(judge, [case for level in levels for case in cases[level]]) as self.next_is:
                return self.through(levels, cases)

    @property
    def goes_ahead(self) -> bool:
        """Whether references of the next cases are found while the kernel works, as it does on another device.

        A kernel in a process of its own is left alone: that process may be forked, which no thread must see.
        """
        if self.judge.process is not None or self.elsewhere is not None:
            return False
        return self.judge.framework.beside_the_cpu if self.ahead is None else self.ahead

    def through(self, levels: Sequence[str], cases: Mapping[str, list[Case]]) -> Report:
        """Judge the cases of families of every level, and what is drawn and made of them."""
        ended, diagnosis = "", Diagnosis()
        try:
            self.judge_again()
            self.judge_levels(levels, cases)
        except _Uncallable as reason:
            return self.assembled(diagnosis, str(reason))
        except _Ended as reason:
            ended = str(reason)
        self.used = max(0.0, min(self.allotted - self.left, self.allotted))
        if self.failures:
            diagnosis = self.judge.diagnosis(_diverse(self.failures, self.lower), self.passes, self.failures, self.told)
        return self.assembled(diagnosis, ended)

    def judge_levels(self, levels: Sequence[str], cases: Mapping[str, list[Case]]) -> None:
        """Judge the cases of families of every level, and what is drawn and made of them."""
        laws = self.judge.suite.spec.LAWS
        if self.chosen.families is not None and not {REPEATED, LAWS}.isdisjoint(self.chosen.families):
            self.acquaint()
        for level in levels:
            for case in cases[level]:
                if self.judge.compiling > _SUSPECT:
                    self.sizes.look_for_compilation(cases[levels[0]])
                self.record(*self.in_turn(case))
            if level == levels[0] and self.asked(REPEATED):
                self.repeat()
                self.leak()
            for judged in self.drawn(level) if self.asked(DRAWN.id) else ():
                self.record(*judged)
            if not self.asked(LAWS):
                self.lower = self.unshrunk if self.lower is None else self.lower
                continue
            small = sorted(self.judged, key=lambda case: case.instance.size())[: max(40, len(self.judged) // 2)]
            for law in laws:
                for judged in self.lawful(level, law, small):
                    self.record(*judged)
            self.lower = self.unshrunk if self.lower is None else self.lower

    def judge_again(self) -> None:
        """Judge what failed before.  What is right now, or was deleted, is forgotten.

        The time that this takes is not counted, up to that of the level: a family is judged as it is without.
        """
        if not self.chosen.remembered:
            return
        judge, begun = self.judge, time.monotonic()
        for failure in judge.failures.of(judge.kernel.name, judge.kernel.problem, judge.precision.name):
            if not self.asked(failure.family):
                continue
            if time.monotonic() - begun > self.allotted and not self.chosen.again:
                break
            case = failure.loaded(judge.failures.folder, judge.suite)
            judged = None if case is None else self.timed(case)
            if judged is not None and judged[1].status in JUDGED:
                self.record(*judged)
            if judged is None or judged[1].status == "passed":
                with contextlib.suppress(OSError):  # it is tried once more
                    judge.failures.forget(failure)
        self.uncounted += min(time.monotonic() - begun, self.allotted)

    def assembled(self, diagnosis: Diagnosis, ended: str) -> Report:
        """The report of what was judged until now."""
        notes = dict(self.notes)
        if self.sizes.few:
            notes["compiled for every shape: cases that are alike share one"] = 1
        declined = [result.reason for result in self.results if result.status == "declined"]
        if declined and not any(result.status in JUDGED for result in self.results):
            notes |= {f"every call was declined; {hint}": 1 for hint in self.hints(declined[0])}
        notes |= dict.fromkeys(filter(None, (self.chosen.note if self.share is None else "", self.judge.unsaved)), 1)
        told = tuple(note if count == 1 else f"{note} ({count} cases)" for note, count in notes.items())
        return assembled(self.judge, self.level, self.seed, tuple(self.results), diagnosis, told, self.seconds, ended)

    def asked(self, family: str) -> bool:
        """Whether a family, or what is asked for like one, is judged in this run."""
        return self.chosen.families is None or family in self.chosen.families

    def acquaint(self) -> None:
        """Judge the first case of every family, and keep those that pass: they are called again, or a law changes them.

        Those that fail are findings of their own families, which another run judges.
        """
        judge, seen = self.judge, set[str]()
        capabilities = judge.suite.interface.has(judge.kernel)
        for case in cases_of_level(judge.suite, judge.precision, LEVELS[0], self.seed, capabilities):
            if case.family.id in seen:
                break  # every family has had its turn
            seen.add(case.family.id)
            judged = self.in_turn(case)
            if judged[1].status == "passed":
                self.record(*judged)

    # --- time and results -----------------------------------------------------------------------------------------

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.begun

    @property
    def unshrunk(self) -> int:
        """The number of failures, without those that were made smaller."""
        return sum(not failure.shrunk for failure in self.failures)

    @property
    def allotted(self) -> float:
        """Seconds after which no new case is taken."""
        return self.whole if self.share is None else self.share

    @property
    def whole(self) -> float:
        """The budget of the level, of which this run may have a share."""
        return BUDGETS[self.level] if self.budget is None else self.budget

    @property
    def left(self) -> float:
        """Seconds that are left: choosing cases, asking for sizes, restarting and compiling (to a limit) do not count.

        A kernel is compiled in its first call, or in the first of every shape if shapes are few for that reason.
        """
        compiled, started = self.before
        compiling = self.judge.compiling - compiled if self.sizes.few else self.judge.starting - started
        return self.allotted - self.seconds + self.uncounted + min(compiling, _COMPILING * self.whole)

    @property
    def over(self) -> bool:
        return self.left < 0

    @property
    def given_up(self) -> str:
        """Why the kernel is not called again; empty as long as it is called."""
        often = [kind for kind, count in self.costly.items() if count >= _ENOUGH]
        return f"{NOT_CALLED_AGAIN}: {often[0]} {_ENOUGH} times" if often else ""

    def tell(self, sentence: str) -> None:
        if self.progress is not None:
            self.progress(min(len(self.results), self.total), self.total, sentence)

    def record(self, case: Case, outcome: Outcome, seconds: float) -> None:
        """Note the outcome of a case.  A failure becomes a finding; the first few are shrunk."""
        for note in outcome.notes:
            self.notes[note] = self.notes.get(note, 0) + 1
        finding, interruption = None, None
        if outcome.failed:
            try:
                small, smaller = self.shrunk(case, outcome)
            except KeyboardInterrupt as error:  # the failure is noted as it was found
                small, smaller, interruption = case, outcome, error
            if small is not case:
                self.failures.insert(0, JudgedCase(small, smaller, shrunk=True))
            self.failures.append(JudgedCase(case, outcome))
            finding = replace(self.judge.finding(small, smaller), before=() if small is case else outcome.wrong)
        elif outcome.status == "passed":
            self.passes.append(case)
        reason = outcome.sentence if outcome.status in ("skipped", "declined") else ""
        if outcome.status in JUDGED and case.row is not None:
            self.judged.append(case)
        family = case.family
        ratio = outcome.ratio if finding is None else max(outcome.ratio, finding.ratio)  # the smaller input's is shown
        self.results.append(
            CaseResult(
                case.name, family.id, family.level, outcome.status, ratio, seconds, reason, finding, outcome.proved
            )
        )
        if interruption is not None:
            raise interruption
        self.tell(case.name)
        self.end_early(case, outcome)

    def end_early(self, case: Case, outcome: Outcome) -> None:
        """Raise :class:`_Ended` where nothing is to be gained from further cases.

        That is so after the first failure, if it was asked for, and where the first calls of a kernel all raise the
        same or return the same wrong type, and a call of the plainest kind does so too.
        """
        if self.chosen.first_failure and outcome.failed and case.family.level == "must":
            raise _Ended("ended at the first failure: -x")
        if self.alike is None or outcome.status not in JUDGED or case.name.startswith(AGAIN):
            return
        self.alike = [*self.alike, outcome] if _is_like(outcome, self.alike) else None
        if self.alike is None or len(self.alike) < _ALIKE:
            return
        first, self.alike = self.alike, None
        plain = next(iter(typical_cases(self.judge.suite, self.judge.precision, self.seed)), case)
        if _is_like(self.fitting(plain)[1], first):  # in a size that the kernel takes
            said = first[0].sentence if first[0].kind == "raised" else ""  # else the words are assay's
            hint = "".join(f"; {hint}" for hint in self.hints(said))
            raise _Uncallable(f"each of the first {_ALIKE} calls {first[0].sentence}: the run ends here{hint}")

    def hints(self, words: str) -> tuple[str, ...]:
        """What to try where no call comes to its end, and the kernel says so in these words.

        That is other arrays, of a framework that its module imports; else another class, which its words name.
        """
        if self.judge.kernel.hints:
            return self.judge.kernel.hints
        own = {self.judge.precision.name, self.judge.precision.storage, self.judge.precision.result}
        named = [
            name
            for name in self.judge.suite.spec.PRECISIONS
            if name not in own and re.search(rf"\b{re.escape(name)}\b", words)
        ]
        return tuple(f"it speaks of {name}: --precision {name}?" for name in named[:_NAMED])

    def shrunk(self, case: Case, outcome: Outcome) -> tuple[Case, Outcome]:
        """A smaller case that fails in the same way, and its outcome; the case itself if none is found in time.

        Where it fails with its arrays in C order as well, it loses its layout: one is named only if it matters.
        """
        kinds = [result.finding.kind for result in self.results if result.finding is not None]
        wanted = len(kinds) < _SHRUNK_FINDINGS or outcome.kind not in kinds
        if not wanted or outcome.kind in ("hung", "leak") or self.left < 1:
            return case, outcome

        def attempt(candidate: Any) -> Outcome | None:
            try:
                return self.judge.outcome(replace(smallest, instance=candidate))
            except (ValueError, ArithmeticError):  # it cannot be evaluated
                return None

        smallest = case
        seconds = _SHRINK_SECONDS / 2 if kinds else _SHRINK_SECONDS
        begun, costly = time.monotonic(), outcome.kind in _COSTLY
        if costly and not kinds:  # every attempt starts a process
            seconds *= 5
        if case.layout != Layout():
            plain = replace(case, layout=Layout())
            result = self.judge.outcome(plain)
            if result.failed and result.kind == outcome.kind:
                smallest, outcome = plain, result
        instance, smaller = shrunk(case.instance, outcome, attempt, seconds)
        if costly:
            self.uncounted += time.monotonic() - begun
        return (smallest if instance is case.instance else replace(smallest, instance=instance)), smaller

    # --- where cases come from ------------------------------------------------------------------------------------

    def timed(self, case: Case, *, huge_canaries: bool = False) -> Judged:
        begun = time.monotonic()
        if self.given_up:
            return case, Outcome("skipped", sentence=self.given_up), 0.0
        self.tell(case.name)
        outcome = self.judge.outcome(case, huge_canaries=huge_canaries)
        if outcome.kind in _COSTLY:
            self.costly[outcome.kind] = self.costly.get(outcome.kind, 0) + 1
        return case, outcome, time.monotonic() - begun

    def in_turn(self, case: Case) -> Judged:
        """A case of a family, if there is time: the first one of a family has as much time again.

        The canaries are NaN or huge numbers, as the seed of the case says.
        """
        here = (result for result in self.results if result.family == case.family.id and not result.again)
        judged = any(result.status in JUDGED for result in here)
        if self.next_is is not None:
            self.next_is(case)
        if self.given_up:
            return case, Outcome("skipped", sentence=self.given_up), 0.0
        if self.left < (0 if judged else -self.allotted):
            return case, Outcome("skipped", sentence=OUT_OF_TIME), 0.0
        answer = self.awaited(case)
        # what is declined, or lacks something, is tried in other sizes here
        if answer is not None and answer[1].status not in ("declined", "skipped"):
            return answer
        return self.fitting(case, huge_canaries=_huge(case))

    def judged_elsewhere(self, cases: list[Case]) -> Generator[tuple[Case, tuple[Outcome, float]], None, None]:
        """Cases with what they came to elsewhere, in their order."""
        if self.elsewhere is not None:
            yield from zip(cases, self.elsewhere((case, _huge(case)) for case in cases), strict=False)

    def awaited(self, case: Case) -> Judged | None:
        """What a case of a family came to elsewhere; ``None`` where it is to be judged here.

        Where no case comes back any more, the rest of the level is judged here.  The budget does not count the seconds
        until the first case is back: processes load the kernel in them.
        """
        if self.coming is None or self.sizes.few:
            return None
        begun = time.monotonic()
        try:
            outcome, seconds = next(judged for other, judged in self.coming if other is case)
        except UsageError:
            raise
        except Exception as error:
            self.coming = None
            self.notes[f"judged here, as no case came back from elsewhere any more: {type(error).__name__}"] = 1
            return None
        if not self.results:
            self.uncounted += time.monotonic() - begun
        if outcome.kind in _COSTLY:
            self.costly[outcome.kind] = self.costly.get(outcome.kind, 0) + 1
        return case, outcome, seconds

    def fitting(self, case: Case, *, huge_canaries: bool = False) -> Judged:
        """The case in a size that the kernel takes: its own, or the nearest one that keeps what the family is about."""
        lacking = self.judge.lacking(case)
        case = case if lacking else self.sizes.shared(case)
        own = self.timed(case, huge_canaries=huge_canaries)
        if not lacking and own[1].status != "declined":
            return own
        if not lacking:
            begun = time.monotonic()
            self.sizes.learn(self.allotted / 4)
            self.uncounted += time.monotonic() - begun
        for other in itertools.islice(self.sizes.instead(case), _OTHER_SIZES):
            judged = self.timed(other, huge_canaries=huge_canaries)
            if judged[1].status != "declined":
                return judged
        return own

    def repeat(self) -> None:
        """Repeat a few calls.  The second answer must be right too.

        Whether it has the same bits, and whether the kernel keeps its inputs, is reported and is no failure.
        """
        repeated = different = 0
        failed = {result.name for result in self.results if result.status == "failed"}
        for case in self.judged:
            if repeated == _REPEATED or self.over or self.given_up:
                break
            if case.name in failed:
                continue
            _, first, _ = self.timed(case)
            if first.status in ("skipped", "declined", "outside"):
                continue
            begun = time.monotonic()
            second = self.judge.outcome(case, held=True)
            repeated += 1
            if first.failed or second.failed:
                when, wrong = ("once more", first) if first.failed else ("a second time with the same input", second)
                again = replace(wrong, sentence=f"called {when}: {wrong.sentence}")
                self.record(replace(case, name=f"second call of {case.name}"), again, time.monotonic() - begun)
                continue
            for note in second.notes:
                if note not in first.notes:
                    self.notes[note] = self.notes.get(note, 0) + 1
            different += any(
                not np.array_equal(value, second.values.get(name, np.nan), equal_nan=True)
                for name, value in first.values.items()
            )
        if repeated:
            bits = f"{different} of {repeated} differ in bits" if different else "same bits"
            self.notes[f"repeated calls: {bits}"] = 1

    def leak(self) -> None:
        """Call an isolated kernel many times on one input that it passed: on the largest, if that is quick enough."""
        right = {result.name for result in self.results if result.status == "passed"}
        passed = [case for case in self.judged if case.name in right]
        if self.judge.process is None or not passed or self.over or self.given_up:
            return
        passed.sort(key=lambda case: case.instance.size())
        for case in (passed[-1], passed[len(passed) // 2]):
            begun = time.monotonic()
            outcome = self.judge.leak(case, LEAK_SECONDS)
            if outcome is not None:
                break
        if outcome is None:
            self.notes["memory: too slow to see whether repeated calls leak"] = 1
        elif outcome.failed:
            self.record(replace(case, name=f"many calls of {case.name}"), outcome, time.monotonic() - begun)
        else:
            self.notes["memory: steady over repeated calls"] = 1

    def drawn(self, level: str) -> Iterator[Judged]:
        """The cases that Hypothesis draws for one level.  Of those that fail, only the smallest is yielded.

        There are none where one of a lower level failed: it would be found again.
        """
        import hypothesis

        if any(one.family == DRAWN.id and one.status == "failed" and not one.again for one in self.results):
            return

        passing: list[Judged] = []
        failing: list[Judged] = []
        shrinking: list[float] = []

        class Fails(Exception):
            """Shows Hypothesis that this example fails."""

        def trial(case: Case) -> None:
            if self.over or (shrinking and time.monotonic() - shrinking[0] > _SHRINK_SECONDS):
                return
            judged = self.fitting(case) if rows else self.timed(case)
            if judged[1].failed:
                failing.append(judged)
                shrinking.append(time.monotonic())
                raise Fails
            if not failing and judged[1].status != "skipped":
                passing.append(judged)

        settings = hypothesis.settings(
            max_examples=_added(EXAMPLES, level),
            database=None,
            deadline=None,
            phases=(hypothesis.Phase.generate, hypothesis.Phase.shrink),
            suppress_health_check=list(hypothesis.HealthCheck),
            verbosity=hypothesis.Verbosity.quiet,
            report_multiple_bugs=False,
        )
        judge = self.judge
        rows = bool(self.sizes.allowed) or self.sizes.few  # some sizes only: rows are put in these
        if rows:
            strategy = drawn_rows(judge.suite, judge.precision, level)
        else:
            strategy = drawn_cases(judge.suite, judge.precision, judge.suite.interface.has(judge.kernel))
        test = hypothesis.seed(seed_of(self.seed, DRAWN.id, level))(settings(hypothesis.given(strategy)(trial)))
        try:
            test()
        except hypothesis.errors.Unsatisfiable:
            pass  # the kernel can be asked for nothing that is drawn
        except (Fails, hypothesis.errors.Flaky, BaseExceptionGroup):
            if not failing:
                raise
        except KeyboardInterrupt:  # what was found is noted before
            yield from passing
            if failing:
                yield min(failing, key=lambda judged: judged[0].instance.size())
            raise
        yield from passing
        if failing:
            yield min(failing, key=lambda judged: judged[0].instance.size())

    def lawful(self, level: str, law: Law, small: list[Case]) -> Iterator[Judged]:
        """Some instances, and the instances into which a law transforms them.

        Each instance is judged by its own criteria.  Outputs within their tolerances cannot break the law by more than
        the sum of these, and that is all that the law may ask of a kernel.
        """
        rng = np.random.default_rng(seed_of(self.seed, "law", law.id, level))
        done = 0
        for place in rng.permutation(len(small)):  # elsewhere for each law
            if done == _added(LAW_CASES, level) or self.over:
                return
            case = small[place]
            transformed = law.transform(case.instance, rng)
            instances = (case.instance, *transformed)
            if not transformed or any(self.judge.lacking(replace(case, instance=instance)) for instance in instances):
                continue
            if self.sizes.learned and any(self.judge.declined(replace(case, instance=other)) for other in transformed):
                continue
            done += 1
            named = replace(case, name=f"law {law.id} on {case.name}", row=None)
            yield self.obeyed(law, [replace(named, instance=instance) for instance in instances])

    def obeyed(self, law: Law, cases: list[Case]) -> Judged:
        """The first of the cases that does not pass; if all pass, the one with the largest ratio."""
        judged = []
        for case in cases:
            judged.append(self.timed(case))
            _, outcome, seconds = judged[-1]
            if outcome.failed:
                sentence = f"under the law {law.id!r} ({law.statement}): {outcome.sentence}"
                return case, replace(outcome, sentence=sentence), seconds
            if outcome.status != "passed":
                return judged[-1]
        return max(judged, key=lambda entry: entry[1].ratio)


def _is_like(outcome: Outcome, others: Sequence[Outcome]) -> bool:
    """Whether a call ended as the first of others did, numbers in its words aside, in a way that may be that of all."""
    first = others[0] if others else outcome
    words, those = (re.sub(r"\d+", "0", one.sentence) for one in (outcome, first))
    return outcome.failed and outcome.kind in _UNCALLABLE and (outcome.kind, words) == (first.kind, those)


def _huge(case: Case) -> bool:
    """Whether the canaries of a case of a family are huge numbers, or NaN."""
    return (case.instance.provenance.seed or 0) % 2 == 1


def _added(counts: Mapping[str, int], level: str) -> int:
    """How many a level adds to the level below it."""
    place = LEVELS.index(level)
    return counts[level] - (counts[LEVELS[place - 1]] if place else 0)


def assembled(
    judge: Judge,
    level: str,
    seed: int,
    results: tuple[CaseResult, ...],
    diagnosis: Diagnosis,
    notes: tuple[str, ...],
    seconds: float,
    ended: str = "",
) -> Report:
    """The report of a judge: its results, with the names of what was judged and of what took part."""
    return Report(
        kernel=judge.kernel.name,
        framework=judge.framework.name,
        version=judge.kernel.version or judge.framework.version,
        problem=judge.kernel.problem,
        precision=judge.precision.name,
        level=level,
        seed=seed,
        cases=results,
        diagnosis=diagnosis.sentences,
        weights=None if diagnosis.weights is None else pictured(diagnosis.weights),
        notes=(*judge.kernel.remarks, *notes),
        seconds=seconds,
        environment=_environment(judge.framework),
        ended=ended,
        families={
            family.id: AboutFamily(family.hunts, family.source)
            for family in (*judge.suite.families, DRAWN)
            if any(result.family == family.id for result in results)
        },
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )


def _environment(framework: Framework) -> dict[str, str]:
    """The versions of what took part, and the machine."""
    versions = {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": str(os.cpu_count()),
    }
    if framework.name != "numpy":
        versions[framework.name] = framework.version
    if framework.device:
        versions["device"] = framework.device
    try:
        versions["assay"] = importlib.metadata.version("assay")
    except importlib.metadata.PackageNotFoundError:
        versions["assay"] = "not installed"
    return versions


def _diverse(failures: list[JudgedCase], lower: int | None = None) -> list[JudgedCase]:
    """A few failures: the shrunk ones first, then some of every kind that are spread over the run.

    lower: how many, shrunk ones aside, the lowest level found.  What a run of that level looks at is looked at by a
    higher one too, which has further ones beside: it tells no less.
    """
    shrunk = [failure for failure in failures if failure.shrunk][:2]
    others = [failure for failure in failures if not failure.shrunk]
    lower = len(others) if lower is None else lower
    chosen = [*_spread(others[:lower], _DIAGNOSED - 2), *_spread(others[lower:], _BESIDE if lower else _DIAGNOSED - 2)]
    kinds = {failure.outcome.kind for failure in chosen}
    for failure in others:
        if failure.outcome.kind not in kinds:
            kinds.add(failure.outcome.kind)
            chosen.append(failure)
    return shrunk + chosen


def _spread(failures: list[JudgedCase], most: int) -> list[JudgedCase]:
    return failures[:: max(1, len(failures) // (most + 2))][:most]
