"""The input of a backward pass of attention of order k: that of the forward pass, and the gradients that come in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from assay.spec import tensor_attention
from assay.spec.instance import array, real
from assay.spec.tensor_attention.instance import HigherOrder

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Incoming", "Instance", "load"]


class Incoming(HigherOrder):
    """What backward passes of every order have in common; a subclass declares the fields."""

    grad_output: NDArray[Any]
    grad_log_sum_exp: NDArray[Any] | None

    def forward(self) -> HigherOrder:
        """The attention whose gradient this is, with its log-sum-exp."""
        made: HigherOrder = tensor_attention.Instance.of_order(self.order)(
            self.query,
            *self.mode_keys,
            *self.mode_values,
            scale=self.scale,
            is_causal=self.is_causal,
            window=self.window,
            return_lse=True,
            provenance=self.provenance,
        )
        return made

    def outputs(self) -> tuple[str, ...]:
        """The gradients that a kernel returns, in the order of the arrays that they are shaped like."""
        names = (f"{name}{mode}" for name in ("grad_key", "grad_value") for mode in range(1, self.order))
        return ("grad_query", *names)


@dataclass(frozen=True, eq=False)
class Instance(Incoming):
    """One vector–Jacobian product of attention of order 3.  Arrays are kept as given; numbers are exact as stored.

    query, key1, key2, value1, value2 and the options are those of :class:`assay.spec.tensor_attention.Instance`, with
    the same meaning; ``Instance.of_order(k)`` is the class of order k.
    grad_output (b, h_q, n_q, d_v), of the dtype of query: the gradient of a loss with respect to the output.
    grad_log_sum_exp (b, h_q, n_q): the gradient of that loss with respect to the log-sum-exp; left out, it is 0.

    The output and the log-sum-exp of the forward pass are no fields: they follow from the rest.  A kernel that asks for
    them is handed what :func:`assay.spec.tensor_attention_gradient.handed` rounds.

    Raises :class:`~assay.spec.problem.InvalidInstance`, naming the argument.
    """

    problem = "tensor_attention_gradient"
    order: ClassVar[int] = 3

    query: NDArray[Any] = array("batch heads queries dim")
    key1: NDArray[Any] = array("batch key_heads keys1 dim", like="query")
    key2: NDArray[Any] = array("batch key_heads keys2 dim", like="query")
    value1: NDArray[Any] = array("batch key_heads keys1 value_dim", like="query")
    value2: NDArray[Any] = array("batch key_heads keys2 value_dim", like="query")
    grad_output: NDArray[Any] = array("batch heads queries value_dim", like="query")
    scale: float | None = real(None, plain=1.0)
    is_causal: bool = False
    window: tuple[int | None, ...] | None = None
    grad_log_sum_exp: NDArray[Any] | None = array("batch heads queries", optional=True)


load = Instance.load


def __getattr__(name: str) -> Any:
    """``Instance2``, ``Instance4``, …: the classes of other orders by their names, for pickles."""
    if match := re.fullmatch(r"Instance(\d+)", name):
        return Instance.of_order(int(match[1]))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
