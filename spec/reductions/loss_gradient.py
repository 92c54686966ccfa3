"""The gradient of the attention loss, a target of reductions: L(X) = ½‖softmax(σ A₁XA₂ᵀ)H − E‖², and dL/dX.

This is the problem of Alman and Song (2024), with the values H = A₃Y as one matrix.  The certified value is by
definition, in balls (python-flint).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import flint
import numpy as np

from assay.spec import flint_context
from assay.spec.instance import Instance, array, real

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["LossGradient"]


@dataclass(frozen=True, eq=False)
class LossGradient(Instance):
    """One loss, and the place X at which its gradient is asked for; the target of reductions to it.

    left (queries, dim): A₁.  weight (dim, dim): X.  right (keys, dim): A₂.  value (keys, value_dim): H.
    goal (queries, value_dim): E.  scale: σ.  Numbers are exact as stored.
    Raises :class:`~assay.spec.problem.InvalidInstance`, naming the argument.

    >>> x = np.ones((1, 1))
    >>> [[gradient]] = LossGradient(x, x, np.ones((2, 1)), np.ones((2, 1)), x, 1.0).define(64)
    >>> float(gradient.mid())
    0.0
    """

    problem = "loss_gradient"

    left: NDArray[Any] = array("queries dim")
    weight: NDArray[Any] = array("dim dim", like="left")
    right: NDArray[Any] = array("keys dim", like="left")
    value: NDArray[Any] = array("keys value_dim", like="left")
    goal: NDArray[Any] = array("queries value_dim", like="left")
    scale: float = real(1.0, plain=1.0)

    def loss(self, bits: int = 128) -> Any:
        """L(X), as an Arb ball of ``bits`` bits."""
        with flint_context.bits(bits):
            residual = self._weights() * _matrix(self.value) - _matrix(self.goal)
            return sum((x**2 for x in residual.entries()), flint.arb(0)) / 2

    def define(self, bits: int = 128) -> list[list[Any]]:
        """dL/dX (dim, dim) as Arb balls of ``bits`` bits: A₁ᵀ dS A₂, dS_ij = σ p_ij ⟨c_i, h_j − (pH)_i⟩ (GRAD-1)."""
        with flint_context.bits(bits):
            value = _matrix(self.value)
            weights = self._weights()
            output = weights * value
            residual = output - _matrix(self.goal)
            inner, mean = residual * value.transpose(), _rows(residual, output)
            rows, columns = weights.nrows(), weights.ncols()
            sigma = flint.arb(self.scale)
            score = flint.arb_mat(
                [[sigma * weights[i, j] * (inner[i, j] - mean[i]) for j in range(columns)] for i in range(rows)]
            )
            gradient = _matrix(self.left).transpose() * score * _matrix(self.right)
            return [[gradient[a, b] for b in range(gradient.ncols())] for a in range(gradient.nrows())]

    def _weights(self) -> Any:
        """The softmax (queries, keys)."""
        scores = _matrix(self.left) * _matrix(self.weight) * _matrix(self.right).transpose() * flint.arb(self.scale)
        powers = [[scores[i, j].exp() for j in range(scores.ncols())] for i in range(scores.nrows())]
        return flint.arb_mat([[x / sum(row, flint.arb(0)) for x in row] for row in powers])


def _matrix(array: NDArray[Any]) -> Any:
    return flint.arb_mat(np.asarray(array, np.float64).tolist())


def _rows(a: Any, b: Any) -> list[Any]:
    """⟨a_i, b_i⟩ of every row."""
    return [sum((a[i, c] * b[i, c] for c in range(a.ncols())), flint.arb(0)) for i in range(a.nrows())]
