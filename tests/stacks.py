"""Self-attention networks at random, and NumPy stacks that round as their class says: for tests of layer_collapse."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec.floats import dtype_named
from assay.spec.layer_collapse import Instance

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

__all__ = ["KINDS", "Rounding", "drawn", "erf", "stack"]

erf = np.vectorize(math.erf, otypes=[np.float64])

#: Options of networks by name; ``full``: with W_O, biases and an MLP.
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "no skip": {"skip": False},
    "causal": {"causal": True},
    "mask": {"mask": (True, False, True, True, True)},
    "causal without skip": {"causal": True, "skip": False},
    "biases": {"full": True, "mlp": False, "key_heads": 1},
    "MLP": {"full": True, "activation": "relu"},
    "pre-norm": {"full": True, "norm": "layer", "activation": "gelu"},
    "post-norm": {"full": True, "norm": "layer", "norm_place": "post", "activation": "gelu_tanh", "final_norm": True},
    "gated": {"full": True, "norm": "rms", "gated": True, "activation": "silu", "causal": True, "key_heads": 1},
    "post-norm without skip": {"full": True, "norm": "rms", "norm_place": "post", "skip": False},
}


def drawn(
    seed: int = 0,
    kind: str = "plain",
    *,
    size: tuple[int, int, int] = (5, 4, 3),
    heads: int = 2,
    dtype: str = "float64",
    weight: float = 0.5,
    quarters: bool = False,
    **more: Any,
) -> Instance:
    """A network of normal numbers: size (n, d, L), weights of a standard deviation ``weight``.

    quarters: numbers are multiples of a quarter, so that exact expressions of them stay short.
    """
    rng = np.random.default_rng(seed)
    options = {**KINDS[kind], **more}
    n, d, layers = size
    full, mlp, gated = options.pop("full", False), options.pop("mlp", True), options.pop("gated", False)
    key_heads = min(options.pop("key_heads", heads), heads)
    k = v = max(1, d // 2) if full else d

    def normal(*shape: int, spread: float = weight) -> Array:
        x = spread * rng.standard_normal(shape)
        return (np.rint(4 * x) / 4 if quarters else x).astype(dtype_named(dtype))

    if full:
        options |= {
            "output_weights": normal(layers, heads, v, d),
            "query_bias": normal(layers, heads, k),
            "key_bias": normal(layers, key_heads, k),
            "value_bias": normal(layers, key_heads, v),
            "output_bias": normal(layers, d),
        }
    if full and mlp:
        f = d + 1
        options |= {"up_weights": normal(layers, d, f), "down_weights": normal(layers, f, d)}
        options |= {"up_bias": normal(layers, f), "down_bias": normal(layers, d)}
        options |= {"gate_weights": normal(layers, d, f)} if gated else {}
    if "norm" in options:
        options |= {"epsilon": 0.25 if quarters else 1e-5, "attention_norm_gain": 1 + normal(layers, d)}
        options |= {"mlp_norm_bias": normal(layers, d)} if options["norm"] == "layer" and mlp else {}
    if not (full and mlp):
        options.pop("activation", None)
    if "mask" in options:
        options["mask"] = np.resize(np.array(options["mask"]), n)
    tokens = normal(n, d, spread=1.0)
    query, key = normal(layers, heads, d, k), normal(layers, key_heads, d, k)
    return Instance(tokens, query, key, normal(layers, key_heads, d, v), **options)


@dataclass(frozen=True)
class Rounding:
    """How a stack rounds.

    work: the type of sums.  short: the type of arrays between operations, where it is another.  eager: that of every
    intermediate result too.  one_pass: the variance is the mean square less the square of the mean.
    """

    work: str = "float32"
    short: str | None = None
    eager: bool = False
    one_pass: bool = False

    def wide(self, x: Array) -> Array:
        return np.asarray(x).astype(self.work)

    def stored(self, x: Array) -> Array:
        return self.wide(x) if self.short is None else np.asarray(x).astype(dtype_named(self.short)).astype(self.work)

    def step(self, x: Array) -> Array:
        return self.stored(x) if self.eager else self.wide(x)


def stack(instance: Instance, rounding: Rounding) -> Array:
    """The tokens after every layer, of a correct stack."""
    with np.errstate(all="ignore"):
        tokens = _Run(instance, rounding).run()
    return tokens if rounding.short is None else tokens.astype(dtype_named(rounding.short))


@dataclass(frozen=True)
class _Run:
    instance: Instance
    rounding: Rounding

    def run(self) -> Array:
        instance, x, after = self.instance, self.rounding.wide(self.instance.tokens), []
        for layer in range(instance.layers):
            x = self.sublayer(f"{layer}/attention", x, lambda y, layer=layer: self.attention(layer, y))
            if instance.up_weights is not None:
                x = self.sublayer(f"{layer}/mlp", x, lambda y, layer=layer: self.mlp(layer, y))
            if instance.final_norm and layer == instance.layers - 1:
                x = self.norm("final/norm", x)
            after.append(x)
        return np.stack(after)

    def sublayer(self, place: str, x: Array, function: Any) -> Array:
        instance = self.instance
        before = instance.norm is not None and instance.norm_place == "pre"
        update = function(self.norm(f"{place}/norm", x) if before else x)
        x = self.rounding.stored(x + update) if instance.skip else update
        return self.norm(f"{place}/norm", x) if instance.norm is not None and not before else x

    def norm(self, place: str, x: Array) -> Array:
        r, instance = self.rounding, self.instance
        work = np.dtype(r.work).type
        deviation, mean = x, work(0)
        if instance.norm == "layer":
            mean = r.step(x.mean(axis=1, keepdims=True, dtype=r.work))
            deviation = r.step(x - mean)
        if r.one_pass:
            variance = r.step(r.step(x * x).mean(axis=1, keepdims=True, dtype=r.work) - r.step(mean * mean))
        else:
            variance = r.step(r.step(deviation * deviation).mean(axis=1, keepdims=True, dtype=r.work))
        root = r.step(np.sqrt(r.step(variance + work(instance.epsilon))))
        y = r.step(deviation * r.step(work(1) / root))
        gain, bias = instance.parameter(place, "gain"), instance.parameter(place, "bias")
        y = y if gain is None else r.step(y * r.wide(gain))
        return r.stored(y if bias is None else y + r.wide(bias))

    def affine(self, y: Array, weights: Array, bias: Array | None, layer: int) -> Array:
        r, matrix = self.rounding, self.rounding.wide(weights[layer])
        product = y @ matrix
        if bias is None:
            return r.stored(product)
        vector = r.wide(bias[layer])
        return r.stored(r.step(product) + (vector[:, None] if vector.ndim == 2 else vector))

    def attention(self, layer: int, y: Array) -> Array:
        instance, r = self.instance, self.rounding
        query = self.affine(y, instance.query_weights, instance.query_bias, layer)
        key = self.affine(y, instance.key_weights, instance.key_bias, layer)
        value = self.affine(y, instance.value_weights, instance.value_bias, layer)
        heads, attended = [], instance.attends()
        for head in range(len(query)):
            of = head // instance.group
            scale = np.dtype(r.work).type(instance.scale)
            score = np.where(attended, r.step(r.step(query[head] @ key[of].T) * scale), -np.inf)
            weight = np.exp(score - score.max(axis=1, keepdims=True))
            total = weight.sum(axis=1, keepdims=True, dtype=r.work)
            if r.eager:
                heads.append(r.stored(r.stored(weight / total) @ value[of]))
            else:
                heads.append(r.stored((r.stored(weight) @ value[of]) / total))
        if instance.output_weights is not None:
            joined = r.wide(instance.output_weights[layer]).reshape(-1, instance.tokens.shape[1])
            update = np.concatenate(heads, axis=1) @ joined
        else:
            update = heads[0]
            for head_output in heads[1:]:
                update = r.step(update + head_output)
        if instance.output_bias is not None:
            update = r.step(update) + r.wide(instance.output_bias[layer])
        return r.stored(update)

    def mlp(self, layer: int, y: Array) -> Array:
        instance, r = self.instance, self.rounding
        assert instance.up_weights is not None
        assert instance.down_weights is not None
        up = self.affine(y, instance.up_weights, instance.up_bias, layer)
        if instance.gate_weights is None:
            hidden = r.stored(self.activated(up))
        else:
            gate = self.affine(y, instance.gate_weights, None, layer)
            hidden = r.stored(r.stored(self.activated(gate)) * up)
        return self.affine(hidden, instance.down_weights, instance.down_bias, layer)

    def activated(self, x: Array) -> Array:
        r, work = self.rounding, np.dtype(self.rounding.work).type
        name = self.instance.activation
        if name == "relu":
            return np.maximum(x, work(0))
        if name == "silu":
            return x / r.step(work(1) + r.step(np.exp(-x)))
        if name == "gelu":
            inner = erf(r.step(x * work(math.sqrt(0.5)))).astype(r.work)
        else:
            cube = r.step(r.step(r.step(x * x) * x) * work(0.044715))
            inner = np.tanh(r.step(r.step(x + cube) * work(math.sqrt(2 / math.pi))))
        return r.step(x * work(0.5)) * r.step(work(1) + r.step(inner))
