"""Named wrong answers of kernels that look for a pair of documents.

A wrong meaning is a :class:`Reading`: the score by which it chooses a pair, and the number that it returns with it.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.diagnosis.meanings import Meaning
from assay.spec.criterion import Criterion
from assay.spec.document_similarity.criteria import Held
from assay.spec.enclosure import in_units_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from assay.spec.document_similarity import Instance

    Array = NDArray[np.float64]
    Mask = NDArray[np.bool_]
    Right = Callable[[Instance], Mapping[str, Criterion] | None]
    Wrong = Callable[[Instance, Right], Mapping[str, Criterion] | None]
    Sides = tuple[Array, Array]
    Change = Callable[[Instance, Array], Array]

__all__ = ["MEANINGS", "Reading"]

_FACTOR = 4.0  # times what the class may err: the errors of a wrong meaning are of that size, and not bounded by it


@dataclass(frozen=True, eq=False)
class Reading:
    """What a kernel of a wrong meaning does with an instance; arrays are (n, m).

    score: the pair of the largest one is chosen; the sign of ``least`` is in it.
    value: the number that is returned for a pair.
    asked: which pairs are looked at; the pairs of the instance if it is left out.
    at: the pair that is meant by the indices that are returned.
    size: what errors of the score are relative to, 1 and the size of the score if it is left out.  value_size: the same
    of the value.
    """

    score: Array
    value: Array
    asked: Mask | None = None
    at: Callable[[int, int], tuple[int, int]] = lambda i, j: (i, j)
    size: Array | None = None
    value_size: Array | None = None


def _reads(read: Callable[[Instance], Reading | None]) -> Wrong:
    """The criteria under which a kernel that reads an instance so is right; ``None`` where it is right anyway."""

    def criteria(instance: Instance, right: Right) -> Mapping[str, Criterion] | None:
        with np.errstate(all="ignore"):
            reading, proper = read(instance), right(instance)
            if reading is None or proper is None or not isinstance(held := proper["pair"], Held):
                return None
            asked = instance.pairs() if reading.asked is None else reading.asked
            if not asked.any():
                return None
            unit = _FACTOR * _relative(instance, held.errors) + 2.0**-48
            score = np.where(asked & ~np.isnan(reading.score), reading.score, -np.inf)
            size = _sized(score, reading.size)
            value_size = _sized(reading.value, reading.value_size)
            best = float((score - unit * size).max())

        def place(i: NDArray[Any], j: NDArray[Any]) -> tuple[int, int] | None:
            at = reading.at(int(i), int(j))
            return at if all(0 <= k < n for k, n in zip(at, asked.shape, strict=True)) and asked[at] else None

        def lacking(i: NDArray[Any], j: NDArray[Any]) -> Array:
            at = place(i, j)
            if at is None:
                return np.asarray(np.inf)
            lacks = np.asarray(0.0 if score[at] >= best else best - score[at])
            return in_units_of(lacks, unit * size[at])

        def off(i: NDArray[Any], j: NDArray[Any], similarity: NDArray[Any]) -> Array:
            at = place(i, j)
            if at is None:
                return np.asarray(np.inf)
            got, meant = float(similarity), float(reading.value[at])
            if got == meant or (np.isnan(got) and np.isnan(meant)):
                return np.asarray(0.0)
            return in_units_of(np.abs(np.asarray(got - meant)), unit * value_size[at])

        return {
            "pair": Criterion(lacking, np.asarray(1.0), lambda _: "", ("i", "j")),
            "similarity": Criterion(off, np.asarray(1.0), lambda _: "", ("i", "j", "similarity")),
        }

    return criteria


def _sized(table: Array, size: Array | None) -> Array:
    """What errors of a table are relative to; 1 where it is infinite."""
    whole = np.where(np.isfinite(table), np.abs(table), 0.0) + (1.0 if size is None else size)
    return np.asarray(np.where(whole > 0, whole, 1.0))


def _relative(instance: Instance, errors: Array) -> float:
    """What the class may err in a similarity, relative to the size of its terms; infinite outside its domain."""
    asked = instance.pairs()
    if instance.measure == "cosine":
        return float(errors[asked].max())
    size = _products(*(np.abs(side) for side in instance.sides()))
    seen = asked & (size > 0)
    return float((errors[seen] / size[seen]).max(initial=0.0))


# --- tables -----------------------------------------------------------------------------------------------------------


def _products(left: Array, right: Array) -> Array:
    return np.asarray(left @ right.T)


def _norms(documents: Array) -> Array:
    """‖u_i‖ without an overflow, and 1 for a document of zeros, whose products are 0."""
    most = np.abs(documents).max(axis=1, keepdims=True)
    most = np.where(most > 0, most, 1.0)
    norms = most[:, 0] * np.linalg.norm(documents / most, axis=1)
    return np.where(norms > 0, norms, 1.0)


def _unit(documents: Array) -> Array:
    return np.asarray(documents / _norms(documents)[:, None])


def _cosines(left: Array, right: Array) -> Array:
    return _products(_unit(left), _unit(right))


def _right_table(instance: Instance) -> Array:
    """The similarities themselves, in float64."""
    return (_cosines if instance.measure == "cosine" else _products)(*instance.sides())


def _scored(table: Callable[[Instance], Array | None], *, returns: str = "score") -> Wrong:
    """The best pair by another table; returned is that number, or the ``similarity`` of the pair."""

    def read(instance: Instance) -> Reading | None:
        score = table(instance)
        if score is None:
            return None
        size = _size(instance) if instance.measure == "inner_product" else None
        if returns == "score":
            return Reading(instance.sign * score, score, size=size, value_size=size)
        return Reading(instance.sign * score, _right_table(instance), size=size)

    return _reads(read)


def _divided(table: Callable[[Array, Array], Array], measure: str = "cosine") -> Wrong:
    """The best pair by products that are divided by something else than both norms."""

    def read(instance: Instance) -> Reading | None:
        if instance.measure != measure:
            return None
        left, right = instance.sides()
        score, size = table(left, right), table(np.abs(left), np.abs(right))
        return Reading(instance.sign * score, score, size=size, value_size=size)

    return _reads(read)


def _only(measure: str, table: Callable[[Array, Array], Array]) -> Callable[[Instance], Array | None]:
    """A table of both sides, where the instance asks for a measure."""
    return lambda instance: table(*instance.sides()) if instance.measure == measure else None


def _changed(change: Change, *sides: int) -> Callable[[Instance], Array | None]:
    """The cosines of changed documents, of both sides or of one; ``None`` where nothing changes."""

    def table(instance: Instance) -> Array | None:
        before = instance.sides()
        after = [change(instance, x) if side in (sides or (0, 1)) else x for side, x in enumerate(before)]
        if all((a == b).all() for a, b in zip(after, before, strict=True)):
            return None
        if instance.measure == "cosine" and not all((x != 0).any() for x in after):
            return None
        return (_cosines if instance.measure == "cosine" else _products)(after[0], after[1])

    return table


def _valued(value: Callable[[Array], Array], *, measure: str = "cosine") -> Wrong:
    """The right pair with another number: a function of the similarity."""

    def read(instance: Instance) -> Reading | None:
        if instance.measure != measure:
            return None
        table = _right_table(instance)
        return Reading(instance.sign * table, value(np.clip(table, -1, 1)))

    return _reads(read)


def _pair_alone(wrong: Wrong) -> Wrong:
    """The same wrong meaning with any number for the similarity."""

    def criteria(instance: Instance, right: Right) -> Mapping[str, Criterion] | None:
        held = wrong(instance, right)
        return None if held is None else {"pair": held["pair"]}

    return criteria


def _short_products(stored: Callable[[Array], Array]) -> Callable[[Instance], Array | None]:
    """Similarities of integers whose inner products are stored so; ``None`` where 16 bits hold them all."""

    def table(instance: Instance) -> Array | None:
        left, right = instance.sides()
        products = _products(left, right)
        if not (products == np.rint(products)).all() or not (np.abs(products) >= 2**15).any():
            return None
        if instance.measure != "cosine":
            return stored(products)
        return np.asarray(stored(products) / (_norms(left)[:, None] * _norms(right)))

    return table


def _limited(asked: Callable[[Instance, Mask], Mask]) -> Wrong:
    """The best of some pairs alone; ``None`` where these are all."""

    def read(instance: Instance) -> Reading | None:
        pairs = instance.pairs()
        kept = asked(instance, pairs)
        if (kept == pairs).all() or not kept.any():
            return None
        table = _right_table(instance)
        return Reading(instance.sign * table, table, kept)

    return _reads(read)


def _placed(at: Callable[[tuple[int, int], int, int], tuple[int, int]]) -> Wrong:
    """The right pair under other indices: ``at((n, m), i, j)`` is the pair that is meant."""

    def read(instance: Instance) -> Reading:
        table = _right_table(instance)
        return Reading(instance.sign * table, table, at=functools.partial(at, table.shape))

    return _reads(read)


# --- single readings --------------------------------------------------------------------------------------------------


def _diagonal(table: NDArray[Any], k: int = 0) -> Mask:
    """The entries (i, i + k) of a table."""
    n, m = table.shape
    return np.eye(n, m, k, dtype=np.bool_)


def _second(instance: Instance) -> Reading | None:
    """The second best of all similarities that differ."""
    table, pairs = instance.sign * _right_table(instance), instance.pairs()
    best = np.where(pairs, table, -np.inf).max()
    rest = pairs & (table < best - 1e-3 * abs(best))
    return Reading(table, instance.sign * table, rest) if rest.any() else None


def _exchanged(instance: Instance) -> Reading:
    table = _right_table(instance)
    return Reading(-instance.sign * table, table)


def _self_pairs(instance: Instance) -> Reading | None:
    """Any document with itself."""
    if instance.right is not None:
        return None
    table = _right_table(instance)
    return Reading(0 * table, table, _diagonal(table))


def _mixed_ties(instance: Instance) -> Reading | None:
    """i of one best pair and j of another, which are no best pair together, with the similarity of the best."""
    table, pairs = instance.sign * _right_table(instance), instance.pairs()
    best = np.where(pairs, table, -np.inf).max()
    ties = pairs & (table >= best - 1e-6 * abs(best))
    mixed = ties.any(axis=1)[:, None] & ties.any(axis=0) & ~ties
    return Reading(0 * table, np.full_like(table, instance.sign * best), mixed) if mixed.any() else None


def _same_index(instance: Instance) -> Reading | None:
    if instance.right is None:
        return None
    table = _right_table(instance)
    return Reading(instance.sign * table, table, _diagonal(table))


def _one_side(sides: str, returns: str) -> Wrong:
    """Products with the norms of one side, or of none, divided out."""

    def read(instance: Instance) -> Reading | None:
        if instance.measure != "cosine":
            return None
        left, right = instance.sides()
        one, other = _norms(left)[:, None], _norms(right)
        factor = {"left": one + 0 * other, "right": other + 0 * one, "both": one * other}[sides]
        cosines = _cosines(left, right)
        score = cosines * factor
        if returns == "score":
            return Reading(instance.sign * score, score, size=factor, value_size=factor)
        return Reading(instance.sign * score, cosines, size=factor)

    return _reads(read)


def _overflowing(largest: float, least: float) -> Callable[[Instance], Array | None]:
    """Cosines divided by √(‖u‖²‖v‖²), whose product is infinite beyond a number, and 0 below one."""

    def table(instance: Instance) -> Array | None:
        if instance.measure != "cosine":
            return None
        left, right = instance.sides()
        squares = _norms(left)[:, None] ** 2 * _norms(right) ** 2
        if not ((squares > largest) | (squares < least)).any():
            return None
        under = np.where(squares > largest, np.inf, np.where(squares < least, 0.0, squares))
        return np.asarray(_products(left, right) / np.sqrt(under))

    return table


def _centred(_: Instance, documents: Array) -> Array:
    return np.asarray(documents - documents.mean(axis=1, keepdims=True))


def _centred_words(_: Instance, documents: Array) -> Array:
    return np.asarray(documents - documents.mean(axis=0))


def _weighted(instance: Instance, documents: Array) -> Array:
    """Words weighted by the documents of both sides that have them."""
    every = np.concatenate([side != 0 for side in (instance.arrays().values())])
    return np.asarray(documents * (np.log((1 + len(every)) / (1 + every.sum(axis=0))) + 1))


def _whole(length: int, tile: int) -> int:
    return length // tile * tile or length


def _first_words(kept: Callable[[int], int]) -> Change:
    return lambda _, documents: np.where(np.arange(documents.shape[1]) < kept(documents.shape[1]), documents, 0.0)


def _jaccard(left: Array, right: Array) -> Array:
    """Of the sets of words."""
    common = _products((left != 0).astype(float), (right != 0).astype(float))
    either = (left != 0).sum(axis=1)[:, None] + (right != 0).sum(axis=1) - common
    return np.asarray(common / np.maximum(either, 1))


def _dice(left: Array, right: Array) -> Array:
    common = _products((left != 0).astype(float), (right != 0).astype(float))
    return np.asarray(2 * common / ((left != 0).sum(axis=1)[:, None] + (right != 0).sum(axis=1)))


def _distance(left: Array, right: Array) -> Array:
    """−‖u − v‖."""
    squares = _norms(left)[:, None] ** 2 + _norms(right) ** 2 - 2 * _products(left, right)
    return np.asarray(-np.sqrt(np.maximum(squares, 0.0)))


def _over_common(left: Array, right: Array) -> Array:
    """Norms over the words that both documents have."""
    one, other = (left != 0).astype(float), (right != 0).astype(float)
    norms = np.sqrt(_products(left**2, other) * _products(one, right**2))
    return np.asarray(np.where(norms > 0, _products(left, right) / np.where(norms > 0, norms, 1.0), 0.0))


def _floored(epsilon: float, form: str) -> Callable[[Instance], Array | None]:
    """Norms that are raised to an epsilon, or a product of norms that is, or one to which it is added."""

    def table(instance: Instance) -> Array | None:
        if instance.measure != "cosine":
            return None
        left, right = instance.sides()
        one, other = _norms(left)[:, None], _norms(right)
        product = one * other
        under = {
            "norms": np.maximum(one, epsilon) * np.maximum(other, epsilon),
            "product": np.maximum(product, epsilon),
            "added": product + epsilon,
            "norms added": (one + epsilon) * (other + epsilon),
            "unit": np.where(one < epsilon, 1.0, one) * np.where(other < epsilon, 1.0, other),
        }[form]
        if np.abs(under / product - 1).max() < 1e-9:
            return None
        return np.asarray(_cosines(left, right) * (product / under))

    return table


def _flat(width: Callable[[tuple[int, int]], int]) -> Wrong:
    """A flat index that is divided by another width than that of the table."""

    def at(shape: tuple[int, int], i: int, j: int) -> tuple[int, int]:
        index = i * width(shape) + j
        return divmod(index, shape[1]) if 0 <= j < width(shape) and i >= 0 else (-1, -1)

    return _placed(at)


#: Forms of an epsilon, and what a kernel does with it.
_FLOORS = {
    "norms": "norms below {} raised to it",
    "product": "products of norms below {} raised to it",
    "added": "{} added to the product of norms",
    "norms added": "{} added to the norms",
}


def _rows() -> Iterator[tuple[str, str, Wrong]]:
    """Every row: an identifier, a sentence, and what would be right."""
    # one meaning a line
    # fmt: off
    yield "products", "inner products in place of cosines: no norm divided out", _one_side("both", "score")
    yield "products-pair", "the pair of the best inner product, with its cosine", _one_side("both", "similarity")
    for side in ("left", "right"):
        yield f"{side}-unnormalised", f"the norms of the {side} not divided out", _one_side(side, "score")
        yield f"{side}-unnormalised-pair", f"the pair chosen without the norms of the {side}, its cosine returned", _one_side(side, "similarity")
    yield "measure", "the measure ignored: cosines where inner products were asked for", _scored(_only("inner_product", _cosines))
    yield "norms-squared", "divided by the squares of the norms", _divided(lambda x, y: _cosines(x, y) / (_norms(x)[:, None] * _norms(y)))
    yield "norms-rooted", "divided by the root of the product of the norms", _divided(lambda x, y: _cosines(x, y) * np.sqrt(_norms(x)[:, None] * _norms(y)))
    yield "manhattan-norms", "divided by sums of absolute values in place of norms", _divided(lambda x, y: _products(x, y) / (np.abs(x).sum(1)[:, None] * np.abs(y).sum(1)))
    yield "largest-norms", "divided by the largest entries in place of norms", _divided(lambda x, y: _products(x, y) / (np.abs(x).max(1)[:, None] * np.abs(y).max(1)))
    yield "common-norms", "norms over words in common alone", _scored(_only("cosine", _over_common))
    yield "mean-products", "means over the words in place of sums", _divided(lambda x, y: _products(x, y) / x.shape[1], "inner_product")
    yield "sum-products", "sums over the words, then one norm for the whole collection", _divided(lambda x, y: _products(x / np.linalg.norm(x), y / np.linalg.norm(y)))
    yield "euclidean", "the Euclidean distance of the documents as they are, with the cosine of the pair", _reads(lambda i: None if i.measure != "cosine" else Reading(i.sign * _distance(*i.sides()), _right_table(i), size=_scale(i)))
    yield "euclidean-value", "the Euclidean distance of the documents as they are", _reads(lambda i: None if i.measure != "cosine" else Reading(i.sign * _distance(*i.sides()), -_distance(*i.sides()), size=_scale(i), value_size=_scale(i)))
    yield "jaccard", "the Jaccard similarity of the sets of words", _scored(_only("cosine", _jaccard))
    yield "dice", "the Dice similarity of the sets of words", _scored(_only("cosine", _dice))
    yield "presence", "word presence in place of weights", _scored(_changed(lambda i, x: (x != 0).astype(float)))
    yield "absolute-weights", "the signs of weights lost", _scored(_changed(lambda i, x: np.abs(x)))
    yield "negative-cut", "negative weights cut at 0", _scored(_changed(lambda i, x: np.maximum(x, 0)))
    yield "rounded-weights", "weights cut to integers", _scored(_changed(lambda i, x: np.trunc(x)))
    for most in (127, 255):
        yield f"weights-{most}", f"weights beyond {most} cut", _scored(_changed(functools.partial(lambda i, x, most: np.clip(x, -most - 1, most), most=most)))
    yield "weights-bytes", "weights wrapped around in eight bits", _scored(_changed(lambda i, x: (np.rint(x) + 128) % 256 - 128))
    yield "products-wrapped", "inner products wrapped around in 16 bits", _scored(_short_products(lambda x: (np.rint(x) + 2**15) % 2**16 - 2**15))
    yield "products-cut", "inner products cut to 16 bits", _scored(_short_products(lambda x: np.clip(x, -(2**15), 2**15 - 1)))
    yield "centred", "documents centred: Pearson's correlation", _scored(_changed(_centred))
    yield "centred-words", "the mean document taken off", _scored(_changed(_centred_words))
    yield "inverse-frequencies", "words weighted by their frequency once more", _scored(_changed(_weighted))
    yield "logarithms", "logarithms of counts in place of counts", _scored(_changed(lambda i, x: np.sign(x) * np.log1p(np.abs(x))))
    for name, number in (("left", 0), ("right", 1)):
        yield f"{name}-weighted", f"words of the {name} alone weighted by their frequency", _scored(_changed(_weighted, number))
        yield f"{name}-presence", f"word presence in place of weights on the {name} alone", _scored(_changed(lambda i, x: (x != 0).astype(float), number))
    yield "last-word", "the last word left out", _scored(_changed(_first_words(lambda d: d - 1 or d)))
    yield "first-word", "the first word left out", _scored(_changed(lambda i, x: np.where(np.arange(x.shape[1]) > 0, x, 0.0)))
    for tile in (4, 8, 16, 32, 64, 128):
        yield f"words-{tile}", f"words beyond whole tiles of {tile} left out", _scored(_changed(_first_words(functools.partial(_whole, tile=tile))))
        yield f"first-{tile}-words", f"the first {tile} words alone", _scored(_changed(_first_words(functools.partial(min, tile))))
        for name, number in (("left", 0), ("right", 1)):
            yield f"{name}-{tile}", f"documents of the {name} beyond whole tiles of {tile} left out", _limited(functools.partial(_kept, number, functools.partial(_whole, tile=tile)))
        yield f"last-rows-{tile}", f"the best of the last tile of {tile} rows alone", _limited(functools.partial(_last_rows, tile))
        yield f"documents-{tile}", f"documents of both sides beyond whole tiles of {tile} left out", _limited(functools.partial(_kept, 2, functools.partial(_whole, tile=tile)))
    for name, number in (("left", 0), ("right", 1), ("left and the last of the right", 2)):
        yield f"last-{number}", f"the last document of the {name} left out", _limited(functools.partial(_kept, number, lambda n: n - 1))
        yield f"first-{number}", f"the first document of the {name.replace('last', 'first')} left out", _limited(functools.partial(_left_out, number))
        yield f"first-alone-{number}", f"the first document of the {name.replace('last', 'first')} alone", _limited(functools.partial(_kept, number, lambda n: 1))
        yield f"last-alone-{number}", f"the last document of the {name} alone", _limited(functools.partial(_last_alone, number))
    yield "exchanged", "the least similar pair in place of the most similar one, or the reverse", _reads(_exchanged)
    yield "self", "a document makes a pair with itself", _pair_alone(_reads(_self_pairs))
    yield "same-index", "documents compared with the one of the same number alone", _reads(_same_index)
    yield "neighbours", "documents compared with the next one alone", _limited(lambda i, pairs: pairs & _diagonal(pairs, 1))
    yield "not-same-index", "documents of the same number left out, although there are two collections", _limited(lambda i, pairs: ~_diagonal(pairs))
    yield "upper", "pairs with i < j alone, although there are two collections", _limited(lambda i, pairs: pairs if i.right is None else np.triu(pairs, 1))
    yield "left-alone", "the right ignored: a pair of the left", _reads(functools.partial(_within, 0))
    yield "right-alone", "the left ignored: a pair of the right", _reads(functools.partial(_within, 1))
    yield "second", "the second best pair", _reads(_second)
    yield "mixed-ties", "the first index of one tie with the second index of another", _reads(_mixed_ties)
    yield "indices", "i and j exchanged", _placed(lambda shape, i, j: (j, i))
    yield "one-based", "indices that begin at 1", _placed(lambda shape, i, j: (i - 1, j - 1))
    yield "flat-rows", "the flat index divided by the number of documents on the left", _flat(lambda shape: shape[0])
    yield "flat-less", "the flat index divided by one less than the width of the table", _flat(lambda shape: max(shape[1] - 1, 1))
    yield "compressed", "an index among the others, the document itself not counted", _reads(_compressed)
    yield "absolute", "absolute values of similarities", _scored(lambda i: np.abs(_right_table(i)))
    yield "absolute-pair", "the pair of the largest absolute similarity, with its sign", _scored(lambda i: np.abs(_right_table(i)), returns="similarity")
    yield "squared", "squares of cosines", _scored(_only("cosine", lambda x, y: _cosines(x, y) ** 2))
    yield "cut", "negative similarities cut at 0", _scored(lambda i: np.maximum(_right_table(i), 0))
    yield "distance", "1 − cosine returned in place of the cosine", _valued(lambda c: 1 - c)
    yield "angle", "the angle returned in place of its cosine", _valued(np.arccos)
    yield "angular", "1 − angle/π returned in place of the cosine", _valued(lambda c: 1 - np.arccos(c) / np.pi)
    yield "half", "(1 + cosine)/2 returned in place of the cosine", _valued(lambda c: (1 + c) / 2)
    yield "negative", "the negative of the similarity returned", _reads(lambda i: Reading(i.sign * _right_table(i), -_right_table(i), value_size=None if i.measure == "cosine" else _size(i)))
    yield "percent", "the cosine in percent", _valued(lambda c: 100 * c)
    yield "squared-value", "the square of the cosine returned", _valued(lambda c: c**2)
    yield "product-value", "the right pair, with its inner product", _reads(lambda i: None if i.measure != "cosine" else Reading(i.sign * _right_table(i), _products(*i.sides()), value_size=_size(i)))
    yield "distance-value", "the right pair, with its Euclidean distance", _reads(lambda i: None if i.measure != "cosine" else Reading(i.sign * _right_table(i), -_distance(*i.sides()), value_size=_scale(i)))
    yield "unit-distance", "the right pair, with the Euclidean distance of normalised documents", _valued(lambda c: np.sqrt(2 - 2 * c))
    yield "unit-distance-squared", "the right pair, with the squared distance of normalised documents", _valued(lambda c: 2 - 2 * c)
    yield "one", "1 returned for every pair", _reads(lambda i: Reading(i.sign * _right_table(i), np.ones_like(_right_table(i))))
    yield "zero", "0 returned for every pair", _reads(lambda i: Reading(i.sign * _right_table(i), np.zeros_like(_right_table(i))))
    yield "all-zero", "0 taken for the similarity of every pair", _reads(lambda i: Reading(0 * _right_table(i), 0 * _right_table(i)))
    yield "from-zero", "a running best that starts from 0", _reads(_from_zero)
    yield "first-pair", "the first pair, whatever the documents are", _limited(_first_pair)
    for words, digits in (("float32", 23), ("float64", 52)):
        yield f"unit-{words}", f"norms below ten units of {words} taken for 1", _scored(_floored(10 * 2.0**-digits, "unit"))
    for epsilon, form in itertools.product((1e-12, 1e-8, 1e-6, 1e-5, 1e-4, 1e-3, 1.0), _FLOORS):
        yield f"epsilon-{form.replace(' ', '-')}-{epsilon:g}", _FLOORS[form].format(f"{epsilon:g}"), _scored(_floored(epsilon, form))
    for name, largest, least in (("float16", 65504.0, 2.0**-25), ("float32", 2.0**128, 2.0**-149)):
        yield f"overflow-{name}", f"the product of squared norms overflows, or is flushed to zero, in {name}", _scored(_overflowing(largest, least))
    # fmt: on


def _scale(instance: Instance) -> Array:
    """‖u‖ + ‖v‖."""
    left, right = instance.sides()
    return np.asarray(_norms(left)[:, None] + _norms(right))


def _from_zero(instance: Instance) -> Reading | None:
    """The first pair where the best is not above 0."""
    pairs, table = instance.pairs(), _right_table(instance)
    if np.where(pairs, instance.sign * table, -np.inf).max() > 0:
        return None
    return Reading(table, table, _first_pair(instance, pairs))


def _last_rows(tile: int, instance: Instance, pairs: Mask) -> Mask:
    """The rows of the last tile."""
    start = (len(pairs) - 1) // tile * tile
    return pairs & (np.arange(len(pairs)) >= start)[:, None]


def _size(instance: Instance) -> Array:
    return _products(*(np.abs(side) for side in instance.sides()))


def _kept(side: int, kept: Callable[[int], int], instance: Instance, pairs: Mask) -> Mask:
    """The first documents of the left (0), the right (1) or both (2)."""
    n, m = pairs.shape
    one = np.arange(n) < (kept(n) if side in (0, 2) else n)
    other = np.arange(m) < (kept(m) if side in (1, 2) else m)
    return pairs & one[:, None] & other


def _left_out(side: int, instance: Instance, pairs: Mask) -> Mask:
    """All but the first document."""
    n, m = pairs.shape
    one = np.arange(n) >= (side in (0, 2))
    other = np.arange(m) >= (side in (1, 2))
    return pairs & one[:, None] & other


def _last_alone(side: int, instance: Instance, pairs: Mask) -> Mask:
    n, m = pairs.shape
    one = np.arange(n) >= (n - 1 if side in (0, 2) else 0)
    other = np.arange(m) >= (m - 1 if side in (1, 2) else 0)
    return pairs & one[:, None] & other


def _first_pair(instance: Instance, pairs: Mask) -> Mask:
    first = np.zeros_like(pairs)
    first[np.unravel_index(int(np.argmax(pairs)), pairs.shape)] = True
    return first


def _within(side: int, instance: Instance) -> Reading | None:
    """A pair of one side; its table is cut or filled to the shape of the right one, which the answer must fit."""
    if instance.right is None:
        return None
    documents = instance.sides()[side]
    if len(documents) < 2:
        return None
    table = (_cosines if instance.measure == "cosine" else _products)(documents, documents)
    return Reading(instance.sign * table, table, ~_diagonal(table))


def _compressed(instance: Instance) -> Reading | None:
    """j counts the documents other than i."""
    if instance.right is not None:
        return None
    table = _right_table(instance)
    return Reading(instance.sign * table, table, at=lambda i, j: (i, j + (j >= i)))


#: The known wrong meanings of document similarity.
MEANINGS: tuple[Meaning, ...] = tuple(Meaning(*row) for row in _rows())
