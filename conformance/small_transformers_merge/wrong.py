"""The weights of wrong merges, as log-sum-exps under which a right merge would come to the same.

Log-sum-exps are (parts, b, h, n), of float64, −∞ for a part without keys.  Nothing here judges.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["accumulated", "kept", "one_by_one", "since_empty", "unscaled", "until_empty"]


def kept(logs: Array, *parts: int) -> Array:
    """Those of the parts of these numbers; −∞ for all others."""
    made = np.full_like(logs, -np.inf)
    places = [part for part in parts if -len(logs) <= part < len(logs)]
    made[places] = logs[places]
    return made


def unscaled(logs: Array) -> Array:
    """Weights relative to the largest log-sum-exp up to their part, of sums that are never rescaled."""
    largest = np.maximum.accumulate(logs, axis=0)
    return np.where(logs == -np.inf, -np.inf, logs - np.where(np.isfinite(largest), largest, 0.0))


def since_empty(logs: Array) -> Array:
    """Without what comes before the last empty part."""
    empty = logs == -np.inf
    after = np.flip(np.cumsum(np.flip(empty, axis=0), axis=0), axis=0)
    return np.where(after > 0, -np.inf, logs)


def until_empty(logs: Array) -> Array:
    """Without what comes after the first empty part."""
    return np.where(np.cumsum(logs == -np.inf, axis=0) > 0, -np.inf, logs)


def one_by_one(
    share: Callable[[Array, Array], Array], update: Callable[[Array, Array], Array], logs: Array
) -> tuple[Array, Array]:
    """The weights of o ← o + p·(o_t − o) with p = σ(share(l_t, lse)), as logarithms, and lse ← update(lse, l_t).

    A part without keys changes nothing, and neither is o weighed as long as there is none that has some.
    """
    weights = np.zeros_like(logs)
    weights[0] = logs[0] != -np.inf
    lse = logs[0].copy()
    for t in range(1, len(logs)):
        some, before = np.isfinite(logs[t]), np.isfinite(lse)
        now, so_far = np.where(some & before, logs[t], 0.0), np.where(some & before, lse, 0.0)
        p = 1.0 / (1.0 + np.exp(-np.clip(share(now, so_far), -700.0, 700.0)))
        p = np.where(some & before, p, some)
        weights[:t] *= 1.0 - p
        weights[t] = p
        lse = np.where(some & before, update(so_far, now), np.where(some, logs[t], lse))
    with np.errstate(divide="ignore"):
        return np.log(weights), lse


def accumulated(outputs: Array, above: Array, below: Array, sink: Array) -> Array:
    """Σ e^(above_t) o_t / (Σ e^(below_t) + sink), for sums of which one is not rescaled; 0 where nothing is summed."""
    total = np.exp(below).sum(axis=0) + sink
    numerator = (np.exp(above)[..., None] * outputs).sum(axis=0)
    return np.where(total[..., None] > 0, numerator / np.where(total > 0, total, 1.0)[..., None], 0.0)
