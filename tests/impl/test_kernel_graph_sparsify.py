"""sparsify: what is proved is true, seeds repeat, and pairs of sets cover every pair of points once."""

from __future__ import annotations

import numpy as np
import pytest

from assay.impl import cpu
from assay.spec.problem import InvalidInstance

scipy_linalg = pytest.importorskip("scipy.linalg")
pytest.importorskip("numba")


def points(n: int, d: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((n, d))


def extremes(graph, approximation) -> tuple[float, float]:
    n = graph.n
    g, h = graph.tile(slice(0, n), slice(0, n)), approximation.toarray()
    basis = np.linalg.qr(np.column_stack([np.ones(n), np.eye(n)[:, 1:]]))[0][:, 1:]
    pair = (basis.T @ (np.diag(each.sum(axis=1)) - each) @ basis for each in (h, g))
    values = scipy_linalg.eigh(*pair, eigvals_only=True)
    return float(values[0]), float(values[-1])


CASES = [
    (2, "gaussian", 2.0), (2, "gaussian", 200.0), (3, "coulomb", 0.5), (5, "laplacian", 1.0), (8, "gaussian", 4.0),
    (8, "rational", 2.0), (2, "polynomial", 1.0),
]  # fmt: skip


@pytest.mark.claim("KG-13")
@pytest.mark.parametrize(("d", "function", "parameter"), CASES)
def test_the_error_is_what_was_asked_for(d: int, function: str, parameter: float) -> None:
    x = points(160, d)
    found = cpu.kernel_graph.sparsify(x, function=function, parameter=parameter, error=0.5)
    low, high = extremes(cpu.kernel_graph.graph(x, function, parameter), found.graph)
    assert found.proof == "computed"
    assert found.error <= 0.5
    assert 0.5 <= found.lower <= low * (1 + 1e-9)
    assert high * (1 - 1e-9) <= found.upper <= 1.5


def test_weights_of_tiles_are_those_of_single_pairs_bit_for_bit() -> None:
    for n, d in ((40, 3), (2100, 2)):  # kept, and computed at every call
        graph = cpu.kernel_graph.graph(points(n, d), "gaussian", 3.0)
        rows, columns = slice(n - 7, n), slice(3, n - 1)
        found = graph.tile(rows, columns)
        z = sum((x[rows, None] - x[None, columns]) ** 2 for x in graph.points.T)
        expected = np.array(graph.function(z))
        expected[np.arange(n - 7, n)[:, None] == np.arange(3, n - 1)] = 0.0
        assert (found == expected).all()
        found[:] = -1.0
        assert (graph.tile(rows, columns) == expected).all()


@pytest.mark.parametrize("seed", range(5))
def test_every_seed_gets_its_error(seed: int) -> None:
    found = cpu.kernel_graph.sparsify(points(200, 3, seed), parameter=4.0, error=0.45, seed=seed)
    assert found.error <= 0.45
    assert len(found.edges[0]) < 200 * 199 / 4


def test_the_same_seed_gives_the_same_graph() -> None:
    first, second = (cpu.kernel_graph.sparsify(points(120, 2), parameter=4.0, error=0.6, seed=7) for _ in range(2))
    assert (first.graph != second.graph).nnz == 0
    left, right, weight = first.edges
    assert (left < right).all()
    assert (weight > 0).all()
    assert len(np.unique(left * 120 + right)) == len(left)


def test_a_small_error_keeps_all_edges() -> None:
    found = cpu.kernel_graph.sparsify(points(30, 2), parameter=1.0, error=1e-6)
    assert len(found.edges[0]) == 30 * 29 // 2


@pytest.mark.claim("KG-13")
def test_matched_degrees_are_those_of_the_graph() -> None:
    from assay.impl.cpu.kernel_graph.sparsify import drawn, matched

    graph = cpu.kernel_graph.graph(points(200, 2), "gaussian", 5.0)
    left, right, weight = drawn(graph, 20.0, np.random.default_rng(0))
    weight = matched(200, left, right, weight, graph.degrees())
    degrees = np.bincount(left, weight, 200) + np.bincount(right, weight, 200)
    assert np.abs(degrees / graph.degrees() - 1.0).max() < 1e-3


@pytest.mark.claim("KG-2")
@pytest.mark.parametrize("d", [1, 2, 3])
def test_well_separated_pairs_cover_every_pair_of_points_once(d: int) -> None:
    from assay.impl.cpu.kernel_graph.pairs import pairs

    x = points(90, d)
    x[:30] *= 1e-6
    found = pairs(x, 1.5)
    order, first, last = found.tree.order, found.tree.first, found.tree.last
    count = np.zeros((90, 90), int)
    for a, b in zip(found.a, found.b, strict=True):
        left, right = order[first[a] : last[a]], order[first[b] : last[b]]
        count[np.ix_(left, right)] += 1
        gaps = np.linalg.norm(x[left][:, None] - x[right], axis=2)
        wider = max(
            np.ptp(x[left], axis=0) @ np.ptp(x[left], axis=0), np.ptp(x[right], axis=0) @ np.ptp(x[right], axis=0)
        )
        assert gaps.min() >= 0.75 * np.sqrt(wider) * (1 - 1e-12)
    assert (count + count.T == 1 - np.eye(90)).all()


@pytest.mark.claim("KG-2")
def test_edges_drawn_through_pairs_are_those_of_a_sparsifier() -> None:
    from assay.impl.cpu.kernel_graph.graphs import from_edges
    from assay.impl.cpu.kernel_graph.pairs import drawn_through
    from assay.impl.cpu.kernel_graph.sparsify import matched

    for d in (2, 5):
        graph = cpu.kernel_graph.graph(points(250, d), "gaussian", 4.0)
        edges = drawn_through(graph, graph.degrees(), 40.0, np.random.default_rng(0))
        weight = matched(250, *edges, graph.degrees())
        low, high = extremes(graph, from_edges(250, edges[0], edges[1], weight))
        assert 0.55 < low < high < 1.45


@pytest.mark.claim("KG-2")
@pytest.mark.parametrize(("function", "parameter"), [("gaussian", 0.02), ("rational", 0.5), ("coulomb", 1.0)])
def test_a_projection_moves_no_distance_and_no_weight_by_more_than_is_said(function: str, parameter: float) -> None:
    from assay.impl.cpu.kernel_graph.pairs import projected, projection

    for seed in range(20):
        x = points(60, 12, seed)
        graph = cpu.kernel_graph.graph(x, function, parameter)
        known = projection(graph, 0.01)
        assert known.dimension == max(1, int(np.ceil(np.sqrt(graph_slope(graph) * np.log(60)))))
        flat = cpu.kernel_graph.graph(projected(x, known.dimension, seed), function, parameter)
        once = np.triu_indices(60, 1)
        everything = slice(0, 60)
        ratio = (flat.squared(everything, everything) / np.maximum(graph.squared(everything, everything), 1e-300))[once]
        assert known.nearer <= ratio.min() <= ratio.max() <= known.farther
        moved = (graph.tile(everything, everything)[once]) / flat.tile(everything, everything)[once]
        assert 1 / known.misjudged <= moved.min() <= moved.max() <= known.misjudged


def graph_slope(graph) -> float:
    return float(graph.function.lipschitz(np.zeros(1), np.full(1, graph.far))[0])


@pytest.mark.claim("KG-2")
def test_the_factor_of_a_projection_leaves_no_edge_that_is_drawn_too_rarely() -> None:
    from assay.impl.cpu.kernel_graph.pairs import chances, pairs, projected, projection

    n = 120
    graph = cpu.kernel_graph.graph(points(n, 10), "coulomb", 0.5)
    known = projection(graph, 0.01)
    found = pairs(projected(graph.points, known.dimension, 0))
    inverse, c = 1 / graph.degrees(), 6.0
    wanted = c * graph.tile(slice(0, n), slice(0, n)) * (inverse[:, None] + inverse)
    order, first, last = found.tree.order, found.tree.first, found.tree.last
    most = [
        wanted[order[first[a] : last[a]]][:, order[first[b] : last[b]]].max()
        for a, b in zip(found.a, found.b, strict=True)
    ]
    assert (chances(graph, found, inverse, c, known.misjudged) >= np.minimum(most, 1.0)).all()
    assert (chances(graph, found, inverse, c) < 0.8 * np.minimum(most, 1.0)).any()


@pytest.mark.claim("KG-2")
def test_with_that_factor_edges_are_as_many_as_were_asked_for() -> None:
    from assay.impl.cpu.kernel_graph.pairs import drawn_through

    graph = cpu.kernel_graph.graph(points(120, 10), "coulomb", 0.5)
    degrees = graph.degrees()
    counts = [len(drawn_through(graph, degrees, 12.0, np.random.default_rng(s), None, 0.01)[0]) for s in range(40)]
    assert abs(sum(counts) / (40 * 120 * 6) - 1.0) < 0.03  # five standard deviations


def test_a_function_that_jumps_has_no_projection() -> None:
    from assay.impl.cpu.kernel_graph.pairs import projection

    with pytest.raises(InvalidInstance, match="Lipschitz"):
        projection(cpu.kernel_graph.graph(points(9, 5), "threshold", 9.0), 0.1)


@pytest.mark.claim("KG-15")
def test_a_probe_accepts_a_true_claim_and_rejects_a_false_one() -> None:
    x = points(80, 2)
    found = cpu.kernel_graph.sparsify(x, parameter=5.0, error=0.6)
    low, high = extremes(cpu.kernel_graph.graph(x, "gaussian", 5.0), found.graph)
    true = max(1.0 - low, high - 1.0)
    accepted = cpu.kernel_graph.probe(x, found.graph, parameter=5.0, error=1.3 * true)
    assert accepted.accepted
    assert accepted.probability < 2.0**-20
    for seed in range(2):
        assert not cpu.kernel_graph.probe(x, found.graph, parameter=5.0, error=0.97 * true, seed=seed).accepted


def test_wrong_arguments_are_refused_by_name() -> None:
    x = points(5, 2)
    coincident = np.zeros((3, 2))
    for arguments, words in (
        ((x, {"error": 1.0}), "error"), ((x, {"error": 0.5, "seed": -1}), "seed"), ((x[:1], {"error": 0.5}), "points"),
        ((x, {"error": 0.5, "function": "cosine"}), "function"),
        ((coincident, {"error": 0.5, "function": "coulomb"}), "0 and 1"),
        ((np.array([[0.0], [1e3]]), {"error": 0.5}), "falls apart"),
    ):  # fmt: skip
        with pytest.raises(InvalidInstance, match=words):
            cpu.kernel_graph.sparsify(arguments[0], **arguments[1])
