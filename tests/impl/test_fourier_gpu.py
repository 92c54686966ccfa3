"""Fourier transforms of GPUs, on the thread model of a CPU: within the bound of their claim, and free of races."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import emulated
import flint
import numpy as np
import pytest
from emulated import ORDERS, Emulated
from mpmath import mp

from assay.impl.gpu import fourier
from assay.spec import flint_context

needs_compiler = pytest.mark.skipif(emulated.compiler() is None, reason="g++ is not installed")
needs_long_double = pytest.mark.skipif(
    np.finfo(np.longdouble).eps > 2.0**-60, reason="long double is no longer than double here"
)

U = 2.0**-53


def transformed(rows: Any, *, back: bool = False, order: str = "ascending") -> Any:
    """The transforms of complex rows of the last axis."""
    rows = np.array(rows, np.complex128)
    spare = np.full_like(rows, np.nan)
    return fourier.transformed(Emulated(order), rows, spare, fourier.roots(rows.shape[-1]), back=back)[0]


def longer(rows: Any) -> Any:
    """The same, with sums over all pairs in long double."""
    rows = np.asarray(rows)
    size = rows.shape[-1]
    angle = 2 * np.arctan2(np.longdouble(0), np.longdouble(-1)) * np.arange(size, dtype=np.longdouble) / size
    turns, wide = np.cos(angle) - 1j * np.sin(angle), rows.reshape(-1, size).astype(np.clongdouble)
    parts = []
    for some in np.array_split(np.arange(size), -(-size // 64)):  # the whole matrix would be half a gigabyte
        matrix = turns[np.outer(some, np.arange(size)) % size]
        parts.append(np.stack([(matrix * row).sum(axis=1) for row in wide]))
    return np.concatenate(parts, axis=1)


def noise(seed: int, *shape: int) -> Any:
    return np.random.default_rng(seed).standard_normal((*shape, 2)).view(np.complex128)[..., 0]


@pytest.mark.claim("GPU-14")
@pytest.mark.parametrize("size", [1, 2, 4, 8, 16, 1024])
def test_roots_are_rounded_correctly(size: int) -> None:
    found = fourier.roots(size)
    assert found.shape == (size,)
    with flint_context.bits(200):
        angles = [flint.arb(2 * k) / size for k in range(size)]
        cosines, sines = ([float(getattr(each, name)()) for each in angles] for name in ("cos_pi", "sin_pi"))
    assert found.real.tolist() == cosines
    assert (-found.imag).tolist() == sines


@pytest.mark.claim("GPU-14")
def test_roots_of_a_long_row_are_within_half_a_place_and_little_more() -> None:
    size = 1 << 17
    found = fourier.roots(size)
    with flint_context.bits(200):
        for k in np.random.default_rng(0).integers(size, size=300).tolist():
            angle = flint.arb(2 * k) / size
            for part, exact in ((found[k].real, angle.cos_pi()), (found[k].imag, -angle.sin_pi())):
                assert float(abs(flint.arb(part) - exact)) <= 2.0**-54 + 2.0**-80


@needs_compiler
@pytest.mark.claim("GPU-14")
@pytest.mark.parametrize("size", [1, 2, 4, 8, 16, 32])
@pytest.mark.parametrize("back", [False, True])
def test_short_transforms_are_within_the_bound_of_sums_in_40_digits(size: int, back: bool) -> None:
    rows = noise(size, 3, size)
    found = transformed(rows, back=back)
    with mp.workdps(40):
        turns = [mp.expjpi((2 if back else -2) * mp.mpf(r) / size) for r in range(size)]
        for row, computed in zip(rows.tolist(), found.tolist(), strict=True):
            exact = [mp.fsum(mp.mpc(x) * turns[j * t % size] for j, x in enumerate(row)) for t in range(size)]
            off = mp.sqrt(mp.fsum(abs(x - mp.mpc(y)) ** 2 for x, y in zip(exact, computed, strict=True)))
            whole = mp.sqrt(mp.fsum(abs(x) ** 2 for x in exact))
            assert off <= fourier.error(size) * whole


def adversarial(size: int) -> dict[str, Any]:
    """Rows whose spectra are flat, of one number, or the small rest of large numbers that cancel."""
    place = np.arange(size)
    tone = np.exp(2j * np.pi * (place * (size // 3) % size) / size)
    walk = noise(1, size).cumsum()
    return {
        "noise": noise(0, size),
        "impulse": np.where(place == size // 3, 1 / 3 + 0.7j, 0),
        "tone": tone,
        "ones": np.full(size, 1 / 3),
        "cancelling": np.where(place % 2 == 0, 1.0, -1.0) / 3 + 1e-12 * noise(2, size),
        "a tone and its negative": np.where(place < size // 2, tone, -tone),
        "one large number": np.where(place == 5 % size, 1e15, 1 / 3),
        "walk": walk,
        "chirp": np.exp(1j * np.pi * (place * place % (2 * size)) / size),
    }


@needs_compiler
@needs_long_double
@pytest.mark.claim("GPU-14")
@pytest.mark.parametrize("size", [64, 128, 512, pytest.param(4096, marks=pytest.mark.thorough)])
def test_transforms_of_adversarial_rows_are_within_the_bound(size: int) -> None:
    rows = np.stack(list(adversarial(size).values()))
    off, exact = transformed(rows), longer(rows)
    ratio = np.sqrt((np.abs(off - exact) ** 2).sum(axis=1) / (np.abs(exact) ** 2).sum(axis=1))
    assert (ratio <= fourier.error(size)).all()
    assert ratio.max() >= 0.5 * U


@needs_compiler
@pytest.mark.claim("GPU-14")
def test_there_and_back_is_the_row_times_its_length() -> None:
    rows = noise(3, 2, 256)
    found = transformed(transformed(rows), back=True) / 256
    assert np.linalg.norm(found - rows) <= 2.01 * fourier.error(256) * np.linalg.norm(rows)


@needs_compiler
@pytest.mark.claim("GPU-14")
@pytest.mark.parametrize("size", [2, 16, 512, 2048])
def test_every_order_of_threads_and_blocks_gives_the_same_bits(size: int) -> None:
    rows = noise(4, 5, size)
    first, *others = (transformed(rows, order=order) for order in ORDERS)
    for other in others:
        assert first.tobytes() == other.tobytes()


# --- what the roundings of GPU-14 are, each near to where it is attained


def lost(row: list[float]) -> float:
    """The error of a transform of two or four real numbers, of whose exact value no root is rounded, relative."""
    found = transformed(row)
    turns = [(1, 0), (0, -1), (-1, 0), (0, 1)][:: 4 // len(row)]
    off = whole = Fraction(0)
    for t, computed in enumerate(found.tolist()):
        for part, value in enumerate((computed.real, computed.imag)):
            exact = sum(turns[j * t % len(row)][part] * Fraction(x) for j, x in enumerate(row))
            off, whole = off + (Fraction(value) - exact) ** 2, whole + exact**2
    return float(off / whole) ** 0.5


@needs_compiler
@pytest.mark.claim("GPU-14")
def test_a_transform_of_two_numbers_uses_up_the_bound() -> None:
    assert 0.99 * fourier.error(2) <= lost([1.0 + 2 * U, U]) <= fourier.error(2)


@needs_compiler
@pytest.mark.claim("GPU-14")
def test_a_transform_of_four_numbers_uses_up_more_than_half_of_the_bound() -> None:
    rng, worst = np.random.default_rng(0), 0.0
    for large in (0, 1):  # of numbers just above a power of two a rounding is the largest, and small ones cause them
        for _ in range(60):
            row = rng.integers(-3, 4, 4) * 0.5 * U
            row[large] = 1.0 + 2 * U * rng.integers(4)
            worst = max(worst, lost(row.tolist()))
    assert 0.5 * fourier.error(4) < worst <= fourier.error(4)


@needs_compiler
@needs_long_double
@pytest.mark.claim("GPU-14")
def test_a_number_that_is_turned_loses_more_than_half_of_what_is_granted() -> None:
    """An impulse is turned once, by roots of every kind, and then added to 0."""
    granted = fourier.error(16) / U - 4.0  # without the layers
    impulses = np.zeros((2000, 16), np.complex128)
    impulses[:, 3] = noise(5, 2000)
    exact = longer(impulses)
    worst = float((np.abs(transformed(impulses) - exact) / np.abs(exact)).max()) / U
    assert 0.5 * granted < worst <= granted


@needs_compiler
@pytest.mark.claim("GPU-14")
def test_numbers_that_underflow_lose_no_more_than_is_granted() -> None:
    size = 64
    rows = np.round(noise(6, size) * 3) * 2.0**-1074
    found, whole = transformed(rows), transformed(rows * 2.0**1000)
    off = np.linalg.norm((found * 2.0**1000 - whole) * 2.0**70)  # squares of the numbers themselves are 0
    assert 0 < off <= 6 * size * 2.0 ** (-1073 + 1070) * (1 + 1e-9)


def test_the_bound_is_counted_as_the_claim_says() -> None:
    for bits, counted in ((0, 0.0), (1, 1.0), (2, 2.0), (3, 5.71), (4, 6.71), (20, 44.39)):
        assert fourier.error(1 << bits) == pytest.approx(counted * U, rel=2e-9)


def test_the_length_of_a_transform_is_the_least_power_of_two_that_is_enough() -> None:
    assert [fourier.padded(length) for length in (1, 2, 3, 4, 5, 1023, 1024, 1025)] == [1, 2, 4, 4, 8, 1024, 1024, 2048]
