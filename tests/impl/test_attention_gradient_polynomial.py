"""The fast gradient: equal to sums over pairs, never further from the exact gradient than its certificates say."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from mpmath import mp, mpf

from assay.impl.cpu.attention.choice import framed
from assay.impl.cpu.attention.heads import heads
from assay.impl.cpu.attention.passes import Team
from assay.impl.cpu.attention_gradient import approximate, certificate, exact, polynomial
from assay.impl.cpu.attention_gradient.certificate import bounds, sizes
from assay.impl.cpu.attention_gradient.passes import passed
from assay.impl.cpu.attention_gradient.plan import Plan
from assay.spec import attention_gradient
from assay.spec.approximation import Approximation, Infeasible, exp_of_degree
from assay.spec.attention.perturbation import output_error
from assay.spec.attention_gradient import Instance
from assay.spec.problem import InvalidInstance

MASKS: dict[str, dict[str, Any]] = {
    "none": {},
    "causal": {"causal": "top-left"},
    "bottom-right": {"causal": "bottom-right"},
    "window": {"window": (40, 170)},
    "narrow": {"window": (3, 0)},
    "causal window": {"causal": "bottom-right", "window": (200, None)},
    "lengths": {"key_lengths": np.array([201]), "causal": "top-left"},
}
OUTPUTS = ("grad_query", "grad_key", "grad_value")


def drawn(seed: int, n_q: int, n_k: int, d: int, d_v: int, group: int = 1, **options: Any) -> Instance:
    rng = np.random.default_rng(seed)
    shapes = ((1, group, n_q, d), (1, 1, n_k, d), (1, 1, n_k, d_v), (1, group, n_q, d_v))
    q, k, v, g = (rng.uniform(-1, 1, shape) for shape in shapes)
    return Instance(q, k + 0.3, 5.0 + v, g, **options)


def fast(instance: Instance, error: Any, **options: Any) -> polynomial.Gradients:
    return approximate(
        instance.query, instance.key, instance.value, None, None, instance.grad_output, error, scale=instance.scale,
        causal=instance.causal, window=instance.window, key_lengths=instance.key_lengths, **options,
    )  # fmt: skip


def of_plan(instance: Instance, plan_of: Any) -> tuple[Any, Plan, Any, Any, np.ndarray]:
    """The head, its plan, sizes, sums and rows of grad_query of a polynomial that is chosen by hand."""
    head = next(heads(instance.forward()))
    size = sizes(head, instance.grad_output[0])
    plan = Plan(plan_of(head), framed(head), *polynomial._lift(head, size))
    rows = np.zeros(head.queries.shape)
    with ThreadPoolExecutor(1) as pool:
        sums = passed(plan, head, instance.grad_output[0], size.weights, rows, Team(pool, 1, lambda _: None))
    return head, plan, size, sums, rows


def summed(instance: Instance, plan: Plan, digits: int) -> list[Any]:
    """dQ, dK, dV under the weights P(⟨z, x⟩) of stored numbers, by sums over pairs, as mpmath matrices (lists)."""
    head = next(heads(instance.forward()))
    visible = instance.forward().visible()[0]
    group, n_q, d = head.queries.shape
    n, w = head.value.shape
    x = (head.key - head.centre) * plan.shrink
    y = (head.value - head.middle) / head.grow
    coefficients = [mpf(c) for c in reversed(plan.approximation.coefficients)]
    with mp.workdps(digits):
        xs, ys = ([[mpf(float(e)) for e in row] for row in a] for a in (x, y))
        of_q = [[[mpf(0)] * d for _ in range(n_q)] for _ in range(group)]
        of_k, of_v = [[mpf(0)] * d for _ in range(n)], [[mpf(0)] * w for _ in range(n)]
        for m in range(group):
            z = head.queries[m] * plan.factor
            for i in range(n_q):
                zi = [mpf(float(e)) for e in z[i]]
                gi = [mpf(float(e)) for e in instance.grad_output[0, m, i]]
                lifted = [a * mpf(float(h)) for a, h in zip(gi, head.grow, strict=True)]
                keys = np.flatnonzero(visible[min(m, len(visible) - 1), i])
                weight = {j: mp.polyval(coefficients, mp.fdot(zi, xs[j])) for j in keys}
                total = mp.fsum(weight.values())
                if not len(keys):
                    continue
                inner = {j: mp.fdot(lifted, ys[j]) for j in keys}
                delta = mp.fsum(weight[j] * inner[j] for j in keys) / total
                for j in keys:
                    p = weight[j] / total
                    for c in range(w):
                        of_v[j][c] += p * gi[c]
                    for c in range(d):
                        of_q[m][i][c] += mpf(plan.factor) * p * (inner[j] - delta) * xs[j][c]
                        of_k[j][c] += p * (inner[j] - delta) * zi[c] * mpf(plan.shrink)
    return [np.array(a, dtype=object) for a in (of_q, of_k, of_v)]


# --- GRAD-2: the paper's own way to a fast gradient


@pytest.mark.claim("GRAD-2")
def test_a_low_rank_of_the_weights_gives_the_gradient_by_columns() -> None:
    rng = np.random.default_rng(15)
    left, right, of_rows, of_keys = (rng.normal(size=(n, 3)) for n in (6, 7, 6, 7))
    c, h = rng.normal(size=(6, 2)), rng.normal(size=(7, 2))
    whole = left.T @ ((of_rows @ of_keys.T) * (c @ h.T)) @ right
    parts = sum((left.T @ (c[:, [n]] * of_rows)) @ ((of_keys * h[:, [n]]).T @ right) for n in range(2))
    assert np.allclose(whole, parts, rtol=1e-12)


# --- GRAD-6: one table, no factor d


@pytest.mark.claim("GRAD-6")
@pytest.mark.parametrize("name", MASKS)
def test_the_gradients_are_the_sums_over_pairs_of_the_polynomial_weights(name: str) -> None:
    n_q, n_k = (11, 13) if name == "none" else (300, 270)
    instance = drawn(1, n_q, n_k, 2, 1, 2 if name in ("none", "causal") else 1, **MASKS[name])

    def plan_of(head: Any) -> Approximation:
        return exp_of_degree(framed(head).radius, 3)

    _, plan, _, sums, rows = of_plan(instance, plan_of)
    if name not in ("none", "narrow"):  # rows near both ends of chunks, in float64
        expected = _plain(instance, plan)
    else:
        expected = [a.astype(np.float64) for a in summed(instance, plan, 30)]
    found = (rows, sums.grad_key * (plan.size * plan.shrink), sums.grad_value / plan.lift)
    for one, other in zip(found, expected, strict=True):
        assert np.abs(one - other).max() <= 1e-13 * max(np.abs(other).max(), 1.0)


def _plain(instance: Instance, plan: Plan) -> list[np.ndarray]:
    """:func:`summed` in float64."""
    head = next(heads(instance.forward()))
    x, y = (head.key - head.centre) * plan.shrink, (head.value - head.middle) / head.grow
    visible = np.broadcast_to(
        instance.forward().visible()[0], (len(head.queries), *instance.forward().visible().shape[2:])
    )
    of_q, of_k, of_v = np.zeros(head.queries.shape), np.zeros(head.key.shape), np.zeros(head.value.shape)
    for m in range(len(head.queries)):
        z = head.queries[m] * plan.factor
        p = np.polynomial.polynomial.polyval(z @ x.T, plan.coefficients) * visible[m][:, : len(x)]
        total = p.sum(axis=1, keepdims=True)
        p = np.divide(p, total, out=np.zeros_like(p), where=total > 0)
        g = instance.grad_output[0, m]
        inner = (g * head.grow) @ y.T
        ds = p * (inner - (p * inner).sum(axis=1, keepdims=True))
        of_q[m] = plan.factor * ds @ x
        of_k += ds.T @ z * plan.shrink
        of_v += p.T @ g
    return [of_q, of_k, of_v]


@pytest.mark.claim("GRAD-6")
@pytest.mark.parametrize("degree", [0, 1, 2, 5])
def test_every_degree_and_dimension_has_its_tree(degree: int) -> None:
    for d, d_v in ((1, 1), (3, 5), (7, 2)):
        instance = drawn(2, 20, 30, d, d_v)
        _, plan, _, sums, rows = of_plan(instance, lambda head, g=degree: exp_of_degree(framed(head).radius, g))
        found = (rows, sums.grad_key * (plan.size * plan.shrink), sums.grad_value / plan.lift)
        for one, other in zip(found, _plain(instance, plan), strict=True):
            assert np.abs(one - other).max() <= 1e-13 * max(np.abs(other).max(), 1.0)


# --- GRAD-5: what the polynomial costs


def _covariances(p: np.ndarray, g: np.ndarray, k: np.ndarray) -> float:
    return float(p @ (g * k) - (p @ g) * (p @ k))


@pytest.mark.claim("GRAD-5")
def test_weights_off_by_a_factor_move_a_covariance_by_no_more_than_the_bound() -> None:
    """Random and extreme factors within 1 ± ε; the largest ratio shows how sharp the bound is."""
    rng = np.random.default_rng(3)
    worst = 0.0
    for _ in range(4000):
        n, epsilon = int(rng.integers(2, 7)), float(rng.choice([1e-3, 0.05, 0.3]))
        kind = rng.integers(3)
        g, k = rng.choice([0.0, 1.0], (2, n)) if kind else rng.random((2, n))
        if kind == 2:
            k = g.copy()
        if not (np.ptp(g) and np.ptp(k)):
            continue
        p = rng.dirichlet(np.full(n, 10.0 ** rng.uniform(-1, 1)))
        weight = p * (1 + epsilon * rng.choice([-1.0, 1.0], n))
        moved = abs(_covariances(weight / weight.sum(), g, k) - _covariances(p, g, k))
        tau = output_error(epsilon)
        worst = max(worst, moved / (tau * (1 + tau) * np.ptp(g) * np.ptp(k)))
    assert 0.4 <= worst <= 1.0


@pytest.mark.claim("GRAD-5")
def test_weights_off_by_a_factor_move_the_other_two_gradients_by_no_more_than_the_bounds() -> None:
    rng = np.random.default_rng(4)
    worst = np.zeros(2)
    for _ in range(3000):
        n_q, n, epsilon = int(rng.integers(1, 4)), int(rng.integers(2, 6)), float(rng.choice([1e-3, 0.05, 0.3]))
        p = rng.dirichlet(np.full(n, 10.0 ** rng.uniform(-1, 1)), n_q)
        weight = p * (1 + epsilon * rng.choice([-1.0, 1.0], (n_q, n)))
        other = weight / weight.sum(axis=1, keepdims=True)
        g, q, grad = rng.choice([0.0, 1.0], (n_q, n)), rng.choice([-1.0, 1.0], n_q), rng.choice([-1.0, 1.0], n_q)
        factor = 2 * epsilon / (1 - epsilon)

        def scores(p: np.ndarray, g: np.ndarray = g) -> np.ndarray:
            return p * (g - (p * g).sum(axis=1, keepdims=True))

        weighted = factor * (other.T @ np.abs(grad))
        of_value = np.where(weighted > 1e-9, np.abs((other - p).T @ grad) / np.maximum(weighted, 1e-9), 0.0)
        mean = (other * g).sum(axis=1)
        reach = np.abs(g - mean[:, None]).max(axis=1)
        allowed = factor * (other.T @ (reach * np.abs(q)))
        moved = np.abs((scores(other) - scores(p)).T @ q)
        assert (moved <= allowed + 1e-15).all()
        of_key = np.where(allowed > 1e-9, moved / np.maximum(allowed, 1e-9), 0.0)
        worst = np.maximum(worst, [of_value.max(), of_key.max()])
    assert (worst <= 1.0).all()
    assert (worst >= 0.3).all()


@pytest.mark.claim("GRAD-5")
@pytest.mark.parametrize("epsilon", [1e-3, 0.05, 0.3])
def test_one_key_of_vanishing_weight_attains_the_bounds_of_the_other_two_gradients(epsilon: float) -> None:
    p, g = np.array([1e-7, 0.5 - 1e-7, 0.5]), np.array([1.0, 1.0, -1.0])
    weight = p * (1 + epsilon * np.array([-1.0, 1.0, 1.0]))
    other = weight / weight.sum()
    bound = 2 * epsilon / (1 - epsilon) * other
    assert abs(p - other)[0] >= (1 - 1e-6) * bound[0]
    moved = np.abs(p * (g - p @ g) - other * (g - other @ g))
    assert 1.0 - 1e-6 <= moved[0] / (bound[0] * np.abs(g - other @ g).max()) <= 1.0 + 1e-9


@pytest.mark.claim("GRAD-5")
def test_a_constant_polynomial_comes_near_the_certificates() -> None:
    """Keys in two groups, so that P errs by ∓ε at both ends of the scores: no certificate can be much less."""
    worst = np.zeros(3)
    for share in (1, 4):  # a group of one among as many others
        key = np.array([1.0] + [0.0] * share)[:, None]
        query, value = np.full((1, 1), 0.02), key.copy()
        instance = Instance(*(x[None, None] for x in (query, key, value, np.ones((1, 1)))), scale=1.0)
        head, plan, size, sums, rows = of_plan(instance, lambda head: exp_of_degree(framed(head).radius, 0))
        bound = bounds(plan, head, size, sums)
        assert bound is not None
        found = (rows[0], sums.grad_key * (plan.size * plan.shrink), sums.grad_value / plan.lift)
        exactly = exact(instance.query, instance.key, instance.value, None, None, instance.grad_output, scale=1.0)
        for number, (one, other, factors) in enumerate(
            zip(found, exactly, (bound.query, bound.key, bound.value), strict=True)
        ):
            allowed = factors[0].reshape(-1, 1) * factors[1]
            worst[number] = max(worst[number], (np.abs(one - other[0, 0]) / allowed).max())
    assert (worst <= 1.0).all()
    assert (worst >= [0.2, 0.2, 0.45]).all(), worst


# --- GRAD-7: what rounding costs


@pytest.mark.claim("GRAD-7")
@pytest.mark.parametrize("name", ["none", "window", "causal"])
def test_rounding_stays_within_its_part_of_the_certificate(name: str) -> None:
    """P is taken as exact, so that what is left of the certificate is the arithmetic alone; against 40 digits."""
    instance = drawn(5, 40, 50, 2, 2, scale=4.0, **MASKS[name])

    def plan_of(head: Any) -> Approximation:
        found = exp_of_degree(framed(head).radius, 22)
        return Approximation(found.coefficients, found.interval, 0.0, 0.0)

    head, plan, size, sums, rows = of_plan(instance, plan_of)
    bound = bounds(plan, head, size, sums)
    assert bound is not None
    expected = summed(instance, plan, 40)
    found = (rows, sums.grad_key * (plan.size * plan.shrink), sums.grad_value / plan.lift)
    allowed = (
        bound.query[0][..., None] * bound.query[1],
        bound.key[0][:, None] * bound.key[1],
        bound.value[0][:, None] * bound.value[1],
    )
    for one, other, most in zip(found, expected, allowed, strict=True):
        exactly = np.vectorize(lambda x: mpf(float(x)), otypes=[object])(one)
        error = np.abs((exactly - other).astype(np.float64))
        assert (error <= most + 2.0**-50 * np.abs(one)).all()
        assert error.max() > 0.0


@pytest.mark.claim("GRAD-7")
def test_without_the_count_of_roundings_the_certificate_would_be_too_small() -> None:
    """The first rows see keys of scores near −8 only, where the terms of P, of up to e^8, cancel down to e^−8."""
    base = drawn(6, 60, 160, 1, 1)
    key = np.where(np.arange(160) < 80, -1.0, 1.0)[:, None] + 0.1 * base.key[0, 0]
    instance = base.replace(query=0.9 + 0.1 * base.query, key=key[None, None], scale=8.0, causal="top-left")

    def plan_of(head: Any) -> Approximation:
        found = exp_of_degree(framed(head).radius, 40)
        return Approximation(found.coefficients, found.interval, 0.0, 0.0)

    head, plan, size, sums, rows = of_plan(instance, plan_of)
    error = np.abs(np.vectorize(lambda x: mpf(float(x)), otypes=[object])(rows) - summed(instance, plan, 40)[0])
    error = error.astype(np.float64)
    bound = bounds(plan, head, size, sums)
    assert bound is not None
    assert (error <= bound.query[0][..., None] * bound.query[1]).all()
    with patch.object(certificate, "roundings", lambda *_: 0):
        weaker = bounds(plan, head, size, sums)
    assert weaker is not None
    assert (error > weaker.query[0][..., None] * weaker.query[1]).any()


@pytest.mark.claim("GRAD-7")
@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.thorough)])
def test_no_certificate_is_below_the_true_error(name: str, dtype: str) -> None:
    """A sample of benchmarks/gradient_certificates.py."""
    for seed in range(3):
        rng = np.random.default_rng(100 + seed)
        n_q, n_k = (int(x) for x in rng.integers(1, 60 if seed else 300, 2))
        base = drawn(seed, n_q, max(n_k, 2), int(rng.integers(1, 4)), int(rng.integers(1, 4)), 1 + seed % 2)
        k = base.key if seed % 2 else np.sign(base.key)  # corners: the polynomial errs most there
        options = dict(MASKS[name])
        if "key_lengths" in options:
            options["key_lengths"] = np.array([n_k // 2 + 1])
        arrays = (x.astype(dtype) for x in (base.query, k, base.value, base.grad_output))
        instance = Instance(*arrays, scale=float(rng.choice([0.5, -0.7])), **options)
        error = float(10.0 ** rng.uniform(-6, -2))
        found = fast(instance, error, threads=1)
        for output, one in zip(OUTPUTS, found, strict=True):
            assert one.error.shape == one.value.shape
            assert (one.error <= error).all()
            certain = attention_gradient.define(instance, relative=1e-18, output=output)
            assert certain.ratio(one.value.astype(np.float64), one.error).max() <= 1.0


# --- the interface


def test_the_number_of_threads_changes_no_bit() -> None:
    for options in ({}, {"causal": "top-left"}):
        instance = drawn(7, 17000, 9000, 2, 2, 2, scale=0.1, **options)
        one, two = (fast(instance, 0.5, threads=threads) for threads in (1, 2))
        for a, b in zip(one, two, strict=True):
            assert a.value.tobytes() == b.value.tobytes()
            assert a.error.tobytes() == b.error.tobytes()


def test_blocks_of_keys_and_of_queries_add_up_to_the_exact_kernel() -> None:
    for options in ({}, {"window": (9000, 100), "causal": "bottom-right"}):
        instance = drawn(8, 9000, 8500, 2, 1, scale=0.2, **options)
        found = fast(instance, 1e-4)
        expected = exact(
            instance.query, instance.key, instance.value, None, None, instance.grad_output, scale=0.2,
            causal=instance.causal, window=instance.window,
        )  # fmt: skip
        for one, other in zip(found, expected, strict=True):
            assert (np.abs(one.value - other) <= one.error + 1e-12).all()


def test_no_keys_and_no_incoming_gradient_give_zeros_without_error() -> None:
    instance = drawn(9, 5, 6, 2, 2, key_lengths=np.array([0]))
    silent = drawn(9, 5, 6, 2, 2).replace(grad_output=np.zeros((1, 1, 5, 2)))
    for one in (*fast(instance, 1e-6), *fast(silent, 1e-6)):
        assert not one.value.any()
        assert not one.error.any()


def test_three_errors_are_three_requests() -> None:
    instance = drawn(10, 200, 200, 2, 2)
    found = fast(instance, (1e-3, 1e-6, 1e-2))
    assert [bool((one.error <= e).all()) for one, e in zip(found, (1e-3, 1e-6, 1e-2), strict=True)] == [True] * 3
    assert "polynomial: degree" in found.query.route


@pytest.mark.parametrize("error", [0.0, -1.0, math.inf, math.nan, True, "small", (1.0, 1.0), (1.0, 1.0, 0.0)])
def test_an_error_that_is_none_is_refused(error: Any) -> None:
    with pytest.raises(ValueError, match="error: "):
        fast(drawn(11, 3, 3, 1, 1), error)


def test_what_cannot_be_certified_is_refused_in_one_line() -> None:
    large = drawn(12, 10, 10, 3, 1, scale=1e3)
    with pytest.raises(Infeasible, match="scores of up to"):
        fast(large, 1e-3)
    with pytest.raises(Infeasible, match=r"needs .* MiB of the"):
        fast(drawn(12, 10, 10, 9, 1, scale=1.0), 1e-6, memory=1 << 12)
    with pytest.raises(Infeasible, match="error"):
        fast(drawn(12, 10, 10, 2, 1), 1e-20)
    half = drawn(12, 3, 3, 1, 1)
    arrays = {name: getattr(half, name).astype(np.float16) for name in ("query", "key", "value", "grad_output")}
    with pytest.raises(InvalidInstance, match="expected float32 or float64"):
        fast(half.replace(**arrays), 1e-2)


def test_tiny_and_huge_gradients_are_scaled_and_not_lost() -> None:
    base = drawn(13, 20, 30, 2, 2)
    for power in (-900, -300, 300):
        grad = np.ldexp(base.grad_output, power // 2)
        value = np.ldexp(base.value, power // 2)
        size = math.ldexp(1.0, power)
        instance = base.replace(grad_output=grad, value=value)
        if power == -900:
            with pytest.raises(Infeasible, match="2\\^-500 to 2\\^500"):
                fast(instance, size)
            continue
        found = fast(instance, (1e-6 * size, 1e-6 * size, 1e-6 * math.ldexp(1.0, power // 2)))
        expected = exact(instance.query, instance.key, instance.value, None, None, instance.grad_output)
        for one, other in zip(found, expected, strict=True):
            assert (np.abs(one.value - other) <= one.error + 1e-12 * np.abs(other).max()).all()


@pytest.mark.claim("GRAD-7")
@pytest.mark.parametrize(
    "sizes",
    [
        (1e150, 1e150, 1.0, 1e-150, 2e-301),  # σ times a row of dO and V vanishes, and meets queries of 1e150
        (1e150, 1e-150, 1e75, 1e75, 1e-150),  # σ times keys vanishes, and meets 1e150 of dO and V
        (1e150, 1e150, 1e-150, 1.0, 1e-301),
        (1e-150, 1e-150, 1e-70, 1e-70, 1e299),
        (1e-30, 1e40, 1e30, 1e-50, 1e-12),
    ],
)
def test_a_certificate_does_not_vanish_beside_a_factor_that_would_bring_it_back(sizes: tuple[float, ...]) -> None:
    base = drawn(21, 4, 4, 6, 6)
    arrays = {
        name: getattr(base, name) * size
        for name, size in zip(("query", "key", "value", "grad_output"), sizes[:4], strict=True)
    }
    instance = base.replace(**arrays, scale=sizes[4])
    try:
        found = fast(instance, 1e300)
    except Infeasible:
        assert sizes[0] != 1e-30
        return
    exactly = attention_gradient.evaluate(instance, 1e-25)
    for one, name in zip(found, OUTPUTS, strict=True):
        assert exactly.gradients()[name].ratio(one.value, one.error).max() <= 1.0, name


def test_a_sum_of_fractions_agrees_with_the_tables() -> None:
    """A tiny case in rational arithmetic: P(t) = 1 + t + t²/2 − t³/7, two keys and two queries."""
    instance = drawn(14, 2, 2, 1, 1)
    head, plan, _, sums, rows = of_plan(
        instance, lambda head: Approximation((1.0, 1.0, 0.5, -1 / 7), (-2.0, 2.0), 0.0, 0.0)
    )
    x = [Fraction(float(a)) for a in ((head.key - head.centre) * plan.shrink)[:, 0]]
    y = [Fraction(float(a)) for a in ((head.value - head.middle) / head.grow)[:, 0]]
    c = [Fraction(a) for a in plan.approximation.coefficients]
    for i in range(2):
        z = Fraction(float(head.queries[0, i, 0] * plan.factor))
        g = Fraction(float(instance.grad_output[0, 0, i, 0])) * Fraction(float(head.grow[0]))
        p = [sum(a * (z * b) ** m for m, a in enumerate(c)) for b in x]
        mean = sum(a * b for a, b in zip(p, y, strict=True)) / sum(p)
        total = sum(a * g * (b - mean) * e for a, b, e in zip(p, y, x, strict=True)) / sum(p)
        assert rows[0, i, 0] == pytest.approx(float(Fraction(plan.factor) * total), rel=1e-13)
    assert sums.share > 0
