"""What a merge does where the problem leaves it a choice, and in which logarithms it seems to take log-sum-exps."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from assay.conformance.profile.questions import REPEATS, Ask, Question, nan_in
from assay.spec.floats import dtype_named
from assay.spec.small_transformers_merge import Instance

__all__ = ["QUESTIONS"]


def _two(ask: Ask, logs: tuple[float, float], **options: Any) -> Instance:
    """Two parts, of the outputs 1 and 0: the output is the weight of the first one."""
    wide = np.float64 if ask.precision.storage == "float64" else np.float32
    outputs = np.stack([np.ones((1, 1, 1, 4)), np.zeros((1, 1, 1, 4))]).astype(dtype_named(ask.precision.storage))
    return Instance(outputs, np.array(logs, wide).reshape(2, 1, 1, 1), **options)


def _base(ask: Ask) -> str:
    logs = _two(ask, (0.0, 0.0)).log_sum_exps.copy()
    logs[0] = 3.0
    weight = float(ask.call(_two(ask, (0.0, 0.0)), log_sum_exps=logs)["output"].flat[0])
    for words, base in (("natural", math.e), ("of base 2", 2.0)):
        if abs(weight - base**3 / (base**3 + 1)) < 0.01:
            return words
    return f"neither natural nor of base 2: a part 3 above another one weighs {weight:.3g}"


def _empty_part(ask: Ask, value: float) -> str:
    """The second of two parts is handed over with another log-sum-exp, for a part without keys."""
    instance = _two(ask, (0.0, 0.0))
    logs = instance.log_sum_exps.copy()
    logs[1] = value
    weight = ask.call(instance, log_sum_exps=logs)["output"].flat[0]
    if np.isnan(weight):
        return "NaN"
    return "left out" if abs(weight - 1.0) < 0.01 else f"weighs {1 - float(weight):.3g}"


def _positive(ask: Ask) -> str:
    return _empty_part(ask, np.inf)


def _nan_of_empty(ask: Ask) -> str:
    instance = _two(ask, (0.0, -np.inf))
    outputs = instance.outputs.copy()
    outputs[1] = np.nan
    made = ask.call(instance, outputs=outputs)["output"]
    return "left out" if np.isfinite(made).all() else "NaN"


def _row(ask: Ask) -> str:
    made = ask.call(_two(ask, (-np.inf, -np.inf), return_lse="return_lse" in ask.capabilities))
    row = made["output"]
    words = "zeros" if not row.any() else "NaN" if np.isnan(row).any() else "other numbers"
    return f"{words}, log-sum-exp {float(made['log_sum_exp'].flat[0]):g}" if "log_sum_exp" in made else words


_CHOICES = "choices"

#: In the order of the data sheet.
QUESTIONS: tuple[Question, ...] = (
    Question("base", _CHOICES, "log-sum-exps are", _base),
    Question("all-empty", _CHOICES, "all parts empty", _row, ("all_parts_empty",)),
    Question("empty-positive", _CHOICES, "a part whose log-sum-exp is +∞", _positive),
    Question("empty-nan", _CHOICES, "NaN in the output of an empty part", _nan_of_empty, ("empty_parts",)),
    REPEATS,
    nan_in("outputs", "NaN in the output of a part"),
    nan_in("log_sum_exps", "NaN for a log-sum-exp"),
)
