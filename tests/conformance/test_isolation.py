"""Kernels that misbehave: each is one clear line and the right exit status, and the judge goes on."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from bank import bad
from toy.kernels import doubled, ignores_the_factor
from toy.suites import Doubling

import assay
from assay.cli import main
from assay.conformance.call import wire
from assay.conformance.call.isolation import Isolated, Limits, isolated, leaks
from assay.conformance.interface.suite import Case, Family
from assay.conformance.interface.targets import kernel_of
from assay.conformance.interface.usage import UsageError
from assay.conformance.judge.judge import Judge
from assay.spec.floats import dtype_named
from assay.spec.precision import precision

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="isolation needs Linux")

FAMILY = Family("test", "misbehaviour that is known", "here")
LIMITS = ("--isolate", "--memory", "60", "--call-seconds")
TOY = Doubling.problem
HANGING = ("hang", "prints_without_end", "stops_answering")


def instance(n: int = 17, factor: float = 2.0) -> Doubling:
    return Doubling(np.random.default_rng(7).standard_normal(n).astype(np.float32), factor)


def judge_of(process: Isolated, name: str = "float32") -> Judge:
    return Judge(process.kernel, precision(name), limits=process.limits, process=process)


def here(kernel: Any) -> Judge:
    return Judge(kernel_of(kernel, TOY), precision("float32"))


@pytest.fixture
def replay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """``assay replay`` of one instance: exit status, and what it says."""

    def replayed(target: str, *options: str, factor: float = 2.0) -> tuple[int, str]:
        instance(factor=factor).save(tmp_path / "instance.npz")
        words = ["replay", str(tmp_path / "instance.npz"), "--problem", TOY, "--target", target, *options]
        status = main(words)
        return status, capsys.readouterr().out

    return replayed


# --- one line, one exit status ----------------------------------------------------------------------------------------

#: The first call of a shape, which may have to be compiled, has three times the seconds of a call.
FAULTS = [
    ("segfaults", "crashed: SIGSEGV"),
    ("aborts", r"crashed: SIGABRT; stderr: 'free\(\): invalid pointer'"),
    ("leaves", "ended its process: exit status 3"),
    ("exits", r"ended the program: SystemExit\('no device'\) \(bad.py:\d+\)"),
    ("hangs", "did not return within 3 s$"),
    ("hangs_in_c", "did not return within 3 s, and had to be killed"),
    ("prints", "printed to stdout: 'tile 17'"),
    ("prints_in_c", "printed to stdout: 'block 7'"),
    ("writes_to_stdout", r"printed to stdout: 'grid \(1, 2\)'"),
    ("prints_without_end", "did not return within 3 s"),
    ("leaks", r"leaks memory: \d+\.\d MiB in 512 calls with the same input, \d+(\.\d+)? KiB each"),
    ("leaks_in_c", r"leaks memory: \d+\.\d MiB in 512 calls"),
    ("takes_much", "took more than 60 MiB of memory"),
    ("takes_without_end", "took more than 60 MiB of memory"),
    ("runs_out", r"ran out of memory: cannot allocate 3 TiB \(bad.py:\d+\)"),
    ("raises", r"raised IndexError: tile 3 of 2 \(bad.py:\d+\)"),
    ("mutates", "changed its input 'points'"),
    ("returns_a_list", r"returned a list of 2, expected a tuple \(doubled, total\)"),
    ("adds_an_axis", r"returned doubled of shape \(17, 1\), expected \(17,\)"),
    ("widens", "returned doubled as float64, expected float32"),
    ("wrong_the_second_time", r"doubled\[.*\] is .*: off by .* tolerances"),
    ("forges_a_reply", "wrote into the judge's channel: its first bytes are not those of a reply"),
    ("stops_answering", "did not return within 3 s, and had to be killed|ended its process"),
]


@pytest.mark.parametrize(("kernel", "line"), FAULTS, ids=[kernel for kernel, _ in FAULTS])
def test_a_bad_kernel_is_one_line_and_exit_status_1(kernel: str, line: str, replay: Any) -> None:
    seconds = "1" if kernel.startswith(HANGING) else "30"  # the machine may be busy
    status, out = replay(f"bank.bad:{kernel}", *LIMITS, seconds)
    assert status == 1
    told = [each for each in out.splitlines() if each.startswith("1. ")]
    assert len(told) == 1
    assert re.search(line, told[0]), told
    assert "Traceback" not in out
    assert re.search(r"^replay: assay replay .* --isolate --call-seconds \d+ --memory 60$", out, re.MULTILINE)


HARMLESS = [
    ("right", ""),
    ("complains", ""),
    ("keeps_a_cache", ""),
    ("reserves_much", ""),
    ("starts_threads", ""),
    ("holds_in_a_cycle", ""),
]


@pytest.mark.parametrize(("kernel", "note"), HARMLESS, ids=[kernel for kernel, _ in HARMLESS])
def test_a_kernel_that_is_only_unusual_passes(kernel: str, note: str, replay: Any) -> None:
    begun = time.monotonic()
    status, out = replay(f"bank.bad:{kernel}", *LIMITS, "30")
    assert status == 0, out
    assert time.monotonic() - begun < 60  # not the thousand seconds of the threads that one has started


def test_a_view_of_an_input_is_a_note(replay: Any) -> None:
    status, out = replay("bank.bad:returns_a_view", "--isolate", factor=1.0)
    assert status == 0
    assert "note: returned a view of its input 'points'" in out


@pytest.mark.parametrize("kernel", ["raises", "mutates", "returns_a_list", "adds_an_axis", "widens", "hangs", "exits"])
def test_without_isolation_what_python_can_see_is_the_same_line(kernel: str, replay: Any) -> None:
    status, out = replay(f"bank.bad:{kernel}", "--call-seconds", "0.5")
    assert status == 1
    line = dict(FAULTS)[kernel].replace("3 s$", "1.5 s$")
    assert any(re.search(line, each) for each in out.splitlines() if each.startswith("1. "))
    assert "--isolate" not in out


def test_without_isolation_what_a_kernel_prints_is_a_note_and_not_in_the_report(replay: Any) -> None:
    status, out = replay("bank.bad:prints")
    assert status == 0
    assert "note: prints to stdout" in out
    assert "tile" not in out


# --- what is told of repeated calls -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("kernel", "held"), [("keeps_its_input", True), ("holds_in_a_cycle", False), ("right", False)])
def test_a_kernel_that_keeps_its_input_is_told_of(kernel: str, held: bool) -> None:
    found = here(getattr(bad, kernel)).outcome(Case("case", FAMILY, instance()), held=True)
    assert found.status == "passed"
    assert ("keeps a reference to its input 'points' after the call" in found.notes) is held


@pytest.fixture
def kept() -> Iterator[None]:
    bad.KEPT.clear()
    yield
    bad.KEPT.clear()


@pytest.mark.usefixtures("kept")
def test_a_second_answer_that_is_wrong_fails_and_says_so(tmp_path: Path) -> None:
    report = assay.check("bank.bad:wrong_the_second_time", TOY, level="smoke", reproducers=tmp_path)
    assert not report.passed
    assert any(f.sentence.startswith("called a second time with the same input: doubled[") for f in report.failures)


@pytest.mark.usefixtures("kept")
def test_bits_that_vary_within_the_tolerance_are_a_note() -> None:
    report = assay.check("bank.bad:varies", TOY, level="smoke")
    assert report.passed
    assert any("differ in bits" in note for note in report.notes)


@pytest.mark.parametrize(
    ("resident", "leaking"),
    [
        ([0, 8, 16, 24, 32], True),
        ([0, 8, 17, 23, 32], True),
        ([0, 32, 32, 32, 32], False),  # a workspace, once
        ([0, 16, 24, 28, 30], False),  # it is coming to rest
        ([0, 8, 16, 24, 24], False),  # it has come to rest
        ([0, 0.25, 0.5, 0.75, 1], False),  # small beside what memory does anyway
        ([0, -1, 0, 1, 0], False),
    ],
)
def test_only_steady_growth_is_a_leak(resident: list[float], leaking: bool) -> None:
    assert leaks([int(size * (1 << 20)) for size in resident], 128, 4096) is leaking


# --- the run goes on --------------------------------------------------------------------------------------------------


def test_a_kernel_that_always_crashes_is_given_up_after_three(capsys: pytest.CaptureFixture[str]) -> None:
    report = assay.check("bank.bad:segfaults", TOY, level="smoke", isolate=True)
    assert [finding.kind for finding in report.failures] == ["crashed"] * 3
    asked = [case for case in report.cases if case.reason != "lacks factor" and ", beside " not in case.name]
    assert {case.reason for case in asked if case.status == "skipped"} == {"not called again: crashed 3 times"}
    assert report.failures[0].instance.points.shape == (1,)
    assert capsys.readouterr().out == ""


def test_after_a_crash_the_next_case_is_judged() -> None:
    with isolated("bank.bad:segfaults_on_many_points", TOY) as process:
        judge = judge_of(process)
        found = [judge.outcome(Case("case", FAMILY, instance(n))) for n in (5, 40, 5, 33, 32)]
    assert [each.kind for each in found] == ["", "crashed", "", "crashed", ""]


def test_a_crash_after_the_call_is_seen_before_the_next() -> None:
    with isolated("bank.bad:dies_later", TOY) as process:
        judge, case = judge_of(process), Case("case", FAMILY, instance())
        assert judge.outcome(case).status == "passed"
        time.sleep(0.5)
        assert judge.outcome(case).sentence == "crashed between two calls: SIGABRT"
        assert judge.outcome(case).status == "passed"


def test_nothing_that_a_kernel_started_outlives_its_judge() -> None:
    with isolated("bank.bad:starts_threads", TOY) as process:
        assert judge_of(process).outcome(Case("case", FAMILY, instance())).status == "passed"
        group = process.group
        assert group is not None
        os.killpg(group, 0)
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.02)
    pytest.fail("a process is left")


def test_a_reproducer_crashes_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = assay.check("bank.bad:segfaults", TOY, level="smoke", isolate=True, reproducers=tmp_path)
    words = shlex.split(report.failures[0].reproducer)
    assert words[-1] == "--isolate"
    assert main(words[1:]) == 1
    assert "1. crashed: SIGSEGV" in capsys.readouterr().out


# --- the same verdicts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", [doubled, ignores_the_factor], ids=lambda kernel: kernel.__name__)
@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_verdicts_in_a_process_of_its_own_are_those_in_ours(kernel: Any, name: str) -> None:
    storage = dtype_named(precision(name).storage)
    sizes = [instance(), instance(40, 3.0), instance(1)]
    examples = [each.replace(points=each.points.astype(storage)) for each in sizes]
    ours = Judge(kernel_of(kernel, TOY), precision(name))
    with isolated(kernel, TOY) as process:
        theirs = judge_of(process, name)
        for each in examples:
            for huge in (False, True):
                here, there = (
                    judge.outcome(Case("case", FAMILY, each), huge_canaries=huge) for judge in (ours, theirs)
                )
                assert (here.status, here.ratio, here.sentence) == (there.status, there.ratio, there.sentence)
                assert here.failed is (kernel is ignores_the_factor and each.factor == 3)
                for output in ("doubled", "total"):
                    assert here.values[output].dtype == there.values[output].dtype == storage
                    assert np.array_equal(here.values[output], there.values[output])


@pytest.mark.parametrize(
    ("target", "problem"),
    [("toy:doubling", TOY), pytest.param("numpy:attention", "attention", marks=pytest.mark.thorough)],
)
def test_a_whole_level_is_the_same_in_a_process_of_its_own(target: str, problem: str) -> None:
    reports = [assay.check(target, problem, level="smoke", seed=3, isolate=isolate) for isolate in (False, True)]
    apart = "calls at the same time are not made in an isolated process"
    ours, theirs = (
        [(c.name, c.status, c.ratio, c.reason) for c in report.cases if ", beside " not in c.name] for report in reports
    )
    assert reports[0].passed
    assert ours == theirs
    assert {c.reason for c in reports[1].cases if ", beside " in c.name} <= {apart}
    assert "memory: steady over repeated calls" in reports[1].notes


def test_the_kernel_of_a_file_is_not_loaded_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere.py").write_text(
        f"import os\nassert os.getpid() != {os.getpid()}\nfrom bank.bad import right\n", encoding="utf-8"
    )
    monkeypatch.chdir(tmp_path)
    with isolated("elsewhere.py:right", TOY) as process:
        assert judge_of(process).outcome(Case("case", FAMILY, instance())).status == "passed"


def test_a_callable_is_found_by_its_name() -> None:
    with isolated(bad.right, TOY) as process:
        assert process.kernel.name == "bank.bad:right"


# --- usage and interruption -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kernel", "words"),
    [
        (lambda points: None, "another process cannot import it: give module:function instead"),
        ("bank.bad:absent", "module 'bank.bad' has no 'absent'"),
        ("toy:doublin", "did you mean toy:doubling"),
    ],
)
def test_what_cannot_be_isolated_is_said_in_one_line(kernel: Any, words: str) -> None:
    with pytest.raises(UsageError, match=re.escape(words)) as caught:
        assay.check(kernel, TOY, isolate=True)
    assert "\n" not in str(caught.value)


def test_a_module_that_crashes_when_it_is_imported_is_bad_usage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.py").write_text("import os\nos.abort()\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert main(["check", "broken.py:kernel", "--isolate", "--problem", TOY]) == 2
    assert capsys.readouterr().err == "assay: broken.py:kernel: importing it crashed: SIGABRT\n"


@pytest.mark.parametrize("limits", [{"seconds": 0.0}, {"seconds": float("nan")}, {"memory": 0}])
def test_limits_are_positive(limits: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="expected a positive number"):
        Limits(**limits)


def test_memory_without_isolation_is_bad_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "toy:doubling", "--problem", TOY, "--memory", "100"]) == 2
    assert "--memory: needs --isolate" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("sent", "status", "said"), [(signal.SIGINT, 130, b"assay: interrupted\n"), (signal.SIGKILL, -signal.SIGKILL, b"")]
)
def test_the_end_of_the_judge_ends_the_kernel_too(
    sent: signal.Signals, status: int, said: bytes, tmp_path: Path
) -> None:
    instance().save(tmp_path / "instance.npz")
    command = [sys.executable, "-m", "assay", "replay", str(tmp_path / "instance.npz"), "--isolate"]
    command += ["--problem", TOY]
    started = tmp_path / "started"
    (tmp_path / "waits.py").write_text(
        "import os, pathlib, time\n"
        "def kernel(points):\n"
        f"    pathlib.Path({str(tmp_path / 'written')!r}).write_text(str(os.getpid()))\n"
        f"    os.rename({str(tmp_path / 'written')!r}, {str(started)!r})\n"
        "    time.sleep(1000)\n",
        encoding="utf-8",
    )
    command += ["--target", "waits.py:kernel"]
    surroundings = {**os.environ, "PYTHONPATH": str(Path(bad.__file__).parents[1])}  # where the toy lies
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, env=surroundings)
    end = time.monotonic() + 60
    while not started.exists() and time.monotonic() < end:
        time.sleep(0.05)
    process.send_signal(sent)
    _, error = process.communicate(timeout=120)
    assert (process.returncode, error) == (status, said)
    kernel = int(started.read_text())
    end = time.monotonic() + 60
    while _runs(kernel) and time.monotonic() < end:
        time.sleep(0.05)
    assert not _runs(kernel)


def _runs(number: int) -> bool:
    """Whether there is such a process, and not as one that has ended and was not waited for."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


# --- messages ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [b"x" * 64, wire.reply([1, 2]), wire.reply({}, b"12345678")[:-8] + b"1234567890", wire.reply({}, b"0" * 99)],  # type: ignore[arg-type]
)
def test_what_is_no_reply_is_refused(data: bytes) -> None:
    with pytest.raises(wire.Nonsense):
        wire.unpacked(data, 8)


def test_a_reply_is_read_when_it_is_whole() -> None:
    whole = wire.reply({"kind": ""}, b"12345678")
    assert all(wire.unpacked(whole[:length], 8) is None for length in range(len(whole)))
    assert wire.unpacked(whole, 8) == ({"kind": ""}, b"12345678")
