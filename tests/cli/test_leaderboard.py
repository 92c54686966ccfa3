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
    status, out, error = run("leaderboard", *SMALL, "--method", "mymethod.py:mean")
    assert (status, error) == (0, "")
    assert "mymethod.py:mean" in out


METHODS = """
import numpy as np

def kernel(left, right=None):
    return left

def raising(query, key, value, *, scale, budget, seed):
    raise RuntimeError("no landmarks\\nsecond line")

def flat(query, key, value, *, scale, budget, seed):
    return value.mean()

several = 3
"""


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("kernel", "TypeError: kernel() "),
        ("raising", "RuntimeError: no landmarks; "),
        ("flat", "returned shape (), not (64, 1); "),
        ("several", "TypeError: 'int' object is not callable; "),
    ],
)
def test_a_method_that_is_none_is_named_in_one_line(
    refused: Callable[..., str], tmp_path: Path, name: str, words: str
) -> None:
    (tmp_path / "notmethods.py").write_text(METHODS)
    sentence = refused("leaderboard", *SMALL, "--method", f"notmethods.py:{name}")
    assert sentence.startswith(f"assay: method notmethods.py:{name}: {words}")
    assert "expected (query, key, value, *, scale, budget, seed) → (n, d_v) or None" in sentence


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            "leaderboard --method none",
            "unknown method 'none': expected MODULE:NAME, FILE.py:NAME or one of exact, performer",
        ),
        ("leaderboard --method nomodule:none", "unknown target 'nomodule:none': no module 'nomodule'"),
        ("leaderboard --length 3", "length 3: expected at least 16"),
        ("leaderboard --plot x.txt", "x.txt: expected a file that ends in .png, .svg, .pdf"),
    ],
)
def test_misuse_is_one_line(refused: Callable[..., str], words: str, sentence: str) -> None:
    assert sentence in refused(*words.split())
