"""onnxruntime's ``GroupQueryAttention`` with ``do_rotary``, on the CPU: one operator that rotates, caches and attends.

Source: https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.GroupQueryAttention.
Keys before the last queries are put into the cache by a first call, as a prompt is: the operator rotates them there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.interface.kernel import Declined, Kernel
from assay.conformance.interface.onnx_operator import outputs_of
from assay.conformance.interface.targets import keywords_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

__all__ = ["group_query_attention"]


def group_query_attention(name: str) -> Kernel:
    import onnxruntime

    lacks = {"value_dim", "any_positions", "batched_positions", "unlike_positions", "negative_positions", "partial"}
    keywords = keywords_of(_kernel, "rope_attention")
    return Kernel(name, _kernel, keywords=keywords, lacks=frozenset(lacks), version=str(onnxruntime.__version__))


def _kernel(
    query: Array, key: Array, value: Array, *, scale: float, base: float, layout: str = "halves",
    query_positions: Array | None = None, key_positions: Array | None = None, is_causal: bool = False,
    causal: str | None = None, window: tuple[int | None, int | None] | None = None, bias: Array | None = None,
    relative_bias: Array | None = None, softcap: float | None = None, sink: Array | None = None,
) -> Any:  # fmt: skip
    b, _, n_q, d = query.shape
    n_k = key.shape[2]
    causal = "top-left" if is_causal else causal
    if scale == 0:
        raise Declined("a scale of 0 is taken for 1/√dim")
    if d % 16 or n_q > n_k:
        raise Declined("a dim that is no multiple of 16, or more queries than keys")
    if causal != "bottom-right" and n_q != n_k:
        raise Declined("queries are the last tokens of the cache")
    if b > 1 and 1 < n_q < n_k:
        raise Declined("several queries after a cache come in batches of 1")
    first = 0 if key_positions is None else int(key_positions[0])
    if first or (query_positions is not None and int(query_positions[0]) != n_k - n_q):
        raise Declined("positions count from the beginning of the cache")
    if window is not None and (window[1] not in (0, None) or causal is None or window[0] is None):
        raise Declined("local_window_size is a window to the left under a causal mask")
    if relative_bias is not None:
        bias = relative_bias[:, np.arange(n_q)[:, None] - np.arange(n_k) + n_k - 1][None]
    attributes: dict[str, Any] = {"scale": scale, "do_rotary": 1, "causal": int(causal is not None)}
    attributes |= {"num_heads": query.shape[1], "kv_num_heads": key.shape[1]}
    attributes |= {"rotary_interleaved": int(layout == "pairs")}
    if window is not None:
        attributes["local_window_size"] = int(window[0] or 0) + 1
    if softcap is not None:
        attributes["softcap"] = softcap
    angles = np.arange(max(n_k, 1))[:, None] * base ** (-np.arange(0, d, 2) / d)
    tables = {"cos": np.cos(angles).astype(query.dtype), "sin": np.sin(angles).astype(query.dtype)}
    past = n_k - n_q
    cache = (key[:, :, :0], value[:, :, :0])
    if past:
        prompt = np.zeros((b, query.shape[1], past, d), query.dtype)
        _, *cache = _run(prompt, key[:, :, :past], value[:, :, :past], cache, tables, None, None, attributes)
    if bias is not None:
        bias = np.broadcast_to(bias, (*np.broadcast_shapes(bias.shape, (1, 1, n_q, n_k))[:2], n_q, n_k))
    return _run(query, key[:, :, past:], value[:, :, past:], cache, tables, bias, sink, attributes)[0]


def _run(query: Array, key: Array, value: Array, cache: Any, tables: Any, bias: Any, sink: Any, attributes: Any) -> Any:
    b, h, n, d = query.shape
    total = cache[0].shape[2] + n

    def flat(x: Array) -> Array:
        return np.ascontiguousarray(np.swapaxes(x, 1, 2)).reshape(b, n, -1)

    inputs = {
        "query": flat(query), "key": flat(key), "value": flat(value), "past_key": cache[0], "past_value": cache[1],
        "seqlens_k": np.full(b, total - 1, np.int32), "total_sequence_length": np.array([total], np.int32),
        "cos_cache": tables["cos"], "sin_cache": tables["sin"], "position_ids": None, "attention_bias": bias,
        "head_sink": sink,
    }  # fmt: skip
    out, *present = outputs_of("GroupQueryAttention", 1, inputs, (3, 4, 4), "com.microsoft", **attributes)
    return out.reshape(b, n, h, d).swapaxes(1, 2), *present
