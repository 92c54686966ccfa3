"""Vectors through kernel graphs and back: sums, resistances, cuts, histograms, at the worst errors and just beyond."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from graphs import edges, energy_error, potentials, sums

from assay.spec.instances.orthogonal_vectors import OrthogonalVectors
from assay.spec.kernel_graph.functions import named
from assay.spec.kernel_graph_sparsify import interval
from assay.spec.problem import InvalidInstance
from assay.spec.reductions import orthogonal_pairs, reduction
from assay.spec.reductions.rounding import exp_bounds
from assay.spec.reductions.to_kernel_graph import histogram_row
from assay.spec.reductions.to_kernel_graph_solve import OV_7, difference, quotient
from assay.spec.reductions.to_kernel_graph_sparsify import counting_error, cut

if TYPE_CHECKING:
    from collections.abc import Iterator

NARROW = OrthogonalVectors([[1, 1]], [[1, 0]])  # one inner product of 1
WIDE = OrthogonalVectors([[1, 1]], [[0, 0]])  # one orthogonal pair
ALMOST = Fraction(10**6 - 1, 10**6)
BEYOND = Fraction(10**9 + 1, 10**9)


def vectors(rng: np.random.Generator, count: int, most: int = 6) -> Iterator[OrthogonalVectors]:
    """Random pairs of sets of every density, half of them with a planted pair."""
    for number in range(count):
        n, m, d = (int(x) for x in rng.integers(1, most, 3))
        density = rng.uniform(0.3, 1)
        left, right = (rng.random((rows, d)) < density for rows in (n, m))
        if number % 2:
            i, j = rng.integers(n), rng.integers(m)
            right[j] &= ~left[i]
        yield OrthogonalVectors(left, right)


def witnessed(source: OrthogonalVectors, witness: tuple[int, ...] | None) -> bool:
    return witness is not None and not (source.left[witness[0]] & source.right[witness[1]]).any()


def attacks(rng: np.random.Generator, shape: tuple[int, ...], error: Fraction) -> Iterator[Any]:
    for signs in (np.ones(shape, int), -np.ones(shape, int), rng.choice([-1, 1], shape)):
        yield signs.astype(object) * error


# --- OV-6 -------------------------------------------------------------------------------------------------------------


@pytest.mark.claim("OV-6")
def test_gaussian_sums_decide_at_the_worst_error() -> None:
    rng = np.random.default_rng(13)
    for source in vectors(rng, 100):
        reduced = reduction("OV-6").apply(source)
        truth, exact = orthogonal_pairs(source).exists, sums(reduced.target)
        for attack in attacks(rng, exact.shape, reduced.accuracy * ALMOST):
            answer = reduced.decode(exact + attack)
            assert answer.exists == witnessed(source, answer.witness) == truth


@pytest.mark.claim("OV-6")
def test_gaussian_sums_off_by_more_decide_wrongly() -> None:
    for source, sign in ((WIDE, -1), (NARROW, 1)):
        reduced = reduction("OV-6").apply(source)
        off = sums(reduced.target) + sign * reduced.accuracy * BEYOND
        assert reduced.decode(off).exists != orthogonal_pairs(source).exists


@pytest.mark.claim("OV-6")
def test_weights_that_float64_does_not_hold_are_refused_before_anything_is_built() -> None:
    sizes = {"n": 4, "m": 256, "d": 101}
    for name, least in (("OV-6", 10), ("OV-7", 14), ("OV-8a", 14)):
        with pytest.raises(InvalidInstance, match=r"weights of \d+\^-101, about 10\^-\d+, which float64 does not hold"):
            reduction(name).sizes(sizes)
        assert reduction(name).sizes({**sizes, "d": 1000 // least - 1})["B"] == 1


# --- OV-7 -------------------------------------------------------------------------------------------------------------


def unit(source: OrthogonalVectors, target: Any) -> Fraction:
    return exp_bounds(-2 * Fraction(target.parameter) * source.d)[0]


@pytest.mark.claim("OV-7")
def test_the_resistance_is_at_most_3_or_at_least_16() -> None:
    seen = set()
    for source in vectors(np.random.default_rng(21), 60):
        reduced, truth = reduction("OV-7").apply(source), orthogonal_pairs(source).exists
        x = potentials(reduced.target)
        scale = unit(source, reduced.target)
        value = difference(source, x) * scale
        assert value <= 3 * BEYOND if truth else value >= 16 / BEYOND
        low, high = (each * scale**2 for each in quotient(source, reduced.target, x))
        assert low <= value * BEYOND
        assert value / BEYOND <= high <= low * BEYOND  # x'Lx is b'x
        answer = reduced.decode(x)
        assert answer.exists == witnessed(source, answer.witness) == truth
        seen.add(truth)
    assert seen == {True, False}


def worst(reduced: Any, share: float) -> Any:
    """The potentials of that energy error whose quotient (b'x)²/x'Lx is least: (1 − ε²)x* and what is orthogonal to it.

    Of a direction y the part along x* is taken off in the inner product of L, in which ⟨x*, y⟩ = b'y.
    """
    exact = potentials(reduced.target)
    source = reduced.source
    y = np.array([Fraction(i % 3) for i in range(len(exact))], dtype=object)
    energy = difference(source, exact)
    y = y - exact * (difference(source, y) / energy)
    scale = unit(source, reduced.target)
    size = sum(quotient(source, reduced.target, y)) / 2 * scale
    epsilon = float(reduced.accuracy) * share
    part = Fraction(epsilon * math.sqrt(1 - epsilon**2)) * Fraction(math.isqrt(int(energy / size * 4**80)), 2**80)
    return exact * Fraction(1 - epsilon**2) + y * part


@pytest.mark.claim("OV-7")
def test_a_constant_energy_error_decides_and_a_little_more_does_not() -> None:
    """Two equal left vectors, so that there is a direction besides that of the solution; R is 16 but for roundings."""
    no = OrthogonalVectors([[1, 1], [1, 1]], [[1, 0]])
    yes = OrthogonalVectors([[1, 1], [1, 1]], [[0, 0]])
    for source, truth in ((no, False), (yes, True)):
        reduced = reduction("OV-7").apply(source)
        assert Fraction(13, 16) * ALMOST < reduced.accuracy**2 < Fraction(13, 16)
        x = worst(reduced, 1 - 1e-6)
        assert energy_error(reduced.target, x) == pytest.approx(float(reduced.accuracy), rel=2e-6)
        assert reduced.decode(x).exists == truth
    reduced = reduction("OV-7").apply(no)
    assert reduced.decode(worst(reduced, 1 + 1e-3)).exists


@pytest.mark.claim("OV-7")
def test_any_potentials_within_the_energy_error_decide() -> None:
    rng = np.random.default_rng(22)
    for source in vectors(rng, 30, most=5):
        reduced, truth = reduction("OV-7").apply(source), orthogonal_pairs(source).exists
        exact, scale = potentials(reduced.target), unit(source, reduced.target)
        energy = difference(source, exact)
        for stretch in (Fraction(1), Fraction(19, 10), Fraction(1, 10)):  # errors of 0, 0.9 and 0.9
            assert reduced.decode(exact * stretch + 7).exists == truth
        y = np.array([Fraction(int(each)) for each in rng.integers(-9, 10, len(exact))], dtype=object)
        size = sum(quotient(source, reduced.target, y)) / 2 * scale
        if size:
            part = Fraction(9, 10) * Fraction(math.isqrt(int(energy / size * 4**80)), 2**80)
            for sign in (1, -1):
                assert reduced.decode(exact + sign * part * y).exists == truth


@pytest.mark.claim("OV-7")
def test_potentials_rounded_to_float64_decide_by_their_difference() -> None:
    """At a condition of 10^60 the energy of these roundings is far beyond that of the solution itself."""
    rng, rounded = np.random.default_rng(23), 0
    for number in range(6):
        left, right = (rng.random((4, 18)) < 0.7 for _ in range(2))
        if number % 2:
            right[1] &= ~left[2]
        left[3] = left[0] ^ (np.arange(18) == 0)  # a strong edge
        source = OrthogonalVectors(left, right)
        reduced, truth = reduction("OV-7").apply(source), orthogonal_pairs(source).exists
        x = potentials(reduced.target).astype(np.float64) * (1 + 2.0**-52 * rng.integers(-1, 2, 8))
        rounded += quotient(source, reduced.target, x)[0] * unit(source, reduced.target) > 2 * difference(source, x)
        for stretch in (0.4, 1.0, 1.6):
            assert reduced.decode(x * stretch).exists == truth
        reached = OV_7.error(source, reduced.target, x)
        assert reached is not None
        assert reached < reduced.accuracy
        answer = reduced.decode(x)
        assert answer.exists == witnessed(source, answer.witness)
    assert rounded > 0


@pytest.mark.claim("OV-7")
def test_a_difference_that_is_off_by_13_19_of_itself_has_just_the_accuracy_for_its_error() -> None:
    rng = np.random.default_rng(23)
    left, right = (rng.random((4, 18)) < 0.7 for _ in range(2))
    left[3] = left[0] ^ (np.arange(18) == 0)
    source = OrthogonalVectors(left, right)
    reduced = reduction("OV-7").apply(source)
    x = potentials(reduced.target).astype(np.float64) * (1 + 2.0**-52 * rng.integers(-1, 2, 8))
    for stretch, within in (
        (6 / 19 + 1e-6, True),
        (32 / 19 - 1e-6, True),
        (6 / 19 - 1e-6, False),
        (32 / 19 + 1e-6, False),
    ):
        scaled = x * stretch
        assert quotient(source, reduced.target, scaled)[0] * unit(source, reduced.target) > 2 * difference(
            source, scaled
        )
        reached = OV_7.error(source, reduced.target, scaled)
        assert reached is not None
        assert (reached < reduced.accuracy) == within


# --- OV-8 -------------------------------------------------------------------------------------------------------------


@pytest.mark.claim("OV-8")
def test_cuts_decide_and_count_at_the_worst_error() -> None:
    rng = np.random.default_rng(31)
    for source in vectors(rng, 60):
        truth = orthogonal_pairs(source)
        for name in ("OV-8a", "OV-8b"):
            reduced = reduction(name).apply(source)
            left, right, weight = edges(reduced.target)
            for factor in (1 - reduced.accuracy * ALMOST, Fraction(1), 1 + reduced.accuracy * ALMOST):
                answer = reduced.decode((left, right, weight * factor))
                assert answer.exists == truth.exists
                assert name == "OV-8a" or answer.count == truth.count


@pytest.mark.claim("OV-8")
def test_cuts_off_by_a_little_more_decide_and_count_wrongly() -> None:
    for source, sign in ((WIDE, -1), (NARROW, 1)):
        for name in ("OV-8a", "OV-8b"):
            reduced = reduction(name).apply(source)
            left, right, weight = edges(reduced.target)
            off = reduced.decode((left, right, weight * (1 + sign * reduced.accuracy * BEYOND)))
            assert off.exists != orthogonal_pairs(source).exists
    most = OrthogonalVectors([[1, 0]] * 3, [[0, 0]] * 4)  # all pairs are orthogonal: the narrowest gap
    reduced = reduction("OV-8b").apply(most)
    left, right, weight = edges(reduced.target)
    assert reduced.decode((left, right, weight * (1 - reduced.accuracy * ALMOST))).count == 12
    assert reduced.decode((left, right, weight * (1 - reduced.accuracy * BEYOND))).count == 11


@pytest.mark.claim("OV-8")
def test_the_narrowest_gap_of_counts_is_the_last() -> None:
    for pairs in (1, 2, 3, 10, 100):
        gaps = []
        for count in range(pairs):
            rest = Fraction(pairs - count, 16 * pairs)
            gaps.append((1 - rest) / (2 * count + 1 + rest))
        assert min(gaps) == gaps[-1] == counting_error(pairs)
    assert counting_error(1) == Fraction(15, 17)


@pytest.mark.claim("OV-8")
def test_a_sparsifier_is_read_in_every_form_and_what_is_none_is_refused() -> None:
    reduced = reduction("OV-8b").apply(WIDE)
    left, right, weight = edges(reduced.target)
    table = np.stack([right, left, weight.astype(np.float64)], axis=1)
    assert reduced.decode(table).count == reduced.decode({"left": left, "right": right, "weight": weight}).count == 1
    assert cut(WIDE, ([], [], [])) == 0
    for wrong, words in (
        ((left, right), "output is no graph"),
        ((left, right, np.array([np.nan])), r"output\[0\] is nan"),
        ((left, right + 1, weight), "right holds an end that is no point: expected whole numbers from 0 to 1"),
        ((left + 0.5, right, weight), "left holds an end that is no point"),
        ((left, [0, 1], weight), r"right has shape \(2,\): expected \(1,\)"),
    ):
        with pytest.raises(ValueError, match=words):
            reduced.decode(wrong)
    with pytest.raises(InvalidInstance, match=r"error 0.9: expected a number above 0 and below 0.882353"):
        reduction("OV-8a").apply(WIDE, error=0.9)


def test_the_error_of_a_sparsifier_is_that_of_its_worst_edge_where_float64_proves_nothing_of_the_whole() -> None:
    source = OrthogonalVectors(np.ones((3, 6), int), np.ones((3, 6), int))
    reduced = reduction("OV-8a").apply(source)
    left, right, exact = edges(reduced.target)
    weight = np.array([float(each) for each in exact])
    assert interval(reduced.target, left, right, weight)[1] == np.inf
    error = reduced.reduction.parts[-1].error
    assert error is not None

    def off(weights: Any) -> float | None:
        return error(source, reduced.target, (right, left, weights))

    for at in range(len(weight)):
        scaled = weight.copy()
        scaled[at] *= 1.25
        assert 0.25 <= (off(scaled) or 0.0) <= 0.25 + 1e-9
        scaled[at] = 0.0
        assert 1.0 <= (off(scaled) or 0.0) <= 1.0 + 1e-9
    assert (off(weight) or 1.0) < 1e-9
    twice = [np.append(each, each[0]) for each in (left, right, weight)]
    assert error(source, reduced.target, twice) is None
    assert off(np.where(np.arange(len(weight)) == 0, -weight, weight)) is None
    with pytest.raises(ValueError, match="joins a point with itself"):
        error(source, reduced.target, (left, left, weight))


@pytest.mark.claim("OV-8")
def test_the_error_of_a_sparsifier_is_the_lesser_of_two_bounds() -> None:
    """One of the whole is less where an edge is left out, and one edge by edge where the weights span much."""
    source = OrthogonalVectors([[1, 1], [1, 0], [0, 1]], [[1, 0], [1, 1], [0, 1]])
    reduced = reduction("OV-8a").apply(source)
    error = reduced.reduction.parts[-1].error
    assert error is not None
    left, right, exact = edges(reduced.target)
    weight = np.array([float(each) for each in exact])
    lightest = weight.copy()
    lightest[int(weight.argmin())] = 0.0  # edge by edge the error is 1
    low, high = interval(reduced.target, left, right, lightest)
    whole = error(source, reduced.target, (left, right, lightest))
    assert whole is not None
    assert max(1 - low, high - 1) <= whole < 0.5
    scaled = error(source, reduced.target, (left, right, weight * 1.25))
    low, high = interval(reduced.target, left, right, weight * 1.25)
    assert scaled is not None
    assert 0.25 <= scaled <= min(max(1 - low, high - 1), 0.25 + 1e-9) * (1 + 2.0**-40)


def test_potentials_that_solve_nothing_are_refused() -> None:
    reduced = reduction("OV-7").apply(WIDE)
    for output in (np.zeros(2), np.array([-1.0, 1.0])):
        with pytest.raises(ValueError, match="output solves nothing"):
            reduced.decode(output)


# --- OV-9 -------------------------------------------------------------------------------------------------------------

FUNCTIONS = [
    ("gaussian", 0.5), ("laplacian", 1.0), ("rational", 1.0), ("coulomb", 0.5), ("inverse_multiquadric", 1.0),
    ("matern", 1.5), ("polynomial", 6.0),
]  # fmt: skip


@pytest.mark.claim("OV-9")
@pytest.mark.parametrize(("function", "parameter"), FUNCTIONS)
@pytest.mark.parametrize("by", ["scalings", "shifts"])
def test_sums_of_any_rich_function_count_partners_at_the_worst_error(function: str, parameter: float, by: str) -> None:
    if (function, by) in (("gaussian", "shifts"), ("polynomial", "shifts")):
        pytest.skip("a matrix of rank 1, and one that is regular only up to the degree")
    rng = np.random.default_rng(41)
    for source in vectors(rng, 8, most=5):
        reduced = reduction("OV-9").apply(source, function=function, parameter=parameter, by=by)
        truth, exact = orthogonal_pairs(source), sums(reduced.target)
        for attack in attacks(rng, exact.shape, reduced.accuracy * ALMOST):
            answer = reduced.decode(exact + attack)
            assert (answer.exists, answer.count) == (truth.exists, truth.count)
            assert answer.exists == witnessed(source, answer.witness)


@pytest.mark.claim("OV-9")
def test_the_worst_signs_of_an_error_beyond_the_accuracy_miscount() -> None:
    for function, parameter in FUNCTIONS[:6]:
        for source in (WIDE, NARROW):
            reduced = reduction("OV-9").apply(source, function=function, parameter=parameter)
            row = histogram_row(named(function, parameter), source.d, source.m, "scalings")
            signs = np.array([1 if g > 0 else -1 for g in row.values], dtype=object)[:, None]
            exact, count = sums(reduced.target), orthogonal_pairs(source).count
            assert reduced.decode(exact + signs * row.accuracy * ALMOST).count == count
            assert reduced.decode(exact + signs * row.accuracy * BEYOND).count != count


@pytest.mark.claim("OV-9")
@pytest.mark.parametrize(
    ("function", "parameter", "by", "d"),
    [("polynomial", 3.0, "scalings", 4), ("polynomial", 3.0, "shifts", 4), ("gaussian", 1.0, "shifts", 2)],
)
def test_functions_of_low_rank_are_refused(function: str, parameter: float, by: str, d: int) -> None:
    with pytest.raises(InvalidInstance, match=f"function {function}: moved by {by}, its values at {d + 1} distances"):
        histogram_row(named(function, parameter), d, 3, by)
    assert histogram_row(named("polynomial", 3.0), 3, 3, "scalings").accuracy > 0


@pytest.mark.claim("OV-9")
def test_scaling_one_side_asks_for_less_accuracy_than_shifting_it() -> None:
    for function, parameter in FUNCTIONS[1:6]:
        scaled, shifted = (histogram_row(named(function, parameter), 8, 12, by) for by in ("scalings", "shifts"))
        assert scaled.relative > 10 * shifted.relative or function in ("laplacian", "matern")
        assert 5 < scaled.condition < shifted.condition + 2


@pytest.mark.claim("OV-9")
@pytest.mark.parametrize(
    ("function", "parameter", "by"),
    [("gaussian", 300.0, "scalings"), ("laplacian", 800.0, "shifts"), ("inverse_multiquadric", 1e-300, "scalings")],
)
def test_sums_whose_accuracy_float64_does_not_hold_are_refused(function: str, parameter: float, by: str) -> None:
    """Their certified values in float64 would be 0, or all alike, and count wrongly."""
    words = rf"function {function}, parameter .*: sums as exact as 2\^-\d+, which float64 does not hold"
    with pytest.raises(InvalidInstance, match=words):
        reduction("OV-9").apply(WIDE, function=function, parameter=parameter, by=by)


def test_a_function_that_has_no_histogram_is_refused_by_name() -> None:
    for options, words in (
        ({"function": "cubic"}, "function: 'cubic', expected"),
        ({"function": "matern", "parameter": 2.0}, "parameter: 2.0, expected 0.5, 1.5 or 2.5"),
        ({"function": "arc_cosine"}, "function arc_cosine: it needs points on the sphere"),
        ({"by": "turns"}, "by 'turns': expected scalings or shifts"),
    ):
        with pytest.raises(InvalidInstance) as caught:
            reduction("OV-9").apply(WIDE, **options)
        assert str(caught.value).startswith(words)
