"""What attention of order k rounds besides its softmax, and the classes that make sense for it (TOLT-1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from assay.spec.precision import PRECISIONS as MACHINES
from assay.spec.softmax.rounding import Softmax

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from assay.spec.precision import Precision

__all__ = ["BLOCK", "PRECISIONS", "Pairs"]

BLOCK = 1024  #: the most terms of an inner sum in the classes of blocked sums


@dataclass(frozen=True)
class Pairs:
    """The roundings of products of queries, keys or values of several modes, before a matrix product."""

    product: float  # u_pair: of one product that is rounded to the type of operands
    product_tiny: float  # the absolute part of it (gradual underflow)
    more: int  # how many times a factor of the scores is rounded besides the k − 2 products of their operands

    @classmethod
    def usual(cls, precision: Precision) -> Self:
        """The roundings of these stages on a machine of that class.

        A matrix unit takes operands of its own type, so that a product of two numbers is rounded before it goes in; a
        kernel that stores its intermediate results stores such products.  One in float32 rounds no more than it does
        for every product and sum.

        >>> from assay.spec.precision import precision
        >>> Pairs.usual(precision("bfloat16")).product == 2.0**-8
        True
        """
        return cls(
            product=max(precision.operand, precision.stored),
            product_tiny=max(precision.operand_tiny, precision.stored_tiny),
            more=0,
        )


def _classes() -> Iterator[Precision]:
    """The classes of every type, tight ones first."""
    for machine in MACHINES.values():
        if machine.stored > 0.0:
            continue
        yield machine
        if machine.output > 0.0 and machine.storage == machine.result:
            yield machine.with_(f"{machine.storage}-simplicial", Pairs, more=2)
            yield MACHINES[f"{machine.storage}-eager"]
        if machine.output == 0.0 and machine.input_rounding == 0.0:
            yield machine.with_(f"{machine.name}-blocked", Softmax, block=BLOCK, part=BLOCK)


#: The classes.  ``simplicial``: that of the published kernels of 2-simplicial attention (Roy et al. 2025), which round
#: the product of a query and a key, the constant of the scale, and the product of the two, before the matrix product
#: with the keys of the other mode.  ``blocked``: no sum adds more than 1,024 terms one after the other before it is
#: added to others, and no part that is merged through a log-sum-exp is shorter; this is sharper for rows of many
#: combinations.
PRECISIONS: Mapping[str, Precision] = {precision.name: precision for precision in _classes()}
