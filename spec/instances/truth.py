"""Ground truth: the answer of an instance, and how it was certified.

There are three oracles, none of which shares code with the reductions that they check.  A solver (python-sat, from the
extra ``sat``) says whether a formula is satisfiable.  A counter in this module says how many models it has, from its
truth table or by splitting (Davis–Putnam–Logemann–Loveland with a memory of components, after Bayardo & Pehoushek
2000).  An exhaustive search tries every pair of vectors to find the orthogonal ones, 64 coordinates at a time.
"""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assay.spec.instances.extra import required
from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.spec.instances.formula import Formula
    from assay.spec.instances.orthogonal_vectors import OrthogonalVectors

__all__ = [
    "Truth",
    "count_by_splitting",
    "count_by_table",
    "model_count",
    "orthogonal_pairs",
    "rows_reaching",
    "satisfying",
]

_TABLE_VARIABLES = 16  # up to here a table is quicker than splitting
_MOST_TABLE_VARIABLES = 26
_FEW = 32  # one candidate in so many pairs: with fewer, candidates are tried one by one
_TILE = (64, 1024)  # pairs at a time: half a megabyte of words, which fits a core's cache


@dataclass(frozen=True)
class Truth:
    """The answer of an instance.  A fact that is not certain, because it is too large to be tried, is ``None``.

    satisfiable: whether there is a model, or an orthogonal pair.  count: the number of models, or of pairs.  pairs:
    some of the pairs, and all of them if ``complete``.  certified: how each fact was certified, one phrase for each.
    """

    satisfiable: bool | None
    count: int | None
    pairs: tuple[tuple[int, int], ...] = ()
    complete: bool = False
    certified: tuple[str, ...] = ()


def satisfying(formula: Formula) -> tuple[bool, ...] | None:
    """A model that python-sat's CaDiCaL finds, or ``None`` if it proves that there is none.

    Raises :class:`~assay.spec.instances.extra.MissingExtra` without the extra ``sat``.
    """
    if not all(formula.clauses):  # solvers differ in how they treat an empty clause
        return None
    solvers = required("pysat.solvers", "sat")
    with solvers.Solver(name="cadical153", bootstrap_with=[list(clause) for clause in formula.clauses]) as solver:
        if not solver.solve():
            return None
        true = {literal for literal in solver.get_model() if literal > 0}
    found = tuple(variable in true for variable in range(1, formula.variables + 1))
    if not formula.holds(found):
        raise AssertionError("python-sat's model does not satisfy the formula")
    return found


def model_count(formula: Formula) -> int:
    """The number of models, by a table up to 16 variables and by splitting above.

    >>> from assay.spec.instances.formula import Formula
    >>> model_count(Formula(3, ((1, 2), (-1, -2))))
    4
    """
    return count_by_table(formula) if formula.variables <= _TABLE_VARIABLES else count_by_splitting(formula)


def count_by_table(formula: Formula) -> int:
    """The number of ones of the truth table of 2^variables bits.  Raises ``InvalidInstance`` above 26 variables."""
    if formula.variables > _MOST_TABLE_VARIABLES:
        raise InvalidInstance(f"{formula.variables} variables: expected at most {_MOST_TABLE_VARIABLES} for a table")
    size = 1 << formula.variables
    ones = (1 << size) - 1
    columns = []
    for variable in range(formula.variables):  # the column has 2^variable zeros, as many ones, and so on
        column, width = ((1 << (1 << variable)) - 1) << (1 << variable), 2 << variable
        while width < size:
            column |= column << width
            width *= 2
        columns.append(column)
    table = ones
    for clause in formula.clauses:
        holds = 0
        for literal in clause:
            column = columns[abs(literal) - 1]
            holds |= column if literal > 0 else ones ^ column
        table &= holds
    return table.bit_count()


_Clauses = frozenset[frozenset[int]]


def count_by_splitting(formula: Formula) -> int:
    """The number of models: a sum over the values of a variable, and a product over parts without a common variable."""
    clauses = frozenset(map(frozenset, formula.clauses))
    memory: dict[_Clauses, int] = {}
    return _count(clauses, memory) << (formula.variables - len(_variables(clauses)))


def _count(clauses: _Clauses, memory: dict[_Clauses, int]) -> int:
    """The number of models over exactly the variables that occur; ``memory`` keeps the counts of equal parts."""
    if not clauses:
        return 1
    if frozenset() in clauses:
        return 0
    if clauses not in memory:
        parts = _parts(clauses)
        if len(parts) > 1:
            total = 1
            for part in parts:
                total *= _count(part, memory)
                if total == 0:
                    break
        else:
            unit = next((clause for clause in clauses if len(clause) == 1), None)
            literals = [next(iter(unit))] if unit else _both(clauses)
            total = 0
            for literal in literals:
                left = _given(clauses, literal)
                free = len(_variables(clauses)) - 1 - len(_variables(left))
                total += _count(left, memory) << free
        memory[clauses] = total
    return memory[clauses]


def _both(clauses: _Clauses) -> list[int]:
    """Both literals of the variable that occurs most often in the shortest clauses."""
    shortest = min(map(len, clauses))
    often: dict[int, int] = {}
    for literal in itertools.chain.from_iterable(clause for clause in clauses if len(clause) == shortest):
        often[abs(literal)] = often.get(abs(literal), 0) + 1
    variable = max(often, key=lambda each: (often[each], -each))
    return [variable, -variable]


def _given(clauses: _Clauses, literal: int) -> _Clauses:
    return frozenset(clause - {-literal} for clause in clauses if literal not in clause)


def _variables(clauses: _Clauses) -> set[int]:
    return {abs(literal) for clause in clauses for literal in clause}


def _parts(clauses: _Clauses) -> list[_Clauses]:
    """The classes of clauses that common variables connect."""
    of_variable: dict[int, list[frozenset[int]]] = {}
    for clause in clauses:
        for literal in clause:
            of_variable.setdefault(abs(literal), []).append(clause)
    left, parts = set(clauses), []
    while left:
        reached, todo = set(), [left.pop()]
        while todo:
            clause = todo.pop()
            reached.add(clause)
            for literal in clause:
                for other in of_variable.pop(abs(literal), ()):
                    if other in left:
                        left.discard(other)
                        todo.append(other)
        parts.append(frozenset(reached))
    return parts


def orthogonal_pairs(source: OrthogonalVectors, most: int = 1000, threads: int = 2) -> tuple[int, NDArray[np.int64]]:
    """The number of orthogonal pairs, and the first ``most`` of them, (pairs, 2), in the order of rows.

    All n·m pairs are tried, in tiles.  The first 64 coordinates settle a pair unless they are disjoint.

    >>> from assay.spec.instances.orthogonal_vectors import OrthogonalVectors
    >>> count, pairs = orthogonal_pairs(OrthogonalVectors([[1, 0], [0, 0]], [[0, 1], [1, 1]]))
    >>> count, pairs.tolist()
    (3, [[0, 0], [1, 0], [1, 1]])
    """
    left, right = _packed(source.left), _packed(source.right)
    starts = range(0, source.n, _TILE[0])
    with ThreadPoolExecutor(threads) as pool:
        strips = pool.map(lambda start: _strip(left[start : start + _TILE[0]], right, start, most), starts)
        count, kept = 0, []
        for found, pairs in strips:
            if count < most:
                kept.append(pairs[: most - count])
            count += found
    return count, np.concatenate(kept) if kept else np.zeros((0, 2), np.int64)


def rows_reaching(
    source: OrthogonalVectors, threshold: int, most: int = 1000
) -> tuple[int, tuple[tuple[int, int], ...]]:
    """The number of left vectors with a right one of inner product ≥ threshold; the first ``most`` such pairs."""
    rows = 0
    pairs: list[tuple[int, int]] = []
    columns = source.right.astype(np.float32).T  # sums of fewer than 2^24 ones are exact
    for start in range(0, source.n, 256):
        reach = source.left[start : start + 256].astype(np.float32) @ columns >= threshold
        rows += int(reach.any(axis=1).sum())
        pairs += [(start + int(i), int(j)) for i, j in np.argwhere(reach)[: most - len(pairs)]]
    return rows, tuple(pairs)


def _strip(left: NDArray[np.uint64], right: NDArray[np.uint64], start: int, most: int) -> tuple[int, NDArray[np.int64]]:
    """The orthogonal pairs of some left vectors, beginning with number ``start``: how many, and the first of them."""
    found, kept = 0, []
    meet = np.empty((len(left), _TILE[1]), np.uint64)
    for first in range(0, len(right), _TILE[1]):
        block = right[first : first + _TILE[1]]
        common = np.bitwise_and(left[:, None, 0], block[None, :, 0], out=meet[:, : len(block)])
        apart = common == 0
        open_ = np.count_nonzero(apart)
        if open_ == 0:
            continue
        if open_ * _FEW > apart.size:  # many pairs are left, so all of the tile are tested, word by word
            for word in range(1, left.shape[1]):
                apart &= np.bitwise_and(left[:, None, word], block[None, :, word], out=common) == 0
            each = np.count_nonzero(apart, axis=1)
            found += int(each.sum())
            rows, columns = np.nonzero(apart[: int(np.searchsorted(each.cumsum(), most)) + 1])
        else:
            rows, columns = np.nonzero(apart)
            for word in range(1, left.shape[1]):
                still = (left[rows, word] & block[columns, word]) == 0
                rows, columns = rows[still], columns[still]
            found += len(rows)
        # the first pairs of the strip are among the first of its tiles
        kept.append(np.stack([rows[:most] + start, columns[:most] + first], axis=1))
    pairs = np.concatenate(kept) if kept else np.zeros((0, 2), np.int64)
    return found, pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))][:most]


def _packed(vectors: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """(n, words): 64 coordinates in each word; the order of the bits does not matter."""
    packed = np.packbits(vectors, axis=1)
    words = -(-packed.shape[1] // 8)
    padded = np.zeros((len(vectors), 8 * words), np.uint8)
    padded[:, : packed.shape[1]] = packed
    return padded.view(np.uint64)
