"""PyTorch's ``scaled_dot_product_attention``: what it chooses by default, and each of its backends.

Source: https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.scaled_dot_product_attention.html
"""

from __future__ import annotations

import threading
from typing import Any

from assay.conformance.interface.kernel import Declined, Kernel
from assay.conformance.interface.suite import CONCURRENT_CALLS
from assay.conformance.interface.targets import keywords_of

__all__ = ["plain", "sdpa"]

# a mask, boolean or additive, is one argument, and excludes is_causal
_LACKS = frozenset({"causal_with_mask", "bias_with_mask"})

_OF_CUDA = ("EFFICIENT_ATTENTION", "CUDNN_ATTENTION")  # backends of CUDA devices alone

# The context manager that chooses a backend sets flags of the whole process and restores what it saw on entry.  Two
# threads whose blocks overlap therefore leave backends switched off for good, so that one enters after the other.
_CHOICE_OF_BACKEND = threading.Lock()


_PLAIN = """
def kernel(query, key, value, *, scale, is_causal=False, mask=None, bias=None):
    mask = mask if bias is None else bias
    mask = mask[None] if mask is not None and mask.ndim == 1 else mask
    return torch.nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, is_causal=is_causal, scale=scale, enable_gqa=query.shape[1] != key.shape[1]
    )
"""


def plain(backend: str | None) -> str:
    """The same call in torch alone."""
    if backend is None:
        return _PLAIN
    chosen = f"torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.{backend})"
    return f"import torch.nn.attention\n\n\n@{chosen}{_PLAIN}"


def sdpa(name: str, backend: str | None = None) -> Kernel:
    """The kernel under ``name``; ``backend`` is a member of ``torch.nn.attention.SDPBackend``.

    With a backend it is not asked to be called by several threads at once: they could not enter torch together.
    """
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.nn.functional import scaled_dot_product_attention

    def kernel(
        query: Any, key: Any, value: Any, *, scale: float, is_causal: bool = False, mask: Any = None, bias: Any = None
    ) -> Any:
        chosen = {
            "attn_mask": _two_axes(mask if bias is None else bias),
            "is_causal": is_causal,
            "scale": scale,
            "enable_gqa": query.shape[1] != key.shape[1],
        }
        with torch.inference_mode():
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
    device = "cuda" if backend in _OF_CUDA else ""
    return Kernel(
        name, kernel, "torch", keywords_of(kernel, "attention"), lacks=lacks, plain=plain(backend), device=device
    )


def _two_axes(array: Any) -> Any:
    """An array of one axis with one of queries before it: torch asks for two, docs/findings.md."""
    return array[None] if array is not None and array.ndim == 1 else array
