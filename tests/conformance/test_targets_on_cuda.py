"""Built-in kernels of CUDA devices: refused in one line where there is none, and judged where there is one."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

import assay
from assay.conformance.interface import targets
from assay.conformance.interface.suite import suite
from assay.conformance.interface.targets import kernel_of, missing
from assay.conformance.interface.usage import UsageError
from assay.conformance.judge.judge import Judge
from assay.conformance.profile.profile import profile
from assay.spec.precision import precision

OF_TORCH = ("torch:sdpa-efficient", "torch:sdpa-cudnn")
OF_CUDA = (*OF_TORCH, "triton:flash", "jax:dot_product_attention-cudnn")
OF_POSITIONS = tuple(f"cupy:rope_attention-{route}" for route in ("polynomial", "fourier", "fourier-general"))


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "importable", lambda module: True)
    monkeypatch.setattr(targets, "_has_cuda_driver", lambda: False)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("name", "problem"),
    [*((name, "attention") for name in OF_CUDA), *((name, "rope_attention") for name in OF_POSITIONS)],
)
def test_a_kernel_of_cuda_devices_is_refused_in_one_line_without_a_driver(name: str, problem: str) -> None:
    line = rf"^{name}: runs on a CUDA device alone, and no driver of one is here \(libcuda\.so\.1\)$"
    with pytest.raises(UsageError, match=line):
        kernel_of(name, problem)
    with pytest.raises(UsageError, match=line):
        assay.check(name, problem, level="smoke")
    with pytest.raises(UsageError, match=line):
        assay.check(name, problem, level="smoke", device="cuda:1")
    assert missing(suite(problem).targets[name]) == ["the driver of CUDA devices"]


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("name", OF_CUDA)
def test_a_kernel_of_cuda_devices_is_refused_on_another(name: str) -> None:
    line = f"^{name}: device 'cpu', expected cuda, or cuda:1 …, where alone it runs$"
    with pytest.raises(UsageError, match=line):
        kernel_of(name, "attention", device="cpu")


@pytest.mark.parametrize("name", OF_TORCH)
@pytest.mark.parametrize(("asked", "placed"), [("", "cuda"), ("cuda", "cuda"), ("cuda:1", "cuda:1")])
def test_a_kernel_of_cuda_devices_has_its_arrays_there(
    name: str, asked: str, placed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(targets, "_has_cuda_driver", lambda: True)
    kernel = kernel_of(name, "attention", device=asked)
    assert kernel.device == placed
    if not torch.cuda.is_available():  # a driver alone is no device
        with pytest.raises(UsageError, match=f"^{name}: device '{placed}' is not available"):
            Judge(kernel, precision("bfloat16"))


@pytest.mark.parametrize("name", ["torch:sdpa", "torch:sdpa-math", "torch:sdpa-flash", "jax:dot_product_attention"])
def test_a_device_that_is_not_there_is_refused_by_check_and_by_profile(name: str) -> None:
    module = pytest.importorskip(name.partition(":")[0])
    if module.__name__ == "torch" and module.cuda.is_available():
        pytest.skip("there is a CUDA device")
    line = rf"^{name}: device 'cuda:7' is not available \(.*\)$"
    with pytest.raises(UsageError, match=line):
        assay.check(name, "attention", level="smoke", device="cuda:7")
    with pytest.raises(UsageError, match=line):
        profile(kernel_of(name, "attention", device="cuda:7"))


def test_a_backend_that_takes_no_input_of_a_cpu_declines_it(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    from assay.conformance.interface.kernel import Declined

    monkeypatch.setattr(targets, "_has_cuda_driver", lambda: True)
    for name in OF_TORCH:
        with pytest.raises(Declined, match="backend does not take this input"):
            kernel_of(name, "attention").function(*3 * [torch.ones(1, 1, 2, 8)], scale=1.0)


_TRITON = """
from assay.conformance.interface.suite import Case, Family, Row, suite
from assay.conformance.interface.targets import kernel_of
from assay.conformance.interface.usage import UsageError
from assay.conformance.judge.judge import Judge
from assay.spec.precision import precision
from assay.spec.problem import Provenance

kernel, chosen = kernel_of("triton:flash-interpreted", "attention"), suite("attention")
for name in ("float32", "float16", "bfloat16"):
    for size, options in (("2x4/2:17x33:5/3", ()), ("1x2:35x35:18/20", ("causal", "lse"))):
        judge, row = Judge(kernel, precision(name)), Row("smoke", "normal", size, options)
        case = Case("mine", Family("mine", "", ""), chosen.build(row, Provenance("test", 0), judge.precision))
        print(name, judge.outcome(case).status)
try:
    from assay.conformance.attention.target_triton import flash
    flash("triton:flash", interpreted=False)
except UsageError as error:
    print(error)
"""


def test_flash_attention_in_triton_is_attention_in_its_interpreter() -> None:
    """In a process of its own, where Triton can be imported as an interpreter."""
    if absent := missing(suite("attention").targets["triton:flash-interpreted"]):
        pytest.skip(f"{', '.join(absent)} not installed")
    run = subprocess.run([sys.executable, "-W", "ignore", "-c", _TRITON], capture_output=True, text=True, timeout=300)
    *judged, refused = run.stdout.splitlines()
    expected = [f"{name} passed" for name in ("float32", "float16") for _ in range(2)]
    assert judged == [*expected, *2 * ["bfloat16 declined"]], run.stderr[-2000:]
    assert refused == "Triton was imported to interpret on a CPU, expected it to compile: unset TRITON_INTERPRET"


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("torch:sdpa", ("float32", "bfloat16", "float16")),
        ("torch:sdpa-math", ("float32", "bfloat16", "float16")),
        ("torch:sdpa-flash", ("bfloat16", "float16")),
        ("torch:sdpa-efficient", ("float32", "bfloat16", "float16")),
        ("torch:sdpa-cudnn", ("bfloat16", "float16")),
        ("triton:flash", ("float32", "bfloat16", "float16")),
        ("jax:dot_product_attention", ("float32", "bfloat16")),
        ("jax:dot_product_attention-cudnn", ("bfloat16", "float16")),
    ],
)
def test_a_library_conforms_on_the_card(card: Any, name: str, classes: tuple[str, ...]) -> None:
    if absent := missing(suite("attention").targets[name]):
        pytest.skip(f"{', '.join(absent)} not installed")
    for each in classes:
        report = assay.check(name, "attention", precision=each, level="standard", device="cuda", seconds=60.0)
        assert report.passed, report
