"""Named wrong answers of merges."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

from assay.conformance.diagnosis.meanings import Meaning, altered, mixed, solves

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from assay.spec.small_transformers_merge import Instance

    Array = NDArray[np.float64]

__all__ = ["MEANINGS"]

LOG2E = math.log2(math.e)


def _same(instance: Instance) -> Instance:
    return instance


# --- log-sum-exps -----------------------------------------------------------------------------------------------------


def _wide(instance: Instance) -> Array:
    return instance.log_sum_exps.astype(np.float64)


def _with(instance: Instance, logs: Array) -> Instance | None:
    """The instance with other log-sum-exps; ``None`` where they are the same."""
    return None if np.array_equal(logs, _wide(instance)) else instance.replace(log_sum_exps=np.ascontiguousarray(logs))


def _logs(change: Callable[[Array], Array]) -> Callable[[Instance], Instance | None]:
    """Log-sum-exps (parts, b, h, n) that are changed; an empty part stays empty."""

    def wrong(instance: Instance) -> Instance | None:
        logs = _wide(instance)
        some = logs != -np.inf
        return _with(instance, np.where(some, change(np.where(some, logs, 0.0)), -np.inf))

    return wrong


def _moved(change: Callable[[Array], Array]) -> Callable[[Instance], Instance | None]:
    """Log-sum-exps that are read elsewhere."""
    return lambda instance: _with(instance, change(_wide(instance)))


def _rounded(dtype: Any) -> Callable[[Instance], Instance | None]:
    return _logs(lambda logs: logs.astype(dtype).astype(np.float64))


def _unscaled(instance: Instance) -> Instance | None:
    """Sums that stay as they are when the running maximum grows: every part has the weight e^(l_t − max up to t)."""
    logs = _wide(instance)
    most = np.maximum.accumulate(logs, axis=0)
    with np.errstate(invalid="ignore"):
        changed = instance.replace(log_sum_exps=np.where(logs == -np.inf, -np.inf, logs - most))
    if instance.sink is not None:
        return None
    return changed


def _empty_as(number: float) -> Callable[[Instance], Instance | None]:
    def wrong(instance: Instance) -> Instance | None:
        logs = _wide(instance)
        return _with(instance, np.where(logs == -np.inf, number, logs))

    return wrong


def _of_heads_last(logs: Array) -> Array:
    p, b, h, n = logs.shape
    return logs.reshape(p, b, n, h).swapaxes(2, 3)


# --- outputs of parts -------------------------------------------------------------------------------------------------


def _outputs(change: Callable[[NDArray[Any]], NDArray[Any]]) -> Callable[[Instance], Instance | None]:
    def wrong(instance: Instance) -> Instance | None:
        made = np.ascontiguousarray(change(instance.outputs)).astype(instance.outputs.dtype)
        return None if np.array_equal(made, instance.outputs) else instance.replace(outputs=made)

    return wrong


def _stored_in(dtype: Any) -> Callable[[NDArray[Any]], NDArray[Any]]:
    return lambda outputs: outputs.astype(np.float64).astype(dtype)


# --- parts ------------------------------------------------------------------------------------------------------------


def _parts(which: Callable[[int], Any]) -> Callable[[Instance], Instance | None]:
    """Only some of the parts, or some of them twice: which(number of parts)."""

    def wrong(instance: Instance) -> Instance | None:
        count = len(instance.outputs)
        chosen = list(which(count))
        return None if not chosen or chosen == list(range(count)) else instance.part(parts=chosen)

    return wrong


def _largest(instance: Instance) -> Instance | None:
    """The part of the largest weight alone."""
    logs = _wide(instance)
    return _with(instance, np.where(np.arange(len(logs))[:, None, None, None] == logs.argmax(axis=0), logs, -np.inf))


def _largest_left_out(instance: Instance) -> Instance | None:
    logs = _wide(instance)
    if len(logs) == 1:
        return None
    return _with(instance, np.where(np.arange(len(logs))[:, None, None, None] == logs.argmax(axis=0), -np.inf, logs))


def _one_by_one_alike(instance: Instance) -> Instance | None:
    """o ← (o + o_t)/2, one part after the other: the last part has half of the weight."""
    logs = _wide(instance)
    halves = np.maximum(np.arange(len(logs)), 1) * math.log(2.0)
    return _with(instance, np.broadcast_to(halves[:, None, None, None], logs.shape).copy())


def _by_last_sum(instance: Instance) -> Instance | None:
    """o ← o + σ(l_t − l_(t−1))(o_t − o): compared with the part before, and not with what was merged so far."""
    logs = _wide(instance)
    if len(logs) < 3:
        return None
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        share = 1 / (1 + np.exp(logs[:-1] - logs[1:]))
        kept = [np.prod(1 - share[t:], axis=0) * (share[t - 1] if t else 1.0) for t in range(len(logs))]
        return _with(instance, np.log(np.stack(kept)))


# --- outputs ----------------------------------------------------------------------------------------------------------


def _sums(instance: Instance) -> tuple[Array, Array]:
    """(b, h, n): the largest log-sum-exp, 0 for an empty row, and the merged one, both with the sink."""
    logs = _wide(instance)
    if instance.sink is not None:
        sink = np.broadcast_to(instance.sink.astype(np.float64)[:, None], logs.shape[1:])
        logs = np.concatenate([logs, sink[None]])
    most = logs.max(axis=0)
    total = np.logaddexp.reduce(logs, axis=0)
    return np.where(np.isfinite(most), most, 0.0), np.where(np.isfinite(total), total, 0.0)


def _not_divided(instance: Instance, output: Array) -> Array:
    most, total = _sums(instance)
    return output * np.exp(total - most)[..., None]


def _added(instance: Instance, output: Array) -> Array:
    return np.asarray(instance.outputs.astype(np.float64).sum(axis=0))


def _first_batch(instance: Instance, output: Array) -> Array:
    return np.where(np.arange(output.shape[0])[:, None, None, None] == 0, output, 0.0)


def _sink_as_weight(instance: Instance, output: Array) -> Array:
    """The sink itself in the sum of weights, and not e^sink."""
    if instance.sink is None:
        return output
    sink = instance.sink.astype(np.float64)[None, :, None]
    _, total = _sums(instance)
    of_parts = np.exp(total) - np.exp(sink)
    with np.errstate(invalid="ignore", divide="ignore"):
        return output * (np.exp(total) / (of_parts + sink))[..., None]


def _sink_left_out(instance: Instance) -> Instance | None:
    return None if instance.sink is None else instance.replace(sink=None)


def _sink_plus(number: Callable[[int], float]) -> Callable[[Instance], Instance | None]:
    def wrong(instance: Instance) -> Instance | None:
        more = number(len(instance.outputs))
        if instance.sink is None or not more:
            return None
        return instance.replace(sink=instance.sink.astype(np.float64) + more)

    return wrong


def _sink(change: Callable[[Array], Array]) -> Callable[[Instance], Instance | None]:
    def wrong(instance: Instance) -> Instance | None:
        if instance.sink is None:
            return None
        made = change(instance.sink.astype(np.float64))
        return None if np.array_equal(made, instance.sink) else instance.replace(sink=made)

    return wrong


def _log(function: Callable[[Instance, Array], Array]) -> Any:
    return altered(_same, log_sum_exp=function)


MEANINGS: tuple[Meaning, ...] = (
    Meaning("base-2", "log-sum-exps are taken for those of base 2", solves(_logs(lambda x: x * math.log(2.0)))),
    Meaning("base-2-throughout", "log-sum-exps are taken for those of base 2, and returned so",
            altered(_logs(lambda x: x * math.log(2.0)), log_sum_exp=lambda i, x: x * LOG2E)),
    Meaning("base-e", "log-sum-exps of base 2 are taken for natural ones", solves(_logs(lambda x: x * LOG2E))),
    Meaning("equal-weights", "parts are weighted alike", solves(_logs(np.zeros_like))),
    Meaning("all-alike", "parts are weighted alike, empty ones too", solves(lambda i: _with(i, np.zeros_like(_wide(i))))),
    Meaning("halves", "parts are averaged one by one, the last with half of the weight", solves(_one_by_one_alike)),
    Meaning("by-the-part-before", "a part is compared with the part before it, not with what is merged so far", solves(_by_last_sum)),
    Meaning("negated", "log-sum-exps are taken with the other sign", solves(_logs(np.negative))),
    Meaning("squared", "weights are squared", solves(_logs(lambda x: 2 * x))),
    Meaning("square-root", "weights are square roots of what they should be", solves(_logs(lambda x: x / 2))),
    Meaning("not-rescaled", "sums are not rescaled when the maximum grows", solves(_unscaled)),
    Meaning("opposite-order", "log-sum-exps are those of the parts in the opposite order", solves(_moved(lambda x: x[::-1]))),
    Meaning("next-part", "the log-sum-exp of a part is that of the next", solves(_moved(lambda x: np.roll(x, -1, axis=0)))),
    Meaning("part-before", "the log-sum-exp of a part is that of the one before", solves(_moved(lambda x: np.roll(x, 1, axis=0)))),
    Meaning("first-head", "log-sum-exps of the first head for all", solves(_moved(lambda x: x[:, :, :1] + 0 * np.where(np.isfinite(x), x, 0)))),
    Meaning("first-query", "log-sum-exps of the first query for all", solves(_moved(lambda x: x[..., :1] + 0 * np.where(np.isfinite(x), x, 0)))),
    Meaning("first-batch", "log-sum-exps of the first batch for all", solves(_moved(lambda x: x[:, :1] + 0 * np.where(np.isfinite(x), x, 0)))),
    Meaning("mean-of-queries", "log-sum-exps are averaged over queries", solves(_logs(lambda x: x.mean(axis=3, keepdims=True) + 0 * x))),
    Meaning("heads-last", "log-sum-exps are read as (parts, batch, queries, heads)", solves(_moved(_of_heads_last))),
    Meaning("parts-last", "log-sum-exps are read as (batch, heads, queries, parts)", solves(_moved(lambda x: np.moveaxis(x.reshape(*x.shape[1:], len(x)), 3, 0)))),
    Meaning("rounded-bfloat16", "log-sum-exps are rounded to bfloat16", solves(_rounded(ml_dtypes.bfloat16))),
    Meaning("rounded-float16", "log-sum-exps are rounded to float16", solves(_rounded(np.float16))),
    Meaning("parts-bfloat16", "parts are rounded to bfloat16 before the merge", solves(_outputs(_stored_in(ml_dtypes.bfloat16)))),
    Meaning("parts-float16", "parts are rounded to float16 before the merge", solves(_outputs(_stored_in(np.float16)))),
    Meaning("outputs-first-batch", "the parts of the first batch for all", solves(_outputs(lambda x: np.broadcast_to(x[:, :1], x.shape)))),
    Meaning("outputs-first-head", "the parts of the first head for all", solves(_outputs(lambda x: np.broadcast_to(x[:, :, :1], x.shape)))),
    Meaning("outputs-heads-last", "parts are read as (parts, batch, queries, heads, value dim)",
            solves(_outputs(lambda x: x.reshape(*x.shape[:2], x.shape[3], x.shape[2], x.shape[4]).swapaxes(2, 3)))),
    Meaning("batches-unwritten", "only the first batch is written", altered(lambda i: i if i.outputs.shape[1] > 1 else None, output=_first_batch)),
    Meaning("not-divided", "the sum is not divided by the sum of the weights", altered(_same, output=_not_divided)),
    Meaning("added", "parts are added up without weights", altered(_same, output=_added)),
    Meaning("last-part", "the last part is left out", solves(_parts(lambda n: range(n - 1)))),
    Meaning("first-part", "the first part is left out", solves(_parts(lambda n: range(1, n)))),
    Meaning("only-last", "the last part overwrites the others", solves(_parts(lambda n: [n - 1]))),
    Meaning("only-first", "only the first part is returned", solves(_parts(lambda n: [0]))),
    Meaning("only-two", "only the first two parts are merged", solves(_parts(lambda n: range(min(n, 2))))),
    Meaning("even", "an odd part at the end is left out", solves(_parts(lambda n: range(n - n % 2)))),
    Meaning("last-twice", "the last part counts twice", solves(_parts(lambda n: [*range(n), n - 1]))),
    Meaning("first-twice", "the first part counts twice", solves(_parts(lambda n: [0, *range(n)]))),
    Meaning("largest-alone", "only the part of the largest weight is returned", solves(_largest)),
    Meaning("largest-lost", "the part of the largest weight is left out", solves(_largest_left_out)),
    Meaning("empty-weighs", "an empty part weighs as one of log-sum-exp 0", solves(_empty_as(0.0))),
    Meaning("sink-ignored", "the sink is ignored", solves(_sink_left_out)),
    Meaning("sink-counted", "the sink is counted once a part", solves(_sink_plus(lambda n: math.log(n)))),
    Meaning("sink-again", "the sink is counted once more than it should be", solves(_sink_plus(lambda n: math.log(2.0)))),
    Meaning("sink-weight", "the sink is taken for a weight, not for a score", altered(lambda i: None if i.sink is None else i, output=_sink_as_weight)),
    Meaning("sink-negated", "the sink is taken with the other sign", solves(_sink(np.negative))),
    Meaning("sink-first-head", "the sink of the first head for all", solves(_sink(lambda x: x[:1] + 0 * x))),
    Meaning("sink-base-2", "the sink is taken for a logarithm of base 2", solves(_sink(lambda x: x * math.log(2.0)))),
    Meaning("log-without-sink", "the sink is missing in the log-sum-exp", mixed(output=_same, log_sum_exp=_sink_left_out)),
    Meaning("log-base-2", "the log-sum-exp is returned in base 2", _log(lambda i, x: x * LOG2E)),
    Meaning("log-base-e", "the log-sum-exp is returned in natural logarithms", _log(lambda i, x: x * math.log(2.0))),
    Meaning("log-is-largest", "the log-sum-exp is the largest of the parts", _log(lambda i, x: np.where(np.isfinite(x), _sums(i)[0], x))),
    Meaning("log-without-maximum", "the maximum is missing in the log-sum-exp", _log(lambda i, x: x - _sums(i)[0])),
    Meaning("log-of-last", "the log-sum-exp is that of the last part", _log(lambda i, x: _wide(i)[-1])),
    Meaning("log-of-first", "the log-sum-exp is that of the first part", _log(lambda i, x: _wide(i)[0])),
    Meaning("log-added", "log-sum-exps are added up", _log(lambda i, x: _wide(i).sum(axis=0))),
    Meaning("log-mean", "the log-sum-exp is the mean of the parts'", _log(lambda i, x: x - math.log(len(i.outputs)))),
)  # fmt: skip
