"""What instances with a rotary embedding have in common: its options, declared by each problem, and what they mean.

The formulas of all frequencies are in :mod:`assay.spec.rotary.frequencies`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from assay.spec.instance import Instance, choice

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Rotary", "Tokens", "scalings"]

_LENGTH = ("factor", "original_length")
_BAND = (*_LENGTH, "low_frequency", "high_frequency")


def scalings() -> Any:
    """The field ``scaling``: the word for a scaling of the frequencies, with the options that it needs and takes."""
    return choice(
        *(None, "linear", "ntk", "dynamic", "llama3", "yarn"),
        needs={"linear": _LENGTH[:1], "ntk": _LENGTH[:1], "dynamic": _LENGTH, "llama3": _BAND, "yarn": _BAND},
        takes={"yarn": ("truncate", "attention_factor")},
    )


class Rotary(Instance):
    """An instance whose queries are rotated, with the columns and the options of :class:`assay.spec.rope.Instance`.

    A problem declares these fields in the order of its kernels.  :meth:`_check_rotation` belongs in its
    ``__post_init__``.
    """

    query: NDArray[Any]
    base: float
    layout: str
    rotary_dim: int | None
    scaling: str | None
    factor: float | None
    original_length: int | None
    low_frequency: float | None
    high_frequency: float | None
    truncate: bool
    attention_factor: float | None

    def _check_rotation(self) -> None:
        """Refuse what the declarations cannot, and store one form for what has one meaning."""
        d = int(self.query.shape[-1])
        if self.rotary_dim == d:
            self._store(rotary_dim=None)
        r = self.rotated
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

    def _check_positions(self, name: str, batch: int, length: int) -> None:
        """Refuse positions that are not one of every token, the same or others in every batch."""
        positions = getattr(self, name)
        self._require(
            positions.shape in ((length,), (1, length), (batch, length)),
            name,
            f"a shape of ({length},) or ({batch}, {length})",
        )
        furthest = max(-int(positions.min()), int(positions.max()))
        self._require(furthest <= 2**53, name, "at most 2^53 in size")

    @property
    def rotated(self) -> int:
        """r: how many columns are rotated."""
        return int(self.query.shape[-1]) if self.rotary_dim is None else self.rotary_dim

    def usual(self) -> dict[str, Any]:
        """The ends of the band that llama3 and yarn blend, where none are given."""
        high = {"llama3": 4.0, "yarn": 32.0}.get(str(self.scaling))
        return {} if high is None else {"low_frequency": 1.0, "high_frequency": high}


class Tokens(Rotary):
    """An instance of which every token is rotated by a position of its own: queries, and keys where there are any."""

    key: NDArray[Any] | None
    positions: NDArray[np.integer[Any]]
