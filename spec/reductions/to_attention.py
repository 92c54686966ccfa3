"""From vectors to attention: OV-2 decides, OV-3 counts, OV-4 needs only entries Θ(√log n) (Alman and Song 2023).

Each right vector becomes a key with value 0.  One more key, with value 1, calibrates: the output of a query is
1/(1 + Σ_j e^(s_j − s_0)).  Entries are 0 and ±κ, where κ is rounded *up* to the number type.  Then the scores of
solutions stay exactly what they were, and all others only fall (proofs_notes/reductions.md, OV-2).
"""

from __future__ import annotations

import functools
import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec.attention.instance import Instance
from assay.spec.memory import require_memory
from assay.spec.problem import InvalidInstance, Provenance
from assay.spec.reductions.problems import GapMaxInnerProduct, Solutions
from assay.spec.reductions.reduction import Reduction, Sizes
from assay.spec.reductions.rounding import above, dtype_named, floor_float, output_array, root_of_log, round_up

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.spec.instances.orthogonal_vectors import OrthogonalVectors

__all__ = ["OV_2", "OV_3", "OV_4", "counting_accuracy", "counting_cuts"]

_CUT = Fraction(13, 20)  # between 1/2 and 4/5
_DECIDING = Fraction(3, 20)
_OPTIONS = ("scale", "dtype")


def _factor(d: int, scale: float | None, beta: Fraction) -> Fraction:
    """β′/|σ|, where κ² must be at least this times ln 4m.  ``scale`` None stands for the float64 nearest 1/d."""
    sigma = 1.0 / d if scale is None else float(scale)
    if not math.isfinite(sigma) or sigma == 0.0:
        raise InvalidInstance(f"scale {sigma!r}: expected a finite number other than 0")
    return beta / abs(Fraction(sigma))


def _entry(m: int, d: int, scale: float | None, beta: Fraction, dtype: str) -> Fraction:
    """κ, the least number of the type with |σ|κ² ≥ β′·ln 4m."""
    return round_up(root_of_log(4 * m, _factor(d, scale, beta)), dtype)


def _instance(
    query: NDArray[np.uint8],
    calibrator: NDArray[np.uint8],
    key: NDArray[np.int8],
    entry: Fraction,
    scale: float | None,
    dtype: str,
    family: str,
) -> Instance:
    """The instance with entries κ from query ∈ {0, 1} and keys ∈ {0, ±1}; the first key is the calibrator."""
    kind = dtype_named(dtype)
    n, d = query.shape
    m = len(key)
    require_memory(3 * (n + m + 1) * d * kind.itemsize, f"{n} queries and {m + 1} keys of {d} coordinates in {dtype}")
    kappa = np.array(float(entry), dtype=np.float64).astype(kind)
    keys = np.concatenate([calibrator[None, :].astype(np.int8), key])
    sigma = 1.0 / d if scale is None else float(scale)
    if sigma < 0:
        keys = -keys  # the scores keep their sign
    value = np.zeros((m + 1, 1), dtype=kind)
    value[0] = 1
    return Instance(
        (query.astype(kind) * kappa)[None, None],
        (keys.astype(kind) * kappa)[None, None],
        value[None, None],
        scale=sigma,
        provenance=Provenance(family=family),
    )


def _output(instance: Instance, output: Any) -> NDArray[Any]:
    """(n,): one number for each query, from an output (1, 1, n, 1)."""
    return output_array(output, (1, 1, instance.query.shape[2], 1)).reshape(-1)


# --- OV-2, OV-3 -------------------------------------------------------------------------------------------------------


def _forward(source: OrthogonalVectors, family: str, scale: float | None, dtype: str) -> Instance:
    entry = _entry(source.m, source.d, scale, Fraction(1), dtype)
    key = -source.right.view(np.int8)
    return _instance(source.left, np.zeros(source.d, np.uint8), key, entry, scale, dtype, family)


def _measure(source: OrthogonalVectors) -> Sizes:
    return {"n": source.n, "m": source.m, "d": source.d}


def _sizes(sizes: Sizes, scale: float | None = None, dtype: str = "float64") -> Sizes:
    """The sizes of the target: n queries, m + 1 keys, and B = κ."""
    return {
        "n": sizes["n"],
        "m": sizes["m"] + 1,
        "d": sizes["d"],
        "B": _entry(sizes["m"], sizes["d"], scale, Fraction(1), dtype),
    }


def _witness(source: OrthogonalVectors, rows: NDArray[np.bool_]) -> tuple[int, int] | None:
    """A pair of the first row that has a partner according to the output; ``None`` if it has none."""
    if not rows.any():
        return None
    i = int(rows.argmax())
    partner = ~(source.right & source.left[i]).any(axis=1)
    return (i, int(partner.argmax())) if partner.any() else None


def _decode_existence(source: OrthogonalVectors, target: Instance, output: Any) -> Solutions:
    rows = ~above(_output(target, output), _CUT)
    exists = bool(rows.any())
    return Solutions(exists, None if exists else 0, _witness(source, rows))


OV_2 = Reduction(
    name="OV-2",
    claim="OV-2",
    source="orthogonal_vectors",
    target="attention",
    statement="Q = κa, K = −κb, σκ² ≥ ln 4m: output ≤ 1/2 where a has an orthogonal b, ≥ 4/5 elsewhere",
    forward=lambda source, scale=None, dtype="float64": _forward(source, "OV-2", scale, dtype),
    decoder=_decode_existence,
    accuracy=lambda source, target: _DECIDING,
    sizes=_sizes,
    measure=_measure,
    preconditions=("scale is not 0", "κ = √(ln(4m)/|σ|) is a number of the type"),
    options=_OPTIONS,
)


def counting_accuracy(m: int) -> Fraction:
    """The accuracy of OV-3, (4m − 1)/(2(4m² + 1)(m + 1)): half the narrowest gap, which is between m − 1 and m."""
    return Fraction(4 * m - 1, 2 * (4 * m * m + 1) * (m + 1))


def counting_cuts(m: int) -> list[Fraction]:
    """The cuts c_p of OV-3, each the middle of the gap between p + 1 and p partners, for p = 0 … m − 1; they fall."""
    # p + 1 partners: at most 1/(2 + p); p partners: at least 1/(1 + p + ρ) with ρ = (m − p)/4m
    return [(Fraction(1, 2 + p) + Fraction(4 * m, 4 * m * (1 + p) + m - p)) / 2 for p in range(m)]


@functools.lru_cache(maxsize=8)
def _float_cuts(m: int) -> NDArray[np.float64]:
    """The largest float64 up to each cut: a float64 number exceeds it iff it exceeds the cut."""
    return np.array([floor_float(cut) for cut in counting_cuts(m)])


def _decode_count(source: OrthogonalVectors, target: Instance, output: Any) -> Solutions:
    values = _output(target, output)
    if values.dtype == object:
        cuts = counting_cuts(source.m)
        counts = np.sum([~above(values, cut) for cut in cuts], axis=0)
    else:
        counts = np.searchsorted(-_float_cuts(source.m), -values, side="right")
    count = int(counts.sum())
    return Solutions(count > 0, count, _witness(source, counts > 0))


OV_3 = Reduction(
    name="OV-3",
    claim="OV-3",
    source="orthogonal_vectors",
    target="attention",
    statement="the instance of OV-2; 1/output − 1 counts the partners of a",
    forward=lambda source, scale=None, dtype="float64": _forward(source, "OV-3", scale, dtype),
    decoder=_decode_count,
    accuracy=lambda source, target: counting_accuracy(source.m),
    sizes=_sizes,
    measure=_measure,
    preconditions=OV_2.preconditions,
    counts=True,
    options=_OPTIONS,
)


# --- OV-4 -------------------------------------------------------------------------------------------------------------


def _forward_gap(source: GapMaxInnerProduct, scale: float | None = None, dtype: str = "float64") -> Instance:
    n, d = source.left.shape
    t = source.threshold
    entry = _entry(len(source.right), d + t, scale, 1 / (source.gap * t), dtype)
    query = np.concatenate([source.left, np.ones((n, t), np.uint8)], axis=1)
    key = np.concatenate([source.right, np.zeros((len(source.right), t), np.uint8)], axis=1).view(np.int8)
    calibrator = np.concatenate([np.zeros(d, np.uint8), np.ones(t, np.uint8)])
    return _instance(query, calibrator, key, entry, scale, dtype, "OV-4")


def _measure_gap(source: GapMaxInnerProduct) -> Sizes:
    n, d = source.left.shape
    return {"n": n, "m": len(source.right), "d": d, "threshold": source.threshold, "gap": source.gap}


def _sizes_gap(sizes: Sizes, scale: float | None = None, dtype: str = "float64") -> Sizes:
    d, t = sizes["d"] + sizes["threshold"], sizes["threshold"]
    bound = _entry(sizes["m"], d, scale, 1 / (Fraction(sizes["gap"]) * t), dtype)
    return {"n": sizes["n"], "m": sizes["m"] + 1, "d": d, "B": bound}


def _decode_gap(source: GapMaxInnerProduct, target: Instance, output: Any) -> Solutions:
    rows = ~above(_output(target, output), _CUT)
    if not rows.any():
        return Solutions(False, 0, None)
    i = int(rows.argmax())
    products = source.right.astype(np.int64) @ source.left[i]
    j = int(products.argmax())
    return Solutions(True, int(rows.sum()), (i, j) if products[j] >= source.threshold else None)


OV_4 = Reduction(
    name="OV-4",
    claim="OV-4",
    source="gap_max_inner_product",
    target="attention",
    statement="Q = κ(a, 1_t), K_0 = κ(0, 1_t), K = κ(b, 0), σκ² ≥ ln(4m)/(γt): the outputs of OV-2, entries Θ(√log n)",
    forward=_forward_gap,
    decoder=_decode_gap,
    accuracy=lambda source, target: _DECIDING,
    sizes=_sizes_gap,
    measure=_measure_gap,
    preconditions=(*OV_2.preconditions, "every row has an inner product of at least t, or all below (1 − γ)t"),
    counts=True,
    options=_OPTIONS,
)
