"""The modules of benchmarks/, which find one another by their names, for the tests of them."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

__all__ = ["script"]

_FOLDER = Path(__file__).parents[1] / "benchmarks"


def script(name: str) -> Any:
    """The module benchmarks/``name``.py."""
    sys.path.insert(0, str(_FOLDER))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(_FOLDER))
