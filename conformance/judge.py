"""The judge: cases from families, from Hypothesis and from laws; verdicts, shrunk findings, a report.

Knows no problem: everything it needs of one is its :class:`~assay.conformance.suite.Suite` and its spec module.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shlex
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.diagnosis import diagnose
from assay.conformance.frameworks import Framework
from assay.conformance.frameworks import framework as framework_named
from assay.conformance.report import CaseResult, Finding, Report
from assay.conformance.shrink import shrunk
from assay.conformance.suite import LEVELS, Case, Suite
from assay.conformance.suite import suite as suite_of
from assay.conformance.targets import UsageError, load, wrap
from assay.conformance.trial import Outcome, capabilities, lacking, run
from assay.spec.precision import Precision
from assay.spec.precision import precision as precision_named
from assay.spec.problem import PROBLEMS
from assay.spec.problem import problem as problem_named

if TYPE_CHECKING:
    from assay.conformance.kernel import Kernel
    from assay.conformance.trial import Reference
    from assay.spec.problem import Law

__all__ = ["BUDGETS", "EXAMPLES", "LAW_CASES", "Judge", "check"]

#: Seconds after which a level stops taking new cases: they are counted as skipped, and the report says so.
BUDGETS: Mapping[str, float] = {"smoke": 8.0, "standard": 50.0, "thorough": 900.0}
#: Hypothesis examples, and cases for every law, of each level.
EXAMPLES: Mapping[str, int] = {"smoke": 20, "standard": 80, "thorough": 400}
LAW_CASES: Mapping[str, int] = {"smoke": 1, "standard": 3, "thorough": 8}
_SHRUNK_FINDINGS = 3
_SHRINK_SECONDS = 2.0
_DIAGNOSED = 6

Progress = Callable[[int, int, str], None]


def check(
    kernel: Any,
    problem: str = PROBLEMS[0],
    *,
    precision: str | Precision = "float32",
    level: str = "standard",
    seed: int = 0,
    framework: str | None = None,
    options: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    reproducers: str | Path | None = None,
) -> Report:
    """Judge a kernel against the specification of ``problem``.

    kernel: a callable with the documented signature, a target (``"module:function"``, ``"torch:sdpa"``) or a Kernel.
    precision: the class of arithmetic that it claims; level: ``smoke``, ``standard`` or ``thorough``.
    framework: what kind of arrays a callable takes (default NumPy).  options: conventions that it declares.
    progress: called as (done, total, sentence) between cases.  reproducers: a folder for failing instances.

    Same seed, same cases, on any machine.  Raises :class:`~assay.conformance.targets.UsageError`, a ``ValueError``
    of one line.
    """
    if problem not in PROBLEMS:
        raise UsageError(f"unknown problem {problem!r}: expected one of {', '.join(PROBLEMS)}")
    if level not in LEVELS:
        raise UsageError(f"unknown level {level!r}: expected one of {', '.join(LEVELS)}")
    try:
        chosen = precision_named(precision)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if isinstance(kernel, str):
        loaded = load(kernel, problem=problem, framework=framework, options=options)
    else:
        loaded = wrap(kernel, problem=problem, framework=framework, options=options)
    judge = Judge(loaded, problem, chosen, options=options or {}, reproducers=reproducers)
    return judge.report(level, seed, progress)


@dataclass
class Judge:
    """One kernel, one class: judges cases one by one, or a whole level.  References are kept while it lives."""

    kernel: Kernel
    problem: str
    precision: Precision
    options: Mapping[str, Any] = field(default_factory=dict)
    reproducers: str | Path | None = None
    suite: Suite = field(init=False)
    framework: Framework = field(init=False)

    def __post_init__(self) -> None:
        self.suite = suite_of(self.problem)
        try:
            self.framework = framework_named(self.kernel.framework)
        except ImportError as error:
            raise UsageError(
                f"{self.kernel.name}: framework {self.kernel.framework!r} is not available ({error})"
            ) from None

    # --- one case -------------------------------------------------------------------------------------------------

    def reference(self, instance: Any) -> Reference:
        return self.suite.reference(instance, self.kernel, self.precision)

    def outcome(self, case: Case, reference: Reference | None = None, *, huge_canaries: bool = False) -> Outcome:
        """Run one case.  ``reference`` may come from another judge of the same class and conventions."""
        reason = lacking(self.kernel, self.suite.needs(case.instance), self.suite)
        if reason:
            return Outcome("skipped", sentence=reason)
        return run(
            self.kernel,
            self.framework,
            case.instance,
            self.precision,
            self.suite,
            self.reference(case.instance) if reference is None else reference,
            case.layout,
            huge_canaries=huge_canaries,
        )

    # --- a level --------------------------------------------------------------------------------------------------

    def report(self, level: str, seed: int, progress: Progress | None = None) -> Report:
        """Judge every case of a level."""
        started = time.monotonic()
        budget = BUDGETS[level]
        results: list[CaseResult] = []
        failures: list[tuple[Any, Outcome]] = []
        notes: dict[str, int] = {}
        cases = list(self.suite.cases(self.precision, level, seed))
        laws = problem_named(self.problem).LAWS
        total = len(cases) + EXAMPLES[level] + len(laws) * LAW_CASES[level]

        def tell(sentence: str) -> None:
            if progress is not None:
                progress(min(len(results), total), total, sentence)

        def record(case: Case, outcome: Outcome, seconds: float) -> None:
            finding = None
            for note in outcome.notes:
                notes[note] = notes.get(note, 0) + 1
            if outcome.failed:
                failures.append((case.instance, outcome))
                kinds = {result.finding.kind for result in results if result.finding}
                few = (
                    sum(result.status == "failed" for result in results) < _SHRUNK_FINDINGS or outcome.kind not in kinds
                )
                time_left = budget - (time.monotonic() - started)
                finding = self._shrunk_finding(case, outcome, shrink=few and time_left > 1, first=not kinds)
                if few:
                    again = self.outcome(Case(case.name, case.family, finding.instance, case.layout))
                    if again.failed:
                        failures.insert(0, (finding.instance, again))
            reason = outcome.sentence if outcome.status in ("skipped", "declined") else ""
            results.append(
                CaseResult(
                    case.name,
                    case.family.id,
                    case.family.level,
                    outcome.status,
                    outcome.ratio,
                    seconds,
                    reason,
                    finding,
                )
            )
            tell(case.name)

        def over() -> bool:
            return time.monotonic() - started > budget

        tell("starting")
        for number, case in enumerate(cases):
            if over():
                record(case, Outcome("skipped", sentence="time budget"), 0.0)
                continue
            begun = time.monotonic()
            outcome = self.outcome(case, huge_canaries=number % 2 == 1)
            record(case, outcome, time.monotonic() - begun)
        notes |= self._determinism(cases)
        for case, outcome, seconds in self._drawn(EXAMPLES[level], seed, over):
            record(case, outcome, seconds)
        for case, outcome, seconds in self._laws(laws, cases, LAW_CASES[level], seed, over):
            record(case, outcome, seconds)

        diagnosis: list[str] = []
        if failures:
            diagnosis = self.diagnosis(_diverse(failures))
        told = tuple(note if count == 1 else f"{note} ({count} cases)" for note, count in notes.items())
        return self.assembled(level, seed, tuple(results), diagnosis, told, time.monotonic() - started)

    def assembled(
        self,
        level: str,
        seed: int,
        results: tuple[CaseResult, ...],
        diagnosis: list[str],
        notes: tuple[str, ...],
        seconds: float,
    ) -> Report:
        return Report(
            kernel=self.kernel.name,
            framework=self.framework.name,
            version=self.kernel.version or self.framework.version,
            problem=self.problem,
            precision=self.precision.name,
            level=level,
            seed=seed,
            cases=results,
            diagnosis=diagnosis,
            notes=notes,
            seconds=seconds,
            environment=_environment(self.framework),
        )

    def known_reference(self, instance: Any, precision: Precision | None = None) -> Reference | None:
        """The reference, in another class if one is given; None where there is none."""
        try:
            return self.suite.reference(instance, self.kernel, precision or self.precision)
        except (ValueError, ArithmeticError):
            return None

    def diagnosis(self, failures: list[tuple[Any, Outcome]]) -> list[str]:
        """What the kernel behaves like: sentences, best first."""
        return diagnose(failures, self.known_reference, self.suite, self.precision)

    # --- the three sources beside families ------------------------------------------------------------------------

    def _determinism(self, cases: Iterable[Case]) -> dict[str, int]:
        """Repeat a few calls and compare bit for bit: observed and told, never failed."""
        repeated = different = 0
        for case in cases:
            if repeated == 5:
                break
            first = self.outcome(case)
            if first.status != "passed":
                continue
            second = self.outcome(case)
            repeated += 1
            different += any(
                not np.array_equal(first.values[name], second.values.get(name, np.nan), equal_nan=True)
                for name in first.values
            )
        if repeated == 0:
            return {}
        return {f"repeated calls: {'same bits' if not different else f'{different} of {repeated} differ in bits'}": 1}

    def _drawn(self, examples: int, seed: int, over: Callable[[], bool]) -> Iterator[tuple[Case, Outcome, float]]:
        """Cases that Hypothesis draws; the failing one as far as it shrank it."""
        import hypothesis

        found: list[tuple[Case, Outcome, float]] = []
        failing: list[tuple[Case, Outcome, float]] = []
        limit = time.monotonic() + 1e9

        class Seen(Exception):
            pass

        def trial(case: Case) -> None:
            nonlocal limit
            if over() or time.monotonic() > limit:
                return
            begun = time.monotonic()
            outcome = self.outcome(case)
            entry = (case, outcome, time.monotonic() - begun)
            if outcome.failed:
                if not failing:
                    limit = time.monotonic() + _SHRINK_SECONDS
                failing.append(entry)
                raise Seen
            if not failing:
                found.append(entry)

        settings = hypothesis.settings(
            max_examples=examples,
            database=None,
            deadline=None,
            phases=(hypothesis.Phase.generate, hypothesis.Phase.shrink),
            suppress_health_check=list(hypothesis.HealthCheck),
            verbosity=hypothesis.Verbosity.quiet,
            report_multiple_bugs=False,
        )
        wrapped = hypothesis.seed(seed)(
            settings(
                hypothesis.given(self.suite.strategy(self.precision, capabilities(self.kernel, self.suite)))(trial)
            )
        )
        try:
            wrapped()
        except (Seen, hypothesis.errors.Flaky, BaseExceptionGroup):
            if not failing:
                raise
        yield from found
        if failing:
            yield min(failing, key=lambda entry: self.suite.size(entry[0].instance))

    def _laws(
        self, laws: Iterable[Law], cases: list[Case], count: int, seed: int, over: Callable[[], bool]
    ) -> Iterator[tuple[Case, Outcome, float]]:
        """Transformed instances, each against its own reference, and the relation of all outputs with each other."""
        for number, law in enumerate(laws):
            done = 0
            rng = np.random.default_rng([seed, number])
            # start elsewhere for each law, and take small cases
            small = sorted(cases, key=lambda case: self.suite.size(case.instance))[: max(40, len(cases) // 2)]
            for position in range(len(small)):
                if done == count or over():
                    break
                case = small[(position * 7 + number * 11) % len(small)]
                transformed = law.transform(case.instance, rng)
                everyone = (case.instance, *transformed)
                if not transformed or any(lacking(self.kernel, self.suite.needs(i), self.suite) for i in everyone):
                    continue
                begun = time.monotonic()
                done += 1
                named = Case(f"law {law.id} on {case.name}", case.family, case.instance, case.layout)
                yield named, self._law(law, case, transformed), time.monotonic() - begun

    def _law(self, law: Law, case: Case, transformed: tuple[Any, ...]) -> Outcome:
        outcomes, references = [], []
        for instance in (case.instance, *transformed):
            references.append(self.reference(instance))
            outcome = self.outcome(Case(case.name, case.family, instance), references[-1])
            if outcome.status != "passed":
                sentence = (
                    f"under the law {law.id!r} ({law.statement}): {outcome.sentence}"
                    if outcome.failed
                    else outcome.sentence
                )
                return Outcome(outcome.status, outcome.ratio, outcome.kind, sentence, outcome.output, outcome.index,
                               outcome.got, outcome.interval, outcome.tolerance, outcome.values)  # fmt: skip
            outcomes.append(outcome)
        name = problem_named(self.problem).OUTPUTS[0]
        prediction, weights = law.relate(case.instance, transformed, tuple(o.values[name] for o in outcomes[1:]))
        room = references[0][name][1] + 1e-15 * np.abs(prediction)
        for weight, reference in zip(weights, references[1:], strict=True):
            tolerance = reference[name][1]
            spread = tolerance if tolerance.shape == weight.shape else _largest(tolerance, weight)
            with np.errstate(invalid="ignore"):
                room = room + np.where(weight == 0, 0.0, np.abs(weight) * spread)
        error = np.abs(outcomes[0].values[name] - prediction)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = float(np.where(error == 0, 0.0, error / room).max())
        if ratio > 1.0:
            return Outcome(
                "failed", ratio, "law", f"breaks the law {law.id!r}: {law.statement}", name, values=outcomes[0].values
            )
        return Outcome("passed", max(o.ratio for o in outcomes))

    # --- findings -------------------------------------------------------------------------------------------------

    def _shrunk_finding(self, case: Case, outcome: Outcome, *, shrink: bool, first: bool) -> Finding:
        instance = case.instance
        if shrink and outcome.kind not in ("law", "hung"):

            def attempt(candidate: Any) -> Outcome | None:
                reference = self.known_reference(candidate)
                return (
                    None
                    if reference is None
                    else self.outcome(Case("", case.family, candidate, case.layout), reference)
                )

            seconds = _SHRINK_SECONDS if first else _SHRINK_SECONDS / 2
            instance, outcome = shrunk(instance, outcome, attempt, self.suite, seconds)
        small = Case(case.name, case.family, instance, case.layout)
        return self.finding(small, outcome, self._saved(instance, case.name))

    def finding(self, case: Case, outcome: Outcome, path: str) -> Finding:
        """What a failed outcome says in a report; ``path`` is where the instance is saved, if it is."""
        return Finding(
            kind=outcome.kind,
            sentence=outcome.sentence,
            case=case.name,
            family=case.family.id,
            description=self.suite.describe(case.instance),
            output=outcome.output,
            index=outcome.index,
            got=outcome.got,
            interval=outcome.interval,
            tolerance=outcome.tolerance,
            ratio=outcome.ratio,
            size=self.suite.size(case.instance),
            instance=case.instance,
            instance_path=path,
            reproducer=self._reproducer(path) if path else "",
            hunts=case.family.hunts,
            source=case.family.source,
        )

    def _saved(self, instance: Any, name: str) -> str:
        if self.reproducers is None:
            self.reproducers = tempfile.mkdtemp(prefix="assay-")
        folder = Path(self.reproducers)
        folder.mkdir(parents=True, exist_ok=True)
        stem = "".join(c if c.isalnum() else "-" for c in name).strip("-")[:60]
        path = folder / f"{stem}.npz"
        number = 1
        while path.exists():
            number += 1
            path = folder / f"{stem}-{number}.npz"
        instance.save(path)
        return str(path)

    def _reproducer(self, path: str) -> str:
        words = ["assay", "replay", path, "--target", self.kernel.name, "--precision", self.precision.name]
        if self.framework.name != "numpy" and ":" in self.kernel.name and self.kernel.name not in self.suite.targets:
            words += ["--framework", self.framework.name]
        for name, value in self.options.items():
            words += ["--option", f"{name}={value}"]
        if ":" not in self.kernel.name:
            return f"{shlex.join(words)}  # {self.kernel.name} must be importable: give --target module:function"
        return shlex.join(words)


def _largest(tolerance: Any, weight: Any) -> Any:
    """Where a transformed output has another shape than the prediction, its largest tolerance."""
    return np.full(weight.shape, float(np.max(tolerance)))


def _diverse(failures: list[tuple[Any, Outcome]]) -> list[tuple[Any, Outcome]]:
    """A few failures, the shrunk ones first, then ones spread over the run."""
    step = max(1, len(failures) // _DIAGNOSED)
    return failures[:2] + failures[2::step][: _DIAGNOSED - 2]


def _environment(framework: Framework) -> dict[str, str]:
    found = {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": str(os.cpu_count()),
    }
    if framework.name != "numpy":
        found[framework.name] = framework.version
    try:
        found["assay"] = importlib.metadata.version("assay")
    except importlib.metadata.PackageNotFoundError:
        found["assay"] = "not installed"
    return found
