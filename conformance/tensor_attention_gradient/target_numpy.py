"""Backward passes in NumPy: the formulas of a textbook, and assay's own kernels for the CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.interface.kernel import Kernel
from assay.conformance.interface.targets import keywords_of
from assay.conformance.tensor_attention.target_numpy import seen
from assay.conformance.tensor_attention_gradient.interface import explicit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

__all__ = ["built_in", "textbook"]

_PROBLEM = "tensor_attention_gradient"


def built_in(name: str, order: int) -> Kernel:
    from assay.impl.cpu.tensor_attention_gradient import exact

    return Kernel(name, exact, keywords=keywords_of(exact, _PROBLEM), positional=explicit(order))


def textbook(name: str, order: int) -> Kernel:
    keywords = keywords_of(_backward, _PROBLEM)
    return Kernel(name, _backward, keywords=keywords, positional=explicit(order), version=np.__version__)


def _backward(
    query: Array, *arrays: Array, scale: float, is_causal: bool = False, window: tuple[int | None, ...] | None = None,
    grad_log_sum_exp: Array | None = None,
) -> tuple[Array, ...]:  # fmt: skip
    """Probabilities from the log-sum-exp that is handed over, δ from the output, and one einsum a gradient."""
    *modes, output, log_sum_exp, grad_output = arrays
    count, group, number = len(modes) // 2, query.shape[1] // modes[0].shape[1], query.dtype.type
    wide = [np.repeat(x, group, axis=1) for x in modes]
    keys, values = wide[:count], wide[count:]
    lengths = tuple(x.shape[2] for x in keys)
    letters = "jklm"[:count]
    every = [f"bh{letter}d" for letter in letters]
    score = np.einsum(f"bhid,{','.join(every)}->bhi{letters}", query, *keys, optimize=True) * number(scale)
    kept = seen(query.shape[2], lengths, is_causal, window).reshape(query.shape[2], *lengths)
    some = np.isfinite(log_sum_exp)
    over = (..., *(None,) * count)
    lse = np.where(some, log_sum_exp, 0).astype(query.dtype)[over]
    p = np.where(kept, np.exp(np.where(kept, score - lse, number(0))), number(0))
    product = np.einsum(f"bhid,{','.join(every)}->bhi{letters}", grad_output, *values, optimize=True)
    delta = (grad_output * output).sum(axis=3)
    if grad_log_sum_exp is not None:
        delta = delta - np.where(some, grad_log_sum_exp, 0).astype(query.dtype)
    ds = p * (product - delta[over])

    def summed(weight: Array, mode: int, of_queries: Array, of_modes: list[Array]) -> Array:
        others = [(name, x) for m, (name, x) in enumerate(zip(every, of_modes, strict=True)) if m != mode]
        names = [f"bhi{letters}", "bhid", *(name for name, _ in others)]
        made = np.einsum(
            f"{','.join(names)}->{every[mode]}", weight, of_queries, *(x for _, x in others), optimize=True
        )
        b, h, n, d = made.shape
        return np.asarray(made.reshape(b, h // group, group, n, d).sum(axis=2))

    grad_query = np.einsum(f"bhi{letters},{','.join(every)}->bhid", ds, *keys, optimize=True) * number(scale)
    return (
        grad_query,
        *(summed(ds, mode, query, keys) * number(scale) for mode in range(count)),
        *(summed(p, mode, grad_output, values) for mode in range(count)),
    )
