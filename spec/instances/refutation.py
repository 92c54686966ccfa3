"""Proofs that a formula has no model, checked: reverse unit propagation (Goldberg and Novikov 2003).

A refutation is a list of clauses, each of which follows from the ones before by unit propagation alone, down to the
empty one.  That is a DRAT proof in which every step is RUP, as solvers without preprocessing write them; steps that
are merely RAT are refused.  The checker shares nothing with any solver.  Deletions are read over: more clauses than a
solver had make no step wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["refutes", "steps"]


def steps(lines: Iterable[str]) -> Iterator[tuple[int, ...]]:
    """The clauses that a proof in the text format of DRAT adds, in order.

    >>> list(steps(["1 -2 0", "d 1 3 0", "0"]))
    [(1, -2), ()]
    """
    for line in lines:
        words = line.split()
        if words and words[0] != "d" and words[0] != "c":
            literals = [int(word) for word in words]
            if literals[-1] != 0 or 0 in literals[:-1]:
                raise ValueError(f"proof line {line!r}: expected literals and a closing 0")
            yield tuple(literals[:-1])


def refutes(clauses: Iterable[Sequence[int]], proof: Iterable[Sequence[int]]) -> bool:
    """Whether the proof's clauses all follow by unit propagation, one after the other, and the empty one is reached.

    clauses, proof: literals as in DIMACS.

    >>> formula = [(1, 2), (-1, 2), (1, -2), (-1, -2)]
    >>> refutes(formula, [(2,), ()]), refutes(formula, [()]), refutes(formula[:3], [(2,), ()])
    (True, False, False)
    """
    known = _Known()
    for clause in clauses:
        known.add(clause)
    for clause in proof:
        if known.refuted:
            return True
        if not known.implies(clause):
            return False
        known.add(clause)
    return known.refuted


class _Known:
    """Clauses with two watched literals each, and what follows from those of one literal."""

    def __init__(self) -> None:
        self.true: set[int] = set()
        self.watched: dict[int, list[list[int]]] = {}
        self.refuted = False

    def add(self, clause: Sequence[int]) -> None:
        literals = list(dict.fromkeys(clause))
        if self.refuted or any(-literal in literals or literal in self.true for literal in literals):
            return
        open_ones = [literal for literal in literals if -literal not in self.true]
        if not open_ones:
            self.refuted = True
        elif len(open_ones) == 1:
            self.refuted = not self._propagate([open_ones[0]], [])
        else:
            for literal in open_ones[:2]:
                self.watched.setdefault(literal, []).append(open_ones)

    def implies(self, clause: Sequence[int]) -> bool:
        """Whether propagation from the negation of the clause ends in a contradiction."""
        if any(literal in self.true or -literal in clause for literal in clause):
            return True
        trail: list[int] = []
        contradiction = not self._propagate([-literal for literal in dict.fromkeys(clause)], trail)
        self.true.difference_update(trail)
        return contradiction

    def _propagate(self, pending: list[int], trail: list[int]) -> bool:
        """Make literals true, and all that follows; False at a contradiction."""
        true, watched = self.true, self.watched
        while pending:
            literal = pending.pop()
            if literal in true:
                continue
            if -literal in true:
                return False
            true.add(literal)
            trail.append(literal)
            kept = []
            falsified = watched.get(-literal, [])
            for place, clause in enumerate(falsified):
                if clause[0] == -literal:
                    clause[0], clause[1] = clause[1], clause[0]
                if clause[0] in true:
                    kept.append(clause)
                    continue
                for index in range(2, len(clause)):
                    if -clause[index] not in true:
                        clause[1], clause[index] = clause[index], clause[1]
                        watched.setdefault(clause[1], []).append(clause)
                        break
                else:
                    kept.append(clause)
                    if -clause[0] in true:
                        watched[-literal] = kept + falsified[place + 1 :]
                        return False
                    pending.append(clause[0])
            watched[-literal] = kept
        return True
