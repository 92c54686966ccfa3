"""How much memory this machine has: what would not fit is refused before anything is allocated."""

from __future__ import annotations

import os
from typing import Protocol

from assay.spec.problem import InvalidInstance

__all__ = ["CRITERIA", "GRADIENTS", "OUTPUTS", "half_of_memory", "require_evaluable", "require_memory"]

#: Bytes that an evaluation holds at its most for every number that it spans: of outputs alone (measured 3 where there
#: are many), of gradients (75 to 120), and of criteria with their tolerances (80 to 330).
OUTPUTS, GRADIENTS, CRITERIA = 8, 128, 384


class _Spanning(Protocol):
    def spanned(self) -> int: ...

    def describe(self) -> str: ...


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


def require_evaluable(instance: _Spanning, each: int = CRITERIA) -> None:
    """Raise InvalidInstance unless this machine can hold what an evaluation takes; nothing is evaluated.

    each: bytes for every number that it spans, one of :data:`OUTPUTS`, :data:`GRADIENTS` and :data:`CRITERIA`.
    A file of a kilobyte can hold an instance whose scores take all memory, so this stands before every evaluation.
    """
    if instance.spanned() * each > half_of_memory():  # words are only made where they are needed
        what = "criteria" if each == CRITERIA else "certified outputs"
        require_memory(
            instance.spanned() * each, f"{instance.describe()}: the {what}, of {instance.spanned()} numbers,"
        )


def _bytes(size: int) -> str:
    """``size`` as text, in bytes or GiB; a huge one as a power of two."""
    if size >= 2**60:
        return f"at least 2^{size.bit_length() - 1} bytes"
    return f"{size / 2**30:.3g} GiB" if size >= 2**27 else f"{size} bytes"
