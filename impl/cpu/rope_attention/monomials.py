"""Monomials of the scores of a support: what the power of Σ_e q_a W_e k_b is a sum of (ROPE-2).

A multiset α of places of the support gives the product of a monomial of the query, one of the key, and one of W.
Multisets with the same two first monomials are one pair: their monomials of W are added up.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections import Counter
from dataclasses import dataclass

__all__ = ["MOST_DEGREE", "Component", "Pair", "components"]

MOST_DEGREE = 18  # 18! < 2^53: multinomial coefficients are exact


@dataclass(frozen=True)
class Pair:
    """Monomials number ``query`` and ``key`` of a component, and the terms of W between them.

    terms: (multinomial coefficient, places of the support in ascending order, with repetitions).
    """

    query: int
    key: int
    terms: tuple[tuple[float, tuple[int, ...]], ...]


@dataclass(frozen=True)
class Component:
    """Pairs that share monomials with each other and with no pair of another component.

    queries, keys: the monomials, as coordinates in ascending order, with repetitions, ``degree`` in number.
    """

    degree: int
    queries: tuple[tuple[int, ...], ...]
    keys: tuple[tuple[int, ...], ...]
    pairs: tuple[Pair, ...]


@functools.lru_cache(maxsize=256)
def components(support: tuple[tuple[int, int], ...], degree: int) -> tuple[Component, ...]:
    """The components of one degree.

    >>> [(each.queries, each.keys) for each in components(((0, 0), (1, 1)), 2)]
    [(((0, 0),), ((0, 0),)), (((0, 1),), ((0, 1),)), (((1, 1),), ((1, 1),))]
    >>> rotation = ((0, 0), (0, 1), (1, 0), (1, 1))
    >>> [(len(each.queries), len(each.keys), len(each.pairs)) for each in components(rotation, 3)]
    [(4, 4, 16)]
    """
    merged: dict[tuple[tuple[int, ...], tuple[int, ...]], list[tuple[float, tuple[int, ...]]]] = {}
    for places in itertools.combinations_with_replacement(range(len(support)), degree):
        query = tuple(sorted(support[place][0] for place in places))
        key = tuple(sorted(support[place][1] for place in places))
        ways = math.factorial(degree)
        for count in Counter(places).values():
            ways //= math.factorial(count)
        merged.setdefault((query, key), []).append((float(ways), places))
    root: dict[tuple[str, tuple[int, ...]], tuple[str, tuple[int, ...]]] = {}

    def top(monomial: tuple[str, tuple[int, ...]]) -> tuple[str, tuple[int, ...]]:
        while root.setdefault(monomial, monomial) != monomial:
            monomial = root[monomial]
        return monomial

    for query, key in merged:
        root[top(("key", key))] = top(("query", query))
    parts: dict[tuple[str, tuple[int, ...]], list[tuple[tuple[int, ...], tuple[int, ...]]]] = {}
    for query, key in merged:
        parts.setdefault(top(("query", query)), []).append((query, key))
    found = []
    for part in parts.values():
        queries, keys = (tuple(dict.fromkeys(pair[side] for pair in part)) for side in (0, 1))
        pairs = (Pair(queries.index(q), keys.index(k), tuple(merged[q, k])) for q, k in part)
        found.append(Component(degree, queries, keys, tuple(sorted(pairs, key=lambda pair: pair.query))))
    return tuple(found)
