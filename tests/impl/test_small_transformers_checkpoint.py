"""A checkpoint of a stranger, or a damaged one, is read or refused in one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hostile.files import mutated

from assay.impl.cpu.small_transformers.kept import Checkpoint, Kept
from assay.impl.cpu.small_transformers.parts import Part

if TYPE_CHECKING:
    from pathlib import Path


def part(rows: int) -> Part:
    return Part(np.zeros((1, rows)), np.ones((1, rows, 2)), np.ones((1, rows)))


def saved(path: Path) -> bytes:
    Checkpoint(path).save(Kept("run", 2, {(0, 0, 3): part(3)}, {5: [part(1), part(2)]}, 1.5), now=True)
    return path.read_bytes()


def test_a_checkpoint_is_read_as_it_was_written(tmp_path: Path) -> None:
    saved(tmp_path / "kept.npz")
    kept = Checkpoint(tmp_path / "kept.npz").load("run")
    assert (kept.following, kept.largest, list(kept.totals), len(kept.early[5])) == (2, 1.5, [(0, 0, 3)], 2)
    assert np.array_equal(kept.early[5][1].values, part(2).values)


def test_a_damaged_checkpoint_is_read_or_refused_in_one_line(tmp_path: Path) -> None:
    good, rng = saved(tmp_path / "kept.npz"), np.random.default_rng(0)
    said = []
    for _ in range(400):
        try:
            content = mutated(good, ".npz", rng)
        except ValueError:  # it has no metadata to change
            continue
        (tmp_path / "kept.npz").write_bytes(content)
        try:
            Checkpoint(tmp_path / "kept.npz").load("run")
        except ValueError as refusal:
            said.append(str(refusal))
    assert len(said) > 100
    assert not [line for line in said if "\n" in line or not line.startswith("resume: ")]


@pytest.mark.parametrize("name", ["total 0 weight", "places", "following", "early"])
def test_an_array_of_another_shape_is_refused(tmp_path: Path, name: str) -> None:
    saved(tmp_path / "kept.npz")
    with np.load(tmp_path / "kept.npz") as stored:
        arrays = dict(stored) | {name: np.zeros((2, 2, 2))}
    np.savez(tmp_path / "kept.npz", **arrays)
    with pytest.raises(ValueError, match="is no file of this kind"):
        Checkpoint(tmp_path / "kept.npz").load("run")
