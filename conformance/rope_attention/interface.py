"""How kernels of attention with relative positions are called: in two forms, under conventions that they declare."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.attention.criteria import CONVENTIONS as ATTENTION_CONVENTIONS
from assay.conformance.attention.criteria import held_to
from assay.conformance.attention.interface import CAPABILITIES as ATTENTION_CAPABILITIES
from assay.conformance.attention.interface import call
from assay.conformance.interface.interface import Capability, Form, Interface
from assay.conformance.interface.kernel import Declined
from assay.conformance.interface.steps import Step
from assay.spec.precision import reference_accuracy
from assay.spec.rope_attention import evaluate, tolerance
from assay.spec.rotary.turning import paired

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from assay.conformance.interface.kernel import Kernel
    from assay.conformance.interface.steps import Script
    from assay.spec.criterion import Criterion
    from assay.spec.precision import Precision
    from assay.spec.rope_attention import Instance

__all__ = ["CONVENTIONS", "GENERAL_FORM", "INTERFACE", "ROTARY_FORM", "criteria", "queries_elsewhere"]

_OPTIONS = (
    "relative_bias=None, is_causal=False, causal=None, window=None, mask=None, bias=None, key_lengths=None, "
    "softcap=None, sink=None, return_lse=False"
)

#: Capabilities that are about a rotation.
_OF_ROTATION = (
    "rotary", "halves", "pairs", "partial", "odd_dim", "scaling", "linear", "ntk", "dynamic", "llama3", "yarn",
    "untruncated", "attention_factor", "positions", "batched_positions", "any_positions", "unlike_positions",
    "far_positions", "negative_positions",
)  # fmt: skip

#: Queries and keys are rotated by their positions.
ROTARY_FORM = Form(
    ("query", "key", "value"),
    "(query, key, value, *, scale, base, layout='halves', rotary_dim=None, scaling=None, factor=None, "
    "original_length=None, low_frequency=None, high_frequency=None, truncate=True, attention_factor=None, "
    f"query_positions=None, key_positions=None, {_OPTIONS}), each keyword after base only if it is supported",
    named=("base",),
    lacks={"general": "takes positions, and no W for every offset"},
)

#: Every offset of a query and a key has a matrix of its own.
GENERAL_FORM = Form(
    ("query", "key", "value", "relative"),
    f"(query, key, value, relative, *, scale, support, {_OPTIONS}), each keyword after support only if it is supported",
    named=("support",),
    lacks=dict.fromkeys(_OF_ROTATION, "takes a W for every offset, and no positions"),
)

_POSITIONS = ("query_positions", "key_positions")
_FAR = 1 << 24  # float32 does not hold every integer from there on


def _is_rotary(instance: Instance) -> bool:
    return instance.relative is None


def _has_some_bias(instance: Instance) -> bool:
    return instance.bias is not None or instance.relative_bias is not None


def _scaled(kind: str, *keywords: str) -> Capability:
    return Capability(kind, lambda i: i.scaling == kind, keywords)


def _each_row(test: Any) -> Any:
    """Whether a test holds of the positions of queries or of keys."""
    return lambda instance: any(test(positions) for positions in instance.positions())


def _has_positions(instance: Instance) -> bool:
    return instance.query_positions is not None or instance.key_positions is not None


def _batched(instance: Instance) -> bool:
    return any(len(positions) > 1 for positions in instance.positions())


def queries_elsewhere(instance: Instance) -> bool:
    """Whether queries of the rotary form are not where the last keys are."""
    queries, keys = instance.positions()
    n = queries.shape[1]
    return _is_rotary(instance) and (n > keys.shape[1] or bool((queries != keys[:, keys.shape[1] - n :]).any()))


_CAPABILITIES = (
    Capability("rotary", _is_rotary, ("base",)),
    Capability("general", lambda i: i.relative is not None, ("support",)),
    Capability("halves", lambda i: _is_rotary(i) and i.layout == "halves"),
    Capability("pairs", lambda i: i.layout == "pairs", ("layout",)),
    Capability("partial", lambda i: i.rotary_dim is not None, ("rotary_dim",)),
    Capability("odd_dim", lambda i: _is_rotary(i) and i.query.shape[3] % 2 == 1, ("rotary_dim",)),
    Capability("scaling", lambda i: i.scaling is not None, ("scaling",)),
    _scaled("linear", "factor"),
    _scaled("ntk", "factor"),
    _scaled("dynamic", "original_length"),
    _scaled("llama3", "low_frequency", "high_frequency"),
    _scaled("yarn", "low_frequency", "high_frequency"),
    Capability("untruncated", lambda i: not i.truncate, ("truncate",)),
    Capability("attention_factor", lambda i: i.attention_factor is not None, ("attention_factor",)),
    Capability("positions", _has_positions, _POSITIONS),
    Capability("batched_positions", _batched, _POSITIONS),
    Capability("any_positions", _each_row(lambda p: (np.diff(p, axis=1) != 1).any()), _POSITIONS),
    Capability("unlike_positions", queries_elsewhere),
    Capability("far_positions", _each_row(lambda p: np.abs(p).max() > _FAR), _POSITIONS),
    Capability("negative_positions", _each_row(lambda p: p.min() < 0), _POSITIONS),
    Capability("relative_bias", lambda i: i.relative_bias is not None, ("relative_bias",)),
    *(
        capability
        for capability in ATTENTION_CAPABILITIES
        if capability.name not in ("causal_with_mask", "bias_with_mask")
    ),
    Capability("causal_with_mask", lambda i: i.causal is not None and (i.mask is not None or _has_some_bias(i))),
    Capability("bias_with_mask", lambda i: i.mask is not None and _has_some_bias(i)),
)

#: Conventions that ``options`` may declare: those of attention, and
#: ``rotation``: ``negative`` turns queries and keys by −φ, so that scores see the opposite offset.
#: ``magnitude``: ``separate`` leaves yarn's magnitude to the caller, who scales the scores by its square.
#: ``table``: how many positions the kernel has a table for: larger ones, and negative ones, are not asked.
CONVENTIONS: dict[str, tuple[str, ...]] = {
    **ATTENTION_CONVENTIONS,
    "rotation": ("positive", "negative"),
    "magnitude": ("applied", "separate"),
    "table": (),
}

#: Names of the fields that a kernel of the rotary form gets where they differ from what is usual.
_ROTARY = (
    "layout", "rotary_dim", "scaling", "factor", "original_length", "low_frequency", "high_frequency", "truncate",
    "attention_factor",
)  # fmt: skip


def _script(instance: Instance, kernel: Kernel, precision: Precision) -> Script:
    """One call: ``scale`` and ``base`` or ``support`` always, other keywords only for options that the instance has."""
    _check_table(instance, kernel)
    keywords, outputs = call(instance, kernel, precision)
    arrays = [(name, getattr(instance, name)) for name in ROTARY_FORM.positional]
    if instance.relative is not None:
        arrays.append(("relative", instance.relative))
        keywords["support"] = instance.support
    else:
        keywords["base"] = instance.base
        given = instance.options()
        if instance.scaling in ("llama3", "yarn"):
            given |= {"low_frequency": instance.low_frequency, "high_frequency": instance.high_frequency}
        keywords |= {name: given[name] for name in _ROTARY if name in given}
        if _has_positions(instance):
            queries, keys = instance.positions()
            keywords |= {"query_positions": _as_given(queries), "key_positions": _as_given(keys)}
    if instance.relative_bias is not None:
        keywords["relative_bias"] = instance.relative_bias
    return (Step(tuple(arrays), keywords, outputs),)


def _as_given(positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """Positions that are the same in every batch have one axis."""
    return positions if len(positions) > 1 else positions[0]


def _check_table(instance: Instance, kernel: Kernel) -> None:
    if "table" not in kernel.conventions or instance.relative is not None:
        return
    places = np.concatenate([positions.ravel() for positions in instance.positions()])
    low, high = int(places.min()), int(places.max())
    if low < 0 or high >= float(kernel.conventions["table"]):
        raise Declined(f"positions {low} … {high} are not all in the table")


def criteria(instance: Instance, kernel: Kernel, precision: Precision) -> Mapping[str, Criterion]:
    """Closeness of every output, under the conventions that the kernel declares."""
    if kernel.conventions.get("magnitude") == "separate" and instance.scaling == "yarn":
        instance = instance.replace(attention_factor=1.0)
    if kernel.conventions.get("rotation") == "negative" and instance.relative is None:
        instance = _mirrored(instance)
    exact = evaluate(instance, reference_accuracy(precision))
    return held_to(instance, kernel, exact, lambda name: tolerance(instance, precision, name, exact=exact))


def _mirrored(instance: Instance) -> Instance:
    """The second member of every pair negated, on both sides: R(−φ) = K·R(φ)·K with K = diag(1, −1), and K·K = 1."""
    columns, _, sign = paired(instance)
    mirror = np.ones(instance.query.shape[3])
    mirror[columns] = -sign
    vectors = {name: (getattr(instance, name) * mirror).astype(instance.query.dtype) for name in ("query", "key")}
    return instance.replace(**vectors)


INTERFACE = Interface((ROTARY_FORM, GENERAL_FORM), _script, ("scale",), _CAPABILITIES, CONVENTIONS)
