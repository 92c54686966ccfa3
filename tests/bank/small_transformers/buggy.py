"""Wrong simulations: each re-creates the behaviour of a defect that shipped (the source names it), or a planted one."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

from bank.entry import Entry
from bank.small_transformers.correct import CORRECT
from bank.small_transformers.engine import Steps, Task, by_size, calibrated, kernel, one_by_one, run, seen_by, softly

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[Any]
    Part = tuple[Array, Array]

__all__ = ["BUGGY"]

ONE = ("float32",)
WITH_LSE = {"oracle": "log_sum_exp"}
(_LSE,) = (entry for entry in CORRECT if entry.name == "log-sum-exp")


# --- recombination ----------------------------------------------------------------------------------------------------


def _logs(change: Callable[[Array], Array]) -> Callable[[Array, Array], Part]:
    def merge(logs: Array, outputs: Array) -> Part:
        some = logs != -np.inf
        _, out = softly(np.where(some, change(np.where(some, logs, 0.0)), -np.inf), outputs)
        return np.logaddexp.reduce(logs, axis=0), out

    return merge


def _last(logs: Array, outputs: Array) -> Part:
    log, out = logs[0], outputs[0]
    for other, output in zip(logs[1:], outputs[1:], strict=True):
        some = np.isfinite(other)
        log, out = np.where(some, other, log), np.where(some[..., None], output, out)
    return log, out


def _overwriting_empty(logs: Array, outputs: Array) -> Part:
    """A part in which a row sees nothing overwrites it: its share of an empty sum is taken for 1."""
    log, out = logs[0], outputs[0]
    for other, output in zip(logs[1:], outputs[1:], strict=True):
        both, mean = one_by_one(np.stack([log, other]), np.stack([out, output]))
        empty = ~np.isfinite(other)
        log, out = np.where(empty, other, both), np.where(empty[..., None], output, mean)
    return log, out


def _added(logs: Array, outputs: Array) -> Part:
    return np.logaddexp.reduce(logs, axis=0), np.where(np.isfinite(logs)[..., None], outputs, 0).sum(axis=0)


def _not_rescaled(logs: Array, outputs: Array) -> Part:
    most = np.maximum.accumulate(logs, axis=0)
    weight = np.where(np.isfinite(logs), np.exp(logs - most), 0.0)
    total = weight.sum(axis=0)
    safe = np.where(total > 0, total, 1)
    return most[-1] + np.log(total), (weight[..., None] * outputs).sum(axis=0) / safe[..., None]


def _with_calibrators(most: Callable[[int], int]) -> Callable[[Array, Array], Part]:
    def merge(logs: Array, outputs: Array) -> Part:
        log = np.logaddexp(np.logaddexp.reduce(logs, axis=0), math.log(most(len(logs))))
        return log, (np.exp(logs - log)[..., None] * outputs).sum(axis=0)

    return merge


def _nan_of_two_empty(logs: Array, outputs: Array) -> Part:
    most = logs.max(axis=0)
    weight = np.exp(logs - most)
    total = weight.sum(axis=0)
    return most + np.log(total), (weight[..., None] * outputs).sum(axis=0) / total[..., None]


def _overflowing(logs: Array, outputs: Array) -> Part:
    """e^(lse) without a maximum, in float32."""
    weight = np.exp(logs.astype(np.float32))
    total = weight.sum(axis=0)
    safe = np.where(total > 0, total, 1)
    return np.log(total), (weight[..., None] * outputs.astype(np.float32)).sum(axis=0) / safe[..., None]


def _subtracted(c: Array, p: Array, p_0: Array, out: Array) -> Part:
    """ln(p/(1 − p)) by one column: 1 − p has no digits where calibrators are light."""
    p = p.astype(np.float32)
    with np.errstate(all="ignore"):
        odds = p / (np.float32(1) - p)
    some = p > 0
    return np.where(some, c + np.log(np.where(some, odds, 1.0)), -np.inf), out / np.where(some, p, 1.0)[..., None]


def _share_alone(c: Array, p: Array, p_0: Array, out: Array) -> Part:
    some = p > 0
    safe = np.where(some, p, 1.0)
    return np.where(some, np.log(safe), -np.inf), out / safe[..., None]


def _calibrator_forgotten(c: Array, p: Array, p_0: Array, out: Array) -> Part:
    """The odds of p without e^c."""
    some = p > 0
    safe = np.where(some, p, 1.0)
    return np.where(some, np.log(safe / p_0), -np.inf), out / safe[..., None]


def _rounded_parts(dtype: Any) -> Callable[[Array, Array], Part]:
    return lambda logs, outputs: one_by_one(logs, outputs.astype(dtype).astype(np.float64))


def _rounded_logs(dtype: Any) -> Callable[[Array, Array], Part]:
    return lambda logs, outputs: one_by_one(logs.astype(dtype).astype(np.float64), outputs)


def _next_log(logs: Array, outputs: Array) -> Part:
    return softly(np.roll(logs, 1, axis=0), outputs)


def _halves(logs: Array, outputs: Array) -> Part:
    out, count = np.zeros_like(outputs[0]), np.zeros(logs.shape[1:])
    for log, output in zip(logs, outputs, strict=True):
        some = np.isfinite(log)
        mean = np.where((count > 0)[..., None], (out + output) / 2, output)
        out, count = np.where(some[..., None], mean, out), count + some
    return np.logaddexp.reduce(logs, axis=0), out


# --- who sees whom, and what is read ----------------------------------------------------------------------------------


def _zero(t: Task) -> Array:
    return np.zeros(t.query.shape[:3])


def _without_tail(n: int, most: int) -> list[Any]:
    blocks = [block for block in by_size(n, most) if len(block) == most]
    return blocks or by_size(n, most)


def _tail_from_the_end(n: int, most: int) -> list[Any]:
    return [block if len(block) == most or n < most else np.arange(n - most, n) for block in by_size(n, most)]


def _same_keys(t: Task, rows: Any, keys: Any) -> Task:
    first = np.arange(len(keys))
    return replace(t.part(rows, first), seen=t.seen[:, :, rows][..., keys])


def _page_too_many(n: int, most: int) -> list[Any]:
    blocks = by_size(n, most)
    return [*blocks, blocks[-1]]


def _padded(t: Task, rows: Any, keys: Any) -> Task:
    """The last block filled up with zeros, which are seen."""
    one, more = t.part(rows, keys), t.size - 1 - len(keys)
    if not more:
        return one
    key, value = (np.pad(x, ((0, 0), (0, 0), (0, more), (0, 0))) for x in (one.key, one.value))
    seen = np.concatenate([one.seen, np.ones((*one.seen.shape[:3], more), bool)], axis=3)
    return replace(one, key=key, value=value, seen=seen)


def _restarted(t: Task, rows: Any, keys: Any) -> Task:
    """A causal mask of block places: i of the block sees j of the block with j ≤ i."""
    one = t.part(rows, keys)
    if not t.is_causal or t.window is not None:
        return one
    local = np.arange(len(keys)) <= (np.asarray(rows) % (t.size - 1))[:, None]
    return replace(one, seen=one.seen & local)


def _whole_blocks(t: Task, rows: Any, keys: Any) -> Task:
    """Blocks at or before that of a query are seen whole: the mask within a block is missing."""
    one = t.part(rows, keys)
    if not t.is_causal or t.window is not None:
        return one
    room = t.size - 1
    seen = (np.asarray(keys) // room <= (np.asarray(rows) // room)[:, None]) & np.ones(one.seen.shape, bool)
    mask = True if t.mask is None else np.broadcast_to(t.mask, t.seen.shape)[:, :, rows][..., keys]
    return replace(one, seen=seen & mask)


def _masks(change: Callable[[Task, Array], Array]) -> Callable[[Task], Task]:
    """The boolean mask read wrongly; the others are as they are."""

    def task(t: Task) -> Task:
        if t.mask is None:
            return t
        full = np.broadcast_to(t.mask, t.seen.shape)
        plain = seen_by(t.query.shape[2], t.key.shape[2], t.is_causal, t.window, t.sinks)
        return replace(t, seen=np.broadcast_to(change(t, full), t.seen.shape) & plain)

    return task


def _values_before(t: Task) -> Task:
    n, room = t.key.shape[2], t.size - 1
    return replace(t, value=t.value[:, :, np.maximum(np.arange(n) - room, 0)])


def _sinks_twice(t: Task, s: Steps) -> Part:
    """The sinks as a part of their own, and among the keys of their block again."""
    if not t.sinks:
        return run(t, s)
    index = np.r_[0 : t.sinks, 0 : t.key.shape[2]]
    return run(replace(t, key=t.key[:, :, index], value=t.value[:, :, index], seen=t.seen[..., index]), s)


def _sinks_by_split(t: Task, s: Steps) -> Part:
    """The sinks are handed over with every block."""
    if not t.sinks:
        return run(t, s)
    n_k = t.key.shape[2]
    index = np.r_[np.tile(np.arange(min(t.sinks, n_k)), (n_k - 1) // (t.size - 1)), 0:n_k]
    return run(replace(t, key=t.key[:, :, index], value=t.value[:, :, index], seen=t.seen[..., index]), s)


def _window_of_a_block(t: Task) -> Task:
    """The window counts places within blocks of queries and of keys."""
    if t.window is None:
        return t
    room = t.size - 1
    i, j = np.arange(t.query.shape[2])[:, None], np.arange(t.key.shape[2])
    seen = (j <= i) & ((j % room > i % room - t.window) | (j < t.sinks))
    seen = seen if t.mask is None else seen & t.mask
    return replace(t, seen=np.broadcast_to(seen, t.seen.shape))


def _positions_of_a_cache(n_q: int, n_k: int, is_causal: bool, window: int | None, sinks: int) -> Array:
    """The cache retains w keys, sinks among them: the positions after eviction are taken for those of the text."""
    if window is None or not sinks or window <= sinks:
        return seen_by(n_q, n_k, is_causal, window, sinks)
    return seen_by(n_q, n_k, is_causal, window - sinks, sinks)


def _seen(more: int = 0, **changes: Any) -> Callable[..., Array]:
    """Another window, or other sinks."""

    def seen(n_q: int, n_k: int, is_causal: bool, window: int | None, sinks: int) -> Array:
        width = None if window is None else max(1, window + more)
        return seen_by(n_q, n_k, is_causal, changes.get("window", width), changes.get("sinks", sinks))

    return seen


def _diagonal(more: int) -> Callable[..., Array]:
    def seen(n_q: int, n_k: int, is_causal: bool, window: int | None, sinks: int) -> Array:
        if not is_causal or window is not None:
            return seen_by(n_q, n_k, is_causal, window, sinks)
        return np.arange(n_k) <= np.arange(n_q)[:, None] + more

    return seen


def _everything(t: Task, s: Steps) -> Part:
    out = t.oracle(t.query, t.key, t.value, scale=t.scale, mask=t.seen)
    return out, np.zeros(out.shape[:3])


def _first_batch(t: Task) -> Task:
    return replace(t, key=np.broadcast_to(t.key[:1], t.key.shape), value=np.broadcast_to(t.value[:1], t.value.shape))


def _one_batch_written(t: Task, out: Array, lse: Array) -> Part:
    made = out.copy()
    made[1:] = 0
    return made, lse


def _rows_left(t: Task, out: Array, lse: Array) -> Part:
    whole = t.query.shape[2] // t.size * t.size
    made = out.copy()
    made[:, :, whole:] = 0
    return made, lse


def _scale_of_more(t: Task) -> Task:
    """An oracle that is left to its usual scale sees a coordinate more than there is."""
    return replace(t, scale=1 / math.sqrt(t.query.shape[3] + 1))


def _calls_of_half(t: Task, s: Steps) -> Part:
    half = {name: getattr(t, name).astype(ml_dtypes.bfloat16) for name in ("query", "key", "value")}
    return calibrated(replace(t, **half), s)


def _first_of_lse(t: Task, out: Array, lse: Array) -> Part:
    first = t.part(np.arange(t.query.shape[2]), np.arange(min(t.size - 1, t.key.shape[2])))
    score = t.scale * (first.query.astype(float) @ np.swapaxes(first.key.astype(float), 2, 3))
    return out, np.logaddexp.reduce(np.where(first.seen, score, -np.inf), axis=3)


def _bug(name: str, steps: Steps, why: str, source: str = "", told: str | None = None, **others: Any) -> Entry:
    made = others.pop("made", run)
    return Entry(name, kernel(steps, made), others.pop("precisions", ONE), why, source, diagnosis=told, **others)


_SGLANG, _FLASHINFER, _STREAMING = (
    "sglang#35045, #40903; flashinfer#4547",
    "flashinfer#50, #58; tilelang#2010",
    "mit-han-lab/streaming-llm#73, #53, #93",
)
_OFFSET = "candle#3743; lablup/mlxcel#215, #891; transformers#43082"
_SINK = "vllm-project/vllm-metal#550; kekzl/imp#1346"

BUGGY: tuple[Entry, ...] = (
    _bug("base-2", Steps(merge=_logs(lambda x: x * math.log(2))), "2^lse with natural logarithms", _SGLANG, "log-sum-exps are taken for those of base 2"),
    _bug("base-e", Steps(merge=_logs(lambda x: x * math.log2(math.e))), "e^lse with logarithms of base 2", _SGLANG, "log-sum-exps of base 2 are taken for natural ones"),
    _bug("alike", Steps(merge=_logs(np.zeros_like)), "the mean of the parts", "flashinfer#50", "parts are weighted alike"),
    _bug("halves", Steps(merge=_halves), "(o + o_t)/2, one part after the other", "natural", "parts are averaged one by one"),
    _bug("added", Steps(merge=_added), "outputs of parts added up", "natural", "parts are added up without weights"),
    _bug("last-wins", Steps(merge=_last), "every part overwrites the one before", _FLASHINFER, "the last part overwrites the others"),
    _bug("empty-overwrites", Steps(merge=_overwriting_empty), "a part that a row does not see overwrites it", "vllm-project/FlashMLA#25; flash-attention#2901"),
    _bug("not-rescaled", Steps(merge=_not_rescaled), "sums keep the old maximum", "flashinfer#50", "sums are not rescaled when the maximum grows"),
    _bug("calibrators-stay", Steps(merge=_with_calibrators(lambda n: n)), "calibrators of score 0 are divided by too", "natural", "the calibrator of every call stays in the sum of weights"),
    _bug("calibrator-stays", Steps(merge=_with_calibrators(lambda n: 1)), "the last calibrator is divided by too", "natural", "a calibrator stays in the sum of weights"),
    _bug("two-empty", Steps(merge=_nan_of_two_empty), "−∞ − (−∞)", "FlashMLA#25; flash-attention#2901"),
    _bug("one-column", Steps(calibrator=_zero, read=_subtracted), "1 − p in place of a second column", "natural"),
    _bug("share-alone", Steps(calibrator=_zero, read=_share_alone), "calls weighted by p", "natural", "calls are weighted by the share of their keys"),
    _bug("calibrator-forgotten", Steps(read=_calibrator_forgotten), "e^c is left out of the factor", "natural"),
    _bug("bfloat16-parts", Steps(merge=_rounded_parts(ml_dtypes.bfloat16)), "parts rounded before they are merged", "zhuzilin/ring-flash-attention#42; vllm-project/vllm-xpu-kernels#204, #556"),
    _bug("bfloat16-logs", Steps(merge=_rounded_logs(ml_dtypes.bfloat16)), "log-sum-exps in the short type", "vllm-project/vllm-xpu-kernels#204"),
    _bug("bfloat16-calls", Steps(call=_calls_of_half), "calls in the short type", "planted"),
    _bug("weight-of-neighbour", Steps(merge=_next_log), "logs are read one part off", "tilelang#2010", "the weight of a part is that of the one before"),
    _bug("tail-dropped", Steps(cut=_without_tail), "the keys after the last whole block are dropped", _FLASHINFER, "the keys after the last whole block are dropped"),
    _bug("tail-again", Steps(cut=_tail_from_the_end), "the last call is full, and some keys count twice", "flash-attention#2901", "the last block is read from its end"),
    _bug("same-block", Steps(one=_same_keys), "every call reads the same keys", "flashinfer#58", "every call reads the keys of the first block"),
    _bug("page-too-many", Steps(cut=_page_too_many), "a page beyond the table is clamped to the last", "EricLBuehler/mistral.rs#552; vllm#42494", "the last block counts twice"),
    _bug("padding-seen", Steps(one=_padded), "the rest of the last page is seen", "hw-native-sys/pypto#470; golang-design/accel#10", "keys of zeros that fill up the last block are seen"),
    _bug("first-block", Steps(cut=lambda n, most: by_size(n, most)[:1]), "one call, and no more", "flashinfer#50", "only the keys of the first block are seen"),
    _bug("mask-restarts", Steps(one=_restarted, rows=lambda t: by_size(t.query.shape[2], t.size - 1)), "the mask of a later chunk has no offset", _OFFSET, "the causal mask begins anew in every block"),
    _bug("whole-blocks", Steps(one=_whole_blocks, rows=lambda t: by_size(t.query.shape[2], t.size - 1)), "causal between blocks, not within them", _OFFSET, "the causal mask hides whole blocks only"),
    _bug("no-causal", Steps(seen=lambda n_q, n_k, c, w, s: seen_by(n_q, n_k, c and w is not None, w, s)), "the mask is silently dropped", _OFFSET, "the causal mask is ignored"),
    _bug("causal-early", Steps(seen=_diagonal(1)), "off by one", "PaddlePaddle/FastDeploy#3514", "a query sees the key after its own"),
    _bug("causal-late", Steps(seen=_diagonal(-1)), "off by one", "PaddlePaddle/FastDeploy#3514", "a query does not see the key at its own place"),
    _bug("window-wide", Steps(seen=_seen(1)), "w + 1 keys", _STREAMING, "the window is one key too wide"),
    _bug("window-narrow", Steps(seen=_seen(-1)), "w − 1 keys", _STREAMING, "the window is one key too narrow"),
    _bug("window-ignored", Steps(seen=_seen(window=None)), "all keys", _STREAMING, "the window is ignored"),
    _bug("sinks-forgotten", Steps(seen=_seen(sinks=0)), "one of several routes never had them", _SINK, "the sinks are ignored"),
    _bug("sinks-twice", Steps(), "a part of their own, and keys of their block", _SINK, "the sinks count twice", made=_sinks_twice),
    _bug("sinks-every-split", Steps(), "once a split", _SINK, "the sinks count once in every block", made=_sinks_by_split),
    _bug("window-of-a-block", Steps(task=_window_of_a_block), "the window of the part, not of the whole", _OFFSET, "the window is that of a block, not of the whole"),
    _bug("no-maximum", Steps(merge=_overflowing), "e^lse without a maximum, in float32", "ring-flash-attention#42"),
    _bug("positions-of-the-cache", Steps(seen=_positions_of_a_cache), "positions after eviction", _STREAMING + "; mmcdermott/MEDS_EIC_AR#82", "the sinks take room of the window"),
    _bug("mask-ignored", Steps(task=_masks(lambda t, m: np.ones_like(m))), "the mask is dropped where keys are split", "candle#3743", "the mask is ignored"),
    _bug("mask-of-first-batch", Steps(task=_masks(lambda t, m: m[:1])), "one mask for all", "TensorRT-LLM#13006", "the mask of the first batch for all"),
    _bug("mask-inverted", Steps(task=_masks(lambda t, m: ~m)), "True hides", "natural", "the mask hides what it should show"),
    _bug("everything", Steps(), "one call of all tokens", "planted", made=_everything),
    _bug("heads-interleaved", Steps(heads=lambda h, h_k: np.arange(h) % h_k), "groups of another order", "tenstorrent/tt-metal#32407", "query head h reads key head h mod h_k"),
    _bug("batch-first", Steps(task=_first_batch), "stride 0 of the batch", "vllm-project/flash-attention#176", "keys and values of the first batch for all"),
    _bug("batch-unwritten", Steps(finish=_one_batch_written), "everything is written to the first sequence", "vllm-project/flash-attention#176"),
    _bug("rows-left", Steps(finish=_rows_left), "the last queries are not written", "natural", "queries after the last whole block are not written"),
    _bug("values-before", Steps(task=_values_before), "values of another page than the keys'", "EricLBuehler/mistral.rs#552", "values are those of the block before"),
    _bug("scale-of-more", Steps(task=_scale_of_more), "the usual scale of an oracle with a coordinate more", "natural", "the scale is that of one coordinate more"),
    _bug("scale-twice", Steps(task=lambda t: replace(t, scale=t.scale * t.scale)), "queries scaled before, and in the call", "natural", "the scale is applied twice"),
    _bug("log-of-first", Steps(finish=_first_of_lse), "the log-sum-exp of the first call", "flashinfer#50", "the log-sum-exp is that of the first block"),
    _bug("log-base-2", Steps(finish=lambda t, out, lse: (out, lse * math.log2(math.e))), "logarithms of base 2 are returned", _SGLANG, "the log-sum-exp is returned in base 2"),
    Entry("log-undeclared", _LSE.function, ONE, "an oracle that returns a pair is expected, and none is declared", "natural"),
)  # fmt: skip
