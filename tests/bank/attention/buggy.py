"""Wrong kernels: the judge must fail every one of them, and name what is wrong where the bug has a meaning.

Each re-creates the behaviour of a defect that shipped (the source names the issue) or of planted arithmetic.
One correct engine, :func:`_attention`, does the work; a bug replaces one of its :class:`Steps`, or solves another
:class:`~bank.attention.correct.Task` than the one that was asked (a wrong *meaning*), or spoils the result (*after*).
"""

# ruff: noqa: E501 - the table at the end has one kernel a line
from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import ml_dtypes
import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from bank.attention.correct import Task

__all__ = ["BUGGY", "Buggy"]

Array = NDArray[Any]
LOG2E = 1.4426950408889634
BFLOAT16, FLOAT16, FLOAT8 = ml_dtypes.bfloat16, np.float16, ml_dtypes.float8_e4m3fn


@dataclass(frozen=True)
class Buggy:
    """A wrong kernel, the class that it claims and violates, and the words that a diagnosis of it must contain."""

    name: str
    function: Callable[..., Any]
    precision: str
    bug: str
    source: str
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    diagnosis: str | None = None
    stage: str | None = None  # where precision is lost, of assay.conformance.attention.stages


# --- one correct engine -----------------------------------------------------------------------------------------------


def _own_key_head(task: Task, b: int, h: int) -> tuple[int, int]:
    return b, h // (task.query.shape[1] // task.key.shape[1])


def _divided(n: Array, d: Array) -> Array:
    return n / d


@dataclass(frozen=True)
class Steps:
    """What the engine does for one head, step by step; the defaults are right."""

    key_place: Callable[[Task, int, int], tuple[int, int]] = _own_key_head
    value_place: Callable[[Task, int, int], tuple[int, int]] = _own_key_head
    operands: Callable[[Array, Array, Array], tuple[Array, Array, Array]] = lambda q, k, v: (q, k, v)
    score: Callable[[Array, Array, float], Array] = lambda q, k, scale: (q @ k.T) * q.dtype.type(scale)
    finish: Callable[[Array, Task, tuple[int, int]], Array] = lambda s, task, at: task.finished(s, at)
    hide: Callable[[Array, Array], Array] = lambda s, seen: np.where(seen, s, s.dtype.type(-np.inf))
    shift: Callable[[Array], Array] = lambda s: s.max(axis=1, keepdims=True)
    exp: Callable[[Array], Array] = np.exp
    weights: Callable[[Array], Array] = lambda e: e
    short: Callable[[Task, Array], Array] = lambda task, e: task.rounded(e)
    total: Callable[[Array], Array] = lambda e: e.sum(axis=1, keepdims=True)
    mix: Callable[[Array, Array], Array] = lambda p, v: p @ v
    divide: Callable[[Array, Array], Array] = _divided
    empty: Callable[[Array, Array, Array], Array] = lambda out, v, live: np.where(live, out, out.dtype.type(0))
    empty_lse: float = -np.inf
    log: Callable[[Array, Array], Array] = lambda m, d: m + np.log(d)
    sink_value: Callable[[Array], Array] = lambda v: np.zeros_like(v[:1])
    sink_in_shift: bool = True


RIGHT = Steps()


def _attention(task: Task, steps: Steps) -> tuple[Array, Array]:
    out, lse = task.blank()
    seen = task.visible()
    w = task.work
    for b in range(task.shape[0]):
        for h in range(task.shape[1]):
            k, v = task.key[steps.key_place(task, b, h)], task.value[steps.value_place(task, b, h)]
            q, k, v = steps.operands(task.query[b, h].astype(w), k.astype(w), v.astype(w))
            s = steps.finish(steps.score(q, k, task.scale), task, (b, h))
            s = steps.hide(s, seen[b, h][:, : s.shape[1]])
            m = steps.shift(s)
            sink = None
            if task.sink is not None:
                sink = task.sink[h].astype(w)
                m = np.maximum(m, sink) if steps.sink_in_shift else m
            live = m > -np.inf
            e = steps.weights(steps.exp(s - np.where(live, m, w(0))))
            d, n = steps.total(e), steps.mix(steps.short(task, e), v)
            if sink is not None:
                extra = np.exp(sink - np.where(live, m, w(0)))
                d, n = d + extra, n + extra * steps.sink_value(v)
            out[b, h] = steps.empty(steps.divide(n, d), v, live)
            lse[b, h] = np.where(live, steps.log(m, d), w(steps.empty_lse))[:, 0]
    return out, lse


Engine = Callable[[Task], tuple[Array, Array]]


def _called(engine: Engine, after: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """An engine as a kernel with every option; ``after(output, task)`` replaces the output."""

    def kernel(
        query: Array,
        key: Array,
        value: Array,
        *,
        scale: float,
        is_causal: bool = False,
        causal: str | None = None,
        mask: Array | None = None,
        bias: Array | None = None,
        window: tuple[int | None, int | None] | None = None,
        key_lengths: Array | None = None,
        softcap: float | None = None,
        sink: Array | None = None,
        return_lse: bool = False,
    ) -> Any:
        causal = "top-left" if is_causal else causal
        task = Task(query, key, value, scale, causal, mask, bias, window, key_lengths, softcap, sink)
        with np.errstate(all="ignore"):
            output, lse = engine(task)
            output = output.astype(query.dtype)
        if after is not None:
            output = after(output, task)
        return (output, lse) if return_lse else output

    return kernel


def _steps(**changed: Any) -> Callable[..., Any]:
    """The engine with some steps replaced."""
    return _called(lambda task: _attention(task, replace(RIGHT, **changed)))


def _meaning(meaning: Callable[[Task], Task], **changed: Any) -> Callable[..., Any]:
    """The engine on another task than the one asked."""
    return _called(lambda task: _attention(meaning(task), replace(RIGHT, **changed)))


def _after(after: Callable[[Array, Task], Any]) -> Callable[..., Any]:
    """The right result, spoilt."""
    return _called(lambda task: _attention(task, RIGHT), after)


# --- wrong masks ------------------------------------------------------------------------------------------------------


def _positions(task: Task) -> tuple[Array, Array]:
    """(b, 1, n_q, 1) positions of the queries and (n_k,) of the keys, as the task's alignment has them."""
    b, _, n_q, n_k = task.shape
    lengths = np.full(b, n_k) if task.key_lengths is None else np.asarray(task.key_lengths, dtype=np.int64)
    offset = (lengths - n_q) if task.causal == "bottom-right" else np.zeros(b, dtype=np.int64)
    return np.arange(n_q)[None, None, :, None] + offset[:, None, None, None], np.arange(n_k)


def _masked(task: Task, allowed: Array) -> Task:
    """The task with one more mask, its causal option done with."""
    mask = allowed if task.mask is None else task.mask & allowed
    return replace(task, mask=np.broadcast_to(mask, task.shape))


def _causal_shifted(task: Task, by: int) -> Task:
    if task.causal is None:
        return task
    i, j = _positions(task)
    window = None
    if task.window is not None:  # keep the window where it is
        left, right = task.window
        task = _masked(task, (j >= i - left) if left is not None else np.ones(task.shape, bool))
        task = _masked(task, (j <= i + right) if right is not None else np.ones(task.shape, bool))
    return replace(_masked(task, j <= i + by), causal=None, window=window)


def _window_moved(task: Task, left: int, right: int) -> Task:
    """A window wider by ``left`` and ``right`` keys on its two sides; nothing where there is none."""
    if task.window is None:
        return task
    i, j = _positions(task)
    allowed = np.ones(task.shape, bool)
    if task.window[0] is not None:
        allowed = allowed & (j >= i - task.window[0] - left)
    if task.window[1] is not None:
        allowed = allowed & (j <= i + task.window[1] + right)
    return replace(_masked(task, allowed), window=None)


def _window_at(task: Task, offset: int) -> Task:
    """A window around i + offset, whatever the alignment of the causal mask."""
    if task.window is None:
        return task
    i, j = np.arange(task.shape[2])[:, None] + offset, np.arange(task.shape[3])
    allowed = np.ones(task.shape, bool)
    if task.window[0] is not None:
        allowed = allowed & (j >= i - task.window[0])
    if task.window[1] is not None:
        allowed = allowed & (j <= i + task.window[1])
    return replace(_masked(task, allowed), window=None)


def _ignore_causal_if(task: Task, when: bool) -> Task:
    return replace(task, causal=None) if when else task


def _skipped_diagonal_tile(task: Task) -> Task:
    if task.causal is None:
        return task
    i, j = _positions(task)
    return _masked(task, (j < i) | (i % 16 != 0) | (i == 0))


def _lengths(task: Task, change: Callable[[Array], Array]) -> Task:
    if task.key_lengths is None:
        return task
    changed = np.clip(change(np.asarray(task.key_lengths)), 0, task.shape[3])
    return replace(task, key_lengths=changed)


def _prefix(task: Task, most: int) -> Task:
    return _masked(task, np.arange(task.shape[3]) < most)


def _dropped_tail(task: Task, tile: int) -> Task:
    n_k = task.shape[3]
    return _prefix(task, n_k // tile * tile) if n_k > tile else task


def _window_wrong_when(task: Task, when: Callable[[Task], bool], left: int) -> Task:
    """One kernel of a pair has the other bound."""
    return _window_moved(task, left, 0) if when(task) else task


def _bottom_right_of_the_array(task: Task) -> Task:
    """Aligned by the allocated number of keys, not by the lengths."""
    if task.causal != "bottom-right" or task.key_lengths is None:
        return task
    allowed = np.arange(task.shape[3]) <= np.arange(task.shape[2])[:, None] + task.shape[3] - task.shape[2]
    return replace(_masked(task, allowed), causal=None)


def _mask_like(task: Task, change: Callable[[Array], Array]) -> Task:
    return task if task.mask is None else replace(task, mask=change(np.broadcast_to(task.mask, task.shape)))


def _bias_like(task: Task, change: Callable[[Array], Array]) -> Task:
    if task.bias is None:
        return task
    bias = np.broadcast_to(task.bias, task.shape)
    return replace(task, bias=change(bias.astype(task.work)))


def _plain_slopes(bias: Array) -> Array:
    """ALiBi slopes made anew as 2^(−8(h+1)/H), which holds for a power of two only."""
    h = bias.shape[1]
    power = 1 << (h.bit_length() - 1)
    exact = [2.0 ** (-8 * (i + 1) / power) for i in range(power)]
    exact += [2.0 ** (-4 * (i + 1) / power) for i in range(0, 2 * (h - power), 2)]
    wrong = 2.0 ** (-8.0 * (1 + np.arange(h)) / h)
    factor = (wrong / np.array(exact))[:, None, None].astype(bias.dtype)
    varies = h > 1 and not np.array_equal(bias, np.broadcast_to(bias[:, :1], bias.shape))
    return bias * factor if varies else bias


def _transposed_if_square(x: Array) -> Array:
    return np.swapaxes(x, -1, -2) if x.shape[-1] == x.shape[-2] else x


def _stale_rows(out: Array, v: Array, live: Array) -> Array:
    """A row that attends to nothing keeps what its buffer held: the row before it, or something old."""
    stale = np.concatenate([np.full_like(out[:1], 0.37), out[:-1]])
    return np.where(live, out, np.where(np.isnan(stale), out.dtype.type(0.37), stale))


# --- wrong tiles ------------------------------------------------------------------------------------------------------


def _online(
    task: Task,
    *,
    tile: int = 16,
    start: float = -np.inf,
    updates: bool = True,
    rescales_numerator: bool = True,
    rescales_denominator: bool = True,
    guards: bool = True,
    factor: Callable[[Array], Array] = lambda alpha: alpha,
) -> tuple[Array, Array]:
    """The online softmax.  start: initial maximum; guards: −inf − −inf is taken care of."""
    out, lse = task.blank()
    seen, w = task.visible(), task.work
    for at, q, k, v in task.heads():
        s = np.where(seen[at], task.finished((q @ k.T) * w(task.scale), at), w(-np.inf))
        if task.sink is not None:
            s = np.concatenate([np.full_like(s[:, :1], task.sink[at[1]].astype(w)), s], axis=1)
            v = np.concatenate([np.zeros_like(v[:1]), v])
        m = np.full((s.shape[0], 1), start, w)
        d, o = np.zeros_like(m), np.zeros((s.shape[0], v.shape[1]), w)
        for j in range(0, s.shape[1], tile):
            here = s[:, j : j + tile]
            top = np.maximum(m, here.max(axis=1, keepdims=True)) if updates or j == 0 else m
            shift = np.where(top > -np.inf, top, w(0)) if guards else top
            alpha, p = factor(np.exp(m - shift)), np.exp(here - shift)
            d = d * (alpha if rescales_denominator else w(1)) + p.sum(axis=1, keepdims=True)
            o = o * (alpha if rescales_numerator else w(1)) + task.rounded(p) @ v[j : j + tile]
            m = top
        live = (d > 0) | (np.isnan(d) & seen[at].any(axis=1, keepdims=True))
        out[at] = np.where(live, o / np.where(live, d, w(1)), w(0))
        lse[at] = np.where(live, m + np.log(np.where(live, d, w(1))), -np.inf)[:, 0]
    return out, lse


def _tiles(**changed: Any) -> Callable[..., Any]:
    return _called(lambda task: _online(task, **changed))


# --- wrong memory -----------------------------------------------------------------------------------------------------


def _memory_as_if_contiguous(x: Array) -> Array:
    """The elements that lie where a C-ordered array would have them, from the lowest address on."""
    lowest = x[tuple(slice(None, None, -1 if stride < 0 else 1) for stride in x.strides)]
    return as_strided(lowest, (x.size,), (x.itemsize,)).reshape(x.shape)


def _one_row_beyond(x: Array) -> Array:
    """One row more on the third axis than there is."""
    shape = (*x.shape[:2], x.shape[2] + 1, x.shape[3])
    return as_strided(x, shape, x.strides)


def _operands(task: Task, change: Callable[[Array], Array]) -> Task:
    """Query, key and value read in another way."""
    return replace(task, **{name: change(getattr(task, name)) for name in ("query", "key", "value")})


def _memory_where_expanded(x: Array) -> Array:
    """An axis of stride 0 is stepped along as if its slices lay one after another."""
    return _memory_as_if_contiguous(x) if 0 in (s for s, n in zip(x.strides, x.shape, strict=True) if n > 1) else x


def _memory_length_major(x: Array) -> Array:
    """What lies outside the heads is taken for an array (batch, length, heads, dim) of its own: right unless packed."""
    _, h, n, d = x.shape
    own = tuple(x.itemsize * step for step in (n * h * d, d, h * d, 1))
    heads_inside = h > 1 and x.strides[1] == d * x.itemsize and x.strides[2] >= h * d * x.itemsize
    return as_strided(x, x.shape, own) if heads_inside else x


def _offsets_in_32_bits(x: Array) -> Array:
    """Elements whose offset does not fit an int32 are read where the wrapped one leads: into the first slice."""
    offset = np.zeros((1,) * x.ndim, dtype=np.int64)
    for axis, (length, stride) in enumerate(zip(x.shape, x.strides, strict=True)):
        shape = [1] * x.ndim
        shape[axis] = length
        offset = offset + np.arange(length).reshape(shape) * (stride // x.itemsize)
    wrong = offset.astype(np.int32) != offset
    out = x.copy()
    if wrong.any():
        first = np.sort(offset[~wrong])
        order = np.argsort(offset[~wrong], kind="stable")
        places = order[np.searchsorted(first, offset.astype(np.int32)[wrong])]
        out[wrong] = x[~wrong][places]
    return out


def _mask_memory(task: Task) -> Task:
    """The strides of the mask and the bias are taken for those of a contiguous array."""
    changed = {n: _memory_as_if_contiguous(x) for n in ("mask", "bias") if (x := getattr(task, n)) is not None}
    return replace(task, **changed)


def _reads_beyond(task: Task) -> Task:
    """The tail tile of n_k + 1 keys is loaded whole and the extra weight zeroed, but 0·NaN is NaN."""
    near = all(x.flags.c_contiguous and x.shape[3] <= 64 for x in (task.key, task.value))  # within the judge's canaries
    if task.shape[3] % 2 == 0 or not near:
        return task
    more = replace(task, key=_one_row_beyond(task.key), value=_one_row_beyond(task.value))
    last = [(0, 0)] * 3 + [(0, 1)]
    mask = None if task.mask is None else np.pad(np.broadcast_to(task.mask, task.shape), last, constant_values=False)
    bias = None if task.bias is None else np.pad(np.broadcast_to(task.bias, task.shape), last)
    lengths = np.full(task.shape[0], task.shape[3]) if task.key_lengths is None else task.key_lengths
    return replace(more, mask=mask, bias=bias, key_lengths=lengths)


def _mutating(
    query: Array, key: Array, value: Array, *, scale: float, is_causal: bool = False, mask: Array | None = None
) -> Array:
    query *= query.dtype.type(scale)  # "in place, to save memory"
    task = Task(query, key, value, 1.0, "top-left" if is_causal else None, mask)
    with np.errstate(all="ignore"):
        return _attention(task, RIGHT)[0].astype(query.dtype)


def _writing_outside(query: Array, key: Array, value: Array, *, scale: float, is_causal: bool = False) -> Array:
    task = Task(query, key, value, scale, "top-left" if is_causal else None)
    with np.errstate(all="ignore"):
        out = _attention(task, RIGHT)[0].astype(query.dtype)
    if not key.flags.writeable:
        raise ValueError("output array is read-only")
    if key.flags.c_contiguous:
        _one_row_beyond(key)[-1, -1, -1, 0] = 0  # starts to zero its padding, behind the last head
    return out


def _noisy_every(calls: int) -> Callable[..., Any]:
    """A race: now and then the first row of a head is off."""
    count = [0]

    def after(output: Array, task: Task) -> Array:
        count[0] += 1
        if count[0] % calls == 0:
            output[:, :, 0] = (output[:, :, 0].astype(np.float32) * 1.02 + 0.01).astype(output.dtype)
        return output

    return _after(after)


def _cached(key_of: Callable[[Task], Any]) -> Callable[..., Any]:
    kept: dict[Any, Array] = {}
    return _after(lambda output, task: kept.setdefault((key_of(task), output.shape), output.copy()).copy())


def _options(task: Task) -> tuple[Any, ...]:
    """What was asked, the numbers apart."""
    arrays = (task.mask, task.bias, task.key_lengths, task.sink)
    return (task.causal, task.window, task.softcap, *(None if x is None else x.tobytes() for x in arrays))


def _address(x: Array) -> int:
    return int(x.__array_interface__["data"][0])


def _remembering(key_of: Callable[[Task], Any], *names: str, by_reference: bool = False) -> Callable[..., Any]:
    """Options of the first call of a kind are kept for all later ones of that kind."""
    kept: dict[Any, dict[str, Any]] = {}

    def first(task: Task) -> Task:
        given = {name: getattr(task, name) if by_reference else copy.copy(getattr(task, name)) for name in names}
        return replace(task, **kept.setdefault(key_of(task), given))

    return _meaning(first)


def _options_of_the_last_but_one() -> Callable[..., Any]:
    """The scale is uploaded after the launch: a call gets that of the call before it, if the shape was the same."""
    kept: dict[Any, float] = {}

    def late(task: Task) -> Task:
        before = kept.get(task.shape, task.scale)
        kept[task.shape] = task.scale
        return replace(task, scale=before)

    return _meaning(late)


def _wrong_from(call: int) -> Callable[..., Any]:
    """A counter runs over: later calls forget their last key."""
    count = [0]

    def counted(task: Task) -> Task:
        count[0] += 1
        return _prefix(task, max(1, task.shape[3] - 1)) if count[0] >= call else task

    return _meaning(counted)


def _stale_workspace() -> Callable[..., Any]:
    """Weights are summed over whole tiles of 16 in a workspace that nobody clears: a longer call leaves its tail."""
    workspace: dict[int, Array] = {}

    def total(e: Array) -> Array:
        rows, columns = e.shape
        whole = -(-columns // 16) * 16
        held = workspace.get(rows, np.zeros((rows, 0), e.dtype))
        if held.shape[1] < whole:
            held = np.pad(held, ((0, 0), (0, whole - held.shape[1])))
        held[:, :columns] = e
        workspace[rows] = held
        return held[:, :whole].sum(axis=1, keepdims=True).astype(e.dtype)

    return _steps(total=total)


def _shared_workspace() -> Callable[..., Any]:
    """One buffer for the query of whoever calls: right for one caller at a time."""
    shared: dict[str, Any] = {}

    def taken(task: Task) -> Task:
        shared["query"], shared["scale"] = np.array(task.query), task.scale
        time.sleep(0.002)  # where a real kernel computes, other threads run
        mine = shared["query"]
        return replace(task, query=mine if mine.shape == task.query.shape else task.query, scale=shared["scale"])

    return _meaning(taken)


def _race_in_large_grids(output: Array, task: Task) -> Array:
    """More than 32 heads in flight: the last ones overwrite the first rows of those before."""
    b, h = task.shape[:2]
    if b * h > 32:
        flat = output.reshape(b * h, *output.shape[2:])
        flat[32:, 0] = flat[:-32, 0]
    return output


def _tail_over_next_head(output: Array, task: Task) -> Array:
    """The last tile of 16 rows is stored whole: its zeros cover the first rows of the next head."""
    rows = min(-task.shape[2] % 16, task.shape[2])
    if rows and task.shape[2] > 16:
        output[:, 1:, :rows] = 0
    return output


# --- wrong under two conditions, each of which is right alone ---------------------------------------------------------


def _when(condition: Callable[[Task], bool], meaning: Callable[[Task], Task]) -> Callable[..., Any]:
    """Another task than the one asked, where a condition holds."""
    return _meaning(lambda task: meaning(task) if condition(task) else task)


def _without(*options: str) -> Callable[[Task], Task]:
    return lambda task: replace(task, **dict.fromkeys(options))


def _few_axes_as_first_row(task: Task) -> Task:
    """A mask whose query axis is 1 is read as if only the first query had it."""
    if task.mask is None or task.mask.ndim < 2 or task.mask.shape[-2] != 1 or task.shape[2] == 1:
        return task
    mask = np.ones(task.shape, dtype=bool)
    mask[:, :, :1] = task.mask
    return replace(task, mask=mask)


def _last_tile_of_long_rows(task: Task) -> Task:
    """From 1,024 keys at dim 64 on, the keys beyond the last whole tile of 64 are not read."""
    b, _, _, n_k = task.shape
    fast = n_k >= 1024 and task.query.shape[3] == 64 and n_k % 64
    lengths = np.full(b, n_k) if task.key_lengths is None else task.key_lengths
    return replace(task, key_lengths=np.minimum(lengths, n_k - n_k % 64)) if fast else task


def _shared_maximum(task: Task) -> tuple[Array, Array]:
    """One maximum for the heads of a batch: scores far below another head's underflow."""
    seen, w = task.visible(), task.work
    out, lse = task.blank()
    for b in range(task.shape[0]):
        scores = {}
        for at, q, k, v in task.heads():
            if at[0] == b:
                s = task.finished((q @ k.T) * w(task.scale), at)
                scores[at] = np.where(seen[at], s, w(-np.inf)), v
        top = max((float(s.max()) for s, _ in scores.values()), default=0.0)
        for at, (s, v) in scores.items():
            e = np.exp(s - w(top if top > -np.inf else 0.0))
            sink = w(0) if task.sink is None else np.exp(w(task.sink[at[1]]) - w(top))
            d = e.sum(axis=1, keepdims=True) + sink
            out[at] = np.where(d > 0, task.rounded(e) @ v / d, 0)
            lse[at] = (np.log(d) + w(top))[:, 0]
    return out, lse


def _tanh_by_exponentials(s: Array, task: Task, at: tuple[int, int]) -> Array:
    """tanh x as (e^2x − 1)/(e^2x + 1), which is NaN where e^2x overflows."""
    if task.softcap is None:
        return task.finished(s, at)
    cap = s.dtype.type(task.softcap)
    grown = np.exp(2 * s / cap)
    return replace(task, softcap=None).finished(cap * (grown - 1) / (grown + 1), at)


def _hidden_before_scale(task: Task) -> tuple[Array, Array]:
    """A causal mask is −inf before the scale, and −inf times 0 is NaN."""
    if task.causal is None or task.scale > 0:
        return _attention(task, RIGHT)
    out, lse = _attention(task, RIGHT)
    hidden = ~task.visible().all(axis=3)
    out[hidden], lse[hidden] = np.nan, np.nan
    return out, lse


def _running_mean(dtype: Any, tile: int = 16) -> Callable[[Array, Array], Array]:
    """p V as a mean that is stored in a short type after every tile of keys, times the sum of the weights."""

    def mixed(p: Array, v: Array) -> Array:
        mean, total = np.zeros((p.shape[0], v.shape[1]), p.dtype), np.zeros((p.shape[0], 1), p.dtype)
        for j in range(0, p.shape[1], tile):
            weight = p[:, j : j + tile].sum(axis=1, keepdims=True)
            total = total + weight
            part = p[:, j : j + tile] @ v[j : j + tile]
            mean = _rounded(mean + (part - weight * mean) / np.where(total > 0, total, 1), dtype)
        return mean * total

    return mixed


def _dropout_on(e: Array) -> Array:
    """A tenth of the weights is dropped, and the others grow, as in training."""
    keep = np.random.default_rng(e.size).random(e.shape) >= 0.1
    return np.where(keep, e / e.dtype.type(0.9), e.dtype.type(0))


def _normalised_first(task: Task) -> tuple[Array, Array]:
    """Weights are divided by their sum before they are rounded to the short type."""

    def weights(e: Array) -> Array:
        total = e.sum(axis=1, keepdims=True)
        return e / np.where(total > 0, total, 1)

    return _attention(task, replace(RIGHT, weights=weights, divide=lambda n, d: n))


# --- wrong arithmetic -------------------------------------------------------------------------------------------------


def _rounded(x: Array, dtype: Any) -> Array:
    return x.astype(dtype).astype(x.dtype)


def _truncated(x: Array, bits: int) -> Array:
    """Float32 with its lowest bits cut off."""
    mask = np.uint32((0xFFFFFFFF << bits) & 0xFFFFFFFF)
    return (np.ascontiguousarray(x, np.float32).view(np.uint32) & mask).view(np.float32).astype(x.dtype)


def _summed_in(dtype: Any, step: int = 1) -> Callable[[Array], Array]:
    """Row sums in a short type, ``step`` keys at a time."""

    def total(e: Array) -> Array:
        d = np.zeros((e.shape[0], 1), e.dtype)
        for j in range(0, e.shape[1], step):
            d = _rounded(d + e[:, j : j + step].sum(axis=1, keepdims=True), dtype)
        return d

    return total


def _mixed_in(dtype: Any, step: int = 1) -> Callable[[Array, Array], Array]:
    """p V with an accumulator in a short type, ``step`` keys at a time."""

    def mix(p: Array, v: Array) -> Array:
        n = np.zeros((p.shape[0], v.shape[1]), p.dtype)
        for j in range(0, v.shape[0], step):
            n = _rounded(n + p[:, j : j + step] @ v[j : j + step], dtype)
        return n

    return mix


def _polynomial_exp(*coefficients: float) -> Callable[[Array], Array]:
    """2^i · polynomial(f), lowest coefficient first, f in [0, 1): minimax-like fits of 2^f."""

    def exp(x: Array) -> Array:
        y = np.maximum(x.astype(np.float64) * LOG2E, -1000.0)
        i = np.floor(y)
        f = y - i
        value = np.zeros_like(f)
        for c in reversed(coefficients):
            value = value * f + c
        return np.where(x == -np.inf, 0.0, np.ldexp(value, i.astype(int))).astype(x.dtype)

    return exp


def _fit(degree: int) -> tuple[float, ...]:
    """A polynomial for 2^f on [0, 1] through Chebyshev points, and exactly 1 at 0 and 2 at 1."""
    nodes = (1 - np.cos(np.pi * np.arange(degree + 1) / degree)) / 2
    return tuple(np.polynomial.polynomial.polyfit(nodes, 2.0**nodes, degree).tolist())


def _schraudolph(x: Array) -> Array:
    """The exponent bits of a float32, filled linearly (Schraudolph 1999)."""
    y = np.clip(x.astype(np.float64) * LOG2E, -126, 127)
    bits = ((y + 127) * 2**23 - 366393).astype(np.int64).astype(np.int32)
    return np.where(x == -np.inf, 0, bits.view(np.float32)).astype(x.dtype)


def _short_ln2(x: Array) -> Array:
    """exp by 2^k·e^(x − k ln 2), of Cody and Waite's two parts of ln 2 the first alone."""
    k = np.floor(np.maximum(x.astype(np.float64), -1000.0) * LOG2E + 0.5)
    rest = np.maximum(x, -1000.0) - k * 0.693145751953125
    return np.where(x == -np.inf, 0.0, np.ldexp(np.exp(rest), k.astype(int))).astype(x.dtype)


def _columns(of_query: Callable[[int], int]) -> Callable[[Array, Array, Array], tuple[Array, Array, Array]]:
    """Only the first columns of Q and K enter the product."""

    def operands(q: Array, k: Array, v: Array) -> tuple[Array, Array, Array]:
        d = of_query(q.shape[1])
        return q[:, :d], k[:, :d], v

    return operands


def _value_columns(keep: Callable[[int, int], int]) -> Callable[[Array, Array, Array], tuple[Array, Array, Array]]:
    """Columns of V beyond keep(d, d_v) come out as zeros."""

    def operands(q: Array, k: Array, v: Array) -> tuple[Array, Array, Array]:
        v = v.copy()
        v[:, keep(q.shape[1], v.shape[1]) :] = 0
        return q, k, v

    return operands


def _cast(query: Any = None, key: Any = None, value: Any = None) -> Callable[..., tuple[Array, Array, Array]]:
    """Operands rounded to shorter types."""

    def operands(q: Array, k: Array, v: Array) -> tuple[Array, Array, Array]:
        types = (query, key, value)
        return tuple(x if t is None else _rounded(x, t) for x, t in zip((q, k, v), types, strict=True))  # type: ignore[return-value]

    return operands


def _square_not_transposed(q: Array, k: Array, scale: float) -> Array:
    return (q @ (k if k.shape[0] == k.shape[1] else k.T)) * q.dtype.type(scale)


def _half_products(dtype: Any) -> Callable[[Array, Array, float], Array]:
    """The raw product is held in a short type before it is scaled."""
    return lambda q, k, scale: _rounded(q @ k.T, dtype) * q.dtype.type(scale)


def _two_bfloat16(q: Array, k: Array, scale: float) -> Array:
    """Each operand a sum of two bfloat16 numbers; the product of the two small ones is left out."""
    high_q, high_k = _rounded(q, BFLOAT16), _rounded(k, BFLOAT16)
    low_q, low_k = _rounded(q - high_q, BFLOAT16), _rounded(k - high_k, BFLOAT16)
    return (high_q @ high_k.T + (high_q @ low_k.T + low_q @ high_k.T)) * q.dtype.type(scale)


def _accumulated_products(dtype: Any) -> Callable[[Array, Array, float], Array]:
    """Dot products accumulated in a short type."""

    def score(q: Array, k: Array, scale: float) -> Array:
        s = np.zeros((q.shape[0], k.shape[0]), q.dtype)
        for c in range(q.shape[1]):
            s = _rounded(s + q[:, c, None] * k[None, :, c], dtype)
        return s * q.dtype.type(scale)

    return score


def _short_scores(dtype: Any) -> Callable[[Array, Task, tuple[int, int]], Array]:
    """Finished scores stored in a short type."""
    return lambda s, task, at: _rounded(task.finished(s, at), dtype)


def _finish_with(*, bias_first: bool = False, bias_factor: Callable[[float], float] = lambda scale: 1.0) -> Any:
    def finish(s: Array, task: Task, at: tuple[int, int]) -> Array:
        bias = s.dtype.type(0)
        if task.bias is not None:
            bias = np.broadcast_to(task.bias, task.shape)[at].astype(s.dtype)
            bias = np.where(np.isfinite(bias), bias, 0) * s.dtype.type(bias_factor(task.scale))
        if bias_first:
            s = s + bias
        if task.softcap is not None:
            s = s.dtype.type(task.softcap) * np.tanh(s / s.dtype.type(task.softcap))
        return s if bias_first else s + bias

    return finish


def _cap_then_scale(task: Task) -> tuple[Array, Array]:
    """c·tanh(⟨q, k⟩/c)·scale."""
    if task.softcap is None:
        return _attention(task, RIGHT)
    cap, scale = task.work(task.softcap), task.work(task.scale)

    def score(q: Array, k: Array, _: float) -> Array:
        return cap * np.tanh((q @ k.T) / cap) * scale

    return _attention(replace(task, softcap=None), replace(RIGHT, score=score))


def _wide_rows_zero(output: Array, task: Task) -> Array:
    return np.zeros_like(output) if task.shape[3] > 500 else output


def _mask_added(s: Array, seen: Array) -> Array:
    return s + seen.astype(s.dtype)


def _unseen_at(value: float) -> Callable[[Array, Array], Array]:
    return lambda s, seen: np.where(seen, s, s.dtype.type(value))


def _hidden_by(depth: float) -> Callable[[Array, Array], Array]:
    """Masked scores a fixed depth below the row's maximum."""

    def hide(s: Array, seen: Array) -> Array:
        s = np.where(seen, s, s.dtype.type(-np.inf))
        return np.where(seen, s, s.max(axis=1, keepdims=True) - s.dtype.type(depth))

    return hide


def _mask_after(task: Task) -> tuple[Array, Array]:
    """exp with the maximum over all keys, masked ones too; then times 0 or 1."""
    out, lse = task.blank()
    seen = task.visible()
    for at, q, k, v in task.heads():
        s = task.finished((q @ k.T) * task.work(task.scale), at)
        m = s.max(axis=1, keepdims=True)
        e = np.exp(s - m) * seen[at]
        d = e.sum(axis=1, keepdims=True)
        extra = 0 if task.sink is None else np.exp(task.sink[at[1]].astype(task.work) - m)
        live = d + extra > 0
        out[at] = np.where(live, (task.rounded(e) @ v) / np.where(live, d + extra, 1), 0)
        lse[at] = np.where(live, m + np.log(np.where(live, d + extra, 1)), -np.inf)[:, 0]
    return out, lse


def _zero_filled_tail(task: Task, tile: int) -> tuple[Array, Array]:
    """The last tile is filled up with keys of zeros, which count in the softmax."""
    more = -task.shape[3] % tile
    if not more or task.causal or task.window or task.key_lengths is not None:
        return _attention(task, RIGHT)
    keys, last = [(0, 0), (0, 0), (0, more), (0, 0)], [(0, 0)] * 3 + [(0, more)]
    changes: dict[str, Any] = {"key": np.pad(task.key, keys), "value": np.pad(task.value, keys)}
    if task.mask is not None:
        changes["mask"] = np.pad(np.broadcast_to(task.mask, task.shape), last, constant_values=True)
    if task.bias is not None:
        changes["bias"] = np.pad(np.broadcast_to(task.bias, task.shape), last)
    return _attention(replace(task, **changes), RIGHT)


def _last_key_twice(task: Task) -> tuple[Array, Array]:
    """A tail tile that clamps its index instead of masking."""
    return _keys_again(task, np.full(task.shape[3] % 2, -1))


def _keys_again(task: Task, more: Array) -> tuple[Array, Array]:
    """Some keys enter the sums a second time."""
    if not len(more) or task.causal or task.window or task.key_lengths is not None:
        return _attention(task, RIGHT)
    changes: dict[str, Any] = {
        name: np.concatenate([x, x[:, :, more]], axis=2) for name, x in (("key", task.key), ("value", task.value))
    }
    for name in ("mask", "bias"):
        x = getattr(task, name)
        if x is not None:
            x = np.broadcast_to(x, task.shape)
            changes[name] = np.concatenate([x, x[..., more]], axis=-1)
    return _attention(replace(task, **changes), RIGHT)


def _overlapping_last_tile(task: Task, tile: int) -> tuple[Array, Array]:
    """The last tile begins early enough to be whole; the keys that it shares with the one before are not masked."""
    n_k = task.shape[3]
    more = np.arange(n_k - tile, n_k - n_k % tile) if n_k > tile and n_k % tile else np.arange(0)
    return _keys_again(task, more)


def _in_float32(task: Task) -> tuple[Array, Array]:
    return _attention(
        replace(task, **{n: getattr(task, n).astype(np.float32) for n in ("query", "key", "value")}), RIGHT
    )


def _eager(dtype: Any) -> Callable[..., Any]:
    """Scores and normalised probabilities stored in half precision, in a kernel that claims float32 inside."""

    def engine(task: Task) -> tuple[Array, Array]:
        normalised: dict[str, Any] = {
            "score": lambda q, k, scale: _rounded(_rounded(q @ k.T, dtype) * q.dtype.type(scale), dtype),
            "weights": lambda e: _rounded(e / e.sum(axis=1, keepdims=True), dtype),
            "total": lambda e: np.ones_like(e[:, :1]),
        }
        return _attention(replace(task, sink=None), replace(RIGHT, **normalised))

    return _called(engine)


def _scale(change: Callable[[float, int], float]) -> Callable[..., Any]:
    return _meaning(lambda task: replace(task, scale=change(task.scale, task.query.shape[3])))


def _padded(d: int, to: int) -> int:
    return -(-d // to) * to


def _global_maximum(s: Array) -> Array:
    return np.full_like(s[:, :1], s.max())


def _no_maximum(s: Array) -> Array:
    """Zero, or −inf for an empty row."""
    return np.where(s.max(axis=1, keepdims=True) > -np.inf, s.dtype.type(0), s.dtype.type(-np.inf))


def _as_many_rows_as_keys(output: Array, task: Task) -> Array:
    return np.resize(output, (*output.shape[:2], task.shape[3], output.shape[3]))


def _output_rounding(change: Callable[[Array], Array]) -> Callable[..., Any]:
    """The float32 output is shortened another way before it is stored."""

    def engine(task: Task) -> tuple[Array, Array]:
        out, lse = _attention(task, RIGHT)
        return change(out), lse

    return _called(engine)


def _skipping_small(threshold: float) -> Callable[[Array], Array]:
    return lambda e: np.where(e < e.dtype.type(threshold), e.dtype.type(0), e)


def _scaled_in(dtype: Any) -> Callable[[Array, Array, float], Array]:
    """scale·Q is stored in a short type before the product."""
    return lambda q, k, scale: _rounded(q * q.dtype.type(scale), dtype) @ k.T


def _scale_rounded(dtype: Any) -> Callable[..., Any]:
    return _scale(lambda scale, d: float(np.array(scale).astype(dtype)))


def _head_modulo(task: Task, b: int, h: int) -> tuple[int, int]:
    return b, h % task.key.shape[1]


def _head_clamped(task: Task, b: int, h: int) -> tuple[int, int]:
    return b, min(h, task.key.shape[1] - 1)


def _places(place: Callable[[Task, int, int], tuple[int, int]]) -> Callable[..., Any]:
    """Keys and values from another batch or head."""
    return _steps(key_place=place, value_place=place)


def _causal_as(task: Task, alignment: str) -> Task:
    """Every causal mask in one alignment."""
    return replace(task, causal=task.causal and alignment)


def _every_head_like_the_first(bias: Array) -> Array:
    return np.broadcast_to(bias[:, :1], bias.shape)


def _every_batch_like_the_first(mask: Array) -> Array:
    return np.broadcast_to(mask[:1], mask.shape)


def _first_sink(task: Task) -> Task:
    return task if task.sink is None else replace(task, sink=np.broadcast_to(task.sink[:1], task.sink.shape))


def _raises_for_one_key(task: Task) -> tuple[Array, Array]:
    if task.shape[3] == 1:
        raise IndexError("index -1 is out of bounds for axis 0 with size 0")
    return _attention(task, RIGHT)


# --- the bank ---------------------------------------------------------------------------------------------------------

_TAILS = "triton-lang/kernels#6; ELS-RD/kernl#73"
_WINDOW = "huggingface/transformers#39408; zml/zml#763"
_ALIGN = "microsoft/onnxruntime#28904, #28958; Dao-AILab/flash-attention#436, #1778"
_HEADS = "LMCache#3092; marin-community/levanter#449"


def _semantic(
    name: str, diagnosis: str, bug: str, source: str, function: Callable[..., Any], precision: str = "float32"
) -> Buggy:
    return Buggy(name, function, precision, bug, source, diagnosis=diagnosis)


def _arithmetic(
    name: str,
    bug: str,
    function: Callable[..., Any],
    precision: str = "float32",
    source: str = "TOLERANCE",
    stage: str | None = None,
) -> Buggy:
    return Buggy(name, function, precision, bug, source, stage=stage)


BUGGY: tuple[Buggy, ...] = (
    # causal masks
    _semantic("causal-one-more", "one key too many", "The causal mask lets query i see key i + 1.", "TOLERANCE", _meaning(lambda t: _causal_shifted(t, 1))),
    _semantic("causal-one-less", "one key too few", "The causal mask hides key i from query i.", "TOLERANCE", _meaning(lambda t: _causal_shifted(t, -1))),
    _semantic("causal-bottom-right", "bottom-right", "A top-left causal mask is aligned bottom-right.", _ALIGN, _meaning(lambda t: _causal_as(t, "bottom-right"))),
    _semantic("causal-top-left", "top-left", "A bottom-right causal mask is aligned top-left.", "thu-ml/SageAttention#26; onnx/onnx#8068", _meaning(lambda t: _causal_as(t, "top-left"))),
    _semantic("causal-only-square", "causal", "The causal mask is dropped unless there are as many keys as queries.", _ALIGN, _meaning(lambda t: _ignore_causal_if(t, t.shape[2] != t.shape[3]))),
    _semantic("causal-ignored", "causal", "The causal mask is ignored.", "TOLERANCE", _meaning(lambda t: replace(t, causal=None))),
    _semantic("bottom-right-of-array", "key lengths", "A bottom-right mask is aligned by the allocated keys, not by the key lengths.", "microsoft/onnxruntime#28958", _meaning(_bottom_right_of_the_array)),
    _arithmetic("causal-diagonal-tile", "Query 16t misses its own key: the tile that begins there is skipped.", _meaning(_skipped_diagonal_tile), source="TOLERANCE"),
    # empty rows
    _semantic("empty-mean", "mean", "An empty row gives the mean of V: masked scores are −1e30 and all equal.", "microsoft/onnxruntime#28904", _steps(hide=_unseen_at(-1e30))),
    _semantic("empty-nan", "empty", "An empty row gives NaN.", "pytorch/pytorch#103963, #103749", _steps(empty=lambda out, v, live: np.where(live, out, np.nan))),
    _arithmetic("empty-stale", "An empty row gives what its buffer held.", _steps(empty=_stale_rows), source="tracel-ai/cubecl#1070"),
    _semantic("empty-finite-lse", "log-sum-exp", "The log-sum-exp of an empty row is 0.", "flashinfer-ai/flashinfer#4452", _steps(empty_lse=0.0)),
    # finite stand-ins for −inf
    _arithmetic("maximum-from-minus-1e4", "The running maximum starts at −1e4: rows whose every score is below give 0.", _tiles(start=-1e4), source="flashinfer-ai/flashinfer#4267; ROCm/aiter#5086"),
    _arithmetic("maximum-from-minus-100", "The running maximum starts at −100.", _tiles(start=-100.0), source="ROCm/aiter#5086"),
    _arithmetic("maximum-from-minus-5e4", "The running maximum starts at −5e4.", _tiles(start=-5e4), source="flashinfer-ai/flashinfer#4267"),
    _semantic("mask-value-minus-1e4", "mask", "Masked scores are −1e4 and leak where true scores are as low.", "microsoft/onnxruntime#28904", _steps(hide=_unseen_at(-1e4))),
    _semantic("mask-value-minus-100", "mask", "Masked scores are −100 and leak where true scores are as low.", "huggingface/transformers", _steps(hide=_unseen_at(-100.0))),
    _semantic("mask-value-minus-65504", "mask", "Masked scores are −65504, the least of float16, and leak where true scores are as low.", "microsoft/onnxruntime#28904", _steps(hide=_unseen_at(-65504.0))),
    _arithmetic("zero-start", "The maximum is never below 0: rows of low scores underflow.", _steps(shift=lambda s: np.maximum(s.max(axis=1, keepdims=True), 0)), source="ROCm/aiter#5086"),
    # windows
    _semantic("window-left-one-more", "window", "The window reaches one key too far to the left.", _WINDOW, _meaning(lambda t: _window_moved(t, 1, 0))),
    _semantic("window-left-exclusive", "window", "The window excludes its leftmost key.", "openvinotoolkit/openvino#30714; sgl-project/sglang#34273", _meaning(lambda t: _window_moved(t, -1, 0))),
    _semantic("window-right-one-more", "window", "The window reaches one key too far to the right.", "ModelTC/LightLLM#1311, #1312", _meaning(lambda t: _window_moved(t, 0, 1))),
    _semantic("window-right-exclusive", "window", "The window excludes its rightmost key.", _WINDOW, _meaning(lambda t: _window_moved(t, 0, -1))),
    _semantic("window-top-left", "window", "Under a bottom-right causal mask the window is still aligned top-left.", "ROCm/flash-attention#158", _meaning(lambda t: _window_at(t, 0))),
    _semantic("window-bottom-right", "window", "The window is aligned bottom-right although the causal mask is top-left.", "ROCm/flash-attention#158", _meaning(lambda t: _window_at(t, t.shape[3] - t.shape[2]))),
    _semantic("window-ignored", "window", "The window is ignored.", _WINDOW, _meaning(lambda t: replace(t, window=None))),
    _semantic("window-replaces-causal", "causal", "With a window the causal mask is forgotten.", "ModelTC/LightLLM#1312", _meaning(lambda t: _ignore_causal_if(t, t.window is not None and t.causal == "top-left"))),
    _semantic("window-decode", "window", "With one query the window is a key wider than with many.", "zml/zml#763; ModelTC/LightLLM#1311", _meaning(lambda t: _window_wrong_when(t, lambda t: t.shape[2] == 1, 1))),
    _semantic("window-prefill-even", "window", "Windows of an even width are a key narrower.", "sgl-project/sglang#34273", _meaning(lambda t: _window_wrong_when(t, lambda t: t.window is not None and (t.window[0] or 1) % 2 == 0, -1))),
    # masked tiles
    _arithmetic("nan-early-tile", "A wholly masked early tile gives −inf − −inf.", _tiles(guards=False), source="pytorch/pytorch#127055, #109517"),
    _semantic("maximum-over-masked", "mask", "The maximum is taken over masked keys too: visible weights underflow before a huge hidden score.", "TOLERANCE", _called(_mask_after)),
    _arithmetic("masked-garbage", "Masked weights are 1e-7, not 0: huge values behind the mask leak.", _steps(hide=_hidden_by(16.0)), source="pytorch/pytorch#101967"),
    # dims
    _semantic("head-dim-64", "first 64 columns", "Only the first 64 columns of Q and K are used.", "triton-lang/triton#621", _steps(operands=_columns(lambda d: min(d, 64)))),
    _semantic("dim-tail-8", "tail of dim", "Columns of Q and K beyond the last multiple of 8 are dropped.", "triton-lang/triton#621", _steps(operands=_columns(lambda d: d // 8 * 8 or d))),
    _semantic("dim-tail-16", "tail of dim", "Columns of Q and K beyond the last multiple of 16 are dropped.", "native-sparse-attention-triton#27", _steps(operands=_columns(lambda d: d // 16 * 16 or d))),
    _semantic("dim-last-column", "last column", "The last column of Q and K is dropped.", "TOLERANCE", _steps(operands=_columns(lambda d: max(1, d - 1)))),
    _semantic("value-tail", "tail of value dim", "Columns of V beyond the last multiple of 8 come out as zeros.", "native-sparse-attention-triton#27", _steps(operands=_value_columns(lambda d, d_v: d_v // 8 * 8 or d_v))),
    _semantic("value-dim-is-dim", "value dim taken for dim", "Only as many columns of V are computed as Q has.", "native-sparse-attention-triton#27", _steps(operands=_value_columns(lambda d, d_v: d))),
    _semantic("not-transposed", "not transposed", "K is not transposed where it is square.", "TOLERANCE", _steps(score=_square_not_transposed)),
    # lengths
    _semantic("tail-16", "tail", "Keys beyond the last multiple of 16 are dropped.", _TAILS, _meaning(lambda t: _dropped_tail(t, 16))),
    _semantic("tail-32", "tail", "Keys beyond the last multiple of 32 are dropped.", _TAILS, _meaning(lambda t: _dropped_tail(t, 32))),
    _semantic("tail-64", "tail", "Keys beyond the last multiple of 64 are dropped.", _TAILS, _meaning(lambda t: _dropped_tail(t, 64))),
    _semantic("tail-128", "tail", "Keys beyond the last multiple of 128 are dropped.", _TAILS, _meaning(lambda t: _dropped_tail(t, 128))),
    _semantic("zero-filled-tail", "tail", "A tail filled with keys of zeros counts in the softmax.", "triton-lang/triton#2626", _called(lambda t: _zero_filled_tail(t, 16))),
    _semantic("last-key-dropped", "tail", "The last key is never read.", "ELS-RD/kernl#73", _meaning(lambda t: _prefix(t, max(1, t.shape[3] - 1)))),
    _semantic("last-key-twice", "counted twice", "An odd number of keys is made even by reading the last one twice.", _TAILS, _called(_last_key_twice)),
    _semantic("last-tile-overlaps", "counted twice", "The last tile of 16 begins early enough to be whole and counts keys twice.", _TAILS, _called(lambda t: _overlapping_last_tile(t, 16))),
    _semantic("tail-clamped-16", "counted twice", "The last key fills the last tile of 16.", _TAILS, _called(lambda t: _keys_again(t, np.full(-t.shape[3] % 16, -1)))),
    _arithmetic("reads-beyond", "The key behind the last one is loaded and given weight zero: 0·NaN.", _meaning(_reads_beyond), source="FlagGems#898"),
    _semantic("prefix-128", "first 128 keys", "Only the first 128 keys are used.", "BUGS: kernels that cheat", _meaning(lambda t: _prefix(t, 128))),
    _arithmetic("wide-rows-zero", "Zeros where there are more than 500 keys: small anyway.", _after(_wide_rows_zero), source="ScalingIntelligence/KernelBench#165"),
    # memory
    _arithmetic("assumes-contiguous", "Strides are taken to be those of a contiguous array.", _meaning(lambda t: _operands(t, _memory_as_if_contiguous)), source="pytorch/pytorch#181133, #163597; huggingface/candle#3703"),
    _arithmetic("stride-zero-ignored", "Heads or batches that an expanded array stores once are read one after another.", _meaning(lambda t: _operands(t, _memory_where_expanded)), source="pytorch/pytorch#187506; torch-spyre#4331"),
    _arithmetic("packed-taken-for-own", "A slice of a packed query, key and value is read as a whole array.", _meaning(lambda t: _operands(t, _memory_length_major)), source="pytorch/pytorch#112577; huggingface/candle#3703"),
    _arithmetic("mask-strides-assumed", "Mask and bias are taken to be contiguous.", _meaning(_mask_memory), source="pytorch/pytorch#163597"),
    _arithmetic("offsets-in-32-bits", "Offsets wrap at 2³²: what lies beyond is read from the first slice.", _meaning(lambda t: _operands(t, _offsets_in_32_bits)), source="Dao-AILab/flash-attention#2611, #2260, #1500; fla-org/flash-linear-attention#769; tilelang#330"),
    _arithmetic("mutates-query", "The scale is multiplied into the caller's query.", _mutating, source="BUGS: kernels that cheat"),
    _arithmetic("writes-outside", "One row behind the keys is zeroed.", _writing_outside, source="FlagGems#898"),
    # heads and batches
    _semantic("head-modulo", "head", "Query head h reads key head h % h_k.", _HEADS, _places(_head_modulo)),
    _semantic("head-zero", "head", "Every query head reads key head 0.", "BobMcDear/attorch#14", _places(lambda t, b, h: (b, 0))),
    _semantic("head-raw", "head", "The query head indexes the key heads, up to the last one.", "native-sparse-attention-triton#27", _places(_head_clamped)),
    _semantic("head-modulo-values", "values of head", "Keys come from the right head, values from head h % h_k.", "fla-org/flash-linear-attention#384", _steps(value_place=_head_modulo)),
    _semantic("batch-zero", "batch", "Every batch reads the keys and values of batch 0.", "BUGS", _places(lambda t, b, h: _own_key_head(t, 0, h))),
    # scale
    _semantic("scale-default", "scale", "The default scale is used whatever the caller gives.", "ipex-llm#12619", _scale(lambda scale, d: 1 / math.sqrt(d))),
    _semantic("scale-one", "scale", "There is no scale.", "Megatron-LM#3698", _scale(lambda scale, d: 1.0)),
    _semantic("scale-zero-unset", "scale", "Scale 0 is taken for unset.", "SKaiNET#860", _scale(lambda scale, d: scale or 1 / math.sqrt(d))),
    _semantic("scale-padded", "scale", "The default scale is that of the dim padded to 16.", "intel/ipex-llm#12619", _scale(lambda scale, d: 1 / math.sqrt(_padded(d, 16)) if scale == 1 / math.sqrt(d) else scale)),
    _semantic("scale-bfloat16", "scale", "The scale is rounded to bfloat16.", "TOLERANCE", _scale_rounded(BFLOAT16)),
    _semantic("scale-twice", "scale", "The scale is applied twice.", "sglang#485", _scale(lambda scale, d: scale * scale)),
    _semantic("scale-absolute", "scale", "A negative scale loses its sign.", "TOLERANCE", _scale(lambda scale, d: abs(scale))),
    _semantic("scale-per-dim", "scale", "The default scale is 1/d.", "BobMcDear/attorch#14", _scale(lambda scale, d: 1 / d if scale == 1 / math.sqrt(d) else scale)),
    _semantic("scale-half", "0.5", "The scale is the constant 0.5.", "BobMcDear/attorch#14", _scale(lambda scale, d: 0.5)),
    # softcap, bias, mask, key lengths
    _semantic("softcap-before-scale", "softcap", "The softcap is applied before the scale.", "BUGS", _called(_cap_then_scale)),
    _semantic("softcap-ignored", "softcap", "The softcap is ignored.", "BUGS", _meaning(lambda t: replace(t, softcap=None))),
    _semantic("softcap-after-bias", "softcap", "The softcap is applied to the sum with the bias.", "BUGS", _steps(finish=_finish_with(bias_first=True))),
    _semantic("bias-twice", "bias", "The bias is added twice.", "BUGS", _steps(finish=_finish_with(bias_factor=lambda scale: 2.0))),
    _semantic("bias-scaled", "bias", "The bias is multiplied by the scale.", "BUGS", _steps(finish=_finish_with(bias_factor=lambda scale: scale))),
    _semantic("bias-ignored", "bias", "The bias is ignored.", "BUGS", _meaning(lambda t: _bias_like(t, lambda bias: np.where(bias == -np.inf, bias, 0)))),
    _semantic("bias-head-zero", "bias", "Every head has the bias of head 0.", "BUGS", _meaning(lambda t: _bias_like(t, _every_head_like_the_first))),
    _semantic("alibi-slopes", "alibi", "ALiBi slopes of a number of heads that is no power of two.", "TOLERANCE", _meaning(lambda t: _bias_like(t, _plain_slopes))),
    _semantic("mask-inverted", "mask", "True hides.", "TOLERANCE", _meaning(lambda t: _mask_like(t, np.logical_not))),
    _semantic("mask-added", "mask", "The boolean mask is added as 0 and 1.", "TOLERANCE", _steps(hide=_mask_added)),
    _semantic("mask-transposed", "mask", "A square mask is transposed.", "TOLERANCE", _meaning(lambda t: _mask_like(t, _transposed_if_square))),
    _semantic("mask-ignored", "mask", "The mask is ignored.", "TOLERANCE", _meaning(lambda t: replace(t, mask=None))),
    _semantic("mask-batch-zero", "mask", "Every batch has the mask of batch 0.", "BUGS", _meaning(lambda t: _mask_like(t, _every_batch_like_the_first))),
    _semantic("mask-or-causal", "mask", "The mask is dropped under a causal mask.", "microsoft/onnxruntime#28904", _meaning(lambda t: replace(t, mask=None if t.causal else t.mask))),
    _semantic("lengths-ignored", "key lengths", "The key lengths are ignored.", "BUGS", _meaning(lambda t: replace(t, key_lengths=None))),
    _semantic("lengths-one-more", "key lengths", "One key beyond the length is read.", "BUGS", _meaning(lambda t: _lengths(t, lambda lengths: lengths + (lengths > 0)))),
    _semantic("lengths-one-less", "key lengths", "The last key within the length is not read.", "BUGS", _meaning(lambda t: _lengths(t, lambda lengths: np.maximum(lengths - 1, np.minimum(lengths, 1))))),
    _semantic("lengths-first", "key lengths", "Every batch has the length of the first.", "BUGS", _meaning(lambda t: _lengths(t, lambda lengths: np.full_like(lengths, lengths[0])))),
    # sink and log-sum-exp
    _semantic("sink-ignored", "sink", "The sink is ignored.", "BUGS", _meaning(lambda t: replace(t, sink=None))),
    _semantic("sink-with-value", "sink", "The sink brings the value of the first key.", "BUGS", _steps(sink_value=lambda v: v[:1])),
    _arithmetic("sink-outside-maximum", "The sink is left out of the maximum and overflows over low scores.", _steps(sink_in_shift=False), source="BUGS"),
    _semantic("sink-head-zero", "sink", "Every head has the sink of head 0.", "BUGS", _meaning(_first_sink)),
    _semantic("lse-base-2", "base 2", "The log-sum-exp is in base 2.", "flashinfer-ai/flashinfer#4452", _steps(log=lambda m, d: (m + np.log(d)) * m.dtype.type(LOG2E))),
    _semantic("lse-without-maximum", "maximum", "The log-sum-exp lacks the maximum.", "BUGS", _steps(log=lambda m, d: np.log(d))),
    _semantic("lse-is-maximum", "log-sum-exp", "The maximum is returned in place of the log-sum-exp.", "BUGS", _steps(log=lambda m, d: m)),
    # softmax
    _arithmetic("no-maximum", "exp without subtracting a maximum.", _steps(shift=_no_maximum)),
    _arithmetic("first-tile-maximum", "The maximum of the first tile is kept.", _tiles(updates=False)),
    _semantic("numerator-not-rescaled", "numerator not rescaled", "The numerator is not rescaled when the maximum grows.", "TOLERANCE", _tiles(rescales_numerator=False)),
    _semantic("denominator-not-rescaled", "denominator not rescaled", "The denominator is not rescaled when the maximum grows.", "TOLERANCE", _tiles(rescales_denominator=False)),
    _semantic("nothing-rescaled", "numerator and denominator not rescaled", "Neither is rescaled when the maximum grows.", "TOLERANCE", _tiles(rescales_numerator=False, rescales_denominator=False)),
    _arithmetic("one-maximum-for-all-rows", "One maximum for all rows: low rows lose their weights.", _steps(shift=_global_maximum)),
    _arithmetic("clipped-scores", "Scores are clipped to ±80 instead of shifted.", _steps(finish=lambda s, task, at: np.clip(task.finished(s, at), -80, 80))),
    _arithmetic("epsilon-1e-6", "1e-6 is added to the denominator.", _steps(divide=lambda n, d: n / (d + d.dtype.type(1e-6))), stage="denominator"),
    _arithmetic("epsilon-1e-5", "1e-5 is added to the denominator.", _steps(divide=lambda n, d: n / (d + d.dtype.type(1e-5))), stage="denominator"),
    _arithmetic("outputs-times-1.0001", "Every output is 1.0001 times what it should be.", _after(lambda output, task: output * output.dtype.type(1.0001))),
    _arithmetic("dropout-on", "A tenth of the weights is dropped.", _steps(weights=_dropout_on)),
    _arithmetic("one-maximum-for-all-heads", "One maximum for the heads of a batch.", _called(_shared_maximum)),
    _arithmetic("tanh-by-exponentials", "The softcap's tanh overflows to NaN.", _steps(finish=_tanh_by_exponentials)),
    _arithmetic("hidden-before-scale", "A causal mask is −inf before the scale, which may be 0.", _called(_hidden_before_scale), source="torch 2.13.0"),
    # two conditions
    _arithmetic("padding-mask-for-first-query", "A mask with a query axis of 1 hides keys from the first query alone.", _meaning(_few_axes_as_first_row)),
    _arithmetic("decode-step-without-mask", "One query at dim 64: the mask is ignored.", _when(lambda t: t.shape[2] == 1 and t.query.shape[3] == 64, _without("mask"))),
    _arithmetic("decode-step-without-bias", "One query at dim 64: the bias is ignored.", _when(lambda t: t.shape[2] == 1 and t.query.shape[3] == 64, _without("bias"))),
    _arithmetic("window-without-sink", "With a window the sink is ignored.", _when(lambda t: t.window is not None, _without("sink"))),
    _arithmetic("mask-without-window", "With a mask the window is ignored.", _when(lambda t: t.mask is not None, _without("window"))),
    _arithmetic("lengths-without-window", "With key lengths the window is ignored.", _when(lambda t: t.key_lengths is not None, _without("window"))),
    _arithmetic("softcap-without-lengths", "With a softcap the key lengths are ignored.", _when(lambda t: t.softcap is not None, _without("key_lengths"))),
    _arithmetic("mask-beyond-512-keys", "Beyond 512 keys the mask is ignored.", _when(lambda t: t.shape[3] > 512, _without("mask"))),
    _arithmetic("mask-beyond-64-queries", "Beyond 64 queries the mask is ignored.", _when(lambda t: t.shape[2] > 64, _without("mask"))),
    _arithmetic("long-rows-without-tail", "From 1,024 keys at dim 64 on the tail beyond whole tiles is not read.", _meaning(_last_tile_of_long_rows)),
    _arithmetic("dim-96-without-sink", "At dim 96 the sink is ignored.", _when(lambda t: t.query.shape[3] == 96, _without("sink"))),
    _arithmetic("exp-degree-3", "exp2 of a polynomial of degree 3.", _steps(exp=_polynomial_exp(*_fit(3))), stage="exp"),
    _arithmetic("exp-schraudolph", "exp by filling exponent bits linearly.", _steps(exp=_schraudolph), stage="exp"),
    _arithmetic("exp-short-ln2", "exp reduces its argument by multiples of ln 2 to 16 bits.", _steps(exp=_short_ln2), stage="argument"),
    _arithmetic("small-weights-skipped", "Weights below 1e-4 are dropped.", _steps(weights=_skipping_small(1e-4)), stage="small-weights"),
    _arithmetic("tiny-weights-skipped", "Weights below 1e-6 are dropped.", _steps(weights=_skipping_small(1e-6)), stage="small-weights"),
    # float32 that is not
    _arithmetic("float16-accumulator", "p V is accumulated in float16, 16 keys at a time.", _steps(mix=_mixed_in(FLOAT16, 16)), stage="accumulation"),
    _arithmetic("bfloat16-accumulator", "p V is accumulated in bfloat16.", _steps(mix=_mixed_in(BFLOAT16, 16)), stage="accumulation"),
    _arithmetic("float16-row-sum", "The row sum is in float16.", _steps(total=_summed_in(FLOAT16, 64)), stage="row-sum"),
    _arithmetic("tf32-products", "Q and K enter the product in tf32.", _steps(operands=lambda q, k, v: (_truncated(q, 13), _truncated(k, 13), v)), stage="scores"),
    _arithmetic("tf32-values", "p and V enter the product in tf32.", _steps(mix=lambda p, v: _truncated(p, 13) @ _truncated(v, 13)), stage="values"),
    _arithmetic("bfloat16-products", "Q and K enter the product in bfloat16.", _steps(operands=_cast(BFLOAT16, BFLOAT16)), stage="scores"),
    _arithmetic("bfloat16-times-two", "Q and K are split into two bfloat16 numbers each, the smallest product dropped.", _steps(score=_two_bfloat16), stage="scores"),
    _arithmetic("bfloat16-weights", "Weights are rounded to bfloat16.", _steps(short=lambda task, e: _rounded(e, BFLOAT16)), stage="probabilities"),
    _arithmetic("float16-weights", "Weights are rounded to float16.", _steps(short=lambda task, e: _rounded(e, FLOAT16)), stage="probabilities"),
    _arithmetic("float16-weights-summed", "Rounded float16 weights in numerator and denominator.", _steps(weights=lambda e: _rounded(e, FLOAT16)), stage="summed-probabilities"),
    _arithmetic("float16-values", "V is rounded to float16.", _steps(operands=_cast(value=FLOAT16)), stage="values"),
    _arithmetic("float16-output", "The output passes through float16.", _output_rounding(lambda out: _rounded(out, FLOAT16)), stage="output"),
    _arithmetic("float16-scores", "Scores are stored in float16.", _steps(finish=_short_scores(FLOAT16)), stage="scores"),
    _arithmetic("bfloat16-rescale-factor", "Rescale factors are rounded to bfloat16.", _tiles(factor=lambda alpha: _rounded(alpha, BFLOAT16)), stage="rescaling"),
    # results that are no answer
    _arithmetic("raises-for-one-key", "One key raises an IndexError.", _called(_raises_for_one_key), source="triton-lang/kernels#6"),
    _arithmetic("returns-list", "A list is returned.", _after(lambda out, task: out.tolist()), source="BUGS: kernels that cheat"),
    _arithmetic("returns-float64", "float64 is returned for float32.", _after(lambda out, task: out.astype(np.float64)), source="BUGS"),
    _arithmetic("returns-length-major", "The output is shaped (batch, length, heads, dim).", _after(lambda out, task: out.transpose(0, 2, 1, 3)), source="pytorch/pytorch#112577"),
    _arithmetic("returns-keys-many", "The output has as many rows as there are keys.", _after(_as_many_rows_as_keys), source="BUGS"),
    _arithmetic("race", "Every third call has a wrong first row.", _noisy_every(3), source="ninfer-3090#43; hipfire#575"),
    _arithmetic("race-in-large-grids", "More than 32 heads at once: first rows of the last ones are those of others.", _after(_race_in_large_grids), source="ninfer-3090#43; hipfire#575"),
    _arithmetic("tail-over-next-head", "The last tile of a head is stored whole, over the first rows of the next head.", _after(_tail_over_next_head), source="FlagGems#898"),
    _arithmetic("shared-workspace", "Calls of several threads share one buffer.", _shared_workspace()),
    _arithmetic("cached-by-few-elements", "The result is cached by shape and the first element of the query.", _cached(lambda task: (task.key.shape, float(task.query[0, 0, 0, 0]))), source="BUGS: kernels that cheat"),
    _arithmetic("cached-by-shape", "The result is cached by shape.", _cached(lambda task: (task.query.shape, task.key.shape)), source="BUGS: kernels that cheat"),
    _arithmetic("cached-by-address", "The result is cached by the addresses of the inputs and the scale.", _cached(lambda task: (*map(_address, (task.query, task.key, task.value)), task.scale, task.causal)), source="BUGS: kernels that cheat"),
    _arithmetic("cached-by-first-keys", "The result is cached by a checksum of everything but the last half of the keys.", _cached(lambda task: (task.query.tobytes(), task.key[:, :, : max(1, task.shape[3] // 2)].tobytes(), task.shape, task.scale, *_options(task))), source="BUGS: kernels that cheat"),
    _arithmetic("first-scale-kept", "The scale of the first call is used for ever.", _remembering(lambda task: None, "scale"), source="lucidrains/rotary-embedding-torch#11"),
    _arithmetic("first-scale-of-shape-kept", "The scale of the first call of a shape is compiled in.", _remembering(lambda task: (task.query.shape, task.value.shape, *_options(task)), "scale"), source="lucidrains/rotary-embedding-torch#11"),
    _arithmetic("first-mask-kept", "The mask of the first call of a shape and address is kept.", _remembering(lambda task: (_address(task.query), task.shape, task.mask is None), "mask"), source="MemOS#2315"),
    _arithmetic("first-bias-kept", "The bias of the first call of a shape and address is kept.", _remembering(lambda task: (_address(task.query), task.shape, task.bias is None), "bias"), source="MemOS#2315"),
    _arithmetic("first-lengths-kept", "The key lengths of the first call of a shape and address are kept.", _remembering(lambda task: (_address(task.query), task.shape, task.key_lengths is None), "key_lengths"), source="MemOS#2315"),
    _arithmetic("first-softcap-kept", "The softcap of the first call of a shape is compiled in.", _remembering(lambda task: (_address(task.query), task.shape, task.bias is None), "softcap"), source="MemOS#2315"),
    _arithmetic("first-sink-kept", "The sink of the first call of a shape is kept.", _remembering(lambda task: (_address(task.query), task.shape, task.sink is None), "sink"), source="MemOS#2315"),
    _arithmetic("first-mask-referred-to", "A shape's first mask is referred to, not copied: it holds as long as that is written over.", _remembering(lambda task: (task.shape, task.mask is None), "mask", by_reference=True), source="MemOS#2315"),
    _arithmetic("first-masking-of-shape-kept", "A kernel compiled for a shape and address keeps its causal mask and its window.", _remembering(lambda task: (_address(task.query), task.shape), "causal", "window"), source="maclocal-api#92"),
    _arithmetic("scale-one-call-late", "A call has the scale of the call before it of the same shape.", _options_of_the_last_but_one(), source="maclocal-api#92"),
    _arithmetic("wrong-from-the-tenth-call", "From the tenth call on the last key is forgotten.", _wrong_from(10), source="BUGS: kernels that cheat"),
    _arithmetic("stale-workspace", "A workspace keeps the tail of a longer call.", _stale_workspace(), source="tracel-ai/cubecl#1070"),
    # bfloat16 and float16
    _arithmetic("bfloat16/accumulator", "p V is accumulated in bfloat16.", _steps(mix=_mixed_in(BFLOAT16, 16)), "bfloat16", stage="accumulation"),
    _arithmetic("bfloat16/row-sum", "The row sum is in bfloat16.", _steps(total=_summed_in(BFLOAT16)), "bfloat16", stage="row-sum"),
    _semantic("bfloat16/scale-rounded", "scale", "The scale is rounded to bfloat16.", "TOLERANCE", _scale_rounded(BFLOAT16), "bfloat16"),
    _arithmetic("bfloat16/scaled-query", "scale·Q is stored in bfloat16.", _steps(score=_scaled_in(BFLOAT16)), "bfloat16", stage="scores"),
    _arithmetic("bfloat16/stored-scores", "Scores are stored in bfloat16.", _steps(finish=_short_scores(BFLOAT16)), "bfloat16", stage="scores"),
    _arithmetic("bfloat16/eager", "Eager arithmetic in a kernel that claims float32 inside.", _eager(BFLOAT16), "bfloat16", "TOLERANCE: onnxruntime, JAX, eager PyTorch", stage="scores"),
    _arithmetic("bfloat16/exp-schraudolph", "exp by filling exponent bits linearly.", _steps(exp=_schraudolph), "bfloat16", stage="exp"),
    _arithmetic("bfloat16/float8-weights", "Weights are rounded to float8.", _steps(short=lambda task, e: _rounded(e, FLOAT8)), "bfloat16", stage="probabilities"),
    _arithmetic("bfloat16/float8-values", "V is rounded to float8.", _steps(operands=_cast(value=FLOAT8)), "bfloat16", stage="values"),
    _arithmetic("bfloat16/float8-keys", "K is rounded to float8.", _steps(operands=_cast(key=FLOAT8)), "bfloat16", stage="scores"),
    _arithmetic("bfloat16/truncated-output", "The output is truncated, not rounded.", _output_rounding(lambda out: _truncated(out, 16)), "bfloat16", stage="output"),
    _arithmetic("bfloat16/products-accumulated", "Dot products are accumulated in bfloat16.", _steps(score=_accumulated_products(BFLOAT16)), "bfloat16", stage="scores"),
    _arithmetic("bfloat16/small-weights-skipped", "Weights below 1e-3 are dropped.", _steps(weights=_skipping_small(1e-3)), "bfloat16", stage="small-weights"),
    _semantic("bfloat16/numerator-not-rescaled", "numerator not rescaled", "The numerator is not rescaled when the maximum grows.", "TOLERANCE", _tiles(rescales_numerator=False), "bfloat16"),
    _semantic("bfloat16/causal-one-more", "one key too many", "The causal mask lets query i see key i + 1.", "TOLERANCE", _meaning(lambda t: _causal_shifted(t, 1)), "bfloat16"),
    _arithmetic("bfloat16/returns-float32", "float32 is returned for bfloat16.", _after(lambda out, task: out.astype(np.float32)), "bfloat16", "BUGS"),
    _arithmetic("float16/raw-products", "Raw products are held in float16 and overflow.", _steps(score=_half_products(FLOAT16)), "float16", stage="scores"),
    _arithmetic("float16/stored-scores", "Scores are stored in float16.", _steps(finish=_short_scores(FLOAT16)), "float16", stage="scores"),
    _arithmetic("float16/accumulator", "p V is accumulated in float16.", _steps(mix=_mixed_in(FLOAT16)), "float16", stage="accumulation"),
    _arithmetic("float16/row-sum", "The row sum is in float16.", _steps(total=_summed_in(FLOAT16)), "float16", stage="row-sum"),
    _arithmetic("float16/products-accumulated", "Dot products are accumulated in float16.", _steps(score=_accumulated_products(FLOAT16)), "float16", stage="scores"),
    _arithmetic("float16/eager", "Eager arithmetic in a kernel that claims float32 inside.", _eager(FLOAT16), "float16", "TOLERANCE: onnxruntime, JAX, eager PyTorch", stage="scores"),
    _arithmetic("float16/bfloat16-weights", "Weights are rounded to bfloat16.", _steps(short=lambda task, e: _rounded(e, BFLOAT16)), "float16", stage="probabilities"),
    _arithmetic("float16/exp-degree-2", "exp2 of a polynomial of degree 2.", _steps(exp=_polynomial_exp(*_fit(2))), "float16", stage="exp"),
    _semantic("float16/empty-mean", "mean", "Masked scores are −65504, and an empty row gives the mean of V.", "microsoft/onnxruntime#28904", _steps(hide=_unseen_at(-65504.0)), "float16"),
    _semantic("float16/head-modulo", "head", "Query head h reads key head h % h_k.", _HEADS, _places(_head_modulo), "float16"),
    _arithmetic("bfloat16/running-mean", "The output is a running mean that is stored in bfloat16 after every tile.", _steps(mix=_running_mean(BFLOAT16)), "bfloat16"),
    _arithmetic("float16/normalised-first", "Weights are shares of the row before they are rounded to float16.", _called(_normalised_first), "float16", source="jax.nn.dot_product_attention"),
    # float64
    _arithmetic("float64/in-float32", "Everything is computed in float32.", _called(_in_float32), "float64", stage="scores"),
    _arithmetic("float64/float32-exp", "exp is that of float32.", _steps(exp=lambda x: np.exp(x.astype(np.float32)).astype(x.dtype)), "float64", stage="exp"),
    _arithmetic("float64/float32-scale", "The scale is a float32 constant.", _scale(lambda scale, d: float(np.float32(scale))), "float64", stage="argument"),
    _arithmetic("float64/float32-accumulator", "p V is accumulated in float32.", _steps(mix=_mixed_in(np.float32, 16)), "float64", stage="accumulation"),
    _arithmetic("float64/float32-log2e", "log₂e is a float32 constant.", _steps(exp=lambda x: np.exp2(x * float(np.float32(LOG2E)))), "float64", stage="argument"),
    _arithmetic("float64/epsilon-1e-12", "1e-12 is added to the denominator.", _steps(divide=lambda n, d: n / (d + 1e-12)), "float64", stage="denominator"),
    # other classes
    _arithmetic("tf32/bfloat16-products", "Q and K enter the product in bfloat16, not tf32.", _steps(operands=_cast(BFLOAT16, BFLOAT16)), "tf32", stage="scores"),
    _arithmetic("tf32/bfloat16-values", "p and V enter the product in bfloat16, not tf32.", _steps(mix=lambda p, v: _rounded(p, BFLOAT16) @ _rounded(v, BFLOAT16)), "tf32", stage="values"),
)  # fmt: skip
for _entry in BUGGY:
    _entry.function.__name__ = _entry.function.__qualname__ = _entry.name.replace("-", "_").replace("/", "_")
