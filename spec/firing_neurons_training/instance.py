"""The input of one training step: data, targets, the weights of two layers, and what the step is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from assay.spec.instance import Instance as AnyInstance
from assay.spec.instance import array, choice, real

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Instance", "load"]


@dataclass(frozen=True, eq=False)
class Instance(AnyInstance):
    """One step of gradient descent of f(x) = Σ_r outer_r·max(⟨w_r, x⟩ − threshold, 0).  Numbers are exact as stored.

    data (n, d), targets (n, c), weights (m, d) and outer (m, c), of one dtype.
    threshold: the shift of the rectifier.  rate: η of weights − η·gradient.
    loss: ``"squared"``, ½Σ_ik(f(x_i)_k − targets_ik)², or ``"cross_entropy"``, the sum over i of
    Σ_k targets_ik·(ln Σ_l e^f(x_i)_l − f(x_i)_k); the targets of the latter are at least 0, one-hot or weights.

    Raises :class:`~assay.spec.problem.InvalidInstance`, naming the argument.

    >>> import numpy as np
    >>> x = np.array([[1.0, 2.0]])
    >>> Instance(x, -x[:, :1], x, x[:, :1], loss="cross_entropy")
    Traceback (most recent call last):
    assay.spec.problem.InvalidInstance: targets: shape (1, 1), expected numbers of at least 0 for the cross entropy
    """

    problem = "firing_neurons_training"

    data: NDArray[Any] = array("points dim")
    targets: NDArray[Any] = array("points outputs", like="data")
    weights: NDArray[Any] = array("neurons dim", like="data")
    outer: NDArray[Any] = array("neurons outputs", like="data")
    threshold: float = real(0.0)
    rate: float = real(1.0)
    loss: str = choice("squared", "cross_entropy")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.loss == "cross_entropy":
            self._require(bool((self.targets >= 0).all()), "targets", "numbers of at least 0 for the cross entropy")

    def spanned(self) -> int:
        """Margins and slopes of every neuron on every point, and the choices of undecided pairs of every neuron."""
        return int(super().spanned() + len(self.data) * len(self.weights) * 2)


load = Instance.load
