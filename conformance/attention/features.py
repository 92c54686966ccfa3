"""What may decide whether an attention kernel fails, beside lengths, options and layouts: features of its scores."""

from __future__ import annotations

import functools
import operator
from typing import TYPE_CHECKING

import numpy as np

from assay.conformance.attention.outputs import empty_rows
from assay.conformance.softmax.scores import scaled_scores, standard_scale

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from assay.spec.attention import Instance

__all__ = ["FEATURES", "sums_to_one"]

_MOST = 1 << 22  # scores that are computed for a feature


def sums_to_one(instance: Instance) -> bool:
    """Whether the weights of every row add up to 1: there is no sink, and every query attends to some key."""
    return instance.sink is None and not empty_rows(instance).any()


@functools.lru_cache(maxsize=1)  # every condition is asked of one case before the next
def _ends(instance: Instance) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(b, h_q, n_q): the largest and the least score of every row, without a bias; NaN where a row has none."""
    b, h, n_q, _ = instance.query.shape
    if b * h * n_q * instance.key.shape[2] > _MOST:
        unknown = np.full((b, h, n_q), np.nan)
        return unknown, unknown
    score = np.where(instance.visible(), scaled_scores(instance), np.nan)
    return np.fmax.reduce(score, axis=3), np.fmin.reduce(score, axis=3)


def _spreads_by(gap: float) -> Callable[[Instance], bool]:
    """Whether some key's score is so far below the largest of its row."""

    def holds(instance: Instance) -> bool:
        largest, least = _ends(instance)
        return bool((largest - least > gap).any())

    return holds


def _some_row(test: Callable[[NDArray[np.float64]], NDArray[np.bool_]]) -> Callable[[Instance], bool]:
    return lambda instance: bool(test(_ends(instance)[0]).any())


def _hides(instance: Instance) -> bool:
    return not bool(instance.visible().all())


def _limited(side: int, limited: bool) -> Callable[[Instance], bool]:
    """Whether there is a window, and one side of it has a limit or none."""
    return lambda instance: instance.window is not None and (instance.window[side] is not None) == limited


def _some_length(test: Callable[[int, int], bool]) -> Callable[[Instance], bool]:
    """Whether some key length, beside the number of keys, is such a one."""

    def holds(instance: Instance) -> bool:
        lengths = [] if instance.key_lengths is None else instance.key_lengths.tolist()
        return any(test(int(length), instance.key.shape[2]) for length in lengths)

    return holds


def _sees_one(instance: Instance) -> bool:
    return bool((instance.visible().sum(axis=3) == 1).any())


def _lengths_differ(instance: Instance) -> bool:
    return instance.key_lengths is not None and len(set(instance.key_lengths.tolist())) > 1


def _hides_first(keys: int) -> Callable[[Instance], bool]:
    """Whether some query attends to keys, but to none of the first few."""

    def holds(instance: Instance) -> bool:
        seen = instance.visible()
        return bool((seen.any(axis=3) & ~seen[..., :keys].any(axis=3)).any())

    return holds


def _has_tiny_scale(instance: Instance) -> bool:
    return instance.scale is not None and 0 < abs(instance.scale) < 1e-6


def _beyond_softcap(instance: Instance) -> bool:
    b, h, n_q, _ = instance.query.shape
    if instance.softcap is None or b * h * n_q * instance.key.shape[2] > _MOST:
        return False
    return bool((np.abs(scaled_scores(instance)) > instance.softcap).any())


def _hides_tile(keys: int) -> Callable[[Instance], bool]:
    """Whether some query that attends to keys attends to none of a whole tile."""

    def holds(instance: Instance) -> bool:
        seen = instance.visible()
        starts = range(0, seen.shape[3] - keys + 1, keys)
        return any(bool((seen.any(axis=3) & ~seen[..., at : at + keys].any(axis=3)).any()) for at in starts)

    return holds


#: Words that follow "fails when" → whether it holds of an instance.
FEATURES: Mapping[str, Callable[[Instance], bool]] = {
    "some query attends to no key": lambda instance: bool(empty_rows(instance).any()),
    "some key is hidden": _hides,
    "key lengths differ between batches": _lengths_differ,
    "a query attends to keys, but not to key 0": _hides_first(1),
    "a query attends to none of the first 16 keys": _hides_first(16),
    "a query attends to none of the first 64 keys": _hides_first(64),
    "a score is beyond the softcap in size": _beyond_softcap,
    "the scale is below 1e-6 in size": _has_tiny_scale,
    "a whole tile of 64 keys is hidden from a query": _hides_tile(64),
    "a whole tile of 256 keys is hidden from a query": _hides_tile(256),
    "the scale is not 1/√dim": lambda instance: instance.scale != standard_scale(instance),
    "a row's largest score is below 0": _some_row(lambda m: m < 0),
    "a row's largest score is below −100": _some_row(lambda m: m < -100),
    "a row's largest score is below −10000": _some_row(lambda m: m < -10000),
    "a row's largest score is above 10": _some_row(lambda m: m > 10),
    "a row's largest score is above 88": _some_row(lambda m: m > 88),
    "a score is more than 4 below its row's largest": _spreads_by(4),
    "a score is more than 8 below its row's largest": _spreads_by(8),
    "a score is more than 16 below its row's largest": _spreads_by(16),
    "a score is more than 88 below its row's largest": _spreads_by(88),
    "the window has a left limit": _limited(0, True),
    "the window has no left limit": _limited(0, False),
    "the window has a right limit": _limited(1, True),
    "the window has no right limit": _limited(1, False),
    "a key length is below the number of keys": _some_length(operator.lt),
    "a key length is 0": _some_length(lambda length, _: length == 0),
    "a key length is no multiple of 16": _some_length(lambda length, _: length % 16 != 0),
    "a query attends to one key alone": _sees_one,
}
