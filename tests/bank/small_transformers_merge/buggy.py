"""Wrong merges: each re-creates the behaviour of a defect that shipped, or a planted one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from bank.entry import Entry
from bank.small_transformers_merge.correct import merged, started

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[Any]

__all__ = ["BUGGY"]

F32, BF16 = ("float32",), ("bfloat16",)
NEW = "assay's bank"


# --- other parts, log-sum-exps or sinks -------------------------------------------------------------------------------


def _of(change: Callable[[Array, Array], tuple[Array, Array]], *, own_lse: bool = True) -> Callable[..., Any]:
    """Right for other outputs and log-sum-exps.  own_lse: the log-sum-exp that is returned is wrong too."""

    def kernel(outputs: Array, log_sum_exps: Array, *, sink: Array | None = None, return_lse: bool = False) -> Any:
        with np.errstate(all="ignore"):
            parts, logs = change(outputs, log_sum_exps)
            made = merged(parts, logs.astype(log_sum_exps.dtype), sink=sink, return_lse=True)
            lse = made[1] if own_lse else merged(outputs, log_sum_exps, sink=sink, return_lse=True)[1]
        return (made[0], lse) if return_lse else made[0]

    return kernel


def _logs(function: Callable[[Array], Array], *, own_lse: bool = True) -> Callable[..., Any]:
    return _of(lambda outputs, logs: (outputs, np.asarray(function(logs))), own_lse=own_lse)


def _parts(places: slice) -> Callable[..., Any]:
    """Only some parts; all of them where that leaves none."""
    return _of(lambda o, logs: (o[places], logs[places]) if len(o[places]) else (o, logs))


def _sink(function: Callable[[Array, Array], Array | None]) -> Callable[..., Any]:
    """Another sink, as a function of the outputs and the sink."""

    def kernel(outputs: Array, log_sum_exps: Array, *, sink: Array | None = None, return_lse: bool = False) -> Any:
        other = None if sink is None else function(outputs, sink)
        return merged(outputs, log_sum_exps, sink=other, return_lse=return_lse)

    return kernel


def _sink_as_part(outputs: Array, log_sum_exps: Array, *, sink: Array | None = None, return_lse: bool = False) -> Any:
    """The sink is added to the log-sum-exp of the first part, and its output is not made smaller."""
    logs = log_sum_exps.copy()
    if sink is not None:
        logs[0] = np.logaddexp(logs[0], sink[:, None])
    return merged(outputs, logs, return_lse=return_lse)


# --- other results ----------------------------------------------------------------------------------------------------


def _result(
    output: Callable[[Array, Array, Array], Array] | None = None, lse: Callable[[Array, Array], Array] | None = None
) -> Callable[..., Any]:
    """Functions of the right results: output(o, parts, logs) and lse(l, logs), where logs have the sink's too."""

    def kernel(outputs: Array, log_sum_exps: Array, *, sink: Array | None = None, return_lse: bool = False) -> Any:
        parts, logs = started(outputs, log_sum_exps, sink)
        with np.errstate(all="ignore"):
            made, right = merged(outputs, log_sum_exps, sink=sink, return_lse=True)
            if output is not None:
                made = output(made.astype(parts.dtype), parts, logs).astype(outputs.dtype)
            right = right if lse is None else np.asarray(lse(right, logs)).astype(right.dtype)
        return (made, right) if return_lse else made

    return kernel


def _top(logs: Array) -> Array:
    most = logs.max(axis=0)
    return np.where(np.isfinite(most), most, logs.dtype.type(0))


def _divided_by_maximum(o: Array, parts: Array, logs: Array) -> Array:
    return np.asarray(o * np.exp(logs - _top(logs)).sum(axis=0)[..., None])


def _without_maximum(o: Array, parts: Array, logs: Array) -> Array:
    weight = np.exp(logs)
    return np.asarray((weight[..., None] * parts).sum(axis=0) / weight.sum(axis=0)[..., None])


def _relative_to_first(o: Array, parts: Array, logs: Array) -> Array:
    weight = np.exp(logs - np.where(np.isfinite(logs[0]), logs[0], 0))
    total = weight.sum(axis=0)
    return np.asarray((weight[..., None] * parts).sum(axis=0) / np.where(total != 0, total, 1)[..., None])


def _batch_0(o: Array, parts: Array, logs: Array) -> Array:
    return np.where(np.arange(len(o))[:, None, None, None] == 0, o, 0)


def _no_rows(o: Array, parts: Array, logs: Array) -> Array:
    """0/0 where all parts are empty."""
    return np.where((logs == -np.inf).all(axis=0)[..., None], np.nan, o)


# --- one part after the other -----------------------------------------------------------------------------------------


def _running(step: Callable[..., tuple[Array, Array]]) -> Callable[..., Any]:
    """step(out, lse, part, log): the state after one more part."""

    def kernel(outputs: Array, log_sum_exps: Array, *, sink: Array | None = None, return_lse: bool = False) -> Any:
        parts, logs = started(outputs, log_sum_exps, sink)
        out, lse = parts[0], logs[0]
        with np.errstate(all="ignore"):
            for part, log in zip(parts[1:], logs[1:], strict=True):
                out, lse = step(out, lse, part, log)
        out = out.astype(outputs.dtype)
        return (out, lse) if return_lse else out

    return kernel


def _share(log: Array, lse: Array) -> Array:
    share = 1 / (1 + np.exp(np.minimum(lse - log, 80)))
    return np.where(log == -np.inf, 0, np.where(lse == -np.inf, 1, share)).astype(log.dtype)[..., None]


def _keeps_last(out: Array, lse: Array, part: Array, log: Array) -> tuple[Array, Array]:
    return out - _share(log, lse) * (out - part), np.where(log == -np.inf, lse, log)


def _keeps_first(out: Array, lse: Array, part: Array, log: Array) -> tuple[Array, Array]:
    return out - _share(log, lse) * (out - part), np.where(lse == -np.inf, log, lse)


def _keeps_largest(out: Array, lse: Array, part: Array, log: Array) -> tuple[Array, Array]:
    return out - _share(log, lse) * (out - part), np.maximum(log, lse)


def _exchanged(out: Array, lse: Array, part: Array, log: Array) -> tuple[Array, Array]:
    return np.where((log == -np.inf)[..., None], out, out - _share(lse, log) * (out - part)), np.logaddexp(lse, log)


def _averaged(out: Array, lse: Array, part: Array, log: Array) -> tuple[Array, Array]:
    half = np.where(log == -np.inf, 0, np.where(lse == -np.inf, 1, 0.5)).astype(log.dtype)[..., None]
    return out - half * (out - part), np.logaddexp(lse, log)


def _nan_of_two(out: Array, lse: Array, part: Array, log: Array) -> tuple[Array, Array]:
    """−∞ minus −∞ where both are empty."""
    most = np.maximum(lse, log)
    a, b = np.exp(lse - most), np.exp(log - most)
    return (a[..., None] * out + b[..., None] * part) / (a + b)[..., None], most + np.log(a + b)


def _empty_overwrites(out: Array, lse: Array, part: Array, log: Array) -> tuple[Array, Array]:
    """Where the next part is empty, that is what is kept."""
    share, new = _share(log, lse), np.logaddexp(lse, log)
    empty = log == -np.inf
    return np.where(empty[..., None], part, out - share * (out - part)), np.where(empty, log, new)


def _rounded(out: Array, lse: Array, part: Array, log: Array) -> tuple[Array, Array]:
    """Rounded to bfloat16 after every part."""
    import ml_dtypes

    made = out - _share(log, lse) * (out - part)
    return made.astype(ml_dtypes.bfloat16).astype(made.dtype), np.logaddexp(lse, log)


# --- sums without rescaling -------------------------------------------------------------------------------------------


def _online(values: bool, total: bool) -> Callable[..., Any]:
    """Which of the two sums is rescaled when a larger log-sum-exp comes."""

    def output(o: Array, parts: Array, logs: Array) -> Array:
        most = np.full_like(logs[0], -np.inf)
        weights, out = np.zeros_like(most), np.zeros_like(parts[0])
        for part, log in zip(parts, logs, strict=True):
            new = np.maximum(most, log)
            shift = np.where(np.isfinite(new), new, 0)
            before, now = np.exp(most - shift), np.exp(log - shift)
            weights = (before * weights if total else weights) + now
            out = (before[..., None] * out if values else out) + now[..., None] * part
            most = new
        return np.asarray(out / np.where(weights > 0, weights, 1)[..., None])

    return _no_sink(_result(output))


def _no_sink(kernel: Callable[..., Any]) -> Callable[..., Any]:
    def of_parts(outputs: Array, log_sum_exps: Array, *, return_lse: bool = False) -> Any:
        return kernel(outputs, log_sum_exps, return_lse=return_lse)

    return of_parts


def _leaking(outputs: Array, log_sum_exps: Array) -> Any:
    """A part weighs no less than e^−10 of the largest one, and neither does an empty part."""
    return merged(outputs, np.maximum(log_sum_exps, _top(log_sum_exps) - log_sum_exps.dtype.type(10.0)))


def _in_base_2(outputs: Array, log_sum_exps: Array, *, return_lse: bool = False) -> Any:
    """FlashInfer's merge, called with natural logarithms."""
    made, lse = merged(outputs, (log_sum_exps * LOG2).astype(log_sum_exps.dtype), return_lse=True)
    return (made, (lse * LOG2E).astype(lse.dtype)) if return_lse else made


def _swapped_layout(logs: Array) -> Array:
    t, b, h, n = logs.shape
    return logs.reshape(t, b, n, h).swapaxes(2, 3)


def _finite(function: Callable[[Array], Array]) -> Callable[[Array], Array]:
    return lambda logs: np.where(np.isfinite(logs), function(np.where(np.isfinite(logs), logs, 0)), -np.inf)


def _bug(
    name: str, function: Any, diagnosis: str | None, source: str = NEW, why: str = "",
    precisions: tuple[str, ...] = F32, **options: str,
) -> Entry:  # fmt: skip
    return Entry(name, function, precisions, why or diagnosis or name, source, options, diagnosis)


LOG2E, LOG2 = math.log2(math.e), math.log(2.0)

BUGGY: tuple[Entry, ...] = (
    _bug(
        "base-2-taken-for-natural",
        _logs(lambda x: x * LOG2E),
        "log-sum-exps of base 2 are taken for natural ones",
        "flashinfer-ai/flashinfer#4547",
    ),
    _bug(
        "natural-taken-for-base-2",
        _logs(lambda x: x * LOG2),
        "log-sum-exps are taken for those of base 2",
        "sgl-project/sglang#35045",
    ),
    _bug(
        "natural-where-binary-is-declared",
        _logs(lambda x: x),
        "log-sum-exps of base 2 are taken for natural ones",
        "sgl-project/sglang#40903",
        logarithm="binary",
    ),
    _bug(
        "taken-and-returned-in-base-2",
        _in_base_2,
        "log-sum-exps are taken for those of base 2, and one of base 2 is returned",
        "flashinfer-ai/flashinfer#4547",
    ),
    _bug("weights-squared", _logs(lambda x: 2 * x, own_lse=False), "weights are squared"),
    _bug("averaged", _logs(_finite(lambda x: 0 * x), own_lse=False), "parts are weighted alike"),
    _bug("mean-of-pairs", _running(_averaged), "the mean of what was merged and the next part"),
    _bug("last-part-wins", _parts(slice(-1, None)), "the last part overwrites the others"),
    _bug("last-part-dropped", _parts(slice(None, -1)), "the last part is left out", "tile-ai/tilelang#2010"),
    _bug("first-part-dropped", _parts(slice(1, None)), "the first part is left out", "flashinfer-ai/flashinfer#58"),
    _bug("first-two-alone", _parts(slice(0, 2)), "only the first two parts count"),
    _bug(
        "largest-alone",
        _logs(lambda x: np.where(np.arange(len(x)).reshape(-1, 1, 1, 1) == x.argmax(0), x, -np.inf), own_lse=False),
        "only the part of the largest log-sum-exp counts",
    ),
    _bug(
        "log-sum-exps-reversed",
        _logs(lambda x: x[::-1], own_lse=False),
        "log-sum-exps are read in the reverse order of the parts",
    ),
    _bug(
        "log-sum-exps-rolled", _logs(lambda x: np.roll(x, 1, 0)), "every part has the log-sum-exp of the one before it"
    ),
    _bug(
        "log-sum-exps-transposed",
        _logs(_swapped_layout, own_lse=False),
        "log-sum-exps are read as (batch, queries, heads)",
        "zhuzilin/ring-flash-attention#47",
    ),
    _bug(
        "log-sum-exps-of-head-0",
        _logs(lambda x: np.broadcast_to(x[:, :, :1], x.shape), own_lse=False),
        "log-sum-exps of head 0 in every head",
    ),
    _bug(
        "batch-0-written",
        _result(_batch_0),
        "only the output of batch 0 is written",
        "vllm-project/flash-attention#176",
    ),
    _bug(
        "empty-weighs-as-0",
        _logs(lambda x: np.where(x == -np.inf, 0, x)),
        "an empty part weighs as one of log-sum-exp 0",
        "Dao-AILab/flash-attention#2901",
    ),
    _bug("empty-overwrites", _no_sink(_running(_empty_overwrites)), "an empty", "vllm-project/FlashMLA#25"),
    _bug("two-empty-nan", _no_sink(_running(_nan_of_two)), "two empty parts give NaN", "vllm-project/vllm#42494"),
    _bug("empty-row-nan", _no_sink(_result(_no_rows)), "NaN where all parts are empty"),
    _bug("no-maximum", _no_sink(_result(_without_maximum)), "overflow or vanish", "zhuzilin/ring-flash-attention#30"),
    _bug("relative-to-first", _no_sink(_result(_relative_to_first)), None),
    _bug(
        "divided-by-maximum",
        _result(_divided_by_maximum),
        "weights are divided by the largest one in place of their sum",
    ),
    _bug("nothing-rescaled", _online(False, False), "sums are not rescaled when a larger log-sum-exp comes"),
    _bug("values-not-rescaled", _online(False, True), "the weighted outputs are not rescaled"),
    _bug("total-not-rescaled", _online(True, False), "the sum of weights is not rescaled"),
    _bug("running-last", _no_sink(_running(_keeps_last)), "the log-sum-exp so far is that of the last part"),
    _bug("running-first", _no_sink(_running(_keeps_first)), "the log-sum-exp so far stays that of the first part"),
    _bug("running-maximum", _no_sink(_running(_keeps_largest)), "the log-sum-exp so far is the largest one"),
    _bug("roles-exchanged", _running(_exchanged), "the weights of what was merged and of the next part are exchanged"),
    _bug("sink-ignored", _sink(lambda o, s: None), "the sink is ignored", "vllm-project/vllm-metal#550"),
    _bug(
        "sink-once-a-part",
        _sink(lambda o, s: (s + math.log(len(o))).astype(s.dtype)),
        "the sink is counted once a part",
        "kekzl/imp#1346",
    ),
    _bug("sink-of-head-0", _sink(lambda o, s: np.full_like(s, s[0])), "every head has the sink of head 0"),
    _bug(
        "sink-in-first-part", _sink_as_part, "the weight of the sink goes to the first part", "pytorch/torchtitan#2211"
    ),
    _bug(
        "lse-summed",
        _result(lse=lambda right, logs: logs.sum(axis=0)),
        "the log-sum-exp is the sum of those of the parts",
        "zhuzilin/ring-flash-attention#20",
    ),
    _bug(
        "lse-maximum",
        _result(lse=lambda right, logs: logs.max(axis=0)),
        "the log-sum-exp is the largest one of the parts",
    ),
    _bug(
        "lse-binary",
        _result(lse=lambda right, logs: right * LOG2E),
        "the log-sum-exp is returned in logarithms of base 2",
        "lightseekorg/tokenspeed#571",
    ),
    _bug(
        "lse-without-maximum",
        _result(lse=lambda right, logs: right - _top(logs)),
        "the maximum is not added back to the log-sum-exp",
    ),
    _bug(
        "lse-of-nothing-0",
        _result(lse=lambda right, logs: np.where(right == -np.inf, 0, right)),
        "the log-sum-exp of a query without keys is 0",
    ),
    _bug("rounded-after-every-part", _running(_rounded), None, "zhuzilin/ring-flash-attention#42"),
    _bug("empty-leaks", _leaking, None),
)
