"""The input of a backward pass: that of attention, and the gradients that come in.

Shapes are (batch, heads, length, dim).  What is computed is in :mod:`assay.spec.attention_gradient.definition`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from assay.spec import attention
from assay.spec.instance import array, real
from assay.spec.softmax.masks import Masked

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Instance", "load"]


@dataclass(frozen=True, eq=False)
class Instance(Masked):
    """One vector–Jacobian product of attention.  Arrays are kept as given; numbers are exact as stored.

    query (b, h_q, n_q, d), key (b, h_k, n_k, d), value (b, h_k, n_k, d_v), and the options are those of
    :class:`assay.spec.attention.Instance`, with the same meaning.
    grad_output (b, h_q, n_q, d_v), of the dtype of query: the gradient of a loss with respect to the output.
    grad_log_sum_exp (b, h_q, n_q): the gradient of that loss with respect to the log-sum-exp; left out, it is 0.

    The output and the log-sum-exp of the forward pass are no fields: they follow from the rest.  A kernel that asks for
    them is handed what :func:`assay.spec.attention_gradient.handed` rounds.

    Raises :class:`~assay.spec.problem.InvalidInstance`, naming the argument.
    """

    problem = "attention_gradient"

    query: NDArray[Any] = array("batch heads queries dim")
    key: NDArray[Any] = array("batch key_heads keys dim", like="query")
    value: NDArray[Any] = array("batch key_heads keys value_dim", like="query")
    grad_output: NDArray[Any] = array("batch heads queries value_dim", like="query")
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
    grad_log_sum_exp: NDArray[Any] | None = array("batch heads queries", optional=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_masks()

    def forward(self) -> attention.Instance:
        """The attention whose gradient this is."""
        return attention.Instance(
            self.query,
            self.key,
            self.value,
            self.scale,
            self.is_causal,
            self.causal,
            self.window,
            self.mask,
            self.bias,
            self.key_lengths,
            self.softcap,
            self.sink,
            return_lse=True,
            provenance=self.provenance,
        )

    def outputs(self) -> tuple[str, ...]:
        """The gradients that a kernel returns, in order: those of a bias and of a sink where there is one."""
        optional = (("grad_bias", self.bias), ("grad_sink", self.sink))
        return ("grad_query", "grad_key", "grad_value", *(name for name, array in optional if array is not None))


load = Instance.load
