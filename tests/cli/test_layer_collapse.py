"""``assay …`` on stacks of layers: the commands that judge, and the pytest plugin."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest

from assay.conformance.report.reading import from_json
from assay.spec import layer_collapse

if TYPE_CHECKING:
    from pathlib import Path

Run = Callable[..., tuple[int, str, str]]
pytest_plugins = ["pytester"]

KERNELS = """
import numpy as np

def stacked(tokens, weights, scale, norm, epsilon, *, after_norm):
    x, after = tokens, []
    for w_q, w_k, w_v in zip(*weights):
        y = x
        if norm is not None:
            y = x - x.mean(1, keepdims=True) if norm == "layer" else x
            y = y / np.sqrt((y * y).mean(1, keepdims=True) + x.dtype.type(epsilon))
        group = len(w_q) // len(w_k)
        q, k, v = y @ w_q, np.repeat(y @ w_k, group, 0), np.repeat(y @ w_v, group, 0)
        score = x.dtype.type(scale) * (q @ k.swapaxes(1, 2))
        p = np.exp(score - score.max(2, keepdims=True))
        x = (y if after_norm else x) + (p / p.sum(2, keepdims=True) @ v).sum(0)
        after.append(x)
    return np.stack(after)

def good(tokens, query_weights, key_weights, value_weights, *, scale, norm=None, epsilon=None):
    return stacked(tokens, (query_weights, key_weights, value_weights), scale, norm, epsilon, after_norm=False)

def bad(tokens, query_weights, key_weights, value_weights, *, scale, norm=None, epsilon=None):
    return stacked(tokens, (query_weights, key_weights, value_weights), scale, norm, epsilon, after_norm=True)
"""
WORDS = "skip connection taken after the norm"


@pytest.fixture
def kernels(run: Run, tmp_path: Path) -> Run:
    (tmp_path / "stacking.py").write_text(KERNELS, encoding="utf-8")
    one = np.ones((2, 1, 1, 1), np.float32)
    layer_collapse.Instance(np.array([[0.0], [1.0]], np.float32), one, one, one).save("stack.npz")
    return run


def test_the_problem_is_told_by_the_arrays_and_a_right_stack_passes(kernels: Run) -> None:
    status, out, error = kernels("check", "stacking.py:good", "--level", "smoke", "--option", "several_layers=no")
    assert (status, error) == (0, "")
    assert "\nPASSED stacking.py:good  layer_collapse  float32  smoke  seed 0" in out
    status, _, error = kernels("check", "stacking.py:good", "--option", "skip=no")
    assert (status, "unknown option skip=no (did you mean skips or no_skip?): expected one of" in error) == (2, True)


def test_a_failure_is_named_and_its_reproducer_replays(kernels: Run, tmp_path: Path, thorough: bool) -> None:
    files = ("--json", "r.json", "--html", "r.html")
    away = () if thorough else ("several_layers", "grouped_heads", "free_head_dim", "concurrent_calls", "rms_norm")
    smaller = [word for name in away for word in ("--option", f"{name}=no")]
    status, out, _ = kernels("check", "stacking.py:bad", "--level", "smoke", "--reproducers", "found", *files, *smaller)
    assert status == 1
    assert f"behaves like: {WORDS}" in out
    line = next(line for line in out.splitlines() if line.startswith("replay: ")).split()
    isolated = ("--isolate",) if thorough else ()  # every question of the diagnosis is a process of its own
    status, out, _ = kernels(*line[2:], *isolated)
    assert (status, WORDS in out) == (1, True)
    assert kernels(*line[2:5], "stacking.py:good", "--precision", "float32")[0] == 0
    (report,) = from_json((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert report.problem == "layer_collapse"
    assert WORDS in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_reference_and_bound_tell_the_tokens_after_every_layer_and_what_they_may_err(kernels: Run) -> None:
    status, out, _ = kernels("reference", "stack.npz", "--relative", "1e-20")
    assert (status, "[0, 1, 0]  1.7310585786300048792" in out) == (0, True)
    status, out, _ = kernels("bound", "stack.npz", "--precision", "bfloat16")
    assert (status, out.startswith("layer_collapse  tokens  shape (2, 2, 1)  bfloat16")) == (0, True)


@pytest.mark.thorough
def test_a_data_sheet_says_what_is_taken_where_nothing_is_passed(kernels: Run) -> None:
    sheet = ("--precision", "float32", "--level", "smoke", "--json", "p.json")
    status, out, _ = kernels("profile", "stacking.py:good", *sheet, "--option", "several_layers=no")
    assert (status, "tightest class kept: float32 on float32" in out) == (0, True)
    with open("p.json", encoding="utf-8") as file:
        answers = {answer["id"]: answer["answer"] for answer in json.load(file)["answers"]}
    assert answers["repeats"] == "the same bits in 5 calls"
    assert answers["scores"] == "none to a scale of 2^14"


def test_a_list_names_the_families_the_classes_and_the_targets(kernels: Run) -> None:
    status, out, _ = kernels("list", "layer_collapse")
    assert status == 0
    for word in ("skip-after-norm", "bfloat16-eager", "torch:encoder_layer", "query_weights"):
        assert word in out


@pytest.mark.thorough
def test_the_plugin_judges_a_kernel_of_the_problem(kernels: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(stacking=KERNELS)
    options = ("-p", "no:cacheprovider", "--pyargs", "assay.conformance", "--assay-level", "smoke")
    result = pytester.runpytest(*options, "--assay-kernel", "stacking.py:bad")
    assert result.parseoutcomes()["failed"] >= 1  # of the tests that the families of the kernel are
    assert WORDS in result.stdout.str()
