"""What a sparsifier does where the problem leaves it a choice, and how many edges it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from assay.conformance.profile.questions import Ask, Question, nan_in

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.spec.kernel_graph_sparsify import Instance

__all__ = ["QUESTIONS"]


def _edges(ask: Ask, instance: Instance) -> NDArray[np.float64]:
    """(edges, 3): left, right, weight."""
    made = ask.call(instance)
    return np.stack([made[name] for name in ("left", "right", "weight")], axis=1)


def _number(ask: Ask) -> str:
    """How many edges there are of those of the graph, for errors from 1/8 to 1/2."""
    instance: Instance = ask.typical()
    n = len(instance.points)
    counts = [len(_edges(ask, instance.replace(error=error))) for error in (0.125, 0.25, 0.5)]
    return f"{', '.join(map(str, counts))} of {n * (n - 1) // 2} for errors of 1/8, 1/4, 1/2"


def _seeds(ask: Ask) -> str:
    """Whether the same seed gives the same edges, and whether another one does."""
    instance: Instance = ask.typical()
    first, again, other = (_edges(ask, instance.replace(seed=seed)) for seed in (3, 3, 4))
    if not np.array_equal(first, again):
        return "the same seed gives other edges"
    return "the same edges for every seed" if np.array_equal(first, other) else "the same edges for the same seed"


def _order(ask: Ask) -> str:
    """How the ends of edges are ordered."""
    edges = _edges(ask, ask.typical())
    if (edges[:, 0] < edges[:, 1]).all():
        return "left is the lesser one"
    return "right is the lesser one" if (edges[:, 0] > edges[:, 1]).all() else "either may be the lesser one"


_EDGES = "edges"

#: In the order of the data sheet.
QUESTIONS: tuple[Question, ...] = (
    Question("number", _EDGES, "edges", _number),
    Question("order", _EDGES, "the ends of an edge", _order),
    Question("seeds", "determinism", "seeds", _seeds),
    nan_in("points", "NaN in a coordinate"),
)
