"""The sums over keys: N = Σ_j P(s_ij) e^b y_j and the power sums Σ_j s_ij^m e^b, without a score (ROPE-2, ROT-5).

Every pair of monomials is a product with a Toeplitz matrix.  There is one forward transform for each column and each
monomial of the keys, and one back for each column and each monomial of the queries, whatever the number of heads that
share them.  The order of every sum is fixed: the result does not depend on the number of threads.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assay.impl.cpu.attention.plan import SLACK
from assay.impl.cpu.rope_attention import transforms
from assay.impl.cpu.rope_attention.monomials import components

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from assay.impl.cpu.attention.passes import Team
    from assay.impl.cpu.rope_attention.jobs import Job
    from assay.impl.cpu.rope_attention.monomials import Component
    from assay.impl.cpu.rope_attention.symbols import Transform

    Array = NDArray[np.float64]

__all__ = ["Sums", "need", "summed"]


@dataclass(frozen=True, eq=False)
class Sums:
    """The sums of one job for the polynomial with coefficients c_0 … c_g, and what the transforms may have lost.

    values (heads, d_v, n_q): N over grow.  powers (heads, g + 1, n_q): Σ_j s^m e^b.  lost_values (heads, d_v) and
    lost_powers (heads, g + 1): bounds of the errors of the transforms in them (FFT-2).
    """

    values: Array
    powers: Array
    lost_values: Array
    lost_powers: Array


def summed(
    job: Job, support: tuple[tuple[int, int], ...], coefficients: tuple[float, ...], columns: int,
    transformed: Callable[[Component], tuple[Transform, ...]], team: Team,
) -> Sums:  # fmt: skip
    """The sums of a job for a polynomial.

    columns: how many columns of a monomial are transformed together.  transformed: the transforms of the symbols of a
    component, which jobs with the same symbols may share.
    """
    heads, n_q, width = len(job.heads), job.query.shape[2], len(job.columns) - 1
    degree = len(coefficients) - 1
    found = Sums(
        np.zeros((heads, width, n_q)), np.zeros((heads, degree + 1, n_q)),
        np.zeros((heads, width)), np.zeros((heads, degree + 1)),
    )  # fmt: skip

    def items() -> Iterator[tuple[Component, int]]:
        for m in range(degree + 1):
            for component in components(support, m):
                for first in range(0, width + 1, columns):
                    yield component, first

    def part(component: Component, first: int) -> tuple[int, int, Array, Array]:
        last = min(first + columns, width + 1)
        factor = coefficients[component.degree]
        return first, component.degree, *_part(component, job, first, last, factor, transformed(component))

    for first, m, sums, lost in team.ordered(part, items()):
        last = first + sums.shape[1]
        shown = min(last, width) - first
        found.values[:, first : first + shown] += sums[:, :shown]
        found.lost_values[:, first : first + shown] += lost[:, :shown]
        if last > width:
            found.powers[:, m] += sums[:, -1]
            found.lost_powers[:, m] += lost[:, -1]
        team.advance(last - first)
    return found


def need(job: Job, support: tuple[tuple[int, int], ...], degree: int, columns: int, workers: int) -> int:
    """Bytes that :func:`summed` takes at most, beside the arrays of the job, its sums and the symbols."""
    size, rows = job.symbols.size, len(job.heads) * job.query.shape[2]
    keys = max((len(each.keys) for each in components(support, degree)), default=1)
    spectra: int = 8 * size * columns * (keys + 4)  # of the keys; a sum, a product and two rows
    total: int = workers * (spectra + 8 * 4 * job.query.shape[2]) + (2 * workers + 1) * 8 * columns * rows
    return total


def _part(
    component: Component, job: Job, first: int, last: int, factor: float, symbols: tuple[Transform, ...]
) -> tuple[Array, Array]:
    """What a component adds to columns first … last − 1, (heads, columns, n_q), and a bound on what transforms lose.

    The column of ones, which is the last of a job, is not multiplied by ``factor``.
    """
    size, n_q, n_k = job.symbols.size, job.query.shape[2], job.key.shape[1]
    spectra, norms = [], []
    for monomial in component.keys:
        rows = np.zeros((last - first, size))
        rows[:, :n_k] = job.columns[first:last]
        if monomial:
            rows[:, :n_k] *= functools.reduce(np.multiply, job.key[list(monomial)])
        norm = np.sqrt(np.einsum("cj,cj->c", rows, rows)) + math.sqrt(n_k) * transforms.SQUARED
        norms.append(norm * (SLACK + n_k * 2.0**-52))
        spectra.append(transforms.forward(rows))
    sums = np.zeros((len(job.heads), last - first, n_q))
    lost = np.zeros((len(job.heads), last - first))
    factors = np.full(last - first, factor)
    if last == len(job.columns):
        factors[-1] = 1.0
    alone = len(component.keys) == len(component.pairs) == 1
    for number, monomial in enumerate(component.queries):
        pairs = [place for place, pair in enumerate(component.pairs) if pair.query == number]
        total: NDArray[np.complex128] | None = None
        bound = np.zeros(last - first)
        for place in pairs:
            key, symbol = component.pairs[place].key, symbols[place]
            product = np.multiply(spectra[key], symbol.spectrum, out=spectra[key] if alone else None)
            total = product if total is None else np.add(total, product, out=total)
            bound += transforms.lost(size, len(pairs), symbol.largest, symbol.norm, norms[key], n_k)
        assert total is not None
        rows = transforms.back(total, size)[:, n_k - 1 : n_k - 1 + n_q]
        # without W, all pairs have one symbol, and the multinomial coefficient is left out of it
        ways = 1.0 if job.symbols.relative is not None else component.pairs[pairs[0]].terms[0][0]
        for head, query in enumerate(job.query):
            power = functools.reduce(np.multiply, query[list(monomial)]) if monomial else np.ones(n_q)
            if ways != 1.0:
                power = ways * power
            largest = float(np.abs(power).max())
            for column, c in enumerate(factors):
                sums[head, column] += rows[column] * (power if c == 1.0 else c * power)
            lost[head] += largest * np.abs(factors) * bound
    return sums, lost * SLACK
