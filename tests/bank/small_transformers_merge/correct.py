"""Correct merges of unusual structure: the judge must pass every one, in every class that it names."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from bank.entry import Entry

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[Any]

__all__ = ["CORRECT", "merged", "started"]

EVERY = ("float32", "float64", "bfloat16", "float16")


def started(outputs: Array, log_sum_exps: Array, sink: Array | None) -> tuple[Array, Array]:
    """Parts and log-sum-exps in the type of the work, the sink as a last part; outputs of empty parts are 0."""
    work = np.float64 if outputs.dtype.itemsize == 8 else np.float32
    parts, logs = outputs.astype(work), log_sum_exps.astype(work)
    parts = np.where((logs == -np.inf)[..., None], work(0), parts)
    if sink is not None:
        logs = np.concatenate([logs, np.broadcast_to(sink.astype(work)[:, None], (1, *logs.shape[1:]))])
        parts = np.concatenate([parts, np.zeros_like(parts[:1])])
    return parts, logs


def _kernel(merge: Callable[[Array, Array], tuple[Array, Array]]) -> Callable[..., Any]:
    """A kernel with every option.  merge(parts, logs): the output and its log-sum-exp in the type of the work."""

    def kernel(outputs: Array, log_sum_exps: Array, *, sink: Array | None = None, return_lse: bool = False) -> Any:
        with np.errstate(all="ignore"):
            made, logs = merge(*started(outputs, log_sum_exps, sink))
        made = made.astype(outputs.dtype)
        return (made, logs) if return_lse else made

    return kernel


def _or_zero(x: Array) -> Array:
    return np.where(np.isfinite(x), x, x.dtype.type(0))


def _once(parts: Array, logs: Array) -> tuple[Array, Array]:
    """All parts at once, relative to the largest log-sum-exp."""
    most = _or_zero(logs.max(axis=0))
    weight = np.exp(logs - most)
    total = weight.sum(axis=0)
    safe = np.where(total > 0, total, total.dtype.type(1))
    lse = np.where(total > 0, most + np.log(safe), -np.inf).astype(logs.dtype)
    return (weight[..., None] * parts).sum(axis=0) / safe[..., None], lse


merged = _kernel(_once)


def _online(parts: Array, logs: Array) -> tuple[Array, Array]:
    """One part after the other, with sums that are rescaled; the division comes last."""
    most = np.full_like(logs[0], -np.inf)
    total, out = np.zeros_like(most), np.zeros_like(parts[0])
    for part, log in zip(parts, logs, strict=True):
        new = np.maximum(most, log)
        before, now = np.exp(most - _or_zero(new)), np.exp(log - _or_zero(new))
        total, out, most = before * total + now, before[..., None] * out + now[..., None] * part, new
    safe = np.where(total > 0, total, total.dtype.type(1))
    return out / safe[..., None], _or_zero(most) + np.log(total)


def _two(out: Array, lse: Array, part: Array, log: Array) -> tuple[Array, Array]:
    """vLLM's merge of two states: scales are divided by the sum before they multiply."""
    most = _or_zero(np.maximum(lse, log))
    a, b = np.exp(lse - most), np.exp(log - most)
    total = a + b
    safe = np.where(total > 0, total, total.dtype.type(1))
    return (a / safe)[..., None] * out + (b / safe)[..., None] * part, most + np.log(total)


def _states(parts: Array, logs: Array) -> tuple[Array, Array]:
    out, lse = parts[0], logs[0]
    for part, log in zip(parts[1:], logs[1:], strict=True):
        out, lse = _two(out, lse, part, log)
    return out, lse


def _backwards(parts: Array, logs: Array) -> tuple[Array, Array]:
    return _states(parts[::-1], logs[::-1])


def _tree(parts: Array, logs: Array) -> tuple[Array, Array]:
    """Neighbours are merged, then neighbours of those."""
    states = list(zip(parts, logs, strict=True))
    while len(states) > 1:
        pairs = zip(states[::2], states[1::2], strict=False)
        states = [_two(*a, *b) for a, b in pairs] + states[len(states) // 2 * 2 :]
    return states[0]


def _corrections(parts: Array, logs: Array) -> tuple[Array, Array]:
    """out − σ(l_t − lse)(out − o_t), as ring attention has it."""
    out, lse = parts[0], logs[0]
    for part, log in zip(parts[1:], logs[1:], strict=True):
        share = np.where(log == -np.inf, 0, 1 / (1 + np.exp(lse - log))).astype(out.dtype)
        out, lse = out - share[..., None] * (out - part), np.logaddexp(lse, log)
    return out, lse


def _log_weights(parts: Array, logs: Array) -> tuple[Array, Array]:
    """e^(l_t − lse) with the log-sum-exp first; nothing is divided."""
    lse = np.logaddexp.reduce(logs, axis=0)
    return (np.exp(logs - _or_zero(lse))[..., None] * parts).sum(axis=0), lse


def _powers_of_two(parts: Array, logs: Array) -> tuple[Array, Array]:
    """2^(l_t·log₂e − m), with one rounding more."""
    binary = logs * logs.dtype.type(math.log2(math.e))
    most = _or_zero(binary.max(axis=0))
    weight = np.exp2(binary - most)
    total = weight.sum(axis=0)
    safe = np.where(total > 0, total, total.dtype.type(1))
    lse = (most + np.log2(total)) * logs.dtype.type(math.log(2.0))
    return (weight[..., None] * parts).sum(axis=0) / safe[..., None], lse


def _sorted_parts(parts: Array, logs: Array) -> tuple[Array, Array]:
    """The smallest weights are added first."""
    order = np.argsort(logs, axis=0)
    return _online(np.take_along_axis(parts, order[..., None], axis=0), np.take_along_axis(logs, order, axis=0))


def _product(parts: Array, logs: Array) -> tuple[Array, Array]:
    """One matrix product a row, of weights and outputs."""
    _, lse = _once(parts, logs)
    weight = np.exp(logs - _or_zero(lse))
    return np.einsum("tbhn,tbhnd->bhnd", weight, parts, optimize=True), lse


def _wide(parts: Array, logs: Array) -> tuple[Array, Array]:
    """In float64, whatever the class."""
    out, lse = _once(parts.astype(np.float64), logs.astype(np.float64))
    return out, lse.astype(logs.dtype)


def binary(outputs: Array, log_sum_exps: Array, *, return_lse: bool = False) -> Any:
    """FlashInfer's merge_states: logarithms of base 2 in and out."""
    parts, logs = started(outputs, log_sum_exps, None)
    with np.errstate(all="ignore"):
        most = _or_zero(logs.max(axis=0))
        weight = np.exp2(logs - most)
        total = weight.sum(axis=0)
        safe = np.where(total > 0, total, total.dtype.type(1))
        made = ((weight[..., None] * parts).sum(axis=0) / safe[..., None]).astype(outputs.dtype)
        return (made, most + np.log2(total)) if return_lse else made


def positive(outputs: Array, log_sum_exps: Array, *, sink: Array | None = None, return_lse: bool = False) -> Any:
    """Parts without keys have the log-sum-exp +∞, as flash-attention 2 returns it, and so has a row without any."""
    logs = np.where(log_sum_exps == np.inf, log_sum_exps.dtype.type(-np.inf), log_sum_exps)
    made = merged(outputs, logs, sink=sink, return_lse=return_lse)
    return (made[0], np.where(made[1] == -np.inf, np.inf, made[1]).astype(logs.dtype)) if return_lse else made


def stored(outputs: Array, log_sum_exps: Array, *, sink: Array | None = None, return_lse: bool = False) -> Any:
    """FlashInfer's merge_state_in_place, part after part: what is merged so far is stored in the type of the outputs."""
    parts, logs = started(outputs, log_sum_exps, sink)
    made, lse = parts[0].astype(outputs.dtype), logs[0]
    with np.errstate(all="ignore"):
        for part, log in zip(parts[1:], logs[1:], strict=True):
            most = _or_zero(np.maximum(lse, log))
            old, new = np.exp(lse - most), np.exp(log - most)
            total = np.where(old + new > 0, old + new, old.dtype.type(1))
            weighted = (old / total)[..., None] * made.astype(part.dtype) + (new / total)[..., None] * part
            made, lse = weighted.astype(outputs.dtype), np.where(old + new > 0, most + np.log(total), -np.inf)
            lse = lse.astype(logs.dtype)
    return (made, lse) if return_lse else made


def unguarded(outputs: Array, log_sum_exps: Array, *, return_lse: bool = False) -> Any:
    """0/0 where all parts are empty, which it declares."""
    parts, logs = started(outputs, log_sum_exps, None)
    with np.errstate(all="ignore"):
        weight = np.exp(logs - _or_zero(logs.max(axis=0)))
        total = weight.sum(axis=0)
        made = ((weight[..., None] * parts).sum(axis=0) / total[..., None]).astype(outputs.dtype)
        return (made, _or_zero(logs.max(axis=0)) + np.log(total)) if return_lse else made


def _entry(name: str, merge: Any, why: str, precisions: tuple[str, ...] = EVERY) -> Entry:
    return Entry(name, _kernel(merge), precisions, why)


CORRECT: tuple[Entry, ...] = (
    _entry("one-pass-maximum", _once, "all parts at once"),
    _entry("online", _online, "one part after the other, rescaled, divided last"),
    _entry("vllm-merge-attn-states", _states, "pairs, divided before they multiply"),
    _entry("backwards", _backwards, "pairs from the last part on"),
    _entry("pairwise-tree", _tree, "pairs of pairs"),
    _entry("sigmoid-corrections", _corrections, "corrections of what was merged"),
    _entry("log-weights", _log_weights, "the log-sum-exp first, no division"),
    _entry("powers-of-two", _powers_of_two, "base 2 inside"),
    _entry("smallest-first", _sorted_parts, "parts in the order of their weights"),
    _entry("matrix-product", _product, "an einsum over the parts"),
    _entry("wide", _wide, "float64 in every class"),
    Entry("flashinfer-merge-states", binary, EVERY, "base 2 declared", options={"logarithm": "binary"}),
    Entry("flashinfer-in-place", stored, ("bfloat16-stored", "float16-stored"), "stored after every part"),
    Entry("positive-infinity", positive, EVERY, "+∞ for an empty part", options={"empty_part": "positive"}),
    Entry("unguarded", unguarded, EVERY, "NaN of an empty row declared", options={"empty_row": "nan"}),
)
