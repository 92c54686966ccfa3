"""Attention with relative positions on a GPU in almost linear time where scores are small, with a certificate.

The routes are those of the CPU but for the exact one.  *polynomial*: queries and keys are rotated, and what is left is
attention without positions (ROPE-3).  *fourier*: everything that depends on i − j alone, by transforms (ROPE-2, ROT-5).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.rope_attention.turned import turns_of
from assay.impl.gpu.attention.polynomial import attended, band_of
from assay.impl.gpu.choice import require
from assay.impl.gpu.machine import card, standing_in
from assay.impl.gpu.rope.embedding import embedded
from assay.impl.gpu.rope_attention import fourier
from assay.impl.gpu.rope_attention.products import Heads
from assay.spec.approximation import Infeasible
from assay.spec.problem import InvalidInstance
from assay.spec.rope_attention.instance import Instance

if TYPE_CHECKING:
    from assay.impl.cpu.certified import Certified
    from assay.impl.gpu.machine import Machine

__all__ = ["ROUTES", "approximate", "run"]

ROUTES = ("polynomial", "fourier")


def approximate(
    query: Any,
    key: Any,
    value: Any,
    relative: Any = None,
    error: float = 1e-6,
    scale: float | None = None,
    *,
    support: tuple[tuple[int, int], ...] | None = None,
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
    relative_bias: Any = None,
    is_causal: bool = False,
    causal: str | None = None,
    window: tuple[int | None, int | None] | None = None,
    key_lengths: Any = None,
    bounds: tuple[float, ...] | None = None,
    route: str | None = None,
    memory: int = 1 << 30,
) -> Certified:
    """Attention with relative positions of (batch, heads, length, dim) arrays, with a proved bound of its error.

    The arrays, float32 or float64, and the options are as in :class:`assay.spec.rope_attention.Instance`.  ``error``
    and the result are as for :func:`assay.impl.gpu.attention.approximate`, and so are ``bounds``: of the scores by the
    norms of rotated queries and keys, these centred, on the polynomial route, and on the other one of Σ_e
    |q_a||W_e||k_b| by norms or by entries.  The call waits for the largest positions too, where there are positions and
    the scaling is ``"dynamic"``.

    route: ``None`` takes ``"polynomial"`` where it serves, which is a rotation without a bias, and ``"fourier"`` for
    all else.  On that one the error is also larger than the one that was asked, or infinite, in heads with many rows
    that see keys which weigh little beside all others; few such rows are computed from their scores.  memory: the most
    bytes of working storage, besides queries and keys that are rotated, in float64, twice.

    With S places in the support and degree g, the Fourier route has C(S + g, g) products with Toeplitz matrices for
    each column of the values and one more, each in O(n log n) time.

    Source: GPU-13, GPU-14, GPU-17 and GPU-20 of proofs_notes/gpu.md.  Raises as
    :func:`assay.impl.gpu.attention.approximate` does, and ``ValueError`` for another route.
    """
    arrays = {
        "query": query, "key": key, "value": value, "relative": relative, "query_positions": query_positions,
        "key_positions": key_positions, "relative_bias": relative_bias, "key_lengths": key_lengths,
    }  # fmt: skip
    return run(
        card(), arrays, error, bounds, memory, route, scale=scale, support=support, base=base, layout=layout,
        rotary_dim=rotary_dim, scaling=scaling, factor=factor, original_length=original_length,
        low_frequency=low_frequency, high_frequency=high_frequency, truncate=truncate,
        attention_factor=attention_factor, is_causal=is_causal, causal=causal, window=window,
    )  # fmt: skip


def run(
    machine: Machine, arrays: dict[str, Any], error: float, bounds: tuple[float, ...] | None, memory: int,
    route: str | None = None, **plain: Any,
) -> Certified:  # fmt: skip
    """:func:`approximate` on a machine; arrays that are not given are ``None``."""
    given = {name: machine.given(array) for name, array in arrays.items()}
    instance = Instance(**standing_in(given), **plain)
    if given["query"].dtype.name not in ("float32", "float64"):
        raise InvalidInstance(f"query: dtype {given['query'].dtype.name}, expected float32 or float64")
    require(error, bounds, memory, 3)
    if route not in (None, *ROUTES):
        raise ValueError(f"route: {route!r}, expected one of {', '.join(ROUTES)} or None")
    relative, bias = given["relative"], given["relative_bias"]
    turned = relative is None and bias is None
    if route == "polynomial" and not turned:
        raise Infeasible("the polynomial route has neither W nor a bias")
    query, key = given["query"], given["key"]
    if relative is None:
        query, key = _rotated(machine, given, instance)
    lengths, scale = given["key_lengths"], instance.scale
    assert scale is not None
    if turned and route != "fourier":
        return attended(
            machine, query, key, given["value"], lengths, float(error), float(scale), bounds, memory,
            band=band_of(instance.causal, instance.window), turned=True,
        )  # fmt: skip
    heads = Heads(
        query, key, given["value"], None if lengths is None else lengths.astype(np.int64), relative, bias,
        tuple((a, a) for a in range(query.shape[3])) if instance.support is None else instance.support,
        relative is None, instance.causal, instance.window,
    )  # fmt: skip
    return fourier.attended(machine, heads, float(scale), float(error), bounds, memory)


def _rotated(machine: Machine, given: dict[str, Any], instance: Instance) -> tuple[Any, Any]:
    """Queries and keys in float64, rotated by their positions (ROT-8)."""
    furthest, turning = 0, []
    for name in ("query", "key"):
        places = given[f"{name}_positions"]
        if places is None:
            furthest = max(furthest, given[name].shape[2] - 1)
        elif instance.scaling == "dynamic":
            furthest = max(furthest, machine.largest(places))
        turning.append((given[name].astype(np.float64), places))
    turns = turns_of(instance, furthest)
    query, key = (embedded(machine, array, None, places, turns) for array, places in turning)
    return query, key
