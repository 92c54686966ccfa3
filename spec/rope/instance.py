"""The input of the rotary embedding: what is rotated, at which positions, by which frequencies.

Shapes are (batch, heads, length, dim).  The formulas of all frequencies are in :mod:`assay.spec.rope.frequencies`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec.instance import Instance as AnyInstance
from assay.spec.instance import array, choice, real, whole

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Instance", "load"]

_LENGTH = ("factor", "original_length")
_BAND = (*_LENGTH, "low_frequency", "high_frequency")


@dataclass(frozen=True, eq=False)
class Instance(AnyInstance):
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
    scaling: str | None = choice(
        *(None, "linear", "ntk", "dynamic", "llama3", "yarn"),
        needs={"linear": _LENGTH[:1], "ntk": _LENGTH[:1], "dynamic": _LENGTH, "llama3": _BAND, "yarn": _BAND},
        takes={"yarn": ("truncate", "attention_factor")},
    )
    factor: float | None = real(None, least=1.0)
    original_length: int | None = whole(None, least=1)
    low_frequency: float | None = real(None, above=0.0)
    high_frequency: float | None = real(None, above=0.0)
    truncate: bool = True
    attention_factor: float | None = real(None, above=0.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        b, _, n, d = self.query.shape
        if self.positions is None:
            self._store(positions=np.arange(n))
        if self.rotary_dim == d:
            self._store(rotary_dim=None)
        positions, r = self.positions, self.rotated
        self._require(positions.shape in ((n,), (1, n), (b, n)), "positions", f"a shape of ({n},) or ({b}, {n})")
        furthest = max(-int(positions.min()), int(positions.max()))
        self._require(furthest <= 2**53, "positions", "at most 2^53 in size")
        name = "query" if self.rotary_dim is None else "rotary_dim"
        self._require(r % 2 == 0 and r <= d, name, f"an even number of columns to rotate, at most {d}, not {r}")
        self._require(r > 2 or self.scaling not in ("ntk", "dynamic"), "scaling", "None for two rotated columns")
        if self.original_length and self.low_frequency and self.high_frequency:
            low, high = self.low_frequency, self.high_frequency
            self._require(low < high, "low_frequency", f"a number between 0 and high_frequency, {high}")
            # Where neither end of yarn's ramp is within the pairs (by a thousandth), implementations differ.
            turns, last = math.log(self.original_length / (2 * math.pi)), 2 * (r - 1) / r * math.log(self.base)
            meets = self.scaling != "yarn" or math.log(1.001 * low) < turns < math.log(0.999 * high) + last
            self._require(meets, "original_length", "a length for which the ramp of yarn meets the pairs")

    @property
    def rotated(self) -> int:
        """r: how many columns are rotated."""
        return int(self.query.shape[3]) if self.rotary_dim is None else self.rotary_dim

    def vectors(self) -> dict[str, NDArray[Any]]:
        """What is rotated, by the name of the output: the query, and the key where there is one."""
        return {"query": self.query} if self.key is None else {"query": self.query, "key": self.key}

    def usual(self) -> dict[str, Any]:
        """The ends of the band that llama3 and yarn blend, where none are given."""
        high = {"llama3": 4.0, "yarn": 32.0}.get(str(self.scaling))
        return {} if high is None else {"low_frequency": 1.0, "high_frequency": high}


load = Instance.load
