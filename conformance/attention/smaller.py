"""Smaller instances to try when a failure is shrunk, how small an instance is, and one line that describes it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from assay.spec.attention import Instance

__all__ = ["describe", "size", "smaller"]

_OPTIONS = ("sink", "softcap", "bias", "mask", "window", "key_lengths", "causal")


def smaller(instance: Instance) -> Iterator[Instance]:
    """Fewer batches, heads, queries, keys, columns; fewer options; plainer numbers.  Most aggressive first."""
    b, h_q, n_q, d = instance.query.shape
    n_k, d_v = instance.value.shape[2:]
    for axis, length in (("batches", b), ("queries", n_q), ("keys", n_k), ("dims", d), ("value_dims", d_v)):
        for kept in _parts(length):
            yield instance.part(**{axis: kept})
    for heads in _heads(h_q, instance.group):
        yield instance.part(heads=heads)
    for name in _OPTIONS:
        if getattr(instance, name) is not None:
            yield instance.replace(**{name: None})
    if instance.return_lse:
        yield instance.replace(return_lse=False)
    if instance.scale != 1.0:
        yield instance.replace(scale=1.0)
    for name in ("query", "key", "value"):
        array = getattr(instance, name)
        for plain in (np.zeros_like(array), np.rint(array), _short(array)):
            if (plain != array).any():
                yield instance.replace(**{name: plain})


def size(instance: Instance) -> float:
    """Elements and scores, and a little for every option and every number that is not a small integer."""
    b, h_q, n_q, _ = instance.query.shape
    n_k = instance.key.shape[2]
    arrays: list[NDArray[Any]] = [instance.query, instance.key, instance.value]
    odd = sum(float((array != np.rint(array)).sum() + 0.5 * (array != 0).sum()) for array in arrays)
    long = sum(float((_short(array) != array).sum()) for array in arrays)
    options = sum(getattr(instance, name) is not None for name in _OPTIONS) + instance.return_lse
    elements = b * h_q * n_q * n_k + sum(array.size for array in arrays)
    return float(elements + 0.1 * (odd + long) + options + (instance.scale != 1.0))


def describe(instance: Instance) -> str:
    """Shape and options, one line."""
    b, h_q, n_q, d = instance.query.shape
    h_k, n_k, d_v = instance.value.shape[1:]
    words = [
        f"batch {b}",
        f"heads {h_q}" + (f" on {h_k}" if h_k != h_q else ""),
        f"{n_q} queries",
        f"{n_k} keys",
        f"dim {d}" + (f", value dim {d_v}" if d_v != d else ""),
        instance.query.dtype.name,
    ]
    if instance.scale != 1.0 / math.sqrt(d):
        words.append(f"scale {instance.scale:.9g}")
    if instance.causal is not None:
        words.append(f"causal {instance.causal}")
    if instance.window is not None:
        words.append("window ({}, {})".format(*("∞" if side is None else side for side in instance.window)))
    given = {name: array for name in ("mask", "bias") if (array := getattr(instance, name)) is not None}
    words += [f"{name} {'×'.join(map(str, array.shape))}" for name, array in given.items()]
    if instance.key_lengths is not None:
        words.append(f"key lengths {instance.key_lengths.tolist()}")
    if instance.softcap is not None:
        words.append(f"softcap {instance.softcap:.9g}")
    words += [
        word for word, given in (("sink", instance.sink is not None), ("log-sum-exp", instance.return_lse)) if given
    ]
    return ", ".join(words)


def _parts(length: int) -> Iterator[list[int]]:
    """One element, halves, all but one: what to keep of an axis."""
    seen = set()
    for kept in (
        [0],
        [length - 1],
        range(length // 2),
        range(length // 2, length),
        range(length - 1),
        range(1, length),
    ):
        part = list(kept)
        if 0 < len(part) < length and tuple(part) not in seen:
            seen.add(tuple(part))
            yield part


def _heads(count: int, group: int) -> Iterator[list[int]]:
    """Single heads, then whole groups."""
    if count > 1:
        yield [0]
        yield [count - 1]
    for kept in _parts(count // group):
        yield [head for key_head in kept for head in range(key_head * group, (key_head + 1) * group)]


def _short(array: NDArray[Any]) -> NDArray[Any]:
    """Two binary digits after the point."""
    rounded: NDArray[Any] = (np.rint(array.astype(np.float64) * 4) / 4).astype(array.dtype)
    return rounded
