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

__all__ = ["outputs_of", "run"]

_FORMAT = 10  # of the model: the newest that every release with an operator Attention or RotaryEmbedding reads


def run(operator: str, version: int, inputs: Mapping[str, NDArray[Any] | None], **attributes: float) -> NDArray[Any]:
    """The first output of an operator of ONNX; its type and the number of its axes are those of the first input.

    version: of the operator set.  inputs: in the operator's order, ``None`` for one that is left out.
    """
    axes = next(array.ndim for array in inputs.values() if array is not None)
    return outputs_of(operator, version, inputs, (axes,), "", **attributes)[0]


def outputs_of(
    operator: str, version: int, inputs: Mapping[str, NDArray[Any] | None], axes: tuple[int, ...], domain: str,
    **attributes: float,
) -> list[NDArray[Any]]:  # fmt: skip
    """The first outputs of an operator of a domain, of the type of the first input.

    axes: how many axes each of them has.
    """
    feeds = {name: np.ascontiguousarray(array) for name, array in inputs.items() if array is not None}
    kinds = tuple((name, array.dtype.name, array.ndim) for name, array in feeds.items())
    names = [name if name in feeds else "" for name in inputs]
    while not names[-1]:
        names.pop()
    session = _session((domain, operator, version), tuple(names), kinds, axes, tuple(attributes.items()))
    returned: list[NDArray[Any]] = session.run(None, feeds)
    return returned


@functools.lru_cache(maxsize=256)
def _session(
    operator: tuple[str, str, int], names: tuple[str, ...], kinds: tuple[tuple[str, str, int], ...],
    axes: tuple[int, ...], attributes: tuple[tuple[str, float], ...],
) -> Any:  # fmt: skip
    """The model.  operator: domain, name, version.  kinds: name, dtype and number of axes of every input there is."""
    import onnx
    import onnxruntime

    def tensor(name: str, dtype: str, axes: int) -> Any:
        kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return onnx.helper.make_tensor_value_info(name, kind, [None] * axes)

    domain, name, version = operator
    returned = [f"output{number}" for number in range(len(axes))]
    node = onnx.helper.make_node(name, names, returned, domain=domain, **dict(attributes))
    inputs = [tensor(*kind) for kind in kinds]
    outputs = [tensor(one, kinds[0][1], count) for one, count in zip(returned, axes, strict=True)]
    graph = onnx.helper.make_graph([node], name, inputs, outputs)
    opset = onnx.helper.make_opsetid(domain, version)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=_FORMAT)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 2
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
