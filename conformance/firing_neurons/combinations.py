"""The sizes that structures limit, the factors of which every pair of values is tried, and what a failure may be of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from assay.conformance.firing_neurons.options import sizes
from assay.conformance.interface.covering import Covering, Factor, length
from assay.conformance.interface.lengths import Axes
from assay.conformance.interface.suite import Row

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from assay.spec.firing_neurons import Instance

__all__ = ["AXES", "COVERING", "FEATURES"]

#: Axes by the name under which a structure declares their lengths.
AXES: dict[str, Axes] = {
    "dim": Axes(("dim",), (16, 8, 32, 64, 128, 4)),
    "neurons": Axes(("neurons",), (64, 16, 128, 256, 8), multiples=True),
    "points": Axes(("points",), (64, 16, 128, 8), multiples=True),
}

_ASKED = {"thresholds": "fired_threshold"}
_FACTORS = (
    Factor("numbers", {
        "normal": ("normal", "alike"),
        "whole": ("whole", "units", "equal"),
        "lengths": ("lengths", "short-weights", "long-weights"),
    }, role="manner"),
    Factor("script", {
        "queries": ("queries",),
        "single updates": ("once", "ends", "one-by-one", "falls", "rises"),
        "rounds": ("rounds", "removals"),
        "batches": ("batches", "mixed", "sides", "again"),
        "thresholds": ("thresholds",),
    }, _ASKED, role="manner"),
    Factor(
        "threshold",
        {"half": ("half",), "few": ("few", "above"), "most": ("most", "below"), "zero": ("zero", "tie")},
        role="manner",
    ),
    Factor("points", {"one": ("1",), "few": ("3", "5"), "tile": ("~8", "~16")}, role="size"),
    Factor("neurons", {"one": ("1", "2"), "few": ("3", "6"), "tile": ("~8", "~16", "~32")}, role="size"),
    Factor("dim", {"one": ("1",), "few": ("2", "5"), "tile": ("~8", "~16")}, role="size"),
    Factor("layout", {
        "plain": ("contiguous",),
        "cut out": ("gap", "offset", "spaced"),
        "turned": ("transposed", "reversed"),
    }, role="manner"),
)  # fmt: skip


def _row(choice: Mapping[str, str], seed: int) -> Row:
    """The row of a choice; a length near a tile is one less, the tile, or one more."""
    rng = np.random.default_rng(seed)
    n, m, d = (length(choice[name], rng) for name in ("points", "neurons", "dim"))
    options = (f"script={choice['script']}", f"b={choice['threshold']}")
    return Row("standard", choice["numbers"], f"{n}/{m}:{d}", options, choice["layout"])


def _cost(row: Row) -> float:
    n, m, d = sizes(row)
    return float(n * m * (4 + d))


COVERING = Covering(_FACTORS, _row, _cost)


#: Words that follow "fails when" → whether it holds of an instance.
FEATURES: Mapping[str, Callable[[Instance], bool]] = {
    "a neuron is updated": lambda i: any(call.weights is not None for call in i.calls()),
    "several neurons are updated at once": lambda i: any(
        call.weights is not None and len(call.operands) > 1 for call in i.calls()
    ),
    "a neuron is updated more than once": lambda i: _most_updates(i) > 1,
    "the points of a neuron are asked for": lambda i: any(call.method == "data_of" for call in i.calls()),
    "a query has a threshold of its own": lambda i: any(call.threshold is not None for call in i.calls()),
    "the threshold is negative": lambda i: i.threshold < 0,
    "the threshold is positive": lambda i: i.threshold > 0,
    "points and neurons are as many": lambda i: len(i.data) == len(i.weights),
}


def _most_updates(instance: Instance) -> int:
    updated = [neuron for call in instance.calls() if call.weights is not None for neuron in call.operands.tolist()]
    return max((updated.count(neuron) for neuron in set(updated)), default=0)
