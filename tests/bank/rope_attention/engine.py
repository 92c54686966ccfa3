"""The engine of the bank: it rotates, or weighs by W, and then attends; a kernel replaces some of its :class:`Steps`.

The rotation is that of the bank of ``rope``, and what follows it that of the bank of ``attention``.  Nothing here uses
assay.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bank.attention.correct import Task as Forward
from bank.attention.engine import RIGHT, attention
from bank.attention.engine import Steps as Attention
from bank.rope import engine as rope

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Array", "Steps", "Task", "alike", "general", "kernel", "passed", "seen_from", "weighed_by"]

Array = NDArray[Any]
_ROTARY = rope.Steps()


@dataclass(frozen=True)
class Task(Forward):
    """What a kernel was called with: the task of attention's bank, and the positions.

    positions: of queries and of keys, (1 or batch, length).  relative: (support, n_q + n_k − 1).  support: pairs of
    columns.  relative_bias: (1 or heads, n_q + n_k − 1).  kind: the type in which the arrays came.
    """

    positions: tuple[Array, Array] = field(default=None)  # type: ignore[assignment]
    base: float = 10000.0
    layout: str = "halves"
    r: int = 0
    scaling: str | None = None
    s: float = 1.0
    original: int = 1
    low: float = 1.0
    high: float = 4.0
    truncate: bool = True
    given: float | None = None
    relative: Array | None = None
    support: tuple[tuple[int, int], ...] | None = None
    relative_bias: Array | None = None
    kind: Any = None

    def rounded(self, x: Array) -> Array:
        return x.astype(self.kind).astype(x.dtype) if self.kind.itemsize < 4 else x

    def wide(self, x: Array) -> Array:
        return x.astype(self.work)

    @property
    def work(self) -> Any:
        return np.float64 if self.kind == np.float64 else np.float32

    def rotation(self, role: int) -> rope.Task:
        """The rotation of the queries (role 0) or the keys (1), in the words of the bank of ``rope``."""
        x, positions = (self.query, self.key)[role], self.positions[role]
        how = (self.base, self.layout, self.r or x.shape[3], self.scaling, self.s, self.original)
        return rope.Task(x, positions, role, *how, self.low, self.high, self.truncate, self.given)

    def offsets(self) -> Array:
        """(n_q, n_k): the column of ``relative`` and of ``relative_bias`` for every pair."""
        n_q, n_k = self.shape[2:]
        return np.asarray(np.arange(n_q)[:, None] - np.arange(n_k) + n_k - 1)


def _turned(t: Task, s: Steps, role: int) -> Array:
    """The queries or the keys, rotated: in the type of the work, or in their own where the kernel stores them."""
    one = t.rotation(role)
    both = np.concatenate([positions.ravel() for positions in t.positions])[None]
    steps = replace(s.rotary, raised=lambda task: s.rotary.raised(replace(task, positions=both)))
    return rope.rotated(one if s.stored else replace(one, x=t.wide(one.x)), steps).astype(t.work)


def weighed_by(t: Task, q: Array, k: Array, offsets: Array) -> Array:
    """Σ over the support of W[a, b]·q_a·k_b, one entry after the other: (…, n_q, n_k)."""
    assert t.relative is not None
    assert t.support is not None
    total = np.zeros((*q.shape[:-1], k.shape[-2]), t.work)
    for row, (a, b) in zip(t.wide(t.relative), t.support, strict=True):
        total = total + row[offsets] * (q[..., :, None, a] * k[..., None, :, b])
    return total


def _expanded(t: Task) -> Array | None:
    """The bias of every pair: what is asked for, and the relative bias of its offset."""
    if t.relative_bias is None:
        return t.bias
    added = t.wide(t.relative_bias)[:, t.offsets()]
    return added if t.bias is None else np.broadcast_to(t.bias, t.shape).astype(t.work) + added


@dataclass(frozen=True)
class Steps:
    """What the engine does, step by step; the defaults are right.

    stored: whether rotated queries and keys are rounded to the type in which they came.
    """

    task: Callable[[Task], Task] = lambda t: t
    rotary: rope.Steps = _ROTARY
    stored: bool = False
    turned: Callable[[Task, Steps, int], Array] = _turned
    bias: Callable[[Task], Array | None] = _expanded
    weighed: Callable[[Task, Array, Array], Array] = lambda t, q, k: weighed_by(t, q, k, t.offsets())
    attention: Attention = RIGHT
    attend: Callable[..., tuple[Array, Array]] | None = None  # an engine of the bank of attention, for rotated arrays


def alike(t: Task, s: Steps) -> Task:
    """The attention without positions that gives the same: everything rotated, every bias spelt out."""
    bias = s.bias(t)
    if t.relative is not None:
        return replace(t, bias=bias)
    return replace(t, query=s.turned(t, s, 0), key=s.turned(t, s, 1), bias=bias)


def passed(t: Task, s: Steps) -> tuple[Array, Array]:
    """The output and the log-sum-exp, in the type of the work."""
    t = s.task(t)
    plain = alike(t, s)
    if t.relative is not None:
        scored = replace(s.attention, score=lambda q, k, scale: s.weighed(t, q, k) * t.work(scale))
        return attention(plain, scored)
    return attention(plain, s.attention) if s.attend is None else s.attend(plain)


def seen_from(positions: Array | None, length: int) -> Array:
    """Positions as (1 or batch, length); 0, 1, … where none are given."""
    return np.arange(length)[None] if positions is None else np.atleast_2d(positions)


def kernel(
    steps: Steps,
    each: Callable[[Task, Steps], tuple[Array, Array]] = passed,
    after: Callable[[Task, Array], Array] = lambda t, out: out,
) -> Callable[..., Any]:
    """A kernel of the rotary form, with every option; ``after(task, output)`` replaces the output."""

    def attend(
        query: Array, key: Array, value: Array, *, scale: float, base: float, layout: str = "halves",
        rotary_dim: int | None = None, scaling: str | None = None, factor: float | None = None,
        original_length: int | None = None, low_frequency: float | None = None, high_frequency: float | None = None,
        truncate: bool = True, attention_factor: float | None = None, query_positions: Array | None = None,
        key_positions: Array | None = None, relative_bias: Array | None = None, is_causal: bool = False,
        causal: str | None = None, mask: Array | None = None, bias: Array | None = None,
        window: tuple[int | None, int | None] | None = None, key_lengths: Array | None = None,
        softcap: float | None = None, sink: Array | None = None, return_lse: bool = False,
    ) -> Any:  # fmt: skip
        chosen = ("top-left" if is_causal else causal, mask, bias, window, key_lengths, softcap, sink)
        positions = seen_from(query_positions, query.shape[2]), seen_from(key_positions, key.shape[2])
        scaled = (scaling, factor or 1.0, original_length or 1, low_frequency or 1.0, high_frequency or 4.0)
        t = Task(
            query, key, value, scale, *chosen, positions, base, layout, rotary_dim or 0, *scaled, truncate,
            attention_factor, relative_bias=relative_bias, kind=query.dtype,
        )  # fmt: skip
        return _returned(t, steps, each, after, return_lse)

    return attend


def general(
    steps: Steps,
    each: Callable[[Task, Steps], tuple[Array, Array]] = passed,
    after: Callable[[Task, Array], Array] = lambda t, out: out,
) -> Callable[..., Any]:
    """A kernel of the general form, with every option."""

    def attend(
        query: Array, key: Array, value: Array, relative: Array, *, scale: float,
        support: tuple[tuple[int, int], ...], relative_bias: Array | None = None, is_causal: bool = False,
        causal: str | None = None, mask: Array | None = None, bias: Array | None = None,
        window: tuple[int | None, int | None] | None = None, key_lengths: Array | None = None,
        softcap: float | None = None, sink: Array | None = None, return_lse: bool = False,
    ) -> Any:  # fmt: skip
        chosen = ("top-left" if is_causal else causal, mask, bias, window, key_lengths, softcap, sink)
        t = Task(
            query, key, value, scale, *chosen, relative=relative, support=support, relative_bias=relative_bias,
            kind=query.dtype,
        )  # fmt: skip
        return _returned(t, steps, each, after, return_lse)

    return attend


def _returned(
    t: Task,
    steps: Steps,
    each: Callable[[Task, Steps], tuple[Array, Array]],
    after: Callable[[Task, Array], Array],
    return_lse: bool,
) -> Any:
    with np.errstate(all="ignore"):
        output, lse = each(t, steps)
        output = after(t, output).astype(t.kind)
    return (output, lse) if return_lse else output
