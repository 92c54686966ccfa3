"""Adversarial queries, keys and values of attention of any order: for tests of the polynomial method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Array = NDArray[Any]

__all__ = ["KINDS", "adversarial"]

KINDS = ("uniform", "signs", "one key", "heavy", "values of one sign", "corners", "tiny values", "equal values")


def adversarial(
    kind: str, query: Array, keys: Sequence[Array], values: Sequence[Array]
) -> tuple[Array, list[Array], list[Array]]:
    """Random arrays (batch, heads, length, dim), with keys and values of every mode, in an adversarial form."""
    if kind == "signs":
        query, keys = np.sign(query), [np.sign(key) for key in keys]
    elif kind == "one key":
        keys = [key * (np.arange(key.shape[2]) == 0)[:, None] for key in keys]
    elif kind == "heavy":
        keys = [key**5 for key in keys]
    elif kind == "values of one sign":
        values = [np.abs(value) + 1.0 for value in values]
    elif kind == "corners":  # the two groups of ATT-2
        keys = [np.where(key < 0, -1.0, 1.0) for key in keys]
        groups = [(key[..., :1] > 0).astype(float) for key in keys]
        values = [np.repeat(group, value.shape[3], axis=3) for group, value in zip(groups, values, strict=True)]
    elif kind == "tiny values":
        values = [value * 2.0**-60 for value in values]
    elif kind == "equal values":
        values = [np.ones_like(value) * 0.3 for value in values]
    return query, list(keys), list(values)
