"""What the results of calls may be off, from the class of arithmetic of the oracle (MERGE-2).

Let an oracle of a class be handed keys whose scores, the calibrator's among them, are at most S in absolute value.  A
column of its output that is a mean of numbers in [0, 1] is within εy + α of its true value y: ε is what TOL-1 to TOL-4
make of scores of that size, and α what underflow may take away (TOL-5).  A column of values in [−V, V] is within
εpV + αV + τ, where p is the weight of the keys: what the output itself loses to underflow, τ = 2^-25 in float16, does
not become less with V.  It is part of α too.

For a part of the keys let N, D be the sums of values and weights, r the common factor, and r̂, N̂, D̂ what is computed.
With η = ε + α/min(p, p₀) and ρ = η/(1 − η), r̂ is within ρ of r, and N̂ and D̂ are within (1 + ρ)(ηV + τ/min(p, p₀))D
and (1 + ρ)ηD of (r̂/r)N and (r̂/r)D.  So, with o = ΣN/ΣD and ΣN − oΣD = 0,

    |out − o| ≤ (ρ·range(V) + (1 + ρ)(2ηV + τ/min(p, p₀))) / (1 − ρ − (1 + ρ)η).

An oracle that returns its log-sum-exp has r = e^lse, and ρ is what TOL-9 says of it.

The recombination is in float64, whatever the class of the oracle: 1 + ρ grows by e^ψ, ψ being what ln r is off when all
parts are added (:func:`formed`), 1 + η by the 2T + 2 roundings of either sum, and the quotient is rounded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.impl.cpu.norms import norms
from assay.impl.cpu.small_transformers.parts import NEAR
from assay.spec.rounding import compound, gamma
from assay.spec.softmax.rounding import Softmax
from assay.spec.softmax.weights import SLACK, merge_error

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from assay.spec.precision import Precision

    Array = NDArray[np.float64]

__all__ = ["OracleError", "longest", "of_simulation", "oracle_error", "recombined", "rounded"]


@dataclass(frozen=True)
class OracleError:
    """relative: ε.  absolute: α.  log_sum_exp: of that output.  floor: τ."""

    relative: float
    absolute: float
    log_sum_exp: float
    floor: float = 0.0


def oracle_error(u: Precision, *, keys: int, terms: int, scale: float, largest: float, norms: float) -> OracleError:
    """What an oracle of a class may err.

    keys: of one call.  terms: coordinates of a query.  largest: S, at least σΣ_a|q_a·k_a| of every query and key of a
    call.  norms: at least ‖q‖₁ + ‖k‖₁.
    """
    soft, scale = u.of(Softmax), abs(scale)
    underflow = 2 * (1 + scale) * (u.tiny * (2 * terms + 2 + norms) + soft.stored_tiny * norms)
    underflow += (1 + scale) * u.alignment * (norms + terms * u.least_factor)
    if scale:
        underflow += 2 * (1 + scale) * soft.stored_tiny * largest / scale
    delta = float(compound(soft.query_rounding, soft.query_rounding, gamma(terms + 8, u.product))) * largest + underflow
    stored = float(compound(*[soft.stored_score] * soft.stored_times)) if soft.stored_times else 0.0
    delta += stored * (largest + delta) + soft.stored_times * soft.stored_tiny * max(1.0, scale)
    if not delta < 0.25:
        return OracleError(math.inf, math.inf, math.inf)
    log_keys, tiles = math.log(keys), math.ceil(keys / soft.tile)
    spread = delta + 1.01 * (3 * u.product + soft.stored_score) * (2 * largest + 2 * delta + 2 * soft.lag + log_keys)
    spread += 2.02 * u.product * (largest + delta)
    spread += -math.log1p(-soft.exp) - (tiles + 1) * math.log1p(-soft.rescale)
    spread += float(merge_error(u, largest + delta, log_keys, keys))

    roundings = keys - 1 + 3 * tiles + 2
    merges = math.ceil(keys / soft.part)
    factor = -math.log1p(-soft.rescale)
    merge = math.expm1((merges + 1) * (math.log1p(float(merge_error(u, largest + delta, log_keys, keys))) + factor))
    above = float(compound(soft.probability, soft.value_rounding, gamma(roundings + 4, u.accumulate), merge))
    below = float(compound(soft.row_sum, soft.probability, gamma(roundings, u.accumulate)))
    steps = keys + 3 * tiles + 4
    heaviest = math.exp(2 * spread)
    lost = math.exp(soft.lag) * soft.flush + soft.probability_tiny
    absolute = heaviest * (lost * keys * (1 + u.least_factor) + steps * u.tiny) + u.tiny + u.alignment
    kept = 1 - below - absolute
    if not (spread < 0.25 and kept > 0.5):
        return OracleError(math.inf, math.inf, math.inf)
    after = 1 + float(compound(u.accumulate, u.accumulate, u.output))
    relative = math.exp(2 * spread) * (1 + above) / kept * after - 1
    flushed = (heaviest * steps + 1) * u.tiny + heaviest * lost * keys * u.least_factor + u.alignment
    floor = flushed / kept * after + u.output_tiny + 2 * u.tiny
    whole = absolute / kept * after + u.output_tiny + 2 * u.tiny
    written = 4 * u.product * (largest + delta + soft.lag) + 8 * u.product * (log_keys + soft.lag + 1)
    lse = spread - math.log(kept) + merges * written + soft.log_sum_exp * (largest + log_keys) + 2 * u.tiny
    return OracleError(relative * SLACK, whole * SLACK, lse * SLACK * (1 + 2 * soft.log_sum_exp), floor * SLACK)


def formed(*, least: float | None, parts: int, keys: int, largest: float) -> float:
    """ψ: what float64 makes of the logarithm of a common factor, from what a call says to the last of the sums.

    As for :func:`recombined`.  Every number on the way is a logarithm of at most W in absolute value, a score of a
    calibrator, ln k or ln p₀; exponentials and logarithms are within 8 units.
    """
    log_keys = math.log(keys)
    reach = largest + log_keys + 2.0  # W
    units = 4.0 * reach + 8.0 * parts  # differences to the units of the sums, and their exponentials
    if least is not None:
        units += 3.0 * reach + 8.0 * (min(-math.log(least), 2.0 * reach) + log_keys)  # c + ln k − ln p₀
    return 1.01 * 2.0**-53 * units


def recombined(
    error: OracleError, *, least: float | None, parts: int, keys: int, largest: float, spread: Array, size: Array
) -> Array:
    """The bound on the output, in the shape of ``spread`` and ``size``: range and largest absolute value of V.

    least: what p and p₀ are at least, as computed; ``None`` where the oracle returns its log-sum-exp.
    parts: T, of one row, at most.  keys: of one call, calibrators among them.  largest: S, of their scores.
    """
    if not math.isfinite(error.relative):
        return np.full_like(spread, np.inf)
    if least is None:
        true, eta = 1.0, error.relative + error.absolute
        rho = math.expm1(error.log_sum_exp)
    else:
        true = (least - error.absolute) / (1 + error.relative)
        eta = error.relative + error.absolute / true if true > 0 else math.inf
        rho = eta / (1 - eta) if eta < 0.5 else math.inf
    psi, sums = formed(least=least, parts=parts, keys=keys, largest=largest), float(gamma(2 * parts + 2, 2.0**-53))
    rho = float(compound(rho, math.expm1(psi))) if psi < 0.5 else math.inf
    eta = float(compound(eta, sums))
    rest = 1 - rho - (1 + rho) * eta
    if not rest > 0.1:
        return np.full_like(spread, np.inf)
    off = 2 * eta * size + ((1 + sums) * error.floor + (parts + 1) * 2.0**-1074) / true
    bound: Array = (rho * spread + (1 + rho) * off) / rest + 2.0**-53 * size
    with np.errstate(over="ignore", under="ignore"):  # nothing, or infinite where sums in units of other parts may be
        bound = bound + 4.0 * parts * math.exp(NEAR) * size * 2.0**-1022
    return bound * SLACK


#: Unit roundoff of a type, and half its smallest positive number.
_UNIT = {"float16": (2.0**-11, 2.0**-25), "bfloat16": (2.0**-8, 2.0**-134), "float32": (2.0**-24, 2.0**-150)}
_FLOAT64 = (2.0**-53, 2.0**-1075)


def moved(calls: str, reach: float, norms: float) -> float:
    """What a score is off at most where queries and keys are rounded to the type of the calls, as for :func:`rounded`.

    A number q errs by u|q| + τ, and by no more than |q|, so that |δq·δk| ≤ u²|qk| + uτ|q| + τ|k| in every product.
    """
    unit, tiny = _UNIT.get(calls, _FLOAT64)
    return (2 * unit + unit * unit) * reach + 2 * tiny * norms


def rounded(inputs: str, calls: str, reach: float, norms: float, spread: Array, size: Array) -> Array:
    """What is lost where inputs are rounded to the type of the calls, and the result to that of the inputs.

    reach: at least Σ|σq_a k_a| of every score; norms: σ(‖q‖₁ + ‖k‖₁) at least.  Scores that are off by δ each move the
    output by (e^(2δ) − 1)·range(V) at most.
    """
    unit, tiny = _UNIT.get(inputs, _FLOAT64)
    result: Array = unit * size + tiny
    if inputs == calls:
        return result
    unit, tiny = _UNIT.get(calls, _FLOAT64)
    return result + math.expm1(min(2 * moved(calls, reach, norms), 700.0)) * spread + unit * size + tiny


def of_simulation(
    u: Precision, *, keys: int, terms: int, parts: int, scale: float, reach: float, largest: float, norms: float,
    least: float | None, spread: Array, size: Array, inputs: str, calls: str,
) -> Array:  # fmt: skip
    """The bound on the output of a simulation, in the shape of ``spread`` and ``size``, arrays of any library.

    keys, terms and scale: as in :func:`oracle_error`.  parts: of one row, at most.  reach: at least Σ|σq_a k_a| of
    every score.  largest: of the scores of calibrators.  norms: at least ‖q‖₁ + ‖k‖₁.  least, spread and size: as in
    :func:`recombined`.  inputs, calls: the types of their numbers.
    """
    scale = abs(scale)
    lost = rounded(inputs, calls, reach, scale * norms, spread, size)
    if inputs != calls:  # the oracle is handed rounded numbers, which may be larger
        unit, tiny = _UNIT.get(calls, _FLOAT64)
        reach += moved(calls, reach, scale * norms)
        norms += unit * norms + 2 * terms * tiny
        spread, size = spread + 2 * (unit * size + tiny), size + (unit * size + tiny)
    extra = largest / scale + 1.0 if scale else 1.0
    most = max(reach, largest)
    error = oracle_error(u, keys=keys, terms=terms, scale=scale, largest=most, norms=norms + extra)
    return lost + recombined(error, least=least, parts=parts, keys=keys, largest=most, spread=spread, size=size)


def longest(vectors: Any) -> Any:
    """(heads,): the largest norm of the rows of (heads, rows, d), in float64, of any library."""
    return norms(vectors).max(axis=1)
