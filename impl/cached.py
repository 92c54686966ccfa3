"""The folder in which this package keeps what would take long to make again: fetched files, measured speeds."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

__all__ = ["cache_folder", "kept"]


def cache_folder() -> Path:
    """The folder: ``$ASSAY_CACHE``, else ``$XDG_CACHE_HOME/assay``, else ``~/.cache/assay``.  It need not exist.

    Raises ``RuntimeError`` where the user has no home.
    """
    for variable, below in (("ASSAY_CACHE", "."), ("XDG_CACHE_HOME", "assay")):
        if os.environ.get(variable):
            return Path(os.environ[variable]) / below
    return Path.home() / ".cache" / "assay"


def kept(path: Path, longest: int) -> Any:
    """What a JSON file of the folder holds; ``None`` where there is no file, or one that is damaged or too long.

    longest: the most bytes that are read.
    """
    try:
        if not path.is_file():  # one would wait at a pipe
            return None
        with path.open("rb") as file:
            text = file.read(longest + 1)
        return json.loads(text) if len(text) <= longest else None
    except (OSError, ValueError, RecursionError):
        return None
