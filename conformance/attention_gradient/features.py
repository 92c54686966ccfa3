"""What may decide whether a backward pass fails: attention's features, and those of the gradients that come in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from assay.conformance.attention.features import FEATURES as ATTENTION

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

__all__ = ["FEATURES"]


def _broadcast(instance: Any) -> bool:
    b, h, n_q, _ = instance.query.shape
    return instance.bias is not None and instance.bias.shape != (b, h, n_q, instance.key.shape[2])


#: Words that follow "fails when" → a test of an instance.
FEATURES: Mapping[str, Callable[[Any], bool]] = {
    **ATTENTION,
    "a bias is broadcast": _broadcast,
    "the gradient of the output is 0": lambda i: not np.any(i.grad_output.astype(np.float64)),
    "several query heads share keys": lambda i: i.group > 1,
    "the values have more columns than the keys": lambda i: i.value.shape[3] > i.key.shape[3],
}
