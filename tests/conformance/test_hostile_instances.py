"""Instances that are valid, and unusual or far too large: each is judged, or refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assay.cli import main
from assay.conformance.replay import replay
from assay.spec import memory
from assay.spec.problem import problem

KERNELS = """
def attention(query, key, value, *, scale, mask=None, bias=None):
    return 2 * value
def attention_gradient(query, key, value, output, log_sum_exp, grad_output, *, scale, mask=None, bias=None):
    return (query, key, value) if bias is None else (query, key, value, bias)
def rope_attention(query, key, value, *, scale, base, mask=None, bias=None):
    return 2 * value
"""


@pytest.mark.parametrize("name", ["attention", "attention_gradient", "rope_attention"])
@pytest.mark.parametrize("axes", [0])
@pytest.mark.parametrize("option", ["mask", "bias"])
def test_a_wrong_kernel_is_told_of_a_mask_or_bias_without_axes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, axes: int, option: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("kernels.py").write_text(KERNELS)
    x = np.random.default_rng(0).random((1, 2, 3, 4), dtype=np.float32)
    arrays = [x] * (4 if name == "attention_gradient" else 3)
    given = np.ones((1, 2, 3, 3)[4 - axes :], bool if option == "mask" else np.float32)
    options: dict[str, Any] = {"base": 100.0} if name == "rope_attention" else {}
    problem(name).Instance(*arrays, **{option: given}, **options).save("one.npz")
    report = replay("one.npz", f"kernels.py:{name}", problem=name)
    assert report.failures


@pytest.mark.parametrize(
    "command",
    [
        ("reference", "one.npz"),
        ("bound", "one.npz", "--precision", "float32"),
        ("replay", "one.npz", "--target", "numpy:attention"),
        ("replay", "few.npz", "--target", "numpy:attention", "--after", "one.npz"),
    ],
)
def test_a_file_whose_scores_would_take_all_memory_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    for file, n in (("one.npz", 60_000), ("few.npz", 2)):
        x = np.zeros((1, 1, n, 1), np.float32)
        problem("attention").Instance(x, x, x).save(file)
    monkeypatch.setattr(memory, "half_of_memory", lambda: 1 << 30)
    assert main(command) == 2
    said = capsys.readouterr().err
    assert said.startswith("assay: one.npz: batch 1, heads 1, queries 60000")
    assert said.endswith("GiB: expected at most 1 GiB, half of this machine's memory\n")
    assert said.count("\n") == 1
