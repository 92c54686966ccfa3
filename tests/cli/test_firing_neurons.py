"""``assay …`` on structures that say which neurons fire: the commands that judge, and the pytest plugin."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest

from assay.conformance.report.reading import from_json
from assay.spec import firing_neurons
from assay.spec.firing_neurons import data_of, fired, update

if TYPE_CHECKING:
    from pathlib import Path

Run = Callable[..., tuple[int, str, str]]
pytest_plugins = ["pytester"]

KERNELS = """
class Good:
    def __init__(self, data, weights, *, threshold):
        self.data, self.weights, self.threshold = data.copy(), weights.copy(), threshold

    def update(self, neurons, weights):
        self.weights[neurons] = weights

    def fired(self, points):
        return self.data[points] @ self.weights.T > self.threshold

    def data_of(self, neurons):
        return self.weights[neurons] @ self.data.T > self.threshold


class Bad(Good):
    def update(self, neurons, weights):
        pass
"""
WORDS = "updates are lost"


@pytest.fixture
def kernels(run: Run, tmp_path: Path) -> Run:
    (tmp_path / "neurons.py").write_text(KERNELS, encoding="utf-8")
    data, weights = np.array([[1.0, 2.0]], np.float32), np.array([[0.5, 0.25], [3.0, -1.0]], np.float32)
    script = [fired([0]), update([0], np.array([[2.0, 0.0]], np.float32)), data_of([0, 1], threshold=1.0)]
    firing_neurons.Instance.of(data, weights, script, threshold=0.75).save("script.npz")
    return run


def test_the_problem_is_told_by_the_arrays_and_what_is_declared_is_used(kernels: Run) -> None:
    status, out, error = kernels("check", "neurons.py:Good", "--level", "smoke", "--option", "neurons=1..64")
    assert (status, error) == (0, "")
    assert "\nPASSED neurons.py:Good  firing_neurons  float32  smoke  seed 0" in out
    assert "lacks " in out
    refusal = "assay: option refreshed_after=never: expected a positive number\n"
    assert kernels("check", "neurons.py:Good", "--option", "refreshed_after=never") == (2, "", refusal)


def test_a_failure_is_named_shrunk_to_two_operations_and_its_reproducer_replays(kernels: Run, tmp_path: Path) -> None:
    files = ("--json", "r.json", "--html", "r.html")
    status, out, _ = kernels("check", "neurons.py:Bad", "--level", "smoke", "--reproducers", "found", *files)
    assert status == 1
    assert f"behaves like: {WORDS}" in out
    assert "points 1, dim 1, neurons 1, steps 2" in out
    line = next(line for line in out.splitlines() if line.startswith("replay: ")).split()
    status, out, _ = kernels(*line[2:], "--isolate")  # the structure is kept in the process of the kernel
    assert (status, WORDS in out) == (1, True)
    assert kernels(*line[2:5], "neurons.py:Good", "--precision", "float32")[0] == 0
    (report,) = from_json((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert report.problem == "firing_neurons"
    assert WORDS in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_reference_and_bound_tell_the_margins_of_a_query(kernels: Run) -> None:
    status, out, _ = kernels("reference", "script.npz", "--output", "data_of")
    assert status == 0
    assert [line.split()[:2] for line in out.splitlines()[1:3]] == [["[0]", "1"], ["[1]", "0"]]
    status, out, _ = kernels("bound", "script.npz", "--precision", "bfloat16")
    assert (status, out.startswith("firing_neurons  fired  shape (2,)  bfloat16")) == (0, True)


def test_reference_tells_the_shape_of_an_output_without_elements(run: Run, tmp_path: Path) -> None:
    (tmp_path / "formula.cnf").write_text("p cnf 2 1\n1 -2 0\n", encoding="utf-8")
    assert run("hard", "firing_neurons", "--from", "formula.cnf", "-o", "hard.npz")[0] == 0
    assert run("reference", "hard.npz")[:2] == (0, "firing_neurons  fired  shape (0,)  radius of no element\n")


def test_a_data_sheet_says_what_bad_input_does(kernels: Run, tmp_path: Path) -> None:
    sheet = ("--precision", "float32", "--level", "smoke", "--json", "p.json")
    status, out, _ = kernels("profile", "neurons.py:Good", *sheet)
    assert (status, "tightest class kept: float32 on float32" in out) == (0, True)
    told = json.loads((tmp_path / "p.json").read_text(encoding="utf-8"))["answers"]
    answers = {answer["id"]: answer["answer"] for answer in told}
    assert answers["unknown"].startswith("raises IndexError")
    assert answers["twice"] == "the last one wins"


def test_a_list_names_the_families_the_classes_and_the_targets(kernels: Run) -> None:
    status, out, _ = kernels("list", "firing_neurons")
    assert status == 0
    for word in (
        "removals",
        "float32-incremental",
        "faiss:range_search",
        "hnswlib:index",
        "update(neurons, weights)",
    ):
        assert word in out


def test_the_plugin_judges_a_structure(kernels: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(neurons=KERNELS)
    options = ("-p", "no:cacheprovider", "--pyargs", "assay.conformance", "--assay-level", "smoke")
    result = pytester.runpytest(*options, "--assay-kernel", "neurons.py:Bad")
    assert result.parseoutcomes()["failed"] >= 1  # of the tests that the families of the kernel are
    assert WORDS in result.stdout.str()
