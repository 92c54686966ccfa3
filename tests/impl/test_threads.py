"""How many threads a kernel takes unless told otherwise."""

from __future__ import annotations

import os

import pytest

from assay.impl.cpu.threads import available


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
