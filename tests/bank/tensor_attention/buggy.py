"""Wrong kernels: each re-creates the behaviour of a defect that shipped (the source names the issue) or a planted one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

from bank.entry import Entry
from bank.tensor_attention.engine import (
    Array,
    Steps,
    Task,
    attended,
    blocks,
    changed,
    combined,
    kernel,
    online,
    passed,
    places,
    seen_by,
    within,
)

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BUGGY"]

LOG2E = 1.4426950408889634


# --- modes ------------------------------------------------------------------------------------------------------------


def _first_for_all(name: str) -> Steps:
    def task(t: Task) -> Task:
        first = getattr(t, name)[0]
        same = all(x.shape == first.shape for x in getattr(t, name))
        return replace(t, **{name: (first,) * t.modes}) if same else t

    return Steps(task=task)


def _reversed_where_alike(*names: str) -> Steps:
    """The modes are exchanged in some of what belongs to them; where lengths differ the kernel is right."""

    def task(t: Task) -> Task:
        alike = len(set(t.lengths)) == 1
        return replace(t, **{name: getattr(t, name)[::-1] for name in names}) if alike else t

    return Steps(task=task)


def _ones(name: str, mode: int) -> Steps:
    def task(t: Task) -> Task:
        arrays = list(getattr(t, name))
        arrays[mode] = np.ones_like(arrays[mode])
        return replace(t, **{name: tuple(arrays)})

    return Steps(task=task)


def _other_order(t: Task, values: list[Array], s: Steps) -> Array:
    return combined(values[::-1])


def _products_of_scores(t: Task, q: Array, keys: list[Array], s: Steps) -> Array:
    first, second = (q @ np.swapaxes(key, 2, 3) for key in keys)
    return (first[..., :, None] * second[..., None, :]).reshape(*q.shape[:3], -1) * t.work(t.scale)


def _sums_of_scores(t: Task, q: Array, keys: list[Array], s: Steps) -> Array:
    first, second = (q @ np.swapaxes(key, 2, 3) for key in keys)
    both = keys[0] @ np.swapaxes(keys[1], 2, 3)
    made = first[..., :, None] + second[..., None, :] + both[:, :, None]
    return made.reshape(*q.shape[:3], -1) * t.work(t.scale)


def _last_mode_alone(t: Task, score: Array, seen: Array, value: Array) -> tuple[Array, Array]:
    """A softmax over the keys of the last mode for each of the first, added up."""
    right = attended(t, score, seen, value)
    hidden = np.where(seen, score, -np.inf).reshape(*score.shape[:3], -1, t.lengths[-1])
    top = hidden.max(axis=4, keepdims=True)
    weight = np.exp(hidden - np.where(np.isfinite(top), top, 0))
    total = weight.sum(axis=4, keepdims=True)
    share = (weight / np.where(total > 0, total, 1)).reshape(score.shape)
    return share.astype(t.work) @ value, right[1]


def _no_sigmoid(t: Task, score: Array, seen: Array, value: Array) -> tuple[Array, Array]:
    """Scores are the weights, as of a gate without its sigmoid."""
    return np.where(seen, score, 0).astype(t.work) @ value, attended(t, score, seen, value)[1]


def _undivided(t: Task, score: Array, seen: Array, value: Array) -> tuple[Array, Array]:
    hidden = np.where(seen, score, -np.inf)
    top = hidden.max(axis=3, keepdims=True)
    top = np.where(np.isfinite(top), top, 0).astype(t.work)
    return np.exp(hidden - top) @ value, attended(t, score, seen, value)[1]


def _third_is_second(t: Task) -> Task:
    alike = t.keys[1].shape == t.keys[2].shape
    return replace(t, keys=(*t.keys[:2], t.keys[1])) if alike else t


def _marginals(t: Task, s: Steps) -> tuple[Array, Array]:
    """The weights are summed over the other mode first, and the sums of the values of both modes multiplied."""
    firsts, lasts = (
        passed(replace(t, values=(*(np.ones_like(v) if m != mode else v for m, v in enumerate(t.values)),)), s)
        for mode in range(2)
    )
    return firsts[0] * lasts[0], firsts[1]


# --- masks ------------------------------------------------------------------------------------------------------------


def _window(width: int | None, i: Array, j: Array) -> Array:
    if width is None:
        return np.ones(np.broadcast_shapes(i.shape, j.shape), bool)
    return np.asarray((i - width < j) & (j < i + width))


def _sees(of: Callable[[Task, int, Array, Array], Array]) -> Steps:
    return Steps(within=of)


def _causal(by: int, *modes: int) -> Steps:
    def of(t: Task, mode: int, i: Array, j: Array) -> Array:
        if not t.is_causal or (modes and mode not in modes):
            return within(t, mode, i, j)
        return (j <= i + by) & _window(t.window[mode], i, j)

    return _sees(of)


def _no_causal(*modes: int) -> Steps:
    return _sees(lambda t, m, i, j: within(t, m, i, j) if modes and m not in modes else _window(t.window[m], i, j))


def _bottom_right(t: Task, mode: int, i: Array, j: Array) -> Array:
    at = i + t.lengths[mode] - t.query.shape[2]
    return (j <= at) & _window(t.window[mode], at, j) if t.is_causal else within(t, mode, i, j)


def _wider(by: int, *modes: int) -> Steps:
    def task(t: Task) -> Task:
        window = tuple(
            None if w is None else w + (by if not modes or m in modes else 0) for m, w in enumerate(t.window)
        )
        return replace(t, window=window)

    return Steps(task=task)


def _backward(t: Task, mode: int, i: Array, j: Array) -> Array:
    return within(t, mode, i, j) & ((j <= i) if t.window[mode] is not None else True)


def _of_tile(tile: int) -> Steps:
    def of(t: Task, mode: int, i: Array, j: Array) -> Array:
        width = t.window[mode]
        causal = (j <= i) if t.is_causal else True
        return (i // tile * tile - width < j) & (j < i + width) & causal if width is not None else within(t, mode, i, j)

    return _sees(of)


def _pairs_where(compare: Callable[[Array, Array], Array], *, causal: bool) -> Steps:
    def seen(t: Task, kept: Array) -> Array:
        return kept & compare(places(t, 0), places(t, 1)) if t.is_causal or not causal else kept

    return Steps(seen=seen)


def _any_mode(t: Task, kept: Array) -> Array:
    """A pair is hidden only where both keys lie behind the query."""
    if not t.is_causal or any(w is not None for w in t.window):
        return kept
    i = np.arange(t.query.shape[2])[:, None]
    return np.asarray((places(t, 0) <= i) | (places(t, 1) <= i))


def _first_is_right(of: Callable[[Task, int, Array, Array], Array]) -> Steps:
    """Another mask of every mode but the first."""
    return _sees(lambda t, mode, i, j: of(t, mode, i, j) if mode else within(t, mode, i, j))


def _longest_window(t: Task) -> Task:
    return t if None in t.window else replace(t, window=(max(w for w in t.window if w),) * t.modes)


def _flat_causal(t: Task, kept: Array) -> Array:
    """The causal mask compares the number of a pair with that of (i, i)."""
    if not t.is_causal or any(w is not None for w in t.window):
        return kept
    i, n = np.arange(t.query.shape[2])[:, None], t.lengths[1]
    return np.asarray(places(t, 0) * n + places(t, 1) <= i * n + i)


def _relative_window(t: Task, kept: Array) -> Array:
    """The second window lies around the key of mode 1."""
    if t.window[1] is None:
        return kept
    other = replace(t, window=(t.window[0], None))
    return seen_by(other, within) & _window(t.window[1], places(t, 0), places(t, 1))


# --- heads and tails --------------------------------------------------------------------------------------------------


def _heads(chosen: Callable[[Task, int], int], *modes: int) -> Steps:
    def heads(t: Task, mode: int) -> list[int]:
        return [chosen(t, h) for h in range(t.query.shape[1])] if not modes or mode in modes else t.own()

    return Steps(heads=heads)


def _modulo(t: Task, h: int) -> int:
    return int(h % t.keys[0].shape[1])


def _keys_tiled(t: Task) -> Task:
    """key2 repeated head by head where the other arrays repeat every head."""
    keys, values = ([np.repeat(x, t.group, axis=1) for x in arrays] for arrays in (t.keys, t.values))
    keys[1] = np.tile(t.keys[1], (1, t.group, 1, 1))
    return replace(t, keys=tuple(keys), values=tuple(values))


def _first_batch(*modes: int) -> Steps:
    def task(t: Task) -> Task:
        def chosen(arrays: tuple[Array, ...]) -> tuple[Array, ...]:
            zero = np.zeros(t.query.shape[0], int)
            return tuple(x[zero] if not modes or m in modes else x for m, x in enumerate(arrays))

        return replace(t, keys=chosen(t.keys), values=chosen(t.values))

    return Steps(task=task)


def _keys(mode: int, which: Callable[[int], Any]) -> Steps:
    """Other keys of a mode than those that are there: which(n) are their numbers."""

    def task(t: Task) -> Task:
        made = {}
        for name in ("keys", "values"):
            arrays = list(getattr(t, name))
            arrays[mode] = arrays[mode][:, :, which(arrays[mode].shape[2])]
            made[name] = tuple(arrays)
        return replace(t, **made)

    return Steps(task=task)


def _whole(tile: int) -> Callable[[int], Any]:
    return lambda n: np.arange(n // tile * tile if n > tile else n)


def _filled(mode: int, tile: int) -> Steps:
    """Zeros up to the next tile of a mode, which count."""

    def task(t: Task) -> Task:
        made = {}
        for name in ("keys", "values"):
            arrays = list(getattr(t, name))
            arrays[mode] = np.pad(arrays[mode], ((0, 0), (0, 0), (0, -arrays[mode].shape[2] % tile), (0, 0)))
            made[name] = tuple(arrays)
        return replace(t, **made)

    return Steps(task=task)


def _blank_rows(t: Task, output: Array, lse: Array) -> tuple[Array, Array]:
    n = output.shape[2]
    return np.where(np.arange(n)[:, None] >= max(n // 16 * 16, n if n < 16 else 0), 0, output), lse


_STALE: list[Array] = []


def _unwritten(t: Task, s: Steps) -> tuple[Array, Array]:
    """Rows beyond whole tiles of 4 keep what an earlier call left in the same memory."""
    output, lse = passed(t, s)
    n = output.shape[2] // 4 * 4
    if _STALE and _STALE[0].shape[3] == output.shape[3]:
        rest = output[:, :, n:]
        output[:, :, n:] = np.resize(_STALE[0], rest.shape)
    _STALE[:] = [output[:1, :1].copy() + 1]
    return output, lse


# --- sums -------------------------------------------------------------------------------------------------------------


def _stale(mode: int, tile: int, **kept: bool) -> Steps:
    return Steps(attend=online(lambda t: blocks(t, min(mode, t.modes - 1), tile), **kept))


def _finite_maximum(t: Task, score: Array, seen: Array, value: Array) -> tuple[Array, Array]:
    """The maximum starts at −100."""
    return online(lambda t: blocks(t, 0, 1), first=-100.0)(t, score, seen, value)


def _finite_mask(t: Task, score: Array, seen: Array, value: Array) -> tuple[Array, Array]:
    """What is hidden has the score −1000: it leaks where everything that is seen lies lower."""
    return attended(t, np.where(seen, score, t.work(-1000)), np.ones_like(seen), value)


def _no_maximum(t: Task, score: Array, seen: Array, value: Array) -> tuple[Array, Array]:
    weight = np.where(seen, np.exp(score), 0)
    total = weight.sum(axis=3, keepdims=True)
    return weight @ value / total, np.log(total)[..., 0]


def _shared_maximum(t: Task, score: Array, seen: Array, value: Array) -> tuple[Array, Array]:
    """One maximum for all heads and rows."""
    right = attended(t, score, seen, value)
    weight = np.exp(np.where(seen, score, -np.inf) - score.max())
    total = weight.sum(axis=3, keepdims=True)
    return weight @ value / np.where(total > 0, total, 1), right[1]


def _short_sum(kind: Any) -> Steps:
    """The sum of the weights is kept in a short type."""

    def attend(t: Task, score: Array, seen: Array, value: Array) -> tuple[Array, Array]:
        hidden = np.where(seen, score, -np.inf)
        top = hidden.max(axis=3, keepdims=True)
        top = np.where(np.isfinite(top), top, 0).astype(t.work)
        weight = np.exp(hidden - top)
        total = np.zeros(top.shape, kind)
        for place in range(weight.shape[3]):
            total = (total.astype(t.work) + weight[..., place : place + 1]).astype(kind)
        total = total.astype(t.work)
        return weight @ value / np.where(total > 0, total, 1), attended(t, score, seen, value)[1]

    return Steps(attend=attend)


def _short_products(kind: Any) -> Steps:
    """Products of keys, or of values, in a shorter type than that of the inputs."""
    return Steps(join=lambda a, b: (a * b).astype(kind).astype(a.dtype))


def _short_scores(kind: Any) -> Steps:
    return Steps(score=lambda t, score: score.astype(kind).astype(t.work))


def _crude_exponential(t: Task, score: Array, seen: Array, value: Array) -> tuple[Array, Array]:
    hidden = np.where(seen, score, -np.inf)
    top = hidden.max(axis=3, keepdims=True)
    top = np.where(np.isfinite(top), top, 0)
    x = np.maximum((hidden - top) * LOG2E, -200)
    whole = np.floor(x)
    r = (x - whole) * 0.6931471805599453
    weight = np.where(seen, np.exp2(whole) * (1 + r * (1 + r * (0.5 + r / 6))), 0)
    return weight @ value / np.maximum(weight.sum(axis=3, keepdims=True), 1e-300), attended(t, score, seen, value)[1]


# --- empty rows, log-sum-exp ------------------------------------------------------------------------------------------


def _when_empty(change: Callable[[Array], Array | float]) -> Steps:
    def attend(t: Task, score: Array, seen: Array, value: Array) -> tuple[Array, Array]:
        output, lse = attended(t, score, seen, value)
        empty = ~seen.any(axis=1)[:, None]
        return np.where(empty, change(value), output).astype(t.work), lse

    return Steps(attend=attend)


def _mean(value: Array) -> Array:
    return np.asarray(value.mean(axis=2, keepdims=True))


def _lse(change: Callable[[Task, Array], Array]) -> Steps:
    return Steps(after=lambda t, output, lse: (output, change(t, lse).astype(t.work)))


# --- state and numbers ------------------------------------------------------------------------------------------------


def _cached(key: Callable[[Task], Any], run: Callable[..., Any] = passed) -> Callable[[Task, Steps], Any]:
    """The answer to an earlier call comes again where the key is that of this one."""
    kept: dict[Any, Any] = {}

    def made(t: Task, s: Steps) -> Any:
        name = key(t)
        if name not in kept:
            kept[name] = run(t, s)
        return kept[name]

    return made


def _scale(scale: Callable[[Task], float]) -> Steps:
    return changed(scale=scale)


def _usual(t: Task) -> float:
    return float(1 / np.sqrt(t.query.shape[3]))


def _columns(count: Callable[[int], int]) -> Steps:
    return changed(
        query=lambda t: np.where(np.arange(t.query.shape[3]) < count(t.query.shape[3]), t.query, 0 * t.query)
    )


def _contiguous(t: Task) -> Task:
    """The first key array is read as if it were contiguous."""
    key = t.keys[0]
    if key.flags.c_contiguous or key.base is None:
        return t
    flat = np.lib.stride_tricks.as_strided(key, (key.size,), (key.itemsize,)) if min(key.strides) > 0 else key.ravel()
    return replace(t, keys=(flat[: key.size].reshape(key.shape), *t.keys[1:]))


def _keys_for_values(t: Task) -> Task:
    alike = t.keys[0].shape == t.values[0].shape
    return replace(t, keys=t.values, values=t.keys) if alike else t


def _query_for_key(t: Task) -> Task:
    alike = t.keys[0].shape == t.query.shape
    return replace(t, query=t.keys[0], keys=(t.query, *t.keys[1:])) if alike else t


def _wrong(
    name: str,
    steps: Steps,
    why: str,
    diagnosis: str | None,
    source: str = "",
    precision: str = "float32",
    order: int = 3,
    run: Any = passed,
) -> Entry:
    return Entry(name, kernel(steps, run, order), (precision,), why, source, diagnosis=diagnosis)


_FBGEMM = "pytorch/FBGEMM#4930"

#: Every wrong kernel.
BUGGY: tuple[Entry, ...] = (
    # modes
    _wrong("modes-exchanged-keys", _reversed_where_alike("keys"), "the operands of a call in another order: keys exchanged", "modes exchanged", _FBGEMM),
    _wrong("modes-exchanged-values", _reversed_where_alike("values"), "values of the modes exchanged, and not their keys", "modes exchanged", _FBGEMM),
    _wrong("windows-exchanged", changed(window=lambda t: t.window[::-1]), "w1 and w2 exchanged", "windows of the modes in the reverse order", _FBGEMM),
    _wrong("window-first", changed(window=lambda t: (t.window[0],) * t.modes), "the first window for both modes", "window of mode 1 used for every mode"),
    _wrong("keys-for-values", Steps(task=_keys_for_values), "keys and values in each other's place", "keys and values exchanged", _FBGEMM),
    _wrong("key1-twice", _first_for_all("keys"), "key1 is read for key2", "keys of mode 1 used for every mode"),
    _wrong("value1-twice", _first_for_all("values"), "value1 is read for value2", "values of mode 1 used for every mode"),
    _wrong("key2-ignored", _ones("keys", 1), "scores are those of attention to key1", "keys of mode 2 left out"),
    _wrong("value2-ignored", _ones("values", 1), "value2 is not multiplied in", "values of mode 2 left out"),
    _wrong("value1-ignored", _ones("values", 0), "value1 is not multiplied in", "values of mode 1 left out"),
    _wrong("flattened", Steps(values=_other_order), "repeat where tile is meant: values of pairs in the other order", "repeat against tile", "aqlaboratory/openfold-3#312"),
    _wrong("khatri-rao", Steps(values=_other_order), "a textbook's Khatri–Rao product with a row-ordered unfolding", "repeat against tile", "tensorly/tensorly#210, #163, #56, #298; mnick/scikit-tensor#17", order=4),
    _wrong("outer-sum-keys", Steps(join=np.add), "an outer sum of the keys for an outer product", "keys added where they are multiplied", "lucidrains/alphafold2#84"),
    _wrong("outer-sum-values", Steps(mix=np.add), "an outer sum of the values for an outer product", "values added where they are multiplied", "lucidrains/alphafold2#84"),
    _wrong("outer-mean-values", Steps(mix=lambda a, b: (a + b) / 2), "the mean of the values", "mean of the values in the place of their product", "lucidrains/alphafold2#84"),
    _wrong("gate-without-sigmoid", Steps(attend=_no_sigmoid), "scores are the weights", "scores are the weights", "lucidrains/alphafold2#86"),
    _wrong("operands-exchanged", Steps(task=_query_for_key), "query and key1 exchanged in the formula", "queries and keys of mode 1 exchanged", "wl-zhao/DIML#6"),
    _wrong("pair-transposed", Steps(seen=lambda t, kept: kept, scores=lambda t, q, keys, s: Steps.scores(t, q, keys, s).reshape(*q.shape[:3], *t.lengths).swapaxes(3, 4).reshape(*q.shape[:3], -1)), "the scores of a pair transposed in (j, k)", None, "google-deepmind/alphafold#77"),
    _wrong("product-of-scores", Steps(scores=_products_of_scores), "⟨q, k¹⟩⟨q, k²⟩ for Σ q k¹ k²", "the product of the scores"),
    _wrong("sum-of-scores", Steps(scores=_sums_of_scores), "sums of pairwise products", "the sum of the products of every two"),
    _wrong("key3-is-key2", Steps(task=_third_is_second), "key2 is read for key3", "keys of mode 2 read in the place of those of mode 3", order=4),
    _wrong("marginals", Steps(), "a sum for each mode, multiplied", "the product of one sum a mode", run=_marginals),
    _wrong("softmax-last-mode", Steps(attend=_last_mode_alone), "the softmax runs over key2 alone", "softmax over the keys of the last mode alone"),
    _wrong("undivided", Steps(attend=_undivided), "the sum of the weights is not divided out", "not divided by the sum"),
    # masks
    _wrong("causal-ignored", _no_causal(), "no causal mask", "causal mask ignored"),
    _wrong("causal-mode-1-alone", _no_causal(1), "no causal mask for key2", "causal mask left out for the keys of mode 2"),
    _wrong("causal-mode-2-alone", _no_causal(0), "no causal mask for key1", "causal mask left out for the keys of mode 1"),
    _wrong("causal-plus", _causal(1), "j ≤ i + 1", "one key too many in every mode"),
    _wrong("causal-minus-2", _causal(-1, 1), "j₂ < i", "off by one in mode 2: one key too few"),
    _wrong("causal-bottom-right", _sees(_bottom_right), "the corner of decoding", "aligned bottom-right"),
    _wrong("causal-any", Steps(seen=_any_mode), "or where and is meant", "only where all of its keys lie behind"),
    _wrong("causal-ordered", _pairs_where(lambda a, b: b <= a, causal=True), "the causal mask between the keys too", "must not lie behind that of the mode before"),
    _wrong("pairs-once", _pairs_where(lambda a, b: a <= b, causal=False), "a pair and its transpose count once", "every pair of keys counts once"),
    _wrong("pairs-distinct", _pairs_where(lambda a, b: a != b, causal=False), "the diagonal left out", "combinations of one key with itself"),
    _wrong("window-inclusive", _wider(1), "i − w ≤ j", "windows one key too wide"),
    _wrong("window-short-2", _wider(-1, 1), "the second window one key too short", "window of mode 2 one key too narrow"),
    _wrong("window-ignored-2", changed(window=lambda t: (t.window[0], None)), "w2 ignored", "window of mode 2 ignored"),
    _wrong("window-backward", _sees(_backward), "windows look back alone", "windows to the left alone"),
    _wrong("window-of-tile", _of_tile(16), "the loop begins at q_start − w, and no mask cuts it", "first row of its tile of 16"),
    _wrong("causal-bottom-right-2", _first_is_right(_bottom_right), "the corner of decoding for key2 alone", "mode 2 alone aligned bottom-right"),
    _wrong("causal-flat", Steps(seen=_flat_causal), "the causal mask compares flat numbers of pairs", "compares numbers of combinations"),
    _wrong("window-longest", Steps(task=_longest_window), "the longer window for both modes", "the longest of the windows used for every mode"),
    _wrong("window-relative", Steps(seen=_relative_window), "w2 counts from the key of mode 1", "around the key of the mode before it"),
    # heads and tails
    _wrong("heads-modulo-key-2", Steps(task=_keys_tiled), "key2 is tiled where key1 is repeated", "for the keys of mode 2 alone, query head h reads key head h mod h_k"),
    _wrong("heads-modulo", _heads(_modulo), "grouped heads by the remainder", "reads key head h mod h_k"),
    _wrong("heads-modulo-2", _heads(_modulo, 1), "the same, for key2 and value2 alone", "in mode 2, query head h reads key head h mod h_k"),
    _wrong("heads-first", _heads(lambda t, h: 0), "head 0 for all", "every query head reads key head 0"),
    _wrong("batch-first-2", _first_batch(1), "key2 and value2 of batch 0", "mode 2 of batch 0"),
    _wrong("tail-16-of-1", _keys(0, _whole(16)), "the tail of key1 beyond whole tiles left out", "mode 1 dropped: only whole tiles of 16"),
    _wrong("tail-last-of-2", _keys(1, lambda n: np.arange(max(1, n - 1))), "the last of key2 left out", "mode 2 dropped: the last one"),
    _wrong("tail-zero-2", _filled(1, 4), "zeros fill the last tile of key2, and count", "filled with zeros up to a multiple of 4"),
    _wrong("rows-blank", Steps(after=_blank_rows), "query rows beyond whole tiles are left at 0", "rows beyond the last whole tile of 16"),
    _wrong("unwritten", Steps(), "rows beyond a tile keep what was in memory", None, "aqlaboratory/openfold#468; deepspeedai/DeepSpeed#5052", run=_unwritten),
    # scales, sums
    _wrong("scale-ignored", _scale(_usual), "1/√dim whatever is given", "1/√dim used whatever is given"),
    _wrong("scale-each-key", _scale(lambda t: t.scale**2), "the scale on key1 and on key2", "scale applied"),
    _wrong("scale-third-root", _scale(lambda t: t.query.shape[3] ** (-1 / 3) if t.scale == _usual(t) else t.scale), "dim^(−1/3)", "scale dim^(−1/k)"),
    _wrong("scale-sign", _scale(lambda t: abs(t.scale)), "the sign dropped", "sign of the scale dropped"),
    _wrong("scale-bfloat16", _scale(lambda t: float(ml_dtypes.bfloat16(t.scale))), "the scale constant in bfloat16, in a class that has it in float32", "rounded to bfloat16"),
    _wrong("log2e-missing", _scale(lambda t: t.scale / LOG2E), "powers of 2 of natural scores", "multiplied by ln 2"),
    _wrong("numerator-stale", _stale(0, 1, numerator=False), "the accumulator not rescaled between keys of mode 1", "numerator not rescaled"),
    _wrong("denominator-stale", _stale(1, 8, denominator=False), "the sum not rescaled between tiles of key2", "denominator not rescaled"),
    _wrong("nothing-rescaled", _stale(0, 1, numerator=False, denominator=False), "neither is", "numerator and denominator not rescaled"),
    _wrong("maximum-finite", Steps(attend=_finite_maximum), "a maximum that starts at −100", None),
    _wrong("mask-finite", Steps(attend=_finite_mask), "hidden scores are −1000", None),
    _wrong("no-maximum", Steps(attend=_no_maximum), "exp of large scores overflows", None),
    _wrong("maximum-shared", Steps(attend=_shared_maximum), "one maximum for all rows", None),
    _wrong("sum-bfloat16", _short_sum(ml_dtypes.bfloat16), "the sum of the weights in bfloat16", None),
    _wrong("sum-bfloat16-half", _short_sum(ml_dtypes.bfloat16), "the same, in the class bfloat16", None, precision="bfloat16"),
    _wrong("products-bfloat16", _short_products(ml_dtypes.bfloat16), "k¹∘k² in bfloat16 for float32 inputs", None),
    _wrong("products-float16", _short_products(np.float16), "k¹∘k² in float16 for float32 inputs", None),
    _wrong("scores-bfloat16", _short_scores(ml_dtypes.bfloat16), "scores stored in bfloat16, in a class that does not", None, precision="bfloat16", order=2),
    _wrong("exponential-cubic", Steps(attend=_crude_exponential), "an exponential of degree 3", None),
    _wrong("dim-last", _columns(lambda d: max(1, d - 1)), "the last column of dim left out", "last column of dim dropped"),
    # empty rows, log-sum-exp
    _wrong("empty-doubled", _when_empty(lambda v: 2 * _mean(v)), "all keys hidden: the output doubled", "twice the mean", "NVIDIA/cuEquivariance#204"),
    _wrong("empty-mean", _when_empty(_mean), "all keys hidden: the mean of the values", "the mean of the products of values", "aqlaboratory/openfold-3#271"),
    _wrong("empty-nan", _when_empty(lambda v: np.nan), "all keys hidden: NaN, and nothing declared", "nan instead of 0", "NVIDIA/cuEquivariance#204"),
    _wrong("lse-base-two", _lse(lambda t, lse: lse * LOG2E), "the log-sum-exp in base 2", "log-sum-exp in base 2", "sgl-project/sglang#35045"),
    _wrong("lse-of-mean", _lse(lambda t, lse: lse - np.log(np.prod(t.lengths))), "the logarithm of the mean", "log-sum-exp of the mean"),
    _wrong("lse-of-mean-2", _lse(lambda t, lse: lse - np.log(t.lengths[1])), "the mean over mode 2 and the sum over mode 1", "logarithm of the length of mode 2"),
    # calls and memory
    _wrong("cached-by-shape", Steps(), "an answer kept by shapes", None, run=_cached(lambda t: (t.query.shape, t.lengths, t.values[0].shape, t.is_causal, t.window, t.scale, t.kind))),
    _wrong("cached-by-first-mode", Steps(), "an answer kept by all but the last keys", None, run=_cached(lambda t: (t.query.tobytes(), t.keys[0].tobytes(), t.values[0].tobytes(), t.lengths, t.is_causal, t.window, t.scale))),
    _wrong("contiguous", Steps(task=_contiguous), "key1 read as if it were contiguous", None),
    # other orders
    _wrong("order-4-key3", _ones("keys", 2), "key3 left out of the scores", "keys of mode 3 left out", order=4),
    _wrong("order-4-causal", _no_causal(2), "no causal mask for key3", "causal mask left out for the keys of mode 3", order=4),
    _wrong("order-2-scale", _scale(_usual), "1/√dim whatever is given", "1/√dim used whatever is given", order=2),
    _wrong("order-5-key4", _ones("keys", 3), "key4 left out of the scores", "keys of mode 4 left out", order=5),
    _wrong("order-5-window", _wider(1), "i − w ≤ j", None, order=5),
)  # fmt: skip
