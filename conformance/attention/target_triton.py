"""Attention in Triton, tile by tile as flash attention is: compiled for a CUDA device, or interpreted on the CPU."""

from __future__ import annotations

import functools
import importlib
from typing import Any

from assay.conformance.interface import triton
from assay.conformance.interface.kernel import Declined, Kernel
from assay.conformance.interface.targets import keywords_of

__all__ = ["flash"]

_MODULE = f"{__package__}.triton_kernels"
_TILE = 16  # of the interpreter, in which cases are small; the least that a product of tiles takes


def flash(name: str, *, interpreted: bool) -> Kernel:
    """The kernel under ``name``.  Its accumulators are float32, so that it declines float64."""
    (triton.interpreted if interpreted else triton.compiled)(_MODULE)
    kernel = functools.partial(_attend, interpreted)
    version = str(importlib.import_module("triton").__version__)
    device = "" if interpreted else "cuda"
    return Kernel(name, kernel, "torch", keywords_of(kernel, "attention"), version=version, device=device)


def _attend(
    interpreted: bool, query: Any, key: Any, value: Any, *, scale: float, is_causal: bool = False,
    return_lse: bool = False,
) -> Any:  # fmt: skip
    import torch
    import triton.language as tl

    kinds = {torch.bfloat16: tl.bfloat16, torch.float16: tl.float16, torch.float32: tl.float32}
    if query.dtype not in kinds:
        raise Declined(f"its accumulators are float32: {query.dtype}")
    if interpreted and query.dtype == torch.bfloat16:
        raise Declined("Triton's interpreter cuts numbers to bfloat16, and does not round them")
    q, k, v = (x.contiguous() for x in (query, key, value))
    (b, h, n_q, d), (h_k, n_k, d_v) = q.shape, v.shape[1:]
    out = torch.empty((b, h, n_q, d_v), dtype=q.dtype, device=q.device)
    lse = torch.empty((b, h, n_q), dtype=torch.float32, device=q.device)
    columns = max(_TILE, 1 << (max(d, d_v) - 1).bit_length())
    tile = _TILE if interpreted or columns > 128 else 64
    kernel = importlib.import_module(_MODULE).forward[(-(-n_q // tile), b * h)]
    kind, group = kinds[query.dtype], h // h_k
    kernel(
        q, k, v, out, lse, n_q, n_k, d, d_v, h, group, float(scale), is_causal, kind, interpreted, tile, tile, columns
    )
    return (out, lse) if return_lse else out
