"""Networks out of what users have: an instance, a state dict of torch or transformers, or a model in a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.layer_collapse.parts import Network
from assay.impl.models.bert import Bert
from assay.impl.models.llama import Llama
from assay.impl.models.weights import ModelError, Weights
from assay.spec.layer_collapse.instance import Instance

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

__all__ = ["network", "of_model", "of_torch"]

_KINDS: dict[str, type[Bert] | type[Llama]] = {"bert": Bert, "llama": Llama}

#: What a layer of torch's encoder has, and what may be missing: a norm then has the gain 1, and a bias is 0.
_MATRICES = ("self_attn.in_proj_weight", "self_attn.out_proj.weight", "linear1.weight", "linear2.weight")
_OPTIONAL = (
    *("self_attn.in_proj_bias", "self_attn.out_proj.bias", "linear1.bias", "linear2.bias"),
    *("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"),
)
#: What ``config`` says of torch's encoder, and the types of that.
_SETTINGS: dict[str, type | tuple[type, ...]] = {
    "heads": int, "norm_first": bool, "activation": str, "epsilon": (int, float),
}  # fmt: skip


def network(model: Any, tokens: Any = None, config: Mapping[str, Any] | None = None) -> Network:
    """The network of a model and its tokens.

    model: a :class:`Network`; an :class:`assay.spec.layer_collapse.Instance`, which brings its tokens; a model of
    :func:`assay.impl.models.open_model`, with ``tokens`` (n,) numbers of tokens; or a state dict, name → array.

    A state dict of ``torch.nn.TransformerEncoder`` (or of one ``TransformerEncoderLayer``) needs ``tokens`` (n, d), and
    of ``config`` heads, which is required, and norm_first (False), activation ("relu"), epsilon (1e-5).  A state dict
    of transformers needs the contents of its config.json, with model_type "bert" or "llama", and numbers of tokens.

    Raises ``ValueError`` for anything else, and :class:`~assay.impl.models.ModelError`, which is one, where a tensor or
    a setting is missing or another.
    """
    if isinstance(model, Network):
        return model
    if isinstance(model, Instance):
        return Network.of(model)
    if isinstance(model, Bert | Llama):
        return of_model(model, _numbers(tokens))
    if not isinstance(model, Mapping):
        raise ValueError(f"model: {type(model).__name__}, expected an instance, a state dict or an opened model")
    state = {name: np.asarray(x) for name, x in model.items()}
    settings = dict(config or {})
    if any(name.endswith("self_attn.in_proj_weight") for name in state):
        _require_settings(settings)
        return of_torch(state, tokens, **settings)
    kind = settings.get("model_type")
    if kind not in _KINDS:
        raise ValueError(
            f"config: model_type {kind!r}, expected one of {', '.join(_KINDS)}, or a state dict of torch's encoder"
        )
    tensors = {name.removeprefix("bert."): x.astype(np.float32, copy=False) for name, x in state.items()}
    weights = Weights(Path(f"{kind} state dict"), "safetensors", kind, settings, tensors)
    return of_model(_KINDS[kind].of(weights), _numbers(tokens))


def _require_settings(settings: Mapping[str, Any]) -> None:
    """Raise ``ValueError`` for what is no setting of torch's encoder."""
    for name in ("heads", *settings):
        if name not in settings or not isinstance(settings[name], _SETTINGS.get(name, ())):
            said = f"{name} is {settings[name]!r}" if name in settings else f"no {name}"
            raise ValueError(f"config: {said}, expected heads (a whole number), norm_first, activation and epsilon")


def of_torch(
    state: Mapping[str, Array],
    tokens: Array,
    *,
    heads: int,
    norm_first: bool = False,
    activation: str = "relu",
    epsilon: float = 1e-5,
) -> Network:
    """The network of a state dict of ``torch.nn.TransformerEncoder`` or ``TransformerEncoderLayer``, tokens (n, d).

    Raises :class:`~assay.impl.models.ModelError` where a tensor is missing, or is none of an encoder's: a decoder, or a
    model with layers of other kinds, is another network.
    """
    names = {name.rsplit("self_attn.", 1)[0] for name in state if name.endswith("self_attn.in_proj_weight")}
    prefixes = sorted(names, key=lambda name: (len(name), name))
    of_layers = {prefix + name for prefix in prefixes for name in (*_MATRICES, *_OPTIONAL)}
    for name in sorted(set(state) - of_layers - {"norm.weight", "norm.bias"}):
        raise ModelError(f"state dict: {name} is no part of torch's encoder")

    def every(name: str) -> Array | None:
        present = [prefix for prefix in prefixes if prefix + name in state]
        if present and len(present) != len(prefixes):
            raise ModelError(f"state dict: {name} in some layers only")
        return np.stack([np.asarray(state[prefix + name]) for prefix in prefixes]) if present else None

    def required(name: str) -> Array:
        found = every(name)
        if found is None:
            raise ModelError(f"state dict: no {name}, which a layer of torch's encoder has")
        return found

    joined, joined_bias = required("self_attn.in_proj_weight"), every("self_attn.in_proj_bias")
    parts = np.split(joined, 3, axis=1)
    biases = [None] * 3 if joined_bias is None else np.split(joined_bias, 3, axis=1)
    final = "norm.weight" in state
    return Network.of(
        _instance(
            np.asarray(tokens),
            [_heads(part, heads) for part in parts],
            _joined(required("self_attn.out_proj.weight"), heads),
            [None if bias is None else bias.reshape(len(bias), heads, -1) for bias in biases],
            scale=None,
            output_bias=every("self_attn.out_proj.bias"),
            norm="layer",
            norm_place="pre" if norm_first else "post",
            epsilon=epsilon,
            attention_norm_gain=every("norm1.weight"),
            attention_norm_bias=every("norm1.bias"),
            mlp_norm_gain=every("norm2.weight"),
            mlp_norm_bias=every("norm2.bias"),
            final_norm=final,
            final_norm_gain=np.asarray(state["norm.weight"]) if final else None,
            final_norm_bias=np.asarray(state["norm.bias"]) if final and "norm.bias" in state else None,
            up_weights=required("linear1.weight").swapaxes(1, 2),
            up_bias=every("linear1.bias"),
            down_weights=required("linear2.weight").swapaxes(1, 2),
            down_bias=every("linear2.bias"),
            activation=activation,
        ),
        name="torch encoder",
    )


def of_model(model: Bert | Llama, tokens: NDArray[np.int64]) -> Network:
    """The network of an opened model: its first layer is handed the embedded ``tokens`` (n,)."""
    return _bert(model, tokens) if isinstance(model, Bert) else _llama(model, tokens)


def _bert(model: Bert, tokens: NDArray[np.int64]) -> Network:
    def every(name: str, *shape: int) -> Array:
        return np.stack([model.weights.tensor(f"encoder.layer.{i}.{name}", *shape) for i in range(model.layers)])

    d, f = model.width, model.inner
    names = [f"attention.self.{name}" for name in ("query", "key", "value")]
    instance = _instance(
        model.embedded(tokens),
        [_heads(every(f"{name}.weight", d, d), model.heads) for name in names],
        _joined(every("attention.output.dense.weight", d, d), model.heads),
        [every(f"{name}.bias", d).reshape(model.layers, model.heads, -1) for name in names],
        scale=(d // model.heads) ** -0.5,
        output_bias=every("attention.output.dense.bias", d),
        norm="layer",
        norm_place="post",
        epsilon=model.epsilon,
        attention_norm_gain=every("attention.output.LayerNorm.weight", d),
        attention_norm_bias=every("attention.output.LayerNorm.bias", d),
        mlp_norm_gain=every("output.LayerNorm.weight", d),
        mlp_norm_bias=every("output.LayerNorm.bias", d),
        up_weights=every("intermediate.dense.weight", f, d).swapaxes(1, 2),
        up_bias=every("intermediate.dense.bias", f),
        down_weights=every("output.dense.weight", d, f).swapaxes(1, 2),
        down_bias=every("output.dense.bias", d),
        activation="gelu",
    )
    return Network.of(instance, name=model.name)


def _llama(model: Llama, tokens: NDArray[np.int64]) -> Network:
    def every(name: str, *shape: int) -> Array:
        return np.stack([model.tensor(name, *shape, layer=i) for i in range(model.layers)])

    d, f, h, h_k, k = model.width, model.inner, model.heads, model.key_heads, model.dim
    instance = _instance(
        model.embedded(tokens),
        [_heads(every(f"attn_{name}", n * k, d), n) for name, n in (("q", h), ("k", h_k), ("v", h_k))],
        _joined(every("attn_output", d, h * k), h),
        [None] * 3,
        scale=k**-0.5,
        causal=True,
        norm="rms",
        epsilon=model.epsilon,
        final_norm=True,
        attention_norm_gain=every("attn_norm", d),
        mlp_norm_gain=every("ffn_norm", d),
        final_norm_gain=model.tensor("output_norm", d),
        up_weights=every("ffn_up", f, d).swapaxes(1, 2),
        gate_weights=every("ffn_gate", f, d).swapaxes(1, 2),
        down_weights=every("ffn_down", d, f).swapaxes(1, 2),
        activation="silu",
    )
    return Network.of(instance, model.rotary, model.name)


def _instance(
    tokens: Array, projections: list[Array], output: Array, biases: list[Array | None], **rest: Any
) -> Instance:
    """The instance of these arrays, all of the type of the weights."""
    query, key, value = projections
    dtype = query.dtype
    names = ("query_bias", "key_bias", "value_bias")
    options = {**rest, "output_weights": output, **dict(zip(names, biases, strict=True))}
    options = {k: x.astype(dtype, copy=False) if isinstance(x, np.ndarray) else x for k, x in options.items()}
    return Instance(tokens.astype(dtype, copy=False), query, key, value, **options)


def _heads(weight: Array, heads: int) -> Array:
    """(L, h·k, d), as libraries keep a projection, → (L, h, d, k)."""
    layers, rows, d = weight.shape
    if rows % heads:
        raise ModelError(f"{rows} rows of a projection, expected a multiple of the {heads} heads")
    return weight.reshape(layers, heads, rows // heads, d).swapaxes(2, 3)


def _joined(weight: Array, heads: int) -> Array:
    """(L, d, h·v), the output projection, → (L, h, v, d)."""
    layers, d, columns = weight.shape
    return weight.reshape(layers, d, heads, columns // heads).transpose(0, 2, 3, 1)


def _numbers(tokens: Any) -> NDArray[np.int64]:
    found = np.asarray(tokens)
    if found.ndim != 1 or found.dtype.kind not in "iu" or not len(found):
        raise ValueError(f"tokens: {found.dtype} of shape {found.shape}, expected the numbers of tokens, shape (n,)")
    return found.astype(np.int64)
