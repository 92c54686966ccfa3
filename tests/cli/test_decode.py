"""``assay decode``: an answer counts only if the output is certified, or shows a solution that is one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from assay.spec.instances import hard as hard_instances
from assay.spec.instances.hard import HardProblem, hard
from assay.spec.problem import PROBLEMS
from assay.spec.problem import problem as spec_of
from assay.spec.reductions import REDUCTIONS, GapMaxInnerProduct

Run = Callable[..., tuple[int, str, str]]

ARROWS = [arrow for arrow in REDUCTIONS if arrow.target in PROBLEMS]
#: Pairs of sets: with one orthogonal pair that is not the first, without any, and with nothing but orthogonal pairs.
PLANTED = (np.array([[1, 1, 0], [1, 1, 1], [1, 0, 1]]), np.array([[1, 1, 0], [1, 0, 1], [0, 1, 0]]))
NONE = (np.array([[1, 1, 0], [1, 1, 1], [1, 0, 1]]), np.array([[1, 1, 0], [1, 0, 1], [1, 1, 1]]))
EVERY = (np.array([[1, 0, 0]] * 3), np.array([[0, 1, 1]] * 3))
SOURCES = {"planted": PLANTED, "none": NONE, "every": EVERY}


def _made(arrow: Any, source: str) -> HardProblem:
    left, right = SOURCES[source]
    given: Any = (left, right)
    if arrow.source.startswith("gap"):  # a row is 1 where it has a partner, and 0 else, in each of four coordinates
        products = {"planted": (0, 0, 1), "none": (0, 0, 0), "every": (1, 1, 1)}[source]
        given = GapMaxInnerProduct(np.repeat(np.array(products)[:, None], 4, axis=1), np.ones((3, 4), int), 4, 0.5)
    return hard(arrow.target, given, via=arrow.name)


def _saved(made: HardProblem, path: str) -> np.ndarray[Any, Any]:
    """Save an instance, and return its exact output: numbers in float64, or answers of yes and no."""
    made.save(path)
    if made.problem == "kernel_graph_sparsify":  # every edge, with its ends
        names = spec_of(made.problem).OUTPUTS
        return np.stack([spec_of(made.problem).define(made.reduced.target, output=n).midpoint for n in names], axis=1)
    exact = spec_of(made.problem).define(made.reduced.target, output=made.reduced.reduction.output)
    if made.problem == "firing_neurons":  # defined are the margins of its answers
        return np.asarray(exact.midpoint > 0)
    return np.asarray(exact.midpoint, dtype=np.float64)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("arrow", ARROWS, ids=lambda arrow: arrow.name)
def test_the_exact_output_of_every_arrow_agrees_and_zeros_do_not(run: Run, arrow: Any, source: str) -> None:
    exact = _saved(_made(arrow, source), "x.npz")
    np.save("exact.npy", exact)
    status, out, error = run("decode", "x.npz", "exact.npy")
    assert (status, error) == (0, "")
    assert "\ntruth      agrees" in out
    assert " is needed\n" in out
    if np.abs(exact).max() < float(_made(arrow, source).accuracy):
        return  # zeros are an accurate output
    np.save("zeros.npy", np.zeros_like(exact))
    status, out, error = run("decode", "x.npz", "zeros.npy")
    assert status in ((1, 2) if error else (1,))
    assert "agrees" not in out


@pytest.mark.parametrize("arrow", ARROWS, ids=lambda arrow: arrow.name)
def test_zeros_are_no_answer_where_nothing_certifies_an_output(
    run: Run, arrow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hard_instances, "_EVALUABLE", 0)
    for source in SOURCES:
        exact = _saved(_made(arrow, source), "x.npz")
        np.save("zeros.npy", np.zeros_like(exact))
        status, out, _ = run("decode", "x.npz", "zeros.npy")
        assert status in (1, 2, 3)
        assert "agrees" not in out


def test_without_a_certified_error_an_answer_needs_its_witness(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hard_instances, "_EVALUABLE", 0)
    for source, expected in (("planted", 0), ("none", 3)):
        np.save("exact.npy", _saved(_made(ARROWS[0], source), "x.npz"))
        status, out, _ = run("decode", "x.npz", "exact.npy")
        assert status == expected
        assert "\nerror      not certified; less than 0.15 is needed\n" in out
        assert ("agrees" in out) == (expected == 0)
    assert "\ntruth      unsatisfiable, 0 solutions; not compared  (" in out
    assert out.endswith("no answer: nothing certifies the output, which shows no solution that is one\n")


def test_a_similarity_is_certified_with_its_pair_and_without(run: Run) -> None:
    arrow = next(arrow for arrow in ARROWS if arrow.name == "DOC-5a")
    exact = float(_saved(_made(arrow, "none"), "x.npz"))
    for output in (exact, [exact], [0, 0, exact]):
        np.save("out.npy", np.array(output))
        assert run("decode", "x.npz", "out.npy")[0] == 0
    np.save("out.npy", np.array([0, 0, exact + 0.4]))
    status, out, _ = run("decode", "x.npz", "out.npy")
    assert status == 1
    assert "\nerror      0.4; less than " in out
