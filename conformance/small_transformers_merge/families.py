"""The families of merges: which parts hunt which bug."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.interface import families as shared
from assay.conformance.interface.suite import Family, Row, rows
from assay.spec.floats import dtype_named
from assay.spec.small_transformers_merge import Instance

if TYPE_CHECKING:
    from assay.spec.precision import Precision
    from assay.spec.problem import Provenance

__all__ = ["TABLE", "TYPICAL", "build"]

_APART = Family(
    "apart", "log-sum-exps of base 2 taken for natural ones; weights of unequal parts", "sglang#35045; flashinfer#4547"
)
_MANY = Family(
    "many", "one part too few or too many; a last part alone; an order that matters", "flashinfer#50; tilelang#2010"
)
_EMPTY = Family(
    "empty", "a part without keys overwrites, or all parts are empty: NaN", "FlashMLA#25; flash-attention#2901"
)
_LARGE = Family(
    "large",
    "parts rounded before the merge; factors that overflow; differences of large numbers",
    "ring-flash-attention#42",
)
_RISING = Family(
    "rising", "sums that are not rescaled when a later part is larger, or when an earlier one is", "flashinfer#50"
)
_NEAR = Family(
    "near",
    "log-sum-exps of thousands whose differences decide: halves of their digits are not enough",
    "vllm-project/vllm-xpu-kernels#204, #556",
)
_SINK = Family("sink", "a sink that is counted once a part, or not at all", "vllm-metal#550")
_BATCHES = Family(
    "batches", "strides of batches, heads and queries exchanged: right where there is one", "flash-attention#176"
)

#: Every family with its rows; a size is parts:batch×heads×queries×value dim.
TABLE: tuple[tuple[Family, tuple[Row, ...]], ...] = (
    (_APART, (*rows("smoke", "normal apart", "2:1x1x3x4", "lse"), *rows("standard", "apart", "3:2x2x5x8 6:1x2x3x16"))),
    (_MANY, (*rows("smoke", "normal", "1:1x2x3x4 5:1x2x3x4"), *rows("standard", "normal apart", "8:1x2x4x16 33:1x1x2x4", "lse"), *rows("thorough", "normal apart", "257:1x2x3x8"))),
    (_EMPTY, (*rows("smoke", "empty hollow", "2:1x2x4x4 4:1x2x4x4", "lse"), *rows("standard", "empty hollow", "9:1x2x7x8 1:1x2x3x4"))),
    (_RISING, (*rows("smoke", "rising falling", "4:1x2x3x4"), *rows("standard", "rising falling", "9:2x2x3x8", "lse"))),
    (_LARGE, (*rows("smoke", "large far", "2:1x1x4x4 4:1x1x4x4", "lse"), *rows("standard", "large far", "8:1x2x4x8"))),
    (_NEAR, (*rows("smoke", "near", "3:1x2x3x4", "lse"), *rows("standard", "near", "8:1x2x3x16"))),
    (_SINK, (*rows("smoke", "normal empty", "2:1x3x4x4 5:1x3x4x4", "sink"), *rows("standard", "far hollow", "4:1x3x4x8 1:1x2x3x4", "sink", "lse"))),
    (_BATCHES, (*rows("smoke", "normal", "2:2x3x4x5"), *rows("standard", "normal apart", "3:3x2x5x7 2:2x4x1x3", "lse"), *rows("thorough", "normal", "4:3x5x67x33"))),
    shared.laid_out("normal", "3:2x2x3x4"),
    shared.called_before("normal", "3:1x2x3x4"),
    shared.called_together("normal", "3:1x2x3x4"),
)  # fmt: skip

TYPICAL = rows("standard", "normal", "4:2x4x16x32", "lse")


def build(row: Row, provenance: Provenance, precision: Precision) -> Instance:
    """The instance of a row: outputs in the type of the class, log-sum-exps in float32, or float64 in that class."""
    rng = np.random.default_rng(provenance.seed)
    parts, _, rest = row.size.partition(":")
    shape = (int(parts), *(int(length) for length in rest.split("x")))
    logs = rng.standard_normal(shape[:4]) * (3.0 if row.pattern == "apart" else 1.0)
    outputs = rng.standard_normal(shape)
    if row.pattern == "empty":
        logs[rng.integers(shape[0], size=shape[1:4]), *np.ogrid[tuple(map(slice, shape[1:4]))]] = -np.inf
    elif row.pattern == "hollow":
        logs[:, :, :, 0] = -np.inf
        logs[0] = -np.inf
    elif row.pattern == "large":
        outputs *= 1000.0
    elif row.pattern in ("rising", "falling"):
        step = 3.0 if row.pattern == "rising" else -3.0
        logs += step * np.arange(shape[0])[:, None, None, None]
    elif row.pattern == "near":
        logs += 1000.0
    elif row.pattern == "far":
        logs += 80.0 * rng.choice([-1.0, 1.0], (1, *shape[1:4]))
    if "some-empty" in row.options:
        logs[0, ..., ::2] = -np.inf
        logs[-1, ..., 1::2] = -np.inf
    elif "all-empty" in row.options:
        logs[..., 0] = -np.inf
        logs[0] = -np.inf
    wide = "float64" if precision.storage == "float64" else "float32"
    options: dict[str, Any] = {"return_lse": "lse" in row.options}
    if "sink" in row.options:
        options["sink"] = (2.0 * rng.standard_normal(shape[2])).astype(wide)
    return Instance(outputs.astype(dtype_named(precision.storage)), logs.astype(wide), **options, provenance=provenance)
