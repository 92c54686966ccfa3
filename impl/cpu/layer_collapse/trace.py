"""A network and its collapsed counterpart, walked side by side, layer by layer and head by head (LC-5).

With P_h the attention of head h and C uniform attention (the running mean where the network is causal), a layer makes
of Z, its input after a norm that precedes it,

    Σ_h P_h Z V_h = C Z Σ_h V_h + G,    G = Σ_h (P_h − C) Z V_h.

The collapsed network leaves out G.  All is float64, and G is computed without cancellation: where attention is nearly
uniform, G has as many digits as anything else.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.layer_collapse.forward import projected
from assay.impl.cpu.layer_collapse.parts import Attention
from assay.impl.cpu.layer_collapse.rows import running_diameter
from assay.impl.cpu.norms import norms

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from assay.impl.cpu.layer_collapse.parts import Feedforward, Layer, Network, Norm

    Array = NDArray[np.float64]

__all__ = ["Head", "Part", "Step", "averaged", "heads", "walk"]

_SCORES = 1 << 21  # that are in memory at a time
_COMPARED = 256  # tokens of which all pairs of rows of scores are compared


@dataclass(frozen=True, eq=False)
class Head:
    """One head at the tokens Z that its layer was handed.

    carried (n, d): (Z − 1c) V_h for some vector c.  gap (n, d): (P_h − C) Z V_h.  apart (n, d): the same but for a row
    that all rows have in common, with the digits of the differences; of a uniform network, else gap.
    range, deviation (n,): at least the range η_i and the standard deviation of every row of scores, over the tokens
    that it attends to.  pairs: at least the largest range of a difference of two rows of scores; +∞ where it was not
    computed, or where rows differ by more than their tokens.
    """

    carried: Array
    gap: Array
    apart: Array
    range: Array
    deviation: Array
    pairs: float

    @functools.cached_property
    def diameters(self) -> Array:
        """(n,): those of the first 1, 2, … rows of ``carried``."""
        return running_diameter(self.carried)


@dataclass(frozen=True, eq=False)
class Part:
    """A sub-layer, or the norm at the end, in the network and in its collapsed counterpart: pairs of (n, d).

    entered: the tokens before it.  function: what is computed of ``input``, the tokens after a norm that precedes it;
    ``None`` for a norm alone.  summed: the output, with the skip connection and before a norm that follows.
    """

    function: Attention | Feedforward | None
    norm: Norm | None
    entered: tuple[Array, Array]
    input: tuple[Array, Array]
    summed: tuple[Array, Array]


@dataclass(frozen=True, eq=False)
class Step:
    """One layer of a walk.

    before, after (n, d): X_ℓ and X_{ℓ+1}.  collapsed: Y_{ℓ+1}.  alone: what the tokens become where attention adds
    nothing but its biases, so that no token sees another.  heads: of its attention.  entered (n, d): Z, which attention
    works on; less a vector that all rows have in common where it is known apart from that, and so to all of its digits.
    mixed (n, d): Σ_h P_h Z V_h.  gap: G (n, d).  apart: the sum of that of the heads.
    """

    number: int
    layer: Layer
    parts: tuple[Part, ...]
    heads: tuple[Head, ...]
    entered: Array
    mixed: Array
    gap: Array
    apart: Array
    before: Array
    after: Array
    collapsed: Array
    alone: Array


def walk(network: Network, *, pairs: bool = False) -> Iterator[Step]:
    """Yield the layers of a network in order.

    pairs: whether rows of scores are compared pair by pair, which takes time n³ for each head.
    """
    instance = network.instance
    post = instance.norm_place == "post"
    x = y = alone = instance.tokens.astype(np.float64)
    # x without a vector that all tokens have in common: where it is known apart from x, it keeps its digits however
    # close to each other the tokens come
    known = network.is_uniform and instance.is_linear()
    difference = x - x[0]
    difference = difference - difference.mean(axis=0)
    for number in range(instance.layers):
        layer = network.layer(number)
        before, into, mixed, gap, apart = x, *(np.zeros_like(x) for _ in range(4))
        parts: list[Part] = []
        found: tuple[Head, ...] = ()
        for function, norm in ((layer.attention, layer.attention_norm), (layer.feedforward, layer.feedforward_norm)):
            if function is None:
                continue
            entered = (x, y, alone)
            inputs = entered if norm is None or post else tuple(norm.apply(one) for one in entered)
            if isinstance(function, Attention):
                z = inputs[0]
                difference = difference if known else z - z.mean(axis=0)
                into = difference if known else z
                found = tuple(heads(network, layer, z, difference, pairs=pairs))
                gap, apart = (np.add.reduce([getattr(head, name) for head in found]) for name in ("gap", "apart"))
                constant = function.constant()
                uniform = [averaged(one, instance.causal) @ function.total for one in inputs[:2]]
                mixed = uniform[0] + gap
                outputs = [mixed, uniform[1], np.zeros_like(x)]
                outputs = outputs if constant is None else [one + constant for one in outputs]
            else:
                outputs = [function.apply(one) for one in inputs]
            summed = [one + new for one, new in zip(entered, outputs, strict=True)] if instance.skip else outputs
            x, y, alone = summed if norm is None or not post else (norm.apply(one) for one in summed)
            parts.append(Part(function, norm, (entered[0], entered[1]), (inputs[0], inputs[1]), (summed[0], summed[1])))
        final = network.final() if number == instance.layers - 1 else None
        if final is not None:
            parts.append(Part(None, final, (x, y), (x, y), (x, y)))
            x, y, alone = (final.apply(one) for one in (x, y, alone))
        difference = difference + apart if instance.skip else apart
        difference = difference - difference.mean(axis=0)
        yield Step(number, layer, tuple(parts), found, into, mixed, gap, apart, before, x, y, alone)


def averaged(x: Array, causal: bool) -> Array:
    """(n, d): C x, the mean of all rows, or the mean of the rows up to each where the network is causal."""
    if causal:
        running: Array = np.cumsum(x, axis=0) / np.arange(1, len(x) + 1)[:, None]
        return running
    return np.broadcast_to(x.mean(axis=0), x.shape)


def heads(network: Network, layer: Layer, z: Array, difference: Array, *, pairs: bool = False) -> Iterator[Head]:
    """Yield the heads of a layer at its input Z; ``difference`` is Z without a vector that is common to all rows."""
    attention, causal = layer.attention, network.instance.causal
    query, key, _ = projected(layer, z, network.rotary)
    if network.rotary is None:  # a vector that all keys have in common changes no weight
        key = difference @ attention.key
    compared = pairs and network.is_uniform and len(z) <= _COMPARED
    turned = difference @ attention.query if network.is_uniform else query
    depth = sum(attention.key.shape[1:]) + 16
    for head in range(attention.heads):
        shared = head // attention.group
        keys, carried = key[shared], attention.carried(head, difference)
        # what a score errs by at most: products of d and of k numbers in float64
        longest = norms(z) * _frobenius(attention.query[head]) + _frobenius(attention.query_bias, head)
        reach = float(norms(difference if network.rotary is None else z).max()) * _frobenius(attention.key[shared])
        reach += 0.0 if network.rotary is None else _frobenius(attention.key_bias, shared)
        error = 4.0 * depth * 2.0**-53 * abs(attention.scale) * longest * reach
        gap, ranges, deviation = _gap(attention.scale, query[head], keys, carried, causal)
        apart = gap
        if network.is_uniform:
            common = query[head].mean(axis=0) - turned[head].mean(axis=0)
            apart = _apart(attention.scale, common, turned[head], keys, carried, gap)
        widest = np.inf
        if compared:
            scores = attention.scale * (turned[head] @ keys.T)
            widest = max(float(np.ptp(scores - row, axis=1).max()) for row in scores)
            widest += (
                4.0 * float(error.max()) * float(norms(difference).max() / norms(z).max() if norms(z).max() else 1)
            )
        yield Head(carried, gap, apart, ranges + 2.0 * error, deviation + error, widest)


def _frobenius(x: Array | None, number: int | None = None) -> float:
    """The Euclidean norm of all numbers of an array, or of one of its parts; 0 for none."""
    return 0.0 if x is None else float(np.linalg.norm(x if number is None else x[number]))


def _gap(scale: float, query: Array, key: Array, carried: Array, causal: bool) -> tuple[Array, Array, Array]:
    """(P − C) T for T = ``carried``, and the range and the standard deviation of every row of scores."""
    n = len(query)
    centred = carried - carried.mean(axis=0)
    gap, ranges, deviation = np.empty_like(carried), np.empty(n), np.empty(n)
    rows = max(1, _SCORES // n)
    for start in range(0, n, rows):
        part = slice(start, min(start + rows, n))
        scores = scale * (query[part] @ key.T)
        seen = np.ones(scores.shape, np.bool_)
        if causal:
            seen = np.arange(n)[None] <= np.arange(part.start, part.stop)[:, None]
        count = seen.sum(axis=1, keepdims=True)

        def mean(x: Array, seen: Any = seen, count: Any = count) -> Array:
            found: Array = np.where(seen, x, 0.0).sum(axis=1, keepdims=True) / count
            return found

        top = np.where(seen, scores, -np.inf).max(axis=1, keepdims=True)
        below = np.where(seen, scores - top, 0.0)
        ranges[part] = -below.min(axis=1)
        deviation[part] = np.sqrt(mean(np.square(below - mean(below))))[:, 0]
        # p_j − 1/m = (m_j − mean m)/Σ e^(s_j − top), m_j = e^(s_j − top) − 1, over the m tokens that are seen
        less, total = np.expm1(below), np.where(seen, np.exp(below), 0.0).sum(axis=1, keepdims=True)
        gap[part] = np.where(seen, less - mean(less), 0.0) / total @ centred
    return gap, ranges, deviation


def _apart(scale: float, common: Array, turned: Array, key: Array, carried: Array, gap: Array) -> Array:
    """(P − 1pᵀ) T, p the softmax of the scores of the query ``common``, of which query i is ``common + turned_i``.

    Row i is Σ_j p_j (e^(δ_ij) − Σ_k p_k e^(δ_ik)) t_j/Σ_k p_k e^(δ_ik) with the differences of scores δ_ij, which keeps
    its digits where these are small.  Where they are not, so are the differences of the rows of ``gap``.
    """
    scores = scale * (key @ common)
    p = np.exp(scores - scores.max())
    p /= p.sum()
    apart = np.empty_like(gap)
    rows = max(1, _SCORES // len(key))
    for start in range(0, len(gap), rows):
        part = slice(start, start + rows)
        differences = scale * (turned[part] @ key.T)
        if np.abs(differences).max() > 1.0:
            return gap
        more = np.expm1(differences)
        mean = (more @ p)[:, None]
        apart[part] = (more - mean) * p / (1.0 + mean) @ carried
    return apart
