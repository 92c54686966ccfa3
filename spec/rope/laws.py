"""ROPE-1 as data: exact properties of the rotary embedding (proofs_notes/rope_attention.md).

A law predicts the outputs of an instance, by name, from those of transformed instances.  Where the transformed instance
would mean something else, or its numbers do not exist, ``transform`` gives ``()``.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec.problem import Law, Prediction
from assay.spec.rope.definition import paired, rotation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from assay.spec.rope.instance import Instance

    Array = NDArray[np.float64]
    Outputs = tuple[Mapping[str, Array], ...]
    Instances = tuple[Instance, ...]
    Relation = Mapping[str, Prediction]

__all__ = ["LAWS"]


def _mapped(instance: Instance, change: Callable[[NDArray[Any]], NDArray[Any]], **options: Any) -> Instance:
    """The instance with its query and its key changed in the same way."""
    arrays = {name: x for name, x in instance.arrays().items() if name != "positions"}
    return instance.replace(**{name: change(x) for name, x in arrays.items()}, **options)


def _pairs(x: NDArray[Any], instance: Instance, signs: tuple[float, float], exchange: bool) -> NDArray[Any]:
    """The members of every pair, exchanged or not, times a sign each."""
    columns, partner, _ = paired(instance)
    out = x.copy()
    out[..., columns] = x[..., partner if exchange else columns] * np.repeat(signs, len(columns) // 2).astype(x.dtype)
    return out


def _quarter_turn(instance: Instance, rng: np.random.Generator) -> Instances:
    return (_mapped(instance, partial(_pairs, instance=instance, signs=(-1.0, 1.0), exchange=True)),)


def _mirror(instance: Instance, rng: np.random.Generator) -> Instances:
    if instance.scaling == "dynamic" or instance.positions.dtype.kind == "u":  # other frequencies; no such numbers
        return ()
    mirrored = _mapped(instance, partial(_pairs, instance=instance, signs=(1.0, -1.0), exchange=False))
    return (mirrored.replace(positions=-instance.positions),)


def _shift(instance: Instance, rng: np.random.Generator) -> Instances:
    if instance.scaling == "dynamic" or np.abs(instance.positions.astype(np.float64)).max() > 2**52:
        return ()
    shifted = instance.replace(positions=instance.positions.astype(np.int64) + int(rng.integers(-1000, 1001)))
    return shifted, *_quarter_turn(shifted, rng)


def _other_layout(instance: Instance) -> tuple[Instance, NDArray[np.intp]]:
    """An instance of the other layout, and the column that every column of this one has there."""
    other = instance.replace(layout="pairs" if instance.layout == "halves" else "halves")
    place = np.arange(instance.query.shape[3])
    place[paired(instance)[0]] = paired(other)[0]
    return other, place


def _relayout(instance: Instance, rng: np.random.Generator) -> Instances:
    other, place = _other_layout(instance)
    return (_mapped(other, lambda x: x[..., np.argsort(place)]),)


def _split(instance: Instance, rng: np.random.Generator) -> Instances:
    chosen = rng.integers(0, 2, instance.query.shape[2:]).astype(bool)
    return tuple(
        _mapped(instance, partial(np.multiply, part.astype(instance.query.dtype))) for part in (chosen, ~chosen)
    )


def _reverse(instance: Instance, rng: np.random.Generator) -> Instances:
    lengths = instance.lengths()
    return (instance.part(**{axis: np.arange(lengths[axis])[::-1] for axis in lengths if axis != "dim"}),)


def _alone(instance: Instance, rng: np.random.Generator) -> Instances:
    if instance.scaling == "dynamic" or instance.query.shape[2] > 8:
        return ()
    return tuple(instance.part(length=[token]) for token in range(instance.query.shape[2]))


def _relate(predict: Callable[[Instance, Array], Array]) -> Callable[[Instance, Instances, Outputs], Relation]:
    """The prediction is the sum over the transformed instances, each of whose outputs is rearranged by ``predict``."""

    def relate(instance: Instance, transformed: Instances, outputs: Outputs) -> Relation:
        parts = {name: [predict(instance, output[name]) for output in outputs] for name in outputs[0]}
        return {name: Prediction(sum(x[1:], x[0]), tuple(map(np.ones_like, x))) for name, x in parts.items()}

    return relate


def _shifted(instance: Instance, transformed: Instances, outputs: Outputs) -> Relation:
    step = transformed[0].positions.ravel()[:1] - instance.positions.ravel()[:1].astype(np.int64)
    options = {"attention_factor": 1.0} if instance.scaling == "yarn" else {}
    back = rotation(instance.part(batch=[0], length=[0]).replace(positions=-step, **options))
    cos, sin = np.ones(instance.query.shape[3]), np.zeros(instance.query.shape[3])
    columns = paired(instance)[0]
    cos[columns], sin[columns] = back.cos.high.ravel(), back.sin.high.ravel()
    return {
        name: Prediction(cos * x + sin * outputs[1][name], (np.abs(cos) + 0 * x, np.abs(sin) + 0 * x))
        for name, x in outputs[0].items()
    }


def _together(instance: Instance, transformed: Instances, outputs: Outputs) -> Relation:
    eye = np.eye(len(outputs))[:, :, None]  # output number t counts for token t
    joined = {name: np.concatenate([output[name] for output in outputs], axis=2) for name in outputs[0]}
    return {name: Prediction(x, tuple(np.broadcast_to(row, x.shape) for row in eye)) for name, x in joined.items()}


_same = _relate(lambda instance, x: x)
_turned = _relate(lambda instance, x: _pairs(x, instance, (1.0, -1.0), exchange=True))
_mirrored = _relate(lambda instance, x: _pairs(x, instance, (1.0, -1.0), exchange=False))
_relaid = _relate(lambda instance, x: x[..., _other_layout(instance)[1]])
_reversed = _relate(lambda instance, x: x[::-1, ::-1, ::-1])

#: The laws of the rotary embedding.
LAWS: tuple[Law, ...] = tuple(
    Law(identifier, "ROPE-1", statement, transform, relate)
    for identifier, statement, transform, relate in (
        (
            "shift",
            "turning by p + q, then by −q, is turning by p: scores see differences of positions",
            _shift,
            _shifted,
        ),
        ("mirror", "turning by −p is the inverse: mirrored pairs at −p become the mirrored result", _mirror, _mirrored),
        (
            "quarter-turn",
            "a quarter turn before is one after: a pair is turned and keeps its norm",
            _quarter_turn,
            _turned,
        ),
        ("layout", "the layouts are permutations of each other", _relayout, _relaid),
        ("split", "the result is additive in the array", _split, _same),
        ("reverse", "permuting batches, heads and tokens permutes the result", _reverse, _reversed),
        ("alone", "every token is turned by itself", _alone, _together),
    )
)
