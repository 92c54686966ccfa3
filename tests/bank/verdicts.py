"""What a level makes of the wrong kernels of a bank: asked once a kernel, used by every test that needs it.

Cases are judged in the order of the level, with the canaries that a run of the level would use, until enough failures
are gathered.  A test session has one :class:`Verdicts` a problem (the fixture ``verdicts`` of a problem's tests); under
pytest-xdist every process has its own, and all tests of one kernel run in the same process (tests/conftest.py).

What a run of ``smoke`` judges beside its families, cases that Hypothesis draws and what laws make of small cases, is
made once a class as well, of instances with any option: a kernel is asked what it does not lack.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.diagnosis.evidence import Judged
from assay.conformance.interface.suite import suite
from assay.conformance.interface.targets import kernel_of
from assay.conformance.judge.cases import cases
from assay.conformance.judge.judge import Judge
from assay.conformance.judge.references import References
from assay.spec.precision import precision
from bank.drawn import drawn

if TYPE_CHECKING:
    from assay.conformance.call.outcome import Outcome
    from assay.conformance.interface.suite import Case
    from assay.spec.precision import Precision

__all__ = ["ENOUGH", "Failure", "Verdicts"]

#: Failures of a kernel that are gathered: nearly every bug is named by so few.
ENOUGH = 5
_UNHURRIED = 50.0  # times the usual seconds of a diagnosis: what is told does not depend on the load of the machine
_FURTHER = 20  # cases after the first failure, for each that is wanted, in which others are looked for


@dataclass(frozen=True)
class Failure:
    """A case that a kernel fails, the place of the case in its level, and the outcome."""

    place: int
    case: Case
    outcome: Outcome


@dataclass
class Gathered:
    """The failures of a kernel among the first ``judged`` cases of its level."""

    found: list[Failure] = field(default_factory=list)
    judged: int = 0

    def end(self, most: int) -> float:
        """The place at which others are no longer looked for, if so many are wanted."""
        return self.found[0].place + _FURTHER * most + 2 if self.found else np.inf

    def has(self, most: int) -> bool:
        """Whether no further case needs to be judged."""
        return len(self.found) >= most or self.judged >= self.end(most)


@dataclass(repr=False)  # of thousands of arrays, for every test that fails
class Verdicts:
    """The first failures of every wrong kernel of one problem at ``standard``, seed 0; criteria are shared by all."""

    problem: str
    references: References = field(default_factory=lambda: References(most=sys.maxsize))
    levels: dict[tuple[str, str], list[Case]] = field(default_factory=dict)
    beside: dict[str, list[Case]] = field(default_factory=dict)
    gathered: dict[str, Gathered] = field(default_factory=dict)
    stages_lost: dict[str, list[str]] = field(default_factory=dict)

    def judge(self, entry: Any, name: str = "") -> Judge:
        """A judge of a kernel of the bank in the class that it claims, or in another."""
        options = getattr(entry, "options", {})
        kernel = kernel_of(entry.function, self.problem, options=options)
        precision_asked = self.precision(name or entry.precision)
        return Judge(kernel, precision_asked, options, references=self.references, diagnosing=_UNHURRIED)

    def precision(self, name: str) -> Precision:
        """The class ``name`` of the problem."""
        return precision(name, suite(self.problem).spec.PRECISIONS)

    def level(self, name: str, level: str = "standard") -> list[Case]:
        """The cases of a level in the class ``name``."""
        key = name, level
        if key not in self.levels:
            self.levels[key] = list(cases(suite(self.problem), self.precision(name), level, 0))
        return self.levels[key]

    def beside_families(self, name: str) -> list[Case]:
        """Drawn cases of the class ``name``, and a small case a law with the instances that the law makes of it."""
        if name not in self.beside:
            drawn_ones = drawn(suite(self.problem), self.precision(name), "smoke", 0)
            self.beside[name] = [*drawn_ones, *self._lawful(name)]
        return self.beside[name]

    def _lawful(self, name: str) -> list[Case]:
        rng = np.random.default_rng(0)
        lawful: list[Case] = []
        small = sorted(self.level(name, "smoke"), key=lambda case: case.instance.size())
        small = [case for case in small[: len(small) // 2] if not case.after and not case.beside]
        for law in suite(self.problem).spec.LAWS:
            for place in rng.permutation(len(small)):  # elsewhere for each law
                transformed = law.transform(small[place].instance, rng)
                lawful += [replace(small[place], name=f"law {law.id}", instance=one, row=None) for one in transformed]
                if transformed:
                    break
        return lawful

    def failures(self, entry: Any, most: int = ENOUGH) -> list[Failure]:
        """The first failures of a wrong kernel, at most so many.

        What was gathered for fewer is where more go on from, so that no case is judged twice.
        """
        gathered = self.gathered.setdefault(entry.name, Gathered())
        judge, level = self.judge(entry), self.level(entry.precision)
        with np.errstate(all="ignore"):
            while gathered.judged < len(level) and not gathered.has(most):
                place, case = gathered.judged, level[gathered.judged]
                outcome = judge.outcome(case, huge_canaries=place % 2 == 1)
                if outcome.failed:
                    gathered.found.append(Failure(place, case, outcome))
                gathered.judged += 1
        return [failure for failure in gathered.found if failure.place < gathered.end(most)][:most]

    def fails_at_smoke(self, entry: Any) -> bool:
        """Whether a wrong kernel fails a case of the lowest level, whose cases every level begins with."""
        cases_of_smoke = len(self.level(entry.precision, "smoke"))
        return any(failure.place < cases_of_smoke for failure in self.failures(entry, 1))

    def diagnosis(self, entry: Any, most: int = ENOUGH) -> str:
        """What a kernel is told to behave like by its first failures, in lower case."""
        failures = [Judged(failure.case, failure.outcome) for failure in self.failures(entry, most)]
        with np.errstate(all="ignore"):
            return " ".join(self.judge(entry).diagnosis(failures).sentences).lower()

    def losses(self, entry: Any) -> list[str]:
        """The stages in which a kernel is seen to lose precision."""
        if entry.name not in self.stages_lost:
            with np.errstate(all="ignore"):
                self.stages_lost[entry.name] = [loss.stage.id for loss in self.judge(entry).losses()]
        return self.stages_lost[entry.name]
