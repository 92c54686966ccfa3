"""What runs the kernels of this folder: a card, through CuPy.  Tests have another: the thread model on a CPU.

A kernel is a function of a ``.cu`` file and takes one struct.  What depends on the input (the struct, the blocks, the
shared memory) is computed in Python, with arrays of which only shapes, types, strides and addresses are looked at.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from assay.spec.instances.extra import required

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import DTypeLike, NDArray

__all__ = ["FLAGS", "TYPES", "Launch", "Machine", "card", "standing_in", "struct", "view"]

#: How every kernel is compiled: sums and products are contracted only where ``fma`` says so, divisions are rounded to
#: nearest, and subnormal numbers are numbers.
FLAGS = ("-std=c++17", "--fmad=false", "--prec-div=true", "--prec-sqrt=true", "--ftz=false")
#: The types of arrays that kernels take, in the order of their numbers (``view.cuh``).
TYPES = ("float32", "float64", "float16", "bfloat16")


@dataclass(frozen=True)
class Launch:
    """The blocks of a launch, the threads of a block, and the bytes of shared memory that a block is given."""

    blocks: int
    threads: int
    shared: int


class Machine(Protocol):
    """Where arrays lie and kernels run."""

    @property
    def has_tensor_cores(self) -> bool:
        """Whether it multiplies matrices of float16 and bfloat16, as cards from sm_80 on do."""

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> Any:
        """An array whose numbers are not set, contiguous."""

    def given(self, array: Any) -> Any:
        """The array of the machine that an argument is, in its place."""

    def laid(self, array: NDArray[Any]) -> Any:
        """A copy of an array of the host."""

    def largest(self, array: Any) -> Any:
        """The largest of an array, as a number of Python, for which the call waits."""

    def host(self, array: Any) -> NDArray[Any]:
        """A copy on the host, for which the call waits."""

    def address(self, array: Any) -> int:
        """Where the first element of an array lies."""

    def run(self, source: str, kernel: str, arguments: NDArray[Any], launch: Launch) -> None:
        """Start ``kernel`` of a source, given by its path below ``assay/impl/gpu``, on the current stream."""


def struct(**members: Any) -> NDArray[Any]:
    """A C struct of 64-bit members in their order, as the only element of an array.

    A member is an integer or an address (``int``), a number (``float``), or a tuple of integers.

    >>> struct(first=3, second=0.5).dtype.itemsize
    16
    """
    fields: list[tuple[Any, ...]] = []
    values = []
    for name, member in members.items():
        if isinstance(member, tuple):
            fields.append((name, np.int64, (len(member),)))
        else:
            fields.append((name, np.float64 if isinstance(member, float) else np.int64))
        values.append(member)
    return np.array(tuple(values), np.dtype(fields))


def view(machine: Machine, array: Any, shape: tuple[int, int, int, int]) -> tuple[int, int, int, int, int]:
    """The struct ``View``: the address of an array that is broadcast to ``shape``, and its strides in elements.

    ``None`` stands for an absent array, whose address is 0.
    """
    if array is None:
        return (0, 0, 0, 0, 0)
    axes = (1,) * (4 - array.ndim) + tuple(array.shape)
    steps = (0,) * (4 - array.ndim) + tuple(int(step) // array.dtype.itemsize for step in array.strides)
    batch, head, row, column = (0 if own != all_ else step for own, all_, step in zip(axes, shape, steps, strict=True))
    return (machine.address(array), batch, head, row, column)


def standing_in(arrays: Mapping[str, Any], number: int = 0) -> dict[str, Any]:
    """NumPy arrays of the same shapes and types, of one number: what is checked without looking at numbers."""
    return {
        name: array if array is None else np.broadcast_to(np.array(number, array.dtype), array.shape)
        for name, array in arrays.items()
    }


@functools.cache
def card() -> Machine:
    """The current CUDA device.  Raises ``ImportError`` where CuPy is not installed."""
    return _Card(required("cupy", "gpu"))


@dataclass(frozen=True)
class _Card:
    cupy: Any

    @property
    def has_tensor_cores(self) -> bool:
        return int(self.cupy.cuda.Device().compute_capability) >= 80

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> Any:
        return self.cupy.empty(shape, dtype)

    def given(self, array: Any) -> Any:
        if array is None or isinstance(array, self.cupy.ndarray):
            return array
        return self.cupy.from_dlpack(array)

    def laid(self, array: NDArray[Any]) -> Any:
        return self.cupy.asarray(array)

    def largest(self, array: Any) -> Any:
        return array.max().item()

    def host(self, array: Any) -> NDArray[Any]:
        copied: NDArray[Any] = self.cupy.asnumpy(array)
        return copied

    def address(self, array: Any) -> int:
        return int(array.data.ptr)

    def run(self, source: str, kernel: str, arguments: NDArray[Any], launch: Launch) -> None:
        function = _compiled(self.cupy, self.cupy.cuda.Device().id, source, kernel)
        function.max_dynamic_shared_size_bytes = max(launch.shared, function.max_dynamic_shared_size_bytes)
        function((launch.blocks,), (launch.threads,), (arguments,), shared_mem=launch.shared)


@functools.cache
def _compiled(cupy: Any, device: int, source: str, kernel: str) -> Any:
    """The kernel, compiled for the current device; CuPy keeps what it compiled on disk."""
    folder = resources.files("assay.impl.gpu")
    code = folder.joinpath(source).read_text(encoding="utf-8")
    with resources.as_file(folder) as place:
        return cupy.RawModule(code=code, options=(*FLAGS, f"-I{place}"), backend="nvrtc").get_function(kernel)
