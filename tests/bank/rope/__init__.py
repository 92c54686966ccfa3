"""Rotary kernels: correct ones of unusual structure, and wrong ones."""

from bank.rope.buggy import BUGGY
from bank.rope.correct import CORRECT

__all__ = ["BUGGY", "CORRECT"]
