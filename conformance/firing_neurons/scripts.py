"""What is done with a structure, by name: scripts of updates and queries, each for the bugs that it shows.

Nearly every script ends with :meth:`Scene.everything`, the answers of both sides on all points and neurons.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from assay.spec.firing_neurons import Call, data_of, fired, update

__all__ = ["SCRIPTS", "Scene"]

if TYPE_CHECKING:
    from collections.abc import Sequence

Array = NDArray[np.float64]
Calls = Iterator[Call]


@dataclass(frozen=True, eq=False)
class Scene:
    """What a script is written with: data (n, d), the first weights (m, d), the threshold and the unit of the class.

    room: the largest power of two by which weights may be multiplied.  new(k): further weights, (k, d).
    """

    rng: np.random.Generator
    data: Array
    weights: Array
    threshold: float
    unit: float
    room: float
    new: Callable[[int], Array]

    @property
    def points(self) -> range:
        return range(len(self.data))

    @property
    def neurons(self) -> range:
        return range(len(self.weights))

    def some(self, of: Sequence[int], most: int = 3) -> list[int]:
        """A few of them, in any order."""
        count = int(self.rng.integers(1, min(most, len(of)) + 1))
        return [int(k) for k in self.rng.permutation(len(of))[:count]]

    def few(self, most: int = 3) -> list[int]:
        """A few neurons, the first and the last among them."""
        middle = self.rng.permutation(len(self.weights))[: max(most - 2, 0)].tolist()
        return list(dict.fromkeys([len(self.weights) - 1, *middle, 0]))[:most]

    def everything(self, threshold: float | None = None) -> Calls:
        yield fired(self.points, threshold=threshold)
        yield data_of(self.neurons, threshold=threshold)

    def towards(self, sign: float) -> Array:
        """Weights that fire on as many points as can be (sign 1), or on as few (−1): (1, d)."""
        best = max(self.new(6), key=lambda row: sign * float(np.median(self.data @ row)))
        return np.asarray(best, np.float64)[None]

    def products(self) -> Array:
        return self.data @ self.weights.T


def _queries(s: Scene) -> Calls:
    """No update: all points, all neurons, and a few of them in any order; twice the same ends and others between."""
    yield fired(s.some(s.points))
    yield from s.everything()
    yield data_of(s.some(s.neurons))
    points, neurons = (s.rng.permutation(len(side)).tolist() for side in (s.data, s.weights))
    yield fired(points)
    yield data_of(neurons)
    yield fired([*points[:1], *points[-2:0:-1], *points[1:][-1:]])
    yield data_of([*neurons[:1], *neurons[-2:0:-1], *neurons[1:][-1:]])


def _once(s: Scene) -> Calls:
    """One update between two looks at everything."""
    yield from s.everything()
    yield update([int(s.rng.integers(len(s.weights)))], s.new(1))
    yield from s.everything()


def _ends(s: Scene) -> Calls:
    """The last neuron and the first one are updated."""
    for neuron in (len(s.weights) - 1, 0):
        yield update([neuron], s.new(1))
        yield from s.everything()


def _mixed(s: Scene) -> Calls:
    """Updates and queries by chance."""
    for _ in range(14):
        kind = int(s.rng.integers(4))
        if kind < 2:
            neurons = s.some(s.neurons, 4)
            yield update(neurons, s.new(len(neurons)))
        elif kind == 2:
            yield fired(s.some(s.points))
        else:
            yield data_of(s.some(s.neurons))
    yield from s.everything()


def _one_by_one(s: Scene) -> Calls:
    """Every neuron is updated alone, in any order, with a look at some points after each."""
    for neuron in s.rng.permutation(len(s.weights))[:12].tolist():
        yield update([neuron], s.new(1))
        yield fired(s.some(s.points, 2))
    yield from s.everything()


def _rounds(s: Scene) -> Calls:
    """A few neurons are turned on and off, again and again: weights that were there before come back."""
    neurons = s.few()
    on, off = s.towards(1.0), s.towards(-1.0)
    for turn in range(7):
        for neuron in neurons:
            yield update([neuron], on if turn % 2 == 0 else off)
        yield from s.everything()


def _removals(s: Scene) -> Calls:
    """One is taken out and another asked for; then five are put in, two taken out and five put in."""
    out = s.towards(-1.0)
    yield update([0], out)
    yield from s.everything()
    for count, rows in ((5, s.new), (2, lambda k: np.repeat(out, k, axis=0)), (5, s.new)):
        neurons = s.rng.permutation(len(s.weights))[:count].tolist()
        yield update(neurons, rows(len(neurons)))
        yield from s.everything()


def _falls(s: Scene) -> Calls:
    """Products of a neuron that fires become smaller on every point."""
    yield from _moved(s, 1.0, -1.0)


def _rises(s: Scene) -> Calls:
    """Products of a neuron that does not fire become larger on every point."""
    yield from _moved(s, -1.0, 1.0)


def _moved(s: Scene, first: float, then: float) -> Calls:
    for neuron in s.few(4):
        yield update([neuron], s.towards(first))
        yield fired(s.points)
        yield update([neuron], s.towards(then))
        yield fired(s.points)
        yield data_of([neuron])
    yield from s.everything()


def _batches(s: Scene) -> Calls:
    """Batches of several neurons in any order, of very different weights."""
    for count in (2, 3, len(s.weights)):
        neurons = s.rng.permutation(len(s.weights))[:count].tolist()
        yield update(neurons, s.new(len(neurons)))
        yield from s.everything()


def _sides(s: Scene) -> Calls:
    """After an update the side of the neurons is asked first, and after another one that of the points."""
    for _ in range(2):
        yield update(neurons := s.some(s.neurons), s.new(len(neurons)))
        yield data_of(s.neurons)
        yield update(neurons := s.some(s.neurons), s.new(len(neurons)))
        yield fired(s.points)
        yield data_of(s.neurons)


def _again(s: Scene) -> Calls:
    """Every query is asked twice, before and after an update."""
    for _ in range(2):
        for _ in range(2):
            yield fired(s.points)
            yield data_of(s.neurons)
        yield update(neurons := s.some(s.neurons), s.new(len(neurons)))
    for _ in range(2):
        yield from s.everything()


def _grows(s: Scene) -> Calls:
    """New weights are eight times as long as any before."""
    neurons = s.few(4)
    yield update(neurons, 8 * s.new(len(neurons)))
    yield from s.everything()
    yield update(neurons[:1], 64 * s.new(1))
    yield from s.everything()


def _back(s: Scene) -> Calls:
    """Weights of millions come and go, and a few ordinary ones after them: what they leave is seen."""
    neurons = s.few(3)
    for neuron in neurons:
        yield update([neuron], s.new(1) * min(2.0 ** (6 - np.rint(np.log2(s.unit))), s.room))
        yield update([neuron], s.new(1))
        yield from s.everything()
        for _ in range(5):
            yield update([neuron], s.new(1))
    yield from s.everything()
    for neuron in neurons:
        yield update([neuron], s.weights[[neuron]])
    yield from s.everything()


def _likenesses(s: Scene) -> Calls:
    """New weights resemble the old ones: negated, turned round, of two neurons exchanged, of one coordinate, all 0."""
    neuron, other = (s.few(2) * 2)[:2]
    row = s.weights[[neuron]]
    yield from s.everything()
    for like in (-row, row[:, ::-1], np.where(np.arange(row.shape[1]) == row.shape[1] - 1, -2 * row, row), 0 * row):
        yield update([neuron], like)
        yield from s.everything()
    if neuron != other:
        yield update([neuron, other], s.weights[[neuron, other]])
        yield update([neuron, other], s.weights[[other, neuron]])
        yield from s.everything()
    yield update([neuron], row)
    yield update([neuron], np.where(np.arange(row.shape[1]) == 0, -row, row))
    yield from s.everything()


def _steps(s: Scene) -> Calls:
    """Small steps of one neuron, each seen by a threshold halfway; the finest are right outside of the tolerance."""
    finest = 32 * (s.data.shape[1] + 8) * s.unit
    for size in (0.25, 2.0**-7, 2.0**-10, 2.0**-14, finest):
        if size < finest:
            continue
        i, j = int(s.rng.integers(len(s.data))), int(s.rng.integers(len(s.weights)))
        row = s.weights[j]
        step = min(size, 0.5) * np.abs(row) * np.where(s.data[i] < 0, -1.0, 1.0)
        halfway = float(s.data[i] @ (row + step / 2))
        for new in (row, row + step, row):
            yield update([j], new[None])
            yield fired([i], threshold=halfway)
            yield data_of([j], threshold=halfway)


def _walk(s: Scene) -> Calls:
    """A neuron goes a long way in small steps."""
    j = int(s.rng.integers(len(s.weights)))
    row, way = s.weights[j], np.where(s.data[int(s.rng.integers(len(s.data)))] < 0, -1.0, 1.0)
    for number in range(1, 25):
        yield update([j], (row + number / 96 * np.abs(row).max() * way)[None])
        if number % 8 == 0:
            yield from s.everything()


def _many(s: Scene) -> Calls:
    """One neuron is updated many times."""
    neuron = len(s.weights) // 2
    for turn in range(24):
        yield update([neuron], s.new(1))
        if turn % 6 == 5:
            yield data_of([neuron])
    yield from s.everything()


def _thresholds(s: Scene) -> Calls:
    """Queries with thresholds of their own, and between them some without."""
    table = s.products()
    asked = [*np.quantile(table, [0.1, 0.75]), 0.0, -s.threshold, 2 * s.threshold]
    for threshold in asked:
        yield fired(s.points, threshold=_plain(threshold))
        yield data_of(s.neurons)
        yield data_of(s.neurons, threshold=_plain(threshold))
        yield fired(s.points)
    yield update(neurons := s.some(s.neurons), s.new(len(neurons)))
    yield from s.everything(_plain(asked[1]))
    yield from s.everything()


def _near(s: Scene) -> Calls:
    """Thresholds right above and right below products, outside of what a structure of the class may err."""
    table, size = s.products(), np.abs(s.data) @ np.abs(s.weights).T
    off = 8 * (s.data.shape[1] + 8) * s.unit
    for _ in range(6):
        i, j = int(s.rng.integers(len(s.data))), int(s.rng.integers(len(s.weights)))
        for sign in (-1.0, 1.0):
            threshold = float(table[i, j] + sign * off * (size[i, j] + abs(table[i, j])))
            yield fired([i], threshold=threshold)
            yield data_of([j], threshold=threshold)


def _undecided(s: Scene) -> Calls:
    """Thresholds at products, where either answer is right, and the same one when asked again."""
    table = s.products()
    for _ in range(4):
        i, j = int(s.rng.integers(len(s.data))), int(s.rng.integers(len(s.weights)))
        for _ in range(3):
            yield fired([i], threshold=float(np.float32(table[i, j])))


def _ties(s: Scene) -> Calls:
    """Thresholds that are products: with whole numbers they are ties, which do not fire."""
    table = s.products()
    yield from s.everything()
    for value in s.rng.permutation(np.unique(table))[:4].tolist():
        yield fired(s.points, threshold=value)
        yield data_of(s.neurons, threshold=value)


def _plain(threshold: float) -> float:
    """The threshold to six significant bits."""
    mantissa, exponent = np.frexp(threshold)
    return float(np.ldexp(np.rint(mantissa * 64), int(exponent) - 6))


#: name → script.
SCRIPTS: dict[str, Callable[[Scene], Calls]] = {
    "queries": _queries,
    "once": _once,
    "ends": _ends,
    "mixed": _mixed,
    "one-by-one": _one_by_one,
    "rounds": _rounds,
    "removals": _removals,
    "falls": _falls,
    "rises": _rises,
    "batches": _batches,
    "sides": _sides,
    "again": _again,
    "grows": _grows,
    "back": _back,
    "likenesses": _likenesses,
    "steps": _steps,
    "walk": _walk,
    "many": _many,
    "thresholds": _thresholds,
    "near": _near,
    "undecided": _undecided,
    "ties": _ties,
}
