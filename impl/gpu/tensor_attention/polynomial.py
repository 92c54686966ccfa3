"""Attention of order k on a GPU in almost linear time where scores are small, with a certificate.

The sums over the keys of each mode are taken apart and multiplied, as on the CPU
(:mod:`assay.impl.cpu.tensor_attention.polynomial`): no combination of keys is ever formed.  ``features.cu`` sums and
evaluates monomials, in float64; ``polynomial.cu`` finds what norms and extremes say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.certified import Certified
from assay.impl.gpu import features
from assay.impl.gpu.attention import polynomial
from assay.impl.gpu.attention.tile import work_of
from assay.impl.gpu.choice import Size, chosen, known, require, said
from assay.impl.gpu.features import Hull, Points
from assay.impl.gpu.machine import card, struct
from assay.impl.gpu.tensor_attention.forward import given

if TYPE_CHECKING:
    from assay.impl.gpu.machine import Machine

__all__ = ["approximate", "run"]


def approximate(
    query: Any,
    *modes: Any,
    error: float = 1e-6,
    scale: float | None = None,
    bounds: tuple[float, float] | None = None,
    memory: int = 1 << 30,
    **named: Any,
) -> Certified:
    """Attention of order k of (batch, heads, length, dim) arrays by a polynomial, with a proved bound of its error.

    query, then key1 … key{k−1}, value1 … value{k−1}, and ``scale`` are as in
    :func:`assay.impl.cpu.tensor_attention.exact`; arrays, streams, ``error``, ``memory`` and the result are as for
    :func:`assay.impl.gpu.attention.approximate`, which order 2 is.  No window or causal mask is taken.

    bounds: a number that |scale|·Σ_c max|q_c|·max|K¹_c| ⋯ does not exceed, the maxima over all queries and keys of a
    head, and one that no product of values exceeds in size.

    Let r = C(d + g, g) be the rank for degree g.  The time is O((n_q + Σ n_m)·r·(d_v + 1)).  The memory is at most 66
    tables of r·(d_v + 1) numbers for each head of keys, and fewer where ``memory`` asks for it.

    Source: GPU-12 of proofs_notes/gpu.md.  Raises as :func:`assay.impl.gpu.attention.approximate` does.
    """
    return run(card(), query, modes, named, error, scale, bounds, memory)


def run(
    machine: Machine, query: Any, modes: tuple[Any, ...], named: dict[str, Any], error: float, scale: float | None,
    bounds: tuple[float, float] | None, memory: int,
) -> Certified:  # fmt: skip
    """:func:`approximate` on a machine."""
    instance, query, keys, values = given(machine, query, modes, named, {"scale": scale})
    work_of(query)
    require(error, bounds, memory)
    if instance.order == 2:
        return polynomial.run(machine, query, keys[0], values[0], None, error, scale, bounds, memory)
    assert instance.scale is not None
    (b, h, _, d), (_, h_k, _, d_v) = query.shape, values[0].shape
    heads = b * h_k

    def numbers(*shape: int) -> Any:
        return machine.empty(shape, np.float64)

    most, products, growth = numbers(heads, d), numbers(heads, 3), numbers(heads, d_v)
    least, largest = numbers(heads, d_v), numbers(heads, d_v)
    shrinks, grows = [numbers(heads) for _ in keys], [numbers(heads, d_v) for _ in keys]
    for mode, (key, value) in enumerate(zip(keys, values, strict=True)):
        _, *of_key = features.extent(machine, Points(key))
        _, *of_value = features.extent(machine, Points(value))
        squares = features.largest_squares(machine, Points(key))
        arguments = struct(
            key_least=machine.address(of_key[0]),
            key_largest=machine.address(of_key[1]),
            squares=machine.address(squares),
            least=machine.address(of_value[0]),
            largest=machine.address(of_value[1]),
            shrink=machine.address(shrinks[mode]),
            grow=machine.address(grows[mode]),
            most=machine.address(most),
            known=machine.address(products),
            hull_least=machine.address(least),
            hull_largest=machine.address(largest),
            growth=machine.address(growth),
            first=int(mode == 0),
            dim=d,
            columns=d_v,
            count=heads,
        )
        machine.run("tensor_attention/polynomial.cu", "polynomial_mode", arguments, features.blocks(heads))

    _, *of_query = features.extent(machine, Points(query))
    squares = features.largest_squares(machine, Points(query))
    factor, reach = numbers(b * h), numbers(b * h, 3)
    arguments = struct(
        least=machine.address(of_query[0]),
        largest=machine.address(of_query[1]),
        squares=machine.address(squares),
        most=machine.address(most),
        known=machine.address(products),
        factor=machine.address(factor),
        reach=machine.address(reach),
        count=b * h,
        group=instance.group,
        dim=d,
        scale=float(instance.scale),
    )
    machine.run("tensor_attention/polynomial.cu", "polynomial_frame", arguments, features.blocks(b * h))

    hull = Hull(least, largest, None, growth)
    told = known(machine, reach, hull, bounds, centred=False)
    size = Size(d, instance.mode_lengths, heads, d_v, memory)
    plan = chosen(told, float(error), query.dtype.name, size)
    table, weights = features.table(machine, d, plan.degree), machine.laid(plan.weights(d))
    weighted, spans = None, size.spans(plan.degree)
    for mode, (key, value) in enumerate(zip(keys, values, strict=True)):
        points = Points(key, None, None, shrinks[mode])
        weighted = features.means(machine, table, points, value, None, grows[mode], weights, weighted, spans)
    queries = Points(query, None, None, factor)
    out, share = features.evaluate(machine, table, queries, weighted, hull, instance.group, query.dtype)
    certified = features.certify(machine, plan, reach, share, hull, None, (b, h, 1, d_v), query.dtype.name)
    return Certified(out, certified, said(plan, d, told, promised=bounds is not None))
