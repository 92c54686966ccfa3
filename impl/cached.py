"""The folder in which this package keeps what would take long to make again: fetched files, measured speeds."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cache_folder"]


def cache_folder() -> Path:
    """The folder: ``$ASSAY_CACHE``, else ``$XDG_CACHE_HOME/assay``, else ``~/.cache/assay``.  It need not exist.

    Raises ``RuntimeError`` where the user has no home.
    """
    for variable, below in (("ASSAY_CACHE", "."), ("XDG_CACHE_HOME", "assay")):
        if os.environ.get(variable):
            return Path(os.environ[variable]) / below
    return Path.home() / ".cache" / "assay"
