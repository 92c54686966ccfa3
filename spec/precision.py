"""Classes of machine arithmetic: what a kernel that declares one may round, and where.

A :class:`Precision` is data: the unit roundoffs of every stage of a kernel of softmax type.  Tolerances
(``assay.spec.<problem>.tolerance``) are functions of it, proved in proofs_notes; no other constant enters.
Round to nearest with p bits has unit roundoff 2^-p; truncation has 2^(1-p).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self, TypeVar

__all__ = ["PRECISIONS", "Precision", "StageRoundings", "precision"]


class StageRoundings(Protocol):
    """What a kernel of one problem rounds in its own stages: a frozen dataclass of that problem's room."""

    @classmethod
    def usual(cls, precision: Precision) -> Self:
        """The roundings of these stages on a machine of that class."""
        ...


S = TypeVar("S", bound=StageRoundings)


@dataclass(frozen=True)
class Precision:
    """A class of machine arithmetic.  Relative errors unless said otherwise; see proofs_notes/attention.md, TOL-0."""

    name: str
    storage: str  # dtype of the inputs (a NumPy or ml_dtypes name)
    result: str  # dtype of the output
    input_rounding: float  # u_in: of Q and K on entry to the product (tf32; eager kernels that scale them first)
    product: float  # u_mm: products and sums of Q Kᵀ, scaling, the argument of exp
    stored_score: float  # u_s: of scores that are stored, and
    stored_times: int  # n_s: how often they are stored
    stored_tiny: float  # τ_s: the absolute part of it, also of Q and K scaled and stored before the product
    exp: float  # ε_exp: of one weight e^x
    rescale: float  # ε_α: of one rescaling factor e^(m_old − m_new)
    tanh: float  # ε_tanh: of the softcap's tanh, relative to 1
    probability: float  # u_p: of probabilities before the product with V
    probability_tiny: float  # τ_p: the absolute part of it (gradual underflow)
    value_rounding: float  # u_v: of V on entry to the product (tf32)
    accumulate: float  # u_acc: sums of p V and of the row
    row_sum: float  # u_l: of the row sum where it is stored
    output: float  # u_out: of the output
    output_tiny: float  # τ_out: the absolute part of it
    flush: float  # τ_w: a weight below this, relative to the row's largest, may become zero
    tiny: float  # smallest normal number of products and accumulators: below it results may be flushed to zero
    largest_score: float  # largest finite number of the type in which scores are computed or stored
    largest_sum: float  # … of the accumulator of p V
    largest_output: float  # … of the output
    log_sum_exp: float  # u_lse: of the log-sum-exp output, where a kernel returns it
    normalised: bool = False  # probabilities may be rounded after normalising (eager kernels)
    tile: int = 16  # least number of keys between two rescalings
    part: int = 128  # least number of keys of a part that is merged with others through a stored log-sum-exp
    lag: float = 8 * math.log(2.0)  # how far the running shift may trail the row's maximum
    stages: tuple[Any, ...] = ()  # roundings of one problem's own stages, where they are not the usual ones

    def of(self, kind: type[S]) -> S:
        """The roundings of the stages that ``kind`` describes: those of this class, else what is usual for it."""
        return next((stage for stage in self.stages if isinstance(stage, kind)), None) or kind.usual(self)

    def with_(self, name: str, **changes: object) -> Precision:
        """A user-defined class: this one under another name with some entries changed."""
        return replace(self, name=name, **changes)  # type: ignore[arg-type]


_FLOAT32_MAX = (2.0 - 2.0**-23) * 2.0**127
_BFLOAT16_MAX = (2.0 - 2.0**-7) * 2.0**127
_FLOAT16_MAX = 65504.0

_FLOAT32 = Precision(
    name="float32",
    storage="float32",
    result="float32",
    input_rounding=0.0,
    product=2.0**-24,
    stored_score=0.0,
    stored_times=0,
    stored_tiny=0.0,
    exp=8 * 2.0**-24,  # four ulps: NumPy documents 2.52 for its float32 exp
    rescale=8 * 2.0**-24,
    tanh=8 * 2.0**-24,
    probability=0.0,
    probability_tiny=0.0,
    value_rounding=0.0,
    accumulate=2.0**-24,
    row_sum=0.0,
    output=0.0,
    output_tiny=0.0,
    flush=2.0**-126,
    tiny=2.0**-126,
    largest_score=_FLOAT32_MAX,
    largest_sum=_FLOAT32_MAX,
    largest_output=_FLOAT32_MAX,
    log_sum_exp=2.0**-24,
)

_FLOAT64 = _FLOAT32.with_(
    "float64",
    storage="float64",
    result="float64",
    product=2.0**-53,
    exp=8 * 2.0**-53,
    rescale=8 * 2.0**-53,
    tanh=8 * 2.0**-53,
    accumulate=2.0**-53,
    flush=2.0**-1022,
    tiny=2.0**-1022,
    largest_score=(2.0 - 2.0**-52) * 2.0**1023,
    largest_sum=(2.0 - 2.0**-52) * 2.0**1023,
    largest_output=(2.0 - 2.0**-52) * 2.0**1023,
    log_sum_exp=2.0**-53,
)

# Matrix units multiply exactly and add with truncation (Fasi, Higham, Mikaitis, Pranesh 2021), and ignore the
# low bits of a float32 operand in tf32 mode: hence 2^-23 for accumulation and 2^-10 on entry.  A block of k ≥ 4
# products and the running sum are k + 1 addends cut to the largest: 5/4 units a product.
_TENSOR_CORE = _FLOAT32.with_("tensor core", product=1.25 * 2.0**-23, accumulate=1.25 * 2.0**-23)

_TF32 = _TENSOR_CORE.with_("tf32", input_rounding=2.0**-10, value_rounding=2.0**-10, probability=2.0**-10)

_BFLOAT16 = _TENSOR_CORE.with_(
    "bfloat16",
    storage="bfloat16",
    result="bfloat16",
    exp=2.0**-12,
    tanh=2.0**-10,
    probability=2.0**-8,
    output=2.0**-8,
    largest_output=_BFLOAT16_MAX,
)

_FLOAT16 = _BFLOAT16.with_(
    "float16",
    storage="float16",
    result="float16",
    probability=2.0**-11,
    probability_tiny=2.0**-25,
    output=2.0**-11,
    output_tiny=2.0**-25,
    largest_output=_FLOAT16_MAX,
)

_BFLOAT16_EAGER = _BFLOAT16.with_(
    "bfloat16-eager",
    input_rounding=2 * 2.0**-8,  # a scale rounded to the type, and the product with Q (or √scale with Q and K)
    stored_score=2.0**-8,
    stored_times=3,
    exp=2.0**-8,
    rescale=2.0**-8,
    normalised=True,
    tile=1 << 30,  # no online softmax: scores are stored whole
    lag=0.0,
)

_FLOAT16_EAGER = _FLOAT16.with_(
    "float16-eager",
    input_rounding=2 * 2.0**-11,
    stored_score=2.0**-11,
    stored_times=3,
    stored_tiny=2.0**-25,
    exp=2.0**-11,
    rescale=2.0**-11,
    flush=2.0**-25,
    largest_score=_FLOAT16_MAX,
    normalised=True,
    tile=1 << 30,
    lag=0.0,
)

# Inputs and probabilities in e4m3 (4 significant bits, subnormals of 2^-9), sums in the 14-bit accumulators of
# the first float8 tensor cores, output in bfloat16.
_FLOAT8 = _BFLOAT16.with_(
    "float8-e4m3",
    storage="float8_e4m3fn",
    product=2.0**-13,
    accumulate=2.0**-13,
    probability=2.0**-4,
    probability_tiny=2.0**-10,
)

#: The named classes.
PRECISIONS: dict[str, Precision] = {
    each.name: each
    for each in (_FLOAT64, _FLOAT32, _TF32, _BFLOAT16, _FLOAT16, _BFLOAT16_EAGER, _FLOAT16_EAGER, _FLOAT8)
}


def precision(name: str | Precision) -> Precision:
    """The class called ``name`` (a :class:`Precision` as it is).  Raises ``ValueError`` naming the known ones.

    >>> precision("bfloat16").probability == 2.0**-8
    True
    """
    if isinstance(name, Precision):
        return name
    if name not in PRECISIONS:
        raise ValueError(f"unknown precision class {name!r}: expected one of {', '.join(PRECISIONS)}")
    return PRECISIONS[name]
