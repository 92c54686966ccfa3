"""The polynomial method of the CPU as a kernel: judged by the error that is asked of it, and by its own certificate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.attention.families import TABLE
from assay.conformance.interface.kernel import Declined, Kernel
from assay.conformance.interface.targets import keywords_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["approximate", "built_in"]

_MEMORY = 1 << 24  # bytes: larger ranks are declined, in time


def built_in() -> Kernel:
    return Kernel(
        "assay:cpu-polynomial",
        approximate,
        keywords=keywords_of(approximate, "attention"),
        conventions={"error": "1e-06", "certificate": "yes"},
        declines=frozenset(family.id for family, _ in TABLE),  # what it cannot certify it declines, whatever it is
    )


def approximate(
    query: NDArray[Any],
    key: NDArray[Any],
    value: NDArray[Any],
    *,
    scale: float,
    is_causal: bool = False,
    causal: str | None = None,
    window: tuple[int | None, int | None] | None = None,
    key_lengths: NDArray[Any] | None = None,
    error: float = 1e-6,
    return_certificate: bool = False,
) -> Any:
    """The polynomial route alone.  It declines what it cannot certify."""
    from assay.impl.cpu import attention
    from assay.spec.approximation import Infeasible

    try:
        certified = attention.approximate(
            query, key, value, error, scale, is_causal=is_causal, causal=causal, window=window,
            key_lengths=key_lengths, fallback="raise", memory=_MEMORY,
        )  # fmt: skip
    except Infeasible:
        raise Declined("no polynomial of a feasible rank is certified to the error asked") from None
    if not return_certificate:
        return certified.value
    return certified.value, np.broadcast_to(certified.error, certified.value.shape).copy()
