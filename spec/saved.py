"""A saved instance of any problem that is built in: its file names the problem."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from assay.spec.problem import PROBLEMS, InvalidInstance, problem
from assay.spec.storage import problem_of

__all__ = ["known_problem_of", "load"]


def load(path: str | Path) -> Any:
    """The instance of a problem that is saved at ``path``, as findings and ``assay hard`` save them.

    Its arrays and options are attributes: ``load(path).query``; ``.replace(…)`` changes it, and ``.save(path)`` saves
    it.  An instance of a problem of your own is loaded by its own class.

    Raises :class:`~assay.spec.problem.InvalidInstance` in one line.
    """
    return problem(known_problem_of(path)).Instance.load(path)


def known_problem_of(path: str | Path) -> str:
    """The name of the problem whose instance ``path`` holds, one that is built in.

    Raises :class:`~assay.spec.problem.InvalidInstance` in one line.
    """
    name = problem_of(path)
    if name not in PROBLEMS:
        raise InvalidInstance(f"{path}: an instance of {name!r}, expected one of {', '.join(PROBLEMS)}")
    return name
