"""Attention with relative positions by transforms of GPUs, on the thread model of a CPU: within its certificate."""

from __future__ import annotations

import dataclasses
import math
import weakref
from collections import Counter
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING, Any

import emulated
import numpy as np
import pytest
from emulated import ORDERS, Deaf, Emulated

from assay.impl.gpu.rope_attention import fourier
from assay.impl.gpu.rope_attention.approximate import run
from assay.spec.approximation import Infeasible
from assay.spec.rope_attention import Instance, define

if TYPE_CHECKING:
    from collections.abc import Callable

    from assay.spec.approximation import Approximation

needs_compiler = pytest.mark.skipif(emulated.compiler() is None, reason="g++ is not installed")

DIAGONAL = ((0, 0), (1, 1))
BLOCK = ((0, 0), (0, 1), (1, 0), (1, 1))
ARRAYS = ("query_positions", "key_positions", "relative_bias", "key_lengths")
N_Q, N_K = 21, 34
OFFSETS = N_Q + N_K - 1


def approximate(
    query: Any, key: Any, value: Any, relative: Any = None, *, error: float = 1e-6, bounds: Any = None,
    memory: int = 1 << 30, route: str | None = "fourier", machine: Any = None, **options: Any,
) -> Any:  # fmt: skip
    """:func:`assay.impl.gpu.rope_attention.approximate` on a CPU."""
    arrays = {"query": query, "key": key, "value": value, "relative": relative}
    arrays |= {name: options.pop(name, None) for name in ARRAYS}
    return run(machine or Emulated(), arrays, error, bounds, memory, route, **options)


def drawn(bound: float = 0.6, dtype: Any = np.float64, d_v: int = 2, batch: int = 2) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(3)
    query, key = rng.uniform(-bound, bound, (batch, 2, N_Q, 2)), rng.uniform(-bound, bound, (batch, 1, N_K, 2))
    return query.astype(dtype), key.astype(dtype), rng.standard_normal((batch, 1, N_K, d_v)).astype(dtype)


def symbols(places: int) -> Any:
    return np.random.default_rng(places).uniform(-1, 1, (places, OFFSETS))


def decay() -> Any:
    return -np.array([[0.5], [0.02]]) * np.abs(np.arange(OFFSETS) - (N_K - 1.0))


def mechanisms() -> dict[str, dict[str, Any]]:
    plain = {"relative": np.ones((2, OFFSETS)), "support": DIAGONAL}
    hidden = decay()
    hidden[:, ::3] = -np.inf
    return {
        "general": {"relative": symbols(2), "support": DIAGONAL},
        "merged": {"relative": symbols(4), "support": BLOCK, "is_causal": True},
        "one place": {"relative": symbols(1), "support": ((1, 0),), "scale": -0.7},
        "causal": {"is_causal": True},
        "bottom-right": {**plain, "causal": "bottom-right", "key_lengths": np.array([N_K - 4, 5])},
        "lengths": {"is_causal": True, "key_lengths": np.array([0, 9])},
        "window": {**plain, "window": (5, 2), "relative_bias": decay()[:1]},
        "open window": {"window": (None, 3)},
        "decay": {**plain, "relative_bias": decay(), "is_causal": True},
        "hiding bias": {"relative_bias": hidden, "key_lengths": np.array([N_K, 20]), "layout": "pairs"},
        "positions": {"relative_bias": decay(), "query_positions": np.arange(N_Q) * 10**9},
    }


#: Those that the default tests take: the others have no part that is not in one of these.
DEFAULT = ("general", "causal", "bottom-right", "window", "hiding bias")


def cast(options: dict[str, Any], dtype: Any) -> dict[str, Any]:
    return {name: x.astype(dtype) if name in ("relative", "relative_bias") else x for name, x in options.items()}


@needs_compiler
@pytest.mark.claim("GPU-20")
@pytest.mark.parametrize("dtype", [np.float64, pytest.param(np.float32, marks=pytest.mark.thorough)])
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in DEFAULT else pytest.mark.thorough) for name in mechanisms()],
)
def test_the_certificate_holds(name: str, dtype: Any) -> None:
    arrays, options, error = drawn(dtype=dtype), cast(mechanisms()[name], dtype), 1e-4
    found = approximate(*arrays, error=error, **options)
    assert found.value.dtype == dtype
    assert found.error.shape == (2, 2, 1, 2)
    assert found.route.startswith("fourier on the device")
    off = define(Instance(*arrays, **options), 2.0**-60).least_error(found.value)
    assert (off <= found.error).all()
    assert (found.error <= error).all()


@needs_compiler
@pytest.mark.claim("GPU-20")
@pytest.mark.parametrize("options", [{}, {"is_causal": True, "window": (9, None)}])
def test_the_result_is_that_of_the_polynomial_route_which_is_taken_where_both_serve(options: dict[str, Any]) -> None:
    arrays = drawn()
    first, second = (approximate(*arrays, error=1e-5, route=route, **options) for route in ("fourier", None))
    assert (first.route[:7], second.route[:10]) == ("fourier", "polynomial")
    assert np.abs(first.value - second.value).max() <= 1e-5


@needs_compiler
@pytest.mark.claim("GPU-20")
@pytest.mark.parametrize("name", ["decay", pytest.param("merged", marks=pytest.mark.thorough)])
def test_every_order_of_threads_and_every_memory_gives_the_same_bits(name: str) -> None:
    arrays, options = drawn(d_v=3), mechanisms()[name]  # rows of two columns, and one of a column and the ones
    first, *others = (approximate(*arrays, error=1e-2, machine=Emulated(order), **options) for order in ORDERS)
    least = 1 << 17
    while True:
        try:
            others.append(approximate(*arrays, error=1e-2, memory=least, **options))
        except Infeasible:
            break
        least //= 2
    assert len(others) >= 2 + 2
    for other in others:
        assert np.array_equal(first.value, other.value)
        assert np.array_equal(first.error, other.error)


@needs_compiler
@pytest.mark.parametrize("memory", [pytest.param(1 << 30, marks=pytest.mark.thorough), 600_000])
def test_no_more_memory_is_taken_than_is_allowed(memory: int) -> None:
    class Counting(Emulated):
        held = most = 0

        def _counted(self, array: Any) -> Any:
            def freed(size: int) -> None:
                Counting.held -= size

            weakref.finalize(array, freed, array.nbytes)
            Counting.held += array.nbytes
            Counting.most = max(Counting.most, Counting.held)
            return array

        def empty(self, shape: Any, dtype: Any) -> Any:
            return self._counted(super().empty(shape, dtype))

        def laid(self, array: Any) -> Any:
            return self._counted(super().laid(array))

    rng = np.random.default_rng(0)
    query, key = rng.uniform(-0.3, 0.3, (2, 1, 2, 700, 2))
    value, relative = rng.uniform(-1, 1, (1, 2, 700, 3)), rng.uniform(-1, 1, (4, 1399))
    options: dict[str, Any] = {"relative": relative, "support": BLOCK, "memory": memory}
    found = approximate(query, key, value, error=0.2, machine=Counting(), **options)
    assert memory == 1 << 30 or 0.5 * memory < Counting.most - found.value.nbytes
    assert Counting.most - found.value.nbytes <= memory


@needs_compiler
@pytest.mark.claim("GPU-20")
def test_rows_without_a_key_are_0_and_what_lies_beyond_a_length_is_not_read() -> None:
    query, key, value = drawn()
    lengths = np.array([0, 9])
    for batch, length in enumerate(lengths):
        key[batch, :, length:], value[batch, :, length:] = np.nan, np.inf
    bias = np.where(np.arange(OFFSETS) < 12, -np.inf, 0.0)[None]  # hides all keys of the last rows
    found = approximate(query, key, value, relative_bias=bias, key_lengths=lengths, causal="bottom-right")
    seen = Instance(
        query, np.nan_to_num(key), np.nan_to_num(value, posinf=0.0), relative_bias=bias, key_lengths=lengths,
        causal="bottom-right",
    )  # fmt: skip
    empty = ~seen.visible()[:, :, :, :].any(axis=3)
    assert empty[0].all()
    assert 0 < empty[1].sum() < empty[1].size
    assert not found.value[empty].any()
    assert not found.error[0].any()
    assert (define(seen, 2.0**-60).least_error(found.value) <= found.error).all()
    assert (found.error <= 1e-6).all()


def light() -> tuple[Any, Any, Any, Any]:
    """Arrays and a bias under which the last rows see keys of weight e^-25 alone; transforms lose of all others."""
    query, key, value = drawn(batch=1, d_v=9)
    value[..., 0] += 1.0
    return query, key, value, np.where(np.arange(OFFSETS) < 15, 0.0, -25.0)[None]


@needs_compiler
@pytest.mark.claim("GPU-20")
def test_rows_that_weigh_little_are_as_far_off_as_transforms_are_and_certified_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fourier, "few", lambda *_: 0)
    query, key, value, bias = light()
    found = approximate(query, key, value, error=1e-7, relative_bias=bias)
    off = define(Instance(query, key, value, relative_bias=bias), 2.0**-60).least_error(found.value)
    usual = approximate(query, key, value, error=1e-7)
    assert usual.error.max() <= 1e-7 < found.error.max() < 1e6 * off.max()
    assert off.max() > 1e3 * 2.0**-53
    assert (off <= found.error).all()


@needs_compiler
@pytest.mark.claim("GPU-20")
@pytest.mark.parametrize("name", ["rotary", pytest.param("W", marks=pytest.mark.thorough)])
def test_few_rows_that_weigh_little_are_computed_from_their_scores(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    *arrays, bias = light()
    options: dict[str, Any] = {"relative_bias": bias, "error": 1e-7, "key_lengths": np.array([N_K - 2])}
    options["window"] = (13, N_K - 4)  # the last rows do not see the first keys
    if name == "W":
        options |= {"relative": symbols(4), "support": BLOCK}
    with monkeypatch.context() as patch:
        patch.setattr(fourier, "few", lambda *_: 0)
        before = approximate(*arrays, **options)
    first, *others = (approximate(*arrays, machine=Emulated(order), **options) for order in ORDERS)
    instance = Instance(*arrays, **{key: x for key, x in options.items() if key != "error"})
    off = define(instance, 2.0**-60).least_error(first.value)
    assert (off <= first.error).all()
    assert first.error.max() <= 1e-7 < before.error.max()
    changed = (first.value != before.value).any(axis=(0, 1, 3))
    assert 0 < changed.sum() < N_Q  # the others are as they were
    for other in others:
        assert np.array_equal(first.value, other.value)
        assert np.array_equal(first.error, other.error)
    few = int(changed.sum())
    for most, served in ((few, True), (few - 1, False)):
        with monkeypatch.context() as patch:
            patch.setattr(fourier, "few", lambda *_, most=most: most)
            assert (approximate(*arrays, **options).error.max() <= 1e-7) == served


@needs_compiler
@pytest.mark.claim("GPU-20")
def test_a_row_that_is_computed_from_its_scores_has_the_bound_of_the_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them: the polynomial is said to err more than was asked, and its transforms are not looked at."""
    chosen: Callable[..., Approximation] = fourier.chosen
    monkeypatch.setattr(fourier, "chosen", lambda *each: dataclasses.replace(chosen(*each), error=0.4))
    monkeypatch.setattr(fourier, "few", lambda *_: N_Q)
    query, key, value = drawn(batch=1, d_v=3)
    value = value * [1e-3, 1.0, 1e3] + [0.0, 10.0, 0.0]
    bias, w, u = decay() * 5, symbols(2), 2.0**-53
    found = approximate(query, key, value, w, relative_bias=bias, support=DIAGONAL, scale=0.5, error=1e-6)
    entries = np.abs(query).max(axis=2) @ (np.abs(w).max(axis=1) * np.abs(key[0, 0]).max(axis=0)) / 2
    norms = np.linalg.norm(query, axis=3).max(axis=2) * np.linalg.norm(key, axis=3).max() * np.abs(w).max() / 2
    a = value[0, 0].max(axis=0) - (value[0, 0].max(axis=0) + value[0, 0].min(axis=0)) / 2
    for head in range(2):
        furthest = np.ptp(bias[head])
        eta = ((2 + 9) * min(entries[0, head], norms[0, head]) + 2 * furthest + 720) * u
        rounded = 2 * (N_K / 128 + 16) * 1.01 * u * a
        largest = np.abs(value[0, 0]).max(axis=0)
        bound = eta / 2 * np.ptp(value[0, 0], axis=0) + rounded + 4 * u * a + 3 * u * (largest + a + rounded)
        assert found.error[0, head, 0] == pytest.approx(bound, rel=1e-6, abs=0)
    instance = Instance(query, key, value, w, relative_bias=bias, support=DIAGONAL, scale=0.5)
    assert (define(instance, 2.0**-70).least_error(found.value) <= found.error).all()


@needs_compiler
@pytest.mark.claim("GPU-20")
def test_with_bounds_nothing_is_waited_for_and_a_broken_promise_leaves_no_certificate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fourier, "few", lambda *_: 0)

    query, key, value = drawn(0.5)
    value = np.clip(value, -1.0, 1.0)
    options: dict[str, Any] = {"is_causal": True, "machine": Deaf(), "bounds": (0.5 / math.sqrt(2), 1.0)}
    for factor, bound in ((1.0, 1e-6), (16.0, math.inf)):
        found = approximate(factor * query, key, value, **options)
        off = define(Instance(factor * query, key, value, is_causal=True), 2.0**-60).least_error(found.value)
        assert (off <= found.error).all()
        assert found.error.max() <= bound
        assert np.isfinite(found.error).all() == (factor == 1.0)


@needs_compiler
@pytest.mark.claim("GPU-20")
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # NumPy's, as the machine of a test
@pytest.mark.parametrize(
    ("name", "number"),
    [
        pytest.param(name, number, marks=[] if number == first else pytest.mark.thorough)
        for name, first in (
            ("query", 1e305),
            ("key", np.inf),
            ("value", 1e305),
            ("relative", np.inf),
            ("relative_bias", np.inf),
        )
        for number in (np.nan, np.inf, 1e305)
    ],
)
def test_numbers_that_are_not_finite_leave_no_certificate(name: str, number: float) -> None:
    query, key, value = drawn(batch=1)
    arrays = {
        "query": query, "key": key, "value": value, "relative": symbols(2), "relative_bias": np.zeros((2, OFFSETS))
    }  # fmt: skip
    arrays[name][(..., 1, 1) if name in ("query", "key", "value") else (1, 30)] = number
    found = approximate(**arrays, support=DIAGONAL, bounds=(1.0, 3.0), error=0.1)
    if (name, number) == ("relative_bias", 1e305):  # which is finite: all other keys of a row have no weight
        off = define(Instance(**arrays, support=DIAGONAL), 2.0**-60).least_error(found.value)
        assert (off <= found.error).all()
    else:
        place = {"query": np.s_[:, 1], "value": np.s_[..., 1], "relative_bias": np.s_[:, 1]}.get(name, np.s_[:])
        assert np.isinf(found.error[place]).all()


@needs_compiler
@pytest.mark.claim("GPU-20")
@pytest.mark.parametrize(
    ("key", "w", "scale"),
    [
        (1e301, 1.0, 1e-301),
        (1.0, 1e301, 1e-301),
        (1e-160, 1e-160, 1e300),
        (1e-200, 1e-200, 1.0),
        (1e200, 1e200, 1e-200),
    ],
)
def test_sizes_at_the_ends_of_the_range_are_certified_or_not(key: float, w: float, scale: float) -> None:
    rng = np.random.default_rng(5)
    q, k, v = (rng.uniform(0.5, 1.0, (1, 1, 6, 1)) for _ in range(3))
    q = q / max(min(key * w * scale, 1e300), 1e-300) if 1e-300 < key * w * scale < 1e300 else q
    options: dict[str, Any] = {"relative": np.full((1, 11), 0.75 * w), "support": ((0, 0),), "scale": scale}
    found = approximate(q, k * key, v, error=1e-6, bounds=(1.0, 1.0), **options)
    off = define(Instance(q, k * key, v, **options), 2.0**-60).least_error(found.value)
    assert (off <= found.error).all()


# --- the bound, number by number


def counted(
    instance: Instance, support: Any, polynomial: Approximation, head: int, visible: Any, unit: tuple[float, float]
) -> Any:
    """The certificate of GPU-20 for a head of the first batch, of full lengths, from the claim: (d_v,)."""
    u, c = 2.0**-53, np.abs(polynomial.coefficients)
    g, S, n, R = len(c) - 1, len(support), N_K, polynomial.interval[1]
    size = 1 << (OFFSETS - 1).bit_length()
    bits = size.bit_length() - 1
    e = (bits + 2.71 * max(-(-bits // 2) - 1, 0)) * u
    q, k, v = instance.query[0, head], instance.key[0, 0], instance.value[0, 0]
    W = np.ones((S, OFFSETS)) if instance.relative is None else instance.relative
    power = [2.0 ** np.frexp(np.abs(x).max())[1] for x in (k, W if instance.relative is not None else np.full(1, 0.5))]
    x, omega, z = k / power[0], W / power[1], q * instance.scale * power[0] * power[1]
    bias = np.zeros(OFFSETS) if instance.relative_bias is None else instance.relative_bias[head]
    kappa = np.where(visible, np.exp(bias - bias[visible].max()), 0.0)
    eta = 0.0 if instance.relative_bias is None else (8 + 1.01 * np.ptp(bias[visible])) * u
    middle = (v.max(axis=0) + v.min(axis=0)) / 2
    a = v.max(axis=0) - middle
    h = 2.0 ** np.frexp(a)[1]
    y = np.concatenate([(v - middle) / h, np.ones((n, 1))], axis=1)
    y = y if y.shape[1] % 2 == 0 else np.concatenate([y, np.zeros((n, 1))], axis=1)
    rows = y[:, ::2] + 1j * y[:, 1::2]
    columns = v.shape[1]

    def monomial(numbers: Any, which: Any) -> Any:
        return np.prod([numbers[..., i] for i in which], axis=0) if which else np.ones(numbers.shape[:-1])

    lost, first, monomials, terms = np.zeros(rows.shape[1]), None, 0, []
    for m in range(g + 1):
        pairs: dict[Any, list[Any]] = {}
        for places in combinations_with_replacement(range(S), m):
            beta, gamma = (tuple(sorted(support[p][side] for p in places)) for side in (0, 1))
            pairs.setdefault((beta, gamma), []).append(places)
        terms.append(max(map(len, pairs.values())) if pairs else 1)
        betas = {beta for beta, _ in pairs}
        monomials += len(betas)
        for beta in betas:
            here = [(key, found) for key, found in pairs.items() if key[0] == beta]
            bound = 0.0
            for (_, gamma), alphas in here:
                ways = [math.factorial(m) / math.prod(map(math.factorial, Counter(p).values())) for p in alphas]
                out = ways[0] if instance.relative is None else 1.0
                symbol = sum(w * monomial(omega.T, p) for w, p in zip(ways, alphas, strict=True)) * kappa / out
                largest = np.abs(np.fft.fft(symbol, size)).max()
                norm = np.linalg.norm(monomial(x, gamma)[:, None] * rows, axis=0)
                bound = bound + out * (
                    (2 * e + (len(here) + 1) * u) * largest + e * np.linalg.norm(symbol) * np.sqrt(n)
                ) * norm * (1 + 4 * e)
            lost += c[m] * monomial(np.abs(z).max(axis=0), beta) * bound
            first = bound if first is None else first
    K = np.array([4 * m + terms[m] + monomials + g + 8 for m in range(g + 1)])
    rate = K * u / (1 - K * u) + eta
    at = np.arange(N_Q)[:, None] - np.arange(n) + n - 1
    scores = sum(np.outer(z[:, i], x[:, j]) * omega[s][at] for s, (i, j) in enumerate(support))
    weights = np.polynomial.polynomial.polyval(scores, polynomial.coefficients) * kappa[at]
    Z, E = weights.sum(axis=1), kappa[at].sum(axis=1) + first[columns // 2]
    spread = np.ptp(v, axis=0)
    gamma_ = (rate * c * R ** np.arange(g + 1)).sum() * E * (1 + 2 * rate[0])
    F = np.repeat(lost, 2)[: columns + 1]
    T = polynomial.error / (1 + np.sqrt(1 - polynomial.error**2)) * spread
    off = h * (a / h * gamma_[:, None] + F[:columns]) + (a + T) * (gamma_ + F[columns])[:, None]
    r = off / Z[:, None]
    largest_value = np.abs(v).max(axis=0)
    reach = np.linalg.norm(q, axis=1).max() * np.linalg.norm(k, axis=1).max() * abs(instance.scale)
    delta = 31 * u * reach if instance.relative is None else 0.0
    whole = delta / 2 * spread + T + r + 4 * u * a + 3 * u * (largest_value + a + T + r)
    return (whole + unit[0] * largest_value + unit[1])[visible[at].any(axis=1)].max(axis=0)


@needs_compiler
@pytest.mark.claim("GPU-20")
@pytest.mark.claim("GPU-14")
@pytest.mark.parametrize("cut", [None, 0.0])
@pytest.mark.parametrize(
    "name", ["general", pytest.param("merged", marks=pytest.mark.thorough), "decay", "positions", "causal"]
)
def test_the_certificate_is_counted_as_the_claim_says(
    name: str, cut: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also for a polynomial that is said not to err at all, so that nothing but roundings and transforms is left."""
    chosen: Callable[..., Approximation] = fourier.chosen
    used: list[Approximation] = []

    def noted(*arguments: Any) -> Approximation:
        polynomial = chosen(*arguments)
        used.append(polynomial if cut is None else dataclasses.replace(polynomial, error=cut))
        return used[-1]

    monkeypatch.setattr(fourier, "chosen", noted)
    options = mechanisms()[name]
    query, key, value = drawn(batch=1, d_v=3)
    value = value * [1e-3, 1.0, 1e3] + [0.0, 10.0, 0.0]
    if "query_positions" in options:  # vectors whose rotation is exact
        options = {**options, "query_positions": np.zeros(N_Q, np.int64), "key_positions": np.zeros(N_K, np.int64)}
    if name == "causal":
        options = {**options, "query_positions": np.zeros(N_Q, np.int64), "key_positions": np.zeros(N_K, np.int64)}
    found = approximate(query, key, value, error=1e-2, **options)
    instance = Instance(query, key, value, **options)
    visible = np.ones(OFFSETS, bool)
    if instance.causal is not None:
        visible = np.arange(OFFSETS) >= N_K - 1
    support = options.get("support", DIAGONAL)
    for head in range(2):
        claimed = counted(instance, support, used[0], head, visible, (0.0, 0.0))
        assert found.error[0, head, 0] == pytest.approx(claimed, rel=1e-6, abs=0)


# --- choice and refusal


def test_what_is_not_served_is_refused_by_name() -> None:
    query, key, value = drawn()
    for options in ({"relative_bias": decay()}, {"relative": symbols(2), "support": DIAGONAL}):
        with pytest.raises(Infeasible, match="the polynomial route has neither W nor a bias"):
            approximate(query, key, value, route="polynomial", **options)
    with pytest.raises(ValueError, match="route: 'exact', expected one of polynomial, fourier or None"):
        approximate(query, key, value, route="exact")


@needs_compiler
def test_a_request_that_no_polynomial_meets_is_refused() -> None:
    query, key, value = drawn()
    for options, said in (
        ({"scale": 1e3}, "scores of up to"),
        ({"error": 1e-16}, "rounding alone may cost"),
        ({"scale": 60.0, "error": 1e-9}, "a degree above 18"),
        ({"memory": 1000}, "transforms of length 64 need more than"),
    ):
        with pytest.raises(Infeasible, match=said):
            approximate(query, key, value, is_causal=True, **options)
    many = (np.resize(query, (1, 1, N_Q, 40)), np.resize(key, (1, 1, N_K, 40)), value[:1])
    with pytest.raises(Infeasible, match="of 40 places has 135751 monomials"):
        approximate(*many, is_causal=True, error=1e-3, scale=0.1)
