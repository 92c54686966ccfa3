"""Kernels against the specification: ``pytest conformance``, elsewhere ``pytest --pyargs assay.conformance``.

The kernels are those of ``--assay-kernel`` or of the project's ``[tool.assay]``, with a test for each family; else
every built-in target that is installed, in the classes that it documents, less what is known to be wrong in them.  A
kernel that declined a whole family fails, unless ``--assay-allow-incomplete``.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

import assay
from assay.conformance.call.process import Limits
from assay.conformance.engagement import engaged
from assay.conformance.interface.targets import known_findings
from assay.conformance.judge.by_family import ByFamily
from assay.conformance.judge.level import REPEATED
from assay.conformance.plugin import DIAGNOSIS, asked, settings
from assay.conformance.report.words import behaviour, never_ran, not_judged

if TYPE_CHECKING:
    from collections.abc import Iterator

    from assay.conformance.report.report import Report


@dataclass
class Engagement:
    """One kernel in one class, loaded when its first test runs, for all of its tests that this process runs."""

    kernel: str
    precision: str
    arguments: dict[str, Any]
    waiting: set[str]
    workers: int
    stack: ExitStack = field(default_factory=ExitStack)
    families: ByFamily | None = None

    def report(self, family: str) -> Report:
        """The judgement of one family, or of the whole level where it has no name."""
        if not family:
            return assay.check(self.kernel, precision=self.precision, **self.arguments)
        if self.families is None:
            said = self.arguments
            limits = {"seconds": said.get("call_seconds"), "memory": said.get("memory")}
            given = {name: value for name, value in limits.items() if value is not None}
            loading = {name: said[name] for name in ("framework", "options", "isolate")}
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


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    tests = asked(metafunc.config)
    metafunc.parametrize(
        ("engagement", "family"),
        [
            pytest.param(
                (test.problem, test.kernel, test.precision),
                test.family,
                id=test.id,
                marks=[pytest.mark.xfail(reason=test.known)] if test.known else [],
            )
            for test in tests
        ],
        indirect=["engagement"],
        scope="session",
    )


@pytest.fixture(scope="session")
def engagement(request: pytest.FixtureRequest) -> Iterator[Engagement]:
    problem, kernel, precision = request.param
    arguments: dict[str, Any] = {**settings(request.config), "problem": problem}
    if not any(test.family for test in asked(request.config)):
        arguments["options"] = {**dict.fromkeys(known_findings(kernel), "no"), **arguments["options"]}
    waiting = {
        item.callspec.params["family"]
        for item in request.session.items
        if isinstance(item, pytest.Function)
        and getattr(item, "callspec", None) is not None
        and item.callspec.params.get("engagement") == request.param
    }
    workers = getattr(request.config, "workerinput", {}).get("workercount", 1)
    made = Engagement(kernel, precision, arguments, waiting, workers)
    with made.stack:
        yield made


@pytest.mark.filterwarnings("ignore")  # a framework's warnings are no verdict
def test_kernel_conforms(engagement: Engagement, family: str, request: pytest.FixtureRequest) -> None:
    report = engagement.report(family)
    if report.failures:
        why = report.failures[0].sentence
        if report.diagnosis:
            why = behaviour(report.diagnosis[0])
            request.node.user_properties.append((DIAGNOSIS, why))
        pytest.fail(f"{why}\n\n{report.to_text()}", pytrace=False)
    if not report.ran and not report.incomplete[0].family and family not in ("", REPEATED):  # of others it may be that
        reasons = [reason for _, reason in not_judged(report)]
        pytest.skip("; ".join(reasons) or "nothing that the kernel can be asked for, or no time: --assay-seconds")
    missing = "; ".join(never_ran(report))
    if missing and request.config.getoption("assay_allow_incomplete"):
        pytest.skip(missing)
    if missing:
        pytest.fail(f"{missing}\n\n{report.to_text()}", pytrace=False)
