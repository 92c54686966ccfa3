"""The input of a merge: the outputs and log-sum-exps of attention over parts of the keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec import attention
from assay.spec.instance import Instance as Base
from assay.spec.instance import array

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Instance", "load"]


@dataclass(frozen=True, eq=False)
class Instance(Base):
    """Parts of attention that are to become one.  Arrays are kept as given; numbers are exact as stored.

    outputs (parts, b, h, n, d_v): attention over each part of the keys.
    log_sum_exps (parts, b, h, n): natural logarithms of the sums of weights, of any floating type; −inf where a part
    has no key for a query.  What the output of such a part is does not matter, as long as it is finite.
    sink: (h,) finite logits: one more key of that score and the value zero, which is in none of the parts.
    return_lse: the kernel is to return (output, log_sum_exp), the latter of shape (b, h, n).

    Raises :class:`~assay.spec.problem.InvalidInstance`, naming the argument.
    """

    problem = "small_transformers_merge"

    outputs: NDArray[Any] = array("parts batch heads queries value_dim")
    log_sum_exps: NDArray[Any] = array("parts batch heads queries", values="finite or −inf")
    sink: NDArray[Any] | None = array("heads", optional=True)
    return_lse: bool = False

    def attention(self) -> attention.Instance:
        """The same as attention: every query by itself, with a key for each part and the bias l_t (MERGE-0).

        Shapes are (b·n, h, 1 query, parts keys); the products of queries and keys are 0.
        """
        parts, b, h, n, d_v = self.outputs.shape
        value = np.moveaxis(self.outputs, (1, 3, 2, 0, 4), (0, 1, 2, 3, 4)).reshape(b * n, h, parts, d_v)
        bias = np.moveaxis(self.log_sum_exps, (1, 3, 2, 0), (0, 1, 2, 3)).reshape(b * n, h, 1, parts)
        return attention.Instance(
            np.zeros((b * n, h, 1, 1), value.dtype),
            np.zeros((b * n, h, parts, 1), value.dtype),
            value,
            scale=1.0,
            bias=bias,
            sink=self.sink,
            return_lse=self.return_lse,
        )


load = Instance.load
