"""The input of firing neurons: data, weights, a threshold, and a script of operations, all of it arrays.

Neuron r fires on data point i iff ⟨w_r, x_i⟩ > threshold; a tie does not fire.  A script is read step by step.  A step
sets the weights of one neuron, asks which neurons fire on one point, or asks on which points one neuron fires.  Steps
that are joined to the one before them make one call of a batch.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec.instance import Instance as AnyInstance
from assay.spec.instance import array, real

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Self

    from numpy.typing import NDArray

    from assay.spec.problem import Provenance

__all__ = ["DATA_OF", "FIRED", "UPDATE", "Call", "Instance", "data_of", "fired", "load", "update"]

#: What a step does, by its number in ``operations``.
UPDATE, FIRED, DATA_OF = 0, 1, 2

_METHODS = ("update", "fired", "data_of")
_SAID = 6  # calls that a description tells one by one


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a method of the structure.

    method: ``"update"``, ``"fired"`` or ``"data_of"``.
    operands: (k,) the neurons that are updated or asked for, or the points that are asked for; each at most once.
    weights: (k, d) the new weights of an update, else ``None``.
    threshold: what a query asks for in place of the threshold of the structure, else ``None``.
    """

    method: str
    operands: NDArray[np.int64]
    weights: NDArray[Any] | None = None
    threshold: float | None = None

    def __str__(self) -> str:
        what = "points" if self.method == "fired" else "neurons"
        listed = ", ".join(map(str, self.operands.tolist())) if len(self.operands) <= 4 else f"{len(self.operands)}"
        asked = "" if self.threshold is None else f" at threshold {self.threshold:.9g}"
        return f"{self.method.replace('_', ' ')} ({what} {listed}){asked}"


def update(neurons: Iterable[int], weights: Any) -> Call:
    """The call ``update(neurons, weights)``: neurons (k,), weights (k, d)."""
    return Call("update", _indices(neurons), np.asarray(weights))


def fired(points: Iterable[int], *, threshold: float | None = None) -> Call:
    """The call ``fired(points)``: which neurons fire on each of these points, (k, m)."""
    return Call("fired", _indices(points), threshold=threshold)


def data_of(neurons: Iterable[int], *, threshold: float | None = None) -> Call:
    """The call ``data_of(neurons)``: on which points each of these neurons fires, (k, n)."""
    return Call("data_of", _indices(neurons), threshold=threshold)


def _indices(operands: Iterable[int]) -> NDArray[np.int64]:
    return np.array(list(operands), dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Instance(AnyInstance):
    """Data, weights and what is done with them.  Numbers are exact as stored.

    data (n, d) and weights (m, d), of one dtype.  threshold: that of the structure.
    operations (steps,): :data:`UPDATE`, :data:`FIRED` or :data:`DATA_OF`.
    operands (steps,): a neuron, or for ``FIRED`` a point, modulo how many there are.
    new_weights (steps, d): what an update sets; what stands beside a query is not read.
    joined (steps,): whether a step belongs to the same call as the step before it.  A step of another operation, and
    one whose operand is in the call already, begin a call of their own all the same.
    thresholds (steps,): optional; what a query asks for in place of ``threshold``, NaN where it does not.  A call takes
    that of its first step.

    Every number of a script has a meaning, so that every part of an instance is an instance.  :meth:`of` makes one from
    calls, and :meth:`calls` reads it.  Raises :class:`~assay.spec.problem.InvalidInstance`, naming the argument.

    >>> script = [update([1], [[3.0]]), fired([0]), data_of([0, 1], threshold=-1.0)]
    >>> instance = Instance.of(np.array([[1.0], [-1.0]]), np.array([[0.5], [0.5]]), script, threshold=2.0)
    >>> print(instance.describe())
    points 2, dim 1, neurons 2, steps 4, float64, threshold 2: update (neurons 1); fired (points 0); data of (neurons \
0, 1) at threshold -1
    >>> instance.part(steps=[0, 2, 3], neurons=[1]).calls()[1].operands.tolist()
    [0]
    """

    problem = "firing_neurons"

    data: NDArray[Any] = array("points dim")
    weights: NDArray[Any] = array("neurons dim", like="data")
    operations: NDArray[Any] = array("steps", kind="whole")
    operands: NDArray[Any] = array("steps", kind="whole")
    new_weights: NDArray[Any] = array("steps dim", like="data")
    joined: NDArray[Any] = array("steps", kind="truth")
    threshold: float = real(0.0)
    thresholds: NDArray[Any] | None = array("steps", optional=True, values="any")

    def __post_init__(self) -> None:
        super().__post_init__()
        known = (self.operations >= UPDATE) & (self.operations <= DATA_OF)
        self._require(bool(known.all()), "operations", f"numbers from {UPDATE} to {DATA_OF}")
        if self.thresholds is not None:
            infinite = np.isinf(self.thresholds.astype(np.float64)).any()
            self._require(not infinite, "thresholds", "finite numbers, or NaN where none is asked for")

    @classmethod
    def of(
        cls,
        data: NDArray[Any],
        weights: NDArray[Any],
        calls: Iterable[Call],
        *,
        threshold: float = 0.0,
        provenance: Provenance | None = None,
    ) -> Self:
        """The instance whose :meth:`calls` are these; an operand that a call names twice begins another call."""
        calls = list(calls)
        counts = [len(call.operands) for call in calls]
        empty = np.zeros((0, *data.shape[1:]), data.dtype)
        rows = [
            np.zeros((count, *data.shape[1:]), data.dtype) if call.weights is None else call.weights.astype(data.dtype)
            for call, count in zip(calls, counts, strict=True)
        ]
        first = [np.arange(count) == 0 for count in counts]
        asked = [np.nan if call.threshold is None else call.threshold for call in calls]
        given = {} if provenance is None else {"provenance": provenance}
        return cls(
            data,
            weights,
            np.repeat(np.array([_METHODS.index(call.method) for call in calls], dtype=np.int64), counts),
            np.concatenate([np.zeros(0, np.int64), *(call.operands for call in calls)]),
            np.concatenate([empty, *rows]),
            ~np.concatenate([np.zeros(0, bool), *first]),
            threshold,
            None if np.isnan(asked).all() else np.repeat(asked, counts),
            **given,
        )

    def calls(self) -> tuple[Call, ...]:
        """The calls of the script, in order."""
        return self._calls

    @functools.cached_property
    def _calls(self) -> tuple[Call, ...]:
        lengths = (len(self.weights), len(self.data), len(self.weights))
        found: list[tuple[int, list[int], list[int]]] = []  # operation, steps, operands
        for step, (operation, number) in enumerate(zip(self.operations.tolist(), self.operands.tolist(), strict=True)):
            operand = number % lengths[operation]
            if found and self.joined[step] and found[-1][0] == operation and operand not in found[-1][2]:
                found[-1][1].append(step)
                found[-1][2].append(operand)
            else:
                found.append((operation, [step], [operand]))
        return tuple(
            Call(
                _METHODS[operation],
                np.array(operands, dtype=np.int64),
                self.new_weights[steps] if operation == UPDATE else None,
                self._asked(steps[0]) if operation != UPDATE else None,
            )
            for operation, steps, operands in found
        )

    def _asked(self, step: int) -> float | None:
        """The threshold that a query asks for at a step, if it does."""
        asked = np.nan if self.thresholds is None else float(self.thresholds[step])
        return None if np.isnan(asked) else asked

    def spanned(self) -> int:
        """The margins of every query, and the weights as every update leaves them."""
        (m, d), n = self.weights.shape, len(self.data)
        calls = self.calls()
        asked = [call for call in calls if call.weights is None]
        margins = sum(len(call.operands) * (m if call.method == "fired" else n) for call in asked)
        return int(super().spanned() + margins + m * d * (len(calls) - len(asked)))

    def smaller(self) -> Iterator[Self]:
        """Without a run of steps anywhere in the script, the longest first; then as of every instance."""
        steps = len(self.operations)
        length = steps // 2
        while length:
            for start in range(0, steps, length):
                kept = [*range(start), *range(start + length, steps)]
                if kept:
                    yield self.part(steps=kept)
            length //= 2
        yield from super().smaller()

    def describe(self) -> str:
        """Lengths, type and threshold, and the calls where there are few, in one line."""
        words = [f"{axis} {length}" for axis, length in self.lengths().items()]
        words += [self.data.dtype.name, f"threshold {self.threshold:.9g}"]
        calls = self.calls()
        told = "; ".join(map(str, calls)) if len(calls) <= _SAID else f"{len(calls)} calls"
        return f"{', '.join(words)}: {told}"


load = Instance.load
