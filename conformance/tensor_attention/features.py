"""What may decide whether a kernel fails, beside lengths, options and layouts: scores, modes and what is hidden."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

from assay.conformance.tensor_attention.wrong import Parts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from numpy.typing import NDArray

    from assay.spec.tensor_attention import HigherOrder

__all__ = ["FEATURES"]

_MOST = 1 << 20  # scores that are computed for a feature


@functools.lru_cache(maxsize=1)  # every condition is asked of one case before the next
def _ends(instance: HigherOrder) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(b, h_q, n_q): the largest and the least score of every row; NaN where a row has none."""
    b, h, n_q, _ = instance.query.shape
    if b * h * n_q * instance.combinations > _MOST:
        unknown = np.full((b, h, n_q), np.nan)
        return unknown, unknown
    with np.errstate(all="ignore"):
        score = np.where(instance.visible(), Parts(instance).score, np.nan)
    return np.fmax.reduce(score, axis=3), np.fmin.reduce(score, axis=3)


def _spreads_by(gap: float) -> Callable[[HigherOrder], bool]:
    def holds(instance: HigherOrder) -> bool:
        largest, least = _ends(instance)
        return bool((largest - least > gap).any())

    return holds


def _some_row(test: Callable[[Any], Any]) -> Callable[[HigherOrder], bool]:
    return lambda instance: bool(np.any(test(_ends(instance)[0])))


def _windows_differ(instance: HigherOrder) -> bool:
    return instance.window is not None and len(set(instance.window)) > 1


#: Words that follow "fails when" → whether it holds of an instance.
FEATURES: Mapping[str, Callable[[Any], bool]] = {
    "some query attends to no combination": lambda i: not bool(i.visible().any(axis=1).all()),
    "some combination is hidden": lambda i: not bool(i.visible().all()),
    "the modes have unlike lengths": lambda i: len(set(i.mode_lengths)) > 1,
    "the windows of the modes differ": _windows_differ,
    "a mode has no window and another one has": lambda i: i.window is not None and None in i.window,
    "several query heads share keys": lambda i: i.group > 1,
    "there are more than 64 combinations": lambda i: i.combinations > 64,
    "there are more than 1024 combinations": lambda i: i.combinations > 1024,
    "the scale is not 1/√dim": lambda i: i.scale != i.usual()["scale"],
    "the scale is not positive": lambda i: i.scale <= 0.0,
    "a row's largest score is below 0": _some_row(lambda m: m < 0),
    "a row's largest score is below −100": _some_row(lambda m: m < -100),
    "a row's largest score is above 10": _some_row(lambda m: m > 10),
    "a row's largest score is above 88": _some_row(lambda m: m > 88),
    "a score is more than 8 below its row's largest": _spreads_by(8),
    "a score is more than 16 below its row's largest": _spreads_by(16),
    "a score is more than 88 below its row's largest": _spreads_by(88),
}
