"""A problem of one's own in one file: the weighted sum of every row of a matrix, Σ_j w_j x_ij.

docs/adding-a-problem.md explains it part by part.  ``assay check weighted_sum:exact --problem weighted_sum:SUITE``, run
in this folder, judges a right kernel; the wrong ones are at the end.
"""

import sys
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.conformance.diagnosis.meanings import Meaning, solves
from assay.conformance.interface.interface import Capability, Form, Interface
from assay.conformance.interface.steps import Output, Script, Step
from assay.conformance.interface.suite import Family, Row, Suite, rows
from assay.spec import instance as declared
from assay.spec.criterion import Criterion, close
from assay.spec.enclosure import Enclosure
from assay.spec.precision import PRECISIONS as CLASSES
from assay.spec.precision import Precision
from assay.spec.problem import Law, Provenance
from assay.spec.rounding import gamma

# --- what is right: in a room of its own this is spec/<problem>/ ---

NAME = "weighted_sum"
OUTPUTS = ("total",)
LAWS: tuple[Law, ...] = ()
PRECISIONS = {"float32": CLASSES["float32"]}


@dataclass(frozen=True, eq=False)
class Instance(declared.Instance):
    """points: (rows, columns).  weights: (columns,), of the same type.  absolute: |x_ij| takes the place of x_ij."""

    problem = NAME
    points: NDArray[Any] = declared.array("rows columns")
    weights: NDArray[Any] = declared.array("columns", like="points")
    absolute: bool = False


def terms(instance: Instance) -> NDArray[Any]:
    """w_j·x_ij as exact rational numbers: (rows, columns)."""
    exact = np.vectorize(Fraction, otypes=[object])
    points = np.abs(instance.points) if instance.absolute else instance.points
    return exact(points.astype(float)) * exact(instance.weights.astype(float))


def define(instance: Instance, relative: float = 1e-12, output: str = "total") -> Enclosure:
    """The exact sum, rounded once to the nearest float64; the radius is the distance of two neighbours there."""
    total = terms(instance).sum(axis=1).astype(float)
    return Enclosure(total, np.spacing(np.abs(total)))


def tolerance(instance: Instance, precision: Precision, output: str = "total") -> NDArray[np.float64]:
    """γ_n Σ_j |w_j x_ij| and a share for tiny numbers, in any order of summation; +inf where a sum may overflow.

    A term passes through one product and at most n − 1 sums, n roundings in all.  Each input and each of these 2n
    operations may also lose what lies below the smallest normal number.
    """
    n = instance.weights.size
    size = np.abs(terms(instance)).sum(axis=1).astype(float) * (1 + 2.0**-50)
    inputs = np.abs(instance.points).astype(float).sum(axis=1) + float(np.abs(instance.weights).astype(float).sum())
    allowed = gamma(n, precision.product) * size + 2 * precision.tiny * (2 * n + inputs)
    return np.where(2 * size < precision.largest, allowed, np.inf)


def criteria(instance: Instance, precision: Precision) -> dict[str, Criterion]:
    """``total`` is close to the exact sum."""
    return {"total": close(define(instance), tolerance(instance, precision))}


# --- what judges: in a room of its own this is conformance/<problem>/ ---


def script(instance: Instance, kernel: Any, precision: Precision) -> Script:
    """One call, with the keyword ``absolute`` only where the instance asks for it."""
    keywords = {"absolute": True} if instance.absolute else {}
    total = Output("total", instance.points.shape[:1], (precision.result,), ("rows",))
    return (Step(tuple(instance.arrays().items()), keywords, (total,)),)


def build(row: Row, provenance: Provenance, precision: Precision) -> Instance:
    """The instance of a row of the table: standard normal numbers, or equal ones."""
    rng = np.random.default_rng(provenance.seed)
    shape = tuple(int(length) for length in row.size.split("x"))
    points = rng.standard_normal(shape) if row.pattern == "normal" else np.full(shape, 0.1)
    arrays = (numbers.astype(precision.storage) for numbers in (points, rng.standard_normal(shape[1])))
    return Instance(*arrays, absolute="absolute" in row.options, provenance=provenance)


def without_the_last(instance: Instance) -> Instance:
    """The same with a last weight of 0."""
    weights = instance.weights.copy()
    weights[-1] = 0
    return instance.replace(weights=weights)


MEANINGS = (
    Meaning("last-column", "the last column is left out", solves(without_the_last)),
    Meaning("sign", "absolute is ignored", solves(lambda i: i.replace(absolute=False) if i.absolute else None)),
)

SUITE = Suite(
    problem=NAME,
    spec=sys.modules[__name__],  # type: ignore[arg-type]
    interface=Interface(
        forms=(Form(("points", "weights"), "(points, weights, *, absolute=False)"),),
        script=script,
        capabilities=(Capability("absolute", lambda instance: instance.absolute, ("absolute",)),),
    ),
    criteria=lambda instance, kernel, precision: criteria(instance, precision),
    table=(
        (Family("tails", "the last columns are left out", "this page"), rows("smoke", "normal", "1x1 3x17 2x100")),
        (Family("long", "the sum is kept in a short type", "this page"), rows("smoke", "equal", "1x3000")),
        (Family("signs", "the option is ignored", "this page"), rows("smoke", "normal", "4x5", "absolute")),
    ),
    build=build,
    meanings=MEANINGS,
)

# --- who is judged: in a room of its own this is tests/bank/ ---


def exact(points: NDArray[Any], weights: NDArray[Any], *, absolute: bool = False) -> NDArray[Any]:
    """A right kernel."""
    return (np.abs(points) if absolute else points) @ weights


def backwards(points: NDArray[Any], weights: NDArray[Any]) -> NDArray[Any]:
    """A right kernel without the option, which sums one column after the other, the last one first."""
    total = np.zeros(len(points), points.dtype)
    for j in reversed(range(len(weights))):
        total = total + points[:, j] * weights[j]
    return total


def dropping(points: NDArray[Any], weights: NDArray[Any]) -> NDArray[Any]:
    """A wrong kernel: it leaves out the last column."""
    return points[:, :-1] @ weights[:-1]


def signed(points: NDArray[Any], weights: NDArray[Any], *, absolute: bool = False) -> NDArray[Any]:
    """A wrong kernel: it ignores the option."""
    return points @ weights
