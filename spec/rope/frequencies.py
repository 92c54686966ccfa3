"""The frequencies of the rotary embedding, with every scaling of practice, in balls of python-flint.

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

import flint

if TYPE_CHECKING:
    from assay.spec.rope.instance import Instance

__all__ = ["correction_range", "frequencies", "magnitude"]


def frequencies(instance: Instance) -> tuple[Any, list[Any], list[Any]]:
    """The base that is raised, b or b′, its powers, and θ_l, at the precision of python-flint's context."""
    r, scaling, base = instance.rotated, instance.scaling, flint.arb(instance.base)
    s, length = flint.arb(instance.factor or 1.0), instance.original_length or 1
    if scaling in ("ntk", "dynamic"):
        n = max(int(instance.positions.max()) + 1, length)
        grown = s if scaling == "ntk" else s * n / length - (s - 1)
        base = base * grown ** flint.arb(flint.fmpq(r, r - 2))
    plain = [base ** flint.arb(flint.fmpq(-2 * pair, r)) for pair in range(r // 2)]
    kept = [flint.arb(1)] * len(plain)  # the part of each power that is not divided by s
    if scaling == "linear":
        kept = [flint.arb(0)] * len(plain)
    elif scaling == "llama3":
        low, high = flint.arb(instance.low_frequency), flint.arb(instance.high_frequency)
        kept = [_cut((length * theta / (2 * flint.arb.pi()) - low) / (high - low)) for theta in plain]
    elif scaling == "yarn":
        first, last = correction_range(instance)
        kept = [1 - _cut((pair - first) / (last - first)) for pair in range(len(plain))]
    return base, plain, [theta * ((1 - part) / s + part) for theta, part in zip(plain, kept, strict=True)]


def correction_range(instance: Instance, *, whole: bool = True) -> tuple[Any, Any]:
    """first and last of yarn; without ``whole`` neither rounded nor cut.

    L/(2πβ) is no power of b with a rational exponent, π being transcendental: no end is an integer before rounding.
    """
    length, pi, b = flint.arb(instance.original_length), flint.arb.pi(), flint.arb(instance.base)
    ends = [
        instance.rotated * (length / (2 * pi * flint.arb(turns))).log() / (2 * b.log())
        for turns in (instance.high_frequency, instance.low_frequency)
    ]
    if whole and instance.truncate:
        ends = [ends[0].floor(), ends[1].ceil()]
    if whole:
        ends = [ends[0].max(flint.arb(0)), ends[1].min(flint.arb(instance.rotated - 1))]
    return ends[0], ends[1]


def magnitude(instance: Instance) -> Any:
    """m, by which cos and sin are multiplied: 1, and with yarn attention_factor or, without one, 1 + ln(s)/10."""
    if instance.scaling != "yarn":
        return flint.arb(1)
    final = instance.attention_factor
    return 1 + flint.arb(instance.factor).log() / 10 if final is None else flint.arb(final)


def _cut(x: Any) -> Any:
    return x.max(flint.arb(0)).min(flint.arb(1))
