"""How many threads a kernel takes unless told otherwise, and those that are kept alive between calls."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time

import pytest

from assay.impl.cpu import threads
from assay.impl.cpu.threads import Borrowed, available, share, worth


def test_there_is_at_least_one() -> None:
    assert available() >= 1


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="affinity is known on Linux only")
def test_they_are_the_cpus_of_the_process_and_not_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})
    assert available() == 1


def test_where_the_process_does_not_know_its_own_they_are_those_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    assert available() == 5
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert available() == 1


def test_every_part_is_done_once_whatever_the_number_of_threads() -> None:
    for workers in (1, 2, 5):
        done: list[int] = []
        share(done.append, range(100), workers)
        assert sorted(done) == list(range(100))


def test_what_a_part_raises_is_raised_after_all_others_have_ended() -> None:
    running: set[int] = set()
    caller = threading.current_thread()

    def part(start: int) -> None:
        if threading.current_thread() is caller:
            time.sleep(0.05)  # until others are at work, as a rule
            raise KeyError("mine")
        running.add(start)
        time.sleep(0.2)
        running.remove(start)

    with pytest.raises(KeyError, match="mine"):
        share(part, range(1000), 4)
    assert not running


def test_what_a_part_raises_on_another_thread_is_raised_too() -> None:
    caller = threading.current_thread()

    def part(start: int) -> None:
        if threading.current_thread() is not caller:
            raise KeyError("theirs")
        time.sleep(0.05)

    with pytest.raises(KeyError, match="theirs"):
        share(part, range(200), 2)


def test_a_part_may_share_work_of_its_own() -> None:
    done: list[int] = []
    share(lambda start: share(lambda inner: done.append(10 * start + inner), range(10), 3), range(10), 3)
    assert sorted(done) == list(range(100))


def kept() -> int:
    """The number of threads that are kept."""
    return sum(thread.name.startswith("assay kernel") for thread in threading.enumerate())


def require_at_most(count: int) -> None:
    """Threads that nobody holds end by themselves, a little later."""
    gc.collect()  # what other tests left behind may still hold some
    limit = time.monotonic() + 60
    while kept() > count:
        assert time.monotonic() < limit
        time.sleep(0.01)


def test_the_same_threads_serve_one_call_after_the_other() -> None:
    served: set[int | None] = set()
    for _ in range(20):
        with Borrowed(3) as pool:
            for future in [pool.submit(threading.get_ident) for _ in range(9)]:
                served.add(future.result())
        share(lambda start: None, range(50), 3)
    assert len(served) <= 3
    require_at_most(3)


def test_threads_of_another_number_end_when_nobody_holds_them() -> None:
    for workers in range(2, 12):
        with Borrowed(workers) as pool:
            for future in [pool.submit(int, k) for k in range(20)]:
                future.result()
    share(lambda start: None, range(50), 20)
    require_at_most(20)


def test_what_was_submitted_has_ended_when_borrowed_threads_are_left() -> None:
    ended: list[int] = []

    def slow(k: int) -> None:
        time.sleep(0.01)
        ended.append(k)

    with Borrowed(2) as pool:
        for k in range(6):
            pool.submit(slow, k)
    assert sorted(ended) == list(range(6))
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(slow, 7)


def test_a_borrowed_thread_may_borrow_threads() -> None:
    def inner(k: int) -> int:
        with Borrowed(2) as pool:
            return sum(future.result() for future in [pool.submit(int, k) for _ in range(4)])

    with Borrowed(2) as pool:
        assert [future.result() for future in [pool.submit(inner, k) for k in range(4)]] == [0, 4, 8, 12]


def test_many_threads_may_share_at_once() -> None:
    found: list[int] = []

    def caller() -> None:
        done: list[int] = []
        for workers in (2, 3, 4):
            share(done.append, range(40), workers)
        found.append(len(done))

    callers = [threading.Thread(target=caller) for _ in range(8)]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join()
    assert found == [120] * 8


FORKED = """
import os, time
from assay.impl.cpu.threads import Borrowed, share
with Borrowed(3) as pool:
    for _ in range(3):
        pool.submit(time.sleep, 0.1)
time.sleep(0.1)  # now all are idle: a child that took them for its own would wait for ever
child = os.fork()
more = []
with Borrowed(3) as pool:
    assert [f.result() for f in [pool.submit(int, k) for k in range(5)]] == list(range(5))
share(more.append, range(50), 3)
assert sorted(more) == list(range(50))
if child:
    assert os.waitpid(child, 0)[1] == 0
    print("both")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes cannot be forked here")
def test_a_forked_process_has_threads_of_its_own_and_both_end() -> None:
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKED]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert done.stdout == "both\n", done.stderr


def test_importing_starts_no_thread() -> None:
    code = "import threading, assay.impl.cpu.threads; print(threading.active_count())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100)
    assert done.stdout == "1\n"


def test_a_kept_thread_whose_environment_is_unusual_computes_in_the_usual_one(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    monkeypatch.setattr(threads, "restore", lambda: called.append(threading.current_thread().name) or "")
    with Borrowed(2) as pool:
        name = pool.submit(lambda: threading.current_thread().name).result()
    assert called == [name]


def test_little_work_is_worth_no_other_thread() -> None:
    assert [worth(4, nanoseconds) for nanoseconds in (0.0, 1e4, 9e4, 1e9, float("inf"))] == [1, 1, 2, 4, 4]
