"""What a backward pass rounds besides its softmax, and the classes that make sense for it (BWD-0)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from assay.spec.precision import PRECISIONS as MACHINES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from assay.spec.precision import Precision

__all__ = ["PRECISIONS", "Backward"]


@dataclass(frozen=True)
class Backward:
    """The relative roundings of the gradients of attention besides those of the machine and of its softmax."""

    score_gradient: float  # u_ds: of dS on entry to its products, and where it is stored
    score_gradient_tiny: float  # τ_ds: the absolute part of it
    score_gradient_times: int  # n_ds: how often
    softcap_times: int  # … more under a softcap
    product: float  # u_dp: of dP = dO Vᵀ, of its product with P and of δ, where these are stored
    product_tiny: float  # the absolute part of it
    slope: float  # of 1 − tanh² where it is stored
    output_times: int  # n_out: how often a gradient is rounded to the type of the output

    @classmethod
    def usual(cls, precision: Precision) -> Self:
        """The roundings of these stages on a machine of that class.

        >>> from assay.spec.precision import precision
        >>> Backward.usual(precision("bfloat16-eager")).output_times
        3
        """
        eager = precision.stored > 0.0
        return cls(
            score_gradient=max(precision.operand, precision.stored),
            score_gradient_tiny=max(precision.operand_tiny, precision.stored_tiny) + precision.alignment,
            score_gradient_times=3 if eager else 1,
            softcap_times=3 if eager else 0,
            product=precision.stored,
            product_tiny=precision.stored_tiny,
            slope=precision.stored,
            output_times=3 if eager else 1,
        )


#: The classes that make sense for a gradient: all but those of 8 bits, in which no gradient is stored.
PRECISIONS: Mapping[str, Precision] = {
    name: machine for name, machine in MACHINES.items() if not machine.storage.startswith("float8")
}
