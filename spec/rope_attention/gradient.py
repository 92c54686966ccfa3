"""The gradient of attention with relative positions, evaluated with certainty (proofs_notes/rope_attention.md, ROT-6).

After the scores it is the gradient of attention: with p the softmax, g_ij = ⟨dO_i, v_j⟩, δ_i = Σ_j p_ij g_ij and t_ij
the derivative of the softcap, dS_ij = t_ij p_ij (g_ij − δ_i) and dV_j = Σ_i p_ij dO_i.  Then, with the rotations R,

    dq_i = R_iᵀ·σ Σ_j dS_ij R_j k_j,    dk_j = R_jᵀ·σ Σ_i dS_ij R_i q_i          (rotary form)
    dq_ia = σ Σ_j Σ_s dS_ij W_(i−j)[s] k_j[b_s],  summed over the places s of row a      (general form; dk likewise)

where keys and values add up over the query heads of their group.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec.enclosure import DoubleDoubleBall, Enclosure, Float64Ball, within
from assay.spec.enclosure.arb import ArbArithmetic
from assay.spec.problem import InvalidInstance, Uncertified
from assay.spec.rope_attention.definition import General, Turned, relative_rows, transposed
from assay.spec.softmax.distribution import weighted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.spec.enclosure import Arithmetic
    from assay.spec.rope_attention.instance import Instance
    from assay.spec.softmax.distribution import Rows

    Array = NDArray[np.float64]

__all__ = ["gradients"]

_MOST_BITS = 1 << 14
_LARGEST = 1 << 20  # scores: their balls are in memory at once


def gradients(instance: Instance, grad_output: NDArray[Any], relative: float = 1e-12) -> dict[str, Enclosure]:
    """``grad_query``, ``grad_key`` and ``grad_value`` of Σ ⟨dO, output⟩, certified, shaped like these arrays.

    grad_output (b, h_q, n_q, d_v), its numbers exact.  A radius is at most ``relative`` times the largest sum of the
    array with p_ij(H_ij + G_i) in place of |dS_ij|, H_ij = Σ_c |dO_ic||v_jc| and G_i = Σ_j p_ij H_ij.
    Raises InvalidInstance for another shape, or for more than 2^20 scores.

    >>> from assay.spec.rope_attention import Instance
    >>> x = np.array([[1.0, 0.0], [0.0, 1.0]]).reshape(1, 1, 2, 2)
    >>> print(gradients(Instance(x, x, x, scale=1.0), x)["grad_query"][0, 0, 1, 0])
    -0.0638323885452 ± 5e-15
    """
    b, h, n_q, _ = instance.query.shape
    n_k, d_v = instance.value.shape[2:]
    if grad_output.shape != (b, h, n_q, d_v):
        raise InvalidInstance(f"grad_output: shape {grad_output.shape}, expected {(b, h, n_q, d_v)}")
    if b * h * n_q * n_k > _LARGEST:
        raise InvalidInstance(f"query: {b * h * n_q * n_k} scores, expected at most {_LARGEST}")
    incoming = grad_output.astype(np.float64).reshape(b * h, n_q, d_v)
    with np.errstate(all="ignore"):
        for arithmetic in _arithmetics():
            made, reach = _evaluated(instance, incoming, arithmetic)
            if all(within(made[name].error(), relative, reach[name], 2.0**-1074).all() for name in made):
                shapes = {name: getattr(instance, name.removeprefix("grad_")).shape for name in made}
                return {name: _enclosure(ball, shapes[name]) for name, ball in made.items()}
    raise Uncertified(f"relative: {relative!r} was not reached with {_MOST_BITS} bits")


def _arithmetics() -> list[Arithmetic]:
    bits = [128 << step for step in range(8)]
    return [Float64Ball, DoubleDoubleBall, *(ArbArithmetic(n) for n in bits if n <= _MOST_BITS)]


def _enclosure(ball: Any, shape: tuple[int, ...]) -> Enclosure:
    mid, rad = ball.rounded()
    return Enclosure(mid.reshape(shape), rad.reshape(shape), lambda: ball.full().reshape(shape))


def _evaluated(instance: Instance, incoming: Array, arithmetic: Arithmetic) -> tuple[dict[str, Any], dict[str, float]]:
    """The gradients of every head, keys and values summed over groups, and the sums that measure their radii."""
    rows = relative_rows(instance)
    heads, n_q, n_k = rows.attended.shape
    softmax = weighted(arithmetic, rows)
    some = softmax.attended.any(axis=2, keepdims=True)

    # p_ij = w_ij / D_i, without the sink;  g_ij = ⟨dO_i, v_j⟩;  δ_i = Σ_j p_ij g_ij
    probability = softmax.weight.divided(softmax.denominator)[..., :n_k].where(rows.attended & some, 0.0)
    product = arithmetic.product(incoming, np.swapaxes(rows.value, 1, 2)).where(rows.attended, 0.0)
    delta, _ = probability.times(product).times_matrix(np.ones((heads, n_k, 1)))

    # dS_ij = t_ij p_ij (g_ij − δ_i),  t = 1 − (s/c)²
    gradient = probability.times(product.minus_row(delta).where(rows.attended, 0.0))
    if rows.softcap is not None:
        share = softmax.capped.divided(arithmetic.exact(np.full((1, 1, 1), rows.softcap)))
        gradient = gradient.times(share.times(share).scaled(-1.0).plus(np.ones((1, 1, 1))))
    turned = transposed(gradient, (heads, n_q, n_k))

    # dV_j = Σ_i p_ij dO_i,  and dQ and dK of the form
    value, _ = transposed(probability, (heads, n_q, n_k)).times_matrix(incoming)
    if isinstance(rows, Turned):
        query, key = _rotary(rows, gradient, turned, arithmetic)
    else:
        assert isinstance(rows, General)
        query, key = _general(rows, gradient, turned, arithmetic)
    group = instance.group
    made = {
        "grad_query": query.scaled(rows.scale),
        "grad_key": _grouped(key, group, heads).scaled(rows.scale),
        "grad_value": _grouped(value, group, heads),
    }
    return made, _reach(rows, incoming, probability.rounded()[0], instance)


def _reach(rows: Rows, incoming: Array, p: Array, instance: Instance) -> dict[str, float]:
    moduli = np.where(rows.attended, np.abs(incoming) @ np.swapaxes(np.abs(rows.value), 1, 2), 0.0)
    size = p * (moduli + (p * moduli).sum(axis=2, keepdims=True))
    factor = abs(rows.scale)
    if instance.relative is not None:
        factor *= float(np.abs(instance.relative.astype(np.float64)).sum(axis=0).max())
    query, key = (np.abs(x).sum(axis=2).max(initial=0.0) for x in (rows.query, rows.key))
    return {
        "grad_query": factor * float(size.sum(axis=2).max()) * float(key),
        "grad_key": factor * float(size.sum(axis=1).max()) * float(query),
        "grad_value": float((np.swapaxes(p, 1, 2) @ np.abs(incoming)).max()),
    }


def _rotary(rows: Turned, gradient: Any, turned: Any, arithmetic: Arithmetic) -> tuple[Any, Any]:
    """dq = Rᵀ·(dS K), dk = Rᵀ·(dSᵀ Q), with the rotated K and Q."""
    query, key = rows.vectors(arithmetic)
    columns, _, sign = rows.order()
    half = rows.tokens.rotated // 2
    partner = np.concatenate([np.arange(half, 2 * half), np.arange(half), np.arange(2 * half, len(columns))])
    n_q, n_k = rows.query.shape[1], rows.key.shape[1]
    made = []
    for summed, places in (
        (gradient.matmul(key), np.arange(n_q)),
        (turned.matmul(query), rows.queries + np.arange(n_k)),
    ):
        cos, sin = rows.tables(arithmetic, places)
        back = cos.times(summed).plus_ball(
            sin.times(summed[..., partner]).scaled(np.broadcast_to(-sign, (1, 1, len(sign))))
        )
        made.append(back[..., np.argsort(columns)])
    return made[0], made[1]


def _general(rows: General, gradient: Any, turned: Any, arithmetic: Arithmetic) -> tuple[Any, Any]:
    """dq_ia and dk_jb, one column after the other."""
    heads, n_q, d = rows.query.shape
    n_k = rows.key.shape[1]
    offset = np.arange(n_q)[:, None] - np.arange(n_k) + (n_k - 1)
    query = [arithmetic.exact(np.zeros((heads, n_q, 1))) for _ in range(d)]
    key = [arithmetic.exact(np.zeros((heads, n_k, 1))) for _ in range(d)]
    for (row, column), numbers in zip(rows.support, rows.relative, strict=True):
        w = np.broadcast_to(numbers[offset], (heads, n_q, n_k))
        of_query, _ = gradient.scaled(w).times_matrix(rows.key[..., column : column + 1])
        of_key, _ = turned.scaled(np.swapaxes(w, 1, 2)).times_matrix(rows.query[..., row : row + 1])
        query[row], key[column] = query[row].plus_ball(of_query), key[column].plus_ball(of_key)
    return _joined(query, arithmetic), _joined(key, arithmetic)


def _joined(columns: list[Any], arithmetic: Arithmetic) -> Any:
    """Balls (stack, row, 1) side by side: each times a row of the identity, added up."""
    d = len(columns)
    total = None
    for number, column in enumerate(columns):
        unit = np.zeros((1, 1, d))
        unit[0, 0, number] = 1.0
        wide = column[..., np.zeros(d, dtype=np.intp)].scaled(unit)
        total = wide if total is None else total.plus_ball(wide)
    return total


def _grouped(balls: Any, group: int, heads: int) -> Any:
    """The sum over the query heads of every group."""
    first = np.arange(0, heads, group)
    total = balls[first]
    for other in range(1, group):
        total = total.plus_ball(balls[first + other])
    return total
