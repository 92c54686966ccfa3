"""ATT-1 and MERGE-0 as data: exact properties of attention that is simulated.

A law applies only where the transformed instance is exact in the storage type; elsewhere ``transform`` gives ``()``.
Source: proofs_notes/small_transformers.md, MERGE-0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec import attention
from assay.spec.laws import summed
from assay.spec.problem import Law, Prediction

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from assay.spec.small_transformers.instance import Instance

    Array = NDArray[np.float64]
    Instances = tuple[Instance, ...]
    Outputs = tuple[Mapping[str, Array], ...]
    Relation = Mapping[str, Prediction]

__all__ = ["LAWS"]


def _split_keys(instance: Instance, rng: np.random.Generator) -> Instances:
    """The keys in two parts, anywhere: both instances have all keys, and each a mask of its own part."""
    n_k = instance.key.shape[2]
    if n_k < 2:
        return ()
    first = np.zeros(n_k, dtype=bool)
    first[rng.permutation(n_k)[: int(rng.integers(1, n_k))]] = True
    mask = np.ones((1, 1, 1, 1), dtype=bool) if instance.mask is None else instance.mask
    return tuple(instance.replace(mask=mask & part) for part in (first, ~first))


def _merged(instance: Instance, transformed: Instances, outputs: Outputs) -> Relation:
    """o is the mean of both outputs by the weights of their parts."""
    if "output" not in outputs[0]:
        return {}
    logs = np.stack([_log_sum_exps(part) for part in transformed])
    most = logs.max(axis=0)
    weight = np.exp(logs - np.where(np.isfinite(most), most, 0.0))
    total = weight.sum(axis=0)
    share = (weight / np.where(total > 0, total, 1.0))[..., None]
    weights = tuple(np.broadcast_to(w, x["output"].shape) for w, x in zip(share, outputs, strict=True))
    summed_up = sum(w * x["output"] for w, x in zip(weights, outputs, strict=True))
    return {"output": Prediction(np.asarray(summed_up), weights)}


def _log_sum_exps(instance: Instance) -> Array:
    """(b, h_q, n_q) in float64, as accurate as its products."""
    query, key = instance.query.astype(np.float64), np.repeat(instance.key.astype(np.float64), instance.group, axis=1)
    assert instance.scale is not None
    score = np.where(instance.visible(), instance.scale * (query @ np.swapaxes(key, 2, 3)), -np.inf)
    logs: Array = np.logaddexp.reduce(score, axis=3)
    return logs


def _resized(instance: Instance, rng: np.random.Generator) -> Instances:
    """An oracle of another size and kind, which computes other heads at once."""
    n = max(instance.query.shape[2], instance.key.shape[2])
    kinds = [kind for kind in ("plain", "log_sum_exp", "causal") if kind != instance.oracle]
    size, at_once = int(rng.integers(2, n + 3)), int(rng.integers(1, 5))
    return (instance.replace(oracle_size=size, oracle=str(rng.choice(kinds)), at_once=at_once),)


def _permute_keys(instance: Instance, rng: np.random.Generator) -> Instances:
    if instance.is_causal:
        return ()
    return (instance.part(keys=rng.permutation(instance.key.shape[2])),)


def _reverse_queries(instance: Instance, rng: np.random.Generator) -> Instances:
    if instance.is_causal:
        return ()
    return (instance.part(queries=np.arange(instance.query.shape[2])[::-1]),)


def _as_mask(instance: Instance, rng: np.random.Generator) -> Instances:
    """The causal mask, the window and the sinks become the boolean mask that they mean."""
    if not instance.is_causal:
        return ()
    return (instance.replace(mask=instance.visible(), is_causal=False, window=None, sinks=0),)


def _wide_window(instance: Instance, rng: np.random.Generator) -> Instances:
    """A window of all keys is none, whatever the sinks are."""
    if not instance.is_causal or instance.window is not None:
        return ()
    return (instance.replace(window=instance.query.shape[2], sinks=int(rng.integers(0, 4))),)


_ATTENTION = {law.id: law for law in attention.LAWS}


def _of_attention(name: str) -> Law:
    """A law of attention that changes queries, keys and values only."""
    law = _ATTENTION[name]
    return Law(law.id, "MERGE-0", law.statement, law.transform, law.relate)


def _own(name: str, statement: str, transform: Callable[..., Any], relate: Callable[..., Any] | None = None) -> Law:
    return Law(name, "MERGE-0", statement, transform, summed() if relate is None else relate)


#: The laws of a simulation: what is right does not depend on the oracle.
LAWS: tuple[Law, ...] = (
    _own("split-keys", "keys may be split anywhere and the parts merged", _split_keys, _merged),
    _own("resize", "the size and the kind of the oracle change nothing", _resized),
    _own("permute-keys", "permuting keys together with values changes nothing", _permute_keys),
    _own("reverse-queries", "permuting queries permutes the outputs", _reverse_queries,
         summed(lambda instance, x: x[:, :, ::-1])),
    _own("as-mask", "the causal mask, windows and sinks equal the boolean mask that they mean", _as_mask),
    _own("wide-window", "a window of all keys is none", _wide_window),
    *(_of_attention(name) for name in ("split-values", "negate-values", "negate-both", "double-query", "separate")),
)  # fmt: skip
