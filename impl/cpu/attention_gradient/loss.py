"""The loss of one attention head and its gradients: L(X, Y) = ½‖softmax(σ A₁XA₂ᵀ) A₃Y − E‖² (Alman and Song 2024).

With f the softmax, h = A₃Y and c = fh − E, the gradients are dL/dX = A₁ᵀ dQ and dL/dY = A₃ᵀ dV, where dQ and dV are
those of attention with queries A₁X, keys A₂, values h and incoming gradient c (proofs_notes/attention_gradient.md,
GRAD-1).  :meth:`Loss.exact` takes time O(n²), :meth:`Loss.approximate` almost linear time, with certificates that
contain every rounding, also those of A₁X and A₃Y (proofs_notes/attention_gradient_fast.md, GRAD-8).
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu import attention
from assay.impl.cpu.attention.plan import SLACK, U
from assay.impl.cpu.attention_gradient.polynomial import gradients
from assay.impl.cpu.attention_gradient.tiles import exact
from assay.impl.cpu.certified import Certified
from assay.impl.cpu.norms import norms
from assay.impl.cpu.threads import available
from assay.spec.attention_gradient.instance import Instance
from assay.spec.problem import InvalidInstance
from assay.spec.rounding import gamma

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["Evaluated", "Forward", "Loss"]

_UNASKED = 1e200  # the error of dK that is asked for: nobody needs dK


@dataclass(frozen=True, eq=False)
class Forward:
    """The certified loss, and what its gradients need: the residual c (n, w), and bounds of its errors (w,)."""

    loss: Certified
    queries: Array
    values: Array
    residual: Array
    error: Array


@dataclass(frozen=True, eq=False)
class Evaluated:
    """The certified loss and its certified gradients with respect to X (d, d′) and Y (m, w)."""

    loss: Certified
    weights: Certified
    value_weights: Certified


@dataclass(frozen=True, eq=False)
class Loss:
    """The data of a loss, float64 and two-dimensional.

    queries (n, d): A₁.  keys (n_k, d′): A₂.  values (n_k, m): A₃.  target (n, w): E.  scale: σ, a finite number.
    X is (d, d′) and Y is (m, w).  Raises :class:`~assay.spec.problem.InvalidInstance`, naming the argument.

    >>> one = np.ones((1, 1))
    >>> loss = Loss(one, np.array([[0.0], [1.0]]), np.eye(2), one, 1.0)
    >>> value, of_x, of_y = loss.exact(one, np.array([[1.0], [2.0]]))
    >>> round(value, 6), np.round(of_x, 6).tolist(), np.round(of_y, 6).tolist()
    (0.267223, [[0.143735]], [[0.196612], [0.534447]])
    """

    queries: Array
    keys: Array
    values: Array
    target: Array
    scale: float

    def __post_init__(self) -> None:
        for name in ("queries", "keys", "values", "target"):
            array = getattr(self, name)
            if not isinstance(array, np.ndarray) or array.ndim != 2 or array.dtype != np.float64:
                raise InvalidInstance(f"{name}: {array!r:.80}, expected a float64 matrix")
        for name, other in (("target", "queries"), ("values", "keys")):
            if len(getattr(self, name)) != len(getattr(self, other)):
                raise InvalidInstance(f"{name}: {len(getattr(self, name))} rows, expected those of {other}")

    def exact(
        self, weights: Array, value_weights: Array, *, threads: int | None = None
    ) -> tuple[float, Array, Array]:  # fmt: skip
        """The loss, dL/dX and dL/dY, in float64 and time O(n·n_k)."""
        arrays = self._arrays(weights, value_weights)
        output, lse = attention.exact(*arrays, self.scale, return_lse=True, threads=threads)
        residual = output - self.target[None, None]
        of_query, _, of_value = exact(*arrays, output, lse, residual, scale=self.scale, threads=threads)
        loss = 0.5 * math.fsum(np.square(residual).ravel().tolist())
        return loss, self.queries.T @ of_query[0, 0], self.values.T @ of_value[0, 0]

    def forward(
        self, weights: Array, value_weights: Array, error: float, *, threads: int | None = None, memory: int = 1 << 30
    ) -> Forward:
        """The loss with a certificate, from attention within ``error`` in every element.

        Raises :class:`~assay.spec.approximation.Infeasible` where the polynomial route cannot be certified to that.
        """
        arrays = self._arrays(weights, value_weights)
        found = attention.approximate(*arrays, error, self.scale, fallback="raise", threads=threads, memory=memory)
        residual = found.value[0, 0] - self.target
        values = arrays[2][0, 0]
        largest = np.abs(residual).max(axis=0)
        each = found.error[0, 0, 0] + math.tanh(self._shift(weights) / 2.0) * np.ptp(values, axis=0)
        each = (each + self._of_values(value_weights) + 2.0 * U * largest) * SLACK
        loss = 0.5 * math.fsum(np.square(residual).ravel().tolist())
        whole = float((np.abs(residual).sum(axis=0) * each).sum() + len(residual) * (each**2).sum() / 2.0)
        slack = 1.0 + float(gamma(residual.size, U))
        certified = Certified(np.array(loss), np.array((whole * slack + 4.0 * U * loss) * SLACK), found.route)
        return Forward(certified, arrays[0][0, 0], values, residual, each)

    def approximate(
        self, weights: Array, value_weights: Array, error: float, gradient_error: float, *,
        forward: Forward | None = None, threads: int | None = None, memory: int = 1 << 30,
    ) -> Evaluated:  # fmt: skip
        """The loss and its gradients, each with its certificate, in almost linear time.

        error: of every element of the attention output; gradient_error: of every element of dQ and dV, before A₁ᵀ and
        A₃ᵀ are applied.  forward: what :meth:`forward` returned for the same X, Y and error, if it was called before.
        Raises :class:`~assay.spec.approximation.Infeasible` where the polynomial route cannot be certified to that.
        """
        at = forward or self.forward(weights, value_weights, error, threads=threads, memory=memory)
        query, key, value, residual = (x[None, None] for x in (at.queries, self.keys, at.values, at.residual))
        instance = Instance(query, key, value, residual, self.scale)
        errors = (gradient_error, _UNASKED, gradient_error)
        found = gradients(instance, errors, self._shift(weights), memory, threads or available())
        n, ranges = len(self.queries), np.ptp(self.keys, axis=0) * SLACK
        # c is off by at.error, and h by what A₃Y was rounded
        moved = self._of_values(value_weights)
        wide = np.ptp(at.values, axis=0) + 2.0 * moved
        rows = abs(self.scale) * (float((at.error * wide).sum()) / 4.0 + np.abs(at.residual) @ moved)
        of_x = self._product(self.queries, found.query, rows[:, None] * ranges * SLACK)
        of_y = self._product(self.values, found.value, np.zeros((1, 1)))
        beside = np.abs(self.values).max(axis=0)[:, None] * (n * at.error) * SLACK
        return Evaluated(at.loss, of_x, Certified(of_y.value, of_y.error + beside, of_y.route))

    def _arrays(self, weights: Array, value_weights: Array) -> tuple[Any, Any, Any]:
        """Queries, keys and values (1, 1, length, dim)."""
        return (self.queries @ weights)[None, None], self.keys[None, None], (self.values @ value_weights)[None, None]

    @functools.cached_property
    def _norms(self) -> tuple[float, float, float]:
        """The largest norms of a row of A₁, of a row of A₂ but for a common vector, and of a row of A₃."""
        centred = self.keys - self.keys.mean(axis=0)
        spare = 4.0 * U * float(np.abs(self.keys).max(initial=0.0)) * math.sqrt(self.keys.shape[1])
        return (
            float(norms(self.queries).max(initial=0.0)) * SLACK,
            (float(norms(centred).max(initial=0.0)) + spare) * SLACK,
            float(norms(self.values).max(initial=0.0)) * SLACK,
        )

    def _shift(self, weights: Array) -> float:
        """What the rounding of A₁X may move a score, but for a constant of the row."""
        left, right, _ = self._norms
        rounding = float(gamma(len(weights) + 2, U)) * left * float(norms(weights.ravel())) * SLACK
        return abs(self.scale) * rounding * right * SLACK

    def _of_values(self, value_weights: Array) -> Array:
        """(w,): what the rounding of A₃Y may move a value."""
        columns: Array = norms(value_weights.T)
        return float(gamma(len(value_weights) + 2, U)) * self._norms[2] * columns * SLACK**2

    def _product(self, data: Array, factor: Certified, beside: Array) -> Certified:
        """dataᵀ times the gradient, whose rows err by ``beside`` more than its certificate says."""
        gradient = factor.value[0, 0]
        rounding = float(gamma(len(data) + 4, U))
        error = np.abs(data).T @ (factor.error[0, 0] + beside + rounding * np.abs(gradient))
        return Certified(data.T @ gradient, error * (1.0 + 2.0 * rounding) * SLACK, factor.route)
