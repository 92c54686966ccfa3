"""Attention for the judge: :data:`SUITE`, and the strategy :func:`instances` for property tests of your own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from assay.conformance.attention.combinations import COVERING
from assay.conformance.attention.criteria import criteria
from assay.conformance.attention.families import TABLE, TYPICAL
from assay.conformance.attention.features import FEATURES, sums_to_one
from assay.conformance.attention.interface import INTERFACE
from assay.conformance.attention.meanings import MEANINGS
from assay.conformance.attention.options import built
from assay.conformance.attention.other_calls import CHANGES
from assay.conformance.attention.questions import QUESTIONS
from assay.conformance.attention.sizes import AXES, resized
from assay.conformance.attention.stages import stages
from assay.conformance.attention.targets import TARGETS
from assay.conformance.interface.suite import Linear, Suite
from assay.spec import attention
from assay.spec.attention.quality import quality

if TYPE_CHECKING:
    from collections.abc import Mapping, Set

    import numpy as np
    from hypothesis.strategies import SearchStrategy
    from numpy.typing import NDArray

    from assay.conformance.attention.strategies import instances
    from assay.spec.attention import Instance
    from assay.spec.precision import Precision

__all__ = ["SUITE", "instances"]


def _strategy(precision: Precision, capabilities: Set[str]) -> SearchStrategy[Instance]:
    from assay.conformance.attention.strategies import instances  # Hypothesis, only where something is drawn

    return instances(precision, capabilities)


def _quality(instance: Instance, precision: Precision) -> Mapping[str, NDArray[np.float64]]:
    return {"output": quality(instance, precision)}


SUITE = Suite(
    problem="attention",
    spec=attention,
    interface=INTERFACE,
    criteria=criteria,
    table=TABLE,
    build=built,
    changes=CHANGES,
    meanings=MEANINGS,
    stages=stages,
    questions=QUESTIONS,
    typical=TYPICAL,
    quality=_quality,
    strategy=_strategy,
    targets=TARGETS,
    axes=AXES,
    resized=resized,
    covering=COVERING,
    features=FEATURES,
    factors=("scale", "softcap"),
    linear_in=Linear("value", "output", sums_to_one),
)


def __getattr__(name: str) -> Any:
    if name == "instances":
        from assay.conformance.attention.strategies import instances

        return instances
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
