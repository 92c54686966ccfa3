"""The input of attention that is computed by a smaller transformer: what is computed, and what the oracle can do.

Shapes are (batch, heads, length, dim).  The oracle itself is a function and no part of an instance: a kernel gets it as
a keyword, and the instance says how many tokens it takes and what it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec import attention
from assay.spec.instance import array, choice, real, whole
from assay.spec.softmax.masks import Grouped

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from numpy.typing import NDArray

__all__ = ["Instance", "load", "sees"]


def sees(
    queries: int, keys: int, *, is_causal: bool = False, window: int | None = None, sinks: int = 0
) -> NDArray[np.bool_]:
    """(queries, keys): which keys each query attends to under a causal mask, a window and sinks.

    is_causal: key j ≤ i.  window: of these only the last ``window`` keys, j > i − window.  sinks: the first ``sinks``
    keys stay visible, as far as the causal mask lets them (Xiao, Tian, Chen, Han and Lewis 2024, StreamingLLM).

    >>> sees(5, 5, is_causal=True, window=2, sinks=1).astype(int).tolist()
    [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 0, 1, 1, 0], [1, 0, 0, 1, 1]]
    """
    i, j = np.arange(queries)[:, None], np.arange(keys)[None, :]
    seen = np.ones((queries, keys), dtype=bool)
    if is_causal:
        seen &= j <= i
    if window is not None:
        seen &= (j > i - window) | (j < sinks)
    return seen


@dataclass(frozen=True, eq=False)
class Instance(Grouped):
    """Attention of many tokens, and an oracle that computes attention of few.

    query (b, h_q, n_q, d), key (b, h_k, n_k, d), value (b, h_k, n_k, d_v), one dtype; h_q a multiple of h_k:
    query head h attends to key head h // (h_q / h_k).

    oracle_size: M, the most queries and the most keys of one call of the oracle, which kernels get as ``size``.
    ``None`` means that one call takes all, with a calibrator besides.
    scale: any finite float; ``None`` means the float64 number nearest 1/√d.
    is_causal, window, sinks: who attends to whom (:func:`sees`); a window is one of causal attention, and sinks are
    keys that it does not hide.
    mask: boolean, broadcastable to (b, h_q, n_q, n_k), True attends; with the others, all must let a key be seen.
    oracle: ``"plain"`` returns the output of a call alone, so that one of its keys has to be a calibrator;
    ``"log_sum_exp"`` returns the log-sum-exp too; ``"causal"`` returns the output, and its query number r attends to
    its keys 0 … r whatever is asked.
    at_once: H'·L', the independent heads that one call computes: all heads of all layers of the small transformer.
    return_lse: the kernel is to return (output, log_sum_exp), the latter of shape (b, h_q, n_q).

    Raises :class:`~assay.spec.problem.InvalidInstance`, naming the argument.
    """

    problem = "small_transformers"

    query: NDArray[Any] = array("batch heads queries dim")
    key: NDArray[Any] = array("batch key_heads keys dim", like="query")
    value: NDArray[Any] = array("batch key_heads keys value_dim", like="query")
    oracle_size: int | None = whole(None, least=1)
    scale: float | None = real(None, plain=1.0)
    is_causal: bool = False
    window: int | None = whole(None, least=1)
    sinks: int = whole(0, least=0)
    mask: NDArray[np.bool_] | None = array("batch heads queries keys", kind="truth", optional=True, broadcast=True)
    oracle: str = choice("plain", "log_sum_exp", "causal")
    at_once: int = whole(1, least=1)
    return_lse: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_groups()
        self._require(self.window is None or self.is_causal, "window", "none without is_causal")
        self._require(not self.sinks or self.window is not None, "sinks", "0 without a window")
        assert self.oracle_size is not None
        room = self.oracle == "log_sum_exp" or self.oracle_size >= 2
        self._require(room, "oracle_size", "at least 2, for a calibrator and a key")

    def usual(self) -> dict[str, Any]:
        """The scale 1/√d, and a size in which all queries or all keys find room beside a calibrator."""
        return {**super().usual(), "oracle_size": max(self.query.shape[2], self.key.shape[2] + 1)}

    def visible(self) -> NDArray[np.bool_]:
        """(b, h_q, n_q, n_k): which keys each query attends to, all masks together."""
        b, h_q, n_q, _ = self.query.shape
        n_k = self.key.shape[2]
        seen = sees(n_q, n_k, is_causal=self.is_causal, window=self.window, sinks=self.sinks)
        full = np.broadcast_to(seen, (b, h_q, n_q, n_k))
        return full if self.mask is None else full & self.mask

    def attention(self) -> attention.Instance:
        """The same as one large attention: what a simulation is to return, whatever the oracle."""
        plain = not self.is_causal and self.mask is None
        return attention.Instance(
            self.query,
            self.key,
            self.value,
            scale=self.scale,
            mask=None if plain else self.visible(),
            return_lse=self.return_lse,
            provenance=self.provenance,
        )

    def part(self, **kept: Sequence[int] | NDArray[np.intp] | None) -> Self:
        """The instance of some of its ``batch``, ``heads``, ``queries``, ``keys``, ``dim`` or ``value_dim``, in order.

        The causal mask, the window and the sinks keep their meaning in the smaller arrays: query i of the part is at
        position i.  The size stays what it is.
        """
        return super().part(**kept)


load = Instance.load
