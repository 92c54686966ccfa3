"""MERGE-0 as data: exact properties of a merge.

A law applies only where the transformed instance is exact in the storage type; elsewhere ``transform`` gives ``()``.
Source: proofs_notes/small_transformers.md, MERGE-0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec.laws import apart, backwards, summed
from assay.spec.problem import Law, Prediction

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from assay.spec.small_transformers_merge.instance import Instance

    Array = NDArray[np.float64]
    Instances = tuple[Instance, ...]
    Outputs = tuple[Mapping[str, Array], ...]
    Relation = Mapping[str, Prediction]

__all__ = ["LAWS"]


def _permute(instance: Instance, rng: np.random.Generator) -> Instances:
    return (instance.part(parts=rng.permutation(len(instance.outputs))),)


def _append_empty(instance: Instance, rng: np.random.Generator) -> Instances:
    """A part without keys, at any place, whose output is anything."""
    if not np.isneginf(float(instance.log_sum_exps.dtype.type(-np.inf))):  # a type without infinity
        return ()
    place = int(rng.integers(0, len(instance.outputs) + 1))
    filler = (30.0 * rng.standard_normal(instance.outputs.shape[1:])).astype(instance.outputs.dtype)
    return (
        instance.replace(
            outputs=np.insert(instance.outputs, place, filler, axis=0),
            log_sum_exps=np.insert(instance.log_sum_exps, place, -np.inf, axis=0),
        ),
    )


def _shift(instance: Instance, rng: np.random.Generator) -> Instances:
    """Every log-sum-exp of a query moves by one integer, and the sink with them."""
    if instance.sink is not None and instance.sink.dtype != instance.log_sum_exps.dtype:
        return ()
    h, n = instance.log_sum_exps.shape[2:]
    step = rng.integers(-8, 9, size=(1, 1, h, 1 if instance.sink is not None else n)).astype(np.float64)
    changed = {"log_sum_exps": step} | ({} if instance.sink is None else {"sink": step.reshape(h)})
    made = {}
    for name, by in changed.items():
        stored = getattr(instance, name)
        moved = (stored.astype(np.float64) + by).astype(stored.dtype)
        back = moved.astype(np.float64) - by
        if (back != stored.astype(np.float64)).any():
            return ()
        made[name] = moved
    return (instance.replace(**made),)


def _shifted(instance: Instance, transformed: Instances, outputs: Outputs) -> Relation:
    some = instance.log_sum_exps != -np.inf
    moved = transformed[0].log_sum_exps.astype(np.float64) - np.where(some, instance.log_sum_exps.astype(np.float64), 0)
    step = np.where(some, moved, -np.inf).max(axis=0)
    if instance.sink is not None:
        assert transformed[0].sink is not None
        of_head = transformed[0].sink.astype(np.float64) - instance.sink.astype(np.float64)
        step = np.broadcast_to(of_head[None, :, None], step.shape)
    step = np.where(np.isfinite(step), step, 0.0)
    back = {"output": np.zeros(()), "log_sum_exp": step}
    return {name: Prediction(x - back[name], (np.ones_like(x),)) for name, x in outputs[0].items()}


def _split(instance: Instance, rng: np.random.Generator) -> Instances:
    """The parts in two groups, each merged by itself; the sink is in the first one only."""
    count = len(instance.outputs)
    if count < 2:
        return ()
    order, at = rng.permutation(count), int(rng.integers(1, count))
    return instance.part(parts=order[:at]), instance.part(parts=order[at:]).replace(sink=None)


def _rejoined(instance: Instance, transformed: Instances, outputs: Outputs) -> Relation:
    """o is the mean of both outputs by the weights of their groups."""
    if "output" not in outputs[0]:
        return {}
    share = _shares(transformed)[..., None]
    weights = tuple(np.broadcast_to(w, x["output"].shape) for w, x in zip(share, outputs, strict=True))
    total = sum(w * x["output"] for w, x in zip(weights, outputs, strict=True))
    return {"output": Prediction(np.asarray(total), weights)}


def _shares(groups: Instances) -> Array:
    """(groups, b, h, n): e^(lse of the group − lse), from the log-sum-exps that are given; 0 for an empty row."""
    logs = []
    for group in groups:
        numbers = group.log_sum_exps.astype(np.float64)
        if group.sink is not None:
            sink = np.broadcast_to(group.sink.astype(np.float64)[:, None], numbers.shape[1:])
            numbers = np.concatenate([numbers, sink[None]])
        logs.append(np.logaddexp.reduce(numbers, axis=0))
    each = np.stack(logs)
    total = np.logaddexp.reduce(each, axis=0)
    share: Array = np.where(np.isfinite(total), np.exp(each - np.where(np.isfinite(total), total, 0.0)), 0.0)
    return share


def _split_outputs(instance: Instance, rng: np.random.Generator) -> Instances:
    chosen = rng.integers(0, 2, size=instance.outputs.shape).astype(bool)
    zero = np.zeros_like(instance.outputs)
    return tuple(instance.replace(outputs=np.where(chosen == side, instance.outputs, zero)) for side in (True, False))


def _added(instance: Instance, transformed: Instances, outputs: Outputs) -> Relation:
    """Outputs are added; the log-sum-exp is that of either."""
    made = summed()(instance, transformed, tuple({n: x for n, x in o.items() if n == "output"} for o in outputs))
    if "log_sum_exp" in outputs[0]:
        log = outputs[0]["log_sum_exp"]
        made = {**made, "log_sum_exp": Prediction(log, (np.ones_like(log), np.zeros_like(log)))}
    return made


def _law(name: str, statement: str, transform: Any, relate: Any) -> Law:
    return Law(name, "MERGE-0", statement, transform, relate)


#: The laws of a merge.
LAWS: tuple[Law, ...] = (
    _law("permute-parts", "parts come in any order", _permute, summed()),
    _law("append-empty", "a part without keys changes nothing, whatever its output is", _append_empty, summed()),
    _law("shift-logs", "one number added to the log-sum-exps of a query moves its log-sum-exp only", _shift, _shifted),
    _law("associative", "parts may be merged in groups, and the groups then", _split, _rejoined),
    _law("split-values", "the output is additive in the outputs of the parts", _split_outputs, _added),
    _law("reverse-queries", "permuting queries permutes the rows", *backwards("queries", place=(2,))),
    _law("separate", "heads are independent of each other", *apart("heads", 1)),
)
