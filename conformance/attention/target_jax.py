"""JAX's ``dot_product_attention`` in its XLA implementation, the one for every device.

Source: https://docs.jax.dev/en/latest/_autosummary/jax.nn.dot_product_attention.html
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from assay.conformance.kernel import Declined, Kernel
from assay.conformance.targets import keywords_of

__all__ = ["dot_product_attention"]


def dot_product_attention() -> Kernel:
    """Arrays are (batch, length, heads, dim) there; value has the shape of key; no word about empty rows."""
    import jax
    import jax.numpy as jnp

    def exchanged(array: Any) -> Any:
        return jnp.swapaxes(array, 1, 2)

    def kernel(
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
        returned = jax.nn.dot_product_attention(
            exchanged(query),
            exchanged(key),
            exchanged(value),
            bias=_four(bias),
            mask=_four(mask),
            scale=scale,
            is_causal=is_causal,
            key_value_seq_lengths=key_lengths,
            local_window_size=window,
            implementation="xla",
            return_residual=return_lse,
        )
        if not return_lse:
            return exchanged(returned)
        output, residual = returned
        return exchanged(output), jnp.swapaxes(residual, 1, 2)

    def _four(array: Any) -> Any:
        return None if array is None else array.reshape((1,) * (4 - array.ndim) + array.shape)

    return Kernel(
        "jax:dot_product_attention",
        kernel,
        "jax",
        keywords_of(kernel, "attention"),
        MappingProxyType({"empty_row": "any"}),
        frozenset({"value_dim", "empty_row_lse"}),
    )
