"""The diagram of fast attention (ATT-6): n, the bound B of the entries, and which route is the faster."""

from __future__ import annotations

from assay.impl.phase.cells import LENGTHS, RATIOS, Cell, Diagram, Head, diagram, heads_of
from assay.impl.phase.render import to_json, to_plot, to_text

__all__ = ["LENGTHS", "RATIOS", "Cell", "Diagram", "Head", "diagram", "heads_of", "to_json", "to_plot", "to_text"]
