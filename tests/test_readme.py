"""The README is run as it stands: a newcomer's kernel is rejected, named, shrunk, replayed and mended."""

from __future__ import annotations

import re
import shlex
import time
from pathlib import Path

import pytest

from assay.cli import main

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def block(language: str, containing: str) -> str:
    return next(text for text in re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL) if containing in text)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(block("python", "def flash"), encoding="utf-8")
    return tmp_path


def arguments() -> list[str]:
    return shlex.split(block("sh", "assay check mine.py:flash"))[1:]


def test_the_kernel_of_the_readme_is_ten_lines_of_code() -> None:
    body = block("python", "def flash").partition("def flash")[2].strip().splitlines()[1:]
    assert len(body) == 10


def test_it_is_rejected_in_ten_seconds_at_the_smallest_shape_and_named(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = time.process_time()
    assert main(arguments()) == 1
    assert time.process_time() - begun < 10
    out = capsys.readouterr().out
    assert "behaves like: causal mask off by one: each query sees one key too many (j ≤ i + 1)" in out
    assert re.search(r"input +batch 1, heads 1, 1 queries, 2 keys, dim 1", out)
    line = next(line for line in out.splitlines() if line.strip().startswith("replay "))
    words = shlex.split(line.split("replay", 1)[1])
    assert words[:2] == ["assay", "replay"]
    assert main(words[1:]) == 1


def test_mended_it_passes_the_check_and_the_replay(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([*arguments(), "--reproducers", "found"])
    Path("mine.py").write_text(block("python", "def flash").replace("rows + 1", "rows"), encoding="utf-8")
    assert main(arguments()) == 0
    for found in Path("found").glob("*.npz"):
        assert main(["replay", str(found), "--target", "mine.py:flash", "--option", "grouped_heads=no"]) == 0
    capsys.readouterr()


def test_every_file_that_it_names_is_there() -> None:
    root = Path(__file__).parents[1]
    assert [name for name in re.findall(r"\]\(([\w./]+)\)", README) if not (root / name).exists()] == []
