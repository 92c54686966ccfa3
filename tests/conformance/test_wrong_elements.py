"""Of a wrong output it is told how many elements are wrong and where: the subscript selects every one of them."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from assay.conformance.call.call import Answer
from assay.conformance.call.outcome import compared
from assay.conformance.call.wrong import wrong_elements
from assay.spec.criterion import bounded, close
from assay.spec.enclosure import Enclosure


def selected(where: str, shape: tuple[int, ...]) -> np.ndarray:
    """The elements that a subscript selects, each axis by itself."""
    chosen = np.zeros(shape, bool)
    axes: list[np.ndarray] = []

    class Reader:
        def __getitem__(self, key: object) -> tuple[object, ...]:
            return key if isinstance(key, tuple) else (key,)

    for key, length in zip(eval(f"reader{where}", {"reader": Reader()}), shape, strict=True):
        axes.append(np.atleast_1d(np.arange(length)[key]))
    chosen[np.ix_(*axes)] = True
    return chosen


@pytest.mark.parametrize("seed", range(60))
def test_the_subscript_selects_every_wrong_element_and_says_whether_it_selects_others(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(int(k) for k in rng.integers(1, 9, size=rng.integers(1, 5)))
    kept = [rng.random(length) < rng.choice([0.2, 0.6, 1.0]) for length in shape]
    wrong = np.ones(shape, bool)
    for axis, keep in enumerate(kept):
        wrong &= keep.reshape([-1 if k == axis else 1 for k in range(len(shape))])
    if rng.random() < 0.3:
        wrong &= rng.random(shape) < 0.7
    told = wrong_elements("output", np.where(wrong, np.inf, 1.0))
    if not wrong.any():
        assert told is None
        return
    assert told is not None
    chosen = selected(told.where, shape)
    assert (told.count, told.elements) == (wrong.sum(), wrong.size)
    assert not (wrong & ~chosen).any()
    assert told.exact == bool((chosen == wrong).all())


@pytest.mark.parametrize(
    ("indices", "length", "where"),
    [
        ([0], 1, "[0]"),
        ([2], 5, "[2]"),
        ([0, 1, 2], 3, "[:]"),
        ([1, 2], 5, "[1:3]"),
        ([0, 2, 4], 5, "[0:5:2]"),
        ([0, 3], 5, "[[0, 3]]"),
        ([0, 1, 3, 4, 6, 7, 9], 12, "[0:10]"),
    ],
)
def test_indices_are_told_as_briefly_as_they_can_be(indices: list[int], length: int, where: str) -> None:
    ratios = np.zeros(length)
    ratios[indices] = 2.0
    told = wrong_elements("output", ratios)
    assert told is not None
    assert told.where == where


def answer(**values: np.ndarray) -> Answer:
    return Answer(values)


def exactly(value: np.ndarray, tolerance: float) -> object:
    return close(Enclosure(value, np.zeros(value.shape)), np.full(value.shape, tolerance))


def test_an_outcome_counts_the_wrong_elements_of_every_output() -> None:
    zeros = np.zeros((2, 3))
    criteria = {"a": exactly(zeros, 0.5), "b": exactly(zeros, 0.5), "c": exactly(zeros, 0.5)}
    right, wrong, other = zeros.copy(), zeros.copy(), zeros.copy()
    wrong[1, 1:] = 1.0
    other[0, 0] = np.nan
    outcome = compared(answer(a=right, b=wrong, c=other), criteria)  # type: ignore[arg-type]
    assert [part.sentence for part in outcome.wrong] == ["2 of 6 elements: b[1, 1:3]", "1 of 6 elements: c[0, 0]"]
    assert compared(answer(a=right), {"a": criteria["a"]}).wrong == ()  # type: ignore[dict-item]


def test_an_output_that_is_judged_as_a_whole_has_no_wrong_elements() -> None:
    outcome = compared(answer(a=np.ones(3)), {"a": bounded(lambda x: float(x.max()), 0.5, "largest entry")})
    assert outcome.failed
    assert outcome.wrong == ()


@pytest.mark.parametrize("allowed", [0.0, 0.5])
def test_a_sentence_has_a_ratio_only_where_an_error_is_allowed(allowed: float) -> None:
    outcome = compared(answer(a=np.array([3.0])), {"a": exactly(np.array([5.0]), allowed)})  # type: ignore[dict-item]
    ending = {0.0: ": no error is allowed there", 0.5: " (tolerance 0.5): off by 4 tolerances"}[allowed]
    assert outcome.sentence == f"a[0] is 3, the exact value 5{ending}"


@pytest.mark.parametrize("got", [np.nan, np.inf])
def test_a_number_that_is_none_is_not_said_to_have_no_allowance(got: float) -> None:
    outcome = compared(answer(a=np.array([got])), {"a": exactly(np.array([5.0]), 0.5)})  # type: ignore[dict-item]
    assert outcome.sentence == f"a[0] is {got}, the exact value 5 (tolerance 0.5)"


def test_the_ways_of_an_axis_are_all_tried() -> None:
    """Every set of indices of an axis of five is told by a subscript that selects it."""
    for bits in product([False, True], repeat=5):
        if any(bits):
            told = wrong_elements("output", np.where(bits, 2.0, 0.0))
            assert told is not None
            assert (selected(told.where, (5,)) == np.array(bits)).all()
