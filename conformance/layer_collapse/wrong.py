"""A network in float64 of which single steps are replaced: what wrong stacks compute.

It is no reference: a meaning only has to come nearer to a wrong output than the right answer is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from assay.spec.layer_collapse import Instance

    Array = NDArray[np.float64]

__all__ = ["ACTIVATIONS", "Stack", "Steps", "network", "softmax"]


def _erf(x: Array) -> Array:
    return np.asarray(np.vectorize(math.erf, otypes=[np.float64])(x))


def _sigmoid(x: Array) -> Array:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * x)))


#: The activations of the problem, and those that are taken for them.
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": lambda x: np.maximum(x, 0.0),
    "gelu": lambda x: x * 0.5 * (1 + _erf(x / math.sqrt(2))),
    "gelu_tanh": lambda x: x * 0.5 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "silu": lambda x: x * _sigmoid(x),
    "quick_gelu": lambda x: x * _sigmoid(1.702 * x),
    "none": lambda x: x,
}


@dataclass(frozen=True)
class Stack:
    """An instance with its arrays in float64."""

    instance: Instance
    arrays: dict[str, Array]

    def of(self, name: str, layer: int) -> Any:
        """An array of one layer; ``None`` where it is not given."""
        array = self.arrays.get(name)
        return None if array is None else array[layer]


def _projected(s: Steps, stack: Stack, name: str, layer: int, y: Array) -> Array:
    """(heads or key heads, n, width)."""
    out = y @ stack.of(f"{name}_weights", layer)
    bias = stack.of(f"{name}_bias", layer)
    return np.asarray(out if bias is None else out + bias[:, None])


def _shared(s: Steps, stack: Stack, heads: Array) -> Array:
    return np.repeat(heads, stack.instance.query_weights.shape[1] // len(heads), axis=0)


def softmax(scores: Array) -> Array:
    top = scores.max(axis=-1, keepdims=True)
    weights = np.exp(scores - np.where(np.isfinite(top), top, 0.0))
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


def _weights(s: Steps, stack: Stack, layer: int, scores: Array) -> Array:
    """The probabilities (h, n, n) of scores that are not masked yet."""
    return softmax(np.where(s.attends(stack, layer), scores, -np.inf))


def _out(s: Steps, stack: Stack, layer: int, heads: Array) -> Array:
    weights = stack.of("output_weights", layer)
    return np.asarray((heads if weights is None else heads @ weights).sum(axis=0))


def _attention(s: Steps, stack: Stack, layer: int, y: Array) -> Array:
    q, k, v = (s.projected(s, stack, name, layer, y) for name in ("query", "key", "value"))
    k, v = s.shared(s, stack, k), s.shared(s, stack, v)
    scores = s.scale(stack, layer) * (q @ k.swapaxes(1, 2))
    out = s.out(s, stack, layer, s.weights(s, stack, layer, scores) @ v)
    bias = stack.of("output_bias", layer)
    return out if bias is None else out + bias


def _normalised(stack: Stack, x: Array, epsilon: float, kind: str) -> Array:
    """Before gain and bias."""
    y = x - x.mean(axis=-1, keepdims=True) if kind == "layer" else x
    return np.asarray(y / np.sqrt((y * y).mean(axis=-1, keepdims=True) + epsilon))


def _norm(s: Steps, stack: Stack, place: str, layer: int, x: Array) -> Array:
    """The norm of a place: ``attention``, ``mlp`` or ``final``."""
    out = s.normalised(stack, x, s.epsilon(stack, place), stack.instance.norm or "")
    names = (f"{place}_norm_gain", f"{place}_norm_bias")
    gain, bias = (stack.arrays.get(name) if place == "final" else stack.of(name, layer) for name in names)
    out = out if gain is None else out * s.gain(gain)
    return out if bias is None else out + bias


def _mlp(s: Steps, stack: Stack, layer: int, y: Array) -> Array:
    function = ACTIVATIONS[s.activation(stack)]
    up = y @ stack.of("up_weights", layer)
    bias = stack.of("up_bias", layer)
    up = up if bias is None else up + bias
    gates = stack.of("gate_weights", layer)
    hidden = function(up) if gates is None else s.gated(y @ gates, up, function)
    out = hidden @ stack.of("down_weights", layer)
    bias = stack.of("down_bias", layer)
    return np.asarray(out if bias is None else out + bias)


def _sublayer(s: Steps, stack: Stack, place: str, layer: int, x: Array) -> Array:
    """Attention or the MLP with its norm and its skip connection."""
    instance = stack.instance
    function = s.attention if place == "attention" else s.mlp
    if instance.norm is not None and instance.norm_place == "pre":
        y = s.norm(s, stack, place, layer, x)
        return s.joined(stack, place, s.base(place, x, y), function(s, stack, layer, y))
    out = function(s, stack, layer, x)
    if instance.norm is None:
        return s.joined(stack, place, x, out)
    if s.norm_of_branch:
        return s.joined(stack, place, x, s.norm(s, stack, place, layer, out))
    return s.norm(s, stack, place, layer, s.joined(stack, place, x, out))


def _layer(s: Steps, stack: Stack, layer: int, x: Array) -> Array:
    x = s.sublayer(s, stack, "attention", layer, x)
    return x if stack.instance.up_weights is None else s.sublayer(s, stack, "mlp", layer, x)


def _joined(stack: Stack, place: str, x: Array, out: Array) -> Array:
    return x + out if stack.instance.skip else out


def _attends(stack: Stack, layer: int) -> NDArray[np.bool_]:
    return stack.instance.attends()


def _returned(s: Steps, stack: Stack, after: list[Array]) -> Array:
    if stack.instance.final_norm:
        after = [*after[:-1], s.norm(s, stack, "final", -1, after[-1])]
    return np.stack(after)


@dataclass(frozen=True)
class Steps:
    """What is done, step by step; the defaults are right."""

    projected: Callable[[Steps, Stack, str, int, Array], Array] = _projected
    shared: Callable[[Steps, Stack, Array], Array] = _shared
    scale: Callable[[Stack, int], float] = lambda stack, layer: float(stack.instance.scale or 0.0)
    attends: Callable[[Stack, int], NDArray[np.bool_]] = _attends
    weights: Callable[[Steps, Stack, int, Array], Array] = _weights
    out: Callable[[Steps, Stack, int, Array], Array] = _out
    attention: Callable[[Steps, Stack, int, Array], Array] = _attention
    epsilon: Callable[[Stack, str], float] = lambda stack, place: float(stack.instance.epsilon or 0.0)
    normalised: Callable[[Stack, Array, float, str], Array] = _normalised
    gain: Callable[[Array], Array] = lambda gain: gain
    norm: Callable[[Steps, Stack, str, int, Array], Array] = _norm
    norm_of_branch: bool = False  # post-norm before the skip connection
    base: Callable[[str, Array, Array], Array] = lambda place, x, y: x  # of a pre-norm's skip connection
    activation: Callable[[Stack], str] = lambda stack: stack.instance.activation
    gated: Callable[..., Array] = lambda gate, up, function: function(gate) * up
    mlp: Callable[[Steps, Stack, int, Array], Array] = _mlp
    joined: Callable[[Stack, str, Array, Array], Array] = _joined
    sublayer: Callable[[Steps, Stack, str, int, Array], Array] = _sublayer
    layer: Callable[[Steps, Stack, int, Array], Array] = _layer
    order: Callable[[int], Iterable[int]] = range
    returned: Callable[[Steps, Stack, list[Array]], Array] = _returned


def network(instance: Instance, steps: Steps | None = None) -> Array:
    """The tokens after every layer, (layers, n, d), with some steps replaced.

    >>> from assay.spec.layer_collapse import Instance
    >>> one = np.ones((1, 1, 1, 1))
    >>> network(Instance(np.array([[0.0], [1.0]]), one, one, one)).round(3).ravel()
    array([0.5  , 1.731])
    """
    s = steps or Steps()
    stack = Stack(instance, {name: x.astype(np.float64) for name, x in instance.arrays().items() if name != "mask"})
    x, after = stack.arrays["tokens"], []
    with np.errstate(all="ignore"):
        for layer in s.order(instance.layers):
            x = s.layer(s, stack, layer, x)
            after.append(x)
        return s.returned(s, stack, after)
