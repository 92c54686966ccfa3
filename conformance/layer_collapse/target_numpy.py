"""The formula as a textbook has it, in NumPy: no norms, no MLP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.interface.kernel import Kernel
from assay.conformance.interface.targets import keywords_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["textbook"]


def textbook() -> Kernel:
    return Kernel("numpy:stack", _stack, keywords=keywords_of(_stack, "layer_collapse"), version=np.__version__)


def _stack(
    tokens: NDArray[Any], query_weights: NDArray[Any], key_weights: NDArray[Any], value_weights: NDArray[Any], *,
    scale: float, skip: bool = True, causal: bool = False, output_weights: NDArray[Any] | None = None,
) -> NDArray[Any]:  # fmt: skip
    x, after = tokens, []
    for layer in range(len(query_weights)):
        query, key, value = (x @ weights[layer] for weights in (query_weights, key_weights, value_weights))
        group = len(query) // len(key)
        key, value = (np.repeat(heads, group, axis=0) for heads in (key, value))
        score = x.dtype.type(scale) * (query @ key.swapaxes(1, 2))
        if causal:
            score = np.where(np.tri(len(x), dtype=bool), score, x.dtype.type(-np.inf))
        weight = np.exp(score - score.max(axis=2, keepdims=True))
        heads = weight @ value / weight.sum(axis=2, keepdims=True)
        update = (heads if output_weights is None else heads @ output_weights[layer]).sum(axis=0)
        x = x + update if skip else update
        after.append(x)
    return np.stack(after)
