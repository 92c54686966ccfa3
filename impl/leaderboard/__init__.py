"""Subquadratic stand-ins for attention on hard instances: who decides rightly, at what error, time and budget.

A method is one function ``method(query, key, value, *, scale, budget, seed)`` → output or ``None`` (it refuses), on
arrays (n, d), (m, d), (m, d_v) of float64 with result (n, d_v).  ``budget`` is what it may spend on a token: features,
landmarks, keys looked at, numbers of state.  :data:`METHODS` lists those that are built in, each with its source.

What a result means: the instances are drawn from hard distributions, the methods are untrained, and their weights are
random or set by hand.  That a method errs is a fact about it on these inputs.  That every method in time n^(2−Ω(1))
errs somewhere is a theorem under a hypothesis (SETH; Alman and Yu 2024), which no table proves.
"""

from __future__ import annotations

from assay.impl.leaderboard.board import LENGTHS, Board, Row, board
from assay.impl.leaderboard.methods import METHODS, Method
from assay.impl.leaderboard.render import MEANING, to_json, to_plot, to_text

__all__ = ["LENGTHS", "MEANING", "METHODS", "Board", "Method", "Row", "board", "to_json", "to_plot", "to_text"]
