"""CuPy: arrays on the current device, which are copied in and out."""

from __future__ import annotations

from assay.conformance.frameworks import Framework, NoDevice

__all__ = ["load"]


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
        device=device,
    )
