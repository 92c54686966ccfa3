"""``assay …`` on the backward pass: every command, and the pytest plugin."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest

from assay.conformance.report.reading import from_json
from assay.spec import attention_gradient

if TYPE_CHECKING:
    from pathlib import Path

Run = Callable[..., tuple[int, str, str]]
pytest_plugins = ["pytester"]

KERNELS = """
import numpy as np

def good(query, key, value, output, log_sum_exp, grad_output, *, scale):
    group = query.shape[1] // key.shape[1]
    k, v = np.repeat(key, group, 1), np.repeat(value, group, 1)
    p = np.exp(query @ k.swapaxes(2, 3) * np.float32(scale) - log_sum_exp[..., None])
    delta = (grad_output * output).sum(3, keepdims=True)
    ds = p * (grad_output @ v.swapaxes(2, 3) - delta)
    summed = lambda x: x.reshape(x.shape[0], -1, group, *x.shape[2:]).sum(2)
    return (ds @ k * np.float32(scale), summed(ds.swapaxes(2, 3) @ query) * np.float32(scale),
            summed(p.swapaxes(2, 3) @ grad_output))

def bad(query, key, value, output, log_sum_exp, grad_output, *, scale):
    return good(query, key, value, 0 * output, log_sum_exp, grad_output, scale=scale)
"""


@pytest.fixture
def kernels(run: Run, tmp_path: Path) -> Run:
    (tmp_path / "gradients.py").write_text(KERNELS, encoding="utf-8")
    x = np.ones((1, 2, 3, 4), np.float32)
    attention_gradient.Instance(x, x[:, :1], x[:, :1], x).save("gradient.npz")
    return run


def test_the_problem_is_told_by_the_arrays(kernels: Run) -> None:
    status, out, error = kernels("check", "gradients.py:good", "--level", "smoke", "--seconds", "1")
    assert status in (0, 3)  # whether there is time for every family depends on the machine
    assert error == ""
    assert "gradients.py:good  attention_gradient  float32  smoke  seed 0" in out


@pytest.mark.thorough
def test_a_right_backward_pass_passes(kernels: Run) -> None:
    assert kernels("check", "gradients.py:good", "--level", "smoke", "--seconds", "60")[0] == 0


def test_a_failure_is_named_and_its_reproducer_replays(kernels: Run, tmp_path: Path) -> None:
    files = ("--json", "r.json", "--html", "r.html")
    status, out, _ = kernels(
        "check", "gradients.py:bad", "--level", "smoke", "--seconds", "2", "--reproducers", "found", *files
    )
    assert status == 1
    assert "behaves like: δ is left out: dS = p·dP" in out
    line = next(line for line in out.splitlines() if line.startswith("replay: ")).split()
    assert kernels(*line[2:])[0] == 1
    assert kernels(*line[2:5], "gradients.py:good", "--precision", "float32")[0] == 0
    (report,) = from_json((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert report.problem == "attention_gradient"
    assert json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert "δ is left out" in (tmp_path / "r.html").read_text(encoding="utf-8")


@pytest.mark.thorough
def test_a_kernel_in_another_process_gets_the_same_verdict(kernels: Run) -> None:
    status, out, _ = kernels("check", "gradients.py:bad", "--level", "smoke", "--isolate")
    assert status == 1
    assert "δ is left out" in out


def test_values_tolerances_and_the_listing_are_printed(kernels: Run) -> None:
    status, out, _ = kernels("reference", "gradient.npz", "--output", "grad_value")
    assert status == 0
    assert "±" in out
    assert "attention_gradient  grad_query" in kernels("bound", "gradient.npz", "--precision", "bfloat16")[1]
    listing = kernels("list", "attention_gradient")[1]
    assert "log-sum-exp-gradient" in listing
    assert "torch:sdpa-autograd" in listing


@pytest.mark.thorough
def test_a_data_sheet_says_what_is_done_with_delta(kernels: Run) -> None:
    status, out, _ = kernels("profile", "gradients.py:good", "--precision", "float32")
    assert status == 0
    assert "g − δ where it is 0" in out


@pytest.mark.thorough
def test_the_plugin_judges_it(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(gradients=KERNELS)
    options = ("-p", "no:cacheprovider", "--assay-level", "smoke", "--pyargs", "assay.conformance")
    kernels = ("--assay-kernel", "gradients.py:good", "--assay-kernel", "gradients.py:bad")
    result = pytester.runpytest_subprocess(*kernels, *options)
    failed = [line for line in result.outlines if line.startswith("FAILED test_conformance.py")]
    assert failed
    assert not any("gradients.py:good" in line for line in failed)
    assert result.parseoutcomes()["passed"] >= 20  # a test for each family of the right one
