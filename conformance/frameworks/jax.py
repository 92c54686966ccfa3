"""JAX: immutable arrays, which are copied in and out."""

from __future__ import annotations

import numpy as np

from assay.conformance.frameworks import Framework

__all__ = ["load"]


def load() -> Framework:
    import jax

    return Framework(
        name="jax",
        version=str(jax.__version__),
        to_native=lambda array: jax.numpy.array(array, copy=True),
        to_numpy=lambda array: np.array(array),
        is_native=lambda value: isinstance(value, jax.Array),
    )
