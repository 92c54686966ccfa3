"""``assay …`` on document similarity: every command, and the pytest plugin."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest

from assay.conformance.report.reading import from_json
from assay.spec import document_similarity

if TYPE_CHECKING:
    from pathlib import Path

Run = Callable[..., tuple[int, str, str]]
pytest_plugins = ["pytester"]

KERNELS = """
import numpy as np

def good(left, right=None, *, least=False):
    left, other = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (left, left if right is None else right))
    table = left @ other.T
    score = -table if least else table.copy()
    if right is None:
        np.fill_diagonal(score, -np.inf)
    i, j = np.unravel_index(np.argmax(score), score.shape)
    return int(i), int(j), float(table[i, j])

def bad(left, right=None, *, least=False):
    i, j, similarity = good(left, right, least=least)
    return j, i, similarity
"""
WORDS = "i and j exchanged"


@pytest.fixture
def kernels(run: Run, tmp_path: Path) -> Run:
    (tmp_path / "searching.py").write_text(KERNELS, encoding="utf-8")
    left = np.array([[1.0, 2.0, 0.0], [0.0, 1.0, 3.0]], np.float32)
    document_similarity.Instance(left, left[::-1] + np.float32(1)).save("documents.npz")
    return run


def test_the_problem_is_told_by_the_arrays_and_what_is_declared_is_used(kernels: Run) -> None:
    declared = ("--option", "approximation=2", "--option", "words=1..64")
    status, out, error = kernels("check", "searching.py:good", "--level", "smoke", *declared)
    assert (status, error) == (0, "")
    assert "\nPASSED searching.py:good  document_similarity  float32  smoke  seed 0" in out
    status, _, error = kernels("check", "searching.py:good", "--option", "through=angle")
    assert (status, "option through=angle: expected one of similarity, distance" in error) == (2, True)
    refusal = "assay: option approximation=0.5: expected a number of at least 1\n"
    assert kernels("check", "searching.py:good", "--option", "approximation=0.5") == (2, "", refusal)


def test_a_failure_is_named_and_its_reproducer_replays(kernels: Run, tmp_path: Path) -> None:
    files = ("--json", "r.json", "--html", "r.html")
    status, out, _ = kernels("check", "searching.py:bad", "--level", "smoke", "--reproducers", "found", *files)
    assert status == 1
    assert f"behaves like: {WORDS}" in out
    line = next(line for line in out.splitlines() if line.startswith("replay: ")).split()
    for isolated in ((), ("--isolate",)):
        status, out, _ = kernels(*line[2:], *isolated)
        assert (status, WORDS in out) == (1, True)
    assert kernels(*line[2:5], "searching.py:good", "--precision", "float32")[0] == 0
    (report,) = from_json((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert report.problem == "document_similarity"
    assert WORDS in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_reference_and_bound_tell_the_best_similarity_its_pair_and_what_it_may_err(kernels: Run) -> None:
    status, out, _ = kernels("reference", "documents.npz", "--relative", "1e-20")
    assert (status, out.splitlines()[1].startswith("[]  0.96609178307")) == (0, True)
    assert [kernels("reference", "documents.npz", "--output", name)[1].splitlines()[1][:5] for name in "ij"] == [
        "[]  1",
        "[]  0",
    ]
    status, out, _ = kernels("bound", "documents.npz", "--precision", "bfloat16")
    assert (status, out.startswith("document_similarity  similarity  shape ()  bfloat16")) == (0, True)


def test_a_data_sheet_says_which_tie_is_taken_and_how_small_documents_may_be(kernels: Run, tmp_path: Path) -> None:
    sheet = ("--precision", "float32", "--level", "smoke", "--json", "p.json")
    status, out, _ = kernels("profile", "searching.py:good", *sheet)
    assert (status, "tightest class kept: float32 on float32" in out) == (0, True)
    told = json.loads((tmp_path / "p.json").read_text(encoding="utf-8"))["answers"]
    answers = {answer["id"]: answer["answer"] for answer in told}
    assert answers["ties"] == "the first"
    assert answers["order"] == "i < j"
    assert answers["small"].startswith("norms of 2^-")


def test_the_plugin_judges_a_kernel_of_the_problem(kernels: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(searching=KERNELS)
    options = ("-p", "no:cacheprovider", "--pyargs", "assay.conformance", "--assay-level", "smoke")
    result = pytester.runpytest(*options, "--assay-kernel", "searching.py:bad")
    assert result.parseoutcomes()["failed"] >= 1  # of the tests that the families of the kernel are
    assert WORDS in result.stdout.str()
