"""FN-9: orthogonal vectors and formulas decided by updates and queries of any structure; decoders and their limits."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import assay.spec
from assay.spec.firing_neurons import PRECISIONS, criteria, define, errors, played
from assay.spec.firing_neurons.extremes import Eager, Lazy
from assay.spec.instances import hard, truth
from assay.spec.instances.formula import Formula
from assay.spec.instances.orthogonal_vectors import OrthogonalVectors
from assay.spec.problem import InvalidInstance
from assay.spec.reductions import orthogonal_pairs, path, reduction, satisfiability, sufficiency

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FN_9 = reduction("FN-9")
DTYPES = ("float64", "float32", "bfloat16", "float16")


def vectors(count: int, seed: int = 0) -> Iterator[OrthogonalVectors]:
    """Two sets of every density, half of them with a planted pair."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        n, m, d = (int(x) for x in rng.integers(1, 9, 3))
        density = rng.random()
        left, right = (rng.random((rows, d)) < density for rows in (n, m))
        if number % 2:
            i, j = rng.integers(n), rng.integers(m)
            right[j] &= ~left[i]
        yield OrthogonalVectors(left, right)


def formulas(count: int, seed: int = 0) -> Iterator[Formula]:
    rng = np.random.default_rng(seed)
    for _ in range(count):
        variables = int(rng.integers(3, 9))
        clauses = tuple(
            tuple(int(x) for x in (rng.permutation(variables)[:3] + 1) * rng.choice([-1, 1], 3))
            for _ in range(int(4.3 * variables))
        )
        yield Formula(variables, clauses)


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The problem among those that are built, also before its judge is."""
    import sys

    known = tuple(dict.fromkeys((*assay.spec.PROBLEMS, "firing_neurons")))
    for module in (sys.modules["assay.spec.problem"], hard, sufficiency):
        monkeypatch.setattr(module, "PROBLEMS", known)


@pytest.mark.claim("FN-9")
@pytest.mark.parametrize("structure", [Lazy, Eager])
@pytest.mark.parametrize("dtype", DTYPES)
def test_any_structure_decides_orthogonal_vectors_and_lists_every_pair(structure: Any, dtype: str) -> None:
    for source in vectors(40):
        reduced, expected = FN_9.apply(source, dtype=dtype), orthogonal_pairs(source)
        for output in (answers := played(structure, reduced.target), np.array(list(answers.values())).ravel()):
            decoded = reduced.decode(output)
            assert (decoded.exists, decoded.count) == (expected.exists, expected.count)
            if decoded.witness is not None:
                i, j = decoded.witness
                assert not (source.left[i] & source.right[j]).any()


@pytest.mark.claim("FN-9")
def test_answers_by_name_are_those_of_their_steps_in_whatever_order_they_come() -> None:
    for source in vectors(40):
        reduced = FN_9.apply(source)
        answers = played(Lazy, reduced.target)
        ordered = reduced.decode(answers)
        assert reduced.decode(dict(sorted(answers.items()))).witness == ordered.witness
        assert reduced.decode(dict(reversed(answers.items()))).witness == ordered.witness


@pytest.mark.claim("FN-9")
def test_every_margin_is_at_least_the_accuracy_away_from_zero() -> None:
    met = set()
    for source in vectors(40, 1):
        reduced = FN_9.apply(source)
        margins = np.abs(define(reduced.target, output="data_of").midpoint)
        assert margins.min() >= float(reduced.accuracy) == 0.5
        met.add(float(margins.min()))
    assert min(met) == 0.5  # no larger accuracy would do


@pytest.mark.claim("FN-9")
def test_a_margin_that_is_off_by_less_than_the_accuracy_decides_and_by_more_may_not() -> None:
    for source in vectors(40, 2):
        reduced, expected = FN_9.apply(source), orthogonal_pairs(source)
        margins = define(reduced.target, output="data_of").midpoint
        for off in (Fraction(1, 2) - Fraction(1, 10**9), -Fraction(1, 2) + Fraction(1, 10**9)):
            assert reduced.decode(margins + float(off) > 0).count == expected.count
        beyond = reduced.decode(margins - 0.5 > 0), reduced.decode(margins + 0.5000001 > 0)
        nearly = (source.left.astype(int) @ source.right.T == 1).any()
        assert not beyond[0].exists
        assert (beyond[1].count != expected.count) == nearly


@pytest.mark.claim("FN-9")
@pytest.mark.claim("FN-10")
def test_every_class_of_arithmetic_decides_it_exactly() -> None:
    for dtype in DTYPES:
        (source,) = vectors(1, 3)
        instance = FN_9.apply(source, dtype=dtype).target
        for precision in PRECISIONS.values():
            if precision.storage == dtype:
                assert all((bound == 0.0).all() for bound in errors(instance, precision).values())


@pytest.mark.claim("FN-9")
def test_the_script_is_one_update_and_one_query_for_every_right_vector() -> None:
    (source,) = vectors(1, 4)
    reduced = FN_9.apply(source)
    calls = reduced.target.calls()
    assert [call.method for call in calls] == ["update", "data_of"] * source.m
    assert reduced.target.lengths() == {"points": source.n, "dim": source.d, "neurons": 1, "steps": 2 * source.m}
    eager, lazy = (kind(reduced.target.data, reduced.target.weights, threshold=-0.5) for kind in (Eager, Lazy))
    first = eager.multiplications
    for structure in (eager, lazy):
        structure.update([0], reduced.target.new_weights[:1])
        structure.data_of([0])
    assert eager.multiplications - first == lazy.multiplications == source.n * source.d


@pytest.mark.claim("FN-9")
@pytest.mark.parametrize("structure", [Lazy, Eager])
def test_formulas_are_decided_and_counted_as_a_solver_says(structure: Any) -> None:
    route = path("satisfiability", "firing_neurons", counts=True)
    for formula in formulas(12):
        reduced = route.apply(formula, dtype="float32")
        answer, expected = reduced.decode(played(structure, reduced.target)), satisfiability(formula)
        assert (answer.satisfiable, answer.count) == (expected.satisfiable, expected.count)
        assert answer.count == truth.model_count(formula)
        assert answer.model is None or formula.holds(answer.model)


def test_answers_that_are_none_are_refused() -> None:
    reduced = FN_9.apply(OrthogonalVectors([[1, 0], [1, 1]], [[0, 1], [1, 1], [1, 0]]))
    assert reduced.decode([[True, False], [False, False], [False, False]]).witness == (0, 0)
    for output, message in (
        (np.zeros((2, 2), bool), "shape .2, 2.: expected .3, 2."),
        (np.full((3, 2), 0.5), "expected answers of yes or no"),
        (np.full((3, 2), "no"), "expected answers of yes or no"),
        ([[True], [True, False]], "answers of different lengths: expected .3, 2."),
    ):
        with pytest.raises(ValueError, match=message):
            reduced.decode(output)


@pytest.mark.usefixtures("registered")
def test_a_hard_instance_is_written_read_and_decoded(tmp_path: Path) -> None:
    problem = hard.hard("firing_neurons", "random-ksat", 3, variables=8)
    problem.save(tmp_path / "x.npz")
    read = hard.load(tmp_path / "x.npz")
    answers = played(Lazy, read.instance)
    assert read.right(read.decode(answers))
    assert read.decode(answers).count == problem.truth.count
    flat = np.concatenate([answer.ravel() for answer in answers.values()])
    assert read.error(flat) == 0.0
    assert read.error(~flat) is not None
    assert read.error(~flat) >= 0.5
    assert read.error(np.zeros(3, bool)) is None
    with pytest.raises(InvalidInstance, match="dtype 'int8': expected one of"):
        hard.hard("firing_neurons", ([[1]], [[1]]), dtype="int8")


@pytest.mark.usefixtures("registered")
def test_every_class_suffices_for_a_formula() -> None:
    reduced = hard.hard("firing_neurons", "random-ksat", 1, variables=6, dtype="bfloat16").reduced
    assert sufficiency.largest_tolerances(reduced) == {"bfloat16": 0.0, "bfloat16-incremental": 0.0}
    assert sufficiency.sufficient_classes(reduced) == ("bfloat16", "bfloat16-incremental")


def test_a_structure_that_decides_wrongly_is_held_to_it() -> None:
    class Forgets(Lazy):
        def update(self, neurons: Any, weights: Any) -> None:
            pass

    reduced = FN_9.apply(OrthogonalVectors([[1, 0]], [[1, 0], [0, 1]]))
    answers = played(Forgets, reduced.target)
    assert reduced.decode(answers).count == 2 != orthogonal_pairs(reduced.source).count
    held_to = criteria(reduced.target, "float32")
    assert [float(held_to[name].ratio(answer).max()) for name, answer in answers.items()] == [np.inf, 0.0]
