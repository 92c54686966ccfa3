"""What a backward pass does where the problem leaves it a choice."""

from __future__ import annotations

from typing import Any

import numpy as np

from assay.conformance.profile.questions import REPEATS, Ask, Question, nan_in
from assay.spec.attention_gradient import Instance, evaluate
from assay.spec.floats import dtype_named

__all__ = ["QUESTIONS"]


def _instance(ask: Ask, n_q: int, n_k: int, **options: Any) -> Instance:
    rng = np.random.default_rng(0)
    dtype = dtype_named(ask.precision.storage)
    q, k, v, g = (rng.standard_normal((1, 1, n, 8)).astype(dtype) for n in (n_q, n_k, n_k, n_q))
    return Instance(q, k, v, g, **options)


def _empty_row(ask: Ask) -> str:
    mask = np.ones((1, 1, 3, 5), bool)
    mask[..., 1, :] = False
    made = ask.call(_instance(ask, 3, 5, mask=mask))
    row = made["grad_query"][0, 0, 1]
    others = all(np.isfinite(made[name]).all() for name in ("grad_key", "grad_value"))
    words = "zeros" if not row.any() else "NaN" if np.isnan(row).all() else "other numbers"
    return words if others else f"{words}, and it spoils the gradients of keys and values"


def _delta(ask: Ask) -> str:
    """One key: g − δ is 0, so what is left of dQ is the error of δ alone, times a large key."""
    dtype = dtype_named(ask.precision.storage)
    rng = np.random.default_rng(1)
    q, g = (rng.standard_normal((1, 1, 64, 32)).astype(dtype) for _ in range(2))
    k, v = np.ones((1, 1, 1, 32), dtype), rng.standard_normal((1, 1, 1, 32)).astype(dtype)
    instance = Instance(q, k, v, g, scale=1.0)
    error = np.abs(ask.call(instance)["grad_query"] - evaluate(instance).grad_query.midpoint)[..., 0]
    size = np.abs(g.astype(np.float64)) @ np.abs(v.astype(np.float64))[0, 0, 0]
    lost = float((error / size[0]).max())
    return "0 for one key: δ and g are formed alike" if lost == 0 else f"off by 2^{np.log2(lost):.1f} of Σ|dO||v|"


_SECTION = "gradients"

#: In the order of the data sheet.
QUESTIONS: tuple[Question, ...] = (
    REPEATS,
    Question("empty-row", _SECTION, "dQ of a query that attends to no key", _empty_row, ("mask",)),
    Question("delta", _SECTION, "g − δ where it is 0", _delta, ("cross_lengths",)),
    nan_in("query", "NaN in a query"),
    nan_in("grad_output", "NaN in the gradient of the output"),
)
