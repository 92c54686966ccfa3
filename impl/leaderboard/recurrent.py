"""A selective state-space scan (Mamba's S6) as a stand-in: keys are written into a state, queries read it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from assay.impl.leaderboard.features import positive_features, projection

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["selective_scan", "state_space"]


def selective_scan(x: Array, delta: Array, decay: Array, write: Array, read: Array) -> Array:
    """(length, channels): y_t = h_t·read_t with h_t = e^(delta_t·decay)·h_{t−1} + delta_t·write_t·x_t.

    x, delta: (length, channels).  decay: (channels, N), negative.  write, read: (length, N).  h: (channels, N).
    Source: Gu and Dao 2023, Mamba, Algorithm 2 (B is write, C is read, A is decay).
    """
    state, output = np.zeros(decay.shape), np.empty(x.shape)
    for t in range(len(x)):
        step = delta[t][:, None]
        state = np.exp(step * decay) * state + step * x[t][:, None] * write[t]
        output[t] = state @ read[t]
    return output


def state_space(query: Array, key: Array, value: Array, *, scale: float, budget: int, seed: int) -> Array:
    """One layer with a state of ``budget`` numbers a channel; keys come first, then the queries.

    What the state of a token is written and read with are functions of the token: positive random features of keys and
    queries, the best that is known without training.  A key has delta 1 and a query 0, so queries read and do not
    write; the decays are −k/(N·m), so that memory lasts for about the m keys.  One more channel sums the weights.
    Source: Gu and Dao 2023, Mamba: Linear-Time Sequence Modeling with Selective State Spaces.
    """
    n, m, root = len(query), len(key), math.sqrt(abs(scale))
    rows = projection(budget, query.shape[1], seed)
    write = np.concatenate([positive_features(key * root, rows, keys=True), np.zeros((n, budget))])
    read = np.concatenate(
        [np.zeros((m, budget)), positive_features(query * math.copysign(root, scale), rows, keys=False)]
    )
    x = np.zeros((m + n, value.shape[1] + 1))
    x[:m] = np.concatenate([value, np.ones((m, 1))], axis=1)
    delta = np.zeros(x.shape)
    delta[:m] = 1.0
    decay = np.broadcast_to(-np.arange(1, budget + 1) / (budget * m), (x.shape[1], budget))
    sums = selective_scan(x, delta, decay, write, read)[m:]
    with np.errstate(divide="ignore", invalid="ignore"):
        output: Array = sums[:, :-1] / sums[:, -1:]
    return output
