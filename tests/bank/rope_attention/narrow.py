"""Wrong kernels that are right in most calls: for some heads, batches, tiles, sides or options alone they are not."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from bank.attention.engine import Steps as Attention
from bank.entry import Entry
from bank.rope import engine as rope
from bank.rope_attention.engine import Array, Steps, Task, general, kernel, passed, weighed_by

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["NARROW"]

QUERY, KEY = 0, 1


def _when(asked: Callable[[Task], bool], steps: Steps) -> Callable[..., Any]:
    """A kernel that is wrong where this is asked."""
    return kernel(Steps(), lambda t, right: passed(t, steps if asked(t) else right))


def _task(**changes: Callable[[Task], Any]) -> Steps:
    """Another task than the one that was asked: fields by name."""
    return Steps(task=lambda t: replace(t, **{name: value(t) for name, value in changes.items()}))


# --- positions --------------------------------------------------------------------------------------------------------


def _moved(move: Callable[[Task, Array], Array], *roles: int) -> Steps:
    """Other positions of the queries, of the keys, or of both."""
    return _task(
        positions=lambda t: tuple(
            move(t, p) if role in (roles or (QUERY, KEY)) else p for role, p in enumerate(t.positions)
        )
    )


def _with_the_stride_of_queries(t: Task, p: Array) -> Array:
    places = np.arange(len(p))[:, None] * t.shape[2] + np.arange(p.shape[1])
    return p if len(p) == 1 else np.ravel(p)[np.minimum(places, p.size - 1)]


def _of_the_last_keys(t: Task, p: Array) -> Array:
    return t.positions[KEY][:, -p.shape[1] :] if p.shape[1] <= t.shape[3] else p


def _where_valid_keys_end(t: Task, p: Array) -> Array:
    return p if t.key_lengths is None else np.asarray(t.key_lengths)[:, None] - t.shape[2] + np.arange(t.shape[2])


def _one_place_unless_causal(t: Task, p: Array) -> Array:
    return np.broadcast_to(p[:, :1], p.shape) if t.causal is None and t.window is None else p


# --- rotated vectors --------------------------------------------------------------------------------------------------


def _changed(change: Callable[[Task, Steps, int, Array], Array], *roles: int) -> Steps:
    """The rotated queries, or keys, changed afterwards: change(task, steps, role, rotated)."""

    def turned(t: Task, s: Steps, role: int) -> Array:
        right = Steps.turned(t, s, role)
        return change(t, s, role, right) if role in (roles or (QUERY, KEY)) else right

    return Steps(turned=turned)


def _raw(t: Task, role: int) -> Array:
    return t.wide((t.query, t.key)[role])


def _first_matrix(t: Task, s: Steps, role: int, right: Array) -> Array:
    """One token: a grid without the batch and the heads."""
    first = np.zeros((*right.shape[:2], 1, 1), bool)
    first[0, 0] = True
    return right if right.shape[2] != 1 else np.where(first, right, _raw(t, role))


def _tables_tiled(t: Task, s: Steps, role: int, right: Array) -> Array:
    """Batch and heads in one axis, with the tables of the batches tiled where they were to be repeated."""
    b, h, n, d = right.shape
    if len(t.positions[role]) == 1:
        return right
    positions = tuple(np.tile(p, (h, 1)) if side == role else p for side, p in enumerate(t.positions))
    flat = (t.query, t.key)[role].reshape(b * h, 1, n, d)
    one = replace(t, **{("query", "key")[role]: flat}, positions=positions)
    return Steps.turned(one, s, role).reshape(right.shape)


def _rows_of_the_group(t: Task, s: Steps, role: int, right: Array) -> Array:
    """Heads of a group packed as rows of one tile, and the row taken for the position."""
    group, out = t.query.shape[1] // t.key.shape[1], right.copy()
    for row in range(1, group):
        later = replace(t, positions=(t.positions[QUERY] + row, t.positions[KEY]))
        out[:, row::group] = Steps.turned(later, s, role)[:, row::group]
    return out


def _new_keys_alone(t: Task, s: Steps, role: int, right: Array) -> Array:
    new = np.arange(t.shape[3]) >= t.shape[3] - t.shape[2]
    return np.where(new[:, None], right, _raw(t, role))


def _with(change: Callable[[Task], Task]) -> Callable[[Task, Steps, int, Array], Array]:
    """Rotated as of another task."""
    return lambda t, s, role, right: Steps.turned(change(t), s, role)


def _in_part(t: Task, right: Array) -> bool:
    return 0 < t.r < right.shape[3]


def _across(t: Task, s: Steps, role: int, right: Array) -> Array:
    """Partial: column i turned with i + d/2, for i + r/2."""
    d = right.shape[3]
    if not _in_part(t, right) or t.layout != "halves" or d % 2:
        return right
    x = _raw(t, role)
    columns = np.r_[: t.r // 2, d // 2 : d // 2 + t.r // 2]
    out = x.copy()
    out[..., columns] = rope.rotated(replace(t.rotation(role), x=x[..., columns]), s.rotary)
    return out


def _magnitude_on_the_rest(t: Task, s: Steps, role: int, right: Array) -> Array:
    m = rope.Steps.magnitude(t.rotation(role))
    return np.where(np.arange(right.shape[3]) < (t.r or right.shape[3]), right, right * t.work(m))


def _rest_dropped(t: Task, s: Steps, role: int, right: Array) -> Array:
    return np.where(np.arange(right.shape[3]) < (t.r or right.shape[3]), right, t.work(0))


def _odd_column_dropped(t: Task, s: Steps, role: int, right: Array) -> Array:
    d = right.shape[3]
    return np.where(np.arange(d) < d - d % 2, right, t.work(0)) if d > 1 else right


def _decayed(t: Task, s: Steps, role: int, right: Array) -> Array:
    d, r = right.shape[3], t.r or right.shape[3]
    pair = (np.arange(r // 2) / (r // 2) + 0.4) / 1.4
    rate = np.r_[np.tile(pair, 2) if t.layout == "halves" else np.repeat(pair, 2), np.ones(d - r)]
    places = np.clip(t.positions[role], -(1 << 14), 1 << 14)[:, None, :, None] / 512
    return np.asarray((right * rate ** (places if role == QUERY else -places)).astype(t.work))


# --- frequencies ------------------------------------------------------------------------------------------------------


def _rotary(**steps: Any) -> Steps:
    return Steps(rotary=rope.Steps(**steps))


def _by_length(length: Callable[[Task], int]) -> Steps:
    """dynamic by another length."""

    def raised(n: int, t: rope.Task) -> float:
        return rope.raised_base(replace(t, positions=np.array([[n - 1]])))

    def turned(t: Task, s: Steps, role: int) -> Array:
        if t.scaling != "dynamic":
            return Steps.turned(t, s, role)
        one = replace(t.rotation(role), x=_raw(t, role))
        return rope.rotated(one, replace(s.rotary, raised=partial(raised, length(t))))

    return Steps(turned=turned)


def _longest_so_far() -> Steps:
    longest: dict[Any, int] = {}

    def length(t: Task) -> int:
        key = (t.base, t.r, t.s, t.original)
        longest[key] = max(longest.get(key, 0), 1 + max(int(p.max()) for p in t.positions))
        return longest[key]

    return _by_length(length)


def _raised(raise_base: Callable[[Task], float], scaling: str) -> Steps:
    """No scaling but another base, under one scaling."""
    return Steps(task=lambda t: replace(t, scaling=None, base=raise_base(t)) if t.scaling == scaling else t)


def _linear_and_ntk(t: Task) -> Task:
    d = t.r or t.query.shape[3]
    return replace(t, base=t.base * t.s ** (d / (d - 2))) if t.scaling == "linear" else t


def _whole_numbers(t: Task) -> Task:
    if t.scaling != "linear":
        return t
    return replace(t, scaling=None, positions=tuple(np.floor_divide(p, int(t.s)) for p in t.positions))


def _ramp_of_the_dim(t: Task, s: Steps, role: int, right: Array) -> Array:
    """yarn's ramp of the whole dim, in a partial rotation."""

    def kept(one: rope.Task, theta: Array) -> Array:
        wide = replace(one, r=right.shape[3])
        return rope.Steps.kept(wide, theta)[: one.r // 2]

    return Steps.turned(t, replace(s, rotary=rope.Steps(kept=kept)), role) if t.scaling == "yarn" else right


# --- masks ------------------------------------------------------------------------------------------------------------


def _hiding(seen_of: Callable[[Task], Array], **fields: Any) -> Steps:
    """A mask that hides more; other fields."""

    def change(t: Task) -> Task:
        seen = seen_of(t)
        return replace(t, mask=seen if t.mask is None else seen & t.mask, **fields)

    return Steps(task=change)


def _apart(t: Task) -> Array:
    return np.asarray(t.positions[QUERY][:, None, :, None] - t.positions[KEY][:, None, None, :])


def _in_window(t: Task) -> Array:
    assert t.window is not None
    left, right = (math.inf if bound is None else bound for bound in t.window)
    return (_apart(t) <= left) & (-_apart(t) <= right)


def _in_length(t: Task) -> Array:
    assert t.key_lengths is not None
    return (t.positions[KEY] < np.asarray(t.key_lengths).astype(np.int64)[:, None])[:, None, None]


def _from_the_first(t: Task) -> Array:
    return np.arange(t.shape[3]) <= np.arange(t.shape[2])[:, None] + _apart(t)[:, :, :1, :1]


# --- biases and W -----------------------------------------------------------------------------------------------------


def _relative_bias(change: Callable[[Task, Array], Array]) -> Steps:
    return _task(relative_bias=lambda t: None if t.relative_bias is None else change(t, t.relative_bias))


def _columns(change: Callable[[Task, Array], Array]) -> Callable[[Task, Array], Array]:
    """Other columns, the first or the last one beyond the ends: change(task, offsets)."""

    def changed(t: Task, x: Array) -> Array:
        first = t.shape[3] - 1
        return x[:, np.clip(change(t, np.arange(x.shape[1]) - first) + first, 0, x.shape[1] - 1)]

    return changed


def _bias_at(read: Callable[[Task, Array, Array], Array]) -> Steps:
    """A relative bias that is read at other offsets: read(task, i, j)."""

    def bias(t: Task) -> Array | None:
        if t.relative_bias is None:
            return t.bias
        n_q, n_k = t.shape[2:]
        columns = np.clip(read(t, *np.ogrid[:n_q, :n_k]) + n_k - 1, 0, n_q + n_k - 2)
        added = t.wide(t.relative_bias)[:, columns]
        return np.swapaxes(added, 0, 1) if columns.ndim == 3 else added

    return Steps(bias=bias)


def _sheared(cut: int) -> Steps:
    """Transformer-XL's shift by a padded reshape."""

    def bias(t: Task) -> Array | None:
        n = t.shape[3]
        if t.relative_bias is None or t.shape[2] != n:
            return Steps.bias(t)
        rows = np.repeat(t.wide(t.relative_bias)[:, None, n - 1 :][..., ::-1], n, axis=1)
        padded = np.concatenate([np.zeros((len(rows), n, 1), t.work), rows], axis=2).reshape(len(rows), n + 1, n)
        return padded[:, cut : cut + n]

    return Steps(bias=bias)


def _cap_last(made: Callable[..., Any]) -> Callable[..., Any]:
    """The softcap of the score and the relative bias."""

    def finish(s: Array, t: Any, at: tuple[int, int]) -> Array:
        added = replace(t, softcap=None).finished(s, at)
        return added if t.softcap is None else s.dtype.type(t.softcap) * np.tanh(added / s.dtype.type(t.softcap))

    steps = Steps(attention=Attention(finish=finish))
    return made(Steps(), lambda t, right: passed(t, right if t.relative_bias is None else steps))


def _lse_unbiased(t: Task, right: Steps) -> tuple[Array, Array]:
    return passed(t, right)[0], passed(replace(t, relative_bias=None), right)[1]


def _one_a_row(t: Task) -> Task:
    """A support kept under its rows."""
    assert t.support is not None
    assert t.relative is not None
    kept = sorted({row: place for place, (row, _) in enumerate(t.support)}.values())
    return replace(t, relative=t.relative[kept], support=tuple(t.support[place] for place in kept))


def _weights_of_tiles(t: Task, q: Array, k: Array) -> Array:
    return weighed_by(t, q, k, np.arange(t.shape[2])[:, None] - np.arange(t.shape[3]) % 64 + t.shape[3] - 1)


def _weights_clipped(t: Task) -> Array:
    assert t.relative is not None
    return _columns(lambda t, offset: np.clip(offset, -16, 16))(t, t.relative)


_TABLE: tuple[tuple[str, Any, str, str | None, str], ...] = (
    # --- positions
    ("one-place-unless-causal", _moved(_one_place_unless_causal, QUERY), "without a causal mask and a window every query at the place of the first", "the position of the first of the queries", "Dao-AILab/flash-attention#1752"),
    ("keys-stride", _moved(_with_the_stride_of_queries, KEY), "keys of batch b read at b·n_q", "positions of the keys of a batch read", "planted"),
    ("keys-like-queries", _moved(lambda t, p: t.positions[QUERY] if t.shape[2] == t.shape[3] else p, KEY), "one array of positions where there are as many queries as keys", "keys at the positions of the queries", "planted"),
    ("queries-like-keys", _moved(_of_the_last_keys, QUERY), "queries at the positions of the last keys", "queries at the positions of the last keys", "planted"),
    ("negative-cut", _moved(lambda t, p: np.maximum(p, 0)), "negative positions become 0", "negative positions taken for 0", "planted"),
    ("int16", _moved(lambda t, p: p.astype(np.int16).astype(np.int64)), "positions in 16 bits", "an integer of 16 bits", "planted"),
    ("index-of-1024", _moved(lambda t, p: p[:, np.arange(p.shape[1]) % 1024]), "the 1025th token at the position of the first", "in a tile of 1024", "planted"),
    ("queries-valid", _moved(_where_valid_keys_end, QUERY), "queries where valid keys end, whatever their positions", "where the last valid keys are", "Dao-AILab/flash-attention#1402"),
    ("from-the-least", _moved(lambda t, p: p - p.min(axis=1, keepdims=True)), "queries and keys counted from the smallest position of each", "less the smallest one", "planted"),
    ("first-key-0", _moved(lambda t, p: np.where(np.arange(p.shape[1]) == 0, 0, p), KEY), "the first key, which stays in a stream, at position 0", "the first of the keys at position 0", "planted"),
    ("offset-on-keys", _moved(lambda t, p: p + t.positions[QUERY][:, :1], KEY), "the offset of a cache added to its keys as well", "the offset of the queries added to the keys", "planted"),
    # --- rotated vectors
    ("first-matrix", _changed(_first_matrix), "one token: only the first matrix is rotated", "only the first head of the first batch", "oxiglade/mlx-rs#359, #357"),
    ("tables-tiled", _changed(_tables_tiled), "batch and heads flattened, tables tiled", "positions of another batch", "planted"),
    ("rows-of-the-group", _changed(_rows_of_the_group, QUERY), "heads of a group in one tile, rows for positions", "query heads of a group in one tile", "planted"),
    ("new-keys", _changed(_new_keys_alone, KEY), "only as many keys as there are queries are rotated", "of the last keys as there are queries", "planted"),
    ("keys-whole", _changed(_with(lambda t: replace(t, r=t.query.shape[3] // 2 * 2)), KEY), "the keys of a shifted cache turned in every column", "partial rotation ignored for the keys alone", "ggml-org/llama.cpp#4889"),
    ("across", _changed(_across), "partial: pairs across the whole dim", "turned with i + d/2", "apple/coreai-models#66"),
    ("rest-dropped", _changed(_rest_dropped), "partial: the other columns left out", "not rotated dropped", "planted"),
    ("odd-dropped", _changed(_odd_column_dropped), "the last column of an odd dim left out", "the last column of an odd dim", "planted"),
    ("magnitude-on-the-rest", _changed(_magnitude_on_the_rest), "yarn's magnitude on columns that are not rotated", "the magnitude on the columns", "planted"),
    ("decayed", _changed(_decayed), "the decay of xPos left on", "the decay of xPos", "planted"),
    # --- frequencies
    ("dynamic-count", _by_length(lambda t: t.shape[3]), "dynamic by the number of keys", "by the number of keys", "huggingface/transformers#25104"),
    ("dynamic-longest", _longest_so_far(), "dynamic frequencies that are not reset", None, "huggingface/transformers#46624"),
    ("linear-and-ntk", Steps(task=_linear_and_ntk), "linear raises the base as well", "linear: the base raised as well", "ml-explore/mlx-lm#1553"),
    ("linear-whole", Steps(task=_whole_numbers), "positions divided by the factor in integers", "positions divided in integers", "planted"),
    ("llama3-keys", _changed(_with(lambda t: replace(t, scaling=None) if t.scaling == "llama3" else t), KEY), "keys of a prefill without the bands", "the scaling ignored for the keys alone", "Xilinx/mlir-air#1948"),
    ("original-extended", _task(original=lambda t: int(t.original * t.s) if t.scaling in ("llama3", "yarn") else t.original), "the extended length taken for the original one", "the original length multiplied", "planted"),
    ("turns", _task(low=lambda t: t.low / (2 * math.pi), high=lambda t: t.high / (2 * math.pi)), "turns counted without 2π", "without 2π", "planted"),
    ("ntk-dim", _raised(lambda t: t.base * t.s ** (t.query.shape[3] / (t.query.shape[3] - 2)), "ntk"), "the exponent of ntk of the whole dim", "the exponent of ntk of the whole dim", "planted"),
    ("yarn-dim", _changed(_ramp_of_the_dim), "the ramp of yarn of the whole dim", "the ramp of the whole dim", "planted"),
    ("magnitude-ten", _rotary(magnitude=lambda t: 1 + 0.1 * math.log10(t.s) if t.scaling == "yarn" and t.given is None else rope.Steps.magnitude(t)), "a magnitude by the logarithm to base 10", "logarithm to base 10", "planted"),
    ("multiple-of-8", _task(r=lambda t: t.r // 8 * 8 or t.r), "a rotary dim rounded down to a multiple of 8", "down to a multiple of 8", "planted"),
    ("local-layer", _when(lambda t: t.window is not None, _task(base=lambda t: 10000.0, scaling=lambda t: None)), "with a window the base and the scaling of local layers", "with a window the base is 10000", "ggml-org/llama.cpp#12373"),
    # --- masks
    ("window-by-positions", _when(lambda t: t.window is not None, _hiding(_in_window, window=None)), "a window that compares positions", "window by positions", "planted"),
    ("lengths-by-positions", _when(lambda t: t.key_lengths is not None and t.causal != "bottom-right", _hiding(_in_length, key_lengths=None)), "lengths that are compared with positions", "key lengths compared with positions", "planted"),
    ("causal-by-first", _when(lambda t: t.causal is not None, _hiding(_from_the_first, causal=None)), "a causal mask shifted by the first positions", "shifted by the first positions", "planted"),
    ("causal-unasked", _when(lambda t: t.causal is None, _hiding(lambda t: _apart(t) >= 0)), "a causal mask that nobody asked for", "by positions that nobody asked for", "planted"),
    ("position-0-hidden", _hiding(lambda t: (t.positions[KEY] != 0)[:, None, None]), "position 0 taken for padding", "keys at position 0 taken for padding", "planted"),
    # --- relative biases
    ("softcap-last", _cap_last(kernel), "the softcap of score and relative bias", "softcap after the bias", "sgl-project/sgl-kernel-xpu#491"),
    ("lse-unbiased", kernel(Steps(), _lse_unbiased), "a log-sum-exp without the relative bias", "the log-sum-exp without the relative bias", "sgl-project/sgl-kernel-xpu#457"),
    ("bias-group", _relative_bias(lambda t, x: np.repeat(x[: t.key.shape[1]], len(x) // t.key.shape[1], axis=0) if len(x) > 1 else x), "the relative bias of the head of keys", "row h // group", "planted"),
    ("bias-one-row", _relative_bias(lambda t, x: x if len(x) > 1 else np.r_[x, np.zeros((t.query.shape[1] - 1, x.shape[1]), x.dtype)]), "one row of biases for the first head alone", "one row of relative biases", "planted"),
    ("bias-past", _relative_bias(_columns(lambda t, offset: np.maximum(offset, 0))), "buckets of one direction for both", "relative bias of offset 0 for keys after the query", "planted"),
    ("bias-32", _relative_bias(_columns(lambda t, offset: np.clip(offset, -32, 32))), "the number of buckets taken for the largest distance", "beyond 32 read at 32", "planted"),
    ("bias-tile", _bias_at(lambda t, i, j: i - j % 64), "the place of a key in its tile", "place of the key in its tile of 64", "pytorch/pytorch#159247"),
    ("bias-by-positions", _bias_at(lambda t, i, j: _apart(t)[:, 0]), "a relative bias of positions", "relative bias of the difference of positions", "planted"),
    ("bias-last-query", _bias_at(lambda t, i, j: t.shape[2] - 1 - j + 0 * i), "a slope times the column: the bias of the last query", "relative bias of the last query", "planted"),
    ("bias-hides-not", _relative_bias(lambda t, x: np.where(np.isfinite(x), x, x.dtype.type(0))), "−∞ taken for 0", "−∞ of the relative bias taken for 0", "planted"),
    ("shear-front", _sheared(0), "a shift that is cut at the wrong end", "cut at the wrong end", "labmlai/annotated_deep_learning_paper_implementations#185"),
    ("shear-one-sided", _sheared(1), "a shift for causal masks without one", "right for keys up to the query alone", "ZhengkunTian/OpenTransformer#25"),
    # --- W
    ("w-softcap-last", _cap_last(general), "the softcap of score and relative bias, in the general form", "softcap after the bias", "sgl-project/sgl-kernel-xpu#491"),
    ("w-one-a-row", general(Steps(task=_one_a_row)), "a support kept under its rows", "one place of W a row", "planted"),
    ("w-tile", general(Steps(weighed=_weights_of_tiles)), "W by the place of a key in its tile", "W by the place of the key in its tile of 64", "planted"),
    ("w-clipped", general(_task(relative=_weights_clipped)), "W of clipped distances", "W of offsets beyond 16", "planted"),
)  # fmt: skip

NARROW: tuple[Entry, ...] = tuple(
    Entry(name, kernel(bug) if isinstance(bug, Steps) else bug, ("float32",), why, source, diagnosis=words)
    for name, bug, why, words, source in _TABLE
)
