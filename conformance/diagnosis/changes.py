"""Cases that differ from a given one in a single thing, for any problem: what a condition is tested with.

That a failing case passes without a condition is seen only where nothing else changed.  So every case that is made here
is a failing one with another layout, without the calls before it, without one option, with one option more, with
another value of it or another form, or with another length of one axis.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.diagnosis.variations import (
    NOT_AN_INSTANCE,
    USUAL,
    Room,
    absent,
    affordable,
    given_options,
    relengthened,
    renumbered,
    resized,
    without,
)
from assay.conformance.interface.layouts import Layout
from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence, Set

    from assay.conformance.interface.suite import Case

__all__ = ["one_changed", "without_one"]

_UNLIKE = (*NOT_AN_INSTANCE, KeyError)  # … or where a donor has no such axis
_COMPANIONS = 2  # options that are left out together with one, where it cannot be left out alone
_DONORS = 6  # cases of which an option is borrowed
_LONG = 96  # below which any length is tried


def one_changed(
    case: Case, about: Set[str], donors: Sequence[Case], rng: np.random.Generator, room: Room = USUAL
) -> Iterator[Case]:
    """Cases like the given one but for one thing of those that ``about`` names, in an order by chance.

    about: axes, options, ``layout`` and ``numbers``; what the numbers decide, any option or length may decide as well.
    donors: cases of which an option that the given one lacks may be borrowed, or another value of it.
    room: how large they may become.
    """
    instance = case.instance
    given = given_options(instance)
    fields = [item.name for item in dataclasses.fields(instance) if item.name != "provenance"]
    named = [name for name in fields if instance.is_option(name)]
    any_may = "numbers" in about
    options = [name for name in named if name in about or (any_may and name in given)]
    axes = [axis for axis in instance.lengths() if axis in about or any_may]
    makers = [
        *((_other_options, name) for name in options),
        *((_other_lengths, axis) for axis in axes for _ in range(1 if any_may else 6)),
        *([(_other_numbers, "")] * 3 if any_may else []),
    ]
    if "layout" in about and case.layout != Layout():
        yield dataclasses.replace(case, name="variation", layout=Layout())
    for number in rng.permutation(len(makers)):
        make, name = makers[int(number)]
        with contextlib.suppress(*_UNLIKE):
            for other in make(instance, name, _Means(donors, rng, room)):
                yield dataclasses.replace(case, name="variation", instance=other)


@dataclass(frozen=True)
class _Means:
    """What a change is made with: cases that lend options, and room for longer arrays."""

    donors: Sequence[Case]
    rng: np.random.Generator
    room: Room


def _other_numbers(instance: Any, _name: str, means: _Means) -> Iterator[Any]:
    yield renumbered(instance, means.rng)


def _other_lengths(instance: Any, axis: str, means: _Means) -> Iterator[Any]:
    """Another length of one axis: near the old one, a multiple of a tile, a short one, or any."""
    now, rng = instance.lengths()[axis], means.rng
    near = [now + step for size in (1, 4, 8, 16, 32, 64, 128) for step in (size, -size)] + [2 * now]
    near += [-(-now // tile) * tile for tile in (4, 8, 32)] + [1, 2, 3]
    usable = [length for length in near if 0 < length != now and affordable(instance, axis, length, means.room)]
    length = int(rng.integers(1, _LONG)) if not usable or rng.random() < 0.3 else usable[int(rng.integers(len(usable)))]
    if length == now or not affordable(instance, axis, length, means.room):
        return
    yield resized(instance, axis, length) if length < now else relengthened(instance, axis, length, rng)


def _other_options(instance: Any, name: str, means: _Means) -> Iterator[Any]:
    """Without an option, in the full form of its array, or as a donor has it."""
    value = getattr(instance, name)
    is_array = isinstance(value, np.ndarray)
    if is_array or value != absent(instance, name):
        with contextlib.suppress(*_UNLIKE):
            yield without_one(instance, name)
    if is_array:
        yield from _stored_in_full(instance, name)
    lending = [case.instance for case in means.donors if _differ(getattr(case.instance, name, None), value)]
    for number in means.rng.permutation(len(lending))[:_DONORS]:
        with contextlib.suppress(*_UNLIKE):
            yield instance.replace(**{name: _borrowed(instance, name, lending[int(number)])})


def _differ(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return a is not b and (
            a is None or b is None or a.shape != b.shape or a.dtype != b.dtype or bool((a != b).any())
        )
    return bool(a != b)


def _borrowed(instance: Any, name: str, lender: Any) -> Any:
    """The option of another instance; an array in the lengths of this one."""
    value = getattr(lender, name)
    if not isinstance(value, np.ndarray):
        return value
    lengths = instance.lengths()
    for axis in instance.axes_of(name):
        if axis in lengths and lender.lengths().get(axis) not in (None, lengths[axis]):
            lender = resized(lender, axis, lengths[axis])
    return getattr(lender, name)


def _stored_in_full(instance: Any, name: str) -> Iterator[Any]:
    """An array that broadcasts, stored in full along one axis: the same values in another form."""
    value, axes, lengths = getattr(instance, name), instance.axes_of(name), instance.lengths()
    for place in range(len(axes)):
        full = (1,) * (len(axes) - value.ndim) + value.shape
        length = lengths.get(axes[place], 1)
        if full[place] == 1 and length > 1:
            with contextlib.suppress(*_UNLIKE):
                yield instance.replace(**{name: np.repeat(value.reshape(full), length, axis=place)})


def without_one(instance: Any, name: str) -> Any:
    """The same without an option, and without the fewest others that need it.

    Raises :class:`~assay.spec.problem.InvalidInstance` where the option cannot be left out.
    """
    with contextlib.suppress(InvalidInstance):
        return without(instance, name)
    given = given_options(instance)
    others = [other for other in given if other != name]
    for count in range(1, _COMPANIONS + 1):
        for companions in itertools.combinations(others, count):
            with contextlib.suppress(InvalidInstance):
                return without(instance, name, *companions)
    bare = without(instance, *given)
    for other in others:  # as many of the others as go without it
        with contextlib.suppress(InvalidInstance):
            bare = bare.replace(**{other: getattr(instance, other)})
    return bare
