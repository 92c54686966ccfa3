"""How simulations are called, and the oracles that they are handed.

An oracle refuses arrays of more than ``size`` tokens along the axis of lengths, and what it was shown is recorded.  It
computes in the arithmetic of a fused kernel: sums in float32, or in float64 for float64, and results in the type of the
arrays that it is handed.
"""

from __future__ import annotations

import functools
import math
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

__all__ = ["CONVENTIONS", "INTERFACE", "attend", "attend_causally", "attend_with_log_sum_exp", "criteria"]

_FORM = Form(
    ("query", "key", "value"),
    "(query, key, value, *, oracle, size, scale, is_causal=False, window=None, sinks=0, mask=None, return_lse=False), "
    "each keyword after scale only if it is supported; oracle(query, key, value, scale=, mask=None) takes arrays of at "
    "most size tokens and returns their attention",
    named=("oracle", "size"),
)


def _weighted(
    query: Array, key: Array, value: Array, scale: float, mask: Array | None, at_once: int | None
) -> tuple[Array, Array]:
    """The output in the type of the arrays, and the log-sum-exp in the type of the sums."""
    if at_once is not None and query.shape[1] > at_once:
        raise ValueError(f"{query.shape[1]} heads, expected at most {at_once}")
    work = np.dtype(np.float64 if query.dtype.itemsize == 8 else np.float32)
    factor, lowest, zero, one = np.array([scale, -np.inf, 0, 1]).astype(work)
    score: Array = (query.astype(work) @ np.swapaxes(key.astype(work), 2, 3)) * factor
    if mask is not None:
        score = np.where(np.asarray(mask), score, lowest)
    most = score.max(axis=3, keepdims=True)
    shift = np.where(np.isfinite(most), most, zero)
    weight = np.exp(score - shift)
    total = weight.sum(axis=3, keepdims=True)
    safe = np.where(total > 0, total, one)
    out: Array = ((weight @ value.astype(work)) / safe).astype(query.dtype)
    return out, np.where(total > 0, shift + np.log(safe), lowest)[..., 0]


def attend(
    query: Array, key: Array, value: Array, *, scale: float, mask: Array | None = None, at_once: int | None = None
) -> Array:
    """Attention of a few tokens, (batch, heads, length, dim) each; a query that sees no key has the output 0.

    at_once: the most heads of a call; more raise ``ValueError``.
    """
    return _weighted(query, key, value, scale, mask, at_once)[0]


def attend_with_log_sum_exp(
    query: Array, key: Array, value: Array, *, scale: float, mask: Array | None = None, return_lse: bool = True,
    at_once: int | None = None,
) -> Any:  # fmt: skip
    """The same with the log-sum-exp (batch, heads, queries), a natural logarithm, −∞ for a query that sees no key."""
    made = _weighted(query, key, value, scale, mask, at_once)
    return made if return_lse else made[0]


def attend_causally(query: Array, key: Array, value: Array, *, scale: float, at_once: int | None = None) -> Array:
    """Query r attends to the keys 0 … r of the call, and to nothing else."""
    causal = np.tri(query.shape[2], key.shape[2], dtype=bool)
    return _weighted(query, key, value, scale, causal, at_once)[0]


_ORACLES = {"plain": attend, "log_sum_exp": attend_with_log_sum_exp, "causal": attend_causally}

_FAR = 30.0


def _largest(instance: Instance) -> float:
    """The largest absolute score of a key that is seen."""
    query, key = (x.astype(np.float64) for x in (instance.query, np.repeat(instance.key, instance.group, axis=1)))
    score = np.abs(instance.scale or 0.0) * np.abs(query @ np.swapaxes(key, 2, 3))
    return float(np.where(instance.visible(), score, 0.0).max(initial=0.0))


_CAPABILITIES = (
    Capability("is_causal", lambda i: i.is_causal, ("is_causal",)),
    Capability("window", lambda i: i.window is not None, ("window",)),
    Capability("sinks", lambda i: i.sinks > 0, ("sinks",)),
    Capability("mask", lambda i: i.mask is not None, ("mask",)),
    Capability("return_lse", lambda i: i.return_lse, ("return_lse",)),
    Capability("without_causal", lambda i: not i.is_causal),
    Capability("without_window", lambda i: i.window is None),
    Capability("narrow_window", lambda i: i.window == 1),
    Capability("grouped_heads", lambda i: i.query.shape[1] != i.key.shape[1]),
    Capability("cross_lengths", lambda i: i.query.shape[2] != i.key.shape[2]),
    Capability("causal_cross_lengths", lambda i: i.is_causal and i.query.shape[2] != i.key.shape[2]),
    Capability("value_dim", lambda i: i.query.shape[3] != i.value.shape[3]),
    Capability("other_scale", lambda i: i.scale != 1.0 / math.sqrt(i.query.shape[3])),
    Capability("empty_row", lambda i: not i.visible().any(axis=3).all()),
    Capability("two_tokens", lambda i: i.oracle_size < 3),
    Capability("far_scores", lambda i: _largest(i) > _FAR),
    Capability("split_window", lambda i: i.window is not None and i.window + i.sinks > i.oracle_size),
    Capability(CONCURRENT_CALLS),
    Capability(FRESH_OUTPUTS),
)

#: Conventions that ``options`` may declare.
#: ``oracle``: what the oracle can do that the kernel is made for.  ``plain`` returns the output and takes a mask;
#: ``log_sum_exp`` returns the log-sum-exp too; ``causal`` takes no mask, and query r of a call sees its keys 0 … r.
#: ``at_once``: the most heads of one call, where there is a limit: heads of all layers of a small transformer.
CONVENTIONS: dict[str, tuple[str, ...]] = {"oracle": tuple(_ORACLES), "at_once": ()}


def _script(instance: Instance, kernel: Kernel, precision: Precision) -> Script:
    """One call, with an oracle of the size and of the kind that the kernel declares."""
    assert instance.oracle_size is not None
    function: Any = _ORACLES[_kind(kernel)]
    if "at_once" in kernel.conventions:
        function = functools.partial(function, at_once=int(float(kernel.conventions["at_once"])))
    keywords: dict[str, Any] = {
        "oracle": Oracle(function, most=instance.oracle_size, axis=2),
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


def _kind(kernel: Kernel) -> str:
    return str(kernel.conventions.get("oracle", "plain"))


def criteria(instance: Instance, kernel: Kernel, precision: Precision) -> Mapping[str, Criterion]:
    """Closeness of every output to the attention that is simulated, with the oracle that the kernel declares."""
    if instance.oracle != _kind(kernel):
        assert instance.oracle_size is not None
        instance = instance.replace(oracle=_kind(kernel), oracle_size=max(2, instance.oracle_size))
    return right(instance, precision)


INTERFACE = Interface((_FORM,), _script, ("oracle", "size", "scale"), _CAPABILITIES, CONVENTIONS)
