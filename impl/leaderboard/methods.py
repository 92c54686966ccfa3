"""The methods of the leaderboard: a new one is one function and one line of :data:`METHODS`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu import attention
from assay.impl.cpu.features import rank
from assay.impl.leaderboard.compressed import linformer, nystrom
from assay.impl.leaderboard.features import efficient, linear, performer
from assay.impl.leaderboard.recurrent import state_space
from assay.impl.leaderboard.sparse import hashed, window
from assay.spec.approximation import Infeasible, of_least_degree
from assay.spec.attention.perturbation import weight_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["METHODS", "Method", "exact", "polynomial"]

_DECIDING = 0.15  # the error below which the instances of the leaderboard decode rightly (OV-4)


@dataclass(frozen=True)
class Method:
    """A method by name: its function, what its budget counts (empty: it has none), and its source."""

    name: str
    run: Callable[..., Any]
    budget: str
    source: str


def exact(query: Array, key: Array, value: Array, *, scale: float, budget: int, seed: int) -> Array:
    """Attention itself, in quadratic time: the other end of the table."""
    output: Array = attention.exact(query[None, None], key[None, None], value[None, None], scale)[0, 0]
    return output


def polynomial(query: Array, key: Array, value: Array, *, scale: float, budget: int, seed: int) -> Array | None:
    """The certified polynomial route within 0.15 of attention; it refuses where that needs a rank above ``budget``.

    Source: Alman and Song 2023, Fast Attention Requires Bounded Entries; ATT-3 of proofs_notes/attention.md.
    """
    centred = key - key.mean(axis=0)
    reach = abs(scale) * float(np.linalg.norm(query, axis=1).max() * np.linalg.norm(centred, axis=1).max())
    error = _DECIDING * (float(np.ptp(value)) or 1.0)
    try:
        degree = of_least_degree(lambda x: x.exp(), (-reach, reach), weight_error(_DECIDING)).degree
        if rank(query.shape[1], degree) > budget:
            return None
        found = attention.approximate(
            query[None, None], key[None, None], value[None, None], error, scale, fallback="raise"
        )
    except Infeasible:
        return None
    output: Array = found.value[0, 0]
    return output


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("exact", exact, "", "attention in quadratic time"),
        Method("performer", performer, "random features", "Choromanski et al. 2021"),
        Method("linear", linear, "", "Katharopoulos et al. 2020"),
        Method("efficient", efficient, "", "Shen et al. 2021"),
        Method("nystrom", nystrom, "landmarks", "Xiong et al. 2021"),
        Method("linformer", linformer, "projected keys", "Wang et al. 2020"),
        Method("window", window, "keys, 4 of them sinks", "Beltagy et al. 2020; Xiao et al. 2024"),
        Method("lsh", hashed, "keys in 4 rounds", "Kitaev et al. 2020"),
        Method("state-space", state_space, "state numbers", "Gu and Dao 2023"),
        Method("polynomial", polynomial, "rank", "Alman and Song 2023"),
    )
}
