"""The certificate of the fast gradient: what its three results may err, as computed (GRAD-5 and GRAD-7)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assay.impl.cpu.attention.plan import SLACK, U
from assay.impl.cpu.attention_gradient.sweeps import roundings
from assay.impl.cpu.features import BLOCK, extent
from assay.spec.attention.perturbation import output_error
from assay.spec.rounding import gamma

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.impl.cpu.attention.heads import Head
    from assay.impl.cpu.attention_gradient.passes import Sums
    from assay.impl.cpu.attention_gradient.plan import Plan

    Array = NDArray[np.float64]

__all__ = ["Bounds", "Sizes", "bounds", "sizes"]

STORED = {"float32": (2.0**-24, 2.0**-149), "float64": (0.0, 2.0**-1074)}  # rounding of a result: relative, absolute
_MOST_GROWTH = 2.0**600  # the largest sum of features that is certified: far from overflow
_LONGEST = 2.0**8  # the largest norm of queries that is certified
_VANISHED = 2.0**-280  # what underflow may cost, in units of the plan, for each point
_LEAST_SHARE = 1.0 / 16.0  # the largest ρ that is certified


@dataclass(frozen=True, eq=False)
class Sizes:
    """Sizes of the numbers of one head, each bounded from above.

    reach (group, n_q): r_i, the sum of |dO_ic|·range(V_c).  query (d,): Q_c ≥ |q_ic|.  grad (d_v,): A_c ≥ |dO_ic|.
    key (d,): |k_jc − centre_c|.  ranges (d,): range of each column of the keys.
    weights (group, n_q, 3): w_i = max_c |dO_ic|/A_c, u_i = max_c |q_ic|/Q_c, and H_i, the sum of |dO_ic|·a_c.
    """

    reach: Array
    query: Array
    grad: Array
    key: Array
    ranges: Array
    weights: Array


@dataclass(frozen=True, eq=False)
class Bounds:
    """Bounds of the errors but for the last rounding, as products: of dQ (group, n_q) and (d,), of dK (n_k,) and (d,),
    of dV (n_k,) and (d_v,).

    flat (3,): what is added to each of them in every element.
    """

    query: tuple[Array, Array]
    key: tuple[Array, Array]
    value: tuple[Array, Array]
    flat: tuple[float, float, Array]

    @property
    def largest(self) -> tuple[float, float, float]:
        """The largest bound of each result."""
        return (
            _most(self.query) + self.flat[0],
            _most(self.key) + self.flat[1],
            _most(self.value) + float(self.flat[2].max()),
        )


def _most(factors: tuple[Array, Array]) -> float:
    return float(factors[0].max(initial=0.0) * factors[1].max(initial=0.0))


def sizes(head: Head, grad_output: NDArray[np.floating]) -> Sizes:
    """The sizes of a head; grad_output (group, n_q, d_v)."""
    group, n_q, _ = head.queries.shape
    grad = np.zeros(head.value.shape[1])
    query = np.zeros(head.key.shape[1])
    for g in range(group):
        for columns, points in ((grad, grad_output[g]), (query, head.queries[g])):
            _, least, largest = extent(points)
            np.maximum(columns, np.maximum(np.abs(least), np.abs(largest)), out=columns)
    reach, weights = np.zeros((group, n_q)), np.zeros((group, n_q, 3))
    over_grad, over_query = (np.divide(1.0, x, out=np.zeros_like(x), where=x > 0.0) for x in (grad, query))
    for g in range(group):
        for first in range(0, n_q, BLOCK):
            rows = slice(first, min(first + BLOCK, n_q))
            # a column after the other lies in one piece: a maximum over a short last axis would take five times as long
            output = np.abs(grad_output[g, rows].T.astype(np.float64, order="C"))
            points = np.abs(head.queries[g, rows].T.astype(np.float64, order="C"))
            reach[g, rows] = head.spread @ output * SLACK
            weights[g, rows, 0] = (output * over_grad[:, None]).max(axis=0) * SLACK
            weights[g, rows, 1] = (points * over_query[:, None]).max(axis=0) * SLACK
            weights[g, rows, 2] = head.half @ output * SLACK
    key, ranges = np.zeros_like(query), np.zeros_like(query)
    if len(head.key):
        _, least, largest = extent(head.key)
        key = np.maximum(largest - head.centre, head.centre - least) * SLACK
        ranges = (largest - least) * SLACK
    return Sizes(reach, query, grad, key, ranges, weights)


def bounds(plan: Plan, head: Head, size: Sizes, sums: Sums, shift: float = 0.0) -> Bounds | None:
    """The certificate of a computed gradient, ``None`` where nothing is certain.

    shift: what every score may be off besides, but for a constant of the row.  Source: GRAD-5 and GRAD-7.
    """
    frame, columns = plan.frame, head.value.shape[1]
    n = max(len(head.key), size.reach.size)
    growth = _growth(plan.coefficients, max(frame.query_norm, 1.0) * frame.dimension)
    if not (sums.share > 0.0 and growth <= _MOST_GROWTH and frame.query_norm <= _LONGEST):
        return None
    delta = (frame.shifted + shift) * SLACK
    epsilon = (plan.approximation.error + math.expm1(delta) * (1.0 + plan.approximation.error)) * SLACK
    blocks = -(-n // BLOCK) + size.reach.shape[0]
    absolute = float(gamma(roundings(plan, blocks, columns), U)) * _growth(plan.coefficients, frame.radius)  # Γ
    relative = absolute / sums.share  # ρ
    if not (epsilon < 0.5 and relative < _LEAST_SHARE):
        return None
    tau, factor = output_error(epsilon) * SLACK, 2.0 * epsilon / (1.0 - epsilon) * SLACK
    products = 2.0 * float(gamma(columns + 8, U)) + 32.0 * U
    sigma = abs(head.scale)
    of_query = sigma * (tau * (1.0 + tau) * size.ranges + (6.0 * relative + 8.0 * relative**2 + products) * size.key)
    touched = 3.0 if head.banded else 1.0
    lost = touched * absolute * sums.weights
    near = (sums.near + lost) * (1.0 + 4.0 * relative + products) * SLACK
    of_value = (factor + 2.0 * relative + 8.0 * U) * near[:, 0] + lost[0]
    of_key = sigma * ((factor + 8.0 * relative + 2.0 * products) * near[:, 1] + 3.0 * lost[1])
    vanished = _VANISHED * plan.size / sums.share * n
    return Bounds(
        (size.reach, of_query * SLACK),
        (of_key * SLACK, size.query),
        (of_value * SLACK, size.grad),
        (vanished * abs(plan.factor), vanished * plan.shrink, _VANISHED / sums.share * n / plan.lift),
    )


def _growth(coefficients: Array, radius: float) -> float:
    """Σ_m |c_m| radius^m, rounded up."""
    total = 0.0
    for c in reversed(coefficients.tolist()):
        total = total * radius + abs(c)
    return total * SLACK
