"""What is said of the weights of a kernel: a factor only where it is one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from assay.conformance.call.outcome import Outcome
from assay.conformance.diagnosis.evidence import Judged
from assay.conformance.diagnosis.weights import Weights, sentences
from assay.conformance.interface.suite import Case, suite
from assay.spec.attention import Instance

ROOM = 1e-11
ROWS, KEYS = 6, 5


def said(factors: Any) -> list[str]:
    """The sentences for weights that are some times the right ones: (rows,) or (rows, keys)."""
    rng = np.random.default_rng(0)
    true = rng.random((1, 1, ROWS, KEYS)) + 0.2
    true /= true.sum(axis=-1, keepdims=True)
    used = true * np.asarray(factors).reshape(1, 1, ROWS, -1)
    x = rng.standard_normal((1, 1, ROWS, 3))
    instance = Instance(x, x[:, :, :KEYS], x[:, :, :KEYS])
    judged = Judged(Case("toy", suite("attention").families[0], instance), Outcome("failed"))
    axes = ("batch", "heads", "queries", "keys")
    return sentences(Weights(used, true, np.full_like(true, ROOM), axes, judged), sums_to_one=False)


@pytest.mark.parametrize("off", [1e-8, 1e-4, 0.3])
def test_one_factor_of_all_rows_is_told_as_one(off: float) -> None:
    (sentence,) = said(np.full(ROWS, 1 + off))
    assert sentence.startswith("all weights of a row are 1")
    assert sentence.endswith("times the right ones")


def test_a_factor_of_some_rows_is_told_of_these() -> None:
    assert said([1.25, 1.25, 1, 1, 1, 1.25]) == ["all weights of a row are 1.25 times the right ones, in 3 of 6 rows"]


@pytest.mark.parametrize("off", [1e-8, 1e-4, 0.3])
def test_factors_that_differ_from_row_to_row_are_not_told_as_one(off: float) -> None:
    (sentence,) = said(1 + off * np.arange(1, ROWS + 1))
    assert "off by one factor, 1" in sentence
    assert "in different rows: its maximum or its sum is wrong" in sentence


@pytest.mark.parametrize("off", [1e-8, 1e-4, 0.3])
def test_weights_that_are_off_one_by_one_have_no_factor(off: float) -> None:
    assert said(1 + off * np.random.default_rng(1).uniform(-1, 1, (ROWS, KEYS))) == []
