"""Whether a kernel graph holds together in an arithmetic in which weights below the least normal number are lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.spec.kernel_graph.functions import Function

__all__ = ["first_component", "require_connected"]

_LEAST = 2.0**-1022


def first_component(f: Function, points: NDArray[np.float64], least: float = _LEAST) -> NDArray[np.bool_]:
    """Which points hang together with point 0 by weights of at least ``least``, in float64: (n,).

    >>> from assay.spec.kernel_graph.functions import named
    >>> first_component(named("threshold", 1.0), np.array([[0.0], [1.0], [5.0]])).tolist()
    [True, True, False]
    """
    n = len(points)
    reached, left = np.zeros(n, dtype=bool), np.arange(1, n)
    reached[0] = True
    waiting = [0]
    with np.errstate(all="ignore"):
        while waiting and len(left):
            gap = points[left] - points[waiting.pop()]
            near = f((gap * gap).sum(axis=1)) >= least
            waiting += left[near].tolist()
            reached[left[near]] = True
            left = left[~near]
    return reached


def require_connected(f: Function, points: NDArray[Any]) -> None:
    """Raise InvalidInstance unless there are two points and the graph holds together in float64."""
    if len(points) < 2:
        raise InvalidInstance(f"points: {len(points)} point, expected at least 2")
    reached = first_component(f, points.astype(np.float64))
    if not reached.all():
        raise InvalidInstance(
            f"points: {int((~reached).sum())} of {len(points)} points, such as {int(np.argmin(reached))}, have no path "
            "to point 0 whose weights float64 holds, expected a graph that does not fall apart"
        )
