"""The floating-point environment of a thread: every proof of this package takes rounding to nearest, with subnormals.

Code of others may change it for its whole thread: ``torch.set_flush_denormal(True)``, a library that was compiled with
-ffast-math, ``fesetround`` through ctypes.  Then no radius and no certificate would hold, so certified arithmetic asks
:func:`require_usual` where it begins, and the judge calls :func:`restore` after every call of a kernel.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys

__all__ = ["changes", "require_usual", "restore"]

# Variables, for the compiler would compute an expression of constants itself, in an environment of its own.
_ONE, _LITTLE = 1.0, 2.0**-60
_LEAST_NORMAL, _LEAST, _HALF, _LARGE = 2.0**-1022, 2.0**-1074, 0.5, 2.0**1000


def changes() -> str:
    """What is unusual in the environment of this thread, in words; empty if nothing is.

    >>> changes()
    ''
    """
    if _ONE + _LITTLE != _ONE or _ONE - _LITTLE != _ONE:
        return "does not round to nearest"
    if _LEAST_NORMAL * _HALF == 0.0:
        return "flushes subnormal results to 0"
    if _LEAST * _LARGE == 0.0:
        return "takes subnormal numbers for 0"
    return ""


def require_usual() -> None:
    """Raise ``FloatingPointError`` in one line if the environment of this thread is not the usual one."""
    if unusual := changes():
        raise FloatingPointError(
            f"the floating-point environment of this thread {unusual} (torch.set_flush_denormal, fesetround, code that "
            "was compiled with -ffast-math): certified arithmetic needs rounding to nearest with subnormal numbers"
        )


def restore() -> str:
    """Set the usual environment in this thread.  Returns what was unusual, as :func:`changes`.

    Raises ``FloatingPointError``, like :func:`require_usual`, where the system gives no way to do it.
    """
    unusual = changes()
    if unusual:
        if sys.platform.startswith("linux"):
            with contextlib.suppress(OSError, AttributeError):
                ctypes.CDLL("libm.so.6").fesetenv(ctypes.c_void_p(-1))  # FE_DFL_ENV
        require_usual()
    return unusual
