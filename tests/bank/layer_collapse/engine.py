"""The engine of the bank: a stack of layers in NumPy, step by step; a kernel replaces some of its :class:`Steps`.

Nothing here uses assay.  Everything is computed in float32, or in float64 where the tokens are of that type.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = [
    "ACTIVATIONS", "Array", "Steps", "Task", "attended", "branch", "kernel", "normalised", "product",
    "softmax", "stacked", "visible", "weighed",
]  # fmt: skip

Array = NDArray[Any]


@dataclass(frozen=True)
class Task:
    """What a stack was asked for.  Arrays are of the type of the work; those that were not given are ``None``."""

    tokens: Array
    query: Array  # (layers, heads, d, k)
    key: Array  # (layers, key heads, d, k)
    value: Array  # (layers, key heads, d, v)
    given: Array  # the tokens as they came
    scale: float
    skip: bool
    causal: bool
    more: Mapping[str, Any]

    def __getattr__(self, name: str) -> Any:
        """An array or an option by its keyword; ``None`` where it was not given."""
        return self.__dict__["more"].get(name)

    def at(self, name: str, layer: int) -> Any:
        """An array that every layer has, of one layer."""
        array = self.more.get(name)
        return None if array is None else array[layer]

    def change(self, **changes: Any) -> Task:
        own = {name: value for name, value in changes.items() if name in self.__dataclass_fields__}
        return replace(self, **own, more={**self.more, **{n: v for n, v in changes.items() if n not in own}})

    @property
    def stored(self) -> Any:
        return self.given.dtype

    @property
    def work(self) -> Any:
        return self.tokens.dtype.type

    @property
    def layers(self) -> int:
        return len(self.query)

    @property
    def heads(self) -> int:
        return int(self.query.shape[1])


def _erf(x: Array) -> Array:
    return np.asarray(np.vectorize(math.erf, otypes=[np.float64])(x.astype(np.float64)).astype(x.dtype))


def _sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def _tanh_gelu(x: Array) -> Array:
    k = x.dtype.type(math.sqrt(2 / math.pi))
    return np.asarray(x * x.dtype.type(0.5) * (1 + np.tanh(k * (x + x.dtype.type(0.044715) * x * x * x))))


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": lambda x: np.maximum(x, 0),
    "gelu": lambda x: x * (x.dtype.type(0.5) * (1 + _erf(x * x.dtype.type(math.sqrt(0.5))))),
    "gelu_tanh": _tanh_gelu,
    "silu": lambda x: x * _sigmoid(x),
    "quick_gelu": lambda x: x * _sigmoid(x.dtype.type(1.702) * x),
}


# --- the steps --------------------------------------------------------------------------------------------------------


def product(a: Array, b: Array) -> Array:
    return np.asarray(a @ b)


def _projected(t: Task, s: Steps, name: str, layer: int, y: Array) -> Array:
    """(heads, n, k) or (key heads, n, k or v): what every head makes of the tokens."""
    out = s.product(y, getattr(t, name)[layer])
    bias = t.at(f"{name}_bias", layer)
    return out if bias is None else out + bias[:, None]


def _shared(t: Task, heads: Array) -> Array:
    """Keys or values of every query head: those of its group."""
    return np.repeat(heads, t.heads // len(heads), axis=0)


def visible(t: Task, n: int) -> Array:
    """(n, n): which token attends to which."""
    seen = np.ones((n, n), bool)
    if t.causal:
        seen &= np.tri(n, dtype=bool)
    if t.mask is not None:
        seen &= t.mask
    return seen


def softmax(t: Task, scores: Array) -> Array:
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


def _out(t: Task, s: Steps, layer: int, heads: Array) -> Array:
    """(n, d): the heads (h, n, v) through the output weights, added up."""
    weights = t.at("output_weights", layer)
    out: Array = (heads if weights is None else s.product(heads, weights)).sum(axis=0, dtype=heads.dtype)
    return out


def weighed(t: Task, s: Steps, layer: int, y: Array) -> tuple[Array, Array]:
    """The probabilities (h, n, n) and the values (h, n, v)."""
    q, k, v = (s.projected(t, s, name, layer, y) for name in ("query", "key", "value"))
    k, v = s.shared(t, k), s.shared(t, v)
    scores = t.work(s.scale(t, layer)) * s.product(q, k.swapaxes(1, 2))
    scores = np.where(s.visible(t, len(y)), scores, -np.inf)
    return s.softmax(t, scores), v


def attended(t: Task, s: Steps, layer: int, y: Array) -> Array:
    p, v = s.weighed(t, s, layer, y)
    out = s.out(t, s, layer, s.product(p, v))
    bias = t.at("output_bias", layer)
    return out if bias is None else out + bias


def normalised(t: Task, x: Array, epsilon: float) -> Array:
    """Before gain and bias."""
    if t.norm == "layer":
        x = x - x.mean(axis=-1, keepdims=True)
    size = (x * x).mean(axis=-1, keepdims=True)
    return np.asarray(x / np.sqrt(size + t.work(epsilon)))


def _norm(t: Task, s: Steps, place: str, layer: int, x: Array) -> Array:
    """The norm of a place: ``attention`` or ``mlp`` of a layer, or ``final``."""
    out = s.normalised(t, x, s.epsilon(t, place, layer))
    gain, bias = (
        getattr(t, f"final_norm_{part}") if place == "final" else t.at(f"{place}_norm_{part}", layer)
        for part in ("gain", "bias")
    )
    out = out if gain is None else s.gained(t, out, gain)
    return out if bias is None else out + bias


def _mlp(t: Task, s: Steps, layer: int, y: Array) -> Array:
    up = s.product(y, t.at("up_weights", layer))
    up = up if t.up_bias is None else up + t.at("up_bias", layer)
    if t.gate_weights is not None:
        hidden = s.gated(t, s.product(y, t.at("gate_weights", layer)), up, s.activation(t))
    else:
        hidden = s.activation(t)(up)
    out = s.product(hidden, t.at("down_weights", layer))
    return out if t.down_bias is None else out + t.at("down_bias", layer)


def branch(t: Task, s: Steps, place: str, layer: int, x: Array) -> Array:
    """One of the two halves of a layer, with its norm and its skip connection."""
    made = s.attention if place == "attention" else s.mlp
    y = s.norm(t, s, place, layer, x) if t.norm is not None and t.norm_place == "pre" else x
    out = s.joined(t, place, layer, x, made(t, s, layer, y))
    return s.norm(t, s, place, layer, out) if t.norm is not None and t.norm_place == "post" else out


def _layer(t: Task, s: Steps, layer: int, x: Array) -> Array:
    x = s.branch(t, s, "attention", layer, x)
    return x if t.up_weights is None else s.branch(t, s, "mlp", layer, x)


def _returned(t: Task, s: Steps, after: list[Array]) -> Array:
    if t.final_norm:
        after = [*after[:-1], s.norm(t, s, "final", -1, after[-1])]
    return np.stack(after)


def stacked(t: Task, s: Steps) -> Array:
    """The tokens after every layer: (layers, n, d)."""
    t = s.task(t)
    x, after = t.tokens, []
    for layer in s.order(t):
        x = s.layer(t, s, layer, x)
        after.append(x)
    return s.returned(t, s, after)


@dataclass(frozen=True)
class Steps:
    """What the engine does, step by step; the defaults are right."""

    task: Callable[[Task], Task] = lambda t: t
    order: Callable[[Task], Iterable[int]] = lambda t: range(t.layers)
    layer: Callable[[Task, Steps, int, Array], Array] = _layer
    branch: Callable[[Task, Steps, str, int, Array], Array] = branch
    product: Callable[[Array, Array], Array] = product
    projected: Callable[[Task, Steps, str, int, Array], Array] = _projected
    shared: Callable[[Task, Array], Array] = _shared
    scale: Callable[[Task, int], float] = lambda t, layer: t.scale
    visible: Callable[[Task, int], Array] = visible
    softmax: Callable[[Task, Array], Array] = softmax
    weighed: Callable[[Task, Steps, int, Array], tuple[Array, Array]] = weighed
    out: Callable[[Task, Steps, int, Array], Array] = _out
    attention: Callable[[Task, Steps, int, Array], Array] = attended
    epsilon: Callable[[Task, str, int], float] = lambda t, place, layer: t.epsilon
    normalised: Callable[[Task, Array, float], Array] = normalised
    gained: Callable[[Task, Array, Array], Array] = lambda t, x, gain: x * gain
    norm: Callable[[Task, Steps, str, int, Array], Array] = _norm
    activation: Callable[[Task], Callable[[Array], Array]] = lambda t: ACTIVATIONS[t.activation]
    gated: Callable[..., Array] = lambda t, gate, up, function: function(gate) * up
    mlp: Callable[[Task, Steps, int, Array], Array] = _mlp
    #: (task, place, layer, tokens, what came out of the branch)
    joined: Callable[[Task, str, int, Array, Array], Array] = lambda t, place, layer, x, out: x + out if t.skip else out
    returned: Callable[[Task, Steps, list[Array]], Array] = _returned


def kernel(
    steps: Steps,
    each: Callable[[Task, Steps], Array] = stacked,
    after: Callable[[Task, Array], Array] = lambda t, out: out,
) -> Callable[..., Any]:
    """A kernel with every option; ``after(task, result)`` replaces the result."""

    def stack(
        tokens: Array, query_weights: Array, key_weights: Array, value_weights: Array, *, scale: float,
        skip: bool = True, causal: bool = False, output_weights: Array | None = None, query_bias: Array | None = None,
        key_bias: Array | None = None, value_bias: Array | None = None, output_bias: Array | None = None,
        mask: Array | None = None, norm: str | None = None, norm_place: str = "pre", epsilon: float | None = None,
        final_norm: bool = False, attention_norm_gain: Array | None = None, attention_norm_bias: Array | None = None,
        mlp_norm_gain: Array | None = None, mlp_norm_bias: Array | None = None, final_norm_gain: Array | None = None,
        final_norm_bias: Array | None = None, up_weights: Array | None = None, up_bias: Array | None = None,
        gate_weights: Array | None = None, down_weights: Array | None = None, down_bias: Array | None = None,
        activation: str = "relu",
    ) -> Any:  # fmt: skip
        named = dict(locals())
        work = np.dtype(np.float64 if tokens.dtype == np.float64 else np.float32)
        own = {name: named.pop(name) for name in ("scale", "skip", "causal")}
        weights = [named.pop(name).astype(work) for name in ("tokens", "query_weights", "key_weights", "value_weights")]
        more = {
            name: value.astype(work) if isinstance(value, np.ndarray) and value.dtype != bool else value
            for name, value in named.items()
            if name not in ("steps", "each", "after")
        }
        task = Task(*weights, tokens, **own, more=more)
        with np.errstate(all="ignore"):
            return after(task, each(task, steps)).astype(tokens.dtype)

    return stack
