"""``assay check --jobs``: the built-ins are judged in several processes, with the output of one."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from assay.cli.check import _plan
from assay.cli.jobs import in_processes
from assay.conformance.plugin import asked
from assay.conformance.report.reading import from_json

if TYPE_CHECKING:
    from pathlib import Path

    from assay.conformance.report.report import Report

Run = Callable[..., tuple[int, str, str]]

#: A problem with built-ins of its own, of which one is wrong, one ends its process and one takes very long.
OURS = """
import os, sys, time
from dataclasses import replace
from pathlib import Path
from assay.conformance.interface.kernel import Kernel
from assay.conformance.interface.targets import Target
from toy.kernels import doubled, ignores_the_factor
from toy.suites import DOUBLING

def good(points, *, factor=2.0):
    Path(f"called-in-{os.getpid()}").touch()
    return doubled(points, factor=factor)

def ends(points, *, factor=2.0):
    os.kill(os.getpid(), 9)

def sleeps(points, *, factor=2.0):
    Path("asleep").touch()
    time.sleep(600)

def targets(*functions):
    def load(function):
        return lambda: Kernel(f"toy:{function.__name__}", function, keywords=frozenset({"factor"}))
    return {
        f"toy:{one.__name__}": Target(f"toy:{one.__name__}", ("float32", "float64"), (), "toy", load(one))
        for one in functions
    }

SUITE = replace(DOUBLING, problem="ours:SUITE", targets=targets(good, ignores_the_factor))
ENDING = replace(DOUBLING, problem="ours:ENDING", targets=targets(good, ends))
SLEEPING = replace(DOUBLING, problem="ours:SLEEPING", targets=targets(good, sleeps))
"""


@pytest.fixture
def ours(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """``assay check`` over the built-ins of such a problem."""
    (tmp_path / "ours.py").write_text(OURS, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)

    def ran(name: str, *words: str) -> tuple[int, str, str]:
        return run("check", "--problem", f"ours:{name}", "--level", "smoke", *words)

    return ran


def lasting(text: str) -> str:
    """Reports and their summary without the seconds that they took."""
    return re.sub(r" +\d+\.\d( s\b|$)", "", text, flags=re.MULTILINE)


def cases(report: Report) -> list[Any]:
    return [report.kernel, report.precision, report.diagnosis, [(c.name, c.status, c.ratio) for c in report.cases]]


def test_two_processes_give_the_reports_and_the_lines_of_one_in_the_same_order(
    ours: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal too, where a bar is shown on stderr."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    said, reports, processes, files = [], [], [], []
    for jobs, title in (("1", "toy:good ours:SUITE float32"), ("2", "4 judgements")):
        found = tmp_path / f"found{jobs}"
        shutil.rmtree(tmp_path / ".assay", ignore_errors=True)  # what failed is remembered, and tried first
        status, out, error = ours("SUITE", "--jobs", jobs, "--json", "r.json", "--reproducers", found.name)
        assert (status, title in error) == (1, True)
        said.append(lasting(out).replace(found.name, "found"))
        reports.append([cases(one) for one in from_json((tmp_path / "r.json").read_text(encoding="utf-8"))])
        processes.append({path.name for path in tmp_path.glob("called-in-*")})
        files.append(sorted(str(path.relative_to(found)) for path in found.rglob("*")))
    assert said[0] == said[1]
    assert said[0].count("PASSED") == 4  # two lines, and two of the table
    assert reports[0] == reports[1]
    assert [kernel for kernel, *_ in reports[0]] == ["toy:good"] * 2 + ["toy:ignores_the_factor"] * 2
    assert files[0] == files[1]
    assert {name.partition("/")[0] for name in files[0]} == {
        f"toy-ignores-the-factor-ours-SUITE-{precision}" for precision in ("float32", "float64")
    }  # nothing is left of those that passed
    assert processes[0] == {f"called-in-{os.getpid()}"}
    assert processes[1] > processes[0]


def test_a_kernel_that_ends_its_process_is_one_line(ours: Run) -> None:
    status, _, error = ours("ENDING", "--jobs", "2")
    assert (status, error) == (
        2, "assay: a process of --jobs ended: a kernel that ends its process needs --isolate\n"
    )  # fmt: skip


def test_an_interrupted_run_says_how_far_it_got_resumes_and_leaves_no_process(ours: Run, tmp_path: Path) -> None:
    """The interruption comes as from a keyboard, to every process of the group."""
    words = ("check", "--problem", "ours:SLEEPING", "--level", "smoke", "--jobs", "2", "--json", "r.json")
    code = f"import sys; from assay.cli import main; sys.exit(main({list(words)!r}))"
    path = os.pathsep.join([str(tmp_path), *sys.path])
    process = subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, text=True, cwd=tmp_path,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    passed = [process.stdout.readline(), process.stdout.readline()]
    while not (tmp_path / "asleep").exists():
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate()
    assert [line.split()[:2] for line in passed] == [["PASSED", "toy:good"]] * 2
    assert process.returncode == 130
    assert error == (
        "assay: interrupted in toy:sleeps ours:SLEEPING float32 after 2 of 4 judgements; "
        "2 of 4 reports are in r.json, --resume goes on from there\n"
    )
    assert ends(process.pid)


def ends(group: int) -> bool:
    """Whether every process of the group is gone soon, which is long before the kernel wakes."""
    for _ in range(600):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("words", [("kernels.py:good", "--jobs", "2"), ("--jobs", "2", "--scheduler", "local")])
def test_what_one_kernel_is_asked_is_shared_out_by_a_scheduler(
    refused: Callable[..., str], words: tuple[str, ...]
) -> None:
    sentence = refused("check", *words)
    assert sentence == "assay: --jobs: shares out the built-ins; the cases of one kernel go to --scheduler local\n"


def test_what_a_process_raises_is_raised_here() -> None:
    assert list(in_processes(int, ["1", "2"], 2)) == [1, 2]
    with pytest.raises(ValueError, match="invalid literal"):
        list(in_processes(int, ["1", "one"], 2))


def test_the_built_ins_that_are_checked_are_those_of_the_conformance_tests(pytestconfig: pytest.Config) -> None:
    """So one of both is enough in CI where every framework is installed."""
    planned = [(one.problem, one.kernel, one.precision) for one in _plan(None, None, None)]
    assert planned
    assert planned == [(one.problem, one.kernel, one.precision) for one in asked(pytestconfig)]
