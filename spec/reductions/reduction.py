"""Reductions, and how they compose.

A :class:`Reduction` turns an instance of its source problem into one of its target problem, says how accurately the
target has to be solved, and turns the output of a solver into the answer of the source.  Applied to an instance, it
gives a :class:`Reduced`, which holds all of that.

The answer that a decoder gives is exact, so arrows compose.  The accuracy that a :class:`Composite` needs is that of
its last part, on the instance that this part receives.  Its sizes are those of its parts, applied one after the other
(proofs_notes/reductions.md, RED-1).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Composite", "Reduced", "Reduction", "Sizes"]

#: Sizes of an instance by name: ``n``, ``m`` (second set), ``d``, ``B`` (largest entry), ``k``, …
Sizes = dict[str, Any]

_SHARE = 2  # an instance may take one half of the machine's memory, because a solver needs memory too


@dataclass(frozen=True)
class Reduction:
    """One arrow ``source → target``.

    forward(instance, **options): the target instance.  It raises InvalidInstance where a precondition does not hold.
    decoder(instance, target, output): the exact answer of ``instance`` from any output within the needed accuracy.
    accuracy(instance, target): an error *strictly below* it in each element of the output, or in the whole where
    ``error`` is given, changes no answer; 0 where the target has exact answers only.
    sizes(sizes, **options): the sizes of the target from those of the source, before anything is allocated.
    measure(instance): the sizes of a source instance.
    counts: whether decoding gives the number of solutions, and not only whether there is one.
    output: the output of the target that is decoded, by its name in ``OUTPUTS`` of that problem.
    options: the names of the options of ``forward`` and ``sizes``.
    error(instance, target, output): where accuracy is no error of single elements, at least the error that it is about,
    certified; ``None`` where the instance is too large to tell.
    """

    name: str
    claim: str
    source: str
    target: str
    statement: str
    forward: Callable[..., Any]
    decoder: Callable[[Any, Any, Any], Any]
    accuracy: Callable[[Any, Any], Fraction]
    sizes: Callable[..., Sizes]
    measure: Callable[[Any], Sizes]
    preconditions: tuple[str, ...] = ()
    counts: bool = False
    options: tuple[str, ...] = ()
    output: str = "output"
    error: Callable[[Any, Any, Any], float | None] | None = None

    @property
    def parts(self) -> tuple[Reduction, ...]:
        """This arrow alone."""
        return (self,)

    def apply(self, instance: Any, **options: Any) -> Reduced:
        """The target instance with all that decoding needs.  Raises ``ValueError`` for an unknown option."""
        _require_options(options, self.options, self.name)
        target = self.forward(instance, **options)  # raises where the target would be too large
        sizes = self.sizes(self.measure(instance), **options)
        return Reduced(self, instance, target, self.accuracy(instance, target), sizes, (instance, target))

    def then(self, after: Reduction | Composite) -> Composite:
        """This arrow and then ``after``.  Raises ``ValueError`` where ``after`` starts from another problem."""
        return Composite((self, *after.parts))


@dataclass(frozen=True)
class Composite:
    """Arrows one after the other; all its properties are computed from theirs (RED-1)."""

    parts: tuple[Reduction, ...]

    def __post_init__(self) -> None:
        if not self.parts:
            raise ValueError("a composite of no reductions: expected at least one")
        for before, after in itertools.pairwise(self.parts):
            if before.target != after.source:
                raise ValueError(f"{before.name} ends in {before.target}, {after.name} starts from {after.source}")

    @property
    def name(self) -> str:
        return " → ".join(part.name for part in self.parts)

    @property
    def source(self) -> str:
        return self.parts[0].source

    @property
    def target(self) -> str:
        return self.parts[-1].target

    @property
    def output(self) -> str:
        """The output of the target that is decoded."""
        return self.parts[-1].output

    @property
    def claims(self) -> tuple[str, ...]:
        """The claims on which its soundness rests."""
        return tuple(part.claim for part in self.parts)

    @property
    def counts(self) -> bool:
        return all(part.counts for part in self.parts)

    @property
    def preconditions(self) -> tuple[str, ...]:
        return tuple(f"{part.name}: {each}" for part in self.parts for each in part.preconditions)

    @property
    def options(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(option for part in self.parts for option in part.options))

    def measure(self, instance: Any) -> Sizes:
        """The sizes of a source instance."""
        return self.parts[0].measure(instance)

    def sizes(self, sizes: Sizes, **options: Any) -> Sizes:
        """The sizes of the target from those of the source."""
        for part in self.parts:
            sizes = part.sizes(sizes, **_of(options, part.options))
        return sizes

    def apply(self, instance: Any, **options: Any) -> Reduced:
        """The result of every part in turn; an option goes to the parts that have it."""
        _require_options(options, self.options, self.name)
        stages = [instance]
        for part in self.parts:
            stages.append(part.forward(stages[-1], **_of(options, part.options)))
        accuracy = self.parts[-1].accuracy(stages[-2], stages[-1])
        sizes = self.sizes(self.measure(instance), **options)
        return Reduced(self, instance, stages[-1], accuracy, sizes, tuple(stages))

    def then(self, after: Reduction | Composite) -> Composite:
        """These arrows and then ``after``."""
        return Composite((*self.parts, *after.parts))


@dataclass(frozen=True)
class Reduced:
    """A reduction applied to one instance: ``source`` became ``target``, and :meth:`decode` turns outputs into answers.

    accuracy: an absolute error strictly below it in every element of the output changes no answer; 0 where the output
    must be exact.  sizes: those of the target.  stages: the instances on the way, from ``source`` to ``target``.
    """

    reduction: Reduction | Composite
    source: Any
    target: Any
    accuracy: Fraction
    sizes: Mapping[str, Any]
    stages: tuple[Any, ...]

    def decode(self, output: Any) -> Any:
        """The answer of ``source`` from an output for ``target`` that errs by less than ``accuracy``.

        Raises ``ValueError`` for an output of another shape and for NaN or infinity in it.
        """
        for part, source, target in reversed(
            list(zip(self.reduction.parts, self.stages, self.stages[1:], strict=False))
        ):
            output = part.decoder(source, target, output)
        return output


def _of(options: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name in names}


def _require_options(options: Mapping[str, Any], names: tuple[str, ...], reduction: str) -> None:
    for name in options:
        if name not in names:
            raise ValueError(f"{reduction} has no option {name!r}: expected one of {', '.join(names) or 'none'}")


#: The accuracy that problems with exact answers need.
EXACT = Fraction(0)
