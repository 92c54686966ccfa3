"""ggml, the library under llama.cpp, on the CPU: its rotation, and its attention as a graph or as one fused node.

The package ``xllamacpp`` brings a build of it whose functions are called here by :mod:`ctypes`.  An assertion of ggml
ends the process, so that whatever its operators do not take is declined before.  Source:
https://github.com/ggml-org/llama.cpp/blob/master/ggml/include/ggml.h
"""

from __future__ import annotations

import ctypes
import functools
import importlib.metadata
import importlib.util
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.interface.kernel import Declined, Kernel
from assay.conformance.interface.suite import CONCURRENT_CALLS
from assay.conformance.interface.targets import keywords_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]
    Pointer = int

__all__ = ["ggml"]

_F32, _F16, _I32 = 0, 1, 26  # ggml_type
_NORMAL, _NEOX = 0, 2  # modes of ggml_rope: pairs of neighbours, halves
_MEMORY = 1 << 26  # bytes of a graph with its tensors, beside twice the size of its inputs


def ggml(name: str, *, fused: bool) -> Kernel:
    """fused: by ``ggml_flash_attn_ext``; else by two products and ``ggml_soft_max_ext``, as llama.cpp has both."""
    function = functools.partial(_kernel, fused)
    lacks = {"llama3", "ntk", "dynamic", "batched_positions", "far_positions", "untruncated", CONCURRENT_CALLS}
    lacks |= {"bias", "relative_bias"} if fused else set()
    version, keywords = importlib.metadata.version("xllamacpp"), keywords_of(function, "rope_attention")
    return Kernel(name, function, "numpy", keywords, {"empty_row": "any"}, frozenset(lacks), version)


class _Parameters(ctypes.Structure):
    _fields_ = (("size", ctypes.c_size_t), ("buffer", ctypes.c_void_p), ("no_alloc", ctypes.c_bool))


@functools.cache
def _library() -> Any:
    """The shared library, with the types of what is called."""
    found = importlib.util.find_spec("xllamacpp.xllamacpp")
    assert found is not None
    assert found.origin is not None
    library = ctypes.CDLL(found.origin)
    pointer, whole, real, long = ctypes.c_void_p, ctypes.c_int, ctypes.c_float, ctypes.c_int64
    signatures: dict[str, tuple[Any, list[Any]]] = {
        "ggml_init": (pointer, [_Parameters]),
        "ggml_free": (None, [pointer]),
        "ggml_new_tensor_4d": (pointer, [pointer, whole, long, long, long, long]),
        "ggml_get_data": (pointer, [pointer]),
        "ggml_nbytes": (ctypes.c_size_t, [pointer]),
        "ggml_rope_ext": (pointer, [pointer] * 4 + [whole] * 3 + [real] * 6),
        "ggml_permute": (pointer, [pointer, pointer, whole, whole, whole, whole]),
        "ggml_cont": (pointer, [pointer, pointer]),
        "ggml_mul_mat": (pointer, [pointer] * 3),
        "ggml_soft_max_ext": (pointer, [pointer] * 3 + [real] * 2),
        "ggml_flash_attn_ext": (pointer, [pointer] * 5 + [real] * 3),
        "ggml_new_graph": (pointer, [pointer]),
        "ggml_build_forward_expand": (None, [pointer, pointer]),
        "ggml_graph_compute_with_ctx": (whole, [pointer, pointer, whole]),
        "ggml_cpu_init": (None, []),
    }
    for name, (returned, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = returned, arguments
    library.ggml_cpu_init()
    return library


def _kernel(
    fused: bool, query: Array, key: Array, value: Array, *, scale: float, base: float, layout: str = "halves",
    rotary_dim: int | None = None, scaling: str | None = None, factor: float = 1.0, original_length: int | None = None,
    low_frequency: float = 1.0, high_frequency: float = 32.0, attention_factor: float | None = None,
    query_positions: Array | None = None, key_positions: Array | None = None, is_causal: bool = False,
    mask: Array | None = None, bias: Array | None = None, relative_bias: Array | None = None,
) -> Any:  # fmt: skip
    if query.dtype != np.float32:
        raise Declined("arrays are float32")
    (b, h, n_q, d), n_k, d_v = query.shape, key.shape[2], value.shape[3]
    r = rotary_dim or d
    lib = _library()
    size = 4 * (8 * (query.size + key.size + value.size) + 6 * b * h * (n_q + 64) * (n_k + d + d_v))
    context = lib.ggml_init(_Parameters(_MEMORY + 2 * size, None, False))
    try:
        yarn, formula = scaling == "yarn", 1 + 0.1 * math.log(factor)
        magnitude = 1.0 if not yarn or attention_factor is None else attention_factor / formula
        mode = _NEOX if layout == "halves" else _NORMAL
        frequencies = (r, mode, original_length or 0, base, 1 / factor)
        turned = (*frequencies, float(yarn), magnitude, high_frequency, low_frequency)

        def rotated(x: Array, positions: Array | None) -> Pointer:
            places = np.arange(x.shape[2]) if positions is None else positions
            place = _tensor(lib, context, places.astype(np.int32), _I32)
            # (batch, length, heads, dim): the axis of the positions is the last but two
            tensor = _tensor(lib, context, np.swapaxes(x, 1, 2), _F32)
            one: Pointer = lib.ggml_rope_ext(context, tensor, place, None, *turned)
            exchanged: Pointer = lib.ggml_permute(context, one, 0, 2, 1, 3)
            return exchanged

        q, k = rotated(query, query_positions), rotated(key, key_positions)
        added = _added((b, h, n_q, n_k), is_causal, mask, bias, relative_bias)
        if fused:
            out = _fused(lib, context, q, k, _tensor(lib, context, value, _F32), added, scale)
        else:
            hidden = None if added is None else _tensor(lib, context, added, _F32)
            products = lib.ggml_mul_mat(context, lib.ggml_cont(context, k), q)
            weights = lib.ggml_soft_max_ext(context, products, hidden, scale, 0.0)
            values = _tensor(lib, context, np.swapaxes(value, 2, 3), _F32)
            out = lib.ggml_mul_mat(context, values, weights)
        graph = lib.ggml_new_graph(context)
        lib.ggml_build_forward_expand(graph, out)
        if lib.ggml_graph_compute_with_ctx(context, graph, 2):
            raise RuntimeError("ggml_graph_compute failed")
        numbers = _numbers(lib, out)
    finally:
        lib.ggml_free(context)
    if fused:  # (batch, length, heads, dim)
        return np.swapaxes(numbers.reshape(b, n_q, h, d_v), 1, 2).copy()
    return numbers.reshape(b, h, n_q, d_v).copy()


def _fused(
    lib: Any, context: Pointer, q: Pointer, k: Pointer, v: Pointer, added: Array | None, scale: float
) -> Pointer:
    """The mask is in half precision there, and holds 0 and −∞ alone."""
    mask = None
    if added is not None:
        b, h, n_q, n_k = added.shape
        padded = np.full((b, h, -(-n_q // 64) * 64, n_k), -np.inf, np.float16)
        padded[:, :, :n_q] = added
        mask = _tensor(lib, context, padded, _F16)
    out: Pointer = lib.ggml_flash_attn_ext(context, q, lib.ggml_cont(context, k), v, mask, scale, 0.0, 0.0)
    return out


def _added(
    shape: tuple[int, int, int, int],
    is_causal: bool,
    mask: Array | None,
    bias: Array | None,
    relative_bias: Array | None,
) -> Array | None:
    """Everything that hides or is added, as one mask of ggml."""
    n_q, n_k = shape[2:]
    if not is_causal and mask is None and bias is None and relative_bias is None:
        return None
    added = np.zeros(shape, np.float32)
    if relative_bias is not None:
        added += relative_bias[:, np.arange(n_q)[:, None] - np.arange(n_k) + n_k - 1]
    if bias is not None:
        added += bias
    if mask is not None:
        added[~np.broadcast_to(mask, shape)] = -np.inf
    if is_causal:
        added[..., ~np.tri(n_q, n_k, dtype=bool)] = -np.inf
    return added


def _tensor(lib: Any, context: Pointer, array: Array, kind: int) -> Pointer:
    """A tensor with the numbers of an array, whose last axis is its first."""
    x = np.ascontiguousarray(array)
    lengths = (1,) * (4 - x.ndim) + x.shape
    tensor: Pointer = lib.ggml_new_tensor_4d(context, kind, *lengths[::-1])
    ctypes.memmove(lib.ggml_get_data(tensor), x.ctypes.data, x.nbytes)
    return tensor


def _numbers(lib: Any, tensor: Pointer) -> Array:
    size = lib.ggml_nbytes(tensor) // 4
    return np.ctypeslib.as_array(ctypes.cast(lib.ggml_get_data(tensor), ctypes.POINTER(ctypes.c_float)), (size,)).copy()
