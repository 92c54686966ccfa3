"""Kernels for GPUs (CUDA C++ through CuPy), one package for each problem; each is imported on first use.

No GPU is needed to import anything here, and nothing is compiled before the first call.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from assay.impl.gpu import (
        attention,
        attention_gradient,
        document_similarity,
        firing_neurons,
        kernel_graph,
        rope,
        rope_attention,
        small_transformers,
        tensor_attention,
    )

__all__ = [
    "attention", "attention_gradient", "document_similarity", "firing_neurons", "kernel_graph", "rope",
    "rope_attention", "small_transformers", "tensor_attention",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in __all__:
        return importlib.import_module(f"assay.impl.gpu.{name}")
    raise AttributeError(f"module 'assay.impl.gpu' has no attribute {name!r}")
