"""What a simulation does where the problem leaves it a choice, and what it asks its oracle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.profile.questions import REPEATS, Ask, NoAnswer, Question, nan_in
from assay.spec.floats import dtype_named
from assay.spec.small_transformers import Instance
from assay.spec.small_transformers.plan import call_count, counting_bound

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["QUESTIONS"]

_N, _M = 24, 7  # tokens, and those of a call


def _instance(ask: Ask, **options: Any) -> Instance:
    rng, kind = np.random.default_rng(0), dtype_named(ask.precision.storage)
    query, key, value = (rng.standard_normal((1, 1, _N, 4)).astype(kind) for _ in range(3))
    return Instance(query, key, value, oracle_size=_M, **options)


def _calls(**options: Any) -> Callable[[Ask], str]:
    """The calls for one head, beside those of a plan and those that no plan of rows can do without."""

    def asked(ask: Ask) -> str:
        saw = ask.call(_instance(ask, **options)).get("oracle saw")
        if saw is None or not len(saw):
            return "the oracle is not called"
        planned = call_count(_N, _N, _M, **options)
        least = counting_bound(_N, _N, _M, **options)
        return f"calls of up to {int(saw.max())} tokens: {len(saw)} handed over; a plan has {planned}, at least {least}"

    return asked


def _empty_row(ask: Ask) -> str:
    mask = np.ones((1, 1, _N, _N), bool)
    mask[:, :, 3] = False
    instance = _instance(ask, mask=mask)
    row = ask.call(instance)["output"][0, 0, 3]
    if np.isnan(row).any():
        return "NaN"
    mean = np.allclose(row, instance.value.astype(float).mean(axis=2)[0, 0], atol=0.05)
    return "zeros" if not row.any() else "the mean of the values" if mean else "other numbers"


def _spread(ask: Ask) -> str:
    """The first factor of the queries at which calls that are far apart are put together wrongly."""
    instance = _instance(ask)
    for power in range(1, 12):
        query = (instance.query.astype(float) * 2.0**power).astype(instance.query.dtype)
        try:
            made = ask.call(instance, query=query)["output"]
        except NoAnswer as reason:
            return f"scores times 2^{power}: {reason}"
        score = (instance.scale or 0.0) * (query.astype(float) @ np.swapaxes(instance.key.astype(float), 2, 3))
        weight = np.exp(score - score.max(axis=3, keepdims=True))
        right = weight / weight.sum(axis=3, keepdims=True) @ instance.value.astype(float)
        if not np.allclose(made, right, atol=0.3):
            return f"scores times 2^{power} come out wrong"
    return "right to scores times 2^11"


_ORACLE, _CHOICES = "the oracle", "choices"

#: In the order of the data sheet.
QUESTIONS: tuple[Question, ...] = (
    REPEATS,
    Question("calls", _ORACLE, f"{_N} tokens by calls of {_M}", _calls(), ("without_causal",)),
    Question("causal-calls", _ORACLE, "the same under a causal mask", _calls(is_causal=True), ("is_causal",)),
    Question("spread", _ORACLE, "scores far apart", _spread, ("without_causal",)),
    Question(
        "empty-row", _CHOICES, "a query that attends to no key", _empty_row, ("mask", "empty_row", "without_causal")
    ),
    nan_in("query", "NaN in a query"),
    nan_in("key", "NaN in a key"),
    nan_in("value", "NaN in a value"),
)
