"""The tolerance: against its formulas in 50 digits, against adversaries inside the model, at the edge of the domain."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from matrix_unit import on_a_matrix_unit
from mpmath import mp, mpf

from assay.spec.attention import Instance, define, evaluate, tolerance
from assay.spec.floats import dtype_named
from assay.spec.precision import PRECISIONS, Precision, reference_accuracy
from assay.spec.softmax.rounding import Softmax
from assay.spec.softmax.weights import weights

CLASSES = sorted(PRECISIONS)


def drawn(
    seed: int, precision: Precision, n_q: int = 3, n_k: int = 7, d: int = 5, size: float = 1.0, **options: Any
) -> Instance:
    rng = np.random.default_rng(seed)
    dtype = dtype_named(precision.storage)
    q, k, v = ((size * rng.standard_normal((1, 1, n, w))).astype(dtype) for n, w in ((n_q, d), (n_k, d), (n_k, 3)))
    return Instance(q, k, v, **options)


# --- TOL-8: an independent evaluation of the formulas of proofs_notes, scalar by scalar -------------------------


def gamma(k: Any, u: float) -> Any:
    return mpf(k) * u / (1 - mpf(k) * u) if k * u < 0.5 else mp.inf


def scores_of(instance: Instance, u: Precision, i: int) -> tuple[list[int], list[Any], list[Any]]:
    """Attended keys of row i, their scores and Δ, from TOL-1 and TOL-2."""
    soft = u.of(Softmax)
    q, k = instance.query[0, 0].astype(float), instance.key[0, 0].astype(float)
    d, scale = q.shape[1], mpf(instance.scale or 0.0)
    keys = np.flatnonzero(instance.attends(0)[0][i]).tolist()
    scores, deltas = [], []
    for j in keys:
        raw = sum(mpf(a) * mpf(b) for a, b in zip(q[i], k[j], strict=True))
        size = abs(scale) * sum(abs(mpf(a) * mpf(b)) for a, b in zip(q[i], k[j], strict=True))
        norms = sum(abs(mpf(a)) for a in q[i]) + sum(abs(mpf(b)) for b in k[j])
        delta = ((1 + mpf(soft.query_rounding)) ** 2 * (1 + gamma(d + 8, u.product)) - 1) * size
        under = 2 * (1 + abs(scale)) * u.tiny * (2 * d + 2 + norms)
        under += 2 * (1 + abs(scale)) * soft.stored_tiny * (norms + (size / abs(scale) if scale else norms**2))
        under += (1 + abs(scale)) * u.at_once * mpf(u.product) * u.least_factor * (norms + d * u.least_factor)
        delta += under * max(1, instance.softcap or 0)
        score, times, stored, capped = scale * raw, soft.stored_times, size, size
        if instance.softcap is not None:
            c = mpf(instance.softcap)
            score, capped = c * mp.tanh(score / c), min(size, c)
            delta += c * (soft.tanh + 8 * mpf(u.product))
            times += 3 if times else 0
        if instance.bias is not None:
            b = mpf(float(np.broadcast_to(instance.bias, (1, 1, *q.shape[:1], k.shape[0]))[0, 0, i, j]))
            score += b
            delta += 5 * mpf(u.product) * (capped + delta + abs(b)) + gamma(d + 8, u.product) * abs(b)
            stored += abs(b)
        delta += ((1 + mpf(soft.stored_score)) ** times - 1) * (stored + delta) + times * soft.stored_tiny * max(
            1, abs(scale)
        )
        scores.append(score)
        deltas.append(delta)
    return keys, scores, deltas


def bound_of(instance: Instance, u: Precision, i: int, c: int, *, output: str) -> Any:
    soft = u.of(Softmax)
    keys, s, delta = scores_of(instance, u, i)
    if instance.sink is not None:
        s.append(mpf(float(instance.sink[0])))
        delta.append((4 * mpf(u.product) + soft.stored_score) * abs(s[-1]) + mpf(soft.stored_tiny))
    v = [mpf(float(instance.value[0, 0, j, c])) for j in keys] + [mpf(0)] * (instance.sink is not None)
    n, m, top_delta, top_size = len(s), max(s), max(delta), max(abs(x) for x in s)
    weights = [mp.exp(x - m) for x in s]
    total = sum(weights)
    p = [w / total for w in weights]
    o = sum(a * b for a, b in zip(p, v, strict=True))
    ln_d = mp.log(total)
    tiles = min(math.ceil(instance.key.shape[2] / soft.tile), n)

    def merge(size: Any) -> Any:
        return mpf("1.01") * u.product * (4 * (size + ln_d) + 8 * max(1, ln_d) * (n > 1))

    spread = [
        delta[j]
        + mpf("1.01")
        * (3 * mpf(u.product) + soft.stored_score)
        * (m - s[j] + delta[j] + top_delta + 2 * soft.lag + ln_d)
        + mpf("2.02") * u.product * (top_size + top_delta)
        + mpf(soft.stored_tiny)
        - mp.log1p(-mpf(soft.exp))
        - (tiles + 1) * mp.log1p(-mpf(soft.rescale))
        + merge(top_size + top_delta)
        for j in range(n)
    ]
    lower = sum(p[j] * mp.exp(-spread[j]) for j in range(n))
    roundings = n - 1 + 3 * tiles + 2 if n > 1 else 0
    lam = (1 + mpf(soft.row_sum)) * (1 + gamma(roundings, u.accumulate)) - 1
    omega = mp.exp(top_delta) / lower
    steps = n + 3 * tiles + 4
    lost = mp.exp(soft.lag) * soft.flush + mpf(soft.probability_tiny) / (1 if soft.normalised else total)
    parts = math.ceil(instance.key.shape[2] / soft.part)
    if output == "log_sum_exp":
        beta = omega * (lost * n + steps * u.tiny)
        x = (1 + mpf(soft.probability)) * (1 + lam + beta) - 1
        first = min(sum(p[j] * mp.expm1(spread[j]) for j in range(n)), max(spread))
        written = 4 * mpf(u.product) * (abs(m) + top_delta + soft.lag) + 8 * mpf(u.product) * (ln_d + soft.lag + 1)
        return first - mp.log(1 - x) + parts * written + soft.log_sum_exp * (abs(m) + ln_d) + 2 * u.tiny
    alpha = omega * (lost * sum(abs(x) + u.least_factor for x in v) + steps * u.tiny) + u.tiny
    alpha += u.at_once * mpf(u.accumulate) * u.least_factor * (max(abs(x) for x in v) > 0)
    beta = omega * (lost * n + steps * u.tiny)
    hull = max(abs(x - o) for x in v)
    largest = max(abs(x) for x in v)
    e1 = min(sum(p[j] * mp.expm1(spread[j]) * abs(v[j] - o) for j in range(n)) / lower, hull)
    deviation = sum(p[j] * mp.exp(spread[j]) * abs(v[j] - o) for j in range(n)) / lower
    size = min(sum(p[j] * mp.exp(spread[j]) * abs(v[j]) for j in range(n)) / lower, largest)
    a = min(abs(o) + e1, size)
    e_lse = merge(abs(m) + top_delta)
    merged = (1 + e_lse) / (1 - mpf(soft.rescale) * (n > 1))
    merges = parts if parts > 1 else 0

    def numerator(count: int, power: int) -> Any:
        return (1 + mpf(soft.value_rounding)) * (1 + gamma(count + 4, u.accumulate)) * merged**power - 1

    nu_plain = numerator(roundings, parts + 1)
    nu = (1 + mpf(soft.probability)) * (1 + nu_plain) - 1
    e2 = (nu * size + alpha + (lam + beta) * a) / (1 - lam - beta)
    # K7: weights from a stored log-sum-exp
    above, below = ((n - 1 + each + parts + 2 if n > 1 else 0) for each in (0, tiles))
    nu_stored = (1 + mpf(soft.probability)) * (1 + numerator(above, merges + (1 if n > 1 else 2))) - 1
    apart, at_most = apart_of(s, delta, u, tiles)
    mean = sum(p[j] * mp.exp(spread[j]) * mp.expm1(apart[j]) for j in range(n)) / lower
    lam_stored = (1 + mpf(soft.row_sum)) * (1 + gamma(below, u.accumulate))
    lam_stored = lam_stored * (1 + min(mean, mp.expm1(at_most))) - 1
    e2 = max(e2, (nu_stored * size + alpha + (lam_stored + beta) * a) / (1 - lam_stored - beta))
    u_p = mpf(soft.probability)
    shift = u_p / (1 - u_p) * min(deviation + e1, 2 * largest)
    grown = min(size * (1 + u_p) / (1 - u_p), largest)
    other = shift + (nu_plain * grown + alpha + (lam + beta) * min(a + shift, grown)) / (1 - lam - beta)
    e2 = max(e2, other) if u_p else e2
    kappa = (1 + mpf(u.accumulate)) ** 2 * (1 + mpf(u.output)) - 1
    return e1 + e2 + kappa * (a + e2) + u.output_tiny + 2 * mpf(u.tiny)


def apart_of(s: list[Any], delta: list[Any], u: Precision, tiles: int) -> tuple[list[Any], Any]:
    """R_j and the logarithm of 1 + Y at most (TOL-4)."""
    soft, n = u.of(Softmax), len(s)
    low, high = ([x + sign * y for x, y in zip(s, delta, strict=True)] for sign in (-1, 1))
    ln_d = mp.log(sum(mp.exp(min(mpf(0), x - max(low))) for x in high))
    rounded = mpf("1.01") * (3 * mpf(u.product) + soft.stored_score)
    shared = mpf("2.02") * u.product * (max(abs(x) for x in s) + max(delta) + ln_d) + 2 * mpf(soft.stored_tiny)
    shared -= tiles * mp.log1p(-mpf(soft.rescale)) if n > 1 else 0
    gaps = [max([mpf(0), *(high[k] - low[j] for k in range(n) if k != j)]) for j in range(n)]
    return [rounded * (2 * gap + ln_d) + shared for gap in gaps], rounded * (2 * mp.log(n) + ln_d) + shared


OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "causal": {"is_causal": True},
    "softcap": {"softcap": 3.0, "scale": 0.7},
    "bias": {"bias": np.linspace(-2, 2, 21).reshape(1, 1, 3, 7)},
    "sink": {"sink": np.array([0.75])},
    "large": {"size": 4.0, "scale": 1.1},
}


@pytest.mark.claim("TOL-8")
@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("output", ["output", "log_sum_exp"])
def test_the_computed_bound_is_just_above_the_formulas(name: str, option: str, output: str) -> None:
    u = PRECISIONS[name]
    options = dict(OPTIONS[option])
    for key in ("bias", "sink"):
        if key in options:
            options[key] = options[key].astype(dtype_named(u.storage))
    instance = drawn(7, u, **options)
    computed = tolerance(instance, u, output)
    with mp.workdps(50):
        for i in range(instance.query.shape[2]):
            for c in range(instance.value.shape[3] if output == "output" else 1):
                formula = bound_of(instance, u, i, c, output=output)
                mine = mpf(float(computed[0, 0, i, c] if output == "output" else computed[0, 0, i]))
                assert formula <= mine, (i, c, float(mine / formula))
                assert mine <= formula * (mpf("1.0001") if name != "float64" else mpf("1.6")), (
                    i,
                    c,
                    float(mine / formula),
                )


# --- TOL-7: adversaries that use every freedom of the model ------------------------------------------------------


def adversary(instance: Instance, u: Precision, column: int, sign: int, *, sums_rounded: bool) -> np.ndarray[Any, Any]:
    """The output of a kernel of the class whose every rounding is as bad for one column as the model allows.

    Scores, exp's argument, exp: θ_j = ± what K1 and K2 allow (without the terms of merges and of an lse), towards v_j
    above or below the output; probabilities and sums against the denominators; in exact real arithmetic otherwise
    (float64 here).
    """
    soft = u.of(Softmax)
    exact = evaluate(instance, reference_accuracy(u))
    score = exact.score.midpoint[0, 0]
    d, n = instance.query.shape[3], instance.key.shape[2]
    g = np.abs(instance.query[0, 0].astype(float)) @ np.abs(instance.key[0, 0].astype(float)).T
    v = instance.value[0, 0].astype(float)
    out = np.empty(exact.output.midpoint.shape[2:])
    for i in range(score.shape[0]):
        delta = ((1 + soft.query_rounding) ** 2 * (1 + d * u.product) - 1) * abs(instance.scale or 0.0) * g[i]
        delta = delta + ((1 + soft.stored_score) ** soft.stored_times - 1) * np.abs(score[i])
        top = score[i].max()
        theta = delta + 3 * u.product * (top - score[i]) + np.log1p(soft.exp)
        o = exact.output.midpoint[0, 0, i]
        toward = np.sign(v[:, column] - o[column]) * sign
        w = np.exp(score[i] - top + toward * theta)
        push = sign * np.sign(v[:, column])
        rounded = w * (1 + push * soft.probability)
        sums = n * u.accumulate
        numerator = (rounded * (1 + push * sums)) @ v
        below = rounded if sums_rounded else w
        denominator = (below * (1 - sign * np.sign(o[column]) * sums)).sum()
        out[i] = numerator / denominator * (1 + sign * np.sign(o) * u.output)
    return out[None, None]


@pytest.mark.claim("TOL-0")
@pytest.mark.claim("TOL-4")
@pytest.mark.claim("TOL-7")
@pytest.mark.parametrize("name", CLASSES)
def test_the_worst_kernel_of_the_model_stays_within_its_class_and_comes_near(name: str) -> None:
    u = PRECISIONS[name]
    worst = 0.0
    for seed in range(12):
        instance = drawn(seed, u, n_k=(2, 7, 33)[seed % 3], size=(0.5, 1.0, 2.0, 3.0)[seed % 4])
        bound, reference = tolerance(instance, u), define(instance, reference_accuracy(u))
        for sign in (-1, 1):
            for sums_rounded in (False, True):
                for column in range(3):
                    ratio = reference.ratio(adversary(instance, u, column, sign, sums_rounded=sums_rounded), bound)
                    worst = max(worst, float(ratio[..., column].max()))
    assert worst <= 1.0
    assert worst >= 0.25, worst  # else the derivation gives too much away


@pytest.mark.claim("TOL-7")
@pytest.mark.parametrize("name", CLASSES)
def test_twice_the_freedom_of_the_model_is_seen(name: str) -> None:
    u = PRECISIONS[name]
    soft = u.of(Softmax)
    loose = u.with_(
        "loose",
        Softmax,
        query_rounding=8 * soft.query_rounding,
        stored_score=8 * soft.stored_score,
        exp=min(0.5, 8 * soft.exp),
        probability=min(0.5, 8 * soft.probability),
    ).with_("looser", product=8 * u.product, accumulate=8 * u.accumulate, output=8 * u.output)
    instance = drawn(3, u, n_k=33)
    ratio = define(instance, reference_accuracy(u)).ratio(
        adversary(instance, loose, 0, 1, sums_rounded=False), tolerance(instance, u)
    )
    assert ratio.max() > 1.0


# --- TOL-4: weights from a stored log-sum-exp --------------------------------------------------------------------


@pytest.mark.claim("TOL-4")
@pytest.mark.parametrize("name", ["bfloat16-eager", "float16-eager"])
def test_the_exponential_of_a_stored_logarithm_of_probabilities_stays_within_its_class_and_comes_near(
    name: str,
) -> None:
    u = PRECISIONS[name]
    kind = dtype_named(u.storage)

    def stored(x: Any) -> Any:
        return np.asarray(x).astype(kind).astype(np.float32)

    value = (1 + np.arange(64) / 64).astype(kind)
    worst = 0.0
    for n in (2, 3, 56, 61, 128, 200, 259):
        instance = Instance(np.zeros((1, 1, 1, 4), kind), np.ones((1, 1, n, 4), kind), np.tile(value, (1, 1, n, 1)))
        logarithm = stored(np.full(n, -np.log(np.float32(n))))  # each key's score less the log-sum-exp
        out = stored(stored(np.exp(logarithm)) @ instance.value[0, 0].astype(np.float32))
        worst = max(worst, float(np.max(np.abs(out - value.astype(float)) / tolerance(instance, u)[0, 0, 0])))
    assert 0.5 <= worst <= 1.0


@pytest.mark.claim("TOL-4")
@pytest.mark.parametrize("name", ["float32", "float64"])
@pytest.mark.parametrize("first", [1, 40, 1000])
def test_exps_that_are_all_off_after_a_log_sum_exp_of_rescaled_sums_stay_within_the_class(
    name: str, first: int
) -> None:
    u = PRECISIONS[name]
    soft, tiles = u.of(Softmax), 60
    n = first + 16 * tiles
    # the maximum rises by next to nothing in each tile, so that every tile rescales what came before it
    score = np.concatenate([np.zeros(first), np.repeat(1e-30 * np.arange(1, tiles + 1), 16)])
    kind = np.dtype(name)
    instance = Instance(
        np.ones((1, 1, 1, 1), kind), score.astype(kind).reshape(1, 1, n, 1), np.ones((1, 1, n, 1), kind), scale=1.0
    )
    total = first * (1 - soft.exp)
    for _ in range(tiles):
        total = (total * (1 - soft.rescale) + 16 * (1 - soft.exp)) * (1 - 17 * u.accumulate)
    out = n * (1 + soft.exp) * (1 + n * u.accumulate) / (total * (1 - 8 * u.product * math.log(n)))
    assert 0.3 <= (out - 1.0) / float(tolerance(instance, u).item()) <= 1.0


@pytest.mark.claim("TOL-0")
@pytest.mark.parametrize("package", ["numpy", "torch", "jax"])
@pytest.mark.parametrize("base", ["exp", "exp2"])
def test_exponentials_of_libraries_are_1_near_0_up_to_their_argument_and_a_rounding(package: str, base: str) -> None:
    library = pytest.importorskip("jax.numpy" if package == "jax" else package)
    exponent = 10.0 ** np.linspace(-12, -3, 5001)
    x = np.concatenate([-exponent, exponent]).astype(np.float32)
    given = library.from_numpy(x) if package == "torch" else library.asarray(x)
    y = np.asarray(getattr(library, base)(given)).astype(float)
    true = x.astype(float) * (math.log(2.0) if base == "exp2" else 1.0)
    error = np.abs(y / np.exp(true) - 1)
    assert (error <= np.abs(true) + 2 * 2.0**-24).all()


# --- TOL-1, TOL-2, TOL-3, TOL-5: kernels whose stages round as badly as they may --------------------------------


def sequential_scores(
    q: np.ndarray[Any, Any], k: np.ndarray[Any, Any], scale: float, fold: str
) -> np.ndarray[Any, Any]:
    """Scores in strict float32, products added in order, the scale applied where ``fold`` says; then in float64."""
    f = np.float32
    q, k = q.astype(f), k.astype(f)
    log2e, after = f(1.4426950408889634), f(1.0)
    s = f(abs(scale))
    if fold == "query":
        q = (q * f(s * log2e)).astype(f)
    elif fold == "both":
        root = np.sqrt(f(s * log2e))
        q, k = (q * root).astype(f), (k * root).astype(f)
    elif fold == "key":
        k = (k * f(s * log2e)).astype(f)
    else:
        after = f(s * log2e)
    total = np.zeros((q.shape[0], k.shape[0]), f)
    for c in range(q.shape[1]):
        total = (total + (q[:, c, None] * k[None, :, c]).astype(f)).astype(f)
    return (total * after).astype(np.float64) * math.copysign(math.log(2.0), scale)


@pytest.mark.claim("TOL-1")
@pytest.mark.parametrize("fold", ["query", "key", "both", "after"])
@pytest.mark.parametrize("d", [1, 2, 7, 64, 257])
def test_scores_keep_their_bound_wherever_the_scale_is_applied(fold: str, d: int) -> None:
    u = PRECISIONS["float32"]
    for seed in range(5):
        for size, scale in ((1.0, 1 / math.sqrt(d)), (1e-30, 3.3e7), (1e15, -1.7e-22), (1e-20, 0.013)):
            instance = drawn(seed, u, n_k=9, d=d, size=size, scale=scale)
            exact = evaluate(instance)
            q, k = instance.query[0, 0], instance.key[0, 0]
            error = np.abs(sequential_scores(q, k, scale, fold) - exact.score.midpoint[0, 0])
            g = abs(scale) * (np.abs(q.astype(float)) @ np.abs(k.astype(float)).T)
            norms = np.abs(q.astype(float)).sum(1)[:, None] + np.abs(k.astype(float)).sum(1)[None]
            allowed = (d + 8) * u.product / (1 - (d + 8) * u.product) * g
            allowed = allowed + 2 * (1 + abs(scale)) * u.tiny * (2 * d + 2 + norms)
            assert (error <= allowed * (1 + 1e-9) + exact.score.radius[0, 0] + 1e-300).all()


@pytest.mark.claim("TOL-2")
@pytest.mark.parametrize("form", ["tanh", "exp"])
def test_a_softcap_and_a_bias_keep_their_bounds_in_float32(form: str) -> None:
    f, u = np.float32, PRECISIONS["float32"]
    soft = u.of(Softmax)
    rng = np.random.default_rng(5)
    s = (10.0 ** rng.uniform(-6, 4, 4000) * rng.choice([-1, 1], 4000)).astype(f)
    b = (10.0 ** rng.uniform(-6, 4, 4000) * rng.choice([-1, 1], 4000)).astype(f)
    for c in (0.3, 1.0, 30.0, 51.7):
        x = s / f(c)
        if form == "tanh":
            capped = f(c) * np.tanh(x)
        else:
            e = np.exp(np.clip(f(-2.0) * x, f(-80.0), f(80.0)))
            capped = f(c) * ((f(1.0) - e) / (f(1.0) + e))
        cap = float(f(c))
        true = cap * np.tanh(s.astype(float) / cap)
        allowed = cap * (soft.tanh + 8 * u.product)
        assert (np.abs(capped.astype(float) - true) <= allowed).all()
        biased = (capped + b).astype(float)
        allowed_b = allowed + 3 * u.product * (np.abs(true) + allowed + np.abs(b.astype(float)))
        assert (np.abs(biased - (true + b.astype(float))) <= allowed_b).all()


@pytest.mark.claim("TOL-3")
def test_weights_through_a_rounded_base_two_maximum_keep_their_bound() -> None:
    f, u = np.float32, PRECISIONS["float32"]
    soft = u.of(Softmax)
    rng = np.random.default_rng(6)
    log2e = f(1.4426950408889634)
    for size in (1.0, 30.0, 1e3, 3e4):
        s = (size + rng.uniform(-20.0, 0.0, 400)).astype(f)
        top = s.max()
        addend = f(top * log2e)  # rounded once, then used exactly as the addend of an FMA
        argument = (s.astype(float) * float(log2e) - float(addend)).astype(f)
        theta = argument.astype(float) * math.log(2.0) - (s.astype(float) - float(top))
        below = float(top) - s.astype(float)
        allowed = 1.01 * 3 * u.product * (below + soft.lag) + 2.02 * u.product * np.abs(s.astype(float)).max()
        assert (np.abs(theta) <= allowed).all()


@pytest.mark.claim("TOL-5")
@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_a_kernel_that_flushes_small_weights_keeps_its_class_even_before_huge_values(name: str) -> None:
    u = PRECISIONS[name]
    soft = u.of(Softmax)
    dtype = dtype_named(u.storage)
    q = np.ones((1, 1, 1, 1), dtype)
    k = np.array([0.0, -75.0, -87.0, -95.0, -103.0]).reshape(1, 1, 5, 1).astype(dtype)
    v = np.array([1.0, 1e33, 1e33, 1e33, 1e33]).reshape(1, 1, 5, 1).astype(dtype)
    instance = Instance(q, k, v, scale=1.0)
    w = np.exp(k[0, 0, :, 0].astype(float))
    w[w < soft.flush] = 0.0
    out = (w @ v[0, 0].astype(float) / w.sum()).reshape(1, 1, 1, 1)
    ratio = define(instance).ratio(out, tolerance(instance, u))
    assert ratio.max() <= 1.0
    w[1:] = 0.0  # what is far above the flush level must not vanish
    out = (w @ v[0, 0].astype(float) / w.sum()).reshape(1, 1, 1, 1)
    assert define(instance).ratio(out, tolerance(instance, u)).max() > 1.0


@pytest.mark.claim("TOL-5")
@pytest.mark.parametrize("n", [16, 256, 1024])
def test_a_kernel_that_normalises_first_may_flush_what_its_small_probabilities_make_small(n: int) -> None:
    zero = np.zeros((1, 1, 1, 1), np.float32)
    v = np.full((1, 1, n, 1), 0.98 * n * 2.0**-126, np.float32)  # normal numbers, but v/n is none
    instance = Instance(zero, np.zeros((1, 1, n, 1), np.float32), v)
    assert define(instance).ratio(np.zeros((1, 1, 1, 1)), tolerance(instance, "float32")).max() <= 1.0


@pytest.mark.claim("TOL-5")
@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_a_rescale_factor_that_vanishes_may_take_weights_above_the_running_maximum_with_it(name: str) -> None:
    dtype = dtype_named(PRECISIONS[name].storage)
    s = np.repeat([0.0, 5.5, 88.0], 16)  # 5.5 < 8 ln 2: the shift stays 0, then e^−88 is flushed
    v = np.repeat([1e33, 1e33, 1.0], 16).reshape(1, 1, 48, 1).astype(dtype)
    instance = Instance(np.ones((1, 1, 1, 1), dtype), s.reshape(1, 1, 48, 1).astype(dtype), v, scale=1.0)
    assert define(instance).ratio(np.ones((1, 1, 1, 1)), tolerance(instance, name)).max() <= 1.0


def off_by(instance: Instance, name: str, error: float) -> float:
    """The ratio of a kernel whose two scores are off by ± error."""
    score = evaluate(instance).score.midpoint[0, 0, 0] + np.array([error, -error])
    w = np.exp(score - score.max())
    out = (w @ instance.value[0, 0].astype(float) / w.sum()).reshape(1, 1, 1, 1)
    return float(define(instance).ratio(out, tolerance(instance, name)).max())


@pytest.mark.claim("TOL-2")
@pytest.mark.parametrize("d", [16, 64, 256])
def test_a_bias_may_be_what_the_sum_of_products_starts_from(d: int) -> None:
    q = np.full((1, 1, 1, d), 0.01, np.float32)
    k, v = np.full((1, 1, 2, d), 0.01, np.float32), np.array([1.0, -1.0], np.float32).reshape(1, 1, 2, 1)
    instance = Instance(q, k, v, scale=1.0, bias=np.full((1, 1, 1, 2), -20000.0, np.float32))
    assert 0.3 < off_by(instance, "float32", d * 2.0**-24 * 20000.0) <= 1.0


@pytest.mark.claim("TOL-2")
def test_a_raw_product_that_is_stored_in_half_precision_loses_its_absolute_error_times_the_scale() -> None:
    q = np.full((1, 1, 1, 1), 2.0**-14, np.float16)
    k, v = np.full((1, 1, 2, 1), 2.0**-8, np.float16), np.array([1.0, -1.0], np.float16).reshape(1, 1, 2, 1)
    instance = Instance(q, k, v, scale=20000.0)
    assert off_by(instance, "float16-eager", 2.0**-25 * 20000.0) <= 1.0


@pytest.mark.claim("TOL-1")
def test_under_a_softcap_what_underflows_may_be_multiplied_by_the_cap() -> None:
    c, scale, q, k = 1000.0, 1.0, 1e-36, 1e34
    flushed = 1000.0 * 2.0**-126 * k  # q·scale/c is below tiny: lost, then multiplied by k and by c
    query = np.full((1, 1, 1, 1), q, np.float32)
    key, v = np.array([k, -k]).reshape(1, 1, 2, 1).astype(np.float32), np.array([1.0, -1.0], np.float32)
    instance = Instance(query, key, v.reshape(1, 1, 2, 1), scale=scale, softcap=c)
    assert off_by(instance, "float32", -min(flushed, q * k)) <= 1.0


# --- TOL-6 and TOL-9 ---------------------------------------------------------------------------------------------


@pytest.mark.claim("TOL-6")
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("float32", {"scale": 1e10, "softcap": 1e-35}),  # scale/c
        ("float32", {"scale": 2e-37, "bias": np.full((1, 1, 1, 2), 100.0, np.float32)}),  # bias/scale
        ("float32", {"scale": 1e39}),
        ("float16-eager", {"scale": 1e5}),  # the scale itself
    ],
)
def test_constants_that_a_kernel_may_form_are_inside_the_range_or_the_row_is_outside(name: str, options: Any) -> None:
    dtype = dtype_named(PRECISIONS[name].storage)
    zero, one = np.zeros((1, 1, 1, 1), dtype), np.ones((1, 1, 2, 1), dtype)
    assert np.isposinf(tolerance(Instance(zero, 0 * one, one, **options), name)).all()


@pytest.mark.claim("TOL-6")
def test_a_row_whose_scores_may_overflow_the_class_is_outside_and_the_others_are_not() -> None:
    q = np.array([[1e-18], [1e20]], np.float32).reshape(1, 1, 2, 1)
    k = np.array([[1.0], [1e19]], np.float32).reshape(1, 1, 2, 1)
    bound = tolerance(Instance(q, k, k, scale=1.0), "float32")
    assert np.isfinite(bound[0, 0, 0]).all()
    assert np.isposinf(bound[0, 0, 1]).all()


@pytest.mark.claim("TOL-6")
def test_raw_products_beyond_float16_are_inside_a_class_with_wide_scores_only() -> None:
    q = np.full((1, 1, 2, 4), 200.0, np.float16)
    instance = Instance(q, q, q, scale=1e-4)
    assert np.isfinite(tolerance(instance, "float16")).all()
    assert np.isposinf(tolerance(instance, "float16-eager")).all()


@pytest.mark.claim("TOL-6")
def test_values_whose_sum_overflows_are_outside() -> None:
    q = np.zeros((1, 1, 1, 1), np.float32)
    k = np.zeros((1, 1, 4, 1), np.float32)
    v = np.full((1, 1, 4, 1), 3e38, np.float32)
    assert np.isposinf(tolerance(Instance(q, k, v), "float32")).all()
    assert np.isfinite(tolerance(Instance(q, k, v / np.float32(1e5)), "float32")).all()


def test_an_empty_row_allows_no_error() -> None:
    u = PRECISIONS["bfloat16"]
    instance = drawn(1, u, key_lengths=np.array([0]))
    assert (tolerance(instance, u) == 0.0).all()
    assert (tolerance(instance, u, "log_sum_exp") == 0.0).all()


@pytest.mark.claim("TOL-9")
@pytest.mark.parametrize("form", ["natural", "base two"])
def test_a_float32_log_sum_exp_keeps_its_bound(form: str) -> None:
    f, u = np.float32, PRECISIONS["float32"]
    for seed, size in enumerate((0.0, 1e-3, 1.0, 5.0, 20.0)):
        instance = drawn(seed, u, n_q=5, n_k=70, size=size)
        s = (instance.query[0, 0] @ instance.key[0, 0].T) * f(instance.scale or 1.0)
        if form == "natural":
            m = s.max(1, keepdims=True)
            lse = m[:, 0] + np.log(np.exp(s - m).sum(1, dtype=f))
        else:
            t = s * f(1.4426950408889634)
            m = t.max(1, keepdims=True)
            lse = (m[:, 0] + np.log2(np.exp2(t - m).sum(1, dtype=f))) * f(0.6931471805599453)
        reference = define(instance, output="log_sum_exp")
        assert reference.ratio(lse[None, None], tolerance(instance, u, "log_sum_exp")).max() <= 1.0
        wrong = lse + f(200) * u.product * (1 + np.abs(lse))
        assert reference.ratio(wrong[None, None], tolerance(instance, u, "log_sum_exp")).max() > 1.0


# --- laws of the tolerance itself --------------------------------------------------------------------------------


def test_one_key_with_score_zero_allows_less_than_an_epsilon_in_the_denominator() -> None:
    q, k = np.zeros((1, 1, 1, 8), np.float32), np.ones((1, 1, 1, 8), np.float32)
    v = np.full((1, 1, 1, 1), 1.2345678, np.float32)
    instance = Instance(q, k, v)
    wrong = v.astype(float) / (1 + 1e-6)
    assert define(instance).ratio(wrong, tolerance(instance, "float32")).max() > 1.0


def test_a_finer_class_allows_less() -> None:
    instance = drawn(2, PRECISIONS["float16"], n_k=33)
    for chain in (
        ["float64", "float32", "tf32"],
        ["float32", "float16", "float16-eager"],
        ["float32", "bfloat16", "bfloat16-eager"],
    ):
        bounds = [tolerance(instance, name) for name in chain]
        assert all((a < b).all() for a, b in itertools.pairwise(bounds))


def test_unknown_names_are_refused_with_the_known_ones() -> None:
    instance = drawn(0, PRECISIONS["float32"])
    with pytest.raises(ValueError, match=r"unknown precision class 'float31'.*float32"):
        tolerance(instance, "float31")
    with pytest.raises(ValueError, match="unknown output 'lse'"):
        tolerance(instance, "float32", "lse")


# --- subnormal factors on a matrix unit -------------------------------------------------------------------------------


@pytest.mark.claim("TOL-1")
@pytest.mark.parametrize(("name", "least"), [("float16", 2.0**-24), ("float8-e4m3", 2.0**-9)])
def test_a_subnormal_factor_may_cost_a_score_what_a_normal_one_would(name: str, least: float) -> None:
    """One large key beside subnormal queries: all products are cut beside the one that counts as large."""
    u, scale = PRECISIONS[name], 2.0**9
    query, key = np.full((1, 1, 1, u.at_once), least), np.full((1, 1, 2, u.at_once), least)
    key[..., 0, 0] = 448.0
    arrays = (x.astype(dtype_named(u.storage)) for x in (query, key, np.ones((1, 1, 2, 1))))
    instance = Instance(*arrays, scale=scale)
    exact = evaluate(instance, reference_accuracy(u))
    lowest = scale * on_a_matrix_unit(query[0, 0, 0], key[0, 0, 0], u)
    lost = exact.score.midpoint.max() - lowest

    def granted(least_factor: float, at_once: int) -> float:
        changed = u.with_("changed", least_factor=least_factor, at_once=at_once)
        return float(weights(instance, changed, exact).score_error.item())

    assert granted(u.least_factor, u.at_once // 2) < lost <= granted(u.least_factor, u.at_once)
    assert granted(0.0, u.at_once) < lost / 4


@pytest.mark.claim("TOL-5")
def test_subnormal_values_may_cost_a_row_what_normal_ones_would() -> None:
    """One weight of 1 among small ones: all products of the block are cut beside the least normal number."""
    u = PRECISIONS["float16"].with_("inner", output=0.0, output_tiny=0.0)
    key, value = np.full((1, 1, 16, 1), -15.0), np.full((1, 1, 16, 1), 2.0**-24)
    key[..., 0, 0] = 0.0
    instance = Instance(*(x.astype(np.float16) for x in (np.ones((1, 1, 1, 1)), key, value)))
    exact = evaluate(instance, reference_accuracy(u))
    weight = np.exp(key.ravel())
    off = abs(on_a_matrix_unit(weight, value.ravel(), u) / weight.sum() - exact.output.midpoint.item())

    def granted(least_factor: float, at_once: int) -> float:
        changed = u.with_("changed", least_factor=least_factor, at_once=at_once)
        return float(tolerance(instance, changed, exact=exact).item())

    assert granted(u.least_factor, u.at_once // 3) < off <= granted(u.least_factor, u.at_once)
    assert granted(0.0, u.at_once) < off / 3
