"""The ONNX operator ``Attention`` as onnxruntime runs it on the CPU, in the newest version that the release has.

Source: https://onnx.ai/onnx/operators/onnx__Attention.html.  ``is_causal`` is aligned top-left without
``nonpad_kv_seqlen`` and bottom-right with it; the scale is applied as its square root to Q and K.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.interface.kernel import Declined, Kernel
from assay.conformance.interface.onnx_operator import run
from assay.conformance.interface.targets import keywords_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["attention", "supported"]

_OPERATOR = ("", "Attention")  # domain, name
_VERSIONS = (24, 23)  # 24 brought nonpad_kv_seqlen


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
    if added is not None:  # a last axis of size 1 would not be broadcast but filled up with −inf, so the document says
        added = np.broadcast_to(added, (*(1, 1, 1, *added.shape)[-4:-2], query.shape[2], key.shape[2]))
    inputs = {"Q": query, "K": key, "V": value, "attn_mask": added, "past_key": None, "past_value": None}
    inputs["nonpad_kv_seqlen"] = None if lengths is None else lengths.astype(np.int64)
    attributes = {"scale": scale, "is_causal": int(is_causal or causal is not None)}
    return run("Attention", version, inputs, **attributes, **({} if softcap is None else {"softcap": softcap}))
