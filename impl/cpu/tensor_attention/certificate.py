"""The certificate of the polynomial method of order k, and a bound on the error of the exact kernel: TEN-10, TEN-11."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

import numpy as np

from assay.impl.cpu import features
from assay.impl.cpu.attention.bound import exact_bound
from assay.impl.cpu.attention.certificate import STORED, bounded
from assay.impl.cpu.attention.plan import SLACK, U
from assay.spec.rounding import gamma
from assay.spec.tensor_attention.rounding import PRECISIONS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.impl.cpu.attention.plan import Plan
    from assay.impl.cpu.features import Extremes
    from assay.impl.cpu.tensor_attention.heads import Head
    from assay.spec.tensor_attention.instance import HigherOrder

    Array = NDArray[np.float64]

__all__ = ["certificate", "exact_error", "roundings"]

_IN_A_BLOCK = 4 + 31 + 20  # of a term in the sum over a block of keys (ATT-5, step 4)
_SAFE = {"float32": 2.0**100, "float64": 2.0**900}  # products of factors below it are far from overflow


def roundings(lengths: tuple[int, ...], dimension: int, degree: int, m: int) -> int:
    """K_m of TEN-10: the most roundings that a term of degree m meets on its way into a sum over all combinations."""
    blocks = sum(max(-(-n // features.BLOCK) - 1, 0).bit_length() + 1 for n in lengths)
    more = len(lengths) - 1  # monomials and sums of each further mode, and the product with its mean
    means = len(lengths)
    return features.roundings(dimension, degree, m) + blocks + means + more * (max(m - 1, 0) + _IN_A_BLOCK + 1)


@functools.lru_cache(maxsize=256)
def _rounded(lengths: tuple[int, ...], dimension: int, degree: int) -> Array:
    return gamma(np.array([roundings(lengths, dimension, degree, m) for m in range(degree + 1)]), U)


def certificate(head: Head, plan: Plan, seen: Extremes) -> Array:
    """(d_v,): a bound on |out − o| for every row from which ``seen`` was computed; +inf where nothing is certain."""
    lengths = tuple(len(key) for key in head.keys)
    by_degree = _rounded(lengths, plan.frame.dimension, plan.approximation.degree)
    # products of values may be beyond the largest number of a type that holds all of their factors
    stored = np.maximum(np.abs(seen.least), np.abs(seen.largest)) <= np.finfo(head.dtype).max
    return np.where(stored, bounded(head, plan, seen, by_degree, head.deviation), math.inf)


def exact_error(instance: HigherOrder, name: str) -> Array:
    """(b, h_q, 1, d_v): a bound on the error of the exact kernel in the type ``name``; +inf where nothing is certain.

    It contains the rounding to the dtype of the instance, where that is shorter.  Source: TEN-11.
    """
    u, more = PRECISIONS[f"{name}-blocked"], instance.order - 2
    b, h_q, _, d = instance.query.shape
    found = np.full((b, h_q, 1, instance.mode_values[0].shape[3]), math.inf)
    assert instance.scale is not None
    unit, least = STORED[instance.query.dtype.name] if name != instance.query.dtype.name else (0.0, 0.0)
    most = float(np.finfo(instance.query.dtype).max)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        for batch in range(b):
            for number in range(instance.mode_keys[0].shape[1]):
                rows = slice(number * instance.group, (number + 1) * instance.group)
                keys = [np.abs(key[batch, number].astype(np.float64)) for key in instance.mode_keys]
                values = [np.abs(value[batch, number].astype(np.float64)) for value in instance.mode_values]
                size = functools.reduce(np.multiply, (x.max(axis=0, initial=0.0) for x in values)) * SLACK
                query = np.abs(instance.query[batch, rows].astype(np.float64))
                largest = [float(x.max(initial=0.0)) for x in keys]
                norm = _norm(keys[0]) * math.prod(largest[1:]) * SLACK
                norm += 2.0**-1000 * math.prod(max(x, 1.0) for x in largest)  # where a part of this product underflows
                longest = _norm(query)
                reach = math.prod(max(x, 1.0) for x in (*largest, float(query.max(initial=0.0)), abs(instance.scale)))
                of_values = math.prod(max(float(x.max(initial=0.0)), 1.0) for x in values)
                if not max(reach, of_values) <= _SAFE[name]:
                    continue
                here = exact_bound(
                    u, max(instance.combinations, 1), d + more, instance.scale, longest, norm, size, 2.0 * size
                )
                here = here + 1.01 * float(gamma(more, u.product)) * size  # products of values
                here = here + 4.0 * more * u.tiny * (d * reach * size + of_values)  # products that underflow
                here = (here + unit * (size + here)) * SLACK + least
                found[batch, rows, 0] = np.where(size + here <= most, here, math.inf)
    return found


def _norm(x: Array) -> float:
    """An upper bound of the Euclidean norms of the rows of x ≥ 0, whose squares may be too small to be formed."""
    largest = float(x.max(initial=0.0))
    if largest == 0.0:
        return 0.0
    return largest * math.sqrt(float(np.square(x / largest).sum(axis=-1).max())) * SLACK
