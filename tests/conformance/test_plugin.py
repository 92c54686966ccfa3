"""The pytest plugin, in runs of pytest of its own: the marker, the conformance tests on given kernels, claims."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

KERNELS = """
import numpy as np

def good(query, key, value, *, scale):
    q, k, v = (array.astype(np.float64) for array in (query, key, value))
    k, v = (np.repeat(array, q.shape[1] // k.shape[1], axis=1) for array in (k, v))
    scores = scale * (q @ k.swapaxes(-1, -2))
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return ((weights @ v) / weights.sum(axis=-1, keepdims=True)).astype(query.dtype)

def two_arrays(query, key): ...

def declines_large_numbers(query, key, value, *, scale):
    if abs(query).max() > 100:
        raise NotImplementedError("numbers beyond 100")
    return good(query, key, value, scale=scale)

def aborts(points):
    import os
    os.abort()
"""

MARKED = """
import pytest

@pytest.mark.claim("ATT-1")
@pytest.mark.parametrize("x", [0, 1])
def test_some(x):
    assert x == 0

@pytest.mark.claim("ATT-1")
@pytest.mark.claim("TOL-0")
class TestGroup:
    def test_good(self): ...
    def test_skipped(self):
        pytest.skip("not here")

@pytest.fixture
def broken():
    raise RuntimeError

@pytest.mark.claim("TOL-0")
def test_broken(broken): ...

def test_unmarked(): ...
"""

OUTCOMES = {
    "ATT-1": [
        {"nodeid": "test_marked.py::TestGroup::test_good", "outcome": "passed"},
        {"nodeid": "test_marked.py::TestGroup::test_skipped", "outcome": "skipped"},
        {"nodeid": "test_marked.py::test_some[0]", "outcome": "passed"},
        {"nodeid": "test_marked.py::test_some[1]", "outcome": "failed"},
    ],
    "TOL-0": [
        {"nodeid": "test_marked.py::TestGroup::test_good", "outcome": "passed"},
        {"nodeid": "test_marked.py::TestGroup::test_skipped", "outcome": "skipped"},
        {"nodeid": "test_marked.py::test_broken", "outcome": "failed"},
    ],
}


def conformance(pytester: pytest.Pytester, *arguments: str, apart: bool = False) -> pytest.RunResult:
    """``pytest --pyargs assay.conformance`` in a folder with nothing but the module ``kernels``.

    apart: in a process of its own, which takes a second to begin.
    """
    pytester.makepyfile(kernels=KERNELS)
    pytester.syspathinsert()
    sys.modules.pop("kernels", None)  # that of another test in this process
    run = pytester.runpytest_subprocess if apart else pytester.runpytest_inprocess
    return run("--pyargs", "assay.conformance", "-p", "no:cacheprovider", *arguments)


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> str:
    """The option that asks for a toy problem, which such a run of pytest can import."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    return "--assay-problem=toy.suites:DOUBLING"


def test_importing_the_plugin_imports_almost_nothing() -> None:
    code = "import sys, pytest; had = set(sys.modules); import assay.conformance.plugin; print(*set(sys.modules) - had)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    outside = {name.split(".")[0] for name in done.stdout.split()} - set(sys.stdlib_module_names)
    assert {name for name in outside if not name.startswith("__editable__")} == {"assay"}


def test_marker_is_registered(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_marked=MARKED)
    result = pytester.runpytest_subprocess("--strict-markers", "--import-mode=importlib", "-W", "error")
    result.assert_outcomes(passed=3, failed=1, skipped=1, errors=1)
    assert not list(pytester.path.glob("*.json"))


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_claims_are_written(pytester: pytest.Pytester, workers: tuple[str, ...]) -> None:
    pytester.makepyfile(test_marked=MARKED)
    if workers:
        pytest.importorskip("xdist")
    pytester.runpytest_subprocess("--assay-claims", "claims.json", *workers)
    assert json.loads((pytester.path / "claims.json").read_text(encoding="utf-8")) == OUTCOMES


def test_correct_kernel_passes(pytester: pytest.Pytester) -> None:
    result = conformance(
        pytester,
        "--assay-kernel=kernels:good",
        "--assay-precision=float32,bfloat16",
        "--strict-markers",
        "--import-mode=importlib",
        "-Werror",
        "-v",
        "-k",
        "scale or heads or window",  # of all families it is seen in tests/conformance/test_plugin_families.py
        apart=True,
    )
    outcomes = result.parseoutcomes()
    assert set(outcomes) == {"passed", "skipped", "deselected"}
    result.stdout.fnmatch_lines(["*kernels:good-float32-scale* PASSED*", "*kernels:good-bfloat16-scale* PASSED*"])


def test_wrong_kernel_fails_with_the_report(pytester: pytest.Pytester, toy: str) -> None:
    kernels = ("--assay-kernel=toy.kernels:ignores_the_factor", "--assay-kernel=toy.kernels:doubled", toy)
    result = conformance(pytester, *kernels, "--assay-precision=float32", "--assay-seed=1")
    failed = re.findall(r"FAILED \S*\[(?:toy.suites:DOUBLING-)?(\S+?)\]", result.stdout.str())
    assert {name.partition("-")[0] for name in failed} == {"toy.kernels:ignores_the_factor"}
    lines = [
        "FAILED toy.kernels:ignores_the_factor  toy.suites:DOUBLING  float32  smoke  seed 1*",
        "*replay*assay replay *",
    ]
    result.stdout.fnmatch_lines(lines)
    assert "Traceback" not in result.stdout.str()


@pytest.mark.parametrize(("allowed", "outcome"), [((), "failed"), (("--assay-allow-incomplete",), "skipped")])
def test_incomplete_kernel_fails_unless_that_is_allowed(
    pytester: pytest.Pytester, allowed: tuple[str, ...], outcome: str
) -> None:
    result = conformance(
        pytester, "--assay-kernel=kernels:declines_large_numbers", "-rs", "-k", "raw-products", *allowed
    )
    result.assert_outcomes(**{outcome: 1})
    result.stdout.fnmatch_lines(["*never ran: raw-products: 1 case not judged, numbers beyond 100*"])


@pytest.mark.skipif(sys.platform != "linux", reason="isolation needs Linux")
def test_isolation_turns_the_abort_of_a_kernel_into_a_failed_test(pytester: pytest.Pytester, toy: str) -> None:
    kernels = ("--assay-kernel=kernels:aborts", "--assay-kernel=toy.kernels:doubled", toy)
    result = conformance(pytester, *kernels, "--assay-isolate", "--assay-precision=float32")
    assert {"passed", "failed"} <= set(result.parseoutcomes())
    result.stdout.fnmatch_lines(["*crashed: SIGABRT*", "*replay*assay replay *--isolate*"])


def test_without_kernels_every_installed_built_in_is_judged(pytester: pytest.Pytester) -> None:
    result = conformance(pytester, "--collect-only", "-q")
    for pair in ("attention-assay:cpu-float64", "attention-assay:cpu-float32"):
        result.stdout.fnmatch_lines([f"*::test_kernel_conforms?{pair}]"])
    narrowed = conformance(pytester, "--collect-only", "-q", "--assay-precision=float64")
    assert "float32" not in narrowed.stdout.str()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--assay-kernel=kernels:nope",), "module 'kernels' has no 'nope'"),
        (("--assay-kernel=absent:kernel",), "no module 'absent'"),
        (("--assay-kernel=kernels:two_arrays",), "has the arrays of no problem"),
        (("--assay-kernel=kernels:two_arrays", "--assay-problem=attention"), "wrong signature"),
        (("--assay-kernel=kernels:good", "--assay-precision=float31"), "unknown precision class 'float31'"),
        (("--assay-level=most",), "unknown level 'most'"),
        (("--assay-kernel=kernels:good", "--assay-option=colour=red"), "unknown option colour=red"),
        (("--assay-option=colour",), "option 'colour': expected NAME=VALUE"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_usage_is_one_line(pytester: pytest.Pytester, arguments: tuple[str, ...], sentence: str) -> None:
    result = conformance(pytester, *arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    lines = [line for line in result.stderr.lines if line]
    assert len(lines) == 1
    assert lines[0].startswith("ERROR: assay: ")
    assert sentence in lines[0]
