"""The factors of the backward pass: those of the forward pass, and what the gradient that comes in is."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from assay.conformance.interface.covering import Factor
from assay.conformance.tensor_attention.combinations import COVERING as FORWARD

if TYPE_CHECKING:
    from collections.abc import Mapping

    from assay.conformance.interface.suite import Row

__all__ = ["COVERING"]

_GRADIENT = Factor(
    "gradient",
    {"normal": ("normal",), "one sign": ("gradient=positive",), "sparse": ("gradient=one-hot", "gradient=last-row")},
    role="manner",
)
_LEFT_OUT = {"queries": ("longer",), "keys of mode 1": ("longer",), "keys of others": ("longer",)}


def _factor(factor: Factor) -> Factor:
    """The factor without the largest sizes; the gradient of the log-sum-exp needs another capability."""
    left_out = _LEFT_OUT.get(factor.name, ())
    kinds = {kind: values for kind, values in factor.kinds.items() if kind not in left_out}
    needs = {kind: "grad_log_sum_exp" if need == "return_lse" else need for kind, need in factor.needs.items()}
    return dataclasses.replace(factor, kinds=kinds, needs={k: need for k, need in needs.items() if k in kinds})


def _row(choice: Mapping[str, str], seed: int) -> Row:
    row = FORWARD.row(choice, seed)
    gradient = choice["gradient"]
    return row if gradient == "normal" else dataclasses.replace(row, options=(*row.options, gradient))


COVERING = dataclasses.replace(FORWARD, factors=(*(_factor(factor) for factor in FORWARD.factors), _GRADIENT), row=_row)
