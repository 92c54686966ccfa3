"""PyTorch: CPU tensors over the judge's guarded memory.  Strides are kept, and bfloat16 travels as its bits.

On another device tensors are views of copies of that memory.
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from assay.conformance.frameworks import Framework, NoDevice

__all__ = ["Bytes", "load"]

# Dtypes that NumPy's buffer protocol does not know travel as integers of the same width.
_INTEGERS = {"bfloat16": "int16", "float8_e4m3fn": "uint8", "float8_e5m2": "uint8"}


def load(device: str = "") -> Framework:
    import torch

    place = _device(torch, device) if device else torch.device("cpu")

    names = {getattr(torch, name): name for name in _INTEGERS}

    def to_native(array: np.ndarray[Any, Any]) -> Any:
        name = array.dtype.name
        if name in _INTEGERS:
            return torch.from_numpy(array.view(_INTEGERS[name])).view(getattr(torch, name)).to(place)
        return torch.from_numpy(array).to(place)  # on the CPU, the tensor itself

    def to_numpy(tensor: Any) -> np.ndarray[Any, Any]:
        tensor = tensor.detach().cpu()
        if tensor.dtype in names:
            name = names[tensor.dtype]
            plain: np.ndarray[Any, Any] = tensor.contiguous().view(getattr(torch, _INTEGERS[name])).numpy()
            return np.array(plain.view(getattr(ml_dtypes, name)))
        return np.array(tensor.numpy())

    return Framework(
        name="torch",
        version=str(torch.__version__),
        to_native=to_native,
        to_numpy=to_numpy,
        is_native=lambda value: isinstance(value, torch.Tensor),
        shares_memory=place.type == "cpu",
        device=device,
        region=None if place.type == "cpu" else lambda buffer: Bytes(torch, place, buffer),
    )


class Bytes:
    """A buffer on a device."""

    def __init__(self, torch: Any, place: Any, buffer: np.ndarray[Any, Any]) -> None:
        self._torch, self._dtype = torch, buffer.dtype
        self._bytes = torch.from_numpy(np.array(buffer.view(np.uint8))).to(place)

    def fill(self, buffer: np.ndarray[Any, Any]) -> None:
        self._bytes.copy_(self._torch.from_numpy(buffer.view(np.uint8)))

    def array(self, buffer: np.ndarray[Any, Any], array: np.ndarray[Any, Any]) -> Any:
        size, first = array.itemsize, array.ctypes.data - buffer.ctypes.data
        numbers = self._bytes.view(getattr(self._torch, array.dtype.name))
        return self._torch.as_strided(numbers, array.shape, [step // size for step in array.strides], first // size)

    def content(self) -> np.ndarray[Any, Any]:
        if self._bytes.is_cuda:
            self._torch.cuda.synchronize(self._bytes.device)
        found: np.ndarray[Any, Any] = self._bytes.cpu().numpy().view(self._dtype)
        return found


def _device(torch: Any, name: str) -> Any:
    """The device of that name.  Raises :class:`NoDevice` where a number cannot be laid and read again."""
    try:
        place = torch.device(name)
        torch.ones(1, device=place).item()
    except Exception as error:  # each kind of device has its own
        raise NoDevice(str(error).partition("\n")[0]) from None
    return place
