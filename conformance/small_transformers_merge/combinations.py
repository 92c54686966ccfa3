"""The factors of which every pair of values is tried, and what may decide whether a merge fails."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from assay.conformance.interface.covering import Covering, Factor
from assay.conformance.interface.suite import Row

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

__all__ = ["COVERING", "FEATURES"]

_FACTORS = (
    Factor("numbers", {
        "plain": ("normal", "apart"),
        "far": ("far", "near"),
        "large": ("large",),
        "ordered": ("rising", "falling"),
    }, role="manner"),
    Factor("empty parts", {
        "none": ("none",),
        "some": ("some-empty",),
        "all of a row": ("all-empty",),
    }, {"some": "empty_parts", "all of a row": "all_parts_empty"}),
    Factor("sink", {"none": ("none",), "sink": ("sink",)}, {"sink": "sink"}),
    Factor("log-sum-exp", {"none": ("none",), "asked": ("lse",)}, {"asked": "return_lse"}),
    Factor("parts", {"one": ("1",), "two": ("2",), "many": ("3", "5", "16")}, {"one": "one_part", "many": "many_parts"}, role="size"),
    Factor("batch", {"one": ("1",), "many": ("2", "3")}, role="size"),
    Factor("heads", {"one": ("1",), "many": ("2", "5")}, role="size"),
    Factor("queries", {"one": ("1",), "many": ("4", "17")}, role="size"),
    Factor("value dim", {"one": ("1",), "many": ("8", "33")}, role="size"),
    Factor("layout", {
        "contiguous": ("contiguous",),
        "permuted": ("permuted",),
        "cut out": ("gap", "offset"),
    }, role="manner"),
)  # fmt: skip


def _row(choice: Mapping[str, str], seed: int) -> Row:
    size = f"{choice['parts']}:{choice['batch']}x{choice['heads']}x{choice['queries']}x{choice['value dim']}"
    options = tuple(choice[name] for name in ("empty parts", "sink", "log-sum-exp") if choice[name] != "none")
    return Row("standard", choice["numbers"], size, options, choice["layout"])


def _cost(row: Row) -> float:
    return float(np.prod([int(number) for number in re.split("[:x]", row.size)]))


COVERING = Covering(_FACTORS, _row, _cost)

#: Words that follow "fails when" → a test of an instance.
FEATURES: Mapping[str, Callable[[Any], bool]] = {
    "a part is empty": lambda i: bool((i.log_sum_exps == -np.inf).any()),
    "all parts of a row are empty": lambda i: bool((i.log_sum_exps == -np.inf).all(axis=0).any()),
    "the first part is empty for a row": lambda i: bool((i.log_sum_exps[0] == -np.inf).any()),
    "a log-sum-exp is above 88": lambda i: bool((i.log_sum_exps > 88).any()),
    "all log-sum-exps of a row are below -87": lambda i: bool((i.log_sum_exps < -87).all(axis=0).any()),
    "a later part is the largest": lambda i: bool((i.log_sum_exps.argmax(axis=0) > 0).any()),
}
