"""What may decide whether a backward pass fails: features of the forward pass, and of the gradients that come in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from assay.conformance.tensor_attention.features import FEATURES as FORWARD

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

__all__ = ["FEATURES"]

#: Words that follow "fails when" → a test of an instance.
FEATURES: Mapping[str, Callable[[Any], bool]] = {
    **FORWARD,
    "the gradient of the output is 0": lambda i: not np.any(i.grad_output.astype(np.float64)),
    "the values have more columns than the keys": lambda i: i.mode_values[0].shape[3] > i.query.shape[3],
}
