"""Which wrong kernel each family of cases is there for: one that it kills by its own cases, in float32."""

from __future__ import annotations

__all__ = ["KILLERS"]

#: family → the name of a kernel of the bank
KILLERS: dict[str, str] = {
    "accumulation": "float16-accumulator",
    "batches": "lengths-first",
    "bias": "bias-ignored",
    "broadcast": "padding-mask-for-first-query",
    "causal": "causal-one-more",
    "causal-cross": "causal-top-left",
    "combinations": "dim-96-without-sink",
    "concurrent": "shared-workspace",
    "dims": "dim-tail-8",
    "empty-rows": "empty-finite-lse",
    "exact-scores": "small-weights-skipped",
    "exp-bias": "exp-degree-3",
    "far-strides": "offsets-in-32-bits",
    "heads": "head-modulo",
    "large-grid": "race-in-large-grids",
    "large-logits": "bfloat16-products",
    "layouts": "assumes-contiguous",
    "log-sum-exp": "lse-base-2",
    "long": "long-rows-without-tail",
    "long-rows": "prefix-128",
    "mask": "mask-inverted",
    "masked-tiles": "maximum-over-masked",
    "normal": "numerator-not-rescaled",
    "normalised": "exp-schraudolph",
    "one-key": "raises-for-one-key",
    "options": "decode-step-without-mask",
    "ramps": "denominator-not-rescaled",
    "raw-products": "head-dim-64",
    "row-levels": "small-weights-skipped",
    "scale": "scale-absolute",
    "shifted": "nothing-rescaled",
    "sink": "sink-ignored",
    "small-numbers": "scale-padded",
    "softcap": "softcap-ignored",
    "state": "first-softcap-kept",
    "tails": "tail-64",
    "two-keys": "last-key-dropped",
    "unlike-heads": "one-maximum-for-all-heads",
    "values": "value-tail",
    "window": "window-left-one-more",
}
