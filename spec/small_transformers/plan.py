"""Plans: which queries and keys every call of the oracle is handed, how many calls that takes, and how few can do.

A plan is data: the calls of one head.  Its results are put together as MERGE-1 says.  The numbers of calls are those of
MERGE-3, and the counting bound is ST-2 of proofs_notes/small_transformers.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assay.spec.problem import InvalidInstance, Provenance
from assay.spec.small_transformers.instance import Instance, sees

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

__all__ = [
    "Call",
    "average_calls",
    "balanced",
    "call_count",
    "counting_bound",
    "heads_at_once",
    "missed_pair",
    "plan",
    "planted",
    "room",
    "seen",
    "window_step",
]


@dataclass(frozen=True)
class Call:
    """One call of the oracle for one head.

    queries, keys: the numbers of the tokens, in the order of their slots.
    layout: ``plain``: every query of the call sees its keys, as far as the masks of the problem let it.  An oracle that
    is causal sees slots 0 … r with query r, and slot 0 is the calibrator's.  ``forward``: slot r + 1 has query number r
    and key number r, so that query r sees keys 0 … r of the call.  ``backward``: both are handed over in the opposite
    order, so that query r sees the keys after r.
    """

    queries: tuple[int, ...]
    keys: tuple[int, ...]
    layout: str = "plain"


def room(size: int, oracle: str = "plain") -> int:
    """K: the keys of one call beside the calibrator, which an oracle with its log-sum-exp does not need."""
    return size if oracle == "log_sum_exp" else size - 1


def balanced(length: int, most: int) -> Iterator[range]:
    """0 … length − 1 in as few parts of at most ``most`` as there can be, whose sizes differ by one at most.

    >>> list(balanced(10, 4))
    [range(0, 3), range(3, 6), range(6, 10)]
    """
    count = -(-length // most)
    for part in range(count):
        yield range(part * length // count, (part + 1) * length // count)


def window_step(size: int, window: int, sinks: int) -> int:
    """b = M − w − s + 1: the queries of one call that holds every key that one of them sees; below 1 there is none.

    >>> window_step(512, 128, 4)
    381
    """
    return size - window - sinks + 1


def plan(instance: Instance) -> tuple[Call, ...]:
    """The calls of one head of an instance; its boolean mask is left to the oracle.

    Raises :class:`~assay.spec.problem.InvalidInstance` for a causal instance with fewer keys than queries, or more.

    >>> x = np.ones((1, 1, 6, 1))
    >>> [len(plan(Instance(x, x, x, oracle_size=4, oracle=kind))) for kind in ("plain", "log_sum_exp", "causal")]
    [4, 4, 8]
    """
    n_q, n_k = instance.query.shape[2], instance.key.shape[2]
    assert instance.oracle_size is not None
    size, keys = instance.oracle_size, room(instance.oracle_size, instance.oracle)
    if instance.is_causal and n_q != n_k:
        raise InvalidInstance(f"is_causal: True with {n_q} queries and {n_k} keys, expected as many of both")
    if instance.oracle == "causal":
        return tuple(
            _halves(n_q, n_k, keys, is_causal=instance.is_causal, window=instance.window, sinks=instance.sinks)
        )
    if instance.window is not None and (step := window_step(size, instance.window, instance.sinks)) >= 1:
        return tuple(_bands(n_q, step, instance.window, instance.sinks))
    visible = sees(n_q, n_k, is_causal=instance.is_causal, window=instance.window, sinks=instance.sinks)
    rows = balanced(n_q, keys if instance.is_causal else size)
    columns = list(balanced(n_k, keys))
    return tuple(
        Call(tuple(q), tuple(k)) for q in rows for k in columns if visible[q.start : q.stop, k.start : k.stop].any()
    )


def _bands(length: int, step: int, window: int, sinks: int) -> Iterator[Call]:
    for first in range(0, length, step):
        queries = range(first, min(first + step, length))
        begin = max(0, first - window + 1)
        yield Call(tuple(queries), (*range(min(sinks, begin)), *range(begin, queries.stop)))


def _halves(n_q: int, n_k: int, most: int, *, is_causal: bool, window: int | None, sinks: int) -> Iterator[Call]:
    """Two calls for each pair of blocks, one on the diagonal of causal attention."""
    visible = sees(n_q, n_k, is_causal=is_causal, window=window, sinks=sinks)
    for q in balanced(n_q, most):
        for k in balanced(n_k, most):
            block = visible[q.start : q.stop, k.start : k.stop]
            if block.any():
                yield Call(tuple(q), tuple(k), "forward")
                if not (is_causal and q == k):  # on the diagonal a query sees no key after its own
                    yield Call(tuple(q), tuple(k), "backward")


def seen(calls: Iterable[Call], queries: int, keys: int) -> NDArray[np.int64]:
    """(queries, keys): how often each pair is looked at by a plan.

    >>> x = np.ones((1, 1, 6, 1))
    >>> int(seen(plan(Instance(x, x, x, oracle_size=4, oracle="causal")), 6, 6).min())
    1
    """
    count = np.zeros((queries, keys), dtype=np.int64)
    for call in calls:
        block = np.ones((len(call.queries), len(call.keys)), dtype=np.int64)
        if call.layout == "forward":
            block = np.tril(block)
        elif call.layout == "backward":
            block = np.triu(block, 1)
        count[np.ix_(call.queries, call.keys)] += block
    return count


def call_count(
    queries: int,
    keys: int,
    size: int,
    *,
    oracle: str = "plain",
    is_causal: bool = False,
    window: int | None = None,
    sinks: int = 0,
) -> int:
    """How many calls :func:`plan` makes for one head, by the formulae of MERGE-3.

    Raises ``ValueError`` for a window that does not fit in one call, and for one with a causal oracle: no formula.

    >>> call_count(2048, 2048, 256), call_count(60, 60, 7, oracle="causal", is_causal=True)
    (72, 100)
    >>> call_count(131072, 131072, 512, is_causal=True, window=128, sinks=4)
    345
    """
    most = room(size, oracle)
    parts = math.ceil(keys / most)
    if window is not None:
        step = window_step(size, window, sinks)
        if step < 1 or oracle == "causal":
            raise ValueError(f"a window of {window} keys and {sinks} sinks with an oracle of {size} tokens: no formula")
        return math.ceil(queries / step)
    if oracle == "causal":
        return parts * parts if is_causal else 2 * math.ceil(queries / most) * parts
    return parts * (parts + 1) // 2 if is_causal else math.ceil(queries / size) * parts


def average_calls(queries: int, size: int) -> int:
    """Calls of the average case, one for each block of queries (ST-3)."""
    return math.ceil(queries / size)


def heads_at_once(heads: int, layers: int, at_once: int) -> int:
    """How often a plan is asked for: ⌈HL/(H'L')⌉, H·L heads of all layers at H'·L' a call (ST-5)."""
    return math.ceil(heads * layers / at_once)


# --- ST-2 -------------------------------------------------------------------------------------------------------------


def counting_bound(
    queries: int,
    keys: int,
    size: int,
    *,
    oracle: str = "plain",
    is_causal: bool = False,
    window: int | None = None,
    sinks: int = 0,
) -> int:
    """The least number of calls for one head of any plan whose tokens are rows of the input, or constants (ST-2).

    A query that sees one key only needs no call, as its output is the value of that key.

    >>> counting_bound(2048, 2048, 256), counting_bound(60, 60, 7, oracle="causal", is_causal=True)
    (64, 66)
    """
    by_query = sees(queries, keys, is_causal=is_causal, window=window, sinks=sinks).sum(axis=1)
    pairs = int(by_query[by_query > 1].sum())
    most = size * (size + 1) // 2 if oracle == "causal" else size * size
    return math.ceil(pairs / most)


def missed_pair(calls: Iterable[Call], instance: Instance) -> tuple[int, int] | None:
    """A pair of a query and a visible key that no call looks at: the certificate that a plan is wrong (ST-2).

    Queries that see one key only are left out.
    """
    n_q, n_k = instance.query.shape[2], instance.key.shape[2]
    visible = instance.visible().any(axis=(0, 1))
    visible &= visible.sum(axis=1, keepdims=True) > 1
    missed = visible & (seen(calls, n_q, n_k) == 0)
    if not missed.any():
        return None
    i, j = np.unravel_index(int(missed.argmax()), missed.shape)
    return int(i), int(j)


def planted(instance: Instance, pair: tuple[int, int]) -> tuple[Instance, Instance]:
    """Two instances that every call answers alike, unless it has both query i and key j; their outputs i differ.

    All queries but i and all keys but j are 0, and the value of key j is 1, all others are 0.  Key j repels query i in
    the first instance, whose output i is below 1/4, and attracts it in the second, whose output i is above 3/4; query i
    has to see another key besides.  To a query that is 0 both look alike, and so they do among keys without j.
    """
    i, j = pair
    shape_q, shape_k = instance.query.shape, instance.key.shape
    if shape_q[3] < 2:
        raise InvalidInstance(f"query: {shape_q[3]} coordinate, expected at least 2")
    assert instance.scale is not None
    size = math.sqrt(math.log(4.0 * max(shape_k[2], 4)) / abs(instance.scale)) if instance.scale else math.nan
    if not math.isfinite(size):
        raise InvalidInstance(f"scale: {instance.scale}, expected another than 0")
    dtype = instance.query.dtype
    made = []
    for toward in (-1.0, 1.0):
        query, key, value = np.zeros(shape_q), np.zeros(shape_k), np.zeros(instance.value.shape)
        query[:, :, i, 0] = 2 * size
        key[:, :, j, 0] = math.copysign(2 * size, instance.scale) * toward
        value[:, :, j] = 1.0
        made.append(
            instance.replace(
                query=query.astype(dtype),
                key=key.astype(dtype),
                value=value.astype(dtype),
                provenance=Provenance(family="ST-2", truth={"attracted": toward > 0}),
            )
        )
    return made[0], made[1]
