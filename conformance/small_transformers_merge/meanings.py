"""Named wrong answers of merges."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.diagnosis.meanings import Meaning, altered, mixed, solves
from assay.conformance.small_transformers_merge.wrong import (
    accumulated,
    kept,
    one_by_one,
    since_empty,
    unscaled,
    until_empty,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from assay.spec.small_transformers_merge import Instance

    Array = NDArray[np.float64]
    Change = Callable[[Instance], Instance | None]

__all__ = ["MEANINGS"]


def _same(instance: Instance) -> Instance:
    return instance


def _logs(instance: Instance) -> Array:
    return instance.log_sum_exps.astype(np.float64)


def _with_sink(instance: Instance) -> Array:
    """Log-sum-exps with one more part, that of the sink: −∞ where there is none."""
    logs = _logs(instance)
    sink = np.full((1, *logs.shape[1:]), -np.inf)
    if instance.sink is not None:
        sink[:] = instance.sink.astype(np.float64)[:, None]
    return np.concatenate([logs, sink])


def _top(instance: Instance) -> Array:
    """The largest of them, 0 where all are −∞."""
    most: Array = _with_sink(instance).max(axis=0)
    return np.where(np.isfinite(most), most, 0.0)


# --- weights ----------------------------------------------------------------------------------------------------------


def _weighed(function: Callable[[Array], Array]) -> Change:
    """Other log-sum-exps; the same instance where they do not differ."""

    def change(instance: Instance) -> Instance | None:
        logs = _logs(instance)
        made = function(logs)
        return None if np.array_equal(made, logs) else instance.replace(log_sum_exps=made)

    return change


def _finite(function: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """A function of the log-sum-exps of parts that have keys."""
    return lambda logs: np.where(np.isfinite(logs), function(np.where(np.isfinite(logs), logs, 0.0)), -np.inf)


def _largest(logs: Array) -> Array:
    return np.where(logs == logs.max(axis=0), logs, -np.inf)


def _first_of_largest(logs: Array) -> Array:
    chosen = np.arange(len(logs)).reshape(-1, 1, 1, 1) == logs.argmax(axis=0)
    return np.where(chosen, logs, -np.inf)


def _paired(logs: Array) -> Array:
    """The mean of o and o_t, part after part."""
    return one_by_one(lambda now, lse: 0.0 * now, np.logaddexp, logs)[0]


def _others_queries(logs: Array) -> Array:
    parts, b, h, n = logs.shape
    return logs.reshape(parts, b, n, h).swapaxes(2, 3)


def _first_of(axis: int) -> Callable[[Array], Array]:
    return lambda logs: np.broadcast_to(logs.take([0], axis=axis), logs.shape).copy()


_UPDATES: tuple[tuple[str, str, Callable[[Array, Array], Array], Callable[[Array, Array], Array]], ...] = (
    ("running-last", "the log-sum-exp so far is that of the last part", np.subtract, lambda lse, now: now),
    ("running-first", "the log-sum-exp so far stays that of the first part", np.subtract, lambda lse, now: lse),
    ("running-maximum", "the log-sum-exp so far is the largest one", np.subtract, np.maximum),
    ("running-sum", "log-sum-exps are added up", np.subtract, np.add),
    ("roles", "the weights of what was merged and of the next part are exchanged", lambda now, lse: lse - now, np.logaddexp),
)  # fmt: skip


def _weights_of(share: Callable[[Array, Array], Array], update: Callable[[Array, Array], Array], logs: Array) -> Array:
    return one_by_one(share, update, logs)[0]


def _running(
    share: Callable[[Array, Array], Array], update: Callable[[Array, Array], Array]
) -> Callable[[Any, Any], Any]:
    """The weights, and the log-sum-exp that was kept, of instances without a sink."""

    def change(instance: Instance) -> Instance | None:
        made = _weighed(functools.partial(_weights_of, share, update))(instance)
        return None if instance.sink is not None else made

    def criteria(instance: Instance, right: Any) -> Any:
        lse = one_by_one(share, update, _logs(instance))[1]
        return altered(change, log_sum_exp=lambda _instance, _right: lse)(instance, right)

    return criteria


#: Name, words, and the log-sum-exps under which a right merge has these weights.
_WEIGHTS: tuple[tuple[str, str, Change], ...] = (
    ("base-2", "log-sum-exps are taken for those of base 2", _weighed(lambda logs: logs * math.log(2.0))),
    ("base-e", "log-sum-exps of base 2 are taken for natural ones", _weighed(lambda logs: logs * math.log2(math.e))),
    ("squared", "weights are squared", _weighed(lambda logs: 2.0 * logs)),
    ("root", "square roots of weights", _weighed(lambda logs: 0.5 * logs)),
    ("negated", "log-sum-exps are negated", _weighed(_finite(np.negative))),
    ("equal-weights", "parts are weighted alike", _weighed(_finite(lambda logs: 0.0 * logs))),
    ("all-alike", "parts are weighted alike, empty ones as well", _weighed(lambda logs: np.zeros_like(logs))),
    ("pair-means", "the mean of what was merged and the next part", _weighed(_paired)),
    ("largest", "only the part of the largest log-sum-exp counts", _weighed(_first_of_largest)),
    ("largest-all", "only the parts of the largest log-sum-exp count", _weighed(_largest)),
    ("last-part", "the last part is left out", _weighed(lambda logs: kept(logs, *range(len(logs) - 1)))),
    ("first-part", "the first part is left out", _weighed(lambda logs: kept(logs, *range(1, len(logs))))),
    ("second-part", "the second part is left out", _weighed(lambda logs: kept(logs, 0, *range(2, len(logs))))),
    ("only-last", "the last part overwrites the others", _weighed(lambda logs: kept(logs, -1))),
    ("only-first", "only the first part counts", _weighed(lambda logs: kept(logs, 0))),
    ("first-two", "only the first two parts count", _weighed(lambda logs: kept(logs, 0, 1))),
    ("last-two", "only the last two parts count", _weighed(lambda logs: kept(logs, -2, -1))),
    ("even", "every other part is left out", _weighed(lambda logs: kept(logs, *range(0, len(logs), 2)))),
    ("first-twice", "the first part counts twice", _weighed(lambda logs: np.concatenate([logs[:1] + math.log(2), logs[1:]]))),
    ("last-twice", "the last part counts twice", _weighed(lambda logs: np.concatenate([logs[:-1], logs[-1:] + math.log(2)]))),
    ("reversed", "log-sum-exps are read in the reverse order of the parts", _weighed(lambda logs: logs[::-1])),
    ("rolled", "every part has the log-sum-exp of the one before it", _weighed(lambda logs: np.roll(logs, 1, axis=0))),
    ("rolled-back", "every part has the log-sum-exp of the one after it", _weighed(lambda logs: np.roll(logs, -1, axis=0))),
    ("transposed", "log-sum-exps are read as (batch, queries, heads)", _weighed(_others_queries)),
    ("batch-0", "log-sum-exps of batch 0 in every batch", _weighed(_first_of(1))),
    ("head-0", "log-sum-exps of head 0 in every head", _weighed(_first_of(2))),
    ("query-0", "log-sum-exps of query 0 for every query", _weighed(_first_of(3))),
    ("empty-weighs", "an empty part weighs as one of log-sum-exp 0", _weighed(lambda logs: np.where(logs == -np.inf, 0.0, logs))),
    ("empty-resets", "what comes before an empty part is forgotten", _weighed(since_empty)),
    ("empty-ends", "parts after an empty one are left out", _weighed(until_empty)),
    ("unscaled", "sums are not rescaled when a larger log-sum-exp comes", _weighed(unscaled)),
    *((name, words, _weighed(functools.partial(_weights_of, share, update))) for name, words, share, update in _UPDATES),
)  # fmt: skip


# --- sinks ------------------------------------------------------------------------------------------------------------


def _sunk(function: Callable[[Instance, Array], Array | None]) -> Change:
    """Another sink; ``None`` for one that is ignored."""

    def change(instance: Instance) -> Instance | None:
        return None if instance.sink is None else instance.replace(sink=function(instance, instance.sink.astype(float)))

    return change


def _times(count: Callable[[Instance], int]) -> Change:
    """The sink counts so often."""

    def change(instance: Instance) -> Instance | None:
        times = count(instance)
        if instance.sink is None or times == 1:
            return None
        return instance.replace(sink=None if times == 0 else instance.sink.astype(np.float64) + math.log(times))

    return change


def _into(part: int) -> Change:
    """The weight of the sink goes to a part, and the result is divided by nothing more."""

    def change(instance: Instance) -> Instance | None:
        if instance.sink is None:
            return None
        logs = _logs(instance)
        logs[part] = np.logaddexp(logs[part], instance.sink.astype(np.float64)[:, None])
        return instance.replace(log_sum_exps=logs, sink=None)

    return change


_SINKS: tuple[tuple[str, str, Change], ...] = (
    ("sink-ignored", "the sink is ignored", _times(lambda i: 0)),
    ("sink-counted", "the sink is counted once a part", _times(lambda i: len(i.outputs))),
    ("sink-merges", "the sink is counted once a merge of two", _times(lambda i: len(i.outputs) - 1)),
    ("sink-twice", "the sink is counted twice", _times(lambda i: 2)),
    ("sink-head-0", "every head has the sink of head 0", _sunk(lambda i, sink: np.full_like(sink, sink[0]))),
    ("sink-reversed", "heads have the sinks of heads in the reverse order", _sunk(lambda i, sink: sink[::-1].copy())),
    ("sink-base-2", "the sink is taken for a logarithm of base 2", _sunk(lambda i, sink: sink * math.log(2.0))),
    ("sink-negated", "the sink is negated", _sunk(lambda i, sink: -sink)),
    ("sink-one", "the sink weighs 1", _sunk(lambda i, sink: 0.0 * sink)),
    ("sink-first", "the weight of the sink goes to the first part", _into(0)),
    ("sink-last", "the weight of the sink goes to the last part", _into(-1)),
)  # fmt: skip


# --- outputs and log-sum-exps -----------------------------------------------------------------------------------------


def _divided(instance: Instance, output: Array) -> Array:
    """Divided by the weight of the maximum in place of the sum."""
    logs = _with_sink(instance)
    return np.asarray(output * np.exp(logs - _top(instance)).sum(axis=0)[..., None])


def _undivided(instance: Instance, output: Array) -> Array:
    with np.errstate(over="ignore"):
        return np.asarray(output * np.exp(_with_sink(instance)).sum(axis=0)[..., None])


def _divided_twice(instance: Instance, output: Array) -> Array:
    total = np.exp(_with_sink(instance) - _top(instance)).sum(axis=0)[..., None]
    return np.asarray(output / np.where(total > 0, total, 1.0))


def _one_sum_unscaled(above: bool) -> Callable[[Instance, Array], Array]:
    """The sum of weighted outputs, or that of weights, is not rescaled."""

    def output(instance: Instance, _output: Array) -> Array:
        logs, numbers = _logs(instance), instance.outputs.astype(np.float64)
        sink = np.exp(_with_sink(instance)[-1] - _top(instance))
        scaled, partly = logs - _top(instance), unscaled(logs)
        return accumulated(numbers, *((partly, scaled) if above else (scaled, partly)), sink)

    return output


def _batch(written: bool) -> Callable[[Instance, Array], Array]:
    """Batch 0 for every batch, or nothing written beyond it."""

    def output(instance: Instance, output: Array) -> Array:
        made = np.zeros_like(output) if written else np.broadcast_to(output[:1], output.shape).copy()
        made[0] = output[0]
        return made

    return output


def _log(function: Callable[[Instance, Array], Array]) -> Callable[[Any, Any], Any]:
    """Another log-sum-exp beside the right output, of instances that ask for one."""
    of_asked: Change = lambda instance: instance if instance.return_lse else None  # noqa: E731
    return altered(of_asked, log_sum_exp=function)


def _mean(instance: Instance, _lse: Array) -> Array:
    return np.asarray(_logs(instance).mean(axis=0))


def _exponential(instance: Instance, lse: Array) -> Array:
    with np.errstate(over="ignore"):
        return np.exp(lse)


def _without_sink(instance: Instance, _lse: Array) -> Array:
    return np.asarray(np.logaddexp.reduce(_logs(instance), axis=0))


_LOGS: tuple[tuple[str, str, Callable[[Instance, Array], Array]], ...] = (
    ("lse-maximum", "the log-sum-exp is the largest one of the parts", lambda i, lse: _logs(i).max(axis=0)),
    ("lse-sum", "the log-sum-exp is the sum of those of the parts", lambda i, lse: _logs(i).sum(axis=0)),
    ("lse-mean", "the log-sum-exp is the mean of those of the parts", _mean),
    ("lse-first", "the log-sum-exp is that of the first part", lambda i, lse: _logs(i)[0]),
    ("lse-last", "the log-sum-exp is that of the last part", lambda i, lse: _logs(i)[-1]),
    ("lse-first-two", "the log-sum-exp is that of the first two parts", lambda i, lse: np.logaddexp.reduce(_logs(i)[:2], axis=0)),
    ("lse-binary", "the log-sum-exp is returned in logarithms of base 2", lambda i, lse: lse * math.log2(math.e)),
    ("lse-natural", "the log-sum-exp is returned as if it were of base 2", lambda i, lse: lse * math.log(2.0)),
    ("lse-without-maximum", "the maximum is not added back to the log-sum-exp", lambda i, lse: lse - _top(i)),
    ("lse-maximum-twice", "the maximum is added to the log-sum-exp twice", lambda i, lse: lse + _top(i)),
    ("lse-exponential", "the sum of weights is returned for its logarithm", _exponential),
    ("lse-negated", "the log-sum-exp is negated", lambda i, lse: -lse),
    ("lse-without-sink", "the log-sum-exp is without the sink", _without_sink),
    ("lse-zero", "the log-sum-exp of a query without keys is 0", lambda i, lse: np.where(lse == -np.inf, 0.0, lse)),
    ("lse-infinite", "the log-sum-exp of a query without keys is +∞", lambda i, lse: np.where(lse == -np.inf, np.inf, lse)),
)  # fmt: skip

_OUTPUTS: tuple[tuple[str, str, Callable[[Instance, Array], Array]], ...] = (
    ("divided-by-maximum", "weights are divided by the largest one in place of their sum", _divided),
    ("undivided", "weights are not divided by their sum", _undivided),
    ("divided-twice", "weights are divided by their sum twice", _divided_twice),
    ("values-unscaled", "the weighted outputs are not rescaled when a larger log-sum-exp comes", _one_sum_unscaled(True)),
    ("total-unscaled", "the sum of weights is not rescaled when a larger log-sum-exp comes", _one_sum_unscaled(False)),
    ("batch-0-output", "every batch has the output of batch 0", _batch(False)),
    ("batch-0-written", "only the output of batch 0 is written", _batch(True)),
)  # fmt: skip


# --- parts without keys, and overflow ---------------------------------------------------------------------------------


def _empty(instance: Instance) -> NDArray[np.bool_]:
    return np.asarray(instance.log_sum_exps == -np.inf)


def _any_empty(instance: Instance) -> NDArray[np.bool_]:
    return np.asarray(_empty(instance).any(axis=0))


def _first_empty(instance: Instance) -> NDArray[np.bool_]:
    return np.asarray(_empty(instance)[0])


def _first_two_empty(instance: Instance) -> NDArray[np.bool_]:
    """All that has been merged up to some step, and the part of that step, are empty."""
    empty = _empty(instance)
    return np.asarray(empty[:2].all(axis=0)) if len(empty) > 1 else np.zeros(empty.shape[1:], bool)


def _neighbours_empty(instance: Instance) -> NDArray[np.bool_]:
    empty = _empty(instance)
    return np.asarray((empty[1:] & empty[:-1]).any(axis=0))


def _all_empty(instance: Instance) -> NDArray[np.bool_]:
    return np.asarray(_empty(instance).all(axis=0))


def _bare(reference: Callable[[Instance], Array]) -> Callable[[Instance], NDArray[np.bool_]]:
    """Where exponentials of log-sum-exps less a reference overflow, or all of them vanish."""

    def where(instance: Instance) -> NDArray[np.bool_]:
        wide = instance.log_sum_exps.dtype == np.float64
        above, below = (709.78, -745.13) if wide else (88.72, -103.97)
        base = reference(instance)
        most = (_with_sink(instance) - np.where(np.isfinite(base), base, 0.0)).max(axis=0)
        return np.asarray((most > above) | (most < below))

    return where


def _nan(where: Callable[[Instance], NDArray[np.bool_]]) -> Callable[[Instance, Array], Array]:
    def made(instance: Instance, right: Array) -> Array:
        rows = where(instance)
        return np.where(rows if right.ndim == rows.ndim else rows[..., None], np.nan, right)

    return made


def _affected(where: Callable[[Instance], NDArray[np.bool_]]) -> Change:
    return lambda instance: instance if where(instance).any() else None


#: What is NaN, and for which queries.
_NANS: tuple[tuple[str, str, Callable[[Instance], NDArray[np.bool_]]], ...] = (
    ("nan-empty", "an empty part gives NaN", _any_empty),
    ("nan-first-empty", "an empty first part gives NaN", _first_empty),
    ("nan-first-two-empty", "two empty parts give NaN", _first_two_empty),
    ("nan-neighbours-empty", "two empty parts in succession give NaN", _neighbours_empty),
    ("nan-all-empty", "NaN where all parts are empty", _all_empty),
    ("overflow", "exponentials of log-sum-exps overflow or vanish without their maximum", _bare(lambda i: 0.0 * _top(i))),
    ("overflow-first", "exponentials relative to the first part overflow or vanish", _bare(lambda i: _logs(i)[0])),
    ("overflow-last", "exponentials relative to the last part overflow or vanish", _bare(lambda i: _logs(i)[-1])),
)  # fmt: skip


def _of_all_empty(chosen: Callable[[Array], Array]) -> Callable[[Instance, Array], Array]:
    """The output where all parts are empty, from the outputs of the parts."""

    def made(instance: Instance, right: Array) -> Array:
        return np.where(_all_empty(instance)[..., None], chosen(instance.outputs.astype(np.float64)), right)

    return made


def _overwritten(chosen: Callable[[Instance], Array]) -> Callable[[Instance, Array], Array]:
    """The output is that of the part with these numbers, where that part is empty."""

    def made(instance: Instance, right: Array) -> Array:
        number = chosen(instance)
        numbers = instance.outputs.astype(np.float64)
        taken = np.take_along_axis(numbers, np.maximum(number, 0)[None, ..., None], axis=0)[0]
        return np.where((number >= 0)[..., None], taken, right)

    return made


def _last_of_empty(instance: Instance) -> Array:
    """The number of the last part, where that is empty, and −1 elsewhere."""
    return np.where(_empty(instance)[-1], len(instance.outputs) - 1, -1)


def _any_of_empty(instance: Instance) -> Array:
    """The number of the last empty part; −1 where there is none."""
    numbers = np.arange(len(instance.outputs)).reshape(-1, 1, 1, 1)
    return np.asarray(np.where(_empty(instance), numbers, -1).max(axis=0))


_EMPTY: tuple[tuple[str, str, Callable[[Instance], NDArray[np.bool_]], Callable[[Instance, Array], Array]], ...] = (
    ("empty-mean", "the mean of the parts where all are empty", _all_empty, _of_all_empty(lambda o: o.mean(axis=0))),
    ("empty-first", "the output of the first part where all are empty", _all_empty, _of_all_empty(lambda o: o[0])),
    ("empty-last", "the output of the last part where all are empty", _all_empty, _of_all_empty(lambda o: o[-1])),
    ("empty-overwrites", "an empty part overwrites the result", _any_empty, _overwritten(_any_of_empty)),
    ("last-overwrites", "an empty last part overwrites the result", _any_empty, _overwritten(_last_of_empty)),
)  # fmt: skip


def _in_base(factor: float) -> Callable[[Any, Any], Any]:
    """Log-sum-exps are taken in another base, and returned in it."""
    change = _weighed(lambda logs: logs * factor)
    return altered(change, log_sum_exp=lambda _instance, lse: lse / factor)


_BASES = (
    Meaning("base-2-both", "log-sum-exps are taken for those of base 2, and one of base 2 is returned", _in_base(math.log(2.0))),
    Meaning("base-e-both", "log-sum-exps of base 2 are taken for natural ones, and a natural one is returned", _in_base(math.log2(math.e))),
)  # fmt: skip


def _everywhere() -> tuple[Meaning, ...]:
    """Every meaning of weights twice: of a kernel whose log-sum-exp is of these weights, and of one that has it right."""
    made: list[Meaning] = []
    for name, words, change in (*_WEIGHTS, *_SINKS):
        made += [
            Meaning(name, words, solves(change)),
            Meaning(f"{name}-output", f"{words}, in the output", mixed(output=change, log_sum_exp=_same)),
            Meaning(f"{name}-lse", f"{words}, in the log-sum-exp", _log_alone(change)),
        ]
    for name, words, where in _NANS:
        nan, affected = _nan(where), _affected(where)
        made += [
            Meaning(name, words, altered(affected, output=nan, log_sum_exp=nan)),
            Meaning(f"{name}-output", f"{words}, in the output", altered(affected, output=nan)),
            Meaning(f"{name}-lse", f"{words}, in the log-sum-exp", altered(affected, log_sum_exp=nan)),
        ]
    return tuple(made)


def _log_alone(change: Change) -> Callable[[Any, Any], Any]:
    """The log-sum-exp alone is of another instance; nothing of an instance that asks for none."""
    both = mixed(output=_same, log_sum_exp=change)
    return lambda instance, right: both(instance, right) if instance.return_lse else None


MEANINGS: tuple[Meaning, ...] = (
    *_everywhere(),
    *(Meaning(f"{name}-both", words, _running(share, update)) for name, words, share, update in _UPDATES),
    *_BASES,
    *(Meaning(name, words, altered(_same, output=function)) for name, words, function in _OUTPUTS),
    *(Meaning(name, words, _log(function)) for name, words, function in _LOGS),
    *(Meaning(name, words, altered(_affected(where), output=function)) for name, words, where, function in _EMPTY),
)
