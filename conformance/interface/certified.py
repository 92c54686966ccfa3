"""Kernels that give a certificate with their result: what the judge gets of them, and what they decline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.interface.kernel import Declined
from assay.conformance.interface.suite import COMBINATIONS, DRAWN, OPTIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from assay.conformance.interface.suite import Family, Row

__all__ = ["MEMORY", "answered", "every_family"]

MEMORY = 1 << 24  # bytes that a polynomial may take: larger ranks are declined, in time


def answered(call: Callable[[], Any], return_certificate: bool, most: float | None = None) -> Any:
    """The value of what the polynomial method returns, with its certificate where that is asked for.

    It is declined where no polynomial serves, and where its certificate is above ``most``: what is proved of a result
    of a GPU is known only with the result.
    """
    from assay.spec.approximation import Infeasible

    try:
        found = call()
    except Infeasible:
        raise Declined("no polynomial of a feasible rank is certified to the error asked") from None
    if most is not None and not float(found.error.max()) <= most:
        raise Declined("the result is not certified to the error asked")
    if not return_certificate:
        return found.value
    return found.value, np.broadcast_to(found.error, found.value.shape).copy()


def every_family(table: Iterable[tuple[Family, tuple[Row, ...]]]) -> frozenset[str]:
    """What such a kernel declares to decline, by name: any input, of a row, of a combination, or drawn."""
    return frozenset((*(family.id for family, _ in table), COMBINATIONS.id, OPTIONS.id, DRAWN.id))
