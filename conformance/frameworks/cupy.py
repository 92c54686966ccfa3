"""CuPy: arrays on the current device, which are copied in and out."""

from __future__ import annotations

from assay.conformance.frameworks import Framework

__all__ = ["load"]


def load() -> Framework:
    import cupy

    return Framework(
        name="cupy",
        version=str(cupy.__version__),
        to_native=cupy.array,
        to_numpy=cupy.asnumpy,
        is_native=lambda value: isinstance(value, cupy.ndarray),
    )
