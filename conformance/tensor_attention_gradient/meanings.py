"""What wrong backward passes of attention of order k mean instead: gradients exchanged, modes, masks, δ, scales, heads.

Some are wrong in the forward pass as well, and differentiate what they compute: those are meanings of tensor_attention.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.diagnosis.meanings import Meaning, solves
from assay.conformance.softmax.formulas import formula
from assay.conformance.tensor_attention.meanings import CHANGES_OF_SEEN, HEADS, SCALES, of_seen, scaled
from assay.conformance.tensor_attention.wrong import combined
from assay.conformance.tensor_attention_gradient.wrong import Parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Made = Mapping[str, Array] | None
    Formula = Callable[[Parts], Made]

__all__ = ["MEANINGS"]

_MODES = (1, 2, 3, 4)


def _exchanged(*names: str) -> Formula:
    """Gradients in each other's place, where they are shaped alike: each name in that of the next one."""

    def made(parts: Parts) -> Made:
        right = parts.assembled()
        places = [f"grad_{name}" for name in names]
        if any(name not in right for name in places) or len({right[name].shape for name in places}) > 1:
            return None
        return {place: right[name] for name, place in zip(places, places[1:] + places[:1], strict=True)}

    return made


def _modes_reversed(*kinds: str) -> Formula:
    """The gradients of the modes in the reverse order."""

    def made(parts: Parts) -> Made:
        right, last = parts.assembled(), parts.order
        names = {f"grad_{kind}{m}": f"grad_{kind}{last - m}" for kind in kinds for m in range(1, last)}
        if last < 3 or any(right[name].shape != right[other].shape for name, other in names.items()):
            return None
        return {name: right[other] for name, other in names.items()}

    return made


def _times(factor: Callable[[Parts], float], *kinds: str) -> Formula:
    """Gradients whose names begin so are some times as large."""

    def made(parts: Parts) -> Made:
        used = factor(parts)
        right = parts.assembled()
        chosen = {name: array * used for name, array in right.items() if name.removeprefix("grad_").startswith(kinds)}
        return chosen if chosen and used != 1.0 else None

    return made


def _with_delta(delta: Callable[[Parts], Array]) -> Formula:
    return lambda parts: parts.assembled(parts.probability * (parts.product - delta(parts)))


def _with_gradient(gradient: Callable[[Parts], Array]) -> Formula:
    return lambda parts: parts.assembled(gradient(parts))


def _only_forward(seen_of: Any) -> Formula:
    """The backward pass sees other combinations, with the log-sum-exp of the forward pass."""

    def made(parts: Parts) -> Made:
        p = parts.formed(of_seen(seen_of)(parts.instance), parts.score)
        return parts.assembled(p * (parts.product - parts.delta), p)

    return made


def _seen(seen_of: Any) -> Formula:
    """Both passes see other combinations."""

    def made(parts: Parts) -> Made:
        other = Parts(parts.instance)
        other.seen = of_seen(seen_of)(parts.instance)
        return other.assembled()

    return made


def _without(kind: str, left_out: int) -> Formula:
    """A gradient of one mode lacks the factor of another one."""

    def made(parts: Parts) -> Made:
        if parts.order < 3 or left_out >= parts.order:
            return None
        arrays = list(parts.keys if kind == "key" else parts.values)
        arrays[left_out - 1] = np.ones_like(arrays[left_out - 1])
        weight, of_queries = (parts.gradient, parts.query) if kind == "key" else (parts.probability, parts.grad_output)
        scale = parts.scale if kind == "key" else 1.0
        return {
            f"grad_{kind}{m}": parts.gathered(scale * parts.summed(weight, m - 1, of_queries, arrays))
            for m in range(1, parts.order)
            if m != left_out
        }

    return made


def _reads(kind: str, mode: int) -> Formula:
    """One gradient sums the products of one mode's array with itself, as if it were that of every mode."""

    def made(parts: Parts) -> Made:
        if parts.order < 3 or mode >= parts.order or len(set(parts.instance.mode_lengths)) > 1:
            return None
        arrays = parts.keys if kind in ("query", "key") else parts.values
        same = [arrays[mode - 1]] * len(arrays)
        if kind == "query":
            return {"grad_query": parts.scale * parts.summed(parts.gradient, -1, parts.query, same)}
        if kind == "key":
            return {
                f"grad_key{mode}": parts.gathered(
                    parts.scale * parts.summed(parts.gradient, mode - 1, parts.query, same)
                )
            }
        return {f"grad_value{mode}": parts.gathered(parts.summed(parts.probability, mode - 1, parts.grad_output, same))}

    return made


def _chosen(formula_of: Formula, *names: str) -> Formula:
    """Some gradients of a formula: those whose names begin so."""

    def made(parts: Parts) -> Made:
        every = formula_of(parts) or {}
        chosen = {name: x for name, x in every.items() if name.removeprefix("grad_").startswith(names)}
        return chosen or None

    return made


def _delta_of(mode: int) -> Formula:
    """δ is summed for every key of a mode apart."""

    def made(parts: Parts) -> Made:
        if parts.order < 3 or mode >= parts.order:
            return None
        spread = parts.spread(parts.probability * parts.product)
        axes = tuple(axis for axis in range(3, spread.ndim) if axis != 2 + mode)
        delta = np.broadcast_to(spread.sum(axis=axes, keepdims=True), spread.shape).reshape(parts.product.shape)
        return parts.assembled(parts.probability * (parts.product - delta + parts.incoming))

    return made


def _product_without(mode: int) -> Formula:
    """The values of a mode are left out of dP."""

    def made(parts: Parts) -> Made:
        if parts.order < 3 or mode >= parts.order:
            return None
        values = [np.ones_like(x) if m == mode else x for m, x in enumerate(parts.values, 1)]
        product = parts.grad_output @ np.swapaxes(combined(values), 2, 3)
        return parts.assembled(parts.probability * (product - parts.delta))

    return made


def _one_tile(tile: int, last: bool) -> Formula:
    """Gradients of keys and values are written by every tile of queries, and not added up."""

    def made(parts: Parts) -> Made:
        n = parts.query.shape[2]
        if n <= tile:
            return None
        of_tile = np.arange(n)[:, None] // tile == ((n - 1) // tile if last else 0)
        right = parts.assembled(np.where(of_tile, parts.gradient, 0.0), np.where(of_tile, parts.probability, 0.0))
        return {name: x for name, x in right.items() if name != "grad_query"}

    return made


def _query_without(left_out: int) -> Formula:
    def made(parts: Parts) -> Made:
        if parts.order < 3 or left_out >= parts.order:
            return None
        arrays = list(parts.keys)
        arrays[left_out - 1] = np.ones_like(arrays[left_out - 1])
        return {"grad_query": parts.scale * parts.summed(parts.gradient, -1, parts.query, arrays)}

    return made


def _group(kept: Callable[[int, int], bool], share: bool = False) -> Formula:
    """Only some query heads of a group reach the gradients of its keys: kept(place in the group, size)."""

    def made(parts: Parts) -> Made:
        group = parts.instance.group
        if group == 1:
            return None
        keep = np.array([kept(h % group, group) for h in range(len(parts.heads))], float)[:, None, None]
        keep = keep / group if share else keep
        right = parts.assembled(
            parts.gradient * keep[..., None].reshape(1, -1, 1, 1), parts.probability * keep.reshape(1, -1, 1, 1)
        )
        return {name: array for name, array in right.items() if name != "grad_query"}

    return made


def _placed(chosen: Callable[[int, int, int], int]) -> Formula:
    """Gradients of keys and values of query head h are added to another key head."""

    def made(parts: Parts) -> Made:
        h_q, h_k = parts.instance.query.shape[1], parts.instance.mode_keys[0].shape[1]
        places = [chosen(h, h_q, h_k) for h in range(h_q)]
        if places == parts.heads:
            return None
        # what is formed is that of the right heads; where it is added is not
        other = Parts(parts.instance)
        other.keys, other.values, other.heads = parts.keys, parts.values, places
        return {name: array for name, array in other.assembled().items() if name != "grad_query"}

    return made


def _chained(chosen: Callable[[int, int, int], int]) -> Formula:
    """Both passes read, and add to, another key head."""

    def made(parts: Parts) -> Made:
        h_q, h_k = parts.instance.query.shape[1], parts.instance.mode_keys[0].shape[1]
        places = [chosen(h, h_q, h_k) for h in range(h_q)]
        return None if places == parts.heads else Parts(parts.instance, places).assembled()

    return made


def _left_out(tile: int, mode: int) -> Formula:
    """Queries (mode −1), or keys of a mode, beyond the last whole tile are left out of sums over them; 0: the last."""

    def made(parts: Parts) -> Made:
        if mode >= parts.order - 1:
            return None
        n = parts.query.shape[2] if mode < 0 else parts.instance.mode_lengths[mode]
        kept = n - 1 if tile == 0 else n // tile * tile
        if kept in (0, n):
            return None
        keep = np.arange(n)[:, None] < kept if mode < 0 else (parts.places(mode) < kept)[None]
        right = parts.assembled(np.where(keep, parts.gradient, 0.0), np.where(keep, parts.probability, 0.0))
        if mode < 0:
            return {name: array for name, array in right.items() if name != "grad_query"}
        own = (f"grad_key{mode + 1}", f"grad_value{mode + 1}")
        return {name: array for name, array in right.items() if name not in own}

    return made


def _value_short(parts: Parts) -> Made:
    """Columns of the values beyond dim are left out of g."""
    d = parts.query.shape[3]
    if parts.value.shape[3] <= d:
        return None
    short = parts.grad_output[..., :d] @ np.swapaxes(parts.value[..., :d], 2, 3)
    return parts.assembled(parts.probability * (short - parts.delta))


def _rows() -> Iterator[Meaning]:
    def of(identifier: str, sentence: str, function: Formula) -> Meaning:
        return formula(identifier, sentence, function, Parts)

    # one meaning a line
    # fmt: off
    yield of("modes-exchanged", "the gradients of the modes exchanged: those of keys and of values in the reverse order", _modes_reversed("key", "value"))
    yield of("modes-exchanged-keys", "the gradients of the keys of the modes exchanged", _modes_reversed("key"))
    yield of("modes-exchanged-values", "the gradients of the values of the modes exchanged", _modes_reversed("value"))
    for m in _MODES:
        yield of(f"key-value-{m}", f"dK and dV of mode {m} exchanged", _exchanged(f"key{m}", f"value{m}"))
        yield of(f"query-key-{m}", f"dQ and dK of mode {m} exchanged", _exchanged("query", f"key{m}"))
    yield of("rotated", "gradients one place too far: dQ, dK¹, dK², dV¹, dV² are returned as dV², dQ, dK¹, dK², dV¹", _exchanged("query", "key1", "key2", "value1", "value2"))
    yield of("interleaved", "gradients in the order dQ, dK¹, dV¹, dK², dV²", _exchanged("key2", "value1"))
    yield of("delta-missing", "δ is left out: dS = p·dP", _with_gradient(lambda p: p.probability * p.product))
    yield of("delta-negated", "δ is added instead of subtracted", _with_delta(lambda p: -p.delta))
    yield of("delta-first-head", "δ of the first head is used for every head", _with_delta(lambda p: p.delta[:, :1]))
    yield of("delta-first-row", "δ of the first query is used for every query", _with_delta(lambda p: p.delta[:, :, :1]))
    yield of("delta-without-output", "δ is the sum of grad_output, without the output", _with_delta(lambda p: p.grad_output.sum(axis=3, keepdims=True)))
    yield of("lse-gradient-dropped", "the gradient of the log-sum-exp is dropped", _with_delta(lambda p: p.expected))
    yield of("lse-gradient-negated", "the gradient of the log-sum-exp is subtracted", _with_delta(lambda p: p.expected + p.incoming))
    yield of("lse-gradient-twice", "the gradient of the log-sum-exp is added twice", _with_delta(lambda p: p.expected - 2.0 * p.incoming))
    for m in _MODES:
        yield of(f"delta-of-{m}", f"δ is summed for every key of mode {m} apart, not over all combinations", _delta_of(m))
        yield of(f"product-without-{m}", f"dP lacks the values of mode {m}", _product_without(m))
        yield of(f"query-reads-{m}", f"dQ reads the keys of mode {m} for every mode", _reads("query", m))
        yield of(f"key-reads-{m}", f"dK of mode {m} reads the keys of mode {m} for those of the other modes", _reads("key", m))
        yield of(f"value-reads-{m}", f"dV of mode {m} reads the values of mode {m} for those of the other modes", _reads("value", m))
    yield of("probability-missing", "dS is dP − δ, without the probability", _with_gradient(lambda p: np.where(p.seen, p.product - p.delta, 0.0)))
    yield of("probability-twice", "dS is p²·(dP − δ)", _with_gradient(lambda p: p.probability * p.gradient))
    yield of("dv-of-score-gradient", "dV is a sum with dS instead of P", lambda p: {name: x for name, x in p.assembled(probability=p.gradient).items() if "value" in name})
    of_probability = _with_gradient(lambda p: p.probability)
    for names, called in ((("query", "key"), "dQ and dK"), (("query",), "dQ"), (("key",), "dK of every mode"), *(((f"key{m}",), f"dK of mode {m}") for m in _MODES)):
        yield of(f"of-probability-{'-'.join(names)}", f"{called}: a sum with P instead of dS", _chosen(of_probability, *names))
    for m in _MODES:
        yield of(f"of-gradient-value{m}", f"dV of mode {m}: a sum with dS instead of P", _chosen(lambda p: p.assembled(probability=p.gradient), f"value{m}"))
        for kind, called in (("key", "dK"), ("value", "dV")):
            yield of(f"mean-{kind}{m}", f"{called} of mode {m} is the mean over the queries, not the sum", _times(lambda p: 1.0 / p.query.shape[2], f"{kind}{m}"))
    for tile in (1, 8, 16, 32, 64):
        for last in (True, False):
            word = "last" if last else "first"
            tiles = _one_tile(tile, last)
            yield of(f"tile-{word}-{tile}", f"dK and dV of the {word} tile of {tile} queries alone: tiles are not added up", tiles)
            for kind, called in (("key", "dK"), ("value", "dV")):
                for m in _MODES:
                    yield of(f"tile-{word}-{tile}-{kind}{m}", f"{called} of mode {m} of the {word} tile of {tile} queries alone: tiles are not added up", _chosen(tiles, f"{kind}{m}"))
    over: Callable[[Parts], float] = lambda p: 1.0 / p.scale if p.scale else 1.0  # noqa: E731
    for names, called in ((("query",), "dQ"), (("key",), "dK of every mode"), (("query", "key"), "dQ and dK"), *(((f"key{m}",), f"dK of mode {m}") for m in _MODES)):
        word = "-".join(names)
        yield of(f"scale-missing-{word}", f"{called} lacks the scale", _times(over, *names))
        yield of(f"scale-twice-{word}", f"{called} has the scale twice", _times(lambda p: p.scale, *names))
        yield of(f"ln2-{word}", f"{called} is multiplied by ln 2", _times(lambda p: math.log(2.0), *names))
        yield of(f"log2e-{word}", f"{called} is multiplied by log₂ e", _times(lambda p: 1.0 / math.log(2.0), *names))
    for name, called in (("query", "dQ"), *((f"{kind}{m}", f"{d} of mode {m}") for kind, d in (("key", "dK"), ("value", "dV")) for m in _MODES)):
        yield of(f"zero-{name}", f"{called} is 0", _times(lambda p: 0.0, name))
        yield of(f"twice-{name}", f"{called} is added twice", _times(lambda p: 2.0, name))
        yield of(f"half-{name}", f"{called} is half of what it should be", _times(lambda p: 0.5, name))
        yield of(f"negated-{name}", f"{called} has the wrong sign", _times(lambda p: -1.0, name))
    for m in _MODES:
        yield of(f"key-without-{m}", f"dK of the other modes lacks the keys of mode {m}", _without("key", m))
        yield of(f"value-without-{m}", f"dV of the other modes lacks the values of mode {m}", _without("value", m))
        yield of(f"query-without-{m}", f"dQ lacks the keys of mode {m}", _query_without(m))
    for identifier, sentence, seen_of in CHANGES_OF_SEEN:
        yield of(f"backward-{identifier}", f"in the backward pass alone: {sentence}", _only_forward(seen_of))
        yield of(identifier, sentence, _seen(seen_of))
    for identifier, sentence, scale in SCALES:
        yield Meaning(f"scale-{identifier}", sentence, solves(scaled(scale)))
    yield of("group-first", "grouped heads: only the first query head of a group reaches dK and dV", _group(lambda h, group: h == 0))
    yield of("group-last", "grouped heads: only the last query head of a group reaches dK and dV", _group(lambda h, group: h == group - 1))
    yield of("group-mean", "grouped heads: dK and dV are the mean over a group, not the sum", _group(lambda h, group: True, share=True))
    for identifier, sentence, chosen in HEADS:
        yield of(f"heads-{identifier}", f"grouped heads: {sentence}", _chained(chosen))
        yield of(f"placed-{identifier}", f"grouped heads: dK and dV are added to another head, as if {sentence}", _placed(chosen))
    for tile in (0, 4, 8, 16, 32, 64):
        which = "the last" if tile == 0 else f"those beyond the last whole tile of {tile}"
        yield of(f"queries-left-out-{tile}", f"some queries are left out of dK and dV: {which}", _left_out(tile, -1))
        for m in _MODES:
            yield of(f"keys-left-out-{m}-{tile}", f"some keys of mode {m} are left out of sums over them: {which}", _left_out(tile, m - 1))
    yield of("value-columns", "columns of the values beyond dim are left out of dP", _value_short)
    # fmt: on


#: The known wrong meanings of a backward pass of attention of order k.
MEANINGS: tuple[Meaning, ...] = tuple(_rows())
