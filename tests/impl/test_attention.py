"""The exact CPU kernel: within its class for every option, whatever the threads, in memory of a tile."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest
from flint import arb, ctx
from hypothesis import given

from assay.conformance.attention import instances
from assay.impl import cpu
from assay.impl.cpu.attention import few, tiles
from assay.spec.attention import Instance, evaluate, tolerance
from assay.spec.problem import InvalidInstance

if TYPE_CHECKING:
    from pathlib import Path


def computed(instance: Instance, **options: object) -> tuple[np.ndarray, np.ndarray]:
    output, lse = cpu.attention.exact(
        instance.query,
        instance.key,
        instance.value,
        instance.scale,
        causal=instance.causal,
        mask=instance.mask,
        bias=instance.bias,
        window=instance.window,
        key_lengths=instance.key_lengths,
        softcap=instance.softcap,
        sink=instance.sink,
        return_lse=True,
        **options,
    )
    return output, lse


def assert_is_within_its_class(instance: Instance, precision: str, output: np.ndarray, lse: np.ndarray) -> None:
    """Both outputs, against one evaluation of the instance."""
    exact = evaluate(instance, 1e-19 if precision == "float64" else 1e-12)
    for name, value in (("output", output), ("log_sum_exp", lse)):
        tolerated = tolerance(instance, precision, name, exact=exact)
        assert (getattr(exact, name).ratio(value, tolerated) <= 1).all(), name


@pytest.mark.usefixtures("thorough")  # the profile says how many examples
@pytest.mark.parametrize("precision", ["float32", "float64", "bfloat16", "float16"])
def test_the_kernel_is_within_its_class_for_every_option(precision: str) -> None:
    @given(instances(precision))
    def check(instance: Instance) -> None:
        output, lse = computed(instance)
        assert output.dtype == instance.query.dtype
        assert_is_within_its_class(instance, precision, output, lse)

    check()


@given(instances("float32"))
def test_the_number_of_threads_changes_no_bit(instance: Instance) -> None:
    one, two = computed(instance, threads=1), computed(instance, threads=2)
    assert one[0].tobytes() == two[0].tobytes()
    assert one[1].tobytes() == two[1].tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_byte_order_of_the_inputs_changes_no_bit(dtype: type) -> None:
    x = np.random.default_rng(0).uniform(-1, 1, (1, 1, 5, 2)).astype(dtype)
    swapped = x.astype(x.dtype.newbyteorder())
    assert np.array_equal(cpu.attention.exact(swapped, swapped, swapped), cpu.attention.exact(x, x, x))


def test_it_takes_arrays_of_any_strides() -> None:
    rng = np.random.default_rng(0)
    packed = rng.standard_normal((2, 9, 3, 4, 8)).astype(np.float32)  # (batch, length, qkv, heads, dim)
    q, k, v = (packed[:, :, i].swapaxes(1, 2) for i in range(3))
    plain = [np.ascontiguousarray(x) for x in (q, k, v)]
    assert np.array_equal(
        cpu.attention.exact(q, k[:, :, ::-1], v[:, :, ::-1]),
        cpu.attention.exact(plain[0], k[:, :, ::-1].copy(), v[:, :, ::-1].copy()),
    )


def test_a_last_axis_of_any_stride_is_read_in_place() -> None:
    rng = np.random.default_rng(1)
    wide = rng.standard_normal((2, 3, 70, 24)).astype(np.float32)
    for q, k, v in (
        (wide[..., ::3], wide[..., 1::3], wide[..., 2::2]),
        (wide[..., :8], wide[..., ::-3], wide[..., ::-1]),
        (wide[..., :8], np.broadcast_to(wide[..., :1], (2, 3, 70, 8)), wide[:, :, :1].repeat(70, 2)[..., 4:9]),
    ):
        plain = [np.ascontiguousarray(x) for x in (q, k, v)]
        assert np.array_equal(cpu.attention.exact(q, k, v), cpu.attention.exact(*plain))


@pytest.mark.parametrize("members", [1, 2, 5])
@pytest.mark.parametrize("causal", [None, "top-left", "bottom-right"])
def test_heads_that_share_keys_get_what_each_would_get_alone(members: int, causal: str | None) -> None:
    rng = np.random.default_rng(2)
    q = rng.standard_normal((2, 3 * members, 13, 6)).astype(np.float32)
    k, v = rng.standard_normal((2, 2, 3, 150, 6)).astype(np.float32)
    mask = rng.random((2, 3 * members, 13, 150)) < 0.4
    mask[:, 0] = False
    options = {"causal": causal, "key_lengths": np.array([150, 80]), "sink": rng.standard_normal(3 * members)}
    options["sink"] = options["sink"].astype(np.float32)
    shared = cpu.attention.exact(q, k, v, mask=mask, bias=np.where(mask, q[..., :1], 0), **options)
    for head in range(3 * members):
        here, its = slice(head, head + 1), slice(head // members, head // members + 1)
        alone = cpu.attention.exact(
            q[:, here], k[:, its], v[:, its], mask=mask[:, here], bias=np.where(mask, q[..., :1], 0)[:, here],
            **options | {"sink": options["sink"][here]},
        )  # fmt: skip
        assert np.array_equal(shared[:, here], alone)


def test_what_hides_is_no_part_of_the_result_however_large_it_is() -> None:
    largest = float(np.finfo(np.float32).max)
    q = np.ones((1, 1, 20, 3), np.float32)
    k = np.full((1, 1, 90, 3), -largest, np.float32)
    v = np.full((1, 1, 90, 5), largest, np.float32)
    k[:, :, 40:43], v[:, :, 40:43] = 0.25, [[-1.0], [0.0], [1.0]]
    mask = np.zeros(90, bool)
    mask[40:43] = True
    output, lse = cpu.attention.exact(q, k, v, mask=mask, return_lse=True)
    assert np.array_equal(output, np.zeros_like(output))
    assert np.allclose(lse, 0.75 / math.sqrt(3) + math.log(3))


def weights(x: np.ndarray) -> np.ndarray:
    """The kernel's e^x, exactly, for x ≤ 0 of float32 below −18 or float64 below −38: a sum with 1 is 1."""
    query, key, value = x.reshape(1, 1, -1, 1), np.array([0.0, 1.0]), np.array([0.0, 1.0])
    key, value = (y.astype(x.dtype).reshape(1, 1, 2, 1) for y in (key, value))
    return cpu.attention.exact(query, key, value, 1.0).ravel()


def last_before(x: float, count: int, dtype: type) -> np.ndarray:
    """The numbers of a type about x, ``count`` on either side."""
    bits = np.array([x], dtype).view(np.int32 if dtype is np.float32 else np.int64)
    return (bits + np.arange(-count, count + 1, dtype=bits.dtype)).view(dtype)


@pytest.mark.claim("ATT-9")
def test_in_float32_exp_errs_by_at_most_three_roundings() -> None:
    deep, end = np.array([18.0, 126 * math.log(2.0)], np.float32).view(np.int32)
    few = np.arange(deep, end, 37, dtype=np.int32)  # every 37th number between
    low, high = np.array([32 * math.log(2.0) - 0.35, 32 * math.log(2.0) + 0.35], np.float32).view(np.int32)
    x = -np.concatenate([few, np.arange(low, high, dtype=np.int32)]).view(np.float32)  # every number about −32 ln 2
    exact = np.exp(x.astype(np.float64))
    assert (np.abs(weights(x) - exact) <= 3 * 2.0**-24 * exact + 2.0**-150).all()


@pytest.mark.claim("ATT-9")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_exp_keeps_its_bound_where_the_power_of_two_changes(dtype: type) -> None:
    kind, first = np.finfo(dtype), 27 if dtype is np.float32 else 56
    steps = range(first, -kind.minexp)
    x = np.concatenate([last_before(-(k + half) * math.log(2.0), 3, dtype) for k in steps for half in (0.0, 0.5)])
    found, u = weights(x), arb(2) ** -(kind.nmant + 1)
    with ctx.workprec(200):
        for one, computed in zip(x, found, strict=True):
            exact = arb(float(one)).exp()
            assert abs(arb(float(computed)) - exact) <= 3 * u * exact + u * arb(2) ** int(kind.minexp)


@pytest.mark.claim("ATT-9")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_only_weights_below_the_normal_numbers_vanish(dtype: type) -> None:
    kind = np.finfo(dtype)
    x = last_before(kind.minexp * math.log(2.0), 40, dtype)
    with ctx.workprec(200):
        for one, computed in zip(x, weights(x), strict=True):
            exact, least = arb(float(one)).exp(), arb(2) ** int(kind.minexp)
            assert abs(arb(float(computed)) - exact) <= 4 * arb(2) ** -(kind.nmant + 1) * least or exact < least
            assert computed == 0.0 or exact > 0.99 * least
    far = np.array([-2.0 * abs(kind.minexp), kind.min / 2, kind.min], dtype)
    assert (weights(far) == 0).all()


@pytest.mark.claim("ATT-9")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_weight_of_the_maximum_is_exactly_one(dtype: type) -> None:
    x = np.array([0.0, -3.3, 700.25, -(2.0**100)], dtype).reshape(1, 1, -1, 1)
    one = np.ones((1, 1, 1, 1), dtype)
    output, lse = cpu.attention.exact(x, one, one, 1.0, return_lse=True)
    assert np.array_equal(lse, x[..., 0])
    assert np.array_equal(output, np.ones_like(x))


_CACHED = """
import numpy as np
from assay.impl import cpu
x = np.random.default_rng(0).standard_normal((1, 2, 40, 8)).astype(np.float32)
print(cpu.attention.exact(x, x, x).tobytes().hex())
"""


@pytest.mark.thorough  # all kernels of a type are compiled anew; a small one is in tests/impl/test_compiled.py
def test_a_kernel_compiled_by_another_process_gives_the_same(tmp_path: Path) -> None:
    def output() -> str:
        environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
        done = subprocess.run(
            [sys.executable, "-c", _CACHED], env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout

    compiled = output()
    assert [*tmp_path.rglob("*.nbc")]
    assert output() == compiled


@pytest.mark.parametrize("causal", [None, "top-left", "bottom-right"])
def test_a_window_that_ends_at_a_tile_or_beside_it_hides_what_it_hides(causal: str | None) -> None:
    """Tiles of which every query sees every key are not looked through, and these windows leave one key out, or none.

    A mask, of which every tile is looked through, says the same.
    """
    rng = np.random.default_rng(0)
    n_q, n_k = 16, 203  # all queries in one tile, the keys in tiles of 64 and a part of one that is no multiple of 8
    q, k, v = (rng.standard_normal((1, 1, n, 3)) for n in (n_q, n_k, n_k))
    offset = n_k - n_q if causal == "bottom-right" else 0
    apart = np.arange(n_q)[:, None] + offset - np.arange(n_k)
    for left, right in [(None, None), *((left, 300) for left in TILED), *((300, right) for right in TILED)]:
        seen = (apart <= (n_k if left is None else left)) & (apart >= -(n_k if right is None else right))
        seen &= (apart >= 0) | (causal is None)
        window = None if left is None else (left, right)
        found = cpu.attention.exact(q, k, v, causal=causal, window=window)
        expected = cpu.attention.exact(q, k, v, mask=seen[None, None])
        assert np.abs(found - expected).max() < 1e-13, (left, right)


#: Widths of windows that end at the first or the last query of a tile, or one beside it, counted from either end.
TILED = sorted(
    {edge + beside for edge in (0, 15, 47, 48, 63, 64, 111, 112, 127, 128, 187) for beside in (-1, 0, 1)} - {-1}
)


def test_it_leaves_its_inputs_alone() -> None:
    q = np.ones((1, 1, 3, 4), np.float32)
    q.flags.writeable = False
    assert np.array_equal(cpu.attention.exact(q, q, q), q)


def test_bfloat16_is_rounded_once() -> None:
    q = np.full((1, 1, 2, 4), 0.3, ml_dtypes.bfloat16)
    assert np.array_equal(cpu.attention.exact(q, q, q), q)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"key": np.zeros((1, 1, 3, 5), np.float32)}, r"key: shape \(1, 1, 3, 5\), expected"),
        (
            {"query": np.full((1, 1, 2, 4), np.nan, np.float32)},
            r"query: nan at \(0, 0, 0, 0\), expected finite numbers",
        ),
        ({"value": [[1.0]]}, "value: list, expected a NumPy array"),
        ({"scale": float("inf")}, "scale: inf, expected a finite number"),
        (
            {"mask": np.ones((3, 4, 5), bool)},
            r"mask: shape \(3, 4, 5\), expected one that broadcasts to \(1, 1, 2, 3\)",
        ),
        ({"softcap": -1.0}, "softcap: -1.0, expected a number > 0"),
    ],
)
def test_bad_input_is_refused_in_one_line(change: dict[str, object], words: str) -> None:
    given = {
        "query": np.zeros((1, 1, 2, 4), np.float32),
        "key": np.zeros((1, 1, 3, 4), np.float32),
        "value": np.zeros((1, 1, 3, 4), np.float32),
    }
    with pytest.raises(InvalidInstance, match=words):
        cpu.attention.exact(**(given | change))


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("queries", [3, 700])
@pytest.mark.parametrize(
    ("names", "number"),
    [
        ("query", np.inf),
        ("key", np.nan),
        ("value", -np.inf),
        ("bias", np.nan),
        ("sink", np.inf),
        ("value sink", np.nan),
    ],
)
def test_one_bad_number_is_refused_by_name_and_place_whatever_the_number_of_threads(
    names: str, number: float, queries: int, threads: int
) -> None:
    """With several threads it is found while tiles are under way."""
    shapes = {
        "query": (1, 2, queries, 16), "key": (1, 2, 300, 16), "value": (1, 2, 300, 16), "bias": (1, 2, queries, 300),
        "sink": (2,),
    }  # fmt: skip
    given = {name: np.ones(shape, np.float32) for name, shape in shapes.items() if name != "bias" or name in names}
    for name in names.split():
        given[name][tuple(length - 1 for length in shapes[name])] = number
    first = names.split()[0]
    place = ", ".join(str(length - 1) for length in shapes[first])
    with pytest.raises(InvalidInstance, match=rf"^{first}: {number} at \({place},?\), expected finite numbers"):
        cpu.attention.exact(**given, threads=threads)


_MEMORY = """
import resource, numpy as np
from assay.impl import cpu
def used(n):
    x = np.random.default_rng(0).standard_normal((1, 1, n, 16)).astype(np.float32)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cpu.attention.exact(x, x, x, is_causal=True, threads=2)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
used(64)
print(used(8192))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux only")
def test_extra_memory_is_that_of_a_tile_and_not_of_all_scores() -> None:
    grown = int(subprocess.run([sys.executable, "-c", _MEMORY], capture_output=True, text=True, check=True).stdout)
    scores = 8192 * 8192 * 4 // 1024
    assert grown < scores // 16  # KiB


FEW = {
    "nothing": {},
    "causal": {"causal": "bottom-right"},
    "causal, the first keys": {"causal": "top-left"},
    "a window": {"window": (300, 1), "causal": "bottom-right"},
    "lengths": {"key_lengths": np.array([517, 0])},
    "softcap and sink": {"softcap": 1.5, "sink": np.array([0.5, -1.0, 3.0, 0.0])},
}


@pytest.mark.claim("ATT-9")
@pytest.mark.parametrize("options", FEW.values(), ids=FEW)
@pytest.mark.parametrize(
    ("dtype", "queries", "dims"), [("float32", 1, (5, 3)), ("float32", 3, (37, 85)), ("float64", 2, (16, 64))]
)
def test_few_queries_are_within_their_class_across_tiles_of_keys(
    dtype: str, queries: int, dims: tuple[int, int], options: dict[str, object]
) -> None:
    rng = np.random.default_rng(queries)
    shapes = (2, 4, queries, dims[0]), (2, 2, 600, dims[0]), (2, 2, 600, dims[1])
    q, k, v = (rng.standard_normal(shape).astype(dtype) for shape in shapes)
    k[:, :, ::97] *= 6.0  # the largest score rises now and then
    options = {name: x.astype(dtype) if name == "sink" else x for name, x in options.items()}
    instance = Instance(q, k, v, 0.8, return_lse=True, **options)
    assert few.served(2 * queries, k, v)
    assert_is_within_its_class(instance, dtype, *computed(instance))


@pytest.mark.parametrize("width", [16, 32, 64])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_eight_products_with_keys_are_made_at_once_for_vectors_of_any_width(dtype: str, width: int) -> None:
    numba = pytest.importorskip("numba")
    dots = few._dots(width)

    @numba.njit(error_model="numpy")  # type: ignore[untyped-decorator]
    def called(q: Any, keys: Any, j: Any, s: Any) -> None:
        dots(q, keys, j, s)

    rng, lanes = np.random.default_rng(0), width // np.dtype(dtype).itemsize
    keys = rng.integers(-8, 9, (11, 3 * lanes + 1)).astype(dtype)
    q = rng.integers(-8, 9, 3 * lanes + 1).astype(dtype)
    for rows, begin in ((11, 0), (11, 8), (3, 0)):
        s = np.full(24, 77, dtype)
        called(q, keys[:rows], begin, s)
        chosen = np.minimum(np.arange(begin, begin + 8), rows - 1)
        np.testing.assert_array_equal(s[begin : begin + 8], keys[chosen, : 3 * lanes] @ q[: 3 * lanes])
        assert (np.delete(s, np.s_[begin : begin + 8]) == 77).all()


def test_keys_that_few_queries_do_not_see_are_not_read() -> None:
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((1, 2, n, 6)).astype(np.float32) for n in (2, 700, 700))
    options = {"window": (280, None), "causal": "bottom-right", "key_lengths": np.array([650])}
    plain = computed(Instance(q, k, v, **options))
    for x in (k, v):
        x[:, :, : 650 - 2 - 280] = np.finfo(np.float32).max
        x[:, :, 650:] = np.finfo(np.float32).max
    for a, b in zip(plain, computed(Instance(q, k, v, **options)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_few_queries_get_the_same_bits_from_any_number_of_threads() -> None:
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((2, 8, n, 16)).astype(np.float32) for n in (1, 900, 900))
    alone = cpu.attention.exact(q, k, v, threads=1)
    for threads in (2, 5):
        np.testing.assert_array_equal(cpu.attention.exact(q, k, v, threads=threads), alone)


def test_a_part_of_a_cache_of_keys_is_read_in_place_and_rows_of_another_stride_by_tiles() -> None:
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((2, 2, n, 8)).astype(np.float32) for n in (1, 300, 300))
    assert few.served(1, k[:, :, :200], v[:, :, :200])
    whole = cpu.attention.exact(q, k[:, :, :200].copy(), v[:, :, :200].copy())
    np.testing.assert_array_equal(cpu.attention.exact(q, k[:, :, :200], v[:, :, :200]), whole)
    spaced = np.repeat(k, 2, axis=3)[:, :, :200, ::2]
    assert not few.served(1, spaced, v[:, :, :200])
    np.testing.assert_allclose(cpu.attention.exact(q, spaced, v[:, :, :200]), whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("last_first", [False, True])
def test_each_tile_is_taken_once_and_the_last_are_begun_first_if_asked(last_first: bool) -> None:
    taken: list[tuple[int, int]] = []
    tiles.run(lambda first, last: taken.append((first, last)), (), 37, 2, last_first=last_first)
    assert sorted(each for first, last in taken for each in range(first, last)) == list(range(37))
    in_order = sorted(taken, reverse=last_first)
    assert taken[0] in in_order[:2]  # the other thread may have come in between


@pytest.mark.parametrize("option", ["scale", "softcap"])
@pytest.mark.parametrize("queries", [3, 40])
def test_an_option_beyond_float32_gives_nan_and_not_the_result_of_rows_without_keys(option: str, queries: int) -> None:
    q, k, v = (np.ones((1, 1, n, 8), np.float32) for n in (queries, 20, 20))
    output, lse = cpu.attention.exact(q, k, v, **{option: 1e300}, return_lse=True)
    assert np.isnan(output).all()
    assert np.isnan(lse).all()
