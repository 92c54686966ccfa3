"""References that a thread finds ahead of a judge: the same verdicts, and found while the kernel works."""

from __future__ import annotations

import dataclasses
import threading
from contextvars import Context
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from assay.conformance.interface.targets import kernel_of
from assay.conformance.judge.ahead import FURTHEST, going_ahead
from assay.conformance.judge.judge import Judge
from assay.conformance.judge.level import Chosen, Run
from assay.conformance.judge.references import References
from assay.spec.precision import precision

if TYPE_CHECKING:
    from assay.conformance.report.report import Report

Array = np.ndarray[Any, Any]
pytestmark = pytest.mark.usefixtures("undiagnosed")


def good(query: Array, key: Array, value: Array, *, scale: float) -> Array:
    q, k, v = (array.astype(np.float64) for array in (query, key, value))
    k, v = (np.repeat(array, q.shape[1] // k.shape[1], axis=1) for array in (k, v))
    scores = scale * (q @ k.swapaxes(-1, -2))
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(((weights @ v) / weights.sum(axis=-1, keepdims=True)).astype(query.dtype))


def bad(query: Array, key: Array, value: Array, *, scale: float) -> Array:
    return good(query, key, value, scale=scale or 1.0)


class Watched(Judge):
    """A judge that notes which thread finds criteria, of its own store."""

    def criteria(self, instance: Any, *others: Any) -> Any:
        found = super().criteria(instance, *others)
        if threading.current_thread().name == "references":
            seen.set()
        return found


seen = threading.Event()


def judged(kernel: Any, families: tuple[str, ...] = ("one-key", "tails", "scale", "drawn"), **options: Any) -> Report:
    def run() -> Report:
        judge = Watched(kernel_of(kernel, "attention"), precision("float32"))
        return Run(judge, "smoke", 0, chosen=Chosen(families), **options).report()

    return Context().run(run)


@pytest.mark.parametrize("kernel", [good, bad])
def test_verdicts_are_the_same_with_references_found_ahead(kernel: Any) -> None:
    seen.clear()
    here = judged(kernel)
    assert not seen.is_set()
    ahead = judged(kernel, ahead=True)
    assert seen.is_set()
    said = [
        [(case.name, case.family, case.status, case.ratio, case.reason) for case in report.cases]
        for report in (here, ahead)
    ]
    assert said[0] == said[1]
    assert (here.passed, here.notes) == (ahead.passed, ahead.notes)
    assert here.passed == (kernel is good)


def test_references_are_found_while_the_kernel_works() -> None:
    seen.clear()
    waited = []

    def slow(query: Array, key: Array, value: Array, *, scale: float) -> Array:
        waited.append(seen.wait(5.0))
        return good(query, key, value, scale=scale)

    judged(slow, ("one-key",), ahead=True)
    assert waited
    assert all(waited)


def test_a_thread_goes_no_further_ahead_than_it_may_and_ends_with_the_block() -> None:
    found, enough = [], threading.Semaphore(0)

    class Stub:
        def lacking(self, case: Any) -> str:
            return "lacks it" if case.instance == 2 else ""

        def criteria(self, instance: Any) -> None:
            found.append(instance)
            enough.release()
            if instance == 1:
                raise ValueError("cannot be found")

    @dataclasses.dataclass(frozen=True, eq=False)
    class Stand:
        instance: int

    cases: Any = [Stand(n) for n in range(4 * FURTHEST)]
    judge: Any = Stub()
    with going_ahead(judge, cases) as told:
        for _ in range(FURTHEST - 1):
            assert enough.acquire(timeout=10.0)
        assert not enough.acquire(timeout=0.05)
        told(cases[0])
        assert enough.acquire(timeout=10.0)
        told(Stand(3))  # of another list
        told(cases[3])
        for _ in range(3):
            assert enough.acquire(timeout=10.0)
        assert not enough.acquire(timeout=0.05)
    assert found == [n for n in range(FURTHEST + 4) if n != 2]
    assert "references" not in {thread.name for thread in threading.enumerate()}


def test_threads_that_ask_for_the_same_find_it_once_and_are_told_what_went_wrong() -> None:
    for wrong in (False, True):
        references, begun, go_on = References(), threading.Event(), threading.Event()
        found: list[Any] = []
        evaluated: list[str] = []

        def evaluate(wrong: bool = wrong, begun: Any = begun, go_on: Any = go_on, seen: Any = evaluated) -> Any:
            seen.append("once")
            begun.set()
            assert go_on.wait(10.0)
            if wrong:
                raise ArithmeticError("not to be found")
            return {}

        def ask(references: Any = references, evaluate: Any = evaluate, found: Any = found) -> None:
            try:
                found.append(references.of("a", 1, evaluate))
            except ArithmeticError as error:
                found.append(str(error))

        threads = [threading.Thread(target=ask) for _ in range(2)]
        threads[0].start()
        assert begun.wait(10.0)
        threads[1].start()
        go_on.set()
        for thread in threads:
            thread.join(10.0)
        assert len(references) == (0 if wrong else 1)
        if wrong:
            assert set(found) == {"not to be found"}
        else:
            assert found == [{}, {}]
            assert evaluated == ["once"]


@pytest.mark.parametrize(
    ("name", "device", "ahead"),
    [
        ("numpy", "", False),
        ("torch", "cpu", False),
        ("torch", "cuda:1", True),
        ("jax", "cuda", True),
        ("cupy", "", True),
    ],
)
def test_references_are_found_ahead_of_kernels_that_work_beside_the_cpu(name: str, device: str, ahead: bool) -> None:
    judge = Judge(kernel_of(good, "attention"), precision("float32"))
    judge.framework = dataclasses.replace(judge.framework, name=name, device=device)
    assert Run(judge, "smoke", 0).goes_ahead == ahead
    assert not Run(judge, "smoke", 0, elsewhere=lambda cases: iter(())).goes_ahead
