"""How far a network is from its collapsed counterpart, bounded from above (proofs_notes/layer_collapse.md).

:func:`diameters` and :func:`computed_diameters` say how far the tokens of a network without norms and MLPs can spread
(LC-6, LC-7); :func:`columns` how far such a network is from one uniform layer, number by number (LC-6); and
:func:`distances_to_collapse` how far any network is from its collapsed counterpart, token by token (LC-8 to LC-10).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assay.spec.enclosure import Enclosure, Float64Ball
from assay.spec.floating_point import require_usual
from assay.spec.layer_collapse.definition import evaluate
from assay.spec.layer_collapse.norms import (
    SLACK,
    distances,
    head_norms,
    largest_distance,
    row_ranges,
    spectral_norm,
    value_matrix,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from assay.spec.layer_collapse.instance import Instance

    Array = NDArray[np.float64]

__all__ = [
    "LIPSCHITZ", "Diameters", "columns", "computed_diameters", "diameters", "distances_to_collapse", "kappa",
]  # fmt: skip

#: Lipschitz constants of the activations (LC-10).
LIPSCHITZ: Mapping[str, float] = {"relu": 1.0, "gelu": 1.13, "gelu_tanh": 1.13, "silu": 1.1}


@dataclass(frozen=True)
class Diameters:
    """Upper bounds after 0, 1, … L layers, each of shape (L + 1,).

    tokens: of D(X_ℓ), the largest distance of two tokens.
    update: of D(X_ℓ − X_0): by how much the updates of two tokens differ.  Without skip connections it is the sum of
    both diameters.
    """

    tokens: Array
    update: Array


def kappa(instance: Instance) -> Array:
    """κ = ½·Σ_ℓ Σ_h |σ|‖A_h‖‖V_h‖·D(X_0)² of the first 0, 1, … L layers, (L + 1,), rounded up (LC-6).

    While it is below 1, D(X_L) ≤ D(X_0)/√(1 − κ), and D(X_L − X_0) ≤ D(X_0)·(1/√(1 − κ) − 1), for a network with skip
    connections.  It does not change where one vector is added to all tokens.
    Raises ``ValueError`` for a network with norms, MLPs or a causal mask, of which κ says nothing.

    >>> from assay.spec.layer_collapse import Instance
    >>> one = np.ones((3, 1, 1, 1))
    >>> kappa(Instance(np.array([[0.0], [0.5]]), one, one, one)).round(6)
    array([0.   , 0.125, 0.25 , 0.375])
    """
    require_usual()
    _require_plain(instance)
    scores, values = head_norms(instance)
    start = _spread(instance)
    layers = (scores * values).sum(axis=1) * (0.5 * start**2)
    return np.concatenate([[0.0], np.cumsum(layers)]) * SLACK


def diameters(instance: Instance) -> Diameters:
    """What norms of the weights and the diameter of the first tokens say: LC-6 with skip connections, LC-7 without.

    D_{ℓ+1} ≤ (D_ℓ, with skip connections) + Σ_h tanh(|σ|‖A_h‖D_ℓ²/4)·‖V_h‖·D_ℓ.
    Raises ``ValueError`` for a network with norms, MLPs or a causal mask.

    >>> from assay.spec.layer_collapse import Instance
    >>> one = np.ones((3, 1, 1, 1))
    >>> print(*(f"{x:.3g}" for x in diameters(Instance(np.array([[0.0], [0.5]]), one, one, one, skip=False)).tokens))
    0.5 0.0312 7.6e-06 1.1e-16
    """
    require_usual()
    _require_plain(instance)
    scores, values = head_norms(instance)
    tokens, moved = [_spread(instance)], []
    with np.errstate(over="ignore", invalid="ignore"):
        for layer in range(instance.layers):
            before = tokens[-1]
            moved.append(float((np.tanh(scores[layer] * before**2 / 4) * values[layer]).sum()) * before * SLACK)
            tokens.append((before + moved[-1]) * SLACK if instance.skip else moved[-1])
    return _from_steps(instance, tokens[0], moved)


def computed_diameters(instance: Instance, relative: float = 1e-12) -> Diameters:
    """The same with computed ranges in place of norms: LC-6 and LC-7.

    D(X_{ℓ+1} − X_ℓ), or D(X_{ℓ+1}) without skip connections, is at most Σ_h max_ii′ tanh(range_j(s_ij − s_i′j)/4)·
    D(X_ℓ V_h), where the scores s and the tokens are those of the network itself.
    """
    _require_plain(instance)
    exact = evaluate(instance, relative)
    attended = instance.attends()
    moved = []
    for layer in range(instance.layers):
        spread = _visible_diameters(instance, distances(_outputs_of_values(instance, exact, layer)))[:, 0]
        ranges = _largest_difference(exact[f"{layer}/score"], attended)
        moved.append(float((np.tanh(ranges / 4) * spread).sum()) * SLACK)
    return _from_steps(instance, _spread(instance), moved)


def columns(instance: Instance, relative: float = 1e-12) -> Array:
    """Upper bounds of |X_ℓ − Y_ℓ|, (L, n, d), Y the collapsed network: LC-6, number by number.

    Row i of head h contributes (t_i + mean t)·range of the columns of X V_h, t_i = tanh(η_i/4), η_i the range of its
    scores; only the mean is carried through the later layers, by |Π(I + V)|.
    Raises ``ValueError`` for a network without skip connections, or with norms, MLPs or a causal mask.
    """
    _require_plain(instance)
    if not instance.skip:
        raise ValueError("skip: False, expected a network with skip connections")
    exact = evaluate(instance, relative)
    n, d = instance.tokens.shape
    attended = instance.attends()
    own = np.zeros((n, d))
    after = []
    carry: list[Array] = []  # the mean row of every layer so far, and
    products: list[Float64Ball] = []  # the product of all I + V after it
    for layer in range(instance.layers):
        total = _total_value(instance, layer)
        step = Float64Ball(total.mid + np.eye(d), (total.rad + 2.0**-52 * np.abs(total.mid + np.eye(d))) * SLACK)
        products = [product.matmul(step) for product in products]
        t = np.tanh(row_ranges(exact[f"{layer}/score"], attended) / 4) * SLACK  # (h, n)
        values = _outputs_of_values(instance, exact, layer)
        present = np.ones(n, dtype=bool) if instance.mask is None else instance.mask
        high, low = (values.midpoint + values.radius)[:, present], (values.midpoint - values.radius)[:, present]
        ranges = (high.max(axis=1) - low.min(axis=1)) * SLACK  # (h, d)
        mean = t[:, present].mean(axis=1) * SLACK
        own = (own + ((t + mean[:, None])[:, :, None] * ranges[:, None, :]).sum(axis=0)) * SLACK
        carry.append((mean[:, None] * ranges).sum(axis=0) * SLACK)
        products.append(Float64Ball.exact(np.eye(d)))
        carried = np.zeros(d)
        for size, product in zip(carry, products, strict=True):
            carried = (carried + size @ (np.abs(product.mid) + product.rad)) * SLACK
        after.append(own + carried)
    return np.stack(after) * SLACK


def distances_to_collapse(instance: Instance, relative: float = 1e-12) -> Array:
    """Upper bounds of ‖x_i − y_i‖ after every layer, (L, n), y the tokens of the collapsed network: LC-8 to LC-10.

    The network and its counterpart are both evaluated, and their difference is bounded sub-layer by sub-layer.  With
    e_i the bound before it and δ_i that after a norm before it, attention adds
    ‖Σ_h V_h‖·(mean of δ_j over what i attends to) + Σ_h tanh(η_i/4)·D(N(X)V_h), the diameter being that of the tokens
    that i attends to; an MLP adds its Lipschitz constant times δ_i; and a norm multiplies by
    2·max|g|/(s_x + s_y), s the roots that the two networks divide by.
    """
    exact, flat = evaluate(instance, relative), evaluate(instance, relative, uniform=True)
    attended = instance.attends()
    mean = attended / attended.sum(axis=1, keepdims=True)
    e = np.zeros(len(instance.tokens))
    after = []

    def normed(place: str, error: Array) -> Array:
        roots = sum(trace[f"{place}/root"].midpoint - trace[f"{place}/root"].radius for trace in (exact, flat))
        gain = instance.parameter(place, "gain")
        largest = 1.0 if gain is None else float(np.abs(gain).max())
        rate: Array = 2 * largest / np.asarray(roots)[:, 0] * SLACK
        return rate * error

    def sublayer(place: str, error: Array, added: Array, rate: Array) -> Array:
        """rate: what the function of the sub-layer multiplies differences of its inputs by, (n, n)."""
        before = instance.norm is not None and instance.norm_place == "pre"
        inner = normed(f"{place}/norm", error) if before else error
        error = ((error if instance.skip else 0.0) + added + rate @ inner) * SLACK
        return normed(f"{place}/norm", error) if instance.norm is not None and not before else error

    with np.errstate(over="ignore", invalid="ignore"):
        for layer in range(instance.layers):
            t = np.tanh(row_ranges(exact[f"{layer}/score"], attended) / 4) * SLACK
            spread = _visible_diameters(instance, distances(_outputs_of_values(instance, exact, layer)))
            norm = spectral_norm(_total_value(instance, layer))
            e = sublayer(f"{layer}/attention", e, (t * spread).sum(axis=0) * SLACK, norm * mean * SLACK)
            if instance.up_weights is not None:
                rate = np.diag(_mlp_rates(instance, layer, exact, flat))
                e = sublayer(f"{layer}/mlp", e, np.zeros_like(e), rate)
            if instance.final_norm and layer == instance.layers - 1:
                e = normed("final/norm", e)
            after.append(e)
    return np.where(np.isnan(after), np.inf, np.stack(after)) * SLACK


def _require_plain(instance: Instance) -> None:
    if not instance.is_linear():
        raise ValueError(
            "norm, up_weights: a network with norms or MLPs, expected one without, of which the bound speaks"
        )
    if instance.causal:
        raise ValueError("causal: True, expected a network in which all tokens attend to the same tokens")


def _spread(instance: Instance) -> float:
    """D(X_0)."""
    tokens = instance.tokens.astype(np.float64)
    return largest_distance(Enclosure(tokens, np.zeros_like(tokens)))


def _from_steps(instance: Instance, start: float, moved: list[float]) -> Diameters:
    """The bounds, from D(X_0) and from what every layer adds to the diameter, or makes of it without skips."""
    if instance.skip:
        update = np.concatenate([[0.0], np.cumsum(moved)]) * SLACK
        return Diameters(tokens=(start + update) * SLACK, update=update)
    tokens = np.array([start, *moved])
    return Diameters(tokens, update=np.concatenate([[0.0], (tokens[1:] + start) * SLACK]))


def _total_value(instance: Instance, layer: int) -> Float64Ball:
    """Σ_h V_h, (d, d)."""
    heads = [value_matrix(instance, layer, head) for head in range(instance.query_weights.shape[1])]
    total = heads[0]
    for head in heads[1:]:
        total = total.plus_ball(head)
    return total


def _outputs_of_values(instance: Instance, exact: Mapping[str, Enclosure], layer: int) -> Enclosure:
    """X V_h, (h, n, d), the bias included: what the probabilities of a head average."""
    value = exact[f"{layer}/value"]
    shared = np.arange(instance.query_weights.shape[1]) // instance.group
    ball = Float64Ball(value.midpoint[shared], value.radius[shared])
    if instance.output_weights is not None:
        ball, _ = ball.times_matrix(instance.output_weights[layer].astype(np.float64))
    return Enclosure(*ball.rounded())


def _largest_difference(scores: Enclosure, attended: NDArray[np.bool_]) -> Array:
    """max_ii′ range_j(s_ij − s_i′j) of every head, (h,): all rows attend to the same tokens."""
    seen = attended[0]
    mid, rad = scores.midpoint[..., seen], scores.radius[..., seen]
    largest = np.zeros(len(mid))
    for i in range(mid.shape[1]):
        gap, off = mid - mid[:, i : i + 1], rad + rad[:, i : i + 1]
        size = 2.0**-50 * (np.abs(mid) + np.abs(mid[:, i : i + 1]))
        ranges = (gap + off + size).max(axis=2) - (gap - off - size).min(axis=2)
        largest = np.maximum(largest, ranges.max(axis=1))
    return largest * SLACK


def _visible_diameters(instance: Instance, between: Array) -> Array:
    """The largest distance of two tokens that token i attends to, (h, n), from all distances (h, n, n)."""
    if instance.mask is not None:
        between = np.where(instance.mask[:, None] & instance.mask, between, 0.0)
    if instance.causal:
        largest: Array = np.maximum.accumulate(np.maximum.accumulate(between, axis=1), axis=2)
        return np.diagonal(largest, axis1=1, axis2=2)
    return np.broadcast_to(between.max(axis=(1, 2))[:, None], between.shape[:2])


def _mlp_rates(instance: Instance, layer: int, exact: Mapping[str, Enclosure], flat: Mapping[str, Enclosure]) -> Array:
    """What the MLP multiplies the distance of a token of the network and one of its counterpart by, (n,): LC-10."""
    assert instance.up_weights is not None
    assert instance.down_weights is not None
    steep = LIPSCHITZ[instance.activation]
    up, down = (
        spectral_norm(Float64Ball.exact(weights[layer].astype(np.float64)))
        for weights in (instance.up_weights, instance.down_weights)
    )
    n = len(instance.tokens)
    if instance.gate_weights is None:
        return np.full(n, up * down * steep * SLACK)
    gate = spectral_norm(Float64Ball.exact(instance.gate_weights[layer].astype(np.float64)))
    # |a(x)| ≤ |x|, for every activation
    opened = (np.abs(exact[f"{layer}/gate"].midpoint) + exact[f"{layer}/gate"].radius).max(axis=1)
    size = (np.abs(flat[f"{layer}/up"].midpoint) + flat[f"{layer}/up"].radius).max(axis=1)
    rates: Array = (opened * up + steep * size * gate) * down * SLACK
    return rates
