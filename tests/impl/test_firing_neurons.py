"""Structures of firing neurons: a tree says what a scan says, bit for bit, whatever was done before."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.impl import cpu
from assay.impl.cpu.firing_neurons import checks, products
from assay.impl.cpu.firing_neurons.tree import level_sizes, most_repaired, most_visited
from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from pathlib import Path

Tree, Table, Recomputed = cpu.firing_neurons.CorrelationTree, cpu.firing_neurons.Table, cpu.firing_neurons.Recomputed
SHAPES = ((1, 1, 1), (3, 1, 2), (1, 70, 2), (5, 64, 3), (70, 129, 4), (129, 65, 3))
DTYPES = {"float32": np.float32, "float64": np.float64, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
THRESHOLDS = (None, -50.0, 0.0, 0.3, 50.0)


def drawn(rng: np.random.Generator, shape: tuple[int, int], dtype: Any, *, whole: bool = False) -> Any:
    """Normal numbers, or small integers, of which many correlations are equal."""
    return (rng.integers(-2, 3, shape) if whole else rng.standard_normal(shape)).astype(dtype)


def structures(rng: np.random.Generator, n: int, m: int, d: int, dtype: Any, **options: Any) -> Any:
    """Trees of several fan-outs and a table, of the same data and weights."""
    data, weights = drawn(rng, (n, d), dtype, whole=n % 2 == 1), drawn(rng, (m, d), dtype, whole=n % 2 == 1)
    trees = [
        Tree(data, weights, threshold=1.0, fan_out=fan_out, levels=levels, **options)
        for fan_out, levels in ((64, None), (2, None), (4, 2), (64, 3))
    ]
    return [Table(data, weights, threshold=1.0, **options), *trees]


def fraction(x: Any, w: Any) -> Fraction:
    """⟨w, x⟩ of the stored numbers."""
    return sum((Fraction(float(a)) * Fraction(float(b)) for a, b in zip(x, w, strict=True)), Fraction(0))


def everything(structure: Any, threshold: float | None) -> list[Any]:
    """Every answer of a structure."""
    points, neurons = np.arange(structure.points), np.arange(structure.neurons)
    lists = structure.firing(points, threshold=threshold), structure.firing_data(neurons, threshold=threshold)
    return [
        structure.fired(points, threshold=threshold), structure.data_of(neurons, threshold=threshold),
        *itertools.chain.from_iterable((found.starts, found.ids, found.values) for found in lists),
        structure.correlations(points).value, structure.weights,
    ]  # fmt: skip


def change(rng: np.random.Generator, structures: Any, step: int) -> None:
    """The same random update or move of some neurons of all structures."""
    first = structures[0]
    count = int(rng.integers(1, first.neurons + 1)) if step % 3 else 1
    neurons = rng.permutation(first.neurons)[:count]
    if step % 2:
        weights = drawn(rng, (count, first.dim), DTYPES[first.type])
        for each in structures:
            each.update(neurons, weights)
    else:
        points = rng.integers(0, first.points, int(rng.integers(1, first.dim + 1)))
        coefficients = drawn(rng, (count, len(points)), np.float64) / 4
        for each in structures:
            each.move(neurons, coefficients, points)


@pytest.mark.claim("FIRE-2")
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_tree_answers_as_a_scan_does_bit_for_bit(dtype: str) -> None:
    rng = np.random.default_rng(0)
    for shape in SHAPES:
        table, *trees = every = structures(rng, *shape, DTYPES[dtype])
        for step in range(4):
            for threshold in THRESHOLDS:
                expected = everything(table, threshold)
                for tree in trees:
                    for one, other in zip(everything(tree, threshold), expected, strict=True):
                        assert one.dtype == other.dtype
                        assert np.array_equal(one, other)
            change(rng, every, step)


@pytest.mark.claim("FIRE-1")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_answers_are_exact_comparisons_of_exact_correlations_where_all_arithmetic_is_exact(dtype: str) -> None:
    rng = np.random.default_rng(1)
    for n, m, d in ((9, 70, 3), (3, 5, 2)):
        data, weights = drawn(rng, (n, d), dtype, whole=True), drawn(rng, (m, d), dtype, whole=True)
        for kind in (Tree, Table, Recomputed):
            structure = kind(data, weights, threshold=2.0)
            now = weights.copy()
            for step in range(4):
                products_ = now.astype(int) @ data.astype(int).T
                for b in (2.0, 2.0 + 2.0**-40, 2.0 - 2.0**-40):  # the last two are no numbers of float32
                    exact = np.array([[Fraction(int(c)) > Fraction(b) for c in row] for row in products_])
                    assert np.array_equal(structure.data_of(np.arange(m), threshold=b), exact)
                    assert np.array_equal(structure.fired(np.arange(n), threshold=b), exact.T)
                which = rng.permutation(m)[: step + 1]
                now[which] = drawn(rng, (step + 1, d), dtype, whole=True)
                structure.update(which, now[which])


@pytest.mark.claim("FIRE-1")
@np.errstate(all="ignore")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_threshold_between_two_numbers_is_not_rounded(dtype: str) -> None:
    kind = np.dtype(dtype)
    most = float(np.finfo(kind).max)
    for value in (
        0.1,
        -0.1,
        1.0,
        1.0 + 2.0**-30,
        -(1.0 + 2.0**-30),
        1e300,
        -1e300,
        2.0**-1074,
        -(2.0**-1074),
        most,
        -most,
    ):
        limit = checks.below(value, kind)
        around = [np.nextafter(limit, kind.type(-np.inf)), limit, np.nextafter(limit, kind.type(np.inf)), kind.type(0)]
        for number in filter(np.isfinite, around):
            assert (number > limit) == (Fraction(float(number)) > Fraction(value))


@pytest.mark.claim("FIRE-3")
@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(st.integers(1, 200), st.integers(0, 2**32 - 1), st.integers(0, 200))
def test_a_query_of_a_binary_tree_visits_no_more_nodes_than_the_formula_says(m: int, seed: int, few: int) -> None:
    rng = np.random.default_rng(seed)
    weights = np.where(rng.permutation(m) < few, 1.0, -1.0).reshape(-1, 1)
    tree = Tree(np.ones((1, 1)), weights, threshold=0.0, fan_out=2)
    assert tree.visited([0])[0] <= most_visited(m, min(few, m))
    assert tree.repaired(np.flatnonzero(weights[:, 0] > 0.0)) <= most_repaired(m, min(few, m)) if few else True


@pytest.mark.claim("FIRE-3")
def test_the_formula_of_visited_nodes_is_attained() -> None:
    for height, level in itertools.product(range(1, 8), range(8)):
        if level <= height:
            weights = -np.ones((2**height, 1))
            weights[:: 2 ** (height - level)] = 1.0
            tree = Tree(np.ones((1, 1)), weights, threshold=0.0, fan_out=2)
            assert tree.visited([0])[0] == most_visited(2**height, 2**level)
            assert tree.visited([0], threshold=2.0)[0] == most_visited(2**height, 0) == 1


@pytest.mark.claim("FIRE-3")
def test_visits_after_updates_are_those_of_a_walk_of_a_tree_of_exact_maxima() -> None:
    rng = np.random.default_rng(2)
    for fan_out, levels in ((64, 1), (2, 64), (4, 2), (8, 64)):
        data, weights = drawn(rng, (70, 3), np.float64), drawn(rng, (300, 3), np.float64)
        tree = Tree(data, weights, threshold=2.0, fan_out=fan_out, levels=levels)
        for count in (1, 40, 3):  # maxima that are lost have to sink
            which = rng.permutation(300)[:count]
            weights[which] /= 8.0
            tree.update(which, weights[which])
        for visits, rows in (
            (tree.visited(np.arange(70)), data @ weights.T),
            (tree.visited_data(np.arange(300)), weights @ data.T),
        ):
            for count, row in zip(visits, rows, strict=True):
                sizes = [len(row), *level_sizes(len(row), fan_out, levels)]
                above = [np.unique(np.flatnonzero(row > 2.0) // fan_out**level) for level in range(1, len(sizes))]
                read = sizes[-1]
                for parents, size in zip(above, sizes, strict=False):
                    read += sum(min(fan_out, size - fan_out * p) for p in parents)
                assert count == read


@pytest.mark.claim("FIRE-3")
def test_an_update_repairs_the_nodes_above_its_neurons_and_no_other() -> None:
    rng = np.random.default_rng(3)
    tree = Tree(drawn(rng, (6, 2), np.float64), drawn(rng, (256, 2), np.float64), threshold=0.0, fan_out=2)
    assert tree.repaired([7]) == 1 + 8
    assert tree.repaired([6, 7]) == 2 + 8
    assert tree.repaired([0, 255]) == 2 + 7 * 2 + 1
    for neurons in ([7], [6, 7], [0, 255], list(range(256))):
        tree._nodes[:, tree._offsets[-1] :] = 0.0
        before = tree._nodes.copy()
        tree.update(neurons, 1e9 * drawn(rng, (len(neurons), 2), np.float64))
        changed = int((tree._nodes != before).sum(axis=1).max())
        assert changed <= tree.repaired(neurons) - len(neurons) <= most_repaired(256, len(neurons)) - len(neurons)


@pytest.mark.claim("FIRE-4")
@pytest.mark.claim("FIRE-5")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_correlations_stay_within_their_bounds_after_many_moves(dtype: str) -> None:
    rng = np.random.default_rng(4)
    n, m, d = 12, 20, 8
    worst = 0.0
    for refresh in (3, 1000):
        data, weights = drawn(rng, (n, d), dtype), drawn(rng, (m, d), dtype)
        tree = Tree(data, weights, threshold=1.0, refresh=refresh)
        for step in range(60):
            points = rng.integers(0, n, int(rng.integers(1, d)))
            neurons = rng.permutation(m)[:9]
            tree.move(neurons, 10.0 ** rng.uniform(-2, 1) * drawn(rng, (9, len(points)), np.float64), points)
            assert tree.kept()["moves"].max() < refresh
            if step % 10 == 9:
                found = tree.correlations(np.arange(n))
                for i, r in itertools.product(range(n), range(0, m, 3)):
                    off = abs(Fraction(float(found.value[i, r])) - fraction(data[i], tree.weights[r]))
                    ratio = off / Fraction(float(found.error[i, r]))
                    worst = max(worst, float(ratio))
    assert 0.005 < worst <= 1.0


@pytest.mark.claim("FIRE-4")
def test_a_bound_that_is_below_the_normal_numbers_is_rounded_up() -> None:
    """Weights so small that 2^-53 times their norm is 0 in float64, and points so large that products are normal."""
    data, weights = np.array([[(1 + 2.0**-52) * 2.0**1020]]), np.array([[(2**13 + 1) * 2.0**-1074]])
    for kind in (Tree, Table, Recomputed):
        found = kind(data, weights, threshold=0.0).correlations([0])
        off = abs(Fraction(float(found.value[0, 0])) - fraction(data[0], weights[0]))
        assert 0 < off <= Fraction(float(found.error[0, 0]))


@pytest.mark.claim("FIRE-4")
def test_a_bound_that_says_nothing_is_infinite_and_not_nan() -> None:
    found = Table(np.zeros((1, 4)), np.full((1, 4), 1.7e308), threshold=0.0).correlations([0])
    assert np.isposinf(found.error).all()


@pytest.mark.claim("FIRE-4")
@pytest.mark.claim("FIRE-5")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bounds_are_those_of_the_claims_in_rational_numbers(dtype: str) -> None:
    """Every term by itself is so large that half of it would be missed."""
    kind = np.finfo(dtype)
    u, tiny, d, q = Fraction(float(kind.eps)) / 2, Fraction(float(kind.tiny)), 9, 5
    of_d, of_q = d * u / (1 - d * u), q * u / (1 - q * u)
    names = ("e", "a", "before", "after", "sizes", "coefficients")
    for name in (*names, "all", "none"):
        e, a, before, after, sizes, coefficients = (float(name in (each, "all")) for each in names)
        one = [np.array([x]) for x in (before, after, sizes, coefficients)]
        found = products.move_errors(np.array([[e, a]]), *one, q, d, np.dtype(dtype))[0]
        e, a, before, after, sizes, coefficients = map(Fraction, (e, a, before, after, sizes, coefficients))
        terms = (
            e, of_d * sizes, of_q * (1 + of_d) * sizes, of_q * sizes, u * after, u * (1 + u) * (before + e),
            u * (1 + u) * (1 + of_q) * (1 + of_d) * sizes, 2 * q * tiny * 3,
        )  # fmt: skip
        for value, exact in zip(
            found, (sum(terms), (1 + 2 * u) * a + 2 * tiny * (q + 1) + 4 * d * tiny * coefficients), strict=True
        ):
            assert exact <= Fraction(float(value)) <= exact * (1 + Fraction(1, 2**29))
        fresh = products.fresh_errors(np.array([float(before)]), 1.0, d, np.dtype(dtype))[0]
        assert of_d * before <= Fraction(fresh[0]) <= of_d * before * (1 + Fraction(1, 2**29))
        assert Fraction(fresh[1]) == 2 * d * tiny


@pytest.mark.claim("FIRE-4")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_some_correlation_errs_by_nearly_its_bound(dtype: str) -> None:
    rng = np.random.default_rng(12)
    data, weights = (1 + drawn(rng, (n, 1), dtype) ** 2 % np.dtype(dtype).type(2.0**-6) for n in (30, 40))
    found, worst = Table(data, weights, threshold=0.0).correlations(np.arange(30)), Fraction(0)
    for i, r in itertools.product(range(30), range(40)):
        off = abs(Fraction(float(found.value[i, r])) - fraction(data[i], weights[r]))
        worst = max(worst, off / Fraction(float(found.error[i, r])))
    assert 0.9 < worst <= 1


@pytest.mark.claim("FIRE-5")
def test_a_move_leads_to_the_weights_and_answers_of_an_update_where_all_arithmetic_is_exact() -> None:
    rng = np.random.default_rng(5)
    data, weights = drawn(rng, (7, 5), np.float64, whole=True), drawn(rng, (9, 5), np.float64, whole=True)
    moved, updated = Tree(data, weights, threshold=3.0), Tree(data, weights, threshold=3.0)
    for _ in range(12):
        neurons, points = rng.permutation(9)[:4], rng.permutation(7)[:3]
        coefficients = drawn(rng, (4, 3), np.float64, whole=True)
        moved.move(neurons, coefficients, points)
        updated.update(neurons, updated.weights[neurons] + coefficients @ data[points])
        for one, other in zip(everything(moved, None), everything(updated, None), strict=True):
            assert np.array_equal(one, other)


@pytest.mark.claim("FIRE-5")
def test_a_refresh_makes_correlations_fresh() -> None:
    rng = np.random.default_rng(6)
    tree = Tree(drawn(rng, (9, 6), np.float32), drawn(rng, (30, 6), np.float32), threshold=1.0, refresh=4)
    for count in range(1, 9):
        tree.move([3], np.ones((1, 2)), [1, 2])
        assert tree.kept()["moves"][3] == count % 4
    assert np.array_equal(tree._columns(np.array([3])), products.columns(tree.data, tree.weights[[3]]))


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_correlations_beyond_the_range_of_their_type_keep_their_sign(dtype: str) -> None:
    most = float(ml_dtypes.finfo(DTYPES[dtype]).max)
    data = np.array([[most, most], [most, -most], [1.0, 0.5]], DTYPES[dtype])
    rows = [[most, -most / 2], [-most, most / 2], [most, most], [-most, -most], [1.0, 1.0]]
    weights = np.array(rows, DTYPES[dtype])
    exact = np.array([[fraction(x, w) for w in weights] for x in data])
    for kind in (Tree, Table, Recomputed):
        structure = kind(data, weights, threshold=2.0)
        structure.update([4], weights[4:])
        assert np.array_equal(structure.fired([0, 1, 2]), exact > 2)
        found = structure.correlations([0, 1, 2])
        assert np.isfinite(found.value).all()
        assert (found.error[0, :4] == np.inf).all()


BAD = {
    "NaN in weights": lambda z: z.update([1], np.full((1, 3), np.nan)),
    "infinity in weights": lambda z: z.update([1, 2], np.array([[1.0, 1, 1], [1, 1, np.inf]])),
    "a wrong dimension": lambda z: z.update([1], np.ones((1, 4))),
    "another type": lambda z: z.update([1], np.ones((1, 3), np.float32)),
    "weights of another number": lambda z: z.update([1, 2], np.ones((1, 3))),
    "no array": lambda z: z.update([1], [[1.0, 1.0, 1.0]]),
    "one axis": lambda z: z.update([1], np.ones(3)),
    "an unknown neuron": lambda z: z.update([5], np.ones((1, 3))),
    "a negative neuron": lambda z: z.update([-1], np.ones((1, 3))),
    "a neuron twice": lambda z: z.update([1, 1], np.ones((2, 3))),
    "an empty batch": lambda z: z.update([], np.ones((0, 3))),
    "no integers": lambda z: z.update([1.0], np.ones((1, 3))),
    "booleans for neurons": lambda z: z.update([True], np.ones((1, 3))),
    "an unknown point": lambda z: z.fired([4]),
    "a negative point": lambda z: z.fired([-1]),
    "points of two axes": lambda z: z.fired([[1]]),
    "an unknown neuron asked for": lambda z: z.data_of([5]),
    "a threshold that is NaN": lambda z: z.fired([1], threshold=np.nan),
    "a threshold that is no number": lambda z: z.data_of([1], threshold="1"),
    "a move of a neuron twice": lambda z: z.move([1, 1], np.ones((2, 1)), [0]),
    "a move along no point": lambda z: z.move([1], np.ones((1, 0)), []),
    "a move along an unknown point": lambda z: z.move([1], np.ones((1, 1)), [4]),
    "a move by NaN": lambda z: z.move([1], np.full((1, 1), np.nan), [0]),
    "a move beyond all numbers": lambda z: z.move([1], np.full((1, 1), 1.7e308), [0]),
}  # fmt: skip


@pytest.mark.parametrize("kind", [Tree, Table, Recomputed])
@pytest.mark.parametrize("bad", BAD)
def test_bad_input_is_refused_in_one_line_and_leaves_the_structure_as_it_was(kind: Any, bad: str) -> None:
    rng = np.random.default_rng(7)
    structure = kind(100 * drawn(rng, (4, 3), np.float64), drawn(rng, (5, 3), np.float64), threshold=1.0)
    structure.move([2], np.ones((1, 1)), [1])
    before = everything(structure, None)
    with pytest.raises(InvalidInstance, match=r"^\w+: .+$"):
        BAD[bad](structure)
    for one, other in zip(everything(structure, None), before, strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("kind", [Tree, Table, Recomputed])
def test_a_failed_allocation_leaves_the_structure_as_it_was(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(8)
    structure = kind(drawn(rng, (4, 3), np.float64), drawn(rng, (5, 3), np.float64), threshold=1.0)
    before = everything(structure, None)

    def full(*arguments: Any) -> Any:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(products, "fresh_errors", full)  # the last steps of what is computed
        patched.setattr(products, "move_errors", full)
        for call in (lambda: structure.update([1], np.ones((1, 3))), lambda: structure.move([1], np.ones((1, 1)), [0])):
            with pytest.raises(MemoryError):
                call()
    for one, other in zip(everything(structure, None), before, strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ({"data": np.ones((2, 3), np.float32)}, "weights"), ({"weights": np.ones((2, 4))}, "weights"),
        ({"data": np.full((2, 3), np.nan)}, "data"), ({"weights": np.full((2, 3), np.inf)}, "weights"),
        ({"data": np.ones((0, 3))}, "data"), ({"threshold": np.inf}, "threshold"), ({"threshold": None}, "threshold"),
        ({"refresh": 0}, "refresh"), ({"threads": 0}, "threads"), ({"data": np.ones((2, 3), int)}, "data"),
    ],
)  # fmt: skip
def test_a_structure_of_bad_arguments_is_refused(arguments: dict[str, Any], what: str) -> None:
    given_: dict[str, Any] = {"data": np.ones((2, 3)), "weights": np.ones((2, 3)), "threshold": 0.0} | arguments
    data, weights = given_.pop("data"), given_.pop("weights")
    for kind in (Tree, Table, Recomputed):
        with pytest.raises(InvalidInstance, match=what):
            kind(data, weights, **given_)


@pytest.mark.parametrize("options", [{"fan_out": 3}, {"fan_out": 128}, {"fan_out": 1}, {"levels": 0}])
def test_a_tree_of_bad_fan_out_is_refused(options: dict[str, int]) -> None:
    with pytest.raises(InvalidInstance, match=next(iter(options))):
        Tree(np.ones((2, 3)), np.ones((2, 3)), threshold=0.0, **options)


def test_the_structure_keeps_copies_of_its_arrays() -> None:
    data, weights = np.ones((2, 3)), np.ones((4, 3))
    for kind in (Tree, Table, Recomputed):
        structure = kind(data, weights, threshold=0.0)
        new = np.ones((1, 3))
        structure.update([1], new)
        for array in (data, weights, new):
            array[:] = -1.0
        assert structure.fired([0, 1]).all()
        for array in (data, weights):
            array[:] = 1.0


def test_arrays_may_lie_in_any_order() -> None:
    """The rows of a transposed or a reversed array are those that it says."""
    rng = np.random.default_rng(4)
    data, weights, new = drawn(rng, (4, 3), np.float64), drawn(rng, (5, 3), np.float64), drawn(rng, (3, 3), np.float64)
    for kind in (Tree, Table, Recomputed):
        plain = kind(data, weights, threshold=0.1)
        plain.update([4, 0, 2], new)
        for order in (
            np.asfortranarray,
            lambda x: np.ascontiguousarray(x[::-1])[::-1],
            lambda x: np.repeat(x, 2, 1)[:, ::2],
        ):
            structure = kind(order(data), order(weights), threshold=0.1)
            structure.update(order(np.array([[4, 0], [0, 0], [2, 0]]))[:, 0], order(new))
            assert (structure.fired(range(4)) == plain.fired(range(4))).all()


def test_answers_do_not_depend_on_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(9)
    data, weights = drawn(rng, (40, 3), np.float32), drawn(rng, (300, 3), np.float32)
    alone = Tree(data, weights, threshold=1.0, threads=1)
    monkeypatch.setattr("assay.impl.cpu.firing_neurons.tree._MANY", 1)
    several = Tree(data, weights, threshold=1.0, threads=3)
    for threshold in THRESHOLDS:
        for one, other in zip(everything(several, threshold), everything(alone, threshold), strict=True):
            assert np.array_equal(one, other)


def test_what_a_structure_says_of_its_memory_is_what_it_holds() -> None:
    rng = np.random.default_rng(10)
    for kind, options in ((Tree, {}), (Tree, {"fan_out": 2}), (Table, {}), (Recomputed, {})):
        structure = kind(drawn(rng, (200, 8), np.float32), drawn(rng, (300, 8), np.float32), threshold=1.0, **options)
        held = sum(value.nbytes for value in vars(structure).values() if isinstance(value, np.ndarray))
        small = sum(value.nbytes for name, value in vars(structure).items() if name.endswith("_offsets"))
        assert structure.nbytes() == held - small


@pytest.mark.parametrize(("kind", "options"), [(Tree, {}), (Tree, {"fan_out": 2}), (Table, {}), (Recomputed, {})])
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_a_saved_structure_answers_as_before_and_goes_on_as_before(
    kind: Any, options: dict[str, int], dtype: str, tmp_path: Path
) -> None:
    rng = np.random.default_rng(11)
    data, weights = drawn(rng, (12, 5), DTYPES[dtype]), drawn(rng, (70, 5), DTYPES[dtype])
    structure = kind(data, weights, threshold=0.1, refresh=7, **options)
    for step in range(5):
        change(rng, [structure], step)
    structure.save(tmp_path / "s.npz")
    loaded = kind.load(tmp_path / "s.npz")
    assert loaded.settings() == structure.settings()
    for step in range(3):
        for one, other in zip(everything(loaded, None), everything(structure, None), strict=True):
            assert one.dtype == other.dtype
            assert np.array_equal(one, other)
        for name, kept in structure.kept().items():
            assert np.array_equal(loaded.kept()[name], kept)
        change(rng, [structure, loaded], step)
