"""Conditions that a case may fulfil, for any problem: lengths, options, layouts, calls before; and a suite's own.

Each says of a case whether it holds, and which parts of the case decide that, so that a fresh case can keep them or
break them.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from assay.conformance.interface.suite import Case

__all__ = ["CALLS", "Condition", "comparable", "conditions", "number_of", "threshold"]

#: What a condition on the calls before or beside is about.
CALLS = "calls"
_MULTIPLES = (4, 8, 16, 32, 64, 128)
_OFTEN = 0.15  # the share of cases in which two axes of one kind are equally long


@dataclass(frozen=True, eq=False)
class Condition:
    """Something that holds of a case or not.

    words: what follows "fails when".  about: the axes, options, or ``layout``, ``calls`` and ``numbers`` that decide.
    cost: how long a way to say it is; of two that fit alike the shorter is told.
    bound: axis and length, where it says that an axis is at least so long.
    numbers: the axes, or options, of whose lengths or whole numbers it speaks.  several: it speaks of more than one.
    """

    words: str
    holds: Callable[[Case], bool]
    about: frozenset[str]
    cost: float = 1.0
    bound: tuple[str, int] | None = None
    numbers: tuple[str, ...] = ()
    several: bool = False

    def numbers_of(self, case: Case) -> tuple[int | None, ...]:
        """The numbers that it speaks of in a case."""
        return tuple(number_of(case, name) for name in self.numbers)


def number_of(case: Case, name: str) -> int | None:
    """The length of an axis, or an option that is a whole number."""
    lengths: dict[str, int] = case.instance.lengths()
    return lengths[name] if name in lengths else getattr(case.instance, name, None)


def threshold(axis: str, least: int) -> Condition:
    """An axis is at least so long."""
    return Condition(
        f"{_said(axis)} ≥ {least}",
        lambda case: case.instance.lengths().get(axis, 0) >= least,
        frozenset({axis}),
        1.3,
        (axis, least),
        (axis,),
        several=True,
    )


def conditions(cases: Sequence[Case], own: Mapping[str, Callable[[Any], bool]]) -> list[Condition]:
    """Every condition that may tell some of these cases from others.

    own: those that a suite declares: words → whether it holds of an instance.
    """
    axes = list(dict.fromkeys(axis for case in cases for axis in case.instance.lengths()))
    every = [
        *_options(cases, axes),
        *_calls(cases),
        *(Condition(words, _of_instance(holds), frozenset({"numbers"}), 1.2) for words, holds in own.items()),
        *(one for axis in axes for one in _lengths(axis, cases)),
        *_pairs(comparable(cases)),
        *_products(axes[:2], cases),
    ]
    told: dict[str, Condition] = {}
    for one in every:
        told.setdefault(one.words, one)
    return list(told.values())


def _of_instance(holds: Callable[[Any], bool]) -> Callable[[Case], bool]:
    return lambda case: bool(holds(case.instance))


def _said(name: str) -> str:
    return name.replace("_", " ")


def _options(cases: Sequence[Case], axes: Sequence[str]) -> Iterator[Condition]:
    """Options that are given, and what they are.  axes: those of the instances."""
    plain: dict[str, set[Any]] = {}
    optional: dict[str, Any] = {}
    for case in cases:
        for name, value in case.instance.options().items():
            plain.setdefault(name, set()).add(value)
        for name in case.instance.arrays():
            if case.instance.is_option(name):
                optional[name] = type(case.instance)
    for name, kind in optional.items():
        yield Condition(f"{_said(name)} is given", _has_array(name), frozenset({name}))
        yield Condition(f"{_said(name)} is not given", _not(_has_array(name)), frozenset({name}), 1.2)
        for place, axis in enumerate(kind.axes_of(name)):
            back = place - len(kind.axes_of(name))
            for words, holds, cost in (("is broadcast", _broadcast, 1.4), ("is not broadcast", _in_full, 1.15)):
                yield Condition(
                    f"{_said(name)} {words} along {_said(axis)}",
                    holds(name, back, axis),
                    frozenset({name}),
                    cost,
                    numbers=(axis,) if axis in axes else (),
                )
    for name, values in plain.items():
        yield Condition(f"{_said(name)} is given", _has_option(name), frozenset({name}))
        yield Condition(f"{_said(name)} is not given", _not(_has_option(name)), frozenset({name}), 1.2)
        for value in values:
            if isinstance(value, (str, bool)):
                yield Condition(f"{_said(name)} is {value}", _is(name, value), frozenset({name}), 1.1)
        whole = {value for value in values if isinstance(value, int) and not isinstance(value, bool)}
        if whole:
            yield from _whole(name, _option(name), sorted(whole))
        if any(isinstance(value, float) for value in values):
            yield Condition(f"{_said(name)} < 0", _number(name, lambda x: x < 0), frozenset({name}), 1.1)
            yield Condition(f"{_said(name)} = 0", _number(name, lambda x: x == 0), frozenset({name}), 1.1)


def _option(name: str) -> Callable[[Case], int | None]:
    return lambda case: getattr(case.instance, name, None)


def _has_array(name: str) -> Callable[[Case], bool]:
    return lambda case: name in case.instance.arrays()


def _has_option(name: str) -> Callable[[Case], bool]:
    return lambda case: name in case.instance.options()


def _not(holds: Callable[[Case], bool]) -> Callable[[Case], bool]:
    return lambda case: not holds(case)


def _is(name: str, value: Any) -> Callable[[Case], bool]:
    return lambda case: bool(case.instance.options().get(name) == value)


def _number(name: str, test: Callable[[float], bool]) -> Callable[[Case], bool]:
    def holds(case: Case) -> bool:
        value = getattr(case.instance, name, None)
        return isinstance(value, float) and test(value)

    return holds


def _broadcast(name: str, back: int, axis: str) -> Callable[[Case], bool]:
    def holds(case: Case) -> bool:
        array = case.instance.arrays().get(name)
        if array is None:
            return False
        length = 1 if array.ndim < -back else array.shape[back]
        return bool(length == 1 and case.instance.lengths().get(axis, 1) > 1)

    return holds


def _in_full(name: str, back: int, axis: str) -> Callable[[Case], bool]:
    def holds(case: Case) -> bool:
        array = case.instance.arrays().get(name)
        return array is not None and array.ndim >= -back and bool(array.shape[back] > 1)

    return holds


def _calls(cases: Sequence[Case]) -> Iterator[Condition]:
    """Layouts, calls before and beside."""
    layouts = {case.layout.name for case in cases} - {"contiguous"}
    if layouts:
        yield Condition("the layout is not contiguous", lambda c: c.layout.name != "contiguous", frozenset({"layout"}))
    if any(case.layout.far is not None for case in cases):
        yield Condition(
            "slices of an array lie 2³² elements apart", lambda c: c.layout.far is not None, frozenset({"layout"}), 1.05
        )
    for name in sorted(layouts):
        yield Condition(f"the layout is {name}", _has_layout(name), frozenset({"layout"}), 1.1)
    if any(case.after for case in cases):
        yield Condition("another call came before", lambda case: bool(case.after), frozenset({CALLS}))
        changed = sorted({name for case in cases for name in _changed(case)})
        for name in changed:
            yield Condition(
                f"{_said(name)} changed since a call before",
                _has_changed(name),
                frozenset({CALLS}),
                1.1,
            )
    if any(case.beside for case in cases):
        yield Condition("several threads call at once", lambda case: bool(case.beside), frozenset({CALLS}))


def _has_layout(name: str) -> Callable[[Case], bool]:
    return lambda case: case.layout.name == name


def _has_changed(name: str) -> Callable[[Case], bool]:
    return lambda case: name in _changed(case)


def _changed(case: Case) -> set[str]:
    """Options and lengths of a case that the calls before it did not have."""
    changed: set[str] = set()
    now = case.instance
    for before in case.after:
        names = now.options().keys() | before.options().keys()
        changed |= {name for name in names if getattr(now, name) != getattr(before, name)}
        arrays = {name for name in now.arrays().keys() | before.arrays().keys() if now.is_option(name)}
        for name in arrays:
            a, b = now.arrays().get(name), before.arrays().get(name)
            if a is None or b is None or a.shape != b.shape or bool((a != b).any()):
                changed.add(name)
        lengths = now.lengths()
        changed |= {axis for axis, n in before.lengths().items() if lengths.get(axis) != n}
    return changed


def _lengths(axis: str, cases: Sequence[Case]) -> Iterator[Condition]:
    """What may be said of the length of one axis."""
    values = sorted({case.instance.lengths().get(axis, 0) for case in cases})
    if len(values) < 2:
        return
    yield from _whole(axis, lambda case: case.instance.lengths().get(axis, 0), values)
    for value in values[1:]:
        yield threshold(axis, value)


def _whole(name: str, number: Callable[[Case], int | None], values: Sequence[int]) -> Iterator[Condition]:
    """What may be said of a whole number, a length or an option, of which these values were seen."""

    def condition(words: str, test: Callable[..., bool], cost: float, several: bool = True) -> Condition:
        def holds(case: Case) -> bool:
            n = number(case)
            return n is not None and test(n)

        return Condition(f"{_said(name)} {words}", holds, frozenset({name}), cost, numbers=(name,), several=several)

    yield condition("= 1", lambda n: n == 1, 1.0, several=False)
    yield condition("is odd", lambda n: n % 2 == 1, 1.2)
    yield condition("is even", lambda n: n % 2 == 0, 1.2)
    yield condition("is no power of two", lambda n: n.bit_count() != 1, 1.6)
    for m in _MULTIPLES:
        yield condition(f"is no multiple of {m}", lambda n, m=m: n % m != 0, 1.25)
        yield condition(f"is a multiple of {m}", lambda n, m=m: n % m == 0, 1.3)
        yield condition(f"mod {m} = 1", lambda n, m=m: n % m == 1, 1.5)
        yield condition(f"mod {m} = {m - 1}", lambda n, m=m: n % m == m - 1, 1.5)
    for value in values[:-1]:
        if value > 1:
            yield condition(f"≤ {value}", lambda n, v=value: n <= v, 1.35)
    for value in values:
        if value > 1:
            yield condition(f"= {value}", lambda n, v=value: n == v, 1.6, several=False)


def comparable(cases: Sequence[Case]) -> list[tuple[str, str]]:
    """Pairs of axes that are of one kind: their lengths are often equal, and not only where both are short."""
    axes = list(dict.fromkeys(axis for case in cases for axis in case.instance.lengths()))
    pairs = []
    for number, a in enumerate(axes):
        for b in axes[number + 1 :]:
            both = [(n.get(a, 1), n.get(b, 1)) for n in (case.instance.lengths() for case in cases)]
            long = [(x, y) for x, y in both if max(x, y) > 2]
            if long and sum(x == y for x, y in long) >= _OFTEN * len(long):
                pairs.append((a, b))
    return pairs


def _pairs(pairs: Sequence[tuple[str, str]]) -> Iterator[Condition]:
    """How the lengths of two axes compare."""
    for a, b in pairs:
        for sign, test in (("=", operator.eq), ("≠", operator.ne), (">", operator.gt), ("<", operator.lt)):
            words = f"{_said(a)} {sign} {_said(b)}"
            yield Condition(words, _compares(a, b, test), frozenset({a, b}), 1.25, numbers=(a, b), several=True)
        for form, times in (("more than twice {}", _more_than_twice), ("{} times no power of two", _odd_times)):
            words = f"{_said(a)} is {form.format(_said(b))}"
            yield Condition(words, _compares(a, b, times), frozenset({a, b}), 1.5, numbers=(a, b), several=True)


def _more_than_twice(a: int, b: int) -> bool:
    return a > 2 * b > 0


def _odd_times(a: int, b: int) -> bool:
    """Whether a is a multiple of b, and the factor is no power of two."""
    return b > 0 and a % b == 0 and (a // b).bit_count() > 1


def _compares(a: str, b: str, test: Callable[[int, int], bool]) -> Callable[[Case], bool]:
    def holds(case: Case) -> bool:
        lengths = case.instance.lengths()
        return bool(test(lengths.get(a, 0), lengths.get(b, 0)))

    return holds


def _products(axes: Sequence[str], cases: Sequence[Case]) -> Iterator[Condition]:
    """How large a grid is: the product of the lengths of the first two axes."""
    if len(axes) < 2:
        return
    a, b = axes

    def product(case: Case) -> int:
        lengths: dict[str, int] = case.instance.lengths()
        return lengths.get(a, 1) * lengths.get(b, 1)

    def at_least(least: int) -> Callable[[Case], bool]:
        return lambda case: product(case) >= least

    for least in sorted({product(case) for case in cases})[1:]:
        words = f"{_said(a)} × {_said(b)} ≥ {least}"
        yield Condition(words, at_least(least), frozenset({a, b}), 1.45, numbers=(a, b), several=True)
