"""Certified arithmetic: a value and a radius, in three tiers, and the :class:`Enclosure` that callers receive.

The tiers are ``float64`` balls with a-priori bounds, ``double_double`` balls (about 100 bits), and ``arb`` balls of any
precision (python-flint).  All three have the same methods, so a definition is written once, and :func:`escalate`
evaluates it in the cheapest tier that reaches the radius that its caller needs.  Claims and proofs:
proofs_notes/enclosure.md.
"""

from __future__ import annotations

from assay.spec.enclosure.arb import ArbArithmetic, ArbBall
from assay.spec.enclosure.double_double import DoubleDoubleBall
from assay.spec.enclosure.enclosure import Enclosure, in_units_of
from assay.spec.enclosure.escalation import Arithmetic, Evaluated, Result, ball_tiers, escalate, require_held, within
from assay.spec.enclosure.float64 import Float64Ball

__all__ = [
    "ArbArithmetic",
    "ArbBall",
    "Arithmetic",
    "DoubleDoubleBall",
    "Enclosure",
    "Evaluated",
    "Float64Ball",
    "Result",
    "ball_tiers",
    "escalate",
    "in_units_of",
    "require_held",
    "within",
]
