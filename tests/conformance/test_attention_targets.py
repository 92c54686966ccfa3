"""Adapters of libraries: what they ask of a release is what that release has."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from assay.conformance.attention.target_numpy import formula
from assay.conformance.interface import targets
from assay.conformance.interface.suite import CONCURRENT_CALLS, suite
from assay.conformance.interface.targets import kernel_of
from assay.conformance.judge.cases import cases
from assay.conformance.judge.judge import Judge
from assay.spec.precision import precision


def release_with(monkeypatch: pytest.MonkeyPatch, *versions: int) -> Any:
    """The adapter, beside an onnxruntime that has the operator Attention in these versions."""
    state = pytest.importorskip("onnxruntime.capi.onnxruntime_pybind11_state")
    pytest.importorskip("onnx")
    from assay.conformance.attention import target_onnxruntime

    schemas = [SimpleNamespace(domain="", name="Attention", since_version=version) for version in versions]
    schemas += [SimpleNamespace(domain="com.microsoft", name="Attention", since_version=1)]
    schemas += [SimpleNamespace(domain="", name="Softmax", since_version=13)]
    monkeypatch.setattr(state, "get_all_operator_schema", lambda: schemas)
    return target_onnxruntime


@pytest.mark.parametrize(("there", "chosen"), [((23,), 23), ((23, 24), 24), ((23, 24, 99), 24)])
def test_onnxruntime_is_asked_for_the_newest_version_of_the_operator_that_it_and_the_adapter_know(
    monkeypatch: pytest.MonkeyPatch, there: tuple[int, ...], chosen: int
) -> None:
    assert release_with(monkeypatch, *there).supported() == chosen


def test_an_onnxruntime_without_the_operator_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImportError, match=r"onnxruntime [\d.]+ has no operator Attention: it came with 1\.23"):
        release_with(monkeypatch).attention()


def test_version_23_lacks_key_lengths_and_bottom_right_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    older, newer = release_with(monkeypatch, 23).attention(), release_with(monkeypatch, 23, 24).attention()
    assert older.lacks - newer.lacks == {"key_lengths", "causal_bottom_right"}
    assert not newer.lacks - older.lacks


@pytest.mark.parametrize("version", [23, 24])
def test_the_installed_onnxruntime_runs_both_versions(monkeypatch: pytest.MonkeyPatch, version: int) -> None:
    kernel = release_with(monkeypatch, version).attention()
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((1, 2, n, 4)).astype(np.float32) for n in (3, 5, 5))
    mask = rng.random((3, 5)) < 0.7
    got = kernel.function(q, k, v, scale=0.5, mask=mask)
    np.testing.assert_allclose(got, formula(q, k, v, scale=0.5, mask=mask), atol=1e-6)


def test_a_jax_without_residuals_is_not_asked_for_the_log_sum_exp(monkeypatch: pytest.MonkeyPatch) -> None:
    jax = pytest.importorskip("jax")
    from assay.conformance.attention.target_jax import dot_product_attention

    def older(query: Any, key: Any, value: Any, bias: Any = None, mask: Any = None, **options: Any) -> Any:
        assert "return_residual" not in options
        return query

    monkeypatch.setattr(jax.nn, "dot_product_attention", older)
    kernel = dot_product_attention("jax", jit=False)
    assert "return_lse" in kernel.lacks
    judge = Judge(kernel_of(kernel, "attention"), precision("float32"))
    level = cases(judge.suite, judge.precision, "smoke", 0)
    case = next(case for case in level if not judge.suite.interface.needs(case.instance))
    assert judge.outcome(case).status in ("passed", "failed")  # called, and not declined


def test_threads_that_choose_a_backend_of_torch_at_once_leave_every_backend_switched_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch = pytest.importorskip("torch")
    flags = ("flash_sdp_enabled", "math_sdp_enabled", "mem_efficient_sdp_enabled", "cudnn_sdp_enabled")
    before = [getattr(torch.backends.cuda, flag)() for flag in flags]
    entered, first_left = threading.Event(), threading.Event()

    def attends(query: Any, *arrays: Any, **keywords: Any) -> Any:
        if query.numel() == 1:  # the first to enter waits for the second, and leaves before it
            entered.wait(0.3)
        else:
            entered.set()
            first_left.wait(0.3)
        return query

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", attends)
    kernels = [kernel_of(f"torch:sdpa-{backend}", "attention") for backend in ("math", "flash")]

    def first() -> None:
        kernels[0].function(*3 * [torch.ones(1, 1, 1, 1)], scale=1.0)
        first_left.set()

    threads = [
        threading.Thread(target=first),
        threading.Thread(target=kernels[1].function, args=3 * [torch.ones(1, 1, 2, 1)], kwargs={"scale": 1.0}),
    ]
    try:
        for thread in threads:
            thread.start()
            time.sleep(0.05)
        for thread in threads:
            thread.join()
        assert [getattr(torch.backends.cuda, flag)() for flag in flags] == before
    finally:
        for flag, on in zip(flags, before, strict=True):
            getattr(torch.backends.cuda, "enable_" + flag.removesuffix("_enabled"))(on)


@pytest.mark.parametrize("name", ["torch:sdpa-math", "torch:sdpa-flash"])
def test_a_backend_of_torch_that_is_chosen_for_the_process_is_not_said_to_be_reentrant(name: str) -> None:
    pytest.importorskip("torch")
    assert CONCURRENT_CALLS in kernel_of(name, "attention").lacks
    assert CONCURRENT_CALLS not in kernel_of("torch:sdpa", "attention").lacks


@pytest.mark.parametrize(
    "problem",
    [
        "attention", "attention_gradient", "document_similarity", "firing_neurons", "firing_neurons_training",
        "kernel_graph", "rope", "rope_attention", "small_transformers", "small_transformers_merge", "tensor_attention",
    ],
)  # fmt: skip
def test_a_kernel_of_gpus_is_asked_for_only_where_there_is_a_driver(
    monkeypatch: pytest.MonkeyPatch, problem: str
) -> None:
    ours = [target for name, target in suite(problem).targets.items() if name.startswith(f"cupy:{problem}")]
    assert ours
    monkeypatch.setattr(targets, "importable", lambda module: True)
    for driver, absent in ((False, ["the driver of CUDA devices"]), (True, [])):
        monkeypatch.setattr(targets, "_has_cuda_driver", lambda there=driver: there)
        assert [targets.missing(target) for target in ours] == len(ours) * [absent]
