"""Formulas and vectors as documents (DOC-5): decoders at the worst error and just beyond, texts, real kernels."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import sympy

import assay
from assay.spec.document_similarity import Instance, best_pairs, define, symbolic, texts
from assay.spec.instances import families, truth
from assay.spec.instances.orthogonal_vectors import OrthogonalVectors
from assay.spec.problem import InvalidInstance
from assay.spec.reductions import (
    MonochromaticOrthogonalVectors,
    largest_tolerances,
    orthogonal_pairs,
    reduction,
    sufficient_classes,
)
from assay.spec.reductions.to_document_similarity import power

if TYPE_CHECKING:
    from collections.abc import Iterator

ARROWS = ("DOC-5a", "DOC-5b", "DOC-5c")


def vectors(count: int, seed: int = 0) -> Iterator[OrthogonalVectors]:
    """Two sets of every density, with vectors of zeros now and then, half of them with a planted pair."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        n, m, d = (int(x) for x in rng.integers(1, 9, 3))
        density = rng.random()
        left, right = (rng.random((rows, d)) < density for rows in (n, m))
        if number % 2:
            i, j = rng.integers(n), rng.integers(m)
            right[j] &= ~left[i]
        yield OrthogonalVectors(left, right)


def source_of(name: str, pair: OrthogonalVectors) -> Any:
    """The vectors as the source of an arrow."""
    if name != "DOC-5c":
        return pair
    both = np.concatenate([pair.left, pair.right])
    return MonochromaticOrthogonalVectors(both)


def truth_of(source: Any) -> Any:
    return orthogonal_pairs(source) if isinstance(source, OrthogonalVectors) else source.answer()


# --- the gadgets ------------------------------------------------------------------------------------------------------


@pytest.mark.claim("DOC-5")
def test_cosines_of_two_collections_are_those_of_the_claim() -> None:
    for source in vectors(12, 1):
        products = source.left.astype(int) @ source.right.T
        d = source.d
        least = symbolic(reduction("DOC-5a").apply(source).target)
        most = symbolic(reduction("DOC-5b").apply(source).target)
        for i, j in np.ndindex(*products.shape):
            assert least[i, j] == Fraction(int(products[i, j]), d)
            assert most[i, j] ** 2 * 2 == Fraction(d - int(products[i, j]), d) ** 2


@pytest.mark.claim("DOC-5")
def test_norms_on_a_side_are_equal() -> None:
    for source, name in itertools.product(vectors(6, 2), ("DOC-5a", "DOC-5b")):
        target = reduction(name).apply(source).target
        assert set(target.left.sum(axis=1)) == {source.d}
        assert set(target.right.sum(axis=1)) == {source.d * (1 if name == "DOC-5a" else 2)}


@pytest.mark.claim("DOC-5")
def test_the_similarity_in_one_collection_is_zero_iff_two_vectors_are_orthogonal() -> None:
    for source in vectors(60, 3):
        one = source_of("DOC-5c", source)
        reduced = reduction("DOC-5c").apply(one)
        cosine = float(define(reduced.target).midpoint)
        d = one.vectors.shape[1]
        assert cosine == 0.0 if one.answer().exists else cosine >= (1 - 1e-12) / d


def test_vectors_of_zeros_become_documents_of_a_word() -> None:
    for rows in ([[0, 0], [0, 0]], [[0, 0], [1, 1]], [[1, 1], [0, 0], [0, 0]]):
        reduced = reduction("DOC-5c").apply(MonochromaticOrthogonalVectors(rows))
        assert define(reduced.target).midpoint == 0
    with_all = reduction("DOC-5c").apply(MonochromaticOrthogonalVectors([[1, 1], [1, 0]]))
    assert define(with_all.target).midpoint > 0


@pytest.mark.claim("DOC-5")
@pytest.mark.parametrize("q", [1, 2, 3])
def test_a_tensor_power_raises_cosines_and_the_gap_to_a_power(q: int) -> None:
    """γ-approximation decides from the power on at which ((d − 1)/d)^q is below 1/γ."""
    for drawn in vectors(6, 4):
        source = OrthogonalVectors(drawn.left[:, :4], drawn.right[:, :4])
        reduced = reduction("DOC-5b").apply(source, power=q)
        documents = reduction("DOC-5b").apply(source).target
        first = define(documents).midpoint
        assert float(define(reduced.target).midpoint) == pytest.approx(float(first) ** q)
        assert reduced.target.left.shape[1] == reduced.sizes["d"] == (3 * source.d) ** q
        assert reduced.decode(define(reduced.target).midpoint).exists == orthogonal_pairs(source).exists
    assert power(np.eye(2, dtype=np.uint8), q).sum() == 2
    with pytest.raises(InvalidInstance, match="power 0: expected an integer of at least 1"):
        reduction("DOC-5b").apply(source, power=0)


@pytest.mark.claim("DOC-5")
@pytest.mark.parametrize("n", [2, 3, 4, 6])
def test_appended_vectors_may_keep_a_gap_at_just_the_norms_of_the_claim(n: int) -> None:
    """DOC-5 (d) with equality, in rational numbers: 2n vectors whose products across are M and on a side M − δ.

    They exist where their Gram matrix is positive semidefinite: with squared norms M + (n − 1)δ, and none that are
    smaller by any share of δ.
    """
    across, gap = sympy.Rational(7, 3), sympy.Rational(2, 5)

    def exist(squares: sympy.Rational) -> bool:
        side = sympy.ones(n, n) * (across - gap) + sympy.eye(n) * (squares - (across - gap))
        other = sympy.ones(n, n) * across
        gram = side.row_join(other).col_join(other.row_join(side))
        return bool(gram.is_positive_semidefinite)

    assert exist(across + (n - 1) * gap)
    for share in (sympy.Rational(1, 100), sympy.Integer(1)):
        assert not exist(across + (n - 1 - share) * gap)


# --- decoders ---------------------------------------------------------------------------------------------------------


@pytest.mark.claim("DOC-5")
@pytest.mark.parametrize("name", ARROWS)
def test_every_answer_within_the_accuracy_decodes_rightly(name: str) -> None:
    for pair in vectors(80, 6):
        source = source_of(name, pair)
        reduced, answer = reduction(name).apply(source), truth_of(source)
        best, error = float(define(reduced.target).midpoint), float(reduced.accuracy) * (1 - 1e-9)
        i, j = best_pairs(reduced.target)[0]
        for number in (best - error, best, best + error):
            for output in (number, np.float64(number), np.array([i, j, number]), (i, j, number)):
                decoded = reduced.decode(output)
                assert decoded.exists == answer.exists
                assert decoded.count in (None, answer.count)
        assert reduced.decode((i, j)).exists == answer.exists
        witness = reduced.decode((i, j, best)).witness
        assert (witness is not None) == answer.exists


@pytest.mark.claim("DOC-5")
@pytest.mark.parametrize("name", ARROWS)
def test_just_beyond_the_accuracy_a_decoder_errs(name: str) -> None:
    """One inner product of 1, which is the nearest to 0, and one of 0: one error more than half the gap joins them."""
    flat = [[1, 1, 1], [1, 1, 1]] if name == "DOC-5c" else [[1, 1, 1]]
    ones = {"DOC-5c": MonochromaticOrthogonalVectors([[1, 1, 1], [1, 1, 1]])}
    for left, right in ((flat[:1], [[1, 0, 0]]), (flat[:1], [[0, 0, 0]])):
        source = ones.get(name) if name == "DOC-5c" else OrthogonalVectors(left, right)
        if name == "DOC-5c":  # three documents, of which two have one word of three each in common
            source = MonochromaticOrthogonalVectors([[1, 1, 1], [1, 0, 0]] if right[0][0] else [[0, 1, 1], [1, 0, 0]])
        reduced = reduction(name).apply(source)
        best, error = float(define(reduced.target).midpoint), float(reduced.accuracy) * (1 + 1e-6)
        exists = truth_of(source).exists
        if name == "DOC-5c" and not exists:
            error = best - float(reduced.accuracy) + 1e-9  # norms below √d leave more room than the accuracy says
        towards = error if exists == (name != "DOC-5b") else -error
        assert reduced.decode(best + towards).exists != exists


@pytest.mark.parametrize("name", ARROWS)
@pytest.mark.parametrize(
    ("output", "words"),
    [
        (np.nan, "expected a finite number"),
        ((0, 1, np.inf), "expected a finite number"),
        (np.zeros((2, 2)), "output has shape"),
        ((0.5, 1, 0.0), "expected two integers"),
        (np.array([np.nan, 0.0]), "expected two integers"),
        (("a", "b"), "expected two integers"),
        ((1j, 0j), "expected two integers"),
        (np.array(["0", "0", "0"]), "expected two integers"),
        (-7.0, r"the similarity -7\.0: expected a cosine"),
        (1e9, "expected a cosine"),
    ],
)
def test_answers_of_another_form_are_refused(name: str, output: Any, words: str) -> None:
    reduced = reduction(name).apply(source_of(name, OrthogonalVectors([[1, 0]], [[0, 1]])))
    with pytest.raises(ValueError, match=words):
        reduced.decode(output)


@pytest.mark.parametrize("name", ARROWS)
def test_a_pair_that_is_none_says_nothing(name: str) -> None:
    """It is no "no": a search that found no pair has not shown that there is none."""
    reduced = reduction(name).apply(source_of(name, OrthogonalVectors([[1, 0]], [[0, 1]])))
    best = float(define(reduced.target).midpoint)
    for pair in ((0, 0) if name == "DOC-5c" else (1, 0), (-1, 0), (7, 7)):
        for output in (pair, (*pair, best)):
            with pytest.raises(ValueError, match=r"has the pair \(.*\): expected two documents of the instance"):
                reduced.decode(output)


@pytest.mark.parametrize("name", ARROWS)
def test_a_similarity_beyond_one_by_the_accuracy_is_decoded(name: str) -> None:
    reduced = reduction(name).apply(source_of(name, OrthogonalVectors([[1, 1]], [[1, 1]])))  # none is orthogonal
    beyond = 1 + float(reduced.accuracy) * 0.99
    assert reduced.decode(beyond).exists == (name == "DOC-5b")
    assert reduced.decode(-beyond).exists == (name != "DOC-5b")
    pair = best_pairs(reduced.target)[0]
    for number in (1 + float(reduced.accuracy) * 1.01, -7.0):
        with pytest.raises(ValueError, match="expected a cosine"):
            reduced.decode((*pair, number))


# --- formulas through kernels -----------------------------------------------------------------------------------------


def solved(instance: Instance) -> tuple[int, int, float]:
    """The answer of float32 products by NumPy, by the text book."""
    left = instance.left / np.linalg.norm(instance.left, axis=1, keepdims=True)
    right = left if instance.right is None else instance.right / np.linalg.norm(instance.right, axis=1, keepdims=True)
    table = left @ right.T
    worst = np.inf if instance.least else -np.inf
    if instance.right is None:
        np.fill_diagonal(table, worst)
    i, j = np.unravel_index(int(table.argmin() if instance.least else table.argmax()), table.shape)
    return int(i), int(j), float(table[i, j])


@pytest.mark.claim("DOC-5")
@pytest.mark.parametrize("via", ARROWS)
def test_formulas_are_decided_as_the_solver_decides_them(via: str) -> None:
    pytest.importorskip("pysat.solvers")
    answers = set()
    for seed in range(24):
        formula = families.random_formula(seed, 6, 3, 6000)
        problem = assay.hard("document_similarity", formula, via=via)
        answer = problem.decode(solved(problem.instance))
        assert problem.right(answer)
        assert answer.satisfiable == (truth.satisfying(formula) is not None)
        assert answer.model is None or formula.holds(answer.model)
        answers.add(answer.satisfiable)
    assert answers == {True, False}


@pytest.mark.parametrize("via", ARROWS)
def test_a_hard_instance_survives_its_file_and_another_type(via: str, tmp_path: Any) -> None:
    problem = assay.hard("document_similarity", "random-ov", 3, n=12, d=6, via=via)
    for suffix in (".npz", ".json"):
        problem.save(tmp_path / f"x{suffix}")
        again = assay.spec.instances.hard.load(tmp_path / f"x{suffix}")
        assert again.reduced.reduction.name == problem.reduced.reduction.name
        assert np.array_equal(again.instance.left, problem.instance.left)
        assert again.right(again.decode(solved(again.instance)))
    half = problem.stored_as("bfloat16")
    assert half.instance.left.dtype.name == "bfloat16"
    assert half.reduced.reduction.name == problem.reduced.reduction.name


def test_an_arrow_that_does_not_lead_there_is_refused() -> None:
    with pytest.raises(InvalidInstance, match="no reduction from orthogonal_vectors to document_similarity via OV-2"):
        assay.hard("document_similarity", "random-ov", n=4, d=4, via="OV-2")


def test_classes_are_sufficient_where_three_errors_are_below_the_accuracy() -> None:
    problem = assay.hard("document_similarity", "planted-ov", n=16, d=24).reduced
    assert sufficient_classes(problem)[:1] == ("float32",)
    coarse = assay.hard("document_similarity", "planted-ov", n=16, d=24, dtype="bfloat16").reduced
    tolerances = largest_tolerances(coarse)
    assert all((tolerances[name] < 1 / 48) == (name in sufficient_classes(coarse)) for name in tolerances)


# --- texts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("via", ARROWS)
def test_the_texts_of_a_formula_ask_its_question(via: str) -> None:
    """Lines are read back into the same documents, by our reader and by scikit-learn's vectoriser."""
    instance = assay.hard("document_similarity", families.random_formula(1, 6), via=via).instance
    lines = texts.written(instance)
    words = texts.vocabulary(instance.left.shape[1])
    for side, array in zip(lines, instance.arrays().values(), strict=True):
        assert np.array_equal(texts.counts(side, words), array)
    sklearn = pytest.importorskip("sklearn.feature_extraction.text")
    counter = sklearn.CountVectorizer(stop_words="english").fit(itertools.chain(*lines))
    for side, array in zip(lines, instance.arrays().values(), strict=True):
        used = [words.index(word) for word in counter.get_feature_names_out()]
        assert np.array_equal(counter.transform(side).toarray(), array[:, used])


def test_words_are_different_and_no_part_of_each_other() -> None:
    words = texts.vocabulary(5000)
    assert len(set(words)) == 5000
    assert {len(word) for word in words} == {6}
    assert len(texts.vocabulary(200_000)[-1]) == 8


def test_texts_of_numbers_that_are_no_counts_are_refused() -> None:
    with pytest.raises(InvalidInstance, match="left: numbers that are no counts"):
        texts.written(Instance(np.array([[0.5, 1.0]]), np.ones((1, 2))))
    with pytest.raises(ValueError, match="line 0: 'other' is not among the words"):
        texts.counts(["other"], ["word"])
