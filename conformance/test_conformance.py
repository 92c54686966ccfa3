"""Kernels against the specification: ``pytest conformance``, elsewhere ``pytest --pyargs assay.conformance``.

The kernels are those of ``--assay-kernel``, else every built-in target that is installed, in the classes that it
documents, less what is known to be wrong in them; ``--assay-problem``, ``--assay-precision``, ``--assay-level``,
``--assay-seed``, ``--assay-framework`` and ``--assay-option`` say how.  A kernel that declined a whole family fails,
unless ``--assay-allow-incomplete``.
"""

from __future__ import annotations

from typing import Any

import pytest

import assay
from assay.conformance.interface.targets import known_findings
from assay.conformance.plugin import asked, settings
from assay.conformance.report.words import headline, never_ran


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    tests = asked(metafunc.config)
    names = ["-".join(filter(None, test)) for test in tests]
    metafunc.parametrize(("problem", "kernel", "precision"), tests, ids=names)


@pytest.mark.filterwarnings("ignore")  # a framework's warnings are no verdict
def test_kernel_conforms(problem: str | None, kernel: str, precision: str, request: pytest.FixtureRequest) -> None:
    arguments: dict[str, Any] = {**settings(request.config), "problem": problem}
    if request.config.getoption("assay_kernel") is None:
        arguments["options"] = {**dict.fromkeys(known_findings(kernel), "no"), **arguments["options"]}
    report = assay.check(kernel, precision=precision, **arguments)
    if report.incomplete and not report.failures and request.config.getoption("assay_allow_incomplete"):
        pytest.skip("; ".join(never_ran(report)))
    if not report.passed:
        pytest.fail(f"{headline(report)}\n\n{report.to_text()}", pytrace=False)  # the summary shows the first line
