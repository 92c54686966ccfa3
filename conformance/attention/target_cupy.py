"""assay's own kernels for GPUs, with arrays of CuPy: exact, and the polynomial method with its certificate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from assay.conformance.attention.families import TABLE
from assay.conformance.interface.certified import MEMORY, answered, every_family
from assay.conformance.interface.kernel import Kernel
from assay.conformance.interface.targets import keywords_of

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["built_in", "polynomial", "polynomial_of"]


def built_in() -> Kernel:
    import cupy

    from assay.impl.gpu import attention

    keywords = keywords_of(attention.exact, "attention")
    return Kernel("cupy:attention", attention.exact, "cupy", keywords, version=str(cupy.__version__))


def polynomial() -> Kernel:
    import cupy

    from assay.impl.gpu import attention

    return polynomial_of(attention.approximate, "cupy", str(cupy.__version__))


def polynomial_of(approximate: Callable[..., Any], framework: str, version: str) -> Kernel:
    """The kernel of a function with the arguments of :func:`assay.impl.gpu.attention.approximate`.

    It waits for the certificate, and declines what is not certified to the error that is asked.
    """

    def kernel(
        query: Any, key: Any, value: Any, *, scale: float, is_causal: bool = False, causal: str | None = None,
        window: tuple[int | None, int | None] | None = None, key_lengths: Any = None, error: float = 1e-6,
        return_certificate: bool = False,
    ) -> Any:  # fmt: skip
        return answered(
            lambda: approximate(
                query,
                key,
                value,
                error,
                scale,
                is_causal=is_causal,
                causal=causal,
                window=window,
                key_lengths=key_lengths,
                memory=MEMORY,
            ),
            return_certificate,
            error,
        )

    return Kernel(
        "cupy:attention-polynomial",
        kernel,
        framework,
        keywords_of(kernel, "attention"),
        conventions={"error": "1e-06", "certificate": "yes"},
        version=version,
        declines=every_family(TABLE),
    )
