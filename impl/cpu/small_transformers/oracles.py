"""Small transformers to call: a kernel of this package that refuses long inputs, and a network of layers and heads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu import attention, layer_collapse

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

__all__ = ["Layered", "Refusing", "TooLong"]


class TooLong(ValueError):
    """A small transformer was handed more tokens than it takes."""


@dataclass(frozen=True)
class Refusing:
    """:func:`assay.impl.cpu.attention.exact` on at most ``size`` tokens; more raise :class:`TooLong`.

    causal: it is causal whatever it is asked.
    """

    size: int
    causal: bool = False
    threads: int | None = 1

    def __call__(
        self,
        query: Array,
        key: Array,
        value: Array,
        *,
        scale: float,
        mask: Array | None = None,
        is_causal: bool = False,
        return_lse: bool = False,
    ) -> Any:
        tokens = max(query.shape[2], key.shape[2])
        if tokens > self.size:
            raise TooLong(f"{tokens} tokens, expected at most {self.size}")
        return attention.exact(
            query,
            key,
            value,
            scale,
            is_causal=is_causal or self.causal,
            mask=mask,
            return_lse=return_lse,
            threads=self.threads,
        )


@dataclass(frozen=True)
class Layered:
    """A transformer with residuals whose layers·heads heads compute as many independent heads in one pass.

    A token holds the query, key and value of every head side by side, and room for every output.  Head h of layer l
    reads the three of head l·heads + h, and adds its output to the room of that head, which no other head touches: so
    all layers work on their own heads, although they come one after the other.

    It takes exactly ``size`` tokens (``fixed=True``) and has ``at_once=layers * heads``.
    """

    size: int
    layers: int
    heads: int

    def __call__(self, query: Array, key: Array, value: Array, *, scale: float) -> Array:
        calls, parts, tokens, d = query.shape
        d_v = value.shape[3]
        if (parts, tokens, key.shape[2]) != (self.layers * self.heads, self.size, self.size):
            raise TooLong(
                f"{parts} heads of {tokens} queries and {key.shape[2]} keys, "
                f"expected {self.layers * self.heads} of {self.size}"
            )
        width = parts * (2 * d + 2 * d_v)
        weights = [np.zeros((parts, width, n), query.dtype) for n in (d, d, d_v)]
        room = np.zeros((parts, d_v, width), query.dtype)
        for part in range(parts):
            begin = 0
            for matrix in weights:
                n = matrix.shape[2]
                matrix[part, begin + part * n : begin + (part + 1) * n] = np.eye(n)
                begin += parts * n
            room[part, :, begin + part * d_v : begin + (part + 1) * d_v] = np.eye(d_v)
        shaped = [x.reshape(self.layers, self.heads, *x.shape[1:]) for x in (*weights, room)]
        out = np.empty((calls, parts, tokens, d_v), query.dtype)
        for call in range(calls):
            token = [x[call].swapaxes(0, 1).reshape(tokens, -1) for x in (query, key, value)]
            embedded = np.concatenate([*token, np.zeros((tokens, parts * d_v), query.dtype)], axis=1)
            last = layer_collapse.exact(embedded, *shaped[:3], scale=scale, output_weights=shaped[3], threads=1)[-1]
            out[call] = last[:, -parts * d_v :].reshape(tokens, parts, d_v).swapaxes(0, 1)
        return out
