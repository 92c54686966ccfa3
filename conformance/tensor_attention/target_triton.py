"""2-simplicial attention in Triton, forward and backward, on the CPU through Triton's interpreter."""

from __future__ import annotations

import importlib
from typing import Any

from assay.conformance.interface import triton
from assay.conformance.interface.kernel import Declined, Kernel
from assay.conformance.interface.targets import keywords_of

__all__ = ["forward", "how", "interpreted", "simplicial", "sizes", "tiles"]

_TILE = 16


def interpreted() -> Any:
    """The module of the kernels.  Triton is imported so that it interprets: it has to be its first import."""
    return triton.interpreted(f"{__package__}.triton_kernels")


def simplicial(name: str) -> Kernel:
    interpreted()
    version = str(importlib.import_module("triton").__version__)
    return Kernel(name, _attend, "torch", keywords_of(_attend, "tensor_attention"), version=version)


def _attend(
    query: Any, key1: Any, key2: Any, value1: Any, value2: Any, *, scale: float, is_causal: bool = False,
    window: tuple[int | None, ...] | None = None, return_lse: bool = False,
) -> Any:  # fmt: skip
    returned = forward(query, (key1, key2), (value1, value2), scale, is_causal, window)
    return returned if return_lse else returned[0]


def forward(
    query: Any, keys: tuple[Any, ...], values: tuple[Any, ...], scale: float, is_causal: bool, window: Any
) -> tuple[Any, Any]:
    """The output, in the type of the queries, and the log-sum-exp in float32."""
    import torch

    q, k1, k2, v1, v2 = (x.contiguous() for x in (query, *keys, *values))
    out = torch.empty((*q.shape[:3], v1.shape[3]), dtype=q.dtype)
    lse = torch.empty(q.shape[:3], dtype=torch.float32)
    constants = how(q, k1, k2, v1, scale, is_causal, window)
    kernel = interpreted().forward[(tiles(q), q.shape[0] * q.shape[1])]
    kernel(q, k1, k2, v1, v2, out, lse, *sizes(q, (k1, k2), v1), *constants)
    return out, lse


def tiles(array: Any) -> int:
    """How many tiles the rows of an array fill."""
    return int(-(-array.shape[2] // _TILE))


def sizes(query: Any, keys: tuple[Any, ...], value: Any) -> tuple[int, ...]:
    """n_q, n_1, n_2, d, d_v, heads and the size of their groups."""
    (_, h, n_q, d), (n_1, n_2) = query.shape, (key.shape[2] for key in keys)
    return n_q, n_1, n_2, d, value.shape[3], h, h // keys[0].shape[1]


def how(query: Any, key1: Any, key2: Any, value: Any, scale: float, is_causal: bool, window: Any) -> tuple[Any, ...]:
    """The constants of a kernel: scale, windows, causal, the type, and the tiles."""
    import torch
    import triton.language as tl

    kinds = {torch.bfloat16: tl.bfloat16, torch.float16: tl.float16, torch.float32: tl.float32}
    if query.dtype not in kinds:
        raise Declined(f"its accumulators are float32: {query.dtype}")
    longest = query.shape[2] + key1.shape[2] + key2.shape[2]
    w1, w2 = (longest if width is None else min(int(width), longest) for width in window or (None, None))
    columns = max(_TILE, 1 << (max(query.shape[3], value.shape[3]) - 1).bit_length())
    return float(scale), w1, w2, is_causal, kinds[query.dtype], _TILE, _TILE, columns
