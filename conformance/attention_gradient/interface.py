"""How backward passes are called, in either form, and what their gradients are held to."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.attention.interface import INTERFACE as ATTENTION
from assay.conformance.attention_gradient.criteria import CONVENTIONS, close_to_origins
from assay.conformance.attention_gradient.forms import vector_jacobian_product
from assay.conformance.interface.interface import Capability, Form, Interface
from assay.conformance.interface.steps import Output, Step
from assay.spec.attention_gradient import handed
from assay.spec.attention_gradient.tolerance import Bounds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from assay.conformance.interface.kernel import Kernel
    from assay.conformance.interface.steps import Script
    from assay.spec.attention_gradient import Instance
    from assay.spec.criterion import Criterion
    from assay.spec.precision import Precision

__all__ = ["CONVENTIONS", "EXPLICIT_FORM", "FORWARD_FORM", "INTERFACE", "asked", "criteria"]

_OPTIONS = (
    "scale, is_causal=False, causal=None, mask=None, bias=None, window=None, key_lengths=None, softcap=None, sink=None"
)

#: A backward pass that is handed the output and the log-sum-exp of the forward pass, rounded to the nearest numbers.
EXPLICIT_FORM = Form(
    ("query", "key", "value", "output", "log_sum_exp", "grad_output"),
    f"(query, key, value, output, log_sum_exp, grad_output, *, {_OPTIONS}, grad_log_sum_exp=None)",
)

#: A differentiable forward pass of PyTorch or JAX, whose vector–Jacobian product is taken.
FORWARD_FORM = Form(
    ("query", "key", "value"),
    f"(query, key, value, *, {_OPTIONS}, return_lse=False) of torch or jax, each keyword after scale only if it is "
    "supported",
    vector_jacobian_product,
    tells=False,
)

_ARRAYS = ("mask", "bias", "key_lengths", "sink")
_OF_THE_FORWARD_PASS = ("return_lse", "requested_error", "empty_row_lse")


def _has_empty_row(instance: Instance) -> bool:
    return any(not instance.attends(batch).any(axis=-1).all() for batch in range(instance.query.shape[0]))


_CAPABILITIES = (
    *(capability for capability in ATTENTION.capabilities if capability.name not in _OF_THE_FORWARD_PASS),
    Capability("grad_log_sum_exp", lambda i: i.grad_log_sum_exp is not None, ("grad_log_sum_exp", "return_lse")),
    Capability("empty_row_lse", lambda i: i.grad_log_sum_exp is not None and _has_empty_row(i)),
    # a kernel that lacks one of these is asked for the other gradients
    Capability("grad_bias"),
    Capability("grad_sink"),
)


def asked(instance: Instance, kernel: Kernel) -> tuple[str, ...]:
    """The gradients that a kernel is asked for: those of bias and sink unless it declares to lack them."""
    return tuple(name for name in instance.outputs() if name not in kernel.lacks)


def _is_forward(kernel: Kernel) -> bool:
    return kernel.positional == FORWARD_FORM.positional


def _script(instance: Instance, kernel: Kernel, precision: Precision) -> Script:
    """One call: ``scale`` always, other keywords only for options that the instance has."""
    keywords: dict[str, Any] = {"scale": instance.scale}
    if instance.causal == "top-left" and "is_causal" in kernel.keywords:
        keywords["is_causal"] = True
    elif instance.causal is not None:
        keywords["causal"] = instance.causal
    names = (*_ARRAYS, "window", "softcap", "grad_log_sum_exp")
    keywords |= {name: value for name in names if (value := getattr(instance, name)) is not None}
    gradients = asked(instance, kernel)
    arrays: dict[str, NDArray[Any]] = {name: getattr(instance, name) for name in ("query", "key", "value")}
    outputs = [_output(instance, name, precision) for name in gradients]
    if _is_forward(kernel):
        keywords["differentiate"] = tuple(name.removeprefix("grad_") for name in gradients)
        shape = instance.grad_output.shape
        outputs.append(Output("output", shape, (precision.result,), ("batch", "heads", "queries", "value dim")))
    else:
        arrays["output"], arrays["log_sum_exp"] = handed(instance, precision)
    arrays["grad_output"] = instance.grad_output
    return (Step(tuple(arrays.items()), keywords, tuple(outputs)),)


def _output(instance: Instance, name: str, precision: Precision) -> Output:
    """A gradient: shaped like its array, and of its type or that of the class's outputs."""
    array = getattr(instance, name.removeprefix("grad_"))
    axes = tuple(axis.replace("_", " ") for axis in instance.axes_of(name.removeprefix("grad_")))
    dtypes = [precision.result]
    if name in ("grad_bias", "grad_sink"):
        dtypes += [array.dtype.name, "float32"]
    return Output(name, array.shape, tuple(dict.fromkeys(dtypes)), axes[len(axes) - array.ndim :])


def criteria(instance: Instance, kernel: Kernel, precision: Precision) -> Mapping[str, Criterion]:
    """Closeness of every gradient, within the tolerance of the origin of δ that it fits best (BWD-5)."""
    return close_to_origins(
        instance,
        kernel,
        lambda: Bounds(instance, precision),
        handed=lambda: handed(instance, precision),
        names=asked(instance, kernel),
        undecided=_undecided(instance) if kernel.conventions.get("empty_row") == "any" else {},
        forward=_is_forward(kernel),
        pairs=_pairs(instance),
    )


def _pairs(instance: Instance) -> int:
    """How many numbers a matrix of queries and keys has, over all heads."""
    return math.prod(instance.query.shape[:3]) * int(instance.key.shape[2])


def _undecided(instance: Instance) -> dict[str, Any]:
    """Output → where the gradient of a query without a key may be felt."""
    seen: NDArray[np.bool_] = np.any(instance.visible(), axis=3, keepdims=True)[..., 0]
    empty: NDArray[np.bool_] = ~seen & (instance.sink is None)
    b, h, _ = empty.shape
    grouped = empty.reshape(b, h // instance.group, -1)
    heads: NDArray[np.bool_] = np.any(grouped, axis=2, keepdims=True)[..., None]
    return {
        "grad_query": empty[..., None],
        "grad_key": heads,
        "grad_value": heads,
        "grad_bias": bool(empty.any()),
        "grad_sink": bool(empty.any()),
    }


INTERFACE = Interface((EXPLICIT_FORM, FORWARD_FORM), _script, ("scale",), _CAPABILITIES, CONVENTIONS)
