"""The frequencies of the rotary embedding, with every scaling of practice, in any arithmetic.

With r rotated columns, base b, factor s, original length L and l = 0 … r/2 − 1, position p turns pair l by p·θ_l:

    none      θ_l = b^(−2l/r)                                                         (Su et al. 2021)
    linear    θ_l = b^(−2l/r)/s                                                       (Chen et al. 2023)
    ntk       θ_l = b′^(−2l/r),  b′ = b·s^(r/(r − 2))                                 (NTK-aware scaling, bloc97 2023)
    dynamic   the same with s·n/L − (s − 1) in place of s, n = max(largest position + 1, L)
    llama3    θ_l = b^(−2l/r)·((1 − σ)/s + σ),  σ = (t − low)/(high − low) cut to [0, 1],  t = L·b^(−2l/r)/(2π)
    yarn      θ_l = b^(−2l/r)·(μ/s + 1 − μ),  μ = (l − first)/(last − first) cut to [0, 1]    (Peng et al. 2023)

Pair e(β) = r·ln(L/(2πβ))/(2 ln b), a real number, turns β times in L positions.  first is e(high_frequency), with
``truncate`` rounded down, and at least 0; last is e(low_frequency), rounded up, and at most r − 1.  (That is the ramp
over pairs of the authors' code; their paper has one over turns.)  yarn also multiplies cos and sin by the magnitude.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from assay.spec.scalars import BALLS, Scalars

if TYPE_CHECKING:
    from assay.spec.rotary.options import Rotary, Tokens

__all__ = ["band", "correction_range", "frequencies", "growth", "magnitude"]


def frequencies(instance: Tokens, scalars: Scalars = BALLS) -> tuple[Any, list[Any], list[Any]]:
    """The base that is raised, b or b′, its powers b^(−2l/r), and θ_l."""
    r, s = instance.rotated, scalars.exact(instance.factor or 1)
    base = scalars.exact(instance.base)
    if instance.scaling in ("ntk", "dynamic"):
        base = base * growth(instance, s) ** (scalars.exact(r) / (r - 2))
    powers = [base ** (scalars.exact(-2 * pair) / r) for pair in range(r // 2)]
    kept = [scalars.exact(int(instance.scaling != "linear"))] * len(powers)  # the part that is not divided by s
    if instance.scaling in ("llama3", "yarn"):
        places, zero, one = band(instance, powers, scalars)
        kept = [scalars.cut((place - zero) / (one - zero)) for place in places]
    return base, powers, [power * ((1 - part) / s + part) for power, part in zip(powers, kept, strict=True)]


def growth(instance: Tokens, s: Any) -> Any:
    """g, a power of which ntk and dynamic multiply the base by: s, or s·n/L − (s − 1), in the arithmetic of s."""
    if instance.original_length is None:
        return s
    return s * max(int(instance.positions.max()) + 1 - instance.original_length, 0) / instance.original_length + 1


def band(instance: Tokens, powers: list[Any], scalars: Scalars = BALLS) -> tuple[list[Any], Any, Any]:
    """Where every pair is on a scale, where nothing of it is kept, and where all: t, low, high, or l, last, first."""
    if instance.scaling == "yarn":
        return list(range(len(powers))), *reversed(correction_range(instance, scalars=scalars))
    turns = [instance.original_length * power / (2 * scalars.pi()) for power in powers]
    return turns, scalars.exact(instance.low_frequency), scalars.exact(instance.high_frequency)


def correction_range(instance: Tokens, *, whole: bool = True, scalars: Scalars = BALLS) -> tuple[Any, Any]:
    """first and last of yarn; without ``whole`` neither rounded nor cut.

    L/(2πβ) is no power of b with a rational exponent, π being transcendental: no end is an integer before rounding.
    """
    length, base = scalars.exact(instance.original_length), scalars.exact(instance.base)
    first, last = (
        instance.rotated * scalars.log(length / (2 * scalars.pi() * scalars.exact(turns))) / (2 * scalars.log(base))
        for turns in (instance.high_frequency, instance.low_frequency)
    )
    if whole and instance.truncate:
        first, last = scalars.floor(first), scalars.ceiling(last)
    if whole:
        first, last = (scalars.cut(end, 0, instance.rotated - 1) for end in (first, last))
    return first, last


def magnitude(instance: Rotary, scalars: Scalars = BALLS) -> Any:
    """m, by which cos and sin are multiplied: 1, and with yarn attention_factor or, without one, 1 + ln(s)/10."""
    if instance.scaling != "yarn" or instance.attention_factor is not None:
        return scalars.exact(instance.attention_factor or 1)
    return 1 + scalars.log(scalars.exact(instance.factor)) / 10
