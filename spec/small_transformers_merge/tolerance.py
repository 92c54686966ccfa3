"""What a correct merge of a precision class may err, per element (proofs_notes/small_transformers.md, MERGE-4).

It is the tolerance of attention in which every part is a key (TOL-7, with merges after every key), and what a merge
by o + σ·(o_t − o) adds, which attention's model leaves out.  Outputs that are stored between merges are values that
were rounded as often.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from assay.spec.attention.tolerance import bounds
from assay.spec.precision import Precision, reference_accuracy
from assay.spec.precision import precision as precision_named
from assay.spec.small_transformers_merge.definition import evaluate, restored
from assay.spec.small_transformers_merge.rounding import PRECISIONS, Between
from assay.spec.softmax.rounding import Softmax
from assay.spec.softmax.weights import SLACK, weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.spec.attention.definition import Exact
    from assay.spec.small_transformers_merge.instance import Instance

    Array = NDArray[np.float64]

__all__ = ["corrections", "tolerance"]


def tolerance(
    instance: Instance,
    precision: str | Precision,
    output: str = "output",
    *,
    exact: Exact | None = None,
) -> NDArray[np.float64]:
    """The bound on the error of every correct merge of the class ``precision``, per element of ``output``.

    Shape (b, h, n, d_v), or (b, h, n) for ``output="log_sum_exp"``; +inf in rows outside the domain of the class, where
    nothing is judged.  ``exact`` saves evaluating the instance again.
    Source: proofs_notes/small_transformers.md, MERGE-4.  Raises ``ValueError`` for an unknown class or output.

    >>> from assay.spec.small_transformers_merge import Instance
    >>> parts = np.array([1.0, 5.0], np.float32).reshape(2, 1, 1, 1, 1)
    >>> print(f"{tolerance(Instance(parts, np.zeros((2, 1, 1, 1), np.float32)), 'float32').max():.0e}")
    4e-05
    """
    if output not in ("output", "log_sum_exp"):
        raise ValueError(f"unknown output {output!r}: expected 'output' or 'log_sum_exp'")
    u = precision_named(precision, PRECISIONS)
    exact = evaluate(instance, reference_accuracy(u)) if exact is None else exact
    steps = len(instance.outputs) + (instance.sink is not None)
    between = u.of(Between)
    grown = (1 + between.output) ** steps  # what as many stored outputs make of a number
    if output == "output" and between.output:
        rounded = (1 + u.of(Softmax).value_rounding) * grown - 1
        u = u.with_(u.name, Softmax, value_rounding=rounded * SLACK)
    bound = restored(instance, bounds(instance.attention(), u, output, exact))
    if output == "log_sum_exp":
        return bound
    some = (instance.log_sum_exps != -np.inf)[..., None]
    numbers = instance.outputs.astype(np.float64)
    largest = np.where(some, np.abs(numbers), 0.0).max(axis=0)
    spread = np.where(some, numbers, -np.inf).max(axis=0) - np.where(some, numbers, np.inf).min(axis=0)
    spread = np.where(np.isfinite(spread), spread, 0.0)
    if instance.sink is not None:
        spread = np.maximum(spread, largest)  # a sink is one more part, of the output 0
    count = some.sum(axis=0) + (instance.sink is not None)
    lost = _underflow(instance, u, exact, steps * between.output_tiny * grown)
    spread = spread + 2 * (grown - 1) * largest + 2 * lost  # a stored output is off by so much
    more = corrections(u, count, largest + lost, spread) * grown + lost
    more = more * (1 + 2 * u.output + 4 * u.accumulate)
    return np.where(count > 1, bound + more * SLACK, bound)


def _underflow(instance: Instance, u: Precision, exact: Exact, stored: float) -> Array | float:
    """(b, h, n, 1): what underflow takes of the outputs stored between merges, ``stored`` before their weights err."""
    if not stored:
        return 0.0
    off = weights(instance.attention(), u, exact).spread.max(axis=3, initial=0.0)
    return np.asarray(stored * np.exp(2 * restored(instance, off))[..., None] * 1.01)


def corrections(u: Precision, parts: Array | int, largest: Array | float, spread: Array | float) -> Array:
    """What merging parts one by one as o + σ·(o_t − o) errs besides TOL-7.

    parts: how many.  largest, spread: at least the largest absolute value and the range of their outputs.
    """
    soft = u.of(Softmax)
    error: Array = np.asarray(parts) * (
        6 * u.accumulate * largest + (soft.exp + soft.rescale + 8 * u.product) * spread + 4 * u.tiny
    )
    return error
