"""Rows of the families as instances: the words of attention, those of the rotary embedding, and a W for every offset.

Sizes are "batch×heads/key heads:queries×keys:dim/value dim", as for attention.  A row with a word ``w=…`` is of the
general form, every other one of the rotary form.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.attention import options as attention
from assay.conformance.attention.other_calls import CHANGES as ATTENTION_CHANGES
from assay.spec.floats import dtype_named
from assay.spec.rope_attention import Instance
from assay.spec.rope_attention.bias import alibi, alibi_slopes, t5

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from assay.conformance.interface.suite import Row
    from assay.conformance.softmax.patterns import Shape
    from assay.spec.precision import Precision
    from assay.spec.problem import Provenance

    Array = NDArray[np.float64]
    Places = tuple[NDArray[np.int64], NDArray[np.int64]]
    Support = tuple[tuple[int, int], ...]

__all__ = ["BIASES", "CHANGES", "POSITIONS", "WEIGHTS", "built", "lifted", "turning"]


# --- positions --------------------------------------------------------------------------------------------------------


def _cached(rng: np.random.Generator, s: Shape, start: int = 0) -> Places:
    """Keys from ``start`` on, and queries that end where the keys do."""
    return start + s.keys - s.queries + np.arange(s.queries), start + np.arange(s.keys)


def _apart(rng: np.random.Generator, s: Shape, by: int) -> Places:
    """Queries so far beyond the first key."""
    return by + np.arange(s.queries), np.arange(s.keys)


def _still(rng: np.random.Generator, s: Shape, at: int) -> Places:
    """Every token at one position: rotations change no score."""
    return np.full(s.queries, at), np.full(s.keys, at)


def _shuffled(rng: np.random.Generator, s: Shape, most: int) -> Places:
    return rng.permutation(max(most, s.queries))[: s.queries], rng.permutation(max(most, s.keys))[: s.keys]


def _packed(rng: np.random.Generator, s: Shape, part: int) -> Places:
    """Texts side by side, each of which begins at 0; queries are those of the last tokens."""
    keys = np.arange(max(s.keys, s.queries)) % part
    return keys[-s.queries :], keys[: s.keys]


def _stretched(rng: np.random.Generator, s: Shape, step: int) -> Places:
    return step * np.arange(s.queries) + 1, step * np.arange(s.keys)


def _backwards(rng: np.random.Generator, s: Shape, start: int) -> Places:
    return start + np.arange(s.queries)[::-1], start + np.arange(s.keys)[::-1]


def _signed(rng: np.random.Generator, s: Shape, start: int) -> Places:
    return np.arange(s.queries) - start, np.arange(s.keys) - start


def _offsets(rng: np.random.Generator, s: Shape, most: int) -> Places:
    """Every batch goes on from another length of its cache."""
    start = rng.integers(1, most, (s.batch, 1))
    return start + s.keys - s.queries + np.arange(s.queries), start + np.arange(s.keys)


def _rows(rng: np.random.Generator, s: Shape, most: int) -> Places:
    return rng.integers(0, most, (s.batch, s.queries)), rng.integers(0, most, (s.batch, s.keys))


def _ragged(rng: np.random.Generator, s: Shape) -> Places:
    """Texts of unlike length, left-padded: batch b has 2·b tokens of padding, all at position 0."""
    pad = (2 * np.arange(s.batch)[:, None]) % max(1, s.keys - s.queries + 1)
    keys = np.maximum(np.arange(s.keys) - pad, 0)
    queries: NDArray[np.int64] = s.keys - s.queries + np.arange(s.queries) - pad
    return queries, keys


def _ends(rng: np.random.Generator, s: Shape) -> Places:
    """First and last as if consecutive, and others between them."""

    def one(n: int) -> NDArray[np.int64]:
        return np.asarray(np.r_[0, rng.permutation(max(n - 2, 0)) * 3 + 7, n - 1][:n])

    return one(s.queries), one(s.keys)


#: Where queries and keys are: (rng, shape[, number]) → positions of queries and of keys.
POSITIONS: dict[str, Callable[..., Places]] = {
    "cached": _cached,
    "from": _cached,
    "apart": _apart,
    "still": _still,
    "shuffled": _shuffled,
    "packed": _packed,
    "stretched": _stretched,
    "backwards": _backwards,
    "signed": _signed,
    "offsets": _offsets,
    "rows": _rows,
    "ragged": _ragged,
    "ends": _ends,
}


# --- biases -----------------------------------------------------------------------------------------------------------


def _distance(s: Shape) -> NDArray[np.int64]:
    """i − j of every column of an array of offsets."""
    return np.arange(s.queries + s.keys - 1) - (s.keys - 1)


def _normal_bias(rng: np.random.Generator, s: Shape) -> Array:
    return rng.standard_normal((s.heads, s.queries + s.keys - 1))


def _one_bias(rng: np.random.Generator, s: Shape) -> Array:
    return rng.standard_normal((1, s.queries + s.keys - 1))


def _alibi(rng: np.random.Generator, s: Shape) -> Array:
    return np.asarray(alibi(alibi_slopes(s.heads), s.queries, s.keys, np.float64))


def _buckets(rng: np.random.Generator, s: Shape) -> Array:
    """A number for every bucket of offsets, as T5 has them."""
    return np.asarray(t5(rng.standard_normal((32, s.heads)), s.queries, s.keys))


def _banded(rng: np.random.Generator, s: Shape) -> Array:
    """A window of five keys to the left and none to the right, as −∞ outside it."""
    distance = _distance(s)
    return np.where((distance >= 0) & (distance < 5), rng.standard_normal((s.heads, distance.size)), -np.inf)


def _steep_bias(rng: np.random.Generator, s: Shape) -> Array:
    """Differences of neighbouring offsets that decide which key counts."""
    return 6.0 * rng.standard_normal((s.heads, s.queries + s.keys - 1))


#: The relative bias, (1 or heads, n_q + n_k − 1).
BIASES: dict[str, Callable[[np.random.Generator, Shape], Array]] = {
    "relative": _normal_bias,
    "relative-one": _one_bias,
    "alibi": _alibi,
    "buckets": _buckets,
    "banded": _banded,
    "relative-steep": _steep_bias,
}


# --- W ----------------------------------------------------------------------------------------------------------------


def _uniform(rng: np.random.Generator, places: int, s: Shape) -> Array:
    return rng.uniform(-1.0, 1.0, (places, s.queries + s.keys - 1))


def _diagonal(rng: np.random.Generator, s: Shape) -> tuple[Support, Array]:
    places = tuple((c, c) for c in range(s.dim))
    return places, _uniform(rng, s.dim, s)


def _scattered(rng: np.random.Generator, s: Shape) -> tuple[Support, Array]:
    """As many places as there are columns, anywhere, in any order."""
    chosen = rng.permutation(s.dim * s.dim)[: s.dim]
    places = tuple((int(c) // s.dim, int(c) % s.dim) for c in chosen)
    return places, _uniform(rng, len(places), s)


def _every(rng: np.random.Generator, s: Shape) -> tuple[Support, Array]:
    places = tuple((a, b) for a in range(s.dim) for b in range(s.dim))
    return places, _uniform(rng, len(places), s)


def _one_place(rng: np.random.Generator, s: Shape) -> tuple[Support, Array]:
    return ((s.dim - 1, 0),), _uniform(rng, 1, s)


def _blocks(rng: np.random.Generator, s: Shape) -> tuple[Support, Array]:
    """Rotations of pairs of columns by angles that grow with the offset: W of a rotary embedding, written out."""
    half, t = s.dim // 2, _distance(s)
    places: list[tuple[int, int]] = []
    numbers: list[Array] = []
    for pair in range(half):
        angle = -t * 100.0 ** (-pair / half)
        for row, column, entry in (
            *((pair, pair, np.cos(angle)), (pair, pair + half, -np.sin(angle))),
            *((pair + half, pair, np.sin(angle)), (pair + half, pair + half, np.cos(angle))),
        ):
            places.append((row, column))
            numbers.append(entry)
    return tuple(places), np.array(numbers)


def _identity(rng: np.random.Generator, s: Shape) -> tuple[Support, Array]:
    """W is the identity at every offset: attention without positions."""
    return tuple((c, c) for c in range(s.dim)), np.ones((s.dim, s.queries + s.keys - 1))


def _decaying(rng: np.random.Generator, s: Shape) -> tuple[Support, Array]:
    """Decay with the distance, another rate for every column, as in retention and linear attention."""
    rate = rng.uniform(0.5, 0.99, (s.dim, 1))
    return tuple((c, c) for c in range(s.dim)), rate ** np.abs(_distance(s))


def _near_identity(rng: np.random.Generator, s: Shape) -> tuple[Support, Array]:
    """The identity at every offset, but for numbers of 2^-12."""
    places = tuple((c, c) for c in range(s.dim))
    return places, 1.0 + 2.0**-12 * _uniform(rng, s.dim, s)


#: The support of W, and its numbers, (places, n_q + n_k − 1).
WEIGHTS: dict[str, Callable[[np.random.Generator, Shape], tuple[Support, Array]]] = {
    "diagonal": _diagonal,
    "scattered": _scattered,
    "every": _every,
    "one": _one_place,
    "blocks": _blocks,
    "decaying": _decaying,
    "identity": _identity,
    "near": _near_identity,
}


# --- instances --------------------------------------------------------------------------------------------------------

_FIELDS = {"rotary": "rotary_dim", "base": "base", "magnitude": "attention_factor"}
_WORDS: dict[str, dict[str, Any]] = {"pairs": {"layout": "pairs"}, "untruncated": {"truncate": False}}
_SCALED = ("factor", "original_length", "low_frequency", "high_frequency")
_SCALINGS = ("linear", "ntk", "dynamic", "llama3", "yarn")


def turning(options: tuple[str, ...], shape: Shape, rng: np.random.Generator) -> tuple[dict[str, Any], list[str]]:
    """The fields of a rotation that options name, and the other options."""
    fields: dict[str, Any] = {}
    others = list[str]()
    for option in options:
        name, _, text = option.partition("=")
        if name not in (*POSITIONS, *_FIELDS, *_WORDS, *_SCALINGS):
            others.append(option)
            continue
        values = [int(word) if word.isdigit() else float(word) for word in text.split(",") if word]
        if name in POSITIONS:
            for side, places in zip(("query", "key"), POSITIONS[name](rng, shape, *values), strict=True):
                fields[f"{side}_positions"] = places.astype(np.int64)
        elif name in _FIELDS:
            fields[_FIELDS[name]] = values[0]
        else:
            fields |= _WORDS.get(name) or {"scaling": name, **dict(zip(_SCALED, values, strict=False))}
    return fields, others


def built(row: Row, provenance: Provenance, precision: Precision) -> Instance:
    """The instance of a row.  Options are those of attention, and NAME or NAME=VALUES:

    those of :data:`POSITIONS`; ``pairs``; ``rotary``, ``base``; ``linear`` and ``ntk`` (factor); ``dynamic`` (factor,
    original length); ``llama3`` and ``yarn`` (factor, original length[, low and high frequency]); ``untruncated``
    (yarn's ramp); ``magnitude``; those of :data:`BIASES`; ``w`` (one of :data:`WEIGHTS`).
    """
    assert provenance.seed is not None
    shape, rng = attention.parse_shape(row.size), np.random.default_rng((provenance.seed, 2))
    fields, others = turning(row.options, shape, rng)
    dtype = dtype_named(precision.storage)
    for option in list(others):
        name, _, text = option.partition("=")
        if name in BIASES:
            fields["relative_bias"] = BIASES[name](rng, shape).astype(dtype)
        elif name == "w":
            fields["support"], numbers = WEIGHTS[text](rng, shape)
            fields["relative"] = numbers.astype(dtype)
        else:
            continue
        others.remove(option)
    plain = attention.build(
        provenance.family, row.pattern, shape, tuple(others), provenance.seed, precision, provenance.note
    )
    return lifted(plain, **fields)


def lifted(plain: Any, **fields: Any) -> Instance:
    """An instance of attention with positions."""
    names = ("scale", "causal", "window", "mask", "bias", "key_lengths", "softcap", "sink", "return_lse", "provenance")
    given = {name: getattr(plain, name) for name in names}
    return Instance(plain.query, plain.key, plain.value, **{**given, **fields})


# --- other calls ------------------------------------------------------------------------------------------------------


def _places(change: Callable[[NDArray[np.int64]], NDArray[np.int64]], *sides: str) -> Callable[[Instance], Instance]:
    """Other positions of queries, of keys, or of both."""

    def moved(instance: Instance) -> Instance:
        given = dict(zip(("query", "key"), instance.positions(), strict=True))
        return instance.replace(**{f"{side}_positions": change(given[side]) for side in sides or ("query", "key")})

    return moved


def _backwards_in(name: str) -> Callable[[Instance], Instance]:
    """An array of offsets, backwards and negated."""

    def changed(instance: Instance) -> Instance:
        array = getattr(instance, name)
        assert array is not None
        return instance.replace(**{name: (-array.astype(np.float64)[:, ::-1]).astype(array.dtype)})

    return changed


#: What another call differs in: what a kernel may keep from it, under a key that does not tell the two apart.
CHANGES: dict[str, Callable[[Any], Any]] = {
    **{name: change for name, change in ATTENTION_CHANGES.items() if name not in ("longer", "shorter")},
    "offset": _places(lambda p: p + 5, "query"),
    "keys-elsewhere": _places(lambda p: 3 * p + 1, "key"),
    "longer-text": _places(lambda p: 8 * p + 7),
    "rows": _places(lambda p: p[::-1].copy()),
    "base": lambda i: i.replace(base=50.0 * i.base),
    "layout": lambda i: i.replace(layout="pairs" if i.layout == "halves" else "halves"),
    "rotary": lambda i: i.replace(rotary_dim=i.rotated // 4 * 2),
    "scaling": lambda i: i.replace(**({"scaling": None} if i.scaling else {"scaling": "linear", "factor": 4.0})),
    "weights": _backwards_in("relative"),
    "relative-bias": _backwards_in("relative_bias"),
}
