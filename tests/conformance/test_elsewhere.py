"""A level whose cases are judged elsewhere: the same report, in the same order, whatever becomes of the other place."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from assay.conformance.engagement import check
from assay.conformance.interface.usage import UsageError
from assay.conformance.judge.judge import Judge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from assay.conformance.report.report import Report

Array = np.ndarray[Any, Any]

pytestmark = pytest.mark.usefixtures("undiagnosed")


def good(query: Array, key: Array, value: Array, *, scale: float) -> Array:
    q, k, v = (array.astype(np.float64) for array in (query, key, value))
    k, v = (np.repeat(array, q.shape[1] // k.shape[1], axis=1) for array in (k, v))
    scores = scale * (q @ k.swapaxes(-1, -2))
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return ((weights @ v) / weights.sum(axis=-1, keepdims=True)).astype(query.dtype)


def bad(query: Array, key: Array, value: Array, *, scale: float) -> Array:
    return good(query, key, value, scale=scale or 1.0)


def judged(kernel: Any, **options: Any) -> Report:
    return check(kernel, "attention", level="smoke", **options)


def cases(report: Report) -> list[tuple[Any, ...]]:
    """What a report says of its cases, in their order, but for what depends on the clock."""
    return [(case.name, case.family, case.status, case.ratio, case.reason) for case in report.cases]


@pytest.mark.parametrize("kernel", [good, bad])
def test_a_level_judged_elsewhere_has_the_same_cases_in_the_same_order(
    kernel: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    names, canaries, outcome = [], set(), Judge.outcome

    def recorded(judge: Judge, case: Any, *others: Any, huge_canaries: bool = False, **more: Any) -> Any:
        canaries.add((case.name, huge_canaries))
        return outcome(judge, case, *others, huge_canaries=huge_canaries, **more)

    monkeypatch.setattr(Judge, "outcome", recorded)

    def engine(function: Callable[[Any], Any], pieces: Iterable[Any]) -> Iterator[Any]:
        whole = list(pieces)
        names.extend(case.name for piece in whole for case, _ in piece)
        results = [function(piece) for piece in reversed(whole)]  # in another order, as a cluster computes them
        return reversed(results)

    here, before = judged(kernel), canaries.copy()
    canaries.clear()
    there = judged(kernel, engine=engine)
    assert cases(there) == cases(here)
    assert canaries == before
    assert (there.passed, there.notes) == (here.passed, here.notes)
    assert here.passed == (kernel is good)
    assert {case.name for case in here.cases if case.status == "passed" and case.family == "tails"} <= set(names)


def test_what_is_said_elsewhere_is_what_is_recorded() -> None:
    wrong = "the other place says so"

    def engine(function: Callable[[Any], Any], pieces: Iterable[Any]) -> Iterator[Any]:
        for number, piece in enumerate(pieces):
            results = function(piece)
            if number == 0:
                results = [
                    (dataclasses.replace(one, status="failed", kind="wrong", sentence=wrong), 0.0) for one, _ in results
                ]
            yield results

    report = judged(good, engine=engine)
    assert not report.passed
    assert [case.finding is not None for case in report.cases[:6]] == [True] * 4 + [False] * 2


def test_the_rest_of_a_level_is_judged_here_where_nothing_comes_back() -> None:
    def engine(function: Callable[[Any], Any], pieces: Iterable[Any]) -> Iterator[Any]:
        yield function(next(iter(pieces)))
        raise TimeoutError

    here, there = judged(bad), judged(bad, engine=engine)
    assert cases(there) == cases(here)
    assert "judged here, as no case came back from elsewhere any more: TimeoutError" in there.notes


def test_what_the_caller_is_to_be_told_of_the_other_place_is_told() -> None:
    def engine(function: Callable[[Any], Any], pieces: Iterable[Any]) -> Iterator[Any]:
        raise UsageError("the workers died")

    with pytest.raises(UsageError, match="the workers died"):
        judged(good, engine=engine)
