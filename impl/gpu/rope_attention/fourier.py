"""The polynomial method through Fourier transforms on a GPU: everything that depends on i − j alone (ROPE-2, ROT-5).

It is that of :mod:`assay.impl.cpu.rope_attention.fourier`, with transforms of complex rows, each of two columns.  The
host goes through the monomials; all numbers, and the bound of the error, stay on the device.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.attention.choice import least_errors
from assay.impl.cpu.attention.plan import SLACK, U
from assay.impl.cpu.certified import Certified
from assay.impl.cpu.rope_attention.certificate import roundings
from assay.impl.cpu.rope_attention.monomials import MOST_DEGREE, components
from assay.impl.gpu import features, fourier
from assay.impl.gpu.attention.polynomial import settled
from assay.impl.gpu.choice import known
from assay.impl.gpu.machine import TYPES, Launch, struct, view
from assay.impl.gpu.rope_attention.products import Products, Sums, by_offset, framed, run, type_of, weighted
from assay.spec.approximation import Infeasible, exp_of_degree
from assay.spec.attention.perturbation import output_error, weight_error
from assay.spec.rounding import gamma

if TYPE_CHECKING:
    from assay.impl.gpu.choice import Known
    from assay.impl.gpu.machine import Machine
    from assay.impl.gpu.rope_attention.products import Heads
    from assay.spec.approximation import Approximation

__all__ = ["attended", "chosen", "granted", "together"]

_THREADS = 128  # as in polynomial.cuh
_LARGEST_RADIUS, _SMALLEST_RADIUS, _PER_OCTAVE = 40.0, 2.0**-20, 8  # of scores
_ROOM = 0.9  # the part of an error that a predicted one may take
_MOST_PRODUCTS = 1 << 14  # with Toeplitz matrices, for a column: each is a dozen launches or more
_LONGEST, _MOST_GROWTH = 2.0**8, 2.0**600  # of GPU-20: of a coordinate of a query, and of the sum of monomials
_VANISHED = 2.0**-300  # the most that underflow may lose, for each key


def attended(
    machine: Machine, heads: Heads, scale: float, error: float, bounds: tuple[float, ...] | None, memory: int
) -> Certified:
    """The result for arrays of the machine that fit; its type is that of the values.

    Source: GPU-20.  Raises :class:`~assay.spec.approximation.Infeasible`.
    """
    (b, h, n_q, _), (n_k, d_v) = heads.query.shape, heads.value.shape[2:]
    dtype = heads.value.dtype.name
    _, hull = settled(machine, heads.key, heads.value, heads.lengths)
    support = machine.laid(np.array(heads.support, np.int64).reshape(-1, 2))
    frame = framed(machine, heads, support, scale)
    told = known(machine, frame.reach, hull, bounds)
    approximation = chosen(told, error, dtype, heads.size, len(heads.support))
    rows, most = b * heads.per_batch * heads.rows, together(heads, approximation.degree, memory)

    products = Products(machine, heads, frame, weighted(machine, heads), hull, machine.laid(fourier.roots(heads.size)))
    shapes = ((b * h, d_v + 1, n_q), (b * h, n_q), (b * h, d_v + 1), (b * h,))
    sums = Sums(*(machine.empty(shape, np.float64) for shape in shapes))
    plain = products.symbols(None) if heads.relative is None else None
    for m, coefficient in enumerate(approximation.coefficients):
        for component in components(heads.support, m):
            for first in range(0, rows, most):
                products.add(sums, component, plain, float(coefficient), first, min(most, rows - first))

    out = machine.empty((b, h, n_q, d_v), heads.value.dtype)
    relative, absolute = features.STORED[dtype]
    arguments = struct(
        **heads.units(),
        sums=machine.address(sums.values),
        every=machine.address(sums.every),
        sums_lost=machine.address(sums.values_lost),
        every_lost=machine.address(sums.every_lost),
        reach=machine.address(frame.reach),
        least=machine.address(hull.least),
        largest=machine.address(hull.largest),
        middle=machine.address(hull.middle),
        grow=machine.address(hull.grow),
        weight_error=machine.address(products.weights.error),
        seen=machine.address(products.weights.seen),
        lengths=0 if heads.lengths is None else machine.address(heads.lengths),
        out=machine.address(out),
        type=TYPES.index(dtype),
        count=b * h * n_q,
        **granted(approximation, heads.support, n_k),
        relative=relative,
        absolute=absolute,
        most=features.MOST[dtype],
    )
    run(machine, "rope_certify", arguments, features.blocks(b * h * n_q))
    bound = sums.values  # a row has its bounds there now, the largest in place of Z
    _apart(products, support, bound, out, few(heads, approximation.degree), error)
    words = (
        f"fourier on the device: degree {approximation.degree}, {_products(len(heads.support), approximation.degree)} "
        f"monomials of scores, transforms of length {heads.size}, scores within ±{told.radius:.3g} "
        f"{'as measured' if bounds is None else 'as promised'}"
    )
    return Certified(out, bound[:, :d_v].max(axis=2).reshape(b, h, 1, d_v), words)


def _apart(products: Products, support: Any, bounds: Any, out: Any, few: int, error: float) -> None:
    """Compute rows with a bound above ``error`` from their scores, in heads with at most ``few`` of them."""
    machine, heads, frame, hull = products.machine, products.heads, products.frame, products.hull
    weights, dtype = products.weights, heads.value.dtype.name
    columns, queries = heads.value.shape[3], heads.query.shape[2]
    rows = (bounds[:, columns] > error).sum(axis=1).astype(np.int64)
    relative, absolute = features.STORED[dtype]
    arguments = struct(
        **heads.units(),
        query=view(machine, heads.query, heads.query.shape),
        key=view(machine, heads.key, heads.key.shape),
        value=view(machine, heads.value, heads.value.shape),
        relative=by_offset(machine, heads.relative),
        bias=by_offset(machine, heads.bias),
        shrink=machine.address(frame.shrink),
        unit=machine.address(frame.unit),
        factor=machine.address(frame.factor),
        reach=machine.address(frame.reach),
        least=machine.address(hull.least),
        largest=machine.address(hull.largest),
        middle=machine.address(hull.middle),
        grow=machine.address(hull.grow),
        largest_bias=machine.address(weights.largest),
        weight_error=machine.address(weights.error),
        support=machine.address(support),
        seen=machine.address(weights.seen),
        lengths=0 if heads.lengths is None else machine.address(heads.lengths),
        many=machine.address(rows),
        bounds=machine.address(bounds),
        out=machine.address(out),
        query_type=type_of(heads.query),
        key_type=type_of(heads.key),
        value_type=type_of(heads.value),
        relative_type=type_of(heads.relative),
        bias_type=type_of(heads.bias),
        type=TYPES.index(dtype),
        heads=heads.query.shape[1],
        key_heads=heads.key.shape[1],
        places=len(heads.support),
        few=few,
        asked=error,
        relative_unit=relative,
        absolute=absolute,
        most=features.MOST[dtype],
    )
    run(machine, "rope_apart", arguments, Launch(heads.query.shape[0] * heads.query.shape[1] * queries, _THREADS, 0))


def few(heads: Heads, degree: int) -> int:
    """How many rows of a head may be computed from their scores: those that take about as long as all transforms."""
    places, columns = len(heads.support), int(heads.value.shape[3]) + 1
    transformed = 2 * _products(places, degree) * columns * heads.size * heads.size.bit_length()
    found: int = transformed // (heads.key.shape[2] * (3 * places + 2 * columns + 30))
    return found


def granted(approximation: Approximation, support: tuple[tuple[int, int], ...], keys: int) -> dict[str, float]:
    """The numbers of the bound that the polynomial decides, as the kernel takes them (GPU-20)."""
    c, powers = np.abs(approximation.coefficients), approximation.interval[1] ** np.arange(approximation.degree + 1.0)
    rates = gamma(np.array(roundings(support, approximation.degree), np.float64), U)
    return {
        "radius": approximation.interval[1],
        "cut": output_error(approximation.error) * SLACK,
        "growth": float((rates * c * powers).sum()) * SLACK,
        "absolute_growth": float((c * powers).sum()) * SLACK,
        "rate": float(rates[0]) * SLACK,
        "vanished": _VANISHED * keys * max(float(c.sum()), 1.0) * SLACK,
    }


def together(heads: Heads, degree: int, memory: int) -> int:
    """How many rows are transformed together.  Raises :class:`Infeasible` where one is too much for the memory."""
    (b, h, n_q, d), (h_k, _, d_v) = heads.query.shape, heads.value.shape[1:]
    symbols, spectrum = heads.symbols[0] * heads.symbols[1], 16 * heads.size
    keys = max(len(component.keys) for m in range(degree + 1) for component in components(heads.support, m))
    held = 8 * b * h * (n_q + 2) * (d_v + 2) + b * h * n_q  # sums, then bounds, and which are large
    held += 8 * (b * h_k * (5 * d_v + 4) + b * h * (2 * d + 6))  # what frames the products, and extremes of values
    held += spectrum + symbols * (2 * spectrum + 26 * heads.offsets)  # roots; symbols, weights and what is seen
    each = (keys + 2) * spectrum + keys * (heads.size // 16 + 8)  # of columns, a sum and a spare; squares of norms
    found: int = min((memory - held) // each, b * heads.per_batch * heads.rows)
    if found < 1:
        raise Infeasible(f"transforms of length {heads.size} need more than the {memory / 2**20:.1f} MiB allowed")
    return found


def chosen(told: Known, error: float, dtype: str, size: int, places: int) -> Approximation:
    """The polynomial of least degree that is predicted to err by at most ``error``.  Raises :class:`Infeasible`."""
    if not told.radius <= _LARGEST_RADIUS:
        raise Infeasible(f"scores of up to {told.radius:.3g} in size, of which the polynomial method serves 40")
    relative, absolute = features.STORED[dtype]
    left = error - relative * told.magnitude - absolute - 8.0 * U * (told.magnitude + told.spread)
    left -= fourier.error(size) * told.spread
    if not left > 0.0:
        raise Infeasible(f"error {error:g}: rounding alone may cost {error - left:.2g}")
    radius = max(told.radius, _SMALLEST_RADIUS)
    radius = max(2.0 ** (math.ceil(math.log2(radius) * _PER_OCTAVE) / _PER_OCTAVE), radius)
    share = min(left / told.spread, 1.0) if told.spread > 0.0 else 1.0
    promised = _ROOM * min(weight_error(share), 0.5)
    for degree, predicted in enumerate(least_errors(radius)[: MOST_DEGREE + 1]):
        if predicted > promised:
            continue
        if (count := _products(places, degree)) > _MOST_PRODUCTS:
            raise Infeasible(f"degree {degree} of {places} places has {count} monomials, {_MOST_PRODUCTS} are served")
        found = exp_of_degree(radius, degree)
        c = np.abs(found.coefficients)
        if not float((c * (_LONGEST * max(places, 1)) ** np.arange(degree + 1.0)).sum()) * SLACK <= _MOST_GROWTH:
            raise Infeasible(f"degree {degree} of {places} places may leave float64")
        if found.error < 0.5 and output_error(found.error) * told.spread <= left:
            return found
    raise Infeasible(f"error {error:g}: scores up to {told.radius:.3g} need a degree above {MOST_DEGREE}")


def _products(places: int, degree: int) -> int:
    """How many multisets of at most so many places there are."""
    return math.comb(places + degree, degree)
