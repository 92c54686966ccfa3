"""Products of tiles, whose sums stay in registers until they are done.

Of a loop over columns the compiler makes code that reads and writes its sums for every few products.  Here a block of
sums, some rows of it by some vectors of columns, is made at once.  Every step along the depth reads some numbers of one
matrix and some vectors of the other one, and each number meets each vector.  Blocks are written in the compiler's own
language, since no loop is compiled to them.

Every sum is taken in the order of the depth, one product after the other, so that its bits depend neither on the shape
of the blocks nor on the width of the vectors; "contract" permits a·b + c in one rounding.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu import costs, processor
from assay.impl.cpu.compiled import CONTRACT, compiled, written
from assay.impl.cpu.vectors import alike, times_plus

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "LANES", "ROWS", "STRIDE", "Blocks", "add_product", "blocks", "in_registers", "multiply", "room",
    "shrink_and_add", "steps",
]  # fmt: skip

LANES = 16  # columns are taken in multiples of this: the numbers of float32 in the widest vector
ROWS = 8  # … and rows of sums in multiples of this
STRIDE = 256 + LANES  # from a row of a tile to the next: no power of two, so that rows do not share few sets of a cache
_LINE = 64  # bytes of a line of the cache, and of the widest vector


@dataclass(frozen=True)
class Blocks:
    """The shape of blocks of sums: ``rows`` by ``vectors``, each of ``width`` bytes.

    The sums, a vector of the other matrix for each of their columns and a number are to fit into the registers.
    """

    rows: int
    vectors: int
    width: int


def blocks() -> Blocks:
    """The blocks for the target that kernels are compiled for: 32 registers with AVX-512, otherwise 16.

    Vectors of 512 bits serve also where the compiler would keep to 256 in loops of its own.
    """
    costs.started_wide()
    features = processor.target()[1].split(",")
    if "+avx512f" in features and "-avx512f" not in features:
        return Blocks(4, 4, 64)
    # AVX2 brings AVX, which features that a user has set need not name
    return Blocks(4, 3, 32) if not {"+avx", "+avx2"}.isdisjoint(features) else Blocks(4, 2, 16)


def multiply(a: Any, b: Any, c: Any, columns: Any) -> None:
    """c = a @ b for the first ``columns`` columns of b and c, a multiple of :data:`LANES`.

    c has a multiple of :data:`ROWS` rows: those beyond the rows of a get what the last row of a gives.  Rows of b
    beyond the columns of a are not read.  The matrices have one type.  a has any strides; the numbers of a row of b and
    of c lie behind each other.  This is what the step does, in NumPy's words; kernels are given the compiled one.
    """
    rows = np.minimum(np.arange(len(c)), len(a) - 1)
    c[:, :columns] = a[rows] @ b[: a.shape[1], :columns]


def add_product(a: Any, b: Any, c: Any, columns: Any) -> None:
    """c += a @ b; everything else is as in :func:`multiply`."""
    rows = np.minimum(np.arange(len(c)), len(a) - 1)
    c[:, :columns] += a[rows] @ b[: a.shape[1], :columns]


def shrink_and_add(a: Any, b: Any, c: Any, columns: Any, by: Any) -> None:
    """c = c * by + a @ b with a factor ``by`` for every column; everything else is as in :func:`multiply`."""
    c[:, :columns] *= by[:columns]
    add_product(a, b, c, columns)


def steps() -> dict[str, Callable[..., Any]]:
    """The compiled steps that kernels of tiles call by these names.

    They are :func:`multiply`, :func:`add_product`, :func:`shrink_and_add` and :func:`room`.
    """
    shape = blocks()
    return {
        "multiply": _compiled("multiply", shape),
        "add_product": _compiled("add_product", shape),
        "shrink_and_add": _compiled("shrink_and_add", shape),
        "room": compiled(room, None, CONTRACT),
    }


def room(rows: Any, like: Any) -> Any:
    """An array of ``rows`` rows at the distance :data:`STRIDE`, of the type of ``like``, not filled.

    It begins with a line of the cache.  An array may else begin in the middle of one, and then every vector of 512 bits
    lies in two lines, which costs a third of the time of a product.  Compiled by :func:`steps`.
    """
    most = np.empty(rows * STRIDE + _LINE // like.itemsize, like.dtype)
    first = (_LINE - most.ctypes.data % _LINE) % _LINE // like.itemsize
    return most[first : first + rows * STRIDE].reshape((rows, STRIDE))


def _compiled(name: str, shape: Blocks) -> Callable[..., Any]:
    called = {
        "vectors": shape.vectors,
        "width": shape.width,
        "height": shape.rows,
        "block": in_registers(name, shape),
        "strip": in_registers(name, Blocks(ROWS, 1, shape.width)),
    }
    return compiled(_over_blocks, None, CONTRACT, **called)


def _over_blocks(a: Any, b: Any, c: Any, columns: Any, *by: Any) -> None:
    """Every block of c, with those columns of b that it needs in the nearest cache.  Compiled by :func:`steps`.

    by: the factors of ``shrink_and_add``; of other steps nothing.
    """
    lanes = width // c.itemsize  # type: ignore[name-defined]  # noqa: F821
    across = vectors * lanes  # type: ignore[name-defined]  # noqa: F821
    whole = columns - columns % across
    for r in range(0, whole, across):
        for j in range(0, c.shape[0], height):  # type: ignore[name-defined]  # noqa: F821
            block(a, b, c, j, r, *by)  # type: ignore[name-defined]  # noqa: F821
    for r in range(whole, columns, lanes):
        for j in range(0, c.shape[0], ROWS):
            strip(a, b, c, j, r, *by)  # type: ignore[name-defined]  # noqa: F821


@functools.cache
def in_registers(name: str, shape: Blocks) -> Any:
    """What Numba knows as block(a, b, c, row, column): the step of that name for the block of c from there on.

    The one of ``shrink_and_add`` takes the factors besides.
    """
    write = functools.partial(_write, name=name, shape=shape)
    return written(write, "a b c row column by" if name == "shrink_and_add" else "a b c row column")


def _write(context: Any, builder: Any, signature: Any, arguments: Any, *, name: str, shape: Blocks) -> None:
    """Write the code of a block with a builder of LLVM: a loop along the depth, with the sums in registers."""
    from llvmlite import ir
    from numba.core import cgutils as untyped

    cgutils: Any = untyped
    number = context.get_data_type(signature.args[0].dtype)
    size = signature.args[0].dtype.bitwidth // 8
    lanes = shape.width // size
    vector, integer, byte = ir.VectorType(number, lanes), ir.IntType(64), ir.IntType(8).as_pointer()
    a, b, c = (
        context.make_array(kind)(context, builder, value)
        for kind, value in zip(signature.args[:3], arguments[:3], strict=True)
    )
    row, column = arguments[3:5]

    def whole(value: int) -> Any:
        return ir.Constant(integer, value)

    def behind(address: Any, *terms: Any) -> Any:
        for term in terms:
            address = builder.gep(address, [term])
        return address

    def read(address: Any, kind: Any) -> Any:
        return builder.load(builder.bitcast(address, kind.as_pointer()), align=size)

    begin_a, begin_b, begin_c = (builder.bitcast(array.data, byte) for array in (a, b, c))
    (between_a, along_a), (between_b, _), (between_c, _) = (cgutils.unpack_tuple(builder, x.strides) for x in (a, b, c))
    height, depth = cgutils.unpack_tuple(builder, a.shape)
    last, across = builder.sub(height, whole(1)), builder.mul(column, whole(size))
    rows_of_a, rows_of_c = [], []
    for i in range(shape.rows):
        at = builder.add(row, whole(i))
        held = builder.select(builder.icmp_signed("<", at, last), at, last)
        rows_of_a.append(behind(begin_a, builder.mul(held, between_a)))
        rows_of_c.append(behind(begin_c, across, builder.mul(at, between_c)))
    offsets = [whole(v * shape.width) for v in range(shape.vectors)]
    # variables that the compiler keeps in registers
    sums = [[cgutils.alloca_once(builder, vector) for _ in offsets] for _ in rows_of_c]
    zero = ir.Constant(vector, [0.0] * lanes)
    factors = []
    if name == "shrink_and_add":
        by = context.make_array(signature.args[5])(context, builder, arguments[5])
        factors = [read(behind(builder.bitcast(by.data, byte), across, offset), vector) for offset in offsets]
    for address, of_row in zip(rows_of_c, sums, strict=True):
        for v, total in enumerate(of_row):
            begun = zero if name == "multiply" else read(behind(address, offsets[v]), vector)
            builder.store(builder.fmul(begun, factors[v]) if factors else begun, total)
    with cgutils.for_range(builder, depth) as loop:
        of_b = behind(begin_b, across, builder.mul(loop.index, between_b))
        vectors = [read(behind(of_b, offset), vector) for offset in offsets]
        step = builder.mul(loop.index, along_a)
        for address, of_row in zip(rows_of_a, sums, strict=True):
            factor = alike(builder, read(behind(address, step), number), lanes)
            for other, total in zip(vectors, of_row, strict=True):
                builder.store(times_plus(builder, factor, other, builder.load(total)), total)
    for address, of_row in zip(rows_of_c, sums, strict=True):
        for offset, total in zip(offsets, of_row, strict=True):
            to = builder.bitcast(behind(address, offset), vector.as_pointer())
            builder.store(builder.load(total), to, align=size)
