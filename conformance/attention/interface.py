"""How attention kernels are called: what an instance needs of one, and the call itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from assay.conformance.attention.criteria import CERTIFICATE, CONVENTIONS
from assay.conformance.interface.interface import Capability, Form, Interface
from assay.conformance.interface.steps import Output, Step
from assay.conformance.interface.suite import CONCURRENT_CALLS, FRESH_OUTPUTS

if TYPE_CHECKING:
    from assay.conformance.interface.kernel import Kernel
    from assay.conformance.interface.steps import Script
    from assay.spec.attention import Instance
    from assay.spec.precision import Precision

__all__ = ["CAPABILITIES", "INTERFACE", "call"]

_FORM = Form(
    ("query", "key", "value"),
    "(query, key, value, *, scale, is_causal=False, causal=None, mask=None, bias=None, window=None, key_lengths=None, "
    "softcap=None, sink=None, return_lse=False), each keyword after scale only if it is supported",
)
_ARRAYS = ("mask", "bias", "key_lengths", "sink")


def _has_mask(instance: Instance) -> bool:
    return instance.mask is not None


def _has_bias(instance: Instance) -> bool:
    return instance.bias is not None


def _bias_is_wider(instance: Instance) -> bool:
    """Whether the bias is in float32 and the arrays are in a shorter type: bfloat16 stands in for eight bits."""
    return instance.bias is not None and instance.bias.dtype.itemsize > max(2, instance.query.dtype.itemsize)


def _is_causal(instance: Instance) -> bool:
    return instance.causal is not None


def _lengths_differ(instance: Instance) -> bool:
    return bool(instance.query.shape[2] != instance.key.shape[2])


def _has_empty_row(instance: Instance) -> bool:
    """Whether some query attends to no key."""
    return any(not instance.attends(batch).any(axis=-1).all() for batch in range(instance.query.shape[0]))


#: What kernels of attention can or cannot do.
CAPABILITIES = (
    Capability("causal_top_left", lambda i: i.causal == "top-left", ("is_causal", "causal")),
    Capability("causal_bottom_right", lambda i: i.causal == "bottom-right", ("causal",)),
    Capability("mask", _has_mask, ("mask",)),
    Capability("bias", _has_bias, ("bias",)),
    Capability("window", lambda i: i.window is not None, ("window",)),
    Capability("key_lengths", lambda i: i.key_lengths is not None, ("key_lengths",)),
    Capability("softcap", lambda i: i.softcap is not None, ("softcap",)),
    Capability("sink", lambda i: i.sink is not None, ("sink",)),
    Capability("return_lse", lambda i: i.return_lse, ("return_lse",)),
    Capability("requested_error", keywords=("error",)),
    Capability("grouped_heads", lambda i: i.query.shape[1] != i.key.shape[1]),
    Capability("cross_lengths", _lengths_differ),
    Capability("causal_cross_lengths", lambda i: _lengths_differ(i) and _is_causal(i)),
    Capability("value_dim", lambda i: i.value.shape[3] != i.query.shape[3]),
    Capability("causal_with_mask", lambda i: _is_causal(i) and (_has_mask(i) or _has_bias(i))),
    Capability("bias_with_mask", lambda i: _has_mask(i) and _has_bias(i)),
    Capability("wide_bias", _bias_is_wider),
    Capability("nonpositive_causal_scale", lambda i: _is_causal(i) and i.scale <= 0.0),
    Capability("empty_row_lse", lambda i: i.return_lse and _has_empty_row(i)),
    Capability(CONCURRENT_CALLS),
    Capability(FRESH_OUTPUTS),
)


def call(instance: Any, kernel: Kernel, precision: Precision) -> tuple[dict[str, Any], tuple[Output, ...]]:
    """The keywords of one call, ``scale`` always and others only for options that the instance has, and its outputs."""
    b, h_q, n_q, _ = instance.query.shape
    keywords: dict[str, Any] = {"scale": instance.scale}
    if instance.causal == "top-left" and "is_causal" in kernel.keywords:
        keywords["is_causal"] = True
    elif instance.causal is not None:
        keywords["causal"] = instance.causal
    for name in _ARRAYS:
        if (array := getattr(instance, name)) is not None:
            keywords[name] = array
    if instance.window is not None:
        keywords["window"] = instance.window
    if instance.softcap is not None:
        keywords["softcap"] = instance.softcap
    axes = ("batch", "heads", "queries", "value dim")
    output = Output("output", (b, h_q, n_q, instance.value.shape[3]), (precision.result,), axes)
    outputs = [output]
    if instance.return_lse:
        keywords["return_lse"] = True
        wide = ("float64",) if precision.result == "float64" else ("float32", "float64")
        dtypes = tuple(dict.fromkeys((precision.result, *wide)))
        outputs.append(Output("log_sum_exp", (b, h_q, n_q), dtypes, axes[:3]))
    if "error" in kernel.conventions and "error" in kernel.keywords:
        keywords["error"] = float(kernel.conventions["error"])
    if kernel.conventions.get("certificate") == "yes":
        keywords["return_certificate"] = True
        outputs.append(Output(CERTIFICATE, output.shape, ("float64",), axes))
    return keywords, tuple(outputs)


def _script(instance: Instance, kernel: Kernel, precision: Precision) -> Script:
    """One call."""
    keywords, outputs = call(instance, kernel, precision)
    return (Step(tuple((name, getattr(instance, name)) for name in _FORM.positional), keywords, outputs),)


INTERFACE = Interface((_FORM,), _script, ("scale",), CAPABILITIES, CONVENTIONS)
