"""Layer collapse on the CPU: :func:`exact`, the stack itself, and :func:`collapse`, how near that is to uniform."""

from assay.impl.cpu.layer_collapse.collapse import SCALES, Collapse, collapse
from assay.impl.cpu.layer_collapse.forward import exact

__all__ = ["SCALES", "Collapse", "collapse", "exact"]
