"""Parts of wrong kernels: scales, caps, tiles, and roundings where none are promised."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bank.attention.engine import (
    BFLOAT16,
    LOG2E,
    RIGHT,
    asked_as,
    attention,
    called,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from bank.attention.correct import Task

Array = NDArray[Any]


def online_softmax(
    task: Task,
    *,
    tile: int = 16,
    start: float = -np.inf,
    updates: bool = True,
    rescales_numerator: bool = True,
    rescales_denominator: bool = True,
    guards: bool = True,
    factor: Callable[[Array], Array] = lambda alpha: alpha,
) -> tuple[Array, Array]:
    """The online softmax.  start: initial maximum; guards: −inf − −inf is taken care of."""
    out, lse = task.blank()
    seen, w = task.visible(), task.work
    for at, q, k, v in task.heads():
        s = np.where(seen[at], task.finished((q @ k.T) * w(task.scale), at), w(-np.inf))
        if task.sink is not None:
            s = np.concatenate([np.full_like(s[:, :1], task.sink[at[1]].astype(w)), s], axis=1)
            v = np.concatenate([np.zeros_like(v[:1]), v])
        m = np.full((s.shape[0], 1), start, w)
        d, o = np.zeros_like(m), np.zeros((s.shape[0], v.shape[1]), w)
        for j in range(0, s.shape[1], tile):
            here = s[:, j : j + tile]
            top = np.maximum(m, here.max(axis=1, keepdims=True)) if updates or j == 0 else m
            shift = np.where(top > -np.inf, top, w(0)) if guards else top
            alpha, p = factor(np.exp(m - shift)), np.exp(here - shift)
            d = d * (alpha if rescales_denominator else w(1)) + p.sum(axis=1, keepdims=True)
            o = o * (alpha if rescales_numerator else w(1)) + task.rounded(p) @ v[j : j + tile]
            m = top
        live = (d > 0) | (np.isnan(d) & seen[at].any(axis=1, keepdims=True))
        out[at] = np.where(live, o / np.where(live, d, w(1)), w(0))
        lse[at] = np.where(live, m + np.log(np.where(live, d, w(1))), -np.inf)[:, 0]
    return out, lse


def in_tiles(**changed: Any) -> Callable[..., Any]:
    return called(lambda task: online_softmax(task, **changed))


def rounded_to(x: Array, dtype: Any) -> Array:
    return x.astype(dtype).astype(x.dtype)


def truncated(x: Array, bits: int) -> Array:
    """Float32 with its lowest bits cut off."""
    mask = np.uint32((0xFFFFFFFF << bits) & 0xFFFFFFFF)
    return (np.ascontiguousarray(x, np.float32).view(np.uint32) & mask).view(np.float32).astype(x.dtype)


def summed_in(dtype: Any, step: int = 1) -> Callable[[Array], Array]:
    """Row sums in a short type, ``step`` keys at a time."""

    def total(e: Array) -> Array:
        d = np.zeros((e.shape[0], 1), e.dtype)
        for j in range(0, e.shape[1], step):
            d = rounded_to(d + e[:, j : j + step].sum(axis=1, keepdims=True), dtype)
        return d

    return total


def mixed_in(dtype: Any, step: int = 1) -> Callable[[Array, Array], Array]:
    """p V with an accumulator in a short type, ``step`` keys at a time."""

    def mix(p: Array, v: Array) -> Array:
        n = np.zeros((p.shape[0], v.shape[1]), p.dtype)
        for j in range(0, v.shape[0], step):
            n = rounded_to(n + p[:, j : j + step] @ v[j : j + step], dtype)
        return n

    return mix


def polynomial_exp(*coefficients: float) -> Callable[[Array], Array]:
    """2^i · polynomial(f), lowest coefficient first, f in [0, 1): minimax-like fits of 2^f."""

    def exp(x: Array) -> Array:
        y = np.maximum(x.astype(np.float64) * LOG2E, -1000.0)
        i = np.floor(y)
        f = y - i
        value = np.zeros_like(f)
        for c in reversed(coefficients):
            value = value * f + c
        return np.where(x == -np.inf, 0.0, np.ldexp(value, i.astype(int))).astype(x.dtype)

    return exp


def fitted(degree: int) -> tuple[float, ...]:
    """A polynomial for 2^f on [0, 1] through Chebyshev points, and exactly 1 at 0 and 2 at 1."""
    nodes = (1 - np.cos(np.pi * np.arange(degree + 1) / degree)) / 2
    return tuple(np.polynomial.polynomial.polyfit(nodes, 2.0**nodes, degree).tolist())


def schraudolph(x: Array) -> Array:
    """The exponent bits of a float32, filled linearly (Schraudolph 1999)."""
    y = np.clip(x.astype(np.float64) * LOG2E, -126, 127)
    bits = ((y + 127) * 2**23 - 366393).astype(np.int64).astype(np.int32)
    return np.where(x == -np.inf, 0, bits.view(np.float32)).astype(x.dtype)


def short_ln2(x: Array) -> Array:
    """exp by 2^k·e^(x − k ln 2), of Cody and Waite's two parts of ln 2 the first alone."""
    k = np.floor(np.maximum(x.astype(np.float64), -1000.0) * LOG2E + 0.5)
    rest = np.maximum(x, -1000.0) - k * 0.693145751953125
    return np.where(x == -np.inf, 0.0, np.ldexp(np.exp(rest), k.astype(int))).astype(x.dtype)


def cast_to(query: Any = None, key: Any = None, value: Any = None) -> Callable[..., tuple[Array, Array, Array]]:
    """Operands rounded to shorter types."""

    def operands(q: Array, k: Array, v: Array) -> tuple[Array, Array, Array]:
        types = (query, key, value)
        return tuple(x if t is None else rounded_to(x, t) for x, t in zip((q, k, v), types, strict=True))  # type: ignore[return-value]

    return operands


def half_products(dtype: Any) -> Callable[[Array, Array, float], Array]:
    """The raw product is held in a short type before it is scaled."""
    return lambda q, k, scale: rounded_to(q @ k.T, dtype) * q.dtype.type(scale)


def two_bfloat16(q: Array, k: Array, scale: float) -> Array:
    """Each operand a sum of two bfloat16 numbers; the product of the two small ones is left out."""
    high_q, high_k = rounded_to(q, BFLOAT16), rounded_to(k, BFLOAT16)
    low_q, low_k = rounded_to(q - high_q, BFLOAT16), rounded_to(k - high_k, BFLOAT16)
    return (high_q @ high_k.T + (high_q @ low_k.T + low_q @ high_k.T)) * q.dtype.type(scale)


def accumulated_products(dtype: Any) -> Callable[[Array, Array, float], Array]:
    """Dot products accumulated in a short type."""

    def score(q: Array, k: Array, scale: float) -> Array:
        s = np.zeros((q.shape[0], k.shape[0]), q.dtype)
        for c in range(q.shape[1]):
            s = rounded_to(s + q[:, c, None] * k[None, :, c], dtype)
        return s * q.dtype.type(scale)

    return score


def short_scores(dtype: Any) -> Callable[[Array, Task, tuple[int, int]], Array]:
    """Finished scores stored in a short type."""
    return lambda s, task, at: rounded_to(task.finished(s, at), dtype)


def finish_with(*, bias_first: bool = False, bias_factor: Callable[[float], float] = lambda scale: 1.0) -> Any:
    def finish(s: Array, task: Task, at: tuple[int, int]) -> Array:
        bias = s.dtype.type(0)
        if task.bias is not None:
            bias = np.broadcast_to(task.bias, task.shape)[at].astype(s.dtype)
            bias = np.where(np.isfinite(bias), bias, 0) * s.dtype.type(bias_factor(task.scale))
        if bias_first:
            s = s + bias
        if task.softcap is not None:
            s = s.dtype.type(task.softcap) * np.tanh(s / s.dtype.type(task.softcap))
        return s if bias_first else s + bias

    return finish


def cap_then_scale(task: Task) -> tuple[Array, Array]:
    """c·tanh(⟨q, k⟩/c)·scale."""
    if task.softcap is None:
        return attention(task, RIGHT)
    cap, scale = task.work(task.softcap), task.work(task.scale)

    def score(q: Array, k: Array, _: float) -> Array:
        return cap * np.tanh((q @ k.T) / cap) * scale

    return attention(replace(task, softcap=None), replace(RIGHT, score=score))


def in_float32(task: Task) -> tuple[Array, Array]:
    return attention(
        replace(task, **{n: getattr(task, n).astype(np.float32) for n in ("query", "key", "value")}), RIGHT
    )


def eagerly(dtype: Any) -> Callable[..., Any]:
    """Scores and normalised probabilities stored in half precision, in a kernel that claims float32 inside."""

    def engine(task: Task) -> tuple[Array, Array]:
        normalised: dict[str, Any] = {
            "score": lambda q, k, scale: rounded_to(rounded_to(q @ k.T, dtype) * q.dtype.type(scale), dtype),
            "weights": lambda e: rounded_to(e / e.sum(axis=1, keepdims=True), dtype),
            "total": lambda e: np.ones_like(e[:, :1]),
        }
        return attention(replace(task, sink=None), replace(RIGHT, **normalised))

    return called(engine)


def scaled_as(change: Callable[[float, int], float]) -> Callable[..., Any]:
    return asked_as(lambda task: replace(task, scale=change(task.scale, task.query.shape[3])))


def padded(d: int, to: int) -> int:
    return -(-d // to) * to


def global_maximum(s: Array) -> Array:
    return np.full_like(s[:, :1], s.max())


def no_maximum(s: Array) -> Array:
    """Zero, or −inf for an empty row."""
    return np.where(s.max(axis=1, keepdims=True) > -np.inf, s.dtype.type(0), s.dtype.type(-np.inf))


def output_rounding(change: Callable[[Array], Array]) -> Callable[..., Any]:
    """The float32 output is shortened another way before it is stored."""

    def engine(task: Task) -> tuple[Array, Array]:
        out, lse = attention(task, RIGHT)
        return change(out), lse

    return called(engine)


def skipping_small(threshold: float) -> Callable[[Array], Array]:
    return lambda e: np.where(e < e.dtype.type(threshold), e.dtype.type(0), e)


def scaled_in(dtype: Any) -> Callable[[Array, Array, float], Array]:
    """scale·Q is stored in a short type before the product."""
    return lambda q, k, scale: rounded_to(q * q.dtype.type(scale), dtype) @ k.T


def scale_rounded(dtype: Any) -> Callable[..., Any]:
    return scaled_as(lambda scale, d: float(np.array(scale).astype(dtype)))


def shared_maximum(task: Task) -> tuple[Array, Array]:
    """One maximum for the heads of a batch: scores far below another head's underflow."""
    seen, w = task.visible(), task.work
    out, lse = task.blank()
    for b in range(task.shape[0]):
        scores = {}
        for at, q, k, v in task.heads():
            if at[0] == b:
                s = task.finished((q @ k.T) * w(task.scale), at)
                scores[at] = np.where(seen[at], s, w(-np.inf)), v
        top = max((float(s.max()) for s, _ in scores.values()), default=0.0)
        for at, (s, v) in scores.items():
            e = np.exp(s - w(top if top > -np.inf else 0.0))
            sink = w(0) if task.sink is None else np.exp(w(task.sink[at[1]]) - w(top))
            d = e.sum(axis=1, keepdims=True) + sink
            out[at] = np.where(d > 0, task.rounded(e) @ v / d, 0)
            lse[at] = (np.log(d) + w(top))[:, 0]
    return out, lse


def tanh_by_exponentials(s: Array, task: Task, at: tuple[int, int]) -> Array:
    """tanh x as (e^2x − 1)/(e^2x + 1), which is NaN where e^2x overflows."""
    if task.softcap is None:
        return task.finished(s, at)
    cap = s.dtype.type(task.softcap)
    grown = np.exp(2 * s / cap)
    return replace(task, softcap=None).finished(cap * (grown - 1) / (grown + 1), at)


def hidden_before_scale(task: Task) -> tuple[Array, Array]:
    """A causal mask is −inf before the scale, and −inf times 0 is NaN."""
    if task.causal is None or task.scale > 0:
        return attention(task, RIGHT)
    out, lse = attention(task, RIGHT)
    hidden = ~task.visible().all(axis=3)
    out[hidden], lse[hidden] = np.nan, np.nan
    return out, lse


def running_mean(dtype: Any, tile: int = 16) -> Callable[[Array, Array], Array]:
    """p V as a mean that is stored in a short type after every tile of keys, times the sum of the weights."""

    def mixed(p: Array, v: Array) -> Array:
        mean, total = np.zeros((p.shape[0], v.shape[1]), p.dtype), np.zeros((p.shape[0], 1), p.dtype)
        for j in range(0, p.shape[1], tile):
            weight = p[:, j : j + tile].sum(axis=1, keepdims=True)
            total = total + weight
            part = p[:, j : j + tile] @ v[j : j + tile]
            mean = rounded_to(mean + (part - weight * mean) / np.where(total > 0, total, 1), dtype)
        return mean * total

    return mixed


def dropout_on(e: Array) -> Array:
    """A tenth of the weights is dropped, and the others grow, as in training."""
    keep = np.random.default_rng(e.size).random(e.shape) >= 0.1
    return np.where(keep, e / e.dtype.type(0.9), e.dtype.type(0))


def normalised_first(task: Task) -> tuple[Array, Array]:
    """Weights are divided by their sum before they are rounded to the short type."""

    def weights(e: Array) -> Array:
        total = e.sum(axis=1, keepdims=True)
        return e / np.where(total > 0, total, 1)

    return attention(task, replace(RIGHT, weights=weights, divide=lambda n, d: n))
