"""The largest means of powers of scores of a row, on a GPU, without a score: from monomials of low degree (GPU-18)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.features import monomials, rank
from assay.impl.gpu import features
from assay.spec.approximation import Infeasible

if TYPE_CHECKING:
    from assay.impl.gpu.choice import Size
    from assay.impl.gpu.features import Points
    from assay.impl.gpu.machine import Machine

__all__ = ["ORDERS", "measured"]

#: The powers that are taken.
ORDERS = (2, 4)
_MOST = 512  # monomials of degree 4, which then take less time than a polynomial of degree 3 and 64 columns of values


def measured(
    machine: Machine, queries: Points, keys: Points, values: Any, size: Size, orders: tuple[int, ...] = ORDERS
) -> dict[int, Any]:
    """{order: (batch·heads,)}: the largest mean of s^order of a query over all keys, as computed.

    An order for which there is no room is left out, and so is the fourth in many coordinates.
    """
    found, nothing, group = {}, values[..., :0], queries.array.shape[1] // keys.array.shape[1]
    for order in orders:
        if order > 2 and rank(size.dimension, order) > _MOST:
            continue
        try:
            spans = replace(size, columns=0).spans(order)
            table = features.table(machine, size.dimension, order)
        except Infeasible:
            continue
        of = monomials(size.dimension, order)
        weights = machine.laid(np.where(of.order == order, of.multinomial, 0.0))
        grow = machine.empty((0,), np.float64)  # of no column
        means = features.means(machine, table, keys, nothing, None, grow, weights, None, spans)
        found[order] = features.largest_sums(machine, table, queries, means, group)
    return found
