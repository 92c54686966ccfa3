"""What attention with relative positions is, evaluated with certainty.

The scores are written here, one paragraph a formula; what follows them is :mod:`assay.spec.attention.definition`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from assay.spec import rope
from assay.spec.attention import definition as attention
from assay.spec.memory import OUTPUTS, require_evaluable
from assay.spec.rotary.turning import paired, rotation
from assay.spec.softmax.distribution import Rows, flattened

if TYPE_CHECKING:
    from typing import Self

    from numpy.typing import NDArray

    from assay.spec.attention.definition import Exact
    from assay.spec.enclosure import Arithmetic, Enclosure
    from assay.spec.rope_attention.instance import Instance

    Array = NDArray[np.float64]

__all__ = ["General", "Turned", "define", "evaluate", "relative_rows", "tokens", "transposed"]


def define(instance: Instance, relative: float = 1e-12, output: str = "output") -> Enclosure:
    """Attention with relative positions, certified.

    ``output="output"``: shape (b, h_q, n_q, d_v), o_i = Σ_j p_ij v_j with radius at most ``relative``·Σ_j p_ij|v_jc|.
    ``output="log_sum_exp"``: shape (b, h_q, n_q), radius at most ``relative``·max(1, |lse|), −inf for an empty row.
    Source: proofs_notes/rope_attention.md, ROT-9.
    Raises ``ValueError`` for another output or a ``relative`` outside (0, 1).

    >>> from assay.spec.rope_attention import Instance
    >>> x = np.array([[1.0, 0.0], [0.0, 1.0]]).reshape(1, 1, 2, 2)
    >>> print(define(Instance(x, x, x, scale=1.0, key_positions=np.array([1, 3])))[0, 0, 0, 0])
    0.66405606917092 ± 2e-15
    """
    if output not in ("output", "log_sum_exp"):
        raise ValueError(f"unknown output {output!r}: expected 'output' or 'log_sum_exp'")
    require_evaluable(instance, OUTPUTS)
    return attention.outputs(instance, relative, relative_rows(instance))[output]


def evaluate(instance: Instance, relative: float = 1e-12) -> Exact:
    """The same with the scores and probabilities that lead to it: arrays of n_q × n_k, for moderate sizes."""
    require_evaluable(instance)
    return attention.evaluate(instance, relative, relative_rows(instance))


def relative_rows(instance: Instance) -> Rows:
    """The rows of an instance, whose products are those of its form."""
    flat = flattened(instance)
    h, n_q = instance.query.shape[1:3]
    place = np.arange(n_q)
    if instance.relative is not None:
        assert instance.support is not None
        numbers = instance.relative.astype(np.float64)
        return _widened(General, flat, place=place, support=instance.support, relative=numbers)
    batch = np.repeat(np.arange(instance.query.shape[0]), h)
    return _widened(Turned, flat, place=place, batch=batch, queries=n_q, tokens=tokens(instance))


Kind = TypeVar("Kind", bound=Rows)


def _widened(kind: type[Kind], rows: Rows, **more: Any) -> Kind:
    return kind(**{item.name: getattr(rows, item.name) for item in dataclasses.fields(rows)}, **more)


def tokens(instance: Instance) -> rope.Instance:
    """The rotation of all queries and then all keys of every query head, as an instance of :mod:`assay.spec.rope`.

    They are in one instance because the frequencies of ``dynamic`` depend on the positions of both.
    """
    key = np.repeat(instance.key, instance.group, axis=1)
    places = instance.positions()
    b = max(len(place) for place in places)
    return rope.Instance(
        query=np.concatenate([instance.query, key], axis=2),
        positions=np.concatenate([np.broadcast_to(place, (b, place.shape[1])) for place in places], axis=1),
        base=instance.base,
        layout=instance.layout,
        rotary_dim=instance.rotary_dim,
        scaling=instance.scaling,
        factor=instance.factor,
        original_length=instance.original_length,
        low_frequency=instance.low_frequency,
        high_frequency=instance.high_frequency,
        truncate=instance.truncate,
        attention_factor=instance.attention_factor,
    )


@dataclass(frozen=True, eq=False)
class General(Rows):
    """Rows of the general form; the products are Σ_s q_i[row_s]·W_(i−j)[s]·k_j[column_s]."""

    place: NDArray[np.intp]  # i of every row
    support: tuple[tuple[int, int], ...]
    relative: Array

    def __getitem__(self, at: tuple[Any, Any]) -> Self:
        return dataclasses.replace(super().__getitem__(at), place=self.place[at[1]])

    def product(self, arithmetic: Arithmetic) -> Any:
        n_k = self.key.shape[1]
        offset = self.place[:, None] - np.arange(n_k) + (n_k - 1)
        key = np.swapaxes(self.key, 1, 2)

        # s_ij = Σ_s (q_i[row_s]·k_j[column_s])·W_(i−j)[s]
        total = arithmetic.exact(np.zeros((len(self.query), *offset.shape)))
        for (row, column), numbers in zip(self.support, self.relative, strict=True):
            pairs = arithmetic.product(self.query[..., row : row + 1], key[:, column : column + 1])
            total = total.plus_ball(pairs.scaled(np.broadcast_to(numbers[offset], (len(key), *offset.shape))))
        return total


@dataclass(frozen=True, eq=False)
class Turned(Rows):
    """Rows of the rotary form; the products are those of the rotated vectors."""

    place: NDArray[np.intp]  # i of every row
    batch: NDArray[np.intp]  # of every head
    queries: int  # how many tokens before the keys
    tokens: rope.Instance

    def __getitem__(self, at: tuple[Any, Any]) -> Self:
        return dataclasses.replace(super().__getitem__(at), place=self.place[at[1]], batch=self.batch[at[0]])

    def product(self, arithmetic: Arithmetic) -> Any:
        # s_ij = ⟨y_i, y_j⟩
        query, key = self.vectors(arithmetic)
        return query.matmul(transposed(key, (len(self.key), *self.key.shape[1:])))

    def vectors(self, arithmetic: Arithmetic) -> tuple[Any, Any]:
        """The balls of the rotated queries and keys, (head, row, dim); columns in the order of :meth:`order`."""
        columns, partner, sign = self.order()
        made = []
        for x, places in ((self.query, self.place), (self.key, self.queries + np.arange(self.key.shape[1]))):
            # y = C·a ∓ S·b
            cos, sin = self.tables(arithmetic, places)
            made.append(cos.scaled(x[..., columns]).plus_ball(sin.scaled(x[..., partner] * sign)))
        return made[0], made[1]

    def order(self) -> tuple[NDArray[np.intp], NDArray[np.intp], Array]:
        """The columns, rotated ones first, the partner of each, and its sign; 0 for one that is not rotated."""
        columns, partner, sign = paired(self.tokens)
        rest = np.arange(len(columns), self.query.shape[2])
        return (
            np.concatenate([columns, rest]),
            np.concatenate([partner, rest]),
            np.concatenate([sign, np.zeros(len(rest))]),
        )

    def tables(self, arithmetic: Arithmetic, places: NDArray[np.intp]) -> tuple[Any, Any]:
        """C and S of the tokens with these numbers, (head, token, dim), 1 and 0 for a column that is not rotated."""
        cos, sin = rotation(self.tokens, arithmetic)
        b, n = self.tokens.query.shape[0], self.tokens.query.shape[2]
        plain = np.ones((b, n, self.query.shape[2] - self.tokens.rotated))
        at = np.ix_(self.batch, places)
        return cos.joined(plain)[at], sin.joined(0.0 * plain)[at]


def transposed(balls: Any, shape: tuple[int, ...]) -> Any:
    """Balls of this shape (stack, row, column) as (stack, column, row)."""
    stack, row, column = (np.arange(length) for length in shape)
    return balls[stack[:, None, None], row[None, None, :], column[None, :, None]]
