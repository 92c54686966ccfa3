"""How merges of parts of attention are called, and in which logarithms they may take them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.interface.interface import Capability, Form, Interface
from assay.conformance.interface.kernel import Declined
from assay.conformance.interface.steps import Output, Step
from assay.conformance.interface.suite import CONCURRENT_CALLS, FRESH_OUTPUTS
from assay.spec.criterion import Criterion, close_before_rounding
from assay.spec.enclosure import Enclosure
from assay.spec.small_transformers_merge import criteria as right

if TYPE_CHECKING:
    from collections.abc import Mapping

    from assay.conformance.interface.kernel import Kernel
    from assay.conformance.interface.steps import Script
    from assay.spec.precision import Precision
    from assay.spec.small_transformers_merge import Instance

__all__ = ["INTERFACE", "criteria"]

_FORM = Form(
    ("outputs", "log_sum_exps"),
    "(outputs, log_sum_exps, *, sink=None, return_lse=False), outputs (parts, batch, heads, queries, value dim) and "
    "log_sum_exps (parts, batch, heads, queries), each keyword only if it is supported",
)

_CAPABILITIES = (
    Capability("sink", lambda i: i.sink is not None, ("sink",)),
    Capability("return_lse", lambda i: i.return_lse, ("return_lse",)),
    Capability("empty_parts", lambda i: bool((i.log_sum_exps == -np.inf).any())),
    Capability("all_parts_empty", lambda i: bool((i.log_sum_exps == -np.inf).all(axis=0).any())),
    Capability("one_part", lambda i: len(i.outputs) == 1),
    Capability("many_parts", lambda i: len(i.outputs) > 2),
    Capability(CONCURRENT_CALLS),
    Capability(FRESH_OUTPUTS),
)

#: Conventions that ``options`` may declare, the first being the default.
#: ``logarithm``: of the sums of weights: FlashInfer's merge of states takes and returns those of base 2.
#: ``empty``: the log-sum-exp of a part without keys: −∞, or the lowest finite number of its type, as kernels write it
#: that start from it.  In the latter case rows whose parts are all empty are not asked for.
_CONVENTIONS: dict[str, tuple[str, ...]] = {"logarithm": ("natural", "binary"), "empty": ("infinite", "lowest")}


def _script(instance: Instance, kernel: Kernel, precision: Precision) -> Script:
    """One call."""
    logs = instance.log_sum_exps
    if kernel.conventions.get("logarithm") == "binary":
        if instance.sink is not None:
            raise Declined("takes logarithms of base 2, and a sink is a score")
        logs = (logs.astype(np.float64) * math.log2(math.e)).astype(logs.dtype)
    if kernel.conventions.get("empty") == "lowest":
        if (logs == -np.inf).all(axis=0).any():
            raise Declined("takes the lowest number for −∞, so that parts that are all empty are weighed")
        logs = np.maximum(logs, np.finfo(logs.dtype).min)
    keywords: dict[str, Any] = {} if instance.sink is None else {"sink": instance.sink}
    axes = ("batch", "heads", "queries", "value dim")
    shape = instance.outputs.shape[1:]
    outputs = [Output("output", shape, (precision.result,), axes)]
    if instance.return_lse:
        keywords["return_lse"] = True
        wide = ("float64",) if precision.result == "float64" else ("float32", "float64")
        outputs.append(Output("log_sum_exp", shape[:3], tuple(dict.fromkeys((precision.result, *wide))), axes[:3]))
    return (Step((("outputs", instance.outputs), ("log_sum_exps", logs)), keywords, tuple(outputs)),)


def criteria(instance: Instance, kernel: Kernel, precision: Precision) -> Mapping[str, Criterion]:
    """Closeness of every output to the definition; of a log-sum-exp in the logarithms that the kernel declares.

    The judge rounds binary logarithms once more when it hands them over, which the bias of TOL-2 pays for.
    """
    held = dict(right(instance, precision))
    logs = held.get("log_sum_exp")
    if logs is not None and logs.value is not None and kernel.conventions.get("logarithm") == "binary":
        factor = math.log2(math.e)
        value = logs.value
        with np.errstate(invalid="ignore"):
            radius = value.radius * factor + 2.0**-51 * np.where(np.isfinite(value.midpoint), np.abs(value.midpoint), 0)
        held["log_sum_exp"] = close_before_rounding(
            Enclosure(value.midpoint * factor, radius), logs.allowed * factor * (1 + 2.0**-50)
        )
    return held


INTERFACE = Interface((_FORM,), _script, (), _CAPABILITIES, _CONVENTIONS)
