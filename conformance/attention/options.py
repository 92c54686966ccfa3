"""Options of an instance, as data: names in a family's table become masks, biases, lengths and the rest."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

from assay.conformance.softmax.masks import alibi_slopes
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
    "garbage": "huge finite keys and values behind the mask and beyond the lengths",
    "bias": "random additive bias",
    "bias-heads": "a bias with an axis of heads, ALiBi slopes times distance",
    "bias-inf": "an additive mask of 0 and −inf, with empty rows",
    "bias-low": "a bias around −20000 on every key",
    "lengths": "key lengths, another for each batch",
    "lengths-zero": "key lengths, the first 0",
    "softcap": "softcap, softcap=C",
    "sink": "attention sinks",
    "lse": "the log-sum-exp as second output",
    "same-heads": "keys and values of every head those of the first, so that a layout may store them once",
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
    b, h, n_q, n_k = shape.batch, shape.heads, shape.queries, shape.keys
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
        elif name == "mask":
            mask = rng.random((b, 1, n_q, n_k)) < 0.6
            mask[..., np.arange(n_q), rng.integers(0, n_k, n_q)] = True
            fields["mask"] = mask
        elif name == "mask-empty":
            mask = rng.random((b, h, n_q, n_k)) < 0.5
            mask[:, :, :: max(2, n_q // 3)] = False
            fields["mask"] = mask
        elif name == "mask-first":
            fields["mask"] = np.broadcast_to(np.arange(n_k) >= (2 * n_k) // 3, (1, 1, n_q, n_k)).copy()
        elif name == "mask-left":
            start = (np.arange(b) * max(1, n_k // 3)) % n_k
            fields["mask"] = np.broadcast_to(np.arange(n_k) >= start[:, None, None, None], (b, 1, n_q, n_k)).copy()
        elif name == "bias":
            fields["bias"] = rng.standard_normal((b, 1, n_q, n_k)).astype(wide)
        elif name == "bias-heads":
            slopes = -alibi_slopes(h)
            distance = np.abs(np.arange(n_q)[:, None] - np.arange(n_k)[None, :])
            fields["bias"] = (slopes[:, None, None] * distance)[None].astype(wide)
        elif name == "bias-inf":
            hidden = rng.random((1, 1, n_q, n_k)) < 0.4
            hidden[:, :, :: max(2, n_q // 2)] = True
            fields["bias"] = np.where(hidden, -np.inf, 0.0).astype(wide)
        elif name == "bias-low":
            fields["bias"] = (-20000.0 + 4.0 * rng.standard_normal((1, 1, n_q, n_k))).astype(wide)
        elif name == "lengths":
            fields["key_lengths"] = np.maximum(1, n_k - 1 - (np.arange(b) * 5) % n_k).astype(np.int32)
        elif name == "lengths-zero":
            lengths = np.maximum(1, n_k - np.arange(b)).astype(np.int32)
            lengths[0] = 0
            fields["key_lengths"] = lengths
        elif name == "softcap":
            fields["softcap"] = float(value)
        elif name == "sink":
            fields["sink"] = (1.5 * rng.standard_normal(h)).astype(wide)
        elif name == "lse":
            fields["return_lse"] = True
        elif name == "same-heads":
            k[:], v[:] = k[:, :1], v[:, :1]
        elif name == "same-batch":
            q[:], k[:], v[:] = q[:1], k[:1], v[:1]
        elif name != "garbage":
            raise ValueError(f"unknown option {option!r}: expected one of {', '.join(OPTIONS)}")
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
