"""What a kernel of softmax type rounds between its matrix products (proofs_notes/attention.md, TOL-0)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.spec.precision import Precision

    Array = NDArray[np.float64]

__all__ = ["Softmax"]

# What the approximations of exp and tanh in hardware, and the short polynomials in their place, are accurate to.
_FAST_EXP = 2.0**-12
_FAST_TANH = 2.0**-10
_WHOLE_ROW = 1 << 30  # keys of a tile of a kernel that stores its scores whole: more than there are


@dataclass(frozen=True)
class Softmax:
    """The roundings of softmax(σ Q Kᵀ) V besides those of the machine.  Errors are relative unless said otherwise."""

    query_rounding: float  # u_in: of Q and of K on entry to their product
    stored_score: float  # u_s: of scores that are stored, and
    stored_times: int  # n_s: how often they are stored
    stored_tiny: float  # τ_s: the absolute part of it, also of Q and K scaled and stored before the product
    exp: float  # ε_exp: of one weight e^x
    rescale: float  # ε_α: of one rescaling factor e^(m_old − m_new)
    tanh: float  # ε_tanh: of the softcap's tanh, relative to 1
    probability: float  # u_p: of probabilities before the product with V
    probability_tiny: float  # τ_p: the absolute part of it (gradual underflow, and what a small factor loses more)
    value_rounding: float  # u_v: of V on entry to the product
    row_sum: float  # u_l: of the row sum where it is stored
    flush: float  # τ_w: a weight below this, relative to the row's largest, may become zero
    largest_score: float  # largest finite number of the type in which scores are computed or stored
    largest_sum: float  # … of the accumulator of p V
    log_sum_exp: float  # u_lse: of the log-sum-exp output, where a kernel returns it
    normalised: bool  # probabilities may be rounded after normalising (eager kernels)
    tile: int  # least number of keys between two rescalings
    part: int  # least number of keys of a part that is merged with others through a stored log-sum-exp
    lag: float  # how far the running shift may trail the row's maximum
    block: int = 0  # the most terms that a sum adds one after the other before it is added to others; 0 for any number

    @classmethod
    def usual(cls, precision: Precision) -> Self:
        """The roundings of these stages on a machine of that class.

        A kernel whose output is short may approximate exp and tanh.  One that stores its intermediate results stores
        Q after a scale that is itself rounded (or Q and K after its root), the scores, their scaled and masked form and
        every weight, has whole rows at hand and so no online softmax, and normalises before the product with V.

        >>> from assay.spec.precision import precision
        >>> Softmax.usual(precision("bfloat16")).probability == 2.0**-8
        True
        """
        stored, short = precision.stored, precision.output > 0.0
        return cls(
            query_rounding=max(precision.input_rounding, 2 * stored),
            stored_score=stored,
            stored_times=3 if stored else 0,
            stored_tiny=precision.stored_tiny,
            exp=max(precision.elementary, stored or (_FAST_EXP if short else 0.0)),
            rescale=max(precision.elementary, stored),
            tanh=max(precision.elementary, _FAST_TANH if short else 0.0),
            probability=precision.operand,
            probability_tiny=precision.operand_tiny + precision.alignment,
            value_rounding=precision.input_rounding,
            row_sum=0.0,
            flush=max(precision.tiny, precision.stored_tiny),
            largest_score=min(precision.largest, precision.largest_output) if stored else precision.largest,
            largest_sum=precision.largest,
            log_sum_exp=precision.working,
            normalised=stored > 0.0,
            tile=_WHOLE_ROW if stored else 16,
            part=128,
            lag=0.0 if stored else 8 * math.log(2.0),
        )

    def depth(self, count: Array) -> Array:
        """How many terms of a sum of so many are added one after the other: inner sums, and then the sums of blocks.

        >>> from assay.spec.precision import precision
        >>> blocked = precision("float32").with_("mine", Softmax, block=1024).of(Softmax)
        >>> blocked.depth(np.array([100.0, 2.0**20])).tolist()
        [100.0, 2048.0]
        """
        return np.asarray(np.minimum(count, self.block + np.ceil(count / self.block)) if self.block else count)

    def rescalings(self, count: int, runs: int = 1) -> tuple[int, int]:
        """T: how many rescalings a row of so many keys goes through, and how many of them a weight of it at most.

        runs: keys come in so many runs of equal length, each of which has tiles of its own.  In sums of blocks every
        block has an online softmax of its own.

        >>> from assay.spec.precision import precision
        >>> precision("float32").of(Softmax).rescalings(4096), precision("float32").of(Softmax).rescalings(4096, 1024)
        ((256, 256), (1024, 1024))
        """
        runs = 1 if self.tile >= _WHOLE_ROW else runs
        run = count // runs
        tiles = math.ceil(run / self.tile)
        if not self.block:
            return runs * tiles, runs * tiles
        in_block = min(math.ceil(self.block / run) + 1, runs) * min(tiles, math.ceil(self.block / self.tile))
        return runs * tiles, min(runs * tiles, min(in_block, self.block) + math.ceil(count / self.block))
