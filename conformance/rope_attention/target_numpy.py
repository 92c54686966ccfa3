"""The textbook formulas in NumPy, in the dtype of the inputs, and assay's own kernel for the CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.attention.target_numpy import formula
from assay.conformance.interface.kernel import Kernel
from assay.conformance.interface.targets import keywords_of
from assay.conformance.rope_attention.interface import GENERAL_FORM, ROTARY_FORM

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

__all__ = ["built_in", "general", "rotated", "textbook", "weighted"]


def built_in(*, general: bool = False) -> Kernel:
    from assay.impl.cpu import rope_attention

    keywords = keywords_of(rope_attention.exact, "rope_attention")
    form, name = (GENERAL_FORM, "assay:cpu-general") if general else (ROTARY_FORM, "assay:cpu")
    return Kernel(name, rope_attention.exact, keywords=keywords, positional=form.positional)


def textbook() -> Kernel:
    return _kernel("numpy:rope_attention", rotated)


def weighted() -> Kernel:
    return _kernel("numpy:general_rope_attention", general, GENERAL_FORM.positional)


def _kernel(name: str, function: Any, positional: tuple[str, ...] = ()) -> Kernel:
    keywords = keywords_of(function, "rope_attention")
    return Kernel(name, function, keywords=keywords, positional=positional, version=np.__version__)


def rotated(
    query: Array, key: Array, value: Array, *, scale: float, base: float, query_positions: Array | None = None,
    key_positions: Array | None = None, relative_bias: Array | None = None, is_causal: bool = False,
    mask: Array | None = None,
) -> Any:  # fmt: skip
    """Halves turned by position·base^(−2l/d), then softmax(scale·Q Kᵀ + bias) V."""

    def turned(x: Array, positions: Array | None) -> Array:
        half = x.shape[3] // 2
        place = np.atleast_2d(np.arange(x.shape[2]) if positions is None else positions)[:, None, :, None]
        angle = place.astype(x.dtype) * (base ** (-np.arange(half) / half)).astype(x.dtype)
        cos, sin, a, b = np.cos(angle), np.sin(angle), x[..., :half], x[..., half:]
        return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=3)

    bias = _spread(relative_bias, query.shape[2], key.shape[2])
    query, key = turned(query, query_positions), turned(key, key_positions)
    return formula(query, key, value, scale=scale, is_causal=is_causal, mask=mask, bias=bias)


def general(
    query: Array, key: Array, value: Array, relative: Array, *, scale: float, support: tuple[tuple[int, int], ...],
    relative_bias: Array | None = None, is_causal: bool = False, mask: Array | None = None,
) -> Any:  # fmt: skip
    """softmax(scale·q_i W_(i−j) k_jᵀ + bias) V, with W built for every offset."""
    group = query.shape[1] // key.shape[1]
    key, value = np.repeat(key, group, axis=1), np.repeat(value, group, axis=1)
    n_q, n_k = query.shape[2], key.shape[2]
    places = np.zeros((relative.shape[1], query.shape[3], key.shape[3]), query.dtype)
    for numbers, (row, column) in zip(relative, support, strict=True):
        places[:, row, column] = numbers
    offsets = np.arange(n_q)[:, None] - np.arange(n_k) + n_k - 1
    score = np.einsum("bhia,ijac,bhjc->bhij", query, places[offsets], key) * query.dtype.type(scale)
    bias = _spread(relative_bias, n_q, n_k)
    score = score if bias is None else score + bias
    return formula(0 * query, 0 * key, value, scale=1.0, is_causal=is_causal, mask=mask, bias=score)


def _spread(relative_bias: Array | None, n_q: int, n_k: int) -> Array | None:
    """A bias of offsets for every query and key: (1, 1 or heads, n_q, n_k)."""
    if relative_bias is None:
        return None
    spread: Array = relative_bias[:, np.arange(n_q)[:, None] - np.arange(n_k) + n_k - 1][None]
    return spread
