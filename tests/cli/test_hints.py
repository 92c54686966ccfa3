"""What is said to somebody who got a name or a call wrong: early, in one line, with what may be meant."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from assay.cli import app
from assay.conformance.report.reading import from_json

if TYPE_CHECKING:
    from pathlib import Path

Run = Callable[..., tuple[int, str, str]]

#: A stand-in for a framework: numbers that are no arrays of NumPy are refused, as a tensor library refuses them.
TORCH = """
class Tensor: ...
def attend(*arrays):
    raise TypeError(f"argument 'query' must be Tensor, not {type(arrays[0]).__name__}")
"""

MORE = """
import torch
from torch import attend

def tensors(query, key, value, *, scale):
    return attend(query, key, value)

class _Called:
    def __call__(self, query, key, value, *, scale):
        return attend(query, key, value)

called = _Called()

def raises_on_odd_dims(query, key, value, *, scale):
    if query.shape[3] % 2:
        raise ValueError("odd")
    return good(query, key, value, scale=scale)

def declines_arrays(query, key, value, *, scale):
    if str(query.dtype) != "torch.float32":
        raise NotImplementedError(f"dtype {query.dtype}: torch.float32 only")

def _hidden(query, key, value, *, scale): ...
"""

HALF = """
def half(query, key, value, *, scale):
    raise NotImplementedError(f"dtype {query.dtype}: float16 or bfloat16 only")
"""


@pytest.fixture
def more(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """More kernels, and a folder with a module that is called as a framework is."""
    (tmp_path / "stand_in").mkdir()
    (tmp_path / "stand_in" / "torch.py").write_text(TORCH, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path / "stand_in")
    monkeypatch.setitem(sys.modules, "torch", None)  # so that what was there, or nothing, is there again afterwards
    del sys.modules["torch"]
    text = (tmp_path / "kernels.py").read_text(encoding="utf-8")
    (tmp_path / "tensors.py").write_text(text + MORE, encoding="utf-8")
    (tmp_path / "src" / "packaged").mkdir(parents=True)
    (tmp_path / "src" / "packaged" / "__init__.py").write_text("from .kernel import attend\n", encoding="utf-8")
    (tmp_path / "src" / "packaged" / "kernel.py").write_text("from .tiles import TILE\n", encoding="utf-8")
    (tmp_path / "empty.py").write_text("number = 7\n", encoding="utf-8")
    return run


@pytest.mark.parametrize("kernel", ["tensors", "called"])
def test_a_kernel_that_takes_other_arrays_is_told_so_after_a_few_calls(more: Run, kernel: str) -> None:
    status, out, error = more("check", f"tensors.py:{kernel}", "--json", "r.json")
    assert (status, error) == (1, "")
    head, line = out.partition(f"\nFAILED tensors.py:{kernel}")[2].splitlines()[:2]
    assert head.startswith("  attention  float32  standard  seed 0   5 judged, 5 failed")
    assert line.startswith("each of the first 5 calls raised TypeError: argument 'query' must be Tensor, not ndarray (")
    assert line.endswith("): the run ends here; its module imports torch: --framework torch?")
    assert out.count("\nreplay: ") == 1
    assert out.count("\n") < 14


def test_a_kernel_that_declines_every_call_for_its_arrays_is_told_of_the_framework(more: Run) -> None:
    status, out, error = more("check", "tensors.py:declines_arrays", "--level", "smoke")
    assert (status, error) == (3, "")
    assert "note: every call was declined; its module imports torch: --framework torch?" in out


def test_a_kernel_that_declines_a_class_is_told_of_those_that_it_names(run: Run, tmp_path: Path) -> None:
    (tmp_path / "half.py").write_text(HALF, encoding="utf-8")
    status, out, error = run("check", "half.py:half", "--level", "smoke")
    assert (status, error) == (3, "")
    for name in ("float16", "bfloat16"):
        assert f"note: every call was declined; it speaks of {name}: --precision {name}?" in out


@pytest.mark.parametrize(
    ("kernel", "words"),
    [
        ("raises", "raised IndexError: tile 3 of 2"),
        ("widens", "returned output as float64, expected float32"),
        ("returns_a_list", "returned a list of 1, expected one numpy array"),
    ],
)
def test_five_equal_exceptions_or_types_end_the_run(run: Run, tmp_path: Path, kernel: str, words: str) -> None:
    status, out, _ = run("check", f"kernels.py:{kernel}", "--json", "r.json")
    assert status == 1
    assert "each of the first 5 calls " in out
    (report,) = from_json((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert len(report.failures) == 5
    assert words in report.ended
    assert "--framework" not in report.ended


def test_a_kernel_of_few_sizes_that_takes_other_arrays_is_told_so_after_a_few_calls(more: Run, tmp_path: Path) -> None:
    limits = ["--option", "dims=64,128", "--option", "lengths=128"]
    status, out, _ = more("check", "tensors.py:tensors", *limits, "--level", "smoke", "--json", "r.json")
    assert status == 1
    assert "its module imports torch: --framework torch?" in out
    (report,) = from_json((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert report.ran == 5


def test_a_kernel_that_fails_in_some_calls_is_judged_to_the_end(more: Run, tmp_path: Path) -> None:
    more("check", "tensors.py:raises_on_odd_dims", "--level", "smoke", "--json", "r.json")
    (report,) = from_json((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert report.ended == ""
    assert report.ran > 20
    assert any("raises ValueError when" in sentence for sentence in report.diagnosis)


SAID = {
    "fp32": ("check kernels.py:good --precision fp32", "unknown precision class 'fp32' (did you mean float32?): "),
    "bf16": ("check kernels.py:good --precision bf16", "unknown precision class 'bf16' (did you mean bfloat16?): "),
    "a misspelt class": ("check kernels.py:good --precision flaot32", "(did you mean float32"),
    "a misspelt level": ("check kernels.py:good --level smok", "standard, thorough; did you mean smoke?\n"),
    "a misspelt problem": ("check kernels.py:good --problem atention", "; did you mean attention"),
    "a misspelt option": ("check kernels.py:good --option softcp=no", "option softcp=no (did you mean softcap?): "),
    "a misspelt value": ("check kernels.py:good --option empty_row=nna", "zero, nan, any; did you mean nan"),
    "a misspelt framework": ("check kernels.py:good --framework toch", "No module named 'toch'; did you mean torch?"),
    "a framework of a built-in": (
        "check numpy:attention --framework torch",
        "framework torch: numpy:attention takes arrays of numpy, expected no other\n",
    ),
    "a framework of all built-ins": ("check --framework torch", "--framework torch: needs a kernel of your own"),
    "a name of no module": (
        "check tensor:good",
        "no module 'tensor'; expected a module that Python finds here, or a built-in (assay list names them)\n",
    ),
    "no name of a function": ("check tensors", "file.py:function or a built-in (assay list names them)\n"),
    "a package in src": (
        "check packaged.kernel:attend",
        "; 'packaged' lies in src: install its project (pip install -e .), or set PYTHONPATH=src\n",
    ),
    "a file of a package": (
        "check src/packaged/kernel.py:attend",
        "; the file is part of a package: packaged.kernel:attend, where Python finds that, names it\n",
    ),
    "the file of a package itself": (
        "check src/packaged/__init__.py:attend",
        "; the file is part of a package: packaged:attend, where Python finds that, names it\n",
    ),
    "a file without function": (
        "check tensors.py",
        "tensors.py: names no function, expected tensors.py:FUNCTION, one of tensors.py:good, tensors.py:bad, ",
    ),
    "a function that a file lacks, by the name of a built-in": (
        "check kernels.py:attention",
        "module 'kernels.py' has no 'attention'; its functions: good, bad",
    ),
    "an object that is called": ("check tensors.py", ", tensors.py:declines_arrays, tensors.py:called\n"),
    "a file with no function": (
        "check empty.py",
        "empty.py: names no function, expected empty.py:FUNCTION, but it has",
    ),
    "a file with an error": ("check broken.py", "names no function, and cannot be read as Python (SyntaxError: "),
}


@pytest.mark.parametrize(("words", "sentence"), SAID.values(), ids=SAID.keys())
def test_what_may_be_meant_is_said(more: Run, refused: Callable[..., str], words: str, sentence: str) -> None:
    assert sentence in refused(*words.split())


def test_a_file_whose_functions_are_listed_is_not_executed(refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "acts.py").write_text("open('done', 'w')\ndef kernel(): ...\n", encoding="utf-8")
    assert "one of acts.py:kernel\n" in refused("check", "acts.py")
    assert not (tmp_path / "done").exists()


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="jax is not installed")
def test_a_kernel_object_says_itself_which_arrays_it_takes(refused: Callable[..., str]) -> None:
    sentence = refused("check", "jax:dot_product_attention", "--framework", "torch", "--isolate")
    assert sentence == ("assay: framework torch: jax:dot_product_attention takes arrays of jax, expected no other\n")


# --- the words of the command line ------------------------------------------------------------------------------------


def test_no_flag_in_any_help_text_has_a_type(run: Run) -> None:
    names = [command.name or command.callback.__name__ for command in app.registered_commands if command.callback]
    for name in names:
        status, out, error = run(name, "-h")
        assert (status, error) == (0, "")
        assert "bool" not in out.lower()
        assert "-h, --help" in out


def test_json_on_stdout_has_stdout_for_itself(run: Run) -> None:
    status, out, error = run("check", "kernels.py:good", "--level", "smoke", "--family", "heads", "--json", "-")
    assert status == 0
    assert json.loads(out)["passed"] is True
    assert "\nPASSED kernels.py:good" in error
    status, out, error = run("profile", "kernels.py:good", "--json", "-", "--precision", "float32")
    assert (status, json.loads(out)["kernel"]) == (0, "kernels.py:good")
    assert "kernels.py:good" in error


def test_only_one_report_can_have_stdout(refused: Callable[..., str], tmp_path: Path) -> None:
    both = refused("check", "kernels.py:good", "--json", "-", "--junit", "-")
    assert both == "assay: -: only one of --json, --html and --junit can be stdout\n"
    assert "--resume: needs --json FILE" in refused("check", "kernels.py:good", "--json", "-", "--resume")
    assert not (tmp_path / "-").exists()
