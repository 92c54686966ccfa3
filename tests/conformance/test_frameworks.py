"""Frameworks: numbers cross over and back without a change of bits; views of guarded memory stay views."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from assay.conformance.call.memory import guarded
from assay.conformance.frameworks import framework
from assay.conformance.interface.layouts import Layout

NAMES = ("numpy", "torch", "jax")
DTYPES = (np.float32, np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, np.bool_, np.int32)


def bits(array: np.ndarray[Any, Any]) -> bytes:
    return np.ascontiguousarray(array).tobytes()


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable:UserWarning")
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("name", NAMES)
def test_numbers_cross_over_and_back(name: str, dtype: Any) -> None:
    pytest.importorskip(name)
    chosen = framework(name)
    array = (np.arange(24).reshape(1, 2, 3, 4) % 5 - 2).astype(dtype)
    for layout in (Layout(), Layout(swap=(-3, -2)), Layout(gap=2), Layout(offset=3)):
        keep = guarded("x", array, layout, huge=False, read_only=chosen.read_only)
        native = chosen.to_native(keep.array)
        assert chosen.is_native(native)
        back = chosen.to_numpy(native)
        assert back.dtype == array.dtype
        assert bits(back) == bits(array)


def test_torch_sees_the_strides_of_the_layout() -> None:
    pytest.importorskip("torch")
    keep = guarded("x", np.zeros((1, 2, 3, 4), np.float32), Layout(swap=(-3, -2)), huge=False, read_only=False)
    assert framework("torch").to_native(keep.array).stride() == (24, 4, 8, 1)


def test_a_framework_without_dlpack_is_refused_by_name() -> None:
    with pytest.raises(ImportError, match="framework 'json': expected one of numpy, torch, jax, cupy"):
        framework("json")
