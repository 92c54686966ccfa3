"""Two layers of which few neurons fire, trained by gradient descent that touches the neurons that fire and no others.

f(x) = Σ_r outer_r·max(⟨w_r, x⟩ − b, 0) (Alman, Liang, Song, Zhang and Zhuo 2024).  The weights w are trained; outer
weights and b stay as they are.  A structure says which neurons fire, by its own computed correlations, and these are
the values of the forward pass too: a step is the dense one up to the pairs that rounding leaves undecided (FIRE-6).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.firing_neurons import checks, passes
from assay.impl.cpu.firing_neurons.table import Recomputed
from assay.impl.cpu.firing_neurons.tree import CorrelationTree
from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from assay.impl.cpu.firing_neurons.structure import Firing, Structure

    Ids = NDArray[np.int64]

__all__ = ["Forward", "Network", "Step", "losses", "train_step"]

LOSSES = ("squared", "cross_entropy")


@dataclass(frozen=True, eq=False)
class Forward:
    """A forward pass.

    points (k,).  output (k, c).  loss: the sum over these points.  residual (k, c): the gradient of the loss in the
    output.  firing: the neurons that fire on each point.
    """

    points: NDArray[np.int64]
    output: NDArray[Any]
    loss: float
    residual: NDArray[Any]
    firing: Firing


@dataclass(frozen=True)
class Step:
    """What a step did.

    loss: before the step.  fired: pairs of a point of the batch and a neuron that fires on it.  touched: neurons whose
    weights were changed.
    """

    loss: float
    fired: int
    touched: int


class Network:
    """A network over the points of a structure.  Not safe for two threads at a time.

    data (n, d), targets (n, c), weights (m, d), outer (m, c): arrays of one type, float32 or float64, which are copied.
    loss: ``"squared"``, ½Σ(f − targets)², or ``"cross_entropy"``, Σ targets·(ln Σ e^f − f), summed over points.

    momentum: μ of v ← μ·v + gradient, w ← w − rate·v.  dormant: what a neuron that fires on no point of a batch does.
    ``"moved"``: its velocity carries it on, as in ``torch.optim.SGD``, so that every neuron is touched that has ever
    fired.  ``"still"``: it rests with its velocity, so that only neurons that fire are touched.  Without momentum there
    is no difference.

    structure: the class that keeps the correlations, as :class:`CorrelationTree`.  incremental: whether correlations
    are moved through the products of all points where a batch has fewer than d points and there is no momentum
    (:meth:`Structure.move`).  Raises :class:`~assay.spec.problem.InvalidInstance` for bad input, naming the argument.
    """

    def __init__(
        self, data: NDArray[Any], targets: NDArray[Any], weights: NDArray[Any], outer: NDArray[Any], *,
        threshold: float, loss: str = "squared", momentum: float = 0.0, dormant: str = "moved",
        structure: Callable[..., Structure] = CorrelationTree, incremental: bool = False, **options: Any,
    ) -> None:  # fmt: skip
        checks.matrix(data, "data")
        name = data.dtype.name
        if name not in ("float32", "float64"):
            raise InvalidInstance(f"data: {name}, expected float32 or float64")
        checks.matrix(targets, "targets", dtype=name)
        checks.matrix(outer, "outer", targets.shape[1], name)
        checks.matrix(weights, "weights", data.shape[1], name)
        if len(targets) != len(data) or len(outer) != len(weights):
            raise InvalidInstance(
                f"targets and outer: {len(targets)} and {len(outer)} rows, expected {len(data)} and {len(weights)}"
            )
        if loss not in LOSSES:
            raise InvalidInstance(f"loss: {loss!r}, expected one of {', '.join(LOSSES)}")
        if loss == "cross_entropy" and (targets < 0).any():
            raise InvalidInstance("targets: a negative number, expected numbers of at least 0 for the cross entropy")
        if dormant not in ("moved", "still"):
            raise InvalidInstance(f"dormant: {dormant!r}, expected 'moved' or 'still'")
        self.momentum = checks.number(momentum, "momentum")
        if not 0.0 <= self.momentum < 1.0:
            raise InvalidInstance(f"momentum: {momentum!r}, expected at least 0 and less than 1")
        self.structure = structure(data, weights, threshold=threshold, **options)
        self.targets, self.outer = np.array(targets, order="C"), np.array(outer, order="C")
        self.loss, self.dormant, self.incremental = loss, dormant, incremental
        self._threshold = self.outer.dtype.type(self.structure.threshold)
        self._place = np.full(len(weights), -1, np.int64)
        self._velocity = np.zeros_like(self.structure.weights) if momentum else None
        self._moving = np.empty(0, np.int64)

    @property
    def weights(self) -> NDArray[Any]:
        """(m, d): the weights as they are now, to be read."""
        return self.structure.weights

    def forward(self, points: Any = None) -> Forward:
        """The forward pass of some points, of all of them by default: over the pairs that fire."""
        which = np.arange(self.structure.points) if points is None else checks.ids(points, "points", len(self.targets))
        firing = self.structure.firing(which)
        output = np.empty((len(which), self.outer.shape[1]), self.outer.dtype)
        passes.forward(output.dtype.name)(firing.starts, firing.ids, firing.values, self._threshold, self.outer, output)
        value, residual = losses(output, self.targets[which], self.loss)
        return Forward(which, output, value, residual, firing)

    def gradient(self, forward: Forward, residual: NDArray[Any] | None = None) -> tuple[Ids, NDArray[Any]]:
        """The ascending neurons (T,) that fire on points of a forward pass, and the gradient (T, d) in their weights.

        residual (k, c): the gradient of a loss in the output, in place of the one of the network's own loss.
        """
        return self._summed(forward, residual, alone=False)

    def step(self, points: Any = None, *, rate: float) -> Step:
        """One step of gradient descent on the loss of some points, each at most once; of all of them by default.

        Raises ``OverflowError`` where the step leads to weights that are not finite; nothing has changed then.
        """
        rate = checks.number(rate, "rate")
        forward = self.forward(points if points is None else checks.unique_ids(points, "points", len(self.targets)))
        kind = self.outer.dtype.type
        if self._velocity is None:
            if self.incremental and len(forward.points) < self.structure.dim:
                neurons, alpha = self._summed(forward, None, alone=True)
                if len(neurons):
                    with np.errstate(over="ignore", invalid="ignore"):
                        alpha *= -kind(rate)
                        new = self.structure.weights[neurons] + alpha @ self.structure.data[forward.points]
                    self._require_finite(alpha)
                    self._require_finite(new)
                    self.structure.move(neurons, alpha, forward.points)
            else:
                neurons, gradient = self._summed(forward, None, alone=False)
                self.descend(neurons, gradient, rate)
            return Step(forward.loss, len(forward.firing.ids), len(neurons))
        neurons, gradient = self._summed(forward, None, alone=False)
        fired = neurons
        if self.dormant == "moved":
            neurons = np.union1d(self._moving, fired)
        velocity = kind(self.momentum) * self._velocity[neurons]
        velocity[np.searchsorted(neurons, fired)] += gradient
        self.descend(neurons, velocity, rate)
        self._velocity[neurons], self._moving = velocity, neurons
        return Step(forward.loss, len(forward.firing.ids), len(neurons))

    def descend(self, neurons: Ids, direction: NDArray[Any], rate: float) -> None:
        """w_r ← w_r − rate·direction_r for some neurons, each at most once.

        Raises ``OverflowError`` where that leads to weights that are not finite; nothing has changed then.
        """
        if len(neurons):
            with np.errstate(over="ignore", invalid="ignore"):
                new = self.structure.weights[neurons] - direction.dtype.type(rate) * direction
            self._require_finite(new)
            self.structure.update(neurons, new)

    @staticmethod
    def _require_finite(numbers: NDArray[Any]) -> None:
        if not np.isfinite(numbers).all():
            raise OverflowError("the step leads to weights that are not finite: the rate is too large")

    def _summed(
        self, forward: Forward, residual: NDArray[Any] | None, *, alone: bool
    ) -> tuple[Ids, NDArray[Any]]:  # fmt: skip
        """The ascending neurons that fire, and what :func:`passes.backward` sums."""
        firing, dtype = forward.firing, self.outer.dtype
        found = np.empty(min(len(firing.ids), len(self._place)), np.int64)
        neurons = np.sort(found[: passes.collect(dtype.name)(firing.ids, self._place, found)])
        self._place[neurons] = np.arange(len(neurons))
        sums = np.zeros((len(neurons), len(forward.points) if alone else self.structure.dim), dtype)
        passes.backward(dtype.name)(
            firing.starts, firing.ids, self._place, self.outer, forward.residual if residual is None else residual,
            self.structure.data, forward.points, sums, alone,
        )  # fmt: skip
        self._place[neurons] = -1
        return neurons, sums


def losses(output: NDArray[Any], targets: NDArray[Any], loss: str) -> tuple[float, NDArray[Any]]:
    """The loss, summed over rows, in float64, and its gradient in the output (k, c), in the type of the output."""
    if loss == "squared":
        residual = output - targets
        return 0.5 * float(np.square(residual, dtype=np.float64).sum()), residual
    top = output.max(axis=1, keepdims=True)
    power = np.exp(output - top)
    total, sums = power.sum(axis=1, keepdims=True), targets.sum(axis=1, keepdims=True)
    residual = np.ascontiguousarray(sums * (power / total) - targets)
    each = np.log(total.astype(np.float64)) - (output - top).astype(np.float64)
    return float((targets * each).sum()), residual


def train_step(
    data: NDArray[Any], targets: NDArray[Any], weights: NDArray[Any], outer: NDArray[Any], *, threshold: float = 0.0,
    rate: float = 1.0, loss: str = "squared",
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:  # fmt: skip
    """One step on all points: the output (n, c) before it, the gradient (m, d), and the weights (m, d) after it.

    It is the kernel of ``firing_neurons_training``.  One step is not worth a tree, so correlations are computed once.
    Raises as :class:`Network` and :meth:`Network.step` do.

    >>> x = np.array([[1.0, 2.0], [-1.0, 0.0]])
    >>> train_step(x, np.zeros((2, 1)), x, np.ones((2, 1)), threshold=1.0, rate=0.5)[0].ravel()
    array([4., 0.])
    """
    network = Network(data, targets, weights, outer, threshold=threshold, loss=loss, structure=Recomputed)
    forward = network.forward()
    neurons, sums = network.gradient(forward)
    gradient = np.zeros_like(network.weights)
    gradient[neurons] = sums
    with np.errstate(over="ignore", invalid="ignore"):
        new = network.weights - gradient.dtype.type(checks.number(rate, "rate")) * gradient
    return forward.output, gradient, new
