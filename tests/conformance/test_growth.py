"""A process that makes checks does not grow with their number; ``benchmarks/growth.py`` makes many."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hostile.growth import sizes

if TYPE_CHECKING:
    from pathlib import Path


def test_nothing_of_a_process_grows_with_the_number_of_checks_and_its_temporary_folder_stays_empty(
    tmp_path: Path,
) -> None:
    warm, first, second = list(sizes(12, 2, tmp_path))
    assert second["threads"] <= first["threads"]
    assert second.get("descriptors", 0) <= first.get("descriptors", 0)
    assert second["objects"] - first["objects"] < 200 + (first["objects"] - warm["objects"]) // 10
    assert (warm["temporary"], second["temporary"]) == (0, 0)
