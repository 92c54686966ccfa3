"""The polynomial method through Fourier transforms, for everything that depends on i − j alone (ROPE-2, ROT-5, ROPE-6).

A polynomial takes the place of e^s.  Its monomials are products of a function of the query, a Toeplitz symbol and a
function of the key; the causal mask, the window and e^bias are factors of the symbols.  So causal, windowed and biased
attention costs what full attention does.  Rows whose certificate is too large, such as the first rows under a causal
mask, whose few keys weigh little beside what the transforms lose, are computed one by one by the exact kernel.
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu import costs
from assay.impl.cpu.attention.tiles import tiled
from assay.impl.cpu.rope_attention.bound import exact_error
from assay.impl.cpu.rope_attention.certificate import certified
from assay.impl.cpu.rope_attention.choice import guessed, polynomials
from assay.impl.cpu.rope_attention.jobs import jobs
from assay.impl.cpu.rope_attention.monomials import components
from assay.impl.cpu.rope_attention.sums import need, summed
from assay.impl.cpu.rope_attention.turned import toeplitz
from assay.spec.approximation import Infeasible
from assay.spec.attention.instance import Instance as Attention
from assay.spec.precision import precision

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from assay.impl.cpu.attention.passes import Team
    from assay.impl.cpu.attention.plan import Measure
    from assay.impl.cpu.rope_attention.jobs import Job
    from assay.impl.cpu.rope_attention.monomials import Component
    from assay.impl.cpu.rope_attention.sums import Sums
    from assay.impl.cpu.rope_attention.symbols import Transform
    from assay.impl.cpu.rope_attention.turned import Turned
    from assay.spec.approximation import Approximation
    from assay.spec.rope_attention.instance import Instance

    Array = NDArray[np.float64]

__all__ = ["Plan", "computed", "planned", "support_of"]

_TOGETHER = 24 << 20  # bytes of the columns that are transformed together; larger arrays are returned to the system
_ROWS = 1 << 14  # rows that are certified at a time
_TRIED = 3  # polynomials that are tried before a job is refused


@dataclass(frozen=True, eq=False)
class Plan:
    """A job, the places of its scores, and the polynomials that are predicted to serve it, the cheapest first."""

    job: Job
    support: tuple[tuple[int, int], ...]
    candidates: Iterator[tuple[Approximation, Measure]]
    approximation: Approximation
    measure: Measure

    @property
    def degree(self) -> int:
        return self.approximation.degree

    def next(self) -> Plan:
        """The same job with the next polynomial.  Raises :class:`Infeasible` where there is none."""
        approximation, measure = next(self.candidates)
        return replace(self, approximation=approximation, measure=measure)

    @property
    def pairs(self) -> int:
        """The number of pairs of monomials: products with Toeplitz matrices for each column."""
        return sum(len(component.pairs) for m in range(self.degree + 1) for component in components(self.support, m))

    @property
    def columns(self) -> int:
        """The number of columns that are transformed, of every monomial of the keys: the steps that are reported."""
        parts = sum(len(components(self.support, m)) for m in range(self.degree + 1))
        return parts * len(self.job.columns)

    @property
    def cost(self) -> float:
        """The predicted time, in nanoseconds of one core."""
        of = costs.in_use(costs.RopeAttention)
        size, width, transforms = self.job.symbols.size, len(self.job.columns), 0
        for m in range(self.degree + 1):
            for component in components(self.support, m):
                transforms += width * (len(component.keys) + len(component.queries))
                transforms += len(component.pairs) if self.job.symbols.relative is not None else 0
        return transforms * size * (of.transform + of.transform_bit * math.log2(max(size, 2))) + 2e6

    def __str__(self) -> str:
        moments = f", by moments of order {self.measure.order}" if self.measure.order else ""
        return (
            f"degree {self.degree}, {self.pairs} pairs of monomials, transforms of length {self.job.symbols.size}, "
            f"scores within ±{self.job.radius:.3g} by norms{moments}"
        )


def support_of(instance: Instance) -> tuple[tuple[int, int], ...]:
    """The places of the scores: those of W, or the diagonal where queries and keys are multiplied as they are."""
    if instance.support is not None:
        return instance.support
    return tuple((a, a) for a in range(instance.query.shape[3]))


def planned(instance: Instance, scores: Turned, error: float) -> list[Plan]:
    """A plan for every job.  Raises :class:`Infeasible` where no polynomial is predicted to meet the error."""
    support = support_of(instance)
    found = []
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused
        for job in jobs(instance, scores):
            candidates = polynomials(job, guessed(job, np.array(support, np.int64).reshape(-1, 2)), error)
            found.append(Plan(job, support, candidates, *next(candidates)))
    return found


def computed(
    instance: Instance, scores: Turned, plans: list[Plan], error: float, memory: int, team: Team
) -> tuple[NDArray[Any], Array, str]:
    """The output, its certificate (b, h_q, 1, d_v), and what was done.

    Raises :class:`Infeasible` where a certificate is larger than ``error``, or ``memory`` bytes are too few.
    """
    b, h_q, n_q, _ = instance.query.shape
    d_v = instance.value.shape[3]
    output, bounds = np.zeros((b, h_q, n_q, d_v), instance.query.dtype), np.zeros((b, h_q, 1, d_v))
    served, singles = [], 0
    bound = functools.cache(lambda: exact_error(instance, scores, precision("float64")))
    for _, group in itertools.groupby(plans, key=lambda plan: id(plan.job.symbols)):
        transformed: Callable[[Component], tuple[Transform, ...]] | None = None
        for plan in group:
            for _ in range(_TRIED):
                columns, threads, kept = _share(plan, memory, team.workers)
                if transformed is None:
                    transformed = functools.lru_cache(maxsize=kept)(plan.job.symbols.transformed)
                sums = summed(
                    plan.job,
                    plan.support,
                    plan.approximation.coefficients,
                    columns,
                    transformed,
                    replace(team, workers=threads),
                )
                count = _written(instance, scores, plan, sums, error, output, bounds, bound)
                if count is not None:
                    break
                plan = plan.next()
            else:
                raise Infeasible(f"error {error:g}: the certificates of {_TRIED} polynomials are larger")
            served.append(plan)
            singles += count
    worst = float(bounds.max(initial=0.0))
    if not worst <= error:
        raise Infeasible(f"error {error:g}: the certificate after rounding is {worst:.2g}")
    largest = max(served, key=lambda plan: plan.degree, default=None)
    rows = f", {singles} rows computed one by one" if singles else ""
    return output, bounds, f"{largest or 'no keys at all'}, certified error {worst:.2g}{rows}"


def _share(plan: Plan, memory: int, workers: int) -> tuple[int, int, int]:
    """How many columns are transformed together, by how many threads, and for how many components symbols are kept.

    Raises :class:`Infeasible` where one column is too much for the memory.
    """
    job, heads = plan.job, len(plan.job.heads)
    symbol = job.symbols.bytes(plan.support, plan.degree)
    held = 8 * heads * job.query.shape[2] * (len(job.columns) + plan.degree + 1)
    held += job.query.nbytes + job.key.nbytes + job.columns.nbytes
    held += job.symbols.weight.nbytes + (0 if job.symbols.relative is None else job.symbols.relative.nbytes)
    held += 8 * min(_ROWS, len(job.seen)) * 16 * len(job.columns)
    most = min(len(job.columns), max(1, _TOGETHER // (8 * job.symbols.size)))
    for threads, columns in itertools.product(range(workers, 0, -1), range(most, 0, -1)):
        left = memory - held - (threads + 2) * symbol - need(job, plan.support, plan.degree, columns, threads)
        if left >= 0:
            return columns, threads, threads + 1 + left // symbol
    raise Infeasible(
        f"{plan.pairs} pairs of monomials (degree {plan.degree}) need more than the {memory / 2**20:.1f} MiB allowed"
    )


def _written(
    instance: Instance,
    scores: Turned,
    plan: Plan,
    sums: Sums,
    error: float,
    output: NDArray[Any],
    bounds: Array,
    bound: Callable[[], Array],
) -> int | None:
    """Write the rows of a job and their certificate; the number of those that the exact kernel computed.

    bound: of what that kernel errs, (b, h_q, 1, d_v).  ``None`` where too many certificates are larger than the error.
    """
    job, count = plan.job, 0
    for place, head in enumerate(job.heads):
        missed, here = np.zeros(len(job.seen), np.bool_), np.zeros(output.shape[3])
        for first in range(0, len(missed), _ROWS):
            at = slice(first, first + _ROWS)
            rows = certified(job, place, plan.support, plan.approximation, plan.measure, sums, output.dtype.name, at)
            missed[at] = rows.bound.max(axis=1, initial=0.0) > error
            here = np.maximum(here, rows.bound[~missed[at]].max(axis=0, initial=0.0))
            output[job.batch, head, at] = rows.output
        runs = _runs(missed)
        pairs = 0
        for first, last in runs:
            begin, end = job.keys(first, last)
            pairs += (last - first) * (end - begin)
        if pairs * costs.in_use(costs.RopeAttention).single > plan.cost:
            return None
        for first, last in runs:
            output[job.batch, head, first:last] = _exactly(instance, scores, job, head, first, last)
        if runs:
            here = np.maximum(here, bound()[job.batch, head, 0])
        bounds[job.batch, head, 0] = here
        count += int(missed.sum())
    return count


def _runs(missed: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """The intervals in which all are missed."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], missed, [False]])))
    return [(int(first), int(last)) for first, last in edges.reshape(-1, 2)]


def _exactly(instance: Instance, scores: Turned, job: Job, head: int, first: int, last: int) -> NDArray[Any]:
    """Rows first … last − 1 of a head by the exact kernel in float64."""
    begin, end = job.keys(first, last)
    n_k, keys = job.key.shape[1], end - begin
    start = first - begin + n_k - keys
    offsets = slice(start, start + last - first + keys - 1)
    at = np.s_[job.batch : job.batch + 1, job.key_head : job.key_head + 1, begin:end]
    query = scores.query[job.batch : job.batch + 1, head : head + 1, first:last].astype(np.float64)
    key, value = scores.key[at].astype(np.float64), instance.value[at].astype(np.float64)
    skip = instance.key.shape[2] - n_k  # keys beyond the length have offsets of their own
    bias = np.where(job.visible, 0.0, -np.inf)[offsets]
    if instance.relative_bias is not None:
        row = instance.relative_bias[head if len(instance.relative_bias) > 1 else 0, skip:][offsets].astype(np.float64)
        bias = np.where(np.isfinite(bias), row, bias)
    relative = None if scores.relative is None else scores.relative[:, skip:][:, offsets].astype(np.float64)
    part = Attention(query, key, value, instance.scale)
    out, _ = tiled(
        part, query, key, toeplitz(bias, last - first, keys)[None, None], relative=relative, support=scores.support,
        threads=1,
    )  # fmt: skip
    rows: NDArray[Any] = out[0, 0].astype(instance.query.dtype)
    return rows
