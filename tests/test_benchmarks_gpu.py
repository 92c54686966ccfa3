"""The benchmark of GPUs: its rows run on the thread model of a CPU, and without a device it says that there is none."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import emulated
import ml_dtypes
import numpy as np
import pytest
from emulated import Emulated

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

torch = pytest.importorskip("torch")
FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """benchmarks/gpu.py."""
    monkeypatch.syspath_prepend(str(FOLDER))
    made = importlib.util.spec_from_file_location("benchmark_of_gpus", FOLDER / "gpu.py")
    assert made is not None
    assert made.loader is not None
    module = importlib.util.module_from_spec(made)
    monkeypatch.setitem(sys.modules, "benchmark_of_gpus", module)  # dataclasses look their module up
    made.loader.exec_module(module)
    return module


def array(tensor: Any) -> Any:
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return tensor.numpy()


def place(script: ModuleType, seconds_of: Callable[[Any], float]) -> Any:
    """A card of 1,000 operations a second, on a CPU."""
    back = lambda x: torch.from_numpy(x.astype(np.float64))  # noqa: E731
    return script.Place(Emulated(), "cpu", array, back, seconds_of, flops=1000.0)


@pytest.mark.skipif(emulated.compiler() is None, reason="g++ is not installed")
def test_every_row_measures_kernels_that_agree_and_says_how_many_times_as_fast_ours_is(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script.importlib.util, "find_spec", lambda name: None)  # pykeops would compile for a minute
    taken = iter(range(1, 1000))

    def seconds_of(call: Any) -> float:
        call()
        return float(next(taken))

    sizes = script.Sizes(attention=(1, 2, 9, 4), long=(200, 2), third_order=(5, 3), points=40)
    rows = {row["row"]: row for row in script.measured(place(script, seconds_of), sizes, tuple(script.ROWS), 5)}
    assert rows.keys() == script.ROWS.keys()
    first = rows["attention, float32"]
    assert [first[f"{who}, min s"] for who in ("ours", "theirs")] == [1.0, 2.0]  # they take turns
    assert [first[f"{who}, median s"] for who in ("ours", "theirs")] == [5.0, 6.0]
    assert (first["times"], first["aim"]) == (6.0 / 5.0, 1.0)
    assert first["apart"] < 1e-6
    assert rows["attention, float32 by 3xTF32"]["apart"] < 1e-6
    assert rows["attention, bfloat16"]["apart"] < 1e-2
    assert rows["gradient of attention, bfloat16"]["apart"] < 2e-2
    assert rows["attention by a polynomial"]["apart"] < 0.05
    assert rows["attention by a polynomial"]["aim"] == 20.0
    third = rows["tensor attention, order 3"]
    assert third["times"] == pytest.approx(4 * 5**3 * 3 / 1000.0 / third["ours, median s"])

    gaussian = rows["gaussian, 3 dimensions"]
    assert gaussian["beside"] == "pykeops, float32 (not installed)"
    assert not gaussian.keys() & {"times", "aim", "theirs, min s"}


@pytest.mark.skipif(emulated.compiler() is None, reason="g++ is not installed")
@pytest.mark.thorough
def test_the_sums_of_pykeops_are_ours(script: ModuleType) -> None:
    pytest.importorskip("pykeops")
    sizes = script.Sizes(points=40)
    names = ["gaussian, 3 dimensions", "gaussian by a polynomial"]
    rows = script.measured(place(script, lambda call: (call(), 1.0)[1]), sizes, names, 5)
    assert [row["apart"] < allowed for row, allowed in zip(rows, (1e-5, 2e-3), strict=True)] == [True, True]


def test_without_a_device_one_line_says_that_nothing_was_measured(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match=r"^gpu: no CUDA device is here; nothing was measured$"):
        script.main([])


def test_fewer_than_five_rounds_and_unknown_rows_are_refused(
    script: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    for wrong in (["--rounds", "4"], ["--row", "sorting"]):
        with pytest.raises(SystemExit):
            script.main(wrong)
    assert "expected at least 5" in capsys.readouterr().err


def test_the_commit_is_that_of_the_checkout(script: ModuleType) -> None:
    assert len(script.commit().rstrip("+")) in (0, 40)  # none, where this is no checkout
