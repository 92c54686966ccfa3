"""Mutants that are no bugs: by reason, each with its function, line and change.

``benchmarks/mutants.py`` ends with an error if a mutant named here is no longer made, or is killed.
"""

from __future__ import annotations

__all__ = ["EQUIVALENT"]

#: (function, line, which of the equal lines of the function, change) → reason
EQUIVALENT: dict[tuple[str, str, int, str], str] = {}
