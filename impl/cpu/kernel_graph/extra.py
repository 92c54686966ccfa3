"""The parts of SciPy that kernel graphs use, imported on first use."""

from __future__ import annotations

import importlib
from typing import Any

from assay.spec.instances.extra import required

__all__ = ["eigen", "linear_algebra", "multigrid", "sparse", "traversal", "trees"]


def _scipy(name: str) -> Any:
    required("scipy", "cpu")
    return importlib.import_module(f"scipy.{name}")


def linear_algebra() -> Any:
    """``scipy.linalg``."""
    return _scipy("linalg")


def sparse() -> Any:
    """``scipy.sparse``."""
    return _scipy("sparse")


def eigen() -> Any:
    """``scipy.sparse.linalg``."""
    return _scipy("sparse.linalg")


def traversal() -> Any:
    """``scipy.sparse.csgraph``."""
    return _scipy("sparse.csgraph")


def trees() -> Any:
    """``scipy.spatial``."""
    return _scipy("spatial")


def multigrid() -> Any:
    """pyamg, of the extra ``graphs``."""
    return required("pyamg", "graphs")
