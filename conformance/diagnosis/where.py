"""Where an output is wrong, and what stands there: indices of named axes, and other answers that a kernel gave instead.

Nothing here knows any one problem: it takes outputs that are close to a certified value and whose axes have names
(:class:`~assay.conformance.interface.steps.Output`).  A sentence is told only if it holds of every failure that it is
made from, exactly: the wrong indices are those that it names, and what stands there is, within the tolerance, what it
says.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from assay.conformance.interface.steps import Output
    from assay.spec.criterion import Criterion

    Array = NDArray[np.float64]
    Mask = NDArray[np.bool_]

__all__ = ["Place", "Seen", "indices", "partial", "seen", "told", "wrong_outputs"]

_TILES = (2, 4, 8, 16, 32, 64, 128, 256)
_LEAST = 4  # wrong numbers, in all, from which something is told
_FULL = 0.5  # the share of a named index set that has to be wrong
_MOSTLY = 0.75  # the share of failures in which a set that is made of what was seen has to be wrong, all of it
_BITS = 10.0  # how unlikely, as a power of 2, a name of indices is to fit by chance
_LONG = 64  # indices from which on one length is enough: in shorter ones a pattern of the input may be the reason
_FAR = 8.0  # tolerances: an error from which on what stands there cannot be something else by chance
_MOST_OTHER = 64  # the longest axis whose every other index is compared


@dataclass(frozen=True, eq=False)
class Seen:
    """One output of one failure: what was returned, what is right, what may differ, and which numbers are wrong."""

    got: Array
    right: Array
    allowed: Array
    wrong: Mask
    axes: tuple[str, ...]
    ratio: Array
    lengths: Mapping[str, int] = field(default_factory=dict)

    def same_as(self, other: Array, allowed: Array | None = None) -> Mask:
        """Where what was returned is ``other`` within the tolerance (``allowed`` of it, where that is larger)."""
        room = self.allowed if allowed is None else np.maximum(self.allowed, allowed)
        room = np.where(np.isfinite(room), room, 0.0)
        with np.errstate(invalid="ignore"):
            near = np.abs(self.got - other) <= room * (1 + 1e-9) + 4e-16 * np.abs(other)
        same: Mask = near | (self.got == other) | (np.isnan(self.got) & np.isnan(other))
        return same


def seen(
    values: Mapping[str, NDArray[Any]],
    criteria: Mapping[str, Criterion],
    outputs: Mapping[str, Output],
    lengths: Mapping[str, int],
) -> dict[str, Seen]:
    """Every output of a failure that is close to a value and has named axes."""
    every = {}
    for name, criterion in criteria.items():
        value = values.get(name)
        if value is None or criterion.value is None or value.shape != criterion.value.shape or name not in outputs:
            continue
        axes = outputs[name].axes or tuple(f"axis {number}" for number in range(value.ndim))
        if not value.ndim or len(axes) != value.ndim:
            continue
        right = criterion.value.midpoint
        allowed = np.broadcast_to(criterion.allowed + criterion.value.radius, right.shape)
        ratio = criterion.ratio(value)
        every[name] = Seen(value.astype(np.float64), right, allowed, ratio > 1.0, axes, ratio, lengths)
    return every


def wrong_outputs(failures: Sequence[Mapping[str, Seen]]) -> str:
    """Which outputs are wrong, where others of the same calls are right; empty where that is not so of every call."""
    several = [failure for failure in failures if len(failure) > 1]
    kinds = {frozenset(name for name, one in failure.items() if one.wrong.any()) for failure in several}
    if len(several) < 2 or len(kinds) != 1:
        return ""
    (wrong,) = kinds
    right = sorted({name for failure in several for name in failure} - wrong)
    if not right or not wrong or any(set(failure) - wrong == set() for failure in several):
        return ""
    return f"only {_listed(sorted(wrong))} is wrong, never {_listed(right)}"


# --- which indices ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """A set of indices of an axis, in words; ``fixed`` where it is made of the numbers that were seen.

    holds(length, lengths): which of its indices are meant, lengths being those of the axes of the instance.
    other: the other axis whose length decides.
    """

    words: str
    holds: Callable[[int, Mapping[str, int]], Mask]
    fixed: bool = False
    other: str = ""


def _fixed(words: str, test: Callable[..., Any], fixed: bool = False) -> Place:
    return Place(words, lambda n, lengths: np.asarray(test(np.arange(n), n)), fixed)


def _places(axis: str, wrong: Sequence[tuple[Mask, Mapping[str, int]]]) -> Iterator[Place]:
    """What the wrong indices of an axis may be called, the simplest first."""
    yield _fixed(f"{axis} 0", lambda i, n: i == 0)
    yield _fixed(f"the last of {axis}", lambda i, n: i == n - 1)
    firsts = {int(np.argmax(mask)) for mask, _ in wrong if mask.any()}
    lasts = {int(np.flatnonzero(mask)[-1]) for mask, _ in wrong if mask.any()}
    for k in sorted(firsts & lasts):
        yield _fixed(f"{axis} {k}", lambda i, n, k=k: i == k, fixed=True)
    yield _fixed(f"all of {axis} but 0", lambda i, n: i > 0)
    yield _fixed(f"all of {axis} but the last", lambda i, n: i < n - 1)
    for k in sorted(firsts):
        if k:
            yield _fixed(f"{axis} from {k} on", lambda i, n, k=k: i >= k, fixed=True)
    for k in sorted(lasts):
        yield _fixed(f"{axis} 0 to {k}", lambda i, n, k=k: i <= k, fixed=True)
    yield _fixed(f"odd indices of {axis}", lambda i, n: i % 2 == 1)
    yield _fixed(f"even indices of {axis}", lambda i, n: i % 2 == 0)
    yield _fixed(f"the second half of {axis}", lambda i, n: i >= n // 2)
    yield _fixed(f"the second half of {axis}", lambda i, n: i >= -(-n // 2))
    yield _fixed(f"the first half of {axis}", lambda i, n: i < n // 2)
    for tile in _TILES[1:]:
        yield _fixed(
            f"{axis} beyond the last whole tile of {tile}",
            lambda i, n, t=tile: (i >= n - n % t) if n % t else i < 0,
        )
    for tile in _TILES[1:]:
        yield _fixed(f"the last tile of {tile} {axis}", lambda i, n, t=tile: i >= (n - 1) // t * t)
    for tile in _TILES[1:]:
        yield _fixed(f"the first of each tile of {tile} {axis}", lambda i, n, t=tile: i % t == 0)
        yield _fixed(f"the last of each tile of {tile} {axis}", lambda i, n, t=tile: i % t == t - 1)
    for k in range(2, 5):
        yield _fixed(f"the last {k} of {axis}", lambda i, n, k=k: i >= n - k)
    for other in sorted({name for _, lengths in wrong for name in lengths} - {axis, axis.replace(" ", "_")}):
        spoken = other.replace("_", " ")
        named = {
            f"{axis} from the number of {spoken} on": functools.partial(_against, other=other, below=False),
            f"{axis} below the number of {spoken}": functools.partial(_against, other=other, below=True),
            f"all of {axis} but the first of each group ({axis} / {spoken})": functools.partial(_in_group, other=other),
        }
        yield from (Place(words, holds, other=other) for words, holds in named.items())


def _against(n: int, lengths: Mapping[str, int], other: str, below: bool) -> Mask:
    """Indices below the length of another axis, or from it on."""
    inside: Mask = (np.arange(n) < lengths.get(other, n)) == below
    return inside


def _in_group(n: int, lengths: Mapping[str, int], other: str) -> Mask:
    """Indices that are not the first of their group, for as many groups as another axis is long."""
    inside: Mask = np.arange(n) % max(1, n // max(1, lengths.get(other, 1))) != 0
    return inside


def indices(axis: str, wrong: Sequence[tuple[Mask, Mapping[str, int]]], bits: float = _BITS) -> Place | None:
    """What the wrong indices of an axis are called, over several failures; ``None`` where there is no word for them.

    wrong: which indices are wrong in each failure, and the lengths of the axes of its instance.  bits: how unlikely,
    as a power of 2, the name has to be to fit by chance.
    """
    if all(mask.all() for mask, _ in wrong):
        return None
    for place in _places(axis, wrong):
        sets = [(mask, place.holds(mask.size, lengths)) for mask, lengths in wrong]
        same = [(mask == named).all() for mask, named in sets]
        if all(same) and _bits(sets) >= bits and _is_of(place.other, wrong, same):
            return place
    for place in _places(axis, wrong):
        sets = [(mask, place.holds(mask.size, lengths)) for mask, lengths in wrong]
        inside = all((named | ~mask).all() for mask, named in sets)
        full = all(mask.sum() >= _FULL * named.sum() for mask, named in sets)
        telling = sum(not named.all() for _, named in sets)
        same = [(mask == named).all() for mask, named in sets]
        least = (_MOSTLY if place.fixed else 0.5) * len(sets)
        if not inside or not full or telling < 0.5 * len(sets) or sum(same) < least:
            continue
        if _bits(sets) >= bits and _is_of(place.other, wrong, same):
            return place
    return None


def _is_of(other: str, wrong: Sequence[tuple[Mask, Mapping[str, int]]], same: Sequence[bool]) -> bool:
    """Whether another axis can decide: it has several lengths where the indices agree with what it says."""
    seen = {lengths.get(other) for (_, lengths), agrees in zip(wrong, same, strict=True) if agrees}
    return not other or len(seen) > 1


def _bits(sets: Sequence[tuple[Mask, Mask]]) -> float:
    """How unlikely it is that sets of indices are named by chance, as a power of 2: one an index, where all agree.

    Failures that are all equally long may share a pattern of the input, and count as nothing.
    """
    telling = [named.size for mask, named in sets if not named.all() and (mask == named).all()]
    return float(sum(telling)) if len(set(telling)) > 1 or max(telling, default=0) >= _LONG else 0.0


def partial(failures: Sequence[Seen]) -> list[str]:
    """Axes of which some indices are wrong and others right, without a name: other lengths may give them one."""
    telling = [one for one in failures if one.wrong.any()]
    axes = []
    for number, axis in enumerate(telling[0].axes if telling else ()):
        same = [one for one in telling if one.axes == telling[0].axes]
        wrong = [(_along(one, number), one.lengths) for one in same]
        if not any(mask.all() for mask, _ in wrong) and indices(axis, wrong) is None:
            axes.append(axis)
    return axes


def _along(one: Seen, axis: int) -> Mask:
    """Which indices of an axis have a wrong number."""
    return np.asarray(one.wrong.any(axis=tuple(other for other in range(one.wrong.ndim) if other != axis)))


# --- what stands there ------------------------------------------------------------------------------------------------


def _contents(failures: Sequence[Seen]) -> Iterator[tuple[str, Callable[[Seen], Mask]]]:
    """What may stand in place of the right numbers, in words, and where it does."""
    yield "0", lambda one: one.got == 0.0
    yield "NaN", lambda one: np.isnan(one.got)
    yield "infinite", lambda one: np.isinf(one.got)
    yield from _moved(failures)
    yield from _exchanged(failures)
    yield from _reduced(failures)
    yield "all the same number", _constant


def _constant(one: Seen) -> Mask:
    numbers, right = one.got[one.wrong], one.right[one.wrong]
    constant = numbers.size > 2 and bool(np.isfinite(numbers[0]) and (numbers == numbers[0]).all())
    return one.wrong if constant and np.unique(right).size > 1 else np.zeros_like(one.wrong)


def _taken(one: Seen, axis: int, source: NDArray[np.intp]) -> Mask:
    """Where the right number of another index of an axis stands."""
    inside = (source >= 0) & (source < one.got.shape[axis])
    index = np.clip(source, 0, one.got.shape[axis] - 1)
    same = one.same_as(np.take(one.right, index, axis=axis), np.take(one.allowed, index, axis=axis))
    shape = [1] * one.got.ndim
    shape[axis] = -1
    elsewhere = inside & (source != np.arange(one.got.shape[axis]))
    result: Mask = same & elsewhere.reshape(shape)
    return result


def _moved(failures: Sequence[Seen]) -> Iterator[tuple[str, Callable[[Seen], Mask]]]:
    """The right numbers of other indices of one axis."""
    axes = failures[0].axes

    def row(words: str, axis: int, source: Callable[..., Any]) -> tuple[str, Callable[[Seen], Mask]]:
        def same(one: Seen) -> Mask:
            n = one.got.shape[axis]
            return _taken(one, axis, np.broadcast_to(np.asarray(source(np.arange(n), n)), (n,)))

        return words, same

    for number, axis in enumerate(axes):
        if max(one.got.shape[number] for one in failures) == 1:
            continue
        for k in (1, 2):
            yield row(f"right for {axis} i − {k}", number, lambda i, n, k=k: i - k)
            yield row(f"right for {axis} i + {k}", number, lambda i, n, k=k: i + k)
            yield row(f"right for {axis} (i − {k}) mod n", number, lambda i, n, k=k: (i - k) % n)
            yield row(f"right for {axis} (i + {k}) mod n", number, lambda i, n, k=k: (i + k) % n)
        yield row(f"right for {axis} 0", number, lambda i, n: 0 * i)
        yield row(f"right for the last of {axis}", number, lambda i, n: 0 * i + n - 1)
        yield row(f"right for {axis} n − 1 − i", number, lambda i, n: n - 1 - i)
        for tile in _TILES:
            yield row(f"right for {axis} i − i mod {tile}", number, lambda i, n, t=tile: i - i % t)
            yield row(f"right for {axis} i // {tile}", number, lambda i, n, t=tile: i // t)
            yield row(f"right for {axis} i mod {tile}", number, lambda i, n, t=tile: i % t)
            if tile > 2:
                yield row(f"right for {axis} i − {tile}", number, lambda i, n, t=tile: i - t)
        yield f"right for other {axis}", functools.partial(_any_other, axis=number)


def _any_other(one: Seen, axis: int) -> Mask:
    """Where, for a whole slice of wrong numbers, the right numbers of one other index stand."""
    n = one.got.shape[axis]
    same = np.zeros_like(one.wrong)
    if n > _MOST_OTHER:
        return same
    for index in range(n):
        place = tuple(slice(index, index + 1) if a == axis else slice(None) for a in range(one.got.ndim))
        if one.wrong[place].sum() < 2:
            continue
        for source in range(n):
            taken = _taken(one, axis, np.full(n, source, np.intp))[place]
            if source != index and taken[one.wrong[place]].all():
                same[place] = taken
                break
    return same


def _exchanged(failures: Sequence[Seen]) -> Iterator[tuple[str, Callable[[Seen], Mask]]]:
    """The right numbers in the memory of another order of axes."""
    axes = failures[0].axes
    for a in range(len(axes)):
        for b in range(a + 1, len(axes)):

            def same(one: Seen, a: int = a, b: int = b) -> Mask:
                if one.got.shape[a] == 1 or one.got.shape[b] == 1:
                    return np.zeros_like(one.wrong)
                other = np.swapaxes(one.right, a, b).reshape(one.right.shape)
                room = np.swapaxes(one.allowed, a, b).reshape(one.right.shape)
                return one.same_as(other, room)

            yield f"right with {axes[a]} and {axes[b]} exchanged in memory", same


def _reduced(failures: Sequence[Seen]) -> Iterator[tuple[str, Callable[[Seen], Mask]]]:
    """Sums and means of the right numbers along an axis."""
    for number, axis in enumerate(failures[0].axes):
        for words, reduce in (("sum", np.sum), ("mean", np.mean)):

            def same(one: Seen, number: int = number, reduce: Any = reduce) -> Mask:
                if one.got.shape[number] == 1 or not np.isfinite(one.right).all():
                    return np.zeros_like(one.wrong)
                other = np.broadcast_to(reduce(one.right, axis=number, keepdims=True), one.right.shape)
                room = np.broadcast_to(one.allowed.sum(axis=number, keepdims=True), one.right.shape)
                return one.same_as(other, room)

            yield f"the {words} over {axis}", same


def _content(failures: Sequence[Seen]) -> str:
    """What stands where the outputs are wrong, in every failure; empty where there is no word for it."""
    telling = [one for one in failures if one.wrong.any()]
    if sum(int(one.wrong.sum()) for one in telling) < _LEAST:
        return ""
    numbers = np.concatenate([one.got[one.wrong] for one in telling])
    varied = np.unique(numbers[np.isfinite(numbers)]).size >= _LEAST
    far = float(np.median(np.concatenate([one.ratio[one.wrong] for one in telling]))) >= _FAR
    for words, same in _contents(telling):
        if not (varied and far) and words.startswith(("right", "the ")):
            continue  # a few equal numbers are found anywhere
        if all(same(one)[one.wrong].all() for one in telling):
            return words
    return ""


# --- sentences --------------------------------------------------------------------------------------------------------


def told(failures: Sequence[Seen], name: str, several: bool) -> str:
    """One sentence on where an output is wrong and what stands there; empty where there is nothing to tell.

    failures: the output in every failure.  several: whether there are other outputs, so that the sentence names it.
    """
    telling = [one for one in failures if one.wrong.any()]
    if not telling or sum(int(one.wrong.sum()) for one in telling) < _LEAST:
        return ""
    axes = telling[0].axes
    telling = [one for one in telling if one.axes == axes]  # the gradient of a bias has the axes of the bias
    places = []
    for number, axis in enumerate(axes):
        place = indices(axis, [(_along(one, number), one.lengths) for one in telling])
        if place is not None:
            places.append((axis, place))
    content = _content(telling)
    output = f" of {name}" if several else ""
    if places:
        said = " and in them ".join(place.words for _, place in places)
        return f"only {said}{output} are wrong" + (f", and what stands there is {content}" if content else "")
    if not content:
        return ""
    share = np.mean([one.wrong.mean() for one in telling])
    which = "every number" if share > 0.9 else "what is wrong"
    return f"{which}{output} is {content}"


def _listed(names: Sequence[str]) -> str:
    return " and ".join(names)


def rounded(number: float) -> str:
    """A number in few digits, as it is told."""
    return f"{number:.6g}"


def named_number(number: float) -> str:
    """A factor in words, where it is one that has a name.

    >>> named_number(2**-0.5), named_number(1.0001), named_number(1 - 3e-6)
    ('0.707107 (1/√2)', '1.0001', '1 − 3e-06')
    """
    if 0 < abs(number - 1.0) < 5e-5:
        return f"1 {'+' if number > 1 else '−'} {abs(number - 1.0):.2g}"
    names = {
        2**-0.5: "1/√2",
        2**0.5: "√2",
        math.log(2): "ln 2",
        1 / math.log(2): "log₂ e",
        math.pi: "π",
        1 / 3: "1/3",
    }
    for exact, name in names.items():
        if abs(number - exact) < 2e-6 * exact:
            return f"{rounded(number)} ({name})"
    return rounded(number)
