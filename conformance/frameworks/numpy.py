"""NumPy: the arrays of the judge as they are."""

from __future__ import annotations

from typing import Any

import numpy as np

from assay.conformance.frameworks import Framework, NoDevice

__all__ = ["load"]


def load(device: str = "") -> Framework:
    if device not in ("", "cpu"):
        raise NoDevice("expected cpu, the only one of numpy")

    def plain(value: Any) -> bool:
        return isinstance(value, np.ndarray) and type(value) is np.ndarray

    return Framework(
        name="numpy",
        version=np.__version__,
        to_native=lambda array: array,
        to_numpy=lambda array: np.array(array),
        is_native=plain,
        shares_memory=True,
        read_only=True,
        negative_strides=True,
        device=device,
    )
