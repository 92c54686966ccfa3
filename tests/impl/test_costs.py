"""What work costs on the processor at hand: measured once, kept, never believed blindly, and never part of a result."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import textwrap
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.impl import cached
from assay.impl.cpu import attention, costs, firing_neurons, kernel_graph, processor, rope_attention, tensor_attention
from assay.spec import attention as of_attention
from assay.spec import kernel_graph as of_kernel_graph
from assay.spec import rope_attention as of_rope
from assay.spec import tensor_attention as of_tensor

if TYPE_CHECKING:
    from pathlib import Path

ROOMS = (costs.Attention, costs.TensorAttention, costs.RopeAttention, costs.FiringNeurons)
SLOW = {work: 3.0 * nanoseconds for work, nanoseconds in costs.REFERENCE.items()}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A process that has measured nothing, whose user keeps nothing yet: the folder for it."""
    monkeypatch.delenv(costs.SWITCH)
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path))
    monkeypatch.setattr(costs, "_known", {})
    return tmp_path


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """As if a measurement found everything three times as slow; how often it was asked for."""
    calibration = pytest.importorskip("assay.impl.cpu.calibration")
    asked: list[int] = []

    def slow() -> dict[str, float]:
        asked.append(1)
        return SLOW

    monkeypatch.setattr(calibration, "measured", slow)
    return asked


def again(monkeypatch: pytest.MonkeyPatch) -> costs.Speeds:
    """The speeds of a process that starts now."""
    monkeypatch.setattr(costs, "_known", {})
    return costs.speeds()


# --- kept -------------------------------------------------------------------------------------------------------------


def test_a_processor_is_measured_once_for_all_processes(
    folder: Path, measured: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for found in (costs.speeds(), costs.speeds(), again(monkeypatch)):
        assert found.factors == pytest.approx([3.0] * len(costs.REFERENCE))
    assert len(measured) == 1
    assert [path.suffix for path in folder.rglob("*.*")] == [".json"]


def test_the_switch_stands_for_the_fixed_constants_whatever_is_kept(
    folder: Path, measured: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    costs.keep(costs.Kept(SLOW))
    monkeypatch.setenv(costs.SWITCH, "fixed")
    assert again(monkeypatch) == costs.Speeds()
    assert all(costs.in_use(room) == room() for room in ROOMS)
    assert costs.route("grid") == costs.route("a route of later") == 1.0
    assert not measured


def test_every_constant_is_the_fixed_one_times_the_factor_of_its_kind_of_work(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    factors = tuple(2.0**k for k in range(len(costs.REFERENCE)))
    monkeypatch.setattr(costs, "speeds", lambda: costs.Speeds(factors))
    of = dict(zip(costs.REFERENCE, factors, strict=True))
    for room in ROOMS:
        found = costs.in_use(room)
        for each in fields(room):
            assert getattr(found, each.name) == each.default * of[each.metadata["work"]] > 0.0


def right() -> dict[str, Any]:
    """What a file holds that is believed."""
    return {**costs._key(), "wide": False, "nanoseconds": SLOW}


def changed(**entries: Any) -> bytes:
    return json.dumps(right() | entries).encode()


HOSTILE: dict[str, Any] = {
    "empty": lambda: b"",
    "cut off": lambda: changed()[:-20],
    "bytes": lambda: bytes(range(256)),
    "another thing": lambda: b"[1, 2]",
    "nothing": lambda: b"null",
    "deep": lambda: b"[" * 60_000,
    "far too long": lambda: changed() + b" " * (1 << 17),
    "of another version": lambda: changed(assay="0.0.0"),
    "of another processor": lambda: changed(processor="another"),
    "of another target": lambda: changed(target=["generic", ""]),
    "without numbers": lambda: changed(nanoseconds=None),
    "a number is missing": lambda: changed(nanoseconds={"single": 1.0}),
    "not a number": lambda: changed(nanoseconds=SLOW | {"single": math.nan}),
    "infinite": lambda: changed(nanoseconds=SLOW | {"single": math.inf}),
    "too large": lambda: changed(nanoseconds=SLOW | {"single": 10**400}),
    "negative": lambda: changed(nanoseconds=SLOW | {"single": -1.0}),
    "zero": lambda: changed(nanoseconds=SLOW | {"single": 0.0}),
    "true": lambda: changed(nanoseconds=SLOW | {"single": True}),
    "words": lambda: changed(nanoseconds=SLOW | {"single": "1"}),
    "wide is no answer": lambda: changed(wide="yes"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_file_that_is_not_what_was_written_is_ignored_and_replaced(
    kind: str, folder: Path, measured: list[int], capfd: pytest.CaptureFixture[str]
) -> None:
    costs.place().parent.mkdir(parents=True)
    costs.place().write_bytes(HOSTILE[kind]())
    assert costs.kept() is None
    assert costs.speeds().of("single") == pytest.approx(3.0)
    assert (found := costs.kept()) is not None
    assert found.nanoseconds == SLOW
    assert capfd.readouterr() == ("", "")


def test_a_file_that_is_what_was_written_is_believed(folder: Path) -> None:
    costs.place().parent.mkdir(parents=True)
    costs.place().write_bytes(changed(wide=True))
    assert costs.kept() == costs.Kept(SLOW, wide=True)


def test_numbers_that_no_clock_gives_are_not_taken_as_they_are(folder: Path) -> None:
    costs.keep(costs.Kept(SLOW | {"single": 1e-300, "double": 1e300}))
    assert costs.speeds().of("single") == 1.0 / 64.0
    assert costs.speeds().of("double") == 64.0


def test_a_folder_that_cannot_be_written_costs_a_measurement_a_process(
    tmp_path: Path, folder: Path, measured: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "file"))  # no folder, whoever asks
    assert costs.speeds().of("double") == costs.speeds().of("single") == pytest.approx(3.0)
    assert len(measured) == 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_in_its_place_is_neither_read_nor_written(folder: Path, measured: list[int]) -> None:
    costs.place().parent.mkdir(parents=True)
    os.mkfifo(costs.place())
    assert costs.kept() is None
    assert costs.speeds().of("single") == pytest.approx(3.0)
    with pytest.raises(OSError, match="no file"):
        costs.keep(costs.Kept(SLOW))


def test_a_user_without_a_home_is_served(folder: Path, measured: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("no home")

    monkeypatch.setattr(cached, "cache_folder", homeless)
    assert costs.speeds().of("single") == pytest.approx(3.0)


def test_where_nothing_can_be_measured_the_fixed_constants_serve(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calibration = pytest.importorskip("assay.impl.cpu.calibration")

    def failing() -> dict[str, float]:
        raise OSError("no clock")

    monkeypatch.setattr(calibration, "measured", failing)
    assert costs.speeds() == costs.Speeds()
    assert not list(folder.rglob("*.json"))


# --- measured ---------------------------------------------------------------------------------------------------------


def test_every_kind_of_work_takes_some_time() -> None:
    calibration = pytest.importorskip("assay.impl.cpu.calibration")
    pytest.importorskip("numba")
    found = calibration.measured()
    assert set(found) == set(costs.REFERENCE)
    assert all(1e-4 < nanoseconds < 1e7 for nanoseconds in found.values())


@pytest.mark.parametrize(
    ("wide", "environment", "chosen"),
    [
        (True, {}, True),
        pytest.param(False, {}, False, marks=pytest.mark.thorough),
        pytest.param(True, {costs.SWITCH: "fixed"}, False, marks=pytest.mark.thorough),
        pytest.param(True, {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2"}, False,
                     marks=pytest.mark.thorough),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "first",
    [
        "from assay.impl.cpu.compiled import jitted; jitted(lambda x: x, cache=False)",
        "from assay.impl.cpu.feature_kernels import steps; steps()",
    ],
)
def test_a_process_compiles_for_wide_vectors_where_they_were_measured(
    first: str, wide: bool, environment: dict[str, str], chosen: bool, folder: Path
) -> None:
    pytest.importorskip("numba")
    if "+avx512f" not in processor.target()[1].split(","):
        pytest.skip("no vectors of 512 bits here")
    costs.keep(costs.Kept(SLOW, wide=wide))
    code = (
        "from assay.impl.cpu import processor; told = processor._told;"
        "processor._told = lambda name: 'GenuineIntel' if name == 'vendor_id' else told(name);"
        f"{first}; print(processor.target()[1].endswith(',-prefer-256-bit'))"
    )
    usual = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_CPU_")}
    done = subprocess.run([sys.executable, "-c", code], env=usual | environment, capture_output=True, text=True)
    assert done.stdout.split() == [str(chosen)], done.stderr


@pytest.mark.parametrize(
    ("told", "features", "wide"),
    [
        ("GenuineIntel", "+avx2,+avx512f", True), ("AuthenticAMD", "+avx2,+avx512f", False), ("", "+avx512f", False),
        ("GenuineIntel", "+avx2,-avx512f", False),
    ],
)  # fmt: skip
def test_vectors_are_widened_before_the_first_compilation_where_the_compiler_would_use_half_of_them(
    told: str, features: str, wide: bool
) -> None:
    pytest.importorskip("numba")
    code = f"""
        from pathlib import Path
        import numba
        from numba.core import codegen
        from assay.impl.cpu import processor
        codegen.get_host_cpu_features, processor._told = (lambda: {features!r}), (lambda name: {told!r})
        print(processor.widen(), numba.config.CPU_FEATURES)
    """
    usual = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_CPU_")}
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], env=usual, capture_output=True, text=True)
    assert done.stdout.split() == ([str(wide), f"{features},-prefer-256-bit" if wide else "None"]), done.stderr


def test_after_a_compilation_the_vectors_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    _, features = processor.target()
    assert processor.widen() == features.endswith(",-prefer-256-bit")
    assert processor.target()[1] == features


@pytest.mark.parametrize("settled", [False, True])
def test_what_is_kept_says_for_which_vectors_it_was_measured(settled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    calibration = pytest.importorskip("assay.impl.cpu.calibration")
    for name in costs.TARGET:
        monkeypatch.setenv(name, "haswell" if settled else "")
    monkeypatch.setattr(processor, "widen", lambda: True)
    monkeypatch.setattr(calibration, "measured", lambda: SLOW)
    assert calibration.calibrated() == costs.Kept(SLOW, wide=not settled)


# --- never part of a result -------------------------------------------------------------------------------------------

#: Factors of every kind of work, absurd ones among them.
ABSURD = st.lists(
    st.sampled_from((1e-300, 1e-9, 0.1, 1.0, 10.0, 1e9, 1e300)),
    min_size=len(costs.REFERENCE),
    max_size=len(costs.REFERENCE),
).map(lambda factors: costs.Speeds(tuple(factors)))


@settings(max_examples=12)
@given(speeds=ABSURD, dtype=st.sampled_from(("float32", "float64")))
def test_whatever_the_constants_are_every_route_keeps_its_certificate(speeds: costs.Speeds, dtype: str) -> None:
    pytest.importorskip("numba")
    rng = np.random.default_rng(0)
    q, k, v = (rng.uniform(-1, 1, (1, 1, n, 2)).astype(dtype) for n in (5, 9, 9))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(costs, "speeds", lambda: speeds)
        by_polynomials = attention.approximate(q, k, v, 1e-4)
        turned = rope_attention.approximate(q, k, v, error=1e-4)
        combined = tensor_attention.approximate(q, k, k, v, v, error=1e-4)
    for found, exact in (
        (by_polynomials, of_attention.define(of_attention.Instance(q, k, v), 1e-19)),
        (turned, of_rope.define(of_rope.Instance(q, k, v), 1e-19)),
        (combined, of_tensor.define(of_tensor.Instance.of_order(3)(q, k, k, v, v), 1e-19)),
    ):
        assert found.error.max() <= 1e-4
        assert exact.ratio(found.value, np.broadcast_to(found.error, found.value.shape)).max() <= 1.0


@settings(max_examples=8)
@given(speeds=ABSURD)
def test_whatever_the_constants_are_every_structure_finds_the_same_neurons(speeds: costs.Speeds) -> None:
    pytest.importorskip("numba")
    rng = np.random.default_rng(1)
    data, weights = rng.standard_normal((6, 4)), rng.standard_normal((90, 4))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(costs, "speeds", lambda: speeds)
        structure = firing_neurons.structure(data, weights, threshold=1.0)
    expected = (data @ weights.T) > 1.0  # no product of these is within rounding of 1
    assert (structure.fired(np.arange(6)) == expected).all()


@settings(max_examples=8)
@given(speeds=ABSURD, name=st.sampled_from((("gaussian", 3.0), ("matern", 1.5), ("polynomial", 2))))
def test_whatever_the_constants_are_a_kernel_graph_is_multiplied_within_its_certificate(
    speeds: costs.Speeds, name: tuple[str, float]
) -> None:
    pytest.importorskip("numba")
    rng = np.random.default_rng(2)
    points, vectors = rng.random((40, 2)), rng.standard_normal((40, 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(costs, "speeds", lambda: speeds)
        found = kernel_graph.multiply(points, vectors, function=name[0], parameter=name[1], error=1e-6)
    exact = of_kernel_graph.define(
        of_kernel_graph.Instance(points, vectors, function=name[0], parameter=name[1]), 1e-25
    )
    assert exact.ratio(found.value, np.broadcast_to(found.error, found.value.shape)).max() <= 1.0
