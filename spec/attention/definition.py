"""What attention is, evaluated with certainty.

:func:`_attend` is the definition, one paragraph a formula; it runs on any tier of :mod:`assay.spec.enclosure`.
The rest chooses tiers: every row is evaluated in float64, those that miss the radius in double-double, then in
balls of 128, 256, … bits, until the radius is what the caller needs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec.enclosure import ArbBall, DoubleDoubleBall, Enclosure, Float64Ball

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from assay.spec.attention.instance import Instance

    Array = NDArray[np.float64]

__all__ = ["Exact", "define", "evaluate"]

_BLOCK = 1 << 17  # scores held at a time
_MOST_BITS = 1 << 17


@dataclass(frozen=True, eq=False)
class Exact:
    """Everything that tolerances and reports need of an instance, certified.

    output (b, h_q, n_q, d_v); log_sum_exp (b, h_q, n_q), −inf for an empty row; score (b, h_q, n_q, n_k), after scale,
    softcap and bias, and log_probability = score − log_sum_exp (radius at most ``relative``·(1 + |·|) and the rounding
    of the midpoint), both −inf where the query does not attend;
    log_sink_probability (b, h_q, n_q) where there is a sink.
    """

    output: Enclosure
    log_sum_exp: Enclosure
    score: Enclosure
    log_probability: Enclosure
    log_sink_probability: Enclosure | None


def define(instance: Instance, relative: float = 1e-12, output: str = "output") -> Enclosure:
    """Attention of an instance, certified.

    ``output="output"``: shape (b, h_q, n_q, d_v), o_i = Σ_j p_ij v_j with radius at most ``relative``·Σ_j p_ij|v_jc|.
    ``output="log_sum_exp"``: shape (b, h_q, n_q), radius at most ``relative``·max(1, |lse|), −inf for an empty row.
    The float64 ``midpoint`` and ``radius`` include the rounding of the midpoint; ``balls`` has all digits.
    Source: proofs_notes/attention.md.  Raises ``ValueError`` for another output or a ``relative`` outside (0, 1).

    >>> from assay.spec.attention import Instance
    >>> x = np.arange(3.0).reshape(1, 1, 3, 1)
    >>> print(define(Instance(x, x, x))[0, 0, 2, 0])
    1.8509370922209 ± 1e-14
    """
    if output not in ("output", "log_sum_exp"):
        raise ValueError(f"unknown output {output!r}: expected 'output' or 'log_sum_exp'")
    found = _evaluate(instance, relative, distribution=False)
    return found["output"] if output == "output" else found["log_sum_exp"]


def evaluate(instance: Instance, relative: float = 1e-12) -> Exact:
    """The same with the scores and probabilities that lead to it: arrays of n_q × n_k, for moderate sizes."""
    found = _evaluate(instance, relative, distribution=True)
    n_k = instance.key.shape[2]
    log_p = found["log_probability"]
    sink = log_p[..., n_k] if instance.sink is not None else None
    return Exact(
        output=found["output"],
        log_sum_exp=found["log_sum_exp"],
        score=found["score"][..., :n_k],
        log_probability=log_p[..., :n_k],
        log_sink_probability=sink,
    )


@dataclass(frozen=True, eq=False)
class _Rows:
    """Some rows of some heads: the axes are (head, row), keys, dims."""

    query: Array
    key: Array
    value: Array
    attended: NDArray[np.bool_]
    bias: Array | None
    sink: Array | None  # (head,)
    scale: float
    softcap: float | None

    def __getitem__(self, at: tuple[Any, Any]) -> _Rows:
        heads, rows = at
        grid = np.ix_(heads, rows)
        return _Rows(
            self.query[grid],
            self.key[heads],
            self.value[heads],
            self.attended[grid],
            None if self.bias is None else self.bias[grid],
            None if self.sink is None else self.sink[heads],
            self.scale,
            self.softcap,
        )


def _attend(product: Callable[[Array, Array], Any], rows: _Rows) -> dict[str, Any]:
    """The definition.  ``product`` multiplies two exact matrices and says in which arithmetic everything happens."""
    attended, value = rows.attended, rows.value

    # s_ij = scale·⟨q_i, k_j⟩
    score = product(rows.query, np.swapaxes(rows.key, 1, 2)).scaled(rows.scale)

    # s_ij ← c·tanh(s_ij / c)
    if rows.softcap is not None:
        score = score.capped(rows.softcap)

    # s_ij ← s_ij + bias_ij
    if rows.bias is not None:
        score = score.plus(np.where(attended, rows.bias, 0.0))

    # a sink is one more key, of its own score and of value zero
    if rows.sink is not None:
        column = np.broadcast_to(rows.sink[:, None, None], (*attended.shape[:2], 1))
        score = score.joined(column)
        attended = np.concatenate([attended, np.ones_like(column, dtype=bool)], axis=2)
        value = np.concatenate([value, np.zeros_like(value[:, :1])], axis=1)

    # w_ij = e^(s_ij − m_i), m_i near the largest score of the row
    score = score.where(attended, 0.0)
    shift = score.largest(attended)
    below = score.minus_row(shift)
    weight = below.where(attended, 0.0).exp().where(attended, 0.0)

    # D_i = Σ_j w_ij,  o_i = Σ_j w_ij v_j / D_i,  lse_i = m_i + ln D_i
    denominator = weight.total()
    numerator, magnitude = weight.times_matrix(value)
    log_denominator = denominator.log()
    return {
        "output": numerator.divided(denominator),
        "magnitude": magnitude / denominator.rounded()[0],
        "log_sum_exp": log_denominator.plus_ball(shift),
        "score": score,
        "log_probability": below.minus_row(log_denominator),
        "attended": attended,
    }


def _flattened(instance: Instance) -> _Rows:
    """The instance with one axis for batches and heads."""
    b, h, n_q, d = instance.query.shape
    n_k, d_v = instance.value.shape[2:]
    group = instance.group
    full = (b, h, n_q, n_k)
    bias = None
    if instance.bias is not None:
        bias = np.broadcast_to(instance.bias, full).astype(np.float64).reshape(b * h, n_q, n_k)
    assert instance.scale is not None
    return _Rows(
        query=instance.query.astype(np.float64).reshape(b * h, n_q, d),
        key=np.repeat(instance.key.astype(np.float64), group, axis=1).reshape(b * h, n_k, d),
        value=np.repeat(instance.value.astype(np.float64), group, axis=1).reshape(b * h, n_k, d_v),
        attended=instance.visible().reshape(b * h, n_q, n_k),
        bias=bias,
        sink=None if instance.sink is None else np.tile(instance.sink.astype(np.float64), b),
        scale=instance.scale,
        softcap=instance.softcap,
    )


def _tiers(relative: float) -> Iterator[Callable[[Array, Array], Any]]:
    """Products of every arithmetic that may reach ``relative``, cheapest first."""
    if relative >= 2.0**-50:
        yield Float64Ball.product
    if relative >= 2.0**-97:
        yield DoubleDoubleBall.product
    bits = max(128, 64 + math.ceil(-1.1 * math.log2(relative)))
    while bits <= _MOST_BITS:
        yield ArbBall.product_at(bits)
        bits *= 2


def _evaluate(instance: Instance, relative: float, *, distribution: bool) -> dict[str, Enclosure]:
    if not 0.0 < relative < 1.0:
        raise ValueError(f"relative: {relative!r}, expected a number between 0 and 1")
    b, h, n_q, _ = instance.query.shape
    n_k, d_v = instance.value.shape[2:]
    rows = _flattened(instance)
    heads, columns = b * h, n_k + (instance.sink is not None)
    shapes: dict[str, tuple[int, ...]] = {"output": (heads, n_q, d_v), "log_sum_exp": (heads, n_q, 1)}
    if distribution:
        shapes |= {"score": (heads, n_q, columns), "log_probability": (heads, n_q, columns)}
    mid = {name: np.zeros(shape) for name, shape in shapes.items()}
    rad = {name: np.zeros(shape) for name, shape in shapes.items()}
    kept: list[tuple[Any, NDArray[np.bool_], dict[str, Any]]] = []
    for name in ("log_sum_exp", "score", "log_probability"):
        if name in mid:
            mid[name][:] = -np.inf  # an empty row stays so

    # rows without any key (and no sink) are done: output 0, lse −inf
    missing: NDArray[np.bool_] = np.any(rows.attended, axis=2, keepdims=True)[..., 0] | (instance.sink is not None)
    with np.errstate(all="ignore"):
        for tier in _tiers(relative):
            if not missing.any():
                break
            for grid in _blocks(missing, columns):
                found = _attend(tier, rows[grid])
                at = np.ix_(*grid)
                good = missing[at] & _fine(found, relative, distribution=distribution)
                for name in mid:
                    m, r = found[name].rounded()
                    outside = ~found["attended"] if name in ("score", "log_probability") else np.zeros(m.shape, bool)
                    m, r = np.where(outside, -np.inf, m), np.where(outside, 0.0, r)
                    mid[name][at] = np.where(good[..., None], m, mid[name][at])
                    rad[name][at] = np.where(good[..., None], r, rad[name][at])
                kept.append((at, good, {name: found[name] for name in ("output", "log_sum_exp")}))
                missing[at] &= ~good
    if missing.any():
        raise ArithmeticError(f"relative: {relative!r} was not reached with {_MOST_BITS} bits in {missing.sum()} rows")

    def full(name: str, shape: tuple[int, ...]) -> Callable[[], NDArray[np.object_]]:
        def assemble() -> NDArray[np.object_]:
            from assay.spec.enclosure.arb import from_parts

            balls = from_parts(mid[name], np.zeros_like(mid[name]), rad[name])
            for at, good, found in kept:
                part = balls[at]
                part[good] = found[name].full()[good]
                balls[at] = part
            return balls.reshape(shape)

        return assemble

    result: dict[str, Enclosure] = {}
    for name in mid:
        shape = (b, h, n_q) if name == "log_sum_exp" else (b, h, n_q, shapes[name][2])
        balls = full(name, shape) if name in ("output", "log_sum_exp") else None
        result[name] = Enclosure(mid[name].reshape(shape), rad[name].reshape(shape), balls)
    return result


def _blocks(missing: NDArray[np.bool_], columns: int) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Grids of heads × rows that cover what is missing, each of at most ``_BLOCK`` scores where that is possible."""
    heads = np.flatnonzero(missing.any(axis=1))
    if missing[heads].sum(axis=1).max() * len(heads) * columns <= _BLOCK:
        groups = [heads]
    else:
        groups = [heads[i : i + 1] for i in range(len(heads))]
    for group in groups:
        rows = np.flatnonzero(missing[group].any(axis=0))
        step = max(1, _BLOCK // (len(group) * columns))
        for start in range(0, len(rows), step):
            yield group, rows[start : start + step]


def _fine(found: dict[str, Any], relative: float, *, distribution: bool) -> NDArray[np.bool_]:
    """(head, row): is the radius what was asked for?"""
    fine: NDArray[np.bool_] = (found["output"].error() <= relative * found["magnitude"] + 2.0**-1074).all(axis=2)
    lse = np.abs(found["log_sum_exp"].rounded()[0])
    fine &= (found["log_sum_exp"].error() <= relative * np.maximum(1.0, lse)).all(axis=2)
    if distribution:
        size = np.abs(found["log_probability"].rounded()[0])
        radius = np.where(found["attended"], found["log_probability"].error(), 0.0)
        fine &= (radius <= relative * (1.0 + size)).all(axis=2)
        fine &= np.isfinite(found["score"].rounded()[0]).all(axis=2)
    return fine
