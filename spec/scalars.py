"""Arithmetics of single numbers: a formula of a few numbers is written once, and evaluated in balls or exactly.

The certified arithmetics of arrays are in :mod:`assay.spec.enclosure`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import flint

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BALLS", "SYMBOLS", "Scalars"]


@dataclass(frozen=True)
class Scalars:
    """What formulas need of an arithmetic besides sums, products, quotients and powers, which its numbers have.

    >>> def half_log(scalars, x):
    ...     return scalars.log(scalars.exact(x)) / 2
    >>> half_log(SYMBOLS, 3), round(float(half_log(BALLS, 3)), 12)
    (log(3)/2, 0.549306144334)
    """

    exact: Callable[[Any], Any]  # the number that a Python number is, without rounding
    pi: Callable[[], Any]
    log: Callable[[Any], Any]
    floor: Callable[[Any], Any]
    ceiling: Callable[[Any], Any]
    largest: Callable[[Any, Any], Any]
    smallest: Callable[[Any, Any], Any]

    def cut(self, x: Any, low: Any = 0, high: Any = 1) -> Any:
        """x where it is between low and high, else the nearer of the two."""
        return self.smallest(self.largest(x, self.exact(low)), self.exact(high))


#: Balls of Arb at the precision of python-flint's context.
BALLS = Scalars(
    exact=flint.arb,
    pi=flint.arb.pi,
    log=lambda x: x.log(),
    floor=lambda x: x.floor(),
    ceiling=lambda x: x.ceil(),
    largest=lambda x, y: x.max(y),
    smallest=lambda x, y: x.min(y),
)


def _of_sympy(name: str) -> Callable[..., Any]:
    """A function of SymPy, which is imported by the first call: no judgement needs it, and it takes half a second."""

    def called(*numbers: Any) -> Any:
        import sympy

        return getattr(sympy, name)(*numbers)

    return called


def _pi() -> Any:
    import sympy

    return sympy.pi


#: Expressions of SymPy, exact.
SYMBOLS = Scalars(
    exact=_of_sympy("Rational"),
    pi=_pi,
    log=_of_sympy("log"),
    floor=_of_sympy("floor"),
    ceiling=_of_sympy("ceiling"),
    largest=_of_sympy("Max"),
    smallest=_of_sympy("Min"),
)
