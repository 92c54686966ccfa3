"""``assay …`` on kernel graphs, their solves and their sparsifiers: the commands that judge, and the pytest plugin."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest

from assay.conformance.report.reading import from_json
from assay.spec import kernel_graph, kernel_graph_solve, kernel_graph_sparsify

if TYPE_CHECKING:
    from pathlib import Path

Run = Callable[..., tuple[int, str, str]]
pytest_plugins = ["pytester"]

KERNELS = """
import numpy as np


def _weights(points, parameter):
    z = np.zeros((len(points), len(points)), points.dtype)
    for c in range(points.shape[1]):
        z += np.square(points[:, c, None] - points[:, c])
    w = np.exp(-points.dtype.type(parameter) * z)
    np.fill_diagonal(w, 0)
    return w


def gaussian(points, vectors, *, function, parameter, laplacian=False):
    w = _weights(points, parameter)
    return w.sum(axis=1)[:, None] * vectors - w @ vectors if laplacian else w @ vectors


def signless(points, vectors, *, function, parameter, laplacian=False):
    w = _weights(points, parameter)
    return w.sum(axis=1)[:, None] * vectors + w @ vectors if laplacian else w @ vectors


def expanding(points, vectors, *, function, parameter):
    square = np.square(points).sum(axis=1)
    z = np.maximum(square[:, None] + square - 2 * points @ points.T, 0)
    w = np.exp(-points.dtype.type(parameter) * z)
    np.fill_diagonal(w, 0)
    return w @ vectors


def grounded(points, right_side, *, function, parameter, tolerance):
    w = _weights(points.astype(float), parameter)
    x = np.zeros_like(right_side)
    x[:-1] = np.linalg.solve((np.diag(w.sum(axis=1)) - w)[:-1, :-1], right_side.astype(float)[:-1])
    return x


def resistances(points, right_side, *, function, parameter, tolerance):
    w = _weights(points.astype(float), parameter)
    w = np.where(w > 0, 1 / np.maximum(w, 1e-300), 0)
    x = np.zeros_like(right_side)
    x[:-1] = np.linalg.solve((np.diag(w.sum(axis=1)) - w)[:-1, :-1], right_side.astype(float)[:-1])
    return x


def every(points, *, function, parameter, error, seed):
    w = _weights(points.astype(float), parameter)
    left, right = np.nonzero(np.triu(w, 1))
    return left, right, w[left, right]


def doubled(points, *, function, parameter, error, seed):
    left, right, weight = every(points, function=function, parameter=parameter, error=error, seed=seed)
    return left, right, 2 * weight
"""
GAUSSIAN = ("--option", "functions=gaussian")
PROBLEMS = {
    "kernel_graph": ("gaussian", "signless", "D + A stands for D − A", "float32"),
    "kernel_graph_solve": ("grounded", "resistances", "1/w stands for w", "float64"),
    "kernel_graph_sparsify": ("every", "doubled", "every edge is twice as heavy", "float64"),
}


@pytest.fixture
def kernels(run: Run, tmp_path: Path) -> Run:
    (tmp_path / "graphs.py").write_text(KERNELS, encoding="utf-8")
    points = np.array([[0.0, 0.5], [1.0, 0.0], [0.25, 2.0]])
    vectors = np.array([[1.0], [2.0], [-1.0]])
    kernel_graph.Instance(points, vectors, function="gaussian", parameter=0.5).save("kernel_graph.npz")
    side = np.array([1.0, 0.0, -1.0])
    kernel_graph_solve.Instance(points, side, function="gaussian", parameter=0.5, tolerance=1e-6).save(
        "kernel_graph_solve.npz"
    )
    kernel_graph_sparsify.Instance(points, function="gaussian", parameter=0.5, error=0.25).save(
        "kernel_graph_sparsify.npz"
    )
    return run


@pytest.mark.parametrize("problem", PROBLEMS)
def test_the_problem_is_told_by_the_arrays_and_a_kernel_of_one_function_passes(kernels: Run, problem: str) -> None:
    good, _, _, precision = PROBLEMS[problem]
    asked = ("--level", "smoke", "--precision", precision, *GAUSSIAN)
    status, out, error = kernels("check", f"graphs.py:{good}", *asked)
    assert (status, error) == (0, "")
    assert f"\nPASSED graphs.py:{good}  {problem}  {precision}  smoke  seed 0" in out
    assert "lacks laplacian" in out


@pytest.mark.parametrize("problem", PROBLEMS)
def test_a_failure_is_named_shrunk_and_its_reproducer_replays(kernels: Run, tmp_path: Path, problem: str) -> None:
    good, bad, words, precision = PROBLEMS[problem]
    files = ("--json", "r.json", "--html", "r.html", "--precision", precision, *GAUSSIAN)
    status, out, _ = kernels("check", f"graphs.py:{bad}", "--level", "smoke", "--reproducers", "found", *files)
    assert status == 1
    assert f"behaves like: {words}" in out or words in out
    assert "points 2, dim 1" in out
    line = next(line for line in out.splitlines() if line.startswith("replay: ")).split()
    status, _, _ = kernels(*line[2:], "--isolate")
    assert status == 1
    assert kernels(*line[2:5], f"graphs.py:{good}", "--precision", precision)[0] == 0
    assert "points" in kernels(*line[2:], "--script")[1]
    (report,) = from_json((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert report.problem == problem
    assert words in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_a_kernel_that_declares_differences_and_expands_is_named_so(kernels: Run) -> None:
    status, out, _ = kernels("check", "graphs.py:expanding", "--level", "smoke", *GAUSSIAN)
    assert status == 1
    assert "it rounds like a kernel of the class float32-expansion" in out
    assert "points 2, dim 1, columns 1" in out
    declared = ("--precision", "float32-expansion", *GAUSSIAN)
    assert kernels("check", "graphs.py:expanding", "--level", "smoke", *declared)[0] == 0


def test_a_list_of_functions_must_name_some_that_there_are(kernels: Run) -> None:
    status, _, error = kernels("check", "graphs.py:gaussian", "--option", "functions=gausian,laplacian")
    assert status == 2
    assert error == "assay: option functions=gausian,laplacian: no 'gausian'; did you mean gaussian?\n"


def test_reference_and_bound_tell_the_value_and_what_a_class_may_err(kernels: Run) -> None:
    status, out, _ = kernels("reference", "kernel_graph.npz")
    assert (status, out.startswith("kernel_graph  output  shape (3, 1)")) == (0, True)
    status, out, _ = kernels("bound", "kernel_graph.npz", "--precision", "float32-expansion")
    assert (status, out.startswith("kernel_graph  output  shape (3, 1)  float32-expansion")) == (0, True)
    status, out, _ = kernels("reference", "kernel_graph_solve.npz")
    assert (status, out.startswith("kernel_graph_solve  x  shape (3,)")) == (0, True)
    status, out, _ = kernels("bound", "kernel_graph_solve.npz", "--precision", "float64")
    assert (status, out.startswith("kernel_graph_solve  x  shape ()  float64")) == (0, True)
    assert kernels("reference", "kernel_graph_sparsify.npz", "--output", "weight")[0] == 0
    assert kernels("bound", "kernel_graph_sparsify.npz", "--precision", "float64")[0] == 0


@pytest.mark.parametrize(
    "problem", [pytest.param(p, marks=[pytest.mark.thorough] if p == "kernel_graph" else []) for p in PROBLEMS]
)
def test_a_data_sheet_tells_choices(kernels: Run, tmp_path: Path, problem: str) -> None:
    good, _, _, precision = PROBLEMS[problem]
    sheet = ("--precision", precision, "--level", "smoke", "--json", "p.json", *GAUSSIAN)
    status, out, _ = kernels("profile", f"graphs.py:{good}", *sheet)
    assert (status, f"tightest class kept: {precision}" in out) == (0, True)
    told = json.loads((tmp_path / "p.json").read_text(encoding="utf-8"))["answers"]
    answers = {answer["id"]: answer["answer"] for answer in told}
    expected = {
        "kernel_graph": ("symmetric", "in every bit"),
        "kernel_graph_solve": ("constant", "the last number is 0"),
        "kernel_graph_sparsify": ("order", "left is the lesser one"),
    }
    question, answer = expected[problem]
    assert answers[question] == answer


@pytest.mark.parametrize("problem", PROBLEMS)
def test_a_list_names_the_families_the_classes_and_the_targets(kernels: Run, problem: str) -> None:
    status, out, _ = kernels("list", problem)
    assert status == 0
    for word in ("float32-expansion", "assay:cpu", "far"):
        assert word in out


@pytest.mark.thorough
def test_the_plugin_judges_a_kernel(kernels: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(graphs=KERNELS)
    options = ("-p", "no:cacheprovider", "--pyargs", "assay.conformance", "--assay-level", "smoke")
    kernel = ("--assay-kernel", "graphs.py:gaussian", "--assay-option", "functions=gaussian")
    assert pytester.runpytest_subprocess(*options, *kernel).ret == 0
