"""What of a bank every run judges; the profile of CI judges all.  One table, so that what a run costs is seen here.

A test that is chosen seldom has the mark ``thorough``: it is collected in the profile of CI alone (tests/conftest.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from assay.conformance.interface.suite import suite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from assay.conformance.call.outcome import Outcome
    from bank.entry import Entry
    from bank.verdicts import Verdicts

__all__ = [
    "CHOICES", "Choice", "all_of", "called", "choice", "named", "one_of", "only", "others_than", "outcomes", "pairs",
    "some", "wrong",
]  # fmt: skip


def one_of(number: int, place: int = 0) -> Callable[[int, str], bool]:
    """One kernel of so many is chosen."""
    return lambda at, _name: at % number == place


def called(*names: str) -> Callable[[int, str], bool]:
    """The kernels of these names are chosen."""
    return lambda _at, name: name in names


def others_than(*names: str) -> Callable[[int, str], bool]:
    """The kernels of other names are chosen."""
    return lambda _at, name: name not in names


def only(place: int) -> Callable[[int, str], bool]:
    """The kernel at this place is chosen."""
    return lambda at, _name: at == place


def all_of(_at: int, _name: str) -> bool:
    """Every kernel is chosen."""
    return True


@dataclass(frozen=True)
class Choice:
    """What every run judges of one bank.

    classes: a correct kernel is judged in one of these that it is of, by turns; in its first one if it is of none.  If
    they are left out, they are its own.
    share: it is judged on one of so many cases of the lowest level, on others for each kernel.
    picky: the same for kernels that declare most cases away.
    askable: the share is of the cases that the kernel can be asked, not of all.
    wrong: which wrong kernels are judged.
    named: of which wrong kernels with a meaning the name is looked for.
    """

    classes: tuple[str, ...] = ()
    share: int = 1
    picky: int | None = None
    askable: bool = False
    wrong: Callable[[int, str], bool] = field(default=all_of)
    named: Callable[[int, str], bool] = field(default=all_of)


_BY_TURNS = ("float32", "bfloat16")

CHOICES = {
    # all classes by turns; the kernel for which no name is found, which takes long, is not among those that are named
    "attention": Choice(named=one_of(4, 1)),
    # before the first failure of the others comes most of a level
    "attention_gradient": Choice(
        ("float32", "bfloat16", "float16"), share=8, named=one_of(20),
        wrong=others_than("mask-not-handed", "both-mask-inverted", "large-batch"),
    ),
    "document_similarity": Choice(named=one_of(6, 3)),
    "layer_collapse": Choice(
        _BY_TURNS, share=8, picky=3, named=called(  # of every part of a network some
            "skip-after-norm", "mlp-first", "mlp-twice", "cut-query", "fused-order", "scale-missing", "causal-strict",
            "epsilon-fixed", "norm-shared", "gain-first-layer", "gate-exchanged", "keys-un-normed",
        ),
    ),
    # to tell how many bits a stage keeps takes long: few of those are among them
    "rope": Choice(named=one_of(6, 4)),
    # an odd share, for rows of halves and of pairs alternate; the cases of a further class take a second to build
    "rope_attention": Choice(
        _BY_TURNS, share=7, wrong=others_than("angles-float16", "llama3-ignored"), named=one_of(20, 5)
    ),
    # wrong in few calls: most of a level comes before the first failure
    "rope_attention, narrow": Choice(wrong=one_of(3, 1), named=only(4)),
    "kernel_graph": Choice(share=2, askable=True, named=one_of(3)),
    "kernel_graph_solve": Choice(share=2, askable=True, named=one_of(2)),
    "kernel_graph_sparsify": Choice(share=2, askable=True),
    "small_transformers": Choice(share=3, askable=True, named=one_of(6, 3)),
    "small_transformers_merge": Choice(
        ("float32", "bfloat16", "float64"), share=6, askable=True, wrong=one_of(3), named=one_of(9, 3)
    ),
    "tensor_attention": Choice(_BY_TURNS, share=3, askable=True, named=one_of(6, 3)),
    "tensor_attention_gradient": Choice(_BY_TURNS, share=3, askable=True, named=one_of(6, 3)),
}  # fmt: skip


def choice(always: bool, *values: Any, id: str) -> Any:
    """The values of one test, which runs always or in the profile of CI alone."""
    return pytest.param(*values, id=id, marks=[] if always else [pytest.mark.thorough])


def some(entries: Iterable[Any], chosen: Callable[[int, str], bool]) -> list[Any]:
    """Every kernel as the value of a test; those that are chosen are judged in every run."""
    return [choice(chosen(at, entry.name), entry, id=entry.name) for at, entry in enumerate(entries)]


def pairs(bank: str, correct: Sequence[Entry]) -> list[Any]:
    """(place, kernel, class) for every correct kernel and each of its classes, of which one is chosen."""
    found = []
    for at, entry in enumerate(correct):
        classes = CHOICES[bank].classes or entry.precisions
        usual = [name for name in classes if name in entry.precisions] or [entry.precision]
        chosen = usual[at % len(usual)]
        found += [choice(name == chosen, at, entry, name, id=f"{entry.name}-{name}") for name in entry.precisions]
    return found


def wrong(bank: str, buggy: Iterable[Any]) -> list[Any]:
    """The wrong kernels, those that every run judges and the others."""
    return some(buggy, CHOICES[bank].wrong)


def named(bank: str, semantic: Iterable[Any]) -> list[Any]:
    """The wrong kernels with a meaning, those whose name every run looks for and the others."""
    return some(semantic, CHOICES[bank].named)


def outcomes(verdicts: Verdicts, at: int, entry: Entry, name: str, *, whole: bool) -> list[Outcome]:
    """What a correct kernel makes of its share of the lowest level, or of the whole level."""
    judge, level, chosen = verdicts.judge(entry, name), verdicts.level(name, "smoke"), CHOICES[verdicts.problem]
    if chosen.askable:
        interface = suite(verdicts.problem).interface
        level = [case for case in level if interface.needs(case.instance) <= interface.has(judge.kernel)]
    share = 1 if whole else chosen.picky if chosen.picky is not None and entry.options else chosen.share
    with np.errstate(all="ignore"):
        return [
            judge.outcome(case, huge_canaries=place % 2 == 1)
            for place, case in enumerate(level[at % min(share, max(len(level), 1)) :: share])
        ]
