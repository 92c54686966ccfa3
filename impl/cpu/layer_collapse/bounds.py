"""How far a network is from its collapsed counterpart at most, at every depth (LC-6 … LC-10)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.layer_collapse.parts import SLOPES, Attention, Feedforward
from assay.impl.cpu.layer_collapse.rows import UP, diameter, product_norm
from assay.impl.cpu.layer_collapse.trace import averaged
from assay.impl.cpu.norms import norms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from assay.impl.cpu.layer_collapse.parts import Feedforward, Network, Norm
    from assay.impl.cpu.layer_collapse.trace import Head, Part, Step

    Array = NDArray[np.float64]

__all__ = [
    "Columns",
    "Diameters",
    "Rows",
    "Sizes",
    "closed_form",
    "kappa",
    "kind",
    "shares",
    "sizes",
    "spread",
    "widest",
]


def kind(network: Network) -> str:
    """What the collapsed counterpart of a network is, in words.

    One uniform layer where there is nothing but attention (LC-5), fixed mixings where that is causal (LC-8), and with
    norms or MLPs a mean-field network, which is not linear (LC-9, LC-10).
    """
    one = network.instance
    if not one.is_linear():
        what = "mean-field network: every token passes norms and MLPs alone, and sees the others by their mean alone"
        return what.replace("their mean", "the running mean") if one.causal else what
    if one.causal:
        return f"{one.layers} fixed mixings: powers of the running mean, whatever the tokens are"
    return "one layer of uniform attention" if one.skip else "the mean of the tokens, once, for all tokens"


# --- from norms of weights alone --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sizes:
    """Spectral norms of one layer, none of them too small.

    heads: (σ‖A_h‖, ‖V_h‖) of every head, A = W_Q W_Kᵀ, V with the output projection.  total: ‖Σ_h V_h‖.
    up, gate, down: those of the MLP, 0 where there is none.
    """

    heads: tuple[tuple[float, float], ...]
    total: float
    up: float
    gate: float
    down: float

    def scaled(self, projections: float, mlp: float, *, joined: bool) -> Sizes:
        """Those of the layer with projections and MLP times a factor; joined: values contain the output projection."""
        square = projections * projections * UP
        values = projections * UP if joined else square
        return Sizes(
            tuple((a * square, v * values) for a, v in self.heads),
            self.total * values,
            *(x * mlp * UP for x in (self.up, self.gate, self.down)),
        )


def sizes(network: Network) -> tuple[Sizes, ...]:
    """The norms of every layer; those of a real model take seconds."""
    found = []
    for number in range(network.instance.layers):
        layer = network.layer(number)
        one = layer.attention
        rows = []
        for head in range(one.heads):
            shared = head // one.group
            output = None if one.output is None else one.output[head]
            a = product_norm(one.query[head], one.key[shared].T)
            rows.append((abs(one.scale) * a, product_norm(one.value[shared], output)))
        inner = layer.feedforward
        mlp = (None, None, None) if inner is None else (inner.up, inner.gate, inner.down)
        total = product_norm(one.total) + float(np.linalg.norm(one.total_error))
        found.append(Sizes(tuple(rows), total, *(0.0 if x is None else product_norm(x) for x in mlp)))
    return tuple(found)


def kappa(network: Network, known: Sequence[Sizes]) -> float:
    """κ = ½ Σ_ℓ Σ_h σ‖A_h‖‖V_h‖·D(X_0)², at least (LC-6); +∞ where rows of scores differ by more than their tokens.

    Adding a vector to all tokens does not change it.  Where the network has norms or MLPs, it is that of its attention
    alone, without them.
    """
    if not network.is_uniform:
        return math.inf
    start = diameter(network.instance.tokens.astype(np.float64))
    return 0.5 * sum(a * v for one in known for a, v in one.heads) * start * start * UP


def closed_form(kappa: float, start: float) -> float:
    """D_0·((1 − κ)^(−1/2) − 1) for κ < 1, else +∞: at least D(X_L − X_0) of a network with skips (LC-6).

    >>> closed_form(0.75, 2.0), closed_form(1.0, 2.0)
    (2.0, inf)
    """
    return start * math.expm1(-0.5 * math.log1p(-kappa)) if kappa < 1.0 else math.inf


@dataclass
class Diameters:
    """Bounds of D(X_ℓ − X_0) with skips (LC-6), of D(X_ℓ) without (LC-7), layer by layer.

    norms: from σ‖A‖ and ‖V‖ alone.  ranges: from the ranges of differences of rows of scores, which were computed,
    where the walk has them.  true: what they bound, as computed from the sum of all G; none of this needs the tokens of
    the collapsed network.
    """

    network: Network
    known: Sequence[Sizes]
    start: float = field(init=False)
    norms: float = field(init=False)
    ranges: float = field(init=False)
    true: float = field(init=False)

    def __post_init__(self) -> None:
        self.start = diameter(self.network.instance.tokens.astype(np.float64))
        self.norms = self.ranges = self.true = 0.0 if self.network.instance.skip else self.start
        self._moved: Any = 0.0

    def take(self, step: Step) -> None:
        """Go on by one layer."""
        skip = self.network.instance.skip
        now = self.start + self.norms if skip else self.norms
        rows = self.known[step.number].heads
        grown = UP * sum(math.tanh(a * now * now / 4.0) * v for a, v in rows) * now
        known = spread(step.heads)
        self.norms = self.norms + grown if skip else grown
        self.ranges = self.ranges + known if skip else known
        self._moved = step.apart + self._moved if skip else step.apart
        self.true = widest(self._moved)


def spread(heads: tuple[Head, ...]) -> float:
    """A bound on D(Σ_h P_h Z V_h), by the ranges of differences of rows of scores (LC-6)."""
    if any(math.isinf(head.pairs) for head in heads):
        return math.inf
    return UP * sum(math.tanh(head.pairs / 4.0) * float(head.diameters[-1]) for head in heads)


def widest(x: Array) -> float:
    """The largest distance between two rows, not rounded upwards.

    >>> widest(np.array([[3e-200], [0.0]]))
    3e-200
    """
    size = float(np.abs(x).max(initial=0.0))
    power = 2.0 ** min(-int(np.frexp(size)[1]), 1000) if 0.0 < size < 2.0**-400 else 1.0  # squares do not vanish
    return float(max(norms(power * (x - row)).max() for row in x)) / power


# --- from the ranges of scores that were computed ---------------------------------------------------------------------


@dataclass
class Columns:
    """LC-6: a bound (n, d) on |X_ℓ − Y_ℓ|, number by number, for a network of nothing but attention, not causal.

    Deviations from the mean row add up; only the mean row is amplified by the layers that follow.
    moments: with second moments (LC-13) where they are smaller than ranges.
    """

    skip: bool
    moments: bool = False
    bound: Any = 0.0
    _deviations: Any = 0.0
    #: |ḡ_k| at most, the product of what follows, and what the roundings of that may come to
    _means: list[tuple[Array, Array, Array]] = field(default_factory=list)

    def take(self, step: Step) -> None:
        """Go on by one layer."""
        total, lost = step.layer.attention.total, step.layer.attention.total_error
        factor = np.eye(len(total)) + total if self.skip else total
        self._means = [
            (
                mean,
                product @ factor,
                error @ (np.abs(factor) + lost)
                + np.abs(product) @ (lost + (len(total) + 4) * 2.0**-52 * np.abs(factor)),
            )
            for mean, product, error in self._means
        ]
        rows = np.zeros_like(step.gap)
        means = np.zeros(step.gap.shape[1])
        for head in step.heads:
            gap = np.tanh(head.range / 4.0)[:, None] * _extent(head.carried)
            if self.moments:
                deviation = head.carried.std(axis=0) + 2.0**-50 * np.abs(head.carried).max(axis=0)
                gap = np.minimum(gap, (_tilt(head.range) * head.deviation)[:, None] * deviation)
            rows += gap + gap.mean(axis=0)
            means += gap.mean(axis=0)
        self._deviations = rows + self._deviations if self.skip else rows
        self._means.append((means, np.eye(len(total)), np.zeros_like(total)))
        amplified = sum(mean @ (np.abs(product) + error) for mean, product, error in self._means)
        self.bound = UP * (self._deviations + amplified)


def _extent(x: Array) -> Array:
    """(d,): at least the range of every column."""
    found: Array = np.ptp(x, axis=0) + 2.0**-52 * np.abs(x).max(axis=0) * x.shape[1]
    return found


@dataclass
class Rows:
    """LC-8, LC-9, LC-10: a bound (n,) on ‖X_ℓ − Y_ℓ‖, row by row, for any network.

    It goes through norms by LC-9, through MLPs by LC-10 and through attention by LC-6 or LC-8.  Where there are norms
    or MLPs, what float64 can err by in a layer is added, because there the distance is a difference of such numbers.
    moments: with second moments (LC-13) where they are smaller than ranges.
    """

    network: Network
    known: Sequence[Sizes]
    moments: bool = False
    bound: Array = field(init=False)

    def __post_init__(self) -> None:
        self.bound = np.zeros(len(self.network.instance.tokens))
        n, d = self.network.instance.tokens.shape
        self._unit = 0.0 if self.network.instance.is_linear() else (n + 4 * d + 64) * 2.0**-53

    def take(self, step: Step) -> None:
        """Go on by one layer."""
        one, sizes, unit = self.network.instance, self.known[step.number], self._unit
        post = one.norm_place == "post"
        e = self.bound
        for part in step.parts:
            before = part.norm is not None and not (post and part.function is not None)
            f = _through(part.norm, part.entered, e, unit) if part.norm is not None and before else e
            if part.function is None:
                e = f
                continue
            z = norms(part.input[0])
            if isinstance(part.function, Attention):
                added = averaged(f[:, None], one.causal)[:, 0] * sizes.total
                added = added + shares(step.heads, one.causal, moments=self.moments)
                if unit:
                    slack = unit * z if part.norm is None or post else _chopped(part.norm, part.entered[0], unit)
                    added = added + _rounded(step.heads, part.function, sizes, float(z.max()), float(slack.max()))
            else:
                added = _perceptron(part, part.function, sizes, f)
                added = added + unit * (sizes.up + sizes.gate) * sizes.down * z
            e = e + added if one.skip else added
            e = e + unit * (norms(part.entered[0]) + norms(part.summed[0]))
            if part.norm is not None and post:
                e = _through(part.norm, part.summed, e, unit)
        self.bound = UP * e


def _through(norm: Norm, pair: tuple[Array, Array], e: Array, unit: float) -> Array:
    """A norm, of two rows at most e apart (LC-9); no two rows of a norm are more than twice its radius apart."""
    gain = 1.0 if norm.gain is None else float(np.abs(norm.gain).max())
    rough = unit * norms(pair[0]) / norm.deviation(pair[0])[:, 0]  # of what the row is divided by
    bound = np.minimum(norm.lipschitz(*pair) * e * (1.0 + rough), 2.0 * gain * math.sqrt(pair[0].shape[1])) * UP
    found: Array = bound + _chopped(norm, pair[0], unit)
    return found


def _chopped(norm: Norm, x: Array, unit: float) -> Array:
    """(n,): what the rows of a norm err by in float64: deviations of numbers of size |x|, over their size."""
    gain = 1.0 if norm.gain is None else float(np.abs(norm.gain).max())
    bias = 0.0 if norm.bias is None else float(np.linalg.norm(norm.bias))
    found: Array = unit * (gain * (norms(x) / norm.deviation(x)[:, 0] + math.sqrt(x.shape[1])) + bias)
    return found


def _rounded(heads: tuple[Head, ...], attention: Attention, known: Sizes, largest: float, slack: float) -> float:
    """What attention to tokens of norm ``largest`` errs by where each of them errs by ``slack``."""
    total = 0.0
    for number, (head, (a, v)) in enumerate(zip(heads, known.heads, strict=True)):
        bias = 0.0 if attention.query_bias is None else float(np.linalg.norm(attention.query_bias[number]))
        key = float(np.linalg.norm(attention.key[number // attention.group]))
        scores = 2.0 * a * largest + abs(attention.scale) * bias * key
        total += slack * (2.0 * v + scores * float(head.diameters[-1]))
    return total


def shares(heads: tuple[Head, ...], causal: bool, *, moments: bool = False) -> Array:
    """(n,): a bound on ‖Σ_h (P_h − C) Z V_h‖ row by row: Σ_h tanh(η_i/4)·D(Z V_h) over the rows that i attends to.

    moments: the second moments of LC-13 where they are smaller.
    """
    found = []
    for head in heads:
        bound = np.tanh(head.range / 4.0) * (head.diameters if causal else head.diameters[-1])
        if moments:
            bound = np.minimum(bound, _tilt(head.range) * head.deviation * _spread(head.carried, causal))
        found.append(bound)
    total: Array = UP * np.add.reduce(found)
    return total


def _tilt(range_: Array) -> Array:
    """(e^η − 1)/η, at least: how much larger than under equal weights a covariance is along the way (LC-13).

    Beyond η = 300 it is no longer computed: the bound that it enters is above that by ranges long before.
    """
    capped = np.clip(range_, 1e-8, 300.0)
    found: Array = np.expm1(capped) / capped * UP
    return found


def _spread(x: Array, causal: bool) -> Any:
    """At least the largest standard deviation of the rows in any direction; (n,) over the rows up to each if causal."""
    x = x - x.mean(axis=0)
    if not causal:
        return product_norm(x) / math.sqrt(len(x))
    count = np.arange(1, len(x) + 1)
    means = np.cumsum(x, axis=0) / count[:, None]
    squares = np.cumsum(np.square(x).sum(axis=1)) / count
    # running sums of n rows err by up to n units in the last place
    rounding = (len(x) + x.shape[1] + 16) * 2.0**-51 * np.maximum.accumulate(np.square(x).sum(axis=1))
    found: Array = np.sqrt(np.maximum(squares - np.square(means).sum(axis=1), 0.0) + rounding)
    return found


def _perceptron(part: Part, function: Feedforward, known: Sizes, f: Array) -> Array:
    """(n,): an MLP, of inputs at most f apart (LC-10)."""
    slope = SLOPES[function.activation]
    if function.gate is None:
        return slope * known.up * known.down * f
    # a(x)⊙b(x) − a(y)⊙b(y) = (a(x) − a(y))⊙b(x) + a(y)⊙(b(x) − b(y)), and the same with x and y exchanged
    (a_x, b_x), (a_y, b_y) = (function.inner(x) for x in part.input)
    either = [
        slope * known.gate * np.abs(b).max(axis=1) + known.up * np.abs(a).max(axis=1)
        for a, b in ((a_y, b_x), (a_x, b_y))
        if b is not None
    ]
    found: Array = known.down * np.minimum(*either) * f
    return found
