"""Attention for the judge: :data:`SUITE`, and the strategy :func:`instances` for property tests of your own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from assay.conformance.attention.calls import CAPABILITIES, POSITIONAL, SIGNATURE, call, needs
from assay.conformance.attention.criteria import CONVENTIONS, reference
from assay.conformance.attention.families import FAMILIES, cases
from assay.conformance.attention.meanings import SEMANTICS
from assay.conformance.attention.questions import QUESTIONS
from assay.conformance.attention.stages import stages
from assay.conformance.attention.targets import TARGETS
from assay.conformance.attention.typical import ordinary
from assay.conformance.interface.suite import Suite
from assay.spec.attention.quality import quality

if TYPE_CHECKING:
    from collections.abc import Set

    from hypothesis.strategies import SearchStrategy

    from assay.conformance.attention.strategies import instances
    from assay.conformance.interface.suite import Case
    from assay.spec.precision import Precision

__all__ = ["SUITE", "instances"]


def _strategy(precision: Precision, capabilities: Set[str]) -> SearchStrategy[Case]:
    from assay.conformance.attention.strategies import drawn_cases  # Hypothesis, only where something is drawn

    return drawn_cases(precision, capabilities)


SUITE = Suite(
    problem="attention",
    families=FAMILIES,
    cases=cases,
    strategy=_strategy,
    needs=needs,
    capabilities=CAPABILITIES,
    call=call,
    signature=SIGNATURE,
    positional=POSITIONAL,
    reference=reference,
    semantics=SEMANTICS,
    stages=stages,
    questions=QUESTIONS,
    ordinary=ordinary,
    quality=quality,
    targets=TARGETS,
    conventions=CONVENTIONS,
)


def __getattr__(name: str) -> Any:
    if name == "instances":
        from assay.conformance.attention.strategies import instances

        return instances
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
