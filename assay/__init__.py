"""assay: attention and kernel algorithms, defined exactly and judged soundly.

The front door: public names, imported when first used (``import assay`` loads no framework, no compiler and
no test library).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from assay.conformance.judge.judge import check
    from assay.conformance.report.report import Report
    from assay.spec.instances.hard import hard

__version__ = "0.1.0"
__all__ = ["Report", "check", "hard"]

_HOME = {
    "check": "assay.conformance.judge.judge",
    "Report": "assay.conformance.report.report",
    "hard": "assay.spec.instances.hard",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'assay' has no attribute {name!r}")
