"""What the structures of a GPU have in common: data and weights on the device, changes of weights, and queries.

There is no tree as on the CPU: a scan of a row is one pass of a card's memory, and the walk of a tree would be many
small ones, each of which waits for the one before.
"""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.certified import Certified
from assay.impl.cpu.firing_neurons import checks, products
from assay.impl.cpu.firing_neurons.structure import Firing
from assay.impl.gpu.attention.tile import ROWS, THREADS
from assay.impl.gpu.machine import Launch, card, struct, view
from assay.spec.problem import InvalidInstance
from assay.spec.rounding import gamma

if TYPE_CHECKING:
    from assay.impl.gpu.machine import Machine

__all__ = ["Structure"]

_SOURCE = "firing_neurons/table.cu"
_WARP, _WIDE = 32, 4096  # as in table.cu
_SHARED = 2 * ROWS * 36  # numbers in shared memory of products: two factors
_COUNTED = 4 * (THREADS // _WARP)  # bytes of other kernels: a number for each warp
_NOWHERE = (0, 0, 0, 0, 0)


class Structure(abc.ABC):
    """Neurons (m, d) over points (n, d), in the memory of the current device.  Not safe for two threads at a time.

    data, weights: arrays of CuPy, or of any library with DLPack, of one type, of float64, float32, float16 or
    bfloat16; they are copied.  Correlations are computed in float64 for float64 and in float32 otherwise, by sums in
    the order of the coordinates: a pair has the same bits whatever it is asked with.  threshold: b, which is not
    rounded (FIRE-1).  machine: where arrays lie and kernels run, the current CUDA device unless given.

    Calls join the current stream and wait for nothing, but for what their docstring names.  So numbers on the device
    are not looked at: numbers of points and neurons that are not there fire nowhere and change nothing in a
    :class:`Table`, and of a neuron that is named twice in one update the last weights count.  Weights and data that are
    not finite give undefined answers.

    Raises :class:`~assay.spec.problem.InvalidInstance` for shapes, types and a threshold that do not fit, naming the
    argument, and ``ImportError`` where CuPy is not installed.
    """

    kind: str

    def __init__(self, data: Any, weights: Any, *, threshold: float, machine: Machine | None = None) -> None:
        self.machine = card() if machine is None else machine
        data, weights = self.machine.given(data), self.machine.given(weights)
        checks.shaped(data, "data")
        checks.shaped(weights, "weights", data.shape[1], data.dtype.name)
        self.type, self.dtype = data.dtype.name, checks.working(data)
        self.threshold = checks.number(threshold, "threshold")
        self._usual = checks.below(self.threshold, self.dtype)
        (self.points, self.dim), self.neurons = data.shape, weights.shape[0]
        #: The points (n, d) and the neurons' weights (m, d) as they are now: to be read.
        self.data, self.weights = data.copy(), self.machine.empty(weights.shape, weights.dtype)
        self._norms = self.machine.empty((self.points,), np.float64)
        self._weight_norms = self.machine.empty((self.neurons,), np.float64)
        self._turns, self._turn = self.machine.laid(np.zeros(self.neurons, np.int64)), 1
        self._take(self.data, self.points, None, self._norms, {})
        self._take(weights, self.neurons, self.weights, self._weight_norms, {})
        self._prepare()

    @abc.abstractmethod
    def _prepare(self) -> None:
        """Keep all correlations."""

    @abc.abstractmethod
    def _changed(self, weights: Any, named: dict[str, Any]) -> None:
        """Take the correlations of new weights (k, d); named: of which neurons, as members of the struct."""

    @abc.abstractmethod
    def _rows(self, items: Any, *, of_points: bool) -> tuple[Any, Any]:
        """A table (n or more, columns) of correlations, any strides, and the rows of it that are those of items."""

    def fired(self, points: Any, *, threshold: float | None = None) -> Any:
        """(len(points), m): which neurons fire on each of some points.

        points: integers, any number of times.  threshold: of this query alone.
        """
        return self._fired(self._ids(points, "points"), self._below(threshold), of_points=True)

    def data_of(self, neurons: Any, *, threshold: float | None = None) -> Any:
        """(len(neurons), n): on which points each of some neurons fires."""
        return self._fired(self._ids(neurons, "neurons"), self._below(threshold), of_points=False)

    def firing(self, points: Any, *, threshold: float | None = None) -> Firing:
        """What :meth:`fired` says as lists of neurons, in arrays of the device.

        The call waits for one number: how long the lists are.
        """
        return self._firing(self._ids(points, "points"), self._below(threshold), of_points=True)

    def firing_data(self, neurons: Any, *, threshold: float | None = None) -> Firing:
        """What :meth:`data_of` says as lists of points; it waits as :meth:`firing` does."""
        return self._firing(self._ids(neurons, "neurons"), self._below(threshold), of_points=False)

    def correlations(self, points: Any) -> Certified:
        """The computed correlations (k, m) of some points, and bounds of their errors (GPU-7).

        Where the threshold is farther away than the error, the neuron's answer is the one of exact arithmetic.  A bound
        is infinite where a sum of products may leave the range of its type.
        """
        which = self._ids(points, "points")
        table, items = self._rows(which, of_points=True)
        shape = (len(which), self.neurons)
        value, error = self.machine.empty(shape, self.dtype), self.machine.empty(shape, np.float64)
        if len(which):
            kind, rate = np.finfo(self.dtype), float(gamma(self.dim, products.unit(self.dtype)))
            # rows of a table of the asked points alone have other numbers than the points
            norms = self._norms if items is which else self._norms[which]
            arguments = self._asked(
                table, items, values=self.machine.address(value), out=self.machine.address(error),
                norms=self.machine.address(norms), others=self.machine.address(self._weight_norms),
                relative=rate,
                absolute=self.dim * float(kind.smallest_subnormal) / 2.0 * (1.0 + rate) + 2.0**-1073,
                most=float(kind.max) / 2.0,
            )  # fmt: skip
            self._run(f"look_up_{self.dtype.name}", arguments, len(which) * self._parts(table))
        return Certified(value, error, f"{self.kind}: products in the order of the coordinates, on the device")

    def update(self, neurons: Any, weights: Any) -> None:
        """Give neurons (k,) the new weights (k, d), of the type of the old ones.

        Correlations are computed afresh, in n·d operations a neuron: nothing drifts.
        """
        which = self._ids(neurons, "neurons")
        new = self.machine.given(weights)
        checks.shaped(new, "weights", self.dim, self.type)
        if new.shape[0] != len(which):
            raise InvalidInstance(f"weights: {new.shape[0]} rows, expected {len(which)}, one for each of neurons")
        new = new.copy()  # it may be a part of the weights that are replaced
        named = {
            "neurons": self.machine.address(which), "turns": self.machine.address(self._turns), "turn": self._turn,
            "columns": len(which), "total": self.neurons,
        }  # fmt: skip
        self._turn += len(which)
        self._run("name_neurons", self._arguments(**named), -(-len(which) // THREADS))
        self._take(new, len(which), self.weights, self._weight_norms, named)
        self._changed(new, named)

    def _fired(self, items: Any, limit: Any, *, of_points: bool) -> Any:
        table, rows = self._rows(items, of_points=of_points)
        out = self.machine.empty((len(items), table.shape[1]), np.bool_)
        if len(items):
            arguments = self._asked(table, rows, out=self.machine.address(out), limit=float(limit))
            self._run(f"compare_{self.dtype.name}", arguments, len(items) * self._parts(table))
        return out

    def _firing(self, items: Any, limit: Any, *, of_points: bool) -> Firing:
        table, rows = self._rows(items, of_points=of_points)
        parts, machine = self._parts(table), self.machine
        starts = machine.laid(np.zeros(len(items) * parts + 1, np.int64))
        total = 0
        if len(items):
            members = {"limit": float(limit), "starts": machine.address(starts)}
            arguments = self._asked(table, rows, **members)
            self._run(f"count_{self.dtype.name}", arguments, len(items) * parts)
            starts = starts.cumsum()
            total = machine.largest(starts)
        ids, values = machine.empty((total,), np.int64), machine.empty((total,), self.dtype)
        if total:
            members |= {"starts": machine.address(starts)}
            arguments = self._asked(table, rows, ids=machine.address(ids), values=machine.address(values), **members)
            self._run(f"collect_{self.dtype.name}", arguments, len(items) * parts)
        return Firing(starts[::parts].copy(), ids, values)

    def _ids(self, given: Any, name: str) -> Any:
        """``given`` as integers (k,) of 64 bits; k may be 0."""
        found = self.machine.given(given)
        if found.ndim != 1:
            raise InvalidInstance(f"{name}: shape {found.shape}, expected one axis")
        if found.dtype.kind not in "iu":
            raise InvalidInstance(f"{name}: {found.dtype.name}, expected integers")
        return found.astype(np.int64)  # a copy: contiguous

    def _below(self, threshold: float | None) -> Any:
        if threshold is None:
            return self._usual
        return checks.below(checks.number(threshold, "threshold"), self.dtype)

    @staticmethod
    def _parts(table: Any) -> int:
        return -(-int(table.shape[1]) // _WIDE)

    def _asked(self, table: Any, items: Any, **members: Any) -> Any:
        """What the kernels are told that read some rows of a table."""
        rows, columns = table.shape
        return self._arguments(
            table=view(self.machine, table, (1, 1, rows, columns)), items=self.machine.address(items), rows=rows,
            columns=columns, count=len(items), parts=self._parts(table), **members,
        )  # fmt: skip

    def _products(self, left: Any, right: Any, **members: Any) -> tuple[Any, int]:
        """What the kernels are told that multiply rows, and how many blocks they have."""
        (rows, dim), columns = left.shape, right.shape[0]
        arguments = self._arguments(**{
            "left": view(self.machine, left, (1, 1, rows, dim)),
            "right": view(self.machine, right, (1, 1, columns, dim)),
            "rows": rows, "columns": columns, "dim": dim, **members,
        })  # fmt: skip
        return arguments, -(-rows // ROWS) * -(-columns // ROWS)

    def _take(self, given: Any, rows: int, kept: Any, norms: Any, named: dict[str, Any]) -> None:
        """Bound the norms of some rows, and copy them where they are kept."""
        arguments = self._arguments(**{
            "right": view(self.machine, given, (1, 1, rows, self.dim)), "columns": rows, "dim": self.dim,
            "out": 0 if kept is None else self.machine.address(kept), "norms": self.machine.address(norms), **named,
        })  # fmt: skip
        self._run(f"take_{self.type}", arguments, -(-rows // (THREADS // _WARP)))

    def _arguments(self, **members: Any) -> Any:
        """The struct of ``table.cu``, whose members are 0 where they are not given."""
        places = dict.fromkeys(("left", "right", "table"), _NOWHERE)
        words = ("items", "neurons", "turns", "out", "norms", "others", "starts", "ids", "values")
        sizes = ("rows", "columns", "dim", "count", "parts", "turn", "total")
        reals = dict.fromkeys(("limit", "relative", "absolute", "most"), 0.0)
        return struct(**{**places, **dict.fromkeys(words, 0), **dict.fromkeys(sizes, 0), **reals, **members})

    def _run(self, kernel: str, arguments: Any, blocks: int, shared: int = _COUNTED) -> None:
        if blocks:
            self.machine.run(_SOURCE, kernel, arguments, Launch(blocks, THREADS, shared))

    def _multiply(self, arguments: Any, blocks: int) -> None:
        self._run(f"multiply_{self.type}", arguments, blocks, _SHARED * self.dtype.itemsize)
