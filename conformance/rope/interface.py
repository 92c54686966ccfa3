"""How rotary kernels are called: in two forms, under the conventions that they declare."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.interface.interface import Capability, Form, Interface
from assay.conformance.interface.kernel import Declined
from assay.conformance.interface.steps import Output, Step
from assay.conformance.interface.suite import CONCURRENT_CALLS, FRESH_OUTPUTS
from assay.spec.criterion import Criterion, close
from assay.spec.enclosure import Enclosure
from assay.spec.rope import Instance
from assay.spec.rope import criteria as right
from assay.spec.rotary.turning import paired

if TYPE_CHECKING:
    from collections.abc import Mapping

    from assay.conformance.interface.kernel import Kernel
    from assay.conformance.interface.steps import Script
    from assay.spec.precision import Precision

__all__ = ["CONVENTIONS", "INTERFACE", "criteria"]

_KEYWORDS = (
    "*, base, layout='halves', rotary_dim=None, scaling=None, factor=None, original_length=None, low_frequency=None, "
    "high_frequency=None, truncate=True, attention_factor=None), each keyword after base only if it is supported"
)
_FORMS = (
    Form(("query", "key", "positions"), f"(query, key, positions, {_KEYWORDS}"),
    Form(("x", "positions"), f"(x, positions, {_KEYWORDS}"),
)
_AXES = ("batch", "heads", "length", "dim")
_FAR = 1 << 24  # float32 does not hold every integer from there on


def _consecutive(instance: Instance) -> bool:
    return bool((np.diff(instance.positions, axis=-1) == 1).all())


def _batched(instance: Instance) -> bool:
    return instance.positions.ndim == 2 and (len(instance.positions) > 1 or len(instance.query) == 1)


def _scaled(kind: str, *keywords: str) -> Capability:
    return Capability(kind, lambda i: i.scaling == kind, keywords)


_CAPABILITIES = (
    Capability("halves", lambda i: i.layout == "halves"),
    Capability("pairs", lambda i: i.layout == "pairs", ("layout",)),
    Capability("partial", lambda i: i.rotary_dim is not None, ("rotary_dim",)),
    Capability("scaling", lambda i: i.scaling is not None, ("scaling",)),
    _scaled("linear", "factor"),
    _scaled("ntk", "factor"),
    _scaled("dynamic", "original_length"),
    _scaled("llama3", "low_frequency", "high_frequency"),
    _scaled("yarn", "low_frequency", "high_frequency"),
    Capability("untruncated", lambda i: not i.truncate, ("truncate",)),
    Capability("attention_factor", lambda i: i.attention_factor is not None, ("attention_factor",)),
    Capability("grouped_heads", lambda i: i.key is not None and i.key.shape[1] != i.query.shape[1]),
    Capability("batched_positions", _batched),
    Capability("offset_positions", lambda i: (i.positions[..., 0] != 0).any()),
    Capability("any_positions", lambda i: not _consecutive(i)),
    Capability("far_positions", lambda i: np.abs(i.positions).max() > _FAR),
    Capability("negative_positions", lambda i: i.positions.min() < 0),
    Capability(CONCURRENT_CALLS),
    Capability(FRESH_OUTPUTS),
)

#: Conventions that ``options`` may declare, the first being the default.
#: ``rotation``: ``negative`` turns by −φ, of queries and keys alike.
#: ``magnitude``: ``separate`` leaves yarn's magnitude to the caller, who scales the scores.
#: ``dynamic_length``: ``array`` takes the number of tokens for the length of ``dynamic``, not the largest position + 1.
#: ``table``: how many positions the kernel has a table for: larger ones, and negative ones, are not asked.
CONVENTIONS: dict[str, tuple[str, ...]] = {
    "rotation": ("positive", "negative"),
    "magnitude": ("applied", "separate"),
    "dynamic_length": ("positions", "array"),
    "table": (),
}


def _script(instance: Instance, kernel: Kernel, precision: Precision) -> Script:
    """One call, or one for each array where the kernel takes one; keywords only for options that the instance has."""
    low, high = int(instance.positions.min()), int(instance.positions.max())
    if "table" in kernel.conventions and (low < 0 or high >= float(kernel.conventions["table"])):
        raise Declined(f"positions {low} … {high} are not all in the table")
    if kernel.conventions.get("dynamic_length") == "array" and instance.scaling == "dynamic":
        least = instance.original_length or 1
        if max(instance.query.shape[2], least) != max(high + 1, least):
            raise Declined("the length of the array is not that of the positions")
    if instance.key is None and "key" in (kernel.positional or _FORMS[0].positional):
        raise Declined("there is no key")
    keywords: dict[str, Any] = {"base": instance.base, **instance.options()}
    if instance.scaling in ("llama3", "yarn"):
        keywords |= {"low_frequency": instance.low_frequency, "high_frequency": instance.high_frequency}
    positions = instance.positions if _batched(instance) else instance.positions.reshape(-1)
    arrays, script = list(instance.vectors().items()), []
    for rotated in [[one] for one in arrays] if kernel.positional == _FORMS[1].positional else [arrays]:
        outputs = tuple(Output(name, x.shape, (precision.result,), _AXES) for name, x in rotated)
        script.append(Step((*rotated, ("positions", positions)), keywords, outputs))
    return tuple(script)


def criteria(instance: Instance, kernel: Kernel, precision: Precision) -> Mapping[str, Criterion]:
    """Closeness of every rotated array, under the conventions that the kernel declares."""
    if kernel.conventions.get("magnitude") == "separate" and instance.scaling == "yarn":
        instance = instance.replace(attention_factor=1.0)
    if kernel.conventions.get("rotation") != "negative":
        return right(instance, precision)
    columns, _, sign = paired(instance)  # R(−φ) = K·R(φ)·K with K = diag(1, −1) on every pair: ROPE-1
    mirror = np.ones(instance.query.shape[3])
    mirror[columns] = -sign
    mirrored = instance.replace(**{name: (x * mirror).astype(x.dtype) for name, x in instance.vectors().items()})
    return {
        name: close(Enclosure(value.midpoint * mirror, value.radius), criterion.allowed)
        for name, criterion in right(mirrored, precision).items()
        if (value := criterion.value) is not None
    }


INTERFACE = Interface(_FORMS, _script, ("base",), _CAPABILITIES, CONVENTIONS)
