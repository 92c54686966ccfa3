"""Vectors in the compiler's own language, for code that :func:`assay.impl.cpu.compiled.written` takes.

Loops over arrays become vector operations only where the compiler sees that arrays do not overlap, which it often
cannot.  Code that is written with vectors does not need it to.
"""

from __future__ import annotations

from typing import Any

__all__ = ["alike", "at", "times_plus"]


def alike(builder: Any, number: Any, lanes: int) -> Any:
    """A vector each of whose lanes is the number."""
    from llvmlite import ir

    whole = ir.IntType(32)
    anything = ir.Constant(ir.VectorType(number.type, lanes), ir.Undefined)
    one = builder.insert_element(anything, number, ir.Constant(whole, 0))
    return builder.shuffle_vector(one, anything, ir.Constant(ir.VectorType(whole, lanes), [0] * lanes))


def at(builder: Any, data: Any, place: Any, lanes: int) -> Any:
    """The address of a vector: of the numbers behind each other in ``data`` from number ``place`` on."""
    from llvmlite import ir

    return builder.bitcast(builder.gep(data, [place]), ir.VectorType(data.type.pointee, lanes).as_pointer())


def times_plus(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """a·b + c in every lane, in one rounding where the processor can."""
    return builder.fadd(builder.fmul(a, b, flags=("contract",)), c, flags=("contract",))
