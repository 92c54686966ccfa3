"""LC-1 as data: exact properties of self-attention networks (proofs_notes/layer_collapse.md).

A law applies only where the transformed instance is exact in the type of the arrays; elsewhere ``transform`` gives
``()``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec.problem import Law, Prediction

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from assay.spec.layer_collapse.instance import Instance

    Array = NDArray[np.float64]
    Instances = tuple[Instance, ...]
    Outputs = tuple[Mapping[str, Array], ...]
    Relation = Mapping[str, Prediction]

__all__ = ["LAWS"]


def _same(instance: Instance, transformed: Instances, outputs: Outputs) -> Relation:
    return _seen(lambda instance, x: x)(instance, transformed, outputs)


def _seen(back: Callable[[Instance, Array], Array]) -> Callable[[Instance, Instances, Outputs], Relation]:
    """The relation of an output that contains that of the instance, some numbers moved or left out."""

    def relate(instance: Instance, transformed: Instances, outputs: Outputs) -> Relation:
        if "tokens" not in outputs[0]:
            return {}
        value = back(instance, outputs[0]["tokens"])
        return {"tokens": Prediction(value, (np.ones_like(value),))}

    return relate


def _permute_tokens(instance: Instance, rng: np.random.Generator) -> Instances:
    return () if instance.causal else (instance.part(length=range(len(instance.tokens))[::-1]),)


def _permute_heads(instance: Instance, rng: np.random.Generator) -> Instances:
    key_heads = instance.key_weights.shape[1]
    return () if key_heads == 1 else (instance.part(key_heads=range(key_heads)[::-1]),)


def _permute_coordinates(instance: Instance, rng: np.random.Generator) -> Instances:
    lengths = instance.lengths()
    axes = ["head_dim", *(axis for axis in ("value_dim", "hidden") if axis in lengths)]
    if instance.output_weights is None:
        axes.remove("value_dim")
    return (instance.part(**{axis: range(lengths[axis])[::-1] for axis in axes}),)


def _repeat_tokens(instance: Instance, rng: np.random.Generator) -> Instances:
    return () if instance.causal else (instance.part(length=np.tile(np.arange(len(instance.tokens)), 2)),)


def _append_token(instance: Instance, rng: np.random.Generator) -> Instances:
    """One token more, which no other attends to: a later one of a causal network, or padding."""
    n = len(instance.tokens)
    longer = instance.part(length=[*range(n), n - 1])
    if instance.causal:
        return (longer.replace(tokens=np.concatenate([instance.tokens, 3 * instance.tokens[:1]])),)
    mask = np.ones(n, dtype=bool) if instance.mask is None else instance.mask
    return (longer.replace(mask=np.append(mask, False)),)


def _append_layer(instance: Instance, rng: np.random.Generator) -> Instances:
    return () if instance.final_norm else (instance.part(layers=[*range(instance.layers), 0]),)


def _double_query(instance: Instance, rng: np.random.Generator) -> Instances:
    bias = {} if instance.query_bias is None else {"query_bias": 2 * instance.query_bias}
    return _exact(instance, query_weights=2 * instance.query_weights, scale=(instance.scale or 0.0) / 2, **bias)


def _negate_both(instance: Instance, rng: np.random.Generator) -> Instances:
    names = ("query_weights", "key_weights", "query_bias", "key_bias")
    return (instance.replace(**{name: -x for name in names if (x := getattr(instance, name)) is not None}),)


def _split_values(instance: Instance, rng: np.random.Generator) -> Instances:
    """Every head becomes two, of which each has some of the entries of its value matrix."""
    if instance.group > 1:
        return ()
    chosen = rng.integers(0, 2, instance.value_weights.shape).astype(bool)
    zero = np.zeros_like(instance.value_weights)
    halves = [np.where(chosen == side, instance.value_weights, zero) for side in (True, False)]
    twice = {
        name: np.concatenate([x, x], axis=1)
        for name in ("query_weights", "key_weights", "output_weights", "query_bias", "key_bias")
        if (x := getattr(instance, name)) is not None
    }
    if instance.value_bias is not None:
        twice["value_bias"] = np.concatenate([instance.value_bias, np.zeros_like(instance.value_bias)], axis=1)
    return (instance.replace(value_weights=np.concatenate(halves, axis=1), **twice),)


_SHIFTED_BIASES = {"query_bias": "query_weights", "key_bias": "key_weights", "value_bias": "value_weights"}


def _shift_tokens(instance: Instance, rng: np.random.Generator) -> Instances:
    """A multiple of a unit vector is added to all tokens, and taken off again by biases of every layer."""
    taken = any(getattr(instance, name) is not None for name in _SHIFTED_BIASES)
    if taken or not instance.is_linear() or not instance.skip:
        return ()
    c = int(rng.integers(instance.tokens.shape[1]))
    tokens = instance.tokens.copy()
    tokens[:, c] += 2
    biases = {bias: -2 * getattr(instance, weights)[:, :, c] for bias, weights in _SHIFTED_BIASES.items()}
    back = tokens.astype(np.float64)[:, c] - 2 == instance.tokens.astype(np.float64)[:, c]
    return _exact(instance, tokens=tokens, **biases) if back.all() else ()


def _shifted(instance: Instance, transformed: Instances, outputs: Outputs) -> Relation:
    """The outputs are shifted like the tokens."""
    moved = transformed[0].tokens.astype(np.float64) - instance.tokens.astype(np.float64)
    return _seen(lambda instance, x: x - moved)(instance, transformed, outputs)


def _exact(instance: Instance, **changes: Any) -> Instances:
    """The instance with these changes, which must not have overflowed or lost bits by doubling."""
    arrays = [x for x in changes.values() if isinstance(x, np.ndarray)]
    if not all(np.isfinite(x.astype(np.float64)).all() for x in arrays):
        return ()
    return (instance.replace(**changes),)


#: The laws of self-attention networks.
LAWS: tuple[Law, ...] = tuple(
    Law(identifier, "LC-1", statement, transform, relate)
    for identifier, statement, transform, relate in (
        (
            "permute-tokens",
            "permuting the tokens permutes the outputs",
            _permute_tokens,
            _seen(lambda i, x: x[:, ::-1]),
        ),
        ("permute-heads", "the order of the heads does not matter", _permute_heads, _same),
        ("permute-coordinates", "nor does that of coordinates inside a head or an MLP", _permute_coordinates, _same),
        (
            "repeat-tokens",
            "tokens that all occur twice change nothing",
            _repeat_tokens,
            _seen(lambda i, x: x[:, : len(i.tokens)]),
        ),
        (
            "append-token",
            "a token that none attends to changes nothing",
            _append_token,
            _seen(lambda i, x: x[:, : len(i.tokens)]),
        ),
        (
            "append-layer",
            "a layer changes none before it",
            _append_layer,
            _seen(lambda i, x: x[: i.layers]),
        ),
        ("double-query", "doubling the queries and halving the scale changes nothing", _double_query, _same),
        ("negate-both", "negating queries and keys changes nothing", _negate_both, _same),
        ("split-values", "a head is the sum of two among which its values are split", _split_values, _same),
        (
            "shift-tokens",
            "one vector added to all tokens, and taken off by biases, adds itself",
            _shift_tokens,
            _shifted,
        ),
    )
)
