"""What calls say of their rows, and how that is put together: sums of weights under a common factor, in float64.

A part of a row's keys has the sum of weights Z and the sum of weighted values Y.  It is kept as (w, Y', Z') with
Y = e^w·Y' and Z = e^w·Z', so that nothing overflows.  An oracle with its log-sum-exp gives w = lse, Y' = output and
Z' = 1.  One with a calibrator of score c that k tokens repeat gives w = c + ln k − ln p₀, Y' = output and Z' = p: the
outputs of the value columns that are 1 on keys (p) and 1 on calibrators (p₀) (MERGE-1).  Neither 1 − p is formed nor
anything divided by p.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from assay.impl.cpu.small_transformers.arrays import arrays_of

__all__ = ["NEAR", "Part", "finished", "merge", "merged"]

#: Factors of parts that differ by less than e to this are not brought to common units: sums stay far below overflow.
NEAR = 100.0


@dataclass(frozen=True, eq=False)
class Part:
    """Sums over a part of the keys: log_factor (heads, rows), values (heads, rows, d_v), weight (heads, rows).

    All are float64, but for the values of one call, which are as the oracle returned them.
    """

    log_factor: Any
    values: Any
    weight: Any

    def rows(self, index: Any) -> Part:
        """The part of some of its rows."""
        return Part(self.log_factor[:, index], self.values[:, index], self.weight[:, index])


def merged(first: Part, second: Part) -> Part:
    """The sums over both parts, whose keys differ; a part of no weight changes nothing."""
    arrays = arrays_of(first.weight)
    xp = arrays.library
    fixed = [arrays.detached(part.log_factor) for part in (first, second)]
    weights = [arrays.detached(part.weight) for part in (first, second)]
    if all(bool((weight > 0).all()) for weight in weights) and bool((abs(fixed[1] - fixed[0]) < NEAR).all()):
        # the usual case, without passes over the first sums: they stay in their own units
        return _added(first, second, second.log_factor - first.log_factor)
    some = [xp.where(weight > 0, part, -xp.inf) for part, weight in zip(fixed, weights, strict=True)]
    most = xp.maximum(*some)
    shift = xp.where(xp.isfinite(most), most, xp.zeros_like(most))
    scaled = [
        xp.where(xp.isfinite(log_factor), part.log_factor - shift, xp.full_like(shift, -xp.inf))
        for part, log_factor in zip((first, second), some, strict=True)
    ]
    zero = Part(shift, 0.0 * first.values, 0.0 * first.weight)
    return _added(_added(zero, first, scaled[0]), second, scaled[1])


def _added(total: Part, part: Part, log_ratio: Any) -> Part:
    """``total`` and e^(log_ratio) times the sums of ``part``, in the units of ``total``."""
    ratio = arrays_of(part.weight).library.exp(log_ratio)
    values = part.values * ratio[..., None]  # float64, whatever the type of the outputs
    return Part(total.log_factor, total.values + values, total.weight + part.weight * ratio)


def finished(part: Part) -> tuple[Any, Any]:
    """The output (heads, rows, d_v) and the log-sum-exp (heads, rows); 0 and −∞ of a row without keys."""
    xp = arrays_of(part.values).library
    some = part.weight > 0
    weight = xp.where(some, part.weight, xp.ones_like(part.weight))
    output = part.values / weight[..., None]
    output = xp.where(some[..., None], output, xp.zeros_like(output))
    lse = xp.where(some, part.log_factor + xp.log(weight), xp.full_like(weight, -xp.inf))
    return output, lse


def merge(outputs: Any, log_sum_exps: Any, *, sink: Any = None, return_lse: bool = False) -> Any:
    """Attention over all keys from attention over parts of them, as a kernel of ``small_transformers_merge`` has it.

    outputs (parts, b, h, n, d_v) and log_sum_exps (parts, b, h, n), of NumPy or of PyTorch: natural logarithms, −∞
    where a part has no keys, of which the output does not matter.  sink (h,): the score of a key of value zero besides.
    Returns the output (b, h, n, d_v) in the type of ``outputs``, and with ``return_lse`` the log-sum-exp (b, h, n) in
    that of ``log_sum_exps``.  Everything is computed in float64, part after part, and rounded once.

    >>> import numpy as np
    >>> outputs = np.array([1.0, 5.0, 7.0]).reshape(3, 1, 1, 1, 1)
    >>> merge(outputs, np.array([0.0, 0.0, -np.inf]).reshape(3, 1, 1, 1)).ravel()
    array([3.])
    """
    arrays = arrays_of(outputs)
    xp = arrays.library
    if outputs.ndim != 5 or tuple(log_sum_exps.shape) != tuple(outputs.shape[:4]) or not len(outputs):
        raise ValueError(
            f"log_sum_exps: shape {tuple(log_sum_exps.shape)} does not fit outputs of shape {tuple(outputs.shape)}"
        )
    _, b, h, n, d_v = outputs.shape
    total = None
    if sink is not None:
        if tuple(sink.shape) != (h,):
            raise ValueError(f"sink: shape {tuple(sink.shape)}, expected ({h},)")
        score = arrays.cast(sink, "float64").reshape(1, h, 1) + arrays.zeros((b, h, n), "float64", outputs)
        score = score.reshape(b * h, n)
        total = Part(score, arrays.zeros((b * h, n, d_v), "float64", outputs), xp.ones_like(score))
    for output, lse in zip(outputs, log_sum_exps, strict=True):
        lse = arrays.cast(lse, "float64").reshape(b * h, n)
        some = lse > -xp.inf
        values = arrays.cast(output, "float64").reshape(b * h, n, d_v)
        values = xp.where(some[..., None], values, xp.zeros_like(values))
        part = Part(lse, values, arrays.cast(some, "float64"))
        total = part if total is None else merged(total, part)
    assert total is not None
    output, lse = finished(total)
    output = arrays.cast(output.reshape(b, h, n, d_v), arrays.name(outputs))
    return (output, arrays.cast(lse.reshape(b, h, n), arrays.name(log_sum_exps))) if return_lse else output
