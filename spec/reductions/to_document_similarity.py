"""From vectors to documents of 0 and 1 whose least or most similar pair decides (Alman and Yu 2024; DOC-5).

A coordinate becomes three words, of which a document has one or two, so that all norms on a side are equal and the
cosine depends on the inner product alone.  A decoder takes the answer in any of the forms in which kernels give it:
(i, j, similarity), the similarity alone, or the pair alone, whose exact inner product then decides.  An answer that
says nothing is a ``ValueError``: a pair that is none of the instance, or a number that no cosine comes near.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec.document_similarity.instance import Instance
from assay.spec.document_similarity.tolerance import errors
from assay.spec.memory import require_memory
from assay.spec.problem import InvalidInstance, Provenance
from assay.spec.reductions.problems import MonochromaticOrthogonalVectors, Solutions
from assay.spec.reductions.reduction import Reduction, Sizes
from assay.spec.reductions.rounding import above, dtype_named, output_array

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.spec.instances.orthogonal_vectors import OrthogonalVectors
    from assay.spec.precision import Precision

    Bits = NDArray[np.uint8]

__all__ = ["DOC_5A", "DOC_5B", "DOC_5C", "LEFT", "RIGHT", "RIGHT_COMPLEMENT", "answer_error", "power"]

LEFT = np.array([[0, 1, 0], [1, 0, 0]], dtype=np.uint8)  # 0 ↦ 010, 1 ↦ 100
RIGHT = np.array([[0, 0, 1], [1, 0, 0]], dtype=np.uint8)  # 0 ↦ 001, 1 ↦ 100: inner product ab
RIGHT_COMPLEMENT = np.array([[1, 1, 0], [0, 1, 1]], dtype=np.uint8)  # 0 ↦ 110, 1 ↦ 011: inner product 1 − ab

_DIGITS = 64  # of the rational bounds of √2^q


# --- answers ----------------------------------------------------------------------------------------------------------


def _answer(output: Any) -> tuple[Any, tuple[int, int] | None]:
    """(similarity as an array of one number or ``None``, pair or ``None``) from what a kernel returned.

    Raises ``ValueError`` for another shape, NaN, infinity, or indices that are no integers.
    """
    if isinstance(output, tuple) and len(output) == 3:
        i, j, similarity = output
        return output_array(np.asarray(similarity).reshape(-1), (1,)), _indices(i, j)
    array = np.asarray(output)
    if array.size == 3 and array.ndim == 1:
        return output_array(array[2:], (1,)), _indices(array[0], array[1])
    if array.size == 2 and array.ndim == 1:
        return None, _indices(array[0], array[1])
    if array.size == 1:
        return output_array(array.reshape(-1), (1,)), None
    raise ValueError(f"output has shape {array.shape}: expected i, j and similarity, one of both, or the similarity")


def answer_error(instance: Instance, precision: Precision) -> float:
    """How far the similarity that a correct kernel of the class returns may be from that of the best pair.

    The pair lacks at most the errors of two similarities, and the number returned has the error of one (DOC-8).
    """
    return 3.0 * float(errors(instance, precision)[instance.pairs()].max())


def _indices(*numbers: Any) -> tuple[int, int]:
    i, j = (np.asarray(x).item() for x in numbers)
    if not all(isinstance(x, int | float | Fraction) and math.isfinite(x) and x == int(x) for x in (i, j)):
        raise ValueError(f"output has the pair ({i}, {j}): expected two integers")
    return int(i), int(j)


def _decoded(output: Any, says: Any, product: Any, accuracy: Fraction) -> Solutions:
    """Whether there is an orthogonal pair.

    says(array) is the answer of a similarity; product(i, j) is the inner product of the vectors of a pair of documents,
    ``None`` where it is no pair.  A pair without a similarity answers by its own product.
    Raises ``ValueError`` for a pair that is none, and for a similarity that is beyond ±1 by more than ``accuracy``.
    """
    similarity, pair = _answer(output)
    if pair is not None and product(*pair) is None:
        raise ValueError(f"output has the pair {pair}: expected two documents of the instance")
    if similarity is not None and abs(Fraction(similarity[0])) > 1 + accuracy:
        raise ValueError(f"output has the similarity {similarity[0]}: expected a cosine, between -1 and 1")
    orthogonal = pair is not None and product(*pair) == 0
    exists = orthogonal if similarity is None else bool(says(similarity)[0])
    return Solutions(exists, None if exists else 0, pair if exists and orthogonal else None)


def _product(left: Bits, right: Bits) -> Any:
    def product(i: int, j: int) -> int | None:
        inside = 0 <= i < len(left) and 0 <= j < len(right)
        return int(left[i].astype(np.int64) @ right[j]) if inside else None

    return product


def _written(bits: Bits, gadget: Bits) -> Bits:
    """The documents with three words for every coordinate."""
    return gadget[bits].reshape(len(bits), -1)


def _documents(family: str, left: Bits, right: Bits | None, dtype: str, *, least: bool) -> Instance:
    kind = dtype_named(dtype)
    other = None if right is None else right.astype(kind)
    return Instance(left.astype(kind), other, least, provenance=Provenance(family=family))


def _measure(source: OrthogonalVectors) -> Sizes:
    return {"n": source.n, "m": source.m, "d": source.d}


def _require_room(sizes: Sizes, dtype: str) -> None:
    n, d = sizes["n"] + sizes.get("m", 0), sizes["d"]
    require_memory(2 * n * d * dtype_named(dtype).itemsize, f"{n} documents of {d} words in {dtype}")


# --- DOC-5, two collections, least similar ----------------------------------------------------------------------------


def _sizes_least(sizes: Sizes, dtype: str = "float32") -> Sizes:
    return {"n": sizes["n"], "m": sizes["m"], "d": 3 * sizes["d"]}


def _forward_least(source: OrthogonalVectors, dtype: str = "float32") -> Instance:
    _require_room(_sizes_least(_measure(source)), dtype)
    return _documents("DOC-5a", _written(source.left, LEFT), _written(source.right, RIGHT), dtype, least=True)


def _decode_least(source: OrthogonalVectors, target: Instance, output: Any) -> Solutions:
    """The answer from the least cosine ⟨a, b⟩/d, which is 0 or at least 1/d."""
    cut = Fraction(1, 2 * source.d)
    return _decoded(output, lambda x: ~above(x, cut), _product(source.left, source.right), cut)


DOC_5A = Reduction(
    name="DOC-5a",
    claim="DOC-5",
    source="orthogonal_vectors",
    target="document_similarity",
    statement="least similar: 0 ↦ 010, 1 ↦ 100 and 0 ↦ 001, 1 ↦ 100: cosine ⟨a, b⟩/d",
    forward=_forward_least,
    decoder=_decode_least,
    accuracy=lambda source, target: Fraction(1, 2 * source.d),
    sizes=_sizes_least,
    measure=_measure,
    options=("dtype",),
    output="similarity",
)


# --- DOC-5, two collections, most similar -----------------------------------------------------------------------------


def power(documents: Bits, q: int) -> Bits:
    """The tensor powers of documents, (n, ℓ^q): inner products, norms and cosines become their q-th powers.

    >>> power(np.array([[1, 1, 0]], dtype=np.uint8), 2).tolist()
    [[1, 1, 0, 1, 1, 0, 0, 0, 0]]
    """
    result = documents
    for _ in range(q - 1):
        result = (result[:, :, None] * documents[:, None, :]).reshape(len(documents), -1)
    return result


def _require_power(q: int) -> None:
    if not isinstance(q, int) or isinstance(q, bool) or q < 1:
        raise InvalidInstance(f"power {q!r}: expected an integer of at least 1")


def _sizes_most(sizes: Sizes, dtype: str = "float32", power: int = 1) -> Sizes:
    _require_power(power)
    return {"n": sizes["n"], "m": sizes["m"], "d": (3 * sizes["d"]) ** power}


def _forward_most(source: OrthogonalVectors, dtype: str = "float32", power: int = 1) -> Instance:
    _require_room(_sizes_most(_measure(source), dtype, power), dtype)
    sides = _written(source.left, LEFT), _written(source.right, RIGHT_COMPLEMENT)
    left, right = (_powered(side, power) for side in sides)
    return _documents("DOC-5b", left, right, dtype, least=False)


_powered = power


def _exponent(source: OrthogonalVectors, target: Instance) -> int:
    """q, from the number of words of the target, (3d)^q."""
    words, q = 3 * source.d, 1
    while words**q < target.left.shape[1]:
        q += 1
    return q


def _levels(source: OrthogonalVectors, target: Instance) -> tuple[Fraction, Fraction]:
    """(none, yes): the largest cosine is at least ``yes`` = 2^(−q/2) with an orthogonal pair, else at most ``none``.

    Without one it is at most ((d − 1)/(√2 d))^q.  Rational numbers: ``yes`` from below and ``none`` from above.
    """
    q, d = _exponent(source, target), source.d
    root = Fraction(math.isqrt(2 ** (2 * _DIGITS) // 2**q), 2**_DIGITS)  # at most 2^(−q/2)
    return (root + Fraction(1, 2**_DIGITS)) * Fraction(d - 1, d) ** q, root


def _decode_most(source: OrthogonalVectors, target: Instance, output: Any) -> Solutions:
    """The answer from the largest cosine ((d − ⟨a, b⟩)/(√2 d))^q."""
    none, yes = _levels(source, target)
    says, product = (lambda x: above(x, (none + yes) / 2)), _product(source.left, source.right)
    return _decoded(output, says, product, (yes - none) / 2)


def _accuracy_most(source: OrthogonalVectors, target: Instance) -> Fraction:
    none, yes = _levels(source, target)
    return (yes - none) / 2


DOC_5B = Reduction(
    name="DOC-5b",
    claim="DOC-5",
    source="orthogonal_vectors",
    target="document_similarity",
    statement="most similar: the right complemented, 0 ↦ 110, 1 ↦ 011, and q-th tensor powers: ((d − ⟨a, b⟩)/(√2 d))^q",
    forward=_forward_most,
    decoder=_decode_most,
    accuracy=_accuracy_most,
    sizes=_sizes_most,
    measure=_measure,
    preconditions=("(3d)^q words fit in memory",),
    options=("dtype", "power"),
    output="similarity",
)


# --- DOC-5, one collection, least similar -----------------------------------------------------------------------------


def _sizes_one(sizes: Sizes, dtype: str = "float32") -> Sizes:
    return {"n": sizes["n"], "d": sizes["d"] + 2}


def _measure_one(source: MonochromaticOrthogonalVectors) -> Sizes:
    return {"n": len(source.vectors), "d": source.vectors.shape[1]}


def _forward_one(source: MonochromaticOrthogonalVectors, dtype: str = "float32") -> Instance:
    """The vectors with two more words: one for the first vector of zeros, one for all others of zeros.

    So no document is empty, the first empty one still has no word in common with any other, and two others of zeros
    need not be a pair, since each makes one with the first.
    """
    _require_room(_sizes_one(_measure_one(source)), dtype)
    documents = np.pad(source.vectors, ((0, 0), (0, 2)))
    empty = np.flatnonzero(~source.vectors.any(axis=1))
    documents[empty[:1], -2] = 1
    documents[empty[1:], -1] = 1
    return _documents("DOC-5c", documents, None, dtype, least=True)


def _decode_one(source: MonochromaticOrthogonalVectors, target: Instance, output: Any) -> Solutions:
    """The answer from the least cosine, which is 0 or at least 1/d: the norms are at most √d."""
    vectors = source.vectors

    def product(i: int, j: int) -> int | None:
        return None if i == j else _product(vectors, vectors)(i, j)

    cut = _cut_one(source)
    decoded = _decoded(output, lambda x: ~above(x, cut), product, cut)
    return Solutions(decoded.exists, decoded.count, decoded.witness and tuple(sorted(decoded.witness)))


def _cut_one(source: MonochromaticOrthogonalVectors) -> Fraction:
    return Fraction(1, 2 * source.vectors.shape[1])


DOC_5C = Reduction(
    name="DOC-5c",
    claim="DOC-5",
    source="monochromatic_orthogonal_vectors",
    target="document_similarity",
    statement="least similar in one collection: the vectors, two words for those of zeros: cosine 0 iff orthogonal",
    forward=_forward_one,
    decoder=_decode_one,
    accuracy=lambda source, target: _cut_one(source),
    sizes=_sizes_one,
    measure=_measure_one,
    options=("dtype",),
    output="similarity",
)
