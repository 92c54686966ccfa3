"""Named wrong answers of simulations."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.diagnosis.meanings import Meaning, altered, mixed, solves
from assay.conformance.small_transformers.blocks import by_size, evenly, recombined
from assay.spec.small_transformers import sees

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from assay.conformance.small_transformers.blocks import Split
    from assay.spec.small_transformers import Instance

    Array = NDArray[np.float64]

__all__ = ["MEANINGS"]

LOG2E = math.log2(math.e)


def _same(instance: Instance) -> Instance:
    return instance


# --- who attends to whom ----------------------------------------------------------------------------------------------


def _changed(instance: Instance, **changes: Any) -> Instance | None:
    """The instance with other options; ``None`` where it has them, or where nothing that is seen changes."""
    other = instance.replace(**changes)
    return None if (other.visible() == instance.visible()).all() else other


def _seeing(instance: Instance, seen: NDArray[np.bool_]) -> Instance | None:
    """The instance in which exactly these keys are seen."""
    if np.array_equal(seen, instance.visible()):
        return None
    return instance.replace(is_causal=False, window=None, sinks=0, mask=np.ascontiguousarray(seen))


def _without(hide: Callable[[Instance, int, int], Any]) -> Callable[[Instance], Instance | None]:
    """Some keys hidden from all queries: hide(instance, room, number of keys) → the keys that are left, boolean."""

    def wrong(instance: Instance) -> Instance | None:
        n_k = instance.key.shape[2]
        kept = hide(instance, _room(instance), n_k)
        return None if kept is None else _seeing(instance, instance.visible() & kept)

    return wrong


def _room(instance: Instance) -> int:
    assert instance.oracle_size is not None
    return instance.oracle_size - 1


def _window(instance: Instance, more: int) -> Instance | None:
    if instance.window is None or instance.window + more < 1:
        return None
    return _changed(instance, window=instance.window + more)


def _sinks(instance: Instance, more: int) -> Instance | None:
    if not instance.sinks or instance.sinks + more < 0:
        return None
    return _changed(instance, sinks=instance.sinks + more)


def _sinks_of_window(instance: Instance) -> Instance | None:
    """The sinks take room of the window: w keys in all."""
    if not instance.sinks or instance.window is None or instance.window <= instance.sinks:
        return None
    return _changed(instance, window=instance.window - instance.sinks)


def _last_block(instance: Instance, room: int, n_k: int) -> Any:
    """The keys after the last whole block are dropped."""
    kept = n_k - n_k % room
    return np.arange(n_k) < kept if 0 < kept < n_k else None


def _by_block(aligned: bool) -> Callable[[Instance], Instance | None]:
    """The causal mask of every block begins anew; aligned: queries are in blocks of as many as keys."""

    def wrong(instance: Instance) -> Instance | None:
        if not instance.is_causal or instance.window is not None:
            return None
        n, room = instance.query.shape[2], _room(instance)
        i, j = np.arange(n)[:, None], np.arange(instance.key.shape[2])
        rows = room if aligned else room + 1
        seen = sees(n, len(j)) & (j % room <= i % rows)
        return _seeing(instance, _masked(instance, seen))

    return wrong


def _window_by_block(instance: Instance) -> Instance | None:
    """The window counts places in blocks of queries and of keys."""
    if instance.window is None:
        return None
    n_q, n_k, room = instance.query.shape[2], instance.key.shape[2], _room(instance)
    i, j = np.arange(n_q)[:, None], np.arange(n_k)
    seen = (j <= i) & ((j % room > i % room - instance.window) | (j < instance.sinks))
    return _seeing(instance, _masked(instance, seen))


def _masked(instance: Instance, seen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    shape = (*instance.query.shape[:3], instance.key.shape[2])
    return np.broadcast_to(seen if instance.mask is None else seen & instance.mask, shape)


def _diagonal(more: int) -> Callable[[Instance], Instance | None]:
    """Query i sees the keys up to i + more."""

    def wrong(instance: Instance) -> Instance | None:
        if not instance.is_causal or instance.window is not None:
            return None
        i, j = np.arange(instance.query.shape[2])[:, None], np.arange(instance.key.shape[2])
        return _seeing(instance, _masked(instance, j <= i + more))

    return wrong


def _blockwise(instance: Instance, row: Callable[[Any, int], Any]) -> Instance | None:
    """Query i sees the keys before row(i, room): whole blocks."""
    if not instance.is_causal or instance.window is not None:
        return None
    i, j = np.arange(instance.query.shape[2])[:, None], np.arange(instance.key.shape[2])
    return _seeing(instance, _masked(instance, j < row(i, _room(instance))))


def _mask(change: Callable[[NDArray[np.bool_]], NDArray[np.bool_]]) -> Callable[[Instance], Instance | None]:
    """A mask (b, h, n_q, n_k) that is read wrongly."""

    def wrong(instance: Instance) -> Instance | None:
        if instance.mask is None:
            return None
        shape = (*instance.query.shape[:3], instance.key.shape[2])
        full = np.broadcast_to(instance.mask, shape)
        return _changed(instance, mask=np.ascontiguousarray(np.broadcast_to(change(full), shape)))

    return wrong


# --- arrays -----------------------------------------------------------------------------------------------------------


def _keys(chosen: Callable[[Instance, int, int], Any], values: bool = True) -> Callable[[Instance], Instance | None]:
    """Other keys in place of some, their values and what is seen with them: chosen(instance, room, keys) → numbers."""

    def wrong(instance: Instance) -> Instance | None:
        n_k = instance.key.shape[2]
        index = chosen(instance, _room(instance), n_k)
        if index is None or np.array_equal(index, np.arange(n_k)):
            return None
        seen = instance.visible() if len(index) == n_k else instance.visible()[..., index]
        return instance.replace(
            key=instance.key[:, :, index], value=instance.value[:, :, index] if values else instance.value,
            is_causal=False, window=None, sinks=0, mask=np.ascontiguousarray(seen),
        )  # fmt: skip

    return wrong


def _tail_again(instance: Instance, room: int, n_k: int) -> Any:
    """The last call is full: it begins earlier, and some keys count twice."""
    if n_k <= room or n_k % room == 0:
        return None
    return np.concatenate([np.arange(n_k - n_k % room), np.arange(n_k - room, n_k)])


def _same_block(instance: Instance, room: int, n_k: int) -> Any:
    """Every call is handed the keys of the first one."""
    return np.arange(n_k) % room if n_k > room else None


def _last_page(instance: Instance, room: int, n_k: int) -> Any:
    """A page too many: the last block once more."""
    first = (n_k - 1) // room * room
    return np.concatenate([np.arange(n_k), np.arange(first, n_k)])


def _exchanged(instance: Instance, room: int, n_k: int) -> Any:
    """Pages of the table in the opposite order, each in its place of the mask."""
    if not instance.is_causal or n_k <= room or n_k % room:
        return None
    return np.arange(n_k).reshape(-1, room)[::-1].ravel()


def _padded(instance: Instance, rooms: int = 1) -> Instance | None:
    """The last block is filled up with keys and values of zeros, which are seen."""
    n_k, room = instance.key.shape[2], _room(instance)
    more = -n_k % room
    if not more:
        return None
    key, value = (np.pad(x, ((0, 0), (0, 0), (0, more), (0, 0))) for x in (instance.key, instance.value))
    seen = np.concatenate([instance.visible(), np.ones((*instance.query.shape[:3], more), bool)], axis=3)
    return instance.replace(key=key, value=value, is_causal=False, window=None, sinks=0, mask=seen)


def _heads(index: Callable[[int, int], Any]) -> Callable[[Instance], Instance | None]:
    """Key heads of query heads: index(h_q, h_k) → (h_q,)."""

    def wrong(instance: Instance) -> Instance | None:
        h, h_k = instance.query.shape[1], instance.key.shape[1]
        chosen = np.broadcast_to(index(h, h_k), (h,))
        if np.array_equal(chosen, np.arange(h) // (h // h_k)):
            return None
        return instance.replace(key=instance.key[:, chosen], value=instance.value[:, chosen])

    return wrong


def _first_batch(*names: str) -> Callable[[Instance], Instance | None]:
    def wrong(instance: Instance) -> Instance | None:
        if len(instance.query) == 1:
            return None
        changed = {name: np.broadcast_to(getattr(instance, name)[:1], getattr(instance, name).shape) for name in names}
        return instance.replace(**{name: np.ascontiguousarray(x) for name, x in changed.items()})

    return wrong


def _scaled(scale: Callable[[Instance], float]) -> Callable[[Instance], Instance | None]:
    def wrong(instance: Instance) -> Instance | None:
        other = scale(instance)
        return None if other == instance.scale else instance.replace(scale=other)

    return wrong


def _value_block_before(instance: Instance) -> Instance | None:
    n_k, room = instance.key.shape[2], _room(instance)
    if n_k <= room:
        return None
    return instance.replace(value=np.ascontiguousarray(instance.value[:, :, np.maximum(np.arange(n_k) - room, 0)]))


# --- how calls are put together ---------------------------------------------------------------------------------------


def _several(instance: Instance) -> Instance | None:
    """The instance, where its keys do not find room in one call."""
    return instance if instance.key.shape[2] > _room(instance) else None


def _recombining(name: str, sentence: str, weigh: Callable[..., Array]) -> tuple[Meaning, ...]:
    """One meaning for each way to cut the keys.  weigh(log-sum-exps of the parts, calls that a row has)."""

    def meaning(cut: Split, suffix: str) -> Meaning:
        def output(instance: Instance, value: Array) -> Array:
            return recombined(instance, cut, weigh)

        return Meaning(f"{name}{suffix}", sentence, altered(_several, output=output))

    return tuple(meaning(cut, suffix) for cut, suffix in ((by_size, ""), (evenly, "-evenly")))


def _softly(logs: Array) -> Array:
    """Weights that add up to 1, from log-sum-exps (parts, …)."""
    total = np.logaddexp.reduce(logs, axis=0)
    return np.where(logs == -np.inf, 0.0, np.exp(logs - np.where(np.isfinite(total), total, 0.0)))


def _scores(factor: float) -> Callable[[Array], Array]:
    return lambda logs: _softly(np.where(logs == -np.inf, logs, factor * np.where(logs == -np.inf, 0.0, logs)))


def _alike(logs: Array) -> Array:
    return _softly(np.where(logs == -np.inf, logs, 0.0))


def _summed(logs: Array) -> Array:
    return np.where(logs == -np.inf, 0.0, 1.0)


def _calibrated(count: Callable[[int], int]) -> Callable[[Array], Array]:
    """Calibrators of score 0 stay in the sum of weights: one a call, or one in all."""

    def weigh(logs: Array) -> Array:
        more = math.log(count(len(logs)))
        total = np.logaddexp(np.logaddexp.reduce(logs, axis=0), more)
        return np.asarray(np.exp(logs - total))

    return weigh


def _by_share(logs: Array) -> Array:
    """Calls are weighted by p = Z/(Z + 1), without the factor of the calibrator."""
    return _softly(logs - np.logaddexp(logs, 0.0))


def _not_rescaled(logs: Array) -> Array:
    return _softly(np.where(logs == -np.inf, logs, logs - np.maximum.accumulate(logs, axis=0)))


def _overwritten(logs: Array) -> Array:
    """Only the last part that a row has."""
    some = logs != -np.inf
    last = some & (np.cumsum(some[::-1], axis=0)[::-1] == 1)
    return np.asarray(last, np.float64)


def _only_first(logs: Array) -> Array:
    some = logs != -np.inf
    return np.asarray(some & (np.cumsum(some, axis=0) == 1), np.float64)


def _halves(logs: Array) -> Array:
    """One by one, each new part with half of the weight."""
    some = logs != -np.inf
    step = np.cumsum(some, axis=0)
    return _softly(np.where(some, np.maximum(step - 1, 1) * math.log(2.0), -np.inf))


def _next(logs: Array) -> Array:
    return _softly(np.roll(logs, 1, axis=0))


def _largest_lost(logs: Array) -> Array:
    rank = np.arange(len(logs)).reshape(-1, *(1,) * (logs.ndim - 1))
    return _softly(np.where(rank == logs.argmax(axis=0), -np.inf, logs))


def _rows_left(instance: Instance, output: Array) -> Array:
    """Queries after the last whole block stay 0."""
    assert instance.oracle_size is not None
    n = output.shape[2]
    return np.where((np.arange(n) < n - n % instance.oracle_size)[:, None], output, 0.0)


MEANINGS: tuple[Meaning, ...] = (
    Meaning("causal-ignored", "the causal mask is ignored",
            solves(lambda i: _changed(i, is_causal=False, window=None, sinks=0) if i.is_causal else None)),
    Meaning("causal-by-block", "the causal mask begins anew in every block", solves(_by_block(True))),
    Meaning("causal-by-rows", "the causal mask begins anew in every block of queries and of keys", solves(_by_block(False))),
    Meaning("causal-late", "a query does not see the key at its own place", solves(_diagonal(-1))),
    Meaning("causal-early", "a query sees the key after its own", solves(_diagonal(1))),
    Meaning("causal-whole-blocks", "the causal mask hides whole blocks only",
            solves(lambda i: _blockwise(i, lambda r, room: (r // room + 1) * room))),
    Meaning("causal-before", "queries see the blocks before their own only",
            solves(lambda i: _blockwise(i, lambda r, room: r // room * room))),
    Meaning("window-ignored", "the window is ignored",
            solves(lambda i: _changed(i, window=None, sinks=0) if i.window is not None else None)),
    Meaning("window-wide", "the window is one key too wide", solves(lambda i: _window(i, 1))),
    Meaning("window-narrow", "the window is one key too narrow", solves(lambda i: _window(i, -1))),
    Meaning("window-of-size", "the window is as wide as a call",
            solves(lambda i: _changed(i, window=i.oracle_size) if i.window is not None else None)),
    Meaning("sinks-ignored", "the sinks are ignored", solves(lambda i: _changed(i, sinks=0) if i.sinks else None)),
    Meaning("sinks-one-less", "one sink is missing", solves(lambda i: _sinks(i, -1))),
    Meaning("sinks-one-more", "there is one sink too many", solves(lambda i: _sinks(i, 1))),
    Meaning("sinks-of-window", "the sinks take room of the window", solves(_sinks_of_window)),
    Meaning("sinks-twice", "the sinks count twice", solves(_keys(lambda i, room, n: np.r_[0 : min(i.sinks, n), 0:n] if i.sinks else None))),
    Meaning("sinks-by-block", "the sinks count once in every block",
            solves(_keys(lambda i, room, n: np.r_[np.tile(np.arange(min(i.sinks, n)), (n - 1) // room), 0:n] if i.sinks else None))),
    Meaning("window-by-block", "the window is that of a block, not of the whole", solves(_window_by_block)),
    Meaning("mask-ignored", "the mask is ignored",
            solves(lambda i: _changed(i, mask=None) if i.mask is not None else None)),
    Meaning("mask-inverted", "the mask hides what it should show", solves(_mask(np.logical_not))),
    Meaning("mask-first-batch", "the mask of the first batch for all", solves(_mask(lambda m: m[:1]))),
    Meaning("mask-first-query", "the mask of the first query for all", solves(_mask(lambda m: m[:, :, :1]))),
    Meaning("last-block", "the keys after the last whole block are dropped", solves(_without(_last_block))),
    Meaning("last-block-of-size", "the keys after the last whole block of size tokens are dropped",
            solves(_without(lambda i, room, n: _last_block(i, room + 1, n)))),
    Meaning("first-block", "only the keys of the first block are seen", solves(_without(lambda i, room, n: np.arange(n) < room))),
    Meaning("first-block-left-out", "the keys of the first block are left out", solves(_without(lambda i, room, n: np.arange(n) >= room))),
    Meaning("last-left-out", "the last key is left out", solves(_without(lambda i, room, n: np.arange(n) < n - 1))),
    Meaning("first-left-out", "the first key is left out", solves(_without(lambda i, room, n: np.arange(n) > 0))),
    Meaning("one-of-block", "one key of every block is dropped",
            solves(_without(lambda i, room, n: np.arange(n) % (room + 1) < room))),
    Meaning("tail-again", "the last block is read from its end, and some keys count twice", solves(_keys(_tail_again))),
    Meaning("same-block", "every call reads the keys of the first block", solves(_keys(_same_block))),
    Meaning("page-too-many", "the last block counts twice", solves(_keys(_last_page))),
    Meaning("first-key-twice", "the first key counts twice", solves(_keys(lambda i, room, n: np.r_[0, 0:n]))),
    Meaning("pages-exchanged", "blocks of keys are taken in the opposite order", solves(_keys(_exchanged))),
    Meaning("padded", "keys of zeros that fill up the last block are seen", solves(_padded)),
    Meaning("values-before", "values are those of the block before", solves(_value_block_before)),
    Meaning("heads-interleaved", "query head h reads key head h mod h_k", solves(_heads(lambda h, h_k: np.arange(h) % h_k))),
    Meaning("heads-first", "all query heads read the first key head", solves(_heads(lambda h, h_k: np.zeros(h, int)))),
    Meaning("batch-first", "keys and values of the first batch for all", solves(_first_batch("key", "value"))),
    Meaning("batch-first-query", "queries of the first batch for all", solves(_first_batch("query"))),
    Meaning("scale-usual", "the scale is always one over the root of the dim", solves(_scaled(lambda i: 1 / math.sqrt(i.query.shape[3])))),
    Meaning("scale-of-more", "the scale is that of one coordinate more", solves(_scaled(lambda i: 1 / math.sqrt(i.query.shape[3] + 1)))),
    Meaning("scale-twice", "the scale is applied twice", solves(_scaled(lambda i: float(i.scale or 0) ** 2))),
    Meaning("scale-none", "the scale is left out", solves(_scaled(lambda i: 1.0))),
    *_recombining("alike", "parts are weighted alike", _alike),
    *_recombining("added", "parts are added up without weights", _summed),
    *_recombining("halves", "parts are averaged one by one, the last with half of the weight", _halves),
    *_recombining("base-2", "log-sum-exps are taken for those of base 2", _scores(math.log(2.0))),
    *_recombining("base-e", "log-sum-exps of base 2 are taken for natural ones", _scores(LOG2E)),
    *_recombining("squared", "weights of parts are squared", _scores(2.0)),
    *_recombining("negated", "log-sum-exps are taken with the other sign", _scores(-1.0)),
    *_recombining("calibrators", "the calibrator of every call stays in the sum of weights", _calibrated(lambda n: n)),
    *_recombining("calibrator", "a calibrator stays in the sum of weights", _calibrated(lambda n: 1)),
    *_recombining("by-share", "calls are weighted by the share of their keys, without the factor of the calibrator", _by_share),
    *_recombining("not-rescaled", "sums are not rescaled when the maximum grows", _not_rescaled),
    *_recombining("overwritten", "the last part overwrites the others", _overwritten),
    *_recombining("only-first", "only the first part is returned", _only_first),
    *_recombining("part-before", "the weight of a part is that of the one before", _next),
    *_recombining("largest-lost", "the part of the largest weight is left out", _largest_lost),
    Meaning("rows-left", "queries after the last whole block are not written", altered(_same, output=_rows_left)),
    Meaning("log-base-2", "the log-sum-exp is returned in base 2", altered(_same, log_sum_exp=lambda i, x: x * LOG2E)),
    Meaning("log-last-block", "the log-sum-exp is that of the first block",
            mixed(output=_same, log_sum_exp=_without(lambda i, room, n: np.arange(n) < room))),
    Meaning("log-of-last", "the log-sum-exp is that of the last block",
            mixed(output=_same, log_sum_exp=_without(lambda i, room, n: np.arange(n) >= (n - 1) // room * room))),
)  # fmt: skip
