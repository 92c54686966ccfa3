"""Attention of many tokens by a transformer that takes few: :func:`simulate` makes the calls of a plan."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.progress import told
from assay.impl.cpu.small_transformers.arrays import arrays_of
from assay.impl.cpu.small_transformers.bound import longest, of_simulation
from assay.impl.cpu.small_transformers.calls import CallError, Settings, Task, asked
from assay.impl.cpu.small_transformers.kept import Checkpoint, Kept, digest
from assay.impl.cpu.small_transformers.model import Small, keywords_of
from assay.impl.cpu.small_transformers.parts import finished, merged
from assay.impl.cpu.small_transformers.plan import planned
from assay.impl.cpu.small_transformers.visible import Visible, unmasked
from assay.spec.precision import precision as precision_named

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from assay.impl.cpu.small_transformers.arrays import Arrays
    from assay.impl.cpu.small_transformers.calls import Answer
    from assay.impl.cpu.small_transformers.kept import Place
    from assay.impl.cpu.small_transformers.model import Oracle
    from assay.impl.cpu.small_transformers.parts import Part
    from assay.impl.cpu.small_transformers.plan import Plan
    from assay.spec.precision import Precision

    Job = tuple[Task, ...]
    Runner = Callable[[Oracle, Settings, Iterator[tuple[int, Job]]], Iterator[tuple[int, Answer]]]

__all__ = ["Problem", "Simulated", "exact", "simulate"]


@dataclass(frozen=True, eq=False)
class Simulated:
    """What :func:`simulate` returns.

    value: the output (b, h_q, n_q, d_v), in the type of the inputs.
    log_sum_exp: (b, h_q, n_q), float64, ``None`` where the calls do not say it.
    error: float64, broadcasts to the value: at least |value − exact| where the oracle is as accurate as its class says;
    ``None`` where no class was declared.
    route: the plan in words.
    planned: calls of the plan.  calls: those that were made now, with the rows that were asked again, and without what
    was resumed.  counting_bound: those that every plan needs whose tokens are rows of the input (ST-2).
    """

    value: Any
    log_sum_exp: Any
    error: Any
    route: str
    planned: int
    calls: int
    counting_bound: int


@dataclass(frozen=True, eq=False)
class Problem:
    """An attention problem by heads: query (b·h_q, n_q, d), key (b·h_k, n_k, d), value (b·h_k, n_k, d_v).

    query head u reads key head u // group; shape: that of the output.
    """

    arrays: Arrays
    query: Any
    key: Any
    value: Any
    group: int
    shape: tuple[int, int, int, int]
    scale: float
    visible: Visible

    @classmethod
    def of(
        cls,
        query: Any,
        key: Any,
        value: Any,
        scale: float | None,
        is_causal: bool,
        window: int | None,
        sinks: int,
        mask: Any,
    ) -> Problem:
        """Raises ``TypeError`` or ``ValueError`` for bad input, naming the argument."""
        arrays = arrays_of(query)
        if "float" not in arrays.name(query):
            raise ValueError(f"query: {arrays.name(query)}, expected a floating type")
        for name, x in (("query", query), ("key", key), ("value", value)):
            if arrays_of(x).numpy != arrays.numpy:
                raise TypeError(f"{name}: {type(x).__name__}, expected an array of the library of query")
            if x.ndim != 4 or min(x.shape) < 1:
                raise ValueError(
                    f"{name}: shape {tuple(x.shape)}, expected (batch, heads, length, dim), none of them 0"
                )
            if arrays.name(x) != arrays.name(query):
                raise ValueError(f"{name}: {arrays.name(x)}, expected {arrays.name(query)}, the type of query")
            if not arrays.finite(x):
                raise ValueError(f"{name}: not finite")
        (b, h, n_q, d), (b_k, h_k, n_k, d_k), d_v = query.shape, key.shape, value.shape[3]
        if (b_k, d_k) != (b, d) or h % h_k:
            raise ValueError(f"key: shape {tuple(key.shape)} does not fit query of shape {tuple(query.shape)}")
        if tuple(value.shape[:3]) != (b, h_k, n_k):
            raise ValueError(f"value: shape {tuple(value.shape)} does not fit key of shape {tuple(key.shape)}")
        for name, number, least in (("window", window, 1), ("sinks", sinks, 0)):
            whole = isinstance(number, (int, np.integer)) and not isinstance(number, bool) and number >= least
            if not whole and not (name == "window" and number is None):
                raise ValueError(f"{name}: {number!r}, expected an integer of at least {least}")
        if window is not None and not is_causal:
            raise ValueError("window: it is one of causal attention, is_causal=True")
        if sinks and window is None:
            raise ValueError(f"sinks: {sinks} without a window, which alone would hide them")
        scale = 1.0 / math.sqrt(d) if scale is None else float(scale)
        if not math.isfinite(scale):
            raise ValueError(f"scale: {scale}, expected a finite number")
        seen = unmasked((b, h, n_q, n_k), mask if mask is None or arrays.numpy else arrays.host(mask))
        visible = Visible(n_q, n_k, bool(is_causal), None if window is None else int(window), int(sinks), seen)
        query, key, value = (x.reshape((x.shape[0] * x.shape[1], *x.shape[2:])) for x in (query, key, value))
        return cls(arrays, query, key, value, h // h_k, (b, h, n_q, d_v), scale, visible)

    def tasks(self, plan: Plan) -> Iterator[Task]:
        """The calls of a plan, group by group."""
        at_once, count = plan.small.at_once, len(plan.blocks)
        for group in range(plan.groups):
            heads = np.arange(group * at_once, min((group + 1) * at_once, plan.heads))
            alike, seen = None, None
            for number, block in enumerate(plan.blocks):
                # the masks of blocks along a diagonal are equal, and then they are one array
                lies = block.shape, block.lead, block.rows[0] - block.keys[0]
                away = self.visible.mask is None and block.keys[0] >= block.lead == self.visible.sinks
                if not away or lies != alike:
                    seen = self.seen(block.query_rows(), block.key_rows(), heads, at_once)
                alike = lies if away else None
                yield self.task(group * count + number, group, block, heads, at_once, seen)

    def task(self, number: int, group: int, block: Any, heads: Any, at_once: int, seen: Any) -> Task:
        rows, kept = slice(*block.rows), slice(*block.keys)
        used: Any = heads // self.group
        if used[-1] - used[0] + 1 == len(used):  # views, where no head is repeated
            used = slice(int(used[0]), int(used[-1]) + 1)
        parts = []
        for x in (self.key, self.value):
            part = x[used, kept]
            parts.append(self.arrays.joined([x[used, : block.lead], part], 1) if block.lead else part)
        asking = self.query[int(heads[0]) : int(heads[-1]) + 1, rows]
        query, key, value = (self.whole(x, at_once) for x in (asking, *parts))
        return Task(number, group, block, query, key, value, seen)

    def seen(self, rows: Any, keys: Any, heads: Any, at_once: int) -> Any:
        """(heads or 1, rows, keys): the mask of a block."""
        seen = self.visible.block(rows, keys)
        if seen is None or seen.shape[:2] == (1, 1):
            return None if seen is None else seen[0]
        whole = np.broadcast_to(seen, (*self.shape[:2], *seen.shape[2:])).reshape(-1, *seen.shape[2:])[heads]
        return np.concatenate([whole, np.ones((at_once - len(whole), *whole.shape[1:]), np.bool_)])

    def whole(self, x: Any, at_once: int) -> Any:
        """As many heads as the oracle computes at once: those after the last are zero."""
        missing = at_once - x.shape[0]
        if not missing:
            return x
        return self.arrays.joined([x, self.arrays.zeros((missing, *x.shape[1:]), self.arrays.name(x), x)], 0)


def simulate(
    query: Any,
    key: Any,
    value: Any,
    oracle: Oracle,
    size: int,
    scale: float | None = None,
    *,
    is_causal: bool = False,
    window: int | None = None,
    sinks: int = 0,
    mask: Any = None,
    causal_only: bool = False,
    at_once: int = 1,
    fixed: bool = False,
    keywords: Collection[str] | None = None,
    call_type: str | None = None,
    precision: str | Precision | None = None,
    return_lse: bool = False,
    batch: int = 8,
    seconds: float | None = None,
    resume: Kept | str | Path | None = None,
    scheduler: Any = None,
    progress: bool | Callable[[int, int], None] = False,
) -> Simulated:
    """Attention of (b, h, n, d) arrays by calls of an oracle that never sees more than ``size`` tokens.

    query (b, h_q, n_q, d), key (b, h_k, n_k, d), value (b, h_k, n_k, d_v), of NumPy or of PyTorch, one type; query head
    h attends to key head h // (h_q / h_k).  scale: ``None`` means 1/√d.  The oracle is called as
    :class:`~assay.impl.cpu.small_transformers.model.Small` says, with arrays of the same library.

    is_causal: key j ≤ i.  window: of these the last w, the query's own among them; sinks: and keys 0 … s − 1.
    mask: boolean, broadcastable to (b, h_q, n_q, n_k), True attends.

    causal_only: the oracle is itself causal on the tokens of a call, whatever it is asked.
    at_once: the independent heads of one call, H'·L' of an oracle with H' heads and L' layers.
    fixed: the oracle takes exactly ``size`` tokens; calls are padded with calibrators.
    keywords: which of ``mask``, ``is_causal`` and ``return_lse`` the oracle takes; by default what its signature names.
    call_type: the type of the numbers of the calls (``float32``, ``bfloat16``, …), by default that of the inputs.
    Results are recombined in float64.  Gradients pass through where everything is PyTorch's.
    precision: the class of arithmetic of the oracle, of which a bound on the error follows (MERGE-2).
    return_lse: the log-sum-exp is needed.  It is there anyway, except with a window, where it may cost calls.

    batch: how many calls are handed over together.  seconds: the most that one hand-over may take.
    resume: a file in which results are kept and looked for (of arrays of NumPy), or ``kept`` of an error.
    scheduler: where calls are made: ``None`` for this process, ``"local"`` for a cluster of Dask that lives as long as
    the run, the address of a scheduler, or a client.  The result is bit for bit the same.
    progress: True shows a bar; a function is called with (calls done, calls).

    Raises ``TypeError`` or ``ValueError`` for bad input, naming the argument, and
    :class:`~assay.impl.cpu.small_transformers.calls.CallError`, which names the call, where the oracle raises, returns
    what it must not, or is late.  Source: proofs_notes/small_transformers.md, MERGE-1 to MERGE-3.

    >>> from assay.impl.cpu import attention
    >>> def oracle(query, key, value, *, scale):
    ...     assert max(query.shape[2], key.shape[2]) <= 3
    ...     return attention.exact(query, key, value, scale)
    >>> x = np.arange(8.0).reshape(1, 1, 8, 1) / 8
    >>> done = simulate(x, x, x, oracle, 3)
    >>> done.planned, bool(np.allclose(done.value, attention.exact(x, x, x), rtol=1e-13))
    (12, True)
    """
    problem = Problem.of(query, key, value, scale, is_causal, window, sinks, mask)
    small = Small(size, causal_only, at_once, fixed, keywords_of(oracle, keywords))
    if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
        raise ValueError(f"batch: {batch!r}, expected an integer of at least 1")
    plan = planned(small, problem.visible, problem.shape[0] * problem.shape[1], sums=return_lse)
    kind = problem.arrays.name(problem.query) if call_type is None else call_type
    settings = Settings(small, problem.scale, kind, plan.calls, plan.merged or return_lse, seconds)
    run = _Run(oracle, problem, plan, settings, batch, mask)
    kept, checkpoint = Kept(), None
    if isinstance(resume, Kept):
        if resume.run != run.digest():
            raise ValueError("resume: it belongs to other arrays, another plan or other options")
        kept = resume
    elif resume is not None:
        checkpoint = Checkpoint(Path(resume))
        kept = checkpoint.load(run.digest())
    calls = run.make(kept, checkpoint, scheduler, progress)
    output, lse = _assembled(problem, plan, kept.totals)
    name = problem.arrays.name(query)
    error = None
    if precision is not None:
        error = certified(problem, plan, settings, kept.largest, precision_named(precision))
        error = error.reshape(*problem.shape[:2], 1, problem.shape[3])
    said = settings.merged or settings.calibrated
    return Simulated(
        problem.arrays.cast(output.reshape(problem.shape), name),
        lse.reshape(problem.shape[:3]) if said else None,
        error,
        f"{plan.route}, {plan.calls} calls of {size} tokens",
        plan.calls,
        calls,
        plan.counting_bound,
    )


def exact(
    query: Any,
    key: Any,
    value: Any,
    *,
    oracle: Oracle,
    size: int,
    scale: float | None = None,
    is_causal: bool = False,
    window: int | None = None,
    sinks: int = 0,
    mask: Any = None,
    causal_only: bool = False,
    at_once: int = 1,
    keywords: Collection[str] | None = None,
    return_lse: bool = False,
) -> Any:
    """The output of :func:`simulate` alone, as a kernel of the problem ``small_transformers`` returns it.

    With ``return_lse`` it returns also the log-sum-exp (b, h_q, n_q), in float64 for float64 inputs and in float32
    otherwise.
    """
    done = simulate(
        query,
        key,
        value,
        oracle,
        size,
        scale,
        is_causal=is_causal,
        window=window,
        sinks=sinks,
        mask=mask,
        causal_only=causal_only,
        at_once=at_once,
        keywords=keywords,
        return_lse=return_lse,
    )
    if not return_lse:
        return done.value
    arrays = arrays_of(query)
    return done.value, arrays.cast(done.log_sum_exp, "float64" if arrays.name(query) == "float64" else "float32")


@dataclass(frozen=True, eq=False)
class _Run:
    """The calls of one plan, and how they are made."""

    oracle: Oracle
    problem: Problem
    plan: Plan
    settings: Settings
    batch: int
    mask: Any

    def digest(self) -> str:
        """The same of a run that would make the same calls in the same order."""
        problem, settings = self.problem, self.settings
        arrays = problem.query, problem.key, problem.value, self.mask
        words = settings.small, settings.type, settings.scale, self.plan.route, self.plan.blocks, self.batch
        return digest(arrays, problem.shape, *words)

    def jobs(self) -> Iterator[Job]:
        """Calls that are handed over together: of one shape, all with a mask or all without."""
        waiting: dict[Any, list[Task]] = {}
        for task in self.problem.tasks(self.plan):
            job = waiting.setdefault((task.block.shape, task.seen is None), [])
            job.append(task)
            if len(job) == self.batch:
                yield tuple(job)
                job.clear()
        yield from (tuple(job) for job in waiting.values() if job)

    def make(
        self,
        kept: Kept,
        checkpoint: Checkpoint | None,
        scheduler: Any,
        progress: bool | Callable[[int, int], None],
    ) -> int:
        """Add the sums that are missing to ``kept``; returns how many calls that took."""
        members: dict[int, Job] = {}
        calls = done = 0

        def missing() -> Iterator[tuple[int, Job]]:
            nonlocal done
            for number, job in enumerate(self.jobs()):
                if number < kept.following:
                    done += len(job)
                    continue
                members[number] = job
                if number not in kept.early:
                    yield number, job

        def add() -> None:
            # whatever the order in which results arrive, they are added in the order of the plan
            nonlocal done
            while kept.following in kept.early and kept.following in members:
                parts, job = kept.early.pop(kept.following), members.pop(kept.following)
                for task, part in zip(job, parts, strict=True):
                    place = task.group, *task.block.rows
                    kept.totals[place] = part if place not in kept.totals else merged(kept.totals[place], part)
                done += len(job)
                kept.following += 1
            tell(done, self.plan.calls)

        run: Runner = _here
        if scheduler is not None:
            from assay.impl.cpu.small_transformers.cluster import runner

            run = runner(scheduler)
        with told(progress, "calls") as tell:
            try:
                for number, answer in run(self.oracle, self.settings, missing()):
                    calls += answer.calls
                    kept.early[number] = answer.parts
                    kept.largest = max(kept.largest, answer.largest)
                    add()
                    if checkpoint is not None:
                        checkpoint.save(kept)
                add()
            except CallError as error:
                kept.run = kept.run or self.digest()
                error.kept = kept
                raise
            finally:
                if checkpoint is not None:
                    checkpoint.save(kept, now=True)
        return calls


def certified(problem: Problem, plan: Plan, settings: Settings, largest: float, u: Precision) -> Any:
    """(b·h_q, d_v): the bound on the error of every entry of a head's output (MERGE-2)."""
    query, key, value = (
        np.asarray(problem.arrays.host(x)).astype(np.float64) for x in (problem.query, problem.key, problem.value)
    )
    small, scale = plan.small, abs(settings.scale)
    group = np.arange(len(query)) // problem.group
    norm = [longest(x) for x in (query, key)]
    reach = float((scale * norm[0] * norm[1][group]).max())
    sums = [np.abs(x).sum(axis=2).max() for x in (query, key)]
    most = max((block.shape[0] for block in plan.blocks), default=1)
    terms = query.shape[2] + 1 + (0 if "mask" in small.keywords else most)
    spread, size = (value.max(axis=1) - value.min(axis=1))[group], np.abs(value).max(axis=1)[group]
    return of_simulation(
        u, keys=small.size, terms=terms, parts=plan.parts, scale=scale, reach=reach, largest=largest,
        norms=float(sum(sums)), least=settings.least if settings.calibrated else None, spread=spread, size=size,
        inputs=problem.arrays.name(problem.query), calls=settings.type,
    )  # fmt: skip


def _here(oracle: Oracle, settings: Settings, jobs: Iterator[tuple[int, Job]]) -> Iterator[tuple[int, Answer]]:
    """Make the calls in this process, one hand-over after the other."""
    for number, job in jobs:
        yield number, asked(oracle, settings, job)


def _assembled(problem: Problem, plan: Plan, totals: dict[Place, Part]) -> tuple[Any, Any]:
    """The output (heads, n_q, d_v) and the log-sum-exp (heads, n_q) of all rows; 0 and −∞ where nothing is seen."""
    arrays, at_once = problem.arrays, plan.small.at_once
    n_q, d_v = problem.shape[2:]
    outputs, sums = [], []
    for group in range(plan.groups):
        spans = sorted(rows for which, *rows in totals if which == group)
        position = 0
        output: list[Any] = []
        lse: list[Any] = []

        def empty(count: int, output: list[Any] = output, lse: list[Any] = lse) -> None:
            output.append(arrays.zeros((at_once, count, d_v), "float64", problem.query))
            lse.append(arrays.zeros((at_once, count), "float64", problem.query) - math.inf)

        for begin, end in spans:
            if begin > position:
                empty(begin - position)
            done = finished(totals[group, begin, end])
            output.append(done[0])
            lse.append(done[1])
            position = end
        if position < n_q:
            empty(n_q - position)
        outputs.append(arrays.joined(output, 1))
        sums.append(arrays.joined(lse, 1))
    heads = plan.heads
    return arrays.joined(outputs, 0)[:heads], arrays.joined(sums, 0)[:heads]
