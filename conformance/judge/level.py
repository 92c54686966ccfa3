"""One level of a judgement: cases of families, of Hypothesis and of laws, in this order, while there is time."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.call.outcome import Outcome
from assay.conformance.judge.cases import cases as cases_of
from assay.conformance.judge.drawn import drawn_cases
from assay.conformance.judge.shrink import shrunk
from assay.conformance.report.finding import OUT_OF_TIME, CaseResult
from assay.conformance.report.report import Report

if TYPE_CHECKING:
    from assay.conformance.frameworks import Framework
    from assay.conformance.interface.suite import Case
    from assay.conformance.judge.judge import Judge
    from assay.spec.problem import Law

__all__ = ["BUDGETS", "EXAMPLES", "LAW_CASES", "LEAK_SECONDS", "Progress", "Run", "assembled"]

#: Seconds after which a level stops taking new cases: they are counted as skipped, and the report says so.
BUDGETS: Mapping[str, float] = {"smoke": 8.0, "standard": 50.0, "thorough": 900.0}
#: Hypothesis examples, and cases for every law, of each level.
EXAMPLES: Mapping[str, int] = {"smoke": 20, "standard": 80, "thorough": 400}
LAW_CASES: Mapping[str, int] = {"smoke": 1, "standard": 3, "thorough": 8}
_SHRUNK_FINDINGS = 3
_SHRINK_SECONDS = 2.0
_DIAGNOSED = 16
_REPEATED = 5
#: How long an isolated kernel is called again and again to see whether its memory grows.
LEAK_SECONDS = 2.0
#: Kinds of findings that cost a process or the whole limit of a call, and how many of one kind are enough.
_COSTLY = frozenset({"crashed", "exited", "hung", "memory"})
_ENOUGH = 3

Progress = Callable[[int, int, str], None]
Judged = tuple["Case", Outcome, float]


@dataclass
class Run:
    """A level under way: what was found so far."""

    judge: Judge
    level: str
    seed: int
    progress: Progress | None = None
    begun: float = field(default_factory=time.monotonic)
    total: int = 0
    results: list[CaseResult] = field(default_factory=list)
    failures: list[tuple[Any, Outcome]] = field(default_factory=list)
    notes: dict[str, int] = field(default_factory=dict)
    costly: dict[str, int] = field(default_factory=dict)
    restarting: float = 0.0  # seconds, which the budget does not count

    def report(self) -> Report:
        """Judge everything."""
        judge, laws = self.judge, self.judge.suite.spec.LAWS
        cases = list(
            cases_of(judge.suite, judge.precision, self.level, self.seed, judge.suite.interface.has(judge.kernel))
        )
        self.total = len(cases) + EXAMPLES[self.level] + len(laws) * LAW_CASES[self.level]
        self.tell("starting")
        for judged in self.named(cases):
            self.record(*judged)
        self.repeat(cases)
        self.leak(cases)
        for judged in self.drawn():
            self.record(*judged)
        small = sorted(cases, key=lambda case: case.instance.size())[: max(40, len(cases) // 2)]
        for number, law in enumerate(laws):
            for judged in self.lawful(number, law, small):
                self.record(*judged)
        diagnosis = judge.diagnosis(_diverse(self.failures)) if self.failures else []
        notes = tuple(note if count == 1 else f"{note} ({count} cases)" for note, count in self.notes.items())
        return assembled(judge, self.level, self.seed, tuple(self.results), diagnosis, notes, self.seconds)

    # --- time and results -----------------------------------------------------------------------------------------

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.begun

    @property
    def left(self) -> float:
        return BUDGETS[self.level] - self.seconds + self.restarting

    @property
    def over(self) -> bool:
        return self.left < 0

    @property
    def given_up(self) -> str:
        """Why the kernel is not called again; empty while it is."""
        often = [kind for kind, count in self.costly.items() if count >= _ENOUGH]
        return f"not called again: {often[0]} {_ENOUGH} times" if often else ""

    def tell(self, sentence: str) -> None:
        if self.progress is not None:
            self.progress(min(len(self.results), self.total), self.total, sentence)

    def record(self, case: Case, outcome: Outcome, seconds: float) -> None:
        """Note what became of a case; a failure becomes a finding, the first few shrunk."""
        for note in outcome.notes:
            self.notes[note] = self.notes.get(note, 0) + 1
        finding = None
        if outcome.failed:
            small, smaller = self.shrunk(case, outcome)
            if small is not case:
                self.failures.insert(0, (small.instance, smaller))
            self.failures.append((case.instance, outcome))
            finding = self.judge.finding(small, smaller)
        reason = outcome.sentence if outcome.status in ("skipped", "declined") else ""
        family, ratio = case.family, outcome.ratio
        self.results.append(
            CaseResult(case.name, family.id, family.level, outcome.status, ratio, seconds, reason, finding)
        )
        self.tell(case.name)

    def shrunk(self, case: Case, outcome: Outcome) -> tuple[Case, Outcome]:
        """A smaller case that fails in the same way; the same case where there is none, or no time to look."""
        known = [result.finding.kind for result in self.results if result.finding is not None]
        wanted = len(known) < _SHRUNK_FINDINGS or outcome.kind not in known
        if not wanted or outcome.kind in ("hung", "leak") or self.left < 1:
            return case, outcome

        def attempt(candidate: Any) -> Outcome | None:
            criteria = self.judge.criteria_if_known(candidate)
            return None if criteria is None else self.judge.outcome(replace(case, instance=candidate), criteria)

        seconds = _SHRINK_SECONDS / 2 if known else _SHRINK_SECONDS
        begun, costly = time.monotonic(), outcome.kind in _COSTLY
        if costly and not known:  # every try starts a process
            seconds *= 5
        instance, smaller = shrunk(case.instance, outcome, attempt, seconds)
        if costly:
            self.restarting += time.monotonic() - begun
        return (case if instance is case.instance else replace(case, instance=instance)), smaller

    # --- where cases come from ------------------------------------------------------------------------------------

    def timed(self, case: Case, *, huge_canaries: bool = False) -> Judged:
        begun = time.monotonic()
        if self.given_up:
            return case, Outcome("skipped", sentence=self.given_up), 0.0
        outcome = self.judge.outcome(case, huge_canaries=huge_canaries)
        if outcome.kind in _COSTLY:
            self.costly[outcome.kind] = self.costly.get(outcome.kind, 0) + 1
        return case, outcome, time.monotonic() - begun

    def named(self, cases: list[Case]) -> Iterator[Judged]:
        """Every case of the families; canaries are NaN and huge by turns."""
        for number, case in enumerate(cases):
            if self.over:
                yield case, Outcome("skipped", sentence=OUT_OF_TIME), 0.0
            else:
                yield self.timed(case, huge_canaries=number % 2 == 1)

    def repeat(self, cases: list[Case]) -> None:
        """Repeat a few calls: the second answer must be right too; whether it has the same bits is told.

        So is whether the kernel keeps its inputs.
        """
        repeated = different = 0
        failed = {result.name for result in self.results if result.status == "failed"}
        for case in cases:
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
                told, wrong = ("once more", first) if first.failed else ("a second time with the same input", second)
                again = replace(wrong, sentence=f"called {told}: {wrong.sentence}")
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
            told = f"{different} of {repeated} differ in bits" if different else "same bits"
            self.notes[f"repeated calls: {told}"] = 1

    def leak(self, cases: list[Case]) -> None:
        """Call an isolated kernel many times on one input that it passed: the largest, if it is quick enough."""
        right = {result.name for result in self.results if result.status == "passed"}
        known = [case for case in cases if case.name in right]
        if self.judge.process is None or not known or self.over or self.given_up:
            return
        known.sort(key=lambda case: case.instance.size())
        for case in (known[-1], known[len(known) // 2]):
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

    def drawn(self) -> Iterator[Judged]:
        """Cases that Hypothesis draws; of those that fail, the smallest to which it shrank them."""
        import hypothesis

        passing: list[Judged] = []
        failing: list[Judged] = []
        shrinking: list[float] = []

        class Fails(Exception):
            """Tells Hypothesis that this example fails."""

        def trial(case: Case) -> None:
            if self.over or (shrinking and time.monotonic() - shrinking[0] > _SHRINK_SECONDS):
                return
            judged = self.timed(case)
            if judged[1].failed:
                failing.append(judged)
                shrinking.append(time.monotonic())
                raise Fails
            if not failing:
                passing.append(judged)

        settings = hypothesis.settings(
            max_examples=EXAMPLES[self.level],
            database=None,
            deadline=None,
            phases=(hypothesis.Phase.generate, hypothesis.Phase.shrink),
            suppress_health_check=list(hypothesis.HealthCheck),
            verbosity=hypothesis.Verbosity.quiet,
            report_multiple_bugs=False,
        )
        judge = self.judge
        strategy = drawn_cases(judge.suite, judge.precision, judge.suite.interface.has(judge.kernel))
        test = hypothesis.seed(self.seed)(settings(hypothesis.given(strategy)(trial)))
        try:
            test()
        except (Fails, hypothesis.errors.Flaky, BaseExceptionGroup):
            if not failing:
                raise
        yield from passing
        if failing:
            yield min(failing, key=lambda judged: judged[0].instance.size())

    def lawful(self, number: int, law: Law, small: list[Case]) -> Iterator[Judged]:
        """Some instances, and what a law transforms them to.

        Each is judged by its own criteria: outputs within their tolerances cannot break the law by more than the
        sum of these, which is all that the law may ask of a kernel.
        """
        interface, kernel = self.judge.suite.interface, self.judge.kernel
        rng = np.random.default_rng([self.seed, number])
        done = 0
        for position in range(len(small)):
            if done == LAW_CASES[self.level] or self.over:
                return
            case = small[(len(small) // 2 + position * 7 + number * 11) % len(small)]  # elsewhere for each law
            transformed = law.transform(case.instance, rng)
            everyone = (case.instance, *transformed)
            if not transformed or any(interface.lacking(kernel, interface.needs(instance)) for instance in everyone):
                continue
            done += 1
            named = replace(case, name=f"law {law.id} on {case.name}")
            yield self.obeyed(law, [replace(named, instance=instance) for instance in everyone])

    def obeyed(self, law: Law, cases: list[Case]) -> Judged:
        """The first that does not pass, or the worst."""
        judged = []
        for case in cases:
            judged.append(self.timed(case))
            _, outcome, seconds = judged[-1]
            if outcome.failed:
                told = f"under the law {law.id!r} ({law.statement}): {outcome.sentence}"
                return case, replace(outcome, sentence=told), seconds
            if outcome.status != "passed":
                return judged[-1]
        return max(judged, key=lambda each: each[1].ratio)


def assembled(
    judge: Judge,
    level: str,
    seed: int,
    results: tuple[CaseResult, ...],
    diagnosis: list[str],
    notes: tuple[str, ...],
    seconds: float,
) -> Report:
    """The report of what a judge found."""
    return Report(
        kernel=judge.kernel.name,
        framework=judge.framework.name,
        version=judge.kernel.version or judge.framework.version,
        problem=judge.kernel.problem,
        precision=judge.precision.name,
        level=level,
        seed=seed,
        cases=results,
        diagnosis=diagnosis,
        notes=notes,
        seconds=seconds,
        environment=_environment(judge.framework),
    )


def _environment(framework: Framework) -> dict[str, str]:
    """Versions of what took part, and the machine."""
    versions = {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": str(os.cpu_count()),
    }
    if framework.name != "numpy":
        versions[framework.name] = framework.version
    try:
        versions["assay"] = importlib.metadata.version("assay")
    except importlib.metadata.PackageNotFoundError:
        versions["assay"] = "not installed"
    return versions


def _diverse(failures: list[tuple[Any, Outcome]]) -> list[tuple[Any, Outcome]]:
    """A few failures with an output to compare, the shrunk ones first, then ones spread over the run."""
    failures = [each for each in failures if each[1].values]
    step = max(1, len(failures) // _DIAGNOSED)
    return failures[:2] + failures[2::step][: _DIAGNOSED - 2]
