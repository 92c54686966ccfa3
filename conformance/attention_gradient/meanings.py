"""What wrong backward passes mean instead: for every known bug the gradients that would be right under it.

Some are wrong in the forward pass as well, and differentiate what they compute: those are attention's meanings.  Others
are wrong in the backward pass alone.  Where each was seen is told by the families that hunt it.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.attention.meanings import MEANINGS as ATTENTION
from assay.conformance.attention_gradient import wrong
from assay.conformance.attention_gradient.wrong import LOG2_E, Parts, of_scale, over_scale
from assay.conformance.softmax import masks, scores
from assay.conformance.softmax.formulas import formula
from assay.spec.enclosure import Enclosure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from assay.conformance.diagnosis.meanings import Meaning
    from assay.spec.criterion import Criterion

    Array = NDArray[np.float64]
    Criteria = Mapping[str, Criterion]
    Right = Callable[[Any], Criteria | None]
    Formula = Callable[[Parts], Mapping[str, Array] | None]

__all__ = ["MEANINGS"]

# What is said of outputs that only a forward pass has.
_OF_OUTPUTS = ("numerator-", "denominator-", "rows-blank-", "heads-blank", "empty-", "lse-", "heads-")


def _formula(identifier: str, sentence: str, function: Formula) -> Meaning:
    """The meaning of a backward pass whose gradients are those of a function of the parts of the formula."""
    return formula(identifier, sentence, function, Parts)


def _differentiated(meaning: Meaning) -> Meaning:
    """A meaning of attention, of a kernel that differentiates it: what it does not read has the gradient 0."""

    def criteria(instance: Any, right: Right) -> Criteria | None:
        held_to = meaning.criteria(instance, right)
        if held_to is None:
            return None
        made = {}
        for name, criterion in held_to.items():
            array = getattr(instance, name.removeprefix("grad_"))
            if array is None or criterion.value is None:
                continue
            value, allowed = criterion.value, criterion.allowed
            missing = (
                [n - m for n, m in zip(array.shape, value.shape, strict=True)]
                if array.ndim == value.midpoint.ndim
                else [-1]
            )
            if min(missing, default=0) < 0:
                return None
            if any(missing):
                width = [(0, n) for n in missing]
                padded = Enclosure(np.pad(value.midpoint, width), np.pad(value.radius, width))
                criterion = criterion.about(padded, np.pad(np.broadcast_to(allowed, value.shape), width))
            made[name] = criterion
        return made or None

    return dataclasses.replace(meaning, criteria=criteria)


def _with_delta(delta: Callable[[Parts], Array]) -> Formula:
    """δ is something else."""

    def formula(parts: Parts) -> Mapping[str, Array]:
        other = np.broadcast_to(delta(parts), parts.delta.shape)
        return parts.assembled(parts.probability * (parts.product - other), delta=other)

    return formula


def _with_gradient(gradient: Callable[[Parts], Array]) -> Formula:
    """dS is something else."""
    return lambda parts: parts.assembled(gradient(parts))


def _with_slope(slope: Callable[[Parts], Array]) -> Formula:
    return lambda parts: None if parts.instance.softcap is None else parts.assembled(slope=slope(parts))


def _with_product(product: Callable[[Parts], Array | None]) -> Formula:
    """g is something else, and so is δ where it comes from g."""

    def formula(parts: Parts) -> Mapping[str, Array] | None:
        other = product(parts)
        return None if other is None else parts.assembled(parts.probability * (other - parts.delta))

    return formula


def _first_columns(parts: Parts, kept: int) -> Array | None:
    if parts.value.shape[3] <= kept:
        return None
    return np.asarray(parts.grad_output[..., :kept] @ np.swapaxes(parts.value[..., :kept], 2, 3))


def _bias_as(function: Callable[[Parts], Array]) -> Formula:
    return lambda parts: None if parts.instance.bias is None else {"grad_bias": function(parts)}


def _sink_as(function: Callable[[Parts], Array]) -> Formula:
    return lambda parts: None if parts.instance.sink is None else {"grad_sink": function(parts)}


def _one_of_broadcast(index: int) -> Callable[[Parts], Array]:
    def function(parts: Parts) -> Array:
        gradient = parts.gradient
        for axis in parts.broadcast:
            gradient = np.take(gradient, [index], axis=axis)
        assert parts.instance.bias is not None
        return np.asarray(gradient.reshape(parts.instance.bias.shape))

    return function


def _mean_of_broadcast(parts: Parts) -> Array:
    count = math.prod(parts.seen.shape[axis] for axis in parts.broadcast)
    return np.asarray(parts.summed(parts.gradient) / count)


def _without_sink(parts: Parts) -> Mapping[str, Array] | None:
    """The sink is left out of the sum by which probabilities are divided."""
    if parts.instance.sink is None:
        return None
    other = Parts(parts.instance.replace(sink=None))
    gradient = other.probability * parts.differences()
    weight = np.exp(parts.sink - other.log_sum_exp)
    made = parts.assembled(gradient, probability=other.probability)
    return {**made, "grad_sink": -(weight * parts.delta).sum(axis=(0, 2, 3))}


def _incoming_of(change: Callable[[Array], Array]) -> Formula:
    """The gradient of the output is read elsewhere."""

    def formula(parts: Parts) -> Mapping[str, Array]:
        other = Parts(parts.instance)
        other.grad_output = change(parts.grad_output)
        return other.assembled()

    return formula


def _delta_of(index: Any) -> Callable[[Parts], Array]:
    return lambda parts: parts.delta[index]


def _half_delta(parts: Parts) -> Array:
    output = parts.probability @ parts.value
    half = max(1, output.shape[3] // 2)
    return np.asarray((parts.grad_output * output)[..., :half].sum(axis=3, keepdims=True) - parts.incoming)


def _empty_nan(parts: Parts) -> Mapping[str, Array] | None:
    empty = ~parts.seen.any(axis=3, keepdims=True)
    if not empty.any() or parts.instance.sink is not None:
        return None
    made = parts.assembled()
    return {"grad_query": np.where(empty, np.nan, made["grad_query"])}


def _tail_to_next(parts: Parts) -> Mapping[str, Array] | None:
    """The last key of a head is added to the first key of the next head."""
    made = parts.assembled()
    moved = {}
    for name in ("grad_key", "grad_value"):
        array = made[name].copy()
        flat = array.reshape(-1, *array.shape[2:])
        flat[1:, 0] += made[name].reshape(flat.shape)[:-1, -1]
        moved[name] = array
    return moved if parts.instance.key.shape[0] * parts.instance.key.shape[1] > 1 else None


def _rows() -> Iterator[Meaning]:
    yield _formula(
        "delta-missing", "δ is left out: dS = p·dP", _with_gradient(lambda parts: parts.probability * parts.product)
    )
    yield _formula(
        "lse-gradient-dropped",
        "the gradient of the log-sum-exp is dropped",
        _with_delta(lambda parts: parts.expected),
    )
    yield _formula(
        "lse-gradient-negated",
        "the gradient of the log-sum-exp is subtracted",
        _with_delta(lambda parts: parts.expected + parts.incoming),
    )
    yield _formula(
        "lse-gradient-base-2",
        "the gradient of the log-sum-exp is multiplied by log₂ e",
        _with_delta(lambda parts: parts.expected - LOG2_E * parts.incoming),
    )
    yield _formula(
        "lse-gradient-first-head",
        "the gradient of the log-sum-exp of the first head is used for every head",
        _with_delta(lambda parts: parts.expected - parts.incoming[:, :1]),
    )
    yield _formula(
        "maximum-in-numerator",
        "the row maximum is differentiated in the numerator alone: its key lacks δ",
        _with_gradient(lambda parts: parts.gradient - parts.largest * parts.expected),
    )
    yield _formula(
        "maximum-in-log-sum-exp",
        "the row maximum of the log-sum-exp is differentiated where it is subtracted alone",
        _with_gradient(lambda parts: parts.gradient - parts.largest * parts.incoming),
    )
    yield _formula(
        "delta-scaled", "δ is multiplied by the scale", _with_delta(lambda p: p.scale * p.expected - p.incoming)
    )
    yield _formula(
        "delta-of-gradient",
        "δ is the sum of squares of grad_output, without the output",
        _with_delta(lambda parts: (parts.grad_output**2).sum(axis=3, keepdims=True) - parts.incoming),
    )
    yield _formula("delta-half", "δ is of the first half of the columns of the values", _with_delta(_half_delta))
    yield _formula("delta-negated", "δ is added instead of subtracted", _with_delta(lambda parts: -parts.delta))
    yield _formula(
        "delta-without-output",
        "δ is the sum of grad_output, without the output",
        _with_delta(lambda parts: parts.grad_output.sum(axis=3, keepdims=True)),
    )
    yield _formula(
        "delta-first-head", "δ of the first head is used for every head", _with_delta(_delta_of(np.s_[:, :1]))
    )
    yield _formula(
        "delta-first-batch", "δ of the first batch is used for every batch", _with_delta(_delta_of(np.s_[:1]))
    )
    yield _formula(
        "delta-first-row", "δ of the first query is used for every query", _with_delta(_delta_of(np.s_[:, :, :1]))
    )
    yield _formula(
        "delta-of-products-of-absolute",
        "δ is the mean of dP without the probabilities",
        _with_delta(lambda parts: parts.product.mean(axis=3, keepdims=True)),
    )
    yield _formula(
        "probability-missing",
        "dS is dP − δ, without the probability",
        _with_gradient(lambda parts: np.where(parts.seen, parts.differences(), 0.0)),
    )
    yield _formula(
        "diagonal-alone",
        "only the diagonal of the Jacobian of softmax: dS = p·(1 − p)·dP",
        _with_gradient(lambda parts: parts.probability * (1 - parts.probability) * parts.product),
    )
    yield _formula(
        "probability-twice",
        "dS is p²·(dP − δ)",
        _with_gradient(lambda parts: parts.probability**2 * parts.differences()),
    )
    yield _formula(
        "softcap-slope", "softcap: the factor 1 − tanh² is left out", _with_slope(lambda p: np.ones_like(p.raw))
    )
    yield _formula(
        "softcap-slope-linear", "softcap: the factor is 1 − |tanh|", _with_slope(lambda p: 1.0 - np.abs(p.share))
    )
    yield _formula(
        "softcap-slope-twice", "softcap: the factor 1 − tanh² comes twice", _with_slope(lambda p: p.slope**2)
    )
    yield _formula(
        "softcap-slope-of-score",
        "softcap: the factor is 1 − s², of the capped score that is not divided by the cap",
        _with_slope(lambda p: 1.0 - (p.cap * p.share) ** 2),
    )
    yield _formula(
        "softcap-slope-of-raw",
        "softcap: the factor is 1 − (s/c)², of the score before the cap",
        _with_slope(lambda p: 1.0 - (p.raw / p.cap) ** 2),
    )
    yield _formula(
        "softcap-slope-clip",
        "softcap: the factor is the derivative of a clip, 1 or 0",
        _with_slope(lambda p: (np.abs(p.raw) < p.cap).astype(np.float64)),
    )
    yield _formula(
        "softcap-slope-over-cap",
        "softcap: the factor 1 − tanh² is divided by the cap",
        _with_slope(lambda p: p.slope / p.cap),
    )
    for name, called in (("query", "dQ"), ("key", "dK")):
        yield _formula(f"scale-missing-{name}", f"{called} lacks the scale", wrong.scaled(**{name: over_scale}))
        yield _formula(f"scale-twice-{name}", f"{called} has the scale twice", wrong.scaled(**{name: of_scale}))
        yield _formula(f"ln2-{name}", f"{called} is multiplied by ln 2", wrong.scaled(**{name: lambda p: 1 / LOG2_E}))
        yield _formula(f"log2e-{name}", f"{called} is multiplied by log₂ e", wrong.scaled(**{name: lambda p: LOG2_E}))
    for identifier, sentence, factor in (
        ("scale-missing", "dQ and dK lack the scale", over_scale),
        ("scale-twice-both", "dQ and dK have the scale twice", of_scale),
        ("scale-standard", "dQ and dK have 1/√dim in the place of the scale", wrong.standard_over_scale),
        ("ln2", "dQ and dK are multiplied by ln 2", lambda parts: 1 / LOG2_E),
        ("log2e", "dQ and dK are multiplied by log₂ e", lambda parts: LOG2_E),
    ):
        yield _formula(identifier, sentence, wrong.scaled(query=factor, key=factor))
    for name, called in (("query", "dQ"), ("key", "dK"), ("value", "dV")):
        yield _formula(f"twice-{name}", f"{called} is added twice", wrong.scaled(**{name: lambda parts: 2.0}))
        yield _formula(f"zero-{name}", f"{called} is 0", wrong.scaled(**{name: lambda parts: 0.0}))
        yield _formula(f"negated-{name}", f"{called} has the wrong sign", wrong.scaled(**{name: lambda parts: -1.0}))
    yield _formula("exchanged-query-key", "dQ and dK are exchanged", wrong.exchanged("query", "key"))
    yield _formula("exchanged-key-value", "dK and dV are exchanged", wrong.exchanged("key", "value"))
    yield _formula("exchanged-query-value", "dQ and dV are exchanged", wrong.exchanged("query", "value"))
    yield _formula("rotated", "dQ, dK, dV are returned as dV, dQ, dK", wrong.exchanged("query", "key", "value"))
    yield _formula("rotated-back", "dQ, dK, dV are returned as dK, dV, dQ", wrong.exchanged("value", "key", "query"))
    yield _formula(
        "group-first",
        "grouped heads: only the first query head of a group reaches dK and dV",
        wrong.kept_heads(lambda h, h_q, h_k: h % (h_q // h_k) == 0),
    )
    yield _formula(
        "group-last",
        "grouped heads: only the last query head of a group reaches dK and dV",
        wrong.kept_heads(lambda h, h_q, h_k: h % (h_q // h_k) == h_q // h_k - 1),
    )
    yield _formula("group-mean", "grouped heads: dK and dV are the mean over a group, not the sum", _group_mean)
    yield _formula(
        "group-modulo",
        "grouped heads: dK and dV of query head h are added to key head h mod h_k",
        wrong.placed(lambda h, h_q, h_k: h % h_k),
    )
    yield _formula(
        "group-by-key-heads",
        "grouped heads: dK and dV of query head h are added to key head h // h_k",
        wrong.placed(lambda h, h_q, h_k: h // h_k),
    )
    yield _formula(
        "group-raw",
        "grouped heads: dK and dV of query head h stand at place h, and the rest is lost",
        wrong.placed(lambda h, h_q, h_k: h),
    )
    yield _formula(
        "heads-modulo",
        "grouped heads: query head h reads key head h mod h_k instead of h // (h_q / h_k)",
        wrong.chained(lambda h, h_q, h_k: h % h_k),
    )
    yield _formula("heads-first", "every query head reads key head 0", wrong.chained(lambda h, h_q, h_k: 0))
    for name, called in (("mask", "mask"), ("key_lengths", "key lengths"), ("bias", "bias"), ("softcap", "softcap")):
        yield _formula(
            f"backward-{name}", f"{called} ignored by the backward pass alone", wrong.only_forward(masks.dropped(name))
        )
    for identifier, sentence, change in (
        ("causal", "causal mask ignored by the backward pass alone", masks.causal_ignored),
        ("causal-plus", "causal mask of the backward pass off by one: one key too many", masks.causal_moved(1)),
        ("causal-minus", "causal mask of the backward pass off by one: one key too few", masks.causal_moved(-1)),
        ("causal-bottom-right", "causal mask of the backward pass aligned bottom-right", masks.aligned("bottom-right")),
        ("causal-top-left", "causal mask of the backward pass aligned top-left", masks.aligned("top-left")),
        ("window", "window ignored by the backward pass alone", masks.window_ignored),
        ("window-exchanged", "window of the backward pass with left and right exchanged", masks.window_exchanged),
        (
            "window-left-minus",
            "window of the backward pass one key too narrow on the left",
            masks.window_changed(-1, 0),
        ),
        ("window-left-plus", "window of the backward pass one key too wide on the left", masks.window_changed(1, 0)),
        (
            "window-right-minus",
            "window of the backward pass one key too narrow on the right",
            masks.window_changed(0, -1),
        ),
        ("window-right-plus", "window of the backward pass one key too wide on the right", masks.window_changed(0, 1)),
        ("mask-inverted", "mask inverted in the backward pass", masks.mask_inverted),
        (
            "mask-first-head",
            "mask of the first head used for every head in the backward pass",
            masks.first_along("mask", -3),
        ),
        (
            "mask-first-batch",
            "mask of the first batch used for every batch in the backward pass",
            masks.first_along("mask", -4),
        ),
        ("scale", "scale of the scores of the backward pass ignored: 1/√dim", scores.scaled(scores.standard_scale)),
    ):
        yield _formula(f"backward-{identifier}", sentence, wrong.only_forward(change))
    yield _formula("sink-backward", "sink left out of the backward pass", _without_sink)
    yield _formula("sink-zero", "dSink is 0", _sink_as(lambda p: np.zeros(p.query.shape[1])))
    yield _formula("sink-negated", "dSink has the wrong sign", _sink_as(lambda p: -p.assembled()["grad_sink"]))
    yield _formula(
        "sink-first-batch",
        "dSink is that of the first batch",
        _sink_as(lambda p: -(np.exp(p.sink - p.log_sum_exp) * p.delta)[:1].sum(axis=(0, 2, 3))),
    )
    yield _formula(
        "sink-without-lse-gradient",
        "dSink lacks the gradient of the log-sum-exp",
        _sink_as(lambda p: -(np.exp(p.sink - p.log_sum_exp) * p.expected).sum(axis=(0, 2, 3))),
    )
    yield _formula(
        "sink-without-delta",
        "dSink is the sum of the sink's probabilities, without δ",
        _sink_as(lambda p: -np.exp(p.sink - p.log_sum_exp).sum(axis=(0, 2, 3))),
    )
    yield _formula(
        "bias-scaled", "dBias is multiplied by the scale", _bias_as(lambda p: p.scale * p.summed(p.gradient))
    )
    yield _formula("bias-twice", "dBias is added twice", _bias_as(lambda p: 2.0 * p.summed(p.gradient)))
    yield _formula("bias-zero", "dBias is 0", _bias_as(lambda p: 0.0 * p.summed(p.gradient)))
    yield _formula(
        "bias-first",
        "dBias is not added up where the bias is broadcast: the first part alone",
        _bias_as(_one_of_broadcast(0)),
    )
    yield _formula(
        "bias-last",
        "dBias is not added up where the bias is broadcast: the last part alone",
        _bias_as(_one_of_broadcast(-1)),
    )
    yield _formula(
        "bias-mean", "dBias is the mean over what the bias is broadcast to, not the sum", _bias_as(_mean_of_broadcast)
    )
    yield _formula(
        "bias-capped",
        "dBias has the factor 1 − tanh² of the softcap, which comes before the bias",
        _bias_as(lambda p: p.summed(p.gradient * p.slope)),
    )
    yield _formula(
        "value-columns-of-dim",
        "columns of the values beyond dim are left out of dP",
        _with_product(lambda p: _first_columns(p, p.query.shape[3])),
    )
    yield _formula(
        "value-columns-64",
        "only the first 64 columns of the values are in dP",
        _with_product(lambda p: _first_columns(p, 64)),
    )
    yield _formula(
        "gradient-first-head",
        "grad_output of the first head is used for every head",
        _incoming_of(lambda x: np.broadcast_to(x[:, :1], x.shape)),
    )
    yield _formula(
        "gradient-first-batch",
        "grad_output of the first batch is used for every batch",
        _incoming_of(lambda x: np.broadcast_to(x[:1], x.shape)),
    )
    yield _formula(
        "gradient-order",
        "grad_output is read as (batch, length, heads, dim)",
        _incoming_of(lambda x: x.reshape(x.shape[0], x.shape[2], x.shape[1], x.shape[3]).swapaxes(1, 2)),
    )
    yield _formula(
        "gradient-transposed",
        "grad_output is read as if its last two axes were exchanged",
        _incoming_of(lambda x: x.reshape(x.shape[0], x.shape[1], x.shape[3], x.shape[2]).swapaxes(2, 3)),
    )
    yield _formula(
        "gradient-clipped", "grad_output is clipped to [−1, 1]", _incoming_of(lambda x: np.clip(x, -1.0, 1.0))
    )
    yield _formula(
        "gradient-of-mean", "grad_output is divided by the number of batches", _incoming_of(lambda x: x / len(x))
    )
    yield _formula(
        "value-of-score-gradient",
        "dV is a product with dS instead of P",
        lambda p: {"grad_value": p.assembled(probability=p.gradient)["grad_value"]},
    )
    for tile in (0, 8, 16, 32, 64, 128):
        which = "the last" if tile == 0 else f"those beyond the last whole tile of {tile}"
        yield _formula(
            f"queries-left-out-{tile}",
            f"some queries are left out of dK and dV: {which}",
            wrong.rows_left_out(tile, keys=False),
        )
        yield _formula(
            f"keys-left-out-{tile}", f"some keys are left out of dQ: {which}", wrong.rows_left_out(tile, keys=True)
        )
    yield _formula("tail-to-next", "the last key of a head is added to the first key of the next head", _tail_to_next)
    yield _formula("empty-nan", "an empty row gives NaN instead of 0", _empty_nan)
    for meaning in ATTENTION:
        if not meaning.id.startswith(_OF_OUTPUTS):
            yield _differentiated(meaning)


def _group_mean(parts: Parts) -> Mapping[str, Array] | None:
    made = parts.assembled()
    group = parts.instance.group
    return None if group == 1 else {name: made[name] / group for name in ("grad_key", "grad_value")}


#: The known wrong meanings of a backward pass.
MEANINGS: tuple[Meaning, ...] = tuple(_rows())
