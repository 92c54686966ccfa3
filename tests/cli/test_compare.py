"""``assay compare``: what became better or worse between two files of reports, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from reports import FAILED, PASSED

from assay.conformance.report.data import to_json

if TYPE_CHECKING:
    from pathlib import Path

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def files(run: Run, tmp_path: Path) -> Run:
    (tmp_path / "good.json").write_text(to_json(PASSED), encoding="utf-8")
    (tmp_path / "bad.json").write_text(to_json(FAILED), encoding="utf-8", errors="backslashreplace")
    return run


def test_what_became_worse_ends_with_1_and_is_said_last(files: Run) -> None:
    status, out, error = files("compare", "good.json", "bad.json")
    assert (status, error) == (1, "")
    assert out.startswith("worse: my:kernel  attention  float32  PASSED → FAILED\n")
    assert "  now: behaves like: causal mask aligned bottom-right" in out
    assert out.splitlines()[-1] == "good.json → bad.json: 1 worse of 1 pair of reports"


def test_what_became_better_or_stayed_ends_with_0(files: Run) -> None:
    status, out, _ = files("compare", "bad.json", "good.json")
    assert (status, out.splitlines()[0]) == (0, "better: my:kernel  attention  float32  FAILED → PASSED")
    status, out, _ = files("compare", "bad.json", "bad.json")
    assert (status, out.splitlines()[0]) == (0, "same: my:kernel  attention  float32  FAILED")


@pytest.mark.usefixtures("undiagnosed")
def test_two_runs_of_two_kernels_are_compared(run: Run) -> None:
    for kernel in ("good", "bad"):
        run("check", f"kernels.py:{kernel}", "--level", "smoke", "--json", f"{kernel}.json", "--quiet")
    status, out, _ = run("compare", "bad.json", "good.json")
    assert status == 0
    assert "better: kernels.py:bad → kernels.py:good  attention  float32  FAILED → PASSED" in out
    assert "\n  mended: " in out
    assert run("compare", "good.json", "bad.json")[0] == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "other.json: cannot be read (No such file or directory)"),
        ("", "other.json: it is no JSON ("),
        ("[" * 100_000, "other.json: its JSON is nested too deep"),
        ("[]", "other.json: no reports of assay (it is no object)"),
        ('{"schema": 2, "passed": true, "reports": []}', "other.json: reports of schema 2, this assay reads schema 3"),
        (
            '{"schema": 3, "passed": true, "reports": [{}]}',
            "other.json: no reports of assay (.reports[0] has no kernel)",
        ),
        ('{"schema": 3, "passed": true, "reports": []}', "other.json: it holds no report"),
        ("\udcff", "other.json: 'utf-8' codec can't decode"),
    ],
)
def test_a_file_of_something_else_is_refused_in_one_line(
    files: Run, refused: Callable[..., str], tmp_path: Path, content: str | None, said: str
) -> None:
    if content is not None:
        (tmp_path / "other.json").write_text(content, encoding="utf-8", errors="surrogateescape")
    assert said in refused("compare", "good.json", "other.json")
    assert said in refused("compare", "other.json", "good.json")


def test_reports_of_unlike_problems_are_refused(files: Run, refused: Callable[..., str], tmp_path: Path) -> None:
    other = to_json(PASSED).replace('"problem": "attention"', '"problem": "rope"')
    (tmp_path / "other.json").write_text(other, encoding="utf-8")
    assert "no report of one has the problem and the class of one of the other" in refused(
        "compare", "good.json", "other.json"
    )
