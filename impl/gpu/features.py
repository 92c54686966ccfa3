"""Monomials of points on a GPU: means of them over many keys, and polynomials that are evaluated from these means.

The monomials are those of :mod:`assay.impl.cpu.features`.  The kernels (``features.cu``) make a monomial as a product
of two or four others, of which they keep a small table; no array of the features of all points is made.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.features import monomials, rank
from assay.impl.gpu.machine import TYPES, Launch, struct, view
from assay.spec.approximation import Infeasible

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from assay.impl.gpu.choice import Plan
    from assay.impl.gpu.machine import Machine

__all__ = [
    "COLUMNS",
    "EXACT_FACTORIAL",
    "MOST",
    "ROWS",
    "STORED",
    "SUMMED",
    "THREADS",
    "Hull",
    "Points",
    "Table",
    "address_of",
    "blocks",
    "certify",
    "combination",
    "evaluate",
    "extent",
    "largest_squares",
    "largest_sums",
    "means",
    "roundings",
    "rows_of",
    "spans",
    "summed",
    "sums",
    "table",
    "totals",
]

#: dtype → rounding of an output to it, from float64 through float32: relative, absolute.
STORED = {
    "float32": (2.0**-24, 2.0**-149),
    "float64": (0.0, 0.0),
    "float16": (2.0**-11 + 2.0**-23, 2.0**-24),
    "bfloat16": (2.0**-8 + 2.0**-23, 2.0**-133),
}
#: dtype → the largest number of it.
MOST = {
    "float32": (2.0 - 2.0**-23) * 2.0**127,
    "float64": (2.0 - 2.0**-52) * 2.0**1023,
    "float16": 65504.0,
    "bfloat16": (2.0 - 2.0**-7) * 2.0**127,
}
THREADS, ROWS, COLUMNS, SUMMED = 128, 32, 8, 512  # as in features.cu: of a block, and keys that are summed at a time
_PAIR, _SLICE = 2, 128
_ENTRIES = 320  # of the table of monomials of which others are products: 83 KiB of shared memory
_SPANS, _SPAN = 64, 2048  # keys are summed in so many parts at most, of so many keys at least
EXACT_FACTORIAL = 18  # 18! < 2^53


@dataclass(frozen=True, eq=False)
class Table:
    """The monomials of at most a degree as the kernels take them; arrays lie on the machine.

    The first ``entries`` are the table of which others are products; parts (padded, 2 or 4): the entries whose product
    a monomial is.  ends: for each degree in that table, one more than the last entry.
    """

    dimension: int
    degree: int
    padded: int
    entries: int
    count: int
    parent: Any
    variable: Any
    ends: Any
    parts: Any

    def members(self, machine: Machine) -> dict[str, Any]:
        """The members of the struct ``Monomials``."""
        arrays = {name: machine.address(getattr(self, name)) for name in ("parent", "variable", "ends", "parts")}
        return {**arrays, "entries": self.entries, "levels": len(self.ends), "padded": self.padded}


@dataclass(frozen=True, eq=False)
class Hull:
    """What is known of values: intervals that contain them, numbers about their middles, and powers of two.

    Each is (batch·heads, columns), float64; no middle stands for 0.  The powers are at least |value − middle|.
    """

    least: Any
    largest: Any
    middle: Any
    grow: Any


@dataclass(frozen=True, eq=False)
class Points:
    """Points (batch, heads, rows, dim), and the coordinates factor·(point − centre) of them.

    centre (batch·heads, dim), or ``None`` for 0, and factor (batch·heads,): float64.  lengths (batch,): how many rows
    are points, int64; ``None`` for all.
    """

    array: Any
    lengths: Any = None
    centre: Any = None
    factor: Any = None

    def members(self, machine: Machine, name: str = "points") -> dict[str, Any]:
        """The members of the struct ``Points``; ``factor`` is given."""
        heads, rows, dim = self.array.shape[1:]
        return {
            name: view(machine, self.array, self.array.shape),
            "centre": address_of(machine, self.centre),
            "factor": machine.address(self.factor),
            "type": TYPES.index(self.array.dtype.name),
            "heads": heads,
            "rows": rows,
            "dim": dim,
        }


def roundings(dimension: int, degree: int, m: int, keys: tuple[int, ...], most: int = _SPANS) -> int:
    """K_m of GPU-11: the most roundings that a term of degree m meets on its way into N and Z.

    keys: how many there are of every mode, of which each is summed in ``most`` spans at most.
    """
    monomial = max(m - 1, 0)
    weights = 1 + 2 * max(degree - EXACT_FACTORIAL, 0)
    of_keys = sum(monomial + summed(count, most) + 2 for count in keys)  # and of the mean and the product with it
    return monomial + of_keys + weights + -(-rank(dimension, m) // 4) + 3


def summed(keys: int, most: int) -> int:
    """The most roundings that a term meets in the sum over keys."""
    count, each = spans(keys, most)
    return min(SUMMED, keys) + each // SUMMED - 1 + count - 1


def spans(keys: int, most: int = _SPANS) -> tuple[int, int]:
    """(the number of spans of the keys, the keys of each: a multiple of those that are summed at a time)."""
    count = max(min(most, _SPANS, -(-keys // _SPAN)), 1)
    each = max(-(-keys // (count * SUMMED)), 1) * SUMMED
    return max(-(-keys // each), 1), each


def table(machine: Machine, dimension: int, degree: int, those: NDArray[np.int64] | None = None) -> Table:
    """The table of all monomials, padded by ones; or of ``those`` alone, by their places in the table of all.

    Raises :class:`~assay.spec.approximation.Infeasible` for more coordinates or degrees than the kernels serve.
    """
    arrays = dict(_table(dimension, degree))
    if those is not None:
        arrays["parts"] = arrays["parts"][those]
    laid = {name: machine.laid(arrays[name]) for name in ("parent", "variable", "ends", "parts")}
    padded, count = arrays["parts"].shape
    return Table(dimension, degree, padded, len(arrays["parent"]), count, **laid)


@functools.lru_cache(maxsize=16)
def _table(dimension: int, degree: int) -> dict[str, NDArray[np.int64]]:
    for count in (2, 4):
        step = max(-(-degree // count), 1)  # the degree of a part
        if (entries := rank(dimension, step)) <= _ENTRIES:
            break
    else:
        raise Infeasible(f"degree {degree} in {dimension} coordinates needs {entries} monomials in shared memory")
    small, whole = monomials(dimension, step), monomials(dimension, degree)
    # children of a monomial lie side by side, one for each coordinate from its last one on
    begin = 1 + np.searchsorted(small.parent[1 : small.rank], np.arange(small.inner))
    last = np.where(np.arange(small.inner) > 0, small.variable[: small.inner], 0)
    parts = np.zeros((len(whole.parent), count), np.int64)
    first = 1
    for m in range(1, degree + 1):
        until = rank(dimension, m)
        child, place = np.arange(first, until), (m - 1) // step
        parts[child] = parts[whole.parent[child]]
        above = parts[child, place]
        parts[child, place] = begin[above] + whole.variable[child] - last[above]
        first = until
    ends = np.array([rank(dimension, m) for m in range(1, step + 1)], np.int64)
    return {"parent": small.parent[:entries], "variable": small.variable[:entries], "ends": ends, "parts": parts}


def extent(machine: Machine, points: Points) -> tuple[Any, Any, Any]:
    """The sum (rounded), the least and the largest number of a column: (batch·heads, columns) each."""
    b, heads, rows, columns = points.array.shape
    slices = max(-(-rows // _SLICE), 1)
    out = machine.empty((b * heads, slices, 3, columns), np.float64)
    machine.run(
        "features.cu", "features_extent", _sliced(machine, points, slices, out), Launch(b * heads * slices, THREADS, 0)
    )
    return out[:, :, 0].sum(axis=1), out[:, :, 1].min(axis=1), out[:, :, 2].max(axis=1)


def largest_squares(machine: Machine, points: Points) -> Any:
    """(batch·heads,): the largest ‖point − centre‖² as computed, each square by one ``fma``."""
    b, heads, rows, _ = points.array.shape
    slices = max(-(-rows // _SLICE), 1)
    out = machine.empty((b * heads, slices), np.float64)
    arguments = _sliced(machine, points, slices, out, centre=address_of(machine, points.centre))
    launch = Launch(b * heads * slices, THREADS, 8 * THREADS)
    machine.run("features.cu", "features_norms", arguments, launch)
    return out.max(axis=1)


def means(
    machine: Machine, of: Table, keys: Points, values: Any, middle: Any, grow: Any, weights: Any, before: Any, most: int
) -> Any:
    """(batch·heads, padded, columns + 1): means of monomials times y, and of monomials, times weights.

    y = (value − middle)/grow.  weights (padded,): of the monomials; or ``before``, what this returned for other keys.
    most: spans at most, which take memory.
    """
    b, heads, rows, columns = values.shape
    count, each = spans(rows, most)
    parts = sums(machine, of, keys, values, middle, grow, count, each)
    out = machine.empty((b * heads, of.padded, columns + 1), np.float64)
    arguments = struct(
        sums=machine.address(parts),
        weights=address_of(machine, weights),
        before=address_of(machine, before),
        lengths=address_of(machine, keys.lengths),
        out=machine.address(out),
        heads=heads,
        rows=rows,
        spans=count,
        padded=of.padded,
        width=columns + 1,
        count=out.size,
    )
    machine.run("features.cu", "features_weigh", arguments, blocks(out.size))
    return out


def sums(machine: Machine, of: Table, keys: Points, values: Any, middle: Any, grow: Any, count: int, each: int) -> Any:
    """(batch·heads, count, padded, columns + 1): sums of monomials times y, and of monomials, over ``each`` keys."""
    b, heads, _, columns = values.shape
    out = machine.empty((b * heads, count, of.padded, columns + 1), np.float64)
    arguments = struct(
        **of.members(machine),
        **keys.members(machine),
        values=view(machine, values, values.shape),
        middle=address_of(machine, middle),
        grow=machine.address(grow),
        lengths=address_of(machine, keys.lengths),
        out=machine.address(out),
        value_type=TYPES.index(values.dtype.name),
        columns=columns,
        span=each,
        spans=count,
    )
    parts = b * heads * count * -(-of.padded // (THREADS * _PAIR)) * max(-(-columns // COLUMNS), 1)
    launch = Launch(parts, THREADS, 8 * (of.entries * (ROWS + 1) + ROWS * COLUMNS))
    machine.run("features.cu", f"features_moments_{of.count}", arguments, launch)
    return out


def evaluate(
    machine: Machine, of: Table, queries: Points, weighted: Any, hull: Hull, group: int, dtype: Any
) -> tuple[Any, Any]:
    """The rows middle + grow·N/Z, cut to the hull and rounded to a type, and the least Z of every head.

    (N, Z) = Σ_α x^α weighted_α.  The lengths of the queries say how many keys there are: where there is none, rows are
    0.  Z is −∞ where one is not positive or not finite.
    """
    b, heads, rows, _ = queries.array.shape
    columns = weighted.shape[2] - 1
    members, launch = combination(machine, of, queries, weighted, columns, group)
    out = machine.empty((b, heads, rows, columns), dtype)
    share = machine.empty((b * heads, members["tiles"]), np.float64)
    arguments = struct(**members, **rows_of(machine, hull, queries.lengths, out, share))
    machine.run("features.cu", f"features_evaluate_{of.count}", arguments, launch)
    return out, share.min(axis=1)


def largest_sums(machine: Machine, of: Table, queries: Points, weighted: Any, group: int) -> Any:
    """(batch·heads,): the largest Z = Σ_α x^α weighted_α of a head, for a table without columns of values.

    It is at least 0, and infinite where a number is not finite.
    """
    b, heads, rows, _ = queries.array.shape
    members, launch = combination(machine, of, queries, weighted, 0, group)
    nothing = Hull(*(machine.empty((0,), np.float64) for _ in range(4)))
    out = machine.empty((b, heads, rows, 0), np.float64)
    share, most = (machine.empty((b * heads, members["tiles"]), np.float64) for _ in range(2))
    arguments = struct(**members, **rows_of(machine, nothing, queries.lengths, out, share, most))
    machine.run("features.cu", f"features_evaluate_{of.count}", arguments, launch)
    return most.max(axis=1)


def totals(machine: Machine, of: Table, points: Points, weighted: Any) -> Any:
    """(batch, heads, rows, columns): Σ_α x^α weighted_α at all points; the last column of ``weighted`` is left out."""
    b, heads, rows, _ = points.array.shape
    columns = weighted.shape[2] - 1
    out = machine.empty((b, heads, rows, columns), np.float64)
    members, launch = combination(machine, of, points, weighted, columns, 1)
    arguments = struct(**members, out=machine.address(out))
    machine.run("features.cu", f"features_totals_{of.count}", arguments, launch)
    return out


def combination(
    machine: Machine, of: Table, points: Points, weighted: Any, columns: int, group: int
) -> tuple[dict[str, Any], Launch]:
    """The members of the struct ``Combination``, and the launch of a kernel that combines."""
    b, heads, rows, _ = points.array.shape
    tiles = max(-(-rows // ROWS), 1)
    members = {
        **of.members(machine),
        **points.members(machine),
        "weighted": address_of(machine, weighted),
        "group": group,
        "columns": columns,
        "tiles": tiles,
    }
    shared = 8 * (of.entries * (ROWS + 1) + 4 * (COLUMNS + 1) * ROWS)
    return members, Launch(b * heads * tiles * max(-(-columns // COLUMNS), 1), THREADS, shared)


def rows_of(machine: Machine, hull: Hull, lengths: Any, out: Any, share: Any, most: Any = None) -> dict[str, Any]:
    """The members of the struct ``Evaluate`` behind its first."""
    return {
        "middle": address_of(machine, hull.middle),
        "grow": machine.address(hull.grow),
        "least": machine.address(hull.least),
        "largest": machine.address(hull.largest),
        "lengths": address_of(machine, lengths),
        "out": machine.address(out),
        "share": machine.address(share),
        "most": address_of(machine, most),
        "out_type": TYPES.index(out.dtype.name),
    }


def certify(
    machine: Machine, plan: Plan, reach: Any, share: Any, hull: Hull, lengths: Any, shape: tuple[int, int, int, int],
    dtype: str, moments: Mapping[int, Any] | None = None,
) -> Any:  # fmt: skip
    """The bound of GPU-11, of a shape (batch, heads, 1, columns); infinite where its conditions do not hold.

    reach (batch·heads, 3): bounds of the scores, of the norms of queries, and of what scores are off besides.
    share: that of :func:`evaluate`.  moments: of GPU-18, (batch·heads,) for every order, where the plan is of one.
    """
    b, heads, _, columns = shape
    out = machine.empty(shape, np.float64)
    relative, absolute = STORED[dtype]
    arguments = struct(
        reach=machine.address(reach),
        share=machine.address(share),
        least=machine.address(hull.least),
        largest=machine.address(hull.largest),
        middle=address_of(machine, hull.middle),
        grow=machine.address(hull.grow),
        moment=address_of(machine, moments[plan.order] if moments and plan.order else None),
        lengths=address_of(machine, lengths),
        out=machine.address(out),
        per_batch=heads,
        group=b * heads * columns // hull.grow.size,
        columns=columns,
        count=b * heads,
        radius=plan.radius,
        cut=plan.cut,
        growth=plan.growth,
        relative=relative,
        absolute=absolute,
        most=MOST[dtype],
        measure=plan.measure,
        loss=plan.loss,
    )
    machine.run("features.cu", "features_certify", arguments, blocks(b * heads * columns))
    return out


def address_of(machine: Machine, array: Any) -> int:
    """The address of an array, and 0 for ``None``."""
    return 0 if array is None else machine.address(array)


def blocks(count: int) -> Launch:
    """A thread for each of so many numbers, in the blocks of ``polynomial.cuh``."""
    return Launch(-(-count // THREADS), THREADS, 0)


def _sliced(machine: Machine, points: Points, slices: int, out: Any, **more: int) -> Any:
    """The structs ``Extent`` and, with a centre, ``Norms``."""
    heads, rows, columns = points.array.shape[1:]
    return struct(
        points=view(machine, points.array, points.array.shape),
        lengths=address_of(machine, points.lengths),
        **more,
        out=machine.address(out),
        type=TYPES.index(points.array.dtype.name),
        heads=heads,
        rows=rows,
        columns=columns,
        slices=slices,
    )
