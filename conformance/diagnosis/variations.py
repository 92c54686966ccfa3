"""Fresh inputs like a given one: other numbers, other lengths, fewer options, for any problem.

A length becomes shorter by leaving indices out and longer by repeating them, in every array that has the axis
(:meth:`assay.spec.instance.Instance.part`), and then the numbers are drawn anew, so that repeated ones are not equal.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.interface.layouts import Layout
from assay.spec.problem import InvalidInstance, Provenance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from assay.conformance.interface.suite import Case

__all__ = [
    "NOT_AN_INSTANCE", "USUAL_LENGTHS", "absent", "affordable", "given_options", "mutant", "renumbered", "resized",
    "without",
]  # fmt: skip

#: What is raised where a change makes no instance of the problem.
NOT_AN_INSTANCE = (InvalidInstance, ValueError, TypeError)

#: Lengths worth trying: short ones, and those around the sides of tiles.
USUAL_LENGTHS = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 40, 48, 63, 64, 65, 96, 127, 128, 129, 130)
_ANY_LENGTH = 200  # below which any length is tried now and then
_MOST_ELEMENTS = 1 << 14
_MOST_SLICES = 40  # of a stack
_MOST_WORK = 4e5  # the product of all lengths, which bounds the work of a reference


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


def mutant(case: Case, others: Sequence[Case], kept: frozenset[str], rng: np.random.Generator) -> Case | None:
    """A case like the given one in what ``kept`` names (axes, options, ``layout``, ``numbers``), else unlike it.

    others: cases whose options may be borrowed.
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
                instance = resized(instance, axis, _length(instance, axis, rng))
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


def affordable(instance: Any, axis: str, length: int) -> bool:
    """Whether an instance with another length of an axis is not much more work than this one.

    A reference takes its time for every slice of a stack: the first two axes are such, as NumPy has them.
    """
    now: dict[str, int] = instance.lengths()
    if length <= now[axis]:
        return True
    then = {**now, axis: length}
    slices = [math.prod(list(lengths.values())[:2]) for lengths in (now, then)]
    elements: float = sum(array.size for array in instance.arrays().values()) * length / now[axis]
    work = math.prod(then.values())
    return elements <= _MOST_ELEMENTS and work <= _MOST_WORK and slices[1] <= max(slices[0], _MOST_SLICES)


def _length(instance: Any, axis: str, rng: np.random.Generator) -> int:
    """A length of an axis with which the instance does not become large."""
    now = instance.lengths()
    pool = [*USUAL_LENGTHS, *now.values(), now[axis] + 1, max(1, now[axis] - 1)]
    for _ in range(8):
        length = int(pool[int(rng.integers(len(pool)))]) if rng.random() < 0.7 else int(rng.integers(1, _ANY_LENGTH))
        if affordable(instance, axis, length):
            return length
    return int(now[axis])
