"""Named wrong answers of sparsifiers: what the edges are, compared with the weights of the graph."""

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
    from assay.spec.kernel_graph_sparsify import Instance

    Array = NDArray[np.float64]
    Ids = NDArray[np.int64]
    Criteria = Mapping[str, Criterion]
    Right = Callable[[Instance], Criteria | None]

__all__ = ["MEANINGS"]

_NEAR = 1e-3
_OUTPUTS = ("left", "right", "weight")


def _meaning(
    name: str, sentence: str, holds: Callable[[Array, Ids, Ids, Array], bool], *, inside_alone: bool = True
) -> Meaning:
    """holds(weights of the graph, left, right, weight): whether the edges are of this meaning.

    inside_alone: only edges between vertices of the graph can be.
    """

    def criteria(instance: Instance, _right: Right) -> Criteria | None:
        w = weights(instance)

        def measure(left: Any, right: Any, weight: Any) -> float:
            i, j, h = left.astype(np.int64), right.astype(np.int64), weight.astype(np.float64)
            if not len(i) == len(j) == len(h):
                return np.inf
            inside = (i >= 0) & (j >= 0) & (i < len(w)) & (j < len(w))
            with np.errstate(all="ignore"):
                return 0.0 if (inside.all() or not inside_alone) and holds(w, i, j, h) else 2.0

        return {"form": bounded(measure, 1.0, sentence, _OUTPUTS)}

    return Meaning(name, sentence, criteria)


def _alike(a: Array, b: Array) -> bool:
    return bool(len(a)) and bool((np.abs(a - b) <= _NEAR * np.abs(b)).all())


def _every(i: Ids, w: Array) -> bool:
    """Whether there are as many edges as pairs with a weight."""
    return len(i) >= int(np.count_nonzero(np.triu(w, 1)))


def _again(i: Ids, j: Ids, *, turned: bool) -> bool:
    """Whether a pair is given twice: once in either direction, or twice in the same."""
    pairs = list(zip(i.tolist(), j.tolist(), strict=True))
    given = set(pairs)
    return any((b, a) in given for a, b in pairs if a != b) if turned else len(given) < len(pairs)


def _beyond(w: Array, i: Ids, j: Ids, h: Array) -> bool:
    ends = np.concatenate((i, j))
    return bool(len(ends)) and bool(ends.min() >= 1) and bool(ends.max() == len(w))


def _weighed(name: str, sentence: str, of: Callable[[Array], Array]) -> Meaning:
    """Every edge of the graph, with other weights."""
    return _meaning(
        name,
        sentence,
        lambda w, i, j, h: (
            _every(i, w)
            and not _again(i, j, turned=True)
            and not _again(i, j, turned=False)
            and not _alike(h, w[i, j])
            and _alike(h, of(w[i, j]))
        ),
    )


def _of_weights(name: str, sentence: str, made: Callable[[Instance], Array | None]) -> Meaning:
    """Every edge of the graph, with weights of another function or parameter."""

    def criteria(instance: Instance, _right: Right) -> Criteria | None:
        w, other = weights(instance), made(instance)
        if other is None or _alike(other, w):
            return None

        def measure(left: Any, right: Any, weight: Any) -> float:
            i, j, h = left.astype(np.int64), right.astype(np.int64), weight.astype(np.float64)
            if not len(i) == len(j) == len(h) or len(i) == 0:
                return np.inf
            inside = (np.minimum(i, j) >= 0).all() and (np.maximum(i, j) < len(w)).all()
            with np.errstate(all="ignore"):
                every = inside and not _alike(h, w[i, j]) and len(i) >= int(np.count_nonzero(np.triu(other, 1)))
                return 0.0 if every and _alike(h, other[i, j]) else 2.0

        return {"form": bounded(measure, 1.0, sentence, _OUTPUTS)}

    return Meaning(name, sentence, criteria)


def _components(n: int, i: Ids, j: Ids, h: Array) -> int:
    """The number of components of the edges that have a weight."""
    label = np.arange(n)
    kept = h > 0
    for _ in range(n):
        least = label.copy()
        np.minimum.at(least, i[kept], label[j[kept]])
        np.minimum.at(least, j[kept], label[i[kept]])
        if np.array_equal(least, label):
            break
        label = least
    return len(np.unique(label))


def _tree(w: Array, i: Ids, j: Ids, h: Array) -> bool:
    return len(i) == len(w) - 1 and len(w) > 2 and _components(len(w), i, j, h) == 1


def _apart(w: Array, i: Ids, j: Ids, h: Array) -> bool:
    return bool(np.isfinite(h).all() and (h >= 0).all()) and _components(len(w), i, j, h) > 1


def _kept(w: Array, i: Ids, j: Ids, h: Array) -> bool:
    return not _every(i, w) and _alike(h, w[i, j]) and _components(len(w), i, j, h) == 1 and not _tree(w, i, j, h)


def _same_weight(w: Array, i: Ids, j: Ids, h: Array) -> bool:
    return len(h) > 2 and bool((h > 0).all()) and _alike(h, np.full_like(h, h.mean())) and not _alike(h, w[i, j])


def _permuted(w: Array, i: Ids, j: Ids, h: Array) -> bool:
    """Whether every edge has the weight of another one."""
    own = w[i, j]
    return _every(i, w) and not _alike(h, own) and _alike(np.sort(h), np.sort(own))


def _rounded(w: Array, i: Ids, j: Ids, h: Array) -> bool:
    """Whether weights are those of the graph with so many decimals."""
    own = w[i, j]
    close = (np.abs(h - np.round(own, k)).max(initial=0.0) <= 1e-9 for k in range(7))
    return _every(i, w) and not np.allclose(h, own, rtol=1e-9, atol=0.0) and any(close)


MEANINGS: tuple[Meaning, ...] = (
    _weighed("unweighted", "every edge weighs 1", np.ones_like),
    _weighed("resistances", "conductances are taken for resistances: 1/w stands for w", lambda w: 1 / w),
    _weighed("roots", "roots of weights stand for weights", np.sqrt),
    _weighed("squares", "squares of weights stand for weights", np.square),
    _weighed("twice", "every edge is twice as heavy", lambda w: 2 * w),
    _weighed("half", "every edge is half as heavy", lambda w: w / 2),
    _weighed("sum", "weights add up to 1", lambda w: w / w.sum()),
    _weighed("negative", "weights have the sign of entries of the Laplacian", np.negative),
    *of_other_weights(_of_weights),
    _of_weights("norms", "every edge weighs (1 + ε)² times as much: ε of norms", lambda i: (1 + i.error) ** 2 * weights(i)),
    _of_weights("norms-less", "every edge weighs (1 − ε)² times as much: ε of norms", lambda i: (1 - i.error) ** 2 * weights(i)),
    _meaning("permuted", "weights are those of other edges", _permuted),
    _meaning("same-weight", "every edge weighs the same", _same_weight),
    _meaning("decimals", "weights are rounded to some decimals", _rounded),
    _meaning("tree", "a spanning tree is returned", _tree),
    _meaning("apart", "the graph of the edges falls apart", _apart),
    _meaning("kept", "edges are left out, and those that are kept have their own weights", _kept),
    _meaning("directions", "edges are given in both directions", lambda w, i, j, h: _again(i, j, turned=True)),
    _meaning("given-twice", "edges are given twice", lambda w, i, j, h: _again(i, j, turned=False)),
    _meaning("from-one", "vertices are numbered from 1", _beyond, inside_alone=False),
    _meaning("from-the-end", "an index is negative", lambda w, i, j, h: bool((np.minimum(i, j) < 0).any()), inside_alone=False),
    _meaning("light", "a weight is negative", lambda w, i, j, h: bool((h < 0).any())),
    _meaning("no-numbers", "a weight is no number", lambda w, i, j, h: not np.isfinite(h).all()),
    _meaning("loops", "there is a loop", lambda w, i, j, h: bool((i == j).any())),
)  # fmt: skip
