"""The exact stack on the CPU: matrix products of NumPy, and attention by tiles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu import attention
from assay.impl.cpu.layer_collapse.parts import Network
from assay.impl.cpu.progress import told
from assay.impl.cpu.threads import require_number
from assay.spec.layer_collapse.instance import Instance

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from assay.impl.cpu.layer_collapse.parts import Layer
    from assay.impl.models.rotary import Rotary

    Array = NDArray[Any]

__all__ = ["exact", "joined", "projected", "sublayers"]


def exact(
    tokens: Array,
    query_weights: Array,
    key_weights: Array,
    value_weights: Array,
    *,
    scale: float | None = None,
    skip: bool = True,
    causal: bool = False,
    output_weights: Array | None = None,
    query_bias: Array | None = None,
    key_bias: Array | None = None,
    value_bias: Array | None = None,
    output_bias: Array | None = None,
    mask: NDArray[np.bool_] | None = None,
    norm: str | None = None,
    norm_place: str = "pre",
    epsilon: float | None = None,
    final_norm: bool = False,
    attention_norm_gain: Array | None = None,
    attention_norm_bias: Array | None = None,
    mlp_norm_gain: Array | None = None,
    mlp_norm_bias: Array | None = None,
    final_norm_gain: Array | None = None,
    final_norm_bias: Array | None = None,
    up_weights: Array | None = None,
    up_bias: Array | None = None,
    gate_weights: Array | None = None,
    down_weights: Array | None = None,
    down_bias: Array | None = None,
    activation: str = "relu",
    threads: int | None = None,
    progress: bool | Callable[[int, int], None] = False,
) -> Array:
    """The tokens (L, n, d) after every layer, in the type of the input.

    tokens (n, d), query_weights (L, h, d, k), key_weights (L, h_k, d, k), value_weights (L, h_k, d, v); every
    option is as in :class:`assay.spec.layer_collapse.Instance`.  A layer of ``torch.nn.TransformerEncoder`` computes
    the same from its own weights.

    Everything is computed in the type of the input, bfloat16 and float16 in float32, and rounded once where it is
    returned.  No matrix of scores is ever formed: beside the result the memory is that of a few arrays (h, n, k) and
    of one (n, hidden).  threads: the most threads of the attention (default: the CPUs of this process).  progress: True
    shows a bar; a function is called with (layers done, layers).

    Raises :class:`~assay.spec.problem.InvalidInstance` for bad input, naming the argument, and ``ValueError`` for bad
    ``threads``.

    >>> one = np.ones((1, 1, 1, 1))
    >>> exact(np.array([[0.0], [1.0]]), one, one, one).round(6).ravel()
    array([0.5     , 1.731059])
    """
    instance = Instance(
        tokens,
        query_weights,
        key_weights,
        value_weights,
        scale,
        skip,
        causal,
        output_weights,
        query_bias,
        key_bias,
        value_bias,
        output_bias,
        mask,
        norm,
        norm_place,
        epsilon,
        final_norm,
        attention_norm_gain,
        attention_norm_bias,
        mlp_norm_gain,
        mlp_norm_bias,
        final_norm_gain,
        final_norm_bias,
        up_weights,
        up_bias,
        gate_weights,
        down_weights,
        down_bias,
        activation,
    )
    require_number(threads)
    work = np.dtype(np.float64) if tokens.dtype.name == "float64" else np.dtype(np.float32)
    network = Network(instance)
    x = tokens.astype(work)
    out = np.empty((instance.layers, *tokens.shape), tokens.dtype)
    seen = None if mask is None else mask[None, None, None, :]
    with told(progress, "layers") as tell:
        for number in range(instance.layers):
            layer = network.layer(number, work)

            def attend(z: Array, layer: Layer = layer) -> Array:
                return _attended(layer, z, causal, seen, threads)

            x = sublayers(layer, instance, x, attend)
            final = network.final(work) if number == instance.layers - 1 else None
            x = x if final is None else final.apply(x)
            out[number] = x
            tell(number + 1, instance.layers)
    return out


def sublayers(layer: Layer, instance: Instance, x: Array, attend: Callable[[Array], Array]) -> Array:
    """(n, d): the tokens after a layer whose heads are computed by ``attend``."""
    parts = [(attend, layer.attention_norm)]
    if layer.feedforward is not None:
        parts.append((layer.feedforward.apply, layer.feedforward_norm))
    post = instance.norm_place == "post"
    for part, norm in parts:
        y = part(x if norm is None or post else norm.apply(x))
        x = x + y if instance.skip else y
        x = x if norm is None or not post else norm.apply(x)
    return x


def projected(layer: Layer, z: Array, rotary: Rotary | None = None) -> tuple[Array, Array, Array]:
    """Query (h, n, k), key (h_k, n, k) and value (h_k, n, v) of tokens, with biases and positions."""
    heads = layer.attention
    query, key, value = (
        z @ weight if bias is None else z @ weight + bias[:, None, :]
        for weight, bias in (
            (heads.query, heads.query_bias),
            (heads.key, heads.key_bias),
            (heads.value, heads.value_bias),
        )
    )
    return (query, key, value) if rotary is None else (rotary.apply(query), rotary.apply(key), value)


def _attended(layer: Layer, z: Array, causal: bool, mask: Array | None, threads: int | None) -> Array:
    """(n, d): the outputs of all heads together."""
    heads = layer.attention
    query, key, value = projected(layer, z)
    each = attention.exact(
        query[None], key[None], value[None], heads.scale, is_causal=causal, mask=mask, threads=threads
    )[0]
    return joined(layer, each)


def joined(layer: Layer, each: Array) -> Array:
    """(n, d): the outputs (h, n, v) of the heads of a layer together."""
    heads = layer.attention
    out: Array
    if heads.output is None:
        out = each.sum(axis=0)
    else:
        h, n, v = each.shape
        out = each.swapaxes(0, 1).reshape(n, h * v) @ heads.output.reshape(h * v, -1)
    return out if heads.output_bias is None else out + heads.output_bias
