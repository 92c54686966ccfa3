"""The ONNX operator ``RotaryEmbedding`` as onnxruntime runs it on the CPU.  Its tables are arguments.

Source: https://onnx.ai/onnx/operators/onnx__RotaryEmbedding.html.  The tables hold the positions that occur, one row
each; they are made here in float64, and rounded once to the type of the arrays.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.interface.kernel import Kernel
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
    tables = [function(angles).astype(query.dtype) for function in (np.cos, np.sin)]
    ids = np.broadcast_to(row.reshape(positions.shape), (query.shape[0], query.shape[2])).astype(np.int64)
    session = _session(query.dtype.name, layout == "pairs", 0 if r == query.shape[3] else r)
    feeds = {"cos": tables[0], "sin": tables[1], "ids": np.ascontiguousarray(ids)}
    return tuple(session.run(None, {"x": np.ascontiguousarray(x), **feeds})[0] for x in (query, key))


@functools.lru_cache(maxsize=64)
def _session(dtype: str, interleaved: bool, rotary_dim: int) -> Any:
    """A model of the one operator."""
    import onnx
    import onnxruntime

    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    ranks = {"x": (kind, 4), "cos": (kind, 2), "sin": (kind, 2), "ids": (onnx.TensorProto.INT64, 2), "y": (kind, 4)}
    x, cos, sin, ids, y = (onnx.helper.make_tensor_value_info(name, *(k, [None] * n)) for name, (k, n) in ranks.items())
    node = onnx.helper.make_node(
        "RotaryEmbedding", ["x", "cos", "sin", "ids"], ["y"], interleaved=int(interleaved),
        rotary_embedding_dim=rotary_dim,
    )  # fmt: skip
    graph = onnx.helper.make_graph([node], "rope", [x, cos, sin, ids], [y])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 23)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 2
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
