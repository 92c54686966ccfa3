"""The ONNX operator ``Attention`` as onnxruntime runs it on the CPU, in the newest version that the release has.

Source: https://onnx.ai/onnx/operators/onnx__Attention.html.  ``is_causal`` is aligned top-left without
``nonpad_kv_seqlen`` and bottom-right with it; the scale is applied as its square root to Q and K.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.interface.kernel import Declined, Kernel
from assay.conformance.interface.targets import keywords_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["attention", "supported"]

_OPERATOR = ("", "Attention")  # domain, name
_VERSIONS = (24, 23)  # 24 brought nonpad_kv_seqlen
_FORMAT = 10  # of the model: the newest that every release with the operator reads


def attention() -> Kernel:
    """The kernel.  Raises ``ImportError`` if the installed onnxruntime has no such operator."""
    import onnxruntime

    version = supported()
    kernel = functools.partial(_kernel, version)
    lacks = frozenset({"bias_with_mask"})
    return Kernel(
        "onnxruntime:attention",
        kernel,
        keywords=keywords_of(kernel, "attention"),
        lacks=lacks if version >= 24 else lacks | {"key_lengths", "causal_bottom_right"},
        version=str(onnxruntime.__version__),
    )


def supported() -> int:
    """The newest version of the operator that both the installed onnxruntime and this module know."""
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    schemas = state.get_all_operator_schema()
    there = {schema.since_version for schema in schemas if (schema.domain, schema.name) == _OPERATOR}
    for version in _VERSIONS:
        if version in there:
            return version
    raise ImportError(f"onnxruntime {onnxruntime.__version__} has no operator Attention: it came with 1.23")


def _kernel(
    version: int,
    query: NDArray[Any],
    key: NDArray[Any],
    value: NDArray[Any],
    *,
    scale: float,
    is_causal: bool = False,
    causal: str | None = None,
    mask: NDArray[np.bool_] | None = None,
    bias: NDArray[Any] | None = None,
    key_lengths: NDArray[Any] | None = None,
    softcap: float | None = None,
) -> NDArray[Any]:
    if scale <= 0:
        raise Declined("the operator multiplies Q and K by √scale, and onnxruntime refuses scale ≤ 0 in words")
    if is_causal and key_lengths is not None:
        raise Declined("is_causal with nonpad_kv_seqlen is aligned bottom-right")
    lengths = None
    if key_lengths is not None or causal == "bottom-right":
        lengths = np.full(query.shape[0], key.shape[2]) if key_lengths is None else key_lengths
    added = mask if bias is None else bias
    feeds = {"Q": query, "K": key, "V": value}
    if added is not None:  # a last axis of size 1 would not be broadcast but filled up with −inf, so the document says
        feeds["attn_mask"] = np.broadcast_to(added, (*(1, 1, 1, *added.shape)[-4:-2], query.shape[2], key.shape[2]))
    if lengths is not None:
        feeds["nonpad_kv_seqlen"] = lengths.astype(np.int64)
    attributes: tuple[tuple[str, float], ...] = (("scale", scale), ("is_causal", int(is_causal or causal is not None)))
    attributes += (("softcap", softcap),) if softcap is not None else ()
    kinds = tuple((name, array.dtype.name) for name, array in feeds.items())
    contiguous = {name: np.ascontiguousarray(array) for name, array in feeds.items()}
    output: NDArray[Any] = _session(version, kinds, attributes).run(None, contiguous)[0]
    return output


@functools.lru_cache(maxsize=256)
def _session(version: int, kinds: tuple[tuple[str, str], ...], attributes: tuple[tuple[str, Any], ...]) -> Any:
    """A model that consists of the one operator."""
    import onnx
    import onnxruntime

    def tensor(name: str, dtype: str, rank: int) -> Any:
        kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return onnx.helper.make_tensor_value_info(name, kind, [None] * rank)

    given = dict(kinds)
    order = ["Q", "K", "V", "attn_mask", "past_key", "past_value", "nonpad_kv_seqlen"]
    names = [name if name in given else "" for name in order]
    while not names[-1]:
        names.pop()
    node = onnx.helper.make_node("Attention", names, ["Y"], **dict(attributes))
    inputs = [tensor(name, dtype, 1 if name == "nonpad_kv_seqlen" else 4) for name, dtype in kinds]
    graph = onnx.helper.make_graph([node], "attention", inputs, [tensor("Y", given["Q"], 4)])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", version)], ir_version=_FORMAT)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 2
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
