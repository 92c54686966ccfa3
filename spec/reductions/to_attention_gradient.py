"""From vectors to gradients of attention: one call decides (GRAD-4, GRAD-9, GRAD-10), or many do (GRAD-3).

Each right vector becomes a key with value 0, and one more key, with value 1, calibrates, as in OV-2.  With S_i the sum
of e^(s_ij − s_i0) over the right vectors, row i has p_i0 = 1/(1 + S_i), and p_i0(1 − p_i0) = S_i/(1 + S_i)² is at least
m/(m + 1)² where a_i has a partner and at most S_i elsewhere.  One coordinate of the queries, κ for every query and 0
for every key, enters no score; the gradient of the calibrator there is the sum of these numbers over all rows, without
cancellation.  More such coordinates hold the bits of the number of the row, and the last one is κ for one more query
alone, whose scores are all 0: its number in the gradient is the same whatever the vectors are, and an output that
misses it is refused (proofs_notes/attention_gradient_fast.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec.attention_gradient.instance import Instance
from assay.spec.attention_gradient.loss import Loss
from assay.spec.memory import require_memory
from assay.spec.problem import InvalidInstance, Provenance
from assay.spec.reductions.problems import GapMaxInnerProduct, Solutions
from assay.spec.reductions.reduction import Reduction, Sizes
from assay.spec.reductions.rounding import dtype_named, output_array, root_of_log, round_up

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.spec.instances.orthogonal_vectors import OrthogonalVectors

__all__ = ["GRAD_3", "GRAD_4", "GRAD_9", "GRAD_10", "Integral"]

_ROUNDED = Fraction(1, 2**20)  # what the nodes and the weights of a quadrature may lose in float64
_STEEPEST = 2**26  # the largest n(βd)²


def _sigma(d: int, scale: float | None) -> float:
    """The scale; ``None`` stands for the float64 nearest 1/d, d the number of coordinates of the vectors."""
    sigma = 1.0 / d if scale is None else float(scale)
    if not math.isfinite(sigma) or sigma == 0.0:
        raise InvalidInstance(f"scale {sigma!r}: expected a finite number other than 0")
    return sigma


def _entry(bound: int, sigma: float, beta: Fraction, dtype: str) -> Fraction:
    """κ, the least number of the type with |σ|κ² ≥ β·ln bound."""
    return round_up(root_of_log(bound, beta / abs(Fraction(sigma))), dtype)


def _digits(n: int) -> NDArray[np.uint8]:
    """(n, ⌈log₂ n⌉): the bits of every number below n, the lowest first."""
    return (np.arange(n)[:, None] >> np.arange((n - 1).bit_length()) & 1).astype(np.uint8)


def _number(bits: NDArray[np.bool_]) -> int:
    return int(sum(1 << position for position, bit in enumerate(bits) if bit))


def _levels(m: int, unit: Fraction) -> tuple[Fraction, Fraction]:
    """The cut between the two answers, and the accuracy: half the distance of m/(m + 1)² and 1/(16m), in units."""
    yes, no = Fraction(m, (m + 1) ** 2), Fraction(1, 16 * m)
    return unit * (yes + no) / 2, unit * (yes - no) / 2


# --- GRAD-4, GRAD-9: the vector–Jacobian product ----------------------------------------------------------------------


def _instance(
    query: NDArray[np.uint8], calibrator: NDArray[np.uint8], key: NDArray[np.int8], entry: Fraction, sigma: float,
    dtype: str, family: str,
) -> Instance:  # fmt: skip
    """Queries ∈ {0, 1} with a coordinate of ones and the bits of their numbers, the query of control behind them.

    Keys ∈ {0, ±1} are 0 in these coordinates and in the last one, in which the query of control alone is not.
    """
    kind, digits = dtype_named(dtype), _digits(len(query))
    n, m, d = len(query) + 1, len(key), query.shape[1] + 2 + digits.shape[1]
    require_memory(3 * (n + m + 1) * d * kind.itemsize, f"{n} queries and {m + 1} keys of {d} coordinates in {dtype}")
    kappa = np.array(float(entry)).astype(kind)
    queries = np.zeros((n, d), np.uint8)
    queries[:-1, :-1] = np.concatenate([query, np.ones((n - 1, 1), np.uint8), digits], axis=1)
    queries[-1, -1] = 1
    keys = np.zeros((m + 1, d), np.int8)
    keys[0, : len(calibrator)], keys[1:, : key.shape[1]] = calibrator, key
    value = np.zeros((m + 1, 1), kind)
    value[0] = 1
    return Instance(
        (queries.astype(kind) * kappa)[None, None],
        ((keys if sigma > 0 else -keys).astype(kind) * kappa)[None, None],  # the scores keep their sign
        value[None, None],
        np.ones((1, 1, n, 1), kind),
        scale=sigma,
        provenance=Provenance(family=family),
    )


def _unit(target: Instance) -> Fraction:
    """|σ|κ: what the sum of the p_i0(1 − p_i0) is multiplied with in the gradient of the calibrator."""
    assert target.scale is not None
    return abs(Fraction(target.scale)) * Fraction(float(target.query.max()))


def _decoded(target: Instance, output: Any, columns: int) -> tuple[bool, int, int]:
    """Whether some row has a partner, and, where one has: the number of its key, and of a row (it may be too large).

    ``columns``: those of the vectors; the next coordinate is that of ones.

    Raises ``ValueError`` for an output that misses the number of control by the accuracy or more: nothing that it says
    of the vectors could be believed.
    """
    gradient = output_array(output, target.key.shape)[0, 0]
    assert target.scale is not None
    gradient = gradient if target.scale > 0 else -gradient
    m, unit = len(gradient) - 1, _unit(target)
    cut, accuracy = _levels(m, unit)
    control = unit * Fraction(m, (m + 1) ** 2)
    if abs(Fraction(gradient[0, -1]) - control) >= accuracy:
        raise ValueError(
            f"no gradient within {float(accuracy):.3g}: the last number of the first key is {abs(gradient[0, -1]):.3g} "
            f"in size, and {float(control):.3g} whatever the vectors are"
        )
    if not Fraction(gradient[0, columns]) > cut:
        return False, 0, 0
    key = int(np.argmin(gradient[1:, columns]))
    along = gradient[key + 1, columns:-1]
    return True, key, _number(2 * np.abs(along[1:]) > abs(along[0]))


def _witness(
    left: NDArray[np.uint8], right: NDArray[np.uint8], row: int, key: int, threshold: int | None
) -> tuple[int, int] | None:
    """The pair that the gradient names; else one of its key; ``None`` if that has none, as large errors may cause.

    threshold: the inner product that is asked for; ``None`` for 0.
    """
    products = left.astype(np.int64) @ right[key]
    partner = products == 0 if threshold is None else products >= threshold
    if row < len(left) and partner[row]:
        return row, key
    return (int(partner.argmax()), key) if partner.any() else None


def _bound(n: int, m: int) -> int:
    return 16 * n * m * m


def _forward(source: OrthogonalVectors, scale: float | None = None, dtype: str = "float64") -> Instance:
    sigma = _sigma(source.d, scale)
    entry = _entry(_bound(source.n, source.m), sigma, Fraction(1), dtype)
    key = -source.right.view(np.int8)
    return _instance(source.left, np.zeros(0, np.uint8), key, entry, sigma, dtype, "GRAD-4")


def _decode(source: OrthogonalVectors, target: Instance, output: Any) -> Solutions:
    exists, key, row = _decoded(target, output, source.d)
    if not exists:
        return Solutions(False, 0, None)
    return Solutions(True, None, _witness(source.left, source.right, row, key, None))


def _measure(source: OrthogonalVectors) -> Sizes:
    return {"n": source.n, "m": source.m, "d": source.d}


def _sizes(sizes: Sizes, scale: float | None = None, dtype: str = "float64") -> Sizes:
    """n + 1 queries, m + 1 keys, coordinates of which 2 + ⌈log₂ n⌉ enter no score, and B = κ."""
    n, m, d = sizes["n"], sizes["m"], sizes["d"]
    entry = _entry(_bound(n, m), _sigma(d, scale), Fraction(1), dtype)
    return {"n": n + 1, "m": m + 1, "d": d + 2 + (n - 1).bit_length(), "B": entry}


GRAD_4 = Reduction(
    name="GRAD-4",
    claim="GRAD-4",
    source="orthogonal_vectors",
    target="attention_gradient",
    statement="OV-2 with σκ² ≥ ln 16nm²: dK of the calibrator, beside all scores, is ≥ σκm/(m+1)² or ≤ σκ/16m",
    forward=_forward,
    decoder=_decode,
    accuracy=lambda source, target: _levels(source.m, _unit(target))[1],
    sizes=_sizes,
    measure=_measure,
    preconditions=("scale is not 0", "κ = √(ln(16nm²)/|σ|) is a number of the type"),
    options=("scale", "dtype"),
    output="grad_key",
)


def _forward_gap(source: GapMaxInnerProduct, scale: float | None = None, dtype: str = "float64") -> Instance:
    (n, d), m, t = source.left.shape, len(source.right), source.threshold
    if not ((source.left.sum(axis=1) <= t).all() or (source.right.sum(axis=1) <= t).all()):
        largest = int((source.left.astype(np.int64) @ source.right.T.astype(np.int64)).max())
        if largest > t:
            raise InvalidInstance(f"an inner product of {largest}: expected at most the threshold {t}")
    sigma = _sigma(d + t, scale)
    entry = _entry(_bound(n, m), sigma, 1 / (source.gap * t), dtype)
    query = np.concatenate([source.left, np.ones((n, t), np.uint8)], axis=1)
    calibrator = np.concatenate([np.zeros(d, np.uint8), np.ones(t, np.uint8)])
    return _instance(query, calibrator, source.right.view(np.int8), entry, sigma, dtype, "GRAD-9")


def _decode_gap(source: GapMaxInnerProduct, target: Instance, output: Any) -> Solutions:
    exists, key, row = _decoded(target, output, source.left.shape[1] + source.threshold)
    if not exists:
        return Solutions(False, 0, None)
    return Solutions(True, None, _witness(source.left, source.right, row, key, source.threshold))


def _measure_gap(source: GapMaxInnerProduct) -> Sizes:
    n, d = source.left.shape
    return {"n": n, "m": len(source.right), "d": d, "threshold": source.threshold, "gap": source.gap}


def _sizes_gap(sizes: Sizes, scale: float | None = None, dtype: str = "float64") -> Sizes:
    n, m, t = sizes["n"], sizes["m"], sizes["threshold"]
    d = sizes["d"] + t
    entry = _entry(_bound(n, m), _sigma(d, scale), 1 / (Fraction(sizes["gap"]) * t), dtype)
    return {"n": n + 1, "m": m + 1, "d": d + 2 + (n - 1).bit_length(), "B": entry}


GRAD_9 = Reduction(
    name="GRAD-9",
    claim="GRAD-9",
    source="gap_max_inner_product",
    target="attention_gradient",
    statement="OV-4 with σκ² ≥ ln(16nm²)/(γt): the two levels of GRAD-4, entries Θ(√log n)",
    forward=_forward_gap,
    decoder=_decode_gap,
    accuracy=lambda source, target: _levels(len(source.right), _unit(target))[1],
    sizes=_sizes_gap,
    measure=_measure_gap,
    preconditions=(
        "scale is not 0",
        "κ = √(ln(16nm²)/(γt|σ|)) is a number of the type",
        "no inner product is above t, and every row has one of t, or all below (1 − γ)t",
    ),
    options=("scale", "dtype"),
    output="grad_key",
)


# --- GRAD-10: the loss of the paper, one call -------------------------------------------------------------------------


def _forward_loss(source: OrthogonalVectors, scale: float | None = None, dtype: str = "float64") -> Loss:
    sigma, n, m, d = _sigma(source.d, scale), source.n, source.m, source.d
    kappa = float(_entry(2 * _bound(n, m), sigma, Fraction(1), dtype))
    of_rows, of_keys = _digits(n), _digits(m)
    extra = 1 + max(of_rows.shape[1], of_keys.shape[1])
    left, right = np.zeros((n, d + extra), np.int8), np.zeros((m + 1, d + extra), np.int8)
    left[:, :d], left[:, d], left[:, d + 1 : d + 1 + of_rows.shape[1]] = source.left, 1, of_rows
    right[1:, :d], right[1:, d] = -source.right.view(np.int8), 1
    right[1:, d + 1 : d + 1 + of_keys.shape[1]] = of_keys
    value = np.zeros((m + 1, 1))
    value[0] = 1.0
    return Loss(
        left * kappa,
        (right if sigma > 0 else -right) * kappa,
        value,
        np.diag([1.0] * d + [0.0] * extra),
        np.ones((1, 1)),
        -np.ones((n, 1)),
        sigma,
    )


def _unit_loss(target: Loss) -> Fraction:
    return abs(Fraction(target.scale)) * Fraction(float(target.queries.max())) ** 2


def _decode_loss(source: OrthogonalVectors, target: Loss, output: Any) -> Solutions:
    d = source.d
    gradient = -output_array(output, target.weights.shape)
    if not Fraction(gradient[d, d]) > _levels(source.m, _unit_loss(target))[0]:
        return Solutions(False, 0, None)
    half = gradient[d, d] / 2
    row = _number(gradient[d + 1 : d + 1 + (source.n - 1).bit_length(), d] > half)
    key = _number(gradient[d, d + 1 : d + 1 + (source.m - 1).bit_length()] > half)
    return Solutions(True, None, _witness(source.left, source.right, row, key, None) if key < source.m else None)


def _sizes_loss(sizes: Sizes, scale: float | None = None, dtype: str = "float64") -> Sizes:
    n, m, d = sizes["n"], sizes["m"], sizes["d"]
    entry = _entry(2 * _bound(n, m), _sigma(d, scale), Fraction(1), dtype)
    return {"n": n, "m": m + 1, "d": d + 1 + (max(n, m) - 1).bit_length(), "B": entry}


GRAD_10 = Reduction(
    name="GRAD-10",
    claim="GRAD-10",
    source="orthogonal_vectors",
    target="loss_gradient",
    statement="A₁ = κ(a, 1), A₂ = κ(−b, 1), X = diag(1, …, 1, 0), E = −1: one entry of dL/dX is that of GRAD-4",
    forward=_forward_loss,
    decoder=_decode_loss,
    accuracy=lambda source, target: _levels(source.m, _unit_loss(target))[1],
    sizes=_sizes_loss,
    measure=_measure,
    preconditions=("scale is not 0", "κ = √(ln(32nm²)/|σ|) is a number of the type"),
    options=("scale", "dtype"),
    output="gradient",
)


# --- GRAD-3: the loss of the paper, by its own route ------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Integral:
    """Many calls of the gradient of one loss, at X = t·1 for the nodes t of a quadrature.

    losses: one instance for each node.  nodes, weights (calls,): of the composite Gauss–Legendre rule on [0, 1].
    An output is (calls, d, d), the gradients; the sum of weight·trace is φ(1) − φ(0) of GRAD-3.
    """

    losses: tuple[Loss, ...]
    nodes: NDArray[np.float64]
    weights: NDArray[np.float64]


def _rule(n: int, beta: Fraction, d: int) -> tuple[int, int]:
    """Panels and nodes a panel: ⌈2βd/π⌉ and ⌈log₉(12nβd)⌉."""
    product = float(beta) * d * (1.0 + 1e-12)
    return math.ceil(2.0 * product / math.pi), max(2, math.ceil(math.log(12.0 * n * product, 9) * (1.0 + 1e-12)))


def _beta(source: OrthogonalVectors) -> tuple[Fraction, Fraction]:
    """κ, and β = σκ² ≥ ln 8nm, with σ = 1/d in float64."""
    sigma = _sigma(source.d, None)
    entry = _entry(8 * source.n * source.m, sigma, Fraction(1), "float64")
    return entry, Fraction(sigma) * entry**2


def _forward_integral(source: OrthogonalVectors) -> Integral:
    n, m, d = source.n, source.m, source.d
    entry, beta = _beta(source)
    if n * (beta * d) ** 2 > _STEEPEST:
        raise InvalidInstance(f"n(βd)² of {float(n * (beta * d) ** 2):.3g}: expected at most {_STEEPEST}")
    panels, nodes = _rule(n, beta, d)
    require_memory(16 * panels * nodes * d * d, f"{panels * nodes} gradients of {d} × {d}")
    points, weights = np.polynomial.legendre.leggauss(nodes)
    at = ((np.arange(panels)[:, None] + (points + 1.0) / 2.0) / panels).ravel()
    kappa = float(entry)
    left = source.left.astype(np.float64) * kappa
    right = np.concatenate([np.zeros((1, d)), -source.right.astype(np.float64) * kappa])
    value = np.zeros((m + 1, 1))
    value[0] = 1.0
    goal, one, sigma = np.zeros((n, 1)), np.ones((1, 1)), _sigma(d, None)
    losses = tuple(Loss(left, right, value, np.eye(d) * t, one, goal, sigma) for t in at.tolist())
    return Integral(losses, at, np.tile(weights / (2.0 * panels), panels))


def _decode_integral(source: OrthogonalVectors, target: Integral, output: Any) -> Solutions:
    calls, d = len(target.nodes), source.d
    gradients = output_array(output, (calls, d, d))
    trace = gradients[:, np.arange(d), np.arange(d)].sum(axis=1)
    parts = (Fraction(w) * Fraction(x) for w, x in zip(target.weights.tolist(), trace.tolist(), strict=True))
    total = sum(parts, Fraction(0))
    start = Fraction(source.n, 2 * (source.m + 1) ** 2)  # φ(0)
    exists = start + total < Fraction(source.n, 2) - Fraction(1, 4)
    return Solutions(exists, None if exists else 0, None)


def _sizes_integral(sizes: Sizes) -> Sizes:
    n, m, d = sizes["n"], sizes["m"], sizes["d"]
    sigma = Fraction(_sigma(d, None))
    entry = _entry(8 * n * m, float(sigma), Fraction(1), "float64")
    panels, nodes = _rule(n, sigma * entry**2, d)
    return {"n": n, "m": m + 1, "d": d, "B": entry, "calls": panels * nodes}


GRAD_3 = Reduction(
    name="GRAD-3",
    claim="GRAD-3",
    source="orthogonal_vectors",
    target="loss_integral",
    statement="X = t·1, E = 0, σκ² ≥ ln 8nm: ∫ tr dL/dX dt over ⌈2βd/π⌉ panels tells n/2 − 3/8 from n/2 − 1/8",
    forward=_forward_integral,
    decoder=_decode_integral,
    accuracy=lambda source, target: (Fraction(1, 16) - _ROUNDED) / source.d,
    sizes=_sizes_integral,
    measure=_measure,
    preconditions=("κ = √(d ln 8nm) is a float64 number", "n(βd)² is at most 2^26"),
    output="gradients",
)
