"""Which structure serves: the one whose time is predicted to be the least, of those that fit the memory.

A wrong guess costs time only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu import costs
from assay.impl.cpu.firing_neurons import checks, products
from assay.impl.cpu.firing_neurons.table import Recomputed, Table
from assay.impl.cpu.firing_neurons.tree import CorrelationTree
from assay.spec.memory import half_of_memory
from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.impl.cpu.firing_neurons.structure import Structure

__all__ = ["predicted", "structure"]

_NEURONS, _POINTS = 4096, 64  # that are sampled


def structure(
    data: NDArray[Any], weights: NDArray[Any], *, threshold: float, queries: float = 1.0, updates: float = 1.0,
    rounds: float = 1000.0, memory: int | None = None, threads: int | None = None,
) -> Structure:  # fmt: skip
    """The structure that is predicted to be the fastest; its ``route`` says why.

    queries, updates: how many points are asked for and how many neurons are updated in a round.  rounds: how many
    rounds there will be.  memory: the most bytes of the structure (default: half of this machine's memory).

    Raises :class:`~assay.spec.problem.InvalidInstance` for bad input, and where not even the data and the weights fit.
    """
    checks.matrix(data, "data")
    checks.matrix(weights, "weights", data.shape[1], data.dtype.name)
    limit = checks.below(checks.number(threshold, "threshold"), checks.working(data))
    most = half_of_memory() if memory is None else checks.positive(memory, "memory")
    for name, value in (("queries", queries), ("updates", updates), ("rounds", rounds)):
        if checks.number(value, name) < 0.0:
            raise InvalidInstance(f"{name}: {value!r}, expected at least 0")
    fraction = sampled(data, weights, limit)
    (n, d), m = data.shape, len(weights)
    costs = predicted(n, m, d, fraction, queries=queries, updates=updates, rounds=rounds)
    dtype = checks.working(data)
    kinds: tuple[type[Structure], ...] = (CorrelationTree, Table, Recomputed)
    sizes = {kind: kind.size(n, m, d, dtype) * (1.04 if kind is CorrelationTree else 1.0) for kind in kinds}
    fitting = [kind for kind in kinds if sizes[kind] <= most]
    if not fitting:
        raise InvalidInstance(f"memory: {most} bytes, of which data and weights alone take {sizes[Recomputed]:.0f}")
    best = min(fitting, key=lambda kind: costs[kind.kind])
    made = best(data, weights, threshold=threshold, threads=threads)
    told = ", ".join(f"{kind.kind} {costs[kind.kind] / 1e3:.3g} µs" for kind in kinds)
    left = [kind.kind for kind in kinds if kind not in fitting]
    made.route = (
        f"{best.kind}: {fraction:.2g} of the pairs fire in a sample; predicted a round: {told}"
        + (f"; more than {most} bytes: {', '.join(left)}" if left else "")
    )  # fmt: skip
    return made


def sampled(data: NDArray[Any], weights: NDArray[Any], limit: Any) -> float:
    """The fraction of pairs that fire among some points and some neurons, rounded up by one pair."""
    rng = np.random.default_rng(0)
    dtype = checks.working(data)
    points = data[np.sort(rng.permutation(len(data))[:_POINTS])].astype(dtype)
    neurons = weights[np.sort(rng.permutation(len(weights))[:_NEURONS])].astype(dtype)
    fired = products.columns(points, neurons) > limit
    return float((fired.sum() + 1) / (fired.size + 1))


def predicted(
    n: int, m: int, d: int, fraction: float, *, queries: float, updates: float, rounds: float
) -> dict[str, float]:
    """Nanoseconds a round of each structure, the time to build it shared among all rounds."""
    of = costs.in_use(costs.FiringNeurons)
    found = fraction * m * of.found
    hot = m / 64 * (1.0 - (1.0 - fraction) ** 64)
    share, product = n * m / max(rounds, 1.0), d * of.product
    return {
        "tree": queries * (m / 64 * of.scanned + hot * of.block + found) + updates * n * (product + of.repaired)
        + share * (product + 2 * of.laid),
        "table": queries * (m * of.scanned + found) + updates * n * (product + of.stored) + share * (product + of.laid),
        "recomputed": queries * (m * (product + of.scanned) + found) + updates * d,
    }  # fmt: skip
