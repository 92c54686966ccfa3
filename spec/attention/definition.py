"""What attention is, evaluated with certainty.

:func:`_attend` is the definition, one paragraph a formula.  It runs in any arithmetic of :mod:`assay.spec.enclosure`,
and :func:`~assay.spec.enclosure.escalation.escalate` finds the cheapest one that is accurate enough for a row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec.enclosure import Arithmetic, Enclosure, Evaluated, Result, escalate, require_held, within
from assay.spec.memory import OUTPUTS, require_evaluable
from assay.spec.softmax.distribution import Rows, flattened, weighted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.spec.attention.instance import Instance
    from assay.spec.softmax.masks import Masked

__all__ = ["Exact", "define", "evaluate", "outputs"]


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
    require_evaluable(instance, OUTPUTS)
    return outputs(instance, relative)[output]


def evaluate(instance: Masked, relative: float = 1e-12, rows: Rows | None = None) -> Exact:
    """The same with the scores and probabilities that lead to it: arrays of n_q × n_k, for moderate sizes.

    rows: those of the instance, where a problem has other scores than ⟨q_i, k_j⟩.
    """
    require_evaluable(instance)
    results = outputs(instance, relative, rows, distribution=True)
    n_k = instance.key.shape[2]
    log_p = results["log_probability"]
    sink = log_p[..., n_k] if instance.sink is not None else None
    return Exact(
        output=results["output"],
        log_sum_exp=results["log_sum_exp"],
        score=results["score"][..., :n_k],
        log_probability=log_p[..., :n_k],
        log_sink_probability=sink,
    )


def _attend(arithmetic: Arithmetic, rows: Rows) -> dict[str, Any]:
    """The definition.  The product of two exact matrices says in which arithmetic everything happens."""
    softmax = weighted(arithmetic, rows)

    # o_i = Σ_j w_ij v_j / D_i,  lse_i = m_i + ln D_i
    numerator, magnitude = rows.averaged(arithmetic, softmax.weight)
    some_key = np.broadcast_to(rows.attended.any(axis=2, keepdims=True), magnitude.shape)
    return {
        "output": numerator.divided(softmax.denominator).where(some_key, 0.0),  # exactly 0 beside a sink alone
        "magnitude": magnitude / softmax.denominator.rounded()[0],
        "log_sum_exp": softmax.log_denominator.plus_ball(softmax.shift),
        "score": softmax.score,
        "log_probability": softmax.below.minus_row(softmax.log_denominator),
        "attended": softmax.attended,
    }


def outputs(
    instance: Masked, relative: float, rows: Rows | None = None, *, distribution: bool = False
) -> dict[str, Enclosure]:
    """``output`` and ``log_sum_exp`` of an instance, and with ``distribution`` the scores and probabilities too."""
    b, h, n_q, _ = instance.query.shape
    n_k, d_v = instance.value.shape[2:]
    flat = flattened(instance) if rows is None else rows
    columns = n_k + (instance.sink is not None)
    results = {
        "output": Result((b, h, n_q, d_v)),
        "log_sum_exp": Result((b, h, n_q), elsewhere=-np.inf),
    }
    if distribution:
        for name in ("score", "log_probability"):
            results[name] = Result((b, h, n_q, columns), elsewhere=-np.inf, digits=False)

    def definition(arithmetic: Arithmetic, block: tuple[NDArray[np.intp], NDArray[np.intp]]) -> Evaluated:
        values = _attend(arithmetic, flat[block])
        if distribution:
            require_held("score", values["score"], values["attended"])
        fine = _fine(values, relative, distribution=distribution)
        for name in ("score", "log_probability") if distribution else ():
            values[name] = values[name].where(values["attended"], -np.inf)
        return Evaluated({name: values[name] for name in results}, fine)

    # rows without any key (and no sink) are not evaluated: output 0, lse −∞
    wanted: NDArray[np.bool_] = np.any(flat.attended, axis=2) | (instance.sink is not None)
    return escalate(definition, wanted, results, relative, columns)


def _fine(values: dict[str, Any], relative: float, *, distribution: bool) -> NDArray[np.bool_]:
    """(head, row): is the radius what was asked for?"""
    fine: NDArray[np.bool_] = within(values["output"].error(), relative, values["magnitude"], 2.0**-1074).all(axis=2)
    lse = np.abs(values["log_sum_exp"].rounded()[0])
    fine &= within(values["log_sum_exp"].error(), relative, np.maximum(1.0, lse)).all(axis=2)
    if distribution:
        size = np.abs(values["log_probability"].rounded()[0])
        radius = np.where(values["attended"], values["log_probability"].error(), 0.0)
        fine &= within(radius, relative, 1.0 + size).all(axis=2)
        fine &= np.isfinite(values["score"].rounded()[0]).all(axis=2)
    return fine
