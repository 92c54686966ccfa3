"""What kernels of wrong meanings compute, in float64: other distances, weights, diagonals, degrees and sums."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assay.conformance.kernel_graph.combinations import squares
from assay.spec.criterion import close
from assay.spec.enclosure import Enclosure

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from assay.spec.criterion import Criterion
    from assay.spec.kernel_graph import Instance

    Array = NDArray[np.float64]
    Criteria = Mapping[str, Criterion]
    Right = Callable[[Instance], Criteria | None]

__all__ = ["Sums", "dense", "outputs", "values", "wrong"]

_FACTOR = 8.0  # times what a right kernel may err, relative to the sums of sizes: other weights err otherwise
_MOST = 0.02  # of the sums of sizes: a looser criterion would explain anything


@dataclass(frozen=True, eq=False)
class Sums:
    """What an output is made of: weights off the diagonal, the diagonal of a graph, vectors, degrees of a Laplacian.

    degrees: ``None`` where it is no Laplacian.
    """

    weights: Array
    diagonal: Array
    vectors: Array
    degrees: Array | None = None

    def output(self) -> Array:
        made = self.weights @ self.vectors
        if self.degrees is not None:
            made = self.degrees[:, None] * self.vectors - made
        return made + self.diagonal[:, None] * self.vectors if len(self.diagonal) else made

    def sizes(self) -> Array:
        """The sums of the sizes of all terms."""
        made = np.abs(self.weights) @ np.abs(self.vectors)
        own = np.zeros(len(made)) if not len(self.diagonal) else np.abs(self.diagonal)
        if self.degrees is not None:
            own = own + np.abs(self.degrees)
        return made + own[:, None] * np.abs(self.vectors) if own.any() else made


def values(instance: Instance, z: Array) -> Array:
    """f of distances, 0 where it is not finite."""
    with np.errstate(all="ignore"):
        w = instance.weight()(z)
    return np.where(np.isfinite(w), w, 0.0)


def dense(instance: Instance, weights: Array | None = None) -> Sums:
    """The sums of an instance with these weights of all pairs, or the right ones."""
    w = values(instance, squares(instance)) if weights is None else np.array(weights)
    v = instance.vectors.astype(np.float64)
    if instance.targets is not None:
        return Sums(w, np.zeros(0), v)
    np.fill_diagonal(w, 0.0)
    degrees = w.sum(axis=1) if instance.laplacian else None
    return Sums(w, np.full(len(w), instance.diagonal), v, degrees)


def outputs(made: Callable[[Instance], tuple[Array, Array] | None]) -> Callable[[Instance, Right], Criteria | None]:
    """The meaning of a kernel whose output is this; made(instance): the output, and the sums of the sizes of its terms.

    What a right kernel may err relative to these sums, the wrong one may as well, and some times as much.
    """

    def criteria(instance: Instance, right: Right) -> Criteria | None:
        proper, found = right(instance), made(instance)
        if proper is None or found is None:
            return None
        output, sizes = found
        held = proper["output"]
        if output.shape != held.allowed.shape or not np.isfinite(output).all():
            return None
        own = dense(instance).sizes()
        with np.errstate(all="ignore"):
            shares = np.where(own > 0, held.allowed / own, 0.0)
        share = min(float(np.max(shares, where=np.isfinite(shares), initial=0.0)), _MOST)
        room = _FACTOR * share * sizes + np.where(np.isfinite(held.allowed), np.minimum(held.allowed, _MOST * own), 0.0)
        return {"output": close(Enclosure(output, 2.0**-46 * sizes), room)}

    return criteria


def wrong(change: Callable[[Instance], Sums | None]) -> Callable[[Instance, Right], Criteria | None]:
    """The meaning of a kernel that has these sums; ``None`` where they are as they should be."""

    def made(instance: Instance) -> tuple[Array, Array] | None:
        with np.errstate(all="ignore"):
            sums = change(instance)
            return None if sums is None else (sums.output(), sums.sizes())

    return outputs(made)
