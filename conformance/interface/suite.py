"""What a problem brings to the judge, as data.

The judge knows these nouns and no problem.  A problem has a package ``assay.conformance.<problem>`` whose attribute
``SUITE`` is a :class:`Suite`.
"""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.conformance.interface.layouts import Layout
from assay.conformance.interface.lengths import Axes, Lengths
from assay.conformance.interface.usage import UsageError, did_you_mean
from assay.spec.problem import PROBLEMS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Set

    import numpy as np
    from hypothesis.strategies import SearchStrategy
    from numpy.typing import NDArray

    from assay.conformance.diagnosis.meanings import Meaning
    from assay.conformance.diagnosis.precision import Stage
    from assay.conformance.interface.covering import Covering
    from assay.conformance.interface.interface import Interface
    from assay.conformance.interface.kernel import Kernel
    from assay.conformance.interface.targets import Target
    from assay.conformance.profile.questions import Question
    from assay.spec.criterion import Criterion
    from assay.spec.precision import Precision
    from assay.spec.problem import Problem, Provenance

__all__ = [
    "COMBINATIONS",
    "CONCURRENT_CALLS",
    "DRAWN",
    "FRESH_OUTPUTS",
    "LEVELS",
    "OPTIONS",
    "Case",
    "Family",
    "Linear",
    "Row",
    "Suite",
    "by_levels",
    "hunting",
    "look_here",
    "rows",
    "suite",
    "worded",
]

#: The levels of effort, the least first.  Each level also runs the cases of the levels before it.
LEVELS: tuple[str, ...] = ("smoke", "standard", "thorough")

#: The capability of being called by several threads at once.  Cases with calls beside them need it; instances do not.
CONCURRENT_CALLS = "concurrent_calls"

#: The capability of leaving the answers to earlier calls as they are.  Without it, the caller has to copy them.
FRESH_OUTPUTS = "fresh_outputs"


@dataclass(frozen=True)
class Family:
    """A kind of input: the bug that it hunts, where that bug was seen, and how binding its cases are.

    level: ``must`` (a failure fails the report), ``convention`` or ``quality`` (a failure is reported and no more).
    keeps: what the family's rows keep where their sizes are mapped to those that a kernel takes, because the family is
    about it: capabilities that such a row goes on to need, and groups of axes whose lengths go on to differ from row
    to row.
    """

    id: str
    hunts: str
    source: str
    level: str = "must"
    keeps: tuple[str, ...] = ()


#: The family of the rows in which the factors of a problem are combined (:class:`Suite`, ``covering``).
COMBINATIONS = Family(
    "combinations",
    "two conditions, or three, each of which is right alone",
    "assay's bank",
)

#: The family of the rows in which an option of a problem meets every kind of size, and every other option.
OPTIONS = Family(
    "options",
    "an option that one path leaves out: that of one query, of a tile, of groups, of long rows, or of another option",
    "assay's bank",
)

#: The family of what Hypothesis draws.
DRAWN = Family("drawn", "whatever no family thought of", "Hypothesis")


@dataclass(frozen=True)
class Row:
    """One case of a family, as data.  The suite's ``build`` makes an instance of it.

    level: the least level that runs the case.
    pattern: what the numbers are, in the words of the problem.
    size: the lengths of the axes, in the words of the problem.
    options: names of options, some with a value.
    after, beside: names of the suite's ``changes``.  They give calls that come before the case, and calls that other
    threads make at the same time.
    """

    level: str
    pattern: str
    size: str
    options: tuple[str, ...] = ()
    layout: str = "contiguous"
    after: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()


def rows(
    level: str,
    patterns: str,
    sizes: str,
    *options: str,
    layout: str = "contiguous",
    after: str = "",
    beside: str = "",
) -> tuple[Row, ...]:
    """Rows for every pattern with every size, under one set of options.

    patterns, sizes, after, beside: words with spaces between them.

    >>> [row.size for row in rows("smoke", "normal", "1x2:3 1x2:5")]
    ['1x2:3', '1x2:5']
    """
    return tuple(
        Row(level, pattern, size, options, layout, tuple(after.split()), tuple(beside.split()))
        for pattern in patterns.split()
        for size in sizes.split()
    )


def worded(level: str, text: str, patterns: Iterable[str], **others: str) -> Iterator[Row]:
    """The rows that a text says: inputs with semicolons between them, each in words.

    A word of ``patterns`` names a pattern of numbers (``normal`` where there is none), one with a colon is a size, and
    every other word is an option.  others: the layout, or the other calls, of all these rows.

    >>> [(row.pattern, row.size, row.options) for row in worded("smoke", "1x2:5 causal; large 1x1:4", ["large"])]
    [('normal', '1x2:5', ('causal',)), ('large', '1x1:4', ())]
    """
    for words in map(str.split, text.split(";")):
        named = [word for word in words if word in patterns] or ["normal"]
        sizes = [word for word in words if ":" in word]
        options = [word for word in words if word not in (*named, *sizes)]
        yield from rows(level, " ".join(named), " ".join(sizes), *options, **others)


def by_levels(
    family: Family,
    said: Callable[[str, str], Iterable[Row]],
    *,
    smoke: str = "",
    standard: str = "",
    thorough: str = "",
) -> tuple[Family, tuple[Row, ...]]:
    """A family with its rows, which each level adds as a text.  said(level, text): the rows of a text."""
    levels = {"smoke": smoke, "standard": standard, "thorough": thorough}
    return family, tuple(row for level, text in levels.items() if text for row in said(level, text))


def hunting(
    said: Callable[[str, str], Iterable[Row]],
    identifier: str,
    hunts: str,
    source: str = "assay's bank",
    keeps: tuple[str, ...] = (),
    *,
    smoke: str = "",
    standard: str = "",
    thorough: str = "",
) -> tuple[Family, tuple[Row, ...]]:
    """A family of its words, as :class:`Family` has them, with its rows, as :func:`by_levels` has them.

    >>> def said(level, text):
    ...     return worded(level, text, ["large"])
    >>> family, made = hunting(said, "sums", "sums in a short type", smoke="large 1x9:3; 1x17:3")
    >>> family.source, [row.size for row in made]
    ("assay's bank", ['1x9:3', '1x17:3'])
    """
    return by_levels(
        Family(identifier, hunts, source, keeps=keeps), said, smoke=smoke, standard=standard, thorough=thorough
    )


@dataclass(frozen=True)
class Case:
    """One input to be judged: its family, the instance, and the layout in which the kernel gets it.

    after: instances with which the kernel is called before, in this order.  They are called twice: once in memory of
    their own, and once in the memory of the case where shapes agree.
    beside: instances with which other threads call the kernel at the same time.
    needs: capabilities that the case needs beyond those that the instance needs.
    row: the row of the table from which the case was built, if it was: from it the case can be built in another size.
    """

    name: str
    family: Family
    instance: Any
    layout: Layout = field(default_factory=Layout)
    after: tuple[Any, ...] = ()
    beside: tuple[Any, ...] = ()
    needs: frozenset[str] = frozenset()
    row: Row | None = None


@dataclass(frozen=True)
class Linear:
    """An output that is linear in an array: a sum of its rows (the last axis but one) with weights.

    sums_to_one(instance): whether the weights of a row add up to 1.
    """

    array: str
    output: str
    sums_to_one: Callable[[Any], bool]


def _none_of_a_class(_precision: Precision) -> tuple[Any, ...]:
    return ()


@dataclass(frozen=True)
class Suite:
    """Everything the judge needs to know of one problem.

    problem: the name under which :func:`suite` finds this suite.
    spec: the module of the specification, ``assay.spec.<problem>``.
    interface: how kernels are called.
    criteria(instance, kernel, precision): what every output is held to, under the conventions that the kernel declares.
    table: the families, each with its rows.  The cheapest and most telling families come first.
    build(row, provenance, precision): the instance of a row, in the types of the class and from ``provenance.seed``.
    changes: what another call differs in, as name → function from instance to instance.
    meanings: the named wrong meanings with which failures are compared.
    stages(precision): where a kernel of the class may lose precision, the likeliest stage first.
    questions: what a data sheet asks, in its order.
    typical: rows of ordinary inputs, on which quality is measured.
    quality(instance, precision): per element of outputs by name, the error that a kernel with independent roundings
    stays below, nearly surely.
    strategy(precision, capabilities): the instances that Hypothesis draws.  If it is left out, it is derived from the
    table.
    targets: the built-in kernels, by name.
    axes: groups of axes whose lengths kernels limit alike, by the name under which a kernel declares them.
    resized(row, lengths): the row with other lengths of some axes, by which cases are mapped to sizes that a kernel
    takes.  If it is left out, every case is judged in its own size or not at all.
    covering: the factors of which every pair of values is tried.
    features: conditions that may decide whether a kernel fails, in words that follow "fails when", beside lengths,
    options and layouts, which every problem has.
    factors: the plain numbers of an instance that a wrong kernel may take some times as large.
    linear_in: the array in which an output is linear, so that a diagnosis can read the weights that a kernel used.
    """

    problem: str
    spec: Problem
    interface: Interface
    criteria: Callable[[Any, Kernel, Precision], Mapping[str, Criterion]]
    table: tuple[tuple[Family, tuple[Row, ...]], ...]
    build: Callable[[Row, Provenance, Precision], Any]
    changes: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict)
    meanings: tuple[Meaning, ...] = ()
    stages: Callable[[Precision], tuple[Stage, ...]] = _none_of_a_class
    questions: tuple[Question, ...] = ()
    typical: tuple[Row, ...] = ()
    quality: Callable[[Any, Precision], Mapping[str, NDArray[np.float64]]] | None = None
    strategy: Callable[[Precision, Set[str]], SearchStrategy[Any]] | None = None
    targets: Mapping[str, Target] = field(default_factory=dict)
    axes: Mapping[str, Axes] = field(default_factory=dict)
    resized: Callable[[Row, Mapping[str, int]], Row] | None = None
    covering: Covering | None = None
    features: Mapping[str, Callable[[Any], bool]] = field(default_factory=dict)
    factors: tuple[str, ...] = ()
    linear_in: Linear | None = None

    def lengths_of(self, kernel: Kernel) -> dict[str, Lengths]:
        """Axis → the lengths that a kernel declares to take; a declaration of one axis goes before that of its group.

        Raises ``ValueError`` for words that are no lengths.
        """
        declared: dict[str, Lengths] = {}
        for name, group in self.axes.items():
            if name in kernel.lengths:
                lengths = Lengths.of(kernel.lengths[name], multiples=group.multiples)
                declared |= dict.fromkeys(group.names, lengths)
        for name, words in kernel.lengths.items():
            if name not in self.axes:
                multiples = any(group.multiples for group in self.axes.values() if name in group.names)
                declared[name] = Lengths.of(words, multiples=multiples)
        return declared

    @property
    def families(self) -> tuple[Family, ...]:
        """Every family once, in the order of the table, where it may have rows at several places; combinations last."""
        last = () if self.covering is None else (OPTIONS, COMBINATIONS)
        return tuple(dict.fromkeys((*(family for family, _ in self.table), *last)))


def look_here() -> None:
    """Let Python look for modules in the current folder too, as ``python -m`` does: a user's own modules lie there."""
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))


def suite(problem: str) -> Suite:
    """The suite of a problem, imported on first use.

    problem: a name in :data:`assay.spec.problem.PROBLEMS`, or ``module:attribute`` for a suite of your own.
    Raises :class:`~assay.conformance.interface.usage.UsageError`.
    """
    module, colon, attribute = problem.rpartition(":")
    if not colon and problem not in PROBLEMS:
        hint = did_you_mean(problem, PROBLEMS)
        raise UsageError(f"unknown problem {problem!r}: expected one of {', '.join(PROBLEMS)}{hint}")
    if colon:
        look_here()
    else:
        module, attribute = f"assay.conformance.{problem}", "SUITE"
    try:
        loaded = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, TypeError, ValueError) as error:  # the latter: a name that is no module's
        raise UsageError(f"problem {problem!r}: cannot be loaded ({error})") from error
    if not isinstance(loaded, Suite):
        raise UsageError(f"problem {problem!r}: {type(loaded).__name__}, expected a Suite")
    return loaded
