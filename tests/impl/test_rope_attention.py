"""Attention with relative positions on the CPU: exact within its class, approximate within its certificate."""

from __future__ import annotations

import dataclasses
import doctest
import functools
import importlib
import itertools
import math
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import flint
import numpy as np
import pytest
import scipy.fft
from mpmath import mp

from assay.impl.cpu import attention, rope_attention
from assay.impl.cpu.attention.bound import exact_bound
from assay.impl.cpu.attention.passes import Team
from assay.impl.cpu.attention.plan import Measure
from assay.impl.cpu.rope_attention import fourier, transforms
from assay.impl.cpu.rope_attention.bound import exact_error
from assay.impl.cpu.rope_attention.certificate import certified
from assay.impl.cpu.rope_attention.jobs import jobs
from assay.impl.cpu.rope_attention.monomials import components
from assay.impl.cpu.rope_attention.sums import summed
from assay.impl.cpu.rope_attention.turned import OFF, toeplitz, turned
from assay.spec import flint_context, rope
from assay.spec.approximation import Infeasible, exp_by_moment, exp_of_degree
from assay.spec.precision import precision
from assay.spec.problem import InvalidInstance
from assay.spec.rope_attention import Instance, define, tolerance

if TYPE_CHECKING:
    from assay.impl.cpu.rope_attention.jobs import Job
    from assay.impl.cpu.rope_attention.sums import Sums
    from assay.spec.approximation import Approximation

DIAGONAL = ((0, 0), (1, 1))
BLOCK = ((0, 0), (0, 1), (1, 0), (1, 1))


def arrays(seed: int, n_q: int, n_k: int, bound: float, dtype: str = "float64") -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    q, k = rng.uniform(-bound, bound, (1, 2, n_q, 2)), rng.uniform(-bound, bound, (1, 1, n_k, 2))
    return tuple(x.astype(dtype) for x in (q, k, rng.standard_normal((1, 1, n_k, 3))))


def symbols(seed: int, places: int, n_q: int, n_k: int, dtype: str = "float64") -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (places, n_q + n_k - 1)).astype(dtype)


def decay(n_q: int, n_k: int) -> np.ndarray:
    apart = np.abs(np.arange(n_q + n_k - 1) - (n_k - 1.0))
    return -np.array([[0.5], [0.01]]) * apart


def mechanisms(n_q: int, n_k: int) -> dict[str, dict[str, Any]]:
    plain = {"relative": np.ones((2, n_q + n_k - 1)), "support": DIAGONAL}
    hidden = decay(n_q, n_k)
    hidden[:, ::3] = -np.inf
    return {
        "general": {"relative": symbols(1, 2, n_q, n_k), "support": DIAGONAL},
        "merged": {"relative": symbols(2, 4, n_q, n_k), "support": BLOCK},
        "causal": {**plain, "is_causal": True},
        "bottom-right": {**plain, "causal": "bottom-right", "key_lengths": np.array([n_k - 7])},
        "window": {**plain, "window": (9, 4)},
        "decay": {**plain, "relative_bias": decay(n_q, n_k), "is_causal": True},
        "hiding bias": {**plain, "relative_bias": hidden},
        "rotary": {},
        "rotary with a bias": {"relative_bias": decay(n_q, n_k), "query_positions": np.arange(n_q) * 1000},
    }


@pytest.mark.parametrize("precision", ["float32", "float64", "float16"])
@pytest.mark.parametrize("name", list(mechanisms(40, 60)))
def test_the_exact_kernel_is_within_its_class(name: str, precision: str) -> None:
    options = {
        word: x.astype(precision) if word in ("relative", "relative_bias") else x
        for word, x in mechanisms(40, 60)[name].items()
    }
    q, k, v = arrays(0, 40, 60, 2.0, precision)
    if "relative_bias" in options:
        options["relative_bias"] = np.where(np.isfinite(options["relative_bias"]), options["relative_bias"], -np.inf)
    instance = Instance(q, k, v, **options)
    found = rope_attention.exact(q, k, v, **options)
    assert found.dtype == q.dtype
    named = precision if "relative" in options else f"{precision}-exact-angles"
    reference = define(instance, 1e-19 if precision == "float64" else 1e-12)
    assert (reference.ratio(found, tolerance(instance, named)) <= 1).all()


def test_the_exact_kernel_scales_the_angles_of_queries_and_keys_for_the_longer_of_both() -> None:
    rng = np.random.default_rng(0)
    q, k, v = rng.standard_normal((3, 1, 1, 9, 4)).astype(np.float32)
    options: dict[str, Any] = {"scaling": "dynamic", "factor": 4.0, "original_length": 100}
    options |= {"query_positions": np.arange(9) + 500, "key_positions": np.arange(9)}
    instance = Instance(q, k, v, **options)
    found = rope_attention.exact(q, k, v, **options)
    assert (define(instance, 1e-12).ratio(found, tolerance(instance, "float32-exact-angles")) <= 1).all()


@pytest.mark.claim("ROPE-6")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("route", ["fourier", "polynomial"])
@pytest.mark.parametrize("name", list(mechanisms(40, 60)))
@pytest.mark.parametrize(("bound", "error"), [(0.3, 1e-3), (1.0, 1e-4)])
def test_no_error_is_above_its_certificate_nor_that_above_the_request(
    name: str, route: str, dtype: str, bound: float, error: float
) -> None:
    options = {
        word: x.astype(dtype) if word in ("relative", "relative_bias") else x
        for word, x in mechanisms(40, 60)[name].items()
    }
    if route == "polynomial" and {"relative", "relative_bias"} & set(options):
        pytest.skip("the polynomial route has neither W nor a bias")
    q, k, v = arrays(5, 40, 60, bound, dtype)
    found = rope_attention.approximate(q, k, v, error=error, scale=0.5, route=route, **options)
    assert (found.error <= error).all()
    reference = define(Instance(q, k, v, scale=0.5, **options), 1e-20)
    allowed = np.broadcast_to(found.error, found.value.shape)
    assert (reference.ratio(found.value.astype(np.float64), allowed) <= 1).all()


@pytest.mark.claim("ROPE-2")
@pytest.mark.parametrize("support", [DIAGONAL, BLOCK, ((0, 1),), ((0, 0), (0, 1), (1, 1))])
def test_merged_pairs_of_monomials_add_up_to_the_power_of_the_score(support: tuple[tuple[int, int], ...]) -> None:
    rng = np.random.default_rng(3)
    q, k, w = rng.integers(-4, 5, 2), rng.integers(-4, 5, 2), rng.integers(-4, 5, len(support))
    score = sum(q[a] * x * k[b] for (a, b), x in zip(support, w, strict=True))
    for degree in range(6):
        total, multisets = 0.0, 0
        for component in components(support, degree):
            for pair in component.pairs:
                symbol = sum(ways * np.prod([w[e] for e in places]) for ways, places in pair.terms)
                multisets += len(pair.terms)
                left, right = component.queries[pair.query], component.keys[pair.key]
                total += np.prod([q[a] for a in left]) * symbol * np.prod([k[b] for b in right])
        assert total == float(score) ** degree
        assert multisets == math.comb(len(support) + degree - 1, degree)


@pytest.mark.claim("FFT-1")
@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 15, 27, 60, 125, 128, 243, 400])
def test_transforms_of_the_lengths_in_use_are_within_the_bound_of_an_independent_one(size: int) -> None:
    assert transforms.padded(size) == size
    rows = np.random.default_rng(size).standard_normal(size)
    computed = transforms.forward(rows[None].copy())[0]
    with mp.workdps(40):
        turns = [mp.expjpi(-2 * mp.mpf(r) / size) for r in range(size)]
        exact = [mp.fsum(mp.mpf(x) * turns[j * t % size] for j, x in enumerate(rows)) for t in range(size)]
        half = [mp.mpc(complex(x)) for x in computed]
        found = [half[t] if 2 * t <= size else half[size - t].conjugate() for t in range(size)]
        off = mp.sqrt(mp.fsum(abs(x - y) ** 2 for x, y in zip(exact, found, strict=True)))
        whole = mp.sqrt(mp.fsum(abs(x) ** 2 for x in exact))
    assert off <= transforms.error(size) * whole


@pytest.mark.claim("FFT-1")
@pytest.mark.parametrize("size", [2, 3, 5, 8, 15, 27, 60, 125, 128])
def test_transforms_back_are_within_the_bound_of_an_independent_one(size: int) -> None:
    rng = np.random.default_rng(size)
    half = rng.standard_normal(size // 2 + 1) + 1j * rng.standard_normal(size // 2 + 1)
    half[0], half[-1] = half[0].real, half[-1] if size % 2 else half[-1].real
    computed = transforms.back(half[None].copy(), size)[0]
    whole = [half[t] if 2 * t <= size else half[size - t].conjugate() for t in range(size)]
    with mp.workdps(40):
        turns = [mp.expjpi(2 * mp.mpf(r) / size) for r in range(size)]
        exact = [
            mp.fsum(mp.mpc(complex(x)) * turns[j * t % size] for t, x in enumerate(whole)).real / size
            for j in range(size)
        ]
        off = mp.sqrt(mp.fsum((x - mp.mpf(y)) ** 2 for x, y in zip(exact, computed.tolist(), strict=True)))
        norm = mp.sqrt(mp.fsum(x**2 for x in exact))
    assert off <= transforms.error(size) * norm


@pytest.mark.claim("FFT-1")
@pytest.mark.skipif(np.finfo(np.longdouble).eps > 2.0**-60, reason="long double is no longer than double here")
def test_transforms_of_every_length_to_4096_and_some_larger_ones_are_within_the_bound() -> None:
    """Against long double, forward and back, of noise and of a random walk, whose spectrum is steep."""
    rng = np.random.default_rng(0)
    products = {2**a * 3**b * 5**c for a in range(18) for b in range(9) for c in range(7)}
    worst = 0.0
    for size in sorted(n for n in products if 1 < n <= 4096 or n in (3**9, 5**7, 2**17, 2**6 * 3**3 * 5**2)):
        assert transforms.padded(size) == size
        noise = rng.standard_normal((2, size))
        noise[1] = noise[1].cumsum()
        exact = scipy.fft.rfft(noise.astype(np.longdouble))
        twice = np.full(size // 2 + 1, 2.0)  # the numbers of a half spectrum stand for two
        twice[0], twice[-1] = 1.0, 2.0 if size % 2 else 1.0
        off, whole = ((np.abs(x) ** 2 * twice).sum(axis=1) for x in (transforms.forward(noise.copy()) - exact, exact))
        worst = max(worst, float(np.sqrt(off / whole).max()) / transforms.error(size))
        half = exact.astype(np.complex128)
        back = scipy.fft.irfft(half.astype(np.clongdouble), size)
        off, whole = ((x * x).sum(axis=1) for x in (transforms.back(half, size) - back, back))
        worst = max(worst, float(np.sqrt(off / whole).max()) / transforms.error(size))
    assert 0.01 <= worst <= 1


@pytest.mark.claim("FFT-1")
def test_the_lengths_in_use_have_no_factor_above_five() -> None:
    for length in (7, 11, 97, 1021, 65537, 10**6 + 3):
        size = transforms.padded(length)
        rest = functools.reduce(lambda x, p: x // p if x % p == 0 else x, [2] * 30 + [3] * 20 + [5] * 15, size)
        assert size >= length
        assert rest == 1


@pytest.mark.claim("FFT-2")
@pytest.mark.parametrize("kind", ["random", "ones", "one large"])
def test_a_product_with_a_toeplitz_matrix_loses_no_more_than_is_granted(kind: str) -> None:
    n = 300
    rng = np.random.default_rng(8)
    symbol, column = rng.integers(-(2**20), 2**20, 2 * n - 1), rng.integers(-(2**20), 2**20, n)
    if kind == "ones":
        symbol, column = np.ones_like(symbol), np.ones_like(column)
    if kind == "one large":
        column[:-1] = 1
        column[-1] = 2**30
    exact = toeplitz(symbol, n, n) @ column
    size = transforms.padded(2 * n - 1)
    rows = np.zeros((2, size))
    rows[0, : 2 * n - 1], rows[1, :n] = symbol, column
    spectrum = transforms.forward(rows)
    largest, norm = float(np.abs(spectrum[0]).max()), float(np.linalg.norm(symbol))
    found = transforms.back(spectrum[:1] * spectrum[1:], size)[0, n - 1 : 2 * n - 1]
    granted = transforms.lost(size, 1, largest, norm, np.array([np.linalg.norm(column)]), n)
    assert np.abs(found - exact).max() <= granted[0]
    assert granted[0] > 0
    assert kind == "ones" or (found != exact).any()


@pytest.mark.claim("FFT-2")
def test_three_transforms_that_err_as_much_as_they_may_use_up_what_is_granted() -> None:
    """A symbol and a column of one number each; every transform is too large by a factor 1 + e."""
    size = transforms.padded(50)
    e = transforms.error(size)
    symbol, column = np.eye(1, size), np.eye(1, size)
    spectrum = transforms.forward(symbol) * (1 + e)
    product = spectrum * transforms.forward(column) * (1 + e)
    off = transforms.back(product, size)[0, 0] * (1 + e) - 1.0
    granted = transforms.lost(size, 1, float(np.abs(spectrum).max()), 1.0, np.ones(1), 1)[0]
    assert 0.9 * granted <= off <= granted


@pytest.mark.claim("ROT-5")
@pytest.mark.parametrize("name", list(mechanisms(30, 45)))
def test_power_sums_are_those_of_the_scores_with_masks_and_biases_as_weights(name: str) -> None:
    options = mechanisms(30, 45)[name]
    q, k, v = arrays(3, 30, 45, 1.0)
    instance = Instance(q, k, v, scale=0.5, **options)
    support = fourier.support_of(instance)
    coefficients = (1.0, 1.0, 0.5, 1 / 6)
    for job in jobs(instance, turned(instance, np.dtype(np.float64))):
        with ThreadPoolExecutor(1) as pool:
            team = Team(pool, 1, lambda _: None)
            found = summed(job, support, coefficients, 2, job.symbols.transformed, team)
        n_k = job.key.shape[1]
        relative = np.ones((len(support), 29 + n_k)) if job.symbols.relative is None else job.symbols.relative
        at = np.arange(30)[:, None] - np.arange(n_k) + n_k - 1
        weight = job.symbols.weight[at]
        assert np.array_equal(job.seen, (job.visible[at]).sum(axis=1))
        some = v[0, job.key_head, :n_k].T
        assert (np.abs(some - job.middle[:, None]) <= job.half[:, None]).all()
        assert (job.half <= job.grow).all()
        assert job.columns[:-1] * job.grow[:, None] + job.middle[:, None] == pytest.approx(some, abs=1e-14)
        for place, head in enumerate(job.heads):
            visible = instance.visible()[0, head, :, :n_k]
            assert np.array_equal(job.visible[at], visible)
            scores = np.einsum(
                "ei,eij,ej->ij", job.query[place][[a for a, _ in support]], relative[:, at],
                job.key[[b for _, b in support]],
            )  # fmt: skip
            assert np.abs(scores).max() <= job.radius
            for m in range(4):
                assert found.powers[place, m] == pytest.approx((scores**m * weight).sum(axis=1), abs=1e-12)
            polynomial = sum(c * scores**m for m, c in enumerate(coefficients)) * weight
            assert found.values[place] == pytest.approx(job.columns[:-1] @ polynomial.T, abs=1e-12)


@pytest.mark.claim("ROPE-3")
@pytest.mark.parametrize("options", [{}, {"scaling": "yarn", "factor": 8.0, "original_length": 64, "base": 500.0}])
def test_scores_of_rotated_vectors_are_off_by_few_roundings(options: dict[str, Any]) -> None:
    rng = np.random.default_rng(11)
    x = rng.standard_normal((1, 1, 400, 8))
    places = rng.integers(-(10**9), 10**9, 400)
    if options:
        places = np.abs(places) % 1000
    instance = Instance(x, x, x, query_positions=places, key_positions=places, **options)
    found = turned(instance, np.dtype(np.float64)).query[0, 0]
    exact = rope.define(rope.Instance(x, None, places, **options), 1e-25).full()[0, 0]
    worst = 0.0
    with flint_context.bits(160):
        for i in range(0, 400, 2):
            true = sum((a * b for a, b in zip(exact[i], exact[i + 1], strict=True)), flint.arb(0))
            near = sum((flint.arb(a) * flint.arb(b) for a, b in zip(found[i], found[i + 1], strict=True)), flint.arb(0))
            size = np.linalg.norm(found[i]) * np.linalg.norm(found[i + 1])
            worst = max(worst, float(abs(true - near)) / size / 2.0**-53)
    assert 0.5 <= worst <= OFF["float64"]


@pytest.mark.claim("ROPE-7")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", list(mechanisms(40, 60)))
def test_the_exact_kernel_is_certified_by_norms_with_w_bias_and_rotation(name: str, dtype: str) -> None:
    options = {
        word: x.astype(dtype) if word in ("relative", "relative_bias") else x
        for word, x in mechanisms(40, 60)[name].items()
    }
    q, k, v = arrays(9, 40, 60, 1.5, dtype)
    error = 1e-3 if dtype == "float32" else 1e-11
    found = rope_attention.approximate(q, k, v, error=error, route="exact", **options)
    assert found.route.startswith(f"exact in {dtype}")
    reference = define(Instance(q, k, v, **options), 1e-22)
    ratio = reference.ratio(found.value.astype(np.float64), np.broadcast_to(found.error, found.value.shape)).max()
    assert 1e-4 <= ratio <= 1


@pytest.mark.claim("ROPE-6")
@pytest.mark.parametrize(("above", "below", "count"), [(1 / 3, -2 / 3, 16), (-5 / 6, -1 / 6, 48)])
def test_two_groups_of_keys_where_the_polynomial_errs_most_use_up_the_certificate(
    above: float, below: float, count: int
) -> None:
    """The sharp case of ATT-2.  One more key, at 1, makes the range what it is."""
    first = np.arange(65) < count
    q, k = np.ones((1, 1, 1, 1)), np.where(first, above, below)[None, None, :, None]
    k[:, :, -1] = 1.0
    v, w = first[None, None, :, None].astype(np.float64), np.ones((1, 65))
    options: dict[str, Any] = {"support": ((0, 0),), "scale": 1.0}
    found = rope_attention.approximate(q, k, v, w, error=0.02 if count == 48 else 0.1, route="fourier", **options)
    reference = define(Instance(q, k, v, w, **options), 1e-15)
    assert 0.9 <= reference.ratio(found.value, np.broadcast_to(found.error, found.value.shape)).max() <= 1


def extremes() -> dict[str, tuple[Any, ...]]:
    """Queries, keys, W and scale whose products are of usual size, though not all products of two of them are."""
    points, symbol = np.array([1.0, -1.0, 0.5, 0.25])[None, None, :, None], np.array([[0.5, 1.0] * 3 + [0.5]])
    rng = np.random.default_rng(0)
    few, many = (rng.uniform(-1.0, 1.0, (1, 1, 20, 2)) * size for size in (2.0**-1068, 2.0**1022))
    return {
        "W and keys tiny": (points * 1e301, points * 1e-301, symbol * 1e-301, 1e301),
        "a scaled query that vanishes": (points * 1e-30, points * 1e30, symbol * 1e30, 1e-30, "float32"),
        "W times a key that overflows": (points * 1e-30, points * 1e19, symbol * 1e20, 1e-9, "float32"),
        "W times a key that vanishes": (points * 1e38, points * 1e-22, symbol * 1e-22, 1e6, "float32"),
        "rotated queries that are not normal": (few, many, None, 2.0**22),
        "rotated keys that are not normal": (many, few, None, 2.0**22),
    }


@pytest.mark.claim("ROPE-6")
@pytest.mark.claim("ROPE-7")
@pytest.mark.parametrize("route", ["fourier", "polynomial", "exact"])
@pytest.mark.parametrize("name", list(extremes()))
def test_numbers_at_the_ends_of_the_range_are_certified_or_refused(name: str, route: str) -> None:
    q, k, w, scale, *dtype = extremes()[name]
    q, k, w = (None if x is None else x.astype(*dtype or ["float64"]) for x in (q, k, w))
    n = q.shape[2]
    v = np.where(np.arange(n) % 3 == 0, 0.0, 1.0)[None, None, :, None].astype(q.dtype)
    options: dict[str, Any] = {"support": ((0, 0),)} if w is not None else {"relative_bias": np.zeros((1, 2 * n - 1))}
    error = 1e-2 if w is not None else 1e-10
    try:
        found = rope_attention.approximate(q, k, v, w, scale=scale, error=error, route=route, **options)
    except Infeasible:
        return
    reference = define(Instance(q, k, v, w, scale=scale, **options), 1e-20)
    assert (reference.ratio(found.value.astype(np.float64), np.broadcast_to(found.error, found.value.shape)) <= 1).all()


@pytest.mark.claim("ROPE-6")
@pytest.mark.parametrize("large", ["keys", "W"])
def test_keys_and_w_beyond_a_power_of_two_are_refused_by_transforms(large: str) -> None:
    """Divided by a power of two that may be formed, the numbers of the proof are at most 1."""
    for power, served in ((999, True), (1001, False)):
        size = {large: 2.0**power}
        q, k = np.full((1, 1, 4, 1), 2.0**-power), np.full((1, 1, 4, 1), 0.75 * size.get("keys", 1.0))
        w = np.full((1, 7), 0.75 * size.get("W", 1.0))
        instance = Instance(q, k, np.ones((1, 1, 4, 1)), w, support=((0, 0),), scale=1.0)
        scores = turned(instance, np.dtype(np.float64))
        if served:
            (job,) = jobs(instance, scores)
            assert job.symbols.relative is not None
            assert max(job.key.max(), job.symbols.relative.max()) <= 1
        else:
            with pytest.raises(Infeasible, match=r"serves 2\^1000"):
                list(jobs(instance, scores))


@pytest.mark.parametrize("route", ["fourier", "polynomial", "exact", None])
def test_an_error_far_above_tiny_values_is_no_overflow(route: str | None) -> None:
    q, k, v = arrays(5, 12, 15, 0.3)
    found = rope_attention.approximate(q, k, v * 1e-305, error=1e10, route=route)
    assert (found.error < 1e10).all()


@pytest.mark.claim("ROPE-6")
@pytest.mark.parametrize(("used", "other"), [(1e-170, 1.0), (1e-170, 1e-170), (1.0, 1e300)])
def test_the_norm_of_the_offsets_that_occur_is_right_however_large_the_others_are(used: float, other: float) -> None:
    """Keys beyond the length have offsets of their own; all that a head sees may be far smaller than W there."""
    n = 30
    w, q, v = np.full((1, 2 * n - 1), used), np.full((1, 1, n, 1), 1 / used), np.ones((1, 1, n, 1))
    w[:, : n // 2] = other
    k = np.cos(np.arange(n))[None, None, :, None]
    v[:, :, ::2] = 0.0
    options: dict[str, Any] = {"support": ((0, 0),), "scale": 0.5, "key_lengths": np.array([n // 2])}
    instance = Instance(q, k, v, w, **options)
    for job in jobs(instance, turned(instance, np.dtype(np.float64))):
        assert 0.4 <= job.radius <= 0.6
    found = rope_attention.approximate(q, k, v, w, error=0.1, route="fourier", **options)
    reference = define(instance, 1e-18)
    assert (reference.ratio(found.value, np.broadcast_to(found.error, found.value.shape)) <= 1).all()


@pytest.mark.claim("FFT-2")
def test_columns_whose_squares_underflow_are_granted_what_their_transforms_lose() -> None:
    n = 60
    rng = np.random.default_rng(2)
    q, k = (rng.uniform(0.5, 1.0, (1, 1, n, 2)) * [1.0, size] for size in (2.0**148, 2.0**-146))
    w, place = rng.uniform(0.5, 1.0, (1, 2 * n - 1)), ((1, 1),)
    instance = Instance(q, k, np.ones((1, 1, n, 1)), w, support=place, scale=1.0)
    (job,) = jobs(instance, turned(instance, np.dtype(np.float64)))
    with ThreadPoolExecutor(1) as pool:
        team = Team(pool, 1, lambda _: None)
        found = summed(job, place, (0.0, 0.0, 0.0, 0.0, 1.0), 2, job.symbols.transformed, team)
    assert job.symbols.relative is not None
    query, key, symbol = job.query[0, 1], job.key[1], job.symbols.relative[0]
    with mp.workdps(40):
        off = max(
            abs(mp.fsum((mp.mpf(query[i]) * symbol[i - j + n - 1] * key[j]) ** 4 for j in range(n)) - total)
            for i, total in enumerate(found.powers[0, 4].tolist())
        )
    assert 0 < off <= found.lost_powers[0, 4]


# --- bounds, number by number -----------------------------------------------------------------------------------------


def sums_of(job: Job, support: tuple[tuple[int, int], ...], coefficients: tuple[float, ...]) -> Sums:
    with ThreadPoolExecutor(1) as pool:
        return summed(job, support, coefficients, 2, job.symbols.transformed, Team(pool, 1, lambda _: None))


def multisets(support: tuple[tuple[int, int], ...], degree: int) -> dict[tuple[Any, Any], list[tuple[int, ...]]]:
    """The multisets of places with each pair of monomials."""
    found: dict[tuple[Any, Any], list[tuple[int, ...]]] = {}
    for places in itertools.combinations_with_replacement(range(len(support)), degree):
        pair = tuple(tuple(sorted(support[e][side] for e in places)) for side in (0, 1))
        found.setdefault((pair[0], pair[1]), []).append(places)
    return found


@pytest.mark.claim("FFT-1")
@pytest.mark.claim("FFT-2")
def test_what_transforms_may_lose_is_counted_as_the_claims_say() -> None:
    u = 2.0**-53
    for size, terms, largest, symbol, column, keys in ((2, 1, 3.0, 0.5, 2.0, 1), (2**20, 7, 0.1, 40.0, 1e3, 9**4)):
        e = 16 * u * np.log2(size)
        granted = ((2 * e + (6 + terms) * u) * largest + e * symbol * np.sqrt(keys)) * column * (1 + 4 * e)
        made = transforms.lost(size, terms, largest, symbol, np.array([column]), keys)
        assert granted <= made[0] <= granted * (1 + 1e-8)


@pytest.mark.claim("FFT-1")
@pytest.mark.parametrize(("radix", "roundings"), [(2, 1), (3, 5), (4, 2), (5, 7)])
def test_a_stage_whose_roundings_are_all_at_their_bounds_errs_by_less_than_is_granted(
    radix: int, roundings: int
) -> None:
    """Twiddles off by 8u, complex products by √2·γ_2, and every part of an output by K roundings of every term."""
    u = 2.0**-53
    turn = np.exp(-2j * np.pi / radix * np.outer(np.arange(radix), np.arange(radix)))
    rng, worst = np.random.default_rng(radix), 0.0
    for x in (np.ones(radix, complex), *rng.standard_normal((200, radix, 2)).view(complex)[..., 0]):
        exact = turn @ x
        parts = roundings * u * np.abs(x).sum() * np.sqrt(2) * np.ones(radix)
        off = np.linalg.norm(parts) + (8 + 2 * np.sqrt(2)) * u * np.linalg.norm(exact)
        worst = max(worst, off / np.linalg.norm(exact))
    assert 0.5 * transforms.error(2) <= worst / np.log2(radix) <= transforms.error(2)


def loss(job: Job, support: tuple[tuple[int, int], ...], coefficients: tuple[float, ...]) -> tuple[Any, Any]:
    """FFT-2 of every product with a Toeplitz matrix, from the claim: for columns of values, and for every degree."""
    u, size, (n_q, n_k) = 2.0**-53, job.symbols.size, (job.query.shape[2], job.key.shape[1])
    e = 16 * u * np.log2(size)
    relative = np.ones((len(support), n_q + n_k - 1)) if job.symbols.relative is None else job.symbols.relative
    values = np.zeros((len(job.heads), len(job.columns) - 1))
    powers = np.zeros((len(job.heads), len(coefficients)))
    for m, c in enumerate(coefficients):
        pairs = multisets(support, m)
        for (query, key), alphas in pairs.items():
            ways = [
                math.factorial(m) / np.prod([math.factorial(count) for count in Counter(alpha).values()])
                for alpha in alphas
            ]
            symbol = sum(w * np.prod(relative[list(alpha)], axis=0) for w, alpha in zip(ways, alphas, strict=True))
            symbol = symbol * job.symbols.weight
            norms = np.linalg.norm(np.prod(job.key[list(key)], axis=0) * job.columns, axis=1)
            terms = sum(other == query for other, _ in pairs)
            largest, norm = np.abs(np.fft.fft(symbol, size)).max(), np.linalg.norm(symbol)
            one = ((2 * e + (6 + terms) * u) * largest + e * norm * np.sqrt(n_k)) * norms * (1 + 4 * e)
            for head, z in enumerate(job.query):
                reach = np.abs(np.prod(z[list(query)], axis=0)).max()
                values[head] += reach * abs(c) * one[:-1]
                powers[head, m] += reach * one[-1]
    return values, powers


def counted(
    job: Job, head: int, support: tuple[tuple[int, int], ...], polynomial: Approximation, measure: Measure, sums: Sums,
    unit: float, least: float,
) -> Any:  # fmt: skip
    """The certificate of ROPE-6, from the claim."""
    u, c, n = 2.0**-53, np.array(polynomial.coefficients), job.key.shape[1]
    g = len(c) - 1
    parts = [multisets(support, m) for m in range(g + 1)]
    A = sum(len({query for query, _ in pairs}) for pairs in parts)
    K = np.array([4 * m + max(map(len, pairs.values())) + A + g + 8 for m, pairs in enumerate(parts)])
    shown = job.symbols.weight > 0
    eta = (8 + 1.01 * min(-np.log(job.symbols.weight[shown].min()), 746)) * u
    eta = 0.0 if np.isin(job.symbols.weight, (0.0, 1.0)).all() else eta
    rate = K * u / (1 - K * u) + eta
    gamma = (rate * np.abs(c) * job.radius ** np.arange(g + 1)).sum()
    F, F_c = sums.lost_powers[head] + 2.0**-300 * n, sums.lost_values[head] + 2.0**-300 * n
    S, N = sums.powers[head], sums.values[head]
    Z, E = c @ S, (np.abs(S[0]) + F[0]) * (1 + 2 * rate[0])
    a, h, spread = job.half[:, None], job.grow[:, None], (job.largest - job.least)[:, None]
    raw = job.middle[:, None] + h * (N / Z)
    out = np.clip(raw, job.least[:, None], job.largest[:, None])
    off_weight = gamma * E + np.abs(c) @ F
    off_values = a / h * gamma * E + F_c[:, None]

    def bound(T: Any, moved: Any) -> Any:
        r = (h * off_values + moved * off_weight) / Z
        size = np.maximum(np.abs(job.least), np.abs(job.largest))[:, None]
        whole = np.tanh(job.shifted / 2) * spread + T + r + 4 * u * a + 3 * u * (size + a + T + r)
        return whole + unit * np.abs(out) + least

    if measure.order == 0:
        T = polynomial.error / (1 + np.sqrt(1 - polynomial.error**2)) * spread
        return bound(T, a + T)
    p, t = measure.order, measure.ratio / polynomial.interval[1]
    W = E + t**p * (np.abs(S[p]) + F[p] + rate[p] * job.radius**p * E)
    first = bound(polynomial.error * W / Z * spread, a)
    distance = np.maximum(job.largest[:, None] - out, out - job.least[:, None]) + first
    return bound(polynomial.error * W / Z * np.minimum(spread, distance), a)


@pytest.mark.claim("FFT-2")
@pytest.mark.claim("ROPE-6")
@pytest.mark.parametrize("stored", ["float32", "float64"])
@pytest.mark.parametrize("order", [0, 2, 4])
@pytest.mark.parametrize("name", ["merged", "causal", "decay", "rotary", "drowned"])
def test_the_certificate_is_counted_as_the_claim_says(name: str, order: int, stored: str) -> None:
    options = mechanisms(30, 45).get(name, {})
    if name == "drowned":  # the first rows weigh less than what transforms lose
        bias = np.where(np.arange(74) < 50, -36.0, 0.0)[None]
        options = {"relative": symbols(1, 2, 30, 45), "support": DIAGONAL, "relative_bias": bias, "is_causal": True}
    q, k, v = arrays(3, 30, 45, 0.7)
    v = v * [1e-4, 1.0, 1e4] + [0.0, 1e6, 0.0]
    instance = Instance(q, k, v, scale=0.5, **options)
    support = fourier.support_of(instance)
    unit, least = (2.0**-24, 2.0**-149) if stored == "float32" else (0.0, 0.0)
    for job in jobs(instance, turned(instance, np.dtype(np.float64))):
        for error in (None, 0.0, 1e-13):  # where the polynomial itself errs most, and where roundings do
            polynomial, measure = exp_of_degree(job.radius, 4), Measure()
            if order:
                polynomial, measure = exp_by_moment(job.radius, 4, order, 1.5, False), Measure(order, 1.5)
            polynomial = polynomial if error is None else dataclasses.replace(polynomial, error=error)
            sums = sums_of(job, support, polynomial.coefficients)
            values, powers = loss(job, support, polynomial.coefficients)
            assert sums.lost_values == pytest.approx(values, rel=1e-8, abs=0)
            assert sums.lost_powers == pytest.approx(powers, rel=1e-8, abs=0)
            for head in range(len(job.heads)):
                made = certified(job, head, support, polynomial, measure, sums, stored, slice(None)).bound.T
                claimed = counted(job, head, support, polynomial, measure, sums, unit, least)
                some = job.seen > 0
                assert made[:, some] == pytest.approx(claimed[:, some], rel=1e-7, abs=0)


@pytest.mark.claim("ROPE-7")
def test_a_bias_adds_to_the_bound_from_norms_what_the_claim_says() -> None:
    """Without values, the bound is L/2; its terms with the bias are the two of TOL-2, and three of TOL-3."""
    machine, zero, one = precision("float64"), np.zeros(1), np.ones(1)
    for s, b in ((0.5, 40.0), (3.0, 7.0)):
        with_bias, without = (exact_bound(machine, 50, 4, 0.5, s, 2.0, zero, one, x)[0] for x in (b, 0.0))
        more = (12 * b + 5 * (s + b) + (6.06 + 2.02 + 4.04) * b) * machine.product / 2
        assert with_bias - without == pytest.approx(more, rel=1e-6, abs=0)


@pytest.mark.claim("ROPE-7")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_products_with_w_add_to_the_bound_from_norms_what_they_lose_and_end_its_domain(dtype: str) -> None:
    machine, zero, one = precision(dtype), np.zeros(1), np.ones(1)
    norms = 1e-6 / machine.tiny
    more, less = (exact_bound(machine, 50, 4, 0.5, 1.0, 2.0, zero, one, 0.0, each)[0] for each in (norms, 0.0))
    assert more - less == pytest.approx(2 * 1.5 * 1e-6 / 2, rel=1e-4, abs=0)
    largest = float(np.finfo(dtype).max) / 4 / 1.5
    for reach, certain in ((0.99 * largest, True), (1.01 * largest, False)):
        bound = exact_bound(machine, 50, 4, 0.5, 1.0, 2.0, zero, one, 0.0, 0.0, reach)
        assert bool(np.isfinite(bound)[0]) == certain


@pytest.mark.claim("ROPE-7")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "name", ["general", "merged", "large W", "decay", "hiding bias", "rotary", "rotary with a bias"]
)
def test_the_bound_of_the_exact_kernel_is_counted_as_the_claim_says(name: str, dtype: str) -> None:
    """Where W and keys are large, what a small scaled query loses to underflow is a large part of it."""
    options = {
        word: x.astype(dtype) if word in ("relative", "relative_bias") else x
        for word, x in mechanisms(30, 45)["general" if name == "large W" else name].items()
    }
    q, k, v = arrays(3, 30, 45, 1.0, dtype)
    if name == "large W":
        size = q.dtype.type(1e16)
        q, k, options["relative"] = q / size / size, k * size, options["relative"] * size
    instance = Instance(q, k, v, scale=0.5, **options)
    scores = turned(instance, np.dtype(dtype))
    machine = precision(dtype)
    made = exact_error(instance, scores, machine)
    long = float(np.linalg.norm(scores.key[0, 0].astype(np.float64), axis=1).max())
    size, spread = np.abs(v[0, 0].astype(np.float64)).max(axis=0), np.ptp(v[0, 0].astype(np.float64), axis=0)
    for head in range(2):
        query, w, places, more = np.linalg.norm(scores.query[0, head].astype(np.float64), axis=1).max(), 1.0, 2, {}
        if "relative" in options:
            whole = np.zeros((2, 2, 74))
            for (a, b), row in zip(options["support"], options["relative"], strict=True):
                whole[a, b] = np.abs(row)
            w = float(np.sqrt(whole.sum(axis=0).max(axis=0) * whole.sum(axis=1).max(axis=0)).max())
            places = len(options["support"])
            more = {"norms": places * (query + w * long), "reach": w * long}
        rows = np.abs(options.get("relative_bias", np.zeros((2, 1)))).astype(np.float64)
        largest = float(rows[head, np.isfinite(rows[head])].max())
        bound = exact_bound(machine, 45, places, 0.5, query * max(w, 1), long, size, spread, largest, **more)
        if "rotary" in name:
            bound = bound + np.tanh({"float32": 10, "float64": 31}[dtype] * machine.product * query * long / 4) * spread
        assert (bound <= made[0, head, 0]).all()
        assert (made[0, head, 0] <= bound * (1.003 if dtype == "float64" else 1.01)).all()


@pytest.mark.claim("ROPE-3")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rotations_that_err_as_much_as_they_may_use_up_what_scores_are_granted(dtype: str) -> None:
    """Cosines and sines off by 6u, or by u of their size, and γ_2 in every element, all towards the other vector."""
    rng, worst = np.random.default_rng(0), 0.0
    for _ in range(3000):
        c, s, x, y = (float(number) for number in rng.standard_normal(4))
        length = np.hypot(c, s)
        c, s = c / length, s / length
        table = (6.0, 6.0) if dtype == "float64" else (abs(c), abs(s))
        exact = np.array([c * x - s * y, s * x + c * y])
        rounded = 2 * np.array([abs(c * x) + abs(s * y), abs(s * x) + abs(c * y)])
        for one in (-1, 1):
            for two in (-1, 1):
                off = np.array([one * table[0] * x - two * table[1] * y, two * table[1] * x + one * table[0] * y])
                longest = np.linalg.norm(np.abs(off) + rounded)  # along a key of the same signs
                worst = max(worst, 2 * float(longest) / float(np.linalg.norm(exact)))
    assert 0.7 * OFF[dtype] <= worst <= OFF[dtype]


@pytest.mark.claim("ROPE-3")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_polynomial_route_adds_the_rotation_and_the_rounding_of_the_output(dtype: str) -> None:
    q, k, v = arrays(5, 40, 60, 0.3, dtype)
    unit, least = (2.0**-24, 2.0**-149) if dtype == "float32" else (0.0, 0.0)
    error = 1e-3 if dtype == "float32" else 1e-10
    found = rope_attention.approximate(q, k, v, error=error, scale=0.5, route="polynomial", threads=1)
    scores = turned(Instance(q, k, v, scale=0.5), np.dtype(np.float64))
    wide = v.astype(np.float64)
    reach = np.linalg.norm(scores.query, axis=3).max() * np.linalg.norm(scores.key, axis=3).max()
    beside = np.tanh(31 * 2.0**-53 * 0.5 * reach / 2) * np.ptp(wide, axis=2)[:, :, None]
    beside = beside + unit * np.abs(wide).max(axis=2)[:, :, None] * 1.01 + least
    left = error - 1.01 * float(beside.max())
    plain = attention.approximate(scores.query, scores.key, wide, left, 0.5, fallback="raise", threads=1)
    assert found.error - plain.error == pytest.approx(
        plain.error * unit + beside, rel=1e-6 if unit else 1e-3, abs=1e-17
    )


@pytest.mark.claim("ROPE-6")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", list(mechanisms(40, 60)))
def test_rows_that_are_computed_one_by_one_are_within_the_certificate(
    name: str, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any rows may be: here every second certificate, and a run of them, is made too large."""
    options = {
        word: x.astype(dtype) if word in ("relative", "relative_bias") else x
        for word, x in mechanisms(40, 60)[name].items()
    }
    options.setdefault("key_lengths", np.array([51]))
    honest = fourier.certified

    def refusing(*arguments: Any) -> Any:
        rows = honest(*arguments)
        missed = np.arange(len(rows.bound)) % 2 == 1
        missed[11:19] = True
        rows.output[missed], rows.bound[missed] = np.nan, np.inf
        return rows

    monkeypatch.setattr(fourier, "certified", refusing)
    q, k, v = arrays(5, 40, 60, 1.0, dtype)
    v[..., -1] *= 1e-6 if dtype == "float64" else 1.0
    found = rope_attention.approximate(q, k, v, error=1e-4, scale=0.5, route="fourier", **options)
    assert "48 rows computed one by one" in found.route
    reference = define(Instance(q, k, v, scale=0.5, **options), 1e-22)
    rows = np.arange(40) % 2 == 1
    off = reference.ratio(found.value.astype(np.float64), np.broadcast_to(found.error, found.value.shape))
    assert (off <= 1).all()
    assert off[:, :, rows].max() > 0
    instance = Instance(q, k, v, scale=0.5, **options)
    kernel = exact_error(instance, turned(instance, np.dtype(np.float64)), precision("float64"))
    allowed = np.broadcast_to(kernel, found.value.shape)
    assert (reference.ratio(found.value.astype(np.float64), allowed)[:, :, rows] <= 1).all()
    assert (found.error >= kernel).all()


def test_the_number_of_threads_changes_no_bit() -> None:
    q, k, v = arrays(4, 50, 50, 0.5)
    options: dict[str, Any] = {"relative": symbols(4, 4, 50, 50), "support": BLOCK, "route": "fourier", "error": 1e-5}
    one, two = (rope_attention.approximate(q, k, v, threads=threads, **options) for threads in (1, 2))
    assert one.value.tobytes() == two.value.tobytes()
    assert one.error.tobytes() == two.error.tobytes()


def test_little_memory_is_shared_or_refused_and_changes_no_bit() -> None:
    q, k, v = arrays(4, 500, 500, 0.5)
    options: dict[str, Any] = {"relative": symbols(4, 2, 500, 500), "support": DIAGONAL, "route": "fourier"}
    wide = rope_attention.approximate(q, k, v, error=1e-4, threads=1, **options)
    narrow = rope_attention.approximate(q, k, v, error=1e-4, threads=1, memory=700_000, **options)
    assert np.abs(wide.value - narrow.value).max() <= 1e-12
    with pytest.raises(Infeasible, match="MiB allowed"):
        rope_attention.approximate(q, k, v, error=1e-4, memory=200_000, **options)


@pytest.mark.parametrize("route", [None, "exact"])
def test_the_exact_kernel_is_refused_where_it_needs_more_memory_than_is_allowed(route: str | None) -> None:
    q, k, v = arrays(4, 500, 500, 30.0)
    with pytest.raises(Infeasible, match=r"the exact kernel in float64 needs 0\.\d MiB of the 0\.1 allowed"):
        rope_attention.approximate(q, k, v, error=1e-6, memory=100_000, threads=1, route=route)


def test_rows_with_few_keys_that_the_transforms_drown_are_computed_one_by_one() -> None:
    n = 400
    q, k, v = arrays(6, n, n, 0.3)
    apart = np.arange(2 * n - 1) - (n - 1.0)
    bias = np.where(apart < 3, -40.0, 0.0)[None]  # the first rows see keys of weight e^-40 alone
    options: dict[str, Any] = {"relative_bias": bias, "is_causal": True, "relative": np.ones((2, 2 * n - 1))}
    found = rope_attention.approximate(q, k, v, error=1e-6, support=DIAGONAL, route="fourier", **options)
    assert "3 rows computed one by one" in found.route or "6 rows computed one by one" in found.route
    reference = define(Instance(q, k, v, support=DIAGONAL, **options), 1e-18)
    assert (reference.ratio(found.value, np.broadcast_to(found.error, found.value.shape)) <= 1).all()


def test_rows_that_see_no_key_are_exactly_zero() -> None:
    q, k, v = arrays(7, 30, 20, 0.3)
    options: dict[str, Any] = {"relative": symbols(4, 2, 30, 20), "support": DIAGONAL, "causal": "bottom-right"}
    found = rope_attention.approximate(q, k, v, error=1e-4, route="fourier", **options)
    assert (found.value[:, :, :10] == 0).all()
    assert (found.value[:, :, 10:] != 0).all()


def test_the_router_takes_the_exact_kernel_where_it_is_faster_and_says_so() -> None:
    q, k, v = arrays(7, 30, 30, 0.3)
    found = rope_attention.approximate(q, k, v, symbols(1, 2, 30, 30), error=1e-4, support=DIAGONAL)
    assert found.route.startswith("exact in float64")
    assert "fourier is predicted to cost" in found.route


def test_scores_too_large_for_a_polynomial_go_to_the_exact_kernel_with_its_own_certificate() -> None:
    q, k, v = arrays(7, 30, 30, 30.0)
    found = rope_attention.approximate(q, k, v, symbols(1, 2, 30, 30), error=1e-6, support=DIAGONAL)
    assert "polynomial method serves 40" in found.route
    reference = define(Instance(q, k, v, symbols(1, 2, 30, 30), support=DIAGONAL), 1e-20)
    assert (reference.ratio(found.value, np.broadcast_to(found.error, found.value.shape)) <= 1).all()


@pytest.mark.parametrize("route", ["fourier", "exact"])
def test_the_arrays_of_the_caller_stay_as_they_are(route: str) -> None:
    q, k, v = (x[..., :1].copy() for x in arrays(7, 30, 30, 0.3))  # one coordinate: a row and a column are one
    w, bias = symbols(1, 1, 30, 30), decay(30, 30)
    before = [x.copy() for x in (q, k, v, w, bias)]
    rope_attention.approximate(q, k, v, w, error=1e-3, support=((0, 0),), relative_bias=bias, route=route)
    assert all(np.array_equal(x, y) for x, y in zip((q, k, v, w, bias), before, strict=True))


def test_bad_arguments_are_named() -> None:
    q, k, v = arrays(7, 3, 3, 0.3)
    with pytest.raises(ValueError, match="route"):
        rope_attention.approximate(q, k, v, route="fast")
    with pytest.raises(ValueError, match="error"):
        rope_attention.approximate(q, k, v, error=0.0)
    with pytest.raises(InvalidInstance, match="support"):
        rope_attention.approximate(q, k, v, symbols(1, 2, 3, 3), support=((0, 0), (0, 0)))
    with pytest.raises(ValueError, match="threads"):
        rope_attention.exact(q, k, v, threads=0)


@pytest.mark.parametrize("module", ["approximate", "monomials", "tiles", "turned"])
def test_the_examples_of_docstrings_print_what_they_say(module: str) -> None:
    failed, ran = doctest.testmod(importlib.import_module(f"assay.impl.cpu.rope_attention.{module}"))
    assert (failed, ran > 0) == (0, True)


def test_the_other_backend_of_a_process_is_not_used() -> None:
    class Nothing:
        __ua_domain__ = "numpy.scipy.fft"

        @staticmethod
        def __ua_function__(method: Any, args: Any, kwargs: Any) -> Any:
            return np.zeros(1)

    with scipy.fft.set_backend(Nothing):
        assert transforms.forward(np.ones((1, 4)))[0, 0] == 4
