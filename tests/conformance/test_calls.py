"""Calls that meet: one after another with something changed, several at once, one again and again."""

from __future__ import annotations

import shlex
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy.kernels import Array, doubled
from toy.suites import Doubling

import assay
from assay.conformance.call.outcome import Outcome
from assay.conformance.call.threads import together
from assay.conformance.interface.layouts import Layout
from assay.conformance.interface.suite import CONCURRENT_CALLS, Case, Family
from assay.conformance.interface.targets import kernel_of
from assay.conformance.judge.judge import Judge
from assay.impl import cpu
from assay.spec.attention import Instance as Attention
from assay.spec.precision import precision

FAMILY = Family("test", "a fault that is known", "here")
FLOAT32 = precision("float32")
TOY = Doubling.problem
CHANGES = {
    "factor": lambda instance: instance.replace(factor=-instance.factor),
    "numbers": lambda instance: instance.replace(points=instance.points[::-1] + np.float32(5)),
}


def judged(kernel: Any, *, after: tuple[str, ...] = (), beside: tuple[str, ...] = (), **options: Any) -> Outcome:
    instance = Doubling(np.random.default_rng(5).standard_normal(9).astype(np.float32), 3.0)
    changed = [tuple(CHANGES[word](instance) for word in words) for words in (after, beside)]
    needs = frozenset({CONCURRENT_CALLS} if beside else ())
    case = Case("case", FAMILY, instance, after=changed[0], beside=changed[1], needs=needs)
    return Judge(kernel_of(kernel, TOY, options=options), FLOAT32).outcome(case)


# --- one after another ------------------------------------------------------------------------------------------------


_first: dict[Any, Any] = {}


def keeps_the_first_factor(points: Array, *, factor: float = 2.0) -> Any:
    """As one that is compiled for 9 points would."""
    return doubled(points, factor=_first.setdefault(9, factor) if len(points) == 9 else factor)


def cached_by(key_of: Any) -> Any:
    kept: dict[Any, Any] = {}

    def kernel(points: Array, *, factor: float = 2.0) -> Any:
        return kept.setdefault(key_of(points, factor), doubled(points, factor=factor))

    return kernel


@pytest.mark.parametrize("kernel", [doubled, keeps_the_first_factor], ids=lambda kernel: kernel.__name__)
def test_an_option_that_is_kept_from_another_call_is_found(kernel: Any) -> None:
    _first.clear()
    found = judged(kernel, after=("factor",))
    assert found.failed is (kernel is keeps_the_first_factor)
    if found.failed:
        assert found.sentence.startswith("after 1 other call: doubled[")


def test_a_result_by_address_is_found_and_called_the_answer_to_an_earlier_call() -> None:
    found = judged(
        cached_by(lambda points, factor: (points.__array_interface__["data"][0], factor)), after=("numbers",)
    )
    assert found.failed
    assert found.sentence.endswith("it is the answer to an earlier call")


def test_a_result_by_object_is_found() -> None:
    assert judged(cached_by(lambda points, factor: id(points)), after=("numbers",)).failed


def test_a_reference_to_an_earlier_input_is_found_although_it_is_right_where_memory_is_shared() -> None:
    kept: list[Any] = []

    def kernel(points: Array, *, factor: float = 2.0) -> Any:
        kept.append(points)
        return doubled(kept[0], factor=factor)

    assert judged(kernel, after=("numbers",)).failed


def test_a_fault_of_the_call_before_is_told() -> None:
    def kernel(points: Array, *, factor: float = 2.0) -> Any:
        if factor < 0:
            raise ValueError("negative factor")
        return doubled(points, factor=factor)

    assert "negative factor" in judged(kernel, after=("factor",)).sentence


def test_a_finding_of_state_is_reproduced_by_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from assay.cli import main

    (tmp_path / "kernels.py").write_text(Path(__file__).read_text())
    monkeypatch.chdir(tmp_path)
    report = assay.check("kernels.py:keeps_the_first_factor", TOY, level="smoke", reproducers=tmp_path / "found")
    lines = [finding.reproducer for finding in report.failures if finding.family == "state"]
    assert lines
    assert all(" --after " in line for line in lines)
    assert main(shlex.split(lines[0])[1:]) == 1


def test_what_was_right_once_and_is_wrong_again_is_a_failure() -> None:
    seen: dict[Any, int] = {}

    def wrong_at_the_third_time(points: Array, *, factor: float = 2.0) -> Any:
        what = (points.tobytes(), factor)
        seen[what] = seen.get(what, 0) + 1
        return doubled(points, factor=factor * (2.0 if seen[what] == 3 else 1.0))

    report = assay.check(wrong_at_the_third_time, TOY, level="smoke")
    assert any(finding.case.startswith("second call of ") for finding in report.failures)


# --- several at once --------------------------------------------------------------------------------------------------


def test_a_shared_buffer_is_always_found() -> None:
    shared: dict[str, Any] = {}

    def kernel(points: Array, *, factor: float = 2.0) -> Any:
        shared["points"] = points.copy()
        time.sleep(0.03)  # a busy machine lets the other threads begin later
        return doubled(shared["points"], factor=factor)

    for _ in range(5):
        found = judged(kernel, beside=("numbers", "factor"))
        assert found.failed
        assert found.sentence.startswith("called by 3 threads at once: ")
        assert "concurrent_calls=no" in found.sentence


def test_a_buffer_of_each_thread_is_never_blamed() -> None:
    own = threading.local()

    def kernel(points: Array, *, factor: float = 2.0) -> Any:
        own.points = points.copy()
        time.sleep(0.002)
        return doubled(own.points, factor=factor)

    assert all(judged(kernel, beside=("numbers", "factor")).status == "passed" for _ in range(5))


def test_no_thread_enters_the_kernel_before_all_are_there() -> None:
    late, seen = threading.Event(), []
    kernel = kernel_of(lambda points: seen.append(late.is_set()), TOY)

    def call(kernel: Any, seconds: float) -> Outcome:
        time.sleep(seconds)
        if seconds:
            late.set()
        kernel.function(np.ones(1, np.float32))
        return Outcome("passed")

    together(kernel, [lambda kernel: call(kernel, 0.0), lambda kernel: call(kernel, 0.2)], 30.0)
    assert seen
    assert all(seen)


def test_a_lock_is_allowed_and_a_deadlock_hangs() -> None:
    lock, gone = threading.Lock(), threading.Event()
    kernel = kernel_of(doubled, TOY)

    def locked(kernel: Any) -> Outcome:
        kernel.function(np.ones(1, np.float32))
        with lock:
            return Outcome("passed")

    def never(kernel: Any) -> Outcome:
        kernel.function(np.ones(1, np.float32))
        gone.wait()
        return Outcome("passed")

    assert [outcome.status for outcome in together(kernel, [locked, locked], 30.0)] == ["passed", "passed"]
    begun = time.monotonic()
    outcomes = together(kernel, [locked, never], 0.3)
    gone.set()
    assert outcomes[1].kind == "hung"
    assert time.monotonic() - begun < 60


def test_a_kernel_that_is_not_reentrant_may_say_so() -> None:
    found = judged(doubled, beside=("numbers",), concurrent_calls="no")
    assert (found.status, found.sentence) == ("skipped", "lacks concurrent_calls")


def test_errors_of_the_judge_are_not_swallowed_by_threads() -> None:
    def broken(kernel: Any) -> Outcome:
        raise ZeroDivisionError("of the judge")

    with pytest.raises(ZeroDivisionError, match="of the judge"):
        together(kernel_of(doubled, TOY), [broken, broken], 5.0)


def test_layouts_that_find_no_room_are_skipped_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    import mmap

    def none(*arguments: Any, **options: Any) -> Any:
        raise OSError("Cannot allocate memory")

    monkeypatch.setattr(mmap, "mmap", none)
    query = np.zeros((2, 1, 1, 1), np.float32)  # points have no stack of which slices could lie far apart
    case = Case("case", FAMILY, Attention(query, query, query), Layout("far-batches", far=0))
    found = Judge(kernel_of(cpu.attention.exact, "attention"), FLOAT32).outcome(case)
    assert found.status == "skipped"
    assert found.sentence.startswith("layout far-batches needs a sparse mapping of 16 GiB")


def test_a_call_meets_new_numbers_at_an_old_address_although_the_kernel_keeps_what_it_got() -> None:
    kept: list[Any] = []

    def kernel(points: Array, *, factor: float = 2.0) -> Any:
        kept.append(points)
        return doubled(points, factor=factor)

    assert judged(kernel, after=("numbers",)).status == "passed"
    assert len(kept) == 4
    assert kept[0] is not kept[1]
    assert kept[2] is kept[3]
