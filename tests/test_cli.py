"""The command line: exit 0 passed, 1 failed, 2 bad usage in one line on stderr, 130 interrupted."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import ml_dtypes
import numpy as np
import pytest

import assay.conformance.attention
from assay import __version__
from assay.cli import main
from assay.conformance.interface.kernel import Kernel
from assay.conformance.interface.suite import Target
from assay.conformance.report.render import from_json
from assay.spec import attention
from assay.spec.instances import corpus
from assay.spec.storage import Stored, write

if TYPE_CHECKING:
    from pathlib import Path

KERNELS = """
import numpy as np

def good(query, key, value, *, scale):
    q, k, v = (array.astype(np.float64) for array in (query, key, value))
    k, v = (np.repeat(array, q.shape[1] // k.shape[1], axis=1) for array in (k, v))
    scores = scale * (q @ k.swapaxes(-1, -2))
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return ((weights @ v) / weights.sum(axis=-1, keepdims=True)).astype(query.dtype)

def bad(query, key, value, *, scale):
    return good(query, key, value, scale=2 * scale)

def declines(query, key, value, *, scale):
    raise NotImplementedError("never")

def raises(query, key, value, *, scale):
    raise IndexError("tile 3 of 2\\nsecond line")

def returns_a_list(query, key, value, *, scale):
    return good(query, key, value, scale=scale).tolist()

def transposes(query, key, value, *, scale):
    return good(query, key, value, scale=scale).swapaxes(1, 2)

def widens(query, key, value, *, scale):
    return good(query, key, value, scale=scale).astype(np.float64)

def mutates(query, key, value, *, scale):
    query *= 2
    return good(query, key, value, scale=scale / 2)

def two_arrays(query, key): ...

number = 7
"""


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """``assay …`` in a folder with some kernels and instances: status, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kernels.py").write_text(KERNELS, encoding="utf-8")
    (tmp_path / "raises.py").write_text("raise OSError('no driver\\nsecond line')\n", encoding="utf-8")
    (tmp_path / "broken.py").write_text("def kernel(:\n", encoding="utf-8")
    whole = instance()
    whole.save("instance.npz")
    write("other.npz", Stored("firing_neurons", whole.arrays(), whole.values()))
    content = (tmp_path / "instance.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(content[: len(content) // 2])
    members = dict(np.load("instance.npz"))
    members["query"][0, 0, 0, 0] = np.nan
    np.savez("nan.npz", **members)
    (tmp_path / "noise.npz").write_bytes(b"nothing of the kind")

    def ran(*arguments: str) -> tuple[int, str, str]:
        status = main(arguments)
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return ran


Run = Callable[..., tuple[int, str, str]]


def instance() -> attention.Instance:
    rng = np.random.default_rng(5)
    query, key, value = (rng.standard_normal((1, 2, n, 3)).astype(np.float32) for n in (4, 6, 6))
    return attention.Instance(query, key, value)


def one_line(error: str) -> str:
    assert error.startswith("assay: ")
    assert error.count("\n") == 1
    assert "Traceback" not in error
    return error


# --- verdicts ---------------------------------------------------------------------------------------------------------


def test_correct_kernel_passes(run: Run) -> None:
    status, out, error = run("check", "kernels.py:good", "--level", "smoke")
    assert (status, error) == (0, "")
    assert out.startswith("PASSED kernels.py:good  attention  float32  smoke  seed 0")


def test_wrong_kernel_fails_and_its_reproducer_replays(run: Run) -> None:
    status, out, error = run("check", "kernels.py:bad", "--level", "smoke", "--seed", "3", "--reproducers", "found")
    assert (status, error) == (1, "")
    assert out.startswith("FAILED kernels.py:bad  attention  float32  smoke  seed 3")
    line = next(line for line in out.splitlines() if line.startswith("   replay")).split()
    assert line[1:3] == ["assay", "replay"]
    assert line[3].startswith("found/")
    status, out, _ = run(*line[2:])
    assert (status, out.splitlines()[0].startswith("FAILED kernels.py:bad")) == (1, True)
    assert run(*line[2:5], "kernels.py:good")[0] == 0


@pytest.mark.parametrize(
    ("kernel", "sentence"),
    [
        ("raises", "raised IndexError: tile 3 of 2 (kernels.py:18)"),
        ("returns_a_list", "returned a list of 1, expected one numpy array"),
        ("transposes", "heads and length look exchanged"),
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


def test_kernel_that_declines_everything_fails(run: Run) -> None:
    status, out, _ = run("check", "kernels.py:declines", "--level", "smoke", "--quiet")
    assert status == 1
    assert out.startswith("NOTHING JUDGED")


def test_quiet_is_one_line(run: Run) -> None:
    status, out, error = run("check", "kernels.py:good", "--level", "smoke", "--quiet")
    assert (status, error, out.count("\n")) == (0, "", 1)


def test_reports_are_written(run: Run, tmp_path: Path) -> None:
    files = ("--json", "r.json", "--html", "r.html", "--junit", "r.xml")
    status, out, _ = run("check", "kernels.py:bad", "--level", "smoke", *files)
    assert status == 1
    (report,) = from_json((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert out.rstrip("\n") == report.to_text()
    assert "<!doctype html>" in (tmp_path / "r.html").read_text(encoding="utf-8")
    assert len(ElementTree.parse(tmp_path / "r.xml").getroot()) == 1
    assert not list(tmp_path.glob("*.part"))


def test_progress_goes_to_a_terminal_on_stderr_only(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    status, out, error = run("check", "kernels.py:good", "--level", "smoke")
    assert (status, out.startswith("PASSED")) == (0, True)
    assert "kernels.py:good float32" in error


# --- every built-in ---------------------------------------------------------------------------------------------------


class Toys:
    """Two built-ins, one of which is not installed; calls are counted, and one may be interrupted."""

    def __init__(self) -> None:
        namespace: dict[str, Any] = {}
        exec(KERNELS, namespace)
        self.good = namespace["good"]
        self.calls = 0
        self.interrupt_in = ""

    def __call__(self, query: Any, key: Any, value: Any, *, scale: float) -> Any:
        self.calls += 1
        if query.dtype.name == self.interrupt_in:
            raise KeyboardInterrupt
        return self.good(query, key, value, scale=scale)

    def targets(self) -> dict[str, Target]:
        def load() -> Kernel:
            return Kernel("toy:good", self, keywords=frozenset({"scale"}))

        return {
            "toy:good": Target("toy:good", ("float32", "float64"), (), "toy", load),
            "toy:absent": Target("toy:absent", ("float32",), ("no_such_module",), "toy", load),
        }


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> Toys:
    made = Toys()
    suite = dataclasses.replace(assay.conformance.attention.SUITE, targets=made.targets())
    monkeypatch.setattr(assay.conformance.attention, "SUITE", suite)
    return made


def test_without_target_every_built_in_in_each_of_its_classes(run: Run, toys: Toys) -> None:
    status, out, _ = run("check", "--level", "smoke")
    assert status == 0
    lines = out.splitlines()
    assert [line.split("  ")[:3] for line in lines[:2]] == [
        ["PASSED toy:good", "attention", "float32"],
        ["PASSED toy:good", "attention", "float64"],
    ]
    assert [line.split()[:3] for line in lines[-3:-1]] == [
        ["PASSED", "toy:good", "float32"],
        ["PASSED", "toy:good", "float64"],
    ]
    assert lines[-1] == "skipped toy:absent: not installed, pip install 'assay[toy]'"


def test_given_precision_narrows_the_built_ins(run: Run, toys: Toys) -> None:
    status, out, _ = run("check", "--level", "smoke", "--precision", "float64")
    assert status == 0
    assert "float32" not in out
    status, _, error = run("check", "--precision", "tf32")
    assert status == 2
    assert "no installed built-in of attention documents tf32" in one_line(error)


def test_interrupted_run_says_how_far_it_got_and_resumes(run: Run, toys: Toys, tmp_path: Path) -> None:
    arguments = ("check", "--level", "smoke", "--json", "r.json", "--resume")
    toys.interrupt_in = "float64"
    status, _, error = run(*arguments)
    assert status == 130
    assert one_line(error).startswith("assay: interrupted in toy:good float64 after 0 of ")
    assert "1 of 2 reports are in r.json, --resume goes on from there" in error
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


# --- bad usage --------------------------------------------------------------------------------------------------------

BAD = {
    "unknown target": (("check", "nothing"), "unknown target 'nothing': expected module:function"),
    "misspelled built-in": (("check", "assay:cpo"), "did you mean assay:cpu"),
    "unknown module": (("check", "nowhere:kernel"), "no module 'nowhere'"),
    "unknown function": (("check", "kernels:goood"), "has no 'goood'; did you mean good?"),
    "missing file of kernels": (("check", "nowhere.py:kernel"), "no such file 'nowhere.py'"),
    "wrong signature": (("check", "kernels.py:two_arrays"), "wrong signature (query, key): takes 2 arrays, not 3"),
    "no function": (("check", "kernels.py:number"), "int is not callable"),
    "module that raises": (("check", "raises.py:kernel"), "importing it raised OSError: no driver"),
    "module with a syntax error": (("check", "broken.py:kernel"), "importing it raised SyntaxError"),
    "unknown precision": (("check", "kernels.py:good", "--precision", "float31"), "unknown precision class 'float31'"),
    "unknown level": (("check", "kernels.py:good", "--level", "most"), "unknown level 'most'"),
    "unknown problem": (("check", "kernels.py:good", "--problem", "sorting"), "unknown problem 'sorting'"),
    "unknown problem of all": (("check", "--problem", "sorting"), "unknown problem 'sorting'"),
    "unknown framework": (
        ("check", "kernels.py:good", "--framework", "nowhere"),
        "framework 'nowhere' is not available",
    ),
    "unknown option": (("check", "kernels.py:good", "--option", "colour=red"), "unknown option colour=red"),
    "wrong value of an option": (("check", "kernels.py:good", "--option", "empty_row=red"), "option empty_row=red"),
    "option without value": (("check", "kernels.py:good", "--option", "colour"), "expected NAME=VALUE"),
    "negative seed": (("check", "kernels.py:good", "--seed", "-1"), "--seed"),
    "seed in words": (("check", "kernels.py:good", "--seed", "one"), "--seed"),
    "two targets": (("check", "kernels.py:good", "kernels.py:bad"), "kernels.py:bad"),
    "unknown command": (("judge",), "judge"),
    "unknown switch": (("check", "--fast"), "--fast"),
    "no such folder": (("check", "kernels.py:good", "--json", "nowhere/r.json"), "nowhere/r.json: cannot be written"),
    "reproducers in a file": (("check", "kernels.py:good", "--reproducers", "kernels.py"), "cannot be made a folder"),
    "a folder": (("check", "kernels.py:good", "--junit", "."), "it is a folder"),
    "resume without file": (("check", "kernels.py:good", "--resume"), "needs --json FILE"),
    "resume from something else": (("check", "kernels.py:good", "--resume", "--json", "kernels.py"), "kernels.py: "),
    "missing instance": (("replay", "nowhere.npz", "--target", "kernels.py:good"), "nowhere.npz: no such file"),
    "truncated instance": (
        ("replay", "cut.npz", "--target", "kernels.py:good"),
        "cut.npz: not a readable instance file",
    ),
    "instance with NaN": (("replay", "nan.npz", "--target", "kernels.py:good"), "nan.npz: query: nan at (0, 0, 0, 0)"),
    "no instance": (("replay", "noise.npz", "--target", "kernels.py:good"), "noise.npz: not a readable instance file"),
    "instance of another problem": (
        ("replay", "other.npz", "--target", "kernels.py:good"),
        "an instance of 'firing_neurons'",
    ),
    "replay without target": (("replay", "instance.npz"), "--target"),
    "replay of a misspelled class": (
        ("replay", "instance.npz", "--target", "kernels.py:good", "--precision", "f32"),
        "'f32'",
    ),
    "reference of nothing": (("reference", "nowhere.npz"), "no such file"),
    "reference of another output": (("reference", "instance.npz", "--output", "sum"), "unknown output 'sum'"),
    "reference without accuracy": (("reference", "instance.npz", "--relative", "2"), "between 0 and 1"),
    "reference to nowhere": (("reference", "instance.npz", "-o", "nowhere/r.npz"), "nowhere/r.npz: cannot be written"),
    "bound without class": (("bound", "instance.npz"), "--precision"),
    "bound in an unknown class": (("bound", "instance.npz", "--precision", "f32"), "unknown precision class 'f32'"),
    "claims elsewhere": (("claims",), "no folder proofs_notes"),
}


@pytest.mark.parametrize(("arguments", "sentence"), BAD.values(), ids=BAD.keys())
def test_bad_usage_is_one_line(run: Run, arguments: tuple[str, ...], sentence: str) -> None:
    status, out, error = run(*arguments)
    assert (status, out) == (2, "")
    assert sentence in one_line(error)


def test_missing_extra_names_its_install_command(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *rest: None if name == "torch" else find(name, *rest))
    status, _, error = run("check", "torch:sdpa")
    assert status == 2
    assert one_line(error) == "assay: torch:sdpa: torch is not installed: pip install 'assay[torch]'\n"
    _, out, _ = run("list")
    assert any(line.split()[:3] == ["torch:sdpa", "pip", "install"] for line in out.splitlines())


def test_html_without_jinja2_is_refused_before_anything_runs(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    status, out, error = run("check", "kernels.py:good", "--html", "r.html")
    assert (status, out, one_line(error)) == (2, "", "assay: --html needs jinja2: pip install 'assay[report]'\n")


# --- values and lists -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("output", ["output", "log_sum_exp"])
def test_reference_is_the_definition(run: Run, tmp_path: Path, output: str) -> None:
    status, out, _ = run("reference", "instance.npz", "--relative", "1e-20", "--output", output, "-o", "r.npz")
    exact = attention.define(instance(), 1e-20, output)
    with np.load(tmp_path / "r.npz") as saved:
        np.testing.assert_array_equal(saved["midpoint"], exact.midpoint)
        np.testing.assert_array_equal(saved["radius"], exact.radius)
    assert status == 0
    assert out.startswith(f"attention  {output}  shape {exact.shape}  radius ")
    assert str(exact[(0,) * len(exact.shape)]) in out.splitlines()[1]


def test_bound_is_the_tolerance(run: Run, tmp_path: Path) -> None:
    status, out, _ = run("bound", "instance.npz", "--precision", "bfloat16", "-o", "r.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "r.npy"), attention.tolerance(instance(), "bfloat16"))
    assert status == 0
    assert out.splitlines()[0] == "attention  output  shape (1, 2, 4, 3)  bfloat16"
    assert out.splitlines()[-1] == "outside the domain of the class: 0 of 24 elements"


def test_bound_outside_the_domain_has_no_least(run: Run) -> None:
    small = instance()
    small.replace(query=1e30 * small.query, key=1e30 * small.key).save("huge.npz")
    status, out, _ = run("bound", "huge.npz", "--precision", "float32")
    assert (status, out.splitlines()[1:]) == (0, ["outside the domain of the class: 24 of 24 elements"])


def test_list_names_everything(run: Run) -> None:
    status, out, _ = run("list")
    assert status == 0
    suite = assay.conformance.attention.SUITE
    for word in ("attention", "smoke", "bfloat16", *suite.targets, *(family.hunts for family in suite.families)):
        assert word in out
    assert all(law.statement in out for law in attention.LAWS)


def test_claims_of_the_repository(run: Run, tmp_path: Path) -> None:
    (tmp_path / "proofs_notes").mkdir()
    (tmp_path / "proofs_notes" / "page.md").write_text("## ATT-1 — a claim\n", encoding="utf-8")
    assert run("claims")[0] == 1
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_it.py").write_text(
        "@pytest.mark.claim('ATT-1')\ndef test_it(): ...\n", encoding="utf-8"
    )
    assert run("claims")[0] == 0
    (tmp_path / "r.json").write_text(json.dumps({}), encoding="utf-8")
    assert run("claims", "--results", "r.json")[0] == 1


def test_version_and_help(run: Run) -> None:
    assert run("--version")[:2] == (0, f"assay {__version__}\n")
    assert run("check", "--help")[0] == 0


def test_command_line_is_light_and_a_module() -> None:
    heavy = "numpy scipy torch jax numba hypothesis pytest sympy rich"
    code = f"import sys, assay.cli; print(*set({heavy!r}.split()) & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"
    done = subprocess.run([sys.executable, "-m", "assay", "check", "nothing"], capture_output=True, text=True)
    assert done.returncode == 2
    one_line(done.stderr)


# --- hard instances ---------------------------------------------------------------------------------------------------

CNF = "c three models\np cnf 3 4\n1 2 3 0\n-1 -2 0\n-1 -3 0\n-2 -3 0\n"
needs_sat = pytest.mark.skipif(importlib.util.find_spec("cnfgen") is None, reason="cnfgen is not installed")


@pytest.fixture
def decided(run: Run, tmp_path: Path) -> Run:
    """With a formula, its instance and outputs on it."""
    (tmp_path / "formula.cnf").write_text(CNF, encoding="utf-8")
    (tmp_path / "bad.cnf").write_text("p cnf 2 1\n1 two 0\n", encoding="utf-8")
    assert run("hard", "attention", "--from", "formula.cnf", "--counting", "-o", "inst.npz")[0] == 0
    loaded = attention.Instance.load("inst.npz")
    scores = loaded.scale * np.einsum("bhid,bhjd->bhij", loaded.query, loaded.key).astype(np.float64)
    weights = np.exp(scores - scores.max(axis=3, keepdims=True))
    output = ((weights @ loaded.value) / weights.sum(axis=3, keepdims=True)).astype(np.float32)
    np.save("out.npy", output)
    np.save("ones.npy", np.ones_like(output))
    np.save("nan.npy", np.full_like(output, np.nan))
    np.save("short.npy", output[:, :, :1])
    np.save("half.npy", output.astype(ml_dtypes.bfloat16))
    np.savez("both.npz", output=output)
    return run


def test_a_formula_becomes_an_instance_whose_output_decides_it(decided: Run) -> None:
    status, out, error = decided("decode", "inst.npz", "out.npy")
    assert (status, error) == (0, "")
    assert out.startswith("satisfiable, 3 solutions\nmodel ")
    assert "\ntruth      agrees" in out


def test_an_output_that_contradicts_the_truth_fails(decided: Run) -> None:
    status, out, error = decided("decode", "inst.npz", "ones.npy")
    assert (status, error) == (1, "")
    assert out.startswith("unsatisfiable, 0 solutions\n")
    assert "contradicts it: satisfiable, 3 solutions" in out


def test_a_bfloat16_output_is_read_as_numpy_saves_it(decided: Run) -> None:
    assert decided("decode", "inst.npz", "half.npy")[1].startswith("satisfiable")


def test_json_vectors_decode_as_the_npz_does(decided: Run) -> None:
    assert decided("hard", "--from", "formula.cnf", "--counting", "-o", "inst.json")[0] == 0
    assert decided("decode", "inst.json", "out.npy") == decided("decode", "inst.npz", "out.npy")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--family planted-ov --n 64 --d 16 --seed 1", "sizes      n 64  m 65  d 16  B "),
        ("--gap --n 64", "attention  OV-4"),
        ("--family random-ksat --parameter variables=8", "OV-1 → OV-2"),
        ("--family random-ov --n 64 --d 16 --counting --dtype float64", "attention  OV-3"),
    ],
)
def test_families_are_written_with_sizes_accuracy_and_truth(run: Run, words: str, said: str) -> None:
    status, out, error = run("hard", *words.split(), "-o", "x.npz")
    assert (status, error) == (0, "")
    assert said in out
    assert "\naccuracy   every element within " in out
    assert "\ntruth      " in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("hard -o x.npz", "expected --from FILE, --corpus DIR or --family, one of planted-ov"),
        ("hard --family gap", "expected -o FILE"),
        ("hard --family gap -o x.txt", "expected a name that ends in .npz or .json"),
        ("hard --family gpa -o x.npz", "unknown family 'gpa'"),
        ("hard --family random-ov --gap -o x.npz", "--gap: is a family of its own"),
        ("hard --from formula.cnf --gap -o x.npz", "--gap: is a family of its own"),
        ("hard --from none.cnf -o x.npz", "none.cnf: cannot be read"),
        ("hard --from bad.cnf -o x.npz", "bad.cnf, line 2: 'two', expected a literal"),
        ("hard --from formula.cnf --n 3 -o x.npz", "n: only families take parameters"),
        ("hard --family gap --parameter n=many -o x.npz", "--parameter n=many: expected a whole number"),
        ("hard --family gap --parameter m=3 -o x.npz", "gap: no parameter 'm'"),
        ("hard --family planted-ov --n 1000000000 --d 999 -o x.npz", "would take"),
        ("hard --family planted-ov --n 8 --d 4 -o none/x.npz", "none/x.npz: cannot be written"),
        ("hard tensor --family gap -o x.npz", "unknown problem 'tensor'"),
        ("hard --corpus c --family gap", "--family: not with --corpus"),
        ("hard --corpus .", "holds other files"),
        ("decode inst.npz nan.npy", "nan.npy: output[0, 0, 0, 0] is nan"),
        ("decode inst.npz short.npy", "short.npy: output has shape (1, 1, 1, 1): expected (1, 1, 4, 1)"),
        ("decode inst.npz none.npy", "none.npy: no such file"),
        ("decode inst.npz noise.npz", "noise.npz: not a readable .npy file (neither an array nor several, or one of"),
        ("decode inst.npz both.npz", "both.npz: several arrays"),
        ("decode instance.npz out.npy", "instance.npz: a saved instance without its source"),
        ("decode none.npz out.npy", "none.npz: no such file"),
        ("list reduction", "list 'reduction': expected reductions"),
        ("list --dot", "--dot: only with"),
        ("check --corpus c", "--corpus: needs the kernel"),
        ("check kernels.py:good --corpus c", "c: no corpus, expected a folder with manifest.json"),
        ("check kernels.py:good --corpus c --json x.json", "--json: not with --corpus"),
    ],
)
def test_misuse_of_hard_instances_is_one_line(decided: Run, words: str, said: str) -> None:
    status, out, error = decided(*words.split())
    assert (status, out) == (2, "")
    assert said in one_line(error)


def test_reductions_are_drawn_as_text_and_as_dot(run: Run) -> None:
    status, out, error = run("list", "reductions")
    assert (status, error) == (0, "")
    assert "─ OV-1" in out
    status, out, error = run("list", "reductions", "--dot")
    assert (status, error) == (0, "")
    assert out.startswith("digraph reductions {")
    assert '"satisfiability" -> "orthogonal_vectors" [label="OV-1"' in out


@needs_sat
def test_a_kernel_runs_over_a_corpus(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    small = [entry for entry in corpus.ENTRIES if entry.as_json or entry.name == "pigeonhole-3-3"]
    monkeypatch.setattr(corpus, "ENTRIES", tuple(small))
    status, out, error = run("hard", "--corpus", "c")
    assert (status, error) == (0, "")
    assert "version 1  seed 0" in out
    status, out, error = run("check", "kernels.py:good", "--corpus", "c")
    assert (status, error) == (0, "")
    assert out.startswith(f"PASSED kernels.py:good  float32  {len(small)} instances, {len(small)} decoded rightly")
    status, out, error = run("check", "kernels.py:bad", "--corpus", "c", "--quiet")
    assert (status, error) == (1, "")
    assert out.startswith("FAILED kernels.py:bad  float32")
    assert run("check", "kernels.py:good", "--corpus", "c", "--precision", "bfloat16")[0] == 0
    assert run("check", "kernels.py:declines", "--corpus", "c")[0] == 1  # nothing was run
    assert "raised IndexError" in run("check", "kernels.py:raises", "--corpus", "c")[1]
