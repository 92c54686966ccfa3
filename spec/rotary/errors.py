"""What frequencies and rotated pairs of a kernel are off, relative to the exact ones: ROT-2 and the rates of ROT-3.

The names are those of the proofs (proofs_notes/rope_attention.md).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.spec import flint_context
from assay.spec.rotary.frequencies import band, correction_range, frequencies, growth, magnitude
from assay.spec.rotary.rounding import Angles
from assay.spec.rounding import compound, gamma

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.spec.precision import Precision
    from assay.spec.rotary.options import Rotary, Tokens

    Array = NDArray[np.float64]

__all__ = ["frequency_errors", "rates"]


def rates(instance: Rotary, u: Precision) -> tuple[Array, Array]:
    """η and κ of ROT-3: the relative errors of a table entry, besides those of cosine and sine, and of a product."""
    angles, plain = u.of(Angles), bool(magnitude(instance) == 1)
    times = 0 if plain else 6 if instance.attention_factor is None else 2
    return compound(gamma(times, u.product), angles.table), compound(gamma(2, u.product), angles.stored)


def frequency_errors(instance: Tokens, angles: Angles) -> tuple[Array, Array]:
    """θ_l and γ_k: every frequency, and the relative error of a kernel's, +inf outside the domain: ROT-2."""
    u, r, s = angles.unit, instance.rotated, instance.factor or 1.0
    with flint_context.bits(128):
        base, powers, scaled = frequencies(instance)
        power, theta = (np.array([float(x) for x in balls]) for balls in (powers, scaled))
        k = np.where(np.arange(r // 2) > 0, angles.power - angles.exponent * np.log(power), 0.0)
        if instance.scaling == "linear":
            k += 3
        if instance.scaling in ("ntk", "dynamic"):
            e, g, amplified = np.arange(r // 2) * (2.0 / r), growth(instance, s), 1.0
            if instance.original_length is not None:  # s·n/L = g + s − 1
                amplified += (6 * (g + s - 1) + 2 * s) / g
            more = np.where(e > 0, 10 + 1.01 * e * r / (r - 2) * (amplified + 2 * math.log(g)), 0.0)
            k = k + (more if amplified * u <= 2.0**-8 else np.inf)
        if instance.scaling in ("llama3", "yarn"):
            k = k + 7 + (1 - 1 / s) * _band_errors(instance, powers, k, u) * (power / theta)
    large = max(float(base), s, instance.original_length or 1, instance.high_frequency or 1.0, 1.0 / theta.min())
    known = u <= 2.0**-20 and max(large, 1 / (instance.low_frequency or 1.0)) <= 2.0**100
    return theta, gamma(k if known else np.full(r // 2, np.inf), u) if u else np.zeros(r // 2)


def _band_errors(instance: Tokens, powers: list[Any], k: Array, u: float) -> Array:
    """δ, the absolute error of the part that llama3 and yarn keep of every pair, in units: ROT-2."""
    places, zero, one = band(instance, powers)
    place, span = np.array([float(x) for x in places]), abs(float(one - zero))
    kept = np.array([float((x - zero) / (one - zero)) for x in places])
    errors: tuple[Any, Any, Any] = (place * (k + 6), float(zero), float(one))  # of place, zero and one
    clear = True
    if instance.scaling == "yarn":
        ends, log = [float(end) for end in correction_range(instance, whole=False)], math.log(instance.base)
        d = [3 * instance.rotated / log + (7 + 1 / log) * abs(end) for end in ends]
        if instance.truncate:  # an end so near an integer may be rounded to another
            clear = all(abs(end - round(end)) > 1.01 * u * error for end, error in zip(ends, d, strict=True))
        errors = (0.0, 0.0, 0.0) if instance.truncate else (0.0, d[1], d[0])
    delta = (errors[0] + np.abs(1 - kept) * errors[1] + np.abs(kept) * errors[2]) / span
    delta = 1.01 * (delta + 4 * (np.abs(kept) + np.abs(1 - kept)))
    delta = np.where((kept >= -2 * u * delta) & (kept <= 1 + 2 * u * delta), delta, 0.0)
    clear &= (errors[1] + errors[2]) * u <= 2.0**-8 * span
    return np.where(clear & (u * delta <= 2.0**-8), delta, np.inf)
