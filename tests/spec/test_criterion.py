"""What outputs are held to: closeness, decisions and certified measures; nothing right is ever blamed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.spec import attention
from assay.spec.criterion import Criterion, bounded, close, decided, each_close
from assay.spec.enclosure import Enclosure
from assay.spec.precision import Precision, precision, reference_accuracy


def enclosure(midpoint: Any, radius: Any = 0.0) -> Enclosure:
    middle = np.asarray(midpoint, np.float64)
    return Enclosure(middle, np.broadcast_to(np.asarray(radius, np.float64), middle.shape).copy())


# --- close ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "ratio"),
    [(1.0, 0.0), (1.25, 0.0), (1.75, 1.0), (0.25, 1.0), (2.25, 2.0), (np.nan, np.inf), (np.inf, np.inf)],
)
def test_closeness_counts_what_is_outside_of_the_enclosure_in_tolerances(value: float, ratio: float) -> None:
    criterion = close(enclosure([1.0], 0.25), np.array([0.5]))
    assert criterion.ratio(np.array([value])) == pytest.approx([ratio], rel=1e-12)
    assert criterion.value is not None
    assert criterion.expected((0,)) == "the exact value 1"


def test_the_certified_value_is_never_blamed_and_the_edge_of_the_tolerance_passes() -> None:
    value, tolerance = enclosure(np.linspace(-3, 3, 50), 1e-3), np.full(50, 0.1)
    criterion = close(value, tolerance)
    for inside in (value.midpoint, value.midpoint + 1e-3, value.midpoint - 0.1 - 1e-3, value.midpoint + 0.101):
        assert (criterion.ratio(inside) <= 1.0).all()


def test_nothing_is_judged_where_everything_is_allowed() -> None:
    unjudged = close(enclosure([1.0, 2.0]), np.array([np.inf, np.inf]))
    assert not unjudged.judges()
    assert unjudged.ratio(np.array([np.nan, 1e300])).tolist() == [0.0, 0.0]
    assert close(enclosure([1.0, 2.0]), np.array([np.inf, 0.1])).judges()


def test_an_output_of_another_type_is_compared_as_it_is() -> None:
    criterion = close(enclosure([1.0, 3.0]), np.array([0.5, 0.5]))
    assert criterion.ratio(np.array([1, 4], np.int8)) == pytest.approx([0.0, 2.0])
    assert criterion.ratio(np.float16([1.0, 3.25])) == pytest.approx([0.0, 0.5])


# --- decided ----------------------------------------------------------------------------------------------------------


def test_a_wrong_decision_is_as_wrong_as_its_margin_is_wide() -> None:
    criterion = decided(enclosure([2.0, -1.0, 4.0]), np.array([0.5, 4.0, 2.0]))
    assert criterion.ratio(np.array([True, False, True])).tolist() == [0.0, 0.0, 0.0]
    assert criterion.ratio(np.array([False, True, False])) == pytest.approx([4.0, 0.25, 2.0])
    assert [criterion.expected((i,)) for i in (0, 1)] == [
        "expected yes by a margin of 2",
        "expected no by a margin of 1",
    ]


@pytest.mark.parametrize("answer", [True, False])
@pytest.mark.parametrize("middle", [-0.25, 0.0, 0.25])
def test_a_margin_that_may_be_zero_decides_nothing_and_blames_no_one(middle: float, answer: bool) -> None:
    for tolerance in (0.0, 1.0):
        criterion = decided(enclosure([middle], 0.25), np.array([tolerance]))
        assert criterion.ratio(np.array([answer])).tolist() == [0.0]


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_at_the_edge_of_the_tolerance_a_wrong_decision_counts_exactly_one(sign: float) -> None:
    wrong = np.array([sign < 0])
    edge = decided(enclosure([sign * 0.5]), np.array([0.5])).ratio(wrong)
    assert np.nextafter(1.0, 0.0) <= edge[0] <= 1.0
    assert decided(enclosure([sign * np.nextafter(0.5, 1.0)]), np.array([0.5])).ratio(wrong)[0] >= edge[0]
    assert decided(enclosure([sign * 0.75]), np.array([0.5])).ratio(wrong)[0] > 1.0


def test_where_nothing_is_allowed_a_decided_margin_must_be_met() -> None:
    criterion = decided(enclosure([1e-300, -1e-300, 0.0]), np.zeros(3))
    assert criterion.ratio(np.array([False, True, True])).tolist() == [np.inf, np.inf, 0.0]
    assert criterion.ratio(np.array([True, False, False])).tolist() == [0.0, 0.0, 0.0]


@given(
    true=st.floats(-10, 10),
    off=st.floats(-1, 1),
    radius=st.floats(0, 1),
    tolerance=st.floats(0, 2),
    error=st.floats(-1, 1),
)
def test_a_kernel_whose_margin_errs_within_the_tolerance_is_never_blamed(
    true: float, off: float, radius: float, tolerance: float, error: float
) -> None:
    """The margin is anywhere in its enclosure, and the kernel's anywhere within the tolerance of the margin."""
    margin = enclosure([true + off * radius], radius * (1 + 2.0**-50) + 2.0**-48)
    answer = true + error * tolerance > 0.0
    assert decided(margin, np.array([tolerance])).ratio(np.array([answer])).max() <= 1.0


# --- bounded ----------------------------------------------------------------------------------------------------------


def test_a_measure_is_compared_with_its_limit() -> None:
    criterion = bounded(lambda pairs: float(len(pairs)), 4.0, "calls")
    assert criterion.ratio(np.zeros((3, 2))) == pytest.approx(0.75)
    assert criterion.ratio(np.zeros((8, 2))) == pytest.approx(2.0)
    assert criterion.expected(()) == "expected calls of at most 4"


def test_an_output_that_makes_no_sense_is_beyond_every_limit() -> None:
    assert bounded(lambda x: np.inf, 1e300, "distance").ratio(np.zeros(1)) == np.inf


def test_a_limit_of_nothing_allows_nothing_and_an_infinite_one_everything() -> None:
    assert bounded(lambda x: 0.0, 0.0, "excess").ratio(np.zeros(1)) == 0.0
    assert bounded(lambda x: 1e-300, 0.0, "excess").ratio(np.zeros(1)) == np.inf
    unlimited = bounded(lambda x: 1e300, np.inf, "excess")
    assert unlimited.ratio(np.zeros(1)) == 0.0
    assert not unlimited.judges()


# --- several outputs --------------------------------------------------------------------------------------------------


def test_a_criterion_of_several_outputs_takes_their_values_in_order() -> None:
    """A sparsifier's edges are judged with their weights, which no one output tells alone."""
    criterion = bounded(
        lambda left, weight: float(np.abs(np.bincount(left, weight) - 1.0).max()),
        0.5,
        "deviation",
        outputs=("left", "weight"),
    )
    assert criterion.outputs == ("left", "weight")
    assert criterion.ratio(np.array([0, 0, 1]), np.array([0.5, 0.5, 1.25])) == pytest.approx(0.5)


def test_a_criterion_of_one_output_stands_under_its_name() -> None:
    assert close(enclosure([1.0]), np.ones(1)).outputs == ()
    assert Criterion(lambda x: np.zeros(1), np.ones(1), str).ratio(np.zeros(1)).tolist() == [0.0]


# --- criteria of a problem --------------------------------------------------------------------------------------------


def test_each_output_is_close_to_its_definition_within_its_tolerance() -> None:
    accuracies = []

    def define(instance: float, relative: float, output: str) -> Enclosure:
        accuracies.append(relative)
        return enclosure([instance if output == "same" else 2 * instance])

    def tolerance(instance: float, u: Precision, output: str) -> Any:
        return np.array([u.product if output == "same" else 1.0])

    u = precision("float32")
    criteria = each_close(define, tolerance, ("same", "double"))(3.0, u)
    assert list(criteria) == ["same", "double"]
    assert criteria["double"].ratio(np.array([6.5])) == pytest.approx([0.5])
    assert criteria["same"].ratio(np.array([3.0 + 2.0**-23])) == pytest.approx([2.0])
    assert accuracies == [reference_accuracy(u)] * 2


@pytest.mark.parametrize("name", ["float64", "float32", "bfloat16"])
@pytest.mark.parametrize("return_lse", [False, True])
def test_attention_is_held_to_the_outputs_that_the_instance_asks_for(name: str, return_lse: bool) -> None:
    rng = np.random.default_rng(3)
    u = precision(name)
    query, key, value = rng.standard_normal((3, 1, 2, 4, 3)).astype(np.float32)
    instance = attention.Instance(query, key, value, is_causal=True, return_lse=return_lse)
    criteria = attention.criteria(instance, u)
    assert tuple(criteria) == attention.OUTPUTS[: 1 + return_lse]
    for output, criterion in criteria.items():
        exact = attention.define(instance, reference_accuracy(u), output).midpoint
        assert criterion.ratio(exact).max() == 0.0
        assert (criterion.allowed == attention.tolerance(instance, u, output)).all()
        wrong = exact + 3 * criterion.allowed
        assert criterion.ratio(wrong)[criterion.allowed > 0].min() > 2.0


def test_at_the_edge_attention_counts_its_tolerance_as_one() -> None:
    x = np.arange(3.0, dtype=np.float32).reshape(1, 1, 3, 1)
    criterion = attention.criteria(attention.Instance(x, x, x), precision("float32"))["output"]
    assert criterion.value is not None
    edge = criterion.value.midpoint + criterion.allowed
    assert (criterion.ratio(edge) <= 1.0).all()
    assert (criterion.ratio(edge) > 0.999).all()
