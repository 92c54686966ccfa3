"""Attention on a GPU in almost linear time where scores are small: the polynomial method, with a certificate.

A polynomial takes the place of exp, and no score is ever formed, as on the CPU
(:mod:`assay.impl.cpu.attention.polynomial`).  Everything is in float64: ``features.cu`` sums and evaluates monomials,
``polynomial.cu`` finds what norms and extremes say, and the bound of the error: it is one of the numbers on the device,
and is there too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.certified import Certified
from assay.impl.gpu import bands, features, moments
from assay.impl.gpu.attention.tile import work_of
from assay.impl.gpu.bands import Band, BandedSize
from assay.impl.gpu.choice import Size, chosen, known, require, said
from assay.impl.gpu.features import Hull, Points
from assay.impl.gpu.machine import card, standing_in, struct
from assay.spec.attention.instance import Instance

if TYPE_CHECKING:
    from assay.impl.gpu.machine import Machine

__all__ = ["approximate", "attended", "band_of", "run", "settled"]


def approximate(
    query: Any,
    key: Any,
    value: Any,
    error: float = 1e-6,
    scale: float | None = None,
    *,
    is_causal: bool = False,
    causal: str | None = None,
    window: tuple[int | None, int | None] | None = None,
    key_lengths: Any = None,
    bounds: tuple[float, ...] | None = None,
    memory: int = 1 << 30,
) -> Certified:
    """Attention of (batch, heads, length, dim) arrays by a polynomial, with a proved bound of its error.

    query (b, h_q, n_q, d), key (b, h_k, n_k, d), value (b, h_k, n_k, d_v), ``scale``, ``is_causal``, ``causal``,
    ``window`` and ``key_lengths`` are as in :class:`assay.spec.attention.Instance`; arrays and streams are as for
    :func:`assay.impl.gpu.attention.exact`.  No other mask is taken.

    error: absolute, in units of the output; it decides the degree.  bounds: a number that |scale|·‖q‖·‖k − mean k‖ does
    not exceed for any query and key of a head, and one that no value exceeds in size; a third one may bound the mean of
    (scale·⟨q, k − mean k⟩)² over the keys, for every query.  Without them these are measured, and the call waits for
    that once; with them it waits for nothing.  Where few scores are as large as the first one says, the third one makes
    the degree less (GPU-18), but not with a causal mask or a window.  memory: the most bytes of working storage.

    The value has the dtype of the query.  The error of the result, (b, h_q, 1, d_v), lies on the device.  It is proved
    of the value, whatever the bounds were, and is at most the one that was asked where they hold, unless
    roundings of the mean of the keys are large.  It is infinite where scores are larger than promised, and where a
    number is not finite.

    Let r = C(d + g, g) be the rank for degree g.  The time is O((n_q + n_k)·r·(d_v + 1)).  The memory is at most 65
    tables of r·(d_v + 1) numbers for each head of keys, and fewer where ``memory`` asks for it.  A causal mask or a
    window takes a table for every block of about r keys, or two for a window with two ends, and up to two blocks of
    keys one by one for every query.  Where ``memory`` does not hold the tables of all heads, heads follow each other;
    where it does not hold those of one, blocks are longer.

    Source: GPU-11, GPU-17 and GPU-18 of proofs_notes/gpu.md.  Raises
    :class:`~assay.spec.problem.InvalidInstance` for shapes, dtypes and options that do not fit, ``ValueError`` for
    other bad arguments,
    :class:`~assay.spec.approximation.Infeasible` where no polynomial serves (scores beyond 40, an error below the
    rounding, a rank that takes more memory), and ``ImportError`` where CuPy is not installed.
    """
    return run(
        card(), query, key, value, key_lengths, error, scale, bounds, memory, is_causal=is_causal, causal=causal,
        window=window,
    )  # fmt: skip


def run(
    machine: Machine, query: Any, key: Any, value: Any, key_lengths: Any, error: float, scale: float | None,
    bounds: tuple[float, ...] | None, memory: int, **masks: Any,
) -> Certified:  # fmt: skip
    """:func:`approximate` on a machine; masks: ``is_causal``, ``causal`` and ``window``."""
    arrays = {"query": query, "key": key, "value": value, "key_lengths": key_lengths}
    given = {name: machine.given(array) for name, array in arrays.items()}
    instance = Instance(**standing_in(given), scale=scale, **masks)
    query, key, value, lengths = given.values()
    work_of(query)
    require(error, bounds, memory, 3)
    assert instance.scale is not None
    return attended(
        machine, query, key, value, lengths, float(error), float(instance.scale), bounds, memory,
        band=band_of(instance.causal, instance.window),
    )  # fmt: skip


def band_of(causal: str | None, window: tuple[int | None, int | None] | None) -> Band | None:
    """What the rows of an instance attend to; ``None`` for all keys."""
    left, right = window or (None, None)
    right = right if causal is None else 0
    return None if left is None and right is None else Band(causal == "bottom-right", left, right)


def attended(
    machine: Machine, query: Any, key: Any, value: Any, lengths: Any, error: float, scale: float,
    bounds: tuple[float, ...] | None, memory: int, *, band: Band | None, turned: bool = False,
) -> Certified:  # fmt: skip
    """The result for arrays of the machine that fit; its type is that of the values.

    turned: queries and keys were rotated in float64, and the result is that of the vectors before (ROPE-3).
    """
    (b, h, _, d), (h_k, n_k, d_v) = query.shape, value.shape[1:]
    group = h // h_k
    lengths = None if lengths is None else lengths.astype(np.int64)

    centre, hull = settled(machine, key, value, lengths)

    of_keys = features.largest_squares(machine, Points(key, lengths, centre))
    of_queries = features.largest_squares(machine, Points(query))
    of_turned = features.largest_squares(machine, Points(key, lengths)) if turned else None
    shrink, factor = machine.empty((b * h_k,), np.float64), machine.empty((b * h,), np.float64)
    reach = machine.empty((b * h, 3), np.float64)
    arguments = struct(
        keys=machine.address(of_keys),
        queries=machine.address(of_queries),
        turned=0 if of_turned is None else machine.address(of_turned),
        shrink=machine.address(shrink),
        factor=machine.address(factor),
        reach=machine.address(reach),
        count=b * h,
        group=group,
        dim=d,
        scale=scale,
    )
    machine.run("attention/polynomial.cu", "polynomial_frame", arguments, features.blocks(b * h))

    keys, queries = Points(key, lengths, centre, shrink), Points(query, lengths, None, factor)
    size = (d, (n_k,), b * h_k, d_v, memory)
    powers: dict[int, Any] = {}
    if band is None:
        plain = Size(*size)
        orders = moments.ORDERS if bounds is None else (2,) * (len(bounds) - 2)
        powers = moments.measured(machine, queries, keys, value, plain, orders)
        told = known(machine, reach, hull, bounds, moments=powers)
        plan = chosen(told, error, value.dtype.name, plain)
        table, weights = features.table(machine, d, plan.degree), machine.laid(plan.weights(d))
        spans = plain.spans(plan.degree)
        means = features.means(machine, table, keys, value, hull.middle, hull.grow, weights, None, spans)
        out, share = features.evaluate(machine, table, queries, means, hull, group, value.dtype)
    else:
        banded = BandedSize(*size, band)
        told = known(machine, reach, hull, bounds, centred=False)  # what one row attends to is not
        plan = chosen(told, error, value.dtype.name, banded)
        out, share = bands.passed(machine, queries, keys, value, hull, plan, banded)
    certified = features.certify(machine, plan, reach, share, hull, lengths, (b, h, 1, d_v), value.dtype.name, powers)
    return Certified(out, certified, said(plan, d, told, promised=bounds is not None))


def settled(machine: Machine, key: Any, value: Any, lengths: Any) -> tuple[Any, Hull]:
    """The mean of the keys of a head, (batch·heads, dim), and what is known of its values.

    lengths (batch,): how many keys there are, int64, or ``None`` for all.
    """
    (b, h_k, n_k, d), d_v = key.shape, value.shape[3]
    (sums, *_), (_, *extremes) = (features.extent(machine, Points(array, lengths)) for array in (key, value))
    centre = machine.empty((b * h_k, d), np.float64)
    least, largest, middle, grow = (machine.empty((b * h_k, d_v), np.float64) for _ in range(4))
    arguments = struct(
        sums=machine.address(sums),
        least=machine.address(extremes[0]),
        largest=machine.address(extremes[1]),
        lengths=0 if lengths is None else machine.address(lengths),
        centre=machine.address(centre),
        hull_least=machine.address(least),
        hull_largest=machine.address(largest),
        middle=machine.address(middle),
        grow=machine.address(grow),
        per_batch=h_k,
        keys=n_k,
        dim=d,
        columns=d_v,
        count=b * h_k,
    )
    machine.run("attention/polynomial.cu", "polynomial_settle", arguments, features.blocks(b * h_k * max(d, d_v)))
    return centre, Hull(least, largest, middle, grow)
