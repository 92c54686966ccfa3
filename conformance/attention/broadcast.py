"""Masks and biases in every form that broadcasts to (batch, heads, queries, keys): axes of 1, and fewer than four.

Each function takes a generator and a shape; a bias is float64, and is rounded to its type afterwards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.softmax.masks import alibi_slopes

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from assay.conformance.softmax.patterns import Shape

__all__ = ["BIASES", "MASKS"]

_SEEN = 0.6  # of the keys, by a query


def _lengths(s: Shape, axes: str) -> tuple[int, ...]:
    """Lengths of the axes that a form has: a letter for a whole axis, 1 for an axis of 1."""
    whole = {"b": s.batch, "h": s.heads, "q": s.queries, "k": s.keys, "1": 1}
    return tuple(whole[axis] for axis in axes)


def _random_mask(axes: str) -> Callable[[np.random.Generator, Shape], NDArray[np.bool_]]:
    """A random mask; whatever reads a row of it sees one key at least."""

    def mask(rng: np.random.Generator, s: Shape) -> NDArray[np.bool_]:
        lengths = _lengths(s, axes)
        seen: NDArray[np.bool_] = rng.random(lengths) < _SEEN
        always = rng.integers(0, s.keys, lengths[:-1])
        np.put_along_axis(seen, always[..., None], True, axis=-1)
        return seen

    return mask


def _empty(rng: np.random.Generator, s: Shape) -> NDArray[np.bool_]:
    mask: NDArray[np.bool_] = rng.random(_lengths(s, "bhqk")) < 0.5
    mask[:, :, :: max(2, s.queries // 3)] = False
    return mask


def _first(rng: np.random.Generator, s: Shape) -> NDArray[np.bool_]:
    return np.broadcast_to(np.arange(s.keys) >= (2 * s.keys) // 3, _lengths(s, "11qk")).copy()


def _left(rng: np.random.Generator, s: Shape) -> NDArray[np.bool_]:
    start = (np.arange(s.batch) * max(1, s.keys // 3)) % s.keys
    return np.broadcast_to(np.arange(s.keys) >= start[:, None, None, None], _lengths(s, "b1qk")).copy()


def _padding(rng: np.random.Generator, s: Shape) -> NDArray[np.bool_]:
    ends = np.maximum(1, s.keys - 1 - (np.arange(s.batch) * 3) % s.keys)
    return np.asarray(np.arange(s.keys) < ends[:, None, None, None])


def _queries(rng: np.random.Generator, s: Shape) -> NDArray[np.bool_]:
    mask: NDArray[np.bool_] = rng.random(_lengths(s, "b1q1")) < _SEEN
    mask[..., rng.integers(0, s.queries), :] = True
    return mask


def _normal(axes: str) -> Callable[[np.random.Generator, Shape], NDArray[Any]]:
    def bias(rng: np.random.Generator, s: Shape) -> NDArray[Any]:
        return rng.standard_normal(_lengths(s, axes))

    return bias


def _slopes(rng: np.random.Generator, s: Shape) -> NDArray[Any]:
    distance = np.abs(np.arange(s.queries)[:, None] - np.arange(s.keys)[None, :])
    bias: NDArray[Any] = -alibi_slopes(s.heads)[:, None, None] * distance
    return bias[None]


def _infinite(rng: np.random.Generator, s: Shape) -> NDArray[Any]:
    hidden = rng.random(_lengths(s, "11qk")) < 0.4
    hidden[:, :, :: max(2, s.queries // 2)] = True
    return np.where(hidden, -np.inf, 0.0)


def _padded(rng: np.random.Generator, s: Shape) -> NDArray[Any]:
    return np.where(_padding(rng, s), 0.0, -np.inf)


def _low(rng: np.random.Generator, s: Shape) -> NDArray[Any]:
    return -20000.0 + 4.0 * rng.standard_normal(_lengths(s, "11qk"))


#: Option → its mask.
MASKS: dict[str, Callable[[np.random.Generator, Shape], NDArray[np.bool_]]] = {
    "mask": _random_mask("b1qk"),
    "mask-empty": _empty,
    "mask-first": _first,
    "mask-left": _left,
    "mask-padding": _padding,
    "mask-heads": _random_mask("1hqk"),
    "mask-full": _random_mask("bhqk"),
    "mask-three": _random_mask("hqk"),
    "mask-two": _random_mask("qk"),
    "mask-one": _random_mask("k"),
    "mask-queries": _queries,
}

#: Option → its bias.
BIASES: dict[str, Callable[[np.random.Generator, Shape], NDArray[Any]]] = {
    "bias": _normal("b1qk"),
    "bias-heads": _slopes,
    "bias-full": _normal("bhqk"),
    "bias-three": _normal("hqk"),
    "bias-two": _normal("qk"),
    "bias-one": _normal("k"),
    "bias-keys": _normal("bh1k"),
    "bias-queries": _normal("1hq1"),
    "bias-padding": _padded,
    "bias-wide": _normal("b1qk"),
    "bias-inf": _infinite,
    "bias-low": _low,
}
