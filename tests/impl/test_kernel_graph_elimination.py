"""Elimination of nodes: against rationals, balls and LAPACK, at every spread of the weights (KG-17)."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import flint
import numpy as np
import pytest

from assay.impl.cpu.kernel_graph import elimination, wide
from assay.impl.cpu.kernel_graph.elimination import Graph, potentials, resistances
from assay.spec.problem import InvalidInstance

pytest.importorskip("numba")

RNG = np.random.default_rng


def spread(rng: np.random.Generator, n: int, span: int) -> Graph:
    """Random weights over 2^±span."""
    return Graph(1 + rng.random((n, n)), rng.integers(-span, span + 1, (n, n)))


def rationals(graph: Graph) -> list[list[Fraction]]:
    n = graph.nodes
    exponent = np.zeros((n, n), dtype=np.int64) if graph.exponent is None else graph.exponent

    def weight(i: int, j: int) -> Fraction:
        i, j = min(i, j), max(i, j)
        return Fraction(float(graph.mantissa[i, j])) * Fraction(2) ** int(exponent[i, j]) if i != j else Fraction(0)

    return [[weight(i, j) for j in range(n)] for i in range(n)]


def inverse(graph: Graph, ground: int) -> list[list[Fraction]]:
    """(L without the row and the column of the ground)⁻¹ by Gauss–Jordan in rationals: subtracts, as ours does not."""
    weights = rationals(graph)
    rest = [i for i in range(graph.nodes) if i != ground]
    rows = [
        [sum(weights[i]) if i == j else -weights[i][j] for j in rest] + [Fraction(i == j) for j in rest] for i in rest
    ]
    for k in range(len(rest)):
        pivot = rows[k][k]
        rows[k] = [x / pivot for x in rows[k]]
        for i in range(len(rest)):
            if i != k and (factor := rows[i][k]):
                rows[i] = [x - factor * y for x, y in zip(rows[i], rows[k], strict=True)]
    return [row[len(rest) :] for row in rows]


SPANS = [0, 20, 450, pytest.param(3000, marks=pytest.mark.thorough)]


@pytest.mark.claim("KG-17")
@pytest.mark.parametrize("span", SPANS)
def test_every_resistance_is_enclosed_at_every_spread(span: int) -> None:
    rng = RNG(span)
    for n in (2, 3, 5, 11):
        graph = spread(rng, n, span)
        pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
        found = resistances(graph, pairs)
        truth = inverse(graph, 0)
        for at, (i, j) in enumerate(pairs):
            terms = [truth[a - 1][b - 1] if a and b else Fraction(0) for a, b in ((i, i), (j, j), (i, j))]
            exact = terms[0] + terms[1] - 2 * terms[2]
            assert abs(found.fraction(at) / exact - 1) <= found.error < Fraction(1, 10**12)
            if span <= 450:
                assert Fraction(float(found.lower[at])) <= exact <= Fraction(float(found.upper[at]))


@pytest.mark.claim("KG-17")
@pytest.mark.parametrize("span", [0, 20, 140, 400])
def test_every_potential_is_within_its_bound_at_every_spread(span: int) -> None:
    rng = RNG(span)
    for n in (2, 3, 4, 10):
        graph = spread(rng, n, span)
        for _ in range(3):
            current = rng.integers(-9, 10, n).astype(np.float64) * 2.0 ** rng.integers(-3, 4)
            current[rng.integers(n)] -= current.sum()
            ground = int(rng.integers(n))
            found = potentials(graph, current, ground=ground)
            rest = [i for i in range(n) if i != ground]
            truth = inverse(graph, ground)
            for row, i in enumerate(rest):
                exact = sum((truth[row][c] * Fraction(float(current[j])) for c, j in enumerate(rest)), Fraction(0))
                assert abs(Fraction(float(found.value[i])) - exact) <= Fraction(float(found.error[i]))
                parted = sum(truth[row][c] * abs(Fraction(float(current[j]))) for c, j in enumerate(rest))
                assert found.error[i] <= 1e-11 * parted
            assert found.value[ground] == found.error[ground] == 0.0


@pytest.mark.claim("KG-17")
def test_blocks_and_parted_pairs_agree_with_elimination_of_single_nodes() -> None:
    """Sizes on both sides of every limit: of blocks, of the small case, of the parting of pairs."""
    rng = RNG(3)
    for n in (8, 9, 33, 70, 260, 300):
        graph = Graph(np.exp(-rng.random((n, n)) * 300))
        pairs = [(int(i), int(j)) for i, j in rng.integers(0, n, (12, 2)) if i != j] + [(0, n - 1)]
        plain = resistances(graph, pairs)
        wider = resistances(Graph(graph.mantissa, np.zeros((n, n), dtype=np.int64)), pairs)
        parts = wide.laid(graph.mantissa, None)
        for at, (i, j) in enumerate(pairs):
            order = np.append(np.delete(np.arange(n), [i, j]), [i, j])
            m, e = wide.left(*(x[np.ix_(order, order)] for x in parts), 2)
            exact = 1 / (Fraction(float(m[0, 1])) * Fraction(2) ** int(e[0, 1]))
            assert abs(plain.fraction(at) / exact - 1) < 1e-13 * n
            assert plain.lower[at] < exact < plain.upper[at]
            assert plain.fraction(at) == wider.fraction(at)


@pytest.mark.claim("KG-17")
def test_all_pairs_at_once_are_the_resistances_of_a_pseudoinverse() -> None:
    rng = RNG(4)
    weights = rng.random((40, 40)) + 0.1
    weights = np.triu(weights, 1) + np.triu(weights, 1).T
    pairs = [(i, j) for i in range(40) for j in range(i)]
    found = resistances(Graph(weights), pairs)
    other = np.linalg.pinv(np.diag(weights.sum(axis=1)) - weights)
    expected = np.array([other[i, i] + other[j, j] - 2 * other[i, j] for i, j in pairs])
    assert np.abs(found.lower / expected - 1).max() < 1e-11
    assert (found.lower < found.upper).all()
    assert float(found.error) < 1e-12


@pytest.mark.claim("KG-17")
def test_beyond_condition_ten_to_22_lapack_has_no_digit_left_and_elimination_has_ten() -> None:
    """Two clusters of nodes, joined by weights 2^-span: balls of 800 bits say what is right."""
    rng, n = RNG(5), 24
    for span in (10, 90, 120):
        weights = rng.uniform(0.5, 1, (n, n))
        weights[: n // 2, n // 2 :] *= 2.0**-span
        weights = np.triu(weights, 1) + np.triu(weights, 1).T
        laplacian = np.diag(weights.sum(axis=1)) - weights
        current = np.zeros(n)
        current[0], current[-1] = 1.0, -1.0
        with flint.ctx.workprec(800):
            balls: Any = flint.arb_mat([[flint.arb(float(x)) for x in row] for row in weights])
            grounded = flint.arb_mat(
                [[sum(balls[i, j] for j in range(n)) if i == j else -balls[i, j] for j in range(n - 1)]
                 for i in range(n - 1)]
            )  # fmt: skip
            right = flint.arb_mat([[flint.arb(1 if i == 0 else 0)] for i in range(n - 1)])
            exact = float(grounded.solve(right)[0, 0].mid())
        ours = potentials(Graph(weights), current)
        assert abs(ours.value[0] - exact) <= ours.error[0] <= 1e-10 * exact
        ordinary = np.linalg.solve(laplacian[:-1, :-1], current[:-1])[0]
        assert (abs(ordinary / exact - 1) > 0.01) == (span > 80)


@pytest.mark.claim("KG-17")
def test_weights_that_are_off_widen_the_enclosure_by_as_much() -> None:
    rng = RNG(6)
    graph = Graph(rng.uniform(1, 2, (9, 9)), error=Fraction(1, 100))
    found = resistances(graph, [(0, 8)])
    for factor in (100 / 101, 101 / 100):
        moved = resistances(Graph(graph.mantissa * factor), [(0, 8)])
        assert found.lower[0] <= moved.lower[0] * (1 + 1e-13)
        assert moved.upper[0] <= found.upper[0] * (1 + 1e-13)
        assert not (found.lower[0] * 1.005 <= moved.lower[0] and moved.upper[0] <= found.upper[0] / 1.005)
    off = potentials(graph, np.array([1.0, *[0.0] * 7, -1.0]))
    mixed = Graph(graph.mantissa * np.where(rng.random((9, 9)) < 0.5, 100 / 101, 101 / 100))
    other = potentials(mixed, np.array([1.0, *[0.0] * 7, -1.0]))
    assert (np.abs(off.value - other.value) <= off.error + other.error).all()


@pytest.mark.claim("KG-17")
@pytest.mark.parametrize("m", [1, 2, 3, 16, 17, 99, 1000])
def test_no_number_passes_through_more_additions_than_are_counted(m: int) -> None:
    """Additions that round every sum up by one unit: a number in the middle grows by (1 + u)^(additions) at most."""
    length = max(int(np.sqrt(m)), 1)
    deepest = max(length - 1 + (m // length - 1) + 1, (m % length) + 1 if m % length else 0)
    assert deepest <= elimination._depth(m)
    row = RNG(m).random(m)
    assert abs(Fraction(elimination._sum(row)) / sum(map(Fraction, row.tolist())) - 1) <= elimination._depth(m) * 2**-53


@pytest.mark.claim("KG-17")
@pytest.mark.parametrize("n", [6, 40])
def test_a_machine_that_errs_as_the_model_lets_it_needs_the_counted_roundings(n: int) -> None:
    """A path whose first edge is weak, in a complete graph: every step errs the same way on the edge that matters."""
    unit, faint = 2.0**-30, 2.0**-200
    weights = np.full((n, n), faint)
    weights[np.arange(n - 2), np.arange(1, n - 1)] = 1.0
    weights[0, n - 1] = 2.0**-60
    right = resistances(Graph(weights), [(n - 2, n - 1)]).fraction(0)
    for k in range(n - 2):
        total = weights[k, k + 1]
        for x in weights[k, k + 2 :]:
            total = (total + x) * (1 - unit)
        fill = np.outer(weights[k, k + 1 :] / total * (1 + unit), weights[k, k + 1 :]) * (1 + unit)
        weights[k + 1 :, k + 1 :] = (weights[k + 1 :, k + 1 :] + fill) * (1 + unit)
    grown = np.log(weights[n - 2, n - 1] * float(right)) / unit
    counted = elimination._count(n, 2, plain=False)
    assert 0.5 < grown / counted < 1
    assert elimination._count(n, 2, plain=True) > 0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Graph(np.ones((2, 3))), "mantissa: shape (2, 3), expected a square"),
        (lambda: Graph(np.ones((1, 1))), "mantissa: shape (1, 1), expected a square"),
        (lambda: Graph(np.ones((3, 3)) - np.eye(3)[::-1]), "mantissa: weight 0.0 of nodes 0 and 2, expected one above"),
        (lambda: Graph(np.full((2, 2), np.nan)), "mantissa: weight nan of nodes 0 and 1"),
        (lambda: Graph(np.ones((2, 2)), np.zeros(2, np.int64)), "exponent: shape (2,), expected (2, 2)"),
        (lambda: Graph(np.ones((2, 2)), error=Fraction(-1)), "error: -1"),
        (lambda: resistances(Graph(np.ones((2, 2))), [(1, 1)]), "pairs: (1, 1), expected two different nodes"),
        (lambda: potentials(Graph(np.ones((2, 2))), np.array([1.0, -0.5])), "right_side: the currents add up to 0.5"),
        (lambda: potentials(Graph(np.ones((2, 2))), np.zeros(3)), "right_side: shape (3,), expected 2 finite"),
        (lambda: potentials(Graph(np.ones((2, 2))), np.zeros(2), ground=2), "ground: 2, expected a node"),
        (
            lambda: potentials(Graph(np.ones((2, 2)), np.full((2, 2), -5000)), np.array([1.0, -1.0])),
            "right_side: potentials that leave float64",
        ),
    ],
)
def test_what_is_no_graph_or_no_current_is_refused_in_one_line(call: Any, words: str) -> None:
    with pytest.raises(InvalidInstance) as caught:
        call()
    assert str(caught.value).startswith(words)
    assert "\n" not in str(caught.value)


def test_progress_is_told_up_to_the_whole() -> None:
    told: list[tuple[int, int]] = []
    resistances(Graph(np.ones((100, 100))), [(0, 1)], progress=lambda done, total: told.append((done, total)))
    assert told
    assert all(0 < done <= total for done, total in told)


@pytest.mark.claim("KG-17")
def test_points_with_too_many_distances_for_balls_get_weights_of_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    from assay.impl.cpu.kernel_graph import weighed

    x = np.random.default_rng(0).random((40, 3))
    options = {"function": "rational", "parameter": 2.0, "pairs": [(0, 1), (3, 9)]}
    balls = weighed.eliminate(x, **options)
    monkeypatch.setattr(weighed, "_MOST_DISTANCES", 10)
    plain = weighed.eliminate(x, **options)
    assert plain.error > balls.error
    assert (plain.lower <= balls.upper).all()
    assert (balls.lower <= plain.upper).all()
    with pytest.raises(InvalidInstance, match="different distances"):  # weights that float64 does not hold
        weighed.eliminate(1e3 * x, function="gaussian", pairs=[(0, 1)])
