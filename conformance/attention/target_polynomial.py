"""The polynomial method of the CPU as a kernel: judged by the error that is asked of it, and by its own certificate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from assay.conformance.attention.families import TABLE
from assay.conformance.interface.certified import MEMORY, answered, every_family
from assay.conformance.interface.kernel import Kernel
from assay.conformance.interface.targets import keywords_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["approximate", "built_in"]


def built_in() -> Kernel:
    return Kernel(
        "assay:cpu-polynomial",
        approximate,
        keywords=keywords_of(approximate, "attention"),
        conventions={"error": "1e-06", "certificate": "yes"},
        declines=every_family(TABLE),  # what it cannot certify it declines, whatever it is
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

    return answered(
        lambda: attention.approximate(
            query, key, value, error, scale, is_causal=is_causal, causal=causal, window=window,
            key_lengths=key_lengths, fallback="raise", memory=MEMORY,
        ),
        return_certificate,
    )  # fmt: skip
