"""The softmax of an instance in certified arithmetic: scores, weights and their sums, one paragraph a formula.

Problems with a softmax evaluate what they are from here on.  Everything runs in any arithmetic of
:mod:`assay.spec.enclosure`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from typing import Self

    from numpy.typing import NDArray

    from assay.spec.enclosure import Arithmetic
    from assay.spec.softmax.masks import Masked

    Array = NDArray[np.float64]

__all__ = ["Rows", "Weighted", "flattened", "scored", "weighted"]


@dataclass(frozen=True, eq=False)
class Rows:
    """Some rows of some heads: the axes are (head, row), keys, dims."""

    query: Array
    key: Array
    value: Array
    attended: NDArray[np.bool_]
    bias: Array | None
    sink: Array | None  # (head,)
    scale: float
    softcap: float | None

    def __getitem__(self, at: tuple[Any, Any]) -> Self:
        heads, rows = at
        grid = np.ix_(heads, rows)
        return dataclasses.replace(
            self,
            query=self.query[grid],
            key=self.key[heads],
            value=self.value[heads],
            attended=self.attended[grid],
            bias=None if self.bias is None else self.bias[grid],
            sink=None if self.sink is None else self.sink[heads],
        )

    def product(self, arithmetic: Arithmetic) -> Any:
        """The balls of ⟨q_i, k_j⟩, or of what a problem has in its place: (head, row), keys."""
        return arithmetic.product(self.query, np.swapaxes(self.key, 1, 2))

    def averaged(self, arithmetic: Arithmetic, weight: Any) -> tuple[Any, Any]:
        """The balls of Σ_j w_ij v_j, (head, row), columns, and an approximate Σ_j w_ij|v_j|, finite.

        weight: of every key, a sink being the last one, of value zero.
        """
        value = self.value
        if self.sink is not None:
            value = np.concatenate([value, np.zeros_like(value[:, :1])], axis=1)
        made: tuple[Any, Any] = weight.times_matrix(value)
        return made

    def against_values(self, arithmetic: Arithmetic, x: Array) -> Any:
        """The balls of ⟨x_i, v_j⟩, (head, row), keys, for exact x (head, row, columns of V)."""
        return arithmetic.product(x, np.swapaxes(self.value, 1, 2))

    def keys_summed(self, arithmetic: Arithmetic, weight: Any) -> Any:
        """The balls of Σ_j w_ij k_j, (head, row), dims, for balls w (head, row), keys, without a sink."""
        return weight.times_matrix(self.key)[0]


def flattened(instance: Masked) -> Rows:
    """The instance with one axis for batches and heads; every query head has its own copy of its keys and values."""
    b, h, n_q, d = instance.query.shape
    n_k, d_v = instance.value.shape[2:]
    group = instance.group
    full = (b, h, n_q, n_k)
    bias = None
    if (added := instance.added_bias()) is not None:
        bias = np.broadcast_to(added, full).astype(np.float64).reshape(b * h, n_q, n_k)
    assert instance.scale is not None
    return Rows(
        query=instance.query.astype(np.float64).reshape(b * h, n_q, d),
        key=np.repeat(instance.key.astype(np.float64), group, axis=1).reshape(b * h, n_k, d),
        value=np.repeat(instance.value.astype(np.float64), group, axis=1).reshape(b * h, n_k, d_v),
        attended=instance.visible().reshape(b * h, n_q, n_k),
        bias=bias,
        sink=None if instance.sink is None else np.tile(instance.sink.astype(np.float64), b),
        scale=instance.scale,
        softcap=instance.softcap,
    )


@dataclass(frozen=True, eq=False)
class Weighted:
    """Scores and weights of some rows, as balls.  A sink is the last key.

    score: s_ij, after scale, softcap and bias; 0 where the query does not attend.  capped: s_ij before the bias.
    shift: m_i.  below: s_ij − m_i.  weight: e^below, 0 where the query does not attend.  denominator: D_i = Σ_j weight.
    log_denominator: ln D_i, so that the log-sum-exp is m_i + ln D_i.
    """

    score: Any
    capped: Any
    attended: NDArray[np.bool_]
    shift: Any
    below: Any
    weight: Any
    denominator: Any
    log_denominator: Any


def scored(arithmetic: Arithmetic, rows: Rows) -> tuple[Any, Any]:
    """The scores before and after the bias, without a sink."""
    # s_ij = scale·⟨q_i, k_j⟩
    score = rows.product(arithmetic).scaled(rows.scale)

    # s_ij ← c·tanh(s_ij / c)
    if rows.softcap is not None:
        score = score.capped(rows.softcap)

    # s_ij ← s_ij + bias_ij
    capped = score
    if rows.bias is not None:
        score = score.plus(np.where(rows.attended, rows.bias, 0.0))
    return capped, score


def weighted(arithmetic: Arithmetic, rows: Rows) -> Weighted:
    """The softmax of every row, as far as the sum that its weights are divided by."""
    attended = rows.attended
    capped, score = scored(arithmetic, rows)

    # a sink is one more key, of its own score
    if rows.sink is not None:
        column = np.broadcast_to(rows.sink[:, None, None], (*attended.shape[:2], 1))
        score = score.joined(column)
        attended = np.concatenate([attended, np.ones_like(column, dtype=bool)], axis=2)

    # w_ij = e^(s_ij − m_i), m_i near the largest score of the row
    score = score.where(attended, 0.0)
    shift = score.largest(attended)
    below = score.minus_row(shift)
    weight = below.where(attended, 0.0).exp().where(attended, 0.0)

    # D_i = Σ_j w_ij,  lse_i = m_i + ln D_i
    denominator = weight.total()
    return Weighted(score, capped, attended, shift, below, weight, denominator, denominator.log())
