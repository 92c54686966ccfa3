"""Whole networks by calls of a small transformer: stacks with written weights, and pretrained models (ST-5).

Norms, MLPs, residuals and projections look at one token at a time, so they are computed of any number of tokens as they
are.  Only attention is made of calls; heads of one layer share calls where the oracle computes several at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.layer_collapse.forward import joined, projected, sublayers
from assay.impl.cpu.layer_collapse.parts import Network
from assay.impl.cpu.small_transformers.average import approximate
from assay.impl.cpu.small_transformers.simulate import simulate

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from assay.impl.cpu.layer_collapse.parts import Layer
    from assay.impl.cpu.small_transformers.model import Oracle
    from assay.impl.models.llama import Llama
    from assay.impl.models.model import AttentionInput
    from assay.spec.layer_collapse.instance import Instance

    Array = NDArray[Any]

__all__ = ["Calls", "negative_log_likelihood", "perplexity", "stack"]

_POSITIONS = 256  # whose logits are held at once


@dataclass(eq=False)
class Calls:
    """Attention of a model's layers by calls, one after the other; what became of them is counted.

    options: further arguments of :func:`simulate`, or of :func:`approximate` where ``error`` is one of them.
    Attention that is not causal has no window: ``window`` and ``sinks`` are left out there.
    folder: where every layer keeps what it has computed, so that the same run can go on there.
    """

    oracle: Oracle
    size: int
    options: Mapping[str, Any] = field(default_factory=dict)
    folder: Path | None = None
    planned: int = 0
    calls: int = 0
    counting_bound: int = 0
    layers: int = 0
    errors: list[float] = field(default_factory=list)  # the largest proved error of each layer, where one is

    def __call__(self, given: AttentionInput) -> Array:
        """The outputs (h_q, n, d) of all heads of a layer, float64."""
        query, key, value = (x[None].astype(np.float64) for x in (given.query, given.key, given.value))
        output = self._attended((query, key, value), given.scale, given.is_causal)
        return np.asarray(output[0])

    def _attended(self, arrays: tuple[Array, Array, Array], scale: float, is_causal: bool) -> Array:
        query, key, value = arrays
        options = dict(self.options)
        if self.folder is not None:
            options["resume"] = self.folder / f"layer-{self.layers:03d}.npz"
        if "error" in options:
            sampled = approximate(
                query, key, value, self.oracle, self.size, options.pop("error"), scale, is_causal=is_causal, **options
            )
            self._count(sampled.planned, sampled.calls, 0, float(sampled.error.max()))
            return np.asarray(sampled.value)
        if not is_causal:
            options = {name: option for name, option in options.items() if name not in ("window", "sinks")}
        done = simulate(query, key, value, self.oracle, self.size, scale, is_causal=is_causal, **options)
        self._count(
            done.planned, done.calls, done.counting_bound, None if done.error is None else float(done.error.max())
        )
        return np.asarray(done.value)

    def _count(self, planned: int, calls: int, counting_bound: int, error: float | None) -> None:
        self.planned, self.calls = self.planned + planned, self.calls + calls
        self.counting_bound += counting_bound
        self.layers += 1
        if error is not None:
            self.errors.append(error)

    def layer(self, layer: Layer, tokens: Array, is_causal: bool) -> Array:
        """(n, d): the outputs of all heads of a layer of a stack together."""
        query, key, value = projected(layer, tokens)
        out = self._attended((query[None], key[None], value[None]), layer.attention.scale, is_causal)[0]
        return joined(layer, out)


def stack(instance: Instance, calls: Calls) -> Array:
    """The tokens (L, n, d) after every layer of a stack, as :func:`assay.impl.cpu.layer_collapse.exact` computes them.

    Raises what :func:`simulate` raises, and ``ValueError`` for a stack with padding.
    """
    if instance.mask is not None:
        raise ValueError("mask: expected tokens without padding")
    work = np.dtype(np.float64) if instance.tokens.dtype.name == "float64" else np.dtype(np.float32)
    network = Network(instance)
    x = instance.tokens.astype(work)
    out = np.empty((instance.layers, *instance.tokens.shape), instance.tokens.dtype)
    for number in range(instance.layers):
        layer = network.layer(number, work)

        def attend(z: Array, layer: Layer = layer) -> Array:
            return calls.layer(layer, z, instance.causal)

        x = sublayers(layer, instance, x, attend)
        final = network.final(work) if number == instance.layers - 1 else None
        x = x if final is None else final.apply(x)
        out[number] = x
    return out


def negative_log_likelihood(model: Llama, hidden: Array, tokens: NDArray[np.int64]) -> Array:
    """(n − 1,): −ln of the probability that the model gives each token after those before it."""
    found = []
    for begin in range(0, len(tokens) - 1, _POSITIONS):
        end = min(begin + _POSITIONS, len(tokens) - 1)
        logits = model.logits_of(hidden[begin:end]).astype(np.float64)
        logits -= logits.max(axis=1, keepdims=True)
        right = logits[np.arange(end - begin), tokens[begin + 1 : end + 1]]
        found.append(np.log(np.exp(logits).sum(axis=1)) - right)
    return np.concatenate(found)


def perplexity(model: Llama, hidden: Array, tokens: NDArray[np.int64]) -> float:
    """e to the mean of :func:`negative_log_likelihood`."""
    return float(np.exp(negative_log_likelihood(model, hidden, tokens).mean()))
