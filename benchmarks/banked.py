"""The bank of tests/bank, judged here with references that all kernels of a class share."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from bank.attention import adversary
from bank.attention.buggy import BUGGY
from bank.attention.correct import CORRECT
from bank.drawn import drawn

__all__ = ["BUGGY", "CORRECT", "adversary", "drawn"]
