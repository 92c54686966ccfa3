"""Arb's precision belongs to the process, and threads share it without harm."""

from __future__ import annotations

import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Event

import flint
import numpy as np
import pytest

import assay.conformance
import assay.impl
import assay.spec
from assay.impl.cpu.rope import exact
from assay.spec import flint_context


def test_a_thread_that_ends_its_own_precision_leaves_that_of_another() -> None:
    inside, before = Event(), flint.ctx.prec

    def short() -> None:
        inside.wait(10)
        with flint_context.bits(30):
            pass

    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(short)
        with flint_context.bits(500):
            inside.set()
            with pytest.raises(TimeoutError):
                other.result(0.05)  # it waits
            assert flint.arb(2).sqrt().rel_accuracy_bits() > 490
        other.result(10)
    assert flint.ctx.prec == before


def test_what_is_set_inside_is_as_before_afterwards_also_where_the_block_raised() -> None:
    before = flint.ctx.prec, flint.ctx.cap
    with pytest.raises(ZeroDivisionError):
        _divide_inside()
    assert (flint.ctx.prec, flint.ctx.cap) == before


def _divide_inside() -> None:
    with flint_context.bits(200), flint_context.terms(3), flint_context.bits(300):
        assert (flint.ctx.prec, flint.ctx.cap) == (300, 3)
        raise ZeroDivisionError


def test_a_kernel_with_exact_angles_is_reentrant() -> None:
    x = np.random.default_rng(0).standard_normal((1, 1, 4, 256))
    alone = exact(x)
    barrier = Barrier(4)

    def call(_: int) -> bool:
        barrier.wait(10)
        return all(np.array_equal(exact(x), alone) for _ in range(10))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # threads take turns in the middle of everything
    try:
        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(call, range(4)))
    finally:
        sys.setswitchinterval(interval)


def test_no_other_module_sets_the_context_of_the_process() -> None:
    rooms = [Path(path) for room in (assay.spec, assay.impl, assay.conformance) for path in room.__path__]
    setters = [p.name for room in rooms for p in room.rglob("*.py") if "flint.ctx" in p.read_text("utf-8")]
    assert setters == ["flint_context.py"]


def test_no_test_leaves_a_precision_to_the_tests_after_it() -> None:
    tests = Path(__file__).parent.parent
    assert not [str(p) for p in tests.rglob("*.py") if re.search(r"\bctx\.(prec|dps) *= ", p.read_text("utf-8"))]
