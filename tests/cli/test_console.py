"""The command line as a whole: exit statuses, one line on stderr for bad usage, and nothing heavy before its time."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest

from assay import __version__

Run = Callable[..., tuple[int, str, str]]


def test_version_and_help_are_said_on_stdout(run: Run) -> None:
    assert run("--version") == (0, f"assay {__version__}\n", "")
    status, out, error = run("check", "--help")
    assert (status, error) == (0, "")
    assert "Judge a kernel" in out
    assert run("check", "-h") == (0, out, "")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("judge", "judge"),
        ("check --fast", "--fast"),
        ("check kernels.py:good kernels.py:bad", "kernels.py:bad"),
        ("check kernels.py:good --seed -1", "--seed"),
        ("check kernels.py:good --seed one", "--seed"),
        ("replay instance.npz", "--target"),
        ("bound instance.npz", "--precision"),
    ],
    ids=[
        "unknown command",
        "unknown option",
        "an argument too many",
        "negative seed",
        "seed in words",
        "replay without target",
        "bound without class",
    ],
)
def test_words_that_are_no_command_are_refused_in_one_line(
    refused: Callable[..., str], words: str, sentence: str
) -> None:
    assert sentence in refused(*words.split())


def test_progress_goes_to_a_terminal_on_stderr_only(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    status, out, error = run("check", "kernels.py:good", "--level", "smoke")
    assert (status, "\nPASSED kernels.py:good" in out) == (0, True)
    assert "kernels.py:good float32" in error


def test_a_quiet_command_shows_no_progress(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    assert run("check", "kernels.py:good", "--level", "smoke", "--quiet")[2] == ""


def test_importing_the_command_line_loads_typer_and_nothing_heavy() -> None:
    code = "import sys, typer; before = set(sys.modules); import assay.cli; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    outside = {name.partition(".")[0] for name in done.stdout.split()} - set(sys.stdlib_module_names)
    assert outside == {"assay"}


def test_the_package_is_run_as_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "assay", "check", "nothing"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("assay: unknown target 'nothing'")
    assert done.stderr.count("\n") == 1
