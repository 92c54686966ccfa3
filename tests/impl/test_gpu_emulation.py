"""The thread model of CUDA on a CPU exposes races and missing barriers, and its arithmetic is that of the types."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import emulated
import ml_dtypes
import numpy as np
import pytest
from emulated import ORDERS, Emulated

from assay.impl.cpu.softmax import exponential
from assay.impl.gpu.machine import Launch, struct

pytestmark = pytest.mark.skipif(emulated.compiler() is None, reason="g++ is not installed")

FAULTY = Path(emulated.__file__).parent / "faulty.cu"
BLOCKS, THREADS = 3, 64


def run(kernel: str, order: str) -> Any:
    """What the kernel leaves of 192 numbers."""
    x = np.arange(BLOCKS * THREADS, dtype=np.float32) ** 2
    arguments = struct(x=x.ctypes.data, count=x.size - 5)
    Emulated(order, seed=1).run(str(FAULTY), kernel, arguments, Launch(BLOCKS, THREADS, 4 * THREADS))
    return x


def test_a_sound_kernel_gives_the_same_bits_in_every_order() -> None:
    x = np.arange(BLOCKS * THREADS, dtype=np.float32) ** 2
    x[-5:] = 0
    for order in ORDERS:
        assert run("sound", order)[::THREADS].tolist() == x.reshape(BLOCKS, THREADS).sum(axis=1).tolist()


@pytest.mark.parametrize(
    "kernel",
    [
        "no_barrier_after_writing",
        "no_barrier_in_the_loop",
        "no_barrier_after_reading",
        "no_barrier_between_warps",
        "blocks_race",
    ],
)
def test_a_race_gives_other_bits_in_another_order(kernel: str) -> None:
    found = [run(kernel, order) for order in ORDERS]
    assert not all(np.array_equal(found[0], other, equal_nan=True) for other in found)


@pytest.mark.parametrize(
    ("kernel", "said"),
    [
        (
            "a_thread_returns",
            r"thread \(0, 0, 0\) waits at the barrier of line \d+, but thread \(3, 0, 0\) has returned",
        ),
        (
            "two_barriers",
            r"waits at the barrier of line \d+, but thread \(\d+, 0, 0\) waits at the barrier of line \d+",
        ),
        ("beyond_shared_memory", r"block \(\d, 0, 0\): shared memory was written outside of its 256 bytes"),
        ("lanes_that_do_not_come", r"is in the shuffle of line \d+, but thread \(\d+, 0, 0\) has returned"),
    ],
)
def test_a_launch_that_is_undefined_on_a_card_ends_with_a_sentence(kernel: str, said: str) -> None:
    for order in ORDERS:
        with pytest.raises(RuntimeError, match=said):
            run(kernel, order)


@pytest.mark.parametrize("kernel", ["a_number_never_written", "a_lane_outside_of_the_mask"])
def test_what_nobody_wrote_is_no_number(kernel: str) -> None:
    assert np.isnan(run(kernel, "ascending")).any()


def converted() -> dict[str, Any]:
    """All numbers of 16 bits, and float32 numbers of every exponent with ties between those."""
    halves = np.arange(1 << 16, dtype=np.uint16)
    rng = np.random.default_rng(0)
    short = halves.view(np.float16).astype(np.float32)
    values = np.concatenate(
        [
            short,
            halves.view(ml_dtypes.bfloat16).astype(np.float32),
            (halves.astype(np.uint32) << 16 | 0x8000).view(np.float32),  # ties of bfloat16
            rng.integers(0, 1 << 32, 1 << 16, dtype=np.uint32).view(np.float32),
            np.nextafter(np.nan_to_num(short), np.float32(0)),
        ]
    )
    with np.errstate(invalid="ignore"):
        ties = (values[: 1 << 16] + np.roll(values[: 1 << 16], 1)) / 2  # ties of float16
    values = np.concatenate([values, ties.astype(np.float32)])
    found = {
        "from": values, "half": np.zeros(values.size, np.uint16), "brain": np.zeros(values.size, np.uint16),
        "bits": np.resize(halves, values.size), "from_half": np.zeros_like(values), "from_brain": np.zeros_like(values),
        "power": np.zeros_like(values),
    }  # fmt: skip
    arguments = struct(**{name: array.ctypes.data for name, array in found.items()}, count=values.size)
    Emulated().run(str(FAULTY), "convert", arguments, Launch(4, 64, 0))
    return found


def test_half_types_are_read_exactly_and_rounded_to_nearest_with_ties_to_even() -> None:
    found = converted()
    with np.errstate(over="ignore", invalid="ignore"):
        for name, kind in (("half", np.float16), ("brain", ml_dtypes.bfloat16)):
            rounded = found["from"].astype(kind)
            numbers = ~np.isnan(found["from"])
            assert np.array_equal(found[name][numbers], rounded.view(np.uint16)[numbers])
            assert np.isnan(found[name].view(kind)[~numbers].astype(np.float32)).all()
            read = found["bits"].view(kind).astype(np.float32)
            assert np.array_equal(found[f"from_{name}"], read, equal_nan=True)


@pytest.mark.claim("ATT-9")
def test_the_exponential_of_cards_is_that_of_the_claim() -> None:
    """Within 3u·e^x above the least normal number, 0 below it, and 1 at 0."""
    found = converted()
    numbers = ~np.isnan(found["from"])
    x, power = -np.abs(found["from"][numbers]), found["power"][numbers].astype(np.float64)
    exact, u, least = np.exp(x.astype(np.float64)), 2.0**-24, 2.0**-126
    inside = x >= exponential(np.dtype(np.float32))[0][-1]
    assert (np.abs(power - exact)[inside] <= 3 * u * exact[inside] + u * least).all()
    assert (power[~inside] == 0).all()
    assert (power[x == 0] == 1).all()
