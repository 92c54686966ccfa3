"""The input of the rotary embedding: what is rotated, at which positions, by which frequencies.

Shapes are (batch, heads, length, dim).  The formulas of all frequencies are in :mod:`assay.spec.rotary.frequencies`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec.instance import array, choice, real, whole
from assay.spec.rotary.options import Tokens, scalings

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Instance", "load"]


@dataclass(frozen=True, eq=False)
class Instance(Tokens):
    """One rotation of queries, and of keys at the same positions.  Numbers are exact as stored.

    query (b, h, n, d), key (b, h_k, n, d) of the same dtype.  Without a key, one array alone is rotated.
    positions: integers of shape (n,), (1, n) or (b, n), at most 2^53 in size; they may repeat, be negative and come in
    any order.  ``None`` means 0 … n − 1.
    base: a number > 1.  layout: ``"halves"`` pairs column l with l + r/2, ``"pairs"`` column 2l with 2l + 1.
    rotary_dim: r, even: the first r columns are rotated, the others stay as they are.  ``None`` means all d.
    scaling: ``None``, ``"linear"``, ``"ntk"``, ``"dynamic"``, ``"llama3"`` or ``"yarn"``, with the parameters
    factor: s ≥ 1, of all; original_length: L ≥ 1, of the last three;
    low_frequency, high_frequency: turns in L positions up to which a frequency is divided by s, and from which on it
    stays: llama3's low_freq_factor and high_freq_factor, usually 1 and 4; yarn's beta_slow and beta_fast, 1 and 32;
    truncate: whether yarn's ramp has its ends at whole pairs;
    attention_factor: what yarn multiplies cos and sin by, in place of 1 + ln(s)/10.

    Raises :class:`~assay.spec.problem.InvalidInstance`, naming the argument.
    """

    problem = "rope"

    query: NDArray[Any] = array("batch heads length dim")
    key: NDArray[Any] | None = array("batch key_heads length dim", optional=True, like="query")
    positions: NDArray[np.integer[Any]] = array("batch length", kind="whole", optional=True, broadcast=True)
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

    def __post_init__(self) -> None:
        super().__post_init__()
        b, _, n, _ = self.query.shape
        if self.positions is None:
            self._store(positions=np.arange(n))
        self._check_positions("positions", b, n)
        self._check_rotation()

    def vectors(self) -> dict[str, NDArray[Any]]:
        """What is rotated, by the name of the output: the query, and the key where there is one."""
        return {"query": self.query} if self.key is None else {"query": self.query, "key": self.key}


load = Instance.load
