"""The number of threads that a kernel uses by default."""

from __future__ import annotations

import os

__all__ = ["available"]


def available() -> int:
    """The number of CPUs that this process may run on, at least 1: the default number of threads of a kernel."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
