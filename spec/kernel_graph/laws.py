"""KTOL-4 as data: exact properties of products with kernel graphs (proofs_notes/kernel_graph.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from assay.spec.kernel_graph.moves import backwards, doubled, growth, other_coordinates, renamed, translated
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


def _turned(instance: Instance, output: Array) -> Array:
    """The order of the vertices is that of the output; with targets it is that of a sum."""
    return output[::-1] if instance.targets is None else output


def _halved(instance: Instance, transformed: Instances, outputs: Outputs) -> Mapping[str, Prediction]:
    """Sums grow as weights do."""
    factor = 1.0 / growth(instance)
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


_same = summed()

#: The laws of products with kernel graphs.
LAWS: tuple[Law, ...] = (
    Law("linear", "KTOL-4", "the product is additive in the vectors", *additive("vectors")),
    Law("columns", "KTOL-4", "every column is multiplied by itself", *apart("columns", 1)),
    Law("points", "KTOL-4", "the order of the points does not matter", backwards, summed(_turned)),
    Law("coordinates", "KTOL-4", "order and signs of coordinates, and one that is the same for all, change nothing",
        other_coordinates, _same),
    Law("translate", "KTOL-4", "only differences of points matter", translated, _same),
    Law("scale", "KTOL-4", "points times two and the parameter to match change nothing but a power of four",
        doubled, _halved),
    Law("constant", "KTOL-4", "the Laplacian does not see a constant", _shifted, _same),
    Law("degree", "KTOL-4", "the Laplacian is the degrees without the product", _as_adjacency, _degrees),
    Law("diagonal", "KTOL-4", "the diagonal adds its multiple of the vectors", _without_diagonal, _diagonal),
    Law("itself", "KTOL-4", "as its own target every point also meets itself", _as_targets, _apart_from_itself),
    Law("halves", "KTOL-4", "the sum over all points is that over two halves of them", _halves, _same),
    Law("names", "KTOL-4", "one function under two names", renamed, _same),
)  # fmt: skip
