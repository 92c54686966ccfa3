"""Equinox's ``RotaryPositionalEmbedding``: halves, positions 0 … n − 1, tables that are kept between calls.

Source: https://docs.kidger.site/equinox/api/nn/embedding/
"""

from __future__ import annotations

from typing import Any

from assay.conformance.interface.kernel import Kernel
from assay.conformance.interface.targets import keywords_of

__all__ = ["equinox"]


def equinox() -> Kernel:
    import equinox as library

    lacks = frozenset({"offset_positions", "any_positions", "batched_positions"})
    name = "equinox:rope"
    return Kernel(name, _kernel, "jax", keywords_of(_kernel, "rope"), lacks=lacks, version=library.__version__)


def _kernel(query: Any, key: Any, positions: Any, *, base: float) -> Any:
    import equinox
    import jax

    module = equinox.nn.RotaryPositionalEmbedding(query.shape[3], base, dtype=query.dtype)
    return tuple(jax.vmap(jax.vmap(module))(x) for x in (query, key))
