"""What a data sheet asks a kernel where its problem leaves it a choice, and what finds the answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Set

    from numpy.typing import NDArray

    from assay.conformance.interface.steps import Script
    from assay.spec.precision import Precision

__all__ = ["REPEATS", "Ask", "NoAnswer", "Question", "nan_in"]


class NoAnswer(Exception):
    """The kernel does not return what was asked for: it raises, declines, hangs or returns something else."""


@dataclass(frozen=True)
class Ask:
    """What a question may use: the kernel as it is, without a judge.

    precision: the class whose types the arrays have.  capabilities: what the kernel can be asked for.
    call(instance, without=(), **arrays): every output by name, as float64.  ``arrays`` take the place of the
    instance's after it was validated, so that they may hold NaN; keywords in ``without`` are not passed.  It raises
    :class:`NoAnswer`.
    typical(): an instance without malice.
    steps(script): what becomes of every step of a script of one's own, in order: outputs by name, or a sentence where
    the step raises or returns something else.
    """

    precision: Precision
    capabilities: Set[str]
    call: Callable[..., Mapping[str, NDArray[np.float64]]]
    typical: Callable[[], Any]
    steps: Callable[[Script], tuple[Mapping[str, NDArray[np.float64]] | str, ...]]


@dataclass(frozen=True)
class Question:
    """What a kernel does where the problem leaves it a choice.

    section, words: the heading under which a data sheet asks the question, and its words.
    ask(ask): finds the answer, a few words.
    needs: the capabilities without which the question is not asked.
    """

    id: str
    section: str
    words: str
    ask: Callable[[Ask], str]
    needs: tuple[str, ...] = ()


def _repeats(ask: Ask) -> str:
    instance = ask.typical()
    first = ask.call(instance)
    others = [ask.call(instance) for _ in range(4)]
    different = sum(
        any(not np.array_equal(value, other[name], equal_nan=True) for name, value in first.items()) for other in others
    )
    return f"{different} of 4 calls differ in bits" if different else "the same bits in 5 calls"


def nan_in(name: str, words: str) -> Question:
    """What becomes of a NaN in the first element of one array of an instance."""

    def ask_it(ask: Ask) -> str:
        instance = ask.typical()
        spoilt = instance.arrays()[name].copy()
        spoilt[(0,) * spoilt.ndim] = np.nan
        outputs = ask.call(instance, **{name: spoilt})
        counts = {output: int((~np.isfinite(value)).sum()) for output, value in outputs.items()}
        spread = [f"{count} of {outputs[output].size} numbers of {output}" for output, count in counts.items() if count]
        return f"not finite: {', '.join(spread)}" if spread else "swallowed: every output is finite"

    return Question(f"nan-{name}", "NaN and infinity", words, ask_it)


#: Of every problem.
REPEATS = Question("repeats", "determinism", "the same call again", _repeats)
