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

__all__ = ["Bounds", "Sizes", "bounds", "exponent", "in_units", "sizes"]

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
    """Bounds of the errors but for the last rounding, of dQ, dK and dV in this order.

    factors: of each a product, (group, n_q) and (d,), (n_k,) and (d,), (n_k,) and (d_v,), in units of the plan; flat:
    what is added to each element of it.  powers: the units are 2 to this, which may be beyond what float64 holds.
    """

    factors: tuple[tuple[Array, Array], tuple[Array, Array], tuple[Array, Array]]
    flat: tuple[float, float, float]
    powers: tuple[int, int, NDArray[np.int64]]

    @property
    def largest(self) -> tuple[float, float, float]:
        """The largest bound of each result."""

        def most(number: int) -> float:
            rows, columns = self.factors[number]
            bound = rows.max(initial=0.0) * columns + self.flat[number]
            return float(in_units(bound, self.powers[number]).max(initial=0.0))

        return most(0), most(1), most(2)

    def write(self, number: int, to: Array) -> None:
        """Write the bounds of every element of one result, but for what their last rounding loses to underflow."""
        np.multiply(self.factors[number][0][..., None], self.factors[number][1], out=to)
        to += self.flat[number]
        in_units(to, self.powers[number], to)


def in_units(x: Array, power: int | NDArray[np.int64], out: Array | None = None) -> Array:
    """x times 2^power for |power| ≤ 2000, exact but for what leaves the range in the end."""
    half = np.asarray(power) // 2  # 2^power itself may be beyond the range
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        scaled = np.multiply(x, np.ldexp(1.0, half), out=out)
        return np.asarray(np.multiply(scaled, np.ldexp(1.0, power - half), out=out))


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
    # In units of the plan no factor is far above 1, so that what underflows is far below what _VANISHED grants.  In
    # those of the results a small scale times small gradients would vanish before it meets large queries or keys.
    spread, reach = size.ranges * plan.shrink, size.key * plan.shrink
    of_query = tau * (1.0 + tau) * spread + (6.0 * relative + 8.0 * relative**2 + products) * reach
    mantissa, power = math.frexp(abs(plan.factor))
    touched = 3.0 if head.banded else 1.0
    lost = touched * absolute * sums.weights
    near = (sums.near + lost) * (1.0 + 4.0 * relative + products) * SLACK
    of_value = (factor + 2.0 * relative + 8.0 * U) * near[:, 0] + lost[0]
    of_key = (factor + 8.0 * relative + 2.0 * products) * near[:, 1] + 3.0 * lost[1]
    vanished = _VANISHED / sums.share * n
    of_query, of_key, of_value = of_query * mantissa * SLACK, of_key * SLACK, of_value * SLACK
    return Bounds(
        (
            (size.reach / plan.size, of_query),
            (of_key, abs(plan.factor) * size.query * SLACK),
            (of_value, size.grad * plan.lift),
        ),
        (vanished, vanished, vanished),
        (power + exponent(plan.size), exponent(plan.size) + exponent(plan.shrink), -np.frexp(plan.lift)[1] + 1),
    )


def exponent(power: float) -> int:
    """The n of a power of two 2^n."""
    return math.frexp(power)[1] - 1


def _growth(coefficients: Array, radius: float) -> float:
    """Σ_m |c_m| radius^m, rounded up."""
    total = 0.0
    for c in reversed(coefficients.tolist()):
        total = total * radius + abs(c)
    return total * SLACK
