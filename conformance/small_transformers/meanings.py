"""Named wrong answers of simulations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.diagnosis.meanings import Meaning, solves
from assay.spec.small_transformers import sees

if TYPE_CHECKING:
    from assay.spec.small_transformers import Instance

__all__ = ["MEANINGS"]


def _changed(instance: Instance, **changes: Any) -> Instance | None:
    """The instance with other options; ``None`` where it has them, or where nothing that is seen changes."""
    other = instance.replace(**changes)
    return None if (other.visible() == instance.visible()).all() else other


def _window(instance: Instance, more: int) -> Instance | None:
    if instance.window is None or instance.window + more < 1:
        return None
    return _changed(instance, window=instance.window + more)


def _last_block(instance: Instance) -> Instance | None:
    """The keys after the last whole block are dropped."""
    assert instance.oracle_size is not None
    n_k = instance.key.shape[2]
    for room in (instance.oracle_size - 1, instance.oracle_size):
        kept = n_k - n_k % room
        if 0 < kept < n_k:
            mask = np.broadcast_to(np.arange(n_k) < kept, (1, 1, 1, n_k))
            return _changed(instance, mask=mask if instance.mask is None else instance.mask & mask)
    return None


def _first_block(instance: Instance) -> Instance | None:
    """Only the keys of the first call are seen."""
    assert instance.oracle_size is not None
    mask = np.broadcast_to(
        np.arange(instance.key.shape[2]) < instance.oracle_size - 1, (1, 1, 1, instance.key.shape[2])
    )
    return _changed(instance, mask=mask if instance.mask is None else instance.mask & mask)


def _by_block(instance: Instance) -> Instance | None:
    """The causal mask of every block begins anew."""
    if not instance.is_causal or instance.window is not None:
        return None
    assert instance.oracle_size is not None
    n, room = instance.query.shape[2], instance.oracle_size - 1
    i, j = np.arange(n)[:, None], np.arange(instance.key.shape[2])
    mask = sees(n, len(j)) & (j % room <= i % room)
    return _changed(instance, is_causal=False, mask=mask if instance.mask is None else instance.mask & mask)


MEANINGS: tuple[Meaning, ...] = (
    Meaning("causal-ignored", "the causal mask is ignored",
            solves(lambda i: _changed(i, is_causal=False, window=None, sinks=0) if i.is_causal else None)),
    Meaning("causal-by-block", "the causal mask begins anew in every block", solves(_by_block)),
    Meaning("window-ignored", "the window is ignored",
            solves(lambda i: _changed(i, window=None, sinks=0) if i.window is not None else None)),
    Meaning("window-wide", "the window is one key too wide", solves(lambda i: _window(i, 1))),
    Meaning("window-narrow", "the window is one key too narrow", solves(lambda i: _window(i, -1))),
    Meaning("sinks-ignored", "the sinks are ignored", solves(lambda i: _changed(i, sinks=0) if i.sinks else None)),
    Meaning("mask-ignored", "the mask is ignored",
            solves(lambda i: _changed(i, mask=None) if i.mask is not None else None)),
    Meaning("last-block", "the keys after the last whole block are dropped", solves(_last_block)),
    Meaning("first-block", "only the keys of the first block are seen", solves(_first_block)),
)  # fmt: skip
