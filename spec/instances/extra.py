"""Packages that only some instances need: imported when they do, named when they are missing."""

from __future__ import annotations

import importlib
from typing import Any

from assay.spec.problem import InvalidInstance

__all__ = ["MissingExtra", "required"]


class MissingExtra(InvalidInstance, ImportError):
    """A package that is not installed; the message is the command that installs it."""


def required(module: str, extra: str) -> Any:
    """The module, from the extra of this distribution that brings it.  Raises :class:`MissingExtra`."""
    try:
        return importlib.import_module(module)
    except ImportError:
        name = module.partition(".")[0]
        raise MissingExtra(f"{name} is not installed: pip install 'assay[{extra}]'") from None
