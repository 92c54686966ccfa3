"""Correct backward passes: the judge must pass every one, in every class that it names."""

from __future__ import annotations

from bank.tensor_attention.backward import CORRECT

__all__ = ["CORRECT"]
