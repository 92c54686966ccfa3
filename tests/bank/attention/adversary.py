"""Inputs on which correct kernels err most: patterns of worst cases, and a search that climbs from them.

Soundness is that no correct kernel ever errs by more than its tolerance; a search that tries to make one do so asks
more of a tolerance than any number of random inputs.  The score of an instance is the largest ratio of error to
tolerance over its elements.  Everything is a function of seeds: the same seeds, the same instances.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

from assay.conformance.attention.criteria import criteria
from assay.conformance.attention.interface import INTERFACE
from assay.conformance.attention.options import build
from assay.conformance.interface import targets
from assay.conformance.interface.kernel import Kernel
from assay.conformance.softmax.patterns import PATTERNS, Filled, Shape
from assay.spec.precision import Precision, precision
from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from assay.spec.attention import Instance
    from bank.entry import Entry

    Array = NDArray[Any]

__all__ = ["ADVERSE", "Found", "climb", "drawn", "instance_of", "ratios", "referenced", "start"]


# --- the score --------------------------------------------------------------------------------------------------------


@functools.cache
def kernel_of(entry: Entry) -> Kernel:
    """The kernel of an entry of the bank, with the capabilities that its signature names."""
    return targets.kernel_of(entry.function, "attention")


def ratios(entry: Entry, instance: Instance, known: Any) -> dict[str, Array] | None:
    """Output → error/tolerance of every element that is judged (finite tolerance); None where the kernel cannot do it.

    ``known`` is :func:`referenced` of the instance in the class.  A kernel without ``return_lse`` is asked for the
    output alone.
    """
    kernel, bounds = kernel_of(entry), known[1]
    if instance.return_lse and "return_lse" not in kernel.keywords:
        instance = instance.replace(return_lse=False)
    if INTERFACE.lacking(kernel, INTERFACE.needs(instance)):
        return None
    (step,) = INTERFACE.script(instance, kernel, known[0])
    try:
        with np.errstate(all="ignore"):
            results = entry.function(*(array for _, array in step.arrays), **step.keywords)
    except NotImplementedError:
        return None
    given = results if isinstance(results, tuple) else (results,)
    found = {}
    for output, result in zip(step.outputs, given, strict=True):
        criterion = bounds[output.name]
        found[output.name] = np.where(np.isfinite(criterion.allowed), criterion.ratio(result), np.nan)
    return found


_PLAIN = Kernel("none", lambda: None)


def referenced(instance: Instance, name: str | Precision) -> Any:
    """(class, output → criterion) of an instance, for :func:`ratios` of all kernels of the class."""
    u = precision(name)
    return u, criteria(instance, _PLAIN, u)


# --- patterns ---------------------------------------------------------------------------------------------------------


def _scores(rng: np.random.Generator, s: Shape, scores: Array, values: Array) -> Filled:
    """Given scores (keys,) through one active dimension at scale 1, given values (keys,) in every column."""
    q, k = np.zeros(s.query), np.zeros(s.key)
    q[..., 0] = 1.0
    k[..., 0] = scores
    v = np.broadcast_to(values[:, None], s.value) * np.where(rng.random(s.value_dim) < 0.5, 1.0, 1.0 + 2.0**-9)
    return q, k, v, {"scale": 1.0}


def _stagnating(bits: int) -> Callable[[np.random.Generator, Shape], Filled]:
    """After a first weight of 1 every weight is just below half an ulp of it and every weighted value just above.

    A running row sum loses all of them, a running numerator rounds up at each: both err by a rounding a key, away from
    each other (bits: of the significand of sums).
    """

    def pattern(rng: np.random.Generator, s: Shape) -> Filled:
        half = 2.0**-bits
        margin = 24 * 16.0 * half  # over what a score near −16, −37 and its exp round
        scores = np.full(s.keys, math.log(half) + math.log1p(-margin))
        scores[0] = 0.0
        values = np.full(s.keys, 1.0 + 4 * margin)
        values[0] = 1.0
        q, k, _, fields = _scores(rng, s, scores, values)
        return q, k, np.broadcast_to(values[:, None], s.value).copy(), fields

    return pattern


def _one_way(rng: np.random.Generator, s: Shape) -> Filled:
    """Equal weights and equal values of one full mantissa: every rounding of a column goes the same way."""
    values = 1.0 + rng.random(s.value_dim)
    return np.zeros(s.query), np.zeros(s.key), np.broadcast_to(values, s.value).copy(), {}


def _far_shift(rng: np.random.Generator, s: Shape) -> Filled:
    """Scores at a huge offset, a constant value: roundings of maxima and log-sum-exps alone."""
    level = float(rng.choice([-1.0, 1.0])) * 10.0 ** float(rng.uniform(1, 4.5))
    return _scores(rng, s, level + rng.standard_normal(s.keys), np.full(s.keys, 1.0 + float(rng.random())))


def _steps(rng: np.random.Generator, s: Shape) -> Filled:
    """The maximum rises by an odd step every 16 keys: as many rescalings as the model allows."""
    step = float(rng.uniform(0.01, 8.0))
    return _scores(rng, s, step * (np.arange(s.keys) // 16), np.where(np.arange(s.keys) < 16, 1.0, float(rng.normal())))


def _edge_of_exp(rng: np.random.Generator, s: Shape) -> Filled:
    """Weights around the least normal number before values that make up for it: flushing at its worst."""
    scores = rng.uniform(-104.0, -84.0, s.keys)
    scores[int(rng.integers(s.keys))] = 0.0
    values = np.exp(-np.maximum(scores, -68.0)) * rng.choice([-1.0, 1.0], s.keys)
    return _scores(rng, s, scores, values)


def _least_values(rng: np.random.Generator, s: Shape) -> Filled:
    """Outputs among the subnormal numbers of half precision: absolute roundings."""
    q, k = rng.standard_normal(s.query), rng.standard_normal(s.key)
    return q, k, 2.0**-24 * rng.integers(-3, 4, s.value), {}


def _cancelling_products(rng: np.random.Generator, s: Shape) -> Filled:
    """Dot products that cancel: scores small beside Σ|q||k|."""
    q, k = np.abs(rng.standard_normal(s.query)) + 0.5, rng.standard_normal(s.key)
    k[..., 1::2] = -k[..., : s.dim - s.dim % 2 : 2]
    size = 10.0 ** float(rng.uniform(0, 1.5))
    return size * (q + 0.01 * rng.standard_normal(s.query)), k, np.sign(rng.standard_normal(s.value)), {}


def _two_groups(rng: np.random.Generator, s: Shape) -> Filled:
    """Two groups of keys, equally heavy, values ±1: common errors of weights at their worst (ATT-2)."""
    depth = float(rng.uniform(0, 12))
    light = np.arange(s.keys) > 0
    scores = np.where(light, -depth, -depth + math.log(max(1, s.keys - 1)))
    return _scores(rng, s, scores, np.where(light, 1.0, -1.0))


def _rounding_weights(rng: np.random.Generator, s: Shape) -> Filled:
    """Weights and values whose short roundings are as large as they may be: 1 + half an ulp of 8, 11 or 4 bits."""
    bits = int(rng.choice([3, 7, 10]))
    scores = np.full(s.keys, math.log((1.0 + 2.0 ** -(bits + 1)) / 2)) + 1e-3 * rng.standard_normal(s.keys)
    scores[0] = 0.0
    return _scores(rng, s, scores, 1.0 + 2.0**-bits * rng.integers(0, 3, s.keys))


def _edge_of_range(rng: np.random.Generator, s: Shape) -> Filled:
    """Values, or scores, a little inside the domain (TOL-6): what a kernel forms on its way must not overflow."""
    top = 0.9 * float(np.finfo(np.float32).max) / (2 * (s.keys + 1) * 256)
    value = float(rng.choice([top, 65000.0, 1.0])) * rng.choice([-1.0, 1.0], s.keys)
    level = float(rng.choice([0.0, 1.0, 10.0 ** float(rng.uniform(0, 37.5))]))
    return _scores(rng, s, level * rng.standard_normal(s.keys), value)


def _subnormals(rng: np.random.Generator, s: Shape) -> Filled:
    """Inputs that a kernel may read as zero, a scale that makes up for some of it."""
    q, k = 1e-39 * rng.standard_normal(s.query), rng.standard_normal(s.key)
    v = rng.choice([1e-39, 1e-38, 1.0], s.value) * rng.standard_normal(s.value)
    return q, k * 10.0 ** float(rng.uniform(0, 20)), v, {"scale": 10.0 ** float(rng.uniform(0, 20))}


#: name → pattern; with those of the judge, where searches begin
ADVERSE: dict[str, Callable[[np.random.Generator, Shape], Filled]] = {
    "stagnating-24": _stagnating(24),
    "stagnating-53": _stagnating(53),
    "one-way": _one_way,
    "far-shift": _far_shift,
    "steps": _steps,
    "edge-of-exp": _edge_of_exp,
    "least-values": _least_values,
    "cancelling-products": _cancelling_products,
    "two-groups": _two_groups,
    "rounding-weights": _rounding_weights,
    "edge-of-range": _edge_of_range,
    "subnormals": _subnormals,
}


def instance_of(pattern: str, shape: Shape, seed: int, u: Precision, options: tuple[str, ...] = ()) -> Instance:
    """The instance of a pattern of the judge or of :data:`ADVERSE`, in the storage type of the class."""
    if pattern in PATTERNS:
        return build("adversary", pattern, shape, options, seed, u)
    plain = build("adversary", "normal", shape, options, seed, u)
    q, k, v, fields = ADVERSE[pattern](np.random.default_rng(seed), shape)
    return plain.replace(**_stored(plain, query=q, key=k, value=v), **fields)


def _stored(instance: Instance, **arrays: Array) -> dict[str, Array]:
    """Arrays in the storage type of an instance, the nearest finite numbers."""
    dtype = instance.query.dtype
    largest = float(ml_dtypes.finfo(dtype).max)
    return {name: np.clip(array, -largest, largest).astype(dtype) for name, array in arrays.items()}


# --- random instances -------------------------------------------------------------------------------------------------

#: many elements a reference: (batch, heads, key heads, queries, keys, dim, columns of V)
_SHAPES = (
    (1, 2, 1, 16, 24, 8, 128),
    (1, 1, 1, 32, 7, 4, 128),
    (2, 2, 2, 8, 33, 16, 128),
    (1, 2, 2, 16, 2, 3, 128),
    (1, 1, 1, 16, 130, 5, 256),
    (3, 1, 1, 4, 65, 8, 256),
    (1, 4, 2, 8, 16, 2, 128),
    (1, 1, 1, 8, 300, 17, 512),
    (1, 2, 2, 16, 1, 8, 128),
)
_OPTION_SETS: tuple[tuple[str, ...], ...] = (
    (),
    (),
    (),
    ("causal",),
    ("mask",),
    ("lengths",),
    ("softcap=3.3",),
    ("bias",),
    ("sink",),
    ("causal", "softcap=11.7", "lse"),
    ("window=5,3",),
    ("bias-low",),
    ("mask-first",),
    ("lse",),
)


def drawn(name: str, seed: int) -> Instance:
    """A random instance of a class: a pattern, a shape with many elements, options — mostly none."""
    rng = np.random.default_rng([seed, sum(map(ord, name))])
    patterns = (*PATTERNS, *ADVERSE)
    shape = Shape(*_SHAPES[int(rng.integers(len(_SHAPES)))])
    options = _OPTION_SETS[int(rng.integers(len(_OPTION_SETS)))]
    pattern = patterns[int(rng.integers(len(patterns)))]
    return instance_of(pattern, shape, int(rng.integers(2**31)), precision(name), options)


# --- the search -------------------------------------------------------------------------------------------------------

_LENGTHS = (1, 2, 3, 5, 8, 15, 16, 17, 31, 32, 33, 47, 64, 65, 97, 128, 129, 161)
_MUTANTS = 6
_MOST_KEYS = 400


@dataclass(frozen=True)
class Found:
    """What a climb came to."""

    kernel: str
    precision: str
    output: str
    pattern: str
    seed: int
    ratio: float
    instance: Instance  # one batch


def start(entry: Entry, u: Precision, seed: int, *, lse: bool = False) -> tuple[str, Instance]:
    """(pattern, instance) where a climb begins: the pattern goes round with the seed, the sizes are drawn."""
    patterns = (*ADVERSE, *PATTERNS)
    pattern = patterns[seed % len(patterns)]
    rng = np.random.default_rng([seed, sum(map(ord, u.name))])
    keys = int(rng.choice(_LENGTHS))
    if "stagnating" in pattern:
        keys = int(rng.choice([65, 129, 257, 385]))
    shape = Shape(1, 1, 1, 2, keys, int(rng.choice([1, 2, 3, 4, 8, 16])), 4)
    keywords = kernel_of(entry).keywords
    able = [(), (), ()]
    able += [("softcap=2.3",), ("softcap=17.1",)] if "softcap" in keywords else []
    able += [("bias",), ("bias-low",)] if "bias" in keywords else []
    able += [("mask",)] if "mask" in keywords else []
    able += [("sink",)] if "sink" in keywords else []
    options: tuple[str, ...] = able[int(rng.integers(len(able)))]
    if lse and "return_lse" in keywords:
        options = (*options, "lse")
    return pattern, instance_of(pattern, shape, int(rng.integers(2**31)), u, options)


def climb(entry: Entry, name: str | Precision, seed: int, generations: int, *, output: str = "output") -> Found:
    """Raise the ratio of a kernel of a class from the starting point of ``seed``.

    A generation is some mutants of the best instance so far, evaluated as one batch; the best of them replaces it
    unless it is worse; longer climbs begin as shorter ones do.  Ends at once above 1.
    """
    u = precision(name)
    rng = np.random.default_rng([seed, len(entry.name)])
    pattern, best = start(entry, u, seed, lse=output == "log_sum_exp")
    height = float(_per_batch(entry, best, u, output)[0])
    for _ in range(generations):
        if height > 1.0:
            break
        try:
            crowd = _mutants(best, rng)
            per = _per_batch(entry, crowd, u, output)
        except (ArithmeticError, InvalidInstance):  # no reference in reach, or not finite
            continue
        winner = int(np.argmax(per))
        if per[winner] >= height:
            height, best = float(per[winner]), crowd.part(batch=[winner])
    return Found(entry.name, u.name, output, pattern, seed, height, best)


def _per_batch(entry: Entry, instance: Instance, u: Precision, output: str) -> Array:
    """The largest ratio of each batch; −1 where no element is judged."""
    found = ratios(entry, instance, referenced(instance, u))
    if found is None or output not in found:
        return np.full(instance.query.shape[0], -1.0)
    flat = found[output].reshape(instance.query.shape[0], -1)
    return np.where(np.isnan(flat), -1.0, flat).max(axis=1)


def _mutants(parent: Instance, rng: np.random.Generator) -> Instance:
    """A batch of mutants of one instance.  One in six generations changes what all of them share: keys or the scale."""
    if rng.random() < 1 / 6:
        parent = _restructured(parent, rng)
    copies = [_mutant(parent, rng) for _ in range(_MUTANTS)]
    joined = {name: np.concatenate([copy[name] for copy in copies]) for name in copies[0]}
    fields = _stored(parent, **{name: joined[name] for name in ("query", "key", "value")})
    if "bias" in joined:
        assert parent.bias is not None
        largest = float(ml_dtypes.finfo(parent.bias.dtype).max)
        fields["bias"] = np.clip(joined["bias"], -largest, largest).astype(parent.bias.dtype)
    return parent.replace(**fields)


def _restructured(parent: Instance, rng: np.random.Generator) -> Instance:
    """Fewer or more keys, another order of keys, another scale."""
    n_k = parent.key.shape[2]
    move = int(rng.integers(5))
    order = np.arange(n_k)
    if move == 0:
        order = np.delete(order, int(rng.integers(n_k))) if n_k > 1 else order
    elif move == 1 and n_k < _MOST_KEYS:
        order = np.insert(order, int(rng.integers(n_k + 1)), int(rng.integers(n_k)))
    elif move == 2 and n_k < _MOST_KEYS // 2:
        order = np.concatenate([order, order[int(rng.integers(n_k)) :]])
    elif move == 3:
        order = rng.permutation(order)
    else:
        assert parent.scale is not None
        return parent.replace(scale=float(parent.scale) * float(rng.choice([-1.0, 0.5, 2.0, 1 + 2.0**-9, 1.1, 0.9])))
    return parent.part(keys=order)


def _mutant(parent: Instance, rng: np.random.Generator) -> dict[str, Array]:
    """One mutant's arrays, as float64, one batch each: one to three moves on query, key, value or bias."""
    arrays = {name: np.array(getattr(parent, name), np.float64) for name in ("query", "key", "value")}
    if parent.bias is not None:
        full = (1, *parent.query.shape[1:3], parent.key.shape[2])
        arrays["bias"] = np.array(np.broadcast_to(parent.bias, full), np.float64)
    bits = 1 - math.log2(float(ml_dtypes.finfo(parent.query.dtype).eps))
    for _ in range(int(rng.integers(1, 4))):
        name = str(rng.choice(list(arrays), p=None if "bias" in arrays else [0.2, 0.35, 0.45]))
        array = arrays[name][0, 0]
        row = int(rng.integers(array.shape[0]))
        column = slice(None) if rng.random() < 0.3 else int(rng.integers(array.shape[1]))
        rows: Any = slice(None) if rng.random() < 0.15 else row
        match int(rng.integers(9)):
            case 0 | 1:  # by some ulps
                array[rows, column] *= 1 + float(rng.integers(-4, 5)) * 2.0**-bits
            case 2:  # by a factor
                array[rows, column] *= float(rng.choice([0.5, 2.0, 0.9, 1.1, 0.99, 1.01, 16.0, 1 / 16]))
            case 3:  # of the other sign
                array[rows, column] *= -1
            case 4:  # as another row
                array[row] = array[int(rng.integers(array.shape[0]))]
            case 5:  # shifted
                array[rows, column] += float(rng.normal()) * float(rng.choice([1e-3, 0.1, 1.0]))
            case 6:  # a mantissa at a tie of a short type, or just beside it
                short = int(rng.choice([4, 8, 11, 24]))
                whole = np.rint(array[row, column] * 2.0 ** (short - 1)) / 2.0 ** (short - 1)
                array[row, column] = whole + 2.0**-short * (1 + float(rng.integers(-1, 2)) * 2.0 ** (short - bits))
            case 7:  # anew
                array[row, column] = rng.normal()
            case _:  # one number everywhere, or 0
                array[rows, column] = float(array[row].flat[0]) if rng.random() < 0.7 else 0.0
    return arrays
