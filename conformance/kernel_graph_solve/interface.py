"""How solvers of kernel graphs are called."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from assay.conformance.interface.interface import Capability, Form, Interface
from assay.conformance.interface.steps import Output, Step
from assay.conformance.interface.suite import CONCURRENT_CALLS, FRESH_OUTPUTS
from assay.conformance.kernel_graph.graphs import weights
from assay.conformance.kernel_graph.interface import FUNCTIONS, functions
from assay.spec.kernel_graph_solve import criteria as right

if TYPE_CHECKING:
    from collections.abc import Mapping

    from assay.conformance.interface.kernel import Kernel
    from assay.conformance.interface.steps import Script
    from assay.spec.criterion import Criterion
    from assay.spec.kernel_graph_solve import Instance
    from assay.spec.precision import Precision

__all__ = ["INTERFACE", "criteria"]

_LARGEST = 256  # points: larger instances of the table are well-conditioned
_ROUNDING = 2.0**-47  # of entries, and of the sums of an elimination

_FORM = Form(
    ("points", "right_side"), "(points, right_side, *, function, parameter, tolerance), which returns the potentials"
)


def _ill_conditioned(instance: Instance) -> bool:
    """Whether rounding the entries of the Laplacian alone may cost more than the tolerance allows, in float64.

    Elimination of the matrix loses as much as its condition number says.  Elimination of the graph does not: only
    positive numbers are added, multiplied and divided.
    """
    n = len(instance.points)
    if n > _LARGEST:
        return False
    w = weights(instance)
    values = np.linalg.eigvalsh(np.diag(w.sum(axis=1)) - w)
    return bool(n * _ROUNDING * values[-1] > instance.tolerance * values[1])


_CAPABILITIES = (
    *functions(),
    Capability("ill_conditioned", _ill_conditioned),
    Capability(CONCURRENT_CALLS),
    Capability(FRESH_OUTPUTS),
)


def _script(instance: Instance, _kernel: Kernel, precision: Precision) -> Script:
    """One call."""
    keywords = {"function": instance.function, "parameter": instance.parameter, "tolerance": instance.tolerance}
    output = Output("x", instance.right_side.shape, (precision.result,), ("points",))
    return (Step((("points", instance.points), ("right_side", instance.right_side)), keywords, (output,)),)


def criteria(instance: Instance, _kernel: Kernel, precision: Precision) -> Mapping[str, Criterion]:
    """What the energy of the error is held to."""
    return right(instance, precision)


INTERFACE = Interface(
    (_FORM,), _script, ("function", "parameter", "tolerance"), _CAPABILITIES, lists={"functions": FUNCTIONS}
)
