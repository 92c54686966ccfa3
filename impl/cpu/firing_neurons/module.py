"""Two layers of which few neurons fire, as a ``torch.nn.Module`` that computes with the neurons that fire alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from assay.impl.cpu.firing_neurons import checks
from assay.impl.cpu.firing_neurons.network import Network
from assay.impl.cpu.firing_neurons.tree import CorrelationTree

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from assay.impl.cpu.firing_neurons.structure import Structure

__all__ = ["FiringNeurons"]


class FiringNeurons(torch.nn.Module):  # type: ignore[misc, unused-ignore]  # torch may be missing
    """``module(points)`` → f(x_i) = Σ_r outer_r·max(⟨w_r, x_i⟩ − threshold, 0) of these points, (k, c).

    points: numbers of points of ``data``, a tensor or a list; all by default.  ``weight`` (m, d) is the parameter, and
    ``outer`` (m, c) a buffer.  Forward and backward passes are those of the dense layers
    ``relu(data[points] @ weight.T - threshold) @ outer``, up to rounding and up to the pairs of a point and a neuron
    that rounding leaves undecided (FIRE-6); they touch the neurons that fire and no others.

    data (n, d), weights (m, d), outer (m, c): tensors on the CPU or arrays, all float32 or all float64.  sparse:
    whether the gradient of ``weight`` is a sparse tensor of the rows that fire, as ``torch.optim.SGD`` takes it; other
    optimizers want a dense one.  watched: whether a forward pass looks through all weights, in time m·d, for rows that
    an optimizer or anyone else has changed.  Where all changes go through :meth:`step`, ``watched=False`` saves that.
    structure, options: as in :class:`~assay.impl.cpu.firing_neurons.network.Network`.
    """

    def __init__(
        self, data: Any, weights: Any, outer: Any, *, threshold: float, sparse: bool = True, watched: bool = True,
        structure: Callable[..., Structure] = CorrelationTree, **options: Any,
    ) -> None:  # fmt: skip
        super().__init__()
        x, w, a = (_array(given) for given in (data, weights, outer))
        nothing = np.zeros((len(x), a.shape[1] if a.ndim == 2 else 1), x.dtype)
        self._network = Network(x, nothing, w, a, threshold=threshold, structure=structure, **options)
        self.weight = torch.nn.Parameter(torch.from_numpy(self._network.weights.copy()))
        self.register_buffer("outer", torch.from_numpy(self._network.outer))
        self.sparse, self.watched = sparse, watched

    @property
    def structure(self) -> Structure:
        """The structure that keeps the correlations."""
        return self._network.structure

    def forward(self, points: Any = None) -> Any:
        """(k, c): the output of some points, each any number of times."""
        if self.watched:
            self.synchronise()
        count = self.structure.points
        which = np.arange(count) if points is None else checks.ids(np.asarray(points), "points", count)
        return _Sparse.apply(self.weight, self, which)

    def synchronise(self) -> int:
        """Take the rows of ``weight`` that are not those of the structure; returns how many there are.

        Raises :class:`~assay.spec.problem.InvalidInstance` for weights that are not finite; nothing is taken then.
        """
        new = self.weight.detach().numpy()
        rows = np.flatnonzero((new != self.structure.weights).any(axis=1))
        if len(rows):
            self.structure.update(rows, new[rows])
        return len(rows)

    def step(self, rate: float) -> int:
        """``weight −= rate·weight.grad`` in the rows that have a gradient, which is dropped; returns how many rows.

        Raises ``OverflowError`` where that leads to weights that are not finite; nothing has changed then.
        """
        gradient, self.weight.grad = self.weight.grad, None
        if gradient is None:
            return 0
        if gradient.is_sparse:
            gradient = gradient.coalesce()
            rows, values = gradient.indices()[0].numpy(), gradient.values().numpy()
        else:
            rows = np.flatnonzero(gradient.numpy().any(axis=1))
            values = gradient.numpy()[rows]
        if len(rows):
            self._network.descend(rows, values, checks.number(rate, "rate"))
            with torch.no_grad():
                self.weight[torch.from_numpy(rows)] = torch.from_numpy(self.structure.weights[rows])
        return len(rows)


class _Sparse(torch.autograd.Function):  # type: ignore[misc, unused-ignore]  # torch may be missing
    """The output of some points, and the gradient of the weights in it."""

    @staticmethod
    def forward(ctx: Any, weight: Any, module: FiringNeurons, points: NDArray[np.int64]) -> Any:
        network = module._network
        found = network.forward(points)
        ctx.module, ctx.found = module, found
        return torch.from_numpy(found.output)

    @staticmethod
    @torch.autograd.function.once_differentiable  # type: ignore[misc, untyped-decorator, unused-ignore]
    def backward(ctx: Any, upstream: Any) -> Any:
        module = ctx.module
        residual = np.ascontiguousarray(upstream.detach().numpy())
        neurons, sums = module._network.gradient(ctx.found, residual)
        if module.sparse:
            index, values, shape = torch.from_numpy(neurons)[None], torch.from_numpy(sums), module.weight.shape
            return torch.sparse_coo_tensor(index, values, shape, check_invariants=True), None, None
        gradient = torch.zeros_like(module.weight)
        gradient[torch.from_numpy(neurons)] = torch.from_numpy(sums)
        return gradient, None, None


def _array(given: Any) -> NDArray[Any]:
    """A tensor of the CPU, or an array, as an array."""
    found: NDArray[Any] = given.detach().numpy() if isinstance(given, torch.Tensor) else np.asarray(given)
    return found
