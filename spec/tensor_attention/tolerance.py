"""What a correct kernel of attention of order k may err, per element (proofs_notes/tensor_attention.md).

It is the tolerance of attention (TOL-7, TOL-9) to N combinations of keys, whose scores are sums of products of k
factors (TOLT-1) and whose values are products of k − 1 (TOLT-2).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from assay.spec.attention.tolerance import bounds
from assay.spec.floating_point import require_usual
from assay.spec.precision import Precision, reference_accuracy
from assay.spec.precision import precision as precision_named
from assay.spec.rounding import compound
from assay.spec.softmax.rounding import Softmax
from assay.spec.softmax.weights import Products, Weights, plain_products, quotient_error, weights
from assay.spec.tensor_attention.definition import evaluate, of_modes, over_combinations
from assay.spec.tensor_attention.rounding import PRECISIONS, Pairs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.spec.attention.definition import Exact
    from assay.spec.tensor_attention.instance import HigherOrder

    Array = NDArray[np.float64]

__all__ = ["combined_class", "combined_products", "tolerance"]

_SLACK = 1.0 + 1e-9  # over the roundings of what is computed here


def tolerance(
    instance: HigherOrder,
    precision: str | Precision,
    output: str = "output",
    *,
    exact: Exact | None = None,
) -> NDArray[np.float64]:
    """The bound on the error of every correct kernel of the class ``precision``, per element of ``output``.

    Shape (b, h_q, n_q, d_v), or (b, h_q, n_q) for ``output="log_sum_exp"``; +inf in rows outside the domain of the
    class, where no kernel is judged.  ``exact`` saves evaluating the instance again.
    Source: proofs_notes/tensor_attention.md, TOLT-1 and TOLT-2.  Raises ``ValueError`` for an unknown class or output.

    >>> from assay.spec.tensor_attention import Instance
    >>> x = np.full((1, 1, 1, 4), 0.75, np.float32)
    >>> print(f"{tolerance(Instance(x, x, x, x, x), 'float32').max():.0e}")
    5e-07
    """
    if output not in ("output", "log_sum_exp"):
        raise ValueError(f"unknown output {output!r}: expected 'output' or 'log_sum_exp'")
    require_usual()
    u = precision_named(precision, PRECISIONS)
    exact = evaluate(instance, reference_accuracy(u)) if exact is None else exact
    flat, scores, wide = over_combinations(instance), combined_products(instance, u), combined_class(instance, u)
    bound = bounds(flat, wide, output, exact, scores)
    if instance.order == 2 or output != "output":
        return bound
    off, fits = _value_errors(instance, u)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
        more = off * _averaging(weights(flat, wide, exact, scores), wide)
    some = np.any(instance.visible(), axis=1, keepdims=True)
    bound = bound + np.where(some, more, 0.0)
    return np.where(fits & ~np.isnan(bound), bound, np.inf)


def combined_class(instance: HigherOrder, u: Precision) -> Precision:
    """The class for attention to the combinations: a value is a product of k − 1 numbers, rounded k − 2 times."""
    if instance.order == 2:
        return u
    soft, pairs = u.of(Softmax), u.of(Pairs)
    more = instance.order - 2
    rounding = compound(*[soft.value_rounding] * (more + 1), *[pairs.product, u.product] * more)
    return u.with_(u.name, Softmax, value_rounding=float(rounding) * _SLACK)


def combined_products(instance: HigherOrder, u: Precision) -> Products:
    """TOLT-1: what the scores are sums of, products of k factors, and how often parts of these are rounded."""
    flat = over_combinations(instance)
    if instance.order == 2 and not u.of(Pairs).more:
        return plain_products(flat)
    soft, pairs, more = u.of(Softmax), u.of(Pairs), instance.order - 2
    modes = [np.abs(np.repeat(x.astype(np.float64), instance.group, axis=1)) for x in instance.mode_keys]
    query = np.abs(instance.query.astype(np.float64))
    rounded = float(compound(*[pairs.product] * (more + pairs.more)))
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        size = query @ np.swapaxes(of_modes(modes), 2, 3)
        # every product of some of the factors is at most Π(1 + |x|), and at most Π max(1, |x|)
        norms = (1 + query) @ np.swapaxes(of_modes([1 + x for x in modes]), 2, 3)
        largest = of_modes([np.maximum(x, 1.0).max(axis=3, keepdims=True) for x in modes])[..., 0]
        reach = np.maximum(query, 1.0).max(axis=3)[..., None] * largest[..., None, :]
        assert instance.scale is not None
        scale = max(1.0, abs(instance.scale))
        flushed = (more + pairs.more) * pairs.product_tiny * scale * norms * (1 + rounded) * 2
        if pairs.product > 0.0:
            flushed = np.where(scale * reach * (1 + rounded) <= u.largest_output, flushed, np.inf)
    return Products(
        size=size * _SLACK,
        norms=norms * _SLACK,
        reach=reach,
        terms=instance.query.shape[3] + more,
        factors=instance.order,
        rounded=rounded,
        error=flushed,
        runs=_runs(instance, soft),
    )


def _runs(instance: HigherOrder, soft: Softmax) -> int:
    """Combinations come in runs along one mode, in the mode whose tiles are the most in all."""
    most = max(instance.mode_lengths, key=lambda n: math.ceil(n / soft.tile) / n)
    return instance.combinations // most


def _value_errors(instance: HigherOrder, u: Precision) -> tuple[Array, NDArray[np.bool_]]:
    """What a value may be off where products underflow, (b, h_q, 1, 1), and whether none of them overflows."""
    pairs, more = u.of(Pairs), instance.order - 2
    modes = [
        np.maximum(np.abs(x.astype(np.float64)), 1.0).max(axis=(2, 3), keepdims=True) for x in instance.mode_values
    ]
    with np.errstate(over="ignore"):
        reach = np.repeat(np.prod(modes, axis=0), instance.group, axis=1)
        # where partial sums over a mode are stored, each of them may lose as much as a value
        partial = instance.combinations // min(instance.mode_lengths)
        lost = pairs.product_tiny * (partial if u.stored > 0.0 else 1) + u.tiny * partial
        # … and the values of one mode may be subnormal factors of such a sum, beside weights that may be so too
        lost = lost + u.alignment * (1 + instance.combinations * u.least_factor)
        off = 2 * more * lost * reach
    return off, reach <= (u.largest_output if pairs.product > 0.0 else u.largest) / 2


def _averaging(row: Weights, u: Precision) -> Array:
    """At least Σ_j|p̂_j|(1 + |ζ|)/D̂ of a kernel, (b, h_q, n_q, 1): its output for values that are all 1."""
    one = np.ones((*row.count.shape, 1))
    error = quotient_error(
        row, u, log_denominator=row.log_denominator, size=one, magnitude=one, moved=0 * one, largest=one,
        total=row.count[..., None] * one,
    )  # fmt: skip
    return (1 + error) * (1 + compound(u.accumulate, u.accumulate, u.output)) * _SLACK
