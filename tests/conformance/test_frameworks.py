"""Frameworks: numbers cross over and back without a change of bits; views of guarded memory stay views."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from assay.conformance.call.memory import guarded
from assay.conformance.frameworks import NoDevice, framework
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


@pytest.mark.parametrize("name", NAMES)
def test_arrays_lie_on_the_device_that_is_named(name: str) -> None:
    module = pytest.importorskip(name)
    chosen = framework(name, "cpu")
    native = chosen.to_native(np.arange(3, dtype=np.float32))
    assert chosen.device == "cpu"
    assert chosen.to_numpy(native).tolist() == [0.0, 1.0, 2.0]
    if name == "jax":
        assert native.committed  # to its device: what is computed of it stays there
        assert native.devices() == {module.devices("cpu")[0]}


def test_tensors_of_the_cpu_are_views_though_the_device_is_named() -> None:
    pytest.importorskip("torch")
    array = np.zeros(3, np.float32)
    chosen = framework("torch", "cpu")
    chosen.to_native(array)[1] = 1.0
    assert chosen.shares_memory
    assert array.tolist() == [0.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("name", "device", "said"),
    [
        ("numpy", "cuda", "expected cpu, the only one of numpy"),
        ("array_api_strict", "cpu", "expected none: assay knows devices of torch, jax, cupy alone"),
        ("torch", "meta", "meta tensor"),  # which has shapes and no numbers
        ("torch", "nowhere", "Expected one of cpu, cuda"),
        ("jax", "nowhere", "Unknown backend"),
        ("jax", "cpu:x", "expected one of cpu:0"),
        ("jax", "cpu:-1", "expected one of cpu:0"),
    ],
)
def test_a_device_that_is_not_there_is_refused_in_one_line(name: str, device: str, said: str) -> None:
    pytest.importorskip(name)
    with pytest.raises(NoDevice, match=said) as refusal:
        framework(name, device)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_cuda_without_a_card_is_refused(name: str) -> None:
    module = pytest.importorskip(name)
    if name == "torch" and module.cuda.is_available():
        pytest.skip("there is a card")
    if name == "jax" and module.default_backend() != "cpu":
        pytest.skip("there is a card")
    with pytest.raises(NoDevice):
        framework(name, "cuda")
