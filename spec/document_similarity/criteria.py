"""What the answer of a kernel is held to: its pair, and the similarity that it returns with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec.criterion import Criterion, decided
from assay.spec.document_similarity.definition import define, similarities
from assay.spec.document_similarity.tolerance import PRECISIONS, errors
from assay.spec.document_similarity.truth import best_pairs
from assay.spec.enclosure import Enclosure, in_units_of
from assay.spec.precision import precision as precision_named
from assay.spec.precision import reference_accuracy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from assay.spec.document_similarity.instance import Instance
    from assay.spec.precision import Precision

    Array = NDArray[np.float64]

__all__ = ["CONVENTIONS", "Held", "criteria", "decision"]

#: What a kernel may declare of its answer, the first value being the default; an empty tuple: any positive number.
#: ``pair``: ``exact`` is a best pair whatever the roundings of the class; among ties every pair is right.
#: ``through``: ``distance`` has the cosine from 1 − distance, so that small similarities are not accurate.
#: ``approximation``: γ ≥ 1: the pair is as good as the best but for this factor (DOC-1).
CONVENTIONS: dict[str, tuple[str, ...]] = {
    "pair": ("rounded", "exact"),
    "through": ("similarity", "distance"),
    "approximation": (),
}


@dataclass(frozen=True, eq=False)
class Held(Criterion):
    """A criterion of an answer, with what a correct kernel may err in the similarity of every pair, (n, m)."""

    errors: Array = field(default_factory=lambda: np.zeros((0, 0)))


def criteria(
    instance: Instance,
    precision: str | Precision,
    *,
    pair: str = "rounded",
    through: str = "similarity",
    approximation: float = 1.0,
) -> Mapping[str, Held]:
    """What an answer (i, j, similarity) is held to, by name (DOC-8).

    ``pair``: of (i, j).  Its similarity c is right iff c + E ≥ max(c_kl − E_kl), and −c for the least similar pair;
    all ties are right.  The error is what c lacks, in units of E; +inf where (i, j) is no pair.
    ``similarity``: of all three, the distance of the returned number from the similarity of the returned pair, in units
    of its E.
    pair, through, approximation: what the kernel declares (:data:`CONVENTIONS`).
    Raises ``ValueError`` for an unknown class, and for an ``approximation`` below 1.

    >>> from assay.spec.document_similarity import Instance
    >>> documents = Instance(np.array([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0]], np.float32))
    >>> held = criteria(documents, "float32")
    >>> [float(held["pair"].ratio(np.array(i), np.array(j))) for i, j in ((0, 1), (2, 0), (1, 1))]
    [0.0, 0.0, inf]
    >>> held["pair"].expected(())
    'a best pair (0, 1) of similarity 0.707106781'
    """
    u = precision_named(precision, PRECISIONS)
    if not approximation >= 1.0:
        raise ValueError(f"approximation: {approximation!r}, expected a number of at least 1")
    allowed = errors(instance, u, through_distance=through == "distance" and instance.measure == "cosine")
    table = similarities(instance, reference_accuracy(u))
    ties = best_pairs(instance) if pair == "exact" else None
    return _held_to(instance, table, allowed, approximation=approximation, ties=ties)


def _held_to(
    instance: Instance,
    table: Enclosure,
    allowed: Array,
    *,
    approximation: float = 1.0,
    ties: list[tuple[int, int]] | None = None,
) -> Mapping[str, Held]:
    """The criteria of a table of similarities, (n, m), and of what a kernel may err in each of them.

    ties: where it is given, only these pairs are right.
    """
    sign, asked = instance.sign, instance.pairs()
    low, high = (table.lower, table.upper) if sign > 0 else (-table.upper, -table.lower)  # of sign·similarity
    known = bool(np.isfinite(allowed[asked]).all())
    with np.errstate(invalid="ignore"):
        bar = float(np.where(asked, low - allowed, -np.inf).max()) if known else -np.inf
    bar = bar * approximation if bar < 0 else bar / approximation  # as good as the best but for a factor
    best = int(np.argmax(np.where(asked, table.midpoint * sign, -np.inf)))
    first = np.unravel_index(best, asked.shape)
    example = f"({int(first[0])}, {int(first[1])})" if ties is None else str(ties[0])
    value = float(table.midpoint[first])
    right = None if ties is None else frozenset(ties)

    def place(i: NDArray[Any], j: NDArray[Any]) -> tuple[int, int] | None:
        """The pair that is meant; ``None`` where it is none."""
        at = int(i), int(j)
        inside = all(0 <= k < n for k, n in zip(at, asked.shape, strict=True))
        return at if inside and asked[at] else None

    def lacking(i: NDArray[Any], j: NDArray[Any]) -> Array:
        at = place(i, j)
        if at is None:
            return np.asarray(np.inf)
        if right is not None:
            return np.asarray(0.0 if at in right else np.inf)
        return in_units_of(np.maximum(bar - high[at], 0.0), allowed[at])

    def off(i: NDArray[Any], j: NDArray[Any], similarity: NDArray[Any]) -> Array:
        at = place(i, j)
        if at is None or not known:
            return np.asarray(0.0)  # what is wrong is the pair
        return table[at].ratio(similarity, allowed[at])

    one = np.asarray(1.0 if known else np.inf)
    words = f"a best pair {example} of similarity {value:.9g}"
    if approximation > 1.0:
        words = f"a pair within a factor {approximation:g} of the best, {example} of similarity {value:.9g}"
    of_best = f"the similarity of the returned pair; that of {example} is {value:.9g}"

    def pair_told(i: NDArray[Any], j: NDArray[Any]) -> tuple[str, float]:
        at = place(i, j)
        if at is None or right is not None:
            return words, 0.0
        return f"{words}; that of the returned pair is {float(table.midpoint[at]):.9g}", float(allowed[at])

    def value_told(i: NDArray[Any], j: NDArray[Any], similarity: NDArray[Any]) -> tuple[str, float]:
        at = place(i, j)
        if at is None:
            return of_best, np.inf
        return f"the similarity of the returned pair {at} is {float(table.midpoint[at]):.9g}", float(allowed[at])

    exactly = one if ties is None else np.asarray(0.0)
    pair, similarity = ("i", "j"), ("i", "j", "similarity")
    return {
        "pair": Held(lacking, exactly, lambda _: words, pair, told=pair_told, errors=allowed),
        "similarity": Held(off, one, lambda _: of_best, similarity, told=value_told, errors=allowed),
    }


def decision(instance: Instance, precision: str | Precision, threshold: float) -> Criterion:
    """What the answer to a question of yes or no is held to: whether some pair is similar by at least ``threshold``.

    With ``least`` it is whether some pair is similar by at most ``threshold``.  Within the error of the class of the
    best similarity, and a rounding of the threshold, either answer is right (DOC-8).

    >>> from assay.spec.document_similarity import Instance
    >>> documents = Instance(np.array([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0]], np.float32), least=True)
    >>> bool(decision(documents, "float32", 0.5).ratio(np.array(False)) > 1e4)
    True
    """
    u = precision_named(precision, PRECISIONS)
    sign, asked = instance.sign, instance.pairs()
    best = define(instance, reference_accuracy(u))
    table, allowed = similarities(instance, reference_accuracy(u)), errors(instance, u)
    margin = Enclosure(sign * (best.midpoint - threshold), best.radius + 2.0**-52 * (abs(threshold) + 1.0))
    with np.errstate(invalid="ignore"):
        high, low = (
            np.where(asked, end, -np.inf).max()
            for end in (sign * table.midpoint + allowed, sign * table.midpoint - allowed)
        )
    middle = float(sign * best.midpoint)
    rounding = max(u.product, u.accumulate, u.working, u.input_rounding, u.output)  # of the threshold
    off = max(float(high) - middle, middle - float(low)) + rounding * abs(threshold) + u.output_tiny
    return decided(margin, np.asarray(off if np.isfinite(off) else np.inf))
