"""The factors of which every pair of values is tried, and what may decide whether a simulation fails."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from assay.conformance.interface.covering import Covering, Factor, Together
from assay.conformance.interface.suite import Row

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

__all__ = ["COVERING", "FEATURES"]

_FACTORS = (
    Factor("numbers", {"plain": ("normal",), "unlike": ("apart", "rising", "falling", "sinking")}, role="manner"),
    Factor("who sees", {
        "all": ("none",),
        "causal": ("causal",),
        "window": ("causal window=1", "causal window=3", "causal window=5"),
        "window and sinks": ("causal window=2 sinks=1", "causal window=4 sinks=3"),
    }, {"all": "without_causal", "causal": "without_window", "window": "window", "window and sinks": "sinks"}),
    Factor("mask", {"none": ("none",), "mask": ("mask",), "empty rows": ("hidden",)}, {"mask": "mask", "empty rows": "empty_row"}),
    Factor("scale", {"usual": ("none",), "other": ("scale=0.8", "scale=-0.3")}, {"other": "other_scale"}),
    Factor("log-sum-exp", {"none": ("none",), "asked": ("lse",)}, {"asked": "return_lse"}),
    Factor("size", {"small": ("3", "4"), "large": ("9", "40")}, role="size"),
    Factor("queries", {"few": ("2", "5"), "many": ("16", "33")}, role="size"),
    Factor("keys", {"same": ("same",), "other": ("7", "26")}, {"other": "cross_lengths"}, role="size"),
    Factor("heads", {"one": ("1x1:1",), "many": ("2x3:3", "1x2:2"), "groups": ("1x4:2", "2x2:1")}, {"groups": "grouped_heads"}, role="size"),
    Factor("value dim", {"same": ("4",), "other": ("3",)}, {"other": "value_dim"}, role="manner"),
    Factor("layout", {"contiguous": ("contiguous",), "permuted": ("permuted",), "cut out": ("gap", "offset")}, role="manner"),
)  # fmt: skip

_TOGETHER = (
    Together(
        {"who sees": frozenset({"causal", "window", "window and sinks"}), "keys": frozenset({"other"})},
        "causal_cross_lengths",
    ),
)
_OPTIONS = ("who sees", "mask", "scale", "log-sum-exp")


def _row(choice: Mapping[str, str], seed: int) -> Row:
    keys = choice["queries"] if choice["keys"] == "same" else choice["keys"]
    size = f"{choice['heads']}x{choice['queries']}x{keys}x4x{choice['value dim']}:{choice['size']}"
    options = tuple(" ".join(choice[name] for name in _OPTIONS if choice[name] != "none").split())
    return Row("standard", choice["numbers"], size, options, choice["layout"])


def _cost(row: Row) -> float:
    b, h, _, n_q, n_k, *_ = (int(number) for number in re.split("[:x]", row.size))
    return float(b * h * n_q * n_k)


COVERING = Covering(_FACTORS, _row, _cost, _TOGETHER)


def _parts(instance: Any) -> int:
    return -(-int(instance.key.shape[2]) // max(int(instance.oracle_size) - 1, 1))


#: Words that follow "fails when" → a test of an instance.
FEATURES: Mapping[str, Callable[[Any], bool]] = {
    "the keys do not find room in one call": lambda i: _parts(i) > 1,
    "the keys need more than two calls": lambda i: _parts(i) > 2,
    "the last block is shorter than the others": lambda i: i.key.shape[2] % max(i.oracle_size - 1, 1) != 0,
    "the queries do not find room in one call": lambda i: i.query.shape[2] > i.oracle_size,
    "some query attends to no key": lambda i: not i.visible().any(axis=3).all(),
    "the window and the sinks do not find room in one call": lambda i: (
        i.window is not None and i.window + i.sinks > i.oracle_size
    ),
    "heads are grouped": lambda i: i.query.shape[1] != i.key.shape[1],
    "scores may be above 10": lambda i: bool(
        np.abs(i.scale or 0) * np.abs(i.query.astype(float)).max() * np.abs(i.key.astype(float)).sum(axis=3).max() > 10
    ),
}
