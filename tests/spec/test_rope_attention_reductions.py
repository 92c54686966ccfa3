"""ROPE-5: attention that is hard stays hard with the true rotary embedding, and formulas decided through it."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import assay
from assay.spec import attention, rope
from assay.spec.instances import hard
from assay.spec.instances.formula import Formula
from assay.spec.instances.orthogonal_vectors import OrthogonalVectors
from assay.spec.problem import InvalidInstance
from assay.spec.reductions import GapMaxInnerProduct, orthogonal_pairs, path, reduction, sufficient_classes
from assay.spec.reductions.to_attention import counting_accuracy
from assay.spec.reductions.to_attention_gradient import GRAD_4
from assay.spec.reductions.to_rope_attention import score_error, turned_back
from assay.spec.rope_attention import Instance, define, evaluate
from assay.spec.rope_attention.gradient import gradients

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

ARROWS = {name: reduction(f"ROPE-5{name}") for name in "abc"}


def vectors(count: int, seed: int = 0) -> Iterator[OrthogonalVectors]:
    """Two sets of every density, half of them with a planted pair; odd and even numbers of columns."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        n, m, d = (int(x) for x in rng.integers(1, 7, 3))
        density = rng.random()
        left, right = (rng.random((rows, d)) < density for rows in (n, m))
        if number % 2:
            right[rng.integers(m)] &= ~left[rng.integers(n)]
        yield OrthogonalVectors(left, right)


@pytest.mark.claim("ROPE-5")
@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
@pytest.mark.parametrize("layout", ["halves", "pairs"])
def test_inputs_turned_back_have_the_scores_and_the_output_of_plain_attention(dtype: str, layout: str) -> None:
    for source in vectors(6, 3):
        plain = reduction("OV-2").apply(source, dtype=dtype).target
        target = turned_back(plain, 500.0, layout)
        gap = float(score_error(plain, target))
        off = np.abs(evaluate(target).score.midpoint - attention.evaluate(plain).score.midpoint)
        assert off.max() <= gap * (1 + 1e-9) + 1e-11
        assert gap <= {"float64": 1e-12, "float32": 1e-4, "bfloat16": 1.0}[dtype]
        moved = np.abs(define(target).midpoint - attention.define(plain).midpoint)
        assert moved.max() <= gap / 2 + 1e-11
        assert np.abs(target.query.astype(float)).max() <= 1.42 * np.abs(plain.query.astype(float)).max()


@pytest.mark.claim("ROPE-5")
def test_without_turning_back_the_rotary_embedding_decides_nothing() -> None:
    """The instance of OV-2 as it is, at positions 0, 1, 2, …: ROPE-5 is needed."""
    wrong = 0
    for source in vectors(24, 5):
        plain = reduction("OV-2").apply(source).target
        even = plain.query.shape[3] % 2 == 0
        if even:
            target = Instance(plain.query, plain.key, plain.value, scale=plain.scale)
            answer = reduction("OV-2").decoder(source, plain, define(target).midpoint)
            wrong += answer.exists != orthogonal_pairs(source).exists
    assert wrong >= 1


@pytest.mark.claim("ROPE-5")
@pytest.mark.parametrize("name", ["a", "b"])
@pytest.mark.parametrize("scale", [None, 1.0, -0.25])
def test_vectors_are_decoded_from_the_exact_output(name: str, scale: float | None) -> None:
    for source in vectors(16, 1):
        answer = (
            ARROWS[name]
            .apply(source, scale=scale)
            .decode(define(ARROWS[name].apply(source, scale=scale).target).midpoint)
        )
        truth = orthogonal_pairs(source)
        assert answer.exists == truth.exists
        assert name == "a" or answer.count == truth.count
        if answer.witness is not None:
            i, j = answer.witness
            assert not (source.left[i] & source.right[j]).any()


@pytest.mark.claim("ROPE-5")
@pytest.mark.parametrize("planted", [0, 1])
def test_gap_instances_with_small_entries_are_decoded(planted: int) -> None:
    problem = assay.hard("rope_attention", "gap", n=24, d=48, planted=planted, seed=2)
    assert problem.reduced.reduction.name == "ROPE-5c"
    assert isinstance(problem.source, GapMaxInnerProduct)
    answer = problem.decode(define(problem.instance).midpoint)
    assert answer.satisfiable == bool(planted)
    assert problem.right(answer)


@pytest.mark.claim("ROPE-5")
@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_the_decoder_is_right_at_the_worst_allowed_error_and_not_beyond(dtype: str) -> None:
    """The exact output may be anywhere within Δ/2 of that of attention, and a kernel may err by the accuracy more."""
    for source, plain, direction in (
        (OrthogonalVectors([[1, 1]], [[0, 0]]), Fraction(1, 2), 1),
        (OrthogonalVectors([[1, 1]], [[1, 0]]), Fraction(4, 5), -1),
    ):
        reduced = ARROWS["a"].apply(source, dtype=dtype)
        moved = score_error(reduction("OV-2").apply(source, dtype=dtype).target, reduced.target) / 2
        assert reduced.accuracy + moved == Fraction(3, 20)
        truth = orthogonal_pairs(source).exists
        for share, right in ((Fraction(999, 1000), True), (Fraction(1001, 1000), False)):
            worst = np.array(plain + direction * (moved + share * reduced.accuracy), dtype=object).reshape(1, 1, 1, 1)
            assert (reduced.decode(worst).exists == truth) == right


def gaps(count: int, seed: int) -> Iterator[GapMaxInnerProduct]:
    """Two sets and a threshold, with as large a gap as they have."""
    rng = np.random.default_rng(seed)
    while count:
        n, m, d = (int(x) for x in rng.integers(1, 7, 3))
        left, right = (rng.random((rows, d)) < rng.uniform(0.2, 0.9) for rows in (n, m))
        best = (left.astype(int) @ right.T.astype(int)).max(axis=1)
        t = int(rng.integers(1, d + 1))
        gap = Fraction(t - int(best[best < t].max(initial=0)), t) - Fraction(1, 10**6 * t)
        try:
            yield GapMaxInnerProduct(left, right, t, gap)
        except InvalidInstance:
            continue
        count -= 1


@pytest.mark.claim("ROPE-5")
@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
@pytest.mark.parametrize("name", list("abc"))
def test_every_decoder_is_right_at_the_worst_allowed_error_of_every_output(name: str, dtype: str) -> None:
    rng = np.random.default_rng(8)
    decoded = 0
    for source in gaps(24, 9) if name == "c" else vectors(24, 9):
        try:
            reduced = ARROWS[name].apply(source, dtype=dtype)
        except InvalidInstance:
            assert dtype == "bfloat16"  # too short for the turned vectors of this source
            continue
        decoded += 1
        truth = orthogonal_pairs(source) if isinstance(source, OrthogonalVectors) else source.answer()
        out, worst = define(reduced.target).midpoint, 0.999999 * float(reduced.accuracy) - 1e-11
        for off in (worst, -worst, worst * rng.choice([-1.0, 1.0], out.shape)):
            answer = reduced.decode(out + off)
            assert answer.exists == truth.exists
            assert name == "a" or answer.count == truth.count
    assert decoded >= 6


@pytest.mark.claim("ROPE-5")
@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
@pytest.mark.parametrize("m", [1, 2, 7])
def test_the_count_is_right_at_the_worst_allowed_error_and_not_beyond(m: int, dtype: str) -> None:
    """The narrowest gap of OV-3: m partners give 1/(m + 1), and m − 1 partners and a product of 1 the other end."""
    if dtype == "bfloat16" and m == 7:
        pytest.skip("no accuracy is left")
    right = np.zeros((m, 2), dtype=int)
    right[0, 0] = 1
    for source, count, plain in (
        (OrthogonalVectors([[1, 1]], np.zeros((m, 2), dtype=int)), m, Fraction(1, m + 1)),
        (OrthogonalVectors([[1, 1]], right), m - 1, 1 / (m + Fraction(1, 4 * m))),
    ):
        reduced = ARROWS["b"].apply(source, dtype=dtype)
        moved = score_error(reduction("OV-3").apply(source, dtype=dtype).target, reduced.target) / 2
        assert reduced.accuracy + moved == counting_accuracy(m)
        sign = 1 if count == m else -1
        for share, expected in ((Fraction(999999, 10**6), count), (Fraction(1000001, 10**6), count - sign)):
            worst = plain + sign * (moved + share * reduced.accuracy)
            assert reduced.decode(np.full((1, 1, 1, 1), worst, dtype=object)).count == expected


@pytest.mark.claim("ROPE-5")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_exact_outputs_that_err_by_more_are_counted_wrongly(dtype: str) -> None:
    """The exact output itself, moved by the accuracy and twice what rounding of the inputs may have moved it."""
    for m in (1, 3):
        source = OrthogonalVectors([[1, 1]], np.zeros((m, 2), dtype=int))
        reduced = ARROWS["b"].apply(source, dtype=dtype)
        moved = float(score_error(reduction("OV-3").apply(source, dtype=dtype).target, reduced.target))
        out = define(reduced.target).midpoint
        assert reduced.decode(out + 1.000001 * (float(reduced.accuracy) + moved)).count == m - 1
    gap = GapMaxInnerProduct(np.array([[1]]), np.array([[1]]), 1, Fraction(1))
    reduced = ARROWS["c"].apply(gap, dtype=dtype)
    plain = reduction("OV-4").apply(gap, dtype=dtype).target
    out = define(reduced.target).midpoint
    moved = float(score_error(plain, reduced.target))
    assert reduced.accuracy + score_error(plain, reduced.target) / 2 == Fraction(3, 20)
    assert reduced.decode(out + 1.000001 * (float(reduced.accuracy) + moved)).count == 0


@pytest.mark.claim("ROPE-5")
@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_the_gap_is_decided_at_the_worst_allowed_error_and_not_beyond(dtype: str) -> None:
    """A row that attains the threshold gives 1/2, and one of just under (1 − γ)t nearly 4/5."""
    for source, count, plain in (
        (GapMaxInnerProduct(np.array([[1]]), np.array([[1]]), 1, Fraction(1)), 1, Fraction(1, 2)),
        (GapMaxInnerProduct(np.array([[1, 0]]), np.array([[1, 1]]), 2, Fraction(49, 100)), 0, Fraction(4, 5)),
    ):
        reduced = ARROWS["c"].apply(source, dtype=dtype)
        moved = score_error(reduction("OV-4").apply(source, dtype=dtype).target, reduced.target) / 2
        assert reduced.accuracy + moved == Fraction(3, 20)
        sign = 1 if count else -1
        for share, expected in ((Fraction(999999, 10**6), count), (Fraction(1000001, 10**6), 1 - count)):
            worst = plain + sign * (moved + share * reduced.accuracy)
            assert reduced.decode(np.full((1, 1, 1, 1), worst, dtype=object)).count == expected


@pytest.mark.claim("ROPE-5")
def test_a_type_too_short_for_turned_vectors_is_refused() -> None:
    rng = np.random.default_rng(0)
    source = OrthogonalVectors(rng.random((8, 255)) < 0.9, rng.random((8, 255)) < 0.9)
    with pytest.raises(InvalidInstance, match="turned vectors of 255 coordinates need a longer type"):
        ARROWS["a"].apply(source, dtype="bfloat16")
    with pytest.raises(InvalidInstance, match="scale 0"):
        ARROWS["a"].apply(source, scale=0.0)


def models_exist(formula: Formula) -> bool:
    """Whether the formula has a model, by a solver that is not ours."""
    solvers = pytest.importorskip("pysat.solvers")
    with solvers.Solver(name="g4", bootstrap_with=[list(clause) for clause in formula.clauses]) as found:
        return bool(found.solve())


def through_float32_angles(target: Instance) -> NDArray[Any]:
    """Float32 frequencies, angles, tables and rotation, and torch's attention."""
    torch = pytest.importorskip("torch")
    d, f = target.query.shape[3], np.float32
    theta = (f(1) / f(target.base) ** (np.arange(0, d, 2, dtype=f) / f(d))).astype(f)
    arrays = []
    for x in (target.query, target.key):
        angle = np.tile(np.arange(x.shape[2], dtype=f)[:, None] * theta, 2)
        crossed = np.concatenate([-x[..., d // 2 :], x[..., : d // 2]], axis=3)
        arrays.append(torch.tensor(x * np.cos(angle) + crossed * np.sin(angle)))
    made = torch.nn.functional.scaled_dot_product_attention(*arrays, torch.tensor(target.value), scale=target.scale)
    return np.asarray(made.numpy())


@pytest.mark.claim("ROPE-5")
def test_formulas_through_float32_angles_and_back_equal_the_solver() -> None:
    rng = np.random.default_rng(4)
    decided = {True: 0, False: 0}
    for _ in range(60):
        variables = int(rng.integers(2, 9))
        clauses = tuple(
            tuple(int(x) for x in (rng.permutation(variables)[:3] + 1) * rng.choice([-1, 1], min(3, variables)))
            for _ in range(round(variables * rng.uniform(2, 6)))
        )
        formula = Formula(variables, clauses)
        reduced = path("satisfiability", "rope_attention").apply(formula, dtype="float32")
        answer = reduced.decode(through_float32_angles(reduced.target))
        assert answer.satisfiable == models_exist(formula)
        assert answer.model is None or formula.holds(answer.model)
        decided[answer.satisfiable] += 1
    assert min(decided.values()) >= 10
    assert {"float32", "float32-exact-angles"} <= set(sufficient_classes(reduced))


@pytest.mark.claim("ROPE-5")
@pytest.mark.claim("ROT-6")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_gradient_decides_through_the_rotary_embedding(dtype: str) -> None:
    for source in vectors(14, 7):
        reduced = reduction("ROPE-5d").apply(source, dtype=dtype)
        target = reduced.target
        exact = gradients(target.instance, target.grad_output)["grad_key"].midpoint
        truth = orthogonal_pairs(source)
        rng, worst = np.random.default_rng(0), 0.999 * float(reduced.accuracy)
        for off in (0.0, worst * rng.choice([-1.0, 1.0], exact.shape), worst, -worst):
            assert reduced.decode(exact + off).exists == truth.exists
        answer = reduced.decode(exact)
        if answer.witness is not None:
            i, j = answer.witness
            assert not (source.left[i] & source.right[j]).any()


@pytest.mark.claim("ROPE-5")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_is_left_of_the_accuracy_of_the_gradient_is_what_the_claim_says(dtype: str) -> None:
    source = OrthogonalVectors([[1, 1], [0, 1], [1, 0]], [[1, 0], [1, 1]])
    plain, target = (reduction(name).apply(source, dtype=dtype).target for name in ("GRAD-4", "ROPE-5d"))
    delta = float(score_error(plain.forward(), target.instance))
    query = plain.query.astype(np.float64)
    if query.shape[3] % 2:
        query = np.concatenate([query, 0 * query[..., :1]], axis=3)
    exact = rope.define(rope.Instance(query, positions=-np.arange(query.shape[2]))).midpoint
    lost = np.linalg.norm(target.instance.query.astype(np.float64) - exact, axis=3).max()
    m, n = source.m, source.n
    moved = 2.6 * delta * query.max() * m / (m + 1) ** 2 + 33 / 80 * (n + 1) * lost
    left = float(GRAD_4.accuracy(source, plain)) - abs(plain.scale) * moved
    assert float(reduction("ROPE-5d").apply(source, dtype=dtype).accuracy) == pytest.approx(0.7 * left, rel=1e-4)
    assert moved > 0.5 * left * (0.1 if dtype == "bfloat16" else 1e-7)


@pytest.mark.claim("ROPE-5")
@pytest.mark.parametrize("name", ["a", "b"])
def test_turned_entries_are_as_large_as_the_sizes_say(name: str) -> None:
    source = OrthogonalVectors(np.ones((12, 2)), np.ones((12, 2)))
    reduced, plain = ARROWS[name].apply(source), reduction("OV-2").apply(source)
    largest = max(np.abs(x).max() for x in (reduced.target.query, reduced.target.key))
    assert 1.41 * float(plain.sizes["B"]) <= largest <= float(reduced.sizes["B"])
    # the certified numbers themselves are known up to a radius, which is the whole error in float64
    assert 1e-30 < score_error(plain.target, reduced.target) < 1e-10


@pytest.mark.claim("ROPE-5")
def test_a_gradient_that_errs_by_more_than_its_accuracy_is_decoded_wrongly_or_refused() -> None:
    source = OrthogonalVectors([[1, 1]], [[1, 0]])
    reduced = reduction("ROPE-5d").apply(source)
    exact = gradients(reduced.target.instance, reduced.target.grad_output)["grad_key"].midpoint
    off = np.zeros(exact.shape)
    off[0, 0, 0, source.d] = 1.6 * float(reduced.accuracy)  # 1.08 accuracies of GRAD-4, of which 7/10 are left
    assert reduced.decode(exact + off).exists != orthogonal_pairs(source).exists
    with pytest.raises(ValueError, match="no gradient within"):
        reduced.decode(0 * exact)


def test_a_hard_problem_is_made_saved_and_decoded(tmp_path: Any) -> None:
    made = assay.hard("rope_attention", OrthogonalVectors([[1, 1]], [[1, 0], [0, 0]]), dtype="float32")
    assert made.reduced.reduction.name == "ROPE-5a"
    made.save(tmp_path / "x.npz")
    again = hard.load(tmp_path / "x.npz")
    answer = again.decode(define(again.instance).midpoint)
    assert answer.satisfiable
    assert made.right(answer)
    assert again.accuracy == made.accuracy
    assert dataclasses.replace(made, options={}).stored_as("float64").instance.query.dtype == np.float64
