"""The polynomial method: value within certificate, the certificate within the request, or it says why not."""

from __future__ import annotations

import itertools
import math
import tracemalloc
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.impl.cpu import attention, features
from assay.impl.cpu.attention.bound import exact_bound
from assay.spec.approximation import Infeasible
from assay.spec.attention import Instance, define, tolerance
from assay.spec.precision import precision
from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from assay.impl.cpu.certified import Certified


def exceeded(instance: Instance, found: Certified) -> float:
    """The largest |value − exact|/error, the exact value taken as its farthest possible."""
    exact = define(instance, 1e-19 if found.value.dtype == np.float64 else 1e-12)
    return float(exact.ratio(found.value, np.broadcast_to(found.error, found.value.shape)).max())


def approximated(instance: Instance, error: float, **options: Any) -> Certified:
    return attention.approximate(
        instance.query,
        instance.key,
        instance.value,
        error,
        instance.scale,
        is_causal=instance.is_causal,
        key_lengths=instance.key_lengths,
        **options,
    )


def drawn(rng: np.random.Generator, shape: tuple[int, ...], kind: int) -> np.ndarray:
    """Entries about 1 in size of seven kinds, each hard for another term of the certificate."""
    x = rng.uniform(-1, 1, shape)
    match kind:
        case 1:
            x = np.sign(x)  # all scores at the ends of the range
        case 2:
            x = x + 3  # far from centred
        case 3:
            x = x**9  # of very different sizes
        case 4:
            x = x * 2.0 ** rng.integers(-1060, 1, shape)  # products that underflow
        case 5:
            x[..., 1:, :] = x[..., :1, :]  # equal points
        case 6:
            x = x * 2.0 ** rng.integers(-40, 1, shape)
    return x


def cases(seed: int, count: int, dtype: str) -> list[tuple[Instance, float]]:
    """Adversarial problems of many small heads: ``count`` of them."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        d, d_v, group = (int(x) for x in rng.integers(1, (5, 7, 3)))
        n_q, n_k = (int(x) for x in rng.integers(1, (7, 24)))
        b, h_k = 2, 2
        size = rng.choice([0.01, 0.3, 1.0, 2.0])
        q = drawn(rng, (b, group * h_k, n_q, d), int(rng.integers(7))) * size
        k = drawn(rng, (b, h_k, n_k, d), int(rng.integers(7)))
        v = drawn(rng, (b, h_k, n_k, d_v), int(rng.integers(7)))
        if rng.integers(2):
            v = (v > 0).astype(float)
        lengths = rng.integers(0, n_k + 1, b) if rng.integers(2) else None
        scale = float(rng.choice([1.0, -1.0, 1 / math.sqrt(d), 0.0]))
        with np.errstate(under="ignore"):
            arrays = [x.astype(dtype) for x in (q, k, v)]
        least = -6 if dtype == "float32" else -13
        causal = bool(rng.integers(2))
        found.append((Instance(*arrays, scale, causal, key_lengths=lengths), float(10.0 ** rng.uniform(least, -1))))
    return found


@pytest.mark.claim("ATT-3")
@pytest.mark.claim("ATT-5")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_no_value_errs_by_more_than_its_certificate(dtype: str, thorough: bool) -> None:
    polynomial, count = 0, 100 if thorough else 40
    for instance, error in cases(0, count, dtype):  # of at least four heads each
        try:
            found = approximated(instance, error, fallback="raise")
        except Infeasible:
            continue
        polynomial += instance.query.shape[0] * instance.query.shape[1]
        assert found.route.startswith("polynomial")
        assert found.error.max() <= error
        assert exceeded(instance, found) <= 1
    assert polynomial >= 5 * count


@pytest.mark.claim("ATT-8")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_exact_route_is_within_its_certificate(dtype: str) -> None:
    for instance, error in cases(1, 8, dtype):
        try:
            found = approximated(instance, error)
        except Infeasible:
            continue
        assert found.error.max() <= error
        assert exceeded(instance, found) <= 1


@pytest.mark.claim("ATT-3")
@pytest.mark.parametrize("error", [1e-2, 1e-4, 1e-6])
def test_two_groups_of_keys_at_the_ends_of_the_range_attain_most_of_the_certificate(error: float) -> None:
    """Half of the keys at either end of the range, values 0 and 1, at a degree whose error has unlike signs there."""
    worst = 0.0
    for j in range(-22, -6):
        radius = 2.0 ** (j / 8) * (1 - 1e-7)
        key = np.array([1.0, -1.0]).reshape(1, 1, 2, 1)
        instance = Instance(np.full((1, 1, 1, 1), radius), key, (1 + key) / 2, 1.0)
        worst = max(worst, exceeded(instance, approximated(instance, error, fallback="raise")))
    assert 0.8 <= worst <= 1


@pytest.mark.claim("ATT-3")
@given(st.integers(1, 5), st.integers(0, 6), st.integers(0, 2**32))
def test_monomials_with_their_weights_are_the_powers_of_an_inner_product(d: int, g: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    table = features.monomials(d, g)
    assert table.rank == features.rank(d, g) == len({tuple(np.sort(word)) for word in words(table)})
    x, y = rng.integers(-3, 4, (2, d)).astype(float)
    f = [np.prod([[x, y][side][c] for c in word]) for side in (0, 1) for word in words(table)]
    products = np.array(f[: table.rank]) * np.array(f[table.rank :]) * table.multinomial[: table.rank]
    for m in range(g + 1):
        assert products[table.order[: table.rank] == m].sum() == float(x @ y) ** m
    assert not table.multinomial[table.rank :].any()


def words(table: features.Monomials) -> list[list[int]]:
    """The coordinates of which each monomial is the product."""
    found: list[list[int]] = [[]]
    for a in range(1, table.rank):
        found.append([*found[table.parent[a]], int(table.variable[a])])
    return found


@pytest.mark.claim("ATT-5")
@given(st.integers(1, 6), st.integers(1, 300), st.integers(0, 2**32))
def test_norms_are_bounded_from_above_and_closely(d: int, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d)) * 10.0 ** rng.integers(-200, 150)
    exact = max(math.hypot(*row) for row in x)
    assert (
        exact
        <= features.largest_norms(x, features.Coordinates(np.zeros(d), 1.0, np.zeros((d, 0))))[0]
        <= exact * (1 + 1e-12) + 3e-153
    )


@pytest.mark.claim("ATT-5")
def test_a_norm_that_overflows_on_the_way_is_infinite() -> None:
    """Coordinates of ∞ and −∞, whose sum is no number."""
    far = features.Coordinates(np.full(2, -1.7e308), 1.0, np.array([[1.0], [-1.0]]))
    assert features.largest_norms(np.full((1, 2), 1.7e308), far, beside=True) == (math.inf, math.inf)


@pytest.mark.claim("ATT-4")
@pytest.mark.parametrize(
    ("radius", "error", "degree"), [(1.0, 1e-3, 4), (1.0, 1e-6, 8), (0.5, 1e-6, 6), (3.9, 1e-3, 9)]
)
def test_the_degree_is_the_least_or_one_above(radius: float, error: float, degree: int) -> None:
    key = np.array([-1.0, 1.0]).reshape(1, 1, 2, 1)
    query = np.full((1, 1, 1, 1), radius)
    found = attention.approximate(query, key, (key + 1) / 2, error / 2, 1.0, fallback="raise")
    assert int(found.route.split("degree ")[1].split(",")[0]) in (degree - 1, degree)


@pytest.mark.claim("ATT-8")
@pytest.mark.parametrize("name", ["float32", "float64"])
def test_the_bound_from_norms_is_never_below_that_from_scores(name: str) -> None:
    for instance, _ in cases(2, 25, name):
        if instance.key_lengths is not None or instance.scale == 0.0:
            continue
        n, d = instance.key.shape[2:]
        q, k, v = (x.astype(np.float64) for x in (instance.query, instance.key, instance.value))
        bound = exact_bound(
            precision(name), n, d, float(instance.scale or 0), float(np.linalg.norm(q, axis=3).max()) * (1 + 1e-12),
            float(np.linalg.norm(k, axis=3).max()) * (1 + 1e-12), np.abs(v).max(axis=(0, 1, 2)),
            v.max(axis=(0, 1, 2)) - v.min(axis=(0, 1, 2)),
        )  # fmt: skip
        allowed = tolerance(instance, name)
        assert (allowed <= bound).all()
        assert np.isfinite(bound).all()


@given(st.integers(0, 2**32), st.sampled_from([1, 3]))
def test_the_number_of_threads_changes_no_bit(seed: int, heads: int) -> None:
    rng = np.random.default_rng(seed)
    q, k, v = rng.uniform(-0.3, 0.3, (3, 1, heads, 700, 2))
    one = attention.approximate(q, k, v, 1e-4, fallback="raise", threads=1)
    two = attention.approximate(q, k, v, 1e-4, fallback="raise", threads=2)
    assert one.value.tobytes() == two.value.tobytes()
    assert np.array_equal(one.error, two.error)


@pytest.mark.claim("ATT-5")
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("degree", range(6))
def test_every_degree_holds_over_several_chunks(degree: int, causal: bool) -> None:
    rng = np.random.default_rng(degree)
    q, k, v = rng.uniform(-1, 1, (3, 1, 1, 300, 2))
    error = {0: 1e-3, 1: 1e-6, 2: 1e-9, 3: 1e-11, 4: 1e-11, 5: 1e-12}[degree]
    scale = {0: 1e-4, 1: 1e-4, 2: 1e-4, 3: 1e-3, 4: 1e-2, 5: 1e-2}[degree]
    found = attention.approximate(q, k, v, error, scale, is_causal=causal, fallback="raise")
    assert f"degree {degree}," in found.route
    exact = define(Instance(q, k, v, scale, causal), 1e-19)
    assert exact.ratio(found.value, np.broadcast_to(found.error, found.value.shape)).max() <= 1


def test_many_blocks_of_keys_and_queries_are_joined_rightly() -> None:
    """Points repeated 20,000 times: the exact answer is that of a few keys."""
    rng = np.random.default_rng(3)
    q, k, v = rng.uniform(-1, 1, (3, 1, 1, 8, 3))
    repeated = [np.tile(x, (1, 1, 2500, 1)) for x in (q, k, v)]
    found = attention.approximate(*repeated, 1e-9, fallback="raise")
    exact = np.tile(define(Instance(q, k, v), 1e-19).midpoint, (1, 1, 2500, 1))
    assert (np.abs(found.value - exact) <= found.error).all()


@pytest.mark.claim("ATT-5")
@pytest.mark.parametrize(("n_q", "n_k", "length"), [(1200, 1100, 1100), (1100, 1300, 1030), (300, 260, 129)])
def test_causal_rows_see_no_key_after_their_own_across_chunks_and_blocks(n_q: int, n_k: int, length: int) -> None:
    rng = np.random.default_rng(7)
    q, k, v = (rng.uniform(-1, 1, (1, 1, n, 2)) for n in (n_q, n_k, n_k))
    lengths = np.array([length])
    v[:, :, length - 1] = 5.0  # the last key that may count
    v[:, :, length:] = 100.0
    found = attention.approximate(q, k, v, 1e-5, fallback="raise", is_causal=True, key_lengths=lengths)
    instance = Instance(q, k, v, is_causal=True, key_lengths=lengths)
    rows = [*range(0, n_q, 37), *range(126, 131), *range(length - 2, min(length + 2, n_q)), n_q - 1]
    rows += list(range(1022, min(1027, n_q)))
    exact = define(Instance(q[:, :, rows], k, v, mask=instance.visible()[:, :, rows]))
    assert exact.ratio(found.value[:, :, rows], np.broadcast_to(found.error, (1, 1, len(rows), 2))).max() <= 1


@pytest.mark.claim("ATT-5")
@pytest.mark.parametrize("alignment", [None, "top-left", "bottom-right"])
@pytest.mark.parametrize("window", [None, (0, 0), (5, None), (None, 3), (127, 1), (130, 200), (0, 90)])
@pytest.mark.parametrize(("n_q", "n_k", "length"), [(300, 270, 270), (140, 300, 260), (130, 3, 0)])
def test_every_row_sees_its_window_and_nothing_else(
    alignment: str | None, window: tuple[int | None, int | None] | None, n_q: int, n_k: int, length: int
) -> None:
    rng = np.random.default_rng(11)
    q, k, v = (rng.uniform(-1, 1, (1, 1, n, 2)) for n in (n_q, n_k, n_k))
    v[:, :, length:] = 100.0
    masks: dict[str, Any] = {"causal": alignment, "window": window, "key_lengths": np.array([length])}
    found = attention.approximate(q, k, v, 1e-5, fallback="raise", **masks)
    exact = define(Instance(q, k, v, **masks), 1e-13)
    assert exact.ratio(found.value, np.broadcast_to(found.error, found.value.shape)).max() <= 1


@pytest.mark.claim("ATT-5")
@pytest.mark.parametrize("window", [(300, 0), (1500, 10), (40, 1200), (700, None)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sums_that_slide_over_many_groups_and_begin_anew_keep_their_certificate(
    window: tuple[int, int | None], dtype: str
) -> None:
    rng = np.random.default_rng(13)
    n = 6000
    q, k, v = (rng.uniform(-1, 1, (1, 1, n, 2)).astype(dtype) for _ in range(3))
    v[:, :, 2500:2600] += 50.0  # what is taken away again leaves no trace
    found = attention.approximate(q, k, v, 1e-4, 0.5, window=window, fallback="raise")
    rows = [0, 1, 127, 128, 1023, 1024, 2047, 2600, 3072, 3100, 4095, 4500, 5999]
    visible = np.arange(n) <= np.array(rows)[:, None] + (n if window[1] is None else window[1])
    visible &= np.arange(n) >= np.array(rows)[:, None] - window[0]
    exact = define(Instance(q[:, :, rows], k, v, 0.5, mask=visible))
    allowed = np.broadcast_to(found.error, (1, 1, len(rows), 2))
    assert exact.ratio(found.value[:, :, rows].astype(np.float64), allowed).max() <= 1
    assert (allowed <= 1e-4).all()


@pytest.mark.parametrize("window", [None, (500, 500)])
def test_memory_is_that_of_chunks_and_features_whatever_the_length(window: tuple[int, int] | None) -> None:
    rng = np.random.default_rng(0)
    q, k, v = rng.uniform(-0.5, 0.5, (3, 1, 1, 200_000, 2))
    attention.approximate(q[:, :, :500], k[:, :, :500], v[:, :, :500], 1e-6, window=window, fallback="raise")
    tracemalloc.start()
    try:
        found = attention.approximate(q, k, v, 1e-6, window=window, fallback="raise", memory=1 << 21, threads=2)
        assert tracemalloc.get_traced_memory()[1] <= found.value.nbytes + (1 << 21)
    finally:
        tracemalloc.stop()


def test_it_takes_arrays_of_any_strides_and_leaves_them_alone() -> None:
    rng = np.random.default_rng(0)
    packed = rng.uniform(-0.5, 0.5, (2, 9, 3, 4, 2)).astype(np.float32)
    packed.flags.writeable = False
    q, k, v = (packed[:, :, i].swapaxes(1, 2) for i in range(3))
    plain = [np.ascontiguousarray(x) for x in (q, k, v)]
    strided = attention.approximate(q, k[:, :, ::-1], v[:, :, ::-1], 1e-3, fallback="raise")
    packed_again = attention.approximate(plain[0], plain[1][:, :, ::-1].copy(), plain[2][:, :, ::-1].copy(), 1e-3,
                                         fallback="raise")  # fmt: skip
    assert np.array_equal(strided.value, packed_again.value)


def test_progress_is_told_up_to_the_end() -> None:
    seen: list[tuple[int, int]] = []
    x = np.random.default_rng(0).uniform(-0.3, 0.3, (1, 1, 9000, 2))
    attention.approximate(x, x, x, 1e-3, fallback="raise", progress=lambda *at: seen.append(at))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1] == (18000, 18000)
    assert len(seen) >= 4
    seen.clear()
    attention.approximate(x, x, x, 1e-3, fallback="raise", is_causal=True, progress=lambda *at: seen.append(at))
    assert seen[-1] == (18000, 18000)


def test_a_bar_is_drawn_where_one_is_asked_for_and_nothing_otherwise(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # a terminal
    x = np.random.default_rng(0).uniform(-0.3, 0.3, (1, 1, 300, 2))
    attention.approximate(x, x, x, 1e-3, fallback="raise")
    assert capsys.readouterr() == ("", "")
    attention.approximate(x, x, x, 1e-3, fallback="raise", progress=True)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "attention" in shown.err


def test_the_cheaper_route_is_taken_and_the_reason_given() -> None:
    rng = np.random.default_rng(0)
    short, long = (rng.uniform(-0.5, 0.5, (1, 1, n, 2)) for n in (16, 8192))
    assert "predicted to cost" in attention.approximate(short, short, short, 1e-6).route
    assert attention.approximate(long, long, long, 1e-6).route.startswith("polynomial: degree")


def test_what_float32_cannot_be_certified_for_is_weighed_against_the_exact_kernel_in_float64() -> None:
    """Which takes twice the time."""
    rng = np.random.default_rng(0)
    q, k, v = (rng.uniform(-1, 1, (1, 1, 256, 16)).astype(np.float32) for _ in "qkv")

    def costs(error: float) -> str:
        return attention.approximate(q, k, v, error, 1 / 16).route.split("predicted to cost ")[1]

    in_float32, in_float64 = (float(costs(error).split("and exact ")[1]) for error in (1e-3, 1e-6))
    assert 1.5 <= in_float64 / in_float32 <= 2.0
    q, k, v = (rng.uniform(-0.5, 0.5, (1, 1, 1024, 16)).astype(np.float32) for _ in "qkv")
    assert attention.approximate(q, k, v, 3e-6, 1 / 16).route.startswith("polynomial: degree 3, rank 969")


def test_what_no_exact_kernel_can_be_certified_for_takes_the_polynomial_route_however_dear() -> None:
    rng = np.random.default_rng(0)
    q, k, v = (rng.uniform(-1, 1, (1, 1, n, 1)) for n in (2, 2048, 2048))
    assert "predicted to cost" in attention.approximate(q, k, v, 1e-11, 1.0).route
    assert attention.approximate(q, k, v, 3e-13, 1.0).route.startswith("polynomial: degree")


BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"error": 0.0}, ValueError, r"error: 0\.0, expected a positive finite number"),
    ({"error": -1e-3}, ValueError, "expected a positive finite number"),
    ({"error": math.nan}, ValueError, "error: nan"),
    ({"error": "small"}, ValueError, "error: 'small'"),
    ({"fallback": "maybe"}, ValueError, "fallback: 'maybe', expected 'exact' or 'raise'"),
    ({"threads": 0}, ValueError, "threads: 0"),
    ({"memory": 0}, ValueError, "memory: 0"),
    ({"value": np.full((1, 1, 3, 4), np.inf)}, InvalidInstance, r"value: inf at \(0, 0, 0, 0\)"),
    ({"query": np.zeros((1, 1, 2, 4), np.float16)}, InvalidInstance, "dtype"),
    ({"error": 1e-20}, Infeasible, "exact kernel is certified only to"),
    ({"error": 1e-20, "fallback": "raise"}, Infeasible, "error 1e-20"),
    ({"query": 95 * np.eye(2, 4).reshape(1, 1, 2, 4), "fallback": "raise"}, Infeasible, "rounding alone may cost"),
    ({"query": np.full((1, 1, 2, 4), 1e4), "fallback": "raise"}, Infeasible, "of which the polynomial method serves"),
    ({"query": np.full((1, 1, 2, 4), 1e300), "key": np.eye(3, 4).reshape(1, 1, 3, 4) * 1e300}, Infeasible, "scores of"),
    ({"query": np.full((1, 1, 2, 4), 1.5), "memory": 1000, "fallback": "raise"}, Infeasible, "MiB allowed"),
]


@pytest.mark.parametrize(("change", "kind", "words_"), BAD)
def test_what_cannot_be_done_is_refused_in_one_line(change: dict[str, Any], kind: type[Exception], words_: str) -> None:
    given = {
        "query": np.ones((1, 1, 2, 4)),
        "key": np.eye(3, 4).reshape(1, 1, 3, 4),
        "value": np.eye(3, 4).reshape(1, 1, 3, 4),
        "error": 1e-6,
    }
    with pytest.raises(kind, match=words_) as caught:
        attention.approximate(**(given | change))
    assert "\n" not in str(caught.value)


def test_huge_and_tiny_finite_entries_never_lie() -> None:
    sizes = [1e-320, 1e-200, 1e-20, 1.0, 1e20, 1e154, 1.7e308]
    rng = np.random.default_rng(5)
    for a, b, c in itertools.product(sizes, repeat=3):
        q, k, v = rng.uniform(-1, 1, (3, 1, 1, 6, 2)) * np.array([a, b, c]).reshape(3, 1, 1, 1, 1)
        for fallback in ("raise", "exact"):
            try:
                found = attention.approximate(q, k, v, 1e-3 * c, fallback=fallback)
            except Infeasible:
                continue
            assert exceeded(Instance(q, k, v), found) <= 1
