"""The processor at hand: its model, its CPUs and caches, and the vectors of the kernels that are compiled for it.

The shapes of tiles do not depend on it; the blocks of their products, which stay in registers, do
(:mod:`assay.impl.cpu.products`), and no result of tiles shows them; those of few queries are summed by lanes of that
width.  What work costs is in :mod:`assay.impl.cpu.costs`, and
how many threads there are in :mod:`assay.impl.cpu.threads`.  Nothing of this changes whether a result is right.
Figures of time mean nothing without it, so benchmarks print and store it.
"""

from __future__ import annotations

import functools
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay.impl.cpu.threads import available
from assay.spec.instances.extra import required

__all__ = ["Processor", "described", "here", "target", "vector_bits", "widen"]

_CPUINFO = Path("/proc/cpuinfo")
_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_REGISTERS = (("zmm", 512), ("ymm", 256))  # vectors of x86-64 by the names of their registers, the widest first

_WIDE = "-prefer-256-bit"  # the compiler's feature of a target that has wider vectors and does not use them, taken away


@dataclass(frozen=True)
class Processor:
    """model: as the system names it.  cores: those that this process may run on.  caches: (level, bytes) of data."""

    model: str
    cores: int
    caches: tuple[tuple[int, int], ...] = ()


def here() -> Processor:
    """The processor that this process runs on; what the system does not tell is left out."""
    return Processor(_model(), available(), _caches(_CACHES))


def described() -> dict[str, Any]:
    """What belongs beside every figure of time: the processor, the compiler's target and the vectors in use."""
    found = here()
    return {
        "processor": found.model,
        "cores": found.cores,
        "caches": {f"L{level}": size for level, size in found.caches},
        "target": target()[0],
        "vector_bits": vector_bits(),
    }


def target() -> tuple[str, str]:
    """The CPU that kernels are compiled for, by the compiler's name, and its features, as ``NUMBA_CPU_*`` may set them.

    Raises :class:`~assay.spec.instances.extra.MissingExtra` without Numba.
    """
    required("numba", "cpu")
    from numba.core.registry import cpu_target

    codegen: Any = cpu_target.target_context.codegen()
    _, name, features = codegen.magic_tuple()
    return str(name), str(features)


@functools.cache
def vector_bits() -> int:
    """The width of the widest vectors that the compiler makes of a loop, in bits: 512, 256, or 128 and unknown ones.

    The features of a processor do not tell it: the compiler keeps to 256 bits on some that have 512.
    """
    numba = required("numba", "cpu")
    types: Any = numba.types
    signature = types.void(types.float32[::1], types.float32[::1], types.float32)
    code: Any = numba.njit(signature, fastmath={"contract"})(_added)
    text = "".join(code.inspect_asm().values())
    return next((bits for name, bits in _REGISTERS if name in text), 128)


def widen() -> bool:
    """Have the compiler use vectors of 512 bits where it keeps to 256 of them; whether it uses them by this.

    It keeps to 256 on processors of Intel.  The choice is one for the whole process, and is made with the first
    compilation, after which nothing is changed here; kernels of others in the process are compiled for the same.
    """
    numba: Any = required("numba", "cpu")
    from numba.core import codegen
    from numba.core.registry import cpu_target

    if "_toplevel_target_context" in vars(cpu_target):
        return target()[1].endswith(f",{_WIDE}")
    of_host: Any = codegen.get_host_cpu_features
    features = str(of_host())
    if "+avx512f" not in features.split(",") or _told("vendor_id") != "GenuineIntel":
        return False
    numba.config.CPU_FEATURES = f"{features},{_WIDE}"
    return True


def _added(a: Any, b: Any, factor: Any) -> None:
    for i in range(len(a)):
        a[i] += factor * b[i]


def _model() -> str:
    return _told("model name") or platform.processor() or platform.machine() or "unknown"


def _told(name: str) -> str:
    """What the system says of the first processor under a name; "" where it says nothing."""
    try:
        lines = _CPUINFO.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")


def _caches(folder: Path) -> tuple[tuple[int, int], ...]:
    """The caches of data that a folder of Linux describes, (level, bytes), the nearest first."""
    found = []
    for place in sorted(folder.glob("index*")):
        try:
            kind, level, size = ((place / name).read_text().strip() for name in ("type", "level", "size"))
            if kind != "Instruction":
                found.append((int(level), int(size.rstrip("KMG")) * _UNITS.get(size[-1:], 1)))
        except (OSError, ValueError):  # a system that tells something else
            continue
    return tuple(sorted(found))
