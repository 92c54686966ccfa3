"""The exponential of the kernels of tiles, and one step of their online softmax, in registers.

A step looks at all scores of a strip of lanes twice: once for their maximum, and once to replace them by their
exponentials and to add these up.  A strip is one vector wide, and is still in the nearest cache at the second look.
The maximum, the sum and the constants stay in registers.  The code is written in the compiler's own language: of loops
over rows with lanes inside, the compiler makes a pass through memory for each loop.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu import products
from assay.impl.cpu.compiled import CONTRACT, compiled, written
from assay.impl.cpu.products import ROWS
from assay.impl.cpu.vectors import times_plus

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["exponential", "exponentiate", "shifted", "soften", "steps"]


@functools.cache
def exponential(work: np.dtype[Any]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """What e^x = 2^k e^t needs (ATT-9): constants of the reduction, and coefficients.

    The constants are log₂e, ln 2 in two parts, a number whose addition rounds to k, and the least x.  The coefficients
    are 1/i!, the one of the highest degree first.
    """
    kind = np.finfo(work)
    degree, high, low = {
        "float32": (7, 0.693145751953125, 1.42860682030941723e-6),
        "float64": (13, 0.6931471803691238, 1.9082149292705877e-10),
    }[work.name]
    rounding = 1.5 * 2.0**kind.nmant + 1 - kind.minexp  # the last bits of a sum with it are the exponent of 2^k
    least = np.nextafter(work.type(kind.minexp * math.log(2.0)), work.type(-math.inf))
    constants = (*map(work.type, (math.log2(math.e), high, low, rounding)), least)
    return constants, tuple(work.type(1.0 / math.factorial(i)) for i in range(degree, -1, -1))


def soften(scores: Any, wide: Any, size: Any, top: Any, total: Any) -> None:
    """One step of the online softmax of the lanes r < size: e^(s − m) in place of the scores of ``wide`` rows.

    wide: a multiple of :data:`~assay.impl.cpu.products.ROWS`, and size one of
    :data:`~assay.impl.cpu.products.LANES`.  ``top`` becomes m, the largest score so far.  Row ``wide`` gets e^(m' − m),
    m' the maximum before, by which the sums so far are to be multiplied.  ``total`` is multiplied by it, and gets the
    new exponentials one after the other.  This is what the step does, in NumPy's words; kernels are given the compiled
    one.
    """
    before = top[:size].copy()
    top[:size] = np.maximum(before, scores[:wide, :size].max(axis=0))
    scores[wide, :size] = np.exp(before - top[:size])
    scores[:wide, :size] = np.exp(scores[:wide, :size] - top[:size])
    total[:size] = total[:size] * scores[wide, :size] + scores[:wide, :size].sum(axis=0)


def shifted(number: Any) -> Any:
    """The number whose bits are those of ``number`` moved up by the length of its mantissa.

    This is what it does, in NumPy's words; :func:`exponentiate` is given the compiled one.
    """
    whole = np.dtype(f"int{8 * number.itemsize}").type
    return (number.view(whole) << whole(np.finfo(number.dtype).nmant)).view(number.dtype)


def exponentiate(scores: Any, rows: Any, size: Any, top: Any, reduction: Any, coefficients: Any) -> None:
    """e^(s − top) in place of scores: reduction, polynomial, power of two (ATT-9).

    A score may be above ``top`` by the rounding errors of both, which grow with their size.  What is more than −least
    counts as −least, whose exponential is still finite.  Compiled by :func:`steps`.
    """
    log2e, ln2_high, ln2_low, rounding, least = reduction
    zero = least - least
    for j in range(rows):
        s = scores[j]
        for r in range(size):
            below = s[r] - top[r]
            x = min(max(below, least), -least)
            w = x * log2e + rounding
            k = w - rounding
            t = (x - k * ln2_high) - k * ln2_low
            p = coefficients[0]
            for n in range(1, len(coefficients)):
                p = p * t + coefficients[n]
            s[r] = (p if below >= least else zero) * shifted(w)


def steps() -> dict[str, Callable[..., Any]]:
    """The compiled steps that kernels of tiles call by these names.

    They are :func:`soften` and :func:`exponentiate`.
    """
    width = products.blocks().width
    return {
        "soften": compiled(_over_strips, None, CONTRACT, width=width, strip=_strip(width)),
        "exponentiate": compiled(exponentiate, None, CONTRACT, shifted=_shifted()),
    }


def _over_strips(scores: Any, wide: Any, size: Any, top: Any, total: Any) -> None:
    for r in range(0, size, width // top.itemsize):  # type: ignore[name-defined]  # noqa: F821
        strip(scores, wide, top, total, r)  # type: ignore[name-defined]  # noqa: F821


@functools.cache
def _shifted() -> Any:
    """:func:`shifted`, as Numba knows it."""
    from llvmlite import ir
    from numba.extending import intrinsic

    def typed(context: Any, number: Any) -> Any:
        def made(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            bits = ir.IntType(signature.args[0].bitwidth)
            places = ir.Constant(bits, np.finfo(str(signature.args[0])).nmant)
            return builder.bitcast(builder.shl(builder.bitcast(arguments[0], bits), places), arguments[0].type)

        return number(number), made

    return intrinsic(typed)


@functools.cache
def _strip(width: int) -> Any:
    """What Numba knows as strip(scores, wide, top, total, r): :func:`soften` of a vector of lanes from lane r on."""
    return written(functools.partial(_write, width=width), "scores wide top total r")


def _write(context: Any, builder: Any, signature: Any, arguments: Any, *, width: int) -> None:
    """Write the code of a strip with a builder of LLVM."""
    from llvmlite import ir
    from numba.core import cgutils as untyped

    cgutils: Any = untyped
    kind = signature.args[0].dtype
    size = kind.bitwidth // 8
    lanes = width // size
    vector, integer = ir.VectorType(context.get_data_type(kind), lanes), ir.IntType(64)
    scores, top, total = (context.make_array(signature.args[i])(context, builder, arguments[i]) for i in (0, 2, 3))
    wide, lane = arguments[1], arguments[4]
    along = builder.mul(lane, ir.Constant(integer, size))
    between, _ = cgutils.unpack_tuple(builder, scores.strides)

    def place(array: Any, row: Any = None) -> Any:
        address = builder.gep(builder.bitcast(array.data, ir.IntType(8).as_pointer()), [along])
        if row is not None:
            address = builder.gep(address, [builder.mul(row, between)])
        return builder.bitcast(address, vector.as_pointer())

    def larger(a: Any, b: Any) -> Any:
        return builder.select(builder.fcmp_ordered(">", b, a), b, a)

    step = ir.Constant(integer, ROWS)
    before = builder.load(place(top), align=size)
    most = cgutils.alloca_once_value(builder, before)
    with cgutils.for_range_slice(builder, ir.Constant(integer, 0), wide, step, integer) as (j, _):
        found = [builder.load(place(scores, builder.add(j, ir.Constant(integer, i))), align=size) for i in range(ROWS)]
        while len(found) > 1:
            found = [larger(a, b) for a, b in zip(found[::2], found[1::2], strict=True)]
        builder.store(larger(builder.load(most), found[0]), most)
    now = builder.load(most)
    shrink = _exponential(builder, builder.fsub(before, now), str(kind))
    builder.store(now, place(top), align=size)
    builder.store(shrink, place(scores, wide), align=size)
    added = cgutils.alloca_once_value(builder, builder.fmul(builder.load(place(total), align=size), shrink))
    with cgutils.for_range(builder, wide) as loop:
        here = place(scores, loop.index)
        power = _exponential(builder, builder.fsub(builder.load(here, align=size), now), str(kind))
        builder.store(power, here, align=size)
        builder.store(builder.fadd(builder.load(added), power), added)
    builder.store(builder.load(added), place(total), align=size)


def _exponential(builder: Any, x: Any, kind: str) -> Any:
    """e^x of a vector of numbers of at most 0, in the operations of :func:`exponentiate` one by one."""
    from llvmlite import ir

    work = np.dtype(kind)
    lanes = x.type.count

    def everywhere(value: Any) -> Any:
        return ir.Constant(x.type, [float(value)] * lanes)

    (log2e, ln2_high, ln2_low, rounding, least), coefficients = exponential(work)
    flags = tuple(CONTRACT)
    bits = ir.VectorType(ir.IntType(8 * work.itemsize), lanes)
    held = builder.select(builder.fcmp_ordered(">", everywhere(least), x), everywhere(least), x)
    w = times_plus(builder, held, everywhere(log2e), everywhere(rounding))
    k = builder.fsub(w, everywhere(rounding), flags=flags)
    t = builder.fsub(held, builder.fmul(k, everywhere(ln2_high), flags=flags), flags=flags)
    t = builder.fsub(t, builder.fmul(k, everywhere(ln2_low), flags=flags), flags=flags)
    p = everywhere(coefficients[0])
    for coefficient in coefficients[1:]:
        p = times_plus(builder, p, t, everywhere(coefficient))
    places = ir.Constant(bits, [np.finfo(work).nmant] * lanes)
    power = builder.bitcast(builder.shl(builder.bitcast(w, bits), places), x.type)
    kept = builder.select(builder.fcmp_ordered(">=", x, everywhere(least)), p, everywhere(0.0))
    return builder.fmul(kept, power)
