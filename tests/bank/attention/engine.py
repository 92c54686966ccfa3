"""A wrong kernel of the bank, and the one correct engine that its bug changes a step of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from bank.attention.correct import Task, with_every_option

Array = NDArray[Any]
LOG2E = 1.4426950408889634
BFLOAT16, FLOAT16, FLOAT8 = ml_dtypes.bfloat16, np.float16, ml_dtypes.float8_e4m3fn


@dataclass(frozen=True)
class Buggy:
    """A wrong kernel, the class that it claims and violates, and what a judgement must say of it.

    source: where the bug was seen.  diagnosis: words that the diagnosis must contain, of a bug that has a meaning.
    stage: where precision is lost, one of :mod:`assay.conformance.attention.stages`.
    """

    name: str
    function: Callable[..., Any]
    bug: str
    source: str = "assay's bank"
    precision: str = "float32"
    diagnosis: str | None = None
    stage: str | None = None
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


def own_key_head(task: Task, b: int, h: int) -> tuple[int, int]:
    return b, h // (task.query.shape[1] // task.key.shape[1])


def divided(n: Array, d: Array) -> Array:
    return n / d


@dataclass(frozen=True)
class Steps:
    """What the engine does for one head, step by step; the defaults are right."""

    key_place: Callable[[Task, int, int], tuple[int, int]] = own_key_head
    value_place: Callable[[Task, int, int], tuple[int, int]] = own_key_head
    operands: Callable[[Array, Array, Array], tuple[Array, Array, Array]] = lambda q, k, v: (q, k, v)
    score: Callable[[Array, Array, float], Array] = lambda q, k, scale: (q @ k.T) * q.dtype.type(scale)
    finish: Callable[[Array, Task, tuple[int, int]], Array] = lambda s, task, at: task.finished(s, at)
    hide: Callable[[Array, Array], Array] = lambda s, seen: np.where(seen, s, s.dtype.type(-np.inf))
    shift: Callable[[Array], Array] = lambda s: s.max(axis=1, keepdims=True)
    exp: Callable[[Array], Array] = np.exp
    weights: Callable[[Array], Array] = lambda e: e
    short: Callable[[Task, Array], Array] = lambda task, e: task.rounded(e)
    total: Callable[[Array], Array] = lambda e: e.sum(axis=1, keepdims=True)
    mix: Callable[[Array, Array], Array] = lambda p, v: p @ v
    divide: Callable[[Array, Array], Array] = divided
    empty: Callable[[Array, Array, Array], Array] = lambda out, v, live: np.where(live, out, out.dtype.type(0))
    empty_lse: float = -np.inf
    log: Callable[[Array, Array], Array] = lambda m, d: m + np.log(d)
    sink_value: Callable[[Array], Array] = lambda v: np.zeros_like(v[:1])
    sink_in_shift: bool = True


RIGHT = Steps()


def attention(task: Task, steps: Steps) -> tuple[Array, Array]:
    out, lse = task.blank()
    seen = task.visible()
    w = task.work
    for b in range(task.shape[0]):
        for h in range(task.shape[1]):
            k, v = task.key[steps.key_place(task, b, h)], task.value[steps.value_place(task, b, h)]
            q, k, v = steps.operands(task.query[b, h].astype(w), k.astype(w), v.astype(w))
            s = steps.finish(steps.score(q, k, task.scale), task, (b, h))
            s = steps.hide(s, seen[b, h][:, : s.shape[1]])
            m = steps.shift(s)
            sink = None
            if task.sink is not None:
                sink = task.sink[h].astype(w)
                m = np.maximum(m, sink) if steps.sink_in_shift else m
            live = m > -np.inf
            e = steps.weights(steps.exp(s - np.where(live, m, w(0))))
            d, n = steps.total(e), steps.mix(steps.short(task, e), v)
            if sink is not None:
                extra = np.exp(sink - np.where(live, m, w(0)))
                d, n = d + extra, n + extra * steps.sink_value(v)
            out[b, h] = steps.empty(steps.divide(n, d), v, live)
            lse[b, h] = np.where(live, steps.log(m, d), w(steps.empty_lse))[:, 0]
    return out, lse


Engine = Callable[[Task], tuple[Array, Array]]


def called(engine: Engine, after: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """An engine as a kernel with every option; ``after(output, task)`` replaces the output."""

    def returned(output: Array, task: Task) -> Any:
        output = output.astype(task.query.dtype)
        return output if after is None else after(output, task)

    return with_every_option(engine, returned)


def with_steps(**changed: Any) -> Callable[..., Any]:
    """The engine with some steps replaced."""
    return called(lambda task: attention(task, replace(RIGHT, **changed)))


def asked_as(meaning: Callable[[Task], Task], **changed: Any) -> Callable[..., Any]:
    """The engine on another task than the one asked."""
    return called(lambda task: attention(meaning(task), replace(RIGHT, **changed)))


def spoilt(after: Callable[[Array, Task], Any]) -> Callable[..., Any]:
    """The right result, spoilt."""
    return called(lambda task: attention(task, RIGHT), after)
