"""What may decide whether an attention kernel fails, beside lengths, options and layouts: features of its scores."""

from __future__ import annotations

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


def _largest(instance: Instance) -> NDArray[np.float64]:
    """(b, h_q, n_q): the largest score of every row, without a bias; NaN where a row has none."""
    b, h, n_q, _ = instance.query.shape
    if b * h * n_q * instance.key.shape[2] > _MOST:
        return np.full((b, h, n_q), np.nan)
    score = np.where(instance.visible(), scaled_scores(instance), -np.inf)
    largest = score.max(axis=3)
    return np.where(np.isfinite(largest), largest, np.nan)


def _some_row(test: Callable[[NDArray[np.float64]], NDArray[np.bool_]]) -> Callable[[Instance], bool]:
    return lambda instance: bool(test(_largest(instance)).any())


def _hides(instance: Instance) -> bool:
    return not bool(instance.visible().all())


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
}
