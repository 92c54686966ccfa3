"""What wrong attention kernels mean instead: for every known bug the instance that they, in effect, solve.

A row of :data:`SEMANTICS` is a sentence and a function from an instance to the wrong one (``None`` where the bug
changes nothing).  Where each was seen: the families that hunt them.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.attention.options import alibi_slopes
from assay.conformance.interface.suite import Semantics
from assay.spec.attention import evaluate
from assay.spec.floats import dtype_named

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.spec.attention import Instance

__all__ = ["SEMANTICS"]

Wrong = Callable[["Instance"], "Instance | None"]


def _only_masked(instance: Instance, seen: NDArray[np.bool_]) -> Instance:
    """The instance whose mask, alone, says who attends to whom."""
    return instance.replace(mask=seen, causal=None, window=None, key_lengths=None)


def _positions(instance: Instance) -> tuple[NDArray[Any], NDArray[Any]]:
    """(position of query i under the alignment, key j), for the broadcast comparison; lengths make it (b, n_q, 1)."""
    b, _, n_q, _ = instance.query.shape
    n_k = instance.key.shape[2]
    lengths = np.full(b, n_k) if instance.key_lengths is None else instance.key_lengths.astype(np.int64)
    offset = lengths - n_q if instance.causal == "bottom-right" else np.zeros(b, np.int64)
    return np.arange(n_q)[None, :, None] + offset[:, None, None], np.arange(n_k)[None, None, :]


# --- causal masks and windows -------------------------------------------------------------------------------------


def _aligned(to: str) -> Wrong:
    def wrong(instance: Instance) -> Instance | None:
        return None if instance.causal in (None, to) else instance.replace(causal=to)

    return wrong


def _aligned_by_arrays(instance: Instance) -> Instance | None:
    """bottom-right by the length of the array, where the key lengths should say it"""
    if instance.causal != "bottom-right" or instance.key_lengths is None:
        return None
    position, j = _positions(instance.replace(key_lengths=None))
    return _only_masked(instance, instance.replace(causal=None).visible() & (j <= position)[:, None])


def _causal_ignored(instance: Instance) -> Instance | None:
    return None if instance.causal is None else instance.replace(causal=None)


def _causal_moved(by: int) -> Wrong:
    def wrong(instance: Instance) -> Instance | None:
        if instance.causal is None:
            return None
        position, j = _positions(instance)
        keep = j <= position + by
        free = _window_only(instance)
        return _only_masked(instance, keep[:, None] & free)

    return wrong


def _window_only(instance: Instance) -> NDArray[np.bool_]:
    """Everything but the causal mask, the window at the positions that the causal alignment gives."""
    free = instance.replace(causal=None, window=None).visible()
    return _inside(instance, instance.window)[:, None] & free


def _inside(instance: Instance, window: tuple[int | None, int | None] | None) -> NDArray[np.bool_]:
    position, j = _positions(instance)
    inside = np.ones(np.broadcast_shapes(position.shape, j.shape), dtype=bool)
    if window is not None:
        left, right = window
        if left is not None:
            inside &= j >= position - left
        if right is not None:
            inside &= j <= position + right
    return inside


def _window_changed(left: int, right: int) -> Wrong:
    def wrong(instance: Instance) -> Instance | None:
        if instance.window is None:
            return None
        a, b = instance.window
        if (a is None or left == 0) and (b is None or right == 0):
            return None
        window = (None if a is None else a + left, None if b is None else b + right)
        position, j = _positions(instance)
        causal = (j <= position) if instance.causal is not None else np.ones_like(j <= position)
        free = instance.replace(causal=None, window=None).visible()
        inside = _inside(instance, window) & causal
        return _only_masked(instance, inside[:, None] & free)

    return wrong


def _window_ignored(instance: Instance) -> Instance | None:
    return None if instance.window is None else instance.replace(window=None)


def _window_exchanged(instance: Instance) -> Instance | None:
    return None if instance.window is None else instance.replace(window=instance.window[::-1])


def _window_realigned(instance: Instance) -> Instance | None:
    """Windows about the other diagonal than the causal mask's."""
    if instance.window is None or instance.query.shape[2] == instance.key.shape[2]:
        return None
    other = instance.replace(causal=None if instance.causal == "bottom-right" else "bottom-right")
    inside = _inside(other, instance.window)
    return _only_masked(instance, inside[:, None] & instance.replace(window=None).visible())


# --- masks, biases, lengths ---------------------------------------------------------------------------------------


def _dropped(name: str) -> Wrong:
    def wrong(instance: Instance) -> Instance | None:
        return None if getattr(instance, name) is None else instance.replace(**{name: None})

    return wrong


def _mask_inverted(instance: Instance) -> Instance | None:
    return None if instance.mask is None else instance.replace(mask=~instance.mask)


def _mask_added(instance: Instance) -> Instance | None:
    if instance.mask is None or instance.bias is not None:
        return None
    return instance.replace(bias=instance.mask.astype(instance.query.dtype), mask=None)


def _visible_added(instance: Instance) -> Instance | None:
    seen = instance.visible()
    if seen.all():
        return None
    bias = np.zeros(seen.shape) if instance.bias is None else np.broadcast_to(instance.bias, seen.shape)
    added = np.maximum(bias.astype(np.float64), -1e30) + seen
    return instance.replace(bias=added, mask=None, causal=None, window=None, key_lengths=None)


def _mask_transposed(instance: Instance) -> Instance | None:
    if instance.mask is None or instance.mask.ndim < 2 or instance.query.shape[2] != instance.key.shape[2]:
        return None
    return instance.replace(mask=np.swapaxes(instance.mask, -1, -2))


def _first_along(name: str, axis: int) -> Wrong:
    """The first batch's, head's or row's used for all."""

    def wrong(instance: Instance) -> Instance | None:
        array = getattr(instance, name)
        if array is None or array.ndim < -axis or array.shape[axis] == 1:
            return None
        first = np.take(array, [0], axis=axis)
        return instance.replace(**{name: np.repeat(first, array.shape[axis], axis=axis)})

    return wrong


def _bias_times(factor: Callable[[Instance], float]) -> Wrong:
    def wrong(instance: Instance) -> Instance | None:
        if instance.bias is None or factor(instance) == 1.0:
            return None
        wide = instance.bias.astype(np.float64)
        hidden = np.isneginf(wide)
        return instance.replace(bias=np.where(hidden, wide, np.where(hidden, 0.0, wide) * factor(instance)))

    return wrong


def _plain_slopes(instance: Instance) -> Instance | None:
    """2^(−8(h+1)/H) for H heads, where H is no power of two and ALiBi has other slopes."""
    heads = instance.query.shape[1]
    if instance.bias is None or instance.bias.ndim < 3 or instance.bias.shape[-3] != heads or heads & (heads - 1) == 0:
        return None
    factor = 2.0 ** (-8.0 * (1 + np.arange(heads)) / heads) / alibi_slopes(heads)
    wide = instance.bias.astype(np.float64)
    return instance.replace(bias=np.where(np.isneginf(wide), wide, wide * factor[:, None, None]))


def _lengths_plus(step: int) -> Wrong:
    def wrong(instance: Instance) -> Instance | None:
        if instance.key_lengths is None:
            return None
        moved = np.clip(instance.key_lengths.astype(np.int64) + step, 0, instance.key.shape[2])
        return instance.replace(key_lengths=moved)

    return wrong


# --- scale, softcap, sink -----------------------------------------------------------------------------------------


def _scaled(scale: Callable[[Instance], float]) -> Wrong:
    def wrong(instance: Instance) -> Instance | None:
        other = scale(instance)
        return None if other == instance.scale or not math.isfinite(other) else instance.replace(scale=other)

    return wrong


def _given(instance: Instance) -> float:
    assert instance.scale is not None
    return instance.scale


def _standard(instance: Instance, dim: int | None = None) -> float:
    return 1.0 / math.sqrt(dim or instance.query.shape[3])


def _padded(instance: Instance, to: int) -> float:
    dim = instance.query.shape[3]
    padded = -(-dim // to) * to if to else 1 << (dim - 1).bit_length()
    return _standard(instance, padded) if _given(instance) == _standard(instance) else _given(instance)


def _rounded_scale(name: str) -> Callable[[Instance], float]:
    return lambda instance: float(np.asarray(_given(instance)).astype(dtype_named(name)))


def _cap_of_raw(instance: Instance) -> Instance | None:
    """scale·c·tanh(raw/c): a cap of |scale|·c on scaled scores."""
    if instance.softcap is None or _given(instance) == 0:
        return None
    return instance.replace(softcap=abs(_given(instance)) * instance.softcap)


def _scores(instance: Instance) -> NDArray[np.float64]:
    """scale·Q Kᵀ in float64."""
    key = np.repeat(instance.key.astype(np.float64), instance.group, axis=1)
    return _given(instance) * (instance.query.astype(np.float64) @ np.swapaxes(key, 2, 3))


def _cap_after_bias(instance: Instance) -> Instance | None:
    """c·tanh((s + b)/c), as the bias that makes c·tanh(s/c) this."""
    if instance.softcap is None or instance.bias is None:
        return None
    score, c = _scores(instance), instance.softcap
    bias = np.broadcast_to(instance.bias.astype(np.float64), score.shape)
    hidden = np.isneginf(bias)
    capped = c * np.tanh((score + np.where(hidden, 0.0, bias)) / c) - c * np.tanh(score / c)
    return instance.replace(bias=np.where(hidden, bias, capped))


def _finite_mask(value: float) -> Wrong:
    """What is hidden gets this score instead of −∞."""

    def wrong(instance: Instance) -> Instance | None:
        seen = instance.visible()
        if seen.all() or instance.softcap is not None:
            return None
        score = _scores(instance)
        bias = np.zeros_like(score) if instance.bias is None else np.broadcast_to(instance.bias, score.shape)
        filled = np.where(seen, bias.astype(np.float64), value - score)
        return instance.replace(bias=filled, mask=None, causal=None, window=None, key_lengths=None)

    return wrong


def _sink_with_value(instance: Instance) -> Instance | None:
    """The sink as a key of the first key's value."""
    if instance.sink is None:
        return None
    b, h, n_q, _ = instance.query.shape
    n_k = instance.key.shape[2]
    full = (b, h, n_q, n_k)
    bias = np.zeros(full) if instance.bias is None else np.broadcast_to(instance.bias.astype(np.float64), full)
    column = np.broadcast_to(instance.sink.astype(np.float64)[None, :, None, None], (b, h, n_q, 1))
    return instance.replace(
        key=np.concatenate([instance.key, np.zeros_like(instance.key[:, :, :1])], axis=2),
        value=np.concatenate([instance.value, instance.value[:, :, :1]], axis=2),
        bias=np.concatenate([bias, column], axis=3),
        mask=np.concatenate([instance.visible(), np.ones((b, h, n_q, 1), dtype=bool)], axis=3),
        causal=None,
        window=None,
        key_lengths=None,
        sink=None,
    )


# --- heads, batches, queries and keys -----------------------------------------------------------------------------


def _keys_of(chosen: Callable[[int, int, int], int], *, values_only: bool = False) -> Wrong:
    """Query head h reads key head chosen(h, h_q, h_k), or only its values are of that head."""

    def wrong(instance: Instance) -> Instance | None:
        h_q, h_k = instance.query.shape[1], instance.key.shape[1]
        heads = [chosen(h, h_q, h_k) for h in range(h_q)]
        if heads == [h // instance.group for h in range(h_q)]:
            return None
        own = [h // instance.group for h in range(h_q)]
        return instance.replace(key=instance.key[:, own if values_only else heads], value=instance.value[:, heads])

    return wrong


def _first_batch(instance: Instance) -> Instance | None:
    if instance.query.shape[0] == 1:
        return None
    zero = np.zeros(instance.query.shape[0], dtype=np.intp)
    return instance.replace(key=instance.key[zero], value=instance.value[zero])


def _exchanged(instance: Instance) -> Instance | None:
    if instance.query.shape != instance.key.shape:
        return None
    return instance.replace(query=instance.key, key=instance.query)


def _tail_dropped(tile: int) -> Wrong:
    """Keys beyond the last whole tile are not read."""

    def wrong(instance: Instance) -> Instance | None:
        n_k = instance.key.shape[2]
        kept = n_k - 1 if tile == 0 else n_k - n_k % tile
        if kept in (0, n_k):
            return None
        return _only_masked(instance, instance.visible() & (np.arange(n_k) < kept))

    return wrong


def _first_keys(most: int) -> Wrong:
    def wrong(instance: Instance) -> Instance | None:
        n_k = instance.key.shape[2]
        return None if n_k <= most else _only_masked(instance, instance.visible() & (np.arange(n_k) < most))

    return wrong


def _tail_zero(tile: int) -> Wrong:
    """Keys are filled up to a whole tile with zeros that take part in the softmax."""

    def wrong(instance: Instance) -> Instance | None:
        n_k = instance.key.shape[2]
        extra = -n_k % tile
        if extra == 0 or instance.mask is not None or instance.bias is not None or instance.causal is not None:
            return None
        if instance.window is not None or instance.key_lengths is not None:
            return None
        width = ((0, 0), (0, 0), (0, extra), (0, 0))
        return instance.replace(key=np.pad(instance.key, width), value=np.pad(instance.value, width))

    return wrong


def _whole(dim: int, tile: int) -> int:
    return dim - dim % tile


def _columns(name: str, kept: Callable[[int], int]) -> Wrong:
    """Columns at or beyond kept(dim) are not read."""

    def wrong(instance: Instance) -> Instance | None:
        array = getattr(instance, name)
        count = kept(array.shape[3])
        if not 0 <= count < array.shape[3]:
            return None
        short = array.copy()
        short[..., count:] = 0
        return instance.replace(**{name: short})

    return wrong


def _keys_again(indices: Callable[[int], NDArray[np.intp] | None]) -> Wrong:
    """Some keys are read a second time: indices(n_k), None where there are none."""

    def wrong(instance: Instance) -> Instance | None:
        n_k = instance.key.shape[2]
        more = indices(n_k)
        if more is None or not len(more):
            return None
        chosen = np.concatenate([np.arange(n_k), more])
        changed: dict[str, Any] = {
            "key": instance.key[:, :, chosen],
            "value": instance.value[:, :, chosen],
            "mask": instance.visible()[..., chosen],
            "bias": None,
        }
        if instance.bias is not None:
            changed["bias"] = np.broadcast_to(instance.bias, instance.visible().shape)[..., chosen]
        return instance.replace(**changed, causal=None, window=None, key_lengths=None)

    return wrong


def _clamped(tile: int) -> Callable[[int], NDArray[np.intp]]:
    """The last key in place of what is missing in the last tile."""
    return lambda n_k: np.full(-n_k % tile, n_k - 1)


def _overlapping(tile: int) -> Callable[[int], NDArray[np.intp] | None]:
    """A last tile that begins early enough to be whole: its first keys were read by the tile before."""
    return lambda n_k: None if n_k < tile else np.arange(n_k - tile, n_k - n_k % tile) if n_k % tile else None


def _key_not_transposed(instance: Instance) -> Instance | None:
    if instance.key.shape[2] != instance.key.shape[3]:
        return None
    return instance.replace(key=np.ascontiguousarray(np.swapaxes(instance.key, 2, 3)))


# --- the online softmax -------------------------------------------------------------------------------------------


def _excess(instance: Instance, tile: int) -> NDArray[np.float64]:
    """(b, h_q, n_q, n_k): m − m_t ≥ 0, the final maximum above that after the key's tile; 0 where nothing was seen."""
    score = np.where(instance.visible(), evaluate(instance).score.midpoint, -np.inf)
    running = np.maximum.accumulate(score, axis=3)
    n_k = score.shape[3]
    last = np.minimum(np.arange(n_k) // tile * tile + tile, n_k) - 1
    running = running[..., last]
    if instance.sink is not None:
        running = np.maximum(running, instance.sink.astype(np.float64)[None, :, None, None])
    with np.errstate(invalid="ignore"):
        above = running[..., -1:] - running
    return np.where(np.isfinite(above), above, 0.0)


def _unscaled(instance: Instance, tile: int) -> Instance | None:
    """Numerator and denominator that are not rescaled: the weight of a key is e^(s − m_t)."""
    excess = _excess(instance, tile)
    if not excess.any() or instance.sink is not None:
        return None
    bias = np.zeros_like(excess)
    if instance.bias is not None:
        bias = np.broadcast_to(instance.bias.astype(np.float64), excess.shape)
    return instance.replace(bias=bias + excess)


def _more_weight(instance: Instance, tile: int) -> NDArray[np.float64]:
    """(b, h_q, n_q): ln of the factor by which a denominator that is not rescaled is too large."""
    score = np.where(instance.visible(), evaluate(instance).score.midpoint, -np.inf)
    top = score.max(axis=3, keepdims=True)
    weight = np.exp(score - np.where(np.isfinite(top), top, 0.0))
    total = weight.sum(axis=3)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        more: NDArray[np.float64] = np.log((weight * np.exp(_excess(instance, tile))).sum(axis=3) / total)
    return np.where(total > 0, more, 0.0)


def _numerator_unscaled(tile: int) -> tuple[Wrong, Callable[[Instance, NDArray[np.float64]], NDArray[np.float64]]]:
    def post(instance: Instance, value: NDArray[np.float64]) -> NDArray[np.float64]:
        return value * np.exp(_more_weight(instance, tile))[..., None] if value.ndim == 4 else value

    return functools.partial(_unscaled, tile=tile), post


def _denominator_unscaled(tile: int) -> tuple[Wrong, Callable[[Instance, NDArray[np.float64]], NDArray[np.float64]]]:
    def wrong(instance: Instance) -> Instance | None:
        return None if _unscaled(instance, tile) is None else instance

    def post(instance: Instance, value: NDArray[np.float64]) -> NDArray[np.float64]:
        more = _more_weight(instance, tile)
        return value * np.exp(-more)[..., None] if value.ndim == 4 else value + more

    return wrong, post


# --- outputs ------------------------------------------------------------------------------------------------------


def _empty(instance: Instance) -> NDArray[np.bool_]:
    """(b, h_q, n_q): queries without a key (and no sink)."""
    b, h, n_q, _ = instance.query.shape
    if instance.sink is not None:
        return np.zeros((b, h, n_q), dtype=bool)
    seen: NDArray[np.bool_] = np.any(instance.visible(), axis=3, keepdims=True)[..., 0]
    return ~seen


def _has_empty(instance: Instance) -> Instance | None:
    return instance if _empty(instance).any() else None


def _empty_mean(instance: Instance) -> Instance | None:
    """Where a query attends to no key, it attends to all of them equally."""
    empty = _empty(instance)
    if not empty.any():
        return None
    full = (*empty.shape, instance.key.shape[2])
    bias = None
    if instance.bias is not None:
        bias = np.where(empty[..., None], 0.0, np.broadcast_to(instance.bias.astype(np.float64), full))
    return instance.replace(
        query=np.where(empty[..., None], instance.query.dtype.type(0), instance.query),
        bias=bias,
        mask=instance.visible() | empty[..., None],
        causal=None,
        window=None,
        key_lengths=None,
    )


def _nan_rows(instance: Instance, value: NDArray[np.float64]) -> NDArray[np.float64]:
    empty = _empty(instance)
    return np.where(empty[..., None] if value.ndim == 4 else empty, np.nan, value)


def _has_lse(instance: Instance) -> Instance | None:
    return instance if instance.return_lse else None


def _base_two(instance: Instance, value: NDArray[np.float64]) -> NDArray[np.float64]:
    return value / math.log(2.0) if value.ndim == 3 else value


def _largest(instance: Instance) -> NDArray[np.float64]:
    """(b, h_q, n_q): the largest score of each row."""
    largest: NDArray[np.float64] = evaluate(instance).score.midpoint.max(axis=3)
    if instance.sink is not None:
        largest = np.maximum(largest, instance.sink.astype(np.float64)[None, :, None])
    return largest


def _without_maximum(instance: Instance, value: NDArray[np.float64]) -> NDArray[np.float64]:
    return value - np.where(np.isneginf(value), 0.0, _largest(instance)) if value.ndim == 3 else value


def _only_maximum(instance: Instance, value: NDArray[np.float64]) -> NDArray[np.float64]:
    return _largest(instance) if value.ndim == 3 else value


def _zero_when_empty(instance: Instance, value: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.isneginf(value), 0.0, value) if value.ndim == 3 else value


def _rows() -> Iterator[Semantics]:
    def row(identifier: str, sentence: str, applies: Any, post: Any = None) -> Semantics:
        return Semantics(identifier, sentence, applies, post)

    yield row(
        "causal-bottom-right",
        "causal mask aligned bottom-right, where top-left was asked for",
        _aligned("bottom-right"),
    )
    yield row("causal-top-left", "causal mask aligned top-left, where bottom-right was asked for", _aligned("top-left"))
    yield row(
        "causal-array-length",
        "bottom-right alignment by the length of the key array instead of the key lengths",
        _aligned_by_arrays,
    )
    yield row("causal-ignored", "causal mask ignored", _causal_ignored)
    yield row(
        "causal-plus-one", "causal mask off by one: each query sees one key too many (j ≤ i + 1)", _causal_moved(1)
    )
    yield row(
        "causal-minus-one",
        "causal mask off by one: one key too few, each query misses its own (j < i)",
        _causal_moved(-1),
    )
    for side, (left, right) in {"left": (1, 0), "right": (0, 1)}.items():
        yield row(f"window-{side}-plus", f"window one key too wide on the {side}", _window_changed(left, right))
        yield row(
            f"window-{side}-minus",
            f"window one key too narrow on the {side} (exclusive bound)",
            _window_changed(-left, -right),
        )
    yield row("window-ignored", "window ignored", _window_ignored)
    yield row("window-exchanged", "window with left and right exchanged", _window_exchanged)
    yield row("window-alignment", "window aligned to the other corner than the positions say", _window_realigned)
    for name, called in (
        ("mask", "mask"),
        ("bias", "bias"),
        ("key_lengths", "key lengths"),
        ("softcap", "softcap"),
        ("sink", "sink"),
    ):
        yield row(f"{name}-ignored", f"{called} ignored", _dropped(name))
    yield row("mask-inverted", "mask inverted: True hides", _mask_inverted)
    yield row("mask-added", "boolean mask added to the scores as 0 and 1", _mask_added)
    yield row("mask-all-added", "every mask, causal and lengths too, added to the scores as 0 and 1", _visible_added)
    yield row("mask-transposed", "mask transposed", _mask_transposed)
    for name in ("mask", "bias"):
        for axis, called in ((-4, "batch"), (-3, "head"), (-2, "query")):
            yield row(
                f"{name}-first-{called}",
                f"{name} of the first {called} used for every {called}",
                _first_along(name, axis),
            )
    yield row(
        "key_lengths-first", "key lengths: the first batch's used for every batch", _first_along("key_lengths", -1)
    )
    yield row("key_lengths-plus", "key lengths off by one: one key too many", _lengths_plus(1))
    yield row("key_lengths-minus", "key lengths off by one: one key too few", _lengths_plus(-1))
    yield row("bias-twice", "bias added twice", _bias_times(lambda instance: 2.0))
    yield row("bias-scaled", "bias multiplied by the scale", _bias_times(_given))
    yield row("alibi-slopes", "ALiBi slopes 2^(−8h/H) for a number H of heads that is no power of two", _plain_slopes)
    yield row("bias-negated", "bias subtracted", _bias_times(lambda instance: -1.0))
    yield row("scale-standard", "scale ignored: 1/√dim used whatever is given", _scaled(_standard))
    yield row("scale-half", "scale ignored: a constant 0.5", _scaled(lambda instance: 0.5))
    yield row("scale-one", "scale ignored: scores are not scaled", _scaled(lambda instance: 1.0))
    yield row("scale-zero", "scale 0 taken for unset: 1/√dim used", _scaled(lambda i: _given(i) or _standard(i)))
    yield row("scale-twice", "scale applied twice", _scaled(lambda i: _given(i) ** 2))
    yield row(
        "scale-root",
        "square root of the scale applied once",
        _scaled(lambda i: math.copysign(math.sqrt(abs(_given(i))), _given(i))),
    )
    yield row("scale-absolute", "sign of the scale dropped", _scaled(lambda i: abs(_given(i))))
    yield row(
        "scale-value-dim",
        "scale of the value dim, 1/√d_v",
        _scaled(lambda i: _standard(i, i.value.shape[3]) if _given(i) == _standard(i) else _given(i)),
    )
    yield row(
        "scale-linear",
        "scale 1/dim instead of 1/√dim",
        _scaled(lambda i: 1.0 / i.query.shape[3] if _given(i) == _standard(i) else _given(i)),
    )
    for to, called in (
        (0, "a power of two"),
        (16, "a multiple of 16"),
        (32, "a multiple of 32"),
        (64, "a multiple of 64"),
    ):
        yield row(
            f"scale-padded-{to}", f"scale of the dim padded to {called}", _scaled(functools.partial(_padded, to=to))
        )
    for name in ("bfloat16", "float16"):
        yield row(f"scale-{name}", f"scale constant rounded to {name}", _scaled(_rounded_scale(name)))
    yield row("softcap-after-bias", "softcap after the bias instead of before it", _cap_after_bias)
    yield row("sink-first", "sink of head 0 used for every head", _first_along("sink", -1))
    yield row("sink-with-value", "sink counted as a key with the value of the first key", _sink_with_value)
    for value in (-100.0, -1e4, -1e9):
        yield row(
            f"mask-value{value:g}",
            f"hidden keys of mask, lengths or causality leak: score {value:g}, not −∞",
            _finite_mask(value),
        )
    yield row("softcap-raw", "softcap before the scale instead of after it", _cap_of_raw)
    yield row(
        "heads-modulo",
        "grouped heads: query head h reads key head h mod h_k instead of h // (h_q / h_k)",
        _keys_of(lambda h, h_q, h_k: h % h_k),
    )
    yield row(
        "heads-modulo-values",
        "grouped heads: keys of the right head, values of head h mod h_k",
        _keys_of(lambda h, h_q, h_k: h % h_k, values_only=True),
    )
    yield row("heads-first", "every query head reads key head 0", _keys_of(lambda h, h_q, h_k: 0))
    yield row(
        "heads-raw",
        "query head number used as key head number, cut at the last",
        _keys_of(lambda h, h_q, h_k: min(h, h_k - 1)),
    )
    yield row("batch-first", "every batch reads the keys and values of batch 0", _first_batch)
    yield row("exchanged", "query and key exchanged: softmax over the wrong axis of a transposed product", _exchanged)
    yield row("tail-last", "tail of the keys dropped: the last one", _tail_dropped(0))
    for tile in (2, 4, 8, 16, 32, 64, 128):
        yield row(f"tail-{tile}", f"tail of the keys dropped: only whole tiles of {tile} are read", _tail_dropped(tile))
    for tile in (2, 4, 8, 16, 32, 64, 128):
        yield row(
            f"tail-zero-{tile}",
            f"tail of the keys filled with zeros up to a multiple of {tile}, and counted in the softmax",
            _tail_zero(tile),
        )
    yield row(
        "tail-twice", "tail of the keys counted twice: the last one", _keys_again(lambda n_k: np.array([n_k - 1]))
    )
    for tile in (2, 4, 8, 16, 32, 64):
        yield row(
            f"tail-clamped-{tile}",
            f"tail of the keys counted twice: the last one fills a tile of {tile}",
            _keys_again(_clamped(tile)),
        )
    for tile in (16, 64):
        yield row(
            f"tail-overlap-{tile}",
            f"tail of the keys counted twice: the last tile of {tile} overlaps the one before",
            _keys_again(_overlapping(tile)),
        )
    for most in (128, 512):
        yield row(f"keys-{most}", f"only the first {most} keys are read", _first_keys(most))
    yield row("key-not-transposed", "key not transposed where it is square", _key_not_transposed)
    for tile in (16, 64):
        yield row(
            f"nothing-rescaled-{tile}",
            f"stale maximum: numerator and denominator not rescaled between tiles of {tile}",
            functools.partial(_unscaled, tile=tile),
        )
        yield row(
            f"numerator-not-rescaled-{tile}",
            f"stale maximum: numerator not rescaled between tiles of {tile}",
            *_numerator_unscaled(tile),
        )
        yield row(
            f"denominator-not-rescaled-{tile}",
            f"stale maximum: denominator not rescaled between tiles of {tile}",
            *_denominator_unscaled(tile),
        )
    yield row("dim-last", "last column of dim dropped", _columns("query", lambda d: d - 1))
    for name, called in (("query", "dim"), ("value", "value dim")):
        yield row(f"{called}-64", f"only the first 64 columns of {called} used", _columns(name, lambda d: 64))
        for tile in (4, 8, 16, 32):
            yield row(
                f"{called}-tail-{tile}",
                f"tail of {called} dropped: only whole multiples of {tile}",
                _columns(name, functools.partial(_whole, tile=tile)),
            )
    yield row("value-dim-is-dim", "value dim taken for dim: columns beyond it are left out", _value_dim_is_dim)
    yield row("empty-mean", "an empty row gives the mean of the values instead of 0", _empty_mean)
    yield row("empty-nan", "an empty row gives NaN instead of 0", _has_empty, _nan_rows)
    yield row("lse-base-two", "log-sum-exp in base 2", _has_lse, _base_two)
    yield row(
        "lse-without-maximum", "log-sum-exp without the maximum: ln Σ e^(s − m) alone", _has_lse, _without_maximum
    )
    yield row("lse-only-maximum", "log-sum-exp is the maximum alone", _has_lse, _only_maximum)
    yield row("lse-empty-zero", "log-sum-exp of an empty row is 0 instead of −∞", _has_lse, _zero_when_empty)


def _value_dim_is_dim(instance: Instance) -> Instance | None:
    return _columns("value", lambda d_v: min(d_v, instance.query.shape[3]))(instance)


#: The known wrong meanings of attention.
SEMANTICS: tuple[Semantics, ...] = tuple(_rows())
