"""Exact attention in Triton as flash attention computes it (Dao et al. 2022): tiles of keys with an online softmax.

Scores and sums are in float32; probabilities are rounded to the type of the values before they are multiplied with
these.  Triton's interpreter multiplies the bit patterns of bfloat16 (triton-lang/triton#11584), so that there operands
are widened to float32, which is exact.  This module imports Triton, which settles then whether it interprets.
"""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["forward"]


@triton.jit  # type: ignore[untyped-decorator]
def forward(  # type: ignore[no-untyped-def]
    q_ptr, k_ptr, v_ptr, out_ptr, lse_ptr, n_q, n_k, d, d_v, heads, group, scale, is_causal: tl.constexpr,
    kind: tl.constexpr, widened: tl.constexpr, block_q: tl.constexpr, block_k: tl.constexpr, columns: tl.constexpr,
):  # fmt: skip
    """Contiguous (batch, heads, length, dim) arrays; a program is a tile of queries of one head."""
    i = tl.program_id(0) * block_q + tl.arange(0, block_q)
    at = tl.program_id(1)
    of_keys = (at // heads * (heads // group) + at % heads // group).to(tl.int64)
    c = tl.arange(0, columns)
    row = i < n_q
    q = tl.load(
        q_ptr + (at.to(tl.int64) * n_q + i[:, None]) * d + c[None, :], mask=row[:, None] & (c < d)[None, :], other=0.0
    )
    if widened:
        q = q.to(tl.float32)
    top = tl.full((block_q,), -float("inf"), tl.float32)
    total = tl.zeros((block_q,), tl.float32)
    acc = tl.zeros((block_q, columns), tl.float32)
    for start in range(0, n_k, block_k):
        j = start + tl.arange(0, block_k)
        there = j < n_k
        keys = of_keys * n_k + j[:, None]
        k = tl.load(k_ptr + keys * d + c[None, :], mask=there[:, None] & (c < d)[None, :], other=0.0)
        v = tl.load(v_ptr + keys * d_v + c[None, :], mask=there[:, None] & (c < d_v)[None, :], other=0.0)
        if widened:
            k = k.to(tl.float32)
            v = v.to(tl.float32)
        score = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
        seen = row[:, None] & there[None, :]
        if is_causal:
            seen = seen & (j[None, :] <= i[:, None])
        score = tl.where(seen, score, -float("inf"))
        new = tl.maximum(top, tl.max(score, 1))
        shift = tl.where(new == -float("inf"), 0.0, new)
        p = tl.exp(score - shift[:, None])
        alpha = tl.exp(top - shift)
        total = total * alpha + tl.sum(p, 1)
        p = p.to(kind)
        if widened:
            p = p.to(tl.float32)
        acc = acc * alpha[:, None] + tl.dot(p, v, input_precision="ieee")
        top = new
    seen = total > 0.0
    out = acc / tl.where(seen, total, 1.0)[:, None]
    lse = tl.where(seen, top + tl.log(tl.where(seen, total, 1.0)), -float("inf"))
    rows = at.to(tl.int64) * n_q + i
    tl.store(out_ptr + rows[:, None] * d_v + c[None, :], out.to(kind), mask=row[:, None] & (c < d_v)[None, :])
    tl.store(lse_ptr + rows, lse, mask=row)
