"""One backward pass, step by step: correct kernels and wrong ones change a step of it.  Nothing here uses assay."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bank.attention.correct import Task as Forward

__all__ = ["Parts", "Steps", "Task", "gathered", "kernel", "only_arrays", "passed", "summed"]

Array = NDArray[Any]


@dataclass(frozen=True)
class Task(Forward):
    """What a kernel was called with: that of attention's bank, and what a backward pass gets besides."""

    output: Array = None  # type: ignore[assignment]
    log_sum_exp: Array = None  # type: ignore[assignment]
    grad_output: Array = None  # type: ignore[assignment]
    grad_log_sum_exp: Array | None = None

    @property
    def group(self) -> int:
        return int(self.query.shape[1] // self.key.shape[1])

    def wide(self, x: Array) -> Array:
        return x.astype(self.work)

    def own(self) -> list[int]:
        """The key head of every query head."""
        return [h // self.group for h in range(self.query.shape[1])]


@dataclass(frozen=True)
class Parts:
    """What has been computed when gradients are added up: probabilities, dS before and after the softcap's factor."""

    p: Array
    gradient: Array
    before: Array
    delta: Array
    lse: Array
    seen: Array


def _scores(t: Task, q: Array, k: Array) -> Array:
    return (q @ np.swapaxes(k, 2, 3)) * t.work(t.scale)


def _capped(t: Task, s: Array) -> tuple[Array, Array]:
    """Scores after the softcap, and its derivative."""
    if t.softcap is None:
        return s, t.work(1) + 0 * s
    share = np.tanh(s / t.work(t.softcap))
    return t.work(t.softcap) * share, t.work(1) - share * share


def _biased(t: Task, s: Array) -> Array:
    if t.bias is None:
        return s
    b = np.broadcast_to(t.bias, t.shape).astype(t.work)
    return s + np.where(np.isfinite(b), b, 0)


def _probability(t: Task, s: Array, seen: Array, lse: Array) -> Array:
    return np.where(seen, np.exp(np.where(seen, s - lse[..., None], -1)), 0).astype(s.dtype)


def _of_output(t: Task, g: Array, p: Array, grad: Array, out: Array) -> Array:
    return (grad * out).sum(axis=3, keepdims=True)


def _less_incoming(t: Task, delta: Array) -> Array:
    if t.grad_log_sum_exp is None:
        return delta
    some = np.isfinite(t.log_sum_exp)
    return delta - np.where(some, t.grad_log_sum_exp, 0).astype(delta.dtype)[..., None]


def gathered(t: Task, x: Array) -> Array:
    """The sum over the query heads of every group."""
    b, h, *rest = x.shape
    return x.reshape(b, h // t.group, t.group, *rest).sum(axis=2)


def summed(x: Array, shape: tuple[int, ...]) -> Array:
    """The sum over what an array of this shape is broadcast to."""
    wide = (1,) * (4 - len(shape)) + shape
    over = tuple(axis for axis, (n, m) in enumerate(zip(x.shape, wide, strict=True)) if n != m)
    return x.sum(axis=over, keepdims=True).reshape(shape)


def _sink(t: Task, parts: Parts) -> Array:
    assert t.sink is not None
    weight = np.exp(t.wide(t.sink)[None, :, None] - parts.lse)
    return -(weight * parts.delta[..., 0]).sum(axis=(0, 2))


@dataclass(frozen=True)
class Steps:
    """What the engine does; the defaults are right.  b, h, n_q, n_k are axes of every matrix."""

    task: Callable[[Task], Task] = lambda t: t  # what both passes solve
    recompute: bool = False  # ignore what was handed over
    backward: Callable[[Task], Task] = lambda t: t  # what the backward pass makes scores of
    reads: Callable[[Task], list[int]] = lambda t: t.own()
    scores: Callable[[Task, Array, Array], Array] = _scores
    capped: Callable[[Task, Array], tuple[Array, Array]] = _capped
    biased: Callable[[Task, Array], Array] = _biased
    seen: Callable[[Task], Array] = lambda t: t.visible()
    lse: Callable[[Task, Array], Array] = lambda t, lse: lse
    probability: Callable[[Task, Array, Array, Array], Array] = _probability
    incoming: Callable[[Task, Array], Array] = lambda t, grad: grad
    product: Callable[[Task, Array, Array], Array] = lambda t, grad, v: grad @ np.swapaxes(v, 2, 3)
    delta: Callable[[Task, Array, Array, Array, Array], Array] = _of_output
    of_lse: Callable[[Task, Array], Array] = _less_incoming
    gradient: Callable[[Task, Array, Array, Array], Array] = lambda t, p, g, delta: p * (g - delta)
    short: Callable[[Task, Array], Array] = lambda t, x: t.rounded(x)
    query: Callable[[Task, Array, Array], Array] = lambda t, before, k: (before @ k) * t.work(t.scale)
    key: Callable[[Task, Array, Array], Array] = lambda t, before, q: (np.swapaxes(before, 2, 3) @ q) * t.work(t.scale)
    value: Callable[[Task, Array, Array], Array] = lambda t, p, grad: np.swapaxes(p, 2, 3) @ grad
    gather: Callable[[Task, Array], Array] = gathered
    bias: Callable[[Task, Parts], Array] = lambda t, parts: summed(parts.gradient, t.bias.shape)  # type: ignore[union-attr]
    sink: Callable[[Task, Parts], Array] = _sink
    after: Callable[[Task, list[Array]], list[Array]] = lambda t, made: made


def _forward(t: Task, steps: Steps) -> Task:
    """The task with the output and the log-sum-exp of its own forward pass, in the type of the work."""
    heads = steps.reads(t)
    q, k, v = t.wide(t.query), t.wide(t.key)[:, heads], t.wide(t.value)[:, heads]
    s = steps.biased(t, steps.capped(t, steps.scores(t, q, k))[0])
    seen = steps.seen(t)
    s = np.where(seen, s, -np.inf)
    if t.sink is not None:
        s = np.concatenate([s, np.broadcast_to(t.wide(t.sink)[None, :, None, None], (*s.shape[:3], 1))], axis=3)
    m = s.max(axis=3, keepdims=True)
    m = np.where(np.isfinite(m), m, 0)
    w = np.exp(s - m)
    total = w.sum(axis=3, keepdims=True)
    lse = (m + np.log(total))[..., 0]
    p = (w / np.where(total > 0, total, 1))[..., : t.key.shape[2]]
    return replace(t, output=t.rounded(p) @ v, log_sum_exp=lse)


def passed(t: Task, steps: Steps) -> list[Array]:
    """The gradients, each in its own type."""
    with np.errstate(all="ignore"):
        t = steps.task(t)
        if steps.recompute:
            t = _forward(t, steps)
        heads = steps.reads(t)
        q, k, v = t.wide(t.query), t.wide(t.key)[:, heads], t.wide(t.value)[:, heads]
        grad, out = steps.incoming(t, t.wide(t.grad_output)), t.wide(t.output)
        other = steps.backward(t)
        capped, slope = steps.capped(other, steps.scores(other, q, k))
        seen = steps.seen(other)
        lse = steps.lse(t, np.where(np.isfinite(t.log_sum_exp), t.log_sum_exp, 0).astype(t.work))
        p = steps.probability(t, steps.biased(other, capped), seen, lse)
        g = steps.product(t, grad, v)
        delta = steps.of_lse(t, steps.delta(t, g, p, grad, out))
        gradient = steps.gradient(t, p, g, delta)
        gradient = np.where(seen, gradient, 0).astype(t.work)
        before = steps.short(t, gradient * slope)
        parts = Parts(p, gradient, before, delta, lse, seen)
        made = [
            steps.query(t, before, k),
            steps.gather(t, steps.key(t, before, q)),
            steps.gather(t, steps.value(t, steps.short(t, p), grad)),
        ]
        if t.bias is not None:
            made.append(steps.bias(t, parts).astype(t.bias.dtype))
        if t.sink is not None:
            made.append(steps.sink(t, parts).astype(t.sink.dtype))
        made = steps.after(t, made)
        return [x.astype(t.query.dtype) for x in made[:3]] + list(made[3:])


def kernel(steps: Steps, each: Callable[[Task, Steps], list[Array]] = passed) -> Callable[..., Any]:
    """A kernel with every option."""

    def backward(
        query: Array, key: Array, value: Array, output: Array, log_sum_exp: Array, grad_output: Array, *, scale: float,
        is_causal: bool = False, causal: str | None = None, mask: Array | None = None, bias: Array | None = None,
        window: tuple[int | None, int | None] | None = None, key_lengths: Array | None = None,
        softcap: float | None = None, sink: Array | None = None, grad_log_sum_exp: Array | None = None,
    ) -> Any:  # fmt: skip
        chosen = "top-left" if is_causal else causal
        options = (scale, chosen, mask, bias, window, key_lengths, softcap, sink)
        t = Task(query, key, value, *options, output, log_sum_exp, grad_output, grad_log_sum_exp)
        return tuple(each(t, steps))

    return backward


def only_arrays(steps: Steps) -> Callable[..., Any]:
    """A kernel with no option but causality."""

    def backward(
        query: Array, key: Array, value: Array, output: Array, log_sum_exp: Array, grad_output: Array, *, scale: float,
        is_causal: bool = False,
    ) -> Any:  # fmt: skip
        t = Task(
            query,
            key,
            value,
            scale,
            "top-left" if is_causal else None,
            output=output,
            log_sum_exp=log_sum_exp,
            grad_output=grad_output,
        )
        return tuple(passed(t, steps))

    return backward
