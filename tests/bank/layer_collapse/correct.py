"""Correct stacks of unusual structure: the judge must pass every one, in every class that it names."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bank.entry import Entry
from bank.layer_collapse.engine import ACTIVATIONS, Array, Steps, Task, kernel, product, stacked

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CORRECT"]

ONCE = ("float32", "float64", "bfloat16", "float16")
SINGLE = ("float32", "bfloat16")


# --- attention --------------------------------------------------------------------------------------------------------


def _online(t: Task, s: Steps, layer: int, y: Array) -> tuple[Array, Array]:
    """Sums over tiles of three keys that are rescaled when a larger score comes; the division comes last."""
    q, k, v = (Steps.projected(t, s, name, layer, y) for name in ("query", "key", "value"))
    k, v, seen = s.shared(t, k), s.shared(t, v), s.visible(t, len(y))
    top = np.full((t.heads, len(y), 1), -np.inf, y.dtype)
    total, out = np.zeros_like(top), np.zeros((t.heads, len(y), v.shape[2]), y.dtype)
    for start in range(0, len(y), 3):
        tile = slice(start, start + 3)
        scores = np.where(seen[:, tile], t.work(t.scale) * (q @ k[:, tile].swapaxes(1, 2)), -np.inf)
        new = np.maximum(top, scores.max(axis=2, keepdims=True))
        safe = np.where(np.isfinite(new), new, 0)
        weight, old = np.exp(scores - safe), np.exp(top - safe)
        total, out, top = total * old + weight.sum(axis=2, keepdims=True), out * old + weight @ v[:, tile], new
    return np.broadcast_to(np.eye(len(y), dtype=y.dtype), (t.heads, len(y), len(y))), out / total


def _roots(t: Task, s: Steps, name: str, layer: int, y: Array) -> Array:
    """√|σ| on queries and keys each, as diffusion models have it, and the sign on the keys."""
    out = Steps.projected(t, s, name, layer, y)
    if name == "value":
        return out
    return np.asarray(out * t.work(math.sqrt(abs(t.scale)) * (-1 if t.scale < 0 and name == "key" else 1)))


def _unscaled(t: Task, layer: int) -> float:
    return 1.0


def _base_two(t: Task, scores: Array) -> Array:
    """Powers of two of scores times log₂ e."""
    scaled = scores * t.work(math.log2(math.e))
    weights = np.exp2(scaled - scaled.max(axis=-1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


def _value_bias_last(t: Task, s: Steps, layer: int, y: Array) -> Array:
    """The weights of a row add up to 1, so that the bias of the values may be added to their mean."""
    bias = t.at("value_bias", layer)
    p, v = s.weighed(t.change(value_bias=None), s, layer, y)
    heads = s.product(p, v)
    heads = heads if bias is None else heads + s.shared(t, bias[:, None])
    out = s.out(t, s, layer, heads)
    return out if t.output_bias is None else out + t.at("output_bias", layer)


def _concatenated(t: Task, s: Steps, layer: int, heads: Array) -> Array:
    """(n, h·v) times the output weights of all heads as one matrix."""
    weights = t.at("output_weights", layer)
    if weights is None:
        return Steps.out(t, s, layer, heads)
    h, n, v = heads.shape
    return np.asarray(heads.swapaxes(0, 1).reshape(n, h * v) @ weights.reshape(h * v, -1))


def _in_turn(t: Task, s: Steps, layer: int, heads: Array) -> Array:
    """Heads added one after the other, the last one first."""
    weights = t.at("output_weights", layer)
    total = np.zeros((heads.shape[1], t.tokens.shape[1]), heads.dtype)
    for h in reversed(range(len(heads))):
        total = total + (heads[h] if weights is None else heads[h] @ weights[h])
    return total


def _fused(t: Task, s: Steps, name: str, layer: int, y: Array) -> Array:
    """One product for queries, keys and values of all heads, which is cut rightly."""
    parts = [getattr(t, one)[layer] for one in ("query", "key", "value")]
    weights = np.concatenate([x.swapaxes(0, 1).reshape(x.shape[1], -1) for x in parts], axis=1)
    widths = np.cumsum([x.shape[0] * x.shape[2] for x in parts])[:-1]
    place = ("query", "key", "value").index(name)
    heads, _, k = parts[place].shape
    out = np.split(y @ weights, widths, axis=1)[place].reshape(len(y), heads, k).swapaxes(0, 1)
    bias = t.at(f"{name}_bias", layer)
    return np.asarray(out if bias is None else out + bias[:, None])


def _finite_mask(t: Task, s: Steps, layer: int, y: Array) -> tuple[Array, Array]:
    """−10⁹ added where a token does not attend: its exponential is 0."""
    q, k, v = (s.projected(t, s, name, layer, y) for name in ("query", "key", "value"))
    k, v = s.shared(t, k), s.shared(t, v)
    scores = t.work(t.scale) * (q @ k.swapaxes(1, 2))
    return s.softmax(t, np.where(s.visible(t, len(y)), scores, t.work(-1e9))), v


# --- norms and activations --------------------------------------------------------------------------------------------


def _reciprocal(t: Task, x: Array, epsilon: float) -> Array:
    """The reciprocal of the root, and one product for a number."""
    y = x - x.mean(axis=-1, keepdims=True) if t.norm == "layer" else x
    return np.asarray(y * (1 / np.sqrt((y * y).mean(axis=-1, keepdims=True) + t.work(epsilon))))


def _two_moments(t: Task, x: Array, epsilon: float) -> Array:
    """The variance as the mean square less the square of the mean, as in fused kernels of many libraries."""
    if t.norm != "layer":
        return _reciprocal(t, x, epsilon)
    mean = x.mean(axis=-1, keepdims=True)
    variance = np.maximum((x * x).mean(axis=-1, keepdims=True) - mean * mean, 0)
    return np.asarray((x - mean) / np.sqrt(variance + t.work(epsilon)))


def _welford(t: Task, x: Array, epsilon: float) -> Array:
    """Mean and variance in one pass, updated number by number."""
    if t.norm != "layer":
        return _reciprocal(t, x, epsilon)
    mean, total = np.zeros((len(x), 1), x.dtype), np.zeros((len(x), 1), x.dtype)
    for count in range(x.shape[1]):
        delta = x[:, count : count + 1] - mean
        mean = mean + delta / t.work(count + 1)
        total = total + delta * (x[:, count : count + 1] - mean)
    return np.asarray((x - mean) / np.sqrt(total / t.work(x.shape[1]) + t.work(epsilon)))


def _merged(t: Task, x: Array, epsilon: float) -> Array:
    """Mean and variance of halves, and of their halves, merged two by two."""
    if t.norm != "layer":
        return _reciprocal(t, x, epsilon)

    def moments(part: Array) -> tuple[Array, Array]:
        n = part.shape[1]
        if n == 1:
            return part, np.zeros_like(part)
        (mean, total), (other, more) = moments(part[:, : n - n // 2]), moments(part[:, n - n // 2 :])
        share, off = t.work(n // 2 / n), other - mean
        return mean + off * share, total + more + off * off * share * t.work(n - n // 2)

    mean, total = moments(x)
    return np.asarray((x - mean) / np.sqrt(total / t.work(x.shape[1]) + t.work(epsilon)))


def _erfc_gelu(x: Array) -> Array:
    wide = x.astype(np.float64)
    half = np.vectorize(math.erfc, otypes=[np.float64])(-wide / math.sqrt(2)) / 2
    return np.asarray((wide * half).astype(x.dtype))


def _stable_sigmoid(x: Array) -> Array:
    small = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, 1 / (1 + small), small / (1 + small)))


_OTHER = {"gelu": _erfc_gelu, "silu": lambda x: x * _stable_sigmoid(x)}


def _short_stream(t: Task, place: str, layer: int, x: Array, out: Array) -> Array:
    """Sums along the skip connections in the type of the tokens, as they lie between two kernels of a GPU."""
    return np.asarray((x + out if t.skip else out).astype(t.stored).astype(x.dtype))


def _ten_bits(x: Array) -> Array:
    """float32 with 10 bits after the point, rounded to nearest, as tensor cores take it in tf32."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return np.asarray(((bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32))


# --- whole kernels ----------------------------------------------------------------------------------------------------


def _wide(t: Task, s: Steps) -> Array:
    """Everything in float64, rounded once."""
    arrays = {n: x.astype(np.float64) for n, x in t.more.items() if isinstance(x, np.ndarray) and x.dtype != bool}
    main = {n: getattr(t, n).astype(np.float64) for n in ("tokens", "query", "key", "value")}
    return stacked(replace(t, **main, more={**t.more, **arrays}), s)


def _threaded(t: Task, s: Steps) -> Array:
    """Tokens of a layer in two halves, by two threads, where there is no mask to cut."""
    if t.causal or t.mask is not None or len(t.tokens) < 2:
        return stacked(t, s)

    def attention(t: Task, s: Steps, layer: int, y: Array) -> Array:
        def rows(part: slice) -> Array:
            def projected(t: Task, s: Steps, name: str, layer: int, y: Array) -> Array:
                return Steps.projected(t, s, name, layer, y[part] if name == "query" else y)

            steps = replace(s, projected=projected, visible=lambda t, n: np.ones((1, n), bool))
            return Steps.attention(t, steps, layer, y)

        middle = len(y) // 2
        with ThreadPoolExecutor(2) as pool:
            return np.concatenate(list(pool.map(rows, [slice(0, middle), slice(middle, None)])))

    return stacked(t, replace(s, attention=attention))


def _eager(t: Task, s: Steps) -> Array:
    """The result of every operation in the type of the tokens."""
    kind = t.stored

    def short(x: Array) -> Array:
        return np.asarray(x.astype(kind).astype(x.dtype))

    def projected(t: Task, s: Steps, name: str, layer: int, y: Array) -> Array:
        out = short(y @ getattr(t, name)[layer])
        bias = t.at(f"{name}_bias", layer)
        return out if bias is None else short(out + bias[:, None])

    def out(t: Task, s: Steps, layer: int, heads: Array) -> Array:
        return short(_concatenated(t, s, layer, heads))

    steps = Steps(
        product=lambda a, b: short(product(a, b)),
        projected=projected,
        softmax=lambda t, scores: short(Steps.softmax(t, short(scores))),
        out=out,
        normalised=lambda t, x, epsilon: short(Steps.normalised(t, x, epsilon)),
        gained=lambda t, x, gain: short(x * gain),
        activation=lambda t: lambda x: short(ACTIVATIONS[t.activation](x)),
        joined=lambda t, place, layer, x, out: short(x + out) if t.skip else out,
    )
    return stacked(t, steps)


def _bare(tokens: Array, query_weights: Array, key_weights: Array, value_weights: Array, *, scale: float) -> Any:
    """Skip connections and nothing else."""
    return kernel(Steps())(tokens, query_weights, key_weights, value_weights, scale=scale)


def _causal_alone(
    tokens: Array, query_weights: Array, key_weights: Array, value_weights: Array, *, scale: float, causal: bool = True
) -> Any:
    return kernel(Steps())(tokens, query_weights, key_weights, value_weights, scale=scale, causal=causal)


def _cached() -> Callable[..., Any]:
    """Weights in the type of the work, kept under everything that they are."""
    kept: dict[Any, Any] = {}

    def task(t: Task) -> Task:
        key = (t.query.shape, t.query.tobytes(), t.work)
        return t.change(query=kept.setdefault(key, t.query))

    return kernel(Steps(task=task))


CORRECT: tuple[Entry, ...] = (
    Entry("plain", kernel(Steps()), ONCE, "the formula, in the type of the work"),
    Entry("double", kernel(Steps(), _wide), ONCE, "float64 inside, rounded once"),
    Entry("online", kernel(Steps(weighed=_online)), SINGLE, "an online softmax over tiles of three tokens"),
    Entry("fourth-roots", kernel(Steps(projected=_roots, scale=_unscaled)), ("float32", "float16"), "the root of the scale on queries and keys each: no wrong scale", "openai/improved-diffusion#54"),
    Entry("base-two", kernel(Steps(softmax=_base_two)), ("float32",), "exponentials to the base 2"),
    Entry("no-key-bias", kernel(Steps(task=lambda t: t.change(key_bias=None))), ("float32", "float64"), "without the bias of the keys, which adds the same number to all scores of a token"),
    Entry("value-bias-last", kernel(Steps(attention=_value_bias_last)), SINGLE, "the bias of the values added to their mean"),
    Entry("concatenated", kernel(Steps(out=_concatenated)), ("float32", "float16"), "heads joined, one output matrix"),
    Entry("heads-in-turn", kernel(Steps(out=_in_turn)), ("float32",), "heads added one by one, the last first"),
    Entry("fused", kernel(Steps(projected=_fused)), ("float32", "bfloat16"), "one projection for queries, keys and values"),
    Entry("finite-mask", kernel(Steps(weighed=_finite_mask)), ("float32",), "masked scores of −10⁹"),
    Entry("reciprocal", kernel(Steps(normalised=_reciprocal)), ("float32", "float16"), "norms by a reciprocal root"),
    Entry("two-moments", kernel(Steps(normalised=_two_moments)), ("float32", "bfloat16"), "a variance that is the difference of two moments: where tokens are far from 0, nothing is judged"),
    Entry("welford", kernel(Steps(normalised=_welford)), ("float32", "bfloat16"), "mean and variance in one pass"),
    Entry("merged", kernel(Steps(normalised=_merged)), ("float32", "bfloat16"), "mean and variance of halves, merged"),
    Entry("other-activations", kernel(Steps(activation=lambda t: _OTHER.get(t.activation, ACTIVATIONS[t.activation]))), ("float32",), "gelu by erfc, sigmoid by the exponential of −|x|"),
    Entry("stream", kernel(Steps(joined=_short_stream)), ("bfloat16", "float16"), "tokens between the sub-layers in their own type"),
    Entry("gain-last", kernel(Steps(gained=lambda t, x, gain: x.astype(t.stored).astype(x.dtype) * gain)), ("bfloat16", "bfloat16-eager"), "the gain multiplied after a rounding to the type of the tokens, as in Llama", "InternLM/lmdeploy#2842"),
    Entry("ten-bits", kernel(Steps(product=lambda a, b: product(_ten_bits(a), _ten_bits(b)))), ("tf32",), "operands of 10 bits after the point"),
    Entry("threads", kernel(Steps(), _threaded), ("float32",), "queries in two halves, by threads"),
    Entry("eager", kernel(Steps(), _eager), ("bfloat16-eager", "float16-eager"), "every operation stored in the type of the tokens"),
    Entry("post-norm", kernel(Steps()), ("float32",), "post-norm alone: norm(x + f(x)) is no skip connection after the norm", "LiyuanLucasLiu/Transformer-Clinic#27", {"pre_norm": "no"}),
    Entry("bare", _bare, ("float32", "float64"), "no options at all"),
    Entry("causal", _causal_alone, ("float32",), "causal alone, declared", options={"full_attention": "no"}),
    Entry("cached", _cached(), ("float32",), "weights kept between calls under the right key"),
)  # fmt: skip
