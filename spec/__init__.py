"""What is right: exact definitions, certified values, tolerances and laws.  Knows nothing of impl or conformance.

Every problem of :data:`~assay.spec.problem.PROBLEMS` is a name of this package, imported when it is asked for:
``from assay.spec import attention``.
"""

from __future__ import annotations

from typing import Any

from assay.spec.problem import PROBLEMS, InvalidInstance, Provenance, problem

__all__ = ["PROBLEMS", "InvalidInstance", "Provenance", "problem", *PROBLEMS]


def __getattr__(name: str) -> Any:
    if name in PROBLEMS:
        return problem(name)
    raise AttributeError(f"module 'assay.spec' has no attribute {name!r}")
