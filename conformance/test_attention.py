"""Attention kernels against the specification: ``pytest conformance``, elsewhere ``pytest --pyargs assay.conformance``.

The kernels are those of ``--assay-kernel``, else every built-in target that is installed, in the classes that it
documents; ``--assay-precision``, ``--assay-level``, ``--assay-seed``, ``--assay-framework``
and ``--assay-option`` say how.
"""

from __future__ import annotations

import pytest

import assay
from assay.conformance.interface.targets import documented
from assay.conformance.plugin import precisions, settings

PROBLEM = "attention"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    pairs = _pairs(metafunc.config)
    metafunc.parametrize(("kernel", "precision"), pairs, ids=[f"{kernel}-{precision}" for kernel, precision in pairs])


def _pairs(config: pytest.Config) -> list[tuple[str, str]]:
    kernels, classes = config.getoption("assay_kernel"), precisions(config)
    if kernels is not None:
        return [(kernel, precision) for kernel in kernels for precision in classes or ["float32"]]
    return [pair for pair in documented(PROBLEM) if classes is None or pair[1] in classes]


@pytest.mark.filterwarnings("ignore")  # a framework's warnings are no verdict
def test_kernel_conforms(kernel: str, precision: str, request: pytest.FixtureRequest) -> None:
    report = assay.check(kernel, PROBLEM, precision=precision, **settings(request.config))
    if not report.passed:
        pytest.fail(report.to_text(), pytrace=False)
