"""``assay …`` on merges of parts and on simulations: the commands that judge."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

Run = Callable[..., tuple[int, str, str]]

KERNELS = """
import numpy as np

def good(outputs, log_sum_exps):
    most = log_sum_exps.max(axis=0)
    weight = np.exp(log_sum_exps - np.where(np.isfinite(most), most, 0))
    total = weight.sum(axis=0)
    made = (weight[..., None] * outputs).sum(axis=0) / np.where(total > 0, total, 1)[..., None]
    return made.astype(outputs.dtype)

def bad(outputs, log_sum_exps):
    return good(outputs, log_sum_exps * np.float32(0.6931472))

def greedy(query, key, value, *, oracle, size, scale):
    return oracle(query, key, value, scale=scale)
"""
WORDS = "log-sum-exps are taken for those of base 2"


@pytest.fixture
def kernels(run: Run, tmp_path: Path) -> Run:
    (tmp_path / "merging.py").write_text(KERNELS, encoding="utf-8")
    return run


def test_the_problem_is_told_by_the_arrays_and_a_right_merge_passes(kernels: Run) -> None:
    status, out, error = kernels("check", "merging.py:good", "--level", "smoke")
    assert (status, error) == (0, "")
    assert out.startswith("PASSED merging.py:good  small_transformers_merge  float32  smoke  seed 0")


@pytest.mark.filterwarnings("ignore:Generating overly large repr")
def test_a_failure_is_named_and_its_reproducer_replays(kernels: Run) -> None:
    status, out, _ = kernels("check", "merging.py:bad", "--level", "smoke", "--reproducers", "found")
    assert status == 1
    assert f"behaves like: {WORDS}" in out
    line = next(line for line in out.splitlines() if line.startswith("   replay")).split()
    status, out, _ = kernels(*line[2:])
    assert (status, WORDS in out) == (1, True)


def test_a_call_of_more_tokens_than_the_oracle_takes_is_a_failure_that_names_the_call(kernels: Run) -> None:
    few = ("--option", "grouped_heads=no")
    status, out, _ = kernels("check", "merging.py:greedy", "--problem", "small_transformers", "--level", "smoke", *few)
    assert (status, "call 1 of oracle" in out) == (1, True)


def test_a_list_names_the_families_and_the_targets(kernels: Run) -> None:
    for problem, word in (
        ("small_transformers", "assay:cpu-causal"),
        ("small_transformers_merge", "torch:_SDPAMerger"),
    ):
        status, out, _ = kernels("list", problem)
        assert (status, word in out) == (0, True)
