"""The engine of the rotary bank: one rotation, some of whose steps a kernel replaces.  Nothing here uses assay."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "BACKWARDS", "EAGER", "Array", "Steps", "Task", "angles_in_double", "by_array", "exponent", "formula", "kept",
    "kernel", "magnitude", "only", "part", "raised_base", "rotated", "stored_tables",
]  # fmt: skip

Array = NDArray[Any]


@dataclass(frozen=True)
class Task:
    """What one array was rotated with.  positions: (1 or batch, length); role: 0 for the query, 1 for the key."""

    x: Array
    positions: Array
    role: int
    base: float
    layout: str
    r: int
    scaling: str | None
    s: float
    original: int
    low: float
    high: float
    truncate: bool
    given: float | None

    @property
    def work(self) -> Any:
        return np.dtype(np.float64 if self.x.dtype == np.float64 else np.float32).type

    @property
    def n(self) -> int:
        return int(self.positions.max()) + 1

    @property
    def places(self) -> Array:
        """Positions as they go with heads and pairs: (1 or batch, 1, length, 1)."""
        return self.positions[:, None, :, None]


def exponent(task: Task) -> Array:
    return np.arange(0, task.r, 2).astype(task.work) / task.work(task.r)


def _ramp(task: Task) -> Array:
    turned = (math.log(task.original / (2 * math.pi * turns)) for turns in (task.high, task.low))
    first, last = (task.r * log / (2 * math.log(task.base)) for log in turned)
    if task.truncate:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, task.r - 1)
    return np.asarray(np.clip((np.arange(task.r // 2) - first) / (last - first), 0, 1).astype(task.work))


def kept(task: Task, theta: Array) -> Array:
    if task.scaling == "yarn":
        return np.asarray(1 - _ramp(task))
    turns = task.original * theta / task.work(2 * math.pi)
    return np.asarray(np.clip((turns - task.work(task.low)) / task.work(task.high - task.low), 0, 1))


def raised_base(task: Task) -> float:
    if task.scaling not in ("ntk", "dynamic"):
        return task.base
    grown = task.s * max(task.n, task.original) / task.original - (task.s - 1)
    return task.base * (task.s if task.scaling == "ntk" else grown) ** (task.r / (task.r - 2))


def formula(task: Task) -> float:
    return 1 + 0.1 * math.log(task.s)


def magnitude(task: Task) -> float:
    if task.scaling != "yarn":
        return 1.0
    return formula(task) if task.given is None else task.given


def _pairs(task: Task) -> tuple[slice, slice]:
    """The columns of the first members of the pairs, and of the second ones."""
    half = task.r // 2
    return (
        (slice(0, half), slice(half, task.r)) if task.layout == "halves" else (slice(0, task.r, 2), slice(1, task.r, 2))
    )


def stored_tables(dtype_of: Callable[[Task], Any]) -> Callable[[Task, Array, float], Any]:
    """Cosines and sines in a type."""
    return lambda t, angles, m: [(f(angles) * t.work(m)).astype(dtype_of(t)) for f in (np.cos, np.sin)]


_of_work = stored_tables(lambda t: t.work)


@dataclass(frozen=True)
class Steps:
    """What the engine does, step by step; the defaults are right, with angles in the type of the work."""

    task: Callable[[Task], Task] = lambda t: t
    exponent: Callable[[Task], Array] = exponent
    raised: Callable[[Task], float] = raised_base
    power: Callable[[Task, float, Array], Array] = lambda t, base, exponent: t.work(1) / t.work(base) ** exponent
    kept: Callable[[Task, Array], Array] = kept
    theta: Callable[[Task, Array], Array] = lambda t, theta: theta
    magnitude: Callable[[Task], float] = magnitude
    angles: Callable[[Task, Array], Array] = lambda t, theta: t.places.astype(t.work) * theta
    tables: Callable[[Task, Array, float], Any] = _of_work
    turn: Callable[[Task, Array, Array, Array, Array], Any] = lambda t, a, b, c, s: (a * c - b * s, b * c + a * s)
    work: Callable[[Task], Any] = lambda t: t.work


def rotated(task: Task, steps: Steps) -> Array:
    task = steps.task(task)
    theta = steps.power(task, steps.raised(task), steps.exponent(task))
    if task.scaling == "linear":
        theta = theta / task.work(task.s)
    elif task.scaling in ("llama3", "yarn"):
        kept = steps.kept(task, theta)
        theta = (1 - kept) * (theta / task.work(task.s)) + kept * theta
    w, (first, second) = steps.work(task), _pairs(task)
    tables = steps.tables(task, steps.angles(task, steps.theta(task, theta)), steps.magnitude(task))
    cos, sin = (table.astype(w, copy=False) for table in tables)
    out = task.x.astype(w)
    out[..., first], out[..., second] = steps.turn(task, out[..., first].copy(), out[..., second].copy(), cos, sin)
    return out.astype(task.x.dtype)


def kernel(
    steps: Steps, each: Callable[[Task, Steps], Array] = rotated, after: Callable[[Task, Array], Array] = lambda t, y: y
) -> Callable[..., Any]:
    """A kernel with every option; ``after(task, result)`` replaces a result."""

    def kernel(
        query: Array, key: Array, positions: Array, *, base: float, layout: str = "halves",
        rotary_dim: int | None = None, scaling: str | None = None, factor: float | None = None,
        original_length: int | None = None, low_frequency: float | None = None, high_frequency: float | None = None,
        truncate: bool = True, attention_factor: float | None = None,
    ) -> Any:  # fmt: skip
        results = []
        options = (scaling, factor or 1.0, original_length or 1, low_frequency or 1.0, high_frequency or 4.0)
        with np.errstate(all="ignore"):
            for role, x in enumerate((query, key)):
                turned = (base, layout, rotary_dim or x.shape[3])
                task = Task(x, np.atleast_2d(positions), role, *turned, *options, truncate, attention_factor)
                results.append(after(task, each(task, steps)))
        return tuple(results)

    return kernel


def part(task: Task, steps: Steps, *index: slice) -> Array:
    """Some batches, or some heads of them, rotated by the frequencies of the whole array."""
    rows = task.positions[index[0]] if len(task.positions) > 1 else task.positions
    return rotated(replace(task, x=task.x[index], positions=rows), replace(steps, raised=lambda _: raised_base(task)))


def angles_in_double(task: Task, steps: Steps) -> Array:
    """Angles in float64, cosines and sines in float32."""
    double = replace(task, x=task.x.astype(np.float64))
    theta = steps.power(double, steps.raised(task), exponent(double))
    part_kept = kept(double, theta) if task.scaling in ("llama3", "yarn") else float(task.scaling != "linear")
    angles = steps.angles(double, theta * ((1 - part_kept) / task.s + part_kept))
    tables = [table.astype(np.float32) for table in steps.tables(double, angles, magnitude(task))]
    return rotated(task, replace(steps, tables=lambda t, a, m: tables))


def only(steps: Steps, **fields: Any) -> Callable[..., Any]:
    """Other steps for tasks with these fields alone: one scaling, or the query (role 0) or the key (1)."""

    def each(task: Task, right: Steps) -> Array:
        return rotated(task, steps if all(getattr(task, name) == value for name, value in fields.items()) else right)

    return kernel(Steps(), each)


by_array = only(
    Steps(raised=lambda t: raised_base(replace(t, positions=np.arange(t.x.shape[2])[None]))), scaling="dynamic"
)
BACKWARDS = Steps(turn=lambda t, a, b, c, s: (a * c + b * s, b * c - a * s))
EAGER = Steps(
    tables=stored_tables(lambda t: t.x.dtype),
    turn=lambda t, a, b, c, s: ((a * c) + (-b * s), (b * c) + (a * s)),
    work=lambda t: t.x.dtype,
)
