"""TEN-6 as data: exact properties of attention of order k.

A law applies only where the transformed instance is exact in the storage type; elsewhere ``transform`` gives ``()``.
One that attention has is missing: to add a vector to all keys of a mode moves the scores of order 3 by
σ⟨q_i ∘ x, k²_{j_2}⟩, which is not the same for all pairs.
Source: proofs_notes/tensor_attention.md, TEN-6.
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

    from assay.spec.tensor_attention.instance import HigherOrder

    Array = NDArray[Any]
    Instances = tuple[HigherOrder, ...]
    Outputs = tuple[Mapping[str, NDArray[np.float64]], ...]
    Relation = Mapping[str, Prediction]

__all__ = ["LAWS"]

_BITS = 53  # of a significand in float64: two shorter ones have an exact product


def _positional(instance: HigherOrder) -> bool:
    """Whether what a query attends to depends on its place among the others."""
    return instance.is_causal or instance.window is not None


def _multiplied(x: Array, factor: Array) -> Array | None:
    """The exact products in the type of ``x``, or ``None`` where they are not all in it."""
    with np.errstate(over="ignore", under="ignore"):
        wide = x.astype(np.float64) * factor
        made: Array = wide.astype(x.dtype)
        # no number is lost: neither in float64, where dividing gives it back, nor in the type
        divisor = np.where(factor == 0.0, 1.0, factor)
        back = np.where(factor == 0.0, x.astype(np.float64), wide / divisor)
        kept = (made.astype(np.float64) == wide).all() and (back == x.astype(np.float64)).all()
    exact = _significant(x) + _significant(factor) <= _BITS
    return made if kept and exact else None


def _significant(x: Array) -> int:
    """How many bits the longest significand among these numbers has."""
    mantissa = np.abs(np.frexp(x.astype(np.float64))[0]) * 2.0**_BITS
    lowest = [int(m) & -int(m) for m in mantissa[mantissa != 0.0].ravel()]
    return _BITS + 1 - min(low.bit_length() for low in lowest) if lowest else 0


def _gauge(instance: HigherOrder, rng: np.random.Generator) -> Instances:
    """Columns of two factors of the scores are multiplied by λ and 1/λ, a power of two and a sign."""
    names = ["query", *(f"key{mode}" for mode in range(1, instance.order))]
    return _rescaled(instance, rng, names, instance.query.shape[3])


def _gauge_values(instance: HigherOrder, rng: np.random.Generator) -> Instances:
    """Columns of the values of two modes are multiplied by λ and 1/λ."""
    if instance.order == 2:
        return ()
    names = [f"value{mode}" for mode in range(1, instance.order)]
    return _rescaled(instance, rng, names, instance.mode_values[0].shape[3])


def _rescaled(instance: HigherOrder, rng: np.random.Generator, names: list[str], columns: int) -> Instances:
    one, other = rng.choice(names, 2, replace=False)
    factor = 2.0 ** rng.integers(-2, 3, columns) * rng.choice([-1.0, 1.0], columns)
    first, second = _multiplied(getattr(instance, one), factor), _multiplied(getattr(instance, other), 1.0 / factor)
    return () if first is None or second is None else (instance.replace(**{one: first, other: second}),)


def _permute_columns(instance: HigherOrder, rng: np.random.Generator) -> Instances:
    return (instance.part(dim=rng.permutation(instance.query.shape[3])),)


def _exchange_modes(instance: HigherOrder, rng: np.random.Generator) -> Instances:
    """Keys, values and windows of all modes move on by one."""
    modes = instance.order - 1
    if modes < 2:
        return ()
    changes: dict[str, Any] = {}
    for mode in range(1, modes + 1):
        after = mode % modes + 1
        changes |= {f"{name}{mode}": getattr(instance, f"{name}{after}") for name in ("key", "value")}
    if instance.window is not None:
        changes["window"] = (*instance.window[1:], instance.window[0])
    return (instance.replace(**changes),)


def _permute_mode(instance: HigherOrder, rng: np.random.Generator) -> Instances:
    if _positional(instance):
        return ()
    mode = int(rng.integers(1, instance.order))
    order = rng.permutation(instance.mode_lengths[mode - 1])
    return (instance.part(**{f"keys{mode}": order}),)


def _reverse_queries(instance: HigherOrder, rng: np.random.Generator) -> Instances:
    if _positional(instance):
        return ()
    return (instance.part(queries=np.arange(instance.query.shape[2])[::-1]),)


def _fold_singleton(instance: HigherOrder, rng: np.random.Generator) -> Instances:
    """The one key of a mode goes into the keys of another one, and its value into their values."""
    single = [mode for mode, length in enumerate(instance.mode_lengths, 1) if length == 1]
    others = [mode for mode in range(1, instance.order) if mode not in single[:1]]
    if not single or not others:
        return ()
    changes: dict[str, Any] = {}
    for name in ("key", "value"):
        one, other = f"{name}{single[0]}", f"{name}{others[0]}"
        lone = getattr(instance, one)
        made = _multiplied(getattr(instance, other), lone.astype(np.float64))
        if made is None:
            return ()
        changes |= {one: np.ones_like(lone), other: made}
    return (instance.replace(**changes),)


def _split_mode(instance: HigherOrder, rng: np.random.Generator) -> Instances:
    long = [mode for mode, length in enumerate(instance.mode_lengths, 1) if length > 1]
    if _positional(instance) or not long or not getattr(instance, "return_lse", False):
        return ()
    mode = int(rng.choice(long))
    length = instance.mode_lengths[mode - 1]
    cut = int(rng.integers(1, length))
    return tuple(instance.part(**{f"keys{mode}": part}) for part in (range(cut), range(cut, length)))


def _merged(instance: HigherOrder, transformed: Instances, outputs: Outputs) -> Relation:
    """o = Σ_t e^(lse_t − lse) o_t; an error of a log-sum-exp moves the output by at most half of the gap of the two."""
    if any("log_sum_exp" not in output or "output" not in output for output in outputs):
        return {}
    first, second = (output["log_sum_exp"] for output in outputs)
    total = np.logaddexp(first, second)
    shares = [np.exp(one - total) for one in (first, second)]
    value = np.sum([share[..., None] * output["output"] for share, output in zip(shares, outputs, strict=True)], axis=0)
    wide = tuple(np.broadcast_to(share[..., None], value.shape) for share in shares)
    return {"output": Prediction(value, wide), "log_sum_exp": Prediction(total, tuple(shares))}


def _split_values(instance: HigherOrder, rng: np.random.Generator) -> Instances:
    name = f"value{int(rng.integers(1, instance.order))}"
    value = getattr(instance, name)
    chosen = rng.integers(0, 2, size=value.shape).astype(bool)
    zero = np.zeros_like(value)
    return tuple(instance.replace(**{name: np.where(chosen == side, value, zero)}) for side in (True, False))


def _negate_values(instance: HigherOrder, rng: np.random.Generator) -> Instances:
    name = f"value{int(rng.integers(1, instance.order))}"
    return (instance.replace(**{name: -getattr(instance, name)}),)


def _append_unseen(instance: HigherOrder, rng: np.random.Generator) -> Instances:
    """Three keys of a mode that lie behind every query, under a causal mask."""
    mode = int(rng.integers(1, instance.order))
    key, value = instance.mode_keys[mode - 1], instance.mode_values[mode - 1]
    if not instance.is_causal or key.shape[2] < instance.query.shape[2]:
        return ()
    filler = [(30.0 * rng.standard_normal((*x.shape[:2], 3, x.shape[3]))).astype(x.dtype) for x in (key, value)]
    longer = [np.concatenate([x, more], axis=2) for x, more in zip((key, value), filler, strict=True)]
    return (instance.replace(**{f"key{mode}": longer[0], f"value{mode}": longer[1]}),)


def _wide_window(instance: HigherOrder, rng: np.random.Generator) -> Instances:
    """A window as long as everything is none."""
    longest = max(instance.query.shape[2], *instance.mode_lengths)
    if instance.window is None:
        return (instance.replace(window=(longest,) * (instance.order - 1)),)
    if any(width is not None and width < longest for width in instance.window):
        return ()
    return (instance.replace(window=None),)


_OF_ATTENTION = {law.id: law for law in attention.LAWS}


def _of_attention(name: str, transform: Callable[..., Instances] | None = None) -> Law:
    """A law of attention, with a transformation of its own where keys and values have other names here."""
    law = _OF_ATTENTION[name]
    return Law(law.id, "TEN-6", law.statement, transform or law.transform, law.relate)


def _own(
    name: str,
    statement: str,
    transform: Callable[..., Instances],
    relate: Callable[..., Relation] | None = None,
) -> Law:
    return Law(name, "TEN-6", statement, transform, summed() if relate is None else relate)


#: The laws of attention of order k.
LAWS: tuple[Law, ...] = (
    _own("gauge", "columns of two factors times λ and 1/λ change nothing", _gauge),
    _own("gauge-values", "columns of the values of two modes times λ and 1/λ change nothing", _gauge_values),
    _own("permute-columns", "permuting the columns of queries and all keys together changes nothing", _permute_columns),
    _own("exchange-modes", "exchanging modes together with their values changes nothing", _exchange_modes),
    _own("permute-mode", "permuting the keys of a mode together with its values changes nothing", _permute_mode),
    _own("fold-singleton", "the one key and value of a mode may be multiplied into another mode", _fold_singleton),
    _own("split-mode", "parts of a mode are merged by their log-sum-exps", _split_mode, _merged),
    _own("append-unseen-keys", "keys behind every query change nothing under a causal mask", _append_unseen),
    _own("wide-window", "a window as long as everything equals none", _wide_window),
    _of_attention("reverse-queries", _reverse_queries),
    _of_attention("split-values", _split_values),
    _of_attention("negate-values", _negate_values),
    _of_attention("double-query"),
    _of_attention("separate"),
)  # fmt: skip
