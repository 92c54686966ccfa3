"""2-simplicial attention in Triton, written anew from the description of its authors (Roy et al. 2025, appendix B).

The forward pass loops over single keys of mode 1 and over tiles of mode 2, with an online softmax.  It rounds three
times to the type of the operands before the product with K²: q∘k¹, the scale, and the product of the two; p and v¹∘v²
are rounded before the product with each other.  Hidden scores are less by 1e38.  Of the backward pass one kernel gives
the gradients of the keys and values of one mode, and is called for each with the modes exchanged; another gives dQ.

Operands are rounded to their type and multiplied in float32, which is exact: Triton's interpreter multiplies the bit
patterns of bfloat16 (triton-lang/triton#11584).  This module imports Triton, which settles then whether it interprets.
"""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["backward_keys", "backward_query", "forward"]


@triton.jit  # type: ignore[untyped-decorator]
def _visible(i, j, width: tl.constexpr, is_causal: tl.constexpr):  # type: ignore[no-untyped-def]
    """Whether queries i see keys j of a mode whose window is ``width`` keys."""
    seen = (i - width < j) & (j < i + width)
    if is_causal:
        seen = seen & (j <= i)
    return seen


@triton.jit  # type: ignore[untyped-decorator]
def forward(  # type: ignore[no-untyped-def]
    q_ptr, k1_ptr, k2_ptr, v1_ptr, v2_ptr, out_ptr, lse_ptr, n_q, n_1, n_2, d, d_v, heads, group, scale: tl.constexpr,
    w1: tl.constexpr, w2: tl.constexpr, is_causal: tl.constexpr, kind: tl.constexpr, block_q: tl.constexpr,
    block_k: tl.constexpr, columns: tl.constexpr,
):  # fmt: skip
    """Contiguous (batch, heads, length, dim) arrays; a program is a tile of queries of one head."""
    i = tl.program_id(0) * block_q + tl.arange(0, block_q)
    at = tl.program_id(1)
    of_keys = at // heads * (heads // group) + at % heads // group
    c = tl.arange(0, columns)
    row = i < n_q
    q = tl.load(q_ptr + (at * n_q + i[:, None]) * d + c[None, :], mask=row[:, None] & (c < d)[None, :], other=0.0)
    q = q.to(tl.float32)
    constant = tl.full((1, 1), scale, tl.float32).to(kind).to(tl.float32)
    top = tl.full((block_q,), -float("inf"), tl.float32)
    total = tl.zeros((block_q,), tl.float32)
    acc = tl.zeros((block_q, columns), tl.float32)
    for j in range(n_1):
        k1 = tl.load(k1_ptr + (of_keys * n_1 + j) * d + c, mask=c < d, other=0.0).to(tl.float32)
        v1 = tl.load(v1_ptr + (of_keys * n_1 + j) * d_v + c, mask=c < d_v, other=0.0).to(tl.float32)
        pair = (q * k1[None, :]).to(kind).to(tl.float32)
        pair = (pair * constant).to(kind).to(tl.float32)
        sees = row & _visible(i, j, w1, is_causal)
        for start in range(0, n_2, block_k):
            k = start + tl.arange(0, block_k)
            there = k < n_2
            k2 = tl.load(
                k2_ptr + (of_keys * n_2 + k[:, None]) * d + c[None, :],
                mask=there[:, None] & (c < d)[None, :],
                other=0.0,
            ).to(tl.float32)
            v2 = tl.load(
                v2_ptr + (of_keys * n_2 + k[:, None]) * d_v + c[None, :],
                mask=there[:, None] & (c < d_v)[None, :],
                other=0.0,
            ).to(tl.float32)
            score = tl.dot(pair, tl.trans(k2), input_precision="ieee")
            seen = sees[:, None] & there[None, :] & _visible(i[:, None], k[None, :], w2, is_causal)
            score = score + tl.where(seen, 0.0, -1.0e38)
            new = tl.maximum(top, tl.max(score, 1))
            p = tl.exp(score - new[:, None])
            alpha = tl.exp(top - new)
            total = total * alpha + tl.sum(p, 1)
            mixed = (v1[None, :] * v2).to(kind).to(tl.float32)
            acc = acc * alpha[:, None] + tl.dot(p.to(kind).to(tl.float32), mixed, input_precision="ieee")
            top = new
    empty = top < -1.0e37
    out = tl.where(empty[:, None], 0.0, acc / total[:, None])
    lse = tl.where(empty, -float("inf"), top + tl.log(total))
    tl.store(out_ptr + (at * n_q + i[:, None]) * d_v + c[None, :], out.to(kind), mask=row[:, None] & (c < d_v)[None, :])
    tl.store(lse_ptr + at * n_q + i, lse, mask=row)


@triton.jit
def _rows(ptr, at, i, n, d, c):  # type: ignore[no-untyped-def]
    """Rows i of head ``at`` in float32; 0 beyond the array."""
    inside = (i < n)[:, None] & (c < d)[None, :]
    return tl.load(ptr + (at * n + i[:, None]) * d + c[None, :], mask=inside, other=0.0).to(tl.float32)


@triton.jit  # type: ignore[untyped-decorator]
def backward_keys(  # type: ignore[no-untyped-def]
    q_ptr, k1_ptr, k2_ptr, v1_ptr, v2_ptr, grad_ptr, lse_ptr, delta_ptr, dk_ptr, dv_ptr, n_q, n_1, n_2, d, d_v, heads,
    group, scale: tl.constexpr, w1: tl.constexpr, w2: tl.constexpr, is_causal: tl.constexpr, kind: tl.constexpr,
    block_q: tl.constexpr, block_k: tl.constexpr, columns: tl.constexpr,
):  # fmt: skip
    """dK¹ and dV¹ per query head, in float32; a program is a tile of keys of mode 1 of one head."""
    j = tl.program_id(0) * block_k + tl.arange(0, block_k)
    at = tl.program_id(1)
    of_keys = at // heads * (heads // group) + at % heads // group
    c = tl.arange(0, columns)
    k1 = _rows(k1_ptr, of_keys, j, n_1, d, c)
    v1 = _rows(v1_ptr, of_keys, j, n_1, d_v, c)
    constant = tl.full((1, 1), scale, tl.float32).to(kind).to(tl.float32)
    dk = tl.zeros((block_k, columns), tl.float32)
    dv = tl.zeros((block_k, columns), tl.float32)
    for k in range(n_2):
        k2 = tl.load(k2_ptr + (of_keys * n_2 + k) * d + c, mask=c < d, other=0.0).to(tl.float32)
        v2 = tl.load(v2_ptr + (of_keys * n_2 + k) * d_v + c, mask=c < d_v, other=0.0).to(tl.float32)
        pair = (k1 * k2[None, :]).to(kind).to(tl.float32)
        pair = (pair * constant).to(kind).to(tl.float32)
        mixed = (v1 * v2[None, :]).to(kind).to(tl.float32)
        for start in range(0, n_q, block_q):
            i = start + tl.arange(0, block_q)
            row = i < n_q
            q = _rows(q_ptr, at, i, n_q, d, c)
            grad = _rows(grad_ptr, at, i, n_q, d_v, c)
            lse = tl.load(lse_ptr + at * n_q + i, mask=row, other=0.0)
            delta = tl.load(delta_ptr + at * n_q + i, mask=row, other=0.0)
            seen = (row & _visible(i, k, w2, is_causal))[None, :] & (j < n_1)[:, None]
            seen = seen & _visible(i[None, :], j[:, None], w1, is_causal)
            score = tl.dot(pair, tl.trans(q), input_precision="ieee")
            p = tl.where(seen, tl.exp(tl.where(seen, score - lse[None, :], 0.0)), 0.0)
            ds = p * (tl.dot(mixed, tl.trans(grad), input_precision="ieee") - delta[None, :])
            dk += tl.dot(ds.to(kind).to(tl.float32), q, input_precision="ieee") * k2[None, :]
            dv += tl.dot(p.to(kind).to(tl.float32), grad, input_precision="ieee") * v2[None, :]
    inside = (j < n_1)[:, None]
    tl.store(dk_ptr + (at * n_1 + j[:, None]) * d + c[None, :], dk * scale, mask=inside & (c < d)[None, :])
    tl.store(dv_ptr + (at * n_1 + j[:, None]) * d_v + c[None, :], dv, mask=inside & (c < d_v)[None, :])


@triton.jit  # type: ignore[untyped-decorator]
def backward_query(  # type: ignore[no-untyped-def]
    q_ptr, k1_ptr, k2_ptr, v1_ptr, v2_ptr, grad_ptr, lse_ptr, delta_ptr, dq_ptr, n_q, n_1, n_2, d, d_v, heads, group,
    scale: tl.constexpr, w1: tl.constexpr, w2: tl.constexpr, is_causal: tl.constexpr, kind: tl.constexpr,
    block_q: tl.constexpr, block_k: tl.constexpr, columns: tl.constexpr,
):  # fmt: skip
    """dQ in float32; a program is a tile of queries of one head."""
    i = tl.program_id(0) * block_q + tl.arange(0, block_q)
    at = tl.program_id(1)
    of_keys = at // heads * (heads // group) + at % heads // group
    c = tl.arange(0, columns)
    row = i < n_q
    q = _rows(q_ptr, at, i, n_q, d, c)
    grad = _rows(grad_ptr, at, i, n_q, d_v, c)
    lse = tl.load(lse_ptr + at * n_q + i, mask=row, other=0.0)
    delta = tl.load(delta_ptr + at * n_q + i, mask=row, other=0.0)
    constant = tl.full((1, 1), scale, tl.float32).to(kind).to(tl.float32)
    dq = tl.zeros((block_q, columns), tl.float32)
    for j in range(n_1):
        k1 = tl.load(k1_ptr + (of_keys * n_1 + j) * d + c, mask=c < d, other=0.0).to(tl.float32)
        v1 = tl.load(v1_ptr + (of_keys * n_1 + j) * d_v + c, mask=c < d_v, other=0.0).to(tl.float32)
        pair = (q * k1[None, :]).to(kind).to(tl.float32)
        pair = (pair * constant).to(kind).to(tl.float32)
        mixed = (grad * v1[None, :]).to(kind).to(tl.float32)
        sees = row & _visible(i, j, w1, is_causal)
        for start in range(0, n_2, block_k):
            k = start + tl.arange(0, block_k)
            k2 = _rows(k2_ptr, of_keys, k, n_2, d, c)
            v2 = _rows(v2_ptr, of_keys, k, n_2, d_v, c)
            seen = sees[:, None] & (k < n_2)[None, :] & _visible(i[:, None], k[None, :], w2, is_causal)
            score = tl.dot(pair, tl.trans(k2), input_precision="ieee")
            p = tl.where(seen, tl.exp(tl.where(seen, score - lse[:, None], 0.0)), 0.0)
            ds = p * (tl.dot(mixed, tl.trans(v2), input_precision="ieee") - delta[:, None])
            both = (k1[None, :] * k2).to(kind).to(tl.float32)
            dq += tl.dot(ds.to(kind).to(tl.float32), both, input_precision="ieee")
    tl.store(dq_ptr + (at * n_q + i[:, None]) * d + c[None, :], dq * scale, mask=row[:, None] & (c < d)[None, :])
