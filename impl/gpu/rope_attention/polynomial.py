"""Attention with the rotary embedding on a GPU in almost linear time where scores are small, with a certificate.

Queries and keys are rotated in float64, with exact angles, and what is left is attention without positions (ROPE-3).
Relative weights, biases, causal masks and windows need transforms, as on the CPU, and are not served.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.rope_attention.turned import turns_of
from assay.impl.gpu.attention.polynomial import attended, band_of
from assay.impl.gpu.choice import require
from assay.impl.gpu.machine import card, standing_in
from assay.impl.gpu.rope.embedding import embedded
from assay.spec.problem import InvalidInstance
from assay.spec.rope_attention.instance import Instance

if TYPE_CHECKING:
    from assay.impl.cpu.certified import Certified
    from assay.impl.gpu.machine import Machine

__all__ = ["approximate", "run"]


def approximate(
    query: Any,
    key: Any,
    value: Any,
    error: float = 1e-6,
    scale: float | None = None,
    *,
    base: float = 10000.0,
    layout: str = "halves",
    rotary_dim: int | None = None,
    scaling: str | None = None,
    factor: float | None = None,
    original_length: int | None = None,
    low_frequency: float | None = None,
    high_frequency: float | None = None,
    truncate: bool = True,
    attention_factor: float | None = None,
    query_positions: Any = None,
    key_positions: Any = None,
    is_causal: bool = False,
    causal: str | None = None,
    window: tuple[int | None, int | None] | None = None,
    key_lengths: Any = None,
    bounds: tuple[float, ...] | None = None,
    memory: int = 1 << 30,
) -> Certified:
    """Attention of rotated (batch, heads, length, dim) arrays by a polynomial, with a proved bound of its error.

    The arrays, float32 or float64, and the options are as in the rotary form of
    :class:`assay.spec.rope_attention.Instance`.  ``error``, ``memory`` and the result are as for
    :func:`assay.impl.gpu.attention.approximate`, and so are ``bounds``, of rotated queries and keys.  The call waits
    for the largest positions too, where there are positions and the scaling is ``"dynamic"``.  Besides ``memory`` it
    takes the queries and keys in float64, twice.

    Source: GPU-13 of proofs_notes/gpu.md.  Raises as :func:`assay.impl.gpu.attention.approximate` does.
    """
    arrays = {
        "query": query, "key": key, "value": value, "query_positions": query_positions,
        "key_positions": key_positions, "key_lengths": key_lengths,
    }  # fmt: skip
    return run(
        card(), arrays, error, bounds, memory, scale=scale, base=base, layout=layout, rotary_dim=rotary_dim,
        scaling=scaling, factor=factor, original_length=original_length, low_frequency=low_frequency,
        high_frequency=high_frequency, truncate=truncate, attention_factor=attention_factor,
        is_causal=is_causal, causal=causal, window=window,
    )  # fmt: skip


def run(
    machine: Machine, arrays: dict[str, Any], error: float, bounds: tuple[float, ...] | None, memory: int,
    **plain: Any,
) -> Certified:  # fmt: skip
    """:func:`approximate` on a machine; arrays that are not given are ``None``."""
    given = {name: machine.given(array) for name, array in arrays.items()}
    instance = Instance(**standing_in(given), **plain)
    if given["query"].dtype.name not in ("float32", "float64"):
        raise InvalidInstance(f"query: dtype {given['query'].dtype.name}, expected float32 or float64")
    require(error, bounds, memory, 3)
    furthest, turning = 0, []
    for name in ("query", "key"):
        places = given[f"{name}_positions"]
        if places is None:
            furthest = max(furthest, given[name].shape[2] - 1)
        elif plain.get("scaling") == "dynamic":
            furthest = max(furthest, machine.largest(places))
        turning.append((given[name].astype(np.float64), places))
    turns = turns_of(instance, furthest)
    query, key = (embedded(machine, array, None, places, turns) for array, places in turning)
    assert instance.scale is not None
    return attended(
        machine, query, key, given["value"], given["key_lengths"], float(error), float(instance.scale), bounds, memory,
        band=band_of(instance.causal, instance.window), turned=True,
    )  # fmt: skip
