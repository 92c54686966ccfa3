"""What a backward pass does where the problem leaves it a choice."""

from __future__ import annotations

import numpy as np

from assay.conformance.profile.questions import REPEATS, Ask, Question, nan_in
from assay.conformance.tensor_attention.interface import ORDERS
from assay.spec.floats import dtype_named
from assay.spec.tensor_attention_gradient import Instance

__all__ = ["QUESTIONS"]


def _empty_row(ask: Ask) -> str:
    """The last of six queries before three keys, with windows of two keys."""
    order = next((order for order in ORDERS if f"order_{order}" in ask.capabilities), ORDERS[0])
    rng, dtype = np.random.default_rng(0), dtype_named(ask.precision.storage)
    lengths = (6, *(3,) * (2 * order - 2), 6)
    arrays = [rng.standard_normal((1, 1, n, 8)).astype(dtype) for n in lengths]
    made = ask.call(Instance.of_order(order)(*arrays, window=(2,) * (order - 1)))
    row = made["grad_query"][0, 0, 5]
    others = all(
        np.isfinite(array).all() for name, array in made.items() if name.startswith(("grad_key", "grad_value"))
    )
    words = "zeros" if not row.any() else "NaN" if np.isnan(row).all() else "other numbers"
    return words if others else f"{words}, and it spoils the gradients of keys and values"


_SECTION = "gradients"

#: In the order of the data sheet.
QUESTIONS: tuple[Question, ...] = (
    REPEATS,
    Question(
        "empty-row",
        _SECTION,
        "dQ of a query that attends to nothing",
        _empty_row,
        ("window", "cross_lengths", "window_without_causal"),
    ),
    nan_in("query", "NaN in a query"),
    nan_in("grad_output", "NaN in the gradient of the output"),
)
