"""How the kernels of this package are compiled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["compiled"]


def compiled(kernel: Callable[..., Any], signature: Any, fastmath: set[str]) -> Callable[..., Any]:
    """For one signature, without the interpreter's lock, and kept on disk for the next process.

    What is kept is known by the kernel's file and the signature: ``fastmath`` belongs into that file.
    """
    import numba

    known = kernel.__module__.startswith("assay.")  # what is kept under another name could not be read under this one
    found: Callable[..., Any] = numba.njit(
        signature, nogil=True, cache=known, error_model="numpy", fastmath=fastmath
    )(kernel)  # fmt: skip
    return found
