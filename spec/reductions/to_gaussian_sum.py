"""From vectors to sums of Gaussians (OV-6): the gadget points of OV-5 and a decay of ½ ln 4m."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from assay.spec.memory import require_memory
from assay.spec.problem import Provenance
from assay.spec.reductions.gaussian_sum import GaussianSum
from assay.spec.reductions.pairs import gadgets
from assay.spec.reductions.problems import Solutions
from assay.spec.reductions.reduction import Reduction, Sizes
from assay.spec.reductions.rounding import above, exp_bounds, log_bounds, output_array, round_up

if TYPE_CHECKING:
    from fractions import Fraction

    from assay.spec.instances.orthogonal_vectors import OrthogonalVectors

__all__ = ["OV_6"]


def _decay(m: int) -> Fraction:
    """λ, the least float64 with 2λ ≥ ln 4m."""
    return round_up(log_bounds(4 * m)[1] / 2, "float64")


def _forward(source: OrthogonalVectors) -> GaussianSum:
    size = 8 * (source.n + source.m) * source.d
    require_memory(size, f"{source.n} and {source.m} points of {4 * source.d} coordinates")
    queries, points = gadgets(source)
    decay = _decay(source.m)
    return GaussianSum(queries, points, decay.numerator, decay.denominator, provenance=Provenance(family="OV-6"))


def _levels(d: int, decay: Fraction) -> tuple[Fraction, Fraction]:
    """(yes, no): a sum is at least ``yes`` where there is a partner, and at most ``no`` where there is none."""
    low, high = exp_bounds(-2 * decay * d)
    return low, high / 4


def _cut(source: OrthogonalVectors, target: GaussianSum) -> Fraction:
    yes, no = _levels(source.d, target.decay)
    return (yes + no) / 2


def _accuracy(source: OrthogonalVectors, target: GaussianSum) -> Fraction:
    yes, no = _levels(source.d, target.decay)
    return (yes - no) / 2


def _decode(source: OrthogonalVectors, target: GaussianSum, output: Any) -> Solutions:
    rows = above(output_array(output, (source.n,)), _cut(source, target))
    if not rows.any():
        return Solutions(False, 0, None)
    i = int(rows.argmax())
    partner = ~(source.right & source.left[i]).any(axis=1)
    return Solutions(True, None, (i, int(partner.argmax())) if partner.any() else None)


def _measure(source: OrthogonalVectors) -> Sizes:
    return {"n": source.n, "m": source.m, "d": source.d}


OV_6 = Reduction(
    name="OV-6",
    claim="OV-6",
    source="orthogonal_vectors",
    target="gaussian_sum",
    statement="the gadgets of OV-5 and 2λ ≥ ln 4m: e^(2λd)·sum ≥ 1 where a has an orthogonal b, ≤ 1/4 elsewhere",
    forward=_forward,
    decoder=_decode,
    accuracy=_accuracy,
    sizes=lambda sizes: {"n": sizes["n"], "m": sizes["m"], "d": 4 * sizes["d"], "B": 1, "decay": _decay(sizes["m"])},
    measure=_measure,
    output="sums",
)
