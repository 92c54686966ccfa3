"""The gradients that wrong backward passes compute: the formula in float64, with one part exchanged.

Nothing here judges: a failure is compared with these numbers to say what a kernel behaves like.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

from assay.conformance.tensor_attention.wrong import Parts as Forward

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from assay.spec.tensor_attention_gradient import Incoming

    Array = NDArray[np.float64]

__all__ = ["Parts"]

_LETTERS = "jklm"


class Parts(Forward):
    """The parts of the formula: probabilities, g, δ and dS, whose axes are (b, h_q, n_q, n_1, …, n_{k−1})."""

    instance: Incoming

    def __init__(self, instance: Incoming, heads: Sequence[int] | None = None) -> None:
        super().__init__(instance, heads)
        self.grad_output = instance.grad_output.astype(np.float64)

    def spread(self, x: Array) -> Array:
        """(…, N) → (…, n_1, …, n_{k−1})"""
        return x.reshape(*x.shape[:-1], *self.instance.mode_lengths)

    def formed(self, seen: NDArray[np.bool_], score: Array) -> Array:
        """Probabilities of other scores, with the log-sum-exp of the forward pass."""
        lse = self.attended()["log_sum_exp"][..., None]
        seen = seen & np.isfinite(lse)
        some = np.where(np.isfinite(lse), lse, 0.0)
        return np.where(seen, np.exp(np.minimum(np.where(seen, score, 0.0) - some, 700.0)), 0.0)

    @functools.cached_property
    def probability(self) -> Array:
        """(b, h_q, n_q, N)"""
        return self.formed(self.seen, self.score)

    @functools.cached_property
    def product(self) -> Array:
        """g: (b, h_q, n_q, N)"""
        return np.asarray(self.grad_output @ np.swapaxes(self.value, 2, 3))

    @functools.cached_property
    def expected(self) -> Array:
        """Σ p g: (b, h_q, n_q, 1)"""
        return np.asarray((self.probability * self.product).sum(axis=3, keepdims=True))

    @functools.cached_property
    def incoming(self) -> Array:
        """The gradient of the log-sum-exp; 0 where a query attends to nothing."""
        array = self.instance.grad_log_sum_exp
        if array is None:
            return np.zeros_like(self.expected)
        return np.where(self.seen.any(axis=1), array.astype(np.float64), 0.0)[..., None]

    @functools.cached_property
    def delta(self) -> Array:
        return self.expected - self.incoming

    @functools.cached_property
    def gradient(self) -> Array:
        """dS: (b, h_q, n_q, N)"""
        return self.probability * (self.product - self.delta)

    def assembled(
        self, gradient: Array | None = None, probability: Array | None = None, incoming: Array | None = None
    ) -> dict[str, Array]:
        """Every gradient, with another dS, other probabilities for dV, or another gradient of the output for dV."""
        ds = self.gradient if gradient is None else gradient
        p = self.probability if probability is None else probability
        grad = self.grad_output if incoming is None else incoming
        made = {"grad_query": self.scale * self.summed(ds, -1, self.query, self.keys)}
        modes = range(self.order - 1)
        for mode in modes:
            made[f"grad_key{mode + 1}"] = self.gathered(self.scale * self.summed(ds, mode, self.query, self.keys))
        for mode in modes:
            made[f"grad_value{mode + 1}"] = self.gathered(self.summed(p, mode, grad, self.values))
        return made

    def summed(self, weight: Array, mode: int, of_queries: Array, of_modes: Sequence[Array]) -> Array:
        """Σ of weights times the factors of all but one mode (−1: all but the queries): (b, h_q, length, columns)."""
        letters = _LETTERS[: self.order - 1]
        operands: list[Array] = [self.spread(weight)]
        names = [f"bhi{letters}"]
        if mode >= 0:
            operands.append(of_queries)
            names.append("bhid")
        for m, array in enumerate(of_modes):
            if m != mode:
                operands.append(array)
                names.append(f"bh{letters[m]}d")
        out = "bhid" if mode < 0 else f"bh{letters[mode]}d"
        return np.asarray(np.einsum(f"{','.join(names)}->{out}", *operands, optimize=True))

    def gathered(self, of_heads: Array) -> Array:
        """The sum over the query heads that read a key head."""
        made = np.zeros((of_heads.shape[0], self.instance.mode_keys[0].shape[1], *of_heads.shape[2:]))
        for head, to in enumerate(self.heads):
            made[:, to] += of_heads[:, head]
        return made
