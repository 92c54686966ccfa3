"""Classes of machine arithmetic: what a machine rounds, whatever it computes.

A :class:`Precision` is data: the types of inputs and outputs, and the unit roundoff of every kind of operation.  What a
*kernel* of some problem rounds in its own stages, such as the probabilities of a softmax, follows from that: a
dataclass of that problem's room (:class:`StageRoundings`) derives it from the machine, and a class may override it.
Tolerances (``assay.spec.<problem>.tolerance``) are functions of these numbers, proved in proofs_notes; no other
constant enters.  Rounding to nearest with p bits has the unit roundoff 2^-p; truncation has 2^(1-p).
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["PRECISIONS", "Precision", "StageRoundings", "precision", "reference_accuracy"]


class StageRoundings(Protocol):
    """What a kernel of one problem rounds in its own stages: a frozen dataclass of that problem's room."""

    @classmethod
    def usual(cls, precision: Precision) -> Self:
        """The roundings of these stages on a machine of that class."""
        ...


S = TypeVar("S", bound=StageRoundings)

#: Names of types as frameworks abbreviate them: fp32, bf16-eager, half.
_WRITTEN_OUT = {
    **{f"{f}{bits}": f"float{bits}" for f in ("fp", "f") for bits in (16, 32, 64)},
    "bf16": "bfloat16",
    "half": "float16",
    "single": "float32",
    "float": "float32",
    "double": "float64",
}
_ALIKE = 0.8  # how alike, as difflib measures it, two names are of which one may be the other misspelt
_ABBREVIATED = re.compile(rf"^({'|'.join(_WRITTEN_OUT)})($|-.*)")


@dataclass(frozen=True)
class Precision:
    """A class of machine arithmetic.  Errors are relative unless said otherwise.

    stages: the roundings of some problem's own stages, where they are not the usual ones of this machine.
    """

    name: str
    storage: str  # dtype of the inputs (a NumPy or ml_dtypes name)
    result: str  # dtype of the outputs
    input_rounding: float  # u_in: of a stored input on entry to a matrix product (tf32 cuts it)
    product: float  # u_mm: products and sums of a matrix product of inputs, and elementwise arithmetic on its results
    accumulate: float  # u_acc: products and sums of a matrix product of intermediate results
    working: float  # u_w: of a number that is stored in the type of the sums
    elementary: float  # ε_f: of exp, log, tanh, sin and cos of a library in the type of the sums
    operand: float  # u_p: of an intermediate result on entry to a matrix product
    operand_tiny: float  # τ_p: the absolute part of it (gradual underflow)
    stored: float  # u_s: of an intermediate result that is stored between two operations; 0 where they are fused
    stored_tiny: float  # τ_s: the absolute part of it
    output: float  # u_out: of the output
    output_tiny: float  # τ_out: the absolute part of it
    tiny: float  # smallest normal number of products and accumulators: below it results may be flushed to zero
    largest: float  # largest finite number of products and accumulators
    largest_output: float  # … of the output
    least_factor: float = 0.0  # ℓ: where a matrix unit aligns products, a factor counts as at least this, and
    at_once: int = 16  # s: so many products are added at once at most
    stages: tuple[StageRoundings, ...] = ()

    @property
    def alignment(self) -> float:
        """χ = s·u·ℓ: what products with a subnormal factor may lose more, in units of the other factor (TOL-1).

        >>> precision("float32").alignment, precision("float16").alignment == 20 * 2.0**-37
        (0.0, True)
        """
        return self.at_once * max(self.product, self.accumulate) * self.least_factor

    def of(self, kind: type[S]) -> S:
        """The roundings of the stages that ``kind`` describes: those of this class, else what is usual for it."""
        return next((stage for stage in self.stages if isinstance(stage, kind)), None) or kind.usual(self)

    def with_(self, name: str, kind: type[StageRoundings] | None = None, /, **changes: object) -> Precision:
        """A class of the user: this one under another name with some entries changed.

        kind: the entries are those of the stages that it describes, and not of the machine.
        Raises ``TypeError`` for an entry that does not exist.

        >>> from assay.spec.softmax.rounding import Softmax
        >>> mine = precision("bfloat16").with_("mine", Softmax, exp=2.0**-9)
        >>> mine.of(Softmax).exp == 2.0**-9, mine.output == precision("bfloat16").output
        (True, True)
        """
        if kind is None:
            return dataclasses.replace(self, name=name, **changes)  # type: ignore[arg-type]
        stage: Any = self.of(kind)
        others = tuple(other for other in self.stages if not isinstance(other, kind))
        return dataclasses.replace(self, name=name, stages=(*others, dataclasses.replace(stage, **changes)))


_FLOAT32_MAX = (2.0 - 2.0**-23) * 2.0**127
_FLOAT64_MAX = (2.0 - 2.0**-52) * 2.0**1023
_BFLOAT16_MAX = (2.0 - 2.0**-7) * 2.0**127
_FLOAT16_MAX = 65504.0

_FLOAT32 = Precision(
    name="float32",
    storage="float32",
    result="float32",
    input_rounding=0.0,
    product=2.0**-24,
    accumulate=2.0**-24,
    working=2.0**-24,
    elementary=8 * 2.0**-24,  # four ulps: NumPy documents 2.52 for its float32 exp
    operand=0.0,
    operand_tiny=0.0,
    stored=0.0,
    stored_tiny=0.0,
    output=0.0,
    output_tiny=0.0,
    tiny=2.0**-126,
    largest=_FLOAT32_MAX,
    largest_output=_FLOAT32_MAX,
)

_FLOAT64 = _FLOAT32.with_(
    "float64",
    storage="float64",
    result="float64",
    product=2.0**-53,
    accumulate=2.0**-53,
    working=2.0**-53,
    elementary=8 * 2.0**-53,
    tiny=2.0**-1022,
    largest=_FLOAT64_MAX,
    largest_output=_FLOAT64_MAX,
)

# Matrix units multiply exactly and add with truncation (Fasi, Higham, Mikaitis, Pranesh 2021), and ignore the low bits
# of a float32 operand in tf32 mode: hence 2^-23 for accumulation and 2^-10 on entry.  A block of k ≥ 4 products and the
# running sum are k + 1 addends that are cut to the largest: 5/4 units a product.  A subnormal factor counts as if it
# were normal there (Khattak, Mikaitis 2025); in bfloat16 and tf32 this is within what K8 grants.
_TENSOR_CORE = _FLOAT32.with_("tensor core", product=1.25 * 2.0**-23, accumulate=1.25 * 2.0**-23)

_TF32 = _TENSOR_CORE.with_("tf32", input_rounding=2.0**-10, operand=2.0**-10)

_BFLOAT16 = _TENSOR_CORE.with_(
    "bfloat16",
    storage="bfloat16",
    result="bfloat16",
    operand=2.0**-8,
    output=2.0**-8,
    largest_output=_BFLOAT16_MAX,
)

_FLOAT16 = _BFLOAT16.with_(
    "float16",
    storage="float16",
    result="float16",
    operand=2.0**-11,
    operand_tiny=2.0**-25,
    output=2.0**-11,
    output_tiny=2.0**-25,
    largest_output=_FLOAT16_MAX,
    least_factor=2.0**-14,
)

# Operations that are called one after the other: each stores its result in the type of the output.
_BFLOAT16_EAGER = _BFLOAT16.with_("bfloat16-eager", stored=2.0**-8)

_FLOAT16_EAGER = _FLOAT16.with_("float16-eager", stored=2.0**-11, stored_tiny=2.0**-25)

# Inputs and operands in e4m3 (4 significant bits, subnormals of 2^-9), sums in the 14-bit accumulators of the first
# float8 tensor cores, output in bfloat16.
_FLOAT8 = _BFLOAT16.with_(
    "float8-e4m3",
    storage="float8_e4m3fn",
    product=2.0**-13,
    accumulate=2.0**-13,
    operand=2.0**-4,
    operand_tiny=2.0**-10,
    least_factor=2.0**-6,
    at_once=32,
)

#: The named classes that problems share.  A problem says in its own ``PRECISIONS`` which of them make sense for it.
PRECISIONS: Mapping[str, Precision] = {
    machine.name: machine
    for machine in (_FLOAT64, _FLOAT32, _TF32, _BFLOAT16, _FLOAT16, _BFLOAT16_EAGER, _FLOAT16_EAGER, _FLOAT8)
}


def precision(name: str | Precision, among: Mapping[str, Precision] = PRECISIONS) -> Precision:
    """The class called ``name`` (a :class:`Precision` as it is).

    among: where to look: the shared classes, or the ``PRECISIONS`` of a problem, which may have classes of its own.
    Raises ``ValueError`` naming the known ones.

    >>> precision("bfloat16").output == 2.0**-8
    True
    """
    if isinstance(name, Precision):
        return name
    if name not in among:
        meant = _ABBREVIATED.sub(lambda short: _WRITTEN_OUT[short[1]] + short[2], name.lower())
        close = [meant] if meant in among else difflib.get_close_matches(meant, list(among), 3, _ALIKE)
        hint = f" (did you mean {' or '.join(close)}?)" if close else ""
        raise ValueError(f"unknown precision class {name!r}{hint}: expected one of {', '.join(among)}")
    return among[name]


def reference_accuracy(precision_: str | Precision) -> float:
    """The relative radius of a reference that costs a class less than a thousandth of its tolerance."""
    return min(2.0**-10 * precision(precision_).product, 2.0**-34)
