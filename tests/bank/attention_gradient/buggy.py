"""Wrong backward passes, most of them from public reports: the judge must fail every one, and name what has a meaning."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import ml_dtypes
import numpy as np

from bank.attention_gradient.engine import Array, Parts, Steps, Task, gathered, kernel, passed, summed
from bank.attention_gradient.wrong_forward import WRONG_FORWARDS

__all__ = ["BUGGY", "Buggy"]


@dataclass(frozen=True)
class Buggy:
    """A wrong kernel, the class that it claims, where its bug was seen, and words that the diagnosis must contain."""

    name: str
    function: Callable[..., Any]
    bug: str
    source: str = "assay's bank"
    precision: str = "float32"
    diagnosis: str | None = None
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


# --- masks ------------------------------------------------------------------------------------------------------------


def _without(*names: str) -> Callable[[Task], Task]:
    return lambda t: replace(t, **dict.fromkeys(names))


def _moved(left: int, right: int) -> Callable[[Task], Task]:
    def change(t: Task) -> Task:
        if t.window is None:
            return t
        a, b = t.window
        return replace(t, window=(None if a is None else a + left, None if b is None else b + right))

    return change


def _seen_causal(by: int) -> Callable[[Task], Array]:
    def seen(t: Task) -> Array:
        if t.causal is None:
            return t.visible()
        lengths = np.full(t.shape[0], t.shape[3]) if t.key_lengths is None else t.key_lengths.astype(int)
        i = np.arange(t.shape[2])[None, None, :, None]
        i = i + ((lengths - t.shape[2])[:, None, None, None] if t.causal == "bottom-right" else 0)
        free = replace(t, causal=None, window=None).visible()
        inside = np.arange(t.shape[3]) <= i + by
        if t.window is not None and t.window[0] is not None:
            inside = inside & (np.arange(t.shape[3]) >= i - t.window[0])
        if t.window is not None and t.window[1] is not None:
            inside = inside & (np.arange(t.shape[3]) <= i + t.window[1])
        return free & inside

    return seen


def _aligned(to: str) -> Callable[[Task], Task]:
    return lambda t: t if t.causal is None else replace(t, causal=to)


def _first_head_of_mask(t: Task) -> Task:
    if t.mask is None or t.mask.ndim < 3:
        return t
    return replace(t, mask=np.broadcast_to(t.mask[..., :1, :, :], t.mask.shape))


def _first_batch_of_mask(t: Task) -> Task:
    if t.mask is None or t.mask.ndim < 4:
        return t
    return replace(t, mask=np.broadcast_to(t.mask[:1], t.mask.shape))


def _nan_when_masked(t: Task, p: Array, g: Array, delta: Array) -> Array:
    """0·∞ where a query attends to nothing."""
    empty = ~t.visible().any(axis=3, keepdims=True)
    return np.where(empty, np.nan, p * (g - delta))


def _nan_steps(t: Task, made: list[Array]) -> list[Array]:
    empty = ~t.visible().any(axis=3) & (t.sink is None)
    made[0] = np.where(empty[..., None], np.nan, made[0])
    return made


# --- shapes -----------------------------------------------------------------------------------------------------------


def _kept(kept: Callable[[int, int], bool]) -> Callable[[Task, Array], Array]:
    """Only some heads of a group: kept(h, group)."""

    def gather(t: Task, x: Array) -> Array:
        keep = np.array([kept(h, t.group) for h in range(x.shape[1])])[:, None, None]
        return gathered(t, np.where(keep, x, 0))

    return gather


def _placed(place: Callable[[int, Task], int]) -> Callable[[Task, Array], Array]:
    def gather(t: Task, x: Array) -> Array:
        made = np.zeros_like(gathered(t, x))
        for h in range(x.shape[1]):
            if (to := place(h, t)) < made.shape[1]:
                made[:, to] += x[:, h]
        return made

    return gather


def _mean(t: Task, x: Array) -> Array:
    return gathered(t, x) / t.work(t.group)


def _first_columns(kept: Callable[[Task], int]) -> Callable[[Task, Array, Array], Array]:
    def product(t: Task, grad: Array, v: Array) -> Array:
        n = kept(t)
        return grad[..., :n] @ np.swapaxes(v[..., :n], 2, 3)

    return product


def _whole_tiles(tile: int, axis: int) -> Callable[[Task, Array, Array], Array]:
    """Rows of the inner axis beyond the last whole tile are left out of dK or dV (axis 2) or of dQ (axis 3)."""

    def product(t: Task, matrix: Array, rows: Array) -> Array:
        n = matrix.shape[axis]
        kept = n // tile * tile if n > tile else n
        if axis == 3:
            return (matrix[..., :kept] @ rows[..., :kept, :]) * t.work(t.scale)
        return np.swapaxes(matrix[..., :kept, :], 2, 3) @ rows[..., :kept, :]

    return product


def _tail_to_next(t: Task, made: list[Array]) -> list[Array]:
    """The padded tail of a head is added to the next head's dV."""
    if t.shape[3] % 64:
        flat = made[2].reshape(-1, *made[2].shape[2:])
        flat[1:, 0] += flat[:-1, -1].copy()
    return made


def _last_tile_unwritten(t: Task, made: list[Array]) -> list[Array]:
    """Rows of dK and dV beyond the last whole tile of 64 keep what their memory held: here NaN."""
    n = t.shape[3]
    if n > 64 and n % 64:
        for x in made[1:3]:
            x[:, :, n // 64 * 64 :] = np.nan
    return made


def _other_order(x: Array) -> Array:
    """An array of (b, h, n, d) whose memory is read as (b, n, h, d)."""
    return np.ascontiguousarray(x).reshape(x.shape[0], x.shape[2], x.shape[1], x.shape[3]).swapaxes(1, 2)


def _swapped(x: Array) -> Array:
    return np.ascontiguousarray(x).reshape(x.shape[0], x.shape[1], x.shape[3], x.shape[2]).swapaxes(2, 3)


def _by_strides(t: Task, steps: Steps) -> list[Array]:
    """dO is read as contiguous memory, whatever its strides say."""
    grad = t.grad_output
    if not grad.flags.c_contiguous:
        order = np.argsort([-abs(s) for s in grad.strides], kind="stable")
        flat = np.ascontiguousarray(grad.transpose(order)).ravel()
        t = replace(t, grad_output=flat.reshape(grad.shape))
    return passed(t, steps)


def _delta_by_strides(t: Task, g: Array, p: Array, grad: Array, out: Array) -> Array:
    """The rowsum of O∘dO takes both in the order of dO's memory."""
    strides = t.grad_output.strides
    if strides[1] < strides[2]:  # (b, n, h, d) in memory
        return (_other_order(grad) * _other_order(out)).sum(axis=3, keepdims=True)
    return (grad * out).sum(axis=3, keepdims=True)


def _at_dim(dim: int) -> Callable[[Task, Array, Array, Array], Array]:
    """Wrong at one head dimension under a causal mask."""

    def gradient(t: Task, p: Array, g: Array, delta: Array) -> Array:
        if t.query.shape[3] == dim and t.causal is not None:
            return p * g
        return p * (g - delta)

    return gradient


def _large_batches(t: Task, made: list[Array]) -> list[Array]:
    """An index of 16 bits over packed views of large batches."""
    if t.shape[0] > 2700:
        made[0][2700:] = np.nan
    return made


# --- gradients of the rest --------------------------------------------------------------------------------------------


def _bias_at(index: int) -> Callable[[Task, Parts], Array]:
    def bias(t: Task, parts: Parts) -> Array:
        assert t.bias is not None
        wide = (1,) * (4 - t.bias.ndim) + t.bias.shape
        x = parts.gradient
        for axis, (n, m) in enumerate(zip(x.shape, wide, strict=True)):
            if n != m:
                x = np.take(x, [index], axis=axis)
        return x.reshape(t.bias.shape)

    return bias


def _bias_mean(t: Task, parts: Parts) -> Array:
    assert t.bias is not None
    return summed(parts.gradient, t.bias.shape) * t.work(t.bias.size / parts.gradient.size)


def _bias_of(factor: Callable[[Task, Parts], Any]) -> Callable[[Task, Parts], Array]:
    return lambda t, parts: summed(parts.gradient * factor(t, parts), t.bias.shape)  # type: ignore[union-attr]


def _slope_of_bias(t: Task, parts: Parts) -> Array:
    """The softcap's factor reaches the bias, which comes after the cap."""
    if t.softcap is None:
        return np.ones(1, t.work)
    k = t.wide(t.key)[:, t.own()]
    share = np.tanh(t.wide(t.query) @ np.swapaxes(k, 2, 3) * t.work(t.scale / t.softcap))
    return 1 - share * share


def _sink_of(function: Callable[[Task, Parts], Array]) -> Callable[[Task, Parts], Array]:
    return function


def _sink_weight(t: Task, parts: Parts) -> Array:
    assert t.sink is not None
    return np.exp(t.wide(t.sink)[None, :, None] - parts.lse)


def _sink_without_lse(t: Task, parts: Parts) -> Array:
    delta = parts.delta[..., 0]
    if t.grad_log_sum_exp is not None:
        delta = delta + t.wide(t.grad_log_sum_exp)
    return -(_sink_weight(t, parts) * delta).sum(axis=(0, 2))


def _without_sink_in_lse(t: Task, lse: Array) -> Array:
    if t.sink is None:
        return lse
    with np.errstate(all="ignore"):
        rest = np.log(np.exp(lse) - np.exp(t.wide(t.sink)[None, :, None]))
    return np.where(np.isfinite(rest), rest, lse).astype(lse.dtype)


def _slope(function: Callable[[Task, Array, Array], Array]) -> Callable[[Task, Array], tuple[Array, Array]]:
    """Another derivative: function(task, score before the cap, tanh)."""

    def capped(t: Task, s: Array) -> tuple[Array, Array]:
        if t.softcap is None:
            return s, 1 + 0 * s
        share = np.tanh(s / t.work(t.softcap))
        return t.work(t.softcap) * share, function(t, s, share)

    return capped


def _scaled(query: Callable[[Task], float] = lambda t: 1.0, key: Callable[[Task], float] = lambda t: 1.0, value: float = 1.0) -> Callable[[Task, list[Array]], list[Array]]:  # fmt: skip
    def after(t: Task, made: list[Array]) -> list[Array]:
        factors = (query(t), key(t), value)
        return [x * t.work(f) for x, f in zip(made[:3], factors, strict=True)] + made[3:]

    return after


def _permuted(*order: int) -> Callable[[Task, list[Array]], list[Array]]:
    """Gradients in another order, where their shapes agree."""

    def after(t: Task, made: list[Array]) -> list[Array]:
        chosen = [made[i] for i in order]
        if [x.shape for x in chosen] != [x.shape for x in made[:3]]:
            return made
        return chosen + made[3:]

    return after


def _inverse(t: Task) -> float:
    return 1.0 / t.scale if t.scale else 1.0


# --- state and chance -------------------------------------------------------------------------------------------------


def _racing() -> Callable[[Task, list[Array]], list[Array]]:
    """Every third call an addition to dQ is lost."""
    count = itertools.count(1)

    def after(t: Task, made: list[Array]) -> list[Array]:
        if next(count) % 3 == 0:
            made[0][:, :, -1:] = 0
        return made

    return after


def _kept_delta() -> Callable[[Task, Array, Array, Array, Array], Array]:
    """δ is kept from the last call with arrays of the same shape."""
    last: dict[tuple[int, ...], Array] = {}

    def delta(t: Task, g: Array, p: Array, grad: Array, out: Array) -> Array:
        key = (*t.query.shape, *t.key.shape)
        now = (grad * out).sum(axis=3, keepdims=True)
        return last.setdefault(key, now)

    return delta


def _changes_input(t: Task, steps: Steps) -> list[Array]:
    """dO is scaled in place."""
    t.grad_output.setflags(write=True)
    t.grad_output[...] = t.grad_output * t.grad_output.dtype.type(0.5)
    return passed(t, steps)


# --- arithmetic -------------------------------------------------------------------------------------------------------


def _through(dtype: Any) -> Callable[[Task, Array], Array]:
    return lambda t, x: x.astype(dtype).astype(x.dtype)


def _short_delta(dtype: Any) -> Callable[[Task, Array, Array, Array, Array], Array]:
    return lambda t, g, p, grad, out: (grad * out).sum(axis=3, keepdims=True).astype(dtype).astype(grad.dtype)


def _short_output(dtype: Any) -> Callable[[Task, Array, Array, Array, Array], Array]:
    return lambda t, g, p, grad, out: (grad * out.astype(dtype).astype(grad.dtype)).sum(axis=3, keepdims=True)


def _short_sums(dtype: Any) -> Callable[[Task, Array, Array], Array]:
    """Sums over queries in a short type, one term after the other."""

    def product(t: Task, p: Array, rows: Array) -> Array:
        total = np.zeros((*p.shape[:2], p.shape[3], rows.shape[3]), dtype)
        for i in range(p.shape[2]):
            term = p[:, :, i, :, None] * rows[:, :, i, None, :]
            total = (total.astype(p.dtype) + term).astype(dtype)
        return total.astype(p.dtype)

    return product


_B = ml_dtypes.bfloat16


def _entries() -> list[Buggy]:
    def bug(name: str, what: str, source: str = "assay's bank", diagnosis: str | None = None, precision: str = "float32", each: Any = passed, options: Any = MappingProxyType({}), **steps: Any) -> Buggy:  # fmt: skip
        return Buggy(name, kernel(Steps(**steps), each), what, source, precision, diagnosis, options)

    flash = "Dao-AILab/flash-attention"
    return [
        # what the forward pass alone was given
        bug("mask-not-handed", "the mask is not handed to the backward pass", f"{flash}#2424, #2101", "mask ignored by the backward pass alone", backward=_without("mask")),
        bug("causal-not-handed", "the causal mask is not handed to the backward pass", f"{flash}#2424", "causal mask ignored by the backward pass alone", backward=_without("causal")),
        bug("window-not-handed", "the window is not handed to the backward pass", f"{flash}#2101", "window ignored by the backward pass alone", backward=_without("window")),
        bug("lengths-not-handed", "the key lengths are not handed to the backward pass", "assay's bank", "key lengths ignored by the backward pass alone", backward=_without("key_lengths")),
        bug("softcap-not-handed", "the score function is not handed to the backward pass", f"{flash}#2101", "softcap ignored by the backward pass alone", backward=_without("softcap")),
        bug("bias-not-handed", "the bias is not in the scores of the backward pass", f"{flash}#2101", "bias ignored by the backward pass alone", biased=lambda t, s: s),
        bug("sink-not-handed", "the sink is ignored by the backward pass", f"{flash}#1973", "sink left out of the backward pass", lse=_without_sink_in_lse),
        bug("causal-plus-one", "one key too many in the backward pass", "NVIDIA/TransformerEngine#1197", "causal mask of the backward pass off by one: one key too many", seen=_seen_causal(1)),
        bug("causal-minus-one", "one key too few in the backward pass", "NVIDIA/TransformerEngine#1212", "causal mask of the backward pass off by one: one key too few", seen=_seen_causal(-1)),
        bug("causal-other-corner", "top-left whatever is asked, in the backward pass", "assay's bank", "causal mask of the backward pass aligned top-left", backward=_aligned("top-left")),
        bug("causal-bottom-right", "bottom-right whatever is asked, in the backward pass", "assay's bank", "causal mask of the backward pass aligned bottom-right", backward=_aligned("bottom-right")),
        bug("window-left-short", "a window one key too short on the left, in the backward pass", "NVIDIA/TransformerEngine#1197, #1212", "window of the backward pass one key too narrow on the left", backward=_moved(-1, 0)),
        bug("window-left-long", "a window one key too long on the left, in the backward pass", "NVIDIA/TransformerEngine#1212", "window of the backward pass one key too wide on the left", backward=_moved(1, 0)),
        bug("window-right-long", "a window one key too long on the right, in the backward pass", "assay's bank", "window of the backward pass one key too wide on the right", backward=_moved(0, 1)),
        bug("mask-of-first-head", "the mask of the first head for all, in the backward pass", "assay's bank", "mask of the first head used for every head in the backward pass", backward=_first_head_of_mask),
        bug("mask-of-first-batch", "the mask of the first batch for all, in the backward pass", "assay's bank", "mask of the first batch used for every batch in the backward pass", backward=_first_batch_of_mask),
        bug("empty-rows-nan", "NaN gradients of rows that attend to nothing", f"{flash}#443", "an empty row gives nan", after=_nan_steps),
        bug("empty-rows-mean", "an empty row has the mean of V as output, and its gradient in dV", "microsoft/onnxruntime#28904", "hidden keys of mask, lengths or causality leak",
            value=lambda t, p, grad: np.swapaxes(np.where(t.visible().any(axis=3, keepdims=True) | (t.sink is not None), p, 1 / t.work(t.shape[3])), 2, 3) @ grad),
        # both passes
        bug("both-causal-ignored", "the causal mask is ignored by both passes", "assay's bank", "causal mask ignored", recompute=True, task=_without("causal")),
        bug("both-scale", "1/√d whatever the scale", "assay's bank", "scale ignored", recompute=True, task=lambda t: replace(t, scale=t.query.shape[3] ** -0.5)),
        bug("both-mask-inverted", "True hides", "assay's bank", "mask inverted", recompute=True, task=lambda t: t if t.mask is None else replace(t, mask=~t.mask)),
        bug("both-modulo", "query head h reads key head h mod h_k", "XunhaoLai/native-sparse-attention-triton#27", "reads key head h mod h_k", recompute=True,
            reads=lambda t: [h % t.key.shape[1] for h in range(t.query.shape[1])], gather=_placed(lambda h, t: h % t.key.shape[1])),
        # δ
        bug("no-delta", "dS = p·dP", "assay's bank", "δ is left out", gradient=lambda t, p, g, delta: p * g),
        bug("delta-of-dropped-lse", "the gradient of the log-sum-exp is dropped", f"{flash}#1817, #141, #404; ByteDance-Seed/VeOmni#1021", "the gradient of the log-sum-exp is dropped", of_lse=lambda t, delta: delta),
        bug("delta-lse-sign", "the gradient of the log-sum-exp with the wrong sign", "assay's bank", "the gradient of the log-sum-exp is subtracted",
            of_lse=lambda t, delta: 2 * delta - Steps().of_lse(t, delta)),
        bug("delta-plus", "p·(dP + δ)", "assay's bank", "δ is added", gradient=lambda t, p, g, delta: p * (g + delta)),
        bug("delta-without-output", "δ is the rowsum of dO", "assay's bank", "δ is the sum of grad_output", delta=lambda t, g, p, grad, out: grad.sum(axis=3, keepdims=True)),
        bug("delta-first-head", "δ of head 0 for every head", "assay's bank", "δ of the first head", delta=lambda t, g, p, grad, out: np.broadcast_to((grad * out).sum(3, keepdims=True)[:, :1], (*grad.shape[:3], 1))),
        bug("delta-first-batch", "δ of batch 0 for every batch", "assay's bank", "δ of the first batch", delta=lambda t, g, p, grad, out: np.broadcast_to((grad * out).sum(3, keepdims=True)[:1], (*grad.shape[:3], 1))),
        bug("delta-mean", "δ without the probabilities", "assay's bank", "δ is the mean of dp", delta=lambda t, g, p, grad, out: g.mean(axis=3, keepdims=True)),
        bug("diagonal", "only the diagonal of the Jacobian of softmax", "assay's bank", "only the diagonal of the jacobian", gradient=lambda t, p, g, delta: p * (1 - p) * g),
        bug("no-probability", "dS = dP − δ", "assay's bank", "without the probability", gradient=lambda t, p, g, delta: g - delta),
        bug("probability-twice", "dS = p²(dP − δ)", "assay's bank", "dS is p²".lower(), gradient=lambda t, p, g, delta: p * p * (g - delta)),
        bug("delta-scaled", "δ with the scale", "assay's bank", "δ is multiplied by the scale", delta=lambda t, g, p, grad, out: (grad * out).sum(axis=3, keepdims=True) * t.work(t.scale)),
        bug("delta-of-gradient", "δ is the rowsum of dO∘dO", "assay's bank", "δ is the sum of squares of grad_output", delta=lambda t, g, p, grad, out: (grad * grad).sum(axis=3, keepdims=True)),
        bug("delta-half", "δ of the first half of the columns", "assay's bank", "δ is of the first half of the columns", delta=lambda t, g, p, grad, out: (grad * out)[..., : max(1, grad.shape[3] // 2)].sum(axis=3, keepdims=True)),
        # scale and factors
        bug("scale-missing", "dQ and dK without the scale", "assay's bank", "dq and dk lack the scale", after=_scaled(_inverse, _inverse)),
        bug("scale-missing-query", "dQ without the scale", "assay's bank", "dq lacks the scale", after=_scaled(_inverse)),
        bug("scale-missing-key", "dK without the scale", "assay's bank", "dk lacks the scale", after=_scaled(key=_inverse)),
        bug("scale-twice", "dQ and dK with the scale twice", "assay's bank", "dq and dk have the scale twice", after=_scaled(lambda t: t.scale, lambda t: t.scale)),
        bug("log2e", "dK in base 2: multiplied by log₂ e", "assay's bank", "dk is multiplied by log₂ e", after=_scaled(key=lambda t: 1.4426950408889634)),
        bug("ln2", "dQ multiplied by ln 2", "assay's bank", "dq is multiplied by ln 2", after=_scaled(lambda t: 0.6931471805599453)),
        bug("value-twice", "dV added twice", "assay's bank", "dv is added twice", after=_scaled(value=2.0)),
        bug("query-negated", "dQ with the wrong sign", "assay's bank", "dq has the wrong sign", after=_scaled(lambda t: -1.0)),
        bug("rotated", "gradients returned as dV, dQ, dK", "ooples/AiDotNet.Tensors#49", "are returned as", after=_permuted(2, 0, 1)),
        bug("exchanged", "dQ and dK exchanged", "ooples/AiDotNet.Tensors#49", "dq and dk are exchanged", after=_permuted(1, 0, 2)),
        bug("exchanged-values", "dK and dV exchanged", "ooples/AiDotNet.Tensors#49", "dk and dv are exchanged", after=_permuted(0, 2, 1)),
        bug("value-of-difference", "dV = (P∘(1 − P))ᵀ dO", "assay's bank", None, value=lambda t, p, grad: np.swapaxes(p * (1 - p), 2, 3) @ grad),
        # groups
        bug("group-first", "no sum over the group: the first query head alone", "marin-community/levanter#449", "only the first query head of a group", gather=_kept(lambda h, g: h % g == 0)),
        bug("group-last", "the last query head of a group overwrites the others", "fla-org/flash-linear-attention#384", "only the last query head of a group", gather=_kept(lambda h, g: h % g == g - 1)),
        bug("group-mean", "the mean over a group", "assay's bank", "the mean over a group", gather=_mean),
        bug("group-modulo", "dK of query head h at key head h mod h_k", "XunhaoLai/native-sparse-attention-triton#27", "added to key head h mod h_k", gather=_placed(lambda h, t: h % t.key.shape[1])),
        bug("group-by-key-heads", "flat head index divided by the number of key heads", "XunhaoLai/native-sparse-attention-triton#27", "added to key head h // h_k", gather=_placed(lambda h, t: h // t.key.shape[1])),
        bug("group-raw", "dK at the query head's place", "fla-org/flash-linear-attention#384", "stand at place h", gather=_placed(lambda h, t: h)),
        # columns and tails
        bug("value-columns", "columns of the values past d ignored in dP", "XunhaoLai/native-sparse-attention-triton#27", "columns of the values beyond dim", product=_first_columns(lambda t: t.query.shape[3])),
        bug("value-columns-64", "only 64 columns of the values in dP", "triton-lang/triton#621", "only the first 64 columns of the values", product=_first_columns(lambda t: 64)),
        bug("dim-64", "wrong by a term at d = 64 under a causal mask", f"{flash}#2623", None, gradient=_at_dim(64)),
        bug("tail-to-next", "the padded tail of a head added to the next head's dV", "flagos-ai/FlagGems#898, #2848", None, after=_tail_to_next),
        bug("tail-unwritten", "gradients beyond the last whole tile left unwritten", "fla-org/flash-linear-attention#892; Dao-AILab/flash-attention#2324, #2568", None, after=_last_tile_unwritten),
        bug("queries-in-tiles", "queries beyond whole tiles of 16 left out of dV", "assay's bank", "some queries are left out of dk and dv", value=_whole_tiles(16, 2), key=lambda t, x, q: _whole_tiles(16, 2)(t, x, q) * t.work(t.scale)),
        bug("keys-in-tiles", "keys beyond whole tiles of 32 left out of dQ", "assay's bank", "some keys are left out of dq", query=_whole_tiles(32, 3)),
        bug("large-batch", "NaN beyond batch 2,700", "pytorch/pytorch#119320", None, after=_large_batches),
        # layouts
        bug("strides-of-gradient", "dO taken for contiguous", f"{flash}#355", None, each=_by_strides),
        bug("delta-by-strides", "the rowsum of O∘dO in the order of dO's memory", f"{flash}#1149; flagos-ai/FlagAttention#1", None, delta=_delta_by_strides),
        bug("gradient-order", "dO read as (batch, length, heads, dim)", f"{flash}#355", "grad_output is read as (batch, length, heads, dim)", incoming=lambda t, x: _other_order(x)),
        bug("gradient-transposed", "dO read with its last two axes exchanged", f"{flash}#355", "last two axes", incoming=lambda t, x: _swapped(x)),
        bug("gradient-first-head", "dO of head 0 for every head", "assay's bank", "grad_output of the first head", incoming=lambda t, x: np.broadcast_to(x[:, :1], x.shape)),
        bug("gradient-first-batch", "dO of batch 0 for every batch", "assay's bank", "grad_output of the first batch", incoming=lambda t, x: np.broadcast_to(x[:1], x.shape)),
        # softcap
        bug("softcap-slope", "no factor 1 − tanh²", f"{flash}#2402, #1033", "the factor 1 − tanh² is left out", capped=_slope(lambda t, s, share: 1 + 0 * s)),
        bug("softcap-slope-linear", "the factor 1 − |tanh|", "assay's bank", "the factor is 1 − |tanh|", capped=_slope(lambda t, s, share: 1 - np.abs(share))),
        bug("softcap-slope-raw", "the factor of the score before the cap", "assay's bank", "of the score before the cap", capped=_slope(lambda t, s, share: 1 - (s / t.work(t.softcap)) ** 2)),
        bug("softcap-slope-of-score", "the factor 1 − s² of a capped score", "assay's bank", "of the capped score", capped=_slope(lambda t, s, share: 1 - (share * t.work(t.softcap)) ** 2)),
        bug("softcap-slope-twice", "the factor twice", "assay's bank", "the factor 1 − tanh² comes twice", capped=_slope(lambda t, s, share: (1 - share * share) ** 2)),
        # bias and sink
        bug("bias-scaled", "dBias times the scale", "assay's bank", "dbias is multiplied by the scale", bias=_bias_of(lambda t, parts: t.work(t.scale))),
        bug("bias-zero", "dBias is 0", "NVIDIA/cuEquivariance#204", "dbias is 0", bias=_bias_of(lambda t, parts: t.work(0))),
        bug("bias-first", "dBias of the first batch or head alone", "aqlaboratory/openfold-3#271", "the first part alone", bias=_bias_at(0)),
        bug("bias-last", "dBias overwritten by the last batch or head", "aqlaboratory/openfold-3#271", "the last part alone", bias=_bias_at(-1)),
        bug("bias-mean", "dBias averaged", "assay's bank", "the mean over what the bias is broadcast to", bias=_bias_mean),
        bug("bias-slope", "the softcap's factor in dBias", "assay's bank", "dbias has the factor", bias=_bias_of(_slope_of_bias)),
        bug("sink-zero", "dSink computed and dropped", "ISEEKYAN/Megatron-LM#205", "dsink is 0", sink=lambda t, parts: 0 * parts.lse.sum(axis=(0, 2))),
        bug("sink-negated", "dSink with the wrong sign", f"{flash}#2102", "dsink has the wrong sign", sink=lambda t, parts: (_sink_weight(t, parts) * parts.delta[..., 0]).sum(axis=(0, 2))),
        bug("sink-first-batch", "dSink of the first batch", "assay's bank", "dsink is that of the first batch", sink=lambda t, parts: -(_sink_weight(t, parts) * parts.delta[..., 0])[:1].sum(axis=(0, 2))),
        bug("sink-weight", "dSink without δ", f"{flash}#2102", "dsink is the sum of the sink's probabilities", sink=lambda t, parts: -_sink_weight(t, parts).sum(axis=(0, 2))),
        bug("sink-without-lse", "dSink without the gradient of the log-sum-exp", "assay's bank", "dsink lacks the gradient of the log-sum-exp", sink=_sink_without_lse),
        # state
        bug("race", "an addition to dQ is lost in every third call", f"{flash}#359, #2035, #2033; NVIDIA/cudnn-frontend#396", None, after=_racing()),
        bug("delta-kept", "δ kept from an earlier call", "assay's bank", None, delta=_kept_delta()),
        bug("input-changed", "dO scaled in place", "assay's bank", None, each=_changes_input),
        # arithmetic
        bug("short-difference", "dS in bfloat16", "assay's bank", None, short=_through(_B)),
        bug("short-delta", "δ in bfloat16", "assay's bank", None, delta=_short_delta(_B)),
        bug("short-output", "δ from an output in float16", "assay's bank", None, delta=_short_output(np.float16)),
        bug("crude-exp", "exp of low accuracy", "assay's bank", None, probability=lambda t, s, seen, lse: Steps().probability(t, s, seen, lse) * (1 + t.work(1e-4) * np.sin(50 * s).astype(t.work))),
        bug("short-sums", "sums over queries in bfloat16", "assay's bank", None, value=_short_sums(_B)),
        bug("half-delta", "δ in bfloat16, of a kernel with sums in float32", "assay's bank", None, "bfloat16", delta=_short_delta(_B), options={"handed": "used"}),
        bug("half-sums", "sums over queries in bfloat16", "assay's bank", None, "bfloat16", value=_short_sums(_B)),
        bug("half-bfloat16-in-float16", "dS in bfloat16 of a kernel in float16", "assay's bank", None, "float16", short=_through(_B)),
        bug("half-no-delta", "dS = p·dP in bfloat16", "assay's bank", "δ is left out", "bfloat16", gradient=lambda t, p, g, delta: p * g),
        bug("half-causal", "the causal mask is not handed to the backward pass, in float16", f"{flash}#2424", "causal mask ignored by the backward pass alone", "float16", backward=_without("causal")),
    ]  # fmt: skip


#: Every wrong kernel: backward passes, and forward passes whose gradients are wrong.
BUGGY: tuple[Buggy, ...] = (
    *_entries(),
    *(Buggy(name, function, bug, diagnosis=diagnosis) for name, bug, diagnosis, function in WRONG_FORWARDS),
)
