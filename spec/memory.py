"""How much memory this machine has: what would not fit is refused before anything is allocated."""

from __future__ import annotations

import os

from assay.spec.problem import InvalidInstance

__all__ = ["half_of_memory", "require_memory"]


def half_of_memory() -> int:
    """Half of this machine's memory, in bytes; 4 GiB where the system does not say."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 2**33
    return memory // 2


def require_memory(size: int, what: str) -> None:
    """Raise InvalidInstance if ``size`` bytes are more than half of this machine's memory; nothing is allocated."""
    if size > half_of_memory():
        raise InvalidInstance(
            f"{what} would take {_bytes(size)}: expected at most {_bytes(half_of_memory())}, "
            "half of this machine's memory"
        )


def _bytes(size: int) -> str:
    """``size`` as text, in bytes or GiB; a huge one as a power of two."""
    if size >= 2**60:
        return f"at least 2^{size.bit_length() - 1} bytes"
    return f"{size / 2**30:.3g} GiB" if size >= 2**27 else f"{size} bytes"
