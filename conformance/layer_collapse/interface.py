"""How stacks of layers are called, and what a kernel may be able to do."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from assay.conformance.interface.interface import Capability, Form, Interface
from assay.conformance.interface.steps import Output, Step
from assay.conformance.interface.suite import CONCURRENT_CALLS, FRESH_OUTPUTS
from assay.spec.layer_collapse import Instance
from assay.spec.layer_collapse import criteria as right

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from assay.conformance.interface.kernel import Kernel
    from assay.conformance.interface.steps import Script
    from assay.spec.criterion import Criterion
    from assay.spec.precision import Precision

__all__ = ["ARRAYS", "INTERFACE", "criteria"]

#: The arrays that every kernel gets.
ARRAYS = ("tokens", "query_weights", "key_weights", "value_weights")

_FORM = Form(
    ARRAYS,
    f"({', '.join(ARRAYS)}, *, scale, skip=True, causal=False, output_weights=None, query_bias=None, key_bias=None, "
    "value_bias=None, output_bias=None, mask=None, norm=None, norm_place='pre', epsilon=None, final_norm=False, "
    "attention_norm_gain=None, attention_norm_bias=None, mlp_norm_gain=None, mlp_norm_bias=None, "
    "final_norm_gain=None, final_norm_bias=None, up_weights=None, up_bias=None, gate_weights=None, down_weights=None, "
    "down_bias=None, activation='relu'), each keyword after scale only if it is supported",
)


def _given(name: str) -> Capability:
    """The capability of an optional array, which is named like its keyword."""
    return Capability(name, lambda i: getattr(i, name) is not None, (name,))


def _activated(name: str) -> Capability:
    keyword = "up_weights" if name == "relu" else "activation"
    return Capability(name, lambda i: i.up_weights is not None and i.activation == name, (keyword,))


def _any(*names: str) -> Callable[[Instance], bool]:
    return lambda i: any(getattr(i, name) is not None for name in names)


def _axis(instance: Instance, name: str) -> int:
    return instance.lengths()[name]


def _free_head_dim(instance: Instance) -> bool:
    """Whether heads are of another width than the part of the tokens that is left to a head."""
    heads, d = _axis(instance, "heads"), _axis(instance, "dim")
    widths = [_axis(instance, "head_dim")]
    widths += [] if instance.output_weights is None else [_axis(instance, "value_dim")]
    return any(heads * width != d for width in widths)


_CAPABILITIES = (
    # what a kernel of a library often cannot leave out
    Capability("skips", lambda i: i.skip),
    Capability("no_skip", lambda i: not i.skip, ("skip",)),
    Capability("several_layers", lambda i: i.layers > 1),
    Capability("causal", lambda i: i.causal, ("causal",)),
    Capability("full_attention", lambda i: not i.causal),
    Capability("without_norm", lambda i: i.norm is None),
    Capability("without_mlp", lambda i: i.up_weights is None),
    Capability("without_output_weights", lambda i: i.output_weights is None),
    Capability("without_biases", lambda i: i.query_bias is None),
    # heads
    Capability("grouped_heads", lambda i: i.group > 1),
    Capability("free_head_dim", _free_head_dim),
    Capability("value_dim", lambda i: i.output_weights is not None and _axis(i, "value_dim") != _axis(i, "head_dim")),
    Capability("any_scale", lambda i: i.scale != i.usual()["scale"]),
    _given("mask"),
    _given("output_weights"),
    *(_given(f"{name}_bias") for name in ("query", "key", "value", "output")),
    # norms
    Capability("layer_norm", lambda i: i.norm == "layer", ("norm",)),
    Capability("rms_norm", lambda i: i.norm == "rms", ("norm",)),
    Capability("pre_norm", lambda i: i.norm is not None and i.norm_place == "pre", ("norm",)),
    Capability("post_norm", lambda i: i.norm is not None and i.norm_place == "post", ("norm_place",)),
    Capability("any_epsilon", lambda i: i.norm is not None, ("epsilon",)),
    Capability("final_norm", lambda i: i.final_norm, ("final_norm",)),
    Capability("without_final_norm", lambda i: i.norm is not None and not i.final_norm),
    Capability("norm_gain", _any("attention_norm_gain", "mlp_norm_gain"), ("attention_norm_gain",)),
    Capability("norm_bias", _any("attention_norm_bias", "mlp_norm_bias"), ("attention_norm_bias",)),
    Capability("mlp_norm", _any("mlp_norm_gain", "mlp_norm_bias"), ("mlp_norm_gain", "mlp_norm_bias")),
    Capability("final_norm_gain", _any("final_norm_gain"), ("final_norm_gain",)),
    Capability("final_norm_bias", _any("final_norm_bias"), ("final_norm_bias",)),
    # the MLP
    Capability("mlp", _any("up_weights"), ("up_weights", "down_weights")),
    _given("up_bias"),
    _given("down_bias"),
    _given("gate_weights"),
    Capability("without_gate", lambda i: i.up_weights is not None and i.gate_weights is None, ("up_weights",)),
    *(_activated(name) for name in ("relu", "gelu", "gelu_tanh", "silu")),
    Capability(CONCURRENT_CALLS),
    Capability(FRESH_OUTPUTS),
)

#: Names of the optional arrays, in the order of the fields.
_OPTIONAL = tuple(field.name for field in dataclasses.fields(Instance) if field.name not in ARRAYS)


def _script(instance: Instance, kernel: Kernel, precision: Precision) -> Script:
    """One call: ``scale`` always, other keywords only for what the instance has."""
    arrays = instance.arrays()
    given = {**arrays, **instance.options()}
    keywords: dict[str, Any] = {"scale": instance.scale}
    keywords |= {name: given[name] for name in _OPTIONAL if name in given}
    shape = (instance.layers, *instance.tokens.shape)
    output = Output("tokens", shape, (precision.result,), ("layers", "length", "dim"))
    return (Step(tuple((name, arrays[name]) for name in ARRAYS), keywords, (output,)),)


def criteria(instance: Instance, kernel: Kernel, precision: Precision) -> Mapping[str, Criterion]:
    """Closeness of the tokens after every layer."""
    return right(instance, precision)


INTERFACE = Interface((_FORM,), _script, ("scale",), _CAPABILITIES)
