"""What a collapsed network is in closed form: one uniform layer, or L fixed mixings (LC-5, LC-8).

A network with uniform attention is a recursion (:func:`~assay.spec.layer_collapse.definition.collapse`).  Without norms
and MLPs it is linear in the tokens, and has one of these forms; with them it is a mean-field network, which has none.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec.enclosure import ArbArithmetic, Enclosure
from assay.spec.floating_point import require_usual

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.spec.enclosure import ArbBall
    from assay.spec.layer_collapse.instance import Instance

__all__ = ["counterpart", "mixings", "one_layer"]


def counterpart(instance: Instance) -> str:
    """What the network collapses to: ``"one uniform layer"``, ``"fixed mixings"`` or ``"mean-field network"``.

    >>> from assay.spec.layer_collapse import Instance
    >>> one = np.ones((1, 1, 1, 1))
    >>> counterpart(Instance(np.ones((2, 1)), one, one, one)), counterpart(
    ...     Instance(np.ones((2, 1)), one, one, one, causal=True)
    ... )
    ('one uniform layer', 'fixed mixings')
    """
    if not instance.is_linear():
        return "mean-field network"
    return "fixed mixings" if instance.causal else "one uniform layer"


def one_layer(instance: Instance, relative: float = 1e-12) -> Enclosure:
    """The tokens after every layer of the collapsed network, (L, n, d), from the mean token alone: LC-5.

    X_0 + 1·(m_ℓ − m_0) with skip connections and 1·m_ℓ without, where m_0 is the mean of the tokens that are attended
    to, and m_{ℓ+1} = m_ℓ(I + V) + b, or m_ℓ V + b.  V = Σ_h V_h, and b is what the biases of a layer add.
    Raises ``ValueError`` for a network that does not collapse to one uniform layer.
    """
    if counterpart(instance) != "one uniform layer":
        raise ValueError(
            f"a network that collapses to {counterpart(instance)}, expected one without norm, MLP and causal"
        )
    arithmetic = _arithmetic(relative)
    tokens = arithmetic.exact(instance.tokens.astype(np.float64))
    mean = _averages(instance, arithmetic)[:1].matmul(tokens)
    first, made = mean, []
    for layer in range(instance.layers):
        value, bias = _layer(instance, arithmetic, layer)
        step = mean.matmul(value).plus_ball(bias)
        mean = mean.plus_ball(step) if instance.skip else step
        made.append(
            tokens.plus_ball(mean.plus_ball(first.scaled(-1.0))) if instance.skip else _everywhere(mean, tokens)
        )
    return _enclosure(made)


def mixings(instance: Instance, relative: float = 1e-12) -> tuple[Enclosure, Enclosure]:
    """The tokens after the last layer of the collapsed network, (n, d), and the weights of its mixings, (L + 1, d, d).

    The tokens are Σ_k C^k X_0 e_k + 1·r: C averages what a token attends to, and e_k = Σ V_{ℓ1}⋯V_{ℓk} over
    ℓ1 < … < ℓk, without skip connections the last of them alone; r is what the biases add (LC-8).
    Raises ``ValueError`` for a network with norms or MLPs.
    """
    if not instance.is_linear():
        raise ValueError("norm, up_weights: a network with norms or MLPs, expected one without")
    arithmetic, d = _arithmetic(relative), instance.tokens.shape[1]
    identity, zero = arithmetic.exact(np.eye(d)), arithmetic.exact(np.zeros((d, d)))
    weights = [identity] + [zero] * instance.layers
    rest = arithmetic.exact(np.zeros((1, d)))
    for layer in range(instance.layers):
        value, bias = _layer(instance, arithmetic, layer)
        rest, before = rest.matmul(value).plus_ball(bias), rest
        moved = [zero, *(weight.matmul(value) for weight in weights[:-1])]
        if instance.skip:
            rest = rest.plus_ball(before)
            moved = [old.plus_ball(new) for old, new in zip(weights, moved, strict=True)]
        weights = moved
    average, tokens = _averages(instance, arithmetic), arithmetic.exact(instance.tokens.astype(np.float64))
    total = _everywhere(rest, tokens)
    for weight in weights:
        total = total.plus_ball(tokens.matmul(weight))
        tokens = average.matmul(tokens)
    return _enclosure([total])[0], _enclosure(weights)


def _arithmetic(relative: float) -> ArbArithmetic:
    if not 0.0 < relative < 1.0:
        raise ValueError(f"relative: {relative!r}, expected a number between 0 and 1")
    require_usual()
    return ArbArithmetic(128 + math.ceil(-2 * math.log2(relative)))


def _averages(instance: Instance, arithmetic: ArbArithmetic) -> ArbBall:
    """C, (n, n): one over the number of tokens that a token attends to, for each of these."""
    attended = instance.attends().astype(np.float64)
    return arithmetic.exact(attended).divided(arithmetic.exact(attended.sum(axis=1, keepdims=True)))


def _layer(instance: Instance, arithmetic: ArbArithmetic, layer: int) -> tuple[ArbBall, ArbBall]:
    """V = Σ_h V_h, (d, d), and b = Σ_h b_h W_O + b_O, (1, d)."""
    d = instance.tokens.shape[1]
    value, bias = arithmetic.exact(np.zeros((d, d))), arithmetic.exact(np.zeros((1, d)))

    def exact(array: NDArray[Any]) -> ArbBall:
        return arithmetic.exact(np.atleast_2d(array.astype(np.float64)))

    for head in range(instance.query_weights.shape[1]):
        of = layer, head // instance.group
        parts = [exact(instance.value_weights[of])]
        parts += [] if instance.value_bias is None else [exact(instance.value_bias[of])]
        if instance.output_weights is not None:
            parts = [part.matmul(exact(instance.output_weights[layer, head])) for part in parts]
        value = value.plus_ball(parts[0])
        bias = bias.plus_ball(parts[1]) if len(parts) > 1 else bias
    return value, bias if instance.output_bias is None else bias.plus_ball(exact(instance.output_bias[layer]))


def _everywhere(row: ArbBall, like: ArbBall) -> ArbBall:
    """One row for every token."""
    return row[np.zeros(len(like.balls), dtype=int)]


def _enclosure(balls: list[ArbBall]) -> Enclosure:
    middle, radius = (np.stack(part) for part in zip(*(ball.rounded() for ball in balls), strict=True))
    return Enclosure(middle, radius, lambda: np.stack([ball.full() for ball in balls]))
