"""PyTorch's autograd of the einsum and of the dense formulation, and of the functions of simplicial-attention."""

from __future__ import annotations

import importlib.metadata
from typing import Any

from assay.conformance.attention_gradient.forms import vector_jacobian_product
from assay.conformance.interface.kernel import Kernel
from assay.conformance.interface.targets import keywords_of
from assay.conformance.tensor_attention import target_torch as forward
from assay.conformance.tensor_attention.interface import positional

__all__ = ["autograd", "library"]

_PROBLEM = "tensor_attention_gradient"


def autograd(name: str, function: str) -> Kernel:
    import torch

    chosen = {"einsum": forward.einsum, "dense": forward.dense}[function]
    return _kernel(name, chosen, torch.__version__)


def library(name: str) -> Kernel:
    version = importlib.metadata.version("simplicial-attention")
    return _kernel(name, _naive, version, frozenset({"other_scale", "causal_cross_lengths"}))


def _kernel(name: str, function: Any, version: str, lacks: frozenset[str] = frozenset()) -> Kernel:
    names = positional(3)
    made = vector_jacobian_product(function, "torch", names)
    keywords = keywords_of(function, _PROBLEM)
    return Kernel(name, made, "torch", keywords, lacks=lacks, positional=names, version=version)


def _naive(query: Any, key1: Any, key2: Any, value1: Any, value2: Any, *, scale: float, is_causal: bool = False) -> Any:
    return forward.naive(query, (key1, key2), (value1, value2), is_causal)
