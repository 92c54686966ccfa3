"""How kernels that look for a pair of documents are called, and what they may declare of their answer."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.frameworks import framework as framework_named
from assay.conformance.interface.interface import Capability, Form, Interface
from assay.conformance.interface.kernel import Declined
from assay.conformance.interface.steps import Output, Step
from assay.conformance.interface.suite import CONCURRENT_CALLS, FRESH_OUTPUTS
from assay.spec.document_similarity import CONVENTIONS, Instance
from assay.spec.document_similarity import criteria as right

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from assay.conformance.interface.kernel import Kernel
    from assay.conformance.interface.steps import Script
    from assay.spec.criterion import Criterion
    from assay.spec.precision import Precision

__all__ = ["INTERFACE", "adapted", "criteria"]

_INDICES = ("int64", "int32", "uint32", "uint64", "int16", "uint16")
_SMALL = 2.0**-18  # norms below it are a matter of their own: libraries replace those below 1e-6 or so


def adapted(function: Callable[..., Any], framework: str) -> Callable[..., Any]:
    """The function with its indices and its similarity as arrays of a framework: numbers of Python are good as well.

    Where it cannot be called with one collection, it declines to be.
    """
    needed = _arrays_needed(function)

    @functools.wraps(function)
    def adapting(*arrays: Any, **keywords: Any) -> Any:
        if len(arrays) < needed:
            raise Declined("takes two collections of documents")
        returned = function(*arrays, **keywords)
        if not isinstance(returned, tuple):
            return returned
        return tuple(_array(part, framework) for part in returned)

    return adapting


def _arrays_needed(function: Callable[..., Any]) -> int:
    """How many positional arguments a function must get; 1 where its signature does not say."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return 1
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return sum(p.default is p.empty for p in positional)


def _array(part: Any, framework: str) -> Any:
    """A number of Python or NumPy as an array without axes; anything else as it is."""
    number = isinstance(part, (int, float, np.generic)) and not isinstance(part, (bool, np.bool_))
    return framework_named(framework).to_native(np.asarray(part)) if number else part


_KEYWORDS = '*, least=False, measure="cosine"), each keyword only if it is supported'
_FORMS = (
    Form(("left", "right"), f"(left, right=None, {_KEYWORDS}", adapted),
    Form(
        ("left",),
        f"(left, {_KEYWORDS}",
        adapted,
        lacks={"two_collections": "takes one collection of documents"},
    ),
)


def _binary(instance: Instance) -> bool:
    return all(bool(((x == 0) | (x == 1)).all()) for x in instance.arrays().values())


def _negative(instance: Instance) -> bool:
    return any(bool((x < 0).any()) for x in instance.arrays().values())


def _small(instance: Instance) -> bool:
    return instance.measure == "cosine" and any(
        bool((np.abs(x).max(axis=1) < _SMALL).any()) for x in instance.arrays().values()
    )


_CAPABILITIES = (
    Capability("least", lambda i: i.least, ("least",)),
    Capability("inner_product", lambda i: i.measure == "inner_product", ("measure",)),
    Capability("two_collections", lambda i: i.right is not None),
    Capability("one_collection", lambda i: i.right is None),
    Capability("weights", lambda i: not _binary(i)),
    Capability("negative_weights", _negative),
    Capability("small_norms", _small),
    Capability(CONCURRENT_CALLS),
    Capability(FRESH_OUTPUTS),
)


def _script(instance: Instance, kernel: Kernel, precision: Precision) -> Script:
    """One call with the collections that there are; keywords only for what is not as always."""
    reals = tuple(dict.fromkeys((precision.result, "float32", "float64")))
    outputs = (
        Output("i", (), _INDICES),
        Output("j", (), _INDICES),
        Output("similarity", (), reals if precision.result != "float64" else ("float64",)),
    )
    return (Step(tuple(instance.arrays().items()), instance.options(), outputs),)


def criteria(instance: Instance, kernel: Kernel, precision: Precision) -> Mapping[str, Criterion]:
    """What the pair and its similarity are held to, under what the kernel declares of them."""
    declared = {name: kernel.conventions[name] for name in ("pair", "through") if name in kernel.conventions}
    return right(instance, precision, approximation=float(kernel.conventions.get("approximation", 1.0)), **declared)


INTERFACE = Interface(_FORMS, _script, (), _CAPABILITIES, CONVENTIONS, {"approximation": 1.0})
