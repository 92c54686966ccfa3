"""Laws that several problems share: transformations of an instance, and how outputs of the results give its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec.problem import Prediction

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Outputs = tuple[Mapping[str, Array], ...]
    Transform = Callable[[Any, np.random.Generator], tuple[Any, ...]]
    Relation = Callable[[Any, tuple[Any, ...], Outputs], Mapping[str, Prediction]]

__all__ = ["additive", "apart", "backwards", "summed"]


def summed(back: Callable[[Any, Array], Array] = lambda instance, x: x) -> Relation:
    """Every output is the sum of those of the transformed instances, each rearranged by ``back(instance, output)``.

    back: permutes the numbers and changes their signs, so that an error moves the prediction by its own size.
    """

    def relate(instance: Any, transformed: tuple[Any, ...], outputs: Outputs) -> Mapping[str, Prediction]:
        parts = {name: [back(instance, output[name]) for output in outputs] for name in outputs[0]}
        return {name: Prediction(np.sum(x, axis=0), tuple(map(np.ones_like, x))) for name, x in parts.items()}

    return relate


def backwards(*axes: str, place: tuple[int, ...]) -> tuple[Transform, Relation]:
    """Permuting the indices of some axes permutes the outputs, whose axes number ``place`` these are."""

    def transform(instance: Any, rng: np.random.Generator) -> tuple[Any, ...]:
        lengths = instance.lengths()
        return (instance.part(**{axis: range(lengths[axis])[::-1] for axis in axes if axis in lengths}),)

    return transform, summed(lambda instance, x: np.flip(x, place))


def additive(*names: str) -> tuple[Transform, Relation]:
    """The outputs are additive in the arrays ``names``, of which each number is in one of two instances."""

    def transform(instance: Any, rng: np.random.Generator) -> tuple[Any, ...]:
        arrays = {name: x for name, x in instance.arrays().items() if name in names}
        chosen = {name: rng.integers(0, 2, x.shape).astype(bool) for name, x in arrays.items()}
        halves = ({name: np.where(chosen[name] == side, x, 0 * x) for name, x in arrays.items()} for side in (0, 1))
        return tuple(instance.replace(**half) for half in halves)

    return transform, summed()


def apart(axis: str, place: int, *, most: int = 8) -> tuple[Transform, Relation]:
    """The indices of an axis, which is the axis number ``place`` of the outputs, are independent of each other.

    most: of a longer axis the law says nothing, as each index becomes an instance.
    """

    def transform(instance: Any, rng: np.random.Generator) -> tuple[Any, ...]:
        length = instance.lengths()[axis]
        return tuple(instance.part(**{axis: [index]}) for index in range(length)) if length <= most else ()

    def relate(instance: Any, transformed: tuple[Any, ...], outputs: Outputs) -> Mapping[str, Prediction]:
        predictions = {}
        for name in outputs[0]:
            value = np.concatenate([output[name] for output in outputs], place)
            index = np.arange(len(outputs)).reshape(-1, *(1,) * (value.ndim - 1 - place))
            weights = tuple(np.broadcast_to(1.0 * (index == number), value.shape) for number in range(len(outputs)))
            predictions[name] = Prediction(value, weights)
        return predictions

    return transform, relate
