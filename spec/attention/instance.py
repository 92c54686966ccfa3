"""The input of attention: what is computed on.

Shapes are (batch, heads, length, dim).  The meaning of every option is in :mod:`assay.spec.attention.definition`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec.instance import Instance as AnyInstance
from assay.spec.instance import array, real
from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from numpy.typing import NDArray

__all__ = ["Instance", "load"]

_LONGEST = 1 << 62  # of windows: no array is longer, and 64 bits hold its sum with a position


@dataclass(frozen=True, eq=False)
class Instance(AnyInstance):
    """One attention problem.  Arrays are kept as given, without a copy; numbers are exact as stored.

    query (b, h_q, n_q, d), key (b, h_k, n_k, d), value (b, h_k, n_k, d_v), one dtype; h_q a multiple of h_k:
    query head h attends to key head h // (h_q / h_k).

    scale: any finite float; ``None`` means the float64 number nearest 1/√d.
    is_causal: ``True`` is short for ``causal="top-left"``.
    causal: ``"top-left"`` (j ≤ i) or ``"bottom-right"`` (j ≤ i + n_k − n_q, with key_lengths in place of n_k).
    window: (left, right): position p_i − left ≤ j ≤ p_i + right, ``None`` for no limit on a side; p_i = i, or
    i + n_k − n_q under ``causal="bottom-right"``.
    mask: boolean, broadcastable to (b, h_q, n_q, n_k), True attends.
    bias: floating, broadcastable likewise, added to the scaled score after the softcap; −inf masks.
    key_lengths: (b,) integers in [0, n_k]: keys at or beyond the length are absent.
    softcap: c > 0: scores become c·tanh(s/c), before bias.
    sink: (h_q,) finite logits: an extra key of that score and value zero.
    return_lse: the kernel is to return (output, log_sum_exp), the latter of shape (b, h_q, n_q).

    Raises :class:`~assay.spec.problem.InvalidInstance`, naming the argument.
    """

    problem = "attention"

    query: NDArray[Any] = array("batch heads queries dim")
    key: NDArray[Any] = array("batch key_heads keys dim", like="query")
    value: NDArray[Any] = array("batch key_heads keys value_dim", like="query")
    scale: float | None = real(None, plain=1.0)
    is_causal: bool = False
    causal: str | None = None
    window: tuple[int | None, int | None] | None = None
    mask: NDArray[np.bool_] | None = array("batch heads queries keys", kind="truth", optional=True, broadcast=True)
    bias: NDArray[Any] | None = array(
        "batch heads queries keys", optional=True, broadcast=True, values="finite or −inf"
    )
    key_lengths: NDArray[np.integer[Any]] | None = array("batch", kind="whole", optional=True)
    softcap: float | None = real(None)
    sink: NDArray[Any] | None = array("heads", optional=True)
    return_lse: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.query.shape[1] % self.key.shape[1]:
            raise InvalidInstance(
                f"query: {self.query.shape[1]} heads, expected a multiple of the {self.key.shape[1]} heads of key"
            )
        if self.scale is None:
            object.__setattr__(self, "scale", self.usual()["scale"])
        self._check_options()

    def _check_options(self) -> None:
        if not isinstance(self.is_causal, (bool, np.bool_)):
            raise InvalidInstance(f"is_causal: {self.is_causal!r}, expected True or False")
        if self.causal not in (None, "top-left", "bottom-right"):
            raise InvalidInstance(f"causal: {self.causal!r}, expected 'top-left', 'bottom-right' or None")
        if self.is_causal and self.causal == "bottom-right":
            raise InvalidInstance("is_causal: True means top-left, but causal is 'bottom-right'; give only one")
        causal = self.is_causal or self.causal == "top-left"  # one stored form for one meaning
        object.__setattr__(self, "is_causal", bool(causal))
        object.__setattr__(self, "causal", "top-left" if causal else self.causal)
        if self.window is not None:
            good = isinstance(self.window, tuple) and len(self.window) == 2
            if not good or any(s is not None and (not isinstance(s, (int, np.integer)) or s < 0) for s in self.window):
                raise InvalidInstance(f"window: {self.window!r}, expected (left, right), each an integer ≥ 0 or None")
            sides = (None if s is None else min(int(s), _LONGEST) for s in self.window)
            object.__setattr__(self, "window", tuple(sides))
        n_k = self.key.shape[2]
        if self.key_lengths is not None and (self.key_lengths.min() < 0 or self.key_lengths.max() > n_k):
            raise InvalidInstance(f"key_lengths: {self.key_lengths.tolist()}, expected values in [0, {n_k}]")
        if self.softcap is not None and self.softcap <= 0:
            raise InvalidInstance(f"softcap: {self.softcap!r}, expected a number > 0")
        if not isinstance(self.return_lse, (bool, np.bool_)):
            raise InvalidInstance(f"return_lse: {self.return_lse!r}, expected True or False")
        object.__setattr__(self, "return_lse", bool(self.return_lse))

    def usual(self) -> dict[str, Any]:
        """The scale that is usual: the float64 number nearest 1/√d."""
        return {"scale": 1.0 / math.sqrt(self.query.shape[3])}

    def options(self) -> dict[str, Any]:
        """The plain options that differ from their usual value; ``causal`` says what ``is_causal`` would."""
        return {name: value for name, value in super().options().items() if name != "is_causal"}

    @property
    def group(self) -> int:
        """Query heads to one key head."""
        return int(self.query.shape[1] // self.key.shape[1])

    def attends(self, batch: int) -> NDArray[np.bool_]:
        """(h_q or 1, n_q, n_k): which keys each query of a batch attends to, all masks together (bias −inf too)."""
        _, _, n_q, _ = self.query.shape
        n_k = self.key.shape[2]
        length = n_k if self.key_lengths is None else int(self.key_lengths[batch])
        offset = length - n_q if self.causal == "bottom-right" else 0
        position = np.arange(n_q)[:, None] + offset
        j = np.arange(n_k)[None, :]
        allowed = np.broadcast_to(j < length, (n_q, n_k)).copy()
        if self.causal is not None:
            allowed &= j <= position
        if self.window is not None:
            left, right = self.window
            if left is not None:
                allowed &= j >= position - left
            if right is not None:
                allowed &= j <= position + right
        result = allowed[None]
        shape = (self.query.shape[0], self.query.shape[1], n_q, n_k)
        if self.mask is not None:
            result = result & np.broadcast_to(self.mask, shape)[batch]
        if self.bias is not None:
            result = result & (np.broadcast_to(self.bias, shape)[batch].astype(np.float64) != -np.inf)
        return result

    def visible(self) -> NDArray[np.bool_]:
        """(b, h_q, n_q, n_k): :meth:`attends` of every batch, broadcast to every head."""
        b, h_q, n_q, _ = self.query.shape
        return np.stack([np.broadcast_to(self.attends(k), (h_q, n_q, self.key.shape[2])) for k in range(b)])

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed, validated again."""
        if "causal" in changes and "is_causal" not in changes:
            changes["is_causal"] = False
        if "is_causal" in changes and "causal" not in changes:
            changes["causal"] = None
        return super().replace(**changes)

    def part(self, **kept: Sequence[int] | NDArray[np.intp] | None) -> Self:
        """The instance of some of its ``batch``, ``heads``, ``queries``, ``keys``, ``dim`` or ``value_dim``, in order.

        Masks and positions keep their meaning in the smaller arrays: query i of the part is at position i, and key
        lengths are at most the number of keys.  ``heads`` are whole groups, or heads of one group; ``key_heads`` may
        be given in their place, and brings the whole group of each.
        """
        heads, key_heads = kept.get("heads"), kept.get("key_heads")
        if heads is not None:
            kept["key_heads"] = list(dict.fromkeys(int(head) // self.group for head in heads))
        elif key_heads is not None:
            kept["heads"] = [int(head) * self.group + g for head in key_heads for g in range(self.group)]
        changes = self._parts(kept)
        if self.key_lengths is not None and (keys := kept.get("keys")) is not None:
            lengths = changes.get("key_lengths", self.key_lengths)
            changes["key_lengths"] = np.minimum(lengths, len(keys)).astype(lengths.dtype)
        return self.replace(**changes)


load = Instance.load
