"""``assay replay FILE --script``: a script without assay, run as it stands, shows the wrong element of the finding."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import ml_dtypes
import numpy as np
import pytest

import assay
from assay.conformance.engagement import engaged
from assay.conformance.interface.suite import Case, Family
from assay.conformance.judge.cases import cases_of_level
from assay.conformance.report.script import script
from assay.spec import attention
from assay.spec.criterion import close

if TYPE_CHECKING:
    from assay.conformance.call.outcome import Outcome

Run = Callable[..., tuple[int, str, str]]

#: Kernels that return the wrong numbers, one a problem or form, with what judges them.
WRONG = """
import numpy as np

def threes(query, key, value, *, scale):
    return np.full((*query.shape[:3], value.shape[3]), 3.25, query.dtype)

def gradient(query, key, value, output, log_sum_exp, grad_output, *, scale):
    return np.full_like(query, 3.25), np.zeros_like(key), np.zeros_like(value)

def rotated(query, key, positions, *, base):
    return query, key + 1

def one_rotated(x, positions, *, base):
    return x + 1

def relative(query, key, value, *, scale, base):
    return np.full((*query.shape[:3], value.shape[3]), 3.25, query.dtype)

def tensor(query, key1, key2, value1, value2, *, scale):
    return np.full((*query.shape[:3], value1.shape[3]), 3.25, query.dtype)

def merged(outputs, log_sum_exps):
    return outputs.sum(axis=0) + 1

def last_pair(left, right):
    return len(left) - 1, len(right) - 1, 7.5

def layers(tokens, query_weights, key_weights, value_weights, *, scale):
    return np.full((query_weights.shape[0], *tokens.shape), 3.25, tokens.dtype)

def raises(query, key, value, *, scale):
    raise IndexError("tile 3 of 2")

def transposed(query, key, value, *, scale):
    return np.zeros((*query.shape[:2], value.shape[3] + 1, query.shape[2]), query.dtype)

class Kept:
    @staticmethod
    def threes(query, key, value, *, scale):
        return threes(query, key, value, scale=scale)
"""
TORCH = """
import torch

def doubled(query, key, value, *, scale):
    key, value = (x.repeat_interleave(query.shape[1] // x.shape[1], dim=1) for x in (key, value))
    return torch.softmax(2 * scale * query @ key.mT, -1) @ value

def cubic(query, key1, key2, value1, value2, *, scale):
    return query[..., :1] * 0 + (value1.sum() + key1.sum() * key2.sum()) * torch.ones(1, value1.shape[3])
"""
JAX = """
import jax
import jax.numpy as jnp

def doubled(query, key, value, *, scale):
    key, value = (jnp.repeat(x, query.shape[1] // x.shape[1], axis=1) for x in (key, value))
    return (jax.nn.softmax(2 * scale * query @ key.swapaxes(2, 3), -1) @ value).astype(query.dtype)
"""
FRAMEWORKS = {"torch": TORCH, "jax": JAX}


@pytest.fixture
def kernels(run: Run, tmp_path: Path) -> Run:
    (tmp_path / "wrong.py").write_text(WRONG, encoding="utf-8")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "wrong_too.py").write_text(WRONG, encoding="utf-8")
    (tmp_path / "my-wrong.py").write_text(WRONG, encoding="utf-8")
    for name, text in FRAMEWORKS.items():
        (tmp_path / f"wrong_{name}.py").write_text(text, encoding="utf-8")
    return run


def shown(text: str) -> subprocess.CompletedProcess[str]:
    """The script, run in a process of its own, that fails if anything of assay was imported."""
    Path("show.py").write_text(text, encoding="utf-8")
    runner = "import runpy, sys; runpy.run_path('show.py'); assert not [m for m in sys.modules if m[:5] == 'assay']"
    return subprocess.run([sys.executable, "-c", runner], capture_output=True, text=True, check=False)


CASES = [
    ("attention", "wrong.py:threes", ()),
    ("attention", "sub/wrong_too.py:threes", ()),
    ("attention", "my-wrong.py:threes", ()),
    ("attention", "wrong.py:Kept.threes", ()),
    ("attention", "wrong.py:threes", ("--precision", "bfloat16")),
    ("attention", "wrong.py:threes", ("--precision", "float64")),
    ("attention_gradient", "wrong.py:gradient", ()),
    ("rope", "wrong.py:rotated", ()),
    ("rope", "wrong.py:one_rotated", ()),
    ("rope_attention", "wrong.py:relative", ()),
    ("tensor_attention", "wrong.py:tensor", ()),
    ("small_transformers_merge", "wrong.py:merged", ()),
    ("document_similarity", "wrong.py:last_pair", ()),
    ("layer_collapse", "wrong.py:layers", ()),
    ("attention", "wrong_torch.py:doubled", ("--framework", "torch")),
    ("attention", "wrong_torch.py:doubled", ("--framework", "torch", "--precision", "bfloat16")),
    ("attention_gradient", "wrong_torch.py:doubled", ("--framework", "torch")),
    ("tensor_attention_gradient", "wrong_torch.py:cubic", ("--framework", "torch")),
    ("attention", "wrong_jax.py:doubled", ("--framework", "jax")),
    ("attention", "wrong_jax.py:doubled", ("--framework", "jax", "--precision", "bfloat16")),
    ("attention_gradient", "wrong_jax.py:doubled", ("--framework", "jax")),
]


def failing(target: str, problem: str, precision: str, framework: str) -> Outcome:
    """The first case of the problem on which the kernel is wrong by its numbers; its instance is saved."""
    with engaged(target, problem, precision, framework=framework) as judge:
        has = judge.suite.interface.has(judge.kernel)
        for case in cases_of_level(judge.suite, judge.precision, "smoke", 0, has):
            if case.layout.name == "contiguous" and not case.after and not case.beside:
                outcome = judge.outcome(case)
                if outcome.kind == "error":
                    case.instance.save("found.npz")
                    return outcome
    raise AssertionError(f"{target} is right everywhere")


@pytest.mark.parametrize(("problem", "target", "words"), CASES)
def test_the_script_of_a_finding_runs_without_assay_and_shows_its_element(
    kernels: Run, problem: str, target: str, words: tuple[str, ...]
) -> None:
    said = dict(zip(words[::2], words[1::2], strict=True))
    framework = said.get("--framework", "numpy")
    pytest.importorskip(framework)
    found = failing(target, problem, said.get("--precision", "float32"), framework)
    status, text, error = kernels("replay", "found.npz", "--target", target, "--problem", problem, *words, "--script")
    assert (status, error) == (0, "")
    done = shown(text)
    assert done.returncode == 0, done.stderr + text
    assert f": {found.sentence}\n" in text
    assert re.search(rf"^# .*; {framework} \d", text, re.MULTILINE)
    assert len(text.splitlines()) <= 24
    if found.interval is None:
        assert found.expected in done.stdout
        return
    returned, certified, tolerance = done.stdout.splitlines()
    assert float(returned.split()[1]) == found.got
    assert found.interval[0] <= float(certified.split()[1]) <= found.interval[1]
    assert float(tolerance.split()[1]) == pytest.approx(found.allowed, rel=1e-2)


def test_a_small_finding_of_attention_is_ten_lines(kernels: Run) -> None:
    x = np.ones((1, 1, 1, 1), np.float32)
    attention.Instance(x, x, x).save("tiny.npz")
    text = kernels("replay", "tiny.npz", "--target", "wrong.py:threes", "--script")[1]
    assert len([row for row in text.splitlines() if row and not row.startswith("#")]) <= 10
    assert "assay" not in text


def test_an_exception_is_shown_by_the_call_that_raises_it(kernels: Run) -> None:
    status, text, _ = kernels("replay", "instance.npz", "--target", "wrong.py:raises", "--script")
    assert status == 0
    assert "# wrong.py:raises: raised IndexError: tile 3 of 2" in text
    done = shown(text)
    assert done.returncode == 1
    assert "IndexError: tile 3 of 2" in done.stderr


def test_a_wrong_shape_is_shown(kernels: Run) -> None:
    done = shown(kernels("replay", "instance.npz", "--target", "wrong.py:transposed", "--script")[1])
    assert done.stdout == "(1, 2, 4, 4) float32\n"


@pytest.mark.parametrize(
    ("target", "words"), [("wrong.py:threes", ()), ("wrong_torch.py:doubled", ("--framework", "torch"))]
)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_large_input_is_read_from_its_file(kernels: Run, target: str, words: tuple[str, ...], precision: str) -> None:
    if words:
        pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    dtype = np.float32 if precision == "float32" else ml_dtypes.bfloat16
    attention.Instance(*(rng.standard_normal((1, 2, n, 8)).astype(dtype) for n in (40, 50, 50))).save("large.npz")
    text = kernels("replay", "large.npz", "--target", target, *words, "--precision", precision, "--script")[1]
    assert 'saved = np.load("large.npz")' in text
    done = shown(text)
    assert done.returncode == 0, done.stderr
    report = assay.replay("large.npz", target, precision=precision, framework=words[1] if words else None)
    assert float(done.stdout.split()[1]) == report.failures[0].got


@pytest.mark.parametrize("name", ["torch:sdpa", "torch:sdpa-math", "jax:dot_product_attention"])
def test_a_built_in_of_a_library_is_called_as_the_library_says(kernels: Run, name: str) -> None:
    """The plain definition gives the bits of the built-in, as a criterion shows that allows no error at all."""
    framework = name.partition(":")[0]
    pytest.importorskip(framework)
    rng = np.random.default_rng(2)
    arrays = [(3 * rng.standard_normal((1, 2, n, 3))).astype(np.float32) for n in (3, 4, 4)]
    instance = attention.Instance(*arrays, scale=0.5, mask=np.array([True, True, False, True]))
    with engaged(name, "attention") as judge:
        case = Case("one", Family("one", "", ""), instance)
        right = {key: close(one.value, 0 * one.allowed) for key, one in judge.criteria(instance).items() if one.value}
        outcome = judge.outcome(case, right)
        steps = judge.suite.interface.script(instance, judge.kernel, judge.precision)
        text = script(judge.kernel, judge.framework, steps, instance, "one.npz", outcome)
    assert outcome.failed
    done = shown(text)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[1]) == outcome.got
    assert re.search(rf"^import {framework}$", text, re.MULTILINE)


# --- where no script shows it -----------------------------------------------------------------------------------------


def test_a_kernel_that_is_handed_an_oracle_has_no_script_and_one_line_says_so(
    kernels: Run, refused: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "small.py").write_text(
        "def zero(query, key, value, *, oracle, size, scale):\n    return 0 * query + 3\n", encoding="utf-8"
    )
    failing("small.py:zero", "small_transformers", "float32", "numpy")
    said = refused("replay", "found.npz", "--target", "small.py:zero", "--script")
    assert "kernels of small_transformers call a function that the judge hands them" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--target", "kernels.py:good"), "there is nothing to show, kernels.py:good passed"),
        (("--target", "numpy:attention"), "assay calls numpy:attention through code of its own"),
        (("--target", "kernels.py:bad", "--layout", "gap"), "shows one call with plain arrays"),
        (("--target", "kernels.py:bad", "--after", "instance.npz"), "shows one call with plain arrays"),
    ],
)
def test_what_no_script_shows_is_one_line(refused: Callable[..., str], words: tuple[str, ...], said: str) -> None:
    assert said in refused("replay", "instance.npz", *words, "--script")


# --- in Python --------------------------------------------------------------------------------------------------------


def test_a_file_is_loaded_and_replayed_with_a_function(run: Run) -> None:
    def threes(query: np.ndarray, key: np.ndarray, value: np.ndarray, *, scale: float) -> np.ndarray:
        return np.full((*query.shape[:3], value.shape[3]), 3.25, query.dtype)

    instance = assay.load("instance.npz")
    assert instance.query.shape == (1, 2, 4, 3)
    report = assay.replay("instance.npz", threes)
    assert not report.passed
    assert report.failures[0].got == 3.25
    assert [part.sentence for part in report.failures[0].wrong] == ["24 of 24 elements: output[0, :, :, :]"]


def test_the_front_door_lists_what_is_public() -> None:
    public = [name for name in dir(assay) if not name.startswith("_")]
    assert public == sorted(assay.__all__)
    assert {"check", "load", "replay"} <= set(public)
    assert all(getattr(assay, name) for name in public)
    assert importlib.util.find_spec("assay") is not None
