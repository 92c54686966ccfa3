"""Large transformers from small ones, on the CPU: :func:`simulate`, and :func:`exact`, its output alone."""

from assay.impl.cpu.small_transformers.calls import CallError
from assay.impl.cpu.small_transformers.kept import Kept
from assay.impl.cpu.small_transformers.simulate import Simulated, exact, simulate

__all__ = ["CallError", "Kept", "Simulated", "exact", "simulate"]
