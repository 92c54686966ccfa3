"""CuPy: arrays on the current device, as views of copies of the judge's guarded memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from assay.conformance.frameworks import Framework, NoDevice

__all__ = ["Bytes", "load"]


def load(device: str = "") -> Framework:
    import cupy

    if device:
        try:
            own = f"cuda:{cupy.cuda.Device().id}"
        except cupy.cuda.runtime.CUDARuntimeError as error:
            raise NoDevice(str(error).partition("\n")[0]) from None
        if device not in ("cuda", own):  # a kernel runs on the current one, wherever its arrays lie
            raise NoDevice(f"expected cuda, the current one, {own}: CUDA_VISIBLE_DEVICES chooses another")

    return Framework(
        name="cupy",
        version=str(cupy.__version__),
        to_native=cupy.array,
        to_numpy=cupy.asnumpy,
        is_native=lambda value: isinstance(value, cupy.ndarray),
        negative_strides=True,
        device=device,
        region=lambda buffer: Bytes(cupy, buffer),
    )


class Bytes:
    """A buffer on the current device."""

    def __init__(self, cupy: Any, buffer: np.ndarray[Any, Any]) -> None:
        self._cupy, self._dtype, self._bytes = cupy, buffer.dtype, cupy.array(buffer.view(np.uint8))

    def fill(self, buffer: np.ndarray[Any, Any]) -> None:
        self._bytes.set(buffer.view(np.uint8))

    def array(self, buffer: np.ndarray[Any, Any], array: np.ndarray[Any, Any]) -> Any:
        place = self._bytes.data + (array.ctypes.data - buffer.ctypes.data)
        return self._cupy.ndarray(array.shape, array.dtype, place, array.strides)

    def content(self) -> np.ndarray[Any, Any]:
        self._cupy.cuda.Device().synchronize()
        found: np.ndarray[Any, Any] = self._cupy.asnumpy(self._bytes).view(self._dtype)
        return found
