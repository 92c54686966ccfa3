"""Attention by polynomials of GPUs, on the thread model of a CPU: within its certificate, and free of races."""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction
from typing import Any

import emulated
import ml_dtypes
import numpy as np
import pytest
from emulated import ORDERS, Deaf, Emulated

import assay
from assay.conformance.attention.target_cupy import polynomial_of
from assay.conformance.interface.suite import Case, Family
from assay.conformance.interface.targets import kernel_of
from assay.conformance.judge.judge import Judge
from assay.impl.cpu.features import monomials, rank
from assay.impl.gpu import features
from assay.impl.gpu.attention import polynomial
from assay.impl.gpu.choice import Known, Plan, Size, chosen
from assay.impl.gpu.features import Hull, Points
from assay.spec.approximation import Approximation, Infeasible
from assay.spec.attention import Instance, define
from assay.spec.precision import precision
from assay.spec.problem import InvalidInstance

needs_compiler = pytest.mark.skipif(emulated.compiler() is None, reason="g++ is not installed")


def approximate(
    query: Any, key: Any, value: Any, error: float = 1e-6, scale: float | None = None, *, key_lengths: Any = None,
    bounds: Any = None, memory: int = 1 << 30, order: str = "ascending", **masks: Any,
) -> Any:  # fmt: skip
    """:func:`assay.impl.gpu.attention.approximate` on a CPU."""
    return polynomial.run(Emulated(order), query, key, value, key_lengths, error, scale, bounds, memory, **masks)


def drawn(*shape: int, dtype: Any = np.float64, seed: int = 0, d_v: int = 3) -> tuple[Any, Any, Any]:
    """Query, key and value of (batch, heads, heads of keys, queries, keys, dim)."""
    b, h, h_k, n_q, n_k, d = shape
    rng = np.random.default_rng(seed)
    shapes = (b, h, n_q, d), (b, h_k, n_k, d), (b, h_k, n_k, d_v)
    query, key, value = (rng.uniform(-0.5, 0.5, each).astype(dtype) for each in shapes)
    return query, key, value


@needs_compiler
@pytest.mark.claim("GPU-11")
@pytest.mark.parametrize(
    "dtype",
    [np.float32, *(pytest.param(x, marks=pytest.mark.thorough) for x in (np.float64, np.float16, ml_dtypes.bfloat16))],
)
def test_the_certificate_holds_in_every_type(dtype: Any) -> None:
    arrays = drawn(1, 4, 2, 37, 650, 3, dtype=dtype, d_v=10)
    for error in (1e-2, 1e-6, 1e-9):
        try:
            found = approximate(*arrays, error=error)
        except Infeasible:
            assert error < (1e-8 if dtype == np.float32 else 1e-2)  # than the rounding of the output
            assert dtype != np.float64
            continue
        assert found.value.dtype == dtype
        off = define(Instance(*arrays), 2.0**-60).least_error(found.value)
        assert (off <= found.error).all()
        assert (found.error <= error).all()
        assert (found.error < 1e3 * off.max()).all()


@needs_compiler
@pytest.mark.claim("GPU-11")
def test_keys_that_a_length_hides_are_not_seen() -> None:
    query, key, value = drawn(3, 2, 1, 33, 600, 2)
    lengths = np.array([600, 513, 0])
    for batch, length in enumerate(lengths):
        key[batch, :, length:], value[batch, :, length:] = np.nan, np.inf
    found = approximate(query, key, value, key_lengths=lengths)
    seen = Instance(query, np.nan_to_num(key), np.nan_to_num(value, posinf=0.0), key_lengths=lengths)
    assert (define(seen, 2.0**-60).least_error(found.value) <= found.error).all()
    assert (found.error[:2] <= 1e-6).all()
    assert not found.value[2].any()
    assert not found.error[2].any()


@needs_compiler
@pytest.mark.claim("GPU-11")
@pytest.mark.parametrize(("dtype", "place"), [(np.float64, 2.0**-52), (np.float32, 2.0**-23)])
@pytest.mark.parametrize("last", [1, 3])
def test_values_that_differ_in_their_last_places_are_averaged_to_them(last: int, dtype: Any, place: float) -> None:
    query, key, _ = drawn(1, 1, 1, 3, 20, 2, dtype=dtype)
    value = (1.0 + place * (np.arange(20) % (last + 1))).astype(dtype).reshape(1, 1, 20, 1)
    found = approximate(query, key, value)
    off = define(Instance(query, key, value), 2.0**-60).least_error(found.value)
    assert off.max() > place / 8
    assert (off <= found.error).all()
    assert found.error.max() < 8 * place


@needs_compiler
@pytest.mark.claim("GPU-11")
@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("keys", [1, 40])
def test_equal_values_are_their_own_mean_whatever_the_scores_are(keys: int, is_causal: bool) -> None:
    query, key, value = drawn(1, 2, 1, 5, keys, 2)
    found = approximate(8.0 * query, key, np.full_like(value, 1.1), error=1e-12, is_causal=is_causal)
    assert (found.value == 1.1).all()
    assert (found.error <= 1e-12).all()
    promised = approximate(query, key, value, bounds=(2.0, 0.0), is_causal=is_causal)  # which is no promise of these
    off = define(Instance(query, key, value, is_causal=is_causal), 2.0**-60).least_error(promised.value)
    assert (off <= promised.error).all()
    assert (off.max() > 0.01) == (keys > 1)


@needs_compiler
@pytest.mark.parametrize("masks", [{}, {"is_causal": True}])
def test_equal_values_meet_every_error_that_is_above_their_rounding(masks: dict[str, Any]) -> None:
    query, key, value = drawn(1, 1, 1, 3, 70, 2)
    for size, error in ((0.0, 1e-150), (1e-150, 1e-164), (0.0, 1e-320)):
        found = approximate(query, key, np.full_like(value, size), error, **masks)
        assert (found.value == size).all()
        assert (found.error <= error).all()
    with pytest.raises(Infeasible, match="rounding alone may cost"):
        approximate(query, key, np.zeros_like(value), 1e-322, **masks)


@needs_compiler
@pytest.mark.claim("GPU-11")
@pytest.mark.parametrize(("d", "scale", "error"), [(1, 4.0, 1e-12), (2, 4.0, 1e-12), (30, 0.1, 1e-4), (7, 0.5, 1e-9)])
def test_tables_of_two_and_of_four_parts_give_the_polynomial(d: int, scale: float, error: float) -> None:
    query, key, value = drawn(1, 1, 1, 5, 40, d)
    found = approximate(query, key, value, error, scale)
    exact = define(Instance(query, key, value, scale), 2.0**-60)
    assert (exact.least_error(found.value) <= found.error).all()
    assert (found.error <= error).all()


@pytest.mark.parametrize(("d", "degree"), [(1, 9), (3, 0), (3, 5), (8, 6), (17, 3), (100, 2), (24, 4)])
def test_a_monomial_is_the_product_of_its_parts(d: int, degree: int) -> None:
    of, table = features.table(Emulated(), d, degree), monomials(d, degree)
    x = np.random.default_rng(0).integers(1, 9, d)
    small, whole = [1], [1]
    for parent, variable in zip(of.parent[1:], of.variable[1:], strict=True):
        small.append(small[parent] * int(x[variable]))
    for parent, variable in zip(table.parent[1 : table.rank], table.variable[1 : table.rank], strict=True):
        whole.append(whole[parent] * int(x[variable]))
    assert [math.prod(small[part] for part in parts) for parts in of.parts[: table.rank]] == whole


@needs_compiler
@pytest.mark.claim("GPU-11")
def test_every_order_of_threads_and_blocks_gives_the_same_bits() -> None:
    query, key, value = drawn(2, 4, 2, 37, 3000, 6, dtype=np.float32, d_v=10)  # of two tiles of monomials
    options: dict[str, Any] = {"error": 1e-3, "key_lengths": np.array([3000, 2051])}
    first, *others = (approximate(query, key, value, order=order, **options) for order in ORDERS)
    others.append(approximate(query[:, :, ::-1][:, :, ::-1], np.asfortranarray(key), value, **options))
    for other in others:
        assert np.array_equal(first.value, other.value)
        assert np.array_equal(first.error, other.error)


@needs_compiler
@pytest.mark.claim("GPU-11")
def test_with_bounds_nothing_is_waited_for_and_a_broken_promise_leaves_no_certificate() -> None:
    query, key, value = drawn(1, 2, 1, 4, 30, 2)
    reach = 0.5**2 * 2 * 2 / math.sqrt(2)  # norms of at most 1/√2, and of centred keys at most twice that
    for factor, bound in ((1.0, 1e-6), (16.0, math.inf)):
        found = polynomial.run(Deaf(), factor * query, key, value, None, 1e-6, None, (reach, 0.5), 1 << 30)
        off = define(Instance(factor * query, key, value), 2.0**-60).least_error(found.value)
        assert (off <= found.error).all()
        assert found.error.max() <= bound
        assert np.isfinite(found.error).all() == (factor == 1.0)


@needs_compiler
@pytest.mark.claim("GPU-11")
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # NumPy's, as the machine of a test
@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("array", range(3))
def test_numbers_that_are_not_finite_leave_no_certificate(array: int, number: float) -> None:
    arrays = drawn(1, 1, 1, 3, 20, 2)
    arrays[array][0, 0, 1, 1] = number
    found = approximate(*arrays, bounds=(1.0, 0.5))
    here = found.error[..., 1] if array == 2 else found.error
    if (array, number) == (2, 1e300):  # which is finite, and errs by its size
        assert (define(Instance(*arrays), 2.0**-60).least_error(found.value) <= found.error).all()
    else:
        assert np.isinf(here).all()


@needs_compiler
def test_less_memory_takes_fewer_spans_and_too_little_none() -> None:
    arrays = drawn(1, 1, 1, 3, 10_000, 2)
    count, each = features.spans(10_000)
    assert (count, each) == (5, 2048)
    wide = approximate(*arrays, error=1e-3)
    size = 8 * 8 * ((rank(2, 3) + 7) // 8) * 8 * (3 + 1)
    narrow = approximate(*arrays, error=1e-3, memory=2 * size)
    assert narrow.route == wide.route
    assert np.abs(narrow.value - wide.value).max() < 1e-12
    with pytest.raises(Infeasible, match="needs more than"):
        approximate(*arrays, error=1e-3, memory=500)


# --- what the roundings of GPU-11 are, each near to where it is attained


def exactly(coefficients: tuple[float, ...]) -> Approximation:
    return Approximation(coefficients, (-1.0, 1.0), 0.0, 0.0)


@needs_compiler
@pytest.mark.claim("GPU-11")
@pytest.mark.parametrize("keys", [512, 3 * 2048 + 1])
def test_sums_over_keys_lose_nearly_what_is_granted(keys: int) -> None:
    """Of one coordinate: the first key is 1 and all others are below half of its last place, in their own part."""
    x = np.full((1, 1, keys, 1), 2.0**-53 * (1 - 2.0**-20))
    x[0, 0, 0, 0] = 1.0
    if keys > 512:  # parts and spans lose too: what they add up to is below the half
        x[0, 0, 512:, 0] = 2.0**-62 * (1 - 2.0**-20)
    machine = Emulated()
    table = features.table(machine, 1, 1)
    points = Points(x, None, None, np.ones(1))
    zeros, ones = np.zeros((1, 1)), np.ones((1, 1))
    found = features.means(machine, table, points, np.ones_like(x), zeros, ones, np.ones(8), None, 64)[0, 1, 1]
    exact = sum(map(Fraction, x.ravel().tolist())) / keys
    lost = abs(Fraction(float(found)) - exact) / exact
    count, each = features.spans(keys)
    granted = Fraction(512 + each // 512 - 1 + count - 1 + 2, 2**53)
    assert (0.9 if keys == 512 else 0.2) * granted <= lost <= granted


@needs_compiler
@pytest.mark.claim("GPU-11")
def test_values_whose_sum_loses_with_every_key_are_within_the_certificate() -> None:
    """Each of 255 values is 1 and nearly half of a last place of the sum so far; then the sum goes back to about 0."""
    values, total = [], 0.0
    for _ in range(255):
        values.append(1.0 + 0.5 * (1.0 - 2.0**-4) * float(np.spacing(total + 1.0)))
        total += values[-1]
    values += [-max(values)] + [-1.0] * 256
    value = np.array(values)[None, None, :, None]
    query, key = np.zeros((1, 1, 1, 1)), np.linspace(-1e-9, 1e-9, 512)[None, None, :, None]
    found = approximate(query, key, value, error=2e-13)
    off = abs(Fraction(float(found.value.item())) - sum(map(Fraction, values)) / 512)
    assert 30 * Fraction(1, 2**53) < off <= Fraction(float(found.error.item()))


@needs_compiler
@pytest.mark.claim("GPU-11")
def test_sums_over_monomials_lose_most_of_what_is_granted() -> None:
    """P(t) = t².  All but one of the keys have one coordinate, whose square is the last monomial and comes first.

    The other key, whose value is 1, has thousands of monomials, each below half of a last place of that.
    """
    d = 90
    key, query = np.zeros((1, 1, 129, d)), np.full((1, 1, 1, d), 2.0**-18.5)  # 2·2^-37·2^-10/129 is 2^-53 and less
    key[..., :128, -1], key[..., 128, :-1], query[..., -1] = 1.0, 2.0**-5, 1.005  # 1.005²·128/129 is 1 and more
    value = np.repeat([-1.0, 1.0], [128, 1])[None, None, :, None]
    size = Size(d, (129,), 1, 1, 1 << 30)
    plan = dataclasses.replace(chosen(Known(1.0, 2.0, 1.0), 0.5, "float64", size), approximation=exactly((0.0, 0.0, 1)))
    machine, ones, zeros = Emulated(), np.ones((1, 1)), np.zeros((1, 1))
    table = features.table(machine, d, 2)
    keys, queries = (Points(x, None, None, np.ones(1)) for x in (key, query))
    weighted = features.means(machine, table, keys, value, zeros, ones, plan.weights(d), None, 64)
    found, _ = features.evaluate(machine, table, queries, weighted, Hull(-ones, ones, zeros, ones), 1, np.dtype(float))
    many, other = 128 * Fraction(query[0, 0, 0, -1]) ** 2, ((d - 1) * Fraction(query[0, 0, 0, 0]) / 32) ** 2
    lost = abs(Fraction(float(found.item())) - (other - many) / (other + many))
    granted = 2 * Fraction(features.roundings(d, 2, 2, (129,)), 2**53)
    assert lost <= granted
    assert lost >= 0.7 * granted, float(lost / granted)


# --- choice and refusal


def test_the_degree_grows_with_the_scores_and_with_the_digits() -> None:
    def degree(radius: float, error: float) -> int:
        return chosen(Known(radius, 1.0, 1.0), error, "float64", Size(3, (100,), 1, 1, 1 << 30)).degree

    degrees = [degree(radius, error) for radius, error in ((0.1, 1e-3), (0.1, 1e-6), (1.0, 1e-6), (4.0, 1e-9))]
    assert degrees == sorted(set(degrees))


def test_a_plan_that_no_error_meets_is_refused() -> None:
    def plan(known: Known, error: float, dtype: str = "float64", dimension: int = 3) -> Plan:
        return chosen(known, error, dtype, Size(dimension, (100,), 1, 1, 1 << 30))

    with pytest.raises(Infeasible, match="scores of up to 41"):
        plan(Known(41.0, 1.0, 1.0), 1e-3)
    with pytest.raises(Infeasible, match="scores of up to nan"):
        plan(Known(math.nan, 1.0, 1.0), 1e-3)
    with pytest.raises(Infeasible, match="rounding alone"):
        plan(Known(1.0, 1.0, 1.0), 1e-8, "float32")
    with pytest.raises(Infeasible, match="the best certificate in sight"):
        plan(Known(1.0, 1.0, 1.0), 4e-15)
    with pytest.raises(Infeasible, match="in 400 coordinates"):
        features.table(Emulated(), 400, 2)
    with pytest.raises(Infeasible, match="needs more than"):  # before 10^15 monomials are listed
        plan(Known(8.0, 1.0, 1.0), 1e-6, dimension=128)
    assert plan(Known(1.0, 0.0, 1.0), 1e-3).degree == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"error": 0.0}, "error: 0.0, expected a positive finite number"),
        ({"error": math.inf}, "error: inf"),
        ({"bounds": (1.0, -1.0)}, "bounds:"),
        ({"memory": 0}, "memory: 0"),
    ],
)
def test_other_requests_are_refused_by_name(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        approximate(*drawn(1, 1, 1, 2, 3, 2), **options)


def test_arrays_that_do_not_fit_are_refused_by_name() -> None:
    query, key, value = drawn(1, 1, 1, 2, 3, 2)
    with pytest.raises(InvalidInstance, match="query: dtype float8_e4m3fn"):
        approximate(*(x.astype(ml_dtypes.float8_e4m3fn) for x in (query, key, value)))
    with pytest.raises(InvalidInstance, match="key"):
        approximate(query, key[..., :1], value)


# --- the judge's word


@needs_compiler
@pytest.mark.claim("GPU-11")
def test_the_judge_holds_it_to_the_error_asked_and_to_its_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = kernel_of(polynomial_of(approximate, "numpy", ""), "attention", options={"error": 1e-3})
    family = Family("test", "a known error", "here")
    query, key, value = drawn(2, 2, 1, 5, 40, 3, dtype=np.float32)
    lengths = np.array([40, 17])
    judge = Judge(kernel, precision("float32"))
    outcomes = [
        judge.outcome(Case("case", family, Instance(factor * query, key, value, key_lengths=given)))
        for factor, given in ((1, None), (1, lengths), (100, None))
    ]
    assert [outcome.status for outcome in outcomes] == ["passed", "passed", "declined"]
    assert 1e-6 < outcomes[0].ratio <= 1
    monkeypatch.setattr(polynomial, "chosen", lambda *given: dataclasses.replace(chosen(*given), cut=0.0))
    assert judge.outcome(Case("case", family, Instance(query, key, value))).failed


@needs_compiler
@pytest.mark.thorough
@pytest.mark.claim("GPU-11", "GPU-17", "GPU-18")
@pytest.mark.parametrize("name", ["float32", "float64"])
def test_it_conforms(name: str) -> None:
    kernel = polynomial_of(approximate, "numpy", "")
    report = assay.check(
        kernel, "attention", precision=name, level="standard", options={"error": "1e-3"}, seconds=900.0
    )
    assert report.passed, report
