"""Wrong backward passes: each re-creates the behaviour of a defect that shipped, or a planted one."""

from __future__ import annotations

from bank.tensor_attention.backward import BUGGY

__all__ = ["BUGGY"]
