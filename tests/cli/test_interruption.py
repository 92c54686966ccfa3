"""Ctrl-C, and kernels that end the process: what was found until then, and where it happened."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import pytest

import assay
from assay.conformance.judge.level import Interrupted
from assay.conformance.report.reading import from_json
from assay.impl import phase
from assay.impl.phase import cells

if TYPE_CHECKING:
    from pathlib import Path

Run = Callable[..., tuple[int, str, str]]

MORE = """
import ctypes, os

calls = 0

def interrupted(query, key, value, *, scale):
    global calls
    calls += 1
    if calls > 12:
        raise KeyboardInterrupt
    return (bad if calls > 9 else good)(query, key, value, scale=scale)

def crashes(query, key, value, *, scale):
    if query.shape[1] == 4:
        ctypes.string_at(0)
    return good(query, key, value, scale=scale)

def closes_its_files(query, key, value, *, scale):
    os.closerange(3, 64)
    return good(query, key, value, scale=scale)

def waits(query, key, value, *, scale):
    import time
    open("waiting", "w").close()
    time.sleep(50)
"""


@pytest.fixture
def more(run: Run, tmp_path: Path) -> Run:
    """The kernels of the folder, and some that are interrupted or end the process."""
    with (tmp_path / "kernels.py").open("a", encoding="utf-8") as file:
        file.write(MORE)
    return run


def test_an_interrupted_check_says_and_writes_what_it_found(more: Run, tmp_path: Path) -> None:
    files = ("--json", "r.json", "--html", "r.html", "--junit", "r.xml")
    status, out, error = more("check", "kernels.py:interrupted", "--level", "smoke", *files)
    assert status == 130
    verdict = out.partition("\nINTERRUPTED kernels.py:interrupted  attention  float32  smoke  seed 0   ")[2]
    assert " failed" in verdict.partition("\n")[0]
    assert "\nreplay: assay replay .assay/failures/" in out
    assert "never ran" not in out
    assert error.startswith("assay: interrupted in kernels.py:interrupted float32 after ")
    assert error.count("\n") == 1
    (report,) = from_json((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert (report.interrupted, report.passed, bool(report.failures)) == (True, False, True)
    assert (
        json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["reports"][0]["verdict"]["word"] == "INTERRUPTED"
    )
    assert '<span class="verdict interrupted">INTERRUPTED</span>' in (tmp_path / "r.html").read_text(encoding="utf-8")
    text = (tmp_path / "r.xml").read_text(encoding="utf-8")
    assert "INTERRUPTED" in text
    assert ElementTree.fromstring(text) is not None


def test_an_interrupted_report_is_judged_anew_where_the_run_resumes(more: Run, tmp_path: Path) -> None:
    words = ("check", "kernels.py:interrupted", "--level", "smoke", "--json", "r.json", "--resume")
    assert "--resume goes on" not in more(*words)[2]  # no report is done
    text = (tmp_path / "kernels.py").read_text(encoding="utf-8").replace("calls > 9", "False").replace("> 12", "> 9999")
    (tmp_path / "kernels.py").write_text(text, encoding="utf-8")
    assert more(*words)[0] == 0
    (report,) = from_json((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert report.passed


def test_a_python_program_gets_an_interruption_with_the_report(more: Run) -> None:
    with pytest.raises(KeyboardInterrupt) as caught:
        assay.check("kernels.py:interrupted", "attention", level="smoke")
    assert isinstance(caught.value, Interrupted)
    assert caught.value.report.ran > 5
    assert caught.value.report.interrupted


def _command(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "assay", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_a_signal_in_a_call_ends_the_command_in_one_line(more: Run, tmp_path: Path) -> None:
    process = _command("check", "kernels.py:waits", "--level", "smoke", "--json", "r.json")
    while not (tmp_path / "waiting").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "INTERRUPTED kernels.py:waits" in out
    assert error.startswith("assay: interrupted in kernels.py:waits float32 after 0 of ")
    assert error.count("\n") == 1
    assert from_json((tmp_path / "r.json").read_text(encoding="utf-8"))[0].interrupted


# --- a kernel that ends the process -----------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes cannot be forked here")
def test_a_kernel_that_ends_the_process_is_told_with_its_case(more: Run) -> None:
    process = _command("check", "kernels.py:crashes", "--level", "smoke")
    _, error = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGSEGV
    assert error.count("\n") == 1
    assert error.startswith("assay: the process ended in: ")
    assert error.endswith("; --isolate tells whether the kernel ended it\n")
    assert "loading" not in error


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes cannot be forked here")
def test_a_kernel_is_not_blamed_for_a_signal_from_outside(more: Run, tmp_path: Path) -> None:
    process = _command("check", "kernels.py:waits", "--level", "smoke")
    while not (tmp_path / "waiting").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)  # as a scheduler does at its limit of time
    _, error = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGTERM
    assert error.startswith("assay: the process ended in: ")
    assert "the kernel ended the process" not in error


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes cannot be forked here")
@pytest.mark.parametrize("kernel", ["good", "closes_its_files"])
def test_a_kernel_that_ends_nothing_leaves_nobody_behind(more: Run, kernel: str) -> None:
    process = _command("check", f"kernels.py:{kernel}", "--level", "smoke", "--family", "heads")
    out, error = process.communicate(timeout=120)  # returns when nobody holds stderr any more
    assert (process.returncode, error) == (0, "")
    assert "\nPASSED" in out


# --- assay phase ------------------------------------------------------------------------------------------------------


def test_an_interrupted_diagram_says_and_writes_its_cells(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exact(_clock: Any, n: int, d: int) -> tuple[float, bool]:
        if n > 64:
            raise KeyboardInterrupt  # while it compiles
        return 1.0, True

    monkeypatch.setattr(cells._Clock, "exact", exact)
    monkeypatch.setattr(cells._Clock, "polynomial", lambda *_: cells._Polynomial(None, False, None, "none"))
    words = ("--length", "64", "--length", "128", "--ratio", "0.5", "--ratio", "1", "--json", "p.json")
    status, out, error = run("phase", *words)
    assert (status, error) == (130, "assay: interrupted after 2 of 4 cells\n")
    assert out.startswith("INTERRUPTED: cells are missing\n")
    written = json.loads((tmp_path / "p.json").read_text(encoding="utf-8"))
    assert written["interrupted"] is True
    assert [cell["length"] for cell in written["cells"]] == [64, 64]
    with pytest.raises(phase.Interrupted):
        phase.diagram([128], [0.5])
    assert SimpleNamespace(**json.loads(phase.to_json(phase.diagram([64], [0.5])))).interrupted is False
