"""Wrong merges: each re-creates the behaviour of a defect that shipped (the source names it), or a planted one."""

from __future__ import annotations

import inspect
import math
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

from bank.entry import Entry
from bank.small_transformers_merge.correct import CORRECT, at_once, type_of_sums

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[Any]

__all__ = ["BUGGY"]

ONE = ("float32",)
LOG2E = math.log2(math.e)


def _logs(change: Callable[[Array], Array]) -> Callable[..., Any]:
    """Other log-sum-exps where they are finite."""

    def kernel(outputs: Array, log_sum_exps: Array) -> Any:
        some = np.isfinite(log_sum_exps)
        changed = np.where(some, change(np.where(some, log_sum_exps, 0.0)), -np.inf).astype(log_sum_exps.dtype)
        return at_once(outputs, changed)

    return kernel


def _read(change: Callable[[Array], Array]) -> Callable[..., Any]:
    """Log-sum-exps that are read elsewhere."""
    return lambda outputs, log_sum_exps: at_once(outputs, np.broadcast_to(change(log_sum_exps), log_sum_exps.shape))


def _parts(which: Callable[[int], Any]) -> Callable[..., Any]:
    def kernel(outputs: Array, log_sum_exps: Array, *, return_lse: bool = False) -> Any:
        index = list(which(len(outputs))) or [0]
        return at_once(outputs[index], log_sum_exps[index], return_lse=return_lse)

    return kernel


def _stored(change: Callable[[Array], Array]) -> Callable[..., Any]:
    return lambda outputs, log_sum_exps: at_once(change(outputs).astype(outputs.dtype), log_sum_exps)


def _sunk(change: Callable[[Array, int], Array | None]) -> Callable[..., Any]:
    def kernel(outputs: Array, log_sum_exps: Array, *, sink: Array | None = None) -> Any:
        return at_once(outputs, log_sum_exps, sink=None if sink is None else change(sink, len(outputs)))

    return kernel


def _returned(change: Callable[..., Array]) -> Callable[..., Any]:
    """Another log-sum-exp: change(right one, log-sum-exps of the parts)."""

    def kernel(outputs: Array, log_sum_exps: Array, *, sink: Array | None = None, return_lse: bool = False) -> Any:
        made, log = at_once(outputs, log_sum_exps, sink=sink, return_lse=True)
        return (made, change(log, log_sum_exps).astype(log.dtype)) if return_lse else made

    return kernel


def _alike(outputs: Array, log_sum_exps: Array) -> Any:
    return outputs.astype(np.float32).mean(axis=0).astype(outputs.dtype)


def _added(outputs: Array, log_sum_exps: Array) -> Any:
    return outputs.astype(np.float32).sum(axis=0).astype(outputs.dtype)


def _halves(outputs: Array, log_sum_exps: Array) -> Any:
    out = outputs[0].astype(np.float32)
    for part in outputs[1:].astype(np.float32):
        out = (out + part) / 2
    return out.astype(outputs.dtype)


def _not_divided(outputs: Array, log_sum_exps: Array) -> Any:
    weight = np.exp(log_sum_exps - _shift(log_sum_exps.max(axis=0)))
    return (weight[..., None] * outputs).sum(axis=0).astype(outputs.dtype)


def _shift(most: Array) -> Array:
    return np.where(np.isfinite(most), most, most.dtype.type(0))


def _nan_of_two_empty(outputs: Array, log_sum_exps: Array) -> Any:
    work = type_of_sums(outputs)
    weight = np.exp(log_sum_exps - log_sum_exps.max(axis=0))
    return ((weight[..., None] * outputs.astype(work)).sum(axis=0) / weight.sum(axis=0)[..., None]).astype(
        outputs.dtype
    )


def _nan_of_the_first(outputs: Array, log_sum_exps: Array) -> Any:
    """lse − logσ(lse − l_t) is NaN from −∞ on."""
    out, lse = outputs[0], log_sum_exps[0]
    for part, log in zip(outputs[1:], log_sum_exps[1:], strict=True):
        share = 1 / (1 + np.exp(lse - log))
        out = out - share[..., None] * (out - part)
        lse = lse + np.log1p(np.exp(log - lse))
    return out.astype(outputs.dtype).copy()


def _empty_overwrites(outputs: Array, log_sum_exps: Array) -> Any:
    """A part without keys resets what was merged: the kernel runs its epilogue all the same."""
    out, lse = outputs[0].astype(np.float32), log_sum_exps[0]
    for part, log in zip(outputs[1:].astype(np.float32), log_sum_exps[1:], strict=True):
        made, both = at_once(np.stack([out, part]), np.stack([lse, log]), return_lse=True)
        empty = ~np.isfinite(log)
        out, lse = np.where(empty[..., None], part, made), np.where(empty, log, both).astype(np.float32)
    return out.astype(outputs.dtype)


def _not_rescaled(outputs: Array, log_sum_exps: Array) -> Any:
    most = np.maximum.accumulate(log_sum_exps, axis=0)
    weight = np.where(np.isfinite(log_sum_exps), np.exp(log_sum_exps - _shift(most)), 0.0)
    total = weight.sum(axis=0)
    return ((weight[..., None] * outputs).sum(axis=0) / np.where(total > 0, total, 1)[..., None]).astype(outputs.dtype)


def _overflowing(outputs: Array, log_sum_exps: Array) -> Any:
    weight = np.exp(log_sum_exps)
    total = weight.sum(axis=0)
    return ((weight[..., None] * outputs).sum(axis=0) / np.where(total > 0, total, 1)[..., None]).astype(outputs.dtype)


def _by_the_part_before(outputs: Array, log_sum_exps: Array) -> Any:
    out = np.where(np.isfinite(log_sum_exps[0])[..., None], outputs[0], 0)
    for t in range(1, len(outputs)):
        share = 1 / (1 + np.exp(log_sum_exps[t - 1] - log_sum_exps[t]))
        share = np.where(np.isfinite(log_sum_exps[t]), share, 0)
        out = out - share[..., None] * (out - outputs[t])
    return out.astype(outputs.dtype)


def _loudest(outputs: Array, log_sum_exps: Array) -> Any:
    index = log_sum_exps.argmax(axis=0)[None]
    return np.take_along_axis(outputs, index[..., None], axis=0)[0].copy()


def _batch_unwritten(outputs: Array, log_sum_exps: Array) -> Any:
    made = at_once(outputs, log_sum_exps)
    made[1:] = 0
    return made


def _rounded_every_time(outputs: Array, log_sum_exps: Array) -> Any:
    """Stored in bfloat16 after every part: the error grows with the parts."""
    out, lse = outputs[0], log_sum_exps[0]
    for part, log in zip(outputs[1:], log_sum_exps[1:], strict=True):
        out, lse = at_once(np.stack([out, part]), np.stack([lse, log]), return_lse=True)
        out = out.astype(ml_dtypes.bfloat16).astype(outputs.dtype)
    return out.copy()


def _mutating(outputs: Array, log_sum_exps: Array) -> Any:
    log_sum_exps -= log_sum_exps.max()
    return at_once(outputs, log_sum_exps)


def _sink_as_weight(outputs: Array, log_sum_exps: Array, *, sink: Array | None = None) -> Any:
    if sink is None:
        return at_once(outputs, log_sum_exps)
    weight = np.exp(log_sum_exps.astype(np.float64))
    total = weight.sum(axis=0) + sink.astype(np.float64)[:, None]
    return ((weight[..., None] * outputs).sum(axis=0) / total[..., None]).astype(outputs.dtype)


def _bug(name: str, function: Callable[..., Any], why: str, source: str = "", told: str | None = None) -> Entry:
    def quiet(*arrays: Array, **options: Any) -> Any:
        with np.errstate(all="ignore"):
            return function(*arrays, **options)

    quiet.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    return Entry(name, quiet, ONE, why, source, diagnosis=told)


(_BINARY,) = (entry for entry in CORRECT if entry.name == "binary")
(_LOWEST,) = (entry for entry in CORRECT if entry.name == "lowest")
_SGLANG, _ROUNDED = (
    "sglang#35045, #40903; flashinfer#4547; lightseekorg/tokenspeed#571",
    "zhuzilin/ring-flash-attention#42; vllm-project/vllm-xpu-kernels#204, #556",
)
_SINK, _EMPTY, _STRIDE = (
    "vllm-project/vllm-metal#550; kekzl/imp#1346",
    "vllm-project/FlashMLA#25; flash-attention#2901",
    "vllm-project/flash-attention#176",
)

BUGGY: tuple[Entry, ...] = (
    _bug("base-2", _logs(lambda x: x * math.log(2.0)), "2^(l_t) with natural logarithms", _SGLANG, "log-sum-exps are taken for those of base 2"),
    _bug("base-e", _logs(lambda x: x * LOG2E), "e^(l_t) with logarithms of base 2", _SGLANG, "log-sum-exps of base 2 are taken for natural ones"),
    _bug("undeclared-binary", _BINARY.function, "logarithms of base 2, not declared", _SGLANG, "log-sum-exps are taken for those of base 2"),
    _bug("alike", _alike, "the mean of the parts", "natural", "parts are weighted alike"),
    _bug("halves", _halves, "(o + o_t)/2, one part after the other", "natural", "parts are averaged one by one"),
    _bug("added", _added, "the parts added up", "natural", "parts are added up without weights"),
    _bug("negated", _logs(np.negative), "e^(−l_t)", "natural", "log-sum-exps are taken with the other sign"),
    _bug("squared", _logs(lambda x: 2 * x), "the factor is applied to the output and to the sum", _ROUNDED, "weights are squared"),
    _bug("not-divided", _not_divided, "the last division is missing", "natural", "the sum is not divided by the sum of the weights"),
    _bug("not-rescaled", _not_rescaled, "sums keep the old maximum", "flashinfer#50", "sums are not rescaled when the maximum grows"),
    _bug("by-the-part-before", _by_the_part_before, "compared with the part before", "natural", "a part is compared with the part before it"),
    _bug("loudest", _loudest, "the heaviest part alone", "natural", "only the part of the largest weight is returned"),
    _bug("overflowing", _overflowing, "no maximum is subtracted", "zhuzilin/ring-flash-attention#42"),
    _bug("two-empty", _nan_of_two_empty, "−∞ − (−∞)", _EMPTY),
    _bug("undeclared-lowest", _LOWEST.function, "knows no −∞, and does not say so", _EMPTY),
    _bug("first-empty", _nan_of_the_first, "log σ from −∞ on", "pytorch: _SDPAMerger"),
    _bug("empty-overwrites", _empty_overwrites, "an empty split runs the epilogue", _EMPTY),
    _bug("empty-as-0", lambda outputs, log_sum_exps: at_once(outputs, np.where(np.isfinite(log_sum_exps), log_sum_exps, 0)), "log-sum-exps of empty parts are not written, and zero", "flashinfer#50; FlashMLA#25", "an empty part weighs as one of log-sum-exp 0"),
    _bug("overwriting", _parts(lambda n: [n - 1]), "every part overwrites the one before", "flashinfer#58", "the last part overwrites the others"),
    _bug("first-alone", _parts(lambda n: [0]), "the other parts are not read", "flashinfer#50", "only the first part is returned"),
    _bug("last-left-out", _parts(lambda n: range(n - 1)), "one part too few", "tilelang#2010", "the last part is left out"),
    _bug("first-left-out", _parts(lambda n: range(1, n)), "begins with the second", "tilelang#2010", "the first part is left out"),
    _bug("odd-left-out", _parts(lambda n: range(n - n % 2)), "merged in pairs, the rest forgotten", "natural", "an odd part at the end is left out"),
    _bug("two-alone", _parts(lambda n: range(min(n, 2))), "two parts and no more", "natural", "only the first two parts are merged"),
    _bug("last-twice", _parts(lambda n: [*range(n), n - 1]), "an index that is clamped to the last", "vllm#42494", "the last part counts twice"),
    _bug("opposite-order", _read(lambda x: x[::-1]), "log-sum-exps in the other order", "natural", "log-sum-exps are those of the parts in the opposite order"),
    _bug("next-part", _read(lambda x: np.roll(x, -1, axis=0)), "log-sum-exps one part off", "tilelang#2010", "the log-sum-exp of a part is that of the next"),
    _bug("first-head", _read(lambda x: x[:, :, :1]), "stride 0 of the heads", _STRIDE, "log-sum-exps of the first head for all"),
    _bug("first-query", _read(lambda x: x[..., :1]), "stride 0 of the queries", _STRIDE, "log-sum-exps of the first query for all"),
    _bug("first-batch", _read(lambda x: x[:, :1]), "stride 0 of the batches", _STRIDE, "log-sum-exps of the first batch for all"),
    _bug("heads-last", _read(lambda x: x.reshape(*x.shape[:2], x.shape[3], x.shape[2]).swapaxes(2, 3)), "(queries, heads) for (heads, queries)", "flashinfer#4547", "log-sum-exps are read as (parts, batch, queries, heads)"),
    _bug("batch-unwritten", _batch_unwritten, "everything is written to the first sequence", _STRIDE, "only the first batch is written"),
    _bug("outputs-first-batch", _stored(lambda x: np.broadcast_to(x[:, :1], x.shape)), "stride 0 of the parts", _STRIDE, "the parts of the first batch for all"),
    _bug("bfloat16-parts", _stored(lambda x: x.astype(ml_dtypes.bfloat16)), "parts rounded before the merge", _ROUNDED, "parts are rounded to bfloat16 before the merge"),
    _bug("float16-parts", _stored(lambda x: x.astype(np.float16)), "parts rounded before the merge", _ROUNDED, "parts are rounded to float16 before the merge"),
    _bug("bfloat16-logs", _logs(lambda x: x.astype(ml_dtypes.bfloat16)), "log-sum-exps in the short type", _ROUNDED, "log-sum-exps are rounded to bfloat16"),
    _bug("float16-logs", _logs(lambda x: x.astype(np.float16)), "log-sum-exps in the short type", _ROUNDED, "log-sum-exps are rounded to float16"),
    _bug("rounded-every-time", _rounded_every_time, "the error grows with the parts", _ROUNDED),
    _bug("mutating", _mutating, "log-sum-exps are normalised in place", "natural"),
    _bug("sinks-repeated", _sunk(lambda s, n: (s + np.log(n)).astype(s.dtype)), "a sink in every split", _SINK, "the sink is counted once a part"),
    _bug("sink-again", _sunk(lambda s, n: (s + np.log(2)).astype(s.dtype)), "a sink in the split and in the merge", _SINK, "the sink is counted once more than it should be"),
    _bug("sink-ignored", _sunk(lambda s, n: None), "a route that never had a sink", _SINK, "the sink is ignored"),
    _bug("sink-base-2", _sunk(lambda s, n: (s * math.log(2.0)).astype(s.dtype)), "2^sink", _SINK, "the sink is taken for a logarithm of base 2"),
    _bug("sink-first-head", _sunk(lambda s, n: np.broadcast_to(s[:1], s.shape)), "one sink for all heads", _SINK, "the sink of the first head for all"),
    _bug("sink-weight", _sink_as_weight, "the sink itself is added", _SINK, "the sink is taken for a weight, not for a score"),
    _bug("log-base-2", _returned(lambda log, logs: log * LOG2E), "logarithms of base 2 are returned", _SGLANG, "the log-sum-exp is returned in base 2"),
    _bug("log-largest", _returned(lambda log, logs: logs.max(axis=0)), "the maximum in place of the log-sum-exp", "natural", "the log-sum-exp is the largest of the parts"),
    _bug("log-of-last", _returned(lambda log, logs: logs[-1]), "the log-sum-exp is not updated", "flashinfer#50", "the log-sum-exp is that of the last part"),
)  # fmt: skip
