"""Packages that only some instances need: they are imported on demand, and named if they are missing."""

from __future__ import annotations

import importlib
from typing import Any

from assay.spec.problem import InvalidInstance

__all__ = ["MissingExtra", "how_to_install", "required"]


class MissingExtra(InvalidInstance, ImportError):
    """A package is not installed; the message gives the command that installs it."""


def how_to_install(extra: str) -> str:
    """The command that installs an extra.  assay is on no index of packages, so that it is one of its checkout.

    >>> how_to_install("torch")
    "pip install -e '.[torch]' in assay's checkout"
    """
    return f"pip install -e '.[{extra}]' in assay's checkout"


def required(module: str, extra: str) -> Any:
    """The module.  Raises :class:`MissingExtra` if it is missing; ``extra`` is the extra of assay that installs it."""
    try:
        return importlib.import_module(module)
    except ImportError:
        name = module.partition(".")[0]
        raise MissingExtra(f"{name} is not installed: {how_to_install(extra)}") from None
