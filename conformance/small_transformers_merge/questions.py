"""What a merge does where the problem leaves it a choice, and how far its log-sum-exps may go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.profile.questions import REPEATS, Ask, NoAnswer, Question, nan_in
from assay.spec.floats import dtype_named
from assay.spec.small_transformers_merge import Instance

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["QUESTIONS"]


def _instance(ask: Ask, logs: Any) -> Instance:
    """Parts of the constant outputs 1, 2, …, one query and two columns."""
    numbers = np.asarray(logs, np.float64 if ask.precision.storage == "float64" else np.float32)
    outputs = np.arange(1, len(numbers) + 1)[:, None, None, None, None] * np.ones((1, 1, 1, 1, 2))
    return Instance(outputs.astype(dtype_named(ask.precision.storage)), numbers.reshape(-1, 1, 1, 1))


def _said(row: NDArray[np.float64]) -> str:
    if np.isnan(row).all():
        return "NaN"
    if not row.any():
        return "zeros"
    return f"{float(row.ravel()[0]):.3g}"


def _all_empty(ask: Ask) -> str:
    return _said(ask.call(_instance(ask, [-np.inf, -np.inf]))["output"])


def _nan_of_empty(ask: Ask) -> str:
    """A part without keys whose output is NaN, as a kernel leaves memory that it does not write."""
    instance = _instance(ask, [0.0, -np.inf])
    outputs = instance.outputs.copy()
    outputs[1] = np.nan
    return "ignored" if np.isfinite(ask.call(instance, outputs=outputs)["output"]).all() else "spoils the row"


def _infinite(ask: Ask) -> str:
    instance = _instance(ask, [0.0, 0.0])
    logs = instance.log_sum_exps.copy()
    logs[1] = np.inf
    return {"2": "that part alone", "1": "that part is ignored"}.get(
        said := _said(ask.call(instance, log_sum_exps=logs)["output"]), said
    )


def _up_to(sign: float) -> Callable[[Ask], str]:
    """The first power of two that all log-sum-exps have in common at which two equal parts go wrong."""

    def asked(ask: Ask) -> str:
        for power in range(1, 24):
            try:
                made = ask.call(_instance(ask, [sign * 2.0**power] * 2))["output"]
            except NoAnswer as reason:
                return f"{sign * 2.0**power:g}: {reason}"
            if not np.allclose(made, 1.5, atol=0.05):
                return f"log-sum-exps of {sign * 2.0**power:g}: 1.5 comes out as {_said(made)}"
        return f"right to {sign * 2.0**23:g}"

    return asked


_EMPTY, _RANGE = "empty parts", "range"

#: In the order of the data sheet.
QUESTIONS: tuple[Question, ...] = (
    REPEATS,
    Question("all-empty", _EMPTY, "a row whose parts are all empty", _all_empty),
    Question("nan-of-empty", _EMPTY, "an empty part whose output is NaN", _nan_of_empty),
    Question("infinite", _EMPTY, "a log-sum-exp of +∞", _infinite),
    Question("high", _RANGE, "large log-sum-exps", _up_to(1.0)),
    Question("low", _RANGE, "log-sum-exps far below 0", _up_to(-1.0)),
    nan_in("outputs", "NaN in a part"),
    nan_in("log_sum_exps", "NaN in a log-sum-exp"),
)
