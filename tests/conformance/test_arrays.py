"""Covering arrays are made once, and what is kept of one is taken for it only if it is one."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.conformance.judge import arrays

if TYPE_CHECKING:
    from pathlib import Path

FACTORS = {
    "mask": ["none", "full", "row"],
    "layout": ["plain", "far"],
    "keys": ["1", "8", "130"],
    "sink": ["no", "yes"],
}
NEVER = [{"layout": frozenset({"far"}), "keys": frozenset({"8", "130"})}]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path))
    return tmp_path / "arrays"


def made(monkeypatch: pytest.MonkeyPatch) -> tuple[tuple[dict[str, str], ...], bool]:
    """An array, and whether covertable was asked for it."""
    asked = []
    original = arrays._made

    def watched(*arguments: Any) -> Any:
        asked.append(arguments)
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(arrays, "_made", watched)
        return arrays.array(FACTORS, 2, NEVER, 0), bool(asked)


def test_an_array_that_is_kept_is_not_made_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = made(monkeypatch), made(monkeypatch)
    assert (first[1], second[1]) == (True, False)
    assert first[0] == second[0]
    assert len(list(folder.iterdir())) == 1


def test_arrays_of_other_values_strengths_and_salts_are_other_files(folder: Path) -> None:
    for factors, strength, never, salt in (
        (FACTORS, 2, NEVER, 0),
        (FACTORS, 2, NEVER, 1),
        (FACTORS, 3, NEVER, 0),
        (FACTORS, 2, [], 0),
        (FACTORS | {"sink": ["no", "maybe"]}, 2, NEVER, 0),
    ):
        assert arrays.array(factors, strength, never, salt) == arrays.array(factors, strength, never, salt)
    assert len(list(folder.iterdir())) == 5


def test_a_file_that_is_no_such_array_is_made_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    true, _ = made(monkeypatch)
    [file] = folder.iterdir()
    rows = json.loads(file.read_text())
    values = list(FACTORS.values())
    far, eight = values[1].index("far"), values[2].index("8")
    damaged: list[Any] = [
        rows[:-1], rows[1:], [],  # some two values are missing
        [*rows, [0, far, eight, 0]],  # what cannot be together
        [*rows, [3, 0, 0, 0]], [*rows, [0, 0, 0, -1]],  # values that there are not
        [row[:-1] for row in rows], [*rows, [0]], [[*row, 0] for row in rows],
        [[float(value) for value in row] for row in rows], [[str(value) for value in row] for row in rows],
        None, {}, 7, [rows], {"rows": rows}, [[True] * 4], [[10**30] * 4],
    ]  # fmt: skip
    for content in [*map(json.dumps, damaged), "", "[[0,", "[" * 100_000, " " * (1 << 21), "[[NaN,0,0,0]]", "\x00"]:
        file.write_text(content)
        assert made(monkeypatch) == (true, True), content[:60]
        assert json.loads(file.read_text()) == rows


def test_without_a_folder_an_array_is_made_every_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "file"))
    assert [made(monkeypatch)[1] for _ in range(2)] == [True, True]


def test_the_oldest_arrays_give_way(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "_KEPT", 3)
    for salt in range(6):
        arrays.array(FACTORS, 2, NEVER, salt)
    assert len(list(folder.iterdir())) == 3


LENGTHS = (2, 3, 2, 2)
PLACES = range(len(LENGTHS))
together = st.dictionaries(st.integers(0, 3), st.sets(st.integers(0, 2), min_size=1), min_size=1, max_size=3)


@given(st.lists(together, max_size=3), st.integers(2, 3), st.integers(0, 1 << 30))
def test_exactly_what_holds_every_combination_that_can_be_is_taken(
    never: list[dict[int, set[int]]], strength: int, seed: int
) -> None:
    """The definition: rows that hold no forbidden values, and every combination that some such row holds."""
    values = [[str(number) for number in range(length)] for length in LENGTHS]
    joints = [{place: frozenset(map(str, of)) for place, of in joint.items()} for joint in never]
    every = [
        row
        for row in itertools.product(*map(range, LENGTHS))
        if not any(all(row[place] in of for place, of in joint.items()) for joint in never)
    ]

    def combinations(rows: list[tuple[int, ...]]) -> set[Any]:
        chosen = itertools.combinations(PLACES, strength)
        return {(places, tuple(row[place] for place in places)) for places in chosen for row in rows}

    rng = np.random.default_rng(seed)
    some = [row for row in every if rng.random() < 0.8]
    for rows in (every, some):
        numbers = np.array(rows, np.int64).reshape(-1, len(LENGTHS))
        whole = combinations(rows) == combinations(every)
        assert arrays._covers(numbers, values, strength, joints) == whole
