"""ROPE-1 and ATT-1 as data: exact properties of attention with relative positions.

A law applies only where the transformed instance is exact in the storage type; elsewhere ``transform`` gives ``()``.
Source: proofs_notes/rope_attention.md, ROT-11.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec import attention
from assay.spec.laws import summed
from assay.spec.problem import Law
from assay.spec.rotary.turning import paired
from assay.spec.softmax.laws import append_masked_keys, positional

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from assay.spec.rope_attention.instance import Instance

    Array = NDArray[Any]
    Instances = tuple[Instance, ...]
    Transform = Callable[[Instance, np.random.Generator], Instances]

__all__ = ["LAWS"]


def _turned(change: Callable[[Array, Array], tuple[Array, Array]], instance: Instance) -> dict[str, Array]:
    """Queries and keys with every pair (a, b) of rotated columns changed."""
    columns = _columns(instance)
    made = {}
    for name in ("query", "key"):
        x = getattr(instance, name).copy()
        x[..., columns] = np.concatenate(change(*np.split(x[..., columns], 2, axis=-1)), axis=-1)
        made[name] = x
    return made


def _columns(instance: Instance) -> NDArray[np.intp]:
    """The rotated columns, first members of the pairs before second ones."""
    return paired(instance)[0]


def _placed(instance: Instance, queries: Array, keys: Array) -> Instance:
    """The instance at these positions, in the smallest of shapes."""
    return instance.replace(query_positions=queries, key_positions=keys)


def _shift_positions(instance: Instance, rng: np.random.Generator) -> Instances:
    queries, keys = instance.positions()
    if instance.relative is not None or instance.scaling == "dynamic":
        return ()
    if max(np.abs(queries).max(), np.abs(keys).max()) > 2**52:
        return ()
    step = int(rng.integers(1, 1001))
    return (_placed(instance, queries + step, keys + step),)


def _quarter_turn(instance: Instance, rng: np.random.Generator) -> Instances:
    return () if instance.relative is not None else (instance.replace(**_turned(lambda a, b: (-b, a), instance)),)


def _mirror(instance: Instance, rng: np.random.Generator) -> Instances:
    if instance.relative is not None or instance.scaling == "dynamic":
        return ()
    queries, keys = instance.positions()
    return (_placed(instance.replace(**_turned(lambda a, b: (a, -b), instance)), -queries, -keys),)


def _relayout(instance: Instance, rng: np.random.Generator) -> Instances:
    if instance.relative is not None:
        return ()
    other = instance.replace(layout="pairs" if instance.layout == "halves" else "halves")
    moved = {name: getattr(instance, name).copy() for name in ("query", "key")}
    for name, x in moved.items():
        x[..., _columns(other)] = getattr(instance, name)[..., _columns(instance)]
    return (other.replace(**moved),)


def _permute_keys(instance: Instance, rng: np.random.Generator) -> Instances:
    if _by_place(instance) or instance.key_lengths is not None:
        return ()
    order = rng.permutation(instance.key.shape[2])
    return (instance.part(keys=order).replace(key_positions=instance.positions()[1][:, order]),)


def _reverse_queries(instance: Instance, rng: np.random.Generator) -> Instances:
    if _by_place(instance):
        return ()
    order = np.arange(instance.query.shape[2])[::-1]
    return (instance.part(queries=order).replace(query_positions=instance.positions()[0][:, order]),)


def _by_place(instance: Instance) -> bool:
    """Whether something depends on the place of a query or a key among the others, besides its position."""
    return positional(instance) or instance.relative is not None or instance.relative_bias is not None


def _reverse_both(instance: Instance, rng: np.random.Generator) -> Instances:
    """Queries and keys backwards, at the negative offsets: those of i − j = t − (n_k − 1) are read backwards."""
    if positional(instance) or instance.key_lengths is not None:
        return ()
    if instance.relative is None and instance.relative_bias is None:
        return ()
    backwards = {name: np.arange(instance.lengths()[name])[::-1] for name in ("queries", "keys")}
    changes: dict[str, Any] = {}
    for name in ("relative", "relative_bias"):
        if (numbers := getattr(instance, name)) is not None:
            changes[name] = numbers[:, ::-1]
    if instance.relative is None:
        queries, keys = instance.positions()
        changes |= {"query_positions": queries[:, ::-1], "key_positions": keys[:, ::-1]}
    return (instance.part(**backwards).replace(**changes),)


def _double_relative(instance: Instance, rng: np.random.Generator) -> Instances:
    if instance.relative is None:
        return ()
    assert instance.scale is not None
    wide = 2.0 * instance.relative.astype(np.float64)
    doubled = wide.astype(instance.relative.dtype)
    if (doubled.astype(np.float64) != wide).any():
        return ()
    return (instance.replace(relative=doubled, scale=instance.scale / 2.0),)


def _permute_support(instance: Instance, rng: np.random.Generator) -> Instances:
    if instance.relative is None:
        return ()
    return (instance.part(support=rng.permutation(len(instance.relative))),)


def _permute_columns(instance: Instance, rng: np.random.Generator) -> Instances:
    """Column c of the queries becomes column order⁻¹(c), and the rows of the support with it; of the keys likewise."""
    if instance.relative is None or instance.support is None:
        return ()
    of_query, of_key = (rng.permutation(instance.query.shape[3]) for _ in range(2))
    rows, columns = np.argsort(of_query), np.argsort(of_key)
    support = tuple((int(rows[row]), int(columns[column])) for row, column in instance.support)
    return (instance.replace(query=instance.query[..., of_query], key=instance.key[..., of_key], support=support),)


def _as_bias(instance: Instance, rng: np.random.Generator) -> Instances:
    if instance.relative_bias is None:
        return ()
    return (instance.replace(relative_bias=None, bias=instance.added_bias()),)


def _append(instance: Instance, rng: np.random.Generator) -> Instances:
    """Three keys that no query attends to, at positions and offsets of their own."""
    if instance.scaling == "dynamic":  # its frequencies would see the new positions
        return ()
    changes: dict[str, Any] = {}
    if instance.key_positions is not None:
        place = instance.positions()[1]
        changes["key_positions"] = np.concatenate([place, rng.integers(0, 100, (len(place), 3))], axis=1)
    for name in ("relative", "relative_bias"):
        if (numbers := getattr(instance, name)) is not None:
            new = rng.standard_normal((len(numbers), 3)).astype(numbers.dtype)
            changes[name] = np.concatenate([new, numbers], axis=1)
    return append_masked_keys(instance, rng, **changes)


_ATTENTION = {law.id: law for law in attention.LAWS}


def _of_attention(name: str, applies: Callable[[Instance], bool] = lambda instance: True) -> Law:
    """A law of attention, where it applies."""
    law = _ATTENTION[name]

    def transform(instance: Instance, rng: np.random.Generator) -> Instances:
        return law.transform(instance, rng) if applies(instance) else ()

    return Law(law.id, "ROT-11", law.statement, transform, law.relate)


def _own(name: str, statement: str, transform: Transform, back: Callable[[Any, Array], Array] | None = None) -> Law:
    return Law(name, "ROT-11", statement, transform, summed() if back is None else summed(back))


def _backwards(instance: Instance, x: Array) -> Array:
    return x[:, :, ::-1]


def _one_length(instance: Instance) -> bool:
    """Whether ``dynamic`` scales all batches for one length whichever of them there are."""
    given = (instance.query_positions, instance.key_positions)
    return instance.scaling != "dynamic" or all(x is None or x.ndim == 1 or len(x) == 1 for x in given)


#: The laws of attention with relative positions; those of one form say nothing of the other.
LAWS: tuple[Law, ...] = (
    _own("shift-positions", "moving all positions by one number changes nothing", _shift_positions),
    _own("quarter-turn", "a quarter turn of every pair of queries and keys changes nothing", _quarter_turn),
    _own("mirror", "mirrored pairs at the negative positions change nothing", _mirror),
    _own("layout", "the layouts are permutations of columns", _relayout),
    _own("permute-keys", "permuting keys with their values and positions changes nothing", _permute_keys),
    _own("reverse-queries", "permuting queries with their positions permutes the rows", _reverse_queries, _backwards),
    _own("reverse-both", "queries and keys backwards at negative offsets: rows backwards", _reverse_both, _backwards),
    _own("double-relative", "doubling every W and halving the scale changes nothing", _double_relative),
    _own("permute-support", "the places of W come in any order", _permute_support),
    _own("permute-columns", "permuting columns together with the places of W changes nothing", _permute_columns),
    _own("as-full-bias", "a bias by offset is the bias of all pairs that it means", _as_bias),
    _own("append-masked-keys", "a masked key equals an absent key", _append),
    _of_attention("shift-scores", lambda instance: instance.relative_bias is None),
    _of_attention("split-values"),
    _of_attention("negate-values"),
    _of_attention("negate-both"),
    _of_attention("double-query"),
    _of_attention("separate", _one_length),
    _of_attention("as-mask"),
    _of_attention("as-bias", lambda instance: instance.relative_bias is None),
)  # fmt: skip
