"""The transformer in NumPy: tokens, one head of attention in tiles of queries, the perceptron, the decision.

Matrix products and the softmax are computed in float32 (float64 for float64), and everything that a layer stores is
rounded to its type, as frameworks do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec.floats import dtype_named

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.impl.transformer.weights import Transformer

__all__ = ["DTYPES", "decide", "outputs"]

#: The types that the transformer may be stored in.
DTYPES = ("float64", "float32", "bfloat16", "float16")

_SCORES = 1 << 22  # that are in memory at a time


def outputs(
    transformer: Transformer, left: NDArray[Any], right: NDArray[Any] | None = None, *, dtype: str = "float32"
) -> NDArray[Any]:
    """(documents + 1,): what the head gives for every token, in the type ``dtype``: at most 1/2 or at least 16/17.

    left (n, ℓ), right (m, ℓ): 0 and 1.  dtype: one of :data:`DTYPES`.
    Raises ``ValueError`` for another type, for other documents, and for more than ``transformer.documents`` in all.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype {dtype!r}: expected one of {', '.join(DTYPES)}")
    stored = dtype_named(dtype)
    work = np.dtype(np.float64) if dtype == "float64" else np.dtype(np.float32)
    tokens = transformer.tokens(left, right).astype(stored)

    def projected(weights: NDArray[Any]) -> NDArray[Any]:
        product = tokens.astype(work) @ weights.astype(stored).astype(work)
        rounded: NDArray[Any] = product.astype(stored).astype(work)
        return rounded

    query, key, value = (projected(x) for x in (transformer.query, transformer.key, transformer.value[:, :1]))
    mask = transformer.mask(len(tokens))
    result = np.empty(len(tokens), stored)
    rows = max(1, _SCORES // len(tokens))
    for start in range(0, len(tokens), rows):
        part = slice(start, start + rows)
        scores = query[part] @ key.T
        if mask is not None:
            scores[~mask[part]] = -np.inf
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        result[part] = ((weights @ value)[:, 0] / weights.sum(axis=1)).astype(stored)
    return result


def decide(
    transformer: Transformer, left: NDArray[Any], right: NDArray[Any] | None = None, *, dtype: str = "float32"
) -> bool:
    """The answer of the whole transformer; arguments as in :func:`outputs`.

    >>> from assay.impl.transformer import orthogonal
    >>> documents = np.array([[1, 1, 0], [0, 1, 1], [0, 0, 1]])
    >>> decide(orthogonal(3, 3), documents), decide(orthogonal(3, 3), documents[:2])
    (True, False)
    """
    share = outputs(transformer, left, right, dtype=dtype)
    stored, work = share.dtype, np.dtype(np.float64) if dtype == "float64" else np.dtype(np.float32)
    hidden = share.astype(work)[:, None] * transformer.inner[:1].astype(work) + transformer.inner_bias.astype(work)
    hidden = np.maximum(hidden, 0).astype(stored).astype(work)
    fires = (hidden @ transformer.outer.astype(work)).astype(stored).astype(work)
    return bool(fires.mean() > 1 / (2 * len(fires)))
