"""The kurtosis of points in any direction is never underestimated, hardly overestimated, and serves attention."""

from __future__ import annotations

import contextlib
import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from operator import mul
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.impl.cpu import attention, costs, features
from assay.impl.cpu.attention import choice, polynomial
from assay.impl.cpu.attention.heads import heads
from assay.impl.cpu.attention.passes import Team
from assay.impl.cpu.attention.plan import SLACK
from assay.impl.cpu.kurtosis import _compiled, _largest_eigenvalue, kurtosis
from assay.spec.approximation import Infeasible
from assay.spec.attention import Instance, define
from assay.spec.rounding import gamma

POINTS = ("normal", "cube", "corners", "axes", "heavy", "one apart", "uneven", "shifted")


def drawn(rng: np.random.Generator, kind: str, n: int, d: int) -> np.ndarray:
    x = rng.standard_normal((n, d))
    match kind:
        case "cube":
            x = rng.uniform(-1, 1, (n, d))
        case "corners":
            x = np.sign(x)
        case "axes":
            x = np.eye(d)[rng.integers(d, size=n)] * np.sign(x)
        case "heavy":
            x = x * np.where(rng.random((n, 1)) < 0.1, 1.0, 0.03)
        case "one apart":
            x[0] *= 100
        case "uneven":
            x = x * 10.0 ** -np.arange(d)
        case "shifted":
            x = x + 1
    return x


def whitened(x: np.ndarray) -> np.ndarray:
    """(d, d): what makes the second moments of x about 1."""
    weights, axes = np.linalg.eigh(x.T @ x / len(x))
    return axes / np.sqrt(weights)


def found(x: np.ndarray, basis: np.ndarray, lost: float | None = None, parts: int = 1) -> float:
    """As the kurtosis of keys is found, block by block."""
    n, d = x.shape
    if lost is None:
        rounded = 2.0 * float(gamma(d + 2, 2.0**-53)) * float(np.linalg.norm(basis)) * SLACK
        lost = rounded * float(np.sqrt((x * x).sum(axis=1)).max())

    def summed(sums: Any, columns: np.ndarray) -> np.ndarray:
        coordinates = features.Coordinates(np.zeros(d), 1.0, np.ascontiguousarray(columns))
        firsts = range(0, n, 300)
        return np.sum([sums(x, coordinates, first, min(first + 300, n)) for first in firsts], axis=0)

    split = np.array_split(basis, parts, axis=1)
    fourths = [summed(features.fourth_moments, part) for part in split]
    return kurtosis(fourths, summed(features.second_moments, basis), n, lost)


def in_direction(x: np.ndarray, z: np.ndarray) -> Fraction:
    """n Σ⟨z, x_j⟩⁴/(Σ⟨z, x_j⟩²)², exactly."""
    exact = [[Fraction(c) for c in row] for row in x.tolist()]
    along = [Fraction(c) for c in z.tolist()]
    scores = [sum(a * b for a, b in zip(along, row, strict=True)) for row in exact]
    return len(x) * sum(s**4 for s in scores) / sum(s**2 for s in scores) ** 2


def steepest(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A direction of large kurtosis, uphill from a point or from anywhere."""
    basis = whitened(x)
    y = x @ basis
    w = y[np.argmax((y * y).sum(axis=1))] if rng.random() < 0.5 else rng.standard_normal(x.shape[1])
    for _ in range(60):
        w = w / np.linalg.norm(w)
        w = y.T @ (y @ w) ** 3
    return basis @ (w / np.linalg.norm(w))


@pytest.mark.claim("ATT-10")
@given(st.integers(0, 2**32), st.sampled_from(POINTS), st.integers(1, 5), st.integers(8, 150), st.integers(1, 5))
def test_no_direction_has_a_larger_kurtosis_than_is_found(seed: int, kind: str, d: int, n: int, parts: int) -> None:
    rng = np.random.default_rng(seed)
    x = drawn(rng, kind, n, d)
    if np.linalg.matrix_rank(x) < d:
        return
    assert in_direction(x, steepest(x, rng)) <= Fraction(min(found(x, whitened(x), parts=min(parts, d)), 1e300))


@pytest.mark.claim("ATT-10")
@pytest.mark.parametrize("d", [1, 2, 3, 8])
def test_points_on_the_axes_have_the_kurtosis_that_is_found(d: int) -> None:
    x = np.concatenate([np.eye(d), -np.eye(d)])
    exact = in_direction(x, np.eye(d)[0])
    assert exact == d
    assert 1 <= Fraction(found(x, whitened(x))) / exact <= 1.02


@pytest.mark.claim("ATT-10")
@pytest.mark.parametrize("parts", [2, 3, 4])
def test_two_points_far_along_every_coordinate_have_the_kurtosis_that_is_found_in_parts(parts: int) -> None:
    """The others make the second moments."""
    corners = np.array(list(itertools.product([1.0, -1.0], repeat=parts)))
    x = np.concatenate([np.tile(corners, (20_000 // len(corners), 1)), 40.0 * corners[[0, -1]]])
    exact = in_direction(x, np.ones(parts))
    assert 1 <= Fraction(found(x, whitened(x), parts=parts)) / exact <= 1.3


@pytest.mark.claim("ATT-10")
@pytest.mark.parametrize(("d", "n"), [(2, 1000), (4, 5000), (16, 40_000)])
def test_normal_points_have_a_kurtosis_of_three_and_little_more(d: int, n: int) -> None:
    x = np.random.default_rng(d).standard_normal((n, d))
    assert 2.9 <= found(x, whitened(x)) <= 3.5


@pytest.mark.claim("ATT-10")
def test_the_kurtosis_found_is_that_of_the_points_whatever_matrix_makes_them_even() -> None:
    """It depends on the matrix, but is a bound for any; where that makes them far from even there is none."""
    rng = np.random.default_rng(0)
    x = drawn(rng, "axes", 60, 3) + 0.1 * drawn(rng, "cube", 60, 3)
    exact = max(in_direction(x, steepest(x, rng)) for _ in range(8))
    for away, parts in itertools.product((0.0, 1e-3, 1e-2, 0.1), (1, 2)):
        basis = whitened(x) @ (np.eye(3) + away * rng.uniform(-1, 1, (3, 3)))
        assert exact <= Fraction(found(x, basis, parts=parts))
    for line in (x[:, :1], x[:, 1:2]):
        for size in (0.9, 1.0, 1.1):
            assert in_direction(line, np.ones(1)) <= Fraction(found(line, size * whitened(line)))
    assert found(x, 2 * whitened(x)) == np.inf
    assert found(x, 0.5 * whitened(x)) == np.inf
    assert found(x, whitened(x), lost=0.3) == np.inf
    assert found(x, np.full((3, 3), np.nan)) == np.inf


@pytest.mark.claim("ATT-10")
@pytest.mark.parametrize("lost", [1e-3, 1e-2, 0.1])
def test_points_that_are_known_but_roughly_have_a_kurtosis_below_what_is_found(lost: float) -> None:
    """One is far and known to be less far; the others, which make most of the second moment, are known too far."""
    x = np.concatenate([np.resize([1.0, -1.0], 16_384), [16.0]])[:, None]
    known = x + lost * np.sign(x) * np.where(x > 2, -1, 1)
    exact, even = in_direction(x, np.ones(1)), whitened(known)
    assert found(known, even, 0.0) < exact <= found(known, even, lost * even[0, 0])


@pytest.mark.claim("ATT-10")
def test_what_float32_loses_of_squares_is_granted() -> None:
    """Every one is rounded down; nothing else hides it, as one coordinate needs no eigenvalue."""
    rng = np.random.default_rng(0)
    x = rng.uniform(0.5, 1.4, 200_000)
    lost = (x * x - (x * x).astype(np.float32)) / np.spacing((x * x).astype(np.float32))
    x = x[lost > 0.45]
    low, high = x[x < 0.9][:2000], x[x > 1.1]
    count = round((1.0 - low**2).sum() / (high[:2000] ** 2 - 1.0).mean())
    x = np.concatenate([low, high[:count]])
    x = np.append(x, np.sqrt(len(x) + 1.0 - (x**2).sum()))[:, None]  # a mean square of 1
    exact = in_direction(x, np.ones(1))
    assert exact <= Fraction(found(x, np.eye(1))) <= exact * Fraction(1.001)


@pytest.mark.claim("ATT-10")
def test_what_float32_loses_of_sums_is_granted() -> None:
    """Fourth powers of 2^-16 after some above 256, of which they are half a unit in the last place: they are lost."""
    large, small, none = np.full(32, np.sqrt(16 + 2.0**-8)), np.full(224, 2.0**-4), np.zeros(257)
    x = np.concatenate([large, small, none])[:, None]  # a mean square of 1
    exact = in_direction(x, np.ones(1))
    sums = features.fourth_moments(x, features.Coordinates(np.zeros(1), 1.0, np.eye(1)), 0, len(x))
    assert sums[0, 0] < (1 - 2.5 * 2.0**-24) * (x**4).sum()
    assert exact <= Fraction(found(x, np.eye(1))) <= exact * Fraction(1.001)


def test_no_more_points_than_are_counted_are_summed_in_float32() -> None:
    """Odd numbers above 2^24 are no float32; sums of so many fourth powers are below it, twice as many above."""
    x = np.full((2 * features.SINGLE - 1, 1), 15.0)
    assert features.SINGLE * 15**4 < 2**24 < len(x) * 15**4
    sums = features.fourth_moments(x, features.Coordinates(np.zeros(1), 1.0, np.eye(1)), 0, len(x))
    assert sums[0, 0] == len(x) * 15**4


@pytest.mark.claim("ATT-10")
@given(st.integers(0, 2**32), st.one_of(st.integers(1, 30), st.sampled_from([65, 100, 257])))
def test_an_eigenvalue_is_bounded_from_above_and_closely(seed: int, n: int) -> None:
    """Of matrices that are positive semidefinite, but for rounding."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((int(rng.integers(1, 2 * n + 1)), n)) * 10.0 ** rng.integers(-30, 30)
    m = x.T @ x
    true = float(np.linalg.eigvalsh(m)[-1])
    assert true * (1 - 1e-12) <= _largest_eigenvalue(m) <= 1.1 * true
    assert _largest_eigenvalue(np.zeros((n, n))) < 1e-80
    m[n // 2, 0] = np.nan
    assert _largest_eigenvalue(m) == np.inf


@pytest.mark.claim("ATT-10")
@pytest.mark.parametrize("short", [1.001, 1.5, 3.0, 15.0, 25.0])
def test_an_eigenvalue_above_the_guess_is_not_missed(short: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever was guessed, what is returned is proved."""
    x = np.random.default_rng(0).standard_normal((40, 31))
    m = x.T @ x
    true = float(np.linalg.eigvalsh(m)[-1])
    guessed = {"_guessed": lambda _: true / short}
    monkeypatch.setattr("assay.impl.cpu.kurtosis._compiled", lambda name: guessed.get(name) or _compiled(name))
    bound = _largest_eigenvalue(m)
    assert true <= bound <= 2.2 * true or (bound == np.inf and short > 20)


@pytest.mark.claim("ATT-10")
@given(st.integers(0, 2**32), st.integers(1, 40))
def test_what_is_below_an_eigenvalue_is_no_bound_and_what_is_above_it_is_one(seed: int, n: int) -> None:
    """Up to the rounding of the eigenvalue with which this is compared, and up to what is granted."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((int(rng.integers(1, 2 * n + 1)), n))
    m = x.T @ x
    m = np.diag(np.diag(m)) if seed % 4 == 0 else m
    true = float(np.linalg.eigvalsh(m)[-1])
    assert not _compiled("_definite")(m, true * (1 - 1e-13))
    assert _compiled("_definite")(m, true * (1 + 2 * 4 * (n + 8) ** 2 * 2.0**-53))
    m[0, 0] = -3 * true  # what is granted for rounding is in units of the bound
    assert not _compiled("_definite")(m, 2 * true)


def test_sums_of_products_are_exact_over_chunks_that_are_not_full() -> None:
    rng = np.random.default_rng(0)
    for d, n in [(1, 1), (2, 129), (3, 700), (5, 300)]:
        x = rng.integers(0, 3, (n, d)).astype(np.float32)
        basis = rng.integers(-1, 2, (d, d)).astype(float)
        coordinates = features.Coordinates(np.ones(d), 2.0, basis)
        y = 2 * (x.astype(float) - 1) @ basis
        pairs = list(itertools.combinations_with_replacement(range(d), 2))
        half = n // 2
        parts = [features.fourth_moments(x, coordinates, *span) for span in ((0, half), (half, n))]
        for column, (a, b) in enumerate(pairs):
            for row, (c, e) in enumerate(pairs):
                if b <= c:
                    assert sum(parts)[row, column] == (y[:, a] * y[:, b] * y[:, c] * y[:, e]).sum()
        assert np.array_equal(features.second_moments(x, coordinates, 0, n), y.T @ y)
        assert np.array_equal(features.second_moments(x, features.centred(np.ones(d)), 0, n), (x - 1.0).T @ (x - 1.0))


def test_a_sum_of_products_of_four_coordinates_stands_wherever_these_come_in_another_order() -> None:
    """In units of √2 for each pair of two coordinates."""
    rng = np.random.default_rng(0)
    for d in range(1, 8):
        x = rng.integers(-8, 9, (20, d)).astype(float)
        sums = features.fourth_moments(x, features.Coordinates(np.zeros(d), 1.0, np.eye(d)), 0, 20)
        pairs = np.triu_indices(d)
        products = (x[:, :, None] * x[:, None, :])[:, *pairs]
        unit = np.where(pairs[0] == pairs[1], 1.0, np.sqrt(2.0))
        assert np.allclose(
            features.unfolded(sums, 16), products.T @ products * np.outer(unit, unit) / 16, rtol=1e-14, atol=0
        )


def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let few keys be worth it."""
    monkeypatch.setattr(choice, "_WORTH_A_PASS", 0)
    free = replace(costs.in_use(costs.Attention), kurtosis=0.0, kurtosis_four=0.0, kurtosis_cube=0.0)
    monkeypatch.setattr(costs, "in_use", lambda _: free)
    monkeypatch.setattr(choice, "_LEAST_PART", 1)


@pytest.mark.claim("ATT-10")
@pytest.mark.parametrize("kind", ["normal", "axes", "heavy", "uneven", "flat"])
def test_the_kurtosis_of_the_keys_of_a_head_is_that_of_its_coordinates(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of centred keys, and of the plane in which they nearly lie."""
    cheap(monkeypatch)
    rng = np.random.default_rng(2)
    k = drawn(rng, "cube" if kind == "flat" else kind, 3000, 3)
    if kind == "flat":
        k[:, 2] = k[:, 0] + 1e-9 * k[:, 2]
    k[-1] -= k.sum(axis=0)  # the mean is 0
    instance = Instance(*(x[None, None] for x in (rng.uniform(-1, 1, (9, 3)) / np.abs(k).max() / 9, k, k)), 1.0)
    sketch = choice.sketched(next(heads(instance)), 1e-5 * float(np.abs(k).max()), 1 << 26, 1)
    with ThreadPoolExecutor(1) as pool:
        largest, in_parts = (choice._kurtosis(sketch, parts, Team(pool, 1, lambda _: None)) for parts in (1, 2))
    flat = k[:, :2] @ np.linalg.cholesky(np.array([[2.0, 0.0], [0.0, 1.0]])) if kind == "flat" else k
    exact = max(in_direction(flat, steepest(flat, rng)) for _ in range(3))
    assert sketch.frame.dimension == flat.shape[1]
    assert 1 <= Fraction(largest) / exact <= 1.3
    assert 1 <= Fraction(in_parts) / exact <= 5


@pytest.mark.claim("ATT-10")
@pytest.mark.parametrize("flat", [False, True])
def test_what_the_coordinates_of_keys_lose_is_granted(flat: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """y = Ax but for rounding: exact rationals of the stored numbers."""
    cheap(monkeypatch)
    seen: dict[str, Any] = {}
    sums = features.fourth_moments
    monkeypatch.setattr(features, "fourth_moments", lambda k, c, *span: seen.update(white=c) or sums(k, c, *span))
    monkeypatch.setattr(choice, "kurtosis", lambda sums, *given: seen.update(sums=list(sums), lost=given[-1]) or 3.0)

    def stored(k: np.ndarray, coordinates: features.Coordinates, j: int) -> list[Fraction]:
        table, none = features.monomials(coordinates.dimension, 1), np.zeros(0)
        sums = features.moments(
            k, k[:, :0], table, coordinates=coordinates, middle=none, shrink=none, first=j, last=j + 1
        )
        return [Fraction(float(x)) for x in sums[1 : table.rank, 0]]

    for seed in range(20):
        rng = np.random.default_rng(seed)
        k = rng.standard_normal((40, 3)) * 10.0 ** rng.integers(-3, 4, 3) + 5.0
        if flat:
            k[:, 2] = k[:, 0] - k[:, 1] * (1 + 1e-12)
        q = rng.uniform(-1, 1, (9, 3)) / np.abs(k).max() / 9
        head = next(heads(Instance(*(x[None, None] for x in (q, k, rng.uniform(-1, 1, (40, 1)))), 1.0)))
        sketch = choice.sketched(head, 1e-5, 1 << 26, 1)
        with ThreadPoolExecutor(1) as pool:
            choice._kurtosis(sketch, 1, Team(pool, 1, lambda _: None))
        scatter, keys, r = sketch.scatter, sketch.frame.keys, sketch.frame.dimension
        assert scatter is not None
        assert r < 3 or not flat
        a = seen["white"].basis.T
        if keys.basis.size:
            a = np.diag(1.0 / (np.sqrt(scatter.weights[:r]) * keys.factor))
        rows = [[Fraction(c) for c in row] for row in a.tolist()]
        for n in range(40):
            x, y = stored(k, keys, n), stored(k, seen["white"], n)
            apart = [b - sum(map(mul, row, x)) for row, b in zip(rows, y, strict=True)]
            assert sum(c * c for c in apart) <= Fraction(seen["lost"]) ** 2
        assert 0 < seen["lost"] < 1e-7


@pytest.mark.claim("ATT-10")
def test_no_plan_relies_on_a_guess_of_the_kurtosis(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever candidate is the first to do."""
    cheap(monkeypatch)
    known, relied, taken = {0.0}, set(), set()
    monkeypatch.setattr(choice, "kurtosis", lambda *given: known.add(one := kurtosis(*given)) or one)
    passed = polynomial.passed

    def noted(head: Any, plan: Any, *given: Any) -> Any:
        relied.add(plan.measure.kurtosis)
        taken.add(plan.measure.parts)
        return passed(head, plan, *given)

    monkeypatch.setattr(polynomial, "passed", noted)
    monkeypatch.setattr(choice, "_ROOM", 1.2)  # candidates are promised too much
    rng = np.random.default_rng(4)
    for kind in ("cube", "heavy", "axes"):
        q, k, v = (x[None, None] for x in (0.1 * drawn(rng, "cube", 9, 3), *(drawn(rng, kind, 300, 3) for _ in "kv")))
        for error in 10.0 ** np.arange(-2, -9, -0.1):
            with contextlib.suppress(Infeasible):
                attention.approximate(q, k, v, error, 1.0, fallback="raise")
    assert len(relied) > 3
    assert taken == {1, 2}
    assert relied <= known


@pytest.mark.claim("ATT-10")
@pytest.mark.parametrize("options", [{"is_causal": True}, {"window": (3, None)}])
def test_where_rows_see_only_some_of_the_keys_the_kurtosis_of_all_says_nothing(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    cheap(monkeypatch)
    rng = np.random.default_rng(3)
    q, k, v = (x[None, None] for x in (0.1 * rng.uniform(-1, 1, (50, 3)), *rng.uniform(-1, 1, (2, 50, 3))))
    for error in 10.0 ** np.arange(-2, -9, -0.5):
        assert "kurtosis" not in attention.approximate(q, k, v, error, 1.0, **options, fallback="raise").route


@pytest.mark.claim("ATT-7")
@pytest.mark.claim("ATT-10")
@pytest.mark.parametrize("kind", ["cube", "heavy", "uneven"])
def test_a_kurtosis_in_place_of_fourth_powers_keeps_every_certificate(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guess is that of normal keys: heavy tails need another plan."""
    cheap(monkeypatch)
    rng = np.random.default_rng(1)
    k = drawn(rng, kind, 400, 3)
    instance = Instance(*(x[None, None] for x in (rng.uniform(-0.1, 0.1, (50, 3)), k, np.sin(3 * k))), 1.0)
    served: list[str] = []
    for error in 10.0 ** np.arange(-2, -9, -0.25):
        given: Any = (instance.query, instance.key, instance.value, error, 1.0)
        one = attention.approximate(*given, fallback="raise")
        exact = define(instance, 1e-19)
        assert one.error.max() <= error
        assert exact.ratio(one.value, np.broadcast_to(one.error, one.value.shape)).max() <= 1
        served += [one.route.split("degree ")[1][0]] * ("kurtosis" in one.route)
    assert {"2", "3"} <= set(served)
