"""Rows of the rotary embedding's families as instances: numbers, sizes, positions, scalings; and what calls change."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.interface.families import CHANGES as SHARED
from assay.spec.floats import dtype_named
from assay.spec.rope import Instance

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from assay.conformance.interface.suite import Row
    from assay.spec.precision import Precision
    from assay.spec.problem import Provenance

    Generator = np.random.Generator
    Shape = tuple[int, ...]

__all__ = ["CHANGES", "NUMBERS", "POSITIONS", "built", "sizes"]

#: What the numbers of queries and keys are.
NUMBERS: dict[str, Callable[[Generator, Shape], NDArray[np.float64]]] = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "spread": lambda rng, shape: rng.standard_normal(shape) * 2.0 ** rng.integers(-8, 9, shape),
    "small": lambda rng, shape: rng.standard_normal(shape) * 2.0**-12,
    "large": lambda rng, shape: np.clip(rng.standard_normal(shape), -3, 3) * 2.0**11,
    "sparse": lambda rng, shape: rng.standard_normal(shape) * (rng.random(shape) < 0.3),
    "units": lambda rng, shape: np.broadcast_to(np.arange(shape[-1]) % 3 == 0, shape).astype(np.float64),
}

#: What the positions are: (rng, batch, length[, number]) → (length,) or (batch, length).
POSITIONS: dict[str, Callable[..., NDArray[np.int64]]] = {
    "from": lambda rng, b, n, start: np.arange(start, start + n),
    "shuffled": lambda rng, b, n, most: rng.permutation(max(most, n))[:n],
    "repeated": lambda rng, b, n, most: rng.integers(0, most, n),
    "packed": lambda rng, b, n, part: np.arange(n) % part,
    "stretched": lambda rng, b, n, step: np.arange(n) * step,
    "backwards": lambda rng, b, n, start: start + np.arange(n)[::-1],
    "signed": lambda rng, b, n, start: np.arange(n) - start,
    "rows": lambda rng, b, n, most: rng.integers(0, most, (b, n)),
    "offsets": lambda rng, b, n, most: rng.integers(1, most, (b, 1)) + np.arange(n),
    "signed-rows": lambda rng, b, n, most: rng.integers(-most, most, (b, n)),
    "ends": lambda rng, b, n: np.r_[0, rng.permutation(max(n - 2, 0)) * 3 + 7, n - 1][:n],
    "padded": lambda rng, b, n: np.maximum(np.arange(n) - rng.permutation(max(b, n))[:b, None], 0),
}

_FIELDS = {"rotary": "rotary_dim", "base": "base", "magnitude": "attention_factor"}
_WORDS: dict[str, dict[str, Any]] = {"pairs": {"layout": "pairs"}, "whole": {"truncate": False}}
_SCALED = ("factor", "original_length", "low_frequency", "high_frequency")


def sizes(row: Row) -> list[int]:
    """batch, heads, key heads, length and dim of a row."""
    return [int(word) for word in re.split("[x/:]", row.size)]


def built(row: Row, provenance: Provenance, precision: Precision) -> Instance:
    """The instance of a row.  Sizes are "batch×heads/key heads:length:dim"; options are NAME or NAME=VALUES:

    those of :data:`POSITIONS`; ``pairs``; ``rotary``, ``base``; ``linear`` and ``ntk`` (factor); ``dynamic`` (factor,
    original length); ``llama3`` and ``yarn`` (factor, original length[, low and high frequency]); ``whole`` (yarn's
    ramp is not truncated); ``magnitude``.
    """
    b, h, h_k, n, d = sizes(row)
    rng, dtype = np.random.default_rng(provenance.seed), dtype_named(precision.storage)
    query, key = (NUMBERS[row.pattern](rng, (b, heads, n, d)).astype(dtype) for heads in (h, h_k))
    fields: dict[str, Any] = {"positions": np.arange(n)}
    for option in row.options:
        name, _, text = option.partition("=")
        values = [int(word) if word.isdigit() else float(word) for word in text.split(",") if word]
        if name in POSITIONS:
            fields["positions"] = POSITIONS[name](rng, b, n, *values).astype(np.int64)
        elif name in _FIELDS:
            fields[_FIELDS[name]] = values[0]
        else:
            fields |= _WORDS.get(name) or {"scaling": name, **dict(zip(_SCALED, values, strict=False))}
    return Instance(query, key, provenance=provenance, **fields)


def _all_numbers(instance: Instance) -> Instance:
    """Queries and keys with other numbers."""
    other: Instance = SHARED["numbers"](instance)
    return other if instance.key is None else other.replace(key=(-instance.key[..., ::-1]).copy())


#: What another call differs in: what a kernel may keep from it, under a key that does not tell the two apart.
CHANGES: dict[str, Callable[[Instance], Instance]] = {
    **SHARED,
    "numbers": _all_numbers,
    "offset": lambda i: i.replace(positions=i.positions + 5),
    "longer": lambda i: i.replace(positions=i.positions * 8 + 7),  # as many tokens, eight times as far
    "rows": lambda i: i.replace(positions=i.positions[::-1].copy()),
    "base": lambda i: i.replace(base=50.0 * i.base),
    "layout": lambda i: i.replace(layout="pairs" if i.layout == "halves" else "halves"),
    "rotary": lambda i: i.replace(rotary_dim=i.rotated // 4 * 2),
    "scaling": lambda i: i.replace(**({"scaling": None} if i.scaling else {"scaling": "linear", "factor": 4.0})),
    "heads": lambda i: i.replace(query=i.key, key=i.query),
}
