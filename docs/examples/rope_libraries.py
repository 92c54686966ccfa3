"""Rotary embeddings of libraries that are no built-in target: what docs/findings.md tells of them.

Each function has a signature of docs/rope.md on NumPy arrays, and needs its library to be installed.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np


def keras_hub(
    x: Any,
    positions: Any,
    *,
    base: float,
    scaling: str | None = None,
    factor: float = 1.0,
    original_length: int = 4096,
    low_frequency: float = 1.0,
    high_frequency: float = 32.0,
    truncate: bool = True,
) -> Any:
    """keras_hub.layers.RotaryEmbedding in the PyTorch backend, in the type of x."""
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras_hub

    if scaling == "llama3":
        raise NotImplementedError("rope_type is linear, dynamic or yarn")
    layer = keras_hub.layers.RotaryEmbedding(
        max_wavelength=base,
        scaling_factor=factor,
        rope_type="linear" if scaling is None else "dynamic" if scaling == "ntk" else scaling,
        beta_fast=high_frequency,
        beta_slow=low_frequency,
        original_max_position_embeddings=original_length,
        truncate=truncate,
        sequence_axis=2,
        dtype=x.dtype.name,
    )
    rotated = layer(_tensor(x), positions=np.array(positions))
    return _array(rotated, x.dtype)


def _tensor(x: Any) -> Any:
    import torch

    if x.dtype.name == "bfloat16":
        return torch.from_numpy(np.array(x).view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(np.array(x))


def _array(tensor: Any, dtype: Any) -> Any:
    import torch

    tensor = tensor.detach().contiguous()
    return np.array(tensor.view(torch.int16).numpy().view(dtype) if dtype.name == "bfloat16" else tensor.numpy())
