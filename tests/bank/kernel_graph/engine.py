"""What the kernels of the bank are made of: a dense sum over pairs, of which a kernel replaces some parts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Array", "Parts", "Task", "differences", "expansion", "kernel", "value", "wide"]

Array = NDArray[Any]


@dataclass(frozen=True)
class Task:
    """What a kernel is asked for, beside arrays."""

    function: str
    parameter: float
    laplacian: bool = False
    diagonal: float = 0.0
    between: bool = False  # sums over all points at targets, not the graph


def wide(x: Array) -> Any:
    """The type of the work: that of the arrays, or float32 for shorter types."""
    return x.dtype.type if x.dtype.itemsize >= 4 else np.float32


def differences(x: Array, y: Array) -> Array:
    """Squared distances, coordinate after coordinate."""
    total = np.zeros((len(x), len(y)), x.dtype)
    for c in range(x.shape[1]):
        total += np.square(x[:, c, None] - y[:, c])
    return total


def expansion(x: Array, y: Array) -> Array:
    """‖x‖² + ‖y‖² − 2⟨x, y⟩, cut at 0."""
    squares = np.square(x).sum(axis=1)[:, None] + np.square(y).sum(axis=1)
    return np.maximum(squares - 2 * (x @ y.T), 0)


def _matern(s: Array, order: float) -> Array:
    if order == 0.5:
        return np.exp(-s)
    return np.asarray(((1 + s) if order == 1.5 else (1 + s + s * s / 3)) * np.exp(-s))


def _angle(z: Array) -> tuple[Array, Array]:
    """(the angle of two points of the sphere, its cosine); the angle is taken from the chord."""
    return 2 * np.arcsin(np.minimum(np.sqrt(z) / 2, 1)), 1 - z / 2


def _arc_cosine(z: Array, order: int) -> Array:
    pi = z.dtype.type(np.pi)
    angle, cosine = _angle(z)
    zero = (pi - angle) / pi
    one = (np.sin(angle) + (pi - angle) * cosine) / pi
    return np.asarray((zero, one, cosine * zero + one)[order])


def value(z: Array, function: str, parameter: float) -> Array:
    """f(z) of a function that is named, in the type of z."""
    p = z.dtype.type(parameter)
    with np.errstate(divide="ignore"):
        if function == "gaussian":
            return np.exp(-p * z)
        if function == "laplacian":
            return np.exp(-p * np.sqrt(z))
        if function == "rational":
            return np.asarray((1 + z) ** -p)
        if function == "coulomb":
            return np.asarray(z**-p)
        if function == "matern":
            return _matern(np.sqrt(2 * p * z), parameter)
        if function == "inverse_multiquadric":
            return np.asarray(1 / np.sqrt(1 + p * z))
        if function == "polynomial":
            return np.asarray(z ** int(parameter))
        if function == "arc_cosine":
            return _arc_cosine(z, int(parameter))
        if function == "threshold":
            return np.asarray(z <= p).astype(z.dtype)
    raise ValueError(f"function {function!r}")


def _same(task: Task) -> Task:
    return task


@dataclass(frozen=True)
class Parts:
    """What the engine does, part by part; the defaults are right.  x are the points of the rows, y those of the sums."""

    work: Any = None
    task: Callable[[Task], Task] = _same
    points: Callable[[Array, Array, Task], tuple[Array, Array]] = lambda x, y, task: (x, y)
    distances: Callable[[Array, Array], Array] = differences
    value: Callable[[Array, str, float], Array] = value
    weights: Callable[[Array, Task], Array] = lambda w, task: w
    diagonal: Callable[[Array, Task, Array], Array] | None = None  # (weights, task, f(0)) of the graph
    degrees: Callable[[Array], Array] = lambda w: w.sum(axis=1)
    sums: Callable[[Array, Array], Array] = lambda w, v: w @ v
    laplacian: Callable[[Array, Array, Array, Array], Array] = lambda degrees, w, v, sums: degrees[:, None] * v - sums
    output: Callable[[Array, Task], Array] = lambda out, task: out


def _set_diagonal(w: Array, d: Any) -> Array:
    w = w.copy()
    np.fill_diagonal(w, d)
    return w


def kernel(parts: Parts) -> Callable[..., Any]:
    """The kernel of some parts, with every option."""

    def multiply(
        points: Array,
        vectors: Array,
        *,
        function: str,
        parameter: float,
        laplacian: bool = False,
        diagonal: float = 0.0,
        targets: Array | None = None,
    ) -> Array:
        work = parts.work or wide(points)
        asked = Task(function, parameter, laplacian, diagonal, targets is not None)
        task = parts.task(asked)
        y, v = points.astype(work), vectors.astype(work)
        x = y if targets is None else targets.astype(work)
        with np.errstate(all="ignore"):
            rows, columns = parts.points(x, y, task)
            distances = parts.distances(rows, columns)
            w = parts.weights(parts.value(distances, task.function, task.parameter), task)
            if targets is None:
                made = parts.diagonal
                w = _set_diagonal(w, task.diagonal) if made is None else made(w, task, distances)
            off = _set_diagonal(w, 0) if task.laplacian else w
            sums = parts.sums(off if task.laplacian else w, v)
            if task.laplacian:
                sums = parts.laplacian(parts.degrees(off), off, v, sums)
                sums = sums + (np.diagonal(w)[:, None] * v if task.diagonal else 0)
            return np.asarray(parts.output(sums, task)).astype(points.dtype)

    return multiply


def changed(**changes: Any) -> Callable[[Task], Task]:
    """The task with other options."""
    return lambda task: replace(task, **changes)
