"""Libraries that compute long attention in parts: the parts are their own, and no oracle is called.

``size`` is the length of a part.  Sources: https://github.com/lucidrains/ring-attention-pytorch and
https://github.com/lucidrains/local-attention.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
from typing import Any

from assay.conformance.interface.kernel import Declined, Kernel
from assay.conformance.interface.targets import keywords_of

__all__ = ["local_attention", "ring_flash_attn"]

_PROBLEM = "small_transformers"


def _kernel(name: str, package: str, function: Any, *lacks: str) -> Kernel:
    version = importlib.metadata.version(package)
    return Kernel(name, function, "torch", keywords_of(function, _PROBLEM), lacks=frozenset(lacks), version=version)


def ring_flash_attn(name: str) -> Kernel:
    """Blocks of keys and of queries, one after the other, as every rank of a ring takes them."""
    module = importlib.import_module("ring_attention_pytorch.ring_flash_attention")
    return _kernel(
        name, "ring-attention-pytorch", functools.partial(_ring, module.ring_flash_attn), "other_scale", "value_dim",
        "causal_cross_lengths",  # its causal mask ends at the last key, as FlashAttention's
    )  # fmt: skip


def _ring(
    function: Any, query: Any, key: Any, value: Any, *, oracle: Any, size: int, scale: float, is_causal: bool = False
) -> Any:
    import torch

    heads_last = (x.transpose(1, 2).contiguous() for x in (query, *_spread(query, key, value)))
    with torch.inference_mode():
        made = function(*heads_last, causal=is_causal, bucket_size=size, ring_size=1)
    return made.transpose(1, 2)


def _spread(query: Any, *arrays: Any) -> Any:
    """Keys and values of every query head: the library's groups are of another order."""
    return [x.repeat_interleave(query.shape[1] // x.shape[1], dim=1) for x in arrays]


def local_attention(name: str) -> Kernel:
    """Attention to a window, whose blocks see themselves and the one before: causal, and of an exact width."""
    importlib.import_module("local_attention")
    lacks = ("without_causal", "without_window", "narrow_window", "cross_lengths")
    return _kernel(name, "local-attention", _local, *lacks)


def _local(
    query: Any, key: Any, value: Any, *, oracle: Any, size: int, scale: float, is_causal: bool = False,
    window: int | None = None,
) -> Any:  # fmt: skip
    import torch

    if window is None or window < 2:
        raise Declined("takes windows of two keys or more")
    # a query sees the key before it that is window_size away too
    layer = importlib.import_module("local_attention").LocalAttention(
        window - 1, causal=True, look_backward=1, autopad=True, exact_windowsize=True, use_rotary_pos_emb=False,
        scale=scale,
    )  # fmt: skip
    key, value = _spread(query, key, value)
    with torch.inference_mode():
        return layer(query, key, value)
