"""What the output of a stack is held to: the whole network, and every layer alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

from assay.spec.criterion import Criterion, close
from assay.spec.layer_collapse.tolerance import PRECISIONS, certified
from assay.spec.precision import precision as precision_named

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from assay.spec.layer_collapse.instance import Instance
    from assay.spec.precision import Precision

    Array = NDArray[np.float64]

__all__ = ["criteria"]


def criteria(instance: Instance, precision: str | Precision) -> Mapping[str, Criterion]:
    """What the tokens after every layer, (L, n, d), are held to, by name.

    ``tokens``: all of them are close to the definition, within the tolerance of the class (LCT-5).
    ``layer``, of more than one layer: what every layer but the first has made of the tokens that the kernel itself has
    returned for the layer before it is close to what the definition makes of them (LCT-6).  Its error is in units of
    what a correct kernel may err in that one layer, which does not grow with the depth.

    >>> from assay.spec.layer_collapse import Instance
    >>> one = np.ones((2, 1, 1, 1), np.float32)
    >>> instance = Instance(np.full((2, 1), 1, np.float32), one, one, one)
    >>> held = criteria(instance, "float32")
    >>> off = np.array([2, 4.00004], np.float32)[:, None, None] * np.ones((2, 1), np.float32)
    >>> [bool(held[name].ratio(off).max() > 1) for name in ("tokens", "layer")]
    [True, True]
    """
    u = precision_named(precision, PRECISIONS)
    exact, allowed = certified(instance, u)
    held = {"tokens": close(exact["tokens"], allowed)}
    if instance.layers > 1:
        # Padding is not judged, but what leaves the range there reaches the other tokens of later layers.
        inside = [instance.mask is None or bool(np.isfinite(one[instance.mask]).all()) for one in allowed]
        held["layer"] = Criterion(
            lambda tokens: _off_in_each(instance, u, tokens, inside),
            np.ones(exact["tokens"].shape),
            lambda index: f"what layer {index[0]} makes of the tokens that were returned for the layer before it",
            ("tokens",),
        )
    return held


def _off_in_each(instance: Instance, u: Precision, tokens: NDArray[Any], inside: Sequence[bool]) -> Array:
    """The errors of every layer but the first, in units of what is allowed in it, (L, n, d).

    A layer whose tokens before it are not finite is not judged: they are wrong themselves, or out of range.
    inside: whether the layer is judged at all.
    """
    errors = np.zeros(tokens.shape)
    present = np.ones(len(instance.tokens), dtype=bool) if instance.mask is None else instance.mask
    last, kind = instance.layers - 1, instance.tokens.dtype
    limits: Any = ml_dtypes.finfo(kind)  # type: ignore[no-untyped-call]
    for layer in range(1, instance.layers):
        if not inside[layer]:
            continue
        returned = np.where(present[:, None], tokens[layer - 1].astype(np.float64), 0.0)
        with np.errstate(over="ignore"):
            before = returned.astype(kind)
        if not np.isfinite(before.astype(np.float64)).all():
            continue
        # A kernel may go on with tokens that it has not rounded as it has returned them.
        size = np.abs(before.astype(np.float64))
        start = (
            max(float(limits.eps) / 2, u.output) * size
            + max(float(limits.smallest_subnormal), u.output_tiny)
            + np.abs(returned - before.astype(np.float64))
        )
        alone = instance.layer(layer) if layer < last else instance.part(layers=[layer])
        alone = alone.replace(tokens=before)
        exact, allowed = certified(alone, u, start)
        errors[layer] = exact["tokens"].ratio(tokens[layer : layer + 1], allowed)[0]
    return errors
