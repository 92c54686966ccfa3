"""What the outputs of an attention kernel are held to, under the conventions that it declares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec.attention import evaluate, tolerance
from assay.spec.criterion import Criterion, close, close_before_rounding
from assay.spec.enclosure import Enclosure
from assay.spec.precision import reference_accuracy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from assay.conformance.interface.kernel import Kernel
    from assay.spec.attention import Instance
    from assay.spec.attention.definition import Exact
    from assay.spec.precision import Precision

__all__ = ["CERTIFICATE", "CONVENTIONS", "criteria", "held_to"]

#: The output that bounds the error of ``output``, of a kernel that declares ``certificate=yes``: it is held to it.
CERTIFICATE = "certificate"

#: Conventions that ``options`` may declare, the first being the default.
#: ``empty_row``: the output of a query that attends to no key; ``any`` for a kernel that documents nothing.
#: ``error``: a positive number, of an approximate kernel: the error that is asked of it, in place of the class's.
#: ``certificate``: asked for ``return_certificate=True``, it returns bounds of its own errors as well, like the output.
CONVENTIONS: dict[str, tuple[str, ...]] = {
    "empty_row": ("zero", "nan", "any"),
    "error": (),
    "certificate": ("no", "yes"),
}


def criteria(instance: Instance, kernel: Kernel, precision: Precision) -> Mapping[str, Criterion]:
    """Closeness of every output: to the tolerance of the class, or to the error asked of an approximate kernel.

    A kernel that returns a certificate is held to that as well.
    """
    exact = evaluate(instance, reference_accuracy(precision))
    return held_to(instance, kernel, exact, lambda name: tolerance(instance, precision, name, exact=exact))


def held_to(
    instance: Any, kernel: Kernel, exact: Exact, tolerated: Callable[[str], NDArray[np.float64]]
) -> Mapping[str, Criterion]:
    """The same for exact values, whatever scores they come from, with ``tolerated(output)`` of the class."""
    output, allowed = exact.output, tolerated("output")
    if "error" in kernel.conventions:
        allowed = np.full_like(allowed, float(kernel.conventions["error"]))
    convention = kernel.conventions.get("empty_row", "zero")
    if convention != "zero":
        empty = np.isneginf(exact.log_sum_exp.midpoint)[..., None]
        if convention == "nan":
            output = Enclosure(np.where(empty, np.nan, output.midpoint), output.radius)
        else:
            allowed = np.where(empty, np.inf, allowed)
    outputs = {"output": close(output, allowed)}
    if instance.return_lse:
        outputs["log_sum_exp"] = close_before_rounding(exact.log_sum_exp, tolerated("log_sum_exp"))
    if kernel.conventions.get("certificate") == "yes":
        outputs[CERTIFICATE] = _certified(output)
    return outputs


def _certified(output: Enclosure) -> Criterion:
    """The criterion that the certificate bounds the error of the output.  A negative or NaN bound allows no error."""

    def error(value: NDArray[Any], certificate: NDArray[Any]) -> NDArray[np.float64]:
        least = output.least_error(value)
        allowed = np.where(certificate >= 0.0, certificate, 0.0)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            return np.where(least == 0.0, 0.0, least / allowed)

    def expected(index: tuple[int, ...]) -> str:
        return f"less than the error of the output, whose exact value is {float(output.midpoint[index]):.12g}"

    return Criterion(error, np.ones(output.shape), expected, ("output", CERTIFICATE))
