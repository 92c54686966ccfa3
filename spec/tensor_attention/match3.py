"""Match2 and Match3: sums that are 0 modulo M, by one head each, and heads that cannot (TEN-4).

Match2 asks for every token i of x_1, …, x_n whether x_i + x_j ≡ 0 (mod M) for some j, and Match3 whether
x_i + x_j + x_k ≡ 0 for some j and k; j and k may be equal, and may be i (Sanford, Hsu and Telgarsky 2023).  With angles
2πx/M the cosine of a sum of k angles is a sum of 2^(k−1) products, so that a head of order k with so many columns has
scores β·cos(2π(x_i + x_j + …)/M), largest exactly where the sum is 0.

:func:`quantised_heads` says as a formula what an ordinary head with few levels can do, so that a solver decides whether
it computes Match3.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec.floats import dtype_named
from assay.spec.problem import InvalidInstance, Provenance
from assay.spec.tensor_attention.instance import HigherOrder, Instance

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

__all__ = ["MatchingHead", "QuantisedHeads", "matches", "matching_head", "quantised_heads"]

_UNITS = {"float64": 2.0**-53, "float32": 2.0**-24, "bfloat16": 2.0**-8, "float16": 2.0**-11}


def matches(numbers: Sequence[int] | NDArray[Any], modulus: int, order: int) -> NDArray[np.bool_]:
    """(n,): for which i some order − 1 numbers add up with x_i to 0 modulo M, by trying all of them."""
    x = np.asarray(numbers, dtype=np.int64) % modulus
    sums = {0}
    for _ in range(order - 1):
        sums = {(total + int(y)) % modulus for total in sums for y in set(x.tolist())}
    return np.array([(-int(y)) % modulus in sums for y in x])


@dataclass(frozen=True, eq=False)
class MatchingHead:
    """A head and how its log-sum-exp is read: a token matches where it is above ``threshold``.

    margin: a log-sum-exp off by less than it is read rightly.
    """

    instance: HigherOrder
    threshold: float
    margin: float

    def decode(self, log_sum_exp: Any) -> NDArray[np.bool_]:
        """(n,): which tokens match, from a log-sum-exp (1, 1, n).  Raises ``ValueError`` for another shape or NaN."""
        array = np.asarray(log_sum_exp).astype(np.float64)
        shape = self.instance.query.shape[:3]
        if array.shape != shape or np.isnan(array).any():
            raise ValueError(f"log_sum_exp has shape {array.shape}: expected {shape} of numbers")
        return np.asarray(array.reshape(-1) > self.threshold)


def matching_head(numbers: Sequence[int], modulus: int, order: int = 3, dtype: str = "float32") -> MatchingHead:
    """The head of an order that computes Match2 (order 2, rank 2) or Match3 (order 3, rank 4) of these numbers.

    scale β = ln(4n^(k−1))/(1 − cos(2π/M)): where a token matches its log-sum-exp is at least β, and elsewhere at most
    β − ln 4, up to what rounding cosines to the type moves scores.
    Raises InvalidInstance for an order other than 2 and 3, a modulus below 2, no numbers, or a type so short that no
    margin is left.

    >>> head = matching_head([1, 1, 5, 2], 7)
    >>> head.instance.query.shape, f"{head.margin:.4f}"
    ((1, 1, 4, 4), '0.6931')
    """
    if order not in (2, 3):
        raise InvalidInstance(f"order {order!r}: expected 2 or 3")
    if not isinstance(modulus, int) or modulus < 2:
        raise InvalidInstance(f"modulus {modulus!r}: expected an integer of at least 2")
    if len(numbers) == 0:
        raise InvalidInstance("numbers: none, expected at least one")
    x = np.array([int(number) % modulus for number in numbers])
    angle = 2.0 * np.pi * np.arange(modulus) / modulus
    cos, sin = np.cos(angle)[x], np.sin(angle)[x]
    factors: list[tuple[NDArray[np.float64], ...]]
    if order == 2:  # cos(x + y) = cos x cos y − sin x sin y
        factors = [(cos, sin), (cos, -sin)]
    else:  # cos(x + y + z) = cx cy cz − cx sy sz − sx cy sz − sx sy cz
        factors = [(cos, cos, sin, sin), (cos, sin, cos, sin), (cos, -sin, -sin, -cos)]
    kind = dtype_named(dtype)
    query, *keys = (np.stack(columns, axis=1).astype(kind)[None, None] for columns in factors)
    n = len(x)
    beta = math.log(4.0 * n ** (order - 1)) / (1.0 - math.cos(2.0 * math.pi / modulus)) * (1 + 2.0**-40)
    # an entry is off by at most u and what cos errs in float64, and there are 2^(k−1) products of k entries
    entry = _UNITS[dtype] + 2.0**-50
    moved = beta * 2 ** (order - 1) * ((1 + entry) ** order - 1) * (1 + 2.0**-40)
    margin = math.log(2.0) - moved
    if margin <= 0.0:
        raise InvalidInstance(f"dtype {dtype!r}: scores of {n} numbers modulo {modulus} need a longer type")
    ones = [np.ones((1, 1, n, 1), kind)] * (order - 1)
    instance = Instance.of_order(order)(
        query, *keys, *ones, scale=beta, return_lse=True, provenance=Provenance(family=f"match{order}")
    )
    return MatchingHead(instance, beta - math.log(2.0), margin)


# --- what few levels cannot -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class QuantisedHeads:
    """All ordinary heads with few levels that compute Match3 of n tokens modulo M, as a formula.

    For every pair of tokens a score s(x, y) ∈ {0, …, scores − 1}, whatever queries and keys it comes from and of
    whatever dimension; weights base^s; values v(y) ∈ {0, 1/(values − 1), …, 1}.  The output of token i,
    Σ_j base^s(x_i, x_j) v(x_j) / Σ_j base^s(x_i, x_j), is rounded to the nearest of 0, 1/(levels − 1), …, 1, halves up,
    and what is read from it is any function of x_i and this number.

    clauses: literals as in DIMACS.  Every such head satisfies them, with the variables of :meth:`variable` that it
    makes true, so that no head computes Match3 where they cannot be satisfied.
    """

    modulus: int
    length: int
    scores: int
    values: int
    levels: int
    base: int
    clauses: tuple[tuple[int, ...], ...]

    def variable(self, kind: str, *index: int) -> int:
        """``score`` (x, y, s): s(x, y) is s.  ``value`` (y, v): v(y) is v/(values − 1).  ``read`` (x, l): yes at l."""
        m, s, v, levels = self.modulus, self.scores, self.values, self.levels
        if kind == "score":
            x, y, level = index
            return 1 + (x * m + y) * s + level
        if kind == "value":
            y, level = index
            return 1 + m * m * s + y * v + level
        x, level = index
        return 1 + m * m * s + m * v + x * levels + level

    def level(self, counts: Sequence[int], scores: Sequence[int], values: Sequence[int]) -> int:
        """The rounded output of tokens with these multiplicities, scores and values, in exact integers."""
        weights = [count * self.base**score for count, score in zip(counts, scores, strict=True)]
        above = sum(weight * value for weight, value in zip(weights, values, strict=True)) * (self.levels - 1)
        below = sum(weights) * (self.values - 1)
        return int((2 * above + below) // (2 * below))

    def computes(self, scores: NDArray[Any], values: NDArray[Any], read: NDArray[Any]) -> bool:
        """Whether a head, given by its tables s (M, M), v (M,) and what is read (M, levels), computes Match3."""
        for x in itertools.product(range(self.modulus), repeat=self.length):
            for i, wanted in zip(x, matches(x, self.modulus, 3), strict=True):
                level = self.level([1] * self.length, [int(scores[i, y]) for y in x], [int(values[y]) for y in x])
                if bool(read[i, level]) != wanted:
                    return False
        return True


def quantised_heads(
    modulus: int, length: int, *, scores: int = 3, values: int = 4, levels: int = 4, base: int = 2
) -> QuantisedHeads:
    """The formula of all ordinary heads with so many levels that compute Match3.

    Heads of head dimension d whose queries and keys have entries 0 and 1 are among those with scores = d + 1.

    >>> len(quantised_heads(5, 3, scores=2).clauses)
    17990
    """
    empty = QuantisedHeads(modulus, length, scores, values, levels, base, ())
    return dataclasses.replace(empty, clauses=tuple(_clauses(empty)))


def _clauses(of: QuantisedHeads) -> Iterator[tuple[int, ...]]:
    tokens, variable = range(of.modulus), of.variable
    for x, y in itertools.product(tokens, tokens):
        yield tuple(variable("score", x, y, s) for s in range(of.scores))
    for y in tokens:
        yield tuple(variable("value", y, v) for v in range(of.values))
    for x in tokens:
        for others in itertools.combinations_with_replacement(tokens, of.length - 1):
            sequence = (x, *others)
            kinds = sorted(set(sequence))
            counts = [sequence.count(y) for y in kinds]
            sign = 1 if matches(sequence, of.modulus, 3)[0] else -1
            for s in itertools.product(range(of.scores), repeat=len(kinds)):
                for v in itertools.product(range(of.values), repeat=len(kinds)):
                    read = variable("read", x, of.level(counts, s, v))
                    chosen = [-variable("score", x, y, level) for y, level in zip(kinds, s, strict=True)]
                    chosen += [-variable("value", y, level) for y, level in zip(kinds, v, strict=True)]
                    yield (*chosen, sign * read)
