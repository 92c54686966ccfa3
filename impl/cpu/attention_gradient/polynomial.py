"""The gradient of attention in almost linear time where scores are small, with a certificate.

A polynomial P of the least degree that the requested error allows takes the place of exp, and all three gradients come
from sums of monomials of one degree more (proofs_notes/attention_gradient_fast.md, GRAD-5 to GRAD-7; Alman and Song
2024 for the idea that low rank suffices).  The result is the exact covariance under the weights P, not the derivative
of a fast forward pass, whose polynomial would be P′.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from assay.impl.cpu import features
from assay.impl.cpu.attention.choice import framed, least_errors
from assay.impl.cpu.attention.heads import heads
from assay.impl.cpu.attention.passes import Team
from assay.impl.cpu.attention_gradient.certificate import STORED, bounds, sizes
from assay.impl.cpu.attention_gradient.passes import passed
from assay.impl.cpu.attention_gradient.plan import Plan
from assay.impl.cpu.attention_gradient.sweeps import GROUP
from assay.impl.cpu.certified import Certified
from assay.impl.cpu.progress import told
from assay.impl.cpu.threads import Borrowed, available, require_number
from assay.spec.approximation import Infeasible, exp_of_degree
from assay.spec.attention.perturbation import output_error
from assay.spec.attention_gradient.instance import Instance
from assay.spec.floating_point import require_usual
from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from assay.impl.cpu.attention.heads import Head
    from assay.impl.cpu.attention_gradient.certificate import Bounds, Sizes
    from assay.impl.cpu.attention_gradient.passes import Sums

    Array = NDArray[np.float64]

__all__ = ["Gradients", "Infeasible", "approximate"]

_MOST_DEGREE = 40
_SMALLEST_RADIUS = 2.0**-20
_RADII = 64  # per octave
_ROOM = 0.95  # the part of the error that a predicted one may take
_GATHERED = (1.02, 0.25)  # the largest weights of a key over their mean, for scores within R: a·e^(bR²), a guess
_OFF_CENTRE = 1.1  # (H + |δ|)/H: a guess, measured afterwards
_TRIED = 3  # plans
_RANGE, _LEAST_UNIT = 780, 1000  # powers of two
_LOST = 2.0**-1072  # what the last products of a certificate lose to underflow


class Gradients(NamedTuple):
    """The three gradients, each with its certified error."""

    query: Certified
    key: Certified
    value: Certified


def approximate(
    query: NDArray[Any],
    key: NDArray[Any],
    value: NDArray[Any],
    output: NDArray[Any] | None,
    log_sum_exp: NDArray[Any] | None,
    grad_output: NDArray[Any],
    error: float | tuple[float, float, float] = 1e-6,
    *,
    scale: float | None = None,
    is_causal: bool = False,
    causal: str | None = None,
    window: tuple[int | None, int | None] | None = None,
    key_lengths: NDArray[Any] | None = None,
    memory: int = 1 << 30,
    threads: int | None = None,
    progress: bool | Callable[[int, int], None] = False,
) -> Gradients:
    """(dQ, dK, dV) of attention, each element within ``error`` of the exact gradient and with its own certificate.

    The arguments are those of :func:`assay.impl.cpu.attention_gradient.exact`, in float32 or float64, without mask,
    bias, softcap, sink and gradient of the log-sum-exp.  ``output`` and ``log_sum_exp`` are not read and may be
    ``None``: the weights that replace e^s have their own sums.  error: the largest admissible error, absolute, in units
    of the gradients; one number, or one for each of dQ, dK and dV.  memory: the most bytes of tables of moments.
    threads: the most threads (default: the CPUs of this process); the result does not depend on their number.
    progress: True shows a bar; a function is called with (points done, points in all).

    Returns :class:`Gradients`; the errors have the shapes of the values.  Let r = C(d + g + 1, g + 1) for a polynomial
    of degree g.  The time is O(n·r·(d_v + 1)); the memory beside the results is O(threads·r·d_v), and with a mask
    O(n·d_v) and a table for every 8,192 points.

    Source: GRAD-5, GRAD-6 and GRAD-7.  Raises :class:`~assay.spec.problem.InvalidInstance` for bad input,
    ``ValueError`` for other bad arguments and :class:`~assay.spec.approximation.Infeasible` where the polynomial route
    cannot be certified to ``error``; :func:`~assay.impl.cpu.attention_gradient.exact` always can be called.

    >>> x = np.arange(3.0).reshape(1, 1, 3, 1)
    >>> found = approximate(x, x, x, None, None, np.ones_like(x), error=1e-6, is_causal=True)
    >>> np.round(found.value.value, 5).ravel(), bool((found.value.error <= 1e-6).all())
    (array([1.28482, 0.84837, 0.86681]), True)
    """
    require_usual()
    for name, array in (("output", output), ("log_sum_exp", log_sum_exp)):
        if array is not None and array.shape[:3] != query.shape[:3]:
            raise InvalidInstance(f"{name}: shape {array.shape}, expected {query.shape[:3]} and columns")
    instance = Instance(query, key, value, grad_output, scale, is_causal, causal, window, key_lengths=key_lengths)
    errors = _errors(error)
    require_number(threads)
    return gradients(instance, errors, 0.0, memory, threads or available(), progress)


def gradients(
    instance: Instance, errors: tuple[float, float, float], shift: float, memory: int, workers: int,
    progress: bool | Callable[[int, int], None] = False,
) -> Gradients:  # fmt: skip
    """:func:`approximate` for an instance whose scores may each be off by ``shift``, but for a constant of the row."""
    query, key, value = instance.query, instance.key, instance.value
    for x in (query, key, value, instance.grad_output):
        if x.dtype.name not in STORED or not x.dtype.isnative:
            raise InvalidInstance(f"query: dtype {x.dtype.str}, expected float32 or float64 of this machine")
    results = [np.zeros(x.shape, query.dtype) for x in (query, key, value)]
    certified = [np.zeros(x.shape) for x in (query, key, value)]
    group, plans = query.shape[1] // key.shape[1], []
    forward = instance.forward()
    total = key.shape[0] * key.shape[1] * key.shape[2] + query.shape[0] * query.shape[1] * query.shape[2]
    done = [0]
    with told(progress, "gradient of attention") as tell, Borrowed(workers) as pool:

        def advance(count: int) -> None:
            done[0] = min(done[0] + count, total)  # a head with a second plan is passed twice
            tell(done[0], total)

        team = Team(pool, workers, advance)
        for head in heads(forward):
            members = slice(head.number * group, (head.number + 1) * group)
            grads = instance.grad_output[head.batch, members]
            length = len(head.key)
            if length == 0 or not grads.any():  # nothing is attended to, or no gradient comes in: 0, exactly
                continue
            job = _Job(head, sizes(head, grads), grads, errors, shift, memory, workers)
            rows = results[0][head.batch, members]
            plan, sums, bound = _served(job, rows, team)
            plans.append(plan)
            at = (head.batch, head.number, slice(0, length))
            with np.errstate(over="ignore"):
                results[1][at] = sums.grad_key * (plan.size * plan.shrink)
                results[2][at] = sums.grad_value / plan.lift
            _write(certified[0][head.batch, members], rows, bound.query, bound.flat[0])
            _write(certified[1][at], results[1][at], bound.key, bound.flat[1])
            _write(certified[2][at], results[2][at], bound.value, bound.flat[2])
    worst = [float(x.max(initial=0.0)) for x in certified]
    for name, most, asked in zip(("query", "key", "value"), worst, errors, strict=True):
        if not most <= asked:
            raise Infeasible(f"error {asked:g} of grad_{name}: the certificate after rounding is {most:.2g}")
    route = _route(plans, worst)
    return Gradients(*(Certified(x, e, route) for x, e in zip(results, certified, strict=True)))


@dataclass(frozen=True, eq=False)
class _Job:
    """One head, what is asked for, and what it may take."""

    head: Head
    size: Sizes
    grads: NDArray[Any]
    errors: tuple[float, float, float]
    shift: float
    memory: int
    workers: int


def _errors(error: Any) -> tuple[float, float, float]:
    three = error if isinstance(error, tuple) else (error, error, error)
    good = len(three) == 3 and all(
        isinstance(x, (int, float, np.number)) and not isinstance(x, bool) and 0.0 < x < math.inf for x in three
    )
    if not good:
        raise ValueError(f"error: {error!r}, expected a positive finite number, or three")
    return float(three[0]), float(three[1]), float(three[2])


def _write(to: Array, value: NDArray[Any], factors: tuple[Array, Array], flat: Any) -> None:
    """The certificate of every element: the bound, and the rounding of the stored value."""
    relative, absolute = STORED[value.dtype.name]
    np.multiply(factors[0][..., None], factors[1], out=to)
    to += flat + absolute + _LOST
    to += np.abs(value) * (1.01 * relative + 2.0**-50)
    to *= 1.0 + 2.0**-40
    if not (np.isfinite(value).all() and np.isfinite(to).all()):
        np.copyto(to, math.inf, where=~np.isfinite(value) | np.isnan(to))


def _served(job: _Job, rows: NDArray[Any], team: Team) -> tuple[Plan, Sums, Bounds]:
    """Compute one head: write grad_query to ``rows`` and return the plan, the sums and the certificate.

    A plan of a higher degree is made where the guess behind the first one was wrong.
    """
    gathered, least = np.full(2, math.nan), 0
    best = math.inf
    for _ in range(_TRIED):
        plan = _planned(job, gathered, least)
        sums = passed(plan, job.head, job.grads, job.size.weights, rows, team)
        bound = bounds(plan, job.head, job.size, sums, job.shift)
        if bound is None:
            break
        over = max(most / asked for most, asked in zip(bound.largest, job.errors, strict=True))
        if over <= 1.0:
            return plan, sums, bound
        best, gathered, least = min(best, over), sums.near.max(axis=0), plan.degree + 1
    raise Infeasible(
        f"error {job.errors}: the certificate after rounding is {best:.3g} times as large, scores within "
        f"±{plan.frame.radius:.3g}"
    )


def _planned(job: _Job, gathered: Array, least: int) -> Plan:
    """The plan of the least degree, at least ``least``, that is predicted to meet the errors.

    gathered (2,): the largest sums of weights over the queries of one key, where they were measured, else NaN.
    """
    head, size = job.head, job.size
    frame = framed(head)
    least_over_mean, growth = _GATHERED
    first, second, reach = (size.weights[..., number] for number in range(3))
    mean = np.array([first.sum(), _OFF_CENTRE * (second * reach).sum()]) / len(head.key)
    guess = mean * least_over_mean * math.exp(growth * min(frame.radius, 1.0) ** 2)
    if head.banded:
        guess = guess * (1.0 + math.log(len(head.key)))
    gathered = np.where(np.isnan(gathered), guess, gathered)
    radius = max(frame.radius, _SMALLEST_RADIUS)
    radius = max(2.0 ** (math.ceil(math.log2(radius) * _RADII) / _RADII), radius)
    lift = _lift(head, size)
    for degree in range(least, _MOST_DEGREE + 1):
        if not _meets(job, gathered, least_errors(radius)[degree] if degree < 60 else 0.0, 0.9):
            continue
        found = exp_of_degree(radius, degree)
        if not (found.error < 0.5 and _meets(job, gathered, found.error, 1.0)):
            continue
        plan = Plan(found, frame, *lift)
        _require_range(plan, size)
        need = _need(job, plan.rank)
        if need > job.memory:
            raise Infeasible(
                f"rank {plan.rank} (degree {degree} and one more, scores up to {frame.radius:.3g}) needs "
                f"{need / 2**20:.0f} MiB of the {job.memory / 2**20:.0f} MiB allowed"
            )
        return plan
    raise Infeasible(f"error {job.errors}: scores up to {frame.radius:.3g} need a degree above {_MOST_DEGREE}")


def _meets(job: _Job, gathered: Array, error: float, part: float) -> bool:
    """Whether a relative error of the polynomial is predicted to leave room below the errors that were asked for."""
    error = part * (error + math.expm1(job.shift))
    if not error < 0.5:
        return False
    tau, factor, size = output_error(error), 2.0 * error / (1.0 - error), job.size
    sigma = abs(job.head.scale)
    predicted = (
        sigma * tau * (1.0 + tau) * float(size.reach.max() * size.ranges.max()),
        sigma * factor * float(gathered[1] * size.query.max()),
        factor * float(gathered[0] * size.grad.max()),
    )
    return all(x <= _ROOM * asked for x, asked in zip(predicted, job.errors, strict=True))


def _lift(head: Head, size: Sizes) -> tuple[Array, float]:
    """Powers of two by which dO is multiplied, in the proportions of the units of V, and what undoes them."""
    largest = float((size.grad * head.grow).max())
    if not 0.0 < largest < math.inf:
        raise Infeasible(
            f"gradients and values of up to {largest:.3g} in size, of which float64 does not hold products"
        )
    power = math.frexp(largest)[1]
    if abs(power) > 500:
        raise Infeasible(f"gradients times values of about 2^{power}, of which 2^-500 to 2^500 are served")
    return head.grow * math.ldexp(1.0, -power), math.ldexp(1.0, power)


def _require_range(plan: Plan, size: Sizes) -> None:
    """Refuse sizes whose products, in a certificate or in units of a result, float64 may lose (GRAD-7, step 8)."""
    largest = float(size.query.max(initial=0.0))
    factor, unit, shrink, query = (math.frexp(abs(x))[1] for x in (plan.factor, plan.size, plan.shrink, largest))
    scaled = plan.factor == 0.0 or (factor >= -_RANGE and factor + unit >= -_LEAST_UNIT)
    if not (scaled and shrink <= _RANGE and unit + shrink - max(query, 0) >= -_RANGE):
        raise Infeasible(
            f"gradients times values of about 2^{unit} beside keys of about 2^{-shrink}, queries of about 2^{query} "
            f"and their product with the scale, {plan.factor:.3g}: float64 does not hold all products"
        )


def _need(job: _Job, rank: int) -> int:
    """The bytes of tables and features that a plan takes."""
    head, w = job.head, int(job.head.value.shape[1]) + 4
    tables = job.workers * (3 * GROUP // features.CHUNK if head.banded else 6) + 8
    tables += -(-len(head.key) // features.BLOCK) + -(-int(head.queries.shape[1]) // features.BLOCK)
    return 8 * (rank * w * tables + job.workers * features.CHUNK * (2 * rank + 300 + 3 * w))


def _route(plans: list[Plan], worst: list[float]) -> str:
    if not plans:
        return "polynomial: nothing to compute, certified error 0"

    def spanned(numbers: list[int]) -> str:
        return f"{min(numbers)}" if min(numbers) == max(numbers) else f"{min(numbers)} to {max(numbers)}"

    return (
        f"polynomial: degree {spanned([plan.degree for plan in plans])}, "
        f"rank {spanned([plan.rank for plan in plans])}, "
        f"scores within ±{max(plan.frame.radius for plan in plans):.3g} by norms, "
        f"certified errors {', '.join(f'{x:.2g}' for x in worst)}"
    )
