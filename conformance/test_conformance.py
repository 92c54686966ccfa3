"""Kernels against the specification: ``pytest conformance``, elsewhere ``pytest --pyargs assay.conformance``.

The kernels are those of ``--assay-kernel`` or of the project's ``[tool.assay]``, with a test for each family; else
every built-in target that is installed, in the classes that it documents, less what is known to be wrong in them.  A
kernel that declined a whole family fails, unless ``--assay-allow-incomplete``.  A family that needed more time is
skipped, so that ``-x`` goes on to what may be wrong, and the run as a whole is no pass.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

import assay
from assay.conformance.call.process import Limits
from assay.conformance.engagement import engaged
from assay.conformance.interface.targets import known_findings
from assay.conformance.judge.by_family import ByFamily
from assay.conformance.judge.level import REPEATED
from assay.conformance.judge.references import shared
from assay.conformance.plugin import DIAGNOSIS, LATE, Asked, asked, settings
from assay.conformance.report.coverage import missing as seconds_missing
from assay.conformance.report.finding import OUT_OF_TIME
from assay.conformance.report.words import behaviour, never_ran, not_judged

if TYPE_CHECKING:
    from collections.abc import Iterator

    from assay.conformance.report.report import Report


@dataclass
class Engagement:
    """One kernel in one class, loaded when its first test runs.

    waiting: its families that this process may still have to judge.  workers: how many processes share them.
    """

    kernel: str
    precision: str
    arguments: dict[str, Any]
    waiting: set[str]
    workers: int
    stack: ExitStack
    families: ByFamily | None = None

    def report(self, family: str) -> Report:
        """The judgement of one family, or of the whole level where it has no name."""
        if not family:
            return assay.check(self.kernel, precision=self.precision, **self.arguments)
        if self.families is None:
            said = self.arguments
            limits = {"seconds": said.get("call_seconds"), "memory": said.get("memory")}
            given = {name: value for name, value in limits.items() if value is not None}
            loading = {name: said[name] for name in ("framework", "device", "options", "isolate")}
            kernel = engaged(
                self.kernel,
                said["problem"],
                self.precision,
                reproducers=said.get("reproducers"),
                limits=Limits(**given),
                **loading,
            )
            judge = self.stack.enter_context(kernel)
            self.families = ByFamily(judge, said["level"], said["seed"], said["seconds"])
        left = -(-len(self.waiting) // self.workers)  # others run theirs at the same time
        self.waiting.discard(family)
        return self.families.report(family, left=max(left, 1))


@dataclass
class Engagements:
    """The kernel under judgement: the next one is loaded when this one has been left."""

    stack: ExitStack
    request: pytest.FixtureRequest
    test: Asked | None = None
    engagement: Engagement | None = None

    def of(self, test: Asked) -> Engagement:
        if self.engagement is not None and self.test is not None and self.test.same_kernel(test):
            return self.engagement
        self.stack.close()
        config, items = self.request.config, self.request.session.items
        arguments: dict[str, Any] = {**settings(config), "problem": test.problem}
        if not test.family:
            arguments["options"] = {**dict.fromkeys(known_findings(test.kernel), "no"), **arguments["options"]}
        tests = [item.callspec.params.get("test") for item in items if hasattr(item, "callspec")]
        waiting = {other.family for other in tests if isinstance(other, Asked) and other.same_kernel(test)}
        workers = getattr(config, "workerinput", {}).get("workercount", 1)
        made = Engagement(test.kernel, test.precision, arguments, waiting, workers, self.stack)
        self.test, self.engagement = test, made
        return made


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    metafunc.parametrize(
        "test",
        [
            pytest.param(test, id=test.id, marks=[pytest.mark.xfail(reason=test.known)] if test.known else [])
            for test in asked(metafunc.config)
        ],
    )


@pytest.fixture(scope="session")
def engagements(request: pytest.FixtureRequest) -> Iterator[Engagements]:
    with ExitStack() as stack, shared():
        yield Engagements(stack, request)


@pytest.mark.filterwarnings("ignore")  # a framework's warnings are no verdict
def test_kernel_conforms(test: Asked, engagements: Engagements, request: pytest.FixtureRequest) -> None:
    report = engagements.of(test).report(test.family)
    if report.failures:
        if reason := test.known_as(report.diagnosis):
            pytest.xfail(reason)
        why = report.failures[0].sentence
        if report.diagnosis:
            why = behaviour(report.diagnosis[0])
            request.node.user_properties.append((DIAGNOSIS, why))
        pytest.fail(f"{why}\n\n{report.to_text()}", pytrace=False)
    # of others it may be that nothing of the family can be asked of the kernel
    if not report.ran and not report.incomplete[0].family and test.family not in ("", REPEATED):
        pytest.skip(not_judged(report) or "nothing that the kernel can be asked for, or no time: --assay-seconds")
    missing = "; ".join(never_ran(report))
    if missing and request.config.getoption("assay_allow_incomplete"):
        pytest.skip(missing)
    if missing and test.family and all(gap.late for gap in report.incomplete):
        cases = sum(case.reason == OUT_OF_TIME for case in report.cases)
        request.node.user_properties.append((LATE, (cases, seconds_missing(report.cases))))
        pytest.skip(f"INCOMPLETE: no time for {cases} case{'s' * (cases != 1)}")
    if missing:
        pytest.fail(f"{missing}\n\n{report.to_text()}", pytrace=False)
