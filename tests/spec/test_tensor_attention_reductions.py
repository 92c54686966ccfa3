"""Hardness of attention of any order: TEN-3, TEN-7, Match2 and Match3, and what few levels cannot compute."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import assay
from assay.spec import tensor_attention
from assay.spec.instances import families, hard
from assay.spec.instances.formula import Formula
from assay.spec.instances.refutation import refutes, steps
from assay.spec.instances.truth import satisfying
from assay.spec.problem import InvalidInstance
from assay.spec.reductions import GapKMaxInnerProduct, KOrthogonalVectors, path, reduction, sufficient_classes
from assay.spec.reductions.rounding import exp_bounds, log_bounds
from assay.spec.reductions.to_tensor_attention import entries
from assay.spec.tensor_attention.match3 import matches, matching_head, quantised_heads

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Array = NDArray[Any]

DTYPES = ("float64", "float32", "bfloat16", "float16")
TEN_3, TEN_7 = reduction("TEN-3"), reduction("TEN-7")


def vectors(seed: int, order: int, *, density: float = 0.6, d: int = 5, most: int = 5) -> KOrthogonalVectors:
    rng = np.random.default_rng(seed)
    return KOrthogonalVectors([rng.random((int(rng.integers(1, most)), d)) < density for _ in range(order)])


def exact_outputs(source: Any, target: Any, products: Any) -> list[tuple[Fraction, bool]]:
    """Per row the sum of weights over that of the calibrators, as a rational bound, from the stored numbers alone."""
    sigma = Fraction(target.scale)
    query = [[Fraction(float(x)) for x in row] for row in target.query[0, 0]]
    keys = [[[Fraction(float(x)) for x in row] for row in mode[0, 0]] for mode in target.mode_keys]
    made = []
    for i, q in enumerate(query):
        scores = {
            js: sigma * sum(math.prod([x, *(keys[m][j][c] for m, j in enumerate(js))]) for c, x in enumerate(q))
            for js in itertools.product(*(range(len(mode)) for mode in keys))
        }
        lift = {js: scores[js] - scores[(0, *js[1:])] for js in scores if js[0] > 0}
        assert len({scores[js] for js in scores if js[0] == 0}) == 1  # all calibrators weigh the same
        above = sum((exp_bounds(x)[1] for x in lift.values()), Fraction(0))
        below = sum((exp_bounds(x)[0] for x in lift.values()), Fraction(0))
        rest = math.prod(len(mode) for mode in keys[1:])
        made.append((above / rest, products(i)) if not products(i) else (below / rest, True))
    return made


# --- TEN-3, TEN-7 -----------------------------------------------------------------------------------------------------


@pytest.mark.claim("TEN-3")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", [2, 3, 4])
def test_solutions_outweigh_the_calibrators_in_exact_arithmetic(order: int, dtype: str) -> None:
    for seed in range(3):
        source = vectors(seed, order, most=4, density=0.7)
        target = TEN_3.forward(source, dtype=dtype, scale=None if seed else -0.3)

        def solved(i: int, source: KOrthogonalVectors = source) -> bool:
            return KOrthogonalVectors([source.sets[0][i : i + 1], *source.sets[1:]]).answer().exists

        for weight, yes in exact_outputs(source, target, solved):
            assert weight >= 1 if yes else weight <= Fraction(1, 4)


@pytest.mark.claim("TEN-3")
@pytest.mark.parametrize("order", [2, 3, 4])
def test_decoders_bear_the_worst_allowed_error_and_no_more(order: int) -> None:
    flipped = 0
    for seed in range(6):
        source = vectors(seed, order, density=0.75, d=4)
        truth, reduced = source.answer(), TEN_3.apply(source, dtype="float32")
        exact = tensor_attention.define(reduced.target).midpoint
        low = exact <= 0.65
        assert exact[low].max(initial=0.0) <= 0.5 + 1e-6
        assert exact[~low].min(initial=1.0) >= 0.8 - 1e-6
        bound = float(reduced.accuracy)
        for sign in (-1.0, 1.0):
            answer = reduced.decode(exact + sign * (bound - 1e-6))
            assert answer.exists == truth.exists
            if answer.witness is not None:
                rows = [each[i] for each, i in zip(source.sets, answer.witness, strict=True)]
                assert not np.bitwise_and.reduce(rows).any()
        beyond = np.where(low, 0.5 + bound + 1e-3, 0.8 - bound - 1e-3)  # where a kernel may put them just beyond
        flipped += reduced.decode(beyond).exists != truth.exists
    assert flipped


@pytest.mark.claim("TEN-3")
@pytest.mark.parametrize(("k", "variables"), [(2, 8), (3, 9), (4, 8)])
def test_formulas_are_decided_through_every_order(k: int, variables: int) -> None:
    pytest.importorskip("pysat")
    for seed in range(4):
        formula = families.random_formula(seed, variables)
        reduced = path("satisfiability", "tensor_attention").apply(formula, k=k, dtype="float32")
        assert reduced.reduction.name == "KOV-1 → TEN-3"
        assert reduced.target.order == reduced.sizes["k"] == k
        answer = reduced.decode(tensor_attention.define(reduced.target).midpoint)
        assert answer.satisfiable == (satisfying(formula) is not None)
        assert answer.model is None or formula.holds(answer.model)


@pytest.mark.claim("TEN-3")
def test_sizes_are_2_to_the_nth_part_of_the_variables_and_need_no_memory() -> None:
    route = path("satisfiability", "tensor_attention")
    for k in (2, 3, 4):
        sizes = route.sizes({"variables": 120, "clauses": 516}, k=k, dtype="float32")
        n = 2 ** (120 // k)
        assert (sizes["n"], sizes["m"], sizes["combinations"]) == (n, n + 1, (n + 1) * n ** (k - 2))
        columns = 516 + (k > 2)
        bound = (columns * (math.log(4) + (k - 1) * math.log(n))) ** (1 / k)
        assert float(sizes["B"]) == pytest.approx(bound, rel=1e-5)
    thirty = route.sizes({"variables": 30, "clauses": 128}, k=3)
    assert (thirty["n"], thirty["m"]) == (1024, 1025)


@pytest.mark.claim("TEN-3")
def test_entries_grow_less_with_higher_order() -> None:
    bounds = [float(entries(k, [2**10] * (k - 1), 1 / 64, "float64").kappa) for k in (2, 3, 4, 5)]
    assert bounds == sorted(bounds, reverse=True)


@pytest.mark.claim("TEN-3")
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_least_entries_of_a_type_leave_the_gap(dtype: str) -> None:
    for order, keys, scale in ((2, [5], 0.1), (3, [5, 7], 1 / 33), (4, [2, 9, 1], -2.0), (3, [1, 1], 0.01)):
        made, sigma = entries(order, keys, scale, dtype), abs(Fraction(scale))
        rest = math.prod(keys[1:])
        omega = sigma * made.kappa ** (order - 1) * made.rho
        assert omega >= (log_bounds(rest)[1] if rest > 1 else 0)
        assert sigma * made.kappa**order >= omega + log_bounds(4 * keys[0])[1]
        assert made.kappa**order * sigma <= (omega + log_bounds(4 * keys[0])[1]) * Fraction(11, 10)


@pytest.mark.claim("KOV-3")
def test_pairs_are_tuples_whose_other_sets_are_ones() -> None:
    for seed in range(4):
        problem = assay.hard("tensor_attention", "planted-ov" if seed % 2 else "random-ov", seed, n=7, d=9)
        assert problem.reduced.reduction.name == "KOV-3 → TEN-3"
        answer = problem.decode(tensor_attention.define(problem.instance).midpoint)
        assert problem.right(answer)
        assert len(answer.pairs) == answer.satisfiable


@pytest.mark.claim("RED-2")
def test_classes_that_suffice_are_computed_from_the_tolerance() -> None:
    formula = families.random_formula(1, 6)
    reduced = path("satisfiability", "tensor_attention").apply(formula, k=3, dtype="float32")
    assert "float32" in sufficient_classes(reduced)
    gap = TEN_7.apply(gap_sets(1, 3, 5, True), dtype="bfloat16")
    assert "bfloat16-eager" not in sufficient_classes(gap)


@pytest.mark.claim("TEN-3")
def test_a_hard_instance_is_saved_read_and_decoded(tmp_path: Path) -> None:
    formula = families.random_formula(2, 6)
    for k in (2, 4):
        problem = assay.hard("tensor_attention", formula, k=k)
        problem.save(tmp_path / "x.npz")
        again = hard.load(tmp_path / "x.npz")
        assert again.instance.order == k
        output = tensor_attention.define(again.instance).midpoint
        assert again.right(again.decode(output))
        assert again.error(output) == pytest.approx(0.0, abs=1e-9)
    with pytest.raises(InvalidInstance, match="k 5: expected 3, the number of sets"):
        TEN_3.apply(vectors(0, 3), k=5)
    with pytest.raises(InvalidInstance, match=r"scale 0\.0: expected a finite number"):
        TEN_3.apply(vectors(0, 3), scale=0.0)


def gap_sets(seed: int, order: int, n: int, planted: bool) -> GapKMaxInnerProduct:
    """Sparse sets, whose products are small, and where asked for one tuple of equal vectors of weight t."""
    rng = np.random.default_rng(seed)
    d, t = 24, 6
    sets = [(rng.random((n, d)) < 0.3).astype(np.uint8) for _ in range(order)]
    for each in sets:  # no vector is heavier than t, so that no product is at least t
        for row in each:
            heavy = np.flatnonzero(row)
            row[heavy[t - 1 :]] = 0
    best = max(int(np.bitwise_and.reduce(rows).sum()) for rows in itertools.product(*sets))
    gap = Fraction(t - best, t)
    if planted:
        common = np.zeros(d, np.uint8)
        common[:t] = 1
        for each in sets:
            each[int(rng.integers(n))] = common
        others = [GapKMaxInnerProduct(sets, t, Fraction(1, 100)).largest()]
        best = max((int(x) for x in others[0] if x < t), default=0)
        gap = Fraction(t - best, t)
    return GapKMaxInnerProduct(sets, t, gap - Fraction(1, 10**6))


@pytest.mark.claim("TEN-7")
@pytest.mark.parametrize("order", [2, 3, 4])
def test_gap_instances_are_decided_with_smaller_entries(order: int) -> None:
    for seed in range(4):
        source = gap_sets(seed, order, 5, bool(seed % 2))
        for dtype in ("float64", "bfloat16"):
            reduced = TEN_7.apply(source, dtype=dtype)
            exact = tensor_attention.define(reduced.target).midpoint
            answer, truth = reduced.decode(exact), source.answer()
            assert (answer.exists, answer.count) == (truth.exists, truth.count)
            low = exact <= 0.65
            assert exact[low].max(initial=0.0) <= 0.5 + 1e-9
            assert exact[~low].min(initial=1.0) >= 0.8 - 1e-9
            bound = float(reduced.accuracy) - 1e-9
            assert reduced.decode(exact + np.where(low, bound, -bound)).count == truth.count
            beyond = np.where(low, 0.5 + bound + 1e-3, 0.8 - bound - 1e-3)  # just beyond, each row is read wrongly
            assert reduced.decode(beyond).count == len(source.sets[0]) - truth.count
            assert (
                answer.witness is None
                or np.bitwise_and.reduce([each[i] for each, i in zip(source.sets, answer.witness, strict=True)]).sum()
                >= source.threshold
            )


@pytest.mark.claim("TEN-7")
def test_entries_of_the_gap_form_grow_as_a_root_of_the_logarithm() -> None:
    """At t = d/4 and scale 1/(d + t), B^k/ln n stays bounded, whatever d = 8·log₂ n is; that of TEN-3 grows with d."""
    for k in (2, 3, 4):
        gap, plain = [], []
        for bits in (8, 16, 32, 64):
            n, d = 2**bits, 8 * bits
            t = d // 4
            sizes = {"sizes": (n,) * k, "d": d, "threshold": t, "gap": Fraction(1, 2)}
            gap.append(float(TEN_7.sizes(sizes)["B"]) ** k / math.log(n))
            plain.append(float(TEN_3.sizes(sizes)["B"]) ** k / math.log(n))
        assert max(gap) / min(gap) < 1.3
        assert plain[-1] / plain[0] > 6


@pytest.mark.claim("GAP-1")
@pytest.mark.parametrize("planted", [0, 1])
def test_a_gap_of_pairs_is_decided_by_tuples_whose_other_sets_are_ones(planted: int) -> None:
    for k in (2, 3):
        problem = assay.hard("tensor_attention", "gap", planted, n=8, d=16, planted=planted, k=k)
        assert problem.reduced.reduction.name == "GAP-1 → TEN-7"
        assert problem.instance.order == k
        answer = problem.decode(tensor_attention.define(problem.instance).midpoint)
        assert problem.right(answer)
        assert len(answer.pairs) == answer.satisfiable == planted


@pytest.mark.claim("TEN-7")
def test_a_broken_promise_is_refused() -> None:
    with pytest.raises(InvalidInstance, match="promise broken: row 1 of the first set has a largest product of 2"):
        GapKMaxInnerProduct([[[1, 1, 1], [1, 1, 0]], [[1, 1, 1]], [[1, 1, 1]]], 3, Fraction(1, 2))
    made = GapKMaxInnerProduct([[[1, 1, 1], [1, 0, 0]], [[1, 1, 1]], [[1, 1, 1]]], 3, Fraction(1, 2))
    assert (made.checked, made.answer().count, made.answer().witness) == (True, 1, (0, 0, 0))


# --- Match2 and Match3 ------------------------------------------------------------------------------------------------


@pytest.mark.claim("TEN-4")
@pytest.mark.parametrize("order", [2, 3])
def test_one_head_matches_and_bears_all_but_its_margin(order: int) -> None:
    rng = np.random.default_rng(order)
    for modulus, n, dtype in (
        (2, 3, "float64"),
        (5, 4, "float32"),
        (7, 9, "float16"),
        (31, 6, "float64"),
        (97, 12, "float32"),
    ):
        for _ in range(3):
            numbers = rng.integers(0, modulus, n)
            head = matching_head(numbers, modulus, order, dtype)
            assert head.instance.query.shape[3] == 2 ** (order - 1)
            exact = tensor_attention.define(head.instance, output="log_sum_exp").midpoint
            wanted = matches(numbers, modulus, order)
            assert (head.decode(exact) == wanted).all()
            for sign in (-1.0, 1.0):
                assert (head.decode(exact + sign * head.margin) == wanted).all()
            gap = np.where(wanted, exact.ravel() - head.threshold, head.threshold - exact.ravel())
            assert gap.min() >= head.margin


@pytest.mark.claim("TEN-4")
def test_a_margin_that_rounding_eats_up_is_refused() -> None:
    with pytest.raises(InvalidInstance, match="dtype 'bfloat16': scores of 30 numbers modulo 50 need a longer type"):
        matching_head(range(30), 50, 3, "bfloat16")
    for bad, words in (((4, 1), "modulus 1"), ((4, 7, 4), "order 4"), ((0, 7), "numbers: none")):
        with pytest.raises(InvalidInstance, match=words):
            matching_head(range(bad[0]), *bad[1:])


def solved(heads: Any) -> tuple[set[int], list[str]]:
    """The true variables of a model, or a proof that there is none."""
    from pysat.solvers import Solver

    with Solver(name="cadical153", bootstrap_with=[list(c) for c in heads.clauses], with_proof=True) as solver:
        if solver.solve():
            return {literal for literal in solver.get_model() if literal > 0}, []
        return set(), solver.get_proof()


@pytest.mark.claim("TEN-4")
@pytest.mark.parametrize(("length", "scores"), [(3, 2), (3, 3), pytest.param(4, 2, marks=pytest.mark.thorough)])
def test_no_ordinary_head_of_few_levels_computes_match3_and_a_checker_accepts_the_proof(
    length: int, scores: int
) -> None:
    pytest.importorskip("pysat")
    heads = quantised_heads(5, length, scores=scores)
    model, proof = solved(heads)
    assert not model
    assert refutes(heads.clauses, steps(proof))


@pytest.mark.claim("TEN-4")
def test_a_proof_proves_no_weaker_formula_and_a_part_of_it_nothing() -> None:
    pytest.importorskip("pysat")
    heads = quantised_heads(5, 3, scores=2)
    proof = list(steps(solved(heads)[1]))
    assert refutes(heads.clauses, proof)
    assert not refutes(heads.clauses, proof[: len(proof) // 2])
    assert not refutes(heads.clauses, [()])
    assert not refutes([c for c in heads.clauses if len(c) != 2], proof)  # without "every token has a score"
    assert not refutes(heads.clauses, [(1,), *proof])
    with pytest.raises(ValueError, match="expected literals and a closing 0"):
        list(steps(["1 2"]))


@pytest.mark.claim("TEN-4")
def test_where_a_head_exists_the_formula_holds_it_and_it_computes_match3() -> None:
    """The formula is not empty of heads for another reason: with more levels there is one, and it is executed."""
    pytest.importorskip("pysat")
    for modulus, length, options in ((3, 3, {}), (4, 3, {"scores": 4})):
        heads = quantised_heads(modulus, length, **options)
        model, _ = solved(heads)
        assert model

        def table(kind: str, levels: int, *index: int, heads: Any = heads, model: Any = model) -> int:
            return next(level for level in range(levels) if heads.variable(kind, *index, level) in model)

        tokens = range(modulus)
        scores = np.array([[table("score", heads.scores, x, y) for y in tokens] for x in tokens])
        values = np.array([table("value", heads.values, y) for y in tokens])
        read = np.array([[heads.variable("read", x, at) in model for at in range(heads.levels)] for x in tokens])
        assert heads.computes(scores, values, read)
        assert not heads.computes(scores, values, ~read)


@pytest.mark.claim("TEN-4")
def test_every_head_that_computes_match3_satisfies_the_formula() -> None:
    """For M = 2 all heads of two scores and two values are tried: the formula holds of those that compute it."""
    heads = quantised_heads(2, 3, scores=2, values=2, levels=2)
    computing = 0
    for bits in itertools.product((0, 1), repeat=4 + 2 + 4):
        scores, values = np.array(bits[:4]).reshape(2, 2), np.array(bits[4:6])
        read = np.array(bits[6:]).reshape(2, 2).astype(bool)
        true = {heads.variable("score", x, y, int(scores[x, y])) for x in (0, 1) for y in (0, 1)}
        true |= {heads.variable("value", y, int(values[y])) for y in (0, 1)}
        true |= {heads.variable("read", x, level) for x in (0, 1) for level in (0, 1) if read[x, level]}
        holds = all(any((literal > 0) == (abs(literal) in true) for literal in clause) for clause in heads.clauses)
        assert holds == heads.computes(scores, values, read)
        computing += holds
    assert 0 < computing < 2**10


def test_a_formula_without_clauses_goes_through_every_order() -> None:
    for k in (2, 3, 5):
        reduced = path("satisfiability", "tensor_attention").apply(Formula(2, ()), k=k)
        assert reduced.decode(tensor_attention.define(reduced.target).midpoint).satisfiable
