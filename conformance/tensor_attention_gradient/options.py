"""Rows of the families as instances: those of attention of order k, with gradients that come in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from assay.conformance.attention_gradient.options import GRADIENTS
from assay.conformance.tensor_attention.options import build, parse_size
from assay.spec.tensor_attention_gradient import Instance

if TYPE_CHECKING:
    from assay.conformance.interface.suite import Row
    from assay.spec.precision import Precision
    from assay.spec.problem import Provenance
    from assay.spec.tensor_attention import HigherOrder
    from assay.spec.tensor_attention_gradient import Incoming

__all__ = ["built", "differentiated"]


def built(row: Row, provenance: Provenance, precision: Precision) -> Incoming:
    """The instance of a row: ``gradient=NAME`` says which of attention's gradients comes in, ``lse`` adds another."""
    words = [option for option in row.options if option.startswith("gradient=")]
    others = tuple(option for option in row.options if option not in words)
    forward = build(row.pattern, parse_size(row.size), others, provenance, precision)
    return differentiated(forward, words[-1].partition("=")[2] if words else "normal", provenance.seed or 0)


def differentiated(forward: HigherOrder, gradient: str = "normal", seed: int = 0) -> Incoming:
    """The backward pass of an attention; a gradient of the log-sum-exp comes in where that is asked for."""
    rng = np.random.default_rng((seed, 1))
    b, h, n_q, _ = forward.query.shape
    dtype = forward.query.dtype
    grad_output = GRADIENTS[gradient](rng, (b, h, n_q, forward.mode_values[0].shape[3])).astype(dtype)
    grad_log_sum_exp = None
    if getattr(forward, "return_lse", False):
        wide = np.float64 if dtype == np.float64 else np.float32
        grad_log_sum_exp = rng.standard_normal((b, h, n_q)).astype(dtype).astype(wide)
    made: Incoming = Instance.of_order(forward.order)(
        forward.query,
        *forward.mode_keys,
        *forward.mode_values,
        grad_output,
        scale=forward.scale,
        is_causal=forward.is_causal,
        window=forward.window,
        grad_log_sum_exp=grad_log_sum_exp,
        provenance=forward.provenance,
    )
    return made
