"""Firing neurons of GPUs, on the thread model of a CPU: right in every type, free of races, with proved bounds."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import emulated
import ml_dtypes
import numpy as np
import pytest
from emulated import ORDERS, Emulated

import assay
from assay.conformance.firing_neurons.target_table import BOTH_THRESHOLDS
from assay.conformance.interface.kernel import Kernel
from assay.impl.gpu.firing_neurons import Recomputed, Table
from assay.spec.firing_neurons import Instance, criteria, data_of, fired, update
from assay.spec.firing_neurons.play import played
from assay.spec.floats import dtype_named
from assay.spec.problem import InvalidInstance

needs_compiler = pytest.mark.skipif(emulated.compiler() is None, reason="g++ is not installed")
KINDS = (Table, Recomputed)


def made(kind: Any, data: Any, weights: Any, threshold: float = 0.5, order: str = "ascending") -> Any:
    """A structure on a CPU."""
    return kind(data, weights, threshold=threshold, machine=Emulated(order))


def drawn(n: int, m: int, d: int, dtype: Any = np.float32, seed: int = 0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)).astype(dtype), rng.standard_normal((m, d)).astype(dtype)


def table_of_a_cpu(data: Any, weights: Any, *, threshold: float) -> Any:
    return made(Table, data, weights, threshold)


def recomputed_on_a_cpu(data: Any, weights: Any, *, threshold: float) -> Any:
    return made(Recomputed, data, weights, threshold)


@needs_compiler
@pytest.mark.claim("GPU-7")
@pytest.mark.parametrize("precision", ["float32", "float64", "bfloat16", "float16"])
def test_every_answer_of_a_script_is_that_of_the_class(precision: str) -> None:
    data, weights = drawn(5, 67, 9, dtype_named(precision))
    script = [
        fired([0, 4, 0]), update([3, 66], weights[:2]), fired([1, 2], threshold=-0.5), data_of([66, 3, 9]),
        update([3], weights[5:6]), data_of([3, 5], threshold=0.0), fired(range(5)),
    ]  # fmt: skip
    instance = Instance.of(data, weights, script, threshold=1.25)
    judged = criteria(instance, precision)
    for function in (table_of_a_cpu, recomputed_on_a_cpu):
        answers = played(function, instance)
        assert answers.keys() == judged.keys()
        assert all(judged[name].ratio(answer).max() <= 1 for name, answer in answers.items())


@needs_compiler
@pytest.mark.thorough
@pytest.mark.claim("GPU-7")
@pytest.mark.parametrize("function", [table_of_a_cpu, recomputed_on_a_cpu])
@pytest.mark.parametrize("precision", ["float32", "float64", "float16", "bfloat16"])
def test_it_conforms_in_every_type(function: Any, precision: str) -> None:
    kernel = Kernel(function.__name__, function, keywords=BOTH_THRESHOLDS)
    report = assay.check(kernel, "firing_neurons", precision=precision, level="standard", seconds=900.0)
    assert report.passed, report


def everything(structure: Any) -> list[Any]:
    """Every answer of a structure."""
    points, neurons = np.arange(structure.points)[::-1], np.arange(structure.neurons)
    lists = [structure.firing(points[-2:]), structure.firing_data(neurons[-1:])]
    found = structure.correlations(points)
    listed = [array for each in lists for array in (each.starts, each.ids, each.values)]
    return [structure.fired(points), structure.data_of(neurons), found.value, found.error, structure.weights, *listed]


@needs_compiler
@pytest.mark.claim("GPU-7")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_order_of_threads_and_blocks_gives_the_same_bits(kind: Any, dtype: str) -> None:
    data, weights = (
        drawn(3, 600, 33, dtype_named(dtype)) if dtype == "float32" else drawn(70, 66, 33, dtype_named(dtype))
    )
    answers = []
    for order in ORDERS:
        structure = made(kind, data, weights, order=order)
        structure.update(np.array([65, 3, 65]), weights[:3])
        answers.append(everything(structure))
    for other in answers[1:]:
        assert all(np.array_equal(one, two) for one, two in zip(answers[0], other, strict=True))


@needs_compiler
@pytest.mark.claim("GPU-7")
@pytest.mark.parametrize("dtype", ["float64", "float16"])
def test_a_pair_has_the_same_bits_whatever_it_is_asked_with(dtype: str) -> None:
    data, weights = drawn(66, 70, 35, dtype_named(dtype))
    before, new = weights.copy(), drawn(1, 4, 35, dtype_named(dtype), seed=1)[1]
    weights[[9, 0, 69, 4]] = new
    fresh, strided = made(Table, data, weights), made(Table, np.asfortranarray(data), weights[::-1].copy()[::-1])
    updated = made(Table, data, before)
    updated.update(np.array([9, 0]), new[:2])
    updated.update(np.array([69, 4]), new[2:])
    recomputed = made(Recomputed, data, before)
    recomputed.update(np.array([9, 0, 69, 4]), new)
    for other in (strided, updated, recomputed):
        for one, two in zip(everything(fresh), everything(other), strict=True):
            assert np.array_equal(one, two)
    single = np.concatenate([recomputed.correlations(np.array([i])).value for i in range(66)])
    assert np.array_equal(single, fresh.correlations(np.arange(66)).value)
    some = np.array([4, 65, 4])
    assert np.array_equal(recomputed.correlations(some).error, fresh.correlations(some).error)


@needs_compiler
def test_lists_are_ascending_and_say_what_flags_say_across_blocks() -> None:
    rng = np.random.default_rng(2)
    data, weights = rng.standard_normal((3, 1)), rng.standard_normal((4200, 1))
    structure = made(Table, data, weights)
    asked = np.array([2, 0, 2])
    found, flags = structure.firing(asked, threshold=0.1), structure.fired(asked, threshold=0.1)
    assert found.starts.tolist() == [0, *np.cumsum(flags.sum(axis=1))]
    assert found.ids.tolist() == [r for row in flags for r in np.flatnonzero(row)]
    values = [(weights @ data[i])[row] for i, row in zip(asked, flags, strict=True)]
    assert np.array_equal(found.values, np.concatenate(values))
    none = structure.firing(asked, threshold=1e9)
    assert none.starts.tolist() == [0, 0, 0, 0]
    assert not len(none.ids)
    empty = structure.firing(np.empty(0, np.int64))
    assert (empty.starts.tolist(), len(empty.ids)) == ([0], 0)
    assert structure.fired(np.empty(0, np.int64)).shape == (0, 4200)


@needs_compiler
def test_a_tie_does_not_fire_also_at_a_threshold_that_the_type_does_not_hold() -> None:
    data, weights = np.ones((1, 1), np.float32), np.array([[1.0], [1.0 + 2.0**-23]], np.float32)
    for kind in KINDS:
        structure = made(kind, data, weights, 1.0)
        assert structure.fired(np.array([0])).tolist() == [[False, True]]
        assert structure.fired(np.array([0]), threshold=1.0 - 2.0**-40).tolist() == [[True, True]]
        assert structure.fired(np.array([0]), threshold=1.0 + 2.0**-40).tolist() == [[False, True]]


@needs_compiler
def test_of_a_neuron_that_is_named_twice_the_last_weights_count() -> None:
    data, weights = drawn(5, 300, 3)
    new = drawn(1, 290, 3, seed=3)[1]
    for kind in KINDS:
        structure = made(kind, data, weights)
        structure.update(np.tile([7, 8], 145), new)
        structure.update(np.array([9, 9]), new[:2])
        weights[7:10] = new[-2], new[-1], new[1]
        expected = made(kind, data, weights)
        assert all(np.array_equal(*pair) for pair in zip(everything(structure), everything(expected), strict=True))


@needs_compiler
def test_numbers_that_are_not_there_fire_nowhere_and_change_nothing_in_a_table() -> None:
    data, weights = drawn(4, 5, 3)
    structure, same = made(Table, data, weights, -100.0), made(Table, data, weights, -100.0)
    structure.update(np.array([5, -1, 1 << 40]), weights[:3])
    assert all(np.array_equal(*pair) for pair in zip(everything(structure), everything(same), strict=True))
    assert structure.fired(np.array([4, 0, -1])).tolist() == [[False] * 5, [True] * 5, [False] * 5]
    assert structure.data_of(np.array([5, -7])).sum() == 0
    assert np.isinf(structure.correlations(np.array([-1])).error).all()


@needs_compiler
def test_an_array_that_was_handed_over_may_change_afterwards() -> None:
    data, weights = drawn(4, 5, 3)
    structure = made(Table, data, weights)
    before = everything(structure)
    data[:], weights[:] = 7.0, 7.0
    structure.update(np.array([9]), weights[:1])
    assert all(np.array_equal(*pair) for pair in zip(before, everything(structure), strict=True))


@needs_compiler
def test_an_update_may_take_its_weights_from_those_that_it_replaces() -> None:
    data, weights = drawn(3, 40, 3)
    structure = made(Table, data, weights)
    structure.update(np.arange(1, 40), structure.weights[:39])
    expected = made(Table, data, weights[[0, *range(39)]])
    assert all(np.array_equal(*pair) for pair in zip(everything(structure), everything(expected), strict=True))


def exact(data: Any, weights: Any) -> list[list[Fraction]]:
    """Correlations of the stored numbers."""
    stored = [[[Fraction(float(number)) for number in row] for row in each] for each in (data, weights)]
    return [[sum((a * b for a, b in zip(x, w, strict=True)), Fraction(0)) for w in stored[1]] for x in stored[0]]


def ratios(data: Any, weights: Any, kind: Any = Table) -> Any:
    """Error of every correlation in units of its bound."""
    found = made(kind, data, weights).correlations(np.arange(len(data)))
    truth = exact(data, weights)
    return np.array(
        [
            [
                float(abs(Fraction(float(value)) - c) / Fraction(float(bound)))
                for value, bound, c in zip(*row, strict=True)
            ]
            for row in zip(found.value, found.error, truth, strict=True)
        ]
    )


@needs_compiler
@pytest.mark.claim("GPU-7")
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("size", [0, -73, 40])
def test_the_certificate_holds_where_numbers_cancel_vanish_or_grow(dtype: str, size: int) -> None:
    data, weights = (x.astype(np.float64) * 2.0**size for x in drawn(9, 12, 7, np.float64, seed=4))
    if dtype == "float64" and size < 0:
        data, weights = data * 2.0**-460, weights * 2.0**-460
    data[3:6, 3:6] = -data[3:6, :3]
    weights[4:8, 3:6] = weights[4:8, :3]
    data, weights = data.astype(dtype_named(dtype)), weights.astype(dtype_named(dtype))
    for kind in KINDS:
        assert ratios(data, weights, kind).max() <= 1.0


@needs_compiler
@pytest.mark.claim("GPU-7")
@pytest.mark.parametrize(("dtype", "place", "least"), [("float32", 2.0**-23, -149), ("float64", 2.0**-52, -1074)])
def test_the_certificate_is_less_than_twice_what_is_lost(dtype: str, place: float, least: int) -> None:
    """Of one coordinate half of the unit of the last place, or of each coordinate almost half of the least number."""
    numbers = (1.0 + np.arange(200.0).reshape(-1, 1) * place).astype(dtype)
    assert 0.5 < ratios(numbers[:1] * 3 + 2 * place, numbers).max() <= 1.0
    one, other = np.full((1, 100), 2.0 ** (least // 2)), np.full((1, 100), 0.45 * 2.0 ** (least - least // 2))
    assert 0.5 < ratios(one.astype(dtype), other.astype(dtype)).max() <= 1.0


@needs_compiler
@pytest.mark.claim("GPU-7")
def test_what_may_leave_the_range_has_no_certificate() -> None:
    data, weights = np.full((1, 2), 2.0**64, np.float32), np.array([[2.0**63, -(2.0**63)], [1.0, 1.0]], np.float32)
    found = made(Table, data, weights).correlations(np.array([0]))
    assert np.isinf(found.error).tolist() == [[True, False]]
    assert found.value[0, 1] == 2.0**65


@needs_compiler
def test_an_update_refuses_what_does_not_fit_and_changes_nothing() -> None:
    data, weights = drawn(4, 5, 3)
    structure = made(Table, data, weights)
    before = everything(structure)
    with pytest.raises(InvalidInstance, match="weights: 2 rows, expected 1"):
        structure.update(np.array([0]), weights[:2])
    with pytest.raises(InvalidInstance, match="weights: float64, expected float32"):
        structure.update(np.array([0]), weights[:1].astype(np.float64))
    with pytest.raises(InvalidInstance, match="neurons: float32, expected integers"):
        structure.update(weights[:1, 0], weights[:1])
    with pytest.raises(InvalidInstance, match="points: shape"):
        structure.fired(np.zeros((1, 1), np.int64))
    assert all(np.array_equal(*pair) for pair in zip(before, everything(structure), strict=True))


def test_what_does_not_fit_is_refused_by_name() -> None:
    data, weights = drawn(4, 5, 3)
    with pytest.raises(InvalidInstance, match="weights: 2 columns, expected 3"):
        made(Table, data, weights[:, :2])
    with pytest.raises(InvalidInstance, match="weights: float64, expected float32"):
        made(Table, data, weights.astype(np.float64))
    with pytest.raises(InvalidInstance, match="data: float8_e4m3fn, expected float64"):
        made(Recomputed, data.astype(ml_dtypes.float8_e4m3fn), weights)
    with pytest.raises(InvalidInstance, match="threshold: nan"):
        made(Recomputed, data, weights, float("nan"))
