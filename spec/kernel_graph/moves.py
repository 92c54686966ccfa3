"""Exact changes of the points of a kernel graph under which its weights stay, or all change by one known factor.

Products, solves and sparsifiers have laws made of them (KTOL-4, KTOL-9).  Each gives the changed instances, or ``()``
where a number would be rounded or the problem refuses what comes out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from assay.spec.kernel_graph.instance import Weighted

    Instances = tuple[Any, ...]

__all__ = ["backwards", "changed", "doubled", "growth", "other_coordinates", "renamed", "translated"]


def changed(instance: Weighted, **changes: Any) -> Instances:
    """The instance with changes, or ``()`` where the problem refuses it."""
    try:
        return (instance.replace(**changes),)
    except InvalidInstance:
        return ()


def _places(instance: Weighted) -> dict[str, NDArray[Any]]:
    """The arrays whose rows are points."""
    return {name: rows for name, rows in instance.arrays().items() if name in ("points", "targets")}


def _of_places(instance: Weighted, change: Callable[[NDArray[Any]], NDArray[Any] | None], **more: Any) -> Instances:
    """Every point and target changed by ``change``, which says ``None`` of what it cannot change exactly."""
    rows = {name: change(x) for name, x in _places(instance).items()}
    return () if any(x is None for x in rows.values()) else changed(instance, **rows, **more)


def backwards(instance: Weighted, rng: np.random.Generator) -> Instances:
    """The points in reverse order."""
    return (instance.part(points=range(len(instance.points))[::-1]),)


def other_coordinates(instance: Weighted, rng: np.random.Generator) -> Instances:
    """Coordinates in reverse order, the first of them negated, and one more that is 3 everywhere (0 on the sphere)."""
    more = 0.0 if instance.function == "arc_cosine" else 3.0

    def change(rows: NDArray[Any]) -> NDArray[Any]:
        signs = np.where(np.arange(rows.shape[1]) == 0, -1, 1).astype(rows.dtype)
        last = np.full((len(rows), 1), more).astype(rows.dtype)
        return np.concatenate([rows[:, ::-1] * signs, last], 1)

    return _of_places(instance, change)


def translated(instance: Weighted, rng: np.random.Generator) -> Instances:
    """One vector is added to every point and target; nothing where a sum is not exact, nor on the sphere."""
    dim = instance.points.shape[1]
    step = (rng.integers(1, 4, dim) * rng.choice((-1, 1), dim)).astype(np.float64)

    def change(rows: NDArray[Any]) -> NDArray[Any] | None:
        wide = rows.astype(np.float64)
        moved = (wide + step).astype(rows.dtype)
        there = moved.astype(np.float64)
        return moved if ((there - step == wide) & (there - wide == step)).all() else None

    return () if instance.function == "arc_cosine" else _of_places(instance, change)


#: Of points times 2: what the parameter is multiplied with, for the same function but for a factor.
_PARAMETERS = {
    "gaussian": 0.25,
    "laplacian": 0.5,
    "inverse_multiquadric": 0.25,
    "threshold": 4.0,
    "polynomial": 1.0,
    "coulomb": 1.0,
}


def doubled(instance: Weighted, rng: np.random.Generator) -> Instances:
    """Points times 2, and the parameter that gives the same function of them, but for the factor :func:`growth`."""
    if not isinstance(instance.function, str) or instance.function not in _PARAMETERS:
        return ()
    parameter = instance.parameter * _PARAMETERS[instance.function]
    if parameter / _PARAMETERS[instance.function] != instance.parameter or not 0.0 < growth(instance) < np.inf:
        return ()

    def change(rows: NDArray[Any]) -> NDArray[Any] | None:
        with np.errstate(over="ignore"):
            twice = 2 * rows
        return twice if np.isfinite(twice.astype(np.float64)).all() else None

    return _of_places(instance, change, parameter=parameter)


def growth(instance: Weighted) -> float:
    """What weights are multiplied with when points are doubled: 4^p for z^p, 4^−p for z^−p, and 1 otherwise."""
    power = {"polynomial": instance.parameter, "coulomb": -instance.parameter}
    with np.errstate(all="ignore"):
        return float(np.power(4.0, power.get(str(instance.function), 0.0)))


def renamed(instance: Weighted, rng: np.random.Generator) -> Instances:
    """e^(−√z) and (1 + z)^(−1/2) have two names each."""
    other = {
        ("matern", 0.5): ("laplacian", 1.0),
        ("laplacian", 1.0): ("matern", 0.5),
        ("rational", 0.5): ("inverse_multiquadric", 1.0),
        ("inverse_multiquadric", 1.0): ("rational", 0.5),
    }
    if not isinstance(instance.function, str) or (instance.function, instance.parameter) not in other:
        return ()
    function, parameter = other[instance.function, instance.parameter]
    return (instance.replace(function=function, parameter=parameter),)
