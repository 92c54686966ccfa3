"""Attention with relative positions in almost linear time where scores are small, with a certificate.

Three routes compute the same thing.  The *polynomial* route rotates queries and keys first and forgets the positions
(ROPE-3); it serves rotary attention without a bias.  The *Fourier* route serves everything that depends on i − j alone
(ROPE-2, ROT-5).  The *exact* kernel serves the rest, and what it is predicted to do faster.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu import attention, costs
from assay.impl.cpu.attention.certificate import STORED
from assay.impl.cpu.attention.choice import sketched
from assay.impl.cpu.attention.heads import heads
from assay.impl.cpu.attention.passes import Team
from assay.impl.cpu.attention.plan import SLACK, U
from assay.impl.cpu.attention.tiles import storage
from assay.impl.cpu.certified import Certified
from assay.impl.cpu.progress import told
from assay.impl.cpu.rope_attention import fourier
from assay.impl.cpu.rope_attention.bound import exact_error
from assay.impl.cpu.rope_attention.jobs import longest
from assay.impl.cpu.rope_attention.tiles import attended
from assay.impl.cpu.rope_attention.turned import OFF, turned
from assay.impl.cpu.threads import Borrowed, available, require_number
from assay.spec.approximation import Infeasible
from assay.spec.attention.instance import Instance as Attention
from assay.spec.floating_point import require_usual
from assay.spec.precision import precision
from assay.spec.problem import InvalidInstance
from assay.spec.rope_attention.instance import Instance

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from assay.impl.cpu.rope_attention.turned import Turned

    Array = NDArray[np.float64]

__all__ = ["ROUTES", "Infeasible", "approximate"]

ROUTES = ("polynomial", "fourier", "exact")

_POLYNOMIAL = 2.0  # times the prediction of attention's polynomial method: arrays are turned and converted besides


def approximate(
    query: NDArray[Any],
    key: NDArray[Any],
    value: NDArray[Any],
    relative: NDArray[Any] | None = None,
    error: float = 1e-6,
    scale: float | None = None,
    *,
    support: tuple[tuple[int, int], ...] | None = None,
    base: float = 10000.0,
    layout: str = "halves",
    rotary_dim: int | None = None,
    scaling: str | None = None,
    factor: float | None = None,
    original_length: int | None = None,
    low_frequency: float | None = None,
    high_frequency: float | None = None,
    truncate: bool = True,
    attention_factor: float | None = None,
    query_positions: NDArray[np.integer[Any]] | None = None,
    key_positions: NDArray[np.integer[Any]] | None = None,
    relative_bias: NDArray[Any] | None = None,
    is_causal: bool = False,
    causal: str | None = None,
    window: tuple[int | None, int | None] | None = None,
    key_lengths: NDArray[Any] | None = None,
    route: str | None = None,
    memory: int = 1 << 30,
    threads: int | None = None,
    progress: bool | Callable[[int, int], None] = False,
) -> Certified:
    """Attention with relative positions of float32 or float64 arrays, within ``error`` of the exact result.

    The arrays and options are as in :class:`assay.spec.rope_attention.Instance`.  ``error``: the largest admissible
    error, absolute, in units of the output.  The returned value has the dtype of the inputs; the returned ``error`` has
    shape (b, h_q, 1, d_v) and is at most the one requested.

    route: ``None`` takes the route that is predicted to be the fastest of those that can be certified.
    ``"polynomial"``, ``"fourier"`` or ``"exact"`` insists on one.  memory: the most bytes of working storage besides
    inputs, outputs, and queries and keys that are rotated or converted; what needs more is refused.
    threads: the most threads (default: the CPUs of this process); the result does not depend on their number.
    progress: True shows a bar; a function is called with (done, in all).

    With S places in the support and degree g, the Fourier route makes C(S + g, g) products with Toeplitz matrices for
    each column of the values and one more: O(C(S + g, g)·n log n·(d_v + 1)) time, and memory O(n·(d_v + g)).

    Source: ROPE-2, ROPE-3, ROPE-6, ROPE-7, ROT-5, FFT-1 and FFT-2 of proofs_notes/rope_attention_fast.md.  Raises
    :class:`~assay.spec.problem.InvalidInstance` for bad input, ``ValueError`` for other bad arguments, and
    :class:`~assay.spec.approximation.Infeasible` where no route can be certified to ``error``.

    >>> x = np.arange(6.0).reshape(1, 1, 3, 2) / 8
    >>> decay = np.array([[1.0, 1.0, 1.0, 0.5, 0.25]])
    >>> found = approximate(x, x, x, decay, support=((0, 1),), error=1e-6, is_causal=True, route="fourier")
    >>> np.round(found.value[0, 0, :, 0], 4), bool((found.error <= 1e-6).all())
    (array([0.    , 0.1285, 0.2677]), True)
    """
    require_usual()
    instance = Instance(
        query, key, value, relative, scale, support, base, layout, rotary_dim, scaling, factor, original_length,
        low_frequency, high_frequency, truncate, attention_factor, query_positions, key_positions, relative_bias,
        is_causal, causal, window, key_lengths=key_lengths,
    )  # fmt: skip
    if query.dtype.name not in STORED:
        raise InvalidInstance(f"query: dtype {query.dtype.name}, expected float32 or float64")
    if not query.dtype.isnative:
        raise InvalidInstance(f"query: dtype {query.dtype.str}, expected the byte order of this machine")
    if isinstance(error, bool) or not isinstance(error, (int, float, np.number)) or not 0.0 < error < math.inf:
        raise ValueError(f"error: {error!r}, expected a positive finite number")
    if route not in (None, *ROUTES):
        raise ValueError(f"route: {route!r}, expected one of {', '.join(ROUTES)} or None")
    require_number(threads)
    if memory < 1:
        raise ValueError(f"memory: {memory!r}, expected a positive number of bytes")
    request = _Request(instance, float(error), memory, threads or available(), progress)
    if route == "exact":
        return _exact(request, "as asked for")
    scores = turned(instance, np.dtype(np.float64), request.workers)
    makers = {"polynomial": _polynomial, "fourier": _fourier}
    if route is not None:
        return makers[route](request, scores).compute()
    refused, offers = [], []
    for name, maker in makers.items():
        try:
            offers.append(maker(request, scores))
        except Infeasible as reason:
            refused.append(f"{name}: {reason}")
    best = min(offers, key=lambda offer: offer.cost, default=None)
    quadratic = _exact_cost(instance, query.dtype.name)
    if best is not None and best.cost <= quadratic:
        try:
            return best.compute()
        except Infeasible as reason:
            refused.append(f"{best.name}: {reason}")
    elif best is not None:
        refused.append(
            f"{best.name} is predicted to cost {best.cost / 1e6:.3g} ms of a core, and exact {quadratic / 1e6:.3g}"
        )
    return _exact(request, "; ".join(refused))


@dataclass(frozen=True, eq=False)
class _Request:
    instance: Instance
    error: float
    memory: int
    workers: int
    progress: bool | Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class _Offer:
    """A route that is predicted to meet the request: the time that it may take, in nanoseconds of one core."""

    name: str
    cost: float
    compute: Callable[[], Certified]


def _fourier(request: _Request, scores: Turned) -> _Offer:
    plans = fourier.planned(request.instance, scores, request.error)

    def compute() -> Certified:
        total, done = sum(plan.columns for plan in plans), 0
        with told(request.progress, "attention") as tell, Borrowed(request.workers) as pool:

            def advance(count: int) -> None:
                nonlocal done
                done = min(done + count, total)  # a job with a second polynomial is passed twice
                tell(done, total)

            team = Team(pool, request.workers, advance)
            output, bounds, words = fourier.computed(
                request.instance, scores, plans, request.error, request.memory, team
            )
        return Certified(output, bounds, f"fourier: {words}")

    return _Offer("fourier", sum(plan.cost for plan in plans), compute)


def _polynomial(request: _Request, scores: Turned) -> _Offer:
    """Rotated queries and keys, whose products are the scores (ROPE-3)."""
    instance = request.instance
    if instance.relative is not None or instance.relative_bias is not None:
        raise Infeasible("W or a bias of its own for every offset is no product of a query's and a key's rotation")
    value, unit = instance.value.astype(np.float64), STORED[instance.query.dtype.name]
    assert instance.scale is not None
    reach = longest(np.moveaxis(scores.query, 3, 0)) * longest(np.moveaxis(scores.key, 3, 0))
    moved = math.tanh(OFF["float64"] * U * abs(instance.scale) * reach * SLACK / 2.0)
    size, spread = np.abs(value).max(axis=2, keepdims=True), np.ptp(value, axis=2, keepdims=True)
    beside = np.repeat(moved * spread + unit[0] * size * 1.01 + unit[1], instance.group, axis=1) * SLACK
    left = request.error - 1.01 * float(beside.max())
    if not left > request.error / 2.0:
        raise Infeasible(f"error {request.error:g}: rounding alone may cost {float(beside.max()):.2g}")
    options: dict[str, Any] = {
        "causal": instance.causal, "window": instance.window, "key_lengths": instance.key_lengths
    }  # fmt: skip
    plain = Attention(scores.query, scores.key, value, instance.scale, **options)
    with np.errstate(over="ignore"):  # an error that is far above the values
        cost = sum(sketched(head, left, request.memory, request.workers).cost for head in heads(plain))
    ends = (instance.causal is not None) + sum(side is not None for side in instance.window or ())
    n_q, n_k = instance.query.shape[2], instance.key.shape[2]
    columns = instance.query.shape[3] + instance.value.shape[3]
    of = costs.in_use(costs.RopeAttention)
    near = of.near + of.near_column * columns
    cost += instance.query.shape[0] * instance.query.shape[1] * n_q * min(64 * ends, n_k) * near

    def compute() -> Certified:
        with np.errstate(over="ignore"):
            found = attention.approximate(
                scores.query, scores.key, value, left, instance.scale, **options, fallback="raise",
                memory=request.memory, threads=request.workers, progress=request.progress,
            )  # fmt: skip
            output = found.value.astype(instance.query.dtype, copy=False)
        bound = (found.error * (1.0 + unit[0]) + beside) * SLACK
        if not float(bound.max()) <= request.error:
            raise Infeasible(f"error {request.error:g}: the certificate after rounding is {float(bound.max()):.2g}")
        return Certified(output, bound, f"rotated, then {found.route}")

    return _Offer("polynomial", _POLYNOMIAL * cost, compute)


def _exact(request: _Request, reason: str) -> Certified:
    """The exact kernel in the type of the inputs, or in float64 where the error needs that."""
    instance, best = request.instance, math.inf
    for name in dict.fromkeys((instance.query.dtype.name, "float64")):
        if (need := _storage(request, name)) > request.memory:
            raise Infeasible(
                f"{reason}; and the exact kernel in {name} needs {need / 2**20:.1f} MiB "
                f"of the {request.memory / 2**20:.1f} allowed"
            )
        scores = turned(instance, np.dtype(name), request.workers)
        bound = exact_error(instance, scores, precision(name))
        best = float(bound.max())
        if best <= request.error:
            with np.errstate(over="ignore"):
                output = attended(instance, scores, request.workers)[0].astype(instance.query.dtype, copy=False)
            return Certified(output, bound, f"exact in {name}, certified error {best:.2g}: {reason}")
    raise Infeasible(f"{reason}; and the exact kernel is certified to {best:.2g}, not {request.error:g}")


def _storage(request: _Request, name: str) -> int:
    """The working storage of the exact kernel in a type, in bytes."""
    instance = request.instance
    need = storage(instance, request.workers)
    if name != instance.query.dtype.name:
        need += 8 * (instance.value.size + math.prod(instance.query.shape[:3]) * instance.value.shape[3])
        need += 8 * (0 if instance.relative is None else instance.relative.size)
    return need + 8 * (0 if instance.relative_bias is None else instance.relative_bias.size)


def _exact_cost(instance: Instance, dtype: str) -> float:
    """The predicted time of the exact kernel, in nanoseconds of one core."""
    (b, h_q, n_q, d), (n_k, d_v) = instance.query.shape, instance.value.shape[2:]
    fixed, column, place, biased = costs.in_use(costs.RopeAttention).exact(dtype)
    each = fixed + column * d_v + (column * d if instance.support is None else place * len(instance.support))
    each += biased if instance.relative_bias is not None else 0.0
    left, right = instance.window or (None, None)
    keys = n_k if instance.causal is None else n_k / 2.0
    if left is not None:
        keys = min(keys, left + (0 if instance.causal is not None else n_k if right is None else right) + 64)
    return float(b * h_q * n_q * min(keys, n_k) * each)
