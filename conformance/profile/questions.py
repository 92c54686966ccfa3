"""Questions to a kernel where its problem leaves it a choice: what is asked, and what an answer may use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Set

    import numpy as np
    from numpy.typing import NDArray

    from assay.spec.precision import Precision

__all__ = ["Ask", "NoAnswer", "Question"]


class NoAnswer(Exception):
    """What a kernel does instead of returning what was asked: it raises, declines, hangs or returns something else."""


@dataclass(frozen=True)
class Ask:
    """What a question may use: the kernel as it is, without a judge.

    precision: the class whose types the arrays have.  capabilities: what the kernel can be asked for.
    call(instance, without=(), **arrays): every output by name, as float64.  ``arrays`` take the place of the
    instance's after it was validated, so that they may hold NaN; keywords in ``without`` are not passed.  It raises
    :class:`NoAnswer`.
    """

    precision: Precision
    capabilities: Set[str]
    call: Callable[..., Mapping[str, NDArray[np.float64]]]


@dataclass(frozen=True)
class Question:
    """What a kernel does where the problem leaves it a choice.

    section, words: under which heading a data sheet asks it, and how.  ask: finds the answer, a few words.
    needs: the capabilities without which it is not asked.
    """

    id: str
    section: str
    words: str
    ask: Callable[[Ask], str]
    needs: tuple[str, ...] = ()
