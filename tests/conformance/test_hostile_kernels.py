"""What a kernel does to the process that it is called in, or to a reader of its errors, decides no verdict."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import assay
from assay.conformance.engagement import engaged
from assay.conformance.interface.suite import Case, Family
from assay.spec.attention import Instance

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from assay.conformance.call.outcome import Outcome

KERNEL = """
import atexit, ctypes, os, sys, threading, time
from os import _exit
import numpy as np
def attention(query, key, value, scale):
    score = scale * (query @ key.swapaxes(2, 3))
    weight = np.exp(score - score.max(3, keepdims=True))
    return (weight / weight.sum(3, keepdims=True) @ value).astype(query.dtype)
def ends(query, key, value, *, scale):
    os._exit(0)
def ends_as_imported(query, key, value, *, scale):
    _exit(0)
def becomes_another(query, key, value, *, scale):
    os.execl("/bin/true", "true")
def ends_in_c(query, key, value, *, scale):
    ctypes.CDLL(None).exit(0)
def ends_later(query, key, value, *, scale):
    atexit.register(_exit, 0)
    return 3 * value
def leaves_a_thread(query, key, value, *, scale):
    if threading.active_count() < 3:
        threading.Thread(target=time.sleep, args=(3600,)).start()
    return 3 * value
def closes_all(query, key, value, *, scale):
    os.closerange(0, 100)
    return 3 * value
def closes_stdout(query, key, value, *, scale):
    sys.__stdout__.close()
    return 3 * value
"""


class Raising(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class Leaving(Exception):
    def __str__(self) -> str:
        raise SystemExit(0)


class Endless(Exception):
    def __str__(self) -> str:
        while True:
            pass


class Coloured(Exception):
    def __str__(self) -> str:
        return "\x1b[2J\x1b[31m" + "red " * 100_000


class Coded:
    def __repr__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (Raising(), "raised Raising: (its text raised RuntimeError)"),
        (Leaving(), "raised Leaving: (its text raised SystemExit)"),
        (Endless(), "raised Endless: (its text does not end)"),
        (Coloured(), "raised Coloured: \ufffd[2J\ufffd[31mred red"),
        (SystemExit(Coded()), "ended the program: SystemExit(Coded)"),
    ],
)
def test_the_text_of_an_exception_is_said_or_its_failure_is(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, words: str
) -> None:
    if isinstance(error, Endless):  # the others have as long as they need on a busy machine
        monkeypatch.setattr("assay.conformance.call.call._TEXT_SECONDS", 0.05)

    def kernel(query: Any, key: Any, value: Any, *, scale: float) -> Any:
        raise error

    report = assay.check(kernel, "attention", level="smoke", seconds=0.5)
    assert not report.passed
    sentences = [finding.sentence for finding in report.failures]
    assert sentences
    assert all(words in sentence and "\x1b" not in sentence for sentence in sentences)


def attention(query: Any, key: Any, value: Any, scale: float) -> Any:
    score = scale * (query @ key.swapaxes(2, 3))
    weight = np.exp(score - score.max(3, keepdims=True))
    return (weight / weight.sum(3, keepdims=True) @ value).astype(query.dtype)


def judged(around: Callable[[], object]) -> Outcome:
    """What becomes of one call of a right kernel that does something besides."""

    def kernel(query: Any, key: Any, value: Any, *, scale: float) -> Any:
        around()
        return attention(query, key, value, scale)

    x = np.ones((1, 1, 2, 2), np.float32)
    with engaged(kernel, "attention") as judge:
        return judge.outcome(Case("one", Family("one", "one", ""), Instance(x, x, x)))


@pytest.mark.parametrize(
    ("ending", "words"),
    [
        (lambda: os._exit(0), "ended the program: os._exit(0) (test_hostile_kernels.py:"),
        (lambda: os.execv("/bin/true", ["true"]), "ended the program: os.execv(…) (test_hostile_kernels.py:"),
        (lambda: os.execlp("true", "true"), "ended the program: os.execv"),
    ],
)
def test_a_kernel_that_ends_the_process_at_once_is_a_finding(ending: Callable[[], object], words: str) -> None:
    outcome = judged(ending)
    assert outcome.kind == "exited"
    assert outcome.sentence.startswith(words)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of a process with threads
def test_a_child_of_a_kernel_may_end_at_once() -> None:
    def forks() -> None:
        if (child := os.fork()) == 0:
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7

    assert judged(forks).status == "passed"


def low() -> None:
    sys.setrecursionlimit(len(__import__("inspect").stack()) + 30)


@pytest.mark.parametrize(
    ("around", "note"),
    [
        (low, "leaves a recursion limit of"),
        (lambda: os.close(0), "closes file descriptor 0"),
        (lambda: os.close(1), "closes file descriptor 1"),
        (lambda: os.close(2), "closes file descriptor 2"),
        (lambda: os.chdir("/"), "leaves another current folder"),
        (lambda: setattr(sys, "stderr", None), "replaces sys.stderr"),
    ],
)
def test_what_a_kernel_takes_away_is_restored_and_noted(around: Callable[[], object], note: str) -> None:
    limit, folder, streams = sys.getrecursionlimit(), os.getcwd(), (sys.stdin, sys.stdout, sys.stderr)
    files = [os.fstat(number).st_ino for number in range(3)]
    outcome = judged(around)
    assert outcome.status == "passed"
    assert any(note in said and "it was restored" in said for said in outcome.notes), outcome.notes
    assert (sys.getrecursionlimit(), os.getcwd(), (sys.stdin, sys.stdout, sys.stderr)) == (limit, folder, streams)
    assert [os.fstat(number).st_ino for number in range(3)] == files


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc and glibc")
@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("ends", "os._exit(0)"),
        ("ends_as_imported", "os._exit(0)"),
        ("becomes_another", "os.execv(…)"),
        ("ends_in_c", "assay: ended by a kernel, in code that is not Python"),
        ("ends_later", "FAILED"),
        ("leaves_a_thread", "FAILED"),
        ("closes_all", "FAILED"),
        ("closes_stdout", "FAILED"),
    ],
)
def test_no_kernel_ends_the_command_with_the_status_of_a_pass(tmp_path: Path, function: str, said: str) -> None:
    (tmp_path / "kernels.py").write_text(KERNEL)
    x = np.ones((1, 1, 2, 2), np.float32)
    Instance(x, x, x).save(tmp_path / "one.npz")
    words = ["replay", "one.npz", "--target", f"kernels.py:{function}", "--problem", "attention"]
    run = subprocess.run(
        [sys.executable, "-m", "assay", *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert run.returncode == 1
    assert said in run.stdout + run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="closes descriptors of a shell")
@pytest.mark.parametrize(
    ("closed", "status", "said"),
    [
        (">&-", 2, "assay: stdout: is closed, expected a file, a pipe or a terminal\n"),
        (">/dev/full", 2, "assay: stdout: cannot be written (No space left on device)\n"),
        ("<&- >/dev/null", 0, ""),
        ("2>&- >/dev/null", 0, ""),
        ("<&- >&- 2>&-", 2, ""),
    ],
)
def test_a_stream_that_is_closed_or_full_is_one_line(closed: str, status: int, said: str) -> None:
    command = f'"{sys.executable}" -m assay list attention {closed}'
    run = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (status, said)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="isolation needs Linux")
@pytest.mark.parametrize("closed", ["<&-", "<&- 2>&-"])
def test_isolation_starts_without_the_usual_descriptors(tmp_path: Path, closed: str) -> None:
    (tmp_path / "kernels.py").write_text(KERNEL)
    x = np.ones((1, 1, 2, 2), np.float32)
    Instance(x, x, x).save(tmp_path / "one.npz")
    code = "from assay.conformance.replay import replay; "
    code += "print(len(replay('one.npz', 'kernels.py:leaves_a_thread', isolate=True).failures) > 0)"
    command = f'"{sys.executable}" -c "{code}" {closed}'
    run = subprocess.run(["/bin/sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.stdout == "True\n", run.stderr


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /dev/full")
def test_a_disk_that_is_full_loses_nothing_of_what_was_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refused(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("assay.spec.storage.write", refused)
    x = np.ones((1, 1, 2, 2), np.float32)
    with engaged(lambda query, key, value, *, scale: 3 * value, "attention", reproducers=tmp_path) as judge:
        case = Case("one", Family("one", "one", ""), Instance(x, x, x))
        finding = judge.finding(case, judge.outcome(case))
    assert (finding.reproducer, finding.instance_path) == ("", "")
    assert judge.unsaved == f"failing inputs are not kept: {tmp_path} cannot be written (No space left on device)"
