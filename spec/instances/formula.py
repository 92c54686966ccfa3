"""A Boolean formula in conjunctive normal form."""

from __future__ import annotations

from dataclasses import dataclass

from assay.spec.problem import InvalidInstance

__all__ = ["MOST_VARIABLES", "Formula"]

#: A literal is a 32-bit integer, as in every solver's file format.
MOST_VARIABLES = 2**31 - 1


@dataclass(frozen=True)
class Formula:
    """C_1 ∧ … ∧ C_m over x_1 … x_v.  A clause is a tuple of literals, +i for x_i and −i for ¬x_i.

    An empty clause is false, and an empty formula is true.  A clause may repeat a literal or contain both x and ¬x.
    ``variables`` is the number of variables that may occur; one that does not occur doubles the number of models.
    Raises :class:`~assay.spec.problem.InvalidInstance` for a literal that is 0 or names a variable above ``variables``.

    >>> Formula(2, ((1, -2), (2,))).holds((True, True))
    True
    """

    variables: int
    clauses: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        if not 0 <= self.variables <= MOST_VARIABLES:
            raise InvalidInstance(f"variables {self.variables}: expected 0 to {MOST_VARIABLES}")
        for number, clause in enumerate(self.clauses, 1):
            for literal in clause:
                if literal == 0 or abs(literal) > self.variables:
                    raise InvalidInstance(
                        f"clause {number}: literal {literal}, expected one of ±1 to ±{self.variables}, the variables"
                    )

    def holds(self, assignment: tuple[bool, ...]) -> bool:
        """Whether the assignment, one truth value for each variable, satisfies every clause."""
        if len(assignment) != self.variables:
            raise InvalidInstance(f"assignment of {len(assignment)} values: expected {self.variables}, one a variable")
        return all(any(assignment[abs(x) - 1] == (x > 0) for x in clause) for clause in self.clauses)
