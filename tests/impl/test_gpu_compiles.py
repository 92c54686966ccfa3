"""Every kernel of ``impl/gpu`` compiles for cards of three generations, by NVIDIA's compiler, without a card."""

from __future__ import annotations

import ctypes
import importlib.util
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import emulated
import pytest

from assay.impl.gpu.machine import FLAGS

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCES = sorted(emulated.SOURCES.rglob("*.cu"))


def nvrtc() -> ctypes.CDLL:
    """NVIDIA's runtime compiler, of the wheel nvidia-cuda-nvrtc."""
    found = importlib.util.find_spec("nvidia")
    places = [] if found is None else list(found.submodule_search_locations or ())
    libraries = sorted(file for place in places for file in Path(place).glob("*/lib/libnvrtc.so.*"))
    if not libraries:
        pytest.skip("nvidia-cuda-nvrtc is not installed")
    return ctypes.CDLL(str(libraries[-1]))


def compiled(source: Path, architecture: str, *more: str) -> tuple[int, str]:
    """(status, log) of the compiler."""
    library, program, size = nvrtc(), ctypes.c_void_p(), ctypes.c_size_t()
    options = [*FLAGS, f"-I{emulated.SOURCES}", f"--gpu-architecture={architecture}", *more]
    assert library.nvrtcCreateProgram(ctypes.byref(program), source.read_bytes(), b"source.cu", 0, None, None) == 0
    try:
        words = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
        status = library.nvrtcCompileProgram(program, len(options), words)
        assert library.nvrtcGetProgramLogSize(program, ctypes.byref(size)) == 0
        log = ctypes.create_string_buffer(size.value)
        assert library.nvrtcGetProgramLog(program, log) == 0
        return int(status), log.value.decode()
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))


every_source = pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(emulated.SOURCES)))


@every_source
@pytest.mark.parametrize("architecture", ["sm_80", "sm_100"])
def test_every_source_compiles(source: Path, architecture: str) -> None:
    """For debuggers, which takes a third of the time or less."""
    assert compiled(source, architecture, "--device-debug") == (0, "")


@pytest.fixture(scope="module")
def apart() -> Iterator[ProcessPoolExecutor]:
    """A process of its own: where the compiler has once compiled for a debugger, it is eight times as slow later on."""
    nvrtc()
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        yield pool


@every_source
@pytest.mark.thorough
def test_every_source_compiles_optimised(source: Path, apart: ProcessPoolExecutor) -> None:
    assert apart.submit(compiled, source, "sm_90").result() == (0, "")


def test_a_source_with_a_mistake_does_not_compile(tmp_path: Path) -> None:
    broken = tmp_path / "broken.cu"
    broken.write_text('#include "device.cuh"\nKERNEL(broken, missing, 32) {}\n')
    status, log = compiled(broken, "sm_80")
    assert status != 0
    assert "missing" in log
