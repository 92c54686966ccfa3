"""Approximate attention of order k: no certificate is below the truth, and nothing is as large as the combinations."""

from __future__ import annotations

import functools
import itertools
import math
import tracemalloc
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from modes import KINDS, adversarial

from assay.impl.cpu import attention, features, tensor_attention
from assay.impl.cpu.tensor_attention.certificate import exact_error, roundings
from assay.impl.cpu.tensor_attention.heads import heads
from assay.spec.approximation import Infeasible
from assay.spec.problem import InvalidInstance
from assay.spec.tensor_attention import Instance, define


def drawn(seed: int, order: int, kind: str = "uniform", dtype: str = "float64", n: int = 9) -> list[np.ndarray]:
    """query, keys and values of one head with scores of about 1 at most, in an adversarial form."""
    rng = np.random.default_rng([seed, order])
    d, lengths = int(rng.integers(1, 4)), [int(x) for x in rng.integers(1, n, order - 1)]
    query = rng.uniform(-1, 1, (1, 2, int(rng.integers(1, n)), d))
    keys = [rng.uniform(-1, 1, (1, 1, length, d)) for length in lengths]
    values = [rng.standard_normal((1, 1, length, 2)) for length in lengths]
    query, keys, values = adversarial(kind, query, keys, values)
    return [x.astype(dtype) for x in (query * rng.uniform(0.1, 1.5), *keys, *values)]


def truth(arrays: list[np.ndarray], scale: float) -> np.ndarray:
    """The output in long double, far more accurate than any certificate here says."""
    long = [x.astype(np.longdouble) for x in arrays]
    order = len(arrays) // 2 + 1
    key, value = (
        functools.reduce(lambda a, b: (a[:, :, :, None] * b[:, :, None]).reshape(*a.shape[:2], -1, a.shape[3]), modes)
        for modes in (long[1:order], long[order:])
    )
    score = np.longdouble(scale) * long[0] @ np.swapaxes(key, 2, 3)
    weight = np.exp(score)
    made: np.ndarray = weight @ value / weight.sum(axis=3, keepdims=True)
    return made


@pytest.mark.claim("TEN-10")
@pytest.mark.parametrize("order", [2, 3, 4, 5])
def test_no_certificate_is_below_the_truth(order: int) -> None:
    certified = 0
    for seed, kind in itertools.product(range(4), KINDS):
        arrays = drawn(seed, order, kind, ("float64", "float32")[seed % 2], 9 if order < 5 else 5)
        size = max(float(np.prod([np.abs(x).max() for x in arrays[order:]])), 1e-30)
        exact = truth(arrays, 0.5)
        for error in (1e-1, 1e-3, 1e-6, 1e-10):
            try:
                found = tensor_attention.approximate(*arrays, scale=0.5, error=error * size, fallback="raise")
            except Infeasible:
                continue
            certified += 1
            assert (np.abs(found.value - exact) <= found.error).all(), (kind, error, found.route)
            assert (found.error <= error * size).all()
    assert certified > 80


@pytest.mark.claim("TEN-10")
def test_certificates_hold_against_the_definition() -> None:
    for order, kind in itertools.product((3, 4), ("uniform", "corners")):
        arrays = drawn(1, order, kind)
        found = tensor_attention.approximate(*arrays, scale=0.5, error=1e-9, fallback="raise")
        reference = define(Instance.of_order(order)(*arrays, scale=0.5), 1e-15)
        assert (reference.ratio(found.value, np.broadcast_to(found.error, found.value.shape)) <= 1.0).all()


@pytest.mark.claim("TEN-2")
@pytest.mark.parametrize("order", [3, 4, 5])
def test_sums_over_combinations_of_powers_of_scores_come_apart(order: int) -> None:
    rng = np.random.default_rng(order)
    d, degree, lengths = 2, 3, (3, 2, 2, 2)[: order - 1]
    query = [Fraction(int(x), 3) for x in rng.integers(-3, 4, d)]
    keys = [[[Fraction(int(x), 2) for x in row] for row in rng.integers(-3, 4, (n, d))] for n in lengths]
    values = [[Fraction(int(x)) for x in rng.integers(-3, 4, n)] for n in lengths]
    weights = [Fraction(1, math.factorial(m)) for m in range(degree + 1)]
    whole = Fraction(0)
    for chosen in itertools.product(*map(range, lengths)):
        score = sum(query[c] * math.prod(key[j][c] for key, j in zip(keys, chosen, strict=True)) for c in range(d))
        value = math.prod(column[j] for column, j in zip(values, chosen, strict=True))
        whole += sum(w * score**m for m, w in enumerate(weights)) * value
    table = features.monomials(d, degree)

    def power(x: list[Fraction], a: int) -> Fraction:
        return Fraction(1) if a == 0 else power(x, int(table.parent[a])) * x[int(table.variable[a])]

    apart = Fraction(0)
    for a in range(table.rank):
        product = math.prod(
            sum(power(key[j], a) * column[j] for j in range(len(column)))
            for key, column in zip(keys, values, strict=True)
        )
        apart += weights[int(table.order[a])] * int(table.multinomial[a]) * power(query, a) * product
    assert whole == apart


@pytest.mark.claim("TEN-8")
def test_the_second_moment_of_the_scores_comes_from_the_gram_matrices() -> None:
    rng = np.random.default_rng(0)
    query, *keys = (rng.integers(-5, 6, (n, 3)) for n in (4, 5, 6, 2))
    gram = functools.reduce(np.multiply, (key.T @ key for key in keys))
    scores = np.einsum("ic,jc,kc,lc->ijkl", query, *keys)
    assert ((scores**2).sum(axis=(1, 2, 3)) == np.einsum("ic,cd,id->i", query, gram, query)).all()


@pytest.mark.claim("TEN-8")
@pytest.mark.parametrize("order", [3, 4, 5])
def test_no_sum_of_absolute_products_is_above_the_radius(order: int) -> None:
    for seed, kind in itertools.product(range(20), ("uniform", "signs", "one key", "heavy")):
        arrays = drawn(seed, order, kind, n=6)
        absolute = [np.abs(x) for x in arrays[:order]]
        letters = "jklm"[: order - 1]
        sums = np.einsum(
            ",".join(f"{letter}c" for letter in "i" + letters) + "->i" + letters,
            absolute[0][0].reshape(-1, absolute[0].shape[3]), *(key[0, 0] for key in absolute[1:]),
        )  # fmt: skip
        (head,) = heads(Instance.of_order(order)(*arrays, scale=-0.5))
        assert 0.5 * sums.max() <= head.radius
        if kind == "signs":
            assert head.radius <= 0.5 * sums.max() * (1 + 1e-6)  # attained


@pytest.mark.claim("TEN-8")
def test_adding_a_vector_to_the_keys_of_a_mode_changes_the_output_from_order_3_on() -> None:
    arrays = drawn(3, 3)
    moved = [arrays[0], arrays[1] + 0.5, *arrays[2:]]
    change = np.abs(truth(moved, 0.5) - truth(arrays, 0.5)).max()
    assert change > 1e-3
    found = tensor_attention.approximate(*moved, scale=0.5, error=1e-9, fallback="raise")
    assert np.abs(found.value - truth(moved, 0.5)).max() < 1e-9  # keys are taken as they are


@pytest.mark.claim("TEN-10")
def test_each_mode_adds_its_roundings() -> None:
    one, two = ((100,), 2, 5), ((100, 100_000), 2, 5)
    for m in range(6):
        assert roundings(*one, m) == features.roundings(2, 5, m) + 1 + 1
        blocks = (-(-100_000 // features.BLOCK) - 1).bit_length() + 1
        assert roundings(*two, m) == roundings(*one, m) + blocks + 1 + max(m - 1, 0) + 55 + 1


def test_the_polynomial_route_is_taken_where_it_is_faster_and_the_exact_one_elsewhere() -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.uniform(-1, 1, (1, 1, 200, 2)) for _ in range(5)]
    assert tensor_attention.approximate(*arrays, error=1e-5).route.startswith("polynomial")
    few = [x[:, :, :3] for x in arrays]
    found = tensor_attention.approximate(*few, error=1e-12)
    assert found.route.startswith("exact in float64")
    assert np.abs(found.value - truth(few, 1 / math.sqrt(2))).max() <= found.error.max() <= 1e-12
    for options in ({"is_causal": True}, {"window": (5, 5)}):
        assert tensor_attention.approximate(*arrays, error=1e-5, **options).route.startswith("exact")
        with pytest.raises(Infeasible, match="causal mask or a window"):
            tensor_attention.approximate(*arrays, error=1e-5, **options, fallback="raise")


def test_float32_goes_to_float64_where_the_error_needs_it() -> None:
    arrays = drawn(0, 3, dtype="float32", n=9)
    found = tensor_attention.approximate(*arrays, scale=0.5, error=1e-6, is_causal=True)
    assert found.value.dtype == np.float32
    assert found.route.startswith("exact in float64")
    with pytest.raises(Infeasible, match="certified only to"):
        tensor_attention.approximate(*arrays, scale=0.5, error=1e-9, is_causal=True)


def test_errors_far_above_the_values_are_met_too() -> None:
    arrays = drawn(0, 3)
    for error in (1.0, 1e3, 1e300):
        assert (tensor_attention.approximate(*arrays, scale=3.0, error=error, fallback="raise").error <= error).all()


def test_order_2_is_attentions_own_method() -> None:
    arrays = drawn(1, 2)
    ours = tensor_attention.approximate(*arrays, scale=0.5, error=1e-6)
    theirs = attention.approximate(*arrays, 1e-6, 0.5)
    assert np.array_equal(ours.value, theirs.value)
    assert ours.route == theirs.route


def test_the_number_of_threads_changes_no_bit() -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.uniform(-1, 1, (1, 2, 10_000, 2)) for _ in range(5)]
    one, two = (tensor_attention.approximate(*arrays, error=1e-4, threads=threads) for threads in (1, 2))
    assert np.array_equal(one.value, two.value)
    assert np.array_equal(one.error, two.error)


def test_memory_does_not_grow_with_the_combinations_and_their_number_may_exceed_integers() -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.uniform(-1, 1, (1, 1, 50_000, 2)) for _ in range(9)]  # 6·10^18 combinations
    tracemalloc.start()
    found = tensor_attention.approximate(*arrays, error=1e-6, threads=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.route.startswith("polynomial")
    assert peak < 20 << 20
    more = tensor_attention.approximate(*(x[:, :, :40] for x in arrays[:1]), *arrays[1:], error=1e-6)
    assert np.array_equal(more.value, found.value[:, :, :40])
    with pytest.raises(Infeasible, match="MiB"):
        tensor_attention.approximate(*arrays, error=1e-6, memory=1 << 10, fallback="raise")


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"error": 0.0}, ValueError, "error"),
        ({"error": math.nan}, ValueError, "error"),
        ({"fallback": "never"}, ValueError, "fallback"),
        ({"threads": 0}, ValueError, "threads"),
        ({"memory": 0}, ValueError, "memory"),
        ({"scale": 1e9, "error": 1e-3, "fallback": "raise"}, Infeasible, "scores of up to"),
        ({"error": 1e-17, "fallback": "raise"}, Infeasible, "rounding alone"),
    ],
)
def test_bad_arguments_are_named(options: dict[str, Any], kind: type, message: str) -> None:
    with pytest.raises(kind, match=message):
        tensor_attention.approximate(*drawn(0, 3), **options)
    half = [x.astype(np.float16) for x in drawn(0, 3)]
    with pytest.raises(InvalidInstance, match="float16"):
        tensor_attention.approximate(*half)


@pytest.mark.claim("TEN-10")
@pytest.mark.claim("TEN-11")
def test_an_output_beyond_the_largest_float32_is_not_certified() -> None:
    query, key1, key2, value1, value2 = drawn(0, 3, dtype="float32")
    value1, value2 = (np.full_like(value, 1e30) for value in (value1, value2))
    for options in ({"fallback": "raise"}, {"fallback": "exact"}, {"is_causal": True}):
        with pytest.raises(Infeasible):
            tensor_attention.approximate(query, key1, key2, value1, value2, error=1e54, **options)


@pytest.mark.claim("TEN-11")
@pytest.mark.parametrize("small", ["query", "key1", "key2"])
def test_a_factor_whose_squares_underflow_is_not_taken_for_zero_by_the_bound_of_the_exact_kernel(small: str) -> None:
    rng = np.random.default_rng(0)
    exponents = {"query": 100, "key1": 100, "key2": 100} | {small: -200}
    arrays = []
    for name, exponent in exponents.items():
        x = rng.uniform(0.5, 1.0, (1, 1, 3, 2))
        if name == small:
            x[..., 1] = -x[..., 0]  # scores of 10^8 cancel to about 0
        else:
            x[..., 1] = x[..., 0] * (1 + rng.uniform(0, 1e-9, (1, 1, 3)))
        arrays.append(x * 10.0**exponent)
    values = [rng.standard_normal((1, 1, 3, 1)) for _ in range(2)]
    exact = truth([*arrays, *values], 1e8)
    with pytest.raises(Infeasible):
        tensor_attention.approximate(*arrays, *values, scale=1e8, error=1e-10)
    found = tensor_attention.approximate(*arrays, *values, scale=1e8, error=1e-2)
    assert np.abs(found.value - exact).max() <= found.error.max()
    assert np.abs(found.value - exact).max() > 1e-10


@pytest.mark.claim("TEN-10")
@pytest.mark.parametrize("exponents", [(-540, 350), (350, -540), (400, 400), (-400, -450), (-880, 10)])
def test_the_mean_square_of_values_holds_where_their_squares_underflow_or_overflow(exponents: tuple[int, int]) -> None:
    arrays = drawn(0, 3)
    arrays[3:] = [np.ldexp(value, exponent) for value, exponent in zip(arrays[3:], exponents, strict=True)]
    (head,) = heads(Instance(*arrays, scale=0.5))
    for c in range(2):
        columns = [[Fraction(float(x)) for x in value[0, 0, :, c]] for value in arrays[3:]]
        square = math.prod(sum(x * x for x in column) / len(column) for column in columns)
        assert square <= Fraction(float(head.deviation[c])) ** 2 <= square * Fraction(1 + 2.0**-25)


@pytest.mark.claim("TEN-8")
@pytest.mark.parametrize("exponent", [-90, -280])
def test_no_power_that_underflows_makes_the_radius_too_small(exponent: int) -> None:
    ones = np.ones((1, 1, 2, 1))
    (head,) = heads(Instance.of_order(12)(np.ldexp(ones, exponent), *[ones] * 22, scale=1.0))
    assert head.radius >= 2.0**exponent


def test_values_too_large_for_their_products_are_refused_and_nothing_is_warned_of() -> None:
    query, key1, key2, value1, value2 = drawn(0, 3)
    for one, two in ((1e200, 1e200), (1e200, -1e200), (2.0**520, 0.0), (1e-200, 1e-200)):
        try:
            tensor_attention.approximate(
                query, key1, key2, np.full_like(value1, one), np.full_like(value2, two), error=1e-6, scale=0.5
            )
        except Infeasible:
            assert abs(one) == 1e200


@pytest.mark.parametrize("size", [1e-200, 1e-30])
def test_an_error_far_above_tiny_values_overflows_nothing(size: float) -> None:
    arrays = drawn(0, 3, "heavy")
    arrays[3] = arrays[3] * size
    for error in (1e-6, 1e300):
        found = tensor_attention.approximate(*arrays, error=error, scale=0.5, fallback="raise")
        assert (found.error <= error).all()


@pytest.mark.claim("TEN-11")
@pytest.mark.parametrize("name", ["float32", "float64"])
def test_products_of_values_that_vanish_before_a_large_value_are_in_the_bound_of_the_exact_kernel(name: str) -> None:
    small, large = {"float32": (-80, 99), "float64": (-600, 890)}[name]
    ones = np.ones((1, 1, 1, 1), name)
    values = [np.ldexp(ones, exponent) for exponent in (small, small, large)]
    (out,) = tensor_attention.exact(ones, ones, ones, ones, *values).ravel()
    (bound,) = exact_error(Instance.of_order(4)(ones, ones, ones, ones, *values), name).ravel()
    assert out == 0.0
    assert math.ldexp(1.0, 2 * small + large) <= bound < math.inf


@pytest.mark.claim("TEN-11")
def test_the_bound_of_the_exact_kernel_pays_for_every_product_of_values() -> None:
    ones = np.ones((1, 1, 1, 1), np.float32)
    bounds = [
        float(exact_error(Instance.of_order(order)(*[ones] * (2 * order - 1), scale=0.0), "float32").max())
        for order in (3, 4, 5, 6)
    ]
    assert (np.diff(bounds) >= 2.0**-24).all()  # one rounding for each product more
