"""A reader and a writer of DIMACS CNF, the file format of satisfiability solvers.

A file has the header ``p cnf VARIABLES CLAUSES`` and then clauses of integers, each closed by 0, over any number of
lines.  Files in practice are looser, and the reader accepts them.  Comments (lines that begin with ``c``) may be
anywhere.  The header may be missing, lack its counts or have wrong ones; the number of variables is then the largest
that occurs, where that is more.  The trailer ``%``, ``0`` of SATLIB may follow.  Tautologies, duplicate literals and
empty clauses are kept as they are.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

from assay.spec import untrusted
from assay.spec.instances.formula import MOST_VARIABLES, Formula
from assay.spec.problem import InvalidInstance
from assay.spec.written import write_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["from_text", "read", "to_text", "write"]

_MOST_LITERALS = 2**31
_LITERAL = re.compile(r"(-?)0*([1-9][0-9]*)")
_COUNT = re.compile(r"[0-9]{1,20}")


def read(path: str | Path) -> Formula:
    """The formula in a file.  Raises :class:`~assay.spec.problem.InvalidInstance`, with the number of the line."""
    try:
        content = untrusted.content(path).decode("utf-8-sig", "replace")  # comments may be in any encoding
        return _parse(io.StringIO(content, newline=None))
    except OSError as error:
        raise InvalidInstance(f"{path}: cannot be read ({error.strerror})") from None
    except InvalidInstance as error:
        raise InvalidInstance(f"{path}, {error}") from None


def from_text(text: str) -> Formula:
    """The formula that the text of a file describes.  It raises what :func:`read` raises.

    >>> from_text("c two clauses, no header\\n1 -2 0 2\\n0")
    Formula(variables=2, clauses=((1, -2), (2,)))
    """
    return _parse(text.splitlines())


def to_text(formula: Formula, comments: Iterable[str] = ()) -> str:
    """The text of a file; :func:`from_text` gives the same formula back.

    >>> print(to_text(Formula(3, ((1, -2), ())), ["an example"]), end="")
    c an example
    p cnf 3 2
    1 -2 0
    0
    """
    lines = [f"c {line}".rstrip() for comment in comments for line in comment.splitlines() or [""]]
    lines.append(f"p cnf {formula.variables} {len(formula.clauses)}")
    lines += [" ".join(map(str, (*clause, 0))) for clause in formula.clauses]
    return "\n".join(lines) + "\n"


def write(path: str | Path, formula: Formula, comments: Iterable[str] = ()) -> None:
    """Write :func:`to_text` into a file.  Raises ``OSError`` where it cannot be written."""
    write_bytes(path, to_text(formula, comments).encode())


def _parse(lines: Iterable[str]) -> Formula:
    header: tuple[int, int | None] | None = None  # variables, clauses
    clauses: list[tuple[int, ...]] = []
    clause: list[int] = []
    largest, literals, number, ended = 0, 0, 0, False
    for number, line in enumerate(lines, 1):
        tokens = line.split()
        if not tokens or tokens[0].startswith("c"):
            continue
        if ended:
            if tokens != ["0"]:
                raise InvalidInstance(f"line {number}: {line.strip()[:40]!r} after the trailer %, expected nothing")
            continue
        if tokens[0].startswith("%"):
            ended = True
            continue
        if tokens[0] == "p":
            if header is not None or clauses or clause:
                raise InvalidInstance(f"line {number}: a header after a header or clauses, expected one, before them")
            header = _header(tokens, number)
            continue
        for token in tokens:
            if token == "0":
                clauses.append(tuple(clause))
                clause = []
                continue
            literal = _literal(token, number)
            largest = max(largest, abs(literal))
            literals += 1
            if literals > _MOST_LITERALS:
                raise InvalidInstance(
                    f"line {number}: more than {_MOST_LITERALS} literals so far, expected at most that"
                )
            clause.append(literal)
    if clause:  # the clause is whole only if the header says that it is the last one
        if header is None or header[1] != len(clauses) + 1:
            raise InvalidInstance(f"line {number}: the file ends within a clause, expected its closing 0")
        clauses.append(tuple(clause))
    return Formula(max(largest, header[0] if header else 0), tuple(clauses))


def _header(tokens: list[str], number: int) -> tuple[int, int | None]:
    if tokens[1:2] != ["cnf"] or len(tokens) > 4 or not all(map(_COUNT.fullmatch, tokens[2:])):
        given = " ".join(tokens)[:40]
        raise InvalidInstance(f"line {number}: header {given!r}, expected 'p cnf VARIABLES CLAUSES'")
    counts = [int(token) for token in tokens[2:]]
    if counts and counts[0] > MOST_VARIABLES:
        raise InvalidInstance(f"line {number}: {counts[0]} variables, expected at most {MOST_VARIABLES}")
    return (counts[0] if counts else 0), (counts[1] if len(counts) == 2 else None)


def _literal(token: str, number: int) -> int:
    matched = _LITERAL.fullmatch(token)
    if matched is None:
        raise InvalidInstance(f"line {number}: {token[:40]!r}, expected a literal (a whole number other than 0) or 0")
    digits = matched[2]
    if len(digits) > 10 or int(digits) > MOST_VARIABLES:
        raise InvalidInstance(f"line {number}: literal {token[:40]}, expected variables up to {MOST_VARIABLES}")
    return -int(digits) if matched[1] else int(digits)
