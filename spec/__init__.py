"""What is right: exact definitions, certified values, tolerances and laws.  Knows nothing of impl or conformance."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from assay.spec.problem import PROBLEMS, InvalidInstance, Provenance, problem

if TYPE_CHECKING:
    from assay.spec import attention, rope

__all__ = ["PROBLEMS", "InvalidInstance", "Provenance", "attention", "problem", "rope"]


def __getattr__(name: str) -> Any:
    if name in PROBLEMS:
        return importlib.import_module(f"assay.spec.{name}")
    raise AttributeError(f"module 'assay.spec' has no attribute {name!r}")
