"""Attention in almost linear time where scores are small: the polynomial method, with a certificate.

A polynomial of the least degree that the requested error allows takes the place of exp.  A polynomial of a product of
matrices has low rank, so no score is ever formed (Alman and Song 2023; proofs_notes/attention.md, ATT-3).

The range of the scores comes from norms of the centred keys (ATT-1).  The error of the polynomial comes from a proof
over the whole range (APX-1) and from moments of the scores (ATT-7).  The error of the arithmetic comes from the result
itself (ATT-5).
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu import costs, features
from assay.impl.cpu.attention.bound import exact_bound
from assay.impl.cpu.attention.certificate import STORED, certificate
from assay.impl.cpu.attention.choice import corrected, realised, sketched
from assay.impl.cpu.attention.heads import heads
from assay.impl.cpu.attention.passes import Team, passed
from assay.impl.cpu.attention.plan import SLACK
from assay.impl.cpu.attention.tiles import exact, storage
from assay.impl.cpu.certified import Certified
from assay.impl.cpu.features import Extremes
from assay.impl.cpu.progress import told
from assay.impl.cpu.threads import Borrowed, available, require_number
from assay.spec.approximation import Infeasible
from assay.spec.attention.instance import Instance
from assay.spec.floating_point import require_usual
from assay.spec.precision import precision
from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from assay.impl.cpu.attention.choice import Sketch
    from assay.impl.cpu.attention.heads import Head
    from assay.impl.cpu.attention.plan import Plan

    Array = NDArray[np.float64]

__all__ = ["Infeasible", "approximate"]


def approximate(
    query: NDArray[Any],
    key: NDArray[Any],
    value: NDArray[Any],
    error: float = 1e-6,
    scale: float | None = None,
    *,
    is_causal: bool = False,
    causal: str | None = None,
    window: tuple[int | None, int | None] | None = None,
    key_lengths: NDArray[Any] | None = None,
    fallback: str = "exact",
    memory: int = 1 << 30,
    threads: int | None = None,
    progress: bool | Callable[[int, int], None] = False,
) -> Certified:
    """Attention of (batch, heads, length, dim) arrays, float32 or float64, within ``error`` of the exact result.

    query (b, h_q, n_q, d), key (b, h_k, n_k, d), value (b, h_k, n_k, d_v), ``scale``, ``is_causal``, ``causal``,
    ``window`` and ``key_lengths`` are as in :class:`assay.spec.attention.Instance`.  ``error``: the largest
    admissible error, absolute, in units of the output.  The returned value has the dtype of the inputs; the returned
    ``error`` has shape (b, h_q, 1, d_v) and is at most the one requested.

    fallback: ``"exact"`` takes the faster of two routes as predicted, the polynomial one and the exact tiled kernel (in
    float64 where ``error`` needs that), and the exact kernel too where the polynomial route cannot be certified;
    ``"raise"`` insists on the polynomial route.  memory: the most bytes of working storage besides the output.
    threads: the most threads (default: the CPUs of this process); the result does not depend on their number.
    progress: True shows a bar; a function is called with (points done, points in all).

    Let r = C(d + g, g) be the rank for degree g, where d is the head dimension, or the numerical rank of the keys where
    that is less.  The time is O(n·r·(d_v + 1)) and the memory O(threads·r·(d_v + 1)).  A causal mask or a window takes
    up to 40 times the memory.  Where the kurtosis of the keys is measured, at most C(d + 2, 2)² may take the place of
    r·(d_v + 1).

    Source: ATT-1 … ATT-5, ATT-7, ATT-8 and ATT-10 of proofs_notes/attention.md.  Raises
    :class:`~assay.spec.problem.InvalidInstance` for bad input, ``ValueError`` for other bad arguments, and
    :class:`~assay.spec.approximation.Infeasible` where no route can be certified to ``error``.

    >>> x = np.arange(3.0).reshape(1, 1, 3, 1)
    >>> found = approximate(x, x, x, error=1e-6, fallback="raise")
    >>> np.round(found.value, 5).ravel(), bool((found.error <= 1e-6).all())
    (array([1.     , 1.57521, 1.85094]), True)
    """
    require_usual()
    instance = Instance(query, key, value, scale, is_causal, causal, window, key_lengths=key_lengths)
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
    found = list(heads(instance))
    exactly = functools.cache(lambda: _exact_class(instance, found, float(error)))  # one more pass over the keys
    try:
        sketches = [sketched(head, float(error), memory, workers) for head in found]
        if fallback == "exact":
            _require_faster(sketches, query.dtype.name, exactly)
        with told(progress, "attention") as tell:
            return _polynomial(instance, sketches, memory, workers, tell)
    except Infeasible as reason:
        if fallback == "raise":
            raise
        return _exact(instance, *exactly(), float(error), memory, workers, str(reason))


def _require_faster(sketches: list[Sketch], own: str, exactly: Callable[[], tuple[str, Array]]) -> None:
    """Raise :class:`Infeasible` unless the polynomial route is predicted to be faster than the exact kernel.

    The exact kernel is taken in the type that the error needs.  That type is looked for only where the exact kernel in
    the type of the inputs would be faster than the polynomial route.
    """
    polynomial, quadratic = 0.0, {own: 0.0, "float64": 0.0}
    of = costs.in_use(costs.Attention)
    for sketch in sketches:
        head = sketch.head
        (group, n_q, d), (n_k, d_v) = head.queries.shape, head.value.shape
        polynomial += sketch.cost
        pairs = n_k
        if head.banded:
            ends = (head.band.left < n_k) + (head.band.right < n_k)  # a row adds half a chunk of keys at each
            polynomial += group * n_q * min(ends * features.CHUNK // 2, n_k) * (of.near + of.near_column * (d + d_v))
            pairs = min(n_k, head.band.left + head.band.right + 1) if head.band.left < n_k else -(-n_k // 2)
        for name in quadratic:
            fixed, each = of.exact(name)
            quadratic[name] += group * n_q * pairs * (fixed + each * (d + d_v))
    if polynomial <= quadratic[own]:
        return
    name, bound = exactly()
    if bound.max() <= sketches[0].error and polynomial > quadratic[name]:
        largest = max(sketch.rank for sketch in sketches)
        raise Infeasible(
            f"rank {largest} is predicted to cost {polynomial / 1e6:.3g} ms of a core, "
            f"and exact {quadratic[name] / 1e6:.3g}"
        )


def _polynomial(
    instance: Instance, sketches: list[Sketch], memory: int, workers: int, tell: Callable[[int, int], None]
) -> Certified:
    b, h_q, n_q, _ = instance.query.shape
    d_v, group = instance.value.shape[3], instance.group
    value = np.zeros((b, h_q, n_q, d_v), instance.query.dtype)
    certified = np.zeros((b, h_q, 1, d_v))
    points = [sum(sketch.head.points for sketch in sketches), 0]

    def advance(count: int) -> None:
        points[1] = min(points[1] + count, points[0])  # a head with a second plan is passed twice
        tell(points[1], points[0])

    plans = []
    with Borrowed(workers) as pool:
        team = Team(pool, workers, advance)
        for sketch in sketches:
            head = sketch.head
            if len(head.key) == 0:  # every key is absent: the output is 0, exactly
                advance(head.points)
                continue
            members = slice(head.number * group, (head.number + 1) * group)
            plan, bounds = _served(sketch, value[head.batch, members], memory, team)
            plans.append(plan)
            certified[head.batch, members, 0] = bounds
    return Certified(value, certified, _route(plans, float(certified.max())))


def _served(sketch: Sketch, out: NDArray[Any], memory: int, team: Team) -> tuple[Plan, Array]:
    """Compute one head into ``out`` (group, n_q, d_v): its plan, and its certificate (group, d_v).

    A second plan is made where a guess behind the first one was wrong.
    """
    head, error = sketch.head, sketch.error
    for last in (False, True):
        sketch, plan = realised(sketch, memory, team)
        found = passed(head, plan, out, team)
        bounds = np.array([certificate(head, plan, each, sketch.deviation) for each in found])
        if bounds.max() <= error:
            return plan, bounds
        if last or not bounds.max() < math.inf:
            break
        sketch = corrected(sketch, plan, functools.reduce(Extremes.joined, found), memory, team.workers)
    raise Infeasible(f"error {error:g}: the certificate after rounding is {float(bounds.max()):.2g}")


def _route(plans: list[Plan], worst: float) -> str:
    if not plans:
        return "polynomial: no keys at all, certified error 0"

    def spanned(numbers: list[int]) -> str:
        return f"{min(numbers)}" if min(numbers) == max(numbers) else f"{min(numbers)} to {max(numbers)}"

    moments = sorted({plan.measure.order for plan in plans} - {0})
    by_moments = f", by moments of order {' and '.join(map(str, moments))}" if moments else ""
    if largest := max(plan.measure.kurtosis for plan in plans):
        by_moments += f" of keys of kurtosis at most {largest:.3g}"
    return (
        f"polynomial: degree {spanned([plan.approximation.degree for plan in plans])}, "
        f"rank {spanned([plan.table.rank for plan in plans])}, "
        f"scores within ±{max(plan.frame.radius for plan in plans):.3g} by norms, "
        f"certified error {worst:.2g}{by_moments}"
    )


def _exact_class(instance: Instance, found: list[Head], error: float) -> tuple[str, Array]:
    """The type in which the exact kernel is within ``error`` by ATT-8, and its bounds (b, h_q, 1, d_v).

    It is the type of the inputs if that suffices, and otherwise float64, whether or not that suffices.
    """
    (b, h_q, _, d), (n_k, d_v), group = instance.query.shape, instance.value.shape[2:], instance.group
    own, origin = instance.query.dtype.name, features.centred(np.zeros(d))
    norms = [features.largest_norms(head.key, origin)[0] if len(head.key) else 0.0 for head in found]
    name, bound = own, np.zeros((b, h_q, 1, d_v))
    for name in dict.fromkeys((own, "float64")):
        for head, norm in zip(found, norms, strict=True):
            here = exact_bound(precision(name), n_k, d, head.scale, head.query_norm, norm, head.magnitude, head.spread)
            if name != own:
                relative, absolute = STORED[own]
                here = (here + relative * (head.magnitude + here)) * SLACK + absolute
            here = np.where(np.isnan(here), math.inf, here)
            bound[head.batch, head.number * group : (head.number + 1) * group, 0] = here
        if bound.max() <= error:
            break
    return name, bound


def _exact(
    instance: Instance, name: str, bound: Array, error: float, memory: int, workers: int, reason: str
) -> Certified:
    """The result of the tiled kernel in the type ``name``; its route gives the reason for taking this kernel."""
    query, key, value = instance.query, instance.key, instance.value
    if not (best := float(bound.max())) <= error:
        raise Infeasible(f"{reason}; and the exact kernel is certified only to {best:.2g} of the {error:g} requested")
    need = storage(instance, workers)
    if name != query.dtype.name:
        need += 8 * (query.size + key.size + value.size + math.prod(query.shape[:3]) * value.shape[3])
    if need > memory:
        raise Infeasible(
            f"{reason}; and the exact kernel in {name} needs {need / 2**20:.1f} MiB of the {memory / 2**20:.1f} allowed"
        )
    work = np.dtype(name)
    q, k, v = (x.astype(work, copy=False) for x in (query, key, value))
    out = exact(
        q, k, v, instance.scale, causal=instance.causal, window=instance.window, key_lengths=instance.key_lengths,
        threads=workers,
    )  # fmt: skip
    with np.errstate(over="ignore"):
        out = out.astype(query.dtype, copy=False)
    return Certified(out, bound, f"exact in {name}, certified error {float(bound.max()):.2g}: {reason}")
