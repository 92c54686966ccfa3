"""What the tests of the judge share."""

from __future__ import annotations

import functools

import pytest
from bank.verdicts import Verdicts


@functools.cache
def _verdicts(problem: str) -> Verdicts:
    return Verdicts(problem)


@pytest.fixture
def verdicts(request: pytest.FixtureRequest) -> Verdicts:
    """The verdicts on the bank of the problem that the test file names: ``test_<problem>_….py``.  One a process."""
    from assay.spec.problem import PROBLEMS

    stem = request.path.stem.removeprefix("test_")
    return _verdicts(max((name for name in PROBLEMS if stem.startswith(name)), key=len))
