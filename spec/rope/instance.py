"""The input of the rotary embedding: what is rotated, at which positions, by which frequencies.

Shapes are (batch, heads, length, dim).  The formulas of all frequencies are in :mod:`assay.spec.rope.frequencies`.
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
    from typing import Self

    from numpy.typing import NDArray

__all__ = ["Instance", "load"]

_BANDS = ("factor", "original_length", "low_frequency", "high_frequency")
_PARAMETERS: dict[str | None, tuple[str, ...]] = {
    None: (),
    "linear": ("factor",),
    "ntk": ("factor",),
    "dynamic": ("factor", "original_length"),
    "llama3": _BANDS,
    "yarn": (*_BANDS, "truncate", "attention_factor"),
}
_UNSET: dict[str, Any] = dict.fromkeys(_PARAMETERS["yarn"]) | {"truncate": True}


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
    base: float = real(10000.0)
    layout: str = "halves"
    rotary_dim: int | None = None
    scaling: str | None = None
    factor: float | None = real(None)
    original_length: int | None = None
    low_frequency: float | None = real(None)
    high_frequency: float | None = real(None)
    truncate: bool = True
    attention_factor: float | None = real(None)

    def __post_init__(self) -> None:
        super().__post_init__()
        b, _, n, d = self.query.shape
        positions = np.arange(n) if self.positions is None else self.positions
        filled = {"positions": positions, "rotary_dim": None if self.rotary_dim == d else self.rotary_dim}
        filled |= {name: value for name, value in self.usual().items() if getattr(self, name) is None}
        for name, value in filled.items():  # one stored form for one meaning
            object.__setattr__(self, name, value)
        r = self.rotated
        shapes = ((n,), (1, n), (b, n))
        self._require(positions.shape in shapes, "positions", f"a shape of ({n},) or ({b}, {n})")
        self._require(positions.min() >= -(2**53) and positions.max() <= 2**53, "positions", "at most 2^53 in size")
        self._require(self.base > 1.0, "base", "a number > 1")
        self._require(self.layout in ("halves", "pairs"), "layout", "'halves' or 'pairs'")
        name = "rotary_dim" if self.rotary_dim else "query"
        self._require(_whole(r) and r % 2 == 0 and 2 <= r <= d, name, f"an even number of columns to rotate, not {r}")
        self._require(self.scaling in _PARAMETERS, "scaling", f"one of {', '.join(map(str, _PARAMETERS))}")
        parameters = _PARAMETERS[self.scaling]
        for name, unset in _UNSET.items():
            good = name in parameters or getattr(self, name) == unset
            self._require(good, name, f"none with scaling {self.scaling!r}")
            good = name not in parameters or name == "attention_factor" or getattr(self, name) is not None
            self._require(good, name, f"a number, which scaling {self.scaling!r} needs")
        length, low, high = self.original_length, self.low_frequency, self.high_frequency
        self._require(self.factor is None or self.factor >= 1.0, "factor", "a number of at least 1")
        self._require(length is None or (_whole(length) and 1 <= length <= 2**53), "original_length", "1 or more")
        self._require(isinstance(self.truncate, bool), "truncate", "True or False")
        self._require(self.attention_factor is None or self.attention_factor > 0, "attention_factor", "a number > 0")
        self._require(self.scaling not in ("ntk", "dynamic") or r >= 4, "scaling", "None for two rotated columns")
        if length is not None and low is not None and high is not None:
            self._require(0.0 < low < high, "low_frequency", f"a number between 0 and high_frequency, {high}")
            # where no end of yarn's ramp is within the pairs (by a thousandth), implementations differ
            turns, last = math.log(length / (2 * math.pi)), 2 * (r - 1) / r * math.log(self.base)
            good = self.scaling != "yarn" or math.log(1.001 * low) < turns < math.log(0.999 * high) + last
            self._require(good, "original_length", "a length for which the ramp of yarn meets the pairs")

    def _require(self, good: Any, name: str, expected: str) -> None:
        if not good:
            value = getattr(self, name)
            said = f"shape {value.shape}" if isinstance(value, np.ndarray) else repr(value)
            raise InvalidInstance(f"{name}: {said}, expected {expected}")

    @property
    def rotated(self) -> int:
        """r: how many columns are rotated."""
        return int(self.query.shape[3]) if self.rotary_dim is None else self.rotary_dim

    def usual(self) -> dict[str, Any]:
        """The ends of the band that llama3 and yarn blend, where none are given."""
        high = {"llama3": 4.0, "yarn": 32.0}.get(str(self.scaling))
        return {} if high is None else {"low_frequency": 1.0, "high_frequency": high}

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed, validated again; a change of the scaling drops the parameters of the old."""
        dropped = _UNSET if changes.get("scaling", self.scaling) != self.scaling else {}
        return super().replace(**dropped | changes)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


load = Instance.load
