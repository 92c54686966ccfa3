"""What wrong kernels mean instead: other positions, other rotations, another W, and what attention kernels get wrong.

Where each was seen is told by the families that hunt it.
"""

from __future__ import annotations

import functools
import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.attention.meanings import MEANINGS as ATTENTION
from assay.conformance.diagnosis.meanings import Meaning, mixed, solves
from assay.conformance.rope.meanings import MEANINGS as ROPE
from assay.conformance.rope_attention import scores
from assay.conformance.rope_attention.options import CHANGES
from assay.conformance.softmax.masks import only_masked
from assay.spec import rope
from assay.spec.criterion import close
from assay.spec.enclosure import Enclosure
from assay.spec.rope_attention.definition import tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from assay.spec.criterion import Criterion
    from assay.spec.rope_attention import Instance

    Array = NDArray[np.float64]
    Places = NDArray[np.int64]
    Change = Callable[[Instance], Instance | None]
    Right = Callable[[Any], Mapping[str, Criterion] | None]
    Wrong = Callable[[Any, Right], Mapping[str, Criterion] | None]

__all__ = ["MEANINGS"]


# --- other positions --------------------------------------------------------------------------------------------------


def _rotary(change: Change) -> Change:
    """A change of the rotary form alone."""
    return lambda instance: change(instance) if instance.relative is None else None


def _with(*scalings: str, **changes: Any) -> Wrong:
    """The meaning of a kernel that solves the instance with some fields changed, each given or a function of it.

    scalings: those under which it is another one, if not under all.
    """

    def change(instance: Instance) -> Instance | None:
        if scalings and instance.scaling not in scalings:
            return None
        values = {name: value(instance) if callable(value) else value for name, value in changes.items()}
        same = all(np.array_equal(getattr(instance, name), value) for name, value in values.items())
        return None if same else instance.replace(**values)

    return solves(_rotary(change))


def _places(move: Callable[[Instance, Places], Places], *sides: int) -> Change:
    """Other positions of queries (0), of keys (1), or of both; ``None`` where no difference of two changes."""

    def change(instance: Instance) -> Instance | None:
        before = instance.positions()
        after = [
            move(instance, places).astype(np.int64) if side in (sides or (0, 1)) else places
            for side, places in enumerate(before)
        ]
        if all(np.array_equal(x, y) for x, y in zip(before, after, strict=True)):
            return None
        return instance.replace(query_positions=after[0], key_positions=after[1])

    return _rotary(change)


def _at(move: Callable[[Instance, Places], Places], *sides: int) -> Wrong:
    return solves(_places(move, *sides))


def _counted(instance: Instance, p: Places) -> Places:
    return np.broadcast_to(np.arange(p.shape[1]), p.shape)


def _fragment(instance: Instance, p: Places) -> Places:
    half = p.shape[1] // 2
    return np.concatenate([p[:, :half], p[:, half:] - p[:, half : half + 1]], axis=1) if half else p


def _retained(instance: Instance, p: Places) -> Places:
    moved: Places = p - p[:, :1] + instance.key.shape[2] - instance.query.shape[2]
    return moved


def _in_the_padding(instance: Instance, p: Places) -> Places:
    if instance.key_lengths is None:
        return p
    counted: Places = p - (p.shape[1] - instance.key_lengths.astype(np.int64))[:, None]
    return counted


def _with_the_stride_of(side: int) -> Callable[[Instance, Places], Places]:
    """Batch b read from b·n on, where n is the number of the queries (0), or of the keys (1)."""

    def read(instance: Instance, p: Places) -> Places:
        stride = (instance.query, instance.key)[side].shape[2]
        if len(p) == 1:
            return p
        places = np.arange(len(p))[:, None] * stride + np.arange(p.shape[1])
        return np.asarray(np.ravel(p)[np.minimum(places, p.size - 1)])

    return read


def _of_the_queries(instance: Instance, p: Places) -> Places:
    queries = instance.positions()[0]
    return queries if queries.shape[1] == p.shape[1] else p


def _of_the_last_keys(instance: Instance, p: Places) -> Places:
    n, keys = p.shape[1], instance.positions()[1]
    return keys[:, keys.shape[1] - n :] if n <= keys.shape[1] else p


def _after_valid_keys(instance: Instance, p: Places) -> Places:
    if instance.key_lengths is None:
        return p
    places: Places = instance.key_lengths.astype(np.int64)[:, None] - p.shape[1] + np.arange(p.shape[1])
    return places


def _in_tile(tile: int, instance: Instance, p: Places) -> Places:
    return p[:, np.arange(p.shape[1]) % tile]


def _a_tile_late(tile: int, instance: Instance, p: Places) -> Places:
    places = np.arange(p.shape[1])
    return p[:, np.where(places < tile, places, places - tile)]


def _divided_in_integers(instance: Instance) -> Instance | None:
    if instance.scaling != "linear" or instance.factor is None or instance.factor < 2:
        return None
    queries, keys = (np.floor_divide(p, int(instance.factor)) for p in instance.positions())
    return instance.replace(scaling=None, factor=None, query_positions=queries, key_positions=keys)


#: What becomes of positions beyond a table.
_BEYOND: dict[str, Callable[..., Places]] = {
    "not rotated": lambda i, p, end: np.where(p >= end, 0, p),
    "rotated by its last row": lambda i, p, end: np.minimum(p, end - 1),
    "begun again": lambda i, p, end: p % end,
}


def _seen_by_positions(instance: Instance) -> Instance | None:
    """The causal mask and the window compare positions, in place of the numbers of queries and keys."""
    if instance.causal is None:
        return None
    return _only_seen(instance, _before(instance), causal=None, window=None)


def _only_seen(instance: Instance, seen: Any, **without: Any) -> Instance | None:
    """The mask that hides what the instance without some options hides, and what is not seen."""
    return only_masked(instance, seen & instance.replace(**without).visible())  # type: ignore[arg-type, return-value]


def _apart(instance: Instance) -> Places:
    """The position of each query less that of each key, (1 or b, 1, n_q, n_k)."""
    queries, keys = instance.positions()
    difference: Places = queries[:, None, :, None] - keys[:, None, None, :]
    return difference


def _before(instance: Instance) -> NDArray[np.bool_]:
    return np.asarray(_apart(instance) >= 0)


def _causal_by_first(instance: Instance) -> Instance | None:
    if instance.causal is None:
        return None
    i, j = np.ogrid[: instance.query.shape[2], : instance.key.shape[2]]
    return _only_seen(instance, j <= i + _apart(instance)[:, :, :1, :1], causal=None)


def _window_by_positions(instance: Instance) -> Instance | None:
    if instance.window is None:
        return None
    (left, right), apart = instance.window, _apart(instance)
    seen = (apart <= (math.inf if left is None else left)) & (-apart <= (math.inf if right is None else right))
    return _only_seen(instance, seen, window=None)


def _lengths_by_positions(instance: Instance) -> Instance | None:
    if instance.key_lengths is None or instance.causal == "bottom-right":
        return None
    seen = instance.positions()[1] < instance.key_lengths.astype(np.int64)[:, None]
    return _only_seen(instance, seen[:, None, None, :], key_lengths=None)


def _rotated_values(instance: Instance) -> Instance | None:
    if instance.relative is not None or instance.value.shape != instance.key.shape:
        return None
    turned = rope.define(tokens(instance), 1e-9).midpoint[:, :: instance.group, instance.query.shape[2] :]
    if not np.array_equal(instance.key, instance.value):
        turned = rope.define(tokens(instance.replace(key=instance.value)), 1e-9).midpoint
        turned = turned[:, :: instance.group, instance.query.shape[2] :]
    wide = {name: getattr(instance, name).astype(np.float64) for name in ("query", "key")}
    return instance.replace(**wide, value=turned)


def _other_columns(columns: Callable[[Instance], NDArray[np.intp] | None]) -> Wrong:
    """The columns of queries and keys in another order before they are rotated, which only the rotation notices."""

    def change(instance: Instance) -> Instance | None:
        order = columns(instance)
        if order is None:
            return None
        return instance.replace(query=instance.query[..., order], key=instance.key[..., order])

    return solves(_rotary(change))


def _across(instance: Instance) -> NDArray[np.intp] | None:
    d, half = instance.query.shape[3], instance.rotated // 2
    if instance.layout != "halves" or d % 2 or 2 * half == d:
        return None
    front = np.r_[:half, d // 2 : d // 2 + half]
    return np.concatenate([front, np.setdiff1d(np.arange(d), front)]).astype(np.intp)


def _multiplied(factors: Callable[[Instance], tuple[Any, Any] | None]) -> Wrong:
    """Queries and keys multiplied, column by column and place by place, before they are rotated."""

    def change(instance: Instance) -> Instance | None:
        both = factors(instance)
        if both is None:
            return None
        wide = {name: getattr(instance, name).astype(np.float64) for name in ("query", "key", "value")}
        return instance.replace(**wide | {"query": wide["query"] * both[0], "key": wide["key"] * both[1]})

    return solves(_rotary(change))


def _magnitude_on_the_rest(instance: Instance) -> tuple[Any, Any] | None:
    d = instance.query.shape[3]
    if instance.scaling != "yarn" or instance.rotated == d or instance.factor is None:
        return None
    m = instance.attention_factor or 1 + 0.1 * math.log(instance.factor)
    column = np.where(np.arange(d) < instance.rotated, 1.0, m)
    return column, column


def _without_the_rest(instance: Instance) -> tuple[Any, Any] | None:
    d = instance.query.shape[3]
    column = (np.arange(d) < instance.rotated).astype(np.float64)
    return (column, column) if instance.rotated < d else None


def _without_the_odd_column(instance: Instance) -> tuple[Any, Any] | None:
    d = instance.query.shape[3]
    column = (np.arange(d) < d - 1).astype(np.float64)
    return (column, column) if d % 2 else None


def _decay(instance: Instance) -> tuple[Any, Any] | None:
    """xPos: queries by ζ^(p/512), keys by ζ^(−p/512), ζ = (l/(r/2) + 0.4)/1.4 of pair l."""
    r, d = instance.rotated, instance.query.shape[3]
    pair = np.arange(r // 2) / (r // 2)
    zeta = np.tile(pair, 2) if instance.layout == "halves" else np.repeat(pair, 2)
    rate = np.log(np.r_[(zeta + 0.4) / 1.4, np.ones(d - r)])
    queries, keys = (np.clip(p, -(1 << 14), 1 << 14)[:, None, :, None] / 512 for p in instance.positions())
    return np.exp(queries * rate), np.exp(-keys * rate)


# --- other rotations --------------------------------------------------------------------------------------------------


def _rotated_by(criteria: Wrong, sides: tuple[int, ...] = (0, 1)) -> Wrong:
    """The meaning of a kernel whose rotation is that of a meaning of ``rope``, on both sides or on one.

    The wrongly rotated vectors are those of an instance with no position, whose tolerance is then that of attention;
    the tolerance of the right instance, which pays for the angles, is added.
    """

    def wrong(instance: Instance, right: Right) -> Mapping[str, Criterion] | None:
        if instance.relative is not None:
            return None
        turning = tokens(instance)
        meant, own = criteria(turning, _exactly), right(instance)
        if meant is None or own is None or meant["query"].value is None:
            return None
        n_q = instance.query.shape[2]
        vectors = [meant["query"].value.midpoint, rope.define(turning, 1e-9).midpoint]
        query, key = (
            (vectors[0] if side in sides else vectors[1])[:, :, part]
            for side, part in enumerate((slice(n_q), slice(n_q, None)))
        )
        other = right(_unrotated(instance, query, key))
        if other is None:
            return None
        return {
            name: criterion.about(criterion.value, criterion.allowed + own[name].allowed)
            for name, criterion in other.items()
            if criterion.value is not None
        }

    return wrong


def _exactly(instance: rope.Instance) -> Mapping[str, Criterion]:
    """The rotated vectors, which nothing may be off."""
    value = rope.define(instance, 1e-9)
    return {"query": close(value, np.zeros(value.midpoint.shape))}


#: The fields of a rotation without a scaling.
_UNSCALED: Mapping[str, Any] = {
    "scaling": None, "factor": None, "original_length": None, "low_frequency": None, "high_frequency": None,
    "truncate": True, "attention_factor": None,
}  # fmt: skip


def _unrotated(instance: Instance, query: Array, key: Array) -> Instance:
    """Attention of vectors that are rotated already, every query head with a key head of its own."""
    h = instance.query.shape[1]
    return instance.replace(
        query=query, key=key, value=np.repeat(instance.value.astype(np.float64), h // instance.key.shape[1], axis=1),
        base=10000.0, layout="halves", rotary_dim=None if query.shape[3] % 2 == 0 else query.shape[3] - 1, **_UNSCALED,
        query_positions=np.zeros(query.shape[2], np.int64), key_positions=np.zeros(key.shape[2], np.int64),
    )  # fmt: skip


def _by_heads(move: Callable[[Instance, int, Places], Places]) -> Wrong:
    """Positions of each head: move(instance, side, places), of queries (0) or keys (1), (b, h_q, length)."""

    def wrong(instance: Instance, right: Right) -> Mapping[str, Criterion] | None:
        if instance.relative is not None:
            return None
        b, h = instance.query.shape[:2]
        before = [np.broadcast_to(p[:, None], (b, h, p.shape[1])) for p in instance.positions()]
        after = [move(instance, side, places) for side, places in enumerate(before)]
        if all(np.array_equal(x, y) for x, y in zip(before, after, strict=True)):
            return None

        def meant(turning: rope.Instance, exactly: Right) -> Mapping[str, Criterion] | None:
            shape = turning.query.shape
            places = np.concatenate(after, axis=2).reshape(b * h, shape[2])
            apart = exactly(turning.replace(query=turning.query.reshape(b * h, 1, *shape[2:]), positions=places))
            assert apart is not None
            assert apart["query"].value is not None
            value = Enclosure(*(getattr(apart["query"].value, name).reshape(shape) for name in ("midpoint", "radius")))
            return {"query": close(value, np.zeros(shape))}

        return _rotated_by(meant)(instance, right)

    return wrong


def _tables_tiled(instance: Instance, side: int, places: Places) -> Places:
    """Row number b·heads + head of the flattened array by the positions of that number modulo the batch."""
    b, h = places.shape[:2]
    heads = (instance.query, instance.key)[side].shape[1]
    rows = np.arange(b)[:, None] * heads + np.arange(h) // (h // heads)
    return np.asarray(places[rows % b, 0])


def _rows_of_the_group(instance: Instance, side: int, places: Places) -> Places:
    return places if side else places + (np.arange(places.shape[1]) % instance.group)[:, None]


def _only_where(which: Callable[[Instance, int], Any]) -> Wrong:
    """Some tokens alone rotated: which(instance, side), of queries (0) or keys (1), broadcastable to (b, h_q, length)."""

    def wrong(instance: Instance, right: Right) -> Mapping[str, Criterion] | None:
        if instance.relative is not None:
            return None
        (b, h), lengths = instance.query.shape[:2], (instance.query.shape[2], instance.key.shape[2])
        turned = [np.broadcast_to(which(instance, side), (b, h, n)) for side, n in enumerate(lengths)]

        def meant(turning: rope.Instance, exactly: Right) -> Mapping[str, Criterion] | None:
            rotated = exactly(turning)
            assert rotated is not None
            assert rotated["query"].value is not None
            value, kept = rotated["query"].value, np.concatenate(turned, axis=2)[..., None]
            midpoint = np.where(kept, value.midpoint, turning.query.astype(np.float64))
            return {"query": close(Enclosure(midpoint, value.radius), np.zeros(midpoint.shape))}

        return None if all(kept.all() for kept in turned) else _rotated_by(meant)(instance, right)

    return wrong


def _only_some(
    kept: Callable[[NDArray[np.intp], NDArray[np.intp]], Any], single: bool, instance: Instance, side: int
) -> Any:
    """Some batches and heads: kept(b, head of the array).  single: all of them where there are several tokens."""
    b, h = instance.query.shape[:2]
    batch, head = np.ogrid[:b, :h]
    several = single and (instance.query, instance.key)[side].shape[2] != 1
    return np.broadcast_to(kept(batch, head // (instance.group if side else 1)) | several, (b, h))[..., None]


def _new_keys(instance: Instance, side: int) -> Any:
    """As many of the last keys as there are queries."""
    n_q, n_k = instance.query.shape[2], instance.key.shape[2]
    return np.arange(n_k) >= n_k - n_q if side else True


def _same(instance: rope.Instance, right: Right) -> Mapping[str, Criterion] | None:
    return right(instance)


def _still(instance: rope.Instance, right: Right) -> Mapping[str, Criterion] | None:
    return right(instance.replace(positions=0 * instance.positions, scaling=None))


def _moved(move: Callable[[Places], Places]) -> Wrong:
    return solves(lambda i: i.replace(positions=move(np.atleast_2d(i.positions)).astype(np.int64)))


def _own_lengths(instance: Instance, right: Right) -> Mapping[str, Criterion] | None:
    """dynamic: queries by the frequencies of their positions alone, keys by those of theirs."""
    if instance.scaling != "dynamic":
        return None
    n_q = instance.query.shape[2]

    def apart(turning: rope.Instance, exactly: Right) -> Mapping[str, Criterion] | None:
        parts = []
        for part in (range(n_q), range(n_q, turning.query.shape[2])):
            one = exactly(turning.part(length=part))
            assert one is not None
            assert one["query"].value is not None
            parts.append(one["query"].value)
        midpoint, radius = (
            np.concatenate([getattr(one, name) for one in parts], axis=2) for name in ("midpoint", "radius")
        )
        value = Enclosure(midpoint, radius)
        return {"query": close(value, np.zeros(value.midpoint.shape))}

    return _rotated_by(apart)(instance, right)


# --- relative biases --------------------------------------------------------------------------------------------------


def _bias(change: Callable[[Instance, Any], Any]) -> Wrong:
    """Another relative bias, where there is one."""

    def changed(instance: Instance) -> Instance | None:
        array = instance.relative_bias
        return None if array is None else instance.replace(relative_bias=change(instance, array))

    return solves(changed)


def _column(x: NDArray[Any], columns: NDArray[np.intp]) -> NDArray[Any]:
    """Other columns of an array of offsets; those beyond its ends are its first and its last one."""
    return np.ascontiguousarray(x[:, np.clip(columns, 0, x.shape[1] - 1)])


def _heads_of(row: Callable[[Instance, NDArray[np.intp]], NDArray[np.intp]]) -> Callable[[Instance, Any], Any]:
    """The row that is read for every query head, where heads differ."""
    return lambda instance, x: x if len(x) == 1 else x[row(instance, np.arange(len(x)))]


def _columns(change: Callable[[Instance, NDArray[np.intp]], NDArray[Any]]) -> Callable[[Instance, Any], Any]:
    """change(instance, columns): the column that is read for each."""
    return lambda instance, x: _column(x, np.asarray(change(instance, np.arange(x.shape[1]))))


def _diagonal(instance: Instance) -> int:
    """The column of offset 0."""
    return int(instance.key.shape[2]) - 1


def _clipped(most: int, instance: Instance, t: NDArray[np.intp]) -> NDArray[np.intp]:
    return np.clip(t, _diagonal(instance) - most, _diagonal(instance) + most)


def _by_positions(instance: Instance, i: NDArray[np.intp], j: NDArray[np.intp]) -> NDArray[np.intp] | None:
    if instance.relative is not None:
        return None
    queries, keys = instance.positions()
    return np.asarray(queries[:, :, None] - keys[:, None, :] + _diagonal(instance))


#: What is read for a query and a key: of W, and of a relative bias.
_READ_AT: tuple[tuple[str, str, Any], ...] = (
    *(
        (f"tile-{tile}", f"{{}} by the place of the key in its tile of {tile}", functools.partial(lambda tile, x, i, j: i - j % tile + _diagonal(x), tile))
        for tile in (16, 32, 64, 128)
    ),
    *(
        (f"rows-{tile}", f"{{}} by the place of the query in its tile of {tile}", functools.partial(lambda tile, x, i, j: i % tile - j + _diagonal(x), tile))
        for tile in (16, 32, 64, 128)
    ),
    ("last-query", "{} of the last query for every query", lambda x, i, j: x.query.shape[2] - 1 + 0 * i - j + _diagonal(x)),
    ("first-query", "{} of the first query for every query", lambda x, i, j: 0 * i - j + _diagonal(x)),
    ("positions", "{} of the difference of positions, where queries and keys are to be counted", _by_positions),
)  # fmt: skip


#: What is read for a column: of W, and of a relative bias.
_READ: tuple[tuple[str, str, Callable[[Instance, NDArray[np.intp]], Any]], ...] = (
    ("zero", "{} of offset 0 for every key", lambda i, t: 0 * t + _diagonal(i)),
    ("opposite", "{} of the opposite offset, j − i", lambda i, t: 2 * _diagonal(i) - t),
    ("reversed", "{} read from the last offset to the first", lambda i, t: len(t) - 1 - t),
    ("plus", "{} off by one: of i − j + 1", lambda i, t: t + 1),
    ("minus", "{} off by one: of i − j − 1", lambda i, t: t - 1),
    ("queries", "{} counted from n_q − 1, not from n_k − 1", lambda i, t: t + i.query.shape[2] - i.key.shape[2]),
    ("aligned", "{} aligned bottom-right: the last query beside the last key", lambda i, t: t + i.key.shape[2] - i.query.shape[2]),
    ("size", "{} of the size of the offset, |i − j|", lambda i, t: np.abs(t - _diagonal(i)) + _diagonal(i)),
    ("past", "{} of offset 0 for keys after the query", lambda i, t: np.maximum(t, _diagonal(i))),
    *(
        (f"clipped-{n}", f"{{}} of offsets beyond {n} read at {n}", functools.partial(_clipped, n))
        for n in (4, 8, 16, 32, 64, 128)
    ),
)  # fmt: skip


# --- W ----------------------------------------------------------------------------------------------------------------


def _weights(change: Callable[[Instance, Any], Any]) -> Wrong:
    """Another W, in the general form."""

    def changed(instance: Instance) -> Instance | None:
        array = instance.relative
        return None if array is None else instance.replace(relative=change(instance, array))

    return solves(changed)


def _kept_places(kept: Callable[[Instance], NDArray[np.bool_]]) -> Wrong:
    """Places of W where it is 0."""
    return _weights(lambda i, w: np.where(np.asarray(kept(i))[:, None], w, w.dtype.type(0)))


def _last_of(axis: int, instance: Instance) -> NDArray[np.bool_]:
    """Which places are the last one of their row (axis 0), or of their column (axis 1)."""
    places = [place[axis] for place in instance.support or ()]
    return np.array([place not in places[number + 1 :] for number, place in enumerate(places)])


def _wrapped(instance: Instance, t: NDArray[np.intp]) -> NDArray[np.intp]:
    """Offsets modulo the longer of both lengths."""
    n, first = max(instance.query.shape[2], instance.key.shape[2]), _diagonal(instance)
    again = (t - first) % n + first
    return np.where(again < len(t), again, t)


def _support(change: Callable[[tuple[int, int]], tuple[int, int]]) -> Wrong:
    def changed(instance: Instance) -> Instance | None:
        if instance.support is None:
            return None
        places = tuple(change(place) for place in instance.support)
        return None if places == instance.support else instance.replace(support=places)

    return solves(changed)


def _scaled(factor: Callable[[Instance], float]) -> Wrong:
    return solves(lambda i: None if factor(i) == 1.0 else i.replace(scale=(i.scale or 0.0) * factor(i)))


# --- the table --------------------------------------------------------------------------------------------------------

#: Meanings of ``rope`` that are about the rotation itself; those about positions are told here side by side.
_OF_ROPE = (
    "layout", "table-halves", "table-pairs", "sign", "sign-lost", "last-pair", "pairs-2", "pairs-4", "pairs-8", "pairs-16", "pairs-32",
    "position-heads", "rotary-ignored", "rotary-exponent", "rotary-last", "base-default", "base-500000", "exponent-half",
    "exponent-twice", "exponent-shifted", "exponent-ends", "exponent-whole", "inverted", "reversed", "scaling-ignored",
    "scaling-linear", "scaling-ntk", "factor-inverted", "factor-everywhere", "factor-twice", "ntk-exponent",
    "dynamic-always", "dynamic-constant", "llama3-exchanged", "llama3-hard", "band-usual", "yarn-inverted", "yarn-ends",
    "yarn-dim",
    "magnitude-left-out", "magnitude-formula", "magnitude-again", "magnitude-squared", "position-twice",
)  # fmt: skip

#: Meanings of attention that look at products of queries and keys as they come, or at what rotary attention has not.
_NOT_OF_ATTENTION = (
    "softcap-after-bias", "softcap-raw", "nothing-rescaled", "numerator-not-rescaled", "denominator-not-rescaled",
    "lse-without-maximum", "lse-only-maximum", "key-not-transposed", "bound-of", "window-unasked", "keys-", "value-64",
    "query-64", "alibi-slopes", "exchanged", "scale-padded", "tail-overlap", "rows-blank-8", "rows-blank-128",
    "dim-last", "query-tail", "tail-zero", "tail-clamped", "mask-value",
)  # fmt: skip


def _rows() -> Iterator[tuple[str, str, Wrong]]:
    """Every row: an identifier, a sentence, and what would be right."""
    # one meaning a line
    # fmt: off
    for side, called in enumerate(("queries", "keys")):
        other = ("keys", "queries")[side]
        yield f"{called}-plus", f"{called} one position too far from the {other}", _at(lambda i, p: p + 1, side)
        yield f"{called}-minus", f"{called} one position too near to the {other}", _at(lambda i, p: p - 1, side)
        yield f"{called}-ignored", f"positions of the {called} ignored: 0 … n − 1", _at(_counted, side)
        yield f"{called}-twice-offset", f"the offset of the {called} added twice: by the first position too far", _at(lambda i, p: p + p[:, :1], side)
        yield f"{called}-start", f"consecutive positions of {called} assumed: the first one and those after it", _at(lambda i, p: p[:, :1] + np.arange(p.shape[1]), side)
        yield f"{called}-batch", f"positions of the first batch used for the {called} of every batch", _at(lambda i, p: p[:1], side)
        yield f"{called}-cursor", f"{called} of every batch at the largest position of all batches", _at(lambda i, p: np.broadcast_to(p.max(axis=0), p.shape), side)
        yield f"{called}-first", f"the position of the first of the {called} for all of them", _at(lambda i, p: p[:, :1] + 0 * p, side)
        yield f"{called}-plain", f"the {called} are not rotated", _rotated_by(_still, (side,))
        yield f"{called}-sign", f"the {called} are rotated with the wrong sign", _rotated_by(_moved(np.negative), (side,))
        yield f"{called}-twice", f"the {called} are rotated twice", _rotated_by(_moved(lambda p: 2 * p), (side,))
        yield f"{called}-last-odd", f"an odd number of {called}: the last one is not rotated", _at(lambda i, p: np.where((np.arange(p.shape[1]) == p.shape[1] - 1) & (p.shape[1] % 2 == 1) & (p.shape[1] > 1), 0, p), side)
        yield f"{called}-stride", f"positions of the {called} of a batch read where those of the {other} would begin", _at(_with_the_stride_of(1 - side), side)
        yield f"{called}-zero", f"the first of the {called} at position 0", _at(lambda i, p: np.where(np.arange(p.shape[1]) == 0, 0, p), side)
        for tile in (16, 32, 64, 128, 256, 512, 1024, 2048):
            yield f"{called}-tile-{tile}", f"positions of the {called} read by their place in a tile of {tile}", _at(functools.partial(_in_tile, tile), side)
            yield f"{called}-late-{tile}", f"positions of the {called} of the tile of {tile} before", _at(functools.partial(_a_tile_late, tile), side)
    for tile in (16, 32, 64, 128, 256, 512, 1024, 2048):
        yield f"position-tile-{tile}", f"positions read by the place of a token in a tile of {tile}", _at(functools.partial(_in_tile, tile))
    yield "keys-of-queries", "keys at the positions of the queries", _at(_of_the_queries, 1)
    yield "queries-of-keys", "queries at the positions of the last keys", _at(_of_the_last_keys, 0)
    yield "queries-valid", "queries where the last valid keys are, by key lengths", _at(_after_valid_keys, 0)
    yield "position-least", "positions of queries and of keys less the smallest one of each", _at(lambda i, p: p - p.min(axis=1, keepdims=True))
    yield "position-negative", "negative positions taken for 0", _at(lambda i, p: np.maximum(p, 0))
    for bits in (8, 16):
        yield f"position-int{bits}", f"positions in an integer of {bits} bits with a sign", _at(functools.partial(lambda dtype, i, p: p.astype(dtype), np.dtype(f"int{bits}")))
    yield "position-tiled", "batch and heads in one axis: positions of another batch than that of the head", _by_heads(_tables_tiled)
    yield "queries-grouped", "query heads of a group in one tile: each one position farther", _by_heads(_rows_of_the_group)
    for single, when in ((False, ""), (True, "one token: ")):
        yield f"only-matrix-{single}", f"{when}only the first head of the first batch is rotated", _only_where(functools.partial(_only_some, lambda b, h: (b == 0) & (h == 0), single))
        yield f"only-batch-{single}", f"{when}only the first batch is rotated", _only_where(functools.partial(_only_some, lambda b, h: (b == 0) | (h < 0), single))
        yield f"only-head-{single}", f"{when}only the first head is rotated", _only_where(functools.partial(_only_some, lambda b, h: (h == 0) | (b < 0), single))
    yield "keys-new", "only as many of the last keys as there are queries are rotated", _only_where(_new_keys)
    yield "keys-offset", "the offset of the queries added to the keys", _at(lambda i, p: p + i.positions()[0][:, :1], 1)
    yield "queries-retained", "queries counted from the number of keys, as what a cache retains", _at(_retained, 0)
    yield "keys-fragment", "the second half of the keys begins again, as a fragment of its own", _at(_fragment, 1)
    yield "keys-padded", "keys counted in the padded batch, not in their own text", _at(_in_the_padding, 1)
    yield "position-ignored", "positions ignored: 0 … n − 1, of queries and keys", _at(_counted)
    yield "position-start", "consecutive positions assumed: the first one and those after it, of queries and keys", _at(lambda i, p: p[:, :1] + np.arange(p.shape[1]))
    yield "position-batch", "positions of the first batch used for every batch", _at(lambda i, p: p[:1])
    yield "position-sorted", "positions sorted", _at(lambda i, p: np.sort(p, axis=1))
    yield "position-size", "the sign of positions lost", _at(lambda i, p: np.abs(p))
    yield "position-exchanged", "positions of queries and keys exchanged", solves(_rotary(lambda i: i.replace(query_positions=i.key_positions, key_positions=i.query_positions) if i.query.shape[2] == i.key.shape[2] and not np.array_equal(*i.positions()) else None))
    yield "position-none", "nothing is rotated: positions left out", solves(_rotary(lambda i: i.replace(query_positions=np.zeros(i.query.shape[2], np.int64), key_positions=np.zeros(i.key.shape[2], np.int64))))
    for end, (word, move) in itertools.product((1 << power for power in range(2, 18)), _BEYOND.items()):
        yield f"table-{end}-{word}", f"positions beyond a table of {end}: {word}", _at(functools.partial(move, end=end))
    yield "causal-by-positions", "causal mask by positions, where queries and keys are to be counted", solves(_rotary(_seen_by_positions))
    yield "causal-by-first", "causal mask shifted by the first positions of queries and keys, where they are to be counted", solves(_rotary(_causal_by_first))
    yield "causal-unasked-positions", "a causal mask by positions that nobody asked for", solves(_rotary(lambda i: _only_seen(i, _before(i)) if i.causal is None else None))
    yield "window-by-positions", "window by positions, where queries and keys are to be counted", solves(_rotary(_window_by_positions))
    yield "lengths-by-positions", "key lengths compared with positions, where keys are to be counted", solves(_rotary(_lengths_by_positions))
    yield "position-0-hidden", "keys at position 0 taken for padding", solves(_rotary(lambda i: _only_seen(i, (i.positions()[1] != 0)[:, None, None, :])))
    yield "values-rotated", "the values are rotated as well", solves(_rotated_values)
    yield "scale-rotary", "the scale of the rotary columns, 1/√r", _scaled(lambda i: float(np.sqrt(i.query.shape[3] / i.rotated)) if i.relative is None else 1.0)
    rope_meanings = {meaning.id: meaning for meaning in ROPE}
    for name in _OF_ROPE:
        yield f"rope-{name}", rope_meanings[name].sentence, _rotated_by(rope_meanings[name].criteria)
    for side, called in enumerate(("queries", "keys")):
        yield f"scaling-{called}", f"the scaling ignored for the {called} alone", _rotated_by(rope_meanings["scaling-ignored"].criteria, (side,))
        yield f"rotary-{called}", f"partial rotation ignored for the {called} alone: every column rotated", _rotated_by(rope_meanings["rotary-ignored"].criteria, (side,))
    yield "rotary-across", "partial rotation: column i turned with i + d/2 instead of i + r/2", _other_columns(_across)
    yield "rotary-odd", "the last column of an odd dim dropped", _multiplied(_without_the_odd_column)
    yield "rotary-alone", "partial rotation: the columns that are not rotated dropped", _multiplied(_without_the_rest)
    for multiple in (8, 16, 32):
        yield f"rotary-multiple-{multiple}", f"the rotary dim rounded down to a multiple of {multiple}", _with(rotary_dim=functools.partial(lambda m, i: i.rotated // m * m if i.rotated > m and i.rotated % m else i.rotary_dim, multiple))
    yield "decay", "the decay of xPos with the distance", _multiplied(_decay)
    yield "magnitude-rest", "the magnitude on the columns that are not rotated, too", _multiplied(_magnitude_on_the_rest)
    yield "original-extended", "the original length multiplied by the factor", _with("dynamic", "llama3", "yarn", original_length=lambda i: int(i.original_length * i.factor))
    yield "turns", "turns of the original length counted without 2π", _with("llama3", "yarn", low_frequency=lambda i: i.low_frequency / (2 * math.pi), high_frequency=lambda i: i.high_frequency / (2 * math.pi))
    yield "ntk-dim", "partial rotation: the exponent of ntk of the whole dim, d/(d − 2)", _with("ntk", scaling=None, base=lambda i: i.base * i.factor ** (i.query.shape[3] / (i.query.shape[3] - 2)))
    for identifier, called, number in (
        ("ten", "with a logarithm to base 10", lambda s: 1 + 0.1 * math.log10(s)),
        ("two", "with a logarithm to base 2", lambda s: 1 + 0.1 * math.log2(s)),
        ("one", "without its 1", lambda s: 0.1 * math.log(s)),
    ):
        yield f"magnitude-{identifier}", f"the magnitude {called}", _with("yarn", attention_factor=functools.partial(lambda of, i: i.attention_factor or of(i.factor), number))
    yield "linear-whole", "linear: positions divided in integers", solves(_rotary(_divided_in_integers))
    yield "linear-raised", "linear: the base raised as well, as of ntk", _with("linear", base=lambda i: i.base * i.factor ** (i.rotated / (i.rotated - 2)))
    for identifier, called, length in (
        ("keys", "by the number of keys, not by the largest position", lambda i: i.key.shape[2]),
        ("last", "by the largest position, not by the length that is one more", lambda i: max(int(p.max()) for p in i.positions())),
        ("kept", "the frequencies of an earlier, longer call", lambda i: 1 + max(int(p.max()) for p in CHANGES["longer-text"](i).positions())),
    ):
        yield f"dynamic-{identifier}", f"dynamic: {called}", _with("dynamic", scaling="ntk", factor=functools.partial(lambda n, i: max(i.factor * n(i) / i.original_length - (i.factor - 1), 1.0), length))
    yield "local-layer", "with a window the base is 10000 and nothing is scaled, as of another kind of layer", solves(_rotary(lambda i: None if i.window is None or (i.base == 10000 and i.scaling is None) else i.replace(base=10000.0, **_UNSCALED)))
    yield "dynamic-own", "dynamic: queries and keys by lengths of their own", _own_lengths
    yield "magnitude-queries", "the magnitude on one side alone, queries or keys", _rotated_by(_with_rope(attention_factor=1.0), (1,))
    yield "bias-ignored", "relative bias ignored", _with_any(relative_bias=None)
    for name, sentence, read in _READ:
        yield f"bias-{name}", sentence.format("relative bias"), _bias(_columns(read))
    for name, sentence, read_at in _READ_AT:
        yield f"bias-{name}", sentence.format("relative bias"), solves(scores.bias_read_at(read_at))
        yield f"weights-{name}", sentence.format("W"), solves(scores.weights_read_at(read_at))
    for cut, called in ((0, "and cut at the wrong end"), (1, "right for keys up to the query alone")):
        yield f"bias-shear-{cut}", f"relative bias shifted by a padded reshape, {called}", solves(functools.partial(scores.sheared, cut))
    yield "softcap-over-bias", "softcap after the bias instead of before it", solves(scores.cap_after_bias)
    yield "lse-unbiased", "the log-sum-exp without the relative bias", mixed(output=lambda i: i, log_sum_exp=lambda i: None if i.relative_bias is None else i.replace(relative_bias=None))
    yield "bias-group", "relative bias of the head of keys: row h // group", _bias(_heads_of(lambda i, h: h // i.group))
    yield "bias-group-modulo", "relative bias of row h modulo the heads of keys", _bias(_heads_of(lambda i, h: h % i.key.shape[1]))
    yield "bias-hides-not", "−∞ of the relative bias taken for 0", _bias(lambda i, x: np.where(np.isneginf(x.astype(np.float64)), 0.0, x.astype(np.float64)))
    yield "bias-head", "relative bias of the first head used for every head", _bias(lambda i, x: x[:1])
    yield "bias-one-row", "one row of relative biases for the first head alone", _bias(lambda i, x: x if len(x) > 1 else np.r_[x, np.zeros((i.query.shape[1] - 1, x.shape[1]), x.dtype)])
    yield "bias-scale", "relative bias multiplied by the scale", _bias(lambda i, x: x.astype(np.float64) * (i.scale or 0.0))
    yield "bias-twice", "relative bias added twice", _bias(lambda i, x: 2 * x.astype(np.float64))
    yield "bias-negated", "relative bias subtracted", _bias(lambda i, x: np.where(np.isfinite(x.astype(np.float64)), -x.astype(np.float64), -np.inf))
    for name, sentence, read in _READ:
        yield f"weights-{name}", sentence.format("W"), _weights(_columns(read))
    yield "weights-circular", "offsets begin again: W of i − j modulo the length, as of a transform without padding", _weights(_columns(_wrapped))
    yield "weights-transposed", "rows and columns of W exchanged", _support(lambda place: place[::-1])
    yield "weights-on-diagonal", "only the diagonal of W", _kept_places(lambda i: np.array([a == b for a, b in i.support or ()]))
    yield "weights-half", "only the first half of the support of W", _kept_places(lambda i: np.arange(len(i.support or ())) < (len(i.support or ()) + 1) // 2)
    yield "weights-last", "the last place of the support of W left out", _kept_places(lambda i: np.arange(len(i.support or ())) < len(i.support or ()) - 1)
    for axis, called in enumerate(("row", "column")):
        yield f"weights-{called}s", f"one place of W a {called}: the last one alone", _kept_places(functools.partial(_last_of, axis))
    yield "weights-one", "W left out: plain products of queries and keys", _plain_products
    yield "weights-scale", "the scale of the support, 1/√|S|", _scaled(lambda i: float(np.sqrt(i.query.shape[3] / len(i.support))) if i.support else 1.0)
    for meaning in ATTENTION:
        if not meaning.id.startswith(_NOT_OF_ATTENTION):
            yield f"attention-{meaning.id}", meaning.sentence, meaning.criteria
    # fmt: on


def _with_any(**changes: Any) -> Wrong:
    """Fields left out in either form, where they are given."""
    return solves(lambda i: i.replace(**changes) if any(getattr(i, name) is not None for name in changes) else None)


def _with_rope(**changes: Any) -> Wrong:
    """Fields of the rotation under yarn."""
    return solves(lambda i: i.replace(**changes) if i.scaling == "yarn" else None)


def _plain_products(instance: Instance, right: Right) -> Mapping[str, Criterion] | None:
    """W the identity at every offset."""
    if instance.relative is None:
        return None
    d = instance.query.shape[3]
    places = tuple((c, c) for c in range(d))
    ones = np.ones((d, instance.relative.shape[1]), instance.relative.dtype)
    return right(instance.replace(support=places, relative=ones))


#: The known wrong meanings of attention with relative positions.
MEANINGS: tuple[Meaning, ...] = tuple(Meaning(*row) for row in _rows())
