"""The families of simulations: which lengths, sizes and masks hunt which bug."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.interface.suite import Family, Row, rows
from assay.spec.floats import dtype_named
from assay.spec.small_transformers import Instance

if TYPE_CHECKING:
    from assay.spec.precision import Precision
    from assay.spec.problem import Provenance

__all__ = ["TABLE", "TYPICAL", "build"]

_PARTS = Family(
    "parts", "a last block dropped or read twice; more parts than keys", "flashinfer#50, #58; tilelang#2010"
)
_APART = Family("apart", "blocks weighted alike, or by a factor that lost its digits", "ring-flash-attention#42")
_CAUSAL = Family("causal", "the mask of a later block without its offset", "candle#3743; lablup/mlxcel#215")
_WINDOW = Family("window", "a window one key too wide, sinks ignored or counted twice", "streaming-llm#73, #53")
_HEADS = Family("heads", "heads of a group exchanged; one batch for all", "flash-attention#176")
_MASK = Family("mask", "a mask cut into blocks wrongly; blocks in which a row sees nothing", "flash-attention#2901")

#: Every family with its rows; a size is batch×heads:key heads×queries×keys×dim×value dim:size of the oracle.
TABLE: tuple[tuple[Family, tuple[Row, ...]], ...] = (
    (_PARTS, (*rows("smoke", "normal", "1x2:2x7x7x4x3:4 1x1:1x5x9x4x3:3 1x1:1x3x3x4x3:8"), *rows("standard", "normal", "1x2:2x33x33x8x4:9 1x1:1x6x6x4x2:2"))),
    (_APART, (*rows("smoke", "apart", "1x1:1x9x9x4x3:4", "lse"), *rows("standard", "apart", "1x2:2x24x24x8x4:6"))),
    (_CAUSAL, (*rows("smoke", "normal", "1x2:2x9x9x4x3:4", "causal", "lse"), *rows("standard", "apart", "1x2:1x25x25x8x4:8", "causal"))),
    (_WINDOW, (*rows("smoke", "normal", "1x1:1x12x12x4x3:7", "causal", "window=3"), *rows("smoke", "normal apart", "1x1:1x14x14x4x3:8", "causal", "window=3", "sinks=2"),
               *rows("standard", "normal", "1x2:2x40x40x8x4:12", "causal", "window=5", "sinks=4"), *rows("standard", "normal", "1x1:1x13x13x4x3:4", "causal", "window=6", "sinks=1"))),
    (_HEADS, (*rows("smoke", "normal", "2x4:2x7x7x4x3:4"), *rows("standard", "normal", "3x6:2x11x11x5x4:5", "causal"))),
    (_MASK, (*rows("smoke", "normal", "1x2:2x8x8x4x3:4", "mask"), *rows("standard", "normal", "2x2:1x15x11x4x3:4", "mask", "lse"))),
)  # fmt: skip

TYPICAL = rows("standard", "normal", "1x4:2x48x48x16x16:16", "causal")


def build(row: Row, provenance: Provenance, precision: Precision) -> Instance:
    """The instance of a row."""
    rng = np.random.default_rng(provenance.seed)
    batches, key_side, oracle_size = row.size.split(":")
    b, h = (int(length) for length in batches.split("x"))
    h_k, n_q, n_k, d, d_v = (int(length) for length in key_side.split("x"))
    dtype = dtype_named(precision.storage)
    query, key, value = (rng.standard_normal(shape) for shape in ((b, h, n_q, d), (b, h_k, n_k, d), (b, h_k, n_k, d_v)))
    if row.pattern == "apart":  # blocks whose log-sum-exps are far from each other
        key += 2.0 * np.sign(np.sin(np.arange(n_k)))[:, None]
    options: dict[str, Any] = {"is_causal": "causal" in row.options, "return_lse": "lse" in row.options}
    for option in row.options:
        name, _, number = option.partition("=")
        if number:
            options[name] = int(number)
    if "mask" in row.options:
        mask = rng.random((b, 1, n_q, n_k)) < 0.6
        mask[..., 0, :] = True
        mask[..., 1, :] = mask[..., 1, :] & (np.arange(n_k) == n_k - 1)
        options["mask"] = mask
    options |= {"oracle_size": int(oracle_size), "provenance": provenance}
    return Instance(query.astype(dtype), key.astype(dtype), value.astype(dtype), **options)
