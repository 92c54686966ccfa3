"""What a stack rounds besides its softmax, and the classes that make sense for it (LCT-0)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from assay.spec.precision import PRECISIONS as MACHINES
from assay.spec.softmax.rounding import Softmax

if TYPE_CHECKING:
    from collections.abc import Mapping

    from assay.spec.precision import Precision

__all__ = ["PRECISIONS", "Stack"]


@dataclass(frozen=True)
class Stack:
    """The roundings of a stack between its matrix products.  Errors are relative unless said otherwise."""

    between: float  # u_b: of an array that is stored between two operations: tokens, queries, hidden numbers, …
    between_tiny: float  # τ_b: the absolute part of it
    entry: float  # u_e: of an array on entry to a matrix product, where u_b does not contain it
    weight: float  # u_in: of the weights on entry to a matrix product
    step: float  # u_s: of the intermediate results of a sum of heads, a norm or an activation, where they are stored
    step_tiny: float  # τ_s: the absolute part of it
    activation: float  # ε_a: of erf and tanh, relative to 1, and of a sigmoid

    @classmethod
    def usual(cls, precision: Precision) -> Self:
        """The roundings of these stages on a machine of that class.

        An array that is stored in the type of the tokens is not rounded again on entry to a product of that type.

        >>> from assay.spec.precision import precision
        >>> Stack.usual(precision("bfloat16")).between == 2.0**-8
        True
        """
        between = max(precision.output, precision.stored)
        return cls(
            between=between,
            between_tiny=max(precision.output_tiny, precision.stored_tiny),
            entry=precision.operand if precision.operand > between else 0.0,
            weight=precision.input_rounding,
            step=precision.stored,
            step_tiny=precision.stored_tiny,
            activation=max(precision.elementary, precision.of(Softmax).tanh),
        )


#: The classes.  A plain name: every array between two operations is stored in the type of the tokens, scores and
#: statistics of norms are not.  ``eager``: the result of every operation is.  Types of 8 bits make no stack.
PRECISIONS: Mapping[str, Precision] = {
    name: machine for name, machine in MACHINES.items() if not machine.storage.startswith("float8")
}
