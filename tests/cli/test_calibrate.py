"""``assay calibrate``: what it says, what it keeps, and a folder that cannot be written."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from assay.impl.cpu import costs

if TYPE_CHECKING:
    from pathlib import Path

Run = Callable[..., tuple[int, str, str]]
SLOW = {work: 3.0 * nanoseconds for work, nanoseconds in costs.REFERENCE.items()}


@pytest.fixture(autouse=True)
def slow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A processor on which everything takes three times as long, measured in no time."""
    calibration = pytest.importorskip("assay.impl.cpu.calibration")
    pytest.importorskip("numba")
    monkeypatch.setattr(calibration, "calibrated", lambda: costs.Kept(SLOW, wide=True))
    monkeypatch.setattr(costs, "_known", {})
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "kept"))


def test_the_command_says_what_it_measured_and_keeps_it(run: Run, tmp_path: Path) -> None:
    status, out, error = run("calibrate")
    assert (status, error) == (0, "")
    assert "3.00 ×" in out
    assert "512 bits" in out
    assert f"kept in {tmp_path / 'kept'}" in out
    assert costs.kept() == costs.Kept(SLOW, wide=True)


def test_a_folder_that_cannot_be_written_is_said_in_one_line(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "file"))
    status, out, error = run("calibrate")
    assert (status, error) == (0, "")
    assert out.splitlines()[-1].startswith("not kept")
