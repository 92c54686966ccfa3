"""Array frameworks: how a NumPy array becomes one of theirs, and the other way, exactly.

A framework is imported when a kernel of it is judged, and never before.  NumPy, PyTorch, JAX and CuPy have modules
here.  Any other module with ``from_dlpack`` is found by its name.
"""

from __future__ import annotations

import difflib
import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Framework", "NoDevice", "Region", "framework"]

_OWN = ("numpy", "torch", "jax", "cupy")


class NoDevice(LookupError):
    """A framework has no such device here, or none on which numbers can be laid.  The text is one line."""


class Region(Protocol):
    """A copy of a buffer of NumPy's, of one axis, on a device: what lies around an array there is what was in it."""

    def fill(self, buffer: np.ndarray[Any, Any]) -> None:
        """Copy a buffer of the same length and type into this one, in its place."""

    def array(self, buffer: np.ndarray[Any, Any], array: np.ndarray[Any, Any]) -> Any:
        """The native array that lies in the copy as ``array`` lies in ``buffer``: at its place, with its strides."""

    def content(self) -> np.ndarray[Any, Any]:
        """What the copy holds when everything that was started has ended, in the type of the buffer."""


@dataclass(frozen=True)
class Framework:
    """What the judge needs of an array framework.

    to_native, to_numpy: exact conversions; bfloat16 is ``ml_dtypes.bfloat16`` in NumPy.
    is_native(value): whether a value is an array of the framework.
    shares_memory: native arrays lie in the memory of the NumPy arrays of which they were made.
    read_only: the framework honours NumPy's read-only flag.
    negative_strides: the framework has arrays with negative strides.
    device: where native arrays are laid, as the framework names it; empty for where it lays them by itself.
    region: copies a buffer to the device, where arrays of the framework are views of it; None where arrays are copied
        one by one, in a layout of the framework's.
    """

    name: str
    version: str
    to_native: Callable[[np.ndarray[Any, Any]], Any]
    to_numpy: Callable[[Any], np.ndarray[Any, Any]]
    is_native: Callable[[Any], bool]
    shares_memory: bool = False
    read_only: bool = False
    negative_strides: bool = False
    device: str = ""
    region: Callable[[np.ndarray[Any, Any]], Region] | None = None

    @property
    def beside_the_cpu(self) -> bool:
        """Whether kernels run on another device, and leave the CPU free meanwhile."""
        return self.name == "cupy" or self.device.partition(":")[0] not in ("", "cpu")


def framework(name: str, device: str = "") -> Framework:
    """The framework called ``name``, which lays its arrays on a device (``cuda``, ``cuda:1``, …) if one is named.

    Raises ``ImportError`` if it is not installed or has no ``from_dlpack``, and :class:`NoDevice` in one line if it
    cannot lay numbers there.
    """
    if name in _OWN:
        loaded: Framework = importlib.import_module(f"assay.conformance.frameworks.{name}").load(device)
        return loaded
    words = f"framework {name!r}: expected one of {', '.join(_OWN)}, or a module with from_dlpack"
    if not all(part.isidentifier() for part in name.split(".")):  # what no module can be called
        raise ImportError(words)
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        close = difflib.get_close_matches(name, _OWN, 1)
        raise ImportError(f"{error}; did you mean {close[0]}?" if close else str(error)) from None
    if not hasattr(module, "from_dlpack"):
        raise ImportError(words)
    if device:
        raise NoDevice(f"expected none: assay knows devices of {', '.join(_OWN[1:])} alone")
    return Framework(
        name=name,
        version=str(getattr(module, "__version__", "")),
        to_native=lambda array: module.from_dlpack(array.copy()),
        to_numpy=lambda native: np.array(np.from_dlpack(native)),
        is_native=lambda value: hasattr(value, "__dlpack__") and type(value).__module__.split(".")[0] == name,
    )
