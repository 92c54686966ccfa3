"""How kernels that multiply with a kernel graph are called, and what they may declare."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.interface.interface import Capability, Form, Interface
from assay.conformance.interface.steps import Output, Step
from assay.conformance.interface.suite import CONCURRENT_CALLS, FRESH_OUTPUTS
from assay.spec.criterion import Criterion, close
from assay.spec.kernel_graph import criteria as right
from assay.spec.kernel_graph.functions import NAMES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from assay.conformance.interface.kernel import Kernel
    from assay.conformance.interface.steps import Script
    from assay.spec.kernel_graph import Instance
    from assay.spec.precision import Precision

__all__ = ["CERTIFICATE", "FUNCTIONS", "INTERFACE", "criteria", "functions"]

#: The output that bounds the error of ``output``, of a kernel that declares ``certificate=yes``: it is held to it.
CERTIFICATE = "certificate"

#: The capability of a function that is given as a Function and not by its name.
_OWN = "own_function"
FUNCTIONS = (*NAMES, _OWN)


def functions() -> tuple[Capability, ...]:
    """For every function a capability of its own: a kernel declares those that it takes (``functions=…``)."""
    return (
        *(Capability(name, lambda i, name=name: i.function == name) for name in NAMES),  # type: ignore[misc]
        Capability(_OWN, lambda i: not isinstance(i.function, str)),
    )


_FORM = Form(
    ("points", "vectors"),
    "(points, vectors, *, function, parameter, laplacian=False, diagonal=0.0, targets=None), "
    "laplacian, diagonal and targets only if they are supported",
)
_CAPABILITIES = (
    *functions(),
    Capability("laplacian_of_graph", lambda i: i.laplacian, ("laplacian",)),
    Capability("diagonal", lambda i: i.diagonal != 0.0, ("diagonal",)),
    Capability("targets", lambda i: i.targets is not None, ("targets",)),
    Capability("graph", lambda i: i.targets is None),
    Capability("several_columns", lambda i: i.vectors.shape[1] > 1),
    Capability("one_point", lambda i: len(i.points) == 1),
    Capability("requested_error", keywords=("error",)),
    Capability(CONCURRENT_CALLS),
    Capability(FRESH_OUTPUTS),
)

#: ``error``: a positive number E, of an approximate kernel: it is asked for an error of at most E·Σ_j|v_j| in every
#: element of a column v, or 2E·Σ_j|v_j| with a Laplacian, beside the tolerance of the class, in place of that alone.  A
#: kernel that has the keyword ``error`` gets the least E·Σ_j|v_j| of all columns.
#: ``certificate``: asked for ``return_certificate=True``, it returns bounds of its own errors as well, like the output.
_CONVENTIONS: dict[str, tuple[str, ...]] = {"error": (), "certificate": ("no", "yes")}


def _least(instance: Instance) -> float:
    """The least Σ_j|v_j| of a column that is not 0; 1 if there is none."""
    sizes = np.abs(instance.vectors.astype(np.float64)).sum(axis=0)
    return float(min(sizes[sizes > 0], default=1.0))


def _script(instance: Instance, kernel: Kernel, precision: Precision) -> Script:
    """One call; laplacian, diagonal and targets are passed where they are not as always."""
    keywords: dict[str, Any] = {"function": instance.function, "parameter": instance.parameter}
    keywords |= {name: value for name, value in instance.options().items() if name in ("laplacian", "diagonal")}
    rows, axis = len(instance.points), "points"
    if instance.targets is not None:
        keywords["targets"] = instance.targets
        rows, axis = len(instance.targets), "targets"
    shape = (rows, instance.vectors.shape[1])
    outputs = [Output("output", shape, (precision.result,), (axis, "columns"))]
    if "error" in kernel.conventions and "error" in kernel.keywords:
        keywords["error"] = float(kernel.conventions["error"]) * _least(instance)
    if kernel.conventions.get("certificate") == "yes":
        keywords["return_certificate"] = True
        outputs.append(Output(CERTIFICATE, shape, ("float64",), (axis, "columns")))
    arrays = (("points", instance.points), ("vectors", instance.vectors))
    return (Step(arrays, keywords, tuple(outputs)),)


def criteria(instance: Instance, kernel: Kernel, precision: Precision) -> Mapping[str, Criterion]:
    """Closeness to the exact sums, within the tolerance of the class, and the error asked of an approximate kernel.

    A kernel that returns a certificate is held to that as well.
    """
    held = dict(right(instance, precision))
    output = held["output"]
    if "error" in kernel.conventions:
        asked = float(kernel.conventions["error"]) * np.abs(instance.vectors.astype(np.float64)).sum(axis=0)
        value = output.value
        assert value is not None, "a sum is close to a value"
        held["output"] = close(value, output.allowed + (2.0 if instance.laplacian else 1.0) * asked)
    if kernel.conventions.get("certificate") == "yes":
        held[CERTIFICATE] = _certified(output)
    return held


def _certified(output: Criterion) -> Criterion:
    """The criterion that the certificate bounds the error of the output.  A negative or NaN bound allows no error."""
    value = output.value
    assert value is not None, "a sum is close to a value"

    def error(got: NDArray[Any], certificate: NDArray[Any]) -> NDArray[np.float64]:
        least = value.least_error(got)
        allowed = np.where(certificate >= 0.0, certificate, 0.0)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            return np.where(least == 0.0, 0.0, least / allowed)

    def expected(index: tuple[int, ...]) -> str:
        return f"less than the error of the output, whose exact value is {float(value.midpoint[index]):.12g}"

    return Criterion(error, np.ones(value.shape), expected, ("output", CERTIFICATE))


INTERFACE = Interface(
    (_FORM,),
    _script,
    ("function", "parameter"),
    _CAPABILITIES,
    _CONVENTIONS,
    lists={"functions": FUNCTIONS},
)
