"""What a sparser graph approximates: all edges of the kernel graph, with certified weights.

A sparsifier is right by a property and not by its distance from one answer; the graph itself is one, without error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec.enclosure import Enclosure, Evaluated, Result, escalate, within
from assay.spec.floating_point import require_usual
from assay.spec.kernel_graph.definition import weights
from assay.spec.kernel_graph.symbols import expression
from assay.spec.memory import require_evaluable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.spec.enclosure import Arithmetic
    from assay.spec.kernel_graph_sparsify.instance import Instance

    Array = NDArray[np.float64]

__all__ = ["define", "symbolic"]


def define(instance: Instance, relative: float = 1e-12, output: str = "weight") -> Enclosure:
    """Every edge i < j of the graph, certified, (n(n − 1)/2,): ``weight``, or its ends ``left`` and ``right``.

    The radius of a weight is at most ``relative`` of it, and 2^-1060.
    Raises ``ValueError`` for another output or a ``relative`` outside (0, 1).

    >>> from assay.spec.kernel_graph_sparsify import Instance
    >>> triangle = Instance(np.array([[0.0], [1.0], [2.0]]), function="rational", error=0.25)
    >>> define(triangle).midpoint.round(12).tolist(), define(triangle, output="right").midpoint.tolist()
    ([0.5, 0.2, 0.5], [1.0, 2.0, 2.0])
    """
    if output not in ("left", "right", "weight"):
        raise ValueError(f"unknown output {output!r}: expected 'left', 'right' or 'weight'")
    require_usual()
    require_evaluable(instance)
    x, f = instance.points.astype(np.float64), instance.weight()
    left, right = np.triu_indices(len(x), 1)
    if output != "weight":
        ends = (left if output == "left" else right).astype(np.float64)
        return Enclosure(ends, np.zeros_like(ends))

    def evaluated(arithmetic: Arithmetic, block: tuple[NDArray[np.intp], NDArray[np.intp]]) -> Evaluated:
        # w_ij = f(‖x_i − x_j‖²)
        at = block[1]
        other = at[:, None] != np.arange(len(x))
        entry = weights(arithmetic, f, x[at], x, other).where(other, 0.0)
        middle, _ = entry.rounded()
        fine = within(entry.error(), relative, np.abs(middle), 2.0**-1060).all(axis=1)
        return Evaluated({"weight": entry[None]}, fine[None])

    whole = escalate(evaluated, np.ones((1, len(x)), bool), {"weight": Result((len(x), len(x)))}, relative, len(x))[
        "weight"
    ]
    return whole[left, right]


def symbolic(instance: Instance) -> NDArray[np.object_]:
    """The weights of the edges i < j as SymPy expressions.  Raises ``ValueError`` for over 4,096 numbers."""
    import sympy

    if instance.spanned() > 4096:
        raise ValueError(f"symbolic: {instance.spanned()} numbers, expected at most 4096")
    points = [[sympy.Rational(c) for c in row] for row in instance.points.astype(np.float64).tolist()]
    found: list[Any] = []
    for i, j in zip(*np.triu_indices(len(points), 1), strict=True):
        z = sum(((p - q) ** 2 for p, q in zip(points[i], points[j], strict=True)), sympy.Integer(0))
        found.append(expression(instance.function, instance.parameter, z))
    return np.array(found, dtype=object)
