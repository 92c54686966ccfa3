"""Rows of the families as instances: data, targets and two layers; and what another call differs in."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from assay.conformance.interface.families import CHANGES as SHARED
from assay.conformance.interface.lengths import Axes
from assay.spec.firing_neurons_training import Instance
from assay.spec.floats import dtype_named

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from assay.conformance.interface.suite import Row
    from assay.spec.precision import Precision
    from assay.spec.problem import Provenance

    Array = NDArray[np.float64]
    Random = np.random.Generator

__all__ = ["AXES", "CHANGES", "NUMBERS", "built", "resized", "sizes"]

#: Axes by the name under which a kernel declares their lengths.
AXES: dict[str, Axes] = {
    "dim": Axes(("dim",), (16, 8, 32, 64, 4)),
    "neurons": Axes(("neurons",), (64, 16, 128, 8), multiples=True),
    "points": Axes(("points",), (16, 8, 32, 64), multiples=True),
    "outputs": Axes(("outputs",), (1, 2, 4, 10)),
}


def sizes(row: Row) -> tuple[int, ...]:
    """(points, neurons, dim, outputs) of a row.

    >>> from assay.conformance.interface.suite import Row
    >>> sizes(Row("smoke", "normal", "5/7:9:2"))
    (5, 7, 9, 2)
    """
    return tuple(int(word) for word in re.split("[/:]", row.size))


def resized(row: Row, lengths: Mapping[str, int]) -> Row:
    """The row with other lengths of some axes.

    >>> from assay.conformance.interface.suite import Row
    >>> resized(Row("smoke", "normal", "5/7:9:2"), {"dim": 64}).size
    '5/7:64:2'
    """
    n, m, d, c = (
        lengths.get(name, length)
        for name, length in zip(("points", "neurons", "dim", "outputs"), sizes(row), strict=True)
    )
    return replace(row, size=f"{n}/{m}:{d}:{c}")


def _whole(rng: Random, *shape: int) -> Array:
    return rng.integers(-2, 3, shape).astype(np.float64)


#: Patterns: (rng, shape) → numbers.
NUMBERS: dict[str, Callable[..., Array]] = {
    "normal": lambda rng, *shape: rng.standard_normal(shape),
    "whole": _whole,
    "small": lambda rng, *shape: 0.05 * rng.standard_normal(shape),
    "positive": lambda rng, *shape: 0.1 + rng.random(shape),
}


def built(row: Row, provenance: Provenance, precision: Precision) -> Instance:
    """The instance of a row.  A size is points/neurons:dim:outputs; options are

    ``b=NUMBER``, the threshold; ``rate=NUMBER``; ``cross_entropy``, with targets of which one a point is 1, or
    ``weights`` of classes with it; ``tie``: the threshold is a correlation; ``late``: only the last point matters.
    """
    n, m, d, c = sizes(row)
    rng, dtype = np.random.default_rng(provenance.seed), dtype_named(precision.storage)
    words = {name: text for name, _, text in (option.partition("=") for option in row.options)}
    drawn = NUMBERS[row.pattern]
    data, weights, outer, targets = drawn(rng, n, d), drawn(rng, m, d), drawn(rng, m, c), drawn(rng, n, c)
    if "cross_entropy" in words:
        targets = np.eye(c)[rng.integers(0, c, n)]
    if "weights" in words:
        targets = rng.integers(0, 3, (n, c)) / 2.0
    if "late" in words:
        data[:-1] *= 0.25
    x, y, w, a = (array.astype(dtype) for array in (data, targets, weights, outer))
    threshold = float(words.get("b", 0.5))
    if "tie" in words:
        table = x.astype(np.float64) @ w.astype(np.float64).T
        threshold = float(np.sort(table, axis=None)[table.size // 2])
    loss = "cross_entropy" if "cross_entropy" in words else "squared"
    rate = float(words.get("rate", 0.125))
    return Instance(x, y, w, a, threshold=threshold, rate=rate, loss=loss, provenance=provenance)


def _other_numbers(instance: Instance) -> Instance:
    """Other data and weights; targets that a cross entropy takes stay as they are."""
    changed = {}
    for name in ("data", "weights", "outer"):
        array = getattr(instance, name)
        changed[name] = np.ascontiguousarray(-array.astype(np.float64)[:, ::-1]).astype(array.dtype)
    return instance.replace(**changed)


#: What another call differs in.
CHANGES: dict[str, Callable[[Instance], Instance]] = {
    **SHARED,
    "numbers": _other_numbers,
    "threshold": lambda i: i.replace(threshold=i.threshold + 1.0),
    "rate": lambda i: i.replace(rate=-2 * i.rate),
    "targets": lambda i: i.replace(targets=i.targets[::-1].copy()),
}
