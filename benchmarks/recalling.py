"""The bank of tests/bank, and a judge that keeps its references: they are the same for every kernel of a class."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from bank.buggy import BUGGY
from bank.correct import CORRECT

from assay.conformance.judge import Judge

__all__ = ["BUGGY", "CORRECT", "RecallingJudge"]


@dataclass
class RecallingJudge(Judge):
    """Looks a reference up in ``known`` before it computes one."""

    known: dict[bytes, Any] = field(default_factory=dict)

    def reference(self, instance: Any) -> Any:
        key = hashlib.blake2b(
            repr([instance.scale, instance.causal, instance.window, instance.softcap, instance.return_lse]).encode()
        )
        for name, array in instance.arrays().items():
            key.update(f"{name}{array.shape}{array.dtype}".encode())
            key.update(array.tobytes())
        found = self.known.get(key.digest())
        if found is None:
            found = self.known[key.digest()] = super().reference(instance)
        return found
