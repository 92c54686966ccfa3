"""Points, parameters, vectors and requests at the ends of float64: a sound result, or one clear line."""

from __future__ import annotations

import math
from typing import Any

import flint
import numpy as np
import pytest

from assay.impl.cpu import kernel_graph
from assay.impl.cpu.kernel_graph import gaussians
from assay.spec import flint_context
from assay.spec.approximation import Infeasible, certified_error
from assay.spec.kernel_graph import Instance, define
from assay.spec.problem import InvalidInstance

pytest.importorskip("scipy")
pytest.importorskip("numba")
TINY, HUGE = 5e-324, 1.7e308


def require_one_line(reason: Exception) -> None:
    assert "\n" not in str(reason)


@pytest.mark.claim("KG-18")
@pytest.mark.parametrize(
    ("function", "parameter", "far"),
    [("coulomb", 1e-165, 1e200), ("laplacian", 1e-170, 1e160), ("inverse_multiquadric", 1e200, 1e75)],
)
@pytest.mark.parametrize("options", [{}, {"laplacian": True}, {"targets": np.array([[3e-3]])}])
def test_distances_whose_square_overflows_have_no_certificate(
    function: str, parameter: float, far: float, options: dict[str, Any]
) -> None:
    """f of an infinite number is 0, and f of the distance is not."""
    x = np.array([[0.0], [far], [-far]])
    with pytest.raises(Infeasible, match="too far from each other"):
        kernel_graph.multiply(x, np.ones((3, 1)), function=function, parameter=parameter, error=1e-3, **options)


def test_a_graph_whose_weights_overflow_on_the_way_is_refused() -> None:
    x = np.array([[0.0], [1e54], [2e54]])
    for call in (
        kernel_graph.graph,
        lambda x, f, p: kernel_graph.solve(x, np.array([1.0, 0, -1]), function=f, parameter=p),
    ):
        with pytest.raises(InvalidInstance, match="too far from each other"):
            call(x, "inverse_multiquadric", 1e200)


@pytest.mark.claim("KG-18")
@pytest.mark.parametrize("route", ["direct", None])
def test_a_threshold_below_the_normal_numbers_is_certified(route: str | None) -> None:
    x = np.array([[0.0], [1e-155], [2.5e-155], [1e-154], [1.0]])
    for parameter in (1e-310, 2.25e-310, math.nextafter(0.0, 1.0), 0.0):
        for options in ({}, {"laplacian": True}, {"targets": 0.5 * x}):
            instance = Instance(x, np.ones((5, 1)), function="threshold", parameter=parameter, **options)
            found = kernel_graph.multiply(
                x, np.ones((5, 1)), function="threshold", parameter=parameter, error=9.0, route=route, **options
            )
            off = define(instance, 1e-20).ratio(found.value, np.broadcast_to(found.error, found.value.shape))
            assert float(off.max()) <= 1.0


@pytest.mark.claim("KG-16")
@pytest.mark.parametrize("size", [1e-300, 1e-155, 1e-120, 1e250])
@pytest.mark.parametrize("scale", [1.0, 3e-50, 2e50])
def test_a_right_side_of_any_size_has_bounds_that_hold(size: float, scale: float) -> None:
    """Squares of its residual would underflow: the bounds of its error may not be 0 for it."""
    x = scale * np.array([[0.0, 0.0], [1.0, 0.3], [0.2, 1.1]])
    b = np.array([1.0, 0.5, -1.5]) * 2.0 ** round(math.log2(size))
    found = kernel_graph.solve(x, b, function="coulomb", parameter=1.5, tolerance=0.9, preconditioner="truncated")
    if not found.certified:  # potentials that float64 does not hold
        assert not 1e-300 < size * scale**3 < 1e300
        return
    weights = kernel_graph.graph(x, "coulomb", 1.5).tile(slice(0, 3), slice(0, 3))
    with flint_context.bits(300):
        w = [[flint.arb(a) for a in row] for row in weights.tolist()]
        matrix = flint.arb_mat([[w[0][1] + w[0][2], -w[0][1]], [-w[0][1], w[0][1] + w[1][2]]])
        exact = [*matrix.solve(flint.arb_mat([[flint.arb(b[0])], [flint.arb(b[1])]])).entries(), flint.arb(0)]
        off = [flint.arb(value) - ball for value, ball in zip(found.value.tolist(), exact, strict=True)]

        def energy(y: list[Any]) -> Any:
            return sum((w[i][j] * (y[i] - y[j]) ** 2 for i, j in ((0, 1), (0, 2), (1, 2))), flint.arb(0))

        true = float((energy(off) / energy(exact)).sqrt().mid())
    assert found.least * (1 - 1e-9) <= true <= found.error * (1 + 1e-9)


@pytest.mark.parametrize(
    ("function", "parameter", "low", "high"),
    [
        ("coulomb", TINY, 0.1, 1.0), ("coulomb", 1e6, 0.1, 1.0), ("coulomb", HUGE, 0.1, 1.0),
        ("rational", 1e-308, 0.0, 1.0), ("rational", HUGE, 0.0, 1.0), ("inverse_multiquadric", TINY, 0.0, 1.0),
        ("inverse_multiquadric", HUGE, 0.0, 1e-300), ("laplacian", 1e-200, 0.1, 1.0), ("laplacian", 1e200, 0.1, 1.0),
        ("matern", 0.5, 0.1, 1e300), ("matern", 2.5, 1e-320, 1e-300),
    ],
)  # fmt: skip
def test_a_mixture_that_leaves_float64_is_refused_in_one_line(
    function: str, parameter: float, low: float, high: float
) -> None:
    try:
        made = gaussians.mixture(function, parameter, low, high, 1e-3)
    except Infeasible as reason:
        require_one_line(reason)
    else:
        assert np.isfinite(made.rates + made.masses).all()
        assert made.lost <= 1e-3


@pytest.mark.parametrize(
    ("function", "parameter", "scale", "error"),
    [
        ("gaussian", TINY, 1e250, 1e-3), ("gaussian", HUGE, 1e-160, 1e-3), ("rational", HUGE, 1.0, 1e-3),
        ("rational", 1e99, 1e-60, 1e-3), ("inverse_multiquadric", HUGE, 1.0, 1e-3), ("coulomb", TINY, 1e-80, TINY),
        ("laplacian", 1.0, 1e-200, 1e-3), ("polynomial", 8, 1e40, 1e-3), ("rational", 0.5, 1.0, TINY),
        ("matern", 1.5, 1e155, HUGE),
    ],
)  # fmt: skip
def test_extremes_of_products_are_certified_or_refused_in_one_line(
    function: str, parameter: float, scale: float, error: float
) -> None:
    x = scale * np.random.default_rng(3).random((6, 2))
    given = {"function": function, "parameter": parameter}
    for route in (None, *kernel_graph.ROUTES):
        try:
            found = kernel_graph.multiply(x, np.ones((6, 1)), error=error, route=route, **given)
        except (Infeasible, InvalidInstance) as reason:
            require_one_line(reason)
            continue
        exact = define(Instance(x, np.ones((6, 1)), **given), 1e-20)
        assert float(exact.ratio(found.value, np.broadcast_to(found.error, (6, 1))).max()) <= 1.0
    for make in (kernel_graph.adjacency, kernel_graph.laplacian):
        try:
            make(x, error=min(error, 0.5), **given)
        except (Infeasible, InvalidInstance) as reason:
            require_one_line(reason)


def test_extremes_of_graphs_are_answered_or_refused_in_one_line() -> None:
    x = np.random.default_rng(4).random((6, 2))
    with pytest.raises(InvalidInstance, match="no nodes"):
        kernel_graph.certify(np.zeros((0, 0)), np.zeros((0, 0)))
    with pytest.raises(InvalidInstance, match="cannot be proved"):
        kernel_graph.sparsify(x, error=1e-200)
    with pytest.raises(InvalidInstance, match=r"beyond 2\^±2\^50"):
        kernel_graph.eliminate(np.array([[0.0], [1e17]]), function="matern", parameter=2.5, pairs=[(0, 1)])
    steep = kernel_graph.graph(1e-200 * x, "rational", 1e300)
    assert steep.relative == math.inf
    found = kernel_graph.certify(steep, np.ones((6, 6)) - np.eye(6))
    assert found.upper == math.inf
    twice = np.array([[0.0, 0.0], [0.0, 0.0], [1e-80, 0.0]])
    with pytest.raises((InvalidInstance, Infeasible)):
        kernel_graph.solve(
            twice, np.array([1.0, -1.0, 0.0]), function="polynomial", parameter=5, preconditioner="truncated"
        )


@pytest.mark.claim("APX-1")
def test_a_function_of_a_range_beyond_all_bits_has_no_certified_error_and_no_exception() -> None:
    assert certified_error(lambda x: (x * -1e300).exp(), [1.0], (0.0, 1.0), lambda x: x * 0 + 1) >= 0.9


@pytest.mark.claim("KG-6")
@pytest.mark.parametrize(
    ("far", "size", "error"),
    [(2.0**-70, 2.0**900, 1e-10), (700.0, 3 * 2.0**-1070, 1e-250), (700.0, 3 * 2.0**-1030, 1e-250)],
)
def test_a_polynomial_whose_coefficients_or_terms_underflow_is_within_its_certificate(
    far: float, size: float, error: float
) -> None:
    """(x − y)^16 of points that are near is no number, and neither are terms of vectors that are hardly any."""
    x, v = np.array([[0.0], [far], [0.475 * far]]), np.full((3, 1), size)
    options: dict[str, Any] = {"function": "polynomial", "parameter": 8.0}
    found = kernel_graph.multiply(x, v, error=error, route="polynomial", **options)
    assert (define(Instance(x, v, **options), 2.0**-60).least_error(found.value) <= found.error).all()
