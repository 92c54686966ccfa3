"""What a simulation may err: right ones in every class, roundings at their bounds, and digits that are lost."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from assay.spec import attention
from assay.spec.floats import dtype_named
from assay.spec.precision import reference_accuracy
from assay.spec.small_transformers import PRECISIONS, Instance, criteria, define, evaluate, tolerance
from assay.spec.small_transformers.plan import Call, plan
from assay.spec.small_transformers.rounding import Recombination
from assay.spec.small_transformers.tolerance import calls
from assay.spec.softmax.rounding import Softmax

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from assay.spec.precision import Precision

    Array = NDArray[Any]
    Oracle = Callable[[Array, Array, Array, Array, float], tuple[Array, Array]]

CLASSES = list(PRECISIONS)


def instance(
    u: Precision, seed: int = 0, *, n: int = 12, d: int = 8, size: float = 1.0, spread: float = 1.0, **options: Any
) -> Instance:
    rng = np.random.default_rng(seed)
    dtype = dtype_named(u.storage)
    q, k, v = (x * rng.standard_normal((1, 2, n, w)) for x, w in ((size, d), (size, d), (spread, 3)))
    return Instance(q.astype(dtype), k.astype(dtype), v.astype(dtype), **({"oracle_size": 5} | options))


# --- oracles of a class, and a simulation -----------------------------------------------------------------------------


def cut(x: Array, bits: int) -> Array:
    """Rounded to nearest with so many significant bits."""
    mantissa, exponent = np.frexp(x.astype(np.float64))
    rounded: Array = np.ldexp(np.rint(np.ldexp(mantissa, bits)), exponent - bits)
    return rounded


@dataclass(frozen=True)
class Fused:
    """A fused kernel of the class: sums in its accumulator, probabilities and output rounded to the type."""

    u: Precision

    def __call__(self, query: Array, key: Array, value: Array, seen: Array, scale: float) -> tuple[Array, Array]:
        u = self.u
        work = np.float64 if u.name == "float64" else np.float32
        stored = dtype_named(u.storage)
        enter = (lambda x: cut(x, 11).astype(work)) if u.name == "tf32" else (lambda x: x.astype(work))
        score = (enter(query) @ np.swapaxes(enter(key), -1, -2)) * work(scale)
        if u.stored:
            score = score.astype(stored).astype(work)
        score = np.where(seen, score, work(-np.inf))
        most = score.max(axis=-1, keepdims=True)
        most = np.where(np.isfinite(most), most, work(0))
        weight = np.exp(score - most)
        total = weight.sum(axis=-1, keepdims=True, dtype=work)
        some = total > 0
        safe = np.where(some, total, work(1))
        if u.stored:
            weight, total = (weight / safe).astype(stored).astype(work), safe
            out = weight @ enter(value)
        else:
            out = ((weight.astype(stored) if u.operand else enter(weight)).astype(work) @ enter(value)) / safe
        lse = np.where(some, most + np.log(safe), -np.inf)[..., 0].astype(work)
        return out.astype(stored), lse


def simulated(
    made: Instance,
    oracle: Oracle,
    calibrator: Callable[[Array, int], Array],
    *,
    columns: int = 2,
    work: Any = np.float64,
) -> tuple[Array, Array]:
    """The output and the log-sum-exp by the calls of the plan; recombination in ``work``.

    calibrator(scores, keys): c of every row of a call.  columns: 2 for p and p₀, 1 for p alone.
    """
    b, h, n, _ = made.query.shape
    dtype, scale = made.query.dtype, made.scale
    assert scale is not None
    above, below = np.zeros((b, h, n, made.value.shape[3]), work), np.zeros((b, h, n), work)
    factors: list[Array] = []
    results: list[tuple[Call, Array, Array, Array]] = []
    visible = made.visible()
    for call in plan(made):
        q, k = list(call.queries), list(call.keys)
        query, key, value = made.query[:, :, q], made.key[:, :, k], made.value[:, :, k]
        seen = visible[:, :, q][..., k]
        if call.layout == "forward":
            seen = seen & np.tril(np.ones(seen.shape[2:], bool))
        elif call.layout == "backward":
            seen = seen & np.triu(np.ones(seen.shape[2:], bool), 1)
        if made.oracle == "log_sum_exp":
            out, lse = oracle(query, key, value, seen, scale)
            results.append((call, lse.astype(work), out.astype(work), np.isfinite(lse).astype(work)))
            continue
        score = np.where(seen, scale * (query.astype(float) @ np.swapaxes(key.astype(float), 2, 3)), np.nan)
        place = np.nan_to_num(calibrator(score, len(k))) / scale
        x = place.astype(dtype)
        c = scale * x.astype(work)  # the exact product of the stored numbers, up to float64
        query = np.concatenate([query, x[..., None]], axis=3)
        key = np.concatenate([np.zeros_like(key[:, :, :1]), key], axis=2)
        column = np.zeros((*key.shape[:3], 1), dtype)
        column[:, :, 0] = 1
        key = np.concatenate([key, column], axis=3)
        value = np.concatenate([np.zeros_like(value[:, :, :1]), value], axis=2)
        value = np.concatenate([value, 1 - column, column], axis=3)
        seen = np.concatenate([np.ones_like(seen[..., :1]), seen], axis=3)
        out, _ = oracle(query, key, value, seen, scale)
        out = out.astype(work)
        p, p_0 = out[..., -2], out[..., -1]
        if columns == 1:
            p_0 = 1 - p
        with np.errstate(divide="ignore", invalid="ignore"):  # 1 − p may be 0 or less
            results.append((call, np.nan_to_num(c - np.log(p_0), nan=np.inf), out[..., :-2], p))
    for call, factor, _, p in results:
        full = np.full((b, h, n), -np.inf)
        if np.isposinf(factor[p > 0]).any():
            return above + np.inf, below + np.inf
        full[:, :, list(call.queries)] = np.where(p > 0, factor, -np.inf)
        factors.append(full)
    shift = np.max(factors, axis=0)
    shift = np.where(np.isfinite(shift), shift, 0.0)
    for call, factor, out, p in results:
        rows = list(call.queries)
        r = np.where(p > 0, np.exp((factor - shift[:, :, rows]).astype(work)), work(0))
        above[:, :, rows] += r[..., None] * out
        below[:, :, rows] += r * p
    some = below > 0
    safe = np.where(some, below, 1)
    return (
        np.where(some[..., None], above / safe[..., None], 0).astype(work),
        np.where(some, shift + np.log(safe), -np.inf),
    )


def usual(score: Array, keys: int) -> Array:
    """The mean score and ln of the keys, where the log-sum-exp mostly is."""
    some = ~np.isnan(score)
    mean = np.where(some, score, 0.0).sum(axis=-1) / np.maximum(some.sum(axis=-1), 1)
    return np.asarray(mean + math.log(keys))


def zero(score: Array, keys: int) -> Array:
    return np.zeros(score.shape[:-1])


SHAPES: dict[str, dict[str, Any]] = {
    "full": {},
    "causal": {"is_causal": True},
    "window": {"is_causal": True, "window": 2, "sinks": 1},
    "causal only": {"is_causal": True, "oracle": "causal"},
    "log-sum-exp": {"oracle": "log_sum_exp"},
    "log-sum-exp, causal": {"oracle": "log_sum_exp", "is_causal": True},
}


@pytest.mark.claim("MERGE-1")
@pytest.mark.claim("MERGE-2")
@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("options", SHAPES.values(), ids=SHAPES)
def test_right_simulations_keep_the_tolerance(name: str, options: dict[str, Any]) -> None:
    u = PRECISIONS[name]
    for seed, (size, spread) in enumerate(((0.5, 1.0), (1.0, 100.0), (1.7, 1.0))):
        made = instance(u, seed, size=size, spread=spread, return_lse=True, **options)
        held = criteria(made, u)
        for work in (np.float64,) if name == "float64" else (np.float64, np.float32):
            for calibrator in (usual, zero):
                out, lse = simulated(made, Fused(u), calibrator, work=work)
                assert held["output"].ratio(out.astype(dtype_named(u.result))).max() <= 1
                assert held["log_sum_exp"].ratio(lse).max() <= 1


@dataclass(frozen=True)
class AtTheBounds:
    """A call in float64 with roundings of one sign: scores by Δ·toward, probabilities, exponentials and outputs.

    toward (queries of the call, keys): the sign in which a weight of a key errs; the calibrator errs against it.
    """

    u: Precision
    share: float
    signs: Callable[[Array, Array], Array]

    def __call__(self, query: Array, key: Array, value: Array, seen: Array, scale: float) -> tuple[Array, Array]:
        u, soft = self.u, self.u.of(Softmax)
        q, k, v = (x.astype(np.float64) for x in (query, key, value))
        score = scale * (q @ np.swapaxes(k, 2, 3))
        size = abs(scale) * (np.abs(q) @ np.swapaxes(np.abs(k), 2, 3))
        relative = (1 + soft.query_rounding) ** 2 * (1 + q.shape[3] * u.product) - 1
        delta = relative * size + ((1 + soft.stored_score) ** soft.stored_times - 1) * size
        sign = self.signs(score, v)
        weight = np.where(seen, np.exp(score + self.share * delta * sign) * (1 + self.share * soft.exp * sign), 0.0)
        total = weight.sum(axis=-1, keepdims=True)
        lse = np.where(total > 0, np.log(np.where(total > 0, total, 1)), -np.inf)[..., 0]
        if v.shape[-1] == 3:  # the log-sum-exp errs by as much, by itself: too large for a part of large values
            lse = (
                lse
                + self.share
                * (delta.max(axis=-1) + soft.exp)
                * np.where(v[..., 0].mean(axis=-1) > 0.75, 1, -1)[..., None]
            )
        out = (weight * (1 + self.share * soft.probability * sign)) @ v / np.where(total > 0, total, 1)
        out = out * (1 + self.share * u.output * np.where(np.arange(out.shape[-1]) < 3, 1, -1))
        return out, lse


@pytest.mark.claim("MERGE-2")
@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("oracle", ["plain", "log_sum_exp"])
def test_roundings_at_their_bounds_come_near_the_tolerance(name: str, oracle: str) -> None:
    """Keys whose value is above the mean weigh too much, the others too little; outputs too large, p too small."""
    u = PRECISIONS[name]
    rng = np.random.default_rng(3)
    n, d = 8, 64
    query = np.abs(rng.standard_normal((1, 1, n, d))) * (3.0 if u.output == 0 else 1.0)
    key = np.abs(rng.standard_normal((1, 1, 1, d))) + 0.01 * rng.random((1, 1, n, d))
    value = np.repeat(np.where(np.arange(n) < n // 2, 0.5, 1.0)[None, None, :, None], 3, axis=3)
    dtype = dtype_named(u.storage)
    made = Instance(query.astype(dtype), key.astype(dtype), value.astype(dtype), oracle_size=5, oracle=oracle)

    def signs(score: Array, v: Array) -> Array:
        sign = np.where(v[..., 0] > 0.75, 1.0, -1.0)
        if v.shape[-1] > 3:  # the calibrator weighs too little, and so the part too much, where values are large
            real, calibrating = v[..., -2], v[..., -1] == 1
            above = (real * (v[..., 0] - 0.75)).sum(axis=-1, keepdims=True)
            sign = np.where(calibrating, -np.sign(above), sign)
        return sign[:, :, None]

    exact = define(made, reference_accuracy(u)).midpoint
    out, _ = simulated(made, AtTheBounds(u, 1.0, signs), usual)
    ratio = (np.abs(out - exact) / tolerance(made, u)).max()
    assert ratio <= 1
    assert ratio >= (
        0.2 if oracle == "plain" else 0.15
    )  # an oracle with its log-sum-exp may be calibrated all the same


@pytest.mark.claim("MERGE-2")
@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("oracle", ["plain", "log_sum_exp"])
def test_random_signs_of_roundings_keep_the_tolerance(name: str, oracle: str) -> None:
    u = PRECISIONS[name]
    for seed in range(6):
        rng = np.random.default_rng(seed)
        made = instance(u, seed, n=9, size=1.3, oracle=oracle, is_causal=bool(seed % 2))

        def signs(score: Array, v: Array, rng: np.random.Generator = rng) -> Array:
            return rng.choice([-1.0, 1.0], score.shape)

        out, _ = simulated(made, AtTheBounds(u, 1.0, signs), usual if seed < 3 else zero)
        exact = define(made, reference_accuracy(u)).midpoint
        assert (np.abs(out - exact) / tolerance(made, u)).max() <= 1


# --- MERGE-1: no digits are lost --------------------------------------------------------------------------------------


def error_in_roundoffs(name: str, at: float, columns: int) -> float:
    """The largest error in units of the type's roundoff with every calibrator at the log-sum-exp and ``at``."""
    u = PRECISIONS[name]
    unit = {"float32": 2.0**-24, "bfloat16": 2.0**-8, "float16": 2.0**-11}[name]
    made = instance(u, 5, n=64, d=16, size=1.0, oracle_size=17)

    def far(score: Array, keys: int) -> Array:
        total: Array = np.logaddexp.reduce(score, axis=-1)
        return total + at

    out, _ = simulated(made, Fused(u), far, columns=columns)
    exact = define(made, reference_accuracy(u)).midpoint
    size = np.abs(made.value.astype(float)).max()
    with np.errstate(invalid="ignore"):
        gap = np.abs(out - exact).max() / (unit * size)
    return float(gap) if np.isfinite(gap) else math.inf


@pytest.mark.claim("MERGE-1")
@pytest.mark.parametrize(("name", "reach", "most"), [("float32", 40.0, 40.0), ("bfloat16", 40.0, 8.0),
                                                     ("float16", 5.0, 8.0)])  # fmt: skip
def test_two_columns_lose_no_digits_wherever_the_calibrator_is(name: str, reach: float, most: float) -> None:
    for at in (-reach, -reach / 2, -3.0, 0.0, 3.0, reach / 2, reach):
        assert error_in_roundoffs(name, at, 2) <= most


@pytest.mark.claim("MERGE-1")
def test_one_column_loses_seven_digits_where_two_lose_none() -> None:
    """With 1 − p for p₀ a calibrator 15 below the log-sum-exp has lost almost all digits of float32."""
    assert error_in_roundoffs("float32", -15.0, 1) >= 1e5
    assert error_in_roundoffs("float32", -15.0, 2) <= 40
    assert error_in_roundoffs("bfloat16", -6.0, 1) >= 30 * error_in_roundoffs("bfloat16", -6.0, 2)


@pytest.mark.claim("MERGE-1")
def test_a_calibrator_at_0_loses_all_digits_with_one_column_and_none_with_two() -> None:
    """A number that is added to all scores of a row changes nothing, but to one column it does."""
    u = PRECISIONS["float32"]
    made = instance(u, 1, n=64, d=16, size=0.5, oracle_size=17)
    one = np.ones_like(made.query[..., :1])

    def error(above: float, columns: int) -> float:
        query, key = np.concatenate([made.query, above * one], axis=3), np.concatenate([made.key, 4 * one], axis=3)
        far = made.replace(query=query.astype(np.float32), key=key.astype(np.float32), scale=0.25)
        out, _ = simulated(far, Fused(u), zero, columns=columns)
        gap = np.abs(out - define(far).midpoint)
        assert columns == 1 or (gap <= tolerance(far, u)).all()
        return float(gap.max() / (2.0**-24 * np.abs(made.value).max()))

    assert error(12.0, 1) >= 5e5
    assert error(13.0, 1) == np.inf  # a p that is 1
    assert error(12.0, 2) <= 8
    assert error(30.0, 2) <= 8


@pytest.mark.claim("MERGE-2")
@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("oracle", ["plain", "log_sum_exp"])
def test_the_factor_of_a_part_is_counted_as_the_claim_says(name: str, oracle: str) -> None:
    """L* + ψ of one key, and what numerator and denominator err, number by number."""
    u = PRECISIONS[name]
    soft, own = u.of(Softmax), u.of(Recombination)
    made = instance(u, 7, n=6, d=5, size=0.7, oracle_size=4, oracle=oracle)
    exact = evaluate(made, reference_accuracy(u))
    parts = calls(made, u, exact)
    m, t, scale = 4, 2 * 2 + 2, 1 / math.sqrt(5)

    def gamma(k: float, unit: float) -> float:
        return k * unit / (1 - k * unit)

    row, i, j = (0, 1, 2), 2, 3
    score = exact.score.midpoint[row]
    most = float(np.abs(score).max())
    reach = most + math.log(m) + 1
    far = min(1 - math.log(own.least), 2 * most + 2 * math.log(m) + 1)

    def stored(delta: float, size: float) -> float:
        times = soft.stored_times
        return delta + ((1 + soft.stored_score) ** times - 1) * (size + delta) + times * soft.stored_tiny

    q, k = (np.abs(x[0, 1].astype(float)) for x in (made.query, made.key))
    sizes = scale * (q[i] @ k.T)
    delta: Any = [
        stored(((1 + soft.query_rounding) ** 2 * (1 + gamma(15, u.product)) - 1) * size, size) for size in sizes
    ]
    own_delta = stored(((1 + soft.query_rounding) ** 2 * (1 + gamma(10, u.product)) - 1) * reach, reach)
    largest = max(*delta, own_delta)
    top, log_d = float(score.max()), float(exact.log_sum_exp.midpoint[row] - score.max())

    def e_lse(size: float, log: float) -> float:
        return 1.01 * u.product * (4 * (size + log) + 8 * max(1.0, log))

    factors = -math.log(1 - soft.exp) - 2 * math.log(1 - soft.rescale)
    below = top - score + np.array(delta) + max(delta) + 2 * soft.lag + log_d
    plain = np.array(delta) + 1.01 * (3 * u.product + soft.stored_score) * below
    plain += 2.02 * u.product * (most + max(delta)) + factors + e_lse(most + max(delta), log_d)
    rounding = 1.01 * (3 * u.product + soft.stored_score) * (far + 2 * math.log(m) + 2 * largest + 2 * soft.lag)
    rounding += 2.02 * u.product * (reach + largest)
    grown = e_lse(reach + largest, math.log(m)) - e_lse(most + max(delta), log_d)
    keys = plain + rounding + grown
    key = float(keys[j])
    calibrator = own_delta + rounding + factors + e_lse(reach + largest, math.log(m))

    k_sums = m - 1 + 3 + 2
    merge = ((1 + e_lse(reach + largest, math.log(m))) / (1 - soft.rescale)) ** 2 - 1
    nu = (1 + soft.probability) * (1 + soft.value_rounding) * (1 + gamma(k_sums + 4, u.accumulate)) * (1 + merge) - 1
    most_spread = max(float(keys.max()), calibrator)
    unit = math.exp(largest + most_spread)
    flushed = (math.exp(soft.lag) * soft.flush + soft.probability_tiny) * unit
    lam = (1 + soft.probability) * (1 + gamma(k_sums, u.accumulate)) - 1 + flushed * m
    kappa = (1 + u.accumulate) ** 2 * (1 + u.output) - 1
    column = (nu + lam) / (1 - lam) * (1 + kappa) + kappa
    lost = flushed / (1 - lam) * (1 + kappa)
    least = (own.least - lost * m - u.output_tiny) / (1 + column)
    psi = calibrator - math.log(1 - column - (lost + u.output_tiny) / least)
    merged = 0.0
    if oracle == "log_sum_exp":  # B, and merges by stored log-sum-exps
        said = most_spread - math.log(1 - lam) + soft.log_sum_exp * (most + math.log(m) + most_spread)
        said += 4 * u.product * (most + largest + soft.lag) + 8 * u.product * (math.log(m) + soft.lag + 1)
        psi = max(psi, most_spread + said)
        merged = ((1 + e_lse(most + math.log(m) + said, math.log(6))) / (1 - soft.rescale)) ** (t + 1) - 1
    psi += 1.01 * own.unit * (8 * (reach + far) + 16) + 1.01 * (t + 2) * (own.elementary + 2 * own.unit)
    made_of = float(parts.row.spread[row][j])
    assert (key + psi) * (1 - 1e-6) <= made_of <= (key + psi) * 1.02
    in_all = (1 + column) * (1 + gamma(t + 6, own.unit)) - 1
    assert in_all * (1 - 1e-6) - 4e-16 <= float(parts.below[row]) <= in_all * 1.005 + 4e-16
    in_all = (1 + in_all) * (1 + merged) - 1
    assert in_all * (1 - 1e-6) - 4e-16 <= float(parts.above[row]) <= in_all * 1.005 + 4e-16


@pytest.mark.claim("MERGE-2")
@pytest.mark.parametrize("name", CLASSES)
def test_the_log_sum_exp_is_allowed_what_the_claim_says(name: str) -> None:
    u = PRECISIONS[name]
    made = instance(u, 7, n=6, oracle_size=4, size=0.7)
    exact = evaluate(made, reference_accuracy(u))
    parts, own, t = calls(made, u, exact), u.of(Recombination), 6
    row = parts.row
    moved = np.minimum((row.probability * np.expm1(row.spread)).sum(axis=3), row.spread.max(axis=3))
    lost = parts.below + parts.lost * row.count + parts.least_lost
    lse = row.log_sum_exp
    written = t * (8 * own.unit * (lse + parts.far + 1) + own.elementary) + u.of(Softmax).log_sum_exp * lse
    right = moved - np.log1p(-lost) + written
    bound = tolerance(made, u, "log_sum_exp")
    assert (right * (1 - 1e-6) <= bound).all()
    assert (bound <= right * (1 + 1e-5) + exact.log_sum_exp.radius).all()


@pytest.mark.claim("MERGE-2")
@pytest.mark.claim("MERGE-4")
def test_parts_with_log_sum_exps_may_be_merged_by_corrections(monkeypatch: pytest.MonkeyPatch) -> None:
    u = PRECISIONS["float64"]
    made = instance(u, 7, n=6, oracle_size=4, oracle="log_sum_exp")
    with_them = tolerance(made, u)
    monkeypatch.setattr(sys.modules["assay.spec.small_transformers.tolerance"], "corrections", lambda *_: 0.0)
    more = with_them - tolerance(made, u)
    largest = np.abs(made.value).max(axis=2, keepdims=True)
    soft = u.of(Softmax)
    right = 6 * (6 * u.accumulate * largest + (soft.exp + soft.rescale + 8 * u.product) * largest)
    assert (more >= 0.999 * right).all()
    assert (more <= 2.001 * right).all()


@pytest.mark.claim("MERGE-2")
def test_a_calibrator_whose_coordinate_may_overflow_is_outside_the_domain() -> None:
    """|c|/σ is at most (S + ln M + 1)/σ, which with log₂e is to stay below half the largest number."""
    u = PRECISIONS["float16-eager"]
    near = math.log(5) + 1
    for share, inside in ((0.95, True), (1.05, False)):
        made = instance(u, 3, size=0.0, scale=near / (share * 65504 / 3))
        assert np.isfinite(tolerance(made, u)).all() == inside


@pytest.mark.claim("MERGE-2")
def test_one_column_is_outside_the_tolerance() -> None:
    u = PRECISIONS["float32"]
    made = instance(u, 1, n=16, size=2.0)

    def below(score: Array, keys: int) -> Array:
        return np.nan_to_num(np.nanmin(score, axis=-1)) - 6

    out, _ = simulated(made, Fused(u), below, columns=1)
    with np.errstate(over="ignore"):
        assert criteria(made, u)["output"].ratio(out.astype(np.float32)).max() > 3


# --- the tolerance itself ---------------------------------------------------------------------------------------------


@pytest.mark.claim("MERGE-2")
@pytest.mark.parametrize("name", CLASSES)
def test_the_tolerance_is_some_times_that_of_one_large_call(name: str) -> None:
    u = PRECISIONS[name]
    made = instance(u, 2, n=24, size=0.5, oracle_size=9)
    large = attention.tolerance(made.attention(), u)
    share = tolerance(made, u) / large
    assert share.min() >= 1
    assert np.median(share) <= 9
    lse = tolerance(made, u, "log_sum_exp") / attention.tolerance(made.attention(), u, "log_sum_exp")
    assert lse.min() >= 1


@pytest.mark.claim("MERGE-2")
def test_what_a_class_rounds_more_raises_the_tolerance() -> None:
    u = PRECISIONS["bfloat16"]
    made = instance(u, 4)
    least = tolerance(made, u)
    for changed in (
        u.with_("output", output=2.0**-7),
        u.with_("product", product=2.0**-16),
        u.with_("probability", Softmax, probability=2.0**-6),
        u.with_("exp", Softmax, exp=2.0**-7),
        u.with_("recombination", Recombination, unit=2.0**-10),
        u.with_("elementary", Recombination, elementary=2.0**-9),
    ):
        assert (tolerance(made, changed) > least).all(), changed.name


@pytest.mark.claim("MERGE-2")
def test_rows_that_see_nothing_are_0_and_rows_outside_the_domain_are_not_judged() -> None:
    u = PRECISIONS["float16"]
    mask = np.ones((1, 1, 12, 12), bool)
    mask[0, 0, 4] = False
    made = instance(u, 4, mask=mask)
    assert (tolerance(made, u)[:, :, 4] == 0).all()
    assert (tolerance(made, u, "log_sum_exp")[:, :, 4] == 0).all()
    assert (tolerance(made, u)[:, :, 5] > 0).all()
    huge = made.replace(query=np.full_like(made.query, 60000))
    eager = PRECISIONS["float16-eager"]
    assert np.isposinf(tolerance(huge, eager)[:, :, 5]).all()


@pytest.mark.claim("MERGE-2")
def test_the_parts_of_the_bound_are_those_of_the_claim() -> None:
    """N of one column, number by number, for the class that rounds everything."""
    u = PRECISIONS["bfloat16"]
    soft = u.of(Softmax)
    made = instance(u, 6, n=6, oracle_size=40)
    parts = calls(made, u, evaluate(made))
    k = 39 + 3 * 3 + 2
    gamma_k, gamma_more = (x * u.accumulate / (1 - x * u.accumulate) for x in (k, k + 4))
    nu = (1 + soft.probability) * (1 + gamma_more) - 1
    lam = (1 + soft.probability) * (1 + gamma_k) - 1
    kappa = (1 + u.accumulate) ** 2 * (1 + u.output) - 1
    least = (nu + lam) / (1 - lam) * (1 + kappa) + kappa
    assert (parts.above >= least).all()
    assert (parts.above <= least * 1.02).all()


def test_an_unknown_output_or_class_is_refused() -> None:
    made = instance(PRECISIONS["float32"])
    with pytest.raises(ValueError, match="unknown output"):
        tolerance(made, "float32", "scores")
    with pytest.raises(ValueError, match="unknown precision class 'float8-e4m3'"):
        tolerance(made, "float8-e4m3")
    assert replace(Recombination.usual(PRECISIONS["float32"]), least=1.0).far == 1.0
