"""``assay …`` on attention of order k and its backward pass: the commands that judge, and the pytest plugin."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest

from assay.conformance.report.reading import from_json
from assay.spec import tensor_attention, tensor_attention_gradient

if TYPE_CHECKING:
    from pathlib import Path

Run = Callable[..., tuple[int, str, str]]
pytest_plugins = ["pytester"]

KERNELS = """
import numpy as np

def good(query, key1, key2, value1, value2, *, scale, is_causal=False):
    group = query.shape[1] // key1.shape[1]
    k1, k2, v1, v2 = (np.repeat(x, group, axis=1) for x in (key1, key2, value1, value2))
    score = scale * np.einsum("bhid,bhjd,bhkd->bhijk", query, k1, k2)
    if is_causal:
        i = np.arange(query.shape[2])[:, None]
        one, two = (np.arange(k.shape[2]) <= i for k in (k1, k2))
        score = np.where(one[:, :, None] & two[:, None, :], score, -np.inf)
    p = np.exp(score - score.max(axis=(3, 4), keepdims=True))
    p = p / p.sum(axis=(3, 4), keepdims=True)
    return np.einsum("bhijk,bhjd,bhkd->bhid", p, v1, v2).astype(query.dtype)

def bad(query, key1, key2, value1, value2, *, scale, is_causal=False):
    return good(query, key1, key2, value1, np.ones_like(value2), scale=scale, is_causal=is_causal)

def backward(query, key1, key2, value1, value2, output, log_sum_exp, grad_output, *, scale):
    group = query.shape[1] // key1.shape[1]
    k1, k2, v1, v2 = (np.repeat(x, group, axis=1) for x in (key1, key2, value1, value2))
    score = scale * np.einsum("bhid,bhjd,bhkd->bhijk", query, k1, k2)
    p = np.exp(score - log_sum_exp[..., None, None])
    g = np.einsum("bhid,bhjd,bhkd->bhijk", grad_output, v1, v2)
    ds = p * (g - (grad_output * output).sum(3)[..., None, None])
    def added(x, to):
        return x.reshape(x.shape[0], -1, group, *x.shape[2:]).sum(axis=2).astype(to.dtype)
    return (
        (scale * np.einsum("bhijk,bhjd,bhkd->bhid", ds, k1, k2)).astype(query.dtype),
        added(scale * np.einsum("bhijk,bhid,bhkd->bhjd", ds, query, k2), key1),
        added(scale * np.einsum("bhijk,bhid,bhjd->bhkd", ds, query, k1), key2),
        added(np.einsum("bhijk,bhid,bhkd->bhjd", p, grad_output, v2), value1),
        added(np.einsum("bhijk,bhid,bhjd->bhkd", p, grad_output, v1), value2),
    )

def exchanged(query, key1, key2, value1, value2, output, log_sum_exp, grad_output, *, scale):
    dq, dk1, dk2, dv1, dv2 = backward(query, key1, key2, value1, value2, output, log_sum_exp, grad_output, scale=scale)
    return (dq, dk2, dk1, dv2, dv1) if key1.shape == key2.shape else (dq, dk1, dk2, dv1, dv2)
"""
WORDS = "values of mode 2 left out of the output"


@pytest.fixture
def kernels(run: Run, tmp_path: Path) -> Run:
    (tmp_path / "pairs.py").write_text(KERNELS, encoding="utf-8")
    x = np.arange(2.0, dtype=np.float32).reshape(1, 1, 2, 1)
    tensor_attention.Instance(x, x, x, x, x).save("three.npz")
    tensor_attention.Instance.of_order(4)(x, x, x, x, x, x, x).save("four.npz")
    tensor_attention_gradient.Instance(x + 1, x, x + 2, x, 1 - x, x).save("back.npz")
    return run


def test_the_problem_and_the_order_are_told_by_the_arrays_and_a_right_kernel_passes(kernels: Run) -> None:
    status, out, error = kernels("check", "pairs.py:good", "--level", "smoke")
    assert (status, error) == (0, "")
    assert "\nPASSED pairs.py:good  tensor_attention  float32  smoke  seed 0" in out
    assert "takes 2 keys and values a position, and not 3" in out


def test_a_failure_is_named_and_its_reproducer_replays(kernels: Run, tmp_path: Path) -> None:
    files = ("--json", "r.json", "--html", "r.html")
    status, out, _ = kernels("check", "pairs.py:bad", "--level", "smoke", "--reproducers", "found", *files)
    assert status == 1
    assert f"behaves like: {WORDS}" in out
    line = next(line for line in out.splitlines() if line.startswith("replay: ")).split()
    status, out, _ = kernels(*line[2:], "--isolate")
    assert (status, WORDS in out) == (1, True)
    assert kernels(*line[2:5], "pairs.py:good", "--precision", "float32")[0] == 0
    (report,) = from_json((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert report.problem == "tensor_attention"
    assert WORDS in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_a_backward_pass_is_judged_on_a_saved_instance(kernels: Run) -> None:
    assert kernels("replay", "back.npz", "--target", "pairs.py:backward", "--precision", "float32")[0] == 0
    status, out, _ = kernels("replay", "back.npz", "--target", "pairs.py:exchanged", "--precision", "float32")
    assert (status, "grad_" in out) == (1, True)


@pytest.mark.thorough
def test_a_backward_pass_is_judged_and_exchanged_modes_are_named(kernels: Run) -> None:
    status, out, error = kernels("check", "pairs.py:exchanged", "--level", "smoke")
    assert (status, error) == (1, "")
    assert "\nFAILED pairs.py:exchanged  tensor_attention_gradient" in out
    assert "the gradients of the modes exchanged" in out


@pytest.mark.thorough
def test_a_right_backward_pass_passes(kernels: Run) -> None:
    assert kernels("check", "pairs.py:backward", "--level", "smoke")[0] == 0


@pytest.mark.thorough
def test_an_isolated_kernel_is_judged_alike(kernels: Run) -> None:
    status, out, _ = kernels("check", "pairs.py:bad", "--level", "smoke", "--isolate")
    assert (status, WORDS in out) == (1, True)


def test_reference_and_bound_tell_the_output_of_every_order(kernels: Run) -> None:
    status, out, _ = kernels("reference", "three.npz", "--relative", "1e-20")
    assert (status, "0.475366886418" in out) == (0, True)  # e/(3 + e)
    status, out, _ = kernels("reference", "four.npz")
    assert (status, "0.27970" in out) == (0, True)  # e/(7 + e)
    assert kernels("reference", "back.npz")[0] == 0
    status, out, _ = kernels("bound", "three.npz", "--precision", "bfloat16-simplicial")
    assert (status, out.startswith("tensor_attention  output  shape (1, 1, 2, 1)  bfloat16-simplicial")) == (0, True)


@pytest.mark.thorough
def test_a_data_sheet_says_what_is_lost_of_a_sum(kernels: Run) -> None:
    sheet = ("--precision", "float32", "--level", "smoke", "--json", "p.json")
    status, out, _ = kernels("profile", "pairs.py:good", *sheet)
    assert (status, "tightest class kept" in out) == (0, True)
    with open("p.json", encoding="utf-8") as file:
        answers = {answer["id"]: answer["answer"] for answer in json.load(file)["answers"]}
    assert "sum" in answers


def test_a_list_names_the_families_the_classes_and_the_targets(kernels: Run) -> None:
    status, out, _ = kernels("list", "tensor_attention")
    assert status == 0
    for word in ("flattening", "bfloat16-simplicial", "triton:two_simplicial", "window=None"):
        assert word in out


@pytest.mark.thorough
def test_the_plugin_judges_a_kernel_of_the_problem(kernels: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(pairs=KERNELS)
    options = ("-p", "no:cacheprovider", "--pyargs", "assay.conformance", "--assay-level", "smoke")
    result = pytester.runpytest(*options, "--assay-kernel", "pairs.py:bad")
    assert result.parseoutcomes()["failed"] >= 1  # of the tests that the families of the kernel are
    assert WORDS in result.stdout.str()
