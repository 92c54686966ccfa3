"""The sizes that kernels limit, and the factors of which every pair of values is tried."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from assay.conformance.interface.covering import Covering, Factor, Together, length
from assay.conformance.interface.lengths import Axes
from assay.conformance.interface.suite import Row
from assay.conformance.layer_collapse.options import sizes, words

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from assay.spec.layer_collapse import Instance

__all__ = ["AXES", "COVERING", "FEATURES", "resized"]

#: Axes by the name under which a kernel declares their lengths.
AXES: dict[str, Axes] = {
    "layers": Axes(("layers",), (1, 2, 4)),
    "heads": Axes(("heads", "key_heads"), (2, 1, 4, 8)),
    "lengths": Axes(("length",), (16, 32, 64, 8, 128), multiples=True),
    "dims": Axes(("dim",), (16, 32, 64, 8, 128)),
    "head_dims": Axes(("head_dim", "value_dim"), (8, 16, 32, 64, 4)),
    "hidden": Axes(("hidden",), (32, 64, 16, 128)),
}


def resized(row: Row, lengths: Mapping[str, int]) -> Row:
    """The row with other lengths of some axes, in the words of the table.

    >>> resized(Row("smoke", "normal", "2x4/2:5:8", ("output",)), {"dim": 16, "length": 8}).size
    '2x4/2:8:16:2/2:16'
    """
    size = sizes(row)
    size = replace(size, **{name: number for name, number in lengths.items() if hasattr(size, name)})
    value_dim = size.value_dim if "output" in words(row) else size.head_dim
    stack = f"{size.layers}x{size.heads}/{size.key_heads}"
    return replace(row, size=f"{stack}:{size.length}:{size.dim}:{size.head_dim}/{value_dim}:{size.hidden}")


_FACTORS = (
    Factor("tokens", {
        "plain": ("normal", "ramp"),
        "mean": ("mean-5",),
        "sizes": ("levels", "large"),
    }, role="manner"),
    Factor("skips", {"yes": ("none",), "no": ("no-skip",)}, {"yes": "skips", "no": "no_skip"}),
    Factor("causal", {"no": ("none",), "yes": ("causal",)}, {"no": "full_attention", "yes": "causal"}),
    Factor("mask", {
        "none": ("none",),
        "padding": ("mask=right", "mask=holes"),
    }, {"padding": "mask"}),
    Factor("scale", {"usual": ("none",), "other": ("scale=0.3", "scale=0.0625")}, {"other": "any_scale"}),
    Factor(
        "output weights",
        {"no": ("none",), "yes": ("output",)},
        {"no": "without_output_weights", "yes": "output_weights"},
    ),
    Factor("biases", {"no": ("none",), "yes": ("biases",)}, {"no": "without_biases", "yes": "query_bias"}),
    Factor("norm", {
        "none": ("none",),
        "layer": ("norm=layer epsilon=1e-5", "norm=layer epsilon=1e-3 gains", "norm=layer epsilon=1e-5 post gains"),
        "rms": ("norm=rms epsilon=1e-6", "norm=rms epsilon=1e-3 gains", "norm=rms epsilon=1e-5 post"),
    }, {"none": "without_norm", "layer": "layer_norm", "rms": "rms_norm"}),
    Factor("final norm", {"no": ("none",), "yes": ("final",)}, {"no": "without_final_norm", "yes": "final_norm"}),
    Factor("mlp", {
        "none": ("none",),
        "plain": ("mlp", "mlp mlp-biases"),
        "gelu": ("mlp act=gelu", "mlp mlp-biases act=gelu_tanh"),
        "gated": ("mlp gated act=silu", "mlp gated act=gelu"),
    }, {"none": "without_mlp", "plain": "relu", "gelu": "gelu", "gated": "gate_weights"}),
    Factor("layers", {"one": ("1",), "few": ("2", "3"), "several": ("5",)}, {
        "few": "several_layers",
        "several": "several_layers",
    }, role="size"),
    Factor("heads", {
        "one": ("1",),
        "several": ("2", "4"),
        "groups": ("4/2", "4/1"),
    }, {"groups": "grouped_heads"}, role="size"),
    Factor("length", {"one": ("1",), "few": ("2", "5", "9"), "tile": ("~16", "~32")}, role="size"),
    Factor("dim", {"small": ("8",), "odd": ("12", "20"), "wide": ("32",)}, role="size"),
    Factor("layout", {
        "plain": ("contiguous",),
        "turned": ("transposed", "permuted"),
        "cut out": ("gap", "offset", "spaced"),
    }, role="manner"),
)  # fmt: skip

_OPTIONS = ("skips", "causal", "mask", "scale", "output weights", "biases", "norm", "final norm", "mlp")
_NO_NORM = frozenset({"none"})
_TOGETHER = (
    Together({"norm": _NO_NORM, "final norm": frozenset({"yes"})}),
    Together({"tokens": frozenset({"sizes"}), "norm": _NO_NORM, "layers": frozenset({"several"})}),
    Together({"heads": frozenset({"groups"}), "biases": frozenset({"yes"})}, "grouped_heads"),
)


def _row(choice: Mapping[str, str], seed: int) -> Row:
    """The row of a choice; a length near a tile is one less, the tile, or one more."""
    n = length(choice["length"], np.random.default_rng(seed))
    chosen = " ".join(choice[name] for name in _OPTIONS if choice[name] != "none").split()
    size = f"{choice['layers']}x{choice['heads']}:{n}:{choice['dim']}"
    return Row("standard", choice["tokens"], size, tuple(chosen), choice["layout"])


def _cost(row: Row) -> float:
    size, chosen = sizes(row), words(row)
    attention = size.heads * size.length * (size.length + 4 * size.dim)
    return float(size.layers * (attention + ("mlp" in chosen) * 8 * size.length * size.hidden))


COVERING = Covering(_FACTORS, _row, _cost, _TOGETHER)


def _has(name: str) -> Callable[[Instance], bool]:
    return lambda instance: getattr(instance, name) is not None


#: Words that follow "fails when" → whether it holds of an instance.
FEATURES: Mapping[str, Callable[[Instance], bool]] = {
    "there are several heads": lambda i: i.query_weights.shape[1] > 1,
    "there are several layers": lambda i: i.layers > 1,
    "key heads are shared": lambda i: i.group > 1,
    "there is an MLP": _has("up_weights"),
    "the MLP is gated": _has("gate_weights"),
    "the norm comes before": lambda i: i.norm is not None and i.norm_place == "pre",
    "the norm comes after": lambda i: i.norm is not None and i.norm_place == "post",
    "queries, keys and values are of one shape": lambda i: (
        i.query_weights.shape == i.key_weights.shape == i.value_weights.shape
    ),
    "the mean of the tokens is far from 0": lambda i: bool(
        np.abs(i.tokens.astype(np.float64).mean()) > 2 * i.tokens.astype(np.float64).std()
    ),
    "tokens are smaller than 1/32": lambda i: bool((np.abs(i.tokens.astype(np.float64)).max(axis=1) < 1 / 32).any()),
}
