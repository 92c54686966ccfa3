"""The compiler of the kernels of this package: Numba, with one set of options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["compiled"]


def compiled(kernel: Callable[..., Any], signature: Any, fastmath: set[str]) -> Callable[..., Any]:
    """The kernel compiled for one signature, without the interpreter lock, and kept on disk for the next process.

    The compiled code on disk is identified by the kernel's file and the signature, so ``fastmath`` must be defined in
    that file: a change of it is then a change of the file.
    """
    import numba

    known = kernel.__module__.startswith("assay.")  # a cache written under another module name could not be read
    found: Callable[..., Any] = numba.njit(
        signature, nogil=True, cache=known, error_model="numpy", fastmath=fastmath
    )(kernel)  # fmt: skip
    return found
