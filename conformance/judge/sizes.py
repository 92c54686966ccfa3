"""In which sizes the cases of a level are put to a kernel: those that it declares to take, or is seen to take.

A kernel that takes head dims 64 and 128 and lengths that are multiples of 128 would decline nearly every row of a table
and be judged on nothing.  So a row is put in the nearest size that the kernel takes and that keeps what its family is
about.  What the kernel takes is declared, or learned from a few calls once it has declined something.  These calls
only propose sizes: whether the kernel takes a case is decided by the case.

A kernel that is compiled for every shape gets few shapes with many contents, where there is no time for every shape.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from assay.conformance.interface.lengths import Axes, Lengths
from assay.conformance.interface.suite import LEVELS, Case, Family, Row
from assay.conformance.judge.cases import in_another_size
from assay.conformance.judge.seeds import seed_of
from assay.spec.problem import InvalidInstance, Provenance

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from assay.conformance.judge.judge import Judge

__all__ = ["Sizes"]

_PROBE = Family("sizes", "nothing: it asks which sizes a kernel takes", "", "quality")
_FIRST_TRIES = 64  # calls to find one size that the kernel takes
_STEPS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_UNLIMITED = 1 << 40
_ALL = 8  # a kernel that takes eight times a length is taken to have no upper limit
_LONGEST_SQUARE = 512  # two axes of unlike lengths are not made equal beyond this: their product is work
_STAY_UNEQUAL = 4  # one case in so many keeps axes unequal where nothing else decides it
_LONGER, _FEW = 4, 2  # where the work of a slice has grown so many times, there are so many slices of several
_MOST_WORK = 1 << 32  # the product of the lengths of a slice to which a row may grow
_SPREAD = 3  # neighbouring sizes over which rows of a family about sizes are spread
_SLOW_SECONDS, _SLOW_FACTOR = 0.1, 4.0  # a first call of a shape that is slower by this, and as many times, compiles

Taken = dict[str, int]


@dataclass
class Sizes:
    """The sizes for one kernel, as far as they are known.

    allowed: axis → lengths that the kernel takes; every length of an axis that is not named.
    tied: groups of axes whose lengths the kernel takes only if they are equal.
    learned, looked: whether the kernel was asked which lengths it takes, and whether it is compiled for every shape.
    few: whether cases that are alike share a shape.
    """

    judge: Judge
    allowed: dict[str, Lengths] = field(init=False)
    tied: set[str] = field(default_factory=set)
    learned: bool = False
    looked: bool = False
    few: bool = False
    _shapes: dict[tuple[object, ...], Taken] = field(default_factory=dict)
    _spread: dict[tuple[object, ...], int] = field(default_factory=dict)
    _answers: dict[tuple[tuple[str, int], ...], bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.allowed = dict(self.judge.lengths)

    # --- sizes for a case ---------------------------------------------------------------------------------------------

    def admits(self, case: Case) -> bool:
        """Whether a case has a size that the kernel takes, as far as is known."""
        instances = (case.instance, *case.after, *case.beside)
        return all(
            length in self.allowed[axis]
            for instance in instances
            for axis, length in instance.lengths().items()
            if axis in self.allowed
        )

    def instead(self, case: Case) -> Iterator[Case]:
        """The case in other sizes, nearest first: sizes that are admitted and need no capability that is lacking."""
        suite, judge = self.judge.suite, self.judge
        if suite.resized is None or case.row is None:
            return
        kept = suite.interface.needs(case.instance) & set(case.family.keeps)
        tried: list[Taken] = []
        for lengths in self._near(case):
            if lengths in tried:
                continue
            tried.append(lengths)
            other = in_another_size(suite, judge.precision, case, lengths)
            if other is None or not self.admits(other) or judge.lacking(other):
                continue
            if kept <= suite.interface.needs(other.instance):
                yield self.shared(other)

    def _near(self, case: Case) -> Iterator[Taken]:
        """Lengths near those of a case: with some groups of unequal axes made equal, then with any.

        Which ones come first depends on the case, so that a level has both.  Most are made equal: sizes that a kernel
        takes are large, and what is unequal costs more to certify.
        """
        lengths = case.instance.lengths()
        groups = self.judge.suite.axes.items()
        unequal = [n for n, group in groups if len({lengths[axis] for axis in group.names if axis in lengths}) > 1]
        moved = {axis for axis, n in lengths.items() if axis in self.allowed and n not in self.allowed[axis]}
        first = {
            name
            for name in unequal
            if moved & set(names := self.judge.suite.axes[name].names)
            and max(lengths[axis] for axis in names if axis in lengths) <= _LONGEST_SQUARE
            and seed_of(case.name, name) % _STAY_UNEQUAL
        }
        subsets = [set(some) for count in range(len(unequal) + 1) for some in itertools.combinations(unequal, count)]
        for made_equal in sorted(subsets, key=lambda some: some != first):
            if self.tied & set(unequal) <= made_equal:
                near = self._nearest(case, lengths, made_equal)
                if near is not None and near != lengths:
                    yield self._fewer(case, lengths, near)
                    yield near

    def _fewer(self, case: Case, lengths: Mapping[str, int], near: Taken) -> Taken:
        """The same with one or two of what is computed each by itself, where the other axes have become longer.

        One stays one, equal numbers stay equal, and of several in a group there are two.  The longest axis is shortened
        where a row that was long in one axis alone would become long in others too.
        """
        groups = self.judge.suite.axes
        apart = {axis for group in groups.values() if group.apart for axis in group.names}
        if _product(near, apart) < _LONGER * _product(lengths, apart):
            return near
        fewer = dict(near)
        for name, group in groups.items():
            axes = [axis for axis in group.names if axis in near]
            if not group.apart or name in case.family.keeps or not axes:
                continue
            least = min(near[axis] for axis in axes)
            few = {axis: min(least, _FEW) * min(near[axis] // least, _FEW) for axis in axes}
            if all(axis not in self.allowed or n in self.allowed[axis] for axis, n in few.items()):
                fewer |= few
        longest = max(fewer, key=fewer.__getitem__)
        if (work := _product(fewer, apart)) > _MOST_WORK:
            shorter = max(1, fewer[longest] * _MOST_WORK // work)
            fewer[longest] = self.allowed[longest].nearest(shorter) if longest in self.allowed else shorter
        return fewer

    def _nearest(self, case: Case, lengths: Mapping[str, int], made_equal: set[str]) -> Taken | None:
        """The nearest allowed lengths; ``None`` where unequal ones cannot stay so."""
        near = dict(lengths)
        for name, group in self.judge.suite.axes.items():
            axes = [axis for axis in group.names if axis in lengths]
            if name in made_equal:
                longest = max(lengths[axis] for axis in axes)
                near |= dict.fromkeys(axes, max(min(longest, _LONGEST_SQUARE), min(lengths[axis] for axis in axes)))
            limited = [axis for axis in axes if axis in self.allowed]
            for axis in limited:
                near[axis] = self.allowed[axis].nearest(near[axis])
            if (
                name in case.family.keeps
                and limited
                and not group.apart
                and all(near[axis] != lengths[axis] for axis in limited)
            ):
                self._spread_out(case, near, limited)
            if name not in made_equal and not self._kept_apart(lengths, near, axes):
                return None
        for axis in set(lengths) & set(self.allowed):
            near[axis] = self.allowed[axis].nearest(near[axis])
        return near

    def _spread_out(self, case: Case, near: Taken, axes: list[str]) -> None:
        """Rows of a family about sizes that come to the same size take the next ones by turns."""
        key = (case.family.id, tuple(near[axis] for axis in axes))
        turn = self._spread.setdefault((*key, case.row), sum(1 for other in self._spread if other[:2] == key)) % _SPREAD
        for axis in axes:
            for _ in range(turn):
                near[axis] = self.allowed[axis].above(near[axis]) or near[axis]

    def _kept_apart(self, lengths: Mapping[str, int], near: Taken, axes: list[str]) -> bool:
        """Make axes whose lengths differ differ again, in the same order, if that is possible."""
        for shorter, longer in itertools.permutations(axes, 2):
            if lengths[shorter] < lengths[longer] and near[shorter] >= near[longer]:
                above = self.allowed[longer].above(near[shorter]) if longer in self.allowed else near[shorter] + 1
                below = self.allowed[shorter].below(near[longer]) if shorter in self.allowed else near[longer] - 1
                if above is not None:
                    near[longer] = above
                elif below:
                    near[shorter] = below
                else:
                    return False
        return True

    # --- few shapes ---------------------------------------------------------------------------------------------------

    def shared(self, case: Case) -> Case:
        """The case in the shape of those that are like it, where a kernel gets few shapes; else as it is.

        Rows of the highest level and of families about sizes are judged in their own.
        """
        if not self.few or case.row is None or case.row.level == LEVELS[-1]:
            return case
        sizes = {name for name, group in self.judge.suite.axes.items() if not group.apart}
        if set(case.family.keeps) & sizes:
            return case
        shape = self._shapes.setdefault(self._kind(case), case.instance.lengths())
        if shape == case.instance.lengths():
            return case
        other = in_another_size(self.judge.suite, self.judge.precision, case, shape)
        return case if other is None or self.judge.lacking(other) else other

    def share(self, cases: Iterable[Case]) -> None:
        """Choose the shapes that cases share: of those that are alike the first with the most axes longer than 1."""
        for row_case in cases:
            case = next(self.instead(row_case), row_case) if self.judge.lacking(row_case) else row_case
            lengths = case.instance.lengths()
            shape = self._shapes.setdefault(self._kind(case), lengths)
            if sum(n > 1 for n in lengths.values()) > sum(n > 1 for n in shape.values()):
                self._shapes[self._kind(case)] = lengths

    def _kind(self, case: Case) -> tuple[object, ...]:
        """What cases must have in common to share a shape."""
        lengths = case.instance.lengths()
        groups = self.judge.suite.axes.values()
        return (
            self.judge.suite.interface.needs(case.instance),
            max(lengths.values(), default=0) > _LONGEST_SQUARE,
            tuple(lengths.get(axis) == 1 for group in groups if group.multiples for axis in group.names),
            tuple(
                lengths.get(shorter, 0) < lengths.get(longer, 0)
                for group in groups
                for shorter, longer in itertools.permutations(group.names, 2)
            ),
        )

    def look_for_compilation(self, cases: Iterable[Case]) -> None:
        """See, once, whether the first call of every shape is slow: then ``cases`` that are alike share one."""
        if self.looked:
            return
        self.looked = True
        plain = self._plain()
        if plain is None:
            return
        lengths = plain.instance.lengths()
        extra = 0.0
        for more in (0, 1):  # the first shape of a process pays for more than itself: the second one counts
            longer = {axis: n + more for axis, n in lengths.items()}
            case = in_another_size(self.judge.suite, self.judge.precision, plain, longer)
            if case is None or self.judge.lacking(case):
                return
            seconds = []
            for _ in range(2):
                begun = time.monotonic()
                if self.judge.declined(case):
                    return
                seconds.append(time.monotonic() - begun)
            first, again = seconds
            extra = first - again if first > _SLOW_FACTOR * again else 0.0
        if extra > _SLOW_SECONDS:
            self.share(cases)
            self.few = True

    # --- learning -----------------------------------------------------------------------------------------------------

    def learn(self, seconds: float) -> None:
        """Ask, once and for at most ``seconds``, which lengths of its axes the kernel takes."""
        if self.learned:
            return
        self.learned = True
        plain, end = self._plain(), time.monotonic() + seconds
        if plain is None:
            return
        taken: Taken | None = None
        with contextlib.suppress(TimeoutError):
            taken = self._first_taken(plain, end)
            for name, group in self.judge.suite.axes.items():
                if taken is not None:
                    taken = self._learn_group(plain, taken, name, group, end)
            return
        own = plain.instance.lengths()
        for axis, length in (taken or {}).items():  # of axes whose own length was not taken one length is known
            if length != own[axis]:
                self.allowed.setdefault(axis, Lengths(((length, length, 1),)))

    def _plain(self) -> Case | None:
        """A case without options, to ask with."""
        suite, precision = self.judge.suite, self.judge.precision
        if suite.resized is None:
            return None
        for row in (*suite.typical, *(row for _, rows in suite.table for row in rows)):
            plain = Row(row.level, row.pattern, row.size)
            try:
                case = Case("sizes", _PROBE, suite.build(plain, Provenance(_PROBE.id, 0), precision), row=plain)
            except InvalidInstance:
                continue
            if not self.judge.lacking(case):
                return case
            if (other := next(self.instead(case), None)) is not None:
                return other
        return None

    def _takes(self, plain: Case, lengths: Mapping[str, int], end: float) -> bool:
        """Whether the kernel takes the plain case in these lengths.  Raises ``TimeoutError`` after ``end``."""
        key = tuple(sorted(lengths.items()))
        if key not in self._answers:
            if time.monotonic() > end:
                raise TimeoutError
            case = in_another_size(self.judge.suite, self.judge.precision, plain, lengths)
            self._answers[key] = case is not None and not self.judge.lacking(case) and not self.judge.declined(case)
        return self._answers[key]

    def _first_taken(self, plain: Case, end: float) -> Taken | None:
        """Lengths that the kernel takes: those of the plain case, or usual ones, the likeliest first."""
        lengths = plain.instance.lengths()
        usual = [[(group, place) for place in range(len(group.usual))] for group in self.judge.suite.axes.values()]
        tries = sorted(itertools.product(*usual), key=lambda choice: sum(place for _, place in choice))
        choices = [{axis: group.usual[place] for group, place in one for axis in group.names} for one in tries]
        for choice in [lengths, *choices[:_FIRST_TRIES]]:
            near = {
                axis: self.allowed[axis].nearest(choice.get(axis, n)) if axis in self.allowed else choice.get(axis, n)
                for axis, n in lengths.items()
            }
            if self._takes(plain, near, end):
                return near
        return None

    def _learn_group(self, plain: Case, taken: Taken, name: str, group: Axes, end: float) -> Taken:
        """Learn the lengths of a group of axes around those that are taken; what to go on with."""
        axes = [axis for axis in group.names if axis in taken]
        free = [axis for axis in axes if axis not in self.allowed]
        if free:
            lengths = self._progressions(plain, taken, free, group, end)
            if lengths is not None:
                self.allowed |= dict.fromkeys(free, lengths)
                taken = taken | dict.fromkeys(free, min(first for first, _, _ in lengths.progressions))
        if len(axes) > 1:
            low = taken[axes[0]]
            allowed = self.allowed.get(axes[0])
            highs = {2 * low, low + 1 if allowed is None else allowed.above(low)}
            longer = [n for n in highs if n is not None and (allowed is None or n in allowed)]
            pairs = [{axes[0]: a, axes[1]: b} for n in longer for a, b in ((low, n), (n, low))]
            asked = [taken | pair for pair in pairs if self._can_be_asked(plain, taken | pair)]
            if asked and not any(self._takes(plain, lengths, end) for lengths in asked):
                self.tied.add(name)
        return taken

    def _can_be_asked(self, plain: Case, lengths: Mapping[str, int]) -> bool:
        """Whether the plain case exists in these lengths and needs nothing that the kernel lacks."""
        case = in_another_size(self.judge.suite, self.judge.precision, plain, lengths)
        return case is not None and not self.judge.lacking(case)

    def _progressions(self, plain: Case, taken: Taken, axes: list[str], group: Axes, end: float) -> Lengths | None:
        """The lengths of axes that go together, as far as a few calls show; ``None`` where every length is taken."""
        start = taken[axes[0]]

        def takes(length: int) -> bool:
            return self._takes(plain, taken | dict.fromkeys(axes, length), end)

        step = next((step for step in _STEPS if takes(start + step) and takes(start + 2 * step)), None)
        usual = [length for length in group.usual if takes(length)]
        if step is None:
            return Lengths(tuple((length, length, 1) for length in sorted({start, *usual})))
        first = start % step or step
        if not takes(first):
            first = min(length for length in (start, *usual) if (length - start) % step == 0)
        further = [start + (factor - 1) * start // step * step for factor in (2, 4, _ALL)]
        reached = [length for length in further if takes(length)]
        if len(reached) == len(further):
            last = _UNLIMITED
            if (first, step) == (1, 1):
                return None
        else:
            last = max((start + 2 * step, *reached, *(n for n in usual if (n - start) % step == 0)))
        others = tuple((n, n, 1) for n in sorted(usual) if n not in range(first, last + 1, step))
        return Lengths(((first, last, step), *others))


def _product(lengths: Mapping[str, int], without: Collection[str]) -> int:
    """The product of the lengths of all other axes."""
    return math.prod(n for axis, n in lengths.items() if axis not in without)
