"""Calls that meet: one after another with something changed, several at once, one again and again."""

from __future__ import annotations

import shlex
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import assay
from assay.conformance.attention.options import build
from assay.conformance.attention.other_calls import CHANGES
from assay.conformance.call.outcome import Outcome
from assay.conformance.call.threads import together
from assay.conformance.interface.suite import Case, Family, suite
from assay.conformance.interface.targets import kernel_of
from assay.conformance.judge.judge import Judge
from assay.conformance.softmax.patterns import Shape
from assay.impl import cpu
from assay.spec.precision import precision

FAMILY = Family("test", "a fault that is known", "here")
FLOAT32 = precision("float32")


def right(query: Any, key: Any, value: Any, *, scale: float) -> Any:
    return cpu.attention.exact(query, key, value, scale)


def judged(kernel: Any, *, after: tuple[str, ...] = (), beside: tuple[str, ...] = (), **options: Any) -> Outcome:
    instance = build("test", "normal", Shape(1, 2, 2, 9, 9, 8, 8), (), 5, FLOAT32)
    changed = [tuple(CHANGES[word](instance) for word in words) for words in (after, beside)]
    needs = frozenset({"concurrent_calls"} if beside else ())
    case = Case("case", FAMILY, instance, after=changed[0], beside=changed[1], needs=needs)
    return Judge(kernel_of(kernel, "attention", options=options), FLOAT32).outcome(case)


# --- one after another ------------------------------------------------------------------------------------------------


_first: dict[Any, Any] = {}


def keeps_the_first_scale(query: Any, key: Any, value: Any, *, scale: float) -> Any:
    return right(query, key, value, scale=_first.setdefault(query.shape, scale))


def cached_by(key_of: Any) -> Any:
    kept: dict[Any, Any] = {}

    def kernel(query: Any, key: Any, value: Any, *, scale: float) -> Any:
        return kept.setdefault(key_of(query, scale), right(query, key, value, scale=scale)).copy()

    return kernel


@pytest.mark.parametrize("kernel", [right, keeps_the_first_scale], ids=lambda kernel: kernel.__name__)
def test_a_scale_that_is_kept_from_another_call_is_found(kernel: Any) -> None:
    _first.clear()
    found = judged(kernel, after=("scale",))
    assert found.failed is (kernel is keeps_the_first_scale)
    if found.failed:
        assert found.sentence.startswith("after 1 other call: output[")


def test_a_result_by_address_is_found_and_called_the_answer_to_an_earlier_call() -> None:
    found = judged(cached_by(lambda query, scale: (query.__array_interface__["data"][0], scale)), after=("numbers",))
    assert found.failed
    assert found.sentence.endswith("it is the answer to an earlier call")


def test_a_result_by_object_is_found() -> None:
    assert judged(cached_by(lambda query, scale: id(query)), after=("numbers",)).failed


def test_a_reference_to_an_earlier_input_is_found_although_it_is_right_where_memory_is_shared() -> None:
    kept: list[Any] = []

    def kernel(query: Any, key: Any, value: Any, *, scale: float) -> Any:
        kept.append(value)
        return right(query, key, kept[0], scale=scale)

    assert judged(kernel, after=("numbers",)).failed


def test_a_fault_of_the_call_before_is_told() -> None:
    def kernel(query: Any, key: Any, value: Any, *, scale: float) -> Any:
        if scale < 0:
            raise ValueError("negative scale")
        return right(query, key, value, scale=scale)

    assert "negative scale" in judged(kernel, after=("scale",)).sentence


def test_a_finding_of_state_is_reproduced_by_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from assay.cli import main

    (tmp_path / "kernels.py").write_text(Path(__file__).read_text())
    monkeypatch.chdir(tmp_path)
    report = assay.check("kernels.py:keeps_the_first_scale", level="smoke", reproducers=tmp_path / "found")
    lines = [finding.reproducer for finding in report.failures if finding.family == "state"]
    assert lines
    assert all(" --after " in line for line in lines)
    assert main(shlex.split(lines[0])[1:]) == 1


def test_what_was_right_once_and_is_wrong_again_is_a_failure() -> None:
    seen: dict[Any, int] = {}

    def wrong_at_the_third_time(query: Any, key: Any, value: Any, *, scale: float) -> Any:
        what = (query.tobytes(), key.tobytes(), value.tobytes(), scale)
        seen[what] = seen.get(what, 0) + 1
        return right(query, key, value, scale=scale) * np.float32(2.0 if seen[what] == 3 else 1.0)

    report = assay.check(wrong_at_the_third_time, level="smoke")
    assert any(finding.case.startswith("second call of ") for finding in report.failures)


# --- several at once --------------------------------------------------------------------------------------------------


def test_a_shared_buffer_is_always_found() -> None:
    shared: dict[str, Any] = {}

    def kernel(query: Any, key: Any, value: Any, *, scale: float) -> Any:
        shared["query"] = query.copy()
        time.sleep(0.002)
        return right(shared["query"], key, value, scale=scale)

    for _ in range(5):
        found = judged(kernel, beside=("numbers", "scale"))
        assert found.failed
        assert found.sentence.startswith("called by 3 threads at once: ")
        assert "concurrent_calls=no" in found.sentence


def test_a_buffer_of_each_thread_is_never_blamed() -> None:
    own = threading.local()

    def kernel(query: Any, key: Any, value: Any, *, scale: float) -> Any:
        own.query = query.copy()
        time.sleep(0.002)
        return right(own.query, key, value, scale=scale)

    assert all(judged(kernel, beside=("numbers", "scale")).status == "passed" for _ in range(5))


def test_no_thread_enters_the_kernel_before_all_are_there() -> None:
    late, seen = threading.Event(), []
    kernel = kernel_of(lambda query, key, value, *, scale: seen.append(late.is_set()), "attention")

    def call(kernel: Any, seconds: float) -> Outcome:
        time.sleep(seconds)
        if seconds:
            late.set()
        kernel.function(*np.ones((3, 1, 1, 1, 1), np.float32), scale=1.0)
        return Outcome("passed")

    together(kernel, [lambda kernel: call(kernel, 0.0), lambda kernel: call(kernel, 0.2)], 30.0)
    assert seen
    assert all(seen)


def test_a_lock_is_allowed_and_a_deadlock_hangs() -> None:
    lock, gone = threading.Lock(), threading.Event()
    kernel = kernel_of(right, "attention")

    def locked(kernel: Any) -> Outcome:
        kernel.function(*np.ones((3, 1, 1, 1, 1), np.float32), scale=1.0)
        with lock:
            return Outcome("passed")

    def never(kernel: Any) -> Outcome:
        kernel.function(*np.ones((3, 1, 1, 1, 1), np.float32), scale=1.0)
        gone.wait()
        return Outcome("passed")

    assert [outcome.status for outcome in together(kernel, [locked, locked], 30.0)] == ["passed", "passed"]
    begun = time.monotonic()
    outcomes = together(kernel, [locked, never], 0.3)
    gone.set()
    assert outcomes[1].kind == "hung"
    assert time.monotonic() - begun < 5


def test_a_kernel_that_is_not_reentrant_may_say_so() -> None:
    found = judged(right, beside=("numbers",), concurrent_calls="no")
    assert (found.status, found.sentence) == ("skipped", "lacks concurrent_calls")


def test_errors_of_the_judge_are_not_swallowed_by_threads() -> None:
    def broken(kernel: Any) -> Outcome:
        raise ZeroDivisionError("of the judge")

    with pytest.raises(ZeroDivisionError, match="of the judge"):
        together(kernel_of(right, "attention"), [broken, broken], 5.0)


def test_layouts_that_find_no_room_are_skipped_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    import mmap

    def none(*arguments: Any, **options: Any) -> Any:
        raise OSError("Cannot allocate memory")

    monkeypatch.setattr(mmap, "mmap", none)
    case = next(case for case in suite("attention").cases(FLOAT32, "smoke", 0) if case.family.id == "far-strides")
    found = Judge(kernel_of(cpu.attention.exact, "attention"), FLOAT32).outcome(case)
    assert found.status == "skipped"
    assert found.sentence.startswith("layout far-batches needs a sparse mapping of 16 GiB")


def test_a_call_meets_new_numbers_at_an_old_address_although_the_kernel_keeps_what_it_got() -> None:
    kept: list[Any] = []

    def kernel(query: Any, key: Any, value: Any, *, scale: float) -> Any:
        kept.append(query)
        return right(query, key, value, scale=scale)

    assert judged(kernel, after=("numbers",)).status == "passed"
    assert len(kept) == 4
    assert kept[0] is not kept[1]
    assert kept[2] is kept[3]
