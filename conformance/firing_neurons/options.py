"""Rows of the families as instances: data and weights, the threshold, the script; and what another call differs in."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.firing_neurons.scripts import SCRIPTS, Scene
from assay.conformance.interface.families import CHANGES as SHARED
from assay.spec.firing_neurons import Instance
from assay.spec.floats import dtype_named

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from assay.conformance.interface.suite import Row
    from assay.spec.precision import Precision
    from assay.spec.problem import Provenance

    Array = NDArray[np.float64]
    Random = np.random.Generator

__all__ = ["CHANGES", "NUMBERS", "THRESHOLDS", "built", "resized", "sizes"]


def sizes(row: Row) -> tuple[int, int, int]:
    """How many points and neurons there are, and of how many coordinates.

    >>> from assay.conformance.interface.suite import Row
    >>> sizes(Row("smoke", "normal", "5/7:9"))
    (5, 7, 9)
    """
    points, neurons, dim = (int(word) for word in re.split("[/:]", row.size))
    return points, neurons, dim


def resized(row: Row, lengths: Mapping[str, int]) -> Row:
    """The row with other lengths of some axes.

    >>> from assay.conformance.interface.suite import Row
    >>> resized(Row("smoke", "normal", "5/7:9"), {"dim": 64, "neurons": 8}).size
    '5/8:64'
    """
    n, m, d = sizes(row)
    return replace(row, size=f"{lengths.get('points', n)}/{lengths.get('neurons', m)}:{lengths.get('dim', d)}")


# --- numbers ----------------------------------------------------------------------------------------------------------

#: How far from 1 the numbers of one side are that are large or tiny and yet in the domain of a class.  Where it is more
#: than 75 in float32, squares of tiny ones are 0: at 70 they are subnormal, and a norm is nearly right.
_EXTREMES = {"float64": 600, "float16": 5}


@dataclass(frozen=True)
class Numbers:
    """Data and weights: (rng, rows, coordinates) → numbers, and powers of two by which either side is multiplied.

    data, weights: the power, in units of the extreme of the class where ``extreme`` is true.
    """

    drawn: Callable[[Random, int, int], Array]
    data: float = 0
    weights: float = 0
    extreme: bool = False

    def side(self, rng: Random, rows: int, d: int, storage: str, *, weights: bool) -> Array:
        """Rows of one side."""
        power = self.weights if weights else self.data
        power = np.rint(power * _EXTREMES.get(storage, 80)) if self.extreme else power
        return self.drawn(rng, rows, d) * 2.0**power


def _normal(rng: Random, rows: int, d: int) -> Array:
    return rng.standard_normal((rows, d))


def _whole(rng: Random, rows: int, d: int) -> Array:
    """Small integers, so that all arithmetic is exact and there are ties; no row is all zeros."""
    drawn = rng.integers(-2, 3, (rows, d)).astype(np.float64)
    drawn[:, -1] = np.where((drawn == 0).all(axis=1), 1.0, drawn[:, -1])
    return drawn


def _large_whole(rng: Random, rows: int, d: int) -> Array:
    """Integers of seven bits, of one sign a row, of which the sums go beyond 16 bits."""
    return np.asarray(rng.integers(64, 128, (rows, d)) * rng.choice([-1.0, 1.0], (rows, 1)))


def _zeros(rng: Random, rows: int, d: int) -> Array:
    """Every third row is all zeros."""
    return np.where(np.arange(rows)[:, None] % 3 == 2, 0.0, _normal(rng, rows, d))


def _lengths(rng: Random, rows: int, d: int) -> Array:
    return _normal(rng, rows, d) * np.exp2(rng.integers(-5, 6, (rows, 1)))


def _late(rng: Random, rows: int, d: int) -> Array:
    """The last coordinates decide."""
    drawn = 0.01 * _normal(rng, rows, d)
    drawn[:, -max(1, d // 8) :] *= 300
    return drawn


def _groups(spread: float) -> Callable[[Random, int, int], Array]:
    """A group for every hundred rows, at least six, far from each other; within a group rows differ by ``spread``."""

    def drawn(rng: Random, rows: int, d: int) -> Array:
        centres = 4 * _normal(rng, max(6, rows // 100), d)
        return np.asarray(centres[rng.integers(0, len(centres), rows)] + spread * _normal(rng, rows, d))

    return drawn


#: Patterns: what data and weights are.
NUMBERS: dict[str, Numbers] = {
    "normal": Numbers(_normal),
    "whole": Numbers(_whole),
    "large-whole": Numbers(_large_whole),
    "zeros": Numbers(_zeros),
    "lengths": Numbers(_lengths),
    "late": Numbers(_late),
    "alike": Numbers(lambda rng, n, d: 1.0 + 0.1 * _normal(rng, n, d)),
    "short-weights": Numbers(_normal, data=4, weights=-4),
    "long-weights": Numbers(_normal, data=-4, weights=4),
    "huge-weights": Numbers(_normal, weights=1, extreme=True),
    "tiny-weights": Numbers(_normal, weights=-1, extreme=True),
    "equal": Numbers(lambda rng, n, d: np.tile(_normal(rng, 1, d), (n, 1))),
    "clusters": Numbers(_groups(0.05)),
    "groups": Numbers(_groups(0.0)),
    "units": Numbers(lambda rng, n, d: np.eye(d)[rng.integers(0, d, n)] * rng.choice([-1.0, 1.0, 2.0], (n, 1))),
}


def _short(x: float) -> float:
    """The number to six significant bits, which every type holds."""
    mantissa, exponent = np.frexp(x)
    return float(np.ldexp(np.rint(mantissa * 64), int(exponent) - 6))


def _quantile(share: float) -> Callable[[Array], float]:
    return lambda table: _short(float(np.quantile(table, share)))


def _between(table: Array) -> float:
    """Halfway between two products so near that shorter types do not tell them apart, to 24 bits.

    Their distance is at least 2^−14 of them, which float32 does tell.
    """
    products = np.unique(table)
    middle, gaps = (products[1:] + products[:-1]) / 2, np.diff(products)
    far = (gaps > 2.0**-14 * np.abs(middle)) & (np.abs(middle) > np.abs(table).max() / 3)
    if not far.any():
        return _short(float(products[-1]))
    return float(np.float32(middle[far][np.argmin(gaps[far] / np.abs(middle[far]))]))


#: Options ``b=WORD``: the threshold of the structure, from the first products (n, m).
THRESHOLDS: dict[str, Callable[[Array], float]] = {
    "half": _quantile(0.5),
    "few": _quantile(0.9),
    "most": _quantile(0.1),
    "zero": lambda table: 0.0,
    "above": lambda table: _short(0.4 * float(np.abs(table).max())),
    "below": lambda table: -_short(0.4 * float(np.abs(table).max())),
    "none": lambda table: _short(3 * float(np.abs(table).max())),
    "all": lambda table: -_short(3 * float(np.abs(table).max())),
    "between": _between,
    "tie": lambda table: float(np.sort(table, axis=None)[table.size // 2]),
}


def built(row: Row, provenance: Provenance, precision: Precision) -> Instance:
    """The instance of a row.  Options are

    ``script=NAME``: what is done (:data:`~assay.conformance.firing_neurons.scripts.SCRIPTS`), ``queries`` if left out;
    ``b=WORD``: the threshold (:data:`THRESHOLDS`), ``half`` if left out.
    """
    n, m, d = sizes(row)
    rng, dtype = np.random.default_rng(provenance.seed), dtype_named(precision.storage)
    words = {name: text for name, _, text in (option.partition("=") for option in row.options)}
    numbers = NUMBERS[row.pattern]

    def rows(k: int, *, weights: bool) -> Array:
        return numbers.side(rng, k, d, precision.storage, weights=weights).astype(dtype).astype(np.float64)

    data, weights = rows(n, weights=False), rows(m, weights=True)
    with np.errstate(over="ignore", invalid="ignore"):
        threshold = THRESHOLDS[words.get("b", "half")](data @ weights.T)
        unit = float(max(precision.product, precision.accumulate, precision.working, precision.input_rounding))
        room = 2.0 ** _EXTREMES.get(precision.storage, 80)
        scene = Scene(rng, data, weights, threshold, unit, room, lambda k: rows(k, weights=True))
        calls = list(SCRIPTS[words.get("script", "queries")](scene))
        stored = (data.astype(dtype), weights.astype(dtype))
        return Instance.of(*stored, calls, threshold=threshold, provenance=provenance)


def _other_threshold(instance: Instance) -> Instance:
    moved = instance.threshold + float(np.abs(instance.data.astype(np.float64)).max())
    return instance.replace(threshold=moved if np.isfinite(moved) else 0.0)


def _other_script(instance: Instance) -> Instance:
    """The same data and weights, updated otherwise."""
    changed: Any = -instance.new_weights.astype(np.float64)
    return instance.replace(new_weights=changed.astype(instance.new_weights.dtype))


#: What another structure differs in: what a kernel may keep from it under a key that does not tell the two apart.
CHANGES: dict[str, Callable[[Instance], Instance]] = {
    **SHARED,
    "threshold": _other_threshold,
    "script": _other_script,
    "fewer": lambda i: i.part(neurons=range(max(len(i.weights) - 1, 1))),
}
