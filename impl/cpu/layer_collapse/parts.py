"""The parts of a stack, layer by layer: norms, heads and MLPs as functions of arrays of one type.

What they compute is defined in :mod:`assay.spec.layer_collapse`; this module adds rotary positions, which real models
have and the problem has not.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.compiled import compiled
from assay.impl.models.llama import silu
from assay.spec.instances.extra import required

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from assay.impl.models.rotary import Rotary
    from assay.spec.layer_collapse.instance import Instance

    Array = NDArray[Any]

__all__ = ["ACTIVATIONS", "SLOPES", "Attention", "Feedforward", "Layer", "Network", "Norm"]


@dataclass(frozen=True, eq=False)
class Norm:
    """Layer norm, or RMS norm: (x − mean)/√(variance + epsilon) or x/√(mean square + epsilon), times gain, plus bias.

    gain, bias: (d,) or ``None``, which stand for ones and zeros.
    """

    rms: bool
    epsilon: float
    gain: Array | None = None
    bias: Array | None = None

    def deviation(self, x: Array) -> Array:
        """(n, 1): what every token is divided by."""
        centred = x if self.rms else x - x.mean(axis=-1, keepdims=True)
        found: Array = np.sqrt(np.square(centred).mean(axis=-1, keepdims=True) + x.dtype.type(self.epsilon))
        return found

    def apply(self, x: Array) -> Array:
        """(n, d): the tokens after the norm.

        >>> Norm(rms=True, epsilon=0.0).apply(np.array([[3.0, 3.0]]))
        array([[1., 1.]])
        """
        centred = x if self.rms else x - x.mean(axis=-1, keepdims=True)
        out: Array = centred / self.deviation(x)
        if self.gain is not None:
            out = out * self.gain
        return out if self.bias is None else out + self.bias

    def lipschitz(self, x: Array, y: Array) -> Array:
        """(n,): at least ‖N(x_i) − N(y_i)‖/‖x_i − y_i‖ of every pair of rows (LC-9)."""
        gain = 1.0 if self.gain is None else float(np.abs(self.gain).max())
        found: Array = 2.0 * gain / (self.deviation(x) + self.deviation(y))[:, 0]
        return found


@dataclass(frozen=True, eq=False)
class Attention:
    """The heads of a layer.

    query (h, d, k), key (h_k, d, k), value (h_k, d, v); query head i reads key head i // (h/h_k).
    output (h, v, d), or ``None`` where v is d and the outputs of the heads are added as they are.
    The biases are (h, k), (h_k, k), (h_k, v) and (d,), or ``None``.
    """

    query: Array
    key: Array
    value: Array
    output: Array | None
    scale: float
    query_bias: Array | None = None
    key_bias: Array | None = None
    value_bias: Array | None = None
    output_bias: Array | None = None

    @property
    def heads(self) -> int:
        return len(self.query)

    @property
    def group(self) -> int:
        """Query heads that read one key head."""
        return len(self.query) // len(self.key)

    def carried(self, head: int, tokens: Array) -> Array:
        """(n, d): what every token adds to the layer's output per unit of attention to it, without biases."""
        value: Array = tokens @ self.value[head // self.group]
        return value if self.output is None else value @ self.output[head]

    def matrix(self, head: int) -> Array:
        """V_h (d, d): value times output weights of one head."""
        value: Array = self.value[head // self.group]
        return value if self.output is None else value @ self.output[head]

    @functools.cached_property
    def total(self) -> Array:
        """(d, d): the sum of V_h over the heads."""
        found: Array = np.add.reduce([self.matrix(head) for head in range(self.heads)])
        return found

    @functools.cached_property
    def total_error(self) -> Array:
        """(d, d): what the roundings of :attr:`total` may come to, where its terms cancel."""
        found: Array = np.zeros((self.query.shape[1],) * 2)
        for head in range(self.heads):
            size = np.abs(self.value[head // self.group])
            found += size if self.output is None else size @ np.abs(self.output[head])
        found *= (self.value.shape[2] + self.heads + 8) * 2.0**-52
        return found

    def constant(self) -> Array | None:
        """(d,): what the biases add to the output of every token, as the weights of attention sum to 1."""
        parts = [] if self.output_bias is None else [self.output_bias]
        if self.value_bias is not None:
            for head in range(self.heads):
                bias = self.value_bias[head // self.group]
                parts.append(bias if self.output is None else bias @ self.output[head])
        found: Array | None = np.add.reduce(parts) if parts else None
        return found


@dataclass(frozen=True, eq=False)
class Feedforward:
    """The MLP f(x·up + up_bias)·down + down_bias; with a gate, (f(x·gate) ⊙ (x·up + up_bias))·down + down_bias."""

    activation: str
    up: Array  # (d, inner)
    down: Array  # (inner, d)
    gate: Array | None = None
    up_bias: Array | None = None
    down_bias: Array | None = None

    def inner(self, x: Array) -> tuple[Array, Array | None]:
        """(n, inner): what the activation gives, and what it is multiplied by where there is a gate."""
        function = ACTIVATIONS[self.activation]
        up = _affine(x, self.up, self.up_bias)
        if self.gate is None:
            return function(up), None
        return function(x @ self.gate), up

    def apply(self, x: Array) -> Array:
        """(n, d): the output for every token."""
        active, up = self.inner(x)
        return _affine(active if up is None else active * up, self.down, self.down_bias)


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer; a norm or an MLP that is ``None`` is not there."""

    attention: Attention
    feedforward: Feedforward | None = None
    attention_norm: Norm | None = None
    feedforward_norm: Norm | None = None


@dataclass(frozen=True, eq=False)
class Network:
    """A stack and its tokens: an instance of the problem and, where queries and keys are turned by it, a position.

    No token of the instance is padding: those are dropped by :meth:`of`, as no other token depends on them.
    name: what reports call it.
    factor, mlp_factor: what the projections of all heads, and the matrices and biases of the MLPs, are multiplied by.
    """

    instance: Instance
    rotary: Rotary | None = None
    name: str = "network"
    factor: float = 1.0
    mlp_factor: float = 1.0

    @classmethod
    def of(cls, instance: Instance, rotary: Rotary | None = None, name: str = "network") -> Network:
        """The network of an instance, without its padding."""
        if instance.mask is not None:
            tokens = np.ascontiguousarray(instance.tokens[instance.mask])
            instance = instance.replace(tokens=tokens, mask=None)
        return cls(instance, rotary, name)

    @property
    def is_uniform(self) -> bool:
        """Whether rows of scores differ by their tokens alone, so that diameters bound them (LC-6)."""
        return not self.instance.causal and self.rotary is None

    @property
    def degree(self) -> int:
        """The power of s by which κ grows where :meth:`scaled` multiplies by s (LC-12)."""
        return 3 if self.instance.output_weights is None else 4

    def layer(self, number: int, dtype: Any = np.float64) -> Layer:
        """The arrays of one layer, the first being 0, in a type."""
        one = self.instance

        def at(name: str, factor: float = 1.0) -> Array | None:
            array = getattr(one, name)
            return None if array is None else _times(array[number].astype(dtype, copy=False), factor)

        def required(name: str, factor: float) -> Array:
            return _times(getattr(one, name)[number].astype(dtype, copy=False), factor)

        feedforward = None
        if one.up_weights is not None:
            up, down = (required(name, self.mlp_factor) for name in ("up_weights", "down_weights"))
            rest = (at(name, self.mlp_factor) for name in ("gate_weights", "up_bias", "down_bias"))
            feedforward = Feedforward(one.activation, up, down, *rest)
        query, key, value = (required(f"{name}_weights", self.factor) for name in ("query", "key", "value"))
        biases = {f"{name}_bias": at(f"{name}_bias", self.factor) for name in ("query", "key", "value", "output")}
        output = at("output_weights", self.factor)
        attention = Attention(query, key, value, output, float(one.scale or 0.0), **biases)
        norms = (self._norm(at(f"{place}_norm_gain"), at(f"{place}_norm_bias")) for place in ("attention", "mlp"))
        return Layer(attention, feedforward, *norms)

    def final(self, dtype: Any = np.float64) -> Norm | None:
        """The norm after the last layer, if there is one."""
        one = self.instance
        gain, bias = one.final_norm_gain, one.final_norm_bias
        return self._norm(_cast(gain, dtype), _cast(bias, dtype)) if one.final_norm else None

    def scaled(self, factor: float, *, mlp: bool = False) -> Network:
        """The projections of all heads times ``factor``, with their biases; with ``mlp`` the MLPs too."""
        return dataclasses.replace(
            self, factor=self.factor * factor, mlp_factor=self.mlp_factor * factor if mlp else self.mlp_factor
        )

    def _norm(self, gain: Array | None, bias: Array | None) -> Norm | None:
        if self.instance.norm is None:
            return None
        return Norm(self.instance.norm == "rms", float(self.instance.epsilon or 0.0), gain, bias)


def _cast(x: Array | None, dtype: Any) -> Array | None:
    return None if x is None else np.asarray(x).astype(dtype, copy=False)


def _times(x: Array, factor: float) -> Array:
    return x if factor == 1.0 else x * x.dtype.type(factor)


def _affine(x: Array, weight: Array, bias: Array | None) -> Array:
    found: Array = x @ weight
    return found if bias is None else found + bias


def _gelu(x: Array) -> Array:
    found = np.empty(x.size)
    _compiled_gelu()(np.ascontiguousarray(x, np.float64).reshape(-1), found)
    return found.reshape(x.shape).astype(x.dtype, copy=False)


@functools.cache
def _compiled_gelu() -> Callable[..., None]:
    numba = required("numba", "cpu")

    types: Any = numba.types  # its annotations do not fit its own calls
    row = types.Array(types.float64, 1, "C")
    return compiled(_gelu_of_all, types.void(row, row), set())


def _gelu_of_all(x: Array, out: Array) -> None:
    for i in range(len(x)):
        out[i] = 0.5 * x[i] * math.erfc(-x[i] * math.sqrt(0.5))  # which keeps the digits of the left end


def _gelu_tanh(x: Array) -> Array:
    # x·(1 + tanh z)/2 = x/(1 + e^(−2z))
    with np.errstate(over="ignore"):
        inner = x.dtype.type(math.sqrt(2.0 / math.pi)) * (x + x.dtype.type(0.044715) * x * x * x)
        found: Array = x / (1 + np.exp(-2 * inner))
    return found


def _relu(x: Array) -> Array:
    found: Array = np.maximum(x, 0)
    return found


#: The functions of an MLP by name.
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": _relu,
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "silu": silu,
}

#: At least |f(x) − f(y)|/|x − y| of every function (LC-10); the largest slopes are 1, 1.12890…, 1.12899… and 1.09984….
SLOPES: dict[str, float] = {"relu": 1.0, "gelu": 1.13, "gelu_tanh": 1.13, "silu": 1.10}
