"""What an attention kernel is compared with: enclosures and tolerances, under the conventions it declares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec.attention import evaluate, tolerance
from assay.spec.enclosure import Enclosure
from assay.spec.precision import reference_accuracy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from assay.conformance.interface.kernel import Kernel
    from assay.spec.attention import Instance
    from assay.spec.precision import Precision

__all__ = ["CONVENTIONS", "reference"]

#: Conventions that ``options`` may declare, the first being the default.
#: ``empty_row``: the output of a query that attends to no key; ``any`` for a kernel that documents nothing.
#: ``error``: a positive number, of an approximate kernel: the error that is asked of it, in place of the class's.
#: ``certificate``: asked for ``return_certificate=True``, it returns bounds of its own errors as well, like the output.
CONVENTIONS: dict[str, tuple[str, ...]] = {
    "empty_row": ("zero", "nan", "any"),
    "error": (),
    "certificate": ("no", "yes"),
}


def reference(
    instance: Instance, kernel: Kernel, precision: Precision
) -> Mapping[str, tuple[Enclosure, NDArray[np.float64]]]:
    """Output → (certified value, tolerance of the class, or the error that an approximate kernel was asked for)."""
    exact = evaluate(instance, reference_accuracy(precision))
    output, allowed = exact.output, tolerance(instance, precision, exact=exact)
    if "error" in kernel.conventions:
        allowed = np.full_like(allowed, float(kernel.conventions["error"]))
    convention = kernel.conventions.get("empty_row", "zero")
    if convention != "zero":
        empty = np.isneginf(exact.log_sum_exp.midpoint)[..., None]
        if convention == "nan":
            output = Enclosure(np.where(empty, np.nan, output.midpoint), output.radius)
        else:
            allowed = np.where(empty, np.inf, allowed)
    found: dict[str, tuple[Enclosure, Any]] = {"output": (output, allowed)}
    if instance.return_lse:
        found["log_sum_exp"] = (exact.log_sum_exp, tolerance(instance, precision, "log_sum_exp", exact=exact))
    return found
