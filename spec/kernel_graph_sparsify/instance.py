"""The input of sparsification: the points of a kernel graph, and how far a quadratic form may be off."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from assay.spec.instance import real, whole
from assay.spec.kernel_graph.connected import require_connected
from assay.spec.kernel_graph.instance import Weighted
from assay.spec.problem import InvalidInstance

__all__ = ["Instance", "load"]


@dataclass(frozen=True, eq=False)
class Instance(Weighted):
    """The graph with the weights f(‖x_i − x_j‖²), of which a sparser one is asked.  Numbers are exact as stored.

    points, function, parameter: as for :class:`assay.spec.kernel_graph.Instance`, of at least two points.
    error: ε: of every vector x, x'L_H x is asked within (1 ± ε)·x'L_G x; between 0 and 1.
    seed: of the random choices of a kernel that makes some.

    Raises :class:`~assay.spec.problem.InvalidInstance`, naming the argument: also for a function with negative weights,
    and for a graph that falls apart in float64, where a weight is at least 2^-1022 or 0.
    """

    problem = "kernel_graph_sparsify"

    error: float = dataclasses.field(kw_only=True, metadata={**real(0.5, above=0.0).metadata, "plain": 0.5})
    seed: int = dataclasses.field(default=0, kw_only=True, metadata=dict(whole(0, least=0).metadata))

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(self.error < 1.0, "error", "a number below 1")
        if not self.weight().weights:
            raise InvalidInstance(f"function: {self.weight().name!r}, expected one whose values are never negative")
        require_connected(self.weight(), self.points)


load = Instance.load
