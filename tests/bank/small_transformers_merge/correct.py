"""Correct merges of unusual structure: the judge must pass every one, in every class that it names."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from bank.entry import Entry

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

__all__ = ["CORRECT", "at_once", "type_of_sums"]

ALL = ("float32", "float64", "bfloat16", "float16")


def type_of_sums(outputs: Array) -> Any:
    return np.float64 if outputs.dtype.itemsize == 8 else np.float32


def at_once(
    outputs: Array, log_sum_exps: Array, *, sink: Array | None = None, return_lse: bool = False, work: Any = None
) -> Any:
    """All parts at once, in float32, or in float64 for float64."""
    work = type_of_sums(outputs) if work is None else work
    parts, logs = outputs.astype(work), log_sum_exps.astype(work)
    if sink is not None:
        logs = np.concatenate([logs, np.broadcast_to(sink.astype(work)[:, None], (1, *logs.shape[1:]))])
        parts = np.concatenate([parts, np.zeros_like(parts[:1])])
    most = logs.max(axis=0)
    most = np.where(np.isfinite(most), most, work(0))
    weight = np.exp(logs - most)
    total = weight.sum(axis=0)
    safe = np.where(total > 0, total, work(1))
    made = ((weight[..., None] * parts).sum(axis=0) / safe[..., None]).astype(outputs.dtype)
    return (made, np.where(total > 0, most + np.log(safe), work(-np.inf))) if return_lse else made


def _at_once(outputs: Array, log_sum_exps: Array, *, sink: Array | None = None, return_lse: bool = False) -> Any:
    return at_once(outputs, log_sum_exps, sink=sink, return_lse=return_lse)


def _wide(outputs: Array, log_sum_exps: Array, *, sink: Array | None = None, return_lse: bool = False) -> Any:
    return at_once(outputs, log_sum_exps, sink=sink, return_lse=return_lse, work=np.float64)


def _backwards(outputs: Array, log_sum_exps: Array, *, sink: Array | None = None, return_lse: bool = False) -> Any:
    return at_once(outputs[::-1], log_sum_exps[::-1], sink=sink, return_lse=return_lse)


def _ordered(outputs: Array, log_sum_exps: Array, *, return_lse: bool = False) -> Any:
    """Every row's parts from the lightest to the heaviest."""
    order = np.argsort(log_sum_exps, axis=0)
    logs = np.take_along_axis(log_sum_exps, order, axis=0)
    return at_once(np.take_along_axis(outputs, order[..., None], axis=0), logs, return_lse=return_lse)


def _corrected(outputs: Array, log_sum_exps: Array) -> Any:
    """One by one, as out − σ(l_t − lse)(out − o_t)."""
    work = type_of_sums(outputs)
    out, lse = outputs[0].astype(work), log_sum_exps[0].astype(work)
    out = np.where(np.isfinite(lse)[..., None], out, work(0))
    for part, log in zip(outputs[1:].astype(work), log_sum_exps[1:].astype(work), strict=True):
        with np.errstate(invalid="ignore", over="ignore"):
            share = np.where(np.isfinite(log), 1 / (1 + np.exp(lse - log)), 0).astype(work)
        out = out - share[..., None] * (out - part)
        lse = np.logaddexp(lse, log)
    return out.astype(outputs.dtype)


def _pairs(outputs: Array, log_sum_exps: Array) -> list[tuple[Array, Array]]:
    work = type_of_sums(outputs)
    return [(o.astype(work), s.astype(work)) for o, s in zip(outputs, log_sum_exps, strict=True)]


def _two(first: tuple[Array, Array], second: tuple[Array, Array]) -> tuple[Array, Array]:
    made, log = at_once(np.stack([first[0], second[0]]), np.stack([first[1], second[1]]), return_lse=True)
    return made, log


def _tree(outputs: Array, log_sum_exps: Array, *, return_lse: bool = False) -> Any:
    parts = _pairs(outputs, log_sum_exps)
    while len(parts) > 1:
        parts = [_two(*parts[at : at + 2]) if at + 1 < len(parts) else parts[at] for at in range(0, len(parts), 2)]
    made, log = _two(parts[0], (np.zeros_like(parts[0][0]), np.full_like(parts[0][1], -np.inf)))
    return (made.astype(outputs.dtype), log) if return_lse else made.astype(outputs.dtype)


def _online(outputs: Array, log_sum_exps: Array, *, sink: Array | None = None, return_lse: bool = False) -> Any:
    """Sums that are rescaled when the maximum grows; the sink is where they start."""
    work = type_of_sums(outputs)
    shape = log_sum_exps.shape[1:]
    most = np.full(shape, -np.inf, work) if sink is None else np.broadcast_to(sink.astype(work)[:, None], shape).copy()
    total = np.zeros(shape, work) if sink is None else np.ones(shape, work)
    above = np.zeros(outputs.shape[1:], work)
    for part, log in _pairs(outputs, log_sum_exps):
        larger = np.maximum(most, log)
        shift = np.where(np.isfinite(larger), larger, work(0))
        old, new = np.exp(most - shift), np.exp(log - shift)
        above, total, most = old[..., None] * above + new[..., None] * part, old * total + new, larger
    safe = np.where(total > 0, total, work(1))
    made = (above / safe[..., None]).astype(outputs.dtype)
    return (made, np.where(total > 0, most + np.log(safe), work(-np.inf))) if return_lse else made


def _binary(outputs: Array, log_sum_exps: Array, *, return_lse: bool = False) -> Any:
    """With logarithms of base 2, as FlashInfer has them."""
    made, logs = at_once(outputs, log_sum_exps * log_sum_exps.dtype.type(math.log(2.0)), return_lse=True)
    return (made, logs * logs.dtype.type(math.log2(math.e))) if return_lse else made


def _exp2(outputs: Array, log_sum_exps: Array) -> Any:
    """Natural logarithms, converted once, and powers of two."""
    work = type_of_sums(outputs)
    logs = log_sum_exps.astype(work)
    most = logs.max(axis=0)
    most = np.where(np.isfinite(most), most, work(0))
    weight = np.exp2((logs - most) * work(math.log2(math.e)))
    total = weight.sum(axis=0)
    safe = np.where(total > 0, total, work(1))
    return ((weight[..., None] * outputs.astype(work)).sum(axis=0) / safe[..., None]).astype(outputs.dtype)


def _weights_first(outputs: Array, log_sum_exps: Array, *, return_lse: bool = False) -> Any:
    """e^(l_t − lse), which add up to 1, then one sum."""
    work = type_of_sums(outputs)
    logs = log_sum_exps.astype(work)
    lse = np.logaddexp.reduce(logs, axis=0)
    weight = np.exp(logs - np.where(np.isfinite(lse), lse, work(0)))
    made = np.einsum("pbhn,pbhnd->bhnd", weight, outputs.astype(work)).astype(outputs.dtype)
    return (made, lse) if return_lse else made


def _lowest(outputs: Array, log_sum_exps: Array) -> Any:
    """Without a thought of −∞: an empty part has the lowest number."""
    work = type_of_sums(outputs)
    logs = log_sum_exps.astype(work)
    weight = np.exp(logs - logs.max(axis=0))
    made = (weight[..., None] * outputs.astype(work)).sum(axis=0) / weight.sum(axis=0)[..., None]
    return np.asarray(made.astype(outputs.dtype))


def _rational(outputs: Array, log_sum_exps: Array) -> Any:
    """Sums and quotients of rational numbers, of weights in float64."""
    made = np.zeros(outputs.shape[1:])
    for index in np.ndindex(*log_sum_exps.shape[1:]):
        logs = [float(x) for x in log_sum_exps[(slice(None), *index)]]
        most = max(logs)
        if most == -math.inf:
            continue
        weights = [Fraction(math.exp(x - most)) for x in logs]
        for column in range(outputs.shape[4]):
            numbers = [Fraction(float(x)) for x in outputs[(slice(None), *index, column)]]
            made[(*index, column)] = float(sum(w * x for w, x in zip(weights, numbers, strict=True)) / sum(weights))
    return made.astype(outputs.dtype)


def _by_heads(outputs: Array, log_sum_exps: Array, *, return_lse: bool = False) -> Any:
    """Heads one after the other, in memory of another order."""
    parts = [
        at_once(np.asfortranarray(outputs[:, :, h : h + 1]), log_sum_exps[:, :, h : h + 1], return_lse=True)
        for h in range(outputs.shape[2])
    ]
    made, logs = (np.concatenate(x, axis=1) for x in zip(*parts, strict=True))
    return (made, logs) if return_lse else made


CORRECT: tuple[Entry, ...] = (
    Entry("at-once", _at_once, ALL, "one maximum, one sum above and one below"),
    Entry("wide", _wide, ALL, "everything in float64, rounded once"),
    Entry("backwards", _backwards, ALL, "from the last part to the first"),
    Entry("ordered", _ordered, ("float32", "bfloat16"), "every row's parts in an order of its own"),
    Entry("sigmoid", _corrected, ALL, "corrections of what was merged so far, as ring attention has them"),
    Entry("tree", _tree, ("float32", "float64"), "pairs, and pairs of these, normalised every time"),
    Entry("online", _online, ALL, "sums that are rescaled; the sink is where they start"),
    Entry("binary", _binary, ("float32", "float64", "bfloat16"), "logarithms of base 2, declared", options={"logarithm": "binary"}),
    Entry("exp2", _exp2, ALL, "natural logarithms and powers of two"),
    Entry("weights-first", _weights_first, ALL, "weights that add up to 1, and one product"),
    Entry("lowest", _lowest, ("float32", "bfloat16"), "knows no −∞, and says so", options={"empty": "lowest"}),
    Entry("rational", _rational, ("float64", "float32"), "exact sums and quotients"),
    Entry("by-heads", _by_heads, ("float32", "float16"), "heads one after the other"),
)  # fmt: skip
