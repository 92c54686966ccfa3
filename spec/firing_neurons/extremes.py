"""The two ends of the trade-off between updates and queries (FN-9), as structures, and what they cost.

:class:`Lazy` computes nothing before it is asked; :class:`Eager` knows every answer before it is asked.  Both compute
correlations from the weights as they are.  ``multiplications`` counts what was multiplied since the structure was made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["Eager", "Lazy"]


class Lazy:
    """An update stores d numbers; a query of one neuron multiplies n·d, and of one point m·d.

    data (n, d), weights (m, d), of one floating dtype, in which products are computed.
    """

    def __init__(self, data: NDArray[Any], weights: NDArray[Any], *, threshold: float) -> None:
        self.data, self.weights, self.threshold = data.copy(), weights.copy(), threshold
        self.multiplications = 0

    def update(self, neurons: ArrayLike, weights: ArrayLike) -> None:
        """Give neurons (k,) the weights (k, d)."""
        self.weights[np.asarray(neurons)] = weights

    def fired(self, points: ArrayLike, *, threshold: float | None = None) -> NDArray[np.bool_]:
        """Which neurons fire on each of the points (k,): (k, m)."""
        return self._above(self.data[np.asarray(points)], self.weights, threshold)

    def data_of(self, neurons: ArrayLike, *, threshold: float | None = None) -> NDArray[np.bool_]:
        """On which points each of the neurons (k,) fires: (k, n)."""
        return self._above(self.weights[np.asarray(neurons)], self.data, threshold)

    def _above(self, rows: NDArray[Any], columns: NDArray[Any], threshold: float | None) -> NDArray[np.bool_]:
        self.multiplications += len(rows) * columns.size
        return np.asarray(rows @ columns.T > (self.threshold if threshold is None else threshold))


class Eager:
    """An update of one neuron multiplies n·d; a query of one neuron reads off the list of its |F| points.

    data (n, d), weights (m, d), of one floating dtype.  The structure keeps the sorted points of every neuron, and so
    has one threshold.  ``points_of`` is the query in the form in which it costs O(1 + |F|).
    """

    def __init__(self, data: NDArray[Any], weights: NDArray[Any], *, threshold: float) -> None:
        self.data, self.threshold = data.copy(), threshold
        self.firing: list[NDArray[np.intp]] = []
        self.multiplications = weights.size * len(data)
        for row in weights @ data.T > threshold:
            self.firing.append(np.flatnonzero(row))

    def update(self, neurons: ArrayLike, weights: ArrayLike) -> None:
        """Give neurons (k,) the weights (k, d)."""
        rows = np.asarray(weights, dtype=self.data.dtype)
        self.multiplications += rows.size * len(self.data)
        for neuron, row in zip(np.asarray(neurons).tolist(), rows @ self.data.T > self.threshold, strict=True):
            self.firing[neuron] = np.flatnonzero(row)

    def points_of(self, neuron: int) -> NDArray[np.intp]:
        """The points on which a neuron fires, sorted; nothing is computed."""
        return self.firing[neuron]

    def data_of(self, neurons: ArrayLike) -> NDArray[np.bool_]:
        """On which points each of the neurons (k,) fires: (k, n)."""
        asked = np.asarray(neurons).tolist()
        answer = np.zeros((len(asked), len(self.data)), dtype=bool)
        for row, neuron in zip(answer, asked, strict=True):
            row[self.points_of(neuron)] = True
        return answer

    def fired(self, points: ArrayLike) -> NDArray[np.bool_]:
        """Which neurons fire on each of the points (k,): (k, m)."""
        return self.data_of(range(len(self.firing)))[:, np.asarray(points)].T
