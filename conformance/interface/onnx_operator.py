"""One operator of ONNX, as onnxruntime runs it on the CPU: a model that consists of nothing else.

Source: https://onnx.ai/onnx/operators/
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["run"]

_FORMAT = 10  # of the model: the newest that every release with an operator Attention or RotaryEmbedding reads


def run(operator: str, version: int, inputs: Mapping[str, NDArray[Any] | None], **attributes: float) -> NDArray[Any]:
    """The first output of an operator; its type and the number of its axes are those of the first input.

    version: of the operator set.  inputs: in the operator's order, ``None`` for one that is left out.
    """
    feeds = {name: np.ascontiguousarray(array) for name, array in inputs.items() if array is not None}
    kinds = tuple((name, array.dtype.name, array.ndim) for name, array in feeds.items())
    names = [name if name in feeds else "" for name in inputs]
    while not names[-1]:
        names.pop()
    session = _session(operator, version, tuple(names), kinds, tuple(attributes.items()))
    output: NDArray[Any] = session.run(None, feeds)[0]
    return output


@functools.lru_cache(maxsize=256)
def _session(
    operator: str, version: int, names: tuple[str, ...], kinds: tuple[tuple[str, str, int], ...],
    attributes: tuple[tuple[str, float], ...],
) -> Any:  # fmt: skip
    """The model.  kinds: name, dtype and number of axes of every input that is there."""
    import onnx
    import onnxruntime

    def tensor(name: str, dtype: str, axes: int) -> Any:
        kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return onnx.helper.make_tensor_value_info(name, kind, [None] * axes)

    node = onnx.helper.make_node(operator, names, ["output"], **dict(attributes))
    inputs, outputs = [tensor(*kind) for kind in kinds], [tensor("output", *kinds[0][1:])]
    graph = onnx.helper.make_graph([node], operator, inputs, outputs)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", version)], ir_version=_FORMAT)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 2
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
