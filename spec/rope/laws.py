"""ROPE-1 as data: exact properties of the rotary embedding (proofs_notes/rope_attention.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec.enclosure import Float64Ball
from assay.spec.laws import additive, apart, backwards, summed
from assay.spec.problem import Law, Prediction
from assay.spec.rotary.turning import paired, rotation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from assay.spec.rope.instance import Instance

    Array = NDArray[Any]
    Instances = tuple[Instance, ...]
    Change = Callable[[Instance, Array], Array]

__all__ = ["LAWS"]


def _pairs(change: Callable[[Array, Array], tuple[Array, Array]]) -> Change:
    """A change of every pair (a, b) of columns of an array."""

    def changed(instance: Instance, x: Array) -> Array:
        columns, out = paired(instance)[0], x.copy()
        out[..., columns] = np.concatenate(change(*np.split(x[..., columns], 2, axis=-1)), axis=-1)
        return out

    return changed


_turned, _turned_back = _pairs(lambda a, b: (-b, a)), _pairs(lambda a, b: (b, -a))
_mirrored = _pairs(lambda a, b: (a, -b))


def _mapped(instance: Instance, change: Change, **options: Any) -> Instance:
    """The instance with everything that is rotated changed in the same way."""
    return instance.replace(**{name: change(instance, x) for name, x in instance.vectors().items()}, **options)


def _quarter_turn(instance: Instance, rng: np.random.Generator) -> Instances:
    return (_mapped(instance, _turned),)


def _mirror(instance: Instance, rng: np.random.Generator) -> Instances:
    if instance.scaling == "dynamic" or instance.positions.dtype.kind == "u":  # other frequencies; no such numbers
        return ()
    return (_mapped(instance, _mirrored, positions=-instance.positions),)


def _shift(instance: Instance, rng: np.random.Generator) -> Instances:
    if instance.scaling == "dynamic" or np.abs(instance.positions.astype(np.float64)).max() > 2**52:
        return ()
    shifted = instance.replace(positions=instance.positions.astype(np.int64) + int(rng.integers(-1000, 1001)))
    return shifted, *_quarter_turn(shifted, rng)


def _shifted(instance: Instance, moved: Instances, outputs: tuple[Mapping[str, Array], ...]) -> dict[str, Prediction]:
    """R(p) = R(−q)·R(p + q): cosine times the output at p + q, and sine times that of its quarter turn."""
    step = moved[0].positions.ravel()[:1] - instance.positions.ravel()[:1].astype(np.int64)
    back = instance.part(batch=[0], length=[0]).replace(positions=-step)
    back = back.replace(attention_factor=1.0) if instance.scaling == "yarn" else back
    cos, sin = np.ones(instance.query.shape[3]), np.zeros(instance.query.shape[3])
    tables = (table.rounded()[0].ravel() for table in rotation(back, Float64Ball))
    cos[paired(back)[0]], sin[paired(back)[0]] = tables
    return {
        name: Prediction(cos * x + sin * outputs[1][name], (np.abs(cos) + 0 * x, np.abs(sin) + 0 * x))
        for name, x in outputs[0].items()
    }


def _laid_back(instance: Instance, x: Array) -> Array:
    """An array of the other layout in that of the instance."""
    out = x.copy()
    out[..., paired(instance)[0]] = x[..., paired(_other_layout(instance))[0]]
    return out


def _relayout(instance: Instance, rng: np.random.Generator) -> Instances:
    return (_mapped(_other_layout(instance), _laid_back),)


def _other_layout(instance: Instance) -> Instance:
    return instance.replace(layout="pairs" if instance.layout == "halves" else "halves")


def _alone(instance: Instance, rng: np.random.Generator) -> Instances:
    return () if instance.scaling == "dynamic" else _EACH[0](instance, rng)


_EACH = apart("length", 2)
_ANY_ORDER = backwards("batch", "heads", "key_heads", "length", place=(0, 1, 2))
_SHIFT = "turning by p + q, then by −q, is turning by p: scores see differences of positions"
_QUARTER = "a quarter turn before is one after: a pair is turned and keeps its norm"

#: The laws of the rotary embedding.
LAWS: tuple[Law, ...] = (
    Law("shift", "ROPE-1", _SHIFT, _shift, _shifted),
    Law("mirror", "ROPE-1", "mirrored pairs at −p become the mirrored result", _mirror, summed(_mirrored)),
    Law("quarter-turn", "ROPE-1", _QUARTER, _quarter_turn, summed(_turned_back)),
    Law("layout", "ROPE-1", "the layouts are permutations of each other", _relayout, summed(_laid_back)),
    Law("split", "ROPE-1", "the result is additive in the array", *additive("query", "key")),
    Law("reverse", "ROPE-1", "permuting batches, heads and tokens permutes the result", *_ANY_ORDER),
    Law("alone", "ROPE-1", "every token is turned by itself", _alone, _EACH[1]),
)
