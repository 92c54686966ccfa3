"""Attention with relative positions: correct kernels, and wrong ones, some of which are wrong in few calls only."""

from bank.rope_attention import buggy, narrow
from bank.rope_attention.correct import CORRECT

__all__ = ["BUGGY", "CORRECT"]

BUGGY = (*buggy.BUGGY, *narrow.NARROW)
