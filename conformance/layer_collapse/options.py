"""Rows of the families as instances: the kind of a network, the numbers in it; and what calls change."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.conformance.interface.families import CHANGES as SHARED
from assay.spec.floats import dtype_named
from assay.spec.layer_collapse import Instance

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from assay.conformance.interface.suite import Row
    from assay.spec.precision import Precision
    from assay.spec.problem import Provenance

    Array = NDArray[np.float64]
    Generator = np.random.Generator

__all__ = ["CHANGES", "MASKS", "NETWORKS", "NUMBERS", "Sizes", "built", "sizes", "words"]

_GENTLE = 0.4  # of weights beside 1/√(numbers that are added), where there is a norm or an MLP

#: Networks of practice, as the options that they are made of.
NETWORKS: dict[str, str] = {
    "plain": "",
    "encoder": "output biases norm=layer epsilon=1e-5 gains mlp mlp-biases post",
    "encoder-first": "output biases norm=layer epsilon=1e-5 gains mlp mlp-biases",
    "bert": "output biases norm=layer epsilon=1e-12 gains mlp mlp-biases post act=gelu",
    "gpt2": "output biases norm=layer epsilon=1e-5 gains mlp mlp-biases act=gelu_tanh causal final",
    "lean": "output norm=layer epsilon=1e-5 gains-alone mlp act=gelu final",
    "t5": "output norm=rms epsilon=1e-6 gains mlp final",
    "llama": "output norm=rms epsilon=1e-5 gains mlp gated act=silu causal final",
}


def _ramp(rng: Generator, n: int, d: int) -> Array:
    """Tokens whose norms go from small to large, all of them in one direction and a little beside it."""
    return np.asarray(np.linspace(0.2, 3.0, n)[:, None] * (1.0 + 0.5 * rng.standard_normal((n, d))))


#: What tokens are: (rng, tokens, dim) → numbers.
NUMBERS: dict[str, Callable[[Generator, int, int], Array]] = {
    "normal": lambda rng, n, d: rng.standard_normal((n, d)),
    "mean-5": lambda rng, n, d: 5.0 + rng.standard_normal((n, d)),
    "faint": lambda rng, n, d: rng.standard_normal((n, d)) * np.sqrt(rng.uniform(1e-5, 4e-4, (n, 1))),
    "large": lambda rng, n, d: 8.0 * rng.standard_normal((n, d)),
    "levels": lambda rng, n, d: rng.standard_normal((n, d)) * 2.0 ** rng.integers(-4, 5, (n, 1)),
    "equal": lambda rng, n, d: np.tile(rng.standard_normal(d), (n, 1)),
    "ramp": _ramp,
    "far": lambda rng, n, d: 300.0 + rng.standard_normal((n, d)),
    "integers": lambda rng, n, d: rng.integers(-2, 3, (n, d)).astype(np.float64),
}

#: Which tokens are none: tokens → True where one is.
MASKS: dict[str, Callable[[int], NDArray[np.bool_]]] = {
    "right": lambda n: np.arange(n) < max(n - max(n // 3, 1), 1),
    "left": lambda n: np.arange(n) >= min(max(n // 3, 1), n - 1),
    "holes": lambda n: (np.arange(n) % 3 != 1) | (np.arange(n) == 0),
    "first": lambda n: np.arange(n) == 0,
}


@dataclass(frozen=True)
class Sizes:
    """The lengths of a row."""

    layers: int
    heads: int
    key_heads: int
    length: int
    dim: int
    head_dim: int
    value_dim: int
    hidden: int


def sizes(row: Row) -> Sizes:
    """The lengths of a row: "layers×heads[/key heads]:length:dim[:head dim[/value dim]][:hidden]".

    Left out, there are as many key heads as heads, the head dim is the part of the dim that is left to a head, and
    the hidden dim is twice the dim.  Where there are no output weights, the value dim is the dim.

    >>> from assay.conformance.interface.suite import Row
    >>> sizes(Row("smoke", "normal", "2x4/2:5:8", ("output",)))
    Sizes(layers=2, heads=4, key_heads=2, length=5, dim=8, head_dim=2, value_dim=2, hidden=16)
    """
    stack, n, d, *rest = row.size.split(":")
    layers, *heads = (int(word) for word in re.split("[x/]", stack))
    dims = [int(word) for word in rest[0].split("/")] if rest else [max(int(d) // heads[0], 1)]
    value_dim = dims[-1] if "output" in words(row) else int(d)
    hidden = int(rest[1]) if len(rest) > 1 else 2 * int(d)
    return Sizes(layers, heads[0], heads[-1], int(n), int(d), dims[0], value_dim, hidden)


def words(row: Row) -> dict[str, str]:
    """The options of a row, a network of practice spelt out, as name → value; a later one takes the place of another.

    >>> from assay.conformance.interface.suite import Row
    >>> words(Row("smoke", "normal", "1x1:2:2", ("t5", "act=gelu")))["act"]
    'gelu'
    """
    spelt = " ".join(NETWORKS.get(option, option) for option in row.options).split()
    return {name: value for name, _, value in (word.partition("=") for word in spelt)}


def built(row: Row, provenance: Provenance, precision: Precision) -> Instance:
    """The instance of a row.  Options are NAME or NAME=VALUE, or one of :data:`NETWORKS` in their place:

    ``causal``, ``no-skip``; ``scale=X`` in place of 1/√head dim; ``output``: output weights; ``biases``: of queries,
    keys and values, and of the output where there are output weights; ``mask=NAME`` of :data:`MASKS`;
    ``norm=layer`` or ``norm=rms`` with ``epsilon=X``; ``post``, ``final``; ``gains``: gains and biases of the norms,
    ``gains-alone``: no biases, ``shifts``: biases and no gains;
    ``mlp``, ``mlp-biases``, ``gated``, ``act=NAME``;
    ``strength=X``: the size of all weights beside 1/√(numbers that are added).  It is 1/√layers if it is not given, or
    0.4 times that where there is a norm or an MLP: what a class may err grows with it from layer to layer;
    ``queries=X``, ``attention=X``, ``up=X``: that of the queries', of all of attention's, and of the MLP's first ones;
    ``shared``: every layer has the same weights.
    """
    size, chosen = sizes(row), words(row)
    numbers = _Numbers(np.random.default_rng(provenance.seed), chosen, size)
    fields = {"tokens": NUMBERS[row.pattern](numbers.rng, size.length, size.dim)}
    fields |= numbers.attention() | numbers.norms() | numbers.mlp()
    if "shared" in chosen:
        whole = ("tokens", "final_norm_gain", "final_norm_bias")
        fields = {name: x if name in whole else np.repeat(x[:1], size.layers, axis=0) for name, x in fields.items()}
    dtype = dtype_named(precision.storage)
    stored: dict[str, Any] = {name: x.astype(dtype) for name, x in fields.items()}
    return Instance(**stored, **_plain_options(chosen, size.length), provenance=provenance)


def _plain_options(chosen: Mapping[str, str], length: int) -> dict[str, Any]:
    """What is no array of numbers."""
    options: dict[str, Any] = {"skip": "no-skip" not in chosen, "causal": "causal" in chosen}
    options |= {"scale": float(chosen["scale"])} if "scale" in chosen else {}
    options |= {"mask": MASKS[chosen["mask"]](length)} if "mask" in chosen else {}
    if "norm" in chosen:
        options |= {"norm": chosen["norm"], "epsilon": float(chosen["epsilon"]), "final_norm": "final" in chosen}
        options |= {"norm_place": "post" if "post" in chosen else "pre"}
    return options | ({"activation": chosen["act"]} if "act" in chosen and "mlp" in chosen else {})


@dataclass(frozen=True)
class _Numbers:
    """The arrays of a row, by the fields of the instance."""

    rng: Generator
    chosen: Mapping[str, str]
    size: Sizes

    def factor(self, name: str, usual: float = 1.0) -> float:
        return float(self.chosen.get(name, usual))

    def matrices(self, *shape: int) -> Array:
        gentle = _GENTLE if {"norm", "mlp"} & set(self.chosen) else 1.0
        strength = self.factor("strength", gentle / np.sqrt(self.size.layers))
        return np.asarray(self.rng.standard_normal(shape) * strength / np.sqrt(shape[-2]))

    def vectors(self, *shape: int) -> Array:
        return 0.5 * self.rng.standard_normal(shape)

    def attention(self) -> dict[str, Array]:
        size, factor = self.size, self.factor("attention")
        layers, h, h_k, d, k, v = size.layers, size.heads, size.key_heads, size.dim, size.head_dim, size.value_dim
        joined = "output" in self.chosen
        made = {
            "query_weights": self.factor("queries") * factor * self.matrices(layers, h, d, k),
            "key_weights": factor * self.matrices(layers, h_k, d, k),
            "value_weights": factor * self.matrices(layers, h_k, d, v) / (1.0 if joined else np.sqrt(h)),
        }
        if joined:
            made["output_weights"] = factor * self.matrices(layers, h, v, d) / np.sqrt(h)
        if "biases" in self.chosen:
            shapes = {"query": (h, k), "key": (h_k, k), "value": (h_k, v), **({"output": (d,)} if joined else {})}
            made |= {f"{name}_bias": self.vectors(layers, *shape) for name, shape in shapes.items()}
        return made

    def norms(self) -> dict[str, Array]:
        chosen = self.chosen
        made: dict[str, Array] = {}
        if "norm" not in chosen or not {"gains", "gains-alone", "shifts"} & set(chosen):
            return made
        for place in ("attention", *(["mlp"] if "mlp" in chosen else []), *(["final"] if "final" in chosen else [])):
            shape = (self.size.dim,) if place == "final" else (self.size.layers, self.size.dim)
            signs = np.where(np.arange(self.size.dim) % 4 == 3, -1.0, 1.0)
            if "shifts" not in chosen:
                made[f"{place}_norm_gain"] = signs * np.exp2(self.rng.uniform(-0.5, 0.5, shape))
            if chosen["norm"] == "layer" and "gains-alone" not in chosen:
                made[f"{place}_norm_bias"] = self.vectors(*shape)
        return made

    def mlp(self) -> dict[str, Array]:
        chosen, layers, d, f = self.chosen, self.size.layers, self.size.dim, self.size.hidden
        if "mlp" not in chosen:
            return {}
        made = {"up_weights": self.factor("up") * self.matrices(layers, d, f)}
        made["down_weights"] = self.matrices(layers, f, d)
        made |= {"gate_weights": self.matrices(layers, d, f)} if "gated" in chosen else {}
        return made | (
            {"up_bias": self.vectors(layers, f), "down_bias": self.vectors(layers, d)} if "mlp-biases" in chosen else {}
        )


def _other_weights(*names: str) -> Callable[[Instance], Instance]:
    """Other numbers in some of the arrays of weights: backwards along every axis, and negated."""

    def change(instance: Instance) -> Instance:
        arrays = {name: x for name, x in instance.arrays().items() if name in names}
        turned = {
            name: np.ascontiguousarray(np.flip(-x.astype(np.float64), (-2, -1))).astype(x.dtype)
            for name, x in arrays.items()
        }
        return instance.replace(**turned)

    return change


#: What another call differs in: what a kernel may keep from it, under a key that does not tell the two apart.
CHANGES: dict[str, Callable[[Instance], Instance]] = {
    **SHARED,
    "tokens": lambda i: i.replace(tokens=np.ascontiguousarray(-i.tokens[::-1])),
    "weights": _other_weights("query_weights", "key_weights"),
    "values": _other_weights("value_weights", "output_weights"),
    "mlp": _other_weights("up_weights", "down_weights"),
    "causal": lambda i: i.replace(causal=not i.causal),
    "scale": lambda i: i.replace(scale=2.0 * (i.scale or 0.0) + 0.25),
    "epsilon": lambda i: i if i.norm is None else i.replace(epsilon=100.0 * (i.epsilon or 0.0) + 0.1),
    "shorter": lambda i: i.part(length=range(max(len(i.tokens) - 1, 1))),
}
