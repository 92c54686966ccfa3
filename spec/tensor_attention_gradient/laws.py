"""Exact properties of the gradients, as data: a transformation of the instance, and how its gradients are related.

A law applies only where the transformed instance is exact in the storage type; elsewhere ``transform`` gives ``()``.
Source: proofs_notes/tensor_attention.md, TEN-6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from assay.spec.laws import additive
from assay.spec.problem import Law, Prediction
from assay.spec.tensor_attention import laws as forward

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from assay.spec.tensor_attention_gradient.instance import Incoming

    Array = NDArray[np.float64]
    Instances = tuple[Incoming, ...]
    Outputs = tuple[Mapping[str, Array], ...]
    Relation = Mapping[str, Prediction]

__all__ = ["LAWS"]


def _renamed(
    back: Callable[[str, Array], Array], source: Callable[[str, int], str] | None = None
) -> Callable[[Incoming, Instances, Outputs], Relation]:
    """Gradients are those of the one transformed instance, under another name and rearranged by ``back(name, x)``."""

    def relate(instance: Incoming, transformed: Instances, outputs: Outputs) -> Relation:
        made = {}
        for name in instance.outputs():
            other = name if source is None else source(name, instance.order)
            if other in outputs[0]:
                value = back(name, outputs[0][other])
                made[name] = Prediction(value, (np.abs(back(name, np.ones_like(outputs[0][other]))),))
        return made

    return relate


def _after(name: str, order: int) -> str:
    """The gradient of the mode before: keys and values of all modes have moved on by one."""
    if not name[-1].isdigit():
        return name
    mode = int(name[-1]) - 1 or order - 1
    return f"{name[:-1]}{mode}"


def _reverse_mode(instance: Incoming, rng: np.random.Generator) -> Instances:
    if instance.is_causal or instance.window is not None:
        return ()
    return (instance.part(keys1=np.arange(instance.mode_lengths[0])[::-1]),)


def _key_heads(instance: Incoming, rng: np.random.Generator) -> Instances:
    """Every key head of every batch with its group."""
    b, h_k = instance.mode_keys[0].shape[:2]
    if b * h_k == 1 or b * h_k > 8:
        return ()
    return tuple(instance.part(batch=[i], key_heads=[j]) for i in range(b) for j in range(h_k))


def _together(instance: Incoming, transformed: Instances, outputs: Outputs) -> Relation:
    b, h_k = instance.mode_keys[0].shape[:2]
    made = {}
    for name in outputs[0]:
        parts = [output[name] for output in outputs]
        heads = parts[0].shape[1]
        joined = np.concatenate(parts, axis=1).reshape(b, h_k * heads, *parts[0].shape[2:])
        weights = np.zeros((b * h_k, *joined.shape))
        for index in range(b * h_k):
            at = index % h_k * heads
            weights[index, index // h_k, at : at + heads] = 1.0
        made[name] = Prediction(joined, tuple(weights))
    return made


def _negate_keys(instance: Incoming, rng: np.random.Generator) -> Instances:
    return (instance.replace(query=-instance.query, key1=-instance.mode_keys[0]),)


def _negate_value(instance: Incoming, rng: np.random.Generator) -> Instances:
    return (instance.replace(grad_output=-instance.grad_output, value1=-instance.mode_values[0]),)


def _double_query(instance: Incoming, rng: np.random.Generator) -> Instances:
    assert instance.scale is not None
    doubled = (2.0 * instance.query.astype(np.float64)).astype(instance.query.dtype)
    if (doubled.astype(np.float64) != 2.0 * instance.query.astype(np.float64)).any():
        return ()
    return (instance.replace(query=doubled, scale=instance.scale / 2.0),)


def _signed(*names: str) -> Callable[[str, Array], Array]:
    return lambda name, x: -x if name in names else x


_FORWARD = {law.id: law for law in forward.LAWS}

#: The laws of the gradients of attention of order k.
LAWS: tuple[Law, ...] = tuple(
    Law(identifier, "TEN-6", statement, transform, relate)
    for identifier, statement, transform, relate in (
        ("additive", "gradients are additive in those that come in", *additive("grad_output", "grad_log_sum_exp")),
        (
            "exchange-modes",
            "exchanging modes together with their values exchanges their gradients",
            _FORWARD["exchange-modes"].transform,
            _renamed(lambda name, x: x, _after),
        ),
        (
            "reverse-mode",
            "taking a mode backwards takes its gradients backwards, and changes no others",
            _reverse_mode,
            _renamed(lambda name, x: x[:, :, ::-1] if name in ("grad_key1", "grad_value1") else x),
        ),
        (
            "reverse-queries",
            "taking queries backwards takes their gradients backwards, and changes no others",
            _FORWARD["reverse-queries"].transform,
            _renamed(lambda name, x: x[:, :, ::-1] if name == "grad_query" else x),
        ),
        (
            "negate-keys",
            "negating queries and the keys of a mode negates their gradients, and changes no others",
            _negate_keys,
            _renamed(_signed("grad_query", "grad_key1")),
        ),
        (
            "negate-value",
            "negating what comes in and the values of a mode negates the gradient of these values, and no others",
            _negate_value,
            _renamed(_signed("grad_value1")),
        ),
        (
            "double-query",
            "doubling the queries and halving the scale halves the gradient of the queries",
            _double_query,
            _renamed(lambda name, x: 2.0 * x if name == "grad_query" else x),
        ),
        ("wide-window", "a window as long as everything equals none", _FORWARD["wide-window"].transform,
         _renamed(lambda name, x: x)),
        ("separate", "batches and key heads with their groups are independent", _key_heads, _together),
    )
)  # fmt: skip
