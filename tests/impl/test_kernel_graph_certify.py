"""certify: the proved interval holds in exact arithmetic, is tight, and a hair beyond the truth is refused."""

from __future__ import annotations

import flint
import numpy as np
import pytest

from assay.impl import cpu
from assay.impl.cpu.kernel_graph.graphs import of_points
from assay.spec import flint_context
from assay.spec.kernel_graph.functions import Function, named
from assay.spec.problem import InvalidInstance

scipy_sparse = pytest.importorskip("scipy.sparse")
scipy_linalg = pytest.importorskip("scipy.linalg")
certify = cpu.kernel_graph.certify


def weights(n: int, seed: int, share: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    upper = np.triu(rng.random((n, n)) * (rng.random((n, n)) < share), 1)
    path = np.diag(np.full(n - 1, 0.5), 1)
    return upper + upper.T + path + path.T


def laplacian(matrix: np.ndarray) -> np.ndarray:
    return np.diag(matrix.sum(axis=1)) - matrix


def truth(original: np.ndarray, approximation: np.ndarray) -> tuple[float, float]:
    """The extreme generalised eigenvalues, dense."""
    n = len(original)
    basis = np.linalg.qr(np.column_stack([np.ones(n), np.eye(n)[:, 1:]]))[0][:, 1:]
    pair = (basis.T @ laplacian(each) @ basis for each in (approximation, original))
    values = scipy_linalg.eigh(*pair, eigvals_only=True)
    return float(values[0]), float(values[-1])


def semidefinite(matrix: list[list[flint.fmpq]]) -> bool:
    """Whether a symmetric rational matrix is positive semidefinite, by elimination in rational numbers."""
    rows = [list(row) for row in matrix]
    n = len(rows)
    for k in range(n):
        if rows[k][k] < 0 or (rows[k][k] == 0 and any(rows[k][j] != 0 for j in range(k + 1, n))):
            return False
        if rows[k][k] != 0:
            for i in range(k + 1, n):
                factor = rows[i][k] / rows[k][k]
                for j in range(k, n):
                    rows[i][j] -= factor * rows[k][j]
    return True


def rational(value: float) -> flint.fmpq:
    return flint.fmpq(*float(value).as_integer_ratio())


def dominates(more: np.ndarray, less: np.ndarray, multiple: float, other: float) -> bool:
    """Whether multiple·L_more ⪰ other·L_less, in rational numbers."""
    n = len(more)
    p, q = rational(multiple), rational(other)
    entries = [[q * rational(less[i, j]) - p * rational(more[i, j]) for j in range(n)] for i in range(n)]
    for i in range(n):
        entries[i][i] = flint.fmpq(0)
        entries[i][i] = -sum(entries[i], flint.fmpq(0))
    return semidefinite(entries)


@pytest.mark.claim("KG-14")
@pytest.mark.parametrize("seed", range(12))
def test_both_sides_hold_in_rational_arithmetic(seed: int) -> None:
    g, h = weights(7, seed), weights(7, seed + 100, 0.4)
    found = certify(g, h)
    assert dominates(g, h, found.upper, 1.0)
    assert dominates(h, g, 1.0, found.lower)


@pytest.mark.claim("KG-14")
@pytest.mark.parametrize("seed", range(4))
def test_the_proved_interval_is_nearly_the_true_one(seed: int) -> None:
    g, h = weights(80, seed), weights(80, seed + 50, 0.3)
    low, high = truth(g, h)
    found = certify(g, h)
    assert found.proof == "computed"
    assert found.lower <= low + 1e-12
    assert high - 1e-12 <= found.upper
    assert low - found.lower <= 1e-3 * (high - low)
    assert found.upper - high <= 1e-3 * (high - low)
    assert found.attained[0] == pytest.approx(low, rel=1e-5)
    assert found.attained[1] == pytest.approx(high, rel=1e-5)


@pytest.mark.claim("KG-14")
def test_a_claim_a_hair_beyond_the_truth_is_refused() -> None:
    g, h = weights(60, 3), weights(60, 4, 0.3)
    low, high = truth(g, h)
    holds = cpu.kernel_graph.holds
    assert holds(g, h, low * (1 - 1e-9), high * (1 + 1e-9))
    assert not holds(g, h, low * (1 - 1e-9), high * (1 - 1e-9))
    assert not holds(g, h, low * (1 + 1e-9), high * (1 + 1e-9))


@pytest.mark.claim("KG-14")
def test_equality_within_rounding_is_never_proved() -> None:
    """Without the term for the rounding of the factorisation some of these false statements would be proved."""
    holds = cpu.kernel_graph.holds
    for seed in range(40):
        g = weights(12, seed)
        assert not holds(g, g, 1.0 + 2.0**-51, 2.0)
        assert not holds(g, g, 0.5, 1.0 - 2.0**-51)


@pytest.mark.claim("KG-14")
def test_the_rounding_term_is_needed_and_enough() -> None:
    """Factorisations of indefinite matrices run through in float64; with the term taken off the diagonal none does."""
    from assay.impl.cpu.kernel_graph import cholesky

    rng = np.random.default_rng(0)
    bare = shifted = indefinite = 0
    for _ in range(400):
        a, b = 1.0 + rng.random(2)
        c = b * b / a
        if rational(a) * rational(c) >= rational(b) ** 2:
            continue
        indefinite += 1
        matrix = np.array([[a, b], [b, c]])
        shift = cholesky.rounding(2, a + c) * np.eye(2)
        bare += cholesky.factored(2, lambda i, j, m=matrix: m.copy()) is not None
        shifted += cholesky.factored(2, lambda i, j, m=matrix - shift: m.copy()) is not None
    assert indefinite > 50
    assert bare > 5
    assert shifted == 0


def test_a_disconnected_graph_is_certified_part_by_part() -> None:
    g = np.zeros((9, 9))
    g[:4, :4], g[5:, 5:] = weights(4, 0), weights(4, 1)
    found = certify(g, 2.0 * g)
    assert found.lower == pytest.approx(2.0, rel=1e-6)
    assert found.upper == pytest.approx(2.0, rel=1e-6)
    joined = g.copy()
    joined[0, 8] = joined[8, 0] = 1.0
    assert certify(g, joined).upper == np.inf


def test_a_graph_in_parts_approximates_nothing_from_below() -> None:
    h = np.zeros((6, 6))
    h[0, 1] = h[1, 0] = 1.0
    assert certify(weights(6, 0), h).lower == 0.0


@pytest.mark.claim("KG-13")
@pytest.mark.parametrize("power", [2.0, 1e4, 1e6])
def test_weights_of_a_large_power_hold_with_the_rounding_of_one_plus_z(power: float) -> None:
    """The weight of two points is the interval's only number: 1/w for a second graph of weight 1."""
    with flint_context.bits(200):
        for x in np.random.default_rng(3).uniform(0.0, power**-0.5, (8, 2, 1)):
            gap = flint.fmpq(*x[0, 0].as_integer_ratio()) - flint.fmpq(*x[1, 0].as_integer_ratio())
            exact = 1 / named("rational", power).ball(flint.arb(gap * gap))
            found = certify(of_points(x, "rational", power), np.array([[0.0, 1.0], [1.0, 0.0]]))
            assert flint.arb(found.lower) <= exact <= flint.arb(found.upper)


@pytest.mark.claim("KG-13")
@pytest.mark.parametrize("declared", ["power", "lipschitz", "monotone"])
def test_what_a_function_of_the_users_own_adds_to_a_distance_is_in_the_error_of_weights(declared: str) -> None:
    more = {
        "power": {"power": 1e6, "lipschitz": named("rational", 1e6).lipschitz},
        "lipschitz": {"lipschitz": named("rational", 1e6).lipschitz}, "monotone": {},
    }[declared]  # fmt: skip
    plain = named("rational", 1e6)
    steep = Function("steep", plain.ball, plain.values, monotone="decreasing", shift=1.0, **more)
    x = np.random.default_rng(5).uniform(0.0, 1e-3, (12, 1))
    graph = of_points(x, steep)
    weight = graph.tile(slice(0, 12), slice(0, 12))
    shares = []
    with flint_context.bits(200):
        for i, j in zip(*np.triu_indices(12, 1), strict=True):
            gap = flint.fmpq(*x[i, 0].as_integer_ratio()) - flint.fmpq(*x[j, 0].as_integer_ratio())
            shares.append(float(abs(plain.ball(flint.arb(gap * gap)) / flint.arb(weight[i, j]) - 1).abs_upper()))
    assert 0.05 * graph.relative < max(shares) <= graph.relative


@pytest.mark.claim("KG-13")
@pytest.mark.parametrize(
    ("function", "parameter"), [("gaussian", 3.0), ("coulomb", 0.7), ("matern", 1.5), ("arc_cosine", 1)]
)
def test_a_graph_of_points_is_certified_as_its_matrix_in_balls_is(function: str, parameter: float) -> None:
    points = np.random.default_rng(0).standard_normal((12, 3))
    points /= np.linalg.norm(points, axis=1)[:, None]
    graph = cpu.kernel_graph.graph(points, function, parameter)
    f, exact = named(function, parameter), np.zeros((12, 12))
    for i in range(12):
        for j in range(12):
            if i != j:
                z = sum(
                    ((flint.arb(a) - flint.arb(b)) ** 2 for a, b in zip(points[i], points[j], strict=True)),
                    flint.arb(0),
                )
                ball = f.ball(z)
                exact[i, j] = float(ball.mid())
                error = abs(graph.tile(slice(i, i + 1), slice(j, j + 1))[0, 0] - exact[i, j])
                assert error <= graph.relative * exact[i, j] + graph.absolute
    h = scipy_sparse.csr_array(np.maximum(exact, exact.T) * (weights(12, 5, 0.5) > 0))
    low, high = truth(exact, h.toarray())
    found = certify(graph, h)
    assert found.lower <= low * (1 + 1e-9)
    assert high * (1 - 1e-9) <= found.upper <= high * (1 + 1e-2)


def test_wrong_matrices_are_refused_by_name() -> None:
    g = weights(5, 0)
    loops, bent = g + np.eye(5), np.triu(g)
    for wrong, words in (
        (g[:4], "shape"), (loops, "loop"), (bent, "symmetric"), (laplacian(g), "negative"), (g * np.nan, "NaN"),
        (weights(6, 0), "6 nodes"),
    ):  # fmt: skip
        with pytest.raises(InvalidInstance, match=words):
            certify(g, wrong)
