"""The gradients that wrong backward passes compute: the formula in float64, with one part exchanged.

Nothing here judges: a failure is compared with these numbers to say what a kernel behaves like.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from assay.spec.attention_gradient import Instance

    Array = NDArray[np.float64]
    Gradients = Mapping[str, Array]

__all__ = [
    "Parts",
    "chained",
    "exchanged",
    "kept_heads",
    "only_forward",
    "placed",
    "rows_left_out",
    "scaled",
    "standard_over_scale",
]


class Parts:
    """The parts of the formula, per query head: (b, h_q, n_q, n_k) and smaller.

    heads: the key head that every query head reads; by default that of its group.
    """

    def __init__(self, instance: Instance, heads: list[int] | None = None) -> None:
        self.instance = instance
        self.heads = [h // instance.group for h in range(instance.query.shape[1])] if heads is None else heads
        self.scale = float(instance.scale or 0.0)
        self.query = instance.query.astype(np.float64)
        self.key = instance.key.astype(np.float64)[:, self.heads]
        self.value = instance.value.astype(np.float64)[:, self.heads]
        self.grad_output = instance.grad_output.astype(np.float64)
        self.seen = instance.visible()

    @functools.cached_property
    def raw(self) -> Array:
        """Scores before the softcap."""
        return np.asarray(self.scale * (self.query @ np.swapaxes(self.key, 2, 3)))

    @property
    def cap(self) -> float:
        """c; 1 without a softcap."""
        return float(self.instance.softcap or 1.0)

    @functools.cached_property
    def share(self) -> Array:
        """tanh(s/c)."""
        return np.tanh(self.raw / self.cap)

    @functools.cached_property
    def slope(self) -> Array:
        return np.ones_like(self.raw) if self.instance.softcap is None else 1.0 - self.share**2

    @functools.cached_property
    def score(self) -> Array:
        """Scores after softcap and bias, whatever is seen."""
        score = self.raw if self.instance.softcap is None else self.cap * self.share
        if self.instance.bias is not None:
            bias = self.instance.bias.astype(np.float64)
            score = score + np.where(np.isneginf(bias), 0.0, bias)
        return score

    @functools.cached_property
    def log_sum_exp(self) -> Array:
        """(b, h_q, n_q, 1); 0 for an empty row."""
        score = np.where(self.seen, self.score, -np.inf)
        if self.instance.sink is not None:
            column = np.broadcast_to(self.sink, (*score.shape[:3], 1))
            score = np.concatenate([score, column], axis=3)
        top = score.max(axis=3, keepdims=True)
        top = np.where(np.isfinite(top), top, 0.0)
        with np.errstate(divide="ignore"):
            made = top + np.log(np.exp(score - top).sum(axis=3, keepdims=True))
        return np.where(np.isfinite(made), made, 0.0)

    @property
    def sink(self) -> Array:
        assert self.instance.sink is not None
        return self.instance.sink.astype(np.float64)[None, :, None, None]

    @functools.cached_property
    def probability(self) -> Array:
        return self.formed(self.seen, self.score)

    def formed(self, seen: NDArray[np.bool_], score: Array) -> Array:
        """Probabilities from other scores, with this log-sum-exp."""
        with np.errstate(over="ignore"):
            return np.where(seen, np.exp(np.minimum(np.where(seen, score, 0.0) - self.log_sum_exp, 700.0)), 0.0)

    @functools.cached_property
    def largest(self) -> Array:
        """1 for the key with the largest score of its row, which ties share, and 0 for others."""
        score = np.where(self.seen, self.score, -np.inf)
        top = score.max(axis=3, keepdims=True, initial=-np.inf)
        if self.instance.sink is not None:
            top = np.maximum(top, self.sink)
        equal = self.seen & (score == top)
        return np.asarray(equal / np.maximum(equal.sum(axis=3, keepdims=True), 1))

    @functools.cached_property
    def product(self) -> Array:
        """g_ij."""
        return np.asarray(self.grad_output @ np.swapaxes(self.value, 2, 3))

    @functools.cached_property
    def expected(self) -> Array:
        """Σ_j p_ij g_ij: (b, h_q, n_q, 1)."""
        return np.asarray((self.probability * self.product).sum(axis=3, keepdims=True))

    @functools.cached_property
    def incoming(self) -> Array:
        """The gradient of the log-sum-exp; 0 where a query attends to nothing."""
        array = self.instance.grad_log_sum_exp
        if array is None:
            return np.zeros_like(self.expected)
        some = self.seen.any(axis=3) | (self.instance.sink is not None)
        return np.where(some, array.astype(np.float64), 0.0)[..., None]

    @functools.cached_property
    def delta(self) -> Array:
        return self.expected - self.incoming

    @functools.cached_property
    def gradient(self) -> Array:
        """dS_ij."""
        return self.probability * (self.product - self.delta)

    def assembled(self, gradient: Array | None = None, **other: Array) -> dict[str, Array]:
        """Every gradient.

        gradient: another dS.  other: ``probability`` for dV, ``slope``, ``delta`` for the sink.
        """
        gradient = self.gradient if gradient is None else gradient
        before = gradient * other.get("slope", self.slope)
        made = {
            "grad_query": self.scale * (before @ self.key),
            "grad_key": self.gathered(self.scale * (np.swapaxes(before, 2, 3) @ self.query)),
            "grad_value": self.gathered(
                np.swapaxes(other.get("probability", self.probability), 2, 3) @ self.grad_output
            ),
        }
        if self.instance.bias is not None:
            made["grad_bias"] = self.summed(gradient)
        if self.instance.sink is not None:
            weight = np.exp(self.sink - self.log_sum_exp)
            made["grad_sink"] = -(weight * other.get("delta", self.delta)).sum(axis=(0, 2, 3))
        return made

    def gathered(self, of_heads: Array) -> Array:
        """The sum over the query heads that read a key head."""
        made = np.zeros((of_heads.shape[0], self.instance.key.shape[1], *of_heads.shape[2:]))
        for head, to in enumerate(self.heads):
            made[:, to] += of_heads[:, head]
        return made

    def summed(self, gradient: Array) -> Array:
        """The sum over what a bias is broadcast to."""
        assert self.instance.bias is not None
        return np.asarray(gradient.sum(axis=self.broadcast, keepdims=True).reshape(self.instance.bias.shape))

    @property
    def broadcast(self) -> tuple[int, ...]:
        """The axes along which the bias is broadcast."""
        assert self.instance.bias is not None
        shape = self.instance.bias.shape
        wide = (1,) * (4 - len(shape)) + shape
        return tuple(axis for axis, (n, m) in enumerate(zip(self.seen.shape, wide, strict=True)) if n != m)

    def differences(self) -> Array:
        return self.product - self.delta


def only_forward(change: Callable[[Any], Any | None]) -> Callable[[Parts], Gradients | None]:
    """The backward pass alone recomputes the scores of another instance; the rest it has from the forward pass."""

    def wrong(parts: Parts) -> Gradients | None:
        other = change(parts.instance)
        if other is None or other.key.shape != parts.instance.key.shape:
            return None
        of_other = Parts(other)
        probability = parts.formed(of_other.seen, of_other.score)
        gradient = probability * parts.differences()
        return parts.assembled(gradient, probability=probability, slope=of_other.slope)

    return wrong


def scaled(**factors: Callable[[Parts], float]) -> Callable[[Parts], Gradients | None]:
    """Some gradients are a multiple of what they should be."""

    def wrong(parts: Parts) -> Gradients | None:
        made = parts.assembled()
        used = {f"grad_{name}": factor(parts) for name, factor in factors.items() if f"grad_{name}" in made}
        if not used or all(factor == 1.0 for factor in used.values()):
            return None
        return {name: made[name] * factor for name, factor in used.items()}

    return wrong


def exchanged(*cycle: str) -> Callable[[Parts], Gradients | None]:
    """Gradients in each other's place: the first in that of the second, and so on."""

    def wrong(parts: Parts) -> Gradients | None:
        made = parts.assembled()
        names = [f"grad_{name}" for name in cycle]
        if len({made[name].shape for name in names}) > 1:
            return None
        return {place: made[name] for name, place in zip(names, names[1:] + names[:1], strict=True)}

    return wrong


def kept_heads(kept: Callable[[int, int, int], bool], share: float = 1.0) -> Callable[[Parts], Gradients | None]:
    """Only some query heads of a group reach its keys and values: kept(h, h_q, h_k)."""

    def wrong(parts: Parts) -> Gradients | None:
        h_q, h_k = parts.instance.query.shape[1], parts.instance.key.shape[1]
        if h_q == h_k:
            return None
        keep = np.array([kept(h, h_q, h_k) for h in range(h_q)], float)[:, None, None] * share
        before = np.swapaxes(parts.gradient * parts.slope, 2, 3)
        return {
            "grad_key": parts.gathered(keep * parts.scale * (before @ parts.query)),
            "grad_value": parts.gathered(keep * (np.swapaxes(parts.probability, 2, 3) @ parts.grad_output)),
        }

    return wrong


def placed(place: Callable[[int, int, int], int]) -> Callable[[Parts], Gradients | None]:
    """The gradients of keys and values of query head h are added to key head place(h, h_q, h_k); none if it is none."""

    def wrong(parts: Parts) -> Gradients | None:
        h_q, h_k = parts.instance.query.shape[1], parts.instance.key.shape[1]
        places = [place(h, h_q, h_k) for h in range(h_q)]
        if places == parts.heads:
            return None
        before = np.swapaxes(parts.gradient * parts.slope, 2, 3)
        of_heads = {
            "grad_key": parts.scale * (before @ parts.query),
            "grad_value": np.swapaxes(parts.probability, 2, 3) @ parts.grad_output,
        }
        made = {}
        for name, array in of_heads.items():
            made[name] = np.zeros_like(parts.gathered(array))
            for head, to in enumerate(places):
                if to < h_k:
                    made[name][:, to] += array[:, head]
        return made

    return wrong


def chained(heads: Callable[[int, int, int], int]) -> Callable[[Parts], Gradients | None]:
    """Forward and backward pass read key head heads(h, h_q, h_k) for query head h."""

    def wrong(parts: Parts) -> Gradients | None:
        h_q, h_k = parts.instance.query.shape[1], parts.instance.key.shape[1]
        chosen = [heads(h, h_q, h_k) for h in range(h_q)]
        return None if chosen == parts.heads else Parts(parts.instance, chosen).assembled()

    return wrong


def rows_left_out(tile: int, *, keys: bool) -> Callable[[Parts], Gradients | None]:
    """Queries, or keys, beyond the last whole tile are left out of sums over them; of ``tile`` 0, the last one is."""

    def wrong(parts: Parts) -> Gradients | None:
        axis = 3 if keys else 2
        n = parts.seen.shape[axis]
        kept = n - 1 if tile == 0 else n // tile * tile
        if kept in (0, n):
            return None
        index = np.arange(n) < kept
        keep = index[None, None, None, :] if keys else index[None, None, :, None]
        made = parts.assembled(np.where(keep, parts.gradient, 0.0), probability=np.where(keep, parts.probability, 0.0))
        return {name: made[name] for name in (("grad_query",) if keys else ("grad_key", "grad_value"))}

    return wrong


def of_scale(parts: Parts) -> float:
    """σ, as a factor."""
    return parts.scale


def over_scale(parts: Parts) -> float:
    """1/σ, as a factor."""
    return 1.0 / parts.scale if parts.scale else 1.0


def standard_over_scale(parts: Parts) -> float:
    """1/(σ√d), as a factor."""
    return over_scale(parts) * float(parts.query.shape[3] ** -0.5) if parts.scale else 1.0


LOG2_E = 1.0 / math.log(2.0)
