"""The nearest pair of documents of GPUs, on the thread model of a CPU: a best one of its class, and free of races."""

from __future__ import annotations

from typing import Any

import emulated
import ml_dtypes
import numpy as np
import pytest
from emulated import ORDERS, Emulated

import assay
from assay.impl.gpu.document_similarity.search import run
from assay.spec.document_similarity import Instance, criteria
from assay.spec.floats import dtype_named
from assay.spec.problem import InvalidInstance

needs_compiler = pytest.mark.skipif(emulated.compiler() is None, reason="g++ is not installed")

OPTIONS: tuple[dict[str, Any], ...] = ({}, {"least": True}, {"measure": "inner_product"})


def nearest(left: Any, right: Any = None, *, least: bool = False, measure: str = "cosine") -> Any:
    """:func:`assay.impl.gpu.document_similarity.nearest` on a CPU."""
    return run(Emulated(), left, right, least=least, measure=measure)


@needs_compiler
@pytest.mark.claim("GPU-6")
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
def test_the_pair_and_its_similarity_are_those_of_the_class(dtype: str) -> None:
    rng = np.random.default_rng(0)
    left, right = (rng.standard_normal((n, 37)).astype(dtype_named(dtype)) for n in (70, 9))
    for options in OPTIONS:
        for other in (None, right):
            found = nearest(left, other, **options)
            judged = criteria(Instance(left, other, **options), dtype)
            assert judged["pair"].ratio(*found[:2]) <= 1, options
            assert judged["similarity"].ratio(*found) <= 1, options


@needs_compiler
def test_the_first_of_equal_pairs_is_taken_in_every_tile() -> None:
    left = np.random.default_rng(1).standard_normal((150, 5))
    left[[20, 90, 140]] = left[3]  # of three tiles
    assert [int(x) for x in nearest(left)[:2]] == [3, 20]
    one = np.eye(150)
    assert [int(x) for x in nearest(one[:100:-1], one)[:2]] == [0, 149]


@needs_compiler
@pytest.mark.claim("GPU-6")
def test_every_order_of_threads_and_blocks_gives_the_same_pair() -> None:
    left = (np.random.default_rng(2).random((700, 9)) < 0.4).astype(np.float32) + np.float32(0.5)
    found = [[x.item() for x in run(Emulated(order), left, least=True)] for order in ORDERS]
    assert found[0] == found[1] == found[2]


@needs_compiler
@pytest.mark.claim("GPU-6")
def test_norms_of_any_size_neither_overflow_nor_vanish() -> None:
    rng = np.random.default_rng(3)
    directions = rng.standard_normal((6, 4)).astype(np.float32)
    sizes = np.float32(2.0) ** np.array([[-120], [100], [0], [-60], [60], [7]], np.float32)
    first, second = nearest(directions), nearest(directions * sizes)
    assert [x.item() for x in first] == [x.item() for x in second]


@needs_compiler
@pytest.mark.thorough
@pytest.mark.claim("GPU-6")
@pytest.mark.parametrize("precision", ["float32", "float64", "bfloat16", "float16"])
def test_it_conforms_in_every_type(precision: str) -> None:
    report = assay.check(nearest, "document_similarity", precision=precision, level="standard", seconds=900.0)
    assert report.passed, report


def test_what_does_not_fit_is_refused_by_name() -> None:
    with pytest.raises(InvalidInstance, match=r"left: .*at least two documents"):
        nearest(np.ones((1, 3)))
    with pytest.raises(InvalidInstance, match="left: dtype float8_e4m3fn"):
        nearest(np.ones((2, 3), ml_dtypes.float8_e4m3fn))
