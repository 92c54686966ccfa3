"""PyTorch: CPU tensors over the judge's guarded memory.  Strides are kept, and bfloat16 travels as its bits.

On another device tensors are copies, in and out.
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from assay.conformance.frameworks import Framework, NoDevice

__all__ = ["load"]


def load(device: str = "") -> Framework:
    import torch

    place = _device(torch, device) if device else torch.device("cpu")

    # Dtypes that NumPy's buffer protocol does not know travel as integers of the same width.
    bits: dict[str, tuple[Any, Any, Any]] = {
        "bfloat16": (torch.bfloat16, torch.int16, np.int16),
        "float8_e4m3fn": (torch.float8_e4m3fn, torch.uint8, np.uint8),
        "float8_e5m2": (torch.float8_e5m2, torch.uint8, np.uint8),
    }
    names = {entry[0]: name for name, entry in bits.items()}

    def to_native(array: np.ndarray[Any, Any]) -> Any:
        if array.dtype.name in bits:
            dtype, _, plain = bits[array.dtype.name]
            return torch.from_numpy(array.view(plain)).view(dtype).to(place)
        return torch.from_numpy(array).to(place)  # on the CPU, the tensor itself

    def to_numpy(tensor: Any) -> np.ndarray[Any, Any]:
        tensor = tensor.detach().cpu()
        if tensor.dtype in names:
            name = names[tensor.dtype]
            plain: np.ndarray[Any, Any] = tensor.contiguous().view(bits[name][1]).numpy()
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
    )


def _device(torch: Any, name: str) -> Any:
    """The device of that name.  Raises :class:`NoDevice` where a number cannot be laid and read again."""
    try:
        place = torch.device(name)
        torch.ones(1, device=place).item()
    except Exception as error:  # each kind of device has its own
        raise NoDevice(str(error).partition("\n")[0]) from None
    return place
