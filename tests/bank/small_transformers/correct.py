"""Correct simulations of unusual structure: the judge must pass every one, in every class that it names."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np

from bank.entry import Entry
from bank.small_transformers.engine import Steps, Task, calibrated, evenly, kernel, run, softly

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]
    Part = tuple[Array, Array]

__all__ = ["CORRECT"]

ALL = ("float32", "float64", "bfloat16", "float16")
WIDE = ("float32", "float64")
LONG = ("float32", "float64", "bfloat16")


def _tree(logs: Array, outputs: Array) -> Part:
    """Neighbours first, then neighbours of these."""
    parts = list(zip(logs, outputs, strict=True))
    while len(parts) > 1:
        parts = [reduce(_two, parts[at : at + 2]) for at in range(0, len(parts), 2)]
    return softly(parts[0][0][None], parts[0][1][None])


def _two(first: Part, second: Part) -> Part:
    return softly(np.stack([first[0], second[0]]), np.stack([first[1], second[1]]))


def _in_float32(logs: Array, outputs: Array) -> Part:
    log, out = softly(logs.astype(np.float32), outputs.astype(np.float32))
    return log, out


def _with_log_sum_exp(t: Task, s: Steps) -> Part:
    out, lse = t.oracle(t.query, t.key, t.value, scale=t.scale, mask=t.seen)
    return lse.astype(np.float64), out.astype(np.float64)


def _corrected(logs: Array, outputs: Array) -> Part:
    """o − σ(l_t − lse)(o − o_t)."""
    log, out = logs[0], np.where(np.isfinite(logs[0])[..., None], outputs[0], 0.0)
    for other, output in zip(logs[1:], outputs[1:], strict=True):
        share = np.where(np.isfinite(other), 1 / (1 + np.exp(log - other)), 0.0)
        log, out = np.logaddexp(log, other), out - share[..., None] * (out - output)
    return log, out


def _causal_calls(t: Task, s: Steps) -> Part:
    """Two calls for each pair of blocks, in either order; one on the diagonal of causal attention."""
    room, n_q, n_k = t.size - 1, t.query.shape[2], t.key.shape[2]
    b, h = t.query.shape[:2]
    lse, out = np.full((b, h, n_q), -np.inf), np.zeros((b, h, n_q, t.value.shape[3]))
    for first in range(0, n_q, room):
        for begin in range(0, n_k, room):
            q, k = np.arange(first, min(first + room, n_q)), np.arange(begin, min(begin + room, n_k))
            if t.is_causal and begin > first:
                continue
            calls = [(np.r_[q[0], q], k, 1)]  # the calibrator is token 0
            if not (t.is_causal and begin == first) and len(k) > 1:
                calls.append((q[: len(k) - 1][::-1], k[1:][::-1], 0))
            for rows, keys, skipped in calls:
                if not skipped:  # query r of the block at slot len(k) − 1 − r
                    rows = np.r_[np.full(len(k) - len(q) if len(k) > len(q) else 1, q[0]), rows]
                log, mean = _one_causal(t, rows, keys)
                used = np.r_[1 : len(rows)] if skipped else np.arange(len(rows) - min(len(q), len(k) - 1), len(rows))
                place = rows[used]
                lse[:, :, place], out[:, :, place] = _two(
                    (lse[:, :, place], out[:, :, place]), (log[:, :, used], mean[:, :, used])
                )
    return out, lse


def _one_causal(t: Task, rows: Array, keys: Array) -> Part:
    b, h = t.query.shape[:2]
    count = len(keys)
    part = t.part(rows, keys)
    c = t.scale * (part.query.astype(float) @ np.swapaxes(part.key.astype(float), 2, 3)).mean(axis=3) + math.log(count)
    x = (c / t.scale).astype(t.query.dtype)
    one = np.zeros((b, h, count + 1, 1), t.key.dtype)
    one[:, :, 0] = 1
    out = t.oracle(
        np.concatenate([part.query, x[..., None]], axis=3),
        np.concatenate([np.concatenate([0 * part.key[:, :, :1], part.key], axis=2), one], axis=3),
        np.concatenate([np.concatenate([0 * part.value[:, :, :1], part.value], axis=2), 1 - one, one], axis=3),
        scale=t.scale,
    ).astype(np.float64)
    p, p_0 = out[..., -2], out[..., -1]
    safe = np.where(p > 0, p, 1.0)
    log = np.where(p > 0, t.scale * x.astype(float) + np.log(safe / p_0), -np.inf)
    return log, out[..., :-2] / safe[..., None]


def _causal(
    query: Array, key: Array, value: Array, *, oracle: Any, size: int, scale: float, is_causal: bool = False
) -> Any:
    steps = Steps()
    options = {"is_causal": is_causal} if is_causal else {}
    return kernel(steps, _causal_calls)(query, key, value, oracle=oracle, size=size, scale=scale, **options)


def _head_by_head(t: Task, s: Steps) -> Part:
    parts = [
        calibrated(
            replace(
                t,
                query=t.query[:, h : h + 1],
                key=t.key[:, h : h + 1],
                value=t.value[:, h : h + 1],
                seen=t.seen[:, h : h + 1],
            ),
            s,
        )
        for h in range(t.query.shape[1])
    ]
    return np.concatenate([log for log, _ in parts], axis=1), np.concatenate([out for _, out in parts], axis=1)


def _folded(t: Task, s: Steps) -> Part:
    """Heads as batches."""
    b, h = t.query.shape[:2]
    flat = {
        name: getattr(t, name).reshape(b * h, 1, *getattr(t, name).shape[2:])
        for name in ("query", "key", "value", "seen")
    }
    log, out = calibrated(replace(t, **flat), s)
    return log.reshape(b, h, *log.shape[2:]), out.reshape(b, h, *out.shape[2:])


def _in_double(t: Task, s: Steps) -> Part:
    """Calls of a wider type than the arrays have."""
    wide = {name: getattr(t, name).astype(np.float64) for name in ("query", "key", "value")}
    return calibrated(replace(t, **wide), s)


def _banded(t: Task, s: Steps) -> Part:
    """A window with its sinks in one call for b queries, b = M − w − s + 1 less the calibrator's room; else blocks."""
    step = 0 if t.window is None else t.size - t.window - t.sinks + 1
    if step < 1 or t.window is None:
        return run(t, s)
    b, h, n = t.query.shape[:3]
    out, lse = np.zeros((b, h, n, t.value.shape[3])), np.full((b, h, n), -np.inf)
    for first in range(0, n, step):
        rows = np.arange(first, min(first + step, n))
        begin = max(0, first - t.window + 1)
        keys = np.r_[0 : min(t.sinks, begin), begin : rows[-1] + 1]
        one = t.part(rows, keys)
        out[:, :, rows] = t.oracle(one.query, one.key, one.value, scale=t.scale, mask=one.seen)
        if len(keys) < t.size:
            lse[:, :, rows] = s.call(one, s)[0]
        else:
            halves = [t.part(rows, half) for half in np.array_split(keys, 2)]
            lse[:, :, rows] = np.logaddexp(*(s.call(half, s)[0] for half in halves))
    return out, lse


def _common_factor(logs: Array, outputs: Array) -> Part:
    """Sums N and D in common units, divided at the end."""
    most = logs.max(axis=0)
    most = np.where(np.isfinite(most), most, 0.0)
    weight = np.exp(logs - most)
    total = weight.sum(axis=0)
    safe = np.where(total > 0, total, 1.0)
    above = np.zeros_like(outputs[0])
    for w, output in zip(weight, outputs, strict=True):
        above += w[..., None] * output
    return np.where(total > 0, most + np.log(safe), -np.inf), above / safe[..., None]


def _loudest(t: Task) -> Array:
    """A calibrator beside the largest score of the call."""
    return np.asarray(t.scale * (t.query.astype(float) @ np.swapaxes(t.key.astype(float), 2, 3)).max(axis=3))


def _strided(n: int, most: int) -> list[Any]:
    count = -(-n // most)
    return [np.arange(n)[first::count] for first in range(count)]


CORRECT: tuple[Entry, ...] = (
    Entry("plain", kernel(Steps()), ALL, "two columns and a calibrator of the mean score; parts one by one"),
    Entry("evenly", kernel(Steps(cut=evenly)), ALL, "key blocks of equal length"),
    Entry("strided", kernel(Steps(cut=_strided)), LONG, "every part has keys from all over"),
    Entry("backwards", kernel(Steps(cut=lambda n, m: evenly(n, m)[::-1])), LONG, "parts from the last to the first"),
    Entry("smaller", kernel(Steps(room=lambda t: t.size - 2)), LONG, "calls of one token less than the oracle takes", options={"two_tokens": "no"}),
    Entry("tree", kernel(Steps(merge=_tree)), LONG, "merged in pairs, then pairs of these"),
    Entry("common-factor", kernel(Steps(merge=_common_factor)), ALL, "one sum above and one below, divided at the end"),
    Entry("sigmoid", kernel(Steps(merge=_corrected)), LONG, "corrections of what was merged so far"),
    Entry("float32-sums", kernel(Steps(merge=_in_float32)), ("bfloat16", "float16"), "recombined in float32: a class of half precision allows it"),
    Entry("loudest", kernel(Steps(calibrator=_loudest)), LONG, "a calibrator of the largest score"),
    Entry("zero", kernel(Steps(calibrator=lambda t: np.zeros(t.query.shape[:3]))), WIDE, "calibrators of score 0: with a second column no digit is lost", options={"far_scores": "no"}),
    Entry("log-sum-exp", kernel(Steps(call=_with_log_sum_exp, room=lambda t: t.size)), ALL, "an oracle that returns its log-sum-exp; no calibrator", options={"oracle": "log_sum_exp"}),
    Entry("causal", _causal, LONG, "an oracle that is causal whatever it is asked: two orders of every pair of blocks", options={"oracle": "causal"}),
    Entry("head-by-head", kernel(Steps(call=_head_by_head)), LONG, "one head a call", options={"at_once": 1}),
    Entry("folded", kernel(Steps(call=_folded)), LONG, "heads as batches of one head"),
    Entry("wider", kernel(Steps(call=_in_double)), ALL, "calls in float64"),
    Entry("banded", kernel(Steps(), _banded), LONG, "windows and sinks in one call, with nothing to recombine"),
)  # fmt: skip
