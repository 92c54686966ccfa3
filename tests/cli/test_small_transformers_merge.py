"""``assay …`` on merges of parts of attention: the commands that judge, and the pytest plugin."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest

from assay.conformance.report.reading import from_json
from assay.spec import small_transformers_merge

if TYPE_CHECKING:
    from pathlib import Path

Run = Callable[..., tuple[int, str, str]]
pytest_plugins = ["pytester"]

KERNELS = """
import numpy as np

def good(outputs, log_sum_exps):
    most = log_sum_exps.max(axis=0)
    weight = np.exp(log_sum_exps - np.where(np.isfinite(most), most, 0))
    total = weight.sum(axis=0)
    made = (weight[..., None] * outputs.astype(weight.dtype)).sum(axis=0) / np.where(total > 0, total, 1)[..., None]
    return made.astype(outputs.dtype)

def bad(outputs, log_sum_exps):
    return good(outputs, (log_sum_exps * 1.4426950408889634).astype(log_sum_exps.dtype))
"""
WORDS = "log-sum-exps of base 2 are taken for natural ones"


@pytest.fixture
def kernels(run: Run, tmp_path: Path) -> Run:
    (tmp_path / "merging.py").write_text(KERNELS, encoding="utf-8")
    parts = np.array([1.0, 5.0], np.float32).reshape(2, 1, 1, 1, 1)
    logs = np.array([0.0, 3.0], np.float32).reshape(2, 1, 1, 1)
    small_transformers_merge.Instance(parts, logs).save("parts.npz")
    return run


def test_the_problem_is_told_by_the_arrays_and_a_right_kernel_passes(kernels: Run) -> None:
    status, out, error = kernels("check", "merging.py:good", "--level", "smoke")
    assert (status, error) == (0, "")
    assert "\nPASSED merging.py:good  small_transformers_merge  float32  smoke  seed 0" in out
    status, _, error = kernels("check", "merging.py:good", "--option", "logarithm=decimal")
    assert (status, "logarithm=decimal: expected one of natural, binary" in error) == (2, True)


def test_a_failure_is_named_and_its_reproducer_replays(kernels: Run, tmp_path: Path) -> None:
    files = ("--json", "r.json", "--html", "r.html")
    status, out, _ = kernels("check", "merging.py:bad", "--level", "smoke", "--reproducers", "found", *files)
    assert status == 1
    assert f"behaves like: {WORDS}" in out
    line = next(line for line in out.splitlines() if line.startswith("replay: ")).split()
    assert kernels(*line[2:])[0] == 1
    assert kernels(*line[2:5], "merging.py:good", "--precision", "float32")[0] == 0
    (report,) = from_json((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert report.problem == "small_transformers_merge"
    assert WORDS in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_reference_and_bound_tell_the_output(kernels: Run) -> None:
    status, out, _ = kernels("reference", "parts.npz", "--relative", "1e-20")
    assert (status, "4.8102965" in out) == (0, True)  # (1 + 5e³)/(1 + e³)
    status, out, _ = kernels("bound", "parts.npz", "--precision", "bfloat16")
    assert (status, out.startswith("small_transformers_merge  output  shape (1, 1, 1, 1)  bfloat16")) == (0, True)


def test_a_list_names_the_families_the_classes_and_the_targets(kernels: Run) -> None:
    status, out, _ = kernels("list", "small_transformers_merge")
    assert status == 0
    for word in ("two-empty-parts", "bfloat16", "torch:flashinfer-merge_state", "return_lse"):
        assert word in out


@pytest.mark.thorough
def test_a_data_sheet_tells_the_logarithm(kernels: Run) -> None:
    for kernel, base in (("good", "natural"), ("bad", "neither natural nor of base 2")):
        sheet = ("--precision", "float32", "--level", "smoke", "--json", "p.json")
        kernels("profile", f"merging.py:{kernel}", *sheet)
        with open("p.json", encoding="utf-8") as file:
            answers = {answer["id"]: answer["answer"] for answer in json.load(file)["answers"]}
        assert answers["base"].startswith(base)
        assert answers["all-empty"] == "zeros"


@pytest.mark.thorough
def test_the_plugin_judges_a_kernel_of_the_problem(kernels: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(merging=KERNELS)
    options = ("-p", "no:cacheprovider", "--pyargs", "assay.conformance", "--assay-level", "smoke")
    result = pytester.runpytest(*options, "--assay-kernel", "merging.py:bad")
    assert result.parseoutcomes()["failed"] >= 1  # of the tests that the families of the kernel are
    assert WORDS in result.stdout.str()
