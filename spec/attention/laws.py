"""ATT-1 as data: exact properties of attention, each a transformation of the instance and the relation of the outputs.

A law applies only where the transformed instance is exact in the storage type; elsewhere ``transform`` gives ``()``.
Source: proofs_notes/attention.md, ATT-1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from assay.spec.problem import Law, Prediction
from assay.spec.softmax.laws import (
    append_masked_keys,
    as_bias,
    as_mask,
    double_query,
    negate_both,
    permute_keys,
    reverse_queries,
    separate,
    shift_keys,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from assay.spec.attention.instance import Instance

    Array = NDArray[np.float64]
    Instances = tuple[Instance, ...]
    Outputs = tuple[Mapping[str, Array], ...]
    Relation = Mapping[str, Prediction]

__all__ = ["LAWS"]


def _same(instance: Instance, transformed: Instances, outputs: Outputs) -> Relation:
    return {name: Prediction(value, (np.ones_like(value),)) for name, value in outputs[0].items()}


def _same_output(instance: Instance, transformed: Instances, outputs: Outputs) -> Relation:
    """The output alone: the log-sum-exp moves by a product of the query, which is not exact in float64."""
    return {name: made for name, made in _same(instance, transformed, outputs).items() if name == "output"}


def _shifted(instance: Instance, transformed: Instances, outputs: Outputs) -> Relation:
    """The log-sum-exp moves by the constant that was added to the scores of its row."""
    (shifted,) = transformed
    assert shifted.bias is not None
    row: Array = shifted.bias[..., 0].astype(np.float64)
    constant: dict[str, Array] = {"output": np.zeros(()), "log_sum_exp": row}
    return {name: Prediction(x - constant[name], (np.ones_like(x),)) for name, x in outputs[0].items()}


def _sum(instance: Instance, transformed: Instances, outputs: Outputs) -> Relation:
    """Outputs are added; the log-sum-exp is that of either."""
    first, second = outputs
    made = {name: Prediction(x, (np.ones_like(x), np.zeros_like(x))) for name, x in first.items()}
    if "output" in made:
        one = np.ones_like(first["output"])
        made["output"] = Prediction(first["output"] + second["output"], (one, one))
    return made


def _shift_scores(instance: Instance, rng: np.random.Generator) -> Instances:
    if instance.bias is not None or instance.sink is not None:
        return ()
    constant = rng.integers(-8, 9, size=(1, 1, instance.query.shape[2], 1)).astype(instance.query.dtype)
    return (instance.replace(bias=constant),)


def _reversed(instance: Instance, transformed: Instances, outputs: Outputs) -> Relation:
    return {name: Prediction(value[:, :, ::-1], (np.ones_like(value),)) for name, value in outputs[0].items()}


def _split_values(instance: Instance, rng: np.random.Generator) -> Instances:
    chosen = rng.integers(0, 2, size=instance.value.shape).astype(bool)
    zero = np.zeros_like(instance.value)
    return (
        instance.replace(value=np.where(chosen, instance.value, zero)),
        instance.replace(value=np.where(chosen, zero, instance.value)),
    )


def _negate_values(instance: Instance, rng: np.random.Generator) -> Instances:
    return (instance.replace(value=-instance.value),)


def _negated(instance: Instance, transformed: Instances, outputs: Outputs) -> Relation:
    sign = {"output": -1.0, "log_sum_exp": 1.0}
    return {name: Prediction(sign[name] * value, (np.ones_like(value),)) for name, value in outputs[0].items()}


def _together(instance: Instance, transformed: Instances, outputs: Outputs) -> Relation:
    b, h = instance.query.shape[:2]
    made = {}
    for name, first in outputs[0].items():
        parts = [output[name] for output in outputs]
        joined = np.concatenate(parts, axis=1).reshape(b, h, *first.shape[2:])
        weights = np.zeros((b * h, *joined.shape))
        for index in range(b * h):
            weights[index, index // h, index % h] = 1.0
        made[name] = Prediction(joined, tuple(weights))
    return made


#: The laws of attention: what every kernel must satisfy exactly, up to its own tolerance on each side.
LAWS: tuple[Law, ...] = tuple(
    Law(identifier, "ATT-1", statement, transform, relate)
    for identifier, statement, transform, relate in (
        ("shift-scores", "adding a constant to a row of scores changes nothing", _shift_scores, _shifted),
        ("shift-keys", "adding one vector to every key changes nothing", shift_keys, _same_output),
        ("permute-keys", "permuting keys together with values changes nothing", permute_keys, _same),
        ("reverse-queries", "permuting queries permutes the outputs", reverse_queries, _reversed),
        ("split-values", "the output is additive in the values", _split_values, _sum),
        ("negate-values", "negating the values negates the output", _negate_values, _negated),
        ("negate-both", "negating queries and keys changes nothing", negate_both, _same),
        ("double-query", "doubling the queries and halving the scale changes nothing", double_query, _same),
        ("separate", "batches and heads are independent", separate, _together),
        ("append-masked-keys", "a masked key equals an absent key", append_masked_keys, _same),
        ("as-mask", "causal masks, windows and key lengths equal the boolean mask that they mean", as_mask, _same),
        ("as-bias", "a boolean mask equals a bias of 0 and −inf", as_bias, _same),
    )
)
