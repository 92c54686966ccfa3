"""Truth and families: oracles agree with brute force and with each other; generators give recorded numbers."""

from __future__ import annotations

import hashlib
import importlib.util
import itertools
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.spec.instances import families, truth
from assay.spec.instances.extra import MissingExtra
from assay.spec.instances.formula import Formula
from assay.spec.instances.orthogonal_vectors import OrthogonalVectors
from assay.spec.problem import InvalidInstance

EXTRA = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("pysat", "cnfgen"))),
    reason="python-sat or cnfgen is not installed",
)

RECORDED_CLAUSES = ((3, -1, 5), (5, 3, 2), (-2, 4, -3), (2, 4, -5))
RECORDED: dict[str, Any] = {
    "random-ov": "071ee1beec895b5e",
    "planted-ov": ("e2a78209ca6cd6ee", (52, 17)),
    "gap": ("4808252c8dd25334", 48, (16, 13)),
}


def digest(source: OrthogonalVectors) -> str:
    return hashlib.sha256(source.left.tobytes() + source.right.tobytes()).hexdigest()[:16]


@st.composite
def formulas(draw: st.DrawFn) -> Formula:
    variables = draw(st.integers(0, 7))
    literal = st.integers(1, max(variables, 1)).flatmap(lambda i: st.sampled_from([i, -i]))
    clause = st.lists(literal, min_size=0 if draw(st.booleans()) else 1, max_size=4).map(tuple)
    return Formula(variables, tuple(draw(st.lists(clause, max_size=20))) if variables else ())


@given(formulas())
def test_both_counters_count_the_models(formula: Formula) -> None:
    models = sum(map(formula.holds, itertools.product((False, True), repeat=formula.variables)))
    assert truth.count_by_table(formula) == truth.count_by_splitting(formula) == models


@EXTRA
@given(formulas())
def test_the_solver_finds_a_model_exactly_where_one_is_counted(formula: Formula) -> None:
    assert (truth.satisfying(formula) is not None) == (truth.model_count(formula) > 0)


@EXTRA
@pytest.mark.parametrize("seed", range(4))
def test_solver_and_counter_agree_at_thirty_variables(seed: int) -> None:
    formula = families.random_formula(seed, 30)
    assert (truth.satisfying(formula) is not None) == (truth.count_by_splitting(formula) > 0)


def test_a_table_of_too_many_variables_is_refused() -> None:
    with pytest.raises(InvalidInstance, match="27 variables: expected at most 26 for a table"):
        truth.count_by_table(Formula(27, ()))


def test_variables_that_do_not_occur_double_the_count() -> None:
    assert truth.model_count(Formula(40, ((1, 2),))) == 3 * 2**38


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 200), st.integers(0, 2**32), st.sampled_from([1, 2, 8]))
def test_orthogonal_pairs_are_those_of_the_integer_product(n: int, m: int, d: int, seed: int, ones: int) -> None:
    rng = np.random.default_rng(seed)
    source = OrthogonalVectors(rng.random((n, d)) < ones / 16, rng.random((m, d)) < ones / 16)
    expected = np.argwhere(source.left.astype(int) @ source.right.T.astype(int) == 0)
    count, pairs = truth.orthogonal_pairs(source, most=10)
    assert count == len(expected)
    assert pairs.tolist() == expected[:10].tolist()


def test_pairs_are_found_across_tiles() -> None:
    left, right = np.ones((200, 70), np.uint8), np.ones((2100, 70), np.uint8)
    wanted = [(0, 2099), (63, 1023), (64, 1024), (199, 0)]
    for k, (i, j) in enumerate(wanted):
        left[i], right[j] = 0, 0
        left[i, : k + 1], right[j, k + 1 :] = 1, 1
    expected = np.argwhere(left.astype(int) @ right.T.astype(int) == 0)
    count, pairs = truth.orthogonal_pairs(OrthogonalVectors(left, right))
    assert set(wanted) <= set(map(tuple, pairs.tolist()))
    assert (count, pairs.tolist()) == (len(expected), expected.tolist())


def test_generators_give_the_recorded_numbers() -> None:
    assert families.random_formula(7, 5, 3, 800).clauses == RECORDED_CLAUSES
    assert digest(families.random_vectors(1, 100, 20)) == RECORDED["random-ov"]
    planted, pair = families.planted_vectors(1, 100, 20)
    assert (digest(planted), pair) == RECORDED["planted-ov"]
    gap, t, pair = families.gap_vectors(1, 64, 64)  # type: ignore[assignment]
    assert (digest(gap), t, pair) == RECORDED["gap"]


def test_another_seed_or_family_gives_other_numbers() -> None:
    assert families.random_formula(1) != families.random_formula(2)
    assert families.random_vectors(1) != families.random_vectors(2)


def test_random_formulas_have_distinct_variables_in_a_clause_and_both_signs() -> None:
    formula = families.random_formula(3, 40)
    assert len(formula.clauses) == round(40 * 4.267)
    assert all(len({abs(x) for x in clause}) == 3 for clause in formula.clauses)
    negative = sum(x < 0 for clause in formula.clauses for x in clause) / (3 * len(formula.clauses))
    assert 0.4 < negative < 0.6


@pytest.mark.parametrize("seed", range(5))
def test_the_planted_pair_is_orthogonal(seed: int) -> None:
    source, pair = families.planted_vectors(seed, 300, 32)
    count, pairs = truth.orthogonal_pairs(source)
    assert list(pair) in pairs.tolist()
    assert count <= 3


@pytest.mark.parametrize("planted", [True, False])
def test_the_promise_of_gap_vectors_holds(planted: bool) -> None:
    source, t, pair = families.gap_vectors(2, 500, 64, planted)
    products = source.left.astype(int) @ source.right.T.astype(int)
    assert (pair is not None) == planted
    if pair is not None:
        assert products[pair] == t == 48
        products[pair] = 0
    assert 2 * products.max() < t


@pytest.mark.parametrize("d", [16, 20, 24, 28])
def test_gap_vectors_are_refused_or_keep_their_promise(d: int) -> None:
    for seed in range(4):
        try:
            source, t, pair = families.gap_vectors(seed, 60, d)
        except InvalidInstance:
            continue
        products = source.left.astype(int) @ source.right.T.astype(int)
        assert pair is not None
        products[pair] = 0
        assert 2 * products.max() < t


@EXTRA
@pytest.mark.parametrize(
    ("formula", "models"),
    [
        (lambda: families.pigeonhole(4, 3), 0),
        (lambda: families.pigeonhole(3, 3), 6),
        (lambda: families.parity(5), 0),
        (lambda: families.parity(6), 15),
        (lambda: families.colouring(0, 3, 3), 6),
        (lambda: families.colouring(0, 4, 6), 0),
    ],
)
def test_named_formulas_have_the_number_of_models_that_combinatorics_says(formula: Any, models: int) -> None:
    assert truth.model_count(formula()) == models


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: families.random_formula(-1), r"seed -1: expected 0 to 2\^64 - 1"),
        (lambda: families.random_formula(0, 0), "variables 0: expected 1 to 60"),
        (lambda: families.random_formula(0, 2), "k 3: expected 1 to 2"),
        (lambda: families.random_formula(0, 20, 9), "k 9: no known threshold"),
        (lambda: families.random_vectors(0, 0), "n 0: expected"),
        (lambda: families.gap_vectors(0, 4096, 8), "expected a larger d"),
        (lambda: families.colouring(0, 4, 7), "edges 7: expected 0 to 6"),
    ],
)
def test_sizes_out_of_range_are_refused(call: Any, said: str) -> None:
    with pytest.raises(InvalidInstance, match=said):
        call()


@pytest.mark.parametrize(
    ("package", "call"),
    [("pysat", lambda: truth.satisfying(Formula(1, ((1,),)))), ("cnfgen", families.parity)],
)
def test_a_missing_package_is_named_with_the_command_that_installs_it(
    package: str, call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setitem(sys.modules, "pysat.solvers", None)
    with pytest.raises(MissingExtra) as caught:
        call()
    assert str(caught.value) == f"{package} is not installed: pip install -e '.[sat]' in assay's checkout"


@pytest.mark.parametrize(
    ("left", "right", "said"),
    [
        ([[2]], [[1]], r"left\[0, 0\] is 2: expected 0 or 1"),
        ([[0, 1]], [[0]], "left has 2 coordinates, right 1"),
        ([0, 1], [[0]], r"left has shape \(2,\)"),
        ([[0]], np.zeros((0, 1)), r"right has shape \(0, 1\)"),
        ([[0.5]], [[0]], "left has dtype float64: expected integers 0 and 1"),
        ([[0]], [[float("nan")]], "right has dtype float64"),
        ([[-1]], [[0]], r"left\[0, 0\] is -1"),
    ],
)
def test_vectors_other_than_of_zeros_and_ones_are_refused(left: Any, right: Any, said: str) -> None:
    with pytest.raises(InvalidInstance, match=said):
        OrthogonalVectors(left, right)


def test_vectors_cannot_be_written_to_and_do_not_follow_their_source() -> None:
    mine = np.zeros((2, 3), np.uint8)
    source = OrthogonalVectors(mine, mine)
    mine[:] = 1
    assert source.left.sum() == 0
    with pytest.raises(ValueError, match="read-only"):
        source.left[0, 0] = 1
