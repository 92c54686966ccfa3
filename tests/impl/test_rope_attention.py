"""Attention with relative positions on the CPU: exact within its class, approximate within its certificate."""

from __future__ import annotations

import doctest
import functools
import importlib
import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import flint
import numpy as np
import pytest
import scipy.fft
from mpmath import mp

from assay.impl.cpu import rope_attention
from assay.impl.cpu.attention.passes import Team
from assay.impl.cpu.rope_attention import fourier, transforms
from assay.impl.cpu.rope_attention.jobs import jobs
from assay.impl.cpu.rope_attention.monomials import components
from assay.impl.cpu.rope_attention.sums import summed
from assay.impl.cpu.rope_attention.turned import OFF, toeplitz, turned
from assay.spec import flint_context, rope
from assay.spec.approximation import Infeasible
from assay.spec.problem import InvalidInstance
from assay.spec.rope_attention import Instance, define, tolerance

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
