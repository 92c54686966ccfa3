"""Correct kernels of unusual structure: the judge must pass every one, in every class that it names."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from bank.entry import Entry
from bank.kernel_graph.engine import Array, Parts, differences, expansion, kernel, value

if TYPE_CHECKING:
    from collections.abc import Callable

    from bank.kernel_graph.engine import Task

__all__ = ["CORRECT", "plain"]

DIFFERENCE = ("float32", "float64")
EXPANSION = ("float32-expansion", "float64-expansion")
#: Functions that are finite at 0.
FINITE = (
    "gaussian", "laplacian", "rational", "matern", "inverse_multiquadric", "polynomial", "arc_cosine", "threshold"
)  # fmt: skip

plain = kernel(Parts())


# --- distances --------------------------------------------------------------------------------------------------------


def _scaled(x: Array, y: Array, task: Task) -> tuple[Array, Array]:
    """Coordinates are scaled by the root of the parameter, as libraries with a length scale do."""
    root = x.dtype.type(math.sqrt(task.parameter)) if task.function == "gaussian" else x.dtype.type(1)
    return x * root, y * root


def _unit(z: Array, function: str, parameter: float) -> Array:
    return value(z, function, 1.0 if function == "gaussian" else parameter)


def _centred(x: Array, y: Array, _task: Task) -> tuple[Array, Array]:
    middle = y.mean(axis=0).clip(y.min(axis=0), y.max(axis=0)).astype(x.dtype)
    return x - middle, y - middle


def _norms(x: Array, y: Array) -> Array:
    """Distances first, which are squared again."""
    distance = np.sqrt(differences(x, y))
    return distance * distance


def _backwards(x: Array, y: Array) -> Array:
    return differences(x[:, ::-1], y[:, ::-1])


def _one_by_one(x: Array, y: Array) -> Array:
    """Pair after pair, each of them by a product of the difference with itself."""
    made = np.zeros((len(x), len(y)), x.dtype)
    for i, row in enumerate(x):
        for j, column in enumerate(y):
            made[i, j] = (row - column) @ (row - column)
    return made


def _upper(x: Array, y: Array) -> Array:
    """Every pair of a graph once."""
    if x is not y:
        return differences(x, y)
    half = np.triu(differences(x, y), 1)
    return np.asarray(half + half.T)


def _columns(x: Array, y: Array) -> Array:
    """One product of d + 2 columns."""
    one = np.ones((1, 1), x.dtype)
    left = np.hstack([-2 * x, np.square(x).sum(axis=1, keepdims=True), one.repeat(len(x), 0)])
    right = np.hstack([y, one.repeat(len(y), 0), np.square(y).sum(axis=1, keepdims=True)])
    return np.maximum(left @ right.T, 0)


def _by_number(x: Array, y: Array) -> Array:
    """Differences up to 25 points, products beyond, as torch.cdist does unless it is told otherwise."""
    return expansion(x, y) if max(len(x), len(y)) > 25 else differences(x, y)


def _about_the_middle(x: Array, y: Array) -> Array:
    middle = y.mean(axis=0).clip(y.min(axis=0), y.max(axis=0)).astype(x.dtype)
    return expansion(x - middle, y - middle)


# --- values -----------------------------------------------------------------------------------------------------------


def _powers_of_two(z: Array, function: str, parameter: float) -> Array:
    """e^x as 2^(x·log₂e), the constant with the parameter."""
    if function != "gaussian":
        return value(z, function, parameter)
    return np.exp2(-z.dtype.type(parameter * math.log2(math.e)) * z)


def _logarithms(z: Array, function: str, parameter: float) -> Array:
    """Powers as e^(p·log)."""
    if function not in ("rational", "coulomb"):
        return value(z, function, parameter)
    log = np.log(z) if function == "coulomb" else np.log1p(z)
    return np.exp(-z.dtype.type(parameter) * log)


def _with_a_table(z: Array, function: str, parameter: float) -> Array:
    """Every distance that occurs is computed once."""
    distinct, place = np.unique(z, return_inverse=True)
    return np.asarray(value(distinct, function, parameter)[place.reshape(z.shape)])


def _doubled(z: Array, function: str, parameter: float) -> Array:
    """A threshold is compared with the double of both sides."""
    if function != "threshold":
        return value(z, function, parameter)
    return np.asarray(z + z <= z.dtype.type(2 * parameter)).astype(z.dtype)


def _strict(z: Array, function: str, parameter: float) -> Array:
    if function != "threshold":
        return value(z, function, parameter)
    return np.asarray(z < z.dtype.type(parameter)).astype(z.dtype)


# --- sums -------------------------------------------------------------------------------------------------------------


def _last_first(w: Array, v: Array) -> Array:
    total = np.zeros((len(w), v.shape[1]), v.dtype)
    for j in range(len(v))[::-1]:
        total += w[:, j, None] * v[j]
    return total


def _kahan(w: Array, v: Array) -> Array:
    total = np.zeros((len(w), v.shape[1]), v.dtype)
    lost = np.zeros_like(total)
    for j in range(len(v)):
        term = w[:, j, None] * v[j] - lost
        new = total + term
        lost, total = (new - total) - term, new
    return total


def _halves(w: Array, v: Array) -> Array:
    if len(v) < 3:
        return np.asarray(w @ v)
    middle = len(v) // 2
    return np.asarray(_halves(w[:, :middle], v[:middle]) + _halves(w[:, middle:], v[middle:]))


def _sparse(w: Array, v: Array) -> Array:
    """Edges in a list; what is 0 is none."""
    rows, columns = np.nonzero(w)
    total = np.zeros((len(w), v.shape[1]), v.dtype)
    np.add.at(total, rows, w[rows, columns, None] * v[columns])
    return total


def _blocks(w: Array, v: Array) -> Array:
    return sum((w[:, s : s + 5] @ v[s : s + 5] for s in range(5, len(v), 5)), w[:, :5] @ v[:5])


def _of_differences(degrees: Array, w: Array, v: Array, sums: Array) -> Array:
    """Σ_j w_ij(v_i − v_j): constants give exactly 0."""
    return np.asarray(np.einsum("ij,ijc->ic", w, v[:, None] - v[None]))


def _of_edges(degrees: Array, w: Array, v: Array, sums: Array) -> Array:
    """Bᵀ W B v, edge after edge."""
    out = np.zeros_like(v)
    for i, j in zip(*np.nonzero(np.triu(w, 1)), strict=True):
        flow = w[i, j] * (v[i] - v[j])
        out[i] += flow
        out[j] -= flow
    return out


def _of_one_more_column(w: Array, v: Array) -> Array:
    """The degrees are the product with a column of ones, in the same pass."""
    return np.asarray((w @ np.hstack([v, np.ones_like(v[:, :1])]))[:, :-1])


# --- other structures -------------------------------------------------------------------------------------------------


def _all_minus_diagonal(
    points: Array, vectors: Array, *, function: str, parameter: float, diagonal: float = 0.0
) -> Array:
    """All pairs are summed, and f(0) of a vertex with itself is taken away; not for functions that are infinite at 0."""
    work = np.float64 if points.dtype.itemsize == 8 else np.float32
    x, v = points.astype(work), vectors.astype(work)
    with np.errstate(all="ignore"):
        w = value(differences(x, x), function, parameter)
        own = work(diagonal) - value(np.zeros(1, work), function, parameter)[0]
    return np.asarray(w @ v + own * v).astype(points.dtype)


def _row_after_row(
    points: Array, vectors: Array, *, function: str, parameter: float, targets: Array | None = None
) -> Array:
    """Memory of one row; without options that others have."""
    others = points if targets is None else targets
    rows = []
    for i in range(len(others)):
        row = plain(points, vectors, function=function, parameter=parameter, targets=others[i : i + 1])
        if targets is None:
            kept = np.arange(len(points)) != i
            if not kept.any():
                row = np.zeros_like(vectors[:1])
            else:
                row = plain(
                    points[kept], vectors[kept], function=function, parameter=parameter, targets=others[i : i + 1]
                )
        rows.append(row)
    return np.concatenate(rows)


def _gaussian_alone(points: Array, vectors: Array, *, function: str, parameter: float) -> Array:
    """One function and no option."""
    return plain(points, vectors, function=function, parameter=parameter)


def _symmetric_sums(points: Array, vectors: Array, *, function: str, parameter: float) -> Array:
    """Every pair once: what i gives to j is given with what j gives to i."""
    work = np.float64 if points.dtype.itemsize == 8 else np.float32
    x, v = points.astype(work), vectors.astype(work)
    out = np.zeros_like(v)
    for i in range(len(x) - 1):
        with np.errstate(all="ignore"):
            w = value(differences(x[i : i + 1], x[i + 1 :]), function, parameter)[0]
        out[i] += w @ v[i + 1 :]
        out[i + 1 :] += w[:, None] * v[i]
    return out.astype(points.dtype)


def _of(why: str, classes: tuple[str, ...] = DIFFERENCE, **parts: Any) -> tuple[Callable[..., Any], str, Any]:
    return kernel(Parts(**parts)), why, classes


_ENGINE: dict[str, tuple[Callable[..., Any], str, Any]] = {
    "plain": (plain, "differences, in the type of the arrays", (*DIFFERENCE, "float32-given", "float64-given")),
    "double": _of("float64 throughout", ("float32",), work=np.float64),
    "scaled": _of("coordinates are scaled before they are subtracted", points=_scaled, value=_unit),
    "centred": _of("coordinates are centred before they are subtracted", points=_centred),
    "norms": _of("a root that is squared again", distances=_norms),
    "backwards": _of("the last coordinate first", distances=_backwards),
    "pairs": _of("pair after pair", distances=_one_by_one),
    "upper": _of("every distance once", distances=_upper),
    "expansion": _of("norms and a product", EXPANSION, distances=expansion),
    "columns": _of("one product of d + 2 columns", EXPANSION, distances=_columns),
    "by-number": _of("differences for few points and products for many", EXPANSION, distances=_by_number),
    "centred-expansion": _of("norms and a product of centred points", EXPANSION, distances=_about_the_middle),
    "powers-of-two": _of("exponentials of base 2", value=_powers_of_two),
    "logarithms": _of("powers by logarithms", value=_logarithms),
    "table": _of("every distinct distance once", value=_with_a_table),
    "doubled": _of("a threshold of doubled distances", value=_doubled),
    "strict": _of("a distance at the threshold, which a rounding may decide, does not count", value=_strict),
    "last-first": _of("sums from the last point to the first", sums=_last_first),
    "kahan": _of("compensated sums", sums=_kahan),
    "halves": _of("sums of halves", sums=_halves),
    "sparse": _of("a list of edges", sums=_sparse),
    "blocks": _of("blocks of five points", sums=_blocks),
    "degrees-together": _of("the degrees in one product with the vectors", sums=_of_one_more_column),
    "differences-of-vectors": _of("the Laplacian of differences of vectors", laplacian=_of_differences),
    "edges": _of("the Laplacian edge after edge", laplacian=_of_edges),
}  # fmt: skip

CORRECT: tuple[Entry, ...] = (
    *(Entry(name, function, classes, why) for name, (function, why, classes) in _ENGINE.items()),
    Entry(
        "all-minus-diagonal",
        _all_minus_diagonal,
        DIFFERENCE,
        "all pairs, less f(0)",
        options={"functions": ",".join(FINITE)},
    ),
    Entry("row-after-row", _row_after_row, DIFFERENCE, "one row at a time, without a Laplacian or a diagonal"),
    Entry("gaussian", _gaussian_alone, DIFFERENCE, "one function", options={"functions": "gaussian"}),
    Entry("symmetric", _symmetric_sums, DIFFERENCE, "every pair once"),
)
