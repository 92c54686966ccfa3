"""What one operation of a stack makes of the errors of its input: LCT-1 to LCT-4 (proofs_notes/layer_collapse.md).

Every function takes numbers of the exact network with bounds of the errors that a kernel has made of them so far, and
gives the bound of the errors after the operation, element by element.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from assay.spec import attention
from assay.spec.enclosure import Enclosure
from assay.spec.layer_collapse.bounds import LIPSCHITZ
from assay.spec.layer_collapse.rounding import Stack
from assay.spec.rounding import compound, gamma
from assay.spec.softmax.weights import SLACK, Weights, merge_error, quotient_error, weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.spec.precision import Precision

    Array = NDArray[np.float64]

__all__ = ["Machine", "Numbers", "heads", "weights_of_heads"]


@dataclass(frozen=True)
class Numbers:
    """Numbers of the exact network, and the errors of a kernel's: |x̂ − x| ≤ error.

    value: in float64, with a radius that is part of the sizes.  inside: whether nothing has left the range so far.
    """

    value: Array
    radius: Array
    error: Array
    inside: bool = True

    @property
    def exact_size(self) -> Array:
        """|x|, an upper bound."""
        return np.abs(self.value) + self.radius

    @property
    def size(self) -> Array:
        """|x̂|, an upper bound."""
        return self.exact_size + self.error


@dataclass(frozen=True)
class _Softmax:
    """The certified softmax of a head, whose scores also have the errors that come from queries and keys."""

    score: Enclosure
    log_probability: Enclosure
    log_sink_probability: Enclosure | None = None


@dataclass(frozen=True)
class Machine:
    """The operations of a stack in one class of arithmetic."""

    precision: Precision
    stack: Stack
    unit: float  # the largest unit roundoff of products, sums and elementwise operations

    @classmethod
    def of(cls, precision: Precision) -> Machine:
        """The operations of the class ``precision``."""
        unit = max(precision.product, precision.accumulate, precision.working)
        return cls(precision, precision.of(Stack), unit)

    def stored(self, exact: Enclosure, error: Array, inside: bool, partial: Array | None = None) -> Numbers:
        """A result that is stored in the type of the arrays between operations: LCT-1.

        partial: sizes of what was stored before the last addition.
        """
        size = np.abs(exact.midpoint) + exact.radius + error
        error = error + self.stack.between * size + self.stack.between_tiny + self.precision.tiny
        if partial is not None:
            error = error + (1 + self.stack.between) * (self.stack.between * partial + self.stack.between_tiny)
        error = np.where(np.isnan(error), np.inf, error) * SLACK
        largest = min(self.precision.largest, self.precision.largest_output)
        inside = inside and bool((2 * (size + error) <= largest).all())
        if partial is not None:
            inside = inside and bool((2 * partial <= largest).all())
        return Numbers(exact.midpoint, exact.radius, error, inside)

    def product(self, x: Numbers, matrix: Array, bias: Array | None, exact: Enclosure, terms: int = 0) -> Numbers:
        """x W + b: LCT-1.  terms: how many products make a number, where it is not the rows of W."""
        count = max(terms, matrix.shape[-2])
        weight, size = np.abs(matrix), x.size
        rate = compound(self.stack.entry, self.stack.weight, gamma(count + 1, self.unit))
        made = size @ weight
        error = x.error @ weight + rate * made
        error = error + self.lost(size.sum(axis=-1, keepdims=True) + weight.sum(axis=-2, keepdims=True), count)
        partial = None
        if bias is not None:
            error = error + 2 * self.unit * made
            error = error + compound(self.stack.weight, gamma(count + 2, self.unit)) * np.abs(bias)
            partial = np.abs(exact.midpoint) + exact.radius + np.abs(bias) + error
        inside = x.inside and bool((4 * made <= self.precision.largest).all())
        return self.stored(exact, error, inside, partial)

    def lost(self, sizes: Array, count: int) -> Array:
        """What ``count`` products lose where something underflows or a factor is subnormal: LCT-1.

        sizes: ‖x̂‖₁ + ‖w‖₁, what all factors sum to.
        """
        u = self.precision
        lost: Array = 2 * u.tiny * (sizes + 2 * count + 4) + u.alignment * (sizes + count * u.least_factor)
        return lost

    def added(self, x: Numbers, y: Numbers, exact: Enclosure) -> Numbers:
        """x + y: LCT-1."""
        error = x.error + y.error
        error = error + self.unit * (np.abs(exact.midpoint) + exact.radius + error)
        return self.stored(exact, error, x.inside and y.inside)

    def norm(
        self, x: Numbers, root: Enclosure, gain: Array | None, bias: Array | None, epsilon: float, exact: Enclosure,
        *, centred: bool,
    ) -> Numbers:  # fmt: skip
        """g·(x − mean)/s + b, or g·x/s where it is not centred: LCT-2.  x (n, d), root (n, 1)."""
        d, step, unit = x.value.shape[-1], self.stack.step, self.unit
        size, error = x.size, x.error
        typical = size.mean(axis=1, keepdims=True)
        mean, deviation = 0.0, x.exact_size
        if centred:
            middle, doubt = x.value.mean(axis=1, keepdims=True), x.radius.mean(axis=1, keepdims=True)
            doubt = doubt + (d + 2) * 2.0**-52 * typical
            mean, deviation = np.abs(middle) + doubt, np.abs(x.value - middle) + x.radius + doubt
        average = error.mean(axis=1, keepdims=True) if centred else 0.0

        # what the errors of x do to the exact norm: number by number, and on the sphere (LC-9)
        far = np.sqrt((error**2).sum(axis=1, keepdims=True)) * SLACK
        root_low = root.midpoint - root.radius
        least = np.maximum(root_low - far / math.sqrt(d), math.sqrt(epsilon)) / SLACK
        squares = 2 * (deviation * error).mean(axis=1, keepdims=True) + (error**2).mean(axis=1, keepdims=True)
        turned = np.minimum(squares / (root_low + least), far / math.sqrt(d)) / (root_low * least)
        moved = np.fmin((error + average) / least + deviation * turned, 2 * far / (root_low + least))

        square = (size**2).mean(axis=1, keepdims=True)
        reach = mean + average
        off, changed = self.moments(d, typical, square + epsilon, reach, centred=centred)
        relative = (changed + 4 * step_tiny(self) * (1 + typical)) / least**2
        relative = compound(relative, *[step] * 6)
        ratio = np.where(relative < 0.5, 1 / np.sqrt(1 - np.minimum(relative, 0.5)) - 1, np.inf)

        # the product with the reciprocal root, in any order
        scale = np.ones(d) if gain is None else np.abs(gain)
        normal = np.fmin(deviation / root_low + moved, math.sqrt(d))  # of the computed tokens, before its roundings
        total = (size + reach + off) / least
        rounded = compound(gamma(10, unit), self.precision.elementary, self.stack.weight) * total
        rounded = rounded + compound(*[step] * 4) * (normal + off / least + rounded)
        made = scale * (moved + off / least * (1 + ratio) + normal * ratio + rounded * (1 + ratio))
        b = np.zeros(d) if bias is None else np.abs(bias)
        made = made + (2 * unit + step) * b + 4 * self.precision.tiny * (1 + scale) * (1 + 1 / least)
        made = made + self.stack.step_tiny * 4 * (1 + scale + scale / least) + 2 * self.stack.between_tiny * scale
        # the normalised number may be stored before its gain, and again before its bias
        between = 2 * (scale * normal + made) + b
        inside = x.inside and bool((4 * d * (square + epsilon) <= self._largest_step()).all())
        inside = inside and bool((4 * scale * np.maximum(1 / least, size + reach + off) <= self._largest_step()).all())
        return self.stored(exact, np.where(np.isnan(made), np.inf, made), inside, between)

    def moments(
        self, d: int, typical: Array, square: Array, reach: Array | float, *, centred: bool
    ) -> tuple[Array | float, Array]:
        """μ and ρ, what the mean of d stored numbers, and their variance or mean square and ε, may be off: LCT-2.

        typical: the mean of their sizes.  square: their mean square and ε.  reach: the size of their mean.
        """
        if not centred:
            return 0.0, gamma(d + 6, self.unit) * square
        step, lost = self.stack.step, d * self.precision.tiny  # an update of a running mean may underflow
        off = gamma(d + 3 + 3 * math.log(d), self.unit) * typical * (1 + step) ** 2
        off = off + compound(step, step) * reach + step_tiny(self) + lost
        fused = 0.0 if step else 2 * reach * off  # where squares are stored, they are those of deviations
        return off, gamma(1.5 * d + 24, self.unit) * square + fused + off**2 + 4 * lost * typical

    def activated(self, x: Numbers, activation: str, exact: Enclosure) -> Numbers:
        """a(x): LCT-3."""
        if activation == "relu":
            return Numbers(exact.midpoint, exact.radius, x.error, x.inside)
        step = self.stack.step
        rate = compound(self.stack.activation, gamma(12, self.unit), *[step] * 8)
        error = LIPSCHITZ[activation] * x.error + rate * x.size + 8 * (self.precision.tiny + self.stack.step_tiny)
        cube = x.size.max() ** 3 if activation == "gelu_tanh" else 0.0
        return self.stored(exact, error, x.inside and bool(4 * cube <= self._largest_step()))

    def multiplied(self, x: Numbers, y: Numbers, exact: Enclosure) -> Numbers:
        """x·y, number by number: LCT-3."""
        error = x.error * y.size + x.exact_size * y.error
        error = error + self.unit * (x.size * y.size) + self.precision.tiny * (1 + x.size + y.size)
        return self.stored(exact, error, x.inside and y.inside)

    def _largest_step(self) -> float:
        """The largest number of what a norm or an activation forms on its way."""
        return self.precision.largest_output if self.stack.step else self.precision.largest


def step_tiny(machine: Machine) -> float:
    """What an intermediate result that is stored loses to gradual underflow, and to flushing."""
    return machine.stack.step_tiny + machine.precision.tiny


def heads(
    machine: Machine,
    query: Numbers,
    key: Numbers,
    value: Numbers,
    softmax: tuple[Enclosure, Enclosure],
    exact: Enclosure,
    scale: float,
    attended: NDArray[np.bool_],
) -> Numbers:
    """softmax(σ q kᵀ) v of every head, (h, n, v): LCT-4.

    softmax: the scores, and the logarithms of the probabilities, (h, n, n).  exact: the outputs of the heads.
    """
    row = weights_of_heads(machine, query, key, value, softmax, scale, attended)
    error = np.empty_like(exact.midpoint)
    for head in range(len(error)):
        error[head] = _head(machine, row, head, value, exact)
    inside = query.inside and key.inside and value.inside and bool(row.inside.all())
    # Heads are stored with the rounding of the output, which is that of arrays between operations.
    return machine.stored(exact, np.where(np.isnan(error), np.inf, error), inside)


def weights_of_heads(
    machine: Machine,
    query: Numbers,
    key: Numbers,
    value: Numbers,
    softmax: tuple[Enclosure, Enclosure],
    scale: float,
    attended: NDArray[np.bool_],
) -> Weights:
    """What a kernel's weights may be off where its queries, keys and values are off, (1, h, n, n): LCT-4."""
    u = machine.precision
    score, log_probability = softmax
    # what the errors of q and k do to the scores; their roundings follow in TOL-1 to TOL-6, of q̂ and k̂
    moved = query.error @ np.swapaxes(key.size, 1, 2) + query.exact_size @ np.swapaxes(key.error, 1, 2)
    moved = abs(scale) * moved * SLACK + score.radius
    seen = np.broadcast_to(attended, score.midpoint.shape)
    with np.errstate(invalid="ignore"):
        moved = np.where(seen & ~np.isnan(moved), np.minimum(moved, 1e300), np.where(seen, 1e300, 0.0))
    q, k, v = (np.minimum(x.size, 1e300)[None] for x in (query, key, value))
    inputs = attention.Instance(q, k, v, scale=scale, mask=attended[None, None])
    distribution = _Softmax(
        Enclosure(np.where(seen, score.midpoint, -np.inf)[None], moved[None]),
        Enclosure(
            np.where(seen, log_probability.midpoint, -np.inf)[None], np.where(seen, log_probability.radius, 0)[None]
        ),
    )
    row = weights(inputs, u, distribution)
    # a stored log-sum-exp is that of the kernel's own scores: the same for all keys of a row
    exact_sum, own_sum = (merge_error(u, 0.0, x, row.count) for x in (row.log_denominator, _own_log_denominator(row)))
    more = np.maximum(own_sum - exact_sum, 0.0) * SLACK
    spread = np.where(row.attended, row.spread + more[..., None], 0.0)
    return replace(row, spread=spread, lower_mass=row.lower_mass * np.exp(-more) / SLACK)


def _own_log_denominator(row: Weights) -> Array:
    """An upper bound of ln D̂ of the scores that a kernel has: each is off by max Δ at most (LCT-4)."""
    return np.minimum(row.log_denominator + 2 * row.score_error, np.log(np.maximum(row.count, 1.0)))


def _head(machine: Machine, row: Weights, head: int, value: Numbers, exact: Enclosure) -> Array:
    """E1 + E2 + E3 + E4 of one head, before its output is stored, (n, v)."""
    u = machine.precision
    row = row.part((0, head))
    p, spread, attended = row.probability, row.spread, row.attended
    v, off = value.value[head], value.error[head] + value.radius[head]
    size = value.size[head]
    o, o_radius = exact.midpoint[head], exact.radius[head]
    grown = np.where(attended, p * np.exp(np.minimum(spread, 700.0)), 0.0)
    grown = np.where((spread >= 700) & attended, np.inf, grown)
    excess = np.where(spread < 30, p * np.expm1(np.minimum(spread, 30.0)), grown)
    mass = row.lower_mass[:, None]
    gap = np.abs(v[None] - o[:, None]) + o_radius[:, None] + value.radius[head][None]  # (n, n, v)
    common = (excess[:, :, None] * gap).sum(axis=1)
    deviation = (grown[:, :, None] * (gap + off)).sum(axis=1)
    hull = (gap * attended[:, :, None]).max(axis=1)
    largest = (size[None] * attended[:, :, None]).max(axis=1)
    largest_off = (off[None] * attended[:, :, None]).max(axis=1)
    magnitude = np.fmin(grown @ size / mass, largest)

    # errors of the weights, which numerator and denominator share, and those of the values
    e1 = np.fmin(common / mass, hull) + np.fmin(grown @ off / mass, largest_off)
    size_o = np.fmin(np.abs(o) + o_radius + e1, magnitude)

    e2 = quotient_error(
        row, u, log_denominator=_own_log_denominator(row), size=size_o, magnitude=magnitude,
        moved=deviation / mass + e1, largest=largest, total=attended @ size,
    )  # fmt: skip
    kappa = compound(u.accumulate, u.accumulate)
    bound: Array = e1 + e2 + kappa * (size_o + e2) + 2 * u.tiny
    return bound * SLACK
