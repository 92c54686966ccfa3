"""The diagram of fast attention (ATT-6): which route is faster for a length n and a bound B of the entries."""

from __future__ import annotations

from assay.impl.phase.cells import LENGTHS, RATIOS, Cell, Diagram, Head, Interrupted, diagram, heads_of
from assay.impl.phase.render import to_json, to_plot, to_text

__all__ = [
    "LENGTHS",
    "RATIOS",
    "Cell",
    "Diagram",
    "Head",
    "Interrupted",
    "diagram",
    "heads_of",
    "to_json",
    "to_plot",
    "to_text",
]
