"""Exact properties of the gradients, as data: a transformation of the instance, and how its gradients are related.

A law applies only where the transformed instance is exact in the storage type; elsewhere ``transform`` gives ``()``.
Source: proofs_notes/attention_gradient.md, BWD-7.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from assay.spec.laws import additive
from assay.spec.problem import Law, Prediction
from assay.spec.softmax import laws as shared

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from assay.spec.attention_gradient.instance import Instance

    Array = NDArray[np.float64]
    Instances = tuple[Instance, ...]
    Outputs = tuple[Mapping[str, Array], ...]
    Relation = Mapping[str, Prediction]

__all__ = ["LAWS"]


def _related(**back: Callable[[Array], Array]) -> Callable[[Instance, Instances, Outputs], Relation]:
    """Gradients are those of the one transformed instance, each taken back by a function; others are not predicted."""

    def relate(instance: Instance, transformed: Instances, outputs: Outputs) -> Relation:
        made = {}
        for name, function in back.items():
            if name in outputs[0]:
                value = function(outputs[0][name])
                made[name] = Prediction(value, (np.abs(function(np.ones_like(outputs[0][name]))),))
        return made

    return relate


def _same(x: Array) -> Array:
    return x


def _negated(x: Array) -> Array:
    return -x


def _backwards(x: Array) -> Array:
    return x[:, :, ::-1]


def _reverse_keys(instance: Instance, rng: np.random.Generator) -> Instances:
    if shared.positional(instance) or instance.key_lengths is not None:
        return ()
    return (instance.part(keys=np.arange(instance.key.shape[2])[::-1]),)


def _shift_keys(instance: Instance, rng: np.random.Generator) -> Instances:
    return () if instance.grad_log_sum_exp is not None else shared.shift_keys(instance, rng)


def _shift_values(instance: Instance, rng: np.random.Generator) -> Instances:
    if instance.sink is not None:  # its value stays zero
        return ()
    step = rng.integers(-2, 3, size=(1, instance.value.shape[1], 1, instance.value.shape[3])).astype(np.float64)
    before = instance.value.astype(np.float64)
    shifted = (before + step).astype(instance.value.dtype)
    back = shifted.astype(np.float64) - step
    return (instance.replace(value=shifted),) if (back == before).all() else ()


def _key_heads(instance: Instance, rng: np.random.Generator) -> Instances:
    """Every key head of every batch with its group."""
    b, h_k = instance.key.shape[:2]
    if b * h_k == 1 or b * h_k > 8:
        return ()
    return tuple(instance.part(batch=[i], key_heads=[j]) for i in range(b) for j in range(h_k))


def _together(instance: Instance, transformed: Instances, outputs: Outputs) -> Relation:
    b, h_k = instance.key.shape[:2]
    made = {}
    for name in ("grad_query", "grad_key", "grad_value"):
        if name in outputs[0]:
            parts = [output[name] for output in outputs]
            heads = parts[0].shape[1]
            joined = np.concatenate(parts, axis=1).reshape(b, h_k * heads, *parts[0].shape[2:])
            weights = np.zeros((b * h_k, *joined.shape))
            for index in range(b * h_k):
                at = index % h_k * heads
                weights[index, index // h_k, at : at + heads] = 1.0
            made[name] = Prediction(joined, tuple(weights))
    return made


def _append(instance: Instance, transformed: Instances, outputs: Outputs) -> Relation:
    n_k = instance.key.shape[2]

    def cut(x: Array) -> Array:
        return x[:, :, :n_k]

    relate = _related(grad_query=_same, grad_key=cut, grad_value=cut, grad_sink=_same)
    made = dict(relate(instance, transformed, outputs))
    for name in ("grad_key", "grad_value"):
        if name in made:  # an error of the part that is cut off moves nothing
            made[name] = Prediction(made[name].value, (np.ones_like(made[name].value),))
    return made


_ALL = dict.fromkeys(("grad_query", "grad_key", "grad_value", "grad_bias", "grad_sink"), _same)

#: The laws of the gradients of attention.
LAWS: tuple[Law, ...] = tuple(
    Law(identifier, "BWD-7", statement, transform, relate)
    for identifier, statement, transform, relate in (
        ("additive", "gradients are additive in those that come in", *additive("grad_output", "grad_log_sum_exp")),
        (
            "reverse-queries",
            "taking queries backwards takes their gradients backwards, and changes no others",
            shared.reverse_queries,
            _related(grad_query=_backwards, grad_key=_same, grad_value=_same, grad_sink=_same),
        ),
        (
            "reverse-keys",
            "taking keys backwards takes the gradients of keys and values backwards, and changes no others",
            _reverse_keys,
            _related(grad_query=_same, grad_key=_backwards, grad_value=_backwards, grad_sink=_same),
        ),
        (
            "negate-both",
            "negating queries and keys negates their gradients, and changes no others",
            shared.negate_both,
            _related(**{**_ALL, "grad_query": _negated, "grad_key": _negated}),
        ),
        (
            "double-query",
            "doubling the queries and halving the scale halves the gradient of the queries",
            shared.double_query,
            _related(**{**_ALL, "grad_query": lambda x: 2.0 * x}),
        ),
        ("shift-keys", "adding one vector to every key changes nothing", _shift_keys, _related(**_ALL)),
        ("shift-values", "adding one vector to every value changes nothing", _shift_values, _related(**_ALL)),
        ("separate", "batches and key heads with their groups are independent", _key_heads, _together),
        ("append-masked-keys", "a masked key equals an absent key", shared.append_masked_keys, _append),
        (
            "as-mask",
            "causal masks, windows and key lengths equal the boolean mask that they mean",
            shared.as_mask,
            _related(**_ALL),
        ),
    )
)
