"""Solves with kernel graphs: the definition against others, and the certified error in energy."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import sympy

from assay.spec.flint_context import bits
from assay.spec.kernel_graph.distances import reach
from assay.spec.kernel_graph.spectral import pair_weights, spread, weight_error
from assay.spec.kernel_graph.tolerance import entries
from assay.spec.kernel_graph_solve import (
    LAWS,
    PRECISIONS,
    Instance,
    criteria,
    define,
    energy_error,
    load,
    orthogonal,
    solved,
    symbolic,
    tolerance,
)
from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Array = NDArray[Any]

FUNCTIONS = (("gaussian", 3.0), ("laplacian", 1.5), ("coulomb", 0.5), ("polynomial", 2.0), ("arc_cosine", 1.0))


def drawn(function: str = "gaussian", p: float = 3.0, n: int = 9, dtype: Any = np.float64, seed: int = 0) -> Instance:
    rng = np.random.default_rng(seed)
    x = rng.random((n, 2))
    if function == "arc_cosine":
        x = (x - 0.5) / np.linalg.norm(x - 0.5, axis=1, keepdims=True)
    b = orthogonal(rng.standard_normal(n).astype(dtype))
    return Instance(x.astype(dtype), b, function=function, parameter=p, tolerance=1e-3)


def laplacian(instance: Instance) -> Array:
    x = instance.points.astype(float)
    z = ((x[:, None] - x) ** 2).sum(-1)
    np.fill_diagonal(z, 1.0)
    w = instance.weight()(z)
    np.fill_diagonal(w, 0.0)
    return np.diag(w.sum(1)) - w


def test_an_instance_is_saved_and_loaded_bit_exactly(tmp_path: Path) -> None:
    for dtype in (np.float64, np.float32, np.float16):
        instance = drawn(dtype=dtype)
        instance.save(tmp_path / "x.npz")
        assert load(tmp_path / "x.npz").digest() == instance.digest()


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_a_right_side_is_made_orthogonal_exactly_and_stays_near(dtype: Any) -> None:
    rng = np.random.default_rng(1)
    for n in (2, 3, 10, 100):
        b = (rng.standard_normal(n) * 10.0 ** rng.integers(-2, 3)).astype(dtype)
        found = orthogonal(b)
        assert found.dtype == dtype
        assert sum(map(Fraction, found.astype(float).tolist())) == 0
        middle = b.astype(float) - b.astype(float).mean()
        assert np.abs(found.astype(float) - middle).max() <= 16 * n * np.finfo(dtype).eps * np.abs(middle).max()


@pytest.mark.parametrize(
    ("words", "changes"),
    [
        ("right_side: its sum is 1, expected exactly 0", {"right_side": np.array([1.0, 0.0, 0.0])}),
        ("right_side: all of it is 0", {"right_side": np.zeros(3)}),
        (r"tolerance: 1.0, expected a number below 1", {"tolerance": 1.0}),
        ("function: 'arc_cosine', expected one whose values are never", {"function": "arc_cosine", "parameter": 2.0}),
        (r"points: 1 of 3 points, such as 2, have no path", {"points": np.array([[1.0, 0], [0, 1], [99, 0]])}),
    ],
)
def test_what_cannot_be_solved_is_refused_in_one_line(words: str, changes: dict[str, Any]) -> None:
    x = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    good = Instance(x, np.array([1.0, 0.0, -1.0]), function="gaussian", tolerance=0.5)
    with pytest.raises(InvalidInstance, match=words):
        good.replace(**changes)


def test_a_sum_of_0_whose_parts_are_beyond_float64_is_0() -> None:
    x = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, 0.0]])
    side = 1.7e308 * np.array([1.0, 1.0, -1.0, -1.0])
    assert Instance(x, side, function="gaussian", tolerance=0.5).right_side is not None
    with pytest.raises(InvalidInstance, match="right_side: its sum is inf, expected exactly 0"):
        Instance(x, np.abs(side), function="gaussian", tolerance=0.5)


@pytest.mark.parametrize(
    ("number", "said"),
    [(np.nan, "nan, expected finite"), (-np.inf, "-inf, expected"), (1.7e308, "the sum of its numbers")],
)
def test_numbers_that_have_no_sum_are_refused_as_a_right_side(number: float, said: str) -> None:
    with pytest.raises(ValueError, match=f"^right_side: {said}"):
        orthogonal(np.array([number, number, 1.0]))


def test_smaller_instances_have_right_sides_that_are_orthogonal() -> None:
    found = list(drawn().smaller())
    assert min(len(smaller.points) for smaller in found) < 9
    assert all(sum(map(Fraction, smaller.right_side.tolist())) == 0 for smaller in found)


# --- KTOL-7 -----------------------------------------------------------------------------------------------------------


@pytest.mark.claim("KTOL-7")
@pytest.mark.parametrize(("function", "p"), FUNCTIONS)
def test_the_solution_is_that_of_numpy_and_of_exact_elimination(function: str, p: float) -> None:
    instance = drawn(function, p)
    found = define(instance, 1e-20)
    exact = np.linalg.pinv(laplacian(instance)) @ instance.right_side
    assert np.abs(found.midpoint - exact).max() <= 1e-9 * np.abs(exact).max()
    assert abs(found.midpoint.sum()) <= 1e-12 * np.abs(exact).max()


@pytest.mark.claim("KTOL-7")
def test_the_symbolic_solution_is_inside_the_enclosure() -> None:
    x = np.array([[0.0], [1.0], [3.0], [4.5]])
    instance = Instance(x, np.array([1.0, -2.0, 0.5, 0.5]), function="rational", parameter=1.0, tolerance=0.5)
    found = define(instance, 1e-25)
    for middle, radius, value in zip(found.midpoint, found.radius, symbolic(instance), strict=True):
        assert abs(sympy.Rational(float(middle)) - sympy.N(value, 50)) <= sympy.Rational(float(radius))


@pytest.mark.claim("KTOL-7")
@pytest.mark.parametrize(("function", "p"), FUNCTIONS)
def test_the_error_in_energy_is_between_its_bounds_whatever_is_added(function: str, p: float) -> None:
    instance = drawn(function, p)
    matrix, b = laplacian(instance), instance.right_side
    w, exact = pair_weights(instance), solved(instance, 1e-25)
    x = np.array([float(ball.mid()) for ball in exact.potentials])
    rng = np.random.default_rng(2)
    for size in (1e-6, 1e-3, 1.0):
        e = size * rng.standard_normal(len(x))
        true = np.sqrt(e @ matrix @ e / (b @ x))
        for constant in (0.0, 1000.0):
            low, high = energy_error(x + e + constant, w, exact)
            assert low <= true * (1 + 1e-6)
            assert high >= true * (1 - 1e-6)
            assert high - low <= 1e-6 * high
    assert energy_error(x, w, exact)[0] < 1e-12
    assert energy_error(np.full(len(x), np.nan), w, exact)[0] == np.inf
    assert energy_error(x[1:], w, exact)[0] == np.inf


@pytest.mark.claim("KTOL-7")
@pytest.mark.parametrize("name", ["float64", "float32", "float32-given"])
@pytest.mark.parametrize(("function", "p"), FUNCTIONS)
def test_a_correct_solve_with_the_weights_of_its_class_is_never_blamed(function: str, p: float, name: str) -> None:
    machine = PRECISIONS[name]
    dtype = np.dtype(machine.storage)
    for seed in range(3):
        instance = drawn(function, p, 12, dtype, seed)
        x = instance.points
        z = ((x[:, None] - x) ** 2).sum(-1, dtype=dtype)
        np.fill_diagonal(z, 1)
        w = instance.weight()(z).astype(dtype).astype(float)
        np.fill_diagonal(w, 0)
        right = np.linalg.pinv(np.diag(w.sum(1)) - w) @ instance.right_side.astype(float)
        held = criteria(instance, name)["x"]
        for t in (0.0, instance.tolerance):
            # an error in energy of just the tolerance of the instance, in any direction
            rng = np.random.default_rng(seed)
            e = rng.standard_normal(len(x))
            matrix = np.diag(w.sum(1)) - w
            e *= t * np.sqrt((right @ matrix @ right) / (e @ matrix @ e))
            for constant in (0.0, -float((right + e)[0])):
                assert float(held.ratio((right + e + constant).astype(dtype))) <= 1.0
            if t and (function != "arc_cosine" or name == "float64"):  # angles of near points are not known in float32
                assert float(held.ratio((right + e).astype(dtype))) > 0.9
                assert float(held.ratio((right + 1.5 * e).astype(dtype))) > 1.0


@pytest.mark.claim("KTOL-7")
def test_solutions_that_are_wrong_are_blamed_whatever_the_condition_number() -> None:
    """Two far clusters: the condition number is 10^20, and the energy hardly sees how far apart they are held."""
    x = np.array([[0.0], [0.1], [6.8], [6.9]])
    instance = Instance(x, np.array([1.0, -1.0, 0.5, -0.5]), function="gaussian", parameter=1.0, tolerance=1e-8)
    held = criteria(instance, "float64")["x"]
    exact = define(instance).midpoint
    assert float(held.ratio(exact)) <= 1.0
    assert float(held.ratio(exact * (1 + 1e-7))) > 5.0
    assert float(held.ratio(exact + np.array([0.0, 0.0, 1.0, 1.0]))) <= 1.0
    across = instance.replace(right_side=np.array([1.0, 0.0, -1.0, 0.0]))
    assert float(tolerance(across, "float64")) > 1e-7  # fewer digits of a difference in a cluster fit into float64
    assert define(across).midpoint[0] > 1e18
    near = solved(across, 2.0**-40).potentials  # of far clusters too the differences within one are known
    with bits(300):
        assert abs(near[0] - near[1]).rad() < 1e-9
    assert float(held.ratio(-exact)) > 1e6


def test_an_unknown_output_class_or_accuracy_is_refused() -> None:
    for call in (lambda: define(drawn(), output="y"), lambda: tolerance(drawn(), "float32", "y")):
        with pytest.raises(ValueError, match="unknown output 'y'"):
            call()
    with pytest.raises(ValueError, match="relative: 2"):
        define(drawn(), 2.0)
    with pytest.raises(InvalidInstance, match="points: 600, expected at most 512"):
        criteria(drawn(n=600), "float64")


# --- KTOL-6 -----------------------------------------------------------------------------------------------------------


@pytest.mark.claim("KTOL-6")
def test_a_resistance_is_at_most_the_spread_of_a_tree() -> None:
    rng = np.random.default_rng(3)
    for n in (2, 3, 8):
        w = rng.random((n, n)) ** 8
        w = np.triu(w, 1) + np.triu(w, 1).T
        inverse = np.linalg.pinv(np.diag(w.sum(1)) - w)
        resistance = np.diag(inverse)[:, None] + np.diag(inverse) - 2 * inverse
        assert resistance.max() <= spread(w) * (1 + 1e-9)
    assert spread(np.zeros((2, 2))) == np.inf


@pytest.mark.claim("KTOL-6")
@pytest.mark.parametrize("name", ["float64", "float32", "float32-expansion"])
@pytest.mark.parametrize(
    ("function", "p"), [("gaussian", 3.0), ("gaussian", 60.0), ("laplacian", 2.0), ("coulomb", 1.0)]
)
def test_weights_that_err_as_a_class_allows_make_forms_that_err_by_no_more(function: str, p: float, name: str) -> None:
    machine = PRECISIONS[name]
    instance = drawn(function, p, 10, np.dtype(machine.storage))
    x = instance.points.astype(float)
    other = ~np.eye(10, dtype=bool)
    _, h, _ = entries(instance.weight(), reach(x, x, machine), machine, other)
    w = pair_weights(instance)
    eta = weight_error(instance, machine, w)
    rng = np.random.default_rng(4)
    h = np.where(other, np.maximum(h, h.T), 0.0)
    matrix = laplacian(instance)
    values, basis = np.linalg.eigh(matrix)
    basis = basis[:, 1:] / np.sqrt(values[1:])
    for signs in (np.ones((10, 10)), -np.ones((10, 10)), rng.choice([-1.0, 1.0], (10, 10))):
        change = h * (np.triu(signs, 1) + np.triu(signs, 1).T)
        form = basis.T @ (np.diag(change.sum(1)) - change) @ basis
        assert np.abs(np.linalg.eigvalsh(form)).max() <= eta * (1 + 1e-3)
    assert eta < 1e-2


# --- KTOL-9: the laws -------------------------------------------------------------------------------------------------


def coarse(function: str, p: float, n: int = 7) -> Instance:
    """An instance whose coordinates are multiples of 1/16, so that points can be moved exactly."""
    instance = drawn(function, p, n)
    points = instance.points if function == "arc_cosine" else np.rint(16 * instance.points) / 16
    return instance.replace(points=points)


LAWFUL = (
    *FUNCTIONS, ("inverse_multiquadric", 1.0), ("rational", 0.5), ("matern", 0.5), ("laplacian", 1.0),
    ("threshold", 2.0),
)  # fmt: skip


@pytest.mark.claim("KTOL-9")
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.id)
def test_a_law_holds_of_the_definition_wherever_it_applies(law: Any) -> None:
    applied = 0
    for function, p in LAWFUL:
        instance = coarse(function, p)
        transformed = law.transform(instance, np.random.default_rng(1))
        if not transformed:
            continue
        applied += 1
        outputs = [define(other, 1e-15).midpoint for other in transformed]
        (prediction,) = law.relate(instance, transformed, tuple({"x": x} for x in outputs)).values()
        size = sum((np.abs(w) * np.abs(x).max() for w, x in zip(prediction.weights, outputs, strict=True)), np.zeros(7))
        assert len(prediction.weights) == len(transformed)
        assert (np.abs(prediction.value - define(instance, 1e-15).midpoint) <= 1e-14 * size).all()
        assert any(other.digest() != instance.digest() for other in transformed)
    assert applied >= 2


@pytest.mark.claim("KTOL-9")
def test_a_law_of_solves_says_nothing_where_a_number_would_be_rounded() -> None:
    laws = {law.id: law for law in LAWS}
    thirds = coarse("gaussian", 3.0).replace(points=drawn("gaussian", 3.0, 7).points / 3)
    assert laws["translate"].transform(thirds, np.random.default_rng(0)) == ()
    small = coarse("gaussian", 3.0).replace(right_side=np.array([1.0, -1.0, 0, 0, 0, 0, 0]) * 2.0**-1074)
    assert any(laws["power"].transform(small, np.random.default_rng(seed)) == () for seed in range(8))
    wide = coarse("gaussian", 3.0, 3).replace(right_side=np.array([2.0**60, 256.0 - 2.0**60, -256.0]))
    for seed in range(8):
        for part in laws["sum"].transform(wide, np.random.default_rng(seed)):
            assert sum(map(Fraction, part.right_side.tolist())) == 0


@pytest.mark.claim("KTOL-9")
def test_the_potential_of_one_current_in_another_is_that_of_the_other_in_the_one() -> None:
    for function, p in FUNCTIONS:
        one, other = coarse(function, p), coarse(function, p)
        other = other.replace(right_side=orthogonal(np.random.default_rng(9).standard_normal(7)))
        x, y = define(one, 1e-15).midpoint, define(other, 1e-15).midpoint
        assert np.isclose(other.right_side @ x, one.right_side @ y, rtol=1e-12)
