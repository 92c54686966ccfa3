"""What a problem brings to the judge, as data: families, strategies, how a kernel is called, wrong semantics, targets.

The judge (:mod:`assay.conformance.judge.judge`) knows only these nouns.  A problem registers by having a package
``assay.conformance.<problem>`` whose attribute ``SUITE`` is a :class:`Suite`.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Set

    import numpy as np
    from hypothesis.strategies import SearchStrategy
    from numpy.typing import NDArray

    from assay.conformance.interface.kernel import Kernel
    from assay.spec.precision import Precision

__all__ = [
    "CERTIFICATE",
    "LAYOUTS",
    "LEVELS",
    "Ask",
    "Call",
    "Case",
    "Family",
    "Layout",
    "NoAnswer",
    "Probe",
    "Question",
    "Semantics",
    "Stage",
    "Suite",
    "Target",
    "suite",
]

#: The name of an output that bounds the error of those of its shape: a kernel is held to it.
CERTIFICATE = "certificate"

#: Effort, least first: each level runs the cases of those before it, with the same seed the same ones.
LEVELS: tuple[str, ...] = ("smoke", "standard", "thorough")


@dataclass(frozen=True)
class Layout:
    """How the arrays of a call lie in memory; values are the same in every layout.

    ``order`` permutes the axes of four-dimensional arrays in memory (None: C order); ``offset`` elements precede
    the first one; ``gap`` elements lie between rows of the last axis; ``step`` is the distance of two neighbours, as in
    a slice of a larger array; ``reverse`` stores the third axis backwards (a negative stride: only for frameworks that
    have them).  ``expanded`` stores the first two axes once where all their slices are equal (stride 0); ``packed``
    makes the positional arrays slices of one array (batch, length, everything of a position side by side); ``far`` puts
    the slices of an axis 2³² elements apart, in a sparse mapping.
    """

    name: str = "contiguous"
    order: tuple[int, ...] | None = None
    offset: int = 0
    gap: int = 0
    step: int = 1
    reverse: bool = False
    expanded: bool = False
    packed: bool = False
    far: int | None = None


#: Every layout, by name.
LAYOUTS: dict[str, Layout] = {
    "contiguous": Layout(),
    "permuted": Layout("permuted", order=(0, 2, 1, 3)),
    "transposed": Layout("transposed", order=(0, 1, 3, 2)),
    "offset": Layout("offset", offset=7),
    "gap": Layout("gap", gap=5),
    "spaced": Layout("spaced", step=2),
    "reversed": Layout("reversed", reverse=True),
    "expanded": Layout("expanded", expanded=True),
    "packed": Layout("packed", packed=True),
    "far-batches": Layout("far-batches", far=0),
    "far-heads": Layout("far-heads", far=1),
}


@dataclass(frozen=True)
class Family:
    """A kind of input: the bug it hunts, where that bug was seen, and how binding it is."""

    id: str
    hunts: str
    source: str
    level: str = "must"  # must | convention | quality


@dataclass(frozen=True)
class Case:
    """One input to be judged: its family, the instance, the layout in which the kernel gets it.

    ``after``: instances that the kernel is called with before, in this order: once in memory of its own, once in
    the same where shapes agree.
    ``beside``: instances that other threads call it with at the same time.
    ``needs``: capabilities beyond those of the instance.
    """

    name: str
    family: Family
    instance: Any
    layout: Layout = field(default_factory=Layout)
    after: tuple[Any, ...] = ()
    beside: tuple[Any, ...] = ()
    needs: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Call:
    """How a kernel is called for an instance: positional arrays, then keywords (arrays or plain values)."""

    arrays: tuple[tuple[str, NDArray[Any]], ...]
    keywords: Mapping[str, Any]
    outputs: tuple[str, ...]  # names of what is to be returned, in order
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[tuple[str, ...], ...]  # names of the dtypes that each may have


@dataclass(frozen=True)
class Semantics:
    """A named wrong meaning: the instance that a kernel with this bug would, in effect, be solving.

    ``applies(instance)`` gives that instance, or None where the bug would change nothing; ``post`` (optional) maps
    the correct output of it to the wrong one.
    """

    id: str
    sentence: str
    applies: Callable[[Any], Any | None]
    post: Callable[[Any, NDArray[np.float64]], NDArray[np.float64]] | None = None


@dataclass(frozen=True)
class Probe:
    """An instance that only one stage of a kernel can get wrong.

    ``bits(value)``: how many significant bits an output shows to have been kept there, per element; +inf where its
    error is of another kind, NaN where it cannot tell.  Read only where the output is beyond the tolerance.
    """

    instance: Any
    bits: Callable[[NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True)
class Stage:
    """A stage of the computation in which a kernel may lose precision.

    ``words`` end the phrase "lost precision in …"; ``claimed``: significant bits that the class promises there;
    ``explained_by``: stages that would make these probes fail as well.
    """

    id: str
    words: str
    claimed: float
    explained_by: tuple[str, ...]
    probes: tuple[Probe, ...]


class NoAnswer(Exception):
    """What a kernel does instead of returning what was asked: raises, declines, hangs, returns something else."""


@dataclass(frozen=True)
class Ask:
    """What a question may use: the kernel as it is, without a judge.

    ``call(instance, without=(), **arrays)`` gives every output by name, as float64: ``arrays`` take the place of the
    instance's after it was validated (they may hold NaN), keywords in ``without`` are not passed.  It raises
    :class:`NoAnswer`.
    """

    precision: Precision  # whose types the arrays have
    capabilities: Set[str]
    call: Callable[..., Mapping[str, NDArray[np.float64]]]


@dataclass(frozen=True)
class Question:
    """What a kernel does where the problem leaves it a choice: ``ask`` finds the answer, a few words."""

    id: str
    section: str
    words: str
    ask: Callable[[Ask], str]
    needs: tuple[str, ...] = ()  # capabilities


@dataclass(frozen=True)
class Target:
    """A built-in kernel: its name on the command line, the modules it needs and the extra that brings them."""

    name: str
    precisions: tuple[str, ...]  # the classes it is built for, less known findings: what `assay check` alone runs
    modules: tuple[str, ...]
    extra: str
    load: Callable[[], Kernel]


@dataclass(frozen=True)
class Suite:
    """Everything the judge needs to know of one problem."""

    problem: str
    families: tuple[Family, ...]
    #: deterministic cases of a level, cheapest and most telling first: (precision, level, seed)
    cases: Callable[[Precision, str, int], Iterable[Case]]
    #: a Hypothesis strategy of cases within a set of capabilities, shrinking towards tiny shapes without options
    strategy: Callable[[Precision, Set[str]], SearchStrategy[Case]]
    #: capability names an instance needs beyond positional arrays, e.g. {"mask", "grouped_heads"}
    needs: Callable[[Any], frozenset[str]]
    #: every capability, with the keywords of which a kernel's signature needs one (none: granted unless declared off)
    capabilities: Mapping[str, tuple[str, ...]]
    #: how to call this kernel for an instance; raises Declined when a declared convention cannot express it
    call: Callable[[Any, Kernel, Precision], Call]
    #: the documented signature, for error messages, and the names of its positional parameters
    signature: str
    positional: tuple[str, ...]
    #: enclosure and tolerance of every output, under the kernel's declared conventions
    reference: Callable[[Any, Kernel, Precision], Mapping[str, tuple[Any, NDArray[np.float64]]]]
    semantics: tuple[Semantics, ...]
    #: where a kernel of a class may lose precision, the likeliest first
    stages: Callable[[Precision], tuple[Stage, ...]]
    #: conventions and habits that a data sheet tells, in its order
    questions: tuple[Question, ...]
    #: cases without malice, and how accurate independent roundings leave a kernel on them, per element
    ordinary: Callable[[Precision, int], Iterable[Case]]
    quality: Callable[[Any, Precision], NDArray[np.float64]]
    targets: Mapping[str, Target]
    #: conventions that `options` may declare: name → allowed values, the first being the default; none: a number > 0
    conventions: Mapping[str, tuple[str, ...]]


def suite(problem: str) -> Suite:
    """The suite of a problem, imported on first use."""
    module = importlib.import_module(f"assay.conformance.{problem}")
    loaded: Suite = module.SUITE
    return loaded
