"""What may decide whether a merge fails: features of the log-sum-exps, and which parts have no keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from assay.spec.small_transformers_merge import Instance

__all__ = ["FEATURES", "empty"]


def empty(instance: Instance) -> NDArray[np.bool_]:
    """(parts, b, h, n): whether a part has no keys for a query."""
    return np.asarray(instance.log_sum_exps == -np.inf)


def _largest(test: Callable[[NDArray[np.float64]], NDArray[np.bool_]]) -> Callable[[Instance], bool]:
    """Whether it holds of the largest log-sum-exp of some query."""
    return lambda instance: bool(test(instance.log_sum_exps.astype(np.float64).max(axis=0)).any())


def _spreads_by(gap: float) -> Callable[[Instance], bool]:
    def holds(instance: Instance) -> bool:
        logs = instance.log_sum_exps.astype(np.float64)
        least = np.where(np.isfinite(logs), logs, np.inf).min(axis=0)
        return bool((logs.max(axis=0) - least > gap).any())

    return holds


def _rises(instance: Instance) -> bool:
    return bool((instance.log_sum_exps[1:] > instance.log_sum_exps[:1]).any())


#: Words that follow "fails when" → whether it holds of an instance.
FEATURES: Mapping[str, Callable[[Instance], bool]] = {
    "there is one part": lambda i: len(i.outputs) == 1,
    "there are more than two parts": lambda i: len(i.outputs) > 2,
    "some part is empty": lambda i: bool(empty(i).any()),
    "the first part is empty": lambda i: bool(empty(i)[0].any()),
    "the first two parts are empty": lambda i: bool(empty(i)[:2].all(axis=0).any()) and len(i.outputs) > 1,
    "the last part is empty": lambda i: bool(empty(i)[-1].any()),
    "two parts are empty": lambda i: bool((empty(i).sum(axis=0) > 1).any()),
    "all parts are empty": lambda i: bool(empty(i).all(axis=0).any()),
    "a later part has a larger log-sum-exp than the first": _rises,
    "log-sum-exps of one query differ by more than 4": _spreads_by(4),
    "log-sum-exps of one query differ by more than 20": _spreads_by(20),
    "log-sum-exps of one query differ by more than 88": _spreads_by(88),
    "the largest log-sum-exp is above 88": _largest(lambda m: m > 88),
    "the largest log-sum-exp is below −88": _largest(lambda m: np.isfinite(m) & (m < -88)),
    "an output is above 100 in size": lambda i: bool((np.abs(i.outputs.astype(np.float64)) > 100).any()),
}
