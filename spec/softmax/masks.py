"""Which keys a query attends to, and what instances with queries, keys and values have in common.

The options are those of attention kernels in use: causal masks of both alignments, windows, boolean masks, a bias that
hides with −inf, and key lengths of a padded batch.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec.instance import Instance
from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from numpy.typing import NDArray

__all__ = ["Grouped", "Masked", "attends", "whole_groups"]

_LONGEST = 1 << 62  # of windows: no array is longer, and 64 bits hold its sum with a position


def attends(
    queries: int,
    keys: int,
    *,
    length: int | None = None,
    causal: str | None = None,
    window: tuple[int | None, int | None] | None = None,
    mask: NDArray[np.bool_] | None = None,
    bias: NDArray[Any] | None = None,
) -> NDArray[np.bool_]:
    """(heads or 1, queries, keys): which keys each query of one batch attends to, all masks together.

    length: how many of the keys exist (``None``: all).
    causal, window: as for :class:`Masked`; positions count from the end of the keys under ``"bottom-right"``.
    mask, bias: (heads, queries, keys), True attends, −inf hides.

    >>> attends(2, 3, causal="bottom-right").astype(int).tolist()
    [[[1, 1, 0], [1, 1, 1]]]
    """
    length = keys if length is None else length
    offset = length - queries if causal == "bottom-right" else 0
    position = np.arange(queries)[:, None] + offset
    j = np.arange(keys)[None, :]
    allowed = np.broadcast_to(j < length, (queries, keys)).copy()
    if causal is not None:
        allowed &= j <= position
    if window is not None:
        left, right = window
        if left is not None:
            allowed &= j >= position - left
        if right is not None:
            allowed &= j <= position + right
    result = allowed[None]
    if mask is not None:
        result = result & mask
    if bias is not None:
        result = result & (bias.astype(np.float64) != -np.inf)
    return result


def whole_groups(kept: dict[str, Any], group: int) -> dict[str, Any]:
    """What to keep of every axis where query heads come in groups: the key heads of ``heads``, or the reverse.

    group: query heads to one key head.

    >>> whole_groups({"key_heads": [1]}, 2)
    {'key_heads': [1], 'heads': [2, 3]}
    """
    heads, key_heads = kept.get("heads"), kept.get("key_heads")
    if heads is not None:
        return kept | {"key_heads": list(dict.fromkeys(int(head) // group for head in heads))}
    if key_heads is not None:
        return kept | {"heads": [int(head) * group + g for head in key_heads for g in range(group)]}
    return kept


class Grouped(Instance):
    """An instance with queries (b, h_q, n_q, d), keys (b, h_k, n_k, d) and values (b, h_k, n_k, d_v).

    Query head h reads key head h // group.  :meth:`_check_groups` belongs in the ``__post_init__`` of a problem.
    """

    query: NDArray[Any]
    key: NDArray[Any]
    value: NDArray[Any]
    scale: float | None

    def _check_groups(self) -> None:
        if self.query.shape[1] % self.key.shape[1]:
            raise InvalidInstance(
                f"query: {self.query.shape[1]} heads, expected a multiple of the {self.key.shape[1]} heads of key"
            )

    def usual(self) -> dict[str, Any]:
        """The scale that is usual: the float64 number nearest 1/√d."""
        return {"scale": 1.0 / math.sqrt(self.query.shape[3])}

    @property
    def group(self) -> int:
        """Query heads to one key head."""
        return int(self.query.shape[1] // self.key.shape[1])

    def spanned(self) -> int:
        """The scores, and for every query head its keys and values."""
        (b, h, n_q, d), (n_k, d_v) = self.query.shape, self.value.shape[2:]
        return int(super().spanned() + b * h * (n_q * n_k + n_k * (d + d_v)))

    def part(self, **kept: Sequence[int] | NDArray[np.intp] | None) -> Self:
        """The instance of some indices of some axes, in order.

        ``heads`` are whole groups, or heads of one group; ``key_heads`` may be given in their place, and brings the
        whole group of each.
        """
        return self.replace(**self._grouped_parts(kept))

    def _grouped_parts(self, kept: dict[str, Any]) -> dict[str, Any]:
        """The arrays of :meth:`part` that change; of query and key heads, one says which the others are."""
        return self._parts(whole_groups(kept, self.group))


class Masked(Grouped):
    """Queries, keys and values with the masks of attention kernels.

    A problem declares these fields in the order of its kernels, and more; their meaning is that of
    :class:`assay.spec.attention.Instance`.  :meth:`_check_masks` belongs in its ``__post_init__``.
    """

    is_causal: bool
    causal: str | None
    window: tuple[int | None, int | None] | None
    mask: NDArray[np.bool_] | None
    bias: NDArray[Any] | None
    key_lengths: NDArray[np.integer[Any]] | None
    softcap: float | None
    sink: NDArray[Any] | None

    def _check_masks(self) -> None:
        """Refuse what the declarations cannot, and store one form for what has one meaning."""
        self._check_groups()
        if self.causal not in (None, "top-left", "bottom-right"):
            raise InvalidInstance(f"causal: {self.causal!r}, expected 'top-left', 'bottom-right' or None")
        if self.is_causal and self.causal == "bottom-right":
            raise InvalidInstance("is_causal: True means top-left, but causal is 'bottom-right'; give only one")
        causal = bool(self.is_causal or self.causal == "top-left")
        if causal or self.is_causal is not False:
            self._store(is_causal=causal, causal="top-left" if causal else self.causal)
        if self.window is not None:
            good = isinstance(self.window, tuple) and len(self.window) == 2
            if not good or any(s is not None and (not isinstance(s, (int, np.integer)) or s < 0) for s in self.window):
                raise InvalidInstance(f"window: {self.window!r}, expected (left, right), each an integer ≥ 0 or None")
            sides = (None if s is None else min(int(s), _LONGEST) for s in self.window)
            object.__setattr__(self, "window", tuple(sides))
        lengths = self.key_lengths
        if lengths is not None and (lengths.min() < 0 or lengths.max() > self.key.shape[2]):
            raise InvalidInstance(f"key_lengths: {lengths.tolist()}, expected values in [0, {self.key.shape[2]}]")
        if self.softcap is not None and self.softcap <= 0:
            raise InvalidInstance(f"softcap: {self.softcap!r}, expected a number > 0")

    def options(self) -> dict[str, Any]:
        """The plain options that differ from their usual value; ``causal`` says what ``is_causal`` would."""
        return {name: value for name, value in super().options().items() if name != "is_causal"}

    def added_bias(self) -> NDArray[Any] | None:
        """What is added to every score, broadcastable to (b, h_q, n_q, n_k): ``bias``, unless a problem has another."""
        return self.bias

    def attends(self, batch: int) -> NDArray[np.bool_]:
        """(h_q or 1, n_q, n_k): which keys each query of a batch attends to, all masks together (bias −inf too)."""
        b, h_q, n_q, _ = self.query.shape
        n_k = self.key.shape[2]
        full = (b, h_q, n_q, n_k)
        return attends(
            n_q,
            n_k,
            length=None if self.key_lengths is None else int(self.key_lengths[batch]),
            causal=self.causal,
            window=self.window,
            mask=None if self.mask is None else np.broadcast_to(self.mask, full)[batch],
            bias=None if (bias := self.added_bias()) is None else np.broadcast_to(bias, full)[batch],
        )

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
        return self._masked_part(kept)

    def _masked_part(self, kept: dict[str, Any], **changed: Any) -> Self:
        """The part, with some plain fields changed as well."""
        changes = self._grouped_parts(kept) | changed
        if self.key_lengths is not None and (keys := kept.get("keys")) is not None:
            lengths = changes.get("key_lengths", self.key_lengths)
            changes["key_lengths"] = np.minimum(lengths, len(keys)).astype(lengths.dtype)
        return self.replace(**changes)
