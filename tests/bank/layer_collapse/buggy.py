"""Wrong stacks: each re-creates the behaviour of a defect that shipped (the source names the issue) or a planted one."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

from bank.entry import Entry
from bank.layer_collapse.engine import (
    ACTIVATIONS,
    Array,
    Steps,
    Task,
    branch,
    kernel,
    normalised,
    product,
    softmax,
    stacked,
    visible,
)

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BUGGY"]

F32 = ("float32",)
OLD, NEW = "assay's bank", "planted"


# --- what is asked for ------------------------------------------------------------------------------------------------


def _task(**changes: Any) -> Steps:
    """Another task than the one that was asked: fields by name, each a value or a function of the task.

    A field that was not asked for stays so.
    """

    def task(t: Task) -> Task:
        new = {name: value(t) if callable(value) else value for name, value in changes.items()}
        return t.change(**{name: value for name, value in new.items() if getattr(t, name) is not None})

    return Steps(task=task)


def _where(condition: Callable[[Task], bool], steps: Steps) -> Callable[..., Any]:
    """A kernel that is wrong where a condition holds alone."""
    return kernel(Steps(), lambda t, right: stacked(t, steps if condition(t) else right))


def _turned(name: str) -> Callable[[Task], Array]:
    """A square matrix read as its transpose; another one by rows where it is stored by columns."""

    def turned(t: Task) -> Array:
        x = getattr(t, name)
        return np.asarray(x.swapaxes(-1, -2).reshape(x.shape))

    return turned


#: Keywords of arrays that every layer has.
_LAYERED = (
    *("query", "key", "value", "output_weights", "query_bias", "key_bias", "value_bias", "output_bias"),
    *("attention_norm_gain", "attention_norm_bias", "mlp_norm_gain", "mlp_norm_bias", "up_weights", "up_bias"),
    *("gate_weights", "down_weights", "down_bias"),
)


def _first_layer(t: Task) -> Task:
    """One layer's weights in every layer, as a list of one module, repeated, has them."""
    same = {name: getattr(t, name) for name in _LAYERED if getattr(t, name) is not None}
    return t.change(**{name: np.repeat(x[:1], t.layers, axis=0) for name, x in same.items()})


# --- heads ------------------------------------------------------------------------------------------------------------


def _cut_without_transpose(*names: str) -> Steps:
    """(n, heads·k) reshaped to (heads, n, k), of projections of these names."""

    def projected(t: Task, s: Steps, name: str, layer: int, y: Array) -> Array:
        out = Steps.projected(t, s, name, layer, y)
        heads, n, d = out.shape
        return out.swapaxes(0, 1).reshape(heads, n, d) if name in names else out

    return Steps(projected=projected)


def _join_without_transpose(t: Task, s: Steps, layer: int, heads: Array) -> Array:
    """(heads, n, v) reshaped to (n, heads·v) before the output weights."""
    h, n, v = heads.shape
    return Steps.out(t, s, layer, heads.reshape(n, h, v).swapaxes(0, 1))


def _fused(order: str) -> Steps:
    """The fused projection is cut in another order than it was stacked: which one is taken for query, key and value.

    Only where the three are of one shape.
    """
    names = dict(zip(("query", "key", "value"), order.split(), strict=True))

    def projected(t: Task, s: Steps, name: str, layer: int, y: Array) -> Array:
        same = t.query.shape == t.key.shape == t.value.shape
        return Steps.projected(t, s, names[name] if same else name, layer, y)

    return Steps(projected=projected)


def _interleaved(t: Task) -> Task:
    """Rows that are stacked as (query, key, value) head by head, and cut as all queries, all keys, all values."""
    if not t.query.shape == t.key.shape == t.value.shape:
        return t
    layers, h, d, k = t.query.shape
    stacks = np.stack([t.query, t.key, t.value], axis=2).reshape(layers, 3, h, d, k)
    return t.change(query=stacks[:, 0], key=stacks[:, 1], value=stacks[:, 2])


def _cut_by_head(t: Task) -> Task:
    """All queries, all keys, all values, as they lie in a fused projection, cut as (query, key, value) head by head."""
    if not t.query.shape == t.key.shape == t.value.shape:
        return t
    changes: dict[str, Array] = {}
    for names in (("query", "key", "value"), ("query_bias", "key_bias", "value_bias")):
        arrays = [getattr(t, name) for name in names]
        if any(x is None for x in arrays):
            continue
        layers, h, *rest = arrays[0].shape
        cut = np.stack(arrays, axis=1).reshape(layers, h, 3, *rest)
        changes |= {name: cut[:, :, place] for place, name in enumerate(names)}
    return t.change(**changes)


def _every_head(t: Task, heads: Array) -> Array:
    """Keys repeated in the order of tiles: query head a has those of a modulo their number."""
    return np.tile(heads, (t.heads // len(heads), 1, 1))


def _permuted_as_full(t: Task) -> Task:
    """Rows of the key weights permuted as those of all query heads are: those of the wrong head."""
    if t.key.shape[1] == t.heads or t.key.shape[1] == 1:
        return t
    return t.change(key=t.key[:, ::-1])


# --- causality --------------------------------------------------------------------------------------------------------


def _seen(change: Callable[[Task, Array], Array]) -> Steps:
    """Another mask; a token that would see none sees the first."""

    def seen(t: Task, n: int) -> Array:
        allowed = change(t, visible(t, n)).copy()
        allowed[~allowed.any(axis=1), 0] = True
        return allowed

    return Steps(visible=seen)


def _diagonal(offset: int) -> Steps:
    return _seen(lambda t, seen: np.tri(len(seen), k=offset, dtype=bool) if t.causal else seen)


def _after_softmax(t: Task, s: Steps, layer: int, y: Array) -> tuple[Array, Array]:
    """Masked weights are set to 0 after the softmax, without dividing again."""
    p, v = Steps.weighed(t.change(causal=False, mask=None), s, layer, y)
    return np.where(visible(t, len(y)), p, 0), v


def _finite_mask(masked: Callable[[Array], Any]) -> Steps:
    """Another number in the place of −∞."""

    def weighed(t: Task, s: Steps, layer: int, y: Array) -> tuple[Array, Array]:
        q, k, v = (s.projected(t, s, name, layer, y) for name in ("query", "key", "value"))
        k, v = s.shared(t, k), s.shared(t, v)
        scores = t.work(s.scale(t, layer)) * s.product(q, k.swapaxes(1, 2))
        return s.softmax(t, np.where(visible(t, len(y)), scores, masked(scores)).astype(scores.dtype)), v

    return Steps(weighed=weighed)


# --- norms ------------------------------------------------------------------------------------------------------------


def _even_squares(t: Task, x: Array, epsilon: float) -> Array:
    """The squares of whole pairs."""
    y, d = _about_mean(t, x), x.shape[-1]
    kept = y[..., : d - d % 2] if d > 1 else y
    return np.asarray(y / np.sqrt((kept * kept).mean(-1, keepdims=True) + t.work(epsilon)))


def _largest_variance(t: Task, x: Array, epsilon: float) -> Array:
    y = _about_mean(t, x)
    return np.asarray(y / np.sqrt(np.maximum((y * y).mean(-1, keepdims=True), t.work(epsilon))))


def _pre(t: Task) -> bool:
    return t.norm is not None and t.norm_place == "pre"


def _skip_after_norm(t: Task, s: Steps, place: str, layer: int, x: Array) -> Array:
    """norm(x) + f(norm(x))."""
    if not _pre(t):
        return branch(t, s, place, layer, x)
    y = s.norm(t, s, place, layer, x)
    return s.joined(t, place, layer, y, (s.attention if place == "attention" else s.mlp)(t, s, layer, y))


def _norm_of_branch(t: Task, s: Steps, place: str, layer: int, x: Array) -> Array:
    """x + norm(f(x)), where norm(x + f(x)) was asked for."""
    if t.norm is None or t.norm_place != "post":
        return branch(t, s, place, layer, x)
    made = (s.attention if place == "attention" else s.mlp)(t, s, layer, x)
    return s.joined(t, place, layer, x, s.norm(t, s, place, layer, made))


def _unbiased(t: Task, x: Array, epsilon: float) -> Array:
    """The standard deviation with d − 1, and epsilon added to it."""
    if t.norm != "layer" or x.shape[-1] < 2:
        return normalised(t, x, epsilon)
    return np.asarray((x - x.mean(-1, keepdims=True)) / (x.std(-1, ddof=1, keepdims=True) + t.work(epsilon)))


def _about_mean(t: Task, x: Array) -> Array:
    return np.asarray(x - x.mean(-1, keepdims=True) if t.norm == "layer" else x)


def _outside_root(t: Task, x: Array, epsilon: float) -> Array:
    y = _about_mean(t, x)
    return np.asarray(y / (np.sqrt((y * y).mean(-1, keepdims=True)) + t.work(epsilon)))


def _largest_of(t: Task, x: Array, epsilon: float) -> Array:
    """The larger of the root mean square and epsilon."""
    y = _about_mean(t, x)
    return np.asarray(y / np.maximum(np.sqrt((y * y).mean(-1, keepdims=True)), t.work(epsilon)))


def _of_norm(kind: str) -> Steps:
    """The other norm."""
    return Steps(normalised=lambda t, x, e: normalised(t.change(norm=kind), x, e))


def _over_tokens(t: Task, x: Array, epsilon: float) -> Array:
    return np.asarray(normalised(t, x.T, epsilon).T)


def _sum_of_squares(t: Task, x: Array, epsilon: float) -> Array:
    """The norm, not the root of the mean square."""
    y = _about_mean(t, x)
    return np.asarray(y / np.sqrt((y * y).sum(-1, keepdims=True) + t.work(epsilon)))


def _final_everywhere(t: Task, s: Steps, after: list[Array]) -> Array:
    return np.stack([s.norm(t, s, "final", -1, x) for x in after] if t.final_norm else after)


def _last_gain(t: Task) -> Task:
    """The final norm with the parameters of the last layer's own."""
    if not t.final_norm:
        return t
    last = {part: t.more.get(f"attention_norm_{part}") for part in ("gain", "bias")}
    return t.change(**{f"final_norm_{part}": None if x is None else x[-1] for part, x in last.items()})


def _shared_norm(t: Task, s: Steps, place: str, layer: int, x: Array) -> Array:
    """The first norm of a layer in both places."""
    return Steps.norm(t, s, "attention" if place == "mlp" else place, layer, x)


def _second_norm(t: Task, s: Steps, place: str, layer: int, x: Array) -> Array:
    """The second norm of a layer in both places, where there is an MLP."""
    return Steps.norm(t, s, "mlp" if place == "attention" and t.up_weights is not None else place, layer, x)


def _first_gain(t: Task) -> Task:
    """The gain of the first layer's first norm in every layer."""
    gain = t.attention_norm_gain
    return t if gain is None else t.change(attention_norm_gain=np.repeat(gain[:1], t.layers, axis=0))


def _keys_un_normed(t: Task, s: Steps, place: str, layer: int, x: Array) -> Array:
    """Keys of the tokens as they are, queries and values of the normalised ones."""
    if place == "mlp" or not _pre(t):
        return branch(t, s, place, layer, x)

    def projected(t: Task, s: Steps, name: str, layer: int, y: Array) -> Array:
        return Steps.projected(t, s, name, layer, x if name == "key" else y)

    return branch(t, replace(s, projected=projected), place, layer, x)


def _bias_with_gain(t: Task) -> Task:
    """A norm that has no gain has no bias either."""
    places = ("attention", "mlp", "final")
    return t.change(**{f"{place}_norm_bias": None for place in places if getattr(t, f"{place}_norm_gain") is None})


def _values_of_head_dim(t: Task, s: Steps, layer: int, heads: Array) -> Array:
    """Values beyond the head dim left out, in networks with a gate."""
    kept = np.arange(heads.shape[2]) < (t.query.shape[3] if t.gate_weights is not None else heads.shape[2])
    return Steps.out(t, s, layer, heads * kept)


# --- halves of a layer ------------------------------------------------------------------------------------------------


def _parallel(t: Task, s: Steps, layer: int, x: Array) -> Array:
    """x + attention(norm(x)) + mlp(norm(x)): both halves from the same tokens."""
    if t.up_weights is None or not t.skip or t.norm_place == "post":
        return Steps.layer(t, s, layer, x)
    return np.asarray(branch(t, s, "attention", layer, x) + branch(t, s, "mlp", layer, x) - x)


def _mlp_first(t: Task, s: Steps, layer: int, x: Array) -> Array:
    x = x if t.up_weights is None else s.branch(t, s, "mlp", layer, x)
    return s.branch(t, s, "attention", layer, x)


def _no_skip(*places: str) -> Steps:
    return Steps(joined=lambda t, place, layer, x, out: x + out if t.skip and place not in places else out)


def _scaled_branch(factor: Callable[[Task, int], float]) -> Steps:
    """x + factor·f(x)."""
    return Steps(joined=lambda t, place, layer, x, out: x + t.work(factor(t, layer)) * out if t.skip else out)


def _activated(name: str, *asked: str) -> Steps:
    """One activation where others are asked for."""
    return Steps(activation=lambda t: ACTIVATIONS[name if t.activation in asked else t.activation])


# --- memory, state, sizes ---------------------------------------------------------------------------------------------


def _whole_tiles(tile: int) -> Steps:
    """Keys beyond whole tiles are left out, where there is a whole one."""
    return _seen(lambda t, seen: seen & (np.arange(len(seen)) < (len(seen) // tile * tile or len(seen))))


def _tokens_left(tile: int) -> Callable[..., Any]:
    """Tokens beyond whole tiles come out as they went in."""

    def after(t: Task, out: Array) -> Array:
        whole = out.shape[1] // tile * tile or out.shape[1]
        rest = np.broadcast_to(t.tokens[whole:], (len(out), *t.tokens[whole:].shape))
        return np.concatenate([out[:, :whole], rest], axis=1)

    return kernel(Steps(), after=after)


def _kept_by_shape() -> Callable[..., Any]:
    """Query and key weights that are kept under their shape alone."""
    kept: dict[Any, Any] = {}

    def task(t: Task) -> Task:
        query, key = kept.setdefault((t.query.shape, t.key.shape, t.stored), (t.query.copy(), t.key.copy()))
        return t.change(query=query, key=key)

    return kernel(Steps(task=task))


def _shared_workspace() -> Callable[..., Any]:
    space: dict[Any, Array] = {}

    def after(t: Task, out: Array) -> Array:
        shared = space.setdefault(out.shape, np.empty_like(out))
        for token in range(out.shape[1]):
            time.sleep(0.0005)  # a compiled kernel lets other threads run
            shared[:, token] = out[:, token]
        return shared.copy()

    return kernel(Steps(), after=after)


def _in_place(t: Task, out: Array) -> Array:
    t.given[...] = out[-1].astype(t.stored)
    return out


# --- arithmetic -------------------------------------------------------------------------------------------------------


def _short(x: Array, dtype: Any) -> Array:
    return np.asarray(x.astype(dtype).astype(x.dtype))


def _short_scores(dtype: Any) -> Steps:
    return Steps(softmax=lambda t, scores: softmax(t, _short(scores, dtype)))


def _short_products(dtype: Any) -> Steps:
    return Steps(product=lambda a, b: product(_short(a, dtype), _short(b, dtype)))


def _naive_softmax(t: Task, scores: Array) -> Array:
    weights = np.exp(scores)
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


def _squares_in_half(t: Task, x: Array, epsilon: float) -> Array:
    """The squares, which overflow, in the type of the tokens."""
    y = _about_mean(t, x)
    squares = (y.astype(t.stored) * y.astype(t.stored)).astype(x.dtype)
    return np.asarray(y / np.sqrt(squares.mean(-1, keepdims=True) + t.work(epsilon)))


_BF16 = ml_dtypes.bfloat16
_HALF = np.float16

#: name, bug, what is wrong, words of the diagnosis, class, source
_ROWS: tuple[tuple[str, Any, str, str | None, tuple[str, ...], str], ...] = (
    # the skip connection
    ("skip-after-norm", Steps(branch=_skip_after_norm), "norm(x) + f(norm(x))", "skip connection taken after the norm", F32, "pytorch/pytorch#61165"),
    ("skip-after-norm-mlp", Steps(branch=lambda t, s, place, layer, x: (_skip_after_norm if place == "mlp" else branch)(t, s, place, layer, x)), "the same in the MLP alone", "skip connection of the mlp taken after the norm", F32, "dmlc/gluon-nlp#1488"),
    ("norm-of-branch", Steps(branch=_norm_of_branch), "x + norm(f(x))", "norm of the branch alone", F32, "tracel-ai/burn#1056"),
    ("post-for-pre", _task(norm_place=lambda t: "post"), "post-norm always", "post-norm", F32, "SHI-Labs/Compact-Transformers#25"),
    ("pre-for-post", _task(norm_place=lambda t: "pre"), "pre-norm always", "pre-norm", F32, "Howuhh/faster-trajectory-transformer#3"),
    ("skip-ignored", _task(skip=False), "no skip connection at all", "no skip connection", F32, NEW),
    ("skip-always", _task(skip=True), "a skip connection where none was asked for", "skip connection where none was asked", F32, NEW),
    ("no-skip-mlp", _no_skip("mlp"), "no skip connection around the MLP", "no skip connection around the mlp", F32, NEW),
    ("no-skip-attention", _no_skip("attention"), "no skip connection around attention", "no skip connection around attention", F32, NEW),
    ("branch-halved", _scaled_branch(lambda t, layer: 0.5), "half of every branch added", "half of what a sub-layer makes", F32, NEW),
    ("mlp-twice", Steps(joined=lambda t, place, layer, x, out: x + out * (2 if place == "mlp" else 1) if t.skip else out), "what the MLP makes added twice", "what the mlp makes is added twice", F32, NEW),
    ("branch-by-depth", _scaled_branch(lambda t, layer: 1 / math.sqrt(2 * t.layers)), "branches divided by √(2L), as at initialisation", "√(2l)", F32, NEW),
    ("parallel", Steps(layer=_parallel), "both halves of a layer from the same tokens", "in parallel", F32, NEW),
    ("mlp-first", Steps(layer=_mlp_first), "the MLP before attention", "mlp before attention", F32, NEW),
    # heads
    ("cut-query", _cut_without_transpose("query"), "queries cut into heads by a reshape without a transpose", "heads of the query cut", F32, "jsbaan/transformer-from-scratch#6"),
    ("cut-all", _cut_without_transpose("query", "key", "value"), "all three cut into heads by a reshape", "heads cut by a reshape", F32, "ajhalthor/Transformer-Neural-Network#4"),
    ("cut-value", _cut_without_transpose("value"), "values cut into heads by a reshape", "heads of the value cut", F32, "hackiey/QAnet-pytorch#2"),
    ("join", Steps(out=_join_without_transpose), "heads joined by a reshape without a transpose", "heads joined by a reshape", F32, "reczoo/FuxiCTR#30"),
    ("groups-tiled", Steps(shared=_every_head), "key heads repeated as tiles", "modulo the number of key heads", F32, "tenstorrent/tt-metal#32407"),
    ("groups-first", Steps(shared=lambda t, x: np.repeat(x[:1], t.heads, axis=0)), "the first key head for every query head", "first key head", F32, "bigcode-project/Megatron-LM#71"),
    ("keys-permuted", Steps(task=_permuted_as_full), "keys permuted as if they had all heads", "heads of the keys in reverse", F32, "tenstorrent/tt-metal#32407"),
    ("fused-order", _fused("key query value"), "a fused projection cut as key, query, value", "queries and keys exchanged", F32, "Lightning-AI/litgpt#1013"),
    ("fused-value", _fused("query value key"), "a fused projection cut as query, value, key", "keys and values exchanged", F32, "Lightning-AI/litgpt#1013"),
    ("fused-cycled", _fused("value query key"), "a fused projection cut as value, query, key", "value, query, key", F32, NEW),
    ("fused-interleaved", Steps(task=_interleaved), "rows stacked head by head and cut in three", "head by head", F32, "Lightning-AI/litgpt#1013"),
    ("fused-cut-by-head", Steps(task=_cut_by_head), "all queries, all keys, all values, cut head by head", "are cut head by head", F32, NEW),
    ("heads-averaged", Steps(out=lambda t, s, layer, x: Steps.out(t, s, layer, x) / t.work(t.heads)), "the mean of the heads", "mean of the heads", F32, NEW),
    ("head-last", Steps(out=lambda t, s, layer, x: Steps.out(t, s, layer, np.where(np.arange(len(x))[:, None, None] == len(x) - 1, x, 0))), "the last head alone", "the last head alone", F32, NEW),
    ("heads-8", Steps(out=lambda t, s, layer, x: Steps.out(t, s, layer, np.where(np.arange(len(x))[:, None, None] < 8, x, 0))), "heads beyond the eighth left out", None, F32, NEW),
    ("value-dim", Steps(out=_values_of_head_dim), "values beyond the head dim left out where there is a gate", None, F32, NEW),
    ("head-first", Steps(out=lambda t, s, layer, x: Steps.out(t, s, layer, np.repeat(x[:1], len(x), axis=0))), "the first head in every place", "the first head in the place of every head", F32, NEW),
    # projections
    ("query-turned", _task(query=_turned("query")), "query weights transposed", "query weights transposed", F32, NEW),
    ("value-turned", _task(value=_turned("value")), "value weights transposed", "value weights transposed", F32, NEW),
    ("output-turned", _task(output_weights=_turned("output_weights")), "output weights transposed", "output weights transposed", F32, NEW),
    ("up-turned", _task(up_weights=_turned("up_weights")), "the first weights of the MLP transposed", "up weights transposed", F32, NEW),
    ("output-left-out", _where(lambda t: t.output_weights is not None and t.output_weights.shape[2] == t.output_weights.shape[3], Steps(task=lambda t: t.change(output_weights=None))), "no output projection", "output weights left out", F32, "ethen8181/machine-learning#13"),
    ("query-bias-dropped", Steps(task=lambda t: t.change(query_bias=None)), "the bias of the queries dropped", "bias of the queries left out", F32, NEW),
    ("value-bias-dropped", Steps(task=lambda t: t.change(value_bias=None)), "the bias of the values dropped", "bias of the values left out", F32, NEW),
    ("output-bias-dropped", Steps(task=lambda t: t.change(output_bias=None)), "the bias of the output dropped", "bias of the output left out", F32, NEW),
    ("mlp-biases-dropped", Steps(task=lambda t: t.change(up_bias=None, down_bias=None)), "both biases of the MLP dropped", "biases of the mlp left out", F32, NEW),
    # scale
    ("scale-missing", _task(scale=1.0), "no scale", "scale ignored: 1", F32, "mlc-ai/mlc-llm#3426"),
    ("scale-missing-causal", _where(lambda t: t.causal, _task(scale=1.0)), "no scale on the causal path", "scale ignored: 1", F32, "mlc-ai/mlc-llm#3426"),
    ("scale-usual", _task(scale=lambda t: t.query.shape[3] ** -0.5), "1/√k whatever is asked for", "scale ignored: 1/√head dim", F32, "microsoft/mup#8"),
    ("scale-of-dim", _task(scale=lambda t: t.query.shape[2] ** -0.5), "1/√d of the tokens", "1/√dim", F32, NEW),
    ("scale-by-layer", Steps(scale=lambda t, layer: t.scale / (layer + 1)), "the scale divided by the number of the layer", "divided by the number of the layer", F32, "stanford-crfm/mistral#77"),
    ("scale-squared", Steps(scale=lambda t, layer: t.scale * t.scale), "the scale applied twice", "scale applied twice", F32, NEW),
    # who attends to whom
    ("causal-ignored", _task(causal=False), "the causal mask ignored", "causal mask ignored", F32, NEW),
    ("causal-strict", _diagonal(-1), "no token sees itself", "one token too few", F32, NEW),
    ("causal-ahead", _diagonal(1), "every token sees one too many", "one token too many", F32, NEW),
    ("causal-reversed", _seen(lambda t, seen: seen.T if t.causal and t.mask is None else seen), "tokens see those after them", "see those after them", F32, NEW),
    ("causal-first-layer", Steps(attention=lambda t, s, layer, y: Steps.attention(t if layer == 0 else t.change(causal=False), s, layer, y)), "causal in the first layer alone", "causal in the first layer alone", F32, NEW),
    ("mask-after-softmax", Steps(weighed=_after_softmax), "masked weights set to 0 after the softmax", "after the softmax", F32, NEW),
    ("mask-ten-thousand", _finite_mask(lambda scores: scores - 1e4), "10⁴ taken off masked scores", "10⁴ taken off masked scores", F32, NEW),
    ("mask-zero", _finite_mask(lambda scores: 0), "masked scores set to 0", "masked scores set to 0", F32, NEW),
    ("mask-set", _finite_mask(lambda scores: -1e4), "masked scores set to −10⁴", "masked scores set to −10⁴", F32, NEW),
    ("mask-ignored", Steps(task=lambda t: t.change(mask=None)), "padding is attended to", "padding", F32, NEW),
    ("mask-inverted", _seen(lambda t, seen: seen if t.mask is None else np.broadcast_to(~t.mask, seen.shape) & np.tri(len(seen), k=0 if t.causal else len(seen), dtype=bool)), "padding alone is attended to", "inverted", F32, NEW),
    ("softmax-columns", Steps(softmax=lambda t, scores: softmax(t, scores.swapaxes(1, 2)).swapaxes(1, 2) if np.isfinite(scores).all() else softmax(t, scores)), "the softmax over the queries", "softmax over the queries", F32, NEW),
    ("uniform", Steps(softmax=lambda t, scores: softmax(t, np.where(np.isfinite(scores), t.work(0), scores))), "uniform attention: what a network collapses to", "collapsed network", F32, NEW),
    # norms
    ("epsilon-fixed", Steps(epsilon=lambda t, place, layer: 1e-5), "the epsilon of the norms hard-coded", "epsilon ignored: 1e-05", F32, "apache/tvm#15856"),
    ("epsilon-default", Steps(epsilon=lambda t, place, layer: 1e-6), "the default epsilon, whatever the configuration says", "epsilon ignored: 1e-06", F32, "huggingface/candle#271"),
    ("epsilon-final", Steps(epsilon=lambda t, place, layer: 1e-5 if place == "final" else t.epsilon), "another epsilon in the final norm alone", "epsilon of the final norm", F32, "mindspore-lab/mindone#219"),
    ("epsilon-mlp", Steps(epsilon=lambda t, place, layer: 1e-5 if place == "mlp" else t.epsilon), "another epsilon in the norms of the MLPs", "epsilon of the norms of the mlp", F32, "NVIDIA-NeMo/Megatron-Bridge#5712"),
    ("epsilon-left-out", Steps(epsilon=lambda t, place, layer: 0.0), "no epsilon", "epsilon left out", F32, "paiml/aprender#1606"),
    ("epsilon-outside", Steps(normalised=_outside_root), "epsilon added to the root", "epsilon added outside the root", F32, "NVIDIA/cutlass#1112"),
    ("epsilon-largest", Steps(normalised=_largest_of), "the larger of the root and epsilon", "epsilon", F32, NEW),
    ("epsilon-largest-variance", Steps(normalised=_largest_variance), "the larger of the variance and epsilon", "larger of the variance and epsilon", F32, NEW),
    ("odd-dim", Steps(normalised=_even_squares), "the last number of an odd dim left out of the variance", None, F32, NEW),
    ("unbiased", Steps(normalised=_unbiased), "the standard deviation with d − 1", "d − 1", F32, NEW),
    ("rms-for-layer", _of_norm("rms"), "the mean is not subtracted", "rms norm in place of layer norm", F32, NEW),
    ("layer-for-rms", _of_norm("layer"), "the mean is subtracted", "layer norm in place of rms norm", F32, NEW),
    ("norm-of-tokens", Steps(normalised=_over_tokens), "the norm over the tokens", "over the tokens", F32, NEW),
    ("sum-of-squares", Steps(normalised=_sum_of_squares), "divided by the norm, not by the root of the mean", "not by the root of the mean", F32, NEW),
    ("gain-ignored", Steps(gained=lambda t, x, gain: x), "the gains ignored", "gains of the norms ignored", F32, NEW),
    ("gain-plus-one", Steps(gained=lambda t, x, gain: x * (1 + gain)), "1 + gain", "1 + gain", F32, NEW),
    ("norm-bias-dropped", Steps(task=lambda t: t.change(attention_norm_bias=None, mlp_norm_bias=None, final_norm_bias=None)), "the biases of the norms dropped", "biases of the norms left out", F32, NEW),
    ("norm-shared", Steps(norm=_shared_norm), "the first norm of a layer in both places", "norm of attention in the place of that of the mlp", F32, NEW),
    ("gain-shared", Steps(task=lambda t: t.change(mlp_norm_gain=t.attention_norm_gain if t.mlp_norm_gain is not None else None)), "the gain of the first norm of a layer in both places", "in the place of that of the mlp", F32, NEW),
    ("norm-second", Steps(norm=_second_norm), "attention normalised by the norm of the MLP", "norm of the mlp in the place of that of attention", F32, NEW),
    ("gain-first-layer", Steps(task=_first_gain), "the gain of the first layer's norm of attention in every layer", "in the first layer taken in every layer", F32, NEW),
    ("keys-un-normed", Steps(branch=_keys_un_normed), "keys of tokens that are not normalised", "keys made of the tokens before their norm", F32, NEW),
    ("bias-with-gain", Steps(task=_bias_with_gain), "the bias of a norm dropped where it has no gain", "biases of the norms left out", F32, NEW),
    ("final-bias-dropped", Steps(task=lambda t: t.change(final_norm_bias=None)), "the bias of the final norm dropped", "bias of the final norm left out", F32, NEW),
    ("norm-ignored", Steps(task=lambda t: t.change(norm=None, final_norm=False)), "no norm at all", "norms left out", F32, NEW),
    ("final-ignored", _task(final_norm=False), "no norm after the last layer", "final norm left out", F32, NEW),
    ("final-everywhere", Steps(returned=_final_everywhere), "the final norm after every layer", "final norm after every layer", F32, NEW),
    ("final-tied", Steps(task=_last_gain), "the final norm with the parameters of the last layer's", "parameters of the last layer", F32, "huggingface/transformers#45079"),
    # layers
    ("layers-tied", Steps(task=_first_layer), "the first layer's weights in every layer", "weights of the first layer", F32, "pegainfer-project/pegainfer#544"),
    ("layers-reversed", Steps(order=lambda t: range(t.layers)[::-1]), "layers in reverse", "layers in reverse", F32, NEW),
    ("layers-by-name", Steps(order=lambda t: sorted(range(t.layers), key=str)), "layers in the order of their names: 0, 1, 10, 2", "order of their names", F32, NEW),
    ("returned-before", Steps(returned=lambda t, s, after: np.stack([t.tokens, *after[:-1]])), "the tokens before every layer", "before every layer", F32, NEW),
    ("returned-last", Steps(returned=lambda t, s, after: np.stack([Steps.returned(t, s, after)[-1]] * len(after))), "the last tokens for every layer", "the last tokens", F32, NEW),
    # activations
    ("tanh-for-exact", _activated("gelu_tanh", "gelu"), "the tanh form where the exact one was asked for", "gelu with tanh in place of the exact one", F32, "apple/coremltools#2863"),
    ("exact-for-tanh", _activated("gelu", "gelu_tanh"), "the exact form where that with tanh was asked for", "exact gelu in place of that with tanh", F32, "NVIDIA-NeMo/Megatron-Bridge#4661"),
    ("quick-gelu", _activated("quick_gelu", "gelu", "gelu_tanh"), "x·σ(1.702x)", "x·σ(1.702x)", F32, "kyutai-labs/pocket-tts#278"),
    ("relu-for-gelu", _activated("relu", "gelu", "gelu_tanh", "silu"), "relu whatever is asked for", "relu in place of", F32, NEW),
    ("gelu-for-silu", _activated("gelu", "silu"), "gelu for silu", "gelu in place of silu", F32, NEW),
    ("activation-left-out", Steps(activation=lambda t: lambda x: x), "no activation", "activation left out", F32, NEW),
    ("gate-exchanged", Steps(gated=lambda t, gate, up, f: gate * f(up)), "the activation on the wrong half", "gate and up exchanged", F32, NEW),
    ("gate-ignored", Steps(gated=lambda t, gate, up, f: f(up)), "the gate ignored", "gate ignored", F32, NEW),
    # sizes, state, threads
    ("keys-8", _whole_tiles(8), "keys beyond whole tiles of 8 left out", "whole tiles of 8", F32, NEW),
    ("keys-64", _whole_tiles(64), "keys beyond whole tiles of 64 left out", "whole tiles of 64", F32, NEW),
    ("tokens-16", _tokens_left(16), "tokens beyond whole tiles of 16 as they came", "whole tiles of 16", F32, NEW),
    ("kept-by-shape", _kept_by_shape(), "weights kept under their shape", None, F32, "Lightning-AI/litgpt#1727"),
    ("in-place", kernel(Steps(), after=_in_place), "the tokens overwritten", None, F32, OLD),
    ("shared-workspace", _shared_workspace(), "a workspace that threads share", None, F32, OLD),
    # arithmetic
    ("naive-softmax", Steps(softmax=_naive_softmax), "a softmax without its maximum", None, F32, NEW),
    ("scores-bfloat16", _short_scores(_BF16), "scores in bfloat16", None, F32, NEW),
    ("products-float16", _short_products(_HALF), "products of float16 numbers", None, F32, NEW),
    ("squares-float16", Steps(normalised=_squares_in_half), "squares in float16", None, ("float16",), NEW),
    ("norm-bfloat16", Steps(gained=lambda t, x, gain: _short(x, _BF16) * gain), "norms rounded to bfloat16 before the gain", None, F32, "InternLM/lmdeploy#2842"),
)  # fmt: skip

BUGGY: tuple[Entry, ...] = tuple(
    Entry(name, kernel(bug) if isinstance(bug, Steps) else bug, precisions, why, source, diagnosis=words)
    for name, bug, why, words, precisions, source in _ROWS
)
