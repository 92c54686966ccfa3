"""The input of attention with relative positions, in its two forms.

*Rotary* (``relative`` is ``None``): queries and keys are rotated by their positions, as :mod:`assay.spec.rope` says,
and their products are the scores.  *General* (``relative`` is given): every offset i − j has a matrix W of its own,
with numbers in the places of one support.  Shapes are (batch, heads, length, dim).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec.instance import array, choice, real, whole
from assay.spec.rotary.options import Rotary, scalings
from assay.spec.softmax.masks import Masked

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from numpy.typing import NDArray

__all__ = ["Instance", "load"]

#: The options that the rotary form alone has.
_ROTARY = (
    "base", "layout", "rotary_dim", "scaling", "factor", "original_length", "low_frequency", "high_frequency",
    "truncate", "attention_factor", "query_positions", "key_positions",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Instance(Masked, Rotary):
    """One attention problem whose scores see relative positions.  Numbers are exact as stored.

    query (b, h_q, n_q, d), key (b, h_k, n_k, d), value (b, h_k, n_k, d_v), one dtype; h_q a multiple of h_k:
    query head h attends to key head h // (h_q / h_k).

    *General form.*  support: pairs (row, column) of places in W, from 0 to d − 1, each once.
    relative: (number of pairs, n_q + n_k − 1), of the same dtype: entry [s, t] is the number that W of the offset
    i − j = t − (n_k − 1) has in place s of the support; every other number of W is 0.  i and j count queries and keys
    from 0, whatever ``causal`` says.  s_ij = scale·Σ_s q_i[row_s]·relative[s, i − j + n_k − 1]·k_j[column_s].

    *Rotary form.*  base, layout, rotary_dim, scaling, factor, original_length, low_frequency, high_frequency, truncate
    and attention_factor are those of :class:`assay.spec.rope.Instance`.
    query_positions, key_positions: integers of shape (n,), (1, n) or (b, n), at most 2^53 in size, in any order.
    ``None`` means 0 … n − 1, and positions that are these numbers are stored as ``None``.  They turn queries and keys
    and do nothing else: masks, windows and biases count queries and keys.  The length that ``dynamic`` scales for is
    the largest position of a query or a key, plus 1.

    *Both.*  relative_bias: (1 or h_q, n_q + n_k − 1), floating: entry t is added to the scaled score of every pair with
    i − j = t − (n_k − 1), after the softcap; −inf masks.  :mod:`assay.spec.rope_attention.bias` makes those of ALiBi
    and T5.  It is given in place of ``bias``, not beside it.
    scale, is_causal, causal, window, mask, bias, key_lengths, softcap, sink and return_lse are those of
    :class:`assay.spec.attention.Instance`.

    Raises :class:`~assay.spec.problem.InvalidInstance`, naming the argument.
    """

    problem = "rope_attention"

    query: NDArray[Any] = array("batch heads queries dim")
    key: NDArray[Any] = array("batch key_heads keys dim", like="query")
    value: NDArray[Any] = array("batch key_heads keys value_dim", like="query")
    relative: NDArray[Any] | None = array("support offsets", optional=True, like="query")
    scale: float | None = real(None, plain=1.0)
    support: tuple[tuple[int, int], ...] | None = None
    base: float = real(10000.0, above=1.0)
    layout: str = choice("halves", "pairs")
    rotary_dim: int | None = whole(None, least=2)
    scaling: str | None = scalings()
    factor: float | None = real(None, least=1.0)
    original_length: int | None = whole(None, least=1)
    low_frequency: float | None = real(None, above=0.0)
    high_frequency: float | None = real(None, above=0.0)
    truncate: bool = True
    attention_factor: float | None = real(None, above=0.0)
    query_positions: NDArray[np.integer[Any]] | None = array(
        "batch queries", kind="whole", optional=True, broadcast=True
    )
    key_positions: NDArray[np.integer[Any]] | None = array("batch keys", kind="whole", optional=True, broadcast=True)
    relative_bias: NDArray[Any] | None = array("bias_heads offsets", optional=True, values="finite or −inf")
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
        self._check_masks()
        if self.relative is None:
            self._require(self.support is None, "support", "none without relative")
            self._check_turning()
        else:
            self._check_relative()
        self._check_relative_bias()

    def _check_turning(self) -> None:
        self._check_rotation()
        for name, (batch, _, length, _) in (("query_positions", self.query.shape), ("key_positions", self.key.shape)):
            if (positions := getattr(self, name)) is not None:
                self._check_positions(name, batch, length)
                if (positions == np.arange(length)).all():
                    self._store(**{name: None})

    def _check_relative(self) -> None:
        usual = {name: self._default(name) for name in _ROTARY}
        for name in _ROTARY:
            self._require(_is(getattr(self, name), usual[name]), name, "none with relative")
        assert self.relative is not None
        d = self.query.shape[3]
        places = self.support
        good = isinstance(places, tuple) and all(
            isinstance(place, tuple) and len(place) == 2 and all(_index(number, d) for number in place)
            for place in places
        )
        self._require(good, "support", f"a tuple of pairs (row, column), each from 0 to {d - 1}")
        assert places is not None
        self._store(support=tuple((int(row), int(column)) for row, column in places))
        distinct = len(set(places)) == len(places) == len(self.relative)
        self._require(distinct, "support", f"{len(self.relative)} different pairs, as many as relative has rows")
        self._require_offsets("relative")

    def _check_relative_bias(self) -> None:
        if self.relative_bias is None:
            return
        h = self.query.shape[1]
        self._require(self.relative_bias.shape[0] in (1, h), "relative_bias", f"1 or {h} rows")
        self._require(self.bias is None, "bias", "none with relative_bias")
        self._require_offsets("relative_bias")

    def _require_offsets(self, name: str) -> None:
        n_q, n_k = self.query.shape[2], self.key.shape[2]
        length = getattr(self, name).shape[1]
        self._require(
            length == n_q + n_k - 1, name, f"{n_q + n_k - 1} columns, one for every offset of a query and key"
        )

    def usual(self) -> dict[str, Any]:
        """The scale 1/√d, and the ends of the band that llama3 and yarn blend."""
        return {**Masked.usual(self), **Rotary.usual(self)}

    def positions(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The positions of queries and of keys, (1 or b, n_q) and (1 or b, n_k)."""
        queries, keys = (
            np.atleast_2d(np.arange(length) if given is None else given.astype(np.int64))
            for given, length in (
                (self.query_positions, self.query.shape[2]),
                (self.key_positions, self.key.shape[2]),
            )
        )
        return queries, keys

    def offsets(self) -> NDArray[np.intp]:
        """(n_q, n_k): the column of ``relative`` and of ``relative_bias`` that each pair has: i − j + n_k − 1."""
        n_q, n_k = self.query.shape[2], self.key.shape[2]
        return np.asarray(np.arange(n_q)[:, None] - np.arange(n_k) + (n_k - 1), dtype=np.intp)

    def added_bias(self) -> NDArray[Any] | None:
        """``bias``, or ``relative_bias`` at the offset of every pair: (1, 1 or h_q, n_q, n_k)."""
        if self.relative_bias is None:
            return self.bias
        spread: NDArray[Any] = self.relative_bias[:, self.offsets()][None]
        return spread

    def part(self, **kept: Sequence[int] | NDArray[np.intp] | None) -> Self:
        """The instance of some indices of some axes, in order, as :meth:`assay.spec.softmax.masks.Masked.part` says it.

        Positions that are given go with their tokens.  What is given for an offset stays that of the offset: query i
        and key j of the part have W of i − j.
        """
        changes: dict[str, Any] = {}
        if (places := kept.get("support")) is not None and self.support is not None:
            changes["support"] = tuple(self.support[place] for place in places)
        if self.relative is not None or self.relative_bias is not None:
            n_q, n_k = self.query.shape[2], self.key.shape[2]
            m_q, m_k = (
                length if (index := kept.get(axis)) is None else len(index)
                for axis, length in (("queries", n_q), ("keys", n_k))
            )
            if (m_q, m_k) != (n_q, n_k) and kept.get("offsets") is None:
                # a part with more tokens than there are takes the numbers of other offsets again
                kept["offsets"] = np.arange(n_k - m_k, n_k + m_q - 1) % (n_q + n_k - 1)
        heads, key_heads = kept.get("heads"), kept.get("key_heads")
        if self.relative_bias is not None and len(self.relative_bias) > 1 and kept.get("bias_heads") is None:
            if heads is not None:
                kept["bias_heads"] = heads
            elif key_heads is not None:
                kept["bias_heads"] = [int(head) * self.group + g for head in key_heads for g in range(self.group)]
        return self._masked_part(kept, **changes)


def _index(number: Any, length: int) -> bool:
    return isinstance(number, (int, np.integer)) and not isinstance(number, bool) and bool(0 <= number < length)


def _is(value: Any, usual: Any) -> bool:
    return value is usual or (not isinstance(value, np.ndarray) and value == usual)


load = Instance.load
