"""Modules of Triton kernels, compiled for a CUDA device or interpreted on the CPU: their first import settles it."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

from assay.conformance.interface.usage import UsageError

__all__ = ["compiled", "interpreted"]

_VARIABLE = "TRITON_INTERPRET"


def interpreted(name: str) -> Any:
    """The module of that name, whose kernels are interpreted.

    Raises :class:`~assay.conformance.interface.usage.UsageError` where Triton was imported before, to compile.
    """
    if "triton" in sys.modules and name not in sys.modules and not _interprets():
        raise UsageError(f"Triton was imported to compile for a GPU: set {_VARIABLE}=1 before Python starts")
    before = os.environ.get(_VARIABLE)
    os.environ[_VARIABLE] = "1"
    try:
        made = importlib.import_module(name)
        importlib.import_module("triton.experimental.gluon")  # which a first call would import
    finally:
        if before is None:
            del os.environ[_VARIABLE]
        else:
            os.environ[_VARIABLE] = before
    if not _interprets():
        raise UsageError(f"Triton was imported to compile for a GPU: set {_VARIABLE}=1 before Python starts")
    return made


def compiled(name: str) -> Any:
    """The module of that name, whose kernels are compiled.

    Raises :class:`~assay.conformance.interface.usage.UsageError` where Triton interprets.
    """
    made = importlib.import_module(name)
    if _interprets():
        raise UsageError(f"Triton was imported to interpret on a CPU, expected it to compile: unset {_VARIABLE}")
    return made


def _interprets() -> bool:
    return type(importlib.import_module("triton.language").zeros).__name__ == "InterpretedFunction"
