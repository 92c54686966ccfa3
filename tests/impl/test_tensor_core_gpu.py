"""What GPU-10 and GPU-15 assume of tensor cores and of 2^x: of a card where there is one, and of the thread model."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import emulated
import ml_dtypes
import numpy as np
import pytest
from emulated import Emulated

from assay.impl.gpu.machine import Launch, struct

needs_compiler = pytest.mark.skipif(emulated.compiler() is None, reason="g++ is not installed")

PROBE = str(Path(emulated.__file__).parent / "probe.cu")
KINDS = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
UNIT = 2.0**-23


def tf32(x: Any) -> Any:
    """float32 numbers of which 11 significant bits are kept."""
    return (np.asarray(x, np.float32).view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)


def multiplied(machine: Any, left: Any, right: Any, sums: Any) -> Any:
    """sums (blocks, 16, 8) + left (blocks, 16, depth) · right (blocks, depth, 8); float32 stands for tf32."""
    name = "tf32" if left.dtype == np.float32 else left.dtype.name
    bits = np.uint32 if name == "tf32" else np.uint16
    turned = np.ascontiguousarray(np.swapaxes(right, 1, 2)).view(bits)
    on = [machine.laid(array) for array in (left.view(bits), turned, sums)]
    addresses = dict(zip(("left", "right", "sums"), map(machine.address, on), strict=True))
    machine.run(PROBE, f"multiply_{name}", struct(**addresses), Launch(len(left), 32, 0))
    return machine.host(on[2])


def ratios(left: Any, right: Any, sums: Any, found: Any) -> Any:
    """The error of every element, divided by what the claim of its type assumes that it is at most."""
    a, b = left.astype(np.float64), right.astype(np.float64)
    least = float(ml_dtypes.finfo(left.dtype).smallest_normal)  # type: ignore[no-untyped-call]
    terms = a[:, :, :, None] * b[:, None, :, :]  # exact in float64
    counted = np.maximum(abs(a), least)[:, :, :, None] * np.maximum(abs(b), least)[:, None, :, :] * (terms != 0)
    p, size = (terms != 0).sum(axis=2), abs(sums) + abs(terms).sum(axis=2)
    largest = np.maximum(size, counted.max(axis=2))
    if left.dtype == np.float32:
        others = np.maximum(p + (sums != 0) - 1, 0)
        units = others * largest + np.where(others > 0, np.minimum(p, 2), 0) * size
        bound = UNIT * (1 + 2.0**-18) * units + 2.0**-140
    else:
        bound = UNIT * (1 + 2.0**-18) * (p * largest + np.minimum(p, 4) * size) + 2.0**-126
    error = np.empty(sums.shape)
    for at in np.ndindex(sums.shape):
        block, row, column = at
        error[at] = abs(math.fsum([*terms[block, row, :, column], float(sums[at]), -float(found[at])]))
    assert (error[p == 0] == 0).all()
    return np.where(p == 0, 0.0, error / bound)


def drawn(kind: str, blocks: int) -> tuple[Any, Any, Any]:
    """Factors and sums of very different sizes, subnormal ones and zeros among them, and sums that cancel."""
    rng = np.random.default_rng(blocks)
    wide, depth = 24 if kind == "float16" else 60, 8 if kind == "tf32" else 16

    def numbers(*shape: int) -> Any:
        spread = rng.uniform(0, 1, (shape[0], 1, 1))  # of a block: from one size to all
        x = rng.standard_normal(shape) * 2.0 ** (spread * rng.uniform(-wide, wide // 2, shape))
        x = np.where(rng.random(shape) < 0.2 * spread, 0, x)
        return tf32(x) if kind == "tf32" else x.astype(KINDS[kind])

    left, right = numbers(blocks, 16, depth), numbers(blocks, depth, 8)
    products = left.astype(np.float64) @ right.astype(np.float64)
    factor = rng.choice([0, -1, 1, 2.0**-12, 2.0**12], products.shape)
    return left, right, (products * factor).astype(np.float32)


def cut(kind: str) -> tuple[Any, Any, Any]:
    """A sum of 1, and products that are lost almost whole where nothing below its last place is kept."""
    type_, depth = (np.float32, 8) if kind == "tf32" else (KINDS[kind], 16)
    left, right = np.full((1, 16, depth), 2.0**-11 - 2.0**-18, type_), np.full((1, depth, 8), 2.0**-12, type_)
    return left, right, np.ones((1, 16, 8), np.float32)


def every(machine: Any, kinds: Any = KINDS) -> None:
    for kind in kinds:
        for data in (drawn(kind, 60), cut(kind)):
            assert ratios(*data, multiplied(machine, *data)).max() <= 1.0


@needs_compiler
@pytest.mark.claim("GPU-10")
@pytest.mark.parametrize("unit", ["least", "sm_80", "sm_90"])
def test_emulated_tensor_cores_keep_what_is_assumed(unit: str) -> None:
    every(Emulated(unit=unit))


@needs_compiler
@pytest.mark.claim("GPU-15")
@pytest.mark.parametrize("unit", ["least", "sm_80", "sm_90"])
def test_emulated_tensor_cores_keep_what_is_assumed_of_tf32(unit: str) -> None:
    every(Emulated(unit=unit), ["tf32"])


@needs_compiler
@pytest.mark.claim("GPU-15")
def test_one_product_of_tf32_numbers_is_exact() -> None:
    left, right, _ = drawn("tf32", 5)
    left[:, :, 1:], none = 0, np.zeros((5, 16, 8), np.float32)
    found = multiplied(Emulated(), left, right, none)
    assert np.array_equal(found.astype(np.float64), left.astype(np.float64) @ right.astype(np.float64))


@needs_compiler
@pytest.mark.claim("GPU-10")
@pytest.mark.claim("GPU-15")
@pytest.mark.parametrize("kind", [*KINDS, "tf32"])
def test_the_least_that_is_assumed_is_no_better_than_the_assumption(kind: str) -> None:
    """Else a judgement of the emulated kernel would be one of a better card than the claim allows."""
    assert ratios(*cut(kind), multiplied(Emulated(), *cut(kind))).max() > 0.75


@needs_compiler
@pytest.mark.claim("GPU-10")
@pytest.mark.claim("GPU-15")
@pytest.mark.parametrize("kind", [*KINDS, "tf32"])
def test_sums_of_fewer_bits_do_not_keep_it(kind: str) -> None:
    with pytest.raises(AssertionError):
        every(Emulated(unit="short"), [kind])


def exponent(x: float, least: int) -> int:
    return max(math.frexp(x)[1] - 1, least)


def shortened(x: Fraction) -> float:
    """Cut to 24 bits, and to a multiple of the least number of float32."""
    last = max(x.numerator.bit_length() - x.denominator.bit_length() - 23, -149)
    found = math.trunc(x / Fraction(2) ** last) * Fraction(2) ** last
    return float(found) if abs(found) < 2**128 else math.copysign(math.inf, found)


def in_rationals(total: float, left: list[float], right: list[float], kind: str, unit: str) -> float:
    """One sum with the rounding that the thread model states, in exact rationals."""
    together, extra, _ = emulated.UNITS[unit]
    together = max(4, together // 2) if kind == "tf32" else together
    least = -14 if kind == "float16" else -126
    for first in range(0, len(left), together):
        pairs = zip(left[first : first + together], right[first : first + together], strict=True)
        terms = [(Fraction(a) * Fraction(b), exponent(a, least) + exponent(b, least)) for a, b in pairs if a and b]
        if not terms or math.isinf(total):
            continue
        most = max(e + (abs(term) >= Fraction(2) ** (e + 1)) for term, e in terms)
        most = max(most, exponent(total, -126)) if total else most
        last = Fraction(2) ** (most - 23 - extra)
        total = shortened(last * sum(math.trunc(x / last) for x in (*(term for term, _ in terms), Fraction(total))))
    return total


@needs_compiler
@pytest.mark.parametrize("unit", emulated.UNITS)
@pytest.mark.parametrize("kind", [*KINDS, "tf32"])
def test_every_sum_has_the_bits_of_exact_rationals(kind: str, unit: str) -> None:
    left, right, sums = drawn(kind, 3)
    beyond, below = (3, -15) if kind == "float16" else (60, -128)  # sums beyond float32, and subnormal factors
    rng, type_ = np.random.default_rng(0), left.dtype
    left[1] = (left[1].astype(np.float64) * 2.0**beyond).astype(type_)
    left[2] = (rng.standard_normal(left[2].shape) * 2.0**below).astype(type_)
    right[2] = (rng.standard_normal(right[2].shape) * 2.0**10).astype(type_)
    sums[2] = 0
    if kind == "tf32":
        left, right = tf32(left), tf32(right)
    found = multiplied(Emulated(unit=unit), left, right, sums)
    for block, row, column in np.ndindex(found.shape):
        a, b = left[block, row].astype(float).tolist(), right[block, :, column].astype(float).tolist()
        assert found[block, row, column] == in_rationals(float(sums[block, row, column]), a, b, kind, unit)


@needs_compiler
@pytest.mark.parametrize("kind", [*KINDS, "tf32"])
@pytest.mark.parametrize("no_number", [math.inf, math.nan])
def test_what_is_no_number_spoils_its_row_its_column_or_its_sum(kind: str, no_number: float) -> None:
    expected = np.zeros((1, 16, 8), bool)
    left, right, sums = drawn(kind, 1)
    left[0, 3, 5], right[0, 2, 6], sums[0, 9, 1] = no_number, no_number, no_number
    expected[0, 3], expected[0, :, 6], expected[0, 9, 1] = True, True, True
    assert np.array_equal(np.isnan(multiplied(Emulated(), left, right, sums)), expected)


def parts_of(machine: Any, x: Any) -> Any:
    """The two parts of float32 numbers."""
    on, found = machine.laid(x), machine.laid(np.zeros((2, x.size), np.uint32))
    arguments = struct(x=machine.address(on), parts=machine.address(found), count=x.size)
    machine.run(PROBE, "split", arguments, Launch(64, 64, 0))
    return machine.host(found).view(np.float32)


def split(machine: Any) -> None:
    """Both parts have 11 bits, and are off by 2^-23 of the number at most, and almost; the lower one by 2^-11."""
    rng = np.random.default_rng(6)
    x = rng.integers(0, 0x7F000000, 40_000, np.uint32).view(np.float32)
    x = np.concatenate([x, -x, np.float32(1) + np.arange(1 << 13, dtype=np.float32) * np.float32(2.0**-23)])
    high, low = parts_of(machine, x)
    assert np.array_equal(high, tf32(high))
    assert np.array_equal(low, tf32(low))
    exact, tiny = x.astype(np.float64), 2.0**-137
    error = abs(exact - high - low)
    assert (error <= 2.0**-23 * abs(exact) + tiny).all()
    assert (abs(low) <= 2.0**-11 * abs(exact) + tiny).all()
    one = abs(exact) >= 1  # where nothing underflows
    assert (error[one] / exact[one]).max() > 2.0**-23.01
    assert abs(low[one] / exact[one]).max() > 2.0**-11.01


@needs_compiler
@pytest.mark.claim("GPU-15")
def test_a_number_is_two_of_eleven_bits() -> None:
    split(Emulated())


def exact(machine: Any) -> None:
    """Integers, whose products and sums have no rounding: what is in question is where the numbers lie."""
    rng = np.random.default_rng(0)
    for kind, depth in (*((kind, 16) for kind in KINDS.values()), (np.float32, 8)):
        left, right = (rng.integers(-8, 9, shape).astype(kind) for shape in ((5, 16, depth), (5, depth, 8)))
        sums = rng.integers(-99, 99, (5, 16, 8)).astype(np.float32)
        wanted = sums + left.astype(np.float32) @ right.astype(np.float32)
        assert np.array_equal(multiplied(machine, left, right, sums), wanted)
    numbers = np.arange(256, dtype=np.uint16)
    on, found = machine.laid(numbers), machine.laid(np.zeros((2, 32, 4), np.uint32))
    machine.run(PROBE, "matrices", struct(of=machine.address(on), to=machine.address(found)), Launch(1, 32, 512))
    lane, number = np.arange(32)[:, None], np.arange(4)
    g, t, first = lane // 4, lane % 4, number * 64
    as_stored, turned = machine.host(found)
    assert np.array_equal(as_stored, first + 8 * g + 2 * t | (first + 8 * g + 2 * t + 1) << 16)
    assert np.array_equal(turned, first + 16 * t + g | (first + 16 * t + 8 + g) << 16)


@needs_compiler
def test_emulated_matrices_lie_as_is_written() -> None:
    exact(Emulated())


def off(x: Any, powers: Any) -> Any:
    """The relative error of 2^x, without what is below the least normal number, which has to be 0 then."""
    wanted = np.exp2(x.astype(np.float64))
    normal = wanted >= 2.0**-126 * (1 + 2.0**-21)
    assert ((powers == 0) | (powers >= 2.0**-126)).all()
    return np.where(normal, abs(powers / np.where(normal, wanted, 1.0) - 1), 0.0)


def powers_of(machine: Any, x: Any) -> Any:
    on, found = machine.laid(x), machine.empty(x.shape, np.float32)
    arguments = struct(x=machine.address(on), powers=machine.address(found), count=x.size)
    machine.run(PROBE, "powers", arguments, Launch(min(4096, -(-x.size // 64)), 64, 0))
    return machine.host(found)


@needs_compiler
@pytest.mark.claim("GPU-10")
@pytest.mark.claim("GPU-16")
def test_emulated_powers_of_two_err_by_two_units_at_most_and_almost() -> None:
    size = np.geomspace(1e-30, 127, 20_000)
    x = np.concatenate([-size, size, [-np.inf, -1e30]]).astype(np.float32)
    found = off(x, powers_of(Emulated(), x))
    assert 2.0**-23 < found.max() <= 2.0**-22
    assert powers_of(Emulated(), np.zeros(1, np.float32)) == 1


# Those that need a card have no mark of the claim, which would say that it is not checked wherever there is none.


@pytest.mark.gpu
def test_the_tensor_cores_of_the_card_keep_what_is_assumed(card: Any) -> None:
    every(card, [*KINDS, "tf32"])


@pytest.mark.gpu
def test_a_number_is_two_of_eleven_bits_on_the_card(card: Any) -> None:
    split(card)


@pytest.mark.gpu
def test_matrices_lie_on_the_card_as_is_written(card: Any) -> None:
    exact(card)


@pytest.mark.gpu
def test_every_power_of_two_of_the_card_errs_by_two_units_at_most(card: Any) -> None:
    last = int(np.array(127, np.float32).view(np.uint32))
    for sign in (0, 1 << 31):
        for first in range(sign, sign + last + 1, 1 << 24):
            x = np.arange(first, min(first + (1 << 24), sign + last + 1), dtype=np.uint32).view(np.float32)
            assert off(x, powers_of(card, x)).max() <= 2.0**-22
    assert powers_of(card, np.array([0, -np.inf], np.float32)).tolist() == [1, 0]
