"""The input of a self-attention network: tokens, the weights of every layer, and what the layers are made of.

The formulas are in :mod:`assay.spec.layer_collapse.definition`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec.instance import Instance as AnyInstance
from assay.spec.instance import array, choice, real

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from numpy.typing import NDArray

__all__ = ["MLP", "NORM_PARAMETERS", "Instance", "load"]

#: The optional arrays of the multilayer perceptron, and those of the norms.
MLP: tuple[str, ...] = ("up_weights", "up_bias", "gate_weights", "down_weights", "down_bias")
NORM_PARAMETERS: tuple[str, ...] = (
    "attention_norm_gain",
    "attention_norm_bias",
    "mlp_norm_gain",
    "mlp_norm_bias",
    "final_norm_gain",
    "final_norm_bias",
)


@dataclass(frozen=True, eq=False)
class Instance(AnyInstance):
    """A network of L layers of self-attention, and n tokens of d numbers.  Numbers are exact as stored.

    All arrays have the dtype of ``tokens``; a row vector is multiplied by a matrix from the right, x W.
    tokens (n, d).
    query_weights (L, h, d, k), key_weights (L, h_k, d, k), value_weights (L, h_k, d, v), h a multiple of h_k: query
    head a attends to key head a // (h / h_k).
    scale: of the scores; ``None`` means the float64 number nearest 1/√k.
    skip: whether the input of a sub-layer is added to its output.
    causal: token i attends to j ≤ i only.
    output_weights (L, h, v, d): what the output of every head is multiplied by before the heads are added.  ``None``
    means that value_weights contain it, and v = d.
    query_bias (L, h, k), key_bias (L, h_k, k), value_bias (L, h_k, v), output_bias (L, d).
    mask (n,): False where a token is padding, to which no token attends.  The outputs of padding are not judged.
    norm: ``None``, ``"layer"`` or ``"rms"``, with
    norm_place: ``"pre"``, before a sub-layer, or ``"post"``, after it and after its skip connection;
    epsilon > 0: added to the variance, or to the mean square;
    final_norm: the tokens after the last layer are normalised once more.
    attention_norm_gain and attention_norm_bias (L, d), mlp_norm_gain and mlp_norm_bias (L, d), final_norm_gain and
    final_norm_bias (d,): 1 and 0 where they are not given.  An RMS norm has no bias.
    up_weights (L, d, f) and down_weights (L, f, d), together: an MLP is the second sub-layer of every layer; with
    up_bias (L, f) and down_bias (L, d), and
    gate_weights (L, d, f): the MLP is gated, activation(x G)·(x W_up) in place of activation(x W_up).
    activation: ``"relu"``, ``"gelu"`` (exact), ``"gelu_tanh"`` or ``"silu"``.

    Raises :class:`~assay.spec.problem.InvalidInstance`, naming the argument.

    >>> weights = np.ones((2, 1, 3, 3))
    >>> Instance(np.zeros((4, 3)), weights, weights, weights).describe()
    'length 4, dim 3, layers 2, heads 1, head dim 3, key heads 1, value dim 3, float64'
    """

    problem = "layer_collapse"

    tokens: NDArray[Any] = array("length dim")
    query_weights: NDArray[Any] = array("layers heads dim head_dim", like="tokens")
    key_weights: NDArray[Any] = array("layers key_heads dim head_dim", like="tokens")
    value_weights: NDArray[Any] = array("layers key_heads dim value_dim", like="tokens")
    scale: float | None = real(None, plain=1.0)
    skip: bool = True
    causal: bool = False
    output_weights: NDArray[Any] | None = array("layers heads value_dim dim", optional=True, like="tokens")
    query_bias: NDArray[Any] | None = array("layers heads head_dim", optional=True, like="tokens")
    key_bias: NDArray[Any] | None = array("layers key_heads head_dim", optional=True, like="tokens")
    value_bias: NDArray[Any] | None = array("layers key_heads value_dim", optional=True, like="tokens")
    output_bias: NDArray[Any] | None = array("layers dim", optional=True, like="tokens")
    mask: NDArray[np.bool_] | None = array("length", kind="truth", optional=True)
    norm: str | None = choice(
        *(None, "layer", "rms"),
        needs={"layer": ("epsilon",), "rms": ("epsilon",)},
        takes={"layer": ("norm_place", "final_norm"), "rms": ("norm_place", "final_norm")},
    )
    norm_place: str = choice("pre", "post")
    epsilon: float | None = real(None, above=0.0)
    final_norm: bool = False
    attention_norm_gain: NDArray[Any] | None = array("layers dim", optional=True, like="tokens")
    attention_norm_bias: NDArray[Any] | None = array("layers dim", optional=True, like="tokens")
    mlp_norm_gain: NDArray[Any] | None = array("layers dim", optional=True, like="tokens")
    mlp_norm_bias: NDArray[Any] | None = array("layers dim", optional=True, like="tokens")
    final_norm_gain: NDArray[Any] | None = array("dim", optional=True, like="tokens")
    final_norm_bias: NDArray[Any] | None = array("dim", optional=True, like="tokens")
    up_weights: NDArray[Any] | None = array("layers dim hidden", optional=True, like="tokens")
    up_bias: NDArray[Any] | None = array("layers hidden", optional=True, like="tokens")
    gate_weights: NDArray[Any] | None = array("layers dim hidden", optional=True, like="tokens")
    down_weights: NDArray[Any] | None = array("layers hidden dim", optional=True, like="tokens")
    down_bias: NDArray[Any] | None = array("layers dim", optional=True, like="tokens")
    activation: str = choice("relu", "gelu", "gelu_tanh", "silu")

    def __post_init__(self) -> None:
        super().__post_init__()
        heads, key_heads = self.query_weights.shape[1], self.key_weights.shape[1]
        self._require(heads % key_heads == 0, "query_weights", f"a multiple of the {key_heads} heads of key_weights")
        if self.output_weights is None:
            d = self.tokens.shape[1]
            words = f"a last axis of {d}, which is that of the tokens, where there are no output_weights"
            self._require(self.value_weights.shape[3] == d, "value_weights", words)
        for name in ("up_weights", "down_weights") if any(getattr(self, part) is not None for part in MLP) else ():
            self._require(getattr(self, name) is not None, name, "an array, which every MLP has")
        self._require(self.up_weights is not None or self.activation == "relu", "activation", "'relu' without an MLP")
        for name in NORM_PARAMETERS:
            if getattr(self, name) is not None:
                self._require(self.norm is not None, name, "none without a norm")
                self._require(self.norm == "layer" or name.endswith("gain"), name, "none with norm 'rms'")
                self._require(name.startswith("final") <= self.final_norm, name, "none without final_norm")
                self._require(name.startswith("mlp") <= (self.up_weights is not None), name, "none without an MLP")
        if self.mask is not None:
            some = bool(self.mask[0] if self.causal else self.mask.any())
            self._require(
                some, "mask", "that the first token is none where the network is causal, and some token is none"
            )

    def usual(self) -> dict[str, Any]:
        """The scale that is usual: the float64 number nearest 1/√k."""
        return {"scale": 1.0 / math.sqrt(self.query_weights.shape[3])}

    @property
    def layers(self) -> int:
        """L: how many layers the network has."""
        return int(self.query_weights.shape[0])

    @property
    def group(self) -> int:
        """Query heads to one key head."""
        return int(self.query_weights.shape[1] // self.key_weights.shape[1])

    def spanned(self) -> int:
        """The scores of every head and layer, and what every token is made into between them."""
        axes = self.lengths()
        heads = axes["heads"] * (2 * axes["head_dim"] + 2 * axes["value_dim"] + axes["length"])
        layer = axes["length"] * (heads + 4 * axes["dim"] + 2 * axes.get("hidden", 0))
        return int(super().spanned() + self.layers * layer)

    def attends(self) -> NDArray[np.bool_]:
        """(n, n): which tokens (columns) each token (rows) attends to.

        >>> weights = np.ones((1, 1, 1, 1))
        >>> Instance(np.zeros((2, 1)), weights, weights, weights, causal=True).attends().astype(int).tolist()
        [[1, 0], [1, 1]]
        """
        n = len(self.tokens)
        seen = np.tri(n, dtype=bool) if self.causal else np.ones((n, n), dtype=bool)
        return seen if self.mask is None else seen & self.mask[None, :]

    def is_linear(self) -> bool:
        """Whether the collapsed network is linear in the tokens: it has no norm and no MLP."""
        return self.norm is None and self.up_weights is None

    def parameter(self, place: str, part: str) -> NDArray[np.float64] | None:
        """The ``"gain"`` or ``"bias"`` of the norm ``"ℓ/attention/norm"``, ``"ℓ/mlp/norm"`` or ``"final/norm"``, (d,).

        ``None`` where it is not given.
        """
        layer, *name = place.split("/")
        array = getattr(self, f"{'_'.join([layer, *name] if layer == 'final' else name)}_{part}")
        if array is None:
            return None
        chosen: NDArray[np.float64] = (array if layer == "final" else array[int(layer)]).astype(np.float64)
        return chosen

    def layer(self, number: int) -> Self:
        """The network of the layer ``number`` alone, 0 being the first; the norm after the last layer is left out."""
        plain = {} if self.norm is None else {"final_norm": False, "final_norm_gain": None, "final_norm_bias": None}
        return self.replace(**plain).part(layers=[number])

    def part(self, **kept: Sequence[int] | NDArray[np.intp] | None) -> Self:
        """The instance of some of its ``layers``, ``heads``, ``length``, ``dim``, …, in order.

        ``heads`` are whole groups, or heads of one group; ``key_heads`` may be given in their place, and brings the
        whole group of each.  Where there are no output_weights, ``dim`` and ``value_dim`` are one.
        """
        heads, key_heads = kept.get("heads"), kept.get("key_heads")
        if heads is not None:
            kept["key_heads"] = list(dict.fromkeys(int(head) // self.group for head in heads))
        elif key_heads is not None:
            kept["heads"] = [int(head) * self.group + g for head in key_heads for g in range(self.group)]
        if self.output_weights is None:
            both = kept.get("dim") if kept.get("dim") is not None else kept.get("value_dim")
            if both is not None:
                kept["dim"] = kept["value_dim"] = both
        return super().part(**kept)


load = Instance.load
