"""The Toeplitz symbols: monomials of W times e^bias, cut to a window (ROPE-2, ROT-5), and their transforms."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.attention.plan import SLACK
from assay.impl.cpu.rope_attention import transforms
from assay.impl.cpu.rope_attention.monomials import components

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.impl.cpu.rope_attention.monomials import Component, Pair

    Array = NDArray[np.float64]

__all__ = ["Symbols", "Transform"]


@dataclass(frozen=True, eq=False)
class Transform:
    """The half spectrum of a symbol, with at least its largest number, and at least the 2-norm of the symbol."""

    spectrum: NDArray[np.complex128]
    largest: float
    norm: float


@dataclass(frozen=True, eq=False)
class Symbols:
    """Everything about scores that depends on the offset i − j = t − (keys − 1) of a query and a key alone.

    relative (s, queries + keys − 1): W over a power of two, at most 1; ``None`` for the identity.
    weight (queries + keys − 1,): e^(bias − its maximum), 0 where the window or the bias hides.
    """

    queries: int
    keys: int
    relative: Array | None
    weight: Array

    @functools.cached_property
    def size(self) -> int:
        return transforms.padded(self.queries + self.keys - 1)

    def bytes(self, support: tuple[tuple[int, int], ...], degree: int) -> int:
        """The most bytes that :meth:`transformed` returns for a component of a degree."""
        pairs = max((len(each.pairs) for each in components(support, degree)), default=1)
        return 8 * (self.size + 2) * (pairs if self.relative is not None else 1)

    def transformed(self, component: Component) -> tuple[Transform, ...]:
        """The transforms of the symbols of the pairs of a component, in order.  Without W all pairs have one symbol."""
        if self.relative is None:
            return (self._plain,) * len(component.pairs)
        return tuple(self._transform(self._symbol(pair)) for pair in component.pairs)

    @functools.cached_property
    def _plain(self) -> Transform:
        return self._transform(self.weight)

    def _symbol(self, pair: Pair) -> Array:
        assert self.relative is not None
        total: Any = 0.0
        for ways, places in pair.terms:
            product = self.relative[places[0]] if places else np.ones(len(self.weight))
            for place in places[1:]:
                product = product * self.relative[place]
            total = total + (product if ways == 1.0 else ways * product)
        found: Array = total * self.weight
        return found

    def _transform(self, symbol: Array) -> Transform:
        rows = np.zeros(self.size)
        rows[: len(symbol)] = symbol
        norm = float(np.sqrt(np.square(symbol).sum()) + math.sqrt(len(symbol)) * transforms.SQUARED) * SLACK
        spectrum = transforms.forward(rows)
        squares = np.square(spectrum.real) + np.square(spectrum.imag)
        return Transform(spectrum, float(np.sqrt(squares.max()) + 2.0 * transforms.SQUARED) * SLACK, norm)
