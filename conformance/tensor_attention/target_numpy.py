"""The textbook formula in NumPy, in the dtype of the inputs, and assay's own kernels for the CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.interface.kernel import Kernel
from assay.conformance.interface.targets import keywords_of
from assay.conformance.tensor_attention.interface import positional

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

__all__ = ["built_in", "dense", "seen", "textbook"]


def built_in(name: str, order: int) -> Kernel:
    from assay.impl.cpu.tensor_attention import exact

    return Kernel(name, exact, keywords=keywords_of(exact, "tensor_attention"), positional=positional(order))


def textbook(name: str, order: int) -> Kernel:
    keywords = keywords_of(dense, "tensor_attention")
    return Kernel(name, dense, keywords=keywords, positional=positional(order), version=np.__version__)


def dense(
    query: Array, *modes: Array, scale: float, is_causal: bool = False, window: tuple[int | None, ...] | None = None,
    return_lse: bool = False,
) -> Any:  # fmt: skip
    """softmax(scale·Q (K¹ ⊗ K² ⊗ …)ᵀ)(V¹ ⊗ V² ⊗ …), with the rows of the products of every combination."""
    count, group = len(modes) // 2, query.shape[1] // modes[0].shape[1]
    wide = [np.repeat(x, group, axis=1) for x in modes]
    keys, values = (_combined(arrays) for arrays in (wide[:count], wide[count:]))
    score = query @ np.swapaxes(keys, 2, 3) * query.dtype.type(scale)
    lengths = tuple(x.shape[2] for x in modes[:count])
    score = np.where(seen(query.shape[2], lengths, is_causal, window), score, -np.inf)
    top = score.max(axis=3, keepdims=True)
    top = np.where(np.isfinite(top), top, query.dtype.type(0))
    weight = np.exp(score - top)
    total = weight.sum(axis=3, keepdims=True)
    with np.errstate(divide="ignore"):
        lse = (top + np.log(total))[..., 0]
    output = weight @ values / np.where(total > 0, total, query.dtype.type(1))
    return (output, lse) if return_lse else output


def _combined(modes: list[Array]) -> Array:
    total = modes[0]
    for other in modes[1:]:
        pairs = total[..., :, None, :] * other[..., None, :, :]
        total = pairs.reshape(*pairs.shape[:2], -1, pairs.shape[-1])
    return total


def seen(n_q: int, lengths: tuple[int, ...], is_causal: bool, window: tuple[int | None, ...] | None) -> Any:
    """(n_q, N): which combinations a query attends to."""
    i = np.arange(n_q)[:, None]
    kept = np.ones((n_q, 1), bool)
    for n, width in zip(lengths, window or (None,) * len(lengths), strict=True):
        j = np.arange(n)[None]
        own = np.ones((n_q, n), bool)
        if is_causal:
            own &= j <= i
        if width is not None:
            own &= (i - width < j) & (j < i + width)
        kept = (kept[:, :, None] & own[:, None, :]).reshape(n_q, -1)
    return kept
