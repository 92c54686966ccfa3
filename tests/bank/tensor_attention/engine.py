"""The engine of the bank: attention of any order, step by step; a kernel replaces some of its :class:`Steps`.

Nothing here uses assay.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "Array",
    "Steps",
    "Task",
    "attended",
    "blocks",
    "combined",
    "kernel",
    "online",
    "passed",
    "places",
    "seen_by",
    "within",
]

Array = NDArray[Any]


@dataclass(frozen=True)
class Task:
    """What a kernel was called with; keys and values: one array a mode.  kind: the type in which the arrays came."""

    query: Array
    keys: tuple[Array, ...]
    values: tuple[Array, ...]
    scale: float
    is_causal: bool
    window: tuple[int | None, ...]
    kind: Any

    @property
    def work(self) -> Any:
        return np.float64 if self.kind == np.float64 else np.float32

    def wide(self, x: Array) -> Array:
        return x.astype(self.work)

    def rounded(self, x: Array) -> Array:
        """The numbers as the type of the inputs holds them, in the type of the work."""
        return x.astype(self.kind).astype(self.work) if self.kind.itemsize < 4 else x.astype(self.work)

    @property
    def modes(self) -> int:
        return len(self.keys)

    @property
    def lengths(self) -> tuple[int, ...]:
        return tuple(key.shape[2] for key in self.keys)

    @property
    def group(self) -> int:
        return int(self.query.shape[1] // self.keys[0].shape[1])

    def own(self) -> list[int]:
        """The key head of every query head."""
        return [h // self.group for h in range(self.query.shape[1])]


def combined(modes: Sequence[Array], join: Callable[[Array, Array], Array] = np.multiply) -> Array:
    """(…, n_m, columns) of every mode → (…, N, columns), the key of the last mode the fastest."""
    total = modes[0]
    for other in modes[1:]:
        pairs = join(total[..., :, None, :], other[..., None, :, :])
        total = pairs.reshape(*pairs.shape[:-3], -1, pairs.shape[-1])
    return total


def places(t: Task, mode: int) -> Array:
    """(N,): the key of a mode, counted from 0, in every combination."""
    return np.unravel_index(np.arange(int(np.prod(t.lengths))), t.lengths)[mode]


def within(t: Task, mode: int, i: Array, j: Array) -> Array:
    """What a query i sees of a mode, counted from 0."""
    kept = (j <= i) if t.is_causal else np.ones(np.broadcast_shapes(i.shape, j.shape), bool)
    width = t.window[mode]
    return kept if width is None else kept & (i - width < j) & (j < i + width)


def seen_by(t: Task, of: Callable[[Task, int, Array, Array], Array]) -> Array:
    """(n_q, N): whether of(task, mode, i, j) holds in every mode."""
    i = np.arange(t.query.shape[2])[:, None]
    kept = np.ones((len(i), 1), bool)
    for mode, n in enumerate(t.lengths):
        own = np.broadcast_to(of(t, mode, i, np.arange(n)[None]), (len(i), n))
        kept = (kept[:, :, None] & own[:, None, :]).reshape(len(i), -1)
    return kept


def attended(t: Task, score: Array, seen: Array, value: Array) -> tuple[Array, Array]:
    """A softmax over all combinations, and the sum of the values; 0 for an empty row."""
    hidden = np.where(seen, score, -np.inf)
    top = hidden.max(axis=3, keepdims=True)
    top = np.where(np.isfinite(top), top, 0).astype(t.work)
    weight = np.exp(hidden - top)
    total = weight.sum(axis=3, keepdims=True)
    output = t.rounded(weight) @ value / np.where(total > 0, total, t.work(1))
    with np.errstate(divide="ignore"):
        return output, (top + np.log(total))[..., 0]


def blocks(t: Task, mode: int, tile: int) -> list[Array]:
    """Combinations in tiles of the keys of a mode, with all keys of later modes, one of every earlier mode."""
    outer = [places(t, m) for m in range(mode)] + [places(t, mode) // tile]
    _, which = np.unique(np.stack(outer), axis=1, return_inverse=True)
    return [np.flatnonzero(which.ravel() == number) for number in range(int(which.max()) + 1)]


def online(
    cut: Callable[[Task], list[Array]], *, numerator: bool = True, denominator: bool = True, first: float = -np.inf
) -> Callable[..., tuple[Array, Array]]:
    """An online softmax over blocks of combinations; a part of it may be left as it was where the maximum moves."""

    def attend(t: Task, score: Array, seen: Array, value: Array) -> tuple[Array, Array]:
        hidden = np.where(seen, score, t.work(-np.inf))
        top = np.full((*score.shape[:3], 1), first, t.work)
        total = np.zeros_like(top)
        output = np.zeros((*score.shape[:3], value.shape[3]), t.work)
        for block in cut(t):
            new = np.maximum(top, hidden[..., block].max(axis=3, keepdims=True, initial=-np.inf))
            some = np.where(np.isfinite(new), new, 0).astype(t.work)
            factor = np.where(np.isfinite(top), np.exp(np.where(np.isfinite(top), top, 0) - some), 1).astype(t.work)
            weight = np.exp(hidden[..., block] - some)
            total = total * (factor if denominator else t.work(1)) + weight.sum(axis=3, keepdims=True)
            output = output * (factor if numerator else t.work(1)) + t.rounded(weight) @ value[:, :, block]
            top = new
        with np.errstate(divide="ignore"):
            lse = np.where(np.isfinite(top), top, 0) + np.log(total)
        return output / np.where(total > 0, total, t.work(1)), lse[..., 0]

    return attend


def _scored(t: Task, q: Array, keys: list[Array], s: Steps) -> Array:
    """The products of the keys are operands of a matrix product, and rounded to the type of the inputs."""
    pairs = combined(keys, lambda a, b: t.rounded(s.join(a, b)))
    return (q @ np.swapaxes(pairs, 2, 3)) * t.work(t.scale)


def _valued(t: Task, values: list[Array], s: Steps) -> Array:
    return combined(values, lambda a, b: t.rounded(s.mix(a, b)))


@dataclass(frozen=True)
class Steps:
    """What the engine does; the defaults are right."""

    task: Callable[[Task], Task] = lambda t: t
    heads: Callable[[Task, int], list[int]] = lambda t, mode: t.own()
    join: Callable[[Array, Array], Array] = np.multiply
    mix: Callable[[Array, Array], Array] = np.multiply
    scores: Callable[[Task, Array, list[Array], Steps], Array] = _scored
    score: Callable[[Task, Array], Array] = lambda t, score: score
    within: Callable[[Task, int, Array, Array], Array] = within
    seen: Callable[[Task, Array], Array] = lambda t, seen: seen
    values: Callable[[Task, list[Array], Steps], Array] = _valued
    attend: Callable[[Task, Array, Array, Array], tuple[Array, Array]] = attended
    after: Callable[[Task, Array, Array], tuple[Array, Array]] = lambda t, output, lse: (output, lse)


def passed(t: Task, s: Steps) -> tuple[Array, Array]:
    """Output and log-sum-exp in the type of the work."""
    t = s.task(t)
    keys = [t.wide(key)[:, s.heads(t, mode)] for mode, key in enumerate(t.keys)]
    values = [t.wide(value)[:, s.heads(t, mode)] for mode, value in enumerate(t.values)]
    score = s.score(t, s.scores(t, t.wide(t.query), keys, s))
    seen = s.seen(t, seen_by(t, s.within))
    return s.after(t, *s.attend(t, score, seen, s.values(t, values, s)))


def kernel(
    steps: Steps | None = None, run: Callable[[Task, Steps], tuple[Array, Array]] = passed, order: int = 3
) -> Callable[..., Any]:
    """A kernel of an order with every keyword."""
    chosen = Steps() if steps is None else steps

    def called(
        arrays: Sequence[Array], scale: float, is_causal: bool, window: tuple[int | None, ...] | None, return_lse: bool
    ) -> Any:
        query, *modes = arrays
        count = len(modes) // 2
        task = Task(
            query, tuple(modes[:count]), tuple(modes[count:]), scale, is_causal, window or (None,) * count, query.dtype
        )
        output, lse = run(task, chosen)
        made = output.astype(query.dtype)
        return (made, lse.astype(task.work)) if return_lse else made

    def two(
        query: Array,
        key1: Array,
        value1: Array,
        *,
        scale: float,
        is_causal: bool = False,
        window: Any = None,
        return_lse: bool = False,
    ) -> Any:
        return called((query, key1, value1), scale, is_causal, window, return_lse)

    def three(
        query: Array,
        key1: Array,
        key2: Array,
        value1: Array,
        value2: Array,
        *,
        scale: float,
        is_causal: bool = False,
        window: Any = None,
        return_lse: bool = False,
    ) -> Any:
        return called((query, key1, key2, value1, value2), scale, is_causal, window, return_lse)

    def four(
        query: Array,
        key1: Array,
        key2: Array,
        key3: Array,
        value1: Array,
        value2: Array,
        value3: Array,
        *,
        scale: float,
        is_causal: bool = False,
        window: Any = None,
        return_lse: bool = False,
    ) -> Any:
        return called((query, key1, key2, key3, value1, value2, value3), scale, is_causal, window, return_lse)

    def five(
        query: Array,
        key1: Array,
        key2: Array,
        key3: Array,
        key4: Array,
        value1: Array,
        value2: Array,
        value3: Array,
        value4: Array,
        *,
        scale: float,
        is_causal: bool = False,
        window: Any = None,
        return_lse: bool = False,
    ) -> Any:
        return called(
            (query, key1, key2, key3, key4, value1, value2, value3, value4), scale, is_causal, window, return_lse
        )

    return {2: two, 3: three, 4: four, 5: five}[order]


def changed(**changes: Any) -> Steps:
    """Another task than the one that was asked: fields by name, each a value or a function of the task."""

    def task(t: Task) -> Task:
        return replace(t, **{name: value(t) if callable(value) else value for name, value in changes.items()})

    return Steps(task=task)
