"""Rows of graphs without targets and columns, as solves and sparsifications have them: sizes, factors, changes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from assay.conformance.interface.covering import Factor
from assay.conformance.kernel_graph.points import sizes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from assay.conformance.interface.suite import Row

__all__ = ["FUNCTION", "LAYOUT", "cost", "doubled", "last_point", "resized"]

_FUNCTIONS = {
    "gaussian": ("gaussian=0.25", "gaussian=1"),
    "laplacian": ("laplacian=0.5",),
    "matern": ("matern=1.5",),
    "rational": ("rational=1.5",),
    "inverse_multiquadric": ("inverse_multiquadric=2",),
    "coulomb": ("coulomb=0.5",),
}

#: Factors of which every pair of values is tried, whatever is asked of the graph.
FUNCTION = Factor("function", _FUNCTIONS, {name: name for name in _FUNCTIONS}, role="manner")
LAYOUT = Factor("layout", {
    "plain": ("contiguous",),
    "cut out": ("gap", "offset", "spaced"),
    "turned": ("transposed", "reversed"),
}, role="manner")  # fmt: skip


def resized(row: Row, lengths: Mapping[str, int]) -> Row:
    """The row with other lengths of some axes.

    >>> from assay.conformance.interface.suite import Row
    >>> [resized(Row("smoke", "normal", "5:3"), {axis: 8}).size for axis in ("points", "dim")]
    ['8:3', '5:8']
    """
    n, _, _, d = sizes(row)
    return replace(row, size=f"{lengths.get('points', n)}:{lengths.get('dim', d)}")


def cost(row: Row) -> float:
    """About the operations of a dense answer."""
    n, _, _, d = sizes(row)
    return float(n**3 + n * n * d)


def last_point(instance: Any) -> Any:
    """The last point is another one."""
    points = instance.points.copy()
    points[-1] = points[-1][::-1] if points.shape[1] > 1 else -points[-1]
    return instance.replace(points=points)


def doubled(instance: Any) -> Any:
    """Twice the parameter, for functions that take any."""
    known = instance.function in ("gaussian", "laplacian")
    return instance.replace(parameter=2 * instance.parameter) if known else instance
