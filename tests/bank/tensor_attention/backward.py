"""Backward passes of attention of any order: right ones of unusual structure, and wrong ones; a kernel changes a step.

Every kernel has the explicit form: it is handed the output and the log-sum-exp of the forward pass.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

from bank.entry import Entry
from bank.tensor_attention.engine import Array, Task, combined, places, seen_by, within

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["BUGGY", "CORRECT"]

FLASH = ("float32", "float64", "bfloat16", "float16")
WIDE = ("float32", "float64")
LOG2E = 1.4426950408889634


@dataclass(frozen=True)
class Parts:
    """What gradients are sums of: p and dS (b, h_q, n_q, N); queries, keys, values, grad_output of every query head."""

    p: Array
    ds: Array
    query: Array
    keys: list[Array]
    values: list[Array]
    grad: Array


Step = Any


def _gradient(t: Task, p: Array, g: Array, delta: Array) -> Array:
    return p * (g - delta)


def _gathered(t: Task, x: Array) -> Array:
    b, h, *rest = x.shape
    return np.asarray(x.reshape(b, h // t.group, t.group, *rest).sum(axis=2))


def _query(t: Task, s: Steps, parts: Parts) -> Array:
    """Σ dS k¹∘k²…, the scale last."""
    return parts.ds @ combined(parts.keys, lambda a, b: t.rounded(a * b)) * t.work(t.scale)


def _of_mode(t: Task, weight: Array, of_queries: Array, others: list[Array], mode: int) -> Array:
    """Σ over queries and the keys of the other modes of a weight times the factors of all of these."""
    b, h, n_q, _ = weight.shape
    axes = [3 + m for m in range(t.modes)]
    order = [0, 1, axes[mode], 2, *(axis for m, axis in enumerate(axes) if m != mode)]
    turned = weight.reshape(b, h, n_q, *t.lengths).transpose(order).reshape(b, h, t.lengths[mode], -1)
    factors = combined([of_queries, *(x for m, x in enumerate(others) if m != mode)], lambda a, b: t.rounded(a * b))
    return np.asarray(turned @ factors)


def _key(t: Task, s: Steps, parts: Parts, mode: int) -> Array:
    return _of_mode(t, parts.ds, parts.query, parts.keys, mode) * t.work(t.scale)


def _value(t: Task, s: Steps, parts: Parts, mode: int) -> Array:
    return _of_mode(t, parts.p, parts.grad, parts.values, mode)


@dataclass(frozen=True)
class Steps:
    """What the engine does; the defaults are right."""

    task: Callable[[Task], Task] = lambda t: t
    recompute: bool = False  # ignore what was handed over
    heads: Callable[[Task, int], list[int]] = lambda t, mode: t.own()
    within: Callable[[Task, int, Array, Array], Array] = within
    incoming: Callable[[Task, Array], Array] = lambda t, grad: grad
    lse: Callable[[Task, Array], Array] = lambda t, lse: lse
    delta: Callable[[Task, Array, Array, Array, Array], Array] = lambda t, grad, out, p, g: (grad * out).sum(
        3, keepdims=True
    )
    of_lse: Callable[[Array], Array] = lambda grad_lse: grad_lse
    gradient: Callable[[Task, Array, Array, Array], Array] = _gradient
    kept: Callable[[Task, Array], Array] = lambda t, x: x
    query: Callable[[Task, Steps, Parts], Array] = _query
    key: Callable[[Task, Steps, Parts, int], Array] = _key
    value: Callable[[Task, Steps, Parts, int], Array] = _value
    gather: Callable[[Task, Array], Array] = _gathered
    after: Callable[[Task, list[Array]], list[Array]] = lambda t, made: made


def _run(
    t: Task, s: Steps, output: Array, log_sum_exp: Array, grad_output: Array, grad_lse: Array | None
) -> list[Array]:
    right = t
    t = s.task(t)
    q, grad = t.wide(t.query), s.incoming(t, t.wide(grad_output))
    keys = [t.wide(key)[:, s.heads(t, mode)] for mode, key in enumerate(t.keys)]
    values = [t.wide(value)[:, s.heads(t, mode)] for mode, value in enumerate(t.values)]
    score = q @ np.swapaxes(combined(keys, lambda a, b: t.rounded(a * b)), 2, 3) * t.work(t.scale)
    mixed = combined(values, lambda a, b: t.rounded(a * b))
    seen = seen_by(t, s.within)
    out, lse = t.wide(output), log_sum_exp.astype(t.work)
    if s.recompute:
        hidden = np.where(seen, score, -np.inf)
        top = hidden.max(axis=3, keepdims=True)
        top = np.where(np.isfinite(top), top, 0)
        weight = np.exp(hidden - top)
        total = weight.sum(axis=3, keepdims=True)
        lse = (top + np.log(total))[..., 0].astype(t.work)
        out = (weight / np.where(total > 0, total, 1)).astype(t.work) @ mixed
    some = np.isfinite(lse)[..., None]
    lse = s.lse(t, np.where(some[..., 0], lse, 0))[..., None]
    p = np.where(seen & some, np.exp(np.where(seen & some, score - lse, -1)), 0).astype(t.work)
    g = grad @ np.swapaxes(mixed, 2, 3)
    delta = s.delta(t, grad, out, p, g)
    if grad_lse is not None:
        delta = delta - s.of_lse(np.where(some[..., 0], grad_lse, 0).astype(t.work)[..., None])
    ds = s.gradient(t, p, g, delta)
    ds = np.where(seen, ds, 0).astype(t.work)
    parts = Parts(t.rounded(s.kept(t, p)), t.rounded(s.kept(t, ds)), q, keys, values, grad)
    own = Parts(t.rounded(p), t.rounded(ds), q, keys, values, grad)
    modes = range(t.modes)
    made = [
        s.query(t, s, own),
        *(s.gather(t, s.key(t, s, parts, mode)) for mode in modes),
        *(s.gather(t, s.value(t, s, parts, mode)) for mode in modes),
    ]
    return s.after(right, made)


def backward(steps: Steps | None = None, order: int = 3) -> Callable[..., Any]:
    """A backward pass of an order with every keyword."""
    chosen = Steps() if steps is None else steps

    def called(arrays: Sequence[Array], scale: float, is_causal: bool, window: Any, grad_lse: Array | None) -> Any:
        query, *modes, output, log_sum_exp, grad_output = arrays
        count = len(modes) // 2
        task = Task(
            query, tuple(modes[:count]), tuple(modes[count:]), scale, is_causal, window or (None,) * count, query.dtype
        )
        with np.errstate(all="ignore"):
            made = _run(task, chosen, output, log_sum_exp, grad_output, grad_lse)
        return tuple(np.ascontiguousarray(x).astype(query.dtype) for x in made)

    def two(
        query: Array,
        key1: Array,
        value1: Array,
        output: Array,
        log_sum_exp: Array,
        grad_output: Array,
        *,
        scale: float,
        is_causal: bool = False,
        window: Any = None,
        grad_log_sum_exp: Any = None,
    ) -> Any:
        return called(
            (query, key1, value1, output, log_sum_exp, grad_output), scale, is_causal, window, grad_log_sum_exp
        )

    def three(
        query: Array,
        key1: Array,
        key2: Array,
        value1: Array,
        value2: Array,
        output: Array,
        log_sum_exp: Array,
        grad_output: Array,
        *,
        scale: float,
        is_causal: bool = False,
        window: Any = None,
        grad_log_sum_exp: Any = None,
    ) -> Any:
        return called(
            (query, key1, key2, value1, value2, output, log_sum_exp, grad_output),
            scale,
            is_causal,
            window,
            grad_log_sum_exp,
        )

    def four(
        query: Array,
        key1: Array,
        key2: Array,
        key3: Array,
        value1: Array,
        value2: Array,
        value3: Array,
        output: Array,
        log_sum_exp: Array,
        grad_output: Array,
        *,
        scale: float,
        is_causal: bool = False,
        window: Any = None,
        grad_log_sum_exp: Any = None,
    ) -> Any:
        return called(
            (query, key1, key2, key3, value1, value2, value3, output, log_sum_exp, grad_output),
            scale,
            is_causal,
            window,
            grad_log_sum_exp,
        )

    return {2: two, 3: three, 4: four}[order]


# --- right ------------------------------------------------------------------------------------------------------------


def _of_products(t: Task, grad: Array, out: Array, p: Array, g: Array) -> Array:
    return (p * g).sum(axis=3, keepdims=True)


def _exchanged(t: Task) -> Task:
    return replace(t, keys=t.keys[::-1], values=t.values[::-1], window=t.window[::-1])


def _put_back(t: Task, made: list[Array]) -> list[Array]:
    query, *rest = made
    return [query, *rest[: t.modes][::-1], *rest[t.modes :][::-1]]


def _key_by_keys(t: Task, s: Steps, parts: Parts, mode: int) -> Array:
    """dK of attention to the combinations, times the keys of the other modes, added up."""
    whole = np.swapaxes(parts.ds, 2, 3) @ parts.query * t.work(t.scale)
    return _added(t, whole, parts.keys, mode)


def _added(t: Task, whole: Array, arrays: list[Array], mode: int) -> Array:
    for m, array in enumerate(arrays):
        if m != mode:
            whole = whole * array[:, :, places(t, m)]
    shaped = whole.reshape(*whole.shape[:2], *t.lengths, whole.shape[3])
    return np.asarray(shaped.sum(axis=tuple(2 + m for m in range(t.modes) if m != mode)))


def _value_by_values(t: Task, s: Steps, parts: Parts, mode: int) -> Array:
    return _added(t, np.swapaxes(parts.p, 2, 3) @ parts.grad, parts.values, mode)


#: Every correct backward pass.
CORRECT: tuple[Entry, ...] = (
    Entry("plain", backward(), FLASH, "one product a gradient"),
    Entry("plain-2", backward(order=2), FLASH, "order 2"),
    Entry("plain-4", backward(order=4), WIDE, "order 4"),
    Entry("recomputed", backward(Steps(recompute=True)), FLASH, "the forward pass again"),
    Entry("delta-of-products", backward(Steps(delta=_of_products)), FLASH, "δ = Σ p g"),
    Entry("modes-exchanged", backward(Steps(task=_exchanged, after=_put_back)), FLASH, "the modes exchanged, and their gradients put back", "pytorch/FBGEMM#4930"),
    Entry("by-combinations", backward(Steps(key=_key_by_keys, value=_value_by_values)), WIDE, "gradients of the combinations, folded to those of the modes"),
)  # fmt: skip


# --- wrong ------------------------------------------------------------------------------------------------------------


def _alike_reversed(*kinds: int) -> Steps:
    """The gradients of the modes exchanged where they are shaped alike; kinds: 0 of keys, 1 of values."""

    def after(t: Task, made: list[Array]) -> list[Array]:
        query, *rest = made
        both = [rest[: t.modes], rest[t.modes :]]
        if len(set(t.lengths)) == 1:
            both = [arrays[::-1] if kind in kinds else arrays for kind, arrays in enumerate(both)]
        return [query, *both[0], *both[1]]

    return Steps(after=after)


def _interleaved(t: Task, made: list[Array]) -> list[Array]:
    q, k1, k2, v1, v2 = made
    return [q, k1, v1, k2, v2] if v1.shape == k2.shape else made


def _times(place: Callable[[Task], range | list[int]], factor: Callable[[Task], float]) -> Steps:
    def after(t: Task, made: list[Array]) -> list[Array]:
        return [x * t.work(factor(t)) if n in place(t) else x for n, x in enumerate(made)]

    return Steps(after=after)


def _ones_but(mode: int) -> Callable[[Task, Steps, Parts, int], Array]:
    def key(t: Task, s: Steps, parts: Parts, own: int) -> Array:
        keys = [np.ones_like(x) if m == mode else x for m, x in enumerate(parts.keys)]
        return _key(t, s, replace(parts, keys=keys), own)

    return key


def _value_ones(t: Task, s: Steps, parts: Parts, own: int) -> Array:
    return _value(t, s, replace(parts, values=[np.ones_like(x) for x in parts.values]), own)


def _query_one(t: Task, s: Steps, parts: Parts) -> Array:
    return _query(t, s, replace(parts, keys=[parts.keys[0], np.ones_like(parts.keys[1])]))


def _no_causal(*modes: int) -> Callable[[Task, int, Array, Array], Array]:
    def of(t: Task, mode: int, i: Array, j: Array) -> Array:
        if not t.is_causal or (modes and mode not in modes):
            return within(t, mode, i, j)
        width = t.window[mode]
        return (
            (j > i - width) & (j < i + width)
            if width is not None
            else np.ones(np.broadcast_shapes(i.shape, j.shape), bool)
        )

    return of


def _tail(tile: int) -> Callable[[Task, Array], Array]:
    def kept(t: Task, x: Array) -> Array:
        n = x.shape[2]
        return np.where(np.arange(n)[:, None] < (n // tile * tile if n > tile else n), x, 0)

    return kept


def _first_of_group(t: Task, x: Array) -> Array:
    b, h, *rest = x.shape
    return np.asarray(x.reshape(b, h // t.group, t.group, *rest)[:, :, 0])


def _mean_of_group(t: Task, x: Array) -> Array:
    return _gathered(t, x) / t.work(t.group)


def _of_other_group(t: Task, x: Array) -> Array:
    b, h, *rest = x.shape
    return np.asarray(x.reshape(b, t.group, h // t.group, *rest).sum(axis=1))


def _all_hidden(t: Task, made: list[Array]) -> list[Array]:
    """dV of rows that attend to nothing is that of the mean."""
    empty = ~seen_by(t, within).any(axis=1)
    return [np.where(empty[:, None], np.nan, made[0]), *made[1:]] if empty.any() else made


def _short_columns(t: Task, grad: Array) -> Array:
    d = t.query.shape[3]
    return np.where(np.arange(grad.shape[3]) < d, grad, 0)


def _delta_a_key(t: Task, grad: Array, out: Array, p: Array, g: Array) -> Array:
    """δ of each key of mode 1."""
    spread = (p * g).reshape(*p.shape[:3], *t.lengths).sum(axis=4, keepdims=True)
    return np.broadcast_to(spread, (*p.shape[:3], *t.lengths)).reshape(p.shape)


def _key2_of_probabilities(t: Task, s: Steps, parts: Parts, own: int) -> Array:
    return _key(t, s, replace(parts, ds=parts.p) if own == 1 else parts, own)


def _query_of_first(t: Task, s: Steps, parts: Parts) -> Array:
    alike = len(set(t.lengths)) == 1
    return _query(t, s, replace(parts, keys=[parts.keys[0]] * t.modes) if alike else parts)


def _last_tile(tile: int) -> Callable[[Task, Array], Array]:
    """Gradients of keys and values are those of the last tile of queries, which overwrites the others."""

    def kept(t: Task, x: Array) -> Array:
        n = x.shape[2]
        return np.where(np.arange(n)[:, None] // tile == (n - 1) // tile, x, 0)

    return kept


def _buggy(
    name: str,
    steps: Steps,
    why: str,
    diagnosis: str | None,
    source: str = "",
    precision: str = "float32",
    order: int = 3,
) -> Entry:
    return Entry(name, backward(steps, order), (precision,), why, source, diagnosis=diagnosis)


def _keys(t: Task) -> range:
    return range(1, 1 + t.modes)


#: Every wrong backward pass.
BUGGY: tuple[Entry, ...] = (
    _buggy("modes-exchanged", _alike_reversed(0, 1), "the gradients of the modes exchanged", "gradients of the modes exchanged", "pytorch/FBGEMM#4930"),
    _buggy("operands-exchanged", Steps(task=lambda t: replace(t, keys=t.keys[::-1]) if len(set(t.lengths)) == 1 else t), "the backward pass is given k2, k1 for k1, k2", None, "pytorch/FBGEMM#4930"),
    _buggy("modes-exchanged-keys", _alike_reversed(0), "dK¹ and dK² exchanged", "gradients of the keys of the modes exchanged", "pytorch/FBGEMM#4930"),
    _buggy("modes-exchanged-values", _alike_reversed(1), "dV¹ and dV² exchanged", "gradients of the values of the modes exchanged", "pytorch/FBGEMM#4930"),
    _buggy("interleaved", Steps(after=_interleaved), "dQ, dK¹, dV¹, dK², dV²", "gradients in the order", "pytorch/FBGEMM#4930"),
    _buggy("causal-forgotten", Steps(within=_no_causal()), "the causal mask is not handed to the backward pass", "in the backward pass alone: causal mask ignored", "Dao-AILab/flash-attention#2424"),
    _buggy("causal-mode-2-forgotten", Steps(within=_no_causal(1)), "the same, of mode 2", "in the backward pass alone: causal mask left out for the keys of mode 2"),
    _buggy("window-forgotten", Steps(task=lambda t: replace(t, window=(None,) * t.modes)), "windows are not handed to the backward pass", "in the backward pass alone: windows ignored", "Dao-AILab/flash-attention#2101"),
    _buggy("window-short", Steps(task=lambda t: replace(t, window=tuple(w and max(1, w - 1) for w in t.window))), "windows of the backward pass one key too short", None, "NVIDIA/TransformerEngine#1197, #1212"),
    _buggy("windows-exchanged", Steps(task=lambda t: replace(t, window=t.window[::-1])), "w1 and w2 exchanged in the backward pass", "windows of the modes in the reverse order"),
    _buggy("delta-missing", Steps(gradient=lambda t, p, g, delta: p * g), "δ left out", "δ is left out"),
    _buggy("delta-first-row", Steps(delta=lambda t, grad, out, p, g: 0 * p[..., :1] + (grad * out).sum(3, keepdims=True)[:, :, :1]), "δ of the first query", "δ of the first query"),
    _buggy("lse-gradient-dropped", Steps(of_lse=lambda x: 0 * x), "the gradient of the log-sum-exp dropped", "gradient of the log-sum-exp is dropped", "Dao-AILab/flash-attention#1817, #141, #404"),
    _buggy("lse-gradient-negated", Steps(of_lse=lambda x: -x), "its sign", "gradient of the log-sum-exp is subtracted"),
    _buggy("scale-missing-keys", _times(_keys, lambda t: 1 / t.scale if t.scale else 1.0), "dK lacks the scale", "dK of every mode lacks the scale".lower()),
    _buggy("scale-missing-key2", _times(lambda t: [2], lambda t: 1 / t.scale if t.scale else 1.0), "dK² lacks the scale", "dk of mode 2 lacks the scale"),
    _buggy("scale-twice-query", _times(lambda t: [0], lambda t: t.scale), "dQ has the scale twice", "dq has the scale twice"),
    _buggy("ln2-query", _times(lambda t: [0], lambda t: 1 / LOG2E), "dQ by ln 2", "dq is multiplied by ln 2"),
    _buggy("key-without-2", Steps(key=_ones_but(1)), "dK¹ lacks k²", "lacks the keys of mode 2"),
    _buggy("value-without", Steps(value=_value_ones), "dV lacks the values of the other mode", None),
    _buggy("query-without-2", Steps(query=_query_one), "dQ lacks k²", "dq lacks the keys of mode 2"),
    _buggy("value-zero", _times(lambda t: [4], lambda t: 0.0), "dV² is 0", "dv of mode 2 is 0"),
    _buggy("second-pass-twice", _times(lambda t: [2], lambda t: 2.0), "dK² of two passes is added twice", "dk of mode 2 is added twice"),
    _buggy("second-pass-missing", _times(lambda t: [2], lambda t: 0.5), "half of dK²", "dk of mode 2 is half"),
    _buggy("delta-of-1", Steps(delta=_delta_a_key), "δ is summed over mode 2 alone", "δ is summed for every key of mode 1 apart"),
    _buggy("key2-of-probability", Steps(key=_key2_of_probabilities), "dK² is a sum with P", "dk of mode 2: a sum with p instead of ds"),
    _buggy("query-reads-1", Steps(query=_query_of_first), "dQ with k¹∘k¹", "dq reads the keys of mode 1 for every mode"),
    _buggy("last-tile", Steps(kept=_last_tile(16)), "tiles of queries overwrite each other's dK and dV", "dk and dv of the last tile of 16 queries alone"),
    _buggy("lse-gradient-twice", Steps(of_lse=lambda x: 2 * x), "the gradient of the log-sum-exp in δ and again", "gradient of the log-sum-exp is added twice"),
    _buggy("mean-value-1", _times(lambda t: [1 + t.modes], lambda t: 1 / t.query.shape[2]), "dV¹ is a mean", "dv of mode 1 is the mean over the queries"),
    _buggy("group-first", Steps(gather=_first_of_group), "no sum over the group", "only the first query head of a group", "XunhaoLai/native-sparse-attention-triton#27"),
    _buggy("group-mean", Steps(gather=_mean_of_group), "the mean over the group", "the mean over a group"),
    _buggy("group-other", Steps(gather=_of_other_group), "heads gathered by the remainder", "head h mod h_k", "fla-org/flash-linear-attention#384"),
    _buggy("queries-left-out", Steps(kept=_tail(16)), "queries beyond whole tiles of 16 left out of dK and dV", "those beyond the last whole tile of 16", "flagos-ai/FlagGems#898, #2848"),
    _buggy("value-columns", Steps(incoming=_short_columns), "columns of values beyond dim left out of dP", None, "XunhaoLai/native-sparse-attention-triton#27"),
    _buggy("empty-nan", Steps(after=_all_hidden), "NaN in rows that attend to nothing", None, "aqlaboratory/openfold-3#271; NVIDIA/cuEquivariance#204"),
    _buggy("short-lse", Steps(lse=lambda t, lse: lse.astype(ml_dtypes.bfloat16).astype(t.work)), "the log-sum-exp is kept in bfloat16", None),
    _buggy("short-scores", Steps(gradient=lambda t, p, g, delta: (p * (g - delta)).astype(np.float16).astype(t.work)), "dS in float16, where it is tiny beside peaked rows", None, "aqlaboratory/openfold-3#271"),
    _buggy("order-4-mode-3", _times(lambda t: [3], lambda t: 0.0), "dK³ is 0", "dk of mode 3 is 0", order=4),
)  # fmt: skip
