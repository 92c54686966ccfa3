"""The combinations of one key of every mode that a tile of queries attends to, some at a time.

A kernel of tiles never sees the modes: it is handed products of keys and of values, at most :data:`KEY_TILE` at a time,
and for each the rows that attend to it.  Modes lie one after the other in one array, so that one compiled kernel serves
every order.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.attention import tiles
from assay.impl.cpu.attention.tiles import KEY_TILE, UNLIMITED
from assay.impl.cpu.compiled import CONTRACT, compiled
from assay.impl.cpu.products import LANES
from assay.spec.problem import InvalidInstance
from assay.spec.tensor_attention.instance import Instance

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from assay.spec.tensor_attention.instance import HigherOrder

__all__ = ["BLOCK", "COMBINED", "Modes", "arranged", "combine", "instance_of", "of_tiles", "steps", "tile_of"]

BLOCK = 1024  # the most products that are added up one after the other before they are added to others
COMBINED = 70.0  # what a combination costs besides its scores, in scores of one query: only speed depends on it
_SIZES = (16, 32, 64, 128, 256)


def instance_of(query: Any, modes: tuple[Any, ...], named: dict[str, Any], options: dict[str, Any]) -> HigherOrder:
    """The instance of the arrays (query, key1 … key{k−1}, value1 … value{k−1}), some of them given by their names.

    Raises :class:`~assay.spec.problem.InvalidInstance` where there are not as many values as keys.
    """
    count = len(modes) + len(named)
    if count % 2 or count == 0:
        raise InvalidInstance(f"{count} arrays beside query: expected as many values as keys, at least one of each")
    kind: Any = Instance.of_order(1 + count // 2)
    instance: HigherOrder = kind(query, *modes, **named, **options)
    return instance


@dataclass(frozen=True, eq=False)
class Modes:
    """Keys and values of all modes, one mode after the other, and where each begins and what it shows.

    keys (b, h_k, Σ n_m, d) and values (b, h_k, Σ n_m, d_v), C-contiguous, in the type of the arithmetic.  firsts,
    lengths, widths (k − 1,): the first row, the number of rows and the width of the window of every mode.
    """

    keys: NDArray[Any]
    values: NDArray[Any]
    firsts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    widths: NDArray[np.int64]


def arranged(instance: HigherOrder, work: np.dtype[Any], but: int | None = None) -> Modes:
    """The modes of an instance in the type ``work``, all ``but`` one if that is given: a copy of keys and values."""
    kept = [mode for mode in range(instance.order - 1) if mode != but]
    lengths = np.array([instance.mode_lengths[mode] for mode in kept], np.int64)
    shown = instance.window or (None,) * (instance.order - 1)
    widths = [UNLIMITED if (width := shown[mode]) is None else width for mode in kept]
    keys, values = (
        np.ascontiguousarray(np.concatenate([modes[mode].astype(work, copy=False) for mode in kept], axis=2))
        for modes in (instance.mode_keys, instance.mode_values)
    )
    return Modes(keys, values, np.cumsum(lengths) - lengths, lengths, np.array(widths, np.int64))


def tile_of(instance: HigherOrder) -> int:
    """The number of queries of a tile: few where windows are short, since a tile takes what any of its rows sees."""
    n_q = int(instance.query.shape[2])
    size = max(_SIZES)
    if instance.window is not None:
        sides = 1 if instance.is_causal else 2
        seen = [
            (length, length if width is None else sides * width)
            for length, width in zip(instance.mode_lengths, instance.window, strict=True)
        ]
        size = min(
            _SIZES, key=lambda size: (1.0 + COMBINED / size) * math.prod(min(n, size + keys) for n, keys in seen)
        )
    tiles = -(-max(n_q, 1) // size)  # alike in size
    return -(-max(n_q, 1) // (tiles * LANES)) * LANES


def of_tiles(kernel: Callable[..., None], signature: Any, **own: Callable[..., Any]) -> Callable[..., None]:
    """A kernel compiled for one signature, with the steps that kernels of tiles call, and its own, as its globals."""
    return compiled(kernel, signature, CONTRACT, **steps(), **own)


@functools.cache
def steps() -> dict[str, Callable[..., Any]]:
    """The compiled steps of kernels of tiles, those of attention among them."""
    return {**tiles.steps(), "combine": compiled(combine, None, CONTRACT)}


def combine(
    keys: Any, values: Any, firsts: Any, begin: Any, end: Any, widths: Any, causal: Any, at: Any, low: Any, high: Any,
    of_keys: Any, of_values: Any, made: Any, made_values: Any, places: Any, rows: Any,
) -> int:  # fmt: skip
    """Make the next combinations, at most 64 of them: their number, 0 when there are no more.

    keys (Σ n_m, d), values (Σ n_m, d_v), firsts and widths: of one head, as in :class:`Modes`.  Mode m takes the keys
    begin_m ≤ j < end_m.  at (k,): the mode whose key is taken next, then the key of every mode that is taken next; it
    begins as (0, begin_0, …).  low, high (k,): of entry m, the queries that see the first m keys; entry 0 is set by the
    caller.  of_keys (k, d), of_values (k, d_v): the products of the first m keys and values; entry 0 is 1.

    Writes the products to made (64, d) and made_values (64, d_v), the key of every mode to places (64, k − 1), and to
    rows (64, 2) the first query that sees the combination and the one after the last.
    """
    modes = firsts.shape[0]
    d, d_v = keys.shape[1], values.shape[1]
    count = 0
    depth = at[0]
    while depth >= 0:
        last = depth == modes - 1
        j = at[1 + depth]
        above, over = of_keys[depth], of_values[depth]
        while j < end[depth]:
            first = max(low[depth], j if causal else j - widths[depth] + 1)
            past = min(high[depth], j + widths[depth])
            if first >= past:
                j += 1
                continue
            key, value = keys[firsts[depth] + j], values[firsts[depth] + j]
            if not last:
                break
            if count == KEY_TILE:
                at[0], at[1 + depth] = depth, j
                return count
            to, to_values = made[count], made_values[count]
            for c in range(d):
                to[c] = above[c] * key[c]
            for c in range(d_v):
                to_values[c] = over[c] * value[c]
            for m in range(modes - 1):
                places[count, m] = at[1 + m]
            places[count, depth] = j
            rows[count, 0], rows[count, 1] = first, past
            count += 1
            j += 1
        at[1 + depth] = j
        if j < end[depth]:  # one key deeper
            deeper, deeper_values = of_keys[depth + 1], of_values[depth + 1]
            for c in range(d):
                deeper[c] = above[c] * key[c]
            for c in range(d_v):
                deeper_values[c] = over[c] * value[c]
            low[depth + 1], high[depth + 1] = first, past
            depth += 1
            at[1 + depth] = begin[depth]
        else:
            depth -= 1
            if depth >= 0:
                at[1 + depth] += 1
    at[0] = depth
    return count
