"""The textbook formula in NumPy, in the dtype of its inputs, and assay's own kernel for the CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.interface.kernel import Kernel
from assay.conformance.interface.targets import keywords_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["built_in", "formula", "textbook"]


def textbook() -> Kernel:
    return Kernel("numpy:attention", formula, keywords=keywords_of(formula, "attention"), version=np.__version__)


def built_in() -> Kernel:
    from assay.impl.cpu import attention

    return Kernel("assay:cpu", attention.exact, keywords=keywords_of(attention.exact, "attention"))


def formula(
    query: NDArray[Any],
    key: NDArray[Any],
    value: NDArray[Any],
    *,
    scale: float,
    is_causal: bool = False,
    mask: NDArray[np.bool_] | None = None,
    bias: NDArray[Any] | None = None,
    return_lse: bool = False,
) -> Any:
    """softmax(scale·Q Kᵀ + bias) V as every course writes it, with 0 for a query that attends to no key."""
    dtype = query.dtype
    group = query.shape[1] // key.shape[1]
    key, value = np.repeat(key, group, axis=1), np.repeat(value, group, axis=1)
    score = query @ np.swapaxes(key, 2, 3) * dtype.type(scale)
    if bias is not None:
        score = score + bias
    if is_causal:
        score = np.where(np.tril(np.ones(score.shape[2:], dtype=bool)), score, dtype.type(-np.inf))
    if mask is not None:
        score = np.where(mask, score, dtype.type(-np.inf))
    top = score.max(axis=3, keepdims=True)
    weight = np.exp(score - np.where(np.isinf(top), 0, top))
    total = weight.sum(axis=3, keepdims=True)
    output = weight @ value / np.where(total == 0, 1, total)
    if not return_lse:
        return output
    with np.errstate(divide="ignore"):
        return output, (top + np.log(total))[..., 0]
