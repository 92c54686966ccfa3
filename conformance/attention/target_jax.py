"""JAX's ``dot_product_attention``, called plainly or compiled: by XLA, on every device, or by cuDNN on CUDA devices.

Source: https://docs.jax.dev/en/latest/_autosummary/jax.nn.dot_product_attention.html
"""

from __future__ import annotations

import functools
import inspect
from types import MappingProxyType
from typing import Any

from assay.conformance.interface.kernel import Declined, Kernel
from assay.conformance.interface.targets import keywords_of

__all__ = ["dot_product_attention"]


#: The same call in JAX alone.
_PLAIN = """
def kernel(query, key, value, *, scale, is_causal=False, mask=None, bias=None, window=None, key_lengths=None):
    mask, bias = (x if x is None else x.reshape((1,) * (4 - x.ndim) + x.shape) for x in (mask, bias))
    return jnp.swapaxes(jax.nn.dot_product_attention(
        *(jnp.swapaxes(x, 1, 2) for x in (query, key, value)), bias=bias, mask=mask, scale=scale, is_causal=is_causal,
        key_value_seq_lengths=key_lengths, local_window_size=window, implementation="xla",
    ), 1, 2)
"""


def dot_product_attention(name: str, *, jit: bool, implementation: str = "xla") -> Kernel:
    """The kernel under ``name``; ``implementation`` is that of JAX's argument.

    JAX takes arrays of shape (batch, length, heads, dim), wants ``value`` in the shape of ``key``, and documents
    nothing about empty rows.
    """
    import jax

    function = functools.partial(_kernel, jit, implementation)
    lacks = frozenset({"value_dim", "empty_row_lse"})
    if "return_residual" not in inspect.signature(jax.nn.dot_product_attention).parameters:  # older releases
        lacks |= {"return_lse"}
    return Kernel(
        name, function, "jax", keywords_of(function, "attention"), MappingProxyType({"empty_row": "any"}), lacks,
        plain="" if jit else _PLAIN.replace('"xla"', f'"{implementation}"'),
        device="cuda" if implementation == "cudnn" else "",
    )  # fmt: skip


def _kernel(
    jit: bool,
    implementation: str,
    query: Any,
    key: Any,
    value: Any,
    *,
    scale: float,
    is_causal: bool = False,
    mask: Any = None,
    bias: Any = None,
    window: tuple[int | None, int | None] | None = None,
    key_lengths: Any = None,
    return_lse: bool = False,
) -> Any:
    if window is not None and (None in window or query.shape[2] != key.shape[2]):
        raise Declined("local_window_size takes two numbers, for self-attention")
    attend = _attend(jit, implementation, is_causal, window, return_lse)
    return attend(query, key, value, scale, _four(mask), _four(bias), key_lengths)


@functools.cache
def _attend(jit: bool, implementation: str, is_causal: bool, window: tuple[int, int] | None, return_lse: bool) -> Any:
    import jax
    import jax.numpy as jnp

    def attend(query: Any, key: Any, value: Any, scale: Any, mask: Any, bias: Any, key_lengths: Any) -> Any:
        returned = jax.nn.dot_product_attention(
            *(jnp.swapaxes(array, 1, 2) for array in (query, key, value)),
            bias=bias,
            mask=mask,
            scale=scale,
            is_causal=is_causal,
            key_value_seq_lengths=key_lengths,
            local_window_size=window,
            implementation=implementation,
            **({"return_residual": True} if return_lse else {}),
        )
        exchanged = [jnp.swapaxes(array, 1, 2) for array in (returned if return_lse else (returned,))]
        return tuple(exchanged) if return_lse else exchanged[0]

    return jax.jit(attend) if jit else attend


def _four(array: Any) -> Any:
    return None if array is None else array.reshape((1,) * (4 - array.ndim) + array.shape)
