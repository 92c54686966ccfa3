"""The factors of the backward pass: those of attention, and what the gradient that comes in is."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from assay.conformance.attention.combinations import COVERING as ATTENTION
from assay.conformance.interface.covering import Factor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from assay.conformance.interface.suite import Row

__all__ = ["COVERING"]

_CAPABILITY = "grad_log_sum_exp"  # in the place of attention's return_lse

_GRADIENT = Factor(
    "gradient",
    {
        "normal": ("normal",),
        "one sign": ("gradient=positive", "gradient=ones"),
        "sparse": ("gradient=one-hot", "gradient=last-row"),
        "uneven": ("gradient=levels",),
    },
    role="manner",
)


# A gradient costs many times what attention costs, so that combinations are tried in smaller sizes.
_LEFT_OUT = {"queries": ("beyond",), "keys": ("beyond", "long"), "dim": ("96", "128", "256")}


def _factor(factor: Factor) -> Factor:
    left_out = _LEFT_OUT.get(factor.name, ())
    kinds = {kind: values for kind, values in factor.kinds.items() if kind not in left_out}
    needs = {kind: need for kind, need in factor.needs.items() if kind in kinds}
    needs = {kind: _CAPABILITY if need == "return_lse" else need for kind, need in needs.items()}
    return dataclasses.replace(factor, kinds=kinds, needs=needs)


def _row(choice: Mapping[str, str], seed: int) -> Row:
    row = ATTENTION.row(choice, seed)
    gradient = choice["gradient"]
    return row if gradient == "normal" else dataclasses.replace(row, options=(*row.options, gradient))


COVERING = dataclasses.replace(
    ATTENTION,
    factors=(*(_factor(factor) for factor in ATTENTION.factors), _GRADIENT),
    row=_row,
)
