"""Options of an instance, as data: names in a family's table become masks, biases, lengths and the rest."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

from assay.conformance.attention.broadcast import BIASES, MASKS
from assay.conformance.softmax.patterns import PATTERNS, Shape
from assay.spec.attention import Instance
from assay.spec.floats import dtype_named
from assay.spec.problem import Provenance

if TYPE_CHECKING:
    from assay.conformance.interface.suite import Row
    from assay.spec.precision import Precision

__all__ = ["OPTIONS", "build", "built", "parse_shape"]

#: Every option that a table may name, with what it does; "=…" takes a value.
OPTIONS: dict[str, str] = {
    "causal": "top-left causal mask",
    "bottom-right": "bottom-right causal mask",
    "window": "sliding window, window=L,R with * for no limit",
    "mask": "random boolean mask, at least one key a row",
    "mask-empty": "boolean mask with empty rows",
    "mask-first": "boolean mask that hides the first two thirds of the keys",
    "mask-left": "left padding: each batch hides another number of first keys",
    "mask-padding": "right padding with a query axis of 1: each batch hides another number of last keys",
    "mask-heads": "boolean mask of another form for each head, with a batch axis of 1",
    "mask-full": "random boolean mask, another for each batch and head",
    "mask-three": "random boolean mask with an axis of heads and none of batches",
    "mask-two": "random boolean mask with axes of queries and keys alone",
    "mask-one": "random boolean mask with an axis of keys alone",
    "mask-queries": "boolean mask with a key axis of 1: some queries attend to everything, the others to nothing",
    "whole": "a mask or a bias in its full shape, whatever its form",
    "garbage": "huge finite keys and values behind the mask and beyond the lengths",
    "bias": "random additive bias",
    "bias-heads": "a bias with an axis of heads, ALiBi slopes times distance",
    "bias-full": "random additive bias, another for each batch and head",
    "bias-three": "random additive bias with an axis of heads and none of batches",
    "bias-two": "random additive bias with axes of queries and keys alone",
    "bias-one": "random additive bias with an axis of keys alone",
    "bias-keys": "random additive bias with a query axis of 1, another for each batch and head",
    "bias-queries": "random additive bias with a key axis of 1",
    "bias-padding": "an additive mask of 0 and −inf with a query axis of 1: right padding",
    "bias-wide": "random additive bias in float32, where the class stores a shorter type",
    "bias-inf": "an additive mask of 0 and −inf, with empty rows",
    "bias-low": "a bias around −20000 on every key",
    "lengths": "key lengths, another for each batch",
    "lengths-zero": "key lengths, the first 0",
    "softcap": "softcap, softcap=C",
    "scale": "another scale, scale=S",
    "sink": "attention sinks",
    "lse": "the log-sum-exp as second output",
    "same-heads": "keys and values of every head those of the first, so that a layout may store them once",
    "same-keys": "keys of every head those of the first, and values of their own",
    "same-values": "values of every head those of the first, and keys of their own",
    "same-batch": "queries, keys and values of every batch those of the first",
}


def parse_shape(text: str) -> Shape:
    """The sizes of an instance, from one word of a table.

    >>> parse_shape("2x4/2:5x7:16/8")
    Shape(batch=2, heads=4, key_heads=2, queries=5, keys=7, dim=16, value_dim=8)
    """
    parts = text.split(":")
    heads, lengths, dims = ("1x1/1", parts[0], "8/8") if len(parts) == 1 else ([*parts, "8/8"])[:3]
    match = re.fullmatch(r"(\d+)x(\d+)(?:/(\d+))?", heads)
    assert match is not None, text
    batch, h, h_k = int(match[1]), int(match[2]), int(match[3] or match[2])
    n = [int(x) for x in lengths.split("x")]
    d = [int(x) for x in dims.split("/")]
    return Shape(batch, h, h_k, n[0], n[-1], d[0], d[-1])


def built(row: Row, provenance: Provenance, precision: Precision) -> Instance:
    """The instance of a row of a family's table."""
    assert provenance.seed is not None
    shape = parse_shape(row.size)
    return build(provenance.family, row.pattern, shape, row.options, provenance.seed, precision, provenance.note)


def build(
    family: str, pattern: str, shape: Shape, options: tuple[str, ...], seed: int, precision: Precision, note: str = ""
) -> Instance:
    """The instance of a pattern, a shape and options, in the storage type of the class.

    The same arguments give the same bytes.
    """
    rng = np.random.default_rng(seed)
    dtype = dtype_named(precision.storage)
    wide = (
        dtype if dtype.itemsize > 1 else dtype_named(precision.result)
    )  # of biases and sinks: an 8-bit type has no −∞
    q, k, v, fields = PATTERNS[pattern](rng, shape)
    fields = dict(fields)
    b, h, n_k = shape.batch, shape.heads, shape.keys
    garbage = "garbage" in options
    for option in options:
        name, _, value = option.partition("=")
        if name == "causal":
            fields["is_causal"] = True
        elif name == "bottom-right":
            fields["causal"] = "bottom-right"
        elif name == "window":
            left, right = value.split(",")
            fields["window"] = tuple(None if side == "*" else int(side) for side in (left, right))
        elif name in MASKS:
            fields["mask"] = MASKS[name](rng, shape)
        elif name in BIASES:
            single = name == "bias-wide" and wide.itemsize < 4
            fields["bias"] = BIASES[name](rng, shape).astype(np.float32 if single else wide)
        elif name == "lengths":
            fields["key_lengths"] = np.maximum(1, n_k - 1 - (np.arange(b) * 5) % n_k).astype(np.int32)
        elif name == "lengths-zero":
            lengths = np.maximum(1, n_k - np.arange(b)).astype(np.int32)
            lengths[0] = 0
            fields["key_lengths"] = lengths
        elif name == "softcap":
            fields["softcap"] = float(value)
        elif name == "scale":
            fields["scale"] = float(value)
        elif name == "sink":
            fields["sink"] = (1.5 * rng.standard_normal(h)).astype(wide)
        elif name == "lse":
            fields["return_lse"] = True
        elif name == "same-heads":
            k[:], v[:] = k[:, :1], v[:, :1]
        elif name == "same-keys":
            k[:] = k[:, :1]
        elif name == "same-values":
            v[:] = v[:, :1]
        elif name == "same-batch":
            q[:], k[:], v[:] = q[:1], k[:1], v[:1]
        elif name not in ("garbage", "whole"):
            raise ValueError(f"unknown option {option!r}: expected one of {', '.join(OPTIONS)}")
    if "whole" in options:
        whole = (b, h, shape.queries, n_k)
        fields |= {name: np.broadcast_to(fields[name], whole).copy() for name in ("mask", "bias") if name in fields}
    fields["provenance"] = Provenance(family=family, seed=seed, note=note)
    largest = float(ml_dtypes.finfo(dtype).max)  # type: ignore[no-untyped-call]
    q, k, v = (np.clip(array, -largest, largest).astype(dtype) for array in (q, k, v))
    instance = Instance(q, k, v, **fields)
    return _with_garbage(instance) if garbage else instance


def _with_garbage(instance: Instance) -> Instance:
    """The instance with huge finite numbers in every key to which no query of its batch and head attends."""
    b, _, _, _ = instance.query.shape
    h_k = instance.key.shape[1]
    key, value = instance.key.copy(), instance.value.copy()
    largest = float(ml_dtypes.finfo(value.dtype).max)  # type: ignore[no-untyped-call]
    # 2^-18: a sum of a hundred of them, 2^8 above the maximum, is in the domain of TOL-6
    huge = max(min(30000.0, largest / 2), largest * 2.0**-18)
    for batch in range(b):
        seen = np.any(instance.attends(batch), axis=1, keepdims=True)[:, 0]  # (h_q or 1, n_k)
        for head in range(h_k):
            rows = seen if seen.shape[0] == 1 else seen[head * instance.group : (head + 1) * instance.group]
            hidden = ~rows.any(axis=0)
            key[batch, head, hidden] = 64.0
            value[batch, head, hidden] = huge
    changed: dict[str, Any] = {"key": key, "value": value}
    return instance.replace(**changed)
