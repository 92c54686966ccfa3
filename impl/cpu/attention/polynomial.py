"""Attention in almost linear time where scores are small: the polynomial method, with a certificate.

exp is replaced by a polynomial of the least degree that the requested error allows on the range of the scores at hand;
a polynomial of a product of matrices has low rank, so no score is ever formed (Alman and Song 2023;
proofs_notes/attention.md, ATT-3).  The range comes from norms of the centred keys (ATT-1), the error of the polynomial
from a proof over the whole range (APX-1), that of the arithmetic from the result itself (ATT-5).
"""

from __future__ import annotations

import math
import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu import features
from assay.impl.cpu.attention.bound import exact_bound
from assay.impl.cpu.attention.tiles import exact
from assay.impl.cpu.certified import Certified
from assay.spec.approximation import Approximation, Infeasible, exp_of_degree, exp_of_least_degree
from assay.spec.attention.instance import Instance
from assay.spec.attention.perturbation import output_error, weight_error
from assay.spec.attention.tolerance import gamma
from assay.spec.precision import precision
from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from assay.impl.cpu.features import Monomials

    Array = NDArray[np.float64]

__all__ = ["Infeasible", "approximate"]

_U = 2.0**-53
_SLACK = 1.0 + 2.0**-30  # over the rounding of the bounds themselves, fewer than 2^16 roundings
_VANISHED = 2.0**-300  # what underflow may lose, in units of the largest value (ATT-5)
_MOST_GROWTH = 2.0**400  # of features, far from overflow
_STORED = {"float32": (2.0**-24, 2.0**-149), "float64": (0.0, 0.0)}  # rounding of the output: relative, absolute
_LARGEST_RADIUS = 40.0  # e^(2·40) is all that float64 coefficients can express
_SMALLEST_RADIUS = 2.0**-20
_RADII = 8  # per octave: scores up to 9 % larger are provided for, so that few polynomials are ever computed
_ERRORS = 2  # per octave
_WORTH_A_SEARCH = 1 << 22  # points × features: some 10 ms, as a search takes
_CAUSAL_BLOCK = 8 * features.CHUNK
_BLOCKS_QUERIED = 32 * features.CHUNK
# Nanoseconds of one core, measured on two EPYC cores (benchmarks/fast_attention.py --model): only speed depends on them
_POLYNOMIAL = (0.41, 0.06)  # per point and feature: a fixed part, and each column of V and the sum of weights
_EXACT = (7.6, 0.10)  # per pair of query and key: a fixed part, and each coordinate of K and V
_CALL = 2e5  # per head


def approximate(
    query: NDArray[Any],
    key: NDArray[Any],
    value: NDArray[Any],
    error: float = 1e-6,
    scale: float | None = None,
    *,
    is_causal: bool = False,
    key_lengths: NDArray[Any] | None = None,
    fallback: str = "exact",
    memory: int = 1 << 30,
    threads: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Certified:
    """Attention of (batch, heads, length, dim) arrays, float32 or float64, within ``error`` of the exact result.

    query (b, h_q, n_q, d), key (b, h_k, n_k, d), value (b, h_k, n_k, d_v), ``scale``, ``is_causal`` (query i attends
    to keys j ≤ i) and ``key_lengths`` as in :class:`assay.spec.attention.Instance`.  ``error``: absolute, in units of
    the output.  The value has the dtype of the inputs; the ``error`` that is returned has shape (b, h_q, 1, d_v) and
    is at most the one requested.

    fallback: ``"exact"`` takes the polynomial route where it is predicted to be faster, and the exact tiled kernel
    otherwise or where the polynomial route cannot be certified; ``"raise"`` insists on the polynomial route.
    memory: bytes of working storage besides the output, at most.  threads: at most this many (default: the CPUs of
    this process); the result does not depend on it.  progress: called with (points done, points in all).

    Time O(n·C(d + g, g)·(d_v + 1)) for a degree g, memory O(threads·C(d + g, g)·(d_v + 1)), 16 times that if causal.
    Source: ATT-1 … ATT-5 and ATT-8 of proofs_notes/attention.md.  Raises
    :class:`~assay.spec.problem.InvalidInstance` for bad input, ``ValueError`` for other bad arguments, and
    :class:`~assay.spec.approximation.Infeasible` where no route can be certified to ``error``.

    >>> x = np.arange(3.0).reshape(1, 1, 3, 1)
    >>> found = approximate(x, x, x, error=1e-6, fallback="raise")
    >>> np.round(found.value, 5).ravel(), bool((found.error <= 1e-6).all())
    (array([1.     , 1.57521, 1.85094]), True)
    """
    instance = Instance(query, key, value, scale, is_causal, key_lengths=key_lengths)
    if query.dtype.name not in _STORED:
        raise InvalidInstance(f"query: dtype {query.dtype.name}, expected float32 or float64")
    if isinstance(error, bool) or not isinstance(error, (int, float, np.number)) or not 0.0 < error < math.inf:
        raise ValueError(f"error: {error!r}, expected a positive finite number")
    if fallback not in ("exact", "raise"):
        raise ValueError(f"fallback: {fallback!r}, expected 'exact' or 'raise'")
    if threads is not None and threads < 1:
        raise ValueError(f"threads: {threads!r}, expected at least 1")
    if memory < 1:
        raise ValueError(f"memory: {memory!r}, expected a positive number of bytes")
    workers = threads or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    problems = list(_problems(instance))
    try:
        plans = [_planned(problem, float(error), memory, workers) for problem in problems]
        if fallback == "exact":
            _require_faster(problems, plans)
        return _polynomial(instance, problems, plans, float(error), workers, progress)
    except Infeasible as reason:
        if fallback == "raise":
            raise
        return _exact(instance, problems, float(error), memory, threads, str(reason))


@dataclass(frozen=True, eq=False)
class _Problem:
    """One key head and the query heads that attend to it, and what norms say of them (upper bounds)."""

    batch: int
    head: int
    queries: NDArray[Any]  # (group, n_q, d)
    key: NDArray[Any]  # (length, d), maybe of length 0
    value: NDArray[Any]
    scale: float
    causal: bool
    centre: Array
    query_norm: float
    key_norm: float  # of centred keys
    least: Array  # of V, per column
    largest: Array

    @property
    def magnitude(self) -> Array:
        return np.maximum(np.abs(self.least), np.abs(self.largest))

    @property
    def spread(self) -> Array:
        """range(V), rounded up."""
        with np.errstate(over="ignore"):
            return (self.largest - self.least) * (1.0 + 2.0**-50)


@dataclass(frozen=True, eq=False)
class _Plan:
    """One head: y = shrink·(v − middle), x = (k − centre)/unit, scores ⟨factor·q, x⟩ within ±radius."""

    approximation: Approximation
    table: Monomials
    radius: float
    unit: float
    factor: float
    middle: Array
    grow: Array  # 1/shrink, powers of two

    @property
    def weights(self) -> Array:
        """(padded rank, 1): c_|α| (|α| choose α)."""
        return (np.array(self.approximation.coefficients)[self.table.order] * self.table.multinomial)[:, None]


def _problems(instance: Instance) -> Iterator[_Problem]:
    b, _, _, d = instance.query.shape
    h_k, n_k = instance.key.shape[1:3]
    group = instance.group
    assert instance.scale is not None
    for batch in range(b):
        length = n_k if instance.key_lengths is None else int(instance.key_lengths[batch])
        for head in range(h_k):
            queries = instance.query[batch, head * group : (head + 1) * group]
            key, value = instance.key[batch, head, :length], instance.value[batch, head, :length]
            zero = np.zeros(d)
            if length:
                with np.errstate(over="ignore", invalid="ignore"):
                    centre = features.extent(key)[0] / length
                least, largest = features.extent(value)[1:]
            else:
                centre, least = zero, np.zeros(value.shape[1])
                largest = least
            yield _Problem(
                batch, head, queries, key, value, instance.scale, instance.is_causal, centre,
                max(features.largest_norm(q, zero) for q in queries),
                features.largest_norm(key, centre) if length else 0.0,
                least, largest,
            )  # fmt: skip


def _planned(problem: _Problem, error: float, memory: int, workers: int) -> _Plan:
    """The least degree whose error, with all that rounding may add, is predicted to stay below ``error``."""
    n, d = problem.key.shape
    unit = math.ldexp(1.0, max(-1000, math.frexp(problem.key_norm)[1])) if problem.key_norm < math.inf else math.inf
    factor = problem.scale * unit if unit < math.inf else math.inf
    radius = abs(factor) * problem.query_norm * (problem.key_norm / unit) * _SLACK if unit < math.inf else math.inf
    if not radius <= _LARGEST_RADIUS:
        raise Infeasible(f"scores of up to {radius:.3g} in size, of which the polynomial method serves 40")
    with np.errstate(over="ignore"):
        middle = problem.least / 2.0 + problem.largest / 2.0
        half = np.maximum(problem.largest - middle, middle - problem.least) * (1.0 + 2.0**-50)
    grow = np.ldexp(1.0, np.clip(np.frexp(half)[1], -1000, 1023))
    plan = _Plan(exp_of_least_degree(0.0, 0.5), features.monomials(d, 0), radius, unit, factor, middle, grow)
    if n == 0 or not problem.spread.any():
        return plan
    left = error
    grid = 2.0 ** (math.ceil(math.log2(max(radius, _SMALLEST_RADIUS)) * _RADII) / _RADII)
    for _ in range(4):
        relative = float((left / problem.spread[problem.spread > 0.0]).min())
        if not relative > 0.0:
            raise Infeasible(f"error {error:g}: rounding alone may cost {float(_total(problem, plan, None).max()):.2g}")
        relative = min(weight_error(min(relative, 1.0)), 0.5)
        relative = 2.0 ** (math.floor(math.log2(relative) * _ERRORS) / _ERRORS)
        if relative < 2.0**-50:
            raise Infeasible(f"error {error:g}: beyond float64 for values that span {problem.spread.max():.3g}")
        found = exp_of_least_degree(max(grid, radius), relative)
        count = features.rank(d, found.degree)
        width = problem.value.shape[1] + 1
        need = 8 * (count + 8) * (
            width * (2 * workers + 3) * (2 * _CAUSAL_BLOCK // features.CHUNK if problem.causal else 1) + 8
        ) + workers * 8 * features.CHUNK * (features.rank(d, max(found.degree - 1, 0)) + 8 + d + 2 * width)
        if need > memory:
            raise Infeasible(
                f"rank {count} (degree {found.degree}, scores up to {radius:.3g}) needs {need / 2**20:.0f} MiB "
                f"of the {memory / 2**20:.0f} MiB allowed"
            )
        plan = _Plan(found, features.monomials(d, found.degree), radius, unit, factor, middle, grow)
        missed = float((_total(problem, plan, None) - error).max())
        if missed <= 0.0:
            return _refined(problem, plan, error)
        left -= 1.25 * missed
    raise Infeasible(f"error {error:g}: rounding alone may cost {float(_total(problem, plan, None).max()):.2g}")


def _refined(problem: _Problem, plan: _Plan, error: float) -> _Plan:
    """A degree lower, where a polynomial for the range at hand, not a rounded one, allows it and time may be saved."""
    degree = plan.approximation.degree - 1
    points = len(problem.key) + problem.queries.shape[0] * problem.queries.shape[1]
    if degree < 1 or points * plan.table.rank < _WORTH_A_SEARCH:
        return plan
    found = exp_of_degree(2.0 ** (math.ceil(math.log2(max(plan.radius, _SMALLEST_RADIUS)) * 128) / 128), degree)
    lower = replace(plan, approximation=found, table=features.monomials(problem.key.shape[1], degree))
    return lower if found.error < 0.5 and (_total(problem, lower, None) <= error).all() else plan


def _total(problem: _Problem, plan: _Plan, measured: tuple[float, Array] | None) -> Array:
    """The certificate of one head, per column of V (ATT-5).

    measured: the least computed Z/(number of keys) of a row, and the largest |out| of every column; without it what
    they are expected to be.
    """
    n = len(problem.key)
    growth = _growth(plan.approximation, plan.radius)
    if not _growth(plan.approximation, max(plan.radius, 1.0) * problem.key.shape[1]) <= _MOST_GROWTH:
        return np.full_like(plan.middle, math.inf)
    lowest, size = (0.9, problem.magnitude) if measured is None else measured
    if not lowest > 0.0:
        return np.full_like(plan.middle, math.inf)
    shifted = math.tanh(1.5 * _U * plan.radius * _SLACK + 2.0**-1000)
    summed = -(-n // features.BLOCK) + features.BLOCK // features.CHUNK + features.CHUNK
    if problem.causal:
        summed += -(-n // _CAUSAL_BLOCK) + (problem.key.shape[1] + 2) * plan.approximation.degree
    roundings = summed + plan.table.rank + 4 * plan.approximation.degree + 16
    rounded = (2.0 * gamma(roundings, _U) * growth + _VANISHED) / lowest
    relative, absolute = _STORED[problem.key.dtype.name]
    with np.errstate(over="ignore", invalid="ignore"):
        total = (
            (shifted + output_error(plan.approximation.error)) * problem.spread
            + plan.grow * (rounded + 4.0 * _U)
            + 3.0 * _U * (problem.magnitude + plan.grow * (1.0 + rounded))
            + 2.0 * relative * size
            + absolute
        ) * _SLACK + 2.0**-1070
    return np.where(np.isnan(total), math.inf, total)


def _growth(approximation: Approximation, radius: float) -> float:
    """Σ_m |c_m| radius^m, rounded up."""
    total = 0.0
    for c in reversed(approximation.coefficients):
        total = total * radius + abs(c)
    return total * _SLACK


def _require_faster(problems: list[_Problem], plans: list[_Plan]) -> None:
    polynomial = quadratic = 0.0
    for problem, plan in zip(problems, plans, strict=True):
        (group, n_q, d), (n_k, d_v) = problem.queries.shape, problem.value.shape
        fixed, each = _POLYNOMIAL
        polynomial += _CALL + (n_k + group * n_q) * plan.table.rank * (fixed + each * (d_v + 1))
        fixed, each = _EXACT
        quadratic += group * n_q * n_k * (fixed + each * (d + d_v)) * (0.5 if problem.causal else 1.0)
    if polynomial > quadratic:
        largest = max(plan.table.rank for plan in plans)
        raise Infeasible(
            f"rank {largest} is predicted to cost {polynomial / 1e6:.3g} ms of a core, and exact {quadratic / 1e6:.3g}"
        )


def _polynomial(
    instance: Instance, problems: list[_Problem], plans: list[_Plan], error: float, workers: int,
    progress: Callable[[int, int], None] | None,
) -> Certified:  # fmt: skip
    b, h_q, n_q, _ = instance.query.shape
    d_v, group = instance.value.shape[3], instance.group
    value = np.zeros((b, h_q, n_q, d_v), instance.query.dtype)
    certified = np.zeros((b, h_q, 1, d_v))
    points = [sum(len(p.key) + group * n_q for p in problems), 0]

    def advance(count: int) -> None:
        points[1] += count
        if progress is not None:
            progress(points[1], points[0])

    with ThreadPoolExecutor(workers) as pool:
        for problem, plan in zip(problems, plans, strict=True):
            if len(problem.key) == 0:  # every key absent: 0, exactly
                advance(group * n_q)
                continue
            if problem.causal:
                members = slice(problem.head * group, (problem.head + 1) * group)
                rows = value[problem.batch, members]
                for member, found in enumerate(_swept(problem, plan, rows, pool, workers, advance)):
                    certified[problem.batch, problem.head * group + member, 0] = _total(problem, plan, found)
                continue
            weighted = _weighted_moments(problem, plan, pool, workers, advance)
            for member in range(group):
                head = problem.head * group + member
                lowest, size = _evaluated(
                    problem, plan, weighted, problem.queries[member], value[problem.batch, head], pool, workers, advance
                )
                certified[problem.batch, head, 0] = _total(problem, plan, (lowest, size))
    worst = float(certified.max())
    if not worst <= error:
        raise Infeasible(f"error {error:g}: the certificate after rounding is {worst:.2g}")
    degrees = sorted({plan.approximation.degree for plan in plans})
    ranks = sorted({plan.table.rank for plan in plans})
    route = (
        f"polynomial: degree {_spanned(degrees)}, rank {_spanned(ranks)}, "
        f"scores within ±{max(plan.radius for plan in plans):.3g} by norms, certified error {worst:.2g}"
    )
    return Certified(value, certified, route)


def _spanned(numbers: list[int]) -> str:
    return f"{numbers[0]}" if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"


def _weighted_moments(
    problem: _Problem, plan: _Plan, pool: ThreadPoolExecutor, workers: int, advance: Callable[[int], None]
) -> Array:
    """Σ_j x_j^α (y_j, 1), each with its weight c_|α| (|α| choose α)."""
    n, table = len(problem.key), plan.table
    total = np.zeros((len(table.parent), problem.value.shape[1] + 1))
    shrink = 1.0 / plan.grow

    def part(first: int) -> tuple[int, Array]:
        last = min(first + features.BLOCK, n)
        return last - first, features.moments(
            problem.key, problem.value, table, centre=problem.centre, factor=1.0 / plan.unit, middle=plan.middle,
            shrink=shrink, first=first, last=last,
        )  # fmt: skip

    for count, moments in _ordered(pool, workers, part, range(0, n, features.BLOCK)):
        total += moments[0]
        advance(count)
    return total * plan.weights


def _swept(
    problem: _Problem, plan: _Plan, out: NDArray[Any], pool: ThreadPoolExecutor, workers: int,
    advance: Callable[[int], None],
) -> list[tuple[float, Array]]:  # fmt: skip
    """Causal rows of every query head: moments of the keys before a chunk, running, and its own keys one by one."""
    n_k, table = len(problem.key), plan.table
    group, n_q, _ = problem.queries.shape
    width = problem.value.shape[1] + 1
    shrink, coefficients = 1.0 / plan.grow, np.array(plan.approximation.coefficients)

    def summed(first: int) -> tuple[int, Array]:
        last = min(first + _CAUSAL_BLOCK, n_q)
        if first >= n_k:
            return first, np.zeros((1, len(table.parent), width))
        return first, features.moments(
            problem.key, problem.value, table, centre=problem.centre, factor=1.0 / plan.unit, middle=plan.middle,
            shrink=shrink, first=first, last=min(last, n_k), by_chunk=True,
        )  # fmt: skip

    def evaluated(first: int, carried: Array, sums: Array) -> tuple[int, list[tuple[float, Array]]]:
        last = min(first + _CAUSAL_BLOCK, n_q)
        chunks = -(-(last - first) // features.CHUNK)
        before = np.zeros((chunks, *carried.shape))
        before[0] = carried
        for c in range(1, chunks):
            before[c] = before[c - 1] + sums[c - 1] if c <= len(sums) else before[c - 1]
        before *= plan.weights
        here = slice(first, min(last, n_k))
        near = (problem.key[here].astype(np.float64) - problem.centre) * (1.0 / plan.unit)
        ones = np.ones((len(near), 1))
        near_values = np.hstack([(problem.value[here].astype(np.float64) - plan.middle) * shrink, ones])
        return last - first, [
            features.evaluate(
                query, table, before, factor=plan.factor, middle=plan.middle, grow=plan.grow, least=problem.least,
                largest=problem.largest, first=first, last=last, out=rows, keys=n_k, near=near, near_values=near_values,
                coefficients=coefficients, causal=True,
            )
            for query, rows in zip(problem.queries, out, strict=True)
        ]  # fmt: skip

    found = [(math.inf, np.zeros(width - 1)) for _ in range(group)]

    def joined(count: int, parts: list[tuple[float, Array]]) -> None:
        for member, (lowest, size) in enumerate(parts):
            found[member] = min(found[member][0], lowest), np.maximum(found[member][1], size)
        advance(group * count)

    carried = np.zeros((len(table.parent), width))
    waiting: deque[Any] = deque()
    for first, sums in _ordered(pool, workers, summed, range(0, n_q, _CAUSAL_BLOCK)):
        waiting.append(pool.submit(evaluated, first, carried, sums))
        carried = carried + sums.sum(axis=0)
        if len(waiting) >= 2 * workers:
            joined(*waiting.popleft().result())
    while waiting:
        joined(*waiting.popleft().result())
    advance(n_k)
    return found


def _evaluated(
    problem: _Problem, plan: _Plan, weighted: Array, query: NDArray[Any], out: NDArray[Any],
    pool: ThreadPoolExecutor, workers: int, advance: Callable[[int], None],
) -> tuple[float, Array]:  # fmt: skip
    n = len(query)
    none = np.zeros((0, 0))

    def part(first: int) -> tuple[int, tuple[float, Array]]:
        last = min(first + _BLOCKS_QUERIED, n)
        return last - first, features.evaluate(
            query, plan.table, weighted[None], factor=plan.factor, middle=plan.middle, grow=plan.grow,
            least=problem.least, largest=problem.largest, first=first, last=last, out=out,
            keys=len(problem.key), near=none, near_values=none, coefficients=plan.weights[0], causal=False,
        )  # fmt: skip

    lowest, size = math.inf, np.zeros(out.shape[1])
    for count, (least, largest) in _ordered(pool, workers, part, range(0, n, _BLOCKS_QUERIED)):
        lowest, size = min(lowest, least), np.maximum(size, largest)
        advance(count)
    return lowest, size


def _ordered(pool: ThreadPoolExecutor, workers: int, part: Callable[[int], Any], firsts: range) -> Iterator[Any]:
    """The results of all parts, in order, with at most two a worker waiting."""
    if workers == 1 or len(firsts) == 1:
        yield from map(part, firsts)
        return
    waiting: deque[Any] = deque()
    for first in firsts:
        waiting.append(pool.submit(part, first))
        if len(waiting) >= 2 * workers:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _exact(
    instance: Instance, problems: list[_Problem], error: float, memory: int, threads: int | None, reason: str
) -> Certified:
    """The tiled kernel in the dtype of the inputs if ATT-8 certifies that, else in float64; says why."""
    query, key, value = instance.query, instance.key, instance.value
    (b, h_q, _, d), (n_k, d_v), group = query.shape, value.shape[2:], instance.group
    best = math.inf
    for name in dict.fromkeys((query.dtype.name, "float64")):
        bound = np.zeros((b, h_q, 1, d_v))
        for p in problems:
            zero = np.zeros(d)
            norm = features.largest_norm(p.key, zero) if len(p.key) else 0.0
            here = exact_bound(precision(name), n_k, d, p.scale, p.query_norm, norm, p.magnitude, p.spread)
            if name != query.dtype.name:
                relative, absolute = _STORED[query.dtype.name]
                here = (here + 2.0 * relative * p.magnitude) * _SLACK + absolute
            bound[p.batch, p.head * group : (p.head + 1) * group, 0] = here
        best = min(best, float(np.where(np.isnan(bound), math.inf, bound).max()))
        if best <= error:
            break
    else:
        raise Infeasible(f"{reason}; and the exact kernel is certified only to {best:.2g} of the {error:g} requested")
    copied = name != query.dtype.name
    need = 8 * (query.size + key.size + value.size + query.shape[2] * b * h_q * d_v) if copied else 0
    if need > memory:
        raise Infeasible(
            f"{reason}; and the exact kernel in float64 needs {need >> 20} MiB of the {memory >> 20} allowed"
        )
    work = np.dtype(name)
    q, k, v = (x.astype(work, copy=False) for x in (query, key, value))
    out = exact(
        q, k, v, instance.scale, is_causal=instance.is_causal, key_lengths=instance.key_lengths, threads=threads
    )
    with np.errstate(over="ignore"):
        out = out.astype(query.dtype, copy=False)
    return Certified(out, bound, f"exact in {name}, certified error {float(bound.max()):.2g}: {reason}")
