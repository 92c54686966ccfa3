"""How backward passes of attention of order k are called, in either form, and what their gradients are held to."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

import numpy as np

from assay.conformance.attention_gradient.criteria import CONVENTIONS, close_to_origins
from assay.conformance.attention_gradient.forms import vector_jacobian_product
from assay.conformance.interface.interface import Capability, Form, Interface
from assay.conformance.interface.steps import Output, Step
from assay.conformance.tensor_attention.interface import CAPABILITIES as OF_FORWARD
from assay.conformance.tensor_attention.interface import INTERFACE as FORWARD
from assay.conformance.tensor_attention.interface import ORDERS, options_of, positional
from assay.spec.tensor_attention_gradient import handed
from assay.spec.tensor_attention_gradient.tolerance import Bounds

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from numpy.typing import NDArray

    from assay.conformance.interface.kernel import Kernel
    from assay.conformance.interface.steps import Script
    from assay.spec.criterion import Criterion
    from assay.spec.precision import Precision
    from assay.spec.tensor_attention_gradient import Incoming

__all__ = ["CONVENTIONS", "INTERFACE", "criteria", "explicit", "forward_of"]

_OPTIONS = "scale, is_causal=False, window=None"
_OF_FORWARD_ALONE = ("return_lse", "requested_error", "empty_row_lse")


def explicit(order: int) -> tuple[str, ...]:
    """The arrays of a backward pass of this order, which is handed what the forward pass gave."""
    return (*positional(order), "output", "log_sum_exp", "grad_output")


def _lacks(order: int) -> Mapping[str, str]:
    return next(form.lacks for form in FORWARD.forms if form.positional == positional(order))


def _explicit_form(order: int) -> Form:
    names = explicit(order)
    return Form(names, f"({', '.join(names)}, *, {_OPTIONS}, grad_log_sum_exp=None)", lacks=_lacks(order))


def forward_of(order: int) -> Form:
    """A differentiable forward pass of this order, whose vector–Jacobian product is taken."""
    names = positional(order)
    return Form(
        names,
        f"({', '.join(names)}, *, {_OPTIONS}, return_lse=False) of torch or jax",
        functools.partial(_adapted, names),
        tells=False,
        lacks=_lacks(order),
    )


def _adapted(names: tuple[str, ...], function: Any, framework: str) -> Any:
    return vector_jacobian_product(function, framework, names)


_CAPABILITIES = (
    *(capability for capability in OF_FORWARD if capability.name not in _OF_FORWARD_ALONE),
    Capability("grad_log_sum_exp", lambda i: i.grad_log_sum_exp is not None, ("grad_log_sum_exp", "return_lse")),
    Capability("empty_row_lse", lambda i: i.grad_log_sum_exp is not None and bool(_empty_rows(i).any())),
)


def _empty_rows(instance: Incoming) -> NDArray[np.bool_]:
    """(n_q,): which queries attend to no combination."""
    return np.asarray(~instance.visible().any(axis=1))


def _is_forward(kernel: Kernel) -> bool:
    return kernel.positional in {positional(order) for order in ORDERS}


def _script(instance: Incoming, kernel: Kernel, precision: Precision) -> Script:
    """One call: ``scale`` always, other keywords only for options that the instance has."""
    keywords = options_of(instance)
    if instance.grad_log_sum_exp is not None:
        keywords["grad_log_sum_exp"] = instance.grad_log_sum_exp
    arrays: dict[str, NDArray[Any]] = {name: getattr(instance, name) for name in positional(instance.order)}
    outputs = [_output(instance, name, precision) for name in instance.outputs()]
    if _is_forward(kernel):
        keywords["differentiate"] = tuple(name.removeprefix("grad_") for name in instance.outputs())
        axes = ("batch", "heads", "queries", "value dim")
        outputs.append(Output("output", instance.grad_output.shape, (precision.result,), axes))
    else:
        arrays["output"], arrays["log_sum_exp"] = handed(instance, precision)
    arrays["grad_output"] = instance.grad_output
    return (Step(tuple(arrays.items()), keywords, tuple(outputs)),)


def _output(instance: Incoming, name: str, precision: Precision) -> Output:
    """A gradient: shaped like its array, in the type of the class's outputs or, as sums are kept, in float32."""
    array = name.removeprefix("grad_")
    axes = tuple(axis.replace("_", " ") for axis in instance.axes_of(array))
    return Output(name, getattr(instance, array).shape, tuple(dict.fromkeys((precision.result, "float32"))), axes)


def criteria(instance: Incoming, kernel: Kernel, precision: Precision) -> Mapping[str, Criterion]:
    """Closeness of every gradient, within the tolerance of the origin of δ that it fits best (BWD-5)."""
    return close_to_origins(
        instance,
        kernel,
        lambda: Bounds(instance, precision),
        handed=lambda: handed(instance, precision),
        names=instance.outputs(),
        undecided=_undecided(instance) if kernel.conventions.get("empty_row") == "any" else {},
        forward=_is_forward(kernel),
        pairs=math.prod(instance.query.shape[:3]) * instance.combinations,
    )


def _undecided(instance: Incoming) -> dict[str, Any]:
    """Output → where the gradient of a query that attends to nothing may be felt."""
    empty = _empty_rows(instance)
    return {name: empty[:, None] if name == "grad_query" else bool(empty.any()) for name in instance.outputs()}


INTERFACE = Interface(
    (*(_explicit_form(order) for order in ORDERS), *(forward_of(order) for order in ORDERS)),
    _script,
    ("scale",),
    _CAPABILITIES,
    CONVENTIONS,
)
