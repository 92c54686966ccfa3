"""What a kernel does where the problem leaves it a choice, and how it adds up many combinations."""

from __future__ import annotations

from typing import Any

import numpy as np

from assay.conformance.profile.questions import REPEATS, Ask, Question, nan_in
from assay.conformance.tensor_attention.interface import ORDERS
from assay.spec.floats import dtype_named
from assay.spec.tensor_attention import HigherOrder, Instance, define

__all__ = ["QUESTIONS"]

_NEAR = 0.02  # outputs that are as near are taken for the same: half types round


def _order(ask: Ask) -> int:
    """The order of the kernel that is asked."""
    return next((order for order in ORDERS if f"order_{order}" in ask.capabilities), ORDERS[0])


def _instance(ask: Ask, n_q: int, lengths: int, **options: Any) -> HigherOrder:
    rng, dtype, order = np.random.default_rng(0), dtype_named(ask.precision.storage), _order(ask)
    arrays = [rng.standard_normal((1, 1, n, 8)).astype(dtype) for n in (n_q, *(lengths,) * (2 * order - 2))]
    made: HigherOrder = Instance.of_order(order)(*arrays, **options)
    return made


def _empty_row(ask: Ask) -> str:
    """The last of six queries before three keys, with windows of two keys."""
    instance = _instance(ask, 6, 3, window=(2,) * (_order(ask) - 1))
    row = ask.call(instance)["output"][0, 0, 5]
    if np.isnan(row).all():
        return "NaN"
    return "zeros" if not row.any() else "other numbers"


def _window_bound(ask: Ask) -> str:
    """Windows of w keys are |i − j| < w here, and i − w ≤ j elsewhere."""
    instance = _instance(ask, 6, 6, window=(2,) * (_order(ask) - 1), is_causal=True)
    value = ask.call(instance)["output"]
    wider = instance.replace(window=(3,) * (_order(ask) - 1))
    for words, other in (("w keys with the query's own", instance), ("w keys besides the query's own", wider)):
        if np.abs(value - define(other, 1e-9).midpoint).max() < _NEAR:
            return words
    return "another number of keys"


def _longest_sum(ask: Ask) -> str:
    """Equal weights and values 1: what is lost of the sum of all combinations."""
    order, dtype = _order(ask), dtype_named(ask.precision.storage)
    lengths = {2: 4096, 3: 64, 4: 16, 5: 8}[order]
    q = np.zeros((1, 1, 1, 4), dtype)
    ones = np.ones((1, 1, lengths, 4), dtype)
    made = Instance.of_order(order)(q, *(ones,) * (2 * order - 2))
    error = float(np.abs(ask.call(made)["output"] - 1.0).max())
    return "nothing" if error == 0.0 else f"2^{np.log2(error):.1f} of 1"


_HABITS, _SUMS = "conventions", "sums"

#: In the order of the data sheet.
QUESTIONS: tuple[Question, ...] = (
    REPEATS,
    Question("window", _HABITS, "what a window of w keys holds", _window_bound, ("window", "causal")),
    Question(
        "empty-row",
        _HABITS,
        "a query that attends to no combination",
        _empty_row,
        ("window", "cross_lengths", "window_without_causal"),
    ),
    Question("sum", _SUMS, "what is lost of 4,096 equal weights", _longest_sum, ("cross_lengths",)),
    nan_in("query", "NaN in a query"),
    nan_in("key1", "NaN in a key of mode 1"),
    nan_in("value1", "NaN in a value of mode 1"),
)
