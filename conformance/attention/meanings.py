"""What wrong attention kernels mean instead: for every known bug what would be right under it.

Where each was seen is told by the families that hunt it.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.attention import outputs
from assay.conformance.attention.layouts import LENGTHS_FOR_HEADS
from assay.conformance.diagnosis.meanings import Meaning, altered, solves
from assay.conformance.softmax import heads, masks, online, scores

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MEANINGS"]


def _rows() -> Iterator[Meaning]:
    """Every row of the table: an identifier, a sentence, and what would be right."""

    def row(identifier: str, sentence: str, change: Any) -> Meaning:
        return Meaning(identifier, sentence, solves(change))

    def output(identifier: str, sentence: str, change: Any, **functions: Any) -> Meaning:
        return Meaning(identifier, sentence, altered(change, **functions))

    yield row(
        "causal-bottom-right",
        "causal mask aligned bottom-right, where top-left was asked for",
        masks.aligned("bottom-right"),
    )
    yield row(
        "causal-top-left", "causal mask aligned top-left, where bottom-right was asked for", masks.aligned("top-left")
    )
    yield row(
        "causal-array-length",
        "bottom-right alignment by the length of the key array instead of the key lengths",
        masks.aligned_by_arrays,
    )
    yield row("causal-ignored", "causal mask ignored", masks.causal_ignored)
    yield row(
        "causal-plus-one", "causal mask off by one: each query sees one key too many (j ≤ i + 1)", masks.causal_moved(1)
    )
    yield row(
        "causal-minus-one",
        "causal mask off by one: one key too few, each query misses its own (j < i)",
        masks.causal_moved(-1),
    )
    for corner in ("top-left", "bottom-right"):
        yield row(
            f"causal-unasked-{corner}", f"a {corner} causal mask that nobody asked for", masks.causal_unasked(corner)
        )
    for keys in (64, 128, 256, 512):
        yield row(
            f"window-unasked-{keys}",
            f"a window of the last {keys} keys that nobody asked for",
            masks.window_unasked(keys),
        )
    yield row(
        "bound-of-group",
        "causal mask and window of row i // group: rows are counted in one tile with the heads of their group",
        masks.bound_of(lambda instance, i: i // instance.group),
    )
    for tile in (2, 4, 8, 16, 32, 64, 128):
        yield row(
            f"bound-of-last-{tile}",
            f"causal mask and window of the last row of its tile of {tile}, for every row",
            masks.bound_of(masks.last_of_tile(tile)),
        )
        yield row(
            f"bound-of-first-{tile}",
            f"causal mask and window of the first row of its tile of {tile}, for every row",
            masks.bound_of(masks.first_of_tile(tile)),
        )
    for side, (left, right) in {"left": (1, 0), "right": (0, 1)}.items():
        yield row(f"window-{side}-plus", f"window one key too wide on the {side}", masks.window_changed(left, right))
        yield row(
            f"window-{side}-minus",
            f"window one key too narrow on the {side} (exclusive bound)",
            masks.window_changed(-left, -right),
        )
    yield row("window-ignored", "window ignored", masks.window_ignored)
    yield row("window-exchanged", "window with left and right exchanged", masks.window_exchanged)
    yield row("window-alignment", "window aligned to the other corner than the positions say", masks.window_realigned)
    for name, called in (
        ("mask", "mask"),
        ("bias", "bias"),
        ("key_lengths", "key lengths"),
        ("softcap", "softcap"),
        ("sink", "sink"),
    ):
        yield row(f"{name}-ignored", f"{called} ignored", masks.dropped(name))
    yield row("mask-inverted", "mask inverted: True hides", masks.mask_inverted)
    yield row("mask-added", "boolean mask added to the scores as 0 and 1", masks.mask_added)
    yield row(
        "mask-all-added", "every mask, causal and lengths too, added to the scores as 0 and 1", masks.visible_added
    )
    yield row("mask-transposed", "mask transposed", masks.mask_transposed)
    for name in ("mask", "bias"):
        for axis, called in ((-4, "batch"), (-3, "head"), (-2, "query")):
            yield row(
                f"{name}-first-{called}",
                f"{name} of the first {called} used for every {called}",
                masks.first_along(name, axis),
            )
    for name, value, read in (("mask", False, "False"), ("bias", 0.0, "0")):
        for axis, called in ((-4, "batch"), (-3, "head"), (-2, "query")):
            yield row(
                f"{name}-beyond-{called}",
                f"{name} of one {called} for all: read beyond its end, as {read}, for every other {called}",
                masks.beyond_broadcast(name, axis, value),
            )
    yield row(
        "key_lengths-first", "key lengths: the first batch's used for every batch", masks.first_along("key_lengths", -1)
    )
    yield row("key_lengths-plus", "key lengths off by one: one key too many", masks.lengths_plus(1))
    yield row("key_lengths-minus", "key lengths off by one: one key too few", masks.lengths_plus(-1))
    yield row("bias-twice", "bias added twice", masks.bias_times(lambda instance: 2.0))
    yield row("bias-scaled", "bias multiplied by the scale", masks.bias_times(scores.scale_of))
    yield row(
        "alibi-slopes", "ALiBi slopes 2^(−8h/H) for a number H of heads that is no power of two", masks.plain_slopes
    )
    yield row("bias-negated", "bias subtracted", masks.bias_times(lambda instance: -1.0))
    yield row("scale-standard", "scale ignored: 1/√dim used whatever is given", scores.scaled(scores.standard_scale))
    yield row("scale-half", "scale ignored: a constant 0.5", scores.scaled(lambda instance: 0.5))
    yield row("scale-one", "scale ignored: scores are not scaled", scores.scaled(lambda instance: 1.0))
    yield row(
        "scale-zero",
        "scale 0 taken for unset: 1/√dim used",
        scores.scaled(lambda i: scores.scale_of(i) or scores.standard_scale(i)),
    )
    yield row("scale-twice", "scale applied twice", scores.scaled(lambda i: scores.scale_of(i) ** 2))
    yield row(
        "scale-root",
        "square root of the scale applied once",
        scores.scaled(lambda i: math.copysign(math.sqrt(abs(scores.scale_of(i))), scores.scale_of(i))),
    )
    yield row("scale-absolute", "sign of the scale dropped", scores.scaled(lambda i: abs(scores.scale_of(i))))
    yield row(
        "scale-value-dim",
        "scale of the value dim, 1/√d_v",
        scores.scaled(
            lambda i: (
                scores.standard_scale(i, i.value.shape[3])
                if scores.scale_of(i) == scores.standard_scale(i)
                else scores.scale_of(i)
            )
        ),
    )
    yield row(
        "scale-linear",
        "scale 1/dim instead of 1/√dim",
        scores.scaled(
            lambda i: 1.0 / i.query.shape[3] if scores.scale_of(i) == scores.standard_scale(i) else scores.scale_of(i)
        ),
    )
    for to, called in (
        (0, "a power of two"),
        (16, "a multiple of 16"),
        (32, "a multiple of 32"),
        (64, "a multiple of 64"),
    ):
        yield row(
            f"scale-padded-{to}",
            f"scale of the dim padded to {called}",
            scores.scaled(functools.partial(scores.padded, to=to)),
        )
    for name in ("bfloat16", "float16"):
        yield row(f"scale-{name}", f"scale constant rounded to {name}", scores.scaled(scores.rounded_scale(name)))
    yield row("softcap-after-bias", "softcap after the bias instead of before it", scores.cap_after_bias)
    yield row("softcap-after-hiding", "softcap after hiding: hidden keys get the score −cap", scores.cap_after_hiding)
    for identifier, called, factor in (
        ("scale", "the scale", scores.scale_of),
        ("log2e", "log₂ e", lambda instance: 1 / math.log(2.0)),
        ("ln2", "ln 2", lambda instance: math.log(2.0)),
        ("two", "2", lambda instance: 2.0),
        ("half", "½", lambda instance: 0.5),
        ("minus", "−1", lambda instance: -1.0),
    ):
        yield row(f"sink-times-{identifier}", f"sink times {called}", scores.sink_times(factor))
    yield row("sink-first", "sink of head 0 used for every head", masks.first_along("sink", -1))
    yield row("sink-with-value", "sink counted as a key with the value of the first key", scores.sink_with_value)
    for value in (-100.0, -1e4, -65504.0, -1e9):
        yield row(
            f"mask-value{value:g}",
            f"hidden keys of mask, lengths or causality leak: score {value:g}, not −∞",
            scores.finite_mask(value),
        )
    yield row("softcap-raw", "softcap before the scale instead of after it", scores.cap_of_raw)
    yield row(
        "heads-modulo",
        "grouped heads: query head h reads key head h mod h_k instead of h // (h_q / h_k)",
        heads.keys_of(lambda h, h_q, h_k: h % h_k),
    )
    yield row(
        "heads-modulo-values",
        "grouped heads: keys of the right head, values of head h mod h_k",
        heads.keys_of(lambda h, h_q, h_k: h % h_k, values_only=True),
    )
    yield row("heads-first", "every query head reads key head 0", heads.keys_of(lambda h, h_q, h_k: 0))
    yield row(
        "heads-raw",
        "query head number used as key head number, cut at the last",
        heads.keys_of(lambda h, h_q, h_k: min(h, h_k - 1)),
    )
    yield row("batch-first", "every batch reads the keys and values of batch 0", heads.first_batch)
    yield row(
        "exchanged", "query and key exchanged: softmax over the wrong axis of a transposed product", heads.exchanged
    )
    yield row("tail-last", "tail of the keys dropped: the last one", heads.tail_dropped(0))
    for tile in (2, 4, 8, 16, 32, 64, 128):
        yield row(
            f"tail-{tile}", f"tail of the keys dropped: only whole tiles of {tile} are read", heads.tail_dropped(tile)
        )
    for tile in (2, 4, 8, 16, 32, 64, 128):
        yield row(
            f"tail-zero-{tile}",
            f"tail of the keys filled with zeros up to a multiple of {tile}, and counted in the softmax",
            heads.tail_zero(tile),
        )
    yield row(
        "tail-twice", "tail of the keys counted twice: the last one", heads.keys_again(lambda n_k: np.array([n_k - 1]))
    )
    for tile in (2, 4, 8, 16, 32, 64):
        yield row(
            f"tail-clamped-{tile}",
            f"tail of the keys counted twice: the last one fills a tile of {tile}",
            heads.keys_again(heads.clamped(tile)),
        )
    for tile in (16, 64):
        yield row(
            f"tail-overlap-{tile}",
            f"tail of the keys counted twice: the last tile of {tile} overlaps the one before",
            heads.keys_again(heads.overlapping(tile)),
        )
    for most in (128, 512):
        yield row(f"keys-{most}", f"only the first {most} keys are read", heads.first_keys(most))
    yield row("key-not-transposed", "key not transposed where it is square", heads.key_not_transposed)
    for tile in (16, 64):
        yield row(
            f"nothing-rescaled-{tile}",
            f"stale maximum: numerator and denominator not rescaled between tiles of {tile}",
            functools.partial(online.unscaled, tile=tile),
        )
        yield output(
            f"numerator-not-rescaled-{tile}",
            f"stale maximum: numerator not rescaled between tiles of {tile}",
            functools.partial(online.unscaled, tile=tile),
            output=online.numerator_unscaled(tile),
        )
        yield output(
            f"denominator-not-rescaled-{tile}",
            f"stale maximum: denominator not rescaled between tiles of {tile}",
            functools.partial(online.needs_rescaling, tile=tile),
            output=online.denominator_unscaled(tile),
            log_sum_exp=online.denominator_unscaled_lse(tile),
        )
    yield row("dim-last", "last column of dim dropped", heads.columns("query", lambda d: d - 1))
    for name, called in (("query", "dim"), ("value", "value dim")):
        yield row(f"{called}-64", f"only the first 64 columns of {called} used", heads.columns(name, lambda d: 64))
        for tile in (4, 8, 16, 32):
            yield row(
                f"{called}-tail-{tile}",
                f"tail of {called} dropped: only whole multiples of {tile}",
                heads.columns(name, functools.partial(heads.whole_tiles, tile=tile)),
            )
    yield row("value-dim-is-dim", "value dim taken for dim: columns beyond it are left out", heads.value_dim_is_dim)
    for tile in (8, 16, 32, 64, 128):
        yield output(
            f"rows-blank-{tile}",
            f"query rows beyond the last whole tile of {tile} are left at 0",
            functools.partial(outputs.has_rest, tile=tile),
            output=outputs.blank_rows(functools.partial(heads.whole_tiles, tile=tile)),
        )
    yield output(
        "heads-blank",
        "query heads from the number of key heads on are left at 0",
        lambda instance: instance if instance.group > 1 else None,
        output=outputs.blank_heads(lambda instance: instance.key.shape[1]),
    )
    yield row("empty-mean", "an empty row gives the mean of the values instead of 0", outputs.empty_mean)
    yield output(
        "empty-nan",
        "an empty row gives NaN instead of 0",
        outputs.has_empty,
        output=outputs.nan_in_empty_rows,
        log_sum_exp=outputs.nan_lse_of_empty_rows,
    )
    for identifier, sentence, function in (
        ("lse-base-two", "log-sum-exp in base 2", outputs.base_two),
        ("lse-without-maximum", "log-sum-exp without the maximum: ln Σ e^(s − m) alone", outputs.without_maximum),
        ("lse-only-maximum", "log-sum-exp is the maximum alone", outputs.only_maximum),
        ("lse-empty-zero", "log-sum-exp of an empty row is 0 instead of −∞", outputs.zero_when_empty),
    ):
        yield output(identifier, sentence, outputs.has_lse, log_sum_exp=function)


#: The known wrong meanings of attention.
MEANINGS: tuple[Meaning, ...] = (*_rows(), LENGTHS_FOR_HEADS)
