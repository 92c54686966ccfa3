"""Where an attention kernel loses precision: probes that are exact in every stage but one.

A probe has few keys, and numbers that make every stage but its own exact even in a very short type: scores that are
zero or make every weight a power of two, values of a few bits, sums and outputs that are short dyadic numbers.  An
error beyond the tolerance of the class is then an error of that stage.  Where a probe cannot avoid another stage,
``explained_by`` names that stage, and the simplest explanation is reported.

Numbers come from ladders 1 + ¾·2^−p.  A type of p significant bits, whether it rounds or truncates, is the first to
lose the last part, so the least p that fails counts the bits that were kept.
"""

from __future__ import annotations

import functools
import math
from decimal import Context, Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

from assay.conformance.diagnosis.precision import Probe, Stage
from assay.spec.attention import Instance
from assay.spec.floats import dtype_named
from assay.spec.problem import Provenance
from assay.spec.softmax.rounding import Softmax

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from assay.spec.precision import Precision

    Array = NDArray[np.float64]

__all__ = ["stages"]

_DIGITS = Context(prec=60)
_LIMB_BITS = 8  # significant bits of a limb, at most: exact in bfloat16 and in every wider type
_PART = Fraction(3, 4)
_KEYS = 16  # of a probe with many equal weights: one tile of every class
_LONG_ROW = 256  # keys of a probe of sums: a row of ones is summed exactly by a type of 8 bits


_SENTENCES: dict[str, Callable[[float], str]] = {
    "small-weights": lambda bits: f"those of 2^-{bits:.0f} and below, beside the largest"
}


@functools.cache
def stages(precision: Precision) -> tuple[Stage, ...]:
    """The stages of attention, with their probes in the storage type of a class.  Same class, same probes."""
    soft = precision.of(Softmax)
    wide = -math.log2(precision.accumulate)
    short = _bits(precision.storage)
    rows = (
        (
            "scores",
            "the scores",
            -math.log2(precision.product + soft.query_rounding),
            ("argument", "denominator"),
            _scores,
        ),
        (
            "argument",
            "the scale, or another constant of the exponent",
            -math.log2(precision.product),
            ("scores", "denominator"),
            _argument,
        ),
        ("denominator", "the denominator, to which something is added", wide, (), _denominator),
        (
            "normalised",
            "the probabilities, rounded after normalising",
            _or(soft.probability, wide),
            ("denominator",),
            _normalised,
        ),
        ("accumulation", "the accumulation of probabilities times values", wide, (), _accumulation),
        ("output", "the output", _or(precision.output, wide), ("denominator", "normalised"), _output),
        (
            "values",
            "the values",
            _or(soft.value_rounding, short),
            ("denominator", "output", "accumulation"),
            _values,
        ),
        ("row-sum", "the row sum", _or(soft.row_sum, wide), ("denominator", "output", "scores"), _row_sum),
        (
            "exp",
            "the exponential",
            -math.log2(soft.exp),
            ("argument", "denominator", "output", "row-sum", "scores"),
            _exp,
        ),
        (
            "probabilities",
            "the probabilities, rounded before the product with the values",
            _or(soft.probability, wide),
            ("denominator", "accumulation", "row-sum"),
            _probabilities,
        ),
        (
            "summed-probabilities",
            "the probabilities, rounded before they are summed",
            _or(soft.probability, wide),
            ("output", "row-sum", "scores", "exp", "probabilities"),
            _summed_probabilities,
        ),
        (
            "small-weights",
            "small weights, which are dropped",
            -math.log2(soft.flush),
            ("output", "row-sum", "scores", "exp", "summed-probabilities"),
            _small_weights,
        ),
    )
    table = [
        Stage(name, words, bits, explained, build(precision), _SENTENCES.get(name))
        for name, words, bits, explained, build in rows
    ]
    others = tuple(stage.id for stage in table)
    factor = -math.log2(soft.rescale)
    table.append(Stage("rescaling", "the factors that rescale earlier sums", factor, others, _rescaling(precision)))
    return tuple(table)


def _or(roundoff: float, otherwise: float) -> float:
    """The significant bits of a roundoff; ``otherwise`` if nothing is rounded there."""
    return -math.log2(roundoff) if roundoff else otherwise


# --- numbers ----------------------------------------------------------------------------------------------------------


def _bits(dtype: str) -> int:
    return int(ml_dtypes.finfo(dtype_named(dtype)).nmant) + 1  # type: ignore[no-untyped-call]


def _ladder(least: int, most: int) -> list[tuple[int, Fraction]]:
    return [(p, 1 + _PART / 2**p) for p in range(least, most + 1)]


@functools.cache
def _log(x: Fraction) -> Fraction:
    """ln x to 60 digits."""
    return Fraction(_DIGITS.ln(_DIGITS.divide(Decimal(x.numerator), Decimal(x.denominator))))


def _limbs(x: Fraction, count: int, dtype: str) -> list[float]:
    """x as a sum of ``count`` numbers of few bits, the largest first, up to a remainder below 2^(−bits·count)·x."""
    bits = min(_LIMB_BITS, _bits(dtype))
    limbs = []
    for _ in range(count):
        if x == 0:
            limbs.append(0.0)
            continue
        power = math.floor(math.log2(abs(x))) - bits + 1
        unit = Fraction(2) ** power
        limb = round(x / unit) * unit
        limbs.append(float(limb))
        x -= limb
    return limbs


def _limb_count(precision: Precision) -> int:
    """The number of limbs that make a score exact beside the roundings of the class."""
    bits = -math.log2(precision.product) + 4
    return math.ceil(bits / min(_LIMB_BITS, _bits(precision.storage)))


def _instance(
    precision: Precision, query: Sequence[float], keys: Sequence[Sequence[float]], values: Any, scale: float = 1.0
) -> Instance:
    """An instance with one query (d,), keys (n, d) and values (n, d_v), in the storage type of the class."""
    dtype = dtype_named(precision.storage)
    q, k, v = (np.asarray(numbers, np.float64)[None, None] for numbers in ([query], keys, values))
    short, *others = (array.astype(dtype) for array in (q, k, v))
    assert np.array_equal(short.astype(float), q)  # what a probe is about must not be lost in storage
    return Instance(short, others[0], others[1], scale=scale, provenance=Provenance(family="stages"))


def _weighted(precision: Precision, weights: Sequence[Fraction], values: Any) -> Instance:
    """An instance with these weights: its scores ln w are sums of limbs that are exact in every type."""
    count = _limb_count(precision)
    logs = [Fraction(0) if w == 1 else _log(w) for w in weights]
    return _instance(precision, [1.0] * count, [_limbs(x, count, precision.storage) for x in logs], values)


def _uniform(precision: Precision, values: Any) -> Instance:
    """An instance with equal scores."""
    return _instance(precision, [0.0], [[0.0]] * len(values), values)


def _kept(exact: Any, unit: Any) -> Callable[[Array], Array]:
    """The bits that are left by an error, in units of ``unit``."""

    def bits(value: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(-np.log2(np.abs(value - exact) / unit), np.float64)

    return bits


def _lost(rest: float, bits: float) -> Callable[[Array], Array]:
    """``bits`` if the output 1/(1 + rest) shows that the rest was lost, and otherwise no loss of this kind."""

    def seen(value: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(np.abs(1 / value - 1) < rest / 2, bits, np.inf)

    return seen


# --- probes, stage by stage -------------------------------------------------------------------------------------------


def _scores(u: Precision) -> tuple[Probe, ...]:
    """Two keys have large scores whose difference makes the second weight 2^−m, and the values make the output 2^m.

    The first score is one product of full mantissas, and the second is a sum of limbs.  The weight is a little above
    its power of two, so that neither rounding nor truncation of it costs more than that.
    """
    soft = u.of(Softmax)
    roundoff = u.product + soft.query_rounding / 2 + soft.stored_times * soft.stored_score
    most = min(9, math.floor(-6 - math.log2(roundoff)))
    return (*_scores_of(u, 2.0**most, roundoff), *_scores_of(u, 2.0 ** (most - 4), roundoff)[::2])


def _scores_of(u: Precision, size: float, roundoff: float) -> list[Probe]:
    """Probes with scores between ``size`` and four times ``size``."""
    extra = Fraction(4 * size * roundoff)
    count = _limb_count(u)
    dtype = dtype_named(u.storage)
    rng = np.random.default_rng(7)

    def probe(first: float, second: float, scale: float, m: int) -> Probe:
        first, second = (float(np.asarray(x).astype(dtype)) for x in (first, second))
        lag = m * _log(Fraction(2)) - extra
        limb = size / 32
        target = (Fraction(first) * Fraction(second) - lag / Fraction(scale)) / Fraction(limb)
        query = [first, *[limb] * count]
        keys = [[second, *[0.0] * count], [0.0, *_limbs(target, count, u.storage)]]
        top = 2.0**m + 1

        def bits(value: Array) -> Array:
            with np.errstate(divide="ignore", invalid="ignore"):
                seen = -np.log(top / np.asarray(value, np.longdouble) - 1)
                error = np.abs(seen - float(lag)) / (scale * first * second)
                return np.where(np.isfinite(seen), -np.log2(error.astype(np.float64)), np.nan)

        return Probe(_instance(u, query, keys, [[top], [0.0]], scale), bits)

    ladder = _ladder(3, min(_bits(u.storage) - 3, 26))
    probes = [probe(size / 16 * float(x), 16.0, 1.0, 1) for _, x in ladder]
    probes += [probe(size / 16, 16.0 * float(x), 1.0, 1) for _, x in ladder]
    probes += [probe(size / 16 * float(x), 16.0 * float(x), 1.0, 1) for _, x in ladder]
    for number in range(6):
        first, second = (1 + rng.random(2)) * (size / 16, 8.0)
        probes.append(probe(first, second, 1.0 if number < 3 else 0.8734672, 1 + number % 3))
    return probes


def _argument(u: Precision) -> tuple[Probe, ...]:
    """Keys such as −3m with the scale ln 2/3: the weights are 2^−m if the scale and log₂e are what they should be."""
    probes = []
    for m, unit in ((1, 1), (2, 3), (3, 5), (3, 3), (1, 7)):
        top, scale = 2.0**m + 1, math.log(2.0) / unit * (1 - 8 * u.product)

        def bits(value: Array, top: float = top, lag: float = m * unit * scale) -> Array:
            with np.errstate(divide="ignore", invalid="ignore"):
                seen = -np.log(top / np.asarray(value, np.longdouble) - 1)
                return np.asarray(-np.log2(np.abs(seen / lag - 1)), np.float64)

        probes.append(Probe(_instance(u, [1.0], [[0.0], [-m * unit]], [[top], [0.0]], scale), bits))
    return tuple(probes)


def _denominator(u: Precision) -> tuple[Probe, ...]:
    """One key with the value 1: nothing is rounded."""
    return (Probe(_uniform(u, [[1.0]]), _kept(1.0, 1.0)),)


def _normalised(u: Precision) -> tuple[Probe, ...]:
    """Equal scores and equal values: only a stored 1/n is rounded."""
    return tuple(Probe(_uniform(u, [[1.0]] * n), _kept(1.0, 1.0)) for n in (3, 5, 7, 11, 13))


def _output(u: Precision) -> tuple[Probe, ...]:
    """Equal scores and small integers as values: the sums are exact, but their quotient is not."""
    probes = []
    for n in (3, 5, 7, 11, 13):
        values = np.zeros((n, 5))
        values[0] = (1, 2, 3, 5, 7)
        exact = values[0] / n
        probes.append(Probe(_uniform(u, values), _kept(exact, exact)))
    return tuple(probes)


def _accumulation(u: Precision) -> tuple[Probe, ...]:
    """Equal scores, a large value and its negative, and between them values 2^a times smaller, which a bits lose."""
    bits = _bits(u.storage)
    powers = np.arange(3, {4: 8, 8: 10, 11: 13, 24: 17}.get(bits, 40) + 1)
    values = np.zeros((_LONG_ROW, len(powers)))
    large = 2.0 ** np.minimum(powers, 7)  # neither is out of the range of a short type
    values[8::16] = large / 2.0**powers
    values[0], values[-1] = large, -large
    return (Probe(_uniform(u, values), lambda value: np.broadcast_to(powers.astype(float), value.shape)),)


def _values(u: Precision) -> tuple[Probe, ...]:
    """One key: the output is the value of this key."""
    values = [float(x) for _, x in _ladder(3, _bits(u.storage) - 3)] + [1.25]
    return (Probe(_uniform(u, [values]), _kept(values, values)),)


def _row_sum(u: Precision) -> tuple[Probe, ...]:
    """A weight 2^−m beside 1, if the class resolves it, and otherwise more ones than a short type can count."""
    soft = u.of(Softmax)
    bits = _bits(u.storage)
    if bits >= 24 and not soft.query_rounding:
        return tuple(
            Probe(_weighted(u, [Fraction(1), Fraction(1, 2**m)], [[1.0], [0.0]]), _lost(2.0**-m, m))
            for m in range(4, 13 if bits == 24 else 29)
        )
    n = 2 ** (min(bits, 11) + 1)
    values = np.zeros((n, 1))
    values[0] = 1.0
    return (Probe(_uniform(u, values), lambda value: -np.log2(np.maximum(value, 2.0**-60))),)


def _exp(u: Precision) -> tuple[Probe, ...]:
    """One weight 1 with a value, and many weights of four significant bits, which no rounding changes."""
    above = Fraction(1) + Fraction(8 * u.product)
    return tuple(
        _beside_one(u, Fraction(numerator, 16) * above / 2**shift)
        for shift in (0, 2)
        for numerator in (9, 10, 11, 12, 13, 14, 15)
    )


def _beside_one(u: Precision, weight: Fraction) -> Probe:
    """The output 1/(1 + (n − 1)w), which shows what the weights are in the row sum."""
    others = _KEYS - 1
    values = np.zeros((_KEYS, 1))
    values[0] = 1.0

    def bits(value: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            seen = (1 / np.asarray(value, np.longdouble) - 1) / others
            return -np.log2(np.abs(seen / float(weight) - 1).astype(np.float64))

    return Probe(_weighted(u, [Fraction(1), *[weight] * others], values), bits)


def _weights(u: Precision) -> list[Fraction]:
    """Weights of which types of growing length lose a part."""
    most = {53: 30, 24: 14}.get(_bits(u.storage), _bits(u.storage))
    return [x / 4 for _, x in _ladder(3, most)]


def _probabilities(u: Precision) -> tuple[Probe, ...]:
    """Values of 1: an error of the weights cancels, unless only the numerator has it."""
    others = _KEYS - 1
    return tuple(
        Probe(
            _weighted(u, [Fraction(1), *[weight] * others], np.ones((_KEYS, 1))),
            _kept(1.0, others * float(weight) / (1 + others * float(weight))),
        )
        for weight in _weights(u)
    )


def _summed_probabilities(u: Precision) -> tuple[Probe, ...]:
    return tuple(_beside_one(u, weight) for weight in _weights(u))


def _small_weights(u: Precision) -> tuple[Probe, ...]:
    """Many small weights beside a weight of 1.  If they are dropped, the row sum lacks them.

    The bits are −log₂ of the largest weight that is dropped.
    """
    probes = []
    values = np.zeros((_LONG_ROW, 1))
    values[0] = 1.0
    for depth in (4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 12.0, 14.0):
        keys = [[0.0], *[[-depth]] * (_LONG_ROW - 1)]
        instance = _instance(u, [1.0], keys, values)
        probes.append(Probe(instance, _lost((_LONG_ROW - 1) * math.exp(-depth), depth / math.log(2.0))))
    return tuple(probes)


def _rescaling(u: Precision) -> tuple[Probe, ...]:
    """A row whose second half has the larger score: the sum of the first half is rescaled once, or in every tile."""
    values = np.zeros((_LONG_ROW, 1))
    values[: _LONG_ROW // 2] = 1.0
    probes = []
    for factor in _weights(u):
        row = [Fraction(1)] * (_LONG_ROW // 2) + [1 / factor] * (_LONG_ROW // 2)
        share = float(factor / (1 + factor))
        probes.append(Probe(_weighted(u, row, values), _kept(share, share * (1 - share))))
    return tuple(probes)
