"""JAX's ``vjp`` of ``dot_product_attention`` in its XLA implementation, called plainly or compiled.

Source: https://docs.jax.dev/en/latest/_autosummary/jax.nn.dot_product_attention.html
"""

from __future__ import annotations

from types import MappingProxyType

from assay.conformance.attention.target_jax import dot_product_attention as attention
from assay.conformance.attention_gradient.forms import vector_jacobian_product
from assay.conformance.attention_gradient.interface import FORWARD_FORM
from assay.conformance.interface.kernel import Kernel
from assay.conformance.interface.targets import keywords_of

__all__ = ["dot_product_attention"]


def dot_product_attention(name: str, *, jit: bool) -> Kernel:
    """The kernel under ``name``: what attention's target calls, differentiated."""
    forward = attention(name, jit=jit)
    lacks = forward.lacks - {"return_lse"}
    return Kernel(
        name,
        vector_jacobian_product(forward.function, "jax"),
        "jax",
        keywords_of(forward.function, "attention_gradient"),
        MappingProxyType({"empty_row": "any"}),
        lacks | ({"grad_log_sum_exp"} if "return_lse" in forward.lacks else set()),
        positional=FORWARD_FORM.positional,
    )
