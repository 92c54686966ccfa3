"""Every decoder against brute force, at the worst error that it is to withstand and just beyond."""

from __future__ import annotations

import itertools
import math
import os
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import flint
import numpy as np
import pytest

from assay.spec import attention
from assay.spec.instances.formula import Formula
from assay.spec.instances.orthogonal_vectors import OrthogonalVectors
from assay.spec.problem import InvalidInstance
from assay.spec.reductions import (
    ClosestPair,
    Extremum,
    GapMaxInnerProduct,
    KOrthogonalVectors,
    MaxInnerProduct,
    MonochromaticOrthogonalVectors,
    orthogonal_pairs,
    reduction,
    satisfiability,
)
from assay.spec.reductions.rounding import TYPES, dtype_named, exp_bounds, log_bounds, root_of_log, round_up
from assay.spec.reductions.to_attention import counting_accuracy, counting_cuts

if TYPE_CHECKING:
    from collections.abc import Iterator

ALMOST = 1 - 1e-6
DTYPES = ("float64", "float32", "bfloat16", "float16")
NARROW = OrthogonalVectors([[1, 1]], [[1, 0]])  # one inner product of 1
WIDE = OrthogonalVectors([[1, 1]], [[0, 0]])  # one orthogonal pair


def formulas(rng: np.random.Generator, count: int, most: int = 8) -> Iterator[Formula]:
    """Formulas on both sides of satisfiable, now and then with an empty clause, a tautology, a repeated literal."""
    for _ in range(count):
        variables = int(rng.integers(1, most + 1))
        clauses = []
        for _ in range(int(rng.integers(0, 5 * variables))):
            size = 0 if rng.random() < 0.005 else int(rng.integers(1, 4))
            clauses.append(tuple(int(x) for x in rng.integers(1, variables + 1, size) * rng.choice([-1, 1], size)))
        yield Formula(variables, tuple(clauses))


def vectors(rng: np.random.Generator, count: int, most: int = 10) -> Iterator[OrthogonalVectors]:
    """Random pairs of sets of every density, half of them with a planted pair."""
    for number in range(count):
        n, m, d = (int(x) for x in rng.integers(1, most, 3))
        density = rng.random()
        left, right = (rng.random((rows, d)) < density for rows in (n, m))
        if number % 2:
            i, j = rng.integers(n), rng.integers(m)
            right[j] &= ~left[i]
        yield OrthogonalVectors(left, right)


def outputs(target: attention.Instance) -> np.ndarray[Any, Any]:
    """1/(1 + Σ_j e^(s_j − s_0)), in float64 from exact scores: the value that the definition has."""
    q, k = (np.asarray(x[0, 0] != 0).astype(np.int64) for x in (target.query, target.key))
    sign = np.sign(target.key[0, 0].astype(np.float64)).astype(np.int64)
    products = q @ (k * sign).T
    entry = float(max(np.abs(target.query).max(), np.abs(target.key).max()))
    assert target.scale is not None
    scores = float(Fraction(target.scale) * Fraction(entry) ** 2) * products
    return np.asarray(1 / np.exp(scores - scores[:, :1]).sum(axis=1))[None, None, :, None]


def attacks(rng: np.random.Generator, shape: tuple[int, ...], error: float) -> Iterator[np.ndarray[Any, Any]]:
    yield np.full(shape, error)
    yield np.full(shape, -error)
    yield error * rng.choice([-1.0, 1.0], shape)


# --- OV-1, KOV-1, KOV-2 -----------------------------------------------------------------------------------------------


@pytest.mark.claim("OV-1")
def test_orthogonal_pairs_are_models() -> None:
    for formula in formulas(np.random.default_rng(1), 400):
        reduced = reduction("OV-1").apply(formula)
        answer, truth = reduced.decode(orthogonal_pairs(reduced.target)), satisfiability(formula)
        assert (answer.satisfiable, answer.count) == (truth.satisfiable, truth.count)
        assert (answer.model is None) == (not truth.satisfiable)
        assert answer.model is None or formula.holds(answer.model)


@pytest.mark.claim("OV-1")
@pytest.mark.parametrize(
    ("formula", "count"),
    [
        (Formula(0, ()), 1),
        (Formula(0, ((),)), 0),
        (Formula(3, ()), 8),
        (Formula(3, ((),)), 0),
        (Formula(3, ((1, -1),)), 8),
        (Formula(3, ((1, -3, 3), (2, 2))), 4),
        (Formula(1, ((1,),)), 1),
        (Formula(1, ((1,), (-1,))), 0),
    ],
)
def test_formulas_at_the_edge_have_their_number_of_models(formula: Formula, count: int) -> None:
    for name in ("OV-1", "KOV-1"):
        reduced = reduction(name).apply(formula)
        found = reduced.target.answer() if name == "KOV-1" else orthogonal_pairs(reduced.target)
        assert reduced.decode(found).count == count


@pytest.mark.claim("KOV-1")
@pytest.mark.parametrize("k", [2, 3, 4])
def test_orthogonal_tuples_are_models(k: int) -> None:
    for formula in formulas(np.random.default_rng(k), 60, most=6):
        reduced = reduction("KOV-1").apply(formula, k=k)
        answer, truth = reduced.decode(reduced.target.answer()), satisfiability(formula)
        assert (answer.satisfiable, answer.count) == (truth.satisfiable, truth.count)
        assert answer.model is None or formula.holds(answer.model)


@pytest.mark.claim("KOV-2")
def test_merged_sets_keep_number_and_tuple() -> None:
    rng = np.random.default_rng(5)
    for _ in range(150):
        k, d = int(rng.integers(2, 6)), int(rng.integers(1, 6))
        density = rng.uniform(0.4, 1)
        source = KOrthogonalVectors([rng.random((int(rng.integers(1, 5)), d)) < density for _ in range(k)])
        reduced = reduction("KOV-2").apply(source)
        answer, truth = reduced.decode(orthogonal_pairs(reduced.target)), source.answer()
        assert (answer.exists, answer.count) == (truth.exists, truth.count)
        if answer.witness is not None:
            chosen = [x[i] for x, i in zip(source.sets, answer.witness, strict=True)]
            assert not np.bitwise_and.reduce(chosen).any()


# --- attention --------------------------------------------------------------------------------------------------------


@pytest.mark.claim("OV-2")
@pytest.mark.parametrize("dtype", DTYPES)
def test_deciding_withstands_almost_fifteen_hundredths(dtype: str) -> None:
    rng = np.random.default_rng(2)
    for source in vectors(rng, 400):
        reduced = reduction("OV-2").apply(source, dtype=dtype)
        out, truth = outputs(reduced.target), orthogonal_pairs(source)
        for attack in attacks(rng, out.shape, 0.15 * ALMOST):
            answer = reduced.decode(out + attack)
            assert answer.exists == truth.exists
            assert (answer.witness is None) == (not truth.exists)
            if answer.witness is not None:
                i, j = answer.witness
                assert not (source.left[i] & source.right[j]).any()


@pytest.mark.claim("OV-2")
def test_more_than_fifteen_hundredths_decides_wrongly() -> None:
    yes, no = reduction("OV-2").apply(WIDE), reduction("OV-2").apply(NARROW)
    assert yes.accuracy == no.accuracy == Fraction(3, 20)
    assert not yes.decode(outputs(yes.target) + 0.15 * (1 + 1e-9)).exists
    assert no.decode(outputs(no.target) - 0.15 * (1 + 1e-9)).exists


@pytest.mark.claim("OV-2")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [None, 1.0, 0.125, -0.3, 1e-3, 7.5])
def test_certified_outputs_lie_on_their_side(dtype: str, scale: float | None) -> None:
    rng = np.random.default_rng(3)
    for source in vectors(rng, 12):
        reduced = reduction("OV-2").apply(source, dtype=dtype, scale=scale)
        found = attention.define(reduced.target)
        top, bottom = (found.midpoint + sign * found.radius for sign in (1, -1))
        partner = (source.left.astype(int) @ source.right.T.astype(int) == 0).any(axis=1)
        assert (bottom[0, 0, partner, 0] <= 0.5).all()
        assert (top[0, 0, ~partner, 0] >= 0.8).all()
        assert np.abs(outputs(reduced.target) - found.midpoint).max() < 1e-12
        assert reduced.decode(found.midpoint).exists == partner.any()


@pytest.mark.claim("OV-2")
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_entry_is_the_least_number_of_the_type_that_is_large_enough(dtype: str) -> None:
    bits = TYPES[dtype][0]
    for m, d in [(1, 1), (7, 3), (256, 32), (32768, 130), (10**6, 1000)]:
        entry = reduction("OV-2").sizes({"n": 1, "m": m, "d": d}, dtype=dtype)["B"]
        sigma = Fraction(1.0 / d)
        below = entry - Fraction(2) ** (math.frexp(float(entry))[1] - bits)
        assert Fraction(float(np.array(float(entry)).astype(dtype_named(dtype)))) == entry
        with flint.ctx.workprec(300):  # a second opinion
            assert flint.arb(flint.fmpq(*(sigma * entry**2).as_integer_ratio())) >= flint.arb(4 * m).log()
            assert flint.arb(flint.fmpq(*(sigma * below**2).as_integer_ratio())) < flint.arb(4 * m).log()


@pytest.mark.claim("OV-3")
@pytest.mark.parametrize("dtype", DTYPES)
def test_counting_withstands_almost_its_accuracy(dtype: str) -> None:
    rng = np.random.default_rng(4)
    for source in vectors(rng, 400, most=14):
        reduced = reduction("OV-3").apply(source, dtype=dtype)
        out, truth = outputs(reduced.target), orthogonal_pairs(source)
        for attack in attacks(rng, out.shape, float(reduced.accuracy) * ALMOST):
            answer = reduced.decode(out + attack)
            assert (answer.exists, answer.count) == (truth.exists, truth.count)


@pytest.mark.claim("OV-3")
@pytest.mark.parametrize("m", [1, 2, 5, 17, 64])
def test_a_little_more_than_its_accuracy_counts_wrongly(m: int) -> None:
    right = np.zeros((m, 2), dtype=int)
    right[0, 0] = 1
    for source in (OrthogonalVectors([[1, 1]], right), OrthogonalVectors([[0, 1]], right)):
        reduced = reduction("OV-3").apply(source)
        count = orthogonal_pairs(source).count
        assert count is not None
        sign = 1 if count == m else -1
        error = float(reduced.accuracy) * (1 + 1e-6)
        assert reduced.decode(outputs(reduced.target) + sign * error).count == count - sign
        assert reduced.decode(outputs(reduced.target) + sign * error * (1 - 1e-5)).count == count


@pytest.mark.claim("OV-3")
def test_the_narrowest_gap_is_the_last_and_twice_as_wide_as_needed_by_the_paper() -> None:
    for m in range(1, 200):
        cuts = counting_cuts(m)
        halves = [cut - Fraction(1, 2 + p) for p, cut in enumerate(cuts)]
        assert min(halves) == halves[-1] == counting_accuracy(m) > Fraction(1, 4 * (m + 2) ** 2)
        assert all(one > two for one, two in itertools.pairwise(cuts))
    assert counting_accuracy(1) == Fraction(3, 20)


@pytest.mark.claim("OV-3")
def test_exact_outputs_count_as_floating_ones_do() -> None:
    for source in vectors(np.random.default_rng(8), 30):
        reduced = reduction("OV-3").apply(source)
        out = outputs(reduced.target)
        exact = np.array([Fraction(x) for x in out.flat], dtype=object).reshape(out.shape)
        assert reduced.decode(exact) == reduced.decode(out)


@pytest.mark.claim("OV-3")
def test_a_float_beside_a_cut_counts_as_the_rational_that_it_is() -> None:
    for m in range(1, 25):
        source = OrthogonalVectors([[1]], np.ones((m, 1)))
        reduced = reduction("OV-3").apply(source)
        for cut in counting_cuts(m):
            near = cut.numerator / cut.denominator
            for x in (math.nextafter(near, 0), near, math.nextafter(near, 1)):
                exact = np.full((1, 1, 1, 1), Fraction(x), dtype=object)
                assert reduced.decode(np.full((1, 1, 1, 1), x)).count == reduced.decode(exact).count


@pytest.mark.claim("OV-2")
def test_outputs_of_narrow_types_decode_as_they_are() -> None:
    for source in vectors(np.random.default_rng(16), 60):
        truth = orthogonal_pairs(source).exists
        for dtype in DTYPES:
            reduced = reduction("OV-2").apply(source, dtype=dtype)
            assert reduced.decode(outputs(reduced.target).astype(dtype_named(dtype))).exists == truth


def gaps(rng: np.random.Generator, count: int) -> Iterator[GapMaxInnerProduct]:
    made = 0
    while made < count:
        n, m, d = (int(x) for x in rng.integers(1, 12, 3))
        left, right = (rng.random((rows, d)) < rng.uniform(0.2, 0.9) for rows in (n, m))
        best = (left.astype(int) @ right.T.astype(int)).max(axis=1)
        t = int(rng.integers(1, d + 1))
        low = best[best < t].max(initial=0)
        try:
            yield GapMaxInnerProduct(left, right, t, Fraction(t - int(low), t) - Fraction(1, 10**6 * t))
        except InvalidInstance:
            continue
        made += 1


@pytest.mark.claim("OV-4")
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_gap_decides_every_row_at_constant_accuracy(dtype: str) -> None:
    rng = np.random.default_rng(6)
    for source in gaps(rng, 250):
        reduced = reduction("OV-4").apply(source, dtype=dtype)
        out, truth = outputs(reduced.target), source.answer()
        for attack in attacks(rng, out.shape, 0.15 * ALMOST):
            answer = reduced.decode(out + attack)
            assert (answer.exists, answer.count) == (truth.exists, truth.count)
            if answer.witness is not None:
                i, j = answer.witness
                assert int(source.left[i].astype(int) @ source.right[j]) >= source.threshold


@pytest.mark.claim("OV-4")
def test_more_than_fifteen_hundredths_decides_a_gap_wrongly() -> None:
    yes = reduction("OV-4").apply(GapMaxInnerProduct(np.array([[1]]), np.array([[1]]), 1, Fraction(1)))
    assert yes.decode(outputs(yes.target) + 0.15 * (1 + 1e-9)).count == 0
    # all products at (1 − γ)t but for a millionth: the output is 4/5 but for its rounding and that
    no = GapMaxInnerProduct(np.array([[1, 0, 1]]), np.array([[1, 1, 0]]), 2, Fraction(499999, 10**6))
    reduced = reduction("OV-4").apply(no)
    assert reduced.decode(outputs(reduced.target) - 0.15 * (1 + 1e-4)).count == 1


@pytest.mark.claim("OV-4")
def test_entries_of_a_gap_grow_like_the_root_of_a_logarithm() -> None:
    ratios = []
    for power in (8, 12, 16, 20):
        sizes = {"n": 2**power, "m": 2**power, "d": 4 * power, "threshold": power, "gap": Fraction(1, 2)}
        bound = float(reduction("OV-4").sizes(sizes)["B"])
        ratios.append(bound / math.sqrt(math.log(2**power)))
        assert bound == pytest.approx(math.sqrt((4 * power + power) * math.log(4 * 2**power) / (power / 2)), rel=1e-12)
    assert max(ratios) < 1.1 * min(ratios)


@pytest.mark.claim("OV-4")
def test_a_promise_that_does_not_hold_is_refused() -> None:
    with pytest.raises(InvalidInstance, match=r"promise broken: left\[1\] has a largest inner product of 2"):
        GapMaxInnerProduct(np.array([[1, 1, 1], [1, 1, 0]]), np.array([[1, 1, 1]]), 3, Fraction(1, 2))
    # exactly (1 − γ)t is not below it
    with pytest.raises(InvalidInstance, match="promise broken"):
        GapMaxInnerProduct(np.array([[1, 0]]), np.array([[1, 1]]), 2, Fraction(1, 2))
    assert GapMaxInnerProduct(np.array([[1, 0]]), np.array([[1, 1]]), 2, Fraction(49, 100)).checked


# --- Hamming distances, inner products, one set -----------------------------------------------------------------------


@pytest.mark.claim("OV-5")
def test_gadgets_have_the_stated_distances_and_weights() -> None:
    for source in vectors(np.random.default_rng(7), 100):
        target = reduction("OV-5").apply(source).target
        d = source.d
        distance = (target.left[:, None, :] != target.right[None, :, :]).sum(axis=2)
        assert (distance == 2 * d + 2 * (source.left.astype(int) @ source.right.T.astype(int))).all()
        for side, weight in ((target.left, d), (target.right, 3 * d)):
            assert (side.sum(axis=1) == weight).all()
            assert ((side[:, None, :] != side[None, :, :]).sum(axis=2) <= 2 * d).all()


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("OV-5", marks=pytest.mark.claim("OV-5")),
        pytest.param("IP-1", marks=pytest.mark.claim("IP-1")),
        pytest.param("MONO-3", marks=pytest.mark.claim("MONO-3")),
    ],
)
def test_an_extremal_pair_decides_orthogonality_at_the_worst_error(name: str) -> None:
    for source in vectors(np.random.default_rng(9), 700, most=7):
        reduced = reduction(name).apply(source)
        best, truth = reduced.target.answer(), orthogonal_pairs(source)
        answer = reduced.decode(best)
        assert (answer.exists, answer.count) == (truth.exists, truth.count)
        assert (answer.witness is None) == (not truth.exists)
        assert answer.witness is None or not (source.left[answer.witness[0]] & source.right[answer.witness[1]]).any()
        error = reduced.accuracy * (1 - Fraction(1, 10**9))
        assert all(reduced.decode(best.value + sign * error).exists == truth.exists for sign in (1, -1))


@pytest.mark.parametrize(
    ("name", "to_no"),
    [
        pytest.param("OV-5", 1, marks=pytest.mark.claim("OV-5")),
        pytest.param("IP-1", -1, marks=pytest.mark.claim("IP-1")),
        pytest.param("MONO-3", -1, marks=pytest.mark.claim("MONO-3")),
    ],
)
def test_a_value_off_by_more_decides_wrongly(name: str, to_no: int) -> None:
    for source, sign in ((WIDE, to_no), (NARROW, -to_no)):
        reduced = reduction(name).apply(source)
        off = reduced.target.answer().value + sign * reduced.accuracy * (1 + Fraction(1, 10**9))
        assert reduced.decode(off).exists != orthogonal_pairs(source).exists


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        pytest.param("IP-2", MaxInnerProduct, marks=pytest.mark.claim("IP-2")),
        pytest.param("IP-3", ClosestPair, marks=pytest.mark.claim("IP-3")),
    ],
)
def test_inner_products_and_distances_become_each_other(name: str, problem: Any) -> None:
    for each in vectors(np.random.default_rng(10), 700, most=7):
        source = problem(each.left, each.right)
        reduced = reduction(name).apply(source)
        best, truth = reduced.target.answer(), source.answer()
        answer = reduced.decode(best)
        assert answer == truth
        error = reduced.accuracy * (1 - Fraction(1, 10**9))
        assert all(reduced.decode(best.value + sign * error).value == truth.value for sign in (1, -1))
        beyond = reduced.accuracy * (1 + Fraction(1, 10**9))
        assert all(reduced.decode(best.value + sign * beyond).value != truth.value for sign in (1, -1))


@pytest.mark.claim("MONO-1")
def test_two_sets_become_one_with_the_same_pairs() -> None:
    for source in vectors(np.random.default_rng(11), 400):
        reduced = reduction("MONO-1").apply(source)
        answer, truth = reduced.decode(reduced.target.answer()), orthogonal_pairs(source)
        assert (answer.exists, answer.count) == (truth.exists, truth.count)
        assert answer.witness is None or not (source.left[answer.witness[0]] & source.right[answer.witness[1]]).any()


@pytest.mark.claim("MONO-2")
def test_one_set_becomes_two_with_the_same_pairs() -> None:
    rng = np.random.default_rng(12)
    for _ in range(400):
        source = MonochromaticOrthogonalVectors(rng.random(rng.integers((2, 1), (8, 6))) < rng.uniform(0, 0.9))
        reduced = reduction("MONO-2").apply(source)
        answer, truth = reduced.decode(orthogonal_pairs(reduced.target)), source.answer()
        assert (answer.exists, answer.count) == (truth.exists, truth.count)
        if answer.witness is not None:
            i, j = answer.witness
            assert i < j
            assert not (source.vectors[i] & source.vectors[j]).any()


# --- rounding ---------------------------------------------------------------------------------------------------------


def test_bounds_of_logarithm_and_exponential_enclose() -> None:
    for n in (2, 3, 4, 1000, 20_000):
        low, high = log_bounds(n)
        root = root_of_log(n, Fraction(7, 3))
        with flint.ctx.workprec(400):
            value = flint.arb(n).log()
            assert flint.arb(flint.fmpq(*low.as_integer_ratio())) < value
            assert flint.arb(flint.fmpq(*high.as_integer_ratio())) > value
            assert flint.arb(flint.fmpq(*(root * root).as_integer_ratio())) > value * 7 / 3
            low, high = exp_bounds(Fraction(-n, 7))
            assert flint.arb(flint.fmpq(*low.as_integer_ratio())) < (flint.arb(-n) / 7).exp()
            assert flint.arb(flint.fmpq(*high.as_integer_ratio())) > (flint.arb(-n) / 7).exp()
        assert float(high - low) <= 2.0**-100 * float(high)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rounding_up_is_to_the_next_number_of_the_type(dtype: str) -> None:
    kind = dtype_named(dtype)
    for x in np.random.default_rng(15).lognormal(0, 3, 300).astype(kind):
        exact = Fraction(float(x))
        next_one = Fraction(float(np.nextafter(x, kind.type(np.inf))))
        assert round_up(exact, dtype) == exact
        assert round_up(exact + Fraction(1, 10**30), dtype) == next_one
    assert round_up(Fraction(1, 10**400), dtype) == Fraction(float(Fraction(2) ** TYPES[dtype][1]))


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["OV-2", "OV-3"])
@pytest.mark.parametrize(
    ("output", "message"),
    [
        (np.zeros((1, 1, 2, 1)), r"output has shape \(1, 1, 2, 1\): expected \(1, 1, 1, 1\)"),
        (np.zeros(1), r"output has shape \(1,\)"),
        (np.full((1, 1, 1, 1), np.nan), r"output\[0, 0, 0, 0\] is nan: expected a finite number"),
        (np.full((1, 1, 1, 1), -np.inf, np.float32), "is -inf: expected a finite number"),
        (np.full((1, 1, 1, 1), "x"), "expected real numbers"),
        (np.zeros((1, 1, 1, 1), complex), "expected real numbers"),
        (np.array([[[[None]]]]), "no number"),
    ],
)
def test_an_output_that_is_none_is_refused_in_one_line(name: str, output: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        reduction(name).apply(NARROW).decode(output)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [math.nan, math.inf, "3", None, True, Extremum(math.nan)])
def test_a_value_that_is_no_number_is_refused(value: Any) -> None:
    for name in ("OV-5", "IP-1", "MONO-3"):
        with pytest.raises(ValueError, match="value is"):
            reduction(name).apply(NARROW).decode(value)


def test_sums_of_the_wrong_shape_or_with_nan_are_refused() -> None:
    reduced = reduction("OV-6").apply(NARROW)
    with pytest.raises(ValueError, match="shape"):
        reduced.decode(np.zeros(2))
    with pytest.raises(ValueError, match="finite"):
        reduced.decode(np.array([[math.nan]]))


@pytest.mark.parametrize(
    ("formula", "size"), [(Formula(90, ((1,),)), "GiB|bytes"), (Formula(2**31 - 1, ((1,),)), r"2\^\d+ bytes")]
)
def test_what_does_not_fit_in_memory_is_refused_with_its_size(formula: Formula, size: str) -> None:
    with pytest.raises(InvalidInstance, match=rf"would take .*({size}): expected at most"):
        reduction("OV-1").apply(formula)


def test_an_attention_instance_that_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    source = OrthogonalVectors(np.ones((64, 64)), np.ones((64, 64)))
    monkeypatch.setattr(os, "sysconf", lambda name: 1 if name == "SC_PAGE_SIZE" else 150_000)
    with pytest.raises(InvalidInstance, match="64 queries and 65 keys of 64 coordinates in float64 would take 198144"):
        reduction("OV-2").apply(source)
    assert reduction("OV-2").apply(source, dtype="bfloat16").sizes["m"] == 65


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": 0.0}, "scale 0.0: expected a finite number other than 0"),
        ({"scale": math.nan}, "scale nan"),
        ({"dtype": "float8"}, "dtype 'float8': expected one of"),
        ({"scale": 1e-12, "dtype": "float16"}, "exceed 6.55e\\+04, the largest float16"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInstance, match=message):
        reduction("OV-2").apply(NARROW, **options)


@pytest.mark.parametrize(
    ("threshold", "gap", "message"),
    [
        (0, Fraction(1, 2), "threshold 0"),
        (3, Fraction(1, 2), "threshold 3: expected an integer from 1 to 2"),
        (1, Fraction(0), "gap 0"),
        (1, Fraction(3, 2), "gap 3/2"),
        (1, math.nan, "gap nan"),
    ],
)
def test_a_gap_that_cannot_be_is_refused(threshold: int, gap: Any, message: str) -> None:
    with pytest.raises(InvalidInstance, match=message):
        GapMaxInnerProduct(np.array([[1, 0]]), np.array([[1, 1]]), threshold, gap)
