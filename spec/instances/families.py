"""Families of formulas and of sets of vectors: generators that give the same numbers on every machine.

Randomness comes from Philox4x64-10 (Salmon, Moraes, Dror & Shaw 2011).  Only its raw 64-bit integers are used, because
floating-point draws may depend on the library.  The key is (seed, number of the family), and the counter starts at 0.

- A uniform number below m: words are drawn until one is below ⌊2^64/m⌋·m, the largest multiple of m up to 2^64; this
  word is taken modulo m.
- An entry that is 1 with probability p/2^16: every word is cut into four 16-bit numbers, the lowest first; the entry is
  1 where its number is below p.

Pigeonhole, parity and colouring formulas come from CNFgen (Lauria, Elffers, Nordström & Vinyals 2017; extra ``sat``).
"""

from __future__ import annotations

import decimal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec.instances.extra import required
from assay.spec.instances.formula import Formula
from assay.spec.instances.orthogonal_vectors import OrthogonalVectors
from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "THRESHOLDS",
    "colouring",
    "gap_vectors",
    "parity",
    "pigeonhole",
    "planted_vectors",
    "random_formula",
    "random_vectors",
]

#: k → thousandths of a clause for each variable at which random k-SAT formulas turn unsatisfiable (Mertens, Mézard &
#: Zecchina 2006).  For k = 2 the threshold is proved.
THRESHOLDS = {2: 1000, 3: 4267, 4: 9931, 5: 21117, 6: 43370, 7: 87790}

_STREAMS = ("random-ksat", "random-ov", "planted-ov", "gap", "colouring")
_WHOLE = 1 << 16


@dataclass
class _Words:
    """The stream of random words of a family and a seed."""

    seed: int
    family: str

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 1 << 64:
            raise InvalidInstance(f"seed {self.seed}: expected 0 to 2^64 - 1")
        key = np.array([self.seed, _STREAMS.index(self.family)], dtype=np.uint64)
        self._philox = np.random.Philox(key=key)

    def below(self, limit: int) -> int:
        """A uniform number in 0 … limit − 1."""
        while (word := int(self._philox.random_raw())) >= (1 << 64) // limit * limit:
            pass
        return word % limit

    def subset(self, size: int, of: int) -> list[int]:
        """``size`` distinct numbers below ``of``, in the order in which they were drawn."""
        chosen: dict[int, None] = {}
        while len(chosen) < size:
            chosen[self.below(of)] = None
        return list(chosen)

    def entries(self, rows: int, columns: int, density: int) -> NDArray[np.uint8]:
        """(rows, columns): numbers 0 and 1, each 1 with probability density/2^16."""
        total = rows * columns
        words = self._philox.random_raw(-(-total // 4)).astype("<u8")
        return (words.view("<u2")[:total] < density).astype(np.uint8).reshape(rows, columns)


def random_formula(seed: int, variables: int = 20, k: int = 3, ratio: int | None = None) -> Formula:
    """A random formula whose clauses have k distinct variables each, negated with probability 1/2.

    ratio: thousandths of a clause for each variable.  The default is the threshold, where formulas are hardest and
    about half of them are satisfiable.
    """
    _require("variables", variables, 1, 60)
    _require("k", k, 1, variables)
    if ratio is None:
        if k not in THRESHOLDS:
            raise InvalidInstance(f"k {k}: no known threshold, give ratio (thousandths of a clause a variable)")
        ratio = THRESHOLDS[k]
    _require("ratio", ratio, 0, 1 << 30)
    words = _Words(seed, "random-ksat")
    clauses = []
    for _ in range((ratio * variables + 500) // 1000):
        chosen = words.subset(k, variables)
        clauses.append(tuple((each + 1) * (1 - 2 * words.below(2)) for each in chosen))
    return Formula(variables, tuple(clauses))


def random_vectors(seed: int, n: int = 1024, d: int = 32) -> OrthogonalVectors:
    """Two sets of n random vectors, with the density at which one orthogonal pair is expected."""
    _require_vectors(n, d)
    words, density = _Words(seed, "random-ov"), _density(n, d, 1)
    return OrthogonalVectors(words.entries(n, d, density), words.entries(n, d, density))


def planted_vectors(seed: int, n: int = 1024, d: int = 32) -> tuple[OrthogonalVectors, tuple[int, int]]:
    """Random vectors of which 1/64 of an orthogonal pair is expected, with one pair made orthogonal; and this pair."""
    _require_vectors(n, d)
    words, density = _Words(seed, "planted-ov"), _density(n, d, 64)
    left, right = words.entries(n, d, density), words.entries(n, d, density)
    i, j = words.below(n), words.below(n)
    for column in range(d):  # where both entries are 1, one of them becomes 0
        if left[i, column] and right[j, column]:
            (left[i] if words.below(2) else right[j])[column] = 0
    return OrthogonalVectors(left, right), (i, j)


def gap_vectors(
    seed: int, n: int = 1024, d: int = 64, planted: bool = True
) -> tuple[OrthogonalVectors, int, tuple[int, int] | None]:
    """Vectors with inner products below t/2, except for one planted pair with t = ⌈3d/4⌉; also t and this pair.

    All entries are 1 with probability 1/4; the two vectors of the planted pair are equal.  The vectors are drawn again
    until the promise holds, which is checked on all pairs.  Raises ``InvalidInstance`` where d is too small for n.
    """
    _require_vectors(n, d)
    words, t = _Words(seed, "gap"), -(-3 * d // 4)
    for _ in range(16):
        left, right = words.entries(n, d, _WHOLE // 4), words.entries(n, d, _WHOLE // 4)
        pair = (words.below(n), words.below(n)) if planted else None
        if pair is not None:
            dense = np.zeros(d, np.uint8)
            dense[words.subset(t, d)] = 1
            left[pair[0]], right[pair[1]] = dense, dense
        if _others_below(left, right, pair, t):
            return OrthogonalVectors(left, right), t, pair
    raise InvalidInstance(f"gap: n {n}, d {d}: random inner products reach t/2 = {t / 2:g}, expected a larger d")


def _others_below(left: NDArray[np.uint8], right: NDArray[np.uint8], pair: tuple[int, int] | None, t: int) -> bool:
    """Whether 2⟨a, b⟩ < t for all pairs but ``pair``; sums of at most 2^24 ones are exact in float32."""
    columns = right.astype(np.float32).T
    for start in range(0, len(left), 1024):
        products = left[start : start + 1024].astype(np.float32) @ columns
        if pair is not None and start <= pair[0] < start + 1024:
            products[pair[0] - start, pair[1]] = 0
        if 2 * products.max() >= t:
            return False
    return True


def pigeonhole(pigeons: int = 4, holes: int = 3) -> Formula:
    """Every pigeon sits in a hole, and no two in the same: satisfiable only if there are as many holes as pigeons."""
    _require("pigeons", pigeons, 1, 30)
    _require("holes", holes, 1, 30)
    return _formula(required("cnfgen", "sat").PigeonholePrinciple(pigeons, holes))


def parity(points: int = 5) -> Formula:
    """The points are divided into pairs: satisfiable only if their number is even."""
    _require("points", points, 2, 30)
    return _formula(required("cnfgen", "sat").CountingPrinciple(points, 2))


def colouring(seed: int, vertices: int = 6, edges: int = 9, colours: int = 3) -> Formula:
    """A random graph has a proper colouring; the models are the colourings."""
    most = vertices * (vertices - 1) // 2
    _require("vertices", vertices, 1, 30)
    _require("edges", edges, 0, most)
    _require("colours", colours, 1, 30)
    pairs = [(i, j) for i in range(1, vertices + 1) for j in range(i + 1, vertices + 1)]
    cnfgen = required("cnfgen", "sat")
    graph = cnfgen.Graph(vertices)
    for index in sorted(_Words(seed, "colouring").subset(edges, most) if edges else []):
        graph.add_edge(*pairs[index])
    return _formula(cnfgen.GraphColoringFormula(graph, colours))


def _formula(generated: Any) -> Formula:
    return Formula(generated.number_of_variables(), tuple(tuple(map(int, clause)) for clause in generated.clauses()))


def _density(n: int, d: int, times: int) -> int:
    """2^16·p, rounded down, with n²(1 − p²)^d = 1/times, in decimal arithmetic, which is the same everywhere."""
    with decimal.localcontext(decimal.Context(prec=40)):
        none = (-(decimal.Decimal(times * n * n).ln()) / d).exp()
        return min(int((1 - none).sqrt() * _WHOLE), _WHOLE - 1)


def _require_vectors(n: int, d: int) -> None:
    _require("n", n, 1, 1 << 30)
    _require("d", d, 1, 1 << 20)


def _require(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise InvalidInstance(f"{name} {value}: expected {least} to {most}")
