"""The ONNX operator ``RotaryEmbedding`` as onnxruntime runs it on the CPU.  Its tables are arguments.

Source: https://onnx.ai/onnx/operators/onnx__RotaryEmbedding.html.  The tables hold the positions that occur, one row
each; they are made here in float64, and rounded once to the type of the arrays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.interface.kernel import Kernel
from assay.conformance.interface.onnx_operator import run
from assay.conformance.interface.targets import keywords_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["rotary_embedding"]


def rotary_embedding() -> Kernel:
    import onnxruntime

    version = str(onnxruntime.__version__)
    return Kernel("onnxruntime:rotary_embedding", _kernel, keywords=keywords_of(_kernel, "rope"), version=version)


def _kernel(
    query: NDArray[Any], key: NDArray[Any], positions: NDArray[Any], *, base: float, layout: str = "halves",
    rotary_dim: int | None = None,
) -> Any:  # fmt: skip
    r = rotary_dim or query.shape[3]
    distinct, row = np.unique(positions, return_inverse=True)
    distinct = np.pad(distinct, (0, max(query.shape[2] - len(distinct), 0)))  # no table may be shorter than the text
    angles = distinct[:, None] * base ** (-np.arange(0, r, 2) / r)
    ids = np.broadcast_to(row.reshape(positions.shape), (query.shape[0], query.shape[2])).astype(np.int64)
    tables = {"cos": np.cos(angles).astype(query.dtype), "sin": np.sin(angles).astype(query.dtype), "ids": ids}
    options = {"interleaved": int(layout == "pairs"), "rotary_embedding_dim": 0 if r == query.shape[3] else r}
    return tuple(run("RotaryEmbedding", 23, {"x": x, **tables}, **options) for x in (query, key))
