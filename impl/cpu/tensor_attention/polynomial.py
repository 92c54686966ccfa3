"""Attention of order k in almost linear time where scores are small: the polynomial method, with a certificate.

A polynomial of the least degree that the requested error allows takes the place of exp.  A power of the scores is a sum
of products of one factor of the query and one of each key, so the sums over the keys of each mode are taken apart and
multiplied: no combination of keys is ever formed (Alman and Song 2024; proofs_notes/tensor_attention_fast.md, TEN-2).

Keys are not centred, because no vector may be added to the keys of a mode from order 3 on.  Moments of the scores come
with the sums for nothing (TEN-8).  The error of the arithmetic comes from the result itself (TEN-10).
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu import attention, costs, features
from assay.impl.cpu.attention.certificate import STORED
from assay.impl.cpu.attention.passes import Team, tree, weighted
from assay.impl.cpu.certified import Certified
from assay.impl.cpu.features import Band, Extremes
from assay.impl.cpu.progress import told
from assay.impl.cpu.tensor_attention.certificate import certificate, exact_error, roundings
from assay.impl.cpu.tensor_attention.choice import candidates, predicted, realised
from assay.impl.cpu.tensor_attention.combinations import instance_of
from assay.impl.cpu.tensor_attention.heads import heads
from assay.impl.cpu.tensor_attention.tiles import attended, windows
from assay.impl.cpu.threads import Borrowed, available, require_number
from assay.spec.approximation import Infeasible
from assay.spec.floating_point import require_usual
from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from assay.impl.cpu.attention.plan import Measure, Plan
    from assay.impl.cpu.tensor_attention.choice import Guess
    from assay.impl.cpu.tensor_attention.heads import Head
    from assay.spec.tensor_attention.instance import HigherOrder

    Array = NDArray[np.float64]

__all__ = ["Infeasible", "approximate"]

_ROWS = 32 * features.CHUNK  # rows of one task
_UNLIMITED = 1 << 62


def approximate(
    query: NDArray[Any],
    *modes: NDArray[Any],
    error: float = 1e-6,
    scale: float | None = None,
    is_causal: bool = False,
    window: tuple[int | None, ...] | None = None,
    fallback: str = "exact",
    memory: int = 1 << 30,
    threads: int | None = None,
    progress: bool | Callable[[int, int], None] = False,
    **named: NDArray[Any],
) -> Certified:
    """Attention of order k of (batch, heads, length, dim) arrays, float32 or float64, within ``error`` of the result.

    query, then key1 … key{k−1}, value1 … value{k−1}, and the options are as in
    :func:`assay.impl.cpu.tensor_attention.exact`.  ``error``: the largest admissible error, absolute, in units of the
    output.  The returned value has the dtype of the inputs; the returned ``error`` has shape (b, h_q, 1, d_v) and is at
    most the one requested.

    fallback: ``"exact"`` takes the faster of two routes as predicted, the polynomial one and the exact kernel (in
    float64 where ``error`` needs that), and the exact kernel too where the polynomial route cannot be certified;
    ``"raise"`` insists on the polynomial route.  memory: the most bytes of working storage besides inputs and output.
    threads: the most threads (default: the CPUs of this process); the result does not depend on their number.
    progress: True shows a bar; a function is called with (points done, points in all).

    Let r = C(d + g, g) be the rank for degree g.  The time is O((n_q + Σ n_m)·r·(d_v + 1)) and the memory
    O(threads·r·(d_v + 1)), whatever the order.  Causal masks and windows have no polynomial route from order 3 on.
    Order 2 is :func:`assay.impl.cpu.attention.approximate`, which centres keys.

    Source: TEN-2, TEN-8, TEN-10 and TEN-11 of proofs_notes/tensor_attention_fast.md.  Raises
    :class:`~assay.spec.problem.InvalidInstance` for bad input, ``ValueError`` for other bad arguments, and
    :class:`~assay.spec.approximation.Infeasible` where no route can be certified to ``error``.

    >>> x = np.arange(6.0).reshape(1, 1, 3, 2) / 8
    >>> found = approximate(x, x, x, x, x, error=1e-6, fallback="raise")
    >>> np.round(found.value[0, 0, :, 0], 4), bool((found.error <= 1e-6).all())
    (array([0.0633, 0.0664, 0.0695]), True)
    """
    require_usual()
    instance = instance_of(query, modes, named, {"scale": scale, "is_causal": is_causal, "window": window})
    if query.dtype.name not in STORED:
        raise InvalidInstance(f"query: dtype {query.dtype.name}, expected float32 or float64")
    if not query.dtype.isnative:
        raise InvalidInstance(f"query: dtype {query.dtype.str}, expected the byte order of this machine")
    if isinstance(error, bool) or not isinstance(error, (int, float, np.number)) or not 0.0 < error < math.inf:
        raise ValueError(f"error: {error!r}, expected a positive finite number")
    if fallback not in ("exact", "raise"):
        raise ValueError(f"fallback: {fallback!r}, expected 'exact' or 'raise'")
    require_number(threads)
    if memory < 1:
        raise ValueError(f"memory: {memory!r}, expected a positive number of bytes")
    workers = threads or available()
    if instance.order == 2:
        options = windows(instance)
        return attention.approximate(
            query, instance.mode_keys[0], instance.mode_values[0], float(error), fallback=fallback, memory=memory,
            threads=workers, progress=progress, **options,
        )  # fmt: skip
    try:
        return _polynomial(instance, float(error), fallback == "exact", memory, workers, progress)
    except Infeasible as reason:
        if fallback == "raise":
            raise
        return _exact(instance, float(error), memory, workers, str(reason))


def _polynomial(
    instance: HigherOrder, error: float, unless_slower: bool, memory: int, workers: int,
    progress: bool | Callable[[int, int], None],
) -> Certified:  # fmt: skip
    if instance.is_causal or instance.window is not None:
        raise Infeasible("a causal mask or a window has no polynomial route from order 3 on")
    found = list(heads(instance))
    offers = [candidates(head, error) for head in found]
    for head, (_, ranked) in zip(found, offers, strict=True):
        if (need := _need(head, ranked[0][0], workers)) > memory:
            raise Infeasible(
                f"rank {features.rank(head.frame.dimension, ranked[0][0])} (degree {ranked[0][0]}, scores up to "
                f"{head.radius:.3g}) needs {need / 2**20:.0f} MiB of the {memory / 2**20:.0f} MiB allowed"
            )
    if unless_slower:
        fast = sum(_cost(head, ranked[0][0]) for head, (_, ranked) in zip(found, offers, strict=True))
        if fast > (slow := _exact_cost(instance)):
            raise Infeasible(f"polynomials are predicted to cost {fast / 1e6:.3g} ms of a core, exact {slow / 1e6:.3g}")
    b, h_q, n_q, _ = instance.query.shape
    value = np.empty((b, h_q, n_q, instance.mode_values[0].shape[3]), instance.query.dtype)
    certified = np.zeros((b, h_q, 1, value.shape[3]))
    plans = []
    total, done = sum(head.points for head in found), 0
    with told(progress, "attention") as tell, Borrowed(workers) as pool:

        def advance(count: int) -> None:
            nonlocal done
            done = min(done + count, total)  # a head with a second plan is passed twice
            tell(done, total)

        team = Team(pool, workers, advance)
        for head, (guess, ranked) in zip(found, offers, strict=True):
            members = slice(head.number * instance.group, (head.number + 1) * instance.group)
            plan, bounds = _served(head, guess, ranked, error, value[head.batch, members], team)
            certified[head.batch, members, 0] = bounds
            plans.append(plan)
    return Certified(value, certified, _route(plans, float(certified.max(initial=0.0))))


def _served(
    head: Head, guess: Guess, ranked: list[tuple[int, Measure]], error: float, out: NDArray[Any], team: Team
) -> tuple[Plan, Array]:
    """Compute one head into ``out`` (group, n_q, d_v): its plan, and its certificate (d_v,)."""
    best = math.inf
    for degree, measure in ranked:
        plan = realised(head, degree, measure)
        if not measure.order and not plan.approximation.error < 0.5:
            continue
        bound = float(predicted(head, plan, guess).max())
        if bound <= error:
            seen = _passed(head, plan, out, team)
            bounds = certificate(head, plan, seen)
            if (bound := float(bounds.max(initial=0.0))) <= error:
                return plan, bounds
            if seen.share > 0.0:  # what was measured stands in place of guesses
                moments = dict(guess.moments)
                if measure.order:
                    measured = max(seen.moment * seen.share - 1.0, 0.0) / plan.ratio**measure.order
                    moments[measure.order] = max(measured, moments[measure.order])
                guess = replace(guess, moments=moments, share=seen.share, least=seen.least, largest=seen.largest)
        best = min(best, bound)
    raise Infeasible(f"error {error:g}: the best certificate in sight is {best:.2g}")


def _passed(head: Head, plan: Plan, out: NDArray[Any], team: Team) -> Extremes:
    """Write all rows of the head to ``out``; return their extremes."""
    product: Any = 1.0
    for key, value, frame, grow in zip(head.keys, head.values, head.frames, head.grows, strict=True):

        def summed(first: int, key: Any = key, value: Any = value, frame: Any = frame, grow: Any = grow) -> Any:
            last = min(first + features.BLOCK, len(key))
            return last - first, features.moments(
                key, value, plan.table, coordinates=frame, middle=np.zeros_like(grow), shrink=1.0 / grow, first=first,
                last=last,
            )  # fmt: skip

        # means in place of sums: the number of combinations may be beyond 2^63
        mean = tree(team, team.ordered(summed, [(at,) for at in range(0, len(key), features.BLOCK)])) / len(key)
        product = product * mean
    table = weighted(plan, product[None])
    lengths = tuple(len(key) for key in head.keys)
    order, dimension, degree = plan.power, plan.frame.dimension, plan.approximation.degree
    slack = plan.slack(roundings(lengths, dimension, degree, order) + 16)
    touched, band = np.ones(1, np.int64), Band(0, _UNLIMITED, _UNLIMITED, 1)  # a mean stands for one key
    width = head.values[0].shape[1]
    best = Extremes(math.inf, 0.0, np.full(width, math.inf), np.full(width, -math.inf))
    for query, rows in zip(head.queries, out, strict=True):

        def evaluated(first: int, query: Any = query, rows: Any = rows) -> tuple[int, Extremes]:
            last = min(first + _ROWS, len(query))
            return last - first, features.evaluate(
                query, plan.table, table, coordinates=head.frame, middle=plan.middle, grow=plan.grow,
                hull=(head.least, head.largest), first=first, last=last, out=rows, order=order, ratio=plan.ratio,
                slack=slack, kurtosis=0.0, coefficients=plan.coefficients, band=band, touched=touched,
                keys=head.keys[0], values=head.values[0], key_coordinates=head.frames[0],
            )  # fmt: skip

        for count, here in team.ordered(evaluated, [(first,) for first in range(0, len(query), _ROWS)]):
            best = best.joined(here)
            team.advance(count)
    return best


def _need(head: Head, degree: int, workers: int) -> int:
    """The working storage of a pass, in bytes."""
    d, width = head.frame.dimension, int(head.values[0].shape[1]) + 2
    count, inner = features.rank(d, degree), features.rank(d, max(degree - 1, 0))
    deepest = max(-(-len(key) // features.BLOCK) for key in head.keys).bit_length()
    tables = 2 * workers + 8 + deepest
    return 8 * ((count + 8) * (width * tables + 8) + workers * features.CHUNK * (inner + 8 + 3 * d + 2 * width))


def _cost(head: Head, degree: int) -> float:
    """The predicted time of a pass, in nanoseconds of one core."""
    columns, count = int(head.values[0].shape[1]) + 1, features.rank(head.frame.dimension, degree)
    of = costs.in_use(costs.TensorAttention)
    each = of.coordinate * (head.frame.dimension + columns) + count * (of.feature + of.product * columns)
    return of.head + head.points * each


def _exact_cost(instance: HigherOrder) -> float:
    """The predicted time of the exact kernel, in nanoseconds of one core."""
    (b, h_q, n_q, d), d_v = instance.query.shape, instance.mode_values[0].shape[3]
    fixed, column = costs.in_use(costs.TensorAttention).exact(instance.query.dtype.name)
    return float(b * h_q * n_q * (fixed + column * (d + d_v))) * instance.combinations


def _route(plans: list[Plan], worst: float) -> str:
    def spanned(numbers: list[int]) -> str:
        least, most = min(numbers, default=0), max(numbers, default=0)
        return f"{least}" if least == most else f"{least} to {most}"

    moments = sorted({plan.measure.order for plan in plans} - {0})
    by_moments = f", by moments of order {' and '.join(map(str, moments))}" if moments else ""
    return (
        f"polynomial: degree {spanned([plan.approximation.degree for plan in plans])}, "
        f"rank {spanned([plan.table.rank for plan in plans])}, "
        f"scores within ±{max((plan.frame.radius for plan in plans), default=0.0):.3g} by norms, "
        f"certified error {worst:.2g}{by_moments}"
    )


def _exact(instance: HigherOrder, error: float, memory: int, workers: int, reason: str) -> Certified:
    """The result of the exact kernel in the type of the inputs, or in float64 where the error needs that."""
    best = math.inf
    for name in dict.fromkeys((instance.query.dtype.name, "float64")):
        bound = exact_error(instance, name)
        best = float(bound.max(initial=0.0))
        if best <= error:
            need = 2 * np.dtype(name).itemsize * sum(x.size for x in (*instance.mode_keys, *instance.mode_values))
            if need > memory:
                raise Infeasible(f"{reason}; and the exact kernel needs {need / 2**20:.1f} MiB for keys and values")
            with np.errstate(over="ignore"):
                output = attended(instance, np.dtype(name), workers)[0].astype(instance.query.dtype, copy=False)
            return Certified(output, bound, f"exact in {name}, certified error {best:.2g}: {reason}")
    raise Infeasible(f"{reason}; and the exact kernel is certified only to {best:.2g} of the {error:g} requested")
