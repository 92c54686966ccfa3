"""What wrong stacks mean instead: another network, or the same with a step that is another one.

Where each was seen is told by the families that hunt it.
"""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.diagnosis.meanings import Meaning
from assay.conformance.layer_collapse.wrong import Stack, Steps, network, softmax
from assay.spec.enclosure import Enclosure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from assay.spec.criterion import Criterion
    from assay.spec.layer_collapse import Instance

    Array = NDArray[np.float64]
    Criteria = Mapping[str, Criterion]
    Right = Callable[[Any], Criteria | None]
    Wrong = Callable[[Instance], Array | None]

__all__ = ["MEANINGS"]

_ANYTHING = 1e300
_NOTHING = 1e-11  # beside the tokens: what float64 is off by
_ROOM = 4.0  # times what a right stack may err: a wrong network enlarges errors differently


def _meaning(identifier: str, sentence: str, wrong: Wrong) -> Meaning:
    """The meaning of a stack that computes ``wrong(instance)``; ``None`` says that it is right.

    It may err by a few times what a right stack may, and by as much more as its tokens are larger.  Where nothing is
    judged, as in rows of padding, it may be anything.
    """

    def criteria(instance: Any, right: Right) -> Criteria | None:
        value = wrong(instance)
        held = None if value is None else right(instance)
        if value is None or held is None:
            return None
        criterion = held["tokens"]
        proper = criterion.value
        if proper is None or value.shape != proper.shape:
            return None
        sizes = [np.abs(x).max(axis=(1, 2), keepdims=True, initial=0.0) for x in (value, proper.midpoint)]
        if not (np.abs(value - proper.midpoint) > _NOTHING * sizes[1]).any():
            return None
        with np.errstate(all="ignore"):
            larger = np.fmax(sizes[0] / np.maximum(sizes[1], 1e-300), 1.0)
        allowed = np.where(np.isfinite(criterion.allowed), _ROOM * larger * criterion.allowed, _ANYTHING)
        return {"tokens": criterion.about(Enclosure(value, 1e-12 * np.abs(value)), allowed)}

    return Meaning(identifier, sentence, criteria)


def _steps(when: Callable[[Instance], bool] = lambda i: True, /, **steps: Any) -> Wrong:
    """A network with other steps, where that is asked at all."""
    return lambda instance: network(instance, Steps(**steps)) if when(instance) else None


def _changed(change: Callable[[Instance], Instance | None]) -> Wrong:
    """Another instance; ``None`` where it is the same one."""

    def wrong(instance: Instance) -> Array | None:
        other = change(instance)
        return None if other is None else network(other)

    return wrong


def _with(**changes: Any) -> Wrong:
    """The instance with some fields changed, each given or a function of the instance; only fields that it has."""

    def change(instance: Instance) -> Instance | None:
        values = {
            name: value(instance) if callable(value) else value
            for name, value in changes.items()
            if getattr(instance, name) is not None
        }
        same = all(np.array_equal(getattr(instance, name), value) for name, value in values.items())
        return None if same else instance.replace(**values)

    return _changed(change)


def _without(*names: str) -> Wrong:
    """The instance without some optional arrays."""

    def change(instance: Instance) -> Instance | None:
        dropped = {name: None for name in names if getattr(instance, name) is not None}
        return instance.replace(**dropped) if dropped else None

    return _changed(change)


# --- conditions -------------------------------------------------------------------------------------------------------


def _pre(instance: Instance) -> bool:
    return instance.norm is not None and instance.norm_place == "pre" and instance.skip


def _post(instance: Instance) -> bool:
    return instance.norm is not None and instance.norm_place == "post" and instance.skip


def _mlp(instance: Instance) -> bool:
    return instance.up_weights is not None


def _normed(instance: Instance) -> bool:
    return instance.norm is not None


def _skips(instance: Instance) -> bool:
    return instance.skip


def _heads(instance: Instance) -> bool:
    return bool(instance.query_weights.shape[1] > 1)


def _deep(instance: Instance) -> bool:
    return instance.layers > 1


def _alike(instance: Instance) -> bool:
    """Whether the weights of queries, keys and values are of one shape."""
    shapes = {getattr(instance, f"{name}_weights").shape for name in ("query", "key", "value")}
    return len(shapes) == 1


# --- heads ------------------------------------------------------------------------------------------------------------


def _cut(*names: str) -> Callable[..., Array]:
    """(n, heads·k) reshaped to (heads, n, k) without a transpose."""

    def projected(s: Steps, stack: Stack, name: str, layer: int, y: Array) -> Array:
        out = Steps.projected(s, stack, name, layer, y)
        heads, n, width = out.shape
        return out.swapaxes(0, 1).reshape(heads, n, width) if name in names else out

    return projected


def _joined_by_reshape(s: Steps, stack: Stack, layer: int, heads: Array) -> Array:
    h, n, v = heads.shape
    return Steps.out(s, stack, layer, heads.reshape(n, h, v).swapaxes(0, 1))


def _in_place_of(order: str) -> Callable[..., Array]:
    """Which projection is taken for queries, keys and values."""
    names = dict(zip(("query", "key", "value"), order.split(), strict=True))
    return lambda s, stack, name, layer, y: Steps.projected(s, stack, names[name], layer, y)


def _head_by_head(instance: Instance) -> Instance | None:
    """Rows that are stacked head by head, and cut as all queries, all keys, all values."""
    if not _alike(instance) or not _heads(instance):
        return None
    three = [getattr(instance, f"{name}_weights") for name in ("query", "key", "value")]
    layers, h, d, k = three[0].shape
    cut = np.stack(three, axis=2).reshape(layers, 3, h, d, k)
    return instance.replace(query_weights=cut[:, 0], key_weights=cut[:, 1], value_weights=cut[:, 2])


def _cut_head_by_head(instance: Instance) -> Instance | None:
    """Rows that are stacked as all queries, all keys, all values, and cut head by head."""
    if not _alike(instance) or not _heads(instance):
        return None
    names = ("query", "key", "value")
    changes: dict[str, Array] = {}
    for kind in ("weights", "bias"):
        three = [getattr(instance, f"{name}_{kind}") for name in names]
        if any(x is None for x in three):
            continue
        layers, h, *rest = three[0].shape
        cut = np.stack(three, axis=1).reshape(layers, h, 3, *rest)
        changes |= {f"{name}_{kind}": np.ascontiguousarray(cut[:, :, place]) for place, name in enumerate(names)}
    return instance.replace(**changes)


def _turned(name: str) -> Wrong:
    """A matrix read as its transpose: by columns where it lies by rows."""

    def change(instance: Instance) -> Instance | None:
        x = getattr(instance, name)
        if x is None:
            return None
        return instance.replace(**{name: np.ascontiguousarray(x.swapaxes(-1, -2)).reshape(x.shape)})

    return _changed(change)


def _square_output_left_out(instance: Instance) -> Instance | None:
    w = instance.output_weights
    return instance.replace(output_weights=None) if w is not None and w.shape[2] == w.shape[3] else None


def _kept_heads(kept: Callable[[int], Array]) -> Callable[..., Array]:
    """Only some heads, or others in their places: the places by the number of heads."""
    return lambda s, stack, layer, heads: Steps.out(s, stack, layer, kept(len(heads))[:, None, None] * heads)


# --- layers -----------------------------------------------------------------------------------------------------------


def _of_first_layer(instance: Instance) -> Instance | None:
    if instance.layers == 1:
        return None
    layered = [n for n in instance.arrays() if instance.axes_of(n)[0] == "layers"]
    return instance.replace(**{n: np.repeat(getattr(instance, n)[:1], instance.layers, axis=0) for n in layered})


def _parallel(s: Steps, stack: Stack, layer: int, x: Array) -> Array:
    return np.asarray(s.sublayer(s, stack, "attention", layer, x) + s.sublayer(s, stack, "mlp", layer, x) - x)


def _mlp_first(s: Steps, stack: Stack, layer: int, x: Array) -> Array:
    return s.sublayer(s, stack, "attention", layer, s.sublayer(s, stack, "mlp", layer, x))


def _branch(factor: Callable[[Stack], float]) -> Callable[..., Array]:
    return lambda stack, place, x, out: x + factor(stack) * out if stack.instance.skip else out


def _no_skip_of(*places: str) -> Callable[..., Array]:
    return lambda stack, place, x, out: x + out if stack.instance.skip and place not in places else out


# --- norms ------------------------------------------------------------------------------------------------------------


def _epsilon(value: float | None, *places: str) -> Callable[[Stack, str], float]:
    """An epsilon that is hard-coded, everywhere or in the norms of some places."""

    def epsilon(stack: Stack, place: str) -> float:
        asked = float(stack.instance.epsilon or 0.0)
        return asked if value is None or (places and place not in places) else value

    return epsilon


def _about(x: Array, kind: str) -> Array:
    return np.asarray(x - x.mean(axis=-1, keepdims=True) if kind == "layer" else x)


def _by_root(size: Callable[[Array, float], Array]) -> Callable[..., Array]:
    """Divided by a function of the centred numbers and epsilon."""

    def normalised(stack: Stack, x: Array, epsilon: float, kind: str) -> Array:
        y = _about(x, kind)
        return np.asarray(y / size(y, epsilon))

    return normalised


def _rms(y: Array) -> Array:
    return np.asarray(np.sqrt((y * y).mean(axis=-1, keepdims=True)))


def _deviation(y: Array) -> Array:
    return np.asarray(np.sqrt((y * y).sum(axis=-1, keepdims=True) / max(y.shape[-1] - 1, 1)))


def _other_norm(kind: str) -> Callable[..., Array]:
    return lambda stack, x, epsilon, _: Steps.normalised(stack, x, epsilon, kind)


def _over_tokens(stack: Stack, x: Array, epsilon: float, kind: str) -> Array:
    return np.asarray(Steps.normalised(stack, x.T, epsilon, kind).T)


def _first_norm(s: Steps, stack: Stack, place: str, layer: int, x: Array) -> Array:
    return Steps.norm(s, stack, "attention" if place == "mlp" else place, layer, x)


def _second_norm(s: Steps, stack: Stack, place: str, layer: int, x: Array) -> Array:
    return Steps.norm(s, stack, "mlp" if place == "attention" else place, layer, x)


def _gain_of_first_layer(instance: Instance) -> Instance | None:
    gain = instance.attention_norm_gain
    return None if gain is None else instance.replace(attention_norm_gain=np.repeat(gain[:1], instance.layers, axis=0))


def _un_normed(*names: str) -> Callable[..., Array]:
    """Attention before whose norm some projections are taken."""

    def sublayer(s: Steps, stack: Stack, place: str, layer: int, x: Array) -> Array:
        if place != "attention":
            return Steps.sublayer(s, stack, place, layer, x)

        def projected(s: Steps, stack: Stack, name: str, layer: int, y: Array) -> Array:
            return Steps.projected(s, stack, name, layer, x if name in names else y)

        steps = replace(s, projected=projected)
        return s.joined(stack, place, x, steps.attention(steps, stack, layer, s.norm(s, stack, place, layer, x)))

    return sublayer


def _final_everywhere(s: Steps, stack: Stack, after: list[Array]) -> Array:
    return np.stack([s.norm(s, stack, "final", -1, x) for x in after])


def _final_of_last_layer(instance: Instance) -> Instance | None:
    if not instance.final_norm:
        return None
    gains = {part: getattr(instance, f"attention_norm_{part}") for part in ("gain", "bias")}
    return instance.replace(**{f"final_norm_{part}": None if x is None else x[-1] for part, x in gains.items()})


# --- who attends to whom ----------------------------------------------------------------------------------------------


def _seen(change: Callable[[Instance, NDArray[np.bool_]], NDArray[np.bool_]]) -> Callable[..., Any]:
    """Another mask; a token that would see none sees the first."""

    def attends(stack: Stack, layer: int) -> NDArray[np.bool_]:
        allowed = np.array(change(stack.instance, stack.instance.attends()))
        allowed[~allowed.any(axis=1), 0] = True
        return allowed

    return attends


def _diagonal(offset: int) -> Callable[..., Any]:
    return _seen(lambda i, seen: np.tri(len(seen), k=offset, dtype=bool) & (True if i.mask is None else i.mask))


def _padding_alone(instance: Instance, seen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    assert instance.mask is not None
    return np.broadcast_to(~instance.mask, seen.shape) & (np.tri(len(seen), dtype=bool) if instance.causal else True)


def _causal_first(stack: Stack, layer: int) -> NDArray[np.bool_]:
    instance = stack.instance
    return instance.attends() if layer == 0 else instance.replace(causal=False).attends()


def _after_softmax(s: Steps, stack: Stack, layer: int, scores: Array) -> Array:
    return np.asarray(np.where(s.attends(stack, layer), softmax(scores), 0.0))


def _finite(masked: Callable[[Array], Array | float]) -> Callable[..., Array]:
    """Another number in the place of −∞, made of the scores."""
    return lambda s, stack, layer, scores: softmax(np.where(s.attends(stack, layer), scores, masked(scores)))


def _padding_zero(s: Steps, stack: Stack, layer: int, scores: Array) -> Array:
    present, n = stack.instance.mask, scores.shape[-1]
    assert present is not None
    seen = np.tri(n, dtype=bool) if stack.instance.causal else np.ones((n, n), dtype=bool)
    return softmax(np.where(seen, np.where(present, scores, 0.0), -np.inf))


def _over_queries(s: Steps, stack: Stack, layer: int, scores: Array) -> Array:
    masked = np.where(s.attends(stack, layer), scores, -np.inf)
    return softmax(masked.swapaxes(1, 2)).swapaxes(1, 2)


def _uniform(s: Steps, stack: Stack, layer: int, scores: Array) -> Array:
    return Steps.weights(s, stack, layer, np.zeros_like(scores))


def _whole(tile: int) -> Callable[[Instance, NDArray[np.bool_]], NDArray[np.bool_]]:
    return lambda i, seen: seen & (np.arange(len(seen)) < (len(seen) // tile * tile or len(seen)))


def _tokens_left(tile: int, instance: Instance) -> Array | None:
    """Tokens beyond whole tiles as they came."""
    n = len(instance.tokens)
    whole = n // tile * tile or n
    if whole == n:
        return None
    out = network(instance)
    out[:, whole:] = instance.tokens[whole:].astype(np.float64)
    return out


# --- the table --------------------------------------------------------------------------------------------------------


def _rows() -> Iterator[tuple[str, str, Wrong]]:
    """Every row: an identifier, a sentence, and what a stack of this meaning computes."""
    # one meaning a line
    # fmt: off
    yield "skip-after-norm", "skip connection taken after the norm: norm(x) + f(norm(x))", _steps(_pre, base=lambda place, x, y: y)
    yield "skip-after-norm-mlp", "skip connection of the MLP taken after the norm", _steps(lambda i: _pre(i) and _mlp(i), base=lambda place, x, y: y if place == "mlp" else x)
    yield "skip-after-norm-attention", "skip connection of attention taken after the norm", _steps(lambda i: _pre(i) and _mlp(i), base=lambda place, x, y: y if place == "attention" else x)
    yield "norm-of-branch", "norm of the branch alone: x + norm(f(x)) where norm(x + f(x)) was asked for", _steps(_post, norm_of_branch=True)
    yield "post-norm", "post-norm where pre-norm was asked for", _changed(lambda i: i.replace(norm_place="post") if i.norm and i.norm_place == "pre" else None)
    yield "pre-norm", "pre-norm where post-norm was asked for", _changed(lambda i: i.replace(norm_place="pre") if i.norm and i.norm_place == "post" else None)
    yield "skip-ignored", "no skip connection", _changed(lambda i: i.replace(skip=False) if i.skip else None)
    yield "skip-always", "skip connection where none was asked for", _changed(lambda i: None if i.skip else i.replace(skip=True))
    yield "skip-mlp", "no skip connection around the MLP", _steps(lambda i: _skips(i) and _mlp(i), joined=_no_skip_of("mlp"))
    yield "skip-attention", "no skip connection around attention, though one around the MLP", _steps(lambda i: _skips(i) and _mlp(i), joined=_no_skip_of("attention"))
    yield "branch-half", "half of what a sub-layer makes is added to its input", _steps(_skips, joined=_branch(lambda stack: 0.5))
    yield "branch-twice", "twice what a sub-layer makes is added to its input", _steps(_skips, joined=_branch(lambda stack: 2.0))
    yield "mlp-twice", "what the MLP makes is added twice", _steps(lambda i: _skips(i) and _mlp(i), joined=lambda stack, place, x, out: x + (2 if place == "mlp" else 1) * out)
    yield "branch-depth", "what a sub-layer makes is divided by √(2L), as weights are at initialisation", _steps(_skips, joined=_branch(lambda stack: 1 / math.sqrt(2 * stack.instance.layers)))
    yield "input-twice", "the input of a sub-layer is added twice", _steps(_skips, joined=lambda stack, place, x, out: 2 * x + out)
    yield "parallel", "attention and the MLP in parallel, from the same tokens", _steps(lambda i: _mlp(i) and i.skip and not _post(i), layer=_parallel)
    yield "mlp-first", "the MLP before attention", _steps(_mlp, layer=_mlp_first)
    yield "mlp-ignored", "the MLP left out", _changed(lambda i: _no_mlp(i) if _mlp(i) else None)
    yield "attention-ignored", "attention left out", _steps(attention=lambda s, stack, layer, y: 0.0 * y)
    for name, word in (("query", "query"), ("key", "key"), ("value", "value")):
        yield f"cut-{name}", f"heads of the {word} cut by a reshape without a transpose", _steps(_heads, projected=_cut(name))
    yield "cut-all", "heads cut by a reshape without a transpose, of queries, keys and values", _steps(_heads, projected=_cut("query", "key", "value"))
    yield "cut-all-joined", "heads cut and joined by a reshape without a transpose", _steps(_heads, projected=_cut("query", "key", "value"), out=_joined_by_reshape)
    yield "joined", "heads joined by a reshape without a transpose", _steps(_heads, out=_joined_by_reshape)
    yield "groups-tiled", "query head a has the keys of head a modulo the number of key heads", _steps(lambda i: i.group > 1, shared=lambda s, stack, x: np.tile(x, (stack.instance.group, 1, 1)))
    yield "groups-first", "the first key head for every query head", _steps(lambda i: i.key_weights.shape[1] > 1, shared=lambda s, stack, x: np.repeat(x[:1], stack.instance.query_weights.shape[1], axis=0))
    yield "keys-reversed", "heads of the keys in reverse, as rows permuted for all heads are", _changed(lambda i: i.replace(key_weights=np.ascontiguousarray(i.key_weights[:, ::-1])) if i.key_weights.shape[1] > 1 else None)
    for order, words in (
        ("key query value", "queries and keys exchanged"),
        ("query value key", "keys and values exchanged"),
        ("value key query", "queries and values exchanged"),
        ("value query key", "a fused projection cut in another order: value, query, key for query, key, value"),
        ("key value query", "a fused projection cut in another order: key, value, query for query, key, value"),
    ):
        yield f"order-{order.replace(' ', '-')}", words, _steps(_alike, projected=_in_place_of(order))
    yield "head-by-head", "rows of a fused projection that are stacked head by head are cut as all queries, all keys, all values", _changed(_head_by_head)
    yield "cut-head-by-head", "rows of a fused projection that are stacked as all queries, all keys, all values are cut head by head", _changed(_cut_head_by_head)
    yield "heads-mean", "the mean of the heads in place of their sum", _steps(_heads, out=lambda s, stack, layer, x: Steps.out(s, stack, layer, x) / len(x))
    yield "heads-last", "the last head alone", _steps(_heads, out=_kept_heads(lambda h: 1.0 * (np.arange(h) == h - 1)))
    yield "heads-first", "the first head alone", _steps(_heads, out=_kept_heads(lambda h: 1.0 * (np.arange(h) == 0)))
    yield "heads-repeated", "the first head in the place of every head", _steps(_heads, out=lambda s, stack, layer, x: Steps.out(s, stack, layer, np.repeat(x[:1], len(x), axis=0)))
    for name in ("query", "key", "value", "output", "up", "gate", "down"):
        yield f"turned-{name}", f"{name} weights transposed", _turned(f"{name}_weights")
    yield "output-left-out", "output weights left out", _changed(_square_output_left_out)
    yield "values-plain", "the tokens themselves averaged: no value weights", _steps(lambda i: i.output_weights is None, projected=lambda s, stack, name, layer, y: np.repeat(y[None], stack.instance.key_weights.shape[1], axis=0) if name == "value" else Steps.projected(s, stack, name, layer, y))
    for name in ("query", "value", "output"):
        yield f"bias-{name}", f"bias of the {'output' if name == 'output' else {'query': 'queries', 'value': 'values'}[name]} left out", _without(f"{name}_bias")
    yield "bias-attention", "biases of attention left out", _without("query_bias", "key_bias", "value_bias", "output_bias")
    yield "bias-mlp", "biases of the MLP left out", _without("up_bias", "down_bias")
    yield "bias-up", "the first bias of the MLP left out", _without("up_bias")
    yield "bias-down", "the last bias of the MLP left out", _without("down_bias")
    yield "scale-one", "scale ignored: 1", _with(scale=1.0)
    yield "scale-usual", "scale ignored: 1/√head dim", _with(scale=lambda i: i.query_weights.shape[3] ** -0.5)
    yield "scale-dim", "scale ignored: 1/√dim of the tokens", _with(scale=lambda i: i.query_weights.shape[2] ** -0.5)
    yield "scale-head", "scale ignored: 1/head dim", _with(scale=lambda i: 1 / i.query_weights.shape[3])
    yield "scale-dim-itself", "scale ignored: 1/dim of the tokens", _with(scale=lambda i: 1 / i.query_weights.shape[2])
    yield "scale-twice", "scale applied twice", _with(scale=lambda i: i.scale**2)
    yield "scale-again", "1/√head dim applied beside the scale", _with(scale=lambda i: i.scale * i.query_weights.shape[3] ** -0.5)
    yield "scale-layer", "scale divided by the number of the layer", _steps(_deep, scale=lambda stack, layer: float(stack.instance.scale or 0.0) / (layer + 1))
    yield "causal-ignored", "causal mask ignored", _changed(lambda i: i.replace(causal=False) if i.causal else None)
    yield "causal-always", "causal mask where none was asked for", _changed(lambda i: None if i.causal else i.replace(causal=True))
    yield "causal-strict", "causal mask off by one: each token sees one token too few", _steps(lambda i: i.causal, attends=_diagonal(-1))
    yield "causal-ahead", "causal mask off by one: each token sees one token too many", _steps(lambda i: i.causal, attends=_diagonal(1))
    yield "causal-reversed", "causal mask reversed: tokens see those after them", _steps(lambda i: i.causal, attends=_seen(lambda i, seen: seen.T))
    yield "causal-first", "causal in the first layer alone", _steps(lambda i: i.causal and _deep(i), attends=_causal_first)
    yield "mask-after", "masked weights set to 0 after the softmax, which is not divided again", _steps(lambda i: i.causal or i.mask is not None, weights=_after_softmax)
    yield "mask-zero", "masked scores set to 0", _steps(lambda i: i.causal or i.mask is not None, weights=_finite(lambda scores: 0.0))
    yield "padding-zero", "scores of padding set to 0", _steps(lambda i: i.mask is not None, weights=_padding_zero)
    yield "mask-taken-off", "10⁴ taken off masked scores, in place of all: larger scores show them again", _steps(lambda i: i.causal or i.mask is not None, weights=_finite(lambda scores: scores - 1e4))
    yield "mask-finite", "masked scores set to −10⁴, which others may be below", _steps(lambda i: i.causal or i.mask is not None, weights=_finite(lambda scores: -1e4))
    yield "mask-ignored", "mask ignored: padding is attended to", _without("mask")
    yield "mask-inverted", "mask inverted: padding alone is attended to", _steps(lambda i: i.mask is not None, attends=_seen(_padding_alone))
    yield "softmax-queries", "the softmax over the queries in place of the keys", _steps(weights=_over_queries)
    yield "uniform", "uniform attention: the collapsed network", _steps(weights=_uniform)
    for value in (1e-3, 1e-4, 1e-5, 1e-6, 1e-8, 1e-12):
        yield f"epsilon-{value:g}", f"epsilon ignored: {value:g}", _steps(_normed, epsilon=_epsilon(value))
    for place, words in (("final", "final norm"), ("mlp", "norms of the MLP"), ("attention", "norms of attention")):
        for value in (1e-5, 1e-6, 1e-12):
            yield f"epsilon-{place}-{value:g}", f"epsilon of the {words} ignored: {value:g}", _steps(_normed, epsilon=_epsilon(value, place))
    yield "epsilon-zero", "epsilon left out", _steps(_normed, epsilon=_epsilon(0.0))
    yield "epsilon-squared", "epsilon squared", _steps(_normed, epsilon=lambda stack, place: float(stack.instance.epsilon or 0.0) ** 2)
    yield "epsilon-outside", "epsilon added outside the root", _steps(_normed, normalised=_by_root(lambda y, epsilon: _rms(y) + epsilon))
    yield "epsilon-variance-larger", "the larger of the variance and epsilon under the root", _steps(_normed, normalised=_by_root(lambda y, epsilon: np.sqrt(np.maximum(_rms(y) ** 2, epsilon))))
    yield "epsilon-larger", "the larger of the root and epsilon", _steps(_normed, normalised=_by_root(lambda y, epsilon: np.maximum(_rms(y), epsilon)))
    yield "deviation", "the standard deviation with d − 1 in place of d, and epsilon added to it", _steps(_normed, normalised=_by_root(lambda y, epsilon: _deviation(y) + epsilon))
    yield "deviation-root", "the variance with d − 1 in place of d", _steps(_normed, normalised=_by_root(lambda y, epsilon: np.sqrt(_deviation(y) ** 2 + epsilon)))
    yield "norm-rms", "RMS norm in place of layer norm: the mean is not subtracted", _steps(lambda i: i.norm == "layer", normalised=_other_norm("rms"))
    yield "norm-layer", "layer norm in place of RMS norm: the mean is subtracted", _steps(lambda i: i.norm == "rms", normalised=_other_norm("layer"))
    yield "norm-tokens", "the norm over the tokens in place of their numbers", _steps(_normed, normalised=_over_tokens)
    yield "norm-sum", "divided by the root of the sum of squares, not by the root of the mean", _steps(_normed, normalised=_by_root(lambda y, epsilon: np.sqrt((y * y).sum(-1, keepdims=True) + epsilon)))
    yield "gain-ignored", "gains of the norms ignored", _without("attention_norm_gain", "mlp_norm_gain", "final_norm_gain")
    yield "gain-plus-one", "1 + gain in place of the gain", _steps(lambda i: i.attention_norm_gain is not None, gain=lambda gain: 1 + gain)
    yield "norm-bias", "biases of the norms left out", _without("attention_norm_bias", "mlp_norm_bias", "final_norm_bias")
    yield "norm-first", "norm of attention in the place of that of the MLP", _steps(lambda i: _normed(i) and _mlp(i), norm=_first_norm)
    yield "gain-first", "gain of attention's norm in the place of that of the MLP's, with the bias of the MLP's", _changed(lambda i: i.replace(mlp_norm_gain=i.attention_norm_gain) if i.mlp_norm_bias is not None else None)
    yield "norm-second", "norm of the MLP in the place of that of attention", _steps(lambda i: _normed(i) and _mlp(i), norm=_second_norm)
    yield "gain-first-layer", "gain of attention's norm in the first layer taken in every layer", _changed(_gain_of_first_layer)
    for name, words in (("key", "keys"), ("value", "values"), ("query", "queries")):
        yield f"un-normed-{name}", f"{words} made of the tokens before their norm", _steps(lambda i: i.norm is not None and i.norm_place == "pre", sublayer=_un_normed(name))
    yield "final-bias", "bias of the final norm left out", _without("final_norm_bias")
    yield "norm-ignored", "norms left out", _changed(_no_norm)
    yield "final-ignored", "final norm left out", _changed(lambda i: i.replace(final_norm=False, final_norm_gain=None, final_norm_bias=None) if i.final_norm else None)
    yield "final-everywhere", "final norm after every layer", _steps(lambda i: i.final_norm and _deep(i), returned=_final_everywhere)
    yield "final-last", "final norm with the parameters of the last layer", _changed(_final_of_last_layer)
    yield "layers-first", "weights of the first layer in every layer", _changed(_of_first_layer)
    yield "layers-reversed", "layers in reverse", _steps(_deep, order=lambda layers: range(layers)[::-1])
    yield "layers-names", "layers in the order of their names: 0, 1, 10, 11, 2", _steps(lambda i: i.layers > 10, order=lambda layers: sorted(range(layers), key=str))
    yield "returned-before", "the tokens before every layer are returned", _returned_before
    yield "returned-last", "the last tokens are returned for every layer", _steps(_deep, returned=lambda s, stack, after: np.repeat(Steps.returned(s, stack, after)[-1:], len(after), axis=0))
    for name, words in (("relu", "relu"), ("gelu", "exact gelu"), ("gelu_tanh", "gelu with tanh"), ("silu", "silu"), ("quick_gelu", "x·σ(1.702x)")):
        yield from _taken_for(name, words)
    yield "activation-none", "activation left out", _steps(_mlp, activation=lambda stack: "none")
    yield "gate-exchanged", "gate and up exchanged: the activation is of the other half", _steps(lambda i: i.gate_weights is not None, gated=lambda gate, up, function: gate * function(up))
    yield "gate-ignored", "gate ignored", _steps(lambda i: i.gate_weights is not None, gated=lambda gate, up, function: function(up))
    yield "gate-alone", "the gate alone: what it multiplies left out", _steps(lambda i: i.gate_weights is not None, gated=lambda gate, up, function: function(gate))
    yield "gate-plain", "the gate without its activation", _steps(lambda i: i.gate_weights is not None, gated=lambda gate, up, function: gate * up)
    for tile in (2, 4, 8, 16, 32, 64):
        yield f"keys-{tile}", f"keys beyond whole tiles of {tile} are left out", _steps(functools.partial(_longer, tile), attends=_seen(_whole(tile)))
        yield f"tokens-{tile}", f"tokens beyond whole tiles of {tile} come out as they went in", functools.partial(_tokens_left, tile)
    # fmt: on


def _taken_for(name: str, words: str) -> Iterator[tuple[str, str, Wrong]]:
    """One activation in the place of others."""
    asked = {"relu": "relu", "gelu": "the exact one", "gelu_tanh": "that with tanh", "silu": "silu"}
    for other, theirs in asked.items():
        if other != name:
            condition = functools.partial(_has_activation, other)
            yield f"{name}-for-{other}", f"{words} in place of {theirs}", _steps(condition, activation=lambda _: name)


def _has_activation(name: str, instance: Instance) -> bool:
    return _mlp(instance) and instance.activation == name


def _longer(tile: int, instance: Instance) -> bool:
    n = len(instance.tokens)
    return n > tile and n % tile != 0


def _no_mlp(instance: Instance) -> Instance:
    parts = ("up_weights", "up_bias", "gate_weights", "down_weights", "down_bias", "mlp_norm_gain", "mlp_norm_bias")
    return instance.replace(**dict.fromkeys(parts), activation="relu")


def _no_norm(instance: Instance) -> Instance | None:
    if instance.norm is None:
        return None
    parts = [f"{place}_norm_{part}" for place in ("attention", "mlp", "final") for part in ("gain", "bias")]
    return instance.replace(norm=None, **dict.fromkeys(parts))


def _returned_before(instance: Instance) -> Array:
    return np.concatenate([instance.tokens[None].astype(np.float64), network(instance)[:-1]])


#: The known wrong meanings of a stack.
MEANINGS: tuple[Meaning, ...] = tuple(_meaning(*row) for row in _rows())
