"""How simulations are called, and the oracles that they are handed.

An oracle refuses arrays of more than ``size`` tokens along the axis of lengths, and what it was shown is recorded.  It
computes in the arithmetic of a fused kernel: sums in float32, or in float64 for float64, and results in the type of the
arrays that it is handed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.interface.interface import Capability, Form, Interface
from assay.conformance.interface.steps import Oracle, Output, Step
from assay.conformance.interface.suite import CONCURRENT_CALLS, FRESH_OUTPUTS
from assay.spec.small_transformers import criteria as right

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from assay.conformance.interface.kernel import Kernel
    from assay.conformance.interface.steps import Script
    from assay.spec.criterion import Criterion
    from assay.spec.precision import Precision
    from assay.spec.small_transformers import Instance

    Array = NDArray[Any]

__all__ = ["INTERFACE", "attend", "criteria"]

_FORM = Form(
    ("query", "key", "value"),
    "(query, key, value, *, oracle, size, scale, is_causal=False, window=None, sinks=0, mask=None, return_lse=False), "
    "each keyword after scale only if it is supported; oracle(query, key, value, scale=, mask=None) takes arrays of at "
    "most size tokens and returns their attention",
)


def attend(query: Array, key: Array, value: Array, *, scale: float, mask: Array | None = None) -> Array:
    """Attention of a few tokens, (batch, heads, length, dim) each; a query that sees no key has the output 0."""
    work = np.dtype(np.float64 if query.dtype.itemsize == 8 else np.float32)
    factor, lowest, zero, one = np.array([scale, -np.inf, 0, 1]).astype(work)
    score: Array = (query.astype(work) @ np.swapaxes(key.astype(work), 2, 3)) * factor
    if mask is not None:
        score = np.where(mask, score, lowest)
    most = score.max(axis=3, keepdims=True)
    weight = np.exp(score - np.where(np.isfinite(most), most, zero))
    total = weight.sum(axis=3, keepdims=True)
    out = (weight @ value.astype(work)) / np.where(total > 0, total, one)
    made: Array = out.astype(query.dtype)
    return made


_CAPABILITIES = (
    Capability("is_causal", lambda i: i.is_causal, ("is_causal",)),
    Capability("window", lambda i: i.window is not None, ("window",)),
    Capability("sinks", lambda i: i.sinks > 0, ("sinks",)),
    Capability("mask", lambda i: i.mask is not None, ("mask",)),
    Capability("return_lse", lambda i: i.return_lse, ("return_lse",)),
    Capability("grouped_heads", lambda i: i.query.shape[1] != i.key.shape[1]),
    Capability("cross_lengths", lambda i: i.query.shape[2] != i.key.shape[2]),
    Capability("empty_row", lambda i: not i.visible().any(axis=3).all()),
    Capability("two_tokens", lambda i: i.oracle_size < 3),
    Capability("plain_oracle", lambda i: i.oracle == "plain"),
    Capability(CONCURRENT_CALLS),
    Capability(FRESH_OUTPUTS),
)


def _script(instance: Instance, kernel: Kernel, precision: Precision) -> Script:
    """One call, with an oracle of the size."""
    assert instance.oracle_size is not None
    keywords: dict[str, Any] = {
        "oracle": Oracle(attend, most=instance.oracle_size, axis=2),
        "size": instance.oracle_size,
        "scale": instance.scale,
    }
    for name in ("is_causal", "window", "sinks", "mask", "return_lse"):
        value = getattr(instance, name)
        if value is not None and value is not False and not (name == "sinks" and value == 0):
            keywords[name] = value
    b, h, n, _ = instance.query.shape
    axes = ("batch", "heads", "queries", "value dim")
    wide = ("float64",) if precision.result == "float64" else ("float32", "float64")
    dtypes = tuple(dict.fromkeys((precision.result, *wide)))  # what is recombined may be returned as it is
    outputs = [Output("output", (b, h, n, instance.value.shape[3]), dtypes, axes)]
    if instance.return_lse:
        outputs.append(Output("log_sum_exp", (b, h, n), dtypes, axes[:3]))
    return (Step(tuple((name, getattr(instance, name)) for name in _FORM.positional), keywords, tuple(outputs)),)


def criteria(instance: Instance, kernel: Kernel, precision: Precision) -> Mapping[str, Criterion]:
    """Closeness of every output to the attention that is simulated."""
    return right(instance, precision)


INTERFACE = Interface((_FORM,), _script, ("oracle", "size", "scale"), _CAPABILITIES)
