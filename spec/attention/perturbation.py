"""What errors of weights do to an output: both directions of ATT-2 (proofs_notes/attention.md)."""

from __future__ import annotations

import math

__all__ = ["output_error", "weight_error"]


def output_error(relative: float) -> float:
    """ε/(1 + √(1 − ε²)) for weights off by factors 1 ± ε, 0 ≤ ε < 1: how far the output moves, in units of range(V).

    >>> output_error(0.8)
    0.5
    """
    return relative / (1.0 + math.sqrt((1.0 - relative) * (1.0 + relative)))


def weight_error(error: float) -> float:
    """2e/(1 + e²), the inverse: the ε that moves an output by e·range(V), 0 ≤ e ≤ 1.

    >>> weight_error(0.5)
    0.8
    """
    return 2.0 * error / (1.0 + error * error)
