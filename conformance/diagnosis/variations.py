"""Fresh inputs like a given one: other numbers, other lengths, fewer options, for any problem.

A length becomes shorter by leaving indices out and longer by repeating them, in every array that has the axis
(:meth:`assay.spec.instance.Instance.part`), and then the numbers are drawn anew, so that repeated ones are not equal;
those of options are put in another order.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.interface.layouts import Layout
from assay.spec.problem import InvalidInstance, Provenance

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from assay.conformance.interface.suite import Case

__all__ = [
    "NOT_AN_INSTANCE", "USUAL", "USUAL_LENGTHS", "Room", "absent", "affordable", "given_options", "mutant",
    "relengthened", "renumbered", "resized", "without",
]  # fmt: skip

#: What is raised where a change makes no instance of the problem.
NOT_AN_INSTANCE = (InvalidInstance, ValueError, TypeError)

#: Lengths worth trying: short ones, and those around the sides of tiles.
USUAL_LENGTHS = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 40, 48, 63, 64, 65, 96, 127, 128, 129, 130)
_ANY_LENGTH = 200  # below which any length is tried now and then
_LARGER = 3.0  # how many times as large as the smallest failing case a fresh one may be, where that is large itself
_TILE = 8  # lengths that are all multiples of so many or more are those of a kernel's tiles


@dataclass(frozen=True)
class Room:
    """Which lengths fresh inputs may have.

    elements: of all arrays.  slices: of a stack, the first two axes; a reference takes its time for every one.
    work: the product of all lengths, which bounds the work of a reference.
    taken: axis → the lengths that the kernel is known to take, where it takes no others as far as is known.
    """

    elements: float = 1 << 14
    slices: float = 40
    work: float = 4e5
    taken: Mapping[str, Sequence[int]] = field(default_factory=dict)

    @classmethod
    def beside(cls, failing: Sequence[Case], passing: Sequence[Case]) -> Room:
        """The room beside the cases of a run.

        A kernel that takes long arrays alone has no small failing cases: three times as large as the smallest is small
        enough there.  An axis whose lengths are all multiples of a tile has no other lengths: asked for one, such a
        kernel declines, and nothing is learnt.
        """
        least = min((_size(case.instance) for case in failing), key=lambda size: size.work, default=USUAL)
        lengths: dict[str, set[int]] = {}
        for case in (*failing, *passing):
            for axis, length in case.instance.lengths().items():
                lengths.setdefault(axis, set()).add(length)
        return cls(
            max(USUAL.elements, _LARGER * least.elements),
            max(USUAL.slices, _LARGER * least.slices),
            max(USUAL.work, _LARGER * least.work),
            {axis: sorted(seen) for axis, seen in lengths.items() if math.gcd(*seen) >= _TILE},
        )


#: The room where even a large input is no reason for larger ones.
USUAL = Room()


def _size(instance: Any) -> Room:
    lengths = list(instance.lengths().values())
    elements = sum(array.size for array in instance.arrays().values())
    return Room(float(elements), float(math.prod(lengths[:2])), float(math.prod(lengths)))


def renumbered(instance: Any, rng: np.random.Generator) -> Any:
    """The same with other numbers in every real array that must be given: normal, and half as large as they were.

    Smaller numbers leave fewer terms that drown all others, so that a fault in one of them shows.

    Raises :class:`~assay.spec.problem.InvalidInstance` where the problem does not take them.
    """
    changes = {}
    for name, array in instance.arrays().items():
        if array.dtype.kind in "biu" or instance.is_option(name):
            continue
        wide = array.astype(np.float64)
        size = float(np.sqrt(np.mean(np.square(wide)))) if wide.size else 1.0
        size = size if 0.05 < size < 20.0 else 1.0
        changes[name] = (0.5 * size * rng.standard_normal(array.shape)).astype(array.dtype)
    return instance.replace(**changes, provenance=Provenance("variation"))


def resized(instance: Any, axis: str, length: int) -> Any:
    """The same with another length of one axis, and of what goes with it: query heads with their key heads, for one.

    Raises :class:`~assay.spec.problem.InvalidInstance` where the problem has no such instance.
    """
    before = instance.lengths()
    try:
        return instance.part(**{axis: np.arange(length) % before[axis]})
    except InvalidInstance:
        for other, now in before.items():
            share, rest = divmod(length * now, before[axis])
            if other == axis or rest or not share:
                continue
            with contextlib.suppress(InvalidInstance):
                changed = instance.part(**{other: np.arange(share) % now})
                if changed.lengths()[axis] == length:
                    return changed
        raise


def relengthened(instance: Any, axis: str, length: int, rng: np.random.Generator) -> Any:
    """The same with another length of one axis and other numbers; what is longer has no two slices alike.

    A longer axis repeats indices, and where these are equal in an option too, as in a mask, a fault may not show: so
    they are put in another order along the last of its other axes.

    Raises :class:`~assay.spec.problem.InvalidInstance` where the problem has no such instance.
    """
    before = instance.lengths()[axis]
    other = resized(instance, axis, length)
    for name, array in other.arrays().items():
        axes = other.axes_of(name)[-array.ndim :] if array.ndim else ()
        place = axes.index(axis) if axis in axes else None
        if place is None or array.ndim < 2 or array.shape[place] != length or length <= before:
            continue
        if array.dtype.kind not in "biu" and not other.is_option(name):
            continue  # its numbers are drawn anew
        rows = np.moveaxis(array, place, 0).copy()
        for index in range(before, length):
            rows[index] = rng.permutation(rows[index], axis=-1)
        with contextlib.suppress(InvalidInstance):
            other = other.replace(**{name: np.moveaxis(rows, 0, place)})
    return renumbered(other, rng)


def given_options(instance: Any) -> list[str]:
    """The options of an instance that are given, plain ones and then arrays."""
    return [*instance.options(), *(name for name in instance.arrays() if instance.is_option(name))]


def absent(instance: Any, name: str) -> Any:
    """What stands for an option that is not given: ``None`` for an array, else the usual value or the default."""
    if name in instance.arrays():
        return None
    default = next(item.default for item in dataclasses.fields(instance) if item.name == name)
    return instance.usual().get(name, default)


def without(instance: Any, *names: str) -> Any:
    """The same without some options: each has what stands for one that is not given.

    Raises :class:`~assay.spec.problem.InvalidInstance` where they cannot be left out.
    """
    return instance.replace(**{name: absent(instance, name) for name in names})


def mutant(
    case: Case, others: Sequence[Case], kept: frozenset[str], rng: np.random.Generator, room: Room = USUAL
) -> Case | None:
    """A case like the given one in what ``kept`` names (axes, options, ``layout``, ``numbers``), else unlike it.

    others: cases whose options may be borrowed.  room: how large it may become.
    ``None`` where the changes make no instance.
    """
    instance = case.instance
    try:
        for name in given_options(instance):
            if name not in kept and rng.random() < 0.35:
                instance = without(instance, name)
        if others and rng.random() < 0.4:
            instance = _borrowing(instance, others[int(rng.integers(len(others)))].instance, kept)
        axes = [axis for axis in instance.lengths() if axis not in kept]
        for axis in axes:
            if rng.random() < 0.5:
                instance = resized(instance, axis, _length(instance, axis, rng, room))
        if "numbers" not in kept or instance is not case.instance:
            instance = renumbered(instance, rng)
    except NOT_AN_INSTANCE:
        return None
    layout = case.layout if "layout" in kept or rng.random() < 0.5 else Layout()
    return dataclasses.replace(case, name="variation", instance=instance, layout=layout, after=(), beside=())


def _borrowing(instance: Any, other: Any, kept: frozenset[str]) -> Any:
    """One plain option of another instance, or none where it has none."""
    options = {name: value for name, value in other.options().items() if name not in kept and name not in other.usual()}
    return instance.replace(**dict(list(options.items())[:1])) if options else instance


def affordable(instance: Any, axis: str, length: int, room: Room = USUAL) -> bool:
    """Whether an instance may have another length of an axis: it is no more work than this one, or has room enough."""
    now: dict[str, int] = instance.lengths()
    if length not in room.taken.get(axis, (length,)):
        return False
    if length <= now[axis]:
        return True
    size, then = _size(instance), {**now, axis: length}
    slices = float(math.prod(list(then.values())[:2]))
    return (
        size.elements * length / now[axis] <= room.elements
        and math.prod(then.values()) <= room.work
        and slices <= max(size.slices, room.slices)
    )


def _length(instance: Any, axis: str, rng: np.random.Generator, room: Room) -> int:
    """A length of an axis with which the instance does not become large."""
    now = instance.lengths()
    usual = [*USUAL_LENGTHS, *now.values(), now[axis] + 1, max(1, now[axis] - 1)]
    pool = room.taken.get(axis, usual)
    for _ in range(8):
        usually = pool is not usual or rng.random() < 0.7
        length = int(pool[int(rng.integers(len(pool)))]) if usually else int(rng.integers(1, _ANY_LENGTH))
        if affordable(instance, axis, length, room):
            return length
    return int(now[axis])
