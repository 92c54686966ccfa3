"""Patterns of numbers on which attention kernels fail: what query, key and value hold.

Every pattern is a function of a generator and a shape; it returns float64 arrays that are then rounded to the storage
type of the class.  Only integers, uniform and normal draws of PCG64 are used, so that a seed means the same everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["PATTERNS", "Filled", "Shape"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Shape:
    """Sizes of an instance."""

    batch: int = 1
    heads: int = 1
    key_heads: int = 1
    queries: int = 1
    keys: int = 1
    dim: int = 1
    value_dim: int = 1

    @property
    def query(self) -> tuple[int, int, int, int]:
        return (self.batch, self.heads, self.queries, self.dim)

    @property
    def key(self) -> tuple[int, int, int, int]:
        return (self.batch, self.key_heads, self.keys, self.dim)

    @property
    def value(self) -> tuple[int, int, int, int]:
        return (self.batch, self.key_heads, self.keys, self.value_dim)


Filled = tuple[Array, Array, Array, dict[str, Any]]
Pattern = Callable[[np.random.Generator, Shape], Filled]


def _normal(rng: np.random.Generator, s: Shape) -> Filled:
    return rng.standard_normal(s.query), rng.standard_normal(s.key), rng.standard_normal(s.value), {}


def _large(rng: np.random.Generator, s: Shape) -> Filled:
    q, k, v, _ = _normal(rng, s)
    return 3 * q, 3 * k, v, {"scale": 0.7391 / math.sqrt(s.dim)}


def _zero_scores(rng: np.random.Generator, s: Shape) -> Filled:
    """Uniform attention, which tests the sums alone."""
    return np.zeros(s.query), rng.standard_normal(s.key), 1 + rng.random(s.value), {}


def _scored(rng: np.random.Generator, s: Shape, scores: Array) -> Filled:
    """These scores (keys,): one active dimension, a scale that is no round number, values of full mantissas."""
    scale = 0.8734672
    q = np.zeros(s.query)
    q[..., 0] = 1.0
    k = 0.1 * rng.standard_normal(s.key)
    k[..., 0] = scores / scale
    return q, k, rng.standard_normal(s.value), {"scale": scale}


def _shifted_down(rng: np.random.Generator, s: Shape) -> Filled:
    """Logits that are very negative but finite: this finds a maximum that starts finite, or a finite mask value."""
    return _scored(rng, s, -float(rng.choice([300.0, 3000.0, 30000.0])) + rng.standard_normal(s.keys))


def _shifted_far(rng: np.random.Generator, s: Shape) -> Filled:
    """Logits below every sentinel down to −65504, which a 16-bit type suggests, in factors that such a type holds."""
    scale, depth = 0.8734672, float(rng.choice([7e4, 1.5e5, 6e5]))
    q, k, v = np.zeros(s.query), 0.1 * rng.standard_normal(s.key), rng.standard_normal(s.value)
    q[..., 0] = 256.0
    k[..., 0] = -depth / (256.0 * scale) + rng.standard_normal(s.keys) / 256.0
    return q, k, v, {"scale": scale}


def _shifted_up(rng: np.random.Generator, s: Shape) -> Filled:
    return _scored(rng, s, float(rng.choice([90.0, 300.0, 3000.0])) + rng.standard_normal(s.keys))


def _shifted_constant(rng: np.random.Generator, s: Shape) -> Filled:
    """Large logits and constant values: errors of numerator and denominator must cancel."""
    q, k, _, options = _scored(rng, s, float(rng.choice([100.0, 1000.0])) + rng.standard_normal(s.keys))
    return q, k, np.full(s.value, 1.2345678), options


def _ramp_up(rng: np.random.Generator, s: Shape) -> Filled:
    """The maximum grows with every key, so each rescaling counts."""
    return _scored(rng, s, np.linspace(0.0, 12.0, s.keys))


def _ramp_down(rng: np.random.Generator, s: Shape) -> Filled:
    return _scored(rng, s, np.linspace(12.0, 0.0, s.keys))


def _steep_ramp(rng: np.random.Generator, s: Shape) -> Filled:
    """Logits beyond the range of exp: a missed maximum overflows, and a missed rescaling leaves the first keys in."""
    return _scored(rng, s, np.linspace(-150.0, 150.0, s.keys))


def _staircase(rng: np.random.Generator, s: Shape) -> Filled:
    return _scored(rng, s, 6.0 * (np.arange(s.keys) // 16) + 0.3 * rng.standard_normal(s.keys))


def _slow_staircase(rng: np.random.Generator, s: Shape) -> Filled:
    """Scores that rise by a little every 16 keys, so that rescaling factors near 1 are rounded to a short type."""
    q, k, v, options = _scored(rng, s, np.asarray(0.0019 * (np.arange(s.keys) // 16), np.float64))
    v[:] = np.where(np.arange(s.keys) < s.keys // 2, 1.0, -1.0)[:, None]
    return q, k, v, options


def _row_levels(rng: np.random.Generator, s: Shape) -> Filled:
    """Rows of very different magnitude: this finds a maximum over the whole tile instead of the row."""
    q, k, v, _ = _normal(rng, s)
    levels = 10.0 ** np.linspace(-3, 1.3, s.queries)
    return q * levels[:, None], k, v, {}


def _tiny_weights(rng: np.random.Generator, s: Shape) -> Filled:
    """Weights of 1e-9 on values of 1e9: this finds skipped tiles, flushed exps and half-precision values."""
    scores = np.full(s.keys, -14.0)
    scores[0] = 0.0
    q, k, v, options = _scored(rng, s, scores)
    v[..., 1:, :] *= 2.0**12
    return q, k, v, options


def _planted_tail(rng: np.random.Generator, s: Shape) -> Filled:
    """Only the last key matters."""
    scores = rng.standard_normal(s.keys)
    scores[-1] += 9.0
    return _scored(rng, s, scores)


def _planted(rng: np.random.Generator, s: Shape) -> Filled:
    """Every query matches one key of its own."""
    q, k, v, _ = _normal(rng, s)
    match = rng.integers(0, s.keys, s.queries)
    group = s.heads // s.key_heads
    q = 2.0 * np.repeat(k, group, axis=1)[:, :, match] + 0.1 * q
    return q, k, v, {}


def _alternating(rng: np.random.Generator, s: Shape) -> Filled:
    """Values that cancel, so that errors of single weights stand out."""
    q, k, v, _ = _normal(rng, s)
    sign = 1.0 - 2.0 * (np.arange(s.keys) % 2)
    return 0.1 * q, k, sign[:, None] * (1.0 + 1e-3 * v), {}


def _identity(rng: np.random.Generator, s: Shape) -> Filled:
    """V is the identity, so the output is the matrix of probabilities."""
    q, k, _, _ = _normal(rng, s)
    eye = np.zeros(s.value)
    index = np.arange(min(s.keys, s.value_dim))
    eye[..., index, index] = 1.0
    return q, k, eye, {}


def _constant(rng: np.random.Generator, s: Shape) -> Filled:
    """V is constant, and so is the output, whatever the weights are."""
    q, k, _, _ = _normal(rng, s)
    return q, k, np.full(s.value, 1.7654321), {}


def _alike_queries(rng: np.random.Generator, s: Shape) -> Filled:
    """Queries within 1e-3 of the first, before keys so large that the rows differ all the same."""
    q, k, v, _ = _normal(rng, s)
    q[:] = q[:, :, :1] / 16 + 2.0**-11 * rng.uniform(-1.0, 1.0, s.query)
    return q, 512.0 * k, v, {"scale": 0.5}


def _integers(rng: np.random.Generator, s: Shape) -> Filled:
    """Scores that are exact in every class."""
    q, k = rng.integers(-3, 4, s.query).astype(float), rng.integers(-3, 4, s.key).astype(float)
    return q, k, rng.standard_normal(s.value), {"scale": 0.5}


def _huge_values(rng: np.random.Generator, s: Shape) -> Filled:
    q, k, v, _ = _normal(rng, s)
    return q, k, 2.0**9 * v, {}


def _tiny_values(rng: np.random.Generator, s: Shape) -> Filled:
    q, k, v, _ = _normal(rng, s)
    return q, k, 2.0**-10 * v, {}


def _odd_scale(rng: np.random.Generator, s: Shape) -> Filled:
    """A scale of full mantissa and large logits: this finds a scale that is rounded to a short type."""
    q, k, v, _ = _normal(rng, s)
    return 4 * q, 4 * k, v, {"scale": 1.0039 * 0.33331 / math.sqrt(s.dim)}


def _zero_scale(rng: np.random.Generator, s: Shape) -> Filled:
    q, k, v, _ = _normal(rng, s)
    return q, k, v, {"scale": 0.0}


def _negative_scale(rng: np.random.Generator, s: Shape) -> Filled:
    q, k, v, _ = _normal(rng, s)
    return q, k, v, {"scale": -0.4217}


def _raw_large(rng: np.random.Generator, s: Shape) -> Filled:
    """Raw products beyond 65504 and a small scale, which every class with float32 scores can hold."""
    q, k, v, _ = _normal(rng, s)
    return 150 * (1 + 0.01 * q), 150 * (1 + 0.01 * k), v, {"scale": 1.01 / (150.0 * 150.0 * s.dim) * 40.0}


def _small_numbers(rng: np.random.Generator, s: Shape) -> Filled:
    """Minus zero, subnormals of half precision, exact zeros among normal numbers."""
    q, k, v, _ = _normal(rng, s)
    for array in (q, k, v):
        which = rng.integers(0, 4, array.shape)
        array[which == 1] *= 2.0**-17
        array[which == 2] = -0.0
    return q, k, v, {}


def _two_levels(rng: np.random.Generator, s: Shape) -> Filled:
    """Two kinds of keys whose exps are far from round, with values ±1: a biased exp moves the output by its bias."""
    scores = np.where(np.arange(s.keys) % 2 == 0, 0.0, -float(rng.uniform(0.2, 3.0)))
    q, k, v, options = _scored(rng, s, scores)
    v[:] = (1.0 - 2.0 * (np.arange(s.keys) % 2))[:, None]
    return q, k, v, options


def _biased_exp(rng: np.random.Generator, s: Shape) -> Filled:
    """Many keys of one score against one key of another: a bias of exp at that argument shows undiluted."""
    depth = float(rng.choice([0.35, 0.5, 0.69, 1.0, 2.77, 5.1])) + float(rng.uniform(0, 0.3))
    scores = np.full(s.keys, -depth)
    scores[0] = 0.0
    q, k, v, options = _scored(rng, s, scores)
    v[:] = 1.0
    v[..., 0, :] = -1.0
    return q, k, v, options


def _deep_weights(rng: np.random.Generator, s: Shape, least: float = 60.0) -> Filled:
    """Weights about e^−60 on values as much larger, so that all count: this finds an exp that is exact near 0 alone."""
    depths = least * rng.uniform(1.0, 1.1, s.keys)
    depths[0] = 0.0
    q, k, v, options = _scored(rng, s, -depths)
    v *= np.exp(depths - depths.max())[:, None]
    return q, k, v, options


def _deepest_weights(rng: np.random.Generator, s: Shape) -> Filled:
    """Weights near the end of float64's exponents, on values as much larger; in shorter types these weights are 0."""
    return _deep_weights(rng, s, 600.0)


def _positive_sum(rng: np.random.Generator, s: Shape) -> Filled:
    """Long rows of equal weights with values near 1: sums in a short type stagnate."""
    return 0.02 * rng.standard_normal(s.query), rng.standard_normal(s.key), 1 + 0.1 * rng.random(s.value), {}


def _unlike_heads(rng: np.random.Generator, s: Shape) -> Filled:
    """Scores of one head or batch 100 above another's, which no output shows: a maximum that heads share."""
    q, k, v, _ = _normal(rng, s)
    scale, level = 0.3137, 100.0 * ((np.arange(s.batch)[:, None] + 2 * np.arange(s.heads)) % 3 - 1)
    q[..., -1], k[..., -1] = (level / (16 * scale))[:, :, None], 16.0
    return q, k, v, {"scale": scale}


def _saturating(rng: np.random.Generator, s: Shape) -> Filled:
    """Scores of both signs, from 300 to 2000: a softcap of a few units is hundreds of times as small."""
    return _scored(rng, s, rng.choice([-1.0, 1.0], s.keys) * rng.uniform(300.0, 2000.0, s.keys))


def _cancelling_tiles(rng: np.random.Generator, s: Shape) -> Filled:
    """Equal weights; tiles of 16, 32, 64 or 128 keys whose partial outputs cancel, so that their roundings are left."""
    k, v = rng.standard_normal(s.key), rng.standard_normal(s.value)
    tile = int(rng.choice([16, 32, 64, 128]))
    sign = 1.0 - 2.0 * ((np.arange(s.keys) // tile) % 2)
    return np.zeros(s.query), k, sign[:, None] * 8.0 + 2.0**-6 * v, {}


def _late_values(rng: np.random.Generator, s: Shape) -> Filled:
    """Equal weights, values of one sign that are larger from the middle on: a running mean in a short type stays."""
    late = np.where(np.arange(s.keys) < s.keys // 2, 1.0, 2.0)
    return np.zeros(s.query), rng.standard_normal(s.key), late[:, None] + 2.0**-4 * rng.random(s.value), {}


def _faint_weights(rng: np.random.Generator, s: Shape) -> Filled:
    """Most of the weight on values of 0, the rest on few keys: less than half precision holds of a share of the whole.

    A weight relative to the row's largest, 1.3·2^-14, is a normal number; as a share of a long row it is not.
    """
    few = np.arange(s.keys) % 16 == 5
    q, k, v, options = _scored(rng, s, np.where(few, math.log(1.3 * 2.0**-14), 0.0))
    v[:] = np.where(few[:, None], 1.0 + rng.random(s.value), 0.0)
    return q, k, v, options


#: name → pattern
PATTERNS: dict[str, Pattern] = {
    "normal": _normal,
    "large": _large,
    "zero-scores": _zero_scores,
    "shifted-down": _shifted_down,
    "shifted-far": _shifted_far,
    "shifted-up": _shifted_up,
    "shifted-constant": _shifted_constant,
    "ramp-up": _ramp_up,
    "ramp-down": _ramp_down,
    "steep-ramp": _steep_ramp,
    "staircase": _staircase,
    "slow-staircase": _slow_staircase,
    "row-levels": _row_levels,
    "tiny-weights": _tiny_weights,
    "planted-tail": _planted_tail,
    "planted": _planted,
    "alternating": _alternating,
    "identity": _identity,
    "alike-queries": _alike_queries,
    "constant": _constant,
    "integers": _integers,
    "huge-values": _huge_values,
    "tiny-values": _tiny_values,
    "odd-scale": _odd_scale,
    "zero-scale": _zero_scale,
    "negative-scale": _negative_scale,
    "raw-large": _raw_large,
    "small-numbers": _small_numbers,
    "two-levels": _two_levels,
    "biased-exp": _biased_exp,
    "positive-sum": _positive_sum,
    "deep-weights": _deep_weights,
    "deepest-weights": _deepest_weights,
    "unlike-heads": _unlike_heads,
    "saturating": _saturating,
    "cancelling-tiles": _cancelling_tiles,
    "late-values": _late_values,
    "faint-weights": _faint_weights,
}
