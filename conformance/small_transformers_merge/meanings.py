"""Named wrong answers of merges."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from assay.conformance.diagnosis.meanings import Meaning, solves

if TYPE_CHECKING:
    from assay.spec.small_transformers_merge import Instance

__all__ = ["MEANINGS"]


def _logs(instance: Instance, factor: float) -> Instance:
    changed = (instance.log_sum_exps.astype(np.float64) * factor).astype(np.float64)
    return instance.replace(log_sum_exps=changed)


def _equal(instance: Instance) -> Instance:
    logs = np.where(instance.log_sum_exps == -np.inf, instance.log_sum_exps, 0)
    return instance.replace(log_sum_exps=logs.astype(instance.log_sum_exps.dtype))


def _counted(instance: Instance) -> Instance | None:
    """The sink once for every part."""
    if instance.sink is None or len(instance.outputs) == 1:
        return None
    return instance.replace(sink=instance.sink.astype(np.float64) + math.log(len(instance.outputs)))


def _without(instance: Instance, part: int) -> Instance | None:
    count = len(instance.outputs)
    return None if count == 1 else instance.part(parts=np.delete(np.arange(count), part))


def _empty_as_zero(instance: Instance) -> Instance | None:
    if not (instance.log_sum_exps == -np.inf).any():
        return None
    return instance.replace(log_sum_exps=np.where(instance.log_sum_exps == -np.inf, 0, instance.log_sum_exps))


def _alone(instance: Instance) -> Instance | None:
    """Every part that is not the last is forgotten."""
    return None if len(instance.outputs) == 1 else instance.part(parts=[len(instance.outputs) - 1])


MEANINGS: tuple[Meaning, ...] = (
    Meaning("base-2", "log-sum-exps are taken for those of base 2", solves(lambda i: _logs(i, math.log(2.0)))),
    Meaning("base-e", "log-sum-exps of base 2 are taken for natural ones", solves(lambda i: _logs(i, math.log2(math.e)))),
    Meaning("equal-weights", "parts are weighted alike", solves(_equal)),
    Meaning("sink-ignored", "the sink is ignored", solves(lambda i: i.replace(sink=None) if i.sink is not None else None)),
    Meaning("sink-counted", "the sink is counted once a part", solves(_counted)),
    Meaning("last-part", "the last part is left out", solves(lambda i: _without(i, len(i.outputs) - 1))),
    Meaning("first-part", "the first part is left out", solves(lambda i: _without(i, 0))),
    Meaning("only-last", "the last part overwrites the others", solves(_alone)),
    Meaning("empty-weighs", "an empty part weighs as one of log-sum-exp 0", solves(_empty_as_zero)),
)  # fmt: skip
