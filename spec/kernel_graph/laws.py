"""KTOL-4 as data: exact properties of products with kernel graphs (proofs_notes/kernel_graph.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec.laws import additive, apart, summed
from assay.spec.problem import Law, Prediction

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from assay.spec.kernel_graph.instance import Instance

    Array = NDArray[np.float64]
    Instances = tuple[Instance, ...]
    Outputs = tuple[Mapping[str, Array], ...]
    Relation = Callable[[Instance, Instances, Outputs], Mapping[str, Prediction]]

__all__ = ["LAWS"]


def _backwards(instance: Instance, rng: np.random.Generator) -> Instances:
    return (instance.part(points=range(len(instance.points))[::-1]),)


def _turned(instance: Instance, output: Array) -> Array:
    """The order of the vertices is that of the output; with targets it is that of a sum."""
    return output[::-1] if instance.targets is None else output


def _other_coordinates(instance: Instance, rng: np.random.Generator) -> Instances:
    """Coordinates in reverse order, the first of them negated, and one more that is 3 everywhere."""

    def changed(rows: NDArray[Any]) -> NDArray[Any]:
        last = np.full((len(rows), 1), 0.0 if instance.function == "arc_cosine" else 3.0).astype(rows.dtype)
        return np.concatenate(
            [rows[:, ::-1] * np.where(np.arange(rows.shape[1]) == 0, -1, 1).astype(rows.dtype), last], 1
        )

    return (_with_points(instance, changed),)


def _with_points(instance: Instance, changed: Callable[[NDArray[Any]], NDArray[Any]], **more: Any) -> Instance:
    targets = None if instance.targets is None else changed(instance.targets)
    return instance.replace(points=changed(instance.points), targets=targets, **more)


def _translated(instance: Instance, rng: np.random.Generator) -> Instances:
    """One vector is added to every point and target; nothing where a sum is not exact."""
    step = rng.integers(-3, 4, instance.points.shape[1]).astype(np.float64)
    if instance.function == "arc_cosine":
        return ()
    for rows in (instance.points, instance.targets):
        if rows is not None:
            wide = rows.astype(np.float64)
            moved = (wide + step).astype(rows.dtype).astype(np.float64)
            if not ((moved - step == wide) & (moved - wide == step)).all():
                return ()
    return (_with_points(instance, lambda rows: (rows.astype(np.float64) + step).astype(rows.dtype)),)


#: Of points times 2: what the parameter is multiplied with.
_PARAMETERS = {"gaussian": 0.25, "laplacian": 0.5, "inverse_multiquadric": 0.25, "threshold": 4.0, "polynomial": 1.0}


def _doubled(instance: Instance, rng: np.random.Generator) -> Instances:
    """Points times 2, and the parameter that gives the same function of them, up to a power of two."""
    if not isinstance(instance.function, str) or instance.function not in _PARAMETERS:
        return ()
    if not (_fits(instance.points) and (instance.targets is None or _fits(instance.targets))):
        return ()
    parameter = instance.parameter * _PARAMETERS[instance.function]
    back = parameter / _PARAMETERS[instance.function]
    return (_with_points(instance, lambda rows: 2 * rows, parameter=parameter),) if back == instance.parameter else ()


def _fits(rows: NDArray[Any]) -> bool:
    return bool(np.isfinite((2 * rows).astype(np.float64)).all())


def _halved(instance: Instance, transformed: Instances, outputs: Outputs) -> Mapping[str, Prediction]:
    """A polynomial of degree p grows by 4^p; nothing else does."""
    factor = 4.0**-instance.parameter if instance.function == "polynomial" else 1.0
    own = instance.diagonal * instance.vectors.astype(np.float64) if instance.targets is None else 0.0
    value = factor * (outputs[0]["output"] - own) + own
    return {"output": Prediction(value, (np.full_like(value, factor),))}


def _shifted(instance: Instance, rng: np.random.Generator) -> Instances:
    """A constant is added to the vectors of a Laplacian; nothing where a sum is not exact."""
    if not instance.laplacian:
        return ()
    wide = instance.vectors.astype(np.float64)
    moved = (wide + 2.0).astype(instance.vectors.dtype)
    exact = (moved.astype(np.float64) - 2.0 == wide) & (moved.astype(np.float64) - wide == 2.0)
    return (instance.replace(vectors=moved),) if exact.all() else ()


def _as_adjacency(instance: Instance, rng: np.random.Generator) -> Instances:
    if not instance.laplacian:
        return ()
    plain = instance.replace(laplacian=False)
    return plain.replace(vectors=np.ones_like(instance.vectors[:, :1])), plain


def _degrees(instance: Instance, transformed: Instances, outputs: Outputs) -> Mapping[str, Prediction]:
    """Lv = (A1)·v − Av."""
    degree, product = (output["output"] for output in outputs)
    vectors = instance.vectors.astype(np.float64)
    return {"output": Prediction(degree * vectors - product, (np.abs(vectors), np.ones_like(product)))}


def _without_diagonal(instance: Instance, rng: np.random.Generator) -> Instances:
    return () if instance.diagonal == 0.0 else (instance.replace(diagonal=0.0),)


def _diagonal(instance: Instance, transformed: Instances, outputs: Outputs) -> Mapping[str, Prediction]:
    value = outputs[0]["output"] + instance.diagonal * instance.vectors.astype(np.float64)
    return {"output": Prediction(value, (np.ones_like(value),))}


def _as_targets(instance: Instance, rng: np.random.Generator) -> Instances:
    """The points as their own targets, so that every point meets itself."""
    f = instance.weight()
    if instance.targets is not None or instance.laplacian or not f.all_pairs:
        return ()
    return (instance.replace(targets=instance.points, diagonal=0.0),)


def _apart_from_itself(instance: Instance, transformed: Instances, outputs: Outputs) -> Mapping[str, Prediction]:
    own = (instance.diagonal - instance.weight().at_zero) * instance.vectors.astype(np.float64)
    value = outputs[0]["output"] + own
    return {"output": Prediction(value, (np.ones_like(value),))}


def _halves(instance: Instance, rng: np.random.Generator) -> Instances:
    n = len(instance.points)
    if instance.targets is None or n < 2:
        return ()
    return instance.part(points=range(n // 2)), instance.part(points=range(n // 2, n))


def _renamed(instance: Instance, rng: np.random.Generator) -> Instances:
    """e^(−√z) and (1 + z)^(−1/2) have two names each."""
    other = {
        ("matern", 0.5): ("laplacian", 1.0),
        ("laplacian", 1.0): ("matern", 0.5),
        ("rational", 0.5): ("inverse_multiquadric", 1.0),
        ("inverse_multiquadric", 1.0): ("rational", 0.5),
    }
    if not isinstance(instance.function, str) or (instance.function, instance.parameter) not in other:
        return ()
    function, parameter = other[instance.function, instance.parameter]
    return (instance.replace(function=function, parameter=parameter),)


_same = summed()

#: The laws of products with kernel graphs.
LAWS: tuple[Law, ...] = (
    Law("linear", "KTOL-4", "the product is additive in the vectors", *additive("vectors")),
    Law("columns", "KTOL-4", "every column is multiplied by itself", *apart("columns", 1)),
    Law("points", "KTOL-4", "the order of the points does not matter", _backwards, summed(_turned)),
    Law("coordinates", "KTOL-4", "order and signs of coordinates, and one that is the same for all, change nothing",
        _other_coordinates, _same),
    Law("translate", "KTOL-4", "only differences of points matter", _translated, _same),
    Law("scale", "KTOL-4", "points times two and the parameter to match change nothing", _doubled, _halved),
    Law("constant", "KTOL-4", "the Laplacian does not see a constant", _shifted, _same),
    Law("degree", "KTOL-4", "the Laplacian is the degrees without the product", _as_adjacency, _degrees),
    Law("diagonal", "KTOL-4", "the diagonal adds its multiple of the vectors", _without_diagonal, _diagonal),
    Law("itself", "KTOL-4", "as its own target every point also meets itself", _as_targets, _apart_from_itself),
    Law("halves", "KTOL-4", "the sum over all points is that over two halves of them", _halves, _same),
    Law("names", "KTOL-4", "one function under two names", _renamed, _same),
)  # fmt: skip
