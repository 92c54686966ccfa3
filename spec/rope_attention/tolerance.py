"""What a correct kernel of attention with relative positions may err, per element (proofs_notes/rope_attention.md).

It is the tolerance of attention (TOL-7) for scores that are off by more than attention's are: in the rotary form by
the angles of queries and keys together (ROT-4) and by what each rotated vector is off otherwise (ROT-9), in the general
form by one more factor of every product (ROT-10).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from assay.spec.attention.tolerance import bounds
from assay.spec.floating_point import require_usual
from assay.spec.precision import Precision, reference_accuracy
from assay.spec.precision import precision as precision_named
from assay.spec.rope_attention.definition import evaluate, tokens
from assay.spec.rope_attention.rounding import PRECISIONS
from assay.spec.rotary.errors import frequency_errors, rates
from assay.spec.rotary.frequencies import magnitude
from assay.spec.rotary.rounding import Angles
from assay.spec.rotary.turning import paired
from assay.spec.rounding import compound, gamma
from assay.spec.softmax.weights import Products

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.spec import rope
    from assay.spec.attention.definition import Exact
    from assay.spec.rope_attention.instance import Instance

    Array = NDArray[np.float64]

__all__ = ["angle_errors", "relative_products", "tolerance"]

_SLACK = 1.0 + 1e-9  # over the roundings of what is computed here
_FAR = 0.5  # radians of Ψ from which on its chord is taken, pair of columns by pair of columns


def tolerance(
    instance: Instance,
    precision: str | Precision,
    output: str = "output",
    *,
    exact: Exact | None = None,
) -> NDArray[np.float64]:
    """The bound on the error of every correct kernel of the class ``precision``, per element of ``output``.

    Shape (b, h_q, n_q, d_v), or (b, h_q, n_q) for ``output="log_sum_exp"``; +inf in rows outside the domain of the
    class, where no kernel is judged.  ``exact`` saves evaluating the instance again.
    Source: proofs_notes/rope_attention.md, ROT-9 and ROT-10.  Raises ``ValueError`` for an unknown class or output.

    >>> from assay.spec.rope_attention import Instance
    >>> x = np.eye(2, dtype=np.float32).reshape(1, 1, 2, 2)
    >>> far = (Instance(x, x, x, query_positions=p + np.arange(2), key_positions=p + np.arange(2)) for p in (0, 10**4))
    >>> print(*(f"{tolerance(instance, 'float32').max():.0e}" for instance in far))
    5e-06 1e-03
    """
    if output not in ("output", "log_sum_exp"):
        raise ValueError(f"unknown output {output!r}: expected 'output' or 'log_sum_exp'")
    require_usual()
    u = precision_named(precision, PRECISIONS)
    exact = evaluate(instance, reference_accuracy(u)) if exact is None else exact
    return bounds(instance, u, output, exact, relative_products(instance, u))


def relative_products(instance: Instance, u: Precision) -> Products:
    """What the scores are sums of, and what they are off before these products are rounded."""
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        return _rotary(instance, u) if instance.relative is None else _general(instance)


def _rotary(instance: Instance, u: Precision) -> Products:
    """ROT-9: products of rotated vectors, which are off themselves; pair by pair, whatever the angle is."""
    turning, n_q, m = tokens(instance), instance.query.shape[2], float(magnitude(instance))
    angles, (rate, kappa) = u.of(Angles), rates(instance, u)
    columns = paired(instance)[0]
    one, two = (np.abs(turning.query[..., half].astype(np.float64)) for half in np.split(columns, 2))
    rest = np.abs(np.delete(turning.query, columns, axis=3).astype(np.float64))
    norm = np.hypot(one, two) * _SLACK

    # ρ: what a stored pair is off besides its angle, in norm: by tables, products and the rounding of the result
    table = (rate * (m + m * angles.trig) + m * angles.trig + angles.table_tiny) * _SLACK
    off = (1 + kappa) * table * (one + two) + kappa * m * norm
    off = math.sqrt(2) * (off + 8 * u.tiny * (1 + one + two) * max(m, 1.0) + 2 * (1 + kappa) * angles.stored_tiny)
    off = (off + u.output * (m * norm + off) + math.sqrt(2) * (u.output_tiny + u.tiny)) * _SLACK

    held = m * norm + off
    (held_q, off_q, rest_q), (held_k, off_k, rest_k) = (
        tuple(x[:, :, at] for x in (held, off, rest)) for at in (slice(n_q), slice(n_q, None))
    )
    size = held_q @ _turned(held_k) + rest_q @ _turned(rest_k)
    error = off_q @ _turned(held_k) + held_q @ _turned(off_k)
    error += 4 * u.tiny * (rest_q.sum(axis=3)[..., None] + rest_k.sum(axis=3)[..., None, :])
    assert instance.scale is not None
    error = abs(instance.scale) * (error + angle_errors(turning, n_q, angles)) * _SLACK
    entries = np.concatenate([math.sqrt(2) * held, rest], axis=3)
    norms, largest = entries.sum(axis=3), entries.max(axis=3)

    products, tables = (u.largest_output if stored else u.largest for stored in (angles.stored, angles.table))
    fits = (4 * m * np.maximum(one, two).max(axis=3) <= products) & (4 * m <= min(products, tables))
    fits &= largest <= u.largest_output
    fits = fits[:, :, :n_q, None] & fits[:, :, None, n_q:]
    return Products(
        size=size * _SLACK,
        norms=norms[:, :, :n_q, None] + norms[:, :, None, n_q:],
        reach=np.maximum(largest[:, :, :n_q, None], largest[:, :, None, n_q:]),
        terms=instance.query.shape[3],
        error=np.where(fits & ~np.isnan(error), error, np.inf),
    )


def _turned(x: Array) -> Array:
    return np.swapaxes(x, 2, 3)


def angle_errors(turning: rope.Instance, queries: int, angles: Angles) -> Array:
    """m²·Σ_l‖q_l‖‖k_l‖·2 sin(min(Ψ_l, π)/2) of every query and key (ROT-4), (b, h, n_q, n_k).

    turning: queries and keys, the former first.
    """
    theta, frequency = frequency_errors(turning, angles)
    half = turning.rotated // 2
    first, second = np.split(paired(turning)[0], 2)
    x = turning.query.astype(np.float64)
    norm = float(magnitude(turning)) * np.hypot(x[..., first], x[..., second])  # (b, h, n, r/2)
    place = np.atleast_2d(turning.positions).astype(np.float64)[:, None, :, None]
    long = np.where(np.abs(place) * angles.unit > 1.0, angles.unit, 0.0)  # the type does not hold the position
    own = np.abs(place) * theta * (1 + frequency) * compound(gamma(angles.angle, angles.unit), long)
    q, k = norm[:, :, :queries], norm[:, :, queries:]
    own_q, own_k = own[:, :, :queries], own[:, :, queries:]
    apart = np.abs(place[:, :, :queries] - np.swapaxes(place[:, :, queries:], 2, 3))  # (b or 1, 1, n_q, n_k)
    if not (np.isfinite(frequency).all() and np.isfinite(own).all()):
        return np.full((*q.shape[:3], k.shape[2]), np.inf)

    # a chord is at most its arc: where no Ψ is large, the sums over l are products of matrices
    most = apart.max() * theta * frequency + own_q.max(axis=(0, 1, 2)) + own_k.max(axis=(0, 1, 2))
    near, total = most <= _FAR, np.zeros((*q.shape[:3], k.shape[2]))
    if near.any():
        keys = _turned(k[..., near])
        total += apart * ((q[..., near] * (theta * frequency)[near]) @ keys)
        total += (q * own_q)[..., near] @ keys + q[..., near] @ _turned((k * own_k)[..., near])
    for pair in np.arange(half)[~near]:
        psi = apart * (theta * frequency)[pair] + own_q[..., pair, None] + own_k[:, :, None, :, pair]
        chord = 2 * np.sin(np.minimum(psi, math.pi) / 2)
        total += q[..., pair, None] * k[:, :, None, :, pair] * chord
    return total * _SLACK


def _general(instance: Instance) -> Products:
    """ROT-10: products of three exact factors."""
    assert instance.relative is not None
    assert instance.support is not None
    query = np.abs(instance.query.astype(np.float64))
    key = np.abs(np.repeat(instance.key.astype(np.float64), instance.group, axis=1))
    numbers = np.abs(instance.relative.astype(np.float64))
    offsets = instance.offsets()
    size, norms, reach = (np.zeros((*query.shape[:3], key.shape[2])) for _ in range(3))
    for (row, column), entries in zip(instance.support, numbers, strict=True):
        q, k, w = query[..., row, None], key[:, :, None, :, column], entries[offsets]
        size += q * w * k
        norms += q + w + k + q * w + w * k + q * k
        reach = np.maximum(reach, np.maximum(np.maximum(q, k), w))
        reach = np.maximum(reach, np.maximum(np.maximum(q * w, w * k), q * k))
    return Products(size * _SLACK, norms, reach, terms=len(numbers) + 1, factors=3)
