"""How far a network is from the collapsed one, truly and at most: by depth, by layer and by the scale of its weights.

Distances are ‖X − Y‖ = max_i ‖x_i − y_i‖ over tokens i, and they are to be read beside ‖X_ℓ − X_0‖, the size of what
the network does at all: answering with no update is off by that much.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.layer_collapse import bounds, sources
from assay.impl.cpu.layer_collapse.bounds import Columns, Diameters, Rows
from assay.impl.cpu.layer_collapse.rows import diameter
from assay.impl.cpu.layer_collapse.trace import averaged, walk
from assay.impl.cpu.norms import norms
from assay.impl.cpu.progress import told

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from assay.impl.cpu.layer_collapse.bounds import Sizes
    from assay.impl.cpu.layer_collapse.parts import Network
    from assay.impl.cpu.layer_collapse.trace import Step

    Array = NDArray[np.float64]

__all__ = ["SCALES", "Collapse", "Depth", "Layer", "Scale", "collapse"]

#: The factors of all weights at which a network is looked at.
SCALES: tuple[float, ...] = tuple(2.0**k for k in range(-8, 2))

_FINE = 2.0 ** (1 / 32)  # the factor to which a crossing is found
_BISECTIONS = 5  # that a factor of two takes


@dataclass(frozen=True)
class Depth:
    """The network and its collapsed counterpart after a number of layers.

    update: ‖X_ℓ − X_0‖.  attended: ‖X_ℓ − W_ℓ‖, W_ℓ what the tokens become where attention adds nothing but its biases;
    the update, where there is nothing but attention.  distance: ‖X_ℓ − Y_ℓ‖.  rows: LC-8, LC-9 and LC-10, row by
    row.  moments: the same with second moments (LC-13).  columns: LC-6, number by number, with second moments; only
    where there is nothing but attention, not causal, and else +∞.  spread: D(X_ℓ − X_0), or D(X_ℓ) without skips;
    spread_ranges, spread_norms: its bounds, by score ranges and by norms of weights alone (LC-6, LC-7), under the same
    condition and without rotary positions.
    """

    layers: int
    update: float
    attended: float
    distance: float
    rows: float
    moments: float
    columns: float
    spread: float
    spread_ranges: float
    spread_norms: float

    @property
    def bound(self) -> float:
        """The least of the bounds of the distance."""
        return min(self.rows, self.moments, self.columns)


@dataclass(frozen=True)
class Layer:
    """One layer, handed what the network hands it (LC-12); biases are left out of what it mixes.

    range, range_median: of the score ranges η_i over heads and rows.  weight: tanh(η/4) of the largest.
    diameter: D(Z), of the tokens that it attends to.
    mixed: ‖Σ_h P_h Z V_h‖, of which answering with nothing leaves all.
    apart: ‖Σ_h (P_h − C) Z V_h‖, what answering with uniform attention leaves.  apart_bound, apart_moments: at most, by
    score ranges (LC-6), and by second moments (LC-13).
    spread: D(Σ_h P_h Z V_h).  spread_bound, spread_norms: at most, by ranges of differences of rows of scores, and by
    norms of weights alone (LC-6); +∞ where the network is causal or has rotary positions.
    """

    number: int
    range: float
    range_median: float
    diameter: float
    mixed: float
    apart: float
    apart_bound: float
    apart_moments: float
    spread: float
    spread_bound: float
    spread_norms: float

    @property
    def weight(self) -> float:
        return math.tanh(self.range / 4.0)

    @property
    def share(self) -> float:
        """apart/mixed: the part of the layer's mixing that uniform attention does not do."""
        return _quotient(self.apart, self.mixed)


@dataclass(frozen=True)
class Scale:
    """The network with weights times ``factor``: all of them, or with ``mlp`` false those of the attention alone.

    update, attended, distance: ‖X_L − X_0‖, ‖X_L − W_L‖ and ‖X_L − Y_L‖, as of :class:`Depth`.  bound: the least bound
    of it.  kappa: κ (LC-6). least, most: the smallest and the largest share of a layer that is not uniform averaging.
    """

    factor: float
    mlp: bool
    update: float
    attended: float
    distance: float
    bound: float
    kappa: float
    least: float
    most: float

    @property
    def relative(self) -> float:
        """distance/update; answering with no update has 1."""
        return _quotient(self.distance, self.update)

    @property
    def relative_bound(self) -> float:
        return _quotient(self.bound, self.update)


@dataclass(frozen=True)
class Collapse:
    """The report on a network.

    kind: what its collapsed counterpart is.  linear: whether it has nothing but attention.  start: D(X_0).
    kappa: κ (LC-6), and s_star the factor of the weights at which κ = 1; where the network has norms or MLPs, these
    speak of its attention without them.  +∞ and 0 where it is causal or has rotary positions.  s_true: the largest
    factor up to which ‖X_L − Y_L‖ ≤ epsilon·‖X_L − X_0‖ was measured.  s_bound: the same with the proved bound in place
    of the distance.  Both are of all weights, and between 0, where already the least of the ``scales`` is too large,
    and the largest of these.
    """

    name: str
    kind: str
    length: int
    width: int
    heads: int
    skip: bool
    causal: bool
    rotary: bool
    linear: bool
    start: float
    kappa: float
    s_star: float
    epsilon: float
    s_true: float
    s_bound: float
    depths: tuple[Depth, ...]
    layers: tuple[Layer, ...]
    scales: tuple[Scale, ...]


def collapse(
    model: Any,
    tokens: Any = None,
    config: Mapping[str, Any] | None = None,
    *,
    scales: Sequence[float] = SCALES,
    epsilon: float = 0.1,
    progress: bool | Callable[[int, int], None] = False,
) -> Collapse:
    """How far a network is from its collapsed counterpart, truly and at most.

    model, tokens, config: an instance of the problem, a state dict of torch or transformers with its tokens, or an
    opened model: see :func:`assay.impl.cpu.layer_collapse.sources.network`.
    scales: what all weights are multiplied by, in turn.  epsilon: the relative distance of s_true.
    progress: True shows a bar; a function is called with (walks done, walks planned).

    Distances are measured in float64.  The bounds are proved for the network whose layers start at the tokens that were
    computed (proofs_notes/layer_collapse.md and layer_collapse_fast.md).
    Raises ``ValueError`` for bad arguments.

    >>> from assay.spec.layer_collapse import Instance
    >>> one = np.ones((1, 1, 1, 1))
    >>> report = collapse(Instance(np.array([[0.0], [0.25]]), one, one, one), scales=[0.5, 1.0])
    >>> report.kind, report.kappa < 0.04
    ('one layer of uniform attention', True)
    """
    network = sources.network(model, tokens, config)
    if not (scales and all(0 < s < math.inf for s in scales)):
        raise ValueError(f"scales {list(scales)!r}: expected numbers above 0")
    if not 0 < epsilon < 1:
        raise ValueError(f"epsilon {epsilon!r}: expected a number between 0 and 1")
    one = network.instance
    known = bounds.sizes(network)
    factors = sorted(set(scales))
    planned = 1 + len(factors) * (1 + (one.up_weights is not None)) + 2 * _BISECTIONS
    with told(progress, "collapse") as tell:
        done = iter(range(1, planned + 1))

        def at(factor: float, mlp: bool = True) -> Scale:
            found = _scale(network, known, factor, mlp and one.up_weights is not None)
            tell(next(done, planned), planned)
            return found

        depths, layers = _natural(network, known)
        tell(next(done), planned)
        swept = [at(factor) for factor in factors]
        s_true, s_bound = (_largest(swept, at, epsilon, name) for name in ("relative", "relative_bound"))
        if one.up_weights is not None:
            swept += [at(factor, mlp=False) for factor in factors]
    kappa = bounds.kappa(network, known)
    return Collapse(
        name=network.name,
        kind=bounds.kind(network),
        length=len(one.tokens),
        width=one.tokens.shape[1],
        heads=one.query_weights.shape[1],
        skip=one.skip,
        causal=one.causal,
        rotary=network.rotary is not None,
        linear=one.is_linear(),
        start=diameter(one.tokens.astype(np.float64)),
        kappa=kappa,
        s_star=kappa ** (-1.0 / network.degree) if kappa else math.inf,
        epsilon=epsilon,
        s_true=s_true,
        s_bound=s_bound,
        depths=depths,
        layers=layers,
        scales=tuple(swept),
    )


def _natural(network: Network, known: Sequence[Sizes]) -> tuple[tuple[Depth, ...], tuple[Layer, ...]]:
    """The network as it is: every depth, and every layer alone."""
    one = network.instance
    rows, moments = Rows(network, known), Rows(network, known, moments=True)
    columns = Columns(one.skip, moments=True) if one.is_linear() and not one.causal else None
    diameters = Diameters(network, known) if one.is_linear() and network.is_uniform else None
    depths, layers = [], []
    exact: Any = 0.0
    for step in walk(network, pairs=True):
        for each in (rows, moments, columns, diameters):
            if each is not None:
                each.take(step)
        exact = _apart(network, step, exact)
        spread = (math.nan, math.inf, math.inf)
        if diameters is not None:
            spread = (diameters.true, diameters.ranges, diameters.norms)
        depths.append(
            Depth(
                step.number + 1,
                float(norms(step.after - one.tokens.astype(np.float64)).max()),
                float(norms(step.after - step.alone).max()),
                float(norms(exact).max()),
                float(rows.bound.max()),
                float(moments.bound.max()),
                math.inf if columns is None else float(norms(columns.bound).max()),
                *spread,
            )
        )
        layers.append(_layer(network, step, known[step.number]))
    return tuple(depths), tuple(layers)


def _apart(network: Network, step: Step, before: Any) -> Array:
    """(n, d): X_ℓ − Y_ℓ; where the collapsed network is linear, from its own recursion, without cancellation (LC-5)."""
    one = network.instance
    if not one.is_linear():
        return step.after - step.collapsed
    if step.number == 0:
        return step.gap
    carried = averaged(before, one.causal) @ step.layer.attention.total + step.gap
    found: Array = before + carried if one.skip else carried
    return found


def _layer(network: Network, step: Step, known: Sizes) -> Layer:
    """What LC-12 says of one layer."""
    one = network.instance
    ranges = np.concatenate([head.range for head in step.heads])
    wide = diameter(step.entered)
    uniform = network.is_uniform
    return Layer(
        step.number + 1,
        float(ranges.max()),
        float(np.median(ranges)),
        wide,
        float(norms(step.mixed).max()),
        float(norms(step.gap).max()),
        float(bounds.shares(step.heads, one.causal).max()),
        float(bounds.shares(step.heads, one.causal, moments=True).max()),
        bounds.widest(step.apart if uniform else step.mixed),
        bounds.spread(step.heads),
        sum(math.tanh(a * wide * wide / 4.0) * v for a, v in known.heads) * wide if uniform else math.inf,
    )


def _scale(network: Network, known: Sequence[Sizes], factor: float, mlp: bool) -> Scale:
    """The network with its weights times a factor."""
    scaled = network.scaled(factor, mlp=mlp)
    joined = network.instance.output_weights is None
    sizes = [each.scaled(factor, factor if mlp else 1.0, joined=joined) for each in known]
    one = network.instance
    rows = Rows(scaled, sizes, moments=True)
    columns = Columns(one.skip, moments=True) if one.is_linear() and not one.causal else None
    exact: Any = 0.0
    shares = []
    for step in walk(scaled):
        rows.take(step)
        if columns is not None:
            columns.take(step)
        exact = _apart(scaled, step, exact)
        shares.append(_quotient(float(norms(step.gap).max()), float(norms(step.mixed).max())))
    return Scale(
        factor,
        mlp or one.up_weights is None,
        float(norms(step.after - one.tokens.astype(np.float64)).max()),
        float(norms(step.after - step.alone).max()),
        float(norms(exact).max()),
        min(float(rows.bound.max()), math.inf if columns is None else float(norms(columns.bound).max())),
        bounds.kappa(scaled, sizes),
        min(shares),
        max(shares),
    )


def _largest(swept: Sequence[Scale], at: Callable[[float], Scale], epsilon: float, name: str) -> float:
    """The largest factor up to which a quotient of every scale is at most epsilon, to 2^(1/32)."""
    good = 0.0
    for scale in swept:
        if getattr(scale, name) > epsilon:
            break
        good = scale.factor
    else:
        return good
    if not good:
        return 0.0
    bad = scale.factor
    while bad > good * _FINE * (1.0 + 1e-9):
        middle = math.sqrt(good * bad)
        if getattr(at(middle), name) > epsilon:
            bad = middle
        else:
            good = middle
    return good


def _quotient(a: float, b: float) -> float:
    return a / b if b else (math.inf if a else 0.0)
