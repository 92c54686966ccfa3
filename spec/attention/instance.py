"""The input of attention: what is computed on.

Shapes are (batch, heads, length, dim).  The meaning of every option is in :mod:`assay.spec.attention.definition`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from assay.spec.instance import array, real
from assay.spec.softmax.masks import Masked

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Instance", "load"]


@dataclass(frozen=True, eq=False)
class Instance(Masked):
    """One attention problem.  Arrays are kept as given, without a copy; numbers are exact as stored.

    query (b, h_q, n_q, d), key (b, h_k, n_k, d), value (b, h_k, n_k, d_v), one dtype; h_q a multiple of h_k:
    query head h attends to key head h // (h_q / h_k).

    scale: any finite float; ``None`` means the float64 number nearest 1/√d.
    is_causal: ``True`` is short for ``causal="top-left"``.
    causal: ``"top-left"`` (j ≤ i) or ``"bottom-right"`` (j ≤ i + n_k − n_q, with key_lengths in place of n_k).
    window: (left, right): position p_i − left ≤ j ≤ p_i + right, ``None`` for no limit on a side; p_i = i, or
    i + n_k − n_q under ``causal="bottom-right"``.
    mask: boolean, broadcastable to (b, h_q, n_q, n_k), True attends.
    bias: floating, broadcastable likewise, added to the scaled score after the softcap; −inf masks.
    key_lengths: (b,) integers in [0, n_k]: keys at or beyond the length are absent.
    softcap: c > 0: scores become c·tanh(s/c), before bias.
    sink: (h_q,) finite logits: an extra key of that score and value zero.
    return_lse: the kernel is to return (output, log_sum_exp), the latter of shape (b, h_q, n_q).

    Raises :class:`~assay.spec.problem.InvalidInstance`, naming the argument.
    """

    problem = "attention"

    query: NDArray[Any] = array("batch heads queries dim")
    key: NDArray[Any] = array("batch key_heads keys dim", like="query")
    value: NDArray[Any] = array("batch key_heads keys value_dim", like="query")
    scale: float | None = real(None, plain=1.0)
    is_causal: bool = False
    causal: str | None = None
    window: tuple[int | None, int | None] | None = None
    mask: NDArray[np.bool_] | None = array("batch heads queries keys", kind="truth", optional=True, broadcast=True)
    bias: NDArray[Any] | None = array(
        "batch heads queries keys", optional=True, broadcast=True, values="finite or −inf"
    )
    key_lengths: NDArray[np.integer[Any]] | None = array("batch", kind="whole", optional=True)
    softcap: float | None = real(None)
    sink: NDArray[Any] | None = array("heads", optional=True)
    return_lse: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_masks()


load = Instance.load
