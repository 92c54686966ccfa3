"""Large transformers from small ones, on the CPU.

:func:`simulate` makes the calls of an exact plan, :func:`exact` returns its output alone, and :func:`approximate`
samples keys until an error is met.  :func:`merge` recombines attention over parts of the keys.
"""

from assay.impl.cpu.small_transformers.average import Sampled, approximate
from assay.impl.cpu.small_transformers.calls import CallError
from assay.impl.cpu.small_transformers.kept import Kept
from assay.impl.cpu.small_transformers.parts import merge
from assay.impl.cpu.small_transformers.simulate import Simulated, exact, simulate

__all__ = ["CallError", "Kept", "Sampled", "Simulated", "approximate", "exact", "merge", "simulate"]
