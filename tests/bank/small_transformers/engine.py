"""A simulation whose steps can be changed one by one: how keys are cut, calls made, and results put together."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Array = NDArray[Any]
    Part = tuple[Array, Array]
    Index = NDArray[np.intp]

__all__ = ["Steps", "Task", "by_size", "calibrated", "evenly", "kernel", "one_by_one", "run", "seen_by", "softly"]


@dataclass(frozen=True)
class Task:
    """What is asked, with keys and values of every query head, and who sees whom: (b, h, n_q, n_k)."""

    query: Array
    key: Array
    value: Array
    seen: Array
    oracle: Callable[..., Any]
    size: int
    scale: float
    is_causal: bool
    window: int | None
    sinks: int
    mask: Array | None

    def part(self, rows: Any, keys: Any) -> Task:
        return replace(
            self, query=self.query[:, :, rows], key=self.key[:, :, keys], value=self.value[:, :, keys],
            seen=self.seen[:, :, rows][..., keys],
        )  # fmt: skip


def seen_by(n_q: int, n_k: int, is_causal: bool, window: int | None, sinks: int) -> Array:
    i, j = np.arange(n_q)[:, None], np.arange(n_k)
    seen = j <= i if is_causal else np.ones((n_q, n_k), dtype=bool)
    return seen if window is None else seen & ((j > i - window) | (j < sinks))


def by_size(n: int, most: int) -> list[Index]:
    return [np.arange(first, min(first + most, n)) for first in range(0, n, most)]


def evenly(n: int, most: int) -> list[Index]:
    return list(np.array_split(np.arange(n), -(-n // most)))


def calibrated(t: Task, s: Steps) -> Part:
    """The log-sum-exp and the mean of the values of one call, by two columns and a calibrator (MERGE-1)."""
    x = (s.calibrator(t) / t.scale).astype(t.query.dtype)
    b, h, count = t.key.shape[:3]
    one = np.zeros((b, h, count + 1, 1), t.key.dtype)
    one[:, :, -1] = 1
    out = t.oracle(
        np.concatenate([t.query, x[..., None]], axis=3),
        np.concatenate([np.concatenate([t.key, 0 * t.key[:, :, :1]], axis=2), one], axis=3),
        np.concatenate([np.concatenate([t.value, 0 * t.value[:, :, :1]], axis=2), 1 - one, one], axis=3),
        scale=t.scale,
        mask=np.concatenate([t.seen, np.ones_like(t.seen[..., :1])], axis=3),
    ).astype(np.float64)
    return s.read(t.scale * x.astype(np.float64), out[..., -2], out[..., -1], out[..., :-2])


def read(c: Array, p: Array, p_0: Array, out: Array) -> Part:
    some = p > 0
    safe = np.where(some, p, 1.0)
    return np.where(some, c + np.log(safe / p_0), -np.inf), out / safe[..., None]


def mean_score(t: Task) -> Array:
    """Calibrators as heavy as all keys of the call."""
    count = t.key.shape[2]
    return t.scale * (t.query.astype(float) @ np.swapaxes(t.key.astype(float), 2, 3)).mean(axis=3) + math.log(count)


def softly(logs: Array, outputs: Array) -> Part:
    """All parts at once, (parts, …)."""
    total = np.logaddexp.reduce(logs, axis=0)
    weight = np.exp(logs - np.where(np.isfinite(total), total, 0.0))
    return total, (weight[..., None] * outputs).sum(axis=0)


def one_by_one(logs: Array, outputs: Array) -> Part:
    """As parts come."""
    log, out = logs[0], np.where(np.isfinite(logs[0])[..., None], outputs[0], 0.0)
    for other, output in zip(logs[1:], outputs[1:], strict=True):
        log, out = softly(np.stack([log, other]), np.stack([out, output]))
    return log, out


@dataclass(frozen=True)
class Steps:
    """What the engine does; the defaults are right."""

    task: Callable[[Task], Task] = lambda t: t
    heads: Callable[[int, int], Any] = lambda h, h_k: np.arange(h) // (h // h_k)
    seen: Callable[..., Array] = seen_by
    room: Callable[[Task], int] = lambda t: t.size - 1
    cut: Callable[[int, int], Sequence[Index]] = by_size
    rows: Callable[[Task], Sequence[Index]] = lambda t: by_size(t.query.shape[2], t.size)
    one: Callable[[Task, Any, Any], Task] = lambda t, rows, keys: t.part(rows, keys)
    calibrator: Callable[[Task], Array] = mean_score
    call: Callable[[Task, Steps], Part] = calibrated
    read: Callable[[Array, Array, Array, Array], Part] = read
    merge: Callable[[Array, Array], Part] = one_by_one
    finish: Callable[[Task, Array, Array], Part] = lambda t, out, lse: (out, lse)


def run(t: Task, s: Steps) -> Part:
    b, h, n = t.query.shape[:3]
    out, lse = np.zeros((b, h, n, t.value.shape[3])), np.full((b, h, n), -np.inf)
    blocks = s.cut(t.key.shape[2], s.room(t))
    for rows in s.rows(t):
        parts = [one for keys in blocks if (one := s.one(t, rows, keys)).seen.any()]
        if parts:
            logs, outputs = zip(*(s.call(one, s) for one in parts), strict=True)
            lse[:, :, rows], out[:, :, rows] = s.merge(np.stack(logs), np.stack(outputs))
    return s.finish(t, out, lse)


def kernel(steps: Steps, made: Callable[[Task, Steps], Part] = run) -> Callable[..., Any]:
    """A kernel with every option, of these steps."""

    def simulated(
        query: Array, key: Array, value: Array, *, oracle: Any, size: int, scale: float, is_causal: bool = False,
        window: int | None = None, sinks: int = 0, mask: Array | None = None, return_lse: bool = False,
    ) -> Any:  # fmt: skip
        index = steps.heads(query.shape[1], key.shape[1])
        key, value = key[:, index], value[:, index]
        n_q, n_k = query.shape[2], key.shape[2]
        seen = np.broadcast_to(steps.seen(n_q, n_k, is_causal, window, sinks), (*query.shape[:3], n_k))
        seen = seen if mask is None else seen & mask
        t = Task(query, key, value, seen, oracle, size, scale, is_causal, window, sinks, mask)
        with np.errstate(all="ignore"):
            out, lse = made(steps.task(t), steps)
        return (out.astype(query.dtype), lse) if return_lse else out.astype(query.dtype)

    return simulated
