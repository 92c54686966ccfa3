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

__all__ = ["Part", "finished", "merged"]


@dataclass(frozen=True, eq=False)
class Part:
    """Sums over a part of the keys: log_factor (heads, rows), values (heads, rows, d_v), weight (heads, rows)."""

    log_factor: Any
    values: Any
    weight: Any

    def rows(self, index: Any) -> Part:
        """The part of some of its rows."""
        return Part(self.log_factor[:, index], self.values[:, index], self.weight[:, index])


def merged(first: Part, second: Part) -> Part:
    """The sums over both parts, whose keys differ; a part of no weight changes nothing."""
    arrays = arrays_of(first.values)
    xp = arrays.library
    some = [xp.where(part.weight > 0, arrays.detached(part.log_factor), -xp.inf) for part in (first, second)]
    most = xp.maximum(*some)
    shift = xp.where(xp.isfinite(most), most, xp.zeros_like(most))
    total = None
    for part, log_factor in zip((first, second), some, strict=True):
        log_ratio = xp.where(xp.isfinite(log_factor), part.log_factor - shift, xp.full_like(shift, -xp.inf))
        ratio = xp.exp(log_ratio)
        scaled = (part.values * ratio[..., None], part.weight * ratio)
        total = scaled if total is None else (total[0] + scaled[0], total[1] + scaled[1])
    assert total is not None
    return Part(shift, *total)


def finished(part: Part) -> tuple[Any, Any]:
    """The output (heads, rows, d_v) and the log-sum-exp (heads, rows); 0 and −∞ of a row without keys."""
    xp = arrays_of(part.values).library
    some = part.weight > 0
    weight = xp.where(some, part.weight, xp.ones_like(part.weight))
    output = xp.where(some[..., None], part.values / weight[..., None], xp.zeros_like(part.values))
    lse = xp.where(some, part.log_factor + xp.log(weight), xp.full_like(weight, -xp.inf))
    return output, lse
