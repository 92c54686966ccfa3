"""Products with kernel graphs: the instance, the definition against others, and the laws."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import flint
import mpmath
import numpy as np
import pytest
import sympy
from mpmath import mp

from assay.spec.enclosure import ArbArithmetic, DoubleDoubleBall, Float64Ball
from assay.spec.flint_context import bits
from assay.spec.kernel_graph import LAWS, Function, Instance, define, load, named, symbolic
from assay.spec.kernel_graph.connected import first_component
from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Array = NDArray[Any]

FUNCTIONS: tuple[tuple[str, float], ...] = (
    ("gaussian", 0.75), ("laplacian", 1.5), ("rational", 1.5), ("coulomb", 0.5), ("coulomb", 2.0), ("matern", 0.5),
    ("matern", 1.5), ("matern", 2.5), ("inverse_multiquadric", 2.0), ("polynomial", 3.0), ("arc_cosine", 0.0),
    ("arc_cosine", 1.0), ("arc_cosine", 2.0), ("threshold", 2.5),
)  # fmt: skip


def points_of(function: str, rng: np.random.Generator, n: int, d: int, dtype: Any = np.float64) -> Array:
    x = rng.standard_normal((n, d))
    return (x / np.linalg.norm(x, axis=1, keepdims=True) if function == "arc_cosine" else x).astype(dtype)


def drawn(function: str = "gaussian", parameter: float = 0.75, seed: int = 0, **options: Any) -> Instance:
    rng = np.random.default_rng(seed)
    n, d, dtype = options.pop("n", 7), options.pop("d", 3), options.pop("dtype", np.float64)
    x = points_of(function, rng, n, d, dtype)
    if options.pop("targets", False):
        options["targets"] = points_of(function, rng, 5, d, dtype)
    vectors = rng.standard_normal((n, 2)).astype(dtype)
    return Instance(x, vectors, function=function, parameter=parameter, **options)


def by_mpmath(function: str, p: float, z: Any) -> Any:
    """f(z), written down anew from the definitions of the papers."""
    p = mpmath.mpf(p)
    if function == "gaussian":
        return mp.e ** (-p * z)
    if function == "laplacian":
        return mp.e ** (-p * mp.sqrt(z))
    if function == "rational":
        return 1 / (1 + z) ** p
    if function == "coulomb":
        return 1 / z**p
    if function == "matern":  # Rasmussen and Williams (4.14) in place of the closed forms
        r = mp.sqrt(2 * p * z)
        return mpmath.mpf(1) if r == 0 else 2 ** (1 - p) / mp.gamma(p) * r**p * mp.besselk(p, r)
    if function == "inverse_multiquadric":
        return 1 / mp.sqrt(1 + p * z)
    if function == "polynomial":
        return z**p
    if function == "threshold":
        return mpmath.mpf(z <= p)
    u = 1 - z / 2
    kappa = {0: lambda: 1 - mp.acos(u) / mp.pi, 1: lambda: (mp.sqrt(1 - u * u) + u * (mp.pi - mp.acos(u))) / mp.pi}
    return u * kappa[0]() + kappa[1]() if p == 2 else kappa[int(p)]()


def sums(instance: Instance, digits: int = 60) -> list[list[Any]]:
    """The output by the sum that defines it, in mpmath."""
    with mp.workdps(digits):
        x = [[mpmath.mpf(c) for c in row] for row in instance.points.astype(float).tolist()]
        given = instance.targets
        y = x if given is None else [[mpmath.mpf(c) for c in row] for row in given.astype(float).tolist()]
        v = [[mpmath.mpf(c) for c in row] for row in instance.vectors.astype(float).tolist()]
        out = []
        for i, row in enumerate(y):
            total = [mpmath.mpf(0)] * len(v[0])
            for j, other in enumerate(x):
                own = given is None and i == j
                z = mp.fsum((a - b) ** 2 for a, b in zip(row, other, strict=True))
                w = mpmath.mpf(instance.diagonal) if own else by_mpmath(str(instance.function), instance.parameter, z)
                for c in range(len(total)):
                    total[c] += w * ((v[i][c] - v[j][c]) if instance.laplacian else v[j][c])
            out.append(total)
        return out


# --- the instance -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_an_instance_is_saved_and_loaded_bit_exactly(dtype: str, tmp_path: Path) -> None:
    for options in ({"targets": True}, {"laplacian": True}, {"diagonal": 0.1}):
        instance = drawn("laplacian", 0.1, dtype=dtype, **options)
        instance.save(tmp_path / "x.npz")
        assert load(tmp_path / "x.npz").digest() == instance.digest()


@pytest.mark.parametrize(
    ("words", "options"),
    [
        (r"function: 'gauss', expected a Function or one of gaussian, laplacian", {"function": "gauss"}),
        (r"function: int, expected a name or a Function", {"function": 3}),
        (r"parameter: -1.0, expected a number > 0 for gaussian", {"parameter": -1.0}),
        (r"parameter: 2.0, expected 0.5, 1.5 or 2.5 for matern", {"function": "matern", "parameter": 2.0}),
        (r"parameter: 1.5, expected a whole number from 1 to 8", {"function": "polynomial", "parameter": 1.5}),
        (r"laplacian: True, expected False with targets", {"laplacian": True, "targets": np.zeros((1, 3))}),
        (r"diagonal: 2.0, expected 0 with laplacian", {"laplacian": True, "diagonal": 2.0}),
        (r"diagonal: 2.0, expected 0 with targets", {"diagonal": 2.0, "targets": np.zeros((1, 3))}),
        (r"points: norm .* in row 0, expected points on the unit sphere", {"function": "arc_cosine", "parameter": 1.0}),
        (r"targets: dtype float32, expected float64", {"targets": np.zeros((1, 3), np.float32)}),
    ],
)
def test_what_is_no_instance_is_refused_in_one_line(words: str, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidInstance, match=words):
        drawn().replace(**options)


def test_negative_weights_make_no_graph() -> None:
    tangent = drawn("arc_cosine", 2.0)
    assert define(tangent).midpoint.shape == (7, 2)
    with pytest.raises(InvalidInstance, match="negative weights"):
        tangent.replace(laplacian=True)


def test_points_that_coincide_are_refused_with_their_indices_where_f_is_infinite() -> None:
    x = np.arange(8.0).reshape(8, 1)
    x[6] = x[2]
    with pytest.raises(InvalidInstance, match="points: 2 and 6 are equal"):
        Instance(x, x, function="coulomb")
    with pytest.raises(InvalidInstance, match="targets: 1 equals point 2"):
        Instance(x, x, function="coulomb", targets=np.array([[0.5], [2.0]]))
    zeros = np.array([[0.0], [-0.0]])
    with pytest.raises(InvalidInstance, match="points: 0 and 1 are equal"):
        Instance(zeros, zeros, function="coulomb")
    assert Instance(x, x, function="coulomb", targets=np.array([[0.5]])).points is x  # points may coincide there
    assert Instance(x, x, function="gaussian").points is x


def test_smaller_instances_are_instances_and_become_small() -> None:
    for options in ({"targets": True}, {"laplacian": True}, {"diagonal": 0.5}):
        instance = drawn("matern", 2.5, **options)
        assert min(smaller.size() for smaller in instance.smaller()) < instance.size() / 2


def test_a_function_of_the_users_own_is_used_and_told_but_never_saved(tmp_path: Path) -> None:
    mine = Function("mine", lambda z: (-z).exp() / 2, lambda z: np.exp(-z) / 2, monotone="decreasing")
    other = Function("mine", lambda z: (-z).exp() / 3, lambda z: np.exp(-z) / 3, monotone="decreasing")
    instance = drawn(parameter=1.0)
    own = instance.replace(function=mine)
    assert "function mine (a Function)" in own.describe()
    assert np.abs(2 * define(own).midpoint - define(instance).midpoint).max() < 1e-14
    assert own.digest() == instance.replace(function=mine).digest()
    assert own.digest() not in (instance.digest(), instance.replace(function=other).digest())
    with pytest.raises(InvalidInstance, match=r"function: 'mine', a Function of your own, .*: a file holds no code"):
        own.save(tmp_path / "x.npz")
    assert not list(tmp_path.iterdir())


def test_a_function_that_is_not_monotone_needs_bounds() -> None:
    with pytest.raises(ValueError, match="extent: None"):
        Function("wave", lambda z: z.cos(), np.cos)
    with pytest.raises(ValueError, match="monotone: 'up'"):
        Function("wave", lambda z: z.cos(), np.cos, monotone="up")


# --- the functions ----------------------------------------------------------------------------------------------------


@pytest.mark.claim("KTOL-5")
@pytest.mark.parametrize(("name", "p"), FUNCTIONS)
def test_balls_values_and_bounds_of_a_function_are_those_of_mpmath(name: str, p: float) -> None:
    f = named(name, p)
    z = np.array([1e-12, 1e-3, 0.25, 1.0, 2.0, 2.5, 3.0, 3.99, 3.999999])
    with mp.workdps(60), bits(200):
        exact = [by_mpmath(name, p, mpmath.mpf(x)) for x in z.tolist()]
        for x, value in zip(z.tolist(), exact, strict=True):
            ball = f.ball(flint.arb(x))
            assert abs(mpmath.mpf(ball.mid().str(55, radius=False)) - value) <= mpmath.mpf(10) ** -40 * (1 + abs(value))
    assert np.abs(f(z) - np.array(exact, float)).max() <= 2.0**-49 * (np.abs(np.array(exact, float)).max() + f.terms)
    if f.arrays is not None:
        for arithmetic in (Float64Ball, DoubleDoubleBall):
            middle, radius = f.arrays(arithmetic.exact(z)).rounded()
            with mp.workdps(60):
                off = [abs(mpmath.mpf(float(m)) - e) for m, e in zip(middle, exact, strict=True)]
            assert all(o <= mpmath.mpf(float(r)) for o, r in zip(off, radius, strict=True))
            assert (radius <= 1e-12 * (1 + np.abs(middle)))[1:].all()


@pytest.mark.claim("KTOL-5")
@pytest.mark.parametrize(("name", "p"), FUNCTIONS)
def test_what_a_function_declares_of_itself_holds_on_a_grid(name: str, p: float) -> None:
    f = named(name, p)
    z = np.geomspace(1e-9, min(50.0, f.last), 400)
    value = f(z)
    if f.monotone is not None:
        assert (np.diff(value) * (1 if f.monotone == "increasing" else -1) >= -1e-15).all()
    assert f.weights == bool((value >= 0).all())
    for wide in (1e-6, 0.3, 3.0):
        low, high = f.between(z, z + wide)
        inside = f(z + wide * np.linspace(0, 1, 9)[:, None])
        assert (inside >= low - 1e-14).all()
        assert (inside <= high + 1e-14).all()
    if f.lipschitz is not None:
        logs = np.abs(np.diff(np.log(value))) / np.diff(np.log(z))
        assert (logs <= f.lipschitz(z[:-1], z[1:]) * (1 + 1e-6) + 1e-6).all()
        assert (logs >= 0.3 * f.lipschitz(z[:-1], z[1:]) - 0.6).all()  # and is of the right size
    if f.singular_at_zero:
        assert math.isinf(f.at_zero)
    else:
        exact = {"polynomial": 0.0, "arc_cosine": 2.0 if p == 2 else 1.0}.get(name, 1.0)
        assert f.at_zero == pytest.approx(exact, abs=1e-15)


# --- KTOL-5: the definition against others ----------------------------------------------------------------------------


@pytest.mark.claim("KTOL-5")
@pytest.mark.parametrize(("name", "p"), FUNCTIONS)
@pytest.mark.parametrize("options", [{}, {"laplacian": True}, {"targets": True}, {"diagonal": -1.25}])
def test_the_definition_is_the_sum_of_mpmath_in_every_arithmetic(name: str, p: float, options: dict[str, Any]) -> None:
    if name == "arc_cosine" and p == 2.0 and "laplacian" in options:
        return
    instance = drawn(name, p, **options)
    exact = sums(instance)
    size = 100 * (1 + np.abs(np.array(exact, float)).max())
    for relative, digits in ((1e-11, 10), (1e-24, 22), (1e-45, 40)):
        found = define(instance, relative)
        balls = found.balls
        for index in np.ndindex(found.shape):
            value = exact[index[0]][index[1]]
            with mp.workdps(60):
                assert abs(mpmath.mpf(float(found.midpoint[index])) - value) <= mpmath.mpf(float(found.radius[index]))
                if balls is not None:
                    with bits(300):
                        middle = mpmath.mpf(balls[index].mid().str(58, radius=False))
                    assert abs(middle - value) <= mpmath.mpf(10) ** -digits * size
        assert (found.radius <= (relative + 2.0**-52) * size).all()


@pytest.mark.claim("KTOL-5")
@pytest.mark.parametrize(("name", "p"), [(name, p) for name, p in FUNCTIONS if name != "arc_cosine"])
def test_the_symbolic_form_is_inside_the_enclosure(name: str, p: float) -> None:
    rng = np.random.default_rng(1)
    x = rng.integers(-4, 5, (3, 2)) / 2.0 + np.arange(3)[:, None] * 8
    instance = Instance(x, rng.integers(-3, 4, (3, 1)) / 1.0, function=name, parameter=p)
    for options in ({}, {"laplacian": True}, {"diagonal": 0.5}):
        changed = instance.replace(**options)
        found = define(changed, 1e-25)
        for index, expression in np.ndenumerate(symbolic(changed)):
            value = sympy.N(expression, 50)
            assert abs(sympy.Rational(float(found.midpoint[index])) - value) <= sympy.Rational(
                float(found.radius[index])
            )


def test_the_symbolic_arc_cosine_is_that_of_right_angles() -> None:
    x = np.eye(2)
    for order, value in ((0.0, sympy.Rational(1, 2)), (1.0, 1 / sympy.pi), (2.0, 1 / sympy.pi)):
        found = symbolic(Instance(x, np.ones((2, 1)), function="arc_cosine", parameter=order))[0, 0]
        assert sympy.simplify(found - value) == 0
    with pytest.raises(ValueError, match="symbolic: "):
        symbolic(drawn(n=70))


@pytest.mark.claim("KTOL-5")
def test_entries_that_float64_cannot_hold_are_still_certain() -> None:
    """Weights of e^-3000, and of 2^±1400 that a vector brings back."""
    x = np.array([[0.0], [1.0], [60.0]])
    tiny = define(Instance(x[1:], np.ones((2, 1)), function="gaussian"))
    assert (tiny.midpoint >= 0).all()
    assert (tiny.radius <= 2.0**-1050).all()
    huge = Instance(x[:2] * 2.0**-600, np.full((2, 1), 2.0**-700), function="coulomb", parameter=1.0)
    assert define(huge).midpoint[0, 0] == 2.0**500
    with pytest.raises(InvalidInstance, match="expected at most 2\\^1024"):
        define(huge.replace(vectors=np.ones((2, 1)), parameter=2.0))


@pytest.mark.claim("KTOL-5")
def test_a_distance_at_a_threshold_is_decided() -> None:
    x = np.array([[0.0, 0.0], [3.0, 4.0], [3.0, np.nextafter(4.0, 5.0)], [3.0, np.nextafter(4.0, 3.0)]])
    found = define(Instance(x, np.eye(4), function="threshold", parameter=25.0))
    assert found.midpoint[0].tolist() == [0.0, 1.0, 0.0, 1.0]
    assert (found.radius < 1e-12).all()


def test_an_unknown_output_or_accuracy_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown output 'x'"):
        define(drawn(), output="x")
    with pytest.raises(ValueError, match=r"relative: 0\.0"):
        define(drawn(), 0.0)


def test_a_graph_that_hangs_together_by_one_weight_is_one() -> None:
    x = np.array([[0.0], [1.0], [37.0], [38.0]])
    assert first_component(named("gaussian", 0.5), x).all()
    assert first_component(named("gaussian", 1.0), x).tolist() == [True, True, False, False]


# --- KTOL-4: the laws -------------------------------------------------------------------------------------------------


def applicable(law: str) -> list[Instance]:
    every = itertools.product(FUNCTIONS, ({}, {"laplacian": True}, {"targets": True}, {"diagonal": -1.25}))
    found = []
    for (name, p), options in every:
        if name == "arc_cosine" and p == 2.0 and "laplacian" in options:
            continue
        instance = drawn(name, p, **options)
        rounded = (
            instance
            if name == "arc_cosine"
            else instance.replace(
                points=np.rint(16 * instance.points) / 16, vectors=np.rint(16 * instance.vectors) / 16
            )
        )
        found.append(rounded)
    return [*found, drawn("inverse_multiquadric", 1.0), drawn("laplacian", 1.0), drawn("rational", 0.5)]


@pytest.mark.claim("KTOL-4")
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.id)
def test_a_law_holds_of_the_definition_wherever_it_applies(law: Any) -> None:
    applied = 0
    for instance in applicable(law.id):
        transformed = law.transform(instance, np.random.default_rng(0))
        if not transformed:
            continue
        applied += 1
        outputs = [define(other, 1e-14) for other in transformed]
        (prediction,) = law.relate(instance, transformed, tuple({"output": e.midpoint} for e in outputs)).values()
        value = define(instance, 1e-14)
        allowed = value.radius + sum(
            w * (e.radius + 1e-15 * np.abs(e.midpoint)) for w, e in zip(prediction.weights, outputs, strict=True)
        )
        size = np.abs(value.midpoint) + sum(
            np.abs(w * e.midpoint) for w, e in zip(prediction.weights, outputs, strict=True)
        )
        assert (np.abs(prediction.value - value.midpoint) <= allowed + 1e-14 * (1 + size)).all()
        assert len(prediction.weights) == len(transformed)
    assert applied >= 2


@pytest.mark.claim("KTOL-4")
def test_the_matrix_is_symmetric_and_its_laplacian_positive() -> None:
    for name, p in FUNCTIONS[:10]:
        graph = drawn(name, p)
        identity = graph.replace(vectors=np.eye(7))
        matrix = define(identity)
        assert (np.abs(matrix.midpoint - matrix.midpoint.T) <= matrix.radius + matrix.radius.T).all()
        laplacian = define(identity.replace(laplacian=True)).midpoint
        assert np.linalg.eigvalsh(laplacian)[0] > -1e-10 * np.abs(laplacian).max()


@pytest.mark.claim("ENC-14")
@pytest.mark.parametrize("low", [0.0, 1e-300, 1e-20, 1e-3, 1.0, 7.0, 1e200])
def test_a_square_root_of_balls_holds_every_root(low: float) -> None:
    rng = np.random.default_rng(3)
    x = low * (1 + rng.random(50))
    rad = np.where(np.arange(50) % 3 == 0, 0.0, x * 10.0 ** -rng.integers(0, 20, 50))
    rad[-1] = 2 * x[-1]
    for balls, unit in ((Float64Ball(x, rad), 2.0**-52), (DoubleDoubleBall(x, x * 2.0**-60, rad), 2.0**-99)):
        root = balls.sqrt()
        exact = balls.full()
        found = root.full()
        with bits(500):
            for a, b, r in zip(exact, found, rad.tolist(), strict=True):
                for end in (a.lower(), a.upper()):
                    assert bool(b.contains(end.max(0).sqrt()))
                if r == 0.0 and a.mid() > 1e-200:
                    assert b.rad() <= flint.arb(unit) * b.mid()
    exact_root = ArbArithmetic(200).exact(np.array([2.0])).sqrt().full()[0]
    with bits(200):
        assert abs(exact_root * exact_root - 2) < 1e-50
    assert DoubleDoubleBall.exact(np.zeros(1)).sqrt().rounded()[1][0] == 0.0
    assert Float64Ball.exact(np.zeros(1)).sqrt().rounded()[1][0] <= 2.0**-1073
