"""Kernels for the CPU (NumPy and Numba), one module or package for each problem; each is imported on first use."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from assay.impl.cpu import (
        attention,
        attention_gradient,
        document_similarity,
        firing_neurons,
        kernel_graph,
        layer_collapse,
        rope,
        rope_attention,
        small_transformers,
        tensor_attention,
        tensor_attention_gradient,
    )

__all__ = [
    "attention", "attention_gradient", "document_similarity", "firing_neurons", "kernel_graph", "layer_collapse",
    "rope", "rope_attention", "small_transformers", "tensor_attention", "tensor_attention_gradient",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in __all__:
        return importlib.import_module(f"assay.impl.cpu.{name}")
    raise AttributeError(f"module 'assay.impl.cpu' has no attribute {name!r}")
