"""``assay check`` and ``assay replay``: verdicts, the files they are written to, and what is refused."""

from __future__ import annotations

import dataclasses
import datetime
import errno
import importlib.util
import os
import runpy
import stat
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import pytest

import assay.conformance.attention
from assay.cli.files import write
from assay.conformance.interface.kernel import Kernel
from assay.conformance.interface.targets import Target
from assay.conformance.interface.usage import UsageError
from assay.conformance.report.reading import from_json
from assay.spec.instances import corpus
from assay.spec.problem import PROBLEMS

if TYPE_CHECKING:
    from pathlib import Path

Run = Callable[..., tuple[int, str, str]]

# --- verdicts ---------------------------------------------------------------------------------------------------------


def test_correct_kernel_passes(run: Run) -> None:
    status, out, error = run("check", "kernels.py:good", "--level", "smoke")
    assert (status, error) == (0, "")
    assert "\nPASSED kernels.py:good  attention  float32  smoke  seed 0" in out


def test_wrong_kernel_fails_and_its_reproducer_replays(run: Run) -> None:
    status, out, error = run("check", "kernels.py:bad", "--level", "smoke", "--seed", "3", "--reproducers", "found")
    assert (status, error) == (1, "")
    assert "\nFAILED kernels.py:bad  attention  float32  smoke  seed 3" in out
    line = next(line for line in out.splitlines() if line.startswith("replay: ")).split()
    assert line[1:3] == ["assay", "replay"]
    assert line[3].startswith("found/")
    status, out, _ = run(*line[2:])
    assert (status, "\nFAILED kernels.py:bad" in out) == (1, True)
    assert run(*line[2:5], "kernels.py:good")[0] == 0


def test_a_wrong_kernel_is_replayed_on_the_device_that_was_named(run: Run) -> None:
    words = ("--level", "smoke", "-x", "--device", "cpu", "--reproducers", "found")
    status, out, error = run("check", "kernels.py:bad", *words)
    assert (status, error) == (1, "")
    line = next(line for line in out.splitlines() if line.startswith("replay: ")).split()
    assert line[line.index("--device") + 1] == "cpu"
    assert run(*line[2:])[0] == 1


@pytest.mark.parametrize(
    ("kernel", "sentence"),
    [
        ("raises", "raised IndexError: tile 3 of 2 (kernels.py:18)"),
        ("returns_a_list", "returned a list of 1, expected one numpy array"),
        ("transposes", "heads and queries look exchanged"),
        ("widens", "returned output as float64, expected float32"),
        ("mutates", "changed its input 'query'"),
    ],
)
def test_a_faulty_kernel_fails_with_one_clear_line(run: Run, kernel: str, sentence: str) -> None:
    status, out, error = run("check", f"kernels.py:{kernel}", "--level", "smoke")
    assert (status, error) == (1, "")
    first = next(line for line in out.splitlines() if line.startswith("1. "))
    assert sentence in first
    assert "second line" not in out


def test_kernel_that_declines_everything_ends_with_3(run: Run) -> None:
    status, out, _ = run("check", "kernels.py:declines", "--level", "smoke", "--quiet")
    assert status == 3
    assert out.startswith("INCOMPLETE")


def test_quiet_is_one_line(run: Run) -> None:
    status, out, error = run("check", "kernels.py:good", "--level", "smoke", "--quiet")
    assert (status, error, out.count("\n")) == (0, "", 1)


def test_reports_are_written(run: Run, tmp_path: Path) -> None:
    files = ("--json", "r.json", "--html", "r.html", "--junit", "r.xml")
    status, out, _ = run("check", "kernels.py:bad", "--level", "smoke", *files)
    assert status == 1
    (report,) = from_json((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert out.rstrip("\n") == report.to_text()
    assert report.command == "assay check kernels.py:bad --level smoke --json r.json --html r.html --junit r.xml"
    assert abs(datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(report.date)).days == 0
    assert "<!doctype html>" in (tmp_path / "r.html").read_text(encoding="utf-8")
    assert len(ElementTree.parse(tmp_path / "r.xml").getroot()) == 1
    assert not list(tmp_path.glob("*.part"))


def test_a_report_goes_into_a_pipe_or_through_a_link_as_any_file_does(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    (tmp_path / "kept.json").write_text("before", encoding="utf-8")
    (tmp_path / "link.json").symlink_to("kept.json")
    write(tmp_path / "pipe", "into the pipe")
    write(tmp_path / "link.json", "through the link")
    assert os.read(reader, 100) == b"into the pipe"
    os.close(reader)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert (tmp_path / "link.json").is_symlink()
    assert (tmp_path / "kept.json").read_text(encoding="utf-8") == "through the link"


def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "r.json").write_bytes(b"before")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UsageError, match=r"r\.json: cannot be written \(No space left on device\)"):
        write(tmp_path / "r.json", "after")
    assert [path.read_bytes() for path in tmp_path.iterdir() if path.suffix != ".py"] == [b"before"]


# --- every built-in ---------------------------------------------------------------------------------------------------


class Toys:
    """Two built-ins, one of which is not installed; calls are counted, and one may be interrupted."""

    def __init__(self, kernel: Callable[..., Any]) -> None:
        self.kernel = kernel
        self.calls = 0
        self.interrupt_in = ""

    def __call__(self, query: Any, key: Any, value: Any, *, scale: float) -> Any:
        self.calls += 1
        if query.dtype.name == self.interrupt_in:
            raise KeyboardInterrupt
        return self.kernel(query, key, value, scale=scale)

    def targets(self) -> dict[str, Target]:
        def load() -> Kernel:
            return Kernel("toy:good", self, keywords=frozenset({"scale"}))

        return {
            "toy:good": Target("toy:good", ("float32", "float64"), (), "toy", load),
            "toy:absent": Target("toy:absent", ("float32",), ("no_such_module",), "toy", load),
        }


@pytest.fixture
def toys(run: Run, monkeypatch: pytest.MonkeyPatch) -> Toys:
    made = Toys(runpy.run_path("kernels.py")["good"])
    suite = dataclasses.replace(assay.conformance.attention.SUITE, targets=made.targets())
    monkeypatch.setattr(assay.conformance.attention, "SUITE", suite)
    return made


def test_without_target_every_built_in_in_each_of_its_classes(run: Run, toys: Toys) -> None:
    status, out, _ = run("check", "--problem", "attention", "--level", "smoke")
    assert status == 0
    lines = out.splitlines()
    assert [line.split("  ")[:3] for line in lines[:2]] == [
        ["PASSED toy:good", "attention", "float32"],
        ["PASSED toy:good", "attention", "float64"],
    ]
    assert [line.split()[:3] for line in lines[-2:]] == [
        ["PASSED", "toy:good", "float32"],
        ["PASSED", "toy:good", "float64"],
    ]
    assert "skipped 1 that are not installed (pip install -e '.[toy]' in assay's checkout): toy:absent" in lines


def test_given_precision_narrows_the_built_ins(run: Run, toys: Toys) -> None:
    status, out, _ = run("check", "--problem", "attention", "--level", "smoke", "--precision", "float64")
    assert status == 0
    assert "float32" not in out


def test_a_class_that_no_built_in_documents_is_refused(refused: Callable[..., str], toys: Toys) -> None:
    message = refused("check", "--precision", "tf32")
    assert f"no installed built-in of {', '.join(PROBLEMS)} documents tf32" in message


def test_interrupted_run_says_how_far_it_got_and_resumes(run: Run, toys: Toys, tmp_path: Path) -> None:
    arguments = ("check", "--problem", "attention", "--level", "smoke", "--json", "r.json", "--resume")
    toys.interrupt_in = "float64"
    status, _, error = run(*arguments)
    assert status == 130
    assert error.startswith("assay: interrupted in toy:good attention float64 after 0 of ")
    assert error.endswith("1 of 2 reports are in r.json, --resume goes on from there\n")
    assert error.count("\n") == 1
    toys.interrupt_in = "float32"  # is not called again
    status, out, _ = run(*arguments)
    assert status == 0
    assert len(from_json((tmp_path / "r.json").read_text(encoding="utf-8"))) == 2
    toys.calls = 0
    assert run(*arguments, "--junit", "r.xml")[1].splitlines()[:2] == out.splitlines()[:2]
    assert toys.calls == 0
    assert len(ElementTree.parse(tmp_path / "r.xml").getroot()) == 2


def test_resuming_keeps_reports_of_another_seed(run: Run, toys: Toys, tmp_path: Path) -> None:
    arguments = ("check", "toy:good", "--level", "smoke", "--json", "r.json", "--resume")
    run(*arguments)
    run(*arguments, "--seed", "1")
    assert toys.calls > 0
    assert [report.seed for report in from_json((tmp_path / "r.json").read_text(encoding="utf-8"))] == [0, 1]


# --- a corpus ---------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(importlib.util.find_spec("cnfgen") is None, reason="cnfgen is not installed")
def test_a_kernel_runs_over_a_corpus(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    small = [entry for entry in corpus.ENTRIES if entry.as_json or entry.name == "pigeonhole-3-3"]
    monkeypatch.setattr(corpus, "ENTRIES", tuple(small))
    status, out, error = run("hard", "--corpus", "c")
    assert (status, error) == (0, "")
    assert "version 2  seed 0" in out
    status, out, error = run("check", "kernels.py:good", "--corpus", "c")
    assert (status, error) == (0, "")
    assert out.startswith(f"PASSED kernels.py:good  float32  {len(small)} instances, {len(small)} decoded rightly")
    status, out, error = run("check", "kernels.py:bad", "--corpus", "c", "--quiet")
    assert (status, error) == (1, "")
    assert out.startswith("FAILED kernels.py:bad  float32")
    assert run("check", "kernels.py:good", "--corpus", "c", "--precision", "bfloat16")[0] == 0
    assert run("check", "kernels.py:declines", "--corpus", "c")[0] == 1  # nothing was run
    assert "raised IndexError" in run("check", "kernels.py:raises", "--corpus", "c")[1]


@pytest.mark.parametrize(
    "words",
    [
        "--json x",
        "--html x",
        "--junit x",
        "--reproducers x",
        "--resume",
        "--isolate",
        "--memory 100",
        "--level standard",
        "--level smoke",
        "--seed 0",
        "--seed 1",
        "--jobs 2",
    ],
)
def test_an_option_that_a_corpus_has_no_use_for_is_refused(refused: Callable[..., str], words: str) -> None:
    sentence = refused("check", "kernels.py:good", "--corpus", "c", *words.split())
    assert sentence == f"assay: {words.split()[0]}: not with --corpus\n"


@pytest.mark.parametrize(
    ("words", "settings"),
    [
        ("", {"precision": "float32", "framework": None, "options": {}, "problem": None}),
        ("--problem attention", {"precision": "float32", "framework": None, "options": {}, "problem": "attention"}),
        (
            "--precision float16 --framework torch --option window=no --error 0.5 --call-seconds 3",
            {
                "precision": "float16",
                "framework": "torch",
                "problem": None,
                "options": {"window": "no", "error": "0.5"},
                "call_seconds": 3.0,
            },
        ),
    ],
)
def test_every_other_option_reaches_the_judgement_over_a_corpus(
    run: Run, monkeypatch: pytest.MonkeyPatch, words: str, settings: dict[str, Any]
) -> None:
    calls = []

    def check_corpus(target: str, folder: Path, *, progress: Any, **arguments: Any) -> Any:
        calls.append((target, str(folder), arguments))
        return SimpleNamespace(passed=True, to_text=lambda: "PASSED")

    monkeypatch.setattr("assay.conformance.corpus.check_corpus", check_corpus)
    assert run("check", "kernels.py:good", "--corpus", "c", *words.split()) == (0, "PASSED\n", "")
    assert calls == [("kernels.py:good", "c", settings)]


# --- bad usage --------------------------------------------------------------------------------------------------------

BAD = {
    "unknown target": ("check nothing", "unknown target 'nothing': expected module:function"),
    "misspelled built-in": ("check assay:cpo", "did you mean assay:cpu"),
    "unknown module": ("check nowhere:kernel", "no module 'nowhere'"),
    "unknown function": ("check kernels:goood", "has no 'goood'; did you mean good?"),
    "missing file of kernels": ("check nowhere.py:kernel", "no such file 'nowhere.py'"),
    "wrong signature": (
        "check kernels.py:two_arrays --problem attention",
        "wrong signature (query, key): takes 2 arrays, not 3",
    ),
    "no function": ("check kernels.py:number", "int is not callable"),
    "module that raises": ("check raises.py:kernel", "importing it raised OSError: no driver"),
    "module with a syntax error": ("check broken.py:kernel", "importing it raised SyntaxError"),
    "unknown precision": ("check kernels.py:good --precision float31", "unknown precision class 'float31'"),
    "unknown level": ("check kernels.py:good --level most", "unknown level 'most'"),
    "unknown problem": ("check kernels.py:good --problem sorting", "unknown problem 'sorting'"),
    "unknown problem of all": ("check --problem sorting", "unknown problem 'sorting'"),
    "unknown framework": ("check kernels.py:good --framework nowhere", "framework 'nowhere' is not available"),
    "a device that is not there": (
        "check kernels.py:good --device cuda",
        "kernels.py:good: device 'cuda' is not available (expected cpu, the only one of numpy)",
    ),
    "a device of all built-ins": ("check --device cuda", "--device cuda: needs a kernel"),
    "a device beside reports of any": (
        "check kernels.py:good --device cpu --json x.json --resume",
        "--device: not with --resume",
    ),
    "unknown option": ("check kernels.py:good --option colour=red", "unknown option colour=red"),
    "wrong value of an option": ("check kernels.py:good --option empty_row=red", "option empty_row=red"),
    "a capability that is not declared away": (
        "check kernels.py:good --option softcap=maybe",
        "option softcap=maybe: expected no, for a kernel without it",
    ),
    "option without value": ("check kernels.py:good --option colour", "expected NAME=VALUE"),
    "no such folder": ("check kernels.py:good --json nowhere/r.json", "nowhere/r.json: cannot be written"),
    "reproducers in a file": ("check kernels.py:good --reproducers kernels.py", "cannot be made a folder"),
    "a folder": ("check kernels.py:good --junit .", "it is a folder"),
    "resume without file": ("check kernels.py:good --resume", "needs --json FILE"),
    "resume from something else": ("check kernels.py:good --resume --json kernels.py", "kernels.py: "),
    "memory without process": ("check kernels.py:good --memory 100", "--memory: needs --isolate"),
    "corpus without kernel": ("check --corpus c", "--corpus: needs the kernel"),
    "no corpus": ("check kernels.py:good --corpus c", "c: no corpus, expected a folder with manifest.json"),
    "missing instance": ("replay nowhere.npz --target kernels.py:good", "nowhere.npz: no such file"),
    "truncated instance": ("replay cut.npz --target kernels.py:good", "cut.npz: not a readable instance file"),
    "instance with NaN": ("replay nan.npz --target kernels.py:good", "nan.npz: query: nan at (0, 0, 0, 0)"),
    "no instance": ("replay noise.npz --target kernels.py:good", "noise.npz: not a readable instance file"),
    "instance of another problem": (
        "replay other.npz --target kernels.py:good",
        "an instance of 'weighted_sums'",
    ),
    "replay of a misspelled class": ("replay instance.npz --target kernels.py:good --precision f32", "'f32'"),
    "data sheet in no folder": ("profile kernels.py:good --json nowhere/p.json", "nowhere/p.json: cannot be written"),
}


@pytest.mark.parametrize(("words", "sentence"), BAD.values(), ids=BAD.keys())
def test_bad_usage_is_one_line(refused: Callable[..., str], words: str, sentence: str) -> None:
    assert sentence in refused(*words.split())


def test_missing_extra_names_its_install_command(
    run: Run, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *rest: None if name == "torch" else find(name, *rest))
    sentence = refused("check", "torch:sdpa")
    assert sentence == "assay: torch:sdpa: torch is not installed: pip install -e '.[torch]' in assay's checkout\n"
    _, out, _ = run("list")
    assert any(line.split()[:3] == ["torch:sdpa", "pip", "install"] for line in out.splitlines())


def test_html_without_jinja2_is_refused_before_anything_runs(
    refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    sentence = refused("check", "kernels.py:good", "--html", "r.html")
    assert sentence == "assay: --html needs jinja2: pip install -e '.[report]' in assay's checkout\n"
