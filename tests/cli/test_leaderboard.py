"""``assay leaderboard``: the table, JSON, a picture, a method of one's own, and misuse in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

Run = Callable[..., tuple[int, str, str]]
SMALL = ("--length", "64", "--instances", "2", "--budget", "8", "--most", "8")


def test_the_table_and_json_of_chosen_methods(run: Run, tmp_path: Path) -> None:
    status, out, error = run("leaderboard", *SMALL, "--method", "exact", "--method", "window", "--json", "board.json")
    assert (status, error) == (0, "")
    assert "exact" in out
    assert "2/2" in out
    assert [row["method"] for row in json.loads((tmp_path / "board.json").read_text())["rows"]] == ["exact", "window"]


def test_a_method_of_ones_own_is_one_function(run: Run, tmp_path: Path) -> None:
    source = "def mean(query, key, value, *, scale, budget, seed):\n    return value.mean(0) + 0 * query[:, :1]\n"
    (tmp_path / "mymethod.py").write_text(source)
    status, out, error = run("leaderboard", *SMALL, "--method", "mymethod:mean")
    assert (status, error) == (0, "")
    assert "mymethod:mean" in out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("leaderboard --method none", "unknown method 'none': expected MODULE:NAME or one of exact, performer"),
        ("leaderboard --method nomodule:none", "--method nomodule:none: cannot be loaded"),
        ("leaderboard --length 3", "length 3: expected at least 16"),
        ("leaderboard --plot x.txt", "x.txt: expected a file that ends in .png, .svg, .pdf"),
    ],
)
def test_misuse_is_one_line(refused: Callable[..., str], words: str, sentence: str) -> None:
    assert sentence in refused(*words.split())
