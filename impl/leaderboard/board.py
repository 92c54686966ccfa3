"""The board: every method on gap instances (OV-4), planted and not, of growing n, at a budget and at what it needs."""

from __future__ import annotations

import math
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.leaderboard.methods import METHODS, Method, exact
from assay.spec.instances.hard import hard

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from assay.spec.instances.hard import HardProblem

__all__ = ["LENGTHS", "Board", "Row", "board", "instances"]

LENGTHS = (256, 512, 1024)
_DIMENSIONS = 8  # times log2 n, so that random inner products stay below half of the planted one
_SIGNATURE = "(query, key, value, *, scale, budget, seed)"
_LEAST = 8  # the first budget that is tried


@dataclass(frozen=True)
class Row:
    """A method at one n.

    right: how many of ``instances`` are decided as they are, half of which have a planted pair.  refused: how many
    outputs the method refused to give.  error: the largest difference from exact attention, which is in [0, 1];
    ``None`` where every output was refused, infinite where one was not finite.  seconds: of a call, the median.
    needed: the least power of two as a budget with which all are right; ``None`` where that is above ``most``, or
    where the method has no budget.
    """

    method: str
    n: int
    d: int
    budget: int
    instances: int
    right: int
    refused: int
    error: float | None
    seconds: float
    needed: int | None


@dataclass(frozen=True)
class Board:
    """All rows, and how they were made."""

    rows: tuple[Row, ...]
    budget: int
    most: int
    seed: int
    methods: tuple[Method, ...]


def instances(n: int, count: int, seed: int) -> list[HardProblem]:
    """``count`` gap instances (OV-4) of n queries, every second one with a planted pair."""
    d = _DIMENSIONS * math.ceil(math.log2(n))
    return [hard("attention", "gap", seed + k, dtype="float64", n=n, d=d, planted=1 - k % 2) for k in range(count)]


def board(
    lengths: Sequence[int] = LENGTHS,
    *,
    count: int = 8,
    budget: int = 64,
    most: int = 4096,
    methods: Sequence[Method] = tuple(METHODS.values()),
    seed: int = 0,
    progress: Callable[[int, int, str], None] = lambda done, total, what: None,
) -> Board:
    """Run every method on ``count`` instances of every length; same seed, same instances and same random weights.

    Raises ``ValueError`` for a length below 16, or a count or budget below 1, and where a method raises or returns
    anything but ``None`` and an array (n, d_v) of numbers; then it names the method and the expected signature.
    """
    for name, value, least in (*(("length", n, 16) for n in lengths), ("count", count, 1), ("budget", budget, 1)):
        if value < least:
            raise ValueError(f"{name} {value}: expected at least {least}")
    rows: list[Row] = []
    for n in lengths:
        problems = instances(n, count, seed)
        arrays = [_arrays(problem) for problem in problems]
        truth = [
            exact(*given, scale=problem.instance.scale, budget=0, seed=0)
            for given, problem in zip(arrays, problems, strict=True)
        ]
        for method in methods:
            progress(len(rows), len(lengths) * len(methods), f"{method.name}, n = {n}")
            rows.append(_row(method, problems, arrays, truth, budget, most, seed))
    return Board(tuple(rows), budget, most, seed, tuple(methods))


def _arrays(problem: HardProblem) -> tuple[NDArray[np.float64], ...]:
    instance = problem.instance
    return tuple(x[0, 0].astype(np.float64) for x in (instance.query, instance.key, instance.value))


def _row(
    method: Method, problems: list[HardProblem], arrays: list[Any], truth: list[Any], budget: int, most: int, seed: int
) -> Row:
    right, refused, errors, seconds = 0, 0, [], []
    for number, (problem, given, wanted) in enumerate(zip(problems, arrays, truth, strict=True)):
        begun = time.perf_counter()
        output = _output(method, problem, given, budget, seed + number)
        seconds.append(time.perf_counter() - begun)
        if output is None:
            refused += 1
            continue
        difference = np.abs(output - wanted).max()
        errors.append(float(difference) if np.isfinite(difference) else math.inf)
        right += _decides(problem, output)
    n, d = given[0].shape
    return Row(
        method.name, n, d, budget, len(problems), right, refused, max(errors, default=None),
        statistics.median(seconds), _needed(method, problems, arrays, most, seed) if method.budget else None,
    )  # fmt: skip


def _needed(method: Method, problems: list[HardProblem], arrays: list[Any], most: int, seed: int) -> int | None:
    """The least power of two from 8 to ``most`` with which every instance is decided rightly."""
    budget = _LEAST
    while budget <= most:
        outputs = (
            (problem, _output(method, problem, given, budget, seed + number))
            for number, (problem, given) in enumerate(zip(problems, arrays, strict=True))
        )
        if all(output is not None and _decides(problem, output) for problem, output in outputs):
            return budget
        budget *= 2
    return None


def _output(method: Method, problem: HardProblem, given: Any, budget: int, seed: int) -> NDArray[np.float64] | None:
    """What a method returns for an instance; ``ValueError`` in one line where it raises or returns something else."""
    expected = f"expected {_SIGNATURE} → (n, d_v) or None"
    try:
        returned = method.run(*given, scale=problem.instance.scale, budget=budget, seed=seed)
        output = None if returned is None else np.asarray(returned, dtype=np.float64)
    except Exception as error:
        said = (str(error).strip().splitlines() or [""])[0]
        raise ValueError(f"method {method.name}: {type(error).__name__}: {said}; {expected}") from error
    shape = (len(given[0]), given[2].shape[1])
    if output is not None and output.shape != shape:
        raise ValueError(f"method {method.name}: returned shape {output.shape}, not {shape}; {expected}")
    return output


def _decides(problem: HardProblem, output: NDArray[np.float64]) -> bool:
    """Whether an output decodes to the truth; one with a number that is not finite says nothing, and is not right."""
    if not np.isfinite(output).all():
        return False
    return problem.decode(output[None, None]).satisfiable == problem.truth.satisfiable
