"""Named wrong answers of solves: other weights, other matrices, and functions of the right potentials."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.diagnosis.meanings import Meaning
from assay.conformance.kernel_graph.entries import of_other_weights
from assay.conformance.kernel_graph.graphs import weights
from assay.spec.criterion import bounded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from assay.spec.criterion import Criterion
    from assay.spec.kernel_graph_solve import Instance

    Array = NDArray[np.float64]
    Criteria = Mapping[str, Criterion]
    Right = Callable[[Instance], Criteria | None]

__all__ = ["MEANINGS"]

_LARGEST = 128  # points: what is larger is not compared
_NEAR = 1e-3  # of the sizes of potentials: as near as a solver of a wrong meaning comes to it
_APART = 0.05  # and as far as it is from the right ones


def _laplacian(w: Array) -> Array:
    return np.asarray(np.diag(w.sum(axis=1)) - w)


def _solved(matrix: Array, b: Array) -> Array:
    """The least potentials of a symmetric matrix."""
    return np.asarray(np.linalg.lstsq(matrix, b, rcond=1e-13)[0])


def _potentials(w: Array, b: Array) -> Array:
    """The potentials of weights, of mean 0."""
    n = len(b)
    root = np.sqrt(np.maximum(w.sum(axis=1), 1e-300))
    matrix = _laplacian(w) / root[:, None] / root
    null = root / np.linalg.norm(root)
    x = np.linalg.solve(matrix + np.outer(null, null), b / root) / root
    return np.asarray(x - x.sum() / n)


def _wrong(made: Callable[[Instance, Array, Array], Array | None], *, free: bool = True):  # type: ignore[no-untyped-def]
    """The meaning of a solver whose potentials are these: made(instance, weights, b).  free: up to a constant."""

    def criteria(instance: Instance, _right: Right) -> Criteria | None:
        if len(instance.points) > _LARGEST:
            return None
        w, b = weights(instance), instance.right_side.astype(np.float64)
        try:
            with np.errstate(all="ignore"):
                meant, exact = made(instance, w, b), _potentials(w, b)
        except np.linalg.LinAlgError:
            return None
        if meant is None or not np.isfinite(meant).all():
            return None
        size = float(np.ptp(meant)) if free else float(np.abs(meant).max())
        apart = float(np.ptp(meant - exact))
        if apart < _APART * max(float(np.ptp(exact)), size):
            return None

        def measure(x: Any) -> float:
            if x.shape != meant.shape:
                return np.inf  # the answer to a call beside it may be of another length
            off = x.astype(np.float64) - meant
            off = off - off.mean() if free else off
            return float(np.abs(off).max()) if np.isfinite(off).all() else np.inf

        return {"x": bounded(measure, max(_NEAR * size, 1e-300), "distance from what was meant")}

    return criteria


def _meaning(name: str, sentence: str, made: Callable[[Instance, Array, Array], Array | None]) -> Meaning:
    return Meaning(name, sentence, _wrong(made))


def _weighed(name: str, sentence: str, of: Callable[[Array], Array]) -> Meaning:
    """The potentials of other weights."""
    return _meaning(name, sentence, lambda i, w, b: _potentials(np.where(w > 0, of(np.where(w > 0, w, 1.0)), 0.0), b))


def _of(name: str, sentence: str, of: Callable[[Array], Array]) -> Meaning:
    """A function of the right potentials."""
    return _meaning(name, sentence, lambda i, w, b: of(_potentials(w, b)))


def _without(b: Array, at: int, balance: int | None = None) -> Array:
    """A right side with 0 there, and made orthogonal to 1: by all numbers, or by one, whose row a solver leaves out."""
    rest = b.copy()
    rest[at] = 0.0
    if balance is None:
        return np.asarray(rest - rest.mean())
    rest[balance] -= rest.sum()
    return rest


def _small_residual(instance: Instance, _right: Right) -> Criteria | None:
    """The Euclidean norm of b − Lx, in units of that of b, is held to the tolerance."""
    if len(instance.points) > _LARGEST:
        return None
    matrix, b = _laplacian(weights(instance)), instance.right_side.astype(np.float64)
    unit = float(np.linalg.norm(b))

    def measure(x: Any) -> float:
        if x.shape != b.shape or not np.isfinite(x.astype(np.float64)).all():
            return np.inf
        return float(np.linalg.norm(b - matrix @ x.astype(np.float64))) / unit

    return {"x": bounded(measure, instance.tolerance, "a residual, in units of the right side")}


def _kernel_matrix(instance: Instance, w: Array, b: Array) -> Array | None:
    own = float(instance.weight()(np.zeros(1))[0])
    return _solved(w + own * np.eye(len(b)), b) if np.isfinite(own) and own else None


def _normalised(left: float, right: float) -> Callable[[Instance, Array, Array], Array]:
    """The least potentials of D^−left L D^−right."""

    def made(instance: Instance, w: Array, b: Array) -> Array:
        degrees = np.maximum(w.sum(axis=1), 1e-300)
        matrix = degrees[:, None] ** -left * _laplacian(w) * degrees**-right
        return np.asarray(np.linalg.pinv(matrix, rcond=1e-13) @ b)

    return made


MEANINGS: tuple[Meaning, ...] = (
    _weighed("resistances", "conductances are taken for resistances: 1/w stands for w", lambda w: 1 / w),
    _weighed("roots", "roots of weights stand for weights", np.sqrt),
    _weighed("squares", "squares of weights stand for weights", np.square),
    _weighed("unweighted", "every edge weighs 1", np.ones_like),
    _of("half", "the solution is half as large", lambda x: x / 2),
    _of("twice", "the solution is twice as large", lambda x: 2 * x),
    _of("opposite", "the sign of the solution is wrong", np.negative),
    _of("unit", "the solution is of norm 1", lambda x: x / max(float(np.linalg.norm(x)), 1e-300)),
    _of("zero", "0 is returned", np.zeros_like),
    _meaning("side", "the right side is returned", lambda i, w, b: b),
    _meaning("multiplied", "the right side is multiplied with the Laplacian", lambda i, w, b: _laplacian(w) @ b),
    _meaning("adjacency-product", "the right side is multiplied with the adjacency matrix", lambda i, w, b: w @ b),
    _meaning("degrees", "the right side is divided by the degrees", lambda i, w, b: b / np.maximum(w.sum(axis=1), 1e-300)),
    _meaning("adjacency", "the adjacency matrix is solved", lambda i, w, b: _solved(w, b)),
    _meaning("signless", "D + A is solved", lambda i, w, b: _solved(np.diag(w.sum(axis=1)) + w, b)),
    _meaning("symmetric", "the normalised Laplacian D^(−½)LD^(−½) is solved", _normalised(0.5, 0.5)),
    _meaning("random-walk", "the normalised Laplacian D^(−1)L is solved", _normalised(1.0, 0.0)),
    _meaning("loops", "loops of weight 1 count in the degrees", lambda i, w, b: _solved(_laplacian(w) + np.eye(len(b)), b)),
    _meaning("loops-in-weights", "loops of weight 1 count in A and not in the degrees", lambda i, w, b: _solved(_laplacian(w) - np.eye(len(b)), b)),
    _meaning("upper", "a pair counts for the first point of a pair alone", lambda i, w, b: _solved(_laplacian(np.triu(w)), b)),
    _meaning("lower", "a pair counts for the last point of a pair alone", lambda i, w, b: _solved(_laplacian(np.tril(w)), b)),
    _meaning("last-current", "the last number of the right side is left out", lambda i, w, b: _potentials(w, _without(b, -1))),
    _meaning("first-current", "the first number of the right side is left out", lambda i, w, b: _potentials(w, _without(b, 0))),
    _meaning("last-at-first", "the last number of the right side is left out, and a row of L", lambda i, w, b: _potentials(w, _without(b, -1, 0))),
    _meaning("first-at-last", "the first number of the right side is left out, and a row of L", lambda i, w, b: _potentials(w, _without(b, 0, -1))),
    Meaning("residual", "the residual is within the tolerance, and the energy of the error is not", _small_residual),
    _meaning("kernel-matrix", "the matrix of f, with f(0) on the diagonal, is solved", _kernel_matrix),
    _of("turned", "the solution is read backwards", lambda x: x[::-1]),
    _of("last-zero", "the last potential of mean 0 is set to 0", lambda x: np.append(x[:-1], 0.0)),
    _meaning("unit-side", "the right side is divided by its norm", lambda i, w, b: _potentials(w, b / np.linalg.norm(b))),
    _meaning("backwards", "the right side is read backwards", lambda i, w, b: _potentials(w, b[::-1])),
    *of_other_weights(
        lambda name, sentence, made: _meaning(
            name, sentence, lambda i, w, b: None if (other := made(i)) is None else _potentials(other, b)
        )
    ),
)  # fmt: skip
