"""ST-7: formulas decided through calls of a small attention, whatever the plan."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import assay
from assay.spec.instances.formula import Formula
from assay.spec.instances.orthogonal_vectors import OrthogonalVectors
from assay.spec.problem import InvalidInstance
from assay.spec.reductions import path, reduction, satisfiability, sufficient_classes
from assay.spec.small_transformers import Instance, define
from assay.spec.small_transformers.plan import counting_bound, plan

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]


def by_calls(made: Instance) -> Array:
    """Attention in float64 from calls of at most M tokens, merged by their log-sum-exps."""
    b, h, n, _ = made.query.shape
    assert made.oracle_size is not None
    above, below = np.zeros((b, h, n, made.value.shape[3])), np.zeros((b, h, n))
    for call in plan(made):
        q, k = list(call.queries), list(call.keys)
        assert max(len(q), len(k)) <= made.oracle_size
        weight = np.exp(made.scale * (made.query[:, :, q] @ np.swapaxes(made.key[:, :, k], 2, 3)))
        above[:, :, q] += weight @ made.value[:, :, k]
        below[:, :, q] += weight.sum(axis=-1)
    return above / below[..., None]


def formulas(count: int) -> list[Formula]:
    rng = np.random.default_rng(5)
    made = []
    for _ in range(count):
        variables = int(rng.integers(1, 7))
        clauses = []
        for _ in range(int(rng.integers(1, 5 * variables))):
            chosen = rng.permutation(variables)[: int(rng.integers(1, min(3, variables) + 1))] + 1
            clauses.append(tuple(int(x * rng.choice([-1, 1])) for x in chosen))
        made.append(Formula(variables, tuple(clauses)))
    return made


@pytest.mark.claim("ST-7")
@pytest.mark.parametrize("counts", [False, True])
def test_formulas_are_decided_by_calls_of_a_small_attention(counts: bool) -> None:
    route = path("satisfiability", "small_transformers", counts=counts)
    assert route.name == f"OV-1 → ST-7{'b' if counts else 'a'}"
    for formula in formulas(100):
        reduced, truth = route.apply(formula), satisfiability(formula)
        answer = reduced.decode(by_calls(reduced.target))
        assert answer.satisfiable == truth.satisfiable
        assert answer.model is None or formula.holds(answer.model)
        assert not counts or answer.count == truth.count


@pytest.mark.claim("ST-7")
@pytest.mark.parametrize("name", ["a", "b"])
def test_the_decoder_is_right_at_the_worst_allowed_error_and_not_beyond(name: str) -> None:
    arrow = reduction(f"ST-7{name}")
    source = OrthogonalVectors([[1, 1]], [[0, 0]])
    reduced = arrow.apply(source)
    assert reduced.accuracy == reduction(f"OV-{2 if name == 'a' else 3}").apply(source).accuracy
    for share, right in ((Fraction(999, 1000), True), (Fraction(1001, 1000), False)):
        worst = np.array(Fraction(1, 2) + share * reduced.accuracy, dtype=object).reshape(1, 1, 1, 1)
        assert reduced.decode(worst).exists == right


@pytest.mark.claim("ST-7")
def test_the_oracle_is_about_the_root_of_the_keys_and_may_be_chosen() -> None:
    rng = np.random.default_rng(0)
    source = OrthogonalVectors(rng.random((30, 6)) < 0.5, rng.random((48, 6)) < 0.5)
    made = reduction("ST-7a").apply(source)
    assert (made.target.oracle_size, made.sizes["oracle_size"]) == (7, 7)
    assert reduction("ST-7a").apply(source, oracle_size=20).target.oracle_size == 20
    for size in (1, 2.5, True):
        with pytest.raises(InvalidInstance, match="oracle_size"):
            reduction("ST-7a").apply(source, oracle_size=size)
    sizes = path("satisfiability", "small_transformers").sizes({"variables": 200, "clauses": 860})
    assert sizes["oracle_size"] == 2**50 + 1
    assert len(plan(made.target)) >= counting_bound(30, 49, 7)


@pytest.mark.claim("ST-7")
@pytest.mark.parametrize("family", ["planted", "gap"])
def test_hard_instances_have_certified_answers(family: str) -> None:
    if family == "gap":
        problem = assay.hard("small_transformers", "gap", n=24, d=48, planted=1, seed=2)
        assert problem.reduced.reduction.name == "ST-7c"
    else:
        problem = assay.hard("small_transformers", formulas(1)[0])
    answer = problem.decode(define(problem.instance).midpoint)
    assert problem.right(answer)
    assert problem.right(problem.decode(by_calls(problem.instance)))


@pytest.mark.claim("ST-7")
def test_classes_that_are_accurate_enough_are_those_of_the_tolerance() -> None:
    rng = np.random.default_rng(1)
    source = OrthogonalVectors(rng.random((5, 6)) < 0.6, rng.random((6, 6)) < 0.6)
    reduced = reduction("ST-7a").apply(source, dtype="float32")
    assert "float32" in sufficient_classes(reduced)
