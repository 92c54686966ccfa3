"""Firing neurons: the script, the definition against rational numbers, the criteria, and the laws."""

from __future__ import annotations

import doctest
import importlib
import itertools
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp, mpf

from assay.spec.firing_neurons import (
    LAWS,
    PRECISIONS,
    Instance,
    criteria,
    data_of,
    define,
    errors,
    fired,
    load,
    played,
    queries,
    symbolic,
    tolerance,
    update,
)
from assay.spec.firing_neurons.exactness import NONE, exact_sums, lowest_bits, significant_bits
from assay.spec.firing_neurons.extremes import Eager, Lazy
from assay.spec.floats import dtype_named
from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Array = NDArray[Any]


def scripted(seed: int = 0, dtype: str = "float32", *, integers: bool = False, steps: int = 14) -> Instance:
    """A script of everything that there is, with batches and thresholds of queries."""
    rng = np.random.default_rng(seed)
    n, m, d = rng.integers(1, 6, 3)

    def numbers(*shape: int) -> Array:
        drawn = rng.integers(-3, 4, shape) if integers else rng.standard_normal(shape)
        return drawn.astype(dtype_named(dtype))

    thresholds = None if rng.random() < 0.4 else np.where(rng.random(steps) < 0.5, np.nan, numbers(steps).astype(float))
    return Instance(
        numbers(n, d), numbers(m, d), rng.integers(0, 3, steps), rng.integers(0, 99, steps), numbers(steps, d),
        rng.random(steps) < 0.5, float(numbers(1)[0]), thresholds,
    )  # fmt: skip


def margins_by_rationals(instance: Instance) -> dict[str, list[list[Fraction]]]:
    """Every margin of the script, from the arrays of the instance and nothing else of the package."""
    data = [[Fraction(float(x)) for x in row] for row in instance.data]
    weights = [[Fraction(float(x)) for x in row] for row in instance.weights]
    found: dict[str, list[list[Fraction]]] = {}
    call, members, kind, bar, step = "", set(), -1, Fraction(0), 1
    for t, operation in enumerate(instance.operations):
        operand = int(instance.operands[t]) % (len(data) if operation == 1 else len(weights))
        if t == 0 or not instance.joined[t] or operation != kind or operand in members:
            members, kind, step = set(), int(operation), step + 1
            call = f"{('update', 'fired', 'data_of')[kind]} at step {step}"
            asked = np.nan if instance.thresholds is None else float(instance.thresholds[t])
            bar = Fraction(instance.threshold if np.isnan(asked) else asked)
        members.add(operand)
        if operation == 0:
            weights[operand] = [Fraction(float(x)) for x in instance.new_weights[t]]
            continue
        row, others = (data[operand], weights) if operation == 1 else (weights[operand], data)
        found.setdefault(call, []).append(
            [sum((a * b for a, b in zip(row, other, strict=True)), -bar) for other in others]
        )
    return found


# --- the script -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"])
def test_an_instance_is_saved_and_loaded_bit_exactly(dtype: str, tmp_path: Path) -> None:
    for seed in range(4):
        instance = scripted(seed, dtype)
        instance.save(tmp_path / "x.npz")
        read = load(tmp_path / "x.npz")
        assert read.digest() == instance.digest()
        assert [str(call) for call in read.calls()] == [str(call) for call in instance.calls()]


def test_calls_make_the_script_that_has_them() -> None:
    for seed in range(40):
        instance = scripted(seed)
        again = Instance.of(instance.data, instance.weights, instance.calls(), threshold=instance.threshold)
        assert margins_by_rationals(again) == margins_by_rationals(instance)
        for one, other in zip(again.calls(), instance.calls(), strict=True):
            assert str(one) == str(other)
            assert one.weights is None or np.array_equal(one.weights, other.weights)


def test_a_batch_names_no_operand_twice() -> None:
    x = np.ones((2, 1))
    instance = Instance(x, x, np.zeros(4, int), np.array([0, 2, 1, 3]), np.ones((4, 1)), np.ones(4, bool))
    assert [call.operands.tolist() for call in instance.calls()] == [[0], [0, 1], [1]]
    for seed in range(30):
        assert all(len(set(call.operands.tolist())) == len(call.operands) for call in scripted(seed).calls())


def test_every_part_and_everything_smaller_is_an_instance() -> None:
    for seed in range(6):
        instance = scripted(seed)
        for smaller in itertools.islice(instance.smaller(), 60):
            assert set(margins_by_rationals(smaller)) == {query.name for query in queries(smaller)}


def test_a_lost_update_shrinks_to_one_neuron_one_point_and_two_operations() -> None:
    class Loses(Lazy):
        def update(self, neurons: Any, weights: Any) -> None:
            pass

    def fails(instance: Instance) -> bool:
        held_to = criteria(instance, "float32")
        answers = played(Loses, instance)
        return any((held_to[name].ratio(answer) > 1).any() for name, answer in answers.items())

    found = next(instance for seed in range(20) if fails(instance := scripted(seed)))
    while smaller := next((x for x in found.smaller() if x.size() < found.size() and fails(x)), None):
        found = smaller
    assert found.lengths() == {"points": 1, "dim": 1, "neurons": 1, "steps": 2}
    assert [call.method for call in found.calls()] in (["update", "fired"], ["update", "data_of"])
    assert found.describe().startswith("points 1, dim 1, neurons 1, steps 2, float32, threshold ")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"operations": np.array([3])}, "operations: shape .1,., expected numbers from 0 to 2"),
        ({"operations": np.array([-1])}, "operations: shape .1,., expected numbers from 0 to 2"),
        ({"thresholds": np.array([np.inf])}, "thresholds: .* expected finite numbers, or NaN"),
        ({"new_weights": np.ones((1, 2))}, "new_weights: shape .1, 2., expected .steps, dim. with"),
        ({"weights": np.array([[np.nan]])}, "weights: nan at .0, 0., expected finite numbers"),
        ({"threshold": np.nan}, "threshold: nan, expected a finite number"),
        ({"joined": np.array([0])}, "joined: "),
    ],
)
def test_bad_fields_are_refused_by_name(change: dict[str, Any], message: str) -> None:
    x = np.ones((1, 1))
    good = Instance(x, x, np.array([1]), np.array([0]), x, np.array([False]))
    with pytest.raises(InvalidInstance, match=message):
        good.replace(**change)


# --- FN-12: the definition --------------------------------------------------------------------------------------------


@pytest.mark.claim("FN-12")
@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_margins_are_those_of_rational_numbers(dtype: str) -> None:
    for seed, integers in itertools.product(range(12), (False, True)):
        instance = scripted(seed, dtype, integers=integers)
        expected = margins_by_rationals(instance)
        assert list(expected) == [query.name for query in queries(instance)]
        for name, rows in expected.items():
            for relative in (1e-12, 1e-25):
                found = define(instance, relative, name)
                for at in np.ndindex(*found.shape):
                    exact, radius = rows[at[0]][at[1]], Fraction(float(found.radius[at]))
                    assert abs(Fraction(float(found.midpoint[at])) - exact) <= radius
                    assert (exact > 0) == (found.midpoint[at] > 0)
                    assert (exact == 0) == (found.midpoint[at] == 0)
                    assert radius == 0 or abs(exact) > radius
                    if found.balls is not None:
                        ball = found.balls[at]
                        assert abs(Fraction(*map(int, _rational(ball))) - exact) <= Fraction(10) ** -24 * (
                            1 + abs(exact)
                        )


def _rational(ball: Any) -> tuple[int, int]:
    mantissa, exponent = ball.mid().man_exp()
    power = int(exponent)
    return (int(mantissa) << power, 1) if power >= 0 else (int(mantissa), 1 << -power)


@pytest.mark.claim("FN-12")
def test_signs_that_float64_does_not_see_are_exact() -> None:
    """Cancellation down to 2^-110 of the terms, at sizes at which products vanish or grow beyond float64."""
    tiny = 2.0**-55
    rows = np.array([[1.0 + 2**-30, -1.0, -(2.0**-30), tiny], [1.0, 1.0, -2.0, 0.0], [1 / 3, 1 / 3, -2 / 3, 0.0]])
    for scale in (1.0, 2.0**300, 2.0**-500):
        for sign in (1.0, -1.0, 0.0):
            data = np.array([[1.0, 1.0, 1.0, sign * tiny]]) * scale
            found = define(Instance.of(data, rows, [fired([0])]), output="fired at step 2")
            assert np.sign(found.midpoint[0]).tolist() == [sign, 0.0, 0.0]
            assert (found.radius[0, 1:] == 0.0).all()


@pytest.mark.claim("FN-12")
def test_a_margin_beyond_float64_has_its_sign_and_no_finite_end() -> None:
    huge = np.array([[1e300, 1e300]])
    found = define(Instance.of(huge, np.array([[1e300, 1.0], [-1e300, 1.0]]), [fired([0])]), output="fired at step 2")
    assert np.sign(found.midpoint[0]).tolist() == [1.0, -1.0]
    assert np.isinf(found.radius).all()


def test_mpmath_and_sympy_agree() -> None:
    for seed in range(6):
        instance = scripted(seed, "float64")
        table = symbolic(instance)
        with mp.workdps(60):
            for query in queries(instance):
                found = define(instance, 1e-30, query.name)
                for i, j in np.ndindex(*found.shape):
                    exact = mp.fdot(map(mpf, query.rows[i].tolist()), map(mpf, query.columns[j].tolist()))
                    assert abs(mpf(float(found.midpoint[i, j])) - (exact - mpf(query.threshold))) <= 1e-15
                    assert float(table[query.name][i, j]) == float(found.midpoint[i, j])


def test_outputs_are_named_by_their_steps_and_joined_by_their_methods() -> None:
    x = np.eye(2)
    instance = Instance.of(x, x, [fired([0]), update([1], x[:1]), data_of([0, 1]), fired([1, 0])], threshold=0.5)
    assert [query.name for query in queries(instance)] == ["fired at step 2", "data_of at step 4", "fired at step 5"]
    assert define(instance).midpoint.tolist() == [0.5, -0.5, -0.5, -0.5, 0.5, 0.5]
    assert define(instance, 1e-30).balls is not None
    assert tolerance(instance, "float32").shape == (6,)
    assert tolerance(instance, "float32", "data_of at step 4").shape == (2, 2)
    for function in (define, lambda *arguments: tolerance(arguments[0], "float32", arguments[2])):
        with pytest.raises(
            ValueError, match="unknown output 'fired at step 3': expected one of fired, data_of, fired at"
        ):
            function(instance, 1e-12, "fired at step 3")
    with pytest.raises(ValueError, match="relative: 0, expected a number between 0 and 1"):
        define(instance, 0)
    no_queries = instance.part(steps=[1])
    assert define(no_queries).shape == tolerance(no_queries, "float64").shape == (0,)


# --- FN-10: exact sums ------------------------------------------------------------------------------------------------


@pytest.mark.claim("FN-10")
@given(st.floats(allow_nan=False, allow_infinity=False))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_the_lowest_bit_of_a_number_is_that_of_its_ratio(x: float) -> None:
    numerator, denominator = abs(x).as_integer_ratio()
    if x == 0.0:
        return
    lowest = (numerator & -numerator).bit_length() - 1 - (denominator.bit_length() - 1)
    assert int(lowest_bits(np.array([x]))[0]) == lowest
    assert significant_bits(np.array([x])) == (numerator // (numerator & -numerator)).bit_length()


def in_every_order(terms: list[float], dtype: str) -> set[float]:
    """The sums of terms in the type, from left to right in every order."""
    kind = dtype_named(dtype).type
    sums = set()
    for order in itertools.permutations(terms):
        total = kind(order[0])
        for term in order[1:]:
            total = kind(total + kind(term))
        sums.add(float(total))
    return sums


@pytest.mark.claim("FN-10")
@pytest.mark.parametrize(("name", "bits"), [("float32", 24), ("float64", 53), ("bfloat16", 8), ("float16", 11)])
def test_up_to_two_to_the_bits_every_order_gives_one_sum_and_beyond_not(name: str, bits: int) -> None:
    half = 2.0 ** (bits - 1)
    kind = dtype_named(name)
    for terms, exact in (([half / 2, half / 2 - 3, 1.0, -1.0], True), ([half, half, 1.0, 1.0], False)):
        data, weights = np.ones((1, 4), kind), np.array([terms]).astype(kind)
        instance = Instance.of(data, weights, [fired([0])])
        bound = errors(instance, PRECISIONS[name])["fired at step 2"]
        assert (bound == 0.0).all() == exact
        assert (len(in_every_order(terms, name)) == 1) == exact


@pytest.mark.claim("FN-10")
def test_numbers_that_are_flushed_or_rounded_are_not_exact() -> None:
    least, x = np.ldexp(1.0, -126), np.ones((1, 1), np.float32)
    for weight, threshold, exact in ((least, 0.0, True), (least / 2, 0.0, False), (1.0, 0.1, False), (1.0, 0.5, True)):
        instance = Instance.of(x, np.array([[weight]], np.float32), [fired([0])], threshold=threshold)
        for name in ("float32", "float32-incremental"):
            assert (errors(instance, PRECISIONS[name])["fired at step 2"] == 0).all() == exact
    cut = Instance.of(x, np.array([[1.0 + 2**-11]], np.float32), [fired([0])], threshold=1.0)
    assert (errors(cut, PRECISIONS["float32"])["fired at step 2"] == 0).all()
    assert (errors(cut, PRECISIONS["tf32"])["fired at step 2"] > 2.0**-12).all()
    wide = Instance.of(x.astype(float), np.array([[0.1]]), [fired([0])])  # float64 numbers in the class float32
    assert (errors(wide, PRECISIONS["float32"])["fired at step 2"] > 0).all()


@pytest.mark.claim("FN-10")
def test_a_history_of_large_weights_is_not_exact_in_an_incremental_structure() -> None:
    x = np.ones((1, 1), np.float32)
    calls = [update([0], [[2.0**23]]), update([0], [[0.25]]), fired([0])]
    instance = Instance.of(x, x, calls)
    assert errors(instance, PRECISIONS["float32"])["fired at step 4"] == 0
    assert errors(instance, PRECISIONS["float32-incremental"])["fired at step 4"] > 0
    fine = Instance.of(x, x, [update([0], [[2.0**-30]]), update([0], [[1.0]]), fired([0])])
    assert errors(fine, PRECISIONS["float32"])["fired at step 4"] == 0
    assert errors(fine, PRECISIONS["float32-incremental"])["fired at step 4"] > 0
    small = Instance.of(x, x, [update([0], [[2.0**20]]), update([0], [[0.25]]), fired([0])])
    assert errors(small, PRECISIONS["float32-incremental"])["fired at step 4"] == 0


def test_exact_sums_of_zeros_are_exact() -> None:
    zero = lowest_bits(np.zeros((1, 3))).min(axis=1)
    one = lowest_bits(np.ones((1, 3))).min(axis=1)
    assert exact_sums(zero, one, NONE, np.zeros((1, 1)), 24, 2.0**-126).all()
    tiny = np.array([-700])  # of numbers whose product is 0 in float64
    assert not exact_sums(tiny, tiny, NONE, np.zeros((1, 1)), 53, 2.0**-1022).any()


@pytest.mark.claim("FN-12")
@pytest.mark.claim("FN-10")
def test_a_margin_below_all_numbers_keeps_its_sign_and_is_no_tie() -> None:
    weights = np.array([[1e-200, 0.0], [-1e-200, 0.0], [0.0, 1.0]])
    instance = Instance.of(np.array([[1e-200, 0.0]]), weights, [fired([0])])
    margin = define(instance)
    assert np.sign(margin.midpoint).tolist() == [1.0, -1.0, 0.0]
    assert (margin.lower <= [0.0, 0.0, 0.0]).all()
    assert (margin.upper >= [0.0, 0.0, 0.0]).all()
    assert margin.radius[2] == 0.0
    held_to = criteria(instance, "float64")["fired at step 2"]
    for answer in ([True, False, False], [False, False, False]):  # of exact arithmetic, and of float64
        assert held_to.ratio(np.array([answer])).max() <= 1.0
    assert errors(instance, PRECISIONS["float64"])["fired at step 2"][0, :2].min() > 0.0


# --- the criteria -----------------------------------------------------------------------------------------------------


def test_a_tie_does_not_fire_where_arithmetic_is_exact() -> None:
    x = np.array([[1.0, 2.0]], np.float32)
    instance = Instance.of(x, np.array([[1.0, 1.0], [3.0, 0.0], [3.5, 0.0]], np.float32), [fired([0])], threshold=3.0)
    for name in PRECISIONS:
        held_to = criteria(instance, name)["fired at step 2"]
        assert held_to.ratio(np.array([[False, False, True]])).max() == 0.0
        assert np.isposinf(held_to.ratio(np.array([[True, True, True]]))[0, :2]).all()
        assert np.isposinf(held_to.ratio(np.array([[False, False, False]]))[0, 2])
    assert held_to.expected((0, 0)) == "expected no: it is a tie"
    assert held_to.expected((0, 2)) == "expected yes by a margin of 0.5"


@pytest.mark.claim("FN-5")
def test_within_the_bound_either_answer_is_right_and_beyond_it_one() -> None:
    for name in ("float64", "float32", "bfloat16"):
        x, near = (np.array([row]).astype(dtype_named(name)) for row in ([1.0, 1 / 3], [0.5, 1 / 7]))
        exact = float(x[0].astype(float) @ near[0].astype(float))
        bound = float(tolerance(Instance.of(x, near, [fired([0])], threshold=exact), name)[0])
        for factor, both in ((0.5, True), (2.0, False)):
            instance = Instance.of(x, near, [fired([0])], threshold=exact + factor * bound)
            ratio = criteria(instance, name)["fired at step 2"].ratio
            assert float(ratio(np.array([[False]])).max()) == 0.0
            assert (float(ratio(np.array([[True]])).max()) <= 1.0) == both


@pytest.mark.claim("FN-5")
def test_a_query_that_is_asked_again_before_an_update_is_held_to_its_answer() -> None:
    x = np.array([[1.0], [2.0]], np.float32)
    calls = [
        fired([0, 1]),
        fired([1, 0]),
        fired([0, 1]),
        data_of([0]),
        fired([0, 1], threshold=0.3),
        update([0], x[:1]),
    ]
    instance = Instance.of(x, x, [*calls, fired([0, 1])], threshold=0.1)
    held_to = criteria(instance, "float32")
    again = [name for name in held_to if " as at " in name]
    assert again == ["fired at step 4 as at step 2"]
    criterion = held_to[again[0]]
    assert criterion.outputs == ("fired at step 2", "fired at step 4")
    one, other = np.array([[True, False]]), np.array([[True, True]])
    assert criterion.ratio(one, one).max() == 0
    assert np.isposinf(criterion.ratio(one, other)).tolist() == [[False, True]]
    assert not any(" as at " in name for name in criteria(instance, "float32", repeatable=False))


@pytest.mark.parametrize("structure", [Lazy, Eager])
def test_right_structures_are_held_to_be_right(structure: Any) -> None:
    for seed, integers in itertools.product(range(10), (False, True)):
        instance = scripted(seed, integers=integers)
        if structure is Eager:
            instance = instance.replace(thresholds=None)
        answers = played(structure, instance)
        for name, criterion in criteria(instance, "float32").items():
            outputs = criterion.outputs or (name,)
            assert criterion.ratio(*(answers[output] for output in outputs)).max(initial=0.0) <= 1.0


def test_the_two_ends_of_the_trade_off_count_what_they_multiply() -> None:
    rng = np.random.default_rng(0)
    n, m, d = 30, 20, 4
    data, weights = rng.standard_normal((n, d)), rng.standard_normal((m, d))
    lazy, eager = (kind(data, weights, threshold=0.5) for kind in (Lazy, Eager))
    assert (lazy.multiplications, eager.multiplications) == (0, n * m * d)
    for structure in (lazy, eager):
        structure.update([3], weights[:1])
    assert (lazy.multiplications, eager.multiplications) == (0, n * m * d + n * d)
    assert np.array_equal(lazy.data_of([3, 5]), eager.data_of([3, 5]))
    assert np.array_equal(lazy.fired([0, 1]), eager.fired([0, 1]))
    assert eager.points_of(3).tolist() == np.flatnonzero(lazy.data_of([3])[0]).tolist()
    assert (lazy.multiplications, eager.multiplications) == (3 * n * d + 2 * m * d, n * m * d + n * d)


# --- FN-11: laws ------------------------------------------------------------------------------------------------------


@pytest.mark.claim("FN-11")
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.id)
def test_a_law_holds_of_the_definition(law: Any) -> None:
    held = 0
    for seed in range(25):
        instance = scripted(seed, "float64", integers=bool(seed % 2))
        transformed = law.transform(instance, np.random.default_rng(seed))
        outputs = tuple(
            {query.name: define(each, 1e-14, query.name) for query in queries(each)} for each in transformed
        )
        if not transformed:
            continue
        midpoints = tuple({name: value.midpoint for name, value in each.items()} for each in outputs)
        predictions = law.relate(instance, transformed, midpoints)
        assert list(predictions) == [query.name for query in queries(instance)]
        for name, prediction in predictions.items():
            assert len(prediction.weights) == len(transformed)
            assert define(instance, 1e-14, name).ratio(prediction.value, 1e-12 * np.ones(())).max(initial=0.0) <= 1.0
            held += 1
    assert held > 20


@pytest.mark.claim("FN-11")
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.id)
def test_a_law_asks_another_question_than_the_instance(law: Any) -> None:
    others = []
    for seed in range(25):
        instance = scripted(seed)
        transformed = law.transform(instance, np.random.default_rng(seed))
        others += [each.digest() != instance.digest() for each in transformed]
    assert sum(others) > len(others) / 2


def test_a_law_says_nothing_where_a_number_would_be_lost() -> None:
    (scale,) = (law for law in LAWS if law.id == "scale")
    x = np.full((1, 1), np.finfo(np.float32).max)
    assert scale.transform(Instance.of(x, x, [fired([0])]), np.random.default_rng(0)) == ()
    y = np.ones((1, 1), np.float32)
    (folded,) = (law for law in LAWS if law.id == "threshold")
    assert folded.transform(Instance.of(y, y, [fired([0])], threshold=0.1), np.random.default_rng(0)) == ()


@pytest.mark.parametrize(
    "module",
    [
        *(f"firing_neurons.{name}" for name in ("instance", "definition", "exactness", "rounding", "tolerance")),
        *(f"firing_neurons.{name}" for name in ("criteria", "play")),
        *(f"firing_neurons_training.{name}" for name in ("instance", "definition", "tolerance", "criteria")),
    ],
)
def test_the_examples_of_a_module_run(module: str) -> None:
    failed, ran = doctest.testmod(importlib.import_module(f"assay.spec.{module}"))
    assert (failed, ran > 0) == (0, True)
