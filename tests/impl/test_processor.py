"""The processor at hand, and that every benchmark says which one it was."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from assay.impl.cpu import processor

if TYPE_CHECKING:
    from types import ModuleType

_TIMING = Path(__file__).parents[2] / "benchmarks" / "timing.py"


def test_the_model_is_that_of_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (told := tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: A Processor @ 2: GHz\nmodel name\t: B\n")
    monkeypatch.setattr(processor, "_CPUINFO", told)
    assert processor.here().model == "A Processor @ 2: GHz"


def test_a_system_that_tells_nothing_still_has_a_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "_CPUINFO", tmp_path / "none")
    monkeypatch.setattr(processor, "_CACHES", tmp_path / "none")
    here = processor.here()
    assert here.model
    assert here.cores >= 1
    assert here.caches == ()


def test_caches_of_data_are_read_and_those_of_code_and_strange_ones_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = [("Unified", "2", "1024K"), ("Data", "1", "32K"), ("Instruction", "1", "32K"), ("Data", "x", "1K"),
            ("Unified", "3", "32M")]  # fmt: skip
    for i, entry in enumerate(told):
        (folder := tmp_path / f"index{i}").mkdir()
        for name, text in zip(("type", "level", "size"), entry, strict=True):
            (folder / name).write_text(text + "\n")
    monkeypatch.setattr(processor, "_CACHES", tmp_path)
    assert processor.here().caches == ((1, 32 << 10), (2, 1 << 20), (3, 32 << 20))


@pytest.mark.skipif("x86_64" not in os.uname().machine, reason="the names of registers are those of x86-64")
@pytest.mark.parametrize(
    ("name", "features", "bits"),
    [
        pytest.param("x86-64", "", 128, marks=pytest.mark.thorough),
        pytest.param("haswell", "+avx2,+fma", 256, marks=pytest.mark.thorough),
        # the compiler keeps to 256 bits here, whatever the features
        pytest.param("skylake-avx512", "+avx512f,+avx512vl", 256, marks=pytest.mark.thorough),
        ("skylake-avx512", "+avx512f,+avx512vl,-prefer-256-bit", 512),
    ],
)
def test_the_width_of_vectors_is_that_of_the_compilers_target(name: str, features: str, bits: int) -> None:
    pytest.importorskip("numba")
    code = "from assay.impl.cpu import processor; print(processor.target()[0], processor.vector_bits())"
    target = {"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": features}
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | target, capture_output=True, text=True)
    assert done.stdout.split() == [name, str(bits)], done.stderr


def test_a_benchmark_stores_its_processor_its_vectors_and_its_versions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    timing = _timing()
    monkeypatch.setattr(timing, "__file__", str(tmp_path / "timing.py"))
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    timing.publish("some", [{"ratio": 1.0}])
    stored = json.loads((tmp_path / "results" / "some.json").read_text())["machine"]
    assert stored["processor"] == processor.here().model
    assert stored["vector_bits"] == processor.vector_bits()
    assert stored["threads"]["OMP_NUM_THREADS"] == "3"
    assert {"numpy", "numba", "cores", "load", "python"} <= set(stored)
    assert processor.here().model in capsys.readouterr().out


def _timing() -> ModuleType:
    made = importlib.util.spec_from_file_location("timing_of_benchmarks", _TIMING)
    assert made is not None
    assert made.loader is not None
    module = importlib.util.module_from_spec(made)
    made.loader.exec_module(module)
    return module
