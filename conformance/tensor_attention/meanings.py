"""What wrong kernels of attention of order k mean instead: modes, masks, windows, heads, tails, scales, sums.

Where each was seen is told by the families that hunt it.
"""

from __future__ import annotations

import functools
import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.diagnosis.meanings import Meaning, solves
from assay.conformance.softmax.formulas import formula
from assay.conformance.tensor_attention.wrong import Parts, combined, every, widths
from assay.spec.floats import dtype_named

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from assay.spec.tensor_attention import HigherOrder

    Array = NDArray[np.float64]
    Change = Callable[[HigherOrder], HigherOrder | None]
    SeenOf = Callable[[HigherOrder, int, Array, Array], Any]
    Made = Mapping[str, Array] | None

__all__ = ["CHANGES_OF_SEEN", "HEADS", "MEANINGS", "SCALES", "of_seen"]

_MODES = (1, 2, 3, 4)
_TILES = (2, 4, 8, 16, 32, 64)
_MOST_SCORES = 1 << 18  # of an instance whose modes a wrong version makes longer


# --- what is seen -----------------------------------------------------------------------------------------------------


def _within(instance: HigherOrder, mode: int, i: Any, j: Any) -> Any:
    """What the problem says of a mode: causal and window."""
    return _causal(instance, i, j) & _window(widths(instance)[mode - 1], i, j)


def _causal(instance: HigherOrder, i: Any, j: Any) -> Any:
    return (j <= i) if instance.is_causal else np.ones(np.broadcast_shapes(i.shape, j.shape), bool)


def _window(width: int | None, i: Any, j: Any) -> Any:
    return np.ones(np.broadcast_shapes(i.shape, j.shape), bool) if width is None else (i - width < j) & (j < i + width)


def _if_causal(seen_of: SeenOf) -> SeenOf:
    return lambda instance, mode, i, j: (
        seen_of(instance, mode, i, j) if instance.is_causal else _within(instance, mode, i, j)
    )


def _moved_causal(by: int, only: int = 0) -> SeenOf:
    """The causal mask sees ``by`` keys more, in every mode or in one."""

    def seen(instance: HigherOrder, mode: int, i: Any, j: Any) -> Any:
        causal = j <= i + (by if only in (0, mode) else 0)
        return causal & _window(widths(instance)[mode - 1], i, j)

    return _if_causal(seen)


def _causal_but(only: int) -> SeenOf:
    """No causal mask in one mode (0: in any), whose window reaches no key behind the query."""

    def seen(instance: HigherOrder, mode: int, i: Any, j: Any) -> Any:
        width = widths(instance)[mode - 1]
        return _window(width, i, j) if only in (0, mode) else _within(instance, mode, i, j)

    return _if_causal(seen)


def _bottom_right(only: int = 0) -> SeenOf:
    """The last query stands beside the last key, in every mode or in one."""

    def seen(instance: HigherOrder, mode: int, i: Any, j: Any) -> Any:
        at = i + (instance.mode_lengths[mode - 1] - instance.query.shape[2] if only in (0, mode) else 0)
        return (j <= at) & _window(widths(instance)[mode - 1], at, j)

    return _if_causal(seen)


def _widened(by: int, only: int = 0) -> SeenOf:
    """Windows that are ``by`` keys longer, in every mode or in one."""

    def seen(instance: HigherOrder, mode: int, i: Any, j: Any) -> Any:
        width = widths(instance)[mode - 1]
        wide = width if width is None or only not in (0, mode) else max(0, width + by)
        return _causal(instance, i, j) & _window(wide, i, j)

    return seen


def _without_window(only: int = 0) -> SeenOf:
    def seen(instance: HigherOrder, mode: int, i: Any, j: Any) -> Any:
        width = None if only in (0, mode) else widths(instance)[mode - 1]
        return _causal(instance, i, j) & _window(width, i, j)

    return seen


def _window_of(other: Callable[[HigherOrder, int], int]) -> SeenOf:
    """The window of another mode."""

    def seen(instance: HigherOrder, mode: int, i: Any, j: Any) -> Any:
        return _causal(instance, i, j) & _window(widths(instance)[other(instance, mode) - 1], i, j)

    return seen


def _window_by(chosen: Callable[[list[int]], int]) -> SeenOf:
    """One window for every mode, chosen among those of all; a mode without a window counts as one with the longest."""

    def seen(instance: HigherOrder, mode: int, i: Any, j: Any) -> Any:
        widest = [n + instance.query.shape[2] for n in instance.mode_lengths]
        all_of = [w if w is not None else n for w, n in zip(widths(instance), widest, strict=True)]
        return _causal(instance, i, j) & _window(chosen(all_of), i, j)

    return seen


def _backward_window(instance: HigherOrder, mode: int, i: Any, j: Any) -> Any:
    width = widths(instance)[mode - 1]
    return _within(instance, mode, i, j) & ((j <= i) if width is not None else True)


def _of_tile(tile: int) -> SeenOf:
    """Windows that begin where that of the first row of a tile does."""

    def seen(instance: HigherOrder, mode: int, i: Any, j: Any) -> Any:
        width = widths(instance)[mode - 1]
        causal = _causal(instance, i, j)
        if width is None:
            return causal
        return causal & (i // tile * tile - width < j) & (j < i + width)

    return seen


def _bound_of_tile(tile: int, last: bool) -> SeenOf:
    """The causal mask of the last, or the first, row of a tile for every row of it."""

    def seen(instance: HigherOrder, mode: int, i: Any, j: Any) -> Any:
        of = i // tile * tile + (tile - 1 if last else 0)
        return (j <= of) & _window(widths(instance)[mode - 1], i, j)

    return _if_causal(seen)


#: identifier, sentence, what is seen of a mode: (instance, mode, i, j).
CHANGES_OF_SEEN: tuple[tuple[str, str, SeenOf], ...] = (
    ("causal-ignored", "causal mask ignored", _causal_but(0)),
    *((f"causal-ignored-{m}", f"causal mask left out for the keys of mode {m}", _causal_but(m)) for m in _MODES),
    ("causal-plus", "causal mask off by one: one key too many in every mode (j ≤ i + 1)", _moved_causal(1)),
    ("causal-minus", "causal mask off by one: one key too few, each query misses its own (j < i)", _moved_causal(-1)),
    *((f"causal-plus-{m}", f"causal mask off by one in mode {m}: one key too many", _moved_causal(1, m)) for m in _MODES),
    *((f"causal-minus-{m}", f"causal mask off by one in mode {m}: one key too few", _moved_causal(-1, m)) for m in _MODES),
    ("causal-bottom-right", "causal mask aligned bottom-right: the last query beside the last keys", _bottom_right()),
    *((f"causal-bottom-right-{m}", f"causal mask of mode {m} alone aligned bottom-right: the last query beside its last key", _bottom_right(m)) for m in _MODES),
    ("causal-unasked", "a causal mask that nobody asked for", lambda i, m, q, j: (q >= j) & _within(i, m, q, j)),
    *((f"causal-last-{t}", f"causal mask of the last row of its tile of {t}, for every row", _bound_of_tile(t, True)) for t in _TILES),
    *((f"causal-first-{t}", f"causal mask of the first row of its tile of {t}, for every row", _bound_of_tile(t, False)) for t in _TILES),
    ("window-ignored", "windows ignored", _without_window()),
    *((f"window-ignored-{m}", f"window of mode {m} ignored", _without_window(m)) for m in _MODES),
    ("window-exchanged", "windows of the modes in the reverse order", _window_of(lambda i, m: i.order - m)),
    ("window-first", "window of mode 1 used for every mode", _window_of(lambda i, m: 1)),
    ("window-last", "window of the last mode used for every mode", _window_of(lambda i, m: i.order - 1)),
    ("window-longest", "the longest of the windows used for every mode", _window_by(max)),
    ("window-shortest", "the shortest of the windows used for every mode", _window_by(min)),
    ("window-plus", "windows one key too wide (inclusive bound)", _widened(1)),
    ("window-minus", "windows one key too narrow", _widened(-1)),
    *((f"window-plus-{m}", f"window of mode {m} one key too wide", _widened(1, m)) for m in _MODES),
    *((f"window-minus-{m}", f"window of mode {m} one key too narrow", _widened(-1, m)) for m in _MODES),
    ("window-backward", "windows to the left alone, where no causal mask was asked for", _backward_window),
    *((f"window-tile-{t}", f"windows of the first row of its tile of {t}, for every row", _of_tile(t)) for t in _TILES),
)  # fmt: skip


def of_seen(seen_of: SeenOf) -> Callable[[HigherOrder], NDArray[np.bool_]]:
    """(n_q, N): what is seen of combinations."""
    return lambda instance: every(instance, functools.partial(seen_of, instance))


def _masked(seen_of: SeenOf) -> Callable[[Parts], Made]:
    return lambda parts: parts.attended(seen=of_seen(seen_of)(parts.instance))


def _ordered(compare: Callable[[Any, Any], Any], causal: bool = True) -> Callable[[Parts], Made]:
    """The keys of the modes are compared with each other too."""

    def made(parts: Parts) -> Made:
        if parts.order < 3 or (causal and not parts.instance.is_causal):
            return None
        places = [parts.places(mode) for mode in range(parts.order - 1)]
        kept = np.logical_and.reduce([compare(a, b) for a, b in itertools.pairwise(places)])
        return parts.attended(seen=parts.seen & kept)

    return made


def _some_mode(parts: Parts) -> Made:
    """A combination is hidden only where every key of it lies behind the query."""
    if not parts.instance.is_causal:
        return None
    n_q = parts.instance.query.shape[2]
    i = np.arange(n_q)[:, None]
    seen = np.logical_or.reduce([parts.places(mode) <= i for mode in range(parts.order - 1)])
    return parts.attended(seen=seen & of_seen(_without_causal)(parts.instance))


def _flat_causal(parts: Parts) -> Made:
    """The causal mask compares the number of a combination with that of (i, …, i)."""
    n_q, lengths = parts.instance.query.shape[2], parts.instance.mode_lengths
    if parts.order < 3 or not parts.instance.is_causal:
        return None
    own = np.zeros(n_q, np.intp)
    for n in lengths:
        own = own * n + np.arange(n_q)
    seen = np.arange(math.prod(lengths))[None] <= own[:, None]
    return parts.attended(seen=seen & of_seen(_causal_but(0))(parts.instance))


def _relative_windows(parts: Parts) -> Made:
    """The window of a mode lies around the key of the mode before it, and that of mode 1 around the query."""
    if parts.order < 3 or not any(widths(parts.instance)[1:]):
        return None
    seen = np.ones_like(parts.seen)
    at: Any = np.arange(parts.instance.query.shape[2])[:, None]
    for mode, width in enumerate(widths(parts.instance)):
        place = parts.places(mode)[None]
        seen = seen & _window(width, at, place)
        if parts.instance.is_causal:
            seen &= place <= np.arange(seen.shape[0])[:, None]
        at = place
    return parts.attended(seen=seen)


def _without_causal(instance: HigherOrder, mode: int, i: Any, j: Any) -> Any:
    width = widths(instance)[mode - 1]
    return np.broadcast_to(True, np.broadcast_shapes(i.shape, j.shape)) if width is None else i - width < j


# --- scales -----------------------------------------------------------------------------------------------------------


def _usual(instance: HigherOrder) -> float:
    return float(instance.usual()["scale"])


def _given(instance: HigherOrder) -> float:
    return float(instance.scale or 0.0)


def _if_usual(scale: Callable[[HigherOrder], float]) -> Callable[[HigherOrder], float]:
    """Another scale in the place of 1/√d, where that is asked for."""
    return lambda i: scale(i) if _given(i) == _usual(i) else _given(i)


def _padded(dim: int, to: int) -> int:
    return 1 << (dim - 1).bit_length() if to == 0 else -(-dim // to) * to


def _rounded(name: str, number: float) -> float:
    return float(np.float64(dtype_named(name).type(number)))


#: identifier, sentence, the scale instead.
SCALES: tuple[tuple[str, str, Callable[[HigherOrder], float]], ...] = (
    ("standard", "scale ignored: 1/√dim used whatever is given", _usual),
    ("one", "scale ignored: scores are not scaled", lambda i: 1.0),
    ("zero", "scale 0 taken for unset: 1/√dim used", lambda i: _given(i) or _usual(i)),
    ("twice", "scale applied twice", lambda i: _given(i) ** 2),
    ("each-key", "scale applied to the keys of every mode", lambda i: _given(i) ** (i.order - 1)),
    ("each", "scale applied to the queries and to the keys of every mode", lambda i: _given(i) ** i.order),
    ("root", "square root of the scale applied once", lambda i: math.copysign(math.sqrt(abs(_given(i))), _given(i))),
    ("absolute", "sign of the scale dropped", lambda i: abs(_given(i))),
    ("linear", "scale 1/dim instead of 1/√dim", _if_usual(lambda i: 1.0 / i.query.shape[3])),
    ("order", "scale dim^(−1/k) for order k instead of 1/√dim", _if_usual(lambda i: i.query.shape[3] ** (-1 / i.order))),
    ("value-dim", "scale of the value dim, 1/√d_v", _if_usual(lambda i: 1.0 / math.sqrt(i.mode_values[0].shape[3]))),
    *(
        (f"padded-{to}", f"scale of the dim padded to {words}", _if_usual(lambda i, to=to: 1.0 / math.sqrt(_padded(i.query.shape[3], to))))  # type: ignore[misc]
        for to, words in ((0, "a power of two"), (16, "a multiple of 16"), (64, "a multiple of 64"))
    ),
    ("bfloat16", "scale constant rounded to bfloat16", lambda i: _rounded("bfloat16", _given(i))),
    ("float16", "scale constant rounded to float16", lambda i: _rounded("float16", _given(i))),
    ("log2", "scores multiplied by log₂ e: powers of e where powers of 2 were meant", lambda i: _given(i) / math.log(2.0)),
    ("ln2", "scores multiplied by ln 2: powers of 2 where powers of e were meant", lambda i: _given(i) * math.log(2.0)),
)  # fmt: skip


def scaled(scale: Callable[[HigherOrder], float]) -> Change:
    def change(instance: HigherOrder) -> HigherOrder | None:
        other = scale(instance)
        return None if other == instance.scale else instance.replace(scale=other)

    return change


# --- modes ------------------------------------------------------------------------------------------------------------


def _fields(instance: HigherOrder, name: str, arrays: Any) -> dict[str, Any]:
    return {f"{name}{mode}": array for mode, array in enumerate(arrays, 1)}


def _alike(instance: HigherOrder) -> bool:
    return instance.order > 2 and len(set(instance.mode_lengths)) == 1


def _keys_reversed(instance: HigherOrder) -> HigherOrder | None:
    return instance.replace(**_fields(instance, "key", instance.mode_keys[::-1])) if _alike(instance) else None


def _values_reversed(instance: HigherOrder) -> HigherOrder | None:
    return instance.replace(**_fields(instance, "value", instance.mode_values[::-1])) if _alike(instance) else None


def _of_mode(name: str, mode: int) -> Change:
    """Keys or values of one mode are read for every mode."""

    def change(instance: HigherOrder) -> HigherOrder | None:
        arrays = instance.mode_keys if name == "key" else instance.mode_values
        if not _alike(instance) or mode >= instance.order:
            return None
        return instance.replace(**_fields(instance, name, [arrays[mode - 1]] * len(arrays)))

    return change


def _in_place(name: str, mode: int, read: int) -> Change:
    """Keys or values of one mode are read in the place of those of another one, and those of a third are right."""

    def change(instance: HigherOrder) -> HigherOrder | None:
        if instance.order < 4 or max(mode, read) >= instance.order:
            return None
        own, other = (getattr(instance, f"{name}{m}") for m in (mode, read))
        return instance.replace(**{f"{name}{mode}": other}) if own.shape == other.shape else None

    return change


def _only_mode(name: str, mode: int) -> Change:
    """Keys or values of one mode are left out: they are taken for 1."""

    def change(instance: HigherOrder) -> HigherOrder | None:
        if instance.order < 3 or mode >= instance.order:
            return None
        return instance.replace(**{f"{name}{mode}": np.ones_like(getattr(instance, f"{name}{mode}"))})

    return change


def _keys_for_values(instance: HigherOrder) -> HigherOrder | None:
    if instance.query.shape[3] != instance.mode_values[0].shape[3]:
        return None
    keys, values = instance.mode_keys, instance.mode_values
    return instance.replace(**_fields(instance, "key", values), **_fields(instance, "value", keys))


def _query_for_key(mode: int) -> Change:
    def change(instance: HigherOrder) -> HigherOrder | None:
        if mode >= instance.order or instance.mode_keys[mode - 1].shape != instance.query.shape:
            return None
        return instance.replace(query=instance.mode_keys[mode - 1], **{f"key{mode}": instance.query})

    return change


def _sums_of_keys(parts: Parts) -> Made:
    return None if parts.order < 3 else parts.attended(parts.scored(parts.keys, np.add))


def _products_of_scores(parts: Parts) -> Made:
    if parts.order < 3:
        return None
    apart = [parts.query @ np.swapaxes(key, 2, 3) for key in parts.keys]
    return parts.attended(parts.scale * _outer(apart, np.multiply))


def _sums_of_scores(parts: Parts) -> Made:
    """The inner products of every two of a query and the keys, added up."""
    if parts.order != 3:
        return None
    first, second = parts.keys
    apart = [parts.query @ np.swapaxes(key, 2, 3) for key in parts.keys]
    both = (first @ np.swapaxes(second, 2, 3)).reshape(*first.shape[:2], 1, -1)
    return parts.attended(parts.scale * (_outer(apart, np.add) + both))


def _outer(apart: list[Array], join: Callable[[Array, Array], Array]) -> Array:
    """(b, h, n_q, n_m) of every mode → (b, h, n_q, N)."""
    total = apart[0]
    for other in apart[1:]:
        total = join(total[..., :, None], other[..., None, :]).reshape(*total.shape[:3], -1)
    return total


def _sums_of_values(parts: Parts) -> Made:
    return None if parts.order < 3 else parts.attended(value=combined(parts.values, np.add))


def _means_of_values(parts: Parts) -> Made:
    return None if parts.order < 3 else parts.attended(value=combined(parts.values, np.add) / (parts.order - 1))


def _other_order(parts: Parts) -> Made:
    """Products of values in the order of the other unfolding: the key of the first mode the fastest."""
    if parts.order < 3:
        return None
    return parts.attended(value=combined(parts.values[::-1]))


def _of_one_mode(join: str) -> Callable[[Parts], Made]:
    """The softmax runs over the last mode alone."""

    def made(parts: Parts) -> Made:
        if parts.order < 3:
            return None
        last = parts.instance.mode_lengths[-1]
        shape = (*parts.score.shape[:3], -1, last)
        score = np.where(parts.seen, parts.score, -np.inf).reshape(shape)
        top = score.max(axis=4, keepdims=True)
        weight = np.exp(score - np.where(np.isfinite(top), top, 0.0))
        total = weight.sum(axis=4, keepdims=True)
        weight = (weight / np.where(total > 0.0, total, 1.0)).reshape(parts.score.shape)
        count = 1.0 if join == "sum" else np.maximum((total > 0.0).sum(axis=(3, 4)), 1)[..., None]
        return {"output": weight @ parts.value / count}

    return made


def _of_marginals(parts: Parts) -> Made:
    """Every mode is summed with its own weights, and the sums are multiplied."""
    if parts.order < 3:
        return None
    hidden = np.where(parts.seen, parts.score, -np.inf)
    top = hidden.max(axis=3, keepdims=True)
    weight = np.exp(hidden - np.where(np.isfinite(top), top, 0.0))
    total = weight.sum(axis=3, keepdims=True)
    spread = (weight / np.where(total > 0.0, total, 1.0)).reshape(*weight.shape[:3], *parts.instance.mode_lengths)
    axes = range(3, spread.ndim)
    sums = [spread.sum(axis=tuple(a for a in axes if a != 3 + m)) @ x for m, x in enumerate(parts.values)]
    return {"output": np.multiply.reduce(sums)}


def _undivided(parts: Parts) -> Made:
    right = parts.attended()
    hidden = np.where(parts.seen, parts.score, -np.inf)
    top = hidden.max(axis=3, keepdims=True)
    lse = np.where(np.isfinite(right["log_sum_exp"]), right["log_sum_exp"], 0.0)[..., None]
    return {"output": right["output"] * np.exp(lse - np.where(np.isfinite(top), top, 0.0))}


def _linear(parts: Parts) -> Made:
    """Scores as they come are the weights."""
    return {"output": np.where(parts.seen, parts.score, 0.0) @ parts.value}


# --- heads and batches ------------------------------------------------------------------------------------------------

#: identifier, sentence, the key head of query head h: (h, h_q, h_k).
HEADS: tuple[tuple[str, str, Callable[[int, int, int], int]], ...] = (
    ("modulo", "query head h reads key head h mod h_k instead of h // (h_q / h_k)", lambda h, h_q, h_k: h % h_k),
    ("first", "every query head reads key head 0", lambda h, h_q, h_k: 0),
    ("raw", "the number of the query head is used for the key head, cut at the last", lambda h, h_q, h_k: min(h, h_k - 1)),
    ("by-key-heads", "query head h reads key head h // h_k", lambda h, h_q, h_k: min(h // h_k, h_k - 1)),
)  # fmt: skip


def _heads(chosen: Callable[[int, int, int], int], only: int = 0, names: tuple[str, ...] = ("key", "value")) -> Change:
    """Query heads read other key heads, in every mode or in one, of keys and values or of one of them."""

    def change(instance: HigherOrder) -> HigherOrder | None:
        h_q, h_k = instance.query.shape[1], instance.mode_keys[0].shape[1]
        own = [h // instance.group for h in range(h_q)]
        heads = [chosen(h, h_q, h_k) for h in range(h_q)]
        if heads == own or only >= instance.order:
            return None
        made = {}
        for name in ("key", "value"):
            for mode in range(1, instance.order):
                made[f"{name}{mode}"] = getattr(instance, f"{name}{mode}")[
                    :, heads if name in names and only in (0, mode) else own
                ]
        return instance.replace(**made)

    return change


def _first_batch(only: int = 0) -> Change:
    def change(instance: HigherOrder) -> HigherOrder | None:
        b = instance.query.shape[0]
        if b == 1 or only >= instance.order:
            return None
        zero = np.zeros(b, np.intp)
        return instance.replace(**{
            f"{name}{mode}": getattr(instance, f"{name}{mode}")[zero]
            for name in ("key", "value") for mode in range(1, instance.order) if only in (0, mode)
        })  # fmt: skip

    return change


# --- tails ------------------------------------------------------------------------------------------------------------


def _tail(mode: int, kept: Callable[[int], Any]) -> Change:
    """Other keys of a mode (0: of every mode): kept(n) gives their numbers, or ``None`` where nothing changes."""

    def change(instance: HigherOrder) -> HigherOrder | None:
        if mode >= instance.order:
            return None
        made = {}
        for m, n in enumerate(instance.mode_lengths, 1):
            which = kept(n) if mode in (0, m) else None
            if which is not None:
                for name in (f"key{m}", f"value{m}"):
                    made[name] = getattr(instance, name)[:, :, which]
        return instance.replace(**made) if made and _affordable(instance, made) else None

    return change


def _affordable(instance: HigherOrder, made: Mapping[str, Array]) -> bool:
    """Whether an instance with such longer modes has no more scores than a diagnosis can take: tiles multiply."""
    b, h, n_q, _ = instance.query.shape
    lengths = [made.get(f"key{m}", key).shape[2] for m, key in enumerate(instance.mode_keys, 1)]
    return bool(math.prod(lengths) <= instance.combinations or b * h * n_q * math.prod(lengths) <= _MOST_SCORES)


def _but_last(n: int) -> Any:
    return np.arange(n - 1) if n > 1 else None


def _whole_tiles(tile: int, n: int) -> Any:
    return np.arange(n // tile * tile) if n > tile and n % tile else None


def _last_again(tile: int, n: int) -> Any:
    more = -n % tile
    return np.minimum(np.arange(n + more), n - 1) if more else None


def _zero_tail(mode: int, tile: int) -> Callable[[Parts], Made]:
    """Keys of 0 that fill the last tile of a mode (0: of every mode) count in the softmax, with values of 0."""

    def made(parts: Parts) -> Made:
        if mode >= parts.order:
            return None
        instance = parts.instance
        more = [-n % tile if mode in (0, m) else 0 for m, n in enumerate(instance.mode_lengths, 1)]
        if not any(more):
            return None
        padded = {
            f"{name}{m}": np.pad(getattr(instance, f"{name}{m}").astype(np.float64), ((0, 0), (0, 0), (0, n), (0, 0)))
            for name in ("key", "value")
            for m, n in enumerate(more, 1)
        }
        if not _affordable(instance, padded):
            return None
        longer = instance.replace(query=instance.query.astype(np.float64), **padded)
        return Parts(longer).attended()

    return made


def _columns(names: tuple[str, ...], kept: Callable[[HigherOrder, int], int]) -> Change:
    """Only the first columns of queries and keys, or of values: others are taken for 0."""

    def change(instance: HigherOrder) -> HigherOrder | None:
        name = "value1" if names == ("value",) else "query"
        array = getattr(instance, name)
        count = kept(instance, array.shape[3])
        if not 0 < count < array.shape[3]:
            return None
        return instance.replace(**{name: np.where(np.arange(array.shape[3]) < count, array, array.dtype.type(0))})

    return change


def _blank_rows(tile: int) -> Callable[[Parts], Made]:
    def made(parts: Parts) -> Made:
        n = parts.instance.query.shape[2]
        if n % tile == 0 or n < tile:
            return None
        right = parts.attended()["output"]
        return {"output": np.where(np.arange(n)[:, None] >= n // tile * tile, 0.0, right)}

    return made


def _blank_heads(parts: Parts) -> Made:
    if parts.instance.group == 1:
        return None
    h_k = parts.instance.mode_keys[0].shape[1]
    right = parts.attended()["output"]
    return {"output": np.where(np.arange(right.shape[1])[:, None, None] >= h_k, 0.0, right)}


# --- online softmax, empty rows, the log-sum-exp ----------------------------------------------------------------------


def _online(mode: int, tile: int, *, numerator: bool, denominator: bool) -> Callable[[Parts], Made]:
    def made(parts: Parts) -> Made:
        if mode >= parts.order - 1 or (mode == 0 and tile >= parts.instance.mode_lengths[0]):
            return None
        return parts.online(parts.blocks(mode, tile), numerator=numerator, denominator=denominator)

    return made


def _empty(change: Callable[[Parts, Array], Any]) -> Callable[[Parts], Made]:
    """What an empty row gives instead."""

    def made(parts: Parts) -> Made:
        empty = ~np.any(parts.seen, axis=1, keepdims=True)
        right = parts.attended()
        if not empty.any():
            return None
        return {"output": np.where(empty, change(parts, right["output"]), right["output"])}

    return made


def _mean(parts: Parts, right: Array) -> Array:
    return np.asarray(parts.value.mean(axis=2, keepdims=True))


def _lse(change: Callable[[Parts, Array], Array]) -> Callable[[Parts], Made]:
    def made(parts: Parts) -> Made:
        if not getattr(parts.instance, "return_lse", False):
            return None
        return {"log_sum_exp": change(parts, parts.attended()["log_sum_exp"])}

    return made


def _lse_of_mean(mode: int) -> Callable[[Parts], Made]:
    def made(parts: Parts) -> Made:
        if not getattr(parts.instance, "return_lse", False) or parts.order < 3 or mode >= parts.order:
            return None
        return {"log_sum_exp": parts.attended()["log_sum_exp"] - math.log(parts.instance.mode_lengths[mode - 1])}

    return made


def _largest(parts: Parts) -> Array:
    return np.asarray(np.where(parts.seen, parts.score, -np.inf).max(axis=3))


# --- the table --------------------------------------------------------------------------------------------------------


def _rows() -> Iterator[Meaning]:
    def row(identifier: str, sentence: str, change: Change) -> Meaning:
        return Meaning(identifier, sentence, solves(change))

    def of(identifier: str, sentence: str, function: Callable[[Parts], Made]) -> Meaning:
        return formula(identifier, sentence, function, Parts)

    # one meaning a line
    # fmt: off
    yield row("keys-exchanged", "keys of the modes in the reverse order, and not their values: the modes exchanged", _keys_reversed)
    yield row("values-exchanged", "values of the modes in the reverse order, and not their keys: the modes exchanged", _values_reversed)
    yield of("other-order", "values flattened in the other order than the scores: repeat against tile, the first mode the fastest", _other_order)
    for m in _MODES:
        yield row(f"keys-of-{m}", f"keys of mode {m} used for every mode", _of_mode("key", m))
        yield row(f"values-of-{m}", f"values of mode {m} used for every mode", _of_mode("value", m))
        for other in (other for other in _MODES if other != m):
            yield row(f"keys-{other}-for-{m}", f"keys of mode {other} read in the place of those of mode {m}", _in_place("key", m, other))
            yield row(f"values-{other}-for-{m}", f"values of mode {other} read in the place of those of mode {m}", _in_place("value", m, other))
        yield row(f"keys-without-{m}", f"keys of mode {m} left out of the scores", _only_mode("key", m))
        yield row(f"values-without-{m}", f"values of mode {m} left out of the output", _only_mode("value", m))
        yield row(f"query-key-{m}", f"queries and keys of mode {m} exchanged: softmax over the wrong axes", _query_for_key(m))
    yield row("keys-for-values", "keys and values exchanged", _keys_for_values)
    yield of("sums-of-keys", "keys added where they are multiplied: an outer sum for an outer product", _sums_of_keys)
    yield of("sums-of-values", "values added where they are multiplied: an outer sum for an outer product", _sums_of_values)
    yield of("means-of-values", "the mean of the values in the place of their product", _means_of_values)
    yield of("products-of-scores", "the product of the scores ⟨q, k⟩ of the modes in the place of one sum of products", _products_of_scores)
    yield of("sums-of-scores", "the sum of the products of every two of query and keys in the place of one sum of products", _sums_of_scores)
    yield of("softmax-mode-sum", "softmax over the keys of the last mode alone, and a sum over the others", _of_one_mode("sum"))
    yield of("softmax-mode-mean", "softmax over the keys of the last mode alone, and a mean over the others", _of_one_mode("mean"))
    yield of("marginals", "the product of one sum a mode, with the weights of its keys, in the place of one sum over combinations", _of_marginals)
    yield of("undivided", "the output is not divided by the sum of the weights", _undivided)
    yield of("no-exponential", "scores are the weights: the exponential and the sum left out", _linear)
    for identifier, sentence, seen_of in CHANGES_OF_SEEN:
        yield of(identifier, sentence, _masked(seen_of))
    yield of("causal-some", "a combination is hidden only where all of its keys lie behind the query", _some_mode)
    yield of("causal-flat", "causal mask compares numbers of combinations: the last mode decides only where the others are equal", _flat_causal)
    yield of("window-relative", "the window of a mode lies around the key of the mode before it, not around the query", _relative_windows)
    yield of("causal-ordered", "the key of a mode must not lie behind that of the mode before (j₂ ≤ j₁)", _ordered(lambda a, b: b <= a))
    yield of("causal-ordered-back", "the key of a mode must not lie before that of the mode before (j₁ ≤ j₂)", _ordered(lambda a, b: a <= b))
    yield of("distinct", "combinations of one key with itself are left out", _ordered(lambda a, b: a != b, causal=False))
    yield of("once", "every pair of keys counts once, in one order (j₁ ≤ j₂), where no mask was asked for", _ordered(lambda a, b: a <= b, causal=False))
    for identifier, sentence, scale in SCALES:
        yield row(f"scale-{identifier}", sentence, scaled(scale))
    for identifier, sentence, chosen in HEADS:
        yield row(f"heads-{identifier}", f"grouped heads: {sentence}", _heads(chosen))
        for m in _MODES:
            yield row(f"heads-{identifier}-{m}", f"grouped heads: in mode {m}, {sentence}", _heads(chosen, m))
            for name in ("key", "value"):
                yield row(f"heads-{identifier}-{name}-{m}", f"grouped heads: for the {name}s of mode {m} alone, {sentence}", _heads(chosen, m, (name,)))
    yield row("batch-first", "every batch reads the keys and values of batch 0", _first_batch())
    for m in _MODES:
        yield row(f"batch-first-{m}", f"every batch reads the keys and values of mode {m} of batch 0", _first_batch(m))
    for m in (0, *_MODES):
        where = f"mode {m}" if m else "every mode"
        yield row(f"tail-last-{m}", f"tail of the keys of {where} dropped: the last one", _tail(m, _but_last))
        for tile in _TILES:
            yield row(f"tail-{m}-{tile}", f"tail of the keys of {where} dropped: only whole tiles of {tile} are read", _tail(m, functools.partial(_whole_tiles, tile)))
            yield row(f"tail-again-{m}-{tile}", f"tail of the keys of {where} counted twice: the last one fills a tile of {tile}", _tail(m, functools.partial(_last_again, tile)))
            yield of(f"tail-zero-{m}-{tile}", f"tail of the keys of {where} filled with zeros up to a multiple of {tile}, and counted", _zero_tail(m, tile))
    yield row("dim-last", "last column of dim dropped", _columns(("query",), lambda i, d: d - 1))
    for name, called in (("query", "dim"), ("value", "value dim")):
        yield row(f"{name}-64", f"only the first 64 columns of {called} used", _columns((name,), lambda i, d: 64))
        for tile in (2, 4, 8, 16, 32):
            yield row(f"{name}-tail-{tile}", f"tail of {called} dropped: only whole multiples of {tile}", _columns((name,), lambda i, d, tile=tile: d // tile * tile))  # type: ignore[misc]
    yield row("value-dim-is-dim", "value dim taken for dim: columns beyond it are left out", _columns(("value",), lambda i, d: i.query.shape[3]))
    for tile in _TILES:
        yield of(f"rows-blank-{tile}", f"query rows beyond the last whole tile of {tile} are left at 0", _blank_rows(tile))
    yield of("heads-blank", "query heads from the number of key heads on are left at 0", _blank_heads)
    for mode, tile in ((0, 1), (0, 4), (0, 8), (0, 16), (0, 32), (1, 1), (1, 4), (1, 8), (1, 16), (1, 32), (1, 64)):
        where = f"between tiles of {tile} keys of mode {mode + 1}"
        yield of(f"nothing-rescaled-{mode}-{tile}", f"stale maximum: numerator and denominator not rescaled {where}", _online(mode, tile, numerator=False, denominator=False))
        yield of(f"numerator-{mode}-{tile}", f"stale maximum: numerator not rescaled {where}", _online(mode, tile, numerator=False, denominator=True))
        yield of(f"denominator-{mode}-{tile}", f"stale maximum: denominator not rescaled {where}", _online(mode, tile, numerator=True, denominator=False))
    yield of("empty-mean", "an empty row gives the mean of the products of values instead of 0", _empty(_mean))
    yield of("empty-doubled", "an empty row gives twice the mean of the products of values instead of 0", _empty(lambda p, r: 2.0 * _mean(p, r)))
    yield of("empty-nan", "an empty row gives NaN instead of 0", _empty(lambda p, r: np.nan))
    yield of("lse-base-two", "log-sum-exp in base 2", _lse(lambda p, lse: lse / math.log(2.0)))
    yield of("lse-without-maximum", "log-sum-exp without the maximum: ln Σ e^(s − m) alone", _lse(lambda p, lse: lse - np.where(np.isneginf(lse), 0.0, _largest(p))))
    yield of("lse-only-maximum", "log-sum-exp is the maximum alone", _lse(lambda p, lse: _largest(p)))
    yield of("lse-of-mean", "log-sum-exp of the mean: less by the logarithm of the number of combinations", _lse(lambda p, lse: lse - math.log(p.instance.combinations)))
    for m in _MODES:
        yield of(f"lse-of-mean-{m}", f"log-sum-exp less by the logarithm of the length of mode {m}", _lse_of_mean(m))
    yield of("lse-empty-zero", "log-sum-exp of an empty row is 0 instead of −∞", _lse(lambda p, lse: np.where(np.isneginf(lse), 0.0, lse)))
    # fmt: on


#: The known wrong meanings of attention of order k.
MEANINGS: tuple[Meaning, ...] = tuple(_rows())
