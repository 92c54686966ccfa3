"""A pretrained model on a text that is longer than its small transformer takes, beside the full pass."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.progress import told
from assay.impl.cpu.small_transformers.networks import perplexity
from assay.impl.cpu.small_transformers.visible import Visible
from assay.impl.models.llama import Llama
from assay.impl.models.model import AttentionInput, attended

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from assay.impl.cpu.small_transformers.networks import Calls
    from assay.impl.models.model import Model

    Array = NDArray[Any]

__all__ = ["Compared", "compared", "outcome"]

_DRAWS = 2  # of errors of a proved size
_MORE = 4.0  # than these draws come to


@dataclass(frozen=True)
class Compared:
    """One way to compute the attention of a model.

    difference: the largest distance of a logit, or of an entry of the embedding, from the full pass.  allowed: four
    times what errors of the proved size, with random signs, do to these numbers when they are added to the attention of
    every layer of the full pass; ``None`` where nothing is proved of the attention, and where it is another one, with a
    window or of a sample of the keys.  layer_error: the largest proved
    error of a layer's attention.  layer_ratio: the largest error that a layer was seen to make on its own input, beside
    attention in float64 with the same window, as a part of its proved one.  perplexity: of a model that has one.
    calls: made; planned: of the plan; counting_bound: what every plan needs.
    """

    name: str
    perplexity: float | None
    difference: float
    allowed: float | None
    layer_error: float | None
    layer_ratio: float | None
    calls: int
    planned: int
    counting_bound: int


def outcome(model: Model, hidden: Array) -> Array:
    """What is compared: the logits of every token, or the embedding of the text (mean of the tokens, of length 1)."""
    if isinstance(model, Llama):
        return model.logits_of(hidden)
    mean = hidden.mean(0)
    unit: Array = mean / np.linalg.norm(mean)
    return unit


def compared(
    model: Model,
    tokens: NDArray[np.int64],
    ways: Mapping[str, Calls],
    progress: bool | Callable[[int, int], None] = False,
) -> list[Compared]:
    """The full pass, and every way to compute its attention by calls.

    The full pass computes attention in float64, and from its first layer on everything else: so distances from it are
    those of the calls.  progress: True shows a bar; a function is called with (layers done by calls, layers).
    """
    layers: list[None] = []
    full = model.hidden(tokens, lambda _: layers.append(None), _in_float64)
    right = outcome(model, full)
    rows = [Compared("full pass", _perplexity(model, full, tokens), 0.0, None, None, None, 0, 0, 0)]
    hiddens, ratios = [], [0.0] * len(ways)
    with told(progress, "layers") as tell:
        for number, calls in enumerate(ways.values()):

            def attend(given: AttentionInput, calls: Calls = calls, number: int = number) -> Array:
                output = calls(given)
                if len(calls.errors) == calls.layers and calls.errors[-1] > 0:
                    whole = _in_float64(given, calls.options.get("window"), calls.options.get("sinks", 0))
                    ratios[number] = max(ratios[number], float(np.abs(output - whole).max()) / calls.errors[-1])
                tell(number * len(layers) + calls.layers, len(ways) * len(layers))
                return output

            hiddens.append(model.hidden(tokens, _nobody, attend))
    for (name, calls), hidden, ratio in zip(ways.items(), hiddens, ratios, strict=True):
        difference = float(np.abs(outcome(model, hidden) - right).max())
        allowed, layer_error, layer_ratio = None, None, None
        if len(calls.errors) == calls.layers:
            layer_error, layer_ratio = max(calls.errors), ratio
        if layer_error is not None and not {"window", "error"} & set(calls.options):
            allowed = _MORE * max(_disturbed(model, tokens, right, calls.errors, draw) for draw in range(_DRAWS))
        rows.append(
            Compared(
                name,
                _perplexity(model, hidden, tokens),
                difference,
                allowed,
                layer_error,
                layer_ratio,
                calls.calls,
                calls.planned,
                calls.counting_bound,
            )
        )
    return rows


def _perplexity(model: Model, hidden: Array, tokens: NDArray[np.int64]) -> float | None:
    return perplexity(model, hidden, tokens) if isinstance(model, Llama) else None


def _disturbed(model: Model, tokens: NDArray[np.int64], right: Array, errors: list[float], draw: int) -> float:
    """How far errors of so much in every layer, of random signs, move the result."""
    rng, layer = np.random.default_rng(draw), iter(errors)

    def attend(given: AttentionInput) -> Array:
        output = _in_float64(given)
        return output + next(layer) * rng.choice(np.array([-1.0, 1.0]), output.shape)

    return float(np.abs(outcome(model, model.hidden(tokens, _nobody, attend)) - right).max())


def _in_float64(given: AttentionInput, window: int | None = None, sinks: int = 0) -> Array:
    """Attention of one layer in float64, and so all that follows it; with a window where it is causal."""
    wide: dict[str, Any] = {name: getattr(given, name).astype(np.float64) for name in ("query", "key", "value")}
    rows = np.arange(given.query.shape[1])
    seen = Visible(len(rows), len(rows), given.is_causal, window if given.is_causal else None, sinks).block(rows, rows)
    return attended(dataclasses.replace(given, **wide), None if seen is None else seen[0, 0])


def _nobody(_: AttentionInput) -> None:
    pass
