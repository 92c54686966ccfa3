"""What an instance is held to is found once: by a judge, and by all judges that share what they know."""

from __future__ import annotations

import dataclasses
from contextvars import Context
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from toy.kernels import doubled
from toy.suites import DOUBLING, Doubling

from assay.conformance.interface.targets import kernel_of
from assay.conformance.judge.judge import Judge
from assay.conformance.judge.references import References, share, shared
from assay.spec.precision import precision

if TYPE_CHECKING:
    from collections.abc import Callable

INSTANCE = Doubling(np.arange(3.0, dtype=np.float32))


class Counted:
    """Judges of the toy problem, and the classes and conventions in which criteria were evaluated."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def criteria(self, instance: Any, kernel: Any, machine: Any) -> Any:
        self.asked.append((machine.name, dict(kernel.conventions)))
        return DOUBLING.criteria(instance, kernel, machine)

    def judge(self, name: str = "float32", **conventions: str) -> Judge:
        kernel = kernel_of(doubled, "toy.suites:DOUBLING")
        made = Judge(dataclasses.replace(kernel, conventions=conventions), precision(name, DOUBLING.spec.PRECISIONS))
        made.suite = dataclasses.replace(made.suite, criteria=self.criteria)
        return made


def anew(function: Callable[[], Any]) -> Any:
    """What a function returns where nothing is shared, as the tests of this repository do."""
    return Context().run(function)


def test_a_judge_finds_it_once_for_equal_contents() -> None:
    counted = Counted()
    judge = anew(counted.judge)
    first = judge.criteria(INSTANCE)
    assert judge.criteria(INSTANCE.replace(points=INSTANCE.points.copy())) is first
    assert judge.criteria(INSTANCE.replace(factor=3.0)) is not first
    assert len(counted.asked) == 2


def test_judges_share_it_inside_a_block_and_from_a_call_on_and_nowhere_else() -> None:
    counted = Counted()

    def both() -> None:
        for _ in range(2):
            counted.judge().criteria(INSTANCE)

    def inside() -> None:
        with shared():
            both()
            with shared():
                both()
        both()

    def from_here_on() -> None:
        share()
        both()
        share()
        both()

    found = []
    for function in (both, inside, from_here_on):
        counted.asked.clear()
        anew(function)
        found.append(len(counted.asked))
    assert found == [2, 1 + 2, 1]


def test_another_class_and_another_convention_have_their_own() -> None:
    counted = Counted()

    def all_of_them() -> None:
        with shared():
            for name, conventions in (("float32", {}), ("float64", {}), ("float32", {"some": "other"})):
                counted.judge(name, **conventions).criteria(INSTANCE)

    anew(all_of_them)
    assert counted.asked == [("float32", {}), ("float64", {}), ("float32", {"some": "other"})]


def test_what_was_asked_for_first_is_forgotten_first_and_what_is_too_large_at_once() -> None:
    references, found = References(most=3000), []

    def of(key: str, size: int = 500) -> None:
        references.of(key, size, lambda: found.append(key) or {})

    for key in ("a", "b", "c", "a", "d", "a", "c", "b"):
        of(key)
    assert found == ["a", "b", "c", "d", "b"]
    of("e", 3000)
    of("e", 3000)
    of("b")
    assert found[5:] == ["e", "e"]
    assert references.held <= references.most


def test_what_cannot_be_found_is_asked_for_again() -> None:
    references = References()
    for _ in range(2):
        with pytest.raises(ArithmeticError):
            references.of("a", 1, lambda: {}[0 // 0])  # type: ignore[call-overload]
    assert references.of("a", 1, dict) == {}
    assert len(references) == 1
