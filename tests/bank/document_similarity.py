"""Kernels for pairs of documents: correct ones of unusual structure, which must pass, and wrong ones, which must fail.

One engine, :func:`_kernel`, does the work; a kernel replaces some of its :class:`Steps`.  Nothing here uses assay.
Each wrong kernel re-creates the behaviour of a defect that shipped (the source names the issue) or a planted one.
"""

# ruff: noqa: E501 - the tables have one kernel a line
from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from bank.entry import Entry

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BUGGY", "CORRECT"]

Array = NDArray[Any]
BFLOAT16, FLOAT16 = ml_dtypes.bfloat16, np.float16
F32 = ("float32",)
NEW = "assay's bank"


# --- the engine -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """What is asked: both sides in the type of the work, whether there is one collection, the option and the measure."""

    left: Array
    right: Array
    alone: bool
    least: bool
    measure: str
    stored: Any

    @property
    def cosine(self) -> bool:
        return self.measure == "cosine"

    @property
    def sign(self) -> int:
        return -1 if self.least else 1


def _norms(task: Task, x: Array) -> Array:
    return np.asarray(np.sqrt((x * x).sum(axis=1, dtype=x.dtype)))


def _unit(task: Task, x: Array, norms: Array) -> Array:
    """Documents of norm 1, rounded to the type of the arrays."""
    return np.asarray((x / norms[:, None]).astype(task.stored).astype(x.dtype))


def _table(task: Task, left: Array, right: Array) -> Array:
    return np.asarray(left @ right.T)


def _pairs(task: Task, shape: tuple[int, ...]) -> Array:
    return ~np.eye(*shape, dtype=bool) if task.alone else np.ones(shape, bool)


def _chosen(task: Task, score: Array, pairs: Array) -> tuple[int, int]:
    wanted = np.where(pairs, task.sign * score, -np.inf)
    i, j = np.unravel_index(int(np.argmax(wanted)), wanted.shape)
    return int(i), int(j)


@dataclass(frozen=True)
class Steps:
    """What the engine does, step by step; the defaults are right."""

    task: Callable[[Task], Task] = lambda t: t
    norms: Callable[[Task, Array], Array] = _norms
    sides: tuple[int, ...] = (0, 1)  # the sides whose norms are divided out
    unit: Callable[[Task, Array, Array], Array] = _unit
    table: Callable[[Task, Array, Array], Array] = _table
    score: Callable[[Task, Array], Array] = lambda t, table: table
    pairs: Callable[[Task, tuple[int, ...]], Array] = _pairs
    chosen: Callable[[Task, Array, Array], tuple[int, int]] = _chosen
    value: Callable[[Task, Array, int, int], Any] = lambda t, table, i, j: table[i, j]
    indices: Callable[[Task, int, int, tuple[int, ...]], tuple[int, int]] = lambda t, i, j, shape: (i, j)


def _work(x: Array) -> Array:
    return x.astype(np.float64 if x.dtype == np.float64 else np.float32)


def _engine(task: Task, steps: Steps) -> tuple[Any, Any, Any]:
    stored = task.stored
    task = steps.task(task)
    left, right = task.left, task.right
    if task.cosine:
        left, right = (
            steps.unit(task, x, steps.norms(task, x)) if side in steps.sides else x
            for side, x in enumerate((left, right))
        )
    table = steps.table(task, left, right)
    score = steps.score(task, table)
    i, j = steps.chosen(task, score, steps.pairs(task, table.shape))
    value = steps.value(task, table, i, j)
    return (*steps.indices(task, i, j, table.shape), np.asarray(value).astype(stored))


def _kernel(steps: Steps, each: Callable[[Task, Steps], Any] = _engine) -> Callable[..., Any]:
    """A kernel with every option."""

    def kernel(left: Array, right: Array | None = None, *, least: bool = False, measure: str = "cosine") -> Any:
        one = _work(left)
        task = Task(one, one if right is None else _work(right), right is None, least, measure, left.dtype)
        with np.errstate(all="ignore"):
            return each(task, steps)

    return kernel


# --- correct ----------------------------------------------------------------------------------------------------------


def _norms_last(task: Task, left: Array, right: Array) -> Array:
    table = left @ right.T
    return np.asarray(table / (_norms(task, left)[:, None] * _norms(task, right)) if task.cosine else table)


def _words_one_by_one(task: Task, left: Array, right: Array) -> Array:
    """One word after the other, the last one first."""
    table = np.zeros((len(left), len(right)), left.dtype)
    for word in range(left.shape[1])[::-1]:
        table += left[:, word : word + 1] * right[:, word]
    return table


def _norms_one_by_one(task: Task, x: Array) -> Array:
    total = np.zeros(len(x), x.dtype)
    for word in range(x.shape[1]):
        total += x[:, word] * x[:, word]
    return np.sqrt(total)


def _scaled_norms(task: Task, x: Array) -> Array:
    """Without an overflow, as hypot does it."""
    most = np.abs(x).max(axis=1, keepdims=True)
    return np.asarray(most[:, 0] * np.sqrt(((x / most) ** 2).sum(axis=1)))


def _last_tie(task: Task, score: Array, pairs: Array) -> tuple[int, int]:
    i, j = _chosen(task, score[::-1, ::-1], pairs[::-1, ::-1])
    return score.shape[0] - 1 - i, score.shape[1] - 1 - j


def _tiled(task: Task, score: Array, pairs: Array) -> tuple[int, int]:
    """Tiles of 5 × 3 with a running best, the last tile first."""
    best, at = -np.inf, (-1, -1)
    for i in range(0, score.shape[0], 5)[::-1]:
        for j in range(0, score.shape[1], 3)[::-1]:
            tile = np.s_[i : i + 5, j : j + 3]
            if not pairs[tile].any():
                continue
            a, b = _chosen(task, score[tile], pairs[tile])
            if task.sign * score[i + a, j + b] > best:
                best, at = task.sign * score[i + a, j + b], (i + a, j + b)
    return at


def _threaded(task: Task, steps: Steps) -> Any:
    """Rows by two threads, then the best of theirs."""
    left, right = (steps.unit(task, x, steps.norms(task, x)) if task.cosine else x for x in (task.left, task.right))
    pairs = _pairs(task, (len(left), len(right)))

    def row(i: int) -> tuple[float, int, int, Any]:
        table = left[i : i + 1] @ right.T
        wanted = np.where(pairs[i], task.sign * table[0], -np.inf)
        j = int(np.argmax(wanted))
        return float(wanted[j]), i, j, table[0, j]

    with ThreadPoolExecutor(2) as pool:
        _, i, j, value = max(pool.map(row, range(len(left))), key=lambda found: found[0])
    return i, j, np.asarray(value).astype(task.stored)


def _upper(task: Task, shape: tuple[int, ...]) -> Array:
    return np.triu(np.ones(shape, bool), 1) if task.alone else np.ones(shape, bool)


def _squared_distances(task: Task, left: Array, right: Array) -> Array:
    """1 − ‖u − v‖²/2 of documents of norm 1."""
    if not task.cosine:
        return np.asarray(left @ right.T)
    squares = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1) - 2 * (left @ right.T)
    return np.asarray(1 - squares / 2)


def _through_one(task: Task, left: Array, right: Array) -> Array:
    """1 − (1 − cosine), as a search for the smallest distance gives it."""
    table = left @ right.T
    return 1 - (1 - table) if task.cosine else table


def _eager_norms(task: Task, x: Array) -> Array:
    squares = (x * x).astype(task.stored).astype(x.dtype)
    total = squares.sum(axis=1, dtype=x.dtype).astype(task.stored)
    return np.sqrt(total.astype(x.dtype)).astype(task.stored).astype(x.dtype)


def _eager_table(task: Task, left: Array, right: Array) -> Array:
    """Every product of two words stored, as an elementwise product and a sum."""
    products = (left[:, None] * right[None]).astype(task.stored).astype(left.dtype)
    return products.sum(axis=2, dtype=left.dtype).astype(task.stored)


def _by_reciprocals(task: Task, x: Array, norms: Array) -> Array:
    return np.asarray((x * (x.dtype.type(1) / norms)[:, None]).astype(task.stored).astype(x.dtype))


def _cut_inputs(task: Task) -> Task:
    """The inputs of a product in tf32: 10 bits after the point, the rest cut."""

    def cut(x: Array) -> Array:
        return (x.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)

    return replace(task, left=cut(task.left), right=cut(task.right))


def _cut_unit(task: Task, x: Array, norms: Array) -> Array:
    return np.asarray(
        (np.ascontiguousarray(x / norms[:, None]).view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)
    )


def _inverted(task: Task, left: Array, right: Array) -> Array:
    """For every word the documents that have it: words of one side alone are never touched."""
    table = np.zeros((len(left), len(right)), left.dtype)
    for word in range(left.shape[1]):
        one, other = np.flatnonzero(left[:, word]), np.flatnonzero(right[:, word])
        table[np.ix_(one, other)] += left[one, word][:, None] * right[other, word]
    return table


def _gram(task: Task, left: Array, right: Array) -> Array:
    """A block of the Gram matrix of all documents."""
    every = np.concatenate([left, right])
    return np.asarray((every @ every.T)[: len(left), len(left) :])


def _exactly(task: Task, steps: Steps) -> Any:
    """Rational numbers; squares of cosines with their signs are compared."""
    one, other = ([[Fraction(float(word)) for word in row] for row in x] for x in (task.left, task.right))
    best: Any = None
    for i, u in enumerate(one):
        for j, v in enumerate(other):
            if task.alone and i == j:
                continue
            product = sum((a * b for a, b in zip(u, v, strict=True) if a and b), Fraction(0))
            order = product
            if task.cosine:
                order = product * abs(product) / (sum(a * a for a in u) * sum(b * b for b in v))
            if best is None or task.sign * order > best[0]:
                best = task.sign * order, i, j, order
    _, i, j, order = best
    value = float(order) if not task.cosine else float(np.copysign(np.sqrt(float(abs(order))), float(order)))
    return i, j, np.asarray(value).astype(task.stored)


def _factor_two(task: Task, score: Array, pairs: Array) -> tuple[int, int]:
    """The worst pair that is still within a factor of two of the best."""
    wanted = np.where(pairs, task.sign * score, -np.inf)
    best = float(wanted.max())
    bar = best / 1.9 if best > 0 and not task.least else best * 1.9 if best < 0 and task.least else best
    wanted = np.where(pairs & (wanted >= bar), wanted, np.inf)
    i, j = np.unravel_index(int(np.argmin(wanted)), wanted.shape)
    return int(i), int(j)


def _one_collection(left: Array, *, least: bool = False) -> Any:
    return _kernel(Steps())(left, least=least)


def _two_collections(left: Array, right: Array) -> Any:
    return _kernel(Steps())(left, right)


def _plain_numbers(left: Array, right: Array | None = None, *, least: bool = False) -> Any:
    i, j, value = _kernel(Steps())(left, right, least=least)
    return int(i), int(j), float(value)


def _cached() -> Callable[..., Any]:
    """Documents of norm 1 kept between calls, under a key that tells everything apart."""
    kept: dict[Any, Array] = {}

    def unit(t: Task, x: Array, norms: Array) -> Array:
        return kept.setdefault((x.tobytes(), x.shape, str(t.stored)), _unit(t, x, norms))

    return _kernel(Steps(unit=unit))


def _bounded(task: Task, steps: Steps) -> Any:
    """Rows in the order of a bound, Cauchy–Schwarz on two halves of the words; those beyond reach are left out."""
    left, right = (steps.unit(task, x, steps.norms(task, x)) if task.cosine else x for x in (task.left, task.right))
    pairs, half = _pairs(task, (len(left), len(right))), left.shape[1] // 2
    parts = [tuple(np.sqrt((x[:, at] ** 2).sum(axis=1)) for at in (np.s_[:half], np.s_[half:])) for x in (left, right)]
    most = (parts[0][0] * parts[1][0].max() + parts[0][1] * parts[1][1].max()) * np.float32(1.001) + np.float32(1e-6)
    best, at, value = -np.inf, (0, 0), left.dtype.type(0)
    for i in np.argsort(-most):
        if most[i] < best:
            break
        table = left[i] @ right.T
        wanted = np.where(pairs[i], task.sign * table, -np.inf)
        j = int(np.argmax(wanted))
        if wanted[j] > best:
            best, at, value = float(wanted[j]), (int(i), j), table[j]
    return (*at, np.asarray(value).astype(task.stored))


CORRECT: tuple[Entry, ...] = (
    Entry("plain", _kernel(Steps()), ("float32", "float64", "bfloat16", "float16"), "documents of norm 1, one product; a similarity may be a little above 1", "scipy/scipy#5208, #17754; nmslib/hnswlib#76"),
    Entry("norms-last", _kernel(Steps(sides=(), table=_norms_last)), ("float32", "float16"), "one product, then the norms"),
    Entry("one-by-one", _kernel(Steps(norms=_norms_one_by_one, table=_words_one_by_one)), ("float32", "bfloat16"), "sums one word after the other"),
    Entry("hypot", _kernel(Steps(norms=_scaled_norms)), ("float32", "float16"), "norms of scaled documents"),
    Entry("reciprocals", _kernel(Steps(unit=_by_reciprocals)), ("float32",), "multiplied by reciprocals"),
    Entry("last-tie", _kernel(Steps(chosen=_last_tie)), ("float32", "bfloat16"), "the last of several best pairs: any is right", "sgl-project/sglang#37970"),
    Entry("tiles", _kernel(Steps(chosen=_tiled)), ("float32",), "tiles backwards, a running best"),
    Entry("threads", _kernel(Steps(), _threaded), ("float32",), "rows by threads"),
    Entry("upper", _kernel(Steps(pairs=_upper)), ("float32",), "i < j alone in one collection: half of the pairs"),
    Entry("inverted", _kernel(Steps(table=_inverted)), ("float32",), "an inverted index"),
    Entry("gram", _kernel(Steps(table=_gram)), ("float32",), "the Gram matrix of all documents"),
    Entry("bounded", _kernel(Steps(), _bounded), ("float32",), "rows beyond reach left out"),
    Entry("exactly", _kernel(Steps(), _exactly), ("float32",), "rational numbers, an exact pair declared", options={"pair": "exact", "documents": "1..12", "words": "1..64"}),
    Entry("distance", _kernel(Steps(table=_through_one)), ("float32",), "through 1 − distance, declared", options={"through": "distance"}),
    Entry("euclidean", _kernel(Steps(table=_squared_distances)), ("float32", "bfloat16"), "through the squared distance of documents of norm 1, declared", options={"through": "distance"}),
    Entry("eager", _kernel(Steps(norms=_eager_norms, table=_eager_table)), ("bfloat16-eager", "float16-eager"), "every operation stored", options={"documents": "1..70", "words": "1..300"}),
    Entry("tf32", _kernel(Steps(unit=_cut_unit)), ("tf32",), "documents of norm 1 cut to tf32 before the product"),
    Entry("tf32-inputs", _kernel(Steps(task=_cut_inputs)), ("tf32",), "documents cut to tf32 before everything"),
    Entry("factor-two", _kernel(Steps(chosen=_factor_two)), ("float32",), "within a factor of two of the best, declared", options={"approximation": "2"}),
    Entry("one-collection", _one_collection, ("float32",), "the form that takes one collection"),
    Entry("two-collections", _two_collections, ("float32",), "two collections, no options"),
    Entry("plain-numbers", _plain_numbers, ("bfloat16",), "numbers of Python are returned"),
    Entry("cached", _cached(), ("float32",), "documents of norm 1 kept under the right key"),
    Entry("cut-to-one", _kernel(Steps(table=lambda t, x, y: np.clip(x @ y.T, -1, 1) if t.cosine else x @ y.T)), ("float32",), "cosines cut to [−1, 1]"),
)  # fmt: skip


# --- wrong ------------------------------------------------------------------------------------------------------------


def _norms_or_one(task: Task, x: Array) -> Array:
    norms = _norms(task, x)
    return np.where(norms > 0, norms, x.dtype.type(1))


def _documents(change: Callable[[Array], Array], *sides: int) -> Steps:
    """Other documents than those that were handed over, on both sides or on one."""

    def task(t: Task) -> Task:
        one, other = (change(x) if side in (sides or (0, 1)) else x for side, x in enumerate((t.left, t.right)))
        return replace(t, left=one.astype(t.left.dtype), right=other.astype(t.right.dtype))

    return Steps(task=task, norms=_norms_or_one)


def _of_both(change: Callable[[Array, Array], Array], *sides: int) -> Steps:
    """Documents changed by what all of them have in common."""

    def task(t: Task) -> Task:
        every = t.left if t.alone else np.concatenate([t.left, t.right])
        one, other = (change(x, every) if side in (sides or (0, 1)) else x for side, x in enumerate((t.left, t.right)))
        return replace(t, left=one.astype(t.left.dtype), right=other.astype(t.right.dtype))

    return Steps(task=task)


def _frequencies(x: Array, every: Array) -> Array:
    return np.asarray(x * (np.log((1 + len(every)) / (1 + (every != 0).sum(axis=0))) + 1))


def _cosine_table(change: Callable[[Array, Array], Array]) -> Steps:
    """Another table in place of the cosines, of the documents as they are."""
    return Steps(sides=(), table=lambda t, x, y: change(x, y) if t.cosine else x @ y.T)


def _set_similarity(kind: str) -> Callable[[Array, Array], Array]:
    def table(left: Array, right: Array) -> Array:
        one, other = (left != 0).astype(left.dtype), (right != 0).astype(right.dtype)
        common, sizes = one @ other.T, one.sum(axis=1)[:, None] + other.sum(axis=1)
        return np.asarray(common / (sizes - common) if kind == "jaccard" else 2 * common / sizes)

    return table


def _common_norms(left: Array, right: Array) -> Array:
    one, other = (left != 0).astype(left.dtype), (right != 0).astype(right.dtype)
    norms = np.sqrt(((left**2) @ other.T) * (one @ (right**2).T))
    return np.asarray(np.where(norms > 0, (left @ right.T) / np.where(norms > 0, norms, 1), 0))


def _minus_distance(task: Task, steps: Steps) -> Any:
    """The pair of the smallest Euclidean distance, with its cosine."""
    if not task.cosine:
        return _engine(task, steps)
    distance = ((task.left[:, None] - task.right[None]) ** 2).sum(axis=2)
    return _engine(task, replace(steps, score=lambda t, table: -distance))


def _kept_rows(kept: Callable[[int], int], *sides: int) -> Steps:
    """Only the first documents of some sides are looked at."""

    def pairs(t: Task, shape: tuple[int, ...]) -> Array:
        one, other = (np.arange(n) < (kept(n) if side in (sides or (0, 1)) else n) for side, n in enumerate(shape))
        asked = _pairs(t, shape) & one[:, None] & other
        return asked if asked.any() else _pairs(t, shape)

    return Steps(pairs=pairs)


def _whole(tile: int) -> Callable[[int], int]:
    return lambda n: n // tile * tile or n


def _first_words(kept: Callable[[int], int]) -> Steps:
    return _documents(lambda x: np.where(np.arange(x.shape[1]) < kept(x.shape[1]), x, 0))


def _masked(change: Callable[[Task, Array], Array]) -> Steps:
    return Steps(pairs=lambda t, shape: change(t, _pairs(t, shape)))


def _without_first(task: Task, pairs: Array) -> Array:
    rest = pairs.copy()
    rest[:1] = False
    return rest if rest.any() else pairs


def _valued(value: Callable[[Any], Any]) -> Steps:
    return Steps(value=lambda t, table, i, j: value(table[i, j]) if t.cosine else table[i, j])


def _second(task: Task, score: Array, pairs: Array) -> tuple[int, int]:
    wanted = np.where(pairs, task.sign * score, -np.inf)
    best = wanted.max()
    return (
        _chosen(task, score, pairs & (wanted < best - np.float32(1e-3) * abs(best)))
        if (pairs & (wanted < best)).any()
        else _chosen(task, score, pairs)
    )


def _mixed_ties(task: Task, score: Array, pairs: Array) -> tuple[int, int]:
    """i of the first of equal scores and j of the last."""
    wanted = np.where(pairs, task.sign * score, -np.inf)
    ties = np.argwhere(wanted == wanted.max())
    return int(ties[0, 0]), int(ties[-1, 1])


def _best_value(task: Task, table: Array, i: int, j: int) -> Any:
    return task.sign * np.where(_pairs(task, table.shape), task.sign * table, -np.inf).max()


def _from_zero(task: Task, score: Array, pairs: Array) -> tuple[int, int]:
    """A running best that starts from 0, at (0, 0)."""
    i, j = _chosen(task, score, pairs)
    return (i, j) if task.sign * score[i, j] > 0 else (0, 1 if task.alone else 0)


def _first_good(task: Task, score: Array, pairs: Array) -> tuple[int, int]:
    """It stops at the first pair that is good enough."""
    wanted = np.where(pairs, task.sign * score, -np.inf)
    good = np.argwhere(wanted >= 0.8)
    return (int(good[0, 0]), int(good[0, 1])) if len(good) else _chosen(task, score, pairs)


def _last_tile_alone(task: Task, score: Array, pairs: Array) -> tuple[int, int]:
    """The best of every tile of 16 rows, the running best not carried on."""
    start = (len(score) - 1) // 16 * 16
    if not pairs[start:].any():
        return _chosen(task, score, pairs)
    i, j = _chosen(task, score[start:], pairs[start:])
    return start + i, j


def _flat(width: Callable[[tuple[int, ...]], int]) -> Steps:
    return Steps(indices=lambda t, i, j, shape: divmod(i * shape[1] + j, max(width(shape), 1)))


def _few_found(task: Task, i: int, j: int, shape: tuple[int, ...]) -> tuple[int, int]:
    """A search for four neighbours that are not there."""
    return (i, j) if shape[1] >= 4 else (i, -1)


def _half(x: Array) -> Array:
    return x.astype(FLOAT16).astype(x.dtype)


def _overflowing(task: Task, left: Array, right: Array) -> Array:
    """⟨u, v⟩/√(‖u‖²‖v‖²) with everything stored in float16."""
    if not task.cosine:
        return np.asarray(left @ right.T)
    squares = (_half(x**2).sum(axis=1) for x in (left, right))
    one, other = (_half(x) for x in squares)
    return _half(_half(left @ right.T) / _half(np.sqrt(_half(one[:, None] * other))))


def _product_of_squares(task: Task, left: Array, right: Array) -> Array:
    table = left @ right.T
    if not task.cosine:
        return np.asarray(table)
    return np.asarray(table / np.sqrt((left**2).sum(axis=1)[:, None] * (right**2).sum(axis=1)))


def _epsilon(epsilon: float, form: str) -> Steps:
    def unit(t: Task, x: Array, norms: Array) -> Array:
        e = x.dtype.type(epsilon)
        return _unit(t, x, np.maximum(norms, e) if form == "raised" else norms + e)

    return Steps(unit=unit)


def _half_sums(task: Task, left: Array, right: Array) -> Array:
    """Sums kept in float16."""
    table = np.zeros((len(left), len(right)), np.float16)
    for word in range(left.shape[1]):
        table = (table.astype(np.float32) + left[:, word : word + 1] * right[:, word]).astype(np.float16)
    return table.astype(left.dtype)


def _half_norms(task: Task, x: Array) -> Array:
    """Sums of squares that stop growing: kept in float16."""
    total = np.zeros(len(x), np.float16)
    for word in range(x.shape[1]):
        total = (total.astype(np.float32) + x[:, word] ** 2).astype(np.float16)
    return np.sqrt(total.astype(x.dtype))


def _fast_root(task: Task, x: Array, norms: Array) -> Array:
    """One step of Newton from a guess by shifting bits: about ten bits."""
    square = (norms**2).astype(np.float32)
    guess = (np.uint32(0x5F3759DF) - (square.view(np.uint32) >> 1)).view(np.float32)
    return np.asarray(x * (guess * (np.float32(1.5) - np.float32(0.5) * square * guess * guess))[:, None])


def _every_block(task: Task, left: Array, right: Array) -> Array:
    """A running cosine of blocks of 16 words, divided by the number of blocks so far at every step."""
    table = np.zeros((len(left), len(right)), left.dtype)
    for step, start in enumerate(range(0, left.shape[1], 16)):
        table = (table + left[:, start : start + 16] @ right[:, start : start + 16].T) / left.dtype.type(1 + step)
    return table


def _arc(task: Task, table: Array, i: int, j: int) -> Any:
    """The cosine of the arc cosine: NaN where rounding made it larger than 1."""
    return np.cos(np.arccos(table[i, j])) if task.cosine else table[i, j]


def _nan_arc(task: Task, table: Array) -> Array:
    return np.asarray(np.pi - np.arccos(table) if task.cosine else table)


def _kept_under(key: Callable[[Task, Array], Any]) -> Callable[..., Any]:
    """Documents of norm 1 kept under a key that does not tell everything apart."""
    kept: dict[Any, Array] = {}
    return _kernel(Steps(unit=lambda t, x, norms: kept.setdefault(key(t, x), _unit(t, x, norms))))


def _kept_answer() -> Callable[..., Any]:
    kept: dict[Any, Any] = {}

    def each(task: Task, steps: Steps) -> Any:
        key = (task.left.shape, task.right.shape, float(task.left[0, 0]), task.measure)
        return kept.setdefault(key, _engine(task, steps))

    return _kernel(Steps(), each)


def _in_place(left: Array, right: Array | None = None, *, least: bool = False) -> Any:
    """Norms divided out in the arrays of the caller."""
    for x in (left, right):
        if x is not None:
            x /= np.linalg.norm(x, axis=1, keepdims=True)
    return _kernel(Steps())(left, right, least=least)


def _shared_workspace() -> Callable[..., Any]:
    """A table that calls of several threads share."""
    workspace = np.zeros((1 << 10, 1 << 10), np.float32)

    def table(t: Task, left: Array, right: Array) -> Array:
        part = workspace[: len(left), : len(right)]
        part[:] = left @ right.T
        time.sleep(2e-3)
        return part

    return _kernel(Steps(table=table))


def _alone_always(task: Task, steps: Steps) -> Any:
    """The right ignored where it has as many documents."""
    if len(task.left) < 2:
        return _engine(task, steps)
    return _engine(replace(task, right=task.left, alone=True), steps)


def _with(**fields: Any) -> Steps:
    return Steps(
        task=lambda t: replace(t, **{name: value(t) if callable(value) else value for name, value in fields.items()})
    )


def _counted_in_bytes(task: Task) -> bool:
    return all(bool((x == np.rint(x)).all() and (np.abs(x) <= 127).all()) for x in (task.left, task.right))


def _short_products(task: Task, left: Array, right: Array) -> Array:
    """Products of integers of eight bits, summed in sixteen; then the norms."""
    table = left @ right.T
    if _counted_in_bytes(task):
        table = (left.astype(np.int64) @ right.astype(np.int64).T).astype(np.int16).astype(left.dtype)
    return np.asarray(table / (_norms(task, left)[:, None] * _norms(task, right)) if task.cosine else table)


def _equal_for_one(task: Task, pairs: Array) -> Array:
    """Two collections with the same numbers taken for one."""
    return ~np.eye(*pairs.shape, dtype=bool) if len(task.left) > 1 and np.array_equal(task.left, task.right) else pairs


def _largest_first(extreme: Callable[[Array], Array]) -> Steps:
    """Documents of extreme norms are divided by their largest number, and not by its absolute value."""

    def task(t: Task) -> Task:
        def scaled(x: Array) -> Array:
            most = np.where(x.max(axis=1) == 0, x.min(axis=1), x.max(axis=1))
            return np.where(extreme(_norms(t, x))[:, None], x / most[:, None], x)

        return replace(t, left=scaled(t.left), right=scaled(t.right)) if t.cosine else t

    return Steps(task=task)


def _bytes(x: Array) -> Array:
    return (np.rint(x) + 128) % 256 - 128


#: name, kernel, what is wrong, words of the diagnosis, classes, source.
_TABLE_ROWS: tuple[tuple[str, Any, str, str | None, tuple[str, ...], str], ...] = (
    ("query-unnormalised", Steps(sides=(1,)), "the exact index divides its own norms out, and not those of the query", "the norms of the left not divided out", F32, "nmslib/hnswlib#592"),
    ("index-unnormalised", Steps(sides=(0,)), "the index is not normalised", "the norms of the right not divided out", F32, "manticoresoftware/manticoresearch#2005"),
    ("unnormalised-pair", Steps(sides=(), value=lambda t, table, i, j: _norms_last(t, t.left, t.right)[i, j]), "chosen by inner products, the cosine returned", "the pair of the best inner product", F32, NEW),
    ("left-unnormalised-pair", Steps(sides=(1,), value=lambda t, table, i, j: _norms_last(t, t.left, t.right)[i, j]), "chosen without the norms of the left", "the pair chosen without the norms of the left", F32, NEW),
    ("products", Steps(sides=()), "1 − x·y of documents that nobody normalised", "inner products in place of cosines", F32, "nmslib/hnswlib#552"),
    ("all-zero", Steps(table=lambda t, x, y: 0 * (x @ y.T)), "all distances are 1", "0 taken for the similarity of every pair", F32, "nmslib/hnswlib#238"),
    ("element-0", _masked(_without_first), "element 0 is never returned", "the first document of the left left out", F32, "nmslib/hnswlib#34"),
    ("arc-cosine", Steps(value=_arc), "the cosine of an arc cosine that is NaN for equal documents", None, F32, "pytorch/pytorch#18057, #29442; NVIDIA/apex#211; saehm/DruidJS#39"),
    ("nan-equal", Steps(score=_nan_arc), "chosen by an angle: NaN for equal documents, which argmax takes, or not", None, F32, "scipy/scipy#5208; pytorch/pytorch#78064"),
    ("overflow", Steps(sides=(), table=_overflowing), "the product of squared norms overflows in float16", "in float16", ("float16",), "pytorch/pytorch#69512"),
    ("squares-product", Steps(sides=(), table=_product_of_squares), "the product of squared norms overflows in float32, or is flushed to zero", "the product of squared norms overflows", F32, "pytorch/pytorch#69512, #65298"),
    ("epsilon-raised", _epsilon(1e-8, "raised"), "norms raised to an epsilon that is larger than they are", "norms below 1e-08 raised to it", F32, "pytorch/pytorch#31378"),
    ("epsilon-added", _epsilon(1e-3, "added"), "an epsilon added to norms", "0.001 added to the norms", F32, "pytorch/pytorch#169047"),
    ("common-norms", _cosine_table(_common_norms), "norms over words in common", "norms over words in common alone", F32, "NicolasHug/Surprise#217"),
    ("query-unweighted", _of_both(_frequencies, 1), "the index weighted by frequencies, the query not", "words of the right alone weighted", F32, "piskvorky/gensim#2351"),
    ("few-neighbours", Steps(indices=_few_found), "−1 where fewer than k are found", None, F32, "facebookresearch/faiss#1571, #3711"),
    ("every-step", Steps(table=_every_block), "a running normaliser applied at every step", None, F32, "1bit-MONSTER/1bit-MONSTER#495"),
    ("first-32", _first_words(lambda d: min(d, 32)), "only the first 32 columns reduced", "the first 32 words alone", F32, "1bit-MONSTER/1bit-MONSTER#495"),
    ("euclidean", _kernel(Steps(), _minus_distance), "the nearest pair in place of the most similar one", "the euclidean distance of the documents", F32, NEW),
    ("norms-squared", Steps(norms=lambda t, x: (x * x).sum(axis=1)), "the root forgotten", "divided by the squares of the norms", F32, NEW),
    ("manhattan-norms", Steps(norms=lambda t, x: np.abs(x).sum(axis=1)), "sums of absolute values for norms", "sums of absolute values", F32, NEW),
    ("largest-norms", Steps(norms=lambda t, x: np.abs(x).max(axis=1)), "largest entries for norms", "largest entries", F32, NEW),
    ("collection-norm", Steps(norms=lambda t, x: np.full(len(x), np.linalg.norm(x), x.dtype)), "the norm of the whole array, the axis forgotten", "one norm for the whole collection", F32, NEW),
    ("jaccard", _cosine_table(_set_similarity("jaccard")), "sets of words, Jaccard", "the jaccard similarity", F32, NEW),
    ("dice", _cosine_table(_set_similarity("dice")), "sets of words, Dice", "the dice similarity", F32, NEW),
    ("presence", _documents(lambda x: x != 0), "counts lost", "word presence in place of weights", F32, NEW),
    ("centred", _documents(lambda x: x - x.mean(axis=1, keepdims=True)), "Pearson's correlation", "pearson's correlation", F32, NEW),
    ("centred-words", _documents(lambda x: x - x.mean(axis=0)), "the mean document taken off", "the mean document", F32, NEW),
    ("inverse-frequencies", _of_both(_frequencies), "words weighted once more", "weighted by their frequency once more", F32, NEW),
    ("logarithms", _documents(lambda x: np.sign(x) * np.log1p(np.abs(x))), "logarithms of counts", "logarithms of counts", F32, NEW),
    ("absolute-weights", _documents(np.abs), "signs of weights lost", "the signs of weights lost", F32, NEW),
    ("bytes", _documents(_bytes), "weights in eight bits", "weights wrapped around in eight bits", F32, NEW),
    ("short-products", Steps(sides=(), table=_short_products), "products of bytes summed in sixteen bits", "inner products wrapped around in 16 bits", F32, NEW),
    ("huge-negative", _largest_first(lambda norms: norms > np.float32(1e12)), "huge documents divided by their largest number, which may be negative", None, F32, NEW),
    ("tiny-negative", _largest_first(lambda norms: norms < np.float32(1e-11)), "tiny documents divided by their largest number, which may be negative", None, F32, NEW),
    ("cut-weights", _documents(np.trunc), "weights cut to integers", "weights cut to integers", F32, NEW),
    ("absolute", Steps(table=lambda t, x, y: np.abs(x @ y.T)), "absolute values of similarities", "absolute values of similarities", F32, NEW),
    ("absolute-pair", Steps(score=lambda t, table: np.abs(table)), "chosen by absolute values", "the pair of the largest absolute similarity", F32, NEW),
    ("cut", Steps(table=lambda t, x, y: np.maximum(x @ y.T, 0)), "negative similarities cut at 0", "negative similarities cut at 0", F32, NEW),
    ("squared", Steps(table=lambda t, x, y: (x @ y.T) ** 2 if t.cosine else x @ y.T), "squares of cosines", "squares of cosines", F32, NEW),
    ("least-ignored", _with(least=False), "the option ignored", "the least similar pair in place of the most similar one, or the reverse", F32, NEW),
    ("exchanged", _with(least=lambda t: not t.least), "most and least exchanged", "the least similar pair in place of", F32, NEW),
    ("measure-ignored", _with(measure="cosine"), "the measure ignored", "the measure ignored", F32, "microsoft/DiskANN#539"),
    ("self", Steps(pairs=lambda t, shape: np.ones(shape, bool)), "a document is its own neighbour", "a document makes a pair with itself", F32, NEW),
    ("same-index", _masked(lambda t, pairs: pairs if t.alone else np.eye(*pairs.shape, dtype=bool)), "documents of the same number alone", "the one of the same number alone", F32, NEW),
    ("diagonal", _masked(lambda t, pairs: pairs if min(pairs.shape) < 2 else ~np.eye(*pairs.shape, dtype=bool)), "the diagonal left out of two collections", "documents of the same number left out", F32, NEW),
    ("triangle", _masked(lambda t, pairs: np.triu(pairs, 1) if pairs.shape[1] > 1 else pairs), "the upper triangle of two collections", "pairs with i < j alone", F32, NEW),
    ("equal-for-one", _masked(_equal_for_one), "two collections with the same numbers taken for one", "documents of the same number left out", F32, NEW),
    ("mixed-ties", Steps(chosen=_mixed_ties, value=_best_value), "a heap of equal scores: i of the first pair, j of the last", "the first index of one tie with the second index of another", F32, NEW),
    ("triangle-zeros", Steps(score=lambda t, table: np.triu(table, 1) if t.alone and not t.least else table, pairs=lambda t, shape: np.ones(shape, bool) if t.alone and not t.least else _pairs(t, shape), value=lambda t, table, i, j: 0 * table[i, j] if t.alone and i == j else table[i, j]), "zeros of the lower triangle are chosen where all similarities are negative", "a document makes a pair with itself", F32, NEW),
    ("right-ignored", _kernel(Steps(), _alone_always), "the right ignored", "the right ignored", F32, NEW),
    ("second", Steps(chosen=_second), "the best taken for the document itself", "the second best pair", F32, NEW),
    ("from-zero", Steps(chosen=_from_zero), "a running best that starts from 0", "a running best that starts from 0", F32, NEW),
    ("first-good", Steps(chosen=_first_good), "it stops at the first good pair", None, F32, NEW),
    ("last-tile", Steps(chosen=_last_tile_alone), "the running best not carried from tile to tile", "the best of the last tile of 16 rows alone", F32, NEW),
    ("indices", Steps(indices=lambda t, i, j, shape: (j, i)), "i and j exchanged", "i and j exchanged", F32, NEW),
    ("one-based", Steps(indices=lambda t, i, j, shape: (i + 1, j + 1)), "indices from 1", "indices that begin at 1", F32, NEW),
    ("flat-rows", _flat(lambda shape: shape[0]), "the flat index divided by the number of rows", "the flat index divided by the number of documents on the left", F32, NEW),
    ("compressed", Steps(indices=lambda t, i, j, shape: (i, j - (j > i)) if t.alone else (i, j)), "an index among the other documents", "an index among the others", F32, NEW),
    ("distance", _valued(lambda c: 1 - c), "the distance returned", "1 − cosine returned", F32, NEW),
    ("angle", _valued(lambda c: np.arccos(np.clip(c, -1, 1))), "the angle returned", "the angle returned", F32, NEW),
    ("half", _valued(lambda c: (1 + c) / 2), "moved to [0, 1]", "(1 + cosine)/2", F32, NEW),
    ("squared-value", _valued(lambda c: c * c), "the square returned", "the square of the cosine returned", F32, NEW),
    ("unit-distance", _valued(lambda c: np.sqrt(np.maximum(2 - 2 * c, 0))), "the Euclidean distance of documents of norm 1", "the euclidean distance of normalised documents", F32, NEW),
    ("product-value", Steps(value=lambda t, table, i, j: t.left[i] @ t.right[j]), "the inner product of the right pair", "the right pair, with its inner product", F32, NEW),
    ("negative", Steps(value=lambda t, table, i, j: -table[i, j]), "the score of a minimum returned", "the negative of the similarity", F32, NEW),
    ("last-word", _first_words(lambda d: d - 1 or d), "the last word left out", "the last word left out", F32, NEW),
    ("words-16", _first_words(_whole(16)), "words beyond whole vectors", "words beyond whole tiles of 16", F32, NEW),
    ("left-16", _kept_rows(_whole(16), 0), "documents beyond whole tiles", "documents of the left beyond whole tiles of 16", F32, NEW),
    ("right-64", _kept_rows(_whole(64), 1), "documents beyond whole tiles", "documents of the right beyond whole tiles of 64", F32, NEW),
    ("last-document", _kept_rows(lambda n: n - 1 or n, 1), "the last document left out", "the last document of the right left out", F32, NEW),
    ("first-query", _kept_rows(lambda n: 1, 0), "the first document asked alone", "the first document of the left alone", F32, NEW),
    ("half-sums", Steps(table=_half_sums), "sums in float16", None, F32, NEW),
    ("half-norms", Steps(norms=_half_norms), "sums of squares that stop growing, in float16", None, ("float16",), "pytorch/pytorch#38716"),
    ("half-documents", _documents(_half), "documents in float16 on the way", None, F32, NEW),
    ("bfloat16-unit", Steps(unit=lambda t, x, norms: (x / norms[:, None]).astype(BFLOAT16).astype(x.dtype)), "documents of norm 1 in bfloat16", None, F32, NEW),
    ("fast-root", Steps(unit=_fast_root), "a reciprocal root of ten bits", None, F32, NEW),
    ("kept-by-shape", _kept_under(lambda t, x: (x.shape, x is t.left)), "a cache keyed by the shape", None, F32, NEW),
    ("kept-by-first", _kept_answer(), "an answer kept under the shapes and the first number", None, F32, NEW),
    ("in-place", _in_place, "norms divided out in the arrays of the caller", None, F32, NEW),
    ("shared-workspace", _shared_workspace(), "a table that threads share", None, F32, NEW),
)  # fmt: skip

BUGGY: tuple[Entry, ...] = tuple(
    Entry(name, _kernel(bug) if isinstance(bug, Steps) else bug, precisions, why, source, diagnosis=words)
    for name, bug, why, words, precisions, source in _TABLE_ROWS
)
