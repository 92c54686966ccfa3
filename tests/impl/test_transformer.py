"""The transformer with all weights written down decides (DOC-6), and how many bits its numbers need (DOC-7)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from assay.impl.transformer import Transformer, decide, least, most, orthogonal, outputs
from assay.impl.transformer.bits import rounded, shares, summed
from assay.impl.transformer.weights import CUT, factor
from assay.spec.instances import families, truth
from assay.spec.reductions import reduction

DTYPES = ("float32", "bfloat16", "float16")


def documents(rng: np.random.Generator, n: int, d: int) -> Any:
    """0/1 documents of some density, none empty."""
    drawn = (rng.random((n, d)) < rng.uniform(0.1, 0.7)).astype(np.uint8)
    drawn[~drawn.any(axis=1), rng.integers(d)] = 1
    return drawn


def questions(rng: np.random.Generator, n: int, m: int, d: int) -> list[tuple[Transformer, tuple[Any, ...], bool]]:
    """Every kind of question about random documents, at the thresholds where the answer turns, with the answers."""
    left, right = documents(rng, n, d), documents(rng, m, d)
    both = left.astype(int) @ right.T
    one = (left.astype(int) @ left.T)[~np.eye(n, dtype=bool)]
    asked: list[tuple[Transformer, tuple[Any, ...], bool]] = [(orthogonal(d, n), (left,), bool((one == 0).any()))]
    for sides, products, given, number in ((2, both, (left, right), n + m), (1, one, (left,), n)):
        high, low = int(products.max()), int(products.min())
        asked += [(most(d, number, t, sides=sides), given, high >= t) for t in (high, high + 1) if t >= 1]
        asked += [(least(d, number, t, sides=sides), given, low <= t) for t in (low - 1, low) if t >= 0]
    return asked


@pytest.mark.claim("DOC-6")
@pytest.mark.parametrize("dtype", ["float64", *DTYPES])
def test_every_question_is_decided_in_every_type(dtype: str) -> None:
    rng = np.random.default_rng(1)
    answers = []
    for _ in range(12):
        for transformer, given, answer in questions(rng, *(int(x) for x in rng.integers(2, 60, 2)), 20):
            assert decide(transformer, *given, dtype=dtype) == answer
            answers.append(answer)
    assert 20 < sum(answers) < len(answers) - 20


@pytest.mark.claim("DOC-2")
@pytest.mark.claim("DOC-6")
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_torch_module_decides_the_same_through_sdpa(dtype: str) -> None:
    torch = pytest.importorskip("torch")
    from assay.impl.transformer.module import DecidingTransformer

    rng = np.random.default_rng(2)
    for _ in range(4):
        for transformer, given, answer in questions(rng, *(int(x) for x in rng.integers(2, 60, 2)), 20):
            module = DecidingTransformer(transformer, getattr(torch, dtype))
            tensors = [torch.from_numpy(x).to(getattr(torch, dtype)) for x in given]
            assert bool(module(*tensors)) == answer
            ours = outputs(transformer, *given, dtype=dtype).astype(float)
            theirs = module.outputs(*tensors)[:, 0].double().numpy()
            assert np.abs(ours - theirs).max() <= (1e-6 if dtype == "float32" else 0.01)


def test_the_state_dict_is_the_one_that_is_documented() -> None:
    pytest.importorskip("torch")
    from assay.impl.transformer import module

    state = module.DecidingTransformer(most(5, 9, 2)).state_dict()
    names = {"embedding.weight", "types.weight", "query.weight", "key.weight", "value.weight", "inner.weight"}
    assert set(state) == names | {"inner.bias", "outer.weight"}
    assert all(f"``{name}``" in str(module.DecidingTransformer.__doc__) for name in names | {"outer.weight"})
    assert tuple(state["query.weight"].shape) == (6, 13)


@pytest.mark.claim("DOC-6")
def test_outputs_are_at_most_one_half_or_at_least_16_17ths() -> None:
    """The calibrator and the right documents included, so the perceptron's ramp from 1/2 to 5/8 meets no output."""
    rng = np.random.default_rng(3)
    for _ in range(10):
        for transformer, given, answer in questions(rng, 30, 20, 12):
            share = outputs(transformer, *given, dtype="float64")
            assert ((share <= 0.5) | (share >= 16 / 17 - 1e-12)).all()
            assert share[-1] >= 16 / 17 - 1e-12
            assert (share <= CUT).any() == answer


@pytest.mark.claim("DOC-6")
def test_the_perceptron_is_1_up_to_one_half_and_0_from_five_eighths_on() -> None:
    transformer = orthogonal(3, 10)
    share = np.array([0.0, 0.25, 0.5, 0.5625, 0.625, 0.9375, 1.0])
    hidden = np.maximum(share[:, None] * transformer.inner[:1] + transformer.inner_bias, 0.0)
    assert (hidden @ transformer.outer)[:, 0].tolist() == [1.0, 1.0, 1.0, 0.5, 0.0, 0.0, 0.0]


@pytest.mark.claim("DOC-6")
def test_a_ramp_up_to_four_fifths_would_be_wrong_in_float16() -> None:
    """Why κ² ≥ ln 16N and a ramp up to 5/8: with ln 4n an output without a partner may be 4/5, 0.7998 in float16.

    The perceptron relu((0.8 − o)/0.3) − … then gives 0.0007 for every token, and the mean over more than 770 tokens
    exceeds the cut 1/(2(n + 1)).
    """
    n, share = 1024, float(np.float16(0.8))
    assert max((0.8 - share) / 0.3, 0.0) > 1 / (2 * (n + 1))
    assert max(5 - 8 * share, 0.0) - max(4 - 8 * share, 0.0) == 0.0


@pytest.mark.claim("DOC-2")
def test_head_dimensions_are_those_of_the_words_and_one_or_two_more() -> None:
    heads = [orthogonal(9, 5).head, most(9, 5, 1).head, most(9, 5, 1, sides=1).head, least(9, 5, 0).head]
    assert heads == [10, 10, 10, 11]


def test_all_numbers_of_the_weights_are_exact_in_three_bits_but_for_thresholds() -> None:
    for transformer in (orthogonal(6, 100), least(6, 100, 0), most(6, 100, 1)):
        for name in ("embedding", "types", "query", "key", "value", "inner", "inner_bias", "outer"):
            weights = getattr(transformer, name)
            assert np.array_equal(rounded(weights, 3), weights), name


def test_kappa_squared_is_at_least_beta_and_less_than_four_times() -> None:
    for n in (1, 2, 10, 4096, 10**9):
        assert np.log(16 * n) <= factor(n) ** 2 < 4 * np.log(16 * n)


def test_documents_of_another_form_are_refused() -> None:
    for given in ((np.ones((2, 3)),), (np.full((2, 2), 2),), (np.ones((2, 2)), np.ones((2, 2)))):
        with pytest.raises(ValueError, match="expected"):
            decide(orthogonal(2, 2), *given)
    with pytest.raises(ValueError, match="threshold 0: expected at least 1"):
        most(2, 2, 0)
    with pytest.raises(ValueError, match="threshold -1: expected at least 0"):
        least(2, 2, -1)


@pytest.mark.claim("DOC-6")
def test_more_documents_than_the_weights_are_made_for_are_refused() -> None:
    """κ² ≥ ln(16N) says nothing of 16N documents: together they would weigh as much as the calibrator."""
    alike = np.ones((100, 3), int)
    with pytest.raises(ValueError, match="100 documents: expected at most 2"):
        decide(orthogonal(words=3, documents=2), alike)
    assert not decide(orthogonal(words=3, documents=100), alike)
    with pytest.raises(ValueError, match="6 documents: expected at most 5"):  # of both sides together
        decide(most(3, 5, 1), alike[:3], alike[:3])
    assert decide(most(3, 6, 1), alike[:3], alike[:3])


def test_the_torch_module_refuses_them_and_converts_integers() -> None:
    torch = pytest.importorskip("torch")
    from assay.impl.transformer.module import DecidingTransformer

    alike = torch.ones((100, 3), dtype=torch.int64)
    with pytest.raises(ValueError, match="100 documents: expected at most 2"):
        DecidingTransformer(orthogonal(3, 2))(alike)
    with pytest.raises(ValueError, match="6 documents: expected at most 5"):
        DecidingTransformer(most(3, 5, 1))(alike[:3], alike[:3])
    for kind in (torch.float32, torch.bfloat16):
        assert not DecidingTransformer(orthogonal(3, 100), kind)(alike)
        assert DecidingTransformer(orthogonal(3, 3), kind)(torch.eye(3, dtype=torch.uint8))


def test_a_type_of_another_name_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ValueError, match="dtype 'float8': expected one of float64, float32, bfloat16, float16"):
        decide(orthogonal(3, 2), np.ones((2, 3)), dtype="float8")


# --- bits -------------------------------------------------------------------------------------------------------------


def sets(rng: np.random.Generator, n: int, d: int, partners: int) -> tuple[Any, Any]:
    """Two sets of which every second left vector is orthogonal to ``partners`` of the right."""
    left, right = documents(rng, n, d), documents(rng, n, d)
    for i in range(0, n, 2):
        for j in rng.choice(n, partners, replace=False):
            right[j] &= ~left[i]
    return left, right


@pytest.mark.claim("DOC-7")
@pytest.mark.parametrize("bits", [3, 4, 8])
@pytest.mark.parametrize("part", [None, 16])
def test_decisions_are_right_from_three_bits_on(bits: int, part: int | None) -> None:
    """In any order of the sums, with one level or two, with weights below 1/(16n) flushed."""
    rng = np.random.default_rng(bits)
    for n in (3, 60, 200):
        left, right = sets(rng, n, 14, 1)
        orthogonal = (left.astype(int) @ right.T == 0).any(axis=1)
        assert orthogonal.any()
        for flush in (0.0, 1 / (16 * n)):
            share = shares(left, right, bits, part=part, flush=flush, order=rng.permutation(n + 1))
            assert ((share <= 0.5) == orthogonal).all()
            assert (share[~orthogonal] > CUT).all()


@pytest.mark.claim("DOC-7")
def test_a_rounded_exponent_in_base_two_needs_three_bits_and_log_log_n() -> None:
    rng = np.random.default_rng(4)
    n = 100
    left, right = sets(rng, n, 14, 1)
    orthogonal = (left.astype(int) @ right.T == 0).any(axis=1)
    bits = 3 + int(np.ceil(np.log2(np.log(16 * n))))
    assert ((shares(left, right, bits, base_two=True) <= CUT) == orthogonal).all()


@pytest.mark.claim("DOC-7")
def test_the_worst_sums_of_the_proof_stay_below_the_cut_at_three_bits() -> None:
    """n weights of (1 + 1/8)e^(1/4)/(16n), the largest that the roundings allow, after and before the calibrator."""
    for n in (1, 7, 64, 500, 4096):
        weight = rounded(np.full((n, 1), 1.125 * np.exp(0.25) / (16 * n)), 3)
        for terms in (np.concatenate([[[1.0]], weight]), np.concatenate([weight, [[1.0]]])):
            for part in (None, 1 + int(np.sqrt(n))):
                assert float(1 / summed(terms, 3, part)[0]) > CUT


@pytest.mark.claim("DOC-7")
def test_counting_needs_as_many_bits_as_the_count_has() -> None:
    """With p bits a sum of ones stops at 2^p: the counts beyond are all the same; with enough bits they are right."""
    for bits in (3, 5, 8):
        last = 2**bits
        ones = np.triu(np.ones((2 * last, 2 * last)))  # column k adds k + 1 ones
        total = summed(ones, bits)
        assert np.array_equal(total[:last], np.arange(1, last + 1))
        assert (total[last:] == last).all()


@pytest.mark.claim("DOC-7")
@pytest.mark.parametrize("bits", [3, 8])
def test_formulas_are_decided_in_few_bits(bits: int) -> None:
    pytest.importorskip("pysat.solvers")
    answers = set()
    for seed in range(12):
        formula = families.random_formula(seed, 8, 3, 5000)
        vectors = reduction("OV-1").apply(formula).target
        satisfiable = truth.satisfying(formula) is not None
        assert bool((shares(vectors.left, vectors.right, bits) <= CUT).any()) == satisfiable
        answers.add(satisfiable)
    assert answers == {True, False}
