"""Structures that say which neurons fire: correct ones of unusual structure, which pass, and wrong ones, which fail.

They are classes and factories in plain Python and NumPy, and nothing here uses assay.  Each wrong one re-creates the
behaviour of a defect that shipped (the source names the issue) or a planted one.
"""

from bank.firing_neurons.buggy import BUGGY as BUGGY_TABLES
from bank.firing_neurons.correct import CORRECT as CORRECT_TABLES
from bank.firing_neurons.designs import DESIGNS
from bank.firing_neurons.wrong_designs import WRONG_DESIGNS

__all__ = ["BUGGY", "CORRECT"]

CORRECT = (*CORRECT_TABLES, *DESIGNS)
BUGGY = (*BUGGY_TABLES, *WRONG_DESIGNS)
