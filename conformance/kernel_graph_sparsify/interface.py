"""How sparsifiers of kernel graphs are called, and what they may declare."""

from __future__ import annotations

from typing import TYPE_CHECKING

from assay.conformance.interface.interface import Capability, Form, Interface
from assay.conformance.interface.steps import Output, Step
from assay.conformance.interface.suite import CONCURRENT_CALLS, FRESH_OUTPUTS
from assay.conformance.kernel_graph.interface import FUNCTIONS, functions
from assay.spec.kernel_graph_sparsify import criteria as right

if TYPE_CHECKING:
    from collections.abc import Mapping

    from assay.conformance.interface.kernel import Kernel
    from assay.conformance.interface.steps import Script
    from assay.spec.criterion import Criterion
    from assay.spec.kernel_graph_sparsify import Instance
    from assay.spec.precision import Precision

__all__ = ["INTERFACE", "criteria"]

_INDICES = ("int64", "int32", "uint32", "uint64", "int16", "uint16")
_FORM = Form(
    ("points",),
    "(points, *, function, parameter, error, seed), which returns the edges (left, right, weight), each once",
    named=("error", "seed"),
)
_CAPABILITIES = (*functions(), Capability(CONCURRENT_CALLS), Capability(FRESH_OUTPUTS))


def _script(instance: Instance, _kernel: Kernel, precision: Precision) -> Script:
    """One call; the number of edges is the kernel's."""
    keywords = {
        "function": instance.function,
        "parameter": instance.parameter,
        "error": instance.error,
        "seed": instance.seed,
    }
    reals = tuple(dict.fromkeys((precision.result, "float64")))
    outputs = (
        Output("left", (None,), _INDICES, ("edges",)),
        Output("right", (None,), _INDICES, ("edges",)),
        Output("weight", (None,), reals, ("edges",)),
    )
    return (Step((("points", instance.points),), keywords, outputs),)


def criteria(instance: Instance, _kernel: Kernel, precision: Precision) -> Mapping[str, Criterion]:
    """What the quadratic form of the edges is held to."""
    return right(instance, precision)


INTERFACE = Interface(
    (_FORM,), _script, ("function", "parameter", "error", "seed"), _CAPABILITIES, lists={"functions": FUNCTIONS}
)
