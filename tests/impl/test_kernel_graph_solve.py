"""solve: the true energy error lies between the two proved bounds, and what cannot be proved is said not to be."""

from __future__ import annotations

import flint
import numpy as np
import pytest

from assay.impl import cpu
from assay.spec import flint_context
from assay.spec.kernel_graph.functions import named
from assay.spec.kernel_graph_solve import orthogonal
from assay.spec.problem import InvalidInstance

pytest.importorskip("scipy")
pytest.importorskip("numba")
CASES = [
    (2, "gaussian", 2.0), (2, "gaussian", 300.0), (3, "coulomb", 0.5), (8, "laplacian", 1.0), (2, "polynomial", 1.0),
    (3, "matern", 0.5),
]  # fmt: skip


def case(n: int, d: int, function: str, parameter: float, seed: int = 0):
    rng = np.random.default_rng(seed)
    x, b = rng.random((n, d)), orthogonal(rng.standard_normal(n))
    graph = cpu.kernel_graph.graph(x, function, parameter)
    weights = graph.tile(slice(0, n), slice(0, n))
    return x, b, np.diag(weights.sum(axis=1)) - weights


def exact(matrix: np.ndarray, b: np.ndarray) -> np.ndarray:
    """L⁺b, with one step of refinement, by NumPy's dense solve."""
    whole = matrix + matrix.diagonal().mean() / len(b)
    x = np.linalg.solve(whole, b)
    x += np.linalg.solve(whole, b - matrix @ x)
    return x - x.mean()


@pytest.mark.claim("KG-16")
@pytest.mark.parametrize(("d", "function", "parameter"), CASES)
def test_the_true_error_lies_between_the_bounds(d: int, function: str, parameter: float) -> None:
    x, b, matrix = case(400, d, function, parameter)
    found = cpu.kernel_graph.solve(
        x, b, function=function, parameter=parameter, tolerance=1e-4, preconditioner="jacobi"
    )
    true = exact(matrix, b)
    off = found.value - found.value.mean() - true
    error = np.sqrt(off @ matrix @ off / (true @ matrix @ true))
    assert found.certified
    assert found.error <= 1e-4
    assert found.least <= error * (1 + 1e-3) + 1e-12
    assert error <= found.error * (1 + 1e-3) + 1e-12
    assert found.error <= max(10 * error, 1e-11)


@pytest.mark.claim("KG-16")
def test_no_flow_bounds_an_energy_below_the_true_one() -> None:
    from assay.impl.cpu.kernel_graph import cells, flows

    rng = np.random.default_rng(0)
    for d, function, parameter in CASES:
        x, _, matrix = case(120, d, function, parameter)
        graph = cpu.kernel_graph.graph(x, function, parameter)
        inverse = np.linalg.pinv(matrix, hermitian=True)
        for count in (1, 7, 30, 120):
            through = flows.flows(graph, cells.divided(graph.points, count))
            for power in (0, 1, 2):  # rough, as it is, smooth
                r = np.linalg.matrix_power(inverse / np.abs(inverse).max(), power) @ rng.standard_normal(120)
                r -= r.mean()
                doubt = 1e-3 * np.abs(r).max() * rng.random(120)
                moved = r + doubt * np.where(r - r.mean() > 0, -1.0, 1.0)
                moved -= moved.mean()
                energy = np.sqrt(r @ inverse @ r)
                assert through.bound(r, np.zeros(120)) >= energy * (1 - 1e-9)
                assert through.bound(moved, np.abs(moved - r)) >= energy * (1 - 1e-9)


@pytest.mark.claim("KG-16")
def test_flows_through_single_points_are_the_electrical_flow() -> None:
    from assay.impl.cpu.kernel_graph import cells, flows

    x, b, matrix = case(60, 2, "gaussian", 5.0)
    graph = cpu.kernel_graph.graph(x, "gaussian", 5.0)
    through = flows.flows(graph, cells.divided(graph.points, 60))
    assert through.bound(b, np.zeros(60)) == pytest.approx(np.sqrt(b @ np.linalg.pinv(matrix) @ b), rel=1e-5)


@pytest.mark.claim("KG-16")
def test_flows_of_half_the_energy_are_below_the_true_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights between cells are lower bounds, which the bound needs: with twice as much it is wrong."""
    from assay.impl.cpu.kernel_graph import cells, flows

    x, b, matrix = case(60, 2, "gaussian", 5.0)
    graph = cpu.kernel_graph.graph(x, "gaussian", 5.0)
    least = flows.least_weights
    monkeypatch.setattr(flows, "least_weights", lambda *given: 2.0 * least(*given))
    through = flows.flows(graph, cells.divided(graph.points, 60))
    assert through.bound(b, np.zeros(60)) < np.sqrt(b @ np.linalg.pinv(matrix) @ b)


@pytest.mark.claim("KG-16")
def test_flows_inside_a_cell_of_equal_weights_are_the_electrical_flow() -> None:
    """Points that coincide: L⁺ is 1/n on vectors of sum 0, so that half the bound, or no doubt, would be too little."""
    from assay.impl.cpu.kernel_graph import cells, flows

    graph = cpu.kernel_graph.graph(np.zeros((40, 2)), "gaussian", 1.0)
    through = flows.flows(graph, cells.divided(graph.points, 1))
    r = np.where(np.arange(40) % 2, -1.0, 1.0)
    energy = np.sqrt(r @ r / 40)
    assert energy <= through.bound(r, np.zeros(40)) <= energy * (1 + 1e-6)
    pair = np.where(np.arange(40) < 2, 1.0, 0.0)
    assert np.sqrt(2.0 / 40) <= through.bound(np.zeros(40), pair)


@pytest.mark.claim("KG-16")
@pytest.mark.parametrize("power", [0.5, 1e4, 1e6])
def test_weights_of_a_large_power_do_not_lower_the_bounds(power: float) -> None:
    """One plus z is rounded, so that computed weights are off by 10^-10 for a power of 10^6: all bounds know it."""
    from assay.impl.cpu.kernel_graph import cells, flows

    with flint_context.bits(200):
        for x in np.random.default_rng(4).uniform(0.0, power**-0.5, (8, 2, 1)):
            gap = flint.fmpq(*x[0, 0].as_integer_ratio()) - flint.fmpq(*x[1, 0].as_integer_ratio())
            exact = 1 / named("rational", power).ball(flint.arb(gap * gap))
            b = np.array([1.0, -1.0])
            found = cpu.kernel_graph.solve(x, b, function="rational", parameter=power, tolerance=1e-3)
            error = abs((flint.arb(found.value[0]) - flint.arb(found.value[1])) / exact - 1)
            assert found.least <= float(error.abs_upper())
            assert float(error.abs_lower()) <= found.error
            between = cpu.kernel_graph.effective_resistance(x, np.array([[0, 1]]), function="rational", parameter=power)
            assert flint.arb(between.lower[0]) <= exact <= flint.arb(between.upper[0])
            graph = cpu.kernel_graph.graph(x, "rational", power)
            assert flint.arb(flows.least_weights(graph, cells.divided(x, 2))[0, 1]) <= 1 / exact


@pytest.mark.parametrize("name", ["cells", "truncated", "sparsifier", "multigrid"])
def test_every_preconditioner_ends_in_a_proof(name: str) -> None:
    if name == "multigrid":
        pytest.importorskip("pyamg")
    x, b, _ = case(300, 2, "gaussian", 40.0)
    found = cpu.kernel_graph.solve(x, b, parameter=40.0, tolerance=1e-6, preconditioner=name)
    assert found.certified
    assert found.preconditioner == name


def test_fewer_cells_than_points_take_few_iterations(monkeypatch: pytest.MonkeyPatch) -> None:
    from assay.impl.cpu.kernel_graph import cells

    monkeypatch.setattr(cells, "_FEW", 300)
    x, b, _ = case(700, 2, "gaussian", 200.0)
    found = cpu.kernel_graph.solve(x, b, parameter=200.0, tolerance=1e-8)
    assert found.certified
    assert found.iterations <= 60


def test_what_the_precision_does_not_allow_is_not_called_solved() -> None:
    x, b, _ = case(50, 2, "gaussian", 5.0)
    found = cpu.kernel_graph.solve(x, b, parameter=5.0, tolerance=1e-17)
    assert found.status == "not certified at this precision"
    assert not found.certified
    assert 1e-17 < found.error < 1e-9


@pytest.mark.claim("KG-16")
def test_resistances_lie_between_their_bounds() -> None:
    x, _, _matrix = case(150, 3, "gaussian", 5.0)
    x[4] = x[9]
    graph = cpu.kernel_graph.graph(x, "gaussian", 5.0)
    weights = graph.tile(slice(0, 150), slice(0, 150))
    inverse = np.linalg.pinv(np.diag(weights.sum(axis=1)) - weights, hermitian=True)
    pairs = np.array([[0, 1], [4, 9], [2, 140], [3, 3]])
    found = cpu.kernel_graph.effective_resistance(x, pairs, parameter=5.0)
    true = np.array([inverse[i, i] + inverse[j, j] - 2 * inverse[i, j] for i, j in pairs])
    assert (found.lower <= true * (1 + 1e-10)).all()
    assert (true * (1 - 1e-10) <= found.upper).all()
    assert (found.upper - found.lower <= 1e-7 * true).all()


def test_two_points_have_the_inverse_of_their_weight_as_resistance() -> None:
    found = cpu.kernel_graph.effective_resistance(np.array([[0.0], [1.0]]), np.array([[0, 1]]), parameter=2.0)
    assert found.lower[0] <= np.exp(2.0) * (1 + 1e-15)
    assert np.exp(2.0) * (1 - 1e-15) <= found.upper[0]


def test_wrong_arguments_are_refused_in_one_line() -> None:
    x, b = np.array([[0.0], [1.0], [2.0]]), np.array([1.0, 0.0, -1.0])
    for points, right, options, words in (
        (x, b + 1.0, {}, "right_side"), (1e3 * x, b, {}, "points"), (x, b, {"tolerance": 2.0}, "tolerance"),
        (x, b, {"preconditioner": "ilu"}, "preconditioner"),
    ):  # fmt: skip
        with pytest.raises(InvalidInstance, match=words) as told:
            cpu.kernel_graph.solve(points, right, **options)
        assert "\n" not in str(told.value)


def test_a_solver_for_several_right_sides_gives_what_a_solve_gives() -> None:
    rng = np.random.default_rng(5)
    x = rng.random((90, 3))
    prepared = cpu.kernel_graph.solver(x, parameter=3.0)
    for _ in range(2):
        b = orthogonal(rng.standard_normal(90))
        found, alone = prepared.solve(b, 1e-9), cpu.kernel_graph.solve(x, b, parameter=3.0, tolerance=1e-9)
        assert found.certified
        assert (found.value == alone.value).all()
        assert found.error == alone.error
    for wrong, tolerance, words in (
        (np.ones(90), 1e-8, "sum"), (np.zeros(90), 1e-8, "not all 0"), (b[:5], 1e-8, "90"), (b, 1.0, "tolerance"),
    ):  # fmt: skip
        with pytest.raises(InvalidInstance, match=words):
            prepared.solve(wrong, tolerance)
    with pytest.raises(InvalidInstance, match="no path"):
        cpu.kernel_graph.solver(np.array([[0.0], [1e3]]))


def test_every_iteration_of_a_solve_reports_its_progress() -> None:
    rng = np.random.default_rng(6)
    seen: list[tuple[int, int]] = []
    found = cpu.kernel_graph.solve(
        rng.random((120, 2)), orthogonal(rng.standard_normal(120)), parameter=50.0, preconditioner="jacobi",
        progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert found.iterations > 10
    assert len(seen) >= found.iterations
    assert seen[-1] == (100, 100)
    assert all(0 <= done <= total == 100 for done, total in seen)
    assert len({done for done, _ in seen}) > 8
