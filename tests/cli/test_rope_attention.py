"""``assay …`` on attention with relative positions: the commands that judge, and the pytest plugin."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest

from assay.conformance.interface import targets
from assay.conformance.report.reading import from_json
from assay.spec import rope_attention

if TYPE_CHECKING:
    from pathlib import Path

Run = Callable[..., tuple[int, str, str]]
pytest_plugins = ["pytester"]

KERNELS = """
import numpy as np

def good(query, key, value, *, scale, base, query_positions=None, key_positions=None):
    def turned(x, positions):
        half = x.shape[3] // 2
        place = np.atleast_2d(np.arange(x.shape[2]) if positions is None else positions)[:, None, :, None]
        angle = place * base ** (-np.arange(half) / half)
        cos, sin, a, b = np.cos(angle), np.sin(angle), x[..., :half], x[..., half:]
        return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=3)
    group = query.shape[1] // key.shape[1]
    q, k = turned(query, query_positions), np.repeat(turned(key, key_positions), group, axis=1)
    score = scale * (q @ k.swapaxes(2, 3))
    p = np.exp(score - score.max(3, keepdims=True))
    return (p / p.sum(3, keepdims=True) @ np.repeat(value, group, axis=1)).astype(query.dtype)

def bad(query, key, value, *, scale, base, query_positions=None, key_positions=None):
    return good(query, key, value, scale=scale, base=base, key_positions=key_positions)
"""
WORDS = "positions of the queries ignored"


@pytest.fixture
def kernels(run: Run, tmp_path: Path) -> Run:
    (tmp_path / "turning.py").write_text(KERNELS, encoding="utf-8")
    one = np.eye(2, dtype=np.float32).reshape(1, 1, 2, 2)
    rope_attention.Instance(one, one, one, scale=1.0, key_positions=np.array([1, 3])).save("turned.npz")
    rope_attention.Instance(one, one, one, np.ones((1, 3), np.float32), support=((0, 1),)).save("general.npz")
    return run


def test_the_problem_is_told_by_the_keywords_and_a_right_kernel_passes(kernels: Run) -> None:
    few = ("--option", "any_positions=no", "--option", "unlike_positions=no")
    status, out, error = kernels("check", "turning.py:good", "--level", "smoke", *few)
    assert (status, error) == (0, "")
    assert "\nPASSED turning.py:good  rope_attention  float32  smoke  seed 0" in out
    status, _, error = kernels("check", "turning.py:good", "--option", "rotation=left")
    assert (status, "rotation=left: expected one of positive, negative" in error) == (2, True)


def test_a_failure_is_named_and_its_reproducer_replays(kernels: Run, tmp_path: Path) -> None:
    files = ("--json", "r.json", "--html", "r.html")
    status, out, _ = kernels("check", "turning.py:bad", "--level", "smoke", "--reproducers", "found", *files)
    assert status == 1
    assert f"behaves like: {WORDS}" in out
    line = next(line for line in out.splitlines() if line.startswith("replay: ")).split()
    status, out, _ = kernels(*line[2:], "--isolate")
    assert (status, WORDS in out) == (1, True)
    assert kernels(*line[2:5], "turning.py:good", "--precision", "float32")[0] == 0
    (report,) = from_json((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert report.problem == "rope_attention"
    assert WORDS in (tmp_path / "r.html").read_text(encoding="utf-8")


@pytest.mark.thorough
def test_an_isolated_kernel_is_judged_alike(kernels: Run) -> None:
    status, out, _ = kernels("check", "turning.py:bad", "--level", "smoke", "--isolate")
    assert (status, WORDS in out) == (1, True)


def test_reference_and_bound_tell_the_output_of_either_form(kernels: Run) -> None:
    status, out, _ = kernels("reference", "turned.npz", "--relative", "1e-20")
    assert (status, "0.664056069" in out) == (0, True)
    assert kernels("reference", "general.npz")[0] == 0
    status, out, _ = kernels("bound", "turned.npz", "--precision", "bfloat16-composed")
    assert (status, out.startswith("rope_attention  output  shape (1, 1, 2, 2)  bfloat16-composed")) == (0, True)


@pytest.mark.thorough
def test_a_data_sheet_says_where_positions_end(kernels: Run) -> None:
    sheet = ("--precision", "float32", "--level", "smoke", "--json", "p.json")
    status, out, _ = kernels("profile", "turning.py:good", *sheet)
    assert (status, "tightest class kept" in out) == (0, True)
    with open("p.json", encoding="utf-8") as file:
        answers = {answer["id"]: answer["answer"] for answer in json.load(file)["answers"]}
    assert answers["default"] == "position 0"
    assert answers["beyond"].startswith("right to 2^17")


def test_a_list_names_the_families_the_classes_and_the_targets(kernels: Run) -> None:
    status, out, _ = kernels("list", "rope_attention")
    assert status == 0
    for word in ("landing", "bfloat16-composed", "ggml:rope+soft_max", "relative_bias"):
        assert word in out


@pytest.mark.thorough
def test_the_plugin_judges_a_kernel_of_the_problem(kernels: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(turning=KERNELS)
    options = ("-p", "no:cacheprovider", "--pyargs", "assay.conformance", "--assay-level", "smoke")
    result = pytester.runpytest(*options, "--assay-kernel", "turning.py:bad")
    assert result.parseoutcomes()["failed"] >= 1  # of the tests that the families of the kernel are
    assert WORDS in result.stdout.str()


@pytest.mark.parametrize("route", ["polynomial", "fourier", "fourier-general"])
def test_a_route_of_gpus_is_refused_in_one_line_without_a_card(
    route: str, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(targets, "importable", lambda module: True)
    monkeypatch.setattr(targets, "_has_cuda_driver", lambda: False)
    said = refused("check", f"cupy:rope_attention-{route}", "--error", "1e-3")
    assert said.startswith(f"assay: cupy:rope_attention-{route}: runs on a CUDA device alone")
