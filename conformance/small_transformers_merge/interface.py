"""How merges of parts of attention are called, and the conventions in which they may take log-sum-exps."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.interface.interface import Capability, Form, Interface
from assay.conformance.interface.kernel import Declined
from assay.conformance.interface.steps import Output, Step
from assay.conformance.interface.suite import CONCURRENT_CALLS, FRESH_OUTPUTS
from assay.spec.criterion import Criterion, close, close_before_rounding
from assay.spec.enclosure import Enclosure
from assay.spec.small_transformers_merge import criteria as right

if TYPE_CHECKING:
    from collections.abc import Mapping

    from assay.conformance.interface.kernel import Kernel
    from assay.conformance.interface.steps import Script
    from assay.spec.precision import Precision
    from assay.spec.small_transformers_merge import Instance

__all__ = ["CONVENTIONS", "INTERFACE", "criteria"]

_FORM = Form(
    ("outputs", "log_sum_exps"),
    "(outputs, log_sum_exps, *, sink=None, return_lse=False), outputs (parts, batch, heads, queries, value dim) and "
    "log_sum_exps (parts, batch, heads, queries), each keyword only if it is supported",
)


def _all_empty(instance: Instance) -> bool:
    return bool((instance.log_sum_exps == -np.inf).all(axis=0).any())


_CAPABILITIES = (
    Capability("sink", lambda i: i.sink is not None, ("sink",)),
    Capability("return_lse", lambda i: i.return_lse, ("return_lse",)),
    Capability("empty_parts", lambda i: bool((i.log_sum_exps == -np.inf).any())),
    Capability("first_part_empty", lambda i: bool((i.log_sum_exps[0] == -np.inf).any())),
    Capability("first_two_parts_empty", lambda i: bool((i.log_sum_exps[:2] == -np.inf).sum(axis=0).max() > 1)),
    Capability("all_parts_empty", _all_empty),
    Capability("all_parts_empty_lse", lambda i: i.return_lse and _all_empty(i)),
    Capability("one_part", lambda i: len(i.outputs) == 1),
    Capability("many_parts", lambda i: len(i.outputs) > 2),
    Capability(CONCURRENT_CALLS),
    Capability(FRESH_OUTPUTS),
)

#: Conventions that ``options`` may declare, the first being the default.
#: ``logarithm``: of the sums of weights: FlashInfer's merge of states takes and returns those of base 2.
#: ``empty_part``: the log-sum-exp of a part without keys; ``positive`` is +∞, as flash-attention 2 returns it.
#: ``empty_row``: the output of a query all of whose parts are empty; ``any`` for a kernel that documents nothing.
CONVENTIONS: dict[str, tuple[str, ...]] = {
    "logarithm": ("natural", "binary"),
    "empty_part": ("negative", "positive"),
    "empty_row": ("zero", "nan", "any"),
}


def _script(instance: Instance, kernel: Kernel, precision: Precision) -> Script:
    """One call."""
    logs = instance.log_sum_exps
    if kernel.conventions.get("logarithm") == "binary":
        if instance.sink is not None:
            raise Declined("takes logarithms of base 2, and a sink is a score")
        logs = (logs.astype(np.float64) * math.log2(math.e)).astype(logs.dtype)
    if kernel.conventions.get("empty_part") == "positive":
        logs = np.where(logs == -np.inf, logs.dtype.type(np.inf), logs)
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
    """Closeness of every output to the definition, under the conventions that the kernel declares."""
    held = dict(right(instance, precision))
    if instance.sink is None:
        held |= _of_empty_rows(instance, kernel, held)
    logs = held.get("log_sum_exp")
    if logs is not None and kernel.conventions.get("logarithm") == "binary":
        held["log_sum_exp"] = _binary(logs)
    return held


def _of_empty_rows(instance: Instance, kernel: Kernel, held: Mapping[str, Criterion]) -> dict[str, Criterion]:
    """What is held to another value, or to nothing, where all parts are empty."""
    changed: dict[str, Criterion] = {}
    empty = (instance.log_sum_exps == -np.inf).all(axis=0)
    if not empty.any():
        return changed
    output, logs = held["output"], held.get("log_sum_exp")
    convention = kernel.conventions.get("empty_row", "zero")
    assert output.value is not None
    if convention == "nan":
        value = Enclosure(np.where(empty[..., None], np.nan, output.value.midpoint), output.value.radius)
        changed["output"] = close(value, output.allowed)
    elif convention == "any":
        changed["output"] = close(output.value, np.where(empty[..., None], np.inf, output.allowed))
    if logs is not None and logs.value is not None and kernel.conventions.get("empty_part") == "positive":
        changed["log_sum_exp"] = close_before_rounding(logs.value, np.where(empty, np.inf, logs.allowed))
    return changed


def _binary(logs: Criterion) -> Criterion:
    """The criterion of a log-sum-exp in logarithms of base 2.

    The judge rounds binary logarithms once more when it hands them over, which the bias of TOL-2 pays for.
    """
    value, factor = logs.value, math.log2(math.e)
    assert value is not None
    with np.errstate(invalid="ignore"):
        radius = value.radius * factor + 2.0**-51 * np.where(np.isfinite(value.midpoint), np.abs(value.midpoint), 0)
    return close_before_rounding(Enclosure(value.midpoint * factor, radius), logs.allowed * factor * (1 + 2.0**-50))


INTERFACE = Interface((_FORM,), _script, (), _CAPABILITIES, CONVENTIONS)
