"""Rows of the families as instances: sizes of every order, patterns of numbers, and options.

Sizes are "batch×heads/key heads:queries×keys of mode 1×keys of mode 2…:dim/value dim", so that the number of lengths is
the order.  A pattern is one of :data:`PATTERNS`, or one of attention's for one of the modes; the keys and values of the
others are then 1, so that scores and outputs are what they are there.
"""

from __future__ import annotations

import functools
import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

from assay.conformance.softmax.patterns import PATTERNS as OF_ATTENTION
from assay.conformance.softmax.patterns import Shape
from assay.spec.floats import dtype_named
from assay.spec.tensor_attention import Instance

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from assay.conformance.interface.suite import Row
    from assay.spec.precision import Precision
    from assay.spec.problem import Provenance
    from assay.spec.tensor_attention import HigherOrder

    Array = NDArray[np.float64]
    Filled = tuple[Array, list[Array], list[Array], dict[str, Any]]

__all__ = ["OPTIONS", "PATTERNS", "Size", "build", "built", "cost", "parse_size", "resized"]

#: Every option that a table may name, with what it does; "=…" takes a value.
OPTIONS: dict[str, str] = {
    "causal": "causal mask: no key of any mode lies behind the query",
    "window": "window=W1,W2,… with * for no limit",
    "scale": "another scale, scale=S",
    "along": "the mode that a pattern of attention is for, along=M; the first one if it is not said",
    "lse": "the log-sum-exp as second output",
    "same-heads": "keys and values of every head those of the first, so that a layout may store them once",
    "same-batch": "queries, keys and values of every batch those of the first",
    "same-modes": "keys and values of every mode those of the first",
}


@dataclass(frozen=True)
class Size:
    """Sizes of an instance; keys: one length a mode."""

    batch: int
    heads: int
    key_heads: int
    queries: int
    keys: tuple[int, ...]
    dim: int
    value_dim: int

    def __str__(self) -> str:
        lengths = "x".join(str(n) for n in (self.queries, *self.keys))
        return f"{self.batch}x{self.heads}/{self.key_heads}:{lengths}:{self.dim}/{self.value_dim}"

    @property
    def query(self) -> tuple[int, int, int, int]:
        return (self.batch, self.heads, self.queries, self.dim)

    def key(self, mode: int) -> tuple[int, int, int, int]:
        """The shape of the keys of a mode, counted from 0."""
        return (self.batch, self.key_heads, self.keys[mode], self.dim)

    def value(self, mode: int) -> tuple[int, int, int, int]:
        return (self.batch, self.key_heads, self.keys[mode], self.value_dim)


def parse_size(text: str) -> Size:
    """The sizes of an instance, from one word of a table.

    >>> parse_size("2x4/2:5x7x6:16/8")
    Size(batch=2, heads=4, key_heads=2, queries=5, keys=(7, 6), dim=16, value_dim=8)
    >>> str(parse_size("3x4x5"))
    '1x1/1:3x4x5:8/8'
    """
    parts = text.split(":")
    heads, lengths, dims = ("1x1/1", parts[0], "8/8") if len(parts) == 1 else ([*parts, "8/8"])[:3]
    match = re.fullmatch(r"(\d+)x(\d+)(?:/(\d+))?", heads)
    assert match is not None, text
    queries, *keys = (int(x) for x in lengths.split("x"))
    dim, *value_dim = (int(x) for x in dims.split("/"))
    return Size(
        int(match[1]), int(match[2]), int(match[3] or match[2]), queries, tuple(keys), dim, (value_dim or [dim])[0]
    )


def resized(row: Row, lengths: Mapping[str, int]) -> Row:
    """The row with other lengths of some axes, in the words of the table.

    >>> from assay.conformance.interface.suite import Row
    >>> resized(Row("smoke", "normal", "3x4x5"), {"keys2": 9, "dim": 64}).size
    '1x1/1:3x4x9:64/8'
    """
    size = parse_size(row.size)
    keys = tuple(lengths.get(f"keys{mode}", n) for mode, n in enumerate(size.keys, 1))
    others = {name: length for name, length in lengths.items() if not name.startswith("keys")}
    return replace(row, size=str(replace(size, keys=keys, **others)))


def cost(row: Row) -> float:
    """Products of numbers that the row takes in hand."""
    s = parse_size(row.size)
    return float(s.batch * s.heads * s.queries * math.prod(s.keys) * (s.dim + s.value_dim))


# --- numbers ----------------------------------------------------------------------------------------------------------


def _filled(rng: np.random.Generator, s: Size, numbers: Callable[[tuple[int, ...]], Array]) -> Filled:
    modes = range(len(s.keys))
    query = numbers(s.query)
    keys = [numbers(s.key(mode)) for mode in modes]
    return query, keys, [numbers(s.value(mode)) for mode in modes], {}


def _normal(rng: np.random.Generator, s: Size) -> Filled:
    return _filled(rng, s, rng.standard_normal)


def _large(rng: np.random.Generator, s: Size) -> Filled:
    q, keys, values, _ = _normal(rng, s)
    return 2.0 * q, [1.7 * key for key in keys], values, {"scale": 0.7391 / math.sqrt(s.dim)}


def _integers(rng: np.random.Generator, s: Size) -> Filled:
    """Scores and products of values that are exact in every class."""
    return _filled(rng, s, lambda shape: rng.integers(-2, 3, shape).astype(np.float64))


def _signs(rng: np.random.Generator, s: Size) -> Filled:
    return _filled(rng, s, lambda shape: rng.choice([-1.0, 1.0], shape))


def _zero_scores(rng: np.random.Generator, s: Size) -> Filled:
    """Uniform attention, which tests the sums and products of values alone."""
    q, keys, _, _ = _normal(rng, s)
    return 0.0 * q, keys, [1.0 + rng.random(s.value(mode)) for mode in range(len(s.keys))], {}


def _constant(rng: np.random.Generator, s: Size) -> Filled:
    """Values that are constant, and so is the output, whatever the weights are."""
    q, keys, values, options = _large(rng, s)
    return q, keys, [np.full(value.shape, 1.2345678 - 0.4 * mode) for mode, value in enumerate(values)], options


def _planted(rng: np.random.Generator, s: Size) -> Filled:
    """Every query matches one combination of its own."""
    _, keys, values, _ = _normal(rng, s)
    keys = [np.where(key < 0.0, -1.0, 1.0) for key in keys]
    group = s.heads // s.key_heads
    q = np.ones(s.query)
    for key in keys:
        q *= np.repeat(key, group, axis=1)[:, :, rng.integers(0, key.shape[2], s.queries)]
    return 3.0 * q, keys, values, {"scale": 0.8734672 / math.sqrt(s.dim)}


def _of_scores(rng: np.random.Generator, s: Size, scores: list[Array]) -> Filled:
    """Scores that are sums of one number for the key of every mode; the scale is no round number."""
    scale = 0.8734672
    q = np.zeros(s.query)
    columns = min(len(s.keys), s.dim)
    q[..., :columns] = 1.0
    keys = [0.1 * rng.standard_normal(s.key(mode)) for mode in range(len(s.keys))]
    for mode, key in enumerate(keys):
        key[..., :columns] = 1.0
        if mode < columns:
            key[..., mode] = scores[mode] / scale
    return q, keys, [rng.standard_normal(s.value(mode)) for mode in range(len(s.keys))], {"scale": scale}


def _stepped(step: float, every: int, rng: np.random.Generator, s: Size) -> Filled:
    """The maximum moves along every mode, so that each rescaling counts."""
    scores = [step * (np.arange(n) // every) + 0.1 * rng.standard_normal(n) for n in s.keys]
    return _of_scores(rng, s, scores)


def _far_below(rng: np.random.Generator, s: Size) -> Filled:
    """All scores far below 0: this finds a maximum that starts finite, or a finite score for what is hidden."""
    depth = float(rng.choice([150.0, 1500.0, 15000.0]))
    return _of_scores(rng, s, [rng.standard_normal(n) - depth for n in s.keys])


def _far_above(rng: np.random.Generator, s: Size) -> Filled:
    return _of_scores(rng, s, [rng.standard_normal(n) + 300.0 for n in s.keys])


def _row_levels(rng: np.random.Generator, s: Size) -> Filled:
    """Rows of very different magnitude: this finds a maximum over a tile of rows."""
    q, keys, values, options = _normal(rng, s)
    return q * (10.0 ** np.linspace(-3, 1.0, s.queries))[:, None], keys, values, options


def _unlike_modes(rng: np.random.Generator, s: Size) -> Filled:
    """Keys and values of the first mode are large and those of the last one small; their products are as usual."""
    q, keys, values, options = _normal(rng, s)
    for modes, power in ((keys, 5), (values, 3)):
        if len(modes) > 1:
            modes[0], modes[-1] = modes[0] * 2.0**power, modes[-1] * 2.0**-power
    return q, keys, values, options


def _unlike_heads(rng: np.random.Generator, s: Size) -> Filled:
    """Scores of one head or batch far above another's, which no output shows: a maximum that heads share."""
    scores = [0.7 * rng.standard_normal(n) for n in s.keys]
    q, keys, values, options = _of_scores(rng, s, scores)
    level = 120.0 * np.arange(s.batch * s.key_heads).reshape(s.batch, s.key_heads)
    keys[0][..., 0] += level[..., None]
    return q, keys, values, options


def _sizes_of_values(power: int, rng: np.random.Generator, s: Size) -> Filled:
    q, keys, values, options = _normal(rng, s)
    return q, keys, [value * 2.0**power for value in values], options


def _odd_scale(rng: np.random.Generator, s: Size) -> Filled:
    """A scale of full mantissa and large logits: this finds a scale that is rounded to a short type."""
    q, keys, values, _ = _large(rng, s)
    return q, keys, values, {"scale": 1.3456789 / math.sqrt(s.dim)}


#: What the arrays hold: (rng, size) → queries, keys and values of every mode, and fields of the instance.
PATTERNS: dict[str, Callable[[np.random.Generator, Size], Filled]] = {
    "normal": _normal,
    "large": _large,
    "integers": _integers,
    "signs": _signs,
    "zero-scores": _zero_scores,
    "constant": _constant,
    "planted": _planted,
    "rising": functools.partial(_stepped, 1.3, 1),
    "falling": functools.partial(_stepped, -1.3, 1),
    "stairs": functools.partial(_stepped, 5.0, 8),
    "steep": functools.partial(_stepped, 40.0, 4),
    "far-below": _far_below,
    "far-above": _far_above,
    "row-levels": _row_levels,
    "unlike-modes": _unlike_modes,
    "unlike-heads": _unlike_heads,
    "huge-values": functools.partial(_sizes_of_values, 4),
    "tiny-values": functools.partial(_sizes_of_values, -4),
    "odd-scale": _odd_scale,
}


def _along(name: str, mode: int, rng: np.random.Generator, s: Size) -> Filled:
    """A pattern of attention for one mode; keys and values of the others are 1, whose products change nothing."""
    shape = Shape(s.batch, s.heads, s.key_heads, s.queries, s.keys[mode], s.dim, s.value_dim)
    q, key, value, fields = OF_ATTENTION[name](rng, shape)
    modes = range(len(s.keys))
    keys = [key if m == mode else np.ones(s.key(m)) for m in modes]
    return q, keys, [value if m == mode else np.ones(s.value(m)) for m in modes], dict(fields)


# --- instances --------------------------------------------------------------------------------------------------------


def built(row: Row, provenance: Provenance, precision: Precision) -> HigherOrder:
    """The instance of a row of a family's table."""
    assert provenance.seed is not None
    return build(row.pattern, parse_size(row.size), row.options, provenance, precision)


def build(
    pattern: str, size: Size, options: tuple[str, ...], provenance: Provenance, precision: Precision
) -> HigherOrder:
    """The instance of a pattern, a size and options, in the storage type of the class; the same each time."""
    assert provenance.seed is not None
    rng = np.random.default_rng(provenance.seed)
    dtype = dtype_named(precision.storage)
    words = dict(option.partition("=")[::2] for option in options)
    if unknown := sorted(words.keys() - OPTIONS.keys()):
        raise ValueError(f"unknown option {unknown[0]!r}: expected one of {', '.join(OPTIONS)}")
    mode = min(int(words.get("along") or 1), len(size.keys)) - 1
    filled = PATTERNS.get(pattern) or functools.partial(_along, pattern, mode)
    q, keys, values, fields = filled(rng, size)
    if "causal" in words:
        fields["is_causal"] = True
    if "window" in words:
        widths = words["window"].split(",")
        fields["window"] = tuple(None if w == "*" else int(w) for w in (widths * len(keys))[: len(keys)])
    if "scale" in words:
        fields["scale"] = float(words["scale"])
    if "lse" in words:
        fields["return_lse"] = True
    if "same-modes" in words:
        keys, values = [keys[0]] * len(keys), [values[0]] * len(values)
    if "same-heads" in words:
        keys, values = ([np.repeat(x[:, :1], x.shape[1], axis=1) for x in arrays] for arrays in (keys, values))
    if "same-batch" in words:
        q, keys, values = q[:1].repeat(len(q), axis=0), *_of_first_batch(keys, values)
    largest = float(ml_dtypes.finfo(dtype).max)  # type: ignore[no-untyped-call]
    arrays = (np.clip(x, -largest, largest).astype(dtype) for x in (q, *keys, *values))
    made: HigherOrder = Instance.of_order(len(keys) + 1)(*arrays, provenance=provenance, **fields)
    return made


def _of_first_batch(keys: list[Array], values: list[Array]) -> tuple[list[Array], list[Array]]:
    made = [[x[:1].repeat(len(x), axis=0) for x in arrays] for arrays in (keys, values)]
    return made[0], made[1]
