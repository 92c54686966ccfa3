"""Vectors become gradients of attention, and one gradient becomes the answer: decoders at their worst allowed error."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.polynomial.legendre import leggauss

from assay.spec import attention_gradient
from assay.spec.attention_gradient.loss import Loss, define_loss
from assay.spec.instances import families
from assay.spec.instances.hard import hard
from assay.spec.instances.orthogonal_vectors import OrthogonalVectors
from assay.spec.instances.truth import satisfying
from assay.spec.problem import InvalidInstance
from assay.spec.reductions import (
    GapMaxInnerProduct,
    orthogonal_pairs,
    path,
    reduction,
    sufficient_classes,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from assay.spec.attention_gradient import Instance

ALMOST = 1 - 1e-6
DTYPES = ("float64", "float32", "bfloat16", "float16")


def vectors(rng: np.random.Generator, count: int, most: int = 9) -> Iterator[OrthogonalVectors]:
    """Random pairs of sets of every density, half of them with a planted pair."""
    for number in range(count):
        n, m, d = (int(x) for x in rng.integers(1, most, 3))
        density = rng.random()
        left, right = (rng.random((rows, d)) < density for rows in (n, m))
        if number % 2:
            i, j = rng.integers(n), rng.integers(m)
            right[j] &= ~left[i]
        yield OrthogonalVectors(left, right)


def grad_key(target: Instance) -> np.ndarray[Any, Any]:
    """dK in float64, from the scores as they are stored."""
    q, k, v, g = (x[0, 0].astype(np.float64) for x in (target.query, target.key, target.value, target.grad_output))
    assert target.scale is not None
    scores = target.scale * (q @ k.T)
    p = np.exp(scores - scores.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    inner = g @ v.T
    return np.asarray(target.scale * (p * (inner - (p * inner).sum(axis=1, keepdims=True))).T @ q)[None, None]


def grad_weights(target: Loss) -> np.ndarray[Any, Any]:
    """dL/dX, certified and rounded."""
    return define_loss(target, 1e-20)["grad_weights"].midpoint


def attacks(rng: np.random.Generator, shape: tuple[int, ...], error: float) -> Iterator[np.ndarray[Any, Any]]:
    yield np.full(shape, error)
    yield np.full(shape, -error)
    yield error * rng.choice([-1.0, 1.0], shape)


def off(found: np.ndarray[Any, Any], error: float, coordinate: int) -> np.ndarray[Any, Any]:
    """The gradient with an error in one coordinate of the calibrator."""
    made = found.copy()
    made[0, 0, 0, coordinate] += error
    return made


def is_pair(source: OrthogonalVectors, witness: tuple[int, ...] | None) -> bool:
    return witness is None or not (source.left[witness[0]] & source.right[witness[1]]).any()


# --- GRAD-4


@pytest.mark.claim("GRAD-4")
@pytest.mark.parametrize("dtype", DTYPES)
def test_one_gradient_decides_at_almost_its_accuracy(dtype: str) -> None:
    rng = np.random.default_rng(1)
    for source in vectors(rng, 120):
        reduced = reduction("GRAD-4").apply(source, dtype=dtype)
        found, truth = grad_key(reduced.target), orthogonal_pairs(source)
        for attack in attacks(rng, found.shape, float(reduced.accuracy) * ALMOST):
            answer = reduced.decode(found + attack)
            assert answer.exists == truth.exists
            assert is_pair(source, answer.witness)


@pytest.mark.claim("GRAD-4")
def test_a_little_more_than_the_accuracy_decides_wrongly() -> None:
    """All m right vectors are partners of the one left vector: the least gradient of any instance with a partner."""
    for m in (1, 2, 7, 40):
        yes = reduction("GRAD-4").apply(OrthogonalVectors([[1]], np.zeros((m, 1))))
        error = float(yes.accuracy)
        assert yes.decode(off(grad_key(yes.target), -error * (1 - 1e-9), 1)).exists
        assert not yes.decode(off(grad_key(yes.target), -error * (1 + 1e-9), 1)).exists
    # no partner, but every inner product is 1: the largest gradient of any such instance, but for the rounding of κ
    no = reduction("GRAD-4").apply(OrthogonalVectors([[1]], [[1]]))
    error = float(no.accuracy)
    assert not no.decode(off(grad_key(no.target), error, 1)).exists
    assert no.decode(off(grad_key(no.target), 1.2 * error, 1)).exists


@pytest.mark.claim("GRAD-4", "GRAD-9")
def test_an_output_that_misses_the_number_of_control_is_refused_whatever_the_answer_is() -> None:
    rng = np.random.default_rng(9)
    arrows = [("GRAD-4", source) for source in vectors(rng, 30)] + [("GRAD-9", source) for source in gaps(rng, 20)]
    for name, source in arrows:
        reduced = reduction(name).apply(source, dtype="float64", scale=rng.choice([1.0, -0.5]))
        found, error = grad_key(reduced.target), float(reduced.accuracy)
        for factor in (1 - 1e-9, -1 + 1e-9):
            reduced.decode(off(found, factor * error, -1))
        for wrong in (0 * found, -found, off(found, 1.000001 * error, -1), off(found, -1.000001 * error, -1)):
            with pytest.raises(ValueError, match="the last number of the first key is"):
                reduced.decode(wrong)


@pytest.mark.claim("GRAD-4")
@pytest.mark.parametrize("scale", [None, 1.0, -0.3, 1e-3, 7.5])
def test_certified_gradients_lie_on_their_side_for_any_scale(scale: float | None) -> None:
    rng = np.random.default_rng(2)
    for source in vectors(rng, 8, most=6):
        reduced = reduction("GRAD-4").apply(source, dtype="float32", scale=scale)
        found = attention_gradient.define(reduced.target, output="grad_key")
        truth, m = orthogonal_pairs(source), source.m
        assert reduced.target.scale is not None
        unit = reduced.target.scale * float(reduced.target.query.max())
        level = (found.midpoint[0, 0, 0, source.d] + np.array([1, -1]) * found.radius[0, 0, 0, source.d]) / unit
        assert level.min() >= m / (m + 1) ** 2 * (1 - 1e-12) if truth.exists else level.max() <= 1 / (16 * m)
        assert np.allclose(found.midpoint, grad_key(reduced.target), atol=1e-12 * abs(unit))


@pytest.mark.claim("GRAD-4")
def test_the_same_gradient_holds_the_numbers_of_the_pair_in_bits() -> None:
    rng = np.random.default_rng(3)
    told = 0
    for seed in range(40):
        n, m = (int(x) for x in rng.integers(2, 40, 2))
        source, _ = families.planted_vectors(seed, max(n, m), 20)
        source = OrthogonalVectors(source.left[:n], source.right[:m])
        truth = orthogonal_pairs(source)
        if truth.count != 1:
            continue
        told += 1
        for dtype in DTYPES:
            reduced = reduction("GRAD-4").apply(source, dtype=dtype)
            found = grad_key(reduced.target)
            assert reduced.decode(found).witness == truth.witness
            # the bits alone say it, without a look at the vectors
            key = int(np.argmin(found[0, 0, 1:, source.d]))
            bits = np.abs(found[0, 0, key + 1, source.d + 1 : -1]) > np.abs(found[0, 0, key + 1, source.d]) / 2
            assert truth.witness == (int(bits @ (1 << np.arange(len(bits)))), key)
    assert told >= 10


@pytest.mark.claim("GRAD-4")
def test_the_extra_coordinates_enter_no_score() -> None:
    for source in vectors(np.random.default_rng(4), 20):
        target = reduction("GRAD-4").apply(source).target
        assert not target.key[..., source.d :].any()
        assert target.query.shape[3] == source.d + 2 + math.ceil(math.log2(source.n))


# --- GRAD-9: entries Θ(√log n)


def gaps(rng: np.random.Generator, count: int) -> Iterator[GapMaxInnerProduct]:
    """Left vectors of weight t, so that no inner product is above t."""
    made = 0
    while made < count:
        n, m, d = (int(x) for x in rng.integers(2, 10, 3))
        t = int(rng.integers(1, d + 1))
        left = np.zeros((n, d), np.uint8)
        for row in left:
            row[rng.permutation(d)[:t]] = 1
        right = (rng.random((m, d)) < rng.uniform(0.2, 0.9)).astype(np.uint8)
        best = (left.astype(int) @ right.T.astype(int)).max(axis=1)
        low = int(best[best < t].max(initial=0))
        try:
            yield GapMaxInnerProduct(left, right, t, Fraction(t - low, t) - Fraction(1, 10**6 * t))
        except InvalidInstance:
            continue
        made += 1


@pytest.mark.claim("GRAD-9")
@pytest.mark.parametrize("dtype", DTYPES)
def test_one_gradient_decides_a_gap_at_almost_its_accuracy(dtype: str) -> None:
    rng = np.random.default_rng(5)
    for source in gaps(rng, 80):
        reduced = reduction("GRAD-9").apply(source, dtype=dtype)
        found, truth = grad_key(reduced.target), source.answer()
        for attack in attacks(rng, found.shape, float(reduced.accuracy) * ALMOST):
            answer = reduced.decode(found + attack)
            assert answer.exists == truth.exists
            if answer.witness is not None:
                i, j = answer.witness
                assert int(source.left[i].astype(int) @ source.right[j]) >= source.threshold


@pytest.mark.claim("GRAD-9")
def test_a_little_more_than_the_accuracy_decides_a_gap_wrongly() -> None:
    yes = reduction("GRAD-9").apply(GapMaxInnerProduct(np.array([[1]]), np.ones((5, 1)), 1, Fraction(1)))
    error = float(yes.accuracy)
    assert yes.decode(off(grad_key(yes.target), -error * (1 - 1e-9), 2)).exists
    assert not yes.decode(off(grad_key(yes.target), -error * (1 + 1e-9), 2)).exists


@pytest.mark.claim("GRAD-9")
def test_entries_of_a_gap_grow_like_the_root_of_a_logarithm() -> None:
    ratios = []
    for power in (8, 12, 16, 20):
        sizes = {"n": 2**power, "m": 2**power, "d": 4 * power, "threshold": power, "gap": Fraction(1, 2)}
        bound = float(reduction("GRAD-9").sizes(sizes)["B"])
        ratios.append(bound / math.sqrt(math.log(2**power)))
    assert max(ratios) < 1.15 * min(ratios)


@pytest.mark.claim("GRAD-9")
def test_an_inner_product_above_the_threshold_is_refused() -> None:
    """A single such pair would make p(1 − p) as small as if there were none."""
    source = GapMaxInnerProduct(np.array([[1, 1, 1]]), np.array([[1, 1, 1]]), 2, Fraction(1, 2))
    with pytest.raises(InvalidInstance, match="an inner product of 3: expected at most the threshold 2"):
        reduction("GRAD-9").apply(source)


# --- GRAD-10 and GRAD-3: the loss of the paper


@pytest.mark.claim("GRAD-10")
def test_one_entry_of_the_gradient_of_the_loss_decides_and_its_row_and_column_name_the_pair() -> None:
    rng = np.random.default_rng(6)
    unique = 0
    for source in vectors(rng, 50, most=7):
        reduced = reduction("GRAD-10").apply(source)
        found, truth = grad_weights(reduced.target), orthogonal_pairs(source)
        assert reduced.decode(found).exists == truth.exists
        if truth.count == 1:
            unique += 1
            assert reduced.decode(found).witness == truth.witness
        for attack in attacks(rng, found.shape, float(reduced.accuracy) * ALMOST):
            answer = reduced.decode(found + attack)
            assert answer.exists == truth.exists
            assert is_pair(source, answer.witness)
    assert unique >= 3


@pytest.mark.claim("GRAD-10")
def test_beyond_its_accuracy_the_gradient_of_the_loss_decides_wrongly() -> None:
    no = reduction("GRAD-10").apply(OrthogonalVectors([[1]], [[1]]))
    assert no.decode(grad_weights(no.target) - 1.2 * float(no.accuracy)).exists
    yes = reduction("GRAD-10").apply(OrthogonalVectors([[1]], np.zeros((400, 1))))
    assert not yes.decode(grad_weights(yes.target) + 1.01 * float(yes.accuracy)).exists


@pytest.mark.claim("GRAD-3")
def test_the_integral_of_many_gradients_decides_at_almost_its_accuracy() -> None:
    rng = np.random.default_rng(7)
    for source in vectors(rng, 24, most=6):
        reduced = reduction("GRAD-3").apply(source)
        found = np.array([_plain(loss) for loss in reduced.target.losses])
        truth = orthogonal_pairs(source)
        for attack in attacks(rng, found.shape, float(reduced.accuracy) * ALMOST):
            assert reduced.decode(found + attack).exists == truth.exists


@pytest.mark.claim("GRAD-3")
def test_the_rule_integrates_to_within_a_sixteenth() -> None:
    """φ(1) − φ(0) is known in closed form; a rule with two nodes fewer would be off by more on some instance."""
    rng = np.random.default_rng(8)
    worst = 0.0
    for source in vectors(rng, 40, most=12):
        target = reduction("GRAD-3").apply(source).target
        beta = target.losses[0].scale * float(np.abs(target.losses[0].keys).max()) ** 2
        products = source.left.astype(float) @ source.right.T
        phi = [0.5 * float((1 + np.exp(-t * beta * products).sum(axis=1)) ** -2 @ np.ones(source.n)) for t in (0, 1)]
        slope = [float(np.trace(_plain(loss))) for loss in target.losses]
        worst = max(worst, abs(float(target.weights @ slope) - (phi[1] - phi[0])))
    assert worst < 1 / 16


@pytest.mark.claim("GRAD-3")
@pytest.mark.parametrize("nodes", range(2, 12))
def test_nodes_of_the_quadrature_are_those_of_gauss(nodes: int) -> None:
    """Exact for polynomials of degree 2m − 1, in rational arithmetic but for the rounding of nodes and weights."""
    points, weights = leggauss(nodes)
    for power in range(2 * nodes):
        total = sum(Fraction(w) * Fraction(x) ** power for x, w in zip(points.tolist(), weights.tolist(), strict=True))
        assert abs(total - (Fraction(2, power + 1) if power % 2 == 0 else 0)) < Fraction(1, 2**48)


def _plain(loss: Loss) -> np.ndarray[Any, Any]:
    scores = loss.scale * loss.queries @ loss.weights @ loss.keys.T
    p = np.exp(scores - scores.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    inner = (p @ loss.values - loss.target) @ loss.values.T
    return np.asarray(loss.scale * loss.queries.T @ (p * (inner - (p * inner).sum(axis=1, keepdims=True))) @ loss.keys)


# --- formulas through one backward pass


def backward(target: Instance) -> np.ndarray[Any, Any]:
    """dK from one ``backward()`` through torch's scaled_dot_product_attention, in the type of the instance."""
    torch = pytest.importorskip("torch")
    kind = getattr(torch, target.query.dtype.name)
    q, k, v, g = (
        torch.tensor(x.astype(np.float64)).to(kind).requires_grad_() for x in (
            target.query, target.key, target.value, target.grad_output
        )
    )  # fmt: skip
    torch.nn.functional.scaled_dot_product_attention(q, k, v, scale=target.scale).backward(g.detach())
    return np.asarray(k.grad.to(torch.float64).numpy())


def vjp(target: Instance) -> np.ndarray[Any, Any]:
    """dK from one vector–Jacobian product of JAX, whose values must have as many columns as its keys: zeros."""
    jax = pytest.importorskip("jax")
    wide = [(0, 0)] * 3 + [(0, target.key.shape[3] - 1)]
    arrays = (target.query, target.key, np.pad(target.value, wide), np.pad(target.grad_output, wide))
    q, k, v, g = (jax.numpy.asarray(x.swapaxes(1, 2)) for x in arrays)
    _, pull = jax.vjp(lambda *x: jax.nn.dot_product_attention(*x, scale=target.scale), q, k, v)
    return np.asarray(pull(g)[1]).astype(np.float64).swapaxes(1, 2)


@pytest.mark.claim("GRAD-4")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", pytest.param("jax", marks=pytest.mark.thorough)])
def test_formulas_through_one_backward_pass_equal_the_solver(dtype: str) -> None:
    for seed in range(6):
        formula = families.random_formula(seed, 8)
        reduced = path("satisfiability", "attention_gradient").apply(
            formula, dtype="float32" if dtype == "jax" else dtype
        )
        answer = reduced.decode((vjp if dtype == "jax" else backward)(reduced.target))
        assert answer.satisfiable == (satisfying(formula) is not None)
        assert (answer.model is not None) == answer.satisfiable
        assert answer.model is None or formula.holds(answer.model)


def test_a_hard_gradient_is_written_with_the_output_that_decodes_it() -> None:
    problem = hard("attention_gradient", families.random_formula(1, 5))
    assert problem.reduced.reduction.output == "grad_key"
    assert problem.right(problem.decode(grad_key(problem.instance)))
    gap = hard("attention_gradient", "gap", n=16, d=32)
    assert gap.reduced.reduction.name == "GRAD-9"
    assert gap.right(gap.decode(grad_key(gap.instance)))


def test_float32_suffices_by_its_tolerance() -> None:
    """The criteria of the gradient that is decoded, not of the first output."""
    formula = families.random_formula(2, 6)
    assert "float32" in sufficient_classes(path("satisfiability", "attention_gradient").apply(formula, dtype="float32"))
