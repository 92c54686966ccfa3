"""Causal masks and windows of attention by polynomials of GPUs, on the thread model of a CPU (GPU-17)."""

from __future__ import annotations

import dataclasses
import itertools
import math
from fractions import Fraction
from typing import Any

import emulated
import ml_dtypes
import numpy as np
import pytest
from emulated import ORDERS, Deaf, Emulated

from assay.conformance.attention.target_cupy import polynomial_of
from assay.conformance.interface.suite import Case, Family
from assay.conformance.interface.targets import kernel_of
from assay.conformance.judge.judge import Judge
from assay.impl import cpu
from assay.impl.cpu.features import rank
from assay.impl.gpu import bands, features
from assay.impl.gpu.attention import polynomial
from assay.impl.gpu.attention.polynomial import band_of
from assay.impl.gpu.bands import Band, BandedSize, Blocks
from assay.impl.gpu.features import Hull, Points
from assay.spec.approximation import Infeasible
from assay.spec.attention import Instance, define
from assay.spec.precision import precision

pytestmark = pytest.mark.skipif(emulated.compiler() is None, reason="g++ is not installed")

MASKS: list[dict[str, Any]] = [
    {"is_causal": True},
    {"causal": "bottom-right"},
    {"window": (70, 3)},
    {"window": (None, 2)},
    {"window": (5, None)},
    {"causal": "bottom-right", "window": (130, None)},
    {"window": (0, 0)},
]


def approximate(
    query: Any, key: Any, value: Any, error: float = 1e-6, scale: float | None = None, *, key_lengths: Any = None,
    bounds: Any = None, memory: int = 1 << 30, order: str = "ascending", **masks: Any,
) -> Any:  # fmt: skip
    """:func:`assay.impl.gpu.attention.approximate` on a CPU."""
    return polynomial.run(Emulated(order), query, key, value, key_lengths, error, scale, bounds, memory, **masks)


def drawn(*shape: int, dtype: Any = np.float64, d_v: int = 3) -> tuple[Any, Any, Any]:
    """Query, key and value of (batch, heads, heads of keys, queries, keys, dim)."""
    b, h, h_k, n_q, n_k, d = shape
    rng = np.random.default_rng(n_q)
    shapes = (b, h, n_q, d), (b, h_k, n_k, d), (b, h_k, n_k, d_v)
    query, key, value = (rng.uniform(-0.5, 0.5, each).astype(dtype) for each in shapes)
    return query, key, value


# --- the result and its certificate


@pytest.mark.claim("GPU-17")
@pytest.mark.parametrize("masks", MASKS)
def test_the_certificate_holds_and_the_route_of_the_cpu_agrees(masks: dict[str, Any]) -> None:
    """Queries and keys of more than one block; a second batch with fewer keys, what lies behind which is not read."""
    query, key, value = drawn(2, 2, 1, 45, 150, 2)
    lengths = np.array([150, 71])
    found = approximate(query, key, value, key_lengths=lengths, **masks)
    own = cpu.attention.approximate(query, key, value, 1e-6, key_lengths=lengths, fallback="raise", **masks)
    off = define(Instance(query, key, value, key_lengths=lengths, **masks), 2.0**-60).least_error(found.value)
    assert (off <= found.error).all()
    assert (found.error <= 1e-6).all()
    assert (abs(found.value - own.value) <= found.error + own.error).all()
    assert masks == {"window": (0, 0)} or found.error.max() < 1e3 * off.max()
    key[1, :, 71:], value[1, :, 71:] = np.nan, np.inf
    assert np.array_equal(approximate(query, key, value, key_lengths=lengths, **masks).value, found.value)


@pytest.mark.claim("GPU-17")
@pytest.mark.parametrize(
    ("dtype", "error"),
    [
        (np.float32, 1e-5),
        *(pytest.param(x, 1e-2, marks=pytest.mark.thorough) for x in (np.float16, ml_dtypes.bfloat16)),
    ],
)
def test_it_holds_in_every_type(dtype: Any, error: float) -> None:
    arrays = drawn(1, 2, 1, 40, 100, 3, dtype=dtype, d_v=10)
    found = approximate(*arrays, error=error, window=(80, 4))
    assert found.value.dtype == dtype
    off = define(Instance(*arrays, window=(80, 4)), 2.0**-60).least_error(found.value)
    assert (off <= found.error).all()
    assert (found.error <= error).all()


@pytest.mark.claim("GPU-17")
def test_a_row_without_a_key_is_nothing_and_costs_nothing() -> None:
    query, key, value = drawn(1, 1, 1, 40, 7, 2)
    value += 5.0
    found = approximate(query, key, value, causal="bottom-right")  # rows up to 32 see nothing
    assert not found.value[:, :, :33].any()
    assert (found.value[:, :, 33:] > 4.0).all()
    assert (found.error <= 1e-6).all()


@pytest.mark.claim("GPU-17")
def test_every_order_of_threads_and_blocks_gives_the_same_bits() -> None:
    query, key, value = drawn(1, 2, 1, 70, 300, 3, dtype=np.float32)
    masks: dict[str, Any] = {"causal": "bottom-right", "window": (150, 0)}
    first, *others = (approximate(query, key, value, 1e-4, order=order, **masks) for order in ORDERS)
    for other in others:
        assert np.array_equal(first.value, other.value)
        assert np.array_equal(first.error, other.error)


@pytest.mark.claim("GPU-17")
def test_with_bounds_nothing_is_waited_for_and_a_broken_promise_leaves_no_certificate() -> None:
    query, key, value = drawn(1, 2, 1, 4, 70, 2)
    reach = 0.5**2 * 2 * 2 / math.sqrt(2)  # norms of at most 1/√2, and of centred keys at most twice that
    for factor, bound in ((1.0, 1e-6), (16.0, math.inf)):
        found = polynomial.run(
            Deaf(), factor * query, key, value, None, 1e-6, None, (reach, 0.5), 1 << 30, is_causal=True
        )
        assert found.error.max() <= bound
        assert np.isfinite(found.error).all() == (factor == 1.0)


def test_heads_follow_each_other_where_memory_holds_the_tables_of_some() -> None:
    """And blocks are longer where it does not hold those of one, until one block is too large."""
    query, key, value = drawn(3, 4, 2, 40, 300, 2)
    size = BandedSize(2, (300,), 6, 3, 1 << 30, Band(False, None, 0))
    found = approximate(query, key, value, 1e-3, is_causal=True)
    degree = int(found.route.split("degree ")[1].split(",")[0])
    each = size.storage(degree, size.blocks(degree))
    assert size.blocks(degree).count == 5
    for heads in (5, 1):
        less = dataclasses.replace(size, memory=heads * each)
        assert less.at_once(degree) == heads
        some = approximate(query, key, value, 1e-3, is_causal=True, memory=less.memory)
        assert np.array_equal(some.value, found.value)
        assert np.array_equal(some.error, found.error)
    few = dataclasses.replace(size, memory=each // 3)
    assert few.blocks(degree) == Blocks(1, 512, 1, 1)
    longer = approximate(query, key, value, 1e-3, is_causal=True, memory=few.memory)
    assert (abs(longer.value - found.value) <= longer.error + found.error).all()
    with pytest.raises(Infeasible, match="needs more than"):
        approximate(query, key, value, 1e-3, is_causal=True, memory=each // 6)


# --- blocks, segments, and the keys beside them

#: (queries, keys, lengths of the batch, band): windows below, at and above two blocks, ends of every kind.  The first
#: two take the most keys one by one, and the third attends to three segments.
PLACES = [
    (32, 94, 94, Band(True, None, 0)),
    (32, 222, 222, Band(True, 156, 0)),
    (33, 130, 130, Band(True, 129, 0)),
    (70, 333, 333, Band(True, None, 0)),
    (40, 200, 100, Band(False, None, 0)),
    (40, 333, 300, Band(True, 300, None)),
    *((33, 450, keys, Band(True, width - 1, 0)) for width, keys in ((128, 450), (193, 390), (257, 450))),
    (100, 400, 380, Band(False, 60, 100)),
]
_MORE = [
    (queries, 700, keys, Band(ends, width // 3, width - 1 - width // 3))
    for width, queries, keys, ends in itertools.product(
        (1, 63, 64, 65, 127, 128, 129, 158, 159, 191, 192, 193, 222, 223, 255, 256, 288, 321, 1000),
        (1, 31, 32, 65, 800), (700, 641, 65), (False, True),
    )
]  # fmt: skip


def passed(keys: Any, values: Any, queries: Any, length: int, band: Band, spoiled: Any = ()) -> Any:
    """Means of values (P = 1); spoiled: what both tables have in place of sums of weights, and 0 of values."""
    machine = Emulated()
    by, of = Blocks.of(keys.shape[2], 64, band), features.table(machine, keys.shape[3], 0)
    lengths, one = np.array([length]), np.ones((1, values.shape[3]))
    points = Points(keys, lengths, None, np.ones(1)), Points(queries, lengths, None, np.ones(1))
    hull = Hull(-1e9 * one, 1e9 * one, None, one)
    weights = np.zeros(of.padded)
    weights[0] = 1.0
    tables = bands.running(machine, of, points[0], values, hull, weights, by, band)
    for table, number in zip(tables, spoiled, strict=False):
        if table is not None:
            table[:], table[..., -1] = 0.0, number
    out = machine.empty((*queries.shape[:3], values.shape[3]), np.float64)
    bands.evaluate(machine, of, points[1], points[0], values, tables, hull, np.ones(1), by, band, out)
    return out[0, 0]


def attended(queries: int, length: int, band: Band) -> list[range]:
    """The keys of every row, by the definition."""
    offset = length - queries if band.ends else 0
    return [
        range(
            max(i + offset - band.left, 0) if band.left is not None else 0,
            min(i + offset + band.right + 1, length) if band.right is not None else length,
        )
        for i in range(queries)
    ]


@pytest.mark.claim("GPU-17")
@pytest.mark.parametrize(
    ("queries", "keys", "length", "band"), [*PLACES, *(pytest.param(*x, marks=pytest.mark.thorough) for x in _MORE)]
)
def test_every_key_of_a_row_counts_once_and_few_are_taken_one_by_one(
    queries: int, keys: int, length: int, band: Band
) -> None:
    values = np.random.default_rng(0).integers(-(10**6), 10**6, (1, 1, keys, 1)).astype(np.float64)
    key, query = np.zeros((1, 1, keys, 1)), np.zeros((1, 1, queries, 1))
    rows = attended(queries, length, band)
    found = passed(key, values, query, length, band)[:, 0]
    assert found.tolist() == [values[0, 0, row, 0].mean() if len(row) else 0.0 for row in rows]

    # what is near over the sum of itself and of 2^20 or 2^40, or of both, of the tables that a row reads
    alone = passed(key, np.ones_like(values), query, length, band, (2.0**20, 2.0**40))[:, 0]
    most = bands.beside(Blocks.of(keys, 64, band))
    for share, row in zip(alone, rows, strict=True):
        assert (len(row) if share == 1.0 else round(share * 2.0 ** (40 if share < 2.0**-25 else 20))) <= most


# --- what the roundings of GPU-17 are, each near to where it is attained


@pytest.mark.claim("GPU-17")
@pytest.mark.parametrize("band", [Band(False, None, 0), Band(False, 64 * 30, 64 * 30)])
def test_running_sums_lose_nearly_what_is_granted(band: Band) -> None:
    """The first key is 1 and all others are below half of its last place: in its block, and in all blocks after it."""
    tiny = 2.0**-53 * (1 - 2.0**-20)
    values = np.full((1, 1, 64 * 30, 1), tiny / 64)
    values[0, 0, :64, 0] = tiny
    values[0, 0, 0, 0] = 1.0
    machine, one = Emulated(), np.ones((1, 1))
    of, by = features.table(machine, 1, 0), Blocks.of(64 * 30, 64, band)
    keys = Points(np.zeros_like(values), None, None, np.ones(1))
    weights = np.ones(of.padded)
    prefix, suffix = bands.running(machine, of, keys, values, Hull(-one, one, None, one), weights, by, band)
    exact = sum(map(Fraction, values.ravel().tolist()))
    lost = (exact - Fraction(float(prefix[0, -1, 0, 0]))) / exact
    granted = Fraction(bands.summed(0, 0, by), 2**53)
    assert 0.9 * granted <= lost <= granted
    assert (suffix is None) == (band.left is None)
    if suffix is not None:
        exact, first = sum(map(Fraction, values[0, 0, 64:, 0].tolist())), Fraction(float(suffix[0, 1, 0, 0]))
        assert abs(first - exact) <= granted * exact


@pytest.mark.claim("GPU-17")
def test_keys_one_by_one_lose_with_those_of_a_table_nearly_what_is_granted() -> None:
    """Of the last row: the table is 1 after 63 losses, and the 24 near keys of its warp are lost one by one."""
    band, tiny = Band(True, None, 0), 2.0**-53 * (1 - 2.0**-20)
    values = np.zeros((1, 1, 158, 1))
    values[0, 0, :64, 0] = tiny
    values[0, 0, 64:, 0] = np.where(np.arange(94) % 16 % 4 == 0, tiny, 0.0)
    values[0, 0, 0, 0] = 1.0
    found = passed(np.zeros((1, 1, 158, 1)), values, np.zeros((1, 1, 32, 1)), 158, band)[-1, 0]
    exact = sum(map(Fraction, values.ravel().tolist())) / 158
    granted = Fraction(bands.roundings(1, 0, 0, Blocks.of(158, 64, band)), 2**53)
    lost = (exact - Fraction(float(found))) / exact
    assert 0.75 * granted <= lost <= granted, float(lost / granted)


@pytest.mark.claim("GPU-17")
def test_a_score_that_is_formed_loses_nearly_what_is_granted() -> None:
    """P(t) = t, of two keys with scores of 1, one of which is a sum that loses with each of 200 coordinates."""
    d, band, machine = 200, Band(False, None, 1), Emulated()
    keys, queries = np.zeros((1, 1, 2, d)), np.ones((1, 1, 1, d))
    keys[0, 0, 0, 1:], keys[0, 0, :, 0] = 2.0**-53 * (1 - 2.0**-20), 1.0
    values = np.array([1.0, -1.0]).reshape(1, 1, 2, 1)
    of, by, one = features.table(machine, d, 1), Blocks.of(2, 64, band), np.ones((1, 1))
    points = Points(keys, None, None, np.ones(1)), Points(queries, None, None, np.ones(1))
    hull, out = Hull(-one, one, None, one), machine.empty((1, 1, 1, 1), np.float64)
    coefficients = np.array([0.0, 1.0])
    bands.evaluate(machine, of, points[1], points[0], values, (None, None), hull, coefficients, by, band, out)
    score = sum(map(Fraction, keys[0, 0, 0].tolist()))
    lost = abs(Fraction(float(out.item())) - (score - 1) / (score + 1))
    granted = Fraction(bands.roundings(d, 1, 1, by), 2**54)  # a quarter of what two keys lose at once, and twice that
    assert 0.7 * granted <= lost <= granted, float(lost / granted)


def test_a_table_of_a_long_window_is_no_sum_over_all_keys() -> None:
    far, near = (Blocks.of(1 << 20, 256, Band(False, left, 0)) for left in (None, 4095))
    assert bands.roundings(3, 4, 2, near) < bands.roundings(3, 4, 2, far) / 4
    assert (near.segment, far.segment) == (15, 4096)
    assert near.segment * 256 <= 4096
    assert rank(3, 4) == 35


# --- the judge's word


@pytest.mark.claim("GPU-17")
def test_the_judge_tells_a_band_that_is_off_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = kernel_of(polynomial_of(approximate, "numpy", ""), "attention", options={"error": 1e-3})
    family = Family("test", "a known error", "here")
    query, key, value = drawn(1, 2, 1, 9, 70, 3, dtype=np.float32)
    judge = Judge(kernel, precision("float32"))
    cases = [
        Case("case", family, Instance(query, key, value, **masks))
        for masks in ({"causal": "bottom-right"}, {"window": (2, 1)})
    ]
    assert [judge.outcome(case).status for case in cases] == ["passed", "passed"]

    def wrong(*given: Any) -> Any:
        band = band_of(*given)
        return dataclasses.replace(band, right=band.right + 1)

    monkeypatch.setattr(polynomial, "band_of", wrong)
    assert [judge.outcome(case).failed for case in cases] == [True, True]
