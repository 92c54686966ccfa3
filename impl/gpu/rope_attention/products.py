"""Products with the Toeplitz matrices of relative positions on a GPU: what the kernels of ``fourier.cu`` are given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.attention.plan import U
from assay.impl.gpu import features, fourier
from assay.impl.gpu.features import Points
from assay.impl.gpu.machine import TYPES, Launch, struct, view

if TYPE_CHECKING:
    from assay.impl.cpu.rope_attention.monomials import Component, Pair
    from assay.impl.gpu.features import Hull
    from assay.impl.gpu.machine import Machine

__all__ = ["Frame", "Heads", "Products", "Sums", "Weights", "by_offset", "framed", "run", "type_of", "weighted"]

_THREADS = 128  # as in polynomial.cuh
_FAR = 1 << 62  # the end of a window that has none


@dataclass(frozen=True, eq=False)
class Heads:
    """What scores are made of, on the machine.

    query (b, h_q, n_q, d), key (b, h_k, n_k, d), value (b, h_k, n_k, d_v).  lengths (b,), int64; relative (places,
    n_q + n_k − 1); bias (1 or h_q, n_q + n_k − 1): each of these three may be ``None``.  support: the places (row,
    column) of ``relative``, and without it all (a, a).  rotated: queries and keys were rotated in float64, and the
    result is that of the vectors before (ROPE-3).
    """

    query: Any
    key: Any
    value: Any
    lengths: Any
    relative: Any
    bias: Any
    support: tuple[tuple[int, int], ...]
    rotated: bool
    causal: str | None
    window: tuple[int | None, int | None] | None

    @property
    def offsets(self) -> int:
        return int(self.query.shape[2] + self.key.shape[2]) - 1

    @property
    def size(self) -> int:
        """The length of the transforms."""
        return fourier.padded(self.offsets)

    @property
    def rows(self) -> int:
        """The rows of a unit that are transformed, of two columns each: those of the values, and one of ones."""
        return int(self.value.shape[3]) // 2 + 1

    @property
    def per_batch(self) -> int:
        """The units of a batch: heads of keys, or of queries where each of these has a bias of its own."""
        own = self.bias is not None and self.bias.shape[0] > 1
        return int((self.query if own else self.key).shape[1])

    @property
    def apart(self) -> bool:
        """Whether every batch has symbols of its own."""
        return self.lengths is not None and (self.causal == "bottom-right" or self.bias is not None)

    @property
    def symbols(self) -> tuple[int, int]:
        """How many batches, and how many heads, have symbols of their own."""
        return int(self.query.shape[0]) if self.apart else 1, 1 if self.bias is None else int(self.bias.shape[0])

    def units(self) -> dict[str, int]:
        """The members of the struct ``Units``."""
        heads = self.symbols[1]
        return {
            "per_batch": self.per_batch,
            "per_key": self.per_batch // int(self.key.shape[1]),
            "members": int(self.query.shape[1]) // self.per_batch,
            "symbol_batch": heads if self.apart else 0,
            "symbol_unit": 1 if heads > 1 else 0,
            "columns": int(self.value.shape[3]),
            "rows": self.rows,
            "queries": int(self.query.shape[2]),
            "keys": int(self.key.shape[2]),
            "bits": self.size.bit_length() - 1,
        }


@dataclass(frozen=True, eq=False)
class Weights:
    """The weights e^bias of all symbols (symbols, offsets), the factors by which they may be off, and the largest bias.

    seen (symbols, offsets): how many offsets up to one are seen.
    """

    numbers: Any
    seen: Any
    error: Any
    largest: Any


@dataclass(frozen=True, eq=False)
class Frame:
    """The coordinates of the products: what keys and queries are multiplied by, (b·h_k,) and (b·h_q,), and W, (1,).

    sizes (b·h_q, d): of the coordinates of queries.  reach (b·h_q, 3): bounds of the scores, of these sizes, and of
    what scores are off by a rotation.
    """

    shrink: Any
    factor: Any
    unit: Any
    sizes: Any
    reach: Any


@dataclass(frozen=True, eq=False)
class Sums:
    """N of every column and Z, (b·h_q, d_v + 1, n_q), and Σ_j e^bias, (b·h_q, n_q), with what transforms lost in them.

    values_lost (b·h_q, d_v + 1), every_lost (b·h_q,).
    """

    values: Any
    every: Any
    values_lost: Any
    every_lost: Any


def run(machine: Machine, kernel: str, arguments: Any, launch: Launch) -> None:
    """Start a kernel of ``fourier.cu``; blocks have a number of every thread as shared memory."""
    machine.run("rope_attention/fourier.cu", kernel, arguments, Launch(launch.blocks, _THREADS, 8 * _THREADS))


def weighted(machine: Machine, heads: Heads) -> Weights:
    batches, rows = heads.symbols
    shape = (batches * rows, heads.offsets)
    numbers, seen = machine.empty(shape, np.float64), machine.empty(shape, np.int64)
    error, largest = machine.empty(shape[:1], np.float64), machine.empty(shape[:1], np.float64)
    left, right = heads.window or (None, None)
    if heads.causal is not None:
        right = 0
    arguments = struct(
        bias=by_offset(machine, heads.bias),
        lengths=_address(machine, heads.lengths if heads.apart else None),
        weight=machine.address(numbers),
        error=machine.address(error),
        largest=machine.address(largest),
        seen=machine.address(seen),
        type=type_of(heads.bias),
        heads=rows,
        queries=heads.query.shape[2],
        keys=heads.key.shape[2],
        left=_FAR if left is None else left,
        right=_FAR if right is None else right,
        from_end=int(heads.causal == "bottom-right"),
    )
    run(machine, "rope_weight", arguments, Launch(batches * rows, _THREADS, 0))
    return Weights(numbers, seen.cumsum(axis=1), error, largest)


def framed(machine: Machine, heads: Heads, support: Any, scale: float) -> Frame:
    """support: the places, (places, 2), on the machine."""
    b, h, _, d = heads.query.shape
    extremes, squares = [], []
    for points in (Points(heads.key, heads.lengths), Points(heads.query)):
        extremes.append(features.extent(machine, points)[1:])
        squares.append(features.largest_squares(machine, points))
    of_relative, norms = (None, None), None
    if heads.relative is not None:
        of_relative = features.extent(machine, Points(heads.relative.T[None, None]))[1:]
        each = machine.empty((heads.offsets, 2), np.float64)
        arguments = struct(
            relative=by_offset(machine, heads.relative),
            support=machine.address(support),
            out=machine.address(each),
            type=type_of(heads.relative),
            places=len(heads.support),
            dim=d,
            offsets=heads.offsets,
        )
        run(machine, "rope_norms", arguments, features.blocks(heads.offsets))
        norms = each.max(axis=0)
    lengths = ((len(squares[0]),), (b * h,), (1,), (b * h, d), (b * h, 3))
    found = Frame(*(machine.empty(shape, np.float64) for shape in lengths))
    arguments = struct(
        **heads.units(),
        key_least=machine.address(extremes[0][0]),
        key_largest=machine.address(extremes[0][1]),
        key_squares=machine.address(squares[0]),
        query_least=machine.address(extremes[1][0]),
        query_largest=machine.address(extremes[1][1]),
        query_squares=machine.address(squares[1]),
        relative_least=_address(machine, of_relative[0]),
        relative_largest=_address(machine, of_relative[1]),
        norms=_address(machine, norms),
        support=machine.address(support),
        lengths=_address(machine, heads.lengths),
        shrink=machine.address(found.shrink),
        unit=machine.address(found.unit),
        factor=machine.address(found.factor),
        sizes=machine.address(found.sizes),
        reach=machine.address(found.reach),
        places=len(heads.support),
        dim=d,
        rotated=int(heads.rotated),
        count=b * h,
        scale=scale,
    )
    run(machine, "rope_frame", arguments, features.blocks(b * h))
    return found


@dataclass(frozen=True, eq=False)
class _Spectra:
    """Spectra (rows, size), the squares of the 2-norms of the rows before, and of the largest numbers of symbols."""

    numbers: Any
    squares: Any
    largest: Any = None


@dataclass(frozen=True, eq=False)
class Products:
    """What makes the products with Toeplitz matrices: arrays that all of them need.  turns: the roots of unity."""

    machine: Machine
    heads: Heads
    frame: Frame
    weights: Weights
    hull: Hull
    turns: Any

    @property
    def slices(self) -> int:
        return -(-self.heads.size // _THREADS)

    def symbols(self, pair: Pair | None) -> _Spectra:
        """Those of a pair of monomials, or of the weights alone."""
        machine, heads, slices = self.machine, self.heads, self.slices
        terms = () if pair is None else pair.terms
        places = machine.laid(np.array([places for _, places in terms], np.int64).reshape(-1))
        ways = machine.laid(np.array([ways for ways, _ in terms], np.float64))
        count = heads.symbols[0] * heads.symbols[1]
        rows, squares = machine.empty((count, heads.size), np.complex128), machine.empty((count, slices), np.float64)
        arguments = struct(
            relative=by_offset(machine, None if pair is None else heads.relative),
            places=machine.address(places),
            ways=machine.address(ways),
            unit=machine.address(self.frame.unit),
            weight=machine.address(self.weights.numbers),
            out=machine.address(rows),
            squares=machine.address(squares),
            type=type_of(heads.relative),
            terms=len(terms),
            degree=len(terms[0][1]) if terms else 0,
            offsets=heads.offsets,
            bits=heads.size.bit_length() - 1,
            slices=slices,
        )
        run(machine, "rope_symbol", arguments, Launch(count * slices, _THREADS, 0))
        numbers, _ = fourier.transformed(machine, rows, machine.empty(rows.shape, np.complex128), self.turns)
        largest = machine.empty((count, slices), np.float64)
        arguments = struct(
            spectra=machine.address(numbers),
            out=machine.address(largest),
            bits=heads.size.bit_length() - 1,
            slices=slices,
        )
        run(machine, "rope_largest", arguments, Launch(count * slices, _THREADS, 0))
        return _Spectra(numbers, squares.sum(axis=1), largest.max(axis=1))

    def columns(self, monomial: tuple[int, ...], first: int, spare: Any) -> tuple[_Spectra, Any]:
        """The spectra of as many rows as ``spare`` has, times a monomial of the keys; and an array that is free."""
        machine, heads, slices = self.machine, self.heads, self.slices
        count = spare.shape[0]
        rows, squares = machine.empty(spare.shape, np.complex128), machine.empty((count, slices), np.float64)
        of = machine.laid(np.array(monomial, np.int64))
        arguments = struct(
            **heads.units(),
            key=view(machine, heads.key, heads.key.shape),
            value=view(machine, heads.value, heads.value.shape),
            shrink=machine.address(self.frame.shrink),
            middle=machine.address(self.hull.middle),
            grow=machine.address(self.hull.grow),
            lengths=_address(machine, heads.lengths),
            monomial=machine.address(of),
            out=machine.address(rows),
            squares=machine.address(squares),
            key_type=type_of(heads.key),
            value_type=type_of(heads.value),
            key_heads=heads.key.shape[1],
            degree=len(monomial),
            first=first,
            slices=slices,
        )
        run(machine, "rope_columns", arguments, Launch(count * slices, _THREADS, 0))
        numbers, spare = fourier.transformed(machine, rows, spare, self.turns)
        return _Spectra(numbers, squares.sum(axis=1)), spare

    def add(
        self, sums: Sums, component: Component, plain: _Spectra | None, factor: float, first: int, count: int
    ) -> None:
        """Add what a component gives in some rows, times a coefficient, to the sums; of degree 0 these begin so.

        plain: the spectra of the symbols, where all pairs have the same.
        """
        machine, heads = self.machine, self.heads
        spare, spectra = machine.empty((count, heads.size), np.complex128), []
        for monomial in component.keys:
            found, spare = self.columns(monomial, first, spare)
            spectra.append(found)
        total, lost = machine.empty((count, heads.size), np.complex128), machine.empty((count,), np.float64)
        e = fourier.error(heads.size)
        for number, monomial in enumerate(component.queries):
            pairs = [pair for pair in component.pairs if pair.query == number]
            for place, pair in enumerate(pairs):
                symbol, row = plain or self.symbols(pair), spectra[pair.key]
                arguments = struct(
                    **heads.units(),
                    symbols=machine.address(symbol.numbers),
                    rows_of=machine.address(row.numbers),
                    largest=machine.address(symbol.largest),
                    symbol_squares=machine.address(symbol.squares),
                    squares=machine.address(row.squares),
                    out=machine.address(total),
                    lost=machine.address(lost),
                    first=first,
                    count=count,
                    added=int(place > 0),
                    e=e,
                    rounded=2.0 * e + (len(pairs) + 1.0) * U,
                )
                run(machine, "rope_multiply", arguments, features.blocks(count * heads.size))
            total, spare = fourier.transformed(machine, total, spare, self.turns, back=True)
            of = machine.laid(np.array(monomial, np.int64))
            units, shape = heads.units(), heads.query.shape
            arguments = struct(
                **units,
                query=view(machine, heads.query, shape),
                products=machine.address(total),
                lost=machine.address(lost),
                factor=machine.address(self.frame.factor),
                sizes=machine.address(self.frame.sizes),
                monomial=machine.address(of),
                sums=machine.address(sums.values),
                every=machine.address(sums.every),
                sums_lost=machine.address(sums.values_lost),
                every_lost=machine.address(sums.every_lost),
                type=type_of(heads.query),
                heads=shape[1],
                dim=shape[3],
                degree=component.degree,
                first=first,
                count=count,
                added=int(component.degree > 0),
                ways=pairs[0].terms[0][0] if plain else 1.0,
                coefficient=factor,
            )
            run(machine, "rope_add", arguments, features.blocks(count * units["members"] * shape[2]))


def by_offset(machine: Machine, array: Any) -> tuple[int, int, int, int, int]:
    """The struct ``View`` of an array (rows, offsets)."""
    return view(machine, array, () if array is None else (1, 1, *array.shape))


def type_of(array: Any) -> int:
    return 0 if array is None else TYPES.index(array.dtype.name)


def _address(machine: Machine, array: Any) -> int:
    return 0 if array is None else machine.address(array)
