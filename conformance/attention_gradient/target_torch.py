"""PyTorch's autograd of ``scaled_dot_product_attention``, by default and for each CPU backend, and of flex_attention.

Sources: https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.scaled_dot_product_attention.html,
https://docs.pytorch.org/docs/stable/nn.attention.flex_attention.html
"""

from __future__ import annotations

import threading
from typing import Any

from assay.conformance.attention_gradient.forms import vector_jacobian_product
from assay.conformance.attention_gradient.interface import FORWARD_FORM
from assay.conformance.interface.kernel import Declined, Kernel
from assay.conformance.interface.suite import CONCURRENT_CALLS
from assay.conformance.interface.targets import keywords_of

__all__ = ["flex_attention", "sdpa"]

# a mask, boolean or additive, is one argument, and excludes is_causal
_LACKS = frozenset({"causal_with_mask", "bias_with_mask"})

# The context manager that chooses a backend sets flags of the whole process and restores what it saw on entry.
_CHOICE_OF_BACKEND = threading.Lock()


def sdpa(name: str, backend: str | None = None) -> Kernel:
    """The kernel under ``name``; ``backend`` is a member of ``torch.nn.attention.SDPBackend``."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.nn.functional import scaled_dot_product_attention

    def forward(
        query: Any, key: Any, value: Any, *, scale: float, is_causal: bool = False, mask: Any = None, bias: Any = None
    ) -> Any:
        chosen = {
            "attn_mask": _two_axes(mask if bias is None else bias),
            "is_causal": is_causal,
            "scale": scale,
            "enable_gqa": query.shape[1] != key.shape[1],
        }
        if backend is None:
            return scaled_dot_product_attention(query, key, value, **chosen)
        try:
            with _CHOICE_OF_BACKEND, sdpa_kernel([getattr(SDPBackend, backend)]):
                return scaled_dot_product_attention(query, key, value, **chosen)
        except RuntimeError as error:
            if "No available kernel" in str(error) or "No viable backend" in str(error):
                raise Declined(f"the {backend} backend does not take this input") from None
            raise

    lacks = _LACKS if backend is None else _LACKS | {CONCURRENT_CALLS}
    if backend == "FLASH_ATTENTION":
        # it takes no bias that needs a gradient, and values of the queries' dimension alone
        lacks |= {"grad_bias", "value_dim"}
    return _kernel(name, forward, lacks)


def flex_attention(name: str) -> Kernel:
    """The kernel under ``name``: flex_attention without ``torch.compile``, on a GPU where there is one.

    It has no backward pass on a CPU, and says so in an error that counts as declining.  Masks and biases are functions
    of positions there, which are made here of arrays.
    """
    import torch
    from torch.nn.attention.flex_attention import flex_attention as attend

    def forward(
        query: Any,
        key: Any,
        value: Any,
        *,
        scale: float,
        is_causal: bool = False,
        mask: Any = None,
        bias: Any = None,
        softcap: float | None = None,
        return_lse: bool = False,
    ) -> Any:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        query, key, value = (array.to(device) for array in (query, key, value))
        mask, bias = (None if array is None else array.to(device) for array in (mask, bias))
        full = (query.shape[0], query.shape[1], query.shape[2], key.shape[2])
        seen = None if mask is None else mask.expand(full)
        added = None if bias is None else bias.expand(full)

        def score_mod(score: Any, b: Any, h: Any, i: Any, j: Any) -> Any:
            if softcap is not None:
                score = softcap * torch.tanh(score / softcap)
            if added is not None:
                score = score + added[b, h, i, j]
            if is_causal:
                score = torch.where(i >= j, score, -float("inf"))
            if seen is not None:
                score = torch.where(seen[b, h, i, j], score, -float("inf"))
            return score

        returned = attend(
            query,
            key,
            value,
            score_mod=score_mod,
            scale=scale,
            enable_gqa=query.shape[1] != key.shape[1],
            return_lse=return_lse,
        )
        return tuple(array.cpu() for array in returned) if return_lse else returned.cpu()

    return _kernel(name, forward, frozenset({"grad_bias", CONCURRENT_CALLS}))


def _kernel(name: str, forward: Any, lacks: frozenset[str]) -> Kernel:
    return Kernel(
        name,
        vector_jacobian_product(forward, "torch"),
        "torch",
        keywords_of(forward, "attention_gradient"),
        lacks=lacks,
        positional=FORWARD_FORM.positional,
    )


def _two_axes(array: Any) -> Any:
    """An array of one axis with one of queries before it: torch asks for two, docs/findings.md."""
    return array[None] if array is not None and array.ndim == 1 else array
