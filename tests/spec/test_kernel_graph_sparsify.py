"""Sparsifiers of kernel graphs: what is certainly wrong with edges, and what is certainly right (KTOL-8)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from assay.spec.kernel_graph.spectral import Weights, pair_weights
from assay.spec.kernel_graph_sparsify import LAWS, Instance, criteria, define, interval, load, symbolic, tolerance
from assay.spec.kernel_graph_sparsify.forms import extremes, proved, quotient
from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Array = NDArray[Any]


def drawn(n: int = 12, function: str = "gaussian", p: float = 3.0, dtype: Any = np.float64, seed: int = 0) -> Instance:
    x = np.random.default_rng(seed).random((n, 2)).astype(dtype)
    return Instance(x, function=function, parameter=p, error=0.5)


def edges(instance: Instance) -> tuple[Array, Array, Array]:
    left, right = (define(instance, output=name).midpoint.astype(np.int64) for name in ("left", "right"))
    return left, right, define(instance).midpoint


def sampled(instance: Instance, share: float, seed: int) -> tuple[Array, Array, Array]:
    left, right, weight = edges(instance)
    kept = np.random.default_rng(seed).random(len(left)) < share
    return left[kept], right[kept], weight[kept] / share


def true_interval(instance: Instance, h: Array) -> tuple[float, float]:
    """The extreme quotients of the two forms, through the eigenvectors of the one."""
    left, right, weight = edges(instance)
    n = len(instance.points)
    g = np.zeros((n, n))
    g[left, right] = weight
    g = g + g.T
    values, basis = np.linalg.eigh(np.diag(g.sum(1)) - g)
    basis = basis[:, 1:] / np.sqrt(values[1:])
    found = np.linalg.eigvalsh(basis.T @ (np.diag(h.sum(1)) - h) @ basis)
    return float(found[0]), float(found[-1])


def matrix(n: int, found: tuple[Array, Array, Array]) -> Array:
    h = np.zeros((n, n))
    h[found[0], found[1]] = found[2]
    return h + h.T


def test_an_instance_is_saved_and_loaded_bit_exactly(tmp_path: Path) -> None:
    instance = drawn(dtype=np.float32).replace(seed=7)
    instance.save(tmp_path / "x.npz")
    assert load(tmp_path / "x.npz").digest() == instance.digest()


@pytest.mark.parametrize(
    ("words", "changes"),
    [
        (r"error: 1.0, expected a number below 1", {"error": 1.0}),
        (r"error: 0.0, expected a number > 0", {"error": 0.0}),
        (r"seed: -1, expected an integer from 0", {"seed": -1}),
        (r"points: 1 point, expected at least 2", {"points": np.zeros((1, 2))}),
        (r"points: 11 of 12 points, such as 1, have no path", {"parameter": 1e12}),
    ],
)
def test_what_cannot_be_sparsified_is_refused_in_one_line(words: str, changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInstance, match=words):
        drawn().replace(**changes)


def test_the_definition_is_every_edge_with_its_weight() -> None:
    instance = Instance(np.array([[0.0], [1.0], [3.0]]), function="rational", error=0.5)
    found = define(instance, 1e-20)
    for index, value in enumerate(symbolic(instance)):
        assert abs(float(value) - found.midpoint[index]) <= found.radius[index] + 1e-17
    assert float(criteria(instance, "float64")["form"].ratio(*edges(instance))) < 1e-9


@pytest.mark.parametrize(
    "wrong",
    [
        ([0, 1, 0], [1, 2, 3], [1.0, 1.0, 1.0]),  # out of range
        ([0, 1, 0], [1, 2, -1], [1.0, 1.0, 1.0]),
        ([0, 1, 2], [1, 2, 2], [1.0, 1.0, 1.0]),  # a loop
        ([0, 1, 2], [1, 2, 1], [1.0, 1.0, 1.0]),  # an edge twice
        ([0, 1], [1, 2], [1.0, np.nan]),
        ([0, 1], [1, 2], [1.0, np.inf]),
        ([0, 1, 0], [1, 2, 2], [1.0, 1.0, -0.1]),
        ([0, 1], [1, 2], [1, 1]),  # weights that are integers
        ([0.0, 1.0], [1.0, 2.0], [1.0, 1.0]),  # vertices that are none
        ([0, 1], [1, 2], [1.0]),
    ],
)
def test_what_is_no_graph_is_wrong_beyond_any_error(wrong: tuple[Any, Any, Any]) -> None:
    instance = Instance(np.array([[0.0], [1.0], [2.0]]), function="rational", error=0.5)
    assert float(criteria(instance, "float64")["form"].ratio(*map(np.array, wrong))) == np.inf
    assert interval(instance, *map(np.array, wrong)) == (0.0, np.inf)


@pytest.mark.claim("KTOL-8")
@pytest.mark.parametrize(
    ("function", "p"), [("gaussian", 3.0), ("gaussian", 40.0), ("coulomb", 1.0), ("laplacian", 2.0)]
)
def test_the_true_extremes_lie_between_what_is_found_and_what_is_proved(function: str, p: float) -> None:
    for seed in range(6):
        instance = drawn(16, function, p, seed=seed)
        for share in (0.4, 0.7, 1.0):
            found = sampled(instance, share, seed)
            h = matrix(16, found)
            low, high = true_interval(instance, h)
            least, most = extremes(h, pair_weights(instance), 0.5)
            a, b = interval(instance, *found)
            assert a <= low + 1e-9 * abs(low) + 1e-12
            assert b >= high * (1 - 1e-9)
            assert least >= low * (1 - 1e-7) - 1e-9
            assert most <= high * (1 + 1e-7)
            if low > 1e-3:  # and both are near the truth
                assert least <= low * (1 + 1e-6)
                assert a >= low * (1 - 1e-5)
            assert most >= high * (1 - 1e-6)
            assert b <= high * (1 + 1e-5)


@pytest.mark.claim("KTOL-8")
def test_a_graph_is_blamed_just_beyond_the_error_and_never_within() -> None:
    for seed in range(4):
        instance = drawn(20, seed=seed)
        found = sampled(instance, 0.8, seed)
        low, high = true_interval(instance, matrix(20, found))
        off = max(1.0 - low, high - 1.0)
        for factor, blamed in ((1.0 + 1e-6, False), (1.0 - 1e-6, True)):
            error = off * factor
            if 0.0 < error < 1.0:
                held = criteria(instance.replace(error=error), "float64")["form"]
                assert (float(held.ratio(*found)) > 1.0) is blamed


@pytest.mark.claim("KTOL-8")
def test_a_graph_that_falls_apart_is_blamed_by_a_cut() -> None:
    instance = drawn(9).replace(error=0.9)
    left, right, weight = edges(instance)
    kept = (left < 4) == (right < 4)
    assert float(criteria(instance, "float64")["form"].ratio(left[kept], right[kept], weight[kept])) > 1.1
    assert interval(instance, left[kept], right[kept], weight[kept])[0] == 0.0


@pytest.mark.claim("KTOL-8")
@pytest.mark.parametrize("bug", ["twice", "not rescaled", "one vertex", "a heavy edge"])
def test_a_planted_bug_of_a_sparsifier_is_found(bug: str) -> None:
    instance = drawn(20).replace(error=0.3)
    left, right, weight = edges(instance)
    if bug == "twice":
        weight = 2 * weight
    elif bug == "not rescaled":
        kept = np.random.default_rng(0).random(len(left)) < 0.5
        left, right, weight = left[kept], right[kept], weight[kept]
    elif bug == "one vertex":
        weight = np.where((left == 3) | (right == 3), 0.5, 1.0) * weight
    else:
        weight = weight + 40.0 * (np.arange(len(left)) == 5)
    assert float(criteria(instance, "float64")["form"].ratio(left, right, weight)) > 1.5


@pytest.mark.claim("KTOL-8")
@pytest.mark.parametrize("name", ["float32", "float32-expansion", "float64"])
def test_weights_and_their_rounding_in_a_class_are_paid_for(name: str) -> None:
    dtype = np.dtype(name.partition("-")[0])
    instance = drawn(14, dtype=dtype).replace(error=2.0**-20)
    left, right, weight = edges(instance)
    held = criteria(instance, name)["form"]
    for factor in (1 + 2.0**-20, 1 - 2.0**-20):
        assert float(held.ratio(left, right, (factor * weight).astype(dtype))) <= 1.0
    assert float(held.ratio(left, right, (1.001 * weight).astype(dtype))) > 1.0


@pytest.mark.claim("KTOL-8")
def test_a_quotient_is_between_its_bounds_and_nothing_false_is_proved() -> None:
    rng = np.random.default_rng(5)
    for n in (2, 3, 9):
        for _ in range(20):
            g, h = (np.triu(rng.random((n, n)) ** rng.integers(1, 6), 1) for _ in range(2))
            g, h = g + g.T, h + h.T
            weights = Weights(g, g)
            x = rng.standard_normal(n)
            low, high = quotient(x, h, weights)
            gap = (x[:, None] - x) ** 2
            assert low <= (h * gap).sum() / (g * gap).sum() <= high
            assert high <= low * (1 + 1e-12)
            a, b = proved(h, weights)
            assert a <= high
            assert b >= low
    unknown = Weights(np.zeros((2, 2)), np.array([[0.0, np.inf], [np.inf, 0.0]]))
    assert proved(np.array([[0.0, 1.0], [1.0, 0.0]]), unknown) == (0.0, np.inf)


def test_an_unknown_output_is_refused_and_large_instances_are_not_judged() -> None:
    for call in (lambda: define(drawn(), output="x"), lambda: tolerance(drawn(), "float32", "x")):
        with pytest.raises(ValueError, match="unknown output 'x'"):
            call()
    with pytest.raises(InvalidInstance, match="points: 2049, expected at most 2048"):
        criteria(drawn(2049), "float64")


# --- KTOL-9: the laws -------------------------------------------------------------------------------------------------


LAWFUL = (
    ("gaussian", 3.0), ("laplacian", 1.0), ("coulomb", 0.5), ("polynomial", 2.0), ("rational", 0.5),
    ("inverse_multiquadric", 1.0), ("matern", 0.5), ("threshold", 2.0),
)  # fmt: skip


def coarse(function: str, p: float) -> Instance:
    """An instance whose coordinates are multiples of 1/16, so that points can be moved exactly."""
    instance = drawn(9, function, p)
    return instance.replace(points=np.rint(16 * instance.points) / 16)


def named(found: tuple[Array, Array, Array]) -> dict[str, Array]:
    return {name: x.astype(np.float64) for name, x in zip(("left", "right", "weight"), found, strict=True)}


@pytest.mark.claim("KTOL-9")
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.id)
def test_a_law_takes_all_edges_to_all_edges_and_others_to_edges_as_good(law: Any) -> None:
    applied = 0
    for function, p in LAWFUL:
        instance = coarse(function, p)
        transformed = law.transform(instance, np.random.default_rng(1))
        if not transformed:
            continue
        applied += 1
        (other,) = transformed
        assert other.digest() != instance.digest()
        prediction = law.relate(instance, transformed, (named(edges(other)),))
        for name in ("left", "right", "weight"):
            value = define(instance, output=name).midpoint
            assert np.allclose(prediction[name].value, value, rtol=1e-14, atol=0.0)
        some = sampled(other, 0.8, 3)
        back = law.relate(instance, transformed, (named(some),))
        left, right = (back[name].value.astype(np.int64) for name in ("left", "right"))
        found = interval(instance, left, right, back["weight"].value)
        assert np.allclose(found, interval(other, *some), rtol=1e-5)
        assert (left < right).all()
    assert applied >= 2


@pytest.mark.claim("KTOL-9")
def test_a_law_of_sparsifiers_says_nothing_of_a_part_of_the_edges() -> None:
    instance = coarse("gaussian", 3.0)
    for law in LAWS:
        assert law.relate(instance, law.transform(instance, np.random.default_rng(0)), ({"left": np.zeros(3)},)) == {}
