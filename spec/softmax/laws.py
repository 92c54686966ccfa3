"""Transformations of instances with a softmax after which exact properties say what the outputs are (ATT-1).

Problems with a softmax share them; what each says of its own outputs is in its ``laws``.  A transformation gives
``()`` where it does not apply, or where its result is not exact in the storage type.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    from assay.spec.softmax.masks import Masked

Kind = TypeVar("Kind", bound="Masked")

__all__ = [
    "append_masked_keys",
    "as_bias",
    "as_mask",
    "double_query",
    "negate_both",
    "permute_keys",
    "positional",
    "reverse_queries",
    "separate",
    "shift_keys",
]


def positional(instance: Masked) -> bool:
    """Whether what a query attends to depends on its place among the others."""
    return instance.causal is not None or instance.window is not None


def shift_keys(instance: Kind, rng: np.random.Generator) -> tuple[Kind, ...]:
    """One vector is added to every key; nothing where the sums are not exact, or where it moves more than a row."""
    if instance.softcap is not None or instance.sink is not None:  # the shift is no longer the same for all
        return ()
    step = rng.integers(-2, 3, size=(1, instance.key.shape[1], 1, instance.key.shape[3])).astype(np.float64)
    wide = instance.key.astype(np.float64) + step
    shifted = wide.astype(instance.key.dtype)
    if (shifted.astype(np.float64) != wide).any() or (wide - step != instance.key.astype(np.float64)).any():
        return ()
    return (instance.replace(key=shifted),)


def permute_keys(instance: Kind, rng: np.random.Generator) -> tuple[Kind, ...]:
    """Keys are permuted with their values."""
    if positional(instance) or instance.key_lengths is not None:
        return ()
    return (instance.part(keys=rng.permutation(instance.key.shape[2])),)


def reverse_queries(instance: Kind, rng: np.random.Generator) -> tuple[Kind, ...]:
    """Queries are taken backwards."""
    if positional(instance):
        return ()
    return (instance.part(queries=np.arange(instance.query.shape[2])[::-1]),)


def negate_both(instance: Kind, rng: np.random.Generator) -> tuple[Kind, ...]:
    """Queries and keys change their signs."""
    return (instance.replace(query=-instance.query, key=-instance.key),)


def double_query(instance: Kind, rng: np.random.Generator) -> tuple[Kind, ...]:
    """Queries are doubled and the scale is halved."""
    assert instance.scale is not None
    doubled = (2.0 * instance.query.astype(np.float64)).astype(instance.query.dtype)
    if (doubled.astype(np.float64) != 2.0 * instance.query.astype(np.float64)).any():
        return ()
    return (instance.replace(query=doubled, scale=instance.scale / 2.0),)


def separate(instance: Kind, rng: np.random.Generator) -> tuple[Kind, ...]:
    """Every head of every batch by itself; nothing for one head, or for more than eight."""
    b, h = instance.query.shape[:2]
    if b * h == 1 or b * h > 8:
        return ()
    return tuple(instance.part(batch=[batch], heads=[head]) for batch in range(b) for head in range(h))


def append_masked_keys(instance: Kind, rng: np.random.Generator, **changes: Any) -> tuple[Kind, ...]:
    """Three keys are appended that no query attends to.

    changes: what else the longer instance has, where a problem gives something of its own for every key.
    """
    b, h_k, n_k, d = instance.key.shape
    if instance.causal == "bottom-right" and instance.key_lengths is None:
        return ()  # the alignment would move
    if any(array is not None and array.ndim and array.shape[-1] > 1 for array in (instance.mask, instance.bias)):
        return ()  # they would need columns for the new keys
    extra = 3
    filler = (30.0 * rng.standard_normal((b, h_k, extra, d + instance.value.shape[3]))).astype(instance.key.dtype)
    lengths = np.full(b, n_k, dtype=np.int32) if instance.key_lengths is None else instance.key_lengths
    return (
        instance.replace(
            key=np.concatenate([instance.key, filler[..., :d]], axis=2),
            value=np.concatenate([instance.value, filler[..., d:]], axis=2),
            key_lengths=lengths,
            **changes,
        ),
    )


def as_mask(instance: Kind, rng: np.random.Generator) -> tuple[Kind, ...]:
    """Causal masks, windows and key lengths become the boolean mask that they mean."""
    if not positional(instance) and instance.key_lengths is None:
        return ()
    mask = instance.visible()
    return (instance.replace(mask=mask, causal=None, is_causal=False, window=None, key_lengths=None),)


def as_bias(instance: Kind, rng: np.random.Generator) -> tuple[Kind, ...]:
    """A boolean mask becomes a bias of 0 and −inf."""
    if instance.mask is None or instance.bias is not None:
        return ()
    zero, lowest = instance.query.dtype.type(0.0), instance.query.dtype.type(-np.inf)
    if not np.isneginf(float(lowest)):  # a type without infinity
        return ()
    return (instance.replace(bias=np.where(instance.mask, zero, lowest), mask=None),)
