"""Named wrong answers of products with kernel graphs."""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from assay.conformance.diagnosis.meanings import Meaning, solves
from assay.conformance.kernel_graph.combinations import squares
from assay.conformance.kernel_graph.wrong import Sums, dense, outputs, values, wrong
from assay.spec.kernel_graph.functions import named

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from assay.spec.kernel_graph import Instance

    Array = NDArray[np.float64]

__all__ = ["MEANINGS"]


# --- distances --------------------------------------------------------------------------------------------------------


def _both(instance: Instance) -> tuple[Array, Array]:
    """The points of the rows and of the columns."""
    points = instance.points.astype(np.float64)
    return (points if instance.targets is None else instance.targets.astype(np.float64)), points


def _distances(name: str, sentence: str, function: Callable[[Array, Array], Array]) -> Meaning:
    """Other squared distances, of the points of rows and columns."""
    return Meaning(name, sentence, wrong(lambda i: dense(i, values(i, function(*_both(i))))))


def _squares(x: Array, y: Array) -> Array:
    return np.asarray(np.square(x[:, None] - y[None]).sum(axis=2))


def _unit(x: Array) -> Array:
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    return np.asarray(x / np.where(norms > 0, norms, 1))


def _folded(x: Array, y: Array) -> Array:
    return _squares(*((points + math.pi) % (2 * math.pi) for points in (x, y)))


def _origin(instance: Instance) -> Sums:
    x, y = _both(instance)
    padding = (x == 0).all(axis=1)[:, None] | (y == 0).all(axis=1)
    return dense(instance, np.where(padding, 0.0, values(instance, squares(instance))))


# --- values -----------------------------------------------------------------------------------------------------------


def _valued(name: str, sentence: str, functions: str, of: Callable[[Array, float], Array]) -> Meaning:
    """Another value of some functions: of(z, parameter)."""

    def change(instance: Instance) -> Sums | None:
        if instance.function not in functions.split():
            return None
        with np.errstate(all="ignore"):
            w = np.asarray(of(squares(instance), instance.parameter), np.float64)
        return dense(instance, np.where(np.isfinite(w), w, 0.0))

    return Meaning(name, sentence, wrong(change))


def _scaled(name: str, sentence: str, factor: Callable[[Instance], float]) -> Meaning:
    """Every distance some times as large."""
    return Meaning(
        name, sentence, wrong(lambda i: dense(i, values(i, squares(i) * factor(i))) if factor(i) != 1 else None)
    )


def _of_parameter(name: str, sentence: str, other: Callable[[float], float]) -> Meaning:
    """Another parameter, where the function has it."""

    def change(instance: Instance) -> Instance | None:
        parameter = other(instance.parameter)
        return None if parameter == instance.parameter else instance.replace(parameter=parameter)

    return Meaning(name, sentence, solves(change))


def _unsquared(instance: Instance) -> Sums | None:
    if instance.function == "arc_cosine":
        return None
    return dense(instance, values(instance, np.sqrt(squares(instance))))


def _squared(instance: Instance) -> Sums | None:
    if instance.function == "arc_cosine":
        return None
    return dense(instance, values(instance, np.square(squares(instance))))


def _orders(order: float, name: str = "matern") -> Callable[[Instance], Sums | None]:
    def change(instance: Instance) -> Sums | None:
        if instance.function != name or instance.parameter == order:
            return None
        return dense(instance, named(name, order)(squares(instance)))

    return change


# --- diagonals and degrees --------------------------------------------------------------------------------------------


def _diagonal(name: str, sentence: str, of: Callable[[Instance, float], float]) -> Meaning:
    """Another diagonal of a graph: of(instance, f(0)); f(0) is 0 where it is infinite."""

    def change(instance: Instance) -> Sums | None:
        if instance.targets is not None or instance.laplacian:
            return None
        f0 = float(values(instance, np.zeros(1))[0])
        made = of(instance, f0)
        sums = dense(instance)
        return None if made == instance.diagonal else replace(sums, diagonal=np.full(len(sums.weights), made))

    return Meaning(name, sentence, wrong(change))


def _laplacian(name: str, sentence: str, of: Callable[[Sums, Array], Sums | None]) -> Meaning:
    """Other sums of a Laplacian: of(the right ones, the degrees)."""

    def change(instance: Instance) -> Sums | None:
        sums = dense(instance)
        return None if sums.degrees is None else of(sums, sums.degrees)

    return Meaning(name, sentence, wrong(change))


def _loops_in_weights(instance: Instance) -> Sums | None:
    """A point is its own neighbour in A, and not in the degrees: f(0) is taken from the diagonal of the Laplacian."""
    sums = dense(instance)
    f0 = float(values(instance, np.zeros(1))[0])
    return None if sums.degrees is None or f0 == 0 else replace(sums, degrees=sums.degrees - f0)


def _normalised(left: float, right: float) -> Callable[[Sums, Array], Sums]:
    """D^−left L D^−right."""

    def of(sums: Sums, degrees: Array) -> Sums:
        safe = np.where(degrees > 0, degrees, 1.0)
        rows, columns = safe**-left, safe**-right
        return replace(sums, weights=rows[:, None] * sums.weights * columns, degrees=degrees * rows * columns)

    return of


def _negative(sums: Sums, degrees: Array) -> Sums:
    return Sums(-sums.weights, sums.diagonal, sums.vectors, -degrees)


def _signless(sums: Sums, degrees: Array) -> Sums:
    return replace(sums, weights=-sums.weights)


# --- sums -------------------------------------------------------------------------------------------------------------


def _kept(name: str, sentence: str, kept: Callable[[Array, Instance], NDArray[np.bool_]]) -> Meaning:
    """Some pairs are left out: kept(weights, instance) says which are not."""

    def change(instance: Instance) -> Sums:
        w = values(instance, squares(instance))
        return dense(instance, np.where(kept(w, instance), w, 0.0))

    return Meaning(name, sentence, wrong(change))


def _places(w: Array) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    return np.arange(w.shape[0])[:, None], np.arange(w.shape[1])[None, :]


def _vectors(name: str, sentence: str, of: Callable[[Array], Array]) -> Meaning:
    """Other vectors."""

    def change(instance: Instance) -> Sums | None:
        sums = dense(instance)
        other = of(sums.vectors)
        return None if np.array_equal(other, sums.vectors) else replace(sums, vectors=other)

    return Meaning(name, sentence, wrong(change))


def _columns(name: str, sentence: str, of: Callable[[Array], Array]) -> Meaning:
    """A function of the output."""

    def made(instance: Instance) -> tuple[Array, Array] | None:
        sums = dense(instance)
        output = sums.output()
        other = of(output)
        return None if np.array_equal(other, output) else (other, of(sums.sizes()) + sums.sizes())

    return Meaning(name, sentence, outputs(made))


def _rows_to_one(instance: Instance, *, itself: bool = True) -> Sums:
    """Rows are divided by the sums of their weights.  itself: with that of a point of a graph and itself."""
    sums = dense(instance)
    own = sums.weights.sum(axis=1)
    of_all = itself or instance.targets is not None  # at targets nothing is a row's own
    total = np.maximum(np.abs(values(instance, squares(instance)).sum(axis=1)) if of_all else own, 1e-300)
    degrees = None if sums.degrees is None else own / total
    return replace(sums, weights=sums.weights / total[:, None], degrees=degrees)


def _pairs_twice(instance: Instance) -> Sums | None:
    """Every pair of a graph from both of its ends."""
    if instance.targets is not None:
        return None
    sums = dense(instance)
    return replace(sums, weights=2 * sums.weights, degrees=None if sums.degrees is None else 2 * sums.degrees)


def _exchanged(instance: Instance) -> Instance | None:
    if instance.targets is None or len(instance.targets) != len(instance.points):
        return None
    return instance.replace(points=instance.targets, targets=instance.points)


def _without_targets(instance: Instance) -> tuple[Array, Array] | None:
    """The points stand for the targets: the first rows of it, again and again."""
    if instance.targets is None:
        return None
    points = instance.points.astype(np.float64)
    sums = Sums(values(instance, _squares(points, points)), np.zeros(0), instance.vectors.astype(np.float64))
    shape = (len(instance.targets), instance.vectors.shape[1])
    return np.resize(sums.output(), shape), np.resize(sums.sizes(), shape)


def _other_diagonal(instance: Instance) -> Sums | None:
    """A point of the number of the target is left out."""
    if instance.targets is None:
        return None
    w = values(instance, squares(instance))
    i, j = _places(w)
    return dense(instance, np.where(i == j, 0.0, w))


MEANINGS: tuple[Meaning, ...] = (
    # distances
    _distances("manhattan", "sums of absolute differences stand for distances", lambda x, y: np.square(np.abs(x[:, None] - y[None]).sum(axis=2))),
    _distances("largest", "the largest difference of coordinates stands for the distance", lambda x, y: np.square(np.abs(x[:, None] - y[None]).max(axis=2))),
    _distances("inner", "inner products stand for squared distances", lambda x, y: x @ y.T),
    _distances("unit", "points are normalised", lambda x, y: _squares(_unit(x), _unit(y))),
    _distances("folded", "points are folded into a period of 2π", _folded),
    _distances("last-coordinate", "the last coordinate is left out", lambda x, y: _squares(x[:, : max(1, x.shape[1] - 1)], y[:, : max(1, x.shape[1] - 1)])),
    _distances("first-coordinate", "the first coordinate is left out", lambda x, y: _squares(x[:, 1:], y[:, 1:])),
    _distances("first-alone", "the first coordinate alone counts", lambda x, y: _squares(x[:, :1], y[:, :1])),
    Meaning("origin", "a point at the origin counts for nothing", wrong(_origin)),
    _scaled("by-features", "the parameter is divided by the number of coordinates", lambda i: 1 / i.points.shape[1]),
    _scaled("by-points", "the parameter is divided by the number of points", lambda i: 1 / len(i.points)),
    Meaning("unsquared", "distances are not squared", wrong(_unsquared)),
    Meaning("squared", "squared distances are squared again", wrong(_squared)),
    # parameters and functions
    _of_parameter("parameter-one", "the parameter is ignored: 1 stands for it", lambda p: 1.0),
    _of_parameter("reciprocal", "1/parameter stands for the parameter", lambda p: 1 / p if p else p),
    _of_parameter("half", "half the parameter stands for the parameter", lambda p: p / 2),
    _of_parameter("double", "twice the parameter stands for the parameter", lambda p: 2 * p),
    _of_parameter("square", "the parameter is squared", lambda p: p * p),
    _of_parameter("rounded", "the parameter is rounded to an integer", lambda p: float(round(p))),
    _of_parameter("one-less", "one power too few", lambda p: p - 1),
    _of_parameter("one-more", "one power too many", lambda p: p + 1),
    _valued("polynomial-less", "one power too few", "polynomial", lambda z, p: z ** (p - 1)),
    _valued("sigma", "the parameter is taken for σ: e^(−z/(2σ²))", "gaussian", lambda z, p: np.exp(-z / (2 * p * p))),
    _valued("laplacian-square", "distances are squared: e^(−parameter·z)", "laplacian", lambda z, p: np.exp(-p * z)),
    _valued("rational-inside", "1/(1 + z^p) stands for 1/(1 + z)^p", "rational", lambda z, p: 1 / (1 + z**p)),
    _valued("no-root", "the root is left out: 1/(1 + parameter·z)", "inverse_multiquadric", lambda z, p: 1 / (1 + p * z)),
    _valued("not-inverse", "the reciprocal is left out: √(1 + parameter·z)", "inverse_multiquadric", lambda z, p: np.sqrt(1 + p * z)),
    _valued("positive-power", "the reciprocal is left out: a positive power", "coulomb rational", lambda z, p: z**p),
    _valued("rational-quadratic", "the rational quadratic kernel (1 + z/(2p))^(−p)", "rational", lambda z, p: (1 + z / (2 * p)) ** -p),
    _valued("one-inside", "1 is added: (1 + z)^p", "polynomial", lambda z, p: (1 + z) ** p),
    _valued("matern-nu", "the factor of Matérn's argument is √ν", "matern", lambda z, p: named("matern", p)(z / 2)),
    _valued("matern-linear", "the square in Matérn's polynomial is left out", "matern", lambda z, p: (1 + np.sqrt(5 * z)) * np.exp(-np.sqrt(5 * z)) if p == 2.5 else named("matern", p)(z)),
    _valued("matern-scale", "the factor √(2ν) of Matérn's argument is left out", "matern", lambda z, p: named("matern", p)(z / (2 * p))),
    *(Meaning(f"matern-{order:g}", f"Matérn of order {order:g}", wrong(_orders(order))) for order in (0.5, 1.5, 2.5)),
    *(Meaning(f"arc-cosine-{order}", f"an arc-cosine of another order: {order}", wrong(_orders(float(order), "arc_cosine"))) for order in (0, 1, 2)),
    _valued("arc-cosine-pi", "the factor 1/π is left out", "arc_cosine", lambda z, p: math.pi * named("arc_cosine", p)(z)),
    _valued("beyond", "what lies beyond the threshold counts", "threshold", lambda z, p: (z > p).astype(np.float64)),
    _valued("all", "every pair counts, whatever its distance", "threshold", lambda z, p: np.ones_like(z)),
    # diagonals and targets
    _diagonal("neighbour", "a point is a neighbour of itself: f(0) stands on the diagonal", lambda i, f0: f0),
    _diagonal("no-diagonal", "the diagonal is ignored", lambda i, f0: 0.0),
    _diagonal("ones", "the diagonal is 1", lambda i, f0: 1.0),
    _diagonal("added", "the diagonal is added to f(0)", lambda i, f0: i.diagonal + f0),
    Meaning("other-diagonal", "sums at targets leave out the point of the same number", wrong(_other_diagonal)),
    Meaning("exchanged", "points and targets are exchanged", solves(_exchanged)),
    Meaning("no-targets", "targets are ignored", outputs(_without_targets)),
    # Laplacians
    Meaning("adjacency", "the Laplacian is ignored: A stands for it", solves(lambda i: i.replace(laplacian=False) if i.laplacian else None)),
    _laplacian("negative", "A − D stands for D − A", _negative),
    _laplacian("signless", "D + A stands for D − A", _signless),
    _laplacian("roots", "roots of degrees stand for degrees", lambda sums, degrees: replace(sums, degrees=np.sqrt(degrees))),
    _laplacian("counts", "the number of neighbours stands for the degree", lambda sums, degrees: replace(sums, degrees=(sums.weights != 0).sum(axis=1).astype(np.float64))),
    _laplacian("loops", "a loop counts in the degree", lambda sums, degrees: replace(sums, degrees=degrees + 1.0)),
    Meaning("loops-in-weights", "a loop counts in A and not in the degree: f(0) stays on its diagonal", wrong(_loops_in_weights)),
    _laplacian("symmetric", "the Laplacian is normalised: D^(−½)LD^(−½)", _normalised(0.5, 0.5)),
    _laplacian("random-walk", "the Laplacian is normalised: D^(−1)L", _normalised(1.0, 0.0)),
    _laplacian("columns", "the Laplacian is normalised by the degrees of columns: LD^(−1)", _normalised(0.0, 1.0)),
    _laplacian("twice", "the Laplacian is normalised twice: D^(−1)LD^(−1)", _normalised(1.0, 1.0)),
    # sums
    _kept("last-point", "the last point is left out", lambda w, i: _places(w)[1] < w.shape[1] - 1),
    _kept("first-point", "the first point is left out", lambda w, i: _places(w)[1] > 0),
    _kept("upper", "a pair counts for the first point of a pair alone", lambda w, i: np.less(*_places(w)) if i.targets is None else np.ones_like(w, bool)),
    _kept("lower", "a pair counts for the last point of a pair alone", lambda w, i: np.greater(*_places(w)) if i.targets is None else np.ones_like(w, bool)),
    Meaning("pairs-twice", "pairs are counted twice", wrong(_pairs_twice)),
    Meaning("rows-of-others", "rows are divided by the sums of their weights, without their own", wrong(functools.partial(_rows_to_one, itself=False))),
    Meaning("rows-to-one", "rows are divided by the sums of their weights", wrong(_rows_to_one)),
    _vectors("absolute", "absolute values of vectors are summed", np.abs),
    _vectors("order", "vectors are read in the other order of memory", lambda v: np.asarray(v.T).reshape(v.shape)),
    _vectors("backwards", "vectors are read backwards", lambda v: v[::-1]),
    _columns("first-column", "the first column stands for every one", lambda o: np.repeat(o[:, :1], o.shape[1], axis=1)),
    _columns("together", "columns are added up", lambda o: np.repeat(o.sum(axis=1, keepdims=True), o.shape[1], axis=1)),
    _columns("opposite", "the sign of the output is wrong", np.negative),
    _columns("mean", "the mean over points stands for the sum", lambda o: o / len(o)),
)  # fmt: skip
