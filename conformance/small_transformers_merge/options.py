"""Rows of the families as instances: what the log-sum-exps are, what the outputs are, and which parts are empty."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.interface import families as shared
from assay.spec.floats import dtype_named
from assay.spec.small_transformers_merge import Instance

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from assay.conformance.interface.suite import Row
    from assay.spec.precision import Precision
    from assay.spec.problem import Provenance

    Array = NDArray[np.float64]
    Random = np.random.Generator

__all__ = ["AXES", "CHANGES", "EMPTY", "LOGS", "OUTPUTS", "built", "resized", "sizes"]

#: The axes of a size, in the order of its words.
AXES = ("parts", "batch", "heads", "queries", "value_dim")


def sizes(row: Row) -> tuple[int, ...]:
    """(parts, batch, heads, queries, value dim) of a row, whose size is parts:batch×heads×queries×value dim.

    >>> from assay.conformance.interface.suite import Row
    >>> sizes(Row("smoke", "normal", "3:1x2x4x8"))
    (3, 1, 2, 4, 8)
    """
    parts, _, rest = row.size.partition(":")
    return (int(parts), *(int(length) for length in rest.split("x")))


def resized(row: Row, lengths: Mapping[str, int]) -> Row:
    """The row with other lengths of some axes.

    >>> from assay.conformance.interface.suite import Row
    >>> resized(Row("smoke", "normal", "3:1x2x4x8"), {"parts": 2, "value_dim": 64}).size
    '2:1x2x4x64'
    """
    parts, *rest = (lengths.get(name, length) for name, length in zip(AXES, sizes(row), strict=True))
    return replace(row, size=f"{parts}:{'x'.join(map(str, rest))}")


# --- log-sum-exps -----------------------------------------------------------------------------------------------------


def _normal(rng: Random, shape: tuple[int, ...]) -> Array:
    return rng.standard_normal(shape)


def _moved(by: float) -> Callable[[Random, tuple[int, ...]], Array]:
    """All log-sum-exps of a query are as much larger or smaller, by chance."""

    def logs(rng: Random, shape: tuple[int, ...]) -> Array:
        return rng.standard_normal(shape) + by * rng.choice([-1.0, 1.0], (1, *shape[1:]))

    return logs


def _sorted(step: float) -> Callable[[Random, tuple[int, ...]], Array]:
    """Every part has a log-sum-exp ``step`` above that of the part before it, and a little by chance."""

    def logs(rng: Random, shape: tuple[int, ...]) -> Array:
        return step * np.arange(shape[0]).reshape(-1, 1, 1, 1) + 0.25 * rng.standard_normal(shape)

    return logs


def _equal_maxima(rng: Random, shape: tuple[int, ...]) -> Array:
    """Two parts have the largest log-sum-exp of a query, the first of which is the first part as often as not."""
    logs = rng.standard_normal(shape)
    if shape[0] > 1:
        top = logs.max(axis=0) + 1.0
        logs[0] = top
        logs[rng.integers(1, shape[0])] = top
    return logs


def _dominated(rng: Random, shape: tuple[int, ...]) -> Array:
    """One part, another one for each query, has nearly all the weight."""
    logs = rng.standard_normal(shape)
    logs[rng.integers(shape[0], size=shape[1:]), *np.ogrid[tuple(map(slice, shape[1:]))]] += 40.0
    return logs


#: Patterns: what the log-sum-exps of a query are.
LOGS: dict[str, Callable[[Random, tuple[int, ...]], Array]] = {
    "normal": _normal,
    "apart": lambda rng, shape: 3.0 * rng.standard_normal(shape),
    "spread": lambda rng, shape: 60.0 * rng.standard_normal(shape),
    "equal": lambda rng, shape: np.broadcast_to(rng.standard_normal((1, *shape[1:])), shape).copy(),
    "equal-maxima": _equal_maxima,
    "dominated": _dominated,
    "rising": _sorted(1.5),
    "falling": _sorted(-1.5),
    "far": _moved(80.0),
    "huge": lambda rng, shape: 400.0 + rng.standard_normal(shape),
    "tiny": lambda rng, shape: -400.0 + rng.standard_normal(shape),
    "zero": lambda rng, shape: np.zeros(shape),
}


# --- outputs ----------------------------------------------------------------------------------------------------------


def _unlike(rng: Random, shape: tuple[int, ...]) -> Array:
    """The outputs of every part have a mean of their own, so that every part shows in the result."""
    return 0.1 * rng.standard_normal(shape) + 2.0 * (np.arange(shape[0]) - 0.5 * shape[0]).reshape(-1, 1, 1, 1, 1)


#: Options ``outputs=NAME``.
OUTPUTS: dict[str, Callable[[Random, tuple[int, ...]], Array]] = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "large": lambda rng, shape: 1000.0 * rng.standard_normal(shape),
    "small": lambda rng, shape: 1e-3 * rng.standard_normal(shape),
    "unlike": _unlike,
    "constant": lambda rng, shape: np.broadcast_to(rng.standard_normal((1, *shape[1:])), shape).copy(),
    "signs": lambda rng, shape: rng.choice([-1.0, 1.0], shape),
}


# --- parts without keys -----------------------------------------------------------------------------------------------


def _some(count: int) -> Callable[[Random, tuple[int, ...]], NDArray[np.bool_]]:
    """As many parts of every query, by chance; one part always has keys."""

    def empty(rng: Random, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        order = rng.permuted(np.broadcast_to(np.arange(shape[0]).reshape(-1, 1, 1, 1), shape), axis=0)
        return np.asarray(order < min(count, shape[0] - 1))

    return empty


def _place(*places: int) -> Callable[[Random, tuple[int, ...]], NDArray[np.bool_]]:
    """The same parts of every query but the last one."""

    def empty(rng: Random, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        made = np.zeros(shape, bool)
        for place in places:
            if -shape[0] <= place < shape[0] and shape[0] > 1:
                made[place] = True
        made[:, :, :, -1] &= shape[3] == 1
        made[-1] &= ~made.all(axis=0)
        return made

    return empty


def _whole_row(rng: Random, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """All parts of the first query, and of every other query one."""
    made = _some(1)(rng, shape)
    made[:, :, :, 0] = True
    return made


def _whole_head(rng: Random, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    made = np.zeros(shape, bool)
    made[:, :, 0] = True
    return made


#: Options ``empty=NAME``: which parts have no keys for which queries.
EMPTY: dict[str, Callable[[Random, tuple[int, ...]], NDArray[np.bool_]]] = {
    "one": _some(1),
    "two": _some(2),
    "most": _some(1 << 20),
    "first": _place(0),
    "first-two": _place(0, 1),
    "last": _place(-1),
    "row": _whole_row,
    "head": _whole_head,
    "all": lambda rng, shape: np.ones(shape, bool),
}


def built(row: Row, provenance: Provenance, precision: Precision) -> Instance:
    """The instance of a row: outputs in the type of the class, log-sum-exps in float32, or float64 in that class.

    Options: ``outputs=NAME``, ``empty=NAME``, ``filler`` (outputs of empty parts are huge), ``sink``, ``sink=large``,
    ``sink=small`` and ``lse``.
    """
    rng = np.random.default_rng(provenance.seed)
    chosen = {name: value for name, _, value in (option.partition("=") for option in row.options)}
    shape = sizes(row)
    logs = LOGS[row.pattern](rng, shape[:4])
    outputs = OUTPUTS[chosen.get("outputs", "normal")](rng, shape)
    if "empty" in chosen:
        without = EMPTY[chosen["empty"]](rng, shape[:4])
        logs[without] = -np.inf
        if "filler" in chosen:
            outputs[without] = 3e4 * rng.choice([-1.0, 1.0], (int(without.sum()), shape[4]))
    wide = "float64" if precision.storage == "float64" else "float32"
    fields: dict[str, Any] = {"return_lse": "lse" in chosen}
    if "sink" in chosen:
        finite = logs[np.isfinite(logs)]
        centre = float(np.median(finite)) if finite.size else 0.0
        offset = {"": 0.0, "large": 4.0, "small": -4.0}[chosen["sink"]]
        fields["sink"] = (centre + offset + 1.5 * rng.standard_normal(shape[2])).astype(wide)
    return Instance(outputs.astype(dtype_named(precision.storage)), logs.astype(wide), **fields, provenance=provenance)


def _other_logs(instance: Instance) -> Instance:
    """The log-sum-exps of the parts in the other order."""
    return instance.replace(log_sum_exps=np.ascontiguousarray(instance.log_sum_exps[::-1]))


def _other_numbers(instance: Instance) -> Instance:
    """Outputs negated, backwards along the value dim; log-sum-exps of queries in the other order."""
    outputs = (-instance.outputs.astype(np.float64)[..., ::-1]).astype(instance.outputs.dtype)
    logs = np.ascontiguousarray(instance.log_sum_exps[..., ::-1])
    return instance.replace(outputs=np.ascontiguousarray(outputs), log_sum_exps=logs)


#: Changes between one call and the next.
CHANGES: dict[str, Callable[[Any], Any]] = {**shared.CHANGES, "numbers": _other_numbers, "logs": _other_logs}
