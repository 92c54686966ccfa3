"""Arrays of NumPy or of PyTorch: the few operations that differ between the two.

PyTorch is not imported here: whoever hands over its tensors has imported it.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec.floats import dtype_named

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Arrays", "arrays_of"]


@dataclass(frozen=True)
class Arrays:
    """The operations of one framework.  library: its module, ``numpy`` or ``torch``, for all other functions."""

    library: Any

    @property
    def numpy(self) -> bool:
        return self.library is np

    def type_named(self, name: str) -> Any:
        """The type of numbers of a name such as ``bfloat16``."""
        return dtype_named(name) if self.numpy else getattr(self.library, name)

    def finite(self, array: Any) -> bool:
        """Whether all numbers are finite.  Their sum tells it in one quick pass, unless it overflows."""
        array = self.detached(array)
        if not self.numpy and bool(self.library.isfinite(array.sum())):
            return True
        return bool(self.library.isfinite(array).all())

    @staticmethod
    def name(array: Any) -> str:
        """The name of the type of an array's numbers."""
        return str(array.dtype).removeprefix("torch.")

    def cast(self, array: Any, name: str) -> Any:
        """The array in the type of a name, itself where it is of that type."""
        if self.name(array) == name:
            return array
        return array.astype(self.type_named(name)) if self.numpy else array.to(self.type_named(name))

    def zeros(self, shape: Sequence[int], name: str, like: Any) -> Any:
        """Zeros, on the device of ``like``."""
        if self.numpy:
            return np.zeros(tuple(shape), self.type_named(name))
        return self.library.zeros(tuple(shape), dtype=self.type_named(name), device=like.device)

    def moved(self, array: np.ndarray[Any, Any], like: Any) -> Any:
        """An array of NumPy as one of this framework, on the device of ``like``."""
        return array if self.numpy else self.library.from_numpy(np.ascontiguousarray(array)).to(like.device)

    def joined(self, parts: Sequence[Any], axis: int) -> Any:
        return np.concatenate(parts, axis=axis) if self.numpy else self.library.cat(list(parts), dim=axis)

    def stacked(self, parts: Sequence[Any]) -> Any:
        return np.stack(parts) if self.numpy else self.library.stack(list(parts))

    def detached(self, array: Any) -> Any:
        """The array without its history of differentiation."""
        return array if self.numpy else array.detach()

    def host(self, array: Any) -> Any:
        """The numbers as an array of NumPy; no gradient passes here."""
        if self.numpy:
            return array
        array = array.detach().cpu()
        return array.float().numpy() if self.name(array) == "bfloat16" else array.numpy()


def arrays_of(array: Any) -> Arrays:
    """The framework of an array.  Raises ``TypeError`` for one that is neither NumPy's nor PyTorch's."""
    if isinstance(array, np.ndarray):
        return Arrays(np)
    module = type(array).__module__.partition(".")[0]
    if module != "torch":
        raise TypeError(f"{type(array).__name__}: expected an array of NumPy or of PyTorch")
    return Arrays(importlib.import_module(module))
