"""What becomes of one case of a toy problem, here or in a process of its own."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from assay.conformance.call.isolation import isolated
from assay.conformance.interface.targets import kernel_of
from assay.conformance.judge.judge import Judge
from assay.spec.precision import precision

if TYPE_CHECKING:
    from assay.conformance.call.outcome import Outcome
    from assay.conformance.interface.suite import Case

__all__ = ["here_and_isolated", "outcome_of"]

here_and_isolated = pytest.mark.parametrize("isolate", [False, True], ids=["here", "isolated"])


def outcome_of(case: Case, kernel: Any, isolate: bool = False) -> Outcome:
    """A kernel on a case in float32."""
    float32, problem = precision("float32"), case.instance.problem
    if not isolate:
        return Judge(kernel_of(kernel, problem), float32).outcome(case)
    if sys.platform != "linux":
        pytest.skip("isolation needs Linux")
    with isolated(kernel, problem) as process:
        return Judge(process.kernel, float32, process=process).outcome(case)
