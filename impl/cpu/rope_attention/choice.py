"""Which polynomial serves a job: the one of least degree whose certificate is predicted to stay below an error.

Scores of some rows and keys are computed to guess what moments of all of them will be.  A guess decides about time
only: the certificate is computed from the sums themselves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from assay.impl.cpu.attention.choice import geometric_mean, least_errors
from assay.impl.cpu.attention.plan import Measure, U
from assay.impl.cpu.rope_attention import transforms
from assay.impl.cpu.rope_attention.monomials import MOST_DEGREE
from assay.spec.approximation import Approximation, Infeasible, exp_by_moment, exp_of_degree
from assay.spec.attention.perturbation import output_error

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from assay.impl.cpu.rope_attention.jobs import Job

    Array = NDArray[np.float64]

__all__ = ["Guess", "guessed", "polynomials"]

_SMALLEST_RADIUS = 2.0**-20
_PER_OCTAVE = 16  # radii that polynomials are made for
_ROOM = 0.9  # the part of an error that a predicted one may take
_ROWS, _KEYS = 24, 256  # scores that are computed
_RATIOS = tuple(2.0 ** (k / 2.0) for k in range(11))


@dataclass(frozen=True, eq=False)
class Guess:
    """Means over the keys that a row sees, for the worst of some rows.

    moments: order → the largest mean of the power of the scores.  share: the least mean of e^s.  distance: of a value
    from the mean value, the largest.
    """

    moments: Mapping[int, float]
    share: float
    distance: float


def guessed(job: Job, support: NDArray[np.int64]) -> Guess:
    """What the scores of some rows, the longest among them, and of some keys say."""
    rng = np.random.default_rng(0)
    n_q, n_k = job.query.shape[2], job.key.shape[1]
    norms = np.square(job.query).sum(axis=(0, 1))
    rows = np.unique([int(norms.argmax()), n_q - 1, *rng.integers(n_q, size=_ROWS)])
    second = fourth = 0.0
    share = 1.0
    for row in rows:
        begin, end = job.keys(int(row), int(row) + 1)
        if end <= begin:
            continue
        keys = np.unique(rng.integers(begin, end, _KEYS))
        at = row - keys + n_k - 1
        weight = job.symbols.weight[at]
        if not weight.any():
            continue
        scores = np.zeros((len(job.heads), len(keys)))
        for e, (a, b) in enumerate(support):
            w = 1.0 if job.symbols.relative is None else job.symbols.relative[e, at]
            scores += job.query[:, a, row][:, None] * (job.key[b, keys] * w)
        second = max(second, float(np.average(scores**2, axis=1, weights=weight).max()))
        fourth = max(fourth, float(np.average(scores**4, axis=1, weights=weight).max()))
        share = min(share, float(np.average(np.exp(scores), axis=1, weights=weight).min()))
    mean = (job.columns[:-1].mean(axis=1)) * job.grow + job.middle
    distance = float(np.maximum(job.largest - mean, mean - job.least).max(initial=0.0))
    return Guess({2: second, 4: fourth}, share, distance)


def polynomials(job: Job, guess: Guess, error: float) -> Iterator[tuple[Approximation, Measure]]:
    """Yield polynomials that are predicted to meet the error, the least degree first.

    Raises :class:`Infeasible` where rounding alone exceeds the error, and after the last degree.
    """
    spread = float(job.spread.max(initial=0.0))
    if spread == 0.0:
        yield exp_of_degree(0.0, 0), Measure()
        raise Infeasible(f"error {error:g}: rounding alone may cost more")
    rounding = transforms.error(job.symbols.size) * spread + 8.0 * U * float(job.magnitude.max())
    if not rounding < error / 2.0:
        raise Infeasible(f"error {error:g}: rounding alone may cost {rounding:.2g}")
    radius = max(job.radius, _SMALLEST_RADIUS)
    radius = max(2.0 ** (math.ceil(math.log2(radius) * _PER_OCTAVE) / _PER_OCTAVE), radius)
    best = math.inf
    for degree, relative in enumerate(least_errors(radius)[: MOST_DEGREE + 1]):
        options = [(output_error(min(relative, 1.0)) * spread, Measure())]
        for order, moment in guess.moments.items():
            if order <= degree:
                options.extend(
                    (
                        relative / geometric_mean(order, ratio) * (1.0 + moment * (ratio / radius) ** order)
                        * guess.distance / guess.share,
                        Measure(order, ratio),
                    )
                    for ratio in _RATIOS
                )  # fmt: skip
        predicted, measure = min(options, key=lambda option: option[0])
        best = min(best, predicted)
        if predicted > _ROOM * error:
            continue
        if measure.order:
            yield exp_by_moment(radius, degree, measure.order, measure.ratio, False), measure
        else:
            found = exp_of_degree(radius, degree)
            if found.error < 0.5:
                yield found, measure
    raise Infeasible(f"error {error:g}: scores up to {radius:.3g} need a degree above {MOST_DEGREE} ({best:.2g})")
