"""Inputs on a device lie among canaries too: NumPy stands in for one, in memory of its own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

import assay
from assay.conformance.call.call import Kept, answered
from assay.conformance.call.memory import Memory, guarded, on_device, placed
from assay.conformance.frameworks import Framework
from assay.conformance.frameworks.cupy import Bytes as BytesOfCupy
from assay.conformance.interface.kernel import Kernel
from assay.conformance.interface.layouts import LAYOUTS
from assay.conformance.interface.steps import Output, Step
from assay.impl import cpu

Array = np.ndarray[Any, Any]


class Pointer:
    """Of CuPy: a place in the memory of a card."""

    def __init__(self, numbers: Array, offset: int = 0) -> None:
        self.numbers, self.offset = numbers, offset

    def __add__(self, more: int) -> Pointer:
        return Pointer(self.numbers, self.offset + more)


class OnCard:
    """Of CuPy: an array of one axis, which is where NumPy's functions do not reach."""

    def __init__(self, numbers: Array) -> None:
        self._numbers, self.data = numbers.copy(), None

    def __getattribute__(self, name: str) -> Any:
        return Pointer(self._numbers) if name == "data" else object.__getattribute__(self, name)

    def set(self, numbers: Array) -> None:
        self._numbers[...] = numbers


CUPY = SimpleNamespace(
    array=OnCard,
    asnumpy=lambda array: array.data.numbers.copy(),
    ndarray=lambda shape, dtype, place, strides: np.ndarray(shape, dtype, place.numbers, place.offset, strides),
    cuda=SimpleNamespace(Device=lambda: SimpleNamespace(synchronize=lambda: None)),
)

DEVICE = Framework(
    "numpy", "", np.array, np.array, lambda value: isinstance(value, np.ndarray), negative_strides=True,
    device="stand-in", region=lambda buffer: BytesOfCupy(CUPY, buffer),
)  # fmt: skip


def asked(function: Any, layout: str = "contiguous", framework: Framework = DEVICE, **more: Any) -> Any:
    """What became of one call with an array of (2, 3, 4)."""
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    step = Step((("x", array),), {}, (Output("y", (2, 3, 4), ("float32",)),))
    kernel = Kernel("kernel", function)
    return answered(kernel, framework, (step,), LAYOUTS[layout], huge=False, seconds=5.0, **more)


def doubled(x: Array) -> Array:
    return x * np.float32(2)


def writes(x: Array) -> Array:
    x[1, 2, 3] = 7
    return doubled(x)


def writes_behind(x: Array) -> Array:
    as_strided(x, (25,), (4,))[24] = 7
    return doubled(x)


def reads_behind(x: Array) -> Array:
    return doubled(x) + np.float32(0) * as_strided(x, (25,), (4,))[24]


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if not name.startswith(("far", "expanded", "packed"))])
def test_a_right_kernel_is_answered_in_every_layout(layout: str) -> None:
    answer = asked(doubled, layout)
    if layout != "mixed":  # of which the first array is in C order
        assert answer.values["y"].ravel().tolist() == list(range(0, 48, 2))


def test_a_write_to_an_input_is_found() -> None:
    assert asked(writes).kind == "mutated"


def test_a_write_outside_of_an_input_is_found() -> None:
    assert asked(writes_behind).kind == "out-of-bounds"


def test_a_read_outside_of_an_input_brings_canaries() -> None:
    assert np.isnan(asked(reads_behind).values["y"]).any()


def test_the_strides_are_those_of_the_layout() -> None:
    seen = []

    def kernel(x: Array) -> Array:
        seen.append(x.strides)
        return doubled(x)

    for layout in ("contiguous", "transposed", "reversed"):
        asked(kernel, layout)
    assert seen == [(48, 16, 4), (48, 4, 12), (48, -16, 4)]


def test_slices_far_apart_are_not_laid_on_a_device() -> None:
    assert asked(doubled, "far-batches").sentence == (
        "layout far-batches needs a sparse mapping, which a device has not"
    )


def test_a_device_that_does_not_tell_what_it_holds_is_a_fault_of_the_kernel() -> None:
    def broken(buffer: Array) -> Any:
        region = BytesOfCupy(CUPY, buffer)
        region.content = lambda: 1 / 0  # type: ignore[assignment,method-assign,return-value]
        return region

    answer = asked(doubled, framework=Framework("numpy", "", np.array, np.array, DEVICE.is_native, region=broken))
    assert (answer.kind, answer.sentence) == ("raised", "left its device with ZeroDivisionError: division by zero")


def test_later_calls_find_other_numbers_at_the_same_addresses() -> None:
    memory, kept, seen = Memory(), list[Kept](), []

    def kernel(x: Array) -> Array:
        seen.append(x.ctypes.data)
        return doubled(x)

    for _ in range(2):
        asked(kernel, memory=memory, kept=kept)
    assert seen[0] == seen[1]
    assert asked(writes, memory=memory).kind == "mutated"
    assert asked(doubled, memory=memory).values["y"][1, 2, 3] == 46.0  # the number that was written over is back


def regions() -> list[Any]:
    return ["cupy", pytest.param("torch", marks=pytest.mark.filterwarnings("ignore:The given NumPy array"))]


@pytest.mark.parametrize("name", regions())
@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16, np.bool_, np.int64])
def test_arrays_in_a_copy_lie_as_in_the_buffer_and_what_is_done_to_them_is_seen(name: str, dtype: Any) -> None:
    if name == "torch":
        torch = pytest.importorskip("torch")
        from assay.conformance.frameworks.torch import Bytes, load

        to_numpy = load().to_numpy

        def lay(buffer: Array) -> Any:
            return Bytes(torch, torch.device("cpu"), buffer)
    else:
        to_numpy, lay = np.array, DEVICE.region  # type: ignore[assignment]
    array = (np.arange(24).reshape(1, 2, 3, 4) % 5).astype(dtype)
    for layout in ("contiguous", "permuted", "offset", "gap", "spaced"):
        guard = guarded("x", array, LAYOUTS[layout], huge=False, read_only=True)
        (native,), (watched,) = on_device([guard], lay)
        assert to_numpy(native).tobytes() == array.tobytes()
        assert watched.damage() is None
        native[0, 1, 2, 3] = 0
        assert watched.damage() == "mutated"
        assert guard.damage() is None  # the memory of the host is another


def test_arrays_of_one_buffer_lie_in_one_copy() -> None:
    arrays = [(name, np.zeros((2, 2, 3, 4), np.float32)) for name in ("query", "key")]
    guards = placed(arrays, LAYOUTS["packed"], huge=False, read_only=True)
    assert DEVICE.region is not None
    natives, watched = on_device(guards, DEVICE.region)
    natives[1][0, 0, 0, 0] = 1
    assert [guard.damage() for guard in watched] == [None, "mutated"]
    assert natives[1].ctypes.data - natives[0].ctypes.data == guards[1].array.ctypes.data - guards[0].array.ctypes.data


@pytest.mark.thorough
def test_a_right_kernel_passes_on_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assay.conformance.call.arrays.framework", lambda *_: DEVICE)
    report = assay.check(cpu.attention.exact, "attention", precision="float32", level="smoke")
    assert report.passed, report


@pytest.mark.gpu
@pytest.mark.parametrize(("place", "kind"), [((slice(None),), "mutated"), ((24,), "out-of-bounds")])
@pytest.mark.parametrize("name", ["cupy", "torch"])
def test_writes_on_the_card_are_found(card: Any, name: str, place: Any, kind: str) -> None:
    from assay.conformance.frameworks import framework

    module = pytest.importorskip(name)
    chosen = framework(name, "cuda")

    def kernel(x: Any) -> Any:
        on_torch = name == "torch"
        flat = module.as_strided(x, (25,), (1,)) if on_torch else module.lib.stride_tricks.as_strided(x, (25,), (4,))
        flat[place] = 7
        return x * 2

    assert asked(doubled_on_card, framework=chosen).values["y"].ravel().tolist() == list(range(0, 48, 2))
    assert asked(kernel, framework=chosen).kind == kind


def doubled_on_card(x: Any) -> Any:
    return x * 2
