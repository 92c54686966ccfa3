"""Attention from a sample of the keys, as large as an error needs: the average case (ST-3).

The keys come in random order, in blocks that one call holds.  After each block a row has the sums over n of N keys,
drawn without replacement, and its estimate õ of the output o has

    |õ − o| ≤ N·w_max·range(V)·√((1 − (n − 1)/N)·ln(2/δ')/(2n)) / D̂,

where w_max bounds every weight e^s of the row, rounded outwards, and D̂ is the estimate of their sum that the calls
gave.

*Proof.* õ − o is N/D̂ times the mean of w(v − o) over the sample.  Over all keys that mean is zero, and w(v − o) lies in
an interval of length w_max·range(V), so Serfling's inequality bounds the mean over the sample.  D̂ is observed.

δ' is δ shared out among all entries of the output and all looks at the bound, so that a row may stop when its bound is
small enough.  Rows that never stop have seen every key, and are exact.

Where attention is causal, the keys of the query's own block are summed exactly, and those before it are sampled.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.progress import told
from assay.impl.cpu.small_transformers.calls import Settings, Task, asked
from assay.impl.cpu.small_transformers.model import Small, keywords_of
from assay.impl.cpu.small_transformers.parts import Part, finished, merged
from assay.impl.cpu.small_transformers.plan import Block, balanced, planned
from assay.impl.cpu.small_transformers.simulate import Problem
from assay.spec.small_transformers.average import log_largest_weight

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from numpy.typing import NDArray

    from assay.impl.cpu.small_transformers.model import Oracle
    from assay.impl.cpu.small_transformers.plan import Span

    Array = NDArray[np.float64]
    Rows = NDArray[np.int64]

__all__ = ["Sampled", "approximate"]

_OUTWARDS = 1.0 + 1e-9  # over the rounding of the bound itself


@dataclass(frozen=True, eq=False)
class Sampled:
    """What :func:`approximate` returns.

    value: the output (b, h_q, n_q, d_v), in the type of the inputs.  error: the same shape, float64: with probability
    1 − δ no entry is farther from the exact output, the rounding of the oracle apart.  sampled: rows of a head that did
    not see all their keys.  calls: those that were made; planned: those of the exact plan.
    """

    value: Any
    error: Array
    sampled: int
    calls: int
    planned: int
    route: str


@dataclass(frozen=True)
class _Stratum:
    """Rows that sample the same keys.  own: the keys that are summed exactly; population: those that are sampled."""

    rows: Span
    own: Span | None
    population: Span


def approximate(
    query: Any,
    key: Any,
    value: Any,
    oracle: Oracle,
    size: int,
    error: float,
    scale: float | None = None,
    *,
    is_causal: bool = False,
    delta: float = 0.01,
    seed: int = 0,
    at_once: int = 1,
    keywords: Collection[str] | None = None,
    call_type: str | None = None,
    batch: int = 8,
    seconds: float | None = None,
    progress: bool | Callable[[int, int], None] = False,
) -> Sampled:
    """Attention with |value − exact| ≤ ``error`` in every entry, with probability 1 − ``delta`` over the order of keys.

    Arrays and all other arguments are those of :func:`~assay.impl.cpu.small_transformers.simulate.simulate`.  Blocks of
    keys are asked for, in an order that ``seed`` says, until the bound of a row is below ``error``.  The order is the
    only thing that is random, so nothing is assumed of the input.  No gradient passes.

    Raises what :func:`simulate` raises, and ``ValueError`` for a bad ``error`` or ``delta``.
    Source: proofs_notes/small_transformers.md, ST-3.
    """
    if not error > 0:
        raise ValueError(f"error: {error!r}, expected a number above 0")
    if not 0 < delta < 1:
        raise ValueError(f"delta: {delta!r}, expected a number between 0 and 1")
    problem = Problem.of(query, key, value, scale, is_causal, None, 0, None)
    small = Small(size, False, at_once, False, keywords_of(oracle, keywords))
    heads = problem.shape[0] * problem.shape[1]
    plan = planned(small, problem.visible, heads)
    name = problem.arrays.name(query)
    settings = Settings(small, problem.scale, call_type or name, plan.calls, True, seconds)
    run = _Run(oracle, problem, settings, float(error), float(delta), batch)
    output, bound = np.zeros((heads, *problem.shape[2:])), np.zeros((heads, *problem.shape[2:]))
    sampled = 0
    with told(progress, "rows") as tell:
        strata, groups = list(_strata(problem, small)), range(plan.groups)
        total = len(groups) * sum(one.rows[1] - one.rows[0] for one in strata)
        done = 0
        for group in groups:
            chosen = np.arange(group * at_once, min((group + 1) * at_once, heads))
            for stratum in strata:
                # every group and stratum has an order of its own, which depends on no other
                order = np.random.default_rng((seed, group, stratum.rows[0]))
                for rows, part, bounds in run.rows(stratum, chosen, order):
                    output[chosen[:, None], rows] = finished(part)[0][: len(chosen)]
                    bound[chosen[:, None], rows] = bounds[: len(chosen)]
                    sampled += len(chosen) * len(rows) if bounds.any() else 0
                    done += len(rows)
                    tell(done, total)
    shaped = problem.arrays.moved(output, query).reshape(problem.shape)
    return Sampled(
        problem.arrays.cast(shaped, name),
        bound.reshape(problem.shape),
        sampled,
        run.calls,
        plan.calls,
        f"keys sampled until every row is within {error:g}, {run.calls} calls of {size} tokens",
    )


def _strata(problem: Problem, small: Small) -> Iterator[_Stratum]:
    n_q, n_k = problem.visible.queries, problem.visible.keys
    if not problem.visible.causal:
        yield _Stratum((0, n_q), None, (0, n_k))
        return
    for begin, end in balanced(n_q, small.keys):
        own = min(begin, n_k), min(end, n_k)
        yield _Stratum((begin, end), own if own[0] < own[1] else None, (0, own[0]))


@dataclass(eq=False)
class _Run:
    """The calls of one approximation, counted."""

    oracle: Oracle
    problem: Problem
    settings: Settings
    error: float
    delta: float
    batch: int
    calls: int = 0

    def __post_init__(self) -> None:
        problem = self.problem
        query, key, value = (
            np.asarray(problem.arrays.host(x)).astype(np.float64) for x in (problem.query, problem.key, problem.value)
        )
        self.spread = value.max(axis=1) - value.min(axis=1)  # (key heads, d_v)
        # ln w_max of every row, rounded outwards (heads, n_q); query heads of one key head lie side by side
        together = query.reshape(len(key), -1, query.shape[2])
        self.log_largest = log_largest_weight(together, key, problem.scale).reshape(query.shape[:2])
        looks = -(-problem.visible.keys // self.settings.small.keys)
        self.tail = math.log(2.0 * math.prod(problem.shape) * looks / self.delta)

    def rows(self, stratum: _Stratum, heads: Rows, order: np.random.Generator) -> Iterator[tuple[Rows, Part, Array]]:
        """Yield rows as they are done, their sums, scaled to all keys, and the bounds of their entries."""
        rows = np.arange(*stratum.rows)
        own = None if stratum.own is None else self._asked(rows, np.arange(*stratum.own), heads, masked=True)
        count = stratum.population[1] - stratum.population[0]
        keys = stratum.population[0] + order.permutation(count)
        sample: Part | None = None
        for begin, end in balanced(count, self.settings.small.keys):
            part = self._asked(rows, keys[begin:end], heads, masked=False)
            sample = part if sample is None else merged(sample, part)
            grown = Part(sample.log_factor + math.log(count / end), sample.values, sample.weight)
            total = grown if own is None else merged(grown, own)
            bounds = np.zeros_like(total.values)
            if end < count:
                bounds = self._bounds(total, rows, heads, count, end)
            done = (bounds <= self.error).all(axis=(0, 2))
            if done.any():
                yield rows[done], total.rows(done), bounds[:, done]
                rows, sample = rows[~done], sample.rows(~done)
                own = None if own is None else own.rows(~done)
            if not len(rows):
                return
        if len(rows):
            assert own is not None  # without a population there is nothing to sample
            yield rows, own, np.zeros_like(own.values)

    def _bounds(self, total: Part, rows: Rows, heads: Rows, count: int, drawn: int) -> Array:
        """(heads, rows, d_v): the bound on the errors after so many of the keys were drawn."""
        lse = finished(total)[1][: len(heads)]
        # the log-sum-exp has digits, not all of them
        log_ratio = self.log_largest[heads[:, None], rows] - lse + math.log(count) + 1e-9 * np.abs(lse)
        rate = math.sqrt((1.0 - (drawn - 1) / count) * self.tail / (2.0 * drawn))
        spread = self.spread[heads // self.problem.group][:, None, :]
        with np.errstate(over="ignore"):
            bounds = np.exp(np.minimum(log_ratio, 700.0))[..., None] * spread * rate * _OUTWARDS
        missing = total.values.shape[0] - len(heads)
        return np.concatenate([bounds, np.zeros((missing, *bounds.shape[1:]))])

    def _asked(self, rows: Rows, keys: Rows, heads: Rows, *, masked: bool) -> Part:
        """The sums of some rows over some keys, as many as one call holds."""
        problem, small = self.problem, self.settings.small
        used = heads // problem.group
        key, value = (problem.whole(x[used][:, keys], small.at_once) for x in (problem.key, problem.value))
        tasks: list[Task] = []
        for begin, end in balanced(len(rows), small.keys if masked else small.size):
            some = rows[begin:end]
            query = problem.whole(problem.query[heads][:, some], small.at_once)
            block = Block((int(some[0]), int(some[-1]) + 1), (int(keys.min()), int(keys.max()) + 1))
            seen = problem.visible.block(some, keys) if masked else None
            tasks.append(Task(self.calls + len(tasks), 0, block, query, key, value, None if seen is None else seen[0]))
        parts: dict[int, Part] = {}
        for length in dict.fromkeys(task.query.shape[1] for task in tasks):
            alike = [task for task in tasks if task.query.shape[1] == length]
            for first in range(0, len(alike), self.batch):
                together = alike[first : first + self.batch]
                answer = asked(self.oracle, self.settings, together)
                self.calls += answer.calls
                parts |= {task.block.rows[0]: part for task, part in zip(together, answer.parts, strict=True)}
        ordered = [parts[first] for first in sorted(parts)]
        host = problem.arrays.host
        return Part(
            *(
                np.concatenate([host(getattr(part, name)) for part in ordered], axis=1)
                for name in ("log_factor", "values", "weight")
            )
        )
