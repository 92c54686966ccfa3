"""Kernels of ``impl/gpu`` on a CPU: g++ builds a ``.cu`` file with ``cuda_on_cpu.h``; NumPy arrays are its memory."""

from __future__ import annotations

import ctypes
import functools
import shutil
import subprocess
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from assay.impl.gpu.machine import Launch

__all__ = ["ORDERS", "UNITS", "Counting", "Deaf", "Emulated", "built", "compiler"]

HERE = Path(__file__).parent
SOURCES = HERE.parents[1] / "impl" / "gpu"
ORDERS = ("ascending", "descending", "shuffled")
#: Tensor cores: products that are added at once, further bits, and whether 2^x errs as much as it may.  ``least`` is
#: the least that claim GPU-10 assumes, the next are those of cards; ``short`` is less, as once of 8-bit products.
UNITS = {"least": (4, 0, 1), "sm_80": (8, 1, 0), "sm_90": (16, 2, 0), "short": (16, -10, 0)}
_ALONE = threading.Lock()  # the machine of a library runs one launch at a time


class _Launch(ctypes.Structure):
    _fields_ = (
        ("grid", ctypes.c_uint * 3), ("block", ctypes.c_uint * 3), ("shared", ctypes.c_uint64),
        ("order", ctypes.c_int), ("seed", ctypes.c_uint64), ("unit", ctypes.c_int * 3),
    )  # fmt: skip


def compiler() -> str | None:
    """The path of g++, if there is one."""
    return shutil.which("g++")


@functools.cache
def built(source: Path) -> ctypes.CDLL:
    """The library of a ``.cu`` file."""
    folder = Path(tempfile.mkdtemp(prefix="assay-emulated-"))
    library = folder / f"{source.stem}.so"
    subprocess.run(
        [
            str(compiler()), "-shared", "-fPIC", "-O1", "-std=c++17", "-ffp-contract=off", "-march=native",
            "-Wall", "-Werror", "-Wno-unknown-pragmas", "-Wno-psabi", f"-I{SOURCES}",
            "-x", "c++", "-include", str(HERE / "cuda_on_cpu.h"), str(source), "-o", str(library),
        ],
        check=True,
    )  # fmt: skip
    try:
        return ctypes.CDLL(str(library))
    finally:
        shutil.rmtree(folder)


@dataclass(frozen=True)
class Emulated:
    """The machine of :mod:`assay.impl.gpu.machine` on a CPU, whose threads run in one of ``ORDERS``.

    unit: the arithmetic of its tensor cores, one of ``UNITS``.
    """

    order: str = "ascending"
    seed: int = 0
    unit: str = "least"

    @property
    def has_tensor_cores(self) -> bool:
        return True

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        found = np.empty(shape, dtype)
        found.view(np.uint8)[...] = 0xFF  # a NaN in every type: what a kernel does not write is seen
        return found

    def given(self, array: Any) -> Any:
        return array

    def laid(self, array: Any) -> Any:
        return array.copy()

    def largest(self, array: Any) -> Any:
        return array.max().item()

    def host(self, array: Any) -> Any:
        return np.array(array)

    def address(self, array: Any) -> int:
        return int(array.ctypes.data)

    def run(self, source: str, kernel: str, arguments: Any, launch: Launch) -> None:
        function = getattr(built(SOURCES / source), kernel)
        function.restype = ctypes.c_char_p
        grid, block = (ctypes.c_uint * 3)(launch.blocks, 1, 1), (ctypes.c_uint * 3)(launch.threads, 1, 1)
        asked = _Launch(
            grid, block, launch.shared, ORDERS.index(self.order), self.seed, (ctypes.c_int * 3)(*UNITS[self.unit])
        )
        with _ALONE:
            said = function(ctypes.c_void_p(arguments.ctypes.data), ctypes.byref(asked))
        if said is not None:
            raise RuntimeError(f"{kernel}: {said.decode()}")


class Deaf(Emulated):
    """One whose numbers the host cannot be told: a call that would wait for one fails."""

    def host(self, array: Any) -> Any:
        raise AssertionError("waited for a number")

    largest = host


@dataclass(frozen=True)
class Counting(Emulated):
    """One that counts the bytes of the arrays that it is asked for: ``taken``."""

    taken: list[int] = field(default_factory=list)

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        found = super().empty(shape, dtype)
        self.taken.append(found.nbytes)
        return found

    def laid(self, array: Any) -> Any:
        self.taken.append(array.nbytes)
        return super().laid(array)
