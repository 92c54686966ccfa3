"""What all structures have in common: data and weights, changes of weights, and what is kept of every neuron.

A structure answers which neurons fire on some points, and on which points some neurons fire: ⟨w_r, x_i⟩ > b, where a
tie does not fire.  It compares computed correlations ĉ_ri, exactly.  Every change is checked and computed in full
before anything is touched, and put in place by one call that cannot fail.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from assay.impl.cpu import threads as cpus
from assay.impl.cpu.certified import Certified
from assay.impl.cpu.firing_neurons import checks, files, products
from assay.spec.floating_point import require_usual
from assay.spec.memory import require_memory
from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    Ids = NDArray[np.int64]

__all__ = ["Change", "Firing", "Structure", "held"]


@dataclass(frozen=True, eq=False)
class Firing:
    """Lists of what fires: ``ids[starts[k] : starts[k + 1]]`` belong to item k, ascending, with their correlations."""

    starts: NDArray[np.int64]
    ids: NDArray[np.int64]
    values: NDArray[Any]


@dataclass(frozen=True, eq=False)
class Change:
    """New weights of some ascending neurons, computed in full and not yet in place.

    columns (k, n): their correlations.  moves (k,) and errors (k, 2): what is kept of them.
    """

    neurons: NDArray[np.int64]
    weights: NDArray[Any]
    columns: NDArray[Any]
    moves: NDArray[np.int64]
    errors: NDArray[np.float64]


class Structure(abc.ABC):
    """Neurons (m, d) over points (n, d).  Not safe for two threads at a time.

    data, weights: arrays of one type, of float64, float32, float16 or bfloat16; they are copied.  Correlations are
    computed in float64 for float64 and in float32 otherwise.  threshold: b.  refresh: after how many calls of
    :meth:`move` a neuron's correlations are computed afresh, d unless given (FIRE-5).  threads: the most threads of a
    query of many items (default: the CPUs of this process); answers do not depend on their number.

    Raises :class:`~assay.spec.problem.InvalidInstance`, a ``ValueError``, for bad input, naming the argument, and for
    what takes more than half of this machine's memory, before it is allocated.
    """

    kind: str  # the name of the structure in a file
    keeps: bool = True  # whether it keeps correlations
    route: str = ""  # why it was chosen, where :func:`structure` chose it

    def __init__(
        self, data: NDArray[Any], weights: NDArray[Any], *, threshold: float, refresh: int | None = None,
        threads: int | None = None,
    ) -> None:  # fmt: skip
        require_usual()
        checks.matrix(data, "data")
        checks.matrix(weights, "weights", data.shape[1], data.dtype.name)
        self.threshold = checks.number(threshold, "threshold")
        self.refresh = checks.positive(data.shape[1] if refresh is None else refresh, "refresh")
        self.threads = cpus.available() if threads is None else checks.positive(threads, "threads")
        self.type = data.dtype.name
        self.dtype = checks.working(data)
        self._usual = checks.below(self.threshold, self.dtype)
        self.points, self.dim = data.shape
        self.neurons = len(weights)
        require_memory(self.size(self.points, self.neurons, self.dim, self.dtype), f"{type(self).__name__}")
        #: The points (n, d), bounds of their norms (n,), and the neurons' weights (m, d) as they are now: to be read.
        self.data = np.array(data, self.dtype, order="C")
        self.weights = np.array(weights, self.dtype, order="C")
        self.norms = products.norms(self.data)
        self._moves = np.zeros(self.neurons, np.int64)
        self._errors = self._fresh(self.weights)
        self._gram: NDArray[Any] | None = None
        self._prepare(products.tiles(self.data, self.weights))

    @staticmethod
    @abc.abstractmethod
    def size(points: int, neurons: int, dim: int, dtype: np.dtype[Any]) -> int:
        """The bytes that a structure holds, :meth:`move`'s products of points apart."""

    @abc.abstractmethod
    def _prepare(self, tiles: Iterator[tuple[int, int, NDArray[Any]]]) -> None:
        """Keep all correlations: of every tile the first point, the first neuron, and a tile (points, neurons)."""

    @abc.abstractmethod
    def _put(self, change: Change) -> None:
        """Put a change in place.  It cannot fail, and nothing comes between its parts."""

    @abc.abstractmethod
    def _columns(self, neurons: Ids) -> NDArray[Any]:
        """(k, n): the correlations of some neurons."""

    @abc.abstractmethod
    def _rows(self, points: Ids) -> NDArray[Any]:
        """(k, m): the correlations of some points."""

    @abc.abstractmethod
    def _fired(self, items: Ids, threshold: Any, *, of_points: bool) -> NDArray[np.bool_]:
        """What fires on points, or on what neurons fire."""

    @abc.abstractmethod
    def _firing(self, items: Ids, threshold: Any, *, of_points: bool) -> Firing:
        """The same as lists."""

    def fired(self, points: Any, *, threshold: float | None = None) -> NDArray[np.bool_]:
        """(len(points), m): which neurons fire on each of some points.

        points: numbers of points, any number of times.  threshold: of this query alone.
        """
        return self._fired(checks.ids(points, "points", self.points), self._below(threshold), of_points=True)

    def data_of(self, neurons: Any, *, threshold: float | None = None) -> NDArray[np.bool_]:
        """(len(neurons), n): on which points each of some neurons fires."""
        return self._fired(checks.ids(neurons, "neurons", self.neurons), self._below(threshold), of_points=False)

    def firing(self, points: Any, *, threshold: float | None = None) -> Firing:
        """What :meth:`fired` says as lists of neurons, in time that does not grow with m where few fire."""
        return self._firing(checks.ids(points, "points", self.points), self._below(threshold), of_points=True)

    def firing_data(self, neurons: Any, *, threshold: float | None = None) -> Firing:
        """What :meth:`data_of` says as lists of points."""
        return self._firing(checks.ids(neurons, "neurons", self.neurons), self._below(threshold), of_points=False)

    def update(self, neurons: Any, weights: NDArray[Any]) -> None:
        """Give neurons (k,), each at most once, the new weights (k, d), of the type of the old ones.

        The correlations are computed afresh by one product, and only maxima above them are repaired.  Where anything is
        wrong, the structure stays as it was.
        """
        self._put(self.prepared(neurons, weights))

    def prepared(self, neurons: Any, weights: NDArray[Any]) -> Change:
        """What :meth:`update` puts in place, checked and computed."""
        require_usual()
        which = checks.unique_ids(neurons, "neurons", self.neurons)
        checks.matrix(weights, "weights", self.dim, self.type)
        if len(weights) != len(which):
            raise InvalidInstance(f"weights: {len(weights)} rows, expected {len(which)}, one for each of neurons")
        return self._change(which, weights.astype(self.dtype, order="C"))

    def _change(self, which: Ids, weights: NDArray[Any]) -> Change:
        """The change to valid new weights."""
        order = np.argsort(which)
        which, weights = which[order], np.ascontiguousarray(weights[order])
        columns = products.columns(self.data, weights)
        return Change(which, weights, columns, np.zeros(len(which), np.int64), self._fresh(weights))

    def move(self, neurons: Any, coefficients: NDArray[Any], points: Any) -> None:
        """Move weights along points: w_r ← w_r + Σ_j α_rj x_j for α = ``coefficients`` (k, q) and points j (q,).

        Coefficients are rounded to the type of correlations, whatever theirs is.
        This is a step of gradient descent.  With q < d ≤ n ≤ m it takes n·q operations a neuron in place of n·d,
        through the products of all points, which are computed once.  The drift is bounded (:meth:`correlations`) and a
        neuron's correlations are computed afresh at its ``refresh``-th move, which costs n·d/refresh a move.
        """
        require_usual()
        which = checks.unique_ids(neurons, "neurons", self.neurons)
        along = checks.ids(points, "points", self.points)
        checks.matrix(coefficients, "coefficients", len(along))
        if len(coefficients) != len(which):
            raise InvalidInstance(f"coefficients: {len(coefficients)} rows, expected {len(which)}")
        order = np.argsort(which)
        which = which[order]
        with np.errstate(over="ignore", invalid="ignore"):
            alpha = coefficients[order].astype(self.dtype)
            weights = self.weights[which] + alpha @ self.data[along]
        if not (np.isfinite(alpha).all() and np.isfinite(weights).all()):
            raise InvalidInstance(f"coefficients: they lead to weights beyond the range of {self.dtype.name}")
        self._put(self._moved(which, weights, alpha, along))

    def _moved(self, which: Ids, weights: NDArray[Any], alpha: NDArray[Any], along: Ids) -> Change:
        moves = self._moves[which] + 1
        due = moves >= self.refresh
        beyond = not self.norms.max() ** 2 < float(np.finfo(self.dtype).max) / 2.0  # of the products of points
        if not (len(along) < self.dim <= self.points <= self.neurons) or beyond or due.all():
            return self._change(which, weights)
        if self._gram is None:
            require_memory(self.points * self.points * self.dtype.itemsize, "the products of all points")
            self._gram = products.columns(self.data, self.data)
        with np.errstate(over="ignore", invalid="ignore"):
            columns = self._columns(which) + alpha @ self._gram[along]
            due |= ~np.isfinite(columns).all(axis=1)
            sizes = np.abs(alpha).astype(np.float64)
            errors = products.move_errors(
                self._errors[which], products.norms(self.weights[which]), products.norms(weights),
                sizes @ self.norms[along], sizes.sum(axis=1), len(along), self.dim, self.dtype,
            )  # fmt: skip
        fresh = np.flatnonzero(due)
        if len(fresh):
            columns[fresh] = products.columns(self.data, weights[fresh])
            errors[fresh] = self._fresh(weights[fresh])
            moves[fresh] = 0
        return Change(which, weights, columns, moves, errors)

    def correlations(self, points: Any) -> Certified:
        """The computed correlations (k, m) of some points, and bounds of their errors (FIRE-4, FIRE-5).

        Where the threshold is farther away than the error, the neuron's answer is the one of exact arithmetic.
        """
        which = checks.ids(points, "points", self.points)
        with np.errstate(over="ignore", invalid="ignore"):
            error = self.norms[which, None] * self._errors[:, 0] + self._errors[:, 1]
        error = np.nextafter(np.where(np.isnan(error), np.inf, error), np.inf)  # 0 times ∞ says nothing
        return Certified(
            self._rows(which), error, f"{self.kind}: at most {int(self._moves.max())} moves since a product"
        )

    def nbytes(self) -> int:
        """The bytes that the structure holds now."""
        gram = 0 if self._gram is None else self._gram.nbytes
        return self.size(self.points, self.neurons, self.dim, self.dtype) + gram

    def save(self, path: str | Path) -> None:
        """Write the structure to a file that :meth:`load` reads."""
        files.write(path, self)

    @classmethod
    def load(cls, path: str | Path, *, threads: int | None = None) -> Self:
        """The structure that :meth:`save` wrote: the same answers, bit for bit, on any machine.

        Raises :class:`~assay.spec.problem.InvalidInstance` for a file that holds no such structure, that is damaged, or
        whose correlations are not those of its data and weights within their bounds.  Maxima are never read.
        """
        return files.read(path, cls, threads)

    def settings(self) -> dict[str, Any]:
        """The keywords that make a structure like this one, ``threads`` apart."""
        return {"threshold": self.threshold, "refresh": self.refresh}

    def kept(self) -> dict[str, NDArray[Any]]:
        """What is kept of every neuron: its moves since its last product, (m,), and the bound of its errors, (m, 2)."""
        return {"moves": self._moves, "errors": self._errors}

    def keep(self, moves: NDArray[np.int64], errors: NDArray[np.float64]) -> None:
        """Take what :meth:`kept` gave of a structure with the same weights."""
        self._moves, self._errors = np.array(moves), np.array(errors, order="C")

    def restore(self, tiles: Iterator[tuple[int, int, NDArray[Any]]]) -> None:
        """Take correlations of a structure with the same data and weights: tiles whose places are multiples of 64."""
        self._prepare(tiles)

    def _below(self, threshold: float | None) -> Any:
        if threshold is None:
            return self._usual
        return checks.below(checks.number(threshold, "threshold"), self.dtype)

    def _fresh(self, weights: NDArray[Any]) -> NDArray[np.float64]:
        return products.fresh_errors(products.norms(weights), float(self.norms.max()), self.dim, self.dtype)


def held(points: int, neurons: int, dim: int, dtype: np.dtype[Any]) -> int:
    """The bytes of data, weights, norms, and of what is kept of every neuron."""
    return int((points + neurons) * dim * dtype.itemsize + 8 * points + 24 * neurons)
