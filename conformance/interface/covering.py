"""What a problem says of the ways in which options, lengths and layouts go together: factors and their values.

The judge makes arrays of them in which every pair of values occurs (:mod:`assay.conformance.judge.covering`).  Faults
of software mostly need one condition or two to show (Kuhn, Wallace, Gallo 2004, "Software Fault Interactions and
Implications for Software Testing"), and no list that is written by hand holds all pairs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np

    from assay.conformance.interface.suite import Row

__all__ = ["Covering", "Factor", "Together", "length"]


def length(word: str, rng: np.random.Generator) -> int:
    """The length that a value of a factor stands for: a number, or ``~N`` for N − 1, N or N + 1 by chance.

    >>> import numpy as np
    >>> length("130", np.random.default_rng(0)), length("~64", np.random.default_rng(0))
    (130, 65)
    """
    return int(word[1:]) + int(rng.integers(-1, 2)) if word[0] == "~" else int(word)


@dataclass(frozen=True)
class Factor:
    """Something that an input has one of: a mask, a number of keys, a layout.

    kinds: kind → its values.  Values of one kind are variants: every pair of values is tried, and every three kinds.
    needs: kind → the capability without which a kernel cannot be asked for it; kinds that every kernel has are left
    out.
    role: ``option``, ``size``, or ``manner`` for what is neither: the numbers, the layout.  The first kind of an option
    is that nothing is asked for.
    """

    name: str
    kinds: Mapping[str, tuple[str, ...]]
    needs: Mapping[str, str] = field(default_factory=dict)
    role: str = "option"


@dataclass(frozen=True)
class Together:
    """Kinds of several factors that together need a capability; with none, they cannot be together at all.

    kinds: factor → the kinds that are meant.
    """

    kinds: Mapping[str, frozenset[str]]
    needs: str = ""


@dataclass(frozen=True, eq=False)
class Covering:
    """The factors of a problem, and the row that a choice of them is.

    row(choice, seed): the row of the table for factor → value, of any level; the seed settles what a value leaves open,
    as a length near 64 does.
    cost(row): a number that grows with the time that a row takes: the cheapest rows come first.
    """

    factors: tuple[Factor, ...]
    row: Callable[[Mapping[str, str], int], Row]
    cost: Callable[[Row], float]
    together: tuple[Together, ...] = ()
