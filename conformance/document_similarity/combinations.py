"""The sizes that kernels limit, and the factors of which every pair of values is tried."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from assay.conformance.document_similarity.options import sizes
from assay.conformance.interface.covering import Covering, Factor, length
from assay.conformance.interface.lengths import Axes
from assay.conformance.interface.suite import Row

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from assay.spec.document_similarity import Instance

__all__ = ["AXES", "COVERING", "FEATURES", "resized"]

#: Axes by the name under which a kernel declares their lengths.
AXES: dict[str, Axes] = {
    "documents": Axes(("left", "right"), (128, 64, 256, 32, 16, 8), multiples=True),
    "words": Axes(("words",), (128, 64, 256, 512, 32, 16, 8)),
}


def resized(row: Row, lengths: Mapping[str, int]) -> Row:
    """The row with other lengths of some axes, in the words of the table.

    >>> resized(Row("smoke", "normal", "5/7:12"), {"words": 64, "right": 8}).size
    '5/8:64'
    """
    n, m, d = sizes(row)
    n, d = lengths.get("left", n), lengths.get("words", d)
    return replace(row, size=f"{n}/{lengths.get('right', m)}:{d}" if m else f"{n}:{d}")


_FACTORS = (
    Factor("documents", {
        "signed": ("normal", "lengths", "opposite", "equal-norms"),
        "counted": ("counts", "tf-idf", "sparse", "large-counts"),
        "presence": ("presence",),
        "alike": ("alike", "late"),
    }, {"signed": "negative_weights", "counted": "weights", "alike": "negative_weights"}, role="manner"),
    Factor("wanted", {"most": ("most",), "least": ("least",)}, {"least": "least"}),
    Factor(
        "measure",
        {"cosine": ("cosine",), "inner products": ("inner_product",)},
        {"inner products": "inner_product"},
    ),
    Factor("left", {
        "few": ("1", "2", "3"),
        "some": ("9",),
        "tile": ("~16", "~32", "~64", "~128"),
        "many": ("200",),
    }, role="size"),
    Factor(
        "right",
        {"alone": ("0",), "few": ("1", "4"), "some": ("7",), "tile": ("~16", "~32", "~64"), "many": ("150",)},
        {"alone": "one_collection", **dict.fromkeys(("few", "some", "tile", "many"), "two_collections")},
        role="size",
    ),
    Factor("words", {
        "one": ("1",),
        "few": ("3", "8"),
        "tile": ("~16", "~32", "~64", "~128"),
        "many": ("300",),
    }, role="size"),
    Factor("place", {
        "any": ("any",),
        "planted": ("at=origin", "at=last", "at=corner", "at=foot", "at=middle"),
    }, role="manner"),
    Factor("layout", {
        "plain": ("contiguous",),
        "cut out": ("gap", "offset", "spaced"),
        "turned": ("transposed", "reversed"),
    }, role="manner"),
)  # fmt: skip


def _row(choice: Mapping[str, str], seed: int) -> Row:
    """The row of a choice; a length near a tile is one less, the tile, or one more."""
    rng = np.random.default_rng(seed)
    n, m, d = (length(choice[name], rng) for name in ("left", "right", "words"))
    n = max(n, 2) if m == 0 else n
    options = (choice["wanted"], choice["measure"], choice["place"])
    chosen = tuple(option for option in options if option not in ("most", "cosine", "any"))
    return Row("standard", choice["documents"], f"{n}/{m}:{d}" if m else f"{n}:{d}", chosen, choice["layout"])


def _cost(row: Row) -> float:
    n, m, d = sizes(row)
    return float(n * (m or n) * (4 + d))


COVERING = Covering(_FACTORS, _row, _cost)


def _side(holds: Callable[[NDArray[np.float64]], bool]) -> Callable[[Instance], bool]:
    """Whether it holds of the documents of some side."""
    return lambda instance: any(holds(documents.astype(np.float64)) for documents in instance.arrays().values())


def _square(instance: Instance) -> bool:
    return instance.right is None or len(instance.left) == len(instance.right)


#: Words that follow "fails when" → whether it holds of an instance.
FEATURES: Mapping[str, Callable[[Instance], bool]] = {
    "there is one collection": lambda i: i.right is None,
    "there are two collections": lambda i: i.right is not None,
    "left and right are of different numbers": lambda i: not _square(i),
    "a weight is negative": _side(lambda x: bool((x < 0).any())),
    "a weight is no integer": _side(lambda x: bool((x != np.rint(x)).any())),
    "a weight is neither 0 nor 1": _side(lambda x: bool(((x != 0) & (x != 1)).any())),
    "norms differ by more than twice": _side(
        lambda x: bool(np.ptp(np.log2(np.maximum(np.linalg.norm(x, axis=1), 1e-300))) > 1)
    ),
    "a document occurs twice": _side(lambda x: len(np.unique(x, axis=0)) < len(x)),
    "a norm is below 2^-20": _side(lambda x: bool((np.abs(x).max(axis=1) < 2.0**-20).any())),
    "a norm is above 2^20": _side(lambda x: bool((np.abs(x).max(axis=1) > 2.0**20).any())),
}
