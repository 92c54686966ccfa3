"""What may decide whether a kernel fails, beside lengths, options and layouts: where queries and keys are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from assay.conformance.attention.features import FEATURES as ATTENTION
from assay.conformance.rope_attention.interface import queries_elsewhere

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from assay.spec.rope_attention import Instance

__all__ = ["FEATURES"]

#: Features of attention that do not look at products of queries and keys as they come.
_KEPT = (
    "some query attends to no key", "some key is hidden", "key lengths differ between batches",
    "a query attends to none of the first 16 keys", "a query attends to none of the first 64 keys",
    "the scale is below 1e-6 in size", "the scale is not 1/√dim",
)  # fmt: skip


def _some(test: Callable[[Any], Any]) -> Callable[[Instance], bool]:
    """Whether a test holds of the positions of queries or of keys."""
    return lambda instance: instance.relative is None and any(bool(test(p)) for p in instance.positions())


def _distance(instance: Instance) -> int:
    queries, keys = instance.positions()
    return int(max(queries.max() - keys.min(), keys.max() - queries.min()))


def _reaches(position: int) -> Callable[[Instance], bool]:
    return _some(lambda p: np.abs(p).max() >= position)


def _far_apart(least: int) -> Callable[[Instance], bool]:
    return lambda instance: instance.relative is None and _distance(instance) >= least


#: Words that follow "fails when" → a test of an instance.
FEATURES: Mapping[str, Callable[[Any], bool]] = {
    **{words: ATTENTION[words] for words in _KEPT},
    "a position is negative": _some(lambda p: p.min() < 0),
    "a first position is not 0": _some(lambda p: (p[:, 0] != 0).any()),
    "positions are not consecutive": _some(lambda p: (np.diff(p, axis=1) != 1).any()),
    "positions differ between batches": _some(lambda p: (p != p[:1]).any()),
    "queries are not where the last keys are": queries_elsewhere,
    "the number of pairs is odd": lambda i: i.relative is None and i.rotated % 4 == 2,
    "the base is not 10000": lambda i: i.base != 10000,
    "there is a place of W off its diagonal": lambda i: i.support is not None and any(a != b for a, b in i.support),
    **{f"a position is at least {n}": _reaches(n) for n in (257, 2048, 8192, 1 << 20)},
    **{f"a query and a key are at least {n} positions apart": _far_apart(n) for n in (64, 1024)},
}
