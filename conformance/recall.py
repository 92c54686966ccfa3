"""References that are known already: the same instance is evaluated once for all kernels of a class."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import numpy as np

from assay.spec.problem import Provenance

__all__ = ["digest"]


def digest(instance: Any) -> bytes:
    """A key of everything in a frozen dataclass but its provenance."""
    state = hashlib.blake2b(type(instance).__qualname__.encode())
    for item in dataclasses.fields(instance):
        value = getattr(instance, item.name)
        if isinstance(value, np.ndarray):
            state.update(f"{item.name} {value.dtype.name} {value.shape}".encode())
            state.update(np.ascontiguousarray(value).tobytes())
        elif not isinstance(value, Provenance):
            state.update(f"{item.name} {value!r}".encode())
    return state.digest()
