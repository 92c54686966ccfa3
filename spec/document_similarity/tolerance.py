"""What a correct kernel of a class may err in a similarity (proofs_notes/document_similarity.md, DOC-8).

The names are those of the proof.  Everything is computed in float64; the factor 1 + 1e-9 pays for the roundings of
that.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

from assay.spec.document_similarity.definition import normalised
from assay.spec.document_similarity.truth import best_pairs
from assay.spec.floating_point import require_usual
from assay.spec.memory import require_evaluable
from assay.spec.precision import PRECISIONS as MACHINES
from assay.spec.precision import Precision
from assay.spec.precision import precision as precision_named
from assay.spec.rounding import compound, gamma

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from assay.spec.document_similarity.instance import Instance

    Array = NDArray[np.float64]

__all__ = ["PRECISIONS", "errors", "tolerance"]

_SLACK = 1.0 + 1e-9
_ROUNDINGS = 10  # between the squared norms and normalised documents, five on each side
_STORED = 7  # results of operations that are stored on the way

#: The classes.  A plain name: norms and sums in float32, normalised documents rounded to the type of the arrays before
#: the product.  ``eager``: the result of every operation is stored in the type of the arrays.
PRECISIONS: Mapping[str, Precision] = {
    name: MACHINES[name]
    for name in ("float64", "float32", "tf32", "bfloat16", "float16", "bfloat16-eager", "float16-eager")
}


def tolerance(instance: Instance, precision: str | Precision, output: str = "similarity") -> Array:
    """What a correct kernel of the class may err in an output: of shape (), +inf outside the domain of the class.

    ``"similarity"``: E of the first of the best pairs (DOC-8).  ``"i"`` and ``"j"``: +inf, as an index is not right by
    its distance from another; :func:`~assay.spec.document_similarity.criteria` says when a pair is.
    Raises ``ValueError`` for an unknown class or output.

    >>> from assay.spec.document_similarity import Instance
    >>> documents = Instance(np.array([[1.0, 2.0], [2.0, 1.0]], np.float32))
    >>> print(*(f"{tolerance(documents, name):.0e}" for name in ("float64", "float32", "bfloat16")))
    2e-15 8e-07 9e-03
    """
    if output not in ("similarity", "i", "j"):
        raise ValueError(f"unknown output {output!r}: expected 'similarity', 'i' or 'j'")
    require_usual()
    if output != "similarity":
        return np.asarray(np.inf)
    return np.asarray(errors(instance, precision_named(precision, PRECISIONS))[best_pairs(instance)[0]])


@functools.lru_cache(maxsize=2)  # the pair and its similarity are held to the same
def errors(instance: Instance, precision: Precision, *, through_distance: bool = False) -> Array:
    """E of every (i, j): a bound on the error of a similarity in every correct kernel of the class, (n, m): DOC-8.

    through_distance: the kernel has the cosine from 1 − distance, where the distance is 1 − cosine or half the squared
    Euclidean distance of normalised documents; its error does not become small where the similarity does.
    It is +inf everywhere where one document is outside the domain of the class.
    """
    require_evaluable(instance)
    require_usual()  # here too: what is computed in another environment would be kept for later
    u = max(precision.product, precision.accumulate, precision.working)
    stored, tau = precision.stored, max(precision.stored_tiny, precision.operand_tiny)
    left, right = instance.sides()
    d = left.shape[1]
    cosine = instance.measure == "cosine"
    with np.errstate(all="ignore"):
        common = (left != 0).astype(np.float64) @ (right != 0).astype(np.float64).T  # words of both
        entry = max(precision.input_rounding, precision.operand, stored)
        if not cosine:
            size = np.abs(left) @ np.abs(right).T * _SLACK
            rate = compound(precision.input_rounding, precision.input_rounding, stored, gamma(d, u))
            words = np.abs(left) @ (right != 0).T + (left != 0) @ np.abs(right).T  # what meets an input that becomes 0
            lost = common * (precision.tiny + precision.stored_tiny) * 2 + 2 * precision.tiny * words
            lost = lost + precision.alignment * (words + common * precision.least_factor)
            inside = 2 * size <= min(precision.largest, precision.largest_output)
            return _returned(rate * size + lost, np.abs(left @ right.T), size, precision, bool(inside.all()))
        one, other = normalised(left), normalised(right)
        norms = [_norms(documents, unit) for documents, unit in ((left, one), (right, other))]
        (near, inside_left), (far, inside_right) = (_norm_errors(norm, d, u, precision) for norm in norms)
        both = norms[0][:, None] * norms[1]
        within = bool((both >= 4 / _largest(precision)).all() and (4 * precision.tiny * both <= 1).all())
        if through_distance:
            near = far = np.asarray(max(near.max(), far.max()))[None]
        summed = gamma(2 * d + 8 if through_distance else d, u)
        sides = compound(near[:, None], far)
        rate = compound(sides, gamma(_ROUNDINGS, u), gamma(_STORED, stored), entry, entry, summed)
        terms = np.abs(one) @ np.abs(other).T * _SLACK
        size = np.full_like(terms, 2.0) if through_distance else terms
        # what is lost in small numbers: of entries, of their products, and of these before the norms are divided out
        ones = np.abs(one).sum(axis=1)[:, None] + np.abs(other).sum(axis=1)
        tiny = precision.tiny + precision.alignment
        small = precision.stored_tiny + tiny
        lost = tau * (ones + d * tau) + tiny * (ones + common) + small * (common + (common + 1.0) / both)
        # … of an input that becomes 0, of what only one norm is divided out of, and of a product of reciprocals
        lost = lost + small * (common + np.abs(other).sum(axis=1)) / norms[0][:, None]
        lost = lost + small * (common + np.abs(one).sum(axis=1)[:, None]) / norms[1]
        lost = np.where(common > 0, 2 * (1 + rate) * (lost + precision.stored_tiny * both * terms), 0.0)
        bound = rate * size + lost
        if through_distance:  # the distance is stored, and taken from 1
            bound = 2 * bound + (2 + bound) * (compound(precision.output, u, u, u)) + precision.output_tiny
    return _returned(bound, np.abs(one @ other.T), terms, precision, inside_left and inside_right and within)


def _norms(documents: Array, unit: Array) -> Array:
    """The norms of documents, from those of norm 1 that point the same way, so that no square overflows."""
    at = np.abs(documents).argmax(axis=1)[:, None]
    norms: Array = np.abs(np.take_along_axis(documents, at, 1) / np.take_along_axis(unit, at, 1))[:, 0]
    return norms


def _largest(precision: Precision) -> float:
    """M: the largest number of the sums, and of what is stored between two operations."""
    return min(precision.largest, precision.largest_output) if precision.stored else precision.largest


def _norm_errors(norms: Array, d: int, u: float, precision: Precision) -> tuple[Array, bool]:
    """ν of every document, the relative error of its norm and of the reciprocal, and whether all are in the domain."""
    stored = precision.stored
    squares = compound(precision.input_rounding, precision.input_rounding, gamma(4, stored), gamma(d + 3, u)) + 2 * (
        d + 1
    ) * precision.stored_tiny / np.minimum(norms**2, 0.5)
    error = np.where(squares < 0.5, 1 / np.sqrt(1 - np.minimum(squares, 0.5)) - 1, np.inf)
    largest = _largest(precision)
    least = np.sqrt(8 * d * precision.tiny / u)  # below it squares that are flushed to zero are seen
    least = max(least, 4 / largest)
    inside = bool(np.isfinite(error).all() and (norms >= least).all() and (norms <= np.sqrt(largest / 2)).all())
    return error, inside


def _returned(bound: Array, value: Array, terms: Array, precision: Precision, inside: bool) -> Array:
    """The bound with the rounding of the output; +inf outside the domain.

    value: |similarity| in float64, whose error is a small part of the size of its terms.
    """
    least = np.where(bound == 0.0, 0.0, precision.output_tiny + precision.tiny)
    full = bound + precision.output * (value + 1e-9 * terms + bound) + least
    return np.where(inside & ~np.isnan(full), full * _SLACK, np.inf)
