"""The outputs that wrong kernels compute: the formula in float64, with one part exchanged.

Nothing here judges: a failure is compared with these numbers to say what a kernel behaves like.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from assay.spec.tensor_attention import HigherOrder

    Array = NDArray[np.float64]
    Seen = NDArray[np.bool_]
    Made = Mapping[str, Array]

__all__ = ["Parts", "combined", "every", "widths"]


def combined(modes: Sequence[Array], join: Callable[[Array, Array], Array] = np.multiply) -> Array:
    """(…, n_m, columns) of every mode → (…, N, columns), the key of the last mode the fastest."""
    total = modes[0]
    for other in modes[1:]:
        pairs = join(total[..., :, None, :], other[..., None, :, :])
        total = pairs.reshape(*pairs.shape[:-3], -1, pairs.shape[-1])
    return total


def every(instance: HigherOrder, seen_of: Callable[[int, Any, Any], Any]) -> Seen:
    """(n_q, N): whether seen_of(mode, i, j) holds in every mode, counted from 1."""
    n_q = instance.query.shape[2]
    i = np.arange(n_q)[:, None]
    seen = np.ones((n_q, 1), bool)
    for mode, n in enumerate(instance.mode_lengths, 1):
        own = np.broadcast_to(seen_of(mode, i, np.arange(n)[None, :]), (n_q, n)).astype(bool)
        seen = (seen[:, :, None] & own[:, None, :]).reshape(n_q, -1)
    return seen


def widths(instance: HigherOrder) -> tuple[int | None, ...]:
    """The window of every mode."""
    return instance.window or (None,) * (instance.order - 1)


class Parts:
    """The parts of the formula, per query head: queries, keys and values of every mode, scores and what is seen."""

    def __init__(self, instance: HigherOrder, heads: Sequence[int] | None = None) -> None:
        self.instance = instance
        self.order = instance.order
        self.scale = float(instance.scale or 0.0)
        self.heads = [h // instance.group for h in range(instance.query.shape[1])] if heads is None else list(heads)
        self.query = instance.query.astype(np.float64)
        self.keys = [x.astype(np.float64)[:, self.heads] for x in instance.mode_keys]
        self.values = [x.astype(np.float64)[:, self.heads] for x in instance.mode_values]
        self.seen = instance.visible()

    @functools.cached_property
    def score(self) -> Array:
        """(b, h_q, n_q, N)"""
        return self.scored(self.keys)

    @functools.cached_property
    def value(self) -> Array:
        """(b, h_q, N, d_v)"""
        return combined(self.values)

    def scored(self, keys: Sequence[Array], join: Callable[[Array, Array], Array] = np.multiply) -> Array:
        return np.asarray(self.scale * (self.query @ np.swapaxes(combined(keys, join), 2, 3)))

    def places(self, mode: int) -> NDArray[np.intp]:
        """(N,): the key of a mode, counted from 0, in every combination."""
        lengths = self.instance.mode_lengths
        return np.unravel_index(np.arange(math.prod(lengths)), lengths)[mode]

    def attended(
        self, score: Array | None = None, seen: Seen | None = None, value: Array | None = None
    ) -> dict[str, Array]:
        """The outputs with other scores, other combinations that are seen, or other values."""
        score, seen = self.score if score is None else score, self.seen if seen is None else seen
        hidden = np.where(seen, score, -np.inf)
        top = hidden.max(axis=3, keepdims=True)
        top = np.where(np.isfinite(top), top, 0.0)
        weight = np.exp(hidden - top)
        total = weight.sum(axis=3, keepdims=True)
        output = weight @ (self.value if value is None else value) / np.where(total > 0.0, total, 1.0)
        lse = np.where(total > 0.0, top + np.log(np.where(total > 0.0, total, 1.0)), -np.inf)[..., 0]
        return {"output": output, "log_sum_exp": lse}

    def online(self, blocks: Iterator[Any], *, numerator: bool, denominator: bool) -> dict[str, Array]:
        """An online softmax over blocks of combinations in which a part is rescaled or not."""
        score = np.where(self.seen, self.score, -np.inf)
        top = np.full((*score.shape[:3], 1), -np.inf)
        total, output = np.zeros_like(top), np.zeros((*score.shape[:3], self.value.shape[3]))
        for block in blocks:
            new = np.maximum(top, score[..., block].max(axis=3, keepdims=True, initial=-np.inf))
            factor = np.where(np.isfinite(top), np.exp(top - np.where(np.isfinite(new), new, 0.0)), 1.0)
            weight = np.exp(score[..., block] - np.where(np.isfinite(new), new, 0.0))
            total = total * (factor if denominator else 1.0) + weight.sum(axis=3, keepdims=True)
            output = output * (factor if numerator else 1.0) + weight @ self.value[:, :, block]
            top = new
        some = np.where(total > 0.0, total, 1.0)
        lse = np.where(total > 0.0, np.where(np.isfinite(top), top, 0.0) + np.log(some), -np.inf)[..., 0]
        return {"output": output / some, "log_sum_exp": lse}

    def blocks(self, mode: int, tile: int) -> Iterator[NDArray[np.intp]]:
        """Combinations in tiles of one mode; for every mode but the last one with all keys of the later ones."""
        place = self.places(mode)
        outer = [self.places(m) for m in range(mode)]
        keys = np.stack([*outer, place // tile]) if outer else (place // tile)[None]
        _, which = np.unique(keys, axis=1, return_inverse=True)
        which = which.ravel()
        for number in range(int(which.max()) + 1):
            yield np.flatnonzero(which == number)
