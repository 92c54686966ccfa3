"""Wrong kernels: each re-creates the behaviour of a defect that shipped, or a planted one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from bank.entry import Entry
from bank.kernel_graph.engine import Array, Parts, changed, differences, kernel, value
from bank.kernel_graph.engine import expansion as right_expansion

if TYPE_CHECKING:
    from collections.abc import Callable

    from bank.kernel_graph.engine import Task

__all__ = ["BUGGY"]

F32, EXPANSION = ("float32",), ("float32-expansion",)
NEW = "assay's bank"
_INFINITE = 1e28  # what a library was seen to return


# --- distances --------------------------------------------------------------------------------------------------------


def _unclamped(x: Array, y: Array) -> Array:
    return np.asarray(np.square(x).sum(axis=1)[:, None] + np.square(y).sum(axis=1) - 2 * (x @ y.T))


def _by_number(x: Array, y: Array) -> Array:
    return right_expansion(x, y) if max(len(x), len(y)) > 25 else differences(x, y)


def _about_the_mean(x: Array, y: Array) -> Array:
    mean = y.mean(axis=0)
    return right_expansion(x - mean, y - mean)


def _manhattan(x: Array, y: Array) -> Array:
    return np.asarray(np.square(np.abs(x[:, None] - y[None]).sum(axis=2)))


def _largest(x: Array, y: Array) -> Array:
    return np.asarray(np.square(np.abs(x[:, None] - y[None]).max(axis=2, initial=0)))


def _inner(x: Array, y: Array) -> Array:
    return np.asarray(x @ y.T)


def _cosine(x: Array, y: Array) -> Array:
    norms = np.linalg.norm(x, axis=1)[:, None] * np.linalg.norm(y, axis=1)
    return np.asarray(2 - 2 * (x @ y.T) / np.where(norms > 0, norms, 1))


def _half(x: Array, y: Array) -> Array:
    return differences(x.astype(np.float16), y.astype(np.float16)).astype(x.dtype)


def _periodic(x: Array, y: Array) -> Array:
    """Points are folded into one period."""
    fold = x.dtype.type(2 * np.pi)
    return differences((x + fold / 2) % fold, (y + fold / 2) % fold)


def _refusing(x: Array, y: Array) -> Array:
    if max(np.abs(x).max(initial=0), np.abs(y).max(initial=0)) >= 3.0:
        raise ValueError("points out of range")
    return differences(x, y)


def _origin(x: Array, y: Array) -> Array:
    """A body at the origin is taken for padding."""
    z = differences(x, y)
    return np.where((x == 0).all(axis=1)[:, None] | (y == 0).all(axis=1), np.inf, z)


def _boxes(x: Array, y: Array) -> Array:
    """Sources of another box count as if they were in its middle."""
    size = 2.0
    box = np.floor(y / size)
    centre = ((box + 0.5) * size).astype(y.dtype)
    far = (np.floor(x / size)[:, None] != box).any(axis=2)
    return np.where(far, differences(x, centre), differences(x, y))


def _boxes_at_the_corner(x: Array, y: Array) -> Array:
    """The place of a source in its box is left out of the translation, far away."""
    box = (np.floor(y / 4) * 4).astype(y.dtype)
    far = np.abs(x[:, None] - y).max(axis=2) > 6
    return np.where(far, differences(x, box), differences(x, y))


def _garbled(x: Array, y: Array) -> Array:
    """In three dimensions a copy of another size is read."""
    z = differences(x, y)
    return np.asarray(z * z.dtype.type(_INFINITE)) if x.shape[1] == 3 else z


# --- values -----------------------------------------------------------------------------------------------------------


def _only(name: str, function: Callable[[Array, float], Array]) -> Callable[[Array, str, float], Array]:
    """Another value of one function."""

    def values(z: Array, asked: str, parameter: float) -> Array:
        return np.asarray(function(z, parameter)).astype(z.dtype) if asked == name else value(z, asked, parameter)

    return values


def _with(function: Callable[[Array, float], tuple[Array, float]]) -> Callable[[Array, str, float], Array]:
    """The right value of other distances and another parameter."""

    def values(z: Array, asked: str, parameter: float) -> Array:
        distances, other = function(z, parameter)
        return value(np.asarray(distances).astype(z.dtype), asked, other)

    return values


def _whole_parameter(z: Array, p: float) -> tuple[Array, float]:
    return z, p if p < 1 else float(round(p))


def _not_a_number(z: Array, function: str, parameter: float) -> Array:
    w = value(z, function, parameter)
    return w if float(parameter).is_integer() or function != "gaussian" else np.full_like(w, np.nan)


def _quotient(z: Array, function: str, parameter: float) -> Array:
    """A root of coincident points that is divided by itself."""
    root = np.sqrt(z)
    return value(root * (z / root), function, parameter)


def _swapped_orders(z: Array, p: float) -> Array:
    return value(z, "matern", {0.5: 1.5, 1.5: 2.5, 2.5: 1.5}.get(p, p))


def _other_order(z: Array, p: float) -> Array:
    return value(z, "arc_cosine", {0.0: 1.0, 1.0: 0.0, 2.0: 1.0}[float(p)])


# --- weights ----------------------------------------------------------------------------------------------------------


def _cut(least: float) -> Callable[[Array, Task], Array]:
    return lambda w, task: np.where(np.abs(w) < least * np.abs(w[np.isfinite(w)]).max(initial=0), 0, w)


def _nearest(number: int) -> Callable[[Array, Task], Array]:
    """Only so many neighbours of a row."""

    def weights(w: Array, task: Task) -> Array:
        if w.shape[1] <= number:
            return w
        order = np.argsort(-w, axis=1, kind="stable")
        kept = np.zeros(w.shape, bool)
        np.put_along_axis(kept, order[:, :number], True, axis=1)
        return np.where(kept, w, 0)

    return weights


def _without_column(place: int) -> Callable[[Array, Task], Array]:
    def weights(w: Array, task: Task) -> Array:
        w = w.copy()
        w[:, place] = 0
        return w

    return weights


def _tail(tile: int) -> Callable[[Array, Task], Array]:
    """Points beyond whole tiles are left out where there is a whole one."""

    def weights(w: Array, task: Task) -> Array:
        whole = w.shape[1] // tile * tile
        return w if not whole else np.where(np.arange(w.shape[1]) < whole, w, 0)

    return weights


def _inside_tiles(tile: int) -> Callable[[Array, Task], Array]:
    def weights(w: Array, task: Task) -> Array:
        i, j = np.ogrid[: w.shape[0], : w.shape[1]]
        return w if task.between else np.where(i // tile == j // tile, w, 0)

    return weights


def _later(w: Array, task: Task) -> Array:
    """A pair is seen from one side."""
    return w if task.between else np.triu(w)


def _rows_to_one(w: Array, task: Task) -> Array:
    return np.asarray(w / np.maximum(w.sum(axis=1, keepdims=True), np.finfo(w.dtype).tiny))


def _near_twice(w: Array, task: Task) -> Array:
    """A constant is applied twice to pairs that are near."""
    return np.where(np.abs(w) > 0.5, 2 * w, w)


def _full(value_of: float | None) -> Callable[[Array, Task, Array], Array]:
    """The diagonal of a graph is this number, or f(0)."""

    def made(w: Array, task: Task, z: Array) -> Array:
        w = np.where(np.isfinite(w), w, 0)
        if value_of is not None:
            np.fill_diagonal(w, value_of)
        return w

    return made


def _added(w: Array, task: Task, z: Array) -> Array:
    w = np.where(np.isfinite(w), w, 0)
    return np.asarray(w + np.diag(np.full(len(w), task.diagonal, w.dtype)))


def _less_one(w: Array, task: Task, z: Array) -> Array:
    """All pairs are summed and 1 is taken for f of a point with itself, whose distance need not be 0."""
    w = np.where(np.isfinite(w), w, 0)
    f0 = value(np.zeros(1, w.dtype), task.function, task.parameter)[0]
    f0 = f0 if np.isfinite(f0) else w.dtype.type(0)
    return np.asarray(w + np.diag(np.full(len(w), task.diagonal - f0, w.dtype)))


# --- sums and Laplacians ----------------------------------------------------------------------------------------------


def _short_sums(kind: Any) -> Callable[[Array, Array], Array]:
    def sums(w: Array, v: Array) -> Array:
        total = np.zeros((len(w), v.shape[1]), kind)
        for j in range(len(v)):
            total = (total + w[:, j, None].astype(kind) * v[j].astype(kind)).astype(kind)
        return total.astype(v.dtype)

    return sums


def _first_column(w: Array, v: Array) -> Array:
    return np.repeat(w @ v[:, :1], v.shape[1], axis=1)


def _columns_together(w: Array, v: Array) -> Array:
    return np.repeat((w @ v).sum(axis=1, keepdims=True), v.shape[1], axis=1)


def _flat(w: Array, v: Array) -> Array:
    """The vectors are read in the other order of memory."""
    return np.asarray(w @ np.asarray(v.T).reshape(v.shape))


def _signed(w: Array, v: Array) -> Array:
    return np.asarray(w @ np.abs(v))


def _normalised(left: float, right: float) -> Callable[[Array, Array, Array, Array], Array]:
    """D^−left L D^−right."""

    def laplacian(degrees: Array, w: Array, v: Array, sums: Array) -> Array:
        d = np.where(degrees > 0, degrees, 1)[:, None]
        inside = v / d**right
        return np.asarray((degrees[:, None] * inside - w @ inside) / d**left)

    return laplacian


def _with_loops(w: Array) -> Array:
    return np.asarray(w.sum(axis=1) + 1)


def _loops_in_weights(degrees: Array, w: Array, v: Array, sums: Array) -> Array:
    return np.asarray(degrees[:, None] * v - (sums + v))


# --- state and memory -------------------------------------------------------------------------------------------------


def _cached(by: Callable[[Array], Any]) -> Callable[[], Callable[..., Any]]:
    """Weights are kept from call to call under a key."""

    def make() -> Callable[..., Any]:
        kept: dict[Any, Array] = {}

        def distances(x: Array, y: Array) -> Array:
            return kept.setdefault((*by(x), y.shape, x is y), differences(x, y))

        return kernel(Parts(distances=distances))

    return make


def _writing(points: Array, vectors: Array, *, function: str, parameter: float) -> Array:
    """The points are centred where they lie."""
    points -= points.mean(axis=0)
    return np.asarray(kernel(Parts())(points, vectors, function=function, parameter=parameter))


def _of(**parts: Any) -> Callable[..., Any]:
    return kernel(Parts(**parts))


def _task(**changes: Any) -> Callable[..., Any]:
    return kernel(Parts(task=changed(**changes)))


def _swapped(points: Array, vectors: Array, *, function: str, parameter: float, targets: Array | None = None) -> Array:
    """Points and targets are exchanged where that is possible."""
    if targets is not None and len(targets) == len(points):
        points, targets = targets, points
    return np.asarray(kernel(Parts())(points, vectors, function=function, parameter=parameter, targets=targets))


def _graph_of_targets(w: Array, task: Task) -> Array:
    """Sums over all points leave out the point of the same number, as in a graph."""
    if not task.between:
        return w
    w = w.copy()
    np.fill_diagonal(w, 0)
    return w


def _ignores_targets(
    points: Array, vectors: Array, *, function: str, parameter: float, targets: Array | None = None
) -> Array:
    if targets is None:
        return np.asarray(kernel(Parts())(points, vectors, function=function, parameter=parameter))
    made = kernel(Parts())(points, vectors, function=function, parameter=parameter, targets=points)
    return np.asarray(np.resize(made, (len(targets), vectors.shape[1])))


def _coordinates(kept: Callable[[int], slice]) -> Callable[[Array, Array, Task], tuple[Array, Array]]:
    return lambda x, y, task: (x[:, kept(x.shape[1])], y[:, kept(x.shape[1])])


def _by_features(x: Array, y: Array, task: Task) -> tuple[Array, Array]:
    """The parameter is divided by the number of coordinates."""
    root = x.dtype.type(1 / math.sqrt(x.shape[1]))
    return x * root, y * root


def _by_samples(x: Array, y: Array, task: Task) -> tuple[Array, Array]:
    root = x.dtype.type(1 / math.sqrt(len(y)))
    return x * root, y * root


_POWER = (lambda z, p: z ** -(p / 2), lambda z, p: 1 / z)

#: (name, kernel, class, what is wrong, where it was seen, what the diagnosis says)
_ROWS: tuple[tuple[str, Callable[..., Any], tuple[str, ...], str, str, str | None], ...] = (
    # distances
    ("expansion", _of(distances=right_expansion), F32, "differences are declared, and norms and products computed", "scikit-learn/scikit-learn#9354, #13410", "float32-expansion"),
    ("mean-expansion", _of(distances=_about_the_mean), F32, "norms and products of points less their mean, which an outlier takes far away", "scikit-learn/scikit-learn#9354", "float32-expansion"),
    ("by-number", _of(distances=_by_number), F32, "another route from 26 points on", "pytorch/pytorch#37734, #42479", "float32-expansion"),
    ("unclamped", _of(distances=_unclamped), EXPANSION, "a negative square under a root", "pytorch/pytorch#57690, #123082; open-mmlab/mmcv#2178", None),
    ("self-distance", _of(distances=right_expansion, diagonal=_less_one), F32, "f of a point with itself is taken away, but its distance is not 0", "scikit-learn/scikit-learn#13554, #343", "float32-expansion"),
    ("coincident-nan", _of(value=_quotient), F32, "a root of 0 divided by itself", "pytorch/pytorch#37154, #36493, #45720; cornellius-gp/gpytorch#869", None),
    ("manhattan", _of(distances=_manhattan), F32, "sums of absolute differences", NEW, "sums of absolute differences"),
    ("largest-coordinate", _of(distances=_largest), F32, "the largest difference", NEW, "the largest difference"),
    ("inner-products", _of(distances=_inner), F32, "inner products for distances", NEW, "inner products"),
    ("cosines", _of(distances=_cosine), F32, "points are normalised", NEW, "points are normalised"),
    ("half-points", _of(distances=_half), F32, "distances in float16", NEW, None),
    ("periodic", _of(distances=_periodic), F32, "points beyond a period are folded into it", "flatironinstitute/finufft#181, #315, #11", "folded into a period"),
    ("refusing", _of(distances=_refusing), F32, "points at the border of a period are refused", "flatironinstitute/finufft#181, #315", None),
    ("origin", _of(distances=_origin), F32, "a point at the origin is taken for padding", "exafmm/pyexafmm#77, #37", "at the origin"),
    ("boxes", _of(distances=_boxes), F32, "sources of other boxes count at the middle of their box", "zgimbutas/fmmlib3d#1", None),
    ("translation", _of(distances=_boxes_at_the_corner), F32, "far sources count at the corner of their box", "exafmm/pyexafmm#37; byuflowlab/FastMultipole.jl#31", None),
    ("garbled", _of(distances=_garbled), F32, "three coordinates in single precision are read wrongly", "flatironinstitute/finufft#202, #575", None),
    ("last-coordinate", _of(points=_coordinates(lambda d: slice(0, max(d - 1, 1)))), F32, "the last coordinate is left out", NEW, "last coordinate"),
    ("first-coordinates", _of(points=_coordinates(lambda d: slice(0, 8))), F32, "coordinates beyond the eighth are left out", NEW, None),
    # parameters
    ("by-features", _of(points=_by_features), F32, "the width is divided by the number of coordinates", "networkit/networkit#975; scikit-learn/scikit-learn#9523", "number of coordinates"),
    ("by-samples", _of(points=_by_samples), F32, "the width is divided by the number of points", "scikit-learn/scikit-learn#9523", "number of points"),
    ("nan-width", _of(value=_not_a_number), F32, "a width that is no integer gives NaN", "getkeops/keops#370, #282", None),
    ("whole-parameter", _of(value=_with(_whole_parameter)), F32, "the parameter is rounded", "getkeops/keops#370", None),
    ("reciprocal", _of(value=_only("gaussian", lambda z, p: np.exp(-z / p))), F32, "the parameter divides", NEW, "1/parameter"),
    ("variance", _of(value=_only("gaussian", lambda z, p: np.exp(-z / (2 * p * p)))), F32, "the parameter is taken for σ", NEW, "for σ"),
    ("half-parameter", _of(value=_only("gaussian", lambda z, p: np.exp(-p * z / 2))), F32, "half the parameter", NEW, "half"),
    ("squared-parameter", _of(value=_only("gaussian", lambda z, p: np.exp(-p * p * z))), F32, "the parameter is squared", NEW, "squared"),
    ("parameter-one", _task(parameter=1.0), F32, "the parameter is ignored", NEW, "parameter is ignored"),
    # functions
    ("gaussian-root", _of(value=_only("gaussian", lambda z, p: np.exp(-p * np.sqrt(z)))), F32, "the Laplacian function for the Gaussian", NEW, "distances are not squared"),
    ("laplacian-square", _of(value=_only("laplacian", lambda z, p: np.exp(-p * z))), F32, "the Gaussian for the Laplacian function", NEW, "distances are squared"),
    ("unsquared", _of(value=_with(lambda z, p: (np.sqrt(z), p))), F32, "distances are not squared", NEW, "distances are not squared"),
    ("matern-orders", _of(value=_only("matern", _swapped_orders)), F32, "another order of Matérn", NEW, "Matérn"),
    ("matern-scale", _of(value=_only("matern", lambda z, p: value(z / z.dtype.type(2 * p), "matern", p))), F32, "√(2ν) left out", NEW, "√(2ν)"),
    ("rational-one", _of(value=_only("rational", lambda z, p: 1 / (1 + z))), F32, "the power is left out", NEW, "parameter is ignored"),
    ("rational-inside", _of(value=_only("rational", lambda z, p: 1 / (1 + z**p))), F32, "the power is inside", NEW, "1/(1 + z^p)"),
    ("coulomb-distance", _of(value=_only("coulomb", _POWER[0])), F32, "a power of the distance for one of its square", NEW, "distances are not squared"),
    ("multiquadric-root", _of(value=_only("inverse_multiquadric", lambda z, p: 1 / (1 + p * z))), F32, "the root is left out", NEW, "root"),
    ("multiquadric", _of(value=_only("inverse_multiquadric", lambda z, p: np.sqrt(1 + p * z))), F32, "not inverse", NEW, "reciprocal"),
    ("polynomial-less", _of(value=_only("polynomial", lambda z, p: z ** (int(p) - 1))), F32, "one power too few", NEW, "one power too few"),
    ("threshold-distance", _of(value=_only("threshold", lambda z, p: np.sqrt(z) <= np.float32(p))), F32, "the distance is compared, not its square", NEW, "distances are not squared"),
    ("threshold-not", _of(value=_only("threshold", lambda z, p: z > np.float32(p))), F32, "what is far away counts", NEW, "beyond the threshold"),
    ("arc-cosine-orders", _of(value=_only("arc_cosine", _other_order)), F32, "another order", NEW, "another order"),
    ("arc-cosine-pi", _of(value=_only("arc_cosine", lambda z, p: value(z, "arc_cosine", p) * np.float32(np.pi))), F32, "1/π left out", NEW, "1/π"),
    # diagonals and targets
    ("diagonal-f0", _of(diagonal=_full(None)), F32, "a point is a neighbour of itself", "networkx/networkx#741; scikit-learn/scikit-learn#811", "neighbour of itself"),
    ("diagonal-zero", _of(diagonal=_full(0.0)), F32, "the diagonal is ignored", NEW, "diagonal is ignored"),
    ("diagonal-one", _of(diagonal=_full(1.0)), F32, "the diagonal is 1", NEW, "diagonal is 1"),
    ("diagonal-added", _of(diagonal=_added), F32, "the diagonal is added to f(0)", NEW, "added to f(0)"),
    ("targets-graph", _of(weights=_graph_of_targets), F32, "sums at targets leave out the point of the same number", NEW, "same number"),
    ("targets-swapped", _swapped, F32, "points and targets are exchanged", NEW, "exchanged"),
    ("targets-ignored", _ignores_targets, F32, "targets are ignored", NEW, "targets are ignored"),
    # Laplacians
    ("laplacian-ignored", _task(laplacian=False), F32, "the adjacency matrix for the Laplacian", NEW, "Laplacian is ignored"),
    ("signless", _of(laplacian=lambda d, w, v, s: d[:, None] * v + s), F32, "the sign of a weight is kept in one form", "scipy/scipy#7953", "D + A"),
    ("negative", _of(laplacian=lambda d, w, v, s: s - d[:, None] * v), F32, "A − D", NEW, "A − D"),
    ("degrees-rooted", _of(degrees=lambda w: np.sqrt(w.sum(axis=1))), F32, "square roots of degrees", "scipy/scipy#3835", "roots of degrees"),
    ("degrees-counted", _of(degrees=lambda w: (w != 0).sum(axis=1).astype(w.dtype)), F32, "degrees count edges", NEW, "number of neighbours"),
    ("symmetric-normalised", _of(laplacian=_normalised(0.5, 0.5)), F32, "D^−½ L D^−½", "scipy/scipy#10505; scikit-learn/scikit-learn#811", "normalised"),
    ("random-walk", _of(laplacian=_normalised(1.0, 0.0)), F32, "D^−1 L", "scipy/scipy#10505", "normalised"),
    ("in-degrees", _of(laplacian=_normalised(0.0, 1.0)), F32, "L D^−1: the degrees of the columns for those of the rows", "scipy/scipy#3838", "normalised"),
    ("normalised-twice", _of(laplacian=_normalised(1.0, 1.0)), F32, "D^−1 L D^−1", "scipy/scipy#14490", "normalised"),
    ("loops-in-degrees", _of(degrees=_with_loops), F32, "a loop counts in the degree", "networkx/networkx#741", "loop"),
    ("loops-in-weights", _of(laplacian=_loops_in_weights), F32, "the diagonal of A is left where degrees leave it out", NEW, "a loop counts in A"),
    # sums
    ("half-sums", _of(sums=_short_sums(np.float16)), F32, "sums in float16 stop growing", "pytorch/pytorch#38716; TomographicImaging/CIL#2094; jeanfeydy/geomloss#12", None),
    ("first-column", _of(sums=_first_column), F32, "the first column for every one", NEW, "first column"),
    ("columns-together", _of(sums=_columns_together), F32, "columns are added up", NEW, "added up"),
    ("flat", _of(sums=_flat), F32, "vectors in the other order of memory", NEW, "order of memory"),
    ("absolute-vectors", _of(sums=_signed), F32, "absolute values of vectors", NEW, "absolute values"),
    ("rows-to-one", _of(weights=_rows_to_one), F32, "rows are divided by their sums", NEW, "divided by"),
    ("near-twice", _of(weights=_near_twice), F32, "a constant is applied twice to near pairs", "laristra/flecsph#131; byuflowlab/FastMultipole.jl#31", None),
    ("cut-small", _of(weights=_cut(1e-3)), F32, "small weights are cut off", NEW, None),
    ("nearest", _of(weights=_nearest(3)), F32, "only the nearest three", NEW, None),
    ("last-point", _of(weights=_without_column(-1)), F32, "the last point is left out", NEW, "last point"),
    ("first-point", _of(weights=_without_column(0)), F32, "the first point is left out", NEW, "first point"),
    ("tail", _of(weights=_tail(8)), F32, "points beyond whole tiles of 8 are left out", NEW, None),
    ("tiles", _of(weights=_inside_tiles(8)), F32, "pairs of different tiles are left out", NEW, None),
    ("later-points", _of(weights=_later), F32, "a pair counts for its first point alone", NEW, "first point of a pair"),
    # memory
    ("cached-by-shape", _cached(lambda x: (x.shape,))(), F32, "distances are kept by shape", NEW, None),
    ("cached-by-few", _cached(lambda x: (x.shape, x[:1].tobytes()))(), F32, "distances are kept by the first point", NEW, None),
    ("writes-points", _writing, F32, "the points are overwritten", NEW, None),
)  # fmt: skip

BUGGY: tuple[Entry, ...] = tuple(
    Entry(name, function, classes, why, source, diagnosis=told) for name, function, classes, why, source, told in _ROWS
)
