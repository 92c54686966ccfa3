"""The families of simulations: which lengths, sizes and masks hunt which bug."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.interface import families as shared
from assay.conformance.interface.suite import Family, Row, rows
from assay.spec.floats import dtype_named
from assay.spec.small_transformers import Instance

if TYPE_CHECKING:
    from assay.spec.precision import Precision
    from assay.spec.problem import Provenance

__all__ = ["TABLE", "TYPICAL", "build"]

_PARTS = Family(
    "parts",
    "a last block dropped or read twice; more parts than keys; a call of one token too many",
    "flashinfer#50, #58; tilelang#2010; vllm-project/FlashMLA#25",
)
_APART = Family("apart", "blocks weighted alike, or by a factor that lost its digits", "ring-flash-attention#42")
_FAR = Family("far", "e^score or e^lse without a maximum, a calibrator far from its keys", "ring-flash-attention#42")
_ORDER = Family(
    "order", "sums that are not rescaled, a part that overwrites, weights of other parts", "flashinfer#50; sglang#35045"
)
_CAUSAL = Family("causal", "the mask of a later block without its offset", "candle#3743; lablup/mlxcel#215, #891")
_WINDOW = Family(
    "window",
    "a window one key too wide, sinks ignored or counted twice, positions after eviction",
    "mit-han-lab/streaming-llm#73, #53, #93; vllm-metal#550; kekzl/imp#1346",
)
_HEADS = Family(
    "heads", "heads of a group exchanged; one batch for all", "vllm-project/flash-attention#176; transformers#43082"
)
_MASK = Family("mask", "a mask cut into blocks wrongly; blocks in which a row sees nothing", "flash-attention#2901")
_EMPTY = Family("empty", "a query that sees no key: NaN, or the mean of the values", "FlashMLA#25")
_SCALE = Family(
    "scale", "a scale applied twice, or that of a coordinate more than there is", "PaddlePaddle/FastDeploy#3514"
)
_LONG = Family("long", "errors that grow with the number of parts", "ring-flash-attention#42; vllm-xpu-kernels#204")
_PACKED = Family(
    "packed",
    "heads of a small transformer side by side in one call, told apart by added coordinates alone",
    "Alman and Yu 2025",
)

#: Every family with its rows; a size is batch×heads:key heads×queries×keys×dim×value dim:size of the oracle.
TABLE: tuple[tuple[Family, tuple[Row, ...]], ...] = (
    (_PARTS, (*rows("smoke", "normal", "1x2:2x7x7x4x3:4 1x1:1x5x9x4x3:3 1x1:1x3x3x4x3:8"), *rows("smoke", "normal", "1x1:1x9x9x4x4:4", "causal"),
              *rows("standard", "normal", "1x2:2x33x33x8x4:9 1x1:1x6x6x4x2:2 1x1:1x4x16x4x4:16 1x1:1x4x17x4x4:16 1x1:1x1x31x4x4:8"))),
    (_APART, (*rows("smoke", "apart", "1x1:1x9x9x4x3:4", "lse"), *rows("standard", "apart", "1x2:2x24x24x8x4:6"), *rows("standard", "apart", "1x2:2x20x20x8x4:7", "causal", "lse"))),
    (_FAR, (*rows("smoke", "far", "1x1:1x9x9x4x3:4"), *rows("standard", "far", "1x2:1x12x12x4x3:5", "causal", "lse"))),
    (_ORDER, (*rows("smoke", "rising falling", "1x1:1x9x9x4x3:4"), *rows("standard", "rising falling", "1x2:2x22x22x8x4:6", "causal"))),
    (_CAUSAL, (*rows("smoke", "normal", "1x2:2x9x9x4x3:4", "causal", "lse"), *rows("standard", "apart", "1x2:1x25x25x8x4:8", "causal"),
               *rows("standard", "normal", "1x2:2x24x24x8x8:5 1x1:1x16x16x4x4:17", "causal"))),
    (_WINDOW, (*rows("smoke", "normal", "1x1:1x12x12x4x4:7", "causal", "window=3"), *rows("smoke", "normal apart", "1x1:1x14x14x4x3:8 1x1:1x10x10x4x3:6", "causal", "window=3", "sinks=2"),
               *rows("standard", "normal", "1x2:2x40x40x8x4:12", "causal", "window=5", "sinks=4"), *rows("standard", "normal", "1x1:1x13x13x4x3:4", "causal", "window=6", "sinks=1"),
               *rows("standard", "normal", "1x1:1x11x11x4x3:5", "causal", "window=1"), *rows("standard", "normal", "1x2:2x21x21x4x4:9", "causal", "window=8"),
               *rows("standard", "sinking", "1x1:1x20x20x4x3:9", "causal", "window=4", "sinks=3", "lse"))),
    (_HEADS, (*rows("smoke", "normal", "2x4:2x7x7x4x3:4"), *rows("standard", "normal", "3x6:2x11x11x5x4:5", "causal"), *rows("standard", "normal", "2x3:3x9x9x4x4:4", "causal"))),
    (_MASK, (*rows("smoke", "normal", "1x2:2x8x8x4x3:4", "mask"), *rows("standard", "normal", "2x2:1x15x11x4x3:4", "mask", "lse"), *rows("standard", "apart", "2x2:1x16x16x4x3:5", "mask", "causal"))),
    (_EMPTY, (*rows("smoke", "normal", "1x2:2x7x7x4x3:4", "hidden"), *rows("standard", "normal", "2x2:1x9x14x4x3:5", "hidden", "lse"))),
    (_SCALE, (*rows("smoke", "normal", "1x1:1x7x7x4x3:4", "scale=0.3"), *rows("standard", "normal", "1x2:2x9x9x5x3:4", "scale=0.9", "causal"), *rows("standard", "normal", "1x1:1x7x7x4x3:4", "scale=-0.4"))),
    (_PACKED, (*rows("standard", "packed", "1x1:1x12x12x6x3:13 1x2:2x12x12x6x3:5"),)),
    shared.laid_out("normal", "2x2:2x7x7x4x3:4"),
    shared.called_before("normal", "1x2:2x7x7x4x3:4"),
    shared.called_together("normal", "1x2:2x7x7x4x3:4"),
    (_LONG, (*rows("thorough", "normal apart", "1x2:1x300x300x16x16:64", "causal", "lse"), *rows("thorough", "normal", "2x4:2x130x257x16x8:33"), *rows("thorough", "normal", "1x2:2x400x400x8x8:64", "causal", "window=21", "sinks=4"))),
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
    elif row.pattern in ("rising", "falling"):  # later blocks are larger, or smaller
        query += 2.0
        place = np.arange(n_k) / n_k if row.pattern == "rising" else -np.arange(n_k) / n_k
        key += 2.0 * place[:, None]
    elif row.pattern == "sinking":  # the first keys attract every query, as in language models
        query += 1.0
        key[:, :, :4] += 2.0
    elif row.pattern == "far":  # all scores near 100
        query[..., 0] = 10.0
        key[..., 0] = 10.0 * np.sqrt(d)
    elif row.pattern == "packed":  # ST-6: three heads side by side, told apart by two coordinates
        words, part = 6.0 * np.eye(3), np.arange(n_q) * 3 // n_q
        query[..., -3:] = -words[part]
        key[..., -3:] = 6.0 - words[np.arange(n_k) * 3 // n_k]
    options: dict[str, Any] = {"is_causal": "causal" in row.options, "return_lse": "lse" in row.options}
    for option in row.options:
        name, _, number = option.partition("=")
        if number:
            options[name] = float(number) if name == "scale" else int(number)
    if "mask" in row.options:
        mask = rng.random((b, 1, n_q, n_k)) < 0.6
        mask[..., 0, :] = True
        mask[..., 1, :] = mask[..., 1, :] & (np.arange(n_k) == n_k - 1)
        options["mask"] = mask
    if "hidden" in row.options:
        mask = rng.random((b, h, n_q, n_k)) < 0.6
        mask[:, :, ::3] = False
        options["mask"] = mask
    options |= {"oracle_size": int(oracle_size), "provenance": provenance}
    return Instance(query.astype(dtype), key.astype(dtype), value.astype(dtype), **options)
